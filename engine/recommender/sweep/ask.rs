//! Asking a training of a sweep, and judging what it answers.

use super::how::How;
use crate::base::outputs::make_folder;
use crate::base::{open_file, Fault, Outputs};
use crate::eval::report::Data;
use crate::eval::score::Answered;
use crate::recommender::batch;
use crate::recommender::job::Job;
use crate::recommender::learning::{Learning, Tuned};
use crate::recommender::predictions::{claim, Side};
use crate::recommender::report::{judge, Judging};
use crate::recommender::Recommender;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Who is asked.
pub struct Asking<'a> {
    /// Of which step.
    pub name: &'a str,
    /// How.
    pub job: &'a Job,
    /// How the run learnt.
    pub learning: &'a Learning,
    /// The run.
    pub run: &'a Path,
    /// What it stands on.
    pub weights: &'a Path,
    /// On which data.
    pub data: &'a Path,
    /// Under which seed.
    pub seed: u64,
}

/// The answers of a seed, in its folder.
const ANSWERS: &str = "predictions.jsonl";

/// Asks into `place/predictions.jsonl`, behind the answers that are there. Whether all are there
/// now: not where somebody asked to stop.
pub fn ask(asking: &Asking, place: &Path, how: &How, threads: usize) -> Result<bool> {
    let out = place.join(ANSWERS);
    if is_whole(&out)? {
        return Ok(true);
    }
    // A step that asks another one's training has no folder yet.
    make_folder(place).with_context(|| place.display().to_string())?;
    let mut job = Job { out: out.display().to_string(), ..asking.job.clone() };
    job.settings.data = asking.data.to_owned();
    let source = &mut job.settings.source;
    (source.seed, source.device, source.threads) = (asking.seed, how.device, threads);
    (source.weights, source.adapter) = match asking.learning.tune {
        Tuned::Full => (asking.run.to_owned(), None),
        Tuned::Lora => (asking.weights.to_owned(), Some(asking.run.to_owned())),
    };
    // Where none are there, none are gone on with.
    let resume = true;
    let held = claim(&job, Outputs::new(false), resume)?;
    let recommender = Recommender::open(&job.settings)?;
    let done = batch::run(&recommender, &job, &held, resume, how.stop, &mut ())?;
    let whole = is_whole(&out)?;
    if whole {
        let (name, seed) = (asking.name, asking.seed);
        how.watch.says(&format!("{name}, seed {seed}: {} questions asked", done.questions));
    }
    Ok(whole)
}

/// Whether every question that was to be asked has an answer.
fn is_whole(answers: &Path) -> Result<bool> {
    let side = if answers.is_file() { Side::beside(answers)? } else { None };
    let Some(asked) = side.and_then(|side| Side::of(&side)?.asked) else { return Ok(false) };
    let mut reader = BufReader::new(open_file(answers)?);
    let (mut line, mut lines) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
        lines += 1;
        line.clear();
    }
    Ok(lines == asked)
}

/// What answers are worth.
pub struct Judged {
    /// Of which data.
    pub data: Data,
    /// By user and item, ascending.
    pub answered: Vec<Answered>,
    /// What a reader should know of them.
    pub warnings: Vec<String>,
}

/// Judges the answers in `place`. Refuses those of nobody, and what breaks a law.
pub fn judged(judging: &Judging, data: &Path, place: &Path) -> Result<Judged> {
    let predictions = place.join(ANSWERS);
    let settings = Judging {
        predictions: vec![predictions.clone()],
        data: data.to_owned(),
        no_baselines: true,
        // The ladder draws its own intervals.
        resamples: 1,
        ..judging.clone()
    };
    let judged = judge(&settings, Outputs::new(false))?;
    judged.verdict()?;
    let mut report = judged.report;
    let group = report.groups.first_mut().filter(|group| !group.answered.is_empty());
    let Some(group) = group else {
        return Err(Fault::Data.error(format!(
            "answers: {}: expected answers that the data can judge, got none; ask about users with \
            an event to predict, or records with what is asked for",
            predictions.display()
        )));
    };
    let answered = std::mem::take(&mut group.answered);
    Ok(Judged { data: report.data, answered, warnings: report.warnings })
}
