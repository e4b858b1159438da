//! Cosines and sines of the 2D rotary positions (ChatGLM).

use super::config::Config;
use crate::base::{Dtype, Shape};
use crate::device::{Device, Rotary, Tensor, View};
use anyhow::Result;
use half::f16;

/// `[P, d/4]` cosines and sines of position × 10000^(-2j/D), D = d/2: each half of a head's dims turns by its own position.
pub struct RotaryTables {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryTables {
    /// Frequencies are rounded to f16 as the original stores them; with f16 storage the angle, its cosine and its sine are
    /// rounded too, which is what the published f16 model computes.
    pub fn new(device: &Device, config: &Config, dtype: Dtype) -> Result<RotaryTables> {
        let dims = config.head_dim() / 2;
        let rows = config.max_positions + 1;
        let round = |x: f32| if dtype == Dtype::F16 { f16::from_f32(x).to_f32() } else { x };
        let frequencies: Vec<f32> = (0..dims / 2)
            .map(|j| f16::from_f32(10000f32.powf(-2.0 * j as f32 / dims as f32)).to_f32())
            .collect();
        let (mut cos, mut sin) = (Vec::with_capacity(rows * dims / 2), Vec::with_capacity(rows * dims / 2));
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

    /// Number of positions in the tables.
    pub fn positions(&self) -> usize {
        self.cos.shape().rows()
    }

    pub fn at<'a>(&'a self, positions: [View<'a>; 2]) -> Rotary<'a> {
        Rotary { cos: self.cos.view(), sin: self.sin.view(), positions }
    }
}
