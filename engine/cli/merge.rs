//! `engine merge`: a base and its adapter become one checkpoint.

use super::data::load_model;
use super::init::Storage;
use super::paths::find_weights;
use super::Global;
use crate::base::{write_atomically, Dtype, Fault};
use crate::model::Tune;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;
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
    /// How the merged weights are stored
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub dtype: Storage,
}

/// Writes config.json and tokenizer.json of the base, then the weights.
pub fn run(args: &Merge, global: &Global) -> Result<()> {
    let base = find_weights(&args.weights)?;
    let same = |a: &std::path::Path| a.canonicalize().ok();
    if same(&args.out).is_some() && same(&args.out) == same(&base) {
        return Err(Fault::Usage.error(format!(
            "--out: {}: expected another folder than the base's, got the same; the base must \
            survive",
            args.out.display()
        )));
    }
    let model =
        load_model(global, &base, Some(&args.adapter), &Tune::Nothing, None, Dtype::F32, 0)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out: {}", args.out.display()))?;
    let text = std::fs::read_to_string(base.join("config.json"))?;
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    config["torch_dtype"] = args.dtype.torch().into();
    let config = serde_json::to_string_pretty(&config)?;
    write_atomically(&args.out.join("config.json"), |file| Ok(writeln!(file, "{config}")?))?;
    let tokenizer = base.join("tokenizer.json");
    if tokenizer.is_file() {
        let bytes = std::fs::read(&tokenizer)?;
        write_atomically(&args.out.join("tokenizer.json"), |file| Ok(file.write_all(&bytes)?))?;
    }
    model.save_weights(&args.out.join("model.safetensors"), args.dtype.dtype())?;
    println!(
        "{}: {} parameters, {}",
        args.out.display(),
        model.config.parameters(),
        args.dtype.torch()
    );
    Ok(())
}
