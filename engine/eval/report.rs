//! The result of an evaluation, as it is written to `report.json` (E28).

use super::baseline::Chosen;
use super::bootstrap::{Bootstrap, Interval};
pub use super::part::Part;
use super::predictions::Asked;
use super::published;
use super::ranking::{Policy, Users};
use super::score::Answered;
use super::truth::Split;
use crate::data::{Cut, Family};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::HashSet;

/// A mean over users with its 95 % bootstrap interval; no interval where none makes sense (counts,
/// shares).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// The mean.
    pub value: f64,
    /// Where the interval begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Where the interval ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

impl Metric {
    /// A mean with its interval.
    pub fn new(value: f64, interval: Interval) -> Metric {
        Metric { value, low: Some(interval.low), high: Some(interval.high) }
    }

    /// A number without interval.
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
    /// `statistic(sums, n)` of the columns of `n` rows of `width` numbers, with intervals.
    pub(super) fn of_rows<const M: usize>(
        rows: &[f64],
        width: usize,
        names: [&'static str; M],
        bootstrap: Bootstrap,
        statistic: impl Fn(&[f64], usize) -> [f64; M] + Sync,
    ) -> Metrics {
        let mut sums = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let values = statistic(&sums, rows.len() / width);
        let intervals = bootstrap.intervals(rows, width, statistic);
        let metrics =
            values.into_iter().zip(intervals).map(|(value, interval)| Metric::new(value, interval));
        Metrics(names.into_iter().zip(metrics).collect())
    }

    /// The means of all columns of rows of `width` numbers, with intervals, drawn once.
    pub(super) fn of_columns(rows: &[f64], width: usize, bootstrap: Bootstrap) -> Vec<Metric> {
        let n = rows.len() / width.max(1);
        let sum = |c| rows.iter().skip(c).step_by(width).fold(0.0, |sum, value| sum + value);
        let intervals = bootstrap.of_means(rows, width).into_iter().enumerate();
        intervals.map(|(c, interval)| Metric::new(sum(c) / n.max(1) as f64, interval)).collect()
    }

    /// The metric of this name, if the row has it.
    pub fn get(&self, name: &str) -> Option<&Metric> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, metric)| metric)
    }

    /// The number alone; NaN where there is no such metric.
    pub fn value(&self, name: &str) -> f64 {
        self.get(name).map_or(f64::NAN, |metric| metric.value)
    }
}

/// Means of columns from their sums over `n` rows.
pub(super) fn means<const W: usize>(sums: &[f64], n: usize) -> [f64; W] {
    std::array::from_fn(|i| sums[i] / n.max(1) as f64)
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
    /// What needs no model: popularity, Markov, titles.
    Baseline,
    /// The leak probe (E24).
    Probe,
    /// What others have published of themselves.
    Published,
}

/// A line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What the first column calls it.
    pub method: String,
    /// Who made it.
    pub kind: Kind,
    /// Which users it covers.
    pub part: Part,
    /// Number of users or records: the denominator.
    pub n: usize,
    /// The numbers.
    pub metrics: Metrics,
}

/// What the predictions of a template look like before they are judged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Lines of the file.
    pub lines: usize,
    /// Users without a line: misses of a ranking.
    pub missing: usize,
    /// Users who take an item of their history again: misses where that is left out (E15).
    pub again: usize,
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
    /// What the prompts did not say, as the lines tell.
    pub cut: Cut,
    /// Seconds that decoding took, summed over lines.
    pub seconds: f64,
}

/// The tables of one template.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The task that the predictions name.
    pub task: Family,
    /// The template that they name, empty where they name none.
    pub template: String,
    /// Whether trainings may see the template; false: it is held out (E1). Not known where its
    /// wording is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<bool>,
    /// The [`Source::name`] of the predictions, where there are several files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What the template asks for.
    pub family: Asked,
    /// Denominator of the main row.
    pub n: usize,
    /// What the predictions look like before they are judged.
    pub counts: Counts,
    /// The predictions, their variants, the baselines.
    pub rows: Vec<Row>,
    /// Of a ranking of the catalogue: the predictions against each baseline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<Overlap>,
    /// What the main row is made of, by user and item, ascending.
    #[serde(skip)]
    pub answered: Vec<Answered>,
}

/// What the first ten of the predictions and those of a baseline have in common (E29).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// The row of the predictions.
    pub method: String,
    /// The row of the baseline.
    pub baseline: String,
    /// Number of users.
    pub n: usize,
    /// Items that stand in both lists, as a share of ten: the mean over users.
    pub shared: Metric,
    /// Users whose target is among the first ten of both.
    pub both: usize,
    /// Users whose target only the predictions have there.
    pub only_model: usize,
    /// Users whose target only the baseline has there; the rest of the n are hits of neither.
    pub only_baseline: usize,
}

impl Group {
    /// "sequential 2-3".
    pub fn title(&self) -> String {
        format!("{} {}", self.task, self.template).trim_end().to_string()
    }

    /// The title, and of several files which.
    pub fn place(&self) -> String {
        let file = self.file.as_ref().map(|file| format!(", {file}"));
        self.title() + &file.unwrap_or_default()
    }

    /// Share of questions with an answer that could be judged: a list, a number, a text.
    pub fn coverage(&self) -> f64 {
        let Counts { lines, missing, failed, .. } = self.counts;
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let parsed = self.main().and_then(|row| row.metrics.get("coverage"));
        match parsed {
            Some(parsed) => parsed.value,
            None if self.family.ranks() => share(self.n.saturating_sub(missing + failed), self.n),
            None => share(lines.saturating_sub(failed), lines),
        }
    }

    /// Share of lines whose prompt did not say all, as the lines tell.
    pub fn truncated(&self) -> f64 {
        self.counts.cut.samples as f64 / self.counts.lines.max(1) as f64
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
    /// The task of the templates.
    pub task: Family,
    /// Which of them: those that trainings may see, or those held out; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<bool>,
    /// The [`Source::name`] of the predictions, where there are several files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The name of the metric.
    pub metric: &'static str,
    /// Number of templates.
    pub templates: usize,
    /// How many of them have the metric; the numbers are there where all do.
    pub known: usize,
    /// Mean over the templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Least over the templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest over the templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// What one file of predictions has over another, question by question.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The [`Group::title`] that both answer.
    pub group: String,
    /// The row of the file that is compared.
    pub method: String,
    /// The row of the file that it is compared with: the first that answers.
    pub with: String,
    /// Questions that both count.
    pub n: usize,
    /// Metric of the one minus metric of the other, with the 95 % bootstrap interval over the
    /// questions, drawn for both at once.
    pub metrics: Metrics,
}

/// One of several files of predictions.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// What tables call it.
    pub name: String,
    /// The file as it was named.
    pub predictions: String,
    /// Whom the denominator counts.
    pub users: Users,
    /// What made the predictions, in words.
    pub made_by: String,
    /// Rank of the adapter that made them, where one is known of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The side file of the predictions, word for word.
    pub settings: serde_json::Value,
}

/// A threshold and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The bound as it was given.
    pub threshold: String,
    /// The [`Group::place`] that it was held against.
    pub group: String,
    /// What the group reached.
    pub value: f64,
    /// Whether the bound holds.
    pub holds: bool,
}

/// Identifies the `.bin`.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// Its name without folder and ending.
    pub name: String,
    /// Its checksum, as eight hexadecimal digits.
    pub hash: String,
    /// Number of items.
    pub items: usize,
    /// Number of users.
    pub users: usize,
}

/// What every file of a report says in its first lines: by it `eval` knows what it may make again.
pub const GENERATOR: &str = "engine eval";

/// Everything that is known about predictions. Of several files `predictions`, `users`, `made_by`
/// and `settings` are the first's, with which the others are compared.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`GENERATOR`].
    pub generator: &'static str,
    /// Version of the program.
    pub engine: &'static str,
    /// The predictions file as it was named.
    pub predictions: String,
    /// The `.bin`.
    pub data: Data,
    /// Which event was to be predicted.
    pub split: Split,
    /// What became of invalid and repeated outputs.
    pub policy: Policy,
    /// Whether the history's items were left out of every ranking.
    pub filter_history: bool,
    /// Whom the denominator counts.
    pub users: Users,
    /// What the resamples were drawn from.
    pub seed: u64,
    /// How many there were.
    pub resamples: usize,
    /// What made the predictions, in words.
    pub made_by: String,
    /// The side file of the predictions, word for word: model, adapter, decoding, seed.
    pub settings: serde_json::Value,
    /// All files, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Source>,
    /// One for each template of each file.
    pub groups: Vec<Group>,
    /// What the other files have over the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Over the templates of a task, where it has several.
    pub spreads: Vec<Spread>,
    /// The same of templates that trainings may see and of those held out, where there are both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_seen: Vec<Spread>,
    /// Whose published figures stand beside, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rivals: Option<published::Beside>,
    /// How the baselines were fitted, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baselines: Option<Chosen>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
    /// Laws of arithmetic that a row breaks (E27): always our fault.
    pub broken: Vec<String>,
    /// What became of each threshold.
    pub thresholds: Vec<Verdict>,
    /// Wall time of the evaluation.
    pub seconds: f64,
}

impl Report {
    /// The groups by question: of several files one group for all that answer it, with a row for
    /// each, and each baseline once where it was asked about the same users.
    pub fn questions(&self) -> Vec<Group> {
        let mut questions: Vec<Group> = Vec::new();
        for group in &self.groups {
            let key = |group: &Group| (group.task, group.template.clone(), group.family);
            let Some(question) = questions.iter_mut().find(|other| key(other) == key(group)) else {
                questions.push(group.clone());
                continue;
            };
            let rival = |row: &Row| matches!(row.kind, Kind::Baseline | Kind::Probe);
            let (beside, own): (Vec<&Row>, Vec<&Row>) = group.rows.iter().partition(|r| rival(r));
            let place = question.rows.iter().position(rival).unwrap_or(question.rows.len());
            question.rows.splice(place..place, own.into_iter().cloned());
            let same = |a: &Row, b: &Row| {
                (&a.method, a.part, a.n) == (&b.method, b.part, b.n) && a.metrics == b.metrics
            };
            // A method is another one's in all parts or in none.
            let new = |row: &&Row| !question.rows.iter().any(|other| same(other, row));
            let others: HashSet<&str> =
                beside.iter().copied().filter(new).map(|row| &*row.method).collect();
            for row in beside.into_iter().filter(|row| others.contains(&*row.method)) {
                let file = group.file.as_deref().unwrap_or_default();
                let method = format!("{}, users of {file}", row.method);
                question.rows.push(Row { method, ..row.clone() });
            }
            question.overlaps.extend_from_slice(&group.overlaps);
        }
        questions
    }

    /// The side files: the one's under no name, or of several each under " " and its file's.
    pub fn all_settings(&self) -> Vec<(String, &serde_json::Value)> {
        match self.files.as_slice() {
            [] => vec![(String::new(), &self.settings)],
            files => files.iter().map(|file| (format!(" {}", file.name), &file.settings)).collect(),
        }
    }

    /// The names of the files, or the one file as it was named.
    pub fn names(&self) -> String {
        match self.files.as_slice() {
            [] => self.predictions.clone(),
            files => files.iter().map(|file| &*file.name).collect::<Vec<_>>().join(", "),
        }
    }
}
