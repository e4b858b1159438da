//! The trie of a catalogue: building it from token ids, and walking it as a decoder does.
//!
//! Synthetic titles in the shape of the Toys catalogue (brand first, Zipf words); with `ENGINE_BIN`
//! the items of a prepared `.bin`. One core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use engine::base::{Philox, Stream};
use engine::data::{Dataset, Trie};

/// The bars, for a catalogue of this size (Toys).
const BUILD: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_nanos(100);
const ITEMS: usize = 11_924;

fn main() -> anyhow::Result<()> {
    println!(
        "{:<24} {:>8} {:>8} {:>10} {:>14} {:>14}",
        "trie", "items", "nodes", "bytes/node", "build", "step + list"
    );
    measure("synthetic titles", &titles(ITEMS));
    if let Some(path) = std::env::var_os("ENGINE_BIN") {
        let dataset = Dataset::open(path.as_ref())?;
        let sequences: Vec<Vec<u32>> =
            (0..dataset.items() as u32).map(|i| dataset.item(i).tokens.to_vec()).collect();
        measure(dataset.name(), &sequences);
    }
    println!("bars: build {BUILD:?} for {ITEMS} items, step + list {STEP:?}, 12 bytes a node");
    Ok(())
}

/// Titles whose first tokens and lengths fall as those of the Toys catalogue do: some 1,400 first
/// tokens, ten tokens in the mean, a long tail.
fn titles(count: usize) -> Vec<Vec<u32>> {
    let mut rng = Philox::new(0, Stream::Synthetic, 0);
    let zipf = |n: f64, rng: &mut Philox| ((n + 1.0).powf(rng.uniform()) - 1.0) as u32;
    (0..count)
        .map(|_| {
            let brand = zipf(1_900.0, &mut rng);
            let length = (2.1 + 0.45 * rng.normal()).exp().clamp(1.0, 120.0) as usize;
            // A brand is one to three tokens, always the same.
            let mut title: Vec<u32> = (0..1 + brand % 3).map(|k| brand + 2_000 * k).collect();
            title.extend((0..length).map(|_| 8_000 + zipf(30_000.0, &mut rng)));
            title
        })
        .collect()
}

fn measure(name: &str, sequences: &[Vec<u32>]) {
    let values: Vec<u32> = (0..sequences.len() as u32).collect();
    let trie = Trie::build(sequences, &values);
    trie.check().expect("a built trie is valid");
    for (sequence, value) in sequences.iter().zip(&values) {
        assert!(trie
            .members(trie.find(sequence).expect("every sequence is found"))
            .contains(value));
    }
    let bytes = 4 * (trie.first_child.len() + trie.token.len() + trie.first_member.len()) - 8;

    let build = best(|| {
        black_box(Trie::build(black_box(sequences), &values));
    });

    // A decoder's order: beams of different users hop between far apart nodes. Each step advances
    // by a token and reads the tokens of all children.
    let mut rng = Philox::new(1, Stream::Synthetic, 0);
    let mut steps: Vec<(u32, u32)> = Vec::new();
    for node in 0..trie.nodes() as u32 {
        steps.extend(trie.edges(node).iter().map(|&token| (node, token)));
    }
    rng.shuffle(&mut steps);
    let walk = best(|| {
        let mut sum = 0u32;
        for &(node, token) in &steps {
            let child = trie.child(node, token).expect("an edge of the trie");
            sum = trie.edges(child).iter().fold(sum, |sum, &t| sum.wrapping_add(t));
        }
        black_box(sum);
    });
    let step = walk / steps.len() as u32;
    // The widest node is the root: every beam's first step searches there.
    let first: Vec<u32> =
        steps.iter().filter(|&&(node, _)| node == Trie::ROOT).map(|&(_, token)| token).collect();
    let root = best(|| {
        for &token in &first {
            let child = trie.child(black_box(Trie::ROOT), token).expect("an edge of the trie");
            black_box(trie.edges(child));
        }
    }) / first.len() as u32;
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    // The bar of building is for a catalogue of Toys' size; larger ones are measured in proportion.
    let bar = BUILD.mul_f64((sequences.len() as f64 / ITEMS as f64).max(1.0));
    println!(
        "{name:<24} {:>8} {:>8} {:>10.1} {:>7.2?} {:>6} {:>7.0?} {:>7.0?} {:>6}",
        sequences.len(),
        trie.nodes(),
        bytes as f64 / trie.nodes() as f64,
        build,
        verdict(build <= bar),
        step,
        root,
        verdict(step.max(root) <= STEP)
    );
}

/// The best of some runs: what the code costs when nothing disturbs it.
fn best(mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    best
}
