//! What may follow a row: the best of the vocabulary or given tokens, with log-probabilities, after
//! some logits were changed. The vocabulary stays on the device.

use super::head::parts;
use crate::base::{Dtype, Fault, Shape};
use crate::device::{Tensor, View, ViewMut, Write};
use crate::model::model::Model;
use anyhow::Result;
use std::ops::Range;

/// What is asked of one row.
#[derive(Clone, Debug)]
pub struct Question {
    /// What `repeated` are divided by where their logit is above 0, and multiplied by elsewhere.
    pub penalty: f32,
    /// Tokens whose logits `penalty` changes, each once.
    pub repeated: Vec<u32>,
    /// Tokens whose logits become −∞; none of `repeated`.
    pub banned: Vec<u32>,
    /// Of which tokens the log-probabilities are wanted.
    pub among: Among,
}

/// Of which tokens the log-probabilities are wanted.
#[derive(Clone, Debug)]
pub enum Among {
    /// So many of the largest logits, the smaller token first on a tie; all where there are fewer.
    Best(usize),
    /// These.
    These(Vec<u32>),
}

/// What may follow a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// Tokens: the best first, or as they were asked for.
    pub tokens: Vec<u32>,
    /// Of each, the log-softmax over the whole vocabulary of the changed logits, in nats.
    pub log_probs: Vec<f32>,
}

impl Model {
    /// An answer to each question about its row of the normed rows `[R, h]`. A row's answer has the
    /// same bits whatever else is asked.
    pub fn choose(&self, y: View, asked: &[Question]) -> Result<Vec<Choices>> {
        for question in asked {
            self.check_tokens(&question.repeated)?;
            self.check_tokens(&question.banned)?;
        }
        // Of each row as many of the best as any row is asked for, and its given tokens.
        let wanted = |question: &Question| match question.among {
            Among::Best(count) => count.min(self.config.vocabulary),
            Among::These(_) => 0,
        };
        let most = asked.iter().map(wanted).max().unwrap_or(0);
        let every: Vec<u32> = (0..=asked.len()).map(|row| (row * most) as u32).collect();
        let shape = Shape::matrix(asked.len(), most);
        let mut found = self.device.unwritten(shape, Dtype::U32)?;
        let mut best = self.device.unwritten(shape, Dtype::F32)?;
        let given = asked.iter().map(|question| match &question.among {
            Among::Best(_) => &[][..],
            Among::These(tokens) => tokens,
        });
        let (first, given) = listed(given);
        let ids = self.device.upload_u32(&given)?;
        let mut of_given = self.device.unwritten(ids.shape(), Dtype::F32)?;
        for rows in parts(0..asked.len(), self.chunk(self.config.vocabulary)) {
            let mut logits = self.logits(y.row_range(rows.clone()))?;
            self.change(&mut logits, &asked[rows.clone()])?;
            if most > 0 {
                let found = found.view_mut().row_range(rows.clone());
                // The logits have the place of their log-probabilities until these come.
                self.device.top_k(best.view_mut().row_range(rows.clone()), found, logits.view())?;
            }
            let all = Shape::vector(shape.count());
            let (found, best) = (found.view().part(0, all), best.view_mut().part(0, all));
            self.read_log_probs(best, &logits, &every[rows.start..=rows.end], found)?;
            let first = &first[rows.start..=rows.end];
            self.read_log_probs(of_given.view_mut(), &logits, first, ids.view())?;
        }
        let found = self.device.download_u32(found.view())?;
        let best = self.device.download_f32(best.view())?;
        let of_given = self.device.download_f32(of_given.view())?;
        let answer = |(row, question): (usize, &Question)| {
            let (tokens, log_probs, own) = match question.among {
                Among::Best(_) => (&found, &best, row * most..row * most + wanted(question)),
                Among::These(_) => (&given, &of_given, ends(&first, row)),
            };
            let (tokens, log_probs) = (tokens[own.clone()].to_vec(), log_probs[own].to_vec());
            Choices { tokens, log_probs }
        };
        Ok(asked.iter().enumerate().map(answer).collect())
    }

    /// Logits, f32, and log-softmax over the whole vocabulary of normed rows `[R, h]`, of the
    /// `tokens` of each row.
    pub fn logits_and_log_probs(
        &self,
        y: View,
        tokens: &[&[u32]],
    ) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        tokens.iter().try_for_each(|tokens| self.check_tokens(tokens))?;
        let (first, ids) = listed(tokens.iter().copied());
        let ids = self.device.upload_u32(&ids)?;
        let mut log_probs = self.device.unwritten(ids.shape(), Dtype::F32)?;
        let mut values = self.device.unwritten(ids.shape(), Dtype::F32)?;
        for rows in parts(0..tokens.len(), self.chunk(self.config.vocabulary)) {
            let logits = self.logits(y.row_range(rows.clone()))?;
            let own = &first[rows.start..=rows.end];
            self.read_log_probs(log_probs.view_mut(), &logits, own, ids.view())?;
            let places = tokens[rows.clone()].iter().enumerate();
            let places = places.flat_map(|(row, tokens)| self.places(row, tokens));
            let from = own[0] as usize;
            self.read_logits(values.view_mut(), from, &logits, &places.collect::<Vec<u32>>())?;
        }
        let log_probs = self.device.download_f32(log_probs.view())?;
        let values = self.device.download_f32(values.view())?;
        let of_row = |row| {
            let own: Range<usize> = ends(&first, row);
            (values[own.clone()].to_vec(), log_probs[own].to_vec())
        };
        Ok((0..tokens.len()).map(of_row).collect())
    }

    /// Refuses tokens that the vocabulary does not have: in a chunk they would be another row's.
    fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let words = self.config.vocabulary;
        match tokens.iter().find(|&&token| token as usize >= words) {
            None => Ok(()),
            Some(token) => Err(Fault::Data.error(format!(
                "tokens: expected numbers below the {words} words of the model, got {token}; take \
                the tokenizer that the model was trained with"
            ))),
        }
    }

    /// Where tokens of a row stand in a chunk of logits.
    fn places<'t>(&self, row: usize, tokens: &'t [u32]) -> impl Iterator<Item = u32> + use<'t> {
        let first = (row * self.config.vocabulary) as u32;
        tokens.iter().map(move |token| first + token)
    }

    /// Changes the logits of a chunk as its questions say, each to exactly what it becomes: what
    /// stood there is taken off first, so nothing is left to round.
    fn change(&self, logits: &mut Tensor, asked: &[Question]) -> Result<()> {
        let (mut repeated, mut penalties, mut banned) = (Vec::new(), Vec::new(), Vec::new());
        for (row, question) in asked.iter().enumerate() {
            repeated.extend(self.places(row, &question.repeated));
            penalties.extend(question.repeated.iter().map(|_| question.penalty));
            banned.extend(self.places(row, &question.banned));
        }
        let before = self.logits_at(logits, &repeated)?;
        let off: Vec<f32> = before.iter().map(|x| -x).collect();
        self.add_at(logits, &repeated, &off)?;
        let penalised = |(&x, p): (&f32, f32)| if x > 0.0 { x / p } else { x * p };
        let mut values: Vec<f32> = before.iter().zip(penalties).map(penalised).collect();
        values.resize(repeated.len() + banned.len(), f32::NEG_INFINITY);
        repeated.extend(banned);
        self.add_at(logits, &repeated, &values)
    }

    /// The elements of a chunk of logits at flat places.
    fn logits_at(&self, logits: &Tensor, places: &[u32]) -> Result<Vec<f32>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = self.device.unwritten(Shape::vector(places.len()), Dtype::F32)?;
        self.read_logits(values.view_mut(), 0, logits, places)?;
        self.device.download_f32(values.view())
    }

    /// Values from `from` on become the elements of a chunk of logits at flat places.
    fn read_logits(
        &self,
        values: ViewMut,
        from: usize,
        logits: &Tensor,
        places: &[u32],
    ) -> Result<()> {
        let column = logits.view().part(0, Shape::matrix(logits.shape().count(), 1));
        let ids = self.device.upload_u32(places)?;
        let values = values.part(from, Shape::matrix(places.len(), 1));
        self.device.embed(values, &[(column, ids.view())], Write::Set)
    }

    /// Adds to the elements of a chunk of logits at flat places.
    fn add_at(&self, logits: &mut Tensor, places: &[u32], values: &[f32]) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let column = Shape::matrix(logits.shape().count(), 1);
        let ids = self.device.upload_u32(places)?;
        let values = self.device.upload_f32(values, Shape::matrix(values.len(), 1), Dtype::F32)?;
        let column = logits.view_mut().part(0, column);
        self.device.embed_backward(column, values.view(), ids.view())
    }
}

/// Tokens of rows one row after another, and where each row's begin.
fn listed<'t>(rows: impl Iterator<Item = &'t [u32]>) -> (Vec<u32>, Vec<u32>) {
    let (mut first, mut tokens) = (vec![0], Vec::new());
    for row in rows {
        tokens.extend_from_slice(row);
        first.push(tokens.len() as u32);
    }
    (first, tokens)
}

/// Where the tokens of a row stand.
fn ends(first: &[u32], row: usize) -> Range<usize> {
    first[row] as usize..first[row + 1] as usize
}
