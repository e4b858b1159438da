//! A filter for a long time: lines of every kind, one answer to each in its order, and memory that
//! stays what it was. `ENGINE_SOAK=1000000` is the whole walk, in some minutes.

use crate::shop::numbered;
use engine::base::{Philox, Stream};
use serde_json::{json, Value};
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ITEMS: usize = 40;

/// Bytes of a line at most, for the filter; the longest that are sent have three times as many.
const LONGEST: usize = 64 << 10;

fn title(item: usize) -> String {
    format!("{} {} {item}", ["Red", "Blue", "Tiny", "Grand"][item % 4], ["Kite", "Drum"][item % 2])
}

/// What must be in the answer to a line.
enum Expected {
    /// Its id and this key.
    Answer(&'static str),
    /// Its id, and why there is none.
    Refusal(&'static str),
    /// No id, and why.
    Nameless(&'static str),
}

/// Line number i, a function of i alone, and what is to come of it.
fn line(i: usize) -> (Vec<u8>, Expected) {
    let mut rng = Philox::new(1, Stream::Synthetic, i as u64);
    let items: Vec<usize> = (0..1 + rng.below(6)).map(|_| 1 + rng.below(ITEMS)).collect();
    let titles: Vec<String> = items.iter().map(|item| title(item - 1)).collect();
    let said = |value: Value| value.to_string().into_bytes();
    let long = |bytes: usize| vec![1; bytes / 2];
    match rng.below(1000) {
        0..300 => (said(json!({"id": i, "history": items})), Expected::Answer("items")),
        300..450 => (said(json!({"id": i, "history": titles})), Expected::Answer("items")),
        450..550 => (
            said(json!({"id": i, "history": titles, "candidates": items})),
            Expected::Answer("items"),
        ),
        550..600 => (
            said(json!({"id": i, "text": format!("{} is like [MASK]", titles[0])})),
            Expected::Answer("text"),
        ),
        600..700 => (
            said(json!({"id": i, "history": [format!("no such thing {i}")]})),
            Expected::Refusal("item: \"no such thing"),
        ),
        700..800 => (b"no line".to_vec(), Expected::Nameless("JSON")),
        800..850 => (vec![b'{', 0xff, 0xfe, b'}'], Expected::Nameless("JSON")),
        850..900 => (
            [br#"{"id": "#, i.to_string().as_bytes(), b", \"history\": [\"\xff\"]}"].concat(),
            Expected::Refusal("unicode"),
        ),
        900..950 => (b"{\"id\": 1, \"history\": [1".to_vec(), Expected::Nameless("JSON")),
        950..980 => (said(json!({"history": items})), Expected::Nameless("id")),
        980..990 => {
            (said(json!({"id": i, "history": long(LONGEST - 100)})), Expected::Answer("items"))
        }
        990..995 => (
            said(json!({"id": i, "text": "[MASK]".to_owned() + &"x".repeat(LONGEST - 100)})),
            Expected::Refusal("text: expected at most"),
        ),
        _ => (
            said(json!({"id": i, "history": long(3 * LONGEST)})),
            Expected::Nameless("a line of at most"),
        ),
    }
}

fn judge(i: usize, answer: &str) {
    let (line, expected) = line(i);
    let told = || format!("line {i}: {}: {answer}", String::from_utf8_lossy(&line));
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|e| panic!("{e}: {}", told()));
    let error = answer["error"].as_str();
    match expected {
        Expected::Answer(key) => {
            assert!(answer["id"] == i && error.is_none() && !answer[key].is_null(), "{}", told())
        }
        Expected::Refusal(words) => {
            assert!(answer["id"] == i && error.is_some_and(|e| e.contains(words)), "{}", told())
        }
        Expected::Nameless(words) => {
            assert!(
                answer["id"].is_null() && error.is_some_and(|e| e.contains(words)),
                "{}",
                told()
            )
        }
    }
}

fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000
}

fn engine(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--device", "cpu", "--threads", "1", "--quiet"]);
    command.args(words.split_whitespace());
    command
}

#[test]
fn a_filter_answers_every_line_once_and_its_memory_stays() {
    let lines: usize = std::env::var("ENGINE_SOAK").map_or(3000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let item = |i: usize| json!({"id": i + 1, "title": title(i)}).to_string();
    numbered(folder.path(), ITEMS, 60, 6, item);
    for words in [
        "prepare source --train-tokenizer 300 --out shop.bin",
        "init --model config.json --tokenizer tokenizer.json --out w",
    ] {
        assert!(engine(folder.path(), words).output().unwrap().status.success(), "{words}");
    }
    let words = format!(
        "decode --weights w --data shop.bin --beams 2 --top 1 --max-new-tokens 2 \
         --max-line {LONGEST} --max-memory {} --strict --prompts -",
        16 * LONGEST
    );
    let mut child =
        engine(folder.path(), &words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    let feeder = std::thread::spawn(move || {
        for i in 0..lines {
            input.write_all(&line(i).0).unwrap();
            input.write_all(b"\n").unwrap();
        }
        input.flush().unwrap();
        input
    });
    let begun = Instant::now();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut memory = Vec::new();
    for i in 0..lines {
        let answer = answers.next().unwrap_or_else(|| panic!("{i} answers, then none")).unwrap();
        judge(i, &answer);
        if (i + 1) % (lines / 20).max(1) == 0 {
            memory.push(resident(child.id()));
        }
    }
    drop(feeder.join().unwrap());
    assert!(answers.next().is_none(), "an answer that nobody asked for");
    assert!(child.wait().unwrap().success());
    let seconds = begun.elapsed().as_secs_f64();
    println!("{lines} lines in {seconds:.0} s; MB after each twentieth: {memory:?}");
    // What the allocator keeps is there after the first tenth, or after as many lines as have every
    // kind among them, of which the rarest come about once in a hundred.
    let warm = (lines / 10).max(1500) * memory.len() / lines;
    let (early, late) = memory.split_at(warm);
    let (early, late) = (early.iter().max(), late.iter().max());
    assert!(late <= early.map(|mb| mb + 16).as_ref(), "{memory:?}");
}
