//! How full batches are: samples packed into a budget of rows, beside what padding to the longest
//! would take.
//!
//! On the training examples of an epoch of Toys as `benches/recipes/toys.toml` draws them
//! (synthetic lengths where Toys is not there). The bar is on the fill over all packs, the last one
//! included.

mod support;

use engine::data::batch::pack;
use support::{examples, median, seconds, verdict};

const BAR: f64 = 0.98;
/// Examples of a padded batch.
const BATCH: usize = 64;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dataset = support::toys(&folder);
    let found = examples(dataset.as_ref(), usize::MAX);
    let lengths: Vec<usize> = found.samples.iter().map(|sample| sample.rows()).collect();
    let rows: usize = lengths.iter().sum();
    let longest = lengths.iter().max().copied().unwrap_or(1);
    println!(
        "{} examples ({}): {rows} rows, mean {:.1}, longest {longest}",
        lengths.len(),
        found.origin,
        rows as f64 / lengths.len() as f64
    );
    let padded: usize = lengths.chunks(BATCH).map(|c| c.len() * c.iter().max().unwrap_or(&0)).sum();
    println!(
        "padded to the longest of each {BATCH} in a random order, rows are {:.1} % full",
        100.0 * rows as f64 / padded as f64
    );
    println!("{:>8} {:>8} {:>8} {:>12}", "budget", "packs", "fill", "ms an epoch");
    for budget in [2048, 4096, 8192] {
        let packs = pack(&lengths, budget, 0, 0)?;
        let mut seen: Vec<usize> = packs.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..lengths.len()), "every sample is in exactly one pack");
        assert!(packs.iter().all(|p| p.iter().map(|&i| lengths[i]).sum::<usize>() <= budget));
        let fill = rows as f64 / (packs.len() * budget) as f64;
        let times: Vec<f64> =
            (0..5).map(|epoch| seconds(|| drop(pack(&lengths, budget, 0, epoch)))).collect();
        println!(
            "{budget:>8} {:>8} {fill:>8.4} {:>12.2} at least {BAR}: {}",
            packs.len(),
            1e3 * median(&times),
            verdict(fill >= BAR)
        );
    }
    Ok(())
}
