//! EASE^R (Steck, WWW 2019): a linear model of items on items, in closed form.

use super::{recent, Asked, Ranker, Sequences};
use crate::base::host::room;
use anyhow::Result;
use rayon::prelude::*;

/// What [`Ease`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EaseSettings {
    /// λ: what is added to the diagonal of the co-occurrences.
    pub lambda: f64,
    /// An event k places before the last counts gamma^k; 0 looks at the last alone.
    pub gamma: f64,
}

impl Default for EaseSettings {
    /// What the validation items of Toys chose.
    fn default() -> EaseSettings {
        EaseSettings { lambda: 300.0, gamma: 0.4 }
    }
}

/// The largest catalogue that it is fitted for: its matrix holds items² numbers.
pub const MOST_ITEMS: usize = 20_000;

/// With P = (XᵀX + λI)⁻¹ over the users' sets X: B = −P / diag(P), its diagonal 0. A score is the
/// sum of the rows of B over the history, weighted by age.
pub struct Ease {
    gamma: f64,
    items: usize,
    /// B, items × items, row-major.
    weights: Vec<f32>,
}

impl Ease {
    /// Inverts a matrix of items × items, in about 2·items³ operations. Refuses a catalogue of more
    /// than [`MOST_ITEMS`] by an assertion: to be asked before; fails where there is no room.
    pub fn fit(seen: Sequences<'_>, settings: EaseSettings) -> Result<Ease> {
        let items = seen.items;
        assert!(items <= MOST_ITEMS, "a catalogue of {items} items");
        let mut matrix: Vec<f32> = room("EASE", items * items)?;
        matrix.resize(items * items, 0.0);
        for user in seen.users {
            let mut set = user.to_vec();
            set.sort_unstable();
            set.dedup();
            for &i in &set {
                set.iter().for_each(|&j| matrix[i as usize * items + j as usize] += 1.0);
            }
        }
        for i in 0..items {
            matrix[i * items + i] += settings.lambda as f32;
        }
        invert(&mut matrix, items);
        let diagonal: Vec<f32> = (0..items).map(|i| matrix[i * items + i]).collect();
        matrix.par_chunks_mut(items.max(1)).enumerate().for_each(|(i, row)| {
            row.iter_mut().zip(&diagonal).for_each(|(value, d)| *value = -*value / d);
            row[i] = 0.0;
        });
        Ok(Ease { gamma: settings.gamma, items, weights: matrix })
    }

    /// The same matrix with another weight of age.
    pub(super) fn add(&self, history: &[u32], gamma: f64, scores: &mut [f64]) {
        for (item, weight) in recent(history, gamma) {
            let row = &self.weights[item as usize * self.items..][..self.items];
            for (score, value) in scores.iter_mut().zip(row) {
                *score += weight * f64::from(*value);
            }
        }
    }
}

impl Ranker for Ease {
    fn name(&self) -> &'static str {
        "EASE, recency"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.fill(0.0);
        self.add(asked.history, self.gamma, scores);
    }
}

/// Columns that are swept at once.
const BLOCK: usize = 128;

/// Inverts a symmetric positive definite matrix in its place by block Gauss-Jordan sweeps, which
/// need no pivots there.
fn invert(matrix: &mut [f32], n: usize) {
    let (mut left, mut above) = (vec![0.0f32; n * BLOCK], vec![0.0f32; BLOCK * n]);
    for from in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - from);
        let inverse = small_inverse(matrix, n, from, width);
        // above = D⁻¹ · the block's rows, left = the block's columns.
        for r in 0..width {
            let row = &mut above[r * n..(r + 1) * n];
            row.fill(0.0);
            for k in 0..width {
                let factor = inverse[r * width + k] as f32;
                let source = &matrix[(from + k) * n..(from + k + 1) * n];
                row.iter_mut().zip(source).for_each(|(to, value)| *to += factor * value);
            }
        }
        for i in 0..n {
            let row = &matrix[i * n + from..][..width];
            left[i * width..][..width].copy_from_slice(row);
        }
        // What the block itself becomes is written below: it must add nothing here.
        left[from * width..(from + width) * width].fill(0.0);
        for r in 0..width {
            above[r * n + from..][..width].fill(0.0);
        }
        let threads = rayon::current_num_threads();
        // SAFETY: the three matrices are as large as is said, row-major, and do not overlap.
        unsafe {
            gemm::gemm(
                n,
                n,
                width,
                matrix.as_mut_ptr(),
                1,
                n as isize,
                true,
                left.as_ptr(),
                1,
                width as isize,
                above.as_ptr(),
                1,
                n as isize,
                1.0f32,
                -1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(threads),
            );
        }
        matrix.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            let inside = (from..from + width).contains(&i);
            if inside {
                let r = i - from;
                row.copy_from_slice(&above[r * n..(r + 1) * n]);
                for k in 0..width {
                    row[from + k] = inverse[r * width + k] as f32;
                }
                return;
            }
            let own = &left[i * width..][..width];
            for c in 0..width {
                let sum: f64 = (0..width).map(|k| f64::from(own[k]) * inverse[k * width + c]).sum();
                row[from + c] = -sum as f32;
            }
        });
    }
}

/// The inverse of a block on the diagonal, by Gauss-Jordan sweeps in f64.
fn small_inverse(matrix: &[f32], n: usize, from: usize, width: usize) -> Vec<f64> {
    let at = |i: usize, j: usize| f64::from(matrix[(from + i) * n + from + j]);
    let mut a: Vec<f64> = (0..width * width).map(|x| at(x / width, x % width)).collect();
    for k in 0..width {
        let pivot = a[k * width + k];
        for j in 0..width {
            a[k * width + j] /= if j == k { 1.0 } else { pivot };
        }
        for i in (0..width).filter(|&i| i != k) {
            let factor = a[i * width + k];
            for j in (0..width).filter(|&j| j != k) {
                a[i * width + j] -= factor * a[k * width + j];
            }
            a[i * width + k] = -factor / pivot;
        }
        a[k * width + k] = 1.0 / pivot;
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    #[test]
    fn the_inverse_times_the_matrix_is_one() {
        for n in [1, 5, BLOCK, BLOCK + 1, 300] {
            let mut rng = Philox::new(7, Stream::Synthetic, n as u64);
            let x: Vec<f64> = (0..2 * n * n).map(|_| rng.normal()).collect();
            let dot = |i: usize, j: usize| {
                let row = |i: usize| &x[i * 2 * n..(i + 1) * 2 * n];
                row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>()
            };
            let matrix: Vec<f32> = (0..n * n)
                .map(|x| dot(x / n, x % n) as f32 + if x / n == x % n { 10.0 } else { 0.0 })
                .collect();
            let mut inverse = matrix.clone();
            invert(&mut inverse, n);
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n)
                        .map(|k| f64::from(matrix[i * n + k]) * f64::from(inverse[k * n + j]))
                        .sum();
                    let expected = f64::from(u8::from(i == j));
                    assert!((sum - expected).abs() < 1e-3, "{n}: {i} {j}: {sum}");
                }
            }
        }
    }

    /// What EASE is defined by: the least λ|B|² + |X − XB|² with a diagonal of 0. At the least
    /// the slope in every other entry is 0.
    #[test]
    fn nothing_else_fits_better() {
        let users: [&[u32]; 5] = [&[0, 1, 2], &[0, 1], &[1, 3], &[3, 2, 2], &[0, 4, 1]];
        let (n, lambda) = (5, 3.0);
        let seen = Sequences { users: &users, items: n };
        let ease = Ease::fit(seen, EaseSettings { lambda, gamma: 1.0 }).unwrap();
        let b = |i: usize, j: usize| f64::from(ease.weights[i * n + j]);
        let x = |u: usize, i: usize| f64::from(u8::from(users[u].contains(&(i as u32))));
        for i in 0..n {
            assert_eq!(b(i, i), 0.0);
            for j in (0..n).filter(|&j| j != i) {
                let residual = |u: usize| x(u, j) - (0..n).map(|k| x(u, k) * b(k, j)).sum::<f64>();
                let slope: f64 = (0..5).map(|u| -x(u, i) * residual(u)).sum();
                let slope = slope + lambda * b(i, j);
                assert!(slope.abs() < 1e-4, "{i} {j}: {slope}");
            }
        }
        let mut scores = vec![0.0; n];
        ease.score(Asked::history(&[3, 0]), &mut scores);
        for (j, score) in scores.iter().enumerate() {
            assert!((score - b(3, j) - b(0, j)).abs() < 1e-6);
        }
    }
}
