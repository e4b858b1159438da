//! Ops that work row by row, attention over caches among them.

use super::{bits, devices, same, upload, values};
use engine::base::{Dtype, Shape};
use engine::device::{
    Aim, Attend, AttendCache, Device, Dropout, Gelu, Heads, Normed, Qkv, Tensor, Write,
};

const ROWS: usize = 130;
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// Runs `op` on rows `from..from + m` for every m and number of threads; row by row its outputs (of
/// `widths` columns) must be those of the reference of all rows.
fn check(what: &str, widths: &[usize], op: impl Fn(&Device, usize, usize) -> Vec<Vec<u32>>) {
    let devices = devices();
    let expected = op(&devices[0], 0, ROWS);
    for device in &devices {
        for m in 1..=ROWS {
            let from = 31 * m % (ROWS - m + 1);
            for ((got, expected), width) in op(device, from, m).iter().zip(&expected).zip(widths) {
                same(got, &expected[from * width..(from + m) * width], || {
                    format!("{what}: {m} rows from {from}")
                });
            }
        }
    }
}

fn stale(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Tensor {
    upload(device, &vec![f32::NAN; rows * cols], rows, cols, dtype)
}

#[test]
fn layer_norm_and_its_backward() {
    for (cols, dtype) in
        [(32, Dtype::F32), (100, Dtype::F16), (1027, Dtype::F32), (96, Dtype::Bf16)]
    {
        let (x, dy) = (values(ROWS * cols, 1), values(ROWS * cols, 2));
        let (weight, bias) = (values(cols, 3), values(cols, 4));
        check(&format!("layernorm {cols} {dtype}"), &[cols, 2, cols], |device, from, m| {
            let rows = |x: &[f32]| upload(device, &x[from * cols..][..m * cols], m, cols, dtype);
            let (x, dy) = (rows(&x), rows(&dy));
            let vector = |x: &[f32]| upload(device, x, 1, cols, Dtype::F32);
            let (weight, bias) = (vector(&weight), vector(&bias));
            let (mut y, mut dx) = (stale(device, m, cols, dtype), stale(device, m, cols, dtype));
            let mut kept = stale(device, m, 2, Dtype::F32);
            let (to, statistics) = (y.view_mut(), kept.view_mut());
            device.layernorm(to, statistics, x.view(), weight.view(), bias.view(), 1e-5).unwrap();
            let normed = Normed { x: x.view(), weight: weight.view(), statistics: kept.view() };
            device.layernorm_backward(dx.view_mut(), None, dy.view(), normed, Write::Set).unwrap();
            [y, kept, dx].iter().map(|t| bits(device, t.view())).collect()
        });
    }
}

#[test]
fn cross_entropy_and_log_probabilities() {
    for (cols, dtype) in
        [(384, Dtype::F32), (512, Dtype::F32), (8001, Dtype::F32), (608, Dtype::Bf16)]
    {
        let logits: Vec<f32> = values(ROWS * cols, 1).iter().map(|x| 9.0 * x).collect();
        let (targets, weights) = (crate::oracle::indices(ROWS, cols, 2), values(ROWS, 3));
        let ids: Vec<u32> = crate::oracle::indices(3 * ROWS, cols, 4);
        check(&format!("losses {cols} {dtype}"), &[1, cols, 3], |device, from, m| {
            let mut logits = upload(device, &logits[from * cols..][..m * cols], m, cols, dtype);
            let first: Vec<u32> = (0..=m as u32).map(|r| 3 * r).collect();
            let first = device.upload_u32(&first).unwrap();
            let ids = device.upload_u32(&ids[3 * from..3 * (from + m)]).unwrap();
            let mut log_probs = stale(device, 1, 3 * m, Dtype::F32);
            device
                .log_probs_at(log_probs.view_mut(), logits.view(), first.view(), ids.view())
                .unwrap();
            let targets = device.upload_u32(&targets[from..from + m]).unwrap();
            let weights = upload(device, &weights[from..from + m], 1, m, Dtype::F32);
            let mut loss = stale(device, 1, m, Dtype::F32);
            let (to, from) = (loss.view_mut(), logits.view_mut());
            device.cross_entropy(to, from, targets.view(), weights.view()).unwrap();
            [loss, logits, log_probs].iter().map(|t| bits(device, t.view())).collect()
        });
    }
}

#[test]
fn products_of_few_columns_and_the_loss_among_them() {
    for (cols, dtype) in [(33, Dtype::F32), (700, Dtype::Bf16), (100, Dtype::F16)] {
        let (x, table) = (values(ROWS * cols, 1), values(20 * cols, 2));
        let ids = crate::oracle::indices(3 * ROWS, 20, 3);
        let shares: Vec<f32> = [0.5, 0.0, 0.5].repeat(ROWS);
        let weights = values(ROWS, 4);
        check(&format!("few columns {cols} {dtype}"), &[3, cols, 1, 3], |device, from, m| {
            let x = upload(device, &x[from * cols..][..m * cols], m, cols, dtype);
            let table = upload(device, &table, 20, cols, dtype);
            let first: Vec<u32> = (0..=m as u32).map(|r| 3 * r).collect();
            let first = device.upload_u32(&first).unwrap();
            let ids = device.upload_u32(&ids[3 * from..3 * (from + m)]).unwrap();
            let mut logits = stale(device, 1, 3 * m, Dtype::F32);
            let to = logits.view_mut();
            device.sampled_product(to, x.view(), table.view(), first.view(), ids.view()).unwrap();
            let places: Vec<u32> = (0..3 * m as u32).collect();
            let places = device.upload_u32(&places).unwrap();
            let mut y = stale(device, m, cols, dtype);
            let lists = (first.view(), ids.view(), places.view());
            device
                .sparse_product(
                    y.view_mut(),
                    table.view(),
                    lists.0,
                    lists.1,
                    lists.2,
                    logits.view(),
                )
                .unwrap();
            let products = bits(device, logits.view());
            let shares = upload(device, &shares[..3 * m], 1, 3 * m, Dtype::F32);
            let weights = upload(device, &weights[from..from + m], 1, m, Dtype::F32);
            let mut loss = stale(device, 1, m, Dtype::F32);
            let (to, aim) = ((loss.view_mut(), logits.view_mut()), Aim::Shares(shares.view()));
            device.choice_loss(to.0, to.1, first.view(), aim, weights.view(), 0.7).unwrap();
            let rest = [y, loss, logits].map(|t| bits(device, t.view()));
            std::iter::once(products).chain(rest).collect()
        });
    }
}

/// What is asked of a row beside it, or how often, does not change an answer.
#[test]
fn a_log_probability_does_not_depend_on_what_else_is_asked() {
    let device = &devices()[1];
    let cols = 1000;
    let logits = upload(device, &values(2 * cols, 1), 2, cols, Dtype::F32);
    let ask = |first: [u32; 3], ids: &[u32]| {
        let (first, ids) = (device.upload_u32(&first).unwrap(), device.upload_u32(ids).unwrap());
        let mut y = stale(device, 1, ids.shape().count(), Dtype::F32);
        device.log_probs_at(y.view_mut(), logits.view(), first.view(), ids.view()).unwrap();
        bits(device, y.view())
    };
    let all: Vec<u32> = (0..cols as u32).chain(0..cols as u32).collect();
    let everything = ask([0, 1000, 2000], &all);
    let few = ask([0, 0, 3], &[5, 999, 5]);
    assert_eq!(few, [everything[1005], everything[1999], everything[1005]]);
}

#[test]
fn elements_and_tables() {
    for (cols, dtype) in [(33, Dtype::F32), (64, Dtype::Bf16), (100, Dtype::F16)] {
        let (x, dy, table) = (values(ROWS * cols, 1), values(ROWS * cols, 2), values(20 * cols, 3));
        let ids = crate::oracle::indices(ROWS, 20, 4);
        let names = crate::oracle::indices(3 * ROWS, u32::MAX as usize, 5);
        check(&format!("elements {cols} {dtype}"), &[cols; 6], |device, from, m| {
            let rows = |x: &[f32]| upload(device, &x[from * cols..][..m * cols], m, cols, dtype);
            let (x, dy) = (rows(&x), rows(&dy));
            let mut out: Vec<Tensor> = (0..6).map(|_| rows(&vec![0.5; ROWS * cols])).collect();
            device.gelu(out[0].view_mut(), x.view(), Gelu::Tanh).unwrap();
            device.gelu_backward(out[1].view_mut(), dy.view(), x.view(), Gelu::Erf).unwrap();
            device.blend(out[2].view_mut(), x.view(), 0.3, 1.0).unwrap();
            let names = bytemuck::cast_slice(&names[3 * from..3 * (from + m)]).to_vec();
            let names = device.upload_bytes(&names, Shape::matrix(m, 3), Dtype::U32).unwrap();
            let dropout = Dropout { rate: 0.25, key: Dropout::key(1, 2, 3), rows: names.view() };
            device.dropout(out[3].view_mut(), x.view(), dropout, Write::Add).unwrap();
            let table = upload(device, &table, 20, cols, dtype);
            let ids = device.upload_u32(&ids[from..from + m]).unwrap();
            let tables = [(table.view(), ids.view()), (table.view(), ids.view())];
            device.embed(out[4].view_mut(), &tables, Write::Set).unwrap();
            device.cast(out[5].view_mut(), x.view()).unwrap();
            out.iter().map(|t| bits(device, t.view())).collect()
        });
    }
}

#[test]
fn attention_of_rows_over_a_cache() {
    let (heads, size) = (3, 20);
    let width = heads * size;
    let (qkv, prompt, tail) =
        (values(ROWS * 3 * width, 1), values(50 * 2 * width, 2), values(40 * 2 * width, 3));
    // Two prompts; paths of all lengths, rows of one request not always side by side.
    let ranges: Vec<[u32; 2]> =
        (0..ROWS).map(|r| if r % 5 == 0 { [33, 50] } else { [0, 33] }).collect();
    let paths: Vec<Vec<u32>> =
        (0..ROWS).map(|r| crate::oracle::indices(1 + r % 17, 40, r as u64)).collect();
    for dtype in DTYPES {
        check(&format!("cache_attention {dtype}"), &[width], |device, from, m| {
            let qkv =
                upload(device, &qkv[from * 3 * width..][..m * 3 * width], m, 3 * width, dtype);
            let cache = |x: &[f32]| upload(device, x, x.len() / (2 * width), 2 * width, dtype);
            let (prompt, tail) = (cache(&prompt), cache(&tail));
            let mut start = vec![0];
            paths[from..from + m]
                .iter()
                .for_each(|p| start.push(start[start.len() - 1] + p.len() as u32));
            let prompts = ranges[from..from + m].to_vec();
            let path = paths[from..from + m].concat();
            let rows = device.cache_rows(prompts, &start, &path).unwrap();
            let mut y = stale(device, m, width, dtype);
            let attend = AttendCache {
                qkv: qkv.view(),
                prompt: prompt.view(),
                tail: tail.view(),
                rows: &rows,
                heads: Heads { count: heads, layout: Qkv::PerHead },
                scale: 0.2,
            };
            device.cache_attention(y.view_mut(), attend).unwrap();
            vec![bits(device, y.view())]
        });
    }
}

/// Sequences packed with others, in other orders, on other numbers of threads.
#[test]
fn attention_of_sequences() {
    let (heads, size) = (2, 12);
    let width = heads * size;
    let sequences: Vec<(usize, usize)> =
        (0..24).map(|s| (1 + s * 7 % 67, s * 5 % (1 + s * 7 % 67))).collect();
    let qkv = |s: usize| values(sequences[s].0 * 3 * width, 10 + s as u64);
    let dy = |s: usize| values(sequences[s].0 * width, 50 + s as u64);
    // y, log-sum-exp and d_qkv of each sequence of a pack.
    let run = |device: &Device, pack: &[usize], dtype: Dtype| -> Vec<[Vec<u32>; 3]> {
        let mut start = vec![0u32];
        pack.iter().for_each(|&s| start.push(start[start.len() - 1] + sequences[s].0 as u32));
        let rows = start[pack.len()] as usize;
        let context = pack.iter().map(|&s| sequences[s].1 as u32).collect();
        let segments = device.segments(start.clone(), context).unwrap();
        let x = upload(
            device,
            &pack.iter().flat_map(|&s| qkv(s)).collect::<Vec<_>>(),
            rows,
            3 * width,
            dtype,
        );
        let d = upload(
            device,
            &pack.iter().flat_map(|&s| dy(s)).collect::<Vec<_>>(),
            rows,
            width,
            dtype,
        );
        let (mut y, mut sums) =
            (stale(device, rows, width, dtype), stale(device, rows, heads, Dtype::F32));
        let mut dx = stale(device, rows, 3 * width, dtype);
        let attend = Attend {
            qkv: x.view(),
            segments: &segments,
            heads: Heads { count: heads, layout: Qkv::Thirds },
            scale: 0.4,
            dropout: None,
        };
        device.attention(y.view_mut(), sums.view_mut(), attend).unwrap();
        device.attention_backward(dx.view_mut(), d.view(), y.view(), sums.view(), attend).unwrap();
        let [y, sums, dx] = [y, sums, dx].map(|t| bits(device, t.view()));
        let part = |all: &[u32], i: usize, cols: usize| {
            all[start[i] as usize * cols..start[i + 1] as usize * cols].to_vec()
        };
        (0..pack.len())
            .map(|i| [part(&y, i, width), part(&sums, i, heads), part(&dx, i, 3 * width)])
            .collect()
    };
    for dtype in DTYPES {
        let [one, others @ ..] = devices();
        let alone: Vec<_> =
            (0..sequences.len()).map(|s| run(&one, &[s], dtype).remove(0)).collect();
        for device in [one].iter().chain(&others) {
            for pack in
                [(0..24).collect::<Vec<_>>(), (0..24).rev().collect(), (3..24).step_by(5).collect()]
            {
                for (&s, got) in pack.iter().zip(run(device, &pack, dtype)) {
                    assert!(got == alone[s], "sequence {s} of {pack:?} {dtype}");
                }
            }
        }
    }
}
