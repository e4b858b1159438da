//! Numbers that are none: a model that gives one has no answer to that prompt.

use crate::base::Fault;
use std::fmt;

/// Why a prompt has no answer: the model gave it something that is no finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

/// What came of one prompt.
pub type Found<T> = Result<T, NotFinite>;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "model: expected finite log-probabilities, got NaN or infinity; its weights are \
            damaged, or setting `dtype = f16` is too narrow for them: f32 and bf16 are not",
        )
    }
}

impl std::error::Error for NotFinite {}

/// What came of all prompts, where all have an answer; a fault of the model where one has none.
pub fn all_finite<T>(found: Vec<Found<T>>) -> anyhow::Result<Vec<T>> {
    let found: Found<Vec<T>> = found.into_iter().collect();
    found.map_err(|why| Fault::Model.error(why))
}
