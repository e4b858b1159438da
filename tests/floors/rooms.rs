//! Who may know whom inside `engine/`.
//!
//! The floors: `base` < {`device`, `data`} < `model` < {`train`, `decode`, `eval`} < `cli`. Rooms
//! of one floor never meet, and `eval` works on predictions alone, so it sees neither model nor
//! device. `lib.rs` and `main.rs` stand outside the floors: they only name the rooms.

use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms it may use, and words that its code never says.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    silent_on: &'static [&'static str],
}

const ROOMS: [Room; 8] = [
    Room { name: "base", uses: &[], silent_on: &["cuda", "token", "beam", "trie"] },
    Room { name: "device", uses: &["base"], silent_on: &["glm", "beam", "trie", "entity"] },
    Room { name: "data", uses: &["base"], silent_on: &["tensor", "cuda", "gradient"] },
    Room {
        name: "model",
        uses: &["base", "device", "data"],
        silent_on: &["cuda", "record", "entity", "trie", "beam"],
    },
    Room {
        name: "train",
        uses: &["base", "device", "data", "model"],
        silent_on: &["beam", "trie"],
    },
    Room {
        name: "decode",
        uses: &["base", "device", "data", "model"],
        silent_on: &["gradient", "optimiser", "optimizer"],
    },
    Room { name: "eval", uses: &["base", "data"], silent_on: &["tensor", "cuda"] },
    Room {
        name: "cli",
        uses: &["base", "device", "data", "model", "train", "decode", "eval"],
        silent_on: &[],
    },
];

#[test]
fn every_room_uses_only_the_floors_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > ROOMS.len(), "engine: expected a source tree, got {} files", files.len());
    let mut faults = Vec::new();
    for path in files {
        let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        faults.extend(judge(&inside, &fs::read_to_string(&path).unwrap()));
    }
    assert!(faults.is_empty(), "{} crossings:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_planted_crossing_is_found() {
    for (path, source, fault) in [
        (
            "model/layer.rs",
            "\nuse crate::decode::Beams;",
            "engine/model/layer.rs:2: model may not use decode",
        ),
        (
            "train/mod.rs",
            "use crate::{base, decode::x};",
            "engine/train/mod.rs:1: train may not use decode",
        ),
        (
            "eval/report.rs",
            "use crate::{\n  data::{Vocab, train},\n  model,\n};",
            "engine/eval/report.rs:3: eval may not use model",
        ),
        (
            "device/cpu/norm.rs",
            "use super::super::super::data;",
            "engine/device/cpu/norm.rs:1: device may not use data",
        ),
        (
            "base/rng.rs",
            "let x = crate::device::Device::cpu();",
            "engine/base/rng.rs:1: base may not use device",
        ),
        (
            "model/glm.rs",
            "use crate::Trainer;",
            "engine/model/glm.rs:1: crate::Trainer names no room",
        ),
        (
            "model/glm.rs",
            "fn pick_cuda() {}",
            "engine/model/glm.rs:1: model may not know the word cuda",
        ),
        (
            "model/glm.rs",
            "struct BeamState;",
            "engine/model/glm.rs:1: model may not know the word beam",
        ),
        ("attic/mod.rs", "", "engine/attic/mod.rs:1: attic is no room of the house"),
    ] {
        assert_eq!(judge(path, source), [fault], "{path}: {source}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, source) in [
        (
            "model/layer.rs",
            "use crate::base::Dtype;\nuse crate::device::{Device, View};\n// crate::decode is \
            above",
        ),
        ("model/layer.rs", "use super::config::Config;\nuse super::super::device::Device;"),
        ("cli/demo.rs", "use crate::{decode, eval, train};"),
        ("data/mod.rs", "pub use crate::data::trie::Trie; pub(crate) fn f() {}"),
        ("lib.rs", "pub mod base; pub use decode::Beam;"),
        ("train/mod.rs", "let s = \"https://example.org\"; use crate::model::Glm;"),
    ] {
        assert_eq!(judge(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All faults of one file; `path` is relative to `engine/`.
fn judge(path: &str, source: &str) -> Vec<String> {
    let Some((own, inner)) = path.split_once('/') else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|r| r.name == own) else {
        return vec![format!("engine/{path}:1: {own} is no room of the house")];
    };
    let code = without_comments(source);
    let line = |at: usize| 1 + code[..at].matches('\n').count();
    // `super` climbs one module: mod.rs of a room is one below the crate, each file or folder in it
    // one more.
    let depth = 1 + inner.split('/').filter(|part| *part != "mod.rs").count();
    let mut faults = Vec::new();
    let mut report = |at: usize, name: &str, strict: bool| {
        if !ROOMS.iter().any(|r| r.name == name) {
            if strict {
                faults.push(format!("engine/{path}:{}: crate::{name} names no room", line(at)));
            }
        } else if name != own && !room.uses.contains(&name) {
            faults.push(format!("engine/{path}:{}: {own} may not use {name}", line(at)));
        }
    };
    for (at, _) in code.match_indices("crate::") {
        if !starts_word(&code, at) {
            continue;
        }
        for (at, name) in heads(&code, at + "crate::".len()) {
            report(at, name, true);
        }
    }
    for (at, _) in code.match_indices("super::") {
        let before = &code[..at];
        if !starts_word(&code, at) || before.ends_with("super::") {
            continue;
        }
        let mut end = at;
        while code[end..].starts_with("super::") {
            end += "super::".len();
        }
        if (end - at) / "super::".len() >= depth {
            for (at, name) in heads(&code, end) {
                report(at, name, false);
            }
        }
    }
    for (at, word) in words(&code) {
        if room.silent_on.contains(&word.as_str()) {
            faults.push(format!("engine/{path}:{}: {own} may not know the word {word}", line(at)));
        }
    }
    faults
}

/// The first names of the path or `{…}` group that begins at `at`.
fn heads(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        let length = code[at..].find(|c: char| !is_word(c)).unwrap_or(code.len() - at);
        return if length == 0 { Vec::new() } else { vec![(at, &code[at..at + length])] };
    }
    let (mut found, mut open, mut expecting) = (Vec::new(), 0usize, false);
    for (i, c) in code[at..].char_indices() {
        match c {
            '{' => {
                open += 1;
                expecting = open == 1;
            }
            '}' => {
                open -= 1;
                if open == 0 {
                    break;
                }
            }
            ',' => expecting = open == 1,
            c if is_word(c) && expecting => {
                found.extend(heads(code, at + i));
                expecting = false;
            }
            _ => {}
        }
    }
    found
}

/// Every part of every identifier, lower case: `BeamState` and `beam_state` both say `beam` and
/// `state`.
fn words(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut last_lower = false;
    for (at, c) in code.char_indices() {
        if !c.is_alphanumeric() {
            open = false;
            last_lower = false;
            continue;
        }
        if !open || (last_lower && c.is_uppercase()) {
            found.push((at, String::new()));
            open = true;
        }
        found.last_mut().unwrap().1.extend(c.to_lowercase());
        last_lower = c.is_lowercase();
    }
    found
}

/// The source with line comments cut off; lines keep their numbers.
fn without_comments(source: &str) -> String {
    let cut = |line: &str| {
        let end =
            line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':')).map(|(at, _)| at);
        line[..end.unwrap_or(line.len())].to_string()
    };
    source.lines().map(cut).collect::<Vec<_>>().join("\n")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(is_word)
}
