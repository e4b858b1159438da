//! The 2D rotary positions (ChatGLM): their tables, and the turn of queries and keys.

use super::rows::Pass;
use crate::base::host::room;
use crate::base::{Dtype, Shape};
use crate::device::{Device, Rotary, Turn, ViewMut};
use crate::model::config::Config;
use crate::model::model::RotaryTables;
use anyhow::Result;
use half::f16;

impl RotaryTables {
    /// Cosines and sines of position × 10000^(-2j/D), D = d/2: each half of a head's dims turns by
    /// its own position. Frequencies are rounded to f16 as the original stores them; with f16
    /// storage the angle, its cosine and its sine are rounded too, which is what the published f16
    /// model computes.
    pub fn new(device: &Device, config: &Config, dtype: Dtype) -> Result<RotaryTables> {
        let dims = config.head_dim() / 2;
        let rows = config.position_rows();
        let round = |x: f32| if dtype == Dtype::F16 { f16::from_f32(x).to_f32() } else { x };
        let frequencies: Vec<f32> = (0..dims / 2)
            .map(|j| f16::from_f32(10000f32.powf(-2.0 * j as f32 / dims as f32)).to_f32())
            .collect();
        let table = || room("tables of positions", rows * dims / 2);
        let (mut cos, mut sin) = (table()?, table()?);
        for position in 0..rows {
            for &frequency in &frequencies {
                let angle = round(round(position as f32) * frequency);
                cos.push(round(angle.cos()));
                sin.push(round(angle.sin()));
            }
        }
        let shape = Shape::matrix(rows, dims / 2);
        Ok(RotaryTables {
            cos: device.upload_f32(&cos, shape, Dtype::F32)?,
            sin: device.upload_f32(&sin, shape, Dtype::F32)?,
        })
    }
}

impl Pass<'_> {
    /// Turns queries and keys of `qkv` `[R, 3h]` by the rows' positions, or back; nothing where
    /// positions are learned.
    pub fn rotate(&self, qkv: ViewMut, turn: Turn) -> Result<()> {
        let config = &self.model.config;
        let Some(tables) = &self.model.rotary else { return Ok(()) };
        let rotary = Rotary {
            cos: tables.cos.view(),
            sin: tables.sin.view(),
            positions: self.rows.positions(),
        };
        self.model.device.rotate(qkv, rotary, config.qkv_heads(), turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use std::path::Path;

    /// The tables that the original code made, beside ours: f32 for the tiny models, f16 for the
    /// real one.
    #[test]
    fn tables_are_those_of_the_original() {
        let device = Device::open("cpu", 1).unwrap();
        let tables = |config: &Config, dtype: Dtype| {
            let tables = RotaryTables::new(&device, config, dtype).unwrap();
            [&tables.cos, &tables.sin].map(|table| device.download_f32(table.view()).unwrap())
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chatglm-tiny");
        let mut real = 0;
        for set in ["a", "b"] {
            let folder = root.join(set);
            let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let config = Config::read(&folder.join("config.json")).unwrap();
            for (ours, name) in tables(&config, Dtype::F32).iter().zip(["rotary.cos", "rotary.sin"])
            {
                let golden = file.tensor(name).unwrap();
                let (rows, pairs) = (golden.shape()[0], golden.shape()[1] / 2);
                let golden: Vec<f32> = golden
                    .data()
                    .chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                    .collect();
                for i in 0..rows * pairs * 2 {
                    // Every column stands twice in the original's tables.
                    let own = ours[i / (2 * pairs) * pairs + i % pairs];
                    assert!((own - golden[i]).abs() <= 2e-7, "{name} {i}: {own} {}", golden[i]);
                }
            }
            let Ok(positions) = file.tensor("rotary6b.positions") else { continue };
            let positions: Vec<i64> = positions
                .data()
                .chunks(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let config = Config::from_json(&serde_json::json!({"model_type": "chatglm"})).unwrap();
            let names = ["rotary6b.cos_f16", "rotary6b.sin_f16"];
            for (ours, name) in tables(&config, Dtype::F16).iter().zip(names) {
                let golden = file.tensor(name).unwrap();
                let pairs = golden.shape()[1];
                let golden =
                    golden.data().chunks(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()));
                for (i, golden) in golden.enumerate() {
                    let own = ours[positions[i / pairs] as usize * pairs + i % pairs];
                    // Both round a cosine to f16; where it lies all but between two of them, either
                    // is right.
                    let step = golden.to_f32().abs().max(2f32.powi(-14)) * 2f32.powi(-10);
                    assert!((own - golden.to_f32()).abs() <= step, "{name} {i}: {own} {golden}");
                    real += usize::from(own == golden.to_f32());
                }
            }
        }
        assert!(
            real > 15_000,
            "{real} of 15936 numbers of the real model's tables are the same to the bit"
        );
    }
}
