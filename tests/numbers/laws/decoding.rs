//! Decoding is training's forward, token by token: the same ids, the same numbers.

use super::{model, MODELS};
use engine::base::{Philox, Stream};
use engine::data::intra::{Ids, START_ID};
use engine::data::sample::{Prompt as Text, SampleOptions};
use engine::data::text::Piece;
use engine::data::{Batch, EncIntra, Intra, IntraMode, Sample, SampleBuilder, Special, Trie};
use engine::decode::{recommend, Rules, Scoring, Search};
use engine::model::{Extension, KvCache, Likely, Model, Tune};
use proptest::prelude::*;

/// Ids at the end of a tiny vocabulary.
fn special(vocabulary: u32) -> Special {
    let [cls, mask, gmask, smask, start, end, eos] = [1, 2, 3, 4, 5, 6, 7].map(|i| vocabulary - i);
    Special { cls, mask, gmask, smask, start, end, eos }
}

/// Log-probabilities of `answer` and its [END] in one pass over prompt and answer; the ids are the
/// trainer's.
fn forced(model: &Model, rows: &SampleBuilder, text: &Text, answer: &[u32]) -> Vec<f32> {
    let sample = rows.answered(0, text, &[answer]).unwrap();
    let from = sample.tokens.len() - answer.len() - 1;
    let last = model.hidden(&Batch::of([&sample]), |_, _| Ok(())).unwrap();
    let normed = model.finish(&last).unwrap();
    let asked: Vec<u32> = sample.targets.iter().map(|target| target.token).collect();
    let first: Vec<u32> = (0..=asked.len() as u32).collect();
    model.log_probs_at(normed.view().row_range(from..sample.tokens.len()), &first, &asked).unwrap()
}

/// Titles that occur twice, that begin others, of one token; and random ones.
fn titles(rng: &mut Philox, count: usize) -> Vec<Vec<u32>> {
    let mut titles: Vec<Vec<u32>> = vec![
        vec![7],
        vec![7, 8],
        vec![7, 8],
        vec![7, 8, 9, 10],
        vec![7, 8, 9, 10, 11, 12],
        vec![3],
        vec![3],
    ];
    while titles.len() < count {
        titles.push((0..1 + rng.below(6)).map(|_| rng.below(30) as u32).collect());
    }
    titles
}

fn text(rng: &mut Philox, titles: &[Vec<u32>], mask: u32) -> Text {
    let mut text = Text::default();
    for _ in 0..1 + rng.below(5) {
        text.push(Piece::entity(&titles[rng.below(titles.len())]));
        text.push(Piece::plain(&[44]));
    }
    text.push_mask(mask);
    text
}

#[test]
fn a_wide_beam_is_brute_force_in_both_families() {
    for name in MODELS {
        let model = model(name, &Tune::Nothing);
        let special = special(model.config.vocabulary as u32);
        let mut rng = Philox::new(11, Stream::Synthetic, 0);
        let titles = titles(&mut rng, 50);
        let trie = Trie::build(&titles, &(0..titles.len() as u32).collect::<Vec<_>>());
        let intra = Intra::new(trie.clone(), IntraMode::default());
        let options = SampleOptions { last_position: 128, ..SampleOptions::default() };
        let rows = SampleBuilder::new(special, intra.clone(), options);
        let texts: Vec<Text> = (0..3).map(|_| text(&mut rng, &titles, special.mask)).collect();
        let prompts: Vec<Sample> = texts.iter().map(|text| rows.prompt(0, text).unwrap()).collect();
        for length_penalty in [0.0, 1.0] {
            let width = trie.nodes();
            let rules = Rules {
                trie: &trie,
                scoring: Scoring::Full,
                exact: false,
                intra: &intra,
                end: special.end,
                width,
                length_penalty,
                look_ahead: true,
            };
            let (found, _) = recommend(&model, rules, &prompts).unwrap();
            let mut worst = 0f64;
            for (text, found) in texts.iter().zip(&found) {
                let mut distinct = titles.clone();
                distinct.sort();
                distinct.dedup();
                let mut brute: Vec<(f64, Vec<u32>)> = distinct
                    .into_iter()
                    .map(|title| {
                        let log_probs = forced(&model, &rows, text, &title);
                        let sum: f64 = log_probs.iter().map(|&p| f64::from(p)).sum();
                        (sum / (log_probs.len() as f64).powf(length_penalty), title)
                    })
                    .collect();
                brute.sort_by(|a, b| b.0.total_cmp(&a.0));
                assert_eq!(found.len(), brute.len(), "{name}: every title once");
                for (found, (score, title)) in found.iter().zip(&brute) {
                    assert_eq!(&found.tokens[..found.tokens.len() - 1], title, "{name}");
                    worst = worst.max((found.score - score).abs());
                    let sharing: Vec<u32> = (0..titles.len() as u32)
                        .filter(|&i| &titles[i as usize] == title)
                        .collect();
                    assert_eq!(trie.members(found.node), sharing, "{name}");
                }
            }
            println!("{name}: length penalty {length_penalty}: scores off by {worst:.1e}");
            assert!(worst <= 1e-4, "{name}: {worst:.1e}");
        }
    }
}

/// A continuation of a prompt: what was fed, with which ids, into which slots.
#[derive(Clone, Default)]
struct Row {
    request: usize,
    tokens: Vec<u32>,
    ids: Vec<u32>,
    path: Vec<u32>,
}

/// Continuations that fork anywhere, run in passes of any size, against one pass over each path.
#[test]
fn cached_rows_are_teacher_forced_rows_whatever_forks() {
    for name in ["glm-tiny/a", "glm-tiny/b", "chatglm-tiny/a", "chatglm-tiny/b"] {
        let model = model(name, &Tune::Nothing);
        let vocabulary = model.config.vocabulary;
        let mut rng = Philox::new(12, Stream::Synthetic, 0);
        // Prompts end with the row whose answer begins: part A and [START].
        let prompts: Vec<Sample> = [9, 1, 30]
            .into_iter()
            .map(|context| {
                let mut sample = Sample { context, ..Sample::default() };
                for i in 0..=context {
                    sample.tokens.push(rng.below(vocabulary) as u32);
                    sample.positions[0].push(i.min(context / 2) as u32);
                    sample.positions[1].push(u32::from(i == context));
                }
                sample
            })
            .collect();
        let (mut cache, ends) = KvCache::prefill(&model, &Batch::of(&prompts), 4).unwrap();
        let mut rows: Vec<Row> =
            (0..prompts.len()).map(|request| Row { request, ..Row::default() }).collect();
        let mut hidden = vec![model.device.download_f32(ends.view()).unwrap()];
        let mut used = 0;
        for _ in 0..8 {
            let mut extension = Extension::new();
            let fresh = rows.len();
            for _ in 0..1 + rng.below(9) {
                // A parent of an earlier pass or of this one.
                let Row { request, mut tokens, mut ids, mut path } =
                    rows[rng.below(rows.len())].clone();
                tokens.push(rng.below(vocabulary) as u32);
                ids.push(1 + rng.below(6) as u32);
                path.push(used);
                let mask = prompts[request].mask_inter();
                let position = [mask, ids[ids.len() - 1]];
                extension.push(request as u32, tokens[tokens.len() - 1], position, used, &path);
                used += 1;
                rows.push(Row { request, tokens, ids, path });
            }
            cache.reserve(&model, used as usize).unwrap();
            let normed = cache.extend(&model, &extension).unwrap();
            hidden.push(model.device.download_f32(normed.view()).unwrap());
            assert_eq!(extension.rows(), rows.len() - fresh);
        }
        let hidden = hidden.concat();
        let width = model.config.hidden;
        let mut worst = [0f32; 2];
        for (Row { request, tokens, ids, .. }, cached) in rows.iter().zip(hidden.chunks(width)) {
            let mut sample = prompts[*request].clone();
            let mask = sample.mask_inter();
            for (&token, &id) in tokens.iter().zip(ids) {
                sample.tokens.push(token);
                sample.positions[0].push(mask);
                sample.positions[1].push(id);
            }
            let last = model.hidden(&Batch::of([&sample]), |_, _| Ok(())).unwrap();
            let normed = model.finish(&last).unwrap();
            let end = sample.tokens.len();
            let all: Vec<u32> = (0..vocabulary as u32).collect();
            let forced_row = normed.view().row_range(end - 1..end);
            let forced = model.log_probs_at(forced_row, &[0, vocabulary as u32], &all).unwrap();
            let row = engine::base::Shape::matrix(1, width);
            let cached_row = model.device.upload_f32(cached, row, engine::Dtype::F32).unwrap();
            let got = model.log_probs_at(cached_row.view(), &[0, vocabulary as u32], &all).unwrap();
            let forced_row = model.device.download_f32(forced_row).unwrap();
            let scale = forced_row.iter().fold(0f32, |m, x| m.max(x.abs()));
            let apart =
                |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            worst[0] = worst[0].max(apart(cached, &forced_row) / scale);
            worst[1] = worst[1].max(apart(&got, &forced));
        }
        println!("{name}: hidden off by {:.1e}, log-probabilities by {:.1e}", worst[0], worst[1]);
        assert!(worst[0] <= 1e-5 && worst[1] <= 1e-4, "{name}: {worst:?}");
    }
}

fn pools() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..6, 1..6), 1..14)
}

fn modes() -> impl Strategy<Value = IntraMode> {
    (any::<bool>(), any::<bool>(), 1u32..3, any::<bool>()).prop_map(
        |(glm, rescan, restart, plain_grow)| IntraMode {
            ids: if glm { Ids::Glm } else { Ids::Entity },
            rescan,
            restart,
            plain_grow,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The ids with which a search feeds its beams, forked as its scores will have it, are the ids
    /// that the trainer's rows of the same answers have: whatever is in the pool, in every mode.
    #[test]
    fn the_trainers_ids_are_the_decoders(
        catalogue in pools(), pool in pools(), mode in modes(), width in 1usize..9,
        begun in prop::collection::vec(0u32..6, 0..7),
        seed in any::<u64>(), look_ahead in any::<bool>(),
    ) {
        let trie = Trie::build(&catalogue, &(0..catalogue.len() as u32).collect::<Vec<_>>());
        let intra = Intra::new(Trie::build(&pool, &vec![0; pool.len()]), mode);
        let special = special(100);
        let options = SampleOptions { enc_intra: EncIntra::One, ..SampleOptions::default() };
        let rows = SampleBuilder::new(special, intra.clone(), options);
        let rules = Rules {
            trie: &trie,
            scoring: Scoring::Full,
            exact: false,
            intra: &intra,
            end: special.end,
            width,
            length_penalty: 1.0,
            look_ahead,
        };
        let mut search = Search::new(rules, &begun);
        let mut rng = Philox::new(seed, Stream::Synthetic, 0);
        let mut fed: Vec<(Vec<u32>, Vec<u32>)> = vec![(Vec::new(), Vec::new())];
        let mut wanted = vec![];
        let mut fresh = vec![0];
        loop {
            for &row in &fresh {
                let mut tokens = Vec::new();
                search.extensions(row, &mut tokens);
                let scores: Vec<f32> = tokens.iter().map(|_| -(rng.below(20) as f32)).collect();
                search.supply(row, Likely::all(&scores, &[0, scores.len() as u32]).remove(0));
            }
            wanted.clear();
            search.advance(&mut wanted);
            if wanted.is_empty() {
                break;
            }
            fed.resize(search.rows(), (Vec::new(), Vec::new()));
            for want in &wanted {
                let (mut tokens, mut ids) = fed[want.parent as usize].clone();
                tokens.push(want.token);
                ids.push(want.id);
                fed[want.row as usize] = (tokens, ids);
            }
            fresh = wanted.iter().map(|want| want.row).collect();
        }
        let mut question = Text::default();
        question.push(Piece::plain(&[50, 51]));
        question.push_mask(special.mask);
        question.begun.tokens = begun;
        let check = |tokens: &[u32], ids: &[u32]| {
            let trained = rows.answered(0, &question, &[tokens]).unwrap();
            let from = trained.tokens.len() - tokens.len();
            prop_assert_eq!(&trained.positions[1][from..], ids);
            prop_assert_eq!(&trained.tokens[from..], tokens);
            let start = from - question.begun.tokens.len() - 1;
            prop_assert_eq!(trained.tokens[start], special.start);
            prop_assert_eq!(trained.positions[1][start], START_ID);
            // Fed back at the mask, as trained.
            let prompt = rows.prompt(0, &question).unwrap();
            let inter = &trained.positions[0][from - 1..];
            prop_assert!(inter.iter().all(|&at| at == prompt.mask_inter()));
            Ok(())
        };
        for (tokens, ids) in fed.iter().skip(1).filter(|(tokens, _)| !tokens.is_empty()) {
            check(tokens, ids)?;
        }
        let found = search.finish().unwrap();
        prop_assert!(!found.is_empty());
        for item in found {
            check(&item.tokens[..item.tokens.len() - 1], &item.ids)?;
        }
    }
}
