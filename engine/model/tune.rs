//! What of a model is trained, and what is dropped while it is.

use super::config::{Config, LinearName, Rates};
use super::lora::LoraConfig;
use super::parameters::Role;

/// What of a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Tune {
    /// Nothing: the model only answers.
    Nothing,
    /// A low-rank adapter, and with `positions` both position tables (R38).
    Lora {
        /// The adapter.
        config: LoraConfig,
        /// Whether the position tables, where the model has them, are trained beside it.
        positions: bool,
    },
    /// Every weight.
    Full,
}

impl Tune {
    /// Whether base tensors of `role` are trained.
    pub fn trains(&self, role: Role) -> bool {
        match self {
            Tune::Nothing => false,
            Tune::Lora { positions, .. } => *positions && role == Role::Position,
            Tune::Full => true,
        }
    }

    /// The rank of the adapter on `linear`, `None` where there is none.
    pub fn rank_of(&self, linear: LinearName) -> Option<usize> {
        match self {
            Tune::Lora { config, .. } => config.rank_of(linear),
            Tune::Nothing | Tune::Full => None,
        }
    }

    /// The modules of a model of `config` that are trained whole beside an adapter, as PEFT's
    /// `modules_to_save` names them: none, or the position tables.
    pub fn saved_modules(&self, config: &Config) -> Vec<String> {
        match self {
            Tune::Nothing | Tune::Full => Vec::new(),
            Tune::Lora { .. } => {
                let trained = config.tensors().into_iter().filter(|spec| self.trains(spec.role));
                trained.map(|spec| spec.name.trim_end_matches(".weight").to_owned()).collect()
            }
        }
    }
}

impl Rates {
    /// The dropout rates of a run: `all` of embeddings and sub-layer outputs, `attention` of
    /// attention probabilities. Without `attention` that is `all`; without `all` the rates are the
    /// config's where every weight is trained, otherwise zero.
    pub fn of(tune: &Tune, config: &Config, all: Option<f32>, attention: Option<f32>) -> Rates {
        let default = if *tune == Tune::Full { config.dropout } else { Rates::default() };
        Rates {
            embedding: all.unwrap_or(default.embedding),
            output: all.unwrap_or(default.output),
            attention: attention.or(all).unwrap_or(default.attention),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn position_tables_beside_an_adapter_are_saved_where_a_model_has_them() {
        let lora = |positions| Tune::Lora { config: LoraConfig::default(), positions };
        let saved = |tune: Tune, family: &str| {
            let config = Config::from_json(&json!({"model_type": family})).unwrap();
            tune.saved_modules(&config)
        };
        let tables = ["transformer.position_embeddings", "transformer.block_position_embeddings"];
        assert_eq!(saved(lora(true), "glm"), tables);
        for (tune, family) in [(lora(true), "chatglm"), (lora(false), "glm"), (Tune::Full, "glm")] {
            assert!(saved(tune, family).is_empty(), "{family}");
        }
    }

    #[test]
    fn rates_that_are_not_given_are_the_configs_only_where_all_is_trained() {
        let config = Config::from_json(&json!({"model_type": "glm"})).unwrap();
        let rates = |embedding, attention, output| Rates { embedding, attention, output };
        assert_eq!(Rates::of(&Tune::Full, &config, None, None), config.dropout);
        assert_eq!(Rates::of(&Tune::Nothing, &config, None, None), rates(0.0, 0.0, 0.0));
        assert_eq!(Rates::of(&Tune::Full, &config, None, Some(0.3)), rates(0.1, 0.3, 0.1));
        assert_eq!(Rates::of(&Tune::Nothing, &config, Some(0.2), None), rates(0.2, 0.2, 0.2));
    }
}
