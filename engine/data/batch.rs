//! Rows of many samples, one after another, no padding; and which samples go together.

use super::sample::{Cut, Sample, Target};
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sequences one after another; one row is one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `[R]` token ids.
    pub tokens: Vec<u32>,
    /// [inter, intra], each `[R]`.
    pub positions: [Vec<u32>; 2],
    /// [S + 1] row where each sequence begins; the last entry is the number of rows. Empty in a
    /// batch without sequences.
    pub starts: Vec<u32>,
    /// `[S]` length of part A.
    pub contexts: Vec<u32>,
    /// `[S]` names of the examples, for dropout.
    pub examples: Vec<u64>,
    /// Rows that carry loss, ascending; with the token each predicts and its weight.
    pub target_rows: Vec<u32>,
    /// `[targets]` the token that each target row predicts.
    pub target_ids: Vec<u32>,
    /// `[targets]` what each weighs in the loss.
    pub target_weights: Vec<f32>,
    /// `[targets]` which decision of its item each is, from 1; 0 = of none.
    pub target_decisions: Vec<u32>,
    /// Among what the targets are decided.
    pub choices: Choices,
    /// What its samples do not say.
    pub cut: Cut,
}

/// Among what targets are decided: sets of tokens, of which many targets may have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// Tokens, ascending.
    pub sets: Vec<Arc<[u32]>>,
    /// Of each target, as far as it goes, which set it has; `None` = the whole vocabulary.
    of: Vec<Option<u32>>,
    /// Of each target, as far as it goes, what it is, as in [`super::sample::Among`].
    shares: Vec<Option<Arc<[f32]>>>,
    /// What logits are divided by before they become probabilities among a set.
    pub temperature: f32,
    /// Sets that may be met again.
    wide: Vec<u32>,
}

impl Default for Choices {
    fn default() -> Choices {
        let (sets, of, shares, wide) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Choices { sets, of, shares, temperature: 1.0, wide }
    }
}

impl Choices {
    /// Sets of this many tokens and more are one product over their gathered rows for all targets
    /// that have them; smaller ones cost each target its own. The set alone decides, so that no
    /// result depends on who else asks.
    pub const WIDE: usize = 256;

    /// The set of a target; `None` = the whole vocabulary.
    pub fn of(&self, target: u32) -> Option<u32> {
        self.of.get(target as usize).copied().flatten()
    }

    /// How much of a target each of its choices is; `None` = the target is all of it.
    pub fn shares(&self, target: u32) -> Option<&[f32]> {
        self.shares.get(target as usize)?.as_deref()
    }

    /// Appends what one target is decided among, and what the target is where that is not all of
    /// one token.
    pub fn push(&mut self, tokens: Option<&Arc<[u32]>>, shares: Option<Arc<[f32]>>) {
        let set = tokens.map(|tokens| self.set(tokens));
        self.of.push(set);
        self.shares.push(shares);
    }

    fn set(&mut self, tokens: &Arc<[u32]>) -> u32 {
        let is_wide = tokens.len() >= Choices::WIDE;
        let same = |&&set: &&u32| {
            let known = &self.sets[set as usize];
            Arc::ptr_eq(known, tokens) || known == tokens
        };
        if let Some(&known) = self.wide.iter().filter(|_| is_wide).find(same) {
            return known;
        }
        let new = self.sets.len() as u32;
        self.sets.push(tokens.clone());
        if is_wide {
            self.wide.push(new);
        }
        new
    }

    fn clear(&mut self) {
        let Choices { sets, of, shares, wide, temperature: _ } = self;
        sets.clear();
        of.clear();
        shares.clear();
        wide.clear();
    }
}

impl Batch {
    /// The samples in the given order.
    pub fn of<'s>(samples: impl IntoIterator<Item = &'s Sample>) -> Batch {
        let mut batch = Batch::default();
        samples.into_iter().for_each(|sample| batch.push(sample));
        batch
    }

    /// Appends a sample as one more sequence; its ids and positions stay as they are (R19).
    pub fn push(&mut self, sample: &Sample) {
        let rows = sample.rows();
        assert!(
            rows > 0 && sample.context <= rows && sample.positions.iter().all(|p| p.len() == rows),
            "Batch::push: {rows} tokens, context {}, positions {} and {}",
            sample.context,
            sample.positions[0].len(),
            sample.positions[1].len()
        );
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        let first = self.tokens.len() as u32;
        self.tokens.extend_from_slice(&sample.tokens);
        for (all, own) in self.positions.iter_mut().zip(&sample.positions) {
            all.extend_from_slice(own);
        }
        self.starts.push(self.tokens.len() as u32);
        self.contexts.push(sample.context as u32);
        self.examples.push(sample.example);
        self.cut += sample.cut;
        for Target { row, token, weight, among, decision } in &sample.targets {
            self.target_rows.push(first + row);
            self.target_ids.push(*token);
            self.target_weights.push(*weight);
            self.target_decisions.push(*decision);
            let shares = among.as_ref().and_then(|among| among.shares.clone());
            self.choices.push(among.as_ref().map(|among| &among.tokens), shares);
        }
    }

    /// The same with sets whose logits are divided by `temperature`.
    pub fn at_temperature(mut self, temperature: f32) -> Batch {
        self.choices.temperature = temperature;
        self
    }

    /// Number of rows: tokens of all sequences.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The last row of each sequence, `[S]`.
    pub fn ends(&self) -> Vec<u32> {
        self.starts.iter().skip(1).map(|end| end - 1).collect()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.contexts.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Forgets the sequences, keeps the memory.
    pub fn clear(&mut self) {
        let Batch {
            tokens,
            positions,
            starts,
            contexts,
            examples,
            target_rows,
            target_ids,
            target_weights,
            target_decisions,
            choices,
            cut,
        } = self;
        [tokens, starts, contexts, target_rows, target_ids, target_decisions]
            .into_iter()
            .for_each(Vec::clear);
        positions.iter_mut().for_each(Vec::clear);
        examples.clear();
        target_weights.clear();
        choices.clear();
        *cut = Cut::default();
    }
}

/// Packs are made out of this many budgets' worth of samples at a time: enough for short ones to
/// fill what long ones leave, few enough that what is packed together stays random.
const WINDOW: usize = 64;

/// A pack is closed once it is this full; an emptier one goes back into the next window.
const FULL: f64 = 0.998;

/// Partitions the samples of an epoch into packs of at most `budget` rows.
///
/// `lengths[i]`: rows of sample i. The order is shuffled under (seed, [`Stream::Shuffle`], epoch),
/// cut into windows, each window packed best-fit decreasing; packs that stayed too empty are
/// repacked with the next window. Deterministic. Every sample is in exactly one pack. Within a pack
/// samples are ascending, and packs come in random order.
///
/// Refuses a sample longer than the budget.
pub fn pack(lengths: &[usize], budget: usize, seed: u64, epoch: u64) -> Result<Vec<Vec<usize>>> {
    if let Some(i) = lengths.iter().position(|&length| length > budget) {
        return Err(Fault::Usage.error(format!(
            "setting `batch-rows`: expected room for every example, got {budget} rows for one of \
            {} (sample {i}); raise it, or lower setting `max-row`",
            lengths[i]
        )));
    }
    let mut rng = Philox::new(seed, Stream::Shuffle, epoch);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    rng.shuffle(&mut order);

    let mut packs = Vec::new();
    let mut window = Vec::new();
    let mut rows = 0;
    let mut order = order.into_iter().peekable();
    while let Some(sample) = order.next() {
        window.push(sample);
        rows += lengths[sample];
        let last = order.peek().is_none();
        if rows < WINDOW * budget && !last {
            continue;
        }
        let mut again = Vec::new();
        let before = packs.len();
        for mut pack in best_fit_decreasing(&mut window, lengths, budget) {
            let filled: usize = pack.iter().map(|&i| lengths[i]).sum();
            if last || filled as f64 >= FULL * budget as f64 {
                pack.sort_unstable();
                packs.push(pack);
            } else {
                again.extend(pack);
            }
        }
        // What cannot be packed well must not pile up over the windows.
        if packs.len() == before && !last {
            packs.extend(best_fit_decreasing(&mut again, lengths, budget));
            again.clear();
        }
        rows = again.iter().map(|&i| lengths[i]).sum();
        window = again;
    }
    rng.shuffle(&mut packs);
    Ok(packs)
}

/// Longest first, each into the fullest pack that still has room (ties: the one that filled up
/// first).
fn best_fit_decreasing(samples: &mut [usize], lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    samples.sort_unstable_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut packs: Vec<Vec<usize>> = Vec::new();
    // Room left -> packs with that room.
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &sample in samples.iter() {
        let length = lengths[sample];
        let found = by_room.range(length..).next().map(|(&room, _)| room);
        let (room, pack) = match found {
            Some(room) => {
                let packs = by_room.get_mut(&room).expect("a room just found");
                let pack = packs.pop().expect("rooms without packs are removed");
                if packs.is_empty() {
                    by_room.remove(&room);
                }
                (room, pack)
            }
            None => {
                packs.push(Vec::new());
                (budget, packs.len() - 1)
            }
        };
        packs[pack].push(sample);
        by_room.entry(room - length).or_default().push(pack);
    }
    packs
}
