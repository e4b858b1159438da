//! The tables that set the users of a ranking apart: by day, where it is good, and beside the
//! lists of the baselines.

use super::report::{Group, Kind, Overlap, Part, Row};
use super::table::{cell, column, Best, Cell, Table};

/// What the two tables of parts show.
const NAMES: [&str; 2] = ["hr@10", "ndcg@10"];

/// The tables of one question that it has the rows for.
pub fn of_group(group: &Group) -> Vec<Table> {
    let mut tables: Vec<Table> = by_day(group).into_iter().collect();
    tables.extend(NAMES.into_iter().filter_map(|metric| where_good(group, metric)));
    tables.extend(overlaps(group));
    tables
}

fn of_method<'a>(group: &'a Group, part: Part, method: &Row) -> Option<&'a Row> {
    group.part(part).find(|row| row.method == method.method && row.kind == method.kind)
}

fn by_day(group: &Group) -> Option<Table> {
    let parts = [Part::All, Part::SameDay, Part::LaterDay];
    let size = |part| group.part(part).next().map(|row| row.n);
    let sizes = [size(parts[0])?, size(parts[1]).unwrap_or(0), size(parts[2]).unwrap_or(0)];
    if sizes[1] + sizes[2] == 0 {
        return None;
    }
    let mut columns = vec![("Methods".to_string(), Best::Neither)];
    for (part, n) in parts.iter().zip(sizes) {
        // Of several files each may count its own users.
        let size = match group.part(*part).all(|row| row.n == n) {
            true => format!(" (n\u{a0}{n})"),
            false => String::new(),
        };
        columns.extend(
            NAMES.map(|name| (format!("{} {}{size}", column(name).0, part.name()), Best::Highest)),
        );
    }
    let line = |method: &Row| {
        let mut cells = vec![Cell::Text(method.method.clone())];
        for part in parts {
            let row = of_method(group, part, method);
            cells.extend(NAMES.map(|name| cell(row.and_then(|row| row.metrics.get(name)), 4)));
        }
        (method.kind, cells)
    };
    let rows = group.part(Part::All).filter(|row| row.kind != Kind::Variant).map(line).collect();
    let title = format!("{}, by the day of the target", group.title());
    Some(Table { title, columns, rows, notes: Vec::new() })
}

/// A metric of the methods, side by side, for each part of the users.
fn where_good(group: &Group, metric: &'static str) -> Option<Table> {
    group.part(Part::SeenTransition).chain(group.part(Part::NewTransition)).next()?;
    let methods: Vec<&Row> =
        group.part(Part::All).filter(|row| row.kind != Kind::Variant).collect();
    let mut columns = vec![("Users".to_owned(), Best::Neither), ("n".to_owned(), Best::Neither)];
    columns.extend(methods.iter().map(|method| (method.method.clone(), Best::Neither)));
    let of_part = |part: Part| {
        let rows: Vec<Option<&Row>> =
            methods.iter().map(|method| of_method(group, part, method)).collect();
        // Of several files each may count its own users.
        let mut sizes: Vec<String> = Vec::new();
        for size in rows.iter().flatten().map(|row| row.n.to_string()) {
            if !sizes.contains(&size) {
                sizes.push(size);
            }
        }
        let mut cells = vec![Cell::Text(part.name().to_owned()), Cell::Text(sizes.join(", "))];
        let number = |row: Option<&Row>| cell(row.and_then(|row| row.metrics.get(metric)), 4);
        cells.extend(rows.iter().map(|row| number(*row)));
        (!sizes.is_empty()).then_some((Kind::Model, cells))
    };
    let parts = [Part::All].into_iter().chain(Part::DIVISIONS.into_iter().flatten().copied());
    let mut notes = vec![NOTE.to_owned()];
    if group.part(Part::SameDay).chain(group.part(Part::LaterDay)).next().is_none() {
        notes.push("Days are not told apart: times are missing.".to_owned());
    }
    let title = format!("{}, where it is good: {}", group.title(), column(metric).0);
    Some(Table { title, columns, rows: parts.filter_map(of_part).collect(), notes })
}

/// What is seen.
const NOTE: &str = "Seen: in the events that baselines are fitted on, all but each user's last \
    two. A transition is from the last item of the history to the target.";

/// The first ten of the predictions against those of each baseline, for each file.
fn overlaps(group: &Group) -> Option<Table> {
    let mut files: Vec<&str> = group.overlaps.iter().map(|one| &*one.method).collect();
    files.dedup();
    let mut baselines: Vec<&str> = Vec::new();
    for one in &group.overlaps {
        if !baselines.contains(&&*one.baseline) {
            baselines.push(&one.baseline);
        }
    }
    const HEADS: [&str; 5] = ["shared", "hits of both", "only model", "only baseline", "n"];
    let mut columns = vec![("Baselines".to_owned(), Best::Neither)];
    for file in &files {
        let name = |head: &str| match files.len() {
            1 => head.to_owned(),
            _ => format!("{head}, {file}"),
        };
        columns.extend(HEADS.map(|head| (name(head), Best::Neither)));
    }
    let cells_of = |one: Option<&Overlap>| match one {
        None => HEADS.map(|_| Cell::Empty),
        Some(one) => {
            let count = |count: usize| Cell::Text(count.to_string());
            let [both, model, baseline] = [one.both, one.only_model, one.only_baseline].map(count);
            [cell(Some(&one.shared), 4), both, model, baseline, count(one.n)]
        }
    };
    let of_baseline = |baseline: &&str| {
        let of_file = |file: &&str| {
            let is = |one: &&Overlap| (&*one.method, &*one.baseline) == (*file, *baseline);
            cells_of(group.overlaps.iter().find(is))
        };
        let name = Cell::Text((*baseline).to_owned());
        let cells = [name].into_iter().chain(files.iter().flat_map(of_file)).collect();
        (Kind::Baseline, cells)
    };
    let rows: Vec<(Kind, Vec<Cell>)> = baselines.iter().map(of_baseline).collect();
    let notes = vec!["Shared: items among the first ten of both, as a share of ten. Hits: users \
        whose target is among the first ten."
        .to_owned()];
    let title = format!("{}, first ten beside those of the baselines", group.title());
    (!rows.is_empty()).then_some(Table { title, columns, rows, notes })
}
