//! `engine sweep`: a file becomes a ladder, its progress becomes lines.

use super::flags::Overwriting;
use super::{interrupt, ladder, say, Global};
use crate::recommender::sweep::{sweep, How, Watch};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Trains, asks and compares the steps of a ladder, each under every seed.
///
/// LADDER.toml says on which `data` (a .bin, or synthetic:USERS,ITEMS[,SEED] with [prepare]), from
/// which [base] (`weights`, or `model` for one from nothing under each seed, taught on other `data`
/// by `train` where that is said), under which `seeds` (a list, or how many), the flags that all
/// steps share in [train], [decode] and [eval], and the steps: [[step]] with a `name` and its own
/// `train` and `decode`; `from` asks another step's training in another way. Each step is compared
/// with the one before it, or with that of `compare`, or of [compare] with = "NAME"; by those of
/// `metrics` that its answers have: hr@1, hr@5, ndcg@5, hr@10, ndcg@10, mrr@10, validity of lists;
/// rmse, mae of stars; bleu-2, bleu-4, rouge-1, rouge-2, rouge-l, exact of texts. Paths are seen
/// from where the engine runs.
///
/// The comparison goes to standard output, and with charts to DIR: ladder.json, .md, .html. After
/// SIGINT or SIGTERM, or however it ended, --resume goes on; what is done is not done again.
///
/// Example: engine sweep benches/ladders/mechanism.toml --out ladder
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sweep {
    /// The ladder
    #[arg(value_name = "LADDER.toml")]
    pub ladder: PathBuf,
    /// Where everything goes [default: runs/<ladder>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with what is there
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// Trainings side by side; 0 = one a thread, as many as the memory plan finds room for. No
    /// number depends on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub together: usize,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
}

/// Goes up the ladder and prints it.
pub fn run(args: &Sweep, global: &Global) -> Result<()> {
    let ladder = ladder::read(&args.ladder)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&ladder.name));
    let mut outputs = global.outputs(args.overwriting);
    outputs.reads("the ladder", &args.ladder);
    interrupt::asks();
    let how = How {
        out: &out,
        resume: args.resume,
        together: args.together,
        device: Some(global.to_open()?),
        threads: global.threads,
        stop: || interrupt::signal().is_some(),
        watch: &Said(global),
    };
    match sweep(&ladder, outputs, &how)? {
        Some(compared) => say::result(&compared.markdown()),
        None => global.note("sweep: interrupted, state saved; --resume goes on"),
    }
    interrupt::check()
}

struct Said<'a>(&'a Global);

impl Watch for Said<'_> {
    fn says(&self, words: &str) {
        self.0.note(words);
    }
}
