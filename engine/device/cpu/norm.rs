use super::super::{View, ViewMut, Write};
use super::slices::{slice, slice_mut, with_float, Float};
use super::{rows_per_task, widen, Threads};
use anyhow::Result;

/// Independent partial sums, so that the loop is vectorised in one fixed order.
const LANES: usize = 16;

/// Σ f(xᵢ) in a fixed order.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    lanes.iter().sum()
}

/// Σ xᵢ·yᵢ in a fixed order.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for i in 0..LANES {
            lanes[i] = x[i].mul_add(y[i], lanes[i]);
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane = x.mul_add(y, *lane);
    }
    lanes.iter().sum()
}

pub(super) fn layernorm(
    threads: &Threads,
    y: ViewMut,
    statistics: ViewMut,
    x: View,
    weight: View,
    bias: View,
    epsilon: f32,
) -> Result<()> {
    let cols = x.cols();
    let (weight, bias) = (slice::<f32>(weight), slice::<f32>(bias));
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        let per = rows_per_task(cols);
        let y = slice_mut::<T>(y);
        let statistics = slice_mut::<f32>(statistics);
        let tasks: Vec<(&mut [T], &mut [f32])> =
            y.chunks_mut(cols * per).zip(statistics.chunks_mut(2 * per)).collect();
        let mut tasks = tasks;
        threads.blocks(&mut tasks, 1, 1, |i, task| {
            let (y, statistics) = &mut task[0];
            let mut row = vec![0f32; cols];
            let rows = x[i * per * cols..].chunks_exact(cols);
            for ((y, s), x) in y.chunks_exact_mut(cols).zip(statistics.chunks_exact_mut(2)).zip(rows) {
                widen(&mut row, x);
                let mean = sum(&row, |x| x) / cols as f32;
                let variance = sum(&row, |x| (x - mean) * (x - mean)) / cols as f32;
                let inverse = 1.0 / (variance + epsilon).sqrt();
                s[0] = mean;
                s[1] = inverse;
                for (((y, &x), &w), &b) in y.iter_mut().zip(&row).zip(weight).zip(bias) {
                    *y = T::put(((x - mean) * inverse).mul_add(w, b));
                }
            }
        });
    });
    Ok(())
}

/// Rows whose parameter gradients are summed together before they are added in order.
const CHUNK: usize = 64;

#[allow(clippy::too_many_arguments)]
pub(super) fn layernorm_backward(
    threads: &Threads,
    dx: ViewMut,
    parameters: Option<(ViewMut, ViewMut)>,
    dy: View,
    x: View,
    weight: View,
    statistics: View,
    write: Write,
) -> Result<()> {
    let cols = x.cols();
    let (weight, statistics) = (slice::<f32>(weight), slice::<f32>(statistics));
    with_float!(x.dtype(), T => {
        let (x, dy) = (slice::<T>(x), slice::<T>(dy));
        threads.blocks(slice_mut::<T>(dx), cols, rows_per_task(cols), |first, block| {
            let (mut normed, mut scaled) = (vec![0f32; cols], vec![0f32; cols]);
            for (r, dx) in block.chunks_exact_mut(cols).enumerate() {
                let r = first + r;
                let (mean, inverse) = (statistics[2 * r], statistics[2 * r + 1]);
                let rows = x[r * cols..][..cols].iter().zip(&dy[r * cols..][..cols]).zip(weight);
                for ((n, s), ((x, d), w)) in normed.iter_mut().zip(&mut scaled).zip(rows) {
                    *n = (x.get() - mean) * inverse;
                    *s = d.get() * w;
                }
                let a = sum(&scaled, |s| s) / cols as f32;
                let b = dot(&scaled, &normed) / cols as f32;
                for ((dx, &n), &s) in dx.iter_mut().zip(&normed).zip(&scaled) {
                    let d = (s - a - n * b) * inverse;
                    *dx = T::put(if write == Write::Add { dx.get() + d } else { d });
                }
            }
        });
        if let Some((d_weight, d_bias)) = parameters {
            let rows = x.len() / cols;
            let partial = threads.map(rows.div_ceil(CHUNK), |chunk| {
                let mut sums = vec![0f32; 2 * cols];
                let (dw, db) = sums.split_at_mut(cols);
                for r in chunk * CHUNK..((chunk + 1) * CHUNK).min(rows) {
                    let (mean, inverse) = (statistics[2 * r], statistics[2 * r + 1]);
                    let row = x[r * cols..][..cols].iter().zip(&dy[r * cols..][..cols]);
                    for ((dw, db), (x, d)) in dw.iter_mut().zip(db.iter_mut()).zip(row) {
                        *dw = d.get().mul_add((x.get() - mean) * inverse, *dw);
                        *db += d.get();
                    }
                }
                sums
            });
            add_in_order(slice_mut::<f32>(d_weight), partial.iter().map(|p| &p[..cols]));
            add_in_order(slice_mut::<f32>(d_bias), partial.iter().map(|p| &p[cols..]));
        }
    });
    Ok(())
}

pub(super) fn sum_rows(threads: &Threads, y: ViewMut, x: View) -> Result<()> {
    let (rows, cols) = (x.rows(), x.cols());
    with_float!(x.dtype(), T => {
        let x = slice::<T>(x);
        let partial = threads.map(rows.div_ceil(CHUNK), |chunk| {
            let mut sums = vec![0f32; cols];
            for r in chunk * CHUNK..((chunk + 1) * CHUNK).min(rows) {
                for (s, x) in sums.iter_mut().zip(&x[r * cols..][..cols]) {
                    *s += x.get();
                }
            }
            sums
        });
        add_in_order(slice_mut::<f32>(y), partial.iter().map(Vec::as_slice));
    });
    Ok(())
}

fn add_in_order<'a>(y: &mut [f32], partial: impl Iterator<Item = &'a [f32]>) {
    for part in partial {
        for (y, p) in y.iter_mut().zip(part) {
            *y += p;
        }
    }
}
