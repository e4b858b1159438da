//! A layer norm, forwards and backwards.

use crate::base::{Dtype, Shape};
use crate::device::{self, Tensor, View, ViewMut, Write};
use crate::model::model::{Model, Norm};
use crate::model::parameters::Flat;
use anyhow::Result;

/// A norm and what its forward leaves for its backward.
#[derive(Clone, Copy)]
pub struct Normed<'a> {
    /// Weight and bias.
    pub norm: &'a Norm,
    /// `[R, h]`, its input.
    pub x: View<'a>,
    /// `[R, 2]` f32
    pub statistics: View<'a>,
}

impl Model {
    /// y = norm(x) `[R, h]`, and the statistics that its backward needs, `[R, 2]` f32.
    pub(super) fn norm(&self, x: View, norm: &Norm) -> Result<(Tensor, Tensor)> {
        let mut y = self.device.unwritten(x.shape(), x.dtype())?;
        let mut statistics = self.device.unwritten(Shape::matrix(x.rows(), 2), Dtype::F32)?;
        let (weight, bias) = (self.view(&norm.weight), self.view(&norm.bias));
        let epsilon = self.config.layernorm_epsilon;
        self.device.layernorm(y.view_mut(), statistics.view_mut(), x, weight, bias, epsilon)?;
        Ok((y, statistics))
    }

    /// dx of the norm's input; gradients of weight and bias add where both are trained.
    pub(super) fn norm_backward(
        &self,
        dx: ViewMut,
        gradients: &mut Flat,
        dy: View,
        Normed { norm, x, statistics }: Normed,
        write: Write,
    ) -> Result<()> {
        let weight = self.view(&norm.weight);
        let slots = norm.weight.slot().zip(norm.bias.slot());
        let normed = device::Normed { x, weight, statistics };
        let parameters = slots.map(|(weight, bias)| gradients.pair_mut(weight, bias));
        self.device.layernorm_backward(dx, parameters, dy, normed, write)
    }
}
