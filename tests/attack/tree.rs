//! Folders as values: to copy, to compare, and without what depends on the clock.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files by path, folders by path with a `/` behind.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Everything below a folder.
pub fn read(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![String::new()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(folder.join(&at)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{at}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                tree.insert(format!("{name}/"), Vec::new());
                open.push(format!("{name}/"));
            } else {
                tree.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    tree
}

/// Makes a tree in an empty folder.
pub fn write(tree: &Tree, folder: &Path) {
    for (name, bytes) in tree {
        let path = folder.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// What the clock and the process decide.
const CLOCKS: [&str; 4] = ["seconds", "tokens_per_second", "memory_bytes", "pid"];

/// A file without what depends on the clock.
pub fn timeless(name: &str, bytes: &[u8]) -> Vec<u8> {
    if name.ends_with(".html") {
        return without_training(bytes);
    }
    if !(name.ends_with(".json") || name.ends_with(".jsonl")) {
        return bytes.to_vec();
    }
    let without = |text: &[u8]| -> Option<String> {
        let mut value: Value = serde_json::from_slice(text).ok()?;
        take_clocks(&mut value);
        Some(value.to_string())
    };
    if let Some(whole) = without(bytes) {
        return whole.into_bytes();
    }
    let lines = bytes.split_inclusive(|&b| b == b'\n').flat_map(|line| match without(line) {
        Some(text) if line.ends_with(b"\n") => (text + "\n").into_bytes(),
        _ => line.to_vec(),
    });
    lines.collect()
}

fn take_clocks(value: &mut Value) {
    match value {
        Value::Object(object) => {
            CLOCKS.iter().for_each(|clock| drop(object.shift_remove(*clock)));
            object.values_mut().for_each(take_clocks);
        }
        Value::Array(list) => list.iter_mut().for_each(take_clocks),
        _ => {}
    }
}

/// A page without its section on the training, which is drawn against minutes.
fn without_training(page: &[u8]) -> Vec<u8> {
    let page = String::from_utf8_lossy(page);
    let Some((before, rest)) = page.split_once("<section><h2>Training</h2>") else {
        return page.into_owned().into_bytes();
    };
    let (_, behind) = rest.split_once("</section>").expect("a section ends");
    [before, behind].concat().into_bytes()
}

/// Where two trees differ, if they do.
pub fn difference(got: &Tree, expected: &Tree) -> Option<String> {
    let names = |a: &Tree, b: &Tree| -> Vec<String> {
        a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
    };
    let (more, less) = (names(got, expected), names(expected, got));
    if !more.is_empty() || !less.is_empty() {
        return Some(format!("has {more:?} more and lacks {less:?}"));
    }
    let differs = |(name, bytes): (&String, &Vec<u8>)| {
        (timeless(name, bytes) != timeless(name, &expected[name])).then(|| {
            format!("{name} has other contents ({} bytes, {})", bytes.len(), expected[name].len())
        })
    };
    got.iter().find_map(differs)
}
