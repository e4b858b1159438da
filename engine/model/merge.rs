//! Weights that have taken their adapter in: W' = W + scale·B·A in f32, rounded once.

use super::config::LinearName;
use super::lora::LoraModule;
use super::model::{Model, Parameter};
use super::parameters::{Flat, Layout};
use super::save::encode_finite;
use super::weights::Checkpoint;
use crate::base::Shape;
use crate::device::{Device, View};
use anyhow::Result;
use rayon::prelude::*;

impl Model {
    /// Makes the attached adapter a part of the weights, so that products are plain and nothing is
    /// trained any more. Adapted matrices are read anew from `base`, the checkpoint under it, which
    /// may store them wider than they are held, and rounded once, to the storage of activations:
    /// they have the bits of a checkpoint that is merged in that storage. Refuses numbers that it
    /// does not reach. Panics on a model without an adapter.
    pub fn merge_adapter(&mut self, mut base: Checkpoint) -> Result<()> {
        let trained = self.values.take().expect("an adapter to merge");
        let (device, dtype) = (self.device.clone(), self.dtype);
        let maps = base.maps();
        for layer in &mut self.weights.layers {
            let number = layer.number;
            for (name, linear) in layer.linears_mut() {
                let Some(module) = linear.adapter.take() else { continue };
                let file = format!("{}.weight", name.module(number));
                let (out, input) = self.config.linear_shape(name);
                let shape = Shape::matrix(out, input);
                let mut values = match &linear.weight {
                    Parameter::Frozen(_) => base.take(&file, shape)?.to_f32(),
                    Parameter::Trained(slot) => device.download_f32(trained.view(slot))?,
                };
                module.add_to(&mut values, &device, &trained)?;
                let merged = encode_finite(&file, &values, dtype)?;
                linear.weight = Parameter::Frozen(device.upload_bytes(&merged, shape, dtype)?);
                if !self.merged.contains(&name) {
                    self.merged.push(name);
                }
            }
        }
        // What was saved whole beside the factors.
        let specs = self.config.tensors();
        for (spec, parameter) in specs.iter().zip(self.weights.in_order_mut()) {
            let Some(slot) = parameter.slot() else { continue };
            let values = device.download_f32(trained.view(slot))?;
            let held = spec.role.held(dtype, dtype);
            *parameter = Parameter::Frozen(device.upload_f32(&values, spec.shape, held)?);
        }
        self.layout = Layout::default();
        self.lora = None;
        maps.iter().try_for_each(|map| map.unchanged())
    }

    /// Linears that have taken in an adapter; none where there was none, or it stands beside them.
    pub fn merged(&self) -> &[LinearName] {
        &self.merged
    }

    /// The values of a tensor with its adapter, if any, merged in.
    pub(super) fn with_adapter(
        &self,
        weight: View,
        adapter: Option<&LoraModule>,
    ) -> Result<Vec<f32>> {
        let mut values = self.device.download_f32(weight)?;
        if let Some(module) = adapter {
            module.add_to(&mut values, &self.device, self.values())?;
        }
        Ok(values)
    }
}

impl LoraModule {
    /// values `[out, in]` += scale·B·A, the factors in `trained`: the ranks of an element one after
    /// another, whatever the number of threads.
    fn add_to(&self, values: &mut [f32], device: &Device, trained: &Flat) -> Result<()> {
        let a = device.download_f32(trained.view(&self.a))?;
        let b = device.download_f32(trained.view(&self.b))?;
        let (rank, input) = (self.rank(), self.a.shape.cols());
        let rows = values.par_chunks_exact_mut(input).zip(b.par_chunks_exact(rank));
        rows.for_each(|(row, factors)| {
            for (&factor, along) in factors.iter().zip(a.chunks_exact(input)) {
                let factor = factor * self.scale;
                for (w, &x) in row.iter_mut().zip(along) {
                    *w += factor * x;
                }
            }
        });
        Ok(())
    }
}
