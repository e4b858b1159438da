//! A filter of one's own: JSON lines in, JSON lines out; what comes together is answered together.
//!
//! `cargo run --release --example filter -- runs/toys toys.bin < questions.jsonl`

use engine::recommender::line::{self, RawLines};
use engine::recommender::queue::{Limits, Queue};
use engine::recommender::{Family, Recommender, Settings};
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [weights, data] = words.as_slice() else {
        anyhow::bail!("usage: filter WEIGHTS DATA.bin");
    };
    let recommender = Recommender::open(&Settings::new(weights, data))?;
    let lines = RawLines::standard_input()?;
    let limits = Limits { lines: 64, bytes: 16 << 20, wait: Duration::from_millis(10) };
    let queue = Queue::start(lines, limits, || false);
    while let Some(group) = queue.next()? {
        let asked: Vec<line::Labelled> =
            group.iter().map(|raw| line::ask(&recommender, raw, Family::Sequential)).collect();
        let answers = recommender.answer(asked.iter().map(|labelled| &labelled.asked))?;
        for (labelled, answered) in asked.iter().zip(&answers) {
            println!("{}", line::answer(recommender.dataset(), labelled, answered));
        }
    }
    Ok(())
}
