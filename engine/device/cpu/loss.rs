use super::super::{View, ViewMut};
use super::math::exp;
use super::norm::sum;
use super::slices::{ids, slice, slice_mut, with_float, Float};
use super::{check_ids, widen, Threads};
use anyhow::Result;

/// Largest value of a row.
#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// log Σ eˣ, from the largest value.
#[inline(always)]
fn log_sum_exp(x: &[f32]) -> f32 {
    let m = max(x);
    m + sum(x, |x| exp(x - m)).ln()
}

pub(super) fn cross_entropy(
    threads: &Threads,
    loss: ViewMut,
    logits: ViewMut,
    targets: View,
    weights: View,
) -> Result<()> {
    let cols = logits.cols();
    let targets = ids(targets);
    check_ids("cross_entropy", targets, cols)?;
    let weights = slice::<f32>(weights);
    with_float!(logits.dtype(), T => {
        let logits = slice_mut::<T>(logits);
        let loss = slice_mut::<f32>(loss);
        let mut rows: Vec<(&mut [T], &mut f32)> = logits.chunks_exact_mut(cols).zip(loss.iter_mut()).collect();
        threads.blocks(&mut rows, 1, 4, |first, rows| {
            let mut row = vec![0f32; cols];
            for (r, (logits, loss)) in rows.iter_mut().enumerate() {
                let (target, weight) = (targets[first + r] as usize, weights[first + r]);
                widen(&mut row, logits);
                let m = max(&row);
                let total = sum(&row, |x| exp(x - m));
                **loss = m + total.ln() - row[target];
                let scale = weight / total;
                for (y, &x) in logits.iter_mut().zip(&row) {
                    *y = T::put(scale * exp(x - m));
                }
                logits[target] = T::put(scale * exp(row[target] - m) - weight);
            }
        });
    });
    Ok(())
}

pub(super) fn log_probs_at(
    threads: &Threads,
    y: ViewMut,
    logits: View,
    first: View,
    wanted: View,
) -> Result<()> {
    let (rows, cols) = (logits.rows(), logits.cols());
    let (first, wanted) = (ids(first), ids(wanted));
    check_ids("log_probs_at", wanted, cols)?;
    let y = slice_mut::<f32>(y);
    with_float!(logits.dtype(), T => {
        let logits = slice::<T>(logits);
        let sums = threads.map(rows, |r| {
            let mut row = vec![0f32; cols];
            widen(&mut row, &logits[r * cols..][..cols]);
            log_sum_exp(&row)
        });
        for r in 0..rows {
            for j in first[r] as usize..first[r + 1] as usize {
                y[j] = logits[r * cols + wanted[j] as usize].get() - sums[r];
            }
        }
    });
    Ok(())
}
