//! Rankings that take no language model: what is to be beaten, what may teach, and what may be
//! asked beside a model.
//!
//! A ranker is fitted on [`Sequences`], the part of the data that it may see, and knows items by
//! their numbers as names alone: no score depends on their order.

mod balance;
mod blend;
mod ease;
mod factors;
mod fitted;
mod fuse;
mod head;
mod leak;
mod markov;
mod neighbours;
mod popularity;
pub mod ratings;
mod table;
mod teacher;
mod titles;
mod tune;

pub use balance::{balanced, Fused, Worth};
pub use blend::{Blend, BlendWeights, COMPONENTS};
pub use ease::{Ease, EaseSettings, MOST_ITEMS};
pub use factors::{FactorSettings, Factors};
pub use fitted::Fitted;
pub use fuse::{Balance, Candidate, Fusion, Shortlist};
pub use head::head;
pub use leak::LeakProbe;
pub use markov::{Markov, ALPHA};
pub use neighbours::{NeighbourSettings, Neighbours};
pub use popularity::Popularity;
pub use table::Table;
pub use teacher::{Shares, Teacher, TeacherSettings};
pub use titles::{Text, TitleSettings, Titles};
pub use tune::{tune, Case, Tuned};

/// Who is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The user's number, where it is one that the ranker was fitted on.
    pub user: Option<u32>,
    /// Items, oldest first.
    pub history: &'a [u32],
}

impl<'a> Asked<'a> {
    /// Somebody of whom nothing but this history is known.
    pub fn history(history: &'a [u32]) -> Asked<'a> {
        Asked { user: None, history }
    }
}

/// A rule that scores the catalogue for somebody.
pub trait Ranker: Send + Sync {
    /// What a table calls it.
    fn name(&self) -> &'static str;

    /// Writes one score an item, finite; higher is better.
    fn score(&self, asked: Asked<'_>, scores: &mut [f64]);

    /// The same for somebody who took `next` right behind the history where the ranker was fitted,
    /// as if that had not been seen (R44). What counts nothing need not forget anything.
    fn score_without(&self, asked: Asked<'_>, _next: u32, scores: &mut [f64]) {
        self.score(asked, scores);
    }
}

/// What a ranker is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// The events of each user that may be seen, oldest first.
    pub users: &'a [&'a [u32]],
    /// Size of the catalogue.
    pub items: usize,
}

impl Sequences<'_> {
    /// How often each item occurs.
    pub fn counts(&self) -> Vec<f64> {
        let mut counts = vec![0.0; self.items];
        for &item in self.users.iter().copied().flatten() {
            counts[item as usize] += 1.0;
        }
        counts
    }
}

impl<R: Ranker + ?Sized> Ranker for std::sync::Arc<R> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        (**self).score(asked, scores);
    }

    fn score_without(&self, asked: Asked<'_>, next: u32, scores: &mut [f64]) {
        (**self).score_without(asked, next, scores);
    }
}

/// Lists one behind another: list i is `values[start[i]..start[i + 1]]`.
#[derive(Clone, Debug)]
struct Lists<T> {
    start: Vec<usize>,
    values: Vec<T>,
}

impl<T: Copy> Lists<T> {
    fn of(&self, list: usize) -> &[T] {
        &self.values[self.start[list]..self.start[list + 1]]
    }

    /// Puts every value into the list that is named beside it, in the order of `pairs`.
    fn sorted(lists: usize, pairs: impl Iterator<Item = (u32, T)> + Clone, none: T) -> Lists<T> {
        let mut start = vec![0; lists + 1];
        for (list, _) in pairs.clone() {
            start[list as usize + 1] += 1;
        }
        for list in 0..lists {
            start[list + 1] += start[list];
        }
        let (mut free, mut values) = (start.clone(), vec![none; start[lists]]);
        for (list, value) in pairs {
            values[free[list as usize]] = value;
            free[list as usize] += 1;
        }
        Lists { start, values }
    }
}

/// The weights of a history's events, the last first: γ^age, as far as they count. With γ = 0 the
/// last alone.
fn recent(history: &[u32], gamma: f64) -> impl Iterator<Item = (u32, f64)> + '_ {
    /// Below this share of the last event an event is left out.
    const NEGLIGIBLE: f64 = 1e-12;
    let weights = std::iter::successors(Some(1.0), move |weight| Some(weight * gamma));
    history.iter().rev().copied().zip(weights).take_while(|(_, weight)| *weight >= NEGLIGIBLE)
}

/// The `count` first of `items` in the order of `before`, in any order; all where there are fewer.
pub fn best(
    mut items: Vec<u32>,
    count: usize,
    before: impl FnMut(&u32, &u32) -> std::cmp::Ordering,
) -> Vec<u32> {
    if count < items.len() {
        items.select_nth_unstable_by(count, before);
        items.truncate(count);
    }
    items
}

/// Where an item stands, from 1: it loses every tie, so no order of items matters.
pub fn place(scores: &[f64], item: u32) -> u32 {
    let own = scores[item as usize];
    // The item itself is among these.
    scores.iter().filter(|&&score| score >= own).count() as u32
}

/// What a hit at a place, counted from 1, is worth: 1 / log₂(place + 1).
pub fn gain(place: f64) -> f64 {
    1.0 / (place + 1.0).log2()
}

/// [`gain`] at the place of the one relevant item if it is among the first `k`; the ideal is 1, so
/// this is the NDCG of one user (E8).
pub fn ndcg(place: Option<u32>, k: u32) -> f64 {
    place.filter(|&place| place <= k).map_or(0.0, |place| gain(f64::from(place)))
}
