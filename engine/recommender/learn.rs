//! Learning: a data set and a checkpoint become a run.

use super::budget::{training, widest, Budget};
use super::course::course;
use super::identity::Identity;
use super::idle::idle;
use super::learning::Learning;
use super::learnt::Learnt;
use super::run::{Run, WRITTEN};
use super::source::{frame_of, Curve, Loaded};
use super::teaching::teaching;
use super::validation::Validation;
use crate::base::map::settled;
use crate::base::{Fault, Held, Outputs, Standing};
use crate::data::rules::Purpose;
use crate::data::task::{Course, Mix, Tasks};
use crate::data::{batch, Batch, Dataset, Sample};
use crate::model::{Keep, Model, Rates};
use crate::train::{self, Hooks, State};
use anyhow::Result;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

pub use crate::train::{End, Report};

/// What a run is, before its first step.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The run folder.
    pub run: PathBuf,
    /// The device that computes.
    pub device: String,
    /// Examples of an epoch: of every user with something to learn from, or of every record.
    pub examples: u64,
    /// What an epoch is made of, where that is more than the users, a line each.
    pub families: Vec<String>,
    /// Settings that were given and change nothing, a line each.
    pub idle: Vec<String>,
    /// Trained numbers.
    pub trained: usize,
    /// Tokens of a row at most: no more than the model has positions.
    pub longest_row: usize,
    /// Steps of the whole schedule.
    pub steps: u64,
    /// Users or records of a validation.
    pub validated: usize,
    /// What a validation measures.
    pub measure: &'static str,
    /// The memory plan in words.
    pub memory: String,
}

/// Told how a run goes on, and asked whether it is to go on.
pub trait Watch {
    /// Everything is loaded and checked; the first step comes next.
    fn begun(&mut self, _begun: &Begun) {}
    /// A step is done.
    fn step(&mut self, _report: &Report) {}
    /// Whether to save and stop: asked after every step, and between the groups of a validation,
    /// which whoever goes on does again.
    fn stop(&mut self) -> bool {
        false
    }
}

impl Watch for () {}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The run folder: an adapter, or a weights folder.
    pub run: PathBuf,
    /// Steps, seconds, best validation.
    pub state: State,
    /// Why it ended.
    pub end: End,
    /// Most bytes that tensors took at once.
    pub peak: u64,
}

/// The folder of runs that nobody named.
const RUNS: &str = "runs";

/// Trains and leaves a run folder. With `resume` it goes on from the newest checkpoint of
/// `settings.out`, or without one of the newest run that began as this one, bit for bit as if it
/// had never stopped.
///
/// Refuses settings out of range, a data set that does not fit the model or has nobody to learn
/// from, a folder that holds something unless it goes on with it, and going on under other
/// settings.
pub fn learn(
    settings: &Learning,
    outputs: Outputs,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<Learned> {
    settings.check()?;
    let tune = settings.tune()?;
    let given = settings;
    // The device decides the default, and the default decides the numbers: a resume must ask for
    // the same.
    let storage = settings.source().storage(&tune);
    let settings = &Learning { dtype: Some(storage), ..settings.clone() };
    let source = settings.source();
    // A run to go on with that nobody named is found by what it is, once that is known.
    let held = match resume && settings.out.is_none() {
        true => Err(outputs),
        false => Ok(claim(settings, outputs, resume)?),
    };
    let Loaded { mut model, origin, .. } = source.load(&tune)?;
    let rules = settings.decided(frame_of(&model.config))?;
    let length_penalty = settings.length_penalty(&rules);
    let settings = &Learning {
        rules: rules.clone().into(),
        validate_length_penalty: Some(length_penalty),
        ..settings.clone()
    };
    let dataset = Dataset::open(&settings.data)?;
    source.check(&model, &dataset)?;
    let (positions, seed) = (model.config.max_positions, settings.seed);
    let tasks = rules.tasks(&dataset, positions, Purpose::Training, seed)?;
    let tasks = tasks.learning_from(settings.parts);
    let taught = teaching(settings, &dataset)?;
    let taught_by = taught.as_ref().map(|taught| taught.what.clone());
    let tasks = match taught {
        Some(taught) => tasks.taught_by(taught.teacher),
        None => tasks,
    };
    let mix = settings.mix()?;
    let (mut course, families) = course(settings, &tasks, &mix)?;
    let idle = idle(given, &tasks);
    let budget = Budget::of(&model, &tune)?;
    let validation = Validation::plan(settings, &budget, &tasks, &dataset, course.lessons())?;
    let rates = Rates::of(&tune, &model.config, settings.dropout, settings.attention_dropout);
    let rows = settings.batch_rows.min(settings.batch * tasks.builder().options().max_row);
    let widest = widest(settings.objective, &dataset);
    let step_of = |keep: Keep| training(keep, rows, widest, rates, settings.lora_dropout);
    let identity = Identity::of_training(settings, (rates, taught_by), &origin, &dataset, &tasks)?;
    let held = held.or_else(|outputs| {
        let out = Some(Run::begun_as(&identity, Path::new(RUNS))?);
        claim(&Learning { out, ..settings.clone() }, outputs, resume)
    })?;
    let run = Run::at(held.folder());
    // A run that was stopped before its first checkpoint is begun again, as what it was.
    let (asked, resume) = (resume, resume && run.is_begun(settings.checkpoint_every)?);
    if resume || asked && run.has_identity() {
        run.expect(&identity)?;
    }
    if !resume {
        held.clear()?;
        let gelu = Some(Curve::of(model.config.gelu));
        run.begin(&identity, &Learnt { rules, length_penalty, gelu })?;
    }
    let loop_settings = train::Settings {
        run: run.folder().to_owned(),
        seed,
        schedule: settings.schedule(course.epoch()),
        hyper: settings.hyper(),
        rates,
        lora_dropout: settings.lora_dropout,
        adaptive: settings.is_adaptive(),
        keep: settings.keep.keep().unwrap_or_else(|| budget.keep(step_of)),
        validate_every: settings.validate_every,
        patience: settings.patience,
        checkpoint_every: settings.checkpoint_every,
        keep_checkpoints: settings.keep_checkpoints,
        max_seconds: 60.0 * settings.max_minutes,
    };
    watch.begun(&Begun {
        run: run.folder().to_owned(),
        device: model.device.name().to_owned(),
        examples: course.epoch(),
        families,
        idle,
        trained: model.layout().len(),
        longest_row: tasks.builder().options().max_row,
        steps: loop_settings.schedule.total,
        validated: validation.asked(),
        measure: validation.measure(),
        memory: budget.words(&step_of(loop_settings.keep), validation.fullest().as_ref()),
    });
    let watch = std::cell::RefCell::new(watch);
    let stop = || watch.borrow_mut().stop();
    let mut batches = |step: u64| {
        settled([dataset.map()], || step_batches(settings, &tasks, &mut course, &mix, step))
    };
    let mut validate = |_: u64, model: &Model| {
        let files = model.maps().chain([dataset.map()]);
        settled(files, || validation.score(model, &tasks, &dataset, &stop))
    };
    let mut publish = |model: &Model, state: &State| {
        run.publish(settings, model, &origin.weights, &dataset, state)
    };
    let mut hooks = Hooks {
        batches: &mut batches,
        validate: &mut validate,
        progress: &mut |report| watch.borrow_mut().step(report),
        publish: &mut publish,
        resumed: &mut |model, state| {
            run.complete(settings, model, &origin.weights, &dataset, state)
        },
        interrupted: &mut || stop(),
    };
    let trained = train::train(&mut model, &loop_settings, resume, &mut hooks);
    // What failed before its first step has learnt nothing, and leaves nothing.
    if trained.is_err() && !resume && run.is_unlearnt() {
        held.clear()?;
    }
    let (state, end) = trained?;
    let peak = model.device.memory().peak as u64;
    Ok(Learned { run: run.folder().to_owned(), state, end, peak })
}

/// Claims the run folder: the one that was named, or the next number.
fn claim(settings: &Learning, mut outputs: Outputs, resume: bool) -> Result<Held> {
    settings.source().tell(&mut outputs);
    settings.rules.tell(&mut outputs);
    outputs.reads("setting `data`", &settings.data);
    if let Some(table) = settings.teacher.file() {
        outputs.reads("setting `teacher`", table);
    }
    match &settings.out {
        Some(folder) if resume && !folder.is_dir() => {
            return Err(Fault::Usage.error(format!(
                "setting `resume`: {}: expected a run to go on with, got nothing: this path does \
                not exist; check setting `out`",
                folder.display()
            )));
        }
        Some(folder) => {
            let standing = if resume { Standing::Continued } else { Standing::Resumable };
            outputs.folder("setting `out`", folder, WRITTEN, standing);
        }
        None => {
            let data = settings.data.file_stem().unwrap_or_default().to_string_lossy();
            let (data, tune) = (data.into_owned(), settings.tune);
            let numbered = move |n: u32| Path::new(RUNS).join(format!("{data}-{tune}-{n}"));
            outputs.numbered("setting `out`", numbered, WRITTEN);
        }
    }
    outputs.claim()
}

/// The micro-batches of a step: its examples, packed.
fn step_batches(
    settings: &Learning,
    tasks: &Tasks,
    course: &mut Course,
    mix: &Mix,
    step: u64,
) -> Result<Vec<Batch>> {
    let examples = course.step(settings.batch, step).into_par_iter();
    let samples = examples.map(|example| tasks.training(example, mix));
    let samples: Vec<Sample> = samples.collect::<Result<_>>()?;
    let lengths: Vec<usize> = samples.iter().map(|s| s.tokens.len()).collect();
    let packs = batch::pack(&lengths, settings.batch_rows, settings.seed, step)?;
    let temperature = settings.temperature();
    let batch = |pack: &Vec<usize>| Batch::of(pack.iter().map(|&i| &samples[i]));
    Ok(packs.iter().map(|pack| batch(pack).at_temperature(temperature)).collect())
}
