//! Layer normalisation and its backward.

use super::*;

/// What the forward of a norm leaves for its backward.
#[derive(Clone, Copy)]
pub struct Normed<'a> {
    /// `[R, h]`, the norm's input.
    pub x: View<'a>,
    /// `[h]`
    pub weight: View<'a>,
    /// `[R, 2]` f32: mean and 1/√(var + ε) of each row.
    pub statistics: View<'a>,
}

/// What a backend does with the mean and the variance of rows.
pub trait Norm {
    /// y = (x - mean)/√(var + ε)·weight + bias per row, var the mean of squared deviations;
    /// statistics receive mean and 1/√(var + ε).
    ///
    /// shapes: y and x `[R, h]` of one dtype, statistics `[R, 2]` f32, weight and bias `[h]`, each
    /// of a float dtype of its own.
    /// source: Ba, Kiros and Hinton 2016, equation 4.
    fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()>;

    /// dx by `write`: inverse·(g - mean(g) - x̂·mean(g·x̂)) with g = dy·weight and
    /// x̂ = (x - mean)·inverse; `parameters`, (d_weight, d_bias), add Σ dy·x̂ and Σ dy over rows,
    /// in chunks of a fixed number of rows.
    ///
    /// shapes: dx, dy and `normed.x` `[R, h]` of one dtype, d_weight and d_bias `[h]` f32.
    fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        normed: Normed,
        write: Write,
    ) -> Result<()>;
}

impl Device {
    /// [`Norm::layernorm`], checked.
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

    /// [`Norm::layernorm_backward`], checked.
    pub fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        normed: Normed,
        write: Write,
    ) -> Result<()> {
        let Normed { x, weight, statistics } = normed;
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
            _ => self.0.layernorm_backward(dx, parameters, dy, normed, write),
        }
    }
}
