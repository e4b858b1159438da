//! The report as Markdown, readable as plain text too.

use super::report::{Report, GENERATOR};
use super::table::{self, mark, Cell, Table};
use super::tables;
use crate::base::text::one_line;

/// Words from outside as Markdown shows them: on one line, and nothing of them marks anything up or
/// begins a tag.
pub fn quoted(text: &str) -> String {
    let text = one_line(text);
    let mut safe = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let word = |side: Option<char>| side.is_some_and(char::is_alphanumeric);
        let next = rest.peek().copied();
        let marks = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '|' | '~' => true,
            // Inside a word it marks nothing, and file names are full of it.
            '_' => !(word(before) && word(next)),
            '&' => word(next) || next == Some('#'),
            _ => false,
        };
        if marks {
            safe.push('\\');
        }
        safe.push(c);
        before = Some(c);
    }
    safe
}

/// A table with aligned columns, and its notes below.
pub fn table(table: &Table) -> String {
    let words = |cell: &Cell| match cell {
        Cell::Text(text) => quoted(text),
        Cell::Number { text, half_width: Some(half), .. } => format!("{text} ±{half}"),
        Cell::Number { text, half_width: None, .. } => text.clone(),
        Cell::Published { text, possible } => format!("{text}{}", mark(*possible)),
        Cell::Empty => "–".into(),
    };
    let mut lines: Vec<Vec<String>> =
        vec![table.columns.iter().map(|(name, _)| quoted(name)).collect()];
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
    for note in &table.notes {
        text += &format!("\n{}\n", quoted(note));
    }
    text
}

/// The tables alone, each under its title: what goes to standard output.
pub fn tables(report: &Report) -> String {
    let of = |t: &Table| format!("{}\n\n{}", quoted(&t.title), table(t));
    tables::of_report(report).iter().map(of).collect::<Vec<_>>().join("\n")
}

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut text =
        format!("[//]: # ({GENERATOR})\n\n# Evaluation of {}\n\n", quoted(&report.names()));
    for (name, words) in table::facts(report) {
        text += &format!("* {}: {}\n", quoted(&name), quoted(&words));
    }
    for t in tables::of_report(report) {
        text += &format!("\n## {}\n\n{}", quoted(&t.title), table(&t));
    }
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text += &format!("\n## {title}\n\n");
            lines.iter().for_each(|line| text += &format!("* {}\n", quoted(line)));
        }
    };
    list("Warnings", &report.warnings);
    list("Broken laws", &report.broken);
    let verdict = |v: &super::report::Verdict| {
        let outcome = if v.holds { "holds" } else { "fails" };
        format!("{} of {}: {:.4}, {outcome}", v.threshold, v.group, v.value)
    };
    list("Thresholds", &report.thresholds.iter().map(verdict).collect::<Vec<_>>());
    for (name, settings) in report.all_settings() {
        let Some(settings) = settings.as_object().filter(|settings| !settings.is_empty()) else {
            continue;
        };
        text += &format!("\n## Settings of the predictions{}\n\n", quoted(&name));
        for (name, value) in settings {
            text += &format!("* {}: {}\n", quoted(name), quoted(&value.to_string()));
        }
    }
    text + &format!("\n{}\n", table::FOOTNOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_marks_nothing_up() {
        for (text, safe) in [
            ("toys_beauty.jsonl", "toys_beauty.jsonl"),
            ("_toys_ & co, AT&T", "\\_toys\\_ & co, AT\\&T"),
            ("a|b`c*d[e](f)<script>~", "a\\|b\\`c\\*d\\[e\\](f)\\<script>\\~"),
            ("a\n# b\u{1b}", "a\\\\n# b\\\\u{1b}"),
        ] {
            assert_eq!(quoted(text), safe);
        }
    }
}
