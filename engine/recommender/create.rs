//! A checkpoint from nothing: a config, a tokenizer, and weights drawn at random.

use super::ranges::within_ranges;
use super::source::Storage;
use super::weights::WRITTEN;
use crate::base::host::room;
use crate::base::named::named;
use crate::base::{unreadable, write_whole, Dtype, Fault, Outputs, Philox, Standing, Stream};
use crate::data::affinity::vectors;
use crate::data::{Dataset, Vocab};
use crate::model::{encode, write_safetensors, Config, Entry, Family, Role, TensorSpec, HEAD};
use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};

named! {
    /// How the embeddings of words begin.
    pub enum Embeddings: "embeddings" {
        /// Drawn as everything else is.
        Random = "random",
        /// Near where words belong together in titles and histories (R45).
        FromData = "from-data",
    }
}

/// Which model is made, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Creation {
    /// The config.json that says what model it is.
    pub model: PathBuf,
    /// A tokenizer.json to put beside the weights.
    pub tokenizer: Option<PathBuf>,
    /// Set vocab_size to the number of the tokenizer's ids, rounded up to `vocab_multiple`.
    pub vocab_from_tokenizer: bool,
    /// What the vocabulary is rounded up to.
    pub vocab_multiple: u32,
    /// How the weights are stored.
    pub dtype: Storage,
    /// How the embeddings of words begin.
    pub embeddings: Embeddings,
    /// The prepared `.bin` from which embeddings begin.
    pub data: Option<PathBuf>,
    /// The checkpoint folder to make.
    pub out: PathBuf,
    /// Decides every weight.
    pub seed: u64,
    /// Threads that draw; 0 = one a core. No weight depends on it.
    #[serde(skip)]
    pub threads: usize,
}

impl Default for Creation {
    fn default() -> Creation {
        Creation {
            model: PathBuf::new(),
            tokenizer: None,
            vocab_from_tokenizer: false,
            vocab_multiple: 128,
            dtype: Storage::F32,
            embeddings: Embeddings::Random,
            data: None,
            out: PathBuf::new(),
            seed: 0,
            threads: 0,
        }
    }
}

impl Creation {
    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, vocab_multiple seed threads);
        Ok(())
    }
}

/// A tensor that is drawn next.
pub struct Tensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its numbers.
    pub count: usize,
    /// The numbers of all tensors.
    pub total: usize,
}

fn resolved(creation: &Creation) -> Result<String> {
    toml::to_string(creation).map_err(|e| {
        Fault::Usage.error(format!("settings: expected values that TOML can hold, got: {e}"))
    })
}

/// Writes `config.json`, `model.safetensors`, `init.toml` (the settings) and, where one is given,
/// `tokenizer.json`.
///
/// With L layers and σ = `initializer_range` (0.02): embeddings, query_key_value and dense_h_to_4h
/// N(0, σ²); what writes into the residual, dense and dense_4h_to_h, N(0, σ²/2L); biases 0; layer
/// norms 1 and 0. Source: the original's own start (docs/models.md). A weight is a function of
/// seed, tensor and place; at most one tensor is in memory. Refuses a vocabulary with fewer ids
/// than the tokenizer, and data that are not those of its words.
pub fn create(
    args: &Creation,
    mut outputs: Outputs,
    watch: &mut dyn FnMut(&Tensor) -> Result<()>,
) -> Result<usize> {
    args.check()?;
    outputs.reads("setting `model`", &args.model);
    if let Some(tokenizer) = &args.tokenizer {
        outputs.reads("setting `tokenizer`", tokenizer);
    }
    if let Some(data) = &args.data {
        outputs.reads("setting `data`", data);
    }
    outputs.folder("setting `out`", &args.out, WRITTEN, Standing::New);
    let held = outputs.claim()?;
    let mut json = read_json(&args.model)?;
    let vocab = args.tokenizer.as_deref().map(Vocab::open).transpose()?;
    if let (Some(vocab), true) = (&vocab, args.vocab_from_tokenizer) {
        json["vocab_size"] = json!(vocab.size().next_multiple_of(args.vocab_multiple as usize));
    }
    json["torch_dtype"] = json!(args.dtype.torch());
    let place = || format!("config: {}", args.model.display());
    let config = Config::from_json(&json).map_err(|e| Fault::Model.wrap(e, place()))?;
    if let Some(vocab) = vocab.as_ref().filter(|vocab| vocab.size() > config.vocabulary) {
        return Err(Fault::Model.error(format!(
            "{}: vocab_size: expected at least the {} ids of the tokenizer, got {}; set \
            setting `vocab-from-tokenizer`",
            place(),
            vocab.size(),
            config.vocabulary
        )));
    }
    let learnt = learnt(args, &config, vocab.as_ref())?;
    // Before anything is made: the largest tensor is all that is ever held.
    let largest = config.tensors().into_iter().max_by_key(|tensor| tensor.shape.count());
    let largest = largest.expect("every config has tensors");
    drop(room::<u8>(&largest.name, largest.shape.bytes(args.dtype.dtype()))?);
    held.replace(|folder| {
        let write = |name: &str, bytes: &[u8]| write_whole(&folder.join(name), bytes);
        write("config.json", format!("{}\n", serde_json::to_string_pretty(&json)?).as_bytes())?;
        write("init.toml", resolved(args)?.as_bytes())?;
        if let Some(vocab) = &vocab {
            write("tokenizer.json", vocab.json())?;
        }
        write_weights(args, &config, &learnt, &folder.join("model.safetensors"), watch)
    })?;
    Ok(config.parameters())
}

fn read_json(path: &Path) -> Result<Value> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|e| unreadable(Fault::Model, "setting `model`", path, "a config.json", &e))?;
    let json: Value = serde_json::from_slice(&text).map_err(|e| {
        Fault::Model.error(format!("config: {shown}:{}: expected JSON, got {e}", e.line()))
    })?;
    if !json.is_object() {
        return Err(Fault::Model
            .error(format!("config: {shown}: expected a JSON object, got another value")));
    }
    Ok(json)
}

/// What the data say of words, `[vocabulary · hidden]`, of the length that random ones have on
/// average, zeros where they say nothing; nothing where the data are not to be asked. Refuses data
/// that are not there, and those of another tokenizer.
fn learnt(args: &Creation, config: &Config, vocab: Option<&Vocab>) -> Result<Vec<f32>> {
    let data =
        match (args.embeddings, &args.data) {
            (Embeddings::Random, None) => return Ok(Vec::new()),
            (Embeddings::FromData, Some(data)) => data,
            (Embeddings::FromData, None) => return Err(Fault::Usage.error(
                "setting `embeddings`: from-data: expected setting `data`, a prepared .bin, got \
                none; give it",
            )),
            (Embeddings::Random, Some(data)) => {
                return Err(Fault::Usage.error(format!(
                    "setting `data`: {}: expected setting `embeddings = from-data` beside it, got \
                random; add it, or leave the data out",
                    data.display()
                )))
            }
        };
    let dataset = Dataset::open(data)?;
    if let Some(vocab) = vocab {
        dataset.expect_vocab(vocab)?;
    }
    let (words, hidden) = (config.vocabulary, config.hidden);
    if dataset.vocab().size() > words {
        return Err(Fault::Model.error(format!(
            "config: {}: vocab_size: expected at least the {} ids of the data's tokenizer, got \
            {words}; set setting `vocab-from-tokenizer`",
            args.model.display(),
            dataset.vocab().size()
        )));
    }
    let length = config.initializer_range * (hidden as f32).sqrt();
    let mut rows = vectors(&dataset, words, hidden, args.seed);
    rows.iter_mut().for_each(|value| *value *= length);
    Ok(rows)
}

fn write_weights(
    args: &Creation,
    config: &Config,
    learnt: &[f32],
    path: &Path,
    watch: &mut dyn FnMut(&Tensor) -> Result<()>,
) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build().map_err(|e| {
        Fault::Device.error(format!(
            "setting `threads`: expected threads that can be started, got {e}; ask for fewer"
        ))
    })?;
    let dtype = args.dtype.dtype();
    let mut specs: Vec<(usize, TensorSpec)> = config.tensors().into_iter().enumerate().collect();
    if config.family == Family::ChatGlm {
        // Published files hold the tied output matrix a second time.
        specs.push((0, TensorSpec { name: HEAD.to_owned(), ..specs[0].1.clone() }));
    }
    let entries: Vec<Entry> =
        specs.iter().map(|(_, s)| Entry { name: s.name.clone(), shape: s.shape, dtype }).collect();
    let total: usize = specs.iter().map(|(_, s)| s.shape.count()).sum();
    write_safetensors(path, &entries, |i| {
        let (number, spec) = &specs[i];
        watch(&Tensor { name: &spec.name, count: spec.shape.count(), total })?;
        let start = Start::of(spec.role, config);
        let mut bytes = room(&spec.name, spec.shape.bytes(dtype))?;
        bytes.resize(spec.shape.bytes(dtype), 0);
        pool.install(|| start.fill(&mut bytes, dtype, args.seed, *number as u64));
        if spec.role == Role::Embedding {
            put(&mut bytes, dtype, learnt, config.hidden);
        }
        Ok(bytes)
    })
}

/// Overwrites the rows of which something is learnt.
fn put(bytes: &mut [u8], dtype: Dtype, learnt: &[f32], hidden: usize) {
    let rows = bytes.chunks_mut(hidden * dtype.size()).zip(learnt.chunks(hidden));
    for (to, row) in rows.filter(|(_, row)| row.iter().any(|&value| value != 0.0)) {
        to.copy_from_slice(&encode(row, dtype));
    }
}

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Constant(f32),
    /// Normal around 0 with this standard deviation.
    Normal(f64),
}

impl Start {
    fn of(role: Role, config: &Config) -> Start {
        let range = f64::from(config.initializer_range);
        match role {
            Role::Embedding | Role::Position | Role::Linear => Start::Normal(range),
            Role::LinearOut => Start::Normal(range / (2.0 * config.layers as f64).sqrt()),
            Role::Bias | Role::NormBias => Start::Constant(0.0),
            Role::NormWeight => Start::Constant(1.0),
        }
    }

    /// The values as stored. Blocks are drawn on several threads, each from its own sequence.
    fn fill(self, bytes: &mut [u8], dtype: Dtype, seed: u64, tensor: u64) {
        const BLOCK: usize = 1 << 16;
        bytes.par_chunks_mut(BLOCK * dtype.size()).enumerate().for_each(|(block, bytes)| {
            let mut rng = Philox::new(seed, Stream::Init, (block as u64) << 40 | tensor);
            let values: Vec<f32> = (0..bytes.len() / dtype.size())
                .map(|_| match self {
                    Start::Constant(value) => value,
                    Start::Normal(deviation) => (deviation * rng.normal()) as f32,
                })
                .collect();
            bytes.copy_from_slice(&encode(&values, dtype));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(start: Start, count: usize, threads: usize) -> Vec<f32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut bytes = vec![0; 4 * count];
        pool.install(|| start.fill(&mut bytes, Dtype::F32, 3, 5));
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn weights_have_their_deviation_and_do_not_depend_on_threads() {
        let count = 150_001;
        let one = values(Start::Normal(0.02), count, 1);
        assert!(one == values(Start::Normal(0.02), count, 3));
        let mean = one.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
        let square = one.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / count as f64;
        // Four standard errors of each.
        assert!(mean.abs() < 4.0 * 0.02 / (count as f64).sqrt(), "{mean}");
        assert!((square.sqrt() / 0.02 - 1.0).abs() < 4.0 / (2.0 * count as f64).sqrt(), "{square}");
    }

    #[test]
    fn each_role_has_its_start() {
        let json = json!({
            "model_type": "glm", "num_layers": 8, "hidden_size": 8, "num_attention_heads": 2,
        });
        let config = Config::from_json(&json).unwrap();
        let range = f64::from(0.02f32);
        assert_eq!(Start::of(Role::Embedding, &config), Start::Normal(range));
        assert_eq!(Start::of(Role::Linear, &config), Start::Normal(range));
        assert_eq!(Start::of(Role::LinearOut, &config), Start::Normal(range / 4.0));
        assert_eq!(Start::of(Role::Bias, &config), Start::Constant(0.0));
        assert_eq!(Start::of(Role::NormWeight, &config), Start::Constant(1.0));
        assert_eq!(Start::of(Role::NormBias, &config), Start::Constant(0.0));
    }
}
