//! A disk that fails or fills, and kills, at every file operation of every verb.

use crate::interpose::{self, Attack, Class, Ended, How, EIO, ENOSPC};
use crate::tree::{self, Tree};
use crate::verbs::{self, Verb};
use crate::{each, Extent};
use std::collections::BTreeMap;
use std::path::Path;

/// A verb that was run undisturbed.
struct Known {
    verb: Verb,
    end: Tree,
    /// What each operation does; nothing where it failed by itself.
    writes: Vec<String>,
    reads: u64,
}

fn know(verb: Verb) -> Known {
    let folder = verbs::trial(&verb.start);
    let (log, ended) = verbs::run_logged(&verb.words, verb.input.as_deref(), folder.path());
    assert_eq!(ended.code, Some(0), "{}: {}", verb.name, ended.error);
    let end = tree::read(folder.path());
    let mut writes = vec![String::new(); log.count as usize];
    for op in &log.writes {
        let path = op.path.split_once('/').map_or("", |(_, path)| path);
        writes[op.number as usize - 1] = format!("{} {path}", op.what);
    }
    Known { verb, end, writes, reads: log.reads }
}

/// Every operation with everything that can befall it.
fn attacks(known: &Known) -> Vec<Attack> {
    let mut all = Vec::new();
    for (i, what) in known.writes.iter().enumerate() {
        let at = i as u64 + 1;
        let ways = [
            How::Once(ENOSPC),
            How::On(ENOSPC),
            How::Once(EIO),
            How::On(EIO),
            How::Kill,
            How::Torn,
        ];
        let fits = |how: &How| *how != How::Torn || what.starts_with("write");
        all.extend(ways.into_iter().filter(fits).map(|how| Attack {
            class: Class::Write,
            at,
            how,
        }));
    }
    for at in 1..=known.reads {
        let ways = [How::Once(EIO), How::On(EIO)];
        all.extend(ways.map(|how| Attack { class: Class::Read, at, how }));
    }
    all
}

fn is_left_over(name: &str) -> bool {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    [".partial", ".tmp", ".engine.lock"].iter().any(|end| last.ends_with(end))
}

/// A folder without what was begun and not finished.
pub fn finished(tree: &Tree) -> Tree {
    let stays = |(name, _): &(&String, &Vec<u8>)| !name.split('/').any(is_left_over);
    tree.iter().filter(stays).map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
}

/// One of our exit codes, one line, no panic.
fn sentence(ended: &Ended) -> Result<(), String> {
    let words = ended.error.trim_end();
    match ended.code {
        Some(0) => return Ok(()),
        Some(2..=6) => {}
        _ => return Err(format!("ended with {:?} {:?}: {words}", ended.code, ended.signal)),
    }
    let mut lines = words.lines().filter(|line| !line.starts_with("warning: "));
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() || !first.starts_with("engine: ") || first.contains("our fault") {
        return Err(format!("expected one line, got {words}"));
    }
    Ok(())
}

/// The step of the checkpoint that a name belongs to.
fn step(name: &str) -> Option<u64> {
    name.strip_prefix("run/checkpoints/step-")?.split('/').next()?.parse().ok()
}

/// The step of the newest checkpoint.
pub fn newest(tree: &Tree) -> Option<u64> {
    tree.keys().filter_map(|name| step(name)).max()
}

/// Takes away all checkpoints but the newest, which is the one that is kept.
pub fn keep_newest(tree: &mut Tree) {
    let newest = newest(tree);
    tree.retain(|name, _| step(name).is_none() || step(name) == newest);
}

/// One attack: how it ends, what is left, and that the verb then comes to the same end.
fn attempt(known: &Known, attack: Attack) -> Result<(), String> {
    let verb = &known.verb;
    let folder = verbs::trial(&verb.start);
    let mut command = interpose::engine(folder.path(), &verb.words);
    interpose::under(&mut command, verbs::root(), Some(attack), None);
    let ended = interpose::end(command, verb.input.as_deref());
    let dies = matches!(attack.how, How::Kill | How::Torn);
    let left = tree::read(folder.path());
    if dies {
        if ended.signal != Some(9) {
            return Err(format!("was not killed: {:?} {}", ended.code, ended.error));
        }
    } else {
        sentence(&ended)?;
        let removes = known.writes.get(attack.at as usize - 1);
        let removes = removes.is_some_and(|what| what.starts_with("remove"));
        // A disk on which nothing can be removed keeps what was begun.
        let left_by_it = |name: &str| is_left_over(name) && !verb.start.contains_key(name);
        let may_stay = matches!(attack.how, How::On(EIO)) || removes;
        if let Some(name) = left.keys().find(|name| left_by_it(name) && !may_stay) {
            return Err(format!("{name} was left behind; {:?} {}", ended.code, ended.error));
        }
        if ended.code == Some(0) {
            if let Some(what) = tree::difference(&finished(&left), &known.end) {
                return Err(format!("said that all was well, but the folder {what}"));
            }
        }
    }
    again(verb, folder.path(), &known.end)
        .map_err(|words| format!("{words}; before: {:?} {}", ended.code, ended.error))
}

/// Runs a verb again where something stopped it: it comes to the end to which it comes undisturbed.
pub fn again(verb: &Verb, folder: &Path, expected: &Tree) -> Result<(), String> {
    let mut said = String::new();
    for more in verb.again {
        let words: Vec<String> = verb.words.iter().cloned().chain(verbs::words(more)).collect();
        let again = interpose::engine(folder, &words);
        let again = interpose::end(again, verb.input.as_deref());
        if again.code == Some(2) {
            said += &again.error;
            continue;
        }
        if again.code != Some(0) {
            return Err(format!("again {more}: {:?} {}", again.code, again.error));
        }
        let mut end = tree::read(folder);
        keep_newest(&mut end);
        let what = tree::difference(&finished(&end), expected);
        return what.map_or(Ok(()), |what| Err(format!("again {more}: the folder {what}; {said}")));
    }
    Err(format!("cannot be run again: {said}"))
}

fn walk(seconds: u64, names: impl Fn(&str) -> bool) {
    if interpose::library().is_none() {
        return;
    }
    let base = tree::read(&verbs::root().join("base"));
    let known: Vec<Known> =
        verbs::all().into_iter().filter(|verb| names(verb.name)).map(know).collect();
    let extent = Extent::of("faults", seconds);
    let mut all: Vec<(&Known, Attack)> =
        known.iter().flat_map(|k| attacks(k).into_iter().map(move |a| (k, a))).collect();
    if !extent.whole {
        extent.shuffle(&mut all);
    }
    let counts = std::sync::Mutex::new(BTreeMap::<_, [usize; 2]>::new());
    let (against, tried) = each(&extent, &all, |_, (known, attack)| {
        let ended = attempt(known, *attack);
        let way = format!("{:?} {:?}", attack.class, attack.how);
        let mut counts = counts.lock().unwrap();
        let [tried, failed] = counts.entry((known.verb.name, way)).or_default();
        *tried += 1;
        *failed += usize::from(ended.is_err());
        let what = match attack.class {
            Class::Write => known.writes[attack.at as usize - 1].as_str(),
            Class::Read => "a read",
        };
        ended.map_err(|words| format!("{}: {attack:?} {what}: {words}", known.verb.name))
    });
    for ((verb, way), [tried, failed]) in counts.into_inner().unwrap() {
        println!("{verb} | {way} | {tried} | {failed}");
    }
    let of = all.len();
    println!("{tried} of {of} attacks, {} failures", against.len());
    assert_eq!(tree::difference(&tree::read(&verbs::root().join("base")), &base), None, "inputs");
    let shown: Vec<&String> = against.iter().take(2000).collect();
    assert!(against.is_empty(), "seed {}: {shown:#?}", extent.seed);
}

#[test]
fn no_failure_of_the_disk_and_no_kill_loses_anything() {
    let only = std::env::var("ENGINE_ATTACK_ONLY").unwrap_or_default();
    walk(15, |name| only.is_empty() || name == only);
}

/// What is walked are all verbs that the program has, but for those that write nothing.
#[test]
fn every_verb_is_attacked() {
    if interpose::library().is_none() {
        return;
    }
    let help = interpose::engine(verbs::root(), &verbs::words("--help")).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let mut names: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|name| *name != "help");
    assert!(names.len() > 5, "the help was not understood: {help}");
    let walked = verbs::all();
    names.retain(|name| !walked.iter().any(|verb| verb.words[0] == *name));
    for name in names {
        let words = match name {
            "doctor" => "doctor",
            "check" => "check ../base/source",
            "inspect" => "inspect ../base/w",
            other => panic!("{other}: is attacked nowhere; add it to verbs.rs"),
        };
        let folder = verbs::trial(&Tree::new());
        let (log, ended) = verbs::run_logged(&verbs::words(words), None, folder.path());
        assert_eq!(ended.code, Some(0), "{words}: {}", ended.error);
        assert_eq!(log.count, 0, "{words} writes: {:?}", log.writes.first());
    }
}
