//! Adapters on disk, in the format of the Python PEFT library: `adapter_config.json` and
//! `adapter_model.safetensors`.

use super::config::{Config, LinearName};
use super::contents::Contents;
use super::lora::{module_name, peft_prefix, LoraConfig};
use super::model::Model;
use super::parameters::{Layout, Slot};
use super::peft::{self, Scope, WRAPPER};
use super::weights::{Checkpoint, Stored};
use crate::base::{missing, read_file, Fault, Shape};
use anyhow::Result;
use serde_json::{json, Value};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Under which name an adapter's file remembers the hash of its base. PEFT reads past it.
pub(super) const BASE: &str = "engine.base";

/// An adapter folder that was opened but not yet attached to a model.
pub struct Adapter {
    /// What `adapter_config.json` says.
    pub config: LoraConfig,
    scope: Scope,
    place: String,
    tensors: Checkpoint,
}

impl Adapter {
    /// Reads the configuration and maps the tensors. Refuses files that are missing, kinds of
    /// adapters that are not LoRA, and variants that this engine does not compute.
    pub fn open(folder: &Path) -> Result<Adapter> {
        let path = folder.join("adapter_config.json");
        let text = read_file(&path)
            .map_err(|e| missing(Fault::Model, "adapter", &path, "the file of PEFT", &e))?;
        let json: Value = serde_json::from_slice(&text).map_err(|e| {
            Fault::Model.error(format!("adapter: {}: expected JSON, got {e}", path.display()))
        })?;
        let (config, scope) =
            peft::read(&json).map_err(|e| Fault::Model.wrap(e, path.display()))?;
        let tensors = Checkpoint::open_file(&tensors(folder)?)?;
        Ok(Adapter { config, scope, place: folder.display().to_string(), tensors })
    }

    /// What it is; see [`Contents::of`].
    pub fn contents(&self, threads: usize) -> Result<Contents> {
        let mut config = self.config.contents();
        config.extend(self.scope.contents());
        Contents::of(config, &self.tensors, threads)
    }

    /// The hash of the base that it was trained on, where whoever wrote it remembered.
    pub fn base(&self) -> Option<&str> {
        self.tensors.remark(BASE)
    }
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

/// The file with the tensors. Says what to do where only PyTorch's own is there.
fn tensors(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("adapter_model.safetensors");
    if !path.exists() && folder.join("adapter_model.bin").exists() {
        return Err(Fault::Model.error(format!(
            "adapter: {}: expected adapter_model.safetensors, got adapter_model.bin, which can run \
            code; load it with PEFT and save it again by save_pretrained, which writes the other",
            folder.display()
        )));
    }
    Ok(path)
}

/// What an adapter changes of a base.
struct Fit {
    /// Rank and scale of the factors of each adapted linear.
    factors: HashMap<(usize, LinearName), (usize, f32)>,
    /// Base tensors that are saved whole beside them, as the base names them.
    saved: Vec<String>,
}

impl Adapter {
    /// Refuses a base that it does not fit: `adapter_config.json`, the tensors and the base name
    /// the same modules in the same shapes, and nothing is missing and nothing left over.
    pub fn check(&self, base: &Config) -> Result<()> {
        self.fit(base).map(drop)
    }

    fn fit(&self, base: &Config) -> Result<Fit> {
        let place = || format!("adapter: {}", self.place);
        self.compare(base).map_err(|error| Fault::Model.wrap(error, place()))
    }

    fn compare(&self, base: &Config) -> Result<Fit> {
        let linears = (0..base.layers).flat_map(|at| LinearName::ALL.map(|name| (at, name)));
        let linears: Vec<_> = linears.collect();
        let path = |&(at, name): &(usize, LinearName)| peft::path(base.family, at, name);
        let paths: Vec<String> = linears.iter().map(path).collect();
        self.scope.check(&paths, base.layers)?;
        let (mut factors, mut expected) = (HashMap::new(), HashSet::new());
        for (&(at, name), path) in linears.iter().zip(&paths) {
            let Some((rank, alpha)) = self.scope.factors(&self.config, path, at)? else { continue };
            let (out, input) = base.linear_shape(name);
            let shapes = [("A", Shape::matrix(rank, input)), ("B", Shape::matrix(out, rank))];
            for (factor, shape) in shapes {
                let tensor = format!("{WRAPPER}{path}.lora_{factor}.weight");
                self.expect(&tensor, shape, "a factor of a module that it selects")?;
                expected.insert(tensor);
            }
            factors.insert((at, name), (rank, self.config.scale(rank, alpha)));
        }
        let saved = self.saved(base)?;
        for (_, file, shape) in &saved {
            self.expect(file, *shape, "a module of its modules_to_save")?;
            expected.insert(file.clone());
        }
        if let Some(name) = self.tensors.names().find(|&name| !expected.contains(name)) {
            return Err(Fault::Model.error(format!(
                "tensor {name}: expected a factor of a module that adapter_config.json selects in \
                this model, or a module of its modules_to_save, got something else; is this the \
                adapter's base, and are both files of one adapter?"
            )));
        }
        if factors.is_empty() {
            return Err(Fault::Model.error(format!(
                "expected factors such as {}.lora_A.weight, got none; the adapter matches nothing \
                in this model",
                module_name(base.family, 0, LinearName::QueryKeyValue)
            )));
        }
        Ok(Fit { factors, saved: saved.into_iter().map(|(name, ..)| name).collect() })
    }

    /// The base's tensors of the modules that are saved whole: name, name in the file, shape.
    fn saved(&self, base: &Config) -> Result<Vec<(String, String, Shape)>> {
        let prefix = peft_prefix(base.family);
        let mut unmet: Vec<&String> = self.scope.saved.iter().collect();
        let mut found = Vec::new();
        for spec in base.tensors() {
            let file = format!("{prefix}{}", spec.name);
            // PEFT takes every module whose path ends so, a tensor's own or one above it.
            let modules = file.match_indices('.').map(|(at, _)| &file[..at]);
            let modules: Vec<&str> =
                modules.filter(|module| module.len() > WRAPPER.len()).collect();
            let names = |end: &&String| modules.iter().any(|module| module.ends_with(end.as_str()));
            if self.scope.saved.iter().any(|end| names(&end)) {
                unmet.retain(|end| !names(end));
                found.push((spec.name, file, spec.shape));
            }
        }
        match unmet.first() {
            None => Ok(found),
            Some(name) => Err(Fault::Model.error(format!(
                "modules_to_save: expected modules of this model, got {name:?}; is this the \
                adapter's base?"
            ))),
        }
    }

    /// Refuses a file without the tensor `name` of `shape`, which is `what`.
    fn expect(&self, name: &str, shape: Shape, what: &str) -> Result<()> {
        match self.tensors.dims(name) {
            Some(dims) if dims == shape.dims() => Ok(()),
            Some(dims) => Err(Fault::Model.error(format!(
                "tensor {name}: expected the shape {shape} that adapter_config.json and the base \
                say, got {dims:?}; do the files belong together?"
            ))),
            None => Err(Fault::Model.error(format!(
                "tensor {name}: expected it, {what}, but it is not there; was the adapter saved in \
                part?"
            ))),
        }
    }
}

impl Model {
    /// Attaches a stored adapter; its factors (and modules saved whole beside them) become the
    /// trained range. Refuses what [`Adapter::check`] refuses. Returns the number of adapted
    /// linears.
    pub fn load_adapter(&mut self, adapter: Adapter) -> Result<usize> {
        let Fit { factors, saved } = adapter.fit(&self.config)?;
        let Adapter { mut config, scope: _, place, mut tensors } = adapter;
        let maps = tensors.maps();
        let prefix = peft_prefix(self.config.family);
        let mut layout = Layout::default();
        let mut pending: Vec<(Slot, Stored)> = Vec::new();
        for name in saved {
            let slot = self.retrain(&name, &mut layout).expect("a tensor of this config");
            let stored = tensors.take(&format!("{prefix}{name}"), slot.shape)?;
            pending.push((slot, stored));
        }
        config.targets.retain(|&target| factors.keys().any(|&(_, linear)| linear == target));
        let of = |layer: usize, linear: LinearName| factors.get(&(layer, linear)).copied();
        let modules = self.adapt(config, &mut layout, of);
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
