//! Verbs that have nothing to save are told to end: they do, at once, and nothing half-written
//! stays.

use crate::shop::numbered;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Large enough that every verb takes a while.
const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 4, "hidden_size": 256,
    "num_attention_heads": 4, "vocab_size": 2048, "max_sequence_length": 512}"#;

fn engine(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--device", "cpu", "--threads", "1", "--quiet"]);
    command.args(words.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn done(folder: &Path, words: &str) {
    let output = engine(folder, words).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every file and folder below `root`, by its path, with its size.
fn listing(root: &Path) -> BTreeMap<PathBuf, u64> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let size = if path.is_dir() { 0 } else { path.metadata().unwrap().len() };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), size);
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found
}

/// Samples of so many tokens each, as `forward` takes them.
fn rows(samples: usize, tokens: usize) -> Vec<u8> {
    let count = samples * tokens;
    let column = |value: &dyn Fn(usize) -> usize, count: usize| -> Vec<u8> {
        (0..count).flat_map(|i| (value(i) as i32).to_le_bytes()).collect()
    };
    let position = |i: usize| if i < count { i % tokens } else { 0 };
    let parts = [
        ("input_ids", vec![count], column(&|i| i * 7 % 900, count)),
        ("positions", vec![2, count], column(&position, 2 * count)),
        ("starts", vec![samples + 1], column(&|i| i * tokens, samples + 1)),
        ("context", vec![samples], column(&|_| tokens / 2, samples)),
        ("labels", vec![count], column(&|i| i * 5 % 900, count)),
    ];
    let views = parts.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::I32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_verb_that_is_told_to_end_ends_and_leaves_nothing_half_written() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path();
    let item = |i: usize| format!(r#"{{"id":{},"title":"Number {i} of all things"}}"#, i + 1);
    numbered(base, 2000, 3000, 8, item);
    fs::write(base.join("config.json"), CONFIG).unwrap();
    done(base, "prepare source --train-tokenizer 1000 --out shop.bin");
    done(base, "init --model config.json --tokenizer tokenizer.json --out w");
    done(
        base,
        "train --weights w --data shop.bin --rank 2 --batch 8 --epochs 0.003 --validate-every 0 \
         --out a",
    );
    let answers: String = (0..3000)
        .map(|u| {
            let item = |i: usize| {
                let item = (u * 7 + i) % 2000 + 1;
                format!(r#"{{"item":{item},"title":"t","score":-{i}.5,"valid":true}}"#)
            };
            let items: Vec<String> = (0..10).map(item).collect();
            let (user, items) = (u + 1, items.join(","));
            format!(r#"{{"id":{user},"task":"sequential","template":"2-3","items":[{items}]}}"#)
                + "\n"
        })
        .collect();
    fs::write(base.join("p.jsonl"), answers).unwrap();
    fs::write(base.join("rows.safetensors"), rows(12, 400)).unwrap();
    fs::create_dir(base.join("out")).unwrap();
    let before = listing(base);
    let verbs = [
        "prepare source --train-tokenizer 1500 --out out/shop.bin",
        "init --model config.json --tokenizer tokenizer.json --out out/new/w",
        "merge --weights w --adapter a --out out/merged",
        "forward --weights w --inputs rows.safetensors --outputs out/y.safetensors --gradients",
        "eval p.jsonl --data shop.bin --resamples 3000 --report out/report",
        "inspect shop.bin --verify",
        "demo --users 400 --epochs 1 --out out/demo",
    ];
    let signals = [(libc::SIGTERM, 143), (libc::SIGINT, 130), (libc::SIGHUP, 129)];
    let clear = || {
        fs::remove_dir_all(base.join("out")).unwrap();
        fs::create_dir(base.join("out")).unwrap();
    };
    for words in verbs {
        let begun = Instant::now();
        done(base, words);
        let usual = begun.elapsed();
        let whole = listing(base);
        for (part, (signal, code)) in [0.1, 0.3, 0.5, 0.7, 0.9].into_iter().zip(signals.repeat(2)) {
            clear();
            let mut child = engine(base, words).spawn().unwrap();
            std::thread::sleep(usual.mul_f64(part).max(Duration::from_millis(5)));
            // SAFETY: the child was not waited for, so that its number is still its own.
            unsafe { libc::kill(child.id() as i32, signal) };
            let told = Instant::now();
            let status = child.wait().unwrap();
            let took = told.elapsed();
            let about = format!("{words}: after {part} of {usual:?}: {status}, {took:?}");
            if status.success() {
                // Times are written as long as they are: names tell, and not sizes.
                assert!(listing(base).keys().eq(whole.keys()), "{about}");
                continue;
            }
            // Before the first line of it has run the system ends a process by itself.
            if status.signal() == Some(signal) {
                assert_eq!(listing(base), before, "{about}");
                continue;
            }
            assert_eq!(status.code(), Some(code), "{about}");
            assert!(took < Duration::from_secs(2), "{about}");
            let left = listing(base);
            let half = |path: &&PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.ends_with(".partial") || name.ends_with(".engine.lock")
            };
            let stays = left.keys().find(half);
            assert!(stays.is_none(), "{about}: {stays:?}");
            // A demo is several verbs, and what they finished is whole.
            if !words.starts_with("demo") {
                assert!(left == before || left.keys().eq(whole.keys()), "{about}: {left:?}");
            }
        }
        clear();
    }
}
