//! The laws that the sources themselves are held to. Nothing here links the crate.

mod imports;
mod outputs;
mod paths;
mod rooms;
mod ruler;
mod rules;
mod source;
mod variables;

use std::fs;
use std::path::Path;

/// Folders that hold no source: what is built or run, and numbers that others made.
const LEFT_OUT: [&str; 3] = ["target", "runs", "tests/golden"];

/// Whether a folder holds sources; of the hidden ones these two do.
fn is_source(path: &str, name: &str) -> bool {
    let hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&name);
    !hidden && name != "__pycache__" && !LEFT_OUT.contains(&path)
}

/// Every text file of the project whose name ends in one of `ends` (the empty one: scripts without
/// an end), by its path from the root.
fn texts(ends: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let end = name.rsplit_once('.').map_or("", |(_, end)| end);
            if entry.file_type().unwrap().is_dir() {
                if is_source(&path, &name) {
                    folders.push(path);
                }
            } else if ends.contains(&end) {
                let bytes = fs::read(root.join(&path)).unwrap();
                if !end.is_empty() || bytes.starts_with(b"#!") {
                    let text = String::from_utf8(bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
                    found.push((path, text));
                }
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "expected the sources of the project, got {} files", found.len());
    found
}
