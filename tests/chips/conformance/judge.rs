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

    /// Values that begin `shift` elements behind the beginning of their memory, in one row.
    pub fn behind(device: &Device, shift: usize, values: &[f64], dtype: Dtype) -> Given {
        let values = [&vec![0.0; shift], values].concat();
        Given::new(device, &values, 1, values.len(), dtype)
    }

    pub fn view(&self) -> View<'_> {
        self.tensor.view()
    }

    /// The bits of what the device holds.
    pub fn bits(&self, device: &Device) -> Vec<u32> {
        let values = device.download_f32(self.view()).unwrap();
        values.into_iter().map(f32::to_bits).collect()
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

    /// 4·ε(f32)·√terms·scale + ε(stored)·|expected|: additions that round to nearest go astray like
    /// a walk of √terms steps. Tensor cores cut off instead, which drifts: each addition of eight
    /// products loses up to ε(f32) of the sum, half of that on average, so for long sums the drift
    /// of terms/8 additions counts in place of the walk.
    pub fn allowed(&self, expected: f64, stored: Dtype) -> f64 {
        let terms = self.terms.max(1) as f64;
        let (walk, drift) = (4.0 * terms.sqrt(), terms / 8.0);
        // Below its normal numbers f16 has a fixed step.
        let step = if stored == Dtype::F16 { 2f64.powi(-24) } else { 0.0 };
        epsilon(Dtype::F32) * walk.max(drift) * self.scale + epsilon(stored) * expected.abs() + step
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

/// Panics with the first element beyond its [`Bound`].
pub fn judge(label: &str, device: &Device, got: View, expected: &[f64], bound: Bound) {
    judge_rounded(label, device, got, expected, bound, |_| 0.0);
}

/// The same of an op that rounds to the dtype of its result on the way: `size` of what it rounds
/// for an element, as far as that is part of the element.
pub fn judge_rounded(
    label: &str,
    device: &Device,
    got: View,
    expected: &[f64],
    bound: Bound,
    size: impl Fn(usize) -> f64,
) {
    let got_values = results(label, device, got);
    assert_eq!(got_values.len(), expected.len(), "{label}");
    for (i, (&got_value, &expected)) in got_values.iter().zip(expected).enumerate() {
        let rounded = epsilon(got.dtype()) * if got.dtype() == Dtype::F32 { 0.0 } else { size(i) };
        let allowed = bound.allowed(expected, got.dtype()) + rounded;
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

/// A sum of products as tensor cores make it: of `together` products and the sum so far each is cut
/// to `extra` bits below the last of the largest, and so is what they add up to.
fn cut_off(products: &[f64], together: usize, extra: i32) -> f64 {
    let mut sum = 0f64;
    for group in products.chunks(together) {
        let largest = group.iter().chain([&sum]).fold(0.0, |most: f64, x| most.max(x.abs()));
        if largest == 0.0 {
            continue;
        }
        let unit = 2f64.powi(largest.log2().floor() as i32 - 23 - extra);
        let cut = |x: f64, unit: f64| (x / unit).trunc() * unit;
        sum = group.iter().chain([&sum]).map(|&x| cut(x, unit)).sum();
        if sum != 0.0 {
            sum = cut(sum, 2f64.powi(sum.abs().log2().floor() as i32 - 23));
        }
    }
    sum
}

/// A100 adds eight products at a time with one bit more, H100 sixteen with two, as their published
/// numerics read; both stay within the bound at the depths of real linears, and a product that is
/// missing does not.
#[test]
fn tensor_cores_that_cut_off_are_within_the_bound() {
    for depth in [64, 257, 600, 4096, 16384] {
        for seed in 0..40 {
            let values = to_f64(&to_f32(&noise(2 * depth, seed)));
            let values: Vec<f64> =
                values.iter().map(|&x| half::bf16::from_f64(x).to_f64()).collect();
            let products: Vec<f64> = values.chunks(2).map(|pair| pair[0] * pair[1]).collect();
            let exact: f64 = products.iter().sum();
            let allowed = Bound::sums(depth).allowed(exact, Dtype::F32);
            for (together, extra) in [(8, 1), (16, 2)] {
                let off = (cut_off(&products, together, extra) - exact).abs();
                assert!(off <= allowed, "depth {depth}: off by {off:e}, allowed {allowed:e}");
                let mut less = products.clone();
                let largest = less.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
                *largest.expect("a product") = 0.0;
                let off = (cut_off(&less, together, extra) - exact).abs();
                assert!(off > allowed, "depth {depth}: a product is missing: off by {off:e}");
            }
        }
    }
}
