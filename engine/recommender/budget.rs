//! What fits the memory of a device: what layers keep for their backward, how many prompts are
//! answered together. Neither changes a number that is computed.

use crate::base::named::named;
use crate::base::text::{amount, grouped};
use crate::data::legal::Objective;
use crate::data::rules::Score;
use crate::data::Dataset;
use crate::decode::Writing;
use crate::model::plan::{
    decoding_plan, reading_plan, training_plan, Decoding, Produced, Reading, Setup, Training,
    TrainingPlan,
};
use crate::model::{Keep, KvCache, Model, Rates, Tune};
use anyhow::Result;

/// Share of a device's own memory that a plan may fill; the rest is for the kernels' needs and for
/// what lies in pieces.
const OF_A_DEVICE: f64 = 0.95;
/// The same of a host's memory, which others use too.
const OF_A_HOST: f64 = 0.5;

/// Rows of a pass that reads texts once: enough to keep a device busy.
const READING: usize = 1 << 13;

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
    /// Legal next tokens, or logits that are changed, at most.
    pub choices: usize,
    /// Whether all tokens of a beam may be run in one pass.
    pub look_ahead: bool,
    /// Whether the choices alone decide, and not the whole vocabulary.
    pub legal: bool,
}

impl Beams {
    /// With items of a data set, scored as `score` says.
    pub fn items(dataset: &Dataset, beams: usize, score: Score) -> Beams {
        let tokens = dataset.statistics().tokens_mean.ceil() as usize + 1;
        let choices = dataset.catalogue().children(0).len();
        Beams { beams, tokens, choices, look_ahead: true, legal: score == Score::Legal }
    }

    /// Writing texts of `masks` masks, none of them with an answer of more than `tokens` tokens;
    /// `legal` tokens may follow one where a grammar says so, and `specials` end an answer.
    pub fn texts(
        writing: &Writing,
        masks: usize,
        tokens: usize,
        legal: usize,
        specials: usize,
    ) -> Beams {
        let repeated = if writing.repetition_penalty == 1.0 { 0 } else { tokens };
        let banned = if writing.min_tokens == 0 { 0 } else { specials + 1 };
        let choices = writing.beams.max(legal).max(repeated + banned);
        // [START] is fed too.
        let tokens = masks * (tokens + 1);
        Beams { beams: writing.beams, tokens, choices, look_ahead: false, legal: false }
    }

    /// What has room for both.
    pub fn larger(self, other: Beams) -> Beams {
        Beams {
            beams: self.beams.max(other.beams),
            tokens: self.tokens.max(other.tokens),
            choices: self.choices.max(other.choices),
            look_ahead: self.look_ahead || other.look_ahead,
            legal: self.legal || other.legal,
        }
    }

    /// `prompts` requests of together `prompt_rows` rows. Look-ahead may run all tokens in one
    /// pass, and room for them grows by doubling: both are planned at their largest.
    pub fn plan(self, prompts: usize, prompt_rows: usize) -> Decoding {
        let (step, tokens) = (prompts * self.beams, self.tokens);
        let grown = |t| Produced { rows: step, path: step * t, used: step * t };
        let at_once =
            Produced { rows: step * tokens, path: step * tokens * tokens, used: step * tokens };
        let passes = match self.look_ahead {
            true => (1..=tokens).map(grown).chain([at_once]).collect(),
            // Of a long text the passes in which room doubles, and the last, say all.
            false => {
                let doubled = std::iter::successors(Some(1), |t| Some(2 * t));
                doubled.take_while(|t| *t < tokens).chain([tokens]).map(grown).collect()
            }
        };
        Decoding {
            prompts,
            prompt_rows,
            slots: KvCache::SLOTS * prompts,
            passes,
            choices: self.choices,
            gathered: if self.legal { self.choices } else { 0 },
        }
    }
}

/// The largest micro-batch: all rows of the budget that a step can fill, each of them a target at
/// worst; `widest` as in [`Training`].
pub fn training(
    keep: Keep,
    rows: usize,
    widest: usize,
    rates: Rates,
    lora_dropout: f32,
) -> Training {
    Training { keep, rows, targets: rows, widest, rates, lora_dropout }
}

/// Tokens of the widest set among which `objective` decides a target; 0 where it is the whole
/// vocabulary.
pub fn widest(objective: Objective, dataset: &Dataset) -> usize {
    if objective == Objective::Full {
        return 0;
    }
    let trie = dataset.catalogue();
    // [END] and a separator may follow as well.
    (0..trie.nodes() as u32).map(|node| trie.children(node).len() + 2).max().unwrap_or(0)
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

    /// Rows of a pass that reads texts once, the longest of them of `longest` rows, and asks about
    /// `choices` tokens behind each: halved until they fit, but a text.
    pub fn reading(&self, longest: usize, choices: usize) -> usize {
        let mut rows = READING.max(longest);
        let takes = |rows: usize| {
            let reading = Reading { rows, sequences: rows, choices };
            reading_plan(&self.setup, &reading).usage.total()
        };
        while rows > longest && takes(rows) > self.limit {
            rows = (rows / 2).max(longest);
        }
        rows
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
            merged: Vec::new(),
            dtype: Dtype::Bf16,
            stored: Dtype::Bf16,
            mapped: false,
            own_head: false,
            capacity: 0,
        };
        Budget::limited(setup, limit)
    }

    fn step(keep: Keep) -> Training {
        training(keep, 1000, 0, Rates::default(), 0.0)
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
        let answering = Beams { beams: 20, tokens: 8, choices: 50, look_ahead: true, legal: false };
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

    #[test]
    fn a_text_of_many_tokens_is_no_pass_of_many_rows() {
        let writing = Writing { beams: 12, min_tokens: 10, ..Writing::GREEDY };
        let texts = Beams::texts(&writing, 2, 64, 0, 9);
        assert_eq!((texts.beams, texts.tokens, texts.choices), (12, 130, 12));
        let penalised = Writing { repetition_penalty: 0.7, ..writing };
        assert_eq!(Beams::texts(&penalised, 2, 64, 0, 9).choices, 74);
        let plan = texts.plan(3, 300);
        assert!(plan.passes.iter().all(|pass| pass.rows == 36));
        assert_eq!(plan.passes.last().unwrap().used, 36 * 130);
        // What is left out of the passes takes no more than the others do.
        let all = (1..=130).map(|t| Produced { rows: 36, path: 36 * t, used: 36 * t }).collect();
        let setup = &budget(0).setup;
        let literal = decoding_plan(setup, &Decoding { passes: all, ..plan.clone() });
        assert_eq!(decoding_plan(setup, &plan).usage.total(), literal.usage.total());
    }

    #[test]
    fn passes_that_read_are_halved_until_they_fit() {
        let takes = |rows: usize| {
            let reading = Reading { rows, sequences: rows, choices: 2 };
            reading_plan(&budget(0).setup, &reading).usage.total()
        };
        for (limit, expected) in
            [(u64::MAX, READING), (takes(READING) - 1, READING / 2), (takes(256), 256), (0, 100)]
        {
            assert_eq!(budget(limit).reading(100, 2), expected);
        }
        assert_eq!(budget(0).reading(READING + 5, 2), READING + 5);
    }
}
