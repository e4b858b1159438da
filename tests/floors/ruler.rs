//! One ruler for everything that people read: 100 columns.

use crate::texts;

/// Columns that a line may have.
const COLUMNS: usize = 100;

/// What is measured, by the ends of the names; scripts have none.
const ENDS: [&str; 11] = ["rs", "cu", "cuh", "h", "cpp", "py", "sh", "md", "toml", "css", ""];

/// Whether a line may be longer: a row of a table in Markdown or a comment, and what is long by an
/// address alone.
fn excepted(path: &str, line: &str) -> bool {
    let rest: usize = line
        .split_whitespace()
        .filter(|word| !word.contains("://"))
        .map(|word| 1 + word.chars().count())
        .sum();
    let comment = line.trim_start().strip_prefix("//");
    let inside = comment.map(|text| text.trim_start_matches(['/', '!', ' ']));
    let inside = if path.ends_with(".md") { Some(line) } else { inside };
    inside.is_some_and(|text| text.starts_with('|')) || (line.contains("://") && rest <= COLUMNS)
}

/// The lines of one file that are too long.
fn faults(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line, line.chars().count()));
    lines
        .filter(|&(_, line, columns)| columns > COLUMNS && !excepted(path, line))
        .map(|(at, _, columns)| {
            format!("{path}:{at}: expected at most {COLUMNS} columns, got {columns}")
        })
        .collect()
}

#[test]
fn no_line_is_longer_than_the_ruler() {
    let mut found = Vec::new();
    for (path, text) in texts(&ENDS) {
        found.extend(faults(&path, &text));
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_planted_long_line_is_found() {
    let (fits, long) = ("ü".repeat(COLUMNS), "x".repeat(COLUMNS + 1));
    assert_eq!(
        faults("a.rs", &format!("{fits}\n{long}\n")),
        ["a.rs:2: expected at most 100 columns, got 101"]
    );
    assert_eq!(faults("a.md", &format!("{fits}\n| {long} |\n")), Vec::<String>::new());
    assert_eq!(faults("a.rs", &format!("//! | {long} |")), Vec::<String>::new());
    assert_eq!(faults("a.rs", &format!("    | {long}")).len(), 1);
    assert_eq!(faults("a.py", &format!("see https://example.org/{long}")), Vec::<String>::new());
    assert_eq!(faults("a.py", &format!("{fits} https://example.org")).len(), 1);
}
