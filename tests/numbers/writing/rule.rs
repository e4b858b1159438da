//! The rule of beams over a scorer of random numbers, without a model.

use super::{changed, literal, log_softmax, Expected};
use engine::base::{Philox, Stream};
use engine::data::{Intra, IntraMode, Trie};
use engine::decode::{BeamSearch, Grammar, Limits, Writing};
use engine::model::{Among, Choices, Question};

const START: u32 = 9;
const END: u32 = 3;
/// Words are 0, 1 and 2; token 4 is special beside [END].
const SPECIALS: [u32; 1] = [4];

/// Coarse random logits of the tokens behind a text, so that ties are common.
fn logits(seed: u64, tokens: &[u32]) -> Vec<f32> {
    let key = tokens
        .iter()
        .fold(seed, |h, &t| (h ^ u64::from(t + 1)).wrapping_mul(0x100_0000_01b3).rotate_left(23));
    let mut rng = Philox::new(key, Stream::Synthetic, 0);
    (0..5).map(|_| rng.below(7) as f32 / 2.0 - 1.5).collect()
}

/// What a model answers to a question behind a text.
fn answer(seed: u64, tokens: &[u32], question: Question) -> Choices {
    let mut logits = logits(seed, tokens);
    for &token in &question.repeated {
        let x = &mut logits[token as usize];
        *x = if *x > 0.0 { *x / question.penalty } else { *x * question.penalty };
    }
    question.banned.iter().for_each(|&token| logits[token as usize] = f32::NEG_INFINITY);
    let all = log_softmax(&logits);
    let tokens = match question.among {
        Among::These(tokens) => tokens,
        Among::Best(count) => {
            let mut order: Vec<u32> = (0..5).collect();
            let logit = |token: u32| logits[token as usize];
            order.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
            order.truncate(count);
            order
        }
    };
    let log_probs = tokens.iter().map(|&token| all[token as usize]).collect();
    Choices { tokens, log_probs }
}

/// The answers of a search, and the steps it took.
fn run(seed: u64, grammar: Grammar, limits: Limits, writing: Writing) -> (Vec<Expected>, usize) {
    let mut search = BeamSearch::new(limits, grammar, writing, &[]);
    let mut steps = 0;
    loop {
        let mut fed: Vec<Vec<u32>> = Vec::new();
        for beam in search.live() {
            beam.path.push(beam.fed(limits.start).0);
            fed.push(beam.path[1..].to_vec());
        }
        if fed.is_empty() {
            break;
        }
        steps += 1;
        let questions: Vec<Question> = search.questions().collect();
        let choices = questions.into_iter().zip(&fed).map(|(q, tokens)| answer(seed, tokens, q));
        search.take(&choices.collect::<Vec<_>>());
    }
    let answers = search.answers().unwrap().into_iter().map(|(answer, path)| {
        assert_eq!(path[1..], answer.tokens, "all of an answer was fed");
        assert_eq!(answer.ids, limits.intra.ids(&answer.tokens).collect::<Vec<_>>());
        // The log-probabilities are those of the tokens, and the score is theirs.
        let ends = usize::from(answer.ended);
        assert_eq!(answer.log_probs.len(), answer.tokens.len() + ends);
        for (at, (&token, &log_prob)) in answer.tokens.iter().zip(&answer.log_probs).enumerate() {
            let before = &answer.tokens[..at];
            let logits = changed(logits(seed, before), before, &limits, &writing);
            assert_eq!(log_softmax(&logits)[token as usize], log_prob);
        }
        let sum = answer.log_probs.iter().fold(0.0, |sum, &p| sum + f64::from(p));
        let length = answer.log_probs.len().max(1) as f64;
        assert_eq!(answer.score, sum / length.powf(writing.length_penalty));
        Expected { tokens: answer.tokens, score: answer.score, ended: answer.ended }
    });
    (answers.collect(), steps)
}

fn intra() -> Intra<'static> {
    Intra::new(Trie::build(&[vec![0, 1], vec![2], vec![1, 1, 0]], &[0, 1, 2]), IntraMode::default())
}

fn any_writing(rng: &mut Philox, tokens: usize) -> Writing {
    let groups = 1 + rng.below(3);
    let beams = groups * (1 + rng.below(4));
    Writing {
        beams,
        groups,
        diversity: [0.0, 0.5, 2.0][rng.below(3)],
        returned: 1 + rng.below(beams),
        min_tokens: rng.below(tokens + 1).min(rng.below(4)),
        length_penalty: [0.0, 0.5, 1.0, 2.0][rng.below(4)],
        repetition_penalty: [1.0, 1.5, 0.7][rng.below(3)],
        early_stopping: rng.below(2) == 0,
    }
}

#[test]
fn beams_are_the_rule_word_for_word() {
    let intra = intra();
    let mut rng = Philox::new(1, Stream::Synthetic, 0);
    let titles = [vec![0], vec![0, 1], vec![2, 2], vec![1, 0, 2, 0], vec![0, 1, 1]];
    let trie = Trie::build(&titles, &[0, 1, 2, 3, 4]);
    let list = Grammar::List { items: &trie, separator: &[1, 2] };
    let (mut unfinished, mut early, mut none) = (0, 0, 0);
    for seed in 0..6000 {
        let tokens = rng.below(7);
        let limits = Limits { intra: &intra, start: START, end: END, specials: &SPECIALS, tokens };
        let writing = any_writing(&mut rng, tokens);
        writing.check(tokens).unwrap();
        let grammar = [Grammar::Free, Grammar::Item(&trie), list][rng.below(3)];
        let (found, steps) = run(seed, grammar, limits, writing);
        let expected = literal(|tokens| logits(seed, tokens), &grammar, &limits, &writing);
        assert_eq!(found, expected, "seed {seed} {writing:?} at most {tokens} tokens");
        unfinished += found.iter().filter(|answer| !answer.ended).count();
        early += usize::from(steps <= tokens && !writing.early_stopping);
        none += usize::from(found.is_empty());
        if let Grammar::Free = grammar {
            assert!(!found.is_empty());
        }
        for answer in found.iter().filter(|answer| answer.ended) {
            assert!(answer.tokens.len() >= writing.min_tokens);
            let Grammar::Free = grammar else {
                assert!(grammar.items(&answer.tokens).is_some());
                continue;
            };
        }
    }
    println!("{unfinished} unfinished, {early} searches decided early, {none} without an answer");
    assert!(unfinished > 1000 && early > 500 && none > 0);
}

/// Beams enough for every text find every text.
#[test]
fn a_wide_beam_tries_every_text() {
    let intra = intra();
    for seed in 0..200 {
        let tokens = 3;
        let limits = Limits { intra: &intra, start: START, end: END, specials: &SPECIALS, tokens };
        let mut rng = Philox::new(seed, Stream::Synthetic, 5);
        let writing =
            Writing { beams: 500, groups: 1, returned: 500, ..any_writing(&mut rng, tokens) };
        let writing = Writing { early_stopping: false, ..writing };
        let (found, _) = run(seed, Grammar::Free, limits, writing);
        let mut all: Vec<Vec<u32>> = vec![Vec::new()];
        let mut from = 0;
        while all[from].len() < tokens {
            all.extend((0..3).map(|token| [&all[from][..], &[token]].concat()).collect::<Vec<_>>());
            from += 1;
        }
        all.retain(|text| text.len() >= writing.min_tokens);
        let mut best: Vec<(f64, Vec<u32>)> = all
            .into_iter()
            .map(|text| {
                let row = |length: usize| {
                    let before = &text[..length];
                    log_softmax(&changed(logits(seed, before), before, &limits, &writing))
                };
                let sum = (0..text.len()).map(|at| f64::from(row(at)[text[at] as usize]));
                let last = row(text.len());
                let end = f64::from(last[END as usize].max(last[4]));
                let sum = sum.fold(0.0, |a, b| a + b) + end;
                let length = (text.len() + 1) as f64;
                (sum / length.powf(writing.length_penalty), text)
            })
            .collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert_eq!(found.len(), best.len());
        assert!(found.iter().map(|answer| answer.score).eq(best.iter().map(|(score, _)| *score)));
        for (score, text) in &best {
            let answer = found.iter().find(|answer| answer.tokens == *text).expect("every text");
            assert_eq!((answer.score, answer.ended), (*score, true));
        }
    }
}

/// Groups that are told nothing of one another write the same; told, they begin differently.
#[test]
fn diversity_parts_the_groups() {
    let intra = intra();
    let limits = Limits { intra: &intra, start: START, end: END, specials: &SPECIALS, tokens: 5 };
    let mut differ = 0;
    for seed in 0..300 {
        let groups = Writing { beams: 3, groups: 3, returned: 3, min_tokens: 3, ..Writing::GREEDY };
        let (alike, _) = run(seed, Grammar::Free, limits, groups);
        assert_eq!(alike.len(), 1, "one text, once");
        let greedy = Writing { min_tokens: 3, ..Writing::GREEDY };
        assert_eq!(alike, run(seed, Grammar::Free, limits, greedy).0);
        let (apart, _) = run(seed, Grammar::Free, limits, Writing { diversity: 100.0, ..groups });
        let mut firsts: Vec<u32> = apart.iter().map(|answer| answer.tokens[0]).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2], "each group begins with a word of its own");
        differ += usize::from(apart[0].tokens != alike[0].tokens);
    }
    assert!(differ > 0, "a later group may write what is better in the end");
}

#[test]
fn what_is_no_number_is_no_answer() {
    let intra = intra();
    let limits = Limits { intra: &intra, start: START, end: END, specials: &SPECIALS, tokens: 5 };
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for min_tokens in [0, 2] {
            let writing = Writing { beams: 2, min_tokens, ..Writing::GREEDY };
            let mut search = BeamSearch::new(limits, Grammar::Free, writing, &[]);
            search.take(&[Choices { tokens: vec![0, 1], log_probs: vec![-0.5, wrong] }]);
            assert_eq!(search.live().count(), 0);
            assert!(search.answers().is_err(), "{wrong}");
        }
    }
    // What is banned has no probability, and that is known.
    let writing = Writing { beams: 2, min_tokens: 2, ..Writing::GREEDY };
    let mut search = BeamSearch::new(limits, Grammar::Free, writing, &[]);
    search.take(&[Choices { tokens: vec![0, END], log_probs: vec![-0.5, f32::NEG_INFINITY] }]);
    assert_eq!(search.live().count(), 1);
}
