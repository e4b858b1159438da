//! The program under attack: its disk fails or fills at every file operation of every verb, it is
//! killed there and at moments that nobody chose, the machine loses what was not synced, its inputs
//! are rubbish, and a filter is asked for a long time. What is promised is in docs/durability.md.
//!
//! Operations are counted while a verb runs and listed nowhere, so a new write is attacked by
//! itself. A usual run takes a sample, other ones every time; a failure prints its seed.
//! `ENGINE_ATTACK=all` walks the whole way, `ENGINE_ATTACK=SEED` a sample again.

mod crash;
mod faults;
mod fuzz;
mod interpose;
mod kills;
#[path = "../support/shop.rs"]
mod shop;
#[path = "../support/signed.rs"]
mod signed;
mod soak;
mod tree;
mod verbs;

use engine::base::{Philox, Stream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much of an attack is done.
struct Extent {
    whole: bool,
    seed: u64,
    until: Instant,
}

impl Extent {
    /// All of it, or a sample of so many seconds.
    fn of(name: &str, seconds: u64) -> Extent {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let asked = std::env::var("ENGINE_ATTACK").unwrap_or_default();
        let (whole, seed) = (asked == "all", asked.parse().unwrap_or_else(|_| clock()));
        println!("{name}: {}", if whole { "all".into() } else { format!("sample of seed {seed}") });
        Extent { whole, seed, until: Instant::now() + Duration::from_secs(seconds) }
    }

    /// The order in which things are tried.
    fn shuffle<T>(&self, things: &mut [T]) {
        let mut rng = Philox::new(self.seed, Stream::Synthetic, 0);
        for i in (1..things.len()).rev() {
            things.swap(i, rng.below(i + 1));
        }
    }

    fn over(&self) -> bool {
        !self.whole && Instant::now() > self.until
    }
}

/// Tries all things, or those for which there is time, on all cores; what was said against them,
/// and how many were tried.
fn each<T: Sync>(
    extent: &Extent,
    things: &[T],
    attempt: impl Fn(usize, &T) -> Result<(), String> + Sync,
) -> (Vec<String>, usize) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let (mut against, mut tried) = (Vec::new(), 0);
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(i).filter(|_| !extent.over()) else { break };
            tried += 1;
            against.extend(attempt(i, thing).err());
        }
        (against, tried)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|one| one.join().unwrap()).fold((Vec::new(), 0), |mut sum, one| {
            sum.0.extend(one.0);
            (sum.0, sum.1 + one.1)
        })
    })
}
