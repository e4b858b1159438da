//! What is asked of the model: the next item of a user, and blanks in the user's own history (R35, R40).

use super::dataset::Dataset;
use super::sample::{Piece, Rules, Sample};
use super::span::{corrupt, Level, Masking, Unit};
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;

/// Which events of a user are shown and which is asked for: leave-one-out, last = test, last but one = validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Validation,
    Test,
}

impl Split {
    /// Number of events shown of `n`; the next one is the target. `None` where the user has too few.
    pub fn shown(self, n: usize) -> Option<usize> {
        let shown = n.checked_sub(if self == Split::Test { 1 } else { 2 })?;
        (n >= 3 && shown > 0).then_some(shown)
    }
}

/// A prompt text around a history: `{history}` and one mask name stand in it.
pub struct Template {
    before: Vec<u32>,
    between: Vec<u32>,
    mask: u32,
    after: Vec<u32>,
}

impl Template {
    /// Parses such as `{history} , [MASK]`. Refuses a text without either field.
    pub fn parse(text: &str, dataset: &Dataset) -> Result<Template> {
        let refuse = |what: &str| {
            Fault::Usage
                .error(format!("template: {text:?}: expected {what}, for example {{history}} , [MASK]"))
        };
        let (before, rest) = text.split_once("{history}").ok_or_else(|| refuse("{history}"))?;
        let vocab = dataset.vocab();
        let special = vocab.special();
        let masks = [("[gMASK]", special.gmask), ("[sMASK]", special.smask), ("[MASK]", special.mask)];
        let (name, mask) = masks
            .into_iter()
            .find(|(name, _)| rest.contains(name))
            .ok_or_else(|| refuse("[MASK] behind {history}"))?;
        let (between, after) = rest.split_once(name).expect("it is there");
        // The blank before an entity belongs to the entity, none is left before a mask (R3, R20).
        Ok(Template {
            before: vocab.encode(before.trim_end())?,
            between: vocab.encode(between.trim_end())?,
            mask,
            after: vocab.encode(after)?,
        })
    }
}

/// Builds the rows of a data set under one set of rules.
pub struct Tasks<'a> {
    pub dataset: &'a Dataset,
    pub rules: Rules<'a>,
    pub template: Template,
    pub masking: Masking,
    /// Share of blank infilling among the training examples (R40).
    pub mix: f64,
    /// Rows a sample may have; the oldest history goes first (E26).
    pub max_row: usize,
    pub seed: u64,
    separator: Vec<u32>,
}

impl<'a> Tasks<'a> {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        dataset: &'a Dataset,
        rules: Rules<'a>,
        template: Template,
        masking: Masking,
        mix: f64,
        max_row: usize,
        seed: u64,
    ) -> Result<Tasks<'a>> {
        let separator = dataset.vocab().encode(" ,")?;
        Ok(Tasks { dataset, rules, template, masking, mix, max_row, seed, separator })
    }

    /// The prompt's pieces for a history, cut from its oldest end until `room` rows of answer fit as well.
    fn pieces(&self, history: &[u32], room: usize) -> Result<Vec<Piece>> {
        let template = &self.template;
        let fixed =
            self.rules.frame() + template.before.len() + template.between.len() + template.after.len() + 2;
        let mut left = self.max_row.saturating_sub(fixed + room);
        let mut first = history.len();
        while first > 0 {
            let item = self.dataset.item(history[first - 1]);
            let cost = item.tokens.len() + if first < history.len() { self.separator.len() } else { 0 };
            if cost > left {
                break;
            }
            left -= cost;
            first -= 1;
        }
        if first == history.len() {
            return Err(Fault::Data.error(format!(
                "prompt: expected room for one item in {} rows, got none; raise --max-row or shorten the template",
                self.max_row
            )));
        }
        let mut pieces = Vec::with_capacity(2 * (history.len() - first) + 3);
        let plain = |pieces: &mut Vec<Piece>, tokens: &[u32]| {
            if !tokens.is_empty() {
                pieces.push(Piece::Plain(tokens.to_vec()));
            }
        };
        plain(&mut pieces, &template.before);
        for (i, &item) in history[first..].iter().enumerate() {
            if i > 0 {
                plain(&mut pieces, &self.separator);
            }
            pieces.push(Piece::Entity(self.dataset.item(item).tokens.to_vec()));
        }
        plain(&mut pieces, &template.between);
        pieces.push(Piece::Mask(template.mask));
        plain(&mut pieces, &template.after);
        Ok(pieces)
    }

    /// The prompt that asks for the item after `history`: a row ending in [START], and the inter id of its mask.
    pub fn prompt(&self, history: &[u32]) -> Result<(Sample, u32)> {
        Ok(self.rules.prompt(0, &self.pieces(history, 0)?))
    }

    /// Users with something to learn from: two events or more before the validation item.
    pub fn learners(&self) -> Vec<u32> {
        (0..self.dataset.users() as u32).filter(|&u| self.training_events(u).len() >= 2).collect()
    }

    /// The events that training may see: all but the last two, or all of a user too short to be split.
    fn training_events(&self, user: u32) -> &'a [u32] {
        let items = self.dataset.user(user).items;
        &items[..Split::Validation.shown(items.len()).unwrap_or(items.len())]
    }

    /// Training example `example` about `user`: what is drawn depends on (seed, example) alone.
    pub fn training(&self, user: u32, example: u64) -> Result<Sample> {
        let items = self.training_events(user);
        let mut rng = Philox::new(self.seed, Stream::Spans, example);
        if rng.uniform() < self.mix {
            return self.blanks(items, example, &mut rng);
        }
        let target = 1 + rng.below(items.len() - 1);
        let answer = self.dataset.item(items[target]).tokens;
        let pieces = self.pieces(&items[..target], answer.len() + 1)?;
        Ok(self.rules.row(example, &pieces, &[answer]))
    }

    /// Blank infilling over the newest events that fit.
    fn blanks(&self, items: &[u32], example: u64, rng: &mut Philox) -> Result<Sample> {
        // Part A and part B together hold every token once, a mask and [START] per span at most per unit.
        let mut units: Vec<Unit> = Vec::new();
        let mut left = self.max_row.saturating_sub(self.rules.frame() + 2);
        let mut first = items.len();
        while first > 0 {
            let cost = self.dataset.item(items[first - 1]).tokens.len() + self.separator.len() + 2;
            if cost > left {
                break;
            }
            left -= cost;
            first -= 1;
        }
        for (i, &item) in items[first..].iter().enumerate() {
            if i > 0 {
                let separate = |&t: &u32| Unit { tokens: vec![t], entity: false, ends_sentence: false };
                units.extend(self.separator.iter().map(separate));
            }
            units.push(Unit {
                tokens: self.dataset.item(item).tokens.to_vec(),
                entity: true,
                ends_sentence: false,
            });
        }
        if units.is_empty() {
            return Err(Fault::Data.error(format!(
                "training: expected room for one item in {} rows, got none; raise --max-row",
                self.max_row
            )));
        }
        let (level, mut spans) = self.masking.draw(&units, rng);
        if self.masking.shuffle {
            rng.shuffle(&mut spans);
        }
        let special = self.rules.special;
        let mask = match level {
            Level::Entity => special.mask,
            Level::Sentence => special.smask,
            Level::Document => special.gmask,
        };
        let (pieces, answers) = corrupt(&units, &spans, mask);
        let answers: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
        Ok(self.rules.row(example, &pieces, &answers))
    }
}

/// The users of step `step` (from 1) with the numbers of their examples: each epoch is a seeded order of all learners.
pub fn examples_of_step(learners: &[u32], per_step: usize, seed: u64, step: u64) -> Vec<(u32, u64)> {
    let n = learners.len() as u64;
    let (first, last) = ((step - 1) * per_step as u64, step * per_step as u64);
    let mut chosen = Vec::with_capacity(per_step);
    for epoch in first / n..=(last - 1) / n {
        let mut order = learners.to_vec();
        Philox::new(seed, Stream::Shuffle, epoch).shuffle(&mut order);
        let range = first.max(epoch * n)..last.min((epoch + 1) * n);
        chosen.extend(range.map(|example| (order[(example - epoch * n) as usize], example)));
    }
    chosen
}

/// A seeded sample of at most `count` users that have a target in `split`, ascending.
pub fn sampled_users(dataset: &Dataset, split: Split, count: usize, seed: u64) -> Vec<u32> {
    let mut users: Vec<u32> =
        (0..dataset.users() as u32).filter(|&u| split.shown(dataset.user(u).items.len()).is_some()).collect();
    if count > 0 && count < users.len() {
        Philox::new(seed, Stream::Users, 0).shuffle(&mut users);
        users.truncate(count);
        users.sort_unstable();
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_learner_once_an_epoch_whatever_the_step_size() {
        let learners: Vec<u32> = (0..37).collect();
        for per_step in [1, 5, 37, 50] {
            let all: Vec<(u32, u64)> = (1..=74u64.div_ceil(per_step))
                .flat_map(|s| examples_of_step(&learners, per_step as usize, 3, s))
                .collect();
            for epoch in 0..2 {
                let mut users: Vec<u32> = all.iter().filter(|e| e.1 / 37 == epoch).map(|e| e.0).collect();
                users.sort_unstable();
                assert_eq!(users, learners);
            }
            assert_eq!(all.iter().map(|e| e.1).take(74).collect::<Vec<_>>(), (0..74).collect::<Vec<_>>());
        }
    }

    #[test]
    fn leave_one_out() {
        assert_eq!(Split::Test.shown(5), Some(4));
        assert_eq!(Split::Validation.shown(5), Some(3));
        assert_eq!(Split::Test.shown(2), None);
        assert_eq!(Split::Validation.shown(0), None);
    }
}
