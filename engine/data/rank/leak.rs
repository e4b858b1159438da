//! Whether ids give the next item away (E24).

use super::{Asked, Ranker};

/// Shown ids that follow each other: what a model could guess if ids leaked the order of events.
///
/// Largest of the history + 1, then last + 1, then largest + 2, + 3, … as long as such ids exist.
pub struct LeakProbe {
    ids: Vec<i64>,
    /// (id, item), ascending.
    sorted: Vec<(i64, u32)>,
}

/// Guesses that count.
const GUESSES: i64 = 20;

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

impl Ranker for LeakProbe {
    fn name(&self) -> &'static str {
        "leak probe, id + 1"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.fill(0.0);
        let ids = || asked.history.iter().map(|&item| self.ids[item as usize]);
        let (Some(largest), Some(last)) = (ids().max(), ids().next_back()) else { return };
        // Ids are somebody else's numbers: one behind the last of them is no id.
        let first = [largest.checked_add(1), last.checked_add(1)].into_iter();
        let guesses = first.chain((2..GUESSES).map(|step| largest.checked_add(step)));
        for (guess, score) in guesses.zip((1..=GUESSES).rev()) {
            if let Some(item) = guess.and_then(|id| self.find(id)) {
                let place = &mut scores[item as usize];
                *place = place.max(score as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_counts_up() {
        let probe = LeakProbe::new(vec![10, 11, 12, 13, i64::MAX]);
        let best = |history: &[u32]| {
            let mut scores = vec![f64::NAN; 5];
            probe.score(Asked::history(history), &mut scores);
            let mut order: Vec<usize> = (0..5).filter(|&i| scores[i] > 0.0).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            order
        };
        assert_eq!(best(&[1, 0]), [2, 1, 3]);
        assert_eq!(best(&[2, 0]), [3, 1]);
        assert_eq!(best(&[4]), [0usize; 0]);
    }
}
