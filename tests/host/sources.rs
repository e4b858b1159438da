//! What one reader understands, all do: generated tables come out the same whatever they are
//! written in, and what is left out is counted.

mod blocks;
mod layouts;

use engine::base::{Fault, Philox, Stream};
use engine::data::source::{read, suspicions, Allowance, Format, Raw, Reading, Skips};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A folder with these files.
fn source(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn read_path(path: &Path, reading: &Reading) -> anyhow::Result<Raw> {
    read(path, reading, &mut Skips::default())
}

fn read_files(files: &[(&str, Vec<u8>)], reading: &Reading) -> anyhow::Result<Raw> {
    read_path(source(files).path(), reading)
}

/// The only file of a source, read by itself.
fn read_text(name: &str, text: &str, reading: &Reading) -> anyhow::Result<Raw> {
    let folder = source(&[(name, text.as_bytes().to_vec())]);
    read_path(&folder.path().join(name), reading)
}

/// The ids of a user's items, oldest first.
fn history<'r>(raw: &'r Raw, user: &str) -> Vec<&'r str> {
    let user = raw.users.index(user).expect("a known user");
    raw.events.items(user).iter().map(|&item| raw.items[item as usize].id()).collect()
}

/// What must not depend on the writing: each user's items with times and ratings, each item's title
/// and categories.
type Said =
    (BTreeMap<String, Vec<(String, i64, u32)>>, BTreeMap<String, (Option<String>, Vec<String>)>);

fn said(raw: &Raw) -> Said {
    let users = (0..raw.users.len() as u32).map(|user| {
        let begin = raw.events.start[user as usize] as usize;
        let events = raw.events.items(user).iter().enumerate().map(|(i, &item)| {
            let (time, rating) = (raw.events.time[begin + i], raw.events.rating[begin + i]);
            (raw.items[item as usize].id().to_owned(), time, rating.to_bits())
        });
        (raw.users.get(user).to_owned(), events.collect())
    });
    let items = raw.items.iter().map(|item| {
        let names = item.category_names().map(str::to_owned).collect();
        (item.id().to_owned(), (item.title().map(str::to_owned), names))
    });
    (users.collect(), items.collect())
}

/// User, item, seconds, stars.
type Event = (usize, usize, i64, u8);

/// A table that all writers can write.
#[derive(Clone, Debug)]
struct Table {
    titles: Vec<String>,
    categories: Vec<Vec<&'static str>>,
    events: Vec<Event>,
}

impl Table {
    fn user(&self, user: usize) -> String {
        format!("u{user}")
    }

    fn item(&self, item: usize) -> String {
        format!("B{item:03}")
    }

    fn expected(&self) -> Said {
        let mut users: BTreeMap<String, Vec<(String, i64, u32)>> = BTreeMap::new();
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.2);
        for (user, item, time, stars) in events {
            let rating = f32::from(stars).to_bits();
            users.entry(self.user(user)).or_default().push((self.item(item), time, rating));
        }
        let items = (0..self.titles.len()).map(|item| {
            let names = self.categories[item].iter().map(|name| name.to_string()).collect();
            let plain = self.titles[item].replace("&amp;", "&").replace("&eacute;", "é");
            (self.item(item), (Some(plain), names))
        });
        (users, items.collect())
    }
}

fn tables() -> impl Strategy<Value = Table> {
    let title = prop::sample::select(vec![
        "Melissa &amp; Doug",
        "Caf&eacute;",
        "It's",
        "Sofa",
        "Léon",
        "🦊",
        "A, B",
        "C; D",
        "x:y",
    ]);
    let category = prop::sample::select(vec!["Toys", "Games", "Drama", "Sci-Fi"]);
    let item = (title, prop::collection::vec(category, 1..3));
    let items = prop::collection::vec(item, 2..6);
    let events = prop::collection::vec((0usize..4, any::<prop::sample::Index>(), 1u8..=5), 2..20);
    (items, events, any::<u64>()).prop_map(|(items, events, seed)| {
        let titles = items.iter().enumerate().map(|(i, (title, _))| format!("{title} {i}"));
        let categories = items.iter().map(|(_, names)| {
            let mut names = names.clone();
            names.dedup();
            names
        });
        // No two events at one time, in no order.
        let mut times: Vec<i64> = (0..events.len() as i64).map(|i| 1_400_000_000 + i * 7).collect();
        Philox::new(seed, Stream::Synthetic, 0).shuffle(&mut times);
        let rows = events.iter().zip(times);
        Table {
            titles: titles.collect(),
            categories: categories.collect(),
            events: rows
                .map(|(&(user, ref item, stars), time)| {
                    (user, item.index(items.len()), time, stars)
                })
                .collect(),
        }
    })
}

/// A way of writing a time.
fn time(unit: usize, seconds: i64) -> String {
    match unit {
        0 => seconds.to_string(),
        1 => format!("{seconds}.0"),
        2 => format!("{seconds}000"),
        3 => format!("{seconds}000000"),
        _ => {
            let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
            // 1,400,000,000 is on the 13th of May 2014, the 16,203rd day.
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            format!("2014-05-{:02}T{hour:02}:{minute:02}:{second:02}Z", 13 + day - 16_203)
        }
    }
}

fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

/// Events with all that is known about their items, parted by `separator`.
fn delimited(table: &Table, separator: &str, unit: usize) -> Vec<u8> {
    let head = ["user_id", "item_id", "rating", "timestamp", "title", "categories"];
    let mut text = "\u{feff}".to_owned() + &head.join(separator) + "\n";
    for &(user, item, seconds, stars) in &table.events {
        let fields = [
            table.user(user),
            table.item(item),
            stars.to_string(),
            time(unit, seconds),
            quoted(&table.titles[item]),
            quoted(&table.categories[item].join("|")),
        ];
        text += &(fields.join(separator) + "\r\n");
    }
    text.into_bytes()
}

fn json_lines(table: &Table, unit: usize) -> Vec<u8> {
    let mut text = String::new();
    for &(user, item, seconds, stars) in &table.events {
        let time = time(unit, seconds);
        let time = if unit > 3 { format!("{time:?}") } else { time };
        text += &format!(
            "{{\"user_id\": {:?}, \"item_id\": {:?}, \"rating\": {stars}, \"timestamp\": {time}, \
            \"title\": {}, \"categories\": {:?}}}\n",
            table.user(user),
            table.item(item),
            serde_json::Value::from(table.titles[item].clone()),
            table.categories[item]
        );
    }
    text.into_bytes()
}

fn python(table: &Table, unit: usize) -> Vec<u8> {
    let text = String::from_utf8(json_lines(table, unit)).unwrap();
    let line = |line: &str| line.replacen("{\"user_id\"", "{u'user_id'", 1) + "\n";
    text.lines().map(line).collect::<String>().into_bytes()
}

fn recbole(table: &Table, unit: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n".to_owned();
    for &(user, item, seconds, stars) in &table.events {
        let (user, item) = (table.user(user), table.item(item));
        inter += &format!("{user}\t{item}\t{stars}\t{}\n", time(unit, seconds));
    }
    let mut items = "item_id:token\ttitle:token_seq\tcategories:token_seq\n".to_owned();
    for (item, title) in table.titles.iter().enumerate() {
        let names = table.categories[item].join(" ");
        items += &format!("{}\t{title}\t{names}\n", table.item(item));
    }
    vec![("x.inter", inter.into_bytes()), ("x.item", items.into_bytes())]
}

fn folder(table: &Table, unit: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut events = "user_id\titem_id\trating\ttimestamp\n".to_owned();
    for &(user, item, seconds, stars) in &table.events {
        let (user, item) = (table.user(user), table.item(item));
        events += &format!("{user}\t{item}\t{stars}\t{}\n", time(unit, seconds));
    }
    let mut items = String::new();
    for (item, title) in table.titles.iter().enumerate() {
        items += &format!(
            "{{\"id\": {:?}, \"title\": {}, \"categories\": [{:?}]}}\n",
            table.item(item),
            serde_json::Value::from(title.clone()),
            table.categories[item]
        );
    }
    vec![("items.jsonl", items.into_bytes()), ("interactions.tsv", events.into_bytes())]
}

fn movielens(table: &Table, unit: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut ratings = String::new();
    for &(user, item, seconds, stars) in &table.events {
        let (user, item) = (table.user(user), table.item(item));
        ratings += &format!("{user}::{item}::{stars}::{}\n", time(unit, seconds));
    }
    let mut movies = String::new();
    for (item, title) in table.titles.iter().enumerate() {
        movies += &format!("{}::{title}::{}\n", table.item(item), table.categories[item].join("|"));
    }
    vec![("ratings.dat", ratings.into_bytes()), ("movies.dat", movies.into_bytes())]
}

/// Items of the table that no event names are in catalogues alone.
fn used(table: &Table, (users, mut items): Said) -> Said {
    items.retain(|id, _| table.events.iter().any(|event| table.item(event.1) == *id));
    (users, items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_gives_the_same(
        table in tables(),
        unit in 0usize..5,
        codec in prop::sample::select(blocks::codecs()),
        dictionary in any::<bool>(),
        group in 1usize..9,
    ) {
        let whole = table.expected();
        let named = used(&table, whole.clone());
        let folders = [
            ("recbole", recbole(&table, unit)),
            ("folder", folder(&table, unit)),
            ("movielens", movielens(&table, unit)),
        ];
        for (name, files) in folders {
            let raw = read_files(&files, &Reading::default()).map_err(|e| {
                TestCaseError::fail(format!("{name}: {e:#}"))
            });
            // One item of several events is refused, whoever reads it.
            let Ok(raw) = raw else {
                prop_assert!(whole.1.len() == 1, "{:?}", raw.err());
                continue;
            };
            prop_assert_eq!(raw.format, name);
            prop_assert_eq!(&said(&raw), &whole, "{}", name);
        }
        let files = [
            ("e.csv", delimited(&table, ",", unit)),
            ("s.csv", delimited(&table, ";", unit)),
            ("e.tsv", delimited(&table, "\t", unit)),
            ("b.txt", delimited(&table, "|", unit)),
            ("d.dat", delimited(&table, "::", unit)),
            ("e.jsonl", json_lines(&table, unit)),
            ("e.json", python(&table, unit)),
            ("e.parquet", blocks::parquet(&table, unit, codec, dictionary, group)),
        ];
        let reading = Reading { allow: vec![Allowance::EqualTitles], ..Reading::default() };
        for (name, bytes) in files {
            let folder = source(&[(name, bytes)]);
            let raw = read_path(&folder.path().join(name), &reading).map_err(|e| {
                TestCaseError::fail(format!("{name}: {e:#}"))
            })?;
            prop_assert_eq!(&said(&raw), &named, "{}", name);
        }
    }
}

const HEAD: &str = "user_id,item_id,title,rating,timestamp\n";

#[test]
fn what_a_rule_leaves_out_is_counted_with_the_first() {
    let rows = "u,a,A,5,3\nu,b,B,1,2\nu,a,A,5,3\nv,c,C,,9\nv,d,D,4,1\n";
    let text = HEAD.to_owned() + rows;
    let raw = read_text("e.csv", &text, &Reading::default()).unwrap();
    assert_eq!(history(&raw, "u"), ["b", "a"]);
    let notes = raw.notes.join("\n");
    assert!(notes.contains("left out: 1 (first: ") && notes.contains(":4, as line 2"), "{notes}");

    let reading = Reading { min_rating: Some(3.0), ..Reading::default() };
    let raw = read_text("e.csv", &text, &reading).unwrap();
    assert_eq!((history(&raw, "u"), history(&raw, "v")), (vec!["a"], vec!["d"]));
    let notes = raw.notes.join("\n");
    assert!(notes.contains("rating below 3, left out: 1 (first: line 3, 1)"), "{notes}");
    assert!(notes.contains("without a rating, left out by setting `min-rating`: 1"), "{notes}");

    let text = "user_id,item_id,title,event,timestamp\nu,a,A,view,1\nu,b,B,buy,2\nu,c,C,buy,3\n";
    let reading = Reading { event: vec!["event=buy".into()], ..Reading::default() };
    assert_eq!(history(&read_text("e.csv", text, &reading).unwrap(), "u"), ["b", "c"]);
    let notes = read_text("e.csv", text, &Reading::default()).unwrap().notes.join("\n");
    assert!(notes.contains("event = buy (2), view (1)"), "{notes}");
}

#[test]
fn a_core_leaves_out_users_and_items() {
    let mut text = HEAD.to_owned();
    for user in 0..3 {
        for item in 0..3 {
            text += &format!("u{user},i{item},T{item},5,{}\n", user * 10 + item);
        }
    }
    text += "lonely,i0,T0,5,99\nu0,rare,R,5,98\n";
    let reading = Reading { k_core: Some(3), ..Reading::default() };
    let raw = read_text("e.csv", &text, &reading).unwrap();
    assert_eq!((raw.users.len(), raw.items.len(), raw.events.len()), (3, 3, 9));
    assert!(raw.notes.iter().any(|note| note.starts_with("3-core in ")), "{:?}", raw.notes);
    let reading = Reading { k_core: Some(9), ..Reading::default() };
    let error = read_text("e.csv", &text, &reading).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Data));
    assert!(format!("{error:#}").contains("setting `k-core`"), "{error:#}");
}

#[test]
fn what_is_useless_is_refused_unless_it_is_meant() {
    for (text, allowance) in [
        ("user_id,item_id,timestamp\nu,a,1\nu,b,2\n", Allowance::NoTitles),
        ("user_id,item_id,title,timestamp\nu,a,T,1\nu,b,T,2\n", Allowance::EqualTitles),
        ("user_id,item_id,title\nu,a,A\nu,b,B\n", Allowance::NoTimes),
    ] {
        let error = read_text("e.csv", text, &Reading::default()).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        let words = format!("{error:#}");
        assert!(words.contains(&format!("`allow = {allowance}`")), "{words}");
        let reading = Reading { allow: vec![allowance], ..Reading::default() };
        assert_eq!(read_text("e.csv", text, &reading).unwrap().events.len(), 2);
    }
    // One event a user needs no order.
    let text = "user_id,item_id,title\nu,a,A\nv,b,B\n";
    assert_eq!(read_text("e.csv", text, &Reading::default()).unwrap().users.len(), 2);
}

#[test]
fn titles_of_reviews_are_told_from_those_of_items() {
    let line = |item: &str, title: &str, time: usize| {
        format!(
            "{{\"user_id\": \"u\", \"item_id\": \"{item}\", \"title\": \"{title}\", \
            \"text\": \"words\", \"timestamp\": {time}}}\n"
        )
    };
    let agree = line("a", "Lamp", 1) + &line("b", "Boat", 2) + &line("a", "Lamp", 3);
    let raw = read_text("e.jsonl", &agree, &Reading::default()).unwrap();
    assert_eq!(raw.items[0].title(), Some("Lamp"));
    assert!(raw.reviews.iter().all(|review| review.summary.is_none()));
    let differ = line("a", "Love it", 1) + &line("b", "Meh", 2) + &line("a", "Works", 3);
    let reading = Reading { allow: vec![Allowance::NoTitles], ..Reading::default() };
    let raw = read_text("e.jsonl", &differ, &reading).unwrap();
    assert!(raw.items.iter().all(|item| item.title().is_none()));
    assert_eq!(raw.reviews[0].summary.as_deref(), Some("Love it"));
}

#[test]
fn long_titles_are_cut_and_counted() {
    let text = format!("{HEAD}u,a,{},5,1\nu,b,B,5,2\n", "word ".repeat(500).trim());
    let raw = read_text("e.csv", &text, &Reading::default()).unwrap();
    let title = raw.items[0].title().unwrap();
    assert!(title.len() <= 1000 && title.ends_with("word"), "{title}");
    assert!(raw.notes.iter().any(|n| n.contains("1000 characters") && n.contains("item a")));
    let reading = Reading { max_title: 9, ..Reading::default() };
    let raw = read_text("e.csv", &text, &reading).unwrap();
    assert_eq!(raw.items[0].title(), Some("word word"));
}

#[test]
fn times_of_two_units_are_refused_with_the_line() {
    let text = format!("{HEAD}u,a,A,5,1588687728000\nu,b,B,5,1588687729\n");
    let error = format!("{:#}", read_text("e.csv", &text, &Reading::default()).unwrap_err());
    assert!(error.contains("e.csv:3: ") && error.contains("milliseconds"), "{error}");
}

#[test]
fn formats_are_guessed() {
    let csv = HEAD.to_owned() + "u,a,A,5,1\nu,b,B,5,2\n";
    let raw = read_text("e.csv", &csv, &Reading::default()).unwrap();
    assert_eq!(raw.format, "csv");
    let error = read_files(&[("readme.md", b"x".to_vec())], &Reading::default()).unwrap_err();
    let words = format!("{error:#}");
    assert!(words.contains("readme.md") && words.contains("setting `format`"), "{words}");
    let reading = Reading::of(Format::Movielens);
    let error = format!("{:#}", read_text("e.csv", &csv, &reading).unwrap_err());
    assert!(error.contains("ratings.dat"), "{error}");
}

#[test]
fn what_is_nobody_or_no_time_is_said() {
    let text = format!("{HEAD}nan,a,A,5,1400000000\nu,b,B,5,0\nnan,b,B,5,1400000001\n");
    let raw = read_text("e.csv", &text, &Reading::default()).unwrap();
    let notes = raw.notes.join("\n");
    let nobody = "users whose id is a word for nothing, kept: 1 (first: line 2, nan)";
    assert!(notes.contains(nobody), "{notes}");
    let doubts = suspicions(&raw, 1_500_000_000).join("\n");
    assert!(doubts.contains("times of 0 beside dates: does"), "{doubts}");

    let shown =
        "{\"user_id\": 1, \"item_id\": \"I\", \"title\": \"TI\", \"label\": L, \"time\": 2}\n";
    let labels = ["1", "0", "true", "false", "\"False\"", "1.0", "0.0", "-1", "null"];
    let lines = (1..)
        .zip(labels)
        .map(|(item, label)| shown.replace("I\"", &format!("{item}\"")).replace('L', label));
    let raw_labels = read_text("e.jsonl", &lines.collect::<String>(), &Reading::default()).unwrap();
    assert_eq!(history(&raw_labels, "1"), ["1", "3", "6", "9"]);

    let apart = [
        ("items.csv", b"item_id,title\n07,A\n08,B\n".to_vec()),
        ("events.csv", b"user_id,item_id,time\nu,7,1\nu,8,2\n".to_vec()),
    ];
    let error = read_files(&apart, &Reading::default()).unwrap_err();
    assert!(format!("{error:#}").contains("some of others alone (first: item 7"), "{error:#}");

    let untitled = format!("{HEAD}u,a,nan,5,3\nu,b,B,5,4\n");
    let named = read_text("e.csv", &untitled, &Reading::default()).unwrap();
    assert_eq!((named.items[0].title(), named.items[1].title()), (None, Some("B")));
    let notes = named.notes.join("\n");
    assert!(notes.contains("word for nothing, left out: 1 (first: item a, \"nan\")"), "{notes}");

    let error = read_text("e.csv", HEAD, &Reading::default()).unwrap_err();
    assert!(format!("{error:#}").contains("at least one item, got none"), "{error:#}");
    let wide: Vec<u8> = text.encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect();
    let folder = source(&[("e.csv", wide)]);
    let path = folder.path().join("e.csv");
    let error = read_path(&path, &Reading::default()).unwrap_err();
    assert!(format!("{error:#}").contains("setting `encoding`, utf-16"), "{error:#}");
    let reading = Reading { encoding: Some("utf-16".to_owned()), ..Reading::default() };
    assert_eq!(said(&read_path(&path, &reading).unwrap()), said(&raw));
}
