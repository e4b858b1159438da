//! Laws of rows and ids against the fixture of the specification.

use engine::data::intra::{EncIntra, Ids, Intra, IntraMode};
use engine::data::sample::{PartAEnd, Piece, Rules};
use engine::data::{Special, Trie};
use serde_json::Value;
use std::collections::BTreeMap;

fn fixture() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/positions.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect()
}

#[derive(Default)]
struct Numbers<'a>(BTreeMap<&'a str, u32>);

impl<'a> Numbers<'a> {
    fn of(&mut self, word: &'a str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(word).or_insert(next)
    }
}

#[test]
fn intra_ids_in_all_five_modes() {
    let fixture = fixture();
    let entity = IntraMode::default();
    let modes = [
        ("default", entity),
        ("simple", IntraMode { rescan: false, ..entity }),
        ("restart2", IntraMode { restart: 2, ..entity }),
        ("plain_grow", IntraMode { plain_grow: true, ..entity }),
        ("glm", IntraMode { ids: Ids::Glm, ..entity }),
    ];
    let cases = fixture["sequences"].as_array().unwrap();
    for case in cases {
        let mut numbers = Numbers::default();
        let entities: Vec<Vec<u32>> = case["entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| words(e).into_iter().map(|w| numbers.of(w)).collect())
            .collect();
        let tokens: Vec<u32> = words(&case["tokens"]).into_iter().map(|w| numbers.of(w)).collect();
        let values: Vec<u32> = (0..entities.len() as u32).collect();
        for (name, mode) in modes {
            let intra = Intra::new(Trie::build(&entities, &values), mode);
            let expected: Vec<u32> = serde_json::from_value(case["expected"][name].clone()).unwrap();
            let folded: Vec<u32> = std::iter::once(1).chain(intra.ids(&tokens)).collect();
            assert_eq!(folded, expected, "{} {name}", case["name"]);
            // The decoder's way: one step a token.
            let mut state = intra.start();
            let mut stepped = vec![1];
            for &token in &tokens {
                let (next, id) = intra.step(state, token);
                state = next;
                stepped.push(id);
            }
            assert_eq!(stepped, expected, "{} {name}", case["name"]);
        }
    }
    println!("{} sequences in {} modes", cases.len(), modes.len());
}

#[test]
fn whole_rows() {
    let fixture = fixture();
    for case in fixture["samples"].as_array().unwrap() {
        let mut numbers = Numbers::default();
        for name in ["[CLS]", "[MASK]", "[gMASK]", "[sMASK]", "[START]", "[END]", "[EOS]"] {
            numbers.of(name);
        }
        let tokens: Vec<u32> = words(&case["tokens"]).into_iter().map(|w| numbers.of(w)).collect();
        let special = Special { cls: 0, mask: 1, gmask: 2, smask: 3, start: 4, end: 5, eos: 6 };
        let units: Vec<(usize, usize, bool)> = serde_json::from_value(case["units"].clone()).unwrap();
        let spans: Vec<(usize, usize)> = serde_json::from_value(case["spans"].clone()).unwrap();
        let entities: Vec<&[u32]> = units.iter().filter(|u| u.2).map(|u| &tokens[u.0..u.1]).collect();
        let values: Vec<u32> = (0..entities.len() as u32).collect();
        let intra = Intra::new(Trie::build(&entities, &values), IntraMode::default());
        let expected = &case["expected"];
        let input = words(&expected["input"]);
        let mask = if input.contains(&"[gMASK]") { special.gmask } else { special.mask };
        let mut pieces = Vec::new();
        let mut at = 0;
        let keep = |pieces: &mut Vec<Piece>, from: usize, to: usize| {
            for &(s, e, entity) in units.iter().filter(|u| u.0 >= from && u.1 <= to) {
                let t = tokens[s..e].to_vec();
                pieces.push(if entity { Piece::Entity(t) } else { Piece::Plain(t) });
            }
        };
        for &(start, end) in &spans {
            keep(&mut pieces, at, start);
            pieces.push(Piece::Mask(mask));
            at = end;
        }
        keep(&mut pieces, at, tokens.len());
        let rules = Rules {
            special,
            intra: &intra,
            enc_intra: EncIntra::One,
            part_a_end: PartAEnd::Never,
            cls: input[0] == "[CLS]",
            max_position: 1024,
        };
        let answers: Vec<&[u32]> = spans.iter().map(|&(s, e)| &tokens[s..e]).collect();
        let row = rules.row(0, &pieces, &answers);
        let name = &case["name"];
        assert_eq!(row.tokens, input.iter().map(|w| numbers.of(w)).collect::<Vec<_>>(), "{name}");
        assert_eq!(row.context as u64, expected["encoder_len"].as_u64().unwrap(), "{name}");
        for (positions, key) in row.positions.iter().zip(["inter", "intra"]) {
            assert_eq!(
                positions,
                &serde_json::from_value::<Vec<u32>>(expected[key].clone()).unwrap(),
                "{name} {key}"
            );
        }
        let mut targets = vec![None; row.tokens.len()];
        for &(at, token, weight) in &row.targets {
            assert_eq!(weight, 1.0);
            targets[at as usize] = Some(token);
        }
        let golden: Vec<Option<u32>> =
            expected["target"].as_array().unwrap().iter().map(|t| t.as_str().map(|w| numbers.0[w])).collect();
        assert_eq!(targets, golden, "{name}");
        for (q, seen) in words(&expected["attention"]).into_iter().enumerate() {
            let ours: String = (0..row.tokens.len())
                .map(|k| if k < row.context || k <= q && q >= row.context { '1' } else { '0' })
                .collect();
            assert_eq!(ours, seen, "{name} row {q}");
        }
        // A prompt is the training row cut behind the first [START].
        let (prompt, position) = rules.prompt(0, &pieces);
        assert_eq!(prompt.tokens, row.tokens[..row.context + 1], "{name}");
        assert_eq!(position, row.positions[0][row.context], "{name}");
    }
}
