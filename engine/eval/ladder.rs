//! Steps of a ladder compared: the same questions under the same seeds, each step beside another
//! one.

use super::bootstrap::{Bootstrap, Interval};
use super::chart::{dots, escaped, Dot};
use super::html::{figure, frame, markup};
use super::markdown::{quoted, table};
use super::report::{Data, Kind};
pub use super::score::Score;
use super::score::{Answered, Subject};
use super::table::{column, Best, Cell, Table};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What every file of a ladder says in its first lines.
pub const GENERATOR: &str = "engine sweep";

/// A step that was trained and asked.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// The settings that are its own, in words.
    pub settings: Vec<String>,
    /// The number of the step that it is compared with.
    pub against: Option<usize>,
    /// By seed, then user and item, ascending; at least one question each.
    pub answered: Vec<Vec<Answered>>,
}

impl Measured {
    /// Whether its answers have a score, under every seed.
    pub fn has(&self, score: Score) -> bool {
        self.answered.iter().all(|all| all.iter().any(|one| score.subject().has(one)))
    }
}

/// A mean over seeds of what a score is over the questions of each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Where its 95 % interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// The score under each seed.
    pub by_seed: Vec<f64>,
}

/// Estimates by score.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates(pub Vec<(Score, Estimate)>);

impl Estimates {
    /// That of a score, where there is one.
    fn of(&self, score: Score) -> Option<&Estimate> {
        self.0.iter().find(|(other, _)| *other == score).map(|(_, estimate)| estimate)
    }
}

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
    /// Questions under each seed: users, or records of them.
    pub n: usize,
    /// What it reaches, in those scores that its answers have.
    pub metrics: Estimates,
    /// The step that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// This step minus that one, over the same questions and seeds.
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
    /// Under which seeds, as many as every step was asked under.
    pub seeds: Vec<u64>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// Compares `steps` by `scores`: means, intervals and paired differences.
pub fn compare(about: About, steps: &[Measured], scores: &[Score], bootstrap: Bootstrap) -> Ladder {
    let About { name, data, seeds, warnings } = about;
    let rung = |step: &Measured| {
        let other = step.against.map(|other| &steps[other]);
        let differences = other.map(|other| estimates(step, Some(other), scores, bootstrap));
        Rung {
            name: step.name.clone(),
            settings: step.settings.clone(),
            n: step.answered.first().map_or(0, Vec::len),
            metrics: estimates(step, None, scores, bootstrap),
            against: other.map(|other| other.name.clone()),
            differences: differences.filter(|differences| !differences.0.is_empty()),
        }
    };
    let method = method(seeds.len(), bootstrap);
    let (generator, engine) = (GENERATOR, env!("CARGO_PKG_VERSION"));
    let steps = steps.iter().map(rung).collect();
    Ladder { generator, engine, name, data, seeds, method, steps, warnings }
}

fn method(seeds: usize, bootstrap: Bootstrap) -> String {
    let drawn = match seeds {
        1 => "questions are drawn with replacement; what another seed would give is not in \
              them"
            .into(),
        n => format!(
            "the {n} seeds are drawn with replacement and, within each that was drawn, its \
             questions"
        ),
    };
    format!(
        "Means over seeds of scores over questions: users, or records of them. Intervals: 95 %, \
         percentiles of {} resamples in which {drawn}. Differences: the step minus the one that it \
         is compared with, over the same questions and seeds.",
        bootstrap.resamples
    )
}

/// What a step reaches, or where there is another, what it reaches more than that; by each of
/// `scores` that its answers have, under every seed.
fn estimates(
    step: &Measured,
    other: Option<&Measured>,
    scores: &[Score],
    bootstrap: Bootstrap,
) -> Estimates {
    let has = |score: &Score| step.has(*score) && other.is_none_or(|other| other.has(*score));
    let mut all: Vec<(Score, Estimate)> = Vec::new();
    for subject in Subject::ALL {
        let own = scores.iter().copied().filter(|score| score.subject() == subject && has(score));
        let own: Vec<Score> = own.collect();
        if own.is_empty() {
            continue;
        }
        let numbers = |answered: &Answered, to: &mut Vec<f64>| {
            own.iter().for_each(|score| score.put(answered, to));
        };
        let clusters: Vec<Vec<f64>> = match other {
            None => step.answered.iter().map(|all| rows(subject, all, numbers)).collect(),
            Some(other) => {
                let both = step.answered.iter().zip(&other.answered);
                both.map(|(one, other)| paired(subject, [one, other], numbers)).collect()
            }
        };
        // They answered nothing that is the same.
        if clusters.iter().any(Vec::is_empty) {
            continue;
        }
        let width: usize = own.iter().map(|score| score.width()).sum();
        let values = |sums: &[f64], n: usize| -> Vec<f64> {
            let mut at = 0;
            let value = |score: &Score| {
                at += score.width();
                score.value(&sums[at - score.width()..at], n)
            };
            own.iter().map(value).collect()
        };
        let (statistic, width): (Statistic, usize) = match other {
            None => (Box::new(values), width),
            Some(_) => {
                let minus = move |sums: &[f64], n: usize| {
                    let (one, other) = sums.split_at(width);
                    let less = values(other, n).into_iter();
                    values(one, n).into_iter().zip(less).map(|(one, other)| one - other).collect()
                };
                (Box::new(minus), 2 * width)
            }
        };
        all.extend(own.iter().copied().zip(estimated(&clusters, width, statistic, bootstrap)));
    }
    all.sort_by_key(|(score, _)| scores.iter().position(|other| other == score));
    Estimates(all)
}

/// Scores of the sums over so many questions.
type Statistic<'a> = Box<dyn Fn(&[f64], usize) -> Vec<f64> + Sync + 'a>;

/// The numbers of all that were answered by `subject`.
fn rows(
    subject: Subject,
    answered: &[Answered],
    numbers: impl Fn(&Answered, &mut Vec<f64>),
) -> Vec<f64> {
    let mut rows = Vec::new();
    let own = answered.iter().filter(|answered| subject.has(answered));
    own.for_each(|answered| numbers(answered, &mut rows));
    rows
}

/// The numbers of the questions that both answer, the first one's before the second one's.
fn paired(
    subject: Subject,
    [one, other]: [&[Answered]; 2],
    numbers: impl Fn(&Answered, &mut Vec<f64>),
) -> Vec<f64> {
    let key = |answered: &Answered| (answered.user, answered.item);
    let mut rows = Vec::new();
    for own in one.iter().filter(|own| subject.has(own)) {
        let Ok(at) = other.binary_search_by_key(&key(own), key) else { continue };
        if subject.has(&other[at]) {
            numbers(own, &mut rows);
            numbers(&other[at], &mut rows);
        }
    }
    rows
}

/// Of rows of `width` numbers, by seed.
fn estimated(
    clusters: &[Vec<f64>],
    width: usize,
    statistic: Statistic,
    bootstrap: Bootstrap,
) -> Vec<Estimate> {
    let of_seed = |rows: &Vec<f64>| {
        let mut sums = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        statistic(&sums, rows.len() / width)
    };
    let by_seed: Vec<Vec<f64>> = clusters.iter().map(of_seed).collect();
    let intervals = bootstrap.clustered(clusters, width, &*statistic);
    let estimate = |(m, Interval { low, high }): (usize, Interval)| {
        let by_seed: Vec<f64> = by_seed.iter().map(|values| values[m]).collect();
        let mean = by_seed.iter().sum::<f64>() / by_seed.len() as f64;
        Estimate { mean, low, high, by_seed }
    };
    intervals.into_iter().enumerate().map(estimate).collect()
}

impl Ladder {
    /// The scores that any step has, in their order.
    fn scores(&self) -> Vec<Score> {
        let mut scores: Vec<Score> = Vec::new();
        for (score, _) in self.steps.iter().flat_map(|step| &step.metrics.0) {
            if !scores.contains(score) {
                scores.push(*score);
            }
        }
        scores
    }

    /// A line a step.
    fn table(&self) -> Table {
        let scores = self.scores();
        let plain = |name: &str| (name.to_owned(), Best::Neither);
        let mut columns = vec![plain("step")];
        let named = |score: &Score| {
            let (name, _, best) = shown(*score);
            (name, best)
        };
        columns.extend(scores.iter().map(named));
        columns.push(plain("against"));
        columns.extend(scores.iter().map(|score| plain(&format!("Δ {}", shown(*score).0))));
        columns.push(plain("n"));
        let row = |step: &Rung| {
            let mut cells = vec![Cell::Text(step.name.clone())];
            let own = |score: &Score| step.metrics.of(*score).map(|own| reached(*score, own));
            cells.extend(scores.iter().map(|score| own(score).unwrap_or(Cell::Empty)));
            cells.push(step.against.as_ref().map_or(Cell::Empty, |name| Cell::Text(name.clone())));
            let more = |score: &Score| {
                let differences = step.differences.as_ref()?;
                differences.of(*score).map(|more| differs(*score, more))
            };
            cells.extend(scores.iter().map(|score| more(score).unwrap_or(Cell::Empty)));
            cells.push(Cell::Text(step.n.to_string()));
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
        for score in self.scores() {
            let dot = |step: &Rung| {
                let &Estimate { mean: value, low, high, .. } = step.metrics.of(score)?;
                Some(Dot { name: step.name.clone(), class: "model", value, low, high })
            };
            let (name, ..) = shown(score);
            let caption = format!("{name} with 95 % intervals over seeds and questions");
            let chart = dots(&caption, &self.steps.iter().filter_map(dot).collect::<Vec<_>>());
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

/// How a score is called in tables, its decimals, and which side is good.
fn shown(score: Score) -> (String, usize, Best) {
    match score {
        Score::Validity | Score::Exact => (score.name().to_owned(), 4, Best::Highest),
        _ => column(score.name()),
    }
}

fn reached(score: Score, estimate: &Estimate) -> Cell {
    let (_, decimals, _) = shown(score);
    let half = format!("{:.decimals$}", (estimate.high - estimate.low) / 2.0);
    Cell::Number {
        text: format!("{:.decimals$}", estimate.mean),
        half_width: Some(half.strip_prefix('0').map_or(half.clone(), String::from)),
        value: estimate.mean,
    }
}

/// `+0.0123 (-0.0010 to +0.0256)`
fn differs(score: Score, estimate: &Estimate) -> Cell {
    let (_, decimals, _) = shown(score);
    let signed = |number: f64| format!("{number:+.decimals$}");
    let [mean, low, high] = [estimate.mean, estimate.low, estimate.high].map(signed);
    Cell::Text(format!("{mean} ({low} to {high})"))
}

#[cfg(test)]
mod tests {
    use super::super::score::{Placed, Written};
    use super::super::text;
    use super::*;

    fn step(name: &str, against: Option<usize>, ranks: &[&[Option<u32>]]) -> Measured {
        let answered = |ranks: &&[Option<u32>]| {
            let placed = |(&rank, user)| Answered {
                list: Some(Placed { rank, outputs: 4, valid: 3 }),
                ..Answered::question(user, 0)
            };
            ranks.iter().zip(0..).map(placed).collect()
        };
        let answered = ranks.iter().map(answered).collect();
        Measured { name: name.into(), settings: vec![], against, answered }
    }

    /// Texts, each with its reference.
    fn writes(name: &str, against: Option<usize>, texts: &[&[(&str, &str)]]) -> Measured {
        let answered = |texts: &&[(&str, &str)]| {
            let written = |(&(said, meant), item)| Answered {
                text: Some(Box::new(Written::of(said, meant))),
                ..Answered::question(0, item)
            };
            texts.iter().zip(0..).map(written).collect()
        };
        let answered = texts.iter().map(answered).collect();
        Measured { name: name.into(), settings: vec![], against, answered }
    }

    fn ladder(steps: &[Measured]) -> Ladder {
        let data = Data { name: "shop".into(), hash: "0".into(), items: 9, users: 4 };
        let about = About { name: "small".into(), data, seeds: vec![0, 1], warnings: vec![] };
        let scores = [Score::Hr1, Score::Bleu2, Score::Mrr10, Score::Validity, Score::Exact];
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
        for answered in &mut fewer.answered {
            answered.remove(0);
        }
        let whole = step("a", None, &[&[Some(1), None], &[Some(1), None]]);
        let made = ladder(&[whole, fewer]);
        let differences = made.steps[1].differences.as_ref().unwrap();
        assert_eq!(differences.0[0].1.by_seed, [1.0, 0.0]);
    }

    /// BLEU is one number of all texts of a seed, not a mean over them; a step of lists and one of
    /// texts have no score in common.
    #[test]
    fn each_step_has_the_scores_of_its_answers_and_is_compared_by_those_of_both() {
        let meant = "the red kite is of fine wood";
        let (good, bad) = ((meant, meant), ("the red kite is of tin", meant));
        let made = ladder(&[
            step("lists", None, &[&[Some(1)], &[None]]),
            writes("some", Some(0), &[&[good, bad, bad], &[good, good, bad]]),
            writes("all", Some(1), &[&[good, good, good], &[good, good, good]]),
        ]);
        let names = |at: usize| {
            made.steps[at].metrics.0.iter().map(|(score, _)| score.name()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["hr@1", "mrr@10", "validity"]);
        assert_eq!(names(1), ["bleu-2", "exact"]);
        assert!(made.steps[1].differences.is_none());
        let bleu = |pairs: &[(&str, &str)]| {
            let mut sums = vec![0.0; text::WIDTH];
            for (said, meant) in pairs {
                sums.iter_mut().zip(text::row(said, meant)).for_each(|(sum, add)| *sum += add);
            }
            text::values(&sums, pairs.len())[0]
        };
        let own = made.steps[1].metrics.of(Score::Bleu2).unwrap();
        assert_eq!(own.by_seed, [bleu(&[good, bad, bad]), bleu(&[good, good, bad])]);
        assert!(own.low < own.mean && own.mean < own.high, "{own:?}");
        let more = made.steps[2].differences.as_ref().unwrap();
        let (exact, mean) = (more.of(Score::Exact).unwrap(), own.mean);
        assert!((exact.mean - 0.5).abs() < 1e-12 && exact.low >= 0.0, "{exact:?}");
        assert!((more.of(Score::Bleu2).unwrap().mean - (100.0 - mean)).abs() < 1e-9);
        let text = made.markdown();
        assert!(text.contains("BLEU-2") && text.contains("Δ exact"), "{text}");
        let line = text.lines().find(|line| line.starts_with("| lists")).unwrap();
        assert!(line.contains("– |"), "{line}");
        assert!(made.page().contains("BLEU-2 with 95 % intervals"));
    }
}
