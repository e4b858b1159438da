//! The machine stops: what was not synced may be lost. From the recorded operations of a verb, for
//! every moment, the folders that may be found afterwards are made anew: all of what was not yet
//! synced is lost, none of it, or any single operation.
//!
//! A file's contents are on disk once the file is synced, a name (made, renamed, removed) once its
//! folder is; until then each may be lost by itself. That is less than any file system promises.

use crate::faults;
use crate::interpose::{self, Op};
use crate::tree::{self, Tree};
use crate::verbs::{self, Verb};
use crate::{each, Extent};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A file or folder, whatever its name.
type Node = usize;

/// What an operation did.
#[derive(Debug)]
enum Effect {
    /// Names and what they stand for from then on, in the folder that has to be synced.
    Names(Node, Vec<((Node, String), Option<Node>)>),
    /// Bytes at a place of a file.
    Bytes(Node, usize, Vec<u8>),
    /// The length of a file.
    Length(Node, usize),
    /// What is known of a file or folder is on disk.
    Sync(Node),
}

/// The recorded operations, with names resolved to what they stood for.
struct Recorded {
    effects: Vec<Effect>,
    is_folder: Vec<bool>,
    /// How many of the effects made what stood there before.
    before: usize,
    /// Whether that is to go.
    replaces: bool,
}

/// The folder of the trial.
const TOP: Node = 0;

/// Names as they are when everything arrives.
struct Names(BTreeMap<(Node, String), Node>);

impl Names {
    /// The folder of a path and its last part.
    fn place(&self, path: &str) -> (Node, String) {
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop().unwrap().to_owned();
        let step = |folder, part: &&str| self.0[&(folder, (*part).to_owned())];
        (parts.iter().fold(TOP, step), last)
    }

    /// Renames, makes or removes; the last place says which folder has to be synced.
    fn change(&mut self, changes: Vec<((Node, String), Option<Node>)>) -> Effect {
        for (place, node) in &changes {
            match node {
                Some(node) => self.0.insert(place.clone(), *node),
                None => self.0.remove(place),
            };
        }
        Effect::Names(changes.last().expect("a change").0 .0, changes)
    }

    fn find(&self, path: &str) -> Node {
        if path.is_empty() {
            return TOP;
        }
        self.0[&self.place(path)]
    }
}

fn recorded(verb: &Verb, ops: &[Op]) -> Recorded {
    let (mut effects, mut is_folder) = (Vec::new(), vec![true]);
    let mut names = Names(BTreeMap::new());
    for (path, bytes) in &verb.start {
        let node = is_folder.len();
        is_folder.push(path.ends_with('/'));
        let place = names.place(path.trim_end_matches('/'));
        effects.push(names.change(vec![(place, Some(node))]));
        effects.push(Effect::Bytes(node, 0, bytes.clone()));
    }
    effects.extend((0..is_folder.len()).map(Effect::Sync));
    let before = effects.len();
    for op in ops {
        // The first part is the folder of the trial.
        let inside = |path: &str| path.split_once('/').map_or("", |(_, path)| path).to_owned();
        let (path, number) = (inside(&op.path), || op.second.parse().unwrap());
        effects.push(match op.what.as_str() {
            "open" => continue,
            "create" | "mkdir" => {
                is_folder.push(op.what == "mkdir");
                let place = names.place(&path);
                names.change(vec![(place, Some(is_folder.len() - 1))])
            }
            "rename" => {
                let (from, to) = (path, inside(&op.second));
                let node = names.find(&from);
                let (from, to) = (names.place(&from), names.place(&to));
                names.change(vec![(from, None), (to, Some(node))])
            }
            "remove" => {
                let place = names.place(&path);
                names.change(vec![(place, None)])
            }
            "write" => Effect::Bytes(names.find(&path), number(), op.bytes.clone()),
            "truncate" => Effect::Length(names.find(&path), number()),
            "sync" => Effect::Sync(names.find(&path)),
            other => panic!("{other} {path}: say here what a crash makes of it"),
        });
    }
    let replaces = verb.words.iter().any(|word| word == "--force");
    Recorded { effects, is_folder, before, replaces }
}

impl Recorded {
    /// Of the first `count` effects, those that nothing has put on disk yet.
    fn pending(&self, count: usize) -> Vec<usize> {
        let synced = |i: usize, node: Node| {
            let later = &self.effects[i + 1..count];
            later.iter().any(|effect| matches!(effect, Effect::Sync(synced) if *synced == node))
        };
        (0..count)
            .filter(|&i| match &self.effects[i] {
                Effect::Names(node, _) | Effect::Bytes(node, ..) | Effect::Length(node, _) => {
                    !synced(i, *node)
                }
                Effect::Sync(_) => false,
            })
            .collect()
    }

    /// What is found when of the first `count` effects these are lost.
    fn tree(&self, count: usize, lost: &[usize]) -> Tree {
        let mut names = BTreeMap::new();
        let mut contents: BTreeMap<Node, Vec<u8>> = BTreeMap::new();
        let arrived = self.effects[..count].iter().enumerate().filter(|(i, _)| !lost.contains(i));
        for (_, effect) in arrived {
            match effect {
                Effect::Names(_, changes) => {
                    for (place, node) in changes {
                        match node {
                            Some(node) => names.insert(place.clone(), *node),
                            None => names.remove(place),
                        };
                    }
                }
                Effect::Bytes(node, at, bytes) => {
                    let file = contents.entry(*node).or_default();
                    file.resize(file.len().max(at + bytes.len()), 0);
                    file[*at..at + bytes.len()].copy_from_slice(bytes);
                }
                Effect::Length(node, length) => {
                    contents.entry(*node).or_default().resize(*length, 0)
                }
                Effect::Sync(_) => {}
            }
        }
        let mut tree = Tree::new();
        let mut open = vec![(TOP, String::new())];
        while let Some((folder, path)) = open.pop() {
            let inside = names.range((folder, String::new())..(folder + 1, String::new()));
            for ((_, name), &node) in inside {
                if self.is_folder[node] {
                    tree.insert(format!("{path}{name}/"), Vec::new());
                    open.push((node, format!("{path}{name}/")));
                } else {
                    let bytes = contents.get(&node).cloned().unwrap_or_default();
                    tree.insert(format!("{path}{name}"), bytes);
                }
            }
        }
        tree
    }
}

/// A folder that may be found.
struct State {
    /// When, in effects.
    count: usize,
    /// Which of them are lost.
    lost: Vec<usize>,
    /// What was finished and on disk at that moment or before.
    finished: Finished,
}

/// What no later moment may lose: the newest checkpoint, a published adapter or weights, lines that
/// are whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Finished {
    step: Option<u64>,
    published: bool,
    lines: usize,
}

impl Finished {
    fn of(tree: &Tree) -> Finished {
        let lines = tree.get("p.jsonl").map_or(&[][..], Vec::as_slice);
        let is_whole = |line: &&[u8]| {
            line.ends_with(b"\n") && serde_json::from_slice::<serde_json::Value>(line).is_ok()
        };
        Finished {
            step: faults::newest(tree),
            published: ["adapter_model", "model"]
                .iter()
                .any(|name| tree.contains_key(&format!("run/{name}.safetensors"))),
            lines: lines.split_inclusive(|&byte| byte == b'\n').take_while(is_whole).count(),
        }
    }

    /// Whether it has less than was finished.
    fn lacks(self, finished: Finished) -> bool {
        self.or(finished) != self
    }

    /// The more of both.
    fn or(self, other: Finished) -> Finished {
        Finished {
            step: self.step.max(other.step),
            published: self.published || other.published,
            lines: self.lines.max(other.lines),
        }
    }
}

/// Every folder that may be found, each once, but for those `seen` before.
fn states(recorded: &Recorded, seen: &mut HashSet<u64>) -> Vec<State> {
    let mut states = Vec::new();
    let mut finished = Finished::default();
    for count in recorded.before..=recorded.effects.len() {
        let pending = recorded.pending(count);
        if !recorded.replaces {
            finished = finished.or(Finished::of(&recorded.tree(count, &pending)));
        }
        let mut losses = vec![Vec::new(), pending.clone()];
        losses.extend(pending.iter().map(|&one| vec![one]));
        for lost in losses {
            let tree = recorded.tree(count, &lost);
            let mut hasher = DefaultHasher::new();
            tree.hash(&mut hasher);
            let is_new = seen.insert(hasher.finish());
            if is_new || Finished::of(&tree).lacks(finished) {
                states.push(State { count, lost, finished });
            }
        }
    }
    states
}

/// Runs a verb and hands on what it did and how its folder looks.
fn record(verb: &Verb) -> (Recorded, Tree) {
    let folder = verbs::trial(&verb.start);
    let (log, ended) = verbs::run_logged(&verb.words, verb.input.as_deref(), folder.path());
    assert_eq!(ended.code, Some(0), "{}: {}", verb.name, ended.error);
    let (recorded, end) = (recorded(verb, &log.writes), tree::read(folder.path()));
    let all = recorded.tree(recorded.effects.len(), &[]);
    assert_eq!(tree::difference(&all, &end), None, "{}: not all was recorded", verb.name);
    (recorded, end)
}

/// Whether a verb comes to its end from what may be found, and nothing finished is missing there.
fn crash(verb: &Verb, recorded: &Recorded, end: &Tree, state: &State) -> Result<(), String> {
    let State { count, lost, finished } = state;
    let tree = recorded.tree(*count, lost);
    let found = Finished::of(&tree);
    let ended = match found.lacks(*finished) {
        true => Err(format!("expected {finished:?}, found {found:?}")),
        false => faults::again(verb, verbs::trial(&tree).path(), end),
    };
    ended.map_err(|words| {
        let names: Vec<&String> = tree.keys().collect();
        format!("{}: {count} effects without {lost:?}: {words}; was {names:?}", verb.name)
    })
}

fn crashes(name: &str, seconds: u64, is_meant: impl Fn(&str) -> bool) {
    if interpose::library().is_none() {
        return;
    }
    let meant = verbs::all().into_iter().filter(|verb| is_meant(verb.name));
    let recorded: Vec<_> = meant.map(|verb| (record(&verb), verb)).collect();
    let mut all = Vec::new();
    for ((recorded, end), verb) in &recorded {
        let found = states(recorded, &mut HashSet::new());
        println!("{}: {} states", verb.name, found.len());
        all.extend(found.into_iter().map(|state| (verb, recorded, end, state)));
    }
    let extent = Extent::of(&format!("crashes of {name}"), seconds);
    if !extent.whole {
        extent.shuffle(&mut all);
    }
    let (against, tried) =
        each(&extent, &all, |_, (verb, recorded, end, state)| crash(verb, recorded, end, state));
    println!("{name}: {tried} of {} states, {} failures", all.len(), against.len());
    let shown: Vec<&String> = against.iter().take(100).collect();
    assert!(against.is_empty(), "seed {}: {shown:#?}", extent.seed);
}

#[test]
fn a_training_goes_on_after_every_crash() {
    crashes("train", 6, |name| name == "train");
}

#[test]
fn a_decoding_goes_on_after_every_crash() {
    crashes("decode", 4, |name| name == "decode");
}

/// Of which step the model file of a run is, is never said wrongly: at every moment of a training
/// the record is of the file beside it, or there is none.
#[test]
fn the_record_is_of_the_model_file_beside_it() {
    if interpose::library().is_none() {
        return;
    }
    for (name, file) in
        [("train", "run/adapter_model.safetensors"), ("train all weights", "run/model.safetensors")]
    {
        let verb = verbs::all().into_iter().find(|verb| verb.name == name).unwrap();
        let (recorded, _) = record(&verb);
        let (mut models, mut said) = (BTreeMap::new(), 0);
        for count in recorded.before..=recorded.effects.len() {
            let tree = recorded.tree(count, &[]);
            let Some(record) = tree.get("run/published.json") else { continue };
            let model = tree.get(file).unwrap_or_else(|| panic!("{name}: {count}: no model"));
            let first = models.entry(record.clone()).or_insert_with(|| model.clone());
            assert!(first == model, "{name}: {count}: another model under the same record");
            said += 1;
        }
        assert!(models.len() > 1 && said > 10, "{name}: {} of {said}", models.len());
        let distinct: HashSet<&Vec<u8>> = models.values().collect();
        assert_eq!(distinct.len(), models.len(), "{name}: a step for each model");
    }
}

/// Those that go on, and those that are begun again; but for the demo, whose parts are here.
#[test]
fn every_other_verb_comes_to_its_end_after_every_crash() {
    crashes("other verbs", 6, |name| !["train", "decode", "demo"].contains(&name));
}

/// What of the end is not there if the machine stops right behind it.
fn missing(recorded: &Recorded, end: &Tree) -> Option<String> {
    let count = recorded.effects.len();
    let mut found = faults::finished(&recorded.tree(count, &recorded.pending(count)));
    faults::keep_newest(&mut found);
    tree::difference(&found, end)
}

/// What a verb that ended has made is there whatever happens then.
#[test]
fn what_is_finished_is_on_disk() {
    if interpose::library().is_none() {
        return;
    }
    for verb in verbs::all() {
        let (recorded, end) = record(&verb);
        assert_eq!(missing(&recorded, &end), None, "{}", verb.name);
    }
}

/// These tests can fail: a program that left out a sync would be found out, by what is missing at
/// its end or, where all is walked, by a crash on the way.
#[test]
fn a_sync_that_is_missing_is_found_out() {
    if interpose::library().is_none() {
        return;
    }
    let extent = Extent::of("missing syncs", 0);
    for verb in verbs::all().into_iter().filter(|verb| ["train", "decode"].contains(&verb.name)) {
        let (mut recorded, end) = record(&verb);
        let mut known = HashSet::new();
        states(&recorded, &mut known);
        let (mut syncs, mut at_end, mut on_the_way) = (0, 0, 0);
        for at in recorded.before..recorded.effects.len() {
            if !matches!(recorded.effects[at], Effect::Sync(_)) {
                continue;
            }
            // In its place what does nothing.
            let sync = std::mem::replace(&mut recorded.effects[at], Effect::Names(TOP, Vec::new()));
            syncs += 1;
            if missing(&recorded, &end).is_some() {
                at_end += 1;
            } else if extent.whole {
                let new = states(&recorded, &mut known.clone());
                let fails = |state: &State| crash(&verb, &recorded, &end, state).is_err();
                match new.iter().any(fails) {
                    true => on_the_way += 1,
                    false => println!("{}: sync {at}, {sync:?}, is not missed", verb.name),
                }
            }
            recorded.effects[at] = sync;
        }
        println!("{}: {syncs} syncs; missed at the end {at_end}, before {on_the_way}", verb.name);
        assert!(at_end > 3, "{}: {at_end}", verb.name);
    }
}
