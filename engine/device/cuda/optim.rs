//! The optimiser's step and the norm of its gradient, over one flat range.

use super::*;
use crate::device::ops::Optim;

impl Optim for Cuda {
    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale } =
            numbers;
        // In f64, as on the CPU: 1 - β² of the first steps would lose digits in f32.
        let left = |beta: f32| (1.0 - f64::from(beta)) as f32;
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
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
            left1: left(beta1),
            beta2,
            left2: left(beta2),
            epsilon,
            rate: (f64::from(learning_rate) / correction(beta1)) as f32,
            inverse_root: (1.0 / correction(beta2).sqrt()) as f32,
            decay: (1.0 - f64::from(learning_rate) * f64::from(weight_decay)) as f32,
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
