//! Softmax against targets: cross-entropy with its gradient, over all columns or among few of
//! them, log-probabilities at given columns.

use super::super::*;
use super::element::{by_float, floats, floats_mut, words, Element};
use super::indices::{ascending, below, beyond};
use super::math::exp;
use super::reduce;
use super::threads::Scatter;
use super::Cpu;
use crate::device::ops::Loss;
use anyhow::Result;

impl Loss for Cpu {
    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        let pool = &self.threads;
        let (rows, cols) = (logits.rows(), logits.cols());
        let (targets, weights) = (words(targets), floats::<f32>(weights));
        below("cross_entropy", "targets", targets, cols, "a column")?;
        let loss = Scatter::new(floats_mut::<f32>(loss));
        by_float!(logits.dtype(), T => {
            let logits = Scatter::new(floats_mut::<T>(logits));
            pool.each_with(
                rows,
                Vec::new,
                #[inline(always)]
                |scratch, r| {
                    // SAFETY: `each_with` hands out each row once.
                    let loss = unsafe { loss.range(r..r + 1) };
                    // SAFETY: as above.
                    let row = unsafe { logits.range(r * cols..(r + 1) * cols) };
                    let (target, weight) = (Target::Place(targets[r] as usize), weights[r]);
                    loss[0] = T::as_f32(
                        row,
                        scratch,
                        #[inline(always)]
                        |row| softmax_gradient(row, target, weight, 1.0),
                    );
                },
            );
        });
        Ok(())
    }

    fn choice_loss(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        first: View,
        aim: Aim,
        weights: View,
        temperature: f32,
    ) -> Result<()> {
        let pool = &self.threads;
        let (loss, logits) = (floats_mut::<f32>(loss), floats_mut::<f32>(logits));
        let (first, weights) = (words(first), floats::<f32>(weights));
        ascending("choice_loss", first, logits.len())?;
        let (places, shares) = match aim {
            Aim::Place(places) => (words(places), None),
            Aim::Shares(shares) => (&[][..], Some(floats::<f32>(shares))),
        };
        for (t, (ends, &place)) in first.windows(2).zip(places).enumerate() {
            let choices = ends[1] - ends[0];
            if place >= choices && choices > 0 {
                let choices = choices as usize;
                return Err(beyond("choice_loss", "aim", t, place, choices, "a place"));
            }
        }
        let (rows, choices) = (loss.len(), logits.len() / loss.len());
        let (loss, logits) = (Scatter::new(loss), Scatter::new(logits));
        pool.rows(
            rows,
            choices,
            #[inline(always)]
            |range| {
                for t in range {
                    let part = first[t] as usize..first[t + 1] as usize;
                    // SAFETY: `rows` hands out each row once.
                    let loss = unsafe { loss.range(t..t + 1) };
                    // SAFETY: the parts ascend and do not overlap, as checked above.
                    let row = unsafe { logits.range(part.clone()) };
                    loss[0] = if row.is_empty() {
                        0.0
                    } else {
                        let target = match shares {
                            None => Target::Place(places[t] as usize),
                            Some(shares) => Target::Shares(&shares[part]),
                        };
                        softmax_gradient(row, target, weights[t], temperature)
                    };
                }
            },
        );
        Ok(())
    }

    fn choice_log_probs(&self, logits: ViewMut, first: View, temperature: f32) -> Result<()> {
        let (logits, first) = (floats_mut::<f32>(logits), words(first));
        ascending("choice_log_probs", first, logits.len())?;
        for ends in first.windows(2) {
            log_softmax(&mut logits[ends[0] as usize..ends[1] as usize], temperature);
        }
        Ok(())
    }

    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let pool = &self.threads;
        let (rows, cols) = (logits.rows(), logits.cols());
        let (first, ids) = (words(first), words(ids));
        ascending("log_probs_at", first, ids.len())?;
        below("log_probs_at", "ids", ids, cols, "a column")?;
        let y = Scatter::new(floats_mut::<f32>(y));
        by_float!(logits.dtype(), T => {
            let logits = floats::<T>(logits);
            pool.each(
                rows,
                #[inline(always)]
                |r| {
                    let range = first[r] as usize..first[r + 1] as usize;
                    if range.is_empty() {
                        return;
                    }
                    let row = &logits[r * cols..(r + 1) * cols];
                    let max = reduce::max(row);
                    let log_sum = reduce::sum(row, |x| exp(x - max)).ln();
                    // SAFETY: the ranges ascend and do not overlap, as checked above.
                    let y = unsafe { y.range(range.clone()) };
                    for (y, &id) in y.iter_mut().zip(&ids[range]) {
                        *y = row[id as usize].wide() - max - log_sum;
                    }
                },
            );
        });
        Ok(())
    }
}

/// What a row is to be: all of one column, or a share of each.
#[derive(Clone, Copy)]
enum Target<'a> {
    Place(usize),
    Shares(&'a [f32]),
}

/// The row becomes log_softmax(row/temperature), summed in f64, or NaN where one of it is no finite
/// number.
fn log_softmax(row: &mut [f32], temperature: f32) {
    if !row.iter().all(|x| x.is_finite()) {
        return row.fill(f32::NAN);
    }
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = |x: f32| f64::from(x - max) / f64::from(temperature);
    let log_sum = row.iter().map(|&x| scaled(x).exp()).sum::<f64>().ln();
    for x in row {
        *x = (scaled(*x) - log_sum) as f32;
    }
}

/// Returns -temperature·Σ q·ln p with p = softmax(row/temperature) and q the target; the row
/// becomes weight·(p - q).
#[inline(always)]
fn softmax_gradient(row: &mut [f32], target: Target, weight: f32, temperature: f32) -> f32 {
    let max = reduce::max(row);
    // -temperature·ln p is how far a logit is below the largest, and the logarithm of the sum.
    let (below, whole) = match target {
        Target::Place(place) => (max - row[place], 1.0),
        Target::Shares(shares) => {
            // A share of nothing may be asked of a logit of -∞.
            let add = |sum: f32, z: f32, q: f32| sum + if q == 0.0 { 0.0 } else { q * (max - z) };
            (reduce::fold(row, shares, add), reduce::sum(shares, |q| q))
        }
    };
    for z in row.iter_mut() {
        *z = exp((*z - max) / temperature);
    }
    let sum = reduce::sum(row, |z| z);
    let scale = weight / sum;
    match target {
        Target::Place(place) => {
            for z in row.iter_mut() {
                *z *= scale;
            }
            row[place] -= weight;
        }
        Target::Shares(shares) => {
            for (z, q) in row.iter_mut().zip(shares) {
                *z = z.mul_add(scale, -weight * q);
            }
        }
    }
    (temperature * whole).mul_add(sum.ln(), below)
}
