//! `CONTRIBUTING.md` lists every environment variable that the project reads, and no other.

use crate::texts;
use std::collections::BTreeSet;

/// The variables that a text names: `ENGINE_` and what follows in capitals.
fn named(text: &str) -> BTreeSet<&str> {
    text.match_indices("ENGINE_")
        .filter(|&(at, _)| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let rest = &text[at..];
            let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())]
        })
        // The stand-in's have one row together; the last is a macro of the emulator.
        .filter(|name| !name.starts_with("ENGINE_STAND_IN_"))
        .filter(|name| *name != "ENGINE_EMULATOR_UNDEFINED")
        .collect()
}

#[test]
fn the_table_holds_every_variable() {
    let texts = texts(&["rs", "cu", "cuh", "h", "cpp", "py", "sh", "md", "toml", ""]);
    let (_, page) = texts.iter().find(|(path, _)| path == "CONTRIBUTING.md").expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let table: BTreeSet<&str> = rows.flat_map(|(name, _)| named(name)).collect();
    let sources = texts
        .iter()
        .filter(|(path, _)| path != "CONTRIBUTING.md" && path != "tests/floors/variables.rs");
    let read: BTreeSet<&str> = sources.flat_map(|(_, text)| named(text)).collect();
    assert!(read.contains("ENGINE_WEIGHTS"), "the sources were not understood: {read:?}");
    assert_eq!(table, read, "the table of CONTRIBUTING.md and what the sources name");
}

#[test]
fn a_planted_variable_is_seen() {
    let text = "env(\"ENGINE_ONE\"), ENGINE_TWO=1 NO_ENGINE_THREE ENGINE_STAND_IN_{name}";
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), ["ENGINE_ONE", "ENGINE_TWO"]);
}
