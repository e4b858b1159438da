//! A model, a data set and the rules between them, opened.

use super::budget::Budget;
use super::decided::Decided;
use super::popular::ranked;
use super::prior::Companion;
use super::settings::Settings;
use super::source::{frame_of, Loaded, Origin};
use crate::base::Fault;
use crate::data::rules::Purpose;
use crate::data::task::Tasks;
use crate::data::{Dataset, Family, Names, Sample, Trie};
use crate::decode::{Cost, Grounding};
use crate::model::{LoraConfig, Model, Tune};
use anyhow::Result;
use self_cell::self_cell;
use std::sync::{Mutex, OnceLock, PoisonError};

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
    pub(super) settings: Settings,
    pub(super) decided: Decided,
    pub(super) model: Model,
    adapted: usize,
    origin: Origin,
    pub(super) budget: Budget,
    /// Made when somebody without a history asks.
    popular: OnceLock<Vec<(u32, f64)>>,
    grounding: OnceLock<(Grounding, Vec<u32>)>,
    /// Asked beside the model.
    pub(super) companion: Option<Companion>,
    /// What searches have cost so far.
    cost: Mutex<Cost>,
    shop: Shop,
}

impl Recommender {
    /// Opens the device first, then model, adapter and data set. Refuses settings out of range,
    /// and what does not fit together.
    pub fn open(settings: &Settings) -> Result<Recommender> {
        settings.check()?;
        let mut settings = settings.clone();
        settings.source.dtype = Some(settings.source.storage(&Tune::Nothing));
        let Loaded { mut model, adapted, origin } = settings.source.load(&Tune::Nothing)?;
        if settings.merge {
            model.merge_adapter(settings.source.checkpoint()?)?;
        }
        let decided = Decided::of(&settings, frame_of(&model.config))?;
        let settings = decided.within(&settings);
        let dataset = Dataset::open(&settings.data)?;
        settings.source.check(&model, &dataset)?;
        let folders = settings.source.folders()?;
        let folders = folders.iter().map(|folder| folder.as_path());
        let companion = Companion::open(&settings, &dataset, folders, &origin)?;
        let settings = match &companion {
            Some(companion) => companion.within(settings),
            None => settings,
        };
        let (positions, seed) = (model.config.max_positions, settings.source.seed);
        let rules = &decided.asked.rules;
        let shop = Shop::try_new(dataset, |dataset| -> Result<Parts> {
            let tasks = rules.tasks(dataset, positions, Purpose::Decoding, seed)?;
            Ok(Parts { tasks, catalogue: dataset.catalogue(), names: Names::new(dataset) })
        })?;
        let adapter = |lora: &LoraConfig| Tune::Lora { config: lora.clone(), positions: false };
        let budget = Budget::of(&model, &model.lora().map_or(Tune::Nothing, adapter))?;
        let (popular, grounding) = (OnceLock::new(), OnceLock::new());
        Ok(Recommender {
            settings,
            decided,
            model,
            adapted,
            origin,
            budget,
            popular,
            grounding,
            companion,
            cost: Mutex::default(),
            shop,
        })
    }

    /// What searches for items have cost since it was opened.
    pub fn cost(&self) -> Cost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spend(&self, cost: Cost) {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner) += cost;
    }

    /// What it was opened with; what was left open there is decided here: the storage of weights
    /// and activations, and every rule.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules by which it asks, and where they come from.
    pub fn rules(&self) -> &Decided {
        &self.decided
    }

    /// What is asked beside the model.
    pub fn companion(&self) -> Option<&Companion> {
        self.companion.as_ref()
    }

    /// Items, users and tokenizer.
    pub fn dataset(&self) -> &Dataset {
        self.shop.borrow_owner()
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens of a row at most: no more than the model has positions.
    pub fn longest_row(&self) -> usize {
        self.tasks(|tasks| tasks.builder().options().max_row)
    }

    /// Linears that the adapter adapts; 0 without one.
    pub fn adapted(&self) -> usize {
        self.adapted
    }

    /// What the model was made of, and whether the adapter was trained on other weights.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the memory plan knows of this model on this device.
    pub fn plan(&self) -> &Budget {
        &self.budget
    }

    /// Ids of the templates by which the data's own users and records of a family are asked: the
    /// one that the settings name first, otherwise the family's first, or all where they say so.
    /// Refuses one of another family.
    pub fn wordings(&self, family: Family) -> Result<Vec<String>> {
        let Decided { typed, all, .. } = &self.decided;
        let found = self.tasks(|tasks| tasks.wordings(family, typed, *all));
        found.map_err(|error| match typed.is_empty() {
            false => Fault::Usage.error(format!("setting `template`: {error}")),
            true => error,
        })
    }

    /// The embeddings of all items in the order of ties, and that order; made when a text is first
    /// to be grounded.
    pub(super) fn grounding(&self) -> Result<&(Grounding, Vec<u32>)> {
        if let Some(known) = self.grounding.get() {
            return Ok(known);
        }
        let dataset = self.dataset();
        let mut order: Vec<u32> = (0..dataset.items() as u32).collect();
        order.sort_by_key(|&item| (dataset.tie(item), item));
        let row =
            |&item: &u32| self.tasks(|tasks| tasks.builder().text(0, dataset.item(item).tokens));
        let rows: Vec<Sample> = order.iter().map(row).collect::<Result<_>>()?;
        let rows: Vec<&Sample> = rows.iter().collect();
        let longest = rows.iter().map(|row| row.rows()).max().unwrap_or(0);
        let items = Grounding::new(&self.model, &rows, self.budget.reading(longest, 0))?;
        Ok(self.grounding.get_or_init(|| (items, order)))
    }

    /// All items, the most popular first, with their scores.
    pub(super) fn popular(&self) -> &[(u32, f64)] {
        self.popular.get_or_init(|| ranked(self.dataset()))
    }

    pub(super) fn tasks<T>(&self, with: impl FnOnce(&Tasks) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.tasks))
    }

    pub(super) fn names<T>(&self, with: impl FnOnce(&Names) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.names))
    }

    pub(super) fn parts<T>(&self, with: impl FnOnce(&Tasks, &Trie) -> T) -> T {
        self.shop.with_dependent(|_, parts| with(&parts.tasks, &parts.catalogue))
    }
}
