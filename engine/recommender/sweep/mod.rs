//! A sweep: every step of a ladder is trained and asked under every seed, by the same functions as
//! alone, and the steps are compared.
//!
//! ```text
//! OUT/sweep.json                      the ladder, as data: what it was begun with
//! OUT/data, OUT/base/seed-N           what every step stands on, where it had to be made
//! OUT/STEP/seed-N/run                 a training; trained.json beside it says that it is done
//! OUT/STEP/seed-N/predictions.jsonl   what it answers
//! OUT/ladder.json, .md, .html         the comparison
//! ```

mod ask;
mod ground;
mod how;
mod ladder;
mod together;
mod train;

pub use crate::eval::ladder::{Ladder as Compared, Score};
pub use crate::eval::score::Subject;
pub use how::{How, Watch};
pub use ladder::{check_judging, Base, Data, Ladder, Step};

use super::identity::compare;
use crate::base::outputs::discard;
use crate::base::{write_whole, Fault, Held, Outputs, Standing, Written};
use crate::data::rules::Purpose;
use crate::data::Dataset;
use crate::device::Place;
use crate::eval::bootstrap::Bootstrap;
use crate::eval::ladder::{compare as compared, About, Measured};
use crate::model::Config;
use crate::recommender::course::course;
use crate::recommender::source::{best_place, frame_of};
use crate::recommender::weights::{find_weights, is_read};
use anyhow::{Context, Result};
use ask::{ask, judged, Asking};
use ground::{lay, Ground};
use serde_json::Value;
use std::path::{Path, PathBuf};
use together::{fitting, side_by_side};
use train::{train, Training};

/// What a sweep was begun with.
const IDENTITY: &str = "sweep.json";

/// What is written in the folder of a sweep beside the folders of its steps, whose names no step
/// may have.
pub const WRITTEN: Written = Written {
    files: &["ladder.md", "ladder.html", "ladder.json", IDENTITY],
    folders: &["data", "base"],
};

/// A step under a seed, by their numbers.
struct Task {
    step: usize,
    seed: usize,
}

/// Trains, asks and compares all of `ladder` into `how.out`; with `how.resume` what is there is
/// gone on with, and what is done is not done again; steps and seeds may have come to it. `None`
/// where somebody asked to stop: the state is saved.
///
/// Refuses what [`Ladder::check`] refuses, templates that cannot be trained on, a folder that holds
/// something unless it goes on with it, and going on with another ladder.
pub fn sweep(ladder: &Ladder, outputs: Outputs, how: &How) -> Result<Option<Compared>> {
    ladder.check()?;
    let _held = claim(ladder, outputs, how)?;
    let Some(ground) = lay(ladder, how)? else { return Ok(None) };
    check(ladder, &ground)?;
    let place = how.device.unwrap_or_else(best_place);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = if how.threads > 0 { how.threads } else { cores() };
    let together = match how.together {
        0 => fitting(ladder, &ground.bases[0], place, threads)?,
        together => together,
    };
    let own = (threads / together).max(1);
    how.watch.says(&format!("{together} side by side, threads of each: {own}"));
    // What asks another step's training comes when all are trained.
    for asks_another in [false, true] {
        let of = |step: &usize| ladder.steps[*step].from.is_some() == asks_another;
        let steps: Vec<usize> = (0..ladder.steps.len()).filter(of).collect();
        let seeds = 0..ladder.seeds.len();
        let tasks = seeds.flat_map(|seed| steps.iter().map(move |&step| Task { step, seed }));
        let work = |task: &Task| done(ladder, &ground, how, task, own);
        if !side_by_side(&tasks.collect::<Vec<_>>(), together, work)? {
            return Ok(None);
        }
    }
    report(ladder, &ground, how).map(Some)
}

/// Claims the folder. What is begun takes the place of what stood there; what is gone on with must
/// have begun as this.
fn claim(ladder: &Ladder, mut outputs: Outputs, how: &How) -> Result<Held> {
    let path = how.out.join(IDENTITY);
    let refuse = |got: &str, advice: &str| {
        Err(Fault::Usage.error(format!(
            "setting `resume`: {}: expected the ladder that it was begun with, got {got}; {advice}",
            path.display()
        )))
    };
    if how.resume && !path.is_file() {
        return refuse("nothing", "check setting `out`, or begin without setting `resume`");
    }
    if let Data::Prepared(data) = &ladder.data {
        outputs.reads("the data", data);
    }
    match &ladder.base {
        Base::Weights(folder) => {
            let folder = find_weights(folder)?;
            outputs.reads_in("the base", &folder, is_read);
        }
        Base::Made(creation, _) => drop(outputs.reads("the base's model", &creation.model)),
    }
    let standing = if how.resume { Standing::Continued } else { Standing::Resumable };
    outputs.folder("setting `out`", how.out, WRITTEN, standing);
    let held = outputs.claim()?;
    let kind = match how.device.unwrap_or_else(best_place) {
        Place::Cpu => "cpu",
        Place::Cuda(_) => "cuda",
        Place::Emu(_) => "emu",
    };
    let now = ladder.identity(kind, how.threads)?;
    if !how.resume {
        held.clear()?;
        for step in &ladder.steps {
            let folder = how.out.join(&step.name);
            discard(&folder).with_context(|| folder.display().to_string())?;
        }
        write_whole(&path, serde_json::to_string_pretty(&now)? + "\n")?;
        return Ok(held);
    }
    let before = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let before: Value = serde_json::from_slice(&before).map_err(|e| {
        Fault::Data.error(format!("{}: expected what a sweep wrote, got {e}", path.display()))
    })?;
    let mut others = Vec::new();
    let (begun, added) = without_added(&before, &now);
    compare("ladder", &before, &begun, &mut others);
    if !others.is_empty() {
        return refuse(
            &format!("another: {}", others.join(", ")),
            "go on as it was begun, with steps or seeds more, or choose another setting `out`",
        );
    }
    if before != now {
        // What stands in the place of what is added was another ladder's.
        for folder in added {
            let folder = how.out.join(folder);
            discard(&folder).with_context(|| folder.display().to_string())?;
        }
        write_whole(&path, serde_json::to_string_pretty(&now)? + "\n")?;
    }
    Ok(held)
}

/// A ladder that has grown, as it was before: without the steps and seeds that `before` lacks; and
/// the folders of these.
fn without_added(before: &Value, now: &Value) -> (Value, Vec<PathBuf>) {
    let (mut begun, mut added) = (now.clone(), Vec::new());
    let lacks_step = |name: &str| before["steps"].get(name).is_none();
    let lacks_seed = |seed: &Value| {
        let seeds = before["seeds"].as_array();
        seeds.is_none_or(|seeds| !seeds.contains(seed))
    };
    let seeds = now["seeds"].as_array().into_iter().flatten();
    let new: Vec<String> = seeds.filter(|seed| lacks_seed(seed)).map(seed_folder).collect();
    added.extend(new.iter().map(|seed| Path::new("base").join(seed)));
    for (name, _) in now["steps"].as_object().into_iter().flatten() {
        match lacks_step(name) {
            true => added.push(PathBuf::from(name)),
            false => added.extend(new.iter().map(|seed| Path::new(name).join(seed))),
        }
    }
    if let Some(steps) = begun["steps"].as_object_mut() {
        steps.retain(|name, _| !lacks_step(name));
    }
    if let Some(seeds) = begun["seeds"].as_array_mut() {
        seeds.retain(|seed| !lacks_seed(seed));
    }
    (begun, added)
}

/// What the folder of a seed is called.
fn seed_folder(seed: impl std::fmt::Display) -> String {
    format!("seed-{seed}")
}

/// Refuses, before anything is trained, what the rows of some step refuse.
fn check(ladder: &Ladder, ground: &Ground) -> Result<()> {
    let dataset = Dataset::open(&ground.data)?;
    let config = Config::read(&find_weights(&ground.bases[0])?.join("config.json"))?;
    for step in ladder.steps.iter().filter(|step| step.from.is_none()) {
        let check = || -> Result<()> {
            let rules = step.learning.decided(frame_of(&config))?;
            let tasks = rules.tasks(&dataset, config.max_positions, Purpose::Training, 0)?;
            course(&step.learning, &tasks, &step.learning.mix()?).map(drop)
        };
        check().with_context(|| format!("step {}", step.name))?;
    }
    Ok(())
}

/// The folder of a step under a seed.
fn place(ladder: &Ladder, how: &How, step: usize, seed: usize) -> PathBuf {
    how.out.join(&ladder.steps[step].name).join(seed_folder(ladder.seeds[seed]))
}

/// Trains a step, where it is one that trains, and asks it.
fn done(ladder: &Ladder, ground: &Ground, how: &How, task: &Task, threads: usize) -> Result<bool> {
    let &Task { step: number, seed: at } = task;
    let (step, seed) = (&ladder.steps[number], ladder.seeds[at]);
    let own = place(ladder, how, number, at);
    let (data, weights): (&Path, &Path) = (&ground.data, &ground.bases[at]);
    let taught = step.from.unwrap_or(number);
    let learning = &ladder.steps[taught].learning;
    let work = || {
        if step.from.is_none() {
            let training = Training { name: &step.name, learning, weights, data, seed };
            if !train(&training, &own, how, threads)? {
                return Ok(false);
            }
        }
        let run = place(ladder, how, taught, at).join("run");
        let (name, job) = (&*step.name, &step.job);
        let asking = Asking { name, job, learning, run: &run, weights, data, seed };
        ask(&asking, &own, how, threads)
    };
    work().with_context(|| format!("step {}, seed {seed}", step.name))
}

/// Judges all answers, compares the steps and writes the comparison down.
fn report(ladder: &Ladder, ground: &Ground, how: &How) -> Result<Compared> {
    let (mut steps, mut warnings, mut data) = (Vec::new(), Vec::<String>::new(), None);
    for (number, step) in ladder.steps.iter().enumerate() {
        let mut answered = Vec::new();
        for seed in 0..ladder.seeds.len() {
            let folder = place(ladder, how, number, seed);
            let found = judged(&ladder.judging, &ground.data, &folder)?;
            answered.push(found.answered);
            data = Some(found.data);
            warnings.extend(found.warnings.into_iter().map(|w| format!("{}: {w}", step.name)));
        }
        let (name, settings) = (step.name.clone(), step.settings.clone());
        let measured = Measured { name, settings, against: step.against, answered };
        if !ladder.scores.iter().any(|score| measured.has(*score)) {
            let what = ladder.without_scores(step);
            return Err(Fault::Usage.error(format!("metrics: {what}")));
        }
        steps.push(measured);
    }
    let mut said = std::collections::HashSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    let about = About {
        name: ladder.name.clone(),
        data: data.expect("a ladder has a step and a seed"),
        seeds: ladder.seeds.clone(),
        warnings,
    };
    let bootstrap = Bootstrap { resamples: ladder.judging.resamples, seed: ladder.judging.seed };
    let made = compared(about, &steps, &ladder.scores, bootstrap);
    let json = serde_json::to_string_pretty(&made)? + "\n";
    for (name, text) in
        [("ladder.md", made.markdown()), ("ladder.html", made.page()), ("ladder.json", json)]
    {
        write_whole(&how.out.join(name), text)?;
    }
    Ok(made)
}
