//! Amazon's product data as published in 2014: reviews_X_5.json.gz (or reviews_X.json.gz) and
//! meta_X.json.gz, a Python dict or a JSON object a line.

use super::gather::{Ids, Log, Row};
use super::object::{categories, rating_value, scalar, text};
use super::{entities, literal, Clock, Lines, Raw, RawItem, RawReview, Skips};
use crate::base::Fault;
use anyhow::Result;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Users and items of fewer reviews are left out until all have as many.
const CORE: usize = 5;

struct Record {
    user: u32,
    item: u32,
    time: i64,
    rating: f32,
    summary: Option<String>,
    text: Option<String>,
    line: usize,
}

/// Reads the two files in `folder` and keeps their 5-core; the counts found and kept are notes.
pub fn read(folder: &Path, skips: &mut Skips) -> Result<Raw> {
    let reviews = the_one(folder, "reviews_")?;
    let meta = the_one(folder, "meta_")?;
    let mut users = Ids::new("user");
    let mut items = Ids::new("item");
    let mut user_names: Vec<(String, Option<String>)> = Vec::new();
    let mut item_names: Vec<String> = Vec::new();
    let mut records: Vec<Record> = Vec::new();
    let mut lines = Lines::open(&reviews)?;
    while let Some((number, line)) = lines.next(skips)? {
        if line.trim().is_empty() {
            continue;
        }
        match literal::parse(line).and_then(review) {
            Ok(found) => {
                let user = users.number(&found.user, number);
                let item = items.number(&found.item, number);
                if user as usize == user_names.len() {
                    user_names.push((found.user, found.name));
                }
                if item as usize == item_names.len() {
                    item_names.push(found.item);
                }
                let (time, rating, summary, text) =
                    (found.time, found.rating, found.summary, found.text);
                records.push(Record { user, item, time, rating, summary, text, line: number });
            }
            Err(message) => skips.bad(lines.error(message))?,
        }
    }
    let found = (user_names.len(), item_names.len(), records.len());
    let rounds = core(&mut records, found.0, found.1);

    let mut used = vec![false; item_names.len()];
    records.iter().for_each(|record| used[record.item as usize] = true);
    let wanted: HashMap<&str, u32> = (0..item_names.len() as u32)
        .filter(|&i| used[i as usize])
        .map(|i| (item_names[i as usize].as_str(), i))
        .collect();
    let mut raw = Raw::default();
    let place = read_meta(&meta, &wanted, &item_names, &mut raw, skips)?;
    // The items' order is that of the meta file, which knows nothing of who bought what when.
    gather(&reviews, records, &user_names, &place, &mut raw)?;
    let (users, items, events) =
        (raw.users.len(), raw.items.len(), raw.users.iter().map(|u| u.events.len()).sum::<usize>());
    raw.notes.push(format!(
        "{CORE}-core in {rounds} rounds: kept {users} of {} users, {items} of {} items, {events} \
        of {} reviews",
        found.0, found.1, found.2
    ));
    if events == 0 {
        return Err(Fault::Data.error(format!(
            "{}: expected reviews of users and items with at least {CORE} each, got none among {} \
            reviews; fetch the file again or use setting `format = jsonl`, which does not filter",
            reviews.display(),
            found.2
        )));
    }
    Ok(raw)
}

/// The one file in `folder` whose name begins so.
fn the_one(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).map_err(|e| {
        Fault::Data.error(format!(
            "{shown}: expected a folder with reviews_X_5.json.gz and meta_X.json.gz, got: {e}; \
            check the path"
        ))
    })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(prefix) && (name.ends_with(".json.gz") || name.ends_with(".json"))
        })
        .collect();
    found.sort();
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let names: Vec<String> = found
        .iter()
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    let got = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Fault::Data.error(format!(
        "{shown}: expected exactly one file {prefix}*.json or {prefix}*.json.gz, got {got}; put \
        one set into a folder"
    )))
}

struct Found {
    user: String,
    name: Option<String>,
    item: String,
    time: i64,
    rating: f32,
    summary: Option<String>,
    text: Option<String>,
}

fn review(mut object: Map<String, Value>) -> Result<Found, String> {
    let user = super::object::id(&object, &["reviewerID"])?;
    let item = super::object::id(&object, &["asin"])?;
    let time = match object.get("unixReviewTime") {
        Some(Value::Number(n)) if n.is_i64() => n.as_i64().unwrap_or_default(),
        other => {
            let got = other.map_or("nothing".to_owned(), super::object::kind);
            return Err(format!(
                "expected `unixReviewTime` to be whole seconds, got {got}; mend the line"
            ));
        }
    };
    let rating = rating_value(object.get("overall"))?;
    let mut take = |name: &str| decoded(name, object.remove(name));
    let (name, summary, text) = (take("reviewerName")?, take("summary")?, take("reviewText")?);
    Ok(Found { user, name, item, time, rating, summary, text })
}

fn decoded(name: &str, value: Option<Value>) -> Result<Option<String>, String> {
    Ok(text(name, value.unwrap_or(Value::Null))?.map(|text| entities::decode(&text).into_owned()))
}

/// Drops records of users and items with fewer than [`CORE`] until none is left to drop; the number
/// of rounds.
fn core(records: &mut Vec<Record>, users: usize, items: usize) -> usize {
    for round in 1.. {
        let (mut by_user, mut by_item) = (vec![0usize; users], vec![0usize; items]);
        for record in records.iter() {
            by_user[record.user as usize] += 1;
            by_item[record.item as usize] += 1;
        }
        let before = records.len();
        records.retain(|r| by_user[r.user as usize] >= CORE && by_item[r.item as usize] >= CORE);
        if records.len() == before {
            return round;
        }
    }
    unreachable!("every round but the last drops a record")
}

/// Items in the order of the meta file, those it lacks behind them; where each wanted item went.
fn read_meta(
    path: &Path,
    wanted: &HashMap<&str, u32>,
    names: &[String],
    raw: &mut Raw,
    skips: &mut Skips,
) -> Result<Vec<Option<u32>>> {
    let mut place: Vec<Option<u32>> = vec![None; names.len()];
    let mut lines = Lines::open(path)?;
    while let Some((_, line)) = lines.next(skips)? {
        if line.trim().is_empty() {
            continue;
        }
        let item = literal::parse(line).and_then(|object| {
            let id = super::object::id(&object, &["asin"])?;
            match wanted.get(id.as_str()) {
                None => Ok(None),
                Some(&index) if place[index as usize].is_some() => {
                    Err(format!("expected every asin once, got {id:?} again; take one away"))
                }
                Some(&index) => Ok(Some((index, item(id, object)?))),
            }
        });
        match item {
            Ok(None) => {}
            Ok(Some((index, item))) => {
                place[index as usize] = Some(raw.items.len() as u32);
                raw.items.push(item);
            }
            Err(message) => skips.bad(lines.error(message))?,
        }
    }
    let mut missing: Vec<u32> =
        wanted.values().copied().filter(|&i| place[i as usize].is_none()).collect();
    missing.sort_by_key(|&i| &names[i as usize]);
    for &index in &missing {
        place[index as usize] = Some(raw.items.len() as u32);
        raw.items.push(RawItem { id: names[index as usize].clone(), ..RawItem::default() });
    }
    if !missing.is_empty() {
        raw.notes.push(format!("{}: items without a line: {}", path.display(), missing.len()));
    }
    Ok(place)
}

fn item(id: String, mut object: Map<String, Value>) -> Result<RawItem, String> {
    let mut paths = categories("categories", object.remove("categories").unwrap_or(Value::Null))?;
    for name in paths.iter_mut().flatten() {
        *name = entities::decode(name).into_owned();
    }
    let price = object.get("price").and_then(scalar).map(|price| ("price".to_owned(), price));
    Ok(RawItem {
        id,
        title: decoded("title", object.remove("title"))?,
        brand: decoded("brand", object.remove("brand"))?,
        categories: paths,
        text_id: None,
        attributes: price.into_iter().collect(),
    })
}

/// Records become users, events and reviews.
fn gather(
    path: &Path,
    records: Vec<Record>,
    names: &[(String, Option<String>)],
    place: &[Option<u32>],
    raw: &mut Raw,
) -> Result<()> {
    let mut log = Log::new(path);
    log.clock = Clock::Unix;
    let mut reviews: Vec<(u32, RawReview)> = Vec::with_capacity(records.len());
    for record in records {
        let item = place[record.item as usize].expect("every kept item has a place");
        let user = names[record.user as usize].0.as_str();
        log.add(
            Row { user, item, pos: None, time: record.time, rating: record.rating },
            record.line,
        );
        let (rating, summary, text) = (record.rating, record.summary, record.text);
        let review = RawReview { user: 0, item, rating, summary, text, ..RawReview::default() };
        reviews.push((record.user, review));
    }
    let ids = log.finish(raw)?;
    for (user, mut review) in reviews {
        review.user = ids.index(&names[user as usize].0).expect("every record was added");
        raw.reviews.push(review);
    }
    for (id, name) in names {
        if let (Some(index), Some(name)) = (ids.index(id), name) {
            raw.users[index as usize].attributes.push(("name".to_owned(), name.clone()));
        }
    }
    Ok(())
}
