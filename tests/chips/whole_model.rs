//! The whole model on the CUDA backend: goldens, training, decoding, the same bits for every order
//! of threads. On the emulator, or on the devices that `ENGINE_DEVICES` names
//! (`ENGINE_DEVICES=cuda:0`).

use crate::golden_sets::{distance, sets, Rows, Set};
use engine::base::{Dtype, Philox, Stream};
use engine::data::sample::{Prompt as Text, SampleOptions};
use engine::data::text::Piece;
use engine::data::{Intra, IntraMode, Sample, SampleBuilder, Special, Trie};
use engine::decode::{recommend, Finished, Rules, Scoring};
use engine::device::Device;
use engine::model::{Adapter, Checkpoint, Config, Family, Flat, Keep, LoraConfig, Model, Tune};
use engine::train::{Hyper, LossScale, Optimizer};
use std::path::Path;

/// The devices under test; none, with a visible line, where there is no emulator and none was
/// named.
fn devices() -> Vec<Device> {
    let names = match std::env::var("ENGINE_DEVICES") {
        Ok(names) => names,
        Err(_) if kernels::EMULATED => "emu:1".to_owned(),
        Err(_) => {
            println!("skipped: no emulator in this build and no ENGINE_DEVICES");
            return Vec::new();
        }
    };
    names.split(',').filter(|n| *n != "cpu").map(|name| Device::open(name, 0).unwrap()).collect()
}

fn cpu() -> Device {
    Device::open("cpu", 0).unwrap()
}

/// The batch whose loss and gradients the goldens hold.
fn rows_of(set: &Set) -> Rows {
    Rows::read(set, if set.family == Family::Glm { "left" } else { "right" })
}

fn load(set: &Set, device: &Device, dtype: Dtype, tune: &Tune) -> Model {
    let checkpoint = Checkpoint::open(&set.folder).unwrap();
    Model::load(device, set.config(None), checkpoint, dtype, tune, 0).unwrap()
}

/// What max|Δ|/max|golden| may be: f32 keeps what is asked for; a 16-bit model rounds some ten
/// times a layer, each time by half of ε of the size at hand, and the errors add like a random
/// walk, with four deviations for the worst of all elements.
fn allowed(dtype: Dtype, layers: usize) -> f64 {
    let epsilon = match dtype {
        Dtype::F16 => 2f64.powi(-10),
        Dtype::Bf16 => 2f64.powi(-7),
        _ => return 5e-4,
    };
    4.0 * 0.5 * epsilon * (10.0 * layers as f64 + 2.0).sqrt()
}

#[test]
fn goldens_in_every_dtype() {
    for device in devices() {
        for set in sets() {
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                let rows = rows_of(&set);
                let tag = if set.family == Family::Glm { "left" } else { "right" };
                let logits_of = |device: &Device| {
                    let model = load(&set, device, dtype, &Tune::Nothing);
                    let last = model.hidden(&rows.batch, |_, _| Ok(())).unwrap();
                    let normed = model.finish(&last).unwrap();
                    let logits =
                        device.download_f32(model.logits(normed.view()).unwrap().view()).unwrap();
                    let far =
                        distance(&logits, &rows.pick_logits(&set.floats(&format!("{tag}.logits"))));
                    (far, model.loss(&rows.batch, rows.targets()).unwrap())
                };
                let (far, loss) = logits_of(&device);
                let golden = f64::from(set.floats(&format!("{tag}.loss"))[0]);
                // What the dtype itself costs a set is seen on the CPU, which rounds at the same
                // places.
                let cost = if dtype == Dtype::F32 { 0.0 } else { logits_of(&cpu()).0 };
                let bound = allowed(dtype, set.config(None).layers).max(2.0 * cost);
                println!(
                    "{} {} {dtype}: logits {far:.1e} of {bound:.1e}, loss {loss:.6} of {golden:.6}",
                    device.name(),
                    set.name()
                );
                assert!(far <= bound, "{} {dtype}: {far:e} > {bound:e}", set.name());
                assert!(
                    (loss - golden).abs() <= bound * golden,
                    "{} {dtype}: {loss} {golden}",
                    set.name()
                );
            }
        }
    }
}

#[test]
fn every_gradient_as_on_the_cpu() {
    for device in devices() {
        for set in sets() {
            let rows = rows_of(&set);
            let gradients = |device: &Device, dtype, tune: &Tune| {
                let model = load(&set, device, dtype, tune);
                let mut gradients = Flat::zeros(device, model.layout()).unwrap();
                model
                    .loss_and_gradients(
                        &rows.batch,
                        rows.targets(),
                        None,
                        Keep::Lean,
                        &mut gradients,
                    )
                    .unwrap();
                let slots = model.layout().slots().to_vec();
                let values: Vec<_> = slots
                    .iter()
                    .map(|slot| {
                        (slot.name.clone(), device.download_f32(gradients.view(slot)).unwrap())
                    })
                    .collect();
                (values, model.config.layers)
            };
            let lora = Tune::Lora {
                config: LoraConfig { rank: 8, ..LoraConfig::default() },
                positions: false,
            };
            for (tune, dtypes) in
                [(&Tune::Full, &[Dtype::F32][..]), (&lora, &[Dtype::F32, Dtype::Bf16, Dtype::F16])]
            {
                for &dtype in dtypes {
                    let (expected, layers) = gradients(&cpu(), Dtype::F32, tune);
                    let (got, _) = gradients(&device, dtype, tune);
                    let largest = expected
                        .iter()
                        .flat_map(|(_, g)| g)
                        .fold(0f32, |most, g| most.max(g.abs()));
                    let mut worst = 0f64;
                    for ((name, expected), (_, got)) in expected.iter().zip(&got) {
                        let scale = expected.iter().fold(0f32, |most, g| most.max(g.abs()));
                        // A tensor whose gradient is next to nothing is judged by the size of the
                        // others.
                        let scale = f64::from(scale.max(1e-3 * largest));
                        let off = expected.iter().zip(got).fold(0f64, |most, (e, g)| {
                            most.max((f64::from(*e) - f64::from(*g)).abs())
                        });
                        assert!(got.iter().all(|g| g.is_finite()), "{} {dtype} {name}", set.name());
                        worst = worst.max(off / scale);
                        // Backwards as many roundings again as forwards.
                        let bound = 2.0 * allowed(dtype, 2 * layers).max(5e-4);
                        assert!(
                            off <= bound * scale,
                            "{} {dtype} {name}: {:e} > {bound:e}",
                            set.name(),
                            off / scale
                        );
                    }
                    println!("{} {} {dtype}: gradients {worst:.1e}", device.name(), set.name());
                }
            }
        }
    }
}

#[test]
fn ten_steps_track_the_losses_of_the_cpu() {
    for device in devices() {
        for set in sets() {
            let rows = rows_of(&set);
            let Some(name) = set.adapters().pop() else { continue };
            let losses = |device: &Device, dtype| {
                let mut model = load(&set, device, dtype, &Tune::Nothing);
                model.load_adapter(Adapter::open(&set.folder.join(&name)).unwrap()).unwrap();
                let hyper = Hyper {
                    beta1: 0.9,
                    beta2: 0.95,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                    clip: 1.0,
                    decay_all: false,
                };
                let mut optimizer = Optimizer::new(&model, hyper).unwrap();
                let mut gradients = Flat::zeros(device, model.layout()).unwrap();
                let scale = LossScale::start(dtype).factor;
                (1..=10)
                    .map(|step| {
                        device.zero(gradients.all_mut()).unwrap();
                        let divisor = rows.targets() / scale;
                        let loss = model
                            .loss_and_gradients(
                                &rows.batch,
                                divisor,
                                None,
                                Keep::Lean,
                                &mut gradients,
                            )
                            .unwrap();
                        optimizer.step(&mut model, &gradients, scale, 1e-3, step).unwrap();
                        loss / scale
                    })
                    .collect::<Vec<f64>>()
            };
            let expected = losses(&cpu(), Dtype::F32);
            assert!(expected[9] < expected[0], "ten steps learn something: {expected:?}");
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                let got = losses(&device, dtype);
                let bound = allowed(dtype, 2 * set.config(None).layers);
                let worst = got
                    .iter()
                    .zip(&expected)
                    .fold(0f64, |most, (g, e)| most.max((g - e).abs() / e));
                println!(
                    "{} {} {dtype}: ten losses {worst:.1e} of {bound:.1e}",
                    device.name(),
                    set.name()
                );
                assert!(worst <= bound, "{} {dtype}: {got:?} {expected:?}", set.name());
            }
        }
    }
}

const SPECIAL: Special =
    Special { cls: 503, mask: 504, gmask: 507, smask: 508, start: 501, end: 502, eos: 500 };

/// A small catalogue with duplicates, prefixes and one-token titles, and some prompts.
fn decoded(device: &Device, dtype: Dtype, count: usize) -> Vec<Vec<Finished>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glm-tiny/a");
    let config = Config::read(&folder.join("config.json")).unwrap();
    let model =
        Model::load(device, config, Checkpoint::open(&folder).unwrap(), dtype, &Tune::Nothing, 0)
            .unwrap();
    let mut rng = Philox::new(3, Stream::Synthetic, 0);
    let mut titles: Vec<Vec<u32>> =
        vec![vec![7], vec![7, 8], vec![7, 8, 9, 10], vec![7, 8, 9, 10, 11], vec![7, 8]];
    while titles.len() < 40 {
        let length = 1 + rng.below(6);
        titles.push((0..length).map(|_| rng.below(30) as u32).collect());
    }
    let values: Vec<u32> = (0..titles.len() as u32).collect();
    let trie = Trie::build(&titles, &values);
    let intra = Intra::new(trie.clone(), IntraMode::default());
    let options = SampleOptions { last_position: 128, ..SampleOptions::default() };
    let builder = SampleBuilder::new(SPECIAL, intra.clone(), options);
    let prompts: Vec<Sample> = (0..count)
        .map(|i| {
            let mut text = Text::default();
            for k in 0..1 + i % 4 {
                text.push(Piece::entity(&titles[(7 * i + 5 * k) % titles.len()]));
                text.push(Piece::plain(&[44]));
            }
            text.push_mask(SPECIAL.mask);
            builder.prompt(i as u64, &text).unwrap()
        })
        .collect();
    let rules = Rules {
        trie: &trie,
        scoring: Scoring::Full,
        exact: false,
        intra: &intra,
        end: SPECIAL.end,
        width: 5,
        length_penalty: 1.0,
        look_ahead: true,
    };
    let together = recommend(&model, rules, &prompts).unwrap().0;
    for (prompt, together) in prompts.iter().zip(&together) {
        let alone = recommend(&model, rules, std::slice::from_ref(prompt)).unwrap().0;
        assert_eq!(
            &alone[0],
            together,
            "{}: a batch of {count} is {count} batches of one",
            device.name()
        );
    }
    together
}

#[test]
fn decoded_lists_are_those_of_the_cpu() {
    for device in devices() {
        let (expected, got) = (decoded(&cpu(), Dtype::F32, 4), decoded(&device, Dtype::F32, 4));
        for (expected, got) in expected.iter().zip(&got) {
            let nodes = |list: &[Finished]| list.iter().map(|f| f.node).collect::<Vec<_>>();
            assert_eq!(nodes(expected), nodes(got));
            for (e, g) in expected.iter().zip(got) {
                assert!(
                    (e.score - g.score).abs() <= 5e-4 * e.score.abs(),
                    "{} {}",
                    e.score,
                    g.score
                );
            }
        }
        // In 16 bits lists may differ; rows still do not depend on their neighbours.
        decoded(&device, Dtype::Bf16, 3);
    }
}

#[test]
fn the_same_bits_for_every_order_of_threads() {
    if !kernels::EMULATED {
        return println!("skipped: no emulator in this build");
    }
    let set = &sets()[0];
    let rows = rows_of(set);
    let lora =
        Tune::Lora { config: LoraConfig { rank: 4, ..LoraConfig::default() }, positions: false };
    let bits = |seed: u64, dtype: Dtype| {
        let device = Device::open(&format!("emu:{seed}"), 0).unwrap();
        let model = load(set, &device, dtype, &lora);
        let mut gradients = Flat::zeros(&device, model.layout()).unwrap();
        let loss = model
            .loss_and_gradients(&rows.batch, rows.targets(), None, Keep::Input, &mut gradients)
            .unwrap();
        let gradients = device.download_f32(gradients.all()).unwrap();
        (loss.to_bits(), gradients.iter().map(|g| g.to_bits()).collect::<Vec<u32>>())
    };
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let first = bits(1, dtype);
        for seed in [2, 3] {
            assert!(bits(seed, dtype) == first, "{dtype}: seeds 1 and {seed} differ");
        }
    }
}
