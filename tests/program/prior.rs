//! A ranker beside the model (E29): what counts alone decides alone, weights are found on
//! validation users and kept, and nothing else changes an answer.

use crate::cli::{copy, own_shop, refused, run, TRAIN};
use engine::data::rank::{Asked as Shopper, Balance, Fitted, Markov, Ranker, Sequences, Titles};
use engine::data::rank::{Text, TitleSettings, ALPHA};
use engine::data::{Dataset, Family};
use engine::recommender::prior::Prior;
use engine::recommender::{Answer, Question, Recommender, Settings, Split};
use serde_json::{json, Value};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

#[track_caller]
fn done(folder: &Path, words: &str) -> String {
    let (code, out, error) = run(folder, &words.split_whitespace().collect::<Vec<_>>());
    assert_eq!(code, 0, "{words}: {error}");
    out
}

fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(line: &Value) -> Vec<u64> {
    let items = line["items"].as_array().unwrap_or_else(|| panic!("{line}"));
    items.iter().map(|item| item["item"].as_u64().unwrap()).collect()
}

fn part(line: &Value, key: &str) -> Vec<f64> {
    line["items"].as_array().unwrap().iter().map(|item| item[key].as_f64().unwrap()).collect()
}

/// Two lines but for what each took.
fn timeless(lines: Vec<Value>) -> Vec<Value> {
    let mut lines = lines;
    lines.iter_mut().for_each(|line| line["seconds"] = json!(0));
    lines
}

/// The shop, a run on it, and `prior.json` of near titles, with the answers that it was found on.
fn shop() -> tempfile::TempDir {
    static SHOP: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = SHOP.get_or_init(|| {
        let own = own_shop();
        let folder = own.path();
        done(folder, &[TRAIN.join(" "), "--out run".into()].join(" "));
        done(folder, &format!("{VALIDATION} --out v.jsonl"));
        let fit = "eval v.jsonl --data shop.bin --run run --fit-prior --no-baselines";
        let out = done(folder, fit);
        assert!(out.contains("| 60 validation users | HR@10 | NDCG@10 |"), "{out}");
        assert!(out.contains("| tfidf alone |") && out.contains(", taken |"), "{out}");
        own
    });
    let own = tempfile::tempdir().unwrap();
    copy(made.path(), own.path());
    own
}

const VALIDATION: &str = "decode --weights run --data shop.bin --split validation --beams 8 \
    --prior tfidf --prior-top 12 --top 20";
const TEST: &str = "decode --weights run --data shop.bin --users 20";

fn prior(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run/prior.json")).unwrap()).unwrap()
}

/// Weights of every rule and another ranker in the run's `prior.json`.
fn put(folder: &Path, kind: &str, model: f64, own: f64) {
    let mut all = prior(folder);
    all["prior"] = json!(kind);
    for rule in ["sum", "or", "confident"] {
        all["rules"][rule]["weights"]["model"] = json!(model);
        all["rules"][rule]["weights"]["prior"] = json!(own);
    }
    fs::write(folder.join("run/prior.json"), all.to_string()).unwrap();
}

/// The score of every item for the user of each line, by a ranker that was fitted on what the test
/// shows; items by their ids.
fn ranked(dataset: &Dataset, kind: Fitted, line: &Value) -> Vec<f64> {
    let items = dataset.items();
    let events = |user: u32| {
        let all = dataset.user(user).items;
        &all[..all.len() - 1]
    };
    let users: Vec<&[u32]> = (0..dataset.users() as u32).map(events).collect();
    let seen = Sequences { users: &users, items };
    let titles: Vec<Text> = (0..items as u32)
        .map(|item| Text { title: dataset.item(item).title.unwrap(), categories: vec!["Toys"] })
        .collect();
    let user = dataset.find_user(&line["id"].to_string()).unwrap();
    let mut scores = vec![0.0; items];
    let ranker: Box<dyn Ranker> = match kind {
        Fitted::Markov => Box::new(Markov::fit(seen, ALPHA)),
        _ => Box::new(Titles::fit(&titles, TitleSettings::default())),
    };
    ranker.score(Shopper::history(events(user)), &mut scores);
    scores
}

#[test]
fn what_counts_alone_decides_alone() {
    let shop = shop();
    let folder = shop.path();
    let dataset = Dataset::open(&folder.join("shop.bin")).unwrap();
    done(folder, &format!("{TEST} --mode score-all --top 40 --out alone.jsonl"));
    let alone = lines(folder, "alone.jsonl");
    for (kind, fitted) in [("markov", Fitted::Markov), ("tfidf", Fitted::Tfidf)] {
        for fusion in ["sum", "or", "confident"] {
            let fused = |out: &str| {
                let flags = format!("--prior {kind} --fusion {fusion} --prior-top 40 --top 40");
                // The beams find few; the others are scored one by one, and are the same.
                done(folder, &format!("{TEST} --beams 3 {flags} --out {out} --force"));
                lines(folder, out)
            };
            put(folder, kind, 1.0, 0.0);
            for (one, other) in fused("model.jsonl").iter().zip(&alone) {
                assert_eq!(ids(one), ids(other), "{kind} {fusion}");
                assert_eq!(part(one, "model"), part(other, "score"), "{kind} {fusion}");
            }
            put(folder, kind, 0.0, 1.0);
            for line in fused("prior.jsonl") {
                let scores = ranked(&dataset, fitted, &line);
                let mut order: Vec<u32> = (0..40).collect();
                // A cosine of nothing may be a little less.
                let score = |item: u32| scores[item as usize].max(0.0);
                order.sort_by(|&a, &b| {
                    let by_tie = || (dataset.tie(a), a).cmp(&(dataset.tie(b), b));
                    score(b).total_cmp(&score(a)).then_with(by_tie)
                });
                let expected: Vec<u64> =
                    order.iter().map(|&item| dataset.item(item).id.parse().unwrap()).collect();
                assert_eq!(ids(&line), expected, "{kind} {fusion}");
                let own: Vec<f64> = order.iter().map(|&item| score(item)).collect();
                // What is read of a text may lack its last bit.
                let said = part(&line, "prior");
                let near = said.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(near && said.len() == own.len(), "{kind} {fusion}: {said:?} {own:?}");
            }
        }
    }
}

#[test]
fn what_was_found_on_validation_users_is_what_decoding_makes() {
    let shop = shop();
    let folder = shop.path();
    let found = prior(folder);
    assert_eq!(found["prior"], "tfidf");
    assert_eq!((&found["users"], &found["prior-top"]), (&json!(60), &json!(12)));
    let dataset = Dataset::open(&folder.join("shop.bin")).unwrap();
    assert_eq!(found["data-hash"], json!(dataset.hash()));
    let best = found["fusion"].as_str().unwrap();
    for rule in ["sum", "or", "confident"] {
        let own = found["rules"][rule]["ndcg@10"].as_f64().unwrap();
        assert!(own <= found["rules"][best]["ndcg@10"].as_f64().unwrap(), "{rule}");
        let alone = ["model-alone", "prior-alone"].map(|one| found[one]["ndcg@10"].as_f64());
        assert!(alone.iter().all(|one| one.is_some_and(|one| one < 1.0)), "{alone:?}");
        // Neither alone is better than the sum.
        assert!(rule != "sum" || alone.iter().all(|one| own >= one.unwrap()), "{own} {alone:?}");
        // Decoded anew by the weights that were found, the lists are worth what is said of them.
        done(folder, &format!("{VALIDATION} --fusion {rule} --out again.jsonl --force"));
        done(
            folder,
            "eval again.jsonl --data shop.bin --no-baselines --report report --resamples 1 --force",
        );
        let report: Value =
            serde_json::from_slice(&fs::read(folder.join("report/report.json")).unwrap()).unwrap();
        let row = &report["groups"][0]["rows"][0];
        let label = format!("predictions, fused with tfidf by {rule}");
        assert_eq!(row["method"], json!(label));
        for (metric, name) in [("hr@10", "hr@10"), ("ndcg@10", "ndcg@10")] {
            let (said, made) = (&found["rules"][rule][name], &row["metrics"][metric]["value"]);
            let (said, made) = (said.as_f64().unwrap(), made.as_f64().unwrap());
            assert!((said - made).abs() < 1e-9, "{rule} {metric}: {said} {made}");
            // All candidates stand there with both scores: what each is worth alone is known too,
            // and what the two have over the prior.
            let rows = report["groups"][0]["rows"].as_array().unwrap();
            let of = |name: &str| {
                let row = rows.iter().find(|row| row["method"] == name && row["part"] == "all");
                row.unwrap()["metrics"][metric]["value"].as_f64().unwrap()
            };
            for alone in ["model", "prior"] {
                let said = found[&format!("{alone}-alone")][name].as_f64().unwrap();
                let made = of(&format!("{label}, {alone} alone"));
                assert!((said - made).abs() < 1e-9, "{alone} {metric}: {said} {made}");
            }
            let over = &report["differences"][0];
            assert_eq!(over["method"], json!(label));
            assert_eq!(over["with"], json!(format!("{label}, prior alone")));
            let gained = over["metrics"][metric]["value"].as_f64().unwrap();
            assert!((gained - (of(&label) - of(&format!("{label}, prior alone")))).abs() < 1e-9);
        }
    }
    let side: Value =
        serde_json::from_slice(&fs::read(folder.join("again.jsonl.settings.json")).unwrap())
            .unwrap();
    assert_eq!(side["decode"]["prior"], "tfidf");
    assert_eq!(side["decode"]["fusion"], "confident");
    let weights = &side["settings"]["prior"]["weights"];
    assert_eq!(*weights, found["rules"]["confident"]["weights"]);
}

#[test]
fn decoding_says_what_it_takes_from_the_run() {
    let shop = shop();
    let folder = shop.path();
    let said = |flags: &str| {
        let words = format!("--threads 2 {TEST} --out x.jsonl --force {flags}");
        let output = Command::new(env!("CARGO_BIN_EXE_engine"))
            .current_dir(folder)
            .args(words.split_whitespace())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let usual = said("--prior tfidf");
    assert!(usual.contains("prior: weights of run/prior.json, NDCG@10 "), "{usual}");
    assert!(usual.contains("tfidf, its best 12, fused by"), "{usual}");
    let mut all = prior(folder);
    all["fusion"] = json!("sum");
    fs::write(folder.join("run/prior.json"), all.to_string()).unwrap();
    let typed = said("--prior tfidf --fusion or --prior-top 7");
    for words in ["--fusion was sum in run/prior.json and is or", "--prior-top was 12 in"] {
        assert!(typed.contains(words), "{typed}");
    }
    let other = said("--prior knn");
    assert!(other.contains("prior.json is about tfidf, not about knn"), "{other}");
    assert!(other.contains("count alike") && other.contains("its best 100"), "{other}");
    all["model"] = json!("another");
    fs::write(folder.join("run/prior.json"), all.to_string()).unwrap();
    assert!(said("--prior tfidf").contains("for another model (another)"));
}

#[test]
fn neither_threads_nor_groups_change_a_bit_and_a_list_is_resumed_as_it_began() {
    let shop = shop();
    let folder = shop.path();
    done(folder, &format!("{TEST} --prior tfidf --batch 64 --out a.jsonl"));
    let alone = format!("--threads 1 {TEST} --prior tfidf --batch 1 --out b.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_engine"))
        .current_dir(folder)
        .args(alone.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(timeless(lines(folder, "a.jsonl")), timeless(lines(folder, "b.jsonl")));
    put(folder, "tfidf", 1.0, 3.25);
    let resume = format!("{TEST} --prior tfidf --resume --out a.jsonl");
    let resume: Vec<&str> = resume.split_whitespace().collect();
    refused(folder, &resume, 2, &["--resume", "--prior: weights: prior was"]);
}

#[test]
fn prompts_and_the_library_ask_both_as_a_file_does() {
    let shop = shop();
    let folder = shop.path();
    done(folder, &format!("{TEST} --prior blend --top 5 --out a.jsonl"));
    let of_data = lines(folder, "a.jsonl");
    let dataset = Dataset::open(&folder.join("shop.bin")).unwrap();
    let mut prompts = Vec::new();
    for line in &of_data {
        let user = dataset.user(dataset.find_user(&line["id"].to_string()).unwrap());
        let shown = &user.items[..user.items.len() - 1];
        let history: Vec<u64> =
            shown.iter().map(|&item| dataset.item(item).id.parse().unwrap()).collect();
        prompts.push(json!({"id": line["id"], "history": history, "top": 5}));
    }
    let first = ids(&of_data[0]);
    let history = prompts[0]["history"].clone();
    prompts.push(json!({"id": "out", "history": history, "top": 4, "exclude": [first[0]]}));
    prompts.push(json!({"id": "few", "history": history, "candidates": [first[0], 40, 39]}));
    prompts.push(json!({"id": "text", "text": "[MASK]"}));
    prompts.push(json!({"id": "nobody", "history": []}));
    let text: String = prompts.iter().map(|prompt| format!("{prompt}\n")).collect();
    fs::write(folder.join("prompts.jsonl"), text).unwrap();
    let decode = "decode --weights run --data shop.bin --prior blend";
    done(folder, &format!("{decode} --prompts prompts.jsonl --out p.jsonl"));
    let answers = lines(folder, "p.jsonl");
    for (one, other) in answers.iter().zip(&of_data) {
        assert_eq!(one["items"], other["items"]);
    }
    let last = &answers[of_data.len()..];
    assert!(!ids(&last[0]).contains(&first[0]), "{}", last[0]);
    let mut few = ids(&last[1]);
    assert_eq!(few[0], first[0], "{}", last[1]);
    few.sort_unstable();
    let mut expected = vec![first[0], 39, 40];
    expected.sort_unstable();
    assert_eq!(few, expected);
    assert!(part(&last[1], "model").iter().all(|score| *score < 0.0));
    assert!(last[2]["text"].is_string() && last[3]["from"] == "popularity");
    // Candidates of a template are all there are.
    done(folder, &format!("{TEST} --prior blend --task direct --top 40 --out d.jsonl"));
    let choices = lines(folder, "d.jsonl");
    assert!(choices.iter().all(|line| part(line, "prior").len() == ids(line).len()));
    done(folder, &format!("{TEST} --task direct --top 40 --out m.jsonl"));
    for (one, other) in choices.iter().zip(lines(folder, "m.jsonl")) {
        let (mut one, mut other) = (ids(one), ids(&other));
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!(one, other);
    }
    // What is of the history goes.
    done(folder, &format!("{decode} --filter-history --prompts prompts.jsonl --out f.jsonl"));
    let filtered = lines(folder, "f.jsonl");
    for (line, prompt) in filtered.iter().zip(&prompts).take(of_data.len()) {
        let history: Vec<u64> = serde_json::from_value(prompt["history"].clone()).unwrap();
        let shown = ids(line);
        assert_eq!(shown.len(), 5);
        assert!(shown.iter().all(|item| !history.contains(item)), "{line}");
    }
    let mut settings = Settings::new(folder.join("run"), folder.join("shop.bin"));
    settings.answers.prior = Prior::Fitted(Fitted::Blend);
    settings.source.device = Some("cpu".parse().unwrap());
    let recommender = Recommender::open(&settings).unwrap();
    let user = dataset.find_user(&of_data[0]["id"].to_string()).unwrap();
    let asked = recommender.ask(&Question::User { user, split: Split::Test }).unwrap();
    let answered = recommender.answer([&asked]).unwrap();
    let Answer::Items(items) = &answered[0].answer else { panic!("expected items") };
    for (item, line) in items.iter().zip(of_data[0]["items"].as_array().unwrap()) {
        let parts = item.parts.unwrap();
        let own = [item.score, parts.model, parts.prior];
        let said = ["score", "model", "prior"].map(|key| line[key].as_f64().unwrap());
        assert!(own.iter().zip(said).all(|(a, b)| (a - b).abs() < 1e-9), "{own:?} {said:?}");
        assert!(!item.tokens.is_empty() && item.log_probs.len() == item.tokens.len());
    }
    let asked = Question::Of { family: Family::Sequential, subject: user, split: Split::Test };
    assert!(recommender.ask(&asked).is_ok());
}

#[test]
fn a_table_of_ones_own_is_asked_as_it_says() {
    let shop = shop();
    let folder = shop.path();
    // Whatever was bought, item 40 follows, then 39; no user of the shop's rule does so.
    let row = |item: usize| {
        let next = json!([{"item": 40, "score": 2}, {"item": 39, "score": 1}]);
        format!("{}\n", json!({"item": item, "next": next}))
    };
    let table: String = (1..=40).map(row).collect();
    let popular = json!({"popularity": [{"item": 38, "count": 9}]});
    fs::write(folder.join("t.jsonl"), format!("{table}{popular}\n")).unwrap();
    let mut all = prior(folder);
    done(folder, &format!("{TEST} --prior t.jsonl --out h.jsonl"));
    let side = fs::read(folder.join("h.jsonl.settings.json")).unwrap();
    let side: Value = serde_json::from_slice(&side).unwrap();
    all["file"] = side["settings"]["prior"]["file"].clone();
    assert!(all["file"].is_string());
    fs::write(folder.join("run/prior.json"), all.to_string()).unwrap();
    put(folder, "file", 0.0, 1.0);
    done(folder, &format!("{TEST} --prior t.jsonl --top 3 --out t.out"));
    for line in lines(folder, "t.out") {
        assert_eq!(ids(&line), [40, 39, 38], "{line}");
    }
    for (text, words) in [
        ("{\"item\": 1}\n", "t.jsonl:1: expected item and next"),
        ("\n{\"item\": 99, \"next\": []}\n", "t.jsonl:2: expected an item of shop, got 99"),
        ("{\"item\": 1, \"next\": [{\"item\": 2, \"score\": -1}]}", "a score of 0 or more"),
        ("{\"item\": 1, \"next\": []}\n{\"item\": 1, \"next\": []}", "got 1 again"),
        ("", "got none"),
    ] {
        fs::write(folder.join("t.jsonl"), text).unwrap();
        let words_of = format!("{TEST} --prior t.jsonl --out y.jsonl");
        let typed: Vec<&str> = words_of.split_whitespace().collect();
        refused(folder, &typed, 3, &["--prior", words]);
    }
}

#[test]
fn what_cannot_be_asked_beside_a_model_is_refused_with_a_sentence() {
    let shop = shop();
    let folder = shop.path();
    let cases = [
        ("--prior blnd", 2, "nearest is blend"),
        ("--prior no/where.jsonl", 2, "does not exist"),
        ("--prior w", 2, "got a folder"),
        ("--prior blend --mode free", 2, "got free"),
        ("--prior blend --mode ground", 2, "got ground"),
        ("--prior blend --mode list", 2, "got list"),
        ("--prior blend --task rating", 2, "got rating"),
        ("--prior blend --task explanation", 2, "got explanation"),
        ("--prior blend --template 2-12", 2, "template 2-12"),
        ("--fusion sum", 2, "--fusion: expected --prior beside it"),
        ("--prior-top 5", 2, "--prior-top: expected --prior beside it"),
    ];
    let refuses = |words: &str, code: i32, said: &[&str]| {
        let words: Vec<&str> = words.split_whitespace().collect();
        refused(folder, &words, code, said);
    };
    for (flags, code, said) in cases {
        refuses(&format!("{TEST} --out no.jsonl {flags}"), code, &[said]);
        assert!(!folder.join("no.jsonl").exists(), "{flags}");
    }
    let fit = "eval v.jsonl --data shop.bin --no-baselines --fit-prior";
    refuses(fit, 2, &["--fit-prior: expected --run beside it"]);
    let fit =
        |name: &str| format!("eval {name} --data shop.bin --no-baselines --fit-prior --run run");
    for (flags, said) in [
        ("--split validation --users 5", "got the model's alone"),
        ("--split test --users 5 --prior blend --top 120", "got test"),
        ("--split validation --users 5 --prior blend --top 31", "--top 120 or more"),
        (
            "--split validation --users 5 --prior blend --top 120 --filter-history",
            "--filter-history",
        ),
    ] {
        done(
            folder,
            &format!("decode --weights run --data shop.bin {flags} --out e.jsonl --force"),
        );
        refuses(&fit("e.jsonl"), 2, &["--fit-prior: e.jsonl:", said]);
    }
    let whole = fs::read_to_string(folder.join("v.jsonl")).unwrap();
    let short: String = whole.lines().take(59).map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("v.jsonl"), short).unwrap();
    refuses(&fit("v.jsonl"), 3, &["expected 60 lines, got 59"]);
    fs::write(folder.join("v.jsonl"), whole.replacen("\"prior\":", "\"other\":", 1)).unwrap();
    refuses(&fit("v.jsonl"), 3, &["a model's and a prior's score, got some without"]);
    let mut all = prior(folder);
    all["data-hash"] = json!(1);
    fs::write(folder.join("run/prior.json"), all.to_string()).unwrap();
    let decode = format!("{TEST} --prior tfidf --out no.jsonl");
    refuses(&decode, 3, &["run/prior.json", "(00000001)"]);
    put(folder, "tfidf", 0.0, 0.0);
    refuses(&decode, 4, &["run/prior.json", "weights of sum that make no list"]);
    fs::write(folder.join("run/prior.json"), "rubbish").unwrap();
    refuses(&decode, 4, &["run/prior.json", "expected the weights"]);
    assert!(!folder.join("no.jsonl").exists());
    // What is no work of ours is not written over.
    fs::write(folder.join("v.jsonl"), whole).unwrap();
    refuses(&fit("v.jsonl"), 2, &["run/prior.json"]);
}

#[test]
fn a_balance_of_nothing_is_none() {
    let usual = Balance::usual(1.0);
    assert!(usual.is_sound());
    for wrong in [
        Balance { model: 0.0, prior: 0.0, ..usual },
        Balance { prior: -1.0, ..usual },
        Balance { temperature: 0.0, ..usual },
        Balance { slope: f64::NAN, ..usual },
    ] {
        assert!(!wrong.is_sound(), "{wrong:?}");
    }
}
