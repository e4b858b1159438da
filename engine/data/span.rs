//! Which units of a text are masked: entity, sentence and document level (R10-R16). No mask splits a unit.

use super::sample::Piece;
use crate::base::Philox;

/// What is drawn how often, and how much (R11-R15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masking {
    /// Weights of entity, sentence and document level.
    pub mix: [f64; 3],
    /// Share of the tokens masked at entity and sentence level.
    pub ratio: f64,
    /// Mean of the span lengths at entity level, before 0 is ruled out.
    pub poisson: f64,
    /// Smallest share of the tokens at document level.
    pub document_min: f64,
    /// Probability that a document-level span is the suffix.
    pub document_suffix: f64,
    /// Spans of part B in GLM's shuffled order instead of the chronological one.
    pub shuffle: bool,
}

impl Default for Masking {
    fn default() -> Self {
        Masking {
            mix: [0.4, 0.3, 0.3],
            ratio: 0.15,
            poisson: 3.0,
            document_min: 0.5,
            document_suffix: 0.5,
            shuffle: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Entity,
    Sentence,
    Document,
}

/// A unit: an entity or one separate token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub tokens: Vec<u32>,
    pub entity: bool,
    /// Whether a sentence ends after it.
    pub ends_sentence: bool,
}

/// Ranges of units in chronological order.
pub type Spans = Vec<std::ops::Range<usize>>;

impl Masking {
    /// Draws a level and its spans. Sentence level is drawn again where there is one sentence only (A19).
    pub fn draw(&self, units: &[Unit], rng: &mut Philox) -> (Level, Spans) {
        let sentences = sentences(units);
        let mut weights = self.mix;
        if sentences.len() < 2 {
            weights[1] = 0.0;
        }
        let total: f64 = weights.iter().sum();
        let mut x = rng.uniform() * total;
        let mut level = Level::Document;
        for (weight, this) in weights.into_iter().zip([Level::Entity, Level::Sentence, Level::Document]) {
            if x < weight {
                level = this;
                break;
            }
            x -= weight;
        }
        let spans = match level {
            Level::Entity => self.entity(units, rng),
            Level::Sentence => self.sentence(units, sentences, rng),
            Level::Document => self.document(units, rng),
        };
        (level, spans)
    }

    /// Runs of whole units of at least a Poisson length, one unmasked unit between them, until the ratio is reached.
    fn entity(&self, units: &[Unit], rng: &mut Philox) -> Spans {
        let total: usize = units.iter().map(|u| u.tokens.len()).sum();
        let budget = (self.ratio * total as f64) as usize;
        let mut taken = vec![false; units.len()];
        let (mut masked, mut spans) = (0, Spans::new());
        let mut misses = 0;
        while spans.is_empty() || (masked < budget && misses < 64) {
            let wanted = poisson_at_least_one(self.poisson, rng);
            let start = rng.below(units.len());
            let (mut end, mut length) = (start, 0);
            while end < units.len() && length < wanted {
                length += units[end].tokens.len();
                end += 1;
            }
            let around = start.saturating_sub(1)..(end + 1).min(units.len());
            if taken[around].iter().any(|&t| t) {
                misses += 1;
                continue;
            }
            taken[start..end].fill(true);
            masked += length;
            spans.push(start..end);
        }
        spans.sort_by_key(|s| s.start);
        spans
    }

    /// Whole sentences until the ratio is reached; neighbours stay spans of their own, at least one sentence is left.
    fn sentence(&self, units: &[Unit], mut sentences: Spans, rng: &mut Philox) -> Spans {
        let total: usize = units.iter().map(|u| u.tokens.len()).sum();
        let budget = (self.ratio * total as f64) as usize;
        rng.shuffle(&mut sentences);
        let (mut masked, mut spans) = (0, Spans::new());
        let most = sentences.len() - 1;
        for sentence in sentences.into_iter().take(most) {
            masked += units[sentence.clone()].iter().map(|u| u.tokens.len()).sum::<usize>();
            spans.push(sentence);
            if masked >= budget {
                break;
            }
        }
        spans.sort_by_key(|s| s.start);
        spans
    }

    /// One span of a length uniform in document_min..1 of the tokens, at unit boundaries: the nearest length in the range
    /// that exists, otherwise the shortest above it.
    fn document(&self, units: &[Unit], rng: &mut Philox) -> Spans {
        let mut ends = vec![0usize];
        for unit in units {
            ends.push(ends[ends.len() - 1] + unit.tokens.len());
        }
        let total = *ends.last().expect("at least the start");
        let least = (self.document_min * total as f64).ceil() as usize;
        let wanted = least + rng.below(total - least + 1);
        let nearest = |candidates: &mut dyn Iterator<Item = (usize, usize)>| {
            candidates.filter(|&(_, l)| l >= least).min_by_key(|&(at, l)| (l.abs_diff(wanted), at))
        };
        if rng.uniform() < self.document_suffix {
            let (start, _) = nearest(&mut (0..units.len()).map(|s| (s, total - ends[s])))
                .expect("the whole text is long enough");
            return vec![start..units.len()];
        }
        // Any start that leaves room for the range; then the nearest end.
        let last = (0..units.len())
            .rev()
            .find(|&s| total - ends[s] >= least)
            .expect("the whole text is long enough");
        let fitting = (0..=last).rev().find(|&s| total - ends[s] >= wanted).unwrap_or(0);
        let start = rng.below(fitting + 1);
        let (end, _) = nearest(&mut (start + 1..=units.len()).map(|e| (e, ends[e] - ends[start])))
            .expect("the rest is long enough");
        vec![start..end]
    }
}

/// Ranges of units that are sentences; the last may lack its end.
fn sentences(units: &[Unit]) -> Spans {
    let mut list = Spans::new();
    let mut start = 0;
    for (i, unit) in units.iter().enumerate() {
        if unit.ends_sentence || i + 1 == units.len() {
            list.push(start..i + 1);
            start = i + 1;
        }
    }
    list
}

/// Poisson of `mean`, drawn again while it is 0.
fn poisson_at_least_one(mean: f64, rng: &mut Philox) -> usize {
    loop {
        let (mut n, mut product) = (0, rng.uniform());
        while product > (-mean).exp() {
            n += 1;
            product *= rng.uniform();
        }
        if n > 0 {
            return n;
        }
    }
}

/// Part A with each span replaced by one `mask`, and the spans' tokens.
pub fn corrupt(units: &[Unit], spans: &Spans, mask: u32) -> (Vec<Piece>, Vec<Vec<u32>>) {
    let mut pieces = Vec::with_capacity(units.len());
    let mut at = 0;
    let keep = |pieces: &mut Vec<Piece>, units: &[Unit]| {
        for unit in units {
            let tokens = unit.tokens.clone();
            pieces.push(if unit.entity { Piece::Entity(tokens) } else { Piece::Plain(tokens) });
        }
    };
    let mut answers = Vec::with_capacity(spans.len());
    for span in spans {
        keep(&mut pieces, &units[at..span.start]);
        pieces.push(Piece::Mask(mask));
        answers.push(units[span.clone()].iter().flat_map(|u| u.tokens.iter().copied()).collect());
        at = span.end;
    }
    keep(&mut pieces, &units[at..]);
    (pieces, answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is drawn: spans ascend, do not touch at entity level, mask at least the least, and put back give the text.
        #[test]
        fn no_unit_is_ever_cut(lengths in prop::collection::vec((1usize..12, any::<bool>(), 0u8..5), 1..60), seed in 0u64..1000) {
            let mut token = 0;
            let units: Vec<Unit> = lengths.iter().map(|&(n, entity, dot)| {
                let n = if entity { n } else { 1 };
                token += n as u32;
                Unit { tokens: (token - n as u32..token).collect(), entity, ends_sentence: !entity && dot == 0 }
            }).collect();
            let total = token as usize;
            let masking = Masking::default();
            let (level, spans) = masking.draw(&units, &mut Philox::new(seed, Stream::Spans, 0));
            prop_assert!(!spans.is_empty());
            let gap = usize::from(level == Level::Entity);
            prop_assert!(spans.windows(2).all(|w| w[0].end + gap <= w[1].start));
            prop_assert!(spans.iter().all(|s| s.start < s.end && s.end <= units.len()));
            let (pieces, answers) = corrupt(&units, &spans, u32::MAX);
            let masked: usize = answers.iter().map(Vec::len).sum();
            if level == Level::Document {
                prop_assert!(2 * masked >= total && spans.len() == 1);
            }
            let mut answers = answers.into_iter();
            let restored: Vec<u32> = pieces.into_iter().flat_map(|p| match p {
                Piece::Entity(t) | Piece::Plain(t) => t,
                Piece::Mask(_) => answers.next().unwrap(),
            }).collect();
            prop_assert_eq!(restored, (0..token).collect::<Vec<_>>());
        }
    }
}
