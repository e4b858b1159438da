//! The optimiser's step and the norm of its gradient, over one flat range.

use super::*;
use crate::device::ops::Optim;

/// Elements that one block of `sum_squares` sums; the kernel's constant.
const CHUNK: usize = 16_384;

/// The entry point for a flat range, whose end may be short of a vector: the kernel sees to it.
fn flat(name: &str, addresses: &[u64]) -> (String, usize) {
    entry(name, Dtype::F32, 0, addresses)
}

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
        let arguments = [
            Arg::from(&parameter),
            Arg::from(&moment1),
            Arg::from(&moment2),
            gradient.into(),
            Arg::U64(n as u64),
            Arg::F32(beta1),
            Arg::F32(left(beta1)),
            Arg::F32(beta2),
            Arg::F32(left(beta2)),
            Arg::F32(epsilon),
            Arg::F32((f64::from(learning_rate) / correction(beta1)) as f32),
            Arg::F32((1.0 / correction(beta2).sqrt()) as f32),
            Arg::F32((1.0 - f64::from(learning_rate) * f64::from(weight_decay)) as f32),
            Arg::F32(gradient_scale),
        ];
        let addresses =
            [parameter.address(), moment1.address(), moment2.address(), gradient.address()];
        let (entry, many) = flat("adamw", &addresses);
        self.launch(&entry, grid(self, n.div_ceil(many)), &arguments)
    }

    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        let n = x.shape().count();
        let chunks = n.div_ceil(CHUNK);
        let partial = self.scratch(4 * chunks)?;
        let arguments = [partial.arg(), x.into(), Arg::U64(n as u64)];
        self.launch(
            &flat("sum_squares", &[x.address()]).0,
            Grid::of(chunks, THREADS).shared(32 * 4),
            &arguments,
        )?;
        let arguments = [Arg::from(&y), partial.arg(), count(chunks)];
        self.launch("sum_partial", Grid::of(1, THREADS).shared(8 * THREADS as usize), &arguments)
    }
}
