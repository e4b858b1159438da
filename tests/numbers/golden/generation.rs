//! Cached generation against the original code: greedy answers, answers that stop, several blanks
//! on one cache, beams, scored choices, keys and values.

use super::{device, with_adapter};
use crate::golden_sets::{distance, sets, Rows, Set};
use engine::base::{Dtype, Shape};
use engine::data::{Batch, Target};
use engine::device::View;
use engine::model::{Extension, Family, KvCache, Model, Tune};

/// Prompts of batch `tag` without padding, each ending with the row whose answer begins; and the
/// columns of the original.
fn prompts(set: &Set, tag: &str) -> (Batch, usize) {
    let shape = set.shape(&format!("{tag}.input_ids"));
    let (count, columns) = (shape[0], shape[1]);
    if set.family == Family::ChatGlm {
        return (Rows::read(set, tag).batch, columns);
    }
    let ids = set.integers(&format!("{tag}.input_ids"));
    let mask_name = format!("{tag}.generation_attention_mask");
    let (mask, size) = (set.integers(&mask_name), set.shape(&mask_name)[2]);
    let positions = set.integers(&format!("{tag}.position_ids"));
    let mut batch = Batch { starts: vec![0], ..Batch::default() };
    for s in 0..count {
        let of = |row: usize, c: usize| positions[(2 * s + row) * size + c] as u32;
        let seen = |c: usize| mask[(s * size + columns - 1) * size + c] == 1;
        let first = batch.tokens.len();
        for c in (0..columns).filter(|&c| seen(c)) {
            batch.tokens.push(ids[s * columns + c] as u32);
            batch.positions[0].push(of(0, c));
            batch.positions[1].push(of(1, c));
        }
        // Tokens go on where the prompt ends: at its mask, one block position after another.
        for t in 0..size - columns {
            let last = |row: usize| batch.positions[row].last().copied().unwrap();
            assert_eq!((of(0, columns + t), of(1, columns + t)), (last(0), last(1) + t as u32 + 1));
        }
        batch.starts.push(batch.tokens.len() as u32);
        batch.contexts.push((batch.tokens.len() - first - 1) as u32);
        batch.examples.push(s as u64);
    }
    (batch, columns)
}

/// One prompt of a batch.
fn alone(batch: &Batch, s: usize) -> Batch {
    let rows = batch.starts[s] as usize..batch.starts[s + 1] as usize;
    Batch {
        tokens: batch.tokens[rows.clone()].to_vec(),
        positions: [0, 1].map(|i: usize| batch.positions[i][rows.clone()].to_vec()),
        starts: vec![0, rows.len() as u32],
        contexts: vec![batch.contexts[s]],
        examples: vec![0],
        ..Batch::default()
    }
}

/// Where a token is fed that follows `t` produced ones: at the mask, counted on from the prompt's
/// last row.
fn place(batch: &Batch, request: usize, t: usize) -> [u32; 2] {
    let last = batch.starts[request + 1] as usize - 1;
    [batch.positions[0][last], batch.positions[1][last] + t as u32 + 1]
}

fn logits(model: &Model, normed: engine::device::View) -> Vec<Vec<f32>> {
    let all = model.device.download_f32(model.logits(normed).unwrap().view()).unwrap();
    all.chunks(model.config.vocabulary).map(<[f32]>::to_vec).collect()
}

fn best(row: &[f32]) -> u32 {
    let better = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]).then(b.cmp(a));
    (0..row.len()).max_by(better).unwrap() as u32
}

/// Greedy answers of all prompts together: tokens, and the logits of every step.
fn greedy(model: &Model, batch: &Batch, steps: usize) -> (Vec<Vec<u32>>, Vec<Vec<Vec<f32>>>) {
    let requests = batch.contexts.len();
    let (mut cache, ends) = KvCache::prefill(model, batch, requests * steps).unwrap();
    let mut tokens = vec![Vec::new(); requests];
    let mut seen = vec![Vec::new(); requests];
    let mut rows = logits(model, ends.view());
    for step in 0..steps {
        for (request, row) in rows.into_iter().enumerate() {
            tokens[request].push(best(&row));
            seen[request].push(row);
        }
        let mut extension = Extension::new();
        for (request, tokens) in tokens.iter().enumerate() {
            let path: Vec<u32> = (0..=step).map(|t| (t * requests + request) as u32).collect();
            let place = place(batch, request, step);
            extension.push(request as u32, tokens[step], place, path[step], &path);
        }
        rows = logits(model, cache.extend(model, &extension).unwrap().view());
    }
    (tokens, seen)
}

/// The produced part of golden sequences `[b, columns + steps]`.
fn produced(set: &Set, name: &str, columns: usize) -> Vec<Vec<u32>> {
    let width = set.shape(name)[1];
    let all = set.integers(name);
    all.chunks(width).map(|row| row[columns..].iter().map(|&id| id as u32).collect()).collect()
}

#[test]
fn greedy_answers_and_the_logits_of_every_step() {
    for set in sets() {
        let model = set.model(&device(), &Tune::Nothing, None);
        for tag in
            ["greedy", "single"].into_iter().filter(|tag| set.has(&format!("{tag}.step_logits")))
        {
            let (batch, columns) = prompts(&set, tag);
            let golden = produced(&set, &format!("{tag}.sequences"), columns);
            let (tokens, seen) = greedy(&model, &batch, golden[0].len());
            assert_eq!(tokens, golden, "{} {tag}", set.name());
            let worst =
                distance(&seen.concat().concat(), &set.floats(&format!("{tag}.step_logits")));
            println!("{} {tag}: step logits {worst:.1e}", set.name());
            assert!(worst <= 1e-4, "{} {tag}: {worst:.1e}", set.name());
        }
        for adapter in set.adapters() {
            let (batch, columns) = prompts(&set, "greedy");
            let golden = produced(&set, &format!("{adapter}.greedy.sequences"), columns);
            let (tokens, _) = greedy(&with_adapter(&set, &adapter), &batch, golden[0].len());
            assert_eq!(tokens, golden, "{} {adapter}", set.name());
        }
    }
}

#[test]
fn greedy_answers_that_stop() {
    for set in sets().iter().filter(|set| set.has("greedy_stop.sequences")) {
        let model = set.model(&device(), &Tune::Nothing, None);
        let end = set.integers("greedy_stop.eos_token_id")[0] as u32;
        let (batch, columns) = prompts(set, "greedy");
        let golden = produced(set, "greedy_stop.sequences", columns);
        let (tokens, _) = greedy(&model, &batch, golden[0].len());
        let mut stopped = 0;
        for (ours, golden) in tokens.iter().zip(&golden) {
            let length =
                ours.iter().position(|&token| token == end).map_or(ours.len(), |at| at + 1);
            stopped += usize::from(ours[..length].last() == Some(&end));
            assert_eq!(ours[..length], golden[..length], "{}", set.name());
            let pad = set.special("pad") as u32;
            assert!(
                golden[length..].iter().all(|&token| token == pad),
                "{}: {golden:?}",
                set.name()
            );
        }
        assert!(stopped > 0, "{}: an answer stops", set.name());
    }
}

/// Part A runs without [START]; each blank begins with it, on the cache of the blanks before.
#[test]
fn blanks_one_after_another_on_one_cache() {
    for set in sets().iter().filter(|set| set.has("mems.input_ids")) {
        let model = set.model(&device(), &Tune::Nothing, None);
        let (hidden, layers) = (model.config.hidden, model.config.layers);
        let ids = set.integers("mems.input_ids");
        let rows = ids.len();
        let batch = Batch {
            tokens: ids.iter().map(|&id| id as u32).collect(),
            positions: [(0..rows as u32).collect(), vec![0; rows]],
            starts: vec![0, rows as u32],
            contexts: vec![rows as u32],
            examples: vec![0],
            ..Batch::default()
        };
        let mut mems = vec![Vec::new(); layers + 1];
        let (mut cache, _) = KvCache::prefill(&model, &batch, 64).unwrap();
        let keep = |layer: usize, x: View| {
            mems[layer].extend(model.device.download_f32(x)?);
            Ok(())
        };
        let last = model.hidden(&batch, keep).unwrap();
        let context = logits(&model, model.finish(&last).unwrap().view()).concat();
        let mut worst = distance(&context, &set.floats("mems.context_logits"));
        let mut path = Vec::new();
        let blanks = set.integers("mems.mask_positions").len();
        for blank in 0..blanks {
            let of = |name: &str| format!("mems.blank{blank}.{name}");
            let places = set.integers(&of("position_ids"));
            let golden: Vec<u32> =
                set.integers(&of("tokens")).iter().map(|&id| id as u32).collect();
            let mut token = set.special("sop") as u32;
            let mut seen = Vec::new();
            for (step, &expected) in golden.iter().enumerate() {
                path.push(path.len() as u32);
                let mut extension = Extension::new();
                let place = [places[2 * step] as u32, places[2 * step + 1] as u32];
                extension.push(0, token, place, path.len() as u32 - 1, &path);
                let normed = cache
                    .extend_observed(&model, &extension, |layer, x| {
                        mems[layer].extend(model.device.download_f32(x)?);
                        Ok(())
                    })
                    .unwrap();
                let row = logits(&model, normed.view()).remove(0);
                token = best(&row);
                assert_eq!(token, expected, "{} blank {blank} step {step}", set.name());
                seen.extend(row);
            }
            worst = worst.max(distance(&seen, &set.floats(&of("step_logits"))));
        }
        let mut worst_mems = 0f64;
        for (layer, mems) in mems.iter().enumerate() {
            let name = format!("mems.final_mems.{layer}");
            if set.has(&name) {
                assert_eq!(mems.len(), hidden * (rows + path.len()));
                worst_mems = worst_mems.max(distance(mems, &set.floats(&name)));
            }
        }
        println!("{} mems: logits {worst:.1e}, hidden states {worst_mems:.1e}", set.name());
        assert!(
            worst <= 1e-4 && worst_mems <= 1e-4,
            "{}: {worst:.1e} {worst_mems:.1e}",
            set.name()
        );
    }
}

#[test]
fn keys_and_values_after_a_prefill() {
    let mut met = 0;
    for set in sets() {
        let model = set.model(&device(), &Tune::Nothing, None);
        let h = model.config.hidden;
        let named: Vec<usize> =
            (0..model.config.layers).filter(|i| set.has(&format!("left.past.{i}.key"))).collect();
        if named.is_empty() {
            continue;
        }
        let rows = Rows::read(&set, "left");
        let (cache, _) = KvCache::prefill(&model, &rows.batch, 1).unwrap();
        for layer in named {
            let ours = model.device.download_f32(cache.prompt(layer)).unwrap();
            for (half, part) in ["key", "value"].into_iter().enumerate() {
                let golden = rows.pick(&set.floats(&format!("left.past.{layer}.{part}")));
                let own: Vec<f32> = ours
                    .chunks(2 * h)
                    .flat_map(|row| row[half * h..(half + 1) * h].to_vec())
                    .collect();
                let worst = distance(&own, &golden);
                println!("{} layer {layer} {part}: {worst:.1e}", set.name());
                assert!(worst <= 1e-4, "{} layer {layer} {part}: {worst:.1e}", set.name());
                met += 1;
            }
        }
    }
    assert!(met > 0 || std::env::var_os("ENGINE_GOLDEN").is_some(), "no set holds keys and values");
}

/// A beam of the original's search: sum of log-probabilities, produced tokens, slots of the cache.
#[derive(Clone)]
struct Beam {
    sum: f64,
    tokens: Vec<u32>,
    path: Vec<u32>,
}

/// Beam search as transformers 4.30 does it (docs/models.md), every number from the cache of this
/// engine. `columns` is the length of the prompt as the original counts it, with padding.
fn beams(
    model: &Model,
    batch: &Batch,
    columns: usize,
    width: usize,
    end: u32,
    penalty: f64,
) -> Vec<(f64, Vec<u32>)> {
    const STEPS: usize = 16;
    let (mut cache, ends) = KvCache::prefill(model, batch, width * STEPS).unwrap();
    let mut live = vec![Beam { sum: 0.0, tokens: Vec::new(), path: Vec::new() }];
    let mut rows = logits(model, ends.view());
    let mut finished: Vec<(f64, Vec<u32>)> = Vec::new();
    let finish = |finished: &mut Vec<(f64, Vec<u32>)>, sum: f64, tokens: Vec<u32>| {
        finished.push((sum / ((columns + tokens.len()) as f64).powf(penalty), tokens));
        finished.sort_by(|a, b| b.0.total_cmp(&a.0));
        finished.truncate(width);
    };
    for step in 0..STEPS {
        let mut candidates: Vec<(f64, usize, u32)> = Vec::new();
        for (b, row) in rows.iter().enumerate() {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            candidates.extend(
                row.iter().enumerate().map(|(id, x)| (live[b].sum + x - log_sum, b, id as u32)),
            );
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
        candidates.truncate(2 * width);
        let mut next: Vec<Beam> = Vec::new();
        for (rank, &(sum, b, token)) in candidates.iter().enumerate() {
            if token == end {
                if rank < width {
                    finish(&mut finished, sum, live[b].tokens.clone());
                }
            } else if next.len() < width {
                let mut beam = Beam { sum, ..live[b].clone() };
                beam.tokens.push(token);
                next.push(beam);
            }
        }
        live = next;
        let attainable = candidates[0].0 / ((columns + step + 1) as f64).powf(penalty);
        if finished.len() == width && finished[width - 1].0 >= attainable {
            return finished;
        }
        let mut extension = Extension::new();
        for (b, beam) in live.iter_mut().enumerate() {
            let slot = (step * width + b) as u32;
            beam.path.push(slot);
            extension.push(0, beam.tokens[step], place(batch, 0, step), slot, &beam.path);
        }
        rows = logits(model, cache.extend(model, &extension).unwrap().view());
    }
    for beam in live {
        finish(&mut finished, beam.sum, beam.tokens);
    }
    finished
}

#[test]
fn beams_of_fixed_length_and_beams_that_end() {
    for set in sets() {
        let model = set.model(&device(), &Tune::Nothing, None);
        for tag in ["beam", "beam_eos"].into_iter().filter(|tag| set.has(&format!("{tag}.scores")))
        {
            let source = if set.family == Family::Glm { "greedy" } else { "single" };
            let (batch, columns) = prompts(&set, source);
            let scores = set.floats(&format!("{tag}.scores"));
            let end = set.integers(&format!("{tag}.eos_token_id"))[0] as u32;
            let penalty = f64::from(set.floats(&format!("{tag}.length_penalty"))[0]);
            let found = beams(&model, &alone(&batch, 0), columns, scores.len(), end, penalty);
            let golden = produced(&set, &format!("{tag}.sequences"), columns);
            let mut worst = 0f64;
            for ((score, tokens), (golden_score, golden)) in
                found.iter().zip(scores.iter().zip(&golden))
            {
                assert_eq!(tokens[..], golden[..tokens.len()], "{} {tag}", set.name());
                // What is shorter than the longest ends with the end token.
                assert!(
                    golden.get(tokens.len()).is_none_or(|&token| token == end),
                    "{} {tag}",
                    set.name()
                );
                worst = worst.max((score - f64::from(*golden_score)).abs());
            }
            println!("{} {tag}: scores off by {worst:.1e}", set.name());
            assert!(
                found.len() == scores.len() && worst <= 1e-4,
                "{} {tag}: {worst:.1e}",
                set.name()
            );
        }
    }
}

/// Choices are branches of one prompt: paths of the cache that do not see each other.
#[test]
fn choices_are_scored_beside_each_other() {
    for set in sets().iter().filter(|set| set.has("choice.input_ids")) {
        let model = set.model(&device(), &Tune::Nothing, None);
        let shape = set.shape("choice.log_probs");
        let (samples, choices) = (shape[0], shape[1]);
        let columns = set.shape("choice.input_ids")[1];
        let (ids, places) = (set.integers("choice.input_ids"), set.integers("choice.position_ids"));
        let labels = set.integers("choice.labels");
        let mut sums = Vec::new();
        let mut loss = 0.0;
        for s in 0..samples {
            let token = |c: usize| ids[s * columns + c] as u32;
            let at = |c: usize| [0, 1].map(|row| places[(2 * s + row) * columns + c] as u32);
            let indices = |c: usize| set.integers(&format!("choice.indices.{s}.{c}"));
            let answers = |c: usize| set.integers(&format!("choice.ids.{s}.{c}"));
            let begin = indices(0)[0] as usize;
            let mask = set.integers("choice.attention_mask");
            let context: Vec<usize> =
                (0..begin).filter(|c| mask[(s * columns + begin) * columns + c] == 1).collect();
            let batch = Batch {
                tokens: context.iter().map(|&c| token(c)).collect(),
                positions: [0, 1].map(|row: usize| context.iter().map(|&c| at(c)[row]).collect()),
                starts: vec![0, context.len() as u32],
                contexts: vec![context.len() as u32],
                examples: vec![0],
                ..Batch::default()
            };
            let (mut cache, _) = KvCache::prefill(&model, &batch, columns).unwrap();
            let (mut extension, mut wanted) = (Extension::new(), Vec::new());
            for choice in 0..choices {
                let mut path = Vec::new();
                for (&column, &answer) in indices(choice).iter().zip(&answers(choice)) {
                    let slot = extension.rows() as u32;
                    path.push(slot);
                    let column = column as usize;
                    extension.push(0, token(column), at(column), slot, &path);
                    wanted.push((choice, answer as u32));
                }
            }
            let normed = cache.extend(&model, &extension).unwrap();
            let asked: Vec<u32> = wanted.iter().map(|w| w.1).collect();
            let first: Vec<u32> = (0..=asked.len() as u32).collect();
            let log_probs = model.log_probs_at(normed.view(), &first, &asked).unwrap();
            let mut own = vec![0f32; choices];
            wanted.iter().zip(log_probs).for_each(|(&(choice, _), p)| own[choice] += p);
            let total: f64 = own.iter().map(|&x| f64::from(x).exp()).sum();
            loss += (total.ln() - f64::from(own[labels[s] as usize])) / samples as f64;
            sums.extend(own);
        }
        let worst = distance(&sums, &set.floats("choice.log_probs"));
        let golden = f64::from(set.floats("choice.loss")[0]);
        println!("{} choices: {worst:.1e}, loss {loss:.7}, golden {golden:.7}", set.name());
        assert!(
            worst <= 1e-5 && (loss - golden).abs() <= 1e-4,
            "{}: {worst:.1e} {loss}",
            set.name()
        );
    }
}

/// An output matrix of its own: the two halves of the tied gradient apart. A last bit of it is
/// turned, so that it counts as one.
#[test]
fn gradients_of_an_untied_output_matrix() {
    use engine::model::{Flat, Keep, HEAD};
    let mut met = 0;
    for set in sets() {
        let prefix = "full.grad_untied.";
        if !set.names().iter().any(|name| name.starts_with(prefix)) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(set.folder.join("model.safetensors")).unwrap();
        let at = {
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            file.tensor(HEAD).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize
        };
        bytes[at] ^= 1;
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let checkpoint = engine::model::Checkpoint::open(folder.path()).unwrap();
        let model =
            Model::load(&device(), set.config(None), checkpoint, Dtype::F32, &Tune::Full, 0)
                .unwrap();
        assert!(model.has_own_head());
        let rows = super::trained_batch(&set);
        let mut gradients = Flat::zeros(&model.device, model.layout()).unwrap();
        model
            .loss_and_gradients(&rows.batch, rows.targets(), None, Keep::All, &mut gradients)
            .unwrap();
        for slot in model.layout().slots() {
            let name = format!("{prefix}{}", slot.name);
            if set.has(&name) {
                let ours = model.device.download_f32(gradients.view(slot)).unwrap();
                let worst = distance(&ours, &set.floats(&name));
                println!("{} {name}: {worst:.1e}", set.name());
                assert!(worst <= 1e-3, "{} {name}: {worst:.1e}", set.name());
                met += 1;
            }
        }
        assert_eq!(met, set.names().iter().filter(|name| name.starts_with(prefix)).count());
    }
    assert!(
        met > 0 || std::env::var_os("ENGINE_GOLDEN").is_some(),
        "no set holds untied gradients"
    );
}

/// Rows of blank infilling by the original code, from the same text and spans, in GLM's own
/// numbering.
#[test]
fn rows_of_blank_infilling() {
    use engine::data::sample::{PartAEos, SampleOptions};
    use engine::data::span::{Level, Unit};
    use engine::data::{EncIntra, Intra, IntraMode, SampleBuilder, Special, Trie};
    for set in sets().iter().filter(|set| set.folder.join("blank_infilling.json").exists()) {
        let text = std::fs::read_to_string(set.folder.join("blank_infilling.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let id = |name: &str| golden["special_ids"][name].as_u64().unwrap() as u32;
        let special = Special {
            cls: id("cls"),
            mask: id("mask"),
            gmask: id("gmask"),
            smask: id("smask"),
            start: id("sop"),
            end: id("eop"),
            eos: id("eos"),
        };
        let last_position = set.config(None).max_positions as u32;
        let options = SampleOptions {
            part_a_eos: PartAEos::Never,
            enc_intra: EncIntra::Off,
            last_position,
            ..SampleOptions::default()
        };
        let pool = Trie::build(&[vec![0u32]], &[0]);
        let rows = SampleBuilder::new(special, Intra::new(pool, IntraMode::GLM), options);
        let cases = golden["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let numbers = |name: &str| -> Vec<u32> {
                case[name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
            };
            // The builder adds [CLS] itself.
            let text = numbers("text")[1..].to_vec();
            let spans: Vec<std::ops::Range<usize>> = case["spans_in_order_of_part_b"]
                .as_array()
                .unwrap()
                .iter()
                .map(|span| {
                    let end = |i: usize| span[i].as_u64().unwrap() as usize - 1;
                    end(0)..end(1)
                })
                .collect();
            // Neighbours that no span parts may be one unit; single tokens are always right.
            let units: Vec<Unit> =
                (0..text.len()).map(|i| Unit { start: i as u32, len: 1, entity: false }).collect();
            let level = match case["mask_token"].as_str().unwrap() {
                "mask" => Level::Entity,
                "smask" => Level::Sentence,
                _ => Level::Document,
            };
            let sample = rows.infilling(0, &text, &units, &spans, level).unwrap();
            assert_eq!(sample.tokens, numbers("tokens"));
            assert_eq!(sample.positions, [numbers("position_ids"), numbers("block_position_ids")]);
            assert_eq!(sample.context as u64, case["sep"].as_u64().unwrap());
            let (targets, kept) = (numbers("targets"), numbers("loss_mask"));
            let expected: Vec<Target> = (0..targets.len())
                .filter(|&i| kept[i] == 1)
                .map(|i| Target::of(i as u32, targets[i]))
                .collect();
            assert_eq!(sample.targets, expected);
        }
    }
}

/// The override of the folder: sets of other names, with weights stored in another dtype, one
/// family alone.
#[test]
fn another_folder_of_the_same_layout() {
    if std::env::var_os("ENGINE_GOLDEN").is_some() {
        eprintln!("skipped: another_folder_of_the_same_layout: this is the run on another folder");
        return;
    }
    for (number, set) in sets().iter().enumerate().filter(|(_, set)| set.name().ends_with("/b")) {
        let root = tempfile::tempdir().unwrap();
        let family = set.folder.parent().unwrap().file_name().unwrap();
        let folder = root.path().join(family).join(format!("seed-{number}"));
        copy(&set.folder, &folder);
        // b is stored in halves; widened, the numbers are the same.
        let bytes = std::fs::read(set.folder.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort();
        let mut checkpoint = engine::model::Checkpoint::open(&set.folder).unwrap();
        let stored: Vec<engine::model::Stored> =
            names.iter().filter_map(|name| checkpoint.take_any(name).ok()).collect();
        assert!(stored.iter().all(|tensor| tensor.dtype != Dtype::F32));
        let entries: Vec<engine::model::Entry> = stored
            .iter()
            .map(|tensor| engine::model::Entry {
                name: tensor.name.clone(),
                shape: Shape::from_dims(tensor.shape.dims()).unwrap(),
                dtype: Dtype::F32,
            })
            .collect();
        engine::model::write_safetensors(&folder.join("model.safetensors"), &entries, |i| {
            Ok(engine::model::encode(&stored[i].to_f32(), Dtype::F32))
        })
        .unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["golden::", "--nocapture", "--test-threads", "1"])
            .env("ENGINE_GOLDEN", root.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}: {said}{}",
            set.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            said.contains(&format!("seed-{number}: step logits"))
                || said.contains(&format!("seed-{number} greedy")),
            "{said}"
        );
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
