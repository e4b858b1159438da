//! Products: every form's gradients are products of the other forms, and an epilogue's are the ops
//! that undo it.

use super::{agree, device, sum, Given};
use crate::oracle::{self, dot, slope};
use engine::device::{Device, Epilogue, Form, Gelu, LowRank, Write};

const M: usize = 6;
const N: usize = 8;
const K: usize = 5;
const RANK: usize = 3;

/// Rows and columns of a and b.
fn shapes(form: Form) -> [(usize, usize); 2] {
    match form {
        Form::Nt => [(M, K), (N, K)],
        Form::Nn => [(M, K), (K, N)],
        Form::Tn => [(K, M), (K, N)],
    }
}

/// The gradients of a and b, added to what stands in them.
fn product_backward(
    device: &Device,
    d: [&mut Given; 2],
    dy: &Given,
    a: &Given,
    b: &Given,
    form: Form,
) {
    let add = || Epilogue { write: Write::Add, ..Epilogue::default() };
    let [d_a, d_b] = d.map(|d| d.tensor.view_mut());
    let (dy, a, b) = (dy.view(), a.view(), b.view());
    match form {
        Form::Nt => {
            device.matmul(d_a, dy, b, Form::Nn, add()).unwrap();
            device.matmul(d_b, dy, a, Form::Tn, add()).unwrap();
        }
        Form::Nn => {
            device.matmul(d_a, dy, b, Form::Nt, add()).unwrap();
            device.matmul(d_b, a, dy, Form::Tn, add()).unwrap();
        }
        Form::Tn => {
            device.matmul(d_a, b, dy, Form::Nt, add()).unwrap();
            device.matmul(d_b, a, dy, Form::Nn, add()).unwrap();
        }
    }
}

#[test]
fn every_form_by_the_others() {
    let device = device();
    for form in [Form::Nt, Form::Nn, Form::Tn] {
        let [a, b] = [0, 1].map(|i| {
            let (rows, cols) = shapes(form)[i];
            Given::noise(&device, rows, cols, i as u64)
        });
        let dy = Given::noise(&device, M, N, 2);
        let loss = |a: &[f64], b: &[f64]| dot(&dy.values, &oracle::matmul(a, b, (M, N, K), form));
        let mut d_a = Given::noise(&device, shapes(form)[0].0, shapes(form)[0].1, 3);
        let mut d_b = Given::noise(&device, shapes(form)[1].0, shapes(form)[1].1, 4);
        product_backward(&device, [&mut d_a, &mut d_b], &dy, &a, &b, form);
        let d = slope(&a.values, |a| loss(a, &b.values));
        agree(&format!("{form:?}, a"), &device, d_a.view(), &sum(&d_a.values, &d));
        let d = slope(&b.values, |b| loss(&a.values, b));
        agree(&format!("{form:?}, b"), &device, d_b.view(), &sum(&d_b.values, &d));
    }
}

/// What a product may take besides its operands; the names of its inputs.
struct Inputs {
    a: Given,
    b: Given,
    bias: Given,
    z: Given,
    factor: Given,
    residual: Given,
    before: Given,
}

const SCALES: [f64; 3] = [0.75, 0.5, 1.25];

/// y' = [y +] residual_scale·residual + gelu(scale·a·b + low_rank_scale·z·factor + bias), in f64.
/// `choice` says which parts.
fn forward(choice: u32, form: Form, values: [&[f64]; 7]) -> Vec<f64> {
    let [a, b, bias, z, factor, residual, before] = values;
    let has = |bit: u32| choice >> bit & 1 == 1;
    let low_rank = oracle::matmul(z, factor, (M, N, RANK), form);
    let product = oracle::matmul(a, b, (M, N, K), form);
    (0..M * N)
        .map(|i| {
            let mut y = SCALES[0] * product[i];
            y += if has(0) { bias[i % N] } else { 0.0 };
            y += if has(3) { SCALES[1] * low_rank[i] } else { 0.0 };
            y = gelu(choice).map_or(y, |form| oracle::gelu(y, form));
            y += if has(4) { SCALES[2] * residual[i] } else { 0.0 };
            y + if has(5) { before[i] } else { 0.0 }
        })
        .collect()
}

fn gelu(choice: u32) -> Option<Gelu> {
    (choice >> 1 & 1 == 1).then_some(if choice >> 2 & 1 == 1 { Gelu::Erf } else { Gelu::Tanh })
}

#[test]
fn every_part_of_an_epilogue() {
    let device = device();
    for form in [Form::Nt, Form::Nn] {
        let [a, b] = shapes(form);
        let factor = if form == Form::Nt { (N, RANK) } else { (RANK, N) };
        let noise = |(rows, cols): (usize, usize), seed| Given::noise(&device, rows, cols, seed);
        let inputs = Inputs {
            a: noise(a, 1),
            b: noise(b, 2),
            bias: noise((1, N), 3),
            z: noise((M, RANK), 4),
            factor: noise(factor, 5),
            residual: noise((M, N), 6),
            before: noise((M, N), 7),
        };
        for choice in 0..64 {
            one_epilogue(&device, &inputs, form, choice);
        }
    }
}

/// The chain that a layer's backward uses: GELU's slope at the kept argument, then sums and
/// products, scaled.
fn one_epilogue(device: &Device, inputs: &Inputs, form: Form, choice: u32) {
    let has = |bit: u32| choice >> bit & 1 == 1;
    let Inputs { a, b, bias, z, factor, residual, before } = inputs;
    let dy = Given::noise(device, M, N, 8);
    let slope_of = |which: usize| -> Vec<f64> {
        let all = [a, b, bias, z, factor, residual, before].map(|given| &given.values[..]);
        slope(all[which], |x| {
            let mut values = all;
            values[which] = x;
            dot(&dy.values, &forward(choice, form, values))
        })
    };
    let label = |part: &str| format!("{form:?} epilogue {choice:06b}: {part}");

    let mut y = Given::new(device, &before.values, M, N);
    let mut argument = Given::noise(device, M, N, 9);
    let epilogue = Epilogue {
        scale: SCALES[0] as f32,
        bias: has(0).then(|| bias.view()),
        gelu: gelu(choice),
        pre_activation: has(1).then(|| argument.tensor.view_mut()),
        gelu_of: None,
        low_rank: has(3).then(|| LowRank {
            z: z.view(),
            factor: factor.view(),
            scale: SCALES[1] as f32,
        }),
        residual: has(4).then(|| (residual.view(), SCALES[2] as f32)),
        write: if has(5) { Write::Add } else { Write::Set },
    };
    device.matmul(y.tensor.view_mut(), a.view(), b.view(), form, epilogue).unwrap();

    let mut d = Given::new(device, &dy.values, M, N);
    if let Some(form) = gelu(choice) {
        device.gelu_backward(d.tensor.view_mut(), dy.view(), argument.view(), form).unwrap();
    }
    // d·bᵀ and the low-rank tail of z's own producer are one fused product in the model; here z is
    // an input.
    let scaled = |scale: f64| Epilogue { scale: scale as f32, ..Epilogue::default() };
    let back = if form == Form::Nt { Form::Nn } else { Form::Nt };
    let mut d_a = Given::noise(device, M, K, 10);
    device.matmul(d_a.tensor.view_mut(), d.view(), b.view(), back, scaled(SCALES[0])).unwrap();
    agree(&label("a"), device, d_a.view(), &slope_of(0));
    let mut d_b = Given::noise(device, b.tensor.shape().rows(), b.tensor.shape().cols(), 11);
    let (left, right) = if form == Form::Nt { (d.view(), a.view()) } else { (a.view(), d.view()) };
    device.matmul(d_b.tensor.view_mut(), left, right, Form::Tn, scaled(SCALES[0])).unwrap();
    agree(&label("b"), device, d_b.view(), &slope_of(1));
    if has(0) {
        let mut d_bias = Given::noise(device, 1, N, 12);
        device.sum_rows(d_bias.tensor.view_mut(), d.view()).unwrap();
        agree(&label("bias"), device, d_bias.view(), &sum(&d_bias.values, &slope_of(2)));
    }
    if has(3) {
        let mut d_z = Given::noise(device, M, RANK, 13);
        device
            .matmul(d_z.tensor.view_mut(), d.view(), factor.view(), back, scaled(SCALES[1]))
            .unwrap();
        agree(&label("z"), device, d_z.view(), &slope_of(3));
        let shape = factor.tensor.shape();
        let mut d_factor = Given::noise(device, shape.rows(), shape.cols(), 14);
        let (left, right) =
            if form == Form::Nt { (d.view(), z.view()) } else { (z.view(), d.view()) };
        device
            .matmul(d_factor.tensor.view_mut(), left, right, Form::Tn, scaled(SCALES[1]))
            .unwrap();
        agree(&label("factor"), device, d_factor.view(), &slope_of(4));
    }
    if has(4) {
        let mut d_residual = Given::noise(device, M, N, 15);
        device.blend(d_residual.tensor.view_mut(), dy.view(), SCALES[2] as f32, 0.0).unwrap();
        agree(&label("residual"), device, d_residual.view(), &slope_of(5));
    }
    if has(5) {
        agree(&label("before"), device, dy.view(), &slope_of(6));
    }
}

/// y = x·Wᵀ + scale·(x·Aᵀ)·Bᵀ backwards, as adapted linears do it: the gradients of x·Aᵀ and of B
/// together, that of x in one product with a low-rank tail.
#[test]
fn the_input_of_an_adapted_linear() {
    let device = device();
    let (x, w) = (Given::noise(&device, M, K, 1), Given::noise(&device, N, K, 2));
    let (a, b) = (Given::noise(&device, RANK, K, 3), Given::noise(&device, N, RANK, 4));
    let dy = Given::noise(&device, M, N, 5);
    let scale = 1.5;
    let loss = |x: &[f64], a: &[f64], b: &[f64]| {
        let z = oracle::matmul(x, a, (M, RANK, K), Form::Nt);
        let tail = oracle::matmul(&z, b, (M, N, RANK), Form::Nt);
        let y = oracle::matmul(x, &w.values, (M, N, K), Form::Nt);
        dot(&dy.values, &y) + scale * dot(&dy.values, &tail)
    };
    let mut z = Given::noise(&device, M, RANK, 6);
    device.matmul(z.tensor.view_mut(), x.view(), a.view(), Form::Nt, Epilogue::default()).unwrap();
    let mut dz = Given::noise(&device, M, RANK, 7);
    let mut d_b = Given::noise(&device, N, RANK, 10);
    let to = (dz.tensor.view_mut(), d_b.tensor.view_mut());
    device.low_rank_backward(to.0, to.1, dy.view(), b.view(), z.view(), scale as f32).unwrap();
    let mut dx = Given::noise(&device, M, K, 8);
    let low_rank = Some(LowRank { z: dz.view(), factor: a.view(), scale: 1.0 });
    let tail = Epilogue { low_rank, ..Epilogue::default() };
    device.matmul(dx.tensor.view_mut(), dy.view(), w.view(), Form::Nn, tail).unwrap();
    agree("adapted, x", &device, dx.view(), &slope(&x.values, |x| loss(x, &a.values, &b.values)));
    let mut d_a = Given::noise(&device, RANK, K, 9);
    device
        .matmul(d_a.tensor.view_mut(), dz.view(), x.view(), Form::Tn, Epilogue::default())
        .unwrap();
    agree("adapted, A", &device, d_a.view(), &slope(&a.values, |a| loss(&x.values, a, &b.values)));
    let d = slope(&b.values, |b| loss(&x.values, &a.values, b));
    agree("adapted, B", &device, d_b.view(), &sum(&d_b.values, &d));
}
