//! Checkpoints: Hugging Face folders of safetensors, memory-mapped, every tensor taken exactly
//! once.

use crate::base::{missing, read_file, Dtype, Fault, Map, Shape};
use crate::device::{Device, Tensor};
use anyhow::Result;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// What the names of buffers end with that the original computes anew, whatever a file says.
const RECOMPUTED: &str = "rotary_emb.inv_freq";

/// The tensors of one or several safetensors files by name. [`Checkpoint::take`] hands each out
/// once; [`Checkpoint::finish`] refuses leftovers.
pub struct Checkpoint {
    place: String,
    files: Vec<Arc<Map>>,
    entries: BTreeMap<String, Entry>,
    remarks: HashMap<String, String>,
}

struct Entry {
    file: Arc<Map>,
    dtype: safetensors::Dtype,
    dims: Vec<usize>,
    /// Byte range inside the file.
    range: (usize, usize),
}

/// One tensor of a checkpoint: its bytes stay in the map.
pub struct Stored {
    /// As it stands in the file, without the `glm.` prefix.
    pub name: String,
    /// f32, f16 or bf16.
    pub dtype: Dtype,
    /// One dimension or two.
    pub shape: Shape,
    file: Arc<Map>,
    range: (usize, usize),
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists, in
    /// `folder`. Refuses files that are missing, cut short or hold a name twice, and shards with
    /// other tensors than the index says.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::empty(folder);
        match index(folder)? {
            None => drop(checkpoint.add(&folder.join("model.safetensors"))?),
            Some(shards) => {
                for (file, listed) in shards {
                    let path = folder.join(file);
                    let held = checkpoint.add(&path)?;
                    same_names(&path, &listed, &held)?;
                }
            }
        }
        Ok(checkpoint)
    }

    /// Opens one safetensors file; refuses what [`Checkpoint::open`] refuses.
    pub fn open_file(path: &Path) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::empty(path);
        drop(checkpoint.add(path)?);
        Ok(checkpoint)
    }

    fn empty(place: &Path) -> Checkpoint {
        Checkpoint {
            place: place.display().to_string(),
            files: Vec::new(),
            entries: BTreeMap::new(),
            remarks: HashMap::new(),
        }
    }

    /// Opens one more file; returns the names in it as they stand there.
    fn add(&mut self, path: &Path) -> Result<BTreeSet<String>> {
        let refuse =
            |what: String| Fault::Model.error(format!("weights: {}: {what}", path.display()));
        let map = Map::open(path).map_err(|e| {
            missing(Fault::Model, "weights", path, "a complete safetensors file", &e)
        })?;
        let map = Arc::new(map);
        self.files.push(map.clone());
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
            refuse(format!(
                "expected a complete safetensors file, got {} bytes that do not parse ({e}); copy \
                or convert it again",
                map.len()
            ))
        })?;
        self.remarks.extend(metadata.metadata().clone().unwrap_or_default());
        let data = header + 8;
        let names = metadata.tensors().into_keys().collect();
        for (name, info) in metadata.tensors() {
            let range = (data + info.data_offsets.0, data + info.data_offsets.1);
            if range.1 > map.len() {
                return Err(refuse(format!(
                    "tensor {name}: expected {} bytes, got a file of {}",
                    range.1,
                    map.len()
                )));
            }
            if name.chars().any(char::is_control) {
                return Err(refuse(format!(
                    "tensor {name:?}: expected a name of printable characters"
                )));
            }
            if name.ends_with(RECOMPUTED) {
                continue;
            }
            let name = name.strip_prefix("glm.").unwrap_or(&name).to_owned();
            let entry =
                Entry { file: map.clone(), dtype: info.dtype, dims: info.shape.clone(), range };
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(refuse(format!(
                    "tensor {name} stands in two places; expected each name once"
                )));
            }
        }
        Ok(names)
    }

    /// Where it lies.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The files themselves.
    pub fn maps(&self) -> Vec<Arc<Map>> {
        self.files.clone()
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len() as u64).sum()
    }

    /// Whether the tensor `name` is there and has not been taken.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Names not yet taken, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What its files say beside the tensors, in their `__metadata__`.
    pub fn remark(&self, name: &str) -> Option<&str> {
        self.remarks.get(name).map(String::as_str)
    }

    /// Name, type, dimensions and bytes of every tensor that has not been taken, sorted by name.
    pub(super) fn stored(
        &self,
    ) -> impl Iterator<Item = (&str, safetensors::Dtype, &[usize], &[u8])> {
        self.entries.iter().map(|(name, entry)| {
            let bytes = &entry.file[entry.range.0..entry.range.1];
            (name.as_str(), entry.dtype, entry.dims.as_slice(), bytes)
        })
    }

    /// Dimensions of a tensor that has not been taken.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.dims.as_slice())
    }

    /// The tensor `name`, which must have `shape` and a float dtype. Refuses what is missing or of
    /// another shape.
    pub fn take(&mut self, name: &str, shape: Shape) -> Result<Stored> {
        let stored = self.take_any(name)?;
        if stored.shape.dims() != shape.dims() {
            return Err(Fault::Model.error(format!(
                "weights: {}: tensor {name}: expected shape {shape}, got {}; does config.json \
                belong to these weights?",
                self.place, stored.shape
            )));
        }
        Ok(stored)
    }

    /// The tensor `name` in whatever shape of one or two dimensions it has. Refuses what is missing
    /// or is not f32, f16 or bf16.
    pub fn take_any(&mut self, name: &str) -> Result<Stored> {
        let refuse = |what: String| {
            Fault::Model.error(format!("weights: {}: tensor {name}: {what}", self.place))
        };
        let entry = self.entries.remove(name).ok_or_else(|| {
            let near = self
                .entries
                .keys()
                .next()
                .map_or("nothing".to_owned(), |n| format!("for example {n}"));
            refuse(format!("expected it, but it is not there; the file still holds {near}"))
        })?;
        let dtype = match entry.dtype {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::Bf16,
            other => return Err(refuse(format!("expected f32, f16 or bf16, got {other:?}"))),
        };
        let shape = Shape::from_dims(&entry.dims).ok_or_else(|| {
            refuse(format!("expected one or two dimensions, got {:?}", entry.dims))
        })?;
        if shape.bytes(dtype) != entry.range.1 - entry.range.0 {
            return Err(refuse(format!(
                "expected {shape} of {dtype}, got {} bytes",
                entry.range.1 - entry.range.0
            )));
        }
        Ok(Stored { name: name.to_owned(), dtype, shape, file: entry.file, range: entry.range })
    }

    /// Refuses tensors that nobody took: a checkpoint of another model must not load in part; and
    /// files that changed while they were read.
    pub fn finish(self) -> Result<()> {
        self.files.iter().try_for_each(|file| file.unchanged())?;
        match self.entries.keys().next() {
            None => Ok(()),
            Some(name) => Err(Fault::Model.error(format!(
                "weights: {}: expected no further tensor, got {} more, for example {name}; does \
                config.json belong to these weights?",
                self.place,
                self.entries.len()
            ))),
        }
    }
}

impl Stored {
    /// Little-endian values, row by row, in the map.
    pub fn bytes(&self) -> &[u8] {
        &self.file[self.range.0..self.range.1]
    }

    /// On `device` as stored: without a copy where the device reads host memory.
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        device.share(self.bytes(), self.shape, self.dtype, self.file.clone())
    }

    /// The values widened to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let bytes = self.bytes();
        match self.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::Bf16 => bytes
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::U32 => unreachable!("take refuses integers"),
        }
    }
}

/// Names of tensors by the shard that holds them.
type Shards = BTreeMap<String, BTreeSet<String>>;

/// What the index of a checkpoint folder lists; `None` where one file holds all.
fn index(folder: &Path) -> Result<Option<Shards>> {
    let refuse =
        |what: String| Fault::Model.error(format!("weights: {}: {what}", folder.display()));
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        if folder.join("model.safetensors").is_file() {
            return Ok(None);
        }
        return Err(refuse(
            "expected model.safetensors or model.safetensors.index.json, got neither; \
            tools/convert_checkpoint.py makes them from PyTorch files"
                .into(),
        ));
    }
    let text = read_file(&index)
        .map_err(|e| missing(Fault::Model, "weights", &index, "the index of the shards", &e))?;
    let json: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|e| refuse(format!("index: expected JSON, got {e}")))?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| refuse("index: expected a weight_map object".into()))?;
    let mut shards = Shards::new();
    for (tensor, value) in map {
        let name = value
            .as_str()
            .ok_or_else(|| refuse(format!("index: expected a file name, got {value}")))?;
        if name.contains('/') || name.contains("..") || name.chars().any(char::is_control) {
            return Err(refuse(format!("index: expected a file in this folder, got {name:?}")));
        }
        shards.entry(name.to_owned()).or_default().insert(tensor.clone());
    }
    Ok(Some(shards))
}

/// Refuses a shard that lacks a tensor which the index lists in it, or holds another.
fn same_names(path: &Path, listed: &BTreeSet<String>, held: &BTreeSet<String>) -> Result<()> {
    let refuse = |name: &String, expected: &str, got: &str| {
        Err(Fault::Model.error(format!(
            "weights: {}: tensor {name:?}: expected it {expected}, got it {got}; copy index and \
            shards of one checkpoint together",
            path.display()
        )))
    };
    if let Some(name) = listed.difference(held).next() {
        return refuse(name, "here, where the index lists it", "not at all");
    }
    match held.difference(listed).next() {
        Some(name) => refuse(name, "where the index lists it", "here"),
        None => Ok(()),
    }
}
