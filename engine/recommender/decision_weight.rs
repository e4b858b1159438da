//! The weight of an item's decision as a setting (R42).

use super::ranges;
use crate::base::Number;
use serde::{Deserialize, Serialize};

/// A decision's weight, or the word for all that they weigh by what they still cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DecisionWeight {
    /// So much.
    Fixed(f32),
    /// By what it costs, all alike.
    ByCost(Adaptive),
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adaptive {
    /// `adaptive`
    #[serde(rename = "adaptive")]
    Adaptive,
}

impl DecisionWeight {
    /// The weights that decisions have by it.
    pub const ADAPTIVE: DecisionWeight = DecisionWeight::ByCost(Adaptive::Adaptive);

    /// The number, where it is one.
    pub fn fixed(self) -> Option<f32> {
        match self {
            DecisionWeight::Fixed(weight) => Some(weight),
            DecisionWeight::ByCost(_) => None,
        }
    }

    /// One of a list of them, or the word.
    pub fn read(text: &str) -> Result<DecisionWeight, String> {
        let range = ranges::of("decision-weights").expect("a setting that is a number");
        match text.trim() {
            "adaptive" => Ok(DecisionWeight::ADAPTIVE),
            text => match text.parse::<f32>() {
                Ok(weight) if range.holds(weight) => Ok(DecisionWeight::Fixed(weight)),
                _ => Err(format!("expected adaptive or {range}, got {text}")),
            },
        }
    }
}

impl ranges::Numbers for Vec<DecisionWeight> {
    fn numbers(&self) -> Vec<Number> {
        self.iter().filter_map(|weight| weight.fixed()).map(Into::into).collect()
    }
}
