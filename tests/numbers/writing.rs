//! Free writing against its rule, word for word: over a scorer of random numbers, and over models
//! of both families that are small enough to try every text.

mod reading;
mod rule;
mod texts;

use engine::base::{Dtype, Philox, Stream};
use engine::data::sample::{Prompt, SampleOptions};
use engine::data::text::Piece;
use engine::data::{Batch, Intra, IntraMode, Sample, SampleBuilder, Special, Trie};
use engine::decode::{Grammar, Limits, Writing};
use engine::device::Device;
use engine::model::{encode, write_safetensors, Checkpoint, Config, Entry, Model, Tune};
use serde_json::json;

const FAMILIES: [&str; 2] = ["glm", "chatglm"];
const WORDS: u32 = 5;
const SPECIAL: Special =
    Special { eos: 5, end: 6, start: 7, smask: 8, gmask: 9, mask: 10, cls: 11 };
const SPECIALS: [u32; 7] = [5, 6, 7, 8, 9, 10, 11];

/// The tensor of which some rows are too large for sums of f32.
#[derive(Clone, Copy, PartialEq)]
enum Damage {
    None,
    /// Of the embedding, the row of the word 3.
    Word,
    FinalNorm,
}

/// A model of five words and seven special tokens, with random weights.
fn tiny(family: &str, device: &Device, damage: Damage) -> Model {
    let config = Config::from_json(&json!({"model_type": family, "num_layers": 2,
        "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 12,
        "max_sequence_length": 64}))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let specs = config.tensors();
    let entries: Vec<Entry> = specs
        .iter()
        .map(|s| Entry { name: s.name.clone(), shape: s.shape, dtype: Dtype::F32 })
        .collect();
    write_safetensors(&folder.path().join("model.safetensors"), &entries, |i| {
        let mut rng = Philox::new(7, Stream::Synthetic, i as u64);
        let count = entries[i].shape.count();
        let mut values: Vec<f32> = (0..count).map(|_| 2.0 * rng.uniform() as f32 - 1.0).collect();
        if damage == Damage::Word && entries[i].name.contains("word_embeddings") {
            values[3 * 16..4 * 16].fill(f32::MAX);
        }
        if damage == Damage::FinalNorm && entries[i].name.contains("final_layernorm") {
            values.fill(f32::MAX);
        }
        Ok(encode(&values, Dtype::F32))
    })
    .unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Model::load(device, config, checkpoint, Dtype::F32, &Tune::Nothing, 0).unwrap()
}

fn cpu(threads: usize) -> Device {
    Device::open("cpu", threads).unwrap()
}

/// An automaton that knows two entities of the five words.
fn intra() -> Intra<'static> {
    Intra::new(Trie::build(&[vec![0, 1], vec![2]], &[0, 1]), IntraMode::default())
}

fn rows(intra: &Intra<'static>) -> SampleBuilder<'static> {
    let options = SampleOptions { last_position: 64, ..SampleOptions::default() };
    SampleBuilder::new(SPECIAL, intra.clone(), options)
}

fn limits<'a>(intra: &'a Intra<'a>, tokens: usize) -> Limits<'a> {
    Limits { intra, start: SPECIAL.start, end: SPECIAL.end, specials: &SPECIALS, tokens }
}

/// A few words and masks among them.
fn text(rng: &mut Philox, masks: usize) -> Prompt {
    let mut text = Prompt::default();
    for _ in 0..masks {
        for _ in 0..1 + rng.below(4) {
            text.push(Piece::plain(&[rng.below(WORDS as usize) as u32]));
        }
        text.push_mask([SPECIAL.mask, SPECIAL.gmask][rng.below(2)]);
    }
    text
}

/// Logits behind the last row of a sample, in one pass without a cache.
fn forced(model: &Model, sample: &Sample) -> Vec<f32> {
    let last = model.hidden(&Batch::of([sample]), |_, _| Ok(())).unwrap();
    let normed = model.finish(&last).unwrap();
    let end = sample.tokens.len();
    let logits = model.logits(normed.view().row_range(end - 1..end)).unwrap();
    model.device.download_f32(logits.view()).unwrap()
}

/// Logits behind a text that fills the mask after those that `before` fills.
fn forced_after(
    model: &Model,
    rows: &SampleBuilder,
    text: &Prompt,
    before: &[&[u32]],
    tokens: &[u32],
) -> Vec<f32> {
    let mut sample = rows.prompt_after(0, text, before).unwrap();
    let mask = sample.mask_inter();
    for (&token, id) in tokens.iter().zip(rows.intra().ids(tokens)) {
        sample.tokens.push(token);
        sample.positions[0].push(mask);
        sample.positions[1].push(id);
    }
    forced(model, &sample)
}

/// The logits as a way of writing has them behind `tokens`.
fn changed(mut logits: Vec<f32>, tokens: &[u32], limits: &Limits, writing: &Writing) -> Vec<f32> {
    for (token, x) in (0u32..).zip(&mut logits) {
        if tokens.contains(&token) {
            *x = match *x > 0.0 {
                true => *x / writing.repetition_penalty,
                false => *x * writing.repetition_penalty,
            };
        }
        if tokens.len() < writing.min_tokens && limits.is_end(token) {
            *x = f32::NEG_INFINITY;
        }
    }
    logits
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x.into()));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    logits.iter().map(|&x| (f64::from(x) - most - sum.ln()) as f32).collect()
}

/// An answer as the rule has it.
#[derive(Clone, Debug, PartialEq)]
struct Expected {
    tokens: Vec<u32>,
    score: f64,
    ended: bool,
}

/// A beam: its sum and its tokens.
type Beam = (f64, Vec<u32>);

/// The rule of beams, word for word, on texts (docs/rules.md E12b); `logits` are those behind a
/// text.
fn literal(
    logits: impl Fn(&[u32]) -> Vec<f32>,
    grammar: &Grammar,
    limits: &Limits,
    writing: &Writing,
) -> Vec<Expected> {
    let width = writing.width();
    let score = |sum: f64, length: usize| sum / (length.max(1) as f64).powf(writing.length_penalty);
    let mut groups: Vec<Vec<Beam>> = vec![vec![(0.0, Vec::new())]; writing.groups];
    let mut ended = vec![0; writing.groups];
    let (mut finished, mut cut) = (Vec::new(), Vec::new());
    for length in 0..=limits.tokens {
        let mut written: Vec<u32> = Vec::new();
        for (group, ended) in groups.iter_mut().zip(&mut ended) {
            let mut all = Vec::new();
            for (sum, tokens) in group.iter() {
                let logits = changed(logits(tokens), tokens, limits, writing);
                let log_probs = log_softmax(&logits);
                let place =
                    tokens.iter().fold(grammar.start(), |at, &token| grammar.step(&at, token));
                let legal = grammar.legal(&place, limits.end);
                for (token, &log_prob) in (0u32..).zip(&log_probs) {
                    let may = legal.as_ref().is_none_or(|legal| legal.contains(&token));
                    if !may || log_prob == f32::NEG_INFINITY {
                        continue;
                    }
                    let sum = sum + f64::from(log_prob);
                    let same = written.iter().filter(|&&other| other == token).count() as f64;
                    let worth = sum - writing.diversity * same;
                    let logit = if legal.is_some() { 0.0 } else { logits[token as usize] };
                    all.push((worth, tokens.clone(), logit, token, sum));
                }
            }
            all.sort_by(|a, b| {
                let by_worth = b.0.total_cmp(&a.0);
                by_worth.then(a.1.cmp(&b.1)).then(b.2.total_cmp(&a.2)).then(a.3.cmp(&b.3))
            });
            all.truncate(width);
            let full = length == limits.tokens;
            let mut closed = Vec::new();
            let live = std::mem::take(group);
            for (_, tokens, _, token, sum) in all {
                if limits.is_end(token) {
                    *ended += 1;
                    finished.push((score(sum, length + 1), tokens.clone()));
                    closed.push(tokens);
                } else if !full {
                    written.push(token);
                    group.push((sum, [&tokens[..], &[token]].concat()));
                }
            }
            if full {
                let open = live.into_iter().filter(|(_, tokens)| !closed.contains(tokens));
                cut.extend(open.map(|(sum, tokens)| (score(sum, length), tokens)));
            }
            if writing.early_stopping && *ended >= width {
                group.clear();
            }
        }
    }
    let mut best = Vec::new();
    for (ended, mut kind) in [(true, finished), (false, cut)] {
        let key = |tokens: &[u32]| [tokens, &[limits.end]].concat();
        kind.sort_by(|a: &Beam, b: &Beam| {
            b.0.total_cmp(&a.0).then_with(|| key(&a.1).cmp(&key(&b.1)))
        });
        let mut kept: Vec<Expected> = Vec::new();
        for (score, tokens) in kind {
            if !kept.iter().any(|other| other.tokens == tokens) {
                kept.push(Expected { tokens, score, ended });
            }
        }
        best.extend(kept);
    }
    best.truncate(writing.returned);
    best
}

/// Ways of writing that differ in everything.
fn writings() -> Vec<Writing> {
    let beams = Writing { beams: 4, returned: 4, ..Writing::GREEDY };
    vec![
        Writing::GREEDY,
        Writing { length_penalty: 0.0, ..beams },
        Writing { early_stopping: true, returned: 2, ..beams },
        Writing { min_tokens: 2, length_penalty: 2.0, ..beams },
        Writing { repetition_penalty: 1.7, min_tokens: 1, ..beams },
        Writing { repetition_penalty: 0.7, length_penalty: 0.5, ..beams },
        Writing { beams: 6, groups: 3, returned: 5, diversity: 1.5, min_tokens: 1, ..beams },
        Writing { beams: 3, groups: 3, returned: 3, diversity: 0.4, early_stopping: true, ..beams },
    ]
}
