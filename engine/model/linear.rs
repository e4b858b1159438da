//! A linear with or without an adapter, forwards and backwards.

use super::config::LinearName;
use super::glm::Model;
use super::parameters::Flat;
use super::rows::{Noise, Rows, Site};
use crate::base::Shape;
use crate::device::{Epilogue, Form, LowRank, Tensor, View, ViewMut, Write};
use anyhow::Result;

/// One pass over one batch: what every step of a layer needs to know.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub model: &'a Model,
    pub rows: &'a Rows,
    pub noise: Option<&'a Noise>,
}

impl Pass<'_> {
    /// y = epilogue(x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ); returns x·Aᵀ, which the backward needs.
    pub fn linear(
        &self,
        y: ViewMut,
        x: View,
        layer: usize,
        linear: LinearName,
        epilogue: Epilogue,
    ) -> Result<Option<Tensor>> {
        let device = &self.model.device;
        let epilogue = Epilogue { bias: Some(self.model.bias(layer, linear)), ..epilogue };
        let Some(module) = self.model.adapter(layer, linear) else {
            device.matmul(y, x, self.model.weight(layer, linear), Form::Nt, epilogue)?;
            return Ok(None);
        };
        let masked = self.masked(x, layer, linear)?;
        let input = masked.as_ref().map_or(x, Tensor::view);
        let mut z = device.alloc(Shape::matrix(x.rows(), module.rank), x.dtype())?;
        device.matmul(
            z.view_mut(),
            input,
            self.model.slot(module.a),
            Form::Nt,
            Epilogue::default(),
        )?;
        let low_rank =
            Some(LowRank { z: z.view(), factor: self.model.slot(module.b), scale: module.scale });
        let epilogue = Epilogue { low_rank, ..epilogue };
        device.matmul(y, x, self.model.weight(layer, linear), Form::Nt, epilogue)?;
        Ok(Some(z))
    }

    /// dx = dy·W + dropout(scale·dy·B·A) (set); gradients of what is trained add: dW = dyᵀ·x, db =
    /// Σ dy, dB = scale·dyᵀ·z, dA = scale·(dy·B)ᵀ·dropout(x).
    #[allow(clippy::too_many_arguments)]
    pub fn linear_backward(
        &self,
        dx: ViewMut,
        gradients: &mut Flat,
        dy: View,
        x: View,
        z: Option<&Tensor>,
        layer: usize,
        linear: LinearName,
    ) -> Result<()> {
        let model = self.model;
        let device = &model.device;
        if let Some(slot) = model.trained_weight(layer, linear) {
            let add = Epilogue { write: Write::Add, ..Epilogue::default() };
            device.matmul(gradients.view_mut(slot), dy, x, Form::Tn, add)?;
        }
        if let Some(slot) = model.trained_bias(layer, linear) {
            device.sum_rows(gradients.view_mut(slot), dy)?;
        }
        let weight = model.weight(layer, linear);
        let Some(module) = model.adapter(layer, linear) else {
            return device.matmul(dx, dy, weight, Form::Nn, Epilogue::default());
        };
        let z = z.expect("the forward keeps x·Aᵀ of every adapted linear");
        let (a, b) = (model.slot(module.a), model.slot(module.b));
        let scaled = Epilogue { scale: module.scale, ..Epilogue::default() };
        let mut dz = device.alloc(z.shape(), z.dtype())?;
        device.matmul(dz.view_mut(), dy, b, Form::Nn, scaled)?;
        let add = Epilogue { scale: module.scale, write: Write::Add, ..Epilogue::default() };
        device.matmul(gradients.view_mut(model.slot_of(module.b)), dy, z.view(), Form::Tn, add)?;
        let add = Epilogue { write: Write::Add, ..Epilogue::default() };
        let d_a = model.slot_of(module.a);
        match self.masked(x, layer, linear)? {
            None => {
                device.matmul(gradients.view_mut(d_a), dz.view(), x, Form::Tn, add)?;
                let low_rank = Some(LowRank { z: dz.view(), factor: a, scale: 1.0 });
                device.matmul(
                    dx,
                    dy,
                    weight,
                    Form::Nn,
                    Epilogue { low_rank, ..Epilogue::default() },
                )
            }
            Some(masked) => {
                device.matmul(gradients.view_mut(d_a), dz.view(), masked.view(), Form::Tn, add)?;
                let mut dx = dx;
                device.matmul(dx.reborrow(), dy, weight, Form::Nn, Epilogue::default())?;
                let mut tail = masked;
                device.matmul(tail.view_mut(), dz.view(), a, Form::Nn, Epilogue::default())?;
                let site = Site::Adapter(layer, linear as usize);
                let dropout =
                    self.rows.dropout(self.noise, site).expect("a masked input has a dropout");
                device.dropout(dx, tail.view(), dropout, Write::Add)
            }
        }
    }

    /// The adapter's input under dropout, `None` without.
    fn masked(&self, x: View, layer: usize, linear: LinearName) -> Result<Option<Tensor>> {
        let Some(dropout) = self.rows.dropout(self.noise, Site::Adapter(layer, linear as usize))
        else {
            return Ok(None);
        };
        let device = &self.model.device;
        let mut masked = device.alloc(x.shape(), x.dtype())?;
        device.dropout(masked.view_mut(), x, dropout, Write::Set)?;
        Ok(Some(masked))
    }
}
