//! A run's `metrics.jsonl`: one line a step, one a validation.

use crate::base::{missing, unreadable, Fault};
use anyhow::Result;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

/// A training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Minutes since the run began.
    pub minutes: f64,
    /// Mean loss of the step's targets, in nats.
    pub loss: f64,
    /// What AdamW took the step with, where the line says so.
    pub learning_rate: Option<f64>,
}

/// A validation: metrics by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// Minutes since the run began.
    pub minutes: f64,
    /// The step after which it was made.
    pub step: u64,
    /// (name, value) in the order of the file.
    pub metrics: Vec<(String, f64)>,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Steps in the order of the file.
    pub steps: Vec<Step>,
    /// Validations in the order of the file.
    pub validations: Vec<Validation>,
    /// Number of the last step.
    pub last_step: u64,
}

impl Curve {
    /// Reads `metrics.jsonl` of a run folder.
    pub fn read(run: &Path) -> Result<Curve> {
        let path = run.join("metrics.jsonl");
        let name = path.display().to_string();
        if !run.is_dir() {
            let why = run.metadata().err().unwrap_or_else(|| ErrorKind::NotADirectory.into());
            return Err(unreadable(Fault::Data, "setting `run`", run, "a run folder", &why));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|e| missing(Fault::Data, "setting `run`", &path, "the log of a run", &e))?;
        Curve::parse(&text, &name)
    }

    /// Refuses lines that are no JSON object with `step` and `seconds`; a last line that is still
    /// being written is left out.
    pub fn parse(text: &str, name: &str) -> Result<Curve> {
        let mut curve = Curve::default();
        let mut lines = text.split_inclusive('\n').zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            if line.trim().is_empty() {
                continue;
            }
            let value = match serde_json::from_str::<Value>(line) {
                Ok(value) => value,
                Err(_) if lines.peek().is_none() && !line.ends_with('\n') => break,
                Err(e) => return Err(refuse(name, number, format!("got {e}"))),
            };
            let field = |field: &str| value.get(field).and_then(Value::as_f64);
            let (Some(step), Some(seconds)) = (field("step"), field("seconds")) else {
                return Err(refuse(name, number, "got a line without them".into()));
            };
            let minutes = seconds / 60.0;
            curve.last_step = curve.last_step.max(step as u64);
            if let Some(loss) = field("loss") {
                curve.steps.push(Step { minutes, loss, learning_rate: field("learning_rate") });
            }
            if let Some(metrics) = value.get("validation").and_then(Value::as_object) {
                let metrics = metrics
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
                curve.validations.push(Validation {
                    minutes,
                    step: step as u64,
                    metrics: metrics.collect(),
                });
            }
        }
        Ok(curve)
    }

    /// (minutes, value) of a validation metric.
    pub fn validation(&self, metric: &str) -> Vec<(f64, f64)> {
        let of = |v: &Validation| {
            v.metrics.iter().find(|(name, _)| name == metric).map(|m| (v.minutes, m.1))
        };
        self.validations.iter().filter_map(of).collect()
    }

    /// (minutes, loss), at most `points` of them: means over equal runs of steps.
    pub fn loss(&self, points: usize) -> Vec<(f64, f64)> {
        let run = self.steps.len().div_ceil(points.max(1)).max(1);
        let mean = |steps: &[Step]| {
            let n = steps.len() as f64;
            let sums = steps
                .iter()
                .fold((0.0, 0.0), |sums, step| (sums.0 + step.minutes, sums.1 + step.loss));
            (sums.0 / n, sums.1 / n)
        };
        self.steps.chunks(run).map(mean).collect()
    }
}

fn refuse(name: &str, line: usize, got: String) -> anyhow::Error {
    let expected = "expected a JSON object with `step` and `seconds`";
    Fault::Data.error(format!(
        "run: {name}:{line}: {expected}, {got}; give a folder that `engine train` wrote"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"step\":1,\"loss\":4.0,\"learning_rate\":0.1,\"seconds\":60}\n\
        {\"step\":2,\"loss\":2.0,\"seconds\":120}\n\
        {\"step\":2,\"seconds\":130,\"validation\":{\"hr@10\":0.02,\"ndcg@10\":0.01}}\n";

    #[test]
    fn steps_and_validations_are_told_apart() {
        let curve = Curve::parse(TEXT, "m").unwrap();
        assert_eq!((curve.steps.len(), curve.last_step), (2, 2));
        assert_eq!(curve.loss(1), [(1.5, 3.0)]);
        assert_eq!(curve.loss(600).len(), 2);
        assert_eq!(curve.validation("hr@10"), [(130.0 / 60.0, 0.02)]);
    }

    #[test]
    fn a_line_being_written_is_left_out_and_a_bad_one_refused() {
        assert_eq!(Curve::parse(&format!("{TEXT}{{\"step\": 3, \"lo"), "m").unwrap().last_step, 2);
        let error = Curve::parse(&format!("{{}}\n{TEXT}"), "m").unwrap_err();
        assert!(error.to_string().contains("m:1:"), "{error}");
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        assert!(Curve::parse("nonsense\n{}\n", "m").is_err());
    }
}
