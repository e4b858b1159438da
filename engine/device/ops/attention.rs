//! Rotary positions, attention over segments, attention over a cache.

use super::*;
use crate::device::Tensor;
use std::sync::{Arc, Mutex};

/// Where query, key and value of a head stand in a row of 3h (docs/models.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qkv {
    /// Three thirds, each with the heads one after another (GLM).
    Thirds,
    /// For each head its query, key and value (ChatGLM).
    PerHead,
}

/// How a row of 3h is divided into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many; a head has h/count columns.
    pub count: usize,
    /// Where query, key and value of a head stand.
    pub layout: Qkv,
}

/// The whole attention mask: rows `start[s]..start[s+1]` are sequence s, its first `context[s]`
/// rows are seen by all rows of s, the rest is causal.
///
/// Made by [`Device::segments`] alone and never changed: that starts ascend is what keeps the rows
/// apart that different threads write.
pub struct Segments {
    /// `[S + 1]`
    pub(in crate::device) start: Vec<u32>,
    /// `[S]`
    pub(in crate::device) context: Vec<u32>,
    /// What a backend made of the mask for its kernels.
    pub(in crate::device) prepared: Prepared,
}

/// Indices that a backend made for its kernels of what the host knows, under names of its own:
/// once for all layers of a pass, and not at all where nobody reads them.
pub struct Prepared {
    device: Device,
    made: Mutex<Vec<(Name, Arc<Tensor>)>>,
}

/// What blocks own, and how many rows of it.
type Name = (&'static str, usize);

impl Prepared {
    fn on(device: &Device) -> Prepared {
        Prepared { device: device.clone(), made: Mutex::default() }
    }

    /// The u32s that `make` gives, on the device.
    pub(in crate::device) fn get(
        &self,
        name: Name,
        make: impl FnOnce() -> Vec<u32>,
    ) -> Result<Arc<Tensor>> {
        let mut made = self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, tensor)) = made.iter().find(|(other, _)| *other == name) {
            return Ok(tensor.clone());
        }
        let tensor = Arc::new(self.device.upload_u32(&make())?);
        made.push((name, tensor.clone()));
        Ok(tensor)
    }
}

impl Segments {
    /// S.
    pub fn sequences(&self) -> usize {
        self.context.len()
    }

    /// Rows of all sequences.
    pub fn rows(&self) -> usize {
        self.start.last().map_or(0, |&r| r as usize)
    }
}

/// Rotary tables for two position ids: the first half of a head's dims turns with positions row 0,
/// the second with row 1.
#[derive(Clone, Copy)]
pub struct Rotary<'a> {
    /// `[P, d/4]` f32: cosines of position × frequency, in radians; d is the columns of a head.
    pub cos: View<'a>,
    /// `[P, d/4]` f32: its sines.
    pub sin: View<'a>,
    /// `[R]` u32 each, below P.
    pub positions: [View<'a>; 2],
}

/// Which way [`Attention::rotate`] turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By the angle.
    Forward,
    /// Back again: the gradient of the former.
    Backward,
}

/// Attention of sequences over themselves: what forward and backward are told alike.
#[derive(Clone, Copy)]
pub struct Attend<'a> {
    /// `[R, 3h]`, already turned.
    pub qkv: View<'a>,
    /// The mask.
    pub segments: &'a Segments,
    /// How a row of qkv is divided.
    pub heads: Heads,
    /// Factor of q·kᵀ.
    pub scale: f32,
    /// Of probabilities; key j of a head is column j of the head's counters.
    pub dropout: Option<Dropout<'a>>,
}

/// Rows that attend to a cache: each sees its request's shared prompt, then the tail slots of its
/// own path, in order. Made by [`Device::cache_rows`] alone, once for all layers of a pass.
pub struct CacheRows {
    /// `[R]`: first and one past the last prompt row seen.
    pub(in crate::device) prompts: Vec<[u32; 2]>,
    /// `[2R + R + 1 + P]` u32 on the device: `prompts`, `path_start`, `path`.
    words: Tensor,
    /// What a backend made of the rows for its kernels.
    pub(in crate::device) prepared: Prepared,
}

impl CacheRows {
    /// R.
    pub fn count(&self) -> usize {
        self.prompts.len()
    }

    /// Rows of the longest prompt that one of them sees.
    pub fn longest(&self) -> usize {
        self.prompts.iter().map(|ends| ends[1] - ends[0]).max().unwrap_or(0) as usize
    }

    /// `[R, 2]` u32: first and one past the last prompt row seen.
    pub(in crate::device) fn prompt(&self) -> View<'_> {
        self.words.view().part(0, Shape::matrix(self.count(), 2))
    }

    /// `[R + 1]` u32: row r's path is `path[path_start[r]..path_start[r + 1]]`.
    pub(in crate::device) fn path_start(&self) -> View<'_> {
        self.words.view().part(2 * self.count(), Shape::vector(self.count() + 1))
    }

    /// `[P]` u32, P the length of all paths together: slots of the tail.
    pub(in crate::device) fn path(&self) -> View<'_> {
        let before = 3 * self.count() + 1;
        let length = self.words.shape().count() - before;
        self.words.view().part(before, Shape::vector(length))
    }
}

/// Attention of rows over a cache.
#[derive(Clone, Copy)]
pub struct AttendCache<'a> {
    /// `[R, 3h]`, already turned; of these the queries are read, keys and values are in the cache.
    pub qkv: View<'a>,
    /// `[P, 2h]`: keys of all heads, then values of all heads.
    pub prompt: View<'a>,
    /// `[C, 2h]`, the same of produced tokens.
    pub tail: View<'a>,
    /// What each row sees of both.
    pub rows: &'a CacheRows,
    /// How a row of qkv is divided.
    pub heads: Heads,
    /// Factor of q·kᵀ.
    pub scale: f32,
}

/// What a backend does with queries, keys and values.
pub trait Attention {
    /// Turns query and key parts of x in place, each half of a head by its own positions: with D
    /// the columns of a half, out\[j\] = x\[j\]·cos - x\[j + D/2\]·sin and out\[j + D/2\] =
    /// x\[j + D/2\]·cos + x\[j\]·sin; [`Turn::Backward`] turns by -sin.
    ///
    /// shapes: x `[R, 3h]`, `rotary` as [`Rotary`] says; a head has a multiple of 4 columns.
    /// source: Su et al. 2021, equation 34, twice (docs/models.md).
    fn rotate(&self, x: ViewMut, rotary: Rotary, heads: Heads, turn: Turn) -> Result<()>;

    /// y = dropout(softmax(scale·q·kᵀ + mask))·v per head; log_sum_exp of the scaled, masked scores
    /// in nats.
    ///
    /// shapes: y `[R, h]` of qkv's dtype, log_sum_exp `[R, heads]` f32.
    /// source: Vaswani et al. 2017, equation 1; the mask is that of Du et al. 2022, figure 2.
    fn attention(&self, y: ViewMut, log_sum_exp: ViewMut, attend: Attend) -> Result<()>;

    /// d_qkv (set) of what `attention` made of the same `attend`; probabilities are made again from
    /// log_sum_exp. With p the probabilities, m dropout's factors and D = Σ dy·y of a row:
    /// dv = (p∘m)ᵀ·dy, ds = scale·p∘(m∘(dy·vᵀ) - D), dq = ds·k, dk = dsᵀ·q.
    ///
    /// shapes: d_qkv `[R, 3h]`, dy and y `[R, h]`, all of qkv's dtype; log_sum_exp `[R, heads]`
    /// f32.
    /// source: Dao et al. 2022, appendix B.2.
    fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        attend: Attend,
    ) -> Result<()>;

    /// cache\[slots\[r\]\] = (keys of all heads, values of all heads) of qkv\[r\]; of a slot named
    /// twice the later row stays.
    ///
    /// shapes: cache `[C, 2h]` of qkv's dtype, qkv `[R, 3h]`, slots `[R]` u32 below C.
    fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: Heads) -> Result<()>;

    /// As `attention`, each row over its prompt rows and then its path, without dropout.
    ///
    /// shapes: y `[R, h]` of qkv's dtype, the rest as [`AttendCache`] and [`CacheRows`] say.
    fn cache_attention(&self, y: ViewMut, attend: AttendCache) -> Result<()>;
}

impl Device {
    /// The mask of sequences one after another: `start` counts rows from 0 on, the first
    /// `context[s]` rows of sequence s are seen by all of it. Refuses starts that descend and
    /// contexts longer than their sequence.
    pub fn segments(&self, start: Vec<u32>, context: Vec<u32>) -> Result<Segments> {
        ensure!(
            start.len() == context.len() + 1 && start[0] == 0,
            "segments: expected 0 and the ends of {} sequences, got {} starts",
            context.len(),
            start.len()
        );
        for (s, (ends, &context)) in start.windows(2).zip(&context).enumerate() {
            ensure!(
                ends[0] <= ends[1] && context <= ends[1] - ends[0],
                "segments: sequence {s}: expected a context inside rows {}..{}, got {context} rows",
                ends[0],
                ends[1]
            );
        }
        Ok(Segments { start, context, prepared: Prepared::on(self) })
    }

    /// Rows that attend to a cache: `prompts[r]` are the first prompt row that row r sees and one
    /// past the last, `path[path_start[r]..path_start[r + 1]]` its slots of the tail, the oldest
    /// first, its own last. Refuses prompts that end before they begin, and starts that do not
    /// ascend from 0 to the length of `path`.
    pub fn cache_rows(
        &self,
        prompts: Vec<[u32; 2]>,
        path_start: &[u32],
        path: &[u32],
    ) -> Result<CacheRows> {
        for (r, ends) in prompts.iter().enumerate() {
            ensure!(
                ends[0] <= ends[1],
                "cache_rows: prompts: {r}: expected a first row and one past the last, got {ends:?}"
            );
        }
        let ends = (path_start.first(), path_start.last());
        ensure!(
            path_start.len() == prompts.len() + 1
                && ends == (Some(&0), Some(&(path.len() as u32)))
                && path_start.is_sorted(),
            "cache_rows: path_start: expected {} starts ascending from 0 to {}, got {path_start:?}",
            prompts.len() + 1,
            path.len()
        );
        let words = self.upload_u32(&[prompts.as_flattened(), path_start, path].concat())?;
        Ok(CacheRows { prompts, words, prepared: Prepared::on(self) })
    }

    /// [`Attention::rotate`], checked.
    pub fn rotate(&self, x: ViewMut, rotary: Rotary, heads: Heads, turn: Turn) -> Result<()> {
        let (op, rows) = ("rotate", x.rows());
        let head = self.expect_qkv(op, "x", x.as_view(), heads)? / heads.count;
        ensure!(
            head.is_multiple_of(4),
            "{op}: heads: expected a head of a multiple of 4 columns, got {head}"
        );
        self.expect(op, "cos", rotary.cos, rotary.cos.rows(), head / 4, F32)?;
        self.expect(op, "sin", rotary.sin, rotary.cos.rows(), head / 4, F32)?;
        for positions in rotary.positions {
            self.expect_count(op, "positions", positions, rows, U32)?;
        }
        match rows {
            0 => Ok(()),
            _ => self.0.rotate(x, rotary, heads, turn),
        }
    }

    /// [`Attention::attention`], checked.
    pub fn attention(&self, y: ViewMut, log_sum_exp: ViewMut, attend: Attend) -> Result<()> {
        let Attend { qkv, segments, heads, dropout, .. } = attend;
        let (op, rows) = ("attention", qkv.rows());
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        self.expect(op, "y", y.as_view(), rows, width, Exactly(qkv.dtype()))?;
        self.expect(op, "log_sum_exp", log_sum_exp.as_view(), rows, heads.count, F32)?;
        self.expect_segments(op, segments, rows)?;
        self.expect_dropout(op, dropout, rows)?;
        match rows {
            0 => Ok(()),
            _ => self.0.attention(y, log_sum_exp, attend),
        }
    }

    /// [`Attention::attention_backward`], checked.
    pub fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        attend: Attend,
    ) -> Result<()> {
        let Attend { qkv, segments, heads, dropout, .. } = attend;
        let (op, rows) = ("attention_backward", qkv.rows());
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        let dtype = Exactly(qkv.dtype());
        self.expect(op, "d_qkv", d_qkv.as_view(), rows, 3 * width, dtype)?;
        self.expect(op, "dy", dy, rows, width, dtype)?;
        self.expect(op, "y", y, rows, width, dtype)?;
        self.expect(op, "log_sum_exp", log_sum_exp, rows, heads.count, F32)?;
        self.expect_segments(op, segments, rows)?;
        self.expect_dropout(op, dropout, rows)?;
        match rows {
            0 => Ok(()),
            _ => self.0.attention_backward(d_qkv, dy, y, log_sum_exp, attend),
        }
    }

    /// [`Attention::cache_store`], checked.
    pub fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: Heads) -> Result<()> {
        let op = "cache_store";
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        self.expect(op, "cache", cache.as_view(), cache.rows(), 2 * width, Exactly(qkv.dtype()))?;
        self.expect_count(op, "slots", slots, qkv.rows(), U32)?;
        match qkv.rows() {
            0 => Ok(()),
            _ => self.0.cache_store(cache, qkv, slots, heads),
        }
    }

    /// [`Attention::cache_attention`], checked.
    pub fn cache_attention(&self, y: ViewMut, attend: AttendCache) -> Result<()> {
        let op = "cache_attention";
        let AttendCache { qkv, prompt, tail, rows, heads, .. } = attend;
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        let dtype = Exactly(qkv.dtype());
        self.expect(op, "y", y.as_view(), qkv.rows(), width, dtype)?;
        self.expect(op, "prompt", prompt, prompt.rows(), 2 * width, dtype)?;
        self.expect(op, "tail", tail, tail.rows(), 2 * width, dtype)?;
        self.expect_count(op, "rows", rows.prompt(), qkv.rows().saturating_mul(2), U32)?;
        match qkv.rows() {
            0 => Ok(()),
            _ => self.0.cache_attention(y, attend),
        }
    }

    /// `name` is `[R, 3h]`; returns h, which the heads divide.
    fn expect_qkv(&self, op: &str, name: &str, qkv: View, heads: Heads) -> Result<usize> {
        let cols = qkv.cols();
        let heads = heads.count;
        ensure!(
            heads > 0 && cols > 0 && cols.is_multiple_of(heads.saturating_mul(3)),
            "{op}: {name}: expected query, key and value of {heads} heads, got {cols} columns"
        );
        self.expect(op, name, qkv, qkv.rows(), cols, Float)?;
        Ok(cols / 3)
    }

    /// `segments` name `rows` rows, and lie on this device.
    fn expect_segments(&self, op: &str, segments: &Segments, rows: usize) -> Result<()> {
        ensure!(
            segments.rows() == rows,
            "{op}: segments: expected {rows} rows, got {}",
            segments.rows()
        );
        ensure!(
            segments.prepared.device.id() == self.id(),
            "{op}: segments: expected those of {}, got those of another device",
            self.name()
        );
        Ok(())
    }
}
