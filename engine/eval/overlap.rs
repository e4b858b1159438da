//! What the first ten of the predictions and those of a baseline have in common (E29).

use super::baseline::{BesideRow, FIRST};
use super::bootstrap::Bootstrap;
use super::ranking::hit;
use super::report::{Metric, Metrics, Overlap};
use super::truth::Case;

/// The predictions of a ranking of the catalogue.
pub(super) struct Own<'a> {
    /// What their row is called.
    pub(super) method: &'a str,
    /// The questions.
    pub(super) cases: &'a [Case<'a>],
    /// The first ten, of each question.
    pub(super) lists: Vec<Vec<u32>>,
    /// Where the target stands, of each question.
    pub(super) ranks: &'a [Option<u32>],
    /// Whether the history's items were left out of them.
    pub(super) filter_history: bool,
}

/// Against each baseline whose lists are known.
pub(super) fn overlaps<'a>(
    own: &Own<'_>,
    beside: impl Iterator<Item = &'a BesideRow>,
    bootstrap: Bootstrap,
) -> Vec<Overlap> {
    let rivals: Vec<&BesideRow> = beside.filter(|row| !row.heads.is_empty()).collect();
    let shares = own.cases.iter().zip(&own.lists).flat_map(|(case, list)| {
        let without = if own.filter_history { case.history } else { &[] };
        let shared = move |row: &&BesideRow| {
            let both = row.heads.first(case.user, without).filter(|item| list.contains(item));
            both.count() as f64 / FIRST as f64
        };
        rivals.iter().map(shared)
    });
    let shared = Metrics::of_columns(&shares.collect::<Vec<f64>>(), rivals.len(), bootstrap);
    rivals.iter().zip(shared).map(|(row, shared)| overlap(own, row, shared)).collect()
}

fn overlap(own: &Own<'_>, row: &BesideRow, shared: Metric) -> Overlap {
    let hits = |wanted: [bool; 2]| {
        let pairs = own.cases.iter().zip(own.ranks).filter(|(case, rank)| {
            let place = row.places[case.user as usize];
            let place = place.and_then(|place| place.in_full(own.filter_history));
            [**rank, place].map(|rank| hit(rank, FIRST as u32) > 0.0) == wanted
        });
        pairs.count()
    };
    Overlap {
        method: own.method.to_owned(),
        baseline: row.name.clone(),
        n: own.cases.len(),
        shared,
        both: hits([true, true]),
        only_model: hits([true, false]),
        only_baseline: hits([false, true]),
    }
}
