//! Trains an adapter, watching every step, and stops by itself where the loss is low enough.
//!
//! `cargo run --release --example train -- glm-10b toys.bin runs/toys-lora`

use engine::recommender::learn::{Begun, Report};
use engine::recommender::{learn, Learning, Outputs, Watch};

/// Prints what happens; asks for an end at a loss.
struct Until {
    loss: f64,
    reached: bool,
}

impl Watch for Until {
    fn begun(&mut self, begun: &Begun) {
        println!("{} steps on {}; {}", begun.steps, begun.device, begun.memory);
    }

    fn step(&mut self, report: &Report) {
        println!("step {}: loss {:.4}", report.step, report.loss);
        self.reached = report.loss < self.loss;
    }

    fn stop(&mut self) -> bool {
        self.reached
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [weights, data, run] = words.as_slice() else {
        anyhow::bail!("usage: train WEIGHTS DATA.bin RUN");
    };
    let settings = Learning { out: Some(run.into()), epochs: 1.0, ..Learning::new(weights, data) };
    let learned =
        learn(&settings, Outputs::new(false), false, &mut Until { loss: 0.1, reached: false })?;
    println!("{}: {} steps", learned.run.display(), learned.state.step);
    Ok(())
}
