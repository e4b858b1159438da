//! Softmax against targets: cross-entropy with its gradient, log-probabilities at given columns.

use super::super::*;
use super::element::{by_float, floats, floats_mut, words, Element};
use super::math::exp;
use super::reduce;
use super::threads::Scatter;
use super::Cpu;
use crate::base::Fault;
use crate::device::ops::Loss;
use anyhow::{ensure, Result};

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
        if let Some(t) = targets.iter().position(|&target| target as usize >= cols) {
            return Err(Fault::Data.error(format!(
                "cross_entropy: targets: row {t}: expected a column below {cols}, got {}",
                targets[t]
            )));
        }
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
                    let (target, weight) = (targets[r] as usize, weights[r]);
                    loss[0] = T::as_f32(
                        row,
                        scratch,
                        #[inline(always)]
                        |row| softmax_gradient(row, target, weight),
                    );
                },
            );
        });
        Ok(())
    }

    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let pool = &self.threads;
        let (rows, cols) = (logits.rows(), logits.cols());
        let (first, ids) = (words(first), words(ids));
        let ascending = first.windows(2).all(|ends| ends[0] <= ends[1]);
        ensure!(
            ascending && first[0] == 0 && first[rows] as usize == ids.len(),
            "log_probs_at: first: expected 0 to {} ascending, got {} to {}",
            ids.len(),
            first[0],
            first[rows]
        );
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= cols) {
            return Err(Fault::Data
                .error(format!("log_probs_at: ids: expected columns below {cols}, got {id}")));
        }
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

/// Returns log Σ exp(row) - row\[target\]; the row becomes weight·(softmax - one-hot).
#[inline(always)]
fn softmax_gradient(row: &mut [f32], target: usize, weight: f32) -> f32 {
    let max = reduce::max(row);
    let logit = row[target] - max;
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = reduce::sum(row, |x| x);
    let scale = weight / sum;
    for x in row.iter_mut() {
        *x *= scale;
    }
    row[target] -= weight;
    sum.ln() - logit
}
