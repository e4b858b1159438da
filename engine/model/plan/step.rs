//! A training step as allocations: `Model::loss_and_gradients` and the backwards of
//! [`crate::model::pass`], line by line.

use super::pass::Pass;
use super::setup::Setup;
use super::tally::{Block, Part, Tally};
use crate::base::Dtype;
use crate::model::config::{LinearName, Rates};
use crate::model::parameters::Role;
use crate::model::pass::layer::{Keep, LowRanks, Purpose, Saved};

/// The largest micro-batch of a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// What a layer's forward keeps for its backward.
    pub keep: Keep,
    /// Rows, one a token.
    pub rows: usize,
    /// Rows that carry loss.
    pub targets: usize,
    /// Tokens of the widest set among which a target is decided; 0 where the whole vocabulary
    /// decides each.
    pub widest: usize,
    /// Dropout of the model itself; only whether each is zero matters.
    pub rates: Rates,
    /// Dropout of the adapters' inputs; only whether it is zero matters.
    pub lora_dropout: f32,
}

/// Loss and gradients of one micro-batch; returns the bytes that the layers keep between forward
/// and backward.
pub(super) fn walk(setup: &Setup, training: &Training, tally: &Tally) -> u64 {
    let Training { keep, rows, rates, lora_dropout, .. } = *training;
    let pass = Pass { setup, tally, rows, rates, lora_dropout };
    tally.at("forward");
    let _inputs = pass.inputs();
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
    let dx = pass.head_loss(training.targets, training.widest);
    drop(x);
    tally.at("backward");
    while let Some(mut this) = saved.pop() {
        pass.layer_backward(&mut this);
    }
    let _d_embedding = pass.dropped(rates.embedding);
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
        let LowRanks { query_key_value, dense, dense_h_to_4h, dense_4h_to_h } = &mut self.z;
        for z in [query_key_value, dense, dense_h_to_4h, dense_4h_to_h].into_iter().flatten() {
            z.becomes(Part::Saved);
        }
        self.x.becomes(Part::Saved);
    }
}

impl Pass<'_> {
    /// `Pass::layer_backward`
    fn layer_backward(&self, saved: &mut Saved<Block>) {
        self.complete(saved, Purpose::Training);
        let config = &self.setup.config;

        let _d_output = self.dropped(self.rates.output);
        let d_inner = self.activations(config.inner);
        self.linear_backward(LinearName::Dense4hToH);
        let d_pre = self.activations(config.inner);
        drop(d_inner);
        let _d_normed = self.hidden();
        self.linear_backward(LinearName::DenseHTo4h);
        drop(d_pre);

        let _d_output = self.dropped(self.rates.output);
        let _d_context = self.hidden();
        self.linear_backward(LinearName::Dense);
        let _d_qkv = self.activations(3 * config.hidden);
        self.linear_backward(LinearName::QueryKeyValue);
    }

    /// `Pass::linear_backward`
    fn linear_backward(&self, linear: LinearName) {
        let Some(rank) = self.setup.tune.rank_of(linear) else { return };
        let _dz = self.activations(rank);
        let _masked = self.masked(linear);
    }

    /// `Model::head_loss` with gradients
    fn head_loss(&self, targets: usize, widest: usize) -> Block {
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
        let logits = self.setup.chunk().min(targets) * vocabulary;
        let wide = self.tally.hold(Part::Logits, 4 * logits);
        let narrow = (self.setup.dtype != Dtype::F32)
            .then(|| self.tally.hold(Part::Logits, self.setup.dtype.size() * logits));
        // Rows of the head that stand together, and their gradient.
        let rows = Pass { rows: widest, ..*self };
        let trained = self.setup.tune.trains(Role::Embedding);
        let own = if trained { self.setup.config.hidden } else { 0 };
        drop((wide, narrow, rows.hidden(), rows.floats(own)));
        let _d_gathered = Pass { rows: targets + 1, ..*self }.hidden();
        let _sources = self.tally.hold(Part::Inputs, 4 * self.rows);
        self.hidden()
    }
}
