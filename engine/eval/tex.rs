//! The report as LaTeX: a document that can be set as it is, whose tables can be taken from it.

use super::report::{Kind, Report, GENERATOR};
use super::table::{self, is_judged, Cell, Table};
use super::tables;
use crate::base::text::one_line;

/// Words from outside as LaTeX sets them: on one line, and nothing of them is a command.
pub fn escaped(text: &str) -> String {
    let text = one_line(text);
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => safe.push_str("\\textbackslash{}"),
            '{' | '}' | '$' | '&' | '#' | '%' | '_' => {
                safe.push('\\');
                safe.push(c);
            }
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '|' => safe.push_str("\\textbar{}"),
            // At the beginning of a row either would be an argument of the end of the one before.
            '[' | ']' | '*' => {
                safe.push('{');
                safe.push(c);
                safe.push('}');
            }
            // Two in a row would be drawn as one long one, and as another quotation mark.
            '-' | '`' | '\'' | ',' if safe.ends_with(c) => {
                safe.push_str("{}");
                safe.push(c);
            }
            '"' => safe.push_str("\\char34{}"),
            '\u{a0}' => safe.push('~'),
            '±' => safe.push_str("\\ensuremath{\\pm}"),
            '–' => safe.push_str("--"),
            '…' => safe.push_str("\\ldots{}"),
            '†' => safe.push_str("\\textdagger{}"),
            '‡' => safe.push_str("\\textdaggerdbl{}"),
            c => safe.push(c),
        }
    }
    safe
}

/// A table between the rules of `booktabs`, with its notes below.
pub fn table(table: &Table) -> String {
    let best = table.best();
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let letters = "r".repeat(table.columns.len().saturating_sub(1));
    let mut text = format!(
        "\\begin{{table}}[htbp]\n\\centering\\small\\setlength{{\\tabcolsep}}{{4pt}}\n\
        \\caption{{{}}}\n\\begin{{tabular}}{{l{letters}}}\n\\toprule\n",
        escaped(&table.title)
    );
    text += &line(table.columns.iter().map(|(name, _)| escaped(name)).collect());
    let mut before = None;
    for (kind, cells) in &table.rows {
        // A rule under the names, and one between ours and what is published.
        let published = *kind == Kind::Published;
        if before.replace(published) != Some(published) {
            text += "\\midrule\n";
        }
        let cells = cells.iter().zip(&best);
        text += &line(cells.map(|(cell, best)| self::cell(*kind, cell, *best)).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    for note in &table.notes {
        text += &format!("\\par\\footnotesize {}\n", escaped(note));
    }
    text + "\\end{table}\n"
}

fn cell(kind: Kind, cell: &Cell, best: Option<f64>) -> String {
    match cell {
        Cell::Text(text) => escaped(text),
        Cell::Number { text, half_width, value } => {
            let number = match is_judged(kind) && best == Some(*value) {
                true => format!("\\textbf{{{text}}}"),
                false => text.clone(),
            };
            let half = half_width.as_ref();
            let half = half.map(|half| format!("\\,{{\\scriptsize\\ensuremath{{\\pm}}{half}}}"));
            number + &half.unwrap_or_default()
        }
        Cell::Published { text, possible } => text.clone() + &escaped(table::mark(*possible)),
        Cell::Empty => "--".into(),
    }
}

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut text = format!(
        "% {GENERATOR}\n% With LuaLaTeX or XeLaTeX, or where all texts are Latin, pdfLaTeX.\n\
        \\documentclass{{article}}\n\\usepackage{{iftex}}\n\
        \\ifPDFTeX\\usepackage[T1]{{fontenc}}\\else\\usepackage{{fontspec}}\\fi\n\
        \\usepackage{{textcomp}}\n\\usepackage{{booktabs}}\n\
        \\usepackage[landscape,margin=15mm]{{geometry}}\n\\begin{{document}}\n\
        \\section*{{Evaluation of {}}}\n",
        escaped(&report.names())
    );
    let list = |lines: &mut dyn Iterator<Item = String>| {
        let items: String = lines.map(|line| format!("\\item {}\n", escaped(&line))).collect();
        match items.is_empty() {
            true => String::new(),
            false => format!("\\begin{{itemize}}\n{items}\\end{{itemize}}\n"),
        }
    };
    let facts = table::facts(report);
    text += &list(&mut facts.into_iter().map(|(name, words)| format!("{name}: {words}")));
    for (title, lines) in [("Warnings", &report.warnings), ("Broken laws", &report.broken)] {
        if !lines.is_empty() {
            text += &format!("\\section*{{{title}}}\n{}", list(&mut lines.iter().cloned()));
        }
    }
    for of_report in tables::of_report(report) {
        text += &table(&of_report);
    }
    text + &format!("\\noindent {}\n\\end{{document}}\n", escaped(table::FOOTNOTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_no_command() {
        for (text, safe) in [
            ("50 % of A&B_c #1 $2", "50 \\% of A\\&B\\_c \\#1 \\$2"),
            ("\\input{x}^~", "\\textbackslash{}input\\{x\\}\\textasciicircum{}\\textasciitilde{}"),
            ("[2pt] * a|b", "{[}2pt{]} {*} a\\textbar{}b"),
            ("-- <n>", "-{}- \\textless{}n\\textgreater{}"),
            ("a\nb ± –", "a\\textbackslash{}nb \\ensuremath{\\pm} --"),
        ] {
            assert_eq!(escaped(text), safe);
        }
    }
}
