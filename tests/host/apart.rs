//! Where a ranking is good: every cell counted again, one user at a time.

use engine::base::{Philox, Stream};
use engine::data::record::NO_TIME;
use engine::data::template::Templates;
use engine::data::{Cut, Family};
use engine::eval::asked::Asked;
use engine::eval::baseline::{Beside, Wishes};
use engine::eval::bootstrap::Bootstrap;
use engine::eval::evaluation::{evaluate, Findings, Options, Sheet, Users};
use engine::eval::part::Part;
use engine::eval::predictions::{Group, Prediction};
use engine::eval::ranking::Policy;
use engine::eval::report::{self, Kind};
use engine::eval::truth::{Item, Split, Truth, User};
use std::cmp::Reverse;

const ITEMS: usize = 45;
const USERS: usize = 80;
const DAY: i64 = 86_400;
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 60, seed: 5 };

/// Histories of 3 to 22 events, of which few items are most; several a day; some without times.
struct Data {
    items: Vec<Vec<u32>>,
    times: Vec<Vec<i64>>,
    ratings: Vec<Vec<f32>>,
    ids: Vec<String>,
}

impl Data {
    fn new(timed: bool) -> Data {
        let mut rng = Philox::new(11, Stream::Users, 0);
        let mut below = |n: u32| rng.next_u32() % n;
        let (mut items, mut times) = (Vec::new(), Vec::new());
        for user in 0..USERS {
            let events = 3 + below(20);
            let item = |below: &mut dyn FnMut(u32) -> u32| {
                let n = 1 + below(ITEMS as u32);
                below(n)
            };
            items.push((0..events).map(|_| item(&mut below)).collect::<Vec<u32>>());
            let mut day = 100;
            let mut time = |place: u32| {
                day += i64::from(below(2));
                let known = timed && (user % 9 != 0 || place.is_multiple_of(2));
                if known {
                    day * DAY + i64::from(place)
                } else {
                    NO_TIME
                }
            };
            times.push((0..events).map(&mut time).collect::<Vec<i64>>());
        }
        let ratings = items.iter().map(|items| vec![f32::NAN; items.len()]).collect();
        let ids = (0..ITEMS.max(USERS)).map(|number| format!("id {number}")).collect();
        Data { items, times, ratings, ids }
    }

    fn truth(&self) -> Truth<'_> {
        let titles = ["red game", "blue game", "green ball", "old ball", "chess"];
        let items = (0..ITEMS).map(|i| {
            let (id, title) = (&*self.ids[i], titles[i % titles.len()]);
            // Another order than that of the numbers.
            let tie = (i as u64 * 29) % 45;
            Item { id, surface: id, title, categories: Vec::new(), tie }
        });
        let users = (0..USERS).map(|u| User {
            id: &self.ids[u],
            items: &self.items[u],
            times: &self.times[u],
            ratings: &self.ratings[u],
            negatives: &[],
        });
        Truth::new("made", 1, items.collect(), users.collect())
    }

    /// History and target of a user.
    fn question(&self, user: usize, split: Split) -> (&[u32], u32) {
        let events = &self.items[user];
        let place = if split == Split::Test { events.len() - 1 } else { events.len() - 2 };
        (&events[..place], events[place])
    }

    /// What is fitted on, whatever the split.
    fn training(&self, user: usize) -> &[u32] {
        &self.items[user][..self.items[user].len() - 2]
    }

    fn count(&self, item: u32) -> usize {
        (0..USERS).map(|u| self.training(u).iter().filter(|i| **i == item).count()).sum()
    }

    fn follows(&self, from: u32, to: u32) -> usize {
        let of = |u: usize| self.training(u).windows(2).filter(|w| **w == [from, to]).count();
        (0..USERS).map(of).sum()
    }

    /// The parts that a user is in, by the words of the report.
    fn parts(&self, user: usize, split: Split) -> Vec<Part> {
        let (history, target) = self.question(user, split);
        let seen = self.follows(*history.last().unwrap(), target) > 0;
        let times = [self.times[user][history.len() - 1], self.times[user][history.len()]];
        let day = match times {
            [a, b] if a == NO_TIME || b == NO_TIME => Part::UnknownDay,
            [a, b] if a / DAY == b / DAY => Part::SameDay,
            _ => Part::LaterDay,
        };
        let band = |n: usize, ends: [usize; 3], parts: [Part; 4]| {
            parts[ends.iter().filter(|end| n > **end).count()]
        };
        let counts = [Part::Target0To4, Part::Target5To9, Part::Target10To24, Part::TargetFrom25];
        let lengths =
            [Part::History1To3, Part::History4To6, Part::History7To12, Part::HistoryFrom13];
        vec![
            if seen { Part::SeenTransition } else { Part::NewTransition },
            day,
            band(self.count(target), [4, 9, 24], counts),
            band(history.len(), [3, 6, 12], lengths),
            Part::All,
        ]
    }

    /// Scores of popularity, and of the last item's successors.
    fn scores(&self, baseline: &str, history: &[u32]) -> Vec<f64> {
        let counts: Vec<f64> = (0..ITEMS as u32).map(|item| self.count(item) as f64).collect();
        let total: f64 = counts.iter().sum();
        let last = *history.last().unwrap();
        (0..ITEMS)
            .map(|item| match baseline {
                "popularity" => counts[item],
                _ => counts[item] / total + self.follows(last, item as u32) as f64,
            })
            .collect()
    }
}

/// Outputs of a user: invalid and repeated ones among them, now and then the target.
fn outputs(data: &Data, user: usize, split: Split, salt: usize) -> Vec<Vec<u32>> {
    let (history, target) = data.question(user, split);
    let item = |place: usize| ((user * 31 + place * place * 7 + salt) % (ITEMS / 2)) as u32;
    let mut slots: Vec<Vec<u32>> = (0..14).map(|place| vec![item(place)]).collect();
    slots[user % 14] = Vec::new();
    if user % 3 != 1 {
        slots[(user + salt) % 13] = vec![target];
    }
    slots[13] = vec![history[0]];
    slots
}

fn sheet(data: &Data, split: Split, name: &str, salt: usize) -> Sheet {
    let line = |user: usize| {
        let slots = outputs(data, user, split, salt);
        Prediction {
            user: user as u32,
            item: data.question(user, split).1,
            scores: vec![f32::NAN; slots.len()],
            lengths: vec![0; slots.len()],
            parts: Vec::new(),
            slots,
            text: String::new(),
            reference: String::new(),
            feature: String::new(),
            failed: user == 4,
            seconds: 0.0,
            cut: Cut::default(),
        }
    };
    // Every tenth has no line.
    let predictions = (0..USERS).filter(|user| user % 10 != 7).map(line).collect();
    let (task, family) = (Family::Sequential, Asked::Full);
    let group = Group { task, template: "2-3".to_owned(), family, predictions };
    Sheet {
        name: name.to_owned(),
        groups: vec![group],
        users: Users::All,
        asked: Vec::new(),
        templates: Templates::builtin(),
        length_penalty: None,
        both: false,
    }
}

fn judged(data: &Data, sheets: &[Sheet], split: Split, filter_history: bool) -> Findings {
    let options = Options {
        policy: Policy::Strict,
        split,
        filter_history,
        baselines: Some(Wishes::default()),
        bootstrap: BOOTSTRAP,
    };
    evaluate(&data.truth(), sheets, &options, None)
}

/// What a list of items says of a target: its first ten, and its place from 1.
struct Said {
    first: Vec<u32>,
    place: Option<usize>,
}

/// The predictions of a user, by the rules of the strict policy: the first occurrence counts, what
/// is no item keeps its place.
fn of_model(data: &Data, user: usize, split: Split, filter: bool, salt: usize) -> Said {
    let (history, target) = data.question(user, split);
    let mut list: Vec<Option<u32>> = Vec::new();
    if user % 10 != 7 && user != 4 {
        for slot in outputs(data, user, split, salt) {
            let item = slot.first().copied();
            let gone = item.is_some_and(|i| filter && history.contains(&i));
            if !gone && (item.is_none() || !list.contains(&item)) {
                list.push(item);
            }
        }
    }
    let place = list.iter().position(|item| *item == Some(target)).map(|at| at + 1);
    Said { first: list.into_iter().take(10).flatten().collect(), place }
}

/// A baseline of a user: the whole catalogue in order; the target loses ties.
fn of_baseline(data: &Data, name: &str, user: usize, split: Split, filter: bool) -> Said {
    let (history, target) = data.question(user, split);
    let scores = data.scores(name, history);
    let ties = data.truth();
    let stays = |item: &u32| !filter || !history.contains(item);
    let mut order: Vec<u32> = (0..ITEMS as u32).filter(stays).collect();
    // Counts and shares of 45 items differ by far more than a billionth where they differ.
    let key = |item: u32| ((scores[item as usize] * 1e9) as u64, ties.items[item as usize].tie);
    order.sort_by_key(|&item| (Reverse(key(item).0), key(item).1, item));
    let own = scores[target as usize];
    let place = order.iter().filter(|i| scores[**i as usize] >= own).count();
    Said { first: order.into_iter().take(10).collect(), place: stays(&target).then_some(place) }
}

fn hits(place: Option<usize>) -> [f64; 2] {
    match place {
        Some(place) if place <= 10 => [1.0, 1.0 / (place as f64 + 1.0).log2()],
        _ => [0.0, 0.0],
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

/// Holds a row of each part against the users that are in it.
fn holds(data: &Data, group: &report::Group, method: &str, split: Split, said: &[Said]) {
    let parts: Vec<Vec<Part>> = (0..USERS).map(|user| data.parts(user, split)).collect();
    for part in Part::DIVISIONS.into_iter().flatten().chain(&[Part::All]) {
        let users: Vec<usize> = (0..USERS).filter(|&user| parts[user].contains(part)).collect();
        let row = group.part(*part).find(|row| row.method == method);
        let Some(row) = row else {
            assert!(users.is_empty(), "{method}, {part:?}: no row of {} users", users.len());
            continue;
        };
        assert_eq!(row.n, users.len(), "{method}, {part:?}");
        let rows: Vec<f64> = users.iter().flat_map(|&user| hits(said[user].place)).collect();
        let mean = |sums: &[f64], n: usize| [sums[0] / n as f64, sums[1] / n as f64];
        let intervals = BOOTSTRAP.intervals(&rows, 2, mean);
        for (at, name) in ["hr@10", "ndcg@10"].into_iter().enumerate() {
            let metric = row.metrics.get(name).unwrap();
            let sum: f64 = rows.iter().skip(at).step_by(2).sum();
            assert!(close(metric.value, sum / users.len() as f64), "{method}, {part:?}, {name}");
            let ends = [metric.low.unwrap(), metric.high.unwrap()];
            assert!(close(ends[0], intervals[at].low) && close(ends[1], intervals[at].high));
        }
    }
}

#[test]
fn every_cell_is_what_counting_gives() {
    let data = Data::new(true);
    for (split, filter) in [(Split::Test, false), (Split::Test, true), (Split::Validation, false)] {
        let sheets = [sheet(&data, split, "one", 0), sheet(&data, split, "two", 3)];
        let found = judged(&data, &sheets, split, filter);
        let beside = Beside::fit(&data.truth(), Wishes::default(), split, &[]);
        for (group, (name, salt)) in found.groups.iter().zip([("one", 0), ("two", 3)]) {
            let own = |user| of_model(&data, user, split, filter, salt);
            let own: Vec<Said> = (0..USERS).map(own).collect();
            holds(&data, group, name, split, &own);
            // In each division all that were asked, once.
            for division in Part::DIVISIONS {
                let rows = group.rows.iter().filter(|row| row.method == name);
                let sizes = rows.filter(|row| division.contains(&row.part)).map(|row| row.n);
                assert_eq!(sizes.sum::<usize>(), USERS, "{division:?}");
            }
            let rivals: Vec<&str> = beside.rows.iter().map(|row| &*row.name).collect();
            let told: Vec<&str> = group.overlaps.iter().map(|one| &*one.baseline).collect();
            assert_eq!(told, rivals);
            for overlap in &group.overlaps {
                assert_eq!((&*overlap.method, overlap.n), (name, USERS));
                let row = group.part(Part::All).find(|row| row.method == overlap.baseline);
                let theirs = row.unwrap().metrics.value("hr@10") * USERS as f64;
                let ours = group.main().unwrap().metrics.value("hr@10") * USERS as f64;
                assert!(close((overlap.both + overlap.only_model) as f64, ours.round()));
                assert!(close((overlap.both + overlap.only_baseline) as f64, theirs.round()));
            }
            for baseline in ["popularity", "Markov, last item"] {
                let of = |user| of_baseline(&data, baseline, user, split, filter);
                let theirs: Vec<Said> = (0..USERS).map(of).collect();
                holds(&data, group, baseline, split, &theirs);
                let overlap = group.overlaps.iter().find(|one| one.baseline == baseline).unwrap();
                let shared = own.iter().zip(&theirs).map(|(own, theirs)| {
                    own.first.iter().filter(|item| theirs.first.contains(item)).count()
                });
                let shared = shared.sum::<usize>() as f64 / 10.0 / USERS as f64;
                assert!(close(overlap.shared.value, shared), "{baseline}: {overlap:?} {shared}");
                assert!(shared > 0.05 && shared < 0.95, "{shared}");
                let count = |wanted: [bool; 2]| {
                    let hit = |said: &Said| said.place.is_some_and(|place| place <= 10);
                    let pairs = own.iter().zip(&theirs);
                    pairs.filter(|(own, theirs)| [hit(own), hit(theirs)] == wanted).count()
                };
                let counts = [overlap.both, overlap.only_model, overlap.only_baseline];
                let expected = [[true, true], [true, false], [false, true]].map(count);
                assert_eq!(counts, expected, "{baseline}");
                assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
            }
        }
        // No part of what is divided is empty here, so that none is passed over unseen.
        let model = found.groups[0].rows.iter().filter(|row| row.kind == Kind::Model);
        assert_eq!(model.count(), 1 + Part::DIVISIONS.concat().len(), "{split:?}");
    }
}

/// Without times there are no days, and all else is there.
#[test]
fn without_times_no_day_is_told() {
    let data = Data::new(false);
    let sheets = [sheet(&data, Split::Test, "one", 0)];
    let found = judged(&data, &sheets, Split::Test, false);
    let rows = |part: Part| found.groups[0].part(part).count();
    for part in [Part::SameDay, Part::LaterDay, Part::UnknownDay] {
        assert_eq!(rows(part), 0, "{part:?}");
    }
    assert!(rows(Part::SeenTransition) > 1 && rows(Part::History4To6) > 1);
    let tables = engine::eval::apart::of_group(&found.groups[0]);
    let titles: Vec<&str> = tables.iter().map(|table| &*table.title).collect();
    let expected = [
        "sequential 2-3, where it is good: HR@10",
        "sequential 2-3, where it is good: NDCG@10",
        "sequential 2-3, first ten beside those of the baselines",
    ];
    assert_eq!(titles, expected);
    assert!(tables[0]
        .notes
        .iter()
        .any(|note| note == "Days are not told apart: times are missing."));
}
