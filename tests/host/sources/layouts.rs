//! Folders in the layout in which data sets are published, headers, types and encodings as there:
//! each is a folder beside this file.

use super::{history, read_path, read_text};
use engine::data::source::{Allowance, Format, Raw, Reading};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/sources").join(name)
}

/// A published set: folder, format, users, items and events; a user's items, oldest first; an item,
/// its title and its categories.
type Published = (
    &'static str,
    &'static str,
    [usize; 3],
    (&'static str, &'static [&'static str]),
    (&'static str, &'static str, &'static [&'static str]),
);

const LEON: (&str, &str, &[&str]) = ("2", "Léon (1994)", &["Crime", "Drama"]);
const SALT: (&str, &str, &[&str]) = ("B1", "Sea Mist & Salt", &["Toys & Games", "Puzzles"]);

const SETS: [Published; 22] = [
    ("movielens-1m", "movielens", [2, 2, 3], ("1", &["2", "1"]), LEON),
    ("movielens-100k", "movielens", [2, 2, 3], ("1", &["2", "1"]), LEON),
    ("movielens-25m", "movielens", [2, 2, 3], ("1", &["2", "1"]), LEON),
    ("amazon-2014", "amazon", [2, 2, 3], ("U1", &["B2", "B1"]), SALT),
    ("amazon-2018", "amazon", [2, 2, 3], ("U1", &["B2", "B1"]), SALT),
    ("amazon-2023", "amazon", [2, 2, 3], ("U1", &["B2", "B1"]), SALT),
    (
        "yelp",
        "jsonl",
        [1, 2, 2],
        ("u1", &["b2", "b1"]),
        ("b1", "St Honore Pastries", &["Restaurants", "Bubble Tea"]),
    ),
    (
        "steam",
        "jsonl",
        [1, 2, 2],
        ("Chaos", &["35140", "328100"]),
        ("328100", "Lost Summoner", &["Action", "Indie"]),
    ),
    (
        "goodreads",
        "jsonl",
        [1, 2, 2],
        ("u1", &["7", "23"]),
        ("23", "Good Harbor", &["to-read", "fiction"]),
    ),
    (
        "mind",
        "csv",
        [1, 5, 4],
        ("U1", &["N1", "N2", "N5", "N4"]),
        ("N1", "The \"Brands\" Queen Swears By", &["lifestyle", "royals"]),
    ),
    ("lastfm", "csv", [2, 2, 2], ("2", &["51"]), ("51", "Duran Duran", &[])),
    (
        "book-crossing",
        "csv",
        [1, 2, 2],
        ("276725", &["034545104X", "0155061224"]),
        ("0155061224", "Crème; Brûlée & Co", &[]),
    ),
    (
        "hm",
        "csv",
        [2, 3, 3],
        ("000058a1", &["0663713001", "0541518023"]),
        ("0663713001", "Atlanta Push Body", &[]),
    ),
    (
        "food-com",
        "csv",
        [2, 3, 3],
        ("1773", &["7435"]),
        ("4684", "fourth of july salsa", &["60-minutes", "salsas"]),
    ),
    ("microlens", "csv", [2, 2, 3], ("36121", &["9580", "9738"]), ("9738", "Dogs", &[])),
    (
        "movielens-10m",
        "movielens",
        [2, 2, 3],
        ("1", &["185", "122"]),
        ("122", "Boomerang (1992)", &["Comedy", "Romance"]),
    ),
    ("gowalla", "csv", [1, 2, 2], ("0", &["420315", "22847"]), ("22847", "", &[])),
    (
        "recbole-ml-100k",
        "recbole",
        [1, 2, 2],
        ("196", &["302", "242"]),
        ("302", "L.A. Confidential", &["Crime", "Film-Noir", "Mystery"]),
    ),
    (
        "recbole-amazon",
        "recbole",
        [1, 2, 2],
        ("A1", &["B2", "B1"]),
        ("B1", "Adult & Ballet", &["Clothing, Shoes & Jewelry", "Girls"]),
    ),
    (
        "recbole-yelp",
        "recbole",
        [1, 2, 2],
        ("u1", &["b2", "b1"]),
        ("b1", "Alpha Bar", &["Bars", "Wine Bars"]),
    ),
    (
        "recbole-steam",
        "recbole",
        [1, 2, 2],
        ("1", &["35140", "328100"]),
        ("35140", "Batman", &["Action"]),
    ),
    (
        "recbole-mind",
        "recbole",
        [1, 3, 2],
        ("U1", &["N3", "N1"]),
        ("N1", "One \"quoted\"", &["news", "world"]),
    ),
];

fn read(name: &str, allow: &[Allowance]) -> anyhow::Result<Raw> {
    let reading = Reading { k_core: Some(0), allow: allow.to_vec(), ..Reading::default() };
    read_path(&folder(name), &reading)
}

#[test]
fn published_sets_are_read_as_they_are_published() {
    for (name, format, counts, (user, items), (id, title, categories)) in SETS {
        let allow = [Allowance::NoTitles, Allowance::NoTimes];
        let raw = read(name, &allow).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(raw.format, format, "{name}");
        let found = [raw.users.len(), raw.items.len(), raw.events.len()];
        assert_eq!(found, counts, "{name}: {:?}", raw.notes);
        assert_eq!(history(&raw, user), items, "{name}");
        let item = raw.items.iter().find(|item| item.id() == id).expect(name);
        assert_eq!(item.title().unwrap_or_default(), title, "{name}");
        let found: Vec<&str> = item.category_names().collect();
        assert_eq!(found, categories, "{name}");
    }
}

#[test]
fn what_a_published_set_lacks_is_said() {
    for (name, missing) in [("book-crossing", "no-times"), ("gowalla", "no-titles")] {
        let words = format!("{:#}", read(name, &[]).unwrap_err());
        assert!(words.contains(&format!("allow = {missing}")), "{words}");
    }
    let raw = read("book-crossing", &[Allowance::NoTimes]).unwrap();
    assert_eq!(raw.items[0].title(), Some("Flesh Tones: A \"Novel\""));
    assert_eq!(raw.attributes[0], [("Location".to_owned(), "tyler, texas, usa".to_owned())]);
    // A category stands in for a title.
    let raw = read("recbole-foursquare", &[Allowance::NoTitles]).unwrap();
    assert_eq!(history(&raw, "470"), ["V2", "V1"]);
    assert_eq!(raw.items[1].categories(), [["Bridge"]]);
}

#[test]
fn histories_of_splits_become_one() {
    let raw = read("recbole-histories", &[]).unwrap();
    assert_eq!(history(&raw, "u1"), ["B1", "B2", "B3", "B4", "B5", "B1"]);
    assert_eq!(history(&raw, "u2"), ["B2", "B1"]);
}

#[test]
fn columns_may_be_named_and_numbered() {
    let reading = Reading {
        format: Some(Format::Csv),
        user_column: Some("1".into()),
        item_column: Some("2".into()),
        time_column: Some("3".into()),
        title_column: Some("4".into()),
        ..Reading::default()
    };
    let raw = read_text("e.txt", "7|a|3|x\n7|b|1|y\n", &reading).unwrap();
    assert_eq!(history(&raw, "7"), ["b", "a"]);
    assert_eq!(raw.items[0].title(), Some("x"));
    let wrong = Reading { user_column: Some("who".into()), ..Reading::default() };
    let text = "user_id,item_id,title,timestamp\nu,a,A,1\nu,b,B,2\n";
    let error = format!("{:#}", read_text("e.csv", text, &wrong).unwrap_err());
    assert!(error.contains("setting `user-column`") && error.contains("item_id"), "{error}");
}
