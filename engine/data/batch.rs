//! Rows of many samples, one after another, no padding.

use super::sample::Sample;

/// Sequences one after another; one row is one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub tokens: Vec<u32>,
    pub positions: [Vec<u32>; 2],
    /// [S + 1] row where each sequence begins; the last entry is the number of rows.
    pub starts: Vec<u32>,
    /// [S] length of part A.
    pub contexts: Vec<u32>,
    /// [S] names of the examples, for dropout.
    pub examples: Vec<u64>,
    /// Rows that carry loss, ascending; with the token each predicts and its weight.
    pub target_rows: Vec<u32>,
    pub target_ids: Vec<u32>,
    pub target_weights: Vec<f32>,
}

impl Batch {
    pub fn of<'s>(samples: impl IntoIterator<Item = &'s Sample>) -> Batch {
        let mut batch = Batch { starts: vec![0], ..Batch::default() };
        for sample in samples {
            batch.push(sample);
        }
        batch
    }

    pub fn push(&mut self, sample: &Sample) {
        let first = self.tokens.len() as u32;
        self.tokens.extend_from_slice(&sample.tokens);
        for (all, own) in self.positions.iter_mut().zip(&sample.positions) {
            all.extend_from_slice(own);
        }
        self.starts.push(self.tokens.len() as u32);
        self.contexts.push(sample.context as u32);
        self.examples.push(sample.example);
        for &(row, id, weight) in &sample.targets {
            self.target_rows.push(first + row);
            self.target_ids.push(id);
            self.target_weights.push(weight);
        }
    }
}

/// Puts sequences of these lengths into packs of at most `budget` rows: longest first, each into the fullest pack that has
/// room (best fit decreasing). Every sequence is in exactly one pack, packs and their members in ascending order; a sequence
/// longer than the budget is alone.
pub fn pack(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| lengths[b].cmp(&lengths[a]).then(a.cmp(&b)));
    let mut packs: Vec<Vec<usize>> = Vec::new();
    // Packs by the room they have left.
    let mut by_room: std::collections::BTreeSet<(usize, usize)> = std::collections::BTreeSet::new();
    for i in order {
        let fit = by_room.range((lengths[i], 0)..).next().copied();
        let (room, pack) = match fit {
            Some(found) => {
                by_room.remove(&found);
                found
            }
            None => {
                packs.push(Vec::new());
                (budget.max(lengths[i]), packs.len() - 1)
            }
        };
        packs[pack].push(i);
        by_room.insert((room - lengths[i], pack));
    }
    for pack in &mut packs {
        pack.sort_unstable();
    }
    packs.sort();
    packs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    #[test]
    fn every_sequence_is_packed_once_and_packs_are_full() {
        let mut rng = Philox::new(3, Stream::Shuffle, 0);
        let lengths: Vec<usize> =
            (0..20_000).map(|_| ((4.3 + 0.5 * rng.normal()).exp() as usize).clamp(8, 1024)).collect();
        let packs = pack(&lengths, 4096);
        let mut seen = vec![false; lengths.len()];
        for pack in &packs {
            assert!(pack.iter().map(|&i| lengths[i]).sum::<usize>() <= 4096);
            for &i in pack {
                assert!(!std::mem::replace(&mut seen[i], true));
            }
        }
        assert!(seen.iter().all(|&s| s));
        let fill = lengths.iter().sum::<usize>() as f64 / (packs.len() * 4096) as f64;
        assert!(fill >= 0.995, "{fill}");
    }

    #[test]
    fn a_long_sequence_is_alone() {
        assert_eq!(pack(&[3, 20, 3], 8), vec![vec![0, 2], vec![1]]);
        assert!(pack(&[], 8).is_empty());
    }
}
