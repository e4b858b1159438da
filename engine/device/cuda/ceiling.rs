//! What the device can do at most, measured: the yardsticks that benches print beside every op.

use super::*;
use std::time::Instant;

/// Operations of one 16×8×16 product.
const OPERATIONS: usize = 2 * 16 * 8 * 16;

/// Tensor-core rate of registers alone and the rate of a copy, each the best of some rounds.
pub(super) fn ceilings(cuda: &Cuda) -> Result<Ceilings> {
    // Two blocks a processor hide each other's latencies. Rounds and bytes are large enough to time
    // on a GPU.
    let blocks = 2 * cuda.processors();
    let (rounds, bytes) =
        if cuda.driver.properties().emulated { (2, 1 << 16) } else { (20_000, 1 << 30) };
    let threads = cuda.entries.ceiling.bf16.threads();
    let y = cuda.scratch(blocks * threads * 4)?;
    let best = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        let mut best = f64::MAX;
        for _ in 0..8 {
            cuda.driver.synchronize()?;
            let start = Instant::now();
            work()?;
            cuda.driver.synchronize()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let warps = blocks * threads / 32;
    let operations = (warps * rounds * interface::CEILING_PRODUCTS * OPERATIONS) as f64;
    let products = |entry| {
        let parameters = interface::Ceiling { y: y.at(), rounds: count(rounds), seed: 1 };
        best(&|| cuda.launch(entry, Grid::of(blocks), parameters))
            .map(|seconds| operations / seconds)
    };
    let (from, to) = (cuda.scratch(bytes)?, cuda.scratch(bytes)?);
    let copied = best(&|| cuda.driver.copy(to.address, from.address, bytes))?;
    Ok(Ceilings {
        bf16: products(cuda.entries.ceiling.bf16)?,
        f16: products(cuda.entries.ceiling.f16)?,
        // Each byte is read and written.
        memory: 2.0 * bytes as f64 / copied,
    })
}
