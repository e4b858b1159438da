//! The ops as callers see them: every argument's shape, dtype and residence is checked here, once, with one wording. A
//! mismatch is our fault, never a user's, but it comes back as an error that names op and argument.

use super::*;

/// An argument of an op under check.
struct Check<'a> {
    device: &'a Device,
    op: &'static str,
}

impl Check<'_> {
    fn expect(&self, name: &str, x: View, shape: Shape, dtype: Option<Dtype>) -> Result<()> {
        let same = (x.rows(), x.cols()) == (shape.rows(), shape.cols());
        let fits = match dtype {
            Some(dtype) => x.dtype() == dtype,
            None => x.dtype().is_float(),
        };
        if same && fits && x.place() == self.device.id() {
            return Ok(());
        }
        let wanted = dtype.map_or("float", Dtype::name);
        let place = if x.place() == self.device.id() { "" } else { " on another device" };
        anyhow::bail!(
            "{}: {name}: expected {shape} {wanted}, got {} {}{place}",
            self.op,
            x.shape(),
            x.dtype()
        )
    }

    /// `[n]` or anything with as many elements in one row.
    fn vector(&self, name: &str, x: View, n: usize, dtype: Option<Dtype>) -> Result<()> {
        self.expect(name, x, Shape::vector(n), dtype)
    }

    fn require(&self, condition: bool, words: impl FnOnce() -> String) -> Result<()> {
        if condition {
            return Ok(());
        }
        anyhow::bail!("{}: {}", self.op, words())
    }
}

const F32: Option<Dtype> = Some(Dtype::F32);
const U32: Option<Dtype> = Some(Dtype::U32);

impl Device {
    fn check(&self, op: &'static str) -> Check<'_> {
        Check { device: self, op }
    }

    pub fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        self.check("copy").expect("x", x, y.shape(), Some(y.dtype()))?;
        self.0.copy(y, x)
    }

    pub fn zero(&self, y: ViewMut) -> Result<()> {
        self.0.zero(y)
    }

    pub fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let check = self.check("embed");
        check.require(!tables.is_empty(), || "expected a table, got none".into())?;
        for &(table, ids) in tables {
            check.expect("table", table, Shape::matrix(table.rows(), y.cols()), None)?;
            check.vector("ids", ids, y.rows(), U32)?;
        }
        self.0.embed(y, tables, write)
    }

    pub fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        let check = self.check("embed_backward");
        check.expect("dy", dy, Shape::matrix(dy.rows(), d_table.cols()), None)?;
        check.vector("ids", ids, dy.rows(), U32)?;
        self.0.embed_backward(d_table, dy, ids)
    }

    pub fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()> {
        let check = self.check("layernorm");
        check.expect("y", y.as_view(), x.shape(), Some(x.dtype()))?;
        check.expect("statistics", statistics.as_view(), Shape::matrix(x.rows(), 2), F32)?;
        check.vector("weight", weight, x.cols(), F32)?;
        check.vector("bias", bias, x.cols(), F32)?;
        self.0.layernorm(y, statistics, x, weight, bias, epsilon)
    }

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
        let check = self.check("layernorm_backward");
        check.expect("dx", dx.as_view(), x.shape(), Some(x.dtype()))?;
        check.expect("dy", dy, x.shape(), Some(x.dtype()))?;
        check.vector("weight", weight, x.cols(), F32)?;
        check.expect("statistics", statistics, Shape::matrix(x.rows(), 2), F32)?;
        if let Some((d_weight, d_bias)) = &parameters {
            check.vector("d_weight", d_weight.as_view(), x.cols(), F32)?;
            check.vector("d_bias", d_bias.as_view(), x.cols(), F32)?;
        }
        self.0.layernorm_backward(dx, parameters, dy, x, weight, statistics, write)
    }

    pub fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()> {
        let check = self.check("matmul");
        let (m, n) = (y.rows(), y.cols());
        let k = if form == Form::Tn { a.rows() } else { a.cols() };
        let a_shape = if form == Form::Tn { Shape::matrix(k, m) } else { Shape::matrix(m, k) };
        let b_shape = if form == Form::Nt { Shape::matrix(n, k) } else { Shape::matrix(k, n) };
        check.expect("a", a, a_shape, None)?;
        check.expect("b", b, b_shape, None)?;
        if let Some(bias) = epilogue.bias {
            check.vector("bias", bias, n, None)?;
        }
        if let Some(low_rank) = epilogue.low_rank {
            let r = low_rank.z.cols();
            check.require(form != Form::Tn, || "low_rank: expected form Nt or Nn, got Tn".into())?;
            check.expect("low_rank.z", low_rank.z, Shape::matrix(m, r), None)?;
            let factor = if form == Form::Nt { Shape::matrix(n, r) } else { Shape::matrix(r, n) };
            check.expect("low_rank.factor", low_rank.factor, factor, None)?;
        }
        if let Some((residual, _)) = epilogue.residual {
            check.expect("residual", residual, Shape::matrix(m, n), Some(y.dtype()))?;
        }
        if let Some(pre) = &epilogue.pre_activation {
            check.expect("pre_activation", pre.as_view(), Shape::matrix(m, n), Some(y.dtype()))?;
        }
        if m * n == 0 {
            return Ok(());
        }
        check.require(k > 0, || "expected an inner length, got 0".into())?;
        self.0.matmul(y, a, b, form, epilogue)
    }

    pub fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        self.check("sum_rows").vector("y", y.as_view(), x.cols(), F32)?;
        self.0.sum_rows(y, x)
    }

    pub fn rotate(&self, x: ViewMut, rotary: Rotary, heads: usize, layout: Qkv, turn: Turn) -> Result<()> {
        let check = self.check("rotate");
        check.require(x.cols().is_multiple_of(12 * heads), || {
            format!("x: expected 3·heads·d columns with d a multiple of 4, got {}", x.shape())
        })?;
        let quarter = x.cols() / (12 * heads);
        check.expect("cos", rotary.cos, Shape::matrix(rotary.cos.rows(), quarter), F32)?;
        check.expect("sin", rotary.sin, rotary.cos.shape(), F32)?;
        for positions in rotary.positions {
            check.vector("positions", positions, x.rows(), U32)?;
        }
        self.0.rotate(x, rotary, heads, layout, turn)
    }

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
        let check = self.check("attention");
        let rows = segments.rows();
        check.require(y.cols().is_multiple_of(heads), || format!("y: {} for {heads} heads", y.shape()))?;
        check.expect("y", y.as_view(), Shape::matrix(rows, y.cols()), Some(qkv.dtype()))?;
        check.expect("log_sum_exp", log_sum_exp.as_view(), Shape::matrix(rows, heads), F32)?;
        check.expect("qkv", qkv, Shape::matrix(rows, 3 * y.cols()), None)?;
        self.check_dropout(&check, dropout, rows)?;
        self.0.attention(y, log_sum_exp, qkv, segments, heads, layout, scale, dropout)
    }

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
        let check = self.check("attention_backward");
        let rows = segments.rows();
        check.expect("d_qkv", d_qkv.as_view(), qkv.shape(), Some(qkv.dtype()))?;
        check.expect("y", y, Shape::matrix(rows, qkv.cols() / 3), Some(qkv.dtype()))?;
        check.expect("dy", dy, y.shape(), Some(qkv.dtype()))?;
        check.expect("log_sum_exp", log_sum_exp, Shape::matrix(rows, heads), F32)?;
        self.check_dropout(&check, dropout, rows)?;
        self.0.attention_backward(d_qkv, dy, y, log_sum_exp, qkv, segments, heads, layout, scale, dropout)
    }

    fn check_dropout(&self, check: &Check, dropout: Option<Dropout>, rows: usize) -> Result<()> {
        let Some(dropout) = dropout else { return Ok(()) };
        check.require((0.0..1.0).contains(&dropout.rate), || format!("dropout: rate {}", dropout.rate))?;
        check.expect("dropout.rows", dropout.rows, Shape::matrix(rows, 3), U32)
    }

    pub fn cache_store(
        &self,
        cache: ViewMut,
        qkv: View,
        slots: View,
        heads: usize,
        layout: Qkv,
    ) -> Result<()> {
        let check = self.check("cache_store");
        check.expect(
            "cache",
            cache.as_view(),
            Shape::matrix(cache.rows(), qkv.cols() / 3 * 2),
            Some(qkv.dtype()),
        )?;
        check.vector("slots", slots, qkv.rows(), U32)?;
        self.0.cache_store(cache, qkv, slots, heads, layout)
    }

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
        let check = self.check("cache_attention");
        let (count, hidden) = (y.rows(), y.cols());
        check.expect("y", y.as_view(), Shape::matrix(count, hidden), Some(qkv.dtype()))?;
        check.expect("qkv", qkv, Shape::matrix(count, 3 * hidden), None)?;
        check.expect("prompt", prompt, Shape::matrix(prompt.rows(), 2 * hidden), Some(qkv.dtype()))?;
        check.expect("tail", tail, Shape::matrix(tail.rows(), 2 * hidden), Some(qkv.dtype()))?;
        check.expect("rows.prompt", rows.prompt, Shape::matrix(count, 2), U32)?;
        check.vector("rows.path_start", rows.path_start, count + 1, U32)?;
        self.0.cache_attention(y, qkv, prompt, tail, rows, heads, layout, scale)
    }

    pub fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        self.check("gelu").expect("y", y.as_view(), x.shape(), Some(x.dtype()))?;
        self.0.gelu(y, x, form)
    }

    pub fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        let check = self.check("gelu_backward");
        check.expect("dx", dx.as_view(), x.shape(), Some(x.dtype()))?;
        check.expect("dy", dy, x.shape(), Some(x.dtype()))?;
        self.0.gelu_backward(dx, dy, x, form)
    }

    pub fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        self.check("blend").expect("y", y.as_view(), x.shape(), Some(x.dtype()))?;
        self.0.blend(y, x, alpha, beta)
    }

    pub fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        let check = self.check("dropout");
        check.expect("y", y.as_view(), x.shape(), Some(x.dtype()))?;
        self.check_dropout(&check, Some(dropout), x.rows())?;
        self.0.dropout(y, x, dropout, write)
    }

    pub fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        self.check("cast").expect("x", x, y.shape(), None)?;
        self.0.cast(y, x)
    }

    pub fn cross_entropy(&self, loss: ViewMut, logits: ViewMut, targets: View, weights: View) -> Result<()> {
        let check = self.check("cross_entropy");
        check.vector("loss", loss.as_view(), logits.rows(), F32)?;
        check.vector("targets", targets, logits.rows(), U32)?;
        check.vector("weights", weights, logits.rows(), F32)?;
        self.0.cross_entropy(loss, logits, targets, weights)
    }

    pub fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let check = self.check("log_probs_at");
        check.vector("first", first, logits.rows() + 1, U32)?;
        check.vector("ids", ids, y.cols(), U32)?;
        check.vector("y", y.as_view(), ids.cols(), F32)?;
        self.0.log_probs_at(y, logits, first, ids)
    }

    pub fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let check = self.check("top_k");
        let k = values.cols();
        check.require(k > 0 && k <= x.cols(), || {
            format!("values: expected 1 to {} columns, got {k}", x.cols())
        })?;
        check.expect("values", values.as_view(), Shape::matrix(x.rows(), k), F32)?;
        check.expect("columns", columns.as_view(), Shape::matrix(x.rows(), k), U32)?;
        self.0.top_k(values, columns, x)
    }

    pub fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()> {
        let check = self.check("adamw");
        let n = parameter.shape().count();
        for (name, x) in
            [("moment1", moment1.as_view()), ("moment2", moment2.as_view()), ("gradient", gradient)]
        {
            check.vector(name, x, n, F32)?;
        }
        self.0.adamw(parameter, moment1, moment2, gradient, numbers)
    }

    pub fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        self.check("sum_squares").vector("y", y.as_view(), 1, F32)?;
        self.0.sum_squares(y, x)
    }
}
