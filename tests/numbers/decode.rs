//! Laws of decoding on a tiny model: cached = teacher-forced, wide beam = brute force, batch of N =
//! N batches of 1.

use engine::base::{Dtype, Philox, Shape, Stream};
use engine::data::sample::SampleOptions;
use engine::data::text::Piece;
use engine::data::{Batch, Intra, IntraMode, Sample, SampleBuilder, Special, Trie};
use engine::decode::{
    greedy, recommend, score_all, Blanks, Finished, Limits, Rules, Scoring, Search,
};
use engine::device::Device;
use engine::model::{Checkpoint, Config, Likely, Model, Tune};
use std::path::Path;

const END: u32 = 502;
const TEMPERATURE: f32 = 0.7;
const SPECIAL: Special =
    Special { cls: 503, mask: 504, gmask: 507, smask: 508, start: 501, end: END, eos: 500 };

fn model() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glm-tiny/a");
    let config = Config::read(&folder.join("config.json")).unwrap();
    let device = Device::open("cpu", 2).unwrap();
    Model::load(&device, config, Checkpoint::open(&folder).unwrap(), Dtype::F32, &Tune::Nothing, 0)
        .unwrap()
}

/// Titles with duplicates, prefixes of one another and single tokens; the value is the item.
fn catalogue(rng: &mut Philox, items: usize, alphabet: usize) -> Vec<Vec<u32>> {
    let mut titles: Vec<Vec<u32>> =
        vec![vec![7], vec![7, 8], vec![7, 8, 9, 10], vec![7, 8, 9, 10, 11, 12], vec![7, 8]];
    while titles.len() < items {
        let length = 1 + rng.below(6);
        titles.push((0..length).map(|_| rng.below(alphabet) as u32).collect());
    }
    titles
}

fn prompts(
    rows: &SampleBuilder,
    titles: &[Vec<u32>],
    count: usize,
    rng: &mut Philox,
) -> Vec<Sample> {
    (0..count)
        .map(|i| {
            let mut text = engine::data::sample::Prompt::default();
            for _ in 0..1 + rng.below(5) {
                let title = &titles[rng.below(titles.len())];
                // Every other prompt's answer begins with the history.
                if i % 2 == 0 {
                    text.push(Piece::entity(title));
                    text.push(Piece::plain(&[44]));
                } else {
                    text.begun.tokens.extend(title.iter().chain(&[44]));
                }
            }
            text.push_mask(SPECIAL.mask);
            rows.prompt(i as u64, &text).unwrap()
        })
        .collect()
}

struct World {
    titles: Vec<Vec<u32>>,
    trie: Trie<'static>,
    intra: Intra<'static>,
}

impl World {
    fn new(items: usize, alphabet: usize, seed: u64) -> World {
        let titles = catalogue(&mut Philox::new(seed, Stream::Synthetic, 0), items, alphabet);
        let values: Vec<u32> = (0..titles.len() as u32).collect();
        let trie = Trie::build(&titles, &values);
        let intra = Intra::new(trie.clone(), IntraMode::default());
        World { titles, trie, intra }
    }

    fn rows(&self) -> SampleBuilder<'_> {
        let options = SampleOptions { last_position: 128, ..SampleOptions::default() };
        SampleBuilder::new(SPECIAL, self.intra.clone(), options)
    }

    fn search(&self, width: usize, length_penalty: f64, look_ahead: bool) -> Rules<'_> {
        Rules {
            trie: &self.trie,
            scoring: Scoring::Full,
            exact: false,
            intra: &self.intra,
            end: END,
            width,
            length_penalty,
            look_ahead,
        }
    }

    /// The same over what the catalogue lets follow.
    fn legal(&self, width: usize, length_penalty: f64) -> Rules<'_> {
        let scoring = Scoring::Legal { catalogue: &self.trie, temperature: TEMPERATURE };
        Rules { scoring, ..self.search(width, length_penalty, true) }
    }
}

/// The ids of an answer behind what a prompt begins it with.
fn ids_behind(intra: &Intra, prompt: &Sample, tokens: &[u32]) -> Vec<u32> {
    let whole = [prompt.begun(), tokens].concat();
    intra.ids(&whole).skip(prompt.begun).collect()
}

/// Teacher-forced log-probabilities of an answer and its [END].
fn forced(model: &Model, rows: &SampleBuilder, prompt: &Sample, tokens: &[u32]) -> Vec<f32> {
    let mut sample = prompt.clone();
    let from = sample.tokens.len() - 1;
    for (&token, id) in tokens.iter().zip(ids_behind(rows.intra(), prompt, tokens)) {
        sample.tokens.push(token);
        sample.positions[0].push(prompt.mask_inter());
        sample.positions[1].push(id);
    }
    let last = model.hidden(&Batch::of([&sample]), |_, _| Ok(())).unwrap();
    let normed = model.finish(&last).unwrap();
    let logits = normed.view().row_range(from..sample.tokens.len());
    let wanted: Vec<u32> = tokens.iter().copied().chain([END]).collect();
    let first: Vec<u32> = (0..=wanted.len() as u32).collect();
    model.log_probs_at(logits, &first, &wanted).unwrap()
}

#[test]
fn a_beam_as_wide_as_the_catalogue_is_brute_force() {
    let model = model();
    let world = World::new(60, 30, 1);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 3, &mut Philox::new(2, Stream::Synthetic, 1));
    for length_penalty in [0.0, 1.0] {
        let (found, _) =
            recommend(&model, world.search(world.trie.nodes(), length_penalty, true), &prompts)
                .unwrap();
        for (prompt, found) in prompts.iter().zip(&found) {
            let mut distinct = world.titles.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(found.len(), distinct.len(), "every sequence is found once");
            let mut brute: Vec<(f64, Vec<u32>)> = distinct
                .iter()
                .map(|title| {
                    let log_probs = forced(&model, &rows, prompt, title);
                    let sum: f64 = log_probs.iter().map(|&p| f64::from(p)).sum();
                    (sum / (log_probs.len() as f64).powf(length_penalty), title.clone())
                })
                .collect();
            brute.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (f, b) in found.iter().zip(&brute) {
                assert!((f.score - b.0).abs() <= 1e-4, "{} {}", f.score, b.0);
                assert_eq!(f.tokens[..f.tokens.len() - 1], b.1);
                // Items that share a title share a leaf, in the order in which they were given.
                let items: Vec<u32> = (0..world.titles.len() as u32)
                    .filter(|&i| world.titles[i as usize] == b.1)
                    .collect();
                assert_eq!(world.trie.members(f.node), items);
            }
        }
    }
}

#[test]
fn cached_decoding_is_a_teacher_forced_pass() {
    let model = model();
    let world = World::new(200, 40, 3);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 5, &mut Philox::new(4, Stream::Synthetic, 1));
    let (found, cost) = recommend(&model, world.search(10, 1.0, true), &prompts).unwrap();
    assert!(cost.passes > 0);
    let mut worst = 0f32;
    for (prompt, found) in prompts.iter().zip(&found) {
        assert_eq!(found.len(), 10);
        for item in found {
            let tokens = &item.tokens[..item.tokens.len() - 1];
            assert_eq!(
                item.ids,
                ids_behind(rows.intra(), prompt, tokens),
                "training's ids are decoding's"
            );
            for (a, b) in item.log_probs.iter().zip(forced(&model, &rows, prompt, tokens)) {
                worst = worst.max((a - b).abs());
            }
        }
    }
    println!("worst difference of a log-probability: {worst:.1e}");
    assert!(worst <= 1e-4);
}

#[test]
fn a_batch_of_n_is_n_batches_of_one_bit_for_bit() {
    let model = model();
    let world = World::new(300, 40, 5);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 9, &mut Philox::new(6, Stream::Synthetic, 1));
    let rules = world.search(8, 1.0, true);
    let (together, _) = recommend(&model, rules, &prompts).unwrap();
    for (prompt, expected) in prompts.iter().zip(&together) {
        let (alone, _) = recommend(&model, rules, std::slice::from_ref(prompt)).unwrap();
        assert_eq!(&alone[0], expected);
    }
    // Nor does the order of evaluation matter.
    let (stepwise, _) = recommend(&model, world.search(8, 1.0, false), &prompts).unwrap();
    assert_eq!(stepwise, together);
}

#[test]
fn scoring_all_is_a_beam_as_wide_as_the_catalogue_bit_for_bit() {
    let model = model();
    // More rows than one pass takes, and requests that share passes.
    let (large, small) = (World::new(900, 40, 7), World::new(12, 9, 8));
    let rows = large.rows();
    let prompts = prompts(&rows, &large.titles, 3, &mut Philox::new(8, Stream::Synthetic, 1));
    for length_penalty in [0.0, 1.0] {
        let rules = [&small, &large, &small].map(|world| Rules {
            intra: &large.intra,
            ..world.search(world.trie.nodes(), length_penalty, true)
        });
        let asked: Vec<(Rules, &Sample)> = rules.into_iter().zip(&prompts).collect();
        let scored = score_all(&model, &asked).unwrap();
        for (&(rules, prompt), scored) in asked.iter().zip(&scored) {
            let (beamed, _) = recommend(&model, rules, std::slice::from_ref(prompt)).unwrap();
            assert_eq!(*scored, beamed[0]);
        }
        // Only the best are kept, and they are the same ones.
        let fewer: Vec<(Rules, &Sample)> =
            asked.iter().map(|&(rules, prompt)| (Rules { width: 5, ..rules }, prompt)).collect();
        for (fewer, all) in score_all(&model, &fewer).unwrap().iter().zip(&scored) {
            assert_eq!(fewer, &all[..5]);
        }
    }
}

/// Teacher-forced log-probabilities of an answer and its [END] among what the catalogue lets
/// follow, from all logits.
fn forced_legal(model: &Model, world: &World, prompt: &Sample, tokens: &[u32]) -> Vec<f64> {
    let mut sample = prompt.clone();
    let from = sample.tokens.len() - 1;
    for (&token, id) in tokens.iter().zip(ids_behind(&world.intra, prompt, tokens)) {
        sample.tokens.push(token);
        sample.positions[0].push(prompt.mask_inter());
        sample.positions[1].push(id);
    }
    let last = model.hidden(&Batch::of([&sample]), |_, _| Ok(())).unwrap();
    let normed = model.finish(&last).unwrap();
    let mut node = Trie::ROOT;
    let mut log_probs = Vec::new();
    for (at, &token) in tokens.iter().chain(&[END]).enumerate() {
        let logits = model.logits(normed.view().row_range(from + at..from + at + 1)).unwrap();
        let logits = model.device.download_f32(logits.view()).unwrap();
        let mut legal: Vec<u32> = world.trie.edges(node).to_vec();
        legal.extend(world.trie.is_terminal(node).then_some(END));
        let of = |token: u32| f64::from(logits[token as usize]) / f64::from(TEMPERATURE);
        let sum: f64 = legal.iter().map(|&token| of(token).exp()).sum();
        log_probs.push(of(token) - sum.ln());
        node = world.trie.child(node, token).unwrap_or(node);
    }
    log_probs
}

#[test]
fn shares_of_the_catalogue_are_brute_force_and_sum_to_one() {
    let model = model();
    // The root of the larger one is a wide set.
    for (world, wide) in [(World::new(60, 30, 1), false), (World::new(700, 480, 2), true)] {
        assert_eq!(world.trie.children(Trie::ROOT).len() >= engine::data::Choices::WIDE, wide);
        let rows = world.rows();
        let prompts = prompts(&rows, &world.titles, 3, &mut Philox::new(2, Stream::Synthetic, 1));
        for length_penalty in [0.0, 1.0] {
            let rules = world.legal(world.trie.nodes(), length_penalty);
            let (found, _) = recommend(&model, rules, &prompts).unwrap();
            for (prompt, found) in prompts.iter().zip(&found) {
                let mut all = 0.0;
                for one in found.iter() {
                    let tokens = &one.tokens[..one.tokens.len() - 1];
                    let expected = forced_legal(&model, &world, prompt, tokens);
                    for (got, expected) in one.log_probs.iter().zip(&expected) {
                        assert!((f64::from(*got) - expected).abs() < 1e-4, "{got} {expected}");
                    }
                    let same = world.trie.members(one.node).len() as f64;
                    let share = expected.iter().sum::<f64>() - same.ln();
                    let score = share / (one.tokens.len() as f64).powf(length_penalty);
                    assert!((one.score - score).abs() < 1e-4, "{} {score}", one.score);
                    all += same * share.exp();
                }
                assert!((all - 1.0).abs() < 1e-4, "{all}");
            }
            let asked: Vec<(Rules, &Sample)> = prompts.iter().map(|p| (rules, p)).collect();
            assert_eq!(score_all(&model, &asked).unwrap(), found);
        }
    }
}

#[test]
fn shares_do_not_depend_on_who_asks_or_on_what_may_be_written() {
    let model = model();
    let world = World::new(500, 480, 5);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 9, &mut Philox::new(6, Stream::Synthetic, 1));
    let rules = world.legal(8, 0.0);
    let (together, cost) = recommend(&model, rules, &prompts).unwrap();
    for (prompt, expected) in prompts.iter().zip(&together) {
        let (alone, _) = recommend(&model, rules, std::slice::from_ref(prompt)).unwrap();
        assert_eq!(&alone[0], expected);
    }
    // What is certain is not evaluated: fewer rows than over the whole vocabulary.
    let (_, full) = recommend(&model, world.search(8, 0.0, true), &prompts).unwrap();
    assert!(cost.rows < full.rows, "{cost:?} {full:?}");
    // Some of the items alone: each has the share that it has among all.
    let all: Vec<(Rules, &Sample)> =
        prompts.iter().map(|p| (world.legal(world.trie.nodes(), 0.0), p)).collect();
    let all = score_all(&model, &all).unwrap();
    let few: Vec<u32> = (0..world.titles.len() as u32).step_by(7).collect();
    let titles: Vec<&Vec<u32>> = few.iter().map(|&item| &world.titles[item as usize]).collect();
    let trie = Trie::build(&titles, &few);
    let within = Rules { trie: &trie, ..world.legal(trie.nodes(), 0.0) };
    let asked: Vec<(Rules, &Sample)> = prompts.iter().map(|p| (within, p)).collect();
    let scored = score_all(&model, &asked).unwrap();
    let (beamed, _) = recommend(&model, within, &prompts).unwrap();
    assert_eq!(scored, beamed);
    for (scored, all) in scored.iter().zip(&all) {
        let expected: Vec<(&[u32], f64)> = all
            .iter()
            .filter(|one| {
                trie.find(&one.tokens[..one.tokens.len() - 1]).is_some_and(|n| trie.is_terminal(n))
            })
            .map(|one| (&one.tokens[..], one.score))
            .collect();
        let got: Vec<(&[u32], f64)> =
            scored.iter().map(|one| (&one.tokens[..], one.score)).collect();
        assert_eq!(got, expected);
    }
}

/// Where few tokens decide, no logits of the whole vocabulary are made.
#[test]
fn logits_of_few_are_all_that_is_made() {
    let model = model();
    let (rows, hidden, words) = (400, model.config.hidden, model.config.vocabulary);
    let values: Vec<f32> = (0..rows * hidden).map(|i| (i % 7) as f32 - 3.0).collect();
    let y = model.device.upload_f32(&values, Shape::matrix(rows, hidden), Dtype::F32).unwrap();
    let first: Vec<u32> = (0..=rows as u32).map(|row| 3 * row).collect();
    let ids: Vec<u32> = (0..rows as u32).flat_map(|row| [row % 5, 7 + row % 3, 20]).collect();
    let most = |work: &dyn Fn()| {
        let before = model.device.memory().now;
        model.device.reset_peak();
        work();
        model.device.memory().peak - before
    };
    let few = most(&|| drop(model.log_probs_among(y.view(), &first, &ids, 1.0, None).unwrap()));
    let whole = most(&|| drop(model.log_probs_at(y.view(), &first, &ids).unwrap()));
    assert!(whole >= 4 * rows * words, "{whole}");
    assert!(few < whole / 4, "{few} bytes of {whole}");
}

/// A search that is told the best of what may follow, and one that is told all of it, since the
/// shares are those of another trie, which happens to hold the same.
#[test]
fn what_a_search_can_need_is_all_that_it_is_told() {
    let model = model();
    let world = World::new(700, 480, 11);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 5, &mut Philox::new(4, Stream::Synthetic, 0));
    let same = world.trie.clone();
    let roots = world.trie.children(Trie::ROOT).len();
    for (width, length_penalty) in [(1, 0.0), (7, 1.0), (20, 0.0)] {
        let told_best = world.legal(width, length_penalty);
        assert!(2 * width < roots, "{roots} words begin an item");
        let scoring = Scoring::Legal { catalogue: &same, temperature: TEMPERATURE };
        let told_all = Rules { scoring, ..told_best };
        let needed = |rules| Search::new(rules, &[]).needed();
        assert_eq!((needed(told_best), needed(told_all)), (Some(width), None));
        let found = |rules| recommend(&model, rules, &prompts).unwrap();
        assert_eq!(found(told_best), found(told_all), "of {width} beams");
    }
}

/// The best K items one by one, each with its score, equal ones in the order of their titles.
fn items_of(trie: &Trie, found: &[Finished], count: usize) -> Vec<(u32, f64)> {
    let of = |one: &Finished| {
        let score = one.score;
        trie.members(one.node).iter().map(move |&item| (item, score)).collect::<Vec<_>>()
    };
    found.iter().flat_map(of).take(count).collect()
}

#[test]
fn an_exact_search_is_brute_force_however_few_are_wanted() {
    let model = model();
    let world = World::new(700, 480, 9);
    let rows = world.rows();
    let prompts = prompts(&rows, &world.titles, 4, &mut Philox::new(3, Stream::Synthetic, 1));
    for rules in [world.legal(1, 0.0), world.search(1, 0.0, true)] {
        let all = Rules { width: world.trie.nodes(), ..rules };
        let asked: Vec<(Rules, &Sample)> = prompts.iter().map(|p| (all, p)).collect();
        let all = score_all(&model, &asked).unwrap();
        let mut missed = 0;
        for count in [1, 3, 10, 60] {
            let exact = Rules { exact: true, width: count, ..rules };
            let (found, cost) = recommend(&model, exact, &prompts).unwrap();
            let (beamed, _) = recommend(&model, Rules { width: count, ..rules }, &prompts).unwrap();
            for ((found, beamed), all) in found.iter().zip(&beamed).zip(&all) {
                let expected = items_of(&world.trie, all, count);
                assert_eq!(items_of(&world.trie, found, count), expected);
                missed += usize::from(items_of(&world.trie, beamed, count) != expected);
            }
            // What cannot be among the best is not looked at; of a model that knows nothing that is
            // little where many are wanted.
            let all = prompts.len() * world.trie.nodes();
            let most = if count > 3 { all } else { all * 3 / 5 };
            assert!(cost.rows < most, "{count}: {cost:?} of {all}");
        }
        // A beam of so few is not always right, or this would prove nothing.
        assert!(missed > 0);
    }
}

/// Greedy answers by whole teacher-forced passes: no cache, one row of training after another.
fn greedy_literally(
    model: &Model,
    rows: &SampleBuilder,
    prompt: &engine::data::sample::Prompt,
    limit: usize,
    specials: &[u32],
) -> Vec<Vec<u32>> {
    let mut answers: Vec<Vec<u32>> = Vec::new();
    for _ in &prompt.masks {
        let before: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
        let mut sample = rows.prompt_after(0, prompt, &before).unwrap();
        let mut answer = Vec::new();
        let mask = sample.mask_inter();
        let next = |sample: &Sample| {
            let last = model.hidden(&Batch::of([sample]), |_, _| Ok(())).unwrap();
            let normed = model.finish(&last).unwrap();
            let end = sample.tokens.len();
            let logits = model.logits(normed.view().row_range(end - 1..end)).unwrap();
            let logits = model.device.download_f32(logits.view()).unwrap();
            (0..logits.len() as u32)
                .rev()
                .max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]))
                .unwrap()
        };
        while answer.len() < limit {
            let token = next(&sample);
            if specials.contains(&token) {
                break;
            }
            answer.push(token);
            sample.tokens.push(token);
            sample.positions[0].push(mask);
            sample.positions[1].push(rows.intra().ids(&answer).last().unwrap());
        }
        answers.push(answer);
    }
    answers
}

#[test]
fn free_answers_are_rows_of_training_and_a_batch_is_its_members() {
    let model = model();
    let world = World::new(200, 300, 11);
    let rows = world.rows();
    let mut rng = Philox::new(12, Stream::Synthetic, 1);
    let specials: Vec<u32> = (500..509).collect();
    let limits = Limits {
        intra: rows.intra(),
        start: SPECIAL.start,
        end: END,
        specials: &specials,
        tokens: 7,
    };
    let texts: Vec<engine::data::sample::Prompt> = (0..6)
        .map(|text| {
            let mut prompt = engine::data::sample::Prompt::default();
            for _ in 0..1 + text % 3 {
                for _ in 0..1 + rng.below(4) {
                    prompt.push(Piece::entity(&world.titles[rng.below(world.titles.len())]));
                }
                prompt.push_mask([SPECIAL.mask, SPECIAL.gmask][rng.below(2)]);
            }
            prompt
        })
        .collect();
    let blanks: Vec<Blanks> = texts
        .iter()
        .map(|text| {
            let (part_a, masks) = rows.part_a(0, text).unwrap();
            assert_eq!(part_a.rows(), part_a.context);
            Blanks { part_a, masks }
        })
        .collect();
    let together = greedy(&model, &blanks.iter().collect::<Vec<_>>(), limits).unwrap();
    let mut full = 0;
    for ((text, blanks), answers) in texts.iter().zip(&blanks).zip(&together) {
        assert_eq!(greedy(&model, &[blanks], limits).unwrap()[0], *answers);
        let tokens: Vec<Vec<u32>> = answers.iter().map(|answer| answer.tokens.clone()).collect();
        assert_eq!(tokens, greedy_literally(&model, &rows, text, limits.tokens, &specials));
        for answer in answers {
            assert_eq!(answer.ids, rows.intra().ids(&answer.tokens).collect::<Vec<_>>());
        }
        full += answers[..answers.len() - 1].iter().filter(|answer| !answer.ended).count();
    }
    assert!(full > 0, "some answer reaches the limit with a mask behind it");
}

/// A random scorer: the log-probability of a token after a path is a hash of both; coarse, so that
/// ties are common.
fn random_log_prob(seed: u64, path: &[u32], token: u32) -> f32 {
    let key = path
        .iter()
        .chain([&token])
        .fold(seed, |h, &t| (h ^ u64::from(t)).wrapping_mul(0x100_0000_01b3).rotate_left(23));
    -((Philox::new(key, Stream::Synthetic, 0).below(12) + 1) as f32) / 4.0
}

/// The rule (docs/rules.md E12b), word for word, on paths.
fn literal(world: &World, width: usize, penalty: f64, seed: u64) -> Vec<(f64, Vec<u32>)> {
    let mut live: Vec<(f64, Vec<u32>)> = vec![(0.0, Vec::new())];
    let mut finished = Vec::new();
    while !live.is_empty() {
        let mut all: Vec<(f64, Vec<u32>)> = Vec::new();
        for (sum, path) in &live {
            let node = world.trie.find(path).unwrap();
            let mut tokens: Vec<u32> =
                world.trie.children(node).map(|c| world.trie.token(c)).collect();
            if world.trie.is_terminal(node) {
                tokens.push(END);
            }
            for token in tokens {
                let mut next = path.clone();
                next.push(token);
                all.push((sum + f64::from(random_log_prob(seed, path, token)), next));
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        all.truncate(width);
        live.clear();
        for (sum, path) in all {
            if path.last() == Some(&END) {
                finished.push((sum / (path.len() as f64).powf(penalty), path));
            } else {
                live.push((sum, path));
            }
        }
    }
    finished.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    finished.truncate(width);
    finished
}

fn run(search: &mut Search, world: &World, seed: u64) -> (Vec<Finished>, usize) {
    let mut paths: Vec<Vec<u32>> = vec![Vec::new()];
    let supply = |search: &mut Search, row: u32, path: &[u32]| {
        let mut tokens = Vec::new();
        search.extensions(row, &mut tokens);
        let values: Vec<f32> = tokens.iter().map(|&t| random_log_prob(seed, path, t)).collect();
        search.supply(row, Likely::all(&values, &[0, values.len() as u32]).remove(0));
    };
    supply(search, 0, &[]);
    let mut passes = 0;
    let mut wanted = Vec::new();
    loop {
        wanted.clear();
        search.advance(&mut wanted);
        if wanted.is_empty() {
            break;
        }
        passes += 1;
        paths.resize(search.rows(), Vec::new());
        for want in &wanted {
            let mut path = paths[want.parent as usize].clone();
            path.push(want.token);
            assert!(world.trie.find(&path).is_some(), "only legal tokens are run");
            paths[want.row as usize] = path.clone();
            supply(search, want.row, &path);
        }
    }
    (search.finish().unwrap(), passes)
}

#[test]
fn look_ahead_replays_the_rule_exactly() {
    let mut rng = Philox::new(9, Stream::Synthetic, 0);
    let (mut with, mut without) = (0, 0);
    for seed in 0..2000 {
        let world = World::new(5 + rng.below(60), 3 + rng.below(20), seed);
        let width = 1 + rng.below(12);
        let penalty = [0.0, 1.0, 0.5][rng.below(3)];
        let expected = literal(&world, width, penalty, seed);
        for look_ahead in [true, false] {
            let (found, passes) =
                run(&mut Search::new(world.search(width, penalty, look_ahead), &[]), &world, seed);
            let found: Vec<(f64, Vec<u32>)> =
                found.into_iter().map(|f| (f.score, f.tokens)).collect();
            assert_eq!(found, expected, "seed {seed} width {width} penalty {penalty}");
            *(if look_ahead { &mut with } else { &mut without }) += passes;
        }
    }
    println!("passes: {with} with look-ahead, {without} token by token");
    assert!(with < without);
}
