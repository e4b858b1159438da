//! Sizes, and the words in which the two models differ.

use super::relatives;
use crate::base::{missing, read_file, Fault, Range};
use crate::data::sample::position_row;
use crate::device::{Gelu, Heads, Qkv};
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// The largest sizes that a config may name: beyond any model, and small enough that no product of
/// them leaves 64 bits. Lists and tables are made of some before any tensor is compared with them.
const WIDTH: u64 = 1 << 20;
const LAYERS: u64 = 1 << 12;
const VOCABULARY: u64 = 1 << 24;
const POSITIONS: u64 = 1 << 24;
/// Weights of all tables and matrices: what a pass keeps of them can be counted by 64 bits.
const WEIGHTS: usize = 1 << 46;
/// Of a variance: below, an f32 hardly tells it from 0.
const EPSILON: Range = Range::real(1e-12, 1.0);
/// Of random weights.
const DEVIATION: Range = Range::real(1e-9, 10.0);

/// Where a row's place enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Two learned tables of S + 1 rows added to the token embedding (GLM).
    Learned,
    /// Two rotary halves of every head (ChatGLM).
    Rotary2d,
}

/// What a sub-layer's output is added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Residual {
    /// Its input (GLM).
    Plain,
    /// Its normed input times a factor (ChatGLM: √(2·28) whatever the number of layers; why, says
    /// docs/models.md).
    Scaled(f32),
}

/// Which of the two models a config describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GLM (docs/models.md): learned positions, plain residual.
    Glm,
    /// ChatGLM-6B (docs/models.md): rotary positions, scaled residual.
    ChatGlm,
}

/// Dropout rates in training, each 0 to below 1; a config's are those of training from scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Of the sum of the embeddings.
    pub embedding: f32,
    /// Of attention probabilities.
    pub attention: f32,
    /// Of both sub-layers' outputs, before they are added to the residual.
    pub output: f32,
}

/// What a model is, read from a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which of the two models.
    pub family: Family,
    /// Number of layers.
    pub layers: usize,
    /// h, width of a row between layers.
    pub hidden: usize,
    /// Attention heads; they divide `hidden`.
    pub heads: usize,
    /// Width of the feed-forward network.
    pub inner: usize,
    /// V, rows of the word embedding.
    pub vocabulary: usize,
    /// `max_sequence_length`; tables of positions have one row more.
    pub max_positions: usize,
    /// Where a row's place enters.
    pub positions: Positions,
    /// What a sub-layer's output is added to.
    pub residual: Residual,
    /// Where query, key and value stand in a row of 3h.
    pub qkv: Qkv,
    /// Which curve is called GELU.
    pub gelu: Gelu,
    /// Added to the variance under a layer norm's root.
    pub layernorm_epsilon: f32,
    /// Of training from scratch; a frozen base ignores them unless asked.
    pub dropout: Rates,
    /// Standard deviation of random weights.
    pub initializer_range: f32,
    /// `torch_dtype`, where the file has it.
    pub torch_dtype: Option<String>,
}

/// The four linears of a layer, in the order in which a forward meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinearName {
    /// `[3h, h]`, before attention.
    QueryKeyValue,
    /// `[h, h]`, after attention.
    Dense,
    /// `[inner, h]`, before GELU.
    DenseHTo4h,
    /// `[h, inner]`, after GELU.
    Dense4hToH,
}

/// The path of layer number `layer`, counted from 0, in the published names.
pub fn layer_module(layer: usize) -> String {
    format!("transformer.layers.{layer}")
}

impl LinearName {
    /// All four, in that order.
    pub const ALL: [LinearName; 4] = [
        LinearName::QueryKeyValue,
        LinearName::Dense,
        LinearName::DenseHTo4h,
        LinearName::Dense4hToH,
    ];

    /// The last component of the module's path, as PEFT's `target_modules` names it.
    pub const fn name(self) -> &'static str {
        match self {
            LinearName::QueryKeyValue => "query_key_value",
            LinearName::Dense => "dense",
            LinearName::DenseHTo4h => "dense_h_to_4h",
            LinearName::Dense4hToH => "dense_4h_to_h",
        }
    }

    /// The path of this linear of layer number `layer`, counted from 0.
    pub fn module(self, layer: usize) -> String {
        format!("{}.{}", layer_module(layer), self.path())
    }

    /// The path inside a layer.
    pub const fn path(self) -> &'static str {
        match self {
            LinearName::QueryKeyValue => "attention.query_key_value",
            LinearName::Dense => "attention.dense",
            LinearName::DenseHTo4h => "mlp.dense_h_to_4h",
            LinearName::Dense4hToH => "mlp.dense_4h_to_h",
        }
    }
}

impl Config {
    /// Reads `config.json`; absent fields take the defaults of the original configuration classes
    /// (docs/models.md). Refuses a file that cannot be read, and what [`Config::from_json`]
    /// refuses.
    pub fn read(path: &Path) -> Result<Config> {
        let text = read_file(path)
            .map_err(|e| missing(Fault::Model, "config", path, "a config.json", &e))?;
        let json: Value = serde_json::from_slice(&text).map_err(|e| {
            Fault::Model.error(format!("config: {}: expected JSON, got {e}", path.display()))
        })?;
        Config::from_json(&json)
            .map_err(|e| Fault::Model.wrap(e, format!("config: {}", path.display())))
    }

    /// The config in a parsed `config.json`. Refuses sizes that cannot be, variants that this
    /// engine does not compute, and other models of the same name.
    pub fn from_json(json: &Value) -> Result<Config> {
        let fields = Fields(json);
        let family = match json.get("model_type").and_then(Value::as_str) {
            Some("glm") => Family::Glm,
            Some("chatglm") => Family::ChatGlm,
            other => {
                let got = other.map_or("none".to_owned(), |other| format!("{other:?}"));
                return Err(Fault::Model.error(format!(
                    "model_type: expected \"glm\" or \"chatglm\", got {got}; the engine computes \
                    these two families"
                )));
            }
        };
        match family {
            Family::Glm => relatives::refuse(json, "GLM", "GLM (zai-org/glm-10b and its sizes)")?,
            Family::ChatGlm => relatives::refuse(json, "ChatGLM", "ChatGLM-6B, the first one")?,
        }
        let config = match family {
            Family::Glm => Config::glm(&fields)?,
            Family::ChatGlm => Config::chatglm(&fields)?,
        };
        config.check()?;
        Ok(config)
    }

    fn glm(fields: &Fields) -> Result<Config> {
        fields.refuse("relative_encoding", false, "relative position encoding")?;
        fields.refuse("block_position_encoding", true, "a model without block positions")?;
        // The original's code has it written in; a file that names another is another model's.
        let epsilon = fields.number("layernorm_epsilon", 1e-5, EPSILON)?;
        if epsilon != 1e-5 {
            return Err(Fault::Model.error(format!(
                "layernorm_epsilon: expected 1e-5, which is this family's, got {epsilon}"
            )));
        }
        let hidden = fields.size("hidden_size", 1024, WIDTH)?;
        let layers = match fields.0.get("num_layers") {
            Some(_) => fields.size("num_layers", 24, LAYERS)?,
            None => fields.size("num_hidden_layers", 24, LAYERS)?,
        };
        Ok(Config {
            family: Family::Glm,
            layers,
            hidden,
            heads: fields.size("num_attention_heads", 16, WIDTH)?,
            inner: 4 * hidden,
            vocabulary: fields.size("vocab_size", 30592, VOCABULARY)?,
            max_positions: fields.size("max_sequence_length", 512, POSITIONS)?,
            positions: Positions::Learned,
            residual: Residual::Plain,
            qkv: Qkv::Thirds,
            gelu: fields.gelu()?,
            layernorm_epsilon: epsilon,
            dropout: Rates {
                embedding: fields.rate("embedding_dropout_prob", 0.1)?,
                attention: fields.rate("attention_dropout_prob", 0.1)?,
                output: fields.rate("output_dropout_prob", 0.1)?,
            },
            initializer_range: fields.number("initializer_range", 0.02, DEVIATION)?,
            torch_dtype: fields.text("torch_dtype")?,
        })
    }

    fn chatglm(fields: &Fields) -> Result<Config> {
        fields.refuse(
            "position_encoding_2d",
            true,
            "a model with one-dimensional rotary positions",
        )?;
        if fields.0.get("pre_seq_len").is_some_and(|v| !v.is_null()) {
            return Err(Fault::Model.error(
                "pre_seq_len: expected null, got a prefix; P-tuning prefixes are not computed",
            ));
        }
        if !matches!(fields.0.get("quantization_bit"), None | Some(Value::Null))
            && fields.0["quantization_bit"].as_u64() != Some(0)
        {
            return Err(Fault::Model
                .error("quantization_bit: expected 0; convert the unquantised weights instead"));
        }
        let hidden = fields.size("hidden_size", 4096, WIDTH)?;
        Ok(Config {
            family: Family::ChatGlm,
            layers: fields.size("num_layers", 28, LAYERS)?,
            hidden,
            heads: fields.size("num_attention_heads", 32, WIDTH)?,
            inner: fields.size("inner_hidden_size", 16384, 4 * WIDTH)?,
            vocabulary: fields.size("vocab_size", 150528, VOCABULARY)?,
            max_positions: fields.size("max_sequence_length", 2048, POSITIONS)?,
            positions: Positions::Rotary2d,
            // The original never passes the number of layers to its blocks: always that of the
            // 28-layer model.
            residual: Residual::Scaled((2.0f64 * 28.0).sqrt() as f32),
            qkv: Qkv::PerHead,
            gelu: fields.gelu()?,
            layernorm_epsilon: fields.number("layernorm_epsilon", 1e-5, EPSILON)?,
            dropout: Rates::default(),
            initializer_range: fields.number("initializer_range", 0.02, DEVIATION)?,
            torch_dtype: fields.text("torch_dtype")?,
        })
    }

    fn check(&self) -> Result<()> {
        let part = if self.positions == Positions::Rotary2d { 4 } else { 1 };
        if !self.hidden.is_multiple_of(self.heads * part) {
            return Err(Fault::Model.error(format!(
                "hidden_size: expected a multiple of num_attention_heads × {part} = {}, got {}",
                self.heads * part,
                self.hidden
            )));
        }
        let matrices = self.layers * (4 * self.hidden + 2 * self.inner);
        let weights = (matrices + self.vocabulary + 2 * self.position_rows()) * self.hidden;
        if weights > WEIGHTS {
            return Err(Fault::Model.error(format!(
                "sizes: expected a model of at most {WEIGHTS} weights, got {weights}; mend \
                num_layers, hidden_size or vocab_size"
            )));
        }
        Ok(())
    }

    /// d, width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// How a row of query, key and value is divided.
    pub fn qkv_heads(&self) -> Heads {
        Heads { count: self.heads, layout: self.qkv }
    }

    /// 1/√d, the factor of attention's scores.
    pub fn attention_scale(&self) -> f32 {
        1.0 / (self.head_dim() as f32).sqrt()
    }

    /// P, the rows of a table of positions: ids `0..=max_positions`. Learned tables are stored with
    /// so many, rotary ones are made with so many.
    pub fn position_rows(&self) -> usize {
        self.max_positions + 1
    }

    /// The positions with which a produced token is fed back: the place `mask` of the mask that is
    /// filled, and the token's `id` inside the answer as a row that the tables have (R25).
    pub fn produced(&self, mask: u32, id: u32) -> [u32; 2] {
        [mask, position_row(id, self.max_positions as u32)]
    }

    /// `(out, in)` of a linear.
    pub fn linear_shape(&self, linear: LinearName) -> (usize, usize) {
        match linear {
            LinearName::QueryKeyValue => (3 * self.hidden, self.hidden),
            LinearName::Dense => (self.hidden, self.hidden),
            LinearName::DenseHTo4h => (self.inner, self.hidden),
            LinearName::Dense4hToH => (self.hidden, self.inner),
        }
    }
}

/// Typed access to the fields of a config, with one wording for errors.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    /// What `read` makes of the field, `default` where it is absent or null.
    fn field<T>(
        &self,
        name: &str,
        default: T,
        expected: impl std::fmt::Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => read(value).ok_or_else(|| {
                Fault::Model.error(format!("{name}: expected {expected}, got {value}"))
            }),
        }
    }

    fn size(&self, name: &str, default: usize, most: u64) -> Result<usize> {
        let range = Range::whole(1, most);
        let read = |value: &Value| value.as_u64().filter(|&n| range.holds(n)).map(|n| n as usize);
        self.field(name, default, range, read)
    }

    /// Judged as the f32 that it becomes.
    fn number(&self, name: &str, default: f32, range: Range) -> Result<f32> {
        let read = |value: &Value| value.as_f64().map(|x| x as f32).filter(|&x| range.holds(x));
        self.field(name, default, range, read)
    }

    fn rate(&self, name: &str, default: f32) -> Result<f32> {
        self.number(name, default, Range::below(0.0, 1.0))
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        self.field(name, None, "a text", |value| value.as_str().map(|text| Some(text.to_owned())))
    }

    fn refuse(&self, name: &str, supported: bool, what: &str) -> Result<()> {
        match self.field(name, supported, "true or false", Value::as_bool)? {
            value if value == supported => Ok(()),
            value => Err(Fault::Model.error(format!(
                "{name}: expected {supported}, got {value}; {what} is not computed"
            ))),
        }
    }

    /// `hidden_act` where present, otherwise the tanh form, with which the published weights were
    /// trained.
    fn gelu(&self) -> Result<Gelu> {
        match self.text("hidden_act")?.as_deref() {
            None | Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Ok(Gelu::Tanh),
            Some("gelu") => Ok(Gelu::Erf),
            Some(other) => Err(Fault::Model.error(format!(
                "hidden_act: expected gelu, gelu_new, gelu_fast or gelu_pytorch_tanh, got {other:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn glm_10b_has_the_published_number_of_parameters() {
        let config = Config::from_json(&json!({
            "model_type": "glm", "num_layers": 48, "vocab_size": 50304, "hidden_size": 4096,
            "num_attention_heads": 64, "max_sequence_length": 1024
        }))
        .unwrap();
        assert_eq!(config.parameters(), 9_880_682_496);
    }

    #[test]
    fn every_config_that_comes_with_the_engine_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
        let table = std::fs::read_to_string(folder.join("README.md")).unwrap().replace(',', "");
        let mut read = 0;
        for entry in
            std::fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_dir())
        {
            let config = Config::read(&entry.path().join("config.json")).unwrap();
            let row = format!("| `{}` | {} |", entry.file_name().to_string_lossy(), config.layers);
            let row = table
                .lines()
                .find(|line| line.starts_with(&row))
                .unwrap_or_else(|| panic!("no row {row}"));
            assert!(
                row.contains(&format!("| {} |", config.parameters())),
                "{row}: {}",
                config.parameters()
            );
            read += 1;
        }
        assert_eq!(read, 14);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            json!({}),
            json!({"model_type": "bert"}),
            json!({"model_type": "glm", "hidden_size": 0}),
            json!({"model_type": "glm", "hidden_size": "big"}),
            json!({"model_type": "glm", "hidden_size": 65}),
            json!({"model_type": "glm", "relative_encoding": true}),
            json!({"model_type": "chatglm", "quantization_bit": 4}),
            json!({"model_type": "glm", "hidden_act": "relu"}),
            json!({"model_type": "glm", "num_layers": 1_000_000_000}),
            json!({"model_type": "chatglm", "max_sequence_length": 1_000_000_000}),
            json!({"model_type": "chatglm", "layernorm_epsilon": -1}),
            json!({"model_type": "chatglm", "layernorm_epsilon": 1e-300}),
            json!({"model_type": "chatglm", "quantization_bit": "4"}),
            json!({"model_type": "glm", "layernorm_epsilon": -1}),
            json!({"model_type": "glm", "layernorm_epsilon": 0}),
            json!({"model_type": "glm", "layernorm_epsilon": 1e-3}),
            json!({"model_type": "glm", "initializer_range": 1e300}),
            json!({"model_type": "glm", "output_dropout_prob": 0.999_999_999_999}),
            json!({"model_type": "glm", "num_attention_heads": u64::MAX}),
            json!({"model_type": "glm", "num_attention_heads": 2.5}),
            json!({"model_type": "glm", "vocab_size": 1u64 << 40}),
            json!({"model_type": "glm", "hidden_size": 1 << 21}),
            json!({"model_type": "glm", "hidden_size": 1 << 20, "num_layers": 1 << 12}),
            json!({"model_type": "glm", "hidden_act": 3}),
            json!({"model_type": "glm", "torch_dtype": 16}),
            json!({"model_type": "glm", "relative_encoding": "yes"}),
        ] {
            let error = Config::from_json(&bad).unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Model), "{bad}");
        }
    }
}
