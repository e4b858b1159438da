//! Readers of models: safetensors, config.json, the index of shards, adapters, tokenizers.

use super::{cases, changed, changes, sound};
use crate::shop;
use engine::base::{Dtype, Fault};
use engine::data::Vocab;
use engine::device::Device;
use engine::model::{Adapter, Checkpoint, Config, Model, Tune};
use proptest::prelude::*;
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Length, header and data of a safetensors file.
pub fn parts(bytes: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), &bytes[8 + length..])
}

pub fn assembled(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Takes everything out of a file, as f32 where it is floats.
fn drain(path: &Path) -> Result<(), TestCaseError> {
    match Checkpoint::open_file(path) {
        Err(error) => sound(&error, Fault::Model),
        Ok(mut file) => {
            let names: Vec<String> = file.names().map(str::to_owned).collect();
            for name in names {
                match file.take_any(&name) {
                    Err(error) => sound(&error, Fault::Model)?,
                    Ok(stored) => {
                        let values = stored.to_f32();
                        prop_assert_eq!(values.len(), stored.shape.count());
                    }
                }
            }
            Ok(())
        }
    }
}

/// A number, a word or a nesting that does not belong there.
fn nonsense() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..70).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_.\"\\\\é]{0,9}".prop_map(Value::from),
        Just(json!([1, -1, 1e300])),
        Just(json!([u64::MAX, 2])),
        Just(json!({"a": [{}]})),
        Just(json!("BF16")),
        Just(json!("I64")),
    ]
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_damage_makes_the_safetensors_reader_panic(
        changes in changes(),
        resealed in any::<bool>(),
    ) {
        // An adapter: small, and all of it is read.
        let good = fs::read(golden("glm-tiny/a/lora_r2/adapter_model.safetensors")).unwrap();
        let (header, data) = parts(&good);
        let header = header.to_string();
        let bytes = if resealed {
            // Damage inside the header, of which the length is right.
            let spoilt = changed(header.as_bytes(), &changes);
            [&(spoilt.len() as u64).to_le_bytes()[..], &spoilt, data].concat()
        } else {
            // Length, header or data, wherever it falls; half of the places are before the data.
            changed(&assembled(&header, &data[..header.len().min(data.len())]), &changes)
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        drain(file.path())?;
    }

    /// A header that is JSON but says other things about a tensor.
    #[test]
    fn no_header_makes_the_safetensors_reader_panic(
        which in any::<prop::sample::Index>(),
        field in 0usize..4,
        value in nonsense(),
    ) {
        let good = fs::read(golden("glm-tiny/a/lora_r2/adapter_model.safetensors")).unwrap();
        let (mut header, data) = parts(&good);
        let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
        let name = &names[which.index(names.len())];
        match field {
            0 => header[name]["dtype"] = value,
            1 => header[name]["shape"] = value,
            2 => header[name]["data_offsets"] = value,
            _ => header[name] = value,
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), assembled(&header.to_string(), data)).unwrap();
        drain(file.path())?;
    }

    #[test]
    fn no_config_panics(
        family in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), nonsense()), 1..4),
    ) {
        let name = ["glm-tiny/a", "chatglm-tiny/a"][family];
        let text = fs::read_to_string(golden(name).join("config.json")).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        const MORE: [&str; 8] = [
            "hidden_act", "relative_encoding", "quantization_bit", "pre_seq_len",
            "num_hidden_layers", "embedding_dropout_prob", "initializer_range",
            "block_position_encoding",
        ];
        let fields: Vec<String> = json
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .chain(MORE.map(str::to_owned))
            .collect();
        for (at, value) in changes {
            json[&fields[at.index(fields.len())]] = value;
        }
        match Config::from_json(&json) {
            Err(error) => sound(&error, Fault::Model)?,
            Ok(config) => {
                // Weights of another shape are refused before anything is computed with them.
                prop_assert!(config.heads > 0 && config.hidden % config.heads == 0);
                prop_assert!(config.layers <= 1 << 12);
                let checkpoint = Checkpoint::open(&golden(name)).unwrap();
                let device = Device::open("cpu", 1).unwrap();
                let loaded =
                    Model::load(&device, config, checkpoint, Dtype::F32, &Tune::Nothing, 0);
                if let Err(error) = loaded {
                    sound(&error, Fault::Model)?;
                }
            }
        }
    }

    #[test]
    fn no_adapter_config_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), nonsense()), 1..4),
        text in changes(),
        as_text in any::<bool>(),
    ) {
        let source = golden("glm-tiny/a/lora_r2");
        let good = fs::read_to_string(source.join("adapter_config.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bytes = if as_text {
            changed(good.as_bytes(), &text)
        } else {
            let mut json: Value = serde_json::from_str(&good).unwrap();
            let mut fields: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
            let more = [
                "use_rslora", "use_dora", "alpha_pattern", "rank_pattern", "exclude_modules",
                "layers_pattern", "modules_to_save", "a_field_of_tomorrow",
            ];
            fields.extend(more.map(str::to_owned));
            for (at, value) in changes {
                json[&fields[at.index(fields.len())]] = value;
            }
            json.to_string().into_bytes()
        };
        fs::write(folder.path().join("adapter_config.json"), bytes).unwrap();
        let weights = "adapter_model.safetensors";
        fs::copy(source.join(weights), folder.path().join(weights)).unwrap();
        if let Err(error) = Adapter::open(folder.path()) {
            sound(&error, Fault::Model)?;
        }
    }

    #[test]
    fn no_index_of_shards_panics(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let shard = folder.path().join("model-00001.safetensors");
        fs::copy(golden("glm-tiny/a/lora_r2/adapter_model.safetensors"), shard).unwrap();
        let index = concat!(
            r#"{"metadata": {"total_size": 9}, "#,
            r#""weight_map": {"a": "model-00001.safetensors", "b": "model-00001.safetensors"}}"#
        );
        let index = changed(index.as_bytes(), &changes);
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        if let Err(error) = Checkpoint::open(folder.path()) {
            sound(&error, Fault::Model)?;
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn no_tokenizer_panics(changes in changes()) {
        thread_local! {
            static GOOD: Vec<u8> = {
                let shop = shop::Shop::new();
                drop(shop.prepare().unwrap());
                fs::read(shop.path("tokenizer.json")).unwrap()
            };
        }
        let bytes = GOOD.with(|good| changed(good, &changes));
        if let Ok(vocab) = Vocab::from_json(&bytes) {
            if let Ok(tokens) = vocab.encode(" Lego City 🙂 [MASK]") {
                let _ = vocab.decode(&tokens);
            }
        }
    }
}

/// A tensor under another name, or a second one of the same: the model is refused whole, and the
/// name is said.
#[test]
fn a_misnamed_tensor_is_named() {
    for (name, wrong) in [
        ("glm-tiny/a", "transformer.layers.0.mlp.dense_h_to_4h.bias"),
        ("chatglm-tiny/a", "transformer.final_layernorm.weight"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = fs::read(golden(name).join("model.safetensors")).unwrap();
        let (header, data) = parts(&bytes);
        let load = |header: String| {
            fs::write(folder.path().join("model.safetensors"), assembled(&header, data)).unwrap();
            let config = Config::read(&golden(name).join("config.json")).unwrap();
            let device = Device::open("cpu", 1).unwrap();
            Model::load(
                &device,
                config,
                Checkpoint::open(folder.path())?,
                Dtype::F32,
                &Tune::Nothing,
                0,
            )
        };
        assert!(load(header.to_string()).is_ok());
        let error = load(header.to_string().replace(wrong, "transformer.stranger"))
            .map(|_| ())
            .unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains(&format!("tensor {wrong}: expected it")), "{said}");
        // GLM's files name tensors with and without "glm."; both at once is one too many.
        let twice = header.to_string().replace(wrong, "glm.transformer.final_layernorm.bias");
        let error = load(twice).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("two places"), "{error:#}");
    }
}

/// An adapter whose factors have another rank than its configuration says, or numbers that cannot
/// be: refused when it meets its base, or before.
#[test]
fn an_adapter_that_contradicts_itself_is_refused() {
    let source = golden("glm-tiny/a/lora_r2");
    let text = fs::read_to_string(source.join("adapter_config.json")).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    let load = |field: &str, value: Value| -> anyhow::Result<usize> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = good.clone();
        config[field] = value;
        fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
        let weights = "adapter_model.safetensors";
        fs::copy(source.join(weights), folder.path().join(weights)).unwrap();
        let base = golden("glm-tiny/a");
        let device = Device::open("cpu", 1)?;
        let config = Config::read(&base.join("config.json"))?;
        let checkpoint = Checkpoint::open(&base)?;
        let mut model = Model::load(&device, config, checkpoint, Dtype::F32, &Tune::Nothing, 0)?;
        model.load_adapter(Adapter::open(folder.path())?)
    };
    assert!(load("lora_dropout", json!(0.5)).unwrap() > 0);
    let named = json!({"query_key_value": 2, "dense": 2, "dense_h_to_4h": 2, "dense_4h_to_h": 2});
    assert!(load("rank_pattern", named).is_ok());
    for (field, value, words) in [
        ("r", json!(8), "expected the shape"),
        ("r", json!(1), "expected the shape"),
        ("r", json!(0), "whole number"),
        ("r", json!(u64::MAX), "whole number"),
        ("r", json!(2.5), "whole number"),
        ("rank_pattern", json!({"query_key_value": 4}), "expected the shape"),
        ("rank_pattern", json!({"query_key_value": -4}), "rank_pattern"),
        ("lora_alpha", json!(1e300), "lora_alpha"),
        ("lora_alpha", json!(0), "lora_alpha"),
        ("lora_dropout", json!(1), "lora_dropout"),
        ("lora_dropout", json!("much"), "lora_dropout"),
    ] {
        let error = load(field, value.clone()).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Model), "{error:#}");
        assert!(format!("{error:#}").contains(words), "{field} {value}: {error:#}");
    }
}

/// A tensor without dimensions where a matrix belongs.
#[test]
fn an_adapter_of_scalars_is_refused() {
    let source = golden("glm-tiny/a/lora_r2");
    let folder = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    let (header, _) = parts(&fs::read(source.join("adapter_model.safetensors")).unwrap());
    let name = header.as_object().unwrap().keys().find(|name| name.contains("lora_A")).unwrap();
    let scalar = json!({name: {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}});
    let bytes = assembled(&scalar.to_string(), &[0; 4]);
    fs::write(folder.path().join("adapter_model.safetensors"), bytes).unwrap();
    let base = golden("glm-tiny/a");
    let device = Device::open("cpu", 1).unwrap();
    let config = Config::read(&base.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&base).unwrap();
    let mut model =
        Model::load(&device, config, checkpoint, Dtype::F32, &Tune::Nothing, 0).unwrap();
    let error = model.load_adapter(Adapter::open(folder.path()).unwrap()).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Model), "{error:#}");
}

/// Tokenizers that read well and apply badly.
#[test]
fn a_tokenizer_that_blows_text_up_or_panics_is_refused() {
    let shop = shop::Shop::new();
    drop(shop.prepare().unwrap());
    let text = fs::read_to_string(shop.path("tokenizer.json")).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    let replace = |length: usize| {
        let content = "a".repeat(length);
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": content})
    };
    let tried = |change: &dyn Fn(&mut Value)| -> anyhow::Result<String> {
        let mut json = good.clone();
        change(&mut json);
        let vocab = Vocab::from_json(json.to_string().as_bytes())?;
        vocab.decode(&vocab.encode(&" a banana".repeat(99))?)
    };
    // A few letters for one are an alphabet's affair.
    let mild = |json: &mut Value| json["normalizer"] = replace(3);
    assert!(tried(&mild).unwrap().starts_with(" aaa baaanaaanaaa"));
    let word = good["model"]["vocab"].as_object().unwrap().keys().nth(280).unwrap();
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let changes: [Change; 5] = [
        Box::new(|json| {
            let rules = vec![replace(100); 6];
            json["normalizer"] = json!({"type": "Sequence", "normalizers": rules});
        }),
        Box::new(|json| {
            let rules = vec![replace(100); 6];
            json["decoder"] = json!({"type": "Sequence", "decoders": rules});
        }),
        Box::new(|json| json["normalizer"] = replace(50 << 20)),
        Box::new(|json| json["model"]["vocab"][word] = json!(u32::MAX)),
        Box::new(|json| json["model"]["continuing_subword_prefix"] = json!(":226,")),
    ];
    for (number, change) in changes.iter().enumerate() {
        let error = tried(change).expect_err(&number.to_string());
        assert_eq!(Fault::of(&error), Some(Fault::Model), "{number}: {error:#}");
        assert!(format!("{error:#}").len() < 2000, "{number}");
    }
}
