//! One transformer layer, forwards and, below it, backwards. Both models are this file.
//!
//! ```text
//! a = LN1(x)      x' = residual(x, a) + dropout(attention(a)·Wdᵀ + bd)
//! m = LN2(x')     y  = residual(x', m) + dropout(gelu(m·W1ᵀ + b1)·W2ᵀ + b2)
//! residual(x, a) = x (GLM)  |  factor·a (ChatGLM)
//! ```
//! source: docs/models.md. GLM is pre-LN; ChatGLM-6B adds to the normed input, scaled.

use super::linear::InputGradient;
use super::norm::Normed;
use super::rows::{Pass, Purpose, Read, Site};
use crate::base::{Dtype, Shape};
use crate::device::{Attend, Epilogue, Tensor, Turn, View, ViewMut, Write};
use crate::model::config::Residual;
use crate::model::model::{Layer, Linear, Norm};
use crate::model::parameters::Flat;
use anyhow::Result;

/// What a layer's forward keeps for its backward; the rest is computed again, with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Everything: no recomputation.
    All,
    /// Norm outputs and GELU are computed again.
    Lean,
    /// … and the first product of the feed-forward network.
    NoInner,
    /// … and the query-key-value product.
    NoQkv,
    /// Only the layer's input.
    Input,
}

impl Keep {
    /// All five, the most kept first.
    pub const ALL: [Keep; 5] = [Keep::All, Keep::Lean, Keep::NoInner, Keep::NoQkv, Keep::Input];

    /// The word for it in settings and plans.
    pub const fn name(self) -> &'static str {
        match self {
            Keep::All => "all",
            Keep::Lean => "lean",
            Keep::NoInner => "no-inner",
            Keep::NoQkv => "no-qkv",
            Keep::Input => "input",
        }
    }
}

/// A layer's intermediate values. `None` is computed on demand by [`Pass::complete`]. The memory
/// plan holds sizes for tensors. Of the last layer, all behind attention is of the rows that are
/// read alone: T of the R.
pub struct Saved<T = Tensor> {
    /// `[R, h]`, the layer's input.
    pub x: T,
    /// `[R, h]`, LN1's output.
    pub normed: Option<T>,
    /// `[R, 2]` f32, of LN1.
    pub statistics: Option<T>,
    /// `[R, 3h]`, after rotation.
    pub qkv: Option<T>,
    /// `[R, h]`, attention's output before `dense`.
    pub context: Option<T>,
    /// `[R, heads]` f32.
    pub log_sum_exp: Option<T>,
    /// `[R, h]`, between the two sub-layers.
    pub middle: Option<T>,
    /// `[R, h]`, LN2's output.
    pub middle_normed: Option<T>,
    /// `[R, 2]` f32, of LN2.
    pub middle_statistics: Option<T>,
    /// `[R, inner]`, GELU's argument.
    pub pre_activation: Option<T>,
    /// `[R, inner]`, GELU's value.
    pub inner: Option<T>,
    /// x·Aᵀ of each adapted linear.
    pub z: LowRanks<T>,
}

/// `[R, r]` of each of a layer's linears, `None` where it has no adapter or has not run.
pub struct LowRanks<T> {
    pub query_key_value: Option<T>,
    pub dense: Option<T>,
    pub dense_h_to_4h: Option<T>,
    pub dense_4h_to_h: Option<T>,
}

impl<T> Saved<T> {
    pub fn new(x: T) -> Saved<T> {
        Saved {
            x,
            normed: None,
            statistics: None,
            qkv: None,
            context: None,
            log_sum_exp: None,
            middle: None,
            middle_normed: None,
            middle_statistics: None,
            pre_activation: None,
            inner: None,
            z: LowRanks {
                query_key_value: None,
                dense: None,
                dense_h_to_4h: None,
                dense_4h_to_h: None,
            },
        }
    }

    /// Gives back what `keep` does not hold.
    pub fn forget(&mut self, keep: Keep) {
        if keep >= Keep::Lean {
            self.normed = None;
            self.middle_normed = None;
            self.inner = None;
        }
        if keep >= Keep::NoInner {
            self.pre_activation = None;
        }
        if keep >= Keep::NoQkv {
            self.qkv = None;
        }
        if keep >= Keep::Input {
            self.statistics = None;
            self.context = None;
            self.log_sum_exp = None;
            self.middle = None;
            self.middle_statistics = None;
            // The last product is not computed again, so its z stays.
            self.z.query_key_value = None;
            self.z.dense = None;
            self.z.dense_h_to_4h = None;
        }
    }
}

impl Pass<'_> {
    /// The layer's output `[R, h]`, or `[T, h]` of the rows that are read; everything a backward
    /// needs is left in `saved`.
    pub fn layer(
        &self,
        saved: &mut Saved,
        layer: &Layer,
        purpose: Purpose,
        read: Option<&Read>,
    ) -> Result<Tensor> {
        self.complete(saved, layer, purpose, read)?;
        let [inner, middle, normed] = [&saved.inner, &saved.middle, &saved.middle_normed].map(done);
        let mut y = self.model.device.unwritten(middle.shape(), middle.dtype())?;
        let (site, linear) = (Site::FeedForwardOutput(layer.number), &layer.dense_4h_to_h);
        let residual = self.residual(middle, normed);
        saved.z.dense_4h_to_h = self.over(read).add_to_residual(
            y.view_mut(),
            inner,
            residual,
            linear,
            purpose,
            site,
        )?;
        Ok(y)
    }

    /// Fills in what is missing in `saved`, in the order of the forward.
    fn complete(
        &self,
        saved: &mut Saved,
        layer: &Layer,
        purpose: Purpose,
        read: Option<&Read>,
    ) -> Result<()> {
        let (rows, hidden) = (saved.x.shape().rows(), saved.x.shape().cols());
        let model = self.model;
        let device = &model.device;
        let dtype = saved.x.dtype();
        let config = &model.config;
        if saved.normed.is_none()
            && (saved.qkv.is_none() || saved.middle.is_none() || purpose == Purpose::Training)
        {
            let (y, statistics) = model.norm(saved.x.view(), &layer.input_norm)?;
            saved.normed = Some(y);
            saved.statistics = Some(statistics);
        }
        if saved.qkv.is_none() {
            let mut qkv = device.unwritten(Shape::matrix(rows, 3 * hidden), dtype)?;
            let (x, linear) = (done(&saved.normed), &layer.query_key_value);
            let z = self.linear(qkv.view_mut(), x, linear, purpose, Epilogue::default())?;
            saved.z.query_key_value = z;
            self.rotate(qkv.view_mut(), Turn::Forward)?;
            saved.qkv = Some(qkv);
        }
        if saved.context.is_none() {
            let mut context = device.unwritten(Shape::matrix(rows, hidden), dtype)?;
            let mut log_sum_exp =
                device.unwritten(Shape::matrix(rows, config.heads), Dtype::F32)?;
            device.attention(
                context.view_mut(),
                log_sum_exp.view_mut(),
                self.attend(done(&saved.qkv), layer),
            )?;
            saved.context = Some(context);
            saved.log_sum_exp = Some(log_sum_exp);
        }
        // Keys and values are of all rows; from here on a row knows itself alone.
        let pass = self.over(read);
        if saved.middle.is_none() {
            let (residual, factor) = self.residual(saved.x.view(), done(&saved.normed));
            let residual = self.pick(residual, read)?;
            let context = self.pick(done(&saved.context), read)?;
            let (context, residual) = (context.view(), (residual.view(), factor));
            let mut middle = device.unwritten(context.shape(), dtype)?;
            let (y, site) = (middle.view_mut(), Site::AttentionOutput(layer.number));
            saved.z.dense =
                pass.add_to_residual(y, context, residual, &layer.dense, purpose, site)?;
            saved.middle = Some(middle);
        }
        if saved.middle_normed.is_none() {
            let (y, statistics) = model.norm(done(&saved.middle), &layer.post_attention_norm)?;
            saved.middle_normed = Some(y);
            saved.middle_statistics = Some(statistics);
        }
        if saved.inner.is_none() {
            let shape = Shape::matrix(done(&saved.middle).rows(), config.inner);
            let mut inner = device.unwritten(shape, dtype)?;
            match &saved.pre_activation {
                Some(pre) => device.gelu(inner.view_mut(), pre.view(), config.gelu)?,
                None => {
                    let mut pre = match purpose {
                        Purpose::Training => Some(device.unwritten(shape, dtype)?),
                        Purpose::Inference => None,
                    };
                    let epilogue = Epilogue {
                        gelu: Some(config.gelu),
                        pre_activation: pre.as_mut().map(Tensor::view_mut),
                        ..Epilogue::default()
                    };
                    let (x, linear) = (done(&saved.middle_normed), &layer.dense_h_to_4h);
                    let z = pass.linear(inner.view_mut(), x, linear, purpose, epilogue)?;
                    saved.z.dense_h_to_4h = z;
                    saved.pre_activation = pre;
                }
            }
            saved.inner = Some(inner);
        }
        Ok(())
    }

    /// What attention is told of a layer, forwards and backwards.
    fn attend<'a>(&'a self, qkv: View<'a>, layer: &Layer) -> Attend<'a> {
        let config = &self.model.config;
        Attend {
            qkv,
            segments: &self.rows.segments,
            heads: config.qkv_heads(),
            scale: config.attention_scale(),
            dropout: self.dropout(Site::Attention(layer.number)),
        }
    }

    /// What a sub-layer's output is added to, and by which factor: its input, or that under a norm.
    fn residual<'x>(&self, input: View<'x>, normed: View<'x>) -> (View<'x>, f32) {
        match self.model.config.residual {
            Residual::Plain => (input, 1.0),
            Residual::Scaled(factor) => (normed, factor),
        }
    }

    /// y = factor·residual + dropout(x·Wᵀ + b).
    fn add_to_residual(
        &self,
        mut y: ViewMut,
        x: View,
        (residual, factor): (View, f32),
        linear: &Linear,
        purpose: Purpose,
        site: Site,
    ) -> Result<Option<Tensor>> {
        let device = &self.model.device;
        let Some(dropout) = self.dropout(site) else {
            let epilogue = Epilogue { residual: Some((residual, factor)), ..Epilogue::default() };
            return self.linear(y, x, linear, purpose, epilogue);
        };
        let mut output = device.unwritten(y.shape(), y.dtype())?;
        let z = self.linear(output.view_mut(), x, linear, purpose, Epilogue::default())?;
        device.dropout(y.reborrow(), output.view(), dropout, Write::Set)?;
        device.blend(y, residual, factor, 1.0)?;
        Ok(z)
    }
}

// --- backwards ----------------------------------------------------------------------------------

impl Pass<'_> {
    /// Turns the gradient of the layer's output, `[T, h]` where `read` says which rows these are,
    /// into that of its input, `[R, h]`; parameter gradients add. Where nothing below is trained
    /// nobody wants that of the input, and dy is left as it comes.
    pub fn layer_backward(
        &self,
        dy: &mut Tensor,
        gradients: &mut Flat,
        saved: &mut Saved,
        layer: &Layer,
        read: Option<&Read>,
    ) -> Result<()> {
        self.complete(saved, layer, Purpose::Training, read)?;
        let pass = self.over(read);
        let device = &self.model.device;
        let config = &self.model.config;
        let [inner, pre, middle, middle_normed] =
            [&saved.inner, &saved.pre_activation, &saved.middle, &saved.middle_normed].map(done);

        // Feed-forward network: dy → d_pre → d_normed → dy (now of the middle).
        let d_output = pass.dropped(dy, Site::FeedForwardOutput(layer.number))?;
        let d = d_output.as_ref().map_or(dy.view(), Tensor::view);
        let mut d_pre = device.unwritten(pre.shape(), pre.dtype())?;
        let (z, linear) = (saved.z.dense_4h_to_h.as_ref(), &layer.dense_4h_to_h);
        let to = InputGradient { to: d_pre.view_mut(), gelu_of: Some((pre, config.gelu)) };
        pass.linear_backward(Some(to), gradients, d, inner, z, linear)?;
        let mut d_normed = self.like(dy)?;
        let (z, linear) = (saved.z.dense_h_to_4h.as_ref(), &layer.dense_h_to_4h);
        let (to, d) = (Some(d_normed.view_mut().into()), d_pre.view());
        pass.linear_backward(to, gradients, d, middle_normed, z, linear)?;
        drop(d_pre);
        let statistics = done(&saved.middle_statistics);
        let normed = Normed { norm: &layer.post_attention_norm, x: middle, statistics };
        self.residual_backward(dy, gradients, &mut d_normed, normed)?;

        // Attention: dy → d_context → d_qkv → d_normed → dy (now of the input).
        let [context, qkv, normed] = [&saved.context, &saved.qkv, &saved.normed].map(done);
        let wanted = self.wants_input_gradient(layer);
        let attends = wanted || layer.query_key_value.is_trained();
        let d_output = pass.dropped(dy, Site::AttentionOutput(layer.number))?;
        let d = d_output.as_ref().map_or(dy.view(), Tensor::view);
        let mut d_context = self.like(dy)?;
        let to = attends.then(|| d_context.view_mut().into());
        let (x, z) = (self.pick(context, read)?, saved.z.dense.as_ref());
        pass.linear_backward(to, gradients, d, x.view(), z, &layer.dense)?;
        drop((x, d_output));
        if !attends {
            return Ok(());
        }
        if let Some(read) = read {
            d_context = self.spread(d_context.view(), read)?;
        }
        let mut d_qkv = device.unwritten(qkv.shape(), qkv.dtype())?;
        device.attention_backward(
            d_qkv.view_mut(),
            d_context.view(),
            context,
            done(&saved.log_sum_exp),
            self.attend(qkv, layer),
        )?;
        self.rotate(d_qkv.view_mut(), Turn::Backward)?;
        let (z, linear) = (saved.z.query_key_value.as_ref(), &layer.query_key_value);
        let d = d_qkv.view();
        if !wanted {
            return self.linear_backward(None, gradients, d, normed, z, linear);
        }
        if let Some(read) = read {
            d_normed = self.like(&saved.x)?;
            *dy = self.spread(dy.view(), read)?;
        }
        self.linear_backward(Some(d_normed.view_mut().into()), gradients, d, normed, z, linear)?;
        let (x, statistics) = (saved.x.view(), done(&saved.statistics));
        let normed = Normed { norm: &layer.input_norm, x, statistics };
        self.residual_backward(dy, gradients, &mut d_normed, normed)
    }

    /// Whether something is trained that the gradient of a layer's input, or of what its first
    /// linear reads, leads to.
    fn wants_input_gradient(&self, layer: &Layer) -> bool {
        let Norm { weight, bias } = &layer.input_norm;
        layer.number > 0
            || self.model.trains_embeddings()
            || [weight, bias].iter().any(|vector| vector.slot().is_some())
    }

    /// dy ← gradient of a sub-layer's input, given dy of its output and `d_normed` of what its
    /// linears read, the input under `normed`.
    fn residual_backward(
        &self,
        dy: &mut Tensor,
        gradients: &mut Flat,
        d_normed: &mut Tensor,
        normed: Normed,
    ) -> Result<()> {
        let write = match self.model.config.residual {
            Residual::Plain => Write::Add,
            Residual::Scaled(factor) => {
                self.model.device.blend(d_normed.view_mut(), dy.view(), factor, 1.0)?;
                Write::Set
            }
        };
        self.model.norm_backward(dy.view_mut(), gradients, d_normed.view(), normed, write)
    }
}

fn done(tensor: &Option<Tensor>) -> View<'_> {
    tensor.as_ref().expect("complete() fills this in").view()
}
