//! A path that a page or a comment names is there.

use crate::texts;
use std::path::Path;

/// Folders of the project by which a path is known as one.
const FOLDERS: [&str; 8] =
    ["engine/", "kernels/", "tests/", "tools/", "docs/", "benches/", "examples/", ".ci/"];

/// The paths within backticks of a text, each with its line. A word in capitals stands for a name
/// that the reader fills in.
fn named(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for path in line.split('`').skip(1).step_by(2) {
            let known = FOLDERS.iter().any(|folder| path.starts_with(folder));
            let plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
            let stem = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or(path);
            let filled_in = !stem.is_empty() && stem.chars().all(|c| c.is_ascii_uppercase());
            if known && path.chars().all(plain) && (!filled_in || stem == "README") {
                found.push((at + 1, path));
            }
        }
    }
    found
}

#[test]
fn every_path_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for (path, text) in texts(&["rs", "cu", "cuh", "h", "cpp", "py", "md", ""]) {
        // What was is told there.
        if path == "CHANGELOG.md" || path.starts_with("tests/floors/") {
            continue;
        }
        let absent = named(&text).into_iter().filter(|(_, named)| !root.join(named).exists());
        missing.extend(absent.map(|(at, named)| format!("{path}:{at}: {named} is not there")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_planted_path_is_seen() {
    let text = "see `tests/floors/` and\n`engine/cli/VERB.rs`, `kernels/F.cu`, `engine::data`,\n\
        `docs/rules.md`, `cargo run`, `kernels/*.cu`";
    assert_eq!(named(text), [(1, "tests/floors/"), (3, "docs/rules.md")]);
}
