//! A table of reviews beside one of events.

use super::ids::Ids;
use super::items::{id, unused, words};
use super::lines::Skips;
use super::names::{Field, Rows};
use super::report::Tally;
use super::roles::Roles;
use super::table::{Go, Table};
use super::{RawReview, Reading};
use crate::data::records::Part;
use anyhow::Result;

/// Reads reviews of known users and items, and the lines of the summary. Where a rule left users or
/// items out, reviews of others are counted; otherwise they are malformed.
pub fn read(
    table: &mut Table,
    reading: &Reading,
    users: &Ids,
    items: &Ids,
    left_out: bool,
    skips: &mut Skips,
) -> Result<(Vec<RawReview>, Vec<String>)> {
    let mut roles = Roles::of(Rows::Events, table.columns().list(), reading, None);
    let mut reviews = Vec::new();
    let mut strangers = Tally::default();
    table.each(skips, |columns, mut row, line| {
        let columns = columns.list();
        if !roles.are_of(columns) {
            roles = std::mem::take(&mut roles).renewed(Rows::Events, columns, reading, None);
        }
        let user = roles.take(Field::User, &mut row);
        let item = roles.take(Field::Item, &mut row);
        let user = users.find(&id(&user, Field::User, &roles, columns)?);
        let item = items.find(&id(&item, Field::Item, &roles, columns)?);
        let (user, item) = match (user, item) {
            (Err(_), _) | (_, Err(_)) if left_out => {
                strangers.add(|| format!("line {line}"));
                return Ok(Go::On);
            }
            (user, item) => (user?, item?),
        };
        let rating = roles.take(Field::Rating, &mut row).rating()?;
        let mut text = |field, name| words(name, &roles.take(field, &mut row));
        let split = split_of(text(Field::Split, "split")?)?;
        reviews.push(RawReview {
            user,
            item,
            rating,
            summary: text(Field::Summary, "summary")?,
            text: text(Field::Text, "text")?,
            explanation: text(Field::Explanation, "explanation")?,
            feature: text(Field::Feature, "feature")?,
            split,
        });
        roles.leave(&row);
        Ok(Go::On)
    })?;
    let mut notes = unused(table, &roles);
    notes.extend(strangers.line("reviews of users and items that were left out"));
    Ok((reviews, notes))
}

/// What a record is for, as a source says it; `None` where it says nothing. Refuses a word that is
/// no part.
pub(super) fn split_of(word: Option<String>) -> Result<Option<String>, String> {
    match word.filter(|word| !word.trim().is_empty()) {
        Some(word) if Part::named(&word).is_none() => {
            Err(format!("split: expected train, validation or test, got {word:?}; mend the line"))
        }
        word => Ok(word),
    }
}
