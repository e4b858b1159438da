//! How much model and ranker count, found on answers for validation users that carry both scores of
//! every candidate.

use super::tuned::{Balanced, Rules, Weighed};
use super::{hash_of, shown, table, usual, Prior};
use crate::base::Fault;
use crate::data::rank::{
    balanced, Balance, Candidate, Fused, Fusion, Sequences, Shortlist, Tuned, Worth,
};
use crate::data::task::Split;
use crate::data::Dataset;
use crate::eval::predictions::{Asked, Group, Prediction};
use crate::eval::truth::Truth;
use crate::recommender::predictions::Side;
use crate::recommender::sheet::Made;
use anyhow::Result;
use std::fmt::Write;
use std::path::PathBuf;

/// What was found, and the run that it is of.
pub struct Fit {
    /// The run's folder.
    pub run: PathBuf,
    /// What will stand in it.
    pub balanced: Balanced,
}

impl Fit {
    /// As a table in Markdown: model alone, prior alone, and the two under each rule.
    pub fn table(&self) -> String {
        let Balanced { prior, users, model_alone, prior_alone, rules, fusion, .. } = &self.balanced;
        let mut table = format!("| {users} validation users | HR@10 | NDCG@10 |\n|---|---|---|\n");
        let mut row = |name: &str, worth: &Worth| {
            let Worth { hits, ndcg } = worth;
            let _ = writeln!(table, "| {name} | {hits:.4} | {ndcg:.4} |");
        };
        row("model alone", model_alone);
        row(&format!("{prior} alone"), prior_alone);
        for &rule in Fusion::ALL {
            let chosen = if rule == *fusion { ", taken" } else { "" };
            row(&format!("fused by {rule}{chosen}"), &rules.of(rule).worth);
        }
        table
    }

    /// Writes it into the run's folder.
    pub fn save(&self) -> Result<()> {
        self.balanced.write(&self.run)
    }
}

/// Finds the weights of every rule by which the answers of `groups` are best. Refuses answers that
/// do not hold all that it takes: of validation users, all that were asked, with every candidate
/// and both of its scores.
pub(in crate::recommender) fn find(
    made: &Made,
    groups: &[Group],
    truth: &Truth<'_>,
    dataset: &Dataset,
) -> Result<Balanced> {
    let name = made.name();
    let refuse = |fault: Fault, expected: &str, got: String| {
        fault.error(format!(
            "setting `fit-prior`: {name}: expected {expected}, got {got}; decode the validation \
            users with setting `prior` again"
        ))
    };
    let usage = |expected: &str, got: String| Err(refuse(Fault::Usage, expected, got));
    let Some(side) = made.side() else {
        return usage("settings of this engine beside it", "none".into());
    };
    let job = &side.decode;
    let answers = &job.settings.answers;
    if answers.prior == Prior::None {
        return usage("answers of model and prior", "the model's alone".into());
    }
    if job.prompts.is_some() || job.split != Split::Validation {
        let got = if job.prompts.is_some() { "prompts".into() } else { format!("{}", job.split) };
        return usage("answers for split validation", got);
    }
    if answers.filter_history {
        return usage("lists with the history's items", "setting `filter-history`".into());
    }
    let top = answers.best_of_prior();
    let all = top + answers.beams;
    if answers.top < all {
        let got = format!("setting `top = {}`", answers.top);
        return usage(&format!("lists of all candidates: setting `top = {all}` or more"), got);
    }
    let [Group { family: Asked::Full, predictions, .. }] = groups else {
        return usage("answers to one template that ranks the catalogue", "others".into());
    };
    if side.asked.is_some_and(|asked| predictions.len() < asked) {
        return Err(refuse(
            Fault::Data,
            &format!("{} lines", side.asked.unwrap_or_default()),
            predictions.len().to_string(),
        ));
    }
    let counts = counts(side, dataset)?;
    let one = |line: &Prediction| match line.failed {
        true => Some(Fused { list: Shortlist::default(), target: None }),
        false => fused(line, truth, &counts, top),
    };
    let users: Option<Vec<Fused>> = predictions.iter().map(one).collect();
    let users = users.ok_or_else(|| {
        let both = "items that have a model's and a prior's score";
        refuse(Fault::Data, both, "some without".into())
    })?;
    let usual = usual(&answers.prior);
    let weighed = |fusion| {
        let (weights, worth) = balanced(fusion, usual, &users);
        Weighed { weights, worth }
    };
    let rules = Rules::each(weighed);
    let first = Fusion::ALL.iter().copied();
    let best = first.reduce(|a, b| match rules.of(b).worth.ndcg > rules.of(a).worth.ndcg {
        true => b,
        false => a,
    });
    let alone = |balance: Balance| Worth::of(Fusion::Sum, &balance, &users);
    let said = &side.identity.settings["prior"];
    let tuned: Tuned = serde_json::from_value(said["tuned"].clone()).unwrap_or_default();
    Ok(Balanced {
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        prior: answers.prior.kind().to_owned(),
        file: said["file"].as_str().map(str::to_owned),
        prior_top: top,
        tuned,
        fusion: best.unwrap_or_default(),
        rules,
        model_alone: alone(Balance { prior: 0.0, ..usual }),
        prior_alone: alone(Balance { model: 0.0, ..usual }),
        data_hash: dataset.hash(),
        model: hash_of(
            &side.identity.weights.hash(),
            side.identity.adapter.as_ref().map(|adapter| adapter.hash()),
        ),
        predictions: name,
        users: users.len(),
        seed: job.settings.source.seed,
    })
}

/// How often every item was taken, as it was known when the answers were made.
fn counts(side: &Side, dataset: &Dataset) -> Result<Vec<f64>> {
    let users = shown(dataset, Split::Validation);
    let counted = Sequences { users: &users, items: dataset.items() }.counts();
    let Some(path) = side.decode.settings.answers.prior.file() else { return Ok(counted) };
    let read = table::Read::of("prior", path, dataset)?;
    match side.identity.settings["prior"]["file"].as_str() == Some(&*read.hash) {
        true => Ok(read.ranker(counted).1),
        false => Err(Fault::Data.error(format!(
            "setting `fit-prior`: {}: expected the table that the answers were made with, got \
            another; decode the validation users again",
            path.display()
        ))),
    }
}

/// The candidates of a line and the one that was taken; `None` where one lacks a score.
fn fused(line: &Prediction, truth: &Truth<'_>, counts: &[f64], top: usize) -> Option<Fused> {
    let mut candidates: Vec<Candidate> = Vec::with_capacity(line.slots.len());
    for (slot, [model, prior]) in line.slots.iter().zip(&line.parts) {
        let (&[item], true) = (&slot[..], model.is_finite() && *prior >= 0.0) else { return None };
        let (tie, count) = (truth.items[item as usize].tie, counts[item as usize]);
        let (model, prior) = (*model, *prior);
        candidates.push(Candidate { item, tie, model, prior, count, is_best: false });
    }
    if candidates.is_empty() {
        return None;
    }
    let by_prior = |a: &Candidate, b: &Candidate| {
        b.prior.total_cmp(&a.prior).then_with(|| (a.tie, a.item).cmp(&(b.tie, b.item)))
    };
    candidates.sort_unstable_by(by_prior);
    let best = top.min(candidates.len());
    candidates[..best].iter_mut().for_each(|one| one.is_best = true);
    let scores = candidates[..best].iter().map(|one| one.prior).collect();
    let own: f64 = candidates[..best].iter().map(|one| one.count + 1.0).sum();
    let all: f64 = counts.iter().map(|count| count + 1.0).sum();
    let rest = if best == counts.len() { 0.0 } else { (all - own).max(1.0) };
    candidates.sort_unstable_by_key(|one| one.item);
    let target = candidates.binary_search_by_key(&line.item, |one| one.item).ok();
    Some(Fused { list: Shortlist { candidates, best: scores, rest }, target })
}
