//! What follows the last item.

use super::{Asked, Lists, Ranker, Sequences};

/// α of [`Markov`] where it is to be beaten, or asked beside a model.
pub const ALPHA: f64 = 1.0;

/// count(last → j) + α · share(j): the last item's successors, then what is popular.
pub struct Markov {
    /// α · share.
    prior: Vec<f64>,
    /// Successors of each item with their counts.
    next: Lists<(u32, f64)>,
}

impl Markov {
    /// Counts which item follows which.
    pub fn fit(seen: Sequences<'_>, alpha: f64) -> Markov {
        let counts = seen.counts();
        let total = counts.iter().sum::<f64>().max(1.0);
        let prior = counts.iter().map(|count| alpha * count / total).collect();
        let steps = |user: &&[u32]| user.windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>();
        let mut pairs: Vec<(u32, u32)> = seen.users.iter().flat_map(steps).collect();
        pairs.sort_unstable();
        let runs = pairs.chunk_by(|a, b| a == b);
        let runs = runs.map(|run| (run[0].0, (run[0].1, run.len() as f64)));
        Markov { prior, next: Lists::sorted(seen.items, runs, (0, 0.0)) }
    }

    /// Whether an item followed another.
    pub(super) fn followed(&self, last: u32, next: u32) -> bool {
        self.next(last).binary_search_by_key(&next, |(item, _)| *item).is_ok()
    }

    /// What followed an item, with how often.
    pub(super) fn next(&self, item: u32) -> &[(u32, f64)] {
        self.next.of(item as usize)
    }
}

impl Ranker for Markov {
    fn name(&self) -> &'static str {
        "Markov, last item"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.prior);
        if let Some(&last) = asked.history.last() {
            self.next(last).iter().for_each(|&(item, count)| scores[item as usize] += count);
        }
    }

    fn score_without(&self, asked: Asked<'_>, next: u32, scores: &mut [f64]) {
        self.score(asked, scores);
        let seen = asked.history.last().is_some_and(|&last| self.followed(last, next));
        if seen {
            scores[next as usize] -= 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_beat_popularity() {
        let users: [&[u32]; 3] = [&[0, 1, 2], &[0, 1], &[3, 0, 2]];
        let markov = Markov::fit(Sequences { users: &users, items: 5 }, 1.0);
        let mut scores = vec![0.0; 5];
        markov.score(Asked::history(&[3, 0]), &mut scores);
        // Of 8 events: shares 3/8, 2/8, 2/8, 1/8, 0.
        assert_eq!(scores, [0.375, 2.25, 1.25, 0.125, 0.0]);
        markov.score(Asked::history(&[4]), &mut scores);
        assert_eq!(scores, [0.375, 0.25, 0.25, 0.125, 0.0]);
    }
}
