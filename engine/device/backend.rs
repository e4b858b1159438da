//! What a device must be able to do: memory and the ops, documented once, here.
//!
//! Signatures are equal in this trait, in the door ([`super::Device`]), in the CPU functions and in
//! the kernels: outputs first, then inputs, then scalars. Parameter gradients add; everything else
//! says [`Write`] at the call. Arguments reach a backend already checked by the door: shapes,
//! dtypes and residence agree. Accumulators, statistics and losses are f32 whatever the storage.
//!
//! Batch invariance: a row's outputs have the same bits whatever rows stand beside it and however
//! many threads run.

use super::tensor::{Tensor, View, ViewMut};
use crate::base::Philox;
use anyhow::Result;
use std::sync::{Arc, Mutex};

/// What happens to what stood in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Set,
    Add,
}

/// Which operand of a product is stored transposed; y is `[m, n]`, the inner length is k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// a `[m, k]`, b `[n, k]`: y = a·bᵀ (a linear layer, weights `[out, in]`).
    Nt,
    /// a `[m, k]`, b `[k, n]`: y = a·b (the gradient of a linear's input).
    Nn,
    /// a `[k, m]`, b `[k, n]`: y = aᵀ·b (the gradient of a weight; k is the number of rows).
    Tn,
}

/// Where query, key and value of a head stand in a row of 3h (docs/models.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qkv {
    /// Three thirds, each with the heads one after another (GLM).
    Thirds,
    /// For each head its query, key and value (ChatGLM).
    PerHead,
}

/// Which curve is called GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// 0.5·x·(1 + tanh(√(2/π)·x·(1 + 0.044715·x²)))
    Tanh,
    /// 0.5·x·(1 + erf(x/√2))
    Erf,
}

/// A low-rank tail of a product: adds scale · z · factorᵀ (`Nt`, factor `[n, r]`) or scale · z ·
/// factor (`Nn`, factor `[r, n]`).
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// `[m, r]`
    pub z: View<'a>,
    pub factor: View<'a>,
    pub scale: f32,
}

/// What a product does before it writes: y = residual_scale·residual + gelu(scale·a·b + low_rank +
/// bias), then [`Write`].
pub struct Epilogue<'a> {
    /// Factor of the product itself.
    pub scale: f32,
    /// `[n]`
    pub bias: Option<View<'a>>,
    pub gelu: Option<Gelu>,
    /// `[m, n]`, receives the argument of GELU, for a backward that does not recompute.
    pub pre_activation: Option<ViewMut<'a>>,
    pub low_rank: Option<LowRank<'a>>,
    /// `[m, n]` and its factor; the input of the layer survives for its backward.
    pub residual: Option<(View<'a>, f32)>,
    pub write: Write,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue {
            scale: 1.0,
            bias: None,
            gelu: None,
            pre_activation: None,
            low_rank: None,
            residual: None,
            write: Write::Set,
        }
    }
}

/// The whole attention mask: rows `start[s]..start[s+1]` are sequence s, its first `context[s]`
/// rows are seen by all rows of s, the rest is causal. Kept on the host and on the device.
pub struct Segments {
    /// `[S + 1]`
    pub start: Vec<u32>,
    /// `[S]`
    pub context: Vec<u32>,
    /// The same on the device: `[S + 1]` and `[S]`, u32.
    pub start_on_device: Tensor,
    pub context_on_device: Tensor,
    /// What a backend made of the mask for its kernels, under names of its own.
    pub(super) prepared: Mutex<Vec<(Prepared, Arc<Tensor>)>>,
}

/// What blocks own, and how many rows of it.
type Prepared = (&'static str, usize);

impl Segments {
    pub fn sequences(&self) -> usize {
        self.context.len()
    }

    /// The u32s that `make` gives, on the device: made once for all layers of a batch.
    pub(super) fn prepared(
        &self,
        name: Prepared,
        make: impl FnOnce() -> Vec<u32>,
    ) -> Result<Arc<Tensor>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, tensor)) = prepared.iter().find(|(other, _)| *other == name) {
            return Ok(tensor.clone());
        }
        let tensor = Arc::new(self.start_on_device.device().upload_u32(&make())?);
        prepared.push((name, tensor.clone()));
        Ok(tensor)
    }

    pub fn rows(&self) -> usize {
        self.start.last().map_or(0, |&r| r as usize)
    }
}

/// Which elements dropout sets to zero: Philox of (seed, step, site) as key and (example, place in
/// it, column) as counter, so packing, accumulation and the order of a batch do not change it.
#[derive(Clone, Copy)]
pub struct Dropout<'a> {
    /// Probability of zero, 0 ≤ rate < 1; the rest is scaled by 1/(1 - rate).
    pub rate: f32,
    pub key: [u32; 2],
    /// `[R, 3]` u32: example (low word, high word) and place of each row.
    pub rows: View<'a>,
}

impl Dropout<'_> {
    /// The key of one site at one step: `site` numbers the places in the model where dropout acts.
    pub fn key(seed: u64, step: u64, site: u32) -> [u32; 2] {
        let stream = crate::base::Stream::Dropout as u32;
        let words = Philox::block(
            [seed as u32, (seed >> 32) as u32],
            [step as u32, (step >> 32) as u32, site, stream],
        );
        [words[0], words[1]]
    }

    /// Elements whose word is below this are dropped.
    pub fn threshold(rate: f32) -> u32 {
        (f64::from(rate) * 4_294_967_296.0) as u32
    }
}

/// Rotary tables for two position ids: the first half of a head's dims turns with positions row 0,
/// the second with row 1.
#[derive(Clone, Copy)]
pub struct Rotary<'a> {
    /// `[P, d/4]` f32: cos and sin of position × frequency.
    pub cos: View<'a>,
    pub sin: View<'a>,
    /// `[R]` u32 each.
    pub positions: [View<'a>; 2],
}

/// Forward turns by the angle, backward turns back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Forward,
    Backward,
}

/// Rows that attend to a cache: each sees its request's shared prompt, then the tail slots of its
/// own path, in order.
#[derive(Clone, Copy)]
pub struct CacheRows<'a> {
    /// `[R, 2]` u32: first and one past the last prompt row seen.
    pub prompt: View<'a>,
    /// `[R + 1]` u32: row r's path is `path[path_start[r]..path_start[r + 1]]`.
    pub path_start: View<'a>,
    /// `[sum of path lengths]` u32: slots of the tail, oldest first, the row's own last.
    pub path: View<'a>,
}

/// Numbers of one AdamW step (Loshchilov and Hutter 2019; decoupled decay, bias-corrected).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
    /// Counted from 1.
    pub step: u64,
    /// Multiplies the gradient first: clipping.
    pub gradient_scale: f32,
}

/// Bytes held by tensors of a device, now and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub now: usize,
    pub peak: usize,
}

impl MemoryUse {
    pub(super) fn take(&mut self, bytes: usize) {
        self.now += bytes;
        self.peak = self.peak.max(self.now);
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.now -= bytes;
    }

    pub(super) fn reset_peak(&mut self) {
        self.peak = self.now;
    }
}

/// What a device can do at most, measured on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Operations a second of tensor-core products of registers alone.
    pub bf16: f64,
    pub f16: f64,
    /// Bytes a second that a copy reads and writes.
    pub memory: f64,
}

pub trait Backend: Send + Sync {
    /// "cpu", "cuda:0", "emu".
    fn name(&self) -> &str;

    // --- memory
    // -------------------------------------------------------------------------------------------------

    /// Address of `bytes` bytes, 64-byte aligned, contents unspecified.
    fn alloc(&self, bytes: usize) -> Result<u64>;
    fn free(&self, address: u64, bytes: usize);
    fn upload(&self, y: ViewMut, bytes: &[u8]) -> Result<()>;
    fn download(&self, bytes: &mut [u8], x: View) -> Result<()>;
    /// y = x, same dtype and shape.
    fn copy(&self, y: ViewMut, x: View) -> Result<()>;
    /// All bytes zero.
    fn zero(&self, y: ViewMut) -> Result<()>;
    /// Whether host memory can be read as device memory (a mapped checkpoint needs no copy).
    fn reads_host_memory(&self) -> bool;
    fn memory(&self) -> MemoryUse;
    /// Starts `peak` anew from `now`.
    fn reset_peak(&self);
    /// Bytes that `alloc` can still give, as far as is known.
    fn available(&self) -> Result<u64>;
    fn synchronize(&self) -> Result<()>;
    /// Measures what the device can do at most; `None` on a device that has no such yardstick.
    fn ceilings(&self) -> Result<Option<Ceilings>> {
        Ok(None)
    }

    // --- embed
    // --------------------------------------------------------------------------------------------------

    /// y\[r\] = Σₜ tableₜ\[idsₜ\[r\]\] for one to three tables; also gathers rows (one table, row
    /// numbers as ids). shapes: y `[R, h]`, table `[V, h]`, ids `[R]` u32 below V.
    fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()>;
    /// d_table\[ids\[r\]\] += dy\[r\], rows in ascending order. shapes: d_table `[V, h]`, dy
    /// `[R, h]`, ids `[R]`.
    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()>;

    // --- norm
    // ---------------------------------------------------------------------------------------------------

    /// y = (x - mean)/√(var + ε)·weight + bias; statistics `[R, 2]` f32 receive mean and 1/√(var +
    /// ε).
    fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()>;
    /// dx by `write`; d_weight and d_bias (`[h]` f32 each, both or neither) add.
    #[allow(clippy::too_many_arguments)]
    fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        x: View,
        weight: View,
        statistics: View,
        write: Write,
    ) -> Result<()>;

    // --- matmul
    // -------------------------------------------------------------------------------------------------

    /// y = epilogue(a, b by `form`); see [`Epilogue`]. `b` may be stored in another float dtype
    /// than `a` and `y`.
    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()>;
    /// y\[n\] += Σ_r x\[r, n\]: the gradient of a bias. shapes: y `[n]` f32, x `[R, n]`.
    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()>;

    // --- attention
    // ----------------------------------------------------------------------------------------------

    /// Turns query and key parts of x `[R, 3h]` in place.
    fn rotate(
        &self,
        x: ViewMut,
        rotary: Rotary,
        heads: usize,
        layout: Qkv,
        turn: Turn,
    ) -> Result<()>;
    /// y = softmax(scale·q·kᵀ + mask)·v per head; log_sum_exp `[R, heads]` f32. shapes: y `[R, h]`,
    /// qkv `[R, 3h]`.
    #[allow(clippy::too_many_arguments)]
    fn attention(
        &self,
        y: ViewMut,
        log_sum_exp: ViewMut,
        qkv: View,
        segments: &Segments,
        heads: usize,
        layout: Qkv,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> Result<()>;
    /// d_qkv (set). shapes: d_qkv and qkv `[R, 3h]`, dy and y `[R, h]`, log_sum_exp `[R, heads]`.
    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        qkv: View,
        segments: &Segments,
        heads: usize,
        layout: Qkv,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> Result<()>;
    /// cache\[slots\[r\]\] = (keys of all heads, values of all heads) of qkv\[r\]. shapes: cache
    /// `[C, 2h]`, qkv `[R, 3h]`, slots `[R]`.
    fn cache_store(
        &self,
        cache: ViewMut,
        qkv: View,
        slots: View,
        heads: usize,
        layout: Qkv,
    ) -> Result<()>;
    /// As `attention`, each row over its prompt rows and its path. shapes: y `[R, h]`, qkv
    /// `[R, 3h]`, prompt `[P, 2h]`, tail `[C, 2h]`.
    #[allow(clippy::too_many_arguments)]
    fn cache_attention(
        &self,
        y: ViewMut,
        qkv: View,
        prompt: View,
        tail: View,
        rows: CacheRows,
        heads: usize,
        layout: Qkv,
        scale: f32,
    ) -> Result<()>;

    // --- activation
    // ---------------------------------------------------------------------------------------------

    /// y = gelu(x).
    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()>;
    /// dx = dy·gelu'(x) (set). dx may not alias x; dx and dy are distinct views.
    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()>;
    /// y = alpha·x + beta·y.
    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()>;
    /// y (set or add) = x·mask/(1 - rate). Its own backward.
    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()>;
    /// y = x in y's float dtype, rounded to nearest even.
    fn cast(&self, y: ViewMut, x: View) -> Result<()>;

    // --- loss
    // ---------------------------------------------------------------------------------------------------

    /// loss\[t\] = log Σ exp(logits\[t\]) - logits\[t, targets\[t\]\]; logits become
    /// weights\[t\]·(softmax - one-hot). shapes: loss and weights `[T]` f32, logits `[T, V]`,
    /// targets `[T]` u32.
    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()>;
    /// y\[j\] = log_softmax(logits\[r\])\[ids\[j\]\] for j in `first[r]..first[r + 1]`. shapes: y
    /// `[N]` f32, logits `[R, V]`, first `[R + 1]`, ids `[N]`.
    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()>;

    // --- select
    // -------------------------------------------------------------------------------------------------

    /// The k largest of each row, descending, ties by smaller column. shapes: values `[R, k]` f32,
    /// columns `[R, k]` u32, x `[R, n]`, n ≥ k.
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()>;

    // --- optim
    // --------------------------------------------------------------------------------------------------

    /// One AdamW step of a flat range, all `[n]` f32: parameter and both moments in place.
    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()>;
    /// y\[0\] = Σ x², partial sums of fixed chunks added in order. shapes: y `[1]` f32, x `[n]`
    /// f32.
    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()>;
}
