//! Yes or no of every candidate (E9): by the logits of the answer's first token, in f32, where each
//! word is one token; otherwise by the likelihood of the whole words.

use super::answer::Outcome;
use super::open::Recommender;
use super::question::{Asked, Rows};
use crate::data::task::Tasks;
use crate::data::{Sample, Trie};
use crate::decode::{self, first_token_each, score_each, Finished, Found};
use anyhow::Result;

impl Recommender {
    /// Asks all items of the questions that are answered by yes or no.
    pub(super) fn judge(
        &self,
        tasks: &Tasks,
        asked: &[&Asked],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        for (asked, outcome) in asked.iter().zip(outcomes) {
            let Rows::YesNo { prompts, words, .. } = &asked.rows else { continue };
            let odds = match words {
                [yes, no] if yes.len() == 1 && no.len() == 1 => self.by_first(prompts, words)?,
                words => self.by_whole(tasks, prompts, words)?,
            };
            *outcome = odds.map_or_else(Outcome::NotFinite, Outcome::Odds);
        }
        Ok(())
    }

    fn by_first(&self, prompts: &[Sample], words: &[Vec<u32>; 2]) -> Result<Found<Vec<f64>>> {
        let tokens = [words[0][0], words[1][0]];
        let put: Vec<(&Sample, &[u32])> =
            prompts.iter().map(|prompt| (prompt, &tokens[..])).collect();
        let found = first_token_each(&self.model, &put, self.pass(prompts))?.into_iter();
        Ok(found.map(|one| one.map(|one| one.log_odds(0, 1))).collect())
    }

    /// Rows of a pass over prompts.
    fn pass(&self, prompts: &[Sample]) -> usize {
        let longest = prompts.iter().map(Sample::rows).max().unwrap_or(0);
        self.budget.reading(longest, 2)
    }

    fn by_whole(
        &self,
        tasks: &Tasks,
        prompts: &[Sample],
        words: &[Vec<u32>; 2],
    ) -> Result<Found<Vec<f64>>> {
        let trie = Trie::build(&[&words[0][..], &words[1][..]], &[0, 1]);
        let rules = decode::Rules {
            trie: &trie,
            scoring: decode::Scoring::Full,
            intra: tasks.builder().intra(),
            end: tasks.builder().special().end,
            exact: false,
            width: 2,
            // Whole words, not their mean: one may be longer than the other.
            length_penalty: 0.0,
            look_ahead: true,
        };
        let odds = |found: Vec<Finished>| {
            let of = |word: u32| {
                let own = |one: &&Finished| trie.members(one.node).contains(&word);
                found.iter().find(own).map_or(f64::NEG_INFINITY, |one| one.score)
            };
            of(0) - of(1)
        };
        let (mut all, pass) = (Vec::with_capacity(prompts.len()), self.pass(prompts));
        let mut rest = prompts;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|prompt| {
                rows += prompt.rows();
                rows <= pass
            });
            let (group, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let put: Vec<_> = group.iter().map(|prompt| (rules, prompt)).collect();
            all.extend(score_each(&self.model, &put)?.into_iter().map(|one| one.map(odds)));
        }
        Ok(all.into_iter().collect())
    }
}
