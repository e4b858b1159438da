//! The ops that memory bounds: bytes are what must be read and written once, whatever the kernel
//! does.

use super::{random, Cost, Op, Work};
use anyhow::Result;
use engine::base::{Dtype, Shape};
use engine::device::*;

/// Sizes of a model and of what it is given.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub model: &'static str,
    pub hidden: usize,
    pub heads: usize,
    pub inner: usize,
    pub vocabulary: usize,
    /// Of a step.
    pub rows: usize,
    /// Rows with loss in a chunk of logits; beams in decoding.
    pub targets: usize,
    /// Ids asked of a row of log-probabilities, and the best taken of as many.
    pub choices: usize,
    /// Trained values of an adapter of rank 8 on every linear.
    pub trained: usize,
}

const BF16: Dtype = Dtype::Bf16;
const F32: Dtype = Dtype::F32;

fn op(
    sizes: Sizes,
    what: &str,
    bytes: usize,
    prepare: impl Fn(&Device) -> Result<Work> + 'static,
) -> Op {
    let cost = Cost { operations: 0.0, bytes: bytes as f64 };
    Op::new(format!("{} {what}", sizes.model), cost, prepare)
}

pub fn ops(sizes: Sizes) -> Vec<Op> {
    [
        around_the_layers(sizes),
        in_a_layer(sizes),
        of_an_adapter(sizes),
        at_the_head(sizes),
        among_few(sizes),
        of_the_optimiser(sizes),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Ids that walk through a table.
fn walk(count: usize, below: usize) -> Vec<u32> {
    (0..count).map(|i| (i * 7919 % below) as u32).collect()
}

fn around_the_layers(sizes: Sizes) -> Vec<Op> {
    let Sizes { hidden: h, vocabulary, rows, .. } = sizes;
    vec![
        // Three tables are read, ids beside them.
        op(sizes, &format!("embed {rows}"), rows * (4 * 2 * h + 12), move |device| {
            let words = random(device, vocabulary, h, BF16)?;
            let places = random(device, 1025, h, BF16)?;
            let ids = device.upload_u32(&walk(rows, vocabulary))?;
            let positions = device.upload_u32(&walk(rows, 1025))?;
            let mut y = device.alloc(Shape::matrix(rows, h), BF16)?;
            Ok(Box::new(move |device| {
                let tables = [
                    (words.view(), ids.view()),
                    (places.view(), positions.view()),
                    (places.view(), positions.view()),
                ];
                device.embed(y.view_mut(), &tables, Write::Set)
            }))
        }),
        op(
            sizes,
            &format!("embed_backward {rows}"),
            rows * (2 * h + 2 * 4 * h + 4),
            move |device| {
                let dy = random(device, rows, h, BF16)?;
                let ids = device.upload_u32(&walk(rows, vocabulary))?;
                let mut d_table = device.zeros(Shape::matrix(vocabulary, h), F32)?;
                Ok(Box::new(move |device| {
                    device.embed_backward(d_table.view_mut(), dy.view(), ids.view())
                }))
            },
        ),
    ]
}

fn in_a_layer(sizes: Sizes) -> Vec<Op> {
    let Sizes { model, hidden: h, heads, inner, rows, .. } = sizes;
    let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
    let divided = Heads { count: heads, layout };
    let quarter = h / heads / 4;
    vec![
        op(sizes, &format!("layernorm {rows}"), rows * (2 * 2 * h + 8), move |device| {
            let x = random(device, rows, h, BF16)?;
            let (weight, bias) = (random(device, 1, h, F32)?, random(device, 1, h, F32)?);
            let mut y = device.alloc(x.shape(), BF16)?;
            let mut statistics = device.alloc(Shape::matrix(rows, 2), F32)?;
            Ok(Box::new(move |device| {
                let (y, statistics) = (y.view_mut(), statistics.view_mut());
                device.layernorm(y, statistics, x.view(), weight.view(), bias.view(), 1e-5)
            }))
        }),
        // x and dy are read, dx is read and written.
        op(sizes, &format!("layernorm_backward {rows}"), rows * (4 * 2 * h + 8), move |device| {
            let (x, dy) = (random(device, rows, h, BF16)?, random(device, rows, h, BF16)?);
            let weight = random(device, 1, h, F32)?;
            let statistics = random(device, rows, 2, F32)?;
            let mut dx = device.zeros(x.shape(), BF16)?;
            Ok(Box::new(move |device| {
                let normed =
                    Normed { x: x.view(), weight: weight.view(), statistics: statistics.view() };
                device.layernorm_backward(dx.view_mut(), None, dy.view(), normed, Write::Add)
            }))
        }),
        op(sizes, &format!("rotate {rows}"), rows * (2 * 2 * 2 * h + 8), move |device| {
            let mut x = random(device, rows, 3 * h, BF16)?;
            let (cos, sin) =
                (random(device, 1025, quarter, F32)?, random(device, 1025, quarter, F32)?);
            let positions = device.upload_u32(&walk(rows, 1025))?;
            Ok(Box::new(move |device| {
                let positions = [positions.view(), positions.view()];
                let rotary = Rotary { cos: cos.view(), sin: sin.view(), positions };
                device.rotate(x.view_mut(), rotary, divided, Turn::Forward)
            }))
        }),
        op(sizes, &format!("cache_store {rows}"), rows * (2 * 2 * 2 * h + 4), move |device| {
            let qkv = random(device, rows, 3 * h, BF16)?;
            let slots = device.upload_u32(&(0..rows as u32).collect::<Vec<u32>>())?;
            let mut cache = device.alloc(Shape::matrix(rows, 2 * h), BF16)?;
            Ok(Box::new(move |device| {
                device.cache_store(cache.view_mut(), qkv.view(), slots.view(), divided)
            }))
        }),
        op(sizes, &format!("gelu {rows}"), 2 * 2 * rows * inner, move |device| {
            let x = random(device, rows, inner, BF16)?;
            let mut y = device.alloc(x.shape(), BF16)?;
            Ok(Box::new(move |device| device.gelu(y.view_mut(), x.view(), Gelu::Tanh)))
        }),
        op(sizes, &format!("gelu_backward {rows}"), 3 * 2 * rows * inner, move |device| {
            let (dy, x) = (random(device, rows, inner, BF16)?, random(device, rows, inner, BF16)?);
            let mut dx = device.alloc(x.shape(), BF16)?;
            Ok(Box::new(move |device| {
                device.gelu_backward(dx.view_mut(), dy.view(), x.view(), Gelu::Tanh)
            }))
        }),
        op(sizes, &format!("blend {rows}"), 3 * 2 * rows * h, move |device| {
            let x = random(device, rows, h, BF16)?;
            let mut y = device.zeros(x.shape(), BF16)?;
            Ok(Box::new(move |device| device.blend(y.view_mut(), x.view(), 0.5, 0.5)))
        }),
        op(sizes, &format!("dropout {rows}"), rows * (2 * 2 * h + 12), move |device| {
            let x = random(device, rows, h, BF16)?;
            let names: Vec<u32> = (0..3 * rows as u32).collect();
            let mut names_on_device = device.alloc(Shape::matrix(rows, 3), Dtype::U32)?;
            device.write_u32(names_on_device.view_mut(), &names)?;
            let mut y = device.alloc(x.shape(), BF16)?;
            Ok(Box::new(move |device| {
                let dropout =
                    Dropout { rate: 0.1, key: Dropout::key(1, 1, 1), rows: names_on_device.view() };
                device.dropout(y.view_mut(), x.view(), dropout, Write::Set)
            }))
        }),
        op(sizes, &format!("sum_rows {rows}"), 2 * rows * h + 2 * 4 * h, move |device| {
            let x = random(device, rows, h, BF16)?;
            let mut y = device.zeros(Shape::vector(h), F32)?;
            Ok(Box::new(move |device| device.sum_rows(y.view_mut(), x.view())))
        }),
    ]
}

/// What each linear's adapter makes of the gradient of its output, which is read once.
fn of_an_adapter(sizes: Sizes) -> Vec<Op> {
    const RANK: usize = 8;
    let Sizes { hidden: h, inner, rows, .. } = sizes;
    let linears = [("query_key_value", 3 * h), ("dense", h), ("h_to_4h", inner), ("4h_to_h", h)];
    let line = |(linear, n)| {
        // B is read, dB read and written; z is read, dz written.
        let bytes = 2 * rows * n + 3 * 4 * n * RANK + 2 * 2 * rows * RANK;
        let what = format!("low_rank_backward {linear} {rows}");
        op(sizes, &what, bytes, move |device| {
            let (dy, z) = (random(device, rows, n, BF16)?, random(device, rows, RANK, BF16)?);
            let b = random(device, n, RANK, F32)?;
            let mut dz = device.alloc(z.shape(), BF16)?;
            let mut d_b = device.zeros(b.shape(), F32)?;
            Ok(Box::new(move |device| {
                let (dy, b, z) = (dy.view(), b.view(), z.view());
                device.low_rank_backward(dz.view_mut(), d_b.view_mut(), dy, b, z, 2.0)
            }))
        })
    };
    linears.into_iter().map(line).collect()
}

fn at_the_head(sizes: Sizes) -> Vec<Op> {
    let Sizes { vocabulary, targets, choices, .. } = sizes;
    let logits = targets * vocabulary;
    vec![
        // f32 logits are read and become their gradient.
        op(sizes, &format!("cross_entropy {targets}"), 2 * 4 * logits, move |device| {
            let mut logits = random(device, targets, vocabulary, F32)?;
            let ids = device.upload_u32(&vec![7; targets])?;
            let weights = device.upload_f32(&vec![1e-3; targets], Shape::vector(targets), F32)?;
            let mut loss = device.alloc(Shape::vector(targets), F32)?;
            Ok(Box::new(move |device| {
                device.cross_entropy(loss.view_mut(), logits.view_mut(), ids.view(), weights.view())
            }))
        }),
        op(sizes, &format!("cast {targets}x{vocabulary}"), (4 + 2) * logits, move |device| {
            let x = random(device, targets, vocabulary, F32)?;
            let mut y = device.alloc(x.shape(), BF16)?;
            Ok(Box::new(move |device| device.cast(y.view_mut(), x.view())))
        }),
        op(sizes, &format!("log_probs_at {targets}"), 4 * logits, move |device| {
            let logits = random(device, targets, vocabulary, F32)?;
            let first: Vec<u32> = (0..=targets).map(|r| (r * choices) as u32).collect();
            let (first, ids) = (
                device.upload_u32(&first)?,
                device.upload_u32(&walk(targets * choices, vocabulary))?,
            );
            let mut y = device.alloc(Shape::vector(targets * choices), F32)?;
            Ok(Box::new(move |device| {
                device.log_probs_at(y.view_mut(), logits.view(), first.view(), ids.view())
            }))
        }),
        op(sizes, &format!("top_k 20 of {targets}x{vocabulary}"), 4 * logits, move |device| {
            let x = random(device, targets, vocabulary, F32)?;
            let mut values = device.alloc(Shape::matrix(targets, 20), F32)?;
            let mut columns = device.alloc(Shape::matrix(targets, 20), Dtype::U32)?;
            Ok(Box::new(move |device| {
                device.top_k(values.view_mut(), columns.view_mut(), x.view())
            }))
        }),
    ]
}

/// A loss over few columns: `choices` of each row, and the rows of the table behind them.
fn among_few(sizes: Sizes) -> Vec<Op> {
    let Sizes { hidden: h, vocabulary, targets, choices, .. } = sizes;
    let count = targets * choices;
    let first = move || (0..=targets).map(|r| (r * choices) as u32).collect::<Vec<u32>>();
    // Of the table each row that is asked for, at least once.
    let read = 2 * h * (targets + count.min(vocabulary)) + 4 * (count + targets);
    vec![
        op(sizes, &format!("sampled_product {count}"), read + 4 * count, move |device| {
            let (x, table) =
                (random(device, targets, h, BF16)?, random(device, vocabulary, h, BF16)?);
            let first = device.upload_u32(&first())?;
            let ids = device.upload_u32(&walk(count, vocabulary))?;
            let mut y = device.alloc(Shape::vector(count), F32)?;
            Ok(Box::new(move |device| {
                let (table, first) = (table.view(), first.view());
                device.sampled_product(y.view_mut(), x.view(), table, first, ids.view())
            }))
        }),
        op(sizes, &format!("sparse_product {count}"), read + 8 * count, move |device| {
            let table = random(device, vocabulary, h, BF16)?;
            let weights = random(device, 1, count, F32)?;
            let first = device.upload_u32(&first())?;
            let ids = device.upload_u32(&walk(count, vocabulary))?;
            let places = device.upload_u32(&(0..count as u32).collect::<Vec<u32>>())?;
            let mut y = device.alloc(Shape::matrix(targets, h), BF16)?;
            Ok(Box::new(move |device| {
                let (ids, places) = (ids.view(), places.view());
                let (table, weights) = (table.view(), weights.view());
                device.sparse_product(y.view_mut(), table, first.view(), ids, places, weights)
            }))
        }),
        // Logits are read and become their gradient.
        op(sizes, &format!("choice_loss {count}"), 2 * 4 * count + 16 * targets, move |device| {
            let mut logits = random(device, 1, count, F32)?;
            let first = device.upload_u32(&first())?;
            let places = device.upload_u32(&vec![0; targets])?;
            let weights = device.upload_f32(&vec![1e-3; targets], Shape::vector(targets), F32)?;
            let mut loss = device.alloc(Shape::vector(targets), F32)?;
            Ok(Box::new(move |device| {
                let (to, aim) = ((loss.view_mut(), logits.view_mut()), Aim::Place(places.view()));
                device.choice_loss(to.0, to.1, first.view(), aim, weights.view(), 1.0)
            }))
        }),
        // Logits are read and become log-probabilities.
        op(sizes, &format!("choice_log_probs {count}"), 2 * 4 * count, move |device| {
            let mut logits = random(device, 1, count, F32)?;
            let first = device.upload_u32(&first())?;
            Ok(Box::new(move |device| {
                device.choice_log_probs(logits.view_mut(), first.view(), 1.0)
            }))
        }),
        op(sizes, &format!("choice_top_k 20 of {count}"), 4 * count, move |device| {
            let x = random(device, 1, count, F32)?;
            let first = device.upload_u32(&first())?;
            let mut values = device.alloc(Shape::matrix(targets, 20), F32)?;
            let mut places = device.alloc(Shape::matrix(targets, 20), Dtype::U32)?;
            Ok(Box::new(move |device| {
                let to = (values.view_mut(), places.view_mut());
                device.choice_top_k(to.0, to.1, x.view(), first.view())
            }))
        }),
    ]
}

fn of_the_optimiser(sizes: Sizes) -> Vec<Op> {
    let n = sizes.trained;
    vec![
        // Parameter and moments are read and written, the gradient is read.
        op(sizes, &format!("adamw {n}"), 7 * 4 * n, move |device| {
            let gradient = random(device, 1, n, F32)?;
            let zeros = || device.zeros(Shape::matrix(1, n), F32);
            let (mut p, mut m1, mut m2) = (zeros()?, zeros()?, zeros()?);
            let numbers = AdamW {
                learning_rate: 1e-3,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.01,
                step: 1,
                gradient_scale: 1.0,
            };
            Ok(Box::new(move |device| {
                let (p, m1, m2) = (p.view_mut(), m1.view_mut(), m2.view_mut());
                device.adamw(p, m1, m2, gradient.view(), numbers)
            }))
        }),
        op(sizes, &format!("sum_squares {n}"), 4 * n, move |device| {
            let x = random(device, 1, n, F32)?;
            let mut y = device.zeros(Shape::vector(1), F32)?;
            Ok(Box::new(move |device| device.sum_squares(y.view_mut(), x.view())))
        }),
    ]
}
