//! Adapters and shards that are not whole: refused, and the name is said.

use super::weights::{assembled, golden, parts};
use super::{cases, sound};
use engine::base::{Dtype, Fault};
use engine::device::Device;
use engine::model::{Adapter, Checkpoint, Config, Contents, Model, Tune};
use proptest::prelude::*;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// A file of safetensors: shape and values of each tensor.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

const FACTORS: &str = "base_model.model.glm.transformer.layers";

struct Golden {
    config: Value,
    tensors: Tensors,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let folder = golden("glm-tiny/a/lora_r2");
    let config = fs::read(folder.join("adapter_config.json")).unwrap();
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    Golden { config: serde_json::from_slice(&config).unwrap(), tensors: read(&bytes) }
});

fn read(bytes: &[u8]) -> Tensors {
    let (header, data) = parts(bytes);
    let mut tensors = Tensors::new();
    for (name, info) in header.as_object().unwrap().iter().filter(|(n, _)| *n != "__metadata__") {
        let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
        let shape = serde_json::from_value(info["shape"].clone()).unwrap();
        tensors.insert(name.clone(), (shape, data[at(0)..at(1)].to_vec()));
    }
    tensors
}

fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, bytes)) in tensors {
        let range = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": range}));
        data.extend_from_slice(bytes);
    }
    fs::write(path, assembled(&Value::Object(header).to_string(), &data)).unwrap();
}

/// The tiny GLM with this adapter: the number of adapted linears, or why not.
fn load(config: &Value, tensors: &Tensors) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    write(&folder.path().join("adapter_model.safetensors"), tensors);
    let base = golden("glm-tiny/a");
    let device = Device::open("cpu", 1).unwrap();
    let config = Config::read(&base.join("config.json")).unwrap();
    let weights = Checkpoint::open(&base).unwrap();
    let mut model = Model::load(&device, config, weights, Dtype::F32, &Tune::Nothing, 0).unwrap();
    model.load_adapter(Adapter::open(folder.path())?)
}

fn with(changes: Value) -> Value {
    let mut config = GOLDEN.config.clone();
    let changes = changes.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(changes);
    config
}

/// The factors of the adapter whose names hold one of `words`.
fn only(words: &[&str]) -> Tensors {
    let holds = |name: &String| words.iter().any(|word| name.contains(word));
    GOLDEN.tensors.clone().into_iter().filter(|(name, _)| holds(name)).collect()
}

fn refused(config: &Value, tensors: &Tensors, words: &str) {
    let error = load(config, tensors).expect_err(words);
    let said = format!("{error:#}");
    assert_eq!(Fault::of(&error), Some(Fault::Model), "{said}");
    assert!(said.contains(words) && !said.contains('\n'), "{words}: {said}");
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn every_subset_of_an_adapter_but_the_whole_is_refused(
        kept in prop::collection::vec(prop::bool::weighted(0.8), 24),
    ) {
        prop_assume!(kept.contains(&false));
        let tensors = GOLDEN.tensors.iter().zip(&kept).filter(|(_, &kept)| kept);
        let tensors: Tensors = tensors.map(|((n, t), _)| (n.clone(), t.clone())).collect();
        let error = load(&GOLDEN.config, &tensors).unwrap_err();
        sound(&error, Fault::Model)?;
        let lost: Vec<&String> =
            GOLDEN.tensors.keys().filter(|name| !tensors.contains_key(*name)).collect();
        let said = format!("{error:#}");
        prop_assert!(lost.iter().any(|name| said.contains(name.as_str())), "{}", said);
    }
}

#[test]
fn each_tensor_alone_is_missed_and_a_stranger_refused() {
    assert_eq!(GOLDEN.tensors.len(), 24);
    assert_eq!(load(&GOLDEN.config, &GOLDEN.tensors).unwrap(), 12);
    for name in GOLDEN.tensors.keys() {
        let mut tensors = GOLDEN.tensors.clone();
        let lost = tensors.remove(name).unwrap();
        refused(&GOLDEN.config, &tensors, name);
        let stranger = name.replace("lora_A", "lora_C").replace("lora_B", "lora_C");
        tensors.insert(name.clone(), lost.clone());
        tensors.insert(stranger.clone(), lost);
        refused(&GOLDEN.config, &tensors, &stranger);
    }
}

#[test]
fn what_the_config_selects_is_what_the_file_holds() {
    let query = "attention.query_key_value";
    for (changes, words, modules) in [
        (json!({"target_modules": ["query_key_value"]}), vec!["query_key_value"], 3),
        (json!({"target_modules": [format!("layers.1.{query}")]}), vec![".1.attention.q"], 1),
        (
            json!({"target_modules": format!(r".*\.[02]\.{query}")}),
            vec![".0.attention.q", ".2.attention.q"],
            2,
        ),
        (json!({"target_modules": "all-linear"}), vec!["lora"], 12),
        (json!({"layers_to_transform": 1}), vec![".layers.1."], 4),
        (
            json!({"layers_to_transform": [0, 2], "layers_pattern": "layers"}),
            vec![".layers.0.", ".layers.2."],
            8,
        ),
        (json!({"exclude_modules": ["dense"]}), vec!["query", "4h"], 9),
        (json!({"exclude_modules": r".*\.mlp\..*"}), vec!["attention"], 6),
        (json!({"layers_to_transform": []}), vec!["lora"], 12),
    ] {
        let (config, tensors) = (with(changes.clone()), only(&words));
        assert_eq!(load(&config, &tensors).unwrap(), modules, "{changes}");
        // As much as there is of it and no less, in both directions.
        let name = tensors.keys().next().unwrap();
        let mut fewer = tensors.clone();
        fewer.remove(name);
        refused(&config, &fewer, name);
        if tensors.len() < GOLDEN.tensors.len() {
            refused(&config, &GOLDEN.tensors, "tensor base_model");
        }
    }
}

#[test]
fn ranks_and_alphas_of_single_modules_agree_with_the_factors() {
    for changes in [
        json!({"r": 4}),
        json!({"rank_pattern": {"dense": 4}}),
        json!({"rank_pattern": {r"layers\.1\..*": 1}}),
    ] {
        refused(&with(changes), &GOLDEN.tensors, "expected the shape");
    }
    for changes in [
        json!({"r": 64, "rank_pattern": {".*": 2}}),
        json!({"rank_pattern": {"query_key_value": 2, "no such module": 7}}),
        json!({"alpha_pattern": {"dense": 4, "layers.0.mlp.dense_h_to_4h": 1.5}}),
    ] {
        assert_eq!(load(&with(changes), &GOLDEN.tensors).unwrap(), 12);
    }
    for (changes, words) in [
        (json!({"rank_pattern": {"dense": "2"}}), "rank_pattern: dense"),
        (json!({"rank_pattern": ["dense"]}), "rank_pattern"),
        (json!({"alpha_pattern": {"dense": -1}}), "alpha_pattern: dense"),
        (json!({"alpha_pattern": {"(": 1}}), "alpha_pattern"),
        (json!({"target_modules": "("}), "target_modules"),
        (json!({"target_modules": ["lm_head"]}), "lm_head"),
        (json!({"target_modules": ["layers.9.attention.dense"]}), "layers.9"),
        (json!({"layers_to_transform": [3]}), "layers_to_transform"),
        (json!({"layers_pattern": "layers"}), "layers_pattern"),
    ] {
        refused(&with(changes), &GOLDEN.tensors, words);
    }
}

#[test]
fn modules_that_are_saved_whole_are_there_and_no_others() {
    let table = "base_model.model.glm.transformer.position_embeddings.weight";
    let base = read(&fs::read(golden("glm-tiny/a/model.safetensors")).unwrap());
    let own =
        base.iter().find(|(name, _)| name.ends_with("transformer.position_embeddings.weight"));
    let mut tensors = GOLDEN.tensors.clone();
    tensors.insert(table.into(), own.unwrap().1.clone());
    let named = with(json!({"modules_to_save": ["transformer.position_embeddings"]}));
    assert_eq!(load(&named, &tensors).unwrap(), 12);
    refused(&named, &GOLDEN.tensors, table);
    refused(&GOLDEN.config, &tensors, table);
    // As PEFT reads it, this is both tables.
    let both = with(json!({"modules_to_save": ["position_embeddings"]}));
    refused(&both, &tensors, "block_position_embeddings");
    for name in ["word_embeddings", "classifier", "final_layernorm"] {
        refused(&with(json!({"modules_to_save": [name]})), &GOLDEN.tensors, name);
    }
    let norm = with(json!({"modules_to_save": ["transformer.layers.0.attention.dense"]}));
    refused(&norm, &GOLDEN.tensors, &format!("{FACTORS}.0.attention.dense"));
}

#[test]
fn fields_that_change_the_model_are_refused_by_name() {
    for changes in [
        json!({"peft_version": "0.20.0", "eva_config": {"rho": 2.0}, "qalora_group_size": 16}),
        json!({"use_dora": false, "alora_invocation_tokens": null, "layer_replication": []}),
        json!({"future_flag": false, "future_list": [], "future_words": "", "future": {}}),
        json!({"init_lora_weights": "eva"}),
        json!({"init_lora_weights": "gaussian"}),
        json!({"init_lora_weights": "orthogonal"}),
        json!({"init_lora_weights": false}),
        json!({"use_rslora": true}),
    ] {
        assert!(load(&with(changes.clone()), &GOLDEN.tensors).is_ok(), "{changes}");
    }
    for (field, value) in [
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("mica")),
        ("init_lora_weights", json!("something new")),
        ("init_lora_weights", json!(1)),
        ("use_dora", json!(true)),
        ("use_dora", json!("yes")),
        ("use_qalora", json!(true)),
        ("lora_bias", json!(true)),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("fan_in_fan_out", json!(true)),
        ("alora_invocation_tokens", json!([1, 2])),
        ("layer_replication", json!([[0, 2], [1, 3]])),
        ("trainable_token_indices", json!([3])),
        ("trainable_token_indices", json!({"word_embeddings": [3]})),
        ("target_parameters", json!(["mlp.experts"])),
        ("megatron_config", json!({"tp": 2})),
        ("arrow_config", json!({"top_k": 3})),
        ("use_bdlora", json!({"nblocks": 2})),
        ("kasa_config", json!({"beta": 1e-4})),
        ("monteclora_config", json!({"num_samples": 8})),
        ("ensure_weight_tying", json!(true)),
        ("use_rslora", json!("yes")),
        ("a_field_of_tomorrow", json!(true)),
        ("a_field_of_tomorrow", json!(0)),
        ("peft_type", json!("IA3")),
    ] {
        refused(&with(json!({field: value})), &GOLDEN.tensors, field);
    }
}

#[test]
fn a_folder_of_pytorch_tensors_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = GOLDEN.config.to_string();
    fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    fs::write(folder.path().join("adapter_model.bin"), "PK").unwrap();
    let error = Adapter::open(folder.path()).map(drop).unwrap_err();
    let said = format!("{error:#}");
    assert_eq!(Fault::of(&error), Some(Fault::Model));
    assert!(said.contains("adapter_model.bin") && said.contains("save_pretrained"), "{said}");
}

#[test]
fn an_index_and_its_shards_list_the_same_tensors() {
    let base = read(&fs::read(golden("glm-tiny/a/model.safetensors")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (mut shards, mut map) = ([Tensors::new(), Tensors::new()], Map::new());
    for (at, (name, tensor)) in base.iter().enumerate() {
        shards[at % 2].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), json!(format!("{}.safetensors", at % 2)));
    }
    for (at, shard) in shards.iter().enumerate() {
        write(&path(&format!("{at}.safetensors")), shard);
    }
    let open = |map: &Map<String, Value>| {
        let index = json!({"weight_map": map}).to_string();
        fs::write(path("model.safetensors.index.json"), index).unwrap();
        Checkpoint::open(folder.path()).map(drop)
    };
    assert!(open(&map).is_ok());
    for name in base.keys() {
        let mut less = map.clone();
        less.remove(name);
        let mut moved = map.clone();
        let other = if map[name] == "0.safetensors" { "1.safetensors" } else { "0.safetensors" };
        moved[name] = json!(other);
        let mut more = map.clone();
        more.insert(format!("{name}.more"), map[name].clone());
        for changed in [less, moved, more] {
            let error = open(&changed).unwrap_err();
            let said = format!("{error:#}");
            assert_eq!(Fault::of(&error), Some(Fault::Model), "{said}");
            assert!(said.contains(name.as_str()), "{name}: {said}");
        }
    }
}

/// The contents of a file with one tensor of `dtype`, whose values are in `bytes`.
fn contents(dtype: &str, bytes: &[u8]) -> anyhow::Result<Contents> {
    let width = if dtype == "F32" { 4 } else { 2 };
    let file = tempfile::NamedTempFile::new().unwrap();
    let shape = [bytes.len() / width];
    let info = json!({"dtype": dtype, "shape": shape, "data_offsets": [0, bytes.len()]});
    fs::write(file.path(), assembled(&json!({"some.weight": info}).to_string(), bytes)).unwrap();
    Contents::of(Map::new(), &Checkpoint::open_file(file.path()).unwrap(), 2)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_number_that_is_none_is_refused_as_it_is_read(
        dtype in prop::sample::select(vec!["F32", "F16", "BF16"]),
        values in prop::collection::vec(any::<u32>(), 1..200),
    ) {
        let bits = |value: &u32| match dtype {
            "F32" => value.to_le_bytes().to_vec(),
            _ => (*value as u16).to_le_bytes().to_vec(),
        };
        let bytes: Vec<u8> = values.iter().flat_map(bits).collect();
        let finite = |&value: &u32| match dtype {
            "F32" => f32::from_bits(value).is_finite(),
            "F16" => value & 0x7c00 != 0x7c00,
            _ => value & 0x7f80 != 0x7f80,
        };
        match contents(dtype, &bytes) {
            Ok(_) => prop_assert!(values.iter().all(finite)),
            Err(error) => {
                prop_assert!(!values.iter().all(finite));
                sound(&error, Fault::Model)?;
                prop_assert!(format!("{error:#}").contains("tensor some.weight"), "{error:#}");
            }
        }
    }
}
