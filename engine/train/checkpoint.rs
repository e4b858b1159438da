//! A training run on disk: what it takes to go on as if nothing had happened.

use super::adamw::Optimizer;
use super::decisions::Costs;
use super::scale::LossScale;
use crate::base::outputs::{discard, write_folder_atomically};
use crate::base::{write_whole, Dtype, Fault};
use crate::data::Cut;
use crate::model::{encode, write_safetensors, Checkpoint, Entry, Flat, Model};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything of a run that is neither a weight nor a moment. Data and randomness are functions of
/// the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Training seconds so far, over all resumes.
    pub seconds: f64,
    /// Best validation score and its step.
    pub best: Option<(f64, u64)>,
    /// Validations since the best.
    pub without_gain: u32,
    /// The validation of this step is still to be done: the run was stopped within it.
    #[serde(default)]
    pub unvalidated: bool,
    /// Loss target tokens seen.
    pub targets: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// What the examples seen did not say.
    #[serde(default)]
    pub cut: Cut,
    /// Of f16 runs: what losses are multiplied by, and the steps since it changed.
    #[serde(default)]
    pub loss_scale: LossScale,
    /// What decisions cost, where they weigh by that.
    #[serde(default)]
    pub costs: Costs,
}

/// `checkpoints/step-N` folders of a run, newest last.
pub fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = run.join("checkpoints");
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let step = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_prefix("step-")?.parse().ok());
            if let Some(step) = step {
                found.push((step, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes `checkpoints/step-N` whole or not at all, then removes all but the newest `keep`.
pub fn save(
    run: &Path,
    model: &Model,
    optimizer: &Optimizer,
    state: &State,
    keep: usize,
) -> Result<PathBuf> {
    let path = run.join(format!("checkpoints/step-{}", state.step));
    write_folder_atomically(&path, |folder| {
        write_flat(&folder.join("values.safetensors"), model, model.values())?;
        write_flat(&folder.join("moment1.safetensors"), model, &optimizer.moment1)?;
        write_flat(&folder.join("moment2.safetensors"), model, &optimizer.moment2)?;
        write_whole(&folder.join("state.json"), serde_json::to_string_pretty(state)? + "\n")
    })
    .map_err(|e| {
        Fault::Device.wrap(e, format!("checkpoint: {}: cannot be written", path.display()))
    })?;
    prune(run, keep)?;
    Ok(path)
}

/// Removes all checkpoints of a run but the newest `keep`, one at least.
pub fn prune(run: &Path, keep: usize) -> Result<()> {
    for (_, old) in list(run)?.iter().rev().skip(keep.max(1)) {
        discard(old).with_context(|| old.display().to_string())?;
    }
    Ok(())
}

fn write_flat(path: &Path, model: &Model, flat: &Flat) -> Result<()> {
    let slots = model.layout().slots();
    let entries: Vec<Entry> = slots
        .iter()
        .map(|s| Entry { name: s.name.clone(), shape: s.shape, dtype: Dtype::F32 })
        .collect();
    write_safetensors(path, &entries, |i| {
        Ok(encode(&model.device.download_f32(flat.view(&slots[i]))?, Dtype::F32))
    })
}

/// The state of the checkpoint in `path`.
pub fn read_state(path: &Path) -> Result<State> {
    let file = path.join("state.json");
    let text = fs::read_to_string(&file).map_err(|e| {
        Fault::Data.error(format!("checkpoint: {}: cannot be read: {e}", file.display()))
    })?;
    serde_json::from_str(&text).map_err(|e| {
        Fault::Data
            .error(format!("checkpoint: {}: expected a training state, got {e}", file.display()))
    })
}

/// Puts the checkpoint in `path` into the model and the optimiser.
pub fn load(path: &Path, model: &mut Model, optimizer: &mut Optimizer) -> Result<()> {
    let slots = model.layout().slots().to_vec();
    let device = model.device.clone();
    for part in ["values", "moment1", "moment2"] {
        let mut file = Checkpoint::open_file(&path.join(format!("{part}.safetensors")))?;
        for slot in &slots {
            let stored = file.take(&slot.name, slot.shape)?;
            let target = match part {
                "values" => model.values_mut(),
                "moment1" => &mut optimizer.moment1,
                _ => &mut optimizer.moment2,
            };
            device.write_f32(target.view_mut(slot), &stored.to_f32())?;
        }
        file.finish()?;
    }
    Ok(())
}
