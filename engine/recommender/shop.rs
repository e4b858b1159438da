//! The shop of the demo, as files, and how well its customers were served.

use super::ranges;
use crate::base::outputs::make_folder;
use crate::base::write_whole;
use crate::data::source::shop;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// Items of the shop.
const ITEMS: usize = 240;

/// Writes a shop of `users` customers, drawn from `seed`, as items.jsonl and sequences.txt.
pub fn make(folder: &Path, users: usize, seed: u64) -> Result<()> {
    ranges::check("shop users", users.into())?;
    make_folder(folder).with_context(|| folder.display().to_string())?;
    let (titles, bought) = shop(users, ITEMS, seed);
    let mut items = String::new();
    for (i, (title, thing)) in titles.iter().enumerate() {
        let line = json!({"id": i + 1, "title": title, "categories": [["Toys", thing]]});
        items.push_str(&line.to_string());
        items.push('\n');
    }
    let write = |name: &str, text: &str| write_whole(&folder.join(name), text);
    write("items.jsonl", &items)?;
    let mut sequences = String::new();
    for (user, bought) in bought.iter().enumerate() {
        let items = bought.iter().map(|item| item + 1);
        let words: Vec<String> =
            std::iter::once(user + 1).chain(items).map(|n| n.to_string()).collect();
        sequences.push_str(&words.join(" "));
        sequences.push('\n');
    }
    write("sequences.txt", &sequences)
}
