//! Texts written by models of both families.

use super::*;
use engine::data::sample::Prompt as Text;
use engine::decode::{greedy, recommend_each, write_each, Answer, Blanks, Request, Rules, Scoring};

fn blanks(rows: &SampleBuilder, text: &Text) -> Blanks {
    let (part_a, masks) = rows.part_a(0, text).unwrap();
    Blanks { part_a, masks }
}

fn write(model: &Model, request: Request) -> Vec<Vec<Answer>> {
    write_each(model, &[request]).unwrap().remove(0).unwrap()
}

#[track_caller]
fn agree(found: &[Answer], expected: &[Expected], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found.tokens, found.ended), (&expected.tokens, expected.ended), "{what}");
        let off = (found.score - expected.score).abs();
        assert!(off <= 1e-4, "{what}: {} {}", found.score, expected.score);
    }
}

/// The rule over whole passes without a cache, mask after mask.
#[test]
fn beams_are_the_rule_over_rows_of_training() {
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let mut rng = Philox::new(3, Stream::Synthetic, 0);
        for writing in writings() {
            let masks = 1 + rng.below(3);
            let text = text(&mut rng, masks);
            let limits = limits(&intra, 4);
            let blanks = blanks(&rows, &text);
            let request = Request { blanks: &blanks, limits, grammar: Grammar::Free, writing };
            let found = write(&model, request);
            assert_eq!(found.len(), text.masks.len());
            let mut before: Vec<&[u32]> = Vec::new();
            for answers in &found {
                let logits = |tokens: &[u32]| forced_after(&model, &rows, &text, &before, tokens);
                let expected = literal(logits, &Grammar::Free, &limits, &writing);
                agree(answers, &expected, &format!("{family} {writing:?}"));
                before.push(&answers[0].tokens);
            }
        }
    }
}

/// As many beams as there are texts: every text is tried, and scored as a row of training.
#[test]
fn a_wide_beam_tries_every_text_of_a_model() {
    let tokens = 3;
    let mut all: Vec<Vec<u32>> = vec![Vec::new()];
    let mut from = 0;
    while all[from].len() < tokens {
        all.extend((0..WORDS).map(|token| [&all[from][..], &[token]].concat()).collect::<Vec<_>>());
        from += 1;
    }
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let text = text(&mut Philox::new(4, Stream::Synthetic, 0), 1);
        let blanks = blanks(&rows, &text);
        let limits = limits(&intra, tokens);
        let behind: Vec<Vec<f32>> =
            all.iter().map(|before| forced_after(&model, &rows, &text, &[], before)).collect();
        let place = |text: &[u32]| all.iter().position(|other| other == text).unwrap();
        for (length_penalty, min_tokens, repetition_penalty) in
            [(0.0, 0, 1.0), (1.0, 2, 1.0), (0.5, 1, 1.6), (2.0, 3, 0.7)]
        {
            let writing = Writing {
                beams: 1500,
                returned: 1500,
                min_tokens,
                length_penalty,
                repetition_penalty,
                ..Writing::GREEDY
            };
            let request = Request { blanks: &blanks, limits, grammar: Grammar::Free, writing };
            let found = write(&model, request).remove(0);
            let brute: Vec<Expected> = all
                .iter()
                .filter(|text| text.len() >= min_tokens)
                .map(|text| {
                    let row = |length: usize| {
                        let logits = behind[place(&text[..length])].clone();
                        log_softmax(&changed(logits, &text[..length], &limits, &writing))
                    };
                    let sum: f64 =
                        (0..text.len()).map(|at| f64::from(row(at)[text[at] as usize])).sum();
                    let last = row(text.len());
                    let ends = SPECIALS.iter().map(|&token| last[token as usize]);
                    let sum = sum + f64::from(ends.fold(f32::NEG_INFINITY, f32::max));
                    let score = sum / (text.len() as f64 + 1.0).powf(length_penalty);
                    Expected { tokens: text.clone(), score, ended: true }
                })
                .collect();
            assert!(found.is_sorted_by(|a, b| a.score >= b.score));
            // In an order of their own, for scores of different passes differ by what is rounded.
            let mut found = found;
            found.sort_by_key(|answer| place(&answer.tokens));
            agree(&found, &brute, &format!("{family} alpha {length_penalty}"));
        }
    }
}

/// Numbers of answers to several masks against one pass over the row that training would make.
#[test]
fn written_answers_are_rows_of_training() {
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let mut rng = Philox::new(5, Stream::Synthetic, 0);
        let writing = Writing { beams: 5, returned: 5, min_tokens: 1, ..Writing::GREEDY };
        let mut worst = 0f32;
        for _ in 0..10 {
            let text = text(&mut rng, 3);
            let blanks = blanks(&rows, &text);
            let limits = limits(&intra, 6);
            let request = Request { blanks: &blanks, limits, grammar: Grammar::Free, writing };
            let found = write(&model, request);
            let best: Vec<&[u32]> = found.iter().map(|answers| &answers[0].tokens[..]).collect();
            let row = rows.answered(0, &text, &best).unwrap();
            let last = model.hidden(&Batch::of([&row]), |_, _| Ok(())).unwrap();
            let normed = model.finish(&last).unwrap();
            let mut at = row.context;
            for answers in &found {
                let answer = &answers[0];
                let end = at + 1 + answer.tokens.len();
                assert_eq!(row.positions[1][at + 1..end], answer.ids);
                let logits = model.logits(normed.view().row_range(at..end)).unwrap();
                let logits = model.device.download_f32(logits.view()).unwrap();
                for (place, &log_prob) in answer.log_probs.iter().enumerate() {
                    let before = &answer.tokens[..place];
                    let row = logits[12 * place..12 * (place + 1)].to_vec();
                    let row = log_softmax(&changed(row, before, &limits, &writing));
                    let expected = match answer.tokens.get(place) {
                        Some(&token) => row[token as usize],
                        None => SPECIALS.iter().fold(f32::MIN, |m, &t| m.max(row[t as usize])),
                    };
                    worst = worst.max((log_prob - expected).abs());
                }
                at = end;
            }
        }
        println!("{family}: log-probabilities off by {worst:.1e}");
        assert!(worst <= 1e-4, "{family}: {worst}");
    }
}

/// A trie's items by the general beam and by the search that knows tries: the same bits.
#[test]
fn items_are_those_of_the_search_over_the_trie() {
    let mut rng = Philox::new(6, Stream::Synthetic, 0);
    let titles: Vec<Vec<u32>> = (0..60)
        .map(|_| (0..1 + rng.below(5)).map(|_| rng.below(WORDS as usize) as u32).collect())
        .collect();
    let trie = Trie::build(&titles, &(0..60).collect::<Vec<u32>>());
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let text = text(&mut rng, 1);
        let (blanks, prompt) = (blanks(&rows, &text), rows.prompt(0, &text).unwrap());
        for (width, length_penalty) in [(1, 1.0), (3, 0.0), (7, 1.0), (200, 0.5)] {
            let rules = Rules {
                trie: &trie,
                scoring: Scoring::Full,
                exact: false,
                intra: &intra,
                end: SPECIAL.end,
                width,
                length_penalty,
                look_ahead: true,
            };
            let searched = recommend_each(&model, &[(rules, &prompt)]).unwrap().0.remove(0);
            let writing =
                Writing { beams: width, returned: width, length_penalty, ..Writing::GREEDY };
            let grammar = Grammar::Item(&trie);
            let request = Request { blanks: &blanks, limits: limits(&intra, 50), grammar, writing };
            let written = write(&model, request).remove(0);
            let searched = searched.unwrap();
            assert_eq!(written.len(), searched.len());
            for (written, searched) in written.iter().zip(&searched) {
                let (_, tokens) = searched.tokens.split_last().unwrap();
                assert_eq!(written.tokens, tokens);
                assert_eq!(written.ids, searched.ids);
                // [START] was fed by a prompt there and here by itself.
                assert!((written.score - searched.score).abs() <= 1e-5);
                assert_eq!(grammar.items(&written.tokens), Some(vec![searched.node]));
            }
        }
    }
}

/// A trie of all texts constrains nothing.
#[test]
fn a_trie_of_all_texts_is_no_constraint() {
    let mut all: Vec<Vec<u32>> = (0..WORDS).map(|token| vec![token]).collect();
    let mut from = 0;
    while all[from].len() < 3 {
        all.extend((0..WORDS).map(|token| [&all[from][..], &[token]].concat()).collect::<Vec<_>>());
        from += 1;
    }
    let trie = Trie::build(&all, &(0..all.len() as u32).collect::<Vec<_>>());
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let text = text(&mut Philox::new(7, Stream::Synthetic, 0), 2);
        let blanks = blanks(&rows(&intra), &text);
        // One end, so that none of the free beam's answers ends by another one.
        let limits = Limits { specials: &[], ..limits(&intra, 3) };
        let writing = Writing { beams: 16_000, returned: 16_000, min_tokens: 1, ..Writing::GREEDY };
        let request = Request { blanks: &blanks, limits, grammar: Grammar::Free, writing };
        let mut free = write(&model, request);
        for answers in &mut free {
            answers.retain(|answer| answer.tokens.iter().all(|&token| token < WORDS));
        }
        let constrained = write(&model, Request { grammar: Grammar::Item(&trie), ..request });
        // The first mask's; what stands behind it depends on which answer was the best.
        assert_eq!(free[0].len(), all.len());
        assert_eq!(free[0], constrained[0]);
    }
}

/// Lists end with an item, number every member anew, and are read as what was written.
#[test]
fn lists_are_items_with_separators_between_them() {
    let titles = [vec![0, 1], vec![2], vec![2, 3, 0], vec![3]];
    let trie = Trie::build(&titles, &[0, 1, 2, 3]);
    let grammar = Grammar::List { items: &trie, separator: &[4] };
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = Intra::new(trie.clone(), IntraMode::default());
        let rows = rows(&intra);
        let text = text(&mut Philox::new(8, Stream::Synthetic, 0), 1);
        let blanks = blanks(&rows, &text);
        let limits = limits(&intra, 12);
        let writing = Writing { beams: 6, returned: 6, min_tokens: 5, ..Writing::GREEDY };
        let found = write(&model, Request { blanks: &blanks, limits, grammar, writing }).remove(0);
        let logits = |tokens: &[u32]| forced_after(&model, &rows, &text, &[], tokens);
        agree(&found, &literal(logits, &grammar, &limits, &writing), family);
        assert!(found.iter().any(|answer| answer.ended));
        for answer in found.iter().filter(|answer| answer.ended) {
            let nodes = grammar.items(&answer.tokens).expect("a whole list");
            assert!(nodes.len() >= 2);
            let members = engine::data::text::list_tokens(&answer.tokens, &[4]);
            let read: Vec<Option<u32>> = members.iter().map(|member| trie.find(member)).collect();
            assert_eq!(read, nodes.into_iter().map(Some).collect::<Vec<_>>());
            // Every member behind the first begins at 1 again (R28).
            let first = members[0].len();
            assert_eq!(answer.ids[first + 1], 1);
        }
    }
}

/// Requests of every kind together, alone, and with another number of threads.
#[test]
fn a_batch_of_texts_is_its_members_bit_for_bit() {
    let titles = [vec![0, 1], vec![2], vec![2, 3, 0], vec![3]];
    let trie = Trie::build(&titles, &[0, 1, 2, 3]);
    let grammars = [
        Grammar::Free,
        Grammar::Item(&trie),
        Grammar::Free,
        Grammar::List { items: &trie, separator: &[4] },
    ];
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let single = tiny(family, &cpu(1), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let mut rng = Philox::new(9, Stream::Synthetic, 0);
        let texts: Vec<Blanks> =
            (0..16).map(|i| blanks(&rows, &text(&mut rng, 1 + i % 3))).collect();
        let writings = writings();
        let requests: Vec<Request> = texts
            .iter()
            .enumerate()
            .map(|(i, blanks)| Request {
                blanks,
                limits: limits(&intra, 4 + i % 4),
                grammar: grammars[i % 4],
                writing: writings[i % writings.len()],
            })
            .collect();
        let together = write_each(&model, &requests).unwrap();
        assert_eq!(write_each(&single, &requests).unwrap(), together);
        for size in [1, 3] {
            for (group, expected) in requests.chunks(size).zip(together.chunks(size)) {
                assert_eq!(write_each(&model, group).unwrap(), expected, "{family}");
            }
        }
        // Greedy is a beam of one.
        let texts: Vec<&Blanks> = texts.iter().collect();
        let greedy = greedy(&model, &texts, limits(&intra, 6)).unwrap();
        for (blanks, answers) in texts.iter().zip(greedy) {
            let (grammar, writing) = (Grammar::Free, Writing::GREEDY);
            let found =
                write(&model, Request { blanks, limits: limits(&intra, 6), grammar, writing });
            assert_eq!(found.concat(), answers);
        }
    }
}

/// The kernels give the answers of the CPU, changed logits and all.
#[test]
fn the_cuda_backend_writes_the_same_texts() {
    if !kernels::EMULATED {
        println!("skipped: no emulator in this build");
        return;
    }
    let intra = intra();
    let rows = rows(&intra);
    let blanks = blanks(&rows, &text(&mut Philox::new(10, Stream::Synthetic, 0), 2));
    let writing = Writing {
        beams: 4,
        groups: 2,
        returned: 3,
        diversity: 0.5,
        min_tokens: 2,
        repetition_penalty: 1.4,
        ..Writing::GREEDY
    };
    let request =
        Request { blanks: &blanks, limits: limits(&intra, 3), grammar: Grammar::Free, writing };
    let host = write(&tiny("glm", &cpu(2), Damage::None), request);
    let device = Device::open("emu", 1).unwrap();
    let emulated = write(&tiny("glm", &device, Damage::None), request);
    for (host, emulated) in host.iter().flatten().zip(emulated.iter().flatten()) {
        assert_eq!((&host.tokens, &host.ids), (&emulated.tokens, &emulated.ids));
        assert!((host.score - emulated.score).abs() <= 1e-4);
    }
}

#[test]
fn damaged_weights_write_nothing() {
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::FinalNorm);
        let intra = intra();
        let rows = rows(&intra);
        let blanks = blanks(&rows, &text(&mut Philox::new(11, Stream::Synthetic, 0), 2));
        let trie = Trie::build(&[vec![0, 1], vec![2]], &[0, 1]);
        for grammar in [Grammar::Free, Grammar::Item(&trie)] {
            for writing in writings() {
                let request =
                    Request { blanks: &blanks, limits: limits(&intra, 4), grammar, writing };
                assert!(write_each(&model, &[request]).unwrap().remove(0).is_err());
            }
        }
        let error = greedy(&model, &[&blanks], limits(&intra, 4)).unwrap_err();
        assert_eq!(engine::base::Fault::of(&error), Some(engine::base::Fault::Model));
    }
}

#[test]
fn settings_and_tokens_that_cannot_be_are_refused() {
    let model = tiny("glm", &cpu(1), Damage::None);
    let intra = intra();
    let blanks = blanks(&rows(&intra), &text(&mut Philox::new(12, Stream::Synthetic, 0), 1));
    let writing = Writing { min_tokens: 5, ..Writing::GREEDY };
    let request =
        Request { blanks: &blanks, limits: limits(&intra, 4), grammar: Grammar::Free, writing };
    let error = write_each(&model, &[request]).unwrap_err();
    assert_eq!(engine::base::Fault::of(&error), Some(engine::base::Fault::Usage));
    // A special token that the model has no row for must not be another row's.
    let writing = Writing { min_tokens: 1, ..Writing::GREEDY };
    let limits = Limits { specials: &[12], ..limits(&intra, 4) };
    let error = write_each(&model, &[Request { limits, writing, ..request }]).unwrap_err();
    assert_eq!(engine::base::Fault::of(&error), Some(engine::base::Fault::Data));
    assert!(write_each(&model, &[]).unwrap().is_empty());
}
