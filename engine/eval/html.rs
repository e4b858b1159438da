//! The report as one HTML file that needs nothing else: tables, charts, light and dark.

use super::chart::{dots, escaped, ladder, Dot, Lines, Series, Step};
use super::curve::Curve;
use super::rank_chart::by_rank;
use super::report::{Group, Kind, Part, Report, Row, GENERATOR};
use super::table::{self, is_judged, mark, Cell, Table};
use super::tables;
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");

/// Points of a loss curve that a screen can show.
const POINTS: usize = 400;

/// The page; `curve` is that of the run behind the predictions, where it is known.
pub fn page(report: &Report, curve: Option<&Curve>) -> String {
    let title = format!("{}: evaluation", report.data.name);
    let questions = report.questions();
    let mut body = String::new();
    let _ = write!(
        body,
        "<header><h1>{}</h1><p class=\"lead\">{}</p></header>",
        escaped(&title),
        escaped(&format!(
            "{} on {}, {} split",
            questions.iter().map(Group::title).collect::<Vec<_>>().join(", "),
            report.data.name,
            report.split.name()
        ))
    );
    body += &notes(report);
    for question in &questions {
        body += &section(report, question);
    }
    if let Some(curve) = curve {
        body += &training(report, curve);
    }
    for table in tables::over_questions(report) {
        let title = escaped(&table.title);
        let _ = write!(body, "<section><h2>{title}</h2>{}</section>", markup(&table));
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

fn section(report: &Report, group: &Group) -> String {
    let mut text = format!("<section><h2>{}</h2>", escaped(&group.title()));
    text += &match report.files.is_empty() {
        true => tiles(group),
        false => steps(report, group),
    };
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
    for (table, number) in tables::of_question(report, group).iter().zip(0..) {
        if number > 0 {
            let _ = write!(text, "<h3>{}</h3>", escaped(&table.title));
        }
        text += &markup(table);
    }
    text + "</section>"
}

/// Several files as steps from one to the next, and against the ranks of their adapters.
fn steps(report: &Report, group: &Group) -> String {
    let of_metric = |metric: &'static str| {
        let rows = group.part(Part::All).filter(|row| row.kind == Kind::Model);
        rows.filter_map(move |row| {
            let found = row.metrics.get(metric)?;
            let (low, high) = (found.low.unwrap_or(found.value), found.high.unwrap_or(found.value));
            Some(Step { name: row.method.clone(), value: found.value, low, high })
        })
    };
    let metric = match group.family {
        family if family.ranks() => "hr@10",
        family if family.has_stars() => "rmse",
        _ => "rouge-1",
    };
    let name = metric.to_uppercase();
    let label = format!("{}: {name} of the files, from one to the next", group.title());
    let all: Vec<Step> = of_metric(metric).collect();
    let caption = format!("{name} of the files in their order, and what each has over the last");
    let mut text = figure(&caption, ladder(&label, &all));
    let rank = |step: Step| {
        let file = report.files.iter().find(|file| file.name == step.name)?;
        Some((file.rank?, step))
    };
    let ranks: Vec<(usize, Step)> = of_metric("hr@1").filter_map(rank).collect();
    let label = format!("{}: HR@1 against the rank of the adapter", group.title());
    text += &figure("HR@1 against the rank of the adapter", by_rank(&label, &ranks));
    text
}

/// The main row's most important numbers, large.
fn tiles(group: &Group) -> String {
    let Some(main) = group.main() else { return String::new() };
    let names: &[&str] = if group.family.ranks() {
        &["hr@10", "ndcg@10", "hr@1", "mrr@10"]
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
    for (file, settings) in report.all_settings() {
        for (name, value) in settings.as_object().into_iter().flatten() {
            let words = value.as_str().map_or_else(|| value.to_string(), String::from);
            list += &row(&format!("{name}{file}"), &words);
        }
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
        Kind::Published => "published",
    }
}

pub(super) fn markup(table: &Table) -> String {
    let best = table.best();
    let head: String =
        table.columns.iter().map(|(name, _)| format!("<th>{}</th>", escaped(name))).collect();
    let mut text = format!("<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>");
    for (kind, cells) in &table.rows {
        let _ = write!(text, "<tr class=\"{}\">", class(*kind));
        for (cell, best) in cells.iter().zip(&best) {
            text += &match cell {
                Cell::Text(words) => format!("<td>{}</td>", escaped(words)),
                Cell::Empty => "<td class=\"empty\">–</td>".into(),
                Cell::Published { text, possible } => {
                    let (class, title) = match possible {
                        true => ("published", "published"),
                        false => ("impossible", "published, but not possible beside the others"),
                    };
                    let mark = mark(*possible);
                    format!("<td class=\"{class}\" title=\"{title}\">{text}{mark}</td>")
                }
                Cell::Number { text, half_width, value } => {
                    let is_best = is_judged(*kind) && *best == Some(*value);
                    let class = if is_best { " class=\"best\"" } else { "" };
                    let half = half_width
                        .as_ref()
                        .map_or(String::new(), |half| format!("<small>±{half}</small>"));
                    format!("<td{class}>{text}{half}</td>")
                }
            };
        }
        text += "</tr>";
    }
    text += "</tbody></table></div>";
    for note in &table.notes {
        let _ = write!(text, "<p class=\"small\">{}</p>", escaped(note));
    }
    text
}
