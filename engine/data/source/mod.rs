//! Readers of raw formats: files that others wrote become a [`Raw`], or one sentence about the
//! first bad line.
//!
//! Readers only turn bytes into rows of named cells (`table`: JSON lines and Python dicts,
//! delimited files, Parquet). Behind them stands one layer, the same for all: `layout` says which
//! file holds what, `names` what columns are called, `time` and `list` how times and lists
//! are written, `text` what becomes of entities, `events` which rows a rule leaves out,
//! `gather` in which order the rest stands. What is left out or changed is counted in
//! [`Raw::notes`].

mod cell;
mod columns;
mod date;
mod delimited;
mod encoding;
mod entities;
mod events;
mod gather;
mod ids;
mod item;
mod items;
mod json;
mod layout;
mod lines;
mod list;
mod literal;
mod moment;
mod names;
mod parquet;
mod published;
mod reading;
mod report;
mod reviews;
mod roles;
mod sequences;
mod suspect;
pub mod synthetic;
mod table;
mod text;
mod time;
mod useless;

pub use cell::attribute;
pub use date::calendar;
pub use ids::Ids;
pub use item::{Fields, RawItem};
pub use lines::Skips;
pub use reading::{Allowance, Format, Reading};
pub use suspect::suspicions;

use crate::base::Fault;
use anyhow::Result;
use gather::Gathered;
use items::Described;
use layout::Layout;
use names::{rank, Field, Rows};
use report::Tally;
use std::path::Path;

/// What a source holds: the catalogue in the source's order, users with their events in time order.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The catalogue, in the source's order.
    pub items: Vec<RawItem>,
    /// Users, in the order in which they came.
    pub users: Ids,
    /// `users` (name, value) pairs in the source's order; none where there is no file of users.
    pub attributes: Vec<Attributes>,
    /// What the users did.
    pub events: Events,
    /// Texts that users wrote about items.
    pub reviews: Vec<RawReview>,
    /// What the events' times count from.
    pub clock: Clock,
    /// The format that was read.
    pub format: &'static str,
    /// Remarks for the table of counts, such as "users without events, left out: 3 (first: …)".
    pub notes: Vec<String>,
}

/// (name, value) pairs in the source's order.
pub type Attributes = Vec<(String, String)>;

/// Events of all users, oldest first; equal times keep the input's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// [users + 1] where each user's events begin.
    pub start: Vec<u64>,
    /// Index into [`Raw::items`].
    pub item: Vec<u32>,
    /// See [`Clock`]; [`super::record::NO_TIME`] where unknown.
    pub time: Vec<i64>,
    /// NaN where unknown.
    pub rating: Vec<f32>,
}

impl Events {
    fn with_capacity(events: usize, users: usize) -> Events {
        let mut start = Vec::with_capacity(users + 1);
        start.push(0);
        Events {
            start,
            item: Vec::with_capacity(events),
            time: Vec::with_capacity(events),
            rating: Vec::with_capacity(events),
        }
    }

    fn push(&mut self, item: u32, time: i64, rating: f32) {
        self.item.push(item);
        self.time.push(time);
        self.rating.push(rating);
    }

    fn end_user(&mut self) {
        self.start.push(self.item.len() as u64);
    }

    /// How many, of all users.
    pub fn len(&self) -> usize {
        self.item.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.item.is_empty()
    }

    fn range(&self, user: u32) -> std::ops::Range<usize> {
        let user = user as usize;
        self.start[user] as usize..self.start[user + 1] as usize
    }

    /// The items of a user, oldest first.
    pub fn items(&self, user: u32) -> &[u32] {
        &self.item[self.range(user)]
    }

    /// When each was.
    pub fn times(&self, user: u32) -> &[i64] {
        &self.time[self.range(user)]
    }
}

/// A text that a user wrote about an item.
#[derive(Clone, Debug, Default)]
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

impl RawReview {
    /// Whether there is any text.
    fn says(&self) -> bool {
        [&self.summary, &self.text, &self.explanation, &self.feature].iter().any(|t| t.is_some())
    }
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

/// Reads a whole source. `skips` says how many malformed lines may be left out, and lists them
/// afterwards.
///
/// Refuses a source without items or without events, and one that is useless for learning unless
/// [`Reading::allow`] says that it is meant so.
pub fn read(path: &Path, reading: &Reading, skips: &mut Skips) -> Result<Raw> {
    if let Some(shape) = synthetic::Shape::asked(path) {
        return Ok(synthetic::Shop::of(shape?).raw());
    }
    let reading = &reading.checked()?;
    let layout = layout::find(path, reading)?;
    let mut source = Source { layout: &layout, reading, looked: Vec::new(), notes: Vec::new() };
    let raw = source.read(skips)?;
    for (what, count) in [("item", raw.items.len()), ("event", raw.events.len())] {
        if count == 0 {
            return Err(Fault::Data.error(format!(
                "{}: expected at least one {what}, got none; check the source and its setting \
                `format`{}",
                path.display(),
                raw.notes.iter().map(|note| format!(" ({note})")).collect::<String>()
            )));
        }
    }
    Ok(raw)
}

struct Source<'s> {
    layout: &'s Layout,
    reading: &'s Reading,
    /// What was looked at, for a refusal: the columns of each file and what parts them.
    looked: Vec<String>,
    notes: Vec<String>,
}

impl Source<'_> {
    fn read(&mut self, skips: &mut Skips) -> Result<Raw> {
        let (layout, reading) = (self.layout, self.reading);
        let meets = self.meets()?;
        let mut described = Described::default();
        // A catalogue of which only a part is asked for is read behind the events.
        let known = match &layout.items {
            Some(_) if !layout.used_only => Some(self.items(&meets, &mut described, skips)?),
            Some(_) => Some((Ids::new("item"), Vec::new())),
            None => None,
        };
        let catalogue = known.as_ref().map_or(0, |(ids, _)| ids.len() as u32);
        let mut events = events::Reader::new(reading, layout.known, known);
        events.described = described;
        for part in &layout.events {
            let mut table = part.open(Rows::Events, reading, skips)?;
            self.events_columns(&table)?;
            events.read(&mut table, meets.as_deref(), skips)?;
        }
        let left_out = events.finish();
        if events.log.len() == 0 && reading.leaves_out() && layout.sequences.is_none() {
            let files: Vec<String> =
                layout.events.iter().map(|part| part.path.display().to_string()).collect();
            return Err(Fault::Data.error(format!(
                "{}: expected events that setting `event` and setting `min-rating` keep, got none \
                ({}); give other values",
                files.join(", "),
                left_out.join("; ")
            )));
        }
        self.notes.extend(left_out);
        let (ids, mut items, mut log) = (events.ids, events.items, events.log);
        if let Some(part) = layout.items.as_ref().filter(|_| !layout.used_only) {
            let mut lacking = Tally::default();
            for item in catalogue..ids.len() as u32 {
                lacking.add(|| format!("item {}", ids.get(item)));
            }
            let path = part.path.display();
            self.notes.extend(lacking.line(format_args!("{path}: items of events without a row")));
        }
        let both = layout.sequences.as_ref().filter(|_| !layout.events.is_empty());
        if let Some(path) = layout.sequences.as_ref().filter(|_| both.is_none()) {
            self.looked.push(format!("{} (a user and items a line)", path.display()));
            log = sequences::read(path, self.script(), &ids, skips)?;
        }
        let core = reading.k_core.unwrap_or(layout.core);
        let files = layout.events.iter().map(|part| &part.path).chain(&layout.sequences);
        let of_events: Vec<String> = files.map(|path| path.display().to_string()).collect();
        let of_events = of_events.join(", ");
        let rows = log.len();
        let mut gathered = log.finish(core, items.len())?;
        if gathered.events.is_empty() && rows > 0 {
            return Err(Fault::Data.error(format!(
                "{of_events}: expected events of users and items with at least {core} each, got \
                none among {rows}; lower setting `k-core`"
            )));
        }
        self.notes.append(&mut gathered.notes);
        if let Some(path) = both {
            let theirs =
                sequences::read(path, self.script(), &ids, skips)?.finish(0, items.len())?;
            if skips.skipped().is_empty() && core <= 1 {
                let mine = (&gathered.users, &gathered.events);
                sequences::agree(&layout.events[0].path, path, mine, &theirs, &items)?;
            } else {
                // What was left out of one file is still in the other.
                let path = path.display();
                self.notes.push(format!("{path}: not compared, because rows were left out"));
            }
        }
        let keeps = if layout.used_only {
            items = self.used_items(&ids, items, &mut gathered, meets.as_deref(), skips)?;
            None
        } else if core > 1 {
            Some(gathered.is_used.clone())
        } else {
            None
        };
        let mut attributes = Vec::new();
        let mut described = Described::default();
        if let Some(part) = &layout.users {
            let mut table = part.open(Rows::Users, reading, skips)?;
            let read =
                items::read_users(&mut table, reading, &gathered.users, skips, &mut described)?;
            attributes = read.0;
            self.notes.extend(read.1);
        }
        if let Some(part) = &layout.reviews {
            let mut table = part.open(Rows::Events, reading, skips)?;
            let read = reviews::read(&mut table, reading, &gathered.users, &ids, core > 1, skips)?;
            gathered.reviews = read.0;
            self.notes.extend(read.1);
        }
        self.notes.extend(described.notes(reading));
        if let Some(keeps) = keeps {
            keep_items(&mut items, &mut gathered, &keeps, &mut self.notes);
        }
        useless::judge(&items, &gathered, reading, &of_events, &self.looked)?;
        if let Some(set) = layout.set {
            self.notes.insert(0, format!("the files of {set}"));
        }
        let (notes, format) = (std::mem::take(&mut self.notes), layout.format.name());
        let Gathered { users, events, reviews, clock, .. } = gathered;
        Ok(Raw { items, users, attributes, events, reviews, clock, format, notes })
    }

    fn script(&self) -> lines::Script {
        lines::Script { asked: self.reading.script(), otherwise: None }
    }

    /// The squashed name of the column in which events and items meet: the best that both have.
    fn meets(&self) -> Result<Option<String>> {
        let (Some(events), Some(items)) = (self.layout.events.first(), &self.layout.items) else {
            return Ok(None);
        };
        let events = events.columns(Rows::Events, self.reading)?;
        let items = items.columns(Rows::Items, self.reading)?;
        roles::check_named(self.layout.events[0].path.as_path(), &[&events, &items], self.reading)?;
        if self.reading.item_column.is_some() {
            return Ok(None);
        }
        let good = |column: &columns::Column| rank(Rows::Events, Field::Item, &column.squashed);
        let shared = events
            .iter()
            .filter(|column| items.iter().any(|other| other.squashed == column.squashed));
        let best = shared.filter_map(|c| Some((good(c)?, &c.squashed))).min();
        Ok(best.map(|(_, name)| name.clone()))
    }

    /// Takes note of the columns of a file of events, and refuses one without users and items.
    fn events_columns(&mut self, table: &table::Table) -> Result<()> {
        let columns = table.columns().list();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let path = table.path();
        let Some(separator) = table.separator() else {
            let columns = match self.layout.events.first() {
                Some(part) if names.is_empty() => part.columns(Rows::Events, self.reading)?,
                _ => columns.to_vec(),
            };
            roles::check_named(path, &[&columns], &self.without_items())?;
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            self.looked.push(format!("{} (columns {})", path.display(), names.join(", ")));
            return Ok(());
        };
        roles::check_named(path, &[columns], &self.without_items())?;
        self.looked.push(format!(
            "{} (columns {}, separator {separator:?})",
            path.display(),
            names.join(", ")
        ));
        let roles = roles::Roles::of(Rows::Events, columns, self.reading, None);
        let items = [Field::Item, Field::Shown, Field::History];
        if roles.has(Field::User) && items.iter().any(|&field| roles.has(field)) {
            return Ok(());
        }
        Err(lines::line_error(
            path,
            1,
            format_args!(
                "expected a header with the columns user_id and item_id, got {:?} with the \
                separator {separator:?}; add the header, or give setting `user-column`, setting \
                `item-column` (1, 2 … where there is no header) or setting `separator`",
                names.join(" ")
            ),
        ))
    }

    /// What may be looked for in events alone: a title may be in the items.
    fn without_items(&self) -> Reading {
        let mut reading = self.reading.clone();
        if self.layout.items.is_some() {
            reading.title_column = None;
            reading.item_column = None;
        }
        reading
    }

    /// All items of the layout's table.
    fn items(
        &mut self,
        meets: &Option<String>,
        described: &mut Described,
        skips: &mut Skips,
    ) -> Result<(Ids, Vec<RawItem>)> {
        let part = self.layout.items.as_ref().expect("asked for where there is one");
        let mut table = part.open(Rows::Items, self.reading, skips)?;
        let mut all = items::All { ids: Ids::new("item"), items: Vec::new() };
        let meets = meets.as_deref();
        let notes = items::read(&mut table, self.reading, meets, skips, described, &mut all)?;
        self.notes.extend(notes);
        if all.items.is_empty() {
            return Err(Fault::Data.error(format!(
                "{}: expected at least one item, got none; add the catalogue",
                part.path.display()
            )));
        }
        Ok((all.ids, all.items))
    }

    /// The items that have events, in the order of the layout's table, which knows nothing of who
    /// bought what when; those it lacks behind them.
    fn used_items(
        &mut self,
        ids: &Ids,
        named: Vec<RawItem>,
        gathered: &mut Gathered,
        meets: Option<&str>,
        skips: &mut Skips,
    ) -> Result<Vec<RawItem>> {
        let part = self.layout.items.as_ref().expect("asked for where there is one");
        let mut table = part.open(Rows::Items, self.reading, skips)?;
        let mut described = Described::default();
        let is_used = &gathered.is_used;
        let mut used =
            items::Used { ids, is_used, place: vec![None; ids.len()], items: Vec::new() };
        let notes = items::read(&mut table, self.reading, meets, skips, &mut described, &mut used)?;
        self.notes.extend(notes);
        self.notes.extend(described.notes(self.reading));
        let (mut place, mut items) = (used.place, used.items);
        let mut missing: Vec<u32> = (0..ids.len() as u32)
            .filter(|&i| gathered.is_used[i as usize] && place[i as usize].is_none())
            .collect();
        missing.sort_by_key(|&i| ids.get(i));
        let mut lacking = Tally::default();
        let mut named = named;
        for i in missing {
            lacking.add(|| format!("item {}", ids.get(i)));
            place[i as usize] = Some(items.len() as u32);
            items.push(std::mem::take(&mut named[i as usize]));
        }
        let path = part.path.display();
        self.notes.extend(lacking.line(format_args!("{path}: items without a row")));
        let place = |item: &mut u32| {
            *item = place[*item as usize].expect("every used item has a place");
        };
        gathered.events.item.iter_mut().for_each(place);
        gathered.reviews.iter_mut().for_each(|review| place(&mut review.item));
        Ok(items)
    }
}

/// Leaves out items without events.
fn keep_items(
    items: &mut Vec<RawItem>,
    gathered: &mut Gathered,
    keeps: &[bool],
    notes: &mut Vec<String>,
) {
    let mut left = Tally::default();
    let mut place = Vec::with_capacity(items.len());
    let mut kept = 0;
    for (item, &keep) in items.iter().zip(keeps) {
        place.push(kept);
        match keep {
            true => kept += 1,
            false => left.add(|| format!("item {}", item.id())),
        }
    }
    let mut keep = keeps.iter();
    items.retain(|_| *keep.next().expect("one an item"));
    gathered.events.item.iter_mut().for_each(|item| *item = place[*item as usize]);
    gathered.reviews.iter_mut().for_each(|review| review.item = place[review.item as usize]);
    notes.extend(left.line("items without events behind setting `k-core`, left out"));
}
