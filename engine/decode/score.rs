//! Scoring all: the log-likelihood of every sequence of a trie (E12d). It chooses among candidates
//! (E10), and is the reference for the beam over small catalogues.
//!
//! The trie is walked depth first in chunks of rows. Keys of a chunk are stored before any row of
//! it attends, so a chunk is one pass, however deep; what two chunks share, a path, is run in both.
//! Nothing but a chunk is ever held.

use super::finite::{all_finite, Found, NotFinite};
use super::search::{best_first, Finished, Rules};
use crate::data::{Batch, IntraState, Sample, Trie};
use crate::model::{Extension, KvCache, Model};
use anyhow::Result;

/// Rows of a pass; a single path that is longer makes a longer one.
const CHUNK: usize = 1024;

/// The best `width` of all sequences of its trie for every prompt, best first; `look_ahead` means
/// nothing here. A score has the bits that the beam gives it, whatever prompts stand beside it.
/// Refuses a model that gives what is no number.
pub fn score_all(model: &Model, asked: &[(Rules, &Sample)]) -> Result<Vec<Vec<Finished>>> {
    all_finite(score_each(model, asked)?)
}

/// As [`score_all`], every prompt with its own end.
pub fn score_each(model: &Model, asked: &[(Rules, &Sample)]) -> Result<Vec<Found<Vec<Finished>>>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let batch = Batch::of(asked.iter().map(|&(_, prompt)| prompt));
    let (cache, ends) = KvCache::prefill(model, &batch, CHUNK)?;
    let (mut first, mut ids) = (vec![0], Vec::new());
    for (rules, _) in asked {
        rules.trie.legal(Trie::ROOT, rules.end, &mut ids);
        first.push(ids.len() as u32);
    }
    let log_probs = model.log_probs_at(ends.view(), &first, &ids)?;
    let roots =
        first.windows(2).map(|w| log_probs[w[0] as usize..w[1] as usize].to_vec()).collect();
    let mut scorer = Scorer {
        model,
        asked,
        cache,
        roots,
        chunk: Chunk::new(),
        found: vec![Vec::new(); asked.len()],
    };
    for (request, (rules, _)) in asked.iter().enumerate() {
        let trie = rules.trie;
        let mut path: Vec<u32> = Vec::new();
        let mut ahead: Vec<(usize, u32)> =
            trie.children(Trie::ROOT).rev().map(|node| (0, node)).collect();
        while let Some((depth, node)) = ahead.pop() {
            path.truncate(depth);
            path.push(node);
            if trie.is_terminal(node) {
                scorer.add(request, &path)?;
            }
            ahead.extend(trie.children(node).rev().map(|child| (depth + 1, child)));
        }
        scorer.chunk.way.clear();
    }
    scorer.run()?;
    let best = |(mut found, (rules, _)): (Vec<Finished>, &(Rules, &Sample))| {
        if !found.iter().all(|found| found.score.is_finite()) {
            return Err(NotFinite);
        }
        found.sort_by(best_first);
        found.truncate(rules.width);
        Ok(found)
    };
    Ok(scorer.found.into_iter().zip(asked).map(best).collect())
}

struct Scorer<'a> {
    model: &'a Model,
    asked: &'a [(Rules<'a>, &'a Sample)],
    cache: KvCache,
    /// Per request: log-probabilities of what may follow the root.
    roots: Vec<Vec<f32>>,
    chunk: Chunk,
    found: Vec<Vec<Finished>>,
}

/// A node on the way from the root to where the walk stands, with the row that runs it.
#[derive(Clone, Copy)]
struct Step {
    node: u32,
    row: u32,
    id: u32,
    state: IntraState,
}

/// Rows of one pass.
struct Chunk {
    extension: Extension,
    /// What is asked of each row: the legal extensions of its node.
    first: Vec<u32>,
    ids: Vec<u32>,
    way: Vec<Step>,
    /// Sequences that end here: the request, and the way to each.
    ends: Vec<(usize, Vec<Step>)>,
}

impl Chunk {
    fn new() -> Chunk {
        Chunk {
            extension: Extension::new(),
            first: vec![0],
            ids: Vec::new(),
            way: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl Scorer<'_> {
    /// Adds the sequence that ends at the last node of `path`.
    fn add(&mut self, request: usize, path: &[u32]) -> Result<()> {
        let (rules, prompt) = self.asked[request];
        let shared =
            self.chunk.way.iter().zip(path).take_while(|(step, node)| step.node == **node).count();
        let rows = self.chunk.extension.rows();
        if rows > 0 && rows + path.len() - shared > CHUNK {
            self.run()?;
        }
        let chunk = &mut self.chunk;
        chunk.way.truncate(shared);
        let mut state = chunk.way.last().map_or(rules.intra.start(), |step| step.state);
        let mut slots: Vec<u32> = chunk.way.iter().map(|step| step.row).collect();
        for &node in &path[chunk.way.len()..] {
            let token = rules.trie.token(node);
            let (after, id) = rules.intra.step(state, token);
            state = after;
            let row = chunk.extension.rows() as u32;
            slots.push(row);
            let position = self.model.config.produced(prompt.mask_inter(), id);
            chunk.extension.push(request as u32, token, position, row, &slots);
            rules.trie.legal(node, rules.end, &mut chunk.ids);
            chunk.first.push(chunk.ids.len() as u32);
            chunk.way.push(Step { node, row, id, state });
        }
        chunk.ends.push((request, chunk.way.clone()));
        Ok(())
    }

    /// Runs the rows and reads off the sequences that end among them.
    fn run(&mut self) -> Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Chunk::new());
        let rows = chunk.extension.rows();
        if rows == 0 {
            return Ok(());
        }
        self.cache.reserve(self.model, rows)?;
        let hidden = self.cache.extend(self.model, &chunk.extension)?;
        let log_probs = self.model.log_probs_at(hidden.view(), &chunk.first, &chunk.ids)?;
        let of_row = |row: u32| {
            &log_probs[chunk.first[row as usize] as usize..chunk.first[row as usize + 1] as usize]
        };
        for (request, way) in &chunk.ends {
            let rules = self.asked[*request].0;
            let mut finished = Finished {
                node: 0,
                score: 0.0,
                tokens: Vec::new(),
                ids: Vec::new(),
                log_probs: Vec::new(),
            };
            let mut known = self.roots[*request].as_slice();
            let mut sum = 0.0;
            for step in way {
                let place = rules.trie.place(finished.node, rules.end, step.node);
                sum += f64::from(known[place]);
                finished.log_probs.push(known[place]);
                finished.tokens.push(rules.trie.token(step.node));
                finished.ids.push(step.id);
                finished.node = step.node;
                known = of_row(step.row);
            }
            let place = rules.trie.end_place(finished.node, rules.end);
            let last = known[place.expect("a node where a sequence ends is asked for [END]")];
            sum += f64::from(last);
            finished.log_probs.push(last);
            finished.tokens.push(rules.end);
            finished.score = sum / (finished.tokens.len() as f64).powf(rules.length_penalty);
            self.found[*request].push(finished);
        }
        Ok(())
    }
}
