//! A model tensor by tensor: every weight with its name, its shape and its place in the files, and
//! what of it is trained. The passes over these types are in [`super::pass`].
//!
//! Dimensions: V words, P rows of a table of positions, h hidden, f inner (width of the
//! feed-forward network), r rank of an adapter.

use super::config::{layer_module, Config, Family, LinearName, Positions};
use super::lora::{LoraConfig, LoraModule};
use super::parameters::{Flat, Layout, Role, Slot, SlotRole, TensorSpec};
use crate::base::{Dtype, Map, Shape};
use crate::device::{Device, Tensor, View};
use anyhow::Result;
use std::sync::Arc;

/// The name of an untied output matrix.
pub const HEAD: &str = "lm_head.weight";

/// The names of the tables of positions: the place in the text, the place in the block.
const POSITIONS: [&str; 2] =
    ["transformer.position_embeddings.weight", "transformer.block_position_embeddings.weight"];

/// A GLM or ChatGLM on a device, with or without an adapter.
pub struct Model {
    /// Sizes and variants.
    pub config: Config,
    /// Where the weights are and the passes run.
    pub device: Device,
    /// Storage of activations (and of weights that were not read from a map).
    pub dtype: Dtype,
    /// How its checkpoint stores matrices.
    pub stored: Dtype,
    pub(super) weights: Weights,
    /// What the adapter is; its factors are in `weights`.
    pub(super) lora: Option<LoraConfig>,
    /// Linears whose weights have taken an adapter in.
    pub(super) merged: Vec<LinearName>,
    pub(super) layout: Layout,
    /// `[layout.len()]` f32; `None` where nothing is trained.
    pub(super) values: Option<Flat>,
    /// Where positions are rotary.
    pub(super) rotary: Option<RotaryTables>,
    /// Files of which tensors are read in place.
    pub(super) maps: Vec<Arc<Map>>,
}

/// Where a tensor of a model lives.
pub enum Parameter {
    /// In a buffer of its own, or in the map of its checkpoint.
    Frozen(Tensor),
    /// In the trained range.
    Trained(Slot),
}

/// Every tensor of a model; `T` stands for one, and is where it lives unless said otherwise.
pub struct Weights<T = Parameter> {
    /// What a row starts from.
    pub embeddings: Embeddings<T>,
    /// In the order of the forward.
    pub layers: Vec<Layer<T>>,
    /// After the last layer.
    pub final_norm: Norm<T>,
    /// `[V, h]`, an output matrix that differs from the word embedding; `None` where they are tied.
    pub head: Option<T>,
}

/// The tables whose rows are summed for each token.
pub struct Embeddings<T = Parameter> {
    /// `[V, h]`
    pub words: T,
    /// The place in the text and the place in the block, `[P, h]` each; `None` where positions are
    /// rotary.
    pub positions: Option<[T; 2]>,
}

/// One transformer layer, in the order of its forward.
pub struct Layer<T = Parameter> {
    /// Counted from 0; names the layer's dropout.
    pub number: usize,
    /// On the layer's input.
    pub input_norm: Norm<T>,
    /// `[3h, h]`, its rows laid out as [`Config::qkv`] says.
    pub query_key_value: Linear<T>,
    /// `[h, h]`, from attention's output into the residual.
    pub dense: Linear<T>,
    /// Between the two sub-layers.
    pub post_attention_norm: Norm<T>,
    /// `[f, h]`, into GELU.
    pub dense_h_to_4h: Linear<T>,
    /// `[h, f]`, from GELU into the residual.
    pub dense_4h_to_h: Linear<T>,
}

/// A layer norm; both vectors are held as f32.
pub struct Norm<T = Parameter> {
    /// `[h]`
    pub weight: T,
    /// `[h]`
    pub bias: T,
}

/// y = x·Wᵀ + b, and with an adapter + scale·(x·Aᵀ)·Bᵀ.
pub struct Linear<T = Parameter> {
    /// W `[out, in]`.
    pub weight: T,
    /// b `[out]`, held as f32.
    pub bias: T,
    /// A `[r, in]` and B `[out, r]` in the trained range.
    pub adapter: Option<LoraModule>,
}

/// Cosines and sines of the 2D rotary positions, f32.
pub struct RotaryTables {
    /// `[P, d/4]`, d the width of a head.
    pub cos: Tensor,
    /// `[P, d/4]`
    pub sin: Tensor,
}

impl<T> Weights<T> {
    /// The weights of `config`, an own head excepted: `make` is asked for each tensor once, in the
    /// order of the published files, which is also that of a trained range and of random starts.
    pub fn build(
        config: &Config,
        mut make: impl FnMut(TensorSpec) -> Result<T>,
    ) -> Result<Weights<T>> {
        let h = config.hidden;
        let words = match config.family {
            Family::Glm => "word_embeddings.weight",
            Family::ChatGlm => "transformer.word_embeddings.weight",
        };
        let mut table = |name: &str, rows: usize, role: Role| {
            make(TensorSpec { name: name.to_owned(), shape: Shape::matrix(rows, h), role })
        };
        let embeddings = Embeddings {
            words: table(words, config.vocabulary, Role::Embedding)?,
            positions: match config.positions {
                Positions::Learned => Some([
                    table(POSITIONS[0], config.position_rows(), Role::Position)?,
                    table(POSITIONS[1], config.position_rows(), Role::Position)?,
                ]),
                Positions::Rotary2d => None,
            },
        };
        let layers = (0..config.layers).map(|number| Layer::build(config, number, &mut make));
        Ok(Weights {
            embeddings,
            layers: layers.collect::<Result<_>>()?,
            final_norm: Norm::build(config, "transformer.final_layernorm", &mut make)?,
            head: None,
        })
    }

    /// Every tensor in the order of [`Weights::build`], with the adapter that acts on it.
    pub fn in_order(&self) -> Vec<(&T, Option<&LoraModule>)> {
        let mut all = vec![(&self.embeddings.words, None)];
        all.extend(self.embeddings.positions.iter().flatten().map(|table| (table, None)));
        for layer in &self.layers {
            for norm in [&layer.input_norm, &layer.post_attention_norm] {
                all.extend([(&norm.weight, None), (&norm.bias, None)]);
            }
            for (_, linear) in layer.linears() {
                all.extend([(&linear.weight, linear.adapter.as_ref()), (&linear.bias, None)]);
            }
        }
        all.extend([(&self.final_norm.weight, None), (&self.final_norm.bias, None)]);
        all
    }

    /// As [`Weights::in_order`], to be replaced.
    pub fn in_order_mut(&mut self) -> Vec<&mut T> {
        let mut all = vec![&mut self.embeddings.words];
        all.extend(self.embeddings.positions.iter_mut().flatten());
        for layer in &mut self.layers {
            let Layer { input_norm, post_attention_norm, .. } = layer;
            for norm in [input_norm, post_attention_norm] {
                all.extend([&mut norm.weight, &mut norm.bias]);
            }
            let Layer { query_key_value, dense, dense_h_to_4h, dense_4h_to_h, .. } = layer;
            for linear in [query_key_value, dense, dense_h_to_4h, dense_4h_to_h] {
                all.extend([&mut linear.weight, &mut linear.bias]);
            }
        }
        all.extend([&mut self.final_norm.weight, &mut self.final_norm.bias]);
        all
    }

    /// The output matrix `[V, h]`.
    pub fn output(&self) -> &T {
        self.head.as_ref().unwrap_or(&self.embeddings.words)
    }
}

impl<T> Layer<T> {
    fn build(
        config: &Config,
        number: usize,
        make: &mut impl FnMut(TensorSpec) -> Result<T>,
    ) -> Result<Layer<T>> {
        let module = layer_module(number);
        let input_norm = Norm::build(config, &format!("{module}.input_layernorm"), make)?;
        let middle = Norm::build(config, &format!("{module}.post_attention_layernorm"), make)?;
        let mut linear = |name| Linear::build(config, number, name, make);
        Ok(Layer {
            number,
            input_norm,
            post_attention_norm: middle,
            query_key_value: linear(LinearName::QueryKeyValue)?,
            dense: linear(LinearName::Dense)?,
            dense_h_to_4h: linear(LinearName::DenseHTo4h)?,
            dense_4h_to_h: linear(LinearName::Dense4hToH)?,
        })
    }

    /// The four linears under their names, in the order of [`LinearName::ALL`].
    pub fn linears(&self) -> [(LinearName, &Linear<T>); 4] {
        [
            (LinearName::QueryKeyValue, &self.query_key_value),
            (LinearName::Dense, &self.dense),
            (LinearName::DenseHTo4h, &self.dense_h_to_4h),
            (LinearName::Dense4hToH, &self.dense_4h_to_h),
        ]
    }

    /// As [`Layer::linears`], to be changed.
    pub fn linears_mut(&mut self) -> [(LinearName, &mut Linear<T>); 4] {
        [
            (LinearName::QueryKeyValue, &mut self.query_key_value),
            (LinearName::Dense, &mut self.dense),
            (LinearName::DenseHTo4h, &mut self.dense_h_to_4h),
            (LinearName::Dense4hToH, &mut self.dense_4h_to_h),
        ]
    }
}

impl<T> Norm<T> {
    fn build(
        config: &Config,
        module: &str,
        make: &mut impl FnMut(TensorSpec) -> Result<T>,
    ) -> Result<Norm<T>> {
        let shape = Shape::vector(config.hidden);
        let mut vector =
            |part: &str, role| make(TensorSpec { name: format!("{module}.{part}"), shape, role });
        Ok(Norm {
            weight: vector("weight", Role::NormWeight)?,
            bias: vector("bias", Role::NormBias)?,
        })
    }
}

impl<T> Linear<T> {
    fn build(
        config: &Config,
        layer: usize,
        linear: LinearName,
        make: &mut impl FnMut(TensorSpec) -> Result<T>,
    ) -> Result<Linear<T>> {
        let module = linear.module(layer);
        let (out, input) = config.linear_shape(linear);
        let role = match linear {
            LinearName::QueryKeyValue | LinearName::DenseHTo4h => Role::Linear,
            LinearName::Dense | LinearName::Dense4hToH => Role::LinearOut,
        };
        let shape = Shape::matrix(out, input);
        let weight = make(TensorSpec { name: format!("{module}.weight"), shape, role })?;
        let shape = Shape::vector(out);
        let bias = make(TensorSpec { name: format!("{module}.bias"), shape, role: Role::Bias })?;
        Ok(Linear { weight, bias, adapter: None })
    }
}

impl Config {
    /// Every tensor of a checkpoint in the published names (without the `glm.` prefix) and order.
    /// The output matrix of ChatGLM ([`HEAD`]) is not listed: it is tied to the embedding wherever
    /// it is stored equal to it.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut list = Vec::new();
        let listed = Weights::build(self, |spec| {
            list.push(spec);
            Ok(())
        });
        listed.expect("a list refuses nothing");
        list
    }

    /// Number of parameters, the tied head counted once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.shape.count()).sum()
    }
}

impl Parameter {
    /// Where the tensor stands in the trained range, `None` where it is frozen.
    pub fn slot(&self) -> Option<&Slot> {
        match self {
            Parameter::Trained(slot) => Some(slot),
            Parameter::Frozen(_) => None,
        }
    }
}

impl Linear {
    /// Whether anything of it is trained.
    pub(super) fn is_trained(&self) -> bool {
        let Linear { weight, bias, adapter } = self;
        adapter.is_some() || [weight, bias].iter().any(|tensor| tensor.slot().is_some())
    }
}

impl Model {
    /// Names, shapes and offsets of what is trained.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the adapter is, `None` where there is none.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The trained values, in the order of [`Model::layout`]. Panics where nothing is trained.
    pub fn values(&self) -> &Flat {
        self.values.as_ref().expect("a model that trains something")
    }

    /// As [`Model::values`], to be changed.
    pub fn values_mut(&mut self) -> &mut Flat {
        self.values.as_mut().expect("a model that trains something")
    }

    /// Writes tensor number `slot` of the layout, row by row. Panics on another number of values.
    pub fn set_slot(&mut self, slot: usize, values: &[f32]) -> Result<()> {
        let slot = self.layout.slots()[slot].clone();
        self.write(&slot, values)
    }

    pub(super) fn write(&mut self, slot: &Slot, values: &[f32]) -> Result<()> {
        let device = self.device.clone();
        device.write_f32(self.values_mut().view_mut(slot), values)
    }

    /// Whether the output matrix is a tensor of its own.
    pub fn has_own_head(&self) -> bool {
        self.weights.head.is_some()
    }

    /// Whether a table of what rows start from is trained.
    pub(super) fn trains_embeddings(&self) -> bool {
        let Embeddings { words, positions } = &self.weights.embeddings;
        let mut tables = std::iter::once(words).chain(positions.iter().flatten());
        tables.any(|table| table.slot().is_some())
    }

    /// A tensor of the model, whether trained or not.
    pub(super) fn view<'a>(&'a self, parameter: &'a Parameter) -> View<'a> {
        match parameter {
            Parameter::Frozen(tensor) => tensor.view(),
            Parameter::Trained(slot) => self.values().view(slot),
        }
    }

    /// Makes the frozen base tensor `name` a part of `layout`, for modules saved beside an adapter;
    /// `None` where the model has no such tensor.
    pub(super) fn retrain(&mut self, name: &str, layout: &mut Layout) -> Option<Slot> {
        let mut tensors = self.config.tensors().into_iter().zip(self.weights.in_order_mut());
        let (spec, parameter) = tensors.find(|(spec, _)| spec.name == name)?;
        let slot = layout.push(spec.name, spec.shape, SlotRole::Base(spec.role));
        *parameter = Parameter::Trained(slot.clone());
        Some(slot)
    }

    /// Gives the linears the adapter `lora`, its factors at the end of `layout`; `factors` says
    /// rank and scale of each, `None` leaves it out. Returns the number of adapted linears.
    pub(super) fn adapt(
        &mut self,
        lora: LoraConfig,
        layout: &mut Layout,
        mut factors: impl FnMut(usize, LinearName) -> Option<(usize, f32)>,
    ) -> usize {
        let mut adapted = 0;
        for layer in &mut self.weights.layers {
            let number = layer.number;
            for (name, linear) in layer.linears_mut() {
                linear.adapter = factors(number, name).map(|factors| {
                    LoraModule::lay_out(&self.config, (number, name), factors, layout)
                });
                adapted += usize::from(linear.adapter.is_some());
            }
        }
        self.lora = Some(lora);
        adapted
    }

    /// Makes `layout` the trained range, of zeros. Panics on a model that trains something already.
    pub(super) fn attach(&mut self, layout: Layout) -> Result<()> {
        assert!(self.layout.is_empty(), "attach() on a model that already trains something");
        if !layout.is_empty() {
            self.values = Some(Flat::zeros(&self.device, &layout)?);
        }
        self.layout = layout;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tensors_are_visited_in_the_order_in_which_they_are_made() {
        for family in ["glm", "chatglm"] {
            let config = Config::from_json(&json!({"model_type": family, "num_layers": 2}));
            let config = config.unwrap();
            let mut made = 0;
            let mut weights = Weights::build(&config, |_| {
                made += 1;
                Ok(made - 1)
            })
            .unwrap();
            let all: Vec<usize> = (0..made).collect();
            let visited: Vec<usize> = weights.in_order().iter().map(|(&t, _)| t).collect();
            assert_eq!(visited, all, "{family}");
            let visited: Vec<usize> = weights.in_order_mut().iter().map(|t| **t).collect();
            assert_eq!(visited, all, "{family}");
        }
    }
}
