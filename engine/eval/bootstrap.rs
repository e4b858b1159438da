//! 95 % intervals over users (E28), or over seeds and their users: resamples drawn with
//! replacement, percentiles of the metric.

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
        let (n, rows) = (rows.len() / width, Rows::of(rows, width));
        let resample = |r: usize| {
            let mut rng = Philox::new(self.seed, Stream::Bootstrap, r as u64);
            statistic(&rows.sums(&mut rng), n)
        };
        let values: Vec<[f64; M]> = (0..self.resamples).into_par_iter().map(resample).collect();
        std::array::from_fn(|m| interval(values.iter().map(|v| v[m])))
    }

    /// Intervals of the means of all columns: those that [`Bootstrap::intervals`] has of each of
    /// them, bit for bit, for one drawing.
    ///
    /// shapes: `rows` holds rows of `width` numbers.
    pub fn of_means(self, rows: &[f64], width: usize) -> Vec<Interval> {
        let (n, rows) = (rows.len() / width.max(1), Rows::of(rows, width.max(1)));
        let resample = |r: usize| {
            let mut rng = Philox::new(self.seed, Stream::Bootstrap, r as u64);
            rows.sums(&mut rng).into_iter().map(|sum| sum / n.max(1) as f64).collect()
        };
        let values: Vec<Vec<f64>> = (0..self.resamples).into_par_iter().map(resample).collect();
        (0..width).map(|m| interval(values.iter().map(|v| v[m]))).collect()
    }

    /// Intervals of the mean over clusters of what `statistic(sums, n)` makes of the sums over each
    /// one's n rows: clusters are drawn with replacement and, within each that was drawn, its rows.
    /// Of one cluster only the rows vary.
    ///
    /// shapes: each of `clusters` holds rows of `width` numbers, at least one row; `statistic` has
    /// as many values for each. The r-th resample is a function of (seed, r) and the counts, so
    /// that two methods measured on the same clusters and rows share their resamples.
    pub fn clustered(
        self,
        clusters: &[Vec<f64>],
        width: usize,
        statistic: impl Fn(&[f64], usize) -> Vec<f64> + Sync,
    ) -> Vec<Interval> {
        let clusters: Vec<Rows<'_>> = clusters.iter().map(|rows| Rows::of(rows, width)).collect();
        let resample = |r: usize| {
            let mut rng = Philox::new(self.seed, Stream::Bootstrap, r as u64);
            let mut means: Vec<f64> = Vec::new();
            for _ in &clusters {
                let rows = &clusters[below(clusters.len(), &mut rng)];
                let values = statistic(&rows.sums(&mut rng), rows.adds.len());
                means.resize(values.len(), 0.0);
                means.iter_mut().zip(values).for_each(|(mean, value)| *mean += value);
            }
            means.iter_mut().for_each(|mean| *mean /= clusters.len() as f64);
            means
        };
        let values: Vec<Vec<f64>> = (0..self.resamples).into_par_iter().map(resample).collect();
        let count = values.first().map_or(0, Vec::len);
        (0..count).map(|m| interval(values.iter().map(|v| v[m]))).collect()
    }
}

/// Multiply and shift: the bias of at most n / 2³² is far below what 1,000 resamples can show.
fn below(n: usize, rng: &mut Philox) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// Rows that are drawn from.
struct Rows<'a> {
    rows: &'a [f64],
    width: usize,
    /// Of each row, whether a sum changes by it. Most rows of a ranking are a miss, nothing but
    /// zeros, and are not looked at.
    adds: Vec<bool>,
}

impl Rows<'_> {
    fn of(rows: &[f64], width: usize) -> Rows<'_> {
        let adds = rows.chunks_exact(width).map(|row| row.iter().any(|&value| value != 0.0));
        Rows { rows, width, adds: adds.collect() }
    }

    /// The sums over as many rows as there are, drawn with replacement.
    fn sums(&self, rng: &mut Philox) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for _ in 0..self.adds.len() {
            let row = below(self.adds.len(), rng);
            if self.adds[row] {
                let row = &self.rows[row * self.width..][..self.width];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        sums
    }
}

/// The middle 95 % of the values of all resamples.
fn interval(values: impl Iterator<Item = f64>) -> Interval {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    Interval { low: quantile(&values, 0.025), high: quantile(&values, 0.975) }
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

    fn means(sums: &[f64], n: usize) -> Vec<f64> {
        sums.iter().map(|sum| sum / n as f64).collect()
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

    /// Of one cluster only the rows vary; clusters that differ more than their rows do give a wider
    /// interval, of about 1.96 standard errors of the mean of clusters.
    #[test]
    fn clusters_vary_beside_their_rows() {
        let rows = |share: u32| (0..2000).map(|i| f64::from(i % 100 < share)).collect::<Vec<_>>();
        let bootstrap = Bootstrap { resamples: 1000, seed: 0 };
        let one = bootstrap.clustered(&[rows(30)], 1, means)[0];
        let half = 1.96 * (0.3f64 * 0.7 / 2000.0).sqrt();
        assert!((one.high - one.low - 2.0 * half).abs() < 0.4 * half, "{one:?}");
        let shares: Vec<u32> = (0..20).map(|k| 20 + k).collect();
        let all: Vec<Vec<f64>> = shares.iter().map(|&share| rows(share)).collect();
        let many = bootstrap.clustered(&all, 1, means)[0];
        let deviation = ((20.0f64 * 20.0 - 1.0) / 12.0).sqrt() / 100.0;
        let half = 1.96 * deviation / 20f64.sqrt();
        assert!((many.high - many.low - 2.0 * half).abs() < 0.5 * half, "{many:?} ± {half}");
        let mean = 0.295;
        assert!(many.low < mean && mean < many.high, "{many:?}");
        // Columns are drawn together: a difference of equal columns has no width.
        let twice: Vec<f64> = rows(30).iter().flat_map(|&x| [x, x]).collect();
        let both = bootstrap.clustered(&[twice.clone(), twice], 2, means);
        assert_eq!(both[0], both[1]);
    }

    /// Rows of zeros, which are passed over, among them.
    #[test]
    fn columns_drawn_together_have_the_intervals_of_each_alone() {
        let value = |row: usize, c: usize| match (row + c) % 3 {
            0 => 0.1 * ((row * 7 + c) % 11) as f64,
            _ => 0.0,
        };
        let rows: Vec<f64> = (0..90).flat_map(|row| (0..4).map(move |c| value(row, c))).collect();
        let bootstrap = Bootstrap { resamples: 150, seed: 2 };
        let together = bootstrap.of_means(&rows, 4);
        for (c, together) in together.into_iter().enumerate() {
            let column: Vec<f64> = rows.iter().copied().skip(c).step_by(4).collect();
            assert_eq!(bootstrap.intervals(&column, 1, mean), [together], "{c}");
            // Every drawing anew, row by row.
            let naive = (0..150).map(|r| {
                let mut rng = Philox::new(2, Stream::Bootstrap, r);
                let drawn = (0..90).map(|_| column[below(90, &mut rng)]);
                drawn.sum::<f64>() / 90.0
            });
            assert_eq!(interval(naive), together, "{c}");
        }
    }

    #[test]
    fn nobody_has_an_empty_interval() {
        let none = Bootstrap { resamples: 10, seed: 0 }.intervals(&[], 1, |_, _| [0.0]);
        assert_eq!(none, [Interval { low: 0.0, high: 0.0 }]);
    }
}
