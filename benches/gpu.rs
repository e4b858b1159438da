//! `cargo bench --bench gpu [-- FILTER]`: what each op of GLM-10B and ChatGLM-6B costs at least,
//! and on a GPU what it takes.
//!
//! Without a GPU this prints the ledger: operations, bytes, and the floor on A100, H100 and H200,
//! the larger of operations by peak rate and bytes by bandwidth. With one (`ENGINE_DEVICES=cuda:0`,
//! the default where driver and kernels are there) it first measures the ceilings (tensor cores fed
//! from registers, a copy), then every op beside the larger of its two floors on them, products
//! beside cuBLASLt in the same rounds, and at last a LoRA step and the decoding of GLM-10B with
//! synthetic weights.

#[path = "gpu/cublaslt.rs"]
mod cublaslt;
#[path = "gpu/rows.rs"]
mod rows;
#[path = "gpu/whole.rs"]
mod whole;

use anyhow::Result;
use cublaslt::CublasLt;
use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::*;
use rows::Sizes;
use std::time::Instant;

/// Datasheet figures: 16-bit operations and bytes a second.
const PARTS: [(&str, f64, f64); 3] =
    [("A100", 312e12, 2.039e12), ("H100", 989e12, 3.35e12), ("H200", 989e12, 4.8e12)];

const MODELS: &[Sizes] = &[
    Sizes {
        model: "glm-10b",
        hidden: 4096,
        heads: 64,
        inner: 16384,
        vocabulary: 50304,
        rows: 8192,
        targets: 640,
        choices: 20,
        trained: 25_165_824,
    },
    Sizes {
        model: "chatglm-6b",
        hidden: 4096,
        heads: 32,
        inner: 16384,
        vocabulary: 130_528,
        rows: 8192,
        targets: 640,
        choices: 20,
        trained: 14_680_064,
    },
];

/// What the emulator is given (`ENGINE_DEVICES=emu`): that every line can run, and nothing to be
/// measured.
const EMULATED: &[Sizes] = &[Sizes {
    model: "chat-emulated",
    hidden: 128,
    heads: 2,
    inner: 256,
    vocabulary: 500,
    rows: 128,
    targets: 8,
    choices: 20,
    trained: 10_000,
}];

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
    print!("{:<48} {:>9} {:>9}", "op", "GFLOP", "MB");
    PARTS.iter().for_each(|(part, ..)| print!(" {:>9}", format!("{part} us")));
    println!(" {:>9} {:>8} {:>7} {:>9}", "us", "TFLOP/s", "floor%", "cuBLASLt");
    let emulated = name.starts_with("emu");
    for sizes in if emulated { EMULATED } else { MODELS } {
        let Sizes { model, hidden: h, heads, inner, vocabulary, rows, targets, .. } = *sizes;
        let linears = [
            ("query_key_value", 3 * h, h),
            ("dense", h, h),
            ("h_to_4h", inner, h),
            ("4h_to_h", h, inner),
        ];
        // A step, a small step, a group's prompts; the beams of a group, and of one user.
        for m in [rows, rows / 4, rows / 16] {
            for (linear, n, k) in linears {
                bench.product(&format!("{model} {linear} {m}"), m, n, k, Form::Nt)?;
                bench.product(&format!("{model} {linear} dx {m}"), m, k, n, Form::Nn)?;
            }
        }
        for m in [rows / 128 * 10, 20, 1] {
            for (linear, n, k) in linears {
                bench.product(&format!("{model} {linear} {m}"), m, n, k, Form::Nt)?;
            }
        }
        bench.product(&format!("{model} head {targets}"), targets, vocabulary, h, Form::Nt)?;
        bench.attention(model, 8, rows / 8, heads, h)?;
        bench.attention(model, 56, rows / 56, heads, h)?;
        bench.cache_attention(model, if emulated { 2 } else { 32 }, 20, rows / 64 + 1, heads, h)?;
        bench.rows(*sizes)?;
    }
    if let Some(device) = bench.device.as_ref().filter(|_| !emulated) {
        whole::run(device, &bench.filter)?;
    }
    Ok(())
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }

    /// One line; `work` is timed where there is a device.
    fn line(
        &self,
        name: &str,
        cost: Cost,
        rival: Option<f64>,
        work: Option<&mut dyn FnMut() -> Result<()>>,
    ) -> Result<()> {
        print!("{name:<48} {:>9.2} {:>9.1}", cost.operations / 1e9, cost.bytes / 1e6);
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
        let cost = Cost {
            operations: 2.0 * (m * n * k) as f64,
            bytes: 2.0 * (m * k + n * k + m * n) as f64,
        };
        let Some(device) = &self.device else { return self.line(name, cost, None, None) };
        let a = random(device, m, k, Dtype::Bf16)?;
        let (rows, cols) = if form == Form::Nt { (n, k) } else { (k, n) };
        let b = random(device, rows, cols, Dtype::Bf16)?;
        let mut y = device.alloc(Shape::matrix(m, n), Dtype::Bf16)?;
        let rival = self
            .rival
            .as_ref()
            .map(|r| r.seconds(y.view(), a.view(), b.view(), form))
            .transpose()?;
        let mut plain =
            || device.matmul(y.view_mut(), a.view(), b.view(), form, Epilogue::default());
        self.line(name, cost, rival, Some(&mut plain))?;
        // The same linear with everything a LoRA layer adds to it.
        let z = random(device, m, 8, Dtype::Bf16)?;
        let (rows, cols) = if form == Form::Nt { (n, 8) } else { (8, n) };
        let factor = random(device, rows, cols, Dtype::F32)?;
        let bias = random(device, 1, n, Dtype::F32)?;
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

    fn attention(
        &self,
        model: &str,
        sequences: usize,
        length: usize,
        heads: usize,
        h: usize,
    ) -> Result<()> {
        let name = format!("{model} attention {sequences}x{length}");
        if !self.wants(&name) {
            return Ok(());
        }
        let (rows, context) = (sequences * length, length * 7 / 8);
        // Pairs of query and key that see each other: all of part A, and the triangle of part B.
        let tail = length - context;
        let pairs = (sequences * (length * context + tail * (tail + 1) / 2)) as f64;
        let forward =
            Cost { operations: 4.0 * pairs * h as f64, bytes: 2.0 * (4 * rows * h) as f64 };
        let backward =
            Cost { operations: 2.5 * forward.operations, bytes: 2.0 * (8 * rows * h) as f64 };
        let Some(device) = &self.device else {
            self.line(&name, forward, None, None)?;
            return self.line(&format!("{name} backward"), backward, None, None);
        };
        let qkv = random(device, rows, 3 * h, Dtype::Bf16)?;
        let mut y = device.alloc(Shape::matrix(rows, h), Dtype::Bf16)?;
        let mut log_sum_exp = device.alloc(Shape::matrix(rows, heads), Dtype::F32)?;
        let segments = device.segments(
            (0..=sequences).map(|s| (s * length) as u32).collect(),
            vec![context as u32; sequences],
        )?;
        let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
        let scale = 1.0 / ((h / heads) as f32).sqrt();
        let attend = Attend {
            qkv: qkv.view(),
            segments: &segments,
            heads: Heads { count: heads, layout },
            scale,
            dropout: None,
        };
        let mut work = || device.attention(y.view_mut(), log_sum_exp.view_mut(), attend);
        self.line(&name, forward, None, Some(&mut work))?;
        let dy = random(device, rows, h, Dtype::Bf16)?;
        let mut d_qkv = device.alloc(Shape::matrix(rows, 3 * h), Dtype::Bf16)?;
        let mut work = || {
            device.attention_backward(
                d_qkv.view_mut(),
                dy.view(),
                y.view(),
                log_sum_exp.view(),
                attend,
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
        let qkv = random(device, rows, 3 * h, Dtype::Bf16)?;
        let stored = random(device, requests * prompt, 2 * h, Dtype::Bf16)?;
        let tail = random(device, rows * TAIL, 2 * h, Dtype::Bf16)?;
        let ranges = (0..rows)
            .map(|r| [(r / beams * prompt) as u32, ((r / beams + 1) * prompt) as u32])
            .collect();
        let path_start: Vec<u32> = (0..=rows).map(|r| (r * TAIL) as u32).collect();
        let path: Vec<u32> = (0..(rows * TAIL) as u32).collect();
        let cached = device.cache_rows(ranges, &path_start, &path)?;
        let mut y = device.alloc(Shape::matrix(rows, h), Dtype::Bf16)?;
        let layout = if model.starts_with("chat") { Qkv::PerHead } else { Qkv::Thirds };
        let scale = 1.0 / ((h / heads) as f32).sqrt();
        let mut work = || {
            device.cache_attention(
                y.view_mut(),
                AttendCache {
                    qkv: qkv.view(),
                    prompt: stored.view(),
                    tail: tail.view(),
                    rows: &cached,
                    heads: Heads { count: heads, layout },
                    scale,
                },
            )
        };
        self.line(&name, cost, None, Some(&mut work))
    }

    /// Ops that are bound by memory.
    fn rows(&self, sizes: Sizes) -> Result<()> {
        for op in rows::ops(sizes).iter().filter(|op| self.wants(&op.name)) {
            let cost = Cost { operations: 0.0, bytes: op.bytes };
            match &self.device {
                None => self.line(&op.name, cost, None, None)?,
                Some(device) => {
                    let mut work = (op.prepare)(device)?;
                    self.line(&op.name, cost, None, Some(&mut || work(device)))?;
                }
            }
        }
        Ok(())
    }
}

/// Noise, the same in every run: some rows of it, repeated. Zeros would run cooler and faster.
fn random(device: &Device, rows: usize, cols: usize, dtype: Dtype) -> Result<Tensor> {
    let some = rows.min(((1 << 22) / cols).max(1));
    let mut rng = Philox::new(1, Stream::Synthetic, (rows * 31 + cols) as u64);
    let block: Vec<f32> = (0..1 << 16).map(|_| rng.uniform() as f32 - 0.5).collect();
    let values: Vec<f32> = (0..some * cols).map(|i| block[(i + i / 65521) % block.len()]).collect();
    let first = device.upload_f32(&values, Shape::matrix(some, cols), dtype)?;
    let mut all = device.alloc(Shape::matrix(rows, cols), dtype)?;
    for start in (0..rows).step_by(some) {
        let length = some.min(rows - start);
        device.copy(
            all.view_mut().row_range(start..start + length),
            first.view().row_range(0..length),
        )?;
    }
    Ok(all)
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
