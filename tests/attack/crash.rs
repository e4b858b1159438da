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

fn recorded(ops: &[Op]) -> Recorded {
    let (mut effects, mut is_folder) = (Vec::new(), vec![true]);
    let mut names = Names(BTreeMap::new());
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
    Recorded { effects, is_folder }
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

    fn makes_folder(&self, i: usize) -> bool {
        match &self.effects[i] {
            Effect::Names(_, changes) => {
                changes.iter().any(|(_, node)| node.is_some_and(|node| self.is_folder[node]))
            }
            _ => false,
        }
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

/// A folder that may be found, and when.
struct State {
    tree: Tree,
    what: String,
}

/// Every folder that may be found, each once.
fn states(recorded: &Recorded) -> Vec<State> {
    let (mut seen, mut states) = (HashSet::new(), Vec::new());
    for count in 0..=recorded.effects.len() {
        let pending = recorded.pending(count);
        let mut losses = vec![Vec::new(), pending.clone()];
        losses.extend(pending.iter().map(|&one| vec![one]));
        for lost in losses {
            let tree = recorded.tree(count, &lost);
            let mut hasher = DefaultHasher::new();
            tree.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                let what = format!("{count} effects, without {lost:?} of {pending:?}");
                states.push(State { tree, what });
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
    let (recorded, end) = (recorded(&log.writes), tree::read(folder.path()));
    let all = recorded.tree(recorded.effects.len(), &[]);
    assert_eq!(tree::difference(&all, &end), None, "{}: not all was recorded", verb.name);
    (recorded, end)
}

fn crashes(name: &str, seconds: u64) {
    if interpose::library().is_none() {
        return;
    }
    let verb = verbs::all().into_iter().find(|verb| verb.name == name).unwrap();
    let (recorded, end) = record(&verb);
    let extent = Extent::of(&format!("crashes of {name}"), seconds);
    let mut all = states(&recorded);
    if !extent.whole {
        extent.shuffle(&mut all);
    }
    let (against, tried) = each(&extent, &all, |_, state| {
        let folder = verbs::trial(&state.tree);
        faults::again(&verb, folder.path(), &end)
            .map_err(|words| format!("{}: {words}; was {:?}", state.what, state.tree.keys()))
    });
    println!("{name}: {tried} of {} states, {} failures", all.len(), against.len());
    assert!(against.is_empty(), "seed {}: {against:#?}", extent.seed);
}

#[test]
fn a_training_goes_on_after_every_crash() {
    crashes("train", 6);
}

#[test]
fn a_decoding_goes_on_after_every_crash() {
    crashes("decode", 4);
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
        for count in 0..=recorded.effects.len() {
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

/// What a verb that ended has made is there whatever happens then. Folders that it made may be gone
/// with all that is in them: their names are synced by nobody.
#[test]
fn what_is_finished_is_on_disk() {
    if interpose::library().is_none() {
        return;
    }
    let (mut held, not_yet) = (0, ["prepare", "decode", "filter", "demo"]);
    for verb in verbs::all().iter().filter(|verb| !not_yet.contains(&verb.name)) {
        if verb.start.is_empty() {
            let (recorded, end) = record(verb);
            let count = recorded.effects.len();
            let mut lost = recorded.pending(count);
            lost.retain(|&i| !recorded.makes_folder(i));
            let mut found = faults::finished(&recorded.tree(count, &lost));
            faults::keep_newest(&mut found);
            assert_eq!(tree::difference(&found, &end), None, "{}", verb.name);
            held += 1;
        }
    }
    assert!(held > 4, "{held}");
}
