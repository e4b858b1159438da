//! Golden numbers of the original implementations: where they are, what they hold, how far we are
//! from them.
#![allow(dead_code)] // golden uses all of it, whole_model a part

use engine::base::Dtype;
use engine::data::Batch;
use engine::device::{Device, Gelu};
use engine::model::{Checkpoint, Config, Family, Model, Tune};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One set of a family, for example `glm-tiny/a`.
pub struct Set {
    pub folder: PathBuf,
    pub family: Family,
    pub fixture: Value,
    bytes: Vec<u8>,
}

/// Every set under `ENGINE_GOLDEN` (default `tests/golden`).
pub fn sets() -> Vec<Set> {
    let root = std::env::var("ENGINE_GOLDEN")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from);
    let mut sets = Vec::new();
    for (name, family) in [("glm-tiny", Family::Glm), ("chatglm-tiny", Family::ChatGlm)] {
        let Ok(entries) = std::fs::read_dir(root.join(name)) else { continue };
        let mut folders: Vec<PathBuf> =
            entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
        folders.sort();
        for folder in folders {
            let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
            let text = std::fs::read_to_string(folder.join("fixture.json")).unwrap();
            sets.push(Set { fixture: serde_json::from_str(&text).unwrap(), folder, family, bytes });
        }
    }
    assert!(!sets.is_empty(), "no golden set under {}", root.display());
    sets
}

impl Set {
    pub fn name(&self) -> String {
        let parts: Vec<_> = self.folder.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
        format!("{}/{}", parts[1], parts[0])
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(|n| n.to_string()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.file()
            .tensor(name)
            .unwrap_or_else(|_| panic!("{}: no {name}", self.name()))
            .shape()
            .to_vec()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("{}: no {name}", self.name()));
        let bytes = tensor.data();
        match tensor.dtype() {
            safetensors::Dtype::F32 => {
                bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
            }
            safetensors::Dtype::F16 => bytes
                .chunks(2)
                .map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32())
                .collect(),
            safetensors::Dtype::BF16 => bytes
                .chunks(2)
                .map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32())
                .collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("{}: no {name}", self.name()));
        let bytes = tensor.data();
        match tensor.dtype() {
            safetensors::Dtype::I64 => {
                bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            safetensors::Dtype::U8 => bytes.iter().map(|&b| i64::from(b)).collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn special(&self, name: &str) -> i64 {
        self.fixture["special_ids"][name].as_i64().unwrap()
    }

    /// GLM's goldens are erf-GELU unless named otherwise; ChatGLM's are tanh.
    pub fn config(&self, gelu: Option<Gelu>) -> Config {
        let mut config = Config::read(&self.folder.join("config.json")).unwrap();
        let original = if self.family == Family::Glm { Gelu::Erf } else { Gelu::Tanh };
        config.gelu = gelu.unwrap_or(original);
        config
    }

    pub fn model(&self, device: &Device, tune: &Tune, gelu: Option<Gelu>) -> Model {
        let checkpoint = Checkpoint::open(&self.folder).unwrap();
        Model::load(device, self.config(gelu), checkpoint, Dtype::F32, tune, 0).unwrap()
    }

    /// Adapter folders, `lora_*`.
    pub fn adapters(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|n| n.starts_with("lora"))
            .collect();
        names.sort();
        names
    }
}

/// A golden batch without its padding, and where each of our rows stands in it.
pub struct Rows {
    pub batch: Batch,
    /// (sequence, column) of each row.
    pub places: Vec<(usize, usize)>,
    /// `[sequences, columns]` of the golden tensors.
    pub size: (usize, usize),
    /// Original ChatGLM tensors are `[column, sequence, …]`.
    pub transposed: bool,
}

impl Rows {
    /// The rows of batch `tag` ("left", "right", "sep", "maskrow").
    pub fn read(set: &Set, tag: &str) -> Rows {
        let shape = set.shape(&format!("{tag}.input_ids"));
        let (count, columns) = (shape[0], shape[1]);
        let ids = set.integers(&format!("{tag}.input_ids"));
        let labels =
            set.has(&format!("{tag}.labels")).then(|| set.integers(&format!("{tag}.labels")));
        let mut rows = Rows {
            batch: Batch { starts: vec![0], ..Batch::default() },
            places: Vec::new(),
            size: (count, columns),
            transposed: set.family == Family::ChatGlm,
        };
        for s in 0..count {
            let (positions, real, context) = rows_of(set, tag, s, &ids[s * columns..][..columns]);
            let real_columns: Vec<usize> = (0..columns).filter(|&c| real[c]).collect();
            for &c in &real_columns {
                let row = rows.batch.tokens.len() as u32;
                rows.batch.tokens.push(ids[s * columns + c] as u32);
                rows.batch.positions[0].push(positions[0][c] as u32);
                rows.batch.positions[1].push(positions[1][c] as u32);
                rows.places.push((s, c));
                // GLM's labels stand beside the row that predicts them, ChatGLM's one further.
                let label = match (&labels, set.family) {
                    (Some(l), Family::Glm) => l[s * columns + c],
                    (Some(l), Family::ChatGlm) if c + 1 < columns => l[s * columns + c + 1],
                    _ => -100,
                };
                if label >= 0 {
                    rows.batch.target_rows.push(row);
                    rows.batch.target_ids.push(label as u32);
                    rows.batch.target_weights.push(1.0);
                }
            }
            rows.batch.starts.push(rows.batch.tokens.len() as u32);
            rows.batch.contexts.push(context as u32);
            rows.batch.examples.push(s as u64);
        }
        rows
    }

    pub fn targets(&self) -> f64 {
        self.batch.target_rows.len() as f64
    }

    /// The golden values of our rows out of a `[sequences, columns, width]` tensor.
    pub fn pick(&self, golden: &[f32]) -> Vec<f32> {
        let width = golden.len() / (self.size.0 * self.size.1);
        self.places
            .iter()
            .flat_map(|&(s, c)| golden[self.at(s, c) * width..][..width].iter().copied())
            .collect()
    }

    /// As `pick`, for tensors that are `[sequences, columns, …]` in both families.
    pub fn pick_logits(&self, golden: &[f32]) -> Vec<f32> {
        let width = golden.len() / (self.size.0 * self.size.1);
        let rows = self.places.iter().map(|&(s, c)| s * self.size.1 + c);
        rows.flat_map(|at| golden[at * width..][..width].iter().copied()).collect()
    }

    fn at(&self, s: usize, c: usize) -> usize {
        if self.transposed {
            c * self.size.0 + s
        } else {
            s * self.size.1 + c
        }
    }
}

/// Positions, which columns are real, and the length of part A of sequence `s`.
fn rows_of(set: &Set, tag: &str, s: usize, ids: &[i64]) -> ([Vec<i64>; 2], Vec<bool>, usize) {
    let columns = ids.len();
    let given = [format!("{tag}.position_ids"), format!("{tag}.position_ids_made_by_model")];
    let positions = given.iter().find(|n| set.has(n)).map(|n| {
        let all = set.integers(n);
        [0, 1].map(|row| all[(2 * s + row) * columns..][..columns].to_vec())
    });
    match set.family {
        Family::Glm => {
            let positions = positions.expect("GLM batches carry positions");
            let mask_name = format!("{tag}.attention_mask");
            let mask = set.integers(&mask_name);
            if set.shape(&mask_name).len() == 1 {
                // The length of part A; padding is id 0 at position 0 on the right.
                let context = mask[s] as usize;
                let end =
                    (0..columns).rev().find(|&c| ids[c] != 0 || positions[0][c] != 0).unwrap() + 1;
                return (positions, (0..columns).map(|c| c < end).collect(), context);
            }
            // What the last row sees, and all of part B.
            let last = &mask[(s * columns + columns - 1) * columns..][..columns];
            let real: Vec<bool> =
                (0..columns).map(|c| last[c] == 1 || positions[1][c] > 0).collect();
            let context = (0..columns).filter(|&c| real[c] && positions[1][c] == 0).count();
            (positions, real, context)
        }
        Family::ChatGlm => {
            let start = ids
                .iter()
                .position(|&id| id == set.special("sop"))
                .expect("every row has its start");
            let mask_name = format!("{tag}.attention_mask");
            let real: Vec<bool> = if set.has(&mask_name) {
                // True = masked; padding is what the last row does not see.
                let mask = set.integers(&mask_name);
                let last = &mask[(s * columns + columns - 1) * columns..][..columns];
                (0..columns).map(|c| last[c] == 0).collect()
            } else {
                vec![true; columns]
            };
            let padding = real.iter().take_while(|&&r| !r).count();
            let positions = positions.unwrap_or_else(|| {
                let gmask = ids.iter().position(|&id| id == set.special("gmask"));
                let mask =
                    gmask.or_else(|| ids.iter().position(|&id| id == set.special("mask"))).unwrap();
                let first =
                    (0..columns).map(|c| if c < start { c as i64 } else { mask as i64 }).collect();
                let second = (0..columns)
                    .map(|c| if c < start { 0 } else { (c - start + 1) as i64 })
                    .collect();
                [first, second]
            });
            (positions, real, start - padding)
        }
    }
}

/// max|Δ| / max|golden|
pub fn distance(ours: &[f32], golden: &[f32]) -> f64 {
    assert_eq!(ours.len(), golden.len(), "lengths differ");
    let scale = golden.iter().fold(0f64, |m, &g| m.max(f64::from(g).abs()));
    let worst = ours
        .iter()
        .zip(golden)
        .fold(0f64, |m, (&o, &g)| m.max((f64::from(o) - f64::from(g)).abs()));
    assert!(ours.iter().all(|v| v.is_finite()), "a value is not finite");
    if scale == 0.0 {
        worst
    } else {
        worst / scale
    }
}
