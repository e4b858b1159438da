//! The memory plan against what real passes take: the peak that the device counted.

use engine::base::{Dtype, Philox, Stream};
use engine::data::Batch;
use engine::device::Device;
use engine::model::plan::{
    decoding_plan, reading_plan, training_plan, Decoding, Part, Produced, Reading, Setup, Training,
};
use engine::model::{
    encode, write_safetensors, Among, Checkpoint, Config, Entry, Extension, Flat, Keep, KvCache,
    LinearName, LoraConfig, Model, Noise, Question, Rates, Tune,
};
use engine::train::{Hyper, Optimizer};
use serde_json::json;
use std::path::Path;

/// Configs of both families, small and unlike one another in every size.
fn configs() -> Vec<Config> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let mut configs: Vec<Config> = ["tiny-glm", "tiny-chatglm"]
        .iter()
        .map(|name| Config::read(&root.join(name).join("config.json")).unwrap())
        .collect();
    for other in [
        json!({"model_type": "glm", "num_layers": 5, "hidden_size": 96, "num_attention_heads": 6,
            "vocab_size": 1001, "max_sequence_length": 200}),
        json!({"model_type": "chatglm", "num_layers": 3, "hidden_size": 48,
            "num_attention_heads": 3, "inner_hidden_size": 80,
            "vocab_size": 700, "max_sequence_length": 150}),
        // Of this vocabulary a chunk of logits has fewer rows than the batches below.
        json!({"model_type": "glm", "num_layers": 1, "hidden_size": 8, "num_attention_heads": 1,
            "vocab_size": 100_000, "max_sequence_length": 200}),
    ] {
        configs.push(Config::from_json(&other).unwrap());
    }
    configs
}

/// A model of random weights stored as `setup.stored`, on a device of its own: the CPU where maps
/// are read in place.
pub fn load(setup: &Setup) -> Model {
    load_from(setup).0
}

/// The same, and the folder that it comes from.
fn load_from(setup: &Setup) -> (Model, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let specs = setup.config.tensors();
    let mut entries: Vec<Entry> = specs
        .iter()
        .map(|s| Entry { name: s.name.clone(), shape: s.shape, dtype: setup.stored })
        .collect();
    if setup.own_head {
        entries.push(Entry {
            name: "lm_head.weight".into(),
            shape: specs[0].shape,
            dtype: setup.stored,
        });
    }
    write_safetensors(&path, &entries, |i| {
        let mut rng = Philox::new(7, Stream::Synthetic, i as u64);
        let values: Vec<f32> =
            (0..entries[i].shape.count()).map(|_| 0.1 * rng.uniform() as f32 - 0.05).collect();
        Ok(encode(&values, setup.stored))
    })
    .unwrap();
    let device = Device::open(if setup.mapped { "cpu" } else { "emu" }, 1).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let model = Model::load(&device, setup.config.clone(), checkpoint, setup.dtype, &setup.tune, 0)
        .unwrap();
    let known = Setup::of(&model, &setup.tune);
    assert_eq!(
        (known.stored, known.mapped, known.own_head),
        (setup.stored, setup.mapped, setup.own_head)
    );
    (model, folder)
}

pub fn setup(config: &Config, tune: Tune) -> Setup {
    Setup {
        config: config.clone(),
        tune,
        merged: Vec::new(),
        dtype: Dtype::F32,
        stored: Dtype::F32,
        mapped: true,
        own_head: false,
        capacity: 0,
    }
}

fn lora(rank: usize, targets: &[LinearName]) -> Tune {
    let config = LoraConfig { rank, targets: targets.to_vec(), ..LoraConfig::default() };
    Tune::Lora { config, positions: true }
}

/// `rows` rows in sequences of at most 40, every `nth` a target.
pub fn batch(config: &Config, rows: usize, nth: usize) -> Batch {
    let mut batch = Batch { starts: vec![0], ..Batch::default() };
    for first in (0..rows).step_by(40) {
        let length = 40.min(rows - first);
        for place in 0..length {
            let row = first + place;
            batch.tokens.push((row * 37 % config.vocabulary) as u32);
            batch.positions[0].push(place as u32);
            batch.positions[1].push((place % 7) as u32);
            if (row + 1) % nth == 0 {
                batch.target_rows.push(row as u32);
                batch.target_ids.push((row * 11 % config.vocabulary) as u32);
                batch.target_weights.push(1.0);
            }
        }
        batch.starts.push((first + length) as u32);
        batch.contexts.push(length as u32 / 2);
        batch.examples.push(first as u64);
    }
    batch
}

#[track_caller]
fn agree(planned: u64, taken: usize, what: &str) {
    let off = (planned as f64 - taken as f64).abs() / taken as f64;
    if what.contains("mapped: false") {
        println!("taken {taken}, {:.4} of the plan", taken as f64 / planned as f64);
    }
    assert!(off <= 0.02, "{what}: planned {planned}, taken {taken}");
}

/// Two micro-batches and an optimiser step; the plan is told of the larger one.
fn train(setup: &Setup, keep: Keep, rates: Rates, lora_dropout: f32, rows: usize, nth: usize) {
    let mut model = load(setup);
    let device = model.device.clone();
    device.reset_peak();
    let hyper = Hyper {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.01,
        clip: 1.0,
        decay_all: false,
    };
    let mut optimizer = Optimizer::new(&model, hyper).unwrap();
    let mut gradients = Flat::zeros(&device, model.layout()).unwrap();
    let noise = Noise { seed: 1, step: 1, rates, lora: lora_dropout };
    let large = batch(&setup.config, rows, nth);
    for batch in [&batch(&setup.config, rows / 2, nth), &large] {
        model.loss_and_gradients(batch, 10.0, Some(&noise), keep, &mut gradients).unwrap();
    }
    optimizer.step(&mut model, &gradients, 1.0, 1e-4, 1).unwrap();
    let training =
        Training { keep, rows, targets: large.target_rows.len(), widest: 0, rates, lora_dropout };
    let plan = training_plan(setup, &training, None);
    let what = format!("{:?} {setup:?} {training:?}", setup.config.family);
    agree(plan.peak().usage.total(), device.memory().peak, &what);
    assert_eq!(setup.trained(), model.layout().len());
}

#[test]
fn a_training_step_takes_what_was_planned() {
    for config in configs() {
        for tune in [lora(4, &LinearName::ALL), lora(3, &[LinearName::Dense]), Tune::Full] {
            for keep in Keep::ALL {
                for (rows, nth) in [(9, 2), (130, 1), (130, 1000), (257, 5)] {
                    train(&setup(&config, tune.clone()), keep, Rates::default(), 0.0, rows, nth);
                }
            }
        }
    }
}

#[test]
fn dropout_takes_what_was_planned() {
    let all = Rates { embedding: 0.1, attention: 0.1, output: 0.1 };
    for config in configs() {
        for keep in Keep::ALL {
            train(&setup(&config, lora(8, &LinearName::ALL)), keep, all, 0.1, 150, 3);
            train(&setup(&config, lora(8, &LinearName::ALL)), keep, Rates::default(), 0.1, 150, 3);
            train(&setup(&config, Tune::Full), keep, all, 0.0, 150, 3);
            train(
                &setup(&config, Tune::Full),
                keep,
                Rates { output: 0.1, ..Rates::default() },
                0.0,
                150,
                3,
            );
        }
    }
}

#[test]
fn narrow_storage_and_an_output_matrix_of_its_own_take_what_was_planned() {
    for config in configs() {
        for (stored, dtype) in [
            (Dtype::F16, Dtype::F32),
            (Dtype::Bf16, Dtype::Bf16),
            (Dtype::F16, Dtype::Bf16),
            (Dtype::F32, Dtype::F16),
        ] {
            let own_head = config.family == engine::model::Family::ChatGlm;
            let setup =
                Setup { stored, dtype, own_head, ..setup(&config, lora(8, &LinearName::ALL)) };
            train(&setup, Keep::Lean, Rates::default(), 0.0, 100, 4);
        }
    }
}

#[test]
fn decoding_takes_what_was_planned() {
    for config in configs() {
        for (dtype, tune) in [
            (Dtype::F32, Tune::Nothing),
            (Dtype::F32, lora(4, &LinearName::ALL)),
            (Dtype::Bf16, Tune::Nothing),
        ] {
            let setup = Setup { dtype, ..setup(&config, tune) };
            for (prompt_rows, slots) in [(30, 4), (200, 16)] {
                decode(&setup, prompt_rows, slots);
            }
        }
    }
}

/// A prefill and two passes of which the second outgrows the room for produced tokens.
/// What behind each row is asked of a decoding: given tokens, or, where texts are written, the best
/// behind changed logits.
fn ask(model: &Model, hidden: engine::device::View, choices: u32, writes: bool) {
    let rows = hidden.rows() as u32;
    if writes {
        let question = |_| Question {
            penalty: 1.5,
            repeated: (0..choices - 3).collect(),
            banned: (50..53).collect(),
            among: Among::Best(choices as usize),
        };
        let questions: Vec<Question> = (0..rows).map(question).collect();
        model.choose(hidden, &questions).unwrap();
        return;
    }
    let first: Vec<u32> = (0..=rows).map(|row| row * choices).collect();
    let ids: Vec<u32> = (0..rows * choices).map(|i| i % 50).collect();
    model.log_probs_at(hidden, &first, &ids).unwrap();
}

/// Sequences that are read once.
fn read(setup: &Setup, rows: usize) {
    let model = load(setup);
    let device = model.device.clone();
    let texts = batch(&setup.config, rows, 1);
    let sequences = texts.sequences();
    for choices in [0, 2] {
        device.reset_peak();
        let ends = model.ends(&texts).unwrap();
        if choices > 0 {
            model.logits_and_log_probs(ends.view(), &vec![&[3, 1][..]; sequences]).unwrap();
        }
        let reading = Reading { rows, sequences, choices };
        let peak = reading_plan(setup, &reading);
        agree(peak.usage.total(), device.memory().peak, &format!("{setup:?} {reading:?}"));
    }
}

fn decode(setup: &Setup, prompt_rows: usize, slots: usize) {
    for writes in [false, true] {
        decode_and(setup, prompt_rows, slots, writes);
    }
    read(setup, prompt_rows);
}

fn decode_and(setup: &Setup, prompt_rows: usize, slots: usize, writes: bool) {
    let model = load(setup);
    let device = model.device.clone();
    device.reset_peak();
    let prompts = batch(&setup.config, prompt_rows, 1);
    let requests = prompts.sequences();
    let choices = 13;
    let (mut cache, ends) = KvCache::prefill(&model, &prompts, slots).unwrap();
    ask(&model, ends.view(), choices, writes);
    let mut passes = Vec::new();
    let mut used = 0u32;
    for rows in [slots as u32, 3 * slots as u32] {
        let mut extension = Extension::new();
        for row in 0..rows {
            let path: Vec<u32> = if row % 2 == 0 { vec![used] } else { vec![0, used] };
            extension.push(row % requests as u32, row % 60, [3, 1], used, &path);
            used += 1;
        }
        passes.push(Produced {
            rows: rows as usize,
            path: extension.path.len(),
            used: used as usize,
        });
        cache.reserve(&model, used as usize).unwrap();
        let hidden = cache.extend(&model, &extension).unwrap();
        ask(&model, hidden.view(), choices, writes);
    }
    let decoding = Decoding {
        prompts: requests,
        prompt_rows,
        slots,
        passes,
        choices: choices as usize,
        gathered: 0,
    };
    let peak = decoding_plan(setup, &decoding);
    agree(peak.usage.total(), device.memory().peak, &format!("{setup:?} {decoding:?}"));
    assert!(peak.usage.of(Part::Prompt) > 0 && peak.usage.of(Part::Saved) == 0);
}

/// On the CUDA backend weights are copies, and kernels take working memory that is not planned:
/// both must stay within the same 2 % for a model whose layers weigh what layers weigh. The
/// emulator counts as a GPU does.
#[test]
fn the_cuda_backend_takes_what_was_planned() {
    if !kernels::EMULATED {
        println!("skipped: no emulator in this build");
        return;
    }
    for (family, dtype, keep) in [
        ("glm", Dtype::Bf16, Keep::All),
        ("chatglm", Dtype::F16, Keep::NoQkv),
        ("glm", Dtype::F32, Keep::Input),
    ] {
        let config = json!({"model_type": family, "num_layers": 2, "hidden_size": 128,
            "num_attention_heads": 2, "vocab_size": 1200, "max_sequence_length": 200});
        let config = Config::from_json(&config).unwrap();
        let lora = setup(&config, lora(8, &LinearName::ALL));
        let copied = Setup { dtype, stored: Dtype::F16, mapped: false, ..lora };
        train(&copied, keep, Rates::default(), 0.0, 150, 4);
        decode(&Setup { tune: Tune::Nothing, ..copied }, 80, 8);
    }
}

#[test]
fn a_copy_of_the_weights_is_counted_and_a_map_is_not() {
    for config in configs() {
        let mapped = setup(&config, Tune::Nothing);
        let copied = Setup { mapped: false, ..mapped.clone() };
        let bytes = 4 * config.parameters();
        assert_eq!(mapped.frozen(), (0, bytes));
        assert_eq!(copied.frozen(), (bytes, 0));
        // What must be narrowed is held whatever the device reads.
        let narrowed = Setup { dtype: Dtype::Bf16, ..mapped };
        assert!(narrowed.frozen().0 > bytes / 2 - bytes / 8 && narrowed.frozen().1 < bytes / 8);
    }
}

/// Of a map that is read in place, what takes an adapter in is held beside it.
#[test]
fn an_adapter_that_is_merged_is_counted_where_it_goes() {
    for config in configs() {
        for (dtype, linears) in [
            (Dtype::F32, &LinearName::ALL[..]),
            (Dtype::Bf16, &LinearName::ALL),
            (Dtype::F32, &[LinearName::Dense]),
        ] {
            let adapter =
                LoraConfig { rank: 4, targets: linears.to_vec(), ..LoraConfig::default() };
            let tune = Tune::Lora { config: adapter, positions: false };
            let beside = Setup { dtype, ..setup(&config, tune) };
            let (mut model, folder) = load_from(&beside);
            model.merge_adapter(Checkpoint::open(folder.path()).unwrap()).unwrap();
            let within = Setup { tune: Tune::Nothing, merged: linears.to_vec(), ..beside };
            let known = Setup::of(&model, &Tune::Nothing);
            assert_eq!((&known.merged, known.trained()), (&within.merged, 0));
            assert_eq!(within.trained(), model.layout().len());
            // Tables of rotary positions are no weights.
            let pairs = config.head_dim() / 4;
            let rotary = config.family == engine::model::Family::ChatGlm;
            let tables = if rotary { 2 * 4 * config.position_rows() * pairs } else { 0 };
            let held = within.frozen().0 + tables;
            assert_eq!(model.device.memory().now, held, "{within:?}");
        }
    }
}

#[test]
fn keeping_less_takes_less() {
    for config in configs() {
        let setup = setup(&config, lora(8, &LinearName::ALL));
        let mut kept = Keep::ALL.map(|keep| {
            let training = Training {
                keep,
                rows: 500,
                targets: 100,
                widest: 0,
                rates: Rates::default(),
                lora_dropout: 0.0,
            };
            training_plan(&setup, &training, None).kept
        });
        assert!(kept.is_sorted_by(|a, b| a > b), "{kept:?}");
        kept.reverse();
        assert!(kept[0] >= (500 * config.hidden * config.layers * 4) as u64);
    }
}
