// A list of one span is meant where it stands.
#![allow(clippy::single_range_in_vec_init)]

use engine::base::{Fault, Philox, Stream};
use engine::data::intra::{EncIntra, Intra, IntraMode};
use engine::data::sample::{Begun, Cut, Numbered, PartAEos, Prompt, SampleBuilder, SampleOptions};
use engine::data::span::{
    cut, is_sentence_end, segment, Level, MaskUnits, Masking, SpanOrder, Unit,
};
use engine::data::{batch, Batch, Sample, Special, Target, Trie};
use proptest::prelude::*;
use serde_json::Value;

use super::golden;
use super::trie::pools;

pub const SPECIAL: Special =
    Special { eos: 1000, start: 1001, end: 1002, cls: 1003, mask: 1004, gmask: 1005, smask: 1006 };

fn name_special(name: &str) -> Option<u32> {
    Some(match name {
        "[CLS]" => SPECIAL.cls,
        "[MASK]" => SPECIAL.mask,
        "[gMASK]" => SPECIAL.gmask,
        "[START]" => SPECIAL.start,
        "[END]" => SPECIAL.end,
        _ => return None,
    })
}

/// Row q's view of all keys, from the two integers that are the whole mask (R19).
fn sees(sample: &Sample, q: usize) -> String {
    (0..sample.rows()).map(|k| if k < sample.context || k <= q { '1' } else { '0' }).collect()
}

#[test]
fn golden_samples() {
    let golden = golden::positions();
    for case in golden["samples"].as_array().unwrap() {
        let (name, expected) = (&case["name"], &case["expected"]);
        let mut names = golden::Names::new();
        let tokens = names.tokens(&case["tokens"]);
        let mut token =
            |t: &Value| t.as_str().map(|t| name_special(t).unwrap_or_else(|| names.token(t)));
        let triples = case["units"].as_array().unwrap().iter();
        let units: Vec<Unit> = triples
            .map(|u| {
                let start = u[0].as_u64().unwrap() as u32;
                Unit {
                    start,
                    len: u[1].as_u64().unwrap() as u32 - start,
                    entity: u[2].as_bool().unwrap(),
                }
            })
            .collect();
        let pairs = case["spans"].as_array().unwrap().iter();
        let spans: Vec<_> = pairs
            .map(|s| s[0].as_u64().unwrap() as usize..s[1].as_u64().unwrap() as usize)
            .collect();
        let entities: Vec<&[u32]> =
            units.iter().filter(|u| u.entity).map(|u| &tokens[u.range()]).collect();
        let pool = Trie::build(&entities, &vec![0; entities.len()]);
        let options = SampleOptions { part_a_eos: PartAEos::Never, ..Default::default() };
        let builder = SampleBuilder::new(SPECIAL, Intra::new(pool, IntraMode::default()), options);

        let input: Vec<u32> =
            expected["input"].as_array().unwrap().iter().map(|t| token(t).unwrap()).collect();
        let level = if input.contains(&SPECIAL.gmask) { Level::Document } else { Level::Entity };
        let sample = builder.infilling(7, &tokens, &units, &spans, level).unwrap();
        // Some cases are drawn without [CLS]: all else is the same (R21).
        let cls = usize::from(input[0] == SPECIAL.cls);
        let from = 1 - cls;
        assert_eq!(&sample.tokens[from..], input, "{name}: input");
        assert_eq!(
            &sample.positions[0][from..],
            golden::numbers(&expected["inter"]),
            "{name}: inter"
        );
        assert_eq!(
            &sample.positions[1][from..],
            golden::numbers(&expected["intra"]),
            "{name}: intra"
        );
        assert_eq!(
            (sample.context - from) as u64,
            expected["encoder_len"].as_u64().unwrap(),
            "{name}: context"
        );
        let mut targets = vec![None; sample.rows()];
        sample.targets.iter().for_each(|&Target { row, token, weight, .. }| {
            assert_eq!(weight, 1.0);
            targets[row as usize] = Some(token);
        });
        let wanted: Vec<_> =
            expected["target"].as_array().unwrap().iter().map(&mut token).collect();
        assert_eq!(&targets[from..], wanted, "{name}: target");
        let mask: Vec<u32> = targets[from..].iter().map(|t| u32::from(t.is_some())).collect();
        assert_eq!(mask, golden::numbers(&expected["loss_mask"]), "{name}: loss mask");
        for (q, row) in expected["attention"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                &sees(&sample, q + from)[from..],
                row.as_str().unwrap(),
                "{name}: attention of row {q}"
            );
        }
    }
}

/// x1…x7 of Figure 1 as 1…7, with its two entities.
fn figure_one(
    options: SampleOptions,
    mode: IntraMode,
) -> (SampleBuilder<'static>, Vec<u32>, Vec<Unit>) {
    let tokens: Vec<u32> = (1..=7).collect();
    let pool = Trie::build(&[vec![1, 2, 3], vec![6, 7]], &[0, 1]);
    let units = segment(Some(&pool), &tokens, &[]);
    (SampleBuilder::new(SPECIAL, Intra::new(pool, mode), options), tokens, units)
}

#[test]
fn figure_one_has_six_targets_and_ends_part_a_with_end_of_text() {
    let (builder, tokens, units) = figure_one(SampleOptions::default(), IntraMode::default());
    assert_eq!(
        units.iter().map(|u| (u.start, u.len, u.entity)).collect::<Vec<_>>(),
        [(0, 3, true), (3, 1, false), (4, 1, false), (5, 2, true)]
    );
    let sample = builder.infilling(0, &tokens, &units, &[0..3, 4..5], Level::Entity).unwrap();
    assert_eq!(
        sample.targets.iter().map(|t| t.token).collect::<Vec<_>>(),
        [1, 2, 3, SPECIAL.end, 5, SPECIAL.end]
    );
    assert_eq!(sample.context, 7);
    assert_eq!(sample.tokens[6], SPECIAL.eos);
    assert_eq!((sample.positions[0][6], sample.positions[1][6]), (6, 0));
    assert!(sample.cut.is_nothing());
    // [END] is never an input, [START] never a target (R18).
    assert!(!sample.tokens.contains(&SPECIAL.end));
    assert!(sample.targets.iter().all(|t| t.token != SPECIAL.start));
}

#[test]
fn flags_of_the_rows() {
    let span = [3..7];
    let intra_of = |options, mode, level| {
        let (builder, tokens, units) = figure_one(options, mode);
        builder.infilling(0, &tokens, &units, &span, level).unwrap()
    };
    let base = SampleOptions::default();
    let zero = SampleOptions { enc_intra: EncIntra::Zero, ..base };
    assert_eq!(intra_of(zero, IntraMode::default(), Level::Entity).positions[1][1..4], [0, 1, 2]);
    let off = SampleOptions { enc_intra: EncIntra::Off, ..base };
    let glm = intra_of(off, IntraMode::GLM, Level::Entity);
    assert_eq!(glm.positions[1], [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);

    let glm_eos = SampleOptions { part_a_eos: PartAEos::Glm, ..base };
    assert_eq!(intra_of(glm_eos, IntraMode::default(), Level::Document).context, 5);
    assert_eq!(intra_of(glm_eos, IntraMode::default(), Level::Sentence).context, 6);
    assert_eq!(intra_of(base, IntraMode::default(), Level::Sentence).tokens[4], SPECIAL.smask);

    // Ids above the tables are clamped and counted (R25).
    let short_table = SampleOptions { last_position: 3, ..base };
    let (builder, tokens, units) = figure_one(short_table, IntraMode::default());
    let sample = builder.infilling(0, &tokens, &units, &span, Level::Entity).unwrap();
    assert!(sample.positions.iter().flatten().all(|&id| id <= 3));
    // Inter: the mask and end-of-text of part A at 4 and 5, and five tokens of part B.
    assert_eq!(sample.cut, Cut { samples: 1, clamped: 7, ..Cut::default() });
}

#[test]
fn shuffled_spans_keep_their_own_masks() {
    let (builder, tokens, units) = figure_one(SampleOptions::default(), IntraMode::default());
    let sample = builder.infilling(0, &tokens, &units, &[4..5, 0..3], Level::Entity).unwrap();
    assert_eq!(sample.tokens[7..], [SPECIAL.start, 5, SPECIAL.start, 1, 2, 3]);
    assert_eq!(sample.positions[0][7..], [3, 3, 1, 1, 1, 1]);
}

#[test]
fn a_row_that_does_not_fit_is_the_datas_fault() {
    let (builder, tokens, units) =
        figure_one(SampleOptions { max_row: 12, ..Default::default() }, IntraMode::default());
    let error = builder.infilling(3, &tokens, &units, &[0..3, 4..5], Level::Entity).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Data));
    assert!(error.to_string().contains("example 3: expected at most 12 tokens, got 13"), "{error}");
    assert_eq!(builder.longest_prompt(4), 5);
}

#[test]
#[should_panic(expected = "cuts a unit")]
fn a_span_that_cuts_a_unit_is_our_fault() {
    let (builder, tokens, units) = figure_one(SampleOptions::default(), IntraMode::default());
    let _ = builder.infilling(0, &tokens, &units, &[1..4], Level::Entity);
}

#[test]
fn annotated_entities_win_and_matches_do_not_straddle_them() {
    let pool = Trie::build(&[vec![1, 2], vec![2, 3], vec![1, 2, 3, 4]], &[0, 1, 2]);
    let cut = |annotated: &[std::ops::Range<usize>], pool| -> Vec<(u32, u32, bool)> {
        segment(pool, &[1, 2, 3, 4, 1, 2, 3], annotated)
            .iter()
            .map(|u| (u.start, u.len, u.entity))
            .collect()
    };
    assert_eq!(cut(&[], Some(&pool)), [(0, 4, true), (4, 2, true), (6, 1, false)]);
    let second = 3..4;
    assert_eq!(
        cut(std::slice::from_ref(&second), Some(&pool)),
        [(0, 2, true), (2, 1, false), (3, 1, true), (4, 2, true), (6, 1, false)]
    );
    assert_eq!(cut(&[second], None).iter().filter(|u| u.2).count(), 1);
}

#[test]
fn levels_come_in_the_given_mix_and_one_sentence_is_never_a_level() {
    let units: Vec<Unit> = (0..40).map(|start| Unit { start, len: 1, entity: false }).collect();
    let masking = Masking::default();
    let mut seen = [0; 3];
    for index in 0..10_000 {
        seen[masking.draw(&units, |i| i % 8 == 7, 1, index).0 as usize] += 1;
        let (level, spans) = masking.draw(&units, |_| false, 1, index);
        assert_ne!(level, Level::Sentence);
        assert_eq!((level, spans), masking.draw(&units, |_| false, 1, index));
    }
    assert!((3800..4200).contains(&seen[0]) && (2800..3200).contains(&seen[1]), "{seen:?}");
    let only_sentences = Masking { mix: [0.0, 1.0, 0.0], ..masking };
    assert_eq!(only_sentences.draw(&units, |_| false, 1, 0).0, Level::Entity);
    assert!(Masking { mix: [0.0; 3], ..masking }.check().is_err());
    assert!(Masking { ratio: 1.5, ..masking }.check().is_err());
    masking.check().unwrap();
    assert!(is_sentence_end(".\"") && is_sentence_end("？") && !is_sentence_end(","));
}

#[test]
fn span_lengths_follow_the_poisson_distribution() {
    // A long text: nothing gets in the way of the drawn lengths.
    let units: Vec<Unit> = (0..900).map(|start| Unit { start, len: 1, entity: false }).collect();
    let masking = Masking { mix: [1.0, 0.0, 0.0], ratio: 0.05, ..Masking::default() };
    let (mut total, mut count) = (0.0, 0.0);
    for index in 0..2000 {
        for span in masking.draw(&units, |_| false, 5, index).1 {
            total += span.len() as f64;
            count += 1.0;
        }
    }
    // Mean of Poisson(3) conditioned on at least 1.
    let mean = 3.0 / (1.0 - (-3.0f64).exp());
    assert!((total / count - mean).abs() < 0.05, "{} instead of {mean}", total / count);
}

/// A text of twenty entities of three tokens, which a separate token parts from one another.
fn list() -> (Vec<u32>, Vec<Unit>) {
    let units = (0..20).flat_map(|i| {
        [
            Unit { start: 4 * i, len: 3, entity: true },
            Unit { start: 4 * i + 3, len: 1, entity: false },
        ]
    });
    ((0..80).map(|at| at % 4).collect(), units.collect())
}

#[test]
fn masks_over_tokens_cut_entities_and_the_usual_ones_never_do() {
    let (_, units) = list();
    let inside = |at: usize| at % 4 == 1 || at % 4 == 2;
    let (mut cuts, mut sentences) = (0, 0);
    for index in 0..500 {
        // What ends a sentence inside an entity ends one for masks over tokens alone.
        let ends = |at: usize| at % 4 == 1 || at % 4 == 3;
        let drawn = |units_of: MaskUnits| {
            Masking { units: units_of, ..Masking::default() }.draw(&units, ends, 1, index)
        };
        let (_, spans) = drawn(MaskUnits::Entity);
        assert!(spans.iter().all(|s| !inside(s.start) && !inside(s.end)), "{spans:?}");
        assert_eq!(cut(&units, &spans), units);
        let (level, spans) = drawn(MaskUnits::Token);
        cuts += usize::from(spans.iter().any(|s| inside(s.start) || inside(s.end)));
        sentences += usize::from(level == Level::Sentence && spans.iter().any(|s| inside(s.end)));
    }
    assert!(cuts > 250 && sentences > 50, "{cuts} {sentences}");
}

#[test]
fn what_a_mask_leaves_of_an_entity_is_none() {
    let (tokens, units) = list();
    // The end of the first entity and the one behind it; the third from its second token on.
    let spans = [2..7, 9..11];
    let units = cut(&units, &spans);
    let entities: Vec<u32> = units.iter().filter(|u| u.entity).map(|u| u.start).collect();
    assert_eq!(entities, [&[4][..], &(3..20).map(|i| 4 * i).collect::<Vec<_>>()].concat());
    let pool = Trie::build(&[[0, 1, 2]], &[0]);
    let builder = SampleBuilder::new(
        SPECIAL,
        Intra::new(pool, IntraMode::default()),
        SampleOptions { part_a_eos: PartAEos::Never, ..SampleOptions::default() },
    );
    let sample = builder.infilling(0, &tokens, &units, &spans, Level::Entity).unwrap();
    // [CLS], two tokens, mask, separator, one token, mask, separator, an entity.
    assert_eq!(sample.positions[1][..11], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    // Tokens 2, 3 and an entity; the automaton reads 1, 2 as separate tokens.
    assert_eq!(sample.positions[1][sample.context..], [1, 2, 1, 1, 2, 3, 1, 2, 1]);
}

#[test]
fn annotation_changes_the_ids_of_part_b_and_nothing_else() {
    let pool = Trie::build(&[vec![1], vec![1, 2]], &[0, 1]);
    let builder = SampleBuilder::new(
        SPECIAL,
        Intra::new(pool, IntraMode::default()),
        SampleOptions::default(),
    );
    // An entity of one token, and the plain word with which a longer one goes on.
    let tokens = [1, 2, 5, 6];
    let units = segment(None, &tokens, &[0..1]);
    let row = |annotated: bool| {
        let make = match annotated {
            true => SampleBuilder::infilling_as_annotated,
            false => SampleBuilder::infilling,
        };
        make(&builder, 3, &tokens, &units, &[0..2, 3..4], Level::Entity).unwrap()
    };
    let (annotated, usual) = (row(true), row(false));
    assert_eq!(annotated.positions[1][usual.context..], [1, 2, 1, 1, 2]);
    assert_eq!(usual.positions[1][usual.context..], [1, 2, 3, 1, 2]);
    let positions = [usual.positions[0].clone(), annotated.positions[1].clone()];
    assert_eq!(annotated, Sample { positions, ..usual });
}

/// An answer's own items are entities where the pool would read on; in prose the pool's longest
/// matches are, which a decoder cannot tell from half a title before they have ended.
#[test]
fn annotated_answers_have_the_ids_of_their_units() {
    let pool = Trie::build(&[vec![1], vec![1, 2, 3], vec![4, 1]], &[0, 1, 2]);
    let options = SampleOptions::default();
    let builder = SampleBuilder::new(SPECIAL, Intra::new(pool, IntraMode::default()), options);
    let mask = Unit { start: 0, len: 1, entity: false };
    let begun = Begun { tokens: vec![1, 2, 9], items: vec![(0, 0..1)] };
    let list = Prompt {
        tokens: vec![SPECIAL.mask],
        units: vec![mask],
        masks: vec![0],
        begun,
        ..Prompt::default()
    };
    let prose = Prompt { begun: Begun::default(), ..list.clone() };
    let ids = |prompt: &Prompt, answer: &[u32], by| {
        let row = builder.answered_as(3, prompt, &[answer], by).unwrap();
        let usual = builder.answered(3, prompt, &[answer]).unwrap();
        let ids = row.positions[1][row.context + 1..].to_vec();
        let positions = [usual.positions[0].clone(), row.positions[1].clone()];
        assert_eq!(row, Sample { positions, ..usual });
        ids
    };
    let (known, none) = (Numbered::Annotated(&[0..1]), Numbered::Annotated(&[]));
    // The item 1, the plain word 2, the separator 9, and the item 4 of which no pool knows.
    assert_eq!(ids(&list, &[4], known), [2, 1, 1, 1]);
    assert_eq!(ids(&list, &[4], Numbered::Automaton), [2, 3, 1, 1]);
    assert_eq!(ids(&prose, &[1, 2, 5], none), [2, 1, 1]);
    assert_eq!(ids(&prose, &[1, 2, 5], Numbered::Automaton), [2, 3, 1]);
    assert_eq!(ids(&prose, &[5, 1, 2, 3, 4, 1], none), [2, 1, 2, 3, 1, 2]);
    assert_eq!(ids(&prose, &[5, 1, 2, 3, 4, 1], Numbered::Automaton), [2, 1, 2, 3, 1, 2]);
}

/// Texts as units of random lengths, one-token units being separate tokens or one-token entities.
fn texts() -> impl Strategy<Value = (Vec<u32>, Vec<Unit>)> {
    prop::collection::vec(
        (prop_oneof![3 => Just(1u32), 2 => 2u32..9, 1 => 9u32..40], any::<bool>()),
        1..40,
    )
    .prop_map(|lengths| {
        let mut units = Vec::new();
        let mut start = 0;
        for (len, entity) in lengths {
            units.push(Unit { start, len, entity: entity || len > 1 });
            start += len;
        }
        ((0..start).map(|t| t % 7).collect(), units)
    })
}

fn maskings() -> impl Strategy<Value = Masking> {
    let order = prop_oneof![Just(SpanOrder::Chrono), Just(SpanOrder::Shuffle)];
    (prop_oneof![Just(0usize), Just(1), Just(2), Just(3)], order).prop_map(|(only, order)| {
        let mut mix = [0.4, 0.3, 0.3];
        if only < 3 {
            mix = [0.0; 3];
            mix[only] = 1.0;
        }
        Masking { mix, order, ..Masking::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn spans_are_whole_units_and_follow_their_level(
        (tokens, units) in texts(), masking in maskings(),
        seed in any::<u64>(), index in 0u64..1000,
    ) {
        let n = tokens.len();
        let ends = |i: usize| tokens[i] == 3;
        let (level, spans) = masking.draw(&units, ends, seed, index);
        prop_assert!(!spans.is_empty());
        let begins = |at: usize| units.iter().any(|u| u.range().start == at);
        let finishes = |at: usize| units.iter().any(|u| u.range().end == at);
        let whole = spans.iter().all(|s| !s.is_empty() && begins(s.start) && finishes(s.end));
        prop_assert!(whole, "{:?}", spans);
        let mut ordered = spans.clone();
        ordered.sort_by_key(|s| s.start);
        if masking.order == SpanOrder::Chrono {
            prop_assert_eq!(&ordered, &spans);
        }
        let masked: usize = spans.iter().map(|s| s.len()).sum();
        match level {
            Level::Entity => {
                let apart = ordered.windows(2).all(|w| w[0].end < w[1].start);
                prop_assert!(apart, "no gap: {:?}", ordered);
                // Without its last span (one of them is) the budget was not yet reached.
                let longest = spans.iter().map(|s| s.len()).max().unwrap();
                prop_assert!(masked - longest < n * 15 / 100 || spans.len() == 1);
            }
            Level::Sentence => {
                prop_assert!(ordered.windows(2).all(|w| w[0].end <= w[1].start));
                prop_assert!(masked as f64 >= 0.15 * n as f64);
                for span in &spans {
                    let last = units.iter().find(|u| u.range().end == span.end).unwrap();
                    prop_assert!(span.end == n || (!last.entity && ends(span.end - 1)));
                    let before = units.iter().find(|u| u.range().end == span.start);
                    prop_assert!(before.is_none_or(|u| !u.entity && ends(span.start - 1)));
                }
            }
            Level::Document => {
                prop_assert_eq!(spans.len(), 1);
                prop_assert!(2 * masked >= n);
            }
        }
        prop_assert!(n > masking.longest_text(1024) || n + 2 * spans.len() + 2 <= 1024);
    }

    /// Every masked token and one [END] a span is a target, exactly once; the row can be put
    /// together again; and part B has the automaton's ids at the place of its own mask.
    #[test]
    fn rows_lose_nothing(
        (tokens, units) in texts(), masking in maskings(), pool in pools(), index in 0u64..1000,
        over in prop::sample::select(MaskUnits::ALL),
    ) {
        let masking = Masking { units: over, ..masking };
        let (level, spans) = masking.draw(&units, |i| tokens[i] == 3, 9, index);
        let units = cut(&units, &spans);
        let pool = Trie::build(&pool, &vec![0; pool.len()]);
        let options = SampleOptions { max_row: 4096, last_position: 4096, ..Default::default() };
        let builder = SampleBuilder::new(SPECIAL, Intra::new(pool, IntraMode::default()), options);
        let sample = builder.infilling(index, &tokens, &units, &spans, level).unwrap();
        let masked: usize = spans.iter().map(|s| s.len()).sum();
        prop_assert_eq!(sample.targets.len(), masked + spans.len());
        prop_assert_eq!(sample.rows(), tokens.len() + 2 * spans.len() + 2);
        prop_assert!(sample.targets.windows(2).all(|w| w[0].row < w[1].row));
        prop_assert_eq!(sample.targets.len(), sample.rows() - sample.context);

        let mut at = sample.context;
        let mut fill = std::collections::BTreeMap::new();
        for span in &spans {
            let own = at..at + span.len() + 1;
            prop_assert_eq!(sample.tokens[at], SPECIAL.start);
            prop_assert_eq!(&sample.tokens[at + 1..own.end], &tokens[span.clone()]);
            let inter = sample.positions[0][at];
            prop_assert!(sample.positions[0][own.clone()].iter().all(|&p| p == inter));
            prop_assert_eq!(sample.tokens[inter as usize], builder.mask(level));
            prop_assert!(fill.insert(inter as usize, span.clone()).is_none());
            let ids: Vec<u32> = builder.intra().ids(&tokens[span.clone()]).collect();
            prop_assert_eq!(&sample.positions[1][at + 1..own.end], &ids[..]);
            at = own.end;
        }
        let mut whole = Vec::new();
        for row in 1..sample.context - 1 {
            prop_assert_eq!(sample.positions[0][row], row as u32);
            match fill.get(&row) {
                Some(span) => whole.extend_from_slice(&tokens[span.clone()]),
                None => whole.push(sample.tokens[row]),
            }
        }
        prop_assert_eq!(whole, tokens);
    }

    /// R34, R35: a prompt is its training row up to [START], for every mask, and what a decoder
    /// feeds back is what the training row holds.
    #[test]
    fn a_prompt_is_the_beginning_of_its_training_row(
        (tokens, units) in texts(), pool in pools(),
        answers in prop::collection::vec(prop::collection::vec(0u32..6, 1..8), 1..4),
        begun in prop::collection::vec(0u32..6, 0..9),
    ) {
        let mut prompt = Prompt { tokens, units, ..Prompt::default() };
        prompt.begun.tokens.clone_from(&begun);
        for _ in &answers {
            let at = prompt.tokens.len();
            prompt.tokens.extend([SPECIAL.mask, 5]);
            for start in [at, at + 1] {
                prompt.units.push(Unit { start: start as u32, len: 1, entity: false });
            }
            prompt.masks.push(at);
        }
        let pool = Trie::build(&pool, &vec![0; pool.len()]);
        let options = SampleOptions { max_row: 4096, last_position: 4096, ..Default::default() };
        let builder = SampleBuilder::new(SPECIAL, Intra::new(pool, IntraMode::default()), options);
        let answers: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
        let row = builder.answered(4, &prompt, &answers).unwrap();
        for filled in 0..answers.len() {
            let mut asked = builder.prompt_after(4, &prompt, &answers[..filled]).unwrap();
            prop_assert_eq!(asked.begun(), if filled == 0 { &begun[..] } else { &[] });
            let start = asked.tokens[asked.rows() - asked.begun - 1];
            prop_assert_eq!(start, SPECIAL.start);
            prop_assert_eq!(asked.mask_inter() as usize, prompt.masks[filled] + 1);
            let mut state = builder.intra().after(asked.begun());
            for &token in answers[filled] {
                let (next, id) = builder.intra().step(state, token);
                state = next;
                let inter = asked.mask_inter();
                asked.tokens.push(token);
                asked.positions[0].push(inter);
                asked.positions[1].push(id);
            }
            let rows = asked.rows();
            prop_assert_eq!(&asked.tokens[..], &row.tokens[..rows]);
            prop_assert_eq!(&asked.positions[0][..], &row.positions[0][..rows]);
            prop_assert_eq!(&asked.positions[1][..], &row.positions[1][..rows]);
            prop_assert_eq!(asked.context, row.context);
        }
    }

    /// Packing loses nothing and changes nothing within a sequence (R19).
    #[test]
    fn packed_samples_come_out_as_they_went_in(
        lengths in prop::collection::vec((1usize..30, 1usize..20), 1..60),
        budget in 50usize..200, seed in any::<u64>(),
    ) {
        let samples: Vec<Sample> = lengths.iter().enumerate().map(|(i, &(context, tail))| {
            let rows = context + tail;
            let ids = |k: usize| (0..rows).map(|r| (r * k + i) as u32).collect::<Vec<_>>();
            let targets =
                (context..rows).map(|r| Target {
                    weight: 0.5 + i as f32,
                    ..Target::of(r as u32, r as u32 + 1)
                }).collect();
            let positions = [ids(2), ids(3)];
            let cut = Cut { history: i as u64, ..Cut::default() }.counted();
            Sample {
                example: i as u64,
                tokens: ids(1),
                positions,
                context,
                targets,
                cut,
                ..Sample::default()
            }
        }).collect();
        let rows: Vec<usize> = samples.iter().map(Sample::rows).collect();
        let packs = batch::pack(&rows, budget, seed, 3).unwrap();
        prop_assert_eq!(&packs, &batch::pack(&rows, budget, seed, 3).unwrap());
        let mut seen = vec![0; samples.len()];
        let mut batch = Batch::default();
        for pack in &packs {
            batch.clear();
            pack.iter().for_each(|&i| batch.push(&samples[i]));
            prop_assert_eq!(&batch, &Batch::of(pack.iter().map(|&i| &samples[i])));
            let lost: u64 = pack.iter().map(|&i| samples[i].cut.history).sum();
            prop_assert_eq!(batch.cut.history, lost);
            prop_assert!(batch.rows() <= budget);
            prop_assert_eq!(batch.sequences(), pack.len());
            for (s, &i) in pack.iter().enumerate() {
                seen[i] += 1;
                let own = batch.starts[s] as usize..batch.starts[s + 1] as usize;
                let first = own.start as u32;
                let of = |t: usize| (first..own.end as u32).contains(&batch.target_rows[t]);
                let targets = (0..batch.target_rows.len()).filter(|&t| of(t)).map(|t| {
                    let (row, token) = (batch.target_rows[t] - first, batch.target_ids[t]);
                    Target { weight: batch.target_weights[t], ..Target::of(row, token) }
                }).collect();
                prop_assert_eq!(&samples[i], &Sample {
                    example: batch.examples[s],
                    tokens: batch.tokens[own.clone()].to_vec(),
                    positions: [0, 1].map(|k| batch.positions[k][own.clone()].to_vec()),
                    context: batch.contexts[s] as usize,
                    targets,
                    cut: samples[i].cut,
                    ..Sample::default()
                });
            }
        }
        prop_assert!(seen.iter().all(|&n| n == 1));
    }
}

/// Rows used of all rows paid for.
pub fn fill(lengths: &[usize], budget: usize, packs: &[Vec<usize>]) -> f64 {
    lengths.iter().sum::<usize>() as f64 / (packs.len() * budget) as f64
}

#[test]
fn packing_wastes_less_than_half_a_percent() {
    let mut rng = Philox::new(3, Stream::Synthetic, 0);
    // Histories of five to ten titles mostly, with a long tail, cut at the row limit.
    let lengths: Vec<usize> = (0..20_000)
        .map(|_| (20.0 + (4.6 + 0.6 * rng.normal()).exp()).min(1024.0) as usize)
        .collect();
    for budget in [1024, 2048, 4096, 16_384] {
        let packs = batch::pack(&lengths, budget, 0, 0).unwrap();
        let fill = fill(&lengths, budget, &packs);
        // With few packs the last one, which must hold what is left, weighs more than half a
        // percent.
        let fewest = lengths.iter().sum::<usize>().div_ceil(budget);
        assert!(
            fill >= 0.995 || packs.len() == fewest,
            "fill {fill} at a budget of {budget}, {} packs",
            packs.len()
        );
        assert_ne!(packs, batch::pack(&lengths, budget, 0, 1).unwrap(), "epochs differ");
    }
    assert!(batch::pack(&[], 10, 0, 0).unwrap().is_empty());
    // Lengths that cannot be packed well must still all come out.
    let halves = batch::pack(&vec![600; 5000], 1024, 0, 0).unwrap();
    assert_eq!(halves.len(), 5000);
    let error = batch::pack(&[5, 2000], 1024, 0, 0).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Usage));
}
