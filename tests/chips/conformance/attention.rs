//! Attention against an oracle in f64: values, gradients, dropout, and the promise that a row's
//! bits depend on nothing beside its own sequence.

use super::judge::{epsilon, results, FLOATS};
use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::{Attend, Device, Dropout, Heads, Qkv, Tensor};

pub const CASES: &[super::Case] = &[
    ("attention", values_and_gradients_follow_the_oracle),
    ("attention_backward", values_and_gradients_follow_the_oracle),
    ("attention", neighbours_change_no_bit),
    ("attention_backward", neighbours_change_no_bit),
    ("attention", dropout_follows_the_example_wherever_it_is_packed),
    ("attention", what_comes_later_is_not_seen),
];

/// Rounding of the storage once, and of f32 sums of `terms`, at the scale of the largest value.
pub fn assert_close(what: &str, got: &[f32], expected: &[f64], dtype: Dtype, terms: usize) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-30f64, |a, b| a.max(b.abs()));
    let bound = scale * (2.0 * epsilon(dtype) + 4.0 * epsilon(Dtype::F32) * (terms as f64).sqrt());
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(got) - expected).abs();
        assert!(
            error <= bound,
            "{what}: element {i}: expected {expected}, got {got}, error {error:.2e} above \
            {bound:.2e}"
        );
    }
}

pub fn normals(count: usize, index: u64) -> Vec<f32> {
    let mut random = Philox::new(5, Stream::Synthetic, index);
    (0..count).map(|_| random.normal() as f32).collect()
}

pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Sequences with their contexts, and how a row is divided.
#[derive(Clone, Debug)]
pub struct Case {
    sequences: Vec<(usize, usize)>,
    pub heads: usize,
    size: usize,
    pub layout: Qkv,
    pub scale: f32,
    /// Rate and key.
    dropout: Option<(f32, [u32; 2])>,
}

impl Case {
    pub fn new(sequences: &[(usize, usize)], heads: usize, size: usize, layout: Qkv) -> Case {
        let scale = 1.0 / (size as f32).sqrt();
        Case { sequences: sequences.to_vec(), heads, size, layout, scale, dropout: None }
    }

    fn dropping(self, rate: f32) -> Case {
        Case { dropout: Some((rate, Dropout::key(3, 1 << 33, 7))), ..self }
    }

    pub fn rows(&self) -> usize {
        self.sequences.iter().map(|s| s.0).sum()
    }

    pub fn width(&self) -> usize {
        self.heads * self.size
    }

    fn longest(&self) -> usize {
        self.sequences.iter().map(|s| s.0).max().unwrap_or(0)
    }

    /// Example and place of each row: what dropout's counters are made of.
    fn examples(&self) -> Vec<u32> {
        let mut rows = Vec::new();
        for (s, &(length, _)) in self.sequences.iter().enumerate() {
            (0..length).for_each(|i| rows.extend([100 + s as u32, 9, i as u32 + 2]));
        }
        rows
    }

    pub fn column(&self, part: usize, head: usize) -> usize {
        match self.layout {
            Qkv::Thirds => part * self.width() + head * self.size,
            Qkv::PerHead => (head * 3 + part) * self.size,
        }
    }

    /// The sequence `s` as a case of its own, and its rows in this one.
    fn alone(&self, s: usize) -> (Case, std::ops::Range<usize>) {
        let first: usize = self.sequences[..s].iter().map(|s| s.0).sum();
        (
            Case { sequences: vec![self.sequences[s]], ..self.clone() },
            first..first + self.sequences[s].0,
        )
    }
}

/// Factor of the probability of `key` for one query row.
fn factor(case: &Case, example: &[u32], head: usize, key: usize) -> f64 {
    let Some((rate, words)) = case.dropout else { return 1.0 };
    let counter = [(head as u32) << 16 | (key / 4) as u32, example[2], example[0], example[1]];
    match Philox::block(words, counter)[key % 4] < Dropout::threshold(rate) {
        true => 0.0,
        false => 1.0 / f64::from(1.0 - rate),
    }
}

#[derive(Default)]
struct Oracle {
    y: Vec<f64>,
    log_sum_exp: Vec<f64>,
    d_qkv: Vec<f64>,
}

/// The definition, and its derivative by the chain rule.
fn oracle(case: &Case, qkv: &[f64], dy: &[f64]) -> Oracle {
    let (rows, width, size, scale) = (case.rows(), case.width(), case.size, f64::from(case.scale));
    let examples = case.examples();
    let mut o = Oracle {
        y: vec![0.0; rows * width],
        log_sum_exp: vec![0.0; rows * case.heads],
        d_qkv: vec![0.0; rows * 3 * width],
    };
    let mut start = 0;
    for &(length, context) in &case.sequences {
        for head in 0..case.heads {
            let [q, k, v] = [0, 1, 2].map(|part| case.column(part, head));
            let at = |row: usize, column: usize, t: usize| row * 3 * width + column + t;
            for i in start..start + length {
                let keys: Vec<usize> =
                    (start..start + length).filter(|&j| j <= i || j < start + context).collect();
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|&j| {
                        scale * (0..size).map(|t| qkv[at(i, q, t)] * qkv[at(j, k, t)]).sum::<f64>()
                    })
                    .collect();
                let maximum = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                let sum: f64 = scores.iter().map(|s| (s - maximum).exp()).sum();
                let p: Vec<f64> = scores.iter().map(|s| (s - maximum).exp() / sum).collect();
                let m: Vec<f64> = keys
                    .iter()
                    .map(|j| factor(case, &examples[3 * i..3 * i + 3], head, j - start))
                    .collect();
                o.log_sum_exp[i * case.heads + head] = maximum + sum.ln();
                let y = i * width + head * size;
                for (n, &j) in keys.iter().enumerate() {
                    (0..size).for_each(|t| o.y[y + t] += p[n] * m[n] * qkv[at(j, v, t)]);
                }
                let dp: Vec<f64> = keys
                    .iter()
                    .zip(&m)
                    .map(|(&j, m)| m * (0..size).map(|t| dy[y + t] * qkv[at(j, v, t)]).sum::<f64>())
                    .collect();
                let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for (n, &j) in keys.iter().enumerate() {
                    let ds = scale * p[n] * (dp[n] - mean);
                    for t in 0..size {
                        o.d_qkv[at(i, q, t)] += ds * qkv[at(j, k, t)];
                        o.d_qkv[at(j, k, t)] += ds * qkv[at(i, q, t)];
                        o.d_qkv[at(j, v, t)] += p[n] * m[n] * dy[y + t];
                    }
                }
            }
        }
        start += length;
    }
    o
}

/// What the device makes of a case; everything widened.
pub struct Made {
    pub y: Vec<f32>,
    log_sum_exp: Vec<f32>,
    d_qkv: Vec<f32>,
}

pub fn made(device: &Device, case: &Case, qkv: &[f32], dy: &[f32], dtype: Dtype) -> Made {
    let (rows, width) = (case.rows(), case.width());
    let mut start = vec![0];
    case.sequences.iter().for_each(|s| start.push(start[start.len() - 1] + s.0 as u32));
    let segments =
        device.segments(start, case.sequences.iter().map(|s| s.1 as u32).collect()).unwrap();
    let qkv = device.upload_f32(qkv, Shape::matrix(rows, 3 * width), dtype).unwrap();
    let dy = device.upload_f32(dy, Shape::matrix(rows, width), dtype).unwrap();
    let examples = device
        .upload_bytes(as_bytes(&case.examples()), Shape::matrix(rows, 3), Dtype::U32)
        .unwrap();
    let dropout = case.dropout.map(|(rate, key)| Dropout { rate, key, rows: examples.view() });
    // Outputs begin as numbers that would show, were they read or left.
    let stale = |cols: usize, dtype| {
        device.upload_f32(&vec![f32::NAN; rows * cols], Shape::matrix(rows, cols), dtype).unwrap()
    };
    let (mut y, mut log_sum_exp) = (stale(width, dtype), stale(case.heads, Dtype::F32));
    let mut d_qkv = stale(3 * width, dtype);
    let heads = Heads { count: case.heads, layout: case.layout };
    let (qkv, segments) = (qkv.view(), &segments);
    let attend = Attend { qkv, segments, heads, scale: case.scale, dropout };
    device.attention(y.view_mut(), log_sum_exp.view_mut(), attend).unwrap();
    device
        .attention_backward(d_qkv.view_mut(), dy.view(), y.view(), log_sum_exp.view(), attend)
        .unwrap();
    let read = |x: &Tensor| results("attention", device, x.view());
    Made { y: read(&y), log_sum_exp: read(&log_sum_exp), d_qkv: read(&d_qkv) }
}

pub fn as_bytes(words: &[u32]) -> &[u8] {
    bytemuck::cast_slice(words)
}

/// Values as `dtype` holds them.
pub fn rounded(device: &Device, x: &[f32], dtype: Dtype) -> Vec<f32> {
    let x = device.upload_f32(x, Shape::vector(x.len()), dtype).unwrap();
    device.download_f32(x.view()).unwrap()
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// One row; causal; all seen; contexts that end inside tiles; nothing between two; several blocks;
/// every head's size.
fn cases() -> Vec<Case> {
    use Qkv::{PerHead, Thirds};
    let ragged = [(1, 0), (1, 1), (7, 3), (0, 0), (33, 33), (17, 0), (90, 41), (6, 6), (23, 20)];
    vec![
        Case::new(&[(1, 0)], 1, 8, Thirds),
        Case::new(&[(1, 1)], 3, 12, PerHead),
        Case::new(&[(64, 0)], 2, 32, Thirds),
        Case::new(&[(64, 64)], 2, 32, PerHead),
        Case::new(&ragged, 2, 8, Thirds),
        Case::new(&ragged, 1, 20, PerHead),
        Case::new(&ragged, 4, 64, Thirds),
        Case::new(&ragged, 1, 128, PerHead),
        Case::new(&[(300, 130), (97, 0), (200, 200)], 1, 16, Thirds),
        Case::new(&ragged, 3, 32, Thirds).dropping(0.1),
        Case::new(&[(130, 50), (98, 0)], 2, 64, PerHead).dropping(0.5),
    ]
}

fn values_and_gradients_follow_the_oracle(device: &Device) {
    for (index, case) in cases().iter().enumerate() {
        let qkv = normals(case.rows() * 3 * case.width(), 2 * index as u64);
        let dy = normals(case.rows() * case.width(), 2 * index as u64 + 1);
        for dtype in FLOATS {
            let (qkv, dy) = (rounded(device, &qkv, dtype), rounded(device, &dy, dtype));
            let expected = oracle(case, &wide(&qkv), &wide(&dy));
            let made = made(device, case, &qkv, &dy, dtype);
            let terms = case.size + case.longest();
            assert_close(&format!("y {case:?} {dtype}"), &made.y, &expected.y, dtype, terms);
            let what = format!("log_sum_exp {case:?} {dtype}");
            assert_close(&what, &made.log_sum_exp, &expected.log_sum_exp, Dtype::F32, terms);
            assert_close(
                &format!("d_qkv {case:?} {dtype}"),
                &made.d_qkv,
                &expected.d_qkv,
                dtype,
                terms,
            );
        }
    }
}

#[test]
fn the_oracle_is_its_own_derivative() {
    let sequences = [(5, 2), (1, 0), (9, 0), (4, 4)];
    for case in [
        Case::new(&sequences, 2, 4, Qkv::Thirds),
        Case::new(&sequences, 2, 4, Qkv::PerHead).dropping(0.3),
    ] {
        let mut qkv = wide(&normals(case.rows() * 3 * case.width(), 50));
        let dy = wide(&normals(case.rows() * case.width(), 51));
        let d_qkv = oracle(&case, &qkv, &dy).d_qkv;
        let loss = |qkv: &[f64]| -> f64 {
            oracle(&case, qkv, &dy).y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        const STEP: f64 = 1e-5;
        for i in 0..qkv.len() {
            let x = qkv[i];
            qkv[i] = x + STEP;
            let above = loss(&qkv);
            qkv[i] = x - STEP;
            let difference = (above - loss(&qkv)) / (2.0 * STEP);
            qkv[i] = x;
            assert!(
                (difference - d_qkv[i]).abs() < 1e-8,
                "{case:?} element {i}: {difference} and {}",
                d_qkv[i]
            );
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for case in cases() {
        let qkv = normals(case.rows() * 3 * case.width(), 60);
        let dy = normals(case.rows() * case.width(), 61);
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let [one, others @ ..] = [1, 2, 5].map(|threads| {
                let device = Device::open("cpu", threads).unwrap();
                made(&device, &case, &qkv, &dy, dtype)
            });
            for other in others {
                assert_eq!(bits(&one.y), bits(&other.y), "{case:?}");
                assert_eq!(bits(&one.log_sum_exp), bits(&other.log_sum_exp), "{case:?}");
                assert_eq!(bits(&one.d_qkv), bits(&other.d_qkv), "{case:?}");
            }
        }
    }
}

/// A sequence alone and among others: the same bits forwards and backwards.
fn neighbours_change_no_bit(device: &Device) {
    // Examples are numbered by sequence, so a sequence with dropout would be another one alone: see
    // below.
    for case in cases().into_iter().filter(|case| case.dropout.is_none()) {
        let (width, heads) = (case.width(), case.heads);
        let qkv = normals(case.rows() * 3 * width, 60);
        let dy = normals(case.rows() * width, 61);
        for dtype in FLOATS {
            let together = made(device, &case, &qkv, &dy, dtype);
            for s in 0..case.sequences.len() {
                let (alone, rows) = case.alone(s);
                let of = |cols: usize| rows.start * cols..rows.end * cols;
                let made = made(device, &alone, &qkv[of(3 * width)], &dy[of(width)], dtype);
                let what = format!("{case:?} {dtype} sequence {s}");
                assert_eq!(bits(&made.y), bits(&together.y[of(width)]), "{what}");
                assert_eq!(
                    bits(&made.log_sum_exp),
                    bits(&together.log_sum_exp[of(heads)]),
                    "{what}"
                );
                assert_eq!(bits(&made.d_qkv), bits(&together.d_qkv[of(3 * width)]), "{what}");
            }
        }
    }
}

fn dropout_follows_the_example_wherever_it_is_packed(device: &Device) {
    let case = Case::new(&[(40, 11)], 2, 16, Qkv::Thirds).dropping(0.25);
    let packed = Case { sequences: vec![(40, 11), (13, 0), (50, 50)], ..case.clone() };
    let (qkv, dy) = (normals(packed.rows() * 96, 70), normals(packed.rows() * 32, 71));
    for dtype in FLOATS {
        let alone = made(device, &case, &qkv[..40 * 96], &dy[..40 * 32], dtype);
        let beside = made(device, &packed, &qkv, &dy, dtype);
        assert_eq!(bits(&alone.y), bits(&beside.y[..40 * 32]));
        assert_eq!(bits(&alone.d_qkv), bits(&beside.d_qkv[..40 * 96]));
        let all = Case { dropout: None, ..case.clone() };
        let kept = made(device, &all, &qkv[..40 * 96], &dy[..40 * 32], dtype);
        assert_ne!(bits(&alone.y), bits(&kept.y));
        assert_eq!(bits(&alone.log_sum_exp), bits(&kept.log_sum_exp));
    }
}

fn what_comes_later_is_not_seen(device: &Device) {
    let case = Case::new(&[(70, 9)], 2, 16, Qkv::Thirds);
    let (mut qkv, dy) = (normals(70 * 96, 80), normals(70 * 32, 81));
    let before = made(device, &case, &qkv, &dy, Dtype::F32).y;
    qkv[37 * 96..].iter_mut().for_each(|x| *x *= -3.0);
    let after = made(device, &case, &qkv, &dy, Dtype::F32).y;
    assert_eq!(bits(&before[..37 * 32]), bits(&after[..37 * 32]));
    assert!((37..70).all(|i| bits(&before[i * 32..][..32]) != bits(&after[i * 32..][..32])));
}

#[test]
fn scores_far_apart_stay_finite() {
    let device = Device::open("cpu", 1).unwrap();
    let case = Case { scale: 100.0, ..Case::new(&[(50, 20)], 2, 8, Qkv::Thirds) };
    let (qkv, dy) = (normals(50 * 48, 90), normals(50 * 16, 91));
    let expected = oracle(&case, &wide(&qkv), &wide(&dy));
    let made = made(&device, &case, &qkv, &dy, Dtype::F32);
    // Scores reach a thousand: an f32 rounding of them is 1e-4 of a probability.
    for (got, expected) in made.y.iter().zip(&expected.y) {
        assert!((f64::from(*got) - expected).abs() < 1e-2, "expected {expected}, got {got}");
    }
    assert!(made.d_qkv.iter().all(|x| x.is_finite()));
}
