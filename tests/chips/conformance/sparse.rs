//! Products of which only few elements count.

use super::cases::SHAPES;
use super::judge::{judge, results, Bound, Given, FLOATS};
use super::Case;
use crate::oracle::{self, indices};
use engine::base::Dtype;
use engine::device::Device;

pub const CASES: &[Case] = &[
    ("sampled_product", sampled_product),
    ("sparse_product", sparse_product),
    ("sampled_product", sampled_beyond),
    ("sparse_product", sparse_beyond),
];

/// Rows of the table: fewer than a row may ask for, so that ids repeat.
const TABLE: usize = 13;

/// Bounds of parts: none, one, few, more than a task of the CPU or a step of a warp has.
pub fn bounds(rows: usize) -> Vec<u32> {
    let mut first = vec![0u32];
    (0..rows).for_each(|r| first.push(first[r] + [3, 0, 1, 40, 0][r % 5]));
    first
}

fn sampled_product(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            let x = Given::noise(device, rows, cols, dtype, 1);
            let table = Given::noise(device, TABLE, cols, dtype, 2);
            let first = bounds(rows);
            let ids = indices(first[rows] as usize, TABLE, 3);
            let mut y = Given::noise(device, 1, ids.len(), Dtype::F32, 4);
            let expected = oracle::sampled_product(&x.values, &table.values, cols, &first, &ids);
            let (first, ids) =
                (device.upload_u32(&first).unwrap(), device.upload_u32(&ids).unwrap());
            let to = y.tensor.view_mut();
            device.sampled_product(to, x.view(), table.view(), first.view(), ids.view()).unwrap();
            judge("sampled_product", device, y.view(), &expected, Bound::sums(cols));
        }
    }
}

fn sparse_product(device: &Device) {
    for (rows, cols) in SHAPES {
        for stored in FLOATS {
            for dtype in FLOATS {
                let table = Given::noise(device, TABLE, cols, stored, 1);
                let first = bounds(rows);
                let count = first[rows] as usize;
                let (ids, places) = (indices(count, TABLE, 2), indices(count, 50, 3));
                let weights = Given::noise(device, 1, 50, Dtype::F32, 4);
                let mut y = Given::noise(device, rows, cols, dtype, 5);
                let expected = oracle::sparse_product(
                    &table.values,
                    cols,
                    &first,
                    &ids,
                    &places,
                    &weights.values,
                );
                let [first, ids, places] =
                    [first, ids, places].map(|words| device.upload_u32(&words).unwrap());
                let (to, lists) = (y.tensor.view_mut(), (first.view(), ids.view(), places.view()));
                device
                    .sparse_product(to, table.view(), lists.0, lists.1, lists.2, weights.view())
                    .unwrap();
                judge("sparse_product", device, y.view(), &expected, Bound::sums(40));
            }
        }
    }
}

/// The CPU sees ids before it begins; a GPU would have to wait for them, so what it answers with is
/// not a number.
fn sampled_beyond(device: &Device) {
    for dtype in FLOATS {
        let x = Given::noise(device, 2, 8, dtype, 1);
        let table = Given::noise(device, 4, 8, dtype, 2);
        let mut y = Given::noise(device, 1, 3, Dtype::F32, 3);
        let first = device.upload_u32(&[0, 2, 3]).unwrap();
        let ids = device.upload_u32(&[3, 4, 0]).unwrap();
        let to = y.tensor.view_mut();
        match device.sampled_product(to, x.view(), table.view(), first.view(), ids.view()) {
            Err(error) => refused(device, error, "number 1: expected an id below 4, got 4"),
            Ok(()) => spoiled(device, &results("ids beyond", device, y.view()), [1]),
        }
    }
}

fn sparse_beyond(device: &Device) {
    let table = Given::noise(device, 4, 1, Dtype::F32, 1);
    let weights = Given::noise(device, 1, 5, Dtype::F32, 2);
    let first = device.upload_u32(&[0, 2, 3, 3]).unwrap();
    for (ids, places, words) in [
        ([3, 4, 0], [0, 4, 1], "ids: number 1: expected an id below 4, got 4"),
        ([3, 0, 0], [5, 4, 1], "places: number 0: expected a place below 5, got 5"),
    ] {
        let (ids, places) = (device.upload_u32(&ids).unwrap(), device.upload_u32(&places).unwrap());
        let mut y = Given::noise(device, 3, 1, Dtype::F32, 3);
        let (to, lists) = (y.tensor.view_mut(), (first.view(), ids.view(), places.view()));
        match device.sparse_product(to, table.view(), lists.0, lists.1, lists.2, weights.view()) {
            Err(error) => refused(device, error, words),
            Ok(()) => spoiled(device, &results("places beyond", device, y.view()), [0]),
        }
    }
}

/// A refusal in these words, which only the CPU gives.
pub fn refused(device: &Device, error: anyhow::Error, words: &str) {
    assert_eq!(device.name(), "cpu", "{error}");
    assert!(error.to_string().contains(words), "expected {words}, got {error}");
}

/// Of `values` those at `places` are not numbers, and no others; no answer of the CPU.
pub fn spoiled<const N: usize>(device: &Device, values: &[f32], places: [usize; N]) {
    assert_ne!(device.name(), "cpu");
    for (i, x) in values.iter().enumerate() {
        assert_eq!(x.is_nan(), places.contains(&i), "element {i} of {values:?}");
    }
}
