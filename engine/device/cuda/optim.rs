//! The optimiser's step and the norm of its gradient, over one flat range.

use super::*;
use crate::device::ops::{AdamWFactors, Optim};

impl Optim for Cuda {
    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        let AdamW { beta1, beta2, epsilon, gradient_scale, .. } = numbers;
        let AdamWFactors { left1, left2, rate, inverse_root, decay } = numbers.factors();
        let n = gradient.shape().count();
        let addresses =
            [parameter.address(), moment1.address(), moment2.address(), gradient.address()];
        let parameters = interface::Adamw {
            parameter: (&parameter).into(),
            moment1: (&moment1).into(),
            moment2: (&moment2).into(),
            gradient: gradient.into(),
            n: n as u64,
            beta1,
            left1,
            beta2,
            left2,
            epsilon,
            rate,
            inverse_root,
            decay,
            gradient_scale,
            unused: 0,
        };
        let (entry, many) = self.entries.adamw.flat(&addresses);
        self.launch(entry, grid(self, entry, n.div_ceil(many)), parameters)
    }

    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        let n = x.shape().count();
        let chunks = n.div_ceil(interface::SUM_SQUARES_CHUNK);
        let partial = self.scratch(4 * chunks)?;
        let (entry, _) = self.entries.sum_squares.flat(&[x.address()]);
        let squares = interface::SumSquares { partial: partial.at(), x: x.into(), n: n as u64 };
        self.launch(entry, Grid::of(chunks).shared(interface::REDUCE_SHARED), squares)?;
        let entry = self.entries.sum_partial;
        let sum = interface::SumPartial {
            y: (&y).into(),
            partial: partial.at(),
            count: count(chunks),
            unused: 0,
        };
        let shared = interface::sum_partial_shared(entry.threads());
        self.launch(entry, Grid::of(1).shared(shared), sum)
    }
}
