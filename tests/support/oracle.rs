//! The ops in f64, written for plainness: loops over indices, formulas as in the documents of
//! `device::ops`.
#![allow(dead_code)] // conformance uses one part of it, gradients another

use engine::base::{Philox, Stream};
use engine::device::{AdamW, Form, Gelu};
use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

/// Values between -1 and 1 that repeat from run to run.
pub fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Philox::new(seed, Stream::Synthetic, n as u64);
    (0..n).map(|_| 2.0 * rng.uniform() - 1.0).collect()
}

/// Indices below `limit`, with repetitions.
pub fn indices(n: usize, limit: usize, seed: u64) -> Vec<u32> {
    let mut rng = Philox::new(seed, Stream::Synthetic, 1 << 40);
    (0..n).map(|_| rng.below(limit) as u32).collect()
}

pub fn to_f32(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

pub fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// df/dx by central differences.
pub fn slope(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let here = x[i];
            x[i] = here + STEP;
            let above = f(&x);
            x[i] = here - STEP;
            let below = f(&x);
            x[i] = here;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

pub fn embed(tables: &[(&[f64], &[u32])], cols: usize) -> Vec<f64> {
    let rows = tables[0].1.len();
    let mut y = vec![0.0; rows * cols];
    for (table, ids) in tables {
        for r in 0..rows {
            for c in 0..cols {
                y[r * cols + c] += table[ids[r] as usize * cols + c];
            }
        }
    }
    y
}

/// y and, per row, mean and 1/√(var + ε).
pub fn layernorm(x: &[f64], weight: &[f64], bias: &[f64], epsilon: f64) -> (Vec<f64>, Vec<f64>) {
    let cols = weight.len();
    let (mut y, mut statistics) = (Vec::new(), Vec::new());
    for row in x.chunks(cols) {
        let mean = row.iter().sum::<f64>() / cols as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        statistics.extend([mean, inverse]);
        y.extend((0..cols).map(|c| (row[c] - mean) * inverse * weight[c] + bias[c]));
    }
    (y, statistics)
}

/// The bare product, y `[m, n]`; each sum over k from first to last.
pub fn matmul(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize), form: Form) -> Vec<f64> {
    let mut y = vec![0.0; m * n];
    // Rows of y take rows of b, whichever way b lies: most of the time of conformance is here.
    let turned: Vec<f64>;
    let b = match form {
        Form::Nt => {
            turned = (0..k * n).map(|i| b[i % n * k + i / n]).collect();
            &turned
        }
        Form::Nn | Form::Tn => b,
    };
    for i in 0..m {
        for l in 0..k {
            let a = if form == Form::Tn { a[l * m + i] } else { a[i * k + l] };
            for (y, b) in y[i * n..][..n].iter_mut().zip(&b[l * n..][..n]) {
                *y += a * b;
            }
        }
    }
    y
}

/// dz `[m, rank]` and what is added to dB `[n, rank]`, of dy `[m, n]`.
pub fn low_rank_backward(
    dy: &[f64],
    b: &[f64],
    z: &[f64],
    (m, n, rank): (usize, usize, usize),
    scale: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut dz, mut d_b) = (vec![0.0; m * rank], vec![0.0; n * rank]);
    for i in 0..m {
        for j in 0..n {
            for l in 0..rank {
                dz[i * rank + l] += scale * dy[i * n + j] * b[j * rank + l];
                d_b[j * rank + l] += scale * dy[i * n + j] * z[i * rank + l];
            }
        }
    }
    (dz, d_b)
}

/// erf by its Maclaurin series; from |x| = 5 on it is ±1 to f64's last digits that matter here.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * FRAC_2_SQRT_PI
}

pub fn gelu(x: f64, form: Gelu) -> f64 {
    match form {
        Gelu::Tanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * x * (1.0 + 0.044715 * x * x)).tanh()),
        Gelu::Erf => 0.5 * x * (1.0 + erf(x / SQRT_2)),
    }
}

pub fn gelu_slope(x: f64, form: Gelu) -> f64 {
    match form {
        Gelu::Tanh => {
            let u = (2.0 / PI).sqrt() * x * (1.0 + 0.044715 * x * x);
            let du = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            0.5 * (1.0 + u.tanh()) + 0.5 * x * (1.0 - u.tanh().powi(2)) * du
        }
        Gelu::Erf => 0.5 * (1.0 + erf(x / SQRT_2)) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt(),
    }
}

/// Zero or 1/(1 - rate) for each element; `rows` holds example (low, high) and place.
pub fn dropout_factors(key: [u32; 2], rate: f32, rows: &[u32], cols: usize) -> Vec<f64> {
    let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
    let mut factors = Vec::new();
    for row in rows.chunks(3) {
        for c in 0..cols {
            let words = Philox::block(key, [(c / 4) as u32, row[2], row[0], row[1]]);
            let kept = 1.0 / (1.0 - f64::from(rate));
            factors.push(if words[c % 4] < threshold { 0.0 } else { kept });
        }
    }
    factors
}

pub fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - max - log_sum).collect()
}

/// Loss of each row and weight·(softmax - one-hot).
pub fn cross_entropy(logits: &[f64], targets: &[u32], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let cols = logits.len() / targets.len();
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for ((row, &target), weight) in logits.chunks(cols).zip(targets).zip(weights) {
        let log_probs = log_softmax(row);
        losses.push(-log_probs[target as usize]);
        gradient.extend(log_probs.iter().enumerate().map(|(c, log_prob)| {
            let hot = if c == target as usize { 1.0 } else { 0.0 };
            weight * (log_prob.exp() - hot)
        }));
    }
    (losses, gradient)
}

/// Row by row the products with the rows of `table` that are asked for.
pub fn sampled_product(
    x: &[f64],
    table: &[f64],
    cols: usize,
    first: &[u32],
    ids: &[u32],
) -> Vec<f64> {
    let mut y = Vec::new();
    for (r, ends) in first.windows(2).enumerate() {
        for j in ends[0] as usize..ends[1] as usize {
            y.push(dot(&x[r * cols..][..cols], &table[ids[j] as usize * cols..][..cols]));
        }
    }
    y
}

/// Row by row the sum of rows of `table`, each with the weight at its place.
pub fn sparse_product(
    table: &[f64],
    cols: usize,
    first: &[u32],
    ids: &[u32],
    places: &[u32],
    weights: &[f64],
) -> Vec<f64> {
    let mut y = vec![0.0; (first.len() - 1) * cols];
    for (r, ends) in first.windows(2).enumerate() {
        for j in ends[0] as usize..ends[1] as usize {
            for c in 0..cols {
                let x = table[ids[j] as usize * cols + c];
                y[r * cols + c] += weights[places[j] as usize] * x;
            }
        }
    }
    y
}

/// All of a share at one place of each part.
pub fn one_hot(first: &[u32], places: &[u32]) -> Vec<f64> {
    let mut shares = vec![0.0; first[first.len() - 1] as usize];
    for (ends, place) in first.windows(2).zip(places) {
        if ends[0] < ends[1] {
            shares[(ends[0] + place) as usize] = 1.0;
        }
    }
    shares
}

/// Loss of each part, -temperature·Σ share·ln p with p = softmax(part/temperature), and
/// weight·(p - share).
pub fn choice_loss(
    logits: &[f64],
    first: &[u32],
    shares: &[f64],
    weights: &[f64],
    temperature: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (ends, weight) in first.windows(2).zip(weights) {
        let part = ends[0] as usize..ends[1] as usize;
        let cooled: Vec<f64> = logits[part.clone()].iter().map(|z| z / temperature).collect();
        let mut loss = 0.0;
        for (log_prob, share) in log_softmax(&cooled).iter().zip(&shares[part]) {
            // Nothing of what cannot be is nothing.
            loss -= if *share == 0.0 { 0.0 } else { temperature * share * log_prob };
            gradient.push(weight * (log_prob.exp() - share));
        }
        losses.push(loss);
    }
    (losses, gradient)
}

/// Columns of the k largest, descending, ties by smaller column.
pub fn top_k(row: &[f64], k: usize) -> Vec<u32> {
    let mut columns: Vec<u32> = (0..row.len() as u32).collect();
    columns.sort_by(|&a, &b| {
        row[b as usize].partial_cmp(&row[a as usize]).expect("no NaN").then(a.cmp(&b))
    });
    columns.truncate(k);
    columns
}

/// One AdamW step of one element: (parameter, moment1, moment2) after it.
pub fn adamw(p: f64, m: f64, v: f64, g: f64, numbers: AdamW) -> (f64, f64, f64) {
    let [rate, beta1, beta2, epsilon, decay, scale] = [
        numbers.learning_rate,
        numbers.beta1,
        numbers.beta2,
        numbers.epsilon,
        numbers.weight_decay,
        numbers.gradient_scale,
    ]
    .map(f64::from);
    let g = g * scale;
    let m = beta1 * m + (1.0 - beta1) * g;
    let v = beta2 * v + (1.0 - beta2) * g * g;
    let step = numbers.step as i32;
    let (m_hat, v_hat) = (m / (1.0 - beta1.powi(step)), v / (1.0 - beta2.powi(step)));
    (p - rate * decay * p - rate * m_hat / (v_hat.sqrt() + epsilon), m, v)
}
