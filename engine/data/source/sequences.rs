//! `user item item …` a line, oldest first, and what it must share with a file of events beside it.

use super::gather::{Event, Gathered, Log};
use super::ids::Ids;
use super::lines::{line_error, Lines, Script, Skips};
use super::{Events, RawItem};
use anyhow::Result;
use std::path::Path;

/// Reads sequences of known items.
pub fn read(path: &Path, script: Script, items: &Ids, skips: &mut Skips) -> Result<Log> {
    let mut log = Log::new();
    log.begin(path);
    log.ordered = true;
    let mut lines = Lines::open(path, script)?;
    let mut seen = Ids::new("user");
    while let Some((number, line)) = lines.next(skips)? {
        let mut words = line.split_ascii_whitespace();
        let Some(user) = words.next() else { continue };
        let found: Result<Vec<u32>, String> = words.map(|word| items.find(word)).collect();
        match found.and_then(|found| seen.add(user, number).map(|_| found)) {
            Ok(found) => {
                for item in found {
                    log.times.none(number);
                    let event = Event { user, item, place: None, rating: f32::NAN };
                    log.add(event, number);
                }
            }
            Err(message) => {
                drop(line);
                skips.bad(lines.error(message))?;
            }
        }
    }
    Ok(log)
}

/// Refuses sequences that say something else than `events`, with the line.
pub fn agree(
    interactions: &Path,
    sequences: &Path,
    (users, events): (&Ids, &Events),
    theirs: &Gathered,
    items: &[RawItem],
) -> Result<()> {
    let differ = |user: Option<u32>, message: String| {
        let line = user.map_or(theirs.users.len(), |user| theirs.users.line(user));
        Err(line_error(
            sequences,
            line,
            format_args!(
                "{message}; mend one of the two files or take one away ({})",
                interactions.display()
            ),
        ))
    };
    for (user, id) in (0..).zip(users.iter()) {
        let Some(index) = theirs.users.index(id) else {
            return differ(None, format!("expected a line for user {id}, got none"));
        };
        let (mine, other) = (events.items(user), theirs.events.items(index));
        if mine != other {
            let place = mine.iter().zip(other).take_while(|(a, b)| a == b).count();
            let name = |item: Option<&u32>| {
                item.map_or("the end".to_owned(), |&i| format!("item {}", items[i as usize].id()))
            };
            return differ(
                Some(index),
                format!(
                    "expected the items of user {id} as in the interactions, at place {} {}, got \
                    {}",
                    place + 1,
                    name(mine.get(place)),
                    name(other.get(place))
                ),
            );
        }
    }
    let stranger = theirs.users.iter().find(|id| users.index(id).is_none());
    match stranger {
        None => Ok(()),
        Some(id) => {
            let words = format!("expected users of the interactions only, got user {id}");
            differ(theirs.users.index(id), words)
        }
    }
}
