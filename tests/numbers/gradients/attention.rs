//! Attention over segments, with and without dropout, and the rotation of queries and keys.

use super::{agree, device, Given};
use crate::oracle::{self, dot, indices, slope};
use engine::base::{Dtype, Philox, Shape};
use engine::device::{Attend, Dropout, Heads, Qkv, Rotary, Turn};

/// Rows and context of each sequence: all causal, prefix and causal, all seen, one row, nothing.
const SEQUENCES: [(usize, usize); 5] = [(4, 0), (6, 3), (3, 3), (1, 1), (0, 0)];
const HEADS: usize = 2;
const SIZE: usize = 4;
const WIDTH: usize = HEADS * SIZE;
const ROWS: usize = 14;

fn column(layout: Qkv, part: usize, head: usize) -> usize {
    match layout {
        Qkv::Thirds => part * WIDTH + head * SIZE,
        Qkv::PerHead => (3 * head + part) * SIZE,
    }
}

/// softmax(scale·q·kᵀ + mask)·dropout·v of every head of every sequence.
fn forward(
    qkv: &[f64],
    layout: Qkv,
    scale: f64,
    factor: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let mut y = vec![0.0; ROWS * WIDTH];
    let mut start = 0;
    for (length, context) in SEQUENCES {
        for head in 0..HEADS {
            let part = |row: usize, part: usize| {
                &qkv[row * 3 * WIDTH + column(layout, part, head)..][..SIZE]
            };
            for i in 0..length {
                let seen: Vec<usize> = (0..length).filter(|&j| j <= i || j < context).collect();
                let scores: Vec<f64> = seen
                    .iter()
                    .map(|&j| scale * dot(part(start + i, 0), part(start + j, 1)))
                    .collect();
                for (&j, log_p) in seen.iter().zip(oracle::log_softmax(&scores)) {
                    let p = log_p.exp() * factor(start + i, head, j);
                    for t in 0..SIZE {
                        y[(start + i) * WIDTH + head * SIZE + t] += p * part(start + j, 2)[t];
                    }
                }
            }
        }
        start += length;
    }
    y
}

#[test]
fn attention_over_prefix_and_causal_segments() {
    let device = device();
    let mut starts = vec![0];
    SEQUENCES.iter().for_each(|s| starts.push(starts[starts.len() - 1] + s.0 as u32));
    let segments = device.segments(starts, SEQUENCES.iter().map(|s| s.1 as u32).collect()).unwrap();
    let names = indices(3 * ROWS, u32::MAX as usize, 9);
    let rows = device
        .upload_bytes(bytemuck::cast_slice(&names), Shape::matrix(ROWS, 3), Dtype::U32)
        .unwrap();
    let key = Dropout::key(1, 2, 3);
    let qkv = Given::noise(&device, ROWS, 3 * WIDTH, 1);
    let dy = Given::noise(&device, ROWS, WIDTH, 2);
    // A large scale, so that probabilities are far from even.
    let scale = 2.0;
    for layout in [Qkv::Thirds, Qkv::PerHead] {
        for rate in [0.0, 0.3f32] {
            let factor = |row: usize, head: usize, key_place: usize| {
                if rate == 0.0 {
                    return 1.0;
                }
                let name = &names[3 * row..][..3];
                let counter =
                    [(head as u32) << 16 | (key_place / 4) as u32, name[2], name[0], name[1]];
                let dropped = Philox::block(key, counter)[key_place % 4] < Dropout::threshold(rate);
                if dropped {
                    0.0
                } else {
                    1.0 / f64::from(1.0 - rate)
                }
            };
            let loss = |qkv: &[f64]| dot(&dy.values, &forward(qkv, layout, scale, factor));
            let dropout = (rate > 0.0).then(|| Dropout { rate, key, rows: rows.view() });
            let attend = Attend {
                qkv: qkv.view(),
                segments: &segments,
                heads: Heads { count: HEADS, layout },
                scale: scale as f32,
                dropout,
            };
            let mut y = Given::noise(&device, ROWS, WIDTH, 3);
            let mut log_sum_exp = Given::noise(&device, ROWS, HEADS, 4);
            let mut d_qkv = Given::noise(&device, ROWS, 3 * WIDTH, 5);
            let (to, sums) = (y.tensor.view_mut(), log_sum_exp.tensor.view_mut());
            device.attention(to, sums, attend).unwrap();
            device
                .attention_backward(
                    d_qkv.tensor.view_mut(),
                    dy.view(),
                    y.view(),
                    log_sum_exp.view(),
                    attend,
                )
                .unwrap();
            let label = format!("attention {layout:?}, dropout {rate}");
            agree(&label, &device, y.view(), &forward(&qkv.values, layout, scale, factor));
            agree(&label, &device, d_qkv.view(), &slope(&qkv.values, loss));
        }
    }
}

#[test]
fn the_rotation_of_two_positions() {
    const POSITIONS: usize = 6;
    let device = device();
    let pairs = SIZE / 4;
    let angles: Vec<f64> = (0..POSITIONS * pairs).map(|i| 0.3 + 0.7 * i as f64).collect();
    let table = |f: fn(f64) -> f64| {
        Given::new(&device, &angles.iter().map(|&a| f(a)).collect::<Vec<_>>(), POSITIONS, pairs)
    };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let ids = [1, 2].map(|seed| indices(ROWS, POSITIONS, seed));
    let on_device = [0, 1].map(|i: usize| device.upload_u32(&ids[i]).unwrap());
    let x = Given::noise(&device, ROWS, 3 * WIDTH, 3);
    let dy = Given::noise(&device, ROWS, 3 * WIDTH, 4);
    for layout in [Qkv::Thirds, Qkv::PerHead] {
        // Dimension t of a half turns with dimension t + a quarter; the halves by their own
        // positions.
        let forward = |x: &[f64]| {
            let mut y = x.to_vec();
            for (half, ids) in ids.iter().enumerate() {
                for (row, &id) in ids.iter().enumerate() {
                    for (part, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        for t in 0..pairs {
                            let at =
                                row * 3 * WIDTH + column(layout, part, head) + half * SIZE / 2 + t;
                            let angle = id as usize * pairs + t;
                            let (c, s) = (cos.values[angle], sin.values[angle]);
                            y[at] = x[at] * c - x[at + pairs] * s;
                            y[at + pairs] = x[at + pairs] * c + x[at] * s;
                        }
                    }
                }
            }
            y
        };
        let rotary = Rotary {
            cos: cos.view(),
            sin: sin.view(),
            positions: [on_device[0].view(), on_device[1].view()],
        };
        let heads = Heads { count: HEADS, layout };
        let mut y = Given::new(&device, &x.values, ROWS, 3 * WIDTH);
        device.rotate(y.tensor.view_mut(), rotary, heads, Turn::Forward).unwrap();
        agree("rotate", &device, y.view(), &forward(&x.values));
        let mut dx = Given::new(&device, &dy.values, ROWS, 3 * WIDTH);
        device.rotate(dx.tensor.view_mut(), rotary, heads, Turn::Backward).unwrap();
        let expected = slope(&x.values, |x| dot(&dy.values, &forward(x)));
        agree(&format!("rotate {layout:?}"), &device, dx.view(), &expected);
    }
}
