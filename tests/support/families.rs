//! A shop in which people rate and review what they buy, so that every family has something to ask.
#![allow(dead_code)] // each binary of tests uses a part of it

use serde_json::json;
use std::fmt::Write;

pub const ITEMS: usize = 36;

/// What is said of an item by who gave it so many stars.
pub fn headline(stars: u32, feature: &str) -> String {
    format!("{} {feature}", if stars >= 4 { "Great" } else { "Poor" })
}

pub fn explanation(stars: u32, feature: &str) -> String {
    format!("the {feature} is {}", if stars >= 4 { "good" } else { "bad" })
}

/// Files of a source: items.jsonl, users.jsonl, interactions.tsv and reviews.jsonl. User `u`, from
/// 1 on, bought `events(u)`, items from 0, oldest first, and wrote about every one whose place is
/// in `reviewed`; `part` is what the reviews call their split.
pub fn source(
    users: usize,
    events: impl Fn(usize) -> Vec<usize>,
    reviewed: impl Fn(usize, usize) -> bool,
    part: Option<&str>,
) -> [(&'static str, String); 4] {
    let makers = ["Alder", "Birch", "Cedar", "Elm", "Fir", "Hazel"];
    let things = ["Puzzle", "Train Set", "Kite", "Drum", "Castle", "Card Game"];
    let features = ["colour", "price", "size"];
    let title = |item: usize| format!("{} {}", makers[item / 6], things[item % 6]);
    let (mut items, mut people, mut reviews) = (String::new(), String::new(), String::new());
    let mut bought = String::from("user_id\titem_id\trating\tunix_time\n");
    for item in 0..ITEMS {
        let (id, categories) = (item + 1, [["Toys", things[item % 6]]]);
        let line = json!({"id": id, "title": title(item), "categories": categories});
        writeln!(items, "{line}").unwrap();
    }
    for user in 1..=users {
        writeln!(people, "{}", json!({"id": user, "name": format!("Pat {user}")})).unwrap();
        for (place, item) in events(user).into_iter().enumerate() {
            let stars = 1 + (user * 7 + item * 3) % 5;
            let time = 1_600_000_000 + place * 86_400 * 20;
            // Where reviews say what they are for, nothing else is rated.
            let rated = part.is_none() || reviewed(user, place);
            let rating = if rated { stars.to_string() } else { String::new() };
            writeln!(bought, "{user}\t{}\t{rating}\t{time}", item + 1).unwrap();
            if reviewed(user, place) {
                let (stars, feature) = (stars as u32, features[(user + item) % 3]);
                let why = explanation(stars, feature);
                let mut line = json!({
                    "user": user, "item": item + 1, "rating": stars, "feature": feature,
                    "summary": headline(stars, feature),
                    "text": format!("I had the {} and {why}.", title(item)),
                    "explanation": why,
                });
                if let Some(part) = part {
                    line["split"] = json!(part);
                }
                writeln!(reviews, "{line}").unwrap();
            }
        }
    }
    [
        ("items.jsonl", items),
        ("users.jsonl", people),
        ("interactions.tsv", bought),
        ("reviews.jsonl", reviews),
    ]
}

/// The usual one: seven different items each, half of them reviewed.
pub fn usual(users: usize) -> [(&'static str, String); 4] {
    let events = |user: usize| (0..7).map(|k| (user * 5 + k * 11) % ITEMS).collect();
    source(users, events, |user, place| (user + place).is_multiple_of(2), None)
}
