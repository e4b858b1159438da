//! The optimiser over the flat range of what is trained: clipping, AdamW, moments.

use crate::base::{Dtype, Shape};
use crate::device::{AdamW, Tensor};
use crate::model::{Flat, Model};
use anyhow::Result;

/// Fixed numbers of the optimiser (R37; docs/models.md, training).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// What the root of the second moment is raised by.
    pub epsilon: f32,
    /// Share of a matrix that goes at each step, times the learning rate.
    pub weight_decay: f32,
    /// Largest gradient norm; 0 = no clipping.
    pub clip: f32,
    /// Whether biases and layer norms decay as well (PyTorch's default for one parameter group).
    pub decay_all: bool,
}

/// Moments and the runs of slots that share a weight decay.
pub struct Optimizer {
    hyper: Hyper,
    /// Running mean of the gradients.
    pub moment1: Flat,
    /// Running mean of their squares.
    pub moment2: Flat,
    /// (offset, length, decays), merged where neighbours agree.
    ranges: Vec<(usize, usize, bool)>,
    norm: Tensor,
}

impl Optimizer {
    /// Moments of zero for all that `model` trains.
    pub fn new(model: &Model, hyper: Hyper) -> Result<Optimizer> {
        let mut ranges: Vec<(usize, usize, bool)> = Vec::new();
        for slot in model.layout().slots() {
            let decays = slot.role.is_matrix() || hyper.decay_all;
            match ranges.last_mut() {
                Some(last) if last.2 == decays => last.1 += slot.shape.count(),
                _ => ranges.push((slot.offset, slot.shape.count(), decays)),
            }
        }
        Ok(Optimizer {
            hyper,
            moment1: Flat::zeros(&model.device, model.layout())?,
            moment2: Flat::zeros(&model.device, model.layout())?,
            ranges,
            norm: model.device.unwritten(Shape::vector(1), Dtype::F32)?,
        })
    }

    /// One step, counted from 1, with the gradient of the whole step, which bears the factor
    /// `scaled`. Returns the gradient's norm before clipping, without that factor; where it is not
    /// finite nothing was changed.
    pub fn step(
        &mut self,
        model: &mut Model,
        gradients: &Flat,
        scaled: f64,
        learning_rate: f64,
        step: u64,
    ) -> Result<f64> {
        let device = model.device.clone();
        device.sum_squares(self.norm.view_mut(), gradients.all())?;
        let norm = f64::from(device.download_f32(self.norm.view())?[0]).sqrt() / scaled;
        let clip = f64::from(self.hyper.clip);
        let clipped = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let gradient_scale = (clipped / scaled) as f32;
        if !norm.is_finite() {
            return Ok(norm);
        }
        for &(offset, len, decays) in &self.ranges {
            let numbers = AdamW {
                learning_rate: learning_rate as f32,
                beta1: self.hyper.beta1,
                beta2: self.hyper.beta2,
                epsilon: self.hyper.epsilon,
                weight_decay: if decays { self.hyper.weight_decay } else { 0.0 },
                step,
                gradient_scale,
            };
            device.adamw(
                model.values_mut().range_mut(offset, len),
                self.moment1.range_mut(offset, len),
                self.moment2.range_mut(offset, len),
                gradients.range(offset, len),
                numbers,
            )?;
        }
        Ok(norm)
    }
}
