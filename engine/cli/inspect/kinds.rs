//! What a path is, and what can be said of it.

use super::sheet::{bytes, Cell, Sheet};
use crate::base::text::{amount, grouped};
use crate::base::{unreadable, Dtype, Fault};
use crate::cli::say;
use crate::data::{Dataset, Vocab};
use crate::eval::curve::Curve;
use crate::model::{Adapter, Checkpoint, Config, Family, LoraConfig, HEAD};
use crate::recommender::learnt::RULES;
use crate::recommender::run::Run;
use crate::recommender::source::OtherBase;
use crate::recommender::weights::{find_weights, weights_folders};
use crate::train::checkpoint;
use anyhow::{Context, Result};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The model that a path stands for, as far as a plan needs it.
pub struct Base {
    pub config: Config,
    /// How the weights are stored; `None` where there are none.
    pub stored: Option<Dtype>,
    pub own_head: bool,
    /// The adapter that the path is, and whether position tables lie beside it.
    pub adapter: Option<(LoraConfig, bool)>,
}

/// The path itself, or the weights folder that has this name.
pub fn find(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    let named =
        weights_folders().into_iter().map(|folder| folder.join(path)).find(|place| place.is_dir());
    named.ok_or_else(|| {
        let expected =
            "a checkpoint, an adapter, a run, a config.json, a .bin or a name of weights";
        let why = path.metadata().err().unwrap_or_else(|| ErrorKind::NotFound.into());
        unreadable(Fault::Usage, "inspect", path, expected, &why)
    })
}

/// Says what `path` is. The second value is `None` for what is no model.
pub fn describe(path: &Path, sheet: &mut Sheet) -> Result<Option<Base>> {
    let has = |name: &str| path.join(name).exists();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_file() {
        return match name.rsplit_once('.').map(|(_, ending)| ending) {
            _ if name == "adapter_config.json" => describe(&beside(path), sheet),
            Some("json") => config(path, sheet).map(Some),
            Some("safetensors") => Err(Fault::Model.error(format!(
                "inspect: {}: expected a folder with config.json and *.safetensors, got one of its \
                files; name the folder",
                path.display()
            ))),
            _ => bin(path, sheet).map(|()| None),
        };
    }
    if Run::is_at(path) {
        run(path, sheet)?;
        if !has("adapter_config.json") && !has("config.json") {
            sheet.plain("model files", "none yet");
            return Ok(None);
        }
        let (mut part, lora) = (Sheet::default(), has("adapter_config.json"));
        let base = if lora { adapter(path, &mut part)? } else { Some(weights(path, &mut part)?) };
        sheet.part(if lora { "adapter" } else { "weights" }, part);
        return Ok(base);
    }
    if has("adapter_config.json") {
        return adapter(path, sheet);
    }
    if has("config.json") {
        return weights(path, sheet).map(Some);
    }
    let fault = if has("model.safetensors") || has("model.safetensors.index.json") {
        Fault::Model
    } else {
        Fault::Usage
    };
    let (got, advice) = match has(RULES) {
        true => ("a run that was stopped before it had a model", "go on with it by --resume"),
        false => ("none of them", "is it the right folder?"),
    };
    Err(fault.error(format!(
        "inspect: {}: expected config.json, adapter_config.json or config.toml in this folder, got \
        {got}; {advice}",
        path.display()
    )))
}

fn beside(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn config(path: &Path, sheet: &mut Sheet) -> Result<Base> {
    let config = Config::read(path)?;
    sheet.plain("kind", "config");
    sizes(&config, sheet);
    if let Some(dtype) = &config.torch_dtype {
        sheet.plain("torch dtype", dtype.as_str());
    }
    Ok(Base { config, stored: None, own_head: false, adapter: None })
}

fn sizes(config: &Config, sheet: &mut Sheet) {
    let family = if config.family == Family::Glm { "GLM" } else { "ChatGLM" };
    sheet.plain("family", family);
    sheet.count("layers", config.layers);
    sheet.count("hidden", config.hidden);
    sheet.count("heads", config.heads);
    sheet.count("inner", config.inner);
    sheet.count("vocabulary", config.vocabulary);
    sheet.count("positions", config.max_positions);
    sheet.count("parameters", config.parameters());
}

/// A weights folder, or a folder that has only the config.
fn weights(folder: &Path, sheet: &mut Sheet) -> Result<Base> {
    let files = ["model.safetensors", "model.safetensors.index.json"];
    if !files.iter().any(|file| folder.join(file).is_file()) {
        let base = config(&folder.join("config.json"), sheet)?;
        sheet.plain("weights", "none in this folder");
        tokenizer(folder, sheet);
        return Ok(base);
    }
    let config = Config::read(&folder.join("config.json"))?;
    sheet.plain("kind", "weights");
    sizes(&config, sheet);
    let mut checkpoint = Checkpoint::open(folder)?;
    let (shards, size) = (checkpoint.files(), checkpoint.bytes());
    let mut stored: BTreeMap<&str, (Dtype, usize, usize)> = BTreeMap::new();
    let mut embedding = None;
    for spec in config.tensors() {
        let tensor = checkpoint.take(&spec.name, spec.shape)?;
        let all = stored.entry(tensor.dtype.name()).or_insert((tensor.dtype, 0, 0));
        *all = (tensor.dtype, all.1 + 1, all.2 + tensor.bytes().len());
        embedding.get_or_insert(tensor);
    }
    let mut own_head = false;
    if config.family == Family::ChatGlm && checkpoint.contains(HEAD) {
        let embedding = embedding.expect("every config has a word embedding");
        let head = checkpoint.take(HEAD, embedding.shape)?;
        own_head = head.dtype != embedding.dtype || head.bytes() != embedding.bytes();
    }
    checkpoint.finish()?;
    let words: Vec<String> = stored
        .iter()
        .map(|(name, (_, tensors, _))| format!("{name} ({tensors} tensors)"))
        .collect();
    let value: Value =
        stored.iter().map(|(name, (_, tensors, _))| (name.to_string(), *tensors)).collect();
    sheet.fact("stored", words.join(", "), value);
    sheet.count("shards", shards);
    sheet.bytes("bytes", size);
    let words = if own_head { "a tensor of its own" } else { "tied to the embedding" };
    sheet.fact("output matrix", words, if own_head { "own" } else { "tied" });
    tokenizer(folder, sheet);
    let most = stored.into_values().max_by_key(|&(_, _, bytes)| bytes).map(|(dtype, ..)| dtype);
    Ok(Base { config, stored: most, own_head, adapter: None })
}

fn tokenizer(folder: &Path, sheet: &mut Sheet) {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return sheet.fact("tokenizer", "none", Value::Null);
    }
    match Vocab::open(&path) {
        Ok(vocab) => {
            let (size, hash) = (vocab.size(), format!("{:08x}", vocab.hash()));
            sheet.fact(
                "tokenizer",
                format!("{} ids, {hash}", grouped(size as u64)),
                json!({"ids": size, "hash": hash}),
            );
        }
        Err(e) => {
            sheet.fact("tokenizer", format!("refused: {e:#}"), json!({"refused": format!("{e:#}")}))
        }
    }
}

/// A PEFT adapter; the base's config where the base is still at its place.
fn adapter(folder: &Path, sheet: &mut Sheet) -> Result<Option<Base>> {
    let opened = Adapter::open(folder)?;
    let tensors = Checkpoint::open_file(&folder.join("adapter_model.safetensors"))?;
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json"))?)?;
    let base = json["base_model_name_or_path"].as_str().unwrap_or("");
    let place = find_weights(Path::new(base)).ok().filter(|_| !base.is_empty());
    let modules = tensors.names().filter(|name| name.ends_with(".lora_A.weight")).count();
    let beside: Vec<&str> = tensors.names().filter(|name| !name.contains(".lora_")).collect();
    let values: usize = tensors
        .names()
        .filter_map(|name| Some(tensors.dims(name)?.iter().product::<usize>()))
        .sum();
    let lora = &opened.config;
    let targets: Vec<&str> = lora.targets.iter().map(|target| target.name()).collect();
    sheet.plain("kind", "adapter");
    sheet.plain("rank", lora.rank);
    sheet.plain("alpha", lora.alpha);
    sheet.plain("dropout", (f64::from(lora.dropout) * 1e6).round() / 1e6);
    sheet.fact("targets", targets.join(", "), targets);
    sheet.count("adapted linears", modules);
    sheet.count("trained values", values);
    if !beside.is_empty() {
        sheet.fact("saved beside", beside.join(", "), beside.as_slice());
    }
    sheet.bytes("bytes", tensors.bytes());
    let words = match (&place, base) {
        (_, "") => "not named".to_owned(),
        (Some(_), base) => base.to_owned(),
        (None, base) => format!("{base} (not there)"),
    };
    sheet.fact("base", words, base);
    if let Some(hash) = opened.base() {
        sheet.plain("trained on", hash);
    }
    let (positions, lora) = (!beside.is_empty(), lora.clone());
    let Some(place) = place else { return Ok(None) };
    opened.check(&Config::read(&place.join("config.json"))?)?;
    OtherBase::in_folder(folder, &opened, &place)?.iter().for_each(say::warning);
    let base = weights(&place, &mut Sheet::default())?;
    Ok(Some(Base { adapter: Some((lora, positions)), ..base }))
}

fn run(folder: &Path, sheet: &mut Sheet) -> Result<()> {
    let run = Run::at(folder);
    let settings = run.settings()?;
    sheet.plain("kind", "run");
    sheet.plain("weights", settings.weights.display().to_string());
    sheet.plain("data", settings.data.display().to_string());
    sheet.plain("tune", settings.tune.name());
    let checkpoints = checkpoint::list(folder)?;
    let steps: Vec<u64> = checkpoints.iter().map(|(step, _)| *step).collect();
    let words: Vec<String> = steps.iter().map(u64::to_string).collect();
    let words =
        if words.is_empty() { "none".to_owned() } else { format!("steps {}", words.join(", ")) };
    sheet.fact("checkpoints", words, steps);
    let mut best = None;
    if let Some((_, path)) = checkpoints.last() {
        let state = checkpoint::read_state(path)?;
        sheet.fact("tokens trained on", grouped(state.tokens), state.tokens);
        best = state.best;
    }
    if folder.join("metrics.jsonl").is_file() {
        let curve = Curve::read(folder)?;
        sheet.fact("newest step", grouped(curve.last_step), curve.last_step);
        if let Some(last) = curve.steps.last() {
            sheet.fact("last loss", format!("{:.4}", last.loss), last.loss);
            let minutes =
                curve.validations.last().map_or(last.minutes, |v| v.minutes.max(last.minutes));
            sheet.fact("minutes", format!("{minutes:.1}"), minutes);
        }
        // The log may be ahead of the newest checkpoint.
        let scores = curve.validations.iter().filter_map(|validation| {
            let score = validation.metrics.iter().find(|(name, _)| name == "ndcg@10")?.1;
            Some((score, validation.step))
        });
        best = scores.chain(best).reduce(|a, b| if b.0 > a.0 { b } else { a });
    }
    let words = best.map_or("none yet".to_owned(), |(score, step)| {
        format!("NDCG@10 {score:.4} at step {step}")
    });
    sheet.fact(
        "best validation",
        words,
        best.map(|(score, step)| json!({"ndcg@10": score, "step": step})),
    );
    if let Some(published) = run.published()? {
        sheet.plain("model files", published.to_string());
    }
    Ok(())
}

fn bin(path: &Path, sheet: &mut Sheet) -> Result<()> {
    let dataset = Dataset::open(path)?;
    sheet.plain("kind", "bin");
    let size = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    sheet.bytes("bytes", size);
    sheet.plain("hash", format!("{:08x}", dataset.hash()));
    let (ids, hash) = (dataset.vocab().size(), format!("{:08x}", dataset.vocab().hash()));
    let words = format!("{} ids, {hash}", grouped(ids as u64));
    sheet.fact("tokenizer", words, json!({"ids": ids, "hash": hash}));
    for part in
        [serde_json::to_value(dataset.settings())?, serde_json::to_value(dataset.statistics())?]
    {
        for (name, value) in part.as_object().expect("both are structs") {
            let name = name.replace('_', " ");
            match value.as_u64() {
                Some(count) => sheet.fact(&name, grouped(count), count),
                None if value.is_f64() => {
                    sheet.fact(
                        &name,
                        format!("{:.2}", value.as_f64().unwrap_or(0.0)),
                        value.clone(),
                    );
                }
                None => sheet.plain(&name, value.clone()),
            }
        }
    }
    let row = |(name, length): (String, usize)| {
        vec![Cell(name.clone(), name.into()), bytes(length as u64)]
    };
    sheet.table("sections", &["section", "bytes"], dataset.sections().map(row).collect());
    Ok(())
}

/// Reads every byte of a `.bin`. A file that fails is a check that failed, whatever is wrong with
/// it.
pub fn verify(path: &Path, sheet: &mut Sheet) -> Result<()> {
    if !path.is_file()
        || path.extension().is_some_and(|ending| ending == "json" || ending == "safetensors")
    {
        return Err(Fault::Usage.error(format!(
            "--verify: {}: expected a .bin, got something without checksums; leave the flag out",
            path.display()
        )));
    }
    let size = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    Dataset::open(path)
        .and_then(|dataset| dataset.verify())
        .map_err(|e| Fault::Check.error(format!("{e:#}")))?;
    sheet.fact("checksums", format!("all agree, {} read", amount(size)), true);
    Ok(())
}
