//! The tables of a report, in the layout of the paper; [`super::markdown`] and [`super::html`] only
//! dress them.

use super::predictions::Asked;
use super::report::{Group, Kind, Metric, Part, Report, Row};
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
}

/// How a metric is called in a table, how many decimals it has, and which side is good.
fn column(metric: &'static str) -> (String, usize, Best) {
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

fn cell(metric: Option<&Metric>, decimals: usize) -> Cell {
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
    ["hr@1", "hr@5", "ndcg@5", "hr@10", "ndcg@10", "mrr", "hr@10 f", "ndcg@10 f"];
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

/// The tables of one template: all users, then same-day and later-day targets apart.
pub fn of_group(group: &Group) -> Vec<Table> {
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
    let mut tables = vec![Table {
        title: group.title(),
        columns,
        rows: group.part(Part::All).map(row).collect(),
    }];
    tables.extend(by_day(group));
    tables
}

fn by_day(group: &Group) -> Option<Table> {
    const NAMES: [&str; 2] = ["hr@10", "ndcg@10"];
    let parts = [Part::All, Part::SameDay, Part::LaterDay];
    let size = |part| group.part(part).next().map(|row| row.n);
    let sizes = [size(parts[0])?, size(parts[1]).unwrap_or(0), size(parts[2]).unwrap_or(0)];
    if sizes[1] + sizes[2] == 0 {
        return None;
    }
    let mut columns = vec![("Methods".to_string(), Best::Neither)];
    for (part, n) in parts.iter().zip(sizes) {
        columns.extend(NAMES.map(|name| {
            (format!("{} {} (n\u{a0}{n})", column(name).0, part.name()), Best::Highest)
        }));
    }
    let of_method = |method: &Row| {
        let mut cells = vec![Cell::Text(method.method.clone())];
        for part in parts {
            let row =
                group.part(part).find(|row| row.method == method.method && row.kind == method.kind);
            cells.extend(NAMES.map(|name| cell(row.and_then(|row| row.metrics.get(name)), 4)));
        }
        (method.kind, cells)
    };
    let rows =
        group.part(Part::All).filter(|row| row.kind != Kind::Variant).map(of_method).collect();
    Some(Table { title: format!("{}, by the day of the target", group.title()), columns, rows })
}

/// Mean, least and greatest over templates, where a task has several.
pub fn of_spreads(report: &Report) -> Option<Table> {
    let heads = ["Task", "Metric", "Templates", "Mean", "Least", "Greatest"];
    let rows = report.spreads.iter().map(|spread| {
        let (name, decimals, _) = column(spread.metric);
        let number = |value| cell(Some(&Metric::bare(value)), decimals);
        let cells = vec![
            Cell::Text(spread.task.to_string()),
            Cell::Text(name),
            Cell::Text(spread.templates.to_string()),
            number(spread.mean),
            number(spread.min),
            number(spread.max),
        ];
        (Kind::Model, cells)
    });
    let columns = heads.map(|head| (head.to_string(), Best::Neither)).to_vec();
    (!report.spreads.is_empty()).then(|| Table {
        title: "Over templates".into(),
        columns,
        rows: rows.collect(),
    })
}

/// All tables of a report.
pub fn of_report(report: &Report) -> Vec<Table> {
    report.groups.iter().flat_map(of_group).chain(of_spreads(report)).collect()
}

/// What stands below the tables.
pub const FOOTNOTE: &str = "Baselines are fitted on the training part (all but a user's last two \
    events) with settings chosen on validation events (report.json lists them), rank the same \
    users, and lose every tie. ± is half of the 95 % bootstrap interval over users. MRR looks at \
    the whole list: the \
    outputs of the predictions, the catalogue of the baselines.";

/// (name, text) of what the numbers were measured on and how, for the lines around the tables.
pub fn facts(report: &Report) -> Vec<(String, String)> {
    let text = |name: &str, text: String| (name.to_string(), text);
    let ranks = report.groups.iter().any(|group| group.family.ranks());
    let mut facts = vec![
        text("predictions", report.predictions.clone()),
        text("made by", report.made_by.clone()),
        text(
            "data",
            format!("{} ({}), {} items", report.data.name, report.data.hash, report.data.items),
        ),
        text("split", format!("{}, {} users in the data", report.split.name(), report.data.users)),
    ];
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
        facts.push(text(&group.title(), words));
    }
    facts
}
