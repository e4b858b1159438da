//! From hidden rows to logits, losses and log-probabilities. Logits of many rows exist one chunk at
//! a time.

use super::norm::Normed;
use super::order::Order;
use crate::base::{Dtype, Shape};
use crate::data::Batch;
use crate::device::{Device, Epilogue, Form, Tensor, View, ViewMut, Write};
use crate::model::model::Model;
use crate::model::parameters::Flat;
use anyhow::Result;
use std::ops::Range;

/// Share of a device's own memory that logits may take: a GPU of 16 GiB then holds 1,334 rows of
/// 50,304.
const SHARE: u64 = 64;
/// Rows of a chunk beyond which a larger one brings nothing: the head, read once a chunk, is then a
/// few hundredths of the product's time.
const MOST_ROWS: usize = 2048;
/// Bytes of logits that every device has room for.
const SMALL: usize = 16 << 20;
/// Rows over which the gradient of the output matrix is summed at a time, and of which a chunk is a
/// multiple: so no bit depends on how much memory there is.
const PIECE: usize = 256;

/// Rows whose logits of `width` tokens exist at once, `capacity` being [`Device::capacity`].
pub fn chunk_rows(width: usize, capacity: u64) -> usize {
    let row = 4 * width.max(1);
    let shared = ((capacity / SHARE) as usize / row).min(MOST_ROWS);
    shared.max(SMALL / row).max(PIECE) / PIECE * PIECE
}

/// A range in parts of at most `most`.
pub(super) fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(most).map(move |start| start..(start + most).min(range.end))
}

/// d `[V, h]` = d_logitsᵀ·y of a chunk's gradient `[R, V]` and its rows `[R, h]`, or added to it:
/// piece after piece, so that chunks of several pieces give the bits of chunks of one.
pub(super) fn add_outer(
    device: &Device,
    mut d: ViewMut,
    d_logits: View,
    y: View,
    write: Write,
) -> Result<()> {
    for piece in parts(0..y.rows(), PIECE) {
        let write = if piece.start == 0 { write } else { Write::Add };
        let (d_logits, y) = (d_logits.row_range(piece.clone()), y.row_range(piece));
        let epilogue = Epilogue { write, ..Epilogue::default() };
        device.matmul(d.reborrow(), d_logits, y, Form::Tn, epilogue)?;
    }
    Ok(())
}

impl Model {
    /// The final norm of every row of `x` `[R, h]`, the last layer's output: `[R, h]`.
    pub fn finish(&self, x: &Tensor) -> Result<Tensor> {
        self.norm(x.view(), &self.weights.final_norm).map(|(y, _)| y)
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

    /// Rows whose logits of `width` tokens exist at once.
    pub(super) fn chunk(&self, width: usize) -> usize {
        chunk_rows(width, self.device.capacity())
    }

    /// Log-softmax over the full vocabulary of normed rows `[R, h]`, read at
    /// `ids[first[r]..first[r + 1]]` of each row r: `[ids.len()]`, natural logarithms.
    pub fn log_probs_at(&self, y: View, first: &[u32], ids: &[u32]) -> Result<Vec<f32>> {
        let wanted = self.device.upload_u32(ids)?;
        let mut values = self.device.unwritten(wanted.shape(), Dtype::F32)?;
        for rows in parts(0..y.rows(), self.chunk(self.config.vocabulary)) {
            let first = &first[rows.start..=rows.end];
            if first[0] == first[rows.len()] {
                continue;
            }
            let logits = self.logits(y.row_range(rows))?;
            self.read_log_probs(values.view_mut(), &logits, first, wanted.view())?;
        }
        self.device.download_f32(values.view())
    }

    /// `values[j]` = log-softmax of row r of a chunk of logits at `ids[j]`, for j in
    /// `first[r]..first[r + 1]`; other values stay.
    pub(super) fn read_log_probs(
        &self,
        values: ViewMut,
        logits: &Tensor,
        first: &[u32],
        ids: View,
    ) -> Result<()> {
        let from = first[0];
        let local: Vec<u32> = first.iter().map(|at| at - from).collect();
        let part = Shape::vector((first[first.len() - 1] - from) as usize);
        if part.count() == 0 {
            return Ok(());
        }
        let (values, ids) = (values.part(from as usize, part), ids.part(from as usize, part));
        let local = self.device.upload_u32(&local)?;
        self.device.log_probs_at(values, logits.view(), local.view(), ids)
    }

    /// The loss of a batch's targets, x `[T, h]` being the last layer's output at their rows in
    /// `order`, and, with `gradients`, the gradient of x.
    pub(super) fn head_loss(
        &self,
        x: View,
        batch: &Batch,
        order: &Order,
        divisor: f64,
        gradients: Option<&mut Flat>,
    ) -> Result<Headed> {
        let device = &self.device;
        let final_norm = &self.weights.final_norm;
        let ids = device.upload_u32(&order.arrange(&batch.target_ids))?;
        let Order { targets: order, whole, wide, narrow } = order;
        let targets = order.len();
        let weight = |&target: &u32| f64::from(batch.target_weights[target as usize]);
        let scaled: Vec<f32> = order.iter().map(|t| (weight(t) / divisor) as f32).collect();
        let weights = device.upload_f32(&scaled, Shape::vector(targets), Dtype::F32)?;
        let (normed, statistics) = self.norm(x, final_norm)?;
        let losses = device.unwritten(Shape::vector(targets), Dtype::F32)?;
        let d_normed = match gradients {
            Some(_) => Some(device.unwritten(normed.shape(), normed.dtype())?),
            None => None,
        };
        let model = self;
        let mut head = HeadLoss { model, order, normed, weights, losses, d_normed, gradients };
        head.whole(whole.clone(), &ids)?;
        for (set, places) in wide {
            head.wide(batch, *set, places.clone())?;
        }
        head.narrow(batch, narrow.clone())?;
        let HeadLoss { losses, d_normed, gradients, .. } = head;
        let ordered = device.download_f32(losses.view())?;
        let loss = ordered.iter().zip(order).map(|(&l, t)| f64::from(l) * weight(t)).sum::<f64>();
        let loss = loss / divisor;
        let mut losses = vec![0.0; targets];
        order.iter().zip(ordered).for_each(|(&target, loss)| losses[target as usize] = loss);
        let (Some(gradients), Some(d_normed)) = (gradients, d_normed) else {
            return Ok(Headed { loss, losses, dx: None });
        };
        let mut dx = device.unwritten(x.shape(), x.dtype())?;
        let normed = Normed { norm: final_norm, x, statistics: statistics.view() };
        self.norm_backward(dx.view_mut(), gradients, d_normed.view(), normed, Write::Set)?;
        Ok(Headed { loss, losses, dx: Some(dx) })
    }
}

/// What the head makes of a batch.
pub(super) struct Headed {
    /// Σ weightₜ·lossₜ / divisor.
    pub loss: f64,
    /// `[targets]` the loss of each, in the batch's order.
    pub losses: Vec<f32>,
    /// `[T, h]` the gradient of the last layer's output, where one is wanted.
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
        for range in parts(places, model.chunk(model.config.vocabulary)) {
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
                add_outer(device, gradients.view_mut(slot), logits.view(), y, Write::Add)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    #[test]
    fn chunks_are_what_memory_allows_and_whole_pieces() {
        let gib = |n: u64| n << 30;
        let rows = [0, gib(4), gib(16), gib(40), gib(80)].map(|own| chunk_rows(50_304, own));
        assert_eq!(rows, [256, 256, 1280, 2048, 2048]);
        assert_eq!([0, gib(40), gib(80)].map(|own| chunk_rows(130_528, own)), [256, 1280, 2048]);
        // Of few tokens there are never fewer than have always had room.
        assert_eq!([0, gib(80)].map(|own| chunk_rows(300, own)), [13_824, 13_824]);
        assert!(chunk_rows(0, u64::MAX).is_multiple_of(PIECE));
    }

    #[test]
    fn a_gradient_has_the_same_bits_whatever_a_chunk_is() {
        let device = Device::open("cpu", 1).unwrap();
        let (rows, vocabulary, hidden) = (3 * PIECE + 40, 30, 24);
        let noise = |count: usize, stream| -> Vec<f32> {
            let mut random = Philox::new(5, Stream::Synthetic, stream);
            (0..count).map(|_| random.normal() as f32).collect()
        };
        let matrix = |cols: usize, stream| {
            let values = noise(rows * cols, stream);
            device.upload_f32(&values, Shape::matrix(rows, cols), Dtype::F32).unwrap()
        };
        let (d_logits, y) = (matrix(vocabulary, 1), matrix(hidden, 2));
        let summed = |chunk: usize| {
            let mut d = device.zeros(Shape::matrix(vocabulary, hidden), Dtype::F32).unwrap();
            for part in parts(0..rows, chunk) {
                let (d_logits, y) =
                    (d_logits.view().row_range(part.clone()), y.view().row_range(part));
                add_outer(&device, d.view_mut(), d_logits, y, Write::Add).unwrap();
            }
            device.download_f32(d.view()).unwrap()
        };
        assert_eq!(summed(PIECE), summed(2 * PIECE));
        assert_eq!(summed(PIECE), summed(rows));
        // Another order of adding would show.
        assert_ne!(summed(PIECE), summed(PIECE - 1));
    }
}
