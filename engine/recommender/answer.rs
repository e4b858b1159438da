//! Answers: what the model makes of questions, in groups that the memory plan finds room for. Items
//! are searched and scored here; what is written as text lies in `written`.

use super::budget::Beams;
use super::open::Recommender;
use super::question::{Asked, Rows};
use super::settings::Way;
use crate::base::map::settled;
use crate::data::task::Tasks;
use crate::data::{Sample, Trie};
use crate::decode::{self, recommend_each, score_each, Finished, Found, NotFinite, Rules, Scoring};
use anyhow::Result;
use std::time::Instant;

/// An item of an answer, with all that recomputes its score elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Number of the item in the data set.
    pub item: u32,
    /// Sum of log-probabilities / length^alpha; what a fusion made of that and a ranker's score; of
    /// what everybody takes, the logarithm of its share.
    pub score: f64,
    /// The produced tokens, `[END]` included; none of what everybody takes.
    pub tokens: Vec<u32>,
    /// Position and block position with which the tokens but `[END]` were fed back.
    pub positions: [Vec<u32>; 2],
    /// One a token.
    pub log_probs: Vec<f32>,
    /// What the score was made of, where a ranker was asked beside the model (E29).
    pub parts: Option<Parts>,
}

/// What a fused score was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// The model's own score, as it is without a ranker.
    pub model: f64,
    /// The ranker's, not negative.
    pub prior: f64,
}

impl Scored {
    /// An item with what the model found behind a prompt.
    pub(super) fn found(item: u32, found: &Finished, prompt: &Sample) -> Scored {
        Scored {
            item,
            score: found.score,
            tokens: found.tokens.clone(),
            positions: fed_back(prompt.mask_inter(), &found.ids),
            log_probs: found.log_probs.clone(),
            parts: None,
        }
    }
}

/// The text that fills one mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The words, without white space around them.
    pub text: String,
    /// The produced tokens, without `[END]`.
    pub tokens: Vec<u32>,
    /// Position and block position with which they were fed back.
    pub positions: [Vec<u32>; 2],
    /// Whether the model ended the text itself, rather than the limit.
    pub ended: bool,
}

/// A text that was to be an item's.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The words, without white space around them.
    pub text: String,
    /// The item whose text it is, after NFKC and with white space collapsed; `None` where it is
    /// none's (E12).
    pub item: Option<u32>,
    /// Sum of log-probabilities / length^alpha.
    pub score: f64,
    /// The produced tokens, without `[END]`.
    pub tokens: Vec<u32>,
    /// Position and block position with which they were fed back.
    pub positions: [Vec<u32>; 2],
    /// One a token, and of `[END]` where it was produced.
    pub log_probs: Vec<f32>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The best items, best first.
    Items(Vec<Scored>),
    /// Outputs under no trie, best first: items' texts, and others.
    Outputs(Vec<Output>),
    /// A text for each mask, in order.
    Text(Vec<Written>),
    /// Why the question could not be asked, or the model's numbers are no answer.
    Refused(String),
}

/// An answer and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// What came of the question.
    pub answer: Answer,
    /// Seconds: the group's, shared equally.
    pub seconds: f64,
}

/// What the model made of a question.
pub(super) enum Outcome {
    Items(Vec<Finished>),
    /// The list of model and ranker.
    Fused(Vec<Scored>),
    /// Answers to each mask.
    Text(Vec<Vec<decode::Answer>>),
    /// By item of a yes/no question: the log-odds of yes.
    Odds(Vec<f64>),
    Refused,
    NotFinite(NotFinite),
}

impl Recommender {
    /// The answers of a group, in its order. What they hold, but for the time, does not depend on
    /// who is asked together, bit for bit. Fails only where the device does, or a file that is read
    /// in place was changed.
    pub fn answer<'q>(&self, asked: impl IntoIterator<Item = &'q Asked>) -> Result<Vec<Answered>> {
        let asked: Vec<&Asked> = asked.into_iter().collect();
        let files = self.model.maps().chain([self.dataset().map()]);
        settled(files, || self.parts(|tasks, catalogue| self.answer_with(tasks, catalogue, &asked)))
    }

    fn answer_with(
        &self,
        tasks: &Tasks,
        catalogue: &Trie,
        asked: &[&Asked],
    ) -> Result<Vec<Answered>> {
        let begun = Instant::now();
        let answers = &self.settings.answers;
        let exact = answers.search == Way::Exact;
        let rules = |trie, width| self.search_rules(tasks, catalogue, trie, width);
        let (mut searched, mut scored) = (Vec::new(), Vec::new());
        let (mut search_at, mut score_at) = (Vec::new(), Vec::new());
        let mut outcomes: Vec<Outcome> = asked.iter().map(|_| Outcome::Refused).collect();
        for (at, asked) in asked.iter().enumerate() {
            let Rows::Items { prompt, within, left_out, .. } = &asked.rows else { continue };
            let trie = within.as_ref().unwrap_or(catalogue);
            let wanted = asked.top.unwrap_or(answers.top);
            let top = match (self.is_fused(asked), within) {
                // Both score all candidates.
                (true, Some(within)) => within.members.len(),
                (true, None) => answers.beams.max(wanted),
                (false, _) => wanted,
            };
            let beams = if exact { wanted } else { answers.beams.max(asked.top.unwrap_or(0)) };
            if self.scores_all(within.as_ref()) {
                score_at.push(at);
                scored.push((rules(trie, top + left_out.len()), prompt));
            } else if within.is_some() || !self.writes_items() {
                search_at.push(at);
                searched.push((rules(trie, beams + left_out.len()), prompt));
            }
        }
        let mut put = |at: &[usize], found: Vec<Found<Vec<Finished>>>| {
            for (&at, found) in at.iter().zip(found) {
                outcomes[at] = found.map_or_else(Outcome::NotFinite, Outcome::Items);
            }
        };
        put(&search_at, self.search(&searched)?);
        put(&score_at, score_each(&self.model, &scored)?);
        self.fuse(tasks, catalogue, asked, &mut outcomes)?;
        self.judge(tasks, asked, &mut outcomes)?;
        self.write(tasks, catalogue, asked, &mut outcomes)?;
        let seconds = begun.elapsed().as_secs_f64() / asked.len().max(1) as f64;
        let grounded = self.ground(tasks, asked, &outcomes)?;
        let answers = asked.iter().zip(outcomes).zip(grounded).map(|((asked, outcome), near)| {
            let answer = match near {
                Some(answer) => answer,
                None => self.read(catalogue, asked, outcome)?,
            };
            Ok(Answered { answer, seconds })
        });
        answers.collect()
    }

    /// The rules of a search or a scoring of this recommender.
    pub(super) fn search_rules<'a>(
        &self,
        tasks: &'a Tasks,
        catalogue: &'a Trie,
        trie: &'a Trie,
        width: usize,
    ) -> Rules<'a> {
        let learnt = &self.decided.asked;
        Rules {
            trie,
            scoring: Scoring::of(learnt.rules.score, learnt.rules.temperature as f32, catalogue),
            exact: self.settings.answers.search == Way::Exact,
            intra: tasks.builder().intra(),
            end: tasks.builder().special().end,
            width,
            length_penalty: self.decided.asked.length_penalty,
            look_ahead: true,
        }
    }

    /// What [`recommend_each`] finds, in groups that there is memory for.
    fn search(&self, asked: &[(Rules, &Sample)]) -> Result<Vec<Found<Vec<Finished>>>> {
        self.in_groups(asked, |group| {
            let (found, cost) = recommend_each(&self.model, group)?;
            self.spend(cost);
            Ok(found)
        })
    }

    /// What `find` finds, in groups that there is memory for.
    pub(super) fn in_groups(
        &self,
        mut asked: &[(Rules, &Sample)],
        find: impl Fn(&[(Rules, &Sample)]) -> Result<Vec<Found<Vec<Finished>>>>,
    ) -> Result<Vec<Found<Vec<Finished>>>> {
        let mut found = Vec::with_capacity(asked.len());
        while !asked.is_empty() {
            let rows: Vec<usize> = asked.iter().map(|(_, prompt)| prompt.rows()).collect();
            let beams = asked.iter().map(|(rules, _)| rules.width).max().unwrap_or(0);
            let score = self.decided.asked.rules.score;
            let beams = Beams::items(self.dataset(), beams, score);
            let (group, later) = asked.split_at(self.budget.together(&rows, beams));
            found.extend(find(group)?);
            asked = later;
        }
        Ok(found)
    }

    /// Sequences as items, tokens as words.
    fn read(&self, catalogue: &Trie, asked: &Asked, outcome: Outcome) -> Result<Answer> {
        Ok(match (&asked.rows, outcome) {
            (Rows::Items { .. }, Outcome::Fused(items)) => Answer::Items(items),
            (Rows::Items { prompt, within, left_out, .. }, Outcome::Items(found)) => {
                let trie = within.as_ref().unwrap_or(catalogue);
                let all =
                    found.iter().flat_map(|f| trie.members(f.node).iter().map(move |&i| (i, f)));
                let shown = all.filter(|(item, _)| left_out.binary_search(item).is_err());
                let top = asked.top.unwrap_or(self.settings.answers.top);
                let scored =
                    shown.take(top).map(|(item, found)| Scored::found(item, found, prompt));
                Answer::Items(scored.collect())
            }
            (Rows::Text { blanks, .. }, Outcome::Text(answers)) => {
                let written = answers.into_iter().zip(&blanks.masks).map(|(answers, mask)| {
                    // The best one; a mask that nothing may fill stays empty.
                    let answer = answers.into_iter().next().unwrap_or_default();
                    Ok(Written {
                        text: self.text_of(&answer)?,
                        positions: fed_back(*mask, &answer.ids),
                        tokens: answer.tokens,
                        ended: answer.ended,
                    })
                });
                Answer::Text(written.collect::<Result<_>>()?)
            }
            (Rows::Items { prompt, left_out, .. }, Outcome::Text(mut answers)) => {
                let answers = answers.pop().unwrap_or_default();
                let top = asked.top.unwrap_or(self.settings.answers.top);
                self.generated(catalogue, (prompt, left_out), answers, top)?
            }
            (Rows::YesNo { items, .. }, Outcome::Odds(odds)) => {
                let mut ranked: Vec<(u32, f64)> = items.iter().copied().zip(odds).collect();
                let tie = |item: u32| (self.dataset().tie(item), item);
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(tie(a.0).cmp(&tie(b.0))));
                Answer::Items(ranked.into_iter().map(bare).collect())
            }
            (Rows::Popular(items), _) => Answer::Items(items.iter().copied().map(bare).collect()),
            (Rows::Refused(why), _) => Answer::Refused(why.clone()),
            (_, Outcome::NotFinite(why)) => Answer::Refused(why.to_string()),
            _ => unreachable!("items are answered with items, texts with texts"),
        })
    }
}

/// An item and its score, with nothing that was produced.
pub(super) fn bare((item, score): (u32, f64)) -> Scored {
    let (tokens, log_probs) = (Vec::new(), Vec::new());
    let positions = [Vec::new(), Vec::new()];
    Scored { item, score, tokens, positions, log_probs, parts: None }
}

/// Positions with which produced tokens are fed back: the mask's, and each its own intra id.
pub(super) fn fed_back(mask: u32, ids: &[u32]) -> [Vec<u32>; 2] {
    [vec![mask; ids.len()], ids.to_vec()]
}
