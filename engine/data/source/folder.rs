//! A source folder of the engine's own layout: items.jsonl with interactions.tsv[.gz] or
//! sequences.txt, and optionally users.jsonl and reviews.jsonl.

use super::gather::{Ids, Log, Row};
use super::rows::{Object, Rows};
use super::{Clock, Lines, Raw, RawItem, RawReview, Skips};
use crate::base::Fault;
use crate::data::record::NO_TIME;
use anyhow::Result;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Reads a source folder: items, users, events and reviews in files of their own. Refuses a folder
/// that lacks items or events, and lines that do not fit.
pub fn read(folder: &Path, skips: &mut Skips) -> Result<Raw> {
    if !folder.is_dir() {
        return Err(Fault::Data.error(format!(
            "{}: expected a folder with items.jsonl, got {}; give the source folder",
            folder.display(),
            if folder.exists() { "a file" } else { "nothing" }
        )));
    }
    let mut raw = Raw::default();
    let items = read_items(Rows::json(&folder.join("items.jsonl"))?, &mut raw, skips, |object| {
        item(object, &["id"])
    })?;

    let interactions = one_of(folder, &["interactions.tsv", "interactions.tsv.gz"])?;
    let sequences = one_of(folder, &["sequences.txt", "sequences.txt.gz"])?;
    let log = match (&interactions, &sequences) {
        (Some(path), _) => read_interactions(path, &items, &mut raw, skips)?,
        (None, Some(path)) => read_sequences(path, &items, skips)?,
        (None, None) => {
            return Err(Fault::Data.error(format!(
                "{}: expected interactions.tsv, interactions.tsv.gz or sequences.txt, got none of \
                them; add one, or choose another setting `format`",
                folder.display()
            )))
        }
    };
    let users = log.finish(&mut raw)?;
    if let (Some(interactions), Some(sequences)) = (&interactions, &sequences) {
        let other = read_sequences(sequences, &items, skips)?;
        if skips.skipped().is_empty() {
            agree(interactions, sequences, &raw, other)?;
        } else {
            // What was left out of one file is still in the other.
            raw.notes.push(format!(
                "{}: not compared, because lines were left out",
                sequences.display()
            ));
        }
    }
    if let Some(path) = one_of(folder, &["users.jsonl", "users.jsonl.gz"])? {
        read_users(Rows::json(&path)?, &path, &["id"], &users, &mut raw, skips)?;
    }
    if let Some(path) = one_of(folder, &["reviews.jsonl", "reviews.jsonl.gz"])? {
        read_reviews(&path, &users, &items, &mut raw, skips)?;
    }
    Ok(raw)
}

/// The one of `names` that is there; two of them are one too many.
pub(super) fn one_of(folder: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    let found: Vec<PathBuf> =
        names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect();
    match found.as_slice() {
        [] => Ok(None),
        [path] => Ok(Some(path.clone())),
        _ => Err(Fault::Data.error(format!(
            "{}: expected one of {}, got several; keep one",
            folder.display(),
            names.join(", ")
        ))),
    }
}

/// Items, each id once; `make` turns a row into an item.
pub(super) fn read_items(
    mut rows: Rows,
    raw: &mut Raw,
    skips: &mut Skips,
    make: impl Fn(Object) -> Result<RawItem, String>,
) -> Result<Ids> {
    let mut ids = Ids::new("item");
    while let Some(item) = rows.next(skips, |object, line| {
        let item = make(object)?;
        ids.add(&item.id, line)?;
        Ok(item)
    })? {
        raw.items.push(item);
    }
    if raw.items.is_empty() {
        let path = rows.path().display();
        return Err(Fault::Data
            .error(format!("{path}: expected at least one item, got none; add the catalogue")));
    }
    Ok(ids)
}

/// An item from a JSON object; the fields that are no attributes are named in
/// [`super::object::is_identifier`].
pub(super) fn item(object: Object, id_names: &[&str]) -> Result<RawItem, String> {
    use super::object::*;
    let mut item = RawItem { id: id(&object, id_names)?, ..RawItem::default() };
    for (name, value) in object {
        match name.as_str() {
            "title" => item.title = text(&name, value)?,
            "brand" => item.brand = text(&name, value)?,
            "text_id" => item.text_id = text(&name, value)?,
            "categories" | "category" => item.categories = categories(&name, value)?,
            _ if is_identifier(&name) || id_names.contains(&name.as_str()) => {}
            _ => {
                if let Some(value) = scalar(&value) {
                    item.attributes.push((name, value));
                }
            }
        }
    }
    Ok(item)
}

fn read_interactions(path: &Path, items: &Ids, raw: &mut Raw, skips: &mut Skips) -> Result<Log> {
    let mut lines = Lines::open(path)?;
    let mut log = Log::new(path);
    let header: Vec<String> = match lines.next(skips)? {
        Some((_, line)) => line.split('\t').map(|name| name.trim().to_owned()).collect(),
        None => Vec::new(),
    };
    let column = |name: &str| header.iter().position(|h| h == name);
    let (Some(user), Some(item)) = (column("user_id"), column("item_id")) else {
        return Err(lines.error(format_args!(
            "expected a header with the columns user_id and item_id (tab-separated), got {:?}; add \
            the header",
            header.join(" ")
        )));
    };
    let (pos, rating) = (column("pos"), column("rating"));
    let (unix, since) = (column("unix_time"), column("seconds_since_first"));
    const KNOWN: [&str; 6] =
        ["user_id", "item_id", "pos", "rating", "unix_time", "seconds_since_first"];
    let unknown: Vec<&str> =
        header.iter().map(String::as_str).filter(|h| !KNOWN.contains(h)).collect();
    if !unknown.is_empty() {
        raw.notes.push(format!("{}: columns not used: {}", path.display(), unknown.join(", ")));
    }
    let time = unix.or(since);
    log.clock = match (unix, since) {
        (Some(_), _) => Clock::Unix,
        (None, Some(_)) => Clock::SinceFirst,
        (None, None) => Clock::None,
    };
    while let Some((number, line)) = lines.next(skips)? {
        if line.is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let row = (|| {
            if fields.len() != header.len() {
                return Err(format!(
                    "expected {} tab-separated fields as in the header, got {}; mend the line",
                    header.len(),
                    fields.len()
                ));
            }
            if fields[user].is_empty() {
                return Err("expected a user_id, got an empty field; mend the line".to_owned());
            }
            Ok(Row {
                user: fields[user],
                item: items.find(fields[item])?,
                pos: pos
                    .map(|c| number_in(fields[c], "pos, a whole number"))
                    .transpose()?
                    .flatten(),
                time: time
                    .map(|c| number_in(fields[c], "a time in whole seconds"))
                    .transpose()?
                    .flatten()
                    .unwrap_or(NO_TIME),
                rating: rating
                    .map(|c| super::object::rating(fields[c]))
                    .transpose()?
                    .unwrap_or(f32::NAN),
            })
        })();
        match row {
            Ok(row) => log.add(row, number),
            Err(message) => skips.bad(lines.error(message))?,
        }
    }
    Ok(log)
}

/// A whole number, `None` for an empty field.
fn number_in(field: &str, what: &str) -> Result<Option<i64>, String> {
    match field {
        "" => Ok(None),
        _ => field
            .parse()
            .ok()
            .filter(|&n| n != NO_TIME)
            .map(Some)
            .ok_or_else(|| format!("expected {what}, got {field:?}; mend the line")),
    }
}

fn read_sequences(path: &Path, items: &Ids, skips: &mut Skips) -> Result<Log> {
    let mut log = Log::new(path);
    let mut lines = Lines::open(path)?;
    let mut seen = Ids::new("user");
    while let Some((number, line)) = lines.next(skips)? {
        let mut words = line.split_ascii_whitespace();
        let Some(user) = words.next() else { continue };
        let found: Result<Vec<u32>, String> = words.map(|word| items.find(word)).collect();
        match found.and_then(|found| seen.add(user, number).map(|()| found)) {
            Ok(found) => {
                for item in found {
                    log.add(Row { user, item, pos: None, time: NO_TIME, rating: f32::NAN }, number);
                }
            }
            Err(message) => skips.bad(lines.error(message))?,
        }
    }
    Ok(log)
}

/// `sequences.txt` must say what `interactions` says.
fn agree(interactions: &Path, sequences: &Path, raw: &Raw, other: Log) -> Result<()> {
    let mut theirs = Raw::default();
    let lines = other.lines();
    let ids = other.finish(&mut theirs)?;
    let differ = |line: usize, message: String| {
        Err(super::lines::line_error(
            sequences,
            line,
            format_args!(
                "{message}; mend one of the two files or take one away ({})",
                interactions.display()
            ),
        ))
    };
    for user in &raw.users {
        let Some(index) = ids.index(&user.id) else {
            return differ(lines.len(), format!("expected a line for user {}, got none", user.id));
        };
        let mine = user.events.iter().map(|e| e.item);
        let other = &theirs.users[index as usize].events;
        if !mine.clone().eq(other.iter().map(|e| e.item)) {
            let place = mine.zip(other.iter()).take_while(|(a, b)| *a == b.item).count();
            let name = |event: Option<&super::RawEvent>| {
                event.map_or("the end".to_owned(), |e| {
                    format!("item {}", raw.items[e.item as usize].id)
                })
            };
            return differ(
                lines[index as usize],
                format!(
                    "expected the items of user {} as in the interactions, at place {} {}, got {}",
                    user.id,
                    place + 1,
                    name(user.events.get(place)),
                    name(other.get(place))
                ),
            );
        }
    }
    let known: HashSet<&str> = raw.users.iter().map(|user| user.id.as_str()).collect();
    if let Some(user) = theirs.users.iter().find(|user| !known.contains(user.id.as_str())) {
        let line = ids.index(&user.id).map_or(0, |i| lines[i as usize]);
        return differ(
            line,
            format!("expected users of the interactions only, got user {}", user.id),
        );
    }
    Ok(())
}

/// Attributes of users that have events; the others are counted in a note.
pub(super) fn read_users(
    mut rows: Rows,
    path: &Path,
    id_names: &[&str],
    users: &Ids,
    raw: &mut Raw,
    skips: &mut Skips,
) -> Result<()> {
    use super::object::*;
    let mut seen = Ids::new("user");
    let mut idle = 0;
    while let Some((user, attributes)) = rows.next(skips, |mut object, line| {
        let user = id(&object, id_names)?;
        seen.add(&user, line)?;
        object.retain(|name, _| !id_names.contains(&name.as_str()));
        Ok((user, attributes(object)))
    })? {
        match users.index(&user) {
            Some(index) => raw.users[index as usize].attributes = attributes,
            None => idle += 1,
        }
    }
    if idle > 0 {
        raw.notes.push(format!("{}: users without events, left out: {idle}", path.display()));
    }
    Ok(())
}

fn read_reviews(
    path: &Path,
    users: &Ids,
    items: &Ids,
    raw: &mut Raw,
    skips: &mut Skips,
) -> Result<()> {
    use super::object::*;
    let mut rows = Rows::json(path)?;
    while let Some(review) = rows.next(skips, |mut object, _| {
        let mut take = |name: &str| text(name, object.remove(name).unwrap_or(Value::Null));
        let (summary, body) = (take("summary")?, take("text")?);
        let (explanation, feature, split) =
            (take("explanation")?, take("feature")?, take("split")?);
        Ok(RawReview {
            user: users.find(&id(&object, &["user"])?)?,
            item: items.find(&id(&object, &["item"])?)?,
            rating: rating_value(object.get("rating"))?,
            summary,
            text: body,
            explanation,
            feature,
            split,
        })
    })? {
        raw.reviews.push(review);
    }
    Ok(())
}
