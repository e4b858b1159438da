//! A run folder: what training leaves, and the side files that say what it is. Written and read
//! here alone.
//!
//! ```text
//! rules.json, templates.toml                                what it teaches by: see `learnt`
//! identity.json       what it is: everything that decides its numbers, as it began
//! config.toml         the settings, as they were resolved
//! published.json      which step the model files are of, and why that one
//! adapter_config.json, adapter_model.safetensors             the adapter, or with all weights
//! config.json, model.safetensors, tokenizer.json             a checkpoint folder
//! prior.json          how it is asked beside a ranker: see `prior`
//! metrics.jsonl, checkpoints/                                floor 3's: see `train`
//! ```

use super::identity::Identity;
use super::learning::Learning;
use super::learnt::{Learnt, RULES, TEMPLATES};
use super::prior::PRIOR;
use super::weights::find_weights;
use crate::base::outputs::remove;
use crate::base::{if_there, write_whole, Dtype, Fault, Written};
use crate::data::Dataset;
use crate::model::{adapter_config, Contents, Model};
use crate::train::{checkpoint, State};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

const IDENTITY: &str = "identity.json";
const SETTINGS: &str = "config.toml";
const PUBLISHED: &str = "published.json";
const ADAPTER: &str = "adapter_model.safetensors";
const WEIGHTS: &str = "model.safetensors";

/// What is written in a run folder.
pub const WRITTEN: Written = Written {
    files: &[
        TEMPLATES,
        RULES,
        IDENTITY,
        "metrics.jsonl",
        ADAPTER,
        "adapter_config.json",
        WEIGHTS,
        "config.json",
        "tokenizer.json",
        SETTINGS,
        PRIOR,
        PUBLISHED,
    ],
    folders: &["checkpoints"],
};

/// Which step the model files of a run are of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The step.
    pub step: u64,
    /// Its validation's NDCG@10, where it is the best by validation; `None` = it is the newest.
    pub best: Option<f64>,
}

impl Published {
    /// What is published of a state.
    pub fn of(state: &State) -> Published {
        match state.best {
            Some((score, step)) => Published { step, best: Some(score) },
            None => Published { step: state.step, best: None },
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step;
        match self.best {
            Some(score) => {
                write!(f, "of step {step}, the best by validation: NDCG@10 {score:.4}")
            }
            None => write!(f, "of step {step}, the newest"),
        }
    }
}

/// A run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run(PathBuf);

impl Run {
    /// The run in this folder, which need not be there yet.
    pub fn at(folder: impl Into<PathBuf>) -> Run {
        Run(folder.into())
    }

    /// Whether a folder is a run.
    pub fn is_at(folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).exists();
        has(SETTINGS) && (has("metrics.jsonl") || has("checkpoints"))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Whether there is a checkpoint to go on from. There is none in a run that was stopped before
    /// its first, which is due after `checkpoint_every` steps. Refuses a folder that is no run, and
    /// a run whose checkpoints are gone: what it published would be lost for another beginning.
    pub fn is_begun(&self, checkpoint_every: u64) -> Result<bool> {
        if !checkpoint::list(&self.0)?.is_empty() {
            return Ok(true);
        }
        let refuse = |got: &str| {
            Fault::Usage.error(format!(
                "setting `resume`: {}: expected a checkpoint, got {got}; begin anew with another \
                setting `out`",
                self.0.display()
            ))
        };
        let names = WRITTEN.files.iter().chain(WRITTEN.folders);
        let has_any = names.clone().any(|name| self.0.join(name).exists());
        if !has_any && std::fs::read_dir(&self.0)?.count() > 1 {
            return Err(refuse("a folder that is no run"));
        }
        match self.published()? {
            Some(published) if checkpoint_every > 0 && published.step >= checkpoint_every => {
                Err(refuse(&format!("none, though step {} was published", published.step)))
            }
            _ => Ok(false),
        }
    }

    /// The run under `folder` that was begun last of those that began as `identity`. Refuses where
    /// there is none, and says how the one that was begun last differs.
    pub fn begun_as(identity: &Identity, folder: &Path) -> Result<PathBuf> {
        let begun = |entry: std::fs::DirEntry| {
            let run = entry.path();
            let when = std::fs::metadata(run.join(IDENTITY)).and_then(|it| it.modified()).ok()?;
            Some((when, run))
        };
        let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut runs: Vec<_> = found.filter_map(begun).collect();
        runs.sort();
        let newest = runs.iter().rev().find(|(_, run)| Run::at(run).expect(identity).is_ok());
        match (newest, runs.last()) {
            (Some((_, run)), _) => Ok(run.clone()),
            (None, Some((_, last))) => Err(Run::at(last).expect(identity).unwrap_err()),
            (None, None) => Err(Fault::Usage.error(format!(
                "setting `resume`: {}: expected a run to go on with, got none; name it by setting \
                `out`",
                folder.display()
            ))),
        }
    }

    /// Whether nothing is in it that was learnt: no step, no checkpoint, no model.
    pub fn is_unlearnt(&self) -> bool {
        let log = std::fs::metadata(self.0.join("metrics.jsonl"));
        let steps = log.is_ok_and(|log| log.len() > 0);
        let checkpoints = checkpoint::list(&self.0).map_or(true, |list| !list.is_empty());
        let models = [ADAPTER, WEIGHTS].iter().any(|name| self.0.join(name).exists());
        !steps && !checkpoints && !models
    }

    /// The settings with which it was trained. Refuses what is no settings file.
    pub fn settings(&self) -> Result<Learning> {
        let path = self.0.join(SETTINGS);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).map_err(|e| {
            Fault::Data.error(format!(
                "run: {}: expected settings as TOML, got {}; is it a run?",
                path.display(),
                e.message()
            ))
        })
    }

    /// Writes down what the run is and what it teaches by, before it has anything to go on from.
    pub fn begin(&self, identity: &Identity, learnt: &Learnt) -> Result<()> {
        learnt.write(&self.0)?;
        write_whole(&self.0.join(IDENTITY), serde_json::to_string_pretty(identity)? + "\n")
    }

    /// Whether it is written down what the run is.
    pub fn has_identity(&self) -> bool {
        self.0.join(IDENTITY).is_file()
    }

    /// Refuses to go on with the run as anything else than what it began as.
    pub fn expect(&self, now: &Identity) -> Result<()> {
        let path = self.0.join(IDENTITY);
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string());
        let begun: Result<Identity, String> =
            text.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string()));
        let begun = begun.map_err(|why| {
            Fault::Data.error(format!(
                "setting `resume`: {}: expected what the run began as, got {why}; begin another \
                 run, or go on with the engine that began this one",
                path.display()
            ))
        })?;
        begun.expect(now, &path)
    }

    /// Which step the model files are of; `None` where nobody wrote it down.
    pub fn published(&self) -> Result<Option<Published>> {
        let path = self.0.join(PUBLISHED);
        let Some(bytes) = if_there(&path, std::fs::read)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            let place = path.display();
            Fault::Data.error(format!("run: {place}: expected step and best, got {e}; remove it"))
        })
    }

    /// Writes the run's model files, an adapter as PEFT writes it or a whole weights folder, then
    /// the settings, then what they are of.
    ///
    /// All that is trained stands in one file, which is replaced whole; what stands beside it is
    /// the same in all of a run. So wherever this is cut off, who opens the run finds the numbers
    /// of one step, or, of a first publication, a folder that lacks its last file and is refused.
    /// What nobody may find is numbers of another step than is said of them, so that is taken back
    /// first and said last.
    pub fn publish(
        &self,
        settings: &Learning,
        model: &Model,
        base: &Contents,
        dataset: &Dataset,
        state: &State,
    ) -> Result<()> {
        let write = |name: &str, bytes: &[u8]| write_whole(&self.0.join(name), bytes);
        remove(&self.0.join(PUBLISHED)).map_err(|e| {
            let words = format!("{}: cannot be replaced", self.0.join(PUBLISHED).display());
            Fault::Device.wrap(e, words)
        })?;
        if let Some(lora) = model.lora() {
            let saved = settings.tune()?.saved_modules(&model.config);
            let place = settings.weights.display().to_string();
            let config = serde_json::to_string_pretty(&adapter_config(lora, &place, &saved))?;
            write("adapter_config.json", format!("{config}\n").as_bytes())?;
            model.save_adapter(&self.0.join(ADAPTER), Some(&base.hash()))?;
        } else {
            let config = std::fs::read(find_weights(&settings.weights)?.join("config.json"))?;
            write("config.json", &config)?;
            write("tokenizer.json", dataset.vocab().json())?;
            model.save_weights(&self.0.join(WEIGHTS), Dtype::F32)?;
        }
        let published = Published::of(state);
        let resolved = settings.resolved()?;
        let text = format!("# the model files are {published}\n{resolved}");
        write(SETTINGS, text.as_bytes())?;
        write(PUBLISHED, format!("{}\n", serde_json::to_string(&published)?).as_bytes())
    }

    /// Publishes what a run that goes on says of itself, where it was stopped before it had. The
    /// best by validation is published before any state says that it is the best; so what may be
    /// missing is of the newest step, whose model is at hand.
    pub fn complete(
        &self,
        settings: &Learning,
        model: &Model,
        base: &Contents,
        dataset: &Dataset,
        state: &State,
    ) -> Result<()> {
        let due = Published::of(state);
        let file = if model.lora().is_some() { ADAPTER } else { WEIGHTS };
        // What cannot be read says nothing.
        let said = self.published().ok().flatten().filter(|_| self.0.join(file).is_file());
        match said == Some(due) || due.step != state.step {
            true => Ok(()),
            false => self.publish(settings, model, base, dataset, state),
        }
    }
}
