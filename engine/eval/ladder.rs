//! Steps of a ladder compared: the same users under the same seeds, each step beside another one.

use super::bootstrap::{Bootstrap, Interval};
use super::chart::{dots, escaped, Dot};
use super::html::{figure, frame, markup};
use super::markdown::{quoted, table};
use super::ranking::Scores;
use super::report::{Data, Kind, Placed};
use super::table::{Best, Cell, Table};
use crate::base::named::named;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What every file of a ladder says in its first lines.
pub const GENERATOR: &str = "engine sweep";

named! {
    /// What is compared between steps, a number a user.
    pub enum Score: "metrics" {
        /// Whether the target is at rank 1.
        Hr1 = "hr@1",
        /// Whether it is among the first five.
        Hr5 = "hr@5",
        /// 1 / log₂(rank + 1) among the first five.
        Ndcg5 = "ndcg@5",
        /// Whether it is among the first ten.
        Hr10 = "hr@10",
        /// 1 / log₂(rank + 1) among the first ten.
        Ndcg10 = "ndcg@10",
        /// 1 / rank among the first ten.
        Mrr10 = "mrr@10",
        /// Share of the outputs that are an item.
        Validity = "validity",
    }
}

impl Score {
    /// Of one user.
    fn of(self, place: &Placed) -> f64 {
        match Scores::NAMES.iter().position(|name| *name == self.name()) {
            Some(at) => Scores::of_user(place.rank)[at],
            None => f64::from(place.valid) / f64::from(place.outputs.max(1)),
        }
    }
}

/// A step that was trained and asked.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// The settings that are its own, in words.
    pub settings: Vec<String>,
    /// The number of the step that it is compared with.
    pub against: Option<usize>,
    /// By seed, then user, ascending; at least one user each.
    pub places: Vec<Vec<Placed>>,
}

/// A mean over seeds of means over users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Where its 95 % interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// The mean over users under each seed.
    pub by_seed: Vec<f64>,
}

/// Estimates by score.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates(pub Vec<(Score, Estimate)>);

impl Serialize for Estimates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (score, estimate) in &self.0 {
            map.serialize_entry(score.name(), estimate)?;
        }
        map.end()
    }
}

/// A step of a ladder as it is written down.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// The settings that are its own.
    pub settings: Vec<String>,
    /// Users under each seed.
    pub users: usize,
    /// What it reaches.
    pub metrics: Estimates,
    /// The step that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// This step minus that one, over the same users and seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Estimates>,
}

/// The result of a sweep, as it is written to `ladder.json`. Nothing of it depends on when, where
/// or in how many parts it was made.
#[derive(Clone, Debug, Serialize)]
pub struct Ladder {
    /// [`GENERATOR`].
    pub generator: &'static str,
    /// Version of the program.
    pub engine: &'static str,
    /// What the ladder is called.
    pub name: String,
    /// On what it was measured.
    pub data: Data,
    /// Under which seeds.
    pub seeds: Vec<u64>,
    /// How means and intervals were made, in words.
    pub method: String,
    /// The steps, in the order of the ladder.
    pub steps: Vec<Rung>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// What is said of a ladder beside its steps.
#[derive(Clone, Debug)]
pub struct About {
    /// What it is called.
    pub name: String,
    /// On what it was measured.
    pub data: Data,
    /// Under which seeds, as many as every step has places.
    pub seeds: Vec<u64>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// Compares `steps` by `scores`: means, intervals and paired differences.
pub fn compare(about: About, steps: &[Measured], scores: &[Score], bootstrap: Bootstrap) -> Ladder {
    let About { name, data, seeds, warnings } = about;
    let rung = |step: &Measured| {
        let rows = |place: &Placed| scores.iter().map(|score| score.of(place)).collect::<Vec<_>>();
        let own: Vec<Vec<f64>> =
            step.places.iter().map(|places| places.iter().flat_map(rows).collect()).collect();
        let other = step.against.map(|other| &steps[other]);
        Rung {
            name: step.name.clone(),
            settings: step.settings.clone(),
            users: step.places.first().map_or(0, Vec::len),
            metrics: estimates(&own, scores, bootstrap),
            against: other.map(|other| other.name.clone()),
            differences: other
                .and_then(|other| differences(step, other, scores))
                .map(|rows| estimates(&rows, scores, bootstrap)),
        }
    };
    let method = method(seeds.len(), bootstrap);
    let (generator, engine) = (GENERATOR, env!("CARGO_PKG_VERSION"));
    let steps = steps.iter().map(rung).collect();
    Ladder { generator, engine, name, data, seeds, method, steps, warnings }
}

fn method(seeds: usize, bootstrap: Bootstrap) -> String {
    let drawn = match seeds {
        1 => "users are drawn with replacement; what another seed would give is not in them".into(),
        n => format!(
            "the {n} seeds are drawn with replacement and, within each that was drawn, its users"
        ),
    };
    format!(
        "Means over seeds of means over users. Intervals: 95 %, percentiles of {} resamples in \
         which {drawn}. Differences: the step minus the one that it is compared with, over the \
         same users and seeds.",
        bootstrap.resamples
    )
}

/// Under each seed, the rows of users that both steps were asked about: one minus the other. `None`
/// where some seed has none.
fn differences(one: &Measured, other: &Measured, scores: &[Score]) -> Option<Vec<Vec<f64>>> {
    let of_seed = |(one, other): (&Vec<Placed>, &Vec<Placed>)| {
        let both = one.iter().filter_map(|a| {
            let at = other.binary_search_by_key(&a.user, |b| b.user).ok()?;
            Some((a, &other[at]))
        });
        let rows = both.flat_map(|(a, b)| scores.iter().map(|score| score.of(a) - score.of(b)));
        Some(rows.collect::<Vec<f64>>()).filter(|rows| !rows.is_empty())
    };
    one.places.iter().zip(&other.places).map(of_seed).collect()
}

/// Of rows of one number a score, by seed.
fn estimates(rows: &[Vec<f64>], scores: &[Score], bootstrap: Bootstrap) -> Estimates {
    let width = scores.len();
    let of_seed = |rows: &Vec<f64>, m: usize| {
        let column = rows.iter().skip(m).step_by(width);
        column.sum::<f64>() / (rows.len() / width) as f64
    };
    let intervals = bootstrap.clustered(rows, width);
    let estimate = |(m, (&score, Interval { low, high })): (usize, (&Score, Interval))| {
        let by_seed: Vec<f64> = rows.iter().map(|rows| of_seed(rows, m)).collect();
        let mean = by_seed.iter().sum::<f64>() / by_seed.len() as f64;
        (score, Estimate { mean, low, high, by_seed })
    };
    Estimates(scores.iter().zip(intervals).enumerate().map(estimate).collect())
}

impl Ladder {
    /// A line a step.
    fn table(&self) -> Table {
        let scores: Vec<String> = match self.steps.first() {
            Some(step) => step.metrics.0.iter().map(|(score, _)| shown(*score)).collect(),
            None => Vec::new(),
        };
        let plain = |name: &str| (name.to_owned(), Best::Neither);
        let mut columns = vec![plain("step")];
        columns.extend(scores.iter().map(|name| (name.clone(), Best::Highest)));
        columns.push(plain("against"));
        columns.extend(scores.iter().map(|name| plain(&format!("Δ {name}"))));
        columns.push(plain("users"));
        let row = |step: &Rung| {
            let mut cells = vec![Cell::Text(step.name.clone())];
            cells.extend(step.metrics.0.iter().map(|(_, estimate)| reached(estimate)));
            cells.push(step.against.as_ref().map_or(Cell::Empty, |name| Cell::Text(name.clone())));
            match &step.differences {
                Some(all) => cells.extend(all.0.iter().map(|(_, estimate)| differs(estimate))),
                None => cells.extend(scores.iter().map(|_| Cell::Empty)),
            }
            cells.push(Cell::Text(step.users.to_string()));
            (Kind::Model, cells)
        };
        let seeds = match self.seeds.len() {
            1 => "one seed".to_owned(),
            n => format!("{n} seeds"),
        };
        let title = format!("{} on {}, {seeds}", self.name, self.data.name);
        Table { title, columns, rows: self.steps.iter().map(row).collect(), notes: Vec::new() }
    }

    /// The ladder as Markdown.
    pub fn markdown(&self) -> String {
        let own = self.table();
        let mut text = format!("[//]: # ({GENERATOR})\n\n# {}\n\n", quoted(&own.title));
        text += &format!("{}\n{}\n", table(&own), quoted(&self.method));
        let mut list = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                text += &format!("\n## {title}\n\n");
                lines.iter().for_each(|line| text += &format!("* {}\n", quoted(line)));
            }
        };
        list("Steps", self.settings());
        list("Warnings", self.warnings.clone());
        text
    }

    /// The ladder as one HTML file that needs nothing else.
    pub fn page(&self) -> String {
        let own = self.table();
        let mut body = format!("<header><h1>{}</h1></header>", escaped(&own.title));
        let list = |lines: &[String]| {
            lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect::<String>()
        };
        if !self.warnings.is_empty() {
            let warnings = list(&self.warnings);
            body += &format!("<aside class=\"warn\"><h2>Warnings</h2><ul>{warnings}</ul></aside>");
        }
        body += "<section><h2>Steps</h2>";
        let scores = self.steps.first().map_or(0, |step| step.metrics.0.len());
        for m in 0..scores {
            let dot = |step: &Rung| {
                let Estimate { mean: value, low, high, .. } = step.metrics.0[m].1;
                Dot { name: step.name.clone(), class: "model", value, low, high }
            };
            let name = shown(self.steps[0].metrics.0[m].0);
            let caption = format!("{name} with 95 % intervals over seeds and users");
            let chart = dots(&caption, &self.steps.iter().map(dot).collect::<Vec<_>>());
            body += &figure(&caption, chart);
        }
        body += &format!("{}<p class=\"small\">{}</p>", markup(&own), escaped(&self.method));
        body += &format!("<ul>{}</ul></section>", list(&self.settings()));
        frame(&own.title, GENERATOR, &body)
    }

    /// What is said of the steps that have settings of their own.
    fn settings(&self) -> Vec<String> {
        let said = self.steps.iter().filter(|step| !step.settings.is_empty());
        said.map(|step| format!("{}: {}", step.name, step.settings.join(", "))).collect()
    }
}

/// How a score is called in tables.
fn shown(score: Score) -> String {
    match score {
        Score::Validity => score.name().to_owned(),
        _ => score.name().to_uppercase(),
    }
}

fn reached(estimate: &Estimate) -> Cell {
    let half = format!("{:.4}", (estimate.high - estimate.low) / 2.0);
    Cell::Number {
        text: format!("{:.4}", estimate.mean),
        half_width: Some(half.strip_prefix('0').map_or(half.clone(), String::from)),
        value: estimate.mean,
    }
}

/// `+0.0123 [-0.0010, +0.0256]`
fn differs(estimate: &Estimate) -> Cell {
    let Estimate { mean, low, high, .. } = estimate;
    Cell::Text(format!("{mean:+.4} ({low:+.4} to {high:+.4})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, against: Option<usize>, ranks: &[&[Option<u32>]]) -> Measured {
        let places = |ranks: &&[Option<u32>]| {
            let placed = |(&rank, user)| Placed { user, rank, outputs: 4, valid: 3 };
            ranks.iter().zip(0..).map(placed).collect()
        };
        let places = ranks.iter().map(places).collect();
        Measured { name: name.into(), settings: vec![], against, places }
    }

    fn ladder(steps: &[Measured]) -> Ladder {
        let data = Data { name: "shop".into(), hash: "0".into(), items: 9, users: 4 };
        let about = About { name: "small".into(), data, seeds: vec![0, 1], warnings: vec![] };
        let scores = [Score::Hr1, Score::Mrr10, Score::Validity];
        compare(about, steps, &scores, Bootstrap { resamples: 200, seed: 0 })
    }

    #[test]
    fn means_and_differences_are_those_of_the_same_users_and_seeds() {
        let (one, two, none) = (Some(1), Some(2), None);
        let made = ladder(&[
            step("a", None, &[&[one, two, none, none], &[one, one, none, none]]),
            step("b", Some(0), &[&[one, one, none, two], &[one, one, one, none]]),
        ]);
        let mean = |step: usize, m: usize| made.steps[step].metrics.0[m].1.mean;
        assert_eq!((mean(0, 0), mean(1, 0)), (0.375, 0.625));
        assert_eq!((mean(0, 1), mean(1, 1)), (0.4375, 0.6875));
        assert_eq!(mean(0, 2), 0.75);
        let differences = made.steps[1].differences.as_ref().unwrap();
        let (score, hr) = &differences.0[0];
        assert_eq!((*score, hr.mean, &hr.by_seed[..]), (Score::Hr1, 0.25, &[0.25, 0.25][..]));
        assert!(0.0 <= hr.low && hr.low <= 0.25 && 0.25 <= hr.high && hr.high <= 1.0, "{hr:?}");
        assert!(made.steps[0].differences.is_none());
        let text = made.markdown();
        assert!(text.contains("| a") && text.contains("+0.2500 (") && text.contains("Δ HR@1"));
        assert!(made.page().contains("<svg"));
    }

    #[test]
    fn equal_steps_differ_by_nothing_at_all() {
        let ranks: &[&[Option<u32>]] = &[&[Some(1), None, Some(7)], &[None, None, Some(2)]];
        let made = ladder(&[step("a", None, ranks), step("b", Some(0), ranks)]);
        for (_, found) in &made.steps[1].differences.as_ref().unwrap().0 {
            assert_eq!((found.mean, found.low, found.high), (0.0, 0.0, 0.0));
        }
    }

    #[test]
    fn users_that_one_step_was_not_asked_about_are_left_out_of_the_difference() {
        let mut fewer = step("b", Some(0), &[&[Some(1), Some(1)], &[Some(1), None]]);
        for places in &mut fewer.places {
            places.remove(0);
        }
        let whole = step("a", None, &[&[Some(1), None], &[Some(1), None]]);
        let made = ladder(&[whole, fewer]);
        let differences = made.steps[1].differences.as_ref().unwrap();
        assert_eq!(differences.0[0].1.by_seed, [1.0, 0.0]);
    }
}
