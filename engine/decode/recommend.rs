//! Recommending: prompts in, scored items out. Several requests run together; each keeps its own
//! search, all share passes.

use super::finite::{all_finite, Found};
use super::search::{Finished, Rules, Search, Wanted};
use crate::data::{Batch, Sample};
use crate::model::{Extension, KvCache, Model};
use anyhow::Result;
use std::ops::AddAssign;

/// What a group of requests cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Passes after the prefill.
    pub passes: usize,
    /// Rows of these passes.
    pub rows: usize,
    /// Rows of the prompts.
    pub prompt_rows: usize,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.passes += other.passes;
        self.rows += other.rows;
        self.prompt_rows += other.prompt_rows;
    }
}

/// The finished sequences of every prompt, a row that ends with `[START]`, best first, by
/// trie-constrained beam search. A prompt's result has the same bits whatever prompts stand beside
/// it. Refuses a model that gives what is no number.
pub fn recommend(
    model: &Model,
    rules: Rules,
    prompts: &[Sample],
) -> Result<(Vec<Vec<Finished>>, Cost)> {
    let asked: Vec<(Rules, &Sample)> = prompts.iter().map(|prompt| (rules, prompt)).collect();
    let (found, cost) = recommend_each(model, &asked)?;
    Ok((all_finite(found)?, cost))
}

/// As [`recommend`], every prompt under its own rules, but for their scoring, and with its own end.
pub fn recommend_each(
    model: &Model,
    asked: &[(Rules, &Sample)],
) -> Result<(Vec<Found<Vec<Finished>>>, Cost)> {
    let mut cost = Cost::default();
    let Some((Rules { scoring, .. }, _)) = asked.first() else { return Ok((Vec::new(), cost)) };
    let batch = Batch::of(asked.iter().map(|&(_, prompt)| prompt));
    cost.prompt_rows = batch.tokens.len();
    let (mut cache, ends) = KvCache::prefill(model, &batch, KvCache::SLOTS * asked.len())?;
    let mut searches: Vec<Search> =
        asked.iter().map(|(rules, prompt)| Search::new(*rules, prompt.begun())).collect();
    // The prompts' last rows answer for the roots.
    let (mut first, mut ids) = (vec![0], Vec::new());
    for search in &searches {
        search.extensions(0, &mut ids);
        first.push(ids.len() as u32);
    }
    // One who needs all makes all come.
    let needed: Option<Vec<usize>> = searches.iter().map(Search::needed).collect();
    let best = needed.and_then(|needed| needed.into_iter().max());
    let likely = scoring.log_probs(model, ends.view(), &first, &ids, best)?;
    for (search, likely) in searches.iter_mut().zip(likely) {
        search.supply(0, likely);
    }
    // Per request: the tail slot of each of its rows; row 0 is the prompt's own.
    let mut slots: Vec<Vec<u32>> = vec![vec![u32::MAX]; asked.len()];
    let mut parents: Vec<Vec<u32>> = vec![vec![0]; asked.len()];
    let mut used = 0u32;
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut path = Vec::new();
    loop {
        let mut extension = Extension::new();
        let mut rows: Vec<(usize, u32)> = Vec::new();
        for (request, search) in searches.iter_mut().enumerate() {
            wanted.clear();
            search.advance(&mut wanted);
            slots[request].resize(search.rows(), u32::MAX);
            parents[request].resize(search.rows(), 0);
            for want in &wanted {
                slots[request][want.row as usize] = used;
                parents[request][want.row as usize] = want.parent;
                path.clear();
                let mut at = want.row;
                while at != 0 {
                    path.push(slots[request][at as usize]);
                    at = parents[request][at as usize];
                }
                path.reverse();
                let position = model.config.produced(asked[request].1.mask_inter(), want.id);
                extension.push(request as u32, want.token, position, used, &path);
                rows.push((request, want.row));
                used += 1;
            }
        }
        if rows.is_empty() {
            break;
        }
        cost.passes += 1;
        cost.rows += rows.len();
        cache.reserve(model, used as usize)?;
        let hidden = cache.extend(model, &extension)?;
        let (mut first, mut ids) = (vec![0], Vec::new());
        for &(request, row) in &rows {
            searches[request].extensions(row, &mut ids);
            first.push(ids.len() as u32);
        }
        let likely = scoring.log_probs(model, hidden.view(), &first, &ids, best)?;
        for (&(request, row), likely) in rows.iter().zip(likely) {
            searches[request].supply(row, likely);
        }
    }
    Ok((searches.iter().map(Search::finish).collect(), cost))
}
