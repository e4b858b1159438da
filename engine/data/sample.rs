//! Rows for the model: the only maker of positions and masks, for training, for prompts and for
//! scoring.

use super::intra::{EncIntra, Intra, START_ID};
use super::span::{segment, Level, Span, Unit};
use super::vocab::Special;
use crate::base::Fault;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::sync::Arc;

/// One training row or one prompt: the only maker of positions and masks.
///
/// Part A is `tokens[..context]` (bidirectional), part B the rest (causal). A prompt ends with
/// `[START]`, or with what its answer begins with behind that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Names the example for dropout: the same example draws the same masks wherever it is packed.
    pub example: u64,
    /// `[R]` token ids of parts A and B.
    pub tokens: Vec<u32>,
    /// [inter, intra], each as long as `tokens`.
    pub positions: [Vec<u32>; 2],
    /// Length of part A.
    pub context: usize,
    /// How many tokens at the end of a prompt are the beginning of its answer.
    pub begun: usize,
    /// What is to be predicted, ascending rows.
    pub targets: Vec<Target>,
    /// What it does not say.
    pub cut: Cut,
}

/// A token that a row is to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The row that predicts it.
    pub row: u32,
    /// The token.
    pub token: u32,
    /// Its weight in the loss.
    pub weight: f32,
    /// Among what it is decided; `None` = the whole vocabulary (R18).
    pub among: Option<Among>,
    /// Which decision of its item it is, from 1; 0 = of none.
    pub decision: u32,
}

impl Target {
    /// A token of the whole vocabulary that weighs 1.
    pub fn of(row: u32, token: u32) -> Target {
        Target { row, token, weight: 1.0, among: None, decision: 0 }
    }
}

/// Tokens among which one is decided (R41).
#[derive(Clone, Debug, PartialEq)]
pub struct Among {
    /// Ascending, the target among them.
    pub tokens: Arc<[u32]>,
    /// How much of the target each is, together 1 (R44); `None` = the target is all of it.
    pub shares: Option<Arc<[f32]>>,
}

/// What rows do not say of what they were made from: of one sample, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cut {
    /// Samples that lost something.
    pub samples: u64,
    /// Items of histories for which there was no room (E26).
    pub history: u64,
    /// The last values of profiles, likewise.
    pub profile: u64,
    /// The last of lists of candidates, which can be chosen all the same (E10).
    pub candidates: u64,
    /// Tokens at the end of reviews.
    pub review: u64,
    /// Ids beyond the position tables, which were clamped (R25).
    pub clamped: u64,
}

impl Cut {
    /// The same of one sample: it counts where it lost something.
    pub fn counted(self) -> Cut {
        let lost = Cut { samples: 0, ..self } != Cut::default();
        Cut { samples: lost.into(), ..self }
    }

    /// Whether nothing was lost.
    pub fn is_nothing(self) -> bool {
        self == Cut::default()
    }
}

impl AddAssign for Cut {
    fn add_assign(&mut self, other: Cut) {
        self.samples += other.samples;
        self.history += other.history;
        self.profile += other.profile;
        self.candidates += other.candidates;
        self.review += other.review;
        self.clamped += other.clamped;
    }
}

/// `12 did not fit: 34 items of histories left out, 5 values of profiles left out`
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = [
            (self.history, "items of histories left out"),
            (self.profile, "values of profiles left out"),
            (self.candidates, "candidates not listed"),
            (self.review, "tokens of reviews left out"),
            (self.clamped, "position ids clamped to the model's tables"),
        ];
        let said = lost.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said.map(|(count, what)| format!("{count} {what}")).collect();
        write!(f, "{} did not fit: {}", self.samples, said.join(", "))
    }
}

impl Sample {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The beginning of a prompt's answer, which is given.
    pub fn begun(&self) -> &[u32] {
        &self.tokens[self.tokens.len() - self.begun..]
    }

    /// The inter id of the mask that the last span fills: produced tokens are fed back at
    /// `[mask_inter, intra id]`.
    pub fn mask_inter(&self) -> u32 {
        *self.positions[0].last().expect("Sample::mask_inter: an empty sample")
    }
}

/// Part A before `[CLS]` and end-of-text stand round it: a text with its units, in which masks
/// stand already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// Token ids of the text, masks among them.
    pub tokens: Vec<u32>,
    /// Partition `tokens`; a mask is a separate token.
    pub units: Vec<Unit>,
    /// Places of the masks, ascending.
    pub masks: Vec<usize>,
    /// What was left out so that the row fits (E26); neither samples nor ids are counted here.
    pub left_out: Cut,
    /// What the answer to its one mask begins with.
    pub begun: Begun,
}

/// The beginning of an answer, which is given and not asked for: items, each with what parts it
/// from the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begun {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Of each item, its place in the history that was given, and its tokens.
    pub items: Vec<(usize, Range<usize>)>,
}

/// Whether end-of-text stands at the end of part A (R20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartAEos {
    /// It always does.
    #[default]
    Always,
    /// Unless the text ends with `[gMASK]`, as GLM's own generator does.
    Glm,
    /// It never does.
    Never,
}

/// Flags of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOptions {
    /// Whether `[CLS]` stands before part A (R20).
    pub cls: bool,
    /// Whether end-of-text stands at the end of part A.
    pub part_a_eos: PartAEos,
    /// Ids of part A. GLM's rows (R26) have [`EncIntra::Off`] here and `IntraMode::GLM` in the
    /// automaton.
    pub enc_intra: EncIntra,
    /// Most tokens of a whole row (A13).
    pub max_row: usize,
    /// Last row of the position tables: ids above it are clamped (R25).
    pub last_position: u32,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            cls: true,
            part_a_eos: PartAEos::Always,
            enc_intra: EncIntra::One,
            max_row: 1024,
            last_position: 1024,
        }
    }
}

/// What numbers the tokens of an answer that is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered<'s> {
    /// The automaton, as in decoding.
    Automaton,
    /// Its own units, where somebody knows these spans of it to be entities and the pool the rest
    /// ([`Intra::annotated_ids`]): what a decoder cannot know.
    Annotated(&'s [Span]),
}

/// A mask, by its place among those of the text, and what fills it.
struct Filled<'t> {
    mask: usize,
    tokens: Cow<'t, [u32]>,
    /// The intra id of each.
    ids: Vec<u32>,
}

/// Makes rows. Cheap to share: `&self` everywhere.
pub struct SampleBuilder<'a> {
    special: Special,
    intra: Intra<'a>,
    options: SampleOptions,
}

impl<'a> SampleBuilder<'a> {
    /// A maker of rows under one set of rules; `special` are the tokenizer's own ids.
    pub fn new(special: Special, intra: Intra<'a>, options: SampleOptions) -> SampleBuilder<'a> {
        SampleBuilder { special, intra, options }
    }

    /// The tokenizer's own ids.
    pub fn special(&self) -> Special {
        self.special
    }

    /// The automaton that numbers part B; a decoder steps it once a produced token.
    pub fn intra(&self) -> &Intra<'a> {
        &self.intra
    }

    /// The flags of its rows.
    pub fn options(&self) -> SampleOptions {
        self.options
    }

    /// The token of a level's mask (R10).
    pub fn mask(&self, level: Level) -> u32 {
        match level {
            Level::Entity => self.special.mask,
            Level::Sentence => self.special.smask,
            Level::Document => self.special.gmask,
        }
    }

    /// The longest prompt text, in tokens, that leaves room for one answer of `answer` tokens (its
    /// `[START]` included in the room, `[END]` is no input). The same for training and decoding, so
    /// that both drop the same history.
    pub fn longest_prompt(&self, answer: usize) -> usize {
        // [CLS], end-of-text, [START].
        self.options.max_row.saturating_sub(answer + 3)
    }

    /// A blank-infilling row (R17-R25): `spans`, runs of whole units in the order of part B, are
    /// replaced by the mask of `level` in part A and follow it, each behind its `[START]`.
    ///
    /// Refuses a row longer than the limit. Panics on a span that cuts a unit, is empty or overlaps
    /// another: that is our fault.
    pub fn infilling(
        &self,
        example: u64,
        tokens: &[u32],
        units: &[Unit],
        spans: &[Span],
        level: Level,
    ) -> Result<Sample> {
        let ids = |span: &Span| self.intra.ids(&tokens[span.clone()]).collect();
        self.filled(example, tokens, units, spans, level, ids)
    }

    /// The same row, in which part B has the ids that its own units would give it
    /// ([`Intra::annotated_ids`]), which a decoder cannot know.
    pub fn infilling_as_annotated(
        &self,
        example: u64,
        tokens: &[u32],
        units: &[Unit],
        spans: &[Span],
        level: Level,
    ) -> Result<Sample> {
        let within = |span: &Span| {
            let first = units.partition_point(|unit| (unit.start as usize) < span.start);
            let last = units.partition_point(|unit| (unit.start as usize) < span.end);
            self.intra.annotated_ids(&units[first..last])
        };
        self.filled(example, tokens, units, spans, level, within)
    }

    fn filled(
        &self,
        example: u64,
        tokens: &[u32],
        units: &[Unit],
        spans: &[Span],
        level: Level,
        ids: impl Fn(&Span) -> Vec<u32>,
    ) -> Result<Sample> {
        let (prompt, order) = corrupt(tokens, units, spans, self.mask(level));
        let fill = |(&mask, span): (&usize, &Span)| Filled {
            mask,
            tokens: Cow::from(&tokens[span.clone()]),
            ids: ids(span),
        };
        let filled: Vec<Filled> = order.iter().zip(spans).map(fill).collect();
        self.row(example, &prompt, &filled, None)
    }

    /// A prompt that asks for the answer of its first mask: part A, `[START]` and the beginning of
    /// the answer, where it is given.
    pub fn prompt(&self, example: u64, prompt: &Prompt) -> Result<Sample> {
        self.prompt_after(example, prompt, &[])
    }

    /// Part A alone, of which every mask is still open, and the inter ids of the masks: what free
    /// generation fills (R34).
    pub fn part_a(&self, example: u64, prompt: &Prompt) -> Result<(Sample, Vec<u32>)> {
        let row = |&mask: &usize| position_row(self.inter(mask), self.options.last_position);
        let masks = prompt.masks.iter().map(row).collect();
        Ok((self.row(example, prompt, &[], None)?, masks))
    }

    /// A text as a whole, in which the entities of the pool are recognised (R5): part A without a
    /// mask, `[CLS]` before it and, as the flags say, end-of-text behind it.
    pub fn text(&self, example: u64, tokens: &[u32]) -> Result<Sample> {
        let units = segment(Some(&self.intra.pool), tokens, &[]);
        let text = Prompt { tokens: tokens.to_vec(), units, ..Prompt::default() };
        self.row(example, &text, &[], None)
    }

    /// A prompt whose first masks are filled with `answers`, in order, and which asks for the next
    /// one (R34).
    pub fn prompt_after(
        &self,
        example: u64,
        prompt: &Prompt,
        answers: &[&[u32]],
    ) -> Result<Sample> {
        let filled = self.numbered(prompt, answers, Numbered::Automaton);
        self.row(example, prompt, &filled, Some(answers.len()))
    }

    /// The training row of a prompted task (R35): the prompt and an answer for each of its masks,
    /// the first one behind what it begins with.
    pub fn answered(&self, example: u64, prompt: &Prompt, answers: &[&[u32]]) -> Result<Sample> {
        self.answered_as(example, prompt, answers, Numbered::Automaton)
    }

    /// The same row, in which part B is numbered as `by` says; the spans of an annotated one are
    /// those of each answer behind what it begins with, whose items are entities as well.
    pub fn answered_as(
        &self,
        example: u64,
        prompt: &Prompt,
        answers: &[&[u32]],
        by: Numbered,
    ) -> Result<Sample> {
        let (masks, given) = (prompt.masks.len(), answers.len());
        assert_eq!(masks, given, "SampleBuilder::answered: {masks} masks, {given} answers");
        self.row(example, prompt, &self.numbered(prompt, answers, by), None)
    }

    /// Answers of the first masks, the first one behind what it begins with.
    fn numbered<'t>(
        &self,
        prompt: &Prompt,
        answers: &[&'t [u32]],
        by: Numbered,
    ) -> Vec<Filled<'t>> {
        let answer = |(mask, &own): (usize, &&'t [u32])| {
            let begun = if mask == 0 { &prompt.begun.tokens[..] } else { &[] };
            let tokens: Cow<[u32]> = match begun {
                [] => own.into(),
                begun => [begun, own].concat().into(),
            };
            let ids = match by {
                Numbered::Automaton => self.intra.ids(&tokens).collect(),
                Numbered::Annotated(spans) => {
                    let given = if mask == 0 { &prompt.begun.items[..] } else { &[] };
                    let given = given.iter().map(|(_, span)| span.clone());
                    let behind = |span: &Span| span.start + begun.len()..span.end + begun.len();
                    let known: Vec<Span> = given.chain(spans.iter().map(behind)).collect();
                    let units = segment(Some(&self.intra.pool), &tokens, &known);
                    self.intra.annotated_ids(&units)
                }
            };
            Filled { mask, tokens, ids }
        };
        answers.iter().enumerate().map(answer).collect()
    }

    /// The one code path of all rows: part A, then the filled masks, then [START] of an open one.
    fn row(
        &self,
        example: u64,
        prompt: &Prompt,
        filled: &[Filled],
        open: Option<usize>,
    ) -> Result<Sample> {
        let Special { cls, eos, start, end, .. } = self.special;
        let text = prompt.tokens.len();
        let eos = match self.options.part_a_eos {
            PartAEos::Always => Some(eos),
            PartAEos::Glm if prompt.tokens.last() != Some(&self.special.gmask) => Some(eos),
            _ => None,
        };
        let context = usize::from(self.options.cls) + text + usize::from(eos.is_some());
        let part_b: usize = filled.iter().map(|span| 1 + span.tokens.len()).sum();
        let begun: &[u32] = if open == Some(0) { &prompt.begun.tokens } else { &[] };
        let rows = context + part_b + usize::from(open.is_some()) + begun.len();
        if rows > self.options.max_row {
            return Err(Fault::Data.error(format!(
                "row: example {example}: expected at most {} tokens, got {rows} ({context} of part \
                A, {} of part B); shorten the text or raise setting `max-row`",
                self.options.max_row,
                rows - context
            )));
        }

        let mut sample = Sample {
            example,
            tokens: Vec::with_capacity(rows),
            positions: [Vec::with_capacity(rows), Vec::with_capacity(rows)],
            context,
            begun: 0,
            targets: Vec::with_capacity(part_b),
            cut: Cut::default(),
        };
        if self.options.cls {
            self.push(&mut sample, cls, 0, 0);
        }
        let mut covered = 0;
        for unit in &prompt.units {
            assert_eq!(
                unit.start as usize, covered,
                "SampleBuilder: units do not partition the text"
            );
            for (k, at) in unit.range().enumerate() {
                let id = if unit.entity { self.options.enc_intra.id(k as u32) } else { 0 };
                self.push(&mut sample, prompt.tokens[at], self.inter(at), id);
            }
            covered = unit.range().end;
        }
        assert_eq!(covered, text, "SampleBuilder: units do not partition the text");
        if let Some(eos) = eos {
            self.push(&mut sample, eos, self.inter(text), 0);
        }

        for Filled { mask, tokens, ids } in filled {
            let inter = self.inter(prompt.masks[*mask]);
            self.push(&mut sample, start, inter, START_ID);
            for (&token, &id) in tokens.iter().zip(ids) {
                sample.targets.push(Target::of(sample.tokens.len() as u32 - 1, token));
                self.push(&mut sample, token, inter, id);
            }
            sample.targets.push(Target::of(sample.tokens.len() as u32 - 1, end));
        }
        if let Some(mask) = open {
            assert!(
                mask < prompt.masks.len(),
                "SampleBuilder: no mask {mask} in a prompt of {}",
                prompt.masks.len()
            );
            let inter = self.inter(prompt.masks[mask]);
            self.push(&mut sample, start, inter, START_ID);
            for (&token, id) in begun.iter().zip(self.intra.ids(begun)) {
                self.push(&mut sample, token, inter, id);
            }
            sample.begun = begun.len();
        }
        sample.cut = prompt.cut(sample.cut.clamped);
        Ok(sample)
    }

    /// The inter id of a place of the text: `[CLS]` has 0 where there is one (R22).
    fn inter(&self, at: usize) -> u32 {
        at as u32 + u32::from(self.options.cls)
    }

    fn push(&self, sample: &mut Sample, token: u32, inter: u32, intra: u32) {
        let last = self.options.last_position;
        sample.tokens.push(token);
        for (positions, id) in sample.positions.iter_mut().zip([inter, intra]) {
            positions.push(position_row(id, last));
            sample.cut.clamped += u64::from(id > last);
        }
    }
}

/// The row of a table of positions that `id` reads, `last` being the table's last: ids beyond it
/// are clamped (R25). The rule for rows that are made here and for tokens that a decoder produces.
pub fn position_row(id: u32, last: u32) -> u32 {
    id.min(last)
}

/// R10: the text with each span replaced by one mask; and for each span, which mask of the text is
/// its own.
fn corrupt(tokens: &[u32], units: &[Unit], spans: &[Span], mask: u32) -> (Prompt, Vec<usize>) {
    let mut by_start: Vec<usize> = (0..spans.len()).collect();
    by_start.sort_by_key(|&s| spans[s].start);
    let mut order = vec![0; spans.len()];
    let mut prompt = Prompt::default();
    let mut unit = units.iter().peekable();
    for place in 0..=spans.len() {
        // Whole units up to the next span, which must begin where one of them does.
        let until = by_start.get(place).map_or(tokens.len(), |&s| spans[s].start);
        while let Some(kept) = unit.next_if(|unit| (unit.start as usize) < until) {
            let start = prompt.tokens.len() as u32;
            prompt.tokens.extend_from_slice(&tokens[kept.range()]);
            prompt.units.push(Unit { start, ..*kept });
        }
        let Some(&s) = by_start.get(place) else { break };
        let span = &spans[s];
        let mut covered = span.start..span.start;
        while let Some(masked) = unit.next_if(|unit| unit.range().end <= span.end) {
            assert_eq!(
                masked.start as usize, covered.end,
                "SampleBuilder: span {span:?} cuts a unit or overlaps another"
            );
            covered.end = masked.range().end;
        }
        assert!(
            !span.is_empty() && covered == *span,
            "SampleBuilder: span {span:?} cuts a unit, is empty or overlaps"
        );
        order[s] = prompt.masks.len();
        let start = prompt.tokens.len();
        prompt.tokens.push(mask);
        prompt.units.push(Unit { start: start as u32, len: 1, entity: false });
        prompt.masks.push(start);
    }
    (prompt, order)
}
