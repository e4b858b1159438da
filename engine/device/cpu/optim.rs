//! The optimiser's step and the norm of its gradient, over one flat range.

use super::super::*;
use super::element::{floats, floats_mut};
use super::reduce;
use super::threads::Scatter;
use super::Cpu;
use crate::device::ops::{AdamWFactors, Optim};
use anyhow::Result;

impl Optim for Cpu {
    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        let pool = &self.threads;
        let AdamW { beta1, beta2, epsilon, gradient_scale, .. } = numbers;
        let AdamWFactors { left1, left2, rate, inverse_root, decay } = numbers.factors();

        let gradient = floats::<f32>(gradient);
        let moment1 = Scatter::new(floats_mut::<f32>(moment1));
        let moment2 = Scatter::new(floats_mut::<f32>(moment2));
        pool.rows_of(
            floats_mut::<f32>(parameter),
            1,
            #[inline(always)]
            |range, parameter| {
                // SAFETY: `rows_of` hands out each element once.
                let (moment1, moment2) =
                    unsafe { (moment1.range(range.clone()), moment2.range(range.clone())) };
                for (((p, m), v), g) in
                    parameter.iter_mut().zip(moment1).zip(moment2).zip(&gradient[range])
                {
                    let g = g * gradient_scale;
                    *m = beta1.mul_add(*m, left1 * g);
                    *v = beta2.mul_add(*v, left2 * g * g);
                    *p = p.mul_add(decay, -(rate * *m / v.sqrt().mul_add(inverse_root, epsilon)));
                }
            },
        );
        Ok(())
    }

    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        let pool = &self.threads;
        const CHUNK: usize = 16 * 1024;
        let x = floats::<f32>(x);
        let mut partial = vec![0.0f32; x.len().div_ceil(CHUNK)];
        let sums = Scatter::new(&mut partial);
        pool.ranges(
            x.len(),
            CHUNK,
            #[inline(always)]
            |range| {
                let i = range.start / CHUNK;
                // SAFETY: `ranges` hands out each chunk once.
                let sum = unsafe { sums.range(i..i + 1) };
                sum[0] = reduce::sum(&x[range], |x| x * x);
            },
        );
        // Thousands of sums of like size: f64 keeps what f32 would drop.
        floats_mut::<f32>(y)[0] = partial.iter().map(|&sum| f64::from(sum)).sum::<f64>() as f32;
        Ok(())
    }
}
