//! `cargo bench --bench ops [-- FILTER]`: matrix products at the models' shapes, results checked,
//! times beside a rival.
//!
//! Matrix products stand beside `gemm` called directly with as many threads, both in turn in the
//! same rounds. Those that the models spend their time on, 300 rows or more, have a bar. Threads:
//! ENGINE_THREADS, else one per core.

use engine::base::{Dtype, Shape};
use engine::device::*;
use std::time::Instant;

/// The share of `gemm`'s rate that a bare product at the models' shapes has at least.
const BAR: f64 = 0.9;

struct Bench {
    device: Device,
    pool: rayon::ThreadPool,
    threads: usize,
    filter: Vec<String>,
}

/// Best seconds of each of several works, taken in turn for half a second, or three rounds where
/// that is longer.
fn race(works: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let repeats: Vec<usize> = works
        .iter_mut()
        .map(|work| {
            work();
            let start = Instant::now();
            work();
            (0.005 / start.elapsed().as_secs_f64()).clamp(1.0, 2000.0) as usize
        })
        .collect();
    let mut best = vec![f64::MAX; works.len()];
    let (begin, mut rounds) = (Instant::now(), 0);
    while rounds < 3 || begin.elapsed().as_millis() < 500 {
        rounds += 1;
        for ((work, best), &repeats) in works.iter_mut().zip(&mut best).zip(&repeats) {
            let start = Instant::now();
            (0..repeats).for_each(|_| work());
            *best = best.min(start.elapsed().as_secs_f64() / repeats as f64);
        }
    }
    best
}

/// Numbers between -1 and 1 that repeat from run to run.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = engine::base::Philox::new(seed, engine::base::Stream::Synthetic, 0);
    (0..n).map(|_| rng.next_u32() as f32 / 2f32.powi(31) - 1.0).collect()
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }

    fn random(&self, rows: usize, cols: usize, dtype: Dtype) -> Tensor {
        let values = noise(rows * cols, (rows * 31 + cols) as u64);
        self.device.upload_f32(&values, Shape::matrix(rows, cols), dtype).unwrap()
    }

    fn matmul(&self, (m, n, k): (usize, usize, usize), form: Form, b_dtype: Dtype, fused: bool) {
        let name = format!(
            "matmul {m}x{n}x{k} {form:?} {b_dtype}{}",
            if fused { " bias+gelu+low_rank" } else { "" }
        );
        if !self.wants(&name) {
            return;
        }
        let (a_rows, a_cols) = if form == Form::Tn { (k, m) } else { (m, k) };
        let (b_rows, b_cols) = if form == Form::Nt { (n, k) } else { (k, n) };
        let (a, b) =
            (self.random(a_rows, a_cols, Dtype::F32), self.random(b_rows, b_cols, b_dtype));
        let mut y = self.random(m, n, Dtype::F32);
        let (bias, z) = (self.random(1, n, Dtype::F32), self.random(m, 16, Dtype::F32));
        let factor = if form == Form::Nt {
            self.random(n, 16, Dtype::F32)
        } else {
            self.random(16, n, Dtype::F32)
        };
        let (a_host, b_host) = (
            self.device.download_f32(a.view()).unwrap(),
            self.device.download_f32(b.view()).unwrap(),
        );
        let mut y_host = vec![0.0f32; m * n];
        let mut direct = || {
            let (a_rs, a_cs) = if form == Form::Tn { (1, m as isize) } else { (k as isize, 1) };
            let (b_rs, b_cs) = if form == Form::Nt { (1, k as isize) } else { (n as isize, 1) };
            let parallel = match self.threads {
                1 => gemm::Parallelism::None,
                threads => gemm::Parallelism::Rayon(threads),
            };
            // SAFETY: the vectors hold these shapes.
            self.pool.install(|| unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    y_host.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a_host.as_ptr(),
                    a_cs,
                    a_rs,
                    b_host.as_ptr(),
                    b_cs,
                    b_rs,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    parallel,
                )
            });
        };
        let mut ours = || {
            let epilogue = match fused {
                false => Epilogue::default(),
                true => Epilogue {
                    bias: Some(bias.view()),
                    gelu: Some(Gelu::Tanh),
                    low_rank: Some(LowRank { z: z.view(), factor: factor.view(), scale: 0.5 }),
                    ..Epilogue::default()
                },
            };
            self.device.matmul(y.view_mut(), a.view(), b.view(), form, epilogue).unwrap();
        };
        let best = race(&mut [&mut direct, &mut ours]);
        if !fused {
            let got = self.device.download_f32(y.view()).unwrap();
            let worst = got.iter().zip(&y_host).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6 * k as f32, "{name}: differs by {worst}");
        }
        let (rate, ratio) = (2.0 * (m * n * k) as f64 / 1e9, best[0] / best[1]);
        println!(
            "{name:58} {:9.3} ms  {:6.1} GFLOP/s  gemm {:6.1}  ratio {ratio:.2}{}",
            best[1] * 1e3,
            rate / best[1],
            rate / best[0],
            match (m.min(n), m.max(k), fused) {
                (100.., 300.., false) if ratio >= BAR => "  met",
                (100.., 300.., false) => "  MISSED",
                _ => "",
            }
        );
    }
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads =
        std::env::var("ENGINE_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(cores);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let bench = Bench { device: Device::open("cpu", threads).unwrap(), pool, threads, filter };
    println!("{threads} threads; best of rounds in turn");
    // Linears and the head forward and backward, factors of an adapter, few rows as in decoding.
    for form in [Form::Nt, Form::Nn] {
        for (m, n, k) in [
            (4096, 256, 256),
            (4096, 768, 256),
            (4096, 1024, 256),
            (4096, 256, 1024),
            (4096, 8000, 256),
            (4096, 256, 8000),
            (4096, 768, 768),
            (4096, 16, 768),
            (4096, 768, 16),
            (20, 256, 256),
            (1, 1024, 256),
            (320, 1024, 256),
        ] {
            bench.matmul((m, n, k), form, Dtype::F32, false);
        }
    }
    // Gradients of weights and factors.
    for (m, n, k) in [
        (256, 256, 4096),
        (768, 256, 4096),
        (1024, 256, 4096),
        (256, 1024, 4096),
        (8000, 256, 2048),
        (768, 768, 4096),
        (16, 768, 4096),
        (768, 16, 4096),
    ] {
        bench.matmul((m, n, k), Form::Tn, Dtype::F32, false);
    }
    bench.matmul((128, 12288, 4096), Form::Nt, Dtype::F32, false);
    bench.matmul((128, 12288, 4096), Form::Nn, Dtype::F32, false);
    bench.matmul((128, 12288, 4096), Form::Nt, Dtype::Bf16, false);
    bench.matmul((128, 12288, 4096), Form::Nt, Dtype::F16, false);
    bench.matmul((128, 12288, 4096), Form::Nn, Dtype::Bf16, false);
    bench.matmul((4096, 1024, 256), Form::Nt, Dtype::F32, true);
    bench.matmul((4096, 768, 256), Form::Nt, Dtype::Bf16, false);
}
