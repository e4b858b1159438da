//! The formats `jsonl` and `csv`: a file of events in which items may be described, or a folder
//! with interactions, items, and optionally users.

use super::folder;
use super::gather::{Ids, Log, Row};
use super::object::{categories, id, kind, rating_value, text};
use super::rows::{Object, Rows};
use super::{Clock, Raw, RawItem, RawReview, Skips};
use crate::base::Fault;
use crate::data::record::NO_TIME;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which of the two ways of writing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON object a line.
    Json,
    /// Fields between commas, the first line names them.
    Csv,
}

impl Shape {
    fn open(self, path: &Path, skips: &mut Skips) -> Result<Rows> {
        match self {
            Shape::Json => Rows::json(path),
            Shape::Csv => Rows::csv(path, skips),
        }
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Shape::Json => &["jsonl", "jsonl.gz"],
            Shape::Csv => &["csv", "csv.gz", "tsv", "tsv.gz"],
        }
    }
}

const USER: [&str; 3] = ["user_id", "user", "reviewerID"];
const ITEM: [&str; 4] = ["item_id", "item", "asin", "id"];
const TIME: [&str; 4] = ["unix_time", "timestamp", "time", "unixReviewTime"];
const RATING: [&str; 2] = ["rating", "overall"];

/// Reads `source`: a file of events, or a folder with `interactions.*`, `items.*` and perhaps
/// `users.*`.
pub fn read(source: &Path, shape: Shape, skips: &mut Skips) -> Result<Raw> {
    let mut raw = Raw::default();
    if !source.is_dir() {
        let (ids, log) = (Ids::new("item"), Log::new(source));
        read_events(source, shape, Items::Described(ids), log, &mut raw, skips)?;
        return Ok(raw);
    }
    let file = |stem: &str| -> Result<Option<PathBuf>> {
        let names: Vec<String> =
            shape.endings().iter().map(|ending| format!("{stem}.{ending}")).collect();
        folder::one_of(source, &names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let needed = |stem: &str| -> Result<PathBuf> {
        file(stem)?.ok_or_else(|| {
            Fault::Data.error(format!(
                "{}: expected {stem}.{}, got none; add it, or give a single file of events",
                source.display(),
                shape.endings()[0]
            ))
        })
    };
    let items = needed("items")?;
    let ids = folder::read_items(shape.open(&items, skips)?, &mut raw, skips, |object| {
        folder::item(described(shape, object), &ITEM)
    })?;
    let events = needed("interactions")?;
    let users = read_events(&events, shape, Items::Known(ids), Log::new(&events), &mut raw, skips)?;
    if let Some(path) = file("users")? {
        folder::read_users(shape.open(&path, skips)?, &path, &USER_ID, &users, &mut raw, skips)?;
    }
    Ok(raw)
}

const USER_ID: [&str; 3] = ["user_id", "user", "id"];

/// Comma-separated values write a list of categories with bars between the names.
fn described(shape: Shape, mut object: Object) -> Object {
    if shape == Shape::Csv {
        for name in ["categories", "category"] {
            if let Some(Value::String(list)) = object.get(name) {
                let names =
                    list.split('|').map(|name| Value::String(name.trim().to_owned())).collect();
                object.insert(name.to_owned(), Value::Array(names));
            }
        }
    }
    object
}

/// Whether the events themselves say what the items are.
enum Items {
    Known(Ids),
    Described(Ids),
}

fn read_events(
    path: &Path,
    shape: Shape,
    mut items: Items,
    mut log: Log,
    raw: &mut Raw,
    skips: &mut Skips,
) -> Result<Ids> {
    let mut rows = shape.open(path, skips)?;
    if shape == Shape::Csv {
        let has =
            |names: &[&str]| rows.columns().iter().any(|column| names.contains(&column.as_str()));
        if !has(&USER) || !has(&ITEM) {
            return Err(super::lines::line_error(
                path,
                1,
                format_args!(
                    "expected a header with the columns user_id and item_id, got {:?}; add the \
                    header",
                    rows.columns().join(" ")
                ),
            ));
        }
    }
    log.clock = Clock::Unix;
    let mut unused: BTreeSet<String> = BTreeSet::new();
    let mut reviews: Vec<(String, RawReview)> = Vec::new();
    while rows
        .next(skips, |object, line| {
            let mut object = described(shape, object);
            let user = id(&object, &USER)?;
            let item_id = id(&object, &ITEM)?;
            let time = time(&object)?;
            let rating = rating_value(RATING.iter().find_map(|name| object.get(*name)))?;
            for name in USER.iter().chain(&ITEM).chain(&TIME).chain(&RATING) {
                object.remove(*name);
            }
            let mut review = RawReview { rating, ..RawReview::default() };
            for (name, field) in [
                ("summary", &mut review.summary),
                ("text", &mut review.text),
                ("explanation", &mut review.explanation),
                ("feature", &mut review.feature),
                ("split", &mut review.split),
            ] {
                *field = text(name, object.remove(name).unwrap_or(Value::Null))?;
            }
            let described = RawItem {
                id: item_id.clone(),
                title: text("title", object.remove("title").unwrap_or(Value::Null))?,
                brand: text("brand", object.remove("brand").unwrap_or(Value::Null))?,
                categories: match object.remove("categories").or_else(|| object.remove("category"))
                {
                    Some(value) => categories("categories", value)?,
                    None => Vec::new(),
                },
                text_id: text("text_id", object.remove("text_id").unwrap_or(Value::Null))?,
                attributes: Vec::new(),
            };
            let item = match &mut items {
                Items::Known(ids) => ids.find(&item_id)?,
                Items::Described(ids) => {
                    let item = ids.number(&item_id, line);
                    complete(&mut raw.items, item, described);
                    item
                }
            };
            object.retain(|_, value| !value.is_null());
            unused.extend(object.into_iter().map(|(name, _)| name));
            log.add(Row { user: &user, item, pos: None, time, rating }, line);
            let words = [&review.summary, &review.text, &review.explanation, &review.feature];
            if words.iter().any(|words| words.is_some()) {
                review.item = item;
                reviews.push((user, review));
            }
            Ok(())
        })?
        .is_some()
    {}
    if !unused.is_empty() {
        let names: Vec<String> = unused.into_iter().collect();
        raw.notes.push(format!("{}: fields not used: {}", path.display(), names.join(", ")));
    }
    let users = log.finish(raw)?;
    for (user, mut review) in reviews {
        review.user = users.index(&user).expect("every review has an event");
        raw.reviews.push(review);
    }
    Ok(users)
}

/// Adds an item, or what earlier lines did not say about it.
fn complete(items: &mut Vec<RawItem>, index: u32, described: RawItem) {
    match items.get_mut(index as usize) {
        None => items.push(described),
        Some(item) => {
            item.title = item.title.take().or(described.title);
            item.brand = item.brand.take().or(described.brand);
            item.text_id = item.text_id.take().or(described.text_id);
            if item.categories.is_empty() {
                item.categories = described.categories;
            }
        }
    }
}

/// Seconds since 1970, [`NO_TIME`] where the row says nothing.
fn time(object: &Object) -> Result<i64, String> {
    let Some((name, value)) =
        TIME.iter().find_map(|name| object.get(*name).map(|value| (name, value)))
    else {
        return Ok(NO_TIME);
    };
    let time = match value {
        Value::Null => return Ok(NO_TIME),
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    };
    time.filter(|&time| time != NO_TIME).ok_or_else(|| {
        format!(
            "expected `{name}` to be whole seconds since 1970, got {}; mend the line",
            kind(value)
        )
    })
}
