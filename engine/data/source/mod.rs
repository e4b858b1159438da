//! Readers of raw formats: files that others wrote become a [`Raw`], or one sentence about the
//! first bad line.

mod amazon;
mod entities;
mod events;
mod folder;
mod gather;
mod lines;
mod literal;
mod object;
mod recbole;
mod rows;

pub use lines::{Lines, Skips};
pub use object::attributes;

use crate::base::named::named;
use crate::base::Fault;
use anyhow::Result;
use std::path::Path;

/// What a source holds: the catalogue in the source's order, users with their events in time order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw {
    /// The catalogue, in the source's order.
    pub items: Vec<RawItem>,
    /// Users with their events.
    pub users: Vec<RawUser>,
    /// Texts that users wrote about items.
    pub reviews: Vec<RawReview>,
    /// What the events' times count from.
    pub clock: Clock,
    /// Remarks for the table of counts, such as "users without events, left out: 3".
    pub notes: Vec<String>,
}

/// An item as its source describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawItem {
    /// The source's id, as text.
    pub id: String,
    /// The title as given.
    pub title: Option<String>,
    /// The brand, or who made it.
    pub brand: Option<String>,
    /// Category paths, each from the widest name to the narrowest.
    pub categories: Vec<Vec<String>>,
    /// A short text that is no title (`text_id` of the source folder).
    pub text_id: Option<String>,
    /// Further (name, value) pairs in the source's order.
    pub attributes: Vec<(String, String)>,
}

/// A user and the events, oldest first; equal times keep the input's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawUser {
    /// The source's id, as text.
    pub id: String,
    /// (name, value) pairs in the source's order.
    pub attributes: Vec<(String, String)>,
    /// What the user did, oldest first.
    pub events: Vec<RawEvent>,
}

/// One thing that a user did with an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawEvent {
    /// Index into [`Raw::items`].
    pub item: u32,
    /// See [`Clock`]; [`super::record::NO_TIME`] where unknown.
    pub time: i64,
    /// NaN where unknown.
    pub rating: f32,
}

/// A text that a user wrote about an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawReview {
    /// Index into [`Raw::users`].
    pub user: u32,
    /// Index into [`Raw::items`].
    pub item: u32,
    /// NaN where unknown.
    pub rating: f32,
    /// The headline.
    pub summary: Option<String>,
    /// The whole text.
    pub text: Option<String>,
    /// A sentence of the text that explains the rating.
    pub explanation: Option<String>,
    /// What the explanation is about, one word or a few.
    pub feature: Option<String>,
    /// `train`, `validation`, `test` where the source says so.
    pub split: Option<String>,
}

/// What an event's time counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// No times are known.
    #[default]
    None,
    /// Seconds since 1970.
    Unix,
    /// Seconds since the user's first event.
    SinceFirst,
}

impl Clock {
    /// The word for it in a `.bin`: `none`, `unix_time`, `seconds_since_first`.
    pub fn name(self) -> &'static str {
        match self {
            Clock::None => "none",
            Clock::Unix => "unix_time",
            Clock::SinceFirst => "seconds_since_first",
        }
    }
}

named! {
    /// Which reader a source needs.
    pub enum Format: "format" {
        /// A folder with items, users and events in files of their own.
        Folder = "folder",
        /// Reviews and metadata as the Amazon collection of 2014 has them.
        Amazon = "amazon",
        /// Atomic files of RecBole: `.inter`, `.item`, `.user`.
        Recbole = "recbole",
        /// An event a line, as a JSON object.
        Jsonl = "jsonl",
        /// An event a line, as fields between commas.
        Csv = "csv",
    }
}

/// Reads a whole source. `skips` says how many malformed lines may be left out, and lists them
/// afterwards.
///
/// Refuses a source without items or without events.
pub fn read(path: &Path, format: Format, skips: &mut Skips) -> Result<Raw> {
    let raw = match format {
        Format::Folder => folder::read(path, skips),
        Format::Amazon => amazon::read(path, skips),
        Format::Recbole => recbole::read(path, skips),
        Format::Jsonl => events::read(path, events::Shape::Json, skips),
        Format::Csv => events::read(path, events::Shape::Csv, skips),
    }?;
    for (what, count) in [("item", raw.items.len()), ("event", raw.users.len())] {
        if count == 0 {
            return Err(Fault::Data.error(format!(
                "{}: expected at least one {what}, got none; check the source and its setting \
                `format`",
                path.display()
            )));
        }
    }
    Ok(raw)
}
