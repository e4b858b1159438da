//! The outputs of a line as one list, where the target stands in it, and what lines look like
//! before they are judged.

use super::baseline::FIRST;
use super::grounding::normal;
use super::predictions::{self, Asked, Prediction};
use super::ranking::{without_history, Policy};
use super::report::Counts;
use super::score::{Answered, Placed};
use super::truth::{Case, Truth};
use super::yes_no::TiedRank;
use std::collections::{HashMap, HashSet};

/// The outputs as one list of items.
pub(super) fn items(line: &Prediction) -> Vec<Option<u32>> {
    in_order(line, 0..line.slots.len())
}

/// The same in another order of the outputs.
pub(super) fn in_order(
    line: &Prediction,
    order: impl IntoIterator<Item = usize>,
) -> Vec<Option<u32>> {
    let mut list = Vec::with_capacity(line.slots.len());
    for at in order {
        match line.slots[at].as_slice() {
            [] => list.push(None),
            items => list.extend(items.iter().copied().map(Some)),
        }
    }
    list
}

/// The outputs as one list of items, by sum / length^`other` where they stand by
/// sum / length^`made` (E13); equal ones keep their order, and so do those without a length.
pub(super) fn by_penalty(line: &Prediction, made: f64, other: f64) -> Vec<Option<u32>> {
    let score = |at: usize| {
        let length = f64::from(line.lengths[at].max(1));
        f64::from(line.scores[at]) * length.powf(made - other)
    };
    let mut order: Vec<usize> = (0..line.slots.len()).collect();
    if line.lengths.iter().all(|&length| length > 0) {
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    }
    in_order(line, order)
}

/// The items among the first ten of a list, as a policy counts them and with those of `without`
/// left out.
pub(super) fn first(policy: Policy, list: &[Option<u32>], without: &[u32]) -> Vec<u32> {
    policy.apply(&without_history(list, without)).into_iter().take(FIRST).flatten().collect()
}

/// Where the target stands by score; `None` if it was not scored.
pub(super) fn yes_no(line: &Prediction, target: u32) -> Option<TiedRank> {
    let positive = line.slots.iter().position(|slot| slot.contains(&target))?;
    let scored = !line.scores[positive].is_nan();
    scored.then(|| TiedRank::of(&line.scores, positive))
}

/// A number for the title of each of these items: equal for items that no title tells apart.
pub(super) fn title_classes(
    truth: &Truth<'_>,
    items: impl Iterator<Item = u32>,
) -> HashMap<u32, u32> {
    let (mut classes, mut of_item) = (HashMap::<String, u32>::new(), HashMap::new());
    for number in items {
        let class = || {
            let item = &truth.items[number as usize];
            let title = if item.title.is_empty() { item.surface } else { item.title };
            let next = classes.len() as u32;
            *classes.entry(normal(title)).or_insert(next)
        };
        of_item.entry(number).or_insert_with(class);
    }
    of_item
}

/// Place of the first output that bears the target's title (E16), outputs of one title counted
/// once.
pub(super) fn title_rank(
    line: &Prediction,
    classes: &HashMap<u32, u32>,
    target: u32,
) -> Option<u32> {
    let class = |slot: &Vec<u32>| slot.first().map(|item| classes[item]);
    let outputs: Vec<Option<u32>> = line.slots.iter().map(class).collect();
    Policy::Strict.rank(&outputs, classes[&target])
}

/// Where the target stands, and how many outputs are an item.
pub(super) fn placed(case: &Case<'_>, line: Option<&Prediction>, rank: Option<u32>) -> Answered {
    let slots = line.map_or(&[][..], |line| &line.slots);
    let valid = slots.iter().filter(|slot| !slot.is_empty()).count() as u32;
    let list = Some(Placed { rank, outputs: slots.len() as u32, valid });
    Answered { list, ..Answered::question(case.user, case.target) }
}

/// What the lines of a ranking look like before they are judged.
pub(super) fn counts(
    group: &predictions::Group,
    cases: &[Case<'_>],
    lines: &[Option<&Prediction>],
) -> Counts {
    let mut counts = Counts { lines: group.predictions.len(), ..Counts::default() };
    for (line, case) in lines.iter().zip(cases) {
        counts.again += usize::from(case.history.contains(&case.target));
        let Some(line) = line else {
            counts.missing += 1;
            continue;
        };
        counts.seconds += line.seconds;
        counts.cut += line.cut;
        counts.failed += usize::from(line.failed);
        counts.outputs += line.slots.len();
        counts.invalid += line.slots.iter().filter(|slot| slot.is_empty()).count();
        let mut seen = HashSet::new();
        counts.repeated +=
            line.slots.iter().filter(|slot| !slot.is_empty() && !seen.insert(*slot)).count();
        counts.short += usize::from(!line.failed && line.slots.len() < 10);
        if group.family != Asked::Full {
            let candidate = |item: &u32| *item == case.target || case.negatives.contains(item);
            counts.outside += line.slots.iter().flatten().filter(|item| !candidate(item)).count();
        }
    }
    counts
}
