use super::answer::{id, Answerer, Question};
use super::data::{check_fit, load_model, Purpose, RowFlags};
use super::filter::Filter;
use super::init::Storage;
use super::output::Output;
use super::progress::Progress;
use super::prompts::{self, RawLines};
use super::{interrupt, Global};
use crate::base::Fault;
use crate::data::task::{sampled_users, Split};
use crate::data::Dataset;
use crate::model::Tune;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Recommends: the best items for every user or prompt, one JSON line each, as they are done.
///
/// With --prompts, answers JSON lines: {"id": 1, "history": ["title or id", …]} with the next
/// items; with "candidates": […] beside it, these alone in their order; with "profile": {…}, what
/// is known of the person; and {"id": 2, "text": "… [MASK]"}, a free prompt, with "text". From
/// standard input (--prompts -) they are answered as they come, in their order, until the input
/// ends; a line that cannot be answered yields {"id": …, "error": "…"}.
///
/// Example: engine decode --weights glm-10b --adapter runs/toys-lora-1 --data toys.bin --out
/// predictions.jsonl
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decode {
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A PEFT folder or a run folder
    #[arg(long, value_name = "RUN")]
    pub adapter: Option<PathBuf>,
    /// The prepared .bin: catalogue, tokenizer and tries, with --prompts as well
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// JSON lines to answer instead of the data's users; - = standard input, answered as they come
    #[arg(long, value_name = "FILE|-")]
    pub prompts: Option<String>,
    /// What is asked about users; of prompts, the task of a line that names none
    #[arg(long, default_value = "sequential", value_parser = TASKS)]
    pub task: String,
    /// Which event of every user is asked for, without --prompts
    #[arg(long, default_value = "test", value_parser = ["test", "validation"])]
    pub split: String,
    /// Beam search over the trie of the catalogue, or every item's likelihood: the reference for
    /// small catalogues
    #[arg(long, default_value = "trie", value_parser = ["trie", "score-all"])]
    pub mode: String,
    #[arg(long, default_value_t = 20)]
    pub beams: usize,
    /// Items written a user
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// alpha of sum of log-probabilities / length^alpha
    #[arg(long, default_value_t = 1.0)]
    pub length_penalty: f64,
    /// Leave the history's items out of the lists, but for the target; the beam is wider by as many
    #[arg(long)]
    #[serde(default)]
    pub filter_history: bool,
    /// What may fill a free prompt of one mask: anything, or items of the catalogue
    #[arg(long, default_value = "none", value_parser = ["none", "trie"])]
    pub constrain: String,
    /// Whether entities are recognised in free prompts
    #[arg(long, default_value = "trie", value_parser = ["trie", "none"])]
    pub segment_free_text: String,
    /// Tokens of a free answer at most
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_new_tokens: usize,
    /// Only a seeded sample of this many users; 0 = all
    #[arg(long, default_value_t = 0)]
    pub users: usize,
    /// Users or prompts decoded together at most, fewer where memory asks for it; the results do
    /// not depend on it
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    /// Milliseconds that a prompt from standard input waits for company
    #[arg(long, default_value_t = 10, value_name = "MS")]
    pub max_wait: u64,
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

const TASKS: [&str; 5] = ["sequential", "direct", "rating", "explanation", "review"];

/// Where questions come from.
enum Source {
    /// Users of the data set with an event to ask for.
    Users(Split, Vec<u32>),
    /// A file that can be read again.
    File(PathBuf),
    /// Lines that come when they come: standard input, a pipe.
    Stream(Option<PathBuf>),
}

impl Decode {
    /// Refuses flags that contradict one another.
    fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Fault::Usage.error(format!("decode: {what}")));
        if [self.beams, self.batch, self.top, self.max_new_tokens].contains(&0) {
            return refuse(
                "expected --beams, --batch, --top and --max-new-tokens above 0; raise them",
            );
        }
        if self.resume && self.out == "-" {
            return refuse(
                "--resume: expected --out FILE to go on with, got standard output; name the file",
            );
        }
        if self.prompts.is_none() && self.task != "sequential" {
            return refuse(&format!(
                "--task {}: expected sequential for the users of --data, got another; ask for it \
                with --prompts and a text \
                 in every line",
                self.task
            ));
        }
        Ok(())
    }

    /// The source of questions, but for users.
    fn source(&self, dataset: &Dataset) -> Result<Source> {
        let Some(prompts) = &self.prompts else {
            let split = if self.split == "test" { Split::Test } else { Split::Validation };
            return Ok(Source::Users(split, sampled_users(dataset, split, self.users, self.seed)));
        };
        let stream = match prompts.as_str() {
            "-" => None,
            path => match Path::new(path).metadata() {
                Ok(found) if found.is_file() => return Ok(Source::File(PathBuf::from(path))),
                Ok(found) if !found.is_dir() => Some(PathBuf::from(path)),
                Ok(_) => return Err(prompts::refuse_file(path, "a folder")),
                Err(error) => return Err(prompts::refuse_file(path, &error.to_string())),
            },
        };
        if self.resume {
            return Err(Fault::Usage.error(format!(
                "decode: --resume: expected --prompts FILE, whose lines can be read again, got \
                {prompts}; put the prompts \
                 into a file"
            )));
        }
        Ok(Source::Stream(stream))
    }
}

/// Streams the best items of every user or prompt, in the order in which they were asked.
pub fn run(args: &Decode, global: &Global) -> Result<()> {
    args.check()?;
    let Some(data) = &args.data else {
        return Err(Fault::Usage.error(
            "--data: expected the prepared .bin, got none; name it: the catalogue, tokenizer and \
            tries are in it, and \
             prompts need them as well",
        ));
    };
    let place = global.place()?;
    let storage = args.dtype.unwrap_or_else(|| Storage::of(place, &Tune::Nothing));
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
    let dataset = Dataset::open(data)?;
    check_fit(&model, &dataset)?;
    interrupt::install();
    super::data::check_tokenizer(&args.weights, &dataset)?;
    let tasks =
        args.rows.tasks(&dataset, model.config.max_positions, Purpose::Decoding, args.seed)?;
    let answerer = Answerer::new(args, &model, &dataset, tasks)?;
    let source = args.source(&dataset)?;

    let mut settings = json!({
        "decode": args, "data_hash": dataset.hash(), "device": model.device.name(), "engine": env!("CARGO_PKG_VERSION"),
    });
    if let Source::File(path) = &source {
        settings["prompts_hash"] = json!(prompts::hash(path)?);
    }
    let ids: Box<dyn Iterator<Item = Result<Value>>> = match &source {
        Source::Users(_, users) => {
            Box::new(users.iter().map(|&user| Ok(id(dataset.user(user).id))))
        }
        Source::File(path) => Box::new(prompts::ids(path)?),
        Source::Stream(_) => Box::new(std::iter::empty()),
    };
    let (mut output, done) = Output::open(args, &settings, ids)?;

    let (total, unit) = match &source {
        Source::Users(_, users) => (users.len(), "users"),
        _ => (0, "prompts"),
    };
    let mut progress = Progress::new("decode", total as u64, unit, global.quiet);
    progress.resume_at(done as u64);
    let mut next = groups(args, &answerer, &source, done)?;
    let mut refused = 0;
    while let Some(questions) = next()? {
        let answers = answerer.answer(&questions)?;
        refused += answers.iter().filter(|answer| answer.refused).count();
        output.write(&answers)?;
        progress.advance(questions.len() as u64);
    }
    progress.finish();
    if refused > 0 {
        global
            .note(&format!("decode: {refused} prompts could not be answered; their lines say why"));
    }
    interrupt::check()
}

/// Questions of a group, `None` when there are no more or a signal came.
type Next<'a> = Box<dyn FnMut() -> Result<Option<Vec<Question>>> + 'a>;

/// The questions behind the first `done`, group by group.
fn groups<'a>(
    args: &'a Decode,
    answerer: &'a Answerer<'_>,
    source: &'a Source,
    done: usize,
) -> Result<Next<'a>> {
    Ok(match source {
        Source::Users(split, users) => {
            let mut chunks = users[done..].chunks(args.batch);
            Box::new(move || match chunks.next() {
                Some(users) if interrupt::signal().is_none() => users
                    .iter()
                    .map(|&user| answerer.user(user, *split))
                    .collect::<Result<_>>()
                    .map(Some),
                _ => Ok(None),
            })
        }
        Source::File(path) => {
            let mut lines = RawLines::open(path)?;
            for _ in 0..done {
                lines.next()?;
            }
            Box::new(move || {
                let mut questions = Vec::new();
                while questions.len() < args.batch && interrupt::signal().is_none() {
                    let Some(line) = lines.next()? else { break };
                    questions.push(answerer.prompt(&line));
                }
                Ok(Some(questions).filter(|questions| !questions.is_empty()))
            })
        }
        Source::Stream(path) => {
            let lines = match path {
                Some(path) => RawLines::open(path)?,
                None => RawLines::standard_input()?,
            };
            let filter = Filter::start(lines, args.batch, Duration::from_millis(args.max_wait));
            Box::new(move || {
                let lines = filter.next()?;
                Ok(lines.map(|lines| lines.iter().map(|line| answerer.prompt(line)).collect()))
            })
        }
    })
}
