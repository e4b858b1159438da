//! `docs/rules.md` says what each number means that the sources cite: R12, E7, A19.

use crate::texts;
use std::collections::BTreeMap;

/// The numbers that a text cites, each with the line it first stands on: `R`, `E` or `A`, one or
/// two digits, perhaps a small letter (which the page explains at the number itself).
fn cited(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let Some(digits) = word.strip_prefix(['R', 'E', 'A']) else { continue };
            let digits = digits.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(digits);
            if (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
                found.entry(word[..1 + digits.len()].to_owned()).or_insert(at + 1);
            }
        }
    }
    found
}

/// The numbers that the page explains: each begins an item of a list in bold.
fn explained(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| Some(line.strip_prefix("* **")?.split_once("**")?.0)).collect()
}

#[test]
fn every_number_that_is_cited_is_explained() {
    let texts = texts(&["rs", "cu", "cuh", "h", "cpp", "py", "md"]);
    let (_, page) = texts.iter().find(|(path, _)| path == "docs/rules.md").expect("the page");
    let explained = explained(page);
    let mut missing = Vec::new();
    for (path, text) in &texts {
        for (rule, at) in cited(text) {
            if !explained.contains(&rule.as_str()) {
                missing.push(format!("{path}:{at}: {rule} is not in docs/rules.md"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let mut numbers = explained.clone();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), explained.len(), "docs/rules.md explains a number twice");
}

#[test]
fn a_planted_number_is_seen() {
    let all: Vec<String> =
        cited("/// (R27-R33, E6–E8), E12b; A100 on P5, R-2, F32\n// A1").into_keys().collect();
    assert_eq!(all, ["A1", "E12", "E6", "E8", "R27", "R33"]);
    assert_eq!(explained("# x\n* **R1** one\n  two\n* **A2** three\n"), ["R1", "A2"]);
}

/// What a reader cannot open explains nothing.
#[test]
fn no_source_points_outside_of_the_project() {
    let strangers = ["spec/", "anchors/", "design.md"];
    let mut found = Vec::new();
    for (path, text) in texts(&["rs", "cu", "cuh", "h", "cpp", "py", "md", "toml", "sh", ""]) {
        for (at, line) in text.lines().enumerate().filter(|_| !path.starts_with("tests/floors/")) {
            let pointer = strangers.iter().find(|s| line.contains(**s) && !line.contains("://"));
            found.extend(pointer.map(|s| format!("{path}:{}: {s}", at + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
