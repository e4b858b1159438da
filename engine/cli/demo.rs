//! `engine demo`: the verbs that a user would call, one after another, on a shop made up.

use super::flags::Overwriting;
use super::{decode, init, prepare, say, train, Global};
use crate::base::{write_whole, Standing, Written};
use crate::recommender::report::{judge, Judging};
use crate::recommender::shop::{stories, table, Best};
use anyhow::Result;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The whole tour on a synthetic shop: makes data, trains, recommends, compares with what needs no
/// model and with the best possible; about a minute.
///
/// Example: engine demo --out demo
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Where everything goes [default: runs/demo, runs/demo-2 …]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub overwriting: Overwriting,
    /// Customers of the shop [default: 1500; on the emulator, which is slow, 24]
    #[arg(long)]
    pub users: Option<usize>,
    /// Passes over the customers [default: 40; on the emulator 2]
    #[arg(long)]
    pub epochs: Option<f64>,
    /// Decides the shop, and all that is drawn on the way
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// What is written in the folder.
const WRITTEN: Written = Written {
    files: &[
        "shop.bin",
        "tokenizer.json",
        "config.json",
        "predictions.jsonl.settings.json",
        "predictions.jsonl",
    ],
    folders: &["weights", "run", "report"],
};

/// Makes a shop, trains a small GLM on it from nothing, recommends, and prints what that is worth.
pub fn run(args: &Demo, global: &Global) -> Result<()> {
    let emulated = global.to_open()?.is_emulated();
    if emulated {
        global.note(
            "demo: the emulator shows that every step runs as on a GPU; for learning it is too \
            slow",
        );
    }
    let (users, items, epochs) = if emulated { (24, 240, 2.0) } else { (1500, 1000, 40.0) };
    let (users, epochs) = (args.users.unwrap_or(users), args.epochs.unwrap_or(epochs));
    let mut outputs = global.outputs(args.overwriting);
    match &args.out {
        Some(folder) => outputs.folder("setting `out`", folder, WRITTEN, Standing::New),
        None => outputs.numbered("setting `out`", numbered, WRITTEN),
    };
    let held = outputs.claim()?;
    held.clear()?;
    let place = |name: &str| held.folder().join(name);
    let at = |name: &str| place(name).display().to_string();
    let seed = args.seed.to_string();
    let source = format!("synthetic:{users},{items},{seed}");
    prepare::run(
        &verb(&[
            ("", &source),
            ("--train-tokenizer", "600"),
            ("--seed", &seed),
            ("--out", &at("shop.bin")),
        ])?,
        global.outputs(Overwriting::default()),
    )?;
    let model = json!({
        "model_type": "glm", "num_layers": 2, "hidden_size": 96, "num_attention_heads": 4,
        "vocab_size": 640, "max_sequence_length": 256, "output_predict": true
    });
    write_whole(&place("config.json"), model.to_string())?;
    let starting: init::Init = verb(&[
        ("--model", &at("config.json")),
        ("--tokenizer", &at("tokenizer.json")),
        ("--vocab-from-tokenizer", ""),
        ("--seed", &seed),
        ("--out", &at("weights")),
    ])?;
    init::run(&starting, global)?;
    let learning: train::Train = verb(&[
        ("--weights", &at("weights")),
        ("--data", &at("shop.bin")),
        ("--out", &at("run")),
        ("--tune", "full"),
        ("--seed", &seed),
        ("--epochs", &epochs.to_string()),
        ("--template", "next"),
        ("--mix", "0"),
        ("--batch", if emulated { "8" } else { "64" }),
        ("--learning-rate", "3e-3"),
        ("--validate-every", "300"),
        ("--validate-users", "200"),
    ])?;
    train::run(&learning, global)?;
    let asking: decode::Decode = verb(&[
        ("--weights", &at("run")),
        ("--data", &at("shop.bin")),
        ("--out", &at("predictions.jsonl")),
        ("--seed", &seed),
    ])?;
    decode::run(&asking, global)?;
    let judging = Judging {
        predictions: vec![place("predictions.jsonl")],
        data: place("shop.bin"),
        report: Some(place("report")),
        run: Some(place("run")),
        seed: args.seed,
        ..Judging::default()
    };
    let judged = judge(&judging, global.outputs(Overwriting::default()))?;
    judged.save()?;
    let best = Best::of(Path::new(&source)).expect("a synthetic source")?;
    let found = judged.hits().expect("users were asked");
    say::result(&format!(
        "\n{}\n{}\nrun folder: {}\npredictions: {}\nreport: {}\n",
        stories(&place("predictions.jsonl"), &judging.data, 3)?,
        table(best.test, &found),
        at("run"),
        at("predictions.jsonl"),
        at("report/report.html"),
    ));
    Ok(())
}

fn numbered(n: u32) -> PathBuf {
    match n {
        1 => PathBuf::from("runs/demo"),
        n => PathBuf::from(format!("runs/demo-{n}")),
    }
}

/// A verb's flags from words, by the parser that the command line uses. A flag without a value and
/// a value without a flag have an empty word for what is not there.
fn verb<T: clap::Args>(words: &[(&str, &str)]) -> Result<T> {
    let command = T::augment_args(clap::Command::new("demo"));
    let words = words.iter().flat_map(|&(flag, value)| [flag, value]).filter(|w| !w.is_empty());
    let matches = command.try_get_matches_from(std::iter::once("demo").chain(words))?;
    Ok(T::from_arg_matches(&matches)?)
}
