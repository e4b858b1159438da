//! Putting values on a device and judging what comes back: tolerances are derived, never typed.

use crate::oracle::{noise, to_f32, to_f64};
use engine::base::{Dtype, Shape};
use engine::device::{Device, Tensor, View};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};

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

/// What the emulator's first order of threads left, download by download: every other order must
/// leave the same bits.
#[derive(Default)]
struct Orders {
    device: String,
    downloads: usize,
    first: String,
    seen: Vec<u64>,
}

thread_local! {
    static ORDERS: RefCell<Orders> = RefCell::default();
}

/// All cases of a test begin anew on the device that was opened by this name.
pub fn begin(device: &str) {
    ORDERS.with_borrow_mut(|orders| {
        orders.downloads = 0;
        orders.device = device.to_owned();
    });
}

/// The results of an op, which every order of the emulator's threads must give to the bit.
pub fn results(label: &str, device: &Device, x: View) -> Vec<f32> {
    let values = device.download_f32(x).unwrap();
    same_in_every_order(label, values.iter().map(|x| x.to_bits()));
    values
}

/// The same for whole numbers.
pub fn whole_results(label: &str, device: &Device, x: View) -> Vec<u32> {
    let values = device.download_u32(x).unwrap();
    same_in_every_order(label, values.iter().copied());
    values
}

fn same_in_every_order(label: &str, bits: impl Iterator<Item = u32>) {
    ORDERS.with_borrow_mut(|orders| {
        if !orders.device.starts_with("emu") {
            return;
        }
        let mut hasher = DefaultHasher::new();
        bits.collect::<Vec<u32>>().hash(&mut hasher);
        let (hash, number) = (hasher.finish(), orders.downloads);
        orders.downloads += 1;
        match orders.seen.get(number) {
            Some(&seen) => assert_eq!(
                seen, hash,
                "{label}: expected the same bits under every order of threads and blocks, got \
                others under {} than under {}; a barrier is missing, or two write one place",
                orders.device, orders.first
            ),
            None => {
                orders.seen.push(hash);
                orders.first = orders.device.clone();
            }
        }
    });
}

/// Panics with the first element beyond 4·(ε(f32)·√terms·scale + ε(stored)·|expected|).
pub fn judge(label: &str, device: &Device, got: View, expected: &[f64], bound: Bound) {
    let got_values = results(label, device, got);
    assert_eq!(got_values.len(), expected.len(), "{label}");
    for (i, (&got_value, &expected)) in got_values.iter().zip(expected).enumerate() {
        let arithmetic = epsilon(Dtype::F32) * (bound.terms.max(1) as f64).sqrt() * bound.scale;
        // Below its normal numbers f16 has a fixed step.
        let step = if got.dtype() == Dtype::F16 { 2f64.powi(-24) } else { 0.0 };
        let allowed = 4.0 * arithmetic + epsilon(got.dtype()) * expected.abs() + step;
        let off = (f64::from(got_value) - expected).abs();
        assert!(
            off <= allowed,
            "{label}: {} {}: element {i}: expected {expected}, got {got_value}: off by {off:e}, \
            allowed {allowed:e}",
            got.shape(),
            got.dtype()
        );
    }
}

#[test]
fn an_op_that_depends_on_the_order_of_threads_is_found() {
    let run = |device: &str, bits: [u32; 2]| {
        begin(device);
        same_in_every_order("first", [7].into_iter());
        same_in_every_order("second", bits.into_iter());
    };
    run("emu:1", [1, 2]);
    run("emu:2", [1, 2]);
    run("cpu", [1, 3]);
    let words = std::panic::catch_unwind(|| run("emu:3", [1, 3])).unwrap_err();
    let words = words.downcast_ref::<String>().unwrap();
    assert!(words.contains("second") && words.contains("under emu:3 than under emu:1"), "{words}");
}
