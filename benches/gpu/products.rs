//! Products and attention, which tensor cores bound.

use super::rows::Sizes;
use super::{random, Cost, Op};
use engine::base::{Dtype, Shape};
use engine::device::*;

const BF16: Dtype = Dtype::Bf16;
const F32: Dtype = Dtype::F32;

pub fn ops(sizes: Sizes, emulated: bool) -> Vec<Op> {
    let Sizes { model, hidden: h, heads, inner, vocabulary, rows, targets, .. } = sizes;
    let linears = [
        ("query_key_value", 3 * h, h),
        ("dense", h, h),
        ("h_to_4h", inner, h),
        ("4h_to_h", h, inner),
    ];
    let mut ops = Vec::new();
    // A step, a small step, a group's prompts; the beams of a group, and of one user.
    for m in [rows, rows / 4, rows / 16] {
        for (linear, n, k) in linears {
            ops.extend(product(format!("{model} {linear} {m}"), m, n, k, Form::Nt));
            ops.extend(product(format!("{model} {linear} dx {m}"), m, k, n, Form::Nn));
        }
    }
    for m in [rows / 128 * 10, 20, 1] {
        for (linear, n, k) in linears {
            ops.extend(product(format!("{model} {linear} {m}"), m, n, k, Form::Nt));
        }
    }
    ops.extend(product(format!("{model} head {targets}"), targets, vocabulary, h, Form::Nt));
    let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
    let heads = Heads { count: heads, layout };
    ops.extend(attention(model, 8, rows / 8, heads, h));
    ops.extend(attention(model, 56, rows / 56, heads, h));
    ops.push(cache_attention(model, if emulated { 2 } else { 32 }, 20, rows / 64 + 1, heads, h));
    ops
}

/// A linear, and the same with everything a LoRA layer adds to it.
fn product(name: String, m: usize, n: usize, k: usize, form: Form) -> [Op; 2] {
    let cost =
        Cost { operations: 2.0 * (m * n * k) as f64, bytes: 2.0 * (m * k + n * k + m * n) as f64 };
    let operands = move |device: &Device| {
        let a = random(device, m, k, BF16)?;
        let (rows, cols) = if form == Form::Nt { (n, k) } else { (k, n) };
        let b = random(device, rows, cols, BF16)?;
        anyhow::Ok((device.alloc(Shape::matrix(m, n), BF16)?, a, b))
    };
    let mut plain = Op::new(name.clone(), cost, move |device| {
        let (mut y, a, b) = operands(device)?;
        Ok(Box::new(move |device| {
            device.matmul(y.view_mut(), a.view(), b.view(), form, Epilogue::default())
        }))
    });
    let mut fused = Op::new(format!("{name} +bias+low_rank"), cost, move |device| {
        let (mut y, a, b) = operands(device)?;
        let z = random(device, m, 8, BF16)?;
        let (rows, cols) = if form == Form::Nt { (n, 8) } else { (8, n) };
        let factor = random(device, rows, cols, F32)?;
        let bias = random(device, 1, n, F32)?;
        Ok(Box::new(move |device| {
            let epilogue = Epilogue {
                bias: (form == Form::Nt).then(|| bias.view()),
                low_rank: Some(LowRank { z: z.view(), factor: factor.view(), scale: 2.0 }),
                ..Epilogue::default()
            };
            device.matmul(y.view_mut(), a.view(), b.view(), form, epilogue)
        }))
    });
    for op in [&mut plain, &mut fused] {
        op.rival = Some(Box::new(move |library, device| {
            let (y, a, b) = operands(device)?;
            library.seconds(y.view(), a.view(), b.view(), form)
        }));
    }
    [plain, fused]
}

fn attention(model: &str, sequences: usize, length: usize, heads: Heads, h: usize) -> [Op; 2] {
    let name = format!("{model} attention {sequences}x{length}");
    let (rows, context) = (sequences * length, length * 7 / 8);
    // Pairs of query and key that see each other: all of part A, and the triangle of part B.
    let tail = length - context;
    let pairs = (sequences * (length * context + tail * (tail + 1) / 2)) as f64;
    let forward = Cost { operations: 4.0 * pairs * h as f64, bytes: 2.0 * (4 * rows * h) as f64 };
    let backward =
        Cost { operations: 2.5 * forward.operations, bytes: 2.0 * (8 * rows * h) as f64 };
    let scale = 1.0 / ((h / heads.count) as f32).sqrt();
    let inputs = move |device: &Device| {
        let segments = device.segments(
            (0..=sequences).map(|s| (s * length) as u32).collect(),
            vec![context as u32; sequences],
        )?;
        let y = device.alloc(Shape::matrix(rows, h), BF16)?;
        let log_sum_exp = device.alloc(Shape::matrix(rows, heads.count), F32)?;
        anyhow::Ok((random(device, rows, 3 * h, BF16)?, segments, y, log_sum_exp))
    };
    [
        Op::new(name.clone(), forward, move |device| {
            let (qkv, segments, mut y, mut log_sum_exp) = inputs(device)?;
            Ok(Box::new(move |device| {
                let (qkv, segments) = (qkv.view(), &segments);
                let attend = Attend { qkv, segments, heads, scale, dropout: None };
                device.attention(y.view_mut(), log_sum_exp.view_mut(), attend)
            }))
        }),
        Op::new(format!("{name} backward"), backward, move |device| {
            let (qkv, segments, mut y, mut log_sum_exp) = inputs(device)?;
            let attend =
                Attend { qkv: qkv.view(), segments: &segments, heads, scale, dropout: None };
            device.attention(y.view_mut(), log_sum_exp.view_mut(), attend)?;
            let dy = random(device, rows, h, BF16)?;
            let mut d_qkv = device.alloc(Shape::matrix(rows, 3 * h), BF16)?;
            Ok(Box::new(move |device| {
                let (qkv, segments) = (qkv.view(), &segments);
                let attend = Attend { qkv, segments, heads, scale, dropout: None };
                let (dy, y, log_sum_exp) = (dy.view(), y.view(), log_sum_exp.view());
                device.attention_backward(d_qkv.view_mut(), dy, y, log_sum_exp, attend)
            }))
        }),
    ]
}

/// Beams of some requests, each over its request's prompt and eight tokens of its own.
fn cache_attention(
    model: &str,
    requests: usize,
    beams: usize,
    prompt: usize,
    heads: Heads,
    h: usize,
) -> Op {
    const TAIL: usize = 8;
    let name = format!("{model} cache_attention {requests}x{beams} over {prompt}");
    let rows = requests * beams;
    let cost = Cost {
        operations: 4.0 * (rows * (prompt + TAIL) * h) as f64,
        // A prompt is read once for all of its beams.
        bytes: 2.0 * (requests * prompt * 2 * h + rows * TAIL * 2 * h + 4 * rows * h) as f64,
    };
    let scale = 1.0 / ((h / heads.count) as f32).sqrt();
    Op::new(name, cost, move |device| {
        let qkv = random(device, rows, 3 * h, BF16)?;
        let stored = random(device, requests * prompt, 2 * h, BF16)?;
        let tail = random(device, rows * TAIL, 2 * h, BF16)?;
        let range = |r: usize| [r / beams * prompt, (r / beams + 1) * prompt].map(|at| at as u32);
        let path_start: Vec<u32> = (0..=rows).map(|r| (r * TAIL) as u32).collect();
        let path: Vec<u32> = (0..(rows * TAIL) as u32).collect();
        let cached = device.cache_rows((0..rows).map(range).collect(), &path_start, &path)?;
        let mut y = device.alloc(Shape::matrix(rows, h), BF16)?;
        Ok(Box::new(move |device| {
            let (qkv, prompt, tail) = (qkv.view(), stored.view(), tail.view());
            let attend = AttendCache { qkv, prompt, tail, rows: &cached, heads, scale };
            device.cache_attention(y.view_mut(), attend)
        }))
    })
}
