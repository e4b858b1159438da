//! What the first ten of the predictions and those of a baseline have in common (E29).

use super::baseline::{BesideRow, FIRST};
use super::bootstrap::Bootstrap;
use super::ranking::hit;
use super::report::{means, Metrics, Overlap};
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
    beside.filter(|row| !row.heads.is_empty()).map(|row| overlap(own, row, bootstrap)).collect()
}

fn overlap(own: &Own<'_>, row: &BesideRow, bootstrap: Bootstrap) -> Overlap {
    let (mut shares, mut both, mut only_model, mut only_baseline) = (Vec::new(), 0, 0, 0);
    for ((case, list), rank) in own.cases.iter().zip(&own.lists).zip(own.ranks) {
        let without = if own.filter_history { case.history } else { &[] };
        let theirs = row.heads.first(case.user, without);
        shares.push(theirs.filter(|item| list.contains(item)).count() as f64 / FIRST as f64);
        let place = row.places[case.user as usize];
        let place = place.and_then(|place| place.in_full(own.filter_history));
        match [*rank, place].map(|rank| hit(rank, FIRST as u32) > 0.0) {
            [true, true] => both += 1,
            [true, false] => only_model += 1,
            [false, true] => only_baseline += 1,
            [false, false] => {}
        }
    }
    let mut shared = Metrics::of_rows(&shares, 1, ["shared"], bootstrap, means);
    Overlap {
        method: own.method.to_owned(),
        baseline: row.name.clone(),
        n: shares.len(),
        shared: shared.0.remove(0).1,
        both,
        only_model,
        only_baseline,
    }
}
