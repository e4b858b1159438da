//! Putting values on a device and judging what comes back: tolerances are derived, never typed.

use crate::oracle::{noise, to_f32, to_f64};
use engine::base::{Dtype, Shape};
use engine::device::{Device, Tensor, View};

pub const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// Distance from 1 to the next number.
pub fn epsilon(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => f64::from(f32::EPSILON),
        Dtype::F16 => 2f64.powi(-10),
        Dtype::Bf16 => 2f64.powi(-7),
        Dtype::U32 => 0.0,
    }
}

/// A tensor and its values as stored, so that rounding of inputs is nobody's error.
pub struct Given {
    pub tensor: Tensor,
    pub values: Vec<f64>,
}

impl Given {
    pub fn new(device: &Device, values: &[f64], rows: usize, cols: usize, dtype: Dtype) -> Given {
        let tensor = device.upload_f32(&to_f32(values), Shape::matrix(rows, cols), dtype).unwrap();
        let values = to_f64(&device.download_f32(tensor.view()).unwrap());
        Given { tensor, values }
    }

    /// Values between -1 and 1.
    pub fn noise(device: &Device, rows: usize, cols: usize, dtype: Dtype, seed: u64) -> Given {
        Given::new(device, &noise(rows * cols, seed), rows, cols, dtype)
    }

    pub fn view(&self) -> View<'_> {
        self.tensor.view()
    }
}

/// What an op may be off by: its f32 arithmetic and the rounding of its result.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Additions behind one element.
    pub terms: usize,
    /// Size of what is added.
    pub scale: f64,
}

impl Bound {
    /// For sums of `terms` products of values in ±1: partial sums are of size √terms/√3.
    pub fn sums(terms: usize) -> Bound {
        Bound { terms, scale: (terms as f64 / 3.0).sqrt().max(1.0) }
    }
}

/// Panics with the first element beyond 4·(ε(f32)·√terms·scale + ε(stored)·|expected|).
pub fn judge(label: &str, device: &Device, got: View, expected: &[f64], bound: Bound) {
    let got_values = device.download_f32(got).unwrap();
    assert_eq!(got_values.len(), expected.len(), "{label}");
    for (i, (&got_value, &expected)) in got_values.iter().zip(expected).enumerate() {
        let arithmetic = epsilon(Dtype::F32) * (bound.terms.max(1) as f64).sqrt() * bound.scale;
        // Below its normal numbers f16 has a fixed step.
        let step = if got.dtype() == Dtype::F16 { 2f64.powi(-24) } else { 0.0 };
        let allowed = 4.0 * arithmetic + epsilon(got.dtype()) * expected.abs() + step;
        let off = (f64::from(got_value) - expected).abs();
        assert!(
            off <= allowed,
            "{label}: {} {}: element {i}: expected {expected}, got {got_value}: off by {off:e}, allowed {allowed:e}",
            got.shape(),
            got.dtype()
        );
    }
}
