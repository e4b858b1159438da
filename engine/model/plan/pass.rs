//! A pass as allocations, as far as the forward goes: [`crate::model::pass`], line by line.

use super::setup::Setup;
use super::tally::{Block, Part, Tally};
use crate::model::config::{LinearName, Rates};
use crate::model::pass::layer::Saved;
use crate::model::pass::rows::Purpose;

/// One pass over rows: what [`crate::model::pass::rows::Pass`] is to tensors.
pub struct Pass<'a> {
    /// The model.
    pub setup: &'a Setup,
    /// Who counts.
    pub tally: &'a Tally,
    /// R
    pub rows: usize,
    /// Dropout of this pass; zero for one that only answers.
    pub rates: Rates,
    /// Dropout of the adapters' inputs, likewise.
    pub lora_dropout: f32,
}

impl<'a> Pass<'a> {
    /// A pass that only answers.
    pub fn answering(setup: &'a Setup, tally: &'a Tally, rows: usize) -> Pass<'a> {
        Pass { setup, tally, rows, rates: Rates::default(), lora_dropout: 0.0 }
    }

    /// `[R, columns]` in the storage of activations.
    pub fn activations(&self, columns: usize) -> Block {
        self.tally.hold(Part::Work, self.rows * columns * self.setup.dtype.size())
    }

    /// `[R, h]`
    pub fn hidden(&self) -> Block {
        self.activations(self.setup.config.hidden)
    }

    /// `[R, columns]` f32
    pub fn floats(&self, columns: usize) -> Block {
        self.tally.hold(Part::Work, 4 * self.rows * columns)
    }

    /// Token ids and positions, and names where something is dropped.
    pub fn inputs(&self) -> [Block; 2] {
        [self.names(), self.tally.hold(Part::Inputs, 12 * self.rows)]
    }

    /// `Read::upload`, of these rows
    pub fn read(&self) -> [Block; 2] {
        [self.names(), self.tally.hold(Part::Inputs, 4 * self.rows)]
    }

    fn names(&self) -> Block {
        let Rates { embedding, attention, output } = self.rates;
        let drops =
            [embedding, attention, output, self.lora_dropout].iter().any(|&rate| rate > 0.0);
        self.tally.hold(Part::Inputs, if drops { 12 * self.rows } else { 0 })
    }

    /// `Pass::over`, the rows that are read being so many
    pub fn over(&self, read: Option<usize>) -> Pass<'a> {
        Pass { rows: read.unwrap_or(self.rows), ..*self }
    }

    /// `Model::behind`, of layer number `layer`
    pub fn behind(&self, layer: usize, read: usize) -> Option<usize> {
        (layer + 1 == self.setup.config.layers).then_some(read)
    }
}

impl Pass<'_> {
    /// `Pass::layer`
    pub fn layer(&self, saved: &mut Saved<Block>, purpose: Purpose, read: Option<usize>) -> Block {
        self.complete(saved, purpose, read);
        let pass = self.over(read);
        let y = pass.hidden();
        saved.z.dense_4h_to_h = pass.add_to_residual(LinearName::Dense4hToH, purpose);
        y
    }

    /// `Pass::complete`
    pub fn complete(&self, saved: &mut Saved<Block>, purpose: Purpose, read: Option<usize>) {
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
            let z = self.linear(LinearName::QueryKeyValue, purpose);
            saved.z.query_key_value = z;
            saved.qkv = Some(qkv);
        }
        if saved.context.is_none() {
            saved.context = Some(self.hidden());
            saved.log_sum_exp = Some(self.floats(config.heads));
        }
        let pass = self.over(read);
        if saved.middle.is_none() {
            let _picked = read.map(|_| [pass.hidden(), pass.hidden()]);
            let middle = pass.hidden();
            saved.z.dense = pass.add_to_residual(LinearName::Dense, purpose);
            saved.middle = Some(middle);
        }
        if saved.middle_normed.is_none() {
            let (y, statistics) = pass.norm();
            saved.middle_normed = Some(y);
            saved.middle_statistics = Some(statistics);
        }
        if saved.inner.is_none() {
            let inner = pass.activations(config.inner);
            if saved.pre_activation.is_none() {
                let pre = (purpose == Purpose::Training).then(|| pass.activations(config.inner));
                saved.z.dense_h_to_4h = pass.linear(LinearName::DenseHTo4h, purpose);
                saved.pre_activation = pre;
            }
            saved.inner = Some(inner);
        }
    }

    /// `Pass::add_to_residual`
    fn add_to_residual(&self, linear: LinearName, purpose: Purpose) -> Option<Block> {
        let _output = self.dropped(self.rates.output);
        self.linear(linear, purpose)
    }

    /// `Pass::norm`
    pub fn norm(&self) -> (Block, Block) {
        (self.hidden(), self.floats(2))
    }

    /// `Pass::linear`
    pub fn linear(&self, linear: LinearName, purpose: Purpose) -> Option<Block> {
        let rank = self.setup.tune.rank_of(linear)?;
        let _masked = self.masked(linear);
        let z = self.activations(rank);
        (purpose == Purpose::Training).then_some(z)
    }

    /// `Pass::masked`
    pub fn masked(&self, linear: LinearName) -> Option<Block> {
        (self.lora_dropout > 0.0)
            .then(|| self.activations(self.setup.config.linear_shape(linear).1))
    }

    /// `Pass::dropped`
    pub fn dropped(&self, rate: f32) -> Option<Block> {
        (rate > 0.0).then(|| self.hidden())
    }
}
