//! Low-rank adapters (Hu et al. 2021): y = x·Wᵀ + b + (alpha/r)·(dropout(x)·Aᵀ)·Bᵀ on any of the
//! four linears.

use super::config::{Config, Family, LinearName};
use super::parameters::{Layout, Slot, SlotRole};
use crate::base::{choose, Fault, Shape};
use anyhow::Result;

/// What an adapter is, in PEFT's words.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// r, the inner length of the two factors.
    pub rank: usize,
    /// The low-rank product is scaled by alpha/r.
    pub alpha: f64,
    /// Rate at which inputs of the adapter are dropped in training, 0 to below 1.
    pub dropout: f32,
    /// The linears of every layer that take an adapter.
    pub targets: Vec<LinearName>,
    /// alpha/√r instead of alpha/r.
    pub rank_stabilised: bool,
}

impl Default for LoraConfig {
    /// Rank 8 as the paper states (R36); alpha 16 and dropout 0 are our choice (A10).
    fn default() -> Self {
        LoraConfig {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            targets: LinearName::ALL.to_vec(),
            rank_stabilised: false,
        }
    }
}

impl LoraConfig {
    /// The factor of the low-rank product for a module of its own rank and alpha.
    pub fn scale(&self, rank: usize, alpha: f64) -> f32 {
        let rank = rank as f64;
        (alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// The rank of the adapter that a fresh model gets on `linear`, `None` where it gets none.
    pub fn rank_of(&self, linear: LinearName) -> Option<usize> {
        self.targets.contains(&linear).then_some(self.rank)
    }

    /// The linears of which a list of module names may select some: a module matches when its path
    /// equals the word or ends in "." + word, so "dense" does not match "dense_h_to_4h"; a word
    /// may reach above the layer and name its number. Refuses a word that matches nothing, as the
    /// `fault` of whoever wrote `what`.
    pub fn targets_of(words: &[String], fault: Fault, what: &str) -> Result<Vec<LinearName>> {
        let mut targets = Vec::new();
        for word in words {
            let hit = LinearName::ALL.into_iter().find(|l| {
                let (path, word) = (format!(".{}", l.path()), format!(".{word}"));
                path.ends_with(&word) || word.ends_with(&path)
            });
            match hit {
                Some(linear) if !targets.contains(&linear) => targets.push(linear),
                Some(_) => {}
                None => {
                    let names = LinearName::ALL.map(LinearName::name);
                    return Err(fault.error(format!(
                        "{what}: expected some of {}, got {word:?}; {}",
                        names.join(", "),
                        choose(word, names)
                    )));
                }
            }
        }
        if targets.is_empty() {
            return Err(fault.error(format!("{what}: expected at least one, got none")));
        }
        Ok(targets)
    }
}

/// The adapter on one linear; its factors stand in the trained range.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraModule {
    /// The linear it acts on: number of the layer, and which of its four.
    pub layer: usize,
    /// See `layer`.
    pub linear: LinearName,
    /// `[r, in]`
    pub a: Slot,
    /// `[out, r]`
    pub b: Slot,
    /// The factor of the low-rank product, [`LoraConfig::scale`] of its rank and alpha.
    pub scale: f32,
}

impl LoraModule {
    /// Lays A and B of a linear, of a rank and a scale, out at the end of `layout`, A first.
    pub fn lay_out(
        model: &Config,
        (layer, linear): (usize, LinearName),
        (rank, scale): (usize, f32),
        layout: &mut Layout,
    ) -> LoraModule {
        let (out, input) = model.linear_shape(linear);
        let name = module_name(model.family, layer, linear);
        let a = Shape::matrix(rank, input);
        let b = Shape::matrix(out, rank);
        LoraModule {
            layer,
            linear,
            a: layout.push(format!("{name}.lora_A.weight"), a, SlotRole::LoraA),
            b: layout.push(format!("{name}.lora_B.weight"), b, SlotRole::LoraB),
            scale,
        }
    }

    /// r, the columns of x·Aᵀ.
    pub fn rank(&self) -> usize {
        self.a.shape.rows()
    }
}

/// What PEFT puts before a base tensor's name: the wrapper, and GLM's own module prefix.
pub fn peft_prefix(family: Family) -> &'static str {
    match family {
        Family::Glm => "base_model.model.glm.",
        Family::ChatGlm => "base_model.model.",
    }
}

/// The path of an adapted linear in PEFT's files.
pub fn module_name(family: Family, layer: usize, linear: LinearName) -> String {
    format!("{}{}", peft_prefix(family), linear.module(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_whole_component() {
        let targets = |list: &[&str]| {
            let words: Vec<String> = list.iter().map(|word| word.to_string()).collect();
            LoraConfig::targets_of(&words, Fault::Usage, "targets")
        };
        assert_eq!(targets(&["dense"]).unwrap(), [LinearName::Dense]);
        assert_eq!(
            targets(&["mlp.dense_4h_to_h", "dense_4h_to_h"]).unwrap(),
            [LinearName::Dense4hToH]
        );
        let long = "transformer.layers.3.attention.dense";
        assert_eq!(targets(&[long]).unwrap(), [LinearName::Dense]);
        assert!(targets(&["ense"]).is_err());
        assert!(targets(&[]).is_err());
    }
}
