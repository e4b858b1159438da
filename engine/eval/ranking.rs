//! Ranking metrics with one relevant item a user (E6–E8).

pub use crate::data::rank::{gain, ndcg};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::hash::Hash;

/// What becomes of outputs that are no item and of items that appear twice (E7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The first occurrence counts, and an invalid output keeps its place as a miss.
    #[default]
    Strict,
    /// As in P5's script: invalid outputs vanish, and the last occurrence of an item counts.
    P5,
    /// The first occurrence counts, and invalid outputs vanish.
    DropInvalid,
}

impl Policy {
    /// Every policy, in the order in which a list of choices shows them.
    pub const ALL: [Policy; 3] = [Policy::Strict, Policy::P5, Policy::DropInvalid];

    /// The word for it in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Strict => "strict",
            Policy::P5 => "p5",
            Policy::DropInvalid => "drop_invalid",
        }
    }

    /// The list that is ranked: `outputs` best first, `None` for an invalid one.
    pub fn apply<T: Copy + Eq + Hash>(self, outputs: &[Option<T>]) -> Vec<Option<T>> {
        let mut seen = HashSet::with_capacity(outputs.len());
        let mut first = |output: &Option<T>| match output {
            Some(item) => seen.insert(*item),
            None => self == Policy::Strict,
        };
        match self {
            Policy::Strict | Policy::DropInvalid => {
                outputs.iter().filter(|o| first(o)).copied().collect()
            }
            Policy::P5 => {
                let mut list: Vec<_> = outputs.iter().rev().filter(|o| first(o)).copied().collect();
                list.reverse();
                list
            }
        }
    }

    /// Place of the target, from 1; `None` where it does not appear.
    pub fn rank<T: Copy + Eq + Hash>(self, outputs: &[Option<T>], target: T) -> Option<u32> {
        let place = self.apply(outputs).iter().position(|&output| output == Some(target))?;
        Some(place as u32 + 1)
    }
}

/// Whom the denominator counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Users {
    /// All users of the split; those without a line are misses (E8).
    #[default]
    All,
    /// Only those with a line: for files that were made for a sample on purpose.
    Listed,
    /// Those that the predictions' settings say were asked; those without a line are misses.
    Asked,
}

impl Users {
    /// Every way to count, in the order in which a list of choices shows them.
    pub const ALL: [Users; 3] = [Users::All, Users::Listed, Users::Asked];

    /// The word for it in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Users::All => "all",
            Users::Listed => "listed",
            Users::Asked => "asked",
        }
    }
}

/// Takes the items of the history out of a list of outputs, a repeated target too (E15).
pub fn without_history<T: Copy + Eq>(outputs: &[Option<T>], history: &[T]) -> Vec<Option<T>> {
    let stays = |item: &T| !history.contains(item);
    outputs.iter().filter(|output| output.as_ref().is_none_or(stays)).copied().collect()
}

/// 1 if the target is among the first `k`.
pub fn hit(rank: Option<u32>, k: u32) -> f64 {
    f64::from(rank.is_some_and(|rank| rank <= k))
}

/// 1 / rank if the target is among the first `k`.
pub fn reciprocal(rank: Option<u32>, k: u32) -> f64 {
    match rank {
        Some(rank) if rank <= k => 1.0 / f64::from(rank),
        _ => 0.0,
    }
}

/// Means over all test users; one without a rank is a miss and stays in the denominator (E8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Share of users with the target at rank 1.
    pub hr1: f64,
    /// Share of users with the target among the first five.
    pub hr5: f64,
    /// Share of users with the target among the first ten.
    pub hr10: f64,
    /// Mean of [`ndcg`] at 5.
    pub ndcg5: f64,
    /// Mean of [`ndcg`] at 10.
    pub ndcg10: f64,
    /// Mean of [`reciprocal`] at 10: a list of ten and a ranking of the catalogue are cut alike.
    pub mrr10: f64,
    /// Number of users.
    pub n: usize,
}

impl Scores {
    /// Names in the order of [`Scores::values`].
    pub const NAMES: [&'static str; 6] = ["hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr@10"];

    /// What one user adds, in the order of [`Scores::NAMES`].
    pub fn of_user(rank: Option<u32>) -> [f64; 6] {
        [
            hit(rank, 1),
            hit(rank, 5),
            ndcg(rank, 5),
            hit(rank, 10),
            ndcg(rank, 10),
            reciprocal(rank, 10),
        ]
    }

    /// Scores of `ranks`, from 1, `None` for a miss. All zero for no users.
    ///
    /// ```
    /// use engine::eval::ranking::Scores;
    /// let scores = Scores::from_ranks(&[Some(1), Some(3), Some(10), None]);
    /// assert_eq!((scores.hr1, scores.hr5, scores.hr10, scores.ndcg5), (0.25, 0.5, 0.75, 0.375));
    /// ```
    pub fn from_ranks(ranks: &[Option<u32>]) -> Scores {
        let mut sums = [0.0; 6];
        for &rank in ranks {
            for (sum, value) in sums.iter_mut().zip(Scores::of_user(rank)) {
                *sum += value;
            }
        }
        let n = ranks.len();
        let [hr1, hr5, ndcg5, hr10, ndcg10, mrr10] =
            sums.map(|sum| if n == 0 { 0.0 } else { sum / n as f64 });
        Scores { hr1, hr5, hr10, ndcg5, ndcg10, mrr10, n }
    }

    /// The means in the order of [`Scores::NAMES`].
    pub fn values(&self) -> [f64; 6] {
        [self.hr1, self.hr5, self.ndcg5, self.hr10, self.ndcg10, self.mrr10]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_invalid_output_keeps_its_place_only_under_strict() {
        let outputs = [None, Some(4), Some(7), Some(4), None, Some(9)];
        assert_eq!(Policy::Strict.apply(&outputs), [None, Some(4), Some(7), None, Some(9)]);
        assert_eq!(Policy::DropInvalid.apply(&outputs), [Some(4), Some(7), Some(9)]);
        assert_eq!(Policy::P5.apply(&outputs), [Some(7), Some(4), Some(9)]);
        assert_eq!(Policy::P5.rank(&outputs, 4), Some(2));
        assert_eq!(Policy::Strict.rank(&outputs, 5), None);
    }

    #[test]
    fn the_history_leaves_whatever_is_asked_for() {
        let outputs = [Some(1), None, Some(2), Some(3)];
        assert_eq!(without_history(&outputs, &[1, 3]), [None, Some(2)]);
    }

    #[test]
    fn no_users_score_nothing() {
        assert_eq!(Scores::from_ranks(&[]), Scores::default());
    }

    proptest! {
        /// With trie-constrained beams (nothing invalid, nothing twice) the three policies are one
        /// (E7).
        #[test]
        fn policies_agree_on_clean_lists(
            (items, target) in (Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(), 0u32..50)
        ) {
            let outputs: Vec<_> = items[..20].iter().map(|&i| Some(i)).collect();
            let rank = Policy::Strict.rank(&outputs, target);
            for policy in Policy::ALL {
                prop_assert_eq!(policy.apply(&outputs), outputs.clone());
                prop_assert_eq!(policy.rank(&outputs, target), rank);
            }
        }

        /// Dropping invalid outputs can only help, and so can leaving the history out where the
        /// target is not in it.
        #[test]
        fn dropping_never_hurts(
            outputs in prop::collection::vec(prop::option::of(0u32..15), 0..25),
            target in 0u32..15,
            history in prop::collection::vec(0u32..15, 0..6),
        ) {
            let place = |rank: Option<u32>| rank.unwrap_or(u32::MAX);
            let better = |a: Option<u32>, b: Option<u32>| place(a) <= place(b);
            let strict = Policy::Strict.rank(&outputs, target);
            prop_assert!(better(Policy::DropInvalid.rank(&outputs, target), strict));
            let filtered = without_history(&outputs, &history);
            for policy in Policy::ALL {
                let found = policy.rank(&filtered, target);
                match history.contains(&target) {
                    true => prop_assert_eq!(found, None),
                    false => prop_assert!(better(found, policy.rank(&outputs, target))),
                }
                prop_assert_eq!(policy.rank(&outputs, target).is_some(), strict.is_some());
            }
        }
    }
}
