//! Free generation: masks of a text filled one after another, positions by the automaton (R34).

use crate::base::Dtype;
use crate::base::Shape;
use crate::data::{Batch, Intra, Sample};
use crate::model::{Extension, KvCache, Model};
use anyhow::Result;

/// What is fixed for a generation.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    pub intra: &'a Intra<'a>,
    /// [START] and [END].
    pub start: u32,
    pub end: u32,
    /// Tokens of one answer at most, [END] not counted.
    pub tokens: usize,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The produced tokens, without [END].
    pub tokens: Vec<u32>,
    /// Whether [END] was produced, rather than the limit reached.
    pub ended: bool,
}

/// Fills the masks at inter positions `masks` of part A greedily, in order; earlier answers stay visible and each begins
/// with a fresh automaton. `part_a` is a row without part B.
pub fn greedy(model: &Model, part_a: &Sample, masks: &[u32], limits: Limits) -> Result<Vec<Answer>> {
    let batch = Batch::of([part_a]);
    let room = masks.len() * (limits.tokens + 1);
    let (mut cache, _) = KvCache::prefill(model, &batch, room)?;
    let mut path: Vec<u32> = Vec::new();
    let mut answers = Vec::with_capacity(masks.len());
    for &mask in masks {
        let mut state = limits.intra.start();
        let (mut token, mut id) = (limits.start, 1);
        let mut answer = Answer::default();
        while answer.tokens.len() < limits.tokens {
            path.push(path.len() as u32);
            let mut extension = Extension::new();
            extension.push(
                0,
                token,
                [mask, id.min(model.config.max_positions as u32)],
                path.len() as u32 - 1,
                &path,
            );
            let hidden = cache.extend(model, &extension)?;
            let logits = model.logits(hidden.view())?;
            token = best(model, &logits)?;
            if token == limits.end {
                answer.ended = true;
                break;
            }
            answer.tokens.push(token);
            (state, id) = limits.intra.step(state, token);
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// The column of the largest logit of a single row, the smaller one on a tie.
fn best(model: &Model, logits: &crate::device::Tensor) -> Result<u32> {
    let mut value = model.device.alloc(Shape::matrix(1, 1), Dtype::F32)?;
    let mut column = model.device.alloc(Shape::matrix(1, 1), Dtype::U32)?;
    model.device.top_k(value.view_mut(), column.view_mut(), logits.view())?;
    Ok(model.device.download_u32(column.view())?[0])
}
