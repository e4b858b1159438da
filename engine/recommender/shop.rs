//! The synthetic shop of the demo: customers mostly stay with a maker and move on to the next
//! thing.

use super::ranges;
use crate::base::outputs::make_folder;
use crate::base::{write_atomically, Philox, Stream};
use anyhow::{Context, Result};
use serde_json::{json, Value};
use std::io::Write;
use std::path::Path;

const MAKERS: [&str; 12] = [
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper",
    "Kauri", "Larch",
];
const THINGS: [&str; 10] = [
    "Puzzle",
    "Train Set",
    "Doll House",
    "Card Game",
    "Robot Kit",
    "Kite",
    "Drum",
    "Castle",
    "Rocket",
    "Tea Set",
];

/// Shares of users whose target is among ten items.
pub struct Hits {
    /// Users with an answer.
    pub users: usize,
    /// HR@10 of the answers.
    pub answers: f64,
    /// HR@10 of the ten most bought items.
    pub popular: f64,
}

/// Compares a file of predictions with showing everybody the same `popular` items.
pub fn hits(predictions: &Path, popular: &[usize]) -> Result<Hits> {
    let (mut hits, mut popular_hits, mut users) = (0, 0, 0);
    for line in std::fs::read_to_string(predictions)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let target = &line["target"];
        users += 1;
        let items = line["items"].as_array();
        hits += usize::from(items.is_some_and(|items| items.iter().any(|i| &i["item"] == target)));
        popular_hits += usize::from(popular.iter().any(|p| target == p));
    }
    let share = |n: usize| n as f64 / users as f64;
    Ok(Hits { users, answers: share(hits), popular: share(popular_hits) })
}

/// Writes a shop of `users` customers as items.jsonl and sequences.txt; returns the ten most bought
/// items of the training part.
pub fn make(folder: &Path, users: usize) -> Result<Vec<usize>> {
    ranges::check("shop users", users.into())?;
    make_folder(folder).with_context(|| folder.display().to_string())?;
    let mut items = String::new();
    for (m, maker) in MAKERS.iter().enumerate() {
        for (t, thing) in THINGS.iter().enumerate() {
            for (v, size) in ["Small", "Large"].iter().enumerate() {
                let id = (m * THINGS.len() + t) * 2 + v + 1;
                let title = format!("{maker} {size} {thing}");
                let line = json!({"id": id, "title": title, "categories": [["Toys", thing]]});
                items.push_str(&line.to_string());
                items.push('\n');
            }
        }
    }
    let write = |name: &str, text: &str| {
        write_atomically(&folder.join(name), |file| Ok(file.write_all(text.as_bytes())?))
    };
    write("items.jsonl", &items)?;
    let mut sequences = String::new();
    let mut counts = vec![0usize; MAKERS.len() * THINGS.len() * 2 + 1];
    for user in 1..=users {
        let mut rng = Philox::new(1, Stream::Synthetic, user as u64);
        let (mut maker, mut thing) = (rng.below(MAKERS.len()), rng.below(THINGS.len()));
        let length = 5 + rng.below(6);
        let mut bought: Vec<usize> = Vec::new();
        while bought.len() < length {
            let id = (maker * THINGS.len() + thing) * 2 + rng.below(2) + 1;
            if !bought.contains(&id) {
                bought.push(id);
            }
            thing = (thing + 1) % THINGS.len();
            if rng.uniform() < 0.15 {
                maker = rng.below(MAKERS.len());
            }
        }
        bought[..length - 2].iter().for_each(|&i| counts[i] += 1);
        let words: Vec<String> =
            std::iter::once(user).chain(bought).map(|n| n.to_string()).collect();
        sequences.push_str(&words.join(" "));
        sequences.push('\n');
    }
    write("sequences.txt", &sequences)?;
    let mut order: Vec<usize> = (1..counts.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(counts[i]), i));
    order.truncate(10);
    Ok(order)
}
