//! The loop that learns: batches in, steps, validation, checkpoints.

use super::adamw::{Hyper, Optimizer};
use super::checkpoint::{self, State};
use super::decisions::{self, weigh};
use super::scale::{LossScale, Verdict};
use super::schedule::Schedule;
use crate::base::map::Changed;
use crate::base::outputs::{append, make_folder};
use crate::base::{write_whole, Dtype, Fault, Shape};
use crate::data::{Batch, Cut};
use crate::model::{Flat, Keep, Model, Noise, Rates};
use anyhow::{Context, Result};
use serde_json::{json, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What a run is told; everything else follows from it and the step.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The run folder.
    pub run: PathBuf,
    /// Decides dropout.
    pub seed: u64,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// AdamW's constants.
    pub hyper: Hyper,
    /// Dropout of the model.
    pub rates: Rates,
    /// Dropout of what an adapter reads.
    pub lora_dropout: f32,
    /// Whether decisions weigh by what they still cost.
    pub adaptive: bool,
    /// What a layer keeps for its backward.
    pub keep: Keep,
    /// Steps between validations; 0 = none.
    pub validate_every: u64,
    /// Validations without gain after which the run ends; 0 = never.
    pub patience: u32,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that stay.
    pub keep_checkpoints: usize,
    /// Stop after this many seconds of training, validation included; 0 = no limit.
    pub max_seconds: f64,
}

/// Scores a model after a step: higher is better, and what else to write down. `None` where it was
/// left because somebody asked to stop.
pub type Validate<'a> = dyn FnMut(u64, &Model) -> Result<Option<(f64, Value)>> + 'a;

/// What the loop asks of its surroundings.
pub struct Hooks<'a> {
    /// The micro-batches of a step (counted from 1); must be a function of the step alone.
    pub batches: &'a mut dyn FnMut(u64) -> Result<Vec<Batch>>,
    /// The score of a model.
    pub validate: &'a mut Validate<'a>,
    /// Told of every step.
    pub progress: &'a mut dyn FnMut(&Report),
    /// Writes the run's model files: called at each best validation, and at checkpoints while there
    /// is none.
    pub publish: &'a mut dyn FnMut(&Model, &State) -> Result<()>,
    /// Told of the state from which a run goes on, which may be more than was published of it.
    pub resumed: &'a mut dyn FnMut(&Model, &State) -> Result<()>,
    /// Whether to save and stop after this step.
    pub interrupted: &'a mut dyn FnMut() -> bool,
}

/// One step's numbers.
#[derive(Clone, Debug)]
pub struct Report {
    /// Number of the step, from 1.
    pub step: u64,
    /// Steps of the whole schedule.
    pub total: u64,
    /// Mean loss a target.
    pub loss: f64,
    /// Rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens of this step a second.
    pub tokens_per_second: f64,
    /// Training seconds so far, over all resumes.
    pub seconds: f64,
    /// Score of a validation that followed this step.
    pub validation: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps of the schedule are done.
    Done,
    /// So many validations brought no gain.
    NoGain,
    /// The time that was given is over.
    TimeIsUp,
    /// Somebody asked for it.
    Interrupted,
}

/// Trains `model` until the schedule, the patience, the clock or an interrupt ends it. With
/// `resume` it goes on from the newest checkpoint, bit for bit as if it had never stopped.
pub fn train(
    model: &mut Model,
    settings: &Settings,
    resume: bool,
    hooks: &mut Hooks,
) -> Result<(State, End)> {
    let mut optimizer = Optimizer::new(model, settings.hyper)?;
    let loss_scale = LossScale::start(model.dtype);
    let mut state = State { loss_scale, ..State::default() };
    let mut saved_step = None;
    if resume {
        let (_, path) = checkpoint::list(&settings.run)?.pop().ok_or_else(|| {
            Fault::Usage.error(format!(
                "setting `resume`: {}: expected a checkpoint, got none",
                settings.run.display()
            ))
        })?;
        state = checkpoint::read_state(&path)?;
        checkpoint::load(&path, model, &mut optimizer)?;
        (hooks.resumed)(model, &state)?;
        // Whoever saved the newest one may have ended before the others went.
        checkpoint::prune(&settings.run, settings.keep_checkpoints)?;
        saved_step = Some(state.step);
    }
    let log = open_log(settings, if resume { Some(state.step) } else { None })?;
    let gradients = Flat::zeros(&model.device, model.layout())?;
    let (before, clock) = (state.seconds, Instant::now());
    let mut going = Going {
        model,
        settings,
        hooks,
        optimizer,
        gradients,
        log,
        state,
        saved: saved_step,
        before,
        clock,
    };
    let end = going.run();
    if end.as_ref().is_err_and(Changed::is_cause_of) && going.state.step > 0 {
        // A file under the model or the data was changed. No step was taken over it, so that the
        // state is that of the last one.
        going.save()?;
    }
    Ok((going.state, end?))
}

/// A run that goes on, between two of its steps.
struct Going<'a, 'h> {
    model: &'a mut Model,
    settings: &'a Settings,
    hooks: &'a mut Hooks<'h>,
    optimizer: Optimizer,
    gradients: Flat,
    log: File,
    state: State,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    /// Seconds that earlier processes trained.
    before: f64,
    clock: Instant,
}

impl Going<'_, '_> {
    fn run(&mut self) -> Result<End> {
        let settings = self.settings;
        loop {
            let mut report = match self.state.unvalidated {
                true => None,
                false if self.state.step >= settings.schedule.total => break,
                false => Some(self.step()?),
            };
            let stopped = self.state.unvalidated && !self.validate(&mut report)?;
            if let Some(report) = report {
                (self.hooks.progress)(&report);
            }
            let state = &self.state;
            let end = if stopped || (self.hooks.interrupted)() {
                Some(End::Interrupted)
            } else if settings.patience > 0 && state.without_gain >= settings.patience {
                Some(End::NoGain)
            } else if settings.max_seconds > 0.0 && state.seconds >= settings.max_seconds {
                Some(End::TimeIsUp)
            } else {
                None
            };
            if end.is_some() || self.is_due(settings.checkpoint_every) {
                self.save()?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
        if self.saved != Some(self.state.step) {
            self.save()?;
        }
        Ok(End::Done)
    }

    /// Whether something comes after this step that comes every so many, and after the last.
    fn is_due(&self, every: u64) -> bool {
        let step = self.state.step;
        every > 0 && (step.is_multiple_of(every) || step == self.settings.schedule.total)
    }

    fn seconds(&self) -> f64 {
        self.before + self.clock.elapsed().as_secs_f64()
    }

    /// Takes the next step.
    fn step(&mut self) -> Result<Report> {
        let step = self.state.step + 1;
        let started = Instant::now();
        let mut batches = (self.hooks.batches)(step)?;
        if self.settings.adaptive {
            batches.iter_mut().for_each(|batch| weigh(&self.state.costs, batch));
        }
        let taken = one_step(
            self.model,
            &mut self.optimizer,
            &mut self.gradients,
            self.settings,
            &mut self.state.loss_scale,
            step,
            &batches,
        )?;
        let Taken { loss, gradient_norm, learning_rate, costs } = taken;
        if self.settings.adaptive {
            costs.learn(&mut self.state.costs);
        }
        let tokens: usize = batches.iter().map(|b| b.tokens.len()).sum();
        self.state.step = step;
        self.state.tokens += tokens as u64;
        self.state.targets += batches.iter().map(|b| b.target_rows.len() as u64).sum::<u64>();
        let mut cut = Cut::default();
        batches.iter().for_each(|batch| cut += batch.cut);
        self.state.cut += cut;
        self.state.seconds = self.seconds();
        self.state.unvalidated = self.is_due(self.settings.validate_every);
        let report = Report {
            step,
            total: self.settings.schedule.total,
            loss,
            learning_rate,
            gradient_norm,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64(),
            seconds: self.state.seconds,
            validation: None,
        };
        let memory = self.model.device.memory().peak;
        let mut line = json!({
            "step": step, "loss": loss, "learning_rate": learning_rate,
            "gradient_norm": gradient_norm,
            "tokens_per_second": report.tokens_per_second.round(), "memory_bytes": memory,
            "seconds": report.seconds,
        });
        if !cut.is_nothing() {
            line["cut"] = json!(cut);
        }
        write_line(&mut self.log, line)?;
        Ok(report)
    }

    /// Scores the model as it is after its last step, and publishes the best. Returns whether it
    /// did: when somebody asked to stop meanwhile, it is still to be done, by whoever goes on.
    fn validate(&mut self, report: &mut Option<Report>) -> Result<bool> {
        let step = self.state.step;
        let scored = (self.hooks.validate)(step, self.model)?;
        self.state.seconds = self.seconds();
        let Some((score, details)) = scored else { return Ok(false) };
        write_line(
            &mut self.log,
            json!({"step": step, "seconds": self.state.seconds, "validation": details}),
        )?;
        self.state.unvalidated = false;
        if let Some(report) = report {
            report.validation = Some(score);
        }
        if self.state.best.is_none_or(|(best, _)| score > best) {
            self.state.best = Some((score, step));
            self.state.without_gain = 0;
            (self.hooks.publish)(self.model, &self.state)?;
        } else {
            self.state.without_gain += 1;
        }
        Ok(true)
    }

    /// Writes a checkpoint, and the model files while no best ones are there.
    fn save(&mut self) -> Result<()> {
        self.log.sync_data()?;
        let (settings, state) = (self.settings, &self.state);
        let keep = settings.keep_checkpoints;
        checkpoint::save(&settings.run, self.model, &self.optimizer, state, keep)?;
        self.saved = Some(state.step);
        match state.best {
            None => (self.hooks.publish)(self.model, state),
            Some(_) => Ok(()),
        }
    }
}

/// What a step took.
struct Taken {
    loss: f64,
    gradient_norm: f64,
    learning_rate: f64,
    costs: decisions::Step,
}

/// One optimiser step. The divisor is the number of targets of all its batches. A step whose f16
/// gradients overflow is done again with a smaller scale: the randomness is that of the step, so
/// nothing else differs.
fn one_step(
    model: &mut Model,
    optimizer: &mut Optimizer,
    gradients: &mut Flat,
    settings: &Settings,
    scale: &mut LossScale,
    step: u64,
    batches: &[Batch],
) -> Result<Taken> {
    let divisor: f64 = batches.iter().flat_map(|b| &b.target_weights).map(|&w| f64::from(w)).sum();
    if divisor <= 0.0 {
        return Err(Fault::Data
            .error(format!("training: step {step}: expected targets in the batch, got none")));
    }
    let noise =
        Noise { seed: settings.seed, step, rates: settings.rates, lora: settings.lora_dropout };
    let learning_rate = settings.schedule.rate(step);
    let stop = |model: &Model, what: &str, value: f64, broken: &[&Batch]| {
        let examples = broken.iter().flat_map(|batch| batch.examples.iter().copied());
        let examples: Vec<u64> = examples.take(8).collect();
        let blame = match blame(model, step, broken.len() == batches.len()) {
            Ok(blame) => blame,
            Err(error) => return error,
        };
        Fault::Check.error(format!(
            "training: step {step}: expected a finite {what}, got {value} at learning rate \
            {learning_rate:e} (examples {examples:?} …); {blame}"
        ))
    };
    loop {
        let factor = scale.factor;
        model.device.zero(gradients.all_mut())?;
        let (mut loss, mut broken) = (0.0, Vec::new());
        let mut costs = decisions::Step::default();
        for batch in batches {
            let (scaled, losses) = model.losses_and_gradients(
                batch,
                divisor / factor,
                Some(&noise),
                settings.keep,
                gradients,
            )?;
            costs.add(batch, &losses);
            loss += scaled / factor;
            if !scaled.is_finite() {
                broken.push(batch);
            }
        }
        if !loss.is_finite() {
            return Err(stop(model, "loss", loss, &broken));
        }
        model.unchanged()?;
        let gradient_norm = optimizer.step(model, gradients, factor, learning_rate, step)?;
        match scale.judge(model.dtype, gradient_norm) {
            Verdict::Took => return Ok(Taken { loss, gradient_norm, learning_rate, costs }),
            Verdict::Again => {}
            Verdict::Hopeless => {
                let all: Vec<&Batch> = batches.iter().collect();
                return Err(stop(model, "gradient", gradient_norm, &all));
            }
        }
    }
}

/// Whose fault it is that a step gave no number, and what to do about it: weights and adapters that
/// hold none were refused when they were read. `all`: none of its batches gave one.
fn blame(model: &Model, step: u64, all: bool) -> Result<String> {
    let mut squares = model.device.zeros(Shape::vector(1), Dtype::F32)?;
    model.device.sum_squares(squares.view_mut(), model.values().all())?;
    let sum = model.device.download_f32(squares.view())?[0];
    let narrow = match model.dtype {
        Dtype::F16 => "; setting `dtype = bf16` reaches further",
        _ => "",
    };
    Ok(match (sum.is_finite(), step, all) {
        (false, ..) => "the learning rate is at fault: it has carried the trained values beyond \
            what an f32 holds; lower setting `learning-rate` or setting `clip`"
            .to_owned(),
        (true, 1, true) => format!(
            "the base or its adapter is at fault: nothing was learnt yet, and no row gives a \
            number{narrow}"
        ),
        (true, 1, false) => format!(
            "the data is at fault: nothing was learnt yet, and other rows give numbers; look at \
            these examples{narrow}"
        ),
        (true, ..) => format!(
            "the learning rate is at fault, as the steps before gave numbers; lower setting \
            `learning-rate` or setting `clip`{narrow}"
        ),
    })
}

/// `metrics.jsonl`, appended to; cut back to `resumed` steps where a run goes on.
fn open_log(settings: &Settings, resumed: Option<u64>) -> Result<File> {
    let path = settings.run.join("metrics.jsonl");
    make_folder(&settings.run).with_context(|| settings.run.display().to_string())?;
    let mut kept = String::new();
    if let (Some(step), true) = (resumed, path.exists()) {
        for line in BufReader::new(File::open(&path)?).lines() {
            let line = line?;
            // A line cut off by the end of the process does not parse and goes.
            let Ok(value) = serde_json::from_str::<Value>(&line) else { break };
            if value["step"].as_u64().is_some_and(|s| s <= step) {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    }
    write_whole(&path, &kept)?;
    append(&path, kept.len() as u64).with_context(|| path.display().to_string())
}

fn write_line(log: &mut File, value: Value) -> Result<()> {
    let mut line = value.to_string();
    line.push('\n');
    log.write_all(line.as_bytes()).map_err(|e| Fault::Device.wrap(e, "metrics.jsonl"))
}
