//! Rows that say what users did become a log, and describe items where no table of items does.

use super::cell::{Cell, UNKNOWN};
use super::columns::{Column, Row};
use super::gather::{Event, Log};
use super::ids::Ids;
use super::items::{self, id, Described};
use super::lines::Skips;
use super::list;
use super::names::{Field, Rows, REVIEWS};
use super::report::Tally;
use super::reviews::split_of;
use super::roles::Roles;
use super::table::{Go, Table};
use super::{text, Clock, Fields, RawItem, RawReview, Reading};
use anyhow::Result;
use std::collections::BTreeMap;

/// Where the items of events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All are known: another one is a malformed row.
    All,
    /// New ones are items as well.
    More,
}

/// Reads events of all files of a source.
pub struct Reader<'s> {
    /// What was read so far.
    pub log: Log,
    /// Items by their ids.
    pub ids: Ids,
    /// What events say about items, by their numbers; those that a table of items describes come
    /// first.
    pub items: Vec<RawItem>,
    /// Counts of what is said about items.
    pub described: Described,
    reading: &'s Reading,
    known: Known,
    /// Events describe items.
    describes: bool,
    filters: Vec<(&'s str, &'s str)>,
    left: Left,
    /// Titles of events may be headlines of reviews: which they are shows in the end.
    doubtful: bool,
    words: Vec<String>,
}

/// Rows that a rule leaves out.
#[derive(Default)]
struct Left {
    event: Tally,
    label: Tally,
    rating: Tally,
    unrated: Tally,
    user_elsewhere: Tally,
}

impl<'s> Reader<'s> {
    /// Nothing read yet. `items` are those that a table of items describes; without one events
    /// describe them.
    pub fn new(
        reading: &'s Reading,
        known: Known,
        items: Option<(Ids, Vec<RawItem>)>,
    ) -> Reader<'s> {
        let describes = items.is_none();
        let (ids, items) = items.unwrap_or_else(|| (Ids::new("item"), Vec::new()));
        let filters = reading.event.iter().map(|filter| {
            let (column, value) = filter.split_once('=').unwrap_or((filter, ""));
            (column.trim(), value.trim())
        });
        Reader {
            log: Log::new(),
            ids,
            items,
            described: Described::default(),
            reading,
            known,
            describes,
            filters: filters.collect(),
            left: Left::default(),
            doubtful: false,
            words: Vec::new(),
        }
    }

    /// Reads one more file of events; `meets` is the name of the item's column in the table of
    /// items.
    pub fn read(
        &mut self,
        table: &mut Table,
        meets: Option<&str>,
        skips: &mut Skips,
    ) -> Result<()> {
        self.log.begin(table.path());
        let mut roles = Roles::of(Rows::Events, table.columns().list(), self.reading, meets);
        let mut kinds = Kinds::default();
        let mut headline = None;
        table.each(skips, |columns, mut row, line| {
            let columns = columns.list();
            if !roles.are_of(columns) {
                let known = std::mem::take(&mut roles);
                roles = known.renewed(Rows::Events, columns, self.reading, meets);
                headline = None;
            }
            let headline = *headline.get_or_insert_with(|| self.headline(&roles, columns));
            kinds.look(&roles, columns, &row);
            self.row(&mut roles, columns, &mut row, line, headline)?;
            roles.leave(&row);
            Ok(Go::On)
        })?;
        let (unused, path) = (items::unused(table, &roles), table.path().display());
        self.words.extend(kinds.line(&self.filters).map(|words| format!("{path}: {words}")));
        self.words.extend(unused);
        Ok(())
    }

    /// Whether titles beside reviews are theirs.
    fn headline(&self, roles: &Roles, columns: &[Column]) -> Headline {
        let reviewed = roles.has(Field::Text) && !roles.has(Field::Summary);
        let published = columns.iter().any(|c| REVIEWS.contains(&&*c.squashed));
        match (reviewed && self.reading.title_column.is_none(), published || !self.describes) {
            (false, _) => Headline::No,
            (true, true) => Headline::Yes,
            (true, false) => Headline::Perhaps,
        }
    }

    fn row(
        &mut self,
        roles: &mut Roles,
        columns: &[Column],
        row: &mut Row,
        line: usize,
        headline: Headline,
    ) -> Result<(), String> {
        for (column, value) in &self.filters {
            let place = columns.iter().position(|c| c.name == *column);
            let says = |cell: &Cell| cell.says(value);
            if let Some(place) = place {
                roles.used(place);
            }
            if !place.and_then(|place| row.get(place)).is_some_and(says) {
                self.left.event.add(|| format!("line {line}"));
                return Ok(());
            }
        }
        if is_refusal(&roles.take(Field::Label, row)) {
            self.left.label.add(|| format!("line {line}"));
            return Ok(());
        }
        let first = roles.all(Field::User).first().and_then(|&place| row.get(place));
        if roles.all(Field::User).len() > 1 && first.is_none_or(Cell::is_null) {
            self.left.user_elsewhere.add(|| format!("line {line}"));
        }
        let user = roles.take(Field::User, row);
        let user = id(&user, Field::User, roles, columns)?;
        let rating = roles.take(Field::Rating, row).rating()?;
        if let Some(least) = self.reading.min_rating {
            if rating.is_nan() {
                self.left.unrated.add(|| format!("line {line}"));
                return Ok(());
            }
            if f64::from(rating) < least {
                self.left.rating.add(|| format!("line {line}, {rating}"));
                return Ok(());
            }
        }
        let past = list::ids(&roles.take(Field::History, row))?;
        let shown = roles.take(Field::Shown, row);
        let taken = if shown == Cell::Null { Vec::new() } else { impressions(&shown)? };
        let item = roles.take(Field::Item, row);
        // A row may hold nothing but what went before.
        let single = shown == Cell::Null && (past.is_empty() || item != Cell::Null);
        let item = if single { Some(id(&item, Field::Item, roles, columns)?) } else { None };
        let place = match roles.take(Field::Place, row) {
            Cell::Null => None,
            cell => Some(whole(&cell)?),
        };
        let (clock, time) = match roles.has(Field::Time) {
            true => (Clock::Unix, roles.take(Field::Time, row)),
            false => (Clock::SinceFirst, roles.take(Field::SinceFirst, row)),
        };
        let ids = past.iter().chain(taken.iter().map(|(id, _)| id)).map(String::as_str);
        ids.chain(item.as_deref()).try_for_each(|id| self.check(id))?;
        let (mut review, says) = review(roles, row, headline)?;
        let said = match &item {
            Some(id) => {
                self.said(id, roles, columns, row, says && headline == Headline::Perhaps)?
            }
            None => None,
        };
        if said.is_some() && says && headline == Headline::Perhaps {
            self.doubtful = true;
            review.summary = said.as_ref().and_then(|said| said.title.clone());
        }

        // All of the row is good once its time is; from here on it is kept.
        let event = |item: u32| Event { user: &user, item, place, rating };
        if let Some(id) = &item {
            self.log.times.push(&time, line)?;
            let number = self.number(id, line);
            self.complete(number, said, line);
            self.log.add(event(number), line);
            self.log.clock = clock;
            if says {
                self.log.wrote(review);
            }
        }
        for (id, was_taken) in &taken {
            if !was_taken {
                self.left.label.add(|| format!("line {line}, item {id}"));
                continue;
            }
            self.log.times.push(&time, line)?;
            let number = self.number(id, line);
            self.log.add(event(number), line);
            self.log.clock = clock;
        }
        if !past.is_empty() {
            let past = past.iter().map(|id| self.number(id, line)).collect();
            self.log.remember(&user, past, line);
        }
        Ok(())
    }

    /// Refuses an item that is not known where all are.
    fn check(&self, id: &str) -> Result<(), String> {
        match self.known {
            Known::All => self.ids.find(id).map(drop),
            Known::More => Ok(()),
        }
    }

    /// The number of an item.
    fn number(&mut self, id: &str, line: usize) -> u32 {
        let number = self.ids.number(id, line);
        if number as usize == self.items.len() {
            let fields = Fields { id: id.to_owned(), ..Fields::default() };
            self.items.push(RawItem::of(&fields));
        }
        number
    }

    /// What the row says about its item, where that may be news.
    fn said(
        &mut self,
        id: &str,
        roles: &mut Roles,
        columns: &[Column],
        row: &mut Row,
        doubtful: bool,
    ) -> Result<Option<Fields>, String> {
        let fields = [Field::Title, Field::Brand, Field::Categories, Field::TextId];
        if !self.describes || !fields.iter().any(|&field| roles.has(field)) {
            return Ok(None);
        }
        let known = self.ids.index(id).map(|number| &self.items[number as usize]);
        // The usual row says what is known already; no more than that is looked at.
        let title = roles.all(Field::Title).first().and_then(|&place| row.get(place));
        let same = match (title, known.and_then(RawItem::title)) {
            (Some(Cell::Text(title)), Some(known)) => text::plain(title) == known,
            _ => false,
        };
        let complete = known.is_some_and(|known| {
            (known.brand().is_some() || !roles.has(Field::Brand))
                && (known.category_names().next().is_some() || !roles.has(Field::Categories))
                && (known.text_id().is_some() || !roles.has(Field::TextId))
        });
        if same && complete && !doubtful {
            self.described.again += 1;
            for place in fields.iter().flat_map(|&field| roles.all(field)) {
                if let Some(cell) = row.get_mut(*place) {
                    *cell = Cell::Null;
                }
            }
            return Ok(None);
        }
        let (reading, counts) = (self.reading, &mut self.described);
        items::described(id.to_owned(), row, columns, roles, reading, counts).map(Some)
    }

    /// Adds to an item what earlier rows did not say about it.
    fn complete(&mut self, number: u32, said: Option<Fields>, line: usize) {
        let Some(said) = said else { return };
        let known = &mut self.items[number as usize];
        if let (Some(first), Some(title)) = (known.title(), said.title.as_deref()) {
            self.described.again += 1;
            if first != title {
                let [new, old] = [title, first].map(|title| text::cut(title, 40));
                let id = known.id();
                self.described
                    .twice
                    .add(|| format!("line {line}, item {id}: {new:?} beside {old:?}"));
            }
        }
        let mut all = known.fields();
        all.title = all.title.or(said.title);
        all.brand = all.brand.or(said.brand);
        all.text_id = all.text_id.or(said.text_id);
        if all.categories.is_empty() {
            all.categories = said.categories;
        }
        *known = RawItem::of(&all);
    }

    /// Ends the reading: decides what doubtful titles are, and says what was left out.
    pub fn finish(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.words);
        if self.doubtful {
            // Titles of one item agree; headlines of its reviews do not.
            let headlines = self.described.twice.count() * 2 > self.described.again;
            if headlines {
                for item in &mut self.items {
                    *item = RawItem::of(&Fields { title: None, ..item.fields() });
                }
                notes.extend(std::mem::take(&mut self.described.twice).line(
                    "titles taken as headlines of reviews, since they differ from row to row of \
                    one item (setting `title-column` says otherwise)",
                ));
            } else {
                self.log.texts().for_each(|review| review.summary = None);
            }
        }
        let (left, filters) = (&self.left, self.reading.event.join(" "));
        let least = self.reading.min_rating.unwrap_or_default();
        notes.extend(
            [
                left.event.line(format_args!("rows that are not {filters}, left out")),
                left.label.line("rows with label 0 (shown and not taken), left out"),
                left.rating.line(format_args!("rows with a rating below {least}, left out")),
                left.unrated.line("rows without a rating, left out by setting `min-rating`"),
                left.user_elsewhere.line("rows whose user is in another column than the first's"),
            ]
            .into_iter()
            .flatten(),
        );
        notes.extend(self.described.notes(self.reading));
        for (what, ids) in [("users", &self.log.users), ("items", &self.ids)] {
            let mut nobody = Tally::default();
            for number in UNKNOWN.iter().chain(&["#N/A"]).filter_map(|word| ids.index(word)) {
                nobody.add(|| format!("line {}, {}", ids.line(number), ids.get(number)));
            }
            notes.extend(nobody.line(format_args!("{what} whose id is a word for nothing, kept")));
        }
        notes
    }
}

/// Whether a label says that what was shown was not taken: 0 or less, or false.
fn is_refusal(label: &Cell) -> bool {
    match label {
        Cell::Text(text) => {
            let text = text.trim();
            text.eq_ignore_ascii_case("false") || text.parse::<f64>().is_ok_and(|x| x <= 0.0)
        }
        Cell::Whole(n) => *n <= 0,
        Cell::Real(x) => *x <= 0.0,
        Cell::Flag(taken) => !taken,
        _ => false,
    }
}

/// What the title of a row with a review is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headline {
    /// The item's.
    No,
    /// The review's.
    Yes,
    /// Which of the two shows when items come again.
    Perhaps,
}

/// What a row says in words, and whether it says anything.
fn review(
    roles: &mut Roles,
    row: &mut Row,
    headline: Headline,
) -> Result<(RawReview, bool), String> {
    let mut review = RawReview::default();
    if headline == Headline::Yes {
        review.summary = items::words("title", &roles.take(Field::Title, row))?;
    }
    for (field, name, words) in [
        (Field::Summary, "summary", &mut review.summary),
        (Field::Text, "text", &mut review.text),
        (Field::Explanation, "explanation", &mut review.explanation),
        (Field::Feature, "feature", &mut review.feature),
    ] {
        if roles.has(field) {
            *words = items::words(name, &roles.take(field, row))?;
        }
    }
    // What a rating is for is worth keeping where nothing was written.
    review.split = split_of(items::words("split", &roles.take(Field::Split, row))?)?;
    let says = review.says() || review.split.is_some();
    Ok((review, says))
}

fn whole(cell: &Cell) -> Result<i64, String> {
    let number = match cell {
        Cell::Whole(n) => Some(*n),
        Cell::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .ok_or_else(|| format!("expected pos, a whole number, got {}; mend the line", cell.shown()))
}

/// Items of MIND's impressions, and whether each was taken: `N1-1 N2-0`.
fn impressions(cell: &Cell) -> Result<Vec<(String, bool)>, String> {
    let one = |word: String| match word.rsplit_once('-') {
        Some((item, "1")) => Ok((item.to_owned(), true)),
        Some((item, "0")) => Ok((item.to_owned(), false)),
        _ => Err(format!("expected impressions as item-1 or item-0, got {word:?}; mend the line")),
    };
    list::ids(cell)?.into_iter().map(one).collect()
}

/// What a column that tells kinds of events apart holds.
#[derive(Default)]
struct Kinds {
    /// How many columns were looked at.
    seen: usize,
    column: Option<(usize, String)>,
    counts: BTreeMap<String, u64>,
    /// There are too many.
    full: bool,
}

/// More kinds than these are no kinds.
const MOST_KINDS: usize = 12;

impl Kinds {
    fn look(&mut self, roles: &Roles, columns: &[Column], row: &Row) {
        const NAMES: [&str; 8] = [
            "event",
            "eventtype",
            "behavior",
            "behaviortype",
            "behaviour",
            "action",
            "actiontype",
            "interactiontype",
        ];
        if self.column.is_none() && self.seen < columns.len() {
            self.seen = columns.len();
            let place = columns.iter().position(|c| NAMES.contains(&&*c.squashed));
            let place = place.filter(|&place| !roles.is_taken(place));
            self.column = place.map(|place| (place, columns[place].name.clone()));
        }
        let Some((place, _)) = &self.column else { return };
        if let Some(word) = row.get(*place).and_then(Cell::scalar) {
            match self.counts.get_mut(&*word) {
                Some(count) => *count += 1,
                None if self.full => {}
                None => {
                    self.counts.insert(word.into_owned(), 1);
                    self.full = self.counts.len() > MOST_KINDS;
                }
            }
        }
    }

    fn line(self, filters: &[(&str, &str)]) -> Option<String> {
        let (_, name) = self.column?;
        let told = filters.iter().any(|(column, _)| *column == name);
        if told || !(2..=MOST_KINDS).contains(&self.counts.len()) {
            return None;
        }
        let kinds: Vec<String> =
            self.counts.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
        Some(format!(
            "events of several kinds, all kept: {name} = {}; setting `event` keeps one of them",
            kinds.join(", ")
        ))
    }
}
