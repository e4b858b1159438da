use std::collections::BTreeMap;

use engine::data::Trie;
use proptest::prelude::*;

pub fn pools() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..5, 1..6), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_trie_holds_what_was_put_in(pool in pools()) {
        let values: Vec<u32> = (0..pool.len() as u32).rev().collect();
        let trie = Trie::build(&pool, &values);
        trie.check().unwrap();
        let mut expected = BTreeMap::<&[u32], Vec<u32>>::new();
        for (sequence, &value) in pool.iter().zip(&values) {
            expected.entry(sequence).or_default().push(value);
        }
        // Walking all nodes gives each distinct prefix once and every member at its own.
        let mut paths = vec![Vec::new(); trie.nodes()];
        for node in 0..trie.nodes() as u32 {
            for child in trie.children(node) {
                paths[child as usize] = [&paths[node as usize][..], &[trie.token(child)]].concat();
                prop_assert_eq!(trie.child(node, trie.token(child)), Some(child));
            }
            prop_assert_eq!(trie.child(node, 77), None);
            let path = &paths[node as usize];
            prop_assert_eq!(trie.members(node), expected.get(&path[..]).map_or(&[][..], |v| v));
            prop_assert_eq!(trie.find(path), Some(node));
        }
        prop_assert_eq!(trie.members.len(), pool.len());
        let mut lengths = paths.clone();
        lengths.sort();
        lengths.dedup();
        prop_assert_eq!(lengths.len(), trie.nodes());
    }

    /// What a file may hold: either the check refuses it, or everything can be asked without a
    /// panic.
    #[test]
    fn a_checked_trie_never_panics(
        pool in pools(), array in 0usize..4, place in any::<prop::sample::Index>(),
        value in prop_oneof![0u32..20, Just(u32::MAX)], cut in any::<bool>(),
    ) {
        let mut trie = Trie::build(&pool, &vec![7; pool.len()]);
        let damaged = match array {
            0 => trie.first_child.to_mut(),
            1 => trie.token.to_mut(),
            2 => trie.first_member.to_mut(),
            _ => trie.members.to_mut(),
        };
        if damaged.is_empty() {
            return Ok(());
        }
        let place = place.index(damaged.len());
        if cut {
            damaged.truncate(place);
        } else {
            damaged[place] = value;
        }
        if trie.check().is_ok() {
            for node in 0..trie.nodes() as u32 {
                trie.members(node);
                trie.children(node).for_each(|c| { trie.child(node, trie.token(c)); });
            }
            engine::data::Intra::new(trie, Default::default());
        }
    }
}

#[test]
fn wide_nodes_are_searched() {
    let pool: Vec<Vec<u32>> = (0..1500).map(|t| vec![t * 3, t]).collect();
    let trie = Trie::build(&pool, &(0..1500).collect::<Vec<_>>());
    for t in 0..1500 {
        let node = trie.child(Trie::ROOT, t * 3).unwrap();
        assert_eq!(trie.members(trie.child(node, t).unwrap()), [t]);
        assert_eq!(trie.child(Trie::ROOT, t * 3 + 1), None);
    }
}
