//! What a model and a prior are worth alone where a file holds the scores of both for every
//! candidate, and what the two have together over the prior (E29).

use super::lists::in_order;
use super::predictions::Prediction;
use super::truth::Truth;

/// Which of the two scores ranks alone.
#[derive(Clone, Copy)]
pub(super) enum Alone {
    Model,
    Prior,
}

impl Alone {
    pub(super) const BOTH: [Alone; 2] = [Alone::Model, Alone::Prior];

    /// What follows the name of a file in the name of its row.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Alone::Model => "model alone",
            Alone::Prior => "prior alone",
        }
    }

    /// The candidates of a line by this score, equal ones in the order of ties; nothing where one
    /// lacks its scores.
    pub(super) fn ranked(self, line: &Prediction, truth: &Truth<'_>) -> Vec<Option<u32>> {
        if line.parts.len() != line.slots.len() {
            return Vec::new();
        }
        let score = |at: usize| line.parts[at][self as usize];
        let tie = |at: usize| {
            let item = line.slots[at].first();
            item.map(|&item| (truth.items[item as usize].tie, item))
        };
        let mut order: Vec<usize> = (0..line.slots.len()).collect();
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then_with(|| tie(a).cmp(&tie(b))));
        in_order(line, order)
    }
}
