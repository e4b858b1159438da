//! One transformer layer, forwards and, below it, backwards. Both models are this file.
//!
//! ```text
//! a = LN1(x)      x' = residual(x, a) + dropout(attention(a)·Wdᵀ + bd)
//! m = LN2(x')     y  = residual(x', m) + dropout(gelu(m·W1ᵀ + b1)·W2ᵀ + b2)
//! residual(x, a) = x (GLM)  |  factor·a (ChatGLM)
//! ```
//! source: spec of GLM (pre-LN) and ChatGLM-6B (scaled residual from the normed input); see
//! engine/README.md.

use super::config::{LinearName, Positions, Residual};
use super::linear::Pass;
use super::parameters::Flat;
use super::rows::Site;
use crate::base::{Dtype, Shape};
use crate::device::{Epilogue, Tensor, Turn, View, ViewMut, Write};
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
    pub const ALL: [Keep; 5] = [Keep::All, Keep::Lean, Keep::NoInner, Keep::NoQkv, Keep::Input];

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
/// plan holds sizes for tensors.
pub struct Saved<T = Tensor> {
    /// `[R, h]`, the layer's input.
    pub x: T,
    /// `[R, h]`, LN1's output.
    pub normed: Option<T>,
    /// `[R, 2]` f32.
    pub statistics: Option<T>,
    /// `[R, 3h]`, after rotation.
    pub qkv: Option<T>,
    /// `[R, h]`, attention's output before `dense`.
    pub context: Option<T>,
    /// `[R, heads]` f32.
    pub log_sum_exp: Option<T>,
    /// `[R, h]`, between the two sub-layers.
    pub middle: Option<T>,
    pub middle_normed: Option<T>,
    pub middle_statistics: Option<T>,
    /// `[R, inner]`, GELU's argument.
    pub pre_activation: Option<T>,
    /// `[R, inner]`, GELU's value.
    pub inner: Option<T>,
    /// x·Aᵀ of each adapted linear.
    pub z: [Option<T>; 4],
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
            z: [None, None, None, None],
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
            self.z[..3].fill_with(|| None);
        }
    }
}

/// Whether a backward will follow: GELU's argument is written down only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Inference,
    Training,
}

impl Pass<'_> {
    /// The layer's output; everything a backward needs is left in `saved`.
    pub fn layer(&self, saved: &mut Saved, layer: usize, purpose: Purpose) -> Result<Tensor> {
        self.complete(saved, layer, purpose)?;
        let [inner, middle, normed] = [&saved.inner, &saved.middle, &saved.middle_normed].map(done);
        let mut y = self.like(&saved.x)?;
        let site = Site::FeedForwardOutput(layer);
        saved.z[3] = self.add_to_residual(
            y.view_mut(),
            inner,
            middle,
            normed,
            layer,
            LinearName::Dense4hToH,
            site,
        )?;
        Ok(y)
    }

    /// Fills in what is missing in `saved`, in the order of the forward.
    fn complete(&self, saved: &mut Saved, layer: usize, purpose: Purpose) -> Result<()> {
        let (rows, hidden) = (saved.x.shape().rows(), saved.x.shape().cols());
        let device = &self.model.device;
        let dtype = saved.x.dtype();
        let config = &self.model.config;
        if saved.normed.is_none()
            && (saved.qkv.is_none() || saved.middle.is_none() || purpose == Purpose::Training)
        {
            let (y, statistics) = self.norm(saved.x.view(), self.model.input_norm(layer))?;
            saved.normed = Some(y);
            saved.statistics = Some(statistics);
        }
        if saved.qkv.is_none() {
            let mut qkv = device.alloc(Shape::matrix(rows, 3 * hidden), dtype)?;
            let x = done(&saved.normed);
            let z = self.linear(
                qkv.view_mut(),
                x,
                layer,
                LinearName::QueryKeyValue,
                Epilogue::default(),
            )?;
            saved.z[0] = z;
            self.rotate(qkv.view_mut(), Turn::Forward)?;
            saved.qkv = Some(qkv);
        }
        if saved.context.is_none() {
            let mut context = device.alloc(Shape::matrix(rows, hidden), dtype)?;
            let mut log_sum_exp = device.alloc(Shape::matrix(rows, config.heads), Dtype::F32)?;
            device.attention(
                context.view_mut(),
                log_sum_exp.view_mut(),
                done(&saved.qkv),
                &self.rows.segments,
                config.heads,
                config.qkv,
                self.model.attention_scale(),
                self.rows.dropout(self.noise, Site::Attention(layer)),
            )?;
            saved.context = Some(context);
            saved.log_sum_exp = Some(log_sum_exp);
        }
        if saved.middle.is_none() {
            let mut middle = self.like(&saved.x)?;
            let [context, normed] = [&saved.context, &saved.normed].map(done);
            let site = Site::AttentionOutput(layer);
            let x = saved.x.view();
            saved.z[1] = self.add_to_residual(
                middle.view_mut(),
                context,
                x,
                normed,
                layer,
                LinearName::Dense,
                site,
            )?;
            saved.middle = Some(middle);
        }
        if saved.middle_normed.is_none() {
            let (y, statistics) = self.norm(done(&saved.middle), self.model.middle_norm(layer))?;
            saved.middle_normed = Some(y);
            saved.middle_statistics = Some(statistics);
        }
        if saved.inner.is_none() {
            let mut inner = device.alloc(Shape::matrix(rows, config.inner), dtype)?;
            match &saved.pre_activation {
                Some(pre) => device.gelu(inner.view_mut(), pre.view(), config.gelu)?,
                None => {
                    let mut pre = match purpose {
                        Purpose::Training => {
                            Some(device.alloc(Shape::matrix(rows, config.inner), dtype)?)
                        }
                        Purpose::Inference => None,
                    };
                    let epilogue = Epilogue {
                        gelu: Some(config.gelu),
                        pre_activation: pre.as_mut().map(Tensor::view_mut),
                        ..Epilogue::default()
                    };
                    let x = done(&saved.middle_normed);
                    saved.z[2] =
                        self.linear(inner.view_mut(), x, layer, LinearName::DenseHTo4h, epilogue)?;
                    saved.pre_activation = pre;
                }
            }
            saved.inner = Some(inner);
        }
        Ok(())
    }

    /// y = residual + dropout(x·Wᵀ + b), the residual being `input` or factor·`normed`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn add_to_residual(
        &self,
        mut y: ViewMut,
        x: View,
        input: View,
        normed: View,
        layer: usize,
        linear: LinearName,
        site: Site,
    ) -> Result<Option<Tensor>> {
        let device = &self.model.device;
        let (residual, factor) = match self.model.config.residual {
            Residual::Plain => (input, 1.0),
            Residual::Scaled(factor) => (normed, factor),
        };
        let Some(dropout) = self.rows.dropout(self.noise, site) else {
            let epilogue = Epilogue { residual: Some((residual, factor)), ..Epilogue::default() };
            return self.linear(y, x, layer, linear, epilogue);
        };
        let mut output = device.alloc(y.shape(), y.dtype())?;
        let z = self.linear(output.view_mut(), x, layer, linear, Epilogue::default())?;
        device.dropout(y.reborrow(), output.view(), dropout, Write::Set)?;
        device.blend(y, residual, factor, 1.0)?;
        Ok(z)
    }

    pub(super) fn rotate(&self, qkv: ViewMut, turn: Turn) -> Result<()> {
        let config = &self.model.config;
        match config.positions {
            Positions::Learned => Ok(()),
            Positions::Rotary2d => {
                let positions = [self.rows.positions[0].view(), self.rows.positions[1].view()];
                self.model.device.rotate(
                    qkv,
                    self.model.rotary(positions),
                    config.heads,
                    config.qkv,
                    turn,
                )
            }
        }
    }

    /// Layer norm's output and statistics.
    pub(super) fn norm(&self, x: View, (weight, bias): (View, View)) -> Result<(Tensor, Tensor)> {
        let device = &self.model.device;
        let mut y = device.alloc(x.shape(), x.dtype())?;
        let mut statistics = device.alloc(Shape::matrix(x.rows(), 2), Dtype::F32)?;
        let epsilon = self.model.config.layernorm_epsilon;
        device.layernorm(y.view_mut(), statistics.view_mut(), x, weight, bias, epsilon)?;
        Ok((y, statistics))
    }

    fn like(&self, x: &Tensor) -> Result<Tensor> {
        self.model.device.alloc(x.shape(), x.dtype())
    }
}

// --- backwards
// ------------------------------------------------------------------------------------------------------

impl Pass<'_> {
    /// Turns the gradient of the layer's output into that of its input, in place; parameter
    /// gradients add.
    pub fn layer_backward(
        &self,
        dy: &mut Tensor,
        gradients: &mut Flat,
        saved: &mut Saved,
        layer: usize,
    ) -> Result<()> {
        self.complete(saved, layer, Purpose::Training)?;
        let device = &self.model.device;
        let config = &self.model.config;
        let [inner, pre, middle, middle_normed] =
            [&saved.inner, &saved.pre_activation, &saved.middle, &saved.middle_normed].map(done);

        // Feed-forward network: dy → d_inner → d_pre → d_normed → dy (now of the middle).
        let d_output = self.through_dropout(dy, Site::FeedForwardOutput(layer))?;
        let d_view = d_output.as_ref().map_or(dy.view(), Tensor::view);
        let mut d_inner = device.alloc(inner.shape(), inner.dtype())?;
        let z = saved.z[3].as_ref();
        self.linear_backward(
            d_inner.view_mut(),
            gradients,
            d_view,
            inner,
            z,
            layer,
            LinearName::Dense4hToH,
        )?;
        let mut d_pre = device.alloc(pre.shape(), pre.dtype())?;
        device.gelu_backward(d_pre.view_mut(), d_inner.view(), pre, config.gelu)?;
        drop(d_inner);
        let mut d_normed = self.like(dy)?;
        let z = saved.z[2].as_ref();
        let d = d_pre.view();
        self.linear_backward(
            d_normed.view_mut(),
            gradients,
            d,
            middle_normed,
            z,
            layer,
            LinearName::DenseHTo4h,
        )?;
        drop(d_pre);
        let statistics = done(&saved.middle_statistics);
        self.residual_backward(
            dy,
            gradients,
            &mut d_normed,
            middle,
            statistics,
            Norm::Middle(layer),
        )?;

        // Attention: dy → d_context → d_qkv → d_normed → dy (now of the input).
        let [context, qkv, normed] = [&saved.context, &saved.qkv, &saved.normed].map(done);
        let d_output = self.through_dropout(dy, Site::AttentionOutput(layer))?;
        let d_view = d_output.as_ref().map_or(dy.view(), Tensor::view);
        let mut d_context = self.like(dy)?;
        let z = saved.z[1].as_ref();
        self.linear_backward(
            d_context.view_mut(),
            gradients,
            d_view,
            context,
            z,
            layer,
            LinearName::Dense,
        )?;
        let mut d_qkv = device.alloc(qkv.shape(), qkv.dtype())?;
        device.attention_backward(
            d_qkv.view_mut(),
            d_context.view(),
            context,
            done(&saved.log_sum_exp),
            qkv,
            &self.rows.segments,
            config.heads,
            config.qkv,
            self.model.attention_scale(),
            self.rows.dropout(self.noise, Site::Attention(layer)),
        )?;
        self.rotate(d_qkv.view_mut(), Turn::Backward)?;
        let z = saved.z[0].as_ref();
        let d = d_qkv.view();
        self.linear_backward(
            d_normed.view_mut(),
            gradients,
            d,
            normed,
            z,
            layer,
            LinearName::QueryKeyValue,
        )?;
        let statistics = done(&saved.statistics);
        self.residual_backward(
            dy,
            gradients,
            &mut d_normed,
            saved.x.view(),
            statistics,
            Norm::Input(layer),
        )
    }

    /// dy ← gradient of a sub-layer's input x, given dy of its output and `d_normed` of what its
    /// linears read.
    fn residual_backward(
        &self,
        dy: &mut Tensor,
        gradients: &mut Flat,
        d_normed: &mut Tensor,
        x: View,
        statistics: View,
        norm: Norm,
    ) -> Result<()> {
        let device = &self.model.device;
        let write = match self.model.config.residual {
            Residual::Plain => Write::Add,
            Residual::Scaled(factor) => {
                device.blend(d_normed.view_mut(), dy.view(), factor, 1.0)?;
                Write::Set
            }
        };
        self.norm_backward(dy.view_mut(), gradients, d_normed.view(), x, statistics, norm, write)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn norm_backward(
        &self,
        dx: ViewMut,
        gradients: &mut Flat,
        dy: View,
        x: View,
        statistics: View,
        norm: Norm,
        write: Write,
    ) -> Result<()> {
        let (weight, _) = self.model.norm(norm);
        let parameters = self.model.trained_norm(norm).map(|(w, b)| gradients.pair_mut(w, b));
        self.model.device.layernorm_backward(dx, parameters, dy, x, weight, statistics, write)
    }

    /// The gradient before dropout, `None` where nothing was dropped.
    pub(super) fn through_dropout(&self, dy: &Tensor, site: Site) -> Result<Option<Tensor>> {
        let Some(dropout) = self.rows.dropout(self.noise, site) else { return Ok(None) };
        let mut d = self.like(dy)?;
        self.model.device.dropout(d.view_mut(), dy.view(), dropout, Write::Set)?;
        Ok(Some(d))
    }
}

/// Which layer norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    Input(usize),
    Middle(usize),
    Final,
}

fn done(tensor: &Option<Tensor>) -> View<'_> {
    tensor.as_ref().expect("complete() fills this in").view()
}
