//! Matrix products with what follows them, and sums of rows.

use super::*;

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

/// A low-rank tail of a product: adds scale · z · factorᵀ (`Nt`, factor `[n, r]`) or scale · z ·
/// factor (`Nn`, factor `[r, n]`).
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// `[m, r]`
    pub z: View<'a>,
    /// `[n, r]` (`Nt`) or `[r, n]` (`Nn`)
    pub factor: View<'a>,
    /// Factor of the tail.
    pub scale: f32,
}

/// An adapter of a linear layer, x·Wᵀ + scale·(x·Aᵀ)·Bᵀ.
#[derive(Clone, Copy)]
pub struct LowRankFactors<'a> {
    /// `[r, k]`
    pub a: View<'a>,
    /// `[n, r]`
    pub b: View<'a>,
    /// Factor of the tail.
    pub scale: f32,
}

/// What a product does before it writes: y = residual_scale·residual + gelu(scale·a·b + low_rank +
/// bias), or y = gelu'(gelu_of)·(scale·a·b + low_rank + bias), then [`Write`]. Of the gradient of a
/// weight ([`Form::Tn`]) scale and write alone.
pub struct Epilogue<'a> {
    /// Factor of the product itself.
    pub scale: f32,
    /// `[n]`
    pub bias: Option<View<'a>>,
    /// After the bias and the tail; its argument is rounded to y's dtype, so that the op on what
    /// `pre_activation` received gives the same bits.
    pub gelu: Option<Gelu>,
    /// `[m, n]`, receives the argument of GELU, for a backward that does not recompute.
    pub pre_activation: Option<ViewMut<'a>>,
    /// `[m, n]`, where the product is the gradient of a GELU: its argument, whose slope there the
    /// sum is multiplied by. Then nothing is passed through GELU itself and nothing is residual.
    pub gelu_of: Option<(View<'a>, Gelu)>,
    /// The tail of an adapter.
    pub low_rank: Option<LowRank<'a>>,
    /// `[m, n]` and its factor; the input of the layer survives for its backward.
    pub residual: Option<(View<'a>, f32)>,
    /// What happens to what stood in y.
    pub write: Write,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue {
            scale: 1.0,
            bias: None,
            gelu: None,
            pre_activation: None,
            gelu_of: None,
            low_rank: None,
            residual: None,
            write: Write::Set,
        }
    }
}

/// What [`Matmul::low_rank_backward`] is asked for.
pub struct LowRankBackward<'a> {
    /// `[M, r]`
    pub dz: ViewMut<'a>,
    /// `[N, r]`
    pub d_b: ViewMut<'a>,
    /// `[M, N]`
    pub dy: View<'a>,
    /// `[N, r]`
    pub b: View<'a>,
    /// `[M, r]`
    pub z: View<'a>,
    /// Factor of both.
    pub scale: f32,
}

/// What a backend does with matrix products.
pub trait Matmul {
    /// y = epilogue(a·b, transposed as `form` says), see [`Epilogue`]; sums over k in f32, in one
    /// order whatever m and n are.
    ///
    /// shapes: y `[m, n]`, a and b as [`Form`] says, the epilogue's as [`Epilogue`] says; every
    /// operand has a float dtype of its own.
    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()>;

    /// y = epilogue(x·wᵀ + scale·z·bᵀ) with z = x·aᵀ as x's dtype holds it, which nobody wants; the
    /// bits of both products one after the other. Gives y and the epilogue back where the device
    /// has no shorter way for these than that.
    ///
    /// shapes: y `[m, n]`, x `[m, k]`, w `[n, k]`, factors as [`LowRankFactors`] says, the
    /// epilogue's as [`Epilogue`] says, without a tail; every operand has a float dtype of its own.
    fn adapted<'e>(
        &self,
        y: ViewMut<'e>,
        _x: View,
        _w: View,
        _factors: LowRankFactors,
        epilogue: Epilogue<'e>,
    ) -> Result<Option<(ViewMut<'e>, Epilogue<'e>)>> {
        Ok(Some((y, epilogue)))
    }

    /// What an adapter's linear makes of the gradient of its output: dz = scale·dy·B (set) and
    /// dB += scale·dyᵀ·z; sums in f32, those of a row of dz in one order whatever M is. Gives all
    /// of it back where the device has no shorter way than both products.
    ///
    /// shapes: dz `[M, r]` of dy's dtype, d_b `[N, r]` f32, dy `[M, N]`, b `[N, r]` f32, z `[M, r]`
    /// of dy's dtype.
    fn low_rank_backward<'a>(
        &self,
        asked: LowRankBackward<'a>,
    ) -> Result<Option<LowRankBackward<'a>>> {
        Ok(Some(asked))
    }

    /// y\[n\] += Σ_r x\[r, n\], in chunks of a fixed number of rows: the gradient of a bias.
    ///
    /// shapes: y `[n]` f32, x `[R, n]`.
    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()>;
}

impl Device {
    /// [`Matmul::matmul`], checked.
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
        if form == Form::Tn {
            let Epilogue { bias, gelu, pre_activation, gelu_of, low_rank, residual, .. } =
                &epilogue;
            let sum = bias.is_none() && gelu.is_none() && pre_activation.is_none();
            let sum = sum && gelu_of.is_none() && low_rank.is_none() && residual.is_none();
            ensure!(sum, "{op}: Tn: expected nothing between the sum and y, which is a gradient");
        }
        self.expect_epilogue(op, (m, n), &epilogue)?;
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

    /// [`Matmul::adapted`], checked, or both products.
    pub fn adapted(
        &self,
        y: ViewMut,
        x: View,
        w: View,
        factors: LowRankFactors,
        epilogue: Epilogue,
    ) -> Result<()> {
        let LowRankFactors { a, b, scale } = factors;
        let (op, m, n, k, rank) = ("adapted", y.rows(), y.cols(), x.cols(), a.rows());
        ensure!(epilogue.low_rank.is_none(), "{op}: expected one tail, got two");
        self.expect(op, "y", y.as_view(), m, n, Float)?;
        self.expect(op, "x", x, m, k, Float)?;
        self.expect(op, "w", w, n, k, Float)?;
        self.expect(op, "factors.a", a, rank, k, Float)?;
        self.expect(op, "factors.b", b, n, rank, Float)?;
        self.expect_epilogue(op, (m, n), &epilogue)?;
        let left = match m * n {
            0 => None,
            _ => self.0.adapted(y, x, w, factors, epilogue)?,
        };
        let Some((y, epilogue)) = left else { return Ok(()) };
        let mut z = self.unwritten(Shape::matrix(m, rank), x.dtype())?;
        self.matmul(z.view_mut(), x, a, Form::Nt, Epilogue::default())?;
        let low_rank = Some(LowRank { z: z.view(), factor: b, scale });
        self.matmul(y, x, w, Form::Nt, Epilogue { low_rank, ..epilogue })
    }

    /// Refuses what an epilogue of y `[m, n]` names in other shapes, and what does not go together.
    fn expect_epilogue(&self, op: &str, (m, n): (usize, usize), epilogue: &Epilogue) -> Result<()> {
        if let Some(bias) = epilogue.bias {
            self.expect_count(op, "bias", bias, n, Float)?;
        }
        if let Some(pre_activation) = &epilogue.pre_activation {
            self.expect(op, "pre_activation", pre_activation.as_view(), m, n, Float)?;
        }
        if let Some((argument, _)) = epilogue.gelu_of {
            self.expect(op, "gelu_of", argument, m, n, Float)?;
            let Epilogue { gelu, pre_activation, residual, .. } = &epilogue;
            ensure!(
                gelu.is_none() && pre_activation.is_none() && residual.is_none(),
                "{op}: gelu_of: expected neither gelu nor pre_activation nor residual beside it"
            );
        }
        if let Some((residual, _)) = epilogue.residual {
            self.expect(op, "residual", residual, m, n, Float)?;
        }
        Ok(())
    }

    /// [`Matmul::low_rank_backward`], checked, or both products.
    pub fn low_rank_backward(
        &self,
        dz: ViewMut,
        d_b: ViewMut,
        dy: View,
        b: View,
        z: View,
        scale: f32,
    ) -> Result<()> {
        let (op, m, n, rank) = ("low_rank_backward", dy.rows(), dy.cols(), b.cols());
        self.expect(op, "dy", dy, m, n, Float)?;
        self.expect(op, "b", b, n, rank, F32)?;
        self.expect(op, "z", z, m, rank, Exactly(dy.dtype()))?;
        self.expect(op, "dz", dz.as_view(), m, rank, Exactly(dy.dtype()))?;
        self.expect(op, "d_b", d_b.as_view(), n, rank, F32)?;
        let asked = LowRankBackward { dz, d_b, dy, b, z, scale };
        let left = match m * n * rank {
            0 => Some(asked),
            _ => self.0.low_rank_backward(asked)?,
        };
        let Some(LowRankBackward { dz, d_b, .. }) = left else { return Ok(()) };
        let set = Epilogue { scale, ..Epilogue::default() };
        self.matmul(dz, dy, b, Form::Nn, set)?;
        let add = Epilogue { scale, write: Write::Add, ..Epilogue::default() };
        self.matmul(d_b, dy, z, Form::Tn, add)
    }

    /// [`Matmul::sum_rows`], checked.
    pub fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect_count("sum_rows", "y", y.as_view(), x.cols(), F32)?;
        self.expect("sum_rows", "x", x, x.rows(), x.cols(), Float)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.sum_rows(y, x),
        }
    }
}
