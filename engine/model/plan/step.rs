//! A training step as allocations: the passes of [`crate::model::layer`], [`crate::model::linear`]
//! and [`crate::model::head`], line by line.

use super::super::config::LinearName;
use super::super::head::chunk_rows;
use super::super::layer::{Keep, Purpose, Saved};
use super::{Block, Part, Pass, Rates, Setup, Tally};
use crate::base::Dtype;

/// The largest micro-batch of a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub keep: Keep,
    pub rows: usize,
    pub sequences: usize,
    /// Rows that carry loss.
    pub targets: usize,
    pub rates: Rates,
    pub lora_dropout: f32,
}

/// Loss and gradients of one micro-batch; returns the bytes that the layers keep between forward
/// and backward.
pub(super) fn walk(setup: &Setup, training: &Training, tally: &Tally) -> u64 {
    let Training { keep, rows, sequences, rates, lora_dropout, .. } = *training;
    let pass = Pass { setup, tally, rows, rates, lora_dropout };
    tally.at("forward");
    let _inputs = pass.inputs(sequences);
    let mut x = pass.hidden();
    if rates.embedding > 0.0 {
        x = pass.hidden();
    }
    let mut saved = Vec::with_capacity(setup.config.layers);
    for _ in 0..setup.config.layers {
        let mut this = Saved::new(x);
        x = pass.layer(&mut this, Purpose::Training);
        this.forget(keep);
        this.stays();
        saved.push(this);
    }
    let kept = tally.now().of(Part::Saved);
    tally.at("loss");
    let dx = pass.head_loss(training.targets);
    drop(x);
    tally.at("backward");
    while let Some(mut this) = saved.pop() {
        pass.layer_backward(&mut this);
    }
    let _d_embedding = pass.through_dropout(rates.embedding);
    drop(dx);
    kept
}

impl Saved<Block> {
    /// Counts what is left as saved for the backward.
    fn stays(&mut self) {
        let Saved { normed, statistics, qkv, context, log_sum_exp, middle, .. } = self;
        for tensor in [normed, statistics, qkv, context, log_sum_exp, middle].into_iter().flatten()
        {
            tensor.becomes(Part::Saved);
        }
        let Saved { middle_normed, middle_statistics, pre_activation, inner, .. } = self;
        for tensor in
            [middle_normed, middle_statistics, pre_activation, inner].into_iter().flatten()
        {
            tensor.becomes(Part::Saved);
        }
        self.z.iter_mut().flatten().for_each(|z| z.becomes(Part::Saved));
        self.x.becomes(Part::Saved);
    }
}

impl Pass<'_> {
    /// `Pass::layer`
    pub(super) fn layer(&self, saved: &mut Saved<Block>, purpose: Purpose) -> Block {
        self.complete(saved, purpose);
        let y = self.hidden();
        saved.z[3] = self.add_to_residual(LinearName::Dense4hToH);
        y
    }

    /// `Pass::complete`
    fn complete(&self, saved: &mut Saved<Block>, purpose: Purpose) {
        let config = &self.setup.config;
        if saved.normed.is_none()
            && (saved.qkv.is_none() || saved.middle.is_none() || purpose == Purpose::Training)
        {
            let (y, statistics) = self.norm();
            saved.normed = Some(y);
            saved.statistics = Some(statistics);
        }
        if saved.qkv.is_none() {
            let qkv = self.activations(3 * config.hidden);
            let z = self.linear(LinearName::QueryKeyValue);
            saved.z[0] = z;
            saved.qkv = Some(qkv);
        }
        if saved.context.is_none() {
            saved.context = Some(self.hidden());
            saved.log_sum_exp = Some(self.floats(config.heads));
        }
        if saved.middle.is_none() {
            let middle = self.hidden();
            saved.z[1] = self.add_to_residual(LinearName::Dense);
            saved.middle = Some(middle);
        }
        if saved.middle_normed.is_none() {
            let (y, statistics) = self.norm();
            saved.middle_normed = Some(y);
            saved.middle_statistics = Some(statistics);
        }
        if saved.inner.is_none() {
            let inner = self.activations(config.inner);
            if saved.pre_activation.is_none() {
                let pre = (purpose == Purpose::Training).then(|| self.activations(config.inner));
                saved.z[2] = self.linear(LinearName::DenseHTo4h);
                saved.pre_activation = pre;
            }
            saved.inner = Some(inner);
        }
    }

    /// `Pass::add_to_residual`
    fn add_to_residual(&self, linear: LinearName) -> Option<Block> {
        let _output = self.through_dropout(self.rates.output);
        self.linear(linear)
    }

    /// `Pass::norm`
    pub(super) fn norm(&self) -> (Block, Block) {
        (self.hidden(), self.floats(2))
    }

    /// `Pass::linear`
    pub(super) fn linear(&self, linear: LinearName) -> Option<Block> {
        let rank = self.rank(linear)?;
        let _masked = self.masked(linear);
        Some(self.activations(rank))
    }

    /// `Pass::linear_backward`
    fn linear_backward(&self, linear: LinearName) {
        let Some(rank) = self.rank(linear) else { return };
        let _dz = self.activations(rank);
        let _masked = self.masked(linear);
    }

    /// `Pass::masked`
    fn masked(&self, linear: LinearName) -> Option<Block> {
        (self.lora_dropout > 0.0)
            .then(|| self.activations(self.setup.config.linear_shape(linear).1))
    }

    /// `Pass::through_dropout`
    fn through_dropout(&self, rate: f32) -> Option<Block> {
        (rate > 0.0).then(|| self.hidden())
    }

    /// `Pass::layer_backward`
    fn layer_backward(&self, saved: &mut Saved<Block>) {
        self.complete(saved, Purpose::Training);
        let config = &self.setup.config;

        let _d_output = self.through_dropout(self.rates.output);
        let d_inner = self.activations(config.inner);
        self.linear_backward(LinearName::Dense4hToH);
        let d_pre = self.activations(config.inner);
        drop(d_inner);
        let _d_normed = self.hidden();
        self.linear_backward(LinearName::DenseHTo4h);
        drop(d_pre);

        let _d_output = self.through_dropout(self.rates.output);
        let _d_context = self.hidden();
        self.linear_backward(LinearName::Dense);
        let _d_qkv = self.activations(3 * config.hidden);
        self.linear_backward(LinearName::QueryKeyValue);
    }

    /// `Model::head_loss` with gradients
    fn head_loss(&self, targets: usize) -> Block {
        if targets == 0 {
            return self.hidden();
        }
        let target_rows = Pass { rows: targets, ..*self };
        let _rows_and_ids = self.tally.hold(Part::Inputs, 8 * targets);
        let _weights = target_rows.floats(1);
        let _gathered = target_rows.hidden();
        let _normed_and_statistics = target_rows.norm();
        let _losses = target_rows.floats(1);
        let _d_normed = target_rows.hidden();
        let vocabulary = self.setup.config.vocabulary;
        // The chunks come one at a time, and the first is the largest.
        let logits = chunk_rows(vocabulary).min(targets) * vocabulary;
        let wide = self.tally.hold(Part::Logits, 4 * logits);
        let narrow = (self.setup.dtype != Dtype::F32)
            .then(|| self.tally.hold(Part::Logits, self.setup.dtype.size() * logits));
        drop((wide, narrow));
        let _d_gathered = Pass { rows: targets + 1, ..*self }.hidden();
        let _sources = self.tally.hold(Part::Inputs, 4 * self.rows);
        self.hidden()
    }
}
