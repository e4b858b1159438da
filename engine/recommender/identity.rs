//! What a piece of work is: everything that decides its numbers, as data. It is written beside the
//! work when that begins, and whoever goes on with it compares it with what it would do itself.
//!
//! A setting counts by its name and value unless a list here says otherwise, so that a new one
//! counts until somebody has thought about it. What a setting only names (weights, adapter, data,
//! templates, prompts) counts by its contents, wherever it lies now.

use super::job::Job;
use super::learning::{Learning, Tuned};
use super::open::Recommender;
use super::source::Origin;
use crate::base::text::shortened;
use crate::base::Fault;
use crate::data::task::Tasks;
use crate::data::Dataset;
use crate::device::Place;
use crate::model::{Contents, Rates};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use std::path::Path;

/// Settings that count by what they stand for: contents of files, words of a config, the kind of a
/// device.
pub const BY_CONTENTS: &[&str] =
    &["weights", "adapter", "gelu", "data", "template", "templates", "prompts", "prior", "device"];

/// Settings of a training that no number depends on: where it writes, what it keeps, when it
/// pauses.
pub const NOTHING_TO_TRAINING: &[&str] =
    &["out", "keep", "checkpoint-every", "keep-checkpoints", "max-minutes", "threads"];

/// Settings of a batch of answers that no answer depends on.
pub const NOTHING_TO_ANSWERS: &[&str] =
    &["out", "batch", "max-wait", "max-line", "max-memory", "threads"];

/// Everything that decides the numbers of a training, or of a batch of answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The engine's version.
    pub engine: String,
    /// The kind of device that computes, cpu, cuda or emu: each rounds in its own way.
    pub device: String,
    /// Settings, by name.
    pub settings: Map<String, Value>,
    /// The data set's hash.
    pub data_hash: u32,
    /// Its tokenizer's.
    pub tokenizer_hash: u32,
    /// Of the file of prompts, where one is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts_hash: Option<String>,
    /// The wording of the templates in use.
    pub templates: Vec<String>,
    /// The weights.
    pub weights: Contents,
    /// The adapter, where there is one.
    pub adapter: Option<Contents>,
}

/// What a message shows of one kind of difference; of the rest it says how many there are.
const SHOWN: usize = 3;

/// Bytes of a value in a message.
const LONGEST: usize = 300;

impl Identity {
    /// Of a training with these settings, whose dropout is `rates`, and what its teacher is.
    pub fn of_training(
        settings: &Learning,
        (rates, taught_by): (Rates, Option<String>),
        origin: &Origin,
        dataset: &Dataset,
        tasks: &Tasks,
    ) -> Result<Identity> {
        let mut own = numbers(settings, NOTHING_TO_TRAINING)?;
        if let Some(what) = taught_by {
            // Of a table its contents count, not its name.
            own.insert("teacher".into(), what.into());
        }
        let mut weights = origin.weights.clone();
        // What nobody chose counts as if it had been: by what it comes to.
        own.insert("attention-dropout".into(), shortest(rates.attention));
        match rates.embedding == rates.output {
            true => drop(own.insert("dropout".into(), shortest(rates.output))),
            false => {
                let [embedding, output] = [rates.embedding, rates.output].map(shortest);
                weights.config.insert("embedding_dropout_prob".into(), embedding);
                weights.config.insert("output_dropout_prob".into(), output);
            }
        }
        let adapts = ["rank", "alpha", "lora-dropout", "targets", "train-positions"];
        let validates = ["validate-users", "validate-beams", "validate-length-penalty", "patience"];
        let unused = [
            (settings.tune == Tuned::Full, &adapts[..]),
            (settings.validate_every == 0, &validates[..]),
        ];
        for name in unused.into_iter().filter(|(unused, _)| *unused).flat_map(|(_, names)| names) {
            own.shift_remove(*name);
        }
        let all = Identity::of(own, settings.source().place(), origin, dataset, tasks);
        Ok(Identity { weights, templates: tasks.wording(), ..all })
    }

    /// Of the answers of a recommender to the questions of a job.
    pub fn of_answers(
        recommender: &Recommender,
        job: &Job,
        prompts_hash: Option<String>,
    ) -> Result<Identity> {
        let settings = recommender.settings();
        let job = Job { settings: settings.clone(), ..job.clone() };
        let mut own = numbers(&job, NOTHING_TO_ANSWERS)?;
        // An answer is whole when its trace is there, wherever that is.
        own.insert("trace".into(), job.trace.is_some().into());
        if let Some(companion) = recommender.companion() {
            own.insert("prior".into(), companion.identity(recommender.dataset()));
        }
        let (place, origin) = (settings.source.place(), recommender.origin());
        let of = |tasks: &Tasks| -> Result<Identity> {
            let ids = match job.prompts {
                Some(_) => Vec::new(),
                None => recommender.wordings(job.task)?,
            };
            let asked: Vec<String> = ids.iter().map(|id| tasks.in_words(id)).collect();
            // A prompt may name any template.
            let all = || vec![tasks.next_id(None).map(|id| tasks.in_words(id)), tasks.all_words()];
            let templates = match asked.is_empty() {
                true => all().into_iter().collect::<Result<_>>()?,
                false => asked,
            };
            let all = Identity::of(own, place, origin, recommender.dataset(), tasks);
            Ok(Identity { prompts_hash, templates, ..all })
        };
        recommender.tasks(of)
    }

    fn of(
        mut settings: Map<String, Value>,
        place: Place,
        origin: &Origin,
        dataset: &Dataset,
        tasks: &Tasks,
    ) -> Identity {
        // No row is longer than the model has positions.
        settings.insert("max-row".into(), tasks.builder().options().max_row.into());
        let kind = match place {
            Place::Cpu => "cpu",
            Place::Cuda(_) => "cuda",
            Place::Emu(_) => "emu",
        };
        Identity {
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            device: kind.to_owned(),
            settings,
            data_hash: dataset.hash(),
            tokenizer_hash: dataset.vocab().hash(),
            prompts_hash: None,
            templates: tasks.wording()[..1].to_vec(),
            weights: origin.weights.clone(),
            adapter: origin.adapter.clone(),
        }
    }

    /// Refuses to go on with what was begun as this, which `place` says, as something else.
    pub fn expect(&self, now: &Identity, place: &Path) -> Result<()> {
        let others = self.differences(now);
        if others.is_empty() {
            return Ok(());
        }
        Err(Fault::Usage.error(format!(
            "setting `resume`: {}: expected what it was begun with, got something else: {}; go on \
             as it was begun, or choose another setting `out`",
            place.display(),
            others.join(", ")
        )))
    }

    /// What differs, and how.
    fn differences(&self, now: &Identity) -> Vec<String> {
        let [before, now] = [self, now].map(|one| json!(one));
        let mut said = Vec::new();
        for part in names(&before, &now) {
            let mut found = Vec::new();
            compare(called(part), &before[part], &now[part], &mut found);
            let more = found.len().saturating_sub(SHOWN);
            said.extend(found.into_iter().take(SHOWN));
            if more > 0 {
                said.push(format!("and {more} more of {part}"));
            }
        }
        said
    }
}

/// The settings that decide numbers: all but those that count by contents and `idle` ones.
fn numbers(settings: &impl Serialize, idle: &[&str]) -> Result<Map<String, Value>> {
    // By way of a text, in which an f32 has the few decimals that were typed.
    let mut all: Map<String, Value> = serde_json::from_str(&serde_json::to_string(settings)?)?;
    all.retain(|name, _| !BY_CONTENTS.contains(&&**name) && !idle.contains(&&**name));
    Ok(all)
}

/// As [`numbers`] has an f32.
fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().expect("a number that was just written").into()
}

/// What a message calls a part of an identity: the setting that it comes from, where it is one.
fn called(part: &str) -> &str {
    match part {
        "data_hash" => "setting `data`: hash",
        "tokenizer_hash" => "setting `data`: hash of the tokenizer",
        "prompts_hash" => "setting `prompts`: hash",
        "templates" => "setting `template`",
        "weights" => "setting `weights`",
        "adapter" => "setting `adapter`",
        "device" => "setting `device`",
        other => other,
    }
}

/// The names in either of two objects, those of the first in front.
fn names<'a>(a: &'a Value, b: &'a Value) -> Vec<&'a str> {
    let of = |value: &'a Value| value.as_object().into_iter().flatten().map(|(name, _)| &**name);
    of(a).chain(of(b).filter(|name| a.get(name).is_none())).collect()
}

/// Says where two values differ, and how.
pub(super) fn compare(place: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    if before.is_object() && now.is_object() {
        for name in names(before, now) {
            let place = match place {
                "settings" => format!("setting `{name}`"),
                _ => format!("{place}: {name}"),
            };
            compare(&place, &before[name], &now[name], found);
        }
    } else if before != now {
        let [before, now] = [before, now].map(|value| match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => shortened(text, LONGEST).into_owned(),
            value => shortened(&value.to_string(), LONGEST).into_owned(),
        });
        found.push(format!("{place} was {before} and is {now}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let all = json!({
            "engine": "1", "device": "cpu", "data_hash": 1, "tokenizer_hash": 2,
            "settings": {"beams": 20, "levels": [0.5, 0.5], "trace": false},
            "templates": ["a (sequential): {history} [MASK]"],
            "weights": {
                "config": {"num_layers": 2},
                "tensors": {"a": "F32 [1] 0", "b": "F32 [1] 1", "c": "F32 [1] 2", "d": "F32 [1] 3"},
            },
            "adapter": null,
        });
        serde_json::from_value(all).unwrap()
    }

    /// What is said where something was changed.
    fn said(change: impl FnOnce(&mut Value)) -> String {
        let mut now = json!(identity());
        change(&mut now);
        identity().differences(&serde_json::from_value(now).unwrap()).join(", ")
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        assert_eq!(said(|_| {}), "");
        let beams = said(|now| now["settings"]["beams"] = json!(5));
        assert_eq!(beams, "setting `beams` was 20 and is 5");
        let levels = said(|now| now["settings"]["levels"] = json!([1.0]));
        assert_eq!(levels, "setting `levels` was [0.5,0.5] and is [1.0]");
        let more = said(|now| now["settings"]["shards"] = json!(5));
        assert_eq!(more, "setting `shards` was none and is 5");
        let layers = said(|now| now["weights"]["config"]["num_layers"] = json!(3));
        assert_eq!(layers, "setting `weights`: config: num_layers was 2 and is 3");
        let prompts = said(|now| now["prompts_hash"] = json!("x"));
        assert_eq!(prompts, "setting `prompts`: hash was none and is x");
        let device = said(|now| now["device"] = json!("cuda"));
        assert_eq!(device, "setting `device` was cpu and is cuda");
    }

    #[test]
    fn of_many_differences_the_first_are_said() {
        let tensors = said(|now| {
            for (_, tensor) in now["weights"]["tensors"].as_object_mut().unwrap() {
                *tensor = json!("F32 [1] 9");
            }
            now["settings"]["trace"] = json!(true);
        });
        let start = "setting `trace` was false and is true, setting `weights`: tensors: a was \
                     F32 [1] 0 and is F32 [1] 9";
        assert!(tensors.starts_with(start), "{tensors}");
        assert!(
            tensors.ends_with("F32 [1] 2 and is F32 [1] 9, and 1 more of weights"),
            "{tensors}"
        );
    }
}
