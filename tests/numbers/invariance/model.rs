//! Whole passes: a sequence alone, packed, and on other numbers of threads.

use super::devices;
use engine::base::Dtype;
use engine::data::Batch;
use engine::device::Device;
use engine::model::{Checkpoint, Config, Flat, Keep, Model, Tune};
use std::path::Path;

fn model(device: &Device, name: &str, dtype: Dtype, tune: &Tune) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let config = Config::read(&folder.join("config.json")).unwrap();
    Model::load(device, config, Checkpoint::open(&folder).unwrap(), dtype, tune, 0).unwrap()
}

/// Sequences of given rows as one batch; what a sequence holds depends on its number alone.
fn batch(model: &Model, sequences: &[usize]) -> Batch {
    let mut batch = Batch { starts: vec![0], ..Batch::default() };
    for &s in sequences {
        let (rows, context) = (3 + s * 11 % 29, 1 + s * 11 % 29 / 2);
        let tokens = crate::oracle::indices(rows, model.config.vocabulary, s as u64);
        for (i, token) in tokens.into_iter().enumerate() {
            if i >= context {
                batch.target_rows.push(batch.tokens.len() as u32);
                batch.target_ids.push((token + 1) % model.config.vocabulary as u32);
                batch.target_weights.push(1.0);
            }
            batch.tokens.push(token);
            batch.positions[0].push(i.min(context) as u32);
            batch.positions[1].push((i + 1).saturating_sub(context) as u32);
        }
        batch.starts.push(batch.tokens.len() as u32);
        batch.contexts.push(context as u32);
        batch.examples.push(s as u64);
    }
    batch
}

#[test]
fn hidden_rows_of_a_sequence_alone_and_packed() {
    for name in ["glm-tiny/a", "glm-tiny/b", "chatglm-tiny/a", "chatglm-tiny/b"] {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let mut alone: Option<Vec<Vec<f32>>> = None;
            for device in devices() {
                let model = model(&device, name, dtype, &Tune::Nothing);
                let normed = |sequences: &[usize]| {
                    let batch = batch(&model, sequences);
                    let last = model.hidden(&batch, |_, _| Ok(())).unwrap();
                    let all = model.finish(&last).unwrap();
                    let values = device.download_f32(all.view()).unwrap();
                    let part = |w: &[u32]| {
                        values[w[0] as usize * model.config.hidden
                            ..w[1] as usize * model.config.hidden]
                            .to_vec()
                    };
                    batch.starts.windows(2).map(part).collect::<Vec<_>>()
                };
                let expected =
                    alone.get_or_insert_with(|| (0..11).map(|s| normed(&[s]).remove(0)).collect());
                let packed = normed(&(0..11).collect::<Vec<_>>());
                assert!(&packed == expected, "{name} {dtype}: packed differs from alone");
                let other: Vec<usize> = (0..11).rev().step_by(2).collect();
                for (s, rows) in other.iter().zip(normed(&other)) {
                    assert!(rows == expected[*s], "{name} {dtype}: sequence {s} among {other:?}");
                }
            }
        }
    }
}

/// A step's gradient is the same number for number on any number of threads, so a run is too.
#[test]
fn gradients_on_any_number_of_threads() {
    for name in ["glm-tiny/a", "chatglm-tiny/a"] {
        let found = devices().map(|device| {
            let model = model(&device, name, Dtype::F32, &Tune::Full);
            let batch = batch(&model, &[5, 1, 7, 9, 3, 8]);
            let mut gradients = Flat::zeros(&device, model.layout()).unwrap();
            let divisor = batch.target_rows.len() as f64;
            let loss = model
                .loss_and_gradients(&batch, divisor, None, Keep::Lean, &mut gradients)
                .unwrap();
            (loss, device.download_f32(gradients.all()).unwrap())
        });
        assert!(found[1] == found[0] && found[2] == found[0], "{name}");
    }
}
