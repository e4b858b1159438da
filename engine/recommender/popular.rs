//! What is answered where nothing is known of somebody: what everybody takes.

use crate::data::rank::Sequences;
use crate::data::task::Parts;
use crate::data::Dataset;

/// All items, the most popular first, with the logarithm of their share of what training may see:
/// counts of the baseline of that name, each one more, so that every item has a share.
pub(super) fn ranked(dataset: &Dataset) -> Vec<(u32, f64)> {
    let items = dataset.items();
    let sequences = dataset.sequences(Parts::Train);
    let counts = Sequences { users: &sequences, items }.counts();
    let all = counts.iter().sum::<f64>() + items as f64;
    let share = |item: u32| ((counts[item as usize] + 1.0) / all).ln();
    let mut ranked: Vec<(u32, f64)> = (0..items as u32).map(|item| (item, share(item))).collect();
    ranked.sort_by(|(a, x), (b, y)| {
        y.total_cmp(x).then_with(|| (dataset.tie(*a), a).cmp(&(dataset.tie(*b), b)))
    });
    ranked
}
