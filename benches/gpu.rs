//! `cargo bench --bench gpu [-- FILTER]`: what each op of GLM-10B and ChatGLM-6B costs at least, and on a GPU what it takes.
//!
//! Without a GPU this prints the ledger: operations, bytes, and the floor on A100, H100 and H200, the larger of operations by
//! peak rate and bytes by bandwidth. With one (`ENGINE_DEVICES=cuda:0`, the default where driver and kernels are there) it first
//! measures the ceilings (tensor cores fed from registers, a copy), then every op beside the larger of its two floors on them,
//! products beside cuBLASLt in the same rounds, and at last a LoRA step and the decoding of GLM-10B with synthetic weights.

#[path = "gpu/cublaslt.rs"]
mod cublaslt;
#[path = "gpu/whole.rs"]
mod whole;

use anyhow::Result;
use cublaslt::CublasLt;
use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::*;
use std::time::Instant;

/// Datasheet figures: 16-bit operations and bytes a second.
const PARTS: [(&str, f64, f64); 3] =
    [("A100", 312e12, 2.039e12), ("H100", 989e12, 3.35e12), ("H200", 989e12, 4.8e12)];

struct Bench {
    device: Option<Device>,
    ceilings: Option<Ceilings>,
    rival: Option<CublasLt>,
    filter: Vec<String>,
}

/// What an op costs at least.
#[derive(Clone, Copy)]
struct Cost {
    operations: f64,
    bytes: f64,
}

fn main() -> Result<()> {
    let filter = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let name = std::env::var("ENGINE_DEVICES").unwrap_or_else(|_| "cuda:0".into());
    let device = match Device::open(&name, 0) {
        Ok(device) => Some(device),
        Err(error) => {
            println!("no GPU: the ledger only ({error})");
            None
        }
    };
    let ceilings = device.as_ref().map(Device::ceilings).transpose()?.flatten();
    if let Some(c) = &ceilings {
        println!(
            "ceilings of {name}: tensor cores {:.1} TFLOP/s bf16, {:.1} f16; copy {:.2} TB/s",
            c.bf16 / 1e12,
            c.f16 / 1e12,
            c.memory / 1e12
        );
    }
    let rival = if device.is_some() { CublasLt::open()? } else { None };
    let bench = Bench { device, ceilings, rival, filter };
    print!("{:<44} {:>9} {:>9}", "op", "GFLOP", "MB");
    PARTS.iter().for_each(|(part, ..)| print!(" {:>9}", format!("{part} us")));
    println!(" {:>9} {:>8} {:>7} {:>9}", "us", "TFLOP/s", "floor%", "cuBLASLt");
    // (model, hidden, heads, inner, vocabulary)
    for (model, h, heads, inner, vocabulary) in
        [("glm-10b", 4096, 64, 16384, 50304), ("chatglm-6b", 4096, 32, 16384, 130528)]
    {
        for m in [512, 2048, 8192] {
            for (linear, n, k) in
                [("query_key_value", 3 * h, h), ("dense", h, h), ("h_to_4h", inner, h), ("4h_to_h", h, inner)]
            {
                bench.product(&format!("{model} {linear} {m}"), m, n, k, Form::Nt)?;
                bench.product(&format!("{model} {linear} dx {m}"), m, k, n, Form::Nn)?;
            }
        }
        bench.product(&format!("{model} head 512"), 512, vocabulary, h, Form::Nt)?;
        bench.attention(model, 8, 1024, heads, h)?;
        bench.attention(model, 56, 146, heads, h)?;
        bench.cache_attention(model, 32, 20, 129, heads, h)?;
        bench.rows(model, 8192, h, inner, vocabulary)?;
    }
    bench.optimiser(25_165_824)?;
    if let Some(device) = &bench.device {
        whole::run(device, &bench.filter)?;
    }
    Ok(())
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }

    fn random(&self, device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Result<Tensor> {
        // One row of noise, repeated with an offset: zeros would run cooler and faster.
        let mut rng = Philox::new(1, Stream::Synthetic, (rows * 31 + cols) as u64);
        let block: Vec<f32> = (0..1 << 16).map(|_| rng.uniform() as f32 - 0.5).collect();
        let values: Vec<f32> = (0..rows * cols).map(|i| block[(i + i / 65521) % block.len()]).collect();
        device.upload_f32(&values, Shape::matrix(rows, cols), dtype)
    }

    /// One line; `work` is timed where there is a device.
    fn line(
        &self,
        name: &str,
        cost: Cost,
        rival: Option<f64>,
        work: Option<&mut dyn FnMut() -> Result<()>>,
    ) -> Result<()> {
        print!("{name:<44} {:>9.2} {:>9.1}", cost.operations / 1e9, cost.bytes / 1e6);
        for (_, rate, bandwidth) in PARTS {
            print!(" {:>9.1}", 1e6 * (cost.operations / rate).max(cost.bytes / bandwidth));
        }
        if let (Some(device), Some(ceilings), Some(work)) = (&self.device, &self.ceilings, work) {
            let seconds = best(device, work)?;
            let floor = (cost.operations / ceilings.bf16).max(cost.bytes / ceilings.memory);
            print!(
                " {:>9.1} {:>8.1} {:>6.1}%",
                1e6 * seconds,
                cost.operations / seconds / 1e12,
                100.0 * floor / seconds
            );
            if let Some(rival) = rival {
                print!(" {:>8.3}x", rival / seconds);
            }
        }
        println!();
        Ok(())
    }

    fn product(&self, name: &str, m: usize, n: usize, k: usize, form: Form) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let cost = Cost { operations: 2.0 * (m * n * k) as f64, bytes: 2.0 * (m * k + n * k + m * n) as f64 };
        let Some(device) = &self.device else { return self.line(name, cost, None, None) };
        let a = self.random(device, m, k, Dtype::Bf16)?;
        let (rows, cols) = if form == Form::Nt { (n, k) } else { (k, n) };
        let b = self.random(device, rows, cols, Dtype::Bf16)?;
        let mut y = device.alloc(Shape::matrix(m, n), Dtype::Bf16)?;
        let rival = self.rival.as_ref().map(|r| r.seconds(y.view(), a.view(), b.view(), form)).transpose()?;
        let mut plain = || device.matmul(y.view_mut(), a.view(), b.view(), form, Epilogue::default());
        self.line(name, cost, rival, Some(&mut plain))?;
        // The same linear with everything a LoRA layer adds to it.
        let z = self.random(device, m, 8, Dtype::Bf16)?;
        let (rows, cols) = if form == Form::Nt { (n, 8) } else { (8, n) };
        let factor = self.random(device, rows, cols, Dtype::F32)?;
        let bias = self.random(device, 1, n, Dtype::F32)?;
        let mut fused = || {
            let epilogue = Epilogue {
                bias: (form == Form::Nt).then(|| bias.view()),
                low_rank: Some(LowRank { z: z.view(), factor: factor.view(), scale: 2.0 }),
                ..Epilogue::default()
            };
            device.matmul(y.view_mut(), a.view(), b.view(), form, epilogue)
        };
        self.line(&format!("{name} +bias+low_rank"), cost, rival, Some(&mut fused))
    }

    fn attention(&self, model: &str, sequences: usize, length: usize, heads: usize, h: usize) -> Result<()> {
        let name = format!("{model} attention {sequences}x{length}");
        if !self.wants(&name) {
            return Ok(());
        }
        let (rows, context) = (sequences * length, length * 7 / 8);
        // Pairs of query and key that see each other: all of part A, and the triangle of part B.
        let tail = length - context;
        let pairs = (sequences * (length * context + tail * (tail + 1) / 2)) as f64;
        let forward = Cost { operations: 4.0 * pairs * h as f64, bytes: 2.0 * (4 * rows * h) as f64 };
        let backward = Cost { operations: 2.5 * forward.operations, bytes: 2.0 * (8 * rows * h) as f64 };
        let Some(device) = &self.device else {
            self.line(&name, forward, None, None)?;
            return self.line(&format!("{name} backward"), backward, None, None);
        };
        let qkv = self.random(device, rows, 3 * h, Dtype::Bf16)?;
        let mut y = device.alloc(Shape::matrix(rows, h), Dtype::Bf16)?;
        let mut log_sum_exp = device.alloc(Shape::matrix(rows, heads), Dtype::F32)?;
        let segments = device.segments(
            (0..=sequences).map(|s| (s * length) as u32).collect(),
            vec![context as u32; sequences],
        )?;
        let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
        let scale = 1.0 / ((h / heads) as f32).sqrt();
        let mut work = || {
            let (y, statistics) = (y.view_mut(), log_sum_exp.view_mut());
            device.attention(y, statistics, qkv.view(), &segments, heads, layout, scale, None)
        };
        self.line(&name, forward, None, Some(&mut work))?;
        let dy = self.random(device, rows, h, Dtype::Bf16)?;
        let mut d_qkv = device.alloc(Shape::matrix(rows, 3 * h), Dtype::Bf16)?;
        let mut work = || {
            device.attention_backward(
                d_qkv.view_mut(),
                dy.view(),
                y.view(),
                log_sum_exp.view(),
                qkv.view(),
                &segments,
                heads,
                layout,
                scale,
                None,
            )
        };
        self.line(&format!("{name} backward"), backward, None, Some(&mut work))
    }

    /// Beams of some requests, each over its request's prompt and eight tokens of its own.
    fn cache_attention(
        &self,
        model: &str,
        requests: usize,
        beams: usize,
        prompt: usize,
        heads: usize,
        h: usize,
    ) -> Result<()> {
        const TAIL: usize = 8;
        let name = format!("{model} cache_attention {requests}x{beams} over {prompt}");
        if !self.wants(&name) {
            return Ok(());
        }
        let rows = requests * beams;
        let cost = Cost {
            operations: 4.0 * (rows * (prompt + TAIL) * h) as f64,
            // A prompt is read once for all of its beams.
            bytes: 2.0 * (requests * prompt * 2 * h + rows * TAIL * 2 * h + 4 * rows * h) as f64,
        };
        let Some(device) = &self.device else { return self.line(&name, cost, None, None) };
        let qkv = self.random(device, rows, 3 * h, Dtype::Bf16)?;
        let stored = self.random(device, requests * prompt, 2 * h, Dtype::Bf16)?;
        let tail = self.random(device, rows * TAIL, 2 * h, Dtype::Bf16)?;
        let ranges: Vec<u32> = (0..rows)
            .flat_map(|r| [(r / beams * prompt) as u32, ((r / beams + 1) * prompt) as u32])
            .collect();
        let mut ranges_on_device = device.alloc(Shape::matrix(rows, 2), Dtype::U32)?;
        device.write_u32(ranges_on_device.view_mut(), &ranges)?;
        let path_start = device.upload_u32(&(0..=rows).map(|r| (r * TAIL) as u32).collect::<Vec<u32>>())?;
        let path = device.upload_u32(&(0..(rows * TAIL) as u32).collect::<Vec<u32>>())?;
        let mut y = device.alloc(Shape::matrix(rows, h), Dtype::Bf16)?;
        let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
        let scale = 1.0 / ((h / heads) as f32).sqrt();
        let mut work = || {
            let cached = CacheRows {
                prompt: ranges_on_device.view(),
                path_start: path_start.view(),
                path: path.view(),
            };
            device.cache_attention(
                y.view_mut(),
                qkv.view(),
                stored.view(),
                tail.view(),
                cached,
                heads,
                layout,
                scale,
            )
        };
        self.line(&name, cost, None, Some(&mut work))
    }

    /// Ops that are bound by memory.
    fn rows(&self, model: &str, rows: usize, h: usize, inner: usize, vocabulary: usize) -> Result<()> {
        let moved = |elements: usize| Cost { operations: 0.0, bytes: 2.0 * elements as f64 };
        let (norm, gelu) = (format!("{model} layernorm {rows}"), format!("{model} gelu_backward {rows}"));
        let targets = 128;
        let entropy = format!("{model} cross_entropy {targets}");
        let Some(device) = &self.device else {
            for (name, cost) in [
                (norm, moved(2 * rows * h)),
                (gelu, moved(3 * rows * inner)),
                (entropy, moved(4 * targets * vocabulary)),
            ] {
                if self.wants(&name) {
                    self.line(&name, cost, None, None)?;
                }
            }
            return Ok(());
        };
        if self.wants(&norm) {
            let x = self.random(device, rows, h, Dtype::Bf16)?;
            let (weight, bias) =
                (self.random(device, 1, h, Dtype::F32)?, self.random(device, 1, h, Dtype::F32)?);
            let mut y = device.alloc(x.shape(), Dtype::Bf16)?;
            let mut statistics = device.alloc(Shape::matrix(rows, 2), Dtype::F32)?;
            let mut work = || {
                let (y, statistics) = (y.view_mut(), statistics.view_mut());
                device.layernorm(y, statistics, x.view(), weight.view(), bias.view(), 1e-5)
            };
            self.line(&norm, moved(2 * rows * h), None, Some(&mut work))?;
        }
        if self.wants(&gelu) {
            let (dy, x) = (
                self.random(device, rows, inner, Dtype::Bf16)?,
                self.random(device, rows, inner, Dtype::Bf16)?,
            );
            let mut dx = device.alloc(x.shape(), Dtype::Bf16)?;
            let mut work = || device.gelu_backward(dx.view_mut(), dy.view(), x.view(), Gelu::Tanh);
            self.line(&gelu, moved(3 * rows * inner), None, Some(&mut work))?;
        }
        if self.wants(&entropy) {
            // f32 logits: read once at least, written once.
            let mut logits = self.random(device, targets, vocabulary, Dtype::F32)?;
            let ids = device.upload_u32(&vec![7; targets])?;
            let weights = device.upload_f32(&vec![1e-3; targets], Shape::vector(targets), Dtype::F32)?;
            let mut loss = device.alloc(Shape::vector(targets), Dtype::F32)?;
            let mut work =
                || device.cross_entropy(loss.view_mut(), logits.view_mut(), ids.view(), weights.view());
            self.line(&entropy, moved(4 * targets * vocabulary), None, Some(&mut work))?;
        }
        Ok(())
    }

    fn optimiser(&self, n: usize) -> Result<()> {
        let name = format!("adamw {n}");
        if !self.wants(&name) {
            return Ok(());
        }
        // Parameter and moments read and written, the gradient read.
        let cost = Cost { operations: 0.0, bytes: 4.0 * 7.0 * n as f64 };
        let Some(device) = &self.device else { return self.line(&name, cost, None, None) };
        let gradient = self.random(device, 1, n, Dtype::F32)?;
        let (mut p, mut m1, mut m2) = (
            device.zeros(Shape::matrix(1, n), Dtype::F32)?,
            device.zeros(Shape::matrix(1, n), Dtype::F32)?,
            device.zeros(Shape::matrix(1, n), Dtype::F32)?,
        );
        let numbers = AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: 1,
            gradient_scale: 1.0,
        };
        let mut work = || device.adamw(p.view_mut(), m1.view_mut(), m2.view_mut(), gradient.view(), numbers);
        self.line(&name, cost, None, Some(&mut work))
    }
}

/// Best seconds of a work that is asked for often enough to hide the host.
fn best(device: &Device, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let mut run = |times: usize| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..times {
            work()?;
        }
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    };
    run(1)?;
    let times = (0.02 / run(2)?).clamp(1.0, 500.0) as usize;
    (0..5).try_fold(f64::MAX, |best, _| Ok(best.min(run(times)?)))
}
