//! `cargo bench --bench gpu [-- FILTER]`: what each op of GLM-10B and ChatGLM-6B costs at least,
//! and on a GPU what it takes.
//!
//! Everywhere this prints the ledger: operations, bytes, and the floor on A100, H100 and H200, the
//! larger of operations by peak rate and bytes by bandwidth; under each line what is predicted from
//! the counts of the emulator, unit by unit (`kernels::predicted` says what is assumed); and at
//! last a LoRA step, passes of decoding and a user of GLM-10B, predicted. `-- --no-predictions`
//! leaves the predictions out.
//!
//! With a GPU (`ENGINE_DEVICES=cuda:0`, the default where driver and kernels are there) it first
//! measures the ceilings (tensor cores fed from registers, a copy), then every op beside the larger
//! of its two floors on them, products beside cuBLASLt in the same rounds, and at last the step and
//! the decoding with synthetic weights.

#[path = "gpu/cublaslt.rs"]
mod cublaslt;
#[path = "gpu/predict.rs"]
mod predict;
#[path = "gpu/products.rs"]
mod products;
#[path = "gpu/rows.rs"]
mod rows;
#[path = "gpu/whole.rs"]
mod whole;

use anyhow::Result;
use cublaslt::CublasLt;
use engine::base::{Dtype, Philox, Shape, Stream};
use engine::device::*;
use predict::Stage;
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
    stage: Option<Stage>,
    filter: Vec<String>,
}

/// What an op costs at least.
#[derive(Clone, Copy)]
struct Cost {
    operations: f64,
    bytes: f64,
}

/// Runs an op once on tensors that it owns.
type Work = Box<dyn FnMut(&Device) -> Result<()>>;
type Prepare = Box<dyn Fn(&Device) -> Result<Work>>;
/// Seconds of another's kernel for the same.
type Rival = Box<dyn Fn(&CublasLt, &Device) -> Result<f64>>;

/// An op with its name, what it costs at least, how its tensors are made, and what it is held
/// against.
struct Op {
    name: String,
    cost: Cost,
    prepare: Prepare,
    rival: Option<Rival>,
}

impl Op {
    fn new(name: String, cost: Cost, prepare: impl Fn(&Device) -> Result<Work> + 'static) -> Op {
        Op { name, cost, prepare: Box::new(prepare), rival: None }
    }
}

fn main() -> Result<()> {
    let (flags, filter): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let name = std::env::var("ENGINE_DEVICES").unwrap_or_else(|_| "cuda:0".into());
    let device = match Device::open(&name, 0) {
        Ok(device) => Some(device),
        Err(error) => {
            println!("no GPU: the ledger and predictions only ({error})");
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
    let emulated = name.starts_with("emu");
    let stage = match emulated || flags.iter().any(|flag| flag == "--no-predictions") {
        true => None,
        false => Stage::open()?,
    };
    let bench = Bench { device, ceilings, rival, stage, filter };
    print!("{:<48} {:>9} {:>9}", "op", "GFLOP", "MB");
    PARTS.iter().for_each(|(part, ..)| print!(" {:>9}", format!("{part} us")));
    println!(" {:>9} {:>8} {:>7} {:>9}", "us", "TFLOP/s", "floor%", "cuBLASLt");
    for sizes in if emulated { EMULATED } else { MODELS } {
        for op in products::ops(*sizes, emulated).into_iter().chain(rows::ops(*sizes)) {
            if bench.wants(&op.name) {
                bench.line(&op)?;
            }
        }
    }
    if let Some(device) = bench.device.as_ref().filter(|_| !emulated) {
        whole::run(device, &bench.filter)?;
    }
    if let Some(stage) = &bench.stage {
        predict::whole(stage, |name| bench.wants(name))?;
    }
    Ok(())
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
    }

    /// What an op costs at least, what it is predicted to take and, where there is a device, what
    /// it takes.
    fn line(&self, op: &Op) -> Result<()> {
        let cost = op.cost;
        print!("{:<48} {:>9.2} {:>9.1}", op.name, cost.operations / 1e9, cost.bytes / 1e6);
        for (_, rate, bandwidth) in PARTS {
            print!(" {:>9.1}", 1e6 * (cost.operations / rate).max(cost.bytes / bandwidth));
        }
        if let (Some(device), Some(ceilings)) = (&self.device, &self.ceilings) {
            let rival = match (&self.rival, &op.rival) {
                (Some(library), Some(rival)) => Some(rival(library, device)?),
                _ => None,
            };
            let mut work = (op.prepare)(device)?;
            let seconds = best(device, &mut || work(device))?;
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
        if let Some(stage) = &self.stage {
            stage.line(op)?;
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
