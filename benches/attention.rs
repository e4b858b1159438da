//! Attention on the CPU beside the bare matrix products of the layer around it (`gemm`, all
//! threads).
//!
//! `cargo bench --bench attention [-- threads]`. GFLOP/s count visible pairs of rows only: 4·d
//! operations a pair and head forward, 10·d backward. "of layer" is the time over that of the
//! layer's products: forward, gradient of the input, and (full fine-tuning) gradient of the
//! weights.

use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::{Attend, AttendCache, Device, Dropout, Heads, Qkv, Tensor};
use std::time::{Duration, Instant};

/// Shortest of the runs that fit into a fifth of a second, at least three.
fn shortest(mut work: impl FnMut()) -> f64 {
    work();
    let (begin, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || begin.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn values(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Tensor {
    let mut random = Philox::new(1, Stream::Synthetic, (rows * cols) as u64);
    let values: Vec<f32> = (0..rows * cols).map(|_| random.normal() as f32).collect();
    device.upload_f32(&values, Shape::matrix(rows, cols), dtype).expect("memory for the bench")
}

/// c = a·b for row-major a `[m, k]` and b `[k, n]`, or stored the other way round where said.
fn product(m: usize, n: usize, k: usize, turned: [bool; 2], threads: usize) -> f64 {
    let (a, b, mut c) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![0.0f32; m * n]);
    let strides = |turned: bool, rows: usize, cols: usize| match turned {
        true => (rows as isize, 1),
        false => (1, cols as isize),
    };
    let ((a_column, a_row), (b_column, b_row)) =
        (strides(turned[0], m, k), strides(turned[1], k, n));
    shortest(|| {
        // SAFETY: the strides stay inside the three vectors, whose sizes are those of the matrices.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                a_column,
                a_row,
                b.as_ptr(),
                b_column,
                b_row,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                if threads > 1 {
                    gemm::Parallelism::Rayon(threads)
                } else {
                    gemm::Parallelism::None
                },
            )
        };
    })
}

/// Seconds of a layer's four products: (forward and gradient of the input, gradient of the
/// weights).
fn layer(rows: usize, hidden: usize, threads: usize) -> (f64, f64) {
    let mut seconds = (0.0, 0.0);
    for (out, inner) in
        [(3 * hidden, hidden), (hidden, hidden), (4 * hidden, hidden), (hidden, 4 * hidden)]
    {
        seconds.0 += product(rows, out, inner, [false, true], threads);
        seconds.0 += product(rows, inner, out, [false, false], threads);
        seconds.1 += product(out, inner, rows, [true, false], threads);
    }
    seconds
}

fn main() {
    let threads = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(2);
    let device = Device::open("cpu", threads).expect("the CPU opens");
    println!("attention on {threads} threads; shortest of many runs");
    println!(
        "{:>5} {:>5} {:>6} {:>4} {:>5} {:>7} | {:>8} {:>8} | {:>8} {:>8} | of layer: LoRA, full",
        "rows",
        "long",
        "hidden",
        "head",
        "dtype",
        "dropout",
        "fwd ms",
        "GFLOP/s",
        "bwd ms",
        "GFLOP/s"
    );
    for (rows, hidden) in [(4096, 256), (4096, 1024)] {
        let products = layer(rows, hidden, threads);
        let rate = 24.0 * (rows * hidden * hidden) as f64 * 2.0 / products.0 * 1e-9;
        println!(
            "products of a layer, {rows} rows, hidden {hidden}: {:.2} ms forward and input, {:.2} \
            ms weights ({rate:.0} GFLOP/s)",
            products.0 * 1e3,
            products.1 * 1e3
        );
        for (length, context, size, dtype, rate) in [
            (90, 60, 64, Dtype::F32, 0.0),
            (90, 60, 32, Dtype::F32, 0.0),
            (90, 60, 64, Dtype::Bf16, 0.0),
            (90, 60, 64, Dtype::F32, 0.1),
            (60, 0, 64, Dtype::F32, 0.0),
            (130, 100, 64, Dtype::F32, 0.0),
            (1024, 0, 64, Dtype::F32, 0.0),
            (1024, 1024, 64, Dtype::F32, 0.0),
        ] {
            sequences(&device, rows, length, context, hidden, size, dtype, rate, products);
        }
    }
    println!(
        "\n{:>5} {:>6} {:>6} {:>4} {:>5} | {:>8} {:>9}",
        "rows", "prompt", "hidden", "head", "dtype", "ms", "us a row"
    );
    for (rows, prompt, hidden, size, dtype) in [
        (1, 100, 256, 64, Dtype::F32),
        (1, 1000, 4096, 128, Dtype::Bf16),
        (20, 100, 256, 64, Dtype::F32),
        (100, 100, 256, 64, Dtype::F32),
        (100, 500, 1024, 64, Dtype::Bf16),
    ] {
        beams(&device, rows, prompt, hidden, size, dtype);
    }
}

#[allow(clippy::too_many_arguments)]
fn sequences(
    device: &Device,
    rows: usize,
    length: usize,
    context: usize,
    hidden: usize,
    size: usize,
    dtype: Dtype,
    rate: f32,
    products: (f64, f64),
) {
    let (count, heads) = (rows / length, hidden / size);
    let rows = count * length;
    let start: Vec<u32> = (0..=count).map(|i| (i * length) as u32).collect();
    let segments = device.segments(start, vec![context as u32; count]).expect("segments");
    let (qkv, dy) = (values(device, rows, 3 * hidden, dtype), values(device, rows, hidden, dtype));
    let mut y = device.zeros(Shape::matrix(rows, hidden), dtype).expect("y");
    let mut log_sum_exp =
        device.zeros(Shape::matrix(rows, heads), Dtype::F32).expect("log_sum_exp");
    let mut d_qkv = device.zeros(Shape::matrix(rows, 3 * hidden), dtype).expect("d_qkv");
    let examples: Vec<u32> =
        (0..rows).flat_map(|i| [(i / length) as u32, 0, (i % length) as u32]).collect();
    let examples = device
        .upload_bytes(bytemuck::cast_slice(&examples), Shape::matrix(rows, 3), Dtype::U32)
        .expect("examples");
    let dropout = (rate > 0.0).then(|| Dropout { rate, key: [1, 2], rows: examples.view() });
    let scale = 1.0 / (size as f32).sqrt();
    let attend = Attend {
        qkv: qkv.view(),
        segments: &segments,
        heads: Heads { count: heads, layout: Qkv::Thirds },
        scale,
        dropout,
    };
    let forward = shortest(|| {
        device.attention(y.view_mut(), log_sum_exp.view_mut(), attend).expect("attention")
    });
    let backward = shortest(|| {
        device
            .attention_backward(d_qkv.view_mut(), dy.view(), y.view(), log_sum_exp.view(), attend)
            .expect("attention_backward")
    });
    let pairs: usize = (0..length).map(|i| context.max(i + 1)).sum();
    let operations = (count * heads * pairs * size) as f64 * 1e-9;
    let share = 100.0 * (forward + backward);
    println!(
        "{rows:5} {length:5} {hidden:6} {size:4} {dtype:>5} {rate:7} | {:8.3} {:8.1} | {:8.3} \
        {:8.1} | {:5.1} % {:5.1} %",
        forward * 1e3,
        4.0 * operations / forward,
        backward * 1e3,
        10.0 * operations / backward,
        share / products.0,
        share / (products.0 + products.1),
    );
}

/// Rows of one request, each with ten slots of its own.
fn beams(device: &Device, rows: usize, prompt: usize, hidden: usize, size: usize, dtype: Dtype) {
    const PATH: usize = 10;
    let heads = hidden / size;
    let qkv = values(device, rows, 3 * hidden, dtype);
    let (keys, tail) =
        (values(device, prompt, 2 * hidden, dtype), values(device, rows * PATH, 2 * hidden, dtype));
    let start: Vec<u32> = (0..=rows).map(|i| (i * PATH) as u32).collect();
    let path: Vec<u32> = (0..(rows * PATH) as u32).collect();
    let prompts = vec![[0, prompt as u32]; rows];
    let cached = device.cache_rows(prompts, &start, &path).expect("rows");
    let mut y = device.zeros(Shape::matrix(rows, hidden), dtype).expect("y");
    let seconds = shortest(|| {
        device
            .cache_attention(
                y.view_mut(),
                AttendCache {
                    qkv: qkv.view(),
                    prompt: keys.view(),
                    tail: tail.view(),
                    rows: &cached,
                    heads: Heads { count: heads, layout: Qkv::Thirds },
                    scale: 0.1,
                },
            )
            .expect("cache_attention")
    });
    println!(
        "{rows:5} {prompt:6} {hidden:6} {size:4} {dtype:>5} | {:8.3} {:9.2}",
        seconds * 1e3,
        seconds * 1e6 / rows as f64
    );
}
