//! What the `.bin` knows that predictions are held against.

use crate::data::catalogue::NUMBERED;
use crate::data::numeral::day;
use crate::data::record::{Review, NO_TIME};
use crate::data::records::Records;
pub use crate::data::task::Split;
use crate::data::Dataset;
use std::collections::HashMap;

/// An item as evaluation sees it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// The id in the source files, as text.
    pub id: &'a str,
    /// The unique text of the item (E11).
    pub surface: &'a str,
    /// The title as given; empty where the item has none.
    pub title: &'a str,
    /// Names of its categories, in source order.
    pub categories: Vec<&'a str>,
    /// Seeded hash that orders what is equal otherwise, smaller first (E16b).
    pub tie: u64,
}

/// What a user wrote about an item; several where the source has several.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Stars, NaN where unknown.
    pub rating: f32,
    /// The headline.
    pub summary: Option<&'a str>,
    /// A sentence of the text that explains the rating.
    pub explanation: Option<&'a str>,
    /// What it is about.
    pub feature: Option<&'a str>,
}

/// A user as evaluation sees it.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The id in the source files, as text.
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
    /// The same.
    Same,
    /// The target's is later.
    Later,
    /// One of the two is unknown.
    Unknown,
}

/// One question of the sequential task and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Whose.
    pub user: u32,
    /// Items before the target, oldest first.
    pub history: &'a [u32],
    /// The item that was to be predicted.
    pub target: u32,
    /// Whether both bear the same date.
    pub day: Day,
    /// Items beside the target that a sampled ranking ranks.
    pub negatives: &'a [u32],
}

impl<'a> User<'a> {
    /// The question of this user, number `user`, in a split; `None` without history there.
    pub fn case(&self, user: u32, split: Split) -> Option<Case<'a>> {
        let place = split.shown(self.items.len())?;
        let apart = match self.times.get(place - 1..=place) {
            Some(&[a, b]) if a != NO_TIME && b != NO_TIME && day(a) == day(b) => Day::Same,
            Some(&[a, b]) if a != NO_TIME && b != NO_TIME => Day::Later,
            _ => Day::Unknown,
        };
        let (history, target) = (&self.items[..place], self.items[place]);
        Some(Case { user, history, target, day: apart, negatives: self.negatives })
    }

    /// The part that baselines are fitted on: all but the last two, whatever the split.
    pub fn training(&self) -> &'a [u32] {
        Split::training(self.items)
    }
}

/// Catalogue and users, with ids looked up by text.
#[derive(Clone)]
pub struct Truth<'a> {
    /// Name of the `.bin` without folder and ending.
    pub name: &'a str,
    /// Identifies the `.bin`.
    pub hash: u32,
    /// The catalogue, by item number.
    pub items: Vec<Item<'a>>,
    /// By user number.
    pub users: Vec<User<'a>>,
    /// By (user, item).
    pub written: HashMap<(u32, u32), Vec<Written<'a>>>,
    item_of: HashMap<&'a str, u32>,
    user_of: HashMap<&'a str, u32>,
    /// What it is a view of.
    dataset: Option<&'a Dataset>,
}

impl<'a> Truth<'a> {
    /// Catalogue and users under a name; nobody has written anything yet.
    pub fn new(name: &'a str, hash: u32, items: Vec<Item<'a>>, users: Vec<User<'a>>) -> Truth<'a> {
        let item_of = items.iter().zip(0..).map(|(item, i)| (item.id, i)).collect();
        let user_of = users.iter().zip(0..).map(|(user, u)| (user.id, u)).collect();
        let (written, dataset) = (HashMap::new(), None);
        Truth { name, hash, items, users, written, item_of, user_of, dataset }
    }

    /// Views into a `.bin`; only small tables are copied.
    pub fn of(dataset: &'a Dataset) -> Truth<'a> {
        let items = (0..dataset.items() as u32).map(|i| {
            let item = dataset.item(i);
            let attributes = dataset.item_attributes(i).into_iter();
            let categories =
                attributes.filter(|(name, _)| matches!(*name, "category" | "categories"));
            Item {
                id: item.id,
                surface: item.surface,
                title: item.title.unwrap_or(""),
                categories: categories.map(|(_, value)| value).collect(),
                tie: dataset.tie(i),
            }
        });
        let users = (0..dataset.users() as u32).map(|u| {
            let user = dataset.user(u);
            let negatives = dataset.negatives(u);
            User {
                id: user.id,
                items: user.items,
                times: user.times,
                ratings: user.ratings,
                negatives,
            }
        });
        let mut truth =
            Truth::new(dataset.name(), dataset.hash(), items.collect(), users.collect());
        truth.dataset = Some(dataset);
        for review in dataset.reviews() {
            let Review { user, item, rating, summary, explanation, feature, .. } = review;
            truth.written.entry((user, item)).or_default().push(Written {
                rating,
                summary,
                explanation,
                feature,
            });
        }
        truth
    }

    /// What users said of items, and which part of it is learnt from; `None` where no `.bin` says.
    pub fn records(&self) -> Option<Records> {
        self.dataset.map(Records::of)
    }

    /// Items in the order that ties are broken by.
    pub fn tie_order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.items.len() as u32).collect();
        order.sort_by_key(|&item| (self.items[item as usize].tie, item));
        order
    }

    /// Stars that a user gave an item at the latest event with it, or else in a review.
    pub fn rating(&self, user: u32, item: u32) -> Option<f64> {
        let events = &self.users[user as usize];
        let place = events.items.iter().rposition(|&other| other == item);
        let by_event = place.and_then(|place| events.ratings.get(place)).copied();
        let reviews =
            self.written.get(&(user, item)).into_iter().flatten().map(|written| written.rating);
        by_event.into_iter().chain(reviews).find(|stars| !stars.is_nan()).map(f64::from)
    }

    /// The number of an item by its id.
    pub fn find_item(&self, id: &str) -> Option<u32> {
        self.item_of.get(id).copied()
    }

    /// The number of a user by the id.
    pub fn find_user(&self, id: &str) -> Option<u32> {
        self.user_of.get(id).copied()
    }

    /// Numbers that a model of item ids is shown, one an item: the surfaces if every one is a
    /// number, or `item` and one.
    pub fn numeric_surfaces(&self) -> Option<Vec<i64>> {
        let number = |text: &str| text.strip_prefix(NUMBERED).unwrap_or(text).parse().ok();
        self.items.iter().map(|item| number(item.surface)).collect()
    }

    /// Numbers that the source numbers its items by, if every id is a number.
    pub fn numeric_ids(&self) -> Option<Vec<i64>> {
        self.items.iter().map(|item| item.id.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_needs_history_and_days_need_times() {
        let user = User {
            id: "u",
            items: &[4, 5, 6],
            times: &[0, 86_399, 86_400],
            ratings: &[f32::NAN; 3],
            negatives: &[],
        };
        let test = user.case(0, Split::Test).unwrap();
        assert_eq!((test.history, test.target, test.day), (&[4, 5][..], 6, Day::Later));
        let validation = user.case(0, Split::Validation).unwrap();
        assert_eq!(
            (validation.history, validation.target, validation.day),
            (&[4][..], 5, Day::Same)
        );
        assert_eq!(user.training(), [4]);
        let timeless = User { times: &[NO_TIME; 3], ..user };
        assert_eq!(timeless.case(0, Split::Test).unwrap().day, Day::Unknown);
        let short = User { items: &[4, 5], times: &[0; 2], ..user };
        assert!(short.case(0, Split::Test).is_none() && short.case(0, Split::Validation).is_none());
        assert_eq!(short.training(), [4, 5]);
    }
}
