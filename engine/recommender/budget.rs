//! What fits the memory of a device: what layers keep for their backward, how many prompts are
//! answered together. Neither changes a number that is computed.

use crate::base::named::named;
use crate::base::text::{amount, grouped};
use crate::data::Dataset;
use crate::model::plan::{
    decoding_plan, training_plan, Decoding, Produced, Setup, Training, TrainingPlan,
};
use crate::model::{Keep, KvCache, Model, Rates, Tune};
use anyhow::Result;

/// Share of a device's own memory that a plan may fill; the rest is for the kernels' needs and for
/// what lies in pieces.
const OF_A_DEVICE: f64 = 0.95;
/// The same of a host's memory, which others use too.
const OF_A_HOST: f64 = 0.5;

/// Requests that a validation during training decodes together.
pub const VALIDATION_GROUP: usize = 64;

named! {
    /// What a layer keeps for its backward. No number depends on it.
    pub enum Keeps: "keep" {
        /// The most that there is memory for.
        Auto = "auto",
        /// Everything: no recomputation.
        All = "all",
        /// Norm outputs and GELU are computed again.
        Lean = "lean",
        /// … and the first product of the feed-forward network.
        NoInner = "no-inner",
        /// … and the query-key-value product.
        NoQkv = "no-qkv",
        /// Only the layer's input.
        Input = "input",
    }
}

impl Keeps {
    /// The [`Keep`] of that name; `None` for auto.
    pub fn keep(self) -> Option<Keep> {
        Keep::ALL.into_iter().find(|keep| keep.name() == self.name())
    }
}

/// How many beams answer a prompt, and how far they go.
#[derive(Clone, Copy, Debug)]
pub struct Beams {
    /// Of a prompt.
    pub beams: usize,
    /// Of a beam.
    pub tokens: usize,
    /// Legal next tokens, at most.
    pub choices: usize,
}

impl Beams {
    /// With items of a data set.
    pub fn items(dataset: &Dataset, beams: usize) -> Beams {
        let tokens = dataset.statistics().tokens_mean.ceil() as usize + 1;
        Beams { beams, tokens, choices: dataset.catalogue().children(0).len() }
    }

    /// `prompts` requests of together `prompt_rows` rows. Look-ahead may run all tokens in one
    /// pass, and room for them grows by doubling: both are planned at their largest.
    pub fn plan(self, prompts: usize, prompt_rows: usize) -> Decoding {
        let (step, tokens) = (prompts * self.beams, self.tokens);
        let grown = (1..=tokens).map(|t| Produced { rows: step, path: step * t, used: step * t });
        let at_once =
            Produced { rows: step * tokens, path: step * tokens * tokens, used: step * tokens };
        let passes = grown.chain([at_once]).collect();
        Decoding {
            prompts,
            prompt_rows,
            slots: KvCache::SLOTS * prompts,
            passes,
            choices: self.choices,
        }
    }
}

/// The largest micro-batch: all rows of the budget that a step can fill, each of them a target and
/// a sequence at worst.
pub fn training(keep: Keep, rows: usize, rates: Rates, lora_dropout: f32) -> Training {
    Training { keep, rows, sequences: rows, targets: rows, rates, lora_dropout }
}

/// A loaded model and the bytes that its tensors may take together.
pub struct Budget {
    setup: Setup,
    limit: u64,
}

impl Budget {
    /// From what the device has free now, `model` being loaded. Refuses where the device cannot be
    /// asked.
    pub fn of(model: &Model, tune: &Tune) -> Result<Budget> {
        let own = model.device.place().has_own_memory();
        let share = if own { OF_A_DEVICE } else { OF_A_HOST };
        let held = model.device.memory().now as u64;
        let limit = (model.device.available()?.saturating_add(held) as f64 * share) as u64;
        Ok(Budget { setup: Setup::of(model, tune), limit })
    }

    /// A model that may take `limit` bytes.
    pub fn limited(setup: Setup, limit: u64) -> Budget {
        Budget { setup, limit }
    }

    /// The fullest [`Keep`] whose step fits; where none does, the leanest.
    pub fn keep(&self, training: impl Fn(Keep) -> Training) -> Keep {
        let fits = |keep: &Keep| {
            training_plan(&self.setup, &training(*keep), None).step.usage.total() <= self.limit
        };
        Keep::ALL.into_iter().find(fits).unwrap_or(Keep::Input)
    }

    /// The memory of a training run in words, with what to do where it does not fit.
    pub fn words(&self, step: &Training, validation: Option<&Decoding>) -> String {
        let plan = training_plan(&self.setup, step, validation);
        let mut words = sentence(&plan, step.keep, step.rows);
        if plan.peak().usage.total() > self.limit {
            words += &format!(
                "\nmemory: expected a plan of at most {}, which this device has to give, got more; \
                fewer setting `batch-rows` take less",
                amount(self.limit)
            );
        }
        words
    }

    /// How many of the first prompts, of so many rows each, are answered together: all, or half of
    /// them until they fit, but one.
    pub fn together(&self, rows: &[usize], answering: Beams) -> usize {
        let mut prompts = rows.len();
        while prompts > 1 {
            let plan = answering.plan(prompts, rows[..prompts].iter().sum());
            if decoding_plan(&self.setup, &plan).usage.total() <= self.limit {
                break;
            }
            prompts = prompts.div_ceil(2);
        }
        prompts
    }
}

/// The memory of a training run in a sentence, before it begins.
pub fn sentence(plan: &TrainingPlan, keep: Keep, rows: usize) -> String {
    let step = plan.step.usage.total();
    let validation = plan.validation.as_ref().map_or(String::new(), |validation| {
        format!(", a validation {}", amount(validation.usage.total()))
    });
    format!(
        "memory: planned peak {} at most: a step of {} rows that keeps {} {}{validation}",
        amount(plan.peak().usage.total()),
        grouped(rows as u64),
        keep.name(),
        amount(step)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Dtype;
    use crate::model::{Config, LoraConfig};

    fn budget(limit: u64) -> Budget {
        let config = serde_json::json!({
            "model_type": "glm", "num_layers": 4, "hidden_size": 64, "num_attention_heads": 4,
            "vocab_size": 500, "max_sequence_length": 128});
        let setup = Setup {
            config: Config::from_json(&config).unwrap(),
            tune: Tune::Lora { config: LoraConfig::default(), positions: false },
            dtype: Dtype::Bf16,
            stored: Dtype::Bf16,
            mapped: false,
            own_head: false,
        };
        Budget::limited(setup, limit)
    }

    fn step(keep: Keep) -> Training {
        training(keep, 1000, Rates::default(), 0.0)
    }

    #[test]
    fn the_fullest_keep_that_fits_is_taken() {
        let takes = |keep| training_plan(&budget(0).setup, &step(keep), None).step.usage.total();
        assert_eq!(budget(u64::MAX).keep(step), Keep::All);
        for keep in Keep::ALL {
            assert_eq!(budget(takes(keep)).keep(step), keep);
        }
        assert_eq!(budget(0).keep(step), Keep::Input);
    }

    #[test]
    fn prompts_are_halved_until_they_fit() {
        let rows = [100; 64];
        let answering = Beams { beams: 20, tokens: 8, choices: 50 };
        let takes = |prompts: usize| {
            decoding_plan(&budget(0).setup, &answering.plan(prompts, 100 * prompts)).usage.total()
        };
        for (limit, expected) in
            [(u64::MAX, 64), (takes(64), 64), (takes(64) - 1, 32), (takes(4), 4), (0, 1)]
        {
            assert_eq!(budget(limit).together(&rows, answering), expected);
        }
        assert_eq!(budget(0).together(&[], answering), 0);
    }
}
