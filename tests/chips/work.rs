//! What passes ask of a device, counted: launches, copies, products. A gain that nothing holds goes
//! again without anybody seeing it. On the emulator; a GPU is asked for the same.

use crate::plan::{batch, load, setup};
use engine::base::{Dtype, Shape};
use engine::device::{AttendCache, Device, Work};
use engine::model::plan::Setup;
use engine::model::{Config, Extension, Flat, Keep, KvCache, LoraConfig, Model, Tune};
use serde_json::json;

/// What `work` asked of the device of `model`.
fn asked<T>(model: &Model, work: impl FnOnce() -> T) -> (T, Work) {
    let so_far = || model.device.work().expect("a device that counts");
    let before = so_far();
    let done = work();
    (done, so_far().since(&before))
}

/// A GLM of heads of 64 in bf16 on the emulator: what tensor cores do on a GPU.
fn model(layers: usize, vocabulary: usize) -> Option<Model> {
    tuned(layers, vocabulary, Tune::Nothing)
}

fn tuned(layers: usize, vocabulary: usize, tune: Tune) -> Option<Model> {
    if !kernels::EMULATED {
        println!("skipped: no emulator in this build");
        return None;
    }
    let config = json!({"model_type": "glm", "num_layers": layers, "hidden_size": 128,
        "num_attention_heads": 2, "vocab_size": vocabulary, "max_sequence_length": 200});
    let config = Config::from_json(&config).unwrap();
    let setup = setup(&config, tune);
    Some(load(&Setup { dtype: Dtype::Bf16, stored: Dtype::Bf16, mapped: false, ..setup }))
}

/// Rows that continue two prompts, three tokens deep.
fn produced(cache: &KvCache, rows: u32) -> Extension {
    let mut extension = Extension::new();
    for row in 0..rows {
        let path: Vec<u32> = (row / 3 * 3..=row).collect();
        extension.push(row % cache.requests() as u32, row % 60, [3, 1 + row % 3], row, &path);
    }
    extension
}

#[test]
fn the_cpu_has_nothing_to_count() {
    assert_eq!(Device::open("cpu", 1).unwrap().work(), None);
}

#[test]
fn a_pass_over_produced_tokens_launches_nine_kernels_a_layer_and_copies_four_times() {
    let passes = [2, 5].map(|layers| {
        let model = model(layers, 300)?;
        let prompts = batch(&model.config, 70, 1);
        let (mut cache, _) = KvCache::prefill(&model, &prompts, 9).unwrap();
        let extension = produced(&cache, 9);
        let (rows, work) = asked(&model, || cache.extend(&model, &extension).unwrap());
        // Two passes over the same rows are the same work.
        assert_eq!(asked(&model, || cache.extend(&model, &extension).unwrap()).1, work);
        let first: Vec<u32> = (0..=9).map(|row| 2 * row).collect();
        let ids: Vec<u32> = (0..18).collect();
        let read = || model.log_probs_at(rows.view(), &first, &ids).unwrap();
        let (_, head) = asked(&model, read);
        assert_eq!((head.launched(), head.uploads, head.downloads), (2, 2, 1), "{head:?}");
        Some(work)
    });
    let [Some(two), Some(five)] = passes else { return };
    let once = |name: &str| two.launches.iter().find(|(entry, _)| entry.starts_with(name));
    for (name, count) in [
        ("layernorm", 2 * 2 + 1),
        ("cache_store", 2),
        ("cache_prompt", 2),
        ("cache_paths", 2),
        ("embed", 1),
    ] {
        assert_eq!(once(name).map(|(_, &count)| count), Some(count), "{name}: {two:?}");
    }
    // Norm, product, store, prompts, paths, product; norm, product, product.
    assert_eq!(five.launched() - two.launched(), 3 * 9, "{five:?}");
    // Embedding and the final norm.
    assert_eq!(two.launched(), 2 * 9 + 2, "{two:?}");
    // Tokens and positions; slots; what each row sees; the pieces of the prompts.
    for pass in [&two, &five] {
        assert_eq!((pass.uploads, pass.downloads), (4, 0), "{pass:?}");
    }
}

/// Its linears' own products take the adapter's sums as they are.
#[test]
fn an_adapter_apart_is_one_launch_a_linear() {
    let passes = [2, 5].map(|layers| {
        let tune = Tune::Lora { config: LoraConfig::default(), positions: false };
        let model = tuned(layers, 300, tune)?;
        let prompts = batch(&model.config, 70, 1);
        let (mut cache, _) = KvCache::prefill(&model, &prompts, 9).unwrap();
        let extension = produced(&cache, 9);
        Some(asked(&model, || cache.extend(&model, &extension).unwrap()).1)
    });
    let [Some(two), Some(five)] = passes else { return };
    assert_eq!(five.launched() - two.launched(), 3 * (9 + 4), "{five:?}");
    assert_eq!(two.launches.get("thin_few_nt"), Some(&(2 * 4)), "{two:?}");
}

/// Prompts of 40 rows are never cut, however many there are together.
#[test]
fn attention_over_prompts_takes_room_for_the_longest_alone() {
    const ROWS: usize = 9;
    let Some(model) = model(1, 300) else { return };
    let (device, heads) = (&model.device, model.config.qkv_heads());
    let width = model.config.hidden;
    let prompts: Vec<[u32; 2]> = (0..ROWS as u32).map(|row| [40 * row, 40 * row + 40]).collect();
    let zeros = |rows, cols| device.zeros(Shape::matrix(rows, cols), Dtype::Bf16).unwrap();
    let (qkv, tail) = (zeros(ROWS, 3 * width), zeros(1, 2 * width));
    let mut y = zeros(ROWS, width);
    for rows in [40 * ROWS, 1600] {
        let prompt = zeros(rows, 2 * width);
        let seen = device.cache_rows(prompts.clone(), &[0; ROWS + 1], &[]).unwrap();
        let before = device.memory().now;
        device.reset_peak();
        let (qkv, prompt, tail) = (qkv.view(), prompt.view(), tail.view());
        let attend = AttendCache { qkv, prompt, tail, rows: &seen, heads, scale: 0.1 };
        device.cache_attention(y.view_mut(), attend).unwrap();
        let pieces = ROWS;
        let (plan, sums) = (4 * (1 + 2 * pieces), 4 * ROWS * width);
        let statistics = 8 * ROWS * heads.count;
        assert_eq!(device.memory().peak - before, plan + sums + statistics, "of {rows} rows");
    }
}

/// Rows of a training of which the last layer's products see the targets alone, and whose first
/// layer's gradient nobody wants.
#[test]
fn a_step_multiplies_what_is_read_and_what_is_wanted() {
    const RANK: usize = 4;
    if !kernels::EMULATED {
        return println!("skipped: no emulator in this build");
    }
    let config = json!({"model_type": "glm", "num_layers": 3, "hidden_size": 64,
        "num_attention_heads": 1, "vocab_size": 300, "max_sequence_length": 200});
    let config = Config::from_json(&config).unwrap();
    let (rows, nth) = (50, 5);
    let (batch, targets) = (batch(&config, rows, nth), rows / nth);
    let (h, f, layers) = (config.hidden, config.inner, config.layers);
    let attention = [(3 * h, h)];
    let behind = [(h, h), (f, h), (h, f)];
    let head = targets * config.vocabulary * h;
    let asked = |tune: Tune, work: &dyn Fn(&Model)| {
        let setup = Setup { dtype: Dtype::Bf16, stored: Dtype::Bf16, ..setup(&config, tune) };
        let model = load(&Setup { mapped: false, ..setup });
        asked(&model, || work(&model)).1.products as usize
    };
    // Forwards alone.
    let plain = |rows: usize, linears: &[(usize, usize)]| -> usize {
        linears.iter().map(|(out, input)| rows * out * input).sum()
    };
    let all = layers * plain(rows, &attention) + (layers - 1) * plain(rows, &behind);
    let expected = all + plain(targets, &behind) + head;
    let loss = |model: &Model| {
        model.loss(&batch, 1.0).unwrap();
    };
    assert_eq!(asked(Tune::Nothing, &loss), expected);

    // A step: y and x·Aᵀ; dx, dz, dB and dA.
    let lora = |rows: usize, linears: &[(usize, usize)]| -> usize {
        let of = |&(out, input): &(usize, usize)| 2 * out * input + 2 * RANK * (out + input);
        linears.iter().map(|linear| rows * of(linear)).sum::<usize>()
    };
    let tune = |positions| {
        let config = LoraConfig { rank: RANK, ..LoraConfig::default() };
        Tune::Lora { config, positions }
    };
    let step = |model: &Model| {
        let mut gradients = Flat::zeros(&model.device, model.layout()).unwrap();
        model.loss_and_gradients(&batch, 1.0, None, Keep::All, &mut gradients).unwrap();
    };
    let all = layers * lora(rows, &attention) + (layers - 1) * lora(rows, &behind);
    let expected = all + lora(targets, &behind) + 2 * head;
    assert_eq!(asked(tune(true), &step), expected);
    assert_eq!(asked(tune(false), &step), expected - plain(rows, &attention));
}

/// Logits of a vocabulary of which a chunk holds 256 rows.
#[test]
fn the_head_comes_to_the_host_once_a_pass() {
    let Some(model) = model(1, 16_384) else { return };
    let config = &model.config;
    let rows = model.ends(&batch(config, 300 * 2, 1)).unwrap();
    let hidden = model.device.download_f32(rows.view()).unwrap();
    let many = 300;
    let values: Vec<f32> = hidden.iter().copied().cycle().take(many * config.hidden).collect();
    let shape = Shape::matrix(many, config.hidden);
    let y = model.device.upload_f32(&values, shape, Dtype::Bf16).unwrap();
    let first: Vec<u32> = (0..=many as u32).collect();
    let ids: Vec<u32> = (0..many as u32).map(|row| row * 31).collect();
    let (all, work) = asked(&model, || model.log_probs_at(y.view(), &first, &ids).unwrap());
    // A product and a reading for each of two chunks, which need their own bounds.
    assert_eq!((work.launched(), work.uploads, work.downloads), (4, 3, 1), "{work:?}");
    assert_eq!(work.products, (many * config.vocabulary * config.hidden) as u64);
    // Rows of the second chunk as alone.
    let alone = model.log_probs_at(y.view().row_range(290..292), &[0, 1, 2], &ids[290..292]);
    assert_eq!(alone.unwrap(), all[290..292]);

    // Among few: a set of each kind, once to the host.
    let sets: Vec<Vec<u32>> =
        (0..6).map(|row| (0..if row < 3 { 300 } else { 5 }).map(|i| i * 7).collect()).collect();
    let mut first = vec![0u32];
    sets.iter().for_each(|set| first.push(first[first.len() - 1] + set.len() as u32));
    let ids = sets.concat();
    let rows = y.view().row_range(0..6);
    let among = |best| model.log_probs_among(rows, &first, &ids, 1.0, best).unwrap();
    let (all, work) = asked(&model, || among(None));
    assert_eq!((all.iter().map(Vec::len).sum::<usize>(), work.downloads), (ids.len(), 1));

    // The best of them alone, where these are fewer: numbers and places, of what all have.
    let (best, work) = asked(&model, || among(Some(20)));
    assert_eq!((work.downloads, work.downloaded), (2, 6 * 20 * 8), "{work:?}");
    for (best, mut all) in best.into_iter().zip(all) {
        all.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob).then(a.place.cmp(&b.place)));
        all.truncate(20);
        assert_eq!(best, all);
    }
}
