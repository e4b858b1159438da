use super::super::{AdamW, View, ViewMut};
use super::norm::sum;
use super::slices::{slice, slice_mut};
use super::Threads;
use anyhow::Result;

/// Elements a task takes; partial sums of this length are added in order.
const CHUNK: usize = 32_768;

pub(super) fn adamw(
    threads: &Threads,
    parameter: ViewMut,
    moment1: ViewMut,
    moment2: ViewMut,
    gradient: View,
    numbers: AdamW,
) -> Result<()> {
    let step = numbers.step as i32;
    let correction1 = (1.0 - f64::from(numbers.beta1).powi(step)) as f32;
    let correction2 = (1.0 - f64::from(numbers.beta2).powi(step)).sqrt() as f32;
    let step_size = numbers.learning_rate / correction1;
    let shrink = 1.0 - numbers.learning_rate * numbers.weight_decay;
    let gradient = slice::<f32>(gradient);
    let parts = slice_mut::<f32>(parameter)
        .chunks_mut(CHUNK)
        .zip(slice_mut::<f32>(moment1).chunks_mut(CHUNK))
        .zip(slice_mut::<f32>(moment2).chunks_mut(CHUNK));
    let mut tasks: Vec<_> = parts.collect();
    threads.blocks(&mut tasks, 1, 1, |i, task| {
        let ((p, m), v) = &mut task[0];
        let rows = p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(&gradient[i * CHUNK..]);
        for (((p, m), v), &g) in rows {
            let g = g * numbers.gradient_scale;
            *m = numbers.beta1.mul_add(*m, (1.0 - numbers.beta1) * g);
            *v = numbers.beta2.mul_add(*v, (1.0 - numbers.beta2) * g * g);
            let root = v.sqrt() / correction2 + numbers.epsilon;
            *p = shrink * *p - step_size * (*m / root);
        }
    });
    Ok(())
}

pub(super) fn sum_squares(threads: &Threads, y: ViewMut, x: View) -> Result<()> {
    let x = slice::<f32>(x);
    let partial = threads.map(x.len().div_ceil(CHUNK), |i| {
        let end = ((i + 1) * CHUNK).min(x.len());
        f64::from(sum(&x[i * CHUNK..end], |x| x * x))
    });
    slice_mut::<f32>(y)[0] = partial.iter().sum::<f64>() as f32;
    Ok(())
}
