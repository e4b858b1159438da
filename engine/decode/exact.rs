//! The best K items, whatever a beam would have missed (E31). A node's mass is the probability of
//! all that is below it, and bounds each of it: what is likeliest is expanded first, until K items
//! are at least as likely as every node that is left.

use super::search::{Beam, Search, Wanted};
use crate::model::Likely;

impl Search<'_> {
    /// Expands as far as the numbers go; then appends the rows that must be evaluated. None: the
    /// search is over.
    pub(super) fn advance_exactly(&mut self, wanted: &mut Vec<Wanted>) {
        loop {
            let bound = self.bound();
            // What is known costs nothing, so it goes first; the rest in as many rows as a beam
            // search would have.
            self.live.sort_by(|a, b| b.sum.total_cmp(&a.sum).then(a.known.cmp(&b.known)));
            let reach = self.live.partition_point(|beam| beam.sum >= bound);
            let near: Vec<Beam> = self.live.drain(..reach.min(self.rules.width)).collect();
            if near.is_empty() {
                self.live.clear();
                return;
            }
            let (known, unknown): (Vec<Beam>, Vec<Beam>) =
                near.into_iter().partition(|beam| !self.is_unknown(beam));
            self.live.extend(&unknown);
            if known.is_empty() {
                unknown.iter().for_each(|beam| self.want(beam.known, wanted));
                return;
            }
            known.iter().for_each(|beam| self.expand(beam));
        }
    }

    /// Takes all legal extensions of a node: children with their masses, and a leaf.
    fn expand(&mut self, beam: &Beam) {
        let (scoring, trie, end) = (self.rules.scoring, self.rules.trie, self.rules.end);
        let likely = self.known[beam.known as usize].likely.clone();
        let at = self.known[beam.known as usize].at;
        for Likely { place, log_prob } in likely {
            // Rounding makes nothing likelier than what it is a part of.
            let sum = beam.sum + f64::from(log_prob).min(0.0);
            match trie.follow(at.own, end, place as usize) {
                Some((node, place)) => {
                    let known = self.child(beam.known, place, node);
                    self.live.push(Beam { known, sum });
                }
                None => self.finished.push((beam.known, scoring.score(sum, 1, 0.0, at))),
            }
        }
    }

    /// The score of the K-th best item so far; what is below it need not be looked at.
    fn bound(&mut self) -> f64 {
        self.finished.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut items = 0;
        for &(row, score) in &self.finished {
            items += self.rules.trie.members(self.known[row as usize].at.own).len();
            if items >= self.rules.width {
                return score;
            }
        }
        f64::NEG_INFINITY
    }
}
