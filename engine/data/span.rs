//! Units of a text, and which of them a blank-infilling example masks (R1, R5, R10-R16).

use super::trie::Trie;
use crate::base::named::named;
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use std::ops::Range;

/// An entity or one separate token: what a mask takes whole or not at all. Units partition a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// First token.
    pub start: u32,
    /// Tokens; 1 for a separate token.
    pub len: u32,
    /// Whether the unit is an entity.
    pub entity: bool,
}

impl Unit {
    /// Its tokens, as places in the text.
    pub fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// A run of whole units that one mask stands for, in tokens.
pub type Span = Range<usize>;

/// Cuts `tokens` into units: the annotated entities, and between them the leftmost-longest matches
/// of the pool (R5); everything else is separate tokens.
///
/// `annotated`: entities in order, not overlapping, not empty. A match never straddles one. Without
/// a pool the text between is separate tokens (`--segment-free-text none`).
pub fn segment(pool: Option<&Trie>, tokens: &[u32], annotated: &[Span]) -> Vec<Unit> {
    let mut units = Vec::with_capacity(tokens.len());
    let mut at = 0;
    for entity in annotated {
        assert!(
            at <= entity.start && entity.start < entity.end && entity.end <= tokens.len(),
            "segment: entity {entity:?} does not follow token {at} inside {} tokens",
            tokens.len()
        );
        segment_free(pool, tokens, at..entity.start, &mut units);
        units.push(Unit { start: entity.start as u32, len: entity.len() as u32, entity: true });
        at = entity.end;
    }
    segment_free(pool, tokens, at..tokens.len(), &mut units);
    units
}

fn segment_free(pool: Option<&Trie>, tokens: &[u32], range: Range<usize>, units: &mut Vec<Unit>) {
    let mut at = range.start;
    while at < range.end {
        let entity = pool.map_or(0, |pool| pool.longest_match(&tokens[at..range.end]));
        units.push(Unit { start: at as u32, len: entity.max(1) as u32, entity: entity > 0 });
        at += entity.max(1);
    }
}

/// What one mask stands for; each has a token of its own (R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `[MASK]`
    Entity,
    /// `[sMASK]`
    Sentence,
    /// `[gMASK]`
    Document,
}

/// In which order the spans of an example stand in part B (R15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanOrder {
    /// By start.
    #[default]
    Chrono,
    /// At random, as GLM does.
    Shuffle,
}

named! {
    /// What a span is a run of (R10).
    pub enum MaskUnits: "mask-units" {
        /// Units: entities stay whole.
        Entity = "entity",
        /// Tokens, as GLM masks: a span may cut an entity.
        Token = "token",
    }
}

/// Every token as a unit of its own.
fn separate(range: Range<usize>) -> impl Iterator<Item = Unit> {
    range.map(|start| Unit { start: start as u32, len: 1, entity: false })
}

/// `units`, in which what is left of an entity that one of `spans` cuts, and what the span takes of
/// it, are separate tokens: a part of an entity is none. Where no span cuts one they are the same.
pub fn cut(units: &[Unit], spans: &[Span]) -> Vec<Unit> {
    let inside = |at: usize, unit: Range<usize>| unit.start < at && at < unit.end;
    let is_cut = |unit: Range<usize>| {
        spans.iter().any(|s| inside(s.start, unit.clone()) || inside(s.end, unit.clone()))
    };
    let mut all = Vec::with_capacity(units.len());
    for unit in units {
        match is_cut(unit.range()) {
            true => all.extend(separate(unit.range())),
            false => all.push(*unit),
        }
    }
    all
}

/// How examples are masked (R11-R15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masking {
    /// What spans are runs of.
    pub units: MaskUnits,
    /// Weights of entity, sentence and document level.
    pub mix: [f64; 3],
    /// Share of the tokens that entity and sentence level mask.
    pub ratio: f64,
    /// Mean of the Poisson distribution of span lengths, before lengths of 0 are left out.
    pub poisson: f64,
    /// Shortest document-level span as a share of the text.
    pub doc_min: f64,
    /// Probability that the document-level span is a suffix.
    pub doc_suffix: f64,
    /// In which order spans stand in part B.
    pub order: SpanOrder,
}

impl Default for Masking {
    fn default() -> Self {
        Masking {
            units: MaskUnits::Entity,
            mix: [0.4, 0.3, 0.3],
            ratio: 0.15,
            poisson: 3.0,
            doc_min: 0.5,
            doc_suffix: 0.5,
            order: SpanOrder::Chrono,
        }
    }
}

impl Masking {
    /// Refuses settings under which no mask could be drawn.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, range: &str, got: String| {
            Err(Fault::Usage.error(format!(
                "masking: {name}: expected {range}, got {got}; see the settings of training"
            )))
        };
        if self.mix.iter().any(|&w| !(0.0..=f64::MAX).contains(&w))
            || self.mix.iter().sum::<f64>() <= 0.0
        {
            return refuse(
                "mix",
                "three weights, not negative, not all 0",
                format!("{:?}", self.mix),
            );
        }
        for (name, share) in
            [("ratio", self.ratio), ("doc-min", self.doc_min), ("doc-suffix", self.doc_suffix)]
        {
            if !(0.0..=1.0).contains(&share) {
                return refuse(name, "a share from 0 to 1", share.to_string());
            }
        }
        if !(0.01..=100.0).contains(&self.poisson) {
            return refuse("poisson", "a mean from 0.01 to 100", self.poisson.to_string());
        }
        Ok(())
    }

    /// The longest text, in tokens, of which every masked row has at most `max_row` tokens: a span
    /// adds two (its mask and its `[START]`), and a text itself `[CLS]` and end-of-text.
    pub fn longest_text(&self, max_row: usize) -> usize {
        let row = |text: usize| text + 2 * (self.budget(text) + 1) + 2;
        (0..=max_row).rev().find(|&text| row(text) <= max_row).unwrap_or(0)
    }

    fn budget(&self, tokens: usize) -> usize {
        (self.ratio * tokens as f64).floor() as usize
    }

    /// Draws a level and its spans for the example numbered `index` (R10-R16).
    ///
    /// `units` partition the text of at least one token; `ends_sentence` says which of its tokens
    /// end one (R12), and is asked about separate tokens only. The spans are runs of whole units,
    /// or of tokens where masks are drawn over these, in the order of part B.
    pub fn draw(
        &self,
        units: &[Unit],
        ends_sentence: impl Fn(usize) -> bool,
        seed: u64,
        index: u64,
    ) -> (Level, Vec<Span>) {
        assert!(!units.is_empty(), "Masking::draw: a text without units");
        let tokens: Vec<Unit>;
        let units = match self.units {
            MaskUnits::Entity => units,
            MaskUnits::Token => {
                tokens = separate(0..token_count(units)).collect();
                &tokens
            }
        };
        let mut rng = Philox::new(seed, Stream::Spans, index);
        let sentences = sentences(units, ends_sentence);
        let mut mix = self.mix;
        if sentences.len() < 2 {
            // A19: a single sentence would mask everything. Redrawing until another level comes up
            // is leaving it out.
            mix[1] = 0.0;
            if mix.iter().sum::<f64>() <= 0.0 {
                mix[0] = 1.0;
            }
        }
        let level = match pick(&mix, &mut rng) {
            0 => Level::Entity,
            1 => Level::Sentence,
            _ => Level::Document,
        };
        let mut spans = match level {
            Level::Entity => self.entity_spans(units, &mut rng),
            Level::Sentence => self.sentence_spans(units, sentences, &mut rng),
            Level::Document => vec![self.document_span(units, &mut rng)],
        };
        match self.order {
            SpanOrder::Chrono => spans.sort_by_key(|span| span.start),
            SpanOrder::Shuffle => rng.shuffle(&mut spans),
        }
        (level, spans.into_iter().map(|run| tokens_of(units, run)).collect())
    }

    /// R11, in units. A length for which no run is free is tried again one shorter; the text is
    /// full when none of one token is.
    fn entity_spans(&self, units: &[Unit], rng: &mut Philox) -> Vec<Range<usize>> {
        let budget = self.budget(token_count(units));
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut masked = 0;
        // [units] masked, or next to a masked one.
        let mut taken = vec![false; units.len()];
        while masked < budget || spans.is_empty() {
            let mut length = poisson_positive(self.poisson, rng);
            let runs = loop {
                let runs = free_runs(units, &taken, length);
                if !runs.is_empty() || length == 1 {
                    break runs;
                }
                length -= 1;
            };
            if runs.is_empty() {
                break;
            }
            let run = runs[rng.below(runs.len())].clone();
            masked += tokens_of(units, run.clone()).len();
            taken[run.start.saturating_sub(1)..(run.end + 1).min(units.len())].fill(true);
            spans.push(run);
        }
        spans
    }

    /// R12, in units.
    fn sentence_spans(
        &self,
        units: &[Unit],
        mut sentences: Vec<Range<usize>>,
        rng: &mut Philox,
    ) -> Vec<Range<usize>> {
        let wanted = self.ratio * token_count(units) as f64;
        rng.shuffle(&mut sentences);
        let mut masked = 0;
        let enough = sentences.iter().position(|sentence| {
            masked += tokens_of(units, sentence.clone()).len();
            masked as f64 >= wanted
        });
        sentences.truncate(enough.map_or(sentences.len(), |last| last + 1));
        sentences
    }

    /// R13, in units. A length is drawn in tokens; of the runs at the allowed place those whose
    /// length is nearest to it (the shorter of two as near) are equally likely.
    fn document_span(&self, units: &[Unit], rng: &mut Philox) -> Range<usize> {
        let n = token_count(units);
        let least = ((self.doc_min * n as f64).ceil() as usize).clamp(1, n);
        let length = least + rng.below(n - least + 1);
        let suffix = rng.uniform() < self.doc_suffix;
        let last = units.len();
        let mut nearest = (usize::MAX, usize::MAX);
        let mut runs = Vec::new();
        let mut consider = |run: Range<usize>| {
            let tokens = tokens_of(units, run.clone()).len();
            // The whole text is always long enough, so there is always a run.
            if tokens >= least {
                let key = (tokens.abs_diff(length), tokens);
                if key < nearest {
                    nearest = key;
                    runs.clear();
                }
                if key == nearest {
                    runs.push(run);
                }
            }
        };
        if suffix {
            (0..last).for_each(|start| consider(start..last));
        } else {
            let mut end = 0;
            for start in 0..last {
                // The first end at which the run is long enough, and the one before it.
                while end < last && tokens_of(units, start..end.max(start)).len() < length {
                    end += 1;
                }
                if end > start + 1 {
                    consider(start..end - 1);
                }
                if end > start {
                    consider(start..end);
                }
            }
        }
        runs.swap_remove(rng.below(runs.len()))
    }
}

fn token_count(units: &[Unit]) -> usize {
    units.last().map_or(0, |unit| unit.range().end)
}

/// The tokens of a run of units.
fn tokens_of(units: &[Unit], run: Range<usize>) -> Span {
    match run.is_empty() {
        true => 0..0,
        false => units[run.start].range().start..units[run.end - 1].range().end,
    }
}

/// R12: runs of units that end behind a separate token which ends a sentence. Punctuation inside an
/// entity is not asked about.
fn sentences(units: &[Unit], ends_sentence: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (i, unit) in units.iter().enumerate() {
        if i + 1 == units.len() || (!unit.entity && ends_sentence(unit.start as usize)) {
            sentences.push(start..i + 1);
            start = i + 1;
        }
    }
    sentences
}

/// From every start the shortest run of units, none of them taken, with at least `length` tokens.
fn free_runs(units: &[Unit], taken: &[bool], length: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut end, mut tokens) = (0, 0);
    for start in 0..units.len() {
        if taken[start] {
            continue;
        }
        if end <= start {
            (end, tokens) = (start, 0);
        }
        while end < units.len() && !taken[end] && tokens < length {
            tokens += units[end].len as usize;
            end += 1;
        }
        if tokens >= length {
            runs.push(start..end);
        }
        tokens -= units[start].len as usize;
    }
    runs
}

/// An index with probability proportional to its weight.
fn pick(weights: &[f64; 3], rng: &mut Philox) -> usize {
    let mut u = rng.uniform() * weights.iter().sum::<f64>();
    for (i, &weight) in weights.iter().enumerate() {
        if u < weight {
            return i;
        }
        u -= weight;
    }
    // Rounding alone gets here.
    weights.iter().rposition(|&weight| weight > 0.0).expect("a positive weight")
}

/// Poisson with the given mean, conditioned on at least 1, by inversion.
fn poisson_positive(mean: f64, rng: &mut Philox) -> usize {
    let mut probability = (-mean).exp();
    let mut u = rng.uniform() * (1.0 - probability);
    let mut k = 0;
    loop {
        k += 1;
        probability *= mean / k as f64;
        if u < probability || k as f64 > mean + 40.0 * mean.max(1.0) {
            return k;
        }
        u -= probability;
    }
}

/// Whether a token's text ends a sentence where it stands alone (R12).
pub fn is_sentence_end(text: &str) -> bool {
    text.contains(['.', '?', '!', ';', ':', '…', '\n', '。', '？', '！', '；', '：'])
}
