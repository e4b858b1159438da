//! A linear with or without an adapter, forwards and backwards.

use super::rows::{Pass, Purpose, Site};
use crate::base::Shape;
use crate::device::{Epilogue, Form, Gelu, LowRank, LowRankFactors, Tensor, View, ViewMut, Write};
use crate::model::lora::LoraModule;
use crate::model::model::Linear;
use crate::model::parameters::Flat;
use anyhow::Result;

/// Where the gradient of a linear's input goes.
pub struct InputGradient<'a> {
    pub to: ViewMut<'a>,
    /// Where the input is what a GELU gave: the argument of that, whose gradient is meant then.
    pub gelu_of: Option<(View<'a>, Gelu)>,
}

impl<'a> From<ViewMut<'a>> for InputGradient<'a> {
    fn from(to: ViewMut<'a>) -> Self {
        InputGradient { to, gelu_of: None }
    }
}

impl Pass<'_> {
    /// y = epilogue(x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ); returns x·Aᵀ where a backward will need
    /// it.
    pub fn linear(
        &self,
        y: ViewMut,
        x: View,
        linear: &Linear,
        purpose: Purpose,
        epilogue: Epilogue,
    ) -> Result<Option<Tensor>> {
        let model = self.model;
        let device = &model.device;
        let weight = model.view(&linear.weight);
        let epilogue = Epilogue { bias: Some(model.view(&linear.bias)), ..epilogue };
        let Some(module) = &linear.adapter else {
            device.matmul(y, x, weight, Form::Nt, epilogue)?;
            return Ok(None);
        };
        let (a, b) = (model.values().view(&module.a), model.values().view(&module.b));
        let masked = self.masked(x, module)?;
        if purpose == Purpose::Inference && masked.is_none() {
            let factors = LowRankFactors { a, b, scale: module.scale };
            device.adapted(y, x, weight, factors, epilogue)?;
            return Ok(None);
        }
        let input = masked.as_ref().map_or(x, Tensor::view);
        let mut z = device.unwritten(Shape::matrix(x.rows(), module.rank()), x.dtype())?;
        device.matmul(z.view_mut(), input, a, Form::Nt, Epilogue::default())?;
        let low_rank = Some(LowRank { z: z.view(), factor: b, scale: module.scale });
        device.matmul(y, x, weight, Form::Nt, Epilogue { low_rank, ..epilogue })?;
        Ok(Some(z))
    }

    /// dx = dy·W + dropout(scale·dy·B·A) (set); gradients of what is trained add: dW = dyᵀ·x, db =
    /// Σ dy, dB = scale·dyᵀ·z, dA = scale·(dy·B)ᵀ·dropout(x). Without dx where nobody wants it.
    pub fn linear_backward(
        &self,
        dx: Option<InputGradient>,
        gradients: &mut Flat,
        dy: View,
        x: View,
        z: Option<&Tensor>,
        linear: &Linear,
    ) -> Result<()> {
        let model = self.model;
        let device = &model.device;
        let plain = Epilogue::default;
        let add = || Epilogue { write: Write::Add, ..plain() };
        if let Some(slot) = linear.weight.slot() {
            device.matmul(gradients.view_mut(slot), dy, x, Form::Tn, add())?;
        }
        if let Some(slot) = linear.bias.slot() {
            device.sum_rows(gradients.view_mut(slot), dy)?;
        }
        let weight = model.view(&linear.weight);
        let Some(module) = &linear.adapter else {
            let Some(InputGradient { to, gelu_of }) = dx else { return Ok(()) };
            return device.matmul(to, dy, weight, Form::Nn, Epilogue { gelu_of, ..plain() });
        };
        let z = z.expect("the forward keeps x·Aᵀ of every adapted linear");
        let (a, b) = (model.values().view(&module.a), model.values().view(&module.b));
        let mut dz = device.unwritten(z.shape(), z.dtype())?;
        let d_b = gradients.view_mut(&module.b);
        device.low_rank_backward(dz.view_mut(), d_b, dy, b, z.view(), module.scale)?;
        let d_a = gradients.view_mut(&module.a);
        match self.masked(x, module)? {
            None => {
                device.matmul(d_a, dz.view(), x, Form::Tn, add())?;
                let Some(InputGradient { to, gelu_of }) = dx else { return Ok(()) };
                let low_rank = Some(LowRank { z: dz.view(), factor: a, scale: 1.0 });
                let epilogue = Epilogue { low_rank, gelu_of, ..plain() };
                device.matmul(to, dy, weight, Form::Nn, epilogue)
            }
            Some(masked) => {
                device.matmul(d_a, dz.view(), masked.view(), Form::Tn, add())?;
                let Some(InputGradient { mut to, gelu_of }) = dx else { return Ok(()) };
                let mut tail = masked;
                device.matmul(tail.view_mut(), dz.view(), a, Form::Nn, plain())?;
                let site = Site::Adapter(module.layer, module.linear);
                let dropout = self.dropout(site).expect("a masked input has a dropout");
                let Some((argument, form)) = gelu_of else {
                    device.matmul(to.reborrow(), dy, weight, Form::Nn, plain())?;
                    return device.dropout(to, tail.view(), dropout, Write::Add);
                };
                // What dropout is behind has to be whole before the slope.
                let mut whole = device.unwritten(to.shape(), to.dtype())?;
                device.matmul(whole.view_mut(), dy, weight, Form::Nn, plain())?;
                device.dropout(whole.view_mut(), tail.view(), dropout, Write::Add)?;
                device.gelu_backward(to, whole.view(), argument, form)
            }
        }
    }

    /// The adapter's input under dropout, `None` without.
    fn masked(&self, x: View, module: &LoraModule) -> Result<Option<Tensor>> {
        let site = Site::Adapter(module.layer, module.linear);
        let Some(dropout) = self.dropout(site) else { return Ok(None) };
        let device = &self.model.device;
        let mut masked = device.unwritten(x.shape(), x.dtype())?;
        device.dropout(masked.view_mut(), x, dropout, Write::Set)?;
        Ok(Some(masked))
    }
}
