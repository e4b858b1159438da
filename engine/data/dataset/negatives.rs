//! The stored negatives (E4).

use crate::base::{Philox, Stream};
use crate::data::source::Raw;
use rayon::prelude::*;

/// Negatives a user, where the catalogue has as many.
pub const NEGATIVES: usize = 99;

/// Negatives of all users, end to end.
pub struct Negatives {
    /// [users + 1] where each user's begin.
    pub start: Vec<u64>,
    /// Items.
    pub items: Vec<u32>,
}

/// Items drawn uniformly, without repetition, from those that the user never touched; all of these
/// where there are no more than [`NEGATIVES`].
pub fn negatives(raw: &Raw, seed: u64) -> Negatives {
    /// Users whose lists are held apart at a time.
    const BLOCK: usize = 1 << 14;
    let (items, users) = (raw.items.len(), raw.users.len());
    let mut all = Negatives { start: Vec::with_capacity(users + 1), items: Vec::new() };
    all.items.reserve_exact(users * NEGATIVES.min(items));
    all.start.push(0);
    for begin in (0..users).step_by(BLOCK) {
        let block: Vec<Vec<u32>> = (begin..users.min(begin + BLOCK))
            .into_par_iter()
            .map(|u| {
                let mut taken = raw.events.items(u as u32).to_vec();
                taken.sort_unstable();
                taken.dedup();
                draw(items, taken, &mut Philox::new(seed, Stream::Negatives, u as u64))
            })
            .collect();
        for drawn in block {
            all.items.extend(drawn);
            all.start.push(all.items.len() as u64);
        }
    }
    all
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
