//! How a step is cut into batches changes nothing but rounding; what divides is the number of
//! targets of the whole step.

use super::{model, MODELS};
use crate::oracle;
use engine::base::{Philox, Stream};
use engine::data::{Batch, Sample, Target};
use engine::device::Tensor;
use engine::model::{
    Flat, Keep, KvCache, LinearName, LoraConfig, Model, Noise, Rates, SlotRole, Tune,
};
use engine::train::{train, Hooks, Hyper, Schedule, Settings};
use serde_json::{json, Value};

const NOISE: Noise = Noise {
    seed: 2,
    step: 5,
    rates: Rates { embedding: 0.1, attention: 0.1, output: 0.1 },
    lora: 0.1,
};

fn lora() -> Tune {
    let targets = LinearName::ALL.to_vec();
    let config = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.1, targets, rank_stabilised: false };
    Tune::Lora { config, positions: false }
}

/// Examples of very different lengths and numbers of targets.
fn samples(model: &Model, count: usize) -> Vec<Sample> {
    let mut rng = Philox::new(8, Stream::Synthetic, 4);
    (0..count)
        .map(|example| {
            let (context, answer) =
                (1 + rng.below(30), 1 + rng.below(if example % 3 == 0 { 25 } else { 3 }));
            let mut sample = Sample { example: example as u64, context, ..Sample::default() };
            for i in 0..context + answer {
                sample.tokens.push(rng.below(model.config.vocabulary) as u32);
                sample.positions[0].push(i.min(context) as u32);
                sample.positions[1].push((i + 1).saturating_sub(context) as u32);
                if i >= context {
                    let weight = if example % 4 == 1 { 0.5 } else { 1.0 };
                    let token = rng.below(model.config.vocabulary) as u32;
                    sample.targets.push(Target { weight, ..Target::of(i as u32, token) });
                }
            }
            sample
        })
        .collect()
}

/// B of an adapter starts at zero, where half of the gradients vanish.
fn shake(model: &mut Model) {
    for (number, slot) in model.layout().slots().to_vec().into_iter().enumerate() {
        if slot.role == SlotRole::LoraB {
            let noise = oracle::to_f32(&oracle::noise(slot.shape.count(), number as u64));
            model.set_slot(number, &noise.iter().map(|x| 0.1 * x).collect::<Vec<_>>()).unwrap();
        }
    }
}

fn weights(batches: &[Batch]) -> f64 {
    batches.iter().flat_map(|b| &b.target_weights).map(|&w| f64::from(w)).sum()
}

/// Loss and gradient of a step in these batches.
fn step(model: &Model, batches: &[Batch], noise: Option<&Noise>) -> (f64, Vec<f64>) {
    let mut gradients = Flat::zeros(&model.device, model.layout()).unwrap();
    let divisor = weights(batches);
    let mut loss = 0.0;
    for batch in batches {
        loss +=
            model.loss_and_gradients(batch, divisor, noise, Keep::Lean, &mut gradients).unwrap();
    }
    (loss, oracle::to_f64(&model.device.download_f32(gradients.all()).unwrap()))
}

/// max|Δ| / max|expected| of each slot.
fn worst(model: &Model, got: &[f64], expected: &[f64]) -> f64 {
    let of = |slot: &engine::model::Slot| {
        let range = slot.offset..slot.offset + slot.shape.count();
        let scale = expected[range.clone()].iter().fold(0f64, |m, x| m.max(x.abs()));
        assert!(scale > 0.0, "{} has no gradient", slot.name);
        let off = got[range.clone()]
            .iter()
            .zip(&expected[range])
            .fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        off / scale
    };
    model.layout().slots().iter().map(of).fold(0.0, f64::max)
}

/// The last layer computes the rows that are read alone; they have the bits of a pass over all.
#[test]
fn what_is_read_has_the_bits_of_a_pass_over_all_rows() {
    for name in MODELS {
        let mut model = model(name, &lora());
        shake(&mut model);
        let (batch, hidden) = (Batch::of(&samples(&model, 9)), model.config.hidden);
        let last = model.hidden(&batch, |_, _| Ok(())).unwrap();
        let all = model.device.download_f32(model.finish(&last).unwrap().view()).unwrap();
        let of_ends: Vec<f32> = batch.starts[1..]
            .iter()
            .flat_map(|&end| all[(end as usize - 1) * hidden..end as usize * hidden].to_vec())
            .collect();
        let ends = |tensor: &Tensor| model.device.download_f32(tensor.view()).unwrap();
        assert_eq!(ends(&model.ends(&batch).unwrap()), of_ends, "{name}");
        assert_eq!(ends(&KvCache::prefill(&model, &batch, 1).unwrap().1), of_ends, "{name}");
        // What a step loses is what the rows of a pass over all lose.
        let (loss, _) = step(&model, std::slice::from_ref(&batch), None);
        assert_eq!(
            loss.to_bits(),
            model.loss(&batch, weights(std::slice::from_ref(&batch))).unwrap().to_bits()
        );
        let finished = model.finish(&last).unwrap();
        let mut first = vec![0u32];
        let mut ids = Vec::new();
        for row in 0..batch.rows() as u32 {
            let of_row = batch.target_rows.iter().position(|&target| target == row);
            ids.extend(of_row.map(|target| batch.target_ids[target]));
            first.push(ids.len() as u32);
        }
        let log_probs = model.log_probs_at(finished.view(), &first, &ids).unwrap();
        let summed: f64 = log_probs
            .iter()
            .zip(&batch.target_weights)
            .map(|(&p, &w)| -f64::from(p) * f64::from(w))
            .sum();
        let expected = summed / weights(&[batch]);
        assert!((loss - expected).abs() <= 1e-6 * expected, "{name}: {loss} {expected}");
    }
}

/// Where nothing below the first layer is trained, nobody computes what its gradient would need;
/// an adapter's own gradient is the same, bit for bit.
#[test]
fn an_adapter_learns_the_same_beside_tables_that_are_trained() {
    let of = |name: &str, positions: bool, noise: Option<&Noise>| {
        let Tune::Lora { config, .. } = lora() else { unreachable!() };
        let mut model = model(name, &Tune::Lora { config, positions });
        let names: Vec<String> = model.layout().slots().iter().map(|s| s.name.clone()).collect();
        for (number, name) in names.iter().enumerate().filter(|(_, name)| name.contains("lora_")) {
            let slot = model.layout().slots()[number].clone();
            let seed = name.bytes().map(u64::from).sum();
            let noise = oracle::to_f32(&oracle::noise(slot.shape.count(), seed));
            model.set_slot(number, &noise.iter().map(|x| 0.1 * x).collect::<Vec<_>>()).unwrap();
        }
        let batch = [Batch::of(&samples(&model, 7))];
        let (loss, gradient) = step(&model, &batch, noise);
        let slots = model.layout().slots().iter().filter(|slot| slot.name.contains("lora_"));
        let gradients = slots.map(|slot| {
            let range = slot.offset..slot.offset + slot.shape.count();
            (slot.name.clone(), gradient[range].to_vec())
        });
        (loss, gradients.collect::<Vec<_>>())
    };
    for noise in [None, Some(&NOISE)] {
        let (with, without) = (of("glm-tiny/a", true, noise), of("glm-tiny/a", false, noise));
        assert!(with.1.iter().all(|(_, values)| values.iter().any(|&value| value != 0.0)));
        assert_eq!(with, without);
    }
}

#[test]
fn packed_is_one_by_one_is_accumulated() {
    for name in MODELS {
        for tune in [Tune::Full, lora()] {
            let mut model = model(name, &tune);
            shake(&mut model);
            let samples = samples(&model, 13);
            let packed = [Batch::of(&samples)];
            let alone: Vec<Batch> = samples.iter().map(|sample| Batch::of([sample])).collect();
            let uneven = [
                Batch::of(&samples[..2]),
                Batch::of(&samples[2..3]),
                Batch::of(samples[3..].iter().rev()),
            ];
            for noise in [None, Some(&NOISE)] {
                let (loss, gradient) = step(&model, &packed, noise);
                for (how, batches) in [("one by one", &alone[..]), ("accumulated", &uneven)] {
                    let (other, accumulated) = step(&model, batches, noise);
                    let off = worst(&model, &accumulated, &gradient);
                    println!(
                        "{name} {how}, dropout {}: loss off by {:.1e}, gradients by {off:.1e}",
                        noise.is_some(),
                        (other - loss).abs() / loss
                    );
                    assert!((other - loss).abs() <= 1e-6 * loss, "{name} {how}: {other} {loss}");
                    assert!(off <= 2e-5, "{name} {how}: {off:.1e}");
                }
            }
            // A mean of means would be another loss: the test can tell.
            let means: f64 = alone
                .iter()
                .map(|b| model.loss(b, weights(std::slice::from_ref(b))).unwrap())
                .sum();
            let (loss, _) = step(&model, &packed, None);
            assert!((means / alone.len() as f64 - loss).abs() > 1e-3 * loss, "{name}");
        }
    }
}

/// Runs the training loop over the same steps cut by `cut`; log lines and values at the end.
fn run(
    name: &str,
    tune: &Tune,
    cut: &dyn Fn(&[Sample]) -> Vec<Batch>,
) -> (Vec<Value>, Vec<f64>, Vec<Sample>) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(name, tune);
    shake(&mut model);
    let all = samples(&model, 40);
    let settings = Settings {
        adaptive: false,
        run: folder.path().to_owned(),
        seed: 6,
        schedule: Schedule { peak: 1e-3, warmup: 2, total: 5, floor: 0.0 },
        hyper: Hyper {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            decay_all: false,
        },
        rates: Rates { embedding: 0.1, attention: 0.1, output: 0.1 },
        lora_dropout: 0.1,
        keep: Keep::Lean,
        validate_every: 0,
        patience: 0,
        checkpoint_every: 0,
        keep_checkpoints: 1,
        max_seconds: 0.0,
    };
    let mut hooks = Hooks {
        batches: &mut |step| Ok(cut(&all[8 * (step as usize - 1)..8 * step as usize])),
        validate: &mut |_, _| Ok(Some((0.0, json!({})))),
        progress: &mut |_| {},
        publish: &mut |_, _| Ok(()),
        resumed: &mut |_, _| Ok(()),
        interrupted: &mut || false,
    };
    train(&mut model, &settings, false, &mut hooks).unwrap();
    let log = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let log = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values = model.device.download_f32(model.values().all()).unwrap();
    (log, oracle::to_f64(&values), all)
}

#[test]
fn the_training_loop_divides_by_the_targets_of_the_whole_step() {
    for name in MODELS {
        for tune in [Tune::Full, lora()] {
            let (whole, values, samples) = run(name, &tune, &|samples| vec![Batch::of(samples)]);
            let (cut, others, _) = run(name, &tune, &|samples| {
                vec![Batch::of(&samples[..1]), Batch::of(&samples[1..6]), Batch::of(&samples[6..])]
            });
            assert_eq!((whole.len(), cut.len()), (5, 5));
            for (a, b) in whole.iter().zip(&cut) {
                for number in ["loss", "gradient_norm"] {
                    let (a, b) = (a[number].as_f64().unwrap(), b[number].as_f64().unwrap());
                    assert!((a - b).abs() <= 1e-4 * a, "{name}: {number}: {a} {b}");
                }
            }
            // The first step saw the values of the start: its loss is the mean over targets of the
            // step, by hand.
            let mut fresh = model(name, &tune);
            shake(&mut fresh);
            let noise = Noise { seed: 6, step: 1, ..NOISE };
            let (loss, _) = step(&fresh, &[Batch::of(&samples[..8])], Some(&noise));
            assert!((whole[0]["loss"].as_f64().unwrap() - loss).abs() <= 1e-6 * loss);
            // Adam divides by √v: where a gradient is all but zero rounding may move a value by the
            // rate, elsewhere by little.
            let off: Vec<f64> = values.iter().zip(&others).map(|(a, b)| (a - b).abs()).collect();
            let far = off.iter().filter(|&&d| d > 1e-5).count();
            println!("{name}: {far} of {} values differ by more than 1e-5", off.len());
            assert!(
                off.iter().all(|&d| d <= 2.0 * 5e-3) && far * 100 < off.len(),
                "{name}: {far} of {}",
                off.len()
            );
        }
    }
}
