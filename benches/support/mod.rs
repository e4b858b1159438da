//! What the benches share: data to measure on, timing in turn, and how a bar is printed.
#![allow(dead_code)]

use engine::base::{Philox, Stream};
use engine::data::records::SplitPolicy;
use engine::data::sample::SampleOptions;
use engine::data::span::Masking;
use engine::data::task::{Course, Habits, Lessons, Mix, Tasks};
use engine::data::template::Templates;
use engine::data::{Dataset, Family, Intra, IntraMode, Sample, SampleBuilder, Target};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_engine");

/// Where the Toys set lies: `ENGINE_TOYS`, else `shared/data/toys` under `ENGINE_SHARED` or beside
/// the project, else `data/toys`.
pub fn toys_source() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let shared = named("ENGINE_SHARED").unwrap_or_else(|| root.join("../shared"));
    let places =
        [named("ENGINE_TOYS"), Some(shared.join("data/toys")), Some(root.join("data/toys"))];
    places.into_iter().flatten().find(|place| place.exists())
}

/// Runs a verb of the binary; returns how long the process took. Panics where it fails.
pub fn engine(arguments: &[&str]) -> Duration {
    let start = Instant::now();
    let done = Command::new(BINARY)
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .expect("the binary runs");
    let elapsed = start.elapsed();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "engine {}: {}: {errors}", arguments.join(" "), done.status);
    elapsed
}

/// The Toys set: the `.bin` that `ENGINE_BIN` names, else one prepared in `folder` with a tokenizer
/// of its own.
pub fn toys(folder: &tempfile::TempDir) -> Option<Dataset> {
    let bin = match std::env::var_os("ENGINE_BIN") {
        Some(bin) => PathBuf::from(bin),
        None => {
            let source = toys_source()?;
            let bin = folder.path().join("toys.bin");
            let (source, out) = (source.display().to_string(), bin.display().to_string());
            engine(&["prepare", &source, "--train-tokenizer", "8000", "--out", &out, "--quiet"]);
            bin
        }
    };
    Some(Dataset::open(&bin).expect("a prepared data set opens"))
}

/// Training examples, and in words where they come from.
pub struct Examples {
    pub samples: Vec<Sample>,
    pub origin: String,
}

/// As many training examples as there are learners of Toys (or `limit`), drawn by
/// `benches/recipes/toys.toml`; where Toys is not there, samples whose lengths fall as theirs do.
pub fn examples(dataset: Option<&Dataset>, limit: usize) -> Examples {
    let Some(dataset) = dataset else {
        let samples = (0..limit.min(19_412)).map(|i| drawn(i as u64)).collect();
        return Examples { samples, origin: "drawn in the shape of Toys".into() };
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let templates =
        Templates::load(&root.join("benches/recipes/list.toml")).expect("the recipe's templates");
    let builder = SampleBuilder::new(
        dataset.vocab().special(),
        Intra::new(dataset.pool(), IntraMode::default()),
        SampleOptions { max_row: 384, last_position: 512, ..SampleOptions::default() },
    );
    let list = templates.get("list").expect("the recipe's template");
    let tasks = Tasks::new(dataset, builder, &[list], Habits::default());
    let tasks = tasks.expect("the recipe fits the data");
    let masking = Masking { mix: [0.0, 0.0, 1.0], doc_suffix: 1.0, ..Masking::default() };
    let mix = Mix { masking, blanks: 0.5, ..Mix::default() };
    let family = Family::Sequential;
    let (subjects, _) = tasks.learners(family, SplitPolicy::P5).expect("Toys can be learnt from");
    let users = subjects.len();
    let lessons = Lessons { family, subjects, examples: users as u64 };
    let samples = Course::new(vec![lessons], 0)
        .step(users.min(limit), 1)
        .into_iter()
        .map(|example| tasks.training(example, &mix).expect("a learner has an example"))
        .collect();
    Examples { samples, origin: dataset.name().to_owned() }
}

/// A prompt with its answer: a history whose length is log-normal, one to thirty tokens asked for.
fn drawn(example: u64) -> Sample {
    let mut random = Philox::new(0, Stream::Synthetic, example);
    let context = (3.9 + 0.6 * random.normal()).exp().clamp(8.0, 350.0) as usize;
    let answer = 1 + random.below(30);
    let tokens: Vec<u32> = (0..context + answer).map(|_| random.below(8000) as u32).collect();
    let part = |i: usize| if i < context { i } else { context - 2 };
    Sample {
        example,
        positions: [
            (0..tokens.len()).map(|i| part(i) as u32).collect(),
            (0..tokens.len()).map(|i| (i + 1).saturating_sub(context) as u32).collect(),
        ],
        context,
        targets: (context..tokens.len())
            .map(|row| Target::of(row as u32, random.below(8000) as u32))
            .collect(),
        tokens,
        ..Sample::default()
    }
}

/// Seconds of each of several works in each of `rounds`, taken in turn, so that what disturbs one
/// disturbs all.
pub fn in_turn(works: &mut [&mut dyn FnMut() -> f64], rounds: usize) -> Vec<Vec<f64>> {
    works.iter_mut().for_each(|work| {
        work();
    });
    let mut seconds = vec![Vec::with_capacity(rounds); works.len()];
    for _ in 0..rounds {
        for (work, seconds) in works.iter_mut().zip(&mut seconds) {
            seconds.push(work());
        }
    }
    seconds
}

/// How long `work` takes, in seconds.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// The median of a[i] / b[i]: rounds that were disturbed were disturbed for both.
pub fn ratio(a: &[f64], b: &[f64]) -> f64 {
    median(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
}

pub fn verdict(met: bool) -> &'static str {
    if met {
        "met"
    } else {
        "MISSED"
    }
}
