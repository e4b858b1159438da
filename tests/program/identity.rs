//! What is gone on with is what was begun: contents and settings that decide numbers are compared,
//! whatever else may differ, and an adapter knows the weights that it was trained on.

use crate::shop;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code and standard error.
fn run(folder: &Path, text: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1", "--quiet"]);
    let output = command.args(text.split_whitespace()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), words)
}

#[track_caller]
fn done(folder: &Path, text: &str) {
    let (code, words) = run(folder, text);
    assert_eq!((code, words.as_str()), (0, ""), "{text}");
}

#[track_caller]
fn refused(folder: &Path, text: &str, names: &str) {
    let (code, words) = run(folder, text);
    assert_eq!(code, 2, "{text}: {words}");
    assert!(words.contains(names) && words.lines().count() == 1, "{text}: {names}: {words}");
}

/// A command with more flags, which stand in place of the same ones.
fn with(text: &str, more: &str) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    for flag in more.split_whitespace().filter(|word| word.starts_with("--")) {
        if let Some(at) = words.iter().position(|word| *word == flag) {
            words.drain(at..at + 2);
        }
    }
    format!("{} {more}", words.join(" "))
}

const MINE: &str = "[[template]]\nid = \"mine\"\nfamily = \"sequential\"\nanswer = \"item\"\n\
                    text = \"I liked {history} . Next: [MASK]\"\n";

/// Weights in `w`, others of the same shape in `v`, and data, in a folder of the test.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    shop::numbered(path, 40, 60, 6, |i| {
        format!("{{\"id\": {}, \"title\": \"Thing {} of {}\"}}", i + 1, i / 5, i % 5)
    });
    done(path, "prepare source --train-tokenizer 330 --out shop.bin");
    for (out, seed) in [("w", 0), ("v", 1)] {
        let from = "init --model config.json --tokenizer tokenizer.json";
        done(path, &format!("{from} --seed {seed} --out {out}"));
    }
    fs::write(path.join("mine.toml"), MINE).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Four steps, of which the last is still to be made.
fn half_trained(folder: &Path, more: &str) -> String {
    let train = format!(
        "train --weights w --data shop.bin --epochs 1 --batch 15 --rank 2 --template mine \
         --validate-every 0 --checkpoint-every 1 {more}"
    );
    done(folder, &format!("{train} --templates mine.toml --out whole"));
    fs::remove_dir_all(folder.join("whole/checkpoints/step-4")).unwrap();
    train
}

#[test]
fn a_training_goes_on_as_it_was_begun() {
    let folder = shop();
    let folder = folder.path();
    let train = half_trained(folder, "");
    let again = |out: &str, more: &str| {
        copy(&folder.join("whole"), &folder.join(out));
        with(&train, &format!("--out {out} --resume {more}"))
    };
    let mine = "--templates mine.toml";
    // Settings that decide numbers.
    for (more, names) in [
        ("--weight-decay 0.5", "--weight-decay was 0.01 and is 0.5"),
        ("--beta1 0.5 --clip 2", "--beta1 was 0.9 and is 0.5, --clip was 1.0 and is 2.0"),
        ("--seed 3", "--seed was 0 and is 3"),
        ("--dropout 0.1", "--dropout was 0.0 and is 0.1"),
        ("--dtype bf16", "--dtype was f32 and is bf16"),
        ("--validate-every 2", "--validate-every was 0 and is 2"),
        ("--max-row 50", "--max-row was"),
        ("--gelu erf", "--weights: config: hidden_act was gelu_new and is gelu"),
    ] {
        refused(folder, &again("other", &format!("{mine} {more}")), names);
    }
    // Contents under the same names.
    copy(&folder.join("w"), &folder.join("kept"));
    fs::copy(folder.join("v/model.safetensors"), folder.join("w/model.safetensors")).unwrap();
    refused(folder, &again("other", mine), "--weights: tensors: transformer.");
    fs::copy(folder.join("kept/model.safetensors"), folder.join("w/model.safetensors")).unwrap();
    replace(
        &folder.join("w/config.json"),
        "\"num_attention_heads\": 2",
        "\"num_attention_heads\": 4",
    );
    refused(folder, &again("other", mine), "config: num_attention_heads was 2 and is 4");
    fs::copy(folder.join("kept/config.json"), folder.join("w/config.json")).unwrap();
    replace(&folder.join("mine.toml"), "Next:", "The one after:");
    refused(folder, &again("other", mine), "--template was [\"mine (sequential): I liked");
    // What decides none, contents under other names, and a template more that nobody uses.
    fs::write(folder.join("ours.toml"), format!("{MINE}{}", MINE.replace("mine", "other")))
        .unwrap();
    let text = fs::read_to_string(folder.join("w/config.json")).unwrap();
    fs::write(folder.join("w/config.json"), format!("\n{text}")).unwrap();
    copy(&folder.join("w"), &folder.join("moved"));
    fs::copy(folder.join("shop.bin"), folder.join("moved/bin")).unwrap();
    let ours = "--templates ./ours.toml";
    for more in [
        "",
        "--keep lean",
        "--checkpoint-every 3",
        "--keep-checkpoints 5 --max-minutes 9",
        "--patience 3 --validate-users 2",
        "--gelu tanh",
        "--dropout 0 --attention-dropout 0",
    ] {
        fs::remove_dir_all(folder.join("other")).unwrap();
        done(folder, &again("./other", &format!("{ours} {more}")));
        for file in ["adapter_model.safetensors", "identity.json", "config.toml"] {
            let [whole, other] =
                ["whole", "other"].map(|run| fs::read(folder.join(run).join(file)));
            let same = whole.unwrap() == other.unwrap();
            assert!(same || file == "config.toml", "{more}: {file}");
        }
    }
    let moved = train.replace("w --data shop.bin", "moved --data moved/bin");
    copy(&folder.join("whole"), &folder.join("third"));
    done(folder, &format!("{moved} {ours} --out third --resume"));
    // A run that does not say what it is.
    let words = again("other", ours);
    fs::remove_file(folder.join("other/identity.json")).unwrap();
    let (code, said) = run(folder, &words);
    assert!(code == 3 && said.contains("identity.json: expected what the run began as"), "{said}");
}

#[test]
fn what_is_not_used_may_differ() {
    let folder = shop();
    let folder = folder.path();
    let train = half_trained(folder, "--tune full");
    let more = "--templates mine.toml --rank 7 --alpha 3 --train-positions --out whole --resume";
    done(folder, &with(&train, more));
}

#[test]
fn a_decoding_goes_on_as_it_was_begun() {
    let folder = shop();
    let folder = folder.path();
    let decode = "decode --users 10 --beams 3 --top 3";
    let first = format!("{decode} --weights w --data shop.bin");
    done(folder, &format!("{first} --out p.jsonl"));
    let whole = fs::read_to_string(folder.join("p.jsonl")).unwrap();
    let cut = |out: &str| fs::write(folder.join(out), &whole[..whole.len() / 2]).unwrap();
    cut("p.jsonl");
    for (more, names) in [
        ("--beams 4", "--beams was 3 and is 4"),
        ("--task direct", "--task was sequential and is direct"),
        ("--split validation", "--split was test and is validation"),
        ("--trace t.jsonl", "--trace was false and is true"),
        ("--template 2-4", "--template was"),
    ] {
        refused(folder, &with(&first, &format!("--out p.jsonl --resume {more}")), names);
    }
    copy(&folder.join("w"), &folder.join("moved"));
    fs::copy(folder.join("v/model.safetensors"), folder.join("w/model.safetensors")).unwrap();
    refused(folder, &format!("{first} --out p.jsonl --resume"), "--weights: tensors: transformer.");
    let moved = format!("{decode} --weights ./moved --data {}", folder.join("shop.bin").display());
    for more in ["", "--batch 7 --max-wait 3", "--template 2-3,2-4"] {
        cut("p.jsonl");
        done(folder, &format!("{moved} --out ./p.jsonl --resume {more}"));
        let ids = |text: &str| text.lines().map(|line| line[..9].to_owned()).collect::<Vec<_>>();
        let again = fs::read_to_string(folder.join("p.jsonl")).unwrap();
        assert_eq!(ids(&again), ids(&whole), "{more}");
    }
}

#[test]
fn an_adapter_says_that_other_weights_are_under_it() {
    let folder = shop();
    let folder = folder.path();
    done(folder, "train --weights w --data shop.bin --epochs 1 --rank 2 --out run");
    done(folder, "inspect run");
    done(folder, "merge --weights w --adapter run --out merged");
    let decode = "decode --data shop.bin --users 2 --beams 2 --adapter";
    done(folder, &format!("{decode} run --weights w --out p.jsonl"));
    // Merged in memory or beside the weights: what was begun one way does not go on the other.
    let whole = fs::read_to_string(folder.join("p.jsonl")).unwrap();
    fs::write(folder.join("p.jsonl"), &whole[..whole.len() / 2]).unwrap();
    let merging = format!("{decode} run --weights w --out p.jsonl --resume --merge");
    refused(folder, &merging, "--merge was false and is true");
    let alone = "decode --data shop.bin --weights w --merge --out q.jsonl";
    refused(folder, alone, "--merge: expected --adapter beside it, got it alone");
    // The adapter alone, without the rest of the run.
    fs::create_dir(folder.join("alone")).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(folder.join("run").join(name), folder.join("alone").join(name)).unwrap();
    }
    for text in [
        format!("{decode} alone --weights v --out q.jsonl"),
        "merge --weights v --adapter alone --out other".to_owned(),
    ] {
        let (code, words) = run(folder, &text);
        assert_eq!(code, 0, "{text}: {words}");
        let starts = "warning: adapter: alone: expected the base it was trained on (";
        assert!(words.starts_with(starts) && words.lines().count() == 1, "{text}: {words}");
    }
    fs::rename(folder.join("v/model.safetensors"), folder.join("w/model.safetensors")).unwrap();
    let (code, words) = run(folder, "inspect alone");
    assert!(code == 0 && words.starts_with("warning: adapter: alone"), "{words}");
    // An adapter that remembers nothing says nothing.
    let path = folder.join("alone/adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|part| part == b"engine.base").unwrap();
    fs::write(&path, [&bytes[..at], b"foreign_key", &bytes[at + 11..]].concat()).unwrap();
    done(folder, "inspect alone");
}
