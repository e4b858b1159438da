//! Scoring all: the log-likelihood of every sequence of a trie (E12d). It chooses among candidates
//! (E10), and is the reference for the beam over small catalogues.
//!
//! The trie is walked depth first in chunks of rows. Keys of a chunk are stored before any row of
//! it attends, so a chunk is one pass, however deep; what two chunks share, a path, is run in both.
//! Nothing but a chunk is ever held.

use super::finite::{all_finite, Found, NotFinite};
use super::scoring::Node;
use super::search::{best_first, Finished, Rules};
use crate::data::{Batch, IntraState, Sample, Trie};
use crate::model::{Extension, KvCache, Likely, Model};
use anyhow::Result;

/// Rows of a pass; a single path that is longer makes a longer one.
const CHUNK: usize = 1024;

/// The best `width` of all sequences of its trie for every prompt, best first; `look_ahead` means
/// nothing here. A score has the bits that the beam gives it, whatever prompts stand beside it.
/// Refuses a model that gives what is no number.
pub fn score_all(model: &Model, asked: &[(Rules, &Sample)]) -> Result<Vec<Vec<Finished>>> {
    all_finite(score_each(model, asked)?)
}

/// As [`score_all`], every prompt with its own end; the rules' scoring is one.
pub fn score_each(model: &Model, asked: &[(Rules, &Sample)]) -> Result<Vec<Found<Vec<Finished>>>> {
    let Some((Rules { scoring, .. }, _)) = asked.first() else { return Ok(Vec::new()) };
    let batch = Batch::of(asked.iter().map(|&(_, prompt)| prompt));
    let (cache, ends) = KvCache::prefill(model, &batch, CHUNK)?;
    let (mut first, mut ids) = (vec![0], Vec::new());
    for (rules, _) in asked {
        rules.scoring.asked(Node::ROOT, rules.trie, rules.end, &mut ids);
        first.push(ids.len() as u32);
    }
    let likely = scoring.log_probs(model, ends.view(), &first, &ids, None)?;
    let roots = asked
        .iter()
        .zip(likely)
        .map(|((rules, _), given)| rules.scoring.known(Node::ROOT, rules.trie, rules.end, given));
    let roots = roots.collect();
    let mut scorer = Scorer {
        model,
        asked,
        cache,
        begun: asked.iter().map(|(rules, prompt)| rules.intra.after(prompt.begun())).collect(),
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
    /// Per request: where the automaton stands behind what is given of the answer.
    begun: Vec<IntraState>,
    /// Per request: log-probabilities of what may follow the root.
    roots: Vec<Vec<Likely>>,
    chunk: Chunk,
    found: Vec<Vec<Finished>>,
}

/// A node on the way from the root to where the walk stands, with the row that runs it.
#[derive(Clone, Copy)]
struct Step {
    at: Node,
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
        let shared = self
            .chunk
            .way
            .iter()
            .zip(path)
            .take_while(|(step, node)| step.at.own == **node)
            .count();
        let rows = self.chunk.extension.rows();
        if rows > 0 && rows + path.len() - shared > CHUNK {
            self.run()?;
        }
        let chunk = &mut self.chunk;
        chunk.way.truncate(shared);
        let mut state = chunk.way.last().map_or(self.begun[request], |step| step.state);
        let mut at = chunk.way.last().map_or(Node::ROOT, |step| step.at);
        let mut slots: Vec<u32> = chunk.way.iter().map(|step| step.row).collect();
        for &node in &path[chunk.way.len()..] {
            let token = rules.trie.token(node);
            let (after, id) = rules.intra.step(state, token);
            state = after;
            at = rules.scoring.child(at, node, token);
            let row = chunk.extension.rows() as u32;
            slots.push(row);
            let position = self.model.config.produced(prompt.mask_inter(), id);
            chunk.extension.push(request as u32, token, position, row, &slots);
            rules.scoring.asked(at, rules.trie, rules.end, &mut chunk.ids);
            chunk.first.push(chunk.ids.len() as u32);
            chunk.way.push(Step { at, row, id, state });
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
        let scoring = self.asked[0].0.scoring;
        let (first, ids) = (&chunk.first, &chunk.ids);
        let mut given = scoring.log_probs(self.model, hidden.view(), first, ids, None)?;
        let mut of_rows: Vec<Option<Vec<Likely>>> = vec![None; rows];
        for (request, way) in &chunk.ends {
            let rules = self.asked[*request].0;
            for step in way {
                let row = step.row as usize;
                if of_rows[row].is_some() {
                    continue;
                }
                let given = std::mem::take(&mut given[row]);
                of_rows[row] = Some(rules.scoring.known(step.at, rules.trie, rules.end, given));
            }
        }
        for (request, way) in &chunk.ends {
            let rules = self.asked[*request].0;
            let mut finished = Finished {
                node: 0,
                score: 0.0,
                tokens: Vec::new(),
                ids: Vec::new(),
                log_probs: Vec::new(),
            };
            let mut known = Some(self.roots[*request].as_slice());
            let (mut sum, mut leaf) = (0.0, Node::ROOT);
            for step in way {
                let place = rules.trie.place(leaf.own, rules.end, step.at.own);
                let log_prob = known.expect("a row on the way was asked")[place].log_prob;
                sum += f64::from(log_prob);
                finished.log_probs.push(log_prob);
                finished.tokens.push(rules.trie.token(step.at.own));
                finished.ids.push(step.id);
                leaf = step.at;
                known = of_rows[step.row as usize].as_deref();
            }
            finished.node = leaf.own;
            let place = rules.trie.end_place(leaf.own, rules.end);
            let place = place.expect("a node where a sequence ends is asked for [END]");
            let last = known.expect("a row on the way was asked")[place].log_prob;
            sum += f64::from(last);
            finished.log_probs.push(last);
            finished.tokens.push(rules.end);
            let length = finished.tokens.len();
            finished.score = rules.scoring.score(sum, length, rules.length_penalty, leaf);
            self.found[*request].push(finished);
        }
        Ok(())
    }
}
