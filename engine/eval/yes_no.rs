//! Ranking by scores that can tie: one pass a candidate, "yes" against "no" (E9).

/// Where the positive stands among its candidates, ties unbroken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TiedRank {
    /// Candidates with a strictly higher score.
    pub better: u32,
    /// Other candidates with exactly the positive's score.
    pub tied: u32,
}

impl TiedRank {
    /// Compares every score with that of `scores[positive]`.
    pub fn of(scores: &[f32], positive: usize) -> TiedRank {
        let own = scores[positive];
        let better = scores.iter().filter(|&&score| score > own).count() as u32;
        let tied = scores.iter().filter(|&&score| score == own).count() as u32;
        TiedRank { better, tied: tied.saturating_sub(1) }
    }

    /// Ties count for the positive.
    pub fn optimistic(self) -> u32 {
        self.better + 1
    }

    /// Ties count against the positive: the rank that is reported.
    pub fn pessimistic(self) -> u32 {
        self.better + self.tied + 1
    }

    /// Mean of a metric over all ways of breaking the ties, each as likely.
    pub fn expected(self, metric: impl Fn(Option<u32>) -> f64) -> f64 {
        let ranks = self.optimistic()..=self.pessimistic();
        ranks.map(|rank| metric(Some(rank))).sum::<f64>() / f64::from(self.tied + 1)
    }
}

/// The number that candidates are ranked by: yes − no, in f32, so that ties are those of the
/// logits.
pub fn score(yes: f32, no: f32) -> f32 {
    yes - no
}

/// Softmax over the two logits: 1 / (1 + exp(no − yes)).
pub fn probability(yes: f32, no: f32) -> f64 {
    1.0 / (1.0 + f64::from(no - yes).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::ranking::hit;

    #[test]
    fn all_tied_is_a_lottery() {
        let rank = TiedRank::of(&[0.5; 100], 0);
        assert_eq!((rank.optimistic(), rank.pessimistic()), (1, 100));
        assert!((rank.expected(|r| hit(r, 10)) - 0.1).abs() < 1e-12);
    }
}
