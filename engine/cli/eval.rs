//! `engine eval`: metrics from a predictions file, without model and chip.

use super::flags::Overwriting;
use super::say;
use super::settings::of_flags;
use super::word::word;
use crate::base::Outputs;
use crate::recommender::prior::PRIOR;
use crate::recommender::report::{judge, ItemRepr, Judging, Policy, Rivals, Set, Split, Users};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Metrics from predictions; needs no model and no GPU.
///
/// Several files stand in one report: a question that they all answer is a table with a row for
/// each, and what each has over the first is told with its interval, over the same users. Lines of
/// other programs, which name no template, answer the only one that the other files name. Templates
/// of one task are rows of the paper's table, and mean, least and greatest over them, over those
/// that trainings may see, and over those held out.
///
/// The baselines of a large data set take a minute the first time; what they said is kept in
/// $ENGINE_CACHE, otherwise in the user's folder for such files.
///
/// Example: engine eval predictions.jsonl --data toys.bin --report report
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Eval {
    /// What `engine decode` wrote; - for standard input. Of several files the others are compared
    /// with the first
    #[arg(value_name = "PREDICTIONS", required = true)]
    pub predictions: Vec<PathBuf>,
    /// The .bin that the predictions were made with
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Where report.json, report.md, report.tex and report.html go
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// The run whose metrics.jsonl the HTML report draws, and whose prior.json --fit-prior writes
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// Find how much model and prior count: of answers that `engine decode` made with a prior for
    /// --split validation, every candidate of both in its lists
    #[arg(long)]
    #[serde(default)]
    pub fit_prior: bool,
    /// What becomes of invalid and repeated outputs
    #[arg(long, value_enum, default_value_t)]
    pub policy: Policy,
    /// Which event was to be predicted [default: as in the predictions' settings, otherwise test]
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// Whom the denominator counts [default: asked where the predictions' settings say who was, all
    /// without; listed where another program's name a limit]
    #[arg(long, value_enum)]
    pub users: Option<Users>,
    /// Leave the history's items out of every ranking
    #[arg(long)]
    pub filter_history: bool,
    /// Leave the baselines out
    #[arg(long)]
    pub no_baselines: bool,
    /// What the model was shown in place of items; id adds the leak probe [default: as in the
    /// predictions' settings, or what the surfaces are]
    #[arg(long, value_enum)]
    pub item_repr: Option<ItemRepr>,
    /// Weight of category names in the title baseline [default: chosen on validation events]
    #[arg(long, value_name = "X")]
    pub category_weight: Option<f64>,
    /// Weight of an event beside the next one in the title baseline [default: chosen on validation
    /// events]
    #[arg(long, value_name = "X")]
    pub gamma: Option<f64>,
    /// Whose published figures stand beside, each marked as published, and where arithmetic does
    /// not allow it, as that
    #[arg(long, value_parser = word::<Rivals>(), default_value_t)]
    pub rivals: Rivals,
    /// The data set whose published figures they are [default: the one with the .bin's counts of
    /// users, items and interactions]
    #[arg(long, value_name = "SET", value_parser = word::<Set>())]
    pub rivals_of: Option<Set>,
    /// Fail with exit code 6 unless it holds, e.g. "hr@10>=0.02"; may be repeated
    #[arg(long, value_name = "METRIC>=X")]
    pub threshold: Vec<String>,
    /// Resamples behind the 95 % intervals
    #[arg(long, value_name = "N", default_value_t = Judging::default().resamples)]
    pub resamples: usize,
    /// Decides the resamples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl Default for Eval {
    fn default() -> Eval {
        of_flags(&Judging::default())
    }
}

/// Prints the tables to standard output and writes the report; a broken law or threshold is a
/// failed check.
pub fn run(args: &Eval, outputs: Outputs) -> Result<()> {
    let judged = judge(&of_flags::<Judging>(args), outputs)?;
    say::result(&judged.tables());
    judged.report.warnings.iter().for_each(say::warning);
    if let Some(fit) = &judged.fit {
        say::result(&fit.table());
    }
    judged.save()?;
    if let Some(fit) = &judged.fit {
        say::remark(&format!("prior: {}", fit.run.join(PRIOR).display()));
    }
    if let Some(folder) = &args.report {
        say::remark(&format!("report: {}", folder.join("report.html").display()));
    }
    judged.verdict()
}
