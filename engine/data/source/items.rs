//! Rows that describe items or users become the catalogue and attributes.

use super::cell::{is_unknown, Cell};
use super::columns::{Column, Kind, Row};
use super::ids::Ids;
use super::lines::Skips;
use super::list::{self, Between};
use super::names::{is_list, Field, Rows};
use super::report::Tally;
use super::roles::Roles;
use super::table::{Go, Table};
use super::{text, Attributes, Fields, RawItem, Reading};
use anyhow::Result;
use std::borrow::Cow;

/// What is counted while items are described.
#[derive(Debug, Default)]
pub struct Described {
    /// Rows that describe an item anew, in other words than its first.
    pub twice: Tally,
    /// Rows that describe an item again, in any words.
    pub again: u64,
    /// Titles that were cut.
    pub cut: Tally,
    /// Attributes that are too long for one.
    pub long: Tally,
    /// Titles and brands that say that there is none.
    pub nothing: Tally,
}

impl Described {
    /// Lines of the summary.
    pub fn notes(&self, reading: &Reading) -> Vec<String> {
        let most = reading.max_title;
        [
            self.twice.line("rows that describe an item in other words than its first row"),
            self.cut.line(format_args!("titles of more than {most} characters, cut there")),
            self.long.line(format_args!("attributes of more than {LONGEST} characters, left out")),
            self.nothing.line("titles and brands that are a word for nothing, left out"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// An attribute is an entity of a few words; what is longer is a text.
const LONGEST: usize = 300;

/// The id in the column of `field`.
pub fn id<'c>(
    cell: &'c Cell,
    field: Field,
    roles: &Roles,
    columns: &[Column],
) -> Result<Cow<'c, str>, String> {
    cell.id().ok_or_else(|| {
        let name = match roles.all(field) {
            [] if field == Field::User => "user_id",
            [] => "item_id",
            places => columns[places[0]].name.as_str(),
        };
        match cell {
            Cell::Null if roles.has(field) => format!(
                "expected `{name}` to be a whole number or a text, got nothing; mend the line"
            ),
            Cell::Null => format!(
                "expected a field `{name}`, got none; add it or say which it is with setting \
                `{}-column`",
                if field == Field::User { "user" } else { "item" }
            ),
            _ => format!(
                "expected `{name}` to be a whole number or a text that is not empty, got {}; mend \
                the line",
                cell.shown()
            ),
        }
    })
}

/// A text of the row, decoded; `None` where it says nothing.
pub fn words(field: &str, cell: &Cell) -> Result<Option<String>, String> {
    match cell.text() {
        Some(words) => Ok(text::filled(&words)),
        None => Err(format!(
            "expected `{field}` to be a text or null, got {}; mend the line",
            cell.shown()
        )),
    }
}

/// What a row says about the item `id`, its attributes apart.
pub fn described(
    id: String,
    row: &mut Row,
    columns: &[Column],
    roles: &mut Roles,
    reading: &Reading,
    counts: &mut Described,
) -> Result<Fields, String> {
    let mut item = Fields { id, ..Fields::default() };
    let mut says = |text: Option<String>| {
        text.filter(|text| {
            let nothing = is_unknown(text.trim());
            if nothing {
                counts.nothing.add(|| format!("item {}, {text:?}", item.id));
            }
            !nothing
        })
    };
    item.title = says(words("title", &roles.take(Field::Title, row))?);
    item.brand = says(words("brand", &roles.take(Field::Brand, row))?);
    if let Some(title) = &mut item.title {
        let length = text::cut(title, reading.max_title).len();
        if length < title.len() {
            counts.cut.add(|| format!("item {}", item.id));
            title.truncate(length);
        }
    }
    item.text_id = words("text_id", &roles.take(Field::TextId, row))?;
    for place in roles.all(Field::Categories).to_vec() {
        let Some(cell) = row.get_mut(place) else { continue };
        let cell = std::mem::replace(cell, Cell::Null);
        if cell.is_null() {
            continue;
        }
        roles.used(place);
        let column = &columns[place];
        let between = match column.kind {
            Kind::Tokens => Between::Blanks,
            Kind::Token => Between::Bars,
            _ if is_list(&column.squashed) => Between::Commas,
            _ => Between::Bars,
        };
        let paths = list::paths(cell, between)
            .map_err(|wrong| format!("field `{}`: {wrong}", column.name))?;
        item.categories.extend(paths);
    }
    for name in item.categories.iter_mut().flatten() {
        if let Cow::Owned(decoded) = text::plain(name) {
            *name = decoded;
        }
    }
    let of_category = |(place, column): &(usize, &Column)| {
        column.kind == Kind::Category && row.get(*place).is_some_and(|cell| cell.says("1"))
    };
    let named = columns.iter().enumerate().filter(of_category);
    let names: Vec<String> = named.map(|(_, column)| column.name.clone()).collect();
    item.categories.extend((!names.is_empty()).then_some(names));
    Ok(item)
}

/// Where the items of a table go.
pub trait Catalogue {
    /// Whether an item is asked for; refuses one that came before.
    fn wants(&self, id: &str) -> Result<bool, String>;
    /// Takes one that is.
    fn take(&mut self, item: Fields, line: usize);
}

/// Every item, in the table's order.
pub struct All {
    /// Their ids.
    pub ids: Ids,
    /// What they are.
    pub items: Vec<RawItem>,
}

impl Catalogue for All {
    fn wants(&self, id: &str) -> Result<bool, String> {
        self.ids.new_one(id).map(|()| true)
    }

    fn take(&mut self, item: Fields, line: usize) {
        self.ids.number(&item.id, line);
        self.items.push(RawItem::of(&item));
    }
}

/// Items that have events, in the table's order.
pub struct Used<'u> {
    /// The ids of events.
    pub ids: &'u Ids,
    /// Whether each of them is asked for.
    pub is_used: &'u [bool],
    /// Where it went.
    pub place: Vec<Option<u32>>,
    /// What they are.
    pub items: Vec<RawItem>,
}

impl Catalogue for Used<'_> {
    fn wants(&self, id: &str) -> Result<bool, String> {
        match self.ids.index(id).filter(|&number| self.is_used[number as usize]) {
            None => Ok(false),
            Some(number) if self.place[number as usize].is_some() => {
                Err(format!("expected every item once, got {id:?} again; take one away"))
            }
            Some(_) => Ok(true),
        }
    }

    fn take(&mut self, item: Fields, _: usize) {
        let number = self.ids.index(&item.id).expect("wanted, so it has an event");
        self.place[number as usize] = Some(self.items.len() as u32);
        self.items.push(RawItem::of(&item));
    }
}

/// Reads a table of items, each id once, into a catalogue. The lines of the summary.
pub fn read(
    table: &mut Table,
    reading: &Reading,
    meets: Option<&str>,
    skips: &mut Skips,
    counts: &mut Described,
    catalogue: &mut impl Catalogue,
) -> Result<Vec<String>> {
    let mut roles = Roles::of(Rows::Items, table.columns().list(), reading, meets);
    table.each(skips, |columns, mut row, line| {
        let columns = columns.list();
        if !roles.are_of(columns) {
            roles = std::mem::take(&mut roles).renewed(Rows::Items, columns, reading, meets);
        }
        let cell = roles.take(Field::Item, &mut row);
        let id = id(&cell, Field::Item, &roles, columns)?;
        if !catalogue.wants(&id)? {
            return Ok(Go::On);
        }
        let mut item = described(id.into_owned(), &mut row, columns, &mut roles, reading, counts)?;
        item.attributes = roles.attributes(&row, columns, LONGEST, &mut counts.long)?;
        roles.leave(&row);
        catalogue.take(item, line);
        Ok(Go::On)
    })?;
    Ok(unused(table, &roles))
}

/// The line about columns of which nothing was used.
pub fn unused(table: &Table, roles: &Roles) -> Vec<String> {
    let names = roles.unused(table.columns().list());
    let line = format!("{}: columns not used: {}", table.path().display(), names.join(", "));
    let lines = (!names.is_empty()).then_some(line);
    lines.into_iter().chain(table.remark()).collect()
}

/// Reads attributes of users that have events; the others are counted in a note.
pub fn read_users(
    table: &mut Table,
    reading: &Reading,
    users: &Ids,
    skips: &mut Skips,
    counts: &mut Described,
) -> Result<(Vec<Attributes>, Vec<String>)> {
    let mut roles = Roles::of(Rows::Users, table.columns().list(), reading, None);
    let mut seen = Ids::new("user");
    let mut idle = Tally::default();
    let mut all: Vec<Attributes> = vec![Vec::new(); users.len()];
    table.each(skips, |columns, mut row, line| {
        let columns = columns.list();
        if !roles.are_of(columns) {
            roles = std::mem::take(&mut roles).renewed(Rows::Users, columns, reading, None);
        }
        let cell = roles.take(Field::User, &mut row);
        let id = id(&cell, Field::User, &roles, columns)?;
        seen.add(&id, line)?;
        let attributes = roles.attributes(&row, columns, LONGEST, &mut counts.long)?;
        roles.leave(&row);
        match users.index(&id) {
            Some(index) => all[index as usize] = attributes,
            None => idle.add(|| format!("line {line}, user {id}")),
        }
        Ok(Go::On)
    })?;
    let mut notes = unused(table, &roles);
    let path = table.path().display();
    notes.extend(idle.line(format_args!("{path}: users without events, left out")));
    Ok((all, notes))
}
