//! Answers: what the model makes of questions, in groups that the memory plan finds room for.

use super::budget::Beams;
use super::open::Recommender;
use super::question::{Asked, Rows};
use crate::base::map::settled;
use crate::data::task::Tasks;
use crate::data::{Sample, Trie};
use crate::decode::{
    self, greedy_each, recommend_each, score_each, Blanks, Finished, Found, Limits, NotFinite,
    Rules, Writing,
};
use anyhow::Result;
use std::time::Instant;

/// An item of an answer, with all that recomputes its score elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Number of the item in the data set.
    pub item: u32,
    /// Sum of log-probabilities / length^alpha; of what everybody takes, the logarithm of its
    /// share.
    pub score: f64,
    /// The produced tokens, `[END]` included; none of what everybody takes.
    pub tokens: Vec<u32>,
    /// Position and block position with which the tokens but `[END]` were fed back.
    pub positions: [Vec<u32>; 2],
    /// One a token.
    pub log_probs: Vec<f32>,
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

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The best items, best first.
    Items(Vec<Scored>),
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
enum Outcome {
    Items(Vec<Finished>),
    Text(Vec<decode::Answer>),
    Refused,
    NotFinite(NotFinite),
}

impl<T> From<Found<T>> for Outcome
where
    Outcome: From<T>,
{
    fn from(found: Found<T>) -> Outcome {
        found.map_or_else(Outcome::NotFinite, Outcome::from)
    }
}

impl From<Vec<Finished>> for Outcome {
    fn from(found: Vec<Finished>) -> Outcome {
        Outcome::Items(found)
    }
}

impl From<Vec<decode::Answer>> for Outcome {
    fn from(found: Vec<decode::Answer>) -> Outcome {
        Outcome::Text(found)
    }
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
        let rules = |trie, width| Rules {
            trie,
            intra: tasks.builder().intra(),
            end: tasks.builder().special().end,
            width,
            length_penalty: self.decided.asked.length_penalty,
            look_ahead: true,
        };
        let (mut searched, mut scored, mut written) = (Vec::new(), Vec::new(), Vec::new());
        let (mut search_at, mut score_at, mut write_at) = (Vec::new(), Vec::new(), Vec::new());
        for (at, asked) in asked.iter().enumerate() {
            match &asked.rows {
                Rows::Items { prompt, within, left_out } => {
                    let trie = within.as_ref().unwrap_or(catalogue);
                    let top = asked.top.unwrap_or(answers.top);
                    let beams = answers.beams.max(asked.top.unwrap_or(0));
                    if self.scores_all(within.as_ref()) {
                        score_at.push(at);
                        scored.push((rules(trie, top + left_out.len()), prompt));
                    } else {
                        search_at.push(at);
                        searched.push((rules(trie, beams + left_out.len()), prompt));
                    }
                }
                Rows::Text { blanks, .. } => {
                    write_at.push(at);
                    written.push(blanks);
                }
                Rows::Popular(_) | Rows::Refused(_) => {}
            }
        }
        let specials = self.dataset().vocab().specials();
        let limits = Limits {
            intra: tasks.builder().intra(),
            start: tasks.builder().special().start,
            end: tasks.builder().special().end,
            specials: &specials,
            tokens: answers.max_new_tokens,
        };
        let mut outcomes: Vec<Outcome> = asked.iter().map(|_| Outcome::Refused).collect();
        let found = self.search(&searched)?;
        search_at.iter().zip(found).for_each(|(&at, found)| outcomes[at] = found.into());
        let found = score_each(&self.model, &scored)?;
        score_at.iter().zip(found).for_each(|(&at, found)| outcomes[at] = found.into());
        let texts = self.write(&written, limits)?;
        write_at.iter().zip(texts).for_each(|(&at, texts)| outcomes[at] = texts.into());
        let seconds = begun.elapsed().as_secs_f64() / asked.len().max(1) as f64;
        let answers = asked.iter().zip(outcomes).map(|(asked, outcome)| {
            Ok(Answered { answer: self.read(catalogue, asked, outcome)?, seconds })
        });
        answers.collect()
    }

    /// What [`recommend_each`] finds, in groups that there is memory for.
    fn search(&self, mut asked: &[(Rules, &Sample)]) -> Result<Vec<Found<Vec<Finished>>>> {
        let mut found = Vec::with_capacity(asked.len());
        while !asked.is_empty() {
            let rows: Vec<usize> = asked.iter().map(|(_, prompt)| prompt.rows()).collect();
            let beams = asked.iter().map(|(rules, _)| rules.width).max().unwrap_or(0);
            let beams = Beams::items(self.dataset(), beams);
            let (group, later) = asked.split_at(self.budget.together(&rows, beams));
            found.extend(recommend_each(&self.model, group)?.0);
            asked = later;
        }
        Ok(found)
    }

    /// What [`greedy_each`] writes, in groups that there is memory for.
    fn write(
        &self,
        mut texts: &[&Blanks],
        limits: Limits,
    ) -> Result<Vec<Found<Vec<decode::Answer>>>> {
        let mut written = Vec::with_capacity(texts.len());
        while !texts.is_empty() {
            let rows: Vec<usize> = texts.iter().map(|text| text.part_a.rows()).collect();
            let masks = texts.iter().map(|text| text.masks.len()).max().unwrap_or(0);
            let specials = limits.specials.len();
            let beams = Beams::texts(&Writing::GREEDY, masks, limits.tokens, 0, specials);
            let (group, later) = texts.split_at(self.budget.together(&rows, beams));
            written.extend(greedy_each(&self.model, group, limits)?);
            texts = later;
        }
        Ok(written)
    }

    /// Sequences as items, tokens as words.
    fn read(&self, catalogue: &Trie, asked: &Asked, outcome: Outcome) -> Result<Answer> {
        Ok(match (&asked.rows, outcome) {
            (Rows::Items { prompt, within, left_out }, Outcome::Items(found)) => {
                let trie = within.as_ref().unwrap_or(catalogue);
                let all =
                    found.iter().flat_map(|f| trie.members(f.node).iter().map(move |&i| (i, f)));
                let shown = all.filter(|(item, _)| left_out.binary_search(item).is_err());
                let scored = shown.take(asked.top.unwrap_or(self.settings.answers.top)).map(
                    |(item, found)| Scored {
                        item,
                        score: found.score,
                        tokens: found.tokens.clone(),
                        positions: fed_back(prompt.mask_inter(), &found.ids),
                        log_probs: found.log_probs.clone(),
                    },
                );
                Answer::Items(scored.collect())
            }
            (Rows::Text { blanks, .. }, Outcome::Text(answers)) => {
                let written = answers.into_iter().zip(&blanks.masks).map(|(answer, mask)| {
                    Ok(Written {
                        text: self.dataset().vocab().decode(&answer.tokens)?.trim().to_owned(),
                        positions: fed_back(*mask, &answer.ids),
                        tokens: answer.tokens,
                        ended: answer.ended,
                    })
                });
                Answer::Text(written.collect::<Result<_>>()?)
            }
            (Rows::Popular(items), _) => {
                let scored = |&(item, score): &(u32, f64)| Scored {
                    item,
                    score,
                    tokens: Vec::new(),
                    positions: [Vec::new(), Vec::new()],
                    log_probs: Vec::new(),
                };
                Answer::Items(items.iter().map(scored).collect())
            }
            (Rows::Refused(why), _) => Answer::Refused(why.clone()),
            (_, Outcome::NotFinite(why)) => Answer::Refused(why.to_string()),
            _ => unreachable!("items are answered with items, texts with texts"),
        })
    }
}

/// Positions with which produced tokens are fed back: the mask's, and each its own intra id.
fn fed_back(mask: u32, ids: &[u32]) -> [Vec<u32>; 2] {
    [vec![mask; ids.len()], ids.to_vec()]
}
