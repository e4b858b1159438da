//! A base and its adapter become one checkpoint: W' = W + scale·B·A in f32, rounded once.

use super::source::{Loaded, OtherBase, Source, Storage};
use super::weights::{find_weights, WRITTEN};
use crate::base::{write_whole, Outputs, Standing};
use crate::model::Tune;
use anyhow::Result;
use std::path::Path;

/// What was made.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The device that computed.
    pub device: String,
    /// Linears that the adapter adapted.
    pub adapted: usize,
    /// That the adapter was trained on another base, where it remembers.
    pub other_base: Option<OtherBase>,
    /// Numbers of the model.
    pub parameters: usize,
}

/// Makes the checkpoint folder `out`: writes config.json and tokenizer.json of the base, the
/// rules that the adapter learnt by, then the weights.
pub fn merge(source: &Source, out: &Path, dtype: Storage, mut outputs: Outputs) -> Result<Merged> {
    let base = find_weights(&source.weights)?;
    let source = Source { weights: base.clone(), ..source.clone() };
    source.tell(&mut outputs);
    outputs.folder("setting `out`", out, WRITTEN, Standing::New);
    let held = outputs.claim()?;
    let Loaded { model, adapted, origin } = source.load(&Tune::Nothing)?;
    let learnt = source.learnt()?;
    let text = std::fs::read_to_string(base.join("config.json"))?;
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    config["torch_dtype"] = dtype.torch().into();
    let config = serde_json::to_string_pretty(&config)?;
    held.replace(|folder| {
        write_whole(&folder.join("config.json"), config + "\n")?;
        let tokenizer = base.join("tokenizer.json");
        if tokenizer.is_file() {
            write_whole(&folder.join("tokenizer.json"), std::fs::read(&tokenizer)?)?;
        }
        // What was learnt is asked of the whole as of its parts.
        learnt.map_or(Ok(()), |(_, learnt)| learnt.write(folder))?;
        model.save_weights(&folder.join("model.safetensors"), dtype.dtype())
    })?;
    Ok(Merged {
        device: model.device.name().to_owned(),
        adapted,
        other_base: origin.other_base,
        parameters: model.config.parameters(),
    })
}
