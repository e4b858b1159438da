//! What is written is opened in one place, `engine/base/outputs/`: there every output is compared
//! with the inputs, locked, and never replaced without being asked. So no other room makes, opens
//! to write, renames or removes a file.

use crate::source::Source;
use crate::texts;

/// The calls that change a file system, or open a file to be changed.
const CALLS: [&str; 18] = [
    "File::create",
    "File::options",
    "OpenOptions",
    "fs::write",
    "fs::copy",
    "fs::rename",
    "fs::create_dir",
    "fs::remove_",
    "fs::hard_link",
    "fs::soft_link",
    "fs::set_permissions",
    "unix::fs::symlink",
    "DirBuilder",
    ".set_len(",
    ".persist(",
    "tempfile",
    "libc::open",
    "libc::rename",
];

/// Where each call stands outside of tests, with its line.
fn writes(source: &str) -> Vec<(usize, &'static str)> {
    let code = Source::read(source).code;
    let own = code.find("#[cfg(test)]\nmod tests").map_or(&*code, |at| &code[..at]);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for call in CALLS {
        let lines = own.match_indices(call).map(|(at, _)| 1 + own[..at].matches('\n').count());
        found.extend(lines.map(|line| (line, call)));
    }
    found.sort_unstable();
    found
}

#[test]
fn files_are_written_in_one_place() {
    let mut found = Vec::new();
    let (mut seen, home) = (0, "engine/base/outputs/");
    for (path, text) in texts(&["rs"]).iter().filter(|(path, _)| path.starts_with("engine/")) {
        let writes = writes(text);
        if path.starts_with(home) {
            seen += writes.len();
        } else if path != "engine/base/input.rs" {
            // That one opens to read, with a flag.
            found.extend(writes.iter().map(|(line, call)| format!("{path}:{line}: {call}")));
        }
    }
    assert!(seen > 8, "expected the calls of {home}, got {seen}");
    assert!(found.is_empty(), "only {home} writes: {found:#?}");
}

#[test]
fn a_planted_write_is_seen() {
    let planted = "use std::fs;\n// fs::write\nfn f() { fs::write(a, b); }\n\
                   #[cfg(test)]\nmod tests { fn g() { fs::rename(a, b) } }";
    assert_eq!(writes(planted), [(3, "fs::write")]);
    assert_eq!(writes("OpenOptions::new().append(true)"), [(1, "OpenOptions")]);
    assert!(writes("use std::fs::File;\nlet file = File::open(path)?;").is_empty());
}
