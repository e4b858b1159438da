use engine::data::intra::{Ids, START_ID};
use engine::data::span::Unit;
use engine::data::{Intra, IntraMode, Trie};
use proptest::prelude::*;

use super::golden;
use super::trie::pools;

fn automaton(pool: &[Vec<u32>], mode: IntraMode) -> Intra<'static> {
    Intra::new(Trie::build(pool, &vec![0; pool.len()]), mode)
}

fn numbered(automaton: &Intra, tokens: &[u32]) -> Vec<u32> {
    std::iter::once(START_ID).chain(automaton.ids(tokens)).collect()
}

const MODES: [(&str, IntraMode); 5] = {
    let default = IntraMode { ids: Ids::Entity, rescan: true, restart: 1, plain_grow: false };
    [
        ("default", default),
        ("simple", IntraMode { rescan: false, ..default }),
        ("restart2", IntraMode { restart: 2, ..default }),
        ("plain_grow", IntraMode { plain_grow: true, ..default }),
        ("glm", IntraMode { ids: Ids::Glm, ..default }),
    ]
};

#[test]
fn golden_sequences() {
    let golden = golden::positions();
    let cases = golden["sequences"].as_array().unwrap();
    assert!(cases.len() >= 50);
    for case in cases {
        let mut names = golden::Names::new();
        let pool: Vec<Vec<u32>> = case["entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entity| names.tokens(entity))
            .collect();
        let tokens = names.tokens(&case["tokens"]);
        for (name, mode) in MODES {
            let ids = numbered(&automaton(&pool, mode), &tokens);
            assert_eq!(
                ids,
                golden::numbers(&case["expected"][name]),
                "{} in mode {name}",
                case["name"]
            );
        }
    }
}

/// Worked runs: pool, tokens, ids from [START] on.
#[test]
fn worked_runs() {
    let figure: &[&str] = &["x1 x2 x3", "x6 x7"];
    let grow = IntraMode { plain_grow: true, ..IntraMode::default() };
    let simple = IntraMode { rescan: false, ..IntraMode::default() };
    let default = IntraMode::default();
    let runs: &[(&[&str], &str, IntraMode, &str)] = &[
        (figure, "x1 x2 x3", default, "1 2 3 4"),
        (figure, "x5", default, "1 2"),
        (figure, "x1 x2 x3 x6 x7", default, "1 2 3 4 1 2"),
        (figure, "x1 x2 x3 x4 x5 x6 x7", default, "1 2 3 4 1 1 1 2"),
        (figure, "x1 x2 x3 x4 x5 x6 x7", grow, "1 2 3 4 1 2 1 2"),
        (figure, "x1 x2 x3 x4 x5 x6 x7", IntraMode::GLM, "1 2 3 4 5 6 7 8"),
        (&["x1 x2 x3"], "p q r s", default, "1 2 1 1 1"),
        (&["x1 x2 x3"], "p q r s", grow, "1 2 3 4 5"),
        (
            &["lego", "lego city", "lego city police boat"],
            "lego city police car lego city lego",
            default,
            "1 2 3 4 1 1 2 1",
        ),
        (&["a b c d"], "a b z a b c d", default, "1 2 3 1 1 2 3 4"),
        (&["baby doll stroller", "doll house"], "baby doll house toy", default, "1 2 3 2 1"),
        (&["baby doll stroller", "doll house"], "baby doll house toy", simple, "1 2 3 1 1"),
        (&["a b", "b c"], "a b c", default, "1 2 3 1"),
        (&["a b", "a b c d", "c x"], "a b c x", default, "1 2 3 4 2"),
        (&["a b c d", "b c e"], "a b c e", default, "1 2 3 4 3"),
        (&["a b c d", "b c e"], "a b c e", simple, "1 2 3 4 1"),
        (&["no no no"], "no no no no no", default, "1 2 3 4 1 2"),
        // R29c: prose of three separate tokens.
        (&["x"], "4 . 8", default, "1 2 1 1"),
        // Counter-examples to annotation: the decoder cannot know.
        (&["lego", "lego city"], "lego city", default, "1 2 3"),
        (&["fisher price little people"], "fisher price is a brand", default, "1 2 3 1 1 1"),
    ];
    for &(pool, tokens, mode, expected) in runs {
        let mut names = golden::Names::new();
        let mut split =
            |text: &str| text.split(' ').map(|name| names.token(name)).collect::<Vec<_>>();
        let pool: Vec<Vec<u32>> = pool.iter().map(|entity| split(entity)).collect();
        let expected: Vec<u32> = expected.split(' ').map(|id| id.parse().unwrap()).collect();
        assert_eq!(numbered(&automaton(&pool, mode), &split(tokens)), expected, "{tokens}");
    }
}

/// Units from their lengths: 0 is a separate token, n an entity of n tokens.
fn units(lengths: &[u32]) -> Vec<Unit> {
    let mut start = 0;
    let mut unit = |&length: &u32| {
        let unit = Unit { start, len: length.max(1), entity: length > 0 };
        start += unit.len;
        unit
    };
    lengths.iter().map(&mut unit).collect()
}

/// Pool, tokens, lengths of the units, and the ids by annotation and by the automaton.
type Run<'a> = (&'a [&'a str], &'a str, &'a [u32], IntraMode, &'a str, &'a str);

/// Where it is known what the entities are, other numbers follow than a decoder can give: the
/// counter-examples to training by annotation.
#[test]
fn annotation_numbers_what_a_decoder_cannot_know() {
    let grow = IntraMode { plain_grow: true, ..IntraMode::default() };
    let two = IntraMode { restart: 2, ..IntraMode::default() };
    let default = IntraMode::default();
    let runs: &[Run] = &[
        (&["lego", "lego city"], "lego city", &[1, 0], default, "1 2 1", "1 2 3"),
        (
            &["fisher price little people"],
            "fisher price is a brand",
            &[0; 5],
            default,
            "1 2 1 1 1 1",
            "1 2 3 1 1 1",
        ),
        // Where the entities are those that the automaton finds, the two agree.
        (&["x1 x2 x3", "x6 x7"], "x1 x2 x3", &[3], default, "1 2 3 4", "1 2 3 4"),
        (&["x1 x2 x3", "x6 x7"], "x1 x2 x3 x6 x7", &[3, 2], default, "1 2 3 4 1 2", "1 2 3 4 1 2"),
        (&["x1 x2 x3", "x6 x7"], "x1 x2 x3 x6 x7", &[3, 2], two, "1 2 3 4 2 3", "1 2 3 4 2 3"),
        (&["x6 x7"], "p q x6 x7 r s", &[0, 0, 2, 0, 0], grow, "1 2 3 1 2 1 2", "1 2 3 1 2 1 2"),
        (&["x6 x7"], "p q x6 x7", &[0, 0, 2], default, "1 2 1 1 2", "1 2 1 1 2"),
        (&["x6 x7"], "p q x6 x7", &[0, 0, 2], IntraMode::GLM, "1 2 3 4 5", "1 2 3 4 5"),
    ];
    for &(pool, tokens, lengths, mode, annotated, decoded) in runs {
        let mut names = golden::Names::new();
        let mut split =
            |text: &str| text.split(' ').map(|name| names.token(name)).collect::<Vec<_>>();
        let pool: Vec<Vec<u32>> = pool.iter().map(|entity| split(entity)).collect();
        let automaton = automaton(&pool, mode);
        let numbers =
            |text: &str| -> Vec<u32> { text.split(' ').map(|id| id.parse().unwrap()).collect() };
        let ids = std::iter::once(START_ID).chain(automaton.annotated_ids(&units(lengths)));
        assert_eq!(ids.collect::<Vec<u32>>(), numbers(annotated), "{tokens}");
        assert_eq!(numbered(&automaton, &split(tokens)), numbers(decoded), "{tokens}");
    }
}

/// R29b and its kin for the other modes: numbers the last token of a prefix by scanning it from its
/// left, without an automaton. Returns the id counted from 1, whether nothing was committed before
/// it, and whether it is a separate token.
fn scan(pool: &[Vec<u32>], prefix: &[u32], rescan: bool) -> (u32, bool, bool) {
    let is_path = |path: &[u32]| pool.iter().any(|entity| entity.starts_with(path));
    let is_entity = |path: &[u32]| pool.iter().any(|entity| entity == path);
    let mut from = 0;
    loop {
        let rest = &prefix[from..];
        let path = (0..=rest.len()).rev().find(|&n| n == 0 || is_path(&rest[..n])).unwrap();
        if path == rest.len() {
            return (path as u32, from == 0, false);
        }
        let terminal = (1..=path).rev().find(|&n| is_entity(&rest[..n])).unwrap_or(1);
        let commit = if rescan { terminal } else { path.max(1) };
        if commit == rest.len() {
            return (commit as u32, from == 0, path == 0);
        }
        from += commit;
    }
}

fn oracle(pool: &[Vec<u32>], tokens: &[u32], mode: IntraMode) -> Vec<u32> {
    let mut ids = vec![START_ID];
    // With `grow` a run of separate tokens is one unit; any step in the trie ends it.
    let (mut run, mut run_is_first) = (0, true);
    for end in 1..=tokens.len() {
        let (mut id, mut first, separate) = scan(pool, &tokens[..end], mode.rescan);
        run = if separate { run + 1 } else { 0 };
        if mode.plain_grow && separate {
            run_is_first = if run == 1 { first } else { run_is_first };
            (id, first) = (run, run_is_first);
        }
        ids.push(id + u32::from(first || mode.restart == 2));
    }
    ids
}

fn modes() -> impl Strategy<Value = IntraMode> {
    (any::<bool>(), 1u32..3, any::<bool>()).prop_map(|(rescan, restart, plain_grow)| IntraMode {
        ids: Ids::Entity,
        rescan,
        restart,
        plain_grow,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_automaton_is_the_direct_definition(
        pool in pools(), tokens in prop::collection::vec(0u32..6, 0..14), mode in modes(),
    ) {
        prop_assert_eq!(numbered(&automaton(&pool, mode), &tokens), oracle(&pool, &tokens, mode));
    }

    /// Folding gives what stepping gives, however beams fork: states are copied between beams in a
    /// random way and each beam's ids are those of its own tokens.
    #[test]
    fn folding_is_stepping_with_forks(
        pool in pools(), mode in modes(),
        forks in prop::collection::vec((0usize..4, 0usize..4, 0u32..6), 1..40),
    ) {
        let automaton = automaton(&pool, mode);
        let mut beams = vec![(automaton.start(), Vec::new(), vec![START_ID]); 4];
        for (from, to, token) in forks {
            let (state, mut tokens, mut ids) = beams[from].clone();
            let (state, id) = automaton.step(state, token);
            tokens.push(token);
            ids.push(id);
            beams[to] = (state, tokens, ids);
        }
        for (_, tokens, ids) in beams {
            prop_assert_eq!(numbered(&automaton, &tokens), ids);
        }
    }

    #[test]
    fn growing_runs_over_an_empty_pool_are_glm(tokens in prop::collection::vec(0u32..6, 0..20)) {
        let grow = IntraMode { plain_grow: true, ..IntraMode::default() };
        let glm = numbered(&automaton(&[], IntraMode::GLM), &tokens);
        prop_assert_eq!(&glm, &(1..=tokens.len() as u32 + 1).collect::<Vec<_>>());
        prop_assert_eq!(numbered(&automaton(&[], grow), &tokens), glm);
    }

    /// R29c: an answer that is exactly one entity has GLM's ids in every mode.
    #[test]
    fn one_entity_is_numbered_as_glm(pool in pools(), mode in modes()) {
        let automaton = automaton(&pool, mode);
        for entity in &pool {
            let counted: Vec<u32> = (1..=entity.len() as u32 + 1).collect();
            prop_assert_eq!(numbered(&automaton, entity), counted);
        }
    }
}
