//! A user's training events as an example has them: as they are, those of a day in another order, a
//! part of them, two neighbours, or two items that no user need have (R43, R44).

use super::mix::Mix;
use super::Tasks;
use crate::base::{Philox, Stream};
use crate::data::numeral::DAY;
use crate::data::rank::Shares;
use crate::data::record::NO_TIME;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Events as an example has them.
pub(super) struct Variant<'e> {
    pub user: u32,
    /// Names what is drawn.
    pub number: u64,
    pub items: Cow<'e, [u32]>,
    /// Which of them are there.
    pub part: Range<usize>,
    /// Whether they are two of which the second is to be asked for.
    pub is_pair: bool,
    /// Which event of the user each is; `None` = in their order.
    order: Option<Vec<usize>>,
    /// What is taught in place of the second of two items that nobody need have taken.
    pub taught: Option<Arc<Shares>>,
}

impl<'e> Variant<'e> {
    /// A user's events as they are.
    pub(super) fn plain(user: u32, number: u64, items: &'e [u32]) -> Variant<'e> {
        let part = 0..items.len();
        let (items, order) = (items.into(), None);
        Variant { user, number, items, part, is_pair: false, order, taught: None }
    }

    /// Which event of the user stands at a place.
    pub(super) fn event(&self, place: usize) -> usize {
        self.order.as_ref().map_or(place, |order| order[place])
    }
}

impl Tasks<'_> {
    /// The events of example `number`, which asks about `user`.
    pub(super) fn variant(&self, user: u32, number: u64, mix: &Mix) -> Variant<'_> {
        // What is drawn beyond the paper has numbers of its own.
        let rng = &mut Philox::new(self.habits.seed, Stream::Variants, number);
        let items = self.training_events(user);
        let mut variant = Variant::plain(user, number, items);
        let [pair, crop, context] = [mix.pairs, mix.crops, mix.contexts].map(|p| rng.uniform() < p);
        let item = rng.below(self.dataset.items()) as u32;
        if let Some(taught) = self.taught_after(item).filter(|_| context) {
            let target = self.drawn(&taught, rng);
            variant.items = vec![item, target].into();
            (variant.part, variant.is_pair) = (0..2, true);
            return Variant { taught: Some(taught), ..variant };
        }
        if mix.shuffle_days {
            let order = shuffled(&self.dataset.user(user).times[..items.len()], rng);
            variant.items = order.iter().map(|&event| items[event]).collect();
            variant.order = Some(order);
        }
        if pair && items.len() >= 2 {
            // Late events tell more of what comes than early ones.
            let mut draw = || 1 + rng.below(items.len() - 1);
            let target = draw().max(draw());
            (variant.part, variant.is_pair) = (target - 1..target + 1, true);
        } else if crop && items.len() > 2 {
            let length = 2 + rng.below(items.len() - 1);
            let first = rng.below(items.len() - length + 1);
            variant.part = first..first + length;
        }
        variant
    }
}

/// Places of events at these times, those of one day in a random order; events without a time keep
/// theirs.
fn shuffled(times: &[i64], rng: &mut Philox) -> Vec<usize> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    let day = |&time: &i64| (time != NO_TIME).then(|| time.div_euclid(DAY));
    let mut from = 0;
    for run in times.chunk_by(|a, b| day(a).is_some() && day(a) == day(b)) {
        rng.shuffle(&mut order[from..from + run.len()]);
        from += run.len();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_places_within_their_day_alone() {
        let times = [0, 5, DAY - 1, DAY, NO_TIME, NO_TIME, 9 * DAY, 9 * DAY + 3];
        let mut seen = std::collections::HashSet::new();
        for index in 0..200 {
            let order = shuffled(&times, &mut Philox::new(1, Stream::Variants, index));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..8));
            for (place, &event) in order.iter().enumerate() {
                let same = times[place].div_euclid(DAY) == times[event].div_euclid(DAY);
                assert!(place == event || same && times[event] != NO_TIME, "{order:?}");
            }
            seen.insert(order);
        }
        assert_eq!(seen.len(), 12);
    }
}
