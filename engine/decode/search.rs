//! Trie-constrained beam search, exactly: every step takes every legal extension of every live
//! beam; the best W stay; an extension by [END] among them moves to the finished pool with score
//! sum/length^alpha; the search ends when no beam is live (E12b). Knows no model: it asks for
//! log-probabilities and is given them.
//!
//! A beam is a node of the trie, so a number once computed is known for good. *Look-ahead* is an
//! order of evaluation, not another search: when a node is asked for, the run of only-children
//! below it is asked for too, and the rule above is then replayed on known numbers; a further pass
//! is needed only where a live beam lacks one.

use super::finite::{Found, NotFinite};
use super::scoring::{Node, Scoring, CERTAIN};
use crate::data::{Intra, IntraState, Trie};
use crate::model::Likely;

/// What is fixed for all requests.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// What may be written.
    pub trie: &'a Trie<'a>,
    /// Numbers the produced tokens.
    pub intra: &'a Intra<'a>,
    /// The token that ends an item.
    pub end: u32,
    /// Over what probabilities are taken.
    pub scoring: Scoring<'a>,
    /// Whether the best W items are found, whatever a beam would miss; alpha is 0 then (E31).
    pub exact: bool,
    /// W.
    pub width: usize,
    /// alpha of sum/length^alpha.
    pub length_penalty: f64,
    /// Whether runs of only-children are evaluated in one pass. The result does not depend on it.
    pub look_ahead: bool,
}

/// A node of the trie that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub at: Node,
    parent: u32,
    state: IntraState,
    /// The intra id with which the node's token is fed.
    id: u32,
    /// Whether its row was asked for.
    asked: bool,
    /// The legal extensions, by their place in token order, that a search of this width can need;
    /// empty until they are known.
    pub likely: Vec<Likely>,
    /// Where in `known` each child stands once it was asked for, in child order; `u32::MAX` before.
    children: Vec<u32>,
}

/// A row to be evaluated: the token of a node, fed after its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the row within this search; row 0 is the prompt's last row and is never wanted.
    pub row: u32,
    /// The row after which it is fed.
    pub parent: u32,
    /// What is fed.
    pub token: u32,
    /// Intra id of the token.
    pub id: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Beam {
    pub known: u32,
    pub sum: f64,
}

/// An item's token sequence that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Trie node; its members are the items.
    pub node: u32,
    /// Sum of log-probabilities / length^alpha; of shares, that of each item.
    pub score: f64,
    /// The produced tokens, `[END]` included.
    pub tokens: Vec<u32>,
    /// Intra ids with which the tokens but `[END]` were fed.
    pub ids: Vec<u32>,
    /// One a token.
    pub log_probs: Vec<f32>,
}

/// The order of results: by score, equal scores by their tokens.
pub(super) fn best_first(a: &Finished, b: &Finished) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then_with(|| a.tokens.cmp(&b.tokens))
}

/// The search of one request.
pub struct Search<'a> {
    pub(super) rules: Rules<'a>,
    pub(super) known: Vec<Known>,
    pub(super) live: Vec<Beam>,
    /// (row of the node, score)
    pub(super) finished: Vec<(u32, f64)>,
    steps: u32,
    /// Whether all numbers so far are numbers; where one is not, no list is worth anything.
    finite: bool,
}

/// An extension of a live beam. Orders by sum, then by trie order: at one depth nodes are numbered
/// in the order of their token sequences, so (node, token) compares paths.
#[derive(Clone, Copy)]
struct Candidate {
    sum: f64,
    node: u32,
    token: u32,
    known: u32,
    /// Child node, `None` for [END].
    child: Option<(u32, u32)>,
}

impl<'a> Search<'a> {
    /// A search behind `begun`, what is given of the answer. Its row 0, the prompt's last row,
    /// still needs its log-probabilities: see [`Search::extensions`].
    pub fn new(rules: Rules<'a>, begun: &[u32]) -> Search<'a> {
        let root = Known {
            at: Node::ROOT,
            parent: 0,
            state: rules.intra.after(begun),
            id: 1,
            asked: true,
            likely: Vec::new(),
            children: vec![u32::MAX; rules.trie.children(Trie::ROOT).len()],
        };
        Search {
            rules,
            known: vec![root],
            live: vec![Beam { known: 0, sum: 0.0 }],
            finished: Vec::new(),
            steps: 0,
            finite: true,
        }
    }

    /// The tokens whose log-probabilities `row` is asked for, ascending: what may follow it, the
    /// children of its node and `[END]` where an item ends there; none where nothing is decided.
    pub fn extensions(&self, row: u32, tokens: &mut Vec<u32>) {
        let Rules { scoring, trie, end, .. } = self.rules;
        scoring.asked(self.known[row as usize].at, trie, end, tokens);
    }

    /// How many of a row's extensions, the best ones, are all that the search can need; `None`:
    /// all.
    pub fn needed(&self) -> Option<usize> {
        let Rules { scoring, trie, exact, width, .. } = self.rules;
        if exact {
            return None;
        }
        scoring.needed(trie, width)
    }

    /// The log-probabilities of [`Search::extensions`] of `row`, by their place there: all in that
    /// order, or the best [`Search::needed`]. One that is not finite ends the search without a
    /// result.
    pub fn supply(&mut self, row: u32, likely: Vec<Likely>) {
        if !likely.iter().all(|one| one.log_prob.is_finite()) {
            self.finite = false;
            self.live.clear();
        }
        let Rules { scoring, trie, end, .. } = self.rules;
        let known = &mut self.known[row as usize];
        known.likely = scoring.known(known.at, trie, end, likely);
    }

    /// Replays the rule as far as the numbers go; then appends the rows that must be evaluated.
    /// None: the search is over.
    pub fn advance(&mut self, wanted: &mut Vec<Wanted>) {
        if self.rules.exact {
            return self.advance_exactly(wanted);
        }
        while !self.live.is_empty() {
            let before = wanted.len();
            for beam in self.live.clone() {
                if self.is_unknown(&beam) {
                    self.want(beam.known, wanted);
                }
            }
            if wanted.len() > before {
                return;
            }
            self.step();
        }
    }

    /// Whether the numbers of a live beam are still to be evaluated.
    pub(super) fn is_unknown(&self, beam: &Beam) -> bool {
        self.known[beam.known as usize].likely.is_empty() && beam.known != 0
    }

    /// Asks for `row`, for what stands before it and was not asked for as nothing is decided there,
    /// and, with look-ahead, for the only-children below it.
    pub(super) fn want(&mut self, mut row: u32, wanted: &mut Vec<Wanted>) {
        let before = wanted.len();
        let mut above = self.known[row as usize].parent;
        while !self.known[above as usize].asked {
            wanted.push(self.wanted(above));
            above = self.known[above as usize].parent;
        }
        wanted[before..].reverse();
        loop {
            wanted.push(self.wanted(row));
            if matches!(self.rules.scoring, Scoring::Legal { .. }) {
                // What alone may follow is certain, and only asked for with what is decided behind
                // it.
                return;
            }
            let node = self.known[row as usize].at.own;
            let children = self.rules.trie.children(node);
            if !self.rules.look_ahead || children.len() != 1 || self.rules.trie.is_terminal(node) {
                return;
            }
            row = self.child(row, 0, children.start);
        }
    }

    /// What evaluates `row`, which now is asked for.
    fn wanted(&mut self, row: u32) -> Wanted {
        let known = &mut self.known[row as usize];
        known.asked = true;
        Wanted {
            row,
            parent: known.parent,
            token: self.rules.trie.token(known.at.own),
            id: known.id,
        }
    }

    /// The row of the `place`-th child of `row`.
    pub(super) fn child(&mut self, row: u32, place: u32, node: u32) -> u32 {
        let known = &self.known[row as usize];
        if let Some(&at) = known.children.get(place as usize).filter(|&&at| at != u32::MAX) {
            return at;
        }
        let Rules { scoring, trie, .. } = self.rules;
        let token = trie.token(node);
        let (state, id) = self.rules.intra.step(known.state, token);
        let at = scoring.child(known.at, node, token);
        let likely = if scoring.is_forced(at) { vec![CERTAIN] } else { Vec::new() };
        let children = vec![u32::MAX; trie.children(node).len()];
        let child = self.known.len() as u32;
        self.known.push(Known { at, parent: row, state, id, asked: false, likely, children });
        self.known[row as usize].children[place as usize] = child;
        child
    }

    /// One step of the rule; every live beam's numbers are known.
    fn step(&mut self) {
        let trie = self.rules.trie;
        self.steps += 1;
        let mut candidates: Vec<Candidate> = Vec::new();
        for beam in &self.live {
            let known = &self.known[beam.known as usize];
            for &Likely { place, log_prob } in &known.likely {
                let child = trie.follow(known.at.own, self.rules.end, place as usize);
                let token = child.map_or(self.rules.end, |(node, _)| trie.token(node));
                let sum = beam.sum + f64::from(log_prob);
                candidates.push(Candidate {
                    sum,
                    node: known.at.own,
                    token,
                    known: beam.known,
                    child,
                });
            }
        }
        let better = |a: &Candidate, b: &Candidate| {
            b.sum.total_cmp(&a.sum).then(a.node.cmp(&b.node)).then(a.token.cmp(&b.token))
        };
        let width = self.rules.width;
        if candidates.len() > width {
            candidates.select_nth_unstable_by(width - 1, better);
            candidates.truncate(width);
        }
        candidates.sort_unstable_by(better);
        self.live.clear();
        for candidate in candidates {
            match candidate.child {
                None => {
                    let Rules { scoring, length_penalty, .. } = self.rules;
                    let leaf = self.known[candidate.known as usize].at;
                    let length = self.steps as usize;
                    let score = scoring.score(candidate.sum, length, length_penalty, leaf);
                    self.finished.push((candidate.known, score));
                }
                Some((node, place)) => {
                    let known = self.child(candidate.known, place, node);
                    self.live.push(Beam { known, sum: candidate.sum });
                }
            }
        }
    }

    /// Rows known or asked for so far, the prompt's last row included.
    pub fn rows(&self) -> usize {
        self.known.len()
    }

    /// The best W finished sequences, best first; equal scores in the order of their tokens.
    pub fn finish(&self) -> Found<Vec<Finished>> {
        if !self.finite {
            return Err(NotFinite);
        }
        let mut all: Vec<Finished> =
            self.finished.iter().map(|&(row, score)| self.read(row, score)).collect();
        all.sort_by(best_first);
        all.truncate(self.rules.width);
        Ok(all)
    }

    fn read(&self, row: u32, score: f64) -> Finished {
        let mut rows = Vec::new();
        let mut at = row;
        while at != 0 {
            rows.push(at);
            at = self.known[at as usize].parent;
        }
        rows.reverse();
        let trie = self.rules.trie;
        let mut tokens: Vec<u32> =
            rows.iter().map(|&r| trie.token(self.known[r as usize].at.own)).collect();
        let ids = rows.iter().map(|&r| self.known[r as usize].id).collect();
        tokens.push(self.rules.end);
        let mut log_probs = Vec::with_capacity(tokens.len());
        let mut legal = Vec::new();
        let parents = std::iter::once(0).chain(rows.iter().copied());
        for (parent, &token) in parents.zip(&tokens) {
            legal.clear();
            trie.legal(self.known[parent as usize].at.own, self.rules.end, &mut legal);
            let place =
                legal.iter().position(|&t| t == token).expect("a produced token is a legal one");
            let known = self.known[parent as usize].likely.iter();
            let own = known.clone().find(|one| one.place as usize == place);
            log_probs.push(own.expect("what was produced was known").log_prob);
        }
        Finished { node: self.known[row as usize].at.own, score, tokens, ids, log_probs }
    }
}
