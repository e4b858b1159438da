//! RecBole's atomic files: X.inter, X.item and X.user, tab-separated, with a typed header such as
//! `user_id:token`, `title:token_seq`, `timestamp:float`.

use super::gather::{Ids, Log, Row};
use super::lines::line_error;
use super::object::{decimal, is_identifier};
use super::{literal, Clock, Lines, Raw, RawItem, Skips};
use crate::base::Fault;
use crate::data::record::NO_TIME;
use anyhow::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Token,
    TokenSeq,
    Float,
    FloatSeq,
}

/// Reads the folder's one `.inter` with the `.item` and `.user` beside it, where present.
pub fn read(source: &Path, skips: &mut Skips) -> Result<Raw> {
    let inter = inter_file(source)?;
    let mut raw = Raw::default();
    let item_file = Some(inter.with_extension("item")).filter(|path| path.exists());
    let known = match &item_file {
        Some(path) => Some(read_items(path, &mut raw, skips)?),
        None => None,
    };
    let users = read_events(&inter, known, &mut raw, skips)?;
    let user_file = inter.with_extension("user");
    if user_file.exists() {
        read_users(&user_file, &users, &mut raw, skips)?;
    }
    Ok(raw)
}

fn inter_file(source: &Path) -> Result<PathBuf> {
    let wrong = |got: String| {
        Fault::Data.error(format!(
            "{}: expected a folder with one file X.inter, got {got}; give the folder of one data \
            set",
            source.display()
        ))
    };
    if source.extension().is_some_and(|extension| extension == "inter") && source.is_file() {
        return Ok(source.to_owned());
    }
    let entries = std::fs::read_dir(source).map_err(|e| wrong(e.to_string()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "inter"))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(wrong(format!("{n} of them"))),
    }
}

/// An atomic file: its columns, then its lines.
struct Atomic {
    lines: Lines,
    columns: Vec<(String, Kind)>,
}

impl Atomic {
    fn open(path: &Path, needed: &[&str], skips: &mut Skips) -> Result<Atomic> {
        let mut lines = Lines::open(path)?;
        let header = lines.next(skips)?.map(|(_, line)| line.to_owned()).unwrap_or_default();
        let mut columns = Vec::new();
        for column in header.split('\t') {
            let kind = column.rsplit_once(':').and_then(|(name, kind)| {
                let kind = match kind.trim() {
                    "token" => Kind::Token,
                    "token_seq" => Kind::TokenSeq,
                    "float" => Kind::Float,
                    "float_seq" => Kind::FloatSeq,
                    _ => return None,
                };
                Some((name.trim().to_owned(), kind))
            });
            columns.push(kind.ok_or_else(|| {
                line_error(
                    path,
                    1,
                    format_args!(
                        "expected a header of name:type with types token, token_seq, float or \
                        float_seq, got {column:?}; \
                         mend the header"
                    ),
                )
            })?);
        }
        for name in needed {
            if !columns.iter().any(|(column, _)| column == name) {
                return Err(line_error(
                    path,
                    1,
                    format_args!("expected a column {name}:token, got none; mend the header"),
                ));
            }
        }
        Ok(Atomic { lines, columns })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(column, _)| column == name)
    }

    /// Hands each line's fields to `take`; a line it refuses is `skips`' affair.
    fn each(
        mut self,
        skips: &mut Skips,
        mut take: impl FnMut(&[&str], usize) -> Result<(), String>,
    ) -> Result<()> {
        while let Some((number, line)) = self.lines.next(skips)? {
            if line.is_empty() {
                continue;
            }
            let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
            let done = if fields.len() == self.columns.len() {
                take(&fields, number)
            } else {
                let (expected, got) = (self.columns.len(), fields.len());
                Err(format!(
                    "expected {expected} tab-separated fields as in the header, got {got}; mend \
                    the line"
                ))
            };
            if let Err(message) = done {
                skips.bad(self.lines.error(message))?;
            }
        }
        Ok(())
    }
}

fn read_items(path: &Path, raw: &mut Raw, skips: &mut Skips) -> Result<Ids> {
    let file = Atomic::open(path, &["item_id"], skips)?;
    let columns = file.columns.clone();
    let mut ids = Ids::new("item");
    file.each(skips, |fields, line| {
        let mut item = RawItem::default();
        for ((name, kind), field) in columns.iter().zip(fields) {
            if name == "item_id" {
                item.id = (*field).to_owned();
            }
            if field.is_empty() {
                continue;
            }
            match name.as_str() {
                "title" | "movie_title" | "item_name" | "name" => {
                    item.title = Some((*field).to_owned())
                }
                "brand" => item.brand = Some((*field).to_owned()),
                "categories" | "category" | "genre" | "genres" | "class" => {
                    item.categories.push(names(field, *kind))
                }
                _ if is_identifier(name) => {}
                _ => item.attributes.extend(attribute(name, field, *kind)?),
            }
        }
        if item.id.is_empty() {
            return Err("expected an item_id, got an empty field; mend the line".to_owned());
        }
        ids.add(&item.id, line)?;
        raw.items.push(item);
        Ok(())
    })?;
    Ok(ids)
}

/// The names in a sequence: quoted and with commas between them, as some published conversions
/// write them, otherwise with blanks between them, as the format says.
fn names(field: &str, kind: Kind) -> Vec<String> {
    if kind != Kind::TokenSeq {
        return vec![field.to_owned()];
    }
    if field.contains(['\'', '"']) {
        let inner = field.trim_start_matches('[').trim_end_matches(']');
        if let Ok(object) = literal::parse(&format!("{{'names': [{inner}]}}")) {
            if let Some(Value::Array(values)) = object.get("names") {
                return values
                    .iter()
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect();
            }
        }
    }
    if field.contains(", ") {
        return field.split(", ").map(str::to_owned).collect();
    }
    field.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn attribute(name: &str, field: &str, kind: Kind) -> Result<Option<(String, String)>, String> {
    let value = match kind {
        Kind::Token | Kind::TokenSeq => field.to_owned(),
        Kind::Float => decimal(float(name, field)?),
        Kind::FloatSeq => return Ok(None),
    };
    Ok(Some((name.to_owned(), value)))
}

fn float(name: &str, field: &str) -> Result<f64, String> {
    field.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(|| {
        format!("expected {name} to be a finite number, got {field:?}; mend the line")
    })
}

fn read_events(path: &Path, known: Option<Ids>, raw: &mut Raw, skips: &mut Skips) -> Result<Ids> {
    let file = Atomic::open(path, &["user_id", "item_id"], skips)?;
    let (user, item) = (file.column("user_id").unwrap_or(0), file.column("item_id").unwrap_or(0));
    let (rating, time) = (file.column("rating"), file.column("timestamp"));
    let mut log = Log::new(path);
    log.clock = Clock::Unix;
    let described = known.is_some();
    let mut items = known.unwrap_or_else(|| Ids::new("item"));
    file.each(skips, |fields, line| {
        if fields[user].is_empty() || fields[item].is_empty() {
            return Err(
                "expected a user_id and an item_id, got an empty field; mend the line".to_owned()
            );
        }
        let rating =
            rating.map(|c| super::object::rating(fields[c])).transpose()?.unwrap_or(f32::NAN);
        let time = match time.map(|c| fields[c]).filter(|field| !field.is_empty()) {
            None => NO_TIME,
            Some(field) => float("timestamp", field)?.round() as i64,
        };
        let id = fields[item];
        let index = if described { items.find(id)? } else { items.number(id, line) };
        if index as usize == raw.items.len() {
            raw.items.push(RawItem { id: id.to_owned(), ..RawItem::default() });
        }
        log.add(Row { user: fields[user], item: index, pos: None, time, rating }, line);
        Ok(())
    })?;
    if !described {
        raw.notes.push(format!(
            "{}: no such file, items have no texts",
            path.with_extension("item").display()
        ));
    }
    log.finish(raw)
}

fn read_users(path: &Path, users: &Ids, raw: &mut Raw, skips: &mut Skips) -> Result<()> {
    let file = Atomic::open(path, &["user_id"], skips)?;
    let columns = file.columns.clone();
    let id = file.column("user_id").unwrap_or(0);
    let mut seen = Ids::new("user");
    let mut idle = 0;
    file.each(skips, |fields, line| {
        seen.add(fields[id], line)?;
        let mut attributes = Vec::new();
        for ((name, kind), field) in columns.iter().zip(fields) {
            if !field.is_empty() && !is_identifier(name) {
                attributes.extend(attribute(name, field, *kind)?);
            }
        }
        match users.index(fields[id]) {
            Some(index) => raw.users[index as usize].attributes = attributes,
            None => idle += 1,
        }
        Ok(())
    })?;
    if idle > 0 {
        raw.notes.push(format!("{}: users without events, left out: {idle}", path.display()));
    }
    Ok(())
}
