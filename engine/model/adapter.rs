//! Adapters on disk, in the format of the Python PEFT library: `adapter_config.json` and
//! `adapter_model.safetensors`.

use super::config::LinearName;
use super::contents::Contents;
use super::lora::{module_name, peft_prefix, LoraConfig};
use super::model::Model;
use super::parameters::{Layout, Slot};
use super::weights::{Checkpoint, Stored};
use crate::base::{read_file, Fault, Range};
use anyhow::Result;
use serde_json::{json, Value};
use std::path::Path;

/// Under which name an adapter's file remembers the hash of its base. PEFT reads past it.
pub(super) const BASE: &str = "engine.base";

/// An adapter folder that was opened but not yet attached to a model.
pub struct Adapter {
    /// What `adapter_config.json` says.
    pub config: LoraConfig,
    ranks: Ranks,
    place: String,
    tensors: Checkpoint,
}

impl Adapter {
    /// Reads the configuration and maps the tensors. Refuses files that are missing, kinds of
    /// adapters that are not LoRA, and variants that this engine does not compute.
    pub fn open(folder: &Path) -> Result<Adapter> {
        let path = folder.join("adapter_config.json");
        let text = read_file(&path).map_err(|e| {
            Fault::Model.error(format!("adapter: {}: cannot be read: {e}", path.display()))
        })?;
        let json: Value = serde_json::from_slice(&text).map_err(|e| {
            Fault::Model.error(format!("adapter: {}: expected JSON, got {e}", path.display()))
        })?;
        let config = parse(&json).map_err(|e| Fault::Model.wrap(e, path.display()))?;
        let ranks = Ranks::of(&json).map_err(|e| Fault::Model.wrap(e, path.display()))?;
        let tensors = Checkpoint::open_file(&folder.join("adapter_model.safetensors"))?;
        Ok(Adapter { config, ranks, place: folder.display().to_string(), tensors })
    }

    /// What it is; see [`Contents::of`].
    pub fn contents(&self, threads: usize) -> Contents {
        Contents::of(self.config.contents(), &self.tensors, threads)
    }

    /// The hash of the base that it was trained on, where whoever wrote it remembered.
    pub fn base(&self) -> Option<&str> {
        self.tensors.remark(BASE)
    }
}

/// What a rank may be.
const RANKS: Range = Range::whole(1, 1 << 16);

/// Which rank `adapter_config.json` gives each module.
struct Ranks {
    usual: usize,
    /// Of the modules whose path is such a name or ends in it.
    others: Vec<(String, usize)>,
}

impl Ranks {
    fn of(json: &Value) -> Result<Ranks> {
        let rank = |name: &str, value: &Value| {
            let rank = value.as_u64().filter(|&rank| RANKS.holds(rank));
            rank.map(|rank| rank as usize)
                .ok_or_else(|| Fault::Model.error(format!("{name}: expected {RANKS}, got {value}")))
        };
        let mut others = Vec::new();
        match &json["rank_pattern"] {
            Value::Null => {}
            Value::Object(pattern) => {
                for (name, value) in pattern {
                    others.push((name.clone(), rank("rank_pattern", value)?));
                }
            }
            other => {
                let words = format!("rank_pattern: expected ranks by module, got {other}");
                return Err(Fault::Model.error(words));
            }
        }
        Ok(Ranks { usual: rank("r", &json["r"])?, others })
    }

    /// The rank of the module at `path`.
    fn rank(&self, path: &str) -> usize {
        let named = |name: &str| {
            path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.others.iter().find(|(name, _)| named(name)).map_or(self.usual, |&(_, rank)| rank)
    }
}

fn parse(json: &Value) -> Result<LoraConfig> {
    let refuse = |what: String| Fault::Model.error(what);
    let kind = json["peft_type"].as_str().unwrap_or("absent");
    if kind != "LORA" {
        return Err(refuse(format!("peft_type: expected LORA, got {kind}")));
    }
    // Fields of newer versions are ignored where they say nothing; where they change the
    // mathematics they are refused.
    for field in ["use_dora", "fan_in_fan_out", "use_qalora", "lora_bias"] {
        if json[field].as_bool() == Some(true) {
            return Err(refuse(format!(
                "{field}: expected false, got true; this variant is not computed"
            )));
        }
    }
    if !matches!(json["bias"].as_str(), None | Some("none")) {
        return Err(refuse(format!(
            "bias: expected \"none\", got {}; trained biases are not read",
            json["bias"]
        )));
    }
    if json["alpha_pattern"].as_object().is_some_and(|p| !p.is_empty()) {
        return Err(refuse(
            "alpha_pattern: expected none; one alpha for all modules is read".into(),
        ));
    }
    let number = |name: &str, range: Range| match json[name].as_f64() {
        Some(x) if range.holds(x) => Ok(x),
        _ => Err(refuse(format!("{name}: expected {range}, got {}", json[name]))),
    };
    let rank = number("r", RANKS)?;
    let alpha = number("lora_alpha", Range::above(0.0, 1e9))?;
    let dropout = match &json["lora_dropout"] {
        Value::Null => 0.0,
        _ => number("lora_dropout", Range::below(0.0, 1.0))?,
    };
    let targets = match &json["target_modules"] {
        Value::Array(list) => {
            let words: Vec<String> =
                list.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
            LoraConfig::targets_of(&words)?
        }
        // A pattern or "all-linear": the tensors in the file say what it matched.
        Value::String(_) => LinearName::ALL.to_vec(),
        other => {
            return Err(refuse(format!(
                "target_modules: expected a list of module names, got {other}"
            )))
        }
    };
    Ok(LoraConfig {
        rank: rank as usize,
        alpha,
        dropout: dropout as f32,
        targets,
        rank_stabilised: json["use_rslora"].as_bool().unwrap_or(false),
    })
}

/// The `adapter_config.json` that PEFT 0.7 and later load, of an adapter for the weights in `base`
/// with `saved_modules` ([`crate::model::Tune::saved_modules`]) beside it.
pub fn adapter_config(lora: &LoraConfig, base: &str, saved_modules: &[String]) -> Value {
    let targets: Vec<&str> = lora.targets.iter().map(|t| t.name()).collect();
    let saved = if saved_modules.is_empty() { Value::Null } else { json!(saved_modules) };
    let mut config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": saved,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": null
    });
    if lora.alpha.fract() == 0.0 {
        config["lora_alpha"] = json!(lora.alpha as i64);
    }
    if lora.rank_stabilised {
        config["use_rslora"] = json!(true);
    }
    config
}

impl Model {
    /// Attaches a stored adapter; its factors (and position tables saved beside them) become the
    /// trained range. Refuses an adapter of which any tensor fits nothing in this model, or which
    /// matches nothing. Returns the number of adapted linears.
    pub fn load_adapter(&mut self, adapter: Adapter) -> Result<usize> {
        let Adapter { config, ranks, place, mut tensors } = adapter;
        let maps = tensors.maps();
        let refuse = |what: String| Fault::Model.error(format!("adapter: {place}: {what}"));
        let family = self.config.family;
        let mut layout = Layout::default();
        let mut pending: Vec<(Slot, Stored)> = Vec::new();
        let saved: Vec<String> =
            tensors.names().filter(|n| !n.contains(".lora_")).map(str::to_owned).collect();
        for name in saved {
            let base = name
                .strip_prefix(peft_prefix(family))
                .unwrap_or(&name)
                .replace(".modules_to_save", "");
            let slot = self.retrain(&base, &mut layout).ok_or_else(|| {
                refuse(format!(
                    "tensor {name}: expected a LoRA factor or a saved module of this \
                    model; is this its base?"
                ))
            })?;
            let stored = tensors.take(&name, slot.shape)?;
            pending.push((slot, stored));
        }
        let factor = |layer: usize, linear: LinearName| {
            format!("{}.lora_A.weight", module_name(family, layer, linear))
        };
        let expected = |layer: usize, linear: LinearName| ranks.rank(&linear.module(layer));
        for layer in 0..self.config.layers {
            for linear in LinearName::ALL {
                let (name, rank) = (factor(layer, linear), expected(layer, linear));
                match tensors.dims(&name) {
                    Some([rows, _]) if *rows == rank => {}
                    None => {}
                    Some(dims) => {
                        return Err(refuse(format!(
                            "tensor {name}: expected the {rank} rows that adapter_config.json \
                            says, got shape {dims:?}; do the two files belong together?"
                        )))
                    }
                }
            }
        }
        let rank_of = |layer: usize, linear: LinearName| {
            tensors.contains(&factor(layer, linear)).then(|| expected(layer, linear))
        };
        let modules = self.adapt(config, &mut layout, rank_of);
        if modules == 0 {
            let example = tensors.names().next().map_or("an empty file".to_owned(), str::to_owned);
            return Err(refuse(format!(
                "expected factors such as {}.lora_A.weight, got {example}; the adapter matches \
                nothing in this model",
                module_name(family, 0, LinearName::QueryKeyValue)
            )));
        }
        for slot in &layout.slots()[pending.len()..] {
            pending.push((slot.clone(), tensors.take(&slot.name, slot.shape)?));
        }
        tensors.finish().map_err(|e| Fault::Model.wrap(e, format!("adapter: {place}")))?;
        self.attach(layout)?;
        for (slot, stored) in pending {
            self.write(&slot, &stored.to_f32())?;
        }
        maps.iter().try_for_each(|map| map.unchanged())?;
        Ok(modules)
    }
}
