//! The report as one HTML file that needs nothing else: tables, charts, light and dark.

use super::chart::{dots, escaped, Dot, Lines, Series};
use super::curve::Curve;
use super::report::{Group, Kind, Part, Report, Row, GENERATOR};
use super::table::{self, Best, Cell, Table};
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");

/// Points of a loss curve that a screen can show.
const POINTS: usize = 400;

/// The page; `curve` is that of the run behind the predictions, where it is known.
pub fn page(report: &Report, curve: Option<&Curve>) -> String {
    let title = format!("{}: evaluation", report.data.name);
    let mut body = String::new();
    let _ = write!(
        body,
        "<header><h1>{}</h1><p class=\"lead\">{}</p></header>",
        escaped(&title),
        escaped(&format!(
            "{} on {}, {} split",
            report.groups.iter().map(Group::title).collect::<Vec<_>>().join(", "),
            report.data.name,
            report.split.name()
        ))
    );
    body += &notes(report);
    for group in &report.groups {
        body += &section(group);
    }
    if let Some(curve) = curve {
        body += &training(report, curve);
    }
    if let Some(spreads) = table::of_spreads(report) {
        let _ = write!(body, "<section><h2>Over templates</h2>{}</section>", markup(&spreads));
    }
    body += &settings(report);
    frame(&title, GENERATOR, &body)
}

/// A page of this title around `body`.
pub(super) fn frame(title: &str, generator: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"generator\" content=\"{generator}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light \
         dark\"><title>{}</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>\n",
        escaped(title)
    )
}

/// What a reader must know before the numbers.
fn notes(report: &Report) -> String {
    let mut text = String::new();
    let mut list = |class: &str, title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let items: String =
                lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
            let _ =
                write!(text, "<aside class=\"{class}\"><h2>{title}</h2><ul>{items}</ul></aside>");
        }
    };
    list("bad", "Broken laws of arithmetic", report.broken.clone());
    let failed = report.thresholds.iter().filter(|t| !t.holds);
    let words = failed.map(|t| format!("{} of {}: got {:.4}", t.threshold, t.group, t.value));
    list("bad", "Thresholds not reached", words.collect());
    list("warn", "Warnings", report.warnings.clone());
    text
}

fn section(group: &Group) -> String {
    let mut text = format!("<section><h2>{}</h2>", escaped(&group.title()));
    text += &tiles(group);
    if group.family.ranks() {
        let rows = group.part(Part::All).filter(|row| row.kind != Kind::Variant);
        let dot = |row: &Row| {
            let metric = row.metrics.get("hr@10")?;
            let (low, high) =
                (metric.low.unwrap_or(metric.value), metric.high.unwrap_or(metric.value));
            Some(Dot {
                name: row.method.clone(),
                class: class(row.kind),
                value: metric.value,
                low,
                high,
            })
        };
        let chart =
            dots("HR@10 by method, with 95 % intervals", &rows.filter_map(dot).collect::<Vec<_>>());
        text += &figure("HR@10 with 95 % bootstrap intervals over users", chart);
    }
    for (table, number) in table::of_group(group).iter().zip(0..) {
        if number > 0 {
            let _ = write!(text, "<h3>{}</h3>", escaped("By the day of the target"));
        }
        text += &markup(table);
    }
    text + "</section>"
}

/// The main row's most important numbers, large.
fn tiles(group: &Group) -> String {
    let Some(main) = group.main() else { return String::new() };
    let names: &[&str] = if group.family.ranks() {
        &["hr@10", "ndcg@10", "hr@1", "mrr"]
    } else if group.family.has_stars() {
        &["rmse", "mae", "coverage"]
    } else {
        &["bleu-4", "rouge-1", "rouge-l", "distinct"]
    };
    let digits = if group.family.has_text() && !group.family.has_stars() { 2 } else { 4 };
    let mut text = String::from("<div class=\"tiles\">");
    for name in names {
        let Some(metric) = main.metrics.get(name) else { continue };
        let range = match (metric.low, metric.high) {
            (Some(low), Some(high)) => format!("{low:.digits$} – {high:.digits$}"),
            _ => String::from("&nbsp;"),
        };
        let label = if name.len() < 9 && *name != "coverage" {
            name.to_uppercase()
        } else {
            (*name).into()
        };
        let _ = write!(
            text,
            "<div class=\"tile\"><span>{label}</span><strong>{:.digits$}</strong><small>{range}\
            </small></div>",
            metric.value
        );
    }
    let _ = write!(
        text,
        "<div class=\"tile\"><span>n</span><strong>{}</strong><small>{} lines</small></div></div>",
        group.n, group.counts.lines
    );
    text
}

/// Loss and HR@10 against minutes, with the baselines as levels.
fn training(report: &Report, curve: &Curve) -> String {
    let loss = Lines {
        label: "Training loss against minutes",
        series: vec![Series {
            name: "loss",
            class: "baseline",
            points: curve.loss(POINTS),
            dots: false,
        }],
        levels: Vec::new(),
        from_zero: false,
    };
    let ranking = report.groups.iter().find(|group| group.family.ranks());
    let levels = ranking.map(|group| {
        let rows = group.part(Part::All).filter(|row| row.kind == Kind::Baseline);
        rows.map(|row| {
            (format!("{} ({})", row.method, report.split.name()), row.metrics.value("hr@10"))
        })
        .collect()
    });
    let points = curve.validation("hr@10");
    let validation = Lines {
        label: "HR@10 on validation items against minutes",
        series: vec![Series { name: "HR@10", class: "model", points, dots: true }],
        levels: levels.unwrap_or_default(),
        from_zero: true,
    };
    let mut text = String::from("<section><h2>Training</h2>");
    let _ = write!(
        text,
        "<p class=\"lead\">{} steps in {:.0} minutes</p>",
        curve.last_step,
        curve.steps.last().map_or(0.0, |step| step.minutes)
    );
    text += &figure("Loss, mean of neighbouring steps", loss.svg());
    text += &figure("HR@10 on validation items; dashed: baselines", validation.svg());
    text + "</section>"
}

pub(super) fn figure(caption: &str, svg: Option<String>) -> String {
    svg.map_or(String::new(), |svg| {
        format!("<figure><figcaption>{}</figcaption>{svg}</figure>", escaped(caption))
    })
}

fn settings(report: &Report) -> String {
    let row =
        |name: &str, words: &str| format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(words));
    let mut list: String =
        table::facts(report).iter().map(|(name, words)| row(name, words)).collect();
    for (name, value) in report.settings.as_object().into_iter().flatten() {
        let words = value.as_str().map_or_else(|| value.to_string(), String::from);
        list += &row(name, &words);
    }
    list += &row("engine", report.engine);
    let footnote = escaped(table::FOOTNOTE);
    format!(
        "<section><h2>How this was measured</h2><dl>{list}</dl><p \
        class=\"small\">{footnote}</p></section>"
    )
}

const fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "model",
        Kind::Variant => "variant",
        Kind::Baseline => "baseline",
        Kind::Probe => "probe",
    }
}

/// The best number of each column among model and baselines.
fn best(table: &Table) -> Vec<Option<f64>> {
    let of = |(c, (_, side)): (usize, &(String, Best))| {
        let judged =
            table.rows.iter().filter(|(kind, _)| matches!(kind, Kind::Model | Kind::Baseline));
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
    table.columns.iter().enumerate().map(of).collect()
}

pub(super) fn markup(table: &Table) -> String {
    let best = best(table);
    let head: String =
        table.columns.iter().map(|(name, _)| format!("<th>{}</th>", escaped(name))).collect();
    let mut text = format!("<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>");
    for (kind, cells) in &table.rows {
        let _ = write!(text, "<tr class=\"{}\">", class(*kind));
        for (cell, best) in cells.iter().zip(&best) {
            text += &match cell {
                Cell::Text(words) => format!("<td>{}</td>", escaped(words)),
                Cell::Empty => "<td class=\"empty\">–</td>".into(),
                Cell::Number { text, half_width, value } => {
                    let judged = matches!(kind, Kind::Model | Kind::Baseline);
                    let class =
                        if judged && *best == Some(*value) { " class=\"best\"" } else { "" };
                    let half = half_width
                        .as_ref()
                        .map_or(String::new(), |half| format!("<small>±{half}</small>"));
                    format!("<td{class}>{text}{half}</td>")
                }
            };
        }
        text += "</tr>";
    }
    text + "</tbody></table></div>"
}
