//! What the `.bin` knows that predictions are held against.

use crate::data::Dataset;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which of a user's events is the target: leave-one-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The last event; all before it are history.
    #[default]
    Test,
    /// The last but one; all before it are history.
    Validation,
}

impl Split {
    pub const fn name(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Validation => "validation",
        }
    }

    /// Place of the target among `events`, if there is a history before it.
    pub fn target(self, events: usize) -> Option<usize> {
        let place = match self {
            Split::Test => events.checked_sub(1)?,
            Split::Validation => events.checked_sub(2)?,
        };
        (place > 0).then_some(place)
    }
}

/// An item as evaluation sees it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    pub id: &'a str,
    pub surface: &'a str,
    /// The title as given; empty where the item has none.
    pub title: &'a str,
    /// Names of its categories, in source order.
    pub categories: Vec<&'a str>,
}

/// A user as evaluation sees it.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    pub id: &'a str,
    /// Oldest first.
    pub items: &'a [u32],
    /// Seconds, `NO_TIME` where unknown; as long as `items`.
    pub times: &'a [i64],
    /// Stars, NaN where unknown; as long as `items`.
    pub ratings: &'a [f32],
    /// The stored 99 items of sampled ranking.
    pub negatives: &'a [u32],
}

/// Whether target and last history item bear the same date (E4b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Same,
    Later,
    Unknown,
}

/// One question of the sequential task and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub history: &'a [u32],
    pub target: u32,
    pub day: Day,
    /// Items beside the target that a sampled ranking ranks.
    pub negatives: &'a [u32],
}

impl<'a> User<'a> {
    /// The user's question in a split; `None` for a user without history there.
    pub fn case(&self, split: Split) -> Option<Case<'a>> {
        let place = split.target(self.items.len())?;
        let unknown = crate::data::record::NO_TIME;
        let day = match self.times.get(place - 1..=place) {
            Some(&[a, b]) if a != unknown && b != unknown && a.div_euclid(86_400) == b.div_euclid(86_400) => {
                Day::Same
            }
            Some(&[a, b]) if a != unknown && b != unknown => Day::Later,
            _ => Day::Unknown,
        };
        let (history, target) = (&self.items[..place], self.items[place]);
        Some(Case { history, target, day, negatives: self.negatives })
    }

    /// The part that baselines are fitted on: all but the last two, whatever the split.
    pub fn training(&self) -> &'a [u32] {
        &self.items[..self.items.len().saturating_sub(2)]
    }
}

/// Catalogue and users, with ids looked up by text.
#[derive(Clone, Debug)]
pub struct Truth<'a> {
    pub name: &'a str,
    /// Identifies the `.bin`.
    pub hash: u32,
    pub items: Vec<Item<'a>>,
    pub users: Vec<User<'a>>,
    item_of: HashMap<&'a str, u32>,
    user_of: HashMap<&'a str, u32>,
}

impl<'a> Truth<'a> {
    pub fn new(name: &'a str, hash: u32, items: Vec<Item<'a>>, users: Vec<User<'a>>) -> Truth<'a> {
        let item_of = items.iter().zip(0..).map(|(item, i)| (item.id, i)).collect();
        let user_of = users.iter().zip(0..).map(|(user, u)| (user.id, u)).collect();
        Truth { name, hash, items, users, item_of, user_of }
    }

    /// Views into a `.bin`; only small tables are copied.
    pub fn of(dataset: &'a Dataset) -> Truth<'a> {
        let items = (0..dataset.items() as u32).map(|i| {
            let item = dataset.item(i);
            let attributes = dataset.item_attributes(i).into_iter();
            let categories = attributes.filter(|(name, _)| matches!(*name, "category" | "categories"));
            Item {
                id: item.id,
                surface: item.surface,
                title: item.title.unwrap_or(""),
                categories: categories.map(|(_, value)| value).collect(),
            }
        });
        let users = (0..dataset.users() as u32).map(|u| {
            let user = dataset.user(u);
            let negatives = dataset.negatives(u);
            User { id: user.id, items: user.items, times: user.times, ratings: user.ratings, negatives }
        });
        Truth::new(dataset.name(), dataset.hash(), items.collect(), users.collect())
    }

    pub fn find_item(&self, id: &str) -> Option<u32> {
        self.item_of.get(id).copied()
    }

    pub fn find_user(&self, id: &str) -> Option<u32> {
        self.user_of.get(id).copied()
    }

    /// Numbers that a model of item ids is shown, one an item: the surfaces if every one is a number.
    pub fn numeric_surfaces(&self) -> Option<Vec<i64>> {
        self.items.iter().map(|item| item.surface.parse().ok()).collect()
    }

    /// Numbers that the source numbers its items by, if every id is a number.
    pub fn numeric_ids(&self) -> Option<Vec<i64>> {
        self.items.iter().map(|item| item.id.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::record::NO_TIME;

    #[test]
    fn a_case_needs_history_and_days_need_times() {
        let user = User {
            id: "u",
            items: &[4, 5, 6],
            times: &[0, 86_399, 86_400],
            ratings: &[f32::NAN; 3],
            negatives: &[],
        };
        let test = user.case(Split::Test).unwrap();
        assert_eq!((test.history, test.target, test.day), (&[4, 5][..], 6, Day::Later));
        let validation = user.case(Split::Validation).unwrap();
        assert_eq!((validation.history, validation.target, validation.day), (&[4][..], 5, Day::Same));
        assert_eq!(user.training(), [4]);
        let short = User { items: &[4, 5], times: &[NO_TIME; 2], ..user };
        assert_eq!(short.case(Split::Test).unwrap().day, Day::Unknown);
        assert!(short.case(Split::Validation).is_none());
        assert!(User { items: &[4], times: &[0], ..user }.case(Split::Test).is_none());
    }
}
