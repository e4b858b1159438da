//! What a source may be without being wrong, and seldom is meant to be.

use super::report::Tally;
use super::{calendar, Clock, Raw, RawItem};
use crate::data::record::NO_TIME;
use std::collections::HashMap;

/// Fewer events than these show no pattern.
const FEW: usize = 20;

/// Sentences about a source that people should look at; `now` is the time in seconds since 1970.
pub fn suspicions(raw: &Raw, now: i64) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(future(raw, now));
    said.extend(zero(raw));
    said.extend(like_times(raw));
    said.extend(greedy(raw));
    said.extend(leaks(raw));
    said.extend(ties(raw));
    said.extend(titles(raw));
    let rated: Vec<f32> = raw.events.rating.iter().copied().filter(|r| !r.is_nan()).collect();
    if rated.len() > FEW && rated.iter().all(|rating| *rating == rated[0]) {
        said.push(format!("all ratings are {}: they say nothing", rated[0]));
    }
    said
}

fn future(raw: &Raw, now: i64) -> Option<String> {
    let mut future = Tally::default();
    if raw.clock == Clock::Unix {
        for user in 0..raw.users.len() as u32 {
            for &time in raw.events.times(user).iter().filter(|&&time| time > now) {
                let id = raw.users.get(user);
                future.add(|| format!("{} of user {id}", calendar(time)));
            }
        }
    }
    future.line("times in the future: is it another unit, or another column?")
}

/// Times that stand for none, beside others that are dates.
fn zero(raw: &Raw) -> Option<String> {
    let dated = raw.events.time.iter().any(|&time| time > 500_000_000);
    let mut zero = Tally::default();
    if raw.clock == Clock::Unix && dated {
        for user in 0..raw.users.len() as u32 {
            let times = raw.events.times(user).iter().filter(|&&time| time != NO_TIME);
            for &time in times.filter(|&&time| (-1..=1).contains(&time)) {
                zero.add(|| format!("{time} of user {}", raw.users.get(user)));
            }
        }
    }
    zero.line("times of 0 beside dates: does that stand for none?")
}

/// Numbers of seconds or milliseconds of this century.
fn is_time(id: &str) -> bool {
    let seconds = |n: u64| (1_000_000_000..2_000_000_000).contains(&n);
    id.parse::<u64>().is_ok_and(|n| seconds(n) || seconds(n / 1000) || seconds(n / 1_000_000))
}

fn like_times(raw: &Raw) -> Vec<String> {
    let items = raw.items.iter().filter(|item| is_time(item.id())).map(RawItem::id);
    let users = raw.users.iter().filter(|id| is_time(id));
    let line = |what: &str, count: usize, of: usize, first: Option<&str>| {
        let first = first?;
        (of > 2 && count * 2 > of).then(|| {
            format!("ids of {what} that look like times: {count} of {of} (first: {first})")
        })
    };
    [
        line("items", items.clone().count(), raw.items.len(), items.clone().next()),
        line("users", users.clone().count(), raw.users.len(), users.clone().next()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One user, or one item, with half of all events.
fn greedy(raw: &Raw) -> Vec<String> {
    let all = raw.events.len();
    if all < FEW {
        return Vec::new();
    }
    let mut said = Vec::new();
    let of_user = |user: &u32| raw.events.items(*user).len();
    if let Some(user) = (0..raw.users.len() as u32).max_by_key(of_user) {
        let count = of_user(&user);
        if count * 2 >= all && raw.users.len() > 1 {
            said.push(format!(
                "one user has {count} of all {all} events: user {}; is it nobody in particular?",
                raw.users.get(user)
            ));
        }
    }
    let mut counts = vec![0usize; raw.items.len()];
    raw.events.item.iter().for_each(|&item| counts[item as usize] += 1);
    if let Some(item) = (0..counts.len()).max_by_key(|&item| counts[item]) {
        if counts[item] * 2 >= all && counts.len() > 1 {
            said.push(format!(
                "one item has {} of all {all} events: item {}",
                counts[item],
                raw.items[item].id()
            ));
        }
    }
    said
}

/// Users whose last item, which is the test, stands in their history as well.
fn leaks(raw: &Raw) -> Option<String> {
    let mut leaks = Tally::default();
    for user in 0..raw.users.len() as u32 {
        if let Some((last, before)) = raw.events.items(user).split_last() {
            if before.contains(last) {
                let (id, item) = (raw.users.get(user), raw.items[*last as usize].id());
                leaks.add(|| format!("user {id}, item {item}"));
            }
        }
    }
    leaks.line("users whose last item, the test, is in their history: rows that came twice?")
}

/// Users whose last two events were at one time: only the order of the file says which is the test.
fn ties(raw: &Raw) -> Option<String> {
    let mut ties = Tally::default();
    let mut several = 0u64;
    for user in 0..raw.users.len() as u32 {
        if let [.., before, last] = raw.events.times(user) {
            several += 1;
            if before == last && *last != NO_TIME {
                ties.add(|| format!("user {}", raw.users.get(user)));
            }
        }
    }
    let many = ties.count() * 10 >= several && several > 0;
    let line = ties.line("users whose last two events bear the same time, in the file's order");
    line.filter(|_| many)
}

fn titles(raw: &Raw) -> Option<String> {
    let mut seen: HashMap<&str, &str> = HashMap::with_capacity(raw.items.len());
    let mut shared = Tally::default();
    for item in &raw.items {
        let Some(title) = item.title() else { continue };
        match seen.get(title) {
            Some(first) => shared.add(|| format!("item {} as item {first}: {title:?}", item.id())),
            None => {
                seen.insert(title, item.id());
            }
        }
    }
    shared.line("items with the title of another")
}
