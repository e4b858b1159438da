//! Rows that are read once, without a cache: the first token of an answer (E9), and what the model
//! makes of a text as a whole.

use super::finite::{Found, NotFinite};
use crate::data::{Batch, Sample};
use crate::device::View;
use crate::model::Model;
use anyhow::Result;
use std::ops::Range;

/// What a model says of given tokens as the first of an answer, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstTokens {
    /// f32 whatever the storage.
    pub logits: Vec<f32>,
    /// Log-softmax over the whole vocabulary, in nats.
    pub log_probs: Vec<f32>,
}

impl FirstTokens {
    /// ln(p\[yes\] / p\[no\]), yes and no being places among the given tokens: the difference of
    /// the logits, which f64 holds without rounding, so that few prompts tie. What ranks by the
    /// softmax over the two ranks by this.
    pub fn log_odds(&self, yes: usize, no: usize) -> f64 {
        f64::from(self.logits[yes]) - f64::from(self.logits[no])
    }

    /// The softmax over the two tokens, of yes.
    pub fn share(&self, yes: usize, no: usize) -> f64 {
        1.0 / (1.0 + (-self.log_odds(yes, no)).exp())
    }
}

/// What the model says of the given tokens as the first of the answer to each prompt, a row that
/// ends with `[START]`. Prompts are run together in passes of at most `rows` rows; a longer prompt
/// has a pass of its own. Numbers have the same bits whatever prompts stand beside.
pub fn first_token_each(
    model: &Model,
    asked: &[(&Sample, &[u32])],
    rows: usize,
) -> Result<Vec<Found<FirstTokens>>> {
    let samples: Vec<&Sample> = asked.iter().map(|&(sample, _)| sample).collect();
    let mut found = Vec::with_capacity(asked.len());
    ends(model, &samples, rows, |range, ends| {
        let tokens: Vec<&[u32]> = asked[range].iter().map(|&(_, tokens)| tokens).collect();
        for (logits, log_probs) in model.logits_and_log_probs(ends, &tokens)? {
            let finite = logits.iter().chain(&log_probs).all(|x| x.is_finite());
            found.push(if finite { Ok(FirstTokens { logits, log_probs }) } else { Err(NotFinite) });
        }
        Ok(())
    })?;
    Ok(found)
}

/// The final hidden state of the last row of each text, behind the final norm, f32 `[n, h]`; run
/// as [`first_token_each`] runs its prompts. A number that is none is handed out as it is.
pub fn embeddings(model: &Model, texts: &[&Sample], rows: usize) -> Result<Vec<f32>> {
    let mut all = Vec::with_capacity(texts.len() * model.config.hidden);
    ends(model, texts, rows, |_, ends| {
        all.extend(model.device.download_f32(ends)?);
        Ok(())
    })?;
    Ok(all)
}

/// Runs the samples in passes of at most `rows` rows, and hands on which they were and the normed
/// last row of each, `[n, h]`.
fn ends(
    model: &Model,
    samples: &[&Sample],
    rows: usize,
    mut read: impl FnMut(Range<usize>, View) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    while done < samples.len() {
        let mut taken = 0;
        let fits = |sample: &&&Sample| {
            let first = taken == 0;
            taken += sample.rows();
            first || taken <= rows
        };
        let count = samples[done..].iter().take_while(fits).count();
        let range = done..done + count;
        let batch = Batch::of(samples[range.clone()].iter().copied());
        read(range, model.ends(&batch)?.view())?;
        done += count;
    }
    Ok(())
}
