//! What one file of predictions has over another, question by question.
//!
//! Both are measured on the same questions and drawn again together, so that what makes a question
//! hard for both is no part of the interval.

use super::bootstrap::Bootstrap;
use super::ranking::Scores;
use super::report::{means, Difference, Group, Metrics};
use super::{rating, text};
use std::collections::HashMap;

/// What the sums over questions are sums of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// [`Scores::of_user`].
    Ranking,
    /// Squared and absolute differences in stars.
    Stars,
    /// [`text::row`].
    Prose,
}

impl Measure {
    /// Numbers of a question.
    const fn width(self) -> usize {
        match self {
            Measure::Ranking => Scores::NAMES.len(),
            Measure::Stars => 2,
            Measure::Prose => text::WIDTH,
        }
    }
}

/// A row of a table, before it was summed over its questions.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The title of the group.
    pub group: String,
    /// The row's method.
    pub method: String,
    /// What the numbers are.
    pub measure: Measure,
    /// (user, item) of each question.
    pub questions: Vec<(u32, u32)>,
    /// As many numbers a question as its measure has.
    pub rows: Vec<f64>,
}

impl Measured {
    /// The row of a method of a group.
    pub fn new(
        group: &Group,
        method: &str,
        measure: Measure,
        questions: Vec<(u32, u32)>,
        rows: Vec<f64>,
    ) -> Measured {
        let (group, method) = (group.title(), method.to_owned());
        Measured { group, method, measure, questions, rows }
    }

    /// What this has over `first`, in whose group, on the questions that both count; `None` where
    /// there are none.
    pub fn over(&self, first: &Measured, bootstrap: Bootstrap) -> Option<Difference> {
        let width = self.measure.width();
        let of_first: HashMap<_, _> =
            first.questions.iter().zip(first.rows.chunks(width)).collect();
        let mut rows = Vec::new();
        for (question, row) in self.questions.iter().zip(self.rows.chunks(width)) {
            if let Some(other) = of_first.get(question) {
                rows.extend_from_slice(other);
                rows.extend_from_slice(row);
            }
        }
        let n = rows.len() / (2 * width);
        let metrics = match self.measure {
            Measure::Ranking => difference(&rows, width, Scores::NAMES, bootstrap, means),
            Measure::Stars => difference(&rows, width, rating::NAMES, bootstrap, rating::of_sums),
            Measure::Prose => difference(&rows, width, text::NAMES, bootstrap, text::values),
        };
        (n > 0).then(|| Difference {
            group: first.group.clone(),
            method: self.method.clone(),
            with: first.method.clone(),
            n,
            metrics,
        })
    }
}

/// `statistic` of the second halves of the rows minus that of the first, with intervals.
fn difference<const M: usize>(
    rows: &[f64],
    width: usize,
    names: [&'static str; M],
    bootstrap: Bootstrap,
    statistic: impl Fn(&[f64], usize) -> [f64; M] + Sync,
) -> Metrics {
    let both = |sums: &[f64], n: usize| -> [f64; M] {
        let (first, second) = (statistic(&sums[..width], n), statistic(&sums[width..], n));
        std::array::from_fn(|i| second[i] - first[i])
    };
    Metrics::of_rows(rows, 2 * width, names, bootstrap, both)
}

/// What every other row has over the first of the same group and measure, in the order of `rows`.
pub fn differences(rows: &[Measured], bootstrap: Bootstrap) -> Vec<Difference> {
    let key = |row: &Measured| (row.group.clone(), row.measure);
    let of_row = |(place, row): (usize, &Measured)| {
        let first = rows[..place].iter().find(|first| key(first) == key(row))?;
        row.over(first, bootstrap)
    };
    rows.iter().enumerate().filter_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stars(method: &str, questions: &[u32], off: &[f64]) -> Measured {
        Measured {
            group: "rating".into(),
            method: method.into(),
            measure: Measure::Stars,
            questions: questions.iter().map(|&user| (user, 0)).collect(),
            rows: off.iter().flat_map(|d| [d * d, d.abs()]).collect(),
        }
    }

    /// Questions 2 and 3 are shared: RMSE √((0 + 4) / 2) against √((1 + 9) / 2).
    #[test]
    fn only_shared_questions_count_and_the_first_is_what_others_are_compared_with() {
        let a = stars("a", &[1, 2, 3], &[5.0, 1.0, 3.0]);
        let b = stars("b", &[3, 2, 9], &[2.0, 0.0, 7.0]);
        let bootstrap = Bootstrap { resamples: 200, seed: 1 };
        let found = differences(&[a.clone(), b, stars("c", &[8], &[1.0])], bootstrap);
        assert_eq!(found.len(), 1);
        let Difference { method, with, n, metrics, .. } = &found[0];
        assert_eq!((&**method, &**with, *n), ("b", "a", 2));
        assert!((metrics.value("rmse") - (2f64.sqrt() - 5f64.sqrt())).abs() < 1e-12);
        assert!((metrics.value("mae") - (1.0 - 2.0)).abs() < 1e-12);
        // Each resample has b better by exactly one star a question: the interval is a point.
        let mae = metrics.get("mae").unwrap();
        assert_eq!((mae.low, mae.high), (Some(-1.0), Some(-1.0)));
    }
}
