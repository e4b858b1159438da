//! The whole tiny models: the gradient of the loss against differences of the loss, in random
//! directions.

use super::device;
use crate::oracle;
use engine::base::{Dtype, Philox, Stream};
use engine::data::{Batch, Choices};
use engine::model::{
    Checkpoint, Config, Family, Flat, Keep, LinearName, LoraConfig, Model, Noise, Rates, Slot,
    SlotRole, Tune,
};
use std::path::Path;
use std::sync::Arc;

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

/// The same, in which most targets are decided among few tokens: of a wide set, which two of them
/// share, of narrow ones, and of narrow ones of which a target is several.
fn among(mut batch: Batch, words: usize) -> Batch {
    let mut rng = Philox::new(4, Stream::Synthetic, 3);
    batch.choices.temperature = 0.7;
    let wide: Arc<[u32]> = (0..words as u32).filter(|token| token % 3 > 0).collect();
    assert!(wide.len() >= Choices::WIDE);
    for target in 0..batch.target_ids.len() {
        let id = &mut batch.target_ids[target];
        match target % 4 {
            0 => batch.choices.push(None, None),
            1 => {
                *id = wide[rng.below(wide.len())];
                batch.choices.push(Some(&wide), None);
            }
            kind => {
                // Some tokens are many targets' choices.
                let others = (0..1 + rng.below(5)).map(|_| rng.below(20) as u32);
                let mut tokens: Vec<u32> = others.chain([*id]).collect();
                tokens.sort_unstable();
                tokens.dedup();
                let weights: Vec<f32> = tokens.iter().map(|_| rng.uniform() as f32).collect();
                let sum: f32 = weights.iter().sum();
                let shares = weights.iter().map(|weight| weight / sum).collect();
                batch.choices.push(Some(&tokens.into()), (kind == 3).then_some(shares));
            }
        }
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
    check_batch(model, batch, family, tune, noise);
}

fn check_batch(model: Model, batch: Batch, family: Family, tune: &Tune, noise: Option<Noise>) {
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

#[test]
fn targets_among_few_tokens() {
    for (family, tune) in
        [(Family::Glm, Tune::Full), (Family::ChatGlm, Tune::Full), (Family::Glm, lora(Family::Glm))]
    {
        let model = model(family, &tune);
        let batch = among(batch(&model), model.config.vocabulary);
        check_batch(model, batch, family, &tune, Some(NOISE));
    }
}

/// A target's own loss is the softmax over its choices, in f64 from all logits.
#[test]
fn the_loss_among_few_tokens_is_brute_force() {
    let model = model(Family::Glm, &Tune::Nothing);
    let batch = among(batch(&model), model.config.vocabulary);
    let last = model.hidden(&batch, |_, _| Ok(())).unwrap();
    let normed = model.finish(&last).unwrap();
    let temperature = f64::from(batch.choices.temperature);
    let mut expected = 0.0;
    for (target, &row) in batch.target_rows.iter().enumerate() {
        let row = row as usize;
        let logits = model.logits(normed.view().row_range(row..row + 1)).unwrap();
        let logits = oracle::to_f64(&model.device.download_f32(logits.view()).unwrap());
        let id = batch.target_ids[target];
        let loss = match batch.choices.of(target as u32) {
            None => logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[id as usize],
            Some(set) => {
                let tokens = &batch.choices.sets[set as usize];
                let of = |token: &u32| logits[*token as usize] / temperature;
                let sum = tokens.iter().map(|token| of(token).exp()).sum::<f64>().ln();
                let share = |at: usize| match batch.choices.shares(target as u32) {
                    Some(shares) => f64::from(shares[at]),
                    None => f64::from(u8::from(tokens[at] == id)),
                };
                let one = |at: usize| share(at) * (sum - of(&tokens[at]));
                temperature * (0..tokens.len()).map(one).sum::<f64>()
            }
        };
        expected += loss * f64::from(batch.target_weights[target]);
    }
    let loss = model.loss(&batch, 1.0).unwrap();
    assert!((loss - expected).abs() < 1e-4 * expected, "{loss} {expected}");
}
