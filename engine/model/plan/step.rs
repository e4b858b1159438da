//! A training step as allocations: `Model::loss_and_gradients` and the backwards of
//! [`crate::model::pass`], line by line.

use super::pass::Pass;
use super::setup::Setup;
use super::tally::{Block, Part, Tally};
use crate::base::Dtype;
use crate::model::config::{LinearName, Rates};
use crate::model::parameters::Role;
use crate::model::pass::layer::{Keep, LowRanks, Saved};
use crate::model::pass::rows::Purpose;

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
    if training.targets == 0 {
        return 0;
    }
    let targets = pass.over(Some(training.targets));
    let _read = targets.read();
    let mut x = pass.hidden();
    if rates.embedding > 0.0 {
        x = pass.hidden();
    }
    let mut saved = Vec::with_capacity(setup.config.layers);
    for layer in 0..setup.config.layers {
        let mut this = Saved::new(x);
        x = pass.layer(&mut this, Purpose::Training, pass.behind(layer, training.targets));
        this.forget(keep);
        this.stays();
        saved.push(this);
    }
    let kept = tally.now().of(Part::Saved);
    tally.at("loss");
    let mut dx = targets.head_loss(training.widest);
    drop(x);
    tally.at("backward");
    while let Some(mut this) = saved.pop() {
        let layer = saved.len();
        pass.layer_backward(&mut dx, &mut this, layer, pass.behind(layer, training.targets));
    }
    let _d_embedding = setup.trains_embeddings().then(|| pass.dropped(rates.embedding));
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
    fn layer_backward(
        &self,
        dy: &mut Block,
        saved: &mut Saved<Block>,
        layer: usize,
        read: Option<usize>,
    ) {
        self.complete(saved, Purpose::Training, read);
        let (pass, config) = (self.over(read), &self.setup.config);

        let _d_output = pass.dropped(self.rates.output);
        let d_pre = pass.activations(config.inner);
        pass.linear_backward(LinearName::Dense4hToH);
        let mut _d_normed = pass.hidden();
        pass.linear_backward(LinearName::DenseHTo4h);
        drop(d_pre);

        let wanted = layer > 0 || self.setup.trains_embeddings();
        let attends = wanted || self.setup.trains_linear(LinearName::QueryKeyValue);
        let d_output = pass.dropped(self.rates.output);
        let mut _d_context = pass.hidden();
        let picked = read.map(|_| pass.hidden());
        pass.linear_backward(LinearName::Dense);
        drop((picked, d_output));
        if !attends {
            return;
        }
        if let Some(read) = read {
            _d_context = self.spread(read);
        }
        let _d_qkv = self.activations(3 * config.hidden);
        if let Some(read) = read.filter(|_| wanted) {
            _d_normed = self.hidden();
            *dy = self.spread(read);
        }
        self.linear_backward(LinearName::QueryKeyValue);
    }

    /// `Pass::spread`
    fn spread(&self, read: usize) -> Block {
        let _and_zeros = self.over(Some(read + 1)).hidden();
        let _places = self.tally.hold(Part::Inputs, 4 * self.rows);
        self.hidden()
    }

    /// `Pass::linear_backward`
    fn linear_backward(&self, linear: LinearName) {
        let Some(rank) = self.setup.tune.rank_of(linear) else { return };
        let _dz = self.activations(rank);
        let masked = self.masked(linear);
        let gelu = masked.is_some() && linear == LinearName::Dense4hToH;
        let _whole = gelu.then(|| self.activations(self.setup.config.inner));
    }

    /// `Model::head_loss` with gradients, of these targets
    fn head_loss(&self, widest: usize) -> Block {
        let _ids = self.tally.hold(Part::Inputs, 4 * self.rows);
        let _weights = self.floats(1);
        let _normed_and_statistics = self.norm();
        let _losses = self.floats(1);
        let _d_normed = self.hidden();
        let vocabulary = self.setup.config.vocabulary;
        // The chunks come one at a time, and the first is the largest.
        let logits = self.setup.chunk().min(self.rows) * vocabulary;
        let wide = self.tally.hold(Part::Logits, 4 * logits);
        let narrow = (self.setup.dtype != Dtype::F32)
            .then(|| self.tally.hold(Part::Logits, self.setup.dtype.size() * logits));
        // Rows of the head that stand together, and their gradient.
        let rows = Pass { rows: widest, ..*self };
        let trained = self.setup.tune.trains(Role::Embedding);
        let own = if trained { self.setup.config.hidden } else { 0 };
        drop((wide, narrow, rows.hidden(), rows.floats(own)));
        self.hidden()
    }
}
