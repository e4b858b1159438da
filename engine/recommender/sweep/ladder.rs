//! What a ladder is: the data, the base that every step begins with, and the steps.

use crate::base::{hashes, Fault};
use crate::data::template::ALL;
use crate::data::{Dataset, Family};
use crate::eval::ladder::Score;
use crate::eval::score::Subject;
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

/// Refuses what a comparison of steps has no place for: it tells them from one another, and nothing
/// of others.
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
    /// Refuses numbers out of range, a question about what was not `learnt`, and several at once.
    pub fn check(&self, learnt: &Learning) -> Result<()> {
        self.learning.check()?;
        self.job.check(false)?;
        let task = self.job.task;
        let mut families: Vec<Family> = learnt.families.iter().map(|one| one.family).collect();
        if families.is_empty() && learnt.rules.template.is_none() {
            families.push(Family::Sequential);
        }
        // Who learnt one kind of lists can be asked for the other.
        let answers =
            |family: &Family| *family == task || (family.is_of_users() && task.is_of_users());
        if !families.is_empty() && !families.iter().any(answers) {
            let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
            return Err(Fault::Usage.error(format!(
                "setting `task`: expected one of the families that are learnt, {}, got {task}; ask \
                for one of them, or learn it too",
                names.join(", ")
            )));
        }
        let template = self.job.settings.rules.template.as_deref().unwrap_or_default();
        if template == [ALL] {
            return Err(Fault::Usage.error(
                "setting `template`: expected one, by which steps are compared, got all; name it",
            ));
        }
        Ok(())
    }

    /// What its answers may be: by its task, whose templates decide.
    pub fn subjects(&self) -> &'static [Subject] {
        match self.job.task {
            Family::Sequential | Family::Direct => &[Subject::Lists],
            Family::Rating => &[Subject::Stars],
            Family::Explanation | Family::Review => &[Subject::Texts, Subject::Stars],
        }
    }
}

impl Ladder {
    /// Refuses what [`Step::check`] and [`check_judging`] refuse, and steps that have none of the
    /// scores that are compared.
    pub fn check(&self) -> Result<()> {
        check_judging(&self.judging)?;
        for step in &self.steps {
            let learnt = step.from.map_or(step, |from| &self.steps[from]);
            step.check(&learnt.learning).with_context(|| format!("step {}", step.name))?;
        }
        match self.uncompared() {
            Some(what) => Err(Fault::Usage.error(format!("metrics: {what}"))),
            None => Ok(()),
        }
    }

    /// Which step has none of the scores that are compared, in words.
    pub fn uncompared(&self) -> Option<String> {
        let has = |step: &&Step| {
            self.scores.iter().any(|score| step.subjects().contains(&score.subject()))
        };
        self.steps.iter().find(|step| !has(step)).map(|step| self.without_scores(step))
    }

    /// That a step has none of them.
    pub(super) fn without_scores(&self, step: &Step) -> String {
        let own = |score: &&Score| step.subjects().contains(&score.subject());
        let names: Vec<&str> = Score::ALL.iter().filter(own).map(|score| score.name()).collect();
        let got: Vec<&str> = self.scores.iter().map(|score| score.name()).collect();
        format!(
            "step {}: expected one that its answers have, such as {}, got {}; add one",
            step.name,
            names.join(", "),
            got.join(", ")
        )
    }

    /// Everything that decides the numbers, as data to write down and to compare.
    pub(super) fn identity(&self, device: &str, threads: usize) -> Result<Value> {
        let name = |at: Option<usize>| at.map(|at| &self.steps[at].name);
        let step = |step: &Step| {
            let all = json!({
                "from": name(step.from),
                "against": name(step.against),
                "train": step.from.is_none().then(|| learning(&step.learning)).transpose()?,
                "decode": numbers(&step.job, NOTHING_TO_ANSWERS)?,
            });
            Ok((step.name.clone(), all))
        };
        let steps = self.steps.iter().map(step).collect::<Result<Map<_, _>>>()?;
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
