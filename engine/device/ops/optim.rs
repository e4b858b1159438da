//! The optimiser's step and the norm of its gradient, over one flat range.

use super::*;

/// Numbers of one AdamW step (Loshchilov and Hutter 2019; decoupled decay, bias-corrected).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// lr: how far a step goes.
    pub learning_rate: f32,
    /// β₁: how much of the first moment stays.
    pub beta1: f32,
    /// β₂: how much of the second moment stays.
    pub beta2: f32,
    /// ε: added to the root of the second moment.
    pub epsilon: f32,
    /// Share of the parameter that goes, times the learning rate.
    pub weight_decay: f32,
    /// Counted from 1.
    pub step: u64,
    /// Multiplies the gradient first: clipping.
    pub gradient_scale: f32,
}

/// What a backend does with a flat range of what is trained.
pub trait Optim {
    /// One AdamW step of a flat range: parameter and both moments in place.
    ///
    /// With g = gradient_scale·gradient and t = step: m = β₁·m + (1 - β₁)·g,
    /// v = β₂·v + (1 - β₂)·g², p = (1 - lr·decay)·p - lr·m̂/(√v̂ + ε), m̂ = m/(1 - β₁ᵗ),
    /// v̂ = v/(1 - β₂ᵗ).
    ///
    /// shapes: all `[n]` f32.
    /// refuses: step 0.
    /// source: Loshchilov and Hutter 2019, algorithm 2.
    fn adamw(
        &self,
        parameter: ViewMut,
        moment1: ViewMut,
        moment2: ViewMut,
        gradient: View,
        numbers: AdamW,
    ) -> Result<()>;

    /// y\[0\] = Σ x², partial sums of fixed chunks added in order.
    ///
    /// shapes: y `[1]` f32, x `[n]` f32.
    fn sum_squares(&self, y: ViewMut, x: View) -> Result<()>;
}

impl Device {
    /// [`Optim::adamw`], checked. Refuses step 0.
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

    /// [`Optim::sum_squares`], checked.
    pub fn sum_squares(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect_count("sum_squares", "y", y.as_view(), 1, F32)?;
        self.expect_count("sum_squares", "x", x, x.shape().count(), F32)?;
        match x.shape().count() {
            0 => self.0.zero(y),
            _ => self.0.sum_squares(y, x),
        }
    }
}
