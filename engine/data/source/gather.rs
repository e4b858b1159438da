//! Rows in the order of a file become users with their events in time order.

use super::{Clock, Raw, RawEvent, RawUser};
use crate::data::record::NO_TIME;
use anyhow::Result;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Ids of the source, numbered in the order in which they come.
pub struct Ids {
    what: &'static str,
    index: HashMap<String, (u32, usize)>,
}

impl Ids {
    /// No ids yet; `what` they are the ids of, for messages.
    pub fn new(what: &'static str) -> Ids {
        Ids { what, index: HashMap::new() }
    }

    /// Numbers a new id, given in line `line`; an id that is there already is an error.
    pub fn add(&mut self, id: &str, line: usize) -> Result<(), String> {
        if let Some((_, first)) = self.index.get(id) {
            return Err(format!(
                "expected every {} once, got {id:?} again (first in line {first}); take one away",
                self.what
            ));
        }
        self.number(id, line);
        Ok(())
    }

    /// The number of an id, a new one if it was not there.
    pub fn number(&mut self, id: &str, line: usize) -> u32 {
        if let Some((index, _)) = self.index.get(id) {
            return *index;
        }
        let index = u32::try_from(self.index.len()).expect("fewer than 2^32 ids");
        self.index.insert(id.to_owned(), (index, line));
        index
    }

    /// The number of an id, if it came before.
    pub fn index(&self, id: &str) -> Option<u32> {
        self.index.get(id).map(|(index, _)| *index)
    }

    /// The number of an id that must be known.
    pub fn find(&self, id: &str) -> Result<u32, String> {
        self.index(id).ok_or_else(|| {
            format!(
                "expected a known {}, got {id:?}; add it to the {}s or take the line away",
                self.what, self.what
            )
        })
    }
}

/// One event as a line gives it.
pub struct Row<'a> {
    /// The user's id.
    pub user: &'a str,
    /// Number of the item.
    pub item: u32,
    /// Place in the user's sequence, where the file says so.
    pub pos: Option<i64>,
    /// [`NO_TIME`] where unknown.
    pub time: i64,
    /// NaN where unknown.
    pub rating: f32,
}

struct Entry {
    event: RawEvent,
    pos: Option<i64>,
    line: usize,
}

/// Collects rows user by user.
pub struct Log {
    path: PathBuf,
    ids: Ids,
    users: Vec<(String, Vec<Entry>)>,
    /// What the rows' times count from.
    pub clock: Clock,
}

impl Log {
    /// No rows yet; `path` is their file, for messages.
    pub fn new(path: &Path) -> Log {
        Log { path: path.to_owned(), ids: Ids::new("user"), users: Vec::new(), clock: Clock::None }
    }

    /// Takes a row in; `line` is where it stands, for messages.
    pub fn add(&mut self, row: Row<'_>, line: usize) {
        let user = self.ids.number(row.user, line) as usize;
        if user == self.users.len() {
            self.users.push((row.user.to_owned(), Vec::new()));
        }
        let event = RawEvent { item: row.item, time: row.time, rating: row.rating };
        self.users[user].1.push(Entry { event, pos: row.pos, line });
    }

    /// The line of each user's first event.
    pub fn lines(&self) -> Vec<usize> {
        self.users.iter().map(|(_, entries)| entries[0].line).collect()
    }

    /// Puts the users into `raw`, events by place where places are given, otherwise by time where
    /// all times of the user are known (stable: equal times keep the file's order, E25), otherwise
    /// as they came.
    ///
    /// Refuses a place that occurs twice and places that run against time.
    pub fn finish(self, raw: &mut Raw) -> Result<Ids> {
        let mut timed = false;
        for (id, mut entries) in self.users {
            let wrong = |entry: &Entry, message: String| {
                Err(super::lines::line_error(
                    &self.path,
                    entry.line,
                    format_args!("{message}; mend the line"),
                ))
            };
            if entries.iter().all(|e| e.pos.is_some()) {
                entries.sort_by_key(|e| e.pos);
                for pair in entries.windows(2) {
                    if pair[0].pos == pair[1].pos {
                        let pos = pair[1].pos.unwrap_or_default();
                        return wrong(
                            &pair[1],
                            format!("expected each pos of user {id} once, got {pos} again"),
                        );
                    }
                    let (before, after) = (pair[0].event.time, pair[1].event.time);
                    if before != NO_TIME && after != NO_TIME && after < before {
                        let message = format!(
                            "expected times of user {id} to rise with pos, got {after} after \
                            {before}"
                        );
                        return wrong(&pair[1], message);
                    }
                }
            } else if entries.iter().all(|e| e.event.time != NO_TIME) {
                entries.sort_by_key(|e| e.event.time);
            }
            timed |= entries.iter().any(|e| e.event.time != NO_TIME);
            let events = entries.into_iter().map(|e| e.event).collect();
            raw.users.push(RawUser { id, attributes: Vec::new(), events });
        }
        raw.clock = if timed { self.clock } else { Clock::None };
        Ok(self.ids)
    }
}
