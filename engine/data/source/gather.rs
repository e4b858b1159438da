//! Rows in the order of their files become users with their events in time order.

use super::ids::Ids;
use super::lines::line_error;
use super::report::Tally;
use super::time::{Times, Unit};
use super::{Clock, Events, RawReview};
use crate::data::record::NO_TIME;
use anyhow::Result;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One event as a row gives it.
pub struct Event<'a> {
    /// The user's id.
    pub user: &'a str,
    /// Number of the item.
    pub item: u32,
    /// Place in the user's sequence, where the file says so.
    pub place: Option<i64>,
    /// NaN where unknown.
    pub rating: f32,
}

/// Collects events of all files of a source, a column each.
pub struct Log {
    /// Users in the order in which they come.
    pub users: Ids,
    /// When each event was.
    pub times: Times,
    /// What the times count from.
    pub clock: Clock,
    /// The order of the rows is that of the events.
    pub ordered: bool,
    /// Rows that are the same as another in user, item, time and rating.
    pub duplicates: Tally,
    user: Vec<u32>,
    item: Vec<u32>,
    rating: Vec<f32>,
    line: Vec<u32>,
    /// Empty until a row has a place.
    place: Vec<Option<i64>>,
    /// Texts of reviews by the number of their row.
    texts: Vec<(usize, RawReview)>,
    /// What users did before their rows, oldest first.
    past: HashMap<u32, Vec<u32>>,
    /// Where the rows of each file begin.
    files: Vec<(usize, PathBuf)>,
}

/// What became of a log.
pub struct Gathered {
    /// Users that have events, in the order in which they came.
    pub users: Ids,
    /// Their events.
    pub events: Events,
    /// Reviews of events that were kept, in the order of the files.
    pub reviews: Vec<RawReview>,
    /// What the times count from.
    pub clock: Clock,
    /// Whether each item has an event.
    pub is_used: Vec<bool>,
    /// Lines of the summary.
    pub notes: Vec<String>,
    /// A user of several events of whom neither times nor the files say the order.
    pub unordered: Option<String>,
}

impl Log {
    /// No rows yet.
    pub fn new() -> Log {
        Log {
            users: Ids::new("user"),
            times: Times::default(),
            clock: Clock::None,
            ordered: false,
            duplicates: Tally::default(),
            user: Vec::new(),
            item: Vec::new(),
            rating: Vec::new(),
            line: Vec::new(),
            place: Vec::new(),
            texts: Vec::new(),
            past: HashMap::new(),
            files: Vec::new(),
        }
    }

    /// The rows that follow are of this file.
    pub fn begin(&mut self, path: &Path) {
        self.files.push((self.user.len(), path.to_owned()));
    }

    /// Takes a row in whose time was pushed to [`Log::times`] just before; `line` is where it
    /// stands, for messages.
    pub fn add(&mut self, event: Event, line: usize) {
        let user = self.users.number(event.user, line);
        if event.place.is_some() && self.place.is_empty() {
            self.place = vec![None; self.user.len()];
        }
        if event.place.is_some() || !self.place.is_empty() {
            self.place.push(event.place);
        }
        self.user.push(user);
        self.item.push(event.item);
        self.rating.push(event.rating);
        self.line.push(u32::try_from(line).unwrap_or(u32::MAX));
    }

    /// What the user of the row added last wrote about its item.
    pub fn wrote(&mut self, texts: RawReview) {
        self.texts.push((self.user.len() - 1, texts));
    }

    /// The texts of reviews, to be mended.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut RawReview> {
        self.texts.iter_mut().map(|(_, texts)| texts)
    }

    /// What a user did before; histories of several rows are windows of one.
    pub fn remember(&mut self, user: &str, history: Vec<u32>, line: usize) {
        let user = self.users.number(user, line);
        merge(self.past.entry(user).or_default(), history);
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.user.len()
    }

    fn place_of(&self, row: usize) -> Option<i64> {
        self.place.get(row).copied().flatten()
    }

    /// `path:line` of a row.
    fn at(&self, row: usize) -> String {
        let file = self.files.iter().rev().find(|(begin, _)| *begin <= row);
        let path = file.map(|(_, path)| path.display().to_string()).unwrap_or_default();
        format!("{path}:{}", self.line[row])
    }

    fn wrong(&self, row: usize, message: String) -> anyhow::Error {
        let file = self.files.iter().rev().find(|(begin, _)| *begin <= row);
        let path = file.map(|(_, path)| path.as_path()).unwrap_or(Path::new(""));
        line_error(path, self.line[row] as usize, format_args!("{message}; mend the line"))
    }

    /// The users, events by place where places are given, otherwise by time where all times of the
    /// user are known (stable: equal times keep the files' order, E25), otherwise as they came.
    /// Users and items of fewer than `core` events are left out until there are none.
    ///
    /// Refuses a place that occurs twice, places that run against time, and times of two units.
    pub fn finish(mut self, core: usize, items: usize) -> Result<Gathered> {
        let settled = self.times.settle();
        let wrong = |(line, words)| {
            let row = self.line.iter().position(|&l| l as usize == line).unwrap_or(0);
            self.wrong(row, words)
        };
        settled.map_err(wrong)?;
        let unit = match self.clock {
            Clock::Unix => self.times.unit().map_err(wrong)?,
            _ => Unit::Seconds,
        };
        let mut notes = Vec::new();
        match (self.clock, self.times.words(unit)) {
            (Clock::Unix, Some(words)) => notes.push(format!("times: {words}")),
            (Clock::SinceFirst, Some(_)) => {
                notes.push("times: seconds since the user's first event".to_owned());
            }
            _ => {}
        }
        if let Some((count, line)) = self.times.missing().filter(|_| self.times.known() > 0) {
            notes.push(format!("events without a time: {count} (first: line {line})"));
        }

        let (mut order, mut start) = self.by_user();
        let (mut partly, mut unordered) = (Tally::default(), None);
        let mut dropped = vec![false; if self.times.known() > 0 { self.len() } else { 0 }];
        for user in 0..self.users.len() {
            let rows = &mut order[start[user]..start[user + 1]];
            if rows.len() > 1 {
                self.sort(user as u32, rows, &mut partly, &mut unordered)?;
                if !dropped.is_empty() {
                    self.mark_duplicates(rows, &mut dropped);
                }
            }
        }
        notes.extend(partly.line("users with some events without a time, in the file's order"));
        if self.duplicates.count() > 0 {
            keep(&mut order, &mut start, |_, row| !dropped[row as usize]);
            notes.extend(
                self.duplicates.line("rows that repeat another in user, item and time, left out"),
            );
        }
        drop(dropped);
        notes.extend(self.core(core, items, &mut order, &mut start));
        Ok(self.gathered(unit, items, order, start, notes, unordered))
    }

    /// Rows user by user, in the files' order, and where each user's begin.
    fn by_user(&self) -> (Vec<u32>, Vec<usize>) {
        let mut start = vec![0usize; self.users.len() + 1];
        self.user.iter().for_each(|&user| start[user as usize + 1] += 1);
        for user in 0..self.users.len() {
            start[user + 1] += start[user];
        }
        let mut next = start.clone();
        let mut order = vec![0u32; self.len()];
        for (row, &user) in self.user.iter().enumerate() {
            order[next[user as usize]] = row as u32;
            next[user as usize] += 1;
        }
        (order, start)
    }

    fn sort(
        &self,
        user: u32,
        rows: &mut [u32],
        partly: &mut Tally,
        unordered: &mut Option<String>,
    ) -> Result<()> {
        let id = || self.users.get(user);
        let placed = !self.place.is_empty();
        if placed && rows.iter().all(|&row| self.place_of(row as usize).is_some()) {
            rows.sort_by_key(|&row| self.place_of(row as usize));
            for pair in rows.windows(2) {
                let [before, after] = [pair[0] as usize, pair[1] as usize];
                if self.place_of(before) == self.place_of(after) {
                    let place = self.place_of(after).unwrap_or_default();
                    let words =
                        format!("expected each pos of user {} once, got {place} again", id());
                    return Err(self.wrong(after, words));
                }
                let timed = self.times.is_known(before) && self.times.is_known(after);
                if timed && self.times.order(before, after).is_gt() {
                    let words = format!(
                        "expected times of user {} to rise with pos, got {} after {}",
                        id(),
                        self.times.shown(after),
                        self.times.shown(before)
                    );
                    return Err(self.wrong(after, words));
                }
            }
            return Ok(());
        }
        match rows.iter().filter(|&&row| self.times.is_known(row as usize)).count() {
            known if known == rows.len() => {
                rows.sort_by(|&a, &b| self.times.order(a as usize, b as usize));
            }
            0 if self.ordered || self.past.contains_key(&user) => {}
            0 => {
                unordered.get_or_insert_with(|| id().to_owned());
            }
            _ => partly.add(|| format!("user {}", id())),
        }
        Ok(())
    }

    /// Marks rows that say what another of the same user and time says. Places make rows differ.
    fn mark_duplicates(&mut self, rows: &[u32], dropped: &mut [bool]) {
        if !self.place.is_empty() || !rows.iter().all(|&row| self.times.is_known(row as usize)) {
            return;
        }
        let same_time = |a: &u32, b: &u32| self.times.order(*a as usize, *b as usize).is_eq();
        let says = |row: u32| (self.item[row as usize], self.rating[row as usize].to_bits());
        let mut found: Vec<(u32, u32)> = Vec::new();
        for group in rows.chunk_by(same_time).filter(|group| group.len() > 1) {
            let mut alike = group.to_vec();
            alike.sort_by_key(|&row| says(row));
            for alike in alike.chunk_by(|&a, &b| says(a) == says(b)) {
                found.extend(alike[1..].iter().map(|&row| (row, alike[0])));
            }
        }
        found.sort_unstable();
        for (row, first) in found {
            dropped[row as usize] = true;
            let at = self.at(row as usize);
            self.duplicates.add(|| format!("{at}, as line {}", self.line[first as usize]));
        }
    }

    /// Leaves out users and items of fewer than `core` events until all have as many.
    fn core(
        &self,
        core: usize,
        items: usize,
        order: &mut Vec<u32>,
        start: &mut [usize],
    ) -> Option<String> {
        if core <= 1 {
            return None;
        }
        let counts = |order: &[u32]| {
            let (mut users, mut of_item) = (vec![false; self.users.len()], vec![0usize; items]);
            for &row in order {
                users[self.user[row as usize] as usize] = true;
                of_item[self.item[row as usize] as usize] += 1;
            }
            let used = of_item.iter().filter(|&&count| count > 0).count();
            (users.iter().filter(|&&user| user).count(), used, of_item)
        };
        let (users, used, _) = counts(order);
        let (events, mut rounds) = (order.len(), 0);
        loop {
            rounds += 1;
            let (before, of_item) = (order.len(), counts(order).2);
            let of_user: Vec<usize> = start.windows(2).map(|pair| pair[1] - pair[0]).collect();
            keep(order, start, |user, row| {
                of_user[user] >= core && of_item[self.item[row as usize] as usize] >= core
            });
            if order.len() == before {
                break;
            }
        }
        let (kept_users, kept_items, _) = counts(order);
        Some(format!(
            "{core}-core in {rounds} rounds: kept {kept_users} of {users} users, {kept_items} of \
            {used} items, {} of {events} events",
            order.len()
        ))
    }

    fn gathered(
        self,
        unit: Unit,
        items: usize,
        order: Vec<u32>,
        start: Vec<usize>,
        mut notes: Vec<String>,
        unordered: Option<String>,
    ) -> Gathered {
        let has = |user: u32| {
            start[user as usize] < start[user as usize + 1] || self.past.contains_key(&user)
        };
        let everyone = (0..self.users.len() as u32).all(has);
        let mut events = Events::with_capacity(order.len(), self.users.len());
        let mut is_used = vec![false; items];
        let mut remembered = Tally::default();
        for user in (0..self.users.len() as u32).filter(|&user| has(user)) {
            let rows = &order[start[user as usize]..start[user as usize + 1]];
            if let Some(past) = self.past.get(&user) {
                let later: Vec<u32> = rows.iter().map(|&row| self.item[row as usize]).collect();
                let own = &past[..past.len() - shared(past, &later)];
                remembered.add_many(own.len(), || {
                    format!("line {}, user {}", self.users.line(user), self.users.get(user))
                });
                for &item in own {
                    is_used[item as usize] = true;
                    events.push(item, NO_TIME, f32::NAN);
                }
            }
            for &row in rows {
                let row = row as usize;
                is_used[self.item[row] as usize] = true;
                events.push(self.item[row], self.times.seconds(row, unit), self.rating[row]);
            }
            events.end_user();
        }
        notes.extend(remembered.line("events from histories, without time and rating"));
        let (users, place) = match everyone {
            true => (self.users, None),
            false => {
                let (users, place) = self.users.kept(has);
                (users, Some(place))
            }
        };
        let mut kept = vec![false; if self.texts.is_empty() { 0 } else { self.user.len() }];
        if !kept.is_empty() {
            order.iter().for_each(|&row| kept[row as usize] = true);
        }
        let reviews = self.texts.into_iter().filter(|(row, _)| kept[*row]).map(|(row, review)| {
            let user = self.user[row];
            let user = place.as_ref().map_or(Some(user), |place| place[user as usize]);
            let user = user.expect("a kept row has a kept user");
            RawReview { user, item: self.item[row], rating: self.rating[row], ..review }
        });
        let clock = if self.times.known() > 0 { self.clock } else { Clock::None };
        Gathered { reviews: reviews.collect(), users, events, clock, is_used, notes, unordered }
    }
}

/// Keeps the rows that `keep` accepts by user and row.
fn keep(order: &mut Vec<u32>, start: &mut [usize], keep: impl Fn(usize, u32) -> bool) {
    let mut to = 0;
    let mut from = 0;
    for user in 0..start.len() - 1 {
        let end = start[user + 1];
        start[user] = to;
        for i in from..end {
            if keep(user, order[i]) {
                order[to] = order[i];
                to += 1;
            }
        }
        from = end;
    }
    let last = start.len() - 1;
    start[last] = to;
    order.truncate(to);
}

/// How many of the last of `past` are also the first of `later`; all of `past` where `later` goes
/// through it somewhere.
fn shared(past: &[u32], later: &[u32]) -> usize {
    if past.is_empty() || later.windows(past.len()).any(|window| window == past) {
        return past.len();
    }
    let most = past.len().min(later.len());
    (1..=most).rev().find(|&n| past[past.len() - n..] == later[..n]).unwrap_or(0)
}

/// Makes one history of two windows of it: the one that holds the other, or both joined where the
/// end of one is the beginning of the other; what shares nothing comes behind.
fn merge(known: &mut Vec<u32>, window: Vec<u32>) {
    let holds = |long: &[u32], short: &[u32]| {
        short.is_empty() || long.windows(short.len()).any(|part| part == short)
    };
    if holds(known, &window) {
        return;
    }
    if holds(&window, known) {
        *known = window;
        return;
    }
    let behind = shared(known, &window);
    let before = shared(&window, known);
    if before > behind {
        let mut joined = window;
        joined.extend_from_slice(&known[before..]);
        *known = joined;
    } else {
        known.extend_from_slice(&window[behind..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_history_become_one() {
        for (windows, whole) in [
            (vec![vec![1, 2], vec![1, 2, 3]], vec![1, 2, 3]),
            (vec![vec![1, 2, 3], vec![1, 2]], vec![1, 2, 3]),
            (vec![vec![1, 2, 3], vec![2, 3, 4]], vec![1, 2, 3, 4]),
            (vec![vec![2, 3, 4], vec![1, 2, 3]], vec![1, 2, 3, 4]),
            (vec![vec![], vec![5], vec![]], vec![5]),
        ] {
            let mut known = Vec::new();
            windows.into_iter().for_each(|window| merge(&mut known, window));
            assert_eq!(known, whole);
        }
        assert_eq!(shared(&[1, 2, 3], &[3, 4]), 1);
        assert_eq!(shared(&[1, 2], &[0, 1, 2, 3]), 2);
        assert_eq!(shared(&[1, 2], &[4]), 0);
    }
}
