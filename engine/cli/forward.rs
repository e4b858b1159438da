//! `engine forward`: given rows through the model, for parity with other implementations.

use super::flags::Overwriting;
use super::word::word;
use super::{say, Global};
use crate::recommender::parity::{forward, Rows};
use crate::recommender::source::{Curve, Source, Storage};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Runs given rows through the model and writes every hidden state: for parity checks with other
/// implementations.
///
/// Example: engine forward --weights tiny --inputs rows.safetensors --outputs out.safetensors
/// --gradients
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forward {
    /// The checkpoint folder
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A PEFT folder or a run folder
    #[arg(long, value_name = "RUN")]
    pub adapter: Option<PathBuf>,
    /// input_ids [R], positions [2, R], starts [S+1], context [S], optional labels [R] (-100 =
    /// none)
    #[arg(long, value_name = "X.safetensors")]
    pub inputs: PathBuf,
    /// hidden.0 … hidden.L, final, logits, with labels loss, with --gradients grad.<tensor name>
    #[arg(long, value_name = "Y.safetensors")]
    pub outputs: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// Also write the loss's gradient of every trained tensor: the adapter's, or all of the base's
    /// without one
    #[arg(long)]
    #[serde(default)]
    pub gradients: bool,
    /// Storage of weights and activations
    #[arg(long, default_value_t, value_parser = word::<Storage>())]
    #[serde(default)]
    pub dtype: Storage,
    #[arg(long, value_parser = word::<Curve>())]
    pub gelu: Option<Curve>,
}

/// Writes the outputs whole or not at all.
pub fn run(args: &Forward, global: &Global) -> Result<()> {
    let source = Source {
        weights: args.weights.clone(),
        adapter: args.adapter.clone(),
        gelu: args.gelu,
        dtype: Some(args.dtype),
        seed: 0,
        device: Some(global.to_open()?),
        threads: global.threads,
    };
    let rows = Rows { inputs: &args.inputs, outputs: &args.outputs, gradients: args.gradients };
    let done = forward(&source, &rows, global.outputs(args.overwriting))?;
    global.note_device(&done.device);
    done.other_base.iter().for_each(say::warning);
    if let Some(adapter) = &args.adapter {
        let linears = done.adapted;
        global.note(&format!("adapter: {}: {linears} linears adapted", adapter.display()));
    }
    say::result(&format!("{}: {} tensors\n", args.outputs.display(), done.tensors));
    Ok(())
}
