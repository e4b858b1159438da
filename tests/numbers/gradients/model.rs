//! The whole tiny models: the gradient of the loss against differences of the loss, in random
//! directions.

use super::device;
use crate::oracle;
use engine::base::{Dtype, Philox, Stream};
use engine::data::Batch;
use engine::model::{
    Checkpoint, Config, Family, Flat, Keep, LinearName, LoraConfig, Model, Noise, Rates, Slot,
    SlotRole, Tune,
};
use std::path::Path;

fn model(family: Family, tune: &Tune) -> Model {
    let name = if family == Family::Glm { "glm-tiny" } else { "chatglm-tiny" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).join("a");
    let config = Config::read(&folder.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let mut model = Model::load(&device(), config, checkpoint, Dtype::F32, tune, 1).unwrap();
    // B begins at zero, where A has no gradient: give it values.
    for (number, slot) in model.layout().slots().to_vec().into_iter().enumerate() {
        if slot.role == SlotRole::LoraB {
            let noise = oracle::noise(slot.shape.count(), number as u64);
            model
                .set_slot(number, &noise.iter().map(|x| 0.2 * *x as f32).collect::<Vec<_>>())
                .unwrap();
        }
    }
    model
}

/// Three sequences: prefix and causal with several blanks, causal alone, one with targets of
/// unequal weight.
fn batch(model: &Model) -> Batch {
    let mut rng = Philox::new(4, Stream::Synthetic, 2);
    let mut batch = Batch { starts: vec![0], ..Batch::default() };
    for (example, (rows, context)) in [(21usize, 13usize), (6, 0), (17, 9)].into_iter().enumerate()
    {
        for i in 0..rows {
            let row = batch.tokens.len() as u32;
            batch.tokens.push(rng.below(model.config.vocabulary) as u32);
            batch.positions[0].push(i.min(context) as u32);
            batch.positions[1].push((i + 1).saturating_sub(context) as u32);
            if i >= context {
                batch.target_rows.push(row);
                batch.target_ids.push(rng.below(model.config.vocabulary) as u32);
                batch.target_weights.push(if example == 2 { 0.5 } else { 1.0 });
            }
        }
        batch.starts.push(batch.tokens.len() as u32);
        batch.contexts.push(context as u32);
        batch.examples.push(example as u64 | 7 << 33);
    }
    batch
}

struct Case {
    model: Model,
    batch: Batch,
    noise: Option<Noise>,
}

impl Case {
    /// Loss and gradient at the present values.
    fn gradient(&self, keep: Keep) -> (f64, Vec<f32>) {
        let mut gradients = Flat::zeros(&self.model.device, self.model.layout()).unwrap();
        let divisor = self.batch.target_weights.iter().map(|&w| f64::from(w)).sum();
        let noise = self.noise.as_ref();
        let loss = self
            .model
            .loss_and_gradients(&self.batch, divisor, noise, keep, &mut gradients)
            .unwrap();
        (loss, self.model.device.download_f32(gradients.all()).unwrap())
    }

    fn loss_at(&mut self, values: &[f64]) -> f64 {
        let device = self.model.device.clone();
        device.write_f32(self.model.values_mut().all_mut(), &oracle::to_f32(values)).unwrap();
        self.gradient(Keep::All).0
    }

    /// The derivative at `values` along `direction`, of the fourth order: steps may be large
    /// against the rounding of the loss.
    fn slope(&mut self, values: &[f64], direction: &[f64], step: f64) -> f64 {
        let mut at = |t: f64| {
            let moved: Vec<f64> = values.iter().zip(direction).map(|(v, d)| v + t * d).collect();
            self.loss_at(&moved)
        };
        (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)
    }
}

/// A direction of length 1 that is zero outside `slot`.
fn direction(len: usize, slot: &Slot, seed: u64) -> Vec<f64> {
    let noise = oracle::noise(slot.shape.count(), seed);
    let norm = oracle::dot(&noise, &noise).sqrt();
    let mut all = vec![0.0; len];
    noise.iter().enumerate().for_each(|(i, x)| all[slot.offset + i] = x / norm);
    all
}

const STEPS: [f64; 4] = [0.02, 0.2, 0.003, 0.0005];

/// How far a slope may be off, as a share of the slot's gradient.
const ENOUGH: f64 = 1e-3;

fn check(family: Family, tune: &Tune, noise: Option<Noise>) {
    let model = model(family, tune);
    let batch = batch(&model);
    let mut case = Case { model, batch, noise };
    let label = format!(
        "{family:?} {} dropout {}",
        if *tune == Tune::Full { "full" } else { "lora" },
        noise.is_some()
    );
    let (loss, gradient) = case.gradient(Keep::All);
    for keep in Keep::ALL {
        let (again, other) = case.gradient(keep);
        assert!(again == loss && other == gradient, "{label}: {keep:?} changes bits");
    }
    let gradient = oracle::to_f64(&gradient);
    let values = case.model.device.download_f32(case.model.values().all()).unwrap();
    let values = oracle::to_f64(&values);
    let mut worst = (0f64, String::new());
    for slot in case.model.layout().slots().to_vec() {
        let own = &gradient[slot.offset..][..slot.shape.count()];
        let norm = oracle::dot(own, own).sqrt();
        assert!(norm > 0.0, "{label}: {} has no gradient", slot.name);
        // Along the gradient itself, where the slope is its length, and along noise, where nothing
        // was favoured.
        let mut along = vec![0.0; gradient.len()];
        own.iter().enumerate().for_each(|(i, g)| along[slot.offset + i] = g / norm);
        for direction in [along, direction(gradient.len(), &slot, slot.offset as u64 + 1)] {
            let expected = oracle::dot(&direction, &gradient);
            // Long steps meet the bend of the loss, short ones its rounding: how long fits depends
            // on the tensor's scale.
            let mut offs = STEPS
                .into_iter()
                .map(|step| (case.slope(&values, &direction, step) - expected).abs() / norm);
            let mut off = offs.next().expect("a first step");
            while off > ENOUGH / 4.0 {
                let Some(next) = offs.next() else { break };
                off = off.min(next);
            }
            if off > worst.0 {
                worst = (off, slot.name.clone());
            }
        }
    }
    println!("{label}: worst slope off by {:.1e} of the gradient ({})", worst.0, worst.1);
    assert!(worst.0 <= ENOUGH, "{label}: {}: {:.1e}", worst.1, worst.0);
}

fn lora(family: Family) -> Tune {
    let config = LoraConfig {
        rank: 3,
        alpha: 6.0,
        dropout: 0.2,
        targets: LinearName::ALL.to_vec(),
        rank_stabilised: false,
    };
    Tune::Lora { config, positions: family == Family::Glm }
}

const NOISE: Noise = Noise {
    seed: 3,
    step: 11,
    rates: Rates { embedding: 0.1, attention: 0.2, output: 0.15 },
    lora: 0.2,
};

#[test]
fn glm_full() {
    check(Family::Glm, &Tune::Full, None);
    check(Family::Glm, &Tune::Full, Some(NOISE));
}

#[test]
fn chatglm_full() {
    check(Family::ChatGlm, &Tune::Full, None);
    check(Family::ChatGlm, &Tune::Full, Some(NOISE));
}

#[test]
fn glm_adapters_and_position_tables() {
    check(Family::Glm, &lora(Family::Glm), None);
    check(Family::Glm, &lora(Family::Glm), Some(NOISE));
}

#[test]
fn chatglm_adapters() {
    check(Family::ChatGlm, &lora(Family::ChatGlm), None);
    check(Family::ChatGlm, &lora(Family::ChatGlm), Some(NOISE));
}
