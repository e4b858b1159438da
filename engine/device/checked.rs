//! The ops at the door: every argument's shape, dtype and residence is checked here, once, for all
//! devices.

use super::*;
use crate::base::{Dtype, Shape};
use anyhow::{bail, ensure, Result};

/// Which dtypes an argument may have.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Exactly(Dtype),
}
use Kind::{Exactly, Float};
const F32: Kind = Exactly(Dtype::F32);
const U32: Kind = Exactly(Dtype::U32);

impl Device {
    pub(super) fn resident(&self, op: &str, name: &str, x: View) -> Result<()> {
        ensure!(
            x.place() == self.id(),
            "{op}: {name}: expected a tensor of {}, got one of another device",
            self.name()
        );
        Ok(())
    }

    /// `name` is `[rows, cols]` of `kind` on this device; a vector counts as one row.
    fn expect(
        &self,
        op: &str,
        name: &str,
        x: View,
        rows: usize,
        cols: usize,
        kind: Kind,
    ) -> Result<()> {
        self.resident(op, name, x)?;
        let dtype = match kind {
            Float => x.dtype().is_float(),
            Exactly(dtype) => x.dtype() == dtype,
        };
        if dtype && (x.rows(), x.cols()) == (rows, cols) {
            return Ok(());
        }
        let kind = match kind {
            Float => "of floats".to_owned(),
            Exactly(dtype) => dtype.to_string(),
        };
        bail!(
            "{op}: {name}: expected {} {kind}, got {} {}",
            Shape::matrix(rows, cols),
            x.shape(),
            x.dtype()
        )
    }

    /// `name` holds `n` elements of `kind` on this device, in whatever shape.
    fn expect_count(&self, op: &str, name: &str, x: View, n: usize, kind: Kind) -> Result<()> {
        match x.shape().count() == n {
            true => self.expect(op, name, x, x.rows(), x.cols(), kind),
            false => self.expect(op, name, x, 1, n, kind),
        }
    }

    /// y = x, same dtype and shape.
    pub fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect("copy", "y", y.as_view(), x.rows(), x.cols(), Exactly(x.dtype()))?;
        self.resident("copy", "x", x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.copy(y, x),
        }
    }

    /// All bytes of y become zero.
    pub fn zero(&self, y: ViewMut) -> Result<()> {
        self.resident("zero", "y", y.as_view())?;
        match y.shape().count() {
            0 => Ok(()),
            _ => self.0.zero(y),
        }
    }

    /// See [`Backend::embed`]. y and each table have float dtypes of their own.
    pub fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let (rows, cols) = (y.rows(), y.cols());
        self.expect("embed", "y", y.as_view(), rows, cols, Float)?;
        ensure!(
            (1..=3).contains(&tables.len()),
            "embed: tables: expected 1 to 3, got {}",
            tables.len()
        );
        for &(table, ids) in tables {
            self.expect("embed", "table", table, table.rows(), cols, Float)?;
            self.expect_count("embed", "ids", ids, rows, U32)?;
        }
        match rows * cols {
            0 => Ok(()),
            _ => self.0.embed(y, tables, write),
        }
    }

    /// See [`Backend::embed_backward`]. d_table is f32.
    pub fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        self.expect(
            "embed_backward",
            "d_table",
            d_table.as_view(),
            d_table.rows(),
            dy.cols(),
            F32,
        )?;
        self.expect("embed_backward", "dy", dy, dy.rows(), dy.cols(), Float)?;
        self.expect_count("embed_backward", "ids", ids, dy.rows(), U32)?;
        match dy.shape().count() {
            0 => Ok(()),
            _ => self.0.embed_backward(d_table, dy, ids),
        }
    }

    /// See [`Backend::layernorm`]. y has x's dtype; weight and bias have float dtypes of their own.
    pub fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()> {
        let (op, rows, cols) = ("layernorm", x.rows(), x.cols());
        self.expect(op, "x", x, rows, cols, Float)?;
        self.expect(op, "y", y.as_view(), rows, cols, Exactly(x.dtype()))?;
        self.expect(op, "statistics", statistics.as_view(), rows, 2, F32)?;
        self.expect_count(op, "weight", weight, cols, Float)?;
        self.expect_count(op, "bias", bias, cols, Float)?;
        match rows * cols {
            0 => Ok(()),
            _ => self.0.layernorm(y, statistics, x, weight, bias, epsilon),
        }
    }

    /// See [`Backend::layernorm_backward`]. dx and dy have x's dtype; weight has a float dtype of
    /// its own.
    #[allow(clippy::too_many_arguments)]
    pub fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        x: View,
        weight: View,
        statistics: View,
        write: Write,
    ) -> Result<()> {
        let (op, rows, cols) = ("layernorm_backward", x.rows(), x.cols());
        self.expect(op, "x", x, rows, cols, Float)?;
        self.expect(op, "dx", dx.as_view(), rows, cols, Exactly(x.dtype()))?;
        self.expect(op, "dy", dy, rows, cols, Exactly(x.dtype()))?;
        self.expect_count(op, "weight", weight, cols, Float)?;
        self.expect(op, "statistics", statistics, rows, 2, F32)?;
        if let Some((d_weight, d_bias)) = &parameters {
            self.expect_count(op, "d_weight", d_weight.as_view(), cols, F32)?;
            self.expect_count(op, "d_bias", d_bias.as_view(), cols, F32)?;
        }
        match rows * cols {
            0 => Ok(()),
            _ => self.0.layernorm_backward(dx, parameters, dy, x, weight, statistics, write),
        }
    }

    /// See [`Backend::matmul`]. Every operand has a float dtype of its own; sums are f32.
    pub fn matmul(
        &self,
        y: ViewMut,
        a: View,
        b: View,
        form: Form,
        epilogue: Epilogue,
    ) -> Result<()> {
        let (op, m, n) = ("matmul", y.rows(), y.cols());
        let k = match form {
            Form::Nt | Form::Nn => a.cols(),
            Form::Tn => a.rows(),
        };
        self.expect(op, "y", y.as_view(), m, n, Float)?;
        match form {
            Form::Tn => self.expect(op, "a", a, k, m, Float)?,
            _ => self.expect(op, "a", a, m, k, Float)?,
        }
        match form {
            Form::Nt => self.expect(op, "b", b, n, k, Float)?,
            _ => self.expect(op, "b", b, k, n, Float)?,
        }
        if let Some(bias) = epilogue.bias {
            self.expect_count(op, "bias", bias, n, Float)?;
        }
        if let Some(pre_activation) = &epilogue.pre_activation {
            self.expect(op, "pre_activation", pre_activation.as_view(), m, n, Float)?;
        }
        if let Some((residual, _)) = epilogue.residual {
            self.expect(op, "residual", residual, m, n, Float)?;
        }
        if let Some(LowRank { z, factor, .. }) = epilogue.low_rank {
            let rank = z.cols();
            self.expect(op, "low_rank.z", z, m, rank, Float)?;
            match form {
                Form::Nt => self.expect(op, "low_rank.factor", factor, n, rank, Float)?,
                _ => self.expect(op, "low_rank.factor", factor, rank, n, Float)?,
            }
        }
        match m * n {
            0 => Ok(()),
            _ => self.0.matmul(y, a, b, form, epilogue),
        }
    }

    /// See [`Backend::sum_rows`]. y is f32.
    pub fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect_count("sum_rows", "y", y.as_view(), x.cols(), F32)?;
        self.expect("sum_rows", "x", x, x.rows(), x.cols(), Float)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.sum_rows(y, x),
        }
    }

    /// See [`Backend::rotate`].
    pub fn rotate(
        &self,
        x: ViewMut,
        rotary: Rotary,
        heads: usize,
        layout: Qkv,
        turn: Turn,
    ) -> Result<()> {
        let (op, rows) = ("rotate", x.rows());
        let head = self.expect_qkv(op, "x", x.as_view(), heads)? / heads;
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
            _ => self.0.rotate(x, rotary, heads, layout, turn),
        }
    }

    /// See [`Backend::attention`]. y has qkv's dtype.
    #[allow(clippy::too_many_arguments)]
    pub fn attention(
        &self,
        y: ViewMut,
        log_sum_exp: ViewMut,
        qkv: View,
        segments: &Segments,
        heads: usize,
        layout: Qkv,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> Result<()> {
        let (op, rows) = ("attention", qkv.rows());
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        self.expect(op, "y", y.as_view(), rows, width, Exactly(qkv.dtype()))?;
        self.expect(op, "log_sum_exp", log_sum_exp.as_view(), rows, heads, F32)?;
        self.expect_segments(op, segments, rows)?;
        self.expect_dropout(op, dropout, rows)?;
        match rows {
            0 => Ok(()),
            _ => self.0.attention(y, log_sum_exp, qkv, segments, heads, layout, scale, dropout),
        }
    }

    /// See [`Backend::attention_backward`]. d_qkv, dy and y have qkv's dtype.
    #[allow(clippy::too_many_arguments)]
    pub fn attention_backward(
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
    ) -> Result<()> {
        let (op, rows) = ("attention_backward", qkv.rows());
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        let dtype = Exactly(qkv.dtype());
        self.expect(op, "d_qkv", d_qkv.as_view(), rows, 3 * width, dtype)?;
        self.expect(op, "dy", dy, rows, width, dtype)?;
        self.expect(op, "y", y, rows, width, dtype)?;
        self.expect(op, "log_sum_exp", log_sum_exp, rows, heads, F32)?;
        self.expect_segments(op, segments, rows)?;
        self.expect_dropout(op, dropout, rows)?;
        match rows {
            0 => Ok(()),
            _ => self.0.attention_backward(
                d_qkv,
                dy,
                y,
                log_sum_exp,
                qkv,
                segments,
                heads,
                layout,
                scale,
                dropout,
            ),
        }
    }

    /// See [`Backend::cache_store`]. The cache has qkv's dtype.
    pub fn cache_store(
        &self,
        cache: ViewMut,
        qkv: View,
        slots: View,
        heads: usize,
        layout: Qkv,
    ) -> Result<()> {
        let op = "cache_store";
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        self.expect(op, "cache", cache.as_view(), cache.rows(), 2 * width, Exactly(qkv.dtype()))?;
        self.expect_count(op, "slots", slots, qkv.rows(), U32)?;
        match qkv.rows() {
            0 => Ok(()),
            _ => self.0.cache_store(cache, qkv, slots, heads, layout),
        }
    }

    /// See [`Backend::cache_attention`]. y, prompt and tail have qkv's dtype.
    #[allow(clippy::too_many_arguments)]
    pub fn cache_attention(
        &self,
        y: ViewMut,
        qkv: View,
        prompt: View,
        tail: View,
        rows: CacheRows,
        heads: usize,
        layout: Qkv,
        scale: f32,
    ) -> Result<()> {
        let op = "cache_attention";
        let width = self.expect_qkv(op, "qkv", qkv, heads)?;
        let dtype = Exactly(qkv.dtype());
        self.expect(op, "y", y.as_view(), qkv.rows(), width, dtype)?;
        self.expect(op, "prompt", prompt, prompt.rows(), 2 * width, dtype)?;
        self.expect(op, "tail", tail, tail.rows(), 2 * width, dtype)?;
        self.expect_count(op, "rows.prompt", rows.prompt, 2 * qkv.rows(), U32)?;
        self.expect_count(op, "rows.path_start", rows.path_start, qkv.rows() + 1, U32)?;
        self.expect_count(op, "rows.path", rows.path, rows.path.shape().count(), U32)?;
        match qkv.rows() {
            0 => Ok(()),
            _ => self.0.cache_attention(y, qkv, prompt, tail, rows, heads, layout, scale),
        }
    }

    /// See [`Backend::gelu`]. y has x's dtype.
    pub fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        self.expect_like("gelu", "y", y.as_view(), x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.gelu(y, x, form),
        }
    }

    /// See [`Backend::gelu_backward`]. dx and dy have x's dtype.
    pub fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        self.expect_like("gelu_backward", "dx", dx.as_view(), x)?;
        self.expect_like("gelu_backward", "dy", dy, x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.gelu_backward(dx, dy, x, form),
        }
    }

    /// See [`Backend::blend`]. y has x's dtype.
    pub fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        self.expect_like("blend", "y", y.as_view(), x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.blend(y, x, alpha, beta),
        }
    }

    /// See [`Backend::dropout`]. y has x's dtype.
    pub fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        self.expect_like("dropout", "y", y.as_view(), x)?;
        self.expect_dropout("dropout", Some(dropout), x.rows())?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.dropout(y, x, dropout, write),
        }
    }

    /// See [`Backend::cast`].
    pub fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect("cast", "x", x, x.rows(), x.cols(), Float)?;
        self.expect("cast", "y", y.as_view(), x.rows(), x.cols(), Float)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.cast(y, x),
        }
    }

    /// See [`Backend::cross_entropy`].
    pub fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        let (op, rows, cols) = ("cross_entropy", logits.rows(), logits.cols());
        self.expect(op, "logits", logits.as_view(), rows, cols, Float)?;
        self.expect_count(op, "loss", loss.as_view(), rows, F32)?;
        self.expect_count(op, "targets", targets, rows, U32)?;
        self.expect_count(op, "weights", weights, rows, F32)?;
        ensure!(rows == 0 || cols > 0, "{op}: logits: expected columns, got {}", logits.shape());
        match rows {
            0 => Ok(()),
            _ => self.0.cross_entropy(loss, logits, targets, weights),
        }
    }

    /// See [`Backend::log_probs_at`].
    pub fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let (op, count) = ("log_probs_at", ids.shape().count());
        self.expect(op, "logits", logits, logits.rows(), logits.cols(), Float)?;
        self.expect_count(op, "y", y.as_view(), count, F32)?;
        self.expect_count(op, "first", first, logits.rows() + 1, U32)?;
        self.expect_count(op, "ids", ids, count, U32)?;
        match count {
            0 => Ok(()),
            _ => self.0.log_probs_at(y, logits, first, ids),
        }
    }

    /// See [`Backend::top_k`].
    pub fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let (op, k) = ("top_k", values.cols());
        self.expect(op, "x", x, x.rows(), x.cols(), Float)?;
        ensure!(k <= x.cols(), "{op}: values: expected at most {} columns, got {k}", x.cols());
        self.expect(op, "values", values.as_view(), x.rows(), k, F32)?;
        self.expect(op, "columns", columns.as_view(), x.rows(), k, U32)?;
        match x.rows() * k {
            0 => Ok(()),
            _ => self.0.top_k(values, columns, x),
        }
    }

    /// See [`Backend::adamw`].
    pub fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        let (op, n) = ("adamw", parameter.shape().count());
        self.expect_count(op, "parameter", parameter.as_view(), n, F32)?;
        self.expect_count(op, "moment1", moment1.as_view(), n, F32)?;
        self.expect_count(op, "moment2", moment2.as_view(), n, F32)?;
        self.expect_count(op, "gradient", gradient, n, F32)?;
        ensure!(numbers.step > 0, "{op}: step: expected a count from 1 on, got 0");
        match n {
            0 => Ok(()),
            _ => self.0.adamw(parameter, moment1, moment2, gradient, numbers),
        }
    }

    /// See [`Backend::sum_squares`].
    pub fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect_count("sum_squares", "y", y.as_view(), 1, F32)?;
        self.expect_count("sum_squares", "x", x, x.shape().count(), F32)?;
        match x.shape().count() {
            0 => self.0.zero(y),
            _ => self.0.sum_squares(y, x),
        }
    }

    /// `name` has the shape and float dtype of x.
    fn expect_like(&self, op: &str, name: &str, y: View, x: View) -> Result<()> {
        self.expect(op, "x", x, x.rows(), x.cols(), Float)?;
        self.expect(op, name, y, x.rows(), x.cols(), Exactly(x.dtype()))
    }

    /// `name` is `[R, 3h]`; returns h, which `heads` divides.
    fn expect_qkv(&self, op: &str, name: &str, qkv: View, heads: usize) -> Result<usize> {
        let cols = qkv.cols();
        ensure!(
            heads > 0 && cols.is_multiple_of(3 * heads),
            "{op}: {name}: expected query, key and value of {heads} heads, got {cols} columns"
        );
        self.expect(op, name, qkv, qkv.rows(), cols, Float)?;
        Ok(cols / 3)
    }

    fn expect_segments(&self, op: &str, segments: &Segments, rows: usize) -> Result<()> {
        ensure!(
            segments.rows() == rows,
            "{op}: segments: expected {rows} rows, got {}",
            segments.rows()
        );
        self.resident(op, "segments", segments.start_on_device.view())?;
        self.resident(op, "segments", segments.context_on_device.view())
    }

    fn expect_dropout(&self, op: &str, dropout: Option<Dropout>, rows: usize) -> Result<()> {
        let Some(dropout) = dropout else { return Ok(()) };
        ensure!(
            (0.0..1.0).contains(&dropout.rate),
            "{op}: rate: expected 0 to below 1, got {}",
            dropout.rate
        );
        self.expect(op, "dropout.rows", dropout.rows, rows, 3, U32)
    }
}
