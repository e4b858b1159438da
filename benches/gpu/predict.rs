//! What the counts of the emulator predict for GPUs that are not there: ops, a step of training,
//! passes of decoding. Each launch is the wrappers' own for that GPU; a few of its blocks run on
//! the emulator and stand for all.

use super::{whole, Op};
use anyhow::Result;
use engine::base::Dtype;
use engine::data::Batch;
use engine::device::Device;
use engine::model::{Config, Extension, Flat, Keep, KvCache, LoraConfig, Model, Tune};
use engine::train::Optimizer;
use kernels::predicted::{Gpu, Prediction, GPUS, UNITS};
use kernels::profiled::{record, Launch};

/// Blocks of a launch that run.
const SAMPLE: u64 = 2;

/// A hollow device for each GPU, those of equal size together.
pub struct Stage {
    devices: Vec<(Device, Vec<&'static Gpu>)>,
}

impl Stage {
    /// None, with a sentence, where this build has no profiler.
    pub fn open() -> Result<Option<Stage>> {
        if kernels::PROFILER.is_none() {
            println!("no predictions: this build has no emulator, a C++ compiler is missing");
            return Ok(None);
        }
        let mut devices: Vec<(Device, Vec<&'static Gpu>)> = Vec::new();
        for gpu in &GPUS {
            let like = |(_, gpus): &&mut (Device, Vec<&'static Gpu>)| {
                (gpus[0].processors, gpus[0].shared_of_block)
                    == (gpu.processors, gpu.shared_of_block)
            };
            match devices.iter_mut().find(like) {
                Some((_, gpus)) => gpus.push(gpu),
                None => {
                    devices.push((Device::hollow(gpu.processors, gpu.shared_of_block)?, vec![gpu]))
                }
            }
        }
        Ok(Some(Stage { devices }))
    }

    /// What `work` launches, predicted for each GPU.
    fn predict(
        &self,
        mut work: impl FnMut(&Device) -> Result<Vec<Launch>>,
    ) -> Result<Vec<(&'static Gpu, Prediction)>> {
        let mut predictions = Vec::new();
        for (device, gpus) in &self.devices {
            let launches = work(device)?;
            predictions.extend(gpus.iter().map(|&gpu| (gpu, gpu.predict_all(&launches))));
        }
        Ok(predictions)
    }

    /// The lines under an op.
    pub fn line(&self, op: &Op) -> Result<()> {
        let predictions = self.predict(|device| {
            let mut work = (op.prepare)(device)?;
            let (done, launches) = record(SAMPLE, || work(device));
            done.map(|()| launches)
        })?;
        for (gpu, p) in predictions {
            println!("    {}", sentence(gpu, &p));
        }
        Ok(())
    }
}

/// Each unit's share, and what they come to.
fn sentence(gpu: &Gpu, p: &Prediction) -> String {
    let units: Vec<String> = UNITS
        .iter()
        .zip(p.units)
        .map(|(unit, seconds)| format!("{unit} {:.1}", 1e6 * seconds))
        .collect();
    format!(
        "{} predicted {:.1} us, bound by {}: {}, waits {:.1} ({} {}, {} blocks a processor, {:.1} \
        waves)",
        gpu.name,
        1e6 * p.seconds,
        p.bound(),
        units.join(" "),
        1e6 * p.waits,
        p.launches,
        if p.launches == 1 { "launch" } else { "launches" },
        p.resident,
        p.waves
    )
}

/// Rows of a prompt, as the mean one of Toys has them, of a pass of one user's beams, and passes of
/// a user: what exact look-ahead leaves of beams of 20 there.
const PROMPT: usize = 129;
const USER_ROWS: usize = 42;
const USER_PASSES: f64 = 5.5;
const BEAMS: usize = 20;
const USERS: usize = 64;

/// GLM-10B as a user meets it.
pub fn whole(stage: &Stage, wants: impl Fn(&str) -> bool) -> Result<()> {
    let config = whole::config()?;
    let say =
        |name: &str, predictions: &[(&'static Gpu, Prediction)], rate: &dyn Fn(f64) -> String| {
            println!("{name}");
            for (gpu, p) in predictions {
                println!("    {}: {}", sentence(gpu, p), rate(p.seconds));
            }
        };
    if wants("train") {
        for keep in [Keep::All, Keep::Lean] {
            let step = stage.predict(|device| step(device, config.clone(), keep))?;
            let name = format!("glm-10b train: LoRA step 8x1024, keep {}", keep.name());
            say(&name, &step, &|s| format!("{:.0} tokens/s", 8192.0 / s));
        }
    }
    if wants("decode") {
        let prefill = |users| stage.predict(|device| prefill(device, config.clone(), users));
        let tuned = |users, rows, tune: &Tune| {
            stage.predict(|device| pass(device, config.clone(), users, rows, tune))
        };
        let pass = |users, rows| tuned(users, rows, &Tune::Nothing);
        let one = pass(1, 1)?;
        say(&format!("glm-10b decode: a row over {PROMPT}"), &one, &|s| {
            format!("{:.1} tokens/s", 1.0 / s)
        });
        let beams = pass(1, BEAMS)?;
        say(&format!("glm-10b decode: a pass of {BEAMS} beams over {PROMPT}"), &beams, &|s| {
            format!("{:.1} ms", 1e3 * s)
        });
        let adapter = Tune::Lora { config: LoraConfig::default(), positions: false };
        for (users, rows) in [(1, 1), (1, BEAMS), (1, USER_ROWS), (USERS, USERS * USER_ROWS)] {
            let (merged, apart) = (pass(users, rows)?, tuned(users, rows, &adapter)?);
            let (moved, floor) = (merged[0].1.bytes, floor(&config, users, rows));
            println!(
                "glm-10b decode: a pass of {rows} rows moves {:.2} GB, {:.3} times what it must",
                1e-9 * moved,
                moved / floor
            );
            for ((gpu, merged), (_, apart)) in merged.iter().zip(&apart) {
                let longer = 100.0 * (apart.seconds / merged.seconds - 1.0);
                println!("    {} predicted {longer:+.1} % by an adapter apart", gpu.name);
            }
        }
        for users in [1, USERS] {
            let (prompts, passes) = (prefill(users)?, pass(users, users * USER_ROWS)?);
            let both: Vec<_> = prompts
                .iter()
                .zip(&passes)
                .map(|((gpu, prompts), (_, pass))| (*gpu, prompts.then(&pass.times(USER_PASSES))))
                .collect();
            let name = format!(
                "glm-10b decode: beam {BEAMS}, {users} users together, a prompt of {PROMPT} and \
                {USER_PASSES} passes of {USER_ROWS} rows each (host's time not counted)"
            );
            say(&name, &both, &|s| format!("{:.1} ms, {:.1} users/s", 1e3 * s, users as f64 / s));
        }
    }
    Ok(())
}

fn step(device: &Device, config: Config, keep: Keep) -> Result<Vec<Launch>> {
    let tune = Tune::Lora { config: LoraConfig::default(), positions: false };
    let batch = whole::batch(config.vocabulary);
    let mut model = Model::synthetic(device, config, Dtype::Bf16, &tune, 0)?;
    let mut optimizer = Optimizer::new(&model, whole::HYPER)?;
    let mut gradients = Flat::zeros(device, model.layout())?;
    let divisor = batch.target_rows.len() as f64;
    let (done, launches) = record(SAMPLE, || {
        model.loss_and_gradients(&batch, divisor, None, keep, &mut gradients)?;
        optimizer.step(&mut model, &gradients, 1.0, 1e-5, 1)
    });
    done.map(|_| launches)
}

/// Prompts of so many users.
fn prompts(users: usize) -> Batch {
    let mut batch = Batch { starts: vec![0], ..Batch::default() };
    for user in 0..users {
        batch.tokens.extend((0..PROMPT).map(|i| (i * 7919 % 50_000) as u32));
        batch.positions[0].extend((0..PROMPT).map(|i| i.min(PROMPT - 2) as u32));
        batch.positions[1].extend((0..PROMPT).map(|i| u32::from(i + 1 == PROMPT)));
        batch.starts.push((PROMPT * (user + 1)) as u32);
        batch.contexts.push(PROMPT as u32 - 1);
        batch.examples.push(user as u64);
    }
    batch
}

fn prefill(device: &Device, config: Config, users: usize) -> Result<Vec<Launch>> {
    let model = Model::synthetic(device, config, Dtype::Bf16, &Tune::Nothing, 0)?;
    let batch = prompts(users);
    let (done, launches) = record(SAMPLE, || {
        let (_, ends) = KvCache::prefill(&model, &batch, users * KvCache::SLOTS)?;
        read(&model, &ends)
    });
    done.map(|()| launches)
}

/// Tokens of its own that a row sees.
const OWN: usize = 4;

/// Bytes that a pass must read once: all weights but the tables of positions, of which it reads
/// rows, and what the rows see of prompts and of their own.
fn floor(config: &Config, users: usize, rows: usize) -> f64 {
    let positions = 2 * (config.max_positions + 1) * config.hidden;
    let seen = 2 * config.layers * config.hidden * (users * PROMPT + rows * OWN);
    2.0 * (config.parameters() - positions + seen) as f64
}

/// A pass of `rows` rows, as many of each user, each with four tokens of its own.
fn pass(
    device: &Device,
    config: Config,
    users: usize,
    rows: usize,
    tune: &Tune,
) -> Result<Vec<Launch>> {
    let model = Model::synthetic(device, config, Dtype::Bf16, tune, 0)?;
    let (mut cache, _) = KvCache::prefill(&model, &prompts(users), OWN * rows)?;
    let mut extension = Extension::new();
    for row in 0..rows {
        let path: Vec<u32> = (0..OWN).map(|i| (OWN * row + i) as u32).collect();
        let position = [PROMPT as u32 - 2, OWN as u32];
        let user = (row * users / rows) as u32;
        extension.push(user, row as u32, position, path[OWN - 1], &path);
    }
    let (done, launches) = record(SAMPLE, || {
        let y = cache.extend(&model, &extension)?;
        read(&model, &y)
    });
    done.map(|()| launches)
}

/// Log-probabilities of some children of every row.
fn read(model: &Model, y: &engine::device::Tensor) -> Result<()> {
    const CHILDREN: usize = 20;
    let rows = y.view().rows();
    let first: Vec<u32> = (0..=rows).map(|r| (r * CHILDREN) as u32).collect();
    let ids: Vec<u32> = (0..rows * CHILDREN).map(|i| (i * 31 % 50_000) as u32).collect();
    model.log_probs_at(y.view(), &first, &ids).map(|_| ())
}
