//! 95 % intervals over users (E28): resamples drawn with replacement, percentiles of the metric.

use crate::base::{Philox, Stream};
use rayon::prelude::*;

/// A metric's 2.5th and 97.5th percentile over the resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5 % of the resamples lie below.
    pub low: f64,
    /// 2.5 % of the resamples lie above.
    pub high: f64,
}

/// How often and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How often users are drawn again.
    pub resamples: usize,
    /// Decides the resamples.
    pub seed: u64,
}

impl Bootstrap {
    /// One interval for each value of `statistic(sums, n)`, which sees the sums over n rows.
    ///
    /// shapes: `rows` holds n rows of `width` numbers. The r-th resample is a function of (seed, r)
    /// and n alone, so intervals do not depend on threads, and two methods measured on the same
    /// users share their resamples.
    pub fn intervals<const M: usize>(
        self,
        rows: &[f64],
        width: usize,
        statistic: impl Fn(&[f64], usize) -> [f64; M] + Sync,
    ) -> [Interval; M] {
        assert_eq!(rows.len() % width, 0, "rows of {width}, got {} numbers", rows.len());
        let n = rows.len() / width;
        let resample = |r: usize| {
            let mut rng = Philox::new(self.seed, Stream::Bootstrap, r as u64);
            let mut sums = vec![0.0; width];
            for _ in 0..n {
                // Multiply and shift: the bias of at most n / 2³² is far below what 1,000 resamples
                // can show.
                let row = ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize * width;
                for (sum, value) in sums.iter_mut().zip(&rows[row..row + width]) {
                    *sum += value;
                }
            }
            statistic(&sums, n)
        };
        let values: Vec<[f64; M]> = (0..self.resamples).into_par_iter().map(resample).collect();
        std::array::from_fn(|m| {
            let mut values: Vec<f64> = values.iter().map(|v| v[m]).collect();
            values.sort_by(f64::total_cmp);
            Interval { low: quantile(&values, 0.025), high: quantile(&values, 0.975) }
        })
    }
}

/// Linear between the neighbours; 0 for nothing.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = q * last as f64;
    let below = place.floor();
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    low + (high - low) * (place - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(sums: &[f64], n: usize) -> [f64; 1] {
        [sums[0] / n as f64]
    }

    #[test]
    fn the_seed_decides_and_threads_do_not() {
        let rows: Vec<f64> = (0..500).map(|i| f64::from(i % 7 == 0)).collect();
        let bootstrap = Bootstrap { resamples: 200, seed: 3 };
        let [first] = bootstrap.intervals(&rows, 1, mean);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| bootstrap.intervals(&rows, 1, mean)), [first]);
        }
        assert_ne!(Bootstrap { resamples: 200, seed: 4 }.intervals(&rows, 1, mean), [first]);
    }

    /// A share p of n users has the standard error √(p(1−p)/n); 95 % are ±1.96 of these.
    #[test]
    fn a_share_has_its_textbook_interval() {
        let n = 20_000;
        let rows: Vec<f64> = (0..n).map(|i| f64::from(i % 10 == 0)).collect();
        let [interval] = Bootstrap { resamples: 1000, seed: 0 }.intervals(&rows, 1, mean);
        let half = 1.96 * (0.1 * 0.9 / f64::from(n)).sqrt();
        assert!((interval.low - (0.1 - half)).abs() < 0.2 * half, "{interval:?}");
        assert!((interval.high - (0.1 + half)).abs() < 0.2 * half, "{interval:?}");
    }

    #[test]
    fn nobody_has_an_empty_interval() {
        let none = Bootstrap { resamples: 10, seed: 0 }.intervals(&[], 1, |_, _| [0.0]);
        assert_eq!(none, [Interval { low: 0.0, high: 0.0 }]);
    }
}
