//! Choosing among candidates: which a question has, and what its prompt says of them (E4, E10).

use super::Tasks;
use crate::base::named::named;
use crate::base::{Philox, Stream};
use std::collections::HashSet;

named! {
    /// What a prompt says of the candidates, and how they are ranked (E10).
    pub enum Listing: "candidates" {
        /// Nothing; each is ranked by its likelihood.
        Score = "score",
        /// Their titles, cut to the shortest beginnings that tell them apart; a beam search within
        /// them ranks them.
        Prompt = "prompt",
        /// Their titles, cut likewise; each is ranked by its likelihood.
        Both = "both",
    }
}

/// Tokens of a listed title at least, where it has so many: fewer say little of it.
const FEWEST_SHOWN: usize = 6;

/// Candidates beside the one that is right (E4).
const NEGATIVES: usize = 99;

impl Tasks<'_> {
    /// The stored candidates of a user with the item that is asked for, in an order that tells
    /// nothing of it.
    pub(super) fn choices(&self, user: u32, target: u32) -> Vec<u32> {
        let mut all = self.dataset.negatives(user).to_vec();
        all.retain(|&item| item != target);
        all.push(target);
        let seed = self.dataset.settings().seed;
        Philox::new(seed, Stream::Candidates, user.into()).shuffle(&mut all);
        all
    }

    /// New candidates for an example of training: items that the user did not take as far as
    /// training may know, and `target`, shuffled. What is held out is among the others like any
    /// item: if it never were, that would tell it.
    pub(super) fn new_choices(&self, user: u32, target: u32, rng: &mut Philox) -> Vec<u32> {
        let mut taken: HashSet<u32> = self.training_events(user).iter().copied().collect();
        taken.insert(target);
        let mut all = others(self.dataset.items(), &taken, NEGATIVES, rng);
        all.push(target);
        rng.shuffle(&mut all);
        all
    }

    /// The tokens of each candidate that a list shows.
    pub(super) fn listed(&self, candidates: &[u32]) -> Vec<&[u32]> {
        if self.habits.candidates == Listing::Score {
            return Vec::new();
        }
        let whole: Vec<&[u32]> =
            candidates.iter().map(|&item| self.dataset.item(item).tokens).collect();
        let shown = apart(&whole);
        whole.into_iter().zip(shown).map(|(tokens, shown)| &tokens[..shown]).collect()
    }
}

/// `count` different items of `items`, none of them in `taken`; fewer where there are no more.
fn others(items: usize, taken: &HashSet<u32>, count: usize, rng: &mut Philox) -> Vec<u32> {
    let free = items - taken.len().min(items);
    if free < 4 * count {
        let mut all: Vec<u32> = (0..items as u32).filter(|item| !taken.contains(item)).collect();
        rng.shuffle(&mut all);
        all.truncate(count);
        return all;
    }
    let (mut drawn, mut chosen) = (HashSet::with_capacity(count), Vec::with_capacity(count));
    while chosen.len() < count {
        let item = rng.below(items) as u32;
        if !taken.contains(&item) && drawn.insert(item) {
            chosen.push(item);
        }
    }
    chosen
}

/// An item that is none of `taken`, where there is one.
pub(super) fn another(items: usize, taken: &[u32], rng: &mut Philox) -> Option<u32> {
    let taken: HashSet<u32> = taken.iter().copied().collect();
    others(items, &taken, 1, rng).first().copied()
}

/// Of each text the length of its shortest beginning, of [`FEWEST_SHOWN`] tokens or more, that no
/// other text begins with; the whole of one that others begin with.
fn apart(texts: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_unstable_by_key(|&at| texts[at]);
    let mut shown: Vec<usize> = texts.iter().map(|text| text.len().min(FEWEST_SHOWN)).collect();
    // What a text shares with any other it shares with a neighbour in this order.
    for pair in order.windows(2) {
        let [a, b] = [texts[pair[0]], texts[pair[1]]];
        let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        for at in pair {
            shown[*at] = shown[*at].max((shared + 1).min(texts[*at].len()));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn new_candidates_are_different_and_nobodys() {
        for items in [5, 60, 5000] {
            let taken: HashSet<u32> = (0..items as u32).step_by(3).collect();
            let mut rng = Philox::new(1, Stream::Templates, items as u64);
            let chosen = others(items, &taken, 99, &mut rng);
            let distinct: HashSet<u32> = chosen.iter().copied().collect();
            assert_eq!(distinct.len(), chosen.len());
            assert!(chosen.iter().all(|item| !taken.contains(item) && *item < items as u32));
            assert_eq!(chosen.len(), 99.min(items - taken.len()));
        }
        let mut rng = Philox::new(1, Stream::Templates, 0);
        assert_eq!(another(2, &[0, 1], &mut rng), None);
        assert_eq!(another(2, &[0], &mut rng), Some(1));
    }

    proptest! {
        #[test]
        fn beginnings_tell_texts_apart(
            texts in prop::collection::vec(prop::collection::vec(0u32..3, 1..12), 1..12)
        ) {
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            for (at, &shown) in apart(&texts).iter().enumerate() {
                let others = || texts.iter().enumerate().filter(|(other, _)| *other != at);
                let alone = |shown: usize| {
                    others().all(|(_, other)| !other.starts_with(&texts[at][..shown]))
                };
                prop_assert!(shown <= texts[at].len());
                prop_assert!(shown >= texts[at].len().min(FEWEST_SHOWN));
                prop_assert!(alone(shown) || shown == texts[at].len());
                prop_assert!(shown == texts[at].len().min(FEWEST_SHOWN) || !alone(shown - 1));
            }
        }
    }
}
