//! Every entry point of the kernels at one small shape, by the ops that launch it: awkward enough
//! to reach it, straight enough that what its counts show is its own doing.

use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::*;

const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];
const HALVES: [Dtype; 2] = [Dtype::F16, Dtype::Bf16];
const F32: Dtype = Dtype::F32;

/// Columns that allow 16 bytes at a time, and such that allow one element.
const COLUMNS: [usize; 2] = [1024, 1022];
/// At the head, so many times as many: there what a row costs is in its columns.
const HEAD: usize = 16;
const ROWS: usize = 8;
/// Elements of a flat range of as many columns: rows do not count there.
fn flat(cols: usize) -> usize {
    ROWS * 1024 + cols % 8
}

/// Values between -1 and 1, the same in every run.
fn noise(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Tensor {
    let mut random = Philox::new(1, Stream::Synthetic, (rows * 31 + cols) as u64);
    let values: Vec<f32> = (0..rows * cols).map(|_| 2.0 * random.uniform() as f32 - 1.0).collect();
    device.upload_f32(&values, Shape::matrix(rows, cols), dtype).unwrap()
}

fn zeros(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Tensor {
    device.zeros(Shape::matrix(rows, cols), dtype).unwrap()
}

/// Ids that walk through a table.
fn walk(device: &Device, count: usize, below: usize) -> Tensor {
    let ids: Vec<u32> = (0..count).map(|i| (i * 7919 % below) as u32).collect();
    device.upload_u32(&ids).unwrap()
}

/// Bounds of `rows` parts of `each`.
fn parts(device: &Device, rows: usize, each: usize) -> Tensor {
    device.upload_u32(&(0..=rows).map(|r| (r * each) as u32).collect::<Vec<u32>>()).unwrap()
}

/// Example and place of each row, for dropout.
fn triples(device: &Device, rows: usize) -> Tensor {
    let names: Vec<u32> = (0..3 * rows as u32).collect();
    let mut places = device.alloc(Shape::matrix(rows, 3), Dtype::U32).unwrap();
    device.write_u32(places.view_mut(), &names).unwrap();
    places
}

/// Launches all of them.
pub fn all(device: &Device) {
    device.ceilings().unwrap();
    for cols in COLUMNS {
        for dtype in FLOATS {
            around_the_layers(device, cols, dtype);
            in_a_layer(device, cols, dtype);
            flat_ops(device, flat(cols), dtype);
            at_the_head(device, HEAD * 1024 + cols - COLUMNS[0], dtype);
            among_few(device, cols, dtype);
        }
    }
    of_the_optimiser(device);
    products(device);
    for dtype in HALVES {
        tensor_products(device, dtype);
    }
    for dtype in FLOATS {
        attention(device, 2, 32, dtype);
        cached(device, 2, 32, dtype);
        rotation(device, 64, dtype);
        rotation(device, 24, dtype);
    }
    for (dtype, size) in HALVES.into_iter().flat_map(|dtype| [(dtype, 64), (dtype, 128)]) {
        attention(device, 2, size, dtype);
        cached(device, 2, size, dtype);
    }
}

fn around_the_layers(device: &Device, cols: usize, dtype: Dtype) {
    let table = noise(device, 40, cols, dtype);
    let ids = walk(device, ROWS, 40);
    let mut y = zeros(device, ROWS, cols, dtype);
    let tables = [(table.view(), ids.view()), (table.view(), ids.view())];
    device.embed(y.view_mut(), &tables, Write::Set).unwrap();
    let mut d_table = zeros(device, 40, cols, F32);
    device.embed_backward(d_table.view_mut(), y.view(), ids.view()).unwrap();
}

fn in_a_layer(device: &Device, cols: usize, dtype: Dtype) {
    let (x, dy) = (noise(device, ROWS, cols, dtype), noise(device, ROWS, cols, dtype));
    let (weight, bias) = (noise(device, 1, cols, F32), noise(device, 1, cols, F32));
    let mut y = zeros(device, ROWS, cols, dtype);
    let mut statistics = zeros(device, ROWS, 2, F32);
    let (to, found) = (y.view_mut(), statistics.view_mut());
    device.layernorm(to, found, x.view(), weight.view(), bias.view(), 1e-5).unwrap();
    let (mut d_weight, mut d_bias) = (zeros(device, 1, cols, F32), zeros(device, 1, cols, F32));
    let normed = Normed { x: x.view(), weight: weight.view(), statistics: statistics.view() };
    let parameters = Some((d_weight.view_mut(), d_bias.view_mut()));
    device.layernorm_backward(y.view_mut(), parameters, dy.view(), normed, Write::Set).unwrap();
    let rows = triples(device, ROWS);
    let dropout = Dropout { rate: 0.1, key: Dropout::key(1, 1, 1), rows: rows.view() };
    device.dropout(y.view_mut(), x.view(), dropout, Write::Set).unwrap();
}

/// Element by element.
fn flat_ops(device: &Device, n: usize, dtype: Dtype) {
    let (x, dy) = (noise(device, 1, n, dtype), noise(device, 1, n, dtype));
    let mut y = zeros(device, 1, n, dtype);
    for form in [Gelu::Tanh, Gelu::Erf] {
        device.gelu(y.view_mut(), x.view(), form).unwrap();
        device.gelu_backward(y.view_mut(), dy.view(), x.view(), form).unwrap();
    }
    device.blend(y.view_mut(), x.view(), 0.5, 0.5).unwrap();
    for from in FLOATS {
        device.cast(y.view_mut(), noise(device, 1, n, from).view()).unwrap();
    }
}

/// Two launches alike of 64 blocks.
pub fn blended(device: &Device) {
    let x = noise(device, 64 * 4, 256, F32);
    let mut y = zeros(device, 64 * 4, 256, F32);
    for _ in 0..2 {
        device.blend(y.view_mut(), x.view(), 0.5, 0.5).unwrap();
    }
}

fn at_the_head(device: &Device, cols: usize, dtype: Dtype) {
    let mut logits = noise(device, ROWS, cols, dtype);
    let (first, ids) = (parts(device, ROWS, 20), walk(device, ROWS * 20, cols));
    let mut y = zeros(device, 1, ROWS * 20, F32);
    device.log_probs_at(y.view_mut(), logits.view(), first.view(), ids.view()).unwrap();
    let mut values = zeros(device, ROWS, 20, F32);
    let mut columns = device.alloc(Shape::matrix(ROWS, 20), Dtype::U32).unwrap();
    device.top_k(values.view_mut(), columns.view_mut(), logits.view()).unwrap();
    let (targets, weights) = (walk(device, ROWS, cols), noise(device, 1, ROWS, F32));
    let mut loss = zeros(device, 1, ROWS, F32);
    device
        .cross_entropy(loss.view_mut(), logits.view_mut(), targets.view(), weights.view())
        .unwrap();
}

fn among_few(device: &Device, cols: usize, dtype: Dtype) {
    let (x, table) = (noise(device, ROWS, cols, dtype), noise(device, 40, cols, dtype));
    let (first, ids) = (parts(device, ROWS, 20), walk(device, ROWS * 20, 40));
    let mut logits = zeros(device, 1, ROWS * 20, F32);
    device
        .sampled_product(logits.view_mut(), x.view(), table.view(), first.view(), ids.view())
        .unwrap();
    let weights = noise(device, 1, ROWS * 20, F32);
    let places = walk(device, ROWS * 20, ROWS * 20);
    let mut y = zeros(device, ROWS, cols, dtype);
    let (to, lists) = (y.view_mut(), (first.view(), ids.view(), places.view()));
    device.sparse_product(to, table.view(), lists.0, lists.1, lists.2, weights.view()).unwrap();
    let (aims, shares) = (device.upload_u32(&[3; ROWS]).unwrap(), noise(device, 1, ROWS, F32));
    let mut loss = zeros(device, 1, ROWS, F32);
    let (to, aim) = ((loss.view_mut(), logits.view_mut()), Aim::Place(aims.view()));
    device.choice_loss(to.0, to.1, first.view(), aim, shares.view(), 1.0).unwrap();
    // As wide as what may begin an item.
    let (first, mut logits) = (parts(device, ROWS, 1024), noise(device, 1, ROWS * 1024, F32));
    device.choice_log_probs(logits.view_mut(), first.view(), 1.0).unwrap();
    let mut values = zeros(device, ROWS, 20, F32);
    let mut places = device.alloc(Shape::matrix(ROWS, 20), Dtype::U32).unwrap();
    let to = (values.view_mut(), places.view_mut());
    device.choice_top_k(to.0, to.1, logits.view(), first.view()).unwrap();
}

/// Where addresses allow 16 bytes, and a float further.
fn of_the_optimiser(device: &Device) {
    const N: usize = 1 << 15;
    for from in [0, 1] {
        let column = || zeros(device, N + 1, 1, F32);
        let (gradient, mut p, mut m1, mut m2) = (column(), column(), column(), column());
        let numbers = AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: 1,
            gradient_scale: 1.0,
        };
        let gradient = gradient.view().row_range(from..from + N);
        let [p, m1, m2] =
            [&mut p, &mut m1, &mut m2].map(|x| x.view_mut().row_range(from..from + N));
        device.adamw(p, m1, m2, gradient, numbers).unwrap();
        let mut y = zeros(device, 1, 1, F32);
        device.sum_squares(y.view_mut(), gradient).unwrap();
    }
}

/// y = a·b of the given sizes.
fn product(
    device: &Device,
    form: Form,
    (m, n, k): (usize, usize, usize),
    dtypes: [Dtype; 3],
    epilogue: Epilogue,
) {
    let [to, of_a, of_b] = dtypes;
    let (a, b) = match form {
        Form::Nt => ((m, k), (n, k)),
        Form::Nn => ((m, k), (k, n)),
        Form::Tn => ((k, m), (k, n)),
    };
    let (a, b) = (noise(device, a.0, a.1, of_a), noise(device, b.0, b.1, of_b));
    let mut y = zeros(device, m, n, to);
    device.matmul(y.view_mut(), a.view(), b.view(), form, epilogue).unwrap();
}

/// Of the adapter, where activations are bf16, and of f32.
fn products(device: &Device) {
    const BF16: Dtype = Dtype::Bf16;
    for form in [Form::Nt, Form::Nn, Form::Tn] {
        product(device, form, (128, 128, 128), [F32; 3], Epilogue::default());
    }
    for form in [Form::Nt, Form::Nn] {
        for rows in [128, 16] {
            product(device, form, (rows, 8, 1024), [F32; 3], Epilogue::default());
        }
    }
    for k in [1024, 1022] {
        // A block for each of the four processors, and few rows.
        for rows in [256, 16] {
            product(device, Form::Nt, (rows, 8, k), [BF16, BF16, F32], Epilogue::default());
        }
        let (dy, b, z) =
            (noise(device, 512, k, BF16), noise(device, k, 8, F32), noise(device, 512, 8, BF16));
        let (mut dz, mut d_b) = (zeros(device, 512, 8, BF16), zeros(device, k, 8, F32));
        let to = (dz.view_mut(), d_b.view_mut());
        device.low_rank_backward(to.0, to.1, dy.view(), b.view(), z.view(), 2.0).unwrap();
    }
    let add = || Epilogue { write: Write::Add, ..Epilogue::default() };
    product(device, Form::Tn, (1024, 8, 512), [F32, BF16, BF16], add());
    product(device, Form::Tn, (8, 1024, 512), [F32, BF16, BF16], add());
    let (x, mut y) = (noise(device, 512, 1024, BF16), zeros(device, 1, 1024, F32));
    device.sum_rows(y.view_mut(), x.view()).unwrap();
}

/// As a layer has them: bias, residual and the adapter's tail forwards, the tail backwards.
fn tensor_products(device: &Device, dtype: Dtype) {
    // Deep enough for the loop over k to be what a block does: cards are of bf16.
    let deep = if dtype == Dtype::Bf16 { 2048 } else { 256 };
    // On four processors: a large tile each, a medium one, a small one, a half, a low, a narrow
    // one, few rows, any address.
    let sizes = [(512, 256), (128, 512), (64, 256), (128, 256), (48, 192), (32, 128), (16, 128)];
    for (m, n) in sizes.into_iter().chain([(64, 62)]) {
        let k = if n == 62 { deep - 2 } else { deep };
        let (z, bias) = (noise(device, m, 8, dtype), noise(device, 1, n, F32));
        let residual = noise(device, m, n, dtype);
        let low_rank = |factor| Some(LowRank { z: z.view(), factor, scale: 2.0 });
        let factor = noise(device, n, 8, F32);
        let forward = Epilogue {
            bias: Some(bias.view()),
            residual: Some((residual.view(), 1.0)),
            low_rank: low_rank(factor.view()),
            ..Epilogue::default()
        };
        product(device, Form::Nt, (m, n, k), [dtype; 3], forward);
        let factor = noise(device, 8, n, F32);
        let backward = Epilogue { low_rank: low_rank(factor.view()), ..Epilogue::default() };
        product(device, Form::Nn, (m, n, k), [dtype; 3], backward);
        if m > 16 {
            let add = Epilogue { write: Write::Add, ..Epilogue::default() };
            let m = if n == 62 { 62 } else { m };
            product(device, Form::Tn, (m, n, k), [F32, dtype, dtype], add);
        }
    }
}

/// One sequence, of which an eighth is causal, without dropout and with.
fn attention(device: &Device, heads: usize, size: usize, dtype: Dtype) {
    const LENGTH: u32 = 256;
    let (rows, h) = (LENGTH as usize, heads * size);
    let (qkv, dy) = (noise(device, rows, 3 * h, dtype), noise(device, rows, h, dtype));
    let mut y = zeros(device, rows, h, dtype);
    let mut log_sum_exp = zeros(device, rows, heads, F32);
    let segments = device.segments(vec![0, LENGTH], vec![LENGTH / 8 * 7]).unwrap();
    let places = triples(device, rows);
    let mask = Dropout { rate: 0.1, key: Dropout::key(1, 1, 1), rows: places.view() };
    for dropout in [None, Some(mask)] {
        let attend = Attend {
            qkv: qkv.view(),
            segments: &segments,
            heads: Heads { count: heads, layout: Qkv::Thirds },
            scale: 1.0 / (size as f32).sqrt(),
            dropout,
        };
        device.attention(y.view_mut(), log_sum_exp.view_mut(), attend).unwrap();
        let mut d_qkv = zeros(device, rows, 3 * h, dtype);
        device
            .attention_backward(d_qkv.view_mut(), dy.view(), y.view(), log_sum_exp.view(), attend)
            .unwrap();
    }
}

/// Twenty beams each of two requests, over a prompt and eight tokens of their own.
fn cached(device: &Device, heads: usize, size: usize, dtype: Dtype) {
    let (requests, beams, length, own) = (2, 20, 128, 8);
    let (rows, h) = (requests * beams, heads * size);
    let qkv = noise(device, rows, 3 * h, dtype);
    let slots = device.upload_u32(&(0..rows as u32).collect::<Vec<u32>>()).unwrap();
    let mut tail = noise(device, rows * own, 2 * h, dtype);
    let divided = Heads { count: heads, layout: Qkv::Thirds };
    device.cache_store(tail.view_mut(), qkv.view(), slots.view(), divided).unwrap();
    let prompt = noise(device, requests * length, 2 * h, dtype);
    let range = |r: usize| [r / beams * length, (r / beams + 1) * length].map(|at| at as u32);
    let path_start: Vec<u32> = (0..=rows).map(|r| (r * own) as u32).collect();
    let path: Vec<u32> = (0..(rows * own) as u32).collect();
    let cached = device.cache_rows((0..rows).map(range).collect(), &path_start, &path).unwrap();
    let mut y = zeros(device, rows, h, dtype);
    let attend = AttendCache {
        qkv: qkv.view(),
        prompt: prompt.view(),
        tail: tail.view(),
        rows: &cached,
        heads: divided,
        scale: 1.0 / (size as f32).sqrt(),
    };
    device.cache_attention(y.view_mut(), attend).unwrap();
}

fn rotation(device: &Device, size: usize, dtype: Dtype) {
    let (heads, pairs) = (4, size / 4);
    let mut x = noise(device, 16, 3 * heads * size, dtype);
    let (cos, sin) = (noise(device, 40, pairs, F32), noise(device, 40, pairs, F32));
    let positions = walk(device, 16, 40);
    let positions = [positions.view(), positions.view()];
    let rotary = Rotary { cos: cos.view(), sin: sin.view(), positions };
    let divided = Heads { count: heads, layout: Qkv::Thirds };
    device.rotate(x.view_mut(), rotary, divided, Turn::Forward).unwrap();
}
