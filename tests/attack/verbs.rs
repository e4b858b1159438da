//! Every verb that writes, once or more: what stands before it, and what is done after a failure.

use crate::interpose::{self, Attack, Class, How, Log};
use crate::tree;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One verb with its arguments, begun in a folder of its own beside `base`.
pub struct Verb {
    pub name: &'static str,
    pub words: Vec<String>,
    /// What is in the folder before.
    pub start: tree::Tree,
    /// Standard input.
    pub input: Option<PathBuf>,
    /// Words that are put behind to run it again after a failure: the first that are not refused.
    pub again: &'static [&'static str],
}

/// The folder that holds everything: `base` with the inputs, and folders of trials.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Box::leak(Box::new(tempfile::tempdir().unwrap())).path().canonicalize().unwrap();
        make_base(&root.join("base"));
        root
    })
}

/// A folder for a trial, with what stands before in it.
pub fn trial(start: &tree::Tree) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("t").tempdir_in(root()).unwrap();
    tree::write(start, folder.path());
    folder
}

pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn done(folder: &Path, text: &str) {
    let ended = interpose::end(interpose::engine(folder, &words(text)), None);
    assert_eq!(ended.code, Some(0), "{text}: {}", ended.error);
}

/// A shop of 30 items and 24 users, a model of two small layers, an adapter, predictions, prompts,
/// rows for `forward`.
fn make_base(base: &Path) {
    fs::create_dir(base).unwrap();
    let source = base.join("source");
    fs::create_dir(&source).unwrap();
    let item = |i: usize| {
        let colour = ["Red", "Blue", "Tiny", "Grand"][i % 4];
        let thing = ["Kite", "Robot", "Drum"][i / 10];
        format!("{{\"id\": {}, \"title\": \"{colour} {thing} {}\"}}\n", i + 1, i / 4)
    };
    fs::write(source.join("items.jsonl"), (0..30).map(item).collect::<String>()).unwrap();
    let user = |u: usize| {
        let bought: Vec<String> = (0..6).map(|k| ((u * 7 + k * 3) % 30 + 1).to_string()).collect();
        format!("{} {}\n", u + 1, bought.join(" "))
    };
    fs::write(source.join("sequences.txt"), (0..24).map(user).collect::<String>()).unwrap();
    fs::write(base.join("config.json"), CONFIG).unwrap();
    done(base, "prepare source --train-tokenizer 300 --out shop.bin");
    done(base, "init --model config.json --tokenizer tokenizer.json --out w");
    done(base, &format!("train --weights w --data shop.bin --out run {TRAINING}"));
    let decode = "decode --weights w --data shop.bin --users 12 --beams 2 --top 3 --out p.jsonl";
    done(base, decode);
    let prompts: String = (0..12)
        .map(|i| format!("{{\"id\": {i}, \"history\": [{}, {}]}}\n", i + 1, i + 9))
        .collect();
    fs::write(base.join("prompts.jsonl"), prompts).unwrap();
    let ids = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let parts = [
        ("input_ids", vec![4], ids(&[1, 2, 3, 4])),
        ("positions", vec![2, 4], ids(&[0, 1, 2, 3, 0, 0, 0, 0])),
        ("starts", vec![2], ids(&[0, 4])),
        ("context", vec![1], ids(&[2])),
        ("labels", vec![4], ids(&[-100, 3, 4, -100])),
    ];
    let views = parts.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::I32, shape.clone(), bytes).unwrap())
    });
    fs::write(base.join("ladder.toml"), LADDER).unwrap();
    let rows = safetensors::serialize(views, None).unwrap();
    fs::write(base.join("rows.safetensors"), rows).unwrap();
}

const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 1, "hidden_size": 16,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 128}"#;

/// A step under one seed, on data and from weights that are made.
const LADDER: &str = r#"data = "synthetic:12,20"
[prepare]
train-tokenizer = 300
[base]
model = "../base/config.json"
[train]
epochs = 0.4
batch = 4
rank = 2
learning-rate = 1e-2
validate-every = 0
checkpoint-every = 1
keep-checkpoints = 1
[decode]
beams = 2
top = 2
users = 3
[eval]
resamples = 5
[[step]]
name = "one"
"#;

/// Four steps with a checkpoint every two, a validation, dropout and windows.
const TRAINING: &str = "--epochs 0.67 --batch 4 --rank 2 --learning-rate 1e-2 --lora-dropout 0.1 \
                        --windows 0.5 --validate-users 3 --validate-beams 2 --validate-every 3 \
                        --checkpoint-every 2 --keep-checkpoints 1";

const TRAIN: &str = "train --weights ../base/w --data ../base/shop.bin --out run";
const DECODE: &str = "decode --weights ../base/w --adapter ../base/run --data ../base/shop.bin \
                      --users 6 --batch 2 --beams 2 --top 2 --out p.jsonl --trace t.jsonl";
const FILTER: &str = "decode --weights ../base/w --data ../base/shop.bin --prompts - --batch 2 \
                      --beams 2 --top 2 --out p.jsonl";

/// What resumes, and what is begun again.
const RESUMED: &[&str] = &["--resume", ""];
const BEGUN: &[&str] = &["", "--force"];

/// The folder as `words`, killed at a part of its operations, leave it.
fn killed(words: &[String], part: f64) -> tree::Tree {
    let folder = trial(&tree::Tree::new());
    let log = run_logged(words, None, folder.path());
    assert!(log.1.code == Some(0), "{words:?}: {}", log.1.error);
    let at = (log.0.count as f64 * part) as u64;
    let folder = trial(&tree::Tree::new());
    let mut command = interpose::engine(folder.path(), words);
    let attack = Attack { class: Class::Write, at, how: How::Kill };
    interpose::under(&mut command, root(), Some(attack), None);
    assert_eq!(interpose::end(command, None).signal, Some(9));
    tree::read(folder.path())
}

/// The folder as `text` leaves it.
fn ended(text: &str) -> tree::Tree {
    let folder = trial(&tree::Tree::new());
    done(folder.path(), text);
    tree::read(folder.path())
}

/// `text` over what `before` left.
fn over(name: &'static str, before: &str, text: &str, again: &'static [&'static str]) -> Verb {
    Verb { start: ended(before), ..verb(name, &format!("{text} --force"), again) }
}

/// Runs to the end and returns what was done to files.
pub fn run_logged(
    words: &[String],
    input: Option<&Path>,
    folder: &Path,
) -> (Log, interpose::Ended) {
    let log = folder.with_extension("log");
    let mut command = interpose::engine(folder, words);
    interpose::under(&mut command, root(), None, Some(&log));
    let ended = interpose::end(command, input);
    let read = interpose::read_log(&log);
    fs::remove_file(log).unwrap();
    (read, ended)
}

fn verb(name: &'static str, text: &str, again: &'static [&'static str]) -> Verb {
    Verb { name, words: words(text), start: tree::Tree::new(), input: None, again }
}

/// A training whose steps take longer than its start.
pub fn long_training() -> Verb {
    let longer = TRAINING.replace("--epochs 0.67", "--epochs 12");
    verb("long training", &format!("{TRAIN} {longer}"), RESUMED)
}

/// A decoding of all users.
pub fn long_decoding() -> Verb {
    let longer = DECODE.replace("--users 6 --batch 2 --beams 2", "--batch 1 --beams 6");
    verb("long decoding", &longer, RESUMED)
}

/// A filter between standard input and standard output.
pub fn filter() -> Vec<String> {
    words("decode --weights ../base/w --data ../base/shop.bin --prompts - --batch 2 --beams 6")
}

/// All verbs that write.
pub fn all() -> Vec<Verb> {
    let base = root().join("base");
    let train = format!("{TRAIN} {TRAINING}");
    let prepare = "prepare ../base/source --train-tokenizer 300 --out shop.bin";
    let merge = "merge --weights ../base/w --adapter ../base/run --out m";
    let init = "init --model ../base/config.json --tokenizer ../base/tokenizer.json --out w";
    vec![
        verb("prepare", prepare, BEGUN),
        over("prepare over another", prepare, &format!("{prepare} --seed 1"), &[""]),
        verb("init", init, BEGUN),
        over("init over another", init, &format!("{init} --seed 1"), &[""]),
        verb("train", &train, RESUMED),
        verb("train all weights", &format!("{train} --tune full"), RESUMED),
        verb("train without checkpoints", &train.replace("every 2", "every 0"), BEGUN),
        over("train over another", &format!("{train} --tune full"), &train, RESUMED),
        Verb {
            start: killed(&words(&train), 0.7),
            ..verb("resume of train", &format!("{train} --resume"), &[""])
        },
        verb("decode", DECODE, RESUMED),
        over("decode over another", DECODE, &DECODE.replace("--top 2", "--top 1"), RESUMED),
        Verb {
            start: killed(&words(DECODE), 0.6),
            ..verb("resume of decode", &format!("{DECODE} --resume"), &[""])
        },
        Verb { input: Some(base.join("prompts.jsonl")), ..verb("filter", FILTER, BEGUN) },
        verb(
            "eval",
            "eval ../base/p.jsonl --data ../base/shop.bin --report report --resamples 20",
            BEGUN,
        ),
        verb(
            "forward",
            "forward --weights ../base/w --adapter ../base/run --inputs ../base/rows.safetensors \
             --outputs y.safetensors --gradients",
            BEGUN,
        ),
        verb("merge", merge, BEGUN),
        over("merge over another", merge, &format!("{merge} --dtype bf16"), &[""]),
        verb("sweep", "sweep ../base/ladder.toml --out s", &["--resume", "--force"]),
        verb("demo", "demo --users 20 --epochs 0.1 --out d", BEGUN),
    ]
}
