//! Floor 4: what a host holds. A [`Recommender`] is a model, a data set and the rules between them:
//! questions go in, answers come out; [`learn`](learn::learn) makes one. No flag, terminal or exit
//! code is known here.

pub mod answer;
pub mod batch;
pub mod budget;
pub mod create;
pub mod learn;
pub mod line;
pub mod merge;
pub mod open;
pub mod parity;
pub mod predictions;
pub mod question;
pub mod queue;
pub mod report;
pub mod run;
pub mod shop;
pub mod weights;

pub use answer::{Answer, Answered, Answers, Scored, Written};
pub use learn::{learn, Learned, Learning, Watch};
pub use open::{Source, Storage};
pub use question::{Asked, Question};

pub use crate::data::names::Name;
pub use crate::data::rules::{self, Rules};
pub use crate::data::task::Split;

use crate::base::Fault;
use crate::data::rules::Purpose;
use crate::data::task::Tasks;
use crate::data::{Dataset, Names, Trie};
use crate::model::{LoraConfig, Model, Tune};
use anyhow::Result;
use budget::Budget;
use self_cell::self_cell;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A model, a data set and the rules between them. Keys of the serde form are the settings' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Which model, on what.
    #[serde(flatten)]
    pub source: Source,
    /// The prepared `.bin`: catalogue, tokenizer and tries.
    pub data: PathBuf,
    /// How rows are made.
    #[serde(flatten)]
    pub rules: Rules,
    /// How questions are answered.
    #[serde(flatten)]
    pub answers: Answers,
}

impl Settings {
    /// The usual settings for a weights folder and a `.bin`.
    pub fn new(weights: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Settings {
        let source = Source { weights: weights.into(), ..Source::default() };
        Settings { source, data: data.into(), ..Settings::default() }
    }

    /// With an adapter on the weights: a PEFT folder or a run folder.
    pub fn adapter(mut self, adapter: impl AsRef<Path>) -> Settings {
        self.source.adapter = Some(adapter.as_ref().to_owned());
        self
    }
}

/// What is derived from the data set and read for every question.
struct Parts<'a> {
    tasks: Tasks<'a>,
    catalogue: Trie<'a>,
    names: Names<'a>,
}

self_cell!(
    /// A data set and what is derived from it.
    struct Shop {
        owner: Dataset,
        #[not_covariant]
        dependent: Parts,
    }
);

/// A model that is ready to be asked about a data set.
///
/// ```no_run
/// use engine::recommender::{Answer, Question, Recommender, Settings};
///
/// let recommender = Recommender::open(&Settings::new("runs/toys", "toys.bin"))?;
/// let asked = recommender.ask(&Question::history(["Gloom", "Pandemic"]))?;
/// for answered in recommender.answer([&asked])? {
///     let Answer::Items(items) = answered.answer else { continue };
///     for found in items {
///         println!("{:8.3}  {}", found.score, recommender.dataset().item(found.item).surface);
///     }
/// }
/// # anyhow::Ok(())
/// ```
///
/// It belongs to the thread that uses it, one call at a time; the work inside a call is spread over
/// the device's own threads.
pub struct Recommender {
    settings: Settings,
    model: Model,
    adapted: usize,
    budget: Budget,
    shop: Shop,
}

impl Recommender {
    /// Opens the device first, then model, adapter and data set. Refuses settings out of range,
    /// and what does not fit together.
    pub fn open(settings: &Settings) -> Result<Recommender> {
        let answers = &settings.answers;
        if [answers.beams, answers.top, answers.max_new_tokens].contains(&0) {
            return Err(Fault::Usage
                .error("decode: expected setting `beams`, setting `top` and setting `max-new-tokens` above 0; raise them"));
        }
        let mut settings = settings.clone();
        settings.source.dtype = Some(settings.source.storage(&Tune::Nothing));
        let (model, adapted) = settings.source.load(&Tune::Nothing)?;
        let dataset = Dataset::open(&settings.data)?;
        settings.source.check(&model, &dataset)?;
        let (positions, seed) = (model.config.max_positions, settings.source.seed);
        let rules = &settings.rules;
        let shop = Shop::try_new(dataset, |dataset| -> Result<Parts> {
            let tasks = rules.tasks(dataset, positions, Purpose::Decoding, seed)?;
            Ok(Parts { tasks, catalogue: dataset.catalogue(), names: Names::new(dataset) })
        })?;
        let adapter = |lora: &LoraConfig| Tune::Lora { config: lora.clone(), positions: false };
        let budget = Budget::of(&model, &model.lora().map_or(Tune::Nothing, adapter))?;
        Ok(Recommender { settings, model, adapted, budget, shop })
    }

    /// What it was opened with; the storage of weights and activations is decided there.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Items, users and tokenizer.
    pub fn dataset(&self) -> &Dataset {
        self.shop.borrow_owner()
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Linears that the adapter adapts; 0 without one.
    pub fn adapted(&self) -> usize {
        self.adapted
    }

    /// What the memory plan knows of this model on this device.
    pub fn plan(&self) -> &Budget {
        &self.budget
    }

    fn tasks<T>(&self, with: impl FnOnce(&Tasks) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.tasks))
    }

    fn names<T>(&self, with: impl FnOnce(&Names) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.names))
    }

    fn parts<T>(&self, with: impl FnOnce(&Tasks, &Trie) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.tasks, &parts.catalogue))
    }
}
