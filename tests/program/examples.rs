//! The examples, as a host would run them: what they print is what the verbs give.

use crate::shop::Shop;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A compiled example. `cargo test` builds them beside the tests; where these tests run alone,
/// cargo is asked to.
fn example(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_engine")).with_file_name("examples").join(name);
    if !path.is_file() {
        let words = ["build", "--release", "--examples"];
        let built = Command::new(env!("CARGO")).args(words).status().unwrap();
        assert!(built.success() && path.is_file(), "{}: cargo builds no such", path.display());
    }
    path
}

/// Runs a program in the shop's folder; its standard output.
fn run(shop: &Shop, program: &Path, words: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(words)
        .current_dir(shop.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{} {words:?}: {said}", program.display());
    String::from_utf8(done.stdout).unwrap()
}

/// A shop with `shop.bin` and the weights `w`.
fn shop() -> Shop {
    let shop = Shop::empty();
    for (name, text) in [
        ("items.jsonl", crate::shop::ITEMS),
        ("interactions.tsv", crate::shop::INTERACTIONS),
        ("users.jsonl", crate::shop::USERS),
        ("config.json", crate::shop::CONFIG),
    ] {
        shop.put(name, text);
    }
    let engine = Path::new(env!("CARGO_BIN_EXE_engine"));
    let prepare = ["prepare", ".", "--train-tokenizer", "350", "--out", "shop.bin"];
    run(&shop, engine, &prepare, "");
    let init = [
        "init",
        "--model",
        "config.json",
        "--tokenizer",
        "tokenizer.json",
        "--vocab-from-tokenizer",
        "--out",
        "w",
    ];
    run(&shop, engine, &init, "");
    shop
}

#[test]
fn recommend_prints_the_items_that_decode_finds() {
    let shop = shop();
    let shown =
        run(&shop, &example("recommend"), &["w", "shop.bin", "Lego City Police Boat", "x1"], "");
    let engine = Path::new(env!("CARGO_BIN_EXE_engine"));
    let decode = "--quiet decode --weights w --data shop.bin --top 5 --prompts -";
    let words: Vec<&str> = decode.split(' ').collect();
    let line = run(
        &shop,
        engine,
        &words,
        "{\"id\": 1, \"history\": [\"Lego City Police Boat\", \"x1\"]}\n",
    );
    let line: Value = serde_json::from_str(&line).unwrap();
    let found: Vec<String> = line["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let score = item["score"].as_f64().unwrap();
            format!("{score:8.3}  {}\n", item["title"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found.len(), 5);
    assert_eq!(shown, found.concat());
}

#[test]
fn train_leaves_the_adapter_that_the_verb_leaves() {
    let shop = shop();
    let said = run(&shop, &example("train"), &["w", "shop.bin", "by-library"], "");
    assert!(said.contains("step 1: loss") && said.ends_with("by-library: 1 steps\n"), "{said}");
    let engine = Path::new(env!("CARGO_BIN_EXE_engine"));
    let train = "train --weights w --data shop.bin --out by-verb --epochs 1";
    run(&shop, engine, &train.split(' ').collect::<Vec<_>>(), "");
    for name in ["adapter_model.safetensors", "adapter_config.json", "config.toml"] {
        let read = |run: &str| std::fs::read(shop.path(run).join(name)).unwrap();
        assert_eq!(read("by-library"), read("by-verb"), "{name}");
    }
}

#[test]
fn filter_answers_as_the_verb_does() {
    let shop = shop();
    let lines =
        "{\"id\": 1, \"history\": [10]}\nno line\n{\"id\": \"b\", \"text\": \"A [MASK]\"}\n";
    let shown = run(&shop, &example("filter"), &["w", "shop.bin"], lines);
    let engine = Path::new(env!("CARGO_BIN_EXE_engine"));
    let decode = "--quiet decode --weights w --data shop.bin --prompts -";
    let by_verb = run(&shop, engine, &decode.split(' ').collect::<Vec<_>>(), lines);
    let timeless = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|mut line| {
                line.as_object_mut().unwrap().remove("seconds");
                line
            })
            .collect()
    };
    assert_eq!(timeless(&shown).len(), 3);
    assert_eq!(timeless(&shown), timeless(&by_verb));
}
