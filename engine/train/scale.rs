//! Dynamic loss scaling: gradients of f16 activations are kept inside f16's range.

use crate::base::Dtype;
use serde::{Deserialize, Serialize};

/// Steps without overflow after which the scale doubles.
const PATIENCE: u32 = 1000;
const FIRST: f64 = 65536.0;
const LARGEST: f64 = 16_777_216.0;

/// What losses are multiplied by before the backward pass, and gradients divided by after it.
/// Powers of two, so nothing is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// What losses are multiplied by.
    pub factor: f64,
    /// Steps since it changed.
    pub steady: u32,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Took,
    /// A gradient was not finite: the step is done again with a smaller scale.
    Again,
    /// It was not finite and no smaller scale is left: the run itself diverges.
    Hopeless,
}

impl Default for LossScale {
    /// No scaling.
    fn default() -> LossScale {
        LossScale { factor: 1.0, steady: 0 }
    }
}

impl LossScale {
    /// How a run with activations of `dtype` begins: bf16 and f32 have the range of f32 and need
    /// none.
    pub fn start(dtype: Dtype) -> LossScale {
        LossScale { factor: if dtype == Dtype::F16 { FIRST } else { 1.0 }, steady: 0 }
    }

    /// Takes note of a step's gradient norm.
    pub fn judge(&mut self, dtype: Dtype, norm: f64) -> Verdict {
        if dtype != Dtype::F16 {
            return if norm.is_finite() { Verdict::Took } else { Verdict::Hopeless };
        }
        if !norm.is_finite() {
            if self.factor <= 1.0 {
                return Verdict::Hopeless;
            }
            *self = LossScale { factor: self.factor / 2.0, steady: 0 };
            return Verdict::Again;
        }
        self.steady += 1;
        if self.steady >= PATIENCE && self.factor < LARGEST {
            *self = LossScale { factor: self.factor * 2.0, steady: 0 };
        }
        Verdict::Took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_on_overflow_doubles_when_steady_and_ends_at_one() {
        let mut scale = LossScale::start(Dtype::F16);
        assert_eq!(scale.judge(Dtype::F16, f64::INFINITY), Verdict::Again);
        assert_eq!(scale.factor, FIRST / 2.0);
        for _ in 0..PATIENCE {
            assert_eq!(scale.judge(Dtype::F16, 1.0), Verdict::Took);
        }
        assert_eq!(scale, LossScale { factor: FIRST, steady: 0 });
        while scale.factor > 1.0 {
            assert_eq!(scale.judge(Dtype::F16, f64::NAN), Verdict::Again);
        }
        assert_eq!(scale.judge(Dtype::F16, f64::NAN), Verdict::Hopeless);
        let mut none = LossScale::start(Dtype::Bf16);
        assert_eq!((none.factor, none.judge(Dtype::Bf16, f64::NAN)), (1.0, Verdict::Hopeless));
    }
}
