//! What users said of items, one record a pair, and which part of them is learnt from: the split of
//! the rating, explanation and review families (P5's 8:1:1 by record; E3).

use super::dataset::Dataset;
use super::split::{Split, FEWEST};
use crate::base::named::named;
use crate::base::{Philox, Stream};
use std::collections::{HashMap, HashSet};

named! {
    /// Which records the record families learn from (E3).
    pub enum SplitPolicy: "split-policy" {
        /// All of the training part, as P5: about four fifths of what the sequential and direct
        /// families are asked for is among them.
        P5 = "p5",
        /// Without the pairs that those families ask for.
        Strict = "strict",
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To learn from.
    Training,
    /// To choose settings by.
    Validation,
    /// To be judged by.
    Test,
}

impl Part {
    /// The part that a source names; `None` where the word is none.
    pub fn named(word: &str) -> Option<Part> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Part::Training),
            "validation" | "valid" | "val" | "dev" => Some(Part::Validation),
            "test" => Some(Part::Test),
            _ => None,
        }
    }
}

impl From<Split> for Part {
    fn from(split: Split) -> Part {
        match split {
            Split::Test => Part::Test,
            Split::Validation => Part::Validation,
        }
    }
}

/// What a user said of an item.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Number of the user.
    pub user: u32,
    /// Number of the item.
    pub item: u32,
    /// Stars, NaN where unknown: those of the latest event with the item, or else of the review.
    pub stars: f32,
    /// Number of the review, where one was written.
    pub review: Option<u32>,
    /// What it is for.
    pub part: Part,
}

/// All records of a data set, by user, a user's in the order of the events.
pub struct Records {
    all: Vec<Record>,
    /// Where each user's begin; one more.
    first: Vec<usize>,
}

impl Records {
    /// Every pair of a user and an item with stars or a review. A review's own `split` counts;
    /// the other records are split 8:1:1 by a draw of the data set's own seed: one random record of
    /// every user and every item is for training, as P5 has it, then random ones up to four fifths.
    pub fn of(dataset: &Dataset) -> Records {
        let mut reviews: HashMap<(u32, u32), u32> = HashMap::new();
        let mut of_user: Vec<Vec<u32>> = vec![Vec::new(); dataset.users()];
        for (number, review) in (0..).zip(dataset.reviews()) {
            reviews.entry((review.user, review.item)).or_insert_with(|| {
                of_user[review.user as usize].push(number);
                number
            });
        }
        let (mut all, mut first) = (Vec::new(), vec![0]);
        let mut given = Vec::new();
        for (user, own) in (0..).zip(&of_user) {
            let mut push = |item: u32, stars: f32, review: Option<u32>| {
                let said = review.map(|number| dataset.review(number as usize));
                let stars = match (stars.is_nan(), said) {
                    (true, Some(review)) => review.rating,
                    _ => stars,
                };
                if !stars.is_nan() || review.is_some() {
                    let split = said.and_then(|review| review.split);
                    given.push(split.and_then(Part::named));
                    all.push(Record { user, item, stars, review, part: Part::Training });
                }
            };
            let events = dataset.user(user);
            let mut seen = HashSet::new();
            let latest = events.items.iter().rev().map(|&item| seen.insert(item));
            let latest: Vec<bool> = latest.collect();
            for (place, latest) in latest.into_iter().rev().enumerate() {
                if !latest {
                    continue;
                }
                let item = events.items[place];
                push(item, events.ratings[place], reviews.get(&(user, item)).copied());
            }
            for &number in own {
                let item = dataset.review(number as usize).item;
                if seen.insert(item) {
                    push(item, f32::NAN, Some(number));
                }
            }
            first.push(all.len());
        }
        let mut records = Records { all, first };
        records.split(&given, dataset.settings().seed);
        records
    }

    /// Gives each record its part: the one that is said, otherwise a drawn one.
    fn split(&mut self, given: &[Option<Part>], seed: u64) {
        let mut open: Vec<usize> = Vec::new();
        let (mut users, mut items) = (HashSet::new(), HashSet::new());
        for (at, (record, given)) in self.all.iter_mut().zip(given).enumerate() {
            match given {
                Some(part) => record.part = *part,
                None => open.push(at),
            }
            if *given == Some(Part::Training) {
                users.insert(record.user);
                items.insert(record.item);
            }
        }
        Philox::new(seed, Stream::Records, 0).shuffle(&mut open);
        let share = |tenths: usize| (open.len() * tenths + 5) / 10;
        let (most, validation) = (share(8), share(1));
        let all = &self.all;
        // Whoever or whatever comes for the first time is learnt from; both may be new at once.
        let (chosen, mut rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&at| {
            let [user, item] = [users.insert(all[at].user), items.insert(all[at].item)];
            user || item
        });
        let more = most.saturating_sub(chosen.len()).min(rest.len());
        let held = rest.split_off(more);
        let validation = validation.min(held.len().div_ceil(2));
        for (place, at) in held.into_iter().enumerate() {
            self.all[at].part = if place < validation { Part::Validation } else { Part::Test };
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Record] {
        &self.all
    }

    /// Those of a user.
    pub fn of_user(&self, user: u32) -> &[Record] {
        &self.all[self.first[user as usize]..self.first[user as usize + 1]]
    }
}

/// Whether the sequential and direct families ask for this pair (E3).
pub fn is_held_out(dataset: &Dataset, user: u32, item: u32) -> bool {
    let items = dataset.user(user).items;
    items.len() >= FEWEST && items[items.len() - 2..].contains(&item)
}
