//! What a ladder is: the data, the base that every step begins with, and the steps.

use crate::base::{hashes, Fault};
use crate::data::Dataset;
use crate::eval::ladder::Score;
use crate::model::{Checkpoint, Config, Contents};
use crate::recommender::create::Creation;
use crate::recommender::identity::{NOTHING_TO_ANSWERS, NOTHING_TO_TRAINING};
use crate::recommender::job::Job;
use crate::recommender::learning::Learning;
use crate::recommender::prepare::Preparing;
use crate::recommender::report::{Judging, Rivals};
use crate::recommender::weights::find_weights;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{json, Map, Value};
use std::path::{Path, PathBuf};

/// Steps that are trained, asked and compared. What a sweep decides itself (weights, data, outputs,
/// seed, device) is as usual in the settings here.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// What it is called.
    pub name: String,
    /// On what the steps learn and are asked.
    pub data: Data,
    /// What they begin with.
    pub base: Base,
    /// Under which seeds, at least one.
    pub seeds: Vec<u64>,
    /// What is compared, at least one.
    pub scores: Vec<Score>,
    /// How answers are judged, and how often they are drawn again for intervals.
    pub judging: Judging,
    /// The steps, at least one; their names are names of folders.
    pub steps: Vec<Step>,
}

/// A data set.
#[derive(Clone, Debug)]
pub enum Data {
    /// A prepared `.bin`.
    Prepared(PathBuf),
    /// What is prepared when the sweep begins.
    Made(Box<Preparing>),
}

/// What every step begins with.
#[derive(Clone, Debug)]
pub enum Base {
    /// A checkpoint folder, the same under every seed.
    Weights(PathBuf),
    /// A model from nothing, another one under each seed; taught, where that is said, on other
    /// data before the steps begin.
    Made(Box<Creation>, Option<Box<(Data, Learning)>>),
}

/// A step: what is trained, and how it is asked.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The step above whose training it asks in another way; `None` = it trains.
    pub from: Option<usize>,
    /// The step that it is compared with.
    pub against: Option<usize>,
    /// The settings that are its own, in words.
    pub settings: Vec<String>,
    /// How it learns.
    pub learning: Learning,
    /// How it is asked.
    pub job: Job,
}

/// Refuses what a comparison of steps has no place for: it tells rankings from rankings, and
/// nothing of others.
pub fn check_judging(judging: &Judging) -> Result<()> {
    judging.check()?;
    match judging.rivals {
        Rivals::None => Ok(()),
        rivals => Err(Fault::Usage.error(format!(
            "setting `rivals`: expected none, for a ladder compares its own steps alone, got \
            {rivals}; take it away, and ask `eval` of a step's predictions"
        ))),
    }
}

impl Step {
    /// Refuses numbers out of range, and what is learnt or asked without a ranking to compare.
    pub fn check(&self) -> Result<()> {
        self.learning.check()?;
        self.job.check(false)?;
        let families = if self.from.is_none() { &self.learning.families[..] } else { &[] };
        if !families.is_empty() && !families.iter().any(|share| share.family.is_of_users()) {
            let names: Vec<String> = families.iter().map(|one| one.family.to_string()).collect();
            return Err(rankings_only("families", &names.join(", ")));
        }
        match self.job.task {
            task if task.is_of_users() => Ok(()),
            task => Err(rankings_only("task", &task.to_string())),
        }
    }
}

/// What a ladder is for.
fn rankings_only(setting: &str, got: &str) -> anyhow::Error {
    Fault::Usage.error(format!(
        "setting `{setting}`: expected sequential or direct, for a ladder compares rankings only, \
        got {got}; compare others by `train`, `decode` and `eval`"
    ))
}

impl Ladder {
    /// Refuses what [`Step::check`] and [`check_judging`] refuse.
    pub fn check(&self) -> Result<()> {
        check_judging(&self.judging)?;
        self.steps
            .iter()
            .try_for_each(|step| step.check().with_context(|| format!("step {}", step.name)))
    }

    /// Everything that decides the numbers, as data to write down and to compare.
    pub(super) fn identity(&self, device: &str, threads: usize) -> Result<Value> {
        let name = |at: Option<usize>| at.map(|at| &self.steps[at].name);
        let step = |(place, step): (usize, &Step)| {
            let all = json!({
                "place": place,
                "from": name(step.from),
                "against": name(step.against),
                "train": step.from.is_none().then(|| learning(&step.learning)).transpose()?,
                "decode": numbers(&step.job, NOTHING_TO_ANSWERS)?,
            });
            Ok((step.name.clone(), all))
        };
        let steps = self.steps.iter().enumerate().map(step).collect::<Result<Map<_, _>>>()?;
        let base = match &self.base {
            Base::Weights(folder) => json!({"weights": hash_of(folder, threads)?}),
            Base::Made(creation, taught) => {
                let model = std::fs::read(&creation.model);
                let model = model.with_context(|| creation.model.display().to_string())?;
                let taught = taught.as_deref().map(|(data, own)| -> Result<Value> {
                    Ok(json!({"data": data.identity()?, "train": learning(own)?}))
                });
                json!({
                    "model": hash(&model),
                    "init": numbers(creation, &["model", "tokenizer", "out"])?,
                    "taught": taught.transpose()?,
                })
            }
        };
        Ok(json!({
            "engine": env!("CARGO_PKG_VERSION"),
            "device": device,
            "data": self.data.identity()?,
            "base": base,
            "seeds": self.seeds,
            "metrics": self.scores,
            "eval": numbers(&self.judging, &["predictions", "data", "report", "run"])?,
            "steps": steps,
        }))
    }
}

impl Data {
    fn identity(&self) -> Result<Value> {
        Ok(match self {
            Data::Prepared(path) => json!({"hash": format!("{:08x}", Dataset::open(path)?.hash())}),
            Data::Made(preparing) => {
                let tokenizer = preparing.tokenizer.as_deref().map(std::fs::read).transpose();
                let tokenizer = tokenizer.map_err(|e| {
                    Fault::Usage.error(format!("setting `tokenizer`: it cannot be read: {e}"))
                })?;
                let mut all = numbers(preparing, &["tokenizer", "tokenizer-out", "out"])?;
                all.insert("tokenizer".into(), json!(tokenizer.as_deref().map(hash)));
                all.into()
            }
        })
    }
}

/// Of a training: a file of templates counts by what it holds.
fn learning(settings: &Learning) -> Result<Value> {
    let mut all = numbers(settings, NOTHING_TO_TRAINING)?;
    if let Some(path) = &settings.rules.templates {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        all.insert("templates".into(), hash(&text).into());
    }
    Ok(all.into())
}

/// Settings by name, without `idle` ones.
fn numbers(settings: &impl Serialize, idle: &[&str]) -> Result<Map<String, Value>> {
    // By way of a text, in which an f32 has the few decimals that were typed.
    let mut all: Map<String, Value> = serde_json::from_str(&serde_json::to_string(settings)?)?;
    all.retain(|name, _| !idle.contains(&&**name));
    Ok(all)
}

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", hashes(&[bytes], 1)[0])
}

/// Of a checkpoint folder, wherever it lies.
fn hash_of(folder: &Path, threads: usize) -> Result<String> {
    let folder = find_weights(folder)?;
    let config = Config::read(&folder.join("config.json"))?.contents();
    Ok(Contents::of(config, &Checkpoint::open(&folder)?, threads)?.hash())
}
