//! Models of the same names that are others: GLM and ChatGLM were followed by models that kept
//! `model_type` and changed the network. A config of one of them is recognised by what it has and
//! ours have not, and never filled up with our defaults.

use crate::base::Fault;
use anyhow::Result;
use serde_json::Value;

/// Fields that no config of our two families has, and whose they are.
const SIGNS: [(&str, &[&str]); 3] = [
    (
        "ChatGLM2, ChatGLM3 or GLM-4 (zai-org/chatglm2-6b, glm-4-9b)",
        &[
            "add_bias_linear",
            "add_qkv_bias",
            "apply_query_key_layer_scaling",
            "apply_residual_connection_post_layernorm",
            "ffn_hidden_size",
            "fp32_residual_connection",
            "kv_channels",
            "multi_query_attention",
            "multi_query_group_num",
            "original_rope",
            "padded_vocab_size",
            "post_layer_norm",
            "rmsnorm",
            "rope_ratio",
            "seq_length",
        ],
    ),
    (
        "a mixture of experts (GLM-4.5 and later)",
        &[
            "first_k_dense_replace",
            "moe_intermediate_size",
            "n_group",
            "n_routed_experts",
            "n_shared_experts",
            "norm_topk_prob",
            "num_experts",
            "num_experts_per_tok",
            "num_nextn_predict_layers",
            "routed_scaling_factor",
            "topk_group",
            "use_qk_norm",
        ],
    ),
    (
        "GLM-4 or another model of transformers (zai-org/glm-4-9b-hf, GLM-4-0414)",
        &[
            "attention_bias",
            "attention_dropout",
            "head_dim",
            "intermediate_size",
            "layer_types",
            "max_position_embeddings",
            "mlp_bias",
            "num_key_value_heads",
            "partial_rotary_factor",
            "rms_norm_eps",
            "rope_parameters",
            "rope_scaling",
            "rope_theta",
            "sliding_window",
            "text_config",
            "vision_config",
        ],
    ),
];

/// Refuses a config that has the `model_type` of the model `name`, whose classes begin with
/// `class`, and is another model's.
pub(super) fn refuse(json: &Value, class: &str, name: &str) -> Result<()> {
    for architecture in json["architectures"].as_array().into_iter().flatten() {
        if !architecture.as_str().is_some_and(|own| own.starts_with(class)) {
            return Err(Fault::Model.error(format!(
                "architectures: expected {class}Model or {class}For…, got {architecture}; of this \
                model_type the engine computes {name}"
            )));
        }
    }
    for (whose, fields) in SIGNS {
        let found = fields.iter().find(|&&field| json.get(field).is_some_and(|v| !v.is_null()));
        if let Some(field) = found {
            return Err(Fault::Model.error(format!(
                "{field}: expected a config of {name}, got a field of {whose}; of this model_type \
                the engine computes no other"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use serde_json::{json, Value};

    fn read(json: &Value) -> Result<Config, String> {
        Config::from_json(json).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_relative_is_recognised_by_each_of_its_fields() {
        for (_, fields) in super::SIGNS {
            for field in fields {
                for family in ["glm", "chatglm"] {
                    let with = |value: Value| json!({"model_type": family, *field: value});
                    assert!(read(&with(json!(null))).is_ok(), "{family} {field}");
                    for value in [json!(false), json!(2), json!({"full": 1})] {
                        let error = read(&with(value)).unwrap_err();
                        assert!(error.starts_with(&format!("{field}: ")), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_class_of_another_family_is_refused() {
        for (family, own, other) in [
            ("glm", "GLMForConditionalGeneration", "GlmForCausalLM"),
            ("chatglm", "ChatGLMForConditionalGeneration", "GLMModel"),
            ("glm", "GLMModel", "ChatGLMModel"),
        ] {
            let of = |class: &str| read(&json!({"model_type": family, "architectures": [class]}));
            assert!(of(own).is_ok());
            let error = of(other).unwrap_err();
            assert!(error.contains(other) && error.contains("architectures"), "{error}");
        }
        for other in ["glm4", "glm4_moe", "glm4v", "llama", "bert"] {
            let error = read(&json!({"model_type": other})).unwrap_err();
            assert!(error.contains(other), "{error}");
        }
    }
}
