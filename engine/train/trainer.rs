//! The loop that learns: batches in, steps, validation, checkpoints.

use super::adamw::{Hyper, Optimizer};
use super::checkpoint::{self, State};
use super::scale::{LossScale, Verdict};
use super::schedule::Schedule;
use crate::base::outputs::{append, make_folder};
use crate::base::{write_atomically, Fault};
use crate::data::Batch;
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

/// Scores a model after a step.
pub type Validate<'a> = dyn FnMut(u64, &Model) -> Result<(f64, Value)> + 'a;

/// What the loop asks of its surroundings.
pub struct Hooks<'a> {
    /// The micro-batches of a step (counted from 1); must be a function of the step alone.
    pub batches: &'a mut dyn FnMut(u64) -> Result<Vec<Batch>>,
    /// A score, higher is better, and what else to write down.
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
        saved_step = Some(state.step);
    }
    let mut log = open_log(settings, if resume { Some(state.step) } else { None })?;
    let mut gradients = Flat::zeros(&model.device, model.layout())?;
    let before = state.seconds;
    let clock = Instant::now();
    let mut end = End::Done;
    while state.step < settings.schedule.total {
        let step = state.step + 1;
        let started = Instant::now();
        let batches = (hooks.batches)(step)?;
        let scale = &mut state.loss_scale;
        let (loss, gradient_norm, learning_rate) =
            one_step(model, &mut optimizer, &mut gradients, settings, scale, step, &batches)?;
        let tokens: usize = batches.iter().map(|b| b.tokens.len()).sum();
        state.step = step;
        state.tokens += tokens as u64;
        state.targets += batches.iter().map(|b| b.target_rows.len() as u64).sum::<u64>();
        state.seconds = before + clock.elapsed().as_secs_f64();
        let mut report = Report {
            step,
            total: settings.schedule.total,
            loss,
            learning_rate,
            gradient_norm,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64(),
            seconds: state.seconds,
            validation: None,
        };
        let memory = model.device.memory().peak;
        write_line(
            &mut log,
            json!({
                "step": step, "loss": loss, "learning_rate": learning_rate,
                "gradient_norm": gradient_norm,
                "tokens_per_second": report.tokens_per_second.round(), "memory_bytes": memory,
                "seconds": state.seconds,
            }),
        )?;
        let last = step == settings.schedule.total;
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || last);
        if due(settings.validate_every) {
            let (score, details) = (hooks.validate)(step, model)?;
            state.seconds = before + clock.elapsed().as_secs_f64();
            write_line(
                &mut log,
                json!({"step": step, "seconds": state.seconds, "validation": details}),
            )?;
            report.validation = Some(score);
            if state.best.is_none_or(|(best, _)| score > best) {
                state.best = Some((score, step));
                state.without_gain = 0;
                (hooks.publish)(model, &state)?;
            } else {
                state.without_gain += 1;
            }
        }
        (hooks.progress)(&report);
        if (hooks.interrupted)() {
            end = End::Interrupted;
        } else if settings.patience > 0 && state.without_gain >= settings.patience {
            end = End::NoGain;
        } else if settings.max_seconds > 0.0 && state.seconds >= settings.max_seconds {
            end = End::TimeIsUp;
        }
        if due(settings.checkpoint_every) || end != End::Done {
            log.sync_data()?;
            checkpoint::save(&settings.run, model, &optimizer, &state, settings.keep_checkpoints)?;
            saved_step = Some(step);
            if state.best.is_none() {
                (hooks.publish)(model, &state)?;
            }
        }
        if end != End::Done {
            break;
        }
    }
    if saved_step != Some(state.step) {
        checkpoint::save(&settings.run, model, &optimizer, &state, settings.keep_checkpoints)?;
        if state.best.is_none() {
            (hooks.publish)(model, &state)?;
        }
    }
    Ok((state, end))
}

/// Loss, gradient norm and learning rate of one optimiser step. The divisor is the number of
/// targets of all its batches. A step whose f16 gradients overflow is done again with a smaller
/// scale: the randomness is that of the step, so nothing else differs.
fn one_step(
    model: &mut Model,
    optimizer: &mut Optimizer,
    gradients: &mut Flat,
    settings: &Settings,
    scale: &mut LossScale,
    step: u64,
    batches: &[Batch],
) -> Result<(f64, f64, f64)> {
    let divisor: f64 = batches.iter().flat_map(|b| &b.target_weights).map(|&w| f64::from(w)).sum();
    if divisor <= 0.0 {
        return Err(Fault::Data
            .error(format!("training: step {step}: expected targets in the batch, got none")));
    }
    let noise =
        Noise { seed: settings.seed, step, rates: settings.rates, lora: settings.lora_dropout };
    let learning_rate = settings.schedule.rate(step);
    let stop = |what: &str, value: f64| {
        let examples: Vec<u64> =
            batches.iter().flat_map(|b| b.examples.iter().copied()).take(8).collect();
        Fault::Check.error(format!(
            "training: step {step}: expected a finite {what}, got {value} at learning rate \
            {learning_rate:e} (examples {examples:?} …); lower setting \
            `learning-rate` or setting `clip`"
        ))
    };
    loop {
        let factor = scale.factor;
        model.device.zero(gradients.all_mut())?;
        let mut loss = 0.0;
        for batch in batches {
            let scaled = model.loss_and_gradients(
                batch,
                divisor / factor,
                Some(&noise),
                settings.keep,
                gradients,
            )?;
            loss += scaled / factor;
        }
        if !loss.is_finite() {
            return Err(stop("loss", loss));
        }
        let norm = optimizer.step(model, gradients, factor, learning_rate, step)?;
        match scale.judge(model.dtype, norm) {
            Verdict::Took => return Ok((loss, norm, learning_rate)),
            Verdict::Again => {}
            Verdict::Hopeless => return Err(stop("gradient", norm)),
        }
    }
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
    write_atomically(&path, |file| Ok(file.write_all(kept.as_bytes())?))?;
    append(&path, kept.len() as u64).with_context(|| path.display().to_string())
}

fn write_line(log: &mut File, value: Value) -> Result<()> {
    let mut line = value.to_string();
    line.push('\n');
    log.write_all(line.as_bytes()).map_err(|e| Fault::Device.wrap(e, "metrics.jsonl"))
}
