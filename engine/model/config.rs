//! Sizes, and the words in which the two models differ.

use crate::base::{Fault, Shape};
use crate::device::{Gelu, Qkv};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Glm,
    ChatGlm,
}

/// Dropout rates when training from scratch; a frozen base ignores them unless asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub embedding: f32,
    pub attention: f32,
    pub output: f32,
}

/// What a model is, read from a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: Family,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    /// Width of the feed-forward network.
    pub inner: usize,
    pub vocabulary: usize,
    /// `max_sequence_length`; learned tables have one row more.
    pub max_positions: usize,
    pub positions: Positions,
    pub residual: Residual,
    pub qkv: Qkv,
    pub gelu: Gelu,
    pub layernorm_epsilon: f32,
    pub dropout: Rates,
    /// Standard deviation of random weights.
    pub initializer_range: f32,
    /// `torch_dtype`, where the file has it.
    pub torch_dtype: Option<String>,
}

/// What a tensor is for; decides its random start and whether weight decay acts on it by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Embedding,
    /// query_key_value, dense_h_to_4h.
    Linear,
    /// dense, dense_4h_to_h: writes into the residual.
    LinearOut,
    Bias,
    NormWeight,
    NormBias,
}

/// A tensor that a checkpoint of this config must have.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Shape,
    pub role: Role,
}

/// The four linears of a layer, in the order in which a forward meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinearName {
    QueryKeyValue,
    Dense,
    DenseHTo4h,
    Dense4hToH,
}

impl LinearName {
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
    /// (docs/models.md).
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fault::Model.error(format!("config: {}: cannot be read: {e}", path.display()))
        })?;
        let json: Value = serde_json::from_str(&text).map_err(|e| {
            Fault::Model.error(format!("config: {}: expected JSON, got {e}", path.display()))
        })?;
        Config::from_json(&json)
            .with_context(|| format!("config: {}", path.display()))
            .map_err(|e| Fault::Model.wrap(e))
    }

    /// The config in a parsed `config.json`. Refuses sizes that cannot be and variants that this
    /// engine does not compute.
    pub fn from_json(json: &Value) -> Result<Config> {
        let fields = Fields(json);
        let family = match json.get("model_type").and_then(Value::as_str) {
            Some("glm") => Family::Glm,
            Some("chatglm") => Family::ChatGlm,
            other => {
                return Err(Fault::Model.error(format!(
                    "model_type: expected \"glm\" or \"chatglm\", got {other:?}; the engine \
                    computes these two families"
                )))
            }
        };
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
        let hidden = fields.size("hidden_size", 1024)?;
        let layers = match fields.0.get("num_layers") {
            Some(_) => fields.size("num_layers", 24)?,
            None => fields.size("num_hidden_layers", 24)?,
        };
        Ok(Config {
            family: Family::Glm,
            layers,
            hidden,
            heads: fields.size("num_attention_heads", 16)?,
            inner: 4 * hidden,
            vocabulary: fields.size("vocab_size", 30592)?,
            max_positions: fields.size("max_sequence_length", 512)?,
            positions: Positions::Learned,
            residual: Residual::Plain,
            qkv: Qkv::Thirds,
            gelu: fields.gelu()?,
            layernorm_epsilon: 1e-5,
            dropout: Rates {
                embedding: fields.rate("embedding_dropout_prob", 0.1)?,
                attention: fields.rate("attention_dropout_prob", 0.1)?,
                output: fields.rate("output_dropout_prob", 0.1)?,
            },
            initializer_range: fields.number("initializer_range", 0.02)? as f32,
            torch_dtype: fields.text("torch_dtype"),
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
        if fields.size_or_zero("quantization_bit")? != 0 {
            return Err(Fault::Model
                .error("quantization_bit: expected 0; convert the unquantised weights instead"));
        }
        let hidden = fields.size("hidden_size", 4096)?;
        Ok(Config {
            family: Family::ChatGlm,
            layers: fields.size("num_layers", 28)?,
            hidden,
            heads: fields.size("num_attention_heads", 32)?,
            inner: fields.size("inner_hidden_size", 16384)?,
            vocabulary: fields.size("vocab_size", 150528)?,
            max_positions: fields.size("max_sequence_length", 2048)?,
            positions: Positions::Rotary2d,
            // The original never passes the number of layers to its blocks: always that of the
            // 28-layer model.
            residual: Residual::Scaled((2.0f64 * 28.0).sqrt() as f32),
            qkv: Qkv::PerHead,
            gelu: fields.gelu()?,
            layernorm_epsilon: fields.number("layernorm_epsilon", 1e-5)? as f32,
            dropout: Rates::default(),
            initializer_range: fields.number("initializer_range", 0.02)? as f32,
            torch_dtype: fields.text("torch_dtype"),
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
        // Lists and tables are made of these before any tensor is compared with them.
        for (name, value, limit) in [
            ("num_layers", self.layers, 1 << 12),
            ("max_sequence_length", self.max_positions, 1 << 24),
        ] {
            if value > limit {
                return Err(
                    Fault::Model.error(format!("{name}: expected at most {limit}, got {value}"))
                );
            }
        }
        Ok(())
    }

    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Every tensor of a checkpoint in the published names (without the `glm.` prefix) and order.
    /// The output matrix of ChatGLM (`lm_head.weight`) is not listed: it is tied to the embedding
    /// wherever it is stored equal to it.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (h, inner) = (self.hidden, self.inner);
        let mut list = Vec::with_capacity(12 * self.layers + 5);
        let mut push =
            |name: String, shape: Shape, role: Role| list.push(TensorSpec { name, shape, role });
        match self.family {
            Family::Glm => push(
                "word_embeddings.weight".into(),
                Shape::matrix(self.vocabulary, h),
                Role::Embedding,
            ),
            Family::ChatGlm => push(
                "transformer.word_embeddings.weight".into(),
                Shape::matrix(self.vocabulary, h),
                Role::Embedding,
            ),
        }
        if self.positions == Positions::Learned {
            for table in ["position_embeddings", "block_position_embeddings"] {
                let shape = Shape::matrix(self.max_positions + 1, h);
                push(format!("transformer.{table}.weight"), shape, Role::Embedding);
            }
        }
        for i in 0..self.layers {
            let layer = format!("transformer.layers.{i}");
            let mut norm = |name: &str| {
                push(format!("{layer}.{name}.weight"), Shape::vector(h), Role::NormWeight);
                push(format!("{layer}.{name}.bias"), Shape::vector(h), Role::NormBias);
            };
            norm("input_layernorm");
            norm("post_attention_layernorm");
            for linear in LinearName::ALL {
                let (n, k, role) = match linear {
                    LinearName::QueryKeyValue => (3 * h, h, Role::Linear),
                    LinearName::Dense => (h, h, Role::LinearOut),
                    LinearName::DenseHTo4h => (inner, h, Role::Linear),
                    LinearName::Dense4hToH => (h, inner, Role::LinearOut),
                };
                push(format!("{layer}.{}.weight", linear.path()), Shape::matrix(n, k), role);
                push(format!("{layer}.{}.bias", linear.path()), Shape::vector(n), Role::Bias);
            }
        }
        push("transformer.final_layernorm.weight".into(), Shape::vector(h), Role::NormWeight);
        push("transformer.final_layernorm.bias".into(), Shape::vector(h), Role::NormBias);
        list
    }

    /// Number of parameters, the tied head counted once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.shape.count()).sum()
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
    fn size(&self, name: &str, default: usize) -> Result<usize> {
        let value = match self.0.get(name) {
            None | Some(Value::Null) => default,
            Some(v) => v.as_u64().map_or(0, |n| n as usize),
        };
        if value == 0 || value > 1 << 31 {
            return Err(Fault::Model
                .error(format!("{name}: expected a positive size, got {}", self.0[name])));
        }
        Ok(value)
    }

    fn size_or_zero(&self, name: &str) -> Result<usize> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(v) => v.as_u64().map(|n| n as usize).ok_or_else(|| {
                Fault::Model.error(format!("{name}: expected a whole number, got {v}"))
            }),
        }
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => match v.as_f64() {
                Some(x) if x.is_finite() && x > 0.0 => Ok(x),
                _ => {
                    Err(Fault::Model.error(format!("{name}: expected a positive number, got {v}")))
                }
            },
        }
    }

    fn rate(&self, name: &str, default: f32) -> Result<f32> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => match v.as_f64() {
                Some(x) if (0.0..1.0).contains(&x) => Ok(x as f32),
                _ => Err(Fault::Model
                    .error(format!("{name}: expected a rate from 0 to below 1, got {v}"))),
            },
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn refuse(&self, name: &str, supported: bool, what: &str) -> Result<()> {
        match self.0.get(name).and_then(Value::as_bool) {
            Some(value) if value != supported => Err(Fault::Model.error(format!(
                "{name}: expected {supported}, got {value}; {what} is not computed"
            ))),
            _ => Ok(()),
        }
    }

    /// `hidden_act` where present, otherwise the tanh form, with which the published weights were
    /// trained.
    fn gelu(&self) -> Result<Gelu> {
        match self.text("hidden_act").as_deref() {
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
        assert_eq!(read, 13);
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
        ] {
            let error = Config::from_json(&bad).unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Model), "{bad}");
        }
    }
}
