//! The synthetic shop of the demo: customers mostly stay with a maker and move on to the next
//! thing.

use super::ranges;
use crate::base::outputs::make_folder;
use crate::base::{write_atomically, Philox, Stream};
use anyhow::{Context, Result};
use serde_json::json;
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

/// Writes a shop of `users` customers, drawn from `seed`, as items.jsonl and sequences.txt.
pub fn make(folder: &Path, users: usize, seed: u64) -> Result<()> {
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
    for user in 1..=users {
        let mut rng = Philox::new(seed, Stream::Synthetic, user as u64);
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
        let words: Vec<String> =
            std::iter::once(user).chain(bought).map(|n| n.to_string()).collect();
        sequences.push_str(&words.join(" "));
        sequences.push('\n');
    }
    write("sequences.txt", &sequences)
}
