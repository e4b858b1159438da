//! What a training is judged by on its way: where it learns the next item, how well it finds it;
//! otherwise how likely it holds the answers of records that it does not learn from.

use super::budget::{Beams, Budget, VALIDATION_GROUP};
use super::learning::Learning;
use crate::data::rules::Frame;
use crate::data::task::{sampled_users, Lessons, Split, Tasks};
use crate::data::{batch, Batch, Dataset, Sample, Trie};
use crate::decode::{self, Scoring};
use crate::eval::ranking::ndcg;
use crate::model::plan::Decoding;
use crate::model::Model;
use anyhow::Result;
use serde_json::{json, Value};

/// A validation of a training.
pub enum Validation<'a> {
    /// There is none.
    Nothing,
    /// Users' validation events, found by beam search.
    Ranking(Ranking<'a>),
    /// Answers that are held against the model, row by row.
    Likelihood(Vec<Batch>, usize),
}

/// The users that are asked about, in groups whose prompts have room to be answered together.
pub struct Ranking<'a> {
    settings: &'a Learning,
    users: Vec<u32>,
    /// Users of each group, in the order of `users`.
    groups: Vec<usize>,
    catalogue: Trie<'a>,
    beams: Beams,
    /// Prompts and rows of the group that takes most.
    most: (usize, usize),
}

/// A score, the higher the better, and what else is written down; `None` where it was stopped.
type Score = Option<(f64, Value)>;

impl<'a> Validation<'a> {
    /// Of a training of these families.
    pub fn plan(
        settings: &'a Learning,
        budget: &Budget,
        tasks: &Tasks,
        dataset: &'a Dataset,
        lessons: &[Lessons],
    ) -> Result<Validation<'a>> {
        if settings.validate_every == 0 {
            return Ok(Validation::Nothing);
        }
        match tasks.next_template() {
            Some(_) => Ranking::plan(settings, budget, tasks, dataset).map(Validation::Ranking),
            None => likelihood(settings, tasks, lessons),
        }
    }

    /// The group that takes most memory, where one takes any beside a training's.
    pub fn fullest(&self) -> Option<Decoding> {
        let Validation::Ranking(ranking) = self else { return None };
        let (prompts, rows) = ranking.most;
        (prompts > 0).then(|| ranking.beams.plan(prompts, rows))
    }

    /// Users or records that are asked about.
    pub fn asked(&self) -> usize {
        match self {
            Validation::Nothing => 0,
            Validation::Ranking(ranking) => ranking.users.len(),
            Validation::Likelihood(_, records) => *records,
        }
    }

    /// What its score is called.
    pub fn measure(&self) -> &'static str {
        match self {
            Validation::Nothing | Validation::Ranking(_) => "NDCG@10",
            Validation::Likelihood(..) => "log-likelihood",
        }
    }

    /// The score of `model`; `None` once `stop` says so, which is asked between groups.
    pub fn score(
        &self,
        model: &Model,
        tasks: &Tasks,
        dataset: &Dataset,
        stop: &dyn Fn() -> bool,
    ) -> Result<Score> {
        match self {
            Validation::Nothing => Ok(Some((0.0, json!({})))),
            Validation::Ranking(ranking) => ranking.score(model, tasks, dataset, stop),
            Validation::Likelihood(batches, records) => {
                let (mut loss, mut targets) = (0.0, 0);
                for batch in batches {
                    if stop() {
                        return Ok(None);
                    }
                    loss += model.loss(batch, 1.0)?;
                    targets += batch.target_rows.len();
                }
                let score = -loss / targets.max(1) as f64;
                Ok(Some((score, json!({"log-likelihood": score, "records": records}))))
            }
        }
    }
}

/// The rows of answers that are held out, of every family alike.
fn likelihood<'a>(
    settings: &Learning,
    tasks: &Tasks,
    lessons: &[Lessons],
) -> Result<Validation<'a>> {
    let mut samples: Vec<Sample> = Vec::new();
    let mix = settings.mix()?;
    for one in lessons {
        let count = settings.validate_users;
        samples.extend(tasks.held_out(one.family, Split::Validation, count, &mix)?);
    }
    let lengths: Vec<usize> = samples.iter().map(Sample::rows).collect();
    let packs = batch::pack(&lengths, settings.batch_rows, settings.seed, 0)?;
    let temperature = settings.temperature();
    let batch = |pack: &Vec<usize>| Batch::of(pack.iter().map(|&at| &samples[at]));
    let batches = packs.iter().map(|pack| batch(pack).at_temperature(temperature));
    Ok(Validation::Likelihood(batches.collect(), samples.len()))
}

impl<'a> Ranking<'a> {
    fn plan(
        settings: &'a Learning,
        budget: &Budget,
        tasks: &Tasks,
        dataset: &'a Dataset,
    ) -> Result<Ranking<'a>> {
        let (count, seed) = (settings.validate_users, settings.seed);
        let users = sampled_users(dataset, Split::Validation, count, seed);
        let rules = settings.rules.over(None, Frame::default());
        let beams = Beams::items(dataset, settings.validate_beams, rules.score);
        let rows_of = |&user: &u32| Ok(prompt_of(tasks, dataset, user)?.0.rows());
        let (mut groups, mut most) = (Vec::new(), (0, 0));
        let mut rest = users.as_slice();
        while !rest.is_empty() {
            let next = &rest[..rest.len().min(VALIDATION_GROUP)];
            let lengths = next.iter().map(rows_of).collect::<Result<Vec<usize>>>()?;
            let together = budget.together(&lengths, beams);
            let rows: usize = lengths[..together].iter().sum();
            most = (most.0.max(together), most.1.max(rows));
            groups.push(together);
            rest = &rest[together..];
        }
        let catalogue = dataset.catalogue();
        Ok(Ranking { settings, users, groups, catalogue, beams, most })
    }

    /// NDCG@10.
    fn score(
        &self,
        model: &Model,
        tasks: &Tasks,
        dataset: &Dataset,
        stop: &dyn Fn() -> bool,
    ) -> Result<Score> {
        let rules = self.settings.rules.over(None, Frame::default());
        let rules = decode::Rules {
            trie: &self.catalogue,
            intra: tasks.builder().intra(),
            end: tasks.builder().special().end,
            exact: false,
            width: self.settings.validate_beams,
            scoring: Scoring::of(rules.score, rules.temperature as f32, &self.catalogue),
            length_penalty: self.settings.length_penalty(&rules),
            look_ahead: true,
        };
        let (mut hits, mut gain) = (0usize, 0f64);
        let mut rest = self.users.as_slice();
        for &together in &self.groups {
            if stop() {
                return Ok(None);
            }
            let (group, later) = rest.split_at(together);
            rest = later;
            let asked = group.iter().map(|&user| prompt_of(tasks, dataset, user));
            let (prompts, targets): (Vec<_>, Vec<u32>) =
                asked.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            let (found, _) = decode::recommend(model, rules, &prompts)?;
            for (found, target) in found.iter().zip(targets) {
                let ranked = found.iter().flat_map(|f| self.catalogue.members(f.node));
                let rank = ranked.take(10).position(|&item| item == target);
                let rank = rank.map(|at| at as u32 + 1);
                hits += usize::from(rank.is_some());
                gain += ndcg(rank, 10);
            }
        }
        let n = self.users.len().max(1) as f64;
        let (hr, ndcg) = (hits as f64 / n, gain / n);
        Ok(Some((ndcg, json!({"hr@10": hr, "ndcg@10": ndcg, "users": self.users.len()}))))
    }
}

/// What asks for a user's validation event, and the item that answers it.
fn prompt_of(tasks: &Tasks, dataset: &Dataset, user: u32) -> Result<(Sample, u32)> {
    let items = dataset.user(user).items;
    let shown = Split::Validation.shown(items.len()).expect("sampled users have a target");
    Ok((tasks.prompt(tasks.next_template(), user, shown)?, items[shown]))
}
