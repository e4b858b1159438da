//! The tables of a report, in the layout of the paper; [`super::markdown`], [`super::tex`] and
//! [`super::html`] only dress them.

use super::predictions::Asked;
use super::report::{Difference, Group, Kind, Metric, Part, Report, Row, Spread};
use crate::data::Family;

/// A cell: a text, or a number with its interval.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Number {
        /// The number as printed.
        text: String,
        /// Half the width of its interval as printed, where it has one.
        half_width: Option<String>,
        /// The number itself.
        value: f64,
    },
    /// A number that others have published.
    Published {
        /// The number as printed.
        text: String,
        /// Whether arithmetic allows it beside the others of its row.
        possible: bool,
    },
    /// Nothing to show.
    Empty,
}

/// Which numbers of a column are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// The highest.
    Highest,
    /// The lowest.
    Lowest,
    /// None is better than another.
    Neither,
}

/// Rows of cells under named columns; the first column names the row.
#[derive(Clone, Debug)]
pub struct Table {
    /// What stands above the table.
    pub title: String,
    /// Names, and which numbers of each are good.
    pub columns: Vec<(String, Best)>,
    /// Who made a row, and its cells.
    pub rows: Vec<(Kind, Vec<Cell>)>,
    /// What stands below the table.
    pub notes: Vec<String>,
}

impl Table {
    /// The best number of each column among model and baselines.
    pub fn best(&self) -> Vec<Option<f64>> {
        let of = |(c, (_, side)): (usize, &(String, Best))| {
            let judged = self.rows.iter().filter(|(kind, _)| is_judged(*kind));
            let numbers = judged.filter_map(|(_, cells)| match &cells[c] {
                Cell::Number { value, .. } => Some(*value),
                _ => None,
            });
            match side {
                Best::Highest => numbers.reduce(f64::max),
                Best::Lowest => numbers.reduce(f64::min),
                Best::Neither => None,
            }
        };
        self.columns.iter().enumerate().map(of).collect()
    }
}

/// Whether a row takes part in being the best of a column.
pub const fn is_judged(kind: Kind) -> bool {
    matches!(kind, Kind::Model | Kind::Baseline)
}

/// What stands behind a published number: that it is one, and whether it can be.
pub const fn mark(possible: bool) -> &'static str {
    if possible {
        "†"
    } else {
        "‡"
    }
}

/// How a metric is called in a table, how many decimals it has, and which side is good.
pub fn column(metric: &str) -> (String, usize, Best) {
    let (decimals, best) = match metric {
        "rmse" | "mae" => (4, Best::Lowest),
        "coverage" | "distinct" | "feature matching" => (4, Best::Neither),
        _ if metric.contains("bleu") || metric.contains("rouge") => (2, Best::Highest),
        _ => (4, Best::Highest),
    };
    let name = match metric {
        "coverage" | "distinct" | "feature matching" => metric.to_string(),
        _ => match metric.strip_prefix("std ") {
            Some(rest) => format!("std {}", rest.to_uppercase()),
            None => metric.to_uppercase().replace(" F", " f"),
        },
    };
    (name, decimals, best)
}

/// A number with its interval, or nothing.
pub fn cell(metric: Option<&Metric>, decimals: usize) -> Cell {
    let Some(metric) = metric else { return Cell::Empty };
    Cell::Number {
        text: format!("{:.decimals$}", metric.value),
        half_width: metric.half_width().map(|half| {
            let half = format!("{half:.decimals$}");
            half.strip_prefix('0').map_or(half.clone(), String::from)
        }),
        value: metric.value,
    }
}

const RANKING: [&str; 8] =
    ["hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr@10", "hr@10 f", "ndcg@10 f"];
const STARS: [&str; 3] = ["rmse", "mae", "coverage"];

/// Metrics of a group's main table, in the paper's order.
fn metrics(group: &Group) -> Vec<&'static str> {
    let text = |bleu, std_bleu| {
        [
            bleu,
            "rouge-1",
            "rouge-2",
            "rouge-l",
            std_bleu,
            "std rouge-1",
            "std rouge-2",
            "std rouge-l",
            "distinct",
        ]
    };
    let wanted: Vec<&'static str> = match group.family {
        family if family.ranks() => RANKING.to_vec(),
        Asked::Stars | Asked::ReviewStars => STARS.to_vec(),
        Asked::Text if group.task == Family::Review => text("bleu-2", "std bleu-2").to_vec(),
        family => {
            let stars = if family == Asked::StarsAndText { &STARS[..] } else { &[] };
            [stars, &text("bleu-4", "std bleu-4"), &["feature matching"]].concat()
        }
    };
    let present =
        |metric: &&'static str| group.rows.iter().any(|row| row.metrics.get(metric).is_some());
    wanted.into_iter().filter(present).collect()
}

/// The table of one template, all users.
pub fn of_group(group: &Group) -> Table {
    let names = metrics(group);
    let heads: Vec<_> = names.iter().map(|name| column(name)).collect();
    let mut columns = vec![("Methods".to_string(), Best::Neither)];
    columns.extend(heads.iter().map(|(name, _, best)| (name.clone(), *best)));
    columns.push(("n".into(), Best::Neither));
    let row = |row: &Row| {
        let numbers = names
            .iter()
            .zip(&heads)
            .map(|(name, (_, decimals, _))| cell(row.metrics.get(name), *decimals));
        let mut cells = vec![Cell::Text(row.method.clone())];
        cells.extend(numbers);
        cells.push(Cell::Text(row.n.to_string()));
        (row.kind, cells)
    };
    Table {
        title: group.title(),
        columns,
        rows: group.part(Part::All).map(row).collect(),
        notes: Vec::new(),
    }
}

/// What the other files have over the first that answers this, where there are several.
pub fn of_differences(report: &Report, group: &Group) -> Option<Table> {
    let title = group.title();
    let of_group: Vec<&Difference> =
        report.differences.iter().filter(|difference| difference.group == title).collect();
    let with = &of_group.first()?.with;
    let names = metrics(group);
    let known = |name: &&str| of_group.iter().any(|d| d.metrics.get(name).is_some());
    let names: Vec<&str> = names.into_iter().filter(known).collect();
    let row = |difference: &&Difference| {
        let number = |name: &&str| {
            let digits = column(name).1;
            let Some(metric) = difference.metrics.get(name) else { return Cell::Empty };
            let Metric { value, low, high } = *metric;
            let [low, high] = [low, high].map(|end| end.unwrap_or(value));
            Cell::Text(format!("{value:+.digits$} ({low:+.digits$} to {high:+.digits$})"))
        };
        let mut cells = vec![Cell::Text(difference.method.clone())];
        cells.extend(names.iter().map(number));
        cells.push(Cell::Text(difference.n.to_string()));
        (Kind::Model, cells)
    };
    let names_of = names.iter().map(|name| column(name).0);
    let heads = ["Methods".to_owned()].into_iter().chain(names_of).chain(["n".to_owned()]);
    Some(Table {
        title: format!("{title}, difference to {with} with 95 % intervals"),
        columns: heads.map(|head| (head, Best::Neither)).collect(),
        rows: of_group.iter().map(row).collect(),
        notes: Vec::new(),
    })
}

/// Mean, least and greatest over templates, where a task has several.
pub fn of_spreads(report: &Report) -> Option<Table> {
    over("Over templates", &report.spreads)
}

/// The same of templates that trainings may see and of those held out, where a task has both.
pub fn by_seen(report: &Report) -> Option<Table> {
    over("Seen against held-out templates", &report.by_seen)
}

fn over(title: &str, spreads: &[Spread]) -> Option<Table> {
    let heads = ["Task", "Metric", "Templates", "Mean", "Least", "Greatest"];
    let rows = spreads.iter().map(|spread| {
        let (name, decimals, _) = column(spread.metric);
        let number = |value: Option<f64>| cell(value.map(Metric::bare).as_ref(), decimals);
        let known = match spread.known == spread.templates {
            true => spread.templates.to_string(),
            false => format!("{} of {}", spread.known, spread.templates),
        };
        let file = spread.file.as_ref().map(|file| format!(", {file}")).unwrap_or_default();
        let kind = match spread.seen {
            None => "",
            Some(true) => " seen",
            Some(false) => " held out",
        };
        let cells = vec![
            Cell::Text(format!("{}{file}", spread.task)),
            Cell::Text(name),
            Cell::Text(known + kind),
            number(spread.mean),
            number(spread.min),
            number(spread.max),
        ];
        (Kind::Model, cells)
    });
    let columns = heads.map(|head| (head.to_string(), Best::Neither)).to_vec();
    let (title, notes) = (title.to_owned(), Vec::new());
    let table = Table { title, columns, rows: rows.collect(), notes };
    (!spreads.is_empty()).then_some(table)
}

/// What stands below the tables.
pub const FOOTNOTE: &str = "Baselines are fitted on the training part (all but a user's last two \
    events) with settings chosen on validation events (report.json lists them), rank the same \
    users, and lose every tie. ± is half of the 95 % bootstrap interval over users.";

/// (name, text) of what the numbers were measured on and how, for the lines around the tables.
pub fn facts(report: &Report) -> Vec<(String, String)> {
    let text = |name: &str, text: String| (name.to_string(), text);
    let ranks = report.groups.iter().any(|group| group.family.ranks());
    let mut facts = match report.files.as_slice() {
        [] => vec![
            text("predictions", report.predictions.clone()),
            text("made by", report.made_by.clone()),
        ],
        files => files
            .iter()
            .map(|file| {
                let words = format!(
                    "{}; users: {}; made by {}",
                    file.predictions,
                    file.users.name(),
                    file.made_by
                );
                text(&format!("predictions {}", file.name), words)
            })
            .collect(),
    };
    facts.push(text(
        "data",
        format!("{} ({}), {} items", report.data.name, report.data.hash, report.data.items),
    ));
    let split = format!("{}, {} users in the data", report.split.name(), report.data.users);
    facts.push(text("split", split));
    if ranks {
        let history =
            if report.filter_history { "left out" } else { "kept; columns f leave it out" };
        facts.push(text("policy", format!("{}, history {history}", report.policy.name())));
    }
    facts.push(text(
        "intervals",
        format!("95 %, {} resamples, seed {}", report.resamples, report.seed),
    ));
    for group in &report.groups {
        let counts = &group.counts;
        let share = |part: usize| 100.0 * part as f64 / counts.outputs.max(1) as f64;
        let mut words = format!("{} lines", counts.lines);
        words += &format!(
            ", coverage {:.2} %, {:.2} % of the prompts truncated",
            100.0 * group.coverage(),
            100.0 * group.truncated()
        );
        if counts.outputs > 0 {
            words += &format!(
                ", {} outputs: {:.2} % invalid, {:.2} % repeated",
                counts.outputs,
                share(counts.invalid),
                share(counts.repeated)
            );
        }
        if counts.again > 0 {
            words += &format!(
                ", {} users who take an item of their history again: misses where it is left out",
                counts.again
            );
        }
        if counts.seconds > 0.0 {
            words += &format!(", decoded in {:.0} s", counts.seconds);
        }
        facts.push(text(&group.place(), words));
    }
    facts
}
