//! Batch invariance: a row's outputs have the same bits whatever rows stand beside it, wherever it
//! stands among them, and however many threads run. (Attention, whose rows depend on their
//! sequence: see also `conformance/attention.rs`.)

mod model;
mod products;
mod rows;

use crate::oracle;
use engine::base::{Dtype, Shape};
use engine::device::{Device, Tensor, View};

/// A device for each number of threads.
fn devices() -> [Device; 3] {
    [1, 2, 5].map(|threads| Device::open("cpu", threads).unwrap())
}

/// Values between -1 and 1 that no row repeats soon: noise of a prime length over and over.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let noise = oracle::to_f32(&oracle::noise(65_537, seed));
    (0..count).map(|i| noise[i % noise.len()]).collect()
}

fn upload(device: &Device, x: &[f32], rows: usize, cols: usize, dtype: Dtype) -> Tensor {
    device.upload_f32(x, Shape::matrix(rows, cols), dtype).unwrap()
}

fn bits(device: &Device, x: View) -> Vec<u32> {
    device.download_f32(x).unwrap().into_iter().map(f32::to_bits).collect()
}

#[track_caller]
fn same(got: &[u32], expected: &[u32], what: impl Fn() -> String) {
    assert_eq!(got.len(), expected.len(), "{}", what());
    if let Some(at) = got.iter().zip(expected).position(|(a, b)| a != b) {
        let [a, b] = [got[at], expected[at]].map(f32::from_bits);
        panic!("{}: element {at}: expected {b:e}, got {a:e}", what());
    }
}
