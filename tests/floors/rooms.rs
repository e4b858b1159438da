//! Who may know whom inside `engine/`.
//!
//! The floors: `base` < {`device`, `data`} < `model` < {`train`, `decode`, `eval`} < `recommender`
//! < `cli`. Rooms of one floor never meet, and `eval` works on predictions alone, so it sees
//! neither model nor device. Below the top floor nothing knows a command line: no parser, no flag.
//! No file may import one that imports it, at however many removes. `lib.rs` and `main.rs` stand
//! outside the floors: they only name the rooms.

use crate::imports::{circles, imports, rooms_of, Files};
use crate::source::{heads, starts_word, words, Source};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms it may use, and words that its code never says.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    silent_on: &'static [&'static str],
}

const ROOMS: [Room; 9] = [
    Room { name: "base", uses: &[], silent_on: &["clap", "cuda", "token", "beam", "trie"] },
    Room { name: "device", uses: &["base"], silent_on: &["clap", "glm", "beam", "trie", "entity"] },
    Room { name: "data", uses: &["base"], silent_on: &["clap", "tensor", "cuda", "gradient"] },
    Room {
        name: "model",
        uses: &["base", "device", "data"],
        silent_on: &["clap", "cuda", "record", "entity", "trie", "beam"],
    },
    Room {
        name: "train",
        uses: &["base", "device", "data", "model"],
        silent_on: &["clap", "beam", "trie"],
    },
    Room {
        name: "decode",
        uses: &["base", "device", "data", "model"],
        silent_on: &["clap", "gradient", "optimiser", "optimizer"],
    },
    Room { name: "eval", uses: &["base", "data"], silent_on: &["clap", "tensor", "cuda"] },
    Room {
        name: "recommender",
        uses: &["base", "device", "data", "model", "train", "decode", "eval"],
        silent_on: &["clap", "terminal", "http"],
    },
    Room {
        name: FACE,
        uses: &["base", "device", "data", "model", "train", "decode", "eval", "recommender"],
        silent_on: &[],
    },
];

/// The room on the top floor: the only one that knows flags.
const FACE: &str = "cli";

/// Verbs that only translate: of the house they name `recommender` and `base` alone.
const TRANSLATORS: [&str; 9] = [
    "cli/check.rs",
    "cli/decode.rs",
    "cli/demo.rs",
    "cli/eval.rs",
    "cli/forward.rs",
    "cli/init.rs",
    "cli/merge.rs",
    "cli/prepare.rs",
    "cli/train.rs",
];

/// Lines that a translation needs at most.
const LINES: usize = 150;

#[test]
fn every_room_uses_only_the_floors_below_it() {
    let faults: Vec<String> =
        tree().iter().flat_map(|(path, source)| judge(path, source)).collect();
    assert!(faults.is_empty(), "{} crossings:\n{}", faults.len(), faults.join("\n"));
}

/// What is mapped can change under its reader, and one room knows what then is to be done.
#[test]
fn files_are_mapped_in_one_room() {
    // `MmapMut` without a file is memory like any other, and so is what `map_anon` gives.
    let maps = |code: &str| {
        let mut named = code.match_indices("Mmap").map(|(at, _)| &code[at + "Mmap".len()..]);
        let memory = |rest: &str| {
            rest.starts_with("Mut") || rest.starts_with("Options") && code.contains(".map_anon(")
        };
        named.any(|rest| !memory(rest)) || code.contains("::map_mut(")
    };
    let tree = tree();
    let found = tree.iter().filter(|(_, source)| maps(&Source::read(source).code));
    let found: Vec<&str> = found.map(|(path, _)| &**path).collect();
    assert_eq!(found, ["base/map.rs"], "files are mapped by base::Map");
}

#[test]
fn no_imports_run_in_a_circle() {
    let graph = imports(&tree());
    assert_eq!(circles(&graph), Vec::<Vec<&str>>::new(), "files that use each other");
    let rooms = rooms_of(&graph);
    assert_eq!(circles(&rooms), Vec::<Vec<&str>>::new(), "rooms that use each other");
}

#[test]
fn verbs_only_translate() {
    let tree = tree();
    for verb in TRANSLATORS {
        let (path, source) = tree.iter().find(|(path, _)| path == verb).expect(verb);
        let allowed = ["base", "recommender", FACE];
        let more = rooms_named(path, &Source::read(source));
        let more: Vec<_> = more.into_iter().filter(|name| !allowed.contains(name)).collect();
        assert!(more.is_empty(), "{path}: expected recommender and base alone, got {more:?}");
        let lines = source.lines().count();
        assert!(lines <= LINES, "{path}: expected {LINES} lines at most, got {lines}");
    }
}

/// Every file of `engine/`, by its path below it.
fn tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > ROOMS.len(), "engine: expected a source tree, got {} files", files.len());
    let named = |path: PathBuf| {
        let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        (inside, fs::read_to_string(&path).unwrap())
    };
    files.into_iter().map(named).collect()
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
        (
            "eval/ranking.rs",
            "#[derive(clap::ValueEnum)]",
            "engine/eval/ranking.rs:1: eval may not know the word clap",
        ),
        (
            "data/task.rs",
            "\nlet s = \"room\n --max-row: expected\";",
            "engine/data/task.rs:3: data may not name a flag: --max-row",
        ),
        (
            "recommender/mod.rs",
            "let s = ('\"', r#\"\"--keep\"#);",
            "engine/recommender/mod.rs:1: recommender may not name a flag: --keep",
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
        ("cli/exit.rs", "use clap::Arg; let s = \"see --help\";"),
        ("data/task.rs", "let x = y--z; // \"--keep\"\nlet s = \"a -- b, setting `keep`\";"),
        ("device/mod.rs", "/* it's --keep */ fn f<'a>(x: &'a str, c: char) -> bool { c == '\"' }"),
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
    let Source { code, texts } = Source::read(source);
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
    for (at, text) in texts.iter().filter(|_| own != FACE) {
        for (inside, _) in text.match_indices("--") {
            let name: String = text[inside + 2..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            if !text[..inside].ends_with('-') && name.starts_with(|c: char| c != '-') {
                let at = line(at + inside);
                faults.push(format!("engine/{path}:{at}: {own} may not name a flag: --{name}"));
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

/// The rooms that a file names.
fn rooms_named(path: &str, source: &Source) -> BTreeSet<&'static str> {
    let files = Files::new([(path, source)]);
    let room =
        |path: &Vec<String>| ROOMS.iter().find(|r| Some(r.name) == path.first().map(|n| &**n));
    files.paths(path).iter().filter_map(room).map(|room| room.name).collect()
}
