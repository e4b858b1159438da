//! A batch on the device, and one pass of a model over it.

use crate::base::{Dtype, Fault, Shape};
use crate::data::Batch;
use crate::device::{Dropout, Segments, Tensor, View, Write};
use crate::model::config::{LinearName, Rates};
use crate::model::model::Model;
use anyhow::Result;

/// One pass of a model over one batch: what every step of it needs to know.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The weights.
    pub model: &'a Model,
    /// The batch.
    pub rows: &'a Rows,
    /// What is dropped; `None` in a pass that only answers.
    pub noise: Option<&'a Noise>,
}

/// The rows of a batch where the ops can see them.
pub struct Rows {
    /// `[3, R]` u32: tokens, the place in the text, the place in the block.
    ids: Tensor,
    /// Which rows see which.
    pub segments: Segments,
    /// `[R, 3]` names of the rows for dropout; only where a pass drops something.
    names: Option<Tensor>,
}

/// Dropout of one pass: the same (seed, step) gives the same masks, however the step is cut into
/// batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Of the run.
    pub seed: u64,
    /// Number of the optimiser step.
    pub step: u64,
    /// Of the model itself.
    pub rates: Rates,
    /// Rate at which inputs of adapters are dropped, 0 to below 1.
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
    /// The sum of the embeddings.
    Embedding,
    /// The input of the adapter of a linear of a layer.
    Adapter(usize, LinearName),
    /// The attention probabilities of a layer.
    Attention(usize),
    /// The output of a layer's `dense`.
    AttentionOutput(usize),
    /// The output of a layer's `dense_4h_to_h`.
    FeedForwardOutput(usize),
}

impl Site {
    /// The name of the site in the counter of the generator: eight a layer.
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
    /// Uploads `batch` for a pass of `model`; `noise` decides whether rows need names. Refuses ids
    /// and positions that the tables do not have.
    pub fn upload(model: &Model, batch: &Batch, noise: Option<&Noise>) -> Result<Rows> {
        let (device, config) = (&model.device, &model.config);
        refuse_beyond("token", &batch.tokens, config.vocabulary)?;
        refuse_beyond("position", &batch.positions[0], config.position_rows())?;
        refuse_beyond("block position", &batch.positions[1], config.position_rows())?;
        let names = match noise {
            Some(noise) if noise.drops() => {
                let mut words = Vec::with_capacity(3 * batch.tokens.len());
                for (bounds, &example) in batch.starts.windows(2).zip(&batch.examples) {
                    for place in 0..bounds[1] - bounds[0] {
                        words.extend([example as u32, (example >> 32) as u32, place]);
                    }
                }
                let mut names =
                    device.unwritten(Shape::matrix(batch.tokens.len(), 3), Dtype::U32)?;
                device.write_u32(names.view_mut(), &words)?;
                Some(names)
            }
            _ => None,
        };
        Ok(Rows {
            ids: device.upload_u32(
                &[&batch.tokens[..], &batch.positions[0], &batch.positions[1]].concat(),
            )?,
            segments: device.segments(batch.starts.clone(), batch.contexts.clone())?,
            names,
        })
    }

    /// R
    pub fn count(&self) -> usize {
        self.ids.shape().count() / 3
    }

    /// `[R]` u32
    pub fn tokens(&self) -> View<'_> {
        self.ids_at(0)
    }

    /// `[R]` u32 each: the place in the text, the place in the block.
    pub fn positions(&self) -> [View<'_>; 2] {
        [self.ids_at(1), self.ids_at(2)]
    }

    fn ids_at(&self, which: usize) -> View<'_> {
        self.ids.view().part(which * self.count(), Shape::vector(self.count()))
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

/// Refuses ids that a table of `rows` rows does not have.
fn refuse_beyond(what: &str, ids: &[u32], rows: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => Err(Fault::Model.error(format!(
            "input: {what}: expected ids below {rows}, got {id}; do tokenizer, data and weights \
            belong together?"
        ))),
    }
}

impl<'a> Pass<'a> {
    /// A pass that only answers.
    pub fn answering(model: &'a Model, rows: &'a Rows) -> Pass<'a> {
        Pass { model, rows, noise: None }
    }

    /// What this pass drops at `site`.
    pub fn dropout(&self, site: Site) -> Option<Dropout<'a>> {
        self.rows.dropout(self.noise, site)
    }

    /// `x` after dropout at `site`, and its gradient before it; `None` where nothing is dropped.
    pub fn dropped(&self, x: &Tensor, site: Site) -> Result<Option<Tensor>> {
        let Some(dropout) = self.dropout(site) else { return Ok(None) };
        let mut y = self.like(x)?;
        self.model.device.dropout(y.view_mut(), x.view(), dropout, Write::Set)?;
        Ok(Some(y))
    }

    /// A buffer of the shape and storage of `x`.
    pub fn like(&self, x: &Tensor) -> Result<Tensor> {
        self.model.device.unwritten(x.shape(), x.dtype())
    }
}
