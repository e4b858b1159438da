//! A model as far as memory is concerned, before it is loaded.

use super::tally::{Block, Part, Tally};
use crate::base::Dtype;
use crate::model::config::{Config, LinearName, Positions};
use crate::model::model::Model;
use crate::model::parameters::Role;
use crate::model::pass::head::chunk_rows;
use crate::model::tune::Tune;

/// A model as far as memory is concerned.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Sizes and variants.
    pub config: Config,
    /// What of it is trained.
    pub tune: Tune,
    /// Linears whose weights have taken an adapter in: held beside the map, as activations are.
    pub merged: Vec<LinearName>,
    /// Storage of activations.
    pub dtype: Dtype,
    /// How the checkpoint stores its tensors.
    pub stored: Dtype,
    /// Whether the device reads the checkpoint's memory map in place; otherwise it holds a copy.
    pub mapped: bool,
    /// Whether the output matrix is a tensor of its own.
    pub own_head: bool,
    /// Bytes of the device's own memory, of which chunks of logits take a share; 0 where it lives
    /// in a host's, or is not known.
    pub capacity: u64,
}

impl Setup {
    /// A model that is loaded, `tune` being what of it is trained.
    pub fn of(model: &Model, tune: &Tune) -> Setup {
        Setup {
            config: model.config.clone(),
            tune: tune.clone(),
            merged: model.merged().to_vec(),
            dtype: model.dtype,
            stored: model.stored,
            mapped: model.device.place().reads_maps(),
            own_head: model.has_own_head(),
            capacity: model.device.capacity(),
        }
    }

    /// Rows whose logits of the whole vocabulary exist at once.
    pub(super) fn chunk(&self) -> usize {
        chunk_rows(self.config.vocabulary, self.capacity)
    }

    /// `Model::trains_embeddings`
    pub(super) fn trains_embeddings(&self) -> bool {
        let positions = self.config.positions == Positions::Learned;
        self.tune.trains(Role::Embedding) || positions && self.tune.trains(Role::Position)
    }

    /// `Linear::is_trained`
    pub(super) fn trains_linear(&self, linear: LinearName) -> bool {
        self.tune.trains(Role::Linear) || self.tune.rank_of(linear).is_some()
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        let config = &self.config;
        let base = config.tensors().into_iter().filter(|spec| self.tune.trains(spec.role));
        let base: usize = base.map(|spec| spec.shape.count()).sum();
        let factors = LinearName::ALL.map(|linear| {
            let (out, input) = config.linear_shape(linear);
            self.tune.rank_of(linear).map_or(0, |rank| rank * (out + input))
        });
        let head = self.own_head && self.tune.trains(Role::Embedding);
        let head = if head { config.vocabulary * config.hidden } else { 0 };
        base + head + config.layers * factors.iter().sum::<usize>()
    }

    /// Bytes of frozen weights on the device, and those that stay in the map: (held, mapped).
    pub fn frozen(&self) -> (usize, usize) {
        let (mut held, mut mapped) = (0, 0);
        let mut add = |count: usize, dtype: Dtype| match dtype == self.stored && self.mapped {
            true => mapped += count * dtype.size(),
            false => held += count * dtype.size(),
        };
        let frozen = |role: Role| !self.tune.trains(role);
        let merged = |name: &str| {
            self.merged.iter().any(|linear| name.ends_with(&format!(".{}.weight", linear.path())))
        };
        let mut own = 0;
        for spec in self.config.tensors().into_iter().filter(|spec| frozen(spec.role)) {
            match merged(&spec.name) {
                true => own += spec.shape.count() * self.dtype.size(),
                false => add(spec.shape.count(), spec.role.held(self.stored, self.dtype)),
            }
        }
        if self.own_head && frozen(Role::Embedding) {
            // An own head is held as it is stored, whatever the activations are.
            add(self.config.vocabulary * self.config.hidden, self.stored);
        }
        (held + own, mapped)
    }

    /// The loaded model.
    pub(super) fn hold(&self, tally: &Tally) -> Vec<Block> {
        let mut blocks = vec![tally.hold(Part::Frozen, self.frozen().0)];
        if self.trained() > 0 {
            blocks.push(tally.hold(Part::Trained, 4 * self.trained()));
        }
        if self.config.positions == Positions::Rotary2d {
            let table = 4 * self.config.position_rows() * (self.config.head_dim() / 4);
            blocks.extend([tally.hold(Part::Frozen, table), tally.hold(Part::Frozen, table)]);
        }
        blocks
    }
}
