//! Tables, norms, activations, dropout, losses.

use super::{agree, device, sum, Given};
use crate::oracle::{self, dot, indices, slope};
use engine::base::{Dtype, Shape};
use engine::device::{Aim, Dropout, Gelu, Normed, Write};

const ROWS: usize = 7;
const COLS: usize = 9;

#[test]
fn tables() {
    let device = device();
    let dy = Given::noise(&device, ROWS, COLS, 1);
    let tables: Vec<Given> =
        (0..3).map(|t| Given::noise(&device, 5 + t, COLS, 10 + t as u64)).collect();
    // Repeated ids: their gradients add up.
    let ids: Vec<Vec<u32>> = (0..3).map(|t| indices(ROWS, 5 + t, 20 + t as u64)).collect();
    for t in 0..3 {
        let loss = |table: &[f64]| {
            let parts: Vec<(&[f64], &[u32])> = (0..3)
                .map(|u| (if u == t { table } else { &tables[u].values[..] }, &ids[u][..]))
                .collect();
            dot(&dy.values, &oracle::embed(&parts, COLS))
        };
        let mut d_table = Given::noise(&device, 5 + t, COLS, 30);
        let expected = sum(&d_table.values, &slope(&tables[t].values, loss));
        let on_device = device.upload_u32(&ids[t]).unwrap();
        device.embed_backward(d_table.tensor.view_mut(), dy.view(), on_device.view()).unwrap();
        agree(&format!("embed, table {t}"), &device, d_table.view(), &expected);
    }
}

#[test]
fn layer_norm() {
    let device = device();
    let epsilon = 1e-5;
    for (rows, cols) in [(2, 5), (ROWS, COLS), (3, 70)] {
        let (x, dy) = (Given::noise(&device, rows, cols, 1), Given::noise(&device, rows, cols, 2));
        let (weight, bias) = (Given::noise(&device, 1, cols, 3), Given::noise(&device, 1, cols, 4));
        let loss = |x: &[f64], weight: &[f64], bias: &[f64]| {
            dot(&dy.values, &oracle::layernorm(x, weight, bias, f64::from(epsilon)).0)
        };
        let d_x = slope(&x.values, |x| loss(x, &weight.values, &bias.values));
        let mut y = Given::noise(&device, rows, cols, 5);
        let mut statistics = Given::noise(&device, rows, 2, 6);
        let (to, kept) = (y.tensor.view_mut(), statistics.tensor.view_mut());
        device.layernorm(to, kept, x.view(), weight.view(), bias.view(), epsilon).unwrap();
        for (write, trained) in [(Write::Set, false), (Write::Add, true)] {
            let mut dx = Given::noise(&device, rows, cols, 7);
            let mut d_weight = Given::noise(&device, 1, cols, 8);
            let mut d_bias = Given::noise(&device, 1, cols, 9);
            let expected = if write == Write::Add { sum(&dx.values, &d_x) } else { d_x.clone() };
            let slots = (d_weight.tensor.view_mut(), d_bias.tensor.view_mut());
            device
                .layernorm_backward(
                    dx.tensor.view_mut(),
                    trained.then_some(slots),
                    dy.view(),
                    Normed { x: x.view(), weight: weight.view(), statistics: statistics.view() },
                    write,
                )
                .unwrap();
            agree("layernorm, x", &device, dx.view(), &expected);
            if trained {
                let d = slope(&weight.values, |weight| loss(&x.values, weight, &bias.values));
                agree("layernorm, weight", &device, d_weight.view(), &sum(&d_weight.values, &d));
                let d = slope(&bias.values, |bias| loss(&x.values, &weight.values, bias));
                agree("layernorm, bias", &device, d_bias.view(), &sum(&d_bias.values, &d));
            }
        }
    }
}

#[test]
fn both_forms_of_gelu() {
    let device = device();
    // From the left, where the slope dies, to the right, where it is 1; beyond, the oracle's series
    // loses its digits.
    let values: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.13 - 3.9).collect();
    let x = Given::new(&device, &values, 6, 10);
    let dy = Given::noise(&device, 6, 10, 1);
    for form in [Gelu::Tanh, Gelu::Erf] {
        let loss =
            |x: &[f64]| x.iter().zip(&dy.values).map(|(&x, dy)| dy * oracle::gelu(x, form)).sum();
        let mut dx = Given::noise(&device, 6, 10, 2);
        device.gelu_backward(dx.tensor.view_mut(), dy.view(), x.view(), form).unwrap();
        agree(&format!("gelu {form:?}"), &device, dx.view(), &slope(&x.values, loss));
    }
}

/// y' = alpha·x + beta·y: the gradient of x is a blend of its own, and so is that of y.
#[test]
fn a_blend() {
    let device = device();
    let (x, y) = (Given::noise(&device, ROWS, COLS, 1), Given::noise(&device, ROWS, COLS, 2));
    let dy = Given::noise(&device, ROWS, COLS, 3);
    for (alpha, beta) in [(1.0, 1.0), (7.5, 1.0), (-0.5, 0.25)] {
        let blend = |x: &[f64], y: &[f64]| -> Vec<f64> {
            x.iter().zip(y).map(|(x, y)| alpha * x + beta * y).collect()
        };
        let mut dx = Given::noise(&device, ROWS, COLS, 4);
        let d = slope(&x.values, |x| dot(&dy.values, &blend(x, &y.values)));
        device.blend(dx.tensor.view_mut(), dy.view(), alpha as f32, 1.0).unwrap();
        agree("blend, x", &device, dx.view(), &sum(&dx.values, &d));
        let mut d_before = Given::noise(&device, ROWS, COLS, 5);
        let d = slope(&y.values, |y| dot(&dy.values, &blend(&x.values, y)));
        device.blend(d_before.tensor.view_mut(), dy.view(), beta as f32, 0.0).unwrap();
        agree("blend, y", &device, d_before.view(), &d);
    }
}

#[test]
fn dropout_is_its_own_backward() {
    let device = device();
    let (x, dy) = (Given::noise(&device, ROWS, COLS, 1), Given::noise(&device, ROWS, COLS, 2));
    let words = indices(3 * ROWS, u32::MAX as usize, 3);
    let bytes = bytemuck::cast_slice(&words);
    let rows = device.upload_bytes(bytes, Shape::matrix(ROWS, 3), Dtype::U32).unwrap();
    for rate in [0.1, 0.5] {
        let key = Dropout::key(5, 6, 7);
        let factors = oracle::dropout_factors(key, rate, &words, COLS);
        assert!(factors.contains(&0.0), "something is dropped");
        let loss = |x: &[f64]| {
            dot(&dy.values, &x.iter().zip(&factors).map(|(x, f)| x * f).collect::<Vec<_>>())
        };
        let d = slope(&x.values, loss);
        for write in [Write::Set, Write::Add] {
            let mut dx = Given::noise(&device, ROWS, COLS, 4);
            let expected = if write == Write::Add { sum(&dx.values, &d) } else { d.clone() };
            let dropout = Dropout { rate, key, rows: rows.view() };
            device.dropout(dx.tensor.view_mut(), dy.view(), dropout, write).unwrap();
            agree(&format!("dropout {rate}"), &device, dx.view(), &expected);
        }
    }
}

#[test]
fn cross_entropy() {
    let device = device();
    for (rows, cols) in [(1, 2), (5, 40), (3, 301)] {
        let values: Vec<f64> = oracle::noise(rows * cols, 1).iter().map(|x| 4.0 * x).collect();
        let mut logits = Given::new(&device, &values, rows, cols);
        let weights = Given::noise(&device, 1, rows, 2);
        let targets = indices(rows, cols, 3);
        let total = |logits: &[f64]| {
            dot(&weights.values, &oracle::cross_entropy(logits, &targets, &weights.values).0)
        };
        let expected = slope(&logits.values, total);
        let mut loss = Given::noise(&device, 1, rows, 4);
        let ids = device.upload_u32(&targets).unwrap();
        let (to, from) = (loss.tensor.view_mut(), logits.tensor.view_mut());
        device.cross_entropy(to, from, ids.view(), weights.view()).unwrap();
        agree("cross entropy", &device, logits.view(), &expected);
    }
}

/// Whatever the temperature, and whatever is to be chosen: one of them, or some of each.
#[test]
fn choice_loss() {
    let device = device();
    let first = [0, 2, 2, 9, 10];
    let values: Vec<f64> = oracle::noise(10, 1).iter().map(|x| 4.0 * x).collect();
    let weights = Given::noise(&device, 1, 4, 2);
    let places = [1, 0, 4, 0];
    let shares = [0.75, 0.25, 0.0, 0.125, 0.5, 0.125, 0.0, 0.0, 0.25, 1.0];
    let given = Given::new(&device, &shares, 1, 10);
    let [starts, on_device] = [&first[..], &places].map(|x| device.upload_u32(x).unwrap());
    for temperature in [1.0, 0.5, 3.0] {
        for (aim, shares) in [
            (Aim::Place(on_device.view()), &oracle::one_hot(&first, &places)[..]),
            (Aim::Shares(given.view()), &shares),
        ] {
            let mut logits = Given::new(&device, &values, 1, 10);
            let mut loss = Given::noise(&device, 1, 4, 3);
            let total = |logits: &[f64]| {
                let losses =
                    oracle::choice_loss(logits, &first, shares, &weights.values, temperature).0;
                dot(&weights.values, &losses)
            };
            let expected = slope(&logits.values, total);
            let (to, from) = (loss.tensor.view_mut(), logits.tensor.view_mut());
            device
                .choice_loss(to, from, starts.view(), aim, weights.view(), temperature as f32)
                .unwrap();
            agree(&format!("choice loss at {temperature}"), &device, logits.view(), &expected);
        }
    }
}

/// y = x·tableᵀ at few places: the gradient of x is a sparse product by rows, that of the table one
/// by columns.
#[test]
fn products_of_few_columns() {
    let device = device();
    let (x, table) = (Given::noise(&device, 3, COLS, 1), Given::noise(&device, 5, COLS, 2));
    let (first, ids) = ([0, 3, 3, 7], [4, 0, 4, 1, 0, 3, 0]);
    let dy = Given::noise(&device, 1, ids.len(), 3);
    let loss = |x: &[f64], table: &[f64]| {
        dot(&dy.values, &oracle::sampled_product(x, table, COLS, &first, &ids))
    };
    let run = |rows: usize, table: &Given, lists: [&[u32]; 3], expected: &[f64], what: &str| {
        let mut y = Given::noise(&device, rows, COLS, 4);
        let [first, ids, places] = lists.map(|words| device.upload_u32(words).unwrap());
        let (to, at) = (y.tensor.view_mut(), places.view());
        let lists = (first.view(), ids.view());
        device.sparse_product(to, table.view(), lists.0, lists.1, at, dy.view()).unwrap();
        agree(what, &device, y.view(), expected);
    };
    let d_x = slope(&x.values, |x| loss(x, &table.values));
    run(3, &table, [&first, &ids, &[0, 1, 2, 3, 4, 5, 6]], &d_x, "sampled product, x");
    let d_table = slope(&table.values, |table| loss(&x.values, table));
    // Of each row of the table the rows of x that asked for it, and where.
    let (rows, places) = ([0, 2, 2, 2, 2, 0, 0], [1, 4, 6, 3, 5, 0, 2]);
    run(5, &x, [&[0, 3, 4, 4, 5, 7], &rows, &places], &d_table, "sampled product, table");
}
