//! The paper's tables: all answers of a family as rows of one, and the published figures beside
//! them where they are asked for.

use super::published::{Layout, Published, Set};
use super::report::{Group, Kind, Metric, Part, Report, Row};
use super::table::{cell, column, Best, Cell, Table};

/// One table for each of the paper's that the report has answers for: with published figures, or
/// where it gathers several templates.
pub fn of_report(report: &Report) -> Vec<Table> {
    let published = Published::builtin();
    let set = report.rivals.as_ref().map(|rivals| rivals.set);
    let layout_of =
        |group: &Group| published.layout(group.task, group.family, &group.template, set);
    let of_layout = |layout: &Layout| {
        let fits = |group: &&Group| layout_of(group).is_some_and(|own| std::ptr::eq(own, layout));
        let groups: Vec<&Group> = report.groups.iter().filter(fits).collect();
        let several = groups.iter().any(|group| group.template != groups[0].template);
        let says_more = !groups.is_empty() && (set.is_some() || several);
        says_more.then(|| table(report, layout, &groups))
    };
    published.tables.iter().filter_map(of_layout).collect()
}

fn table(report: &Report, layout: &Layout, groups: &[&Group]) -> Table {
    let heads: Vec<_> = layout.metrics.iter().map(|name| column(name)).collect();
    let mut columns = vec![("Methods".to_owned(), Best::Neither)];
    columns.extend(heads.iter().map(|(name, _, best)| (name.clone(), *best)));
    columns.extend(["n", "coverage", "truncated"].map(|name| (name.to_owned(), Best::Neither)));
    let numbers = |row: &Row| -> Vec<Cell> {
        let named = layout.metrics.iter().zip(&heads);
        named.map(|(name, (_, decimals, _))| cell(row.metrics.get(name), *decimals)).collect()
    };
    let share = |share: f64| cell(Some(&Metric::bare(share)), 4);
    let mut rows = Vec::new();
    for (group, row) in groups.iter().filter_map(|group| Some((group, group.main()?))) {
        let mut cells = vec![Cell::Text(own_name(group, row))];
        cells.extend(numbers(row));
        cells.push(Cell::Text(row.n.to_string()));
        cells.extend([share(group.coverage()), share(group.truncated())]);
        rows.push((Kind::Model, cells));
    }
    for (name, row) in baselines(groups) {
        let mut cells = vec![Cell::Text(name)];
        cells.extend(numbers(row));
        cells.extend([Cell::Text(row.n.to_string()), Cell::Empty, Cell::Empty]);
        rows.push((Kind::Baseline, cells));
    }
    let Some(rivals) = &report.rivals else {
        let title = format!("Together: {}", layout.title);
        return Table { title, columns, rows, notes: Vec::new() };
    };
    let (theirs, notes) = published(layout, rivals.set, &rivals.source);
    rows.extend(theirs);
    let title = format!("{}, {}: beside figures of {}", layout.number, layout.title, rivals.title);
    Table { title, columns, rows, notes }
}

/// "predictions 2-13 (held out)"
fn own_name(group: &Group, row: &Row) -> String {
    let kind = match group.seen {
        None => "",
        Some(true) => " (seen)",
        Some(false) => " (held out)",
    };
    let template = if group.template.is_empty() { "" } else { " " };
    format!("{}{template}{}{kind}", row.method, group.template)
}

/// The baselines of all groups: each once where it said the same, otherwise with its group.
fn baselines<'a>(groups: &[&'a Group]) -> Vec<(String, &'a Row)> {
    let mut found: Vec<(String, &Row)> = Vec::new();
    for group in groups {
        for row in group.part(Part::All).filter(|row| row.kind == Kind::Baseline) {
            let same = |(_, other): &(String, &Row)| {
                (&other.method, other.n) == (&row.method, row.n) && other.metrics == row.metrics
            };
            if found.iter().any(same) {
                continue;
            }
            let name = match found.iter().any(|(_, other)| other.method == row.method) {
                true => format!("{}, {}", row.method, group.place()),
                false => row.method.clone(),
            };
            found.push((name, row));
        }
    }
    found
}

/// The published rows of a data set, and what is to be said below them.
fn published(layout: &Layout, set: Set, source: &str) -> (Vec<(Kind, Vec<Cell>)>, Vec<String>) {
    let mut notes = vec![format!("† As published: {source}. {}", layout.note)];
    let mut rows = Vec::new();
    for row in layout.rows(set) {
        // A baseline of ours may have the same name.
        let mut cells = vec![Cell::Text(format!("{} (published)", row.name))];
        let figures = layout.metrics.iter().zip(&row.figures);
        cells.extend(figures.map(|(metric, figure)| match figure {
            None => Cell::Empty,
            Some(figure) => {
                let possible = !row.is_impossible(metric);
                Cell::Published { text: format!("{figure:.4}"), possible }
            }
        }));
        cells.extend([Cell::Empty, Cell::Empty, Cell::Empty]);
        rows.push((Kind::Published, cells));
        let broken = row.broken.iter().map(|law| law.to_string()).collect::<Vec<_>>();
        if !broken.is_empty() {
            let words = "‡ Published, but not possible together";
            notes.push(format!("{words}: {}: {}.", row.name, broken.join("; ")));
        }
    }
    (rows, notes)
}
