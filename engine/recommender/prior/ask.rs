//! What the ranker says joins what the model found: the candidates of both, each scored by both,
//! and one list of them.

use super::Knowing;
use crate::data::rank::{self, Asked as Shopper, Candidate, Shortlist};
use crate::data::task::Tasks;
use crate::data::{Dataset, Sample, Trie};
use crate::decode::{score_each, Finished, Rules};
use crate::recommender::answer::{Outcome, Parts, Scored};
use crate::recommender::question::{Asked, Past, Rows};
use crate::recommender::Recommender;
use anyhow::Result;
use rayon::prelude::*;

/// A question whose list is to be of both.
struct Open<'a> {
    /// Its place among all questions.
    at: usize,
    past: &'a Past,
    /// What the model searched.
    trie: &'a Trie<'a>,
    /// Whether nothing else may be answered.
    only: bool,
    /// How many of the ranker's best are candidates.
    best: usize,
    /// What the model found.
    found: &'a [Finished],
}

/// A question whose candidates the model is still to score.
struct Begun {
    /// Its place among all questions.
    at: usize,
    list: Shortlist,
    /// By candidate: what the model found.
    found: Vec<Option<Finished>>,
}

impl Recommender {
    /// Whether a question's list is made of the model's scores and the ranker's.
    pub(in crate::recommender) fn is_fused(&self, asked: &Asked) -> bool {
        self.companion.is_some() && matches!(asked.rows, Rows::Items { past: Some(_), .. })
    }

    /// Makes the lists of both of all questions that ask for one.
    pub(in crate::recommender) fn fuse(
        &self,
        tasks: &Tasks,
        catalogue: &Trie,
        asked: &[&Asked],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let Some(companion) = &self.companion else { return Ok(()) };
        let (dataset, top) = (self.dataset(), companion.top);
        let mut open: Vec<(&Knowing, Open)> = Vec::new();
        for (at, (asked, outcome)) in asked.iter().zip(&*outcomes).enumerate() {
            let Rows::Items { within, left_out, past: Some(past), .. } = &asked.rows else {
                continue;
            };
            let Outcome::Items(found) = outcome else { continue };
            let (trie, only) = (within.as_ref().unwrap_or(catalogue), within.is_some());
            let best = top + left_out.len();
            let knowing = companion.knowing(dataset, past.split);
            open.push((knowing, Open { at, past, trie, only, best, found }));
        }
        let fresh = || vec![0.0; dataset.items()];
        let begin = |scores: &mut Vec<f64>, (knowing, one): &(&Knowing, Open)| {
            knowing.begin(dataset, one, scores)
        };
        let mut begun: Vec<Begun> = open.par_iter().map_init(fresh, begin).collect();
        let missing = |one: &Begun| {
            let pairs = one.list.candidates.iter().zip(&one.found);
            let items = pairs.filter(|(_, found)| found.is_none()).map(|(one, _)| one.item);
            items.collect::<Vec<u32>>()
        };
        let tries: Vec<(usize, Trie)> = begun
            .iter()
            .map(missing)
            .enumerate()
            .filter(|(_, items): &(usize, Vec<u32>)| !items.is_empty())
            .map(|(place, items)| (place, dataset.catalogue_of(&items)))
            .collect();
        let mut put: Vec<(Rules, &Sample)> = Vec::with_capacity(tries.len());
        for (place, trie) in &tries {
            let Rows::Items { prompt, .. } = &asked[begun[*place].at].rows else { continue };
            put.push((self.search_rules(tasks, catalogue, trie, trie.members.len()), prompt));
        }
        let scored = self.in_groups(&put, |group| score_each(&self.model, group))?;
        for ((place, trie), scored) in tries.iter().zip(scored) {
            let own = &mut begun[*place];
            match scored {
                Ok(scored) => own.take(trie, &scored),
                Err(why) => outcomes[own.at] = Outcome::NotFinite(why),
            }
        }
        for one in begun {
            let Outcome::Items(_) = outcomes[one.at] else { continue };
            let shown = asked[one.at].top.unwrap_or(self.settings.answers.top);
            let Rows::Items { prompt, left_out, .. } = &asked[one.at].rows else { continue };
            let ranked = one.list.ranked(companion.fusion, &companion.balance);
            let stays = |at: usize| left_out.binary_search(&one.list.candidates[at].item).is_err();
            let kept = ranked.into_iter().filter(|(at, _)| stays(*at)).take(shown);
            let scored = kept.filter_map(|(at, score)| {
                let Candidate { item, model, prior, .. } = one.list.candidates[at];
                let own = Scored::found(item, one.found[at].as_ref()?, prompt);
                Some(Scored { score, parts: Some(Parts { model, prior }), ..own })
            });
            outcomes[one.at] = Outcome::Fused(scored.collect());
        }
        Ok(())
    }
}

impl Begun {
    /// Takes the model's scores of sequences of a trie of candidates.
    fn take(&mut self, trie: &Trie, scored: &[Finished]) {
        for one in scored {
            for item in trie.members(one.node) {
                let at = self.list.candidates.binary_search_by_key(item, |one| one.item);
                let at = at.expect("what was scored is a candidate");
                self.list.candidates[at].model = one.score;
                self.found[at] = Some(one.clone());
            }
        }
    }
}

impl Knowing {
    /// The candidates of somebody, by their numbers, with the ranker's scores and what the model
    /// found: that and the ranker's best, or where nothing else may be answered, all of the trie.
    fn begin(&self, dataset: &Dataset, open: &Open, scores: &mut [f64]) -> Begun {
        let Open { at, past, trie, only, best, found } = *open;
        self.ranker.score(Shopper::history(&past.items), scores);
        scores.iter_mut().for_each(|score| *score = score.max(0.0));
        let before = |a: &u32, b: &u32| {
            let by_score = scores[*b as usize].total_cmp(&scores[*a as usize]);
            by_score.then_with(|| (dataset.tie(*a), *a).cmp(&(dataset.tie(*b), *b)))
        };
        let mut order = rank::best((0..scores.len() as u32).collect(), best, before);
        order.sort_unstable_by(before);
        let mass = |item: u32| self.counts[item as usize] + 1.0;
        let all: f64 = (0..scores.len() as u32).map(mass).sum();
        let rest = match order.len() == scores.len() {
            true => 0.0,
            false => (all - order.iter().map(|&item| mass(item)).sum::<f64>()).max(1.0),
        };
        let of_best = order.iter().map(|&item| scores[item as usize]).collect();
        order.sort_unstable();
        let mut items: Vec<u32> = match only {
            true => trie.members.to_vec(),
            false => {
                let own = found.iter().flat_map(|one| trie.members(one.node).iter().copied());
                own.chain(order.iter().copied()).collect()
            }
        };
        items.sort_unstable();
        items.dedup();
        let candidate = |&item: &u32| Candidate {
            item,
            tie: dataset.tie(item),
            model: f64::NAN,
            prior: scores[item as usize],
            count: self.counts[item as usize],
            is_best: order.binary_search(&item).is_ok(),
        };
        let candidates: Vec<Candidate> = items.iter().map(candidate).collect();
        let list = Shortlist { candidates, best: of_best, rest };
        let mut begun = Begun { at, list, found: vec![None; items.len()] };
        begun.take(trie, found);
        begun
    }
}
