//! A ranker that somebody else fitted: what may follow each item, with scores.

use super::{recent, Asked, Lists, Ranker};

/// An event k places before the last counts γ^k.
const GAMMA: f64 = 0.4;

/// The sum of the rows of the history's items, weighted by age; what is popular breaks ties.
pub struct Table {
    next: Lists<(u32, f64)>,
    /// Less than any difference of scores that means something.
    tie: Vec<f64>,
}

impl Table {
    /// Of rows (item, (what may follow it, its score)), each score finite and not negative, and how
    /// often every item of the catalogue was taken.
    pub fn new(rows: &[(u32, (u32, f64))], counts: &[f64]) -> Table {
        let largest = rows.iter().map(|(_, (_, score))| *score).fold(0.0, f64::max);
        // Where there are no scores, popularity is all there is.
        let small = if largest > 0.0 { 1e-9 * largest } else { 1.0 };
        let total = counts.iter().sum::<f64>().max(1.0);
        let tie = counts.iter().map(|count| small * count / total).collect();
        Table { next: Lists::sorted(counts.len(), rows.iter().copied(), (0, 0.0)), tie }
    }
}

impl Ranker for Table {
    fn name(&self) -> &'static str {
        "table of a file"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.tie);
        for (item, weight) in recent(asked.history, GAMMA) {
            for &(next, score) in self.next.of(item as usize) {
                scores[next as usize] += weight * score;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_history_add_up_by_age() {
        let rows = [(0, (1, 2.0)), (2, (1, 1.0)), (0, (3, 0.5)), (2, (0, 4.0))];
        let table = Table::new(&rows, &[1.0, 0.0, 3.0, 0.0]);
        let mut scores = vec![f64::NAN; 4];
        table.score(Asked::history(&[0, 2]), &mut scores);
        let expected = [4.0, 1.0 + 0.4 * 2.0, 0.0, 0.4 * 0.5];
        assert!(scores.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{scores:?}");
        // What nothing leads to stands by popularity.
        table.score(Asked::history(&[1]), &mut scores);
        assert!(scores[2] > scores[0] && scores[0] > scores[1] && scores[1] == 0.0, "{scores:?}");
    }
}
