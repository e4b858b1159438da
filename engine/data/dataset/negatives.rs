//! The stored negatives (E4).

use crate::base::{Philox, Stream};
use crate::data::source::Raw;
use rayon::prelude::*;

/// Negatives a user, where the catalogue has as many.
pub const NEGATIVES: usize = 99;

/// Negatives of all users: items drawn uniformly, without repetition, from those that the user
/// never touched; all of these where there are no more than [`NEGATIVES`]. They are drawn whenever
/// they are asked for: of millions of users they are the largest thing there is.
pub struct Negatives<'r> {
    raw: &'r Raw,
    seed: u64,
    /// [users + 1] where each user's begin.
    pub start: Vec<u64>,
}

impl<'r> Negatives<'r> {
    /// Those of `raw`.
    pub fn of(raw: &'r Raw, seed: u64) -> Negatives<'r> {
        let users = 0..raw.users.len() as u32;
        let counts: Vec<usize> = users
            .into_par_iter()
            .map(|user| NEGATIVES.min(raw.items.len() - touched(raw, user).len()))
            .collect();
        let mut start = Vec::with_capacity(counts.len() + 1);
        start.push(0);
        for count in counts {
            start.push(start[start.len() - 1] + count as u64);
        }
        Negatives { raw, seed, start }
    }

    /// Hands all items to `take`, end to end, some users' at a time.
    pub fn each<E>(&self, mut take: impl FnMut(&[u32]) -> Result<(), E>) -> Result<(), E> {
        /// Users whose lists are held at a time.
        const BLOCK: usize = 1 << 14;
        let users: Vec<u32> = (0..self.raw.users.len() as u32).collect();
        users.chunks(BLOCK).try_for_each(|users| {
            let block: Vec<Vec<u32>> = users.par_iter().map(|&user| self.of_user(user)).collect();
            take(&block.concat())
        })
    }

    fn of_user(&self, user: u32) -> Vec<u32> {
        let mut rng = Philox::new(self.seed, Stream::Negatives, user.into());
        draw(self.raw.items.len(), &touched(self.raw, user), &mut rng)
    }
}

/// The items of a user, in ascending order and without repetition.
fn touched(raw: &Raw, user: u32) -> Vec<u32> {
    let mut taken = raw.events.items(user).to_vec();
    taken.sort_unstable();
    taken.dedup();
    taken
}

/// `taken` is sorted and without repetition.
fn draw(items: usize, taken: &[u32], rng: &mut Philox) -> Vec<u32> {
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
    let mut seen = [u32::MAX; (4 * NEGATIVES).next_power_of_two()];
    while drawn.len() < NEGATIVES {
        let item = rng.below(items) as u32;
        let mut slot = item as usize % seen.len();
        while seen[slot] != item && seen[slot] != u32::MAX {
            slot = (slot + 1) % seen.len();
        }
        if seen[slot] != item && taken.binary_search(&item).is_err() {
            seen[slot] = item;
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
            let drawn = draw(items, &taken, &mut Philox::new(1, Stream::Negatives, 0));
            assert_eq!(drawn.len(), (items - taken.len()).min(NEGATIVES));
            assert!(drawn.iter().all(|i| i % 3 != 0 && (*i as usize) < items));
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), drawn.len());
        }
    }
}
