//! Every op that is not a product or attention and does not work on logits.

use super::judge::{epsilon, judge, Bound, Given, FLOATS};
use super::Case;
use crate::oracle::{self, indices};
use engine::base::{Dtype, Shape};
use engine::device::{AdamW, Device, Dropout, Gelu, Normed, Write};

pub const CASES: &[Case] = &[
    ("copy", copy),
    ("zero", zero),
    ("embed", embed),
    ("embed_backward", embed_backward),
    ("layernorm", layernorm),
    ("layernorm_backward", layernorm_backward),
    ("gelu", gelu),
    ("gelu_backward", gelu_backward),
    ("blend", blend),
    ("dropout", dropout),
    ("cast", cast),
    ("adamw", adamw),
    ("sum_squares", sum_squares),
];

/// One row, one column, a column short of a warp, not a multiple of eight, more than one piece of
/// work, rows wider than a GPU's threads keep in registers.
pub const SHAPES: [(usize, usize); 8] =
    [(1, 1), (1, 31), (3, 33), (5, 64), (70, 100), (129, 768), (40, 1027), (2, 8712)];

/// A copy costs nothing but the rounding to the dtype.
pub const EXACT: Bound = Bound { terms: 0, scale: 0.0 };

fn copy(device: &Device) {
    for dtype in FLOATS {
        let x = Given::noise(device, 7, 33, dtype, 1);
        let mut y = Given::noise(device, 7, 33, dtype, 2);
        device.copy(y.tensor.view_mut(), x.view()).unwrap();
        judge("copy", device, y.view(), &x.values, EXACT);
    }
}

fn zero(device: &Device) {
    let mut y = Given::noise(device, 7, 33, Dtype::F32, 2);
    device.zero(y.tensor.view_mut().row_range(2..7)).unwrap();
    let expected: Vec<f64> =
        y.values.iter().enumerate().map(|(i, &y)| if i < 66 { y } else { 0.0 }).collect();
    judge("zero", device, y.view(), &expected, EXACT);
}

fn embed(device: &Device) {
    for (rows, cols) in SHAPES {
        for stored in FLOATS {
            for dtype in FLOATS {
                let tables: Vec<Given> =
                    (0..3).map(|t| Given::noise(device, 10 + t, cols, stored, t as u64)).collect();
                let ids: Vec<Vec<u32>> =
                    (0..3).map(|t| indices(rows, 10 + t, 5 + t as u64)).collect();
                let on_device: Vec<_> =
                    ids.iter().map(|ids| device.upload_u32(ids).unwrap()).collect();
                for count in 1..=3 {
                    let mut y = Given::noise(device, rows, cols, dtype, 9);
                    let parts: Vec<_> = (0..count)
                        .map(|t| (tables[t].values.as_slice(), ids[t].as_slice()))
                        .collect();
                    let sum = oracle::embed(&parts, cols);
                    let added: Vec<f64> = sum.iter().zip(&y.values).map(|(a, b)| a + b).collect();
                    let views: Vec<_> =
                        (0..count).map(|t| (tables[t].view(), on_device[t].view())).collect();
                    // A half is rounded after each of the tables.
                    let bound =
                        Bound { terms: 1, scale: 3.0 * epsilon(dtype) / epsilon(Dtype::F32) };
                    for (write, expected) in [(Write::Add, added), (Write::Set, sum)] {
                        device.embed(y.tensor.view_mut(), &views, write).unwrap();
                        judge("embed", device, y.view(), &expected, bound);
                    }
                }
            }
        }
    }
    let (table, mut y) =
        (Given::noise(device, 4, 8, Dtype::F32, 1), Given::noise(device, 1, 8, Dtype::F32, 2));
    let beyond = device.upload_u32(&[4]).unwrap();
    // The CPU sees ids before it begins; a GPU would have to wait for them, so it answers with rows
    // that are not numbers.
    match device.embed(y.tensor.view_mut(), &[(table.view(), beyond.view())], Write::Set) {
        Err(error) => {
            assert!(error.to_string().contains("expected an id below 4, got 4"), "{error}")
        }
        Ok(()) => {
            assert_ne!(device.name(), "cpu");
            let row = device.download_f32(y.view()).unwrap();
            assert!(row.iter().all(|x| x.is_nan()), "{row:?}");
        }
    }
}

fn embed_backward(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            let dy = Given::noise(device, rows, cols, dtype, 1);
            let ids = indices(rows, 6, 3);
            let on_device = device.upload_u32(&ids).unwrap();
            let mut d_table = Given::noise(device, 6, cols, Dtype::F32, 2);
            let mut expected = d_table.values.clone();
            for (i, dy) in dy.values.iter().enumerate() {
                expected[ids[i / cols] as usize * cols + i % cols] += dy;
            }
            device.embed_backward(d_table.tensor.view_mut(), dy.view(), on_device.view()).unwrap();
            judge(
                "embed_backward",
                device,
                d_table.view(),
                &expected,
                Bound { terms: rows, scale: 1.0 },
            );
        }
    }
}

fn layernorm(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            let x = Given::noise(device, rows, cols, dtype, 1);
            let (weight, bias) =
                (Given::noise(device, 1, cols, dtype, 2), Given::noise(device, 1, cols, dtype, 3));
            let mut y = Given::noise(device, rows, cols, dtype, 4);
            let mut statistics = Given::noise(device, rows, 2, Dtype::F32, 5);
            let (views, epsilon) = ((x.view(), weight.view(), bias.view()), 1e-5);
            device
                .layernorm(
                    y.tensor.view_mut(),
                    statistics.tensor.view_mut(),
                    views.0,
                    views.1,
                    views.2,
                    epsilon,
                )
                .unwrap();
            let expected =
                oracle::layernorm(&x.values, &weight.values, &bias.values, f64::from(epsilon));
            let inverse = expected.1.iter().skip(1).step_by(2).copied().fold(1.0, f64::max);
            let bound = Bound { terms: cols, scale: inverse };
            judge("layernorm", device, y.view(), &expected.0, bound);
            judge("layernorm statistics", device, statistics.view(), &expected.1, bound);
        }
    }
}

fn layernorm_backward(device: &Device) {
    // One column has no variance: 1/√ε magnifies every rounding, and no model has it.
    for (rows, cols) in SHAPES.into_iter().filter(|shape| shape.1 > 1) {
        for dtype in FLOATS {
            let (x, dy) = (
                Given::noise(device, rows, cols, dtype, 1),
                Given::noise(device, rows, cols, dtype, 2),
            );
            let weight = Given::noise(device, 1, cols, dtype, 3);
            let bias = vec![0.0; cols];
            let (_, statistics) = oracle::layernorm(&x.values, &weight.values, &bias, 1e-5);
            let statistics = Given::new(device, &statistics, rows, 2, Dtype::F32);
            let mut dx = Given::noise(device, rows, cols, dtype, 4);
            let mut d_weight = Given::noise(device, 1, cols, Dtype::F32, 5);
            let mut d_bias = Given::noise(device, 1, cols, Dtype::F32, 6);

            let (mut set, mut weights, mut biases) =
                (Vec::new(), d_weight.values.clone(), d_bias.values.clone());
            for r in 0..rows {
                let (mean, inverse) = (statistics.values[2 * r], statistics.values[2 * r + 1]);
                let row = r * cols..(r + 1) * cols;
                let normed: Vec<f64> =
                    x.values[row.clone()].iter().map(|x| (x - mean) * inverse).collect();
                let g: Vec<f64> =
                    dy.values[row.clone()].iter().zip(&weight.values).map(|(a, b)| a * b).collect();
                let (mean_g, mean_gx) =
                    (g.iter().sum::<f64>() / cols as f64, oracle::dot(&g, &normed) / cols as f64);
                for c in 0..cols {
                    set.push(inverse * (g[c] - mean_g - normed[c] * mean_gx));
                    weights[c] += dy.values[row.start + c] * normed[c];
                    biases[c] += dy.values[row.start + c];
                }
            }
            let added: Vec<f64> = set.iter().zip(&dx.values).map(|(a, b)| a + b).collect();
            let inverse = statistics.values.iter().skip(1).step_by(2).copied().fold(1.0, f64::max);
            let bound = Bound { terms: cols, scale: inverse * inverse };
            for (write, expected) in [(Write::Add, added), (Write::Set, set)] {
                let parameters = (write == Write::Set)
                    .then(|| (d_weight.tensor.view_mut(), d_bias.tensor.view_mut()));
                let normed =
                    Normed { x: x.view(), weight: weight.view(), statistics: statistics.view() };
                device
                    .layernorm_backward(dx.tensor.view_mut(), parameters, dy.view(), normed, write)
                    .unwrap();
                judge("layernorm_backward", device, dx.view(), &expected, bound);
            }
            let bound = Bound { terms: rows, scale: inverse };
            judge("layernorm_backward d_weight", device, d_weight.view(), &weights, bound);
            judge("layernorm_backward d_bias", device, d_bias.view(), &biases, bound);
        }
    }
}

/// A wide range of arguments, the ends of GELU's bend among them.
fn arguments(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Given {
    let values: Vec<f64> = oracle::noise(rows * cols, 1).iter().map(|x| 12.0 * x * x * x).collect();
    Given::new(device, &values, rows, cols, dtype)
}

fn gelu(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            for form in [Gelu::Tanh, Gelu::Erf] {
                let x = arguments(device, rows, cols, dtype);
                let mut y = Given::noise(device, rows, cols, dtype, 2);
                let expected: Vec<f64> = x.values.iter().map(|&x| oracle::gelu(x, form)).collect();
                device.gelu(y.tensor.view_mut(), x.view(), form).unwrap();
                // x·(1 + erf): what erf is off by at its scale is multiplied by x.
                let scale = x.values.iter().fold(1.0, |m: f64, x| m.max(0.5 * x.abs()));
                judge(
                    &format!("gelu {form:?}"),
                    device,
                    y.view(),
                    &expected,
                    Bound { terms: 1, scale },
                );
            }
        }
    }
}

fn gelu_backward(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            for form in [Gelu::Tanh, Gelu::Erf] {
                let x = arguments(device, rows, cols, dtype);
                let dy = Given::noise(device, rows, cols, dtype, 2);
                let mut dx = Given::noise(device, rows, cols, dtype, 3);
                let expected: Vec<f64> = x
                    .values
                    .iter()
                    .zip(&dy.values)
                    .map(|(&x, dy)| dy * oracle::gelu_slope(x, form))
                    .collect();
                device.gelu_backward(dx.tensor.view_mut(), dy.view(), x.view(), form).unwrap();
                let scale = x.values.iter().fold(1.0, |m: f64, x| m.max(0.5 * x.abs()));
                let bound = Bound { terms: 1, scale };
                judge(&format!("gelu_backward {form:?}"), device, dx.view(), &expected, bound);
            }
        }
    }
}

fn blend(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            for (alpha, beta) in [(1.0, 1.0), (0.5, 0.0), (-2.0, 0.25)] {
                let x = Given::noise(device, rows, cols, dtype, 1);
                let mut y = Given::noise(device, rows, cols, dtype, 2);
                let expected: Vec<f64> =
                    x.values.iter().zip(&y.values).map(|(x, y)| alpha * x + beta * y).collect();
                device.blend(y.tensor.view_mut(), x.view(), alpha as f32, beta as f32).unwrap();
                judge("blend", device, y.view(), &expected, Bound { terms: 1, scale: 2.0 });
            }
        }
    }
    // With beta zero what stood there does not matter.
    let x = Given::noise(device, 1, 9, Dtype::F32, 1);
    let mut y = Given::new(device, &[f64::NAN; 9], 1, 9, Dtype::F32);
    device.blend(y.tensor.view_mut(), x.view(), 1.0, 0.0).unwrap();
    judge("blend over NaN", device, y.view(), &x.values, EXACT);
}

fn dropout(device: &Device) {
    for (rows, cols) in SHAPES {
        for dtype in FLOATS {
            for rate in [0.0, 0.1, 0.75] {
                let x = Given::noise(device, rows, cols, dtype, 1);
                let mut y = Given::noise(device, rows, cols, dtype, 2);
                let numbers = indices(3 * rows, u32::MAX as usize, 3);
                let places = device
                    .upload_bytes(
                        bytemuck::cast_slice(&numbers),
                        Shape::matrix(rows, 3),
                        Dtype::U32,
                    )
                    .unwrap();
                let key = Dropout::key(77, 5, 3);
                let factors = oracle::dropout_factors(key, rate, &numbers, cols);
                let set: Vec<f64> = x.values.iter().zip(&factors).map(|(x, f)| x * f).collect();
                let added: Vec<f64> = set.iter().zip(&y.values).map(|(a, b)| a + b).collect();
                let dropout = Dropout { rate, key, rows: places.view() };
                for (write, expected) in [(Write::Add, added), (Write::Set, set)] {
                    device.dropout(y.tensor.view_mut(), x.view(), dropout, write).unwrap();
                    judge("dropout", device, y.view(), &expected, Bound { terms: 1, scale: 4.0 });
                }
            }
        }
    }
}

fn cast(device: &Device) {
    for (rows, cols) in SHAPES {
        for from in FLOATS {
            for to in FLOATS {
                let x = Given::noise(device, rows, cols, from, 1);
                let mut y = Given::noise(device, rows, cols, to, 2);
                device.cast(y.tensor.view_mut(), x.view()).unwrap();
                judge("cast", device, y.view(), &x.values, EXACT);
            }
        }
    }
}

fn adamw(device: &Device) {
    for n in [1, 31, 1000, 40_000] {
        let mut parameter = Given::noise(device, 1, n, Dtype::F32, 1);
        let mut moment1 = Given::noise(device, 1, n, Dtype::F32, 2);
        let squares: Vec<f64> = oracle::noise(n, 3).iter().map(|x| x * x).collect();
        let mut moment2 = Given::new(device, &squares, 1, n, Dtype::F32);
        let gradient = Given::noise(device, 1, n, Dtype::F32, 4);
        let mut numbers = AdamW {
            learning_rate: 1e-2,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step: 0,
            gradient_scale: 0.5,
        };
        let mut expected: Vec<(f64, f64, f64)> =
            (0..n).map(|i| (parameter.values[i], moment1.values[i], moment2.values[i])).collect();
        // From large moments on: what step 1 does with its 1/(1 - β) is the hardest.
        for step in 1..=3 {
            numbers.step = step;
            for ((p, m, v), &g) in expected.iter_mut().zip(&gradient.values) {
                (*p, *m, *v) = oracle::adamw(*p, *m, *v, g, numbers);
            }
            let (p, m, v) =
                (parameter.tensor.view_mut(), moment1.tensor.view_mut(), moment2.tensor.view_mut());
            device.adamw(p, m, v, gradient.view(), numbers).unwrap();
        }
        let part = |f: fn(&(f64, f64, f64)) -> f64| expected.iter().map(f).collect::<Vec<f64>>();
        // The update is m/√v, and v may be small: its error is relative to the update.
        let update = 10.0
            * numbers.learning_rate as f64
            * expected.iter().map(|(_, m, v)| m.abs() / v.sqrt()).fold(1.0, f64::max);
        judge(
            "adamw parameter",
            device,
            parameter.view(),
            &part(|e| e.0),
            Bound { terms: 9, scale: 1.0 + update },
        );
        judge(
            "adamw moment1",
            device,
            moment1.view(),
            &part(|e| e.1),
            Bound { terms: 9, scale: 1.0 },
        );
        judge(
            "adamw moment2",
            device,
            moment2.view(),
            &part(|e| e.2),
            Bound { terms: 9, scale: 1.0 },
        );
    }
}

fn sum_squares(device: &Device) {
    for n in [1, 31, 1000, 16_385, 100_003] {
        let x = Given::noise(device, 1, n, Dtype::F32, 1);
        let mut y = Given::noise(device, 1, 1, Dtype::F32, 2);
        device.sum_squares(y.tensor.view_mut(), x.view()).unwrap();
        let expected = oracle::dot(&x.values, &x.values);
        judge("sum_squares", device, y.view(), &[expected], Bound { terms: n, scale: 1.0 });
    }
    let mut y = Given::noise(device, 1, 1, Dtype::F32, 2);
    let nothing = device.alloc(Shape::vector(0), Dtype::F32).unwrap();
    device.sum_squares(y.tensor.view_mut(), nothing.view()).unwrap();
    judge("sum_squares of nothing", device, y.view(), &[0.0], EXACT);
}
