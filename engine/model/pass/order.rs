//! In which order the head computes the targets of a batch: what shares a product stands together.

use crate::data::Choices;
use std::ops::Range;

/// The targets of a batch in the order in which the head computes them: those of the whole
/// vocabulary, then those of each wide set, then all others.
pub(super) struct Order {
    /// Numbers of targets.
    pub targets: Vec<u32>,
    /// Places of those of the whole vocabulary.
    pub whole: Range<usize>,
    /// Sets, each with the places of its targets.
    pub wide: Vec<(u32, Range<usize>)>,
    /// Places of the others.
    pub narrow: Range<usize>,
}

impl Order {
    /// What the batch has of each target, in the head's order.
    pub fn arrange(&self, of_targets: &[u32]) -> Vec<u32> {
        self.targets.iter().map(|&target| of_targets[target as usize]).collect()
    }

    /// Of `count` targets.
    pub fn of(choices: &Choices, count: usize) -> Order {
        let is_wide = |set: u32| choices.sets[set as usize].len() >= Choices::WIDE;
        // Stable: within a kind they stay as they come.
        let kind = |&target: &u32| match choices.of(target) {
            None => (0, 0),
            Some(set) if is_wide(set) => (1, set),
            Some(_) => (2, 0),
        };
        let mut targets: Vec<u32> = (0..count as u32).collect();
        targets.sort_by_key(kind);
        let (mut whole, mut wide, mut narrow) = (0..0, Vec::new(), targets.len()..targets.len());
        let mut at = 0;
        for run in targets.chunk_by(|a, b| kind(a) == kind(b)) {
            let places = at..at + run.len();
            at = places.end;
            match kind(&run[0]) {
                (0, _) => whole = places,
                (1, set) => wide.push((set, places)),
                _ => narrow = places,
            }
        }
        Order { targets, whole, wide, narrow }
    }
}
