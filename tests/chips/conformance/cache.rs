//! Rotary positions, and attention to a cache, against an oracle in f64: beams of several requests,
//! alone and together, and the cache against the whole sequence.

use super::attention::{assert_close, bits, made, normals, rounded, wide, Case};
use super::judge::{results, FLOATS};
use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::{AttendCache, Device, Heads, Qkv, Rotary, Tensor, Turn};

pub const CASES: &[super::Case] = &[
    ("rotate", rotation_turns_each_half_by_its_own_position),
    ("cache_store", a_cache_gives_what_the_whole_sequence_gives),
    ("cache_attention", a_cache_gives_what_the_whole_sequence_gives),
    ("cache_attention", cached_rows_follow_the_oracle_alone_and_together),
];

/// Tables of `positions` rows for heads of `size`, and two position ids for each of `rows`.
struct Angles {
    cos: Tensor,
    sin: Tensor,
    ids: [Vec<u32>; 2],
    positions: [Tensor; 2],
}

fn angles(device: &Device, rows: usize, size: usize) -> Angles {
    const POSITIONS: usize = 40;
    let pairs = size / 4;
    let angle = |i: usize| {
        (i / pairs) as f64 * 10_000f64.powf(-2.0 * (i % pairs) as f64 / (size / 2) as f64)
    };
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..POSITIONS * pairs).map(|i| f(angle(i)) as f32).collect();
        device.upload_f32(&values, Shape::matrix(POSITIONS, pairs), Dtype::F32).unwrap()
    };
    let ids =
        [7, 11].map(|step| (0..rows).map(|i| (i * step % POSITIONS) as u32).collect::<Vec<u32>>());
    let positions = [0, 1].map(|i: usize| device.upload_u32(&ids[i]).unwrap());
    Angles { cos: table(f64::cos), sin: table(f64::sin), ids, positions }
}

fn rotated(
    device: &Device,
    case: &Case,
    x: &[f32],
    angles: &Angles,
    dtype: Dtype,
    turn: Turn,
) -> Vec<f32> {
    let mut y = device.upload_f32(x, Shape::matrix(case.rows(), 3 * case.width()), dtype).unwrap();
    let rotary = Rotary {
        cos: angles.cos.view(),
        sin: angles.sin.view(),
        positions: [angles.positions[0].view(), angles.positions[1].view()],
    };
    device
        .rotate(y.view_mut(), rotary, Heads { count: case.heads, layout: case.layout }, turn)
        .unwrap();
    results("rotate", device, y.view())
}

fn rotation_turns_each_half_by_its_own_position(device: &Device) {
    for (rows, heads, size, layout) in [
        (1, 1, 8, Qkv::Thirds),
        (19, 3, 12, Qkv::PerHead),
        (5, 2, 128, Qkv::PerHead),
        (300, 4, 64, Qkv::Thirds),
    ] {
        let case = Case::new(&[(rows, 0)], heads, size, layout);
        let angles = angles(device, rows, size);
        for dtype in FLOATS {
            let x = rounded(device, &normals(rows * 3 * case.width(), 100), dtype);
            let mut expected = wide(&x);
            let (pairs, row) = (size / 4, 3 * case.width());
            for i in 0..rows {
                for (part, head, half) in
                    (0..heads).flat_map(|h| [(0, h, 0), (0, h, 1), (1, h, 0), (1, h, 1)])
                {
                    let first = i * row + case.column(part, head) + half * 2 * pairs;
                    for j in 0..pairs {
                        let frequency = 10_000f64.powf(-2.0 * j as f64 / (size / 2) as f64);
                        let angle = f64::from(angles.ids[half][i]) * frequency;
                        let (a, b) = (f64::from(x[first + j]), f64::from(x[first + pairs + j]));
                        expected[first + j] = a * angle.cos() - b * angle.sin();
                        expected[first + pairs + j] = b * angle.cos() + a * angle.sin();
                    }
                }
            }
            let y = rotated(device, &case, &x, &angles, dtype, Turn::Forward);
            assert_close(&format!("rotate {rows} {heads} {size} {dtype}"), &y, &expected, dtype, 2);
            let back = rotated(device, &case, &y, &angles, dtype, Turn::Backward);
            assert_close(
                &format!("rotate back {rows} {heads} {size} {dtype}"),
                &back,
                &wide(&x),
                dtype,
                2,
            );
        }
    }
}

/// Prompts one after another in one cache, slots of the tail, and rows that see parts of both.
struct Cached {
    prompt: Vec<f32>,
    tail: Vec<f32>,
    qkv: Vec<f32>,
    ranges: Vec<[u32; 2]>,
    paths: Vec<Vec<u32>>,
}

fn cached(device: &Device, case: &Case, x: &Cached, dtype: Dtype) -> Vec<f32> {
    let width = case.width();
    let matrix = |x: &[f32], cols: usize| {
        device.upload_f32(x, Shape::matrix(x.len() / cols, cols), dtype).unwrap()
    };
    let (prompt, tail, qkv) =
        (matrix(&x.prompt, 2 * width), matrix(&x.tail, 2 * width), matrix(&x.qkv, 3 * width));
    let mut start = vec![0];
    x.paths.iter().for_each(|p| start.push(start[start.len() - 1] + p.len() as u32));
    let rows = device.cache_rows(x.ranges.clone(), &start, &x.paths.concat()).unwrap();
    let mut y = device.zeros(Shape::matrix(rows.count(), width), dtype).unwrap();
    device
        .cache_attention(
            y.view_mut(),
            AttendCache {
                qkv: qkv.view(),
                prompt: prompt.view(),
                tail: tail.view(),
                rows: &rows,
                heads: Heads { count: case.heads, layout: case.layout },
                scale: case.scale,
            },
        )
        .unwrap();
    results("cache_attention", device, y.view())
}

/// Rows of three requests: many beams of one prompt, one without a prompt, one with nothing of its
/// own.
fn beams(case: &Case, dtype: Dtype) -> Cached {
    let width = case.width();
    let device = Device::open("cpu", 1).unwrap();
    let mut random = Philox::new(9, Stream::Synthetic, 3);
    let ranges =
        [vec![[0, 37]; 110], vec![[37, 37]; 2], vec![[37, 45]; 9], vec![[0, 37]; 1]].concat();
    let paths = ranges
        .iter()
        .map(|range| {
            let length = if range[0] == range[1] { 3 } else { random.below(20) };
            (0..length).map(|_| random.below(50) as u32).collect()
        })
        .collect();
    let values = |count, index| rounded(&device, &normals(count, index), dtype);
    Cached {
        prompt: values(45 * 2 * width, 110),
        tail: values(50 * 2 * width, 111),
        qkv: values(ranges.len() * 3 * width, 112),
        ranges,
        paths,
    }
}

/// Every row against the oracle, and the same bits alone.
fn cached_rows_follow_the_oracle_alone_and_together(device: &Device) {
    for (heads, size, layout) in
        [(2, 8, Qkv::Thirds), (3, 20, Qkv::PerHead), (2, 64, Qkv::Thirds), (1, 128, Qkv::PerHead)]
    {
        let case = Case::new(&[], heads, size, layout);
        let width = case.width();
        for dtype in FLOATS {
            let x = beams(&case, dtype);
            let y = cached(device, &case, &x, dtype);
            for row in 0..x.ranges.len() {
                // The row as the last of a sequence of its own.
                let prompt = (x.ranges[row][0]..x.ranges[row][1]).map(|i| (&x.prompt, i));
                let keys: Vec<_> =
                    prompt.chain(x.paths[row].iter().map(|&i| (&x.tail, i))).collect();
                let own = &x.qkv[row * 3 * width..][..3 * width];
                let mut expected = Vec::new();
                for head in 0..heads {
                    let query = &own[case.column(0, head)..][..size];
                    let part = |n: usize, first: usize, t: usize| {
                        let (cache, i) = keys[n];
                        f64::from(cache[i as usize * 2 * width + first + head * size + t])
                    };
                    let scores: Vec<f64> = (0..keys.len())
                        .map(|n| {
                            (0..size).map(|t| f64::from(query[t]) * part(n, 0, t)).sum::<f64>()
                        })
                        .map(|s| s * f64::from(case.scale))
                        .collect();
                    let maximum = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                    let sum: f64 = scores.iter().map(|s| (s - maximum).exp()).sum();
                    expected.extend((0..size).map(|t| {
                        (0..keys.len())
                            .map(|n| (scores[n] - maximum).exp() / sum * part(n, width, t))
                            .sum::<f64>()
                    }));
                }
                let what = format!("cache_attention {heads} {size} {dtype} row {row}");
                assert_close(
                    &what,
                    &y[row * width..][..width],
                    &expected,
                    dtype,
                    size + keys.len(),
                );
                if row % 7 == 0 {
                    let alone = Cached {
                        prompt: x.prompt.clone(),
                        tail: x.tail.clone(),
                        qkv: own.to_vec(),
                        ranges: vec![x.ranges[row]],
                        paths: vec![x.paths[row].clone()],
                    };
                    let alone = cached(device, &case, &alone, dtype);
                    assert_eq!(bits(&alone), bits(&y[row * width..][..width]), "row {row}");
                }
            }
        }
    }
}

fn a_cache_gives_what_the_whole_sequence_gives(device: &Device) {
    for (heads, size, layout) in [(2, 32, Qkv::Thirds), (2, 64, Qkv::PerHead)] {
        let (context, length) = (53, 71);
        let case = Case::new(&[(length, context)], heads, size, layout);
        let (width, rows) = (case.width(), length - context);
        let qkv = normals(length * 3 * width, 120);
        let whole = made(device, &case, &qkv, &normals(length * width, 121), Dtype::F32).y;

        let stored = |part: &[f32], slots: &[u32], capacity: usize| {
            let part = device
                .upload_f32(part, Shape::matrix(part.len() / (3 * width), 3 * width), Dtype::F32)
                .unwrap();
            let mut cache = device.zeros(Shape::matrix(capacity, 2 * width), Dtype::F32).unwrap();
            let slots = device.upload_u32(slots).unwrap();
            device
                .cache_store(
                    cache.view_mut(),
                    part.view(),
                    slots.view(),
                    Heads { count: heads, layout },
                )
                .unwrap();
            results("cache_store", device, cache.view())
        };
        let prompt_slots: Vec<u32> = (0..context as u32).collect();
        // Slots of the tail in disorder: the path tells the order.
        let slots: Vec<u32> = (0..rows as u32).map(|i| (i * 7 + 3) % (rows as u32 + 1)).collect();
        let tail_qkv = &qkv[context * 3 * width..];
        let x = Cached {
            prompt: stored(&qkv[..context * 3 * width], &prompt_slots, context),
            tail: stored(tail_qkv, &slots, rows + 1),
            qkv: tail_qkv.to_vec(),
            ranges: vec![[0, context as u32]; rows],
            paths: (0..rows).map(|i| slots[..=i].to_vec()).collect(),
        };
        let y = cached(device, &case, &x, Dtype::F32);
        let expected = &whole[context * width..];
        let scale = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for (got, expected) in y.iter().zip(expected) {
            assert!((got - expected).abs() <= 1e-5 * scale, "expected {expected}, got {got}");
        }
    }
}
