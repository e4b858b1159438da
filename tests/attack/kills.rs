//! Killed at moments that nobody chose, between two file operations or within one: a training and a
//! decoding go on to the same bytes; a filter's host hears every answer once.

use crate::faults;
use crate::interpose::{self, engine};
use crate::tree;
use crate::verbs::{self, Verb};
use crate::Extent;
use engine::base::{Philox, Stream};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Kills of a whole walk and of a sample, of each verb.
const KILLS: [usize; 2] = [100, 4];

/// Starts it and kills it after a random part of `usual`; whether that met something alive, and
/// standard output.
fn killed(mut command: Command, usual: Duration, rng: &mut Philox) -> (bool, Vec<u8>) {
    let mut child = command.spawn().unwrap();
    std::thread::sleep(usual.mul_f64(rng.uniform()));
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let met = output.status.signal() == Some(9);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(met || output.status.success(), "{}: {words}", output.status);
    (met, output.stdout)
}

/// Kills until as many as asked have met something alive.
fn kill(name: &str, mut once: impl FnMut(&mut Philox) -> bool) {
    let extent = Extent::of(&format!("kills of {name}"), 8);
    let mut rng = Philox::new(extent.seed, Stream::Synthetic, 1);
    let (mut met, mut tried) = (0, 0);
    while met < KILLS[usize::from(!extent.whole)] && !extent.over() {
        tried += 1;
        met += usize::from(once(&mut rng));
    }
    println!("{name}: {met} kills met it alive, {tried} tried");
    assert!(met > 0, "seed {}", extent.seed);
}

/// Runs undisturbed; how long that takes, and the folder.
fn undisturbed(verb: &Verb) -> (Duration, tree::Tree) {
    let folder = verbs::trial(&verb.start);
    let begun = Instant::now();
    let ended = interpose::end(engine(folder.path(), &verb.words), None);
    assert_eq!(ended.code, Some(0), "{}: {}", verb.name, ended.error);
    (begun.elapsed(), tree::read(folder.path()))
}

fn resumes(verb: &Verb) {
    let (usual, end) = undisturbed(verb);
    kill(verb.name, |rng| {
        let folder = verbs::trial(&verb.start);
        let (met, _) = killed(engine(folder.path(), &verb.words), usual, rng);
        if met {
            faults::again(verb, folder.path(), &end)
                .unwrap_or_else(|words| panic!("{}: {words}", verb.name));
        }
        met
    });
}

#[test]
fn a_training_killed_at_any_moment_goes_on() {
    resumes(&verbs::long_training());
}

#[test]
fn a_decoding_killed_at_any_moment_goes_on() {
    resumes(&verbs::long_decoding());
}

/// The host asks again what it has no whole answer to.
#[test]
fn a_filter_killed_at_any_moment_loses_and_doubles_no_line() {
    let folder = verbs::trial(&tree::Tree::new());
    let asked: Vec<String> = (0..60)
        .map(|i| format!("{{\"id\": {i}, \"history\": [{}, {}]}}\n", i % 30 + 1, i * 7 % 30 + 1))
        .collect();
    let filter = |from: usize| {
        let path = folder.path().join("prompts");
        fs::write(&path, asked[from..].concat()).unwrap();
        let mut command = engine(folder.path(), &verbs::filter());
        command.stdin(fs::File::open(path).unwrap());
        command
    };
    let begun = Instant::now();
    let whole = filter(0).output().unwrap();
    assert!(whole.status.success());
    let (usual, whole) = (begun.elapsed(), tree::timeless("a.jsonl", &whole.stdout));
    kill("filter", |rng| {
        let (met, mut heard) = killed(filter(0), usual, rng);
        if met {
            let end = heard.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            heard.truncate(end);
            let answered = heard.iter().filter(|&&b| b == b'\n').count();
            let rest = filter(answered).output().unwrap();
            assert!(rest.status.success());
            heard.extend(rest.stdout);
            assert!(tree::timeless("a.jsonl", &heard) == whole, "after {answered} answers");
        }
        met
    });
}
