//! The report as Markdown, readable as plain text too.

use super::report::Report;
use super::table::{self, Cell, Table};

/// A table with aligned columns.
pub fn table(table: &Table) -> String {
    let words = |cell: &Cell| match cell {
        Cell::Text(text) => text.replace('|', "\\|"),
        Cell::Number { text, half_width: Some(half), .. } => format!("{text} ±{half}"),
        Cell::Number { text, half_width: None, .. } => text.clone(),
        Cell::Empty => "–".into(),
    };
    let mut lines: Vec<Vec<String>> =
        vec![table.columns.iter().map(|(name, _)| name.clone()).collect()];
    lines.extend(table.rows.iter().map(|(_, cells)| cells.iter().map(words).collect()));
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|c| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(c, (cell, &width))| match c {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(c, &width)| match c {
                0 => "-".repeat(width + 2),
                _ => format!("{}:", "-".repeat(width + 1)),
            });
            text += &format!("|{}|\n", rules.collect::<Vec<_>>().join("|"));
        }
    }
    text
}

/// The tables alone, each under its title: what goes to standard output.
pub fn tables(report: &Report) -> String {
    let of = |t: &Table| format!("{}\n\n{}", t.title, table(t));
    table::of_report(report).iter().map(of).collect::<Vec<_>>().join("\n")
}

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut text = format!("# Evaluation of {}\n\n", report.predictions);
    for (name, words) in table::facts(report) {
        text += &format!("* {name}: {words}\n");
    }
    for t in table::of_report(report) {
        text += &format!("\n## {}\n\n{}", t.title, table(&t));
    }
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text += &format!("\n## {title}\n\n");
            lines.iter().for_each(|line| text += &format!("* {line}\n"));
        }
    };
    list("Warnings", &report.warnings);
    list("Broken laws", &report.broken);
    let verdict = |v: &super::report::Verdict| {
        let outcome = if v.holds { "holds" } else { "fails" };
        format!("{} of {}: {:.4}, {outcome}", v.threshold, v.group, v.value)
    };
    list("Thresholds", &report.thresholds.iter().map(verdict).collect::<Vec<_>>());
    if let Some(settings) = report.settings.as_object().filter(|settings| !settings.is_empty()) {
        text += "\n## Settings of the predictions\n\n";
        settings.iter().for_each(|(name, value)| text += &format!("* {name}: {value}\n"));
    }
    text + &format!("\n{}\n", table::FOOTNOTE)
}
