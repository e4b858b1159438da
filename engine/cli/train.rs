use super::budget::Budget;
use super::data::{check_fit, check_tokenizer, load_model, Purpose, RowFlags};
use super::init::Storage;
use super::inspect::memory::{self, Answering, VALIDATION_GROUP};
use super::inspect::sheet::amount;
use super::paths::find_weights;
use super::progress::Progress;
use super::settings::resolved_toml;
use super::{interrupt, Global};
use crate::base::{write_atomically, Dtype, Fault};
use crate::data::span::{Masking, SpanOrder};
use crate::data::task::{examples_of_step, sampled_users, Mix, Split, Tasks};
use crate::data::{batch, Batch, Dataset, Sample};
use crate::decode;
use crate::model::plan::Decoding;
use crate::model::{adapter_config, Keep, LoraConfig, Model, Rates, Tune};
use crate::train::{self, End, Hooks, Hyper, Report, Schedule, Settings, State};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Trains an adapter, or all weights, to name the next item and to fill blanks in histories.
///
/// Example: engine train --weights glm-10b --data toys.bin
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Train {
    /// The checkpoint folder to start from
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// The prepared .bin
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The run folder [default: runs/<data>-<tune>-<n>]
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// What is trained: an adapter or every weight
    #[arg(long, default_value = "lora", value_parser = ["lora", "full"])]
    pub tune: String,
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    #[arg(long, default_value_t = 16.0)]
    pub alpha: f64,
    #[arg(long, default_value_t = 0.0)]
    pub lora_dropout: f32,
    /// Linears that take an adapter
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "query_key_value,dense,dense_h_to_4h,dense_4h_to_h"
    )]
    pub targets: Vec<String>,
    /// Train both position tables beside the adapter
    #[arg(long)]
    pub train_positions: bool,
    /// Go on from the newest checkpoint of --out
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// Passes over the users
    #[arg(long, default_value_t = 8.0)]
    pub epochs: f64,
    /// Examples of an optimiser step
    #[arg(long, default_value_t = 128)]
    pub batch: usize,
    /// Rows computed at once; a step is cut into as many micro-batches as that takes
    #[arg(long, default_value_t = 8192)]
    pub batch_rows: usize,
    #[arg(long, default_value_t = 1e-5)]
    pub learning_rate: f64,
    /// Share of the steps during which the rate rises
    #[arg(long, default_value_t = 0.05)]
    pub warmup: f64,
    #[arg(long, default_value_t = 0.9)]
    pub beta1: f32,
    #[arg(long, default_value_t = 0.95)]
    pub beta2: f32,
    #[arg(long, default_value_t = 0.01)]
    pub weight_decay: f32,
    /// Largest gradient norm; 0 = no clipping
    #[arg(long, default_value_t = 1.0)]
    pub clip: f32,
    /// Dropout of embeddings and sub-layer outputs [default: the config's with --tune full,
    /// otherwise 0]
    #[arg(long)]
    pub dropout: Option<f32>,
    /// Dropout of attention probabilities [default: as --dropout]
    #[arg(long)]
    pub attention_dropout: Option<f32>,
    /// What a layer keeps for its backward; auto = the most that there is memory for. No number
    /// depends on it
    #[arg(long, default_value = "auto", value_parser = memory::KEEPS)]
    pub keep: String,
    /// Share of blank infilling among the examples; the rest asks for the next item
    #[arg(long, default_value_t = 0.5)]
    pub mix: f64,
    /// Probability that an example begins at a random event instead of the user's first
    #[arg(long, default_value_t = 0.0)]
    pub windows: f64,
    /// Weights of entity-, sentence- and document-level masks
    #[arg(long, value_delimiter = ',', default_value = "0.4,0.3,0.3")]
    pub levels: Vec<f64>,
    /// Smallest share of the tokens that a document-level span masks
    #[arg(long, default_value_t = 0.5)]
    pub document_min: f64,
    /// Probability that a document-level span is the suffix
    #[arg(long, default_value_t = 0.5)]
    pub document_suffix: f64,
    /// Share of the tokens masked at entity and sentence level
    #[arg(long, default_value_t = 0.15)]
    pub mask_ratio: f64,
    /// Spans of part B in order, or shuffled as GLM does
    #[arg(long, default_value = "chrono", value_parser = ["chrono", "shuffle"])]
    pub span_order: String,
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowFlags,
    /// Steps between validations; 0 = none
    #[arg(long, default_value_t = 200)]
    pub validate_every: u64,
    /// Users of a validation; 0 = all
    #[arg(long, default_value_t = 500)]
    pub validate_users: usize,
    /// Beams of a validation
    #[arg(long, default_value_t = 10)]
    pub validate_beams: usize,
    /// alpha of a validation's sum of log-probabilities / length^alpha
    #[arg(long, default_value_t = 1.0)]
    pub validate_length_penalty: f64,
    /// Validations without gain after which the run ends; 0 = never
    #[arg(long, default_value_t = 0)]
    pub patience: u32,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 200)]
    pub checkpoint_every: u64,
    #[arg(long, default_value_t = 2)]
    #[serde(skip)]
    pub keep_checkpoints: usize,
    /// Stop, saved, after this much training; 0 = no limit
    #[arg(long, default_value_t = 0.0)]
    #[serde(skip)]
    pub max_minutes: f64,
    #[arg(long, value_parser = ["tanh", "erf"])]
    pub gelu: Option<String>,
    /// Storage of weights and activations [default: f32 on the CPU and with --tune full, otherwise
    /// bf16]
    #[arg(long, value_enum)]
    pub dtype: Option<Storage>,
    /// Decides order, spans and dropout
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Train {
    fn tune(&self) -> Result<Tune> {
        Ok(if self.tune == "full" {
            Tune::Full
        } else {
            let config = LoraConfig {
                rank: self.rank,
                alpha: self.alpha,
                dropout: self.lora_dropout,
                targets: LoraConfig::targets_of(&self.targets)?,
                rank_stabilised: false,
            };
            Tune::Lora { config, positions: self.train_positions }
        })
    }

    fn masking(&self) -> Result<Masking> {
        let mix: [f64; 3] = self.levels.as_slice().try_into().map_err(|_| {
            Fault::Usage.error(format!("--levels: expected three weights, got {:?}", self.levels))
        })?;
        let masking = Masking {
            mix,
            ratio: self.mask_ratio,
            doc_min: self.document_min,
            doc_suffix: self.document_suffix,
            order: if self.span_order == "shuffle" {
                SpanOrder::Shuffle
            } else {
                SpanOrder::Chrono
            },
            ..Masking::default()
        };
        masking.check()?;
        Ok(masking)
    }

    /// The settings as TOML, without what does not change the numbers.
    fn resolved(&self) -> Result<String> {
        resolved_toml(&Train { out: None, ..self.clone() })
    }
}

/// Trains and leaves a run folder.
pub fn run(args: &Train, global: &Global) -> Result<()> {
    if args.batch == 0 || args.epochs <= 0.0 || args.learning_rate <= 0.0 {
        return Err(
            Fault::Usage.error("train: expected --batch, --epochs and --learning-rate above 0")
        );
    }
    let tune = args.tune()?;
    // The device decides the default, and the default decides the numbers: a resume must ask for
    // the same.
    let place = global.place()?;
    let storage = args.dtype.unwrap_or_else(|| Storage::of(place, &tune));
    let args = &Train { dtype: Some(storage), ..args.clone() };
    let mut model = load_model(
        global,
        &args.weights,
        None,
        &tune,
        args.gelu.as_deref(),
        storage.dtype(),
        args.seed,
    )?;
    let dataset = Dataset::open(&args.data)?;
    check_fit(&model, &dataset)?;
    check_tokenizer(&args.weights, &dataset)?;
    let run = match &args.out {
        Some(run) => run.clone(),
        None => free_run(&dataset, &args.tune),
    };
    if !args.resume && !train::checkpoint::list(&run)?.is_empty() {
        return Err(Fault::Usage.error(format!(
            "--out: {}: expected a new run, got one with checkpoints; add --resume or choose \
            another folder",
            run.display()
        )));
    }
    std::fs::create_dir_all(&run).with_context(|| run.display().to_string())?;
    interrupt::install();
    let tasks =
        args.rows.tasks(&dataset, model.config.max_positions, Purpose::Training, args.seed)?;
    let mix = Mix { masking: args.masking()?, blanks: args.mix, windows: args.windows };
    let learners = tasks.learners();
    if learners.is_empty() {
        return Err(Fault::Data.error(format!(
            "data: {}: expected users with two training events or more, got none",
            args.data.display()
        )));
    }
    let total = ((args.epochs * learners.len() as f64) / args.batch as f64).ceil() as u64;
    let resolved = args.resolved()?;
    let users = sampled_users(&dataset, Split::Validation, args.validate_users, args.seed);
    let budget = Budget::of(&model, &tune)?;
    let (groups, fullest) = validation_groups(args, &budget, &tasks, &dataset, &users)?;
    let rates = Rates::of(&tune, &model.config, args.dropout, args.attention_dropout);
    let rows = args.batch_rows.min(args.batch * tasks.builder().options().max_row);
    let step_of = |keep: Keep| memory::training(keep, rows, rates, args.lora_dropout);
    let settings = Settings {
        run: run.clone(),
        seed: args.seed,
        schedule: Schedule {
            peak: args.learning_rate,
            warmup: (args.warmup * total as f64) as u64,
            total,
            floor: 0.0,
        },
        hyper: Hyper {
            beta1: args.beta1,
            beta2: args.beta2,
            epsilon: 1e-8,
            weight_decay: args.weight_decay,
            clip: args.clip,
            decay_all: false,
        },
        rates,
        lora_dropout: args.lora_dropout,
        keep: memory::keep_of(&args.keep).unwrap_or_else(|| budget.keep(step_of)),
        validate_every: args.validate_every,
        patience: args.patience,
        checkpoint_every: args.checkpoint_every,
        keep_checkpoints: args.keep_checkpoints,
        max_seconds: 60.0 * args.max_minutes,
        fingerprint: crc32fast::hash(format!("{resolved}{}", dataset.hash()).as_bytes()),
    };
    println!("run: {}", run.display());
    global.note(&format!(
        "{} users, {} trained values, {total} steps of {} examples, validation on {} users",
        learners.len(),
        model.layout().len(),
        args.batch,
        users.len()
    ));
    global.note(&budget.words(&step_of(settings.keep), fullest.as_ref()));
    let catalogue = dataset.catalogue();
    let mut batches = |step: u64| -> Result<Vec<Batch>> {
        let samples: Vec<Sample> = examples_of_step(&learners, args.batch, args.seed, step)
            .into_iter()
            .map(|(user, example)| tasks.training(user, example, &mix))
            .collect::<Result<_>>()?;
        let lengths: Vec<usize> = samples.iter().map(|s| s.tokens.len()).collect();
        let packs = batch::pack(&lengths, args.batch_rows, args.seed, step)?;
        Ok(packs.iter().map(|pack| Batch::of(pack.iter().map(|&i| &samples[i]))).collect())
    };
    let mut validate = |_: u64, model: &Model| -> Result<(f64, serde_json::Value)> {
        let rules = decode::Rules {
            trie: &catalogue,
            intra: tasks.builder().intra(),
            end: tasks.builder().special().end,
            width: args.validate_beams,
            length_penalty: args.validate_length_penalty,
            look_ahead: true,
        };
        let (mut hits, mut gain) = (0usize, 0f64);
        for group in &groups {
            let asked = group.iter().map(|&user| prompt_of(&tasks, &dataset, user));
            let (prompts, targets): (Vec<_>, Vec<u32>) =
                asked.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            let (found, _) = decode::recommend(model, rules, &prompts)?;
            for (found, target) in found.iter().zip(targets) {
                let ranked = found.iter().flat_map(|f| catalogue.members(f.node));
                if let Some(rank) = ranked.take(10).position(|&item| item == target) {
                    hits += 1;
                    gain += 1.0 / (rank as f64 + 2.0).log2();
                }
            }
        }
        let n = users.len().max(1) as f64;
        let (hr, ndcg) = (hits as f64 / n, gain / n);
        Ok((ndcg, json!({"hr@10": hr, "ndcg@10": ndcg, "users": users.len()})))
    };
    let mut bar = Progress::new("train", total, "steps", global.quiet);
    let mut begun = false;
    let mut progress = |report: &Report| {
        if !begun {
            bar.resume_at(report.step - 1);
            begun = true;
        }
        bar.message(format!(
            "loss {:.4}  rate {:.2e}  norm {:.2}  {:.0} tokens/s",
            report.loss, report.learning_rate, report.gradient_norm, report.tokens_per_second
        ));
        bar.advance(1);
        if let Some(score) = report.validation {
            bar.note(&format!(
                "step {}: NDCG@10 {score:.4} after {:.0} s",
                report.step, report.seconds
            ));
        }
    };
    let mut publish =
        |model: &Model, state: &State| publish(args, &run, model, &dataset, &resolved, state);
    let mut interrupted = || interrupt::signal().is_some();
    let mut hooks = Hooks {
        batches: &mut batches,
        validate: &mut validate,
        progress: &mut progress,
        publish: &mut publish,
        interrupted: &mut interrupted,
    };
    let (state, end) = train::train(&mut model, &settings, args.resume, &mut hooks)?;
    bar.finish();
    let why = match end {
        End::Done => "done",
        End::NoGain => "no gain for --patience validations",
        End::TimeIsUp => "--max-minutes reached; --resume goes on",
        End::Interrupted => "interrupted, state saved; --resume goes on",
    };
    let best = state
        .best
        .map_or(String::new(), |(score, step)| format!(", best NDCG@10 {score:.4} at step {step}"));
    let peak = model.device.memory().peak as u64;
    global.note(&format!("memory: peak {}", amount(peak)));
    println!("{why}: {} steps, {:.0} s{best}", state.step, state.seconds);
    interrupt::check()
}

/// Users in groups whose prompts have room to be answered together, and the group that takes most.
fn validation_groups<'u>(
    args: &Train,
    budget: &Budget,
    tasks: &Tasks,
    dataset: &Dataset,
    mut users: &'u [u32],
) -> Result<(Vec<&'u [u32]>, Option<Decoding>)> {
    let answering = Answering::items(dataset, args.validate_beams);
    let rows_of = |&user: &u32| Ok(prompt_of(tasks, dataset, user)?.0.sample.rows());
    let (mut groups, mut prompts, mut rows) = (Vec::new(), 0, 0);
    while !users.is_empty() && args.validate_every > 0 {
        let next = &users[..users.len().min(VALIDATION_GROUP)];
        let lengths = next.iter().map(rows_of).collect::<Result<Vec<usize>>>()?;
        let (group, rest) = users.split_at(budget.together(&lengths, answering));
        prompts = prompts.max(group.len());
        rows = rows.max(lengths[..group.len()].iter().sum());
        groups.push(group);
        users = rest;
    }
    let fullest = (prompts > 0).then(|| answering.plan(prompts, rows));
    Ok((groups, fullest))
}

/// What asks for a user's validation event, and the item that answers it.
fn prompt_of(tasks: &Tasks, dataset: &Dataset, user: u32) -> Result<(decode::Prompt, u32)> {
    let items = dataset.user(user).items;
    let shown = Split::Validation.shown(items.len()).expect("sampled users have a target");
    let sample = tasks.prompt(user, shown)?;
    Ok((decode::Prompt { mask_position: sample.mask_inter(), sample }, items[shown]))
}

/// The first `runs/<data>-<tune>-<n>` that does not exist.
fn free_run(dataset: &Dataset, tune: &str) -> PathBuf {
    (1..)
        .map(|n| PathBuf::from(format!("runs/{}-{tune}-{n}", dataset.name())))
        .find(|p| !p.exists())
        .expect("some number is free")
}

/// The run folder's model files: an adapter as PEFT writes it, or a whole weights folder.
fn publish(
    args: &Train,
    run: &Path,
    model: &Model,
    dataset: &Dataset,
    resolved: &str,
    state: &State,
) -> Result<()> {
    if let Some(lora) = model.lora() {
        let saved = args.tune()?.saved_modules(&model.config);
        let config = serde_json::to_string_pretty(&adapter_config(
            lora,
            &args.weights.display().to_string(),
            &saved,
        ))?;
        model.save_adapter(&run.join("adapter_model.safetensors"))?;
        write_atomically(&run.join("adapter_config.json"), |f| Ok(writeln!(f, "{config}")?))?;
    } else {
        model.save_weights(&run.join("model.safetensors"), Dtype::F32)?;
        let config = std::fs::read(find_weights(&args.weights)?.join("config.json"))?;
        write_atomically(&run.join("config.json"), |f| Ok(f.write_all(&config)?))?;
        write_atomically(
            &run.join("tokenizer.json"),
            |f| Ok(f.write_all(dataset.vocab().json())?),
        )?;
    }
    let which = match state.best {
        Some((score, step)) => {
            format!(
                "# the model files are of step {step}, the best by validation: NDCG@10 \
                {score:.4}\n"
            )
        }
        None => format!("# the model files are of step {}, the newest\n", state.step),
    };
    write_atomically(&run.join("config.toml"), |f| Ok(write!(f, "{which}{resolved}")?))
}
