//! Free generation: masks of a text filled one after another, positions by the automaton (R34).

use super::finite::{all_finite, Found, NotFinite};
use crate::base::{Dtype, Shape};
use crate::data::{Batch, Intra, IntraState, Sample};
use crate::device::Tensor;
use crate::model::{Extension, KvCache, Model};
use anyhow::Result;

/// What is fixed for a generation.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Numbers the produced tokens.
    pub intra: &'a Intra<'a>,
    /// `[START]` and `[END]`.
    pub start: u32,
    /// Ends an answer.
    pub end: u32,
    /// Special tokens: each ends an answer as `[END]` does, and none is ever fed back (R33).
    pub specials: &'a [u32],
    /// Tokens of one answer at most, `[END]` not counted.
    pub tokens: usize,
}

/// A text to be filled: a row without part B, and the inter ids of its masks in order.
#[derive(Clone, Debug)]
pub struct Blanks {
    /// The text.
    pub part_a: Sample,
    /// Inter ids of its masks, in order.
    pub masks: Vec<u32>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The produced tokens, without `[END]`.
    pub tokens: Vec<u32>,
    /// Intra ids with which they were fed back.
    pub ids: Vec<u32>,
    /// Whether `[END]` (or another special token) was produced, rather than the limit reached.
    pub ended: bool,
}

/// Fills the masks of every text greedily, in order; earlier answers stay visible and each begins
/// with a fresh automaton. A text's answers have the same bits whatever texts stand beside it.
/// Refuses a model that gives what is no number.
pub fn greedy(model: &Model, texts: &[&Blanks], limits: Limits) -> Result<Vec<Vec<Answer>>> {
    all_finite(greedy_each(model, texts, limits)?)
}

/// As [`greedy`], every text with its own end.
pub fn greedy_each(
    model: &Model,
    texts: &[&Blanks],
    limits: Limits,
) -> Result<Vec<Found<Vec<Answer>>>> {
    let mut writers: Vec<Writer> = texts.iter().map(|text| Writer::new(text, limits)).collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let batch = Batch::of(texts.iter().map(|text| &text.part_a));
    let (mut cache, _) = KvCache::prefill(model, &batch, KvCache::SLOTS * texts.len())?;
    let mut used = 0u32;
    loop {
        let mut extension = Extension::new();
        let mut rows = Vec::new();
        for (request, writer) in writers.iter_mut().enumerate() {
            let Some(mask) = writer.mask() else { continue };
            writer.path.push(used);
            let position = model.config.produced(mask, writer.id);
            extension.push(request as u32, writer.token, position, used, &writer.path);
            rows.push(request);
            used += 1;
        }
        if rows.is_empty() {
            break;
        }
        cache.reserve(model, used as usize)?;
        let hidden = cache.extend(model, &extension)?;
        let best = best(model, &model.logits(hidden.view())?)?;
        for (&request, token) in rows.iter().zip(best) {
            match token {
                Some(token) => writers[request].take(token),
                None => writers[request].finite = false,
            }
        }
    }
    let answers = |writer: Writer| if writer.finite { Ok(writer.answers) } else { Err(NotFinite) };
    Ok(writers.into_iter().map(answers).collect())
}

/// A text in the making.
struct Writer<'a> {
    limits: Limits<'a>,
    masks: &'a [u32],
    answers: Vec<Answer>,
    answer: Answer,
    /// What is fed next, and where the automaton stands behind it.
    token: u32,
    id: u32,
    state: IntraState,
    /// Slots of all that was fed.
    path: Vec<u32>,
    /// Whether every row had a largest number.
    finite: bool,
}

impl<'a> Writer<'a> {
    fn new(text: &'a Blanks, limits: Limits<'a>) -> Writer<'a> {
        let (answers, answer, path) = (Vec::new(), Answer::default(), Vec::new());
        let state = limits.intra.start();
        Writer {
            limits,
            masks: &text.masks,
            answers,
            answer,
            token: limits.start,
            id: 1,
            state,
            path,
            finite: true,
        }
    }

    /// The inter id of the mask being filled; `None` when all are, or none can be.
    fn mask(&self) -> Option<u32> {
        self.masks.get(self.answers.len()).copied().filter(|_| self.finite)
    }

    /// What the model says comes next. The last token of an answer was fed by now, so that later
    /// answers see all of it, as they do in a training row.
    fn take(&mut self, token: u32) {
        let Limits { intra, start, end, specials, tokens } = self.limits;
        self.answer.ended = token == end || specials.contains(&token);
        if self.answer.ended || self.answer.tokens.len() == tokens {
            self.answers.push(std::mem::take(&mut self.answer));
            (self.token, self.id, self.state) = (start, 1, intra.start());
            return;
        }
        (self.state, self.id) = intra.step(self.state, token);
        self.token = token;
        self.answer.tokens.push(token);
        self.answer.ids.push(self.id);
    }
}

/// The column of the largest logit of each row, the smaller one on a tie; none where its
/// log-probability is not finite, because it or any other logit of the row is no number.
fn best(model: &Model, logits: &Tensor) -> Result<Vec<Option<u32>>> {
    let rows = logits.shape().rows();
    let mut values = model.device.unwritten(Shape::matrix(rows, 1), Dtype::F32)?;
    let mut columns = model.device.unwritten(Shape::matrix(rows, 1), Dtype::U32)?;
    model.device.top_k(values.view_mut(), columns.view_mut(), logits.view())?;
    let first = model.device.upload_u32(&(0..=rows as u32).collect::<Vec<u32>>())?;
    let log_probs = values.view_mut();
    model.device.log_probs_at(log_probs, logits.view(), first.view(), columns.view())?;
    let log_probs = model.device.download_f32(values.view())?;
    let columns = model.device.download_u32(columns.view())?;
    let best = log_probs.iter().zip(columns);
    Ok(best.map(|(log_prob, column)| log_prob.is_finite().then_some(column)).collect())
}
