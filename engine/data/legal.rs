//! Where probability may go: among what each token of an item is decided, which is what the trie of
//! the catalogue lets follow (R41), and how much each decision weighs (R42). Nothing here moves a
//! mask, an order or a position (R46).

use super::rank::Shares;
use super::sample::{Among, Sample, Target};
use super::trie::Trie;
use crate::base::named::named;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

named! {
    /// Among what a token that continues an item is decided while learning.
    pub enum Objective: "objective" {
        /// The whole vocabulary, as the paper has it (R18).
        Full = "full",
        /// What the catalogue lets follow (R41).
        Legal = "legal",
    }
}

/// Sets of this many tokens and more are held once, however many targets have them.
const HELD: usize = 64;

/// What part B writes for one mask, as far as the catalogue is concerned.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Tokens, without `[END]`.
    pub tokens: usize,
    /// What of them is items, ascending, apart.
    pub items: Vec<Part>,
}

/// What may end an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// `[END]`: one item is asked for.
    Answer,
    /// Either, a separator or `[END]`: how long a list is, is up to who writes it.
    List,
    /// A separator: it is known that another item follows.
    Behind,
}

const ENDS: [Ends; 3] = [Ends::Answer, Ends::List, Ends::Behind];

/// An item in an answer, or the beginning of one.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its tokens, from its first one.
    pub tokens: Range<usize>,
    /// What may end it.
    pub ends: Ends,
    /// What a teacher would have in its place.
    pub taught: Option<Arc<Shares>>,
}

/// How much of what is learnt.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Of an item's first, second, … decision, the last one for all later ones, scaled so that an
    /// item's decisions weigh as many as they are; none = all alike (R42).
    pub decisions: Vec<f32>,
    /// Of what a teacher says, beside what happened (R44).
    pub teacher: f32,
}

/// A catalogue as the legal objective sees it.
pub struct Legal<'a> {
    trie: Trie<'a>,
    end: u32,
    separator: Vec<u32>,
    /// What may follow wide nodes, by what may end an item.
    held: HashMap<u32, [Arc<[u32]>; 3]>,
    masses: Option<Masses>,
}

/// What is needed to sum shares of items below nodes.
struct Masses {
    /// Where each item stands among the leaves.
    place: Vec<u32>,
    /// Leaves of each node.
    ranges: Vec<Range<u32>>,
    /// `[leaves + 1]` how often all before a leaf were taken, each once more.
    taken: Vec<f64>,
}

impl Masses {
    fn of(trie: &Trie, taken: &[f64]) -> Masses {
        let (order, ranges) = trie.leaves();
        let mut place = vec![0; taken.len()];
        let mut sums = vec![0.0];
        for (at, &item) in (0..).zip(&order) {
            place[item as usize] = at;
            sums.push(sums[at as usize] + taken[item as usize]);
        }
        Masses { place, ranges, taken: sums }
    }

    /// The share of the leaves of a range, `best` being those with a share of their own, by leaf.
    fn share(&self, range: Range<u32>, shares: &Shares, best: &[(u32, f64)]) -> f64 {
        let taken = self.taken[range.end as usize] - self.taken[range.start as usize];
        let from = best.partition_point(|(leaf, _)| *leaf < range.start);
        let own = best[from..].iter().take_while(|(leaf, _)| *leaf < range.end);
        shares.together(taken, own.map(|(_, beyond)| beyond).sum())
    }
}

impl<'a> Legal<'a> {
    /// Of the items of `trie`, which `end` ends and `separator` parts.
    pub fn new(trie: Trie<'a>, end: u32, separator: &[u32]) -> Legal<'a> {
        let separator = separator.to_vec();
        let mut legal = Legal { trie, end, separator, held: HashMap::new(), masses: None };
        let wide = |&node: &u32| legal.trie.edges(node).len() >= HELD;
        let nodes: Vec<u32> = (0..legal.trie.nodes() as u32).filter(wide).collect();
        let all = |node| (node, ENDS.map(|ends| legal.follow(node, ends)));
        legal.held = nodes.into_iter().map(all).collect();
        legal
    }

    /// The same for what a teacher says, `taken` being how often it saw each item and once more.
    pub fn taught(self, taken: &[f64]) -> Legal<'a> {
        let masses = Some(Masses::of(&self.trie, taken));
        Legal { masses, ..self }
    }

    /// What may follow a node, ascending: its children's tokens and, where an item ends, what may
    /// end it there.
    fn follow(&self, node: u32, ends: Ends) -> Arc<[u32]> {
        let mut tokens = Vec::new();
        self.trie.legal(node, self.end, &mut tokens);
        let goes_on = ends != Ends::Answer && self.trie.is_terminal(node);
        if let (true, Some(&first)) = (goes_on, self.separator.first()) {
            if ends == Ends::Behind {
                tokens.retain(|&token| token != self.end);
            }
            if let Err(place) = tokens.binary_search(&first) {
                tokens.insert(place, first);
            }
        }
        tokens.into()
    }

    fn choices(&self, node: u32, ends: Ends) -> Arc<[u32]> {
        match self.held.get(&node) {
            Some(all) => all[ends as usize].clone(),
            None => self.follow(node, ends),
        }
    }

    /// Leaves of a training row's targets those that decide something: a token of an item is
    /// decided among what may follow there, and one that alone may is no target. All others keep
    /// the whole vocabulary. `answers` are what part B holds, in its order. Rows behind the last
    /// target are of no use and go.
    pub fn narrow(&self, sample: &mut Sample, answers: &[Answer], weights: &Weights) {
        let whole = std::mem::take(&mut sample.targets);
        let expected: usize = answers.iter().map(|answer| answer.tokens + 1).sum();
        assert_eq!(whole.len(), expected, "Legal::narrow: targets of other answers");
        let mut rest = whole.as_slice();
        for answer in answers {
            let (own, later) = rest.split_at(answer.tokens + 1);
            rest = later;
            let mut at = 0;
            for item in &answer.items {
                let begins = item.tokens.start;
                sample.targets.extend_from_slice(&own[at.min(begins)..begins]);
                at = self.item(own, item, weights, &mut sample.targets);
            }
            sample.targets.extend_from_slice(&own[at..]);
        }
        let rows = sample.targets.last().map_or(sample.context, |last| last.row as usize + 1);
        sample.tokens.truncate(rows);
        sample.positions.iter_mut().for_each(|ids| ids.truncate(rows));
    }

    /// The targets of one item and of what ends it; returns the first target behind them.
    fn item(
        &self,
        own: &[Target],
        item: &Part,
        weights: &Weights,
        targets: &mut Vec<Target>,
    ) -> usize {
        let first = targets.len();
        let ends = &own[item.tokens.end];
        let taught = item.taught.as_deref().zip(self.masses.as_ref());
        let taught = taught.map(|(shares, masses)| {
            let leaf = |&(item, share): &(u32, f64)| (masses.place[item as usize], share);
            let mut best: Vec<(u32, f64)> = shares.best().iter().map(leaf).collect();
            best.sort_unstable_by_key(|(leaf, _)| *leaf);
            (shares, masses, best)
        });
        let (mut node, mut decisions) = (Trie::ROOT, 0);
        let mut decide = |node: u32, target: &Target| {
            let tokens = self.choices(node, item.ends);
            let Ok(place) = tokens.binary_search(&target.token) else { return false };
            if tokens.len() > 1 {
                let shares = taught.as_ref().and_then(|(shares, masses, best)| {
                    let share = |range| masses.share(range, shares, best);
                    self.soft(node, &tokens, ends.token, masses, share)
                });
                let shares = shares.map(|soft| mixed(soft, place, weights.teacher));
                decisions += 1;
                let among = Some(Among { tokens, shares });
                targets.push(Target { among, decision: decisions, ..target.clone() });
            }
            true
        };
        for target in &own[item.tokens.clone()] {
            let legal = decide(node, target);
            let child = self.trie.child(node, target.token);
            let (true, Some(child)) = (legal, child) else {
                panic!("Legal::narrow: token {} is of no item", target.token)
            };
            node = child;
        }
        let mut behind = item.tokens.end;
        if decide(node, ends) {
            behind += 1;
            // What else parts two items is not up to anybody.
            if ends.token != self.end {
                let more = self.separator.iter().skip(1).zip(&own[behind..]);
                behind += more.take_while(|(&token, target)| token == target.token).count();
            }
        }
        weigh(&mut targets[first..], &weights.decisions);
        behind
    }

    /// Shares of what may follow a node, together 1; what ends an item has those of the items that
    /// end there, and `ends` is what ends this one, if it is one of these. None where nothing below
    /// has any.
    fn soft(
        &self,
        node: u32,
        tokens: &[u32],
        ends: u32,
        masses: &Masses,
        share: impl Fn(Range<u32>) -> f64,
    ) -> Option<Vec<f64>> {
        let ends = if tokens.binary_search(&ends).is_ok() { ends } else { self.end };
        let of = |&token: &u32| {
            let child = self.trie.child(node, token);
            let below = child.map_or(0.0, |child| share(masses.ranges[child as usize].clone()));
            let start = masses.ranges[node as usize].start;
            let here = start..start + self.trie.members(node).len() as u32;
            below + if token == ends { share(here) } else { 0.0 }
        };
        let all: Vec<f64> = tokens.iter().map(of).collect();
        let sum: f64 = all.iter().sum();
        (sum > 0.0).then(|| all.into_iter().map(|one| one / sum).collect())
    }
}

/// (1 - λ) of what happened, λ of what a teacher says.
fn mixed(soft: Vec<f64>, place: usize, teacher: f32) -> Arc<[f32]> {
    let teacher = f64::from(teacher);
    let happened = |at: usize| if at == place { 1.0 - teacher } else { 0.0 };
    soft.iter().enumerate().map(|(at, one)| (happened(at) + teacher * one) as f32).collect()
}

/// Weights of an item's decisions (R42).
fn weigh(decisions: &mut [Target], weights: &[f32]) {
    let Some(&last) = weights.last() else { return };
    let of = |k: usize| weights.get(k).copied().unwrap_or(last);
    let sum: f32 = (0..decisions.len()).map(of).sum();
    let scale = decisions.len() as f32 / sum;
    for (k, decision) in decisions.iter_mut().enumerate() {
        decision.weight *= of(k) * scale;
    }
}

#[cfg(test)]
// A list of one part is meant where it stands.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::super::rank::{Asked, Ranker, Teacher, TeacherSettings};
    use super::*;

    const END: u32 = 99;

    /// Items 1 2 3, 1 2 3 4, 5 6, and 5 6 once more; "7 8" parts them.
    fn legal() -> Legal<'static> {
        let items = [vec![1, 2, 3], vec![1, 2, 3, 4], vec![5, 6], vec![5, 6]];
        Legal::new(Trie::build(&items, &[0, 1, 2, 3]), END, &[7, 8])
    }

    /// A row whose part B holds these answers, and their targets.
    fn row(answers: &[&[u32]]) -> Sample {
        let mut sample = Sample { context: 1, tokens: vec![50], ..Sample::default() };
        for answer in answers {
            sample.tokens.push(51);
            for &token in answer.iter().chain(&[END]) {
                let row = sample.tokens.len() as u32 - 1;
                sample.targets.push(Target::of(row, token));
                sample.tokens.push(token);
            }
            sample.tokens.pop();
        }
        sample.positions = [vec![0; sample.tokens.len()], vec![0; sample.tokens.len()]];
        sample
    }

    fn parts<const N: usize>(ends: Ends, items: [Range<usize>; N]) -> Vec<Part> {
        items.map(|tokens| Part { tokens, ends, taught: None }).into()
    }

    fn read(sample: &Sample) -> Vec<(u32, u32, Vec<u32>)> {
        let among = |t: &Target| t.among.as_ref().map_or(Vec::new(), |a| a.tokens.to_vec());
        sample.targets.iter().map(|t| (t.row, t.token, among(t))).collect()
    }

    #[test]
    fn an_item_is_decided_where_the_catalogue_leaves_a_choice() {
        let mut sample = row(&[&[1, 2, 3]]);
        let answer = Answer { tokens: 3, items: parts(Ends::Answer, [0..3]) };
        legal().narrow(&mut sample, &[answer], &Weights::default());
        assert_eq!(read(&sample), [(1, 1, vec![1, 5]), (4, END, vec![4, END])]);
        assert_eq!(sample.rows(), 5);

        // Behind its first token nothing is left to decide: the tail is not even read.
        let mut sample = row(&[&[5, 6]]);
        let answer = Answer { tokens: 2, items: parts(Ends::Answer, [0..2]) };
        legal().narrow(&mut sample, &[answer], &Weights::default());
        assert_eq!(read(&sample), [(1, 5, vec![1, 5])]);
        assert_eq!((sample.rows(), sample.positions[1].len()), (2, 2));
    }

    #[test]
    fn a_list_may_go_on_where_an_item_ends() {
        let mut sample = row(&[&[5, 6, 7, 8, 1, 2, 3, 4]]);
        let answer = Answer { tokens: 8, items: parts(Ends::List, [0..2, 4..8]) };
        legal().narrow(&mut sample, &[answer], &Weights::default());
        let expected = [
            (1, 5, vec![1, 5]),
            (3, 7, vec![7, END]),
            // 8 is forced.
            (5, 1, vec![1, 5]),
            (8, 4, vec![4, 7, END]),
            (9, END, vec![7, END]),
        ];
        assert_eq!(read(&sample), expected);
    }

    /// Whoever gives an item and what follows it does not ask whether something does.
    #[test]
    fn what_is_known_to_follow_is_not_decided() {
        let mut sample = row(&[&[5, 6, 7, 8, 1, 2, 3, 7, 8, 5, 6]]);
        let mut items = parts(Ends::Behind, [0..2, 4..7, 9..11]);
        items[2].ends = Ends::Answer;
        legal().narrow(&mut sample, &[Answer { tokens: 11, items }], &Weights::default());
        let expected =
            [(1, 5, vec![1, 5]), (5, 1, vec![1, 5]), (8, 7, vec![4, 7]), (10, 5, vec![1, 5])];
        assert_eq!(read(&sample), expected);
        assert_eq!(sample.rows(), 11);
    }

    #[test]
    fn what_is_no_item_keeps_the_whole_vocabulary() {
        // Words, an item, a word behind it that parts nothing, and half an item that is cut off.
        let mut sample = row(&[&[30, 5, 6, 31, 1, 2], &[40]]);
        let answers = [
            Answer { tokens: 6, items: parts(Ends::List, [1..3, 4..6]) },
            Answer { tokens: 1, ..Answer::default() },
        ];
        legal().narrow(&mut sample, &answers, &Weights::default());
        let expected = [
            (1, 30, vec![]),
            (2, 5, vec![1, 5]),
            (4, 31, vec![]),
            (5, 1, vec![1, 5]),
            (7, END, vec![]),
            (8, 40, vec![]),
            (9, END, vec![]),
        ];
        assert_eq!(read(&sample), expected);
    }

    #[test]
    fn weights_keep_the_number_of_an_items_decisions() {
        let mut sample = row(&[&[5, 6, 7, 8, 1, 2, 3, 4]]);
        let answer = Answer { tokens: 8, items: parts(Ends::List, [0..2, 4..8]) };
        let weights = Weights { decisions: vec![3.0, 1.0], teacher: 0.0 };
        legal().narrow(&mut sample, &[answer], &weights);
        let weights: Vec<f32> = sample.targets.iter().map(|t| t.weight).collect();
        let expected = [1.5, 0.5, 1.8, 0.6, 0.6];
        assert!(weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{weights:?}");
        assert_eq!(weights.len(), 5);
    }

    /// What a teacher says of a choice is the sum of what it says of the items below it.
    #[test]
    fn a_teachers_shares_of_items_are_shares_of_choices() {
        struct Said;
        impl Ranker for Said {
            fn name(&self) -> &'static str {
                "said"
            }
            fn score(&self, _: Asked<'_>, scores: &mut [f64]) {
                scores.copy_from_slice(&[3.0, 2.0, 0.0, 0.5]);
            }
        }
        for best in [1, 2, 4] {
            let settings = TeacherSettings { best, temperature: 1.0, rest: 0.2 };
            let teacher = Teacher::new(Box::new(Said), &[4.0, 0.0, 2.0, 1.0], settings);
            let shares = Arc::new(teacher.shares(Asked::history(&[]), None));
            let all: Vec<f64> =
                (0..4).map(|item| shares.of(item, teacher.taken()[item as usize])).collect();
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mut sample = row(&[&[1, 2, 3, 7, 8, 5, 6]]);
            let parts = [0..3, 5..7].map(|tokens| {
                let taught = Some(shares.clone());
                Part { tokens, ends: Ends::List, taught }
            });
            let answer = Answer { tokens: 7, items: parts.into() };
            let weights = Weights { teacher: 0.75, ..Weights::default() };
            legal().taught(teacher.taken()).narrow(&mut sample, &[answer], &weights);
            let expected: [(u32, Vec<f64>); 4] = [
                (1, vec![0.25 + 0.75 * (all[0] + all[1]), 0.75 * (all[2] + all[3])]),
                // A longer title, the separator that ends this one, and [END], which does not.
                (7, {
                    let both = all[0] + all[1];
                    vec![0.75 * all[1] / both, 0.25 + 0.75 * all[0] / both, 0.0]
                }),
                (5, vec![0.75 * (all[0] + all[1]), 0.25 + 0.75 * (all[2] + all[3])]),
                (END, vec![0.0, 1.0]),
            ];
            for (target, (token, expected)) in sample.targets.iter().zip(expected) {
                assert_eq!(target.token, token);
                let shares = target.among.as_ref().unwrap().shares.as_ref().unwrap();
                let near = shares.iter().zip(&expected);
                let near = near.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(near < 1e-6, "{shares:?} {expected:?}");
            }
        }
    }

    #[test]
    fn wide_nodes_are_held_once() {
        let items: Vec<Vec<u32>> = (0..200).map(|i| vec![i + 100, 1]).collect();
        let values: Vec<u32> = (0..200).collect();
        let legal = Legal::new(Trie::build(&items, &values), END, &[7]);
        let (a, b) =
            (legal.choices(Trie::ROOT, Ends::Answer), legal.choices(Trie::ROOT, Ends::Answer));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.len(), 200);
    }
}
