//! What an answer may be made of: anything, one item, or a list of items.

use crate::data::Trie;

/// What may be written.
#[derive(Clone, Copy)]
pub enum Grammar<'a> {
    /// Any text.
    Free,
    /// One sequence of the trie.
    Item(&'a Trie<'a>),
    /// One sequence of the trie or more, with the separator between them. An item may come again.
    List {
        /// The items.
        items: &'a Trie<'a>,
        /// What stands between two of them; with no token in it a list is one item.
        separator: &'a [u32],
    },
}

/// Where a text stands in a grammar: every way of reading it so far, for a separator may also go on
/// inside an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Vec<Reading>);

/// The node that the current item has led to, and how much of a separator was written behind the
/// last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    node: u32,
    separated: usize,
}

const BEGIN: Reading = Reading { node: Trie::ROOT, separated: 0 };

impl<'a> Grammar<'a> {
    /// Before the first token.
    pub fn start(&self) -> Place {
        Place(self.parts().map(|_| BEGIN).into_iter().collect())
    }

    /// The tokens that may follow, ascending, `end` among them where the text may end there; none:
    /// any may.
    pub fn legal(&self, place: &Place, end: u32) -> Option<Vec<u32>> {
        let (items, separator) = self.parts()?;
        let mut tokens = Vec::new();
        for reading in &place.0 {
            match reading.separated {
                0 => {
                    items.legal(reading.node, end, &mut tokens);
                    if items.is_terminal(reading.node) {
                        tokens.extend(separator.first());
                    }
                }
                written => tokens.push(separator[written]),
            }
        }
        tokens.sort_unstable();
        tokens.dedup();
        Some(tokens)
    }

    /// Behind one of the legal tokens but the one that ends.
    pub fn step(&self, place: &Place, token: u32) -> Place {
        let Some((items, separator)) = self.parts() else { return Place::default() };
        let mut readings = Vec::new();
        for &Reading { node, separated } in &place.0 {
            if separated == 0 {
                let child = items.child(node, token);
                readings.extend(child.map(|node| Reading { node, separated: 0 }));
            }
            let separates = separated > 0 || items.is_terminal(node);
            if separates && separator.get(separated) == Some(&token) {
                let separated = (separated + 1) % separator.len();
                readings.push(Reading { node: Trie::ROOT, separated });
            }
        }
        readings.sort_unstable();
        readings.dedup();
        Place(readings)
    }

    /// The nodes of the items that a text names, in order; none where it is no text of this grammar
    /// or not a whole one. Where it can be read in several ways the first item is the longest that
    /// leaves a reading of the rest, and so on.
    pub fn items(&self, tokens: &[u32]) -> Option<Vec<u32>> {
        let (items, separator) = self.parts()?;
        // From the back: the longest item that may stand here, and where the next one begins.
        let mut longest: Vec<Option<(u32, usize)>> = vec![None; tokens.len() + 1];
        for from in (0..tokens.len()).rev() {
            let mut node = Trie::ROOT;
            for at in from + 1..=tokens.len() {
                let Some(child) = items.child(node, tokens[at - 1]) else { break };
                node = child;
                let next = at + separator.len();
                let more = !separator.is_empty()
                    && tokens[at..].starts_with(separator)
                    && longest[next].is_some();
                if items.is_terminal(node) && (at == tokens.len() || more) {
                    longest[from] = Some((node, next));
                }
            }
        }
        let (mut nodes, mut at) = (Vec::new(), 0);
        while at < tokens.len() || nodes.is_empty() {
            let (node, next) = longest[at]?;
            nodes.push(node);
            at = next;
        }
        Some(nodes)
    }

    /// The trie and what separates its sequences.
    fn parts(&self) -> Option<(&'a Trie<'a>, &'a [u32])> {
        match *self {
            Grammar::Free => None,
            Grammar::Item(items) => Some((items, &[])),
            Grammar::List { items, separator } => Some((items, separator)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    const END: u32 = 9;

    /// Whether tokens are items with separators between them, by trying every cut.
    fn is_list(titles: &[Vec<u32>], separator: &[u32], tokens: &[u32]) -> bool {
        titles.iter().any(|title| {
            tokens.strip_prefix(title.as_slice()).is_some_and(|rest| {
                let rest_of = || rest.strip_prefix(separator);
                rest.is_empty() || rest_of().is_some_and(|rest| is_list(titles, separator, rest))
            })
        })
    }

    #[test]
    fn what_may_be_written_is_what_can_be_read() {
        // The separator also stands inside titles, and begins one.
        let titles = [vec![1], vec![1, 0, 2], vec![0, 2], vec![2, 0], vec![1, 0, 0, 1]];
        let trie = Trie::build(&titles, &[0, 1, 2, 3, 4]);
        for separator in [&[0u32][..], &[0, 0], &[3]] {
            let grammar = Grammar::List { items: &trie, separator };
            let (mut ended, mut rng) = (0, Philox::new(1, Stream::Synthetic, 0));
            for _ in 0..20_000 {
                let tokens: Vec<u32> = (0..1 + rng.below(7)).map(|_| rng.below(4) as u32).collect();
                let mut place = Some(grammar.start());
                for &token in &tokens {
                    place = place.filter(|at| grammar.legal(at, END).unwrap().contains(&token));
                    place = place.map(|at| grammar.step(&at, token));
                }
                let ends = place.is_some_and(|at| grammar.legal(&at, END).unwrap().contains(&END));
                assert_eq!(ends, is_list(&titles, separator, &tokens), "{tokens:?} {separator:?}");
                let nodes = grammar.items(&tokens);
                assert_eq!(nodes.is_some(), ends, "{tokens:?} {separator:?}");
                let Some(nodes) = nodes else { continue };
                let title = |node: &u32| titles[trie.members(*node)[0] as usize].as_slice();
                let read: Vec<&[u32]> = nodes.iter().map(title).collect();
                assert_eq!(read.join(separator), tokens);
                ended += 1;
            }
            assert!(ended > 50, "{ended}");
        }
    }

    #[test]
    fn the_longest_item_is_read_first() {
        let trie = Trie::build(&[vec![1], vec![1, 0, 1], vec![2]], &[0, 1, 2]);
        let list = Grammar::List { items: &trie, separator: &[0] };
        let node = |title: &[u32]| trie.find(title).unwrap();
        assert_eq!(list.items(&[1, 0, 1, 0, 2]), Some(vec![node(&[1, 0, 1]), node(&[2])]));
        assert_eq!(list.items(&[1, 0, 2, 0, 1]), Some(vec![node(&[1]), node(&[2]), node(&[1])]));
        assert_eq!(list.items(&[]), None);
        assert_eq!(list.items(&[1, 0]), None);
        let one = Grammar::Item(&trie);
        assert_eq!(one.items(&[1, 0, 1]), Some(vec![node(&[1, 0, 1])]));
        assert_eq!(one.items(&[1, 1]), None);
        assert_eq!(Grammar::Free.items(&[1]), None);
    }
}
