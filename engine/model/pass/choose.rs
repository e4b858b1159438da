//! What may follow a row: the best of the vocabulary or given tokens, with log-probabilities, after
//! some logits were changed. The vocabulary stays on the device.

use super::head::chunk_rows;
use crate::base::{Dtype, Fault, Shape};
use crate::device::{Tensor, View, Write};
use crate::model::model::Model;
use anyhow::Result;

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
        let mut chosen = Vec::with_capacity(asked.len());
        let chunk = chunk_rows(self.config.vocabulary);
        for (at, asked) in asked.chunks(chunk).enumerate() {
            let start = at * chunk;
            let mut logits = self.logits(y.row_range(start..start + asked.len()))?;
            self.change(&mut logits, asked)?;
            let tokens = self.tokens(&logits, asked)?;
            let log_probs = self.log_probs_of(&logits, &tokens)?;
            let answers = tokens.into_iter().zip(log_probs);
            chosen.extend(answers.map(|(tokens, log_probs)| Choices { tokens, log_probs }));
        }
        Ok(chosen)
    }

    /// Logits, f32, and log-softmax over the whole vocabulary of normed rows `[R, h]`, of the
    /// `tokens` of each row.
    pub fn logits_and_log_probs(
        &self,
        y: View,
        tokens: &[&[u32]],
    ) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        tokens.iter().try_for_each(|tokens| self.check_tokens(tokens))?;
        let mut found = Vec::with_capacity(tokens.len());
        let chunk = chunk_rows(self.config.vocabulary);
        for (at, tokens) in tokens.chunks(chunk).enumerate() {
            let start = at * chunk;
            let logits = self.logits(y.row_range(start..start + tokens.len()))?;
            let log_probs = self.log_probs_of(&logits, tokens)?;
            let places = tokens.iter().enumerate().flat_map(|(r, row)| self.places(r, row));
            let values = self.logits_at(&logits, &places.collect::<Vec<u32>>())?;
            let mut values = values.as_slice();
            for log_probs in log_probs {
                let (row, rest) = values.split_at(log_probs.len());
                found.push((row.to_vec(), log_probs));
                values = rest;
            }
        }
        Ok(found)
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
        let column = logits.view().part(0, Shape::matrix(logits.shape().count(), 1));
        let ids = self.device.upload_u32(places)?;
        let mut values = self.device.unwritten(Shape::matrix(places.len(), 1), Dtype::F32)?;
        self.device.embed(values.view_mut(), &[(column, ids.view())], Write::Set)?;
        self.device.download_f32(values.view())
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

    /// The tokens that are asked of each row of a chunk.
    fn tokens(&self, logits: &Tensor, asked: &[Question]) -> Result<Vec<Vec<u32>>> {
        let width = |question: &Question| match question.among {
            Among::Best(count) => count.min(self.config.vocabulary),
            Among::These(_) => 0,
        };
        let most = asked.iter().map(width).max().unwrap_or(0);
        let mut columns = Vec::new();
        if most > 0 {
            let shape = Shape::matrix(asked.len(), most);
            let mut values = self.device.unwritten(shape, Dtype::F32)?;
            let mut found = self.device.unwritten(shape, Dtype::U32)?;
            self.device.top_k(values.view_mut(), found.view_mut(), logits.view())?;
            columns = self.device.download_u32(found.view())?;
        }
        let of_row = |(row, question): (usize, &Question)| match &question.among {
            Among::Best(_) => columns[row * most..][..width(question)].to_vec(),
            Among::These(tokens) => tokens.clone(),
        };
        Ok(asked.iter().enumerate().map(of_row).collect())
    }

    /// Log-softmax of a chunk of logits at the tokens of each row.
    fn log_probs_of<T: AsRef<[u32]>>(
        &self,
        logits: &Tensor,
        tokens: &[T],
    ) -> Result<Vec<Vec<f32>>> {
        let mut first = vec![0u32];
        let mut ids = Vec::new();
        for tokens in tokens {
            ids.extend_from_slice(tokens.as_ref());
            first.push(ids.len() as u32);
        }
        let starts = self.device.upload_u32(&first)?;
        let wanted = self.device.upload_u32(&ids)?;
        let mut out = self.device.unwritten(Shape::vector(ids.len()), Dtype::F32)?;
        self.device.log_probs_at(out.view_mut(), logits.view(), starts.view(), wanted.view())?;
        let values = self.device.download_f32(out.view())?;
        let rows = first.windows(2).map(|w| values[w[0] as usize..w[1] as usize].to_vec());
        Ok(rows.collect())
    }
}
