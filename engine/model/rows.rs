//! A batch on the device, and the randomness of one pass over it.

use super::config::Rates;
use crate::base::{Dtype, Shape};
use crate::data::Batch;
use crate::device::{Device, Dropout, Segments, Tensor};
use anyhow::Result;

/// The rows of a batch where the ops can see them.
pub struct Rows {
    pub tokens: Tensor,
    pub positions: [Tensor; 2],
    pub segments: Segments,
    /// `[R, 3]` names of the rows for dropout; only where a pass drops something.
    names: Option<Tensor>,
}

/// Dropout of one pass: the same (seed, step) gives the same masks, however the step is cut into
/// batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    pub seed: u64,
    pub step: u64,
    pub rates: Rates,
    pub lora: f32,
}

impl Noise {
    fn drops(&self) -> bool {
        self.rates.embedding > 0.0
            || self.rates.attention > 0.0
            || self.rates.output > 0.0
            || self.lora > 0.0
    }
}

/// A place in the model where dropout acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Embedding,
    /// Input of the adapter of a linear (0..4) of a layer.
    Adapter(usize, usize),
    Attention(usize),
    AttentionOutput(usize),
    FeedForwardOutput(usize),
}

impl Site {
    fn number(self) -> u32 {
        match self {
            Site::Embedding => 0,
            Site::Adapter(layer, linear) => 1 + 8 * layer as u32 + linear as u32,
            Site::Attention(layer) => 5 + 8 * layer as u32,
            Site::AttentionOutput(layer) => 6 + 8 * layer as u32,
            Site::FeedForwardOutput(layer) => 7 + 8 * layer as u32,
        }
    }
}

impl Rows {
    /// Uploads `batch`; `noise` decides whether rows need names.
    pub fn upload(device: &Device, batch: &Batch, noise: Option<&Noise>) -> Result<Rows> {
        let names = match noise {
            Some(noise) if noise.drops() => {
                let mut words = Vec::with_capacity(3 * batch.tokens.len());
                for (bounds, &example) in batch.starts.windows(2).zip(&batch.examples) {
                    for place in 0..bounds[1] - bounds[0] {
                        words.extend([example as u32, (example >> 32) as u32, place]);
                    }
                }
                let mut names = device.alloc(Shape::matrix(batch.tokens.len(), 3), Dtype::U32)?;
                device.write_u32(names.view_mut(), &words)?;
                Some(names)
            }
            _ => None,
        };
        Ok(Rows {
            tokens: device.upload_u32(&batch.tokens)?,
            positions: [
                device.upload_u32(&batch.positions[0])?,
                device.upload_u32(&batch.positions[1])?,
            ],
            segments: device.segments(batch.starts.clone(), batch.contexts.clone())?,
            names,
        })
    }

    pub fn count(&self) -> usize {
        self.tokens.shape().count()
    }

    /// What dropout does at `site`, `None` where its rate is zero or the pass is without noise.
    pub fn dropout(&self, noise: Option<&Noise>, site: Site) -> Option<Dropout<'_>> {
        let noise = noise?;
        let rate = match site {
            Site::Embedding => noise.rates.embedding,
            Site::Adapter(..) => noise.lora,
            Site::Attention(_) => noise.rates.attention,
            Site::AttentionOutput(_) | Site::FeedForwardOutput(_) => noise.rates.output,
        };
        if rate == 0.0 {
            return None;
        }
        let names = self.names.as_ref().expect("rows were uploaded with the noise of this pass");
        Some(Dropout {
            rate,
            key: Dropout::key(noise.seed, noise.step, site.number()),
            rows: names.view(),
        })
    }
}
