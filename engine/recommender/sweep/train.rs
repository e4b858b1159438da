//! One training of a sweep: begun, gone on with, or found done.

use super::how::How;
use crate::base::outputs::make_folder;
use crate::base::{write_whole, Outputs};
use crate::recommender::learn::{self, learn, Begun, End, Report};
use crate::recommender::learning::Learning;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file that says that a training is done: more of it would be another one.
const DONE: &str = "trained.json";

/// Between two lines about a training.
const PAUSE: Duration = Duration::from_secs(10);

/// What is trained.
pub struct Training<'a> {
    /// Of which step.
    pub name: &'a str,
    /// How.
    pub learning: &'a Learning,
    /// From which weights.
    pub weights: &'a Path,
    /// On which data.
    pub data: &'a Path,
    /// Under which seed.
    pub seed: u64,
}

/// Trains into `place/run` with so many threads, unless that is done. Whether it is now: not where
/// somebody asked to stop.
pub fn train(training: &Training, place: &Path, how: &How, threads: usize) -> Result<bool> {
    let (run, done) = (place.join("run"), place.join(DONE));
    if done.is_file() {
        return Ok(true);
    }
    make_folder(place).with_context(|| place.display().to_string())?;
    let settings = Learning {
        weights: training.weights.to_owned(),
        data: training.data.to_owned(),
        out: Some(run.clone()),
        seed: training.seed,
        device: how.device,
        threads,
        ..training.learning.clone()
    };
    let name = format!("{}, seed {}", training.name, training.seed);
    let mut watch = Steps { how, name: name.clone(), said: Instant::now() };
    let learned = learn(&settings, Outputs::new(false), run.is_dir(), &mut watch)?;
    let state = &learned.state;
    if !matches!(learned.end, End::Done | End::NoGain) {
        return Ok(false);
    }
    how.watch.says(&format!("{name}: {} steps in {:.0} s", state.step, state.seconds));
    write_whole(&done, json!({"steps": state.step}).to_string() + "\n")?;
    Ok(true)
}

/// A training as a sweep shows it.
struct Steps<'a> {
    how: &'a How<'a>,
    name: String,
    said: Instant,
}

impl learn::Watch for Steps<'_> {
    fn begun(&mut self, begun: &Begun) {
        let name = &self.name;
        self.how.watch.says(&format!("{name}: {} steps", begun.steps));
        begun.idle.iter().for_each(|line| self.how.watch.says(&format!("{name}: {line}")));
        self.said = Instant::now();
    }

    fn step(&mut self, report: &Report) {
        if self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            let Report { step, total, loss, .. } = report;
            self.how.watch.says(&format!("{}: {step}/{total} steps, loss {loss:.4}", self.name));
        }
    }

    fn stop(&mut self) -> bool {
        (self.how.stop)()
    }
}
