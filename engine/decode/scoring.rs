//! Over what a token's probability is taken: the whole vocabulary, or what the catalogue lets
//! follow (E30). The one place that knows which tokens a row is asked about, and what each of its
//! continuations has of them.

use crate::data::rules::Score;
use crate::data::Trie;
use crate::device::View;
use crate::model::{Likely, Model};
use anyhow::Result;

/// Over what the probability of a token is taken.
#[derive(Clone, Copy)]
pub enum Scoring<'a> {
    /// The whole vocabulary (E12).
    Full,
    /// What `catalogue` lets follow, of logits that are divided by `temperature` (E30). Whatever
    /// else may not be written, shares are those of the whole catalogue: what is written is a part
    /// of it.
    Legal {
        /// All items there are.
        catalogue: &'a Trie<'a>,
        /// What logits are divided by.
        temperature: f32,
    },
}

/// A node of what may be written, and the same in the catalogue where that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub own: u32,
    home: u32,
}

/// What alone may follow.
pub(super) const CERTAIN: Likely = Likely { place: 0, log_prob: 0.0 };

impl Node {
    pub const ROOT: Node = Node { own: Trie::ROOT, home: Trie::ROOT };
}

impl<'a> Scoring<'a> {
    /// As a rule says, over the items of `catalogue`.
    pub fn of(score: Score, temperature: f32, catalogue: &'a Trie<'a>) -> Scoring<'a> {
        match score {
            Score::Full => Scoring::Full,
            Score::Legal => Scoring::Legal { catalogue, temperature },
        }
    }

    /// The child `node`, to which `token` leads.
    pub(super) fn child(&self, at: Node, node: u32, token: u32) -> Node {
        let home = match self {
            Scoring::Full => Trie::ROOT,
            Scoring::Legal { catalogue, .. } => {
                catalogue.child(at.home, token).expect("what may be written is of the catalogue")
            }
        };
        Node { own: node, home }
    }

    /// Whether nothing is to be decided at a node: what alone may follow is certain.
    pub(super) fn is_forced(&self, at: Node) -> bool {
        match self {
            Scoring::Full => false,
            Scoring::Legal { catalogue, .. } => {
                let ends = usize::from(catalogue.is_terminal(at.home));
                catalogue.children(at.home).len() + ends == 1
            }
        }
    }

    /// Appends the tokens whose log-probabilities are asked for at a node of `trie`, which `end`
    /// ends: none where nothing is to be decided.
    pub(super) fn asked(&self, at: Node, trie: &Trie, end: u32, tokens: &mut Vec<u32>) {
        match self {
            Scoring::Full => trie.legal(at.own, end, tokens),
            Scoring::Legal { .. } if self.is_forced(at) => {}
            Scoring::Legal { catalogue, .. } => catalogue.legal(at.home, end, tokens),
        }
    }

    /// Of what may be written at a node, by its place ascending by token, those of which something
    /// is known, given what was answered to [`Scoring::asked`].
    pub(super) fn known(&self, at: Node, trie: &Trie, end: u32, given: Vec<Likely>) -> Vec<Likely> {
        let Scoring::Legal { catalogue, .. } = *self else { return given };
        if self.is_forced(at) {
            return vec![CERTAIN];
        }
        if std::ptr::eq(catalogue, trie) {
            return given;
        }
        let (mut all, mut own) = (Vec::new(), Vec::new());
        catalogue.legal(at.home, end, &mut all);
        trie.legal(at.own, end, &mut own);
        let mut given = all.iter().zip(given);
        let of = |(token, place): (&u32, u32)| {
            let found = given.find(|(known, _)| *known == token);
            let found = found.expect("what may be written is of the catalogue");
            Likely { place, ..found.1 }
        };
        own.iter().zip(0..).map(of).collect()
    }

    /// The score of a leaf: the sum of its tokens' log-probabilities / length^alpha. A share of the
    /// catalogue is that of all items at the leaf, and each has as much of it.
    pub(super) fn score(&self, sum: f64, length: usize, alpha: f64, leaf: Node) -> f64 {
        let own = match self {
            Scoring::Full => 0.0,
            Scoring::Legal { catalogue, .. } => (catalogue.members(leaf.home).len() as f64).ln(),
        };
        (sum - own) / (length as f64).powf(alpha)
    }

    /// How many of a row's continuations, the best, a search of `width` beams over `trie` can need;
    /// `None`: all. A beam goes on as one of the best `width`. Of two that may follow it at most
    /// one is likelier than a half, and what f32 tells apart below that no sum in f64 makes equal:
    /// their order is that of the sums. Where what may be written is a part of what shares are of,
    /// the best of the catalogue may be none of it.
    pub(super) fn needed(&self, trie: &Trie, width: usize) -> Option<usize> {
        match self {
            Scoring::Full => None,
            Scoring::Legal { catalogue, .. } => std::ptr::eq(*catalogue, trie).then_some(width),
        }
    }

    /// Log-probabilities at `ids[first[r]..first[r + 1]]` of each of the normed rows `[R, h]`, in
    /// their order; or, of a row with more of them, those of the `best` at least.
    pub(super) fn log_probs(
        &self,
        model: &Model,
        y: View,
        first: &[u32],
        ids: &[u32],
        best: Option<usize>,
    ) -> Result<Vec<Vec<Likely>>> {
        match *self {
            Scoring::Full => Ok(Likely::all(&model.log_probs_at(y, first, ids)?, first)),
            Scoring::Legal { temperature, .. } => {
                model.log_probs_among(y, first, ids, temperature, best)
            }
        }
    }
}
