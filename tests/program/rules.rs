//! What was learnt is what is asked: a run hands its rules on to whoever asks it, and what is typed
//! instead is honoured and said.

use crate::shop;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Standard error of a command that succeeds.
#[track_caller]
fn done(folder: &Path, text: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1"]).args(text.split_whitespace());
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}: {words}");
    words
}

const MINE: &str = "[[template]]\nid = \"mine\"\nfamily = \"sequential\"\nanswer = \"item\"\n\
                    text = \"I liked {history} . Next: [MASK]\"\n";

/// No rule as it is by itself.
const RULES: &str = "--template mine,2-4 --behaviours 3 --max-row 100 --intra glm --enc-intra one \
                     --trie-match simple --restart 2 --plain-run grow --gelu erf";

const TRAIN: &str = "train --weights w --data shop.bin --epochs 1 --batch 30 --rank 2 \
                     --learning-rate 1e-2 --validate-every 0 --validate-length-penalty 0.5";

fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    shop::numbered(path, 40, 60, 6, |i| {
        format!("{{\"id\": {}, \"title\": \"Thing {} of {}\"}}", i + 1, i / 5, i % 5)
    });
    done(path, "prepare source --train-tokenizer 330 --out shop.bin");
    done(path, "init --model config.json --tokenizer tokenizer.json --out w");
    fs::write(path.join("mine.toml"), MINE).unwrap();
    folder
}

/// Answers without the seconds that they took, and what was said.
#[track_caller]
fn answers(folder: &Path, of: &str) -> (Vec<serde_json::Value>, String) {
    let words = done(folder, &format!("decode --data shop.bin --users 9 --force --out p {of}"));
    let text = fs::read_to_string(folder.join("p")).unwrap();
    let line = |line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    (text.lines().map(line).collect(), words)
}

#[test]
fn a_run_without_flags_is_asked_as_with_all_of_them() {
    let folder = shop();
    let folder = folder.path();
    done(folder, &format!("{TRAIN} {RULES} --templates mine.toml --out lora"));
    done(folder, &format!("{TRAIN} {RULES} --templates mine.toml --out full --tune full"));
    done(folder, "merge --weights w --adapter lora --out merged");
    // Its words are in the run, wherever the user's file went.
    fs::rename(folder.join("mine.toml"), folder.join("moved.toml")).unwrap();
    for run in ["--weights w --adapter lora", "--weights full", "--weights merged"] {
        let (bare, said) = answers(folder, run);
        assert!(said.contains("template mine,2-4, ") && said.contains("length-penalty 0.5"));
        assert!(!said.contains("as asked"), "{said}");
        let all = format!("{run} {RULES} --templates moved.toml --length-penalty 0.5");
        let (typed, said) = answers(folder, &all);
        assert!(!said.contains("as asked"), "{said}");
        assert_eq!(bare, typed, "{run}");
        assert_eq!(bare[0]["template"], "mine");
        // Each flag changes something, alone, and one line says so.
        for (flag, was) in [
            ("--template 2-4", "mine"),
            ("--behaviours 1", "3"),
            ("--max-row 90", "100"),
            ("--intra entity", "glm"),
            ("--enc-intra off", "one"),
            ("--trie-match rescan", "simple"),
            ("--restart 1", "2"),
            ("--plain-run restart", "grow"),
            ("--length-penalty 1", "0.5"),
            ("--gelu tanh", "erf"),
        ] {
            let said = answers(folder, &format!("{run} {flag}")).1;
            let lines: Vec<&str> = said.lines().filter(|l| l.ends_with("as asked")).collect();
            let (name, now) = flag.split_once(' ').unwrap();
            let now = if name == "--length-penalty" { "1.0" } else { now };
            assert_eq!(lines, [format!("rules: {name} was {was} and is {now}, as asked")]);
        }
    }
    // A file of settings is typed, too.
    fs::write(folder.join("c.toml"), "intra = \"entity\"\n").unwrap();
    let (configured, said) = answers(folder, "--weights full --config c.toml");
    assert!(said.contains("--intra was glm and is entity, as asked"), "{said}");
    assert_eq!(configured, answers(folder, "--weights full --intra entity").0);
    // Where nothing was learnt, the usual rules are said.
    let said = answers(folder, "--weights w").1;
    assert!(said.contains("no run tells") && said.contains("template 2-3, "), "{said}");
    // Rules that are not whole are not filled up.
    let text = fs::read_to_string(folder.join("full/rules.json")).unwrap();
    fs::write(folder.join("full/rules.json"), text.replace("\"restart\": 2,", "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    let words = ["decode", "--weights", "full", "--data", "shop.bin"];
    let output = command.current_dir(folder).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("--restart was none and is 1"), "{said}");
}

/// Intra ids of the prompt's part A that are not 0, for rules of the base.
fn numbered(folder: &Path, rules: &str) -> usize {
    answers(folder, &format!("--weights w --trace t --template next {rules}"));
    let trace = fs::read_to_string(folder.join("t")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    let context = trace["prompt"]["context"].as_u64().unwrap() as usize;
    let intra = &trace["prompt"]["positions"][1].as_array().unwrap()[..context];
    intra.iter().filter(|id| id.as_u64() != Some(0)).count()
}

#[test]
fn glm_numbers_part_a_where_that_is_asked_for() {
    let folder = shop();
    let folder = folder.path();
    assert_eq!(numbered(folder, "--intra glm"), 0);
    assert_eq!(numbered(folder, "--intra glm --enc-intra off"), 0);
    let one = numbered(folder, "--intra glm --enc-intra one");
    assert!(one > 0);
    assert_eq!(numbered(folder, ""), one);
}
