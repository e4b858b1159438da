use super::super::{Dropout, Gelu, View, ViewMut, Write};
use super::math::{erf, exp, normal_density, tanh};
use super::slices::{ids, slice, slice_mut, with_float, Float};
use super::{rows_per_task, Threads};
use crate::base::Philox;
use anyhow::Result;

/// √(2/π)
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

#[inline(always)]
pub(super) fn gelu_of(x: f32, form: Gelu) -> f32 {
    match form {
        // 0.5·(1 + tanh u) = 1/(1 + e^(-2u)): one exponential.
        Gelu::Tanh => x / (1.0 + exp(-2.0 * ROOT * x * (CUBE * x).mul_add(x, 1.0))),
        Gelu::Erf => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
    }
}

#[inline(always)]
fn gelu_slope(x: f32, form: Gelu) -> f32 {
    match form {
        Gelu::Tanh => {
            let t = tanh(ROOT * x * (CUBE * x).mul_add(x, 1.0));
            let inner = ROOT * (3.0 * CUBE * x).mul_add(x, 1.0);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
        }
        Gelu::Erf => 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * normal_density(x),
    }
}

/// Elements a task takes.
const TASK: usize = 16_384;

pub(super) fn gelu(threads: &Threads, y: ViewMut, x: View, form: Gelu) -> Result<()> {
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        threads.blocks(slice_mut::<T>(y), 1, TASK, |first, block| {
            let x = &x[first..];
            match form {
                Gelu::Tanh => block.iter_mut().zip(x).for_each(|(y, x)| *y = T::put(gelu_of(x.get(), Gelu::Tanh))),
                Gelu::Erf => block.iter_mut().zip(x).for_each(|(y, x)| *y = T::put(gelu_of(x.get(), Gelu::Erf))),
            }
        });
    });
    Ok(())
}

pub(super) fn gelu_backward(threads: &Threads, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
    with_float!(x.dtype(), T => {
        let (dy, x) = (slice::<T>(dy), slice::<T>(x));
        threads.blocks(slice_mut::<T>(dx), 1, TASK, |first, block| {
            let rows = block.iter_mut().zip(dy[first..].iter().zip(&x[first..]));
            match form {
                Gelu::Tanh => rows.for_each(|(y, (d, x))| *y = T::put(d.get() * gelu_slope(x.get(), Gelu::Tanh))),
                Gelu::Erf => rows.for_each(|(y, (d, x))| *y = T::put(d.get() * gelu_slope(x.get(), Gelu::Erf))),
            }
        });
    });
    Ok(())
}

pub(super) fn blend(threads: &Threads, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        threads.blocks(slice_mut::<T>(y), 1, TASK, |first, block| {
            for (y, x) in block.iter_mut().zip(&x[first..]) {
                *y = T::put(alpha.mul_add(x.get(), beta * y.get()));
            }
        });
    });
    Ok(())
}

/// Counters whose words are computed together: enough for the loop over them to be vectorised.
const COUNTERS: usize = 16;

/// Random words of a row, 4 a counter: word column%4 of counter [column/4 + offset, place, example].
pub(super) fn row_words(key: [u32; 2], name: &[u32], first_counter: u32, words: &mut [u32]) {
    for (block, words) in words.chunks_mut(4 * COUNTERS).enumerate() {
        let base = first_counter.wrapping_add((block * COUNTERS) as u32);
        let many: [[u32; 4]; COUNTERS] = std::array::from_fn(|i| {
            Philox::block(key, [base.wrapping_add(i as u32), name[2], name[0], name[1]])
        });
        for (word, value) in words.iter_mut().zip(many.iter().flatten()) {
            *word = *value;
        }
    }
}

pub(super) fn dropout(threads: &Threads, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
    let cols = x.cols();
    let names = ids(dropout.rows);
    let threshold = Dropout::threshold(dropout.rate);
    let kept = 1.0 / (1.0 - dropout.rate);
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        threads.blocks(slice_mut::<T>(y), cols, rows_per_task(cols), |first, block| {
            let mut words = vec![0u32; cols];
            for (r, y) in block.chunks_exact_mut(cols).enumerate() {
                let r = first + r;
                row_words(dropout.key, &names[3 * r..][..3], 0, &mut words);
                for ((y, x), &word) in y.iter_mut().zip(&x[r * cols..][..cols]).zip(&words) {
                    let value = if word < threshold { 0.0 } else { x.get() * kept };
                    *y = T::put(if write == Write::Add { y.get() + value } else { value });
                }
            }
        });
    });
    Ok(())
}

pub(super) fn cast(threads: &Threads, y: ViewMut, x: View) -> Result<()> {
    with_float!(x.dtype(), T => with_float!(y.dtype(), U => {
        let x = slice::<T>(x);
        threads.blocks(slice_mut::<U>(y), 1, TASK, |first, block| {
            for (y, x) in block.iter_mut().zip(&x[first..]) {
                *y = U::put(x.get());
            }
        });
    }));
    Ok(())
}
