//! The memory that a run will take, before anything is loaded.
//!
//! The walks below do what the passes do (`model::layer`, `model::head`, `model::cache`), in the
//! same order and with the same scopes, but hold blocks that only count instead of tensors. So the
//! plan is no formula beside the code but the code's own order of allocations;
//! `tests/chips/plan.rs` holds it against real passes. Tensors are counted, as `Device::memory`
//! counts them; a chip's own needs (its context, its scratch) come on top.

mod answer;
mod step;
mod tally;

pub use answer::{Decoding, Produced};
pub use step::Training;
pub use tally::{Part, Peak, Usage};

use super::config::{Config, LinearName, Positions, Rates};
use super::glm::{Model, Tune};
use crate::base::Dtype;
use tally::{Block, Tally};

/// A model as far as memory is concerned.
#[derive(Clone, Debug)]
pub struct Setup {
    pub config: Config,
    pub tune: Tune,
    /// Storage of activations.
    pub dtype: Dtype,
    /// How the checkpoint stores its tensors.
    pub stored: Dtype,
    /// Whether the device reads the checkpoint's memory map in place; otherwise it holds a copy.
    pub mapped: bool,
    /// Whether the output matrix is a tensor of its own.
    pub own_head: bool,
}

/// What a training run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlan {
    pub step: Peak,
    /// Bytes that all layers together keep between forward and backward.
    pub kept: u64,
    /// The fullest moment of a validation between two steps.
    pub validation: Option<Peak>,
}

impl TrainingPlan {
    /// The fuller of step and validation.
    pub fn peak(&self) -> &Peak {
        match &self.validation {
            Some(validation) if validation.usage.total() > self.step.usage.total() => validation,
            _ => &self.step,
        }
    }
}

/// The memory of a training run whose largest micro-batch is `training` and which validates by
/// `validation`.
pub fn training_plan(
    setup: &Setup,
    training: &Training,
    validation: Option<&Decoding>,
) -> TrainingPlan {
    let tally = Tally::default();
    tally.at("loading");
    let _model = setup.hold(&tally);
    let values = 4 * setup.trained().max(1);
    let _moments = [tally.hold(Part::Moments, values), tally.hold(Part::Moments, values)];
    let _norm = tally.hold(Part::Work, 4);
    let _gradients = tally.hold(Part::Gradients, values);
    let kept = step::walk(setup, training, &tally);
    let step = tally.take_peak();
    let validation = validation.map(|decoding| {
        answer::walk(setup, decoding, &tally);
        tally.take_peak()
    });
    TrainingPlan { step, kept, validation }
}

/// The fullest moment of decoding.
pub fn decoding_plan(setup: &Setup, decoding: &Decoding) -> Peak {
    let tally = Tally::default();
    tally.at("loading");
    let _model = setup.hold(&tally);
    answer::walk(setup, decoding, &tally);
    tally.take_peak()
}

impl Setup {
    /// A model that is loaded, `tune` being what of it is trained.
    pub fn of(model: &Model, tune: &Tune) -> Setup {
        Setup {
            config: model.config.clone(),
            tune: tune.clone(),
            dtype: model.dtype,
            stored: model.stored,
            mapped: model.device.reads_maps(),
            own_head: model.has_own_head(),
        }
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        let head = if self.own_head { self.config.vocabulary * self.config.hidden } else { 0 };
        match &self.tune {
            Tune::Nothing => 0,
            Tune::Full => self.config.parameters() + head,
            Tune::Lora { config: lora, positions } => {
                let module = |&linear: &LinearName| {
                    let (out, input) = self.config.linear_shape(linear);
                    lora.rank * (out + input)
                };
                let factors: usize = lora.targets.iter().map(module).sum();
                let tables = match (positions, self.config.positions) {
                    (true, Positions::Learned) => {
                        2 * (self.config.max_positions + 1) * self.config.hidden
                    }
                    _ => 0,
                };
                self.config.layers * factors + tables
            }
        }
    }

    /// Bytes of frozen weights on the device, and those that stay in the map: (held, mapped).
    pub fn frozen(&self) -> (usize, usize) {
        let (mut held, mut mapped) = (0, 0);
        let mut add = |count: usize, dtype: Dtype, as_stored: bool| match as_stored && self.mapped {
            true => mapped += count * dtype.size(),
            false => held += count * dtype.size(),
        };
        let full = self.tune == Tune::Full;
        let tables = matches!(self.tune, Tune::Lora { positions: true, .. });
        for spec in self.config.tensors() {
            if full || (tables && spec.name.contains("position_embeddings")) {
                continue;
            }
            let matrix = spec.shape.dims().len() == 2;
            match (matrix, self.dtype) {
                (false, _) => add(spec.shape.count(), Dtype::F32, self.stored == Dtype::F32),
                (true, want) if want == self.stored || want == Dtype::F32 => {
                    add(spec.shape.count(), self.stored, true)
                }
                (true, want) => add(spec.shape.count(), want, false),
            }
        }
        if self.own_head && !full {
            add(self.config.vocabulary * self.config.hidden, self.stored, true);
        }
        (held, mapped)
    }

    /// The loaded model.
    fn hold(&self, tally: &Tally) -> Vec<Block> {
        let mut blocks = vec![tally.hold(Part::Frozen, self.frozen().0)];
        if self.trained() > 0 {
            blocks.push(tally.hold(Part::Trained, 4 * self.trained()));
        }
        if self.config.positions == Positions::Rotary2d {
            let table = 4 * (self.config.max_positions + 1) * (self.config.head_dim() / 4);
            blocks.extend([tally.hold(Part::Frozen, table), tally.hold(Part::Frozen, table)]);
        }
        blocks
    }
}

/// One pass over rows: what [`super::linear::Pass`] is to tensors.
struct Pass<'a> {
    setup: &'a Setup,
    tally: &'a Tally,
    rows: usize,
    /// Dropout of this pass; zero for one that only answers.
    rates: Rates,
    lora_dropout: f32,
}

impl<'a> Pass<'a> {
    fn answering(setup: &'a Setup, tally: &'a Tally, rows: usize) -> Pass<'a> {
        Pass { setup, tally, rows, rates: Rates::default(), lora_dropout: 0.0 }
    }

    /// `[R, columns]` in the storage of activations.
    fn activations(&self, columns: usize) -> Block {
        self.tally.hold(Part::Work, self.rows * columns * self.setup.dtype.size())
    }

    /// `[R, h]`
    fn hidden(&self) -> Block {
        self.activations(self.setup.config.hidden)
    }

    /// `[R, columns]` f32
    fn floats(&self, columns: usize) -> Block {
        self.tally.hold(Part::Work, 4 * self.rows * columns)
    }

    /// Token ids, positions, bounds, and names where something is dropped.
    fn inputs(&self, sequences: usize) -> Vec<Block> {
        let Rates { embedding, attention, output } = self.rates;
        let drops =
            [embedding, attention, output, self.lora_dropout].iter().any(|&rate| rate > 0.0);
        let words =
            [if drops { 3 * self.rows } else { 0 }, 3 * self.rows, sequences + 1, sequences];
        words.map(|count| self.tally.hold(Part::Inputs, 4 * count)).into()
    }

    /// The rank of the adapter on `linear`.
    fn rank(&self, linear: LinearName) -> Option<usize> {
        match &self.setup.tune {
            Tune::Lora { config, .. } if config.targets.contains(&linear) => Some(config.rank),
            _ => None,
        }
    }
}
