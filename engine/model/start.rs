//! How a model begins: from a checkpoint, or with weights that are drawn where they are used.

use super::config::{Config, Family, Positions};
use super::model::{Model, Parameter, RotaryTables, Weights, HEAD};
use super::parameters::{Layout, Role, Slot, SlotRole};
use super::tune::Tune;
use super::weights::{Checkpoint, Stored};
use crate::base::{Dtype, Fault, Map, Philox, Shape, Stream};
use crate::device::{Device, Tensor};
use anyhow::Result;
use std::sync::Arc;

/// Random numbers that [`Model::synthetic`] draws on the host.
const BLOCK: usize = 1 << 22;

impl Model {
    /// Takes the tensors of `config` out of `checkpoint`; refuses leftovers. Frozen matrices stay
    /// in the memory map where the device can read it and `dtype` is no narrower than what is
    /// stored; vectors are widened to f32. A new adapter starts as PEFT starts it (A uniform in
    /// ±1/√in, B zero), seeded. Refuses [`Tune::Full`] with a `dtype` other than f32.
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
                "setting `tune = full`: expected setting `dtype = f32`, got {dtype}; all weights \
                are masters then"
            )));
        }
        let maps = checkpoint.maps();
        let mut layout = Layout::default();
        let mut starts: Vec<(Slot, Vec<f32>)> = Vec::new();
        let mut words = None;
        let mut weights = Weights::build(&config, |spec| {
            let stored = checkpoint.take(&spec.name, spec.shape)?;
            let parameter = if tune.trains(spec.role) {
                let slot = layout.push(spec.name, spec.shape, SlotRole::Base(spec.role));
                starts.push((slot.clone(), stored.to_f32()));
                Parameter::Trained(slot)
            } else {
                let held = spec.role.held(stored.dtype, dtype);
                Parameter::Frozen(if held == stored.dtype {
                    stored.to_device(device)?
                } else {
                    device.upload_f32(&stored.to_f32(), spec.shape, held)?
                })
            };
            if spec.role == Role::Embedding {
                words = Some(stored);
            }
            Ok(parameter)
        })?;
        let words: Stored = words.expect("every config has a word embedding");
        if config.family == Family::ChatGlm && checkpoint.contains(HEAD) {
            let stored = checkpoint.take(HEAD, words.shape)?;
            if words.dtype != stored.dtype || words.bytes() != stored.bytes() {
                weights.head = Some(if tune.trains(Role::Embedding) {
                    let role = SlotRole::Base(Role::Embedding);
                    let slot = layout.push(HEAD.into(), stored.shape, role);
                    starts.push((slot.clone(), stored.to_f32()));
                    Parameter::Trained(slot)
                } else {
                    Parameter::Frozen(stored.to_device(device)?)
                });
            }
        }
        checkpoint.finish()?;
        let stored = words.dtype;
        drop(words);
        let mut model = Model::frozen(device, config, dtype, stored, weights)?;
        // What was copied is nobody's to change; what a tensor still holds is read in place.
        model.maps = maps.into_iter().filter(|map| Arc::strong_count(map) > 1).collect();
        model.train(tune, layout, seed)?;
        for (slot, values) in starts {
            model.write(&slot, &values)?;
        }
        Ok(model)
    }

    /// A frozen base with repeating random weights of a fresh model's size, and an adapter or
    /// nothing to train: what a benchmark of a published size needs, and nothing else. Ten billion
    /// numbers come from one block of random ones, copied from place to place on the device.
    /// Refuses [`Tune::Full`]: such weights are not worth training.
    pub fn synthetic(
        device: &Device,
        config: Config,
        dtype: Dtype,
        tune: &Tune,
        seed: u64,
    ) -> Result<Model> {
        let (Tune::Nothing | Tune::Lora { positions: false, .. }) = tune else {
            return Err(
                Fault::Usage.error("synthetic: expected an adapter or nothing to train, got more")
            );
        };
        let mut rng = Philox::new(seed, Stream::Synthetic, 0);
        let deviation = f64::from(config.initializer_range);
        let values: Vec<f32> = (0..BLOCK).map(|_| (deviation * rng.normal()) as f32).collect();
        let block = device.upload_f32(&values, Shape::vector(BLOCK), dtype)?;
        let mut offset = 0;
        let weights = Weights::build(&config, |spec| {
            Ok(Parameter::Frozen(match spec.role {
                Role::NormWeight => {
                    device.upload_f32(&vec![1.0; spec.shape.count()], spec.shape, Dtype::F32)?
                }
                Role::Bias | Role::NormBias => device.zeros(spec.shape, Dtype::F32)?,
                Role::Embedding | Role::Position | Role::Linear | Role::LinearOut => {
                    let mut weight = device.unwritten(spec.shape, dtype)?;
                    offset = repeat(device, &mut weight, &block, offset)?;
                    weight
                }
            }))
        })?;
        let mut model = Model::frozen(device, config, dtype, dtype, weights)?;
        model.train(tune, Layout::default(), seed)?;
        Ok(model)
    }

    /// A model of `weights` of which nothing is trained yet.
    fn frozen(
        device: &Device,
        config: Config,
        dtype: Dtype,
        stored: Dtype,
        weights: Weights,
    ) -> Result<Model> {
        let rotary = match config.positions {
            Positions::Learned => None,
            Positions::Rotary2d => Some(RotaryTables::new(device, &config, dtype)?),
        };
        Ok(Model {
            config,
            device: device.clone(),
            dtype,
            stored,
            weights,
            lora: None,
            merged: Vec::new(),
            layout: Layout::default(),
            values: None,
            rotary,
            maps: Vec::new(),
        })
    }

    /// The files of which tensors are read in place: what the passes make counts while they are
    /// unchanged.
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        self.maps.iter().map(|map| &**map)
    }

    /// Refuses a model of which a file was changed under it.
    pub fn unchanged(&self) -> Result<()> {
        self.maps().try_for_each(Map::unchanged)
    }

    /// Makes the base tensors in `layout` and, behind them, a new adapter the trained range: A
    /// uniform in ±1/√in, everything else zero.
    fn train(&mut self, tune: &Tune, mut layout: Layout, seed: u64) -> Result<()> {
        if let Tune::Lora { config, .. } = tune {
            self.adapt(config.clone(), &mut layout, |_, linear| {
                let rank = config.rank_of(linear)?;
                Some((rank, config.scale(rank, config.alpha)))
            });
        }
        self.attach(layout)?;
        for number in 0..self.layout.slots().len() {
            let slot = self.layout.slots()[number].clone();
            if slot.role == SlotRole::LoraA {
                // kaiming_uniform(a = √5) over fan_in: ±1/√in.
                let bound = 1.0 / (slot.shape.cols() as f64).sqrt();
                let mut rng = Philox::new(seed, Stream::Init, 1 << 32 | number as u64);
                let values: Vec<f32> = (0..slot.shape.count())
                    .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
                    .collect();
                self.write(&slot, &values)?;
            }
        }
        Ok(())
    }
}

/// Fills a tensor from the block, beginning at `offset`; returns where the next one begins, so that
/// tensors differ.
fn repeat(
    device: &Device,
    weight: &mut Tensor,
    block: &Tensor,
    mut offset: usize,
) -> Result<usize> {
    let count = weight.shape().count();
    let mut done = 0;
    while done < count {
        let part = Shape::vector((BLOCK - offset).min(count - done));
        device.copy(weight.view_mut().part(done, part), block.view().part(offset, part))?;
        done += part.count();
        offset = (offset + part.count()) % BLOCK;
    }
    // An odd step: no two layers begin at the same place.
    Ok((offset + 104_729) % BLOCK)
}
