//! Writing safetensors, tensor by tensor, so that a file may be larger than memory.

use super::adapter::BASE;
use super::config::Family;
use super::lora::peft_prefix;
use super::model::{Model, HEAD};
use super::parameters::SlotRole;
use crate::base::{write_atomically, Dtype, Fault, Shape};
use anyhow::Result;
use serde_json::{json, Map, Value};
use std::io::Write;
use std::path::Path;

/// A tensor of a file to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As it stands in the file.
    pub name: String,
    /// One dimension or two.
    pub shape: Shape,
    /// How the values are stored.
    pub dtype: Dtype,
}

/// Writes `entries` in their order; `bytes(i)` yields the little-endian bytes of entry i, one at a
/// time. The file appears whole or not at all.
pub fn write_safetensors(
    path: &Path,
    entries: &[Entry],
    bytes: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    write_remarked(path, None, entries, bytes)
}

/// As [`write_safetensors`], with a remark in the file's `__metadata__`.
fn write_remarked(
    path: &Path,
    remark: Option<(&str, &str)>,
    entries: &[Entry],
    mut bytes: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut header = Map::new();
    let remarks = [("format", "pt")].into_iter().chain(remark);
    let remarks = remarks.map(|(name, words)| (name.to_owned(), words.into()));
    header.insert("__metadata__".into(), Value::Object(remarks.collect()));
    let mut offset = 0;
    for entry in entries {
        let size = entry.shape.bytes(entry.dtype);
        let dtype = match entry.dtype {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::U32 => "U32",
        };
        let range = [offset, offset + size];
        let info = json!({"dtype": dtype, "shape": entry.shape.dims(), "data_offsets": range});
        header.insert(entry.name.clone(), info);
        offset += size;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // Tensor data begins 8-byte aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    write_atomically(path, |file| {
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        for (i, entry) in entries.iter().enumerate() {
            let data = bytes(i)?;
            assert_eq!(data.len(), entry.shape.bytes(entry.dtype), "bytes of {}", entry.name);
            file.write_all(&data)?;
        }
        Ok(())
    })
}

/// `values` as little-endian bytes of a float `dtype`, rounded to nearest even.
pub fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        Dtype::U32 => unreachable!("weights are floats"),
    }
}

/// As [`encode`]. Refuses a number that is none, or that `dtype` does not reach: what is written
/// is what a model computes with.
pub fn encode_finite(name: &str, values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    let reaches = |value: f32| match dtype {
        Dtype::F16 => half::f16::from_f32(value).is_finite(),
        Dtype::Bf16 => half::bf16::from_f32(value).is_finite(),
        Dtype::F32 | Dtype::U32 => value.is_finite(),
    };
    match values.iter().find(|&&value| !reaches(value)) {
        None => Ok(encode(values, dtype)),
        Some(value) => Err(Fault::Model.error(format!(
            "weights: tensor {name}: expected finite numbers that {dtype} reaches, got {value:e}; \
            store them wider, or look where they come from"
        ))),
    }
}

impl Model {
    /// Writes `model.safetensors` of the whole model in `dtype`, adapters merged (W' = W +
    /// scale·B·A in f32, rounded once), in the published names; a ChatGLM file holds
    /// `lm_head.weight` as published files do.
    pub fn save_weights(&self, path: &Path, dtype: Dtype) -> Result<()> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut tensors = self.weights.in_order();
        for spec in self.config.tensors() {
            entries.push(Entry { name: spec.name, shape: spec.shape, dtype });
        }
        if self.config.family == Family::ChatGlm {
            let output = self.weights.output();
            let shape = self.view(output).shape();
            entries.push(Entry { name: HEAD.into(), shape, dtype });
            tensors.push((output, None));
        }
        write_safetensors(path, &entries, |i| {
            let (parameter, adapter) = tensors[i];
            let values = self.with_adapter(self.view(parameter), adapter)?;
            self.unchanged()?;
            encode_finite(&entries[i].name, &values, dtype)
        })
    }

    /// Writes `adapter_model.safetensors`, all that is trained, under the names that PEFT gives it
    /// on disk, as f32, and remembers the hash of its base in it. Refuses a model without an
    /// adapter.
    pub fn save_adapter(&self, path: &Path, base: Option<&str>) -> Result<()> {
        if self.lora().is_none() {
            return Err(
                Fault::Usage.error("adapter: the model has none; train with setting `tune = lora`")
            );
        }
        let prefix = peft_prefix(self.config.family);
        let entries: Vec<Entry> = self
            .layout()
            .slots()
            .iter()
            .map(|slot| Entry {
                name: match slot.role {
                    SlotRole::Base(_) => format!("{prefix}{}", slot.name),
                    SlotRole::LoraA | SlotRole::LoraB => slot.name.clone(),
                },
                shape: slot.shape,
                dtype: Dtype::F32,
            })
            .collect();
        write_remarked(path, base.map(|hash| (BASE, hash)), &entries, |i| {
            let values = self.device.download_f32(self.values().view(&self.layout().slots()[i]))?;
            encode_finite(&entries[i].name, &values, Dtype::F32)
        })
    }
}
