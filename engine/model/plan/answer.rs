//! Decoding as allocations: prefill, room for produced tokens, their passes, log-probabilities; the
//! order of [`crate::model::pass::cache`] and of the loop that uses it.

use super::pass::Pass;
use super::setup::Setup;
use super::tally::{Block, Part, Tally};
use crate::model::config::LinearName;
use crate::model::pass::layer::Saved;
use crate::model::pass::rows::Purpose;

/// Requests that are decoded together.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoding {
    /// Number of requests.
    pub prompts: usize,
    /// Rows of all prompts.
    pub prompt_rows: usize,
    /// Produced tokens of all requests for which the cache has room at first.
    pub slots: usize,
    /// In their order.
    pub passes: Vec<Produced>,
    /// Tokens that are asked about behind a row, or whose logits are changed there, at most.
    pub choices: usize,
    /// Rows of the head that are gathered for a product, at most; 0 where the whole vocabulary
    /// decides.
    pub gathered: usize,
}

/// Rows that are read once, without a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Rows of all sequences.
    pub rows: usize,
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens that are asked about behind each, at most; none where only its embedding is wanted.
    pub choices: usize,
}

/// One pass over produced tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Produced tokens, one a row.
    pub rows: usize,
    /// Lengths of all rows' paths together.
    pub path: usize,
    /// Slots used by all passes so far, this one included.
    pub used: usize,
}

/// Keys and values of every layer.
struct Cache {
    _prompt: Vec<Block>,
    tail: Vec<Block>,
    slots: usize,
}

pub(super) fn walk(setup: &Setup, decoding: &Decoding, tally: &Tally) {
    tally.at("prompts");
    let (mut cache, _ends) = prefill(setup, decoding, tally);
    let _rows = gather(setup, decoding.gathered, tally);
    log_probs(setup, decoding.prompts, decoding.choices, tally);
    tally.at("produced tokens");
    for pass in &decoding.passes {
        cache.reserve(setup, pass.used, tally);
        let _hidden = extend(setup, pass, tally);
        let _rows = gather(setup, decoding.gathered, tally);
        log_probs(setup, pass.rows, decoding.choices, tally);
    }
}

pub(super) fn read(setup: &Setup, reading: &Reading, tally: &Tally) {
    tally.at("reading");
    let _ends = ends(setup, reading, tally);
    if reading.choices > 0 {
        log_probs(setup, reading.sequences, reading.choices, tally);
    }
}

/// `Model::ends`
fn ends(setup: &Setup, reading: &Reading, tally: &Tally) -> Block {
    let pass = Pass::answering(setup, tally, reading.rows);
    let last = pass.over(Some(reading.sequences));
    let inputs = (pass.inputs(), last.read());
    let mut x = pass.hidden();
    for layer in 0..setup.config.layers {
        let read = pass.behind(layer, reading.sequences);
        x = pass.layer(&mut Saved::new(x), Purpose::Inference, read);
    }
    drop(inputs);
    last.norm().0
}

/// Bytes of a row of keys and values of one layer.
fn row_bytes(setup: &Setup) -> usize {
    2 * setup.config.hidden * setup.dtype.size()
}

/// `KvCache::prefill`
fn prefill(setup: &Setup, decoding: &Decoding, tally: &Tally) -> (Cache, Block) {
    let pass = Pass::answering(setup, tally, decoding.prompt_rows);
    let last = pass.over(Some(decoding.prompts));
    let _inputs = (pass.inputs(), last.read());
    let _all = tally.hold(Part::Inputs, 4 * pass.rows);
    let mut cache = Cache { _prompt: Vec::new(), tail: Vec::new(), slots: decoding.slots };
    let mut x = pass.hidden();
    for layer in 0..setup.config.layers {
        let mut saved = Saved::new(x);
        x = pass.layer(&mut saved, Purpose::Inference, pass.behind(layer, decoding.prompts));
        cache._prompt.push(tally.hold(Part::Prompt, pass.rows * row_bytes(setup)));
        cache.tail.push(tally.hold(Part::Tail, decoding.slots.max(1) * row_bytes(setup)));
    }
    let ends = last.norm().0;
    drop(x);
    (cache, ends)
}

impl Cache {
    /// `KvCache::reserve`
    fn reserve(&mut self, setup: &Setup, slots: usize, tally: &Tally) {
        if slots <= self.slots {
            return;
        }
        let slots = slots.max(2 * self.slots);
        for tail in &mut self.tail {
            *tail = tally.hold(Part::Tail, slots * row_bytes(setup));
        }
        self.slots = slots;
    }
}

/// `KvCache::extend`
fn extend(setup: &Setup, produced: &Produced, tally: &Tally) -> Block {
    let pass = Pass::answering(setup, tally, produced.rows);
    let _inputs = pass.inputs();
    let words = pass.rows + (pass.rows + 1) + produced.path + 2 * pass.rows;
    let _places = tally.hold(Part::Inputs, 4 * words);
    let mut x = pass.hidden();
    for _ in 0..setup.config.layers {
        let mut saved = Saved::new(x);
        let normed = pass.norm().0;
        let qkv = pass.activations(3 * setup.config.hidden);
        pass.linear(LinearName::QueryKeyValue, Purpose::Inference);
        let context = pass.hidden();
        saved.normed = Some(normed);
        saved.qkv = Some(qkv);
        saved.context = Some(context);
        x = pass.layer(&mut saved, Purpose::Inference, None);
    }
    pass.norm().0
}

/// `Model::log_probs_at` and `Model::log_probs_among`, and `Model::choose`: ids and values of all
/// rows, and logits, of which the first chunk is the largest.
fn log_probs(setup: &Setup, rows: usize, choices: usize, tally: &Tally) {
    let _ids_and_values = tally.hold(Part::Work, 8 * rows * choices);
    let vocabulary = setup.config.vocabulary;
    let rows = rows.min(setup.chunk());
    let _logits = tally.hold(Part::Logits, 4 * rows * vocabulary);
    let _places = tally.hold(Part::Inputs, 4 * (rows + 1));
}

/// `Model::gathered`, beside logits that are no wider than the vocabulary's.
fn gather(setup: &Setup, rows: usize, tally: &Tally) -> Block {
    tally.hold(Part::Work, rows * setup.config.hidden * setup.dtype.size())
}
