//! Star ratings (E18–E20b).

use serde::Serialize;

/// Names in the order of [`of_sums`].
pub const NAMES: [&str; 2] = ["rmse", "mae"];

/// What a difference in stars adds to the sums that [`of_sums`] reads.
pub fn row(difference: f64) -> [f64; 2] {
    [difference * difference, difference.abs()]
}

/// What each difference in stars adds to the sums that [`of_sums`] reads.
pub fn rows(differences: &[f64]) -> Vec<f64> {
    differences.iter().flat_map(|&difference| row(difference)).collect()
}

/// RMSE and MAE of the sums of `n` differences.
pub fn of_sums(sums: &[f64], n: usize) -> [f64; 2] {
    [(sums[0] / n.max(1) as f64).sqrt(), sums[1] / n.max(1) as f64]
}

/// RMSE and MAE over `n` records of which `parsed` held a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// √(Σ (prediction − stars)² / n), in stars.
    pub rmse: f64,
    /// Σ |prediction − stars| / n, in stars.
    pub mae: f64,
    /// Number of records.
    pub n: usize,
    /// Records whose answer held a number.
    pub parsed: usize,
}

impl Errors {
    /// Share of records that held a number; 1 for none.
    pub fn coverage(&self) -> f64 {
        if self.n == 0 {
            1.0
        } else {
            self.parsed as f64 / self.n as f64
        }
    }

    fn of(differences: &[f64], parsed: usize) -> Errors {
        let n = differences.len();
        let mean = |sum: f64| if n == 0 { 0.0 } else { sum / n as f64 };
        let rmse = mean(differences.iter().map(|d| d * d).sum()).sqrt();
        Errors { rmse, mae: mean(differences.iter().map(|d| d.abs()).sum()), n, parsed }
    }
}

/// What the text says: digits with an optional fraction and nothing else but blanks around them
/// (E19).
///
/// ```
/// use engine::eval::rating::parse;
/// assert_eq!(parse(" 4.5\n"), Some(4.5));
/// assert_eq!((parse("-1"), parse("4 stars"), parse("5.")), (None, None, None));
/// ```
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    (digits(whole) && digits(fraction)).then(|| text.parse().ok()).flatten()
}

/// The differences prediction − gold of the strict rule: clipped to [1, 5], `fallback` for what is
/// no number (E19).
pub fn differences(pairs: &[(&str, f64)], fallback: f64) -> (Vec<f64>, usize) {
    let mut parsed = 0;
    let differences = pairs.iter().map(|&(text, gold)| {
        let stars = parse(text).inspect(|_| parsed += 1).unwrap_or(fallback);
        stars.clamp(1.0, 5.0) - gold
    });
    (differences.collect(), parsed)
}

/// Every record counts (E19). `fallback` is the mean of the training ratings.
pub fn strict(pairs: &[(&str, f64)], fallback: f64) -> Errors {
    let (differences, parsed) = differences(pairs, fallback);
    Errors::of(&differences, parsed)
}

/// The differences of texts that are exactly "1.0" … "4.9", as P5's script keeps them (E18): "5.0"
/// and "5" vanish.
pub fn p5_differences(pairs: &[(&str, f64)]) -> Vec<f64> {
    let kept = |text: &str| {
        matches!(text.as_bytes(), [b'1'..=b'4', b'.', b'0'..=b'9'])
            .then(|| text.parse::<f64>().ok())
            .flatten()
    };
    pairs.iter().filter_map(|&(text, gold)| kept(text).map(|stars| stars - gold)).collect()
}

/// Only what [`p5_differences`] keeps counts, in numerator and denominator (E18).
pub fn p5(pairs: &[(&str, f64)]) -> Errors {
    let differences = p5_differences(pairs);
    Errors::of(&differences, differences.len())
}

/// The stars of a review prediction: clipped, then rounded half to even (E20).
pub fn rounded(stars: f64) -> f64 {
    stars.clamp(1.0, 5.0).round_ties_even()
}

/// As [`differences`], with [`rounded`] predictions (E20).
pub fn review_differences(pairs: &[(&str, f64)], fallback: f64) -> (Vec<f64>, usize) {
    let mut parsed = 0;
    let differences = pairs.iter().map(|&(text, gold)| {
        let stars = parse(text).inspect(|_| parsed += 1).unwrap_or(fallback);
        rounded(stars) - gold
    });
    (differences.collect(), parsed)
}

/// Ratings read off reviews, rounded to whole stars (E20); every record counts.
pub fn review(pairs: &[(&str, f64)], fallback: f64) -> Errors {
    let (differences, parsed) = review_differences(pairs, fallback);
    Errors::of(&differences, parsed)
}

/// The best constants that training ratings suggest: what a model has to beat to have learnt
/// anything (E20b).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Constants {
    /// Best for RMSE.
    pub mean: f64,
    /// Best for MAE; between the middle two where their number is even.
    pub median: f64,
    /// Number of ratings.
    pub n: usize,
}

impl Constants {
    /// `None` without any rating.
    pub fn of(mut ratings: Vec<f32>) -> Option<Constants> {
        ratings.sort_by(f32::total_cmp);
        let n = ratings.len();
        let (low, high) = (ratings.get(n.checked_sub(1)? / 2)?, ratings.get(n / 2)?);
        let sum: f64 = ratings.iter().map(|&r| f64::from(r)).sum();
        Some(Constants { mean: sum / n as f64, median: f64::from(low + high) / 2.0, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_numbers_are_parsed() {
        assert_eq!(parse("5"), Some(5.0));
        for text in ["", ".", "4.", ".5", "+4", "1e3", "4,5", "٤", "4.5.1", "inf", "NaN"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn constants_of_a_known_list() {
        let constants = Constants::of(vec![5.0, 1.0, 4.0, 5.0]).unwrap();
        assert_eq!((constants.mean, constants.median, constants.n), (3.75, 4.5, 4));
        assert_eq!(Constants::of(vec![]), None);
    }

    proptest! {
        #[test]
        fn rmse_is_at_least_mae(pairs in prop::collection::vec((0u32..70, 1u32..6), 1..50)) {
            let text = |p: &(u32, u32)| format!("{:.1}", f64::from(p.0) / 10.0);
            let texts: Vec<String> = pairs.iter().map(text).collect();
            let stars = pairs.iter().map(|p| f64::from(p.1));
            let pairs: Vec<_> = texts.iter().map(String::as_str).zip(stars).collect();
            for errors in [strict(&pairs, 4.0), p5(&pairs), review(&pairs, 4.0)] {
                prop_assert!(errors.rmse >= errors.mae - 1e-12);
            }
        }
    }
}
