//! What `adapter_config.json` says: which modules of a base an adapter changes, and by how much.
//! The file is believed whole: a field that is not known to change nothing is read or refused.

use super::config::{Family, LinearName};
use super::lora::LoraConfig;
use crate::base::{Fault, Range};
use anyhow::Result;
use fancy_regex::Regex;
use serde_json::{Map, Value};

/// The PEFT whose fields these are: those of `LoraConfig` and of what it inherits.
const VERSION: &str = "0.20";

/// Fields that change nothing of what trained factors compute, whatever they hold.
const SILENT: [&str; 13] = [
    // Where the adapter comes from, and what for.
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
    // How training began, where `init_lora_weights` (INITIALISATIONS) says that it so began.
    "corda_config",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    // What is read beside a field that is refused (megatron_config, use_qalora), or while one runs.
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
];

/// Fields that make another model of the same factors, and what they stand for. They may be empty.
const REFUSED: [(&str, &str); 15] = [
    ("alora_invocation_tokens", "an adapter that works only behind certain tokens (aLoRA)"),
    ("arrow_config", "a router between adapters (Arrow)"),
    ("ensure_weight_tying", "adapters of tied layers that are one"),
    ("fan_in_fan_out", "weights stored the other way round"),
    ("kasa_config", "a base without its smallest singular values (KaSA)"),
    ("layer_replication", "a base with layers that stand in it several times"),
    ("lora_bias", "a bias of the factor B"),
    ("megatron_config", "Megatron's linears"),
    ("monteclora_config", "sampled factors (MonteCLoRA)"),
    ("target_parameters", "factors on parameters that are no linears"),
    ("trainable_token_indices", "rows of the embedding that were trained by themselves"),
    ("use_bdlora", "block-diagonal factors (BD-LoRA)"),
    ("use_dora", "magnitudes beside directions (DoRA)"),
    ("use_qalora", "pooled inputs (QA-LoRA)"),
    ("velora_config", "compressed activations (VeLoRA)"),
];

/// Values of `init_lora_weights` that leave the base as it is. Every other one (PiSSA, OLoRA,
/// CorDA, LoftQ, LoRA-GA, …) takes something out of the base before training begins: its factors
/// mean nothing on the base that was published. PEFT writes `true` where it converted such factors.
const INITIALISATIONS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// What a rank may be.
const RANKS: Range = Range::whole(1, 1 << 16);
/// What an alpha may be.
const ALPHAS: Range = Range::above(0.0, 1e9);

/// Which modules of a base an adapter changes. Modules go by PEFT's path: that of the file, behind
/// `base_model.model.`
pub(super) struct Scope {
    targets: Modules,
    excluded: Option<Modules>,
    /// Ends of the paths of modules that are saved whole.
    pub saved: Vec<String>,
    layers: Option<Vec<u64>>,
    /// Names of the list of layers, as patterns.
    stacks: Vec<Regex>,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
}

/// How modules are named.
enum Modules {
    /// By their paths, or whole components at the end of these.
    Listed(Vec<String>),
    /// By a pattern of the whole path.
    Like(Regex),
    /// All linears.
    Linears,
}

impl Modules {
    fn holds(&self, path: &str) -> Result<bool> {
        match self {
            Modules::Listed(names) => Ok(names.iter().any(|name| ends_in(path, name))),
            Modules::Like(pattern) => matches(pattern, path),
            Modules::Linears => Ok(true),
        }
    }
}

/// Whether `name` is `path`, or whole components at its end.
fn ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a pattern matches; refuses one that gives up.
fn matches(pattern: &Regex, path: &str) -> Result<bool> {
    pattern.is_match(path).map_err(|error| {
        Fault::Model.error(format!("pattern {pattern}: expected one that can be followed: {error}"))
    })
}

impl Scope {
    /// Rank and alpha of the factors on a linear, `None` where the adapter leaves it alone.
    pub fn factors(
        &self,
        lora: &LoraConfig,
        path: &str,
        layer: usize,
    ) -> Result<Option<(usize, f64)>> {
        if !self.selects(path, layer)? {
            return Ok(None);
        }
        let of = |pattern: &[(Regex, f64)], usual: f64| {
            for (name, value) in pattern {
                if matches(name, path)? {
                    return Ok(*value);
                }
            }
            anyhow::Ok(usual)
        };
        let rank = of(&self.ranks, lora.rank as f64)? as usize;
        Ok(Some((rank, of(&self.alphas, lora.alpha)?)))
    }

    fn selects(&self, path: &str, layer: usize) -> Result<bool> {
        if let Some(excluded) = &self.excluded {
            if excluded.holds(path)? {
                return Ok(false);
            }
        }
        let inside = |name: &String| format!(".{path}.").contains(&format!(".{name}."));
        if self.saved.iter().any(inside) || !self.targets.holds(path)? {
            return Ok(false);
        }
        let Some(layers) = &self.layers else { return Ok(true) };
        if self.stacks.is_empty() {
            return Ok(layers.contains(&(layer as u64)));
        }
        for stack in &self.stacks {
            let found = stack.captures(path).map_err(|error| Fault::Model.error(error))?;
            let number = found.and_then(|found| found.name("layer")?.as_str().parse().ok());
            if let Some(number) = number {
                return Ok(layers.contains(&number));
            }
        }
        Ok(false)
    }

    /// Refuses names of modules and numbers of layers that a base does not have, whose linears are
    /// at `paths`.
    pub fn check(&self, paths: &[String], layers: usize) -> Result<()> {
        if let Modules::Listed(names) = &self.targets {
            let unmet = |name: &&String| !paths.iter().any(|path| ends_in(path, name));
            if let Some(name) = names.iter().find(unmet) {
                return Err(Fault::Model.error(format!(
                    "target_modules: expected linears of this model, got {name:?}; is this the \
                    adapter's base?"
                )));
            }
        }
        match self.layers.iter().flatten().find(|&&layer| layer >= layers as u64) {
            None => Ok(()),
            Some(layer) => Err(Fault::Model.error(format!(
                "layers_to_transform: expected layers 0 to {} of this model, got {layer}; is this \
                the adapter's base?",
                layers - 1
            ))),
        }
    }

    /// What of it decides answers beside the factors' shapes, in the words of the file: the alphas
    /// of single modules, where there are any.
    pub fn contents(&self) -> Option<(String, Value)> {
        let alphas = self.alphas.iter().map(|(name, value)| (name.to_string(), (*value).into()));
        (!self.alphas.is_empty()).then(|| ("alpha_pattern".into(), Value::Object(alphas.collect())))
    }
}

/// Reads `adapter_config.json`. Refuses kinds of adapters that are not LoRA, variants that this
/// engine does not compute, and fields that nobody here knows.
pub(super) fn read(json: &Value) -> Result<(LoraConfig, Scope)> {
    let Some(fields) = json.as_object() else {
        return Err(Fault::Model.error(format!("expected a JSON object, got {json}")));
    };
    let mut fields = Fields(fields.clone());
    let kind = fields.text("peft_type")?.unwrap_or_default();
    if kind != "LORA" {
        return Err(Fault::Model.error(format!("peft_type: expected LORA, got {kind:?}")));
    }
    for (name, what) in REFUSED {
        fields.refuse(name, what)?;
    }
    let bias = fields.text("bias")?;
    if !matches!(bias.as_deref(), None | Some("none")) {
        return Err(Fault::Model
            .error(format!("bias: expected \"none\", got {bias:?}; trained biases are not read")));
    }
    fields.initialisation()?;
    let rank = fields.number("r", RANKS)?.unwrap_or(8.0);
    let alpha = fields.number("lora_alpha", ALPHAS)?.unwrap_or(8.0);
    let dropout = fields.number("lora_dropout", Range::below(0.0, 1.0))?.unwrap_or(0.0);
    let rank_stabilised = fields.flag("use_rslora")?;
    let targets = match fields.modules("target_modules")? {
        Some(Modules::Like(all)) if all.as_str() == whole("all-linear") => Modules::Linears,
        Some(targets) => targets,
        None => {
            let words = "target_modules: expected names of modules or a pattern, got none";
            return Err(Fault::Model.error(words));
        }
    };
    let linears = match &targets {
        Modules::Listed(names) => {
            LoraConfig::targets_of(names, Fault::Model, "adapter: target modules")?
        }
        // The base says what a pattern matches.
        Modules::Like(_) | Modules::Linears => LinearName::ALL.to_vec(),
    };
    let scope = Scope {
        excluded: fields.modules("exclude_modules")?,
        saved: fields.texts("modules_to_save")?,
        layers: fields.layers()?,
        stacks: fields
            .texts("layers_pattern")?
            .iter()
            .map(|stack| {
                pattern("layers_pattern", &format!(r"^.*?\.(?:{stack})\.(?P<layer>\d+)\."))
            })
            .collect::<Result<_>>()?,
        ranks: fields.by_module("rank_pattern", RANKS)?,
        alphas: fields.by_module("alpha_pattern", ALPHAS)?,
        targets,
    };
    if !matches!(scope.targets, Modules::Listed(_)) && scope.layers.is_some() {
        return Err(Fault::Model.error(
            "layers_to_transform: expected none beside a pattern of target_modules, as PEFT does; \
            say it in the pattern",
        ));
    }
    if scope.layers.is_none() && !scope.stacks.is_empty() {
        return Err(Fault::Model.error(
            "layers_pattern: expected layers_to_transform beside it, as PEFT does, got none",
        ));
    }
    fields.finish()?;
    let lora = LoraConfig {
        rank: rank as usize,
        alpha,
        dropout: dropout as f32,
        targets: linears,
        rank_stabilised,
    };
    Ok((lora, scope))
}

/// The path of a linear as PEFT's fields name it.
pub(super) fn path(family: Family, layer: usize, linear: LinearName) -> String {
    let module = super::lora::module_name(family, layer, linear);
    module.trim_start_matches(WRAPPER).to_owned()
}

/// What PEFT puts before all names in its files.
pub(super) const WRAPPER: &str = "base_model.model.";

fn whole(pattern: &str) -> String {
    format!(r"^(?:{pattern})\z")
}

fn pattern(field: &str, pattern: &str) -> Result<Regex> {
    Regex::new(pattern)
        .map_err(|error| Fault::Model.error(format!("{field}: expected a pattern, got {error}")))
}

/// Whether a field says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The fields that have not been read.
struct Fields(Map<String, Value>);

impl Fields {
    /// What `read` makes of a field that says something.
    fn take<T>(
        &mut self,
        name: &str,
        expected: impl std::fmt::Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| {
                Fault::Model.error(format!("{name}: expected {expected}, got {value}"))
            }),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        Ok(self.take(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    fn number(&mut self, name: &str, range: Range) -> Result<Option<f64>> {
        let read = |value: &Value| value.as_f64().filter(|&number| range.holds(number));
        self.take(name, range, read)
    }

    /// A text or a list of texts.
    fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let read = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|one| Some(one.as_str()?.to_owned())).collect(),
            _ => None,
        };
        let texts = self.take(name, "a list of names", read)?.unwrap_or_default();
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    fn modules(&mut self, name: &str) -> Result<Option<Modules>> {
        if let Some(Value::String(text)) = self.0.get(name) {
            let like = whole(text);
            self.0.remove(name);
            return Ok(Some(Modules::Like(pattern(name, &like)?)));
        }
        let names = self.texts(name)?;
        Ok((!names.is_empty()).then_some(Modules::Listed(names)))
    }

    fn layers(&mut self) -> Result<Option<Vec<u64>>> {
        let read = |value: &Value| match value {
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            one => Some(vec![one.as_u64()?]),
        };
        let layers = self.take("layers_to_transform", "numbers of layers", read)?;
        Ok(layers.filter(|layers: &Vec<u64>| !layers.is_empty()))
    }

    /// Numbers by patterns of the end of a module's path.
    fn by_module(&mut self, name: &str, range: Range) -> Result<Vec<(Regex, f64)>> {
        let read = |value: &Value| value.as_object().cloned();
        let all = self.take(name, "numbers by module", read)?.unwrap_or_default();
        let one = |(module, value): (String, Value)| {
            let number = value.as_f64().filter(|&number| range.holds(number));
            let number = number.ok_or_else(|| {
                Fault::Model.error(format!("{name}: {module}: expected {range}, got {value}"))
            })?;
            Ok((pattern(name, &format!(r"^(.*\.)?({module})\z"))?, number))
        };
        all.into_iter().map(one).collect()
    }

    fn initialisation(&mut self) -> Result<()> {
        let name = "init_lora_weights";
        let left = |text: &str| INITIALISATIONS.contains(&text.to_lowercase().as_str());
        match self.0.remove(name) {
            None | Some(Value::Null | Value::Bool(_)) => Ok(()),
            Some(Value::String(text)) if left(&text) => Ok(()),
            Some(other) => Err(Fault::Model.error(format!(
                "{name}: expected true, false, {}, which leave the base as it is, got {other}; \
                save the adapter with PEFT's `path_initial_model_for_weight_conversion`",
                INITIALISATIONS.join(", ")
            ))),
        }
    }

    fn refuse(&mut self, name: &str, what: &str) -> Result<()> {
        match self.0.remove(name) {
            Some(value) if !is_empty(&value) => Err(Fault::Model.error(format!(
                "{name}: expected nothing, got {value}: {what}, which is not computed"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses a field that says something and that nobody asked for.
    fn finish(self) -> Result<()> {
        let asked = |name: &str| SILENT.contains(&name);
        match self.0.iter().find(|(name, value)| !asked(name) && !is_empty(value)) {
            None => Ok(()),
            Some((name, value)) => Err(Fault::Model.error(format!(
                "{name}: expected a field of PEFT {VERSION}, or nothing in it, got {value}; what \
                it changes is not known here"
            ))),
        }
    }
}
