//! What was learnt is what is asked: a run hands its rules on to whoever asks it, and what is typed
//! instead is honoured and said.

use crate::shop;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Standard error of a command that succeeds.
#[track_caller]
fn done(folder: &Path, text: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1"]).args(text.split_whitespace());
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}: {words}");
    words
}

const MINE: &str = "[[template]]\nid = \"mine\"\nfamily = \"sequential\"\nanswer = \"item\"\n\
                    text = \"I liked {history} . Next: [MASK]\"\n";

/// No rule as it is by itself.
const RULES: &str = "--template mine,2-4 --behaviours 3 --sampling recent --max-row 100 \
                     --intra glm --enc-intra one --trie-match simple --restart 2 --plain-run grow \
                     --gelu erf --score legal --temperature 0.5";

const TRAIN: &str = "train --weights w --data shop.bin --epochs 1 --batch 30 --rank 2 \
                     --learning-rate 1e-2 --validate-every 0 --validate-length-penalty 0.5";

fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    shop::numbered(path, 40, 60, 6, |i| {
        format!("{{\"id\": {}, \"title\": \"Thing {} of {}\"}}", i + 1, i / 5, i % 5)
    });
    done(path, "prepare source --train-tokenizer 330 --out shop.bin");
    done(path, "init --model config.json --tokenizer tokenizer.json --out w");
    fs::write(path.join("mine.toml"), MINE).unwrap();
    folder
}

/// Answers without the seconds that they took, and what was said.
#[track_caller]
fn answers(folder: &Path, of: &str) -> (Vec<serde_json::Value>, String) {
    let words = done(folder, &format!("decode --data shop.bin --users 9 --force --out p {of}"));
    let text = fs::read_to_string(folder.join("p")).unwrap();
    let line = |line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    (text.lines().map(line).collect(), words)
}

#[test]
fn a_run_without_flags_is_asked_as_with_all_of_them() {
    let folder = shop();
    let folder = folder.path();
    done(folder, &format!("{TRAIN} {RULES} --templates mine.toml --out lora"));
    done(folder, &format!("{TRAIN} {RULES} --templates mine.toml --out full --tune full"));
    done(folder, "merge --weights w --adapter lora --out merged");
    // Its words are in the run, wherever the user's file went.
    fs::rename(folder.join("mine.toml"), folder.join("moved.toml")).unwrap();
    for run in ["--weights w --adapter lora", "--weights full", "--weights merged"] {
        let (bare, said) = answers(folder, run);
        assert!(said.contains("template mine,2-4, ") && said.contains("length-penalty 0.5"));
        assert!(!said.contains("as asked"), "{said}");
        let all = format!("{run} {RULES} --templates moved.toml --length-penalty 0.5");
        let (typed, said) = answers(folder, &all);
        assert!(!said.contains("as asked"), "{said}");
        assert_eq!(bare, typed, "{run}");
        assert_eq!(bare[0]["template"], "mine");
        // Each flag changes something, alone, and one line says so.
        for (flag, was) in [
            ("--template 2-4", "mine"),
            ("--behaviours 1", "3"),
            ("--sampling uniform", "recent"),
            ("--max-row 90", "100"),
            ("--intra entity", "glm"),
            ("--enc-intra off", "one"),
            ("--trie-match rescan", "simple"),
            ("--restart 1", "2"),
            ("--plain-run restart", "grow"),
            ("--length-penalty 1", "0.5"),
            ("--score full", "legal"),
            ("--temperature 2", "0.5"),
            ("--gelu tanh", "erf"),
        ] {
            let said = answers(folder, &format!("{run} {flag}")).1;
            let lines: Vec<&str> = said.lines().filter(|l| l.ends_with("as asked")).collect();
            let (name, now) = flag.split_once(' ').unwrap();
            let now = match name {
                "--length-penalty" => "1.0",
                "--temperature" => "2.0",
                _ => now,
            };
            assert_eq!(lines, [format!("rules: {name} was {was} and is {now}, as asked")]);
        }
    }
    // A file of settings is typed, too.
    fs::write(folder.join("c.toml"), "intra = \"entity\"\n").unwrap();
    let (configured, said) = answers(folder, "--weights full --config c.toml");
    assert!(said.contains("--intra was glm and is entity, as asked"), "{said}");
    assert_eq!(configured, answers(folder, "--weights full --intra entity").0);
    // A run of an engine that had no choice of behaviours is asked as it learnt.
    let text = fs::read_to_string(folder.join("full/rules.json")).unwrap();
    for (behaviours, sampling) in [("3", "windows"), ("0", "recent")] {
        let few = text.replace("\"behaviours\": 3", &format!("\"behaviours\": {behaviours}"));
        let old = few.replace("  \"sampling\": \"recent\",\n", "");
        assert_ne!(old, few);
        fs::write(folder.join("full/rules.json"), old).unwrap();
        let said = answers(folder, "--weights full").1;
        assert!(said.contains(&format!("sampling {sampling}, ")), "{said}");
    }
    fs::write(folder.join("full/rules.json"), &text).unwrap();
    // Where nothing was learnt, the usual rules are said.
    let said = answers(folder, "--weights w").1;
    assert!(said.contains("no run tells") && said.contains("template 2-3, "), "{said}");
    // Rules that are not whole are not filled up.
    let text = fs::read_to_string(folder.join("full/rules.json")).unwrap();
    fs::write(folder.join("full/rules.json"), text.replace("\"restart\": 2,", "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    let words = ["decode", "--weights", "full", "--data", "shop.bin"];
    let output = command.current_dir(folder).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("--restart was none and is 1"), "{said}");
}

/// Intra ids of the prompt's part A that are not 0, for rules of the base.
fn numbered(folder: &Path, rules: &str) -> usize {
    answers(folder, &format!("--weights w --trace t --template next {rules}"));
    let trace = fs::read_to_string(folder.join("t")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    let context = trace["prompt"]["context"].as_u64().unwrap() as usize;
    let intra = &trace["prompt"]["positions"][1].as_array().unwrap()[..context];
    intra.iter().filter(|id| id.as_u64() != Some(0)).count()
}

/// Items of an answer with their scores.
fn scored(answer: &serde_json::Value) -> Vec<(u64, f64)> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|i| (i["item"].as_u64().unwrap(), i["score"].as_f64().unwrap())).collect()
}

#[test]
fn what_learnt_over_the_catalogue_is_asked_for_shares_of_it() {
    let folder = shop();
    let folder = folder.path();
    let train = "train --weights w --data shop.bin --tune full --epochs 2 --batch 30 \
                 --learning-rate 1e-3 --objective legal --temperature 0.8 --decision-weights 2,1 \
                 --crops 0.5 --pairs 0.2 --shuffle-days";
    done(folder, &format!("{train} --validate-every 2 --validate-users 20 --out run"));
    let rules = fs::read_to_string(folder.join("run/rules.json")).unwrap();
    let rules: serde_json::Value = serde_json::from_str(&rules).unwrap();
    assert_eq!((&rules["score"], &rules["length-penalty"]), (&"legal".into(), &0.0.into()));
    let (bare, said) = answers(folder, "--weights run");
    assert!(said.contains("score legal, temperature 0.8"), "{said}");
    let typed = "--weights run --score legal --temperature 0.8 --length-penalty 0";
    assert_eq!(bare, answers(folder, typed).0);
    // All shares together are 1, whoever is asked for, and an exact search has the largest.
    let all = answers(folder, "--weights run --mode score-all --top 40").0;
    let exact = answers(folder, "--weights run --search exact --top 7").0;
    let filtered = answers(folder, "--weights run --search exact --top 7 --filter-history").0;
    for ((all, exact), filtered) in all.iter().zip(&exact).zip(&filtered) {
        let (all, exact, filtered) = (scored(all), scored(exact), scored(filtered));
        let sum: f64 = all.iter().map(|(_, score)| score.exp()).sum();
        assert!(all.len() == 40 && (sum - 1.0).abs() < 1e-4, "{sum}");
        assert_eq!(exact, all[..7]);
        // What is left out takes its share along.
        assert!(filtered.iter().all(|one| all.contains(one)));
    }
    let (code, _, said) = run(
        folder,
        "decode --weights run --data shop.bin --out q \
                                       --search exact --length-penalty 1",
    );
    assert!(code == 2 && said.contains("--length-penalty 0"), "{said}");
    // A last fit learns what validation asks for, and so has none.
    let (code, _, said) = run(folder, &format!("{train} --parts train+validation --out last"));
    assert!(code == 2 && said.contains("--validate-every 0"), "{said}");
    done(folder, &format!("{train} --parts train+validation --validate-every 0 --out last"));
    let weights = |run: &str| fs::read(folder.join(run).join("model.safetensors")).unwrap();
    assert!(weights("run") != weights("last"));
}

/// A teacher changes what is learnt; what asks for one in vain is refused; and what a table says
/// counts, not where it stands.
#[test]
fn a_teacher_is_asked_where_choices_are_few() {
    let folder = shop();
    let folder = folder.path();
    let train = "train --weights w --data shop.bin --tune full --epochs 1 --batch 30 \
                 --learning-rate 1e-3 --validate-every 0 --checkpoint-every 1 --objective legal";
    let weights = |run: &str| fs::read(folder.join(run).join("model.safetensors")).unwrap();
    let pairs = |item: usize| {
        format!(
            "{{\"item\": {item}, \"next\": [{{\"item\": {}, \
         \"score\": 2}}]}}\n",
            item % 40 + 1
        )
    };
    let table: String = (1..=40).map(pairs).collect();
    fs::write(folder.join("t.jsonl"), &table).unwrap();
    let taught = "--teacher-temperature 0.3 --contexts 0.3 --teacher-samples 0.4";
    for (name, more) in [
        ("alone", String::new()),
        ("adaptive", "--decision-weights adaptive".to_owned()),
        ("blend", "--teacher blend".to_owned()),
        ("again", "--teacher blend".to_owned()),
        ("markov", format!("--teacher markov {taught}")),
        ("table", format!("--teacher t.jsonl {taught}")),
    ] {
        done(folder, &format!("{train} {more} --out {name}"));
    }
    assert!(weights("blend") == weights("again"));
    let all = ["alone", "adaptive", "blend", "markov", "table"].map(weights);
    assert!((0..5).all(|a| (0..a).all(|b| all[a] != all[b])));
    // A run goes on with the same table elsewhere, and not with another.
    fs::rename(folder.join("t.jsonl"), folder.join("u.jsonl")).unwrap();
    done(folder, &format!("{train} {taught} --teacher u.jsonl --out table --resume"));
    fs::write(folder.join("u.jsonl"), table.replace("\"score\": 2", "\"score\": 3")).unwrap();
    let again = format!("{train} {taught} --teacher u.jsonl --out table --resume");
    let (code, _, said) = run(folder, &again);
    assert!(code == 2 && said.contains("--teacher"), "{said}");
    for (more, words) in [
        ("--contexts 0.2", "--teacher"),
        ("--teacher-samples 0.2", "--teacher"),
        ("--teacher blnd", "nearest is blend"),
        ("--teacher blend --objective full", "--objective legal"),
        ("--decision-weights 2,adaptive", "adaptive alone"),
        ("--decision-weights adaptiv", "expected adaptive or a number above 0"),
    ] {
        let (code, _, said) = run(
            folder,
            &format!("{train} {more} --out no")
                .replace("--objective legal --teacher blend", "--teacher blend"),
        );
        assert!(code == 2 && said.contains(words), "{more}: {said}");
        assert!(!folder.join("no").exists());
    }
}

#[test]
fn embeddings_begin_from_the_data_the_same_each_time() {
    let folder = shop();
    let folder = folder.path();
    let init = "init --model config.json --tokenizer tokenizer.json --embeddings from-data";
    done(folder, &format!("{init} --data shop.bin --out a"));
    let (code, _, said) = run(folder, &format!("{init} --data shop.bin --out b"));
    assert!(code == 0, "{said}");
    let weights = |name: &str| fs::read(folder.join(name).join("model.safetensors")).unwrap();
    assert!(weights("a") == weights("b") && weights("a") != weights("w"));
    let (code, _, said) = run(folder, &format!("{init} --out c"));
    assert!(code == 2 && said.contains("--data"), "{said}");
    let random = "init --model config.json --data shop.bin --out c";
    let (code, _, said) = run(folder, random);
    assert!(code == 2 && said.contains("--embeddings from-data"), "{said}");
    assert!(!folder.join("c").exists());
}

#[test]
fn glm_numbers_part_a_where_that_is_asked_for() {
    let folder = shop();
    let folder = folder.path();
    assert_eq!(numbered(folder, "--intra glm"), 0);
    assert_eq!(numbered(folder, "--intra glm --enc-intra off"), 0);
    let one = numbered(folder, "--intra glm --enc-intra one");
    assert!(one > 0);
    assert_eq!(numbered(folder, ""), one);
}

/// Exit code, standard output and standard error.
fn run(folder: &Path, text: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1", "--quiet"]).args(text.split_whitespace());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Number of users of the first row, and standard error.
#[track_caller]
fn judged(folder: &Path, predictions: &str, more: &str) -> (String, String) {
    let eval = format!("eval {predictions} --data shop.bin --resamples 2 {more}");
    let (code, out, words) = run(folder, &eval);
    assert_eq!(code, 0, "{eval}: {words}");
    let row = out.lines().find(|line| line.starts_with("| predictions")).expect("a row");
    (row.trim_end_matches([' ', '|']).rsplit(' ').next().unwrap().to_owned(), words)
}

fn keep_lines(path: &Path, count: usize) {
    let text = fs::read_to_string(path).unwrap();
    let kept: String = text.lines().take(count).map(|line| format!("{line}\n")).collect();
    fs::write(path, kept).unwrap();
}

#[test]
fn predictions_say_what_made_them_and_are_judged_by_it() {
    let folder = shop();
    let folder = folder.path();
    let decode = "decode --weights w --data shop.bin";
    done(folder, &format!("{decode} --out all"));
    done(folder, &format!("{decode} --users 7 --split validation --out some"));
    let side = fs::read_to_string(folder.join("some.settings.json")).unwrap();
    let side: serde_json::Value = serde_json::from_str(&side).unwrap();
    assert_eq!((&side["asked"], &side["decode"]["split"]), (&7.into(), &"validation".into()));
    assert!(side["engine"].is_string() && side["data_hash"].is_number());
    assert_eq!(side["decode"]["enc-intra"], "one");
    // Whom was asked counts, whoever has a line, and what they were asked.
    keep_lines(&folder.join("all"), 50);
    keep_lines(&folder.join("some"), 3);
    assert_eq!(judged(folder, "all", "").0, "60");
    assert_eq!(judged(folder, "some", "--report r").0, "7");
    let report = fs::read_to_string(folder.join("r/report.md")).unwrap();
    let made = report.lines().find(|line| line.starts_with("* made by")).unwrap();
    for word in ["7 users of split validation", "weights w", "template 2-3", "engine 0."] {
        assert!(made.contains(word), "{made}");
    }
    assert_eq!(judged(folder, "some", "--users listed").0, "3");
    // Another .bin is refused, even one that has all users and items.
    fs::write(folder.join("source/users.jsonl"), "{\"id\": 1, \"age\": 3}\n").unwrap();
    done(folder, "prepare source --tokenizer tokenizer.json --out other.bin");
    let (code, _, words) = run(folder, "eval all --data other.bin");
    assert!(code == 3 && words.contains("expected the .bin that all was made with"), "{words}");
    // Without its settings a file is judged by what is said here, which is said.
    fs::rename(folder.join("all.settings.json"), folder.join("kept")).unwrap();
    let (n, words) = judged(folder, "all", "");
    assert!(n == "60" && words.contains("no settings of this engine stand beside"), "{words}");
    // Those of other predictions are not taken for its own.
    fs::copy(folder.join("some"), folder.join("some.jsonl")).unwrap();
    let (n, words) = judged(folder, "some.jsonl", "--split validation");
    assert!(n == "60" && words.contains("no settings of this engine stand beside"), "{words}");
}

#[test]
fn a_demo_is_of_its_seed_and_counts_as_eval_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (out, seed) in [("a", 3), ("b", 4)] {
        let demo = format!("demo --users 40 --epochs 1 --seed {seed} --out {out}");
        let (code, said, words) = run(folder, &demo);
        assert_eq!(code, 0, "{words}");
        let of = |text: &str, name: &str| {
            let row = text.lines().rfind(|line| line.starts_with(&format!("| {name} "))).unwrap();
            row.to_owned()
        };
        let popular = of(&said, "popularity");
        let hits = popular.trim_end_matches([' ', '|']).rsplit(' ').next().unwrap().to_owned();
        let eval = format!("eval {out}/predictions.jsonl --data {out}/shop.bin --report {out}/r");
        assert_eq!(run(folder, &eval).0, 0);
        let report = fs::read_to_string(folder.join(out).join("r/report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let rows = report["groups"][0]["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["method"] == "popularity").unwrap();
        assert_eq!(hits, format!("{:.4}", row["metrics"]["hr@10"]["value"].as_f64().unwrap()));
        // What was printed when the shop was made is the table's first row.
        let best = of(&said, "best possible");
        let rates: Vec<&str> = best.split('|').map(str::trim).filter(|w| !w.is_empty()).collect();
        let note = format!("best possible, test: HR@1 {}, HR@10 {} of", rates[1], rates[2]);
        assert!(said.contains(&note), "{said}");
        assert_eq!(said.matches("→ then bought").count(), 3, "{said}");
        assert!(folder.join(out).join("report/report.html").exists());
    }
    let shop = |out: &str| fs::read(folder.join(out).join("shop.bin")).unwrap();
    assert_ne!(shop("a"), shop("b"));
}

#[test]
fn a_run_is_found_by_what_it_is_and_none_is_left_empty() {
    let folder = shop();
    let folder = folder.path();
    let train = |more: &str| run(folder, &format!("{TRAIN} {more}"));
    // Nothing to go on with, and refusals at every stage.
    for (more, code) in [
        ("--resume", 2),
        ("--resume --out runs/x", 2),
        ("--template 9-9", 2),
        ("--max-row 3", 2),
        ("--gelu erf --device cuda:77", 5),
    ] {
        let (got, _, words) = train(more);
        assert_eq!(got, code, "{more}: {words}");
        assert!(!folder.join("runs").exists(), "{more}");
    }
    for (more, run) in [("", 1), ("--weight-decay 0.5", 2), ("", 3)] {
        let (code, said, words) = train(more);
        assert_eq!(code, 0, "{words}");
        assert!(said.contains(&format!("run: runs/shop-lora-{run}\n")), "{said}");
    }
    let found = |more: &str| train(&format!("--resume {more}")).1;
    assert!(found("").contains("run: runs/shop-lora-3\n"));
    assert!(found("--weight-decay 0.5").contains("run: runs/shop-lora-2\n"));
    let (code, _, words) = train("--resume --weight-decay 0.25");
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("--weight-decay was 0.01 and is 0.25"), "{words}");
    assert_eq!(fs::read_dir(folder.join("runs")).unwrap().count(), 3);
}
