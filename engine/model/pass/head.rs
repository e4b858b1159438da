//! From hidden rows to logits, losses and log-probabilities. Logits of many rows exist one chunk at
//! a time.

use super::norm::Normed;
use super::order::Order;
use crate::base::{Dtype, Shape};
use crate::data::Batch;
use crate::device::{Epilogue, Form, Tensor, View, Write};
use crate::model::model::Model;
use crate::model::parameters::Flat;
use anyhow::Result;
use std::ops::Range;

/// Bytes of f32 logits that may exist at once.
const CHUNK_BYTES: usize = 16 << 20;

/// Rows whose logits exist at once.
pub fn chunk_rows(vocabulary: usize) -> usize {
    (CHUNK_BYTES / (4 * vocabulary)).max(8)
}

/// A range in parts of at most `most`.
pub(super) fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(most).map(move |start| start..(start + most).min(range.end))
}

impl Model {
    /// The final norm of every row of `x` `[R, h]`, the last layer's output: `[R, h]`.
    pub fn finish(&self, x: &Tensor) -> Result<Tensor> {
        self.norm(x.view(), &self.weights.final_norm).map(|(y, _)| y)
    }

    /// The final norm of the last row of each sequence of `batch`, x `[R, h]` being the last
    /// layer's output: `[S, h]`.
    pub(super) fn finish_ends(&self, x: &Tensor, batch: &Batch) -> Result<Tensor> {
        let last: Vec<u32> = batch.starts.iter().skip(1).map(|end| end - 1).collect();
        self.finish(&self.gather(x.view(), &self.device.upload_u32(&last)?, self.dtype)?)
    }

    /// Rows of a table, `[ids, h]`.
    pub(super) fn gather(&self, table: View, ids: &Tensor, dtype: Dtype) -> Result<Tensor> {
        let shape = Shape::matrix(ids.shape().count(), table.cols());
        let mut rows = self.device.unwritten(shape, dtype)?;
        self.device.embed(rows.view_mut(), &[(table, ids.view())], Write::Set)?;
        Ok(rows)
    }

    /// logits = y·Eᵀ, `[R, V]` f32, of normed rows `[R, h]`, E the output matrix; for few rows, or
    /// where all are wanted.
    pub fn logits(&self, y: View) -> Result<Tensor> {
        let output = self.view(self.weights.output());
        let mut logits =
            self.device.unwritten(Shape::matrix(y.rows(), self.config.vocabulary), Dtype::F32)?;
        self.device.matmul(logits.view_mut(), y, output, Form::Nt, Epilogue::default())?;
        Ok(logits)
    }

    /// Log-softmax over the full vocabulary of normed rows `[R, h]`, read at
    /// `ids[first[r]..first[r + 1]]` of each row r: `[ids.len()]`, natural logarithms.
    pub fn log_probs_at(&self, y: View, first: &[u32], ids: &[u32]) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(ids.len());
        let chunk = chunk_rows(self.config.vocabulary);
        for start in (0..y.rows()).step_by(chunk) {
            let end = (start + chunk).min(y.rows());
            let (from, to) = (first[start], first[end]);
            if from == to {
                continue;
            }
            let logits = self.logits(y.row_range(start..end))?;
            let local: Vec<u32> = first[start..=end].iter().map(|f| f - from).collect();
            let local = self.device.upload_u32(&local)?;
            let wanted = self.device.upload_u32(&ids[from as usize..to as usize])?;
            let mut out = self.device.unwritten(Shape::vector((to - from) as usize), Dtype::F32)?;
            self.device.log_probs_at(out.view_mut(), logits.view(), local.view(), wanted.view())?;
            values.extend(self.device.download_f32(out.view())?);
        }
        Ok(values)
    }

    /// The loss of the target rows of `x` `[R, h]` (the last layer's output) and, with
    /// `gradients`, the gradient of `x`.
    pub(super) fn head_loss(
        &self,
        x: View,
        batch: &Batch,
        divisor: f64,
        gradients: Option<&mut Flat>,
    ) -> Result<Headed> {
        let device = &self.device;
        let final_norm = &self.weights.final_norm;
        let targets = batch.target_rows.len();
        if targets == 0 {
            let dx = gradients.map(|_| device.zeros(x.shape(), x.dtype())).transpose()?;
            return Ok(Headed { loss: 0.0, losses: Vec::new(), dx });
        }
        let Order { targets: order, whole, wide, narrow } = Order::of(&batch.choices, targets);
        let in_order = |values: &[u32]| order.iter().map(|&t| values[t as usize]).collect();
        let target_rows: Vec<u32> = in_order(&batch.target_rows);
        let target_ids: Vec<u32> = in_order(&batch.target_ids);
        let rows = device.upload_u32(&target_rows)?;
        let ids = device.upload_u32(&target_ids)?;
        let weight = |&target: &u32| f64::from(batch.target_weights[target as usize]);
        let scaled: Vec<f32> = order.iter().map(|t| (weight(t) / divisor) as f32).collect();
        let weights = device.upload_f32(&scaled, Shape::vector(targets), Dtype::F32)?;
        let gathered = self.gather(x, &rows, x.dtype())?;
        let (normed, statistics) = self.norm(gathered.view(), final_norm)?;
        let losses = device.unwritten(Shape::vector(targets), Dtype::F32)?;
        let d_normed = match gradients {
            Some(_) => Some(device.unwritten(normed.shape(), normed.dtype())?),
            None => None,
        };
        let (model, order) = (self, order.as_slice());
        let mut head = HeadLoss { model, order, normed, weights, losses, d_normed, gradients };
        head.whole(whole, &ids)?;
        for (set, places) in wide {
            head.wide(batch, set, places)?;
        }
        head.narrow(batch, narrow)?;
        let HeadLoss { losses, d_normed, gradients, .. } = head;
        let ordered = device.download_f32(losses.view())?;
        let loss = ordered.iter().zip(order).map(|(&l, t)| f64::from(l) * weight(t)).sum::<f64>();
        let loss = loss / divisor;
        let mut losses = vec![0.0; targets];
        order.iter().zip(ordered).for_each(|(&target, loss)| losses[target as usize] = loss);
        let (Some(gradients), Some(d_normed)) = (gradients, d_normed) else {
            return Ok(Headed { loss, losses, dx: None });
        };
        // One row more than targets: zeros, for all rows that are none. So the scatter is a gather,
        // in any dtype.
        let mut d_gathered = device.unwritten(Shape::matrix(targets + 1, x.cols()), x.dtype())?;
        device.zero(d_gathered.view_mut().row_range(targets..targets + 1))?;
        self.norm_backward(
            d_gathered.view_mut().row_range(0..targets),
            gradients,
            d_normed.view(),
            Normed { norm: final_norm, x: gathered.view(), statistics: statistics.view() },
            Write::Set,
        )?;
        let mut sources = vec![targets as u32; x.rows()];
        for (target, &row) in target_rows.iter().enumerate() {
            sources[row as usize] = target as u32;
        }
        let sources = device.upload_u32(&sources)?;
        let dx = self.gather(d_gathered.view(), &sources, x.dtype())?;
        Ok(Headed { loss, losses, dx: Some(dx) })
    }
}

/// What the head makes of a batch.
pub(super) struct Headed {
    /// Σ weightₜ·lossₜ / divisor.
    pub loss: f64,
    /// `[targets]` the loss of each, in the batch's order.
    pub losses: Vec<f32>,
    /// The gradient of the last layer's output, where one is wanted.
    pub dx: Option<Tensor>,
}

/// The loss of a batch's targets while it is computed, in the head's order of them.
pub(super) struct HeadLoss<'a> {
    pub model: &'a Model,
    /// Numbers of targets.
    pub order: &'a [u32],
    /// `[targets, h]`
    pub normed: Tensor,
    /// `[targets]` weights over the divisor.
    pub weights: Tensor,
    /// `[targets]`
    pub losses: Tensor,
    /// The gradient of `normed`, where one is wanted.
    pub d_normed: Option<Tensor>,
    pub gradients: Option<&'a mut Flat>,
}

impl HeadLoss<'_> {
    /// Targets of the whole vocabulary, a chunk of logits at a time; `ids` `[targets]`.
    fn whole(&mut self, places: Range<usize>, ids: &Tensor) -> Result<()> {
        let (model, output) = (self.model, self.model.weights.output());
        let device = &model.device;
        let chunk = chunk_rows(model.config.vocabulary);
        for range in parts(places, chunk) {
            let start = range.start;
            let part = Shape::vector(range.len());
            let y = self.rows(range.clone());
            let mut logits = model.logits(y)?;
            device.cross_entropy(
                self.losses.view_mut().part(start, part),
                logits.view_mut(),
                ids.view().part(start, part),
                self.weights.view().part(start, part),
            )?;
            if !self.has_gradients() {
                continue;
            }
            // `logits` is its own gradient now.
            self.d_rows(range.clone(), &logits, model.view(output))?;
            if let (Some(slot), Some(gradients)) = (output.slot(), self.gradients.as_deref_mut()) {
                let y = self.normed.view().row_range(range);
                let add = Epilogue { write: Write::Add, ..Epilogue::default() };
                device.matmul(gradients.view_mut(slot), logits.view(), y, Form::Tn, add)?;
            }
        }
        Ok(())
    }

    /// Normed rows.
    pub(super) fn rows(&self, places: Range<usize>) -> View<'_> {
        self.normed.view().row_range(places)
    }

    /// Whether gradients are wanted.
    pub(super) fn has_gradients(&self) -> bool {
        self.d_normed.is_some()
    }

    /// Whether the output matrix is trained.
    pub(super) fn trains_output(&self) -> bool {
        self.gradients.is_some() && self.model.weights.output().slot().is_some()
    }

    /// The gradient of normed rows at `places` from that of logits, `head` being what these are
    /// products with.
    pub(super) fn d_rows(
        &mut self,
        places: Range<usize>,
        d_logits: &Tensor,
        head: View,
    ) -> Result<()> {
        let device = &self.model.device;
        let Some(d_normed) = self.d_normed.as_mut() else { return Ok(()) };
        // The product wants it as the head is stored.
        let narrow = match d_normed.dtype() {
            Dtype::F32 => None,
            dtype => {
                let mut narrow = device.unwritten(d_logits.shape(), dtype)?;
                device.cast(narrow.view_mut(), d_logits.view())?;
                Some(narrow)
            }
        };
        let d_logits = narrow.as_ref().map_or(d_logits.view(), Tensor::view);
        let d = d_normed.view_mut().row_range(places);
        device.matmul(d, d_logits, head, Form::Nn, Epilogue::default())
    }

    /// Adds to the gradient of the output matrix's rows `ids`.
    pub(super) fn add_to_output(&mut self, d_rows: &Tensor, ids: &Tensor) -> Result<()> {
        let output = self.model.weights.output();
        let (Some(slot), Some(gradients)) = (output.slot(), self.gradients.as_deref_mut()) else {
            return Ok(());
        };
        let d_output = gradients.view_mut(slot);
        self.model.device.embed_backward(d_output, d_rows.view(), ids.view())
    }
}
