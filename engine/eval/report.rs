//! The result of an evaluation, as it is written to `report.json` (E28).

use super::bootstrap::Interval;
use super::predictions::Family;
use super::ranking::{Policy, Users};
use super::truth::Split;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A mean over users with its 95 % bootstrap interval; no interval where none makes sense (counts,
/// shares).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

impl Metric {
    pub fn new(value: f64, interval: Interval) -> Metric {
        Metric { value, low: Some(interval.low), high: Some(interval.high) }
    }

    pub fn bare(value: f64) -> Metric {
        Metric { value, low: None, high: None }
    }

    /// Half the interval's width: what stands behind "±".
    pub fn half_width(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }
}

/// Metrics by name, in the order of the columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<(&'static str, Metric)>);

impl Metrics {
    pub fn get(&self, name: &str) -> Option<&Metric> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, metric)| metric)
    }

    /// The number alone; NaN where there is no such metric.
    pub fn value(&self, name: &str) -> f64 {
        self.get(name).map_or(f64::NAN, |metric| metric.value)
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, metric) in &self.0 {
            map.serialize_entry(name, metric)?;
        }
        map.end()
    }
}

/// Who made a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The predictions under the chosen policy: the row that thresholds look at.
    Model,
    /// The same predictions counted otherwise.
    Variant,
    Baseline,
    /// The leak probe (E24).
    Probe,
}

/// Which users a row covers (E4b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    All,
    SameDay,
    LaterDay,
}

impl Part {
    pub const fn name(self) -> &'static str {
        match self {
            Part::All => "all",
            Part::SameDay => "same day",
            Part::LaterDay => "later day",
        }
    }
}

/// A line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub method: String,
    pub kind: Kind,
    pub part: Part,
    pub n: usize,
    pub metrics: Metrics,
}

/// What the predictions of a template look like before they are judged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Lines of the file.
    pub lines: usize,
    /// Users without a line: misses of a ranking.
    pub missing: usize,
    /// Lines that say the prompt could not be answered.
    pub failed: usize,
    /// Lines left out because the `.bin` has no answer to hold them against.
    pub unknown: usize,
    /// Outputs of rankings.
    pub outputs: usize,
    /// Outputs that are no item.
    pub invalid: usize,
    /// Outputs that repeat an earlier one.
    pub repeated: usize,
    /// Outputs that were not among the candidates of a sampled ranking.
    pub outside: usize,
    /// Lines whose list is shorter than ten.
    pub short: usize,
    /// Seconds that decoding took, summed over lines.
    pub seconds: f64,
}

/// The tables of one template.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    pub task: String,
    pub template: String,
    pub family: Family,
    /// Denominator of the main row.
    pub n: usize,
    pub counts: Counts,
    pub rows: Vec<Row>,
}

impl Group {
    /// "sequential 2-3".
    pub fn title(&self) -> String {
        format!("{} {}", self.task, self.template).trim_end().to_string()
    }

    /// The row of the predictions themselves.
    pub fn main(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == Kind::Model)
    }

    /// Rows of one part of the users.
    pub fn part(&self, part: Part) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.part == part)
    }
}

/// Mean, least and greatest of a metric over the templates of one task.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    pub task: String,
    pub metric: &'static str,
    pub templates: usize,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// A threshold and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub threshold: String,
    pub group: String,
    pub value: f64,
    pub holds: bool,
}

/// Identifies the `.bin`.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    pub name: String,
    pub hash: String,
    pub items: usize,
    pub users: usize,
}

/// Everything that is known about one predictions file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub engine: &'static str,
    pub predictions: String,
    pub data: Data,
    pub split: Split,
    pub policy: Policy,
    pub filter_history: bool,
    /// Whether users without a line are misses.
    pub users: Users,
    pub seed: u64,
    pub resamples: usize,
    /// The side file of the predictions, word for word: model, adapter, decoding, seed.
    pub settings: serde_json::Value,
    pub groups: Vec<Group>,
    pub spreads: Vec<Spread>,
    pub warnings: Vec<String>,
    /// Laws of arithmetic that a row breaks (E27): always our fault.
    pub broken: Vec<String>,
    pub thresholds: Vec<Verdict>,
    /// Wall time of the evaluation.
    pub seconds: f64,
}
