//! The stored negatives (E4).

use crate::base::{Philox, Stream};
use crate::data::source::Raw;
use rayon::prelude::*;

/// Negatives a user, where the catalogue has as many.
pub const NEGATIVES: usize = 99;

/// [users] items drawn uniformly, without repetition, from those that the user never touched; all
/// of these where there are no more than [`NEGATIVES`].
pub fn negatives(raw: &Raw, seed: u64) -> Vec<Vec<u32>> {
    let items = raw.items.len();
    raw.users
        .par_iter()
        .enumerate()
        .map(|(u, user)| {
            let mut taken: Vec<u32> = user.events.iter().map(|event| event.item).collect();
            taken.sort_unstable();
            taken.dedup();
            draw(items, taken, &mut Philox::new(seed, Stream::Negatives, u as u64))
        })
        .collect()
}

/// `taken` is sorted and without repetition.
fn draw(items: usize, mut taken: Vec<u32>, rng: &mut Philox) -> Vec<u32> {
    let free = items - taken.len();
    if free <= 4 * NEGATIVES {
        let mut all: Vec<u32> =
            (0..items as u32).filter(|i| taken.binary_search(i).is_err()).collect();
        rng.shuffle(&mut all);
        all.truncate(NEGATIVES);
        return all;
    }
    // Most of what is left is free, or nearly all of a long history was passed over: either way few
    // draws miss unless the history is most of the catalogue, and then they still end.
    let mut drawn = Vec::with_capacity(NEGATIVES);
    while drawn.len() < NEGATIVES {
        let item = rng.below(items) as u32;
        if let Err(place) = taken.binary_search(&item) {
            taken.insert(place, item);
            drawn.push(item);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_and_never_touched() {
        for items in [5usize, 50, 300, 5000] {
            let taken: Vec<u32> = (0..items as u32).filter(|i| i % 3 == 0).collect();
            let drawn = draw(items, taken.clone(), &mut Philox::new(1, Stream::Negatives, 0));
            assert_eq!(drawn.len(), (items - taken.len()).min(NEGATIVES));
            assert!(drawn.iter().all(|i| i % 3 != 0 && (*i as usize) < items));
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), drawn.len());
        }
    }
}
