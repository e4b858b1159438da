//! Every backward against central differences: each op's against its f64 forward, then the whole
//! tiny model against its own loss, with and without dropout, whatever is kept.

mod attention;
mod model;
mod ops;
mod products;

use crate::oracle;
use engine::base::{Dtype, Shape};
use engine::device::{Device, Tensor, View};

fn device() -> Device {
    Device::open("cpu", 2).unwrap()
}

/// An f32 tensor and its values as stored.
struct Given {
    tensor: Tensor,
    values: Vec<f64>,
}

impl Given {
    fn new(device: &Device, values: &[f64], rows: usize, cols: usize) -> Given {
        let narrow = oracle::to_f32(values);
        let tensor = device.upload_f32(&narrow, Shape::matrix(rows, cols), Dtype::F32).unwrap();
        Given { tensor, values: oracle::to_f64(&narrow) }
    }

    /// Values between -1 and 1.
    fn noise(device: &Device, rows: usize, cols: usize, seed: u64) -> Given {
        Given::new(device, &oracle::noise(rows * cols, seed), rows, cols)
    }

    fn view(&self) -> View<'_> {
        self.tensor.view()
    }
}

/// f32 sums of some ten terms against f64 differences, at the scale of the largest value.
fn agree(what: &str, device: &Device, got: View, expected: &[f64]) {
    let got = device.download_f32(got).unwrap();
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
    assert!(scale > 0.0, "{what}: a gradient of zeros proves nothing");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(got) - expected).abs();
        assert!(off <= 3e-6 * scale, "{what}: element {i}: expected {expected}, got {got}");
    }
}

fn sum(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}
