use super::data::{check_fit, load_model, storage, Purpose, RowFlags};
use super::init::Storage;
use super::progress::Progress;
use super::{interrupt, Global};
use crate::base::{write_atomically, Fault};
use crate::data::task::{sampled_users, Split};
use crate::data::Dataset;
use crate::decode::{recommend, Prompt, Rules};
use crate::model::Tune;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Recommends: the best items for every user, one JSON line each, as they are done.
///
/// Example: engine decode --weights glm-10b --adapter runs/toys-lora-1 --data toys.bin --out predictions.jsonl
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decode {
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A PEFT folder or a run folder
    #[arg(long, value_name = "RUN")]
    pub adapter: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    #[arg(long, default_value = "sequential", value_parser = ["sequential"])]
    pub task: String,
    #[arg(long, default_value = "test", value_parser = ["test", "validation"])]
    pub split: String,
    #[arg(long, default_value_t = 20)]
    pub beams: usize,
    /// Items written a user
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// alpha of sum of log-probabilities / length^alpha
    #[arg(long, default_value_t = 1.0)]
    pub length_penalty: f64,
    /// Only a seeded sample of this many users; 0 = all
    #[arg(long, default_value_t = 0)]
    pub users: usize,
    /// Users decoded together; the results do not depend on it
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowFlags,
    /// Where the JSON lines go; - = standard output
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    pub out: String,
    /// Go on where a killed run stopped
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// A line a request with all that recomputes its scores elsewhere
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    #[arg(long, value_parser = ["tanh", "erf"])]
    pub gelu: Option<String>,
    /// Storage of weights and activations [default: f32 on the CPU, otherwise bf16]
    #[arg(long, value_enum)]
    pub dtype: Option<Storage>,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Streams the best items of every user, in the order of the users.
pub fn run(args: &Decode, global: &Global) -> Result<()> {
    if args.beams == 0 || args.batch == 0 {
        return Err(Fault::Usage.error("decode: expected --beams and --batch above 0"));
    }
    let storage = storage(args.dtype, global, &Tune::Nothing);
    let args = &Decode { dtype: Some(storage), ..args.clone() };
    let model = load_model(
        global,
        &args.weights,
        args.adapter.as_deref(),
        &Tune::Nothing,
        args.gelu.as_deref(),
        storage.dtype(),
        args.seed,
    )?;
    let dataset = Dataset::open(&args.data)?;
    check_fit(&model, &dataset)?;
    interrupt::install();
    let tasks = args.rows.tasks(&dataset, model.config.max_positions, Purpose::Decoding, args.seed)?;
    let split = if args.split == "test" { Split::Test } else { Split::Validation };
    let users = sampled_users(&dataset, split, args.users, args.seed);
    let settings = serde_json::to_string_pretty(&json!({"decode": args, "data_hash": dataset.hash()}))?;
    let (mut out, done) = open_out(args, &dataset, &users, &settings)?;
    let mut trace = match &args.trace {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| path.display().to_string())?)),
        None => None,
    };
    let catalogue = dataset.catalogue();
    let end = tasks.builder().special().end;
    let rules = Rules {
        trie: &catalogue,
        intra: tasks.builder().intra(),
        end,
        width: args.beams,
        length_penalty: args.length_penalty,
        look_ahead: true,
    };
    let mut progress = Progress::new("decode", users.len() as u64, "users", global.quiet);
    progress.resume_at(done as u64);
    for group in users[done..].chunks(args.batch) {
        let begun = Instant::now();
        let mut prompts = Vec::with_capacity(group.len());
        for &user in group {
            let items = dataset.user(user).items;
            let shown = split.shown(items.len()).expect("chosen users have a target");
            let sample = tasks.prompt(user, shown)?;
            prompts.push(Prompt { mask_position: sample.mask_inter(), sample });
        }
        let (found, _) = recommend(&model, rules, &prompts)?;
        let seconds = begun.elapsed().as_secs_f64() / group.len() as f64;
        for ((&user, prompt), found) in group.iter().zip(&prompts).zip(&found) {
            let user = dataset.user(user);
            let shown = split.shown(user.items.len()).expect("chosen users have a target");
            let items: Vec<Value> = found
                .iter()
                .flat_map(|f| catalogue.members(f.node).iter().map(move |&item| (item, f.score)))
                .take(args.top)
                .map(|(item, score)| {
                    let item = dataset.item(item);
                    json!({"item": id(item.id), "title": item.surface, "score": score, "valid": true})
                })
                .collect();
            let line = json!({
                "id": id(user.id), "task": args.task, "template": args.rows.template[0],
                "target": id(dataset.item(user.items[shown]).id), "items": items,
                "tokens": prompt.sample.tokens.len(), "seconds": (seconds * 1e6).round() / 1e6,
            });
            writeln!(out, "{line}")?;
            if let Some(trace) = &mut trace {
                let items: Vec<Value> = found
                    .iter()
                    .flat_map(|f| {
                        let positions = [vec![prompt.mask_position; f.ids.len()], f.ids.clone()];
                        catalogue.members(f.node).iter().map(move |&item| (item, f, positions.clone()))
                    })
                    .take(args.top)
                    .map(|(item, f, positions)| {
                        json!({"item": id(dataset.item(item).id), "tokens": f.tokens, "positions": positions, "log_probs": f.log_probs})
                    })
                    .collect();
                let sample = &prompt.sample;
                let shown = json!({"input_ids": sample.tokens, "positions": sample.positions, "context": sample.context});
                writeln!(trace, "{}", json!({"id": id(user.id), "prompt": shown, "items": items}))?;
            }
        }
        out.flush()?;
        progress.advance(group.len() as u64);
        if interrupt::signal().is_some() {
            break;
        }
    }
    progress.finish();
    if let Some(trace) = &mut trace {
        trace.flush()?;
    }
    interrupt::check()
}

/// A source id as JSON: a number where it is one.
fn id(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(n) if n.to_string() == text => json!(n),
        _ => json!(text),
    }
}

/// The output and the number of users that it holds already. A line cut off by the end of a process is taken away.
fn open_out(
    args: &Decode,
    dataset: &Dataset,
    users: &[u32],
    settings: &str,
) -> Result<(Box<dyn Write>, usize)> {
    if args.out == "-" {
        return Ok((Box::new(std::io::stdout().lock()), 0));
    }
    let path = Path::new(&args.out);
    let side = path.with_file_name("settings.json");
    let mut kept = Vec::new();
    let mut done = 0;
    if args.resume && path.exists() {
        let before = std::fs::read_to_string(&side).unwrap_or_default();
        if before.trim_end() != settings {
            return Err(Fault::Usage.error(format!(
                "--resume: {}: expected the settings in {}, got others; use another --out",
                path.display(),
                side.display()
            )));
        }
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            let Ok(value) = serde_json::from_str::<Value>(&line) else { break };
            let expected = users.get(done).map(|&u| id(dataset.user(u).id));
            if Some(&value["id"]) != expected.as_ref() {
                return Err(Fault::Data.error(format!(
                    "{}:{}: expected user {expected:?}, got {}; use another --out",
                    path.display(),
                    done + 1,
                    value["id"]
                )));
            }
            kept.extend_from_slice(line.as_bytes());
            kept.push(b'\n');
            done += 1;
        }
    }
    write_atomically(path, |f| Ok(f.write_all(&kept)?))?;
    write_atomically(&side, |f| Ok(writeln!(f, "{settings}")?))?;
    let file = OpenOptions::new().append(true).open(path).with_context(|| path.display().to_string())?;
    Ok((Box::new(BufWriter::new(file)), done))
}
