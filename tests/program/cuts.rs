//! What a prompt or an example has no room for is left out and counted: line by line, in the
//! summaries of `train` and `decode`, and in the report of `eval`.

use super::cli::own_shop;
use assert_cmd::Command;
use serde_json::{json, Map, Value};
use std::fs;
use std::path::Path;

/// Standard output and error of a verb that is done.
#[track_caller]
fn said(folder: &Path, words: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    let words: Vec<&str> = words.split(' ').collect();
    let output = command.current_dir(folder).args(["--threads", "2"]).args(&words).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{words:?}: {error}");
    (out, error)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of `lines` have a count under any of `names`, and the sums.
fn counted<const N: usize>(lines: &[Value], names: [&str; N]) -> (usize, [u64; N]) {
    let of = |line: &Value, name: &str| line[name].as_u64().unwrap_or(0);
    let cut = lines.iter().filter(|line| names.iter().any(|name| of(line, name) > 0));
    (cut.count(), names.map(|name| lines.iter().map(|line| of(line, name)).sum()))
}

/// A shop in which user 61 has bought everything and there is more to say of user 1 than goes into
/// a row.
fn long_shop() -> tempfile::TempDir {
    let own = own_shop();
    let folder = own.path();
    let mut sequences = fs::read_to_string(folder.join("source/sequences.txt")).unwrap();
    let long: Vec<String> = (0..40).map(|i| (i + 1).to_string()).collect();
    sequences += &format!("61 {}\n", long.join(" "));
    fs::write(folder.join("source/sequences.txt"), sequences).unwrap();
    let mut first: Map<String, Value> =
        (0..60).map(|i| (format!("k{i}"), json!(format!("value {i}")))).collect();
    first.insert("id".to_owned(), json!(1));
    let users = format!("{}\n{}\n", json!(first), json!({"id": 2, "age": 33}));
    fs::write(folder.join("source/users.jsonl"), users).unwrap();
    said(folder, "prepare source --tokenizer tokenizer.json --out long.bin");
    own
}

#[test]
fn what_a_prompt_does_not_say_is_counted_in_its_line_the_summary_and_the_report() {
    let own = long_shop();
    let folder = own.path();
    let names = ["truncated", "truncated_profile"];
    let decode = "decode --weights w --data long.bin --beams 3";
    let (_, error) = said(folder, &format!("{decode} --out p.jsonl"));
    let answers = lines(&fs::read_to_string(folder.join("p.jsonl")).unwrap());
    let cut = |line: &&Value| names.iter().any(|name| !line[name].is_null());
    let ids: Vec<&Value> = answers.iter().filter(cut).map(|line| &line["id"]).collect();
    assert_eq!(ids, [1, 61]);
    let (users, [history, profile]) = counted(&answers, names);
    assert!(users == 2 && (1..39).contains(&history) && (1..60).contains(&profile), "{error}");
    let words = format!(
        "61 users, 2 did not fit: {history} items of histories left out, {profile} values \
        of profiles left out"
    );
    assert!(error.contains(&format!("truncated: of {words}")), "{words}: {error}");

    let (_, error) = said(folder, "eval p.jsonl --data long.bin --report report");
    let words = words.replace("users", "prompts");
    assert!(error.contains(&format!("of {words}")), "{error}");
    let report = fs::read_to_string(folder.join("report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let expected = json!({
        "samples": 2, "history": history, "profile": profile, "candidates": 0, "review": 0,
        "clamped": 0,
    });
    assert_eq!(report["groups"][0]["counts"]["cut"], expected);

    // Less room, more that is left out; of who fits nothing is said.
    said(folder, &format!("{decode} --template next --max-row 32 --out short.jsonl"));
    let shorter = lines(&fs::read_to_string(folder.join("short.jsonl")).unwrap());
    assert!(counted(&shorter, names).1[0] > history);
    let some: Vec<String> = (1..40).map(|item| item.to_string()).collect();
    let asked = format!("{{\"id\": 1, \"history\": [{}]}}\n", some.join(","));
    fs::write(folder.join("q.jsonl"), asked + "{\"id\": 2, \"history\": [1]}\n").unwrap();
    let (out, error) = said(folder, &format!("{decode} --prompts q.jsonl"));
    let answers = lines(&out);
    assert!(answers[0]["truncated"].as_u64() > Some(0) && !cut(&&answers[1]), "{out}");
    assert!(error.contains("truncated: of 2 prompts, 1 did not fit"), "{error}");
    let (_, error) = said(folder, "decode --weights w --data shop.bin --beams 3 --users 3");
    assert!(!error.contains("truncated"), "{error}");
}

#[test]
fn what_examples_do_not_say_is_counted_step_by_step_and_in_the_summary() {
    let own = long_shop();
    let folder = own.path();
    let train = "train --weights w --data long.bin --batch 61 --validate-every 0";
    let (_, error) = said(folder, &format!("{train} --epochs 3 --out run"));
    let log = lines(&fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap());
    let cuts: Vec<Value> = log.iter().map(|line| line["cut"].clone()).collect();
    let (_, [samples, history, profile]) = counted(&cuts, ["samples", "history", "profile"]);
    assert!(history > 0 && profile > 0 && samples >= 4, "{log:?}");
    let words = format!(
        "truncated: of 183 examples, {samples} did not fit: {history} items of histories \
        left out, {profile} values of profiles left out"
    );
    assert!(error.contains(&words), "{words}: {error}");

    // A run that is gone on with has counted what one that never stopped has.
    said(
        folder,
        &format!("{train} --epochs 3 --checkpoint-every 1 --max-minutes 0.00001 --out two"),
    );
    let (_, error) =
        said(folder, &format!("{train} --epochs 3 --checkpoint-every 1 --out two --resume"));
    assert!(error.contains(&words), "{words}: {error}");
}
