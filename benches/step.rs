//! A training step of the small model beside the matrix products that it cannot do without, and
//! beside PyTorch.
//!
//! `cargo bench --bench step [-- full|lora]`. A step is forward, backward, clipping and AdamW over
//! 64 examples of Toys, as `engine train` does it; its products are the same shapes through `gemm`
//! called directly, attention's not counted. Before it is timed the gradient is checked against
//! differences of the loss. With `ENGINE_PYTHON` (a Python that has torch, safetensors and peft)
//! tools/peers/train_step.py takes the same rows and weights, must find the same loss and gradient,
//! and steps in turn with ours. `ENGINE_ROWS=FILE.safetensors` keeps the rows. Threads:
//! ENGINE_THREADS, else one per core.

mod support;

use anyhow::{ensure, Context, Result};
use engine::base::Dtype;
use engine::data::Batch;
use engine::device::{Device, Epilogue, Form, Tensor};
use engine::model::{
    adapter_config, Checkpoint, Config, Flat, Keep, LinearName, LoraConfig, Model, Noise, Rates,
    Tune,
};
use engine::train::{Hyper, Optimizer};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::{examples, in_turn, median, ratio, seconds, verdict};

const EXAMPLES: usize = 64;
const ROUNDS: usize = 11;
/// A LoRA step is at most this many times its products.
const BAR: f64 = 1.4;

struct Bench {
    device: Device,
    pool: rayon::ThreadPool,
    threads: usize,
    weights: PathBuf,
    folder: tempfile::TempDir,
    batch: Batch,
    rows: PathBuf,
}

/// What is trained and under what noise.
struct Case {
    name: &'static str,
    tune: Tune,
    dropout: f32,
    keep: Keep,
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads =
        std::env::var("ENGINE_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(cores);
    let folder = tempfile::tempdir()?;
    let dataset = support::toys(&folder);
    let found = examples(dataset.as_ref(), EXAMPLES);
    let batch = Batch::of(&found.samples);
    let weights = folder.path().join("small");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/small-glm/config.json");
    support::engine(&[
        "init",
        "--model",
        config,
        "--out",
        &weights.display().to_string(),
        "--quiet",
    ]);
    let rows = match std::env::var_os("ENGINE_ROWS") {
        Some(path) => PathBuf::from(path),
        None => folder.path().join("rows.safetensors"),
    };
    write_rows(&rows, &batch)?;
    println!(
        "small-glm, {EXAMPLES} examples ({}): {} rows, {} targets, no padding; {threads} threads; \
        medians of {ROUNDS} rounds in turn",
        found.origin,
        batch.rows(),
        batch.target_rows.len()
    );
    let bench = Bench {
        device: Device::open("cpu", threads)?,
        pool: rayon::ThreadPoolBuilder::new().num_threads(threads).build()?,
        threads,
        weights,
        folder,
        batch,
        rows,
    };
    let lora = || Tune::Lora { config: LoraConfig::default(), positions: false };
    for case in [
        Case { name: "full, dropout 0.1", tune: Tune::Full, dropout: 0.1, keep: Keep::All },
        Case { name: "lora, rank 8", tune: lora(), dropout: 0.0, keep: Keep::Lean },
    ] {
        if wanted.is_empty() || wanted.iter().any(|w| case.name.contains(w.as_str())) {
            bench.case(&case)?;
        }
    }
    Ok(())
}

impl Bench {
    fn case(&self, case: &Case) -> Result<()> {
        let config = Config::read(&self.weights.join("config.json"))?;
        let mut model = Model::load(
            &self.device,
            config,
            Checkpoint::open(&self.weights)?,
            Dtype::F32,
            &case.tune,
            0,
        )?;
        let divisor: f64 = self.batch.target_weights.iter().map(|&w| f64::from(w)).sum();
        let mut gradients = Flat::zeros(&self.device, model.layout())?;
        let (loss, norm) = check(&mut model, &self.batch, divisor, case.keep, &mut gradients)?;
        let mut peer = self.peer(case, &model, loss, norm)?;

        let hyper = Hyper {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            decay_all: false,
        };
        let mut optimizer = Optimizer::new(&model, hyper)?;
        let rates =
            Rates { embedding: case.dropout, attention: case.dropout, output: case.dropout };
        let products = self.products(&model)?;
        let mut gemm = Direct::new(&products);
        let mut taken = 0;
        let mut step = || {
            taken += 1;
            let noise = Noise { seed: 0, step: taken, rates, lora: 0.0 };
            seconds(|| {
                self.device.zero(gradients.all_mut()).expect("gradients");
                let loss = model.loss_and_gradients(
                    &self.batch,
                    divisor,
                    Some(&noise),
                    case.keep,
                    &mut gradients,
                );
                assert!(loss.expect("a step").is_finite(), "step {taken}: the loss is not finite");
                let norm = optimizer.step(&mut model, &gradients, 1.0, 1e-4, taken).expect("AdamW");
                assert!(norm.is_finite(), "step {taken}: the gradient is not finite");
            })
        };
        let mut ours = self.ours(&products)?;
        let mut direct = || seconds(|| gemm.run(&self.pool, self.threads));
        let mut theirs =
            || peer.as_mut().map_or(f64::NAN, |peer| peer.step().expect("PyTorch steps"));
        let times = in_turn(&mut [&mut step, &mut direct, &mut ours, &mut theirs], ROUNDS);
        let [step, direct, ours, theirs] = &times[..] else { unreachable!("four works") };
        let operations: f64 = products.iter().map(Product::operations).sum();
        let over = ratio(step, direct);
        println!("\n{}: loss {loss:.4}, gradient {norm:.4}, both checked", case.name);
        println!(
            "  a step                     {:8.1} ms  {:7.0} rows/s",
            1e3 * median(step),
            self.batch.rows() as f64 / median(step)
        );
        println!(
            "  its {:3} products, by gemm  {:8.1} ms  {:7.1} GFLOP/s; by the device {:.1} ms",
            products.len(),
            1e3 * median(direct),
            1e-9 * operations / median(direct),
            1e3 * median(ours)
        );
        match matches!(case.tune, Tune::Lora { .. }) {
            true => println!(
                "  step / products            {over:8.2}     at most {BAR}: {}",
                verdict(over <= BAR)
            ),
            false => println!("  step / products            {over:8.2}"),
        }
        if let Some(peer) = peer {
            let times = ratio(theirs, step);
            println!(
                "  {}  {:8.1} ms\n  PyTorch / step             {times:8.2}     at least 1: {}",
                peer.words,
                1e3 * median(theirs),
                verdict(times >= 1.0)
            );
        }
        Ok(())
    }

    /// Everything that a step multiplies: the linears forward, the gradients of their inputs and of
    /// what is trained, the head.
    fn products(&self, model: &Model) -> Result<Vec<Product>> {
        let (rows, targets) = (self.batch.rows(), self.batch.target_rows.len());
        let config = &model.config;
        let mut products = Vec::new();
        let mut push = |m, n, k, form| products.push(Product { m, n, k, form });
        for _layer in 0..config.layers {
            for linear in LinearName::ALL {
                let (out, inner) = config.linear_shape(linear);
                push(rows, out, inner, Form::Nt);
                push(rows, inner, out, Form::Nn);
                match model.lora() {
                    None => push(out, inner, rows, Form::Tn),
                    Some(lora) => {
                        let rank = lora.rank_of(linear).context("every linear is adapted")?;
                        push(rows, rank, inner, Form::Nt);
                        push(rows, out, rank, Form::Nt);
                        push(rows, rank, out, Form::Nn);
                        push(rows, inner, rank, Form::Nn);
                        push(out, rank, rows, Form::Tn);
                        push(rank, inner, rows, Form::Tn);
                    }
                }
            }
        }
        push(targets, config.vocabulary, config.hidden, Form::Nt);
        push(targets, config.hidden, config.vocabulary, Form::Nn);
        if model.lora().is_none() {
            push(config.vocabulary, config.hidden, targets, Form::Tn);
        }
        Ok(products)
    }

    /// The products through the device's own matmul.
    fn ours<'a>(&'a self, products: &'a [Product]) -> Result<impl FnMut() -> f64 + 'a> {
        let size = |of: fn(&Product) -> usize| products.iter().map(of).max().unwrap_or(1);
        let shape = |n| engine::base::Shape::vector(n);
        let filled = |n| self.device.upload_f32(&vec![0.01; n], shape(n), Dtype::F32);
        let (a, b) = (filled(size(|p| p.m * p.k))?, filled(size(|p| p.n * p.k))?);
        let mut y: Tensor = filled(size(|p| p.m * p.n))?;
        let matrix = engine::base::Shape::matrix;
        Ok(move || {
            seconds(|| {
                for &Product { m, n, k, form } in products {
                    let a = a
                        .view()
                        .part(0, if form == Form::Tn { matrix(k, m) } else { matrix(m, k) });
                    let b = b
                        .view()
                        .part(0, if form == Form::Nt { matrix(n, k) } else { matrix(k, n) });
                    let y = y.view_mut().part(0, matrix(m, n));
                    self.device.matmul(y, a, b, form, Epilogue::default()).expect("a product");
                }
            })
        })
    }

    /// PyTorch on the same rows and weights, where there is one; refuses it when it computes
    /// something else.
    fn peer(&self, case: &Case, model: &Model, loss: f64, norm: f64) -> Result<Option<Peer>> {
        let Some(python) = std::env::var_os("ENGINE_PYTHON") else { return Ok(None) };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/peers/train_step.py");
        let mut command = Command::new(python);
        command.arg(script).arg("--serve").arg("--weights").arg(&self.weights);
        command.arg("--inputs").arg(&self.rows).args(["--threads", &self.threads.to_string()]);
        command.args(["--dropout", &case.dropout.to_string()]);
        if let Some(lora) = model.lora() {
            let folder = self.folder.path().join("adapter");
            std::fs::create_dir_all(&folder)?;
            model.save_adapter(&folder.join("adapter_model.safetensors"), None)?;
            let config = adapter_config(lora, &self.weights.display().to_string(), &[]);
            std::fs::write(folder.join("adapter_config.json"), config.to_string())?;
            command.arg("--adapter").arg(&folder);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ENGINE_PYTHON")?;
        let ask = process.stdin.take().context("a pipe")?;
        let answers = BufReader::new(process.stdout.take().context("a pipe")?);
        let mut peer = Peer { process, ask, answers, words: String::new() };
        let first: serde_json::Value = serde_json::from_str(&peer.line()?)?;
        let near = |what: &str, ours: f64| -> Result<()> {
            let theirs = first[what].as_f64().context("a number")?;
            ensure!(
                (theirs - ours).abs() <= 1e-4 * ours.abs(),
                "{what}: PyTorch finds {theirs}, we {ours}"
            );
            Ok(())
        };
        near("loss", loss)?;
        near("gradient", norm)?;
        peer.words = format!(
            "PyTorch {} {} (of {})",
            first["torch"].as_str().unwrap_or("?"),
            first["best"].as_str().unwrap_or("?"),
            first["variants"]
        );
        Ok(Some(peer))
    }
}

/// The loss without dropout and the norm of its gradient, which must be what a small step along it
/// changes the loss by.
fn check(
    model: &mut Model,
    batch: &Batch,
    divisor: f64,
    keep: Keep,
    gradients: &mut Flat,
) -> Result<(f64, f64)> {
    let device = model.device.clone();
    device.zero(gradients.all_mut())?;
    let loss = model.loss_and_gradients(batch, divisor, None, keep, gradients)?;
    let gradient = device.download_f32(gradients.all())?;
    let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let values = device.download_f32(model.values().all())?;
    let mut at = |step: f64| -> Result<f64> {
        let moved: Vec<f32> = values
            .iter()
            .zip(&gradient)
            .map(|(&v, &g)| (f64::from(v) + step * f64::from(g) / norm) as f32)
            .collect();
        device.write_f32(model.values_mut().all_mut(), &moved)?;
        model.loss(batch, divisor)
    };
    let step = 1e-2 / norm.max(1.0);
    let slope = (at(step)? - at(-step)?) / (2.0 * step);
    at(0.0)?;
    ensure!(
        (slope - norm).abs() <= 0.02 * norm,
        "the loss falls by {slope}, its gradient says {norm}"
    );
    Ok((loss, norm))
}

#[derive(Clone, Copy)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    form: Form,
}

impl Product {
    fn operations(&self) -> f64 {
        2.0 * (self.m * self.n * self.k) as f64
    }
}

/// The products through `gemm`, each on memory of its own as in a step, where no operand waits in
/// the cache.
struct Direct {
    products: Vec<Product>,
    memory: [Vec<f32>; 3],
}

impl Direct {
    fn new(products: &[Product]) -> Direct {
        let filled =
            |of: fn(&Product) -> usize| vec![0.01f32; products.iter().map(of).max().unwrap_or(1)];
        let memory = [filled(|p| p.m * p.k), filled(|p| p.n * p.k), filled(|p| p.m * p.n)];
        Direct { products: products.to_vec(), memory }
    }

    fn run(&mut self, pool: &rayon::ThreadPool, threads: usize) {
        let Direct { products, memory: [a, b, y] } = self;
        let parallel = match threads {
            1 => gemm::Parallelism::None,
            threads => gemm::Parallelism::Rayon(threads),
        };
        pool.install(|| {
            for &Product { m, n, k, form } in &*products {
                let (a_rs, a_cs) = if form == Form::Tn { (1, m as isize) } else { (k as isize, 1) };
                let (b_rs, b_cs) = if form == Form::Nt { (1, k as isize) } else { (n as isize, 1) };
                // SAFETY: the three vectors hold the largest of the shapes, so these too.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        y.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        a.as_ptr(),
                        a_cs,
                        a_rs,
                        b.as_ptr(),
                        b_cs,
                        b_rs,
                        0.0f32,
                        1.0f32,
                        false,
                        false,
                        false,
                        parallel,
                    );
                }
            }
        });
    }
}

/// tools/peers/train_step.py, waiting to be told to step.
struct Peer {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    words: String,
}

impl Peer {
    fn step(&mut self) -> Result<f64> {
        writeln!(self.ask, "step")?;
        Ok(self.line()?.trim().parse()?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.answers.read_line(&mut line)? > 0,
            "tools/peers/train_step.py ended: see above"
        );
        Ok(line)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The batch as `engine forward` and the Python tools read it.
fn write_rows(path: &Path, batch: &Batch) -> Result<()> {
    let wide = |values: &[u32]| -> Vec<u8> {
        values.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect()
    };
    let mut labels = vec![-100i64; batch.rows()];
    for (&row, &id) in batch.target_rows.iter().zip(&batch.target_ids) {
        labels[row as usize] = i64::from(id);
    }
    let rows = batch.rows();
    let tensors = [
        ("input_ids", vec![rows], wide(&batch.tokens)),
        ("positions", vec![2, rows], wide(&batch.positions.concat())),
        ("starts", vec![batch.starts.len()], wide(&batch.starts)),
        ("context", vec![batch.contexts.len()], wide(&batch.contexts)),
        ("labels", vec![rows], labels.iter().flat_map(|l| l.to_le_bytes()).collect()),
    ];
    let views: Vec<(&str, safetensors::tensor::TensorView)> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(
                safetensors::Dtype::I64,
                shape.clone(),
                bytes,
            )?;
            Ok((*name, view))
        })
        .collect::<Result<_>>()?;
    safetensors::serialize_to_file(views, None, path)?;
    Ok(())
}
