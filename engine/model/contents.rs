//! What a model or an adapter is, as data to compare and to remember: the meaning of its config,
//! and of every tensor how it is stored, its shape and a hash of its values. Where the files lie,
//! how they are called and how the tensors are spread over them makes no difference.

use super::config::{Config, Family};
use super::lora::LoraConfig;
use super::weights::Checkpoint;
use crate::base::{hashes, hashes_and_looks, Fault, Look};
use crate::device::Gelu;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// What a model or an adapter is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// What of its config decides numbers, in the words of the file.
    pub config: Map<String, Value>,
    /// Its tensors by name, each as "F32 [128, 16] 0123456789abcdef".
    pub tensors: BTreeMap<String, String>,
}

impl Contents {
    /// Of a config and the tensors that have not been taken, each read once by as many threads as
    /// asked; 0 = one a core. Refuses numbers that are none: no answer comes of them.
    pub fn of(
        config: Map<String, Value>,
        checkpoint: &Checkpoint,
        threads: usize,
    ) -> Result<Contents> {
        let look = |dtype| match dtype {
            safetensors::Dtype::F32 => Look::F32,
            safetensors::Dtype::F16 => Look::F16,
            safetensors::Dtype::BF16 => Look::BF16,
            _ => Look::NONE,
        };
        let stored = checkpoint.stored();
        let parts: Vec<_> = stored.map(|(_, dtype, _, bytes)| (bytes, look(dtype))).collect();
        let mut tensors = BTreeMap::new();
        let found = hashes_and_looks(&parts, threads);
        for ((name, dtype, dims, _), (hash, met)) in checkpoint.stored().zip(found) {
            if met {
                return Err(Fault::Model.error(format!(
                    "weights: {}: tensor {name}: expected finite numbers, got NaN or infinity; the \
                    file is damaged, or its training had diverged: copy or convert it again",
                    checkpoint.place()
                )));
            }
            tensors.insert(name.to_owned(), format!("{dtype:?} {dims:?} {hash:016x}"));
        }
        Ok(Contents { config, tensors })
    }

    /// One hash of all of it, as an adapter remembers that of its base.
    pub fn hash(&self) -> String {
        let words = serde_json::to_vec(self).expect("maps of texts and numbers");
        format!("{:016x}", hashes(&[&words], 1)[0])
    }
}

impl Config {
    /// What of it decides numbers, in the words of `config.json`: not the dropout, which a run
    /// chooses, nor what only a random start reads.
    pub fn contents(&self) -> Map<String, Value> {
        let Config {
            family,
            layers,
            hidden,
            heads,
            inner,
            vocabulary,
            max_positions,
            gelu,
            layernorm_epsilon,
            // Follow from the family.
            positions: _,
            residual: _,
            qkv: _,
            // Decide nothing once there are weights.
            dropout: _,
            initializer_range: _,
            torch_dtype: _,
        } = self;
        let family = match family {
            Family::Glm => "glm",
            Family::ChatGlm => "chatglm",
        };
        let gelu = match gelu {
            Gelu::Tanh => "gelu_new",
            Gelu::Erf => "gelu",
        };
        words([
            ("model_type", json!(family)),
            ("num_layers", json!(layers)),
            ("hidden_size", json!(hidden)),
            ("num_attention_heads", json!(heads)),
            ("inner_hidden_size", json!(inner)),
            ("vocab_size", json!(vocabulary)),
            ("max_sequence_length", json!(max_positions)),
            ("hidden_act", json!(gelu)),
            ("layernorm_epsilon", json!(layernorm_epsilon.to_string())),
        ])
    }
}

impl LoraConfig {
    /// What of it decides answers, in the words of `adapter_config.json`.
    pub fn contents(&self) -> Map<String, Value> {
        let LoraConfig { rank, alpha, targets, rank_stabilised, dropout: _ } = self;
        let mut targets: Vec<&str> = targets.iter().map(|target| target.name()).collect();
        targets.sort_unstable();
        words([
            ("r", json!(rank)),
            ("lora_alpha", json!(alpha)),
            ("target_modules", json!(targets)),
            ("use_rslora", json!(rank_stabilised)),
        ])
    }
}

fn words<const N: usize>(all: [(&str, Value); N]) -> Map<String, Value> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
