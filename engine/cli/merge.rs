//! `engine merge`: a base and its adapter become one checkpoint.

use super::flags::Overwriting;
use super::word::word;
use super::{say, Global};
use crate::recommender::merge::merge;
use crate::recommender::source::{Source, Storage};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A base and its adapter as one checkpoint folder: W' = W + scale·B·A in f32, rounded once.
///
/// Example: engine merge --weights glm-10b --adapter runs/toys-lora-1 --out glm-10b-toys
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Merge {
    /// The base's checkpoint folder
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A PEFT folder or a run folder
    #[arg(long, value_name = "RUN")]
    pub adapter: PathBuf,
    /// The checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// How the merged weights are stored
    #[arg(long, default_value_t, value_parser = word::<Storage>())]
    #[serde(default)]
    pub dtype: Storage,
}

/// Makes the folder and says what is in it.
pub fn run(args: &Merge, global: &Global) -> Result<()> {
    let source = Source {
        weights: args.weights.clone(),
        adapter: Some(args.adapter.clone()),
        dtype: Some(Storage::F32),
        device: Some(global.to_open()?),
        threads: global.threads,
        ..Source::default()
    };
    let merged = merge(&source, &args.out, args.dtype, global.outputs(args.overwriting))?;
    global.note_device(&merged.device);
    merged.other_base.iter().for_each(say::warning);
    let (adapter, linears) = (args.adapter.display(), merged.adapted);
    global.note(&format!("adapter: {adapter}: {linears} linears adapted"));
    let (out, parameters) = (args.out.display(), merged.parameters);
    say::result(&format!("{out}: {parameters} parameters, {}\n", args.dtype.torch()));
    Ok(())
}
