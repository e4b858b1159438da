//! Which columns of a table hold what is asked for.

use super::cell::Cell;
use super::columns::{Column, Kind, Row};
use super::names::{is_asked, is_identifier, is_prose, rank, Field, Rows, SPARE_CATEGORIES};
use super::report::Tally;
use super::Reading;
use crate::base::{choose, Fault};
use anyhow::Result;
use std::path::Path;

/// Every field, with the setting that names its column.
const FIELDS: [(Field, Option<&str>); 18] = [
    (Field::User, Some("user-column")),
    (Field::Item, Some("item-column")),
    (Field::Time, Some("time-column")),
    (Field::SinceFirst, None),
    (Field::Place, None),
    (Field::Rating, Some("rating-column")),
    (Field::Label, None),
    (Field::History, None),
    (Field::Shown, None),
    (Field::Title, Some("title-column")),
    (Field::Brand, None),
    (Field::Categories, None),
    (Field::TextId, None),
    (Field::Summary, None),
    (Field::Text, None),
    (Field::Explanation, None),
    (Field::Feature, None),
    (Field::Split, None),
];

/// The columns of each field, the best first; what else there is.
#[derive(Debug, Default)]
pub struct Roles {
    of: [Vec<usize>; FIELDS.len()],
    /// How many columns were looked at.
    seen: usize,
    /// A field of its rows was taken from the column, by column.
    used: Vec<bool>,
    /// A row had something in the column, by column.
    filled: Vec<bool>,
    /// What is left in the column is an attribute, by column.
    attribute: Vec<bool>,
}

impl Roles {
    /// The roles of `columns` in a table of `rows`; `item` is the name under which events and items
    /// meet, where one is known.
    pub fn of(rows: Rows, columns: &[Column], reading: &Reading, item: Option<&str>) -> Roles {
        let mut roles = Roles { seen: columns.len(), ..Roles::default() };
        for (field, _) in FIELDS.into_iter().filter(|(field, _)| is_asked(rows, *field)) {
            let mut ranked: Vec<(usize, usize)> = Vec::new();
            for (place, column) in columns.iter().enumerate() {
                let rank = match reading.column(field) {
                    // A title is looked for in items and in events, wherever its column is.
                    Some(name) if has(columns, name) => (column.name == name).then_some(0),
                    _ => rank(rows, field, &column.squashed),
                };
                let meets = field == Field::Item && item == Some(&column.squashed);
                let rank = if meets { Some(0) } else { rank.map(|rank| rank + 1) };
                ranked.extend(rank.map(|rank| (rank, place)));
            }
            ranked.sort_unstable();
            roles.of[field as usize] = ranked.into_iter().map(|(_, place)| place).collect();
        }
        if rows == Rows::Items && roles.all(Field::Categories).is_empty() {
            let place = |name: &&str| columns.iter().position(|column| column.squashed == *name);
            roles.of[Field::Categories as usize] =
                SPARE_CATEGORIES.iter().find_map(place).into_iter().collect();
        }
        roles.used = vec![false; columns.len()];
        roles.filled = vec![false; columns.len()];
        let is_attribute = |(place, column): (usize, &Column)| {
            !matches!(column.kind, Kind::Floats | Kind::Category)
                && !roles.all(Field::Item).contains(&place)
                && !roles.all(Field::User).contains(&place)
                && !is_identifier(&column.name)
                && !is_prose(&column.name)
        };
        roles.attribute = columns.iter().enumerate().map(is_attribute).collect();
        roles
    }

    /// Whether a table has more columns than were looked at.
    pub fn are_of(&self, columns: &[Column]) -> bool {
        self.seen == columns.len()
    }

    /// The roles of a table that has got more columns, with what was noted so far.
    pub fn renewed(
        self,
        rows: Rows,
        columns: &[Column],
        reading: &Reading,
        item: Option<&str>,
    ) -> Roles {
        let mut roles = Roles::of(rows, columns, reading, item);
        roles.used[..self.used.len()].copy_from_slice(&self.used);
        roles.filled[..self.filled.len()].copy_from_slice(&self.filled);
        roles
    }

    /// The columns of a field, the best first.
    pub fn all(&self, field: Field) -> &[usize] {
        &self.of[field as usize]
    }

    /// Whether any column holds the field.
    pub fn has(&self, field: Field) -> bool {
        !self.all(field).is_empty()
    }

    /// Whether a column has a role.
    pub fn is_taken(&self, place: usize) -> bool {
        self.of.iter().any(|places| places.contains(&place))
    }

    /// The cell of a field in a row: the first of its columns that holds something.
    pub fn take<'r>(&mut self, field: Field, row: &mut Row<'r>) -> Cell<'r> {
        for &place in &self.of[field as usize] {
            if row.get(place).is_some_and(|cell| !cell.is_null()) {
                self.used[place] = true;
                return std::mem::replace(&mut row[place], Cell::Null);
            }
        }
        Cell::Null
    }

    /// Takes note that something of a column was used.
    pub fn used(&mut self, place: usize) {
        self.used[place] = true;
    }

    /// Takes note of what is left in a row.
    pub fn leave(&mut self, row: &Row) {
        for (filled, cell) in self.filled.iter_mut().zip(row) {
            *filled |= !cell.is_null();
        }
    }

    /// Names of columns that held something of which nothing was used.
    pub fn unused(&self, columns: &[Column]) -> Vec<String> {
        let places =
            (0..self.filled.len()).filter(|&place| self.filled[place] && !self.used[place]);
        places.map(|place| columns[place].name.clone()).collect()
    }

    /// The attributes that are left in a row: scalars that are no identifiers and no long texts.
    pub fn attributes(
        &mut self,
        row: &Row,
        columns: &[Column],
        longest: usize,
        long: &mut Tally,
    ) -> Result<Vec<(String, String)>, String> {
        let mut attributes = Vec::new();
        for (place, cell) in row.iter().enumerate() {
            if !self.attribute[place] {
                continue;
            }
            let column = &columns[place];
            let Some(value) = cell.scalar() else { continue };
            let value = super::text::plain(&value);
            if value.chars().nth(longest).is_some() {
                long.add(|| column.name.clone());
                continue;
            }
            let value = match (column.kind, value.parse::<f64>()) {
                (Kind::Float, Ok(x)) if x.is_finite() => super::cell::decimal(x),
                (Kind::Float, _) => {
                    return Err(format!(
                        "expected {} to be a finite number, got {}; mend the line",
                        column.name,
                        cell.shown()
                    ))
                }
                _ => value.into_owned(),
            };
            self.used[place] = true;
            attributes.push((column.name.clone(), value));
        }
        Ok(attributes)
    }
}

fn has(columns: &[Column], name: &str) -> bool {
    columns.iter().any(|column| column.name == name)
}

/// How many of `columns` a table of `rows` has a use for; what a user named counts most.
pub fn known(rows: Rows, columns: &[Column], reading: &Reading) -> usize {
    let roles = Roles::of(rows, columns, reading, None);
    let essential = [Field::User, Field::Item].iter().filter(|field| roles.has(**field)).count();
    let fields = FIELDS.iter().filter(|(field, _)| roles.has(*field)).count();
    let named = FIELDS.iter().filter_map(|(field, _)| reading.column(*field));
    fields + 10 * essential + 100 * named.filter(|name| has(columns, name)).count()
}

/// Refuses a table of events without a column that a setting names.
pub fn check_named(path: &Path, tables: &[&[Column]], reading: &Reading) -> Result<()> {
    let fields =
        FIELDS.iter().filter_map(|(field, setting)| (*setting).zip(reading.column(*field)));
    let events = reading.event.iter().filter_map(|filter| filter.split_once('='));
    let events = events.map(|(column, _)| ("event", column.trim()));
    for (setting, name) in fields.chain(events) {
        if !tables.iter().any(|columns| has(columns, name)) {
            let names: Vec<&str> =
                tables.iter().flat_map(|columns| columns.iter().map(|c| c.name.as_str())).collect();
            let advice = choose(name, names.iter().copied());
            return Err(Fault::Usage.error(format!(
                "setting `{setting}`: {}: expected the name of a column, one of {}, got {name:?}; \
                {advice}",
                path.display(),
                names.join(", ")
            )));
        }
    }
    Ok(())
}
