//! Sequences of tokens as a tree in flat arrays: what may be written, and what is recognised.

use crate::base::Fault;
use anyhow::Result;
use std::borrow::Cow;
use std::ops::Range;

/// Token trie in three flat u32 arrays, 12 bytes a node, nodes numbered breadth-first so that the
/// children of node n are exactly `first_child[n]..first_child[n + 1]`, sorted by token. The root
/// is node 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Trie<'a> {
    /// [nodes + 1]
    pub first_child: Cow<'a, [u32]>,
    /// `[nodes]`: the token that leads to the node; the root's is u32::MAX.
    pub token: Cow<'a, [u32]>,
    /// [nodes + 1]: node n holds `members[first_member[n]..first_member[n + 1]]`; terminal iff not
    /// empty.
    pub first_member: Cow<'a, [u32]>,
    /// Values that end at a node, in the order in which they were given.
    pub members: Cow<'a, [u32]>,
}

/// The token of the root, which no edge may bear.
const NO_TOKEN: u32 = u32::MAX;

/// Up to this many siblings a walk beats a binary search.
const WALK: usize = 8;

impl Trie<'static> {
    /// The trie of `sequences`, with `values[i]` a member of the node at which `sequences[i]` ends.
    ///
    /// Equal sequences share a node, whose members keep the given order. `O(T + S log S)` for S
    /// sequences of T tokens. Panics on an empty sequence (R4: refused where entities are read), on
    /// the token u32::MAX, and on lists of different lengths.
    pub fn build<S: AsRef<[u32]>>(sequences: &[S], values: &[u32]) -> Trie<'static> {
        let (count, given) = (sequences.len(), values.len());
        assert_eq!(count, given, "Trie::build: {count} sequences, {given} values");
        let (flat, start, order) = sorted(sequences);

        let mut first_child = Vec::with_capacity(flat.len() / 2 + 2);
        let mut token = Vec::with_capacity(flat.len() / 2 + 2);
        let mut first_member = Vec::with_capacity(flat.len() / 2 + 2);
        let mut members = Vec::with_capacity(count);
        token.push(NO_TOKEN);

        // Level by level: a node is a range of the sorted sequences that agree so far. Those that
        // end here come first in their range, the rest falls into one range a child.
        let mut level: Vec<Range<usize>> = std::iter::once(0..count).collect();
        let mut below = Vec::new();
        let mut depth = 0;
        while !level.is_empty() {
            for node in level.drain(..) {
                first_member.push(members.len() as u32);
                first_child.push(token.len() as u32);
                let mut i = node.start;
                while i < node.end && start[i] + depth == start[i + 1] {
                    members.push(values[order[i] as usize]);
                    i += 1;
                }
                while i < node.end {
                    let begin = i;
                    let edge = flat[start[i] + depth];
                    i += 1;
                    while i < node.end && flat[start[i] + depth] == edge {
                        i += 1;
                    }
                    token.push(edge);
                    below.push(begin..i);
                }
            }
            std::mem::swap(&mut level, &mut below);
            depth += 1;
        }
        first_child.push(token.len() as u32);
        first_member.push(members.len() as u32);
        Trie {
            first_child: first_child.into(),
            token: token.into(),
            first_member: first_member.into(),
            members: members.into(),
        }
    }
}

/// The sequences in ascending order (a prefix first, equal ones as given), laid end to end:
/// tokens, where each begins (one entry more than there are sequences), and which it was.
fn sorted<S: AsRef<[u32]>>(sequences: &[S]) -> (Vec<u32>, Vec<usize>, Vec<u32>) {
    // Four tokens as one number settle nearly every comparison without touching the sequences
    // again. Tokens are raised by one, so that the end of a sequence is less than any token.
    let mut keys: Vec<(u128, u32)> = Vec::with_capacity(sequences.len());
    let mut total = 0;
    for (i, sequence) in sequences.iter().enumerate() {
        let sequence = sequence.as_ref();
        assert!(!sequence.is_empty(), "Trie::build: sequence {i} is empty");
        assert!(
            !sequence.contains(&NO_TOKEN),
            "Trie::build: sequence {i} holds the token {NO_TOKEN}"
        );
        let head = |k: usize| sequence.get(k).map_or(0, |&t| u128::from(t) + 1);
        keys.push((head(0) << 96 | head(1) << 64 | head(2) << 32 | head(3), i as u32));
        total += sequence.len();
    }
    let rest = |i: u32| sequences[i as usize].as_ref().get(4..).unwrap_or_default();
    keys.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))).then(a.1.cmp(&b.1))
    });

    let mut flat = Vec::with_capacity(total);
    let mut start = Vec::with_capacity(sequences.len() + 1);
    for &(_, i) in &keys {
        start.push(flat.len());
        flat.extend_from_slice(sequences[i as usize].as_ref());
    }
    start.push(flat.len());
    (flat, start, keys.into_iter().map(|(_, i)| i).collect())
}

impl Trie<'_> {
    /// The node of the empty sequence.
    pub const ROOT: u32 = 0;

    /// Number of nodes, the root included.
    pub fn nodes(&self) -> usize {
        self.token.len()
    }

    /// The children of a node: consecutive node numbers, ascending by token.
    pub fn children(&self, node: u32) -> Range<u32> {
        self.first_child[node as usize]..self.first_child[node as usize + 1]
    }

    /// The tokens that lead to the children of a node, ascending, in the order of
    /// [`Trie::children`].
    pub fn edges(&self, node: u32) -> &[u32] {
        let children = self.children(node);
        &self.token[children.start as usize..children.end as usize]
    }

    /// The child of a node by a token.
    pub fn child(&self, node: u32, token: u32) -> Option<u32> {
        let edges = self.edges(node);
        let place = if edges.len() <= WALK {
            edges.iter().position(|&t| t == token)?
        } else {
            edges.binary_search(&token).ok()?
        };
        Some(self.first_child[node as usize] + place as u32)
    }

    /// The token that leads to a node; u32::MAX for the root.
    pub fn token(&self, node: u32) -> u32 {
        self.token[node as usize]
    }

    /// The values that end at a node, in the order in which they were given.
    pub fn members(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.members[self.first_member[node] as usize..self.first_member[node + 1] as usize]
    }

    /// Whether a sequence ends at a node.
    pub fn is_terminal(&self, node: u32) -> bool {
        self.first_member[node as usize] < self.first_member[node as usize + 1]
    }

    /// Appends the tokens that may follow a node, ascending: its edges, and `end` where a sequence
    /// ends there.
    pub fn legal(&self, node: u32, end: u32, tokens: &mut Vec<u32>) {
        let edges = self.edges(node);
        let before = self.end_place(node, end).unwrap_or(edges.len());
        tokens.extend_from_slice(&edges[..before]);
        if self.is_terminal(node) {
            tokens.push(end);
        }
        tokens.extend_from_slice(&edges[before..]);
    }

    /// The place of `end` in [`Trie::legal`]; none where no sequence ends.
    pub fn end_place(&self, node: u32, end: u32) -> Option<usize> {
        self.is_terminal(node).then(|| self.edges(node).partition_point(|&token| token < end))
    }

    /// The place of a child's token in [`Trie::legal`] of its parent `node`.
    pub fn place(&self, node: u32, end: u32, child: u32) -> usize {
        let place = (child - self.first_child[node as usize]) as usize;
        place + usize::from(self.end_place(node, end).is_some_and(|at| at <= place))
    }

    /// What the token at `place` in [`Trie::legal`] leads to, and its place among the children;
    /// none: it is `end`.
    pub fn follow(&self, node: u32, end: u32, place: usize) -> Option<(u32, u32)> {
        let place = match self.end_place(node, end) {
            Some(at) if at == place => return None,
            Some(at) => place - usize::from(at < place),
            None => place,
        };
        Some((self.first_child[node as usize] + place as u32, place as u32))
    }

    /// The node at the end of a path from the root.
    pub fn find(&self, tokens: &[u32]) -> Option<u32> {
        tokens.iter().try_fold(Trie::ROOT, |node, &token| self.child(node, token))
    }

    /// Length of the longest prefix of `tokens` that ends at a terminal node, 0 where there is
    /// none.
    pub fn longest_match(&self, tokens: &[u32]) -> usize {
        let (mut node, mut longest) = (Trie::ROOT, 0);
        for (i, &token) in tokens.iter().enumerate() {
            match self.child(node, token) {
                Some(child) => node = child,
                None => break,
            }
            if self.is_terminal(node) {
                longest = i + 1;
            }
        }
        longest
    }

    /// `[nodes]` number of tokens from the root to each node.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0; self.nodes()];
        for node in 0..self.nodes() as u32 {
            for child in self.children(node) {
                depths[child as usize] = depths[node as usize] + 1;
            }
        }
        depths
    }

    /// The members in the order of the nodes' token sequences, and which of them stand at a node or
    /// below it, `[nodes]`; those at the node itself come first. So what is below a node is one
    /// range, and sums over it are differences.
    pub fn leaves(&self) -> (Vec<u32>, Vec<Range<u32>>) {
        let nodes = self.nodes();
        let mut sizes: Vec<u32> = (0..nodes as u32).map(|n| self.members(n).len() as u32).collect();
        for node in (0..nodes).rev() {
            let below: u32 = self.children(node as u32).map(|child| sizes[child as usize]).sum();
            sizes[node] += below;
        }
        let (mut order, mut ranges) = (vec![0; self.members.len()], vec![0..0; nodes]);
        ranges[Trie::ROOT as usize] = 0..sizes[Trie::ROOT as usize];
        for node in 0..nodes {
            let members = self.members(node as u32);
            let mut at = ranges[node].start;
            order[at as usize..at as usize + members.len()].copy_from_slice(members);
            at += members.len() as u32;
            for child in self.children(node as u32) {
                ranges[child as usize] = at..at + sizes[child as usize];
                at += sizes[child as usize];
            }
        }
        (order, ranges)
    }

    /// Verifies everything the other methods rely on, for arrays that come from a file.
    ///
    /// Breadth-first numbering (children after their parent, in order, no node left out), siblings
    /// strictly ascending, members in range, no leaf without a member. Whether the members
    /// themselves mean something is for their owner to check. `O(nodes)`.
    pub fn check(&self) -> Result<()> {
        let fail =
            |what: String| Err(Fault::Data.error(format!("trie: {what}; prepare the data again")));
        let nodes = self.token.len();
        if nodes == 0 || nodes >= NO_TOKEN as usize {
            return fail(format!("nodes: expected 1 to {}, got {nodes}", NO_TOKEN - 1));
        }
        for (name, array, last) in [
            ("first_child", &self.first_child, nodes),
            ("first_member", &self.first_member, self.members.len()),
        ] {
            if array.len() != nodes + 1 {
                return fail(format!(
                    "{name}: expected {} entries, got {}",
                    nodes + 1,
                    array.len()
                ));
            }
            if let Some(n) = array.windows(2).position(|pair| pair[0] > pair[1]) {
                return fail(format!("{name}: node {n}: expected ascending entries"));
            }
            if array[nodes] as usize != last {
                return fail(format!(
                    "{name}: expected the last entry {last}, got {}",
                    array[nodes]
                ));
            }
        }
        if self.first_child[0] != 1 || self.first_member[0] != 0 || self.token[0] != NO_TOKEN {
            return fail("root: expected node 0 with its children from node 1 on".into());
        }
        if self.is_terminal(Trie::ROOT) {
            return fail("root: expected no member, got an empty sequence".into());
        }
        for node in 0..nodes as u32 {
            // With ascending entries this is what forbids cycles and orphans.
            if self.first_child[node as usize] <= node {
                return fail(format!(
                    "first_child: node {node}: expected children after their parent"
                ));
            }
            let edges = self.edges(node);
            if edges.windows(2).any(|pair| pair[0] >= pair[1]) || edges.last() == Some(&NO_TOKEN) {
                return fail(format!(
                    "token: children of node {node}: expected strictly ascending tokens"
                ));
            }
            if node != Trie::ROOT && edges.is_empty() && !self.is_terminal(node) {
                return fail(format!("first_member: node {node}: expected a member at a leaf"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Trie<'static> {
        // A duplicate (values 3 and 9 at one node), a prefix of another, a one-token sequence.
        Trie::build(
            &[vec![5, 6, 7], vec![5, 6], vec![1], vec![5, 6, 7], vec![5, 2]],
            &[3, 4, 5, 9, 6],
        )
    }

    #[test]
    fn nodes_are_breadth_first_and_members_keep_their_order() {
        let trie = small();
        trie.check().unwrap();
        assert_eq!(trie.nodes(), 6);
        assert_eq!(&trie.token[1..], [1, 5, 2, 6, 7]);
        assert_eq!(trie.members(trie.find(&[5, 6, 7]).unwrap()), [3, 9]);
        assert_eq!(trie.members(trie.find(&[5, 6]).unwrap()), [4]);
        assert!(!trie.is_terminal(trie.find(&[5]).unwrap()));
        assert_eq!(trie.find(&[5, 7]), None);
        assert_eq!(trie.longest_match(&[5, 6, 8]), 2);
        assert_eq!(trie.depths(), [0, 1, 1, 2, 2, 3]);
        assert_eq!(trie.edges(Trie::ROOT), [1, 5]);
    }

    #[test]
    fn what_is_below_a_node_is_one_range() {
        let trie = small();
        let (order, ranges) = trie.leaves();
        let below = |tokens: &[u32]| {
            let range = ranges[trie.find(tokens).unwrap() as usize].clone();
            &order[range.start as usize..range.end as usize]
        };
        assert_eq!(below(&[]), [5, 6, 4, 3, 9]);
        assert_eq!(below(&[5]), [6, 4, 3, 9]);
        assert_eq!(below(&[5, 6]), [4, 3, 9]);
        assert_eq!(below(&[1]), [5]);
    }

    #[test]
    fn an_empty_trie_is_a_root() {
        let trie = Trie::build::<Vec<u32>>(&[], &[]);
        trie.check().unwrap();
        assert_eq!((trie.nodes(), trie.children(0), trie.child(0, 3)), (1, 1..1, None));
    }

    #[test]
    #[should_panic(expected = "sequence 1 is empty")]
    fn an_empty_sequence_is_our_fault() {
        Trie::build(&[vec![1], vec![]], &[0, 1]);
    }

    #[test]
    fn check_refuses_what_could_panic_later() {
        type Damage = fn(&mut Trie);
        let cases: [(Damage, &str); 9] = [
            (|t| t.first_child.to_mut()[2] = 99, "ascending entries"),
            (|t| t.first_child.to_mut()[6] = 7, "last entry"),
            (|t| t.first_child.to_mut().truncate(3), "expected 7 entries"),
            (|t| t.first_child.to_mut()[5] = 5, "after their parent"),
            (|t| t.token.to_mut()[1] = 5, "strictly ascending"),
            (|t| t.token.to_mut()[5] = u32::MAX, "strictly ascending"),
            (|t| t.members.to_mut().truncate(2), "last entry 2"),
            (|t| t.token.to_mut().clear(), "expected 1 to"),
            (|t| t.first_member.to_mut()[1] = 1, "empty sequence"),
        ];
        for (damage, words) in cases {
            let mut trie = small();
            damage(&mut trie);
            let error = trie.check().unwrap_err();
            assert!(error.to_string().contains(words), "{error} (expected: {words})");
            assert_eq!(Fault::of(&error), Some(Fault::Data));
        }
    }
}
