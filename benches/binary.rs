//! What the binary costs before it computes: its size, its start, and `prepare` of a catalogue.
//!
//! Starts are whole processes, spawned and waited for; the bar is on their median. `prepare` reads
//! Toys and trains a tokenizer of 8,000 ids on it, where Toys is there.

mod support;

use std::process::Command;
use support::{engine, median, toys_source, verdict, BINARY};

const SIZE: f64 = 20e6;
const START: f64 = 0.020;
const PREPARE: f64 = 10.0;
const ROUNDS: usize = 31;

fn main() -> anyhow::Result<()> {
    let said = Command::new(BINARY).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.trim(), concat!("engine ", env!("CARGO_PKG_VERSION")));
    let size = std::fs::metadata(BINARY)?.len() as f64;
    println!(
        "size              {:8.2} MB  at most {:.0}: {}",
        size / 1e6,
        SIZE / 1e6,
        verdict(size <= SIZE)
    );

    for arguments in [["--version"], ["doctor"]] {
        let times: Vec<f64> = (0..ROUNDS).map(|_| engine(&arguments).as_secs_f64()).collect();
        let start = median(&times);
        println!(
            "{:17} {:8.2} ms  at most {:.0}: {}",
            arguments[0],
            1e3 * start,
            1e3 * START,
            verdict(start <= START)
        );
    }

    let Some(source) = toys_source() else {
        println!("prepare           skipped: Toys is not there");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let (source, out) =
        (source.display().to_string(), folder.path().join("toys.bin").display().to_string());
    let times: Vec<f64> = (0..3)
        .map(|_| {
            let arguments = [
                "prepare",
                &source,
                "--train-tokenizer",
                "8000",
                "--out",
                &out,
                "--force",
                "--quiet",
            ];
            engine(&arguments).as_secs_f64()
        })
        .collect();
    let dataset = engine::data::Dataset::open(out.as_ref())?;
    dataset.verify()?;
    let seconds = median(&times);
    println!(
        "prepare           {seconds:8.2} s   at most {PREPARE:.0}: {} ({} items, {} users)",
        verdict(seconds <= PREPARE),
        dataset.items(),
        dataset.users()
    );
    Ok(())
}
