//! What a report shows of several templates and files, beside published figures, and as LaTeX.

use super::evaluation::{
    item, lines, ranking, row, run, stars, value, well_formed, Shop, EVENTS, USERS,
};
use engine::base::Fault;
use engine::cli::eval::Eval;
use engine::data::Dataset;
use engine::recommender::identity::Identity;
use engine::recommender::job::Job;
use engine::recommender::predictions::Side;
use engine::recommender::report::{Rivals, Set};
use engine::recommender::{Settings, Wanted};
use serde_json::{json, Value};
use std::path::PathBuf;

/// Three texts, and what they are compared with: BLEU-2 29.64, BLEU-4 0, ROUGE-1 75.56 and ROUGE-L
/// 68.04, as the published scripts have them.
const TEXTS: [(&str, &str); 3] = [
    ("great product", "great little product"),
    ("works well", "it works very well"),
    ("love it", "i love it"),
];

fn templated(mut line: Value, template: &str) -> Value {
    line["template"] = json!(template);
    line
}

/// Lines of every family: sequential (15 at rank 1, 10 at rank 3, five missing), ratings of 3 stars
/// each, of which every tenth lost some of its prompt, texts, and direct at rank 2.
fn every_family(shop: &Shop) -> String {
    let dataset = Dataset::open(&shop.path("shop.bin")).unwrap();
    let mut all: Vec<Value> =
        (0..25).map(|user| ranking(user, if user < 15 { 1 } else { 3 })).collect();
    all.extend((0..USERS).map(|user| templated(ranking(user, 1), "2-13")));
    all.extend((0..USERS).map(|user| {
        let truncated = u32::from(user % 10 == 0);
        json!({"id": user + 1, "task": "rating", "template": "1-6", "text": "3.0",
            "truncated": truncated})
    }));
    for (task, template) in [("explanation", "3-3"), ("explanation", "3-9"), ("review", "4-1")] {
        all.extend((1..).zip(TEXTS).map(|(user, (text, reference))| {
            json!({"id": user, "task": task, "template": template, "text": text,
                "reference": reference})
        }));
    }
    all.extend((0..USERS).map(|user| {
        let u = dataset.find_user(&(user + 1).to_string()).unwrap();
        let mut items: Vec<Value> =
            dataset.negatives(u).iter().map(|&i| json!({"item": dataset.item(i).id})).collect();
        items.insert(1, json!({"item": item(user, EVENTS - 1)}));
        json!({"id": user + 1, "task": "direct", "template": "5-5", "items": items})
    }));
    lines(all)
}

fn read(shop: &Shop, name: &str) -> String {
    std::fs::read_to_string(shop.path("report").join(name)).unwrap()
}

/// The cells of a row of the table whose title begins so, as Markdown has them.
fn cells(markdown: &str, title: &str, method: &str) -> Vec<String> {
    let table = markdown.split("\n## ").find(|part| part.starts_with(title));
    let table = table.unwrap_or_else(|| panic!("no table {title}: {markdown}"));
    let row = table.lines().find(|line| line.starts_with(&format!("| {method} ")));
    let row = row.unwrap_or_else(|| panic!("no row {method}: {table}"));
    let cells = row.trim_matches('|').split('|').map(|cell| {
        let value = cell.split('±').next().unwrap();
        value.trim().to_owned()
    });
    cells.skip(1).collect()
}

#[test]
fn every_family_has_the_papers_table_with_published_figures() {
    let shop = Shop::new();
    let eval = Eval {
        rivals: Rivals::Published,
        rivals_of: Some(Set::Beauty),
        ..shop.eval(&every_family(&shop))
    };
    run(&eval).unwrap();
    let markdown = read(&shop, "report.md");
    let row = |title: &str, method: &str| cells(&markdown, title, method).join(" ");
    // Every gold from 1 to 5 six times: RMSE √2, MAE 1.2; three prompts of 30 were cut.
    assert_eq!(row("Table 2", "predictions 1-6"), "1.4142 1.2000 30 1.0000 0.1000");
    assert_eq!(row("Table 2", "RecSysLLM 1-6 (published)"), "1.2721† 0.8431† – – –");
    for baseline in
        ["training mean", "training median", "user and item bias", "biased matrix factorisation"]
    {
        assert_eq!(cells(&markdown, "Table 2", baseline)[2..], ["30", "–", "–"], "{baseline}");
    }
    let seen = "0.8333 0.6667 0.8333 0.6667 30 0.8333 0.0000";
    assert_eq!(row("Table 4", "predictions 2-3 (seen)"), seen);
    let held_out = "1.0000 1.0000 1.0000 1.0000 30 1.0000 0.0000";
    assert_eq!(row("Table 4", "predictions 2-13 (held out)"), held_out);
    assert_eq!(row("Table 4", "SASRec (published)"), "0.0387† 0.0249† 0.0605† 0.0318† – – –");
    assert_eq!(row("Table 4", "GRU4Rec (published)"), "0.0164† – – – – – –");
    // Published, and not possible together.
    assert_eq!(
        row("Table 4", "RecSysLLM 2-3 (published)"),
        "0.0508‡ 0.0381‡ 0.0667‡ 0.0446‡ – – –"
    );
    let words =
        "‡ Published, but not possible together: RecSysLLM 2-3: NDCG@10 - NDCG@5 \\<= .3562";
    assert!(markdown.contains(words), "{markdown}");
    assert_eq!(
        row("Table 5, explanation without", "predictions 3-3"),
        "0.00 75.56 22.22 68.04 3 1.0000 0.0000"
    );
    assert_eq!(
        row("Table 5, explanation with hint", "RecSysLLM 3-12 (published)"),
        "5.0021† 27.3854† 6.7281† 22.7439† – – –"
    );
    let with_hints = row("Table 5, explanation with hint", "predictions 3-9");
    assert!(with_hints.ends_with("68.04 3 1.0000 0.0000"), "{with_hints}");
    let summary = row("Table 6", "predictions 4-1");
    assert!(summary.starts_with("29.64 75.56 ") && summary.ends_with(" 3 1.0000 0.0000"));
    assert_eq!(
        row("Table 6", "RecSysLLM 4-1 (published)"),
        "3.3821† 9.8103‡ 2.8543† 10.4003‡ – – –"
    );
    let direct = "0.0000 1.0000 0.6309 1.0000 0.6309 30 1.0000 0.0000";
    assert_eq!(row("Table 7", "predictions 5-5"), direct);
    let slip = cells(&markdown, "Table 7", "RecSysLLM 5-8 (published)");
    assert_eq!(slip[..2], ["0.6072‡", "0.1502‡"]);
    assert!(cells(&markdown, "Table 7", "BPR-MF (published)").starts_with(&["0.0311†".to_owned()]));

    let report = shop.report();
    assert_eq!(report["rivals"]["title"], "Beauty");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("of 22363 users, 12101 items and 198502 interactions"), "{warnings}");
    let page = read(&shop, "report.html");
    well_formed(&page);
    assert!(page.contains("<td class=\"impossible\""), "{page}");
    set_by_latex(&read(&shop, "report.tex"));

    // The form of the two tables on data that nobody else has.
    run(&Eval { rivals_of: Some(Set::Alipay), ..eval }).unwrap();
    let markdown = read(&shop, "report.md");
    assert_eq!(cells(&markdown, "Table 8", "GPT-4 (published)")[0], "0.3846†");
    assert_eq!(cells(&markdown, "Table 8", "ChatGLM+SFT (published)")[0], "0.2654‡");
    assert_eq!(cells(&markdown, "Table 9", "predictions 5-5")[..2], ["0.0000", "1.0000"]);
    assert_eq!(cells(&markdown, "Table 9", "RecSysLLM (published)")[2], "0.7032‡");
}

#[test]
fn rivals_need_data_that_are_known_or_named() {
    let shop = Shop::new();
    let eval = shop.eval(&lines((0..USERS).map(|user| ranking(user, 2))));
    let unknown = run(&Eval { rivals: Rivals::Published, ..eval.clone() }).unwrap_err();
    assert_eq!(Fault::of(&unknown), Some(Fault::Usage), "{unknown}");
    let words = "got 30 users, 40 items and 150 interactions; name the set by setting `rivals-of`";
    assert!(unknown.to_string().ends_with(words), "{unknown}");
    let alone = run(&Eval { rivals_of: Some(Set::Toys), ..eval.clone() }).unwrap_err();
    assert_eq!(Fault::of(&alone), Some(Fault::Usage), "{alone}");
    let twice = Eval { predictions: vec!["-".into(), "-".into()], ..eval };
    assert_eq!(Fault::of(&run(&twice).unwrap_err()), Some(Fault::Usage));
}

/// Of one file without new flags: the table of before, byte for byte.
#[test]
fn one_file_has_the_tables_of_before() {
    let shop = Shop::new();
    let eval = shop.eval(&lines((0..USERS).map(|user| ranking(user, 1 + user % 3))));
    run(&Eval { no_baselines: true, resamples: 20, ..eval }).unwrap();
    let markdown = read(&shop, "report.md");
    let tables: Vec<&str> = markdown.split("\n## ").skip(1).collect();
    // The day, where it is good by two metrics, and warnings: without baselines nothing beside it.
    assert_eq!(tables.len(), 5, "{markdown}");
    assert_eq!(tables[0], ONE_FILE, "{markdown}");
    let report = shop.report();
    for absent in ["files", "differences", "by_seen", "rivals"] {
        assert!(report.get(absent).is_none(), "{absent}");
    }
    let absent = ["file", "overlaps"].map(|name| report["groups"][0].get(name));
    assert_eq!(absent, [None, None]);
}

const ONE_FILE: &str = "\
    sequential 2-3\n\n\
    | Methods     |          HR@1 |          HR@5 |        NDCG@5 |         HR@10 |\
    \x20      NDCG@10 |        MRR@10 |       HR@10 f |     NDCG@10 f |   n |\n\
    |-------------|--------------:|--------------:|--------------:|--------------:|\
    --------------:|--------------:|--------------:|--------------:|----:|\n\
    | predictions | 0.3333 ±.1508 | 1.0000 ±.0000 | 0.7103 ±.0644 | 1.0000 ±.0000 |\
    \x200.7103 ±.0644 | 0.6111 ±.0865 | 1.0000 ±.0000 | 0.7357 ±.0719 |  30 |\n";

#[test]
fn seen_and_held_out_templates_are_told_apart() {
    let shop = Shop::new();
    let own = "[[template]]\nid = \"mine\"\nfamily = \"rating\"\nanswer = \"stars\"\n\
               text = \"How many stars for {item} ? [MASK]\"\n\n[[template]]\nid = \"kept\"\n\
               family = \"rating\"\nanswer = \"stars\"\nseen = false\n\
               text = \"{item} : [MASK]\"\n";
    std::fs::write(shop.path("own.toml"), own).unwrap();
    let ranked = |template: &'static str, place: usize| {
        (0..USERS).map(move |user| templated(ranking(user, place), template))
    };
    let rated = |template: &'static str, off: usize| {
        (0..USERS).map(move |user| {
            let text = format!("{}.0", (stars(user, EVENTS - 1) + off).min(5));
            json!({"id": user + 1, "task": "rating", "template": template, "text": text})
        })
    };
    let all = ranked("2-1", 1).chain(ranked("2-3", 4)).chain(ranked("2-13", 2));
    let all = all.chain(rated("mine", 0)).chain(rated("kept", 9)).chain(rated("else", 9));
    let eval = shop.eval(&lines(all));
    side(&shop, "p.jsonl", Some(shop.path("own.toml")), None);
    run(&eval).unwrap();
    let report = shop.report();
    let spread = |task: &str, metric: &str, seen: bool| {
        let all = report["by_seen"].as_array().unwrap();
        let is = |s: &&Value| s["task"] == task && s["metric"] == metric && s["seen"] == seen;
        let found = all.iter().find(is).unwrap_or_else(|| panic!("{task} {metric} {seen}"));
        ["templates", "mean", "min", "max"].map(|name| found[name].as_f64().unwrap())
    };
    assert_eq!(spread("sequential", "hr@1", true), [2.0, 0.5, 0.0, 1.0]);
    assert_eq!(spread("sequential", "hr@1", false), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(spread("sequential", "hr@5", false), [1.0, 1.0, 1.0, 1.0]);
    // Of `else` nobody knows the words, hence not whether a training may see them.
    assert_eq!(spread("rating", "mae", true), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(spread("rating", "mae", false), [1.0, 2.0, 2.0, 2.0]);
    let over_all = report["spreads"].as_array().unwrap();
    let mae = over_all.iter().find(|s| s["task"] == "rating" && s["metric"] == "mae").unwrap();
    assert_eq!((&mae["templates"], mae.get("seen")), (&json!(3), None));
    let markdown = read(&shop, "report.md");
    let table = markdown.split("\n## ").find(|part| part.starts_with("Seen against")).unwrap();
    assert!(table.contains("2 seen") && table.contains("1 held out"), "{table}");
    let together = cells(&markdown, "Together: sequential", "predictions 2-13 (held out)");
    assert_eq!(together[0], "1.0000");
    let else_of = cells(&markdown, "Together: rating", "predictions else");
    assert_eq!(else_of[2..], ["30", "1.0000", "0.0000"]);
}

/// A metric that one template lacks has no mean over templates; the table says how many have it.
#[test]
fn a_metric_that_a_template_lacks_has_no_spread() {
    let shop = Shop::new();
    let explained = |template: &'static str, feature: Option<&'static str>| {
        (1..).zip(TEXTS).map(move |(user, (text, reference))| {
            let mut line = json!({"id": user, "task": "explanation", "template": template,
                "text": text, "reference": reference});
            line["feature"] = json!(feature);
            line
        })
    };
    for order in [["3-3", "3-9"], ["3-9", "3-3"]] {
        let feature = |template: &str| (template == "3-9").then_some("product");
        let all = order.into_iter().flat_map(|template| explained(template, feature(template)));
        run(&shop.eval(&lines(all))).unwrap();
        let report = shop.report();
        let spread = |metric: &str| {
            let all = report["spreads"].as_array().unwrap();
            all.iter().find(|s| s["metric"] == metric).unwrap_or_else(|| panic!("{metric}")).clone()
        };
        let lacking = spread("feature matching");
        assert_eq!((&lacking["templates"], &lacking["known"]), (&json!(2), &json!(1)));
        for name in ["mean", "min", "max"] {
            assert!(lacking.get(name).is_none(), "{lacking}");
        }
        let whole = spread("rouge-1");
        assert_eq!((&whole["templates"], &whole["known"]), (&json!(2), &json!(2)));
        assert!((whole["mean"].as_f64().unwrap() - 75.5556).abs() < 1e-3, "{whole}");
        let markdown = read(&shop, "report.md");
        let table = markdown.split("\n## ").find(|part| part.starts_with("Over temp")).unwrap();
        let row = table.lines().find(|line| line.contains("feature matching")).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells, ["explanation", "feature matching", "1 of 2", "–", "–", "–"]);
        for name in ["report.md", "report.tex", "report.html"] {
            assert!(!read(&shop, name).contains("NaN"), "{name}");
        }
    }
}

/// A list of twelve and a baseline's ranking of the catalogue are cut at the same place.
#[test]
fn reciprocal_ranks_behind_the_tenth_count_nothing() {
    let shop = Shop::new();
    let ranked = |user: usize| {
        let mut line = ranking(user, 1);
        let items = line["items"].as_array_mut().unwrap();
        let target = items.remove(0);
        let more = (1..=40).map(|i| json!({"item": i})).filter(|one| one["item"] != target["item"]);
        *items = more.take(11).collect();
        items.insert(if user < 10 { 9 } else { 11 }, target);
        line
    };
    run(&shop.eval(&lines((0..USERS).map(ranked)))).unwrap();
    let report = shop.report();
    let mrr = value(row(&report, "predictions", "all"), "mrr@10");
    assert!((mrr - 10.0 / 10.0 / USERS as f64).abs() < 1e-12, "{mrr}");
    let rows = report["groups"][0]["rows"].as_array().unwrap();
    for row in rows.iter().filter(|row| row["part"] == "all") {
        assert!(value(row, "mrr@10") <= value(row, "hr@10"), "{row}");
        assert!(row["metrics"].get("mrr").is_none(), "{row}");
    }
}

/// Settings as `decode` writes them beside predictions of the shop.
fn side(shop: &Shop, predictions: &str, templates: Option<PathBuf>, rank: Option<usize>) {
    let dataset = Dataset::open(&shop.path("shop.bin")).unwrap();
    let contents = |config: Value| json!({"config": config, "tensors": {}});
    let identity: Identity = serde_json::from_value(json!({
        "engine": "1", "device": "cpu", "settings": {}, "data_hash": dataset.hash(),
        "tokenizer_hash": 1, "templates": [], "weights": contents(json!({})),
        "adapter": rank.map(|rank| contents(json!({"r": rank}))),
    }))
    .unwrap();
    let rules = Wanted { templates, ..Wanted::default() };
    let settings = Settings { rules, ..Settings::default() };
    let decode = Job { settings, ..Job::default() };
    let side = Side { decode, asked: Some(USERS), identity };
    let path = Side::path(&shop.path(predictions));
    std::fs::write(path, serde_json::to_string(&side).unwrap()).unwrap();
}

#[test]
fn several_files_are_rows_and_compared_over_the_same_users() {
    let shop = Shop::new();
    let eval = shop.eval("");
    let write = |name: &str, rank: usize, place: fn(usize) -> usize| -> PathBuf {
        let text = lines((0..USERS).map(|user| ranking(user, place(user))));
        std::fs::write(shop.path(name), text).unwrap();
        side(&shop, name, None, Some(rank));
        shop.path(name)
    };
    let first = write("four_<b>.jsonl", 4, |user| if user < 15 { 1 } else { 3 });
    let second = write("eight.jsonl", 8, |_| 1);
    let predictions = vec![first, second];
    run(&Eval { predictions: predictions.clone(), ..eval.clone() }).unwrap();
    let report = shop.report();
    assert_eq!(report["groups"].as_array().unwrap().len(), 2);
    assert_eq!(value(row(&report, "four_<b>", "all"), "hr@1"), 0.5);
    assert_eq!(report["files"][1]["rank"], 8);
    // Where a user was at rank 3 the second file is at 1: half of them, by 1 and by 1/2.
    let difference = &report["differences"][0];
    assert_eq!((&difference["method"], &difference["with"]), (&json!("eight"), &json!("four_<b>")));
    assert_eq!((value(difference, "hr@1"), value(difference, "ndcg@10")), (0.5, 0.25));
    assert_eq!(difference["n"], USERS);
    let interval = &difference["metrics"]["hr@1"];
    let [low, high] = ["low", "high"].map(|end| interval[end].as_f64().unwrap());
    assert!(0.2 < low && low < 0.5 && 0.5 < high && high < 0.8, "{interval}");
    let same = &difference["metrics"]["hr@10"];
    assert_eq!((&same["low"], &same["high"]), (&json!(0.0), &json!(0.0)));

    // One table, with a row for each file, and each baseline once.
    let markdown = read(&shop, "report.md");
    assert_eq!(markdown.matches("\n## sequential 2-3\n").count(), 1, "{markdown}");
    let table = markdown.split("\n## ").find(|part| part.starts_with("sequential 2-3\n")).unwrap();
    assert_eq!(table.matches("| popularity ").count(), 1, "{table}");
    assert_eq!(cells(&markdown, "sequential 2-3\n", "eight")[0], "1.0000");
    let over = cells(&markdown, "sequential 2-3, difference to four", "eight");
    assert!(over[0].starts_with("+0.5000 (+0."), "{over:?}");
    // Where they are good: each file has its column, and each baseline one.
    let good = "sequential 2-3, where it is good: HR@10";
    let table = markdown.split("\n## ").find(|part| part.starts_with(good)).unwrap();
    let head = table.lines().nth(2).unwrap();
    let names: Vec<&str> = head.trim_matches('|').split('|').map(str::trim).collect();
    assert_eq!(names[..5], ["Users", "n", "four\\_\\<b>", "eight", "popularity"], "{head}");
    assert_eq!(head.matches("popularity").count(), 1, "{head}");
    // What a user's last two items are stands next to one another in the first three of another.
    let step = |user: usize, place: usize| (item(user, place), item(user, place + 1));
    let seen = |user: &usize| {
        let mut steps = (0..USERS).flat_map(|other| [step(other, 0), step(other, 1)]);
        steps.any(|other| other == step(*user, EVENTS - 2))
    };
    let seen = (0..USERS).filter(seen).count();
    assert!(seen > 0, "{seen}");
    assert_eq!(cells(&markdown, good, "transition seen")[..2], [seen.to_string(), "1.0000".into()]);
    assert_eq!(cells(&markdown, good, "same day")[0], "15");
    assert_eq!(cells(&markdown, good, "history of 4–6 items")[0], USERS.to_string());
    let rows = report["groups"][1]["rows"].as_array().unwrap();
    let found = rows.iter().find(|row| row["part"] == "seen_transition").unwrap();
    assert_eq!(found["method"], "eight");
    assert_eq!((&found["n"], value(found, "ndcg@10")), (&json!(seen), 1.0));
    let overlaps = report["groups"][1]["overlaps"].as_array().unwrap();
    let beside = overlaps.iter().find(|one| one["baseline"] == "popularity").unwrap();
    let baseline = value(row(&report, "popularity", "all"), "hr@10") * USERS as f64;
    assert_eq!((&beside["method"], &beside["n"]), (&json!("eight"), &json!(USERS)));
    let count = |name: &str| beside[name].as_f64().unwrap();
    assert_eq!((count("both"), count("only_baseline")), (baseline.round(), 0.0));
    assert_eq!(count("only_model"), USERS as f64 - baseline.round());
    let shared = cells(&markdown, "sequential 2-3, first ten beside", "popularity");
    let counts = [beside["both"].to_string(), beside["only_model"].to_string()];
    assert_eq!((shared.len(), &shared[6..8]), (10, &counts[..]), "{shared:?}");
    let page = read(&shop, "report.html");
    well_formed(&page);
    for title in [good, "sequential 2-3, first ten beside those of the baselines"] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{page}");
        assert!(read(&shop, "report.tex").contains(&format!("\\caption{{{title}}}")));
    }
    // The dots of all methods, the ladder of the files, and ranks 4 and 8.
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("rank 4, four_&lt;b&gt;: 0.5000, 95 % interval"), "{page}");
    assert!(page.contains(">1.0000 (+0.0000)</text>"), "{page}");
    set_by_latex(&read(&shop, "report.tex"));

    // A file that answers fewer is compared on those that both count.
    let few = lines((0..10).map(|user| ranking(user, 1)));
    std::fs::write(shop.path("few.jsonl"), few).unwrap();
    std::fs::write(shop.path("few.jsonl.settings.json"), "{\"limit\": 10}").unwrap();
    let predictions = [predictions, vec![shop.path("few.jsonl")]].concat();
    let threshold = vec!["hr@1>=0.9".to_owned()];
    let failed = run(&Eval { predictions, threshold, ..eval }).unwrap_err();
    assert!(failed.to_string().contains("sequential 2-3, four_<b>"), "{failed}");
    let report = shop.report();
    assert_eq!(report["differences"][1]["n"], 10);
    assert_eq!(value(&report["differences"][1], "hr@1"), 0.0);
    let page = read(&shop, "report.html");
    assert!(page.contains("popularity, users of few"), "{page}");
    assert_eq!(cells(&read(&shop, "report.md"), good, "all")[0], "30, 10");
}

#[test]
fn files_of_several_splits_are_judged_apart() {
    let shop = Shop::new();
    let eval = shop.eval(&lines((0..USERS).map(|user| ranking(user, 1))));
    side(&shop, "p.jsonl", None, None);
    std::fs::copy(shop.path("p.jsonl"), shop.path("q.jsonl")).unwrap();
    side(&shop, "q.jsonl", None, None);
    let path = Side::path(&shop.path("q.jsonl"));
    let other = std::fs::read_to_string(&path).unwrap().replace("\"test\"", "\"validation\"");
    std::fs::write(&path, other).unwrap();
    let predictions = vec![shop.path("p.jsonl"), shop.path("q.jsonl")];
    let refused = run(&Eval { predictions, ..eval }).unwrap_err();
    assert_eq!(Fault::of(&refused), Some(Fault::Usage), "{refused}");
    assert!(refused.to_string().contains("q.jsonl: expected predictions for split test"));
}

/// Baselines are fitted on what the source calls training records, where it says so of all: here
/// what was liked of every event but the first of each user, which is asked for.
#[test]
fn a_split_of_reviews_decides_what_baselines_of_ratings_see() {
    let review = |user: usize, place: usize| {
        let split = match place {
            0 => "test",
            _ if stars(user, place) >= 3 => "train",
            _ => "validation",
        };
        json!({"user": user + 1, "item": item(user, place), "split": split})
    };
    let all = (0..USERS).flat_map(|user| (0..EVENTS).map(move |place| review(user, place)));
    let shop = Shop::with_reviews(&lines(all));
    let rated = (0..USERS).map(|user| {
        let target = item(user, 0);
        json!({"id": user + 1, "task": "rating", "template": "1-6", "target": target, "text": "3"})
    });
    run(&shop.eval(&lines(rated))).unwrap();
    let report = shop.report();
    let seen = (0..USERS).flat_map(|user| (1..EVENTS).map(move |place| stars(user, place)));
    let seen: Vec<f64> = seen.filter(|&stars| stars >= 3).map(|stars| stars as f64).collect();
    let mean = seen.iter().sum::<f64>() / seen.len() as f64;
    let off = |user: usize| (stars(user, 0) as f64 - mean).powi(2);
    let expected = ((0..USERS).map(off).sum::<f64>() / USERS as f64).sqrt();
    let rmse = value(row(&report, "training mean", "all"), "rmse");
    assert!((rmse - expected).abs() < 1e-9, "{rmse} {expected}");
    // The other rule, all but the last event, would have seen what is asked.
    let last = (0..USERS).flat_map(|user| (0..EVENTS - 1).map(move |place| stars(user, place)));
    let last: Vec<f64> = last.map(|stars| stars as f64).collect();
    assert_ne!(last.iter().sum::<f64>() / last.len() as f64, mean);
}

/// Names that LaTeX would obey.
#[test]
fn what_is_quoted_in_latex_is_set_and_not_obeyed() {
    let shop = Shop::new();
    let name = "100% \\input{a}_b^c&d~e#f$g [x].jsonl";
    let hostile = "\\end{document} 5 % & _ # $ ^ ~ { } \\\\* [1]";
    let text = lines((0..USERS).map(|user| templated(ranking(user, 2), hostile)));
    let eval = shop.eval(&text);
    std::fs::write(shop.path(name), &text).unwrap();
    run(&Eval { predictions: vec![shop.path(name), shop.path("p.jsonl")], ..eval }).unwrap();
    let tex = read(&shop, "report.tex");
    set_by_latex(&tex);
    assert_eq!(tex.matches("\\end{document}").count(), 1, "{tex}");
    assert!(tex.contains("\\textbackslash{}end\\{document\\} 5 \\% \\& \\_ \\# \\$"), "{tex}");
    assert!(tex.starts_with("% engine eval\n"));
}

/// That a text could be set: braces and environments close in order, `&` stands in tables alone and
/// as often as the columns want, and no special character stands by itself.
fn set_by_latex(tex: &str) {
    let (mut braces, mut open, mut columns) = (0i64, Vec::new(), 0);
    for line in tex.lines().filter(|line| !line.starts_with('%')) {
        let (mut rest, mut apart) = (line, 0);
        while let Some(c) = rest.chars().next() {
            let mut length = c.len_utf8();
            match c {
                '\\' => {
                    let word: String =
                        rest[1..].chars().take_while(char::is_ascii_alphabetic).collect();
                    length = 1 + word.len().max(1);
                    let argument = || rest[length..].split(['{', '}']).nth(1).unwrap();
                    match &*word {
                        "begin" => open.push(argument().to_owned()),
                        "end" => assert_eq!(open.pop().as_deref(), Some(argument()), "{line}"),
                        _ => {}
                    }
                    if (&*word, argument_of(rest)) == ("begin", "tabular") {
                        let letters = rest.rsplit('{').next().unwrap();
                        columns = letters.trim_end_matches('}').len();
                    }
                }
                '{' => braces += 1,
                '}' => braces -= 1,
                '&' => apart += 1,
                '%' | '$' | '#' | '_' | '^' => panic!("{c} by itself: {line}"),
                _ => {}
            }
            assert!(braces >= 0, "{line}");
            rest = &rest[length..];
        }
        if apart > 0 || line.ends_with("\\\\") {
            assert_eq!(open.last().map(String::as_str), Some("tabular"), "{line}");
            assert_eq!(apart + 1, columns, "{line}");
            assert!(line.ends_with(" \\\\"), "{line}");
        }
    }
    assert_eq!((braces, open), (0, Vec::new()));
    assert!(tex.contains("\\toprule") && tex.contains("\\bottomrule"));
}

/// What stands in the first braces.
fn argument_of(rest: &str) -> &str {
    rest.split(['{', '}']).nth(1).unwrap_or_default()
}

#[test]
fn files_of_one_name_are_told_apart_by_their_folders() {
    let shop = Shop::new();
    let eval = shop.eval(&lines((0..USERS).map(|user| ranking(user, 1))));
    std::fs::create_dir(shop.path("other")).unwrap();
    std::fs::copy(shop.path("p.jsonl"), shop.path("other/p.jsonl")).unwrap();
    let predictions = vec![shop.path("p.jsonl"), shop.path("other/p.jsonl")];
    run(&Eval { predictions, ..eval }).unwrap();
    let report = shop.report();
    let files = report["files"].as_array().unwrap();
    let names: Vec<&str> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    let first = shop.folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(names, [&*format!("{first}/p"), "other/p"]);
    // One template: its table has both rows, and no other gathers them once more.
    assert!(!read(&shop, "report.md").contains("Together: "));
}
