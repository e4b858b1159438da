//! The laws that the sources themselves are held to. Nothing here links the crate.

mod rooms;
mod rules;
mod variables;

use std::fs;
use std::path::Path;

/// Folders that hold no source: what is built or run, and numbers that others made.
const LEFT_OUT: [&str; 4] = ["target", "runs", ".git", "tests/golden"];

/// Every text file of the project whose name ends in one of `ends` (the empty one: names without a
/// dot), by its path from the root.
fn texts(ends: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                if !LEFT_OUT.contains(&path.as_str()) && name != "__pycache__" {
                    folders.push(path);
                }
            } else if ends.contains(&name.rsplit_once('.').map_or("", |(_, end)| end)) {
                let text = fs::read_to_string(root.join(&path));
                found.push((path.clone(), text.unwrap_or_else(|e| panic!("{path}: {e}"))));
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "expected the sources of the project, got {} files", found.len());
    found
}
