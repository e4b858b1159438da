use crate::base::{write_atomically, Dtype, Fault, Philox, Stream};
use crate::data::Vocab;
use crate::model::{encode, write_safetensors, Config, Entry, Role};
use anyhow::{Context, Result};
use serde_json::{json, Value};
use std::io::Write;
use std::path::PathBuf;

/// Example: engine init --model weights/tiny-glm/config.json --out tiny
#[derive(Clone, Debug, clap::Args)]
pub struct Init {
    /// The config.json of the model
    #[arg(long, value_name = "CONFIG.json")]
    pub model: PathBuf,
    /// A tokenizer.json to put beside the weights
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Take the vocabulary size from the tokenizer, rounded up to a multiple of 64
    #[arg(long, requires = "tokenizer")]
    pub vocab_from_tokenizer: bool,
    /// The checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Decides every weight
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// Writes config.json, model.safetensors and tokenizer.json: embeddings and linears N(0, range), those that write into the
/// residual N(0, range/√(2L)), biases 0, layer norms 1 and 0 (the original's own start).
pub fn run(args: &Init) -> Result<()> {
    let text = std::fs::read_to_string(&args.model)
        .map_err(|e| Fault::Model.error(format!("config: {}: cannot be read: {e}", args.model.display())))?;
    let mut json: Value = serde_json::from_str(&text).map_err(|e| {
        Fault::Model.error(format!("config: {}: expected JSON, got {e}", args.model.display()))
    })?;
    let tokenizer = args.tokenizer.as_deref().map(Vocab::open).transpose()?;
    if let (Some(vocab), true) = (&tokenizer, args.vocab_from_tokenizer) {
        json["vocab_size"] = json!(vocab.size().next_multiple_of(64));
    }
    json["torch_dtype"] = json!("float32");
    let config = Config::from_json(&json).with_context(|| args.model.display().to_string())?;
    if let Some(vocab) = tokenizer.as_ref().filter(|v| v.size() > config.vocabulary) {
        return Err(Fault::Model.error(format!(
            "config: {}: vocab_size: expected at least the tokenizer's {}, got {}; use --vocab-from-tokenizer",
            args.model.display(),
            vocab.size(),
            config.vocabulary
        )));
    }
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let specs = config.tensors();
    let entries: Vec<Entry> =
        specs.iter().map(|s| Entry { name: s.name.clone(), shape: s.shape, dtype: Dtype::F32 }).collect();
    let range = f64::from(config.initializer_range);
    write_safetensors(&args.out.join("model.safetensors"), &entries, |i| {
        let count = specs[i].shape.count();
        let deviation = match specs[i].role {
            Role::Embedding | Role::Linear => range,
            Role::LinearOut => range / (2.0 * config.layers as f64).sqrt(),
            Role::Bias | Role::NormBias => return Ok(encode(&vec![0.0; count], Dtype::F32)),
            Role::NormWeight => return Ok(encode(&vec![1.0; count], Dtype::F32)),
        };
        let mut rng = Philox::new(args.seed, Stream::Init, i as u64);
        let values: Vec<f32> = (0..count).map(|_| (deviation * rng.normal()) as f32).collect();
        Ok(encode(&values, Dtype::F32))
    })?;
    if let Some(vocab) = &tokenizer {
        write_atomically(&args.out.join("tokenizer.json"), |f| Ok(f.write_all(vocab.json())?))?;
    }
    let text = serde_json::to_string_pretty(&json)?;
    write_atomically(&args.out.join("config.json"), |f| Ok(writeln!(f, "{text}")?))?;
    println!("{}: {} parameters", args.out.display(), config.parameters());
    Ok(())
}
