//! What was found on validation users about a model and a ranker together: `prior.json` of a run.
//! Written and read here alone.

use crate::base::{if_there, write_whole, Fault};
use crate::data::rank::{Balance, Fusion, Tuned, Worth};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file in a run folder.
pub const PRIOR: &str = "prior.json";

/// How a model and a ranker were balanced, with all that repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Balanced {
    /// The engine's version.
    pub engine: String,
    /// The ranker, in one word; `file` of a table.
    pub prior: String,
    /// Hash of the table's file.
    pub file: Option<String>,
    /// N: how many of the ranker's best are candidates.
    pub prior_top: usize,
    /// The ranker's own settings.
    pub tuned: Tuned,
    /// The rule that was best.
    pub fusion: Fusion,
    /// What was found for each rule.
    pub rules: Rules<Weighed>,
    /// The model's lists alone, over the same candidates.
    pub model_alone: Worth,
    /// The ranker's.
    pub prior_alone: Worth,
    /// The data set's hash.
    pub data_hash: u32,
    /// The hash of the weights, and of the adapter behind a plus.
    pub model: String,
    /// The predictions that it was found on.
    pub predictions: String,
    /// How many users they are of; all are validation users.
    pub users: usize,
    /// The seed of their draw and of the ranker's settings.
    pub seed: u64,
}

/// One thing for each rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules<T> {
    /// Of the weighted sum.
    pub sum: T,
    /// Of the mixture.
    pub or: T,
    /// Of the sum by confidence.
    pub confident: T,
}

impl<T: Copy> Rules<T> {
    /// That of a rule.
    pub fn of(&self, fusion: Fusion) -> T {
        match fusion {
            Fusion::Sum => self.sum,
            Fusion::Or => self.or,
            Fusion::Confident => self.confident,
        }
    }

    /// `make` of every rule.
    pub fn each(mut make: impl FnMut(Fusion) -> T) -> Rules<T> {
        let (sum, or) = (make(Fusion::Sum), make(Fusion::Or));
        Rules { sum, or, confident: make(Fusion::Confident) }
    }
}

/// Weights and what they are worth on the users that they were found on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Weighed {
    /// The weights.
    pub weights: Balance,
    /// Of the lists that they make.
    #[serde(flatten)]
    pub worth: Worth,
}

impl Balanced {
    /// What was found for the run in a folder; `None` where nobody looked. Refuses a file that is
    /// none of ours, and weights that make no list.
    pub fn beside(folder: &Path) -> Result<Option<Balanced>> {
        let path = folder.join(PRIOR);
        let Some(text) = if_there(&path, std::fs::read_to_string)? else { return Ok(None) };
        let refuse = |got: String| {
            Fault::Model.error(format!(
                "setting `prior`: {}: expected the weights of a model and a prior, got {got}; find \
                them anew by setting `fit-prior`, or take the file away",
                path.display()
            ))
        };
        let balanced: Balanced = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        for &fusion in Fusion::ALL {
            if !balanced.rules.of(fusion).weights.is_sound() {
                return Err(refuse(format!("weights of {fusion} that make no list")));
            }
        }
        Ok(Some(balanced))
    }

    /// Whether a file is one of these, to be made again.
    pub fn is_at(path: &Path) -> bool {
        let text = std::fs::read(path).ok();
        text.is_some_and(|text| serde_json::from_slice::<Balanced>(&text).is_ok())
    }

    /// Writes itself into a run folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_whole(&folder.join(PRIOR), serde_json::to_string_pretty(self)? + "\n")
    }
}
