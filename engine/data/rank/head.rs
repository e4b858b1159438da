//! The best of a ranking.

/// The best items, best first: as many as it takes for `k` of them not to be in `history`, so that
/// the list of the best `k` stands at its beginning, and so does that without the history once its
/// items are taken out. All items where the catalogue has fewer.
///
/// shapes: `scores` and `ties` hold one number an item. Equal scores stand by `ties`, smaller
/// first, then by number (E16b). One pass over the scores.
pub fn head(scores: &[f64], ties: &[u64], history: &[u32], k: usize) -> Vec<u32> {
    let key = |item: u32| (ties[item as usize], item);
    let before = |a: u32, b: u32| {
        let [own, other] = [a, b].map(|item| scores[item as usize]);
        own > other || (own == other && key(a) < key(b))
    };
    let mut best: Vec<u32> = Vec::with_capacity(k + 1);
    for (item, &score) in (0..).zip(scores) {
        let last = best.last().copied().filter(|_| best.len() >= k);
        let beaten = last.is_some_and(|last| score < scores[last as usize] || before(last, item));
        if beaten || history.contains(&item) {
            continue;
        }
        let place = best.partition_point(|&other| before(other, item));
        best.insert(place, item);
        best.truncate(k);
    }
    let last = best.last().copied().filter(|_| best.len() >= k);
    let among = |&item: &u32| last.is_none_or(|last| before(item, last));
    let mut again: Vec<u32> = history.iter().copied().filter(among).collect();
    again.sort_unstable();
    again.dedup();
    best.extend(again);
    best.sort_by(|&a, &b| before(b, a).cmp(&before(a, b)));
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// With few different scores, so that most are ties: the beginning of all items in order.
        #[test]
        fn it_begins_the_whole_order(
            items in prop::collection::vec((0u32..4, 0u64..6), 1..40),
            history in prop::collection::vec(0usize..40, 0..12),
            k in 1usize..12,
        ) {
            let scores: Vec<f64> = items.iter().map(|(score, _)| f64::from(*score)).collect();
            let ties: Vec<u64> = items.iter().map(|(_, tie)| *tie).collect();
            let history: Vec<u32> = history.iter().map(|&at| (at % items.len()) as u32).collect();
            let mut order: Vec<u32> = (0..items.len() as u32).collect();
            order.sort_by_key(|&i| (std::cmp::Reverse(items[i as usize].0), ties[i as usize], i));
            let found = head(&scores, &ties, &history, k);
            prop_assert_eq!(&found[..], &order[..found.len()]);
            let new = |list: &[u32]| -> Vec<u32> {
                list.iter().copied().filter(|item| !history.contains(item)).take(k).collect()
            };
            prop_assert_eq!(new(&found), new(&order));
            prop_assert!(found.len() >= k.min(items.len()));
        }
    }
}
