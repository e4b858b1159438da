//! Tiny GLM and ChatGLM against the numbers of the original code: hidden states, logits, losses,
//! every gradient by name, AdamW steps, cached generation. `ENGINE_GOLDEN` points to another folder
//! of the same layout.

mod generation;

use crate::golden_sets::{distance, sets, Rows, Set};
use engine::device::{Device, Gelu};
use engine::model::{peft_prefix, Adapter, Flat, Keep, Model, SlotRole, Tune};
use engine::train::{Hyper, Optimizer};

fn device() -> Device {
    Device::open("cpu", 0).unwrap()
}

/// The batches that goldens hold for a set.
fn tags(set: &Set) -> Vec<&'static str> {
    ["left", "right", "sep", "maskrow"]
        .into_iter()
        .filter(|t| set.has(&format!("{t}.input_ids")))
        .collect()
}

#[test]
fn hidden_states_logits_and_loss() {
    for set in sets() {
        let model = set.model(&device(), &Tune::Nothing, None);
        for tag in tags(&set) {
            let rows = Rows::read(&set, tag);
            let mut worst_hidden = 0f64;
            let last = model
                .hidden(&rows.batch, |i, x| {
                    let name = format!("{tag}.hidden.{i}");
                    // ChatGLM's list ends with the last layer's input.
                    if set.has(&name) {
                        let golden = rows.pick(&set.floats(&name));
                        worst_hidden =
                            worst_hidden.max(distance(&model.device.download_f32(x)?, &golden));
                    }
                    Ok(())
                })
                .unwrap();
            let normed = model.finish(&last).unwrap();
            if set.has(&format!("{tag}.final_layernorm")) {
                let golden = rows.pick(&set.floats(&format!("{tag}.final_layernorm")));
                let ours = model.device.download_f32(normed.view()).unwrap();
                worst_hidden = worst_hidden.max(distance(&ours, &golden));
            }
            let logits =
                model.device.download_f32(model.logits(normed.view()).unwrap().view()).unwrap();
            let worst_logits =
                distance(&logits, &rows.pick_logits(&set.floats(&format!("{tag}.logits"))));
            println!("{} {tag}: hidden {worst_hidden:.1e}, logits {worst_logits:.1e}", set.name());
            assert!(worst_hidden <= 1e-4 && worst_logits <= 1e-4, "{} {tag}", set.name());
            if set.has(&format!("{tag}.loss")) {
                let golden = f64::from(set.floats(&format!("{tag}.loss"))[0]);
                let loss = model.loss(&rows.batch, rows.targets()).unwrap();
                println!("{} {tag}: loss {loss:.7}, golden {golden:.7}", set.name());
                assert!(
                    (loss - golden).abs() <= 1e-5 * golden.abs(),
                    "{} {tag}: {loss} {golden}",
                    set.name()
                );
            }
        }
    }
}

#[test]
fn the_tanh_form_of_gelu() {
    for set in sets().iter().filter(|s| s.has("left.logits_gelu_tanh")) {
        let model = set.model(&device(), &Tune::Nothing, Some(Gelu::Tanh));
        let rows = Rows::read(set, "left");
        let last = model.hidden(&rows.batch, |_, _| Ok(())).unwrap();
        let logits = model.logits(model.finish(&last).unwrap().view()).unwrap();
        let ours = model.device.download_f32(logits.view()).unwrap();
        let worst = distance(&ours, &rows.pick_logits(&set.floats("left.logits_gelu_tanh")));
        println!("{}: tanh logits {worst:.1e}", set.name());
        assert!(worst <= 1e-4);
        let golden = f64::from(set.floats("left.loss_gelu_tanh")[0]);
        assert!((model.loss(&rows.batch, rows.targets()).unwrap() - golden).abs() <= 1e-5 * golden);
    }
}

/// The batch whose loss the goldens' gradients belong to.
fn trained_batch(set: &Set) -> Rows {
    Rows::read(set, if set.family == engine::model::Family::Glm { "left" } else { "right" })
}

fn gradients_of(model: &Model, rows: &Rows, keep: Keep) -> (f64, Flat) {
    let mut gradients = Flat::zeros(&model.device, model.layout()).unwrap();
    let loss =
        model.loss_and_gradients(&rows.batch, rows.targets(), None, keep, &mut gradients).unwrap();
    (loss, gradients)
}

/// Compares every slot's gradient with the golden of its name under `prefix`; every golden must be
/// met.
fn compare_gradients(set: &Set, model: &Model, gradients: &Flat, prefix: &str) {
    let mut met = 0;
    let mut worst = (0f64, String::new());
    for slot in model.layout().slots() {
        let golden = set.floats(&format!("{prefix}{}", slot.name));
        let ours = model.device.download_f32(gradients.view(slot)).unwrap();
        let d = distance(&ours, &golden);
        if d >= worst.0 {
            worst = (d, slot.name.clone());
        }
        assert!(d <= 1e-3, "{} {prefix}{}: {d:.1e}", set.name(), slot.name);
        met += 1;
    }
    println!("{} {prefix}: {met} tensors, worst {:.1e} ({})", set.name(), worst.0, worst.1);
    assert_eq!(
        met,
        set.names().iter().filter(|n| n.starts_with(prefix)).count(),
        "every golden gradient is met"
    );
}

#[test]
fn every_gradient_of_full_fine_tuning() {
    for set in sets().iter().filter(|s| s.has("full.losses")) {
        if !set.names().iter().any(|n| n.starts_with("full.grad.")) {
            continue;
        }
        let model = set.model(&device(), &Tune::Full, None);
        let rows = trained_batch(set);
        for keep in Keep::ALL {
            let (_, gradients) = gradients_of(&model, &rows, keep);
            compare_gradients(set, &model, &gradients, "full.grad.");
        }
    }
}

fn with_adapter(set: &Set, adapter: &str) -> Model {
    let mut model = set.model(&device(), &Tune::Nothing, None);
    model.load_adapter(Adapter::open(&set.folder.join(adapter)).unwrap()).unwrap();
    model
}

#[test]
fn every_gradient_of_adapters_whatever_is_kept() {
    for set in sets() {
        for adapter in set.adapters() {
            let model = with_adapter(&set, &adapter);
            let rows = trained_batch(&set);
            let mut first: Option<Vec<f32>> = None;
            for keep in Keep::ALL {
                let (loss, gradients) = gradients_of(&model, &rows, keep);
                let golden = f64::from(set.floats(&format!("{adapter}.loss"))[0]);
                assert!((loss - golden).abs() <= 1e-5 * golden, "{loss} {golden}");
                compare_gradients(&set, &model, &gradients, &format!("{adapter}.grad."));
                // What is computed again has the same bits.
                let all = model.device.download_f32(gradients.all()).unwrap();
                assert!(
                    first.get_or_insert_with(|| all.clone()) == &all,
                    "{} {keep:?}",
                    set.name()
                );
            }
            let last = model.hidden(&rows.batch, |_, _| Ok(())).unwrap();
            let logits = model.logits(model.finish(&last).unwrap().view()).unwrap();
            let golden = rows.pick_logits(&set.floats(&format!("{adapter}.logits")));
            let worst = distance(&model.device.download_f32(logits.view()).unwrap(), &golden);
            assert!(worst <= 1e-4, "{} {adapter}: logits {worst:.1e}", set.name());
        }
    }
}

/// The optimiser of the goldens: PyTorch's AdamW with decay on all tensors, no clipping.
const HYPER: Hyper = Hyper {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.01,
    clip: 0.0,
    decay_all: true,
};
const LEARNING_RATE: f64 = 1e-3;

fn step(model: &mut Model, optimizer: &mut Optimizer, rows: &Rows, number: u64) -> f64 {
    let (loss, gradients) = gradients_of(model, rows, Keep::All);
    optimizer.step(model, &gradients, 1.0, LEARNING_RATE, number).unwrap();
    loss
}

#[test]
fn ten_steps_of_adamw_on_adapters() {
    for set in sets() {
        for adapter in set.adapters() {
            let mut model = with_adapter(&set, &adapter);
            let rows = trained_batch(&set);
            let mut optimizer = Optimizer::new(&model, HYPER).unwrap();
            let losses = set.floats(&format!("{adapter}.losses"));
            let slots = model.layout().slots().to_vec();
            let (mut worst, mut worst_loss) = (0f64, 0f64);
            for number in 1..=10 {
                let loss = step(&mut model, &mut optimizer, &rows, number);
                let golden = f64::from(losses[number as usize - 1]);
                worst_loss = worst_loss.max((loss - golden).abs() / golden);
                if !set.has(&format!("{adapter}.step{number}.{}", slots[0].name)) {
                    continue;
                }
                for slot in &slots {
                    let golden = set.floats(&format!("{adapter}.step{number}.{}", slot.name));
                    let gradient = set.floats(&format!("{adapter}.grad.{}", slot.name));
                    let ours = model.device.download_f32(model.values().view(slot)).unwrap();
                    let scale = golden.iter().fold(0f64, |m, &g| m.max(f64::from(g).abs()));
                    for ((&o, &g), &d) in ours.iter().zip(&golden).zip(&gradient) {
                        let off = (f64::from(o) - f64::from(g)).abs();
                        // Adam divides by √v: where the gradient is near zero rounding alone may
                        // move a value by lr a step.
                        if d.abs() >= 1e-5 {
                            worst = worst.max(off / scale);
                            assert!(
                                off <= 1e-4 * scale,
                                "{} {adapter} step {number} {}",
                                set.name(),
                                slot.name
                            );
                        } else {
                            assert!(off <= 2.0 * LEARNING_RATE * number as f64);
                        }
                    }
                }
            }
            println!("{} {adapter}: values {worst:.1e}, losses {worst_loss:.1e}", set.name());
            let last = model.loss(&rows.batch, rows.targets()).unwrap();
            worst_loss =
                worst_loss.max((last - f64::from(losses[10])).abs() / f64::from(losses[10]));
            assert!(worst_loss <= 1e-4, "{} {adapter}: losses {worst_loss:.1e}", set.name());
        }
    }
}

#[test]
fn three_steps_of_full_fine_tuning() {
    for set in sets().iter().filter(|s| s.has("full.losses")) {
        let mut model = set.model(&device(), &Tune::Full, None);
        let rows = trained_batch(set);
        let mut optimizer = Optimizer::new(&model, HYPER).unwrap();
        for (number, &golden) in set.floats("full.losses").iter().enumerate() {
            let loss = step(&mut model, &mut optimizer, &rows, number as u64 + 1);
            assert!(
                (loss - f64::from(golden)).abs() <= 1e-4 * f64::from(golden),
                "{loss} {golden}"
            );
        }
    }
}

#[test]
fn an_adapter_written_here_is_read_back_bit_for_bit() {
    for set in sets() {
        for adapter in set.adapters() {
            let model = with_adapter(&set, &adapter);
            let folder = tempfile::tempdir().unwrap();
            let config = engine::model::adapter_config(model.lora().unwrap(), "base", &[]);
            std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
            model.save_adapter(&folder.path().join("adapter_model.safetensors"), None).unwrap();
            let mut again = set.model(&device(), &Tune::Nothing, None);
            again.load_adapter(Adapter::open(folder.path()).unwrap()).unwrap();
            assert_eq!(again.layout(), model.layout());
            let values = |m: &Model| m.device.download_f32(m.values().all()).unwrap();
            assert_eq!(values(&again), values(&model));
            assert!(model.layout().slots().iter().all(|s| matches!(
                s.role,
                SlotRole::LoraA | SlotRole::LoraB
            ) && s
                .name
                .starts_with(peft_prefix(set.family))));
        }
    }
}
