//! The passes over a batch: answers, losses, gradients. They read the types of
//! [`super::model`] and [`super::config`]; nothing there knows of them.

pub(super) mod among;
pub(super) mod cache;
pub(super) mod choose;
mod embed;
pub(super) mod head;
pub(super) mod layer;
mod linear;
mod norm;
mod order;
mod rotary;
pub(super) mod rows;

use super::model::{Layer, Model};
use super::parameters::Flat;
use crate::data::Batch;
use crate::device::{Tensor, View};
use anyhow::Result;
use head::Headed;
use layer::{Keep, Saved};
use order::Order;
use rows::{Noise, Pass, Purpose, Read, Rows, Site};

impl Model {
    /// Runs all layers; `observe(i, x)` sees the embedding (0) and each layer's output (i), `[R,
    /// h]`. Returns the last output. Refuses ids and positions that the tables do not have.
    pub fn hidden(
        &self,
        batch: &Batch,
        mut observe: impl FnMut(usize, View) -> Result<()>,
    ) -> Result<Tensor> {
        let rows = Rows::upload(self, batch, None)?;
        let pass = Pass::answering(self, &rows);
        let mut x = pass.embed()?;
        observe(0, x.view())?;
        for layer in &self.weights.layers {
            x = pass.layer(&mut Saved::new(x), layer, Purpose::Inference, None)?;
            observe(layer.number + 1, x.view())?;
        }
        Ok(x)
    }

    /// The last layer's output of some rows of `batch`, `[T, h]`, each named once: the bits of
    /// [`Model::hidden`], without what only the other rows' outputs would need.
    fn outputs(&self, batch: &Batch, wanted: &[u32]) -> Result<Tensor> {
        let rows = Rows::upload(self, batch, None)?;
        let read = Read::upload(self, batch, wanted, None)?;
        let pass = Pass::answering(self, &rows);
        let mut x = pass.embed()?;
        for layer in &self.weights.layers {
            let read = self.behind(layer, &read);
            x = pass.layer(&mut Saved::new(x), layer, Purpose::Inference, read)?;
        }
        Ok(x)
    }

    /// The rows that go on behind the attention of `layer`: all (`None`), or of the last one those
    /// that are read.
    fn behind<'r>(&self, layer: &Layer, read: &'r Read) -> Option<&'r Read> {
        (layer.number + 1 == self.weights.layers.len()).then_some(read)
    }

    /// The normed last row of each sequence of `batch`, `[S, h]`. Refuses what [`Model::hidden`]
    /// refuses.
    pub fn ends(&self, batch: &Batch) -> Result<Tensor> {
        self.finish(&self.outputs(batch, &batch.ends())?)
    }

    /// The loss Σ weightₜ·CEₜ / divisor over the batch's targets (R18), in nats, without gradients.
    /// Refuses what [`Model::hidden`] refuses.
    pub fn loss(&self, batch: &Batch, divisor: f64) -> Result<f64> {
        let order = Order::of(&batch.choices, batch.target_rows.len());
        let x = self.outputs(batch, &order.arrange(&batch.target_rows))?;
        self.head_loss(x.view(), batch, &order, divisor, None).map(|headed| headed.loss)
    }

    /// The loss as in [`Model::loss`], its gradient added to `gradients`, a range of the model's
    /// [`Model::layout`]. The divisor is the sum of target weights of the whole optimiser step, so
    /// that accumulation over batches is one mean, not a mean of means. No bit depends on `keep`.
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        divisor: f64,
        noise: Option<&Noise>,
        keep: Keep,
        gradients: &mut Flat,
    ) -> Result<f64> {
        let losses = self.losses_and_gradients(batch, divisor, noise, keep, gradients);
        losses.map(|(loss, _)| loss)
    }

    /// The same, with the loss of each target in the batch's order, unweighted.
    pub fn losses_and_gradients(
        &self,
        batch: &Batch,
        divisor: f64,
        noise: Option<&Noise>,
        keep: Keep,
        gradients: &mut Flat,
    ) -> Result<(f64, Vec<f32>)> {
        let rows = Rows::upload(self, batch, noise)?;
        let order = Order::of(&batch.choices, batch.target_rows.len());
        if order.targets.is_empty() {
            return Ok((0.0, Vec::new()));
        }
        let read = Read::upload(self, batch, &order.arrange(&batch.target_rows), noise)?;
        let pass = Pass::new(self, &rows, noise);
        let mut x = pass.embed()?;
        if let Some(dropped) = pass.dropped(&x, Site::Embedding)? {
            x = dropped;
        }
        let layers = &self.weights.layers;
        let mut saved = Vec::with_capacity(layers.len());
        for layer in layers {
            let mut this = Saved::new(x);
            x = pass.layer(&mut this, layer, Purpose::Training, self.behind(layer, &read))?;
            this.forget(keep);
            saved.push(this);
        }
        let Headed { loss, losses, dx } =
            self.head_loss(x.view(), batch, &order, divisor, Some(gradients))?;
        drop(x);
        let mut dx = dx.expect("a gradient was asked for");
        for layer in layers.iter().rev() {
            let mut this = saved.pop().expect("the forward leaves one a layer");
            let read = self.behind(layer, &read);
            pass.layer_backward(&mut dx, gradients, &mut this, layer, read)?;
        }
        if self.trains_embeddings() {
            let d_embedding = pass.dropped(&dx, Site::Embedding)?;
            pass.embed_backward(gradients, d_embedding.as_ref().map_or(dx.view(), Tensor::view))?;
        }
        Ok((loss, losses))
    }
}
