//! Every case of `golden/metrics.json`: what the published evaluation scripts and public libraries
//! give on small inputs.
//!
//! `ENGINE_GOLDEN` names another folder for it.

use engine::eval::bleu::{words_13a, Bleu, Smoothing};
use engine::eval::grounding::{item_list, title_rank, Titles};
use engine::eval::ranking::{hit, ndcg, reciprocal, without_history, Policy};
use engine::eval::rating::{self, Errors};
use engine::eval::rouge::{self, Triple};
use engine::eval::yes_no::{self, TiedRank};
use serde_json::Value;
use std::path::PathBuf;

fn golden() -> Value {
    let folder = std::env::var_os("ENGINE_GOLDEN").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
        PathBuf::from,
    );
    let path = folder.join("metrics.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The cases of a kind; a kind without cases would prove nothing.
fn cases(kind: &str) -> Vec<Value> {
    let cases = golden()[kind].as_array().unwrap_or_else(|| panic!("no {kind}")).clone();
    assert!(!cases.is_empty(), "{kind}");
    cases
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// One expected number, named for the message.
fn near(case: &Value, name: &str, expected: &Value, got: f64) {
    let expected =
        expected.as_f64().unwrap_or_else(|| panic!("{}: no number {name}", case["name"]));
    assert!(
        (expected - got).abs() <= 1e-6,
        "{} {name}: expected {expected}, got {got}",
        case["name"]
    );
}

fn rank_of(expected: &Value) -> Option<u32> {
    expected.as_u64().map(|rank| rank as u32)
}

fn stars(case: &Value) -> (Vec<&str>, Vec<f64>) {
    let gold = strings(&case["gold"]).iter().map(|text| text.parse().unwrap()).collect();
    (strings(&case["pred"]), gold)
}

fn errors(case: &Value, expected: &Value, got: Errors) {
    near(case, "rmse", &expected["rmse"], got.rmse);
    near(case, "mae", &expected["mae"], got.mae);
}

#[test]
fn ratings() {
    for case in cases("rating") {
        let (texts, gold) = stars(&case);
        let pairs: Vec<_> = texts.into_iter().zip(gold).collect();
        let expected = &case["expected"];
        let p5 = rating::p5(&pairs);
        assert_eq!(expected["p5"]["n_used"], p5.n, "{}", case["name"]);
        errors(&case, &expected["p5"], p5);
        let strict = rating::strict(&pairs, case["fallback"].as_f64().unwrap());
        assert_eq!(expected["strict"]["n"], strict.n, "{}", case["name"]);
        assert_eq!(expected["strict"]["n_parsed"], strict.parsed, "{}", case["name"]);
        near(&case, "coverage", &expected["strict"]["coverage"], strict.coverage());
        errors(&case, &expected["strict"], strict);
    }
}

#[test]
fn review_ratings() {
    for case in cases("review_rating") {
        let (texts, gold) = stars(&case);
        let rounded: Vec<f64> =
            texts.iter().map(|t| rating::rounded(rating::parse(t).unwrap())).collect();
        let expected: Vec<f64> = case["expected"]["rounded"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        assert_eq!(rounded, expected);
        let pairs: Vec<_> = texts.into_iter().zip(gold).collect();
        let got = rating::review(&pairs, 3.0);
        assert_eq!(case["expected"]["n"], got.n);
        errors(&case, &case["expected"], got);
    }
}

#[test]
fn rankings() {
    for case in cases("ranking") {
        let users = case["users"].as_array().unwrap();
        let gold: Vec<i64> =
            users.iter().map(|user| user["gold"].as_str().unwrap().parse().unwrap()).collect();
        let beams: Vec<Vec<Option<i64>>> = users
            .iter()
            .map(|u| strings(&u["beams"]).iter().map(|text| text.parse().ok()).collect())
            .collect();
        let expected = &case["expected"];
        for policy in Policy::ALL {
            let ranks: Vec<Option<u32>> =
                beams.iter().zip(&gold).map(|(beams, &gold)| policy.rank(beams, gold)).collect();
            for k in case["ks"].as_array().unwrap().iter().map(|k| k.as_u64().unwrap() as u32) {
                let mean = |metric: fn(Option<u32>, u32) -> f64| {
                    ranks.iter().map(|&rank| metric(rank, k)).sum::<f64>() / ranks.len() as f64
                };
                for (name, value) in
                    [("hr", mean(hit)), ("ndcg", mean(ndcg)), ("mrr", mean(reciprocal))]
                {
                    let name = format!("{name}@{k}");
                    near(
                        &case,
                        &format!("{} {name}", policy.name()),
                        &expected[policy.name()][&name],
                        value,
                    );
                }
            }
            if policy != Policy::P5 {
                let places = expected[format!("{}_ranks", policy.name())].as_array().unwrap();
                assert_eq!(
                    ranks,
                    places.iter().map(rank_of).collect::<Vec<_>>(),
                    "{}",
                    case["name"]
                );
            }
        }
        let lists: Vec<Vec<i64>> =
            beams.iter().map(|b| Policy::P5.apply(b).into_iter().flatten().collect()).collect();
        let expected: Vec<Vec<i64>> =
            serde_json::from_value(expected["p5_ranked_lists"].clone()).unwrap();
        assert_eq!(lists, expected, "{}", case["name"]);
    }
}

#[test]
fn yes_and_no() {
    for case in cases("yesno") {
        let candidates = case["cands"].as_array().unwrap();
        let number = |value: &Value| value.as_f64().unwrap() as f32;
        let mut scores = Vec::new();
        for candidate in candidates {
            let (yes, no) = (number(&candidate["yes"]), number(&candidate["no"]));
            let item = candidate["item"].as_str().unwrap();
            near(&case, item, &case["expected"]["p_yes"][item], yes_no::probability(yes, no));
            scores.push(yes_no::score(yes, no));
        }
        let positive =
            candidates.iter().position(|candidate| candidate["item"] == case["gold"]).unwrap();
        let rank = TiedRank::of(&scores, positive);
        assert_eq!(case["expected"]["rank_optimistic"], rank.optimistic(), "{}", case["name"]);
        assert_eq!(case["expected"]["rank_pessimistic"], rank.pessimistic(), "{}", case["name"]);
        for k in case["ks"].as_array().unwrap().iter().map(|k| k.as_u64().unwrap() as u32) {
            for (name, metric) in [("hr", hit as fn(Option<u32>, u32) -> f64), ("ndcg", ndcg)] {
                let at = |way: &str| case["expected"][format!("{way}_{name}@{k}")].clone();
                near(&case, name, &at("pessimistic"), metric(Some(rank.pessimistic()), k));
                near(&case, name, &at("expected"), rank.expected(|rank| metric(rank, k)));
            }
        }
    }
}

#[test]
fn titles_become_items() {
    for case in cases("grounding") {
        let catalogue: Vec<(String, String)> =
            serde_json::from_value(case["catalog"].clone()).unwrap();
        let number =
            |id: &Value| catalogue.iter().position(|(other, _)| id == other).unwrap() as u32;
        let name = |item: &u32| catalogue[*item as usize].0.clone();
        let titles = Titles::new((0..).zip(catalogue.iter().map(|(_, title)| title.as_str())));
        let slots = titles.slots(&strings(&case["beams"]));
        let expected = &case["expected"];
        for (slot, expected) in slots.iter().zip(expected["slots"].as_array().unwrap()) {
            assert_eq!(expected["text"], slot.text);
            assert_eq!(
                strings(&expected["items"]),
                slot.items.iter().map(name).collect::<Vec<_>>()
            );
        }
        assert_eq!(expected["slots"].as_array().unwrap().len(), slots.len());
        let list = item_list(&slots);
        let names: Vec<Option<String>> = list.iter().map(|item| item.as_ref().map(name)).collect();
        assert_eq!(
            serde_json::from_value::<Vec<Option<String>>>(expected["item_level_list"].clone())
                .unwrap(),
            names
        );

        let gold = number(&case["gold"]);
        let history: Vec<u32> = case["history"].as_array().unwrap().iter().map(number).collect();
        let (by_title, by_item) = (title_rank(&slots, gold), Policy::Strict.rank(&list, gold));
        let filtered = Policy::Strict.rank(&without_history(&list, &history), gold);
        assert_eq!(rank_of(&expected["title_level_rank"]), by_title, "{}", case["name"]);
        assert_eq!(rank_of(&expected["item_level_rank"]), by_item, "{}", case["name"]);
        assert_eq!(
            rank_of(&expected["item_level_rank_history_filtered"]),
            filtered,
            "{}",
            case["name"]
        );
        for k in case["ks"].as_array().unwrap().iter().map(|k| k.as_u64().unwrap() as u32) {
            for (level, rank) in [("title", by_title), ("item", by_item)] {
                near(&case, level, &expected[format!("{level}_level_hr@{k}")], hit(rank, k));
                near(&case, level, &expected[format!("{level}_level_ndcg@{k}")], ndcg(rank, k));
            }
        }
    }
}

/// Sum of the pairs' counts.
fn corpus<W: Eq + std::hash::Hash>(pairs: &[(&str, &str)], words: fn(&str) -> Vec<W>) -> Bleu {
    let mut sum = Bleu::default();
    for (generated, reference) in pairs {
        sum += Bleu::of_pair(&words(generated), &words(reference));
    }
    sum
}

/// nltk adds to the denominators what a text of fewer than n words lacks, so that each is at least
/// 1 a pair.
fn as_nltk(pairs: &[(&str, &str)]) -> f64 {
    let mut bleu = corpus(pairs, plain);
    for (generated, _) in pairs {
        let words = generated.split_whitespace().count();
        (0..4).filter(|n| words <= *n).for_each(|n| bleu.totals[n] += 1.0);
    }
    bleu.score(4, Smoothing::None)
}

fn plain(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

#[test]
fn texts() {
    for case in cases("text") {
        let pairs: Vec<_> = strings(&case["gen"]).into_iter().zip(strings(&case["ref"])).collect();
        let expected = &case["expected"]["bleu"];
        let bleu = corpus(&pairs, plain);
        for order in [1, 2, 4] {
            let name = format!("p5_bleu{order}");
            near(&case, &name, &expected[&name], bleu.score(order, Smoothing::None));
        }
        for (n, value) in bleu.precisions().into_iter().enumerate() {
            near(&case, "precision", &expected["p5_precisions"][n], value);
        }
        near(&case, "brevity", &expected["p5_bp"], bleu.brevity());
        near(&case, "length", &expected["hyp_len"], bleu.generated);
        near(&case, "length", &expected["ref_len"], bleu.reference);
        near(&case, "smoothed", &expected["p5_bleu4_smoothed"], bleu.score(4, Smoothing::AddOne));
        near(
            &case,
            "plain",
            &expected["sacrebleu4_tokenize_none_smooth_none"],
            bleu.score(4, Smoothing::None),
        );
        near(&case, "nltk", &expected["nltk_corpus_bleu4_method0"], as_nltk(&pairs));
        let std = corpus(&pairs, words_13a).score(4, Smoothing::Exponential);
        near(&case, "13a", &expected["sacrebleu4_default_13a_exp"], std);

        let expected = &case["expected"]["rouge"];
        let p5 = means(&pairs, rouge::p5);
        let std = means(&pairs, rouge::std);
        for (i, (name, package)) in
            [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")]
                .into_iter()
                .enumerate()
        {
            for (j, part) in ["p", "r", "f"].into_iter().enumerate() {
                near(&case, name, &expected["p5"][format!("{name}/{part}_score")], p5[i][j]);
                near(&case, package, &expected["rouge_score_pkg"][package][part], std[i][j]);
                // No word of these cases has another stem than itself.
                near(&case, package, &expected["rouge_score_pkg_stem"][package][part], std[i][j]);
            }
        }
    }
}

/// Mean [precision, recall, F] over the pairs, × 100.
fn means(pairs: &[(&str, &str)], metric: fn(&str, &str) -> Triple) -> [[f64; 3]; 3] {
    let mut sums = [[0.0; 3]; 3];
    for (generated, reference) in pairs {
        for (sum, rouge) in sums.iter_mut().zip(metric(generated, reference)) {
            sum.iter_mut()
                .zip([rouge.precision, rouge.recall, rouge.f])
                .for_each(|(sum, value)| *sum += value);
        }
    }
    sums.map(|row| row.map(|sum| 100.0 * sum / pairs.len() as f64))
}
