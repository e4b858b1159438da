//! What is to be beaten: rankings that take no training worth the name, computed from the same
//! `.bin`.
//!
//! Fitted on the training part only (all but a user's last two events); the whole catalogue is
//! ranked, the history included; the target loses every tie, so no order of items matters.

use super::truth::Case;
use rayon::prelude::*;

/// A rule that scores the catalogue for a history.
pub trait Baseline: Sync {
    /// What a table calls it.
    fn name(&self) -> &'static str;

    /// Writes one score an item; higher is better.
    fn score(&self, history: &[u32], scores: &mut [f64]);
}

/// Where the target stands in a full ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Among all items.
    pub all: u32,
    /// With the history's items left out; none where the target is one of them (E15).
    pub unseen: Option<u32>,
    /// Among the target and the case's negatives.
    pub sampled: u32,
}

/// Places of the targets of all cases.
pub fn places(baseline: &dyn Baseline, cases: &[Case<'_>], items: usize) -> Vec<Place> {
    let place = |scores: &mut Vec<f64>, case: &Case<'_>| {
        baseline.score(case.history, scores);
        let own = scores[case.target as usize];
        // The target itself is among these.
        let all = scores.iter().filter(|&&score| score >= own).count() as u32;
        let at_least = |items: &[u32]| {
            let mut others: Vec<u32> =
                items.iter().copied().filter(|&item| item != case.target).collect();
            others.sort_unstable();
            others.dedup();
            others.iter().filter(|&&item| scores[item as usize] >= own).count() as u32
        };
        let again = case.history.contains(&case.target);
        let unseen = (!again).then(|| all - at_least(case.history));
        Place { all, unseen, sampled: 1 + at_least(case.negatives) }
    };
    cases.par_iter().map_init(|| vec![0.0; items], place).collect()
}

/// How often items occur in the training part.
pub struct Popularity {
    counts: Vec<f64>,
    total: f64,
}

impl Popularity {
    /// Counts the items of the training part of each user; `items` is the size of the catalogue.
    pub fn fit(sequences: &[&[u32]], items: usize) -> Popularity {
        let mut counts = vec![0.0; items];
        for &item in sequences.iter().copied().flatten() {
            counts[item as usize] += 1.0;
        }
        let total = counts.iter().sum::<f64>().max(1.0);
        Popularity { counts, total }
    }
}

impl Baseline for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn score(&self, _history: &[u32], scores: &mut [f64]) {
        scores.copy_from_slice(&self.counts);
    }
}

/// count(last → j) + α · share(j): the last item's successors, then what is popular.
pub struct Markov {
    /// α · share.
    prior: Vec<f64>,
    /// Successors of item i are `next[start[i]..start[i + 1]]`.
    start: Vec<usize>,
    next: Vec<(u32, f64)>,
}

impl Markov {
    /// Counts which item follows which in the training part of each user; `items` is the size of
    /// the catalogue.
    pub fn fit(sequences: &[&[u32]], items: usize, alpha: f64) -> Markov {
        let popularity = Popularity::fit(sequences, items);
        let prior =
            popularity.counts.iter().map(|count| alpha * count / popularity.total).collect();
        let steps =
            |sequence: &&[u32]| sequence.windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>();
        let mut pairs: Vec<(u32, u32)> = sequences.iter().flat_map(steps).collect();
        pairs.sort_unstable();
        let mut start = vec![0; items + 1];
        let mut next: Vec<(u32, f64)> = Vec::new();
        for run in pairs.chunk_by(|a, b| a == b) {
            start[run[0].0 as usize + 1] += 1;
            next.push((run[0].1, run.len() as f64));
        }
        for i in 0..items {
            start[i + 1] += start[i];
        }
        Markov { prior, start, next }
    }
}

impl Baseline for Markov {
    fn name(&self) -> &'static str {
        "Markov, last item"
    }

    fn score(&self, history: &[u32], scores: &mut [f64]) {
        scores.copy_from_slice(&self.prior);
        if let Some(&last) = history.last() {
            for &(item, count) in
                &self.next[self.start[last as usize]..self.start[last as usize + 1]]
            {
                scores[item as usize] += count;
            }
        }
    }
}

/// Shown ids that follow each other: what a model could guess if ids leaked the order of events
/// (E24).
///
/// Largest of the history + 1, then last + 1, then largest + 2, + 3, … as long as such ids exist.
pub struct LeakProbe {
    ids: Vec<i64>,
    /// (id, item), ascending.
    sorted: Vec<(i64, u32)>,
}

impl LeakProbe {
    /// `ids` are the numbers a model is shown, one an item.
    pub fn new(ids: Vec<i64>) -> LeakProbe {
        let mut sorted: Vec<(i64, u32)> = ids.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        LeakProbe { ids, sorted }
    }

    fn find(&self, id: i64) -> Option<u32> {
        let place = self.sorted.partition_point(|&(other, _)| other < id);
        self.sorted.get(place).filter(|&&(other, _)| other == id).map(|&(_, item)| item)
    }
}

/// Guesses of the leak probe that count.
const GUESSES: i64 = 20;

impl Baseline for LeakProbe {
    fn name(&self) -> &'static str {
        "leak probe, id + 1"
    }

    fn score(&self, history: &[u32], scores: &mut [f64]) {
        scores.fill(0.0);
        let ids = || history.iter().map(|&item| self.ids[item as usize]);
        let (Some(largest), Some(last)) = (ids().max(), ids().next_back()) else { return };
        let guesses =
            [largest + 1, last + 1].into_iter().chain((2..GUESSES).map(|step| largest + step));
        for (guess, score) in guesses.zip((1..=GUESSES).rev()) {
            if let Some(item) = self.find(guess) {
                let place = &mut scores[item as usize];
                *place = place.max(score as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::truth::Day;

    fn case<'a>(history: &'a [u32], target: u32, negatives: &'a [u32]) -> Case<'a> {
        Case { history, target, day: Day::Unknown, negatives }
    }

    const SEQUENCES: [&[u32]; 3] = [&[0, 1, 2], &[0, 1], &[3, 0, 2]];

    #[test]
    fn the_popular_come_first_and_the_target_loses_ties() {
        let popularity = Popularity::fit(&SEQUENCES, 5);
        // Counts 3 2 2 1 0.
        let places = places(&popularity, &[case(&[0], 2, &[3, 4, 1]), case(&[0, 0, 1], 4, &[])], 5);
        assert_eq!(places[0], Place { all: 3, unseen: Some(2), sampled: 2 });
        assert_eq!(places[1], Place { all: 5, unseen: Some(3), sampled: 1 });
    }

    #[test]
    fn successors_beat_popularity() {
        let markov = Markov::fit(&SEQUENCES, 5, 1.0);
        let mut scores = vec![0.0; 5];
        markov.score(&[3, 0], &mut scores);
        // Of 8 events: shares 3/8, 2/8, 2/8, 1/8, 0.
        assert_eq!(scores, [0.375, 2.25, 1.25, 0.125, 0.0]);
        markov.score(&[4], &mut scores);
        assert_eq!(scores, [0.375, 0.25, 0.25, 0.125, 0.0]);
    }

    #[test]
    fn the_probe_counts_up() {
        let probe = LeakProbe::new(vec![10, 11, 12, 13, 15]);
        let ranks =
            |history: &[u32], target| places(&probe, &[case(history, target, &[])], 5)[0].all;
        assert_eq!(ranks(&[1, 0], 2), 1);
        assert_eq!(ranks(&[2, 0], 3), 1);
        assert_eq!(ranks(&[2, 0], 1), 2);
        assert_eq!(ranks(&[2, 0], 4), 3);
        assert_eq!(ranks(&[2, 0], 0), 5);
    }
}
