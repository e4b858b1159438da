//! What a teacher says of the events that are learnt, each asked once (R44).

use super::Tasks;
use crate::base::Philox;
use crate::data::rank::{Asked, Shares, Teacher};
use std::sync::{Arc, OnceLock};

/// Answers that are kept at most: some 800 bytes each.
const MOST_KEPT: usize = 1 << 21;

/// A teacher, and what it has said so far.
pub(super) struct Tutor {
    teacher: Teacher,
    /// Where each user's events begin among all.
    first: Vec<usize>,
    events: Vec<OnceLock<Arc<Shares>>>,
    items: Vec<OnceLock<Arc<Shares>>>,
}

impl Tutor {
    pub(super) fn new(teacher: Teacher, events: impl Iterator<Item = usize>) -> Tutor {
        let mut first = vec![0];
        for events in events {
            first.push(first.last().expect("it begins with 0") + events);
        }
        let empty = |count: usize| (0..count.min(MOST_KEPT)).map(|_| OnceLock::new()).collect();
        let (all, items) = (*first.last().expect("it begins with 0"), teacher.taken().len());
        Tutor { teacher, first, events: empty(all), items: empty(items) }
    }
}

impl Tasks<'_> {
    /// With a teacher of the events that are learnt, which forgets each one that it is asked about.
    pub fn taught_by(mut self, teacher: Teacher) -> Self {
        let users = 0..self.dataset.users() as u32;
        let events = users.map(|user| self.dataset.user(user).items.len());
        self.tutor = Some(Tutor::new(teacher, events));
        self
    }

    /// By item, how often the teacher saw it, and once more.
    pub(super) fn taken(&self) -> Option<&[f64]> {
        self.tutor.as_ref().map(|tutor| tutor.teacher.taken())
    }

    /// What the teacher would have in place of an event of a user; nothing without a teacher, and
    /// of a first event, before which nothing is known.
    pub(super) fn taught(&self, user: u32, event: usize) -> Option<Arc<Shares>> {
        let tutor = self.tutor.as_ref().filter(|_| event > 0)?;
        let items = self.dataset.user(user).items;
        let ask = || {
            let asked = Asked { user: Some(user), history: &items[..event] };
            Arc::new(tutor.teacher.shares(asked, Some(items[event])))
        };
        Some(kept(&tutor.events, tutor.first[user as usize] + event, ask))
    }

    /// What the teacher says comes after one item alone.
    pub(super) fn taught_after(&self, item: u32) -> Option<Arc<Shares>> {
        let tutor = self.tutor.as_ref()?;
        let ask = || Arc::new(tutor.teacher.shares(Asked::history(&[item]), None));
        Some(kept(&tutor.items, item as usize, ask))
    }

    /// An item, drawn by its share.
    pub(super) fn drawn(&self, shares: &Shares, rng: &mut Philox) -> u32 {
        let taken = self.tutor.as_ref().expect("somebody said these shares").teacher.taken();
        let mut left = rng.uniform();
        for (item, &taken) in (0..).zip(taken) {
            left -= shares.of(item, taken);
            if left < 0.0 {
                return item;
            }
        }
        taken.len() as u32 - 1
    }
}

fn kept(
    all: &[OnceLock<Arc<Shares>>],
    at: usize,
    ask: impl FnOnce() -> Arc<Shares>,
) -> Arc<Shares> {
    match all.get(at) {
        Some(one) => one.get_or_init(ask).clone(),
        None => ask(),
    }
}
