//! What learning is told. Everything that decides the numbers of a run is here.

use super::budget::Keeps;
use super::decision_weight::DecisionWeight;
use super::families::{EpochsBy, Share};
use super::learnt::length_penalty;
use super::prior::Prior;
use super::ranges::within_ranges;
use super::source::{Curve, Source, Storage};
use crate::base::named::named;
use crate::base::Fault;
pub use crate::data::legal::Objective;
use crate::data::legal::Weights;
use crate::data::records::SplitPolicy;
use crate::data::rules::{Frame, Rules, Score, Wanted};
use crate::data::span::{Masking, SpanOrder};
use crate::data::task::{Mix, RatingTargets};
use crate::data::template::ALL;
use crate::data::Family;
pub use crate::data::{span::MaskUnits, split::Parts, task::TrainIds};
use crate::device::Place;
use crate::model::{LoraConfig, Tune};
use crate::train::{Hyper, Schedule};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

named! {
    /// What of a model is trained.
    pub enum Tuned: "tune" {
        /// A low-rank adapter.
        Lora = "lora",
        /// Every weight.
        Full = "full",
    }
}

named! {
    /// In which order part B holds its spans (R14).
    pub enum Order: "span-order" {
        /// As the text has them.
        Chrono = "chrono",
        /// Shuffled, as GLM does.
        Shuffle = "shuffle",
    }
}

/// What is learnt, from what and how. Keys of the serde form are the settings' names; all but
/// `out` decide the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Learning {
    /// The checkpoint folder to start from.
    pub weights: PathBuf,
    /// The prepared `.bin`.
    pub data: PathBuf,
    /// The run folder; `None` = `runs/<data>-<tune>-<n>`.
    pub out: Option<PathBuf>,
    /// An adapter, or every weight.
    pub tune: Tuned,
    /// Rank of the adapter.
    pub rank: usize,
    /// alpha of the adapter's scale alpha / rank.
    pub alpha: f64,
    /// Dropout of what the adapter reads.
    pub lora_dropout: f32,
    /// Linears that take an adapter.
    pub targets: Vec<String>,
    /// Train both position tables beside the adapter (R38).
    pub train_positions: bool,
    /// Families of examples and their weights; none = those of the templates, each with weight 1.
    pub families: Vec<Share>,
    /// What the weights count.
    pub epochs_by: EpochsBy,
    /// Passes over the users, or over what the families' weights make an epoch.
    pub epochs: f64,
    /// Examples of an optimiser step.
    pub batch: usize,
    /// Rows computed at once; a step is cut into as many micro-batches as that takes.
    pub batch_rows: usize,
    /// Highest rate of the schedule.
    pub learning_rate: f64,
    /// Share of the steps during which the rate rises.
    pub warmup: f64,
    /// AdamW's first decay.
    pub beta1: f32,
    /// AdamW's second decay.
    pub beta2: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Largest gradient norm; 0 = no clipping.
    pub clip: f32,
    /// Dropout of embeddings and sub-layer outputs; `None` = the config's for every weight, else 0.
    pub dropout: Option<f32>,
    /// Dropout of attention probabilities; `None` = as `dropout`.
    pub attention_dropout: Option<f32>,
    /// What a layer keeps for its backward.
    pub keep: Keeps,
    /// What is answered where stars are asked for (E2).
    pub rating_targets: RatingTargets,
    /// Which records the families of records learn from (E3).
    pub split_policy: SplitPolicy,
    /// Among what a token of an item is decided (R18, R41).
    pub objective: Objective,
    /// Weights of an item's first, second, … decision, the last one for all later ones; an item's
    /// decisions together weigh as many as they are; or, alone, that they weigh by their cost
    /// (R42).
    pub decision_weights: Vec<DecisionWeight>,
    /// Which events are learnt from: a last fit takes those of validation as well.
    pub parts: Parts,
    /// Share of examples that ask for an event after the one before it alone (R43).
    pub pairs: f64,
    /// Share of examples that are made of a part of the history, of two events or more (R43).
    pub crops: f64,
    /// Whether events of one day come in ever new orders (R43).
    pub shuffle_days: bool,
    /// Share of examples that ask what a teacher would have after one item alone, any item (R43).
    pub contexts: f64,
    /// Which ranker says what else might come next (R44).
    pub teacher: Prior,
    /// Weight of what a teacher says beside what happened (R44).
    pub teacher_weight: f32,
    /// Share of prompts whose answer is drawn from what a teacher says (R44).
    pub teacher_samples: f64,
    /// What a teacher's scores are divided by before they become probabilities.
    pub teacher_temperature: f64,
    /// Share of blank infilling among the examples; the rest answers prompts (R40).
    pub mix: f64,
    /// Probability that an example begins at a random event instead of the user's first.
    pub windows: f64,
    /// Weights of entity-, sentence- and document-level masks.
    pub levels: Vec<f64>,
    /// Smallest share of the tokens that a document-level span masks.
    pub document_min: f64,
    /// Probability that a document-level span is the suffix.
    pub document_suffix: f64,
    /// Share of the tokens masked at entity and sentence level.
    pub mask_ratio: f64,
    /// What masks take whole: entities, or tokens alone.
    pub mask_units: MaskUnits,
    /// Order of the spans of part B.
    pub span_order: Order,
    /// What numbers part B while learning, of blanks and of answers.
    pub train_ids: TrainIds,
    /// How rows are made.
    #[serde(flatten)]
    pub rules: Wanted,
    /// Steps between validations; 0 = none.
    pub validate_every: u64,
    /// Users of a validation; 0 = all.
    pub validate_users: usize,
    /// Beams of a validation.
    pub validate_beams: usize,
    /// alpha of a validation's sum of log-probabilities / length^alpha; `None` = as usual for how
    /// items are scored.
    pub validate_length_penalty: Option<f64>,
    /// Validations without gain after which the run ends; 0 = never.
    pub patience: u32,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// The form of GELU; `None` = the config's.
    pub gelu: Option<Curve>,
    /// Storage of weights and activations; `None` = as usual for the device.
    pub dtype: Option<Storage>,
    /// Decides order, spans and dropout.
    pub seed: u64,
    /// Where to compute; `None` = the best there is.
    #[serde(skip)]
    pub device: Option<Place>,
    /// Worker threads of the CPU device; 0 = one a core.
    #[serde(skip)]
    pub threads: usize,
    /// Checkpoints that stay.
    #[serde(skip, default = "newest_two")]
    pub keep_checkpoints: usize,
    /// Stop, saved, after so many minutes of training; 0 = no limit.
    #[serde(skip)]
    pub max_minutes: f64,
}

fn newest_two() -> usize {
    2
}

impl Default for Learning {
    fn default() -> Learning {
        let words = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"];
        Learning {
            weights: PathBuf::new(),
            data: PathBuf::new(),
            out: None,
            tune: Tuned::Lora,
            rank: 8,
            alpha: 16.0,
            lora_dropout: 0.0,
            targets: words.map(str::to_owned).to_vec(),
            train_positions: false,
            families: Vec::new(),
            epochs_by: EpochsBy::Records,
            epochs: 8.0,
            batch: 128,
            batch_rows: 8192,
            learning_rate: 1e-5,
            warmup: 0.05,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.01,
            clip: 1.0,
            dropout: None,
            attention_dropout: None,
            keep: Keeps::Auto,
            rating_targets: RatingTargets::Gauss,
            split_policy: SplitPolicy::P5,
            objective: Objective::Full,
            decision_weights: vec![DecisionWeight::Fixed(1.0)],
            parts: Parts::Train,
            pairs: 0.0,
            crops: 0.0,
            shuffle_days: false,
            contexts: 0.0,
            teacher: Prior::None,
            teacher_weight: 0.6,
            teacher_samples: 0.0,
            teacher_temperature: 0.6,
            mix: 0.5,
            windows: 0.0,
            levels: vec![0.4, 0.3, 0.3],
            document_min: 0.5,
            document_suffix: 0.5,
            mask_ratio: 0.15,
            mask_units: MaskUnits::Entity,
            span_order: Order::Chrono,
            train_ids: TrainIds::Automaton,
            rules: Wanted::default(),
            validate_every: 200,
            validate_users: 500,
            validate_beams: 10,
            validate_length_penalty: None,
            patience: 0,
            checkpoint_every: 200,
            gelu: None,
            dtype: None,
            seed: 0,
            device: None,
            threads: 0,
            keep_checkpoints: newest_two(),
            max_minutes: 0.0,
        }
    }
}

impl Learning {
    /// The usual settings for a weights folder and a `.bin`.
    pub fn new(weights: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Learning {
        Learning { weights: weights.into(), data: data.into(), ..Learning::default() }
    }

    /// The settings as TOML, without what does not change the numbers.
    pub fn resolved(&self) -> Result<String> {
        let decisive = Learning { out: None, ..self.clone() };
        toml::to_string(&decisive).map_err(|e| {
            Fault::Usage.error(format!(
                "settings: expected values that TOML can hold, got one it cannot: {e}"
            ))
        })
    }

    /// Which model, on what.
    pub fn source(&self) -> Source {
        Source {
            weights: self.weights.clone(),
            adapter: None,
            gelu: self.gelu,
            dtype: self.dtype,
            seed: self.seed,
            device: self.device,
            threads: self.threads,
        }
    }

    /// Refuses numbers out of range, weights of masks that are not three or all zero, and a word
    /// that names no linear.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, rank alpha lora_dropout epochs batch batch_rows learning_rate warmup);
        within_ranges!(self, beta1 beta2 weight_decay clip dropout attention_dropout mix windows);
        within_ranges!(self, levels document_min document_suffix mask_ratio validate_every);
        within_ranges!(self, validate_users validate_beams validate_length_penalty patience);
        within_ranges!(self, checkpoint_every seed threads keep_checkpoints max_minutes);
        within_ranges!(self, decision_weights pairs crops contexts);
        within_ranges!(self, teacher_weight teacher_samples teacher_temperature);
        within_ranges!(&self.rules, behaviours max_row restart temperature);
        if self.parts == Parts::TrainAndValidation && self.validate_every > 0 {
            return Err(Fault::Usage.error(format!(
                "setting `parts`: {}: expected setting `validate-every = 0`, as what validation \
                asks for is learnt, got {}; choose settings on a training without it first",
                self.parts, self.validate_every
            )));
        }
        let asks_teacher = [("contexts", self.contexts), ("teacher-samples", self.teacher_samples)];
        let in_vain = asks_teacher.iter().find(|(_, share)| *share > 0.0);
        match (&self.teacher, self.objective, in_vain) {
            (Prior::None, _, Some((name, _))) => {
                return Err(Fault::Usage.error(format!(
                    "setting `{name}`: expected setting `teacher` beside it, got none; name one, \
                    or leave it out"
                )))
            }
            (Prior::None, ..) | (_, Objective::Legal, _) => {}
            (_, Objective::Full, _) => {
                return Err(Fault::Usage.error(
                    "setting `teacher`: expected setting `objective = legal`, whose choices a \
                    teacher weighs, got full; change one of them",
                ))
            }
        }
        self.teacher.check("teacher")?;
        if self.is_adaptive()
            && (self.decision_weights.len() > 1 || self.objective == Objective::Full)
        {
            let (expected, got) = match self.objective {
                Objective::Full => ("setting `objective = legal`, which has decisions", "full"),
                Objective::Legal => ("adaptive alone or numbers", "both"),
            };
            return Err(Fault::Usage.error(format!(
                "setting `decision-weights`: adaptive: expected {expected}, got {got}; change it"
            )));
        }
        self.mix()?;
        self.tune().map(|_| ())
    }

    /// What the model is told to train. Refuses a word that names no linear.
    pub fn tune(&self) -> Result<Tune> {
        if self.tune == Tuned::Full {
            return Ok(Tune::Full);
        }
        let config = LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.lora_dropout,
            targets: LoraConfig::targets_of(&self.targets, Fault::Usage, "setting `targets`")?,
            rank_stabilised: false,
        };
        Ok(Tune::Lora { config, positions: self.train_positions })
    }

    /// Which examples are drawn. Refuses shares and weights out of range.
    pub fn mix(&self) -> Result<Mix> {
        let mix: [f64; 3] = self.levels.as_slice().try_into().map_err(|_| {
            Fault::Usage.error(format!(
                "setting `levels`: expected three weights, got {}; give one each for entities, \
                sentences and documents",
                self.levels.len()
            ))
        })?;
        let masking = Masking {
            units: self.mask_units,
            mix,
            ratio: self.mask_ratio,
            doc_min: self.document_min,
            doc_suffix: self.document_suffix,
            order: match self.span_order {
                Order::Shuffle => SpanOrder::Shuffle,
                Order::Chrono => SpanOrder::Chrono,
            },
            ..Masking::default()
        };
        masking.check()?;
        Ok(Mix {
            ids: self.train_ids,
            masking,
            blanks: self.mix,
            windows: self.windows,
            rating_targets: self.rating_targets,
            objective: self.objective,
            weights: Weights {
                decisions: self.decision_weights.iter().filter_map(|one| one.fixed()).collect(),
                teacher: self.teacher_weight,
            },
            contexts: self.contexts,
            teacher_samples: self.teacher_samples,
            pairs: self.pairs,
            crops: self.crops,
            shuffle_days: self.shuffle_days,
        })
    }

    /// Every rule: where nobody says, `frame` is the model family's, and the templates are all that
    /// training may use of the families that are named, or the usual one. Refuses a file of
    /// templates that cannot be read.
    pub fn decided(&self, frame: Frame) -> Result<Rules> {
        let families: Vec<Family> = self.families.iter().map(|share| share.family).collect();
        let mut wanted = self.rules.clone();
        // What was learnt is what is asked (E30).
        wanted.score.get_or_insert(match self.objective {
            Objective::Full => Score::Full,
            Objective::Legal => Score::Legal,
        });
        if !families.is_empty() {
            wanted.template.get_or_insert_with(|| vec![ALL.to_owned()]);
        }
        let families = if families.is_empty() { vec![Family::Sequential] } else { families };
        wanted.over(None, frame).spelled_out(&families)
    }

    /// alpha of its validations, which score items by `rules`.
    pub fn length_penalty(&self, rules: &Rules) -> f64 {
        self.validate_length_penalty.unwrap_or(length_penalty(rules.score))
    }

    /// Whether decisions weigh by what they still cost.
    pub(super) fn is_adaptive(&self) -> bool {
        self.decision_weights.contains(&DecisionWeight::ADAPTIVE)
    }

    /// What logits are divided by where the catalogue decides.
    pub(super) fn temperature(&self) -> f32 {
        self.rules.temperature.unwrap_or(1.0) as f32
    }

    /// The learning rate of every step, for epochs of so many examples.
    pub fn schedule(&self, examples: u64) -> Schedule {
        let total = ((self.epochs * examples as f64) / self.batch as f64).ceil() as u64;
        let warmup = (self.warmup * total as f64) as u64;
        Schedule { peak: self.learning_rate, warmup, total, floor: 0.0 }
    }

    /// AdamW's constants.
    pub fn hyper(&self) -> Hyper {
        Hyper {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            clip: self.clip,
            decay_all: false,
        }
    }
}
