//! Which tokens belong together: vectors of the tokens of titles, near where these stand in one
//! title, or in titles that users took one after another (R45).

use super::split::Split;
use super::Dataset;
use crate::base::{Philox, Stream};
use rayon::prelude::*;

/// Pairs of tokens that are counted of one pair of titles at most; of more, a draw.
const MOST_OF_TWO: usize = 32;

/// Neighbouring events that are counted at most; of more, every second, third … user.
const MOST_NEIGHBOURS: usize = 2_000_000;

/// Rounds of the factorisation: directions that matter are told apart after few.
const ROUNDS: usize = 10;

/// A symmetric matrix by rows: row r has `columns[first[r]..first[r + 1]]`, ascending.
struct Sparse {
    first: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

/// For each of `words` tokens a vector of length 1 and of `width` numbers, `[words · width]`;
/// zeros for tokens that stand in no title. Only training events are looked at. The same for the
/// same data, width and seed, on any number of threads.
pub fn vectors(dataset: &Dataset, words: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut rng = Philox::new(seed, Stream::Init, u64::MAX);
    let title = |item: u32| dataset.item(item).tokens;
    let mut within = Vec::new();
    for item in 0..dataset.items() as u32 {
        let tokens = title(item);
        for (at, &a) in tokens.iter().enumerate() {
            tokens[at + 1..].iter().for_each(|&b| within.push(pair(a, b)));
        }
    }
    let users = 0..dataset.users() as u32;
    let training = |user: u32| Split::training(dataset.user(user).items);
    let events: usize = users.clone().map(|user| training(user).len().saturating_sub(1)).sum();
    let step = events.div_ceil(MOST_NEIGHBOURS).max(1);
    let mut across = Vec::new();
    for two in users.step_by(step).flat_map(|user| training(user).windows(2)) {
        let (a, b) = (title(two[0]), title(two[1]));
        let all = a.len() * b.len();
        for nth in 0..all.min(MOST_OF_TWO) {
            let nth = if all > MOST_OF_TWO { rng.below(all) } else { nth };
            across.push(pair(a[nth / b.len()], b[nth % b.len()]));
        }
    }
    let mut entries = information(within, words);
    entries.extend(information(across, words));
    let matrix = Sparse::of(entries, words);
    factored(&matrix, words, width, &mut rng)
}

fn pair(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

/// Positive pointwise mutual information of pairs that occur, in nats, each once.
fn information(mut pairs: Vec<(u32, u32)>, words: usize) -> Vec<(u32, u32, f64)> {
    pairs.par_sort_unstable();
    let mut counts = vec![0.0; words];
    for &(a, b) in &pairs {
        counts[a as usize] += 1.0;
        counts[b as usize] += 1.0;
    }
    let all = 2.0 * pairs.len() as f64;
    let of = |run: &[(u32, u32)]| {
        let (a, b) = run[0];
        // Both orders of two tokens are counted, so a token with itself is met twice as often.
        let met = if a == b { 2.0 } else { 1.0 } * run.len() as f64;
        let information = (met * all / (counts[a as usize] * counts[b as usize])).ln();
        (information > 0.0).then_some((a, b, information))
    };
    pairs.chunk_by(|x, y| x == y).filter_map(of).collect()
}

impl Sparse {
    /// Of entries above the diagonal and on it; those of one place add up.
    fn of(entries: Vec<(u32, u32, f64)>, rows: usize) -> Sparse {
        let both = entries.iter().flat_map(|&(a, b, value)| {
            let other = (a != b).then_some((b, a, value));
            [Some((a, b, value)), other].into_iter().flatten()
        });
        let mut all: Vec<(u32, u32, f64)> = both.collect();
        all.sort_by_key(|&(a, b, _)| (a, b));
        let mut first = vec![0; rows + 1];
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for run in all.chunk_by(|x, y| (x.0, x.1) == (y.0, y.1)) {
            first[run[0].0 as usize + 1] += 1;
            columns.push(run[0].1);
            values.push(run.iter().map(|(_, _, value)| value).sum());
        }
        for row in 0..rows {
            first[row + 1] += first[row];
        }
        Sparse { first, columns, values }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        let row = |r: usize| {
            let own = self.first[r]..self.first[r + 1];
            let terms = self.columns[own.clone()].iter().zip(&self.values[own]);
            terms.map(|(&column, value)| value * x[column as usize]).sum()
        };
        (0..self.first.len() - 1).map(row).collect()
    }
}

/// Rows of Q·√Λ, each of length 1, of the matrix's directions Q with the largest eigenvalues Λ;
/// what is negative counts as nothing. By orthogonal iteration.
fn factored(matrix: &Sparse, rows: usize, width: usize, rng: &mut Philox) -> Vec<f32> {
    let mut directions: Vec<Vec<f64>> =
        (0..width).map(|_| (0..rows).map(|_| rng.normal()).collect()).collect();
    // What lies behind one place is the size of the largest negative eigenvalue at most: with it
    // added, the largest are those that count.
    let shift = (0..rows).map(|r| matrix.values[matrix.first[r]..matrix.first[r + 1]].iter().sum());
    let shift = 0.25 * shift.fold(0.0f64, f64::max);
    orthonormal(&mut directions);
    for _ in 0..ROUNDS {
        directions.par_iter_mut().for_each(|x| {
            let own = std::mem::take(x);
            *x = matrix.times(&own);
            x.iter_mut().zip(&own).for_each(|(x, own)| *x += shift * own);
        });
        orthonormal(&mut directions);
    }
    let weight = |x: &Vec<f64>| dot(x, &matrix.times(x)).max(0.0).sqrt();
    let weights: Vec<f64> = directions.par_iter().map(weight).collect();
    let mut vectors = vec![0.0f32; rows * width];
    for (r, row) in vectors.chunks_mut(width).enumerate() {
        let values = directions.iter().zip(&weights).map(|(x, weight)| weight * x[r]);
        let values: Vec<f64> = values.collect();
        let norm = dot(&values, &values).sqrt();
        let occurs = matrix.first[r] < matrix.first[r + 1];
        if occurs && norm > 0.0 {
            row.iter_mut().zip(&values).for_each(|(to, value)| *to = (value / norm) as f32);
        }
    }
    vectors
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Modified Gram-Schmidt; what is no direction of its own becomes zero.
fn orthonormal(directions: &mut [Vec<f64>]) {
    for at in 0..directions.len() {
        let (done, rest) = directions.split_at_mut(at + 1);
        let own = &mut done[at];
        let norm = dot(own, own).sqrt();
        let scale = if norm > 1e-12 { 1.0 / norm } else { 0.0 };
        own.iter_mut().for_each(|x| *x *= scale);
        let own = &*own;
        rest.par_iter_mut().for_each(|other| {
            let part = dot(own, other);
            other.iter_mut().zip(own).for_each(|(x, own)| *x -= part * own);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the definition, over all pairs.
    #[test]
    fn information_is_what_it_is_defined_as() {
        let pairs = vec![(0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (3, 4)];
        let all = information(pairs.clone(), 5);
        let both: Vec<(u32, u32)> = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
        let n = both.len() as f64;
        let mut found = 0;
        for a in 0..5 {
            for b in a..5 {
                let met = both.iter().filter(|two| **two == (a, b)).count() as f64;
                let of = |x| both.iter().filter(|(first, _)| *first == x).count() as f64;
                let expected = (met * n / (of(a) * of(b))).ln();
                let got = all.iter().find(|(x, y, _)| (*x, *y) == (a, b));
                match expected > 0.0 {
                    true => assert!((got.unwrap().2 - expected).abs() < 1e-12, "{a} {b}"),
                    false => assert!(got.is_none(), "{a} {b}"),
                }
                found += usize::from(got.is_some());
            }
        }
        assert_eq!(found, all.len());
    }

    #[test]
    fn tokens_that_belong_together_are_near_and_others_are_not() {
        // Two groups of four, and a token that nobody has.
        let mut entries = Vec::new();
        for group in [0u32, 4] {
            for a in group..group + 4 {
                (a..group + 4).for_each(|b| entries.push((a, b, 1.0)));
            }
        }
        entries.push((3, 4, 0.1));
        let matrix = Sparse::of(entries, 9);
        let mut rng = Philox::new(1, Stream::Init, 0);
        let vectors = factored(&matrix, 9, 2, &mut rng);
        let near = |a: usize, b: usize| {
            (0..2).map(|k| vectors[2 * a + k] * vectors[2 * b + k]).sum::<f32>()
        };
        for a in 0..8 {
            assert!((near(a, a) - 1.0).abs() < 1e-5);
            for b in 0..8 {
                assert_eq!(near(a, b) > 0.8, a / 4 == b / 4, "{a} {b} {}", near(a, b));
            }
        }
        assert_eq!(&vectors[16..], [0.0, 0.0]);
    }

    #[test]
    fn directions_stand_at_right_angles() {
        let mut rng = Philox::new(2, Stream::Init, 0);
        let mut directions: Vec<Vec<f64>> =
            (0..5).map(|_| (0..20).map(|_| rng.normal()).collect()).collect();
        directions[3] = directions[1].iter().map(|x| 2.0 * x).collect();
        orthonormal(&mut directions);
        for a in 0..5 {
            for b in 0..5 {
                let expected = f64::from(u8::from(a == b && a != 3));
                assert!((dot(&directions[a], &directions[b]) - expected).abs() < 1e-9, "{a} {b}");
            }
        }
    }
}
