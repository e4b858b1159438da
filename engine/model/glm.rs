//! The model: weights on a device, what of them is trained, and the passes over a batch.

use super::config::{Config, Family, LinearName, Positions, Role};
use super::layer::{Keep, Norm, Purpose, Saved};
use super::linear::Pass;
use super::lora::{Lora, LoraConfig, LoraModule};
use super::parameters::{Flat, Layout, Slot, SlotRole};
use super::rotary::RotaryTables;
use super::rows::{Noise, Rows, Site};
use super::weights::Checkpoint;
use crate::base::{Dtype, Fault, Shape};
use crate::data::Batch;
use crate::device::{Device, Rotary, Tensor, View, Write};
use anyhow::Result;

/// A GLM or ChatGLM on a device, with or without an adapter.
pub struct Model {
    pub config: Config,
    pub device: Device,
    /// Storage of activations (and of weights that were not read from a map).
    pub dtype: Dtype,
    /// How its checkpoint stores matrices.
    pub stored: Dtype,
    base: Vec<Base>,
    /// An output matrix that differs from the embedding; `None` where they are tied.
    head: Option<Base>,
    lora: Option<Lora>,
    layout: Layout,
    values: Option<Flat>,
    rotary: Option<RotaryTables>,
}

/// Where a base tensor lives.
pub(super) enum Base {
    Frozen(Tensor),
    /// In slot `.0` of the trained range.
    Trained(usize),
}

/// What of a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Tune {
    /// Nothing: the model only answers.
    Nothing,
    /// A low-rank adapter, and with `positions` both position tables (R38).
    Lora { config: LoraConfig, positions: bool },
    /// Every weight.
    Full,
}

/// The name of an untied output matrix.
pub const HEAD: &str = "lm_head.weight";

impl Model {
    /// Takes the tensors of `config` out of `checkpoint`; refuses leftovers. Frozen matrices stay
    /// in the memory map where the device can read it and `dtype` is no narrower than what is
    /// stored; vectors are widened to f32. A new adapter starts as PEFT starts it (A uniform in
    /// ±1/√in, B zero), seeded.
    pub fn load(
        device: &Device,
        config: Config,
        mut checkpoint: Checkpoint,
        dtype: Dtype,
        tune: &Tune,
        seed: u64,
    ) -> Result<Model> {
        if matches!(tune, Tune::Full) && dtype != Dtype::F32 {
            return Err(Fault::Usage.error(format!(
                "--tune full: expected --dtype f32, got {dtype}; all weights are masters then"
            )));
        }
        checkpoint.discard(|name| name.ends_with("rotary_emb.inv_freq"));
        let specs = config.tensors();
        let mut layout = Layout::default();
        let mut base = Vec::with_capacity(specs.len());
        let mut starts: Vec<(usize, Vec<f32>)> = Vec::new();
        let mut embedding = None;
        for spec in &specs {
            let stored = checkpoint.take(&spec.name, spec.shape)?;
            let trained = match tune {
                Tune::Full => true,
                Tune::Lora { positions, .. } => {
                    *positions && spec.name.contains("position_embeddings")
                }
                Tune::Nothing => false,
            };
            base.push(if trained {
                let slot = layout.push(spec.name.clone(), spec.shape, SlotRole::Base(spec.role));
                starts.push((slot, stored.to_f32()));
                Base::Trained(slot)
            } else {
                let matrix = spec.shape.dims().len() == 2;
                Base::Frozen(match (matrix, stored.dtype, dtype) {
                    (false, Dtype::F32, _) => stored.to_device(device)?,
                    (false, ..) => device.upload_f32(&stored.to_f32(), spec.shape, Dtype::F32)?,
                    (true, have, want) if have == want || want == Dtype::F32 => {
                        stored.to_device(device)?
                    }
                    (true, _, want) => device.upload_f32(&stored.to_f32(), spec.shape, want)?,
                })
            });
            // The word embedding comes first.
            embedding.get_or_insert(stored);
        }
        let stored = embedding.as_ref().expect("every config has a word embedding").dtype;
        let mut head = None;
        if config.family == Family::ChatGlm && checkpoint.contains(HEAD) {
            let stored = checkpoint.take(HEAD, specs[0].shape)?;
            let embedding = embedding.expect("every config has a word embedding");
            if embedding.dtype != stored.dtype || embedding.bytes() != stored.bytes() {
                head = Some(if *tune == Tune::Full {
                    let slot =
                        layout.push(HEAD.into(), stored.shape, SlotRole::Base(Role::Embedding));
                    starts.push((slot, stored.to_f32()));
                    Base::Trained(slot)
                } else {
                    Base::Frozen(stored.to_device(device)?)
                });
            }
        }
        checkpoint.finish()?;
        let lora = match tune {
            Tune::Lora { config: lora, .. } => {
                let targets = lora.targets.clone();
                let rank = lora.rank;
                Some(Lora::lay_out(lora.clone(), &config, &mut layout, |_, l| {
                    targets.contains(&l).then_some(rank)
                }))
            }
            _ => None,
        };
        let mut model = Model::assemble(device, config, [dtype, stored], base, head, lora, layout)?;
        for (slot, values) in starts {
            model.set_slot(slot, &values)?;
        }
        model.start_adapter(seed)?;
        Ok(model)
    }

    pub(super) fn assemble(
        device: &Device,
        config: Config,
        [dtype, stored]: [Dtype; 2],
        base: Vec<Base>,
        head: Option<Base>,
        lora: Option<Lora>,
        layout: Layout,
    ) -> Result<Model> {
        let values = if layout.is_empty() { None } else { Some(Flat::zeros(device, &layout)?) };
        let rotary = match config.positions {
            Positions::Learned => None,
            Positions::Rotary2d => Some(RotaryTables::new(device, &config, dtype)?),
        };
        Ok(Model {
            config,
            device: device.clone(),
            dtype,
            stored,
            base,
            head,
            lora,
            layout,
            values,
            rotary,
        })
    }

    /// Replaces the adapter: `lay_out` receives the empty layout of the trained range. Only for a
    /// model without trained base tensors.
    pub(super) fn attach(&mut self, lora: Lora, layout: Layout) -> Result<()> {
        assert!(self.layout.is_empty(), "attach() on a model that already trains something");
        self.values = Some(Flat::zeros(&self.device, &layout)?);
        self.lora = Some(lora);
        self.layout = layout;
        Ok(())
    }

    /// Makes the frozen base tensor `name` a slot of `layout`, for position tables saved beside an
    /// adapter.
    pub(super) fn retrain_base(&mut self, name: &str, layout: &mut Layout) -> Option<usize> {
        let index = self.config.tensors().iter().position(|spec| spec.name == name)?;
        let spec = &self.config.tensors()[index];
        let slot = layout.push(spec.name.clone(), spec.shape, SlotRole::Base(spec.role));
        self.base[index] = Base::Trained(slot);
        Some(slot)
    }

    pub(super) fn start_adapter(&mut self, seed: u64) -> Result<()> {
        use crate::base::{Philox, Stream};
        let slots: Vec<(usize, Slot)> = self.layout.slots().iter().cloned().enumerate().collect();
        for (number, slot) in slots {
            if slot.role == SlotRole::LoraA {
                // kaiming_uniform(a = √5) over fan_in: ±1/√in.
                let bound = 1.0 / (slot.shape.cols() as f64).sqrt();
                let mut rng = Philox::new(seed, Stream::Init, 1 << 32 | number as u64);
                let values: Vec<f32> = (0..slot.shape.count())
                    .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
                    .collect();
                self.set_slot(number, &values)?;
            }
        }
        Ok(())
    }

    // --- what is trained
    // ----------------------------------------------------------------------------------------

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The trained values. Panics where nothing is trained.
    pub fn values(&self) -> &Flat {
        self.values.as_ref().expect("a model that trains something")
    }

    pub fn values_mut(&mut self) -> &mut Flat {
        self.values.as_mut().expect("a model that trains something")
    }

    pub fn set_slot(&mut self, slot: usize, values: &[f32]) -> Result<()> {
        let slot = self.layout.slots()[slot].clone();
        let device = self.device.clone();
        device.write_f32(self.values_mut().view_mut(&slot), values)
    }

    pub(super) fn slot_of(&self, slot: usize) -> &Slot {
        &self.layout.slots()[slot]
    }

    pub(super) fn slot(&self, slot: usize) -> View<'_> {
        self.values().view(self.slot_of(slot))
    }

    fn base_slot(&self, index: usize) -> Option<&Slot> {
        match self.base[index] {
            Base::Trained(slot) => Some(self.slot_of(slot)),
            Base::Frozen(_) => None,
        }
    }

    fn view<'a>(&'a self, base: &'a Base) -> View<'a> {
        match base {
            Base::Frozen(tensor) => tensor.view(),
            Base::Trained(slot) => self.slot(*slot),
        }
    }

    /// Values of the base tensor number `index` of `config.tensors()`, as f32, whether trained or
    /// not.
    pub fn base_f32(&self, index: usize) -> Result<Vec<f32>> {
        self.device.download_f32(self.base_view(index))
    }

    fn base_view(&self, index: usize) -> View<'_> {
        self.view(&self.base[index])
    }

    // --- names to numbers
    // ---------------------------------------------------------------------------------------

    fn layer_base(&self, layer: usize) -> usize {
        let first = if self.config.positions == Positions::Learned { 3 } else { 1 };
        first + 12 * layer
    }

    fn norm_index(&self, norm: Norm) -> usize {
        match norm {
            Norm::Input(layer) => self.layer_base(layer),
            Norm::Middle(layer) => self.layer_base(layer) + 2,
            Norm::Final => self.layer_base(self.config.layers),
        }
    }

    fn linear_index(&self, layer: usize, linear: LinearName) -> usize {
        self.layer_base(layer) + 4 + 2 * linear as usize
    }

    pub(super) fn weight(&self, layer: usize, linear: LinearName) -> View<'_> {
        self.base_view(self.linear_index(layer, linear))
    }

    pub(super) fn bias(&self, layer: usize, linear: LinearName) -> View<'_> {
        self.base_view(self.linear_index(layer, linear) + 1)
    }

    pub(super) fn trained_weight(&self, layer: usize, linear: LinearName) -> Option<&Slot> {
        self.base_slot(self.linear_index(layer, linear))
    }

    pub(super) fn trained_bias(&self, layer: usize, linear: LinearName) -> Option<&Slot> {
        self.base_slot(self.linear_index(layer, linear) + 1)
    }

    pub(super) fn adapter(&self, layer: usize, linear: LinearName) -> Option<LoraModule> {
        self.lora.as_ref()?.module(layer, linear)
    }

    /// Weight and bias of a layer norm.
    pub(super) fn norm(&self, norm: Norm) -> (View<'_>, View<'_>) {
        let index = self.norm_index(norm);
        (self.base_view(index), self.base_view(index + 1))
    }

    pub(super) fn input_norm(&self, layer: usize) -> (View<'_>, View<'_>) {
        self.norm(Norm::Input(layer))
    }

    pub(super) fn middle_norm(&self, layer: usize) -> (View<'_>, View<'_>) {
        self.norm(Norm::Middle(layer))
    }

    pub(super) fn trained_norm(&self, norm: Norm) -> Option<(&Slot, &Slot)> {
        let index = self.norm_index(norm);
        self.base_slot(index).zip(self.base_slot(index + 1))
    }

    pub(super) fn word_embedding(&self) -> View<'_> {
        self.base_view(0)
    }

    pub(super) fn trained_word_embedding(&self) -> Option<&Slot> {
        self.base_slot(0)
    }

    /// The output matrix `[V, h]`.
    pub(super) fn head(&self) -> View<'_> {
        self.head.as_ref().map_or_else(|| self.word_embedding(), |head| self.view(head))
    }

    pub(super) fn trained_head(&self) -> Option<&Slot> {
        match self.head {
            None => self.trained_word_embedding(),
            Some(Base::Trained(slot)) => Some(self.slot_of(slot)),
            Some(Base::Frozen(_)) => None,
        }
    }

    /// Whether the output matrix is a tensor of its own.
    pub fn has_own_head(&self) -> bool {
        self.head.is_some()
    }

    pub fn attention_scale(&self) -> f32 {
        1.0 / (self.config.head_dim() as f32).sqrt()
    }

    pub(super) fn rotary<'a>(&'a self, positions: [View<'a>; 2]) -> Rotary<'a> {
        self.rotary.as_ref().expect("a rotary model has tables").at(positions)
    }

    /// The adapter on the linear whose weight is base tensor `index`, and that linear's
    /// `(out, in)`.
    pub(super) fn adapter_of_tensor(&self, index: usize) -> Option<(LoraModule, (usize, usize))> {
        for layer in 0..self.config.layers {
            for linear in LinearName::ALL {
                if self.linear_index(layer, linear) == index {
                    return Some((self.adapter(layer, linear)?, self.config.linear_shape(linear)));
                }
            }
        }
        None
    }

    // --- passes
    // -------------------------------------------------------------------------------------------------

    /// Refuses ids and positions that the tables do not have.
    pub(super) fn check(&self, tokens: &[u32], positions: [&[u32]; 2]) -> Result<()> {
        let limit = |what: &str, values: &[u32], limit: usize| match values
            .iter()
            .find(|&&v| v as usize >= limit)
        {
            None => Ok(()),
            Some(v) => Err(Fault::Model.error(format!(
                "input: {what}: expected ids below {limit}, got {v}; do tokenizer, data and \
                weights belong together?"
            ))),
        };
        limit("token", tokens, self.config.vocabulary)?;
        let rows = match &self.rotary {
            None => self.config.max_positions + 1,
            Some(tables) => tables.positions(),
        };
        limit("position", positions[0], rows)?;
        limit("block position", positions[1], rows)
    }

    /// The sum of the tables at each row: `[R, h]`.
    pub(super) fn embed(&self, rows: &Rows) -> Result<Tensor> {
        let mut x =
            self.device.alloc(Shape::matrix(rows.count(), self.config.hidden), self.dtype)?;
        let words = (self.word_embedding(), rows.tokens.view());
        match self.config.positions {
            Positions::Learned => {
                let tables = [
                    words,
                    (self.base_view(1), rows.positions[0].view()),
                    (self.base_view(2), rows.positions[1].view()),
                ];
                self.device.embed(x.view_mut(), &tables, Write::Set)?;
            }
            Positions::Rotary2d => self.device.embed(x.view_mut(), &[words], Write::Set)?,
        }
        Ok(x)
    }

    fn embed_backward(&self, gradients: &mut Flat, dx: View, rows: &Rows) -> Result<()> {
        let ids = [&rows.tokens, &rows.positions[0], &rows.positions[1]];
        let tables = if self.config.positions == Positions::Learned { 3 } else { 1 };
        for (index, ids) in ids.into_iter().enumerate().take(tables) {
            if let Some(slot) = self.base_slot(index) {
                self.device.embed_backward(gradients.view_mut(slot), dx, ids.view())?;
            }
        }
        Ok(())
    }

    /// Runs all layers; `observe(i, x)` sees the embedding (0) and each layer's output (i). Returns
    /// the last output.
    pub fn hidden(
        &self,
        batch: &Batch,
        mut observe: impl FnMut(usize, View) -> Result<()>,
    ) -> Result<Tensor> {
        self.check(&batch.tokens, [&batch.positions[0], &batch.positions[1]])?;
        let rows = Rows::upload(&self.device, batch, None)?;
        let pass = Pass { model: self, rows: &rows, noise: None };
        let mut x = self.embed(&rows)?;
        observe(0, x.view())?;
        for layer in 0..self.config.layers {
            x = pass.layer(&mut Saved::new(x), layer, Purpose::Inference)?;
            observe(layer + 1, x.view())?;
        }
        Ok(x)
    }

    /// The loss Σ weightₜ·CEₜ / divisor over the batch's targets (R18), without gradients.
    pub fn loss(&self, batch: &Batch, divisor: f64) -> Result<f64> {
        let x = self.hidden(batch, |_, _| Ok(()))?;
        self.head_loss(x.view(), batch, divisor, None).map(|(loss, _)| loss)
    }

    /// The loss as in [`Model::loss`], its gradient added to `gradients`. The divisor is the sum of
    /// target weights of the whole optimiser step, so that accumulation over batches is one mean,
    /// not a mean of means.
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        divisor: f64,
        noise: Option<&Noise>,
        keep: Keep,
        gradients: &mut Flat,
    ) -> Result<f64> {
        self.check(&batch.tokens, [&batch.positions[0], &batch.positions[1]])?;
        let rows = Rows::upload(&self.device, batch, noise)?;
        let pass = Pass { model: self, rows: &rows, noise };
        let mut x = self.embed(&rows)?;
        if let Some(dropout) = rows.dropout(noise, Site::Embedding) {
            let mut dropped = self.device.alloc(x.shape(), x.dtype())?;
            self.device.dropout(dropped.view_mut(), x.view(), dropout, Write::Set)?;
            x = dropped;
        }
        let mut saved = Vec::with_capacity(self.config.layers);
        for layer in 0..self.config.layers {
            let mut this = Saved::new(x);
            x = pass.layer(&mut this, layer, Purpose::Training)?;
            this.forget(keep);
            saved.push(this);
        }
        let (loss, dx) = self.head_loss(x.view(), batch, divisor, Some(gradients))?;
        drop(x);
        let mut dx = dx.expect("a gradient was asked for");
        while let Some(mut this) = saved.pop() {
            pass.layer_backward(&mut dx, gradients, &mut this, saved.len())?;
        }
        let d_embedding = pass.through_dropout(&dx, Site::Embedding)?;
        self.embed_backward(
            gradients,
            d_embedding.as_ref().map_or(dx.view(), Tensor::view),
            &rows,
        )?;
        Ok(loss)
    }
}
