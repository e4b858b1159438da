use super::flags::Overwriting;
use super::{decode, init, prepare, say, train, Global};
use crate::base::{write_whole, Standing, Written};
use crate::recommender::report::{judge, Judging};
use crate::recommender::shop;
use anyhow::Result;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The whole tour on a synthetic shop: makes data, trains, recommends, compares with popularity;
/// about a minute.
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
    /// Passes over the customers [default: 20; on the emulator 2]
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
    folders: &["shop", "weights", "run"],
};

/// Makes a shop, trains a small GLM on it from nothing, recommends, and prints hits against
/// popularity: the verbs that a user would call, one after another.
pub fn run(args: &Demo, global: &Global) -> Result<()> {
    let emulated = global.place()?.is_emulated();
    if emulated {
        global.note(
            "demo: the emulator shows that every step runs as on a GPU; for learning it is too \
            slow",
        );
    }
    let users = args.users.unwrap_or(if emulated { 24 } else { 1500 });
    let epochs = args.epochs.unwrap_or(if emulated { 2.0 } else { 20.0 });
    let mut outputs = global.outputs(args.overwriting);
    match &args.out {
        Some(folder) => outputs.folder("setting `out`", folder, WRITTEN, Standing::New),
        None => outputs.numbered("setting `out`", numbered, WRITTEN),
    };
    let held = outputs.claim()?;
    held.clear()?;
    let place = |name: &str| held.folder().join(name);
    let seed = args.seed.to_string();
    shop::make(&place("shop"), users, args.seed)?;
    prepare::run(
        &verb(&[
            ("", &text(&place("shop"))),
            ("--train-tokenizer", "600"),
            ("--seed", &seed),
            ("--out", &text(&place("shop.bin"))),
        ])?,
        global.outputs(Overwriting::default()),
    )?;
    let model = json!({
        "model_type": "glm", "num_layers": 2, "hidden_size": 96, "num_attention_heads": 4,
        "vocab_size": 640, "max_sequence_length": 256, "output_predict": true
    });
    write_whole(&place("config.json"), model.to_string())?;
    let config: init::Init = verb(&[
        ("--model", &text(&place("config.json"))),
        ("--tokenizer", &text(&place("tokenizer.json"))),
        ("--vocab-from-tokenizer", ""),
        ("--seed", &seed),
        ("--out", &text(&place("weights"))),
    ])?;
    init::run(&config, global)?;
    let learning: train::Train = verb(&[
        ("--weights", &text(&place("weights"))),
        ("--data", &text(&place("shop.bin"))),
        ("--out", &text(&place("run"))),
        ("--tune", "full"),
        ("--seed", &seed),
        ("--epochs", &epochs.to_string()),
        ("--batch", if emulated { "8" } else { "64" }),
        ("--learning-rate", "3e-3"),
        ("--dropout", "0.1"),
        ("--validate-every", "150"),
        ("--validate-users", "200"),
    ])?;
    train::run(&learning, global)?;
    let asking: decode::Decode = verb(&[
        ("--weights", &text(&place("run"))),
        ("--data", &text(&place("shop.bin"))),
        ("--out", &text(&place("predictions.jsonl"))),
        ("--seed", &seed),
    ])?;
    decode::run(&asking, global)?;
    let judging = Judging {
        predictions: vec![place("predictions.jsonl")],
        data: place("shop.bin"),
        seed: args.seed,
        ..Judging::default()
    };
    let judged = judge(&judging, global.outputs(Overwriting::default()))?;
    let found = judged.hits().expect("users were asked, and baselines are on");
    say::result(&format!(
        "\n| method | HR@10, {} users |\n|---|---|\n| popularity | {:.4} |\n| engine | {:.4} |\n\n\
        run folder: {}\npredictions: {}\n",
        found.users,
        found.popular,
        found.answers,
        place("run").display(),
        place("predictions.jsonl").display(),
    ));
    Ok(())
}

fn numbered(n: u32) -> PathBuf {
    match n {
        1 => PathBuf::from("runs/demo"),
        n => PathBuf::from(format!("runs/demo-{n}")),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A verb's flags from words, by the parser that the command line uses. A flag without a value and
/// a value without a flag have an empty word for what is not there.
fn verb<T: clap::Args>(words: &[(&str, &str)]) -> Result<T> {
    let command = T::augment_args(clap::Command::new("demo"));
    let words = words.iter().flat_map(|&(flag, value)| [flag, value]).filter(|w| !w.is_empty());
    let matches = command.try_get_matches_from(std::iter::once("demo").chain(words))?;
    Ok(T::from_arg_matches(&matches)?)
}
