//! Which training examples are drawn, beside their templates.

use super::words::RatingTargets;
use crate::base::named::named;
use crate::data::legal::{self, Objective};
use crate::data::span::Masking;

named! {
    /// What numbers the tokens of part B in training (R24).
    pub enum TrainIds: "train-ids" {
        /// What numbers them in decoding.
        Automaton = "automaton",
        /// The entities that the text is known to have, which a decoder cannot know.
        Annotated = "annotated",
    }
}

/// Which training examples are drawn; by itself, prompts over whole histories.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    /// What numbers their blanks and their answers.
    pub ids: TrainIds,
    /// How blanks are drawn.
    pub masking: Masking,
    /// Share of blank infilling; the rest answers a prompt (R40).
    pub blanks: f64,
    /// Probability that a history begins at a random event instead of the user's first.
    pub windows: f64,
    /// What is answered where stars are asked for.
    pub rating_targets: RatingTargets,
    /// Among what a token of an item is decided.
    pub objective: Objective,
    /// How much of what is learnt there.
    pub weights: legal::Weights,
    /// Share of examples that ask for an event after the one before it alone (R43).
    pub pairs: f64,
    /// Share of examples that are made of a part of the history, of two events or more.
    pub crops: f64,
    /// Whether events of one day come in ever new orders.
    pub shuffle_days: bool,
    /// Share of examples that ask what a teacher would have after one item alone (R43).
    pub contexts: f64,
    /// Share of prompts whose answer is drawn from what a teacher says (R44).
    pub teacher_samples: f64,
}
