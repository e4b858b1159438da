use super::{decode, init, prepare, train, Global};
use crate::base::{Fault, Philox, Stream};
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// The whole tour on a synthetic shop: makes data, trains, recommends, compares with popularity;
/// about a minute.
///
/// Example: engine demo --out demo
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Customers of the shop [default: 1500; on the emulator, which is slow, 24]
    #[arg(long)]
    pub users: Option<usize>,
    /// Passes over the customers [default: 20; on the emulator 2]
    #[arg(long)]
    pub epochs: Option<f64>,
}

const MAKERS: [&str; 12] = [
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper",
    "Kauri", "Larch",
];
const THINGS: [&str; 10] = [
    "Puzzle",
    "Train Set",
    "Doll House",
    "Card Game",
    "Robot Kit",
    "Kite",
    "Drum",
    "Castle",
    "Rocket",
    "Tea Set",
];

/// Makes a shop whose customers mostly stay with a maker and move on to the next thing, trains a
/// small GLM on it from nothing, recommends, and prints hits against popularity.
pub fn run(args: &Demo, global: &Global) -> Result<()> {
    let shop = args.out.join("shop");
    fs::create_dir_all(&shop).with_context(|| shop.display().to_string())?;
    let emulated = global.place()?.is_emulated();
    if emulated {
        global.note(
            "demo: the emulator shows that every step runs as on a GPU; for learning it is \
            too slow",
        );
    }
    let users = args.users.unwrap_or(if emulated { 24 } else { 1500 });
    let epochs = args.epochs.unwrap_or(if emulated { 2.0 } else { 20.0 });
    if users == 0 {
        return Err(Fault::Usage.error("demo: expected --users above 0, got 0"));
    }
    let popular = make_shop(&shop, users)?;
    let data = args.out.join("shop.bin");
    prepare::run(&parse::<prepare::Prepare>(&[
        &shop.display().to_string(),
        "--train-tokenizer",
        "600",
        "--out",
        &data.display().to_string(),
    ])?)?;
    let config = args.out.join("config.json");
    let model = json!({
        "model_type": "glm", "num_layers": 2, "hidden_size": 96, "num_attention_heads": 4, "vocab_size": 640,
        "max_sequence_length": 256, "output_predict": true
    });
    fs::write(&config, model.to_string())?;
    let weights = args.out.join("weights");
    init::run(
        &parse::<init::Init>(&[
            "--model",
            &config.display().to_string(),
            "--tokenizer",
            &args.out.join("tokenizer.json").display().to_string(),
            "--vocab-from-tokenizer",
            "--out",
            &weights.display().to_string(),
        ])?,
        global,
    )?;
    let run = args.out.join("run");
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    let data = data.display().to_string();
    let run_path = run.display().to_string();
    let flags = [
        "--weights",
        &weights.display().to_string(),
        "--data",
        &data,
        "--out",
        &run_path,
        "--tune",
        "full",
        "--epochs",
        &epochs.to_string(),
        "--batch",
        if emulated { "8" } else { "64" },
        "--learning-rate",
        "3e-3",
        "--dropout",
        "0.1",
        "--validate-every",
        "150",
        "--validate-users",
        "200",
    ]
    .map(str::to_owned);
    train::run(
        &parse::<train::Train>(&flags.iter().map(String::as_str).collect::<Vec<_>>())?,
        global,
    )?;
    let predictions = args.out.join("predictions.jsonl").display().to_string();
    decode::run(
        &parse::<decode::Decode>(&[
            "--weights",
            &run_path,
            "--data",
            &data,
            "--out",
            &predictions,
        ])?,
        global,
    )?;
    let (mut hits, mut popular_hits, mut users) = (0, 0, 0);
    for line in fs::read_to_string(&predictions)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let target = &line["target"];
        users += 1;
        hits += usize::from(
            line["items"].as_array().is_some_and(|i| i.iter().any(|i| &i["item"] == target)),
        );
        popular_hits += usize::from(popular.iter().any(|p| target == p));
    }
    let share = |n: usize| n as f64 / users as f64;
    println!("\n| method | HR@10, {users} users |\n|---|---|");
    println!("| popularity | {:.4} |\n| engine | {:.4} |", share(popular_hits), share(hits));
    println!("\nrun folder: {run_path}\npredictions: {predictions}");
    Ok(())
}

/// A verb's flags from words, by the parser that the command line uses.
fn parse<T: clap::Args>(words: &[&str]) -> Result<T> {
    let command = T::augment_args(clap::Command::new("demo"));
    let matches =
        command.try_get_matches_from(std::iter::once("demo").chain(words.iter().copied()))?;
    Ok(T::from_arg_matches(&matches)?)
}

/// Writes items.jsonl and sequences.txt; returns the ten most bought items of the training part.
fn make_shop(folder: &Path, users: usize) -> Result<Vec<usize>> {
    let mut items = String::new();
    for (m, maker) in MAKERS.iter().enumerate() {
        for (t, thing) in THINGS.iter().enumerate() {
            for (v, size) in ["Small", "Large"].iter().enumerate() {
                let id = (m * THINGS.len() + t) * 2 + v + 1;
                let line = json!({"id": id, "title": format!("{maker} {size} {thing}"), "categories": [["Toys", thing]]});
                items.push_str(&line.to_string());
                items.push('\n');
            }
        }
    }
    fs::write(folder.join("items.jsonl"), items)?;
    let mut sequences = String::new();
    let mut counts = vec![0usize; MAKERS.len() * THINGS.len() * 2 + 1];
    for user in 1..=users {
        let mut rng = Philox::new(1, Stream::Synthetic, user as u64);
        let (mut maker, mut thing) = (rng.below(MAKERS.len()), rng.below(THINGS.len()));
        let length = 5 + rng.below(6);
        let mut bought: Vec<usize> = Vec::new();
        while bought.len() < length {
            let id = (maker * THINGS.len() + thing) * 2 + rng.below(2) + 1;
            if !bought.contains(&id) {
                bought.push(id);
            }
            thing = (thing + 1) % THINGS.len();
            if rng.uniform() < 0.15 {
                maker = rng.below(MAKERS.len());
            }
        }
        bought[..length - 2].iter().for_each(|&i| counts[i] += 1);
        let words: Vec<String> =
            std::iter::once(user).chain(bought).map(|n| n.to_string()).collect();
        sequences.push_str(&words.join(" "));
        sequences.push('\n');
    }
    fs::write(folder.join("sequences.txt"), sequences)?;
    let mut order: Vec<usize> = (1..counts.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(counts[i]), i));
    order.truncate(10);
    Ok(order)
}
