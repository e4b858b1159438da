//! All tables of a report, in the order in which it shows them.

use super::report::{Group, Report};
use super::table::{self, Table};
use super::{apart, paper};

/// The tables of a question: its rows, its users apart, and what other files have over the first.
pub fn of_question(report: &Report, question: &Group) -> Vec<Table> {
    let mut tables = vec![table::of_group(question)];
    tables.extend(apart::of_group(question));
    tables.extend(table::of_differences(report, question));
    tables
}

/// What is said over several questions: by template, by seen and held-out ones, by table of the
/// paper.
pub fn over_questions(report: &Report) -> Vec<Table> {
    let spreads = table::of_spreads(report).into_iter().chain(table::by_seen(report));
    spreads.chain(paper::of_report(report)).collect()
}

/// All of them.
pub fn of_report(report: &Report) -> Vec<Table> {
    let questions = report.questions();
    let own = questions.iter().flat_map(|question| of_question(report, question));
    own.chain(over_questions(report)).collect()
}
