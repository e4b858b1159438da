//! The memory that a run will take, before anything is loaded.
//!
//! The walks below do what the passes do (`model::pass`), in the same order and with the same
//! scopes, but hold blocks that only count instead of tensors. So the plan is no formula beside the
//! code but the code's own order of allocations; `tests/chips/plan.rs` holds it against real
//! passes. Tensors are counted, as `Device::memory` counts them; a chip's own needs (its context,
//! its scratch) come on top.

mod answer;
mod pass;
mod setup;
mod step;
mod tally;

pub use answer::{Decoding, Produced, Reading};
pub use setup::Setup;
pub use step::Training;
pub use tally::{Part, Peak, Usage};

use tally::Tally;

/// What a training run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlan {
    /// The fullest moment of a step.
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

/// The fullest moment of reading rows once.
pub fn reading_plan(setup: &Setup, reading: &Reading) -> Peak {
    let tally = Tally::default();
    tally.at("loading");
    let _model = setup.hold(&tally);
    answer::read(setup, reading, &tally);
    tally.take_peak()
}
