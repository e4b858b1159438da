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

use crate::base::Fault;
use anyhow::Result;
use std::path::Path;

/// What a source holds: the catalogue in the source's order, users with their events in time order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw {
    pub items: Vec<RawItem>,
    pub users: Vec<RawUser>,
    pub reviews: Vec<RawReview>,
    pub clock: Clock,
    /// Remarks for the table of counts, such as "users without events, left out: 3".
    pub notes: Vec<String>,
}

/// An item as its source describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawItem {
    pub id: String,
    pub title: Option<String>,
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
    pub id: String,
    pub attributes: Vec<(String, String)>,
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
    pub user: u32,
    pub item: u32,
    /// NaN where unknown.
    pub rating: f32,
    pub summary: Option<String>,
    pub text: Option<String>,
    pub explanation: Option<String>,
    pub feature: Option<String>,
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
    pub fn name(self) -> &'static str {
        match self {
            Clock::None => "none",
            Clock::Unix => "unix_time",
            Clock::SinceFirst => "seconds_since_first",
        }
    }
}

/// Which reader a source needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Folder,
    Amazon,
    Recbole,
    Jsonl,
    Csv,
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
