//! The five families, as a user meets them: trained together, asked one by one, judged.

use crate::shelves::{explanation, headline, source, usual, ITEMS};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error.
fn run(folder: &Path, words: &str) -> (i32, String, String) {
    heard(folder, &format!("--quiet {words}"))
}

/// The same with what is remarked on the way.
fn heard(folder: &Path, words: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "2", "--device", "cpu"]);
    let output = command.args(words.split_whitespace()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn done(folder: &Path, words: &str) -> String {
    let (code, out, said) = run(folder, words);
    assert_eq!(code, 0, "{words}: {said}");
    out
}

#[track_caller]
fn refused(folder: &Path, words: &str, code: i32, expected: &str) {
    let (got, _, said) = run(folder, words);
    assert!(got == code && said.contains(expected), "{words}: {got}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

fn write(folder: &Path, name: &str, files: [(&'static str, String); 4]) {
    fs::create_dir(folder.join(name)).unwrap();
    for (file, text) in files {
        fs::write(folder.join(name).join(file), text).unwrap();
    }
}

/// A folder with the usual shop prepared, and weights to begin with.
fn shop(users: usize) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    write(folder, "shop", usual(users));
    done(folder, "prepare shop --train-tokenizer 400 --out shop.bin");
    base(folder);
    temporary
}

/// Weights for the tokenizer that lies there.
fn base(folder: &Path) {
    let config = r#"{"model_type": "glm", "num_layers": 2, "hidden_size": 48,
        "num_attention_heads": 4, "vocab_size": 400, "max_sequence_length": 512}"#;
    fs::write(folder.join("config.json"), config).unwrap();
    done(
        folder,
        "init --model config.json --tokenizer tokenizer.json --vocab-from-tokenizer --out w",
    );
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FAMILIES: [(&str, usize); 5] =
    [("sequential", 13), ("direct", 8), ("rating", 10), ("explanation", 12), ("review", 4)];

#[test]
fn every_template_of_every_family_trains_decodes_and_is_judged() {
    let shop = shop(30);
    let folder = shop.path();
    let train = "train --weights w --data shop.bin --tune full --batch 16 --validate-every 4 \
                 --validate-users 20 --epochs 0.1 --epochs-by p5";
    let all = "sequential,direct,rating=0.5,explanation,review=2";
    done(folder, &format!("{train} --families {all} --out run"));
    let rules = fs::read_to_string(folder.join("run/rules.json")).unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    assert_eq!(rules["template"].as_array().unwrap().len(), 42, "47 but the five held out");
    let decode = "decode --weights run --data shop.bin --users 3";
    for (family, templates) in FAMILIES {
        let asked = format!("{decode} --task {family}");
        let out = done(folder, &format!("{asked} --template all --out {family}.jsonl"));
        assert!(out.is_empty());
        let text = fs::read_to_string(folder.join(format!("{family}.jsonl"))).unwrap();
        let mut ids: Vec<String> = Vec::new();
        for line in lines(&text) {
            assert!(line.get("error").is_none() && !line["target"].is_null(), "{line}");
            assert_eq!(line["task"], family);
            let id = line["template"].as_str().unwrap().to_owned();
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        assert_eq!(ids.len(), templates, "{ids:?}");
        // The answers of a template are the same, asked alone.
        let last = ids.last().unwrap();
        let strip = |line: &Value| {
            let mut line = line.clone();
            line.as_object_mut().unwrap().remove("seconds");
            line
        };
        let alone = done(folder, &format!("{asked} --template {last}"));
        let own = lines(&text).into_iter().filter(|line| line["template"] == last.as_str());
        let alone: Vec<Value> = lines(&alone).iter().map(strip).collect();
        assert_eq!(alone, own.map(|line| strip(&line)).collect::<Vec<_>>());
        // What nobody names is the first of the run.
        let first = lines(&done(folder, &asked));
        assert_eq!(first[0]["template"], ids[0].as_str());
        let judge = format!("eval {family}.jsonl --data shop.bin --resamples 2");
        let (code, tables, said) = run(folder, &judge);
        assert_eq!(code, 0, "{said}");
        // Likes are no numbers; all else is judged.
        let judged = if family == "rating" { 6 } else { templates };
        let titles = tables.lines().filter(|line| line.starts_with(&format!("{family} ")));
        assert_eq!(titles.filter(|line| !line.contains(", ")).count(), judged, "{tables}");
        assert_eq!(said.contains("passed over"), family == "rating", "{said}");
    }
    // The rating templates that ask for stars; likes and dislikes are no numbers.
    for id in ["1-1", "1-2", "1-5", "1-6", "1-7", "1-10"] {
        done(folder, &format!("{decode} --task rating --template {id} --out r.jsonl --force"));
        let out = done(folder, "eval r.jsonl --data shop.bin --resamples 2");
        assert!(out.contains("training mean"), "{out}");
    }
    // A list of all that was found is judged under both length penalties (E13).
    let judged = |penalty: &str| {
        let asked = "decode --weights run --data shop.bin --beams 36 --top 36";
        done(folder, &format!("{asked} --length-penalty {penalty} --out l.jsonl --force"));
        done(folder, "eval l.jsonl --data shop.bin --no-baselines --resamples 2")
    };
    let cells = |table: &str, method: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("| {method} ")));
        row.map(|row| row.split('|').skip(2).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
    };
    let [mean, sum] = ["1", "0"].map(judged);
    let own = |table| cells(table, "predictions").expect("the main row");
    assert_ne!(own(&mean), own(&sum), "{mean}");
    assert_eq!(cells(&mean, "predictions, length penalty 0").as_ref(), Some(&own(&sum)));
    assert_eq!(cells(&sum, "predictions, length penalty 1").as_ref(), Some(&own(&mean)));
    // Other ways of answering, of training's sizes and of what stands round a prompt.
    for more in [
        "--mode free --beams 4",
        "--mode ground",
        "--mode list --top 3",
        "--mode score-all",
        "--task direct --candidates prompt",
        "--task direct --candidates both",
        "--task sequential --template 2-7 --candidates both",
        "--task explanation --text-beams 4 --groups 2 --diversity 0.5 --min-new-tokens 5",
        "--task review --repetition-penalty 0.7",
        "--task rating --split validation --template stars",
        "--frame chatglm",
    ] {
        let out = lines(&done(folder, &format!("{decode} {more}")));
        assert!(out.len() == 3 && out.iter().all(|line| line.get("error").is_none()), "{more}");
        // The place in a list is its score, of the first 0 and not its negative.
        let firsts = out.iter().filter_map(|line| line["items"].get(0));
        for first in firsts.filter(|_| more.contains("--mode list")) {
            assert_eq!(first["score"].to_string(), "0.0", "{more}");
        }
    }
    let train = train.replace("--epochs-by p5", "");
    for more in ["--epochs-by tokens", "--rating-targets int", "--split-policy strict"] {
        let words = format!("{train} --families rating,review {more} --out {}", &more[2..5]);
        done(folder, &words);
    }
}

#[test]
fn what_cannot_be_learnt_or_asked_is_refused_by_name() {
    let shop = shop(12);
    let folder = shop.path();
    let files = usual(12).map(|(name, text)| match name {
        "reviews.jsonl" => (name, String::new()),
        "interactions.tsv" => (name, text.lines().map(without_rating).collect()),
        _ => (name, text),
    });
    write(folder, "silent", files);
    done(folder, "prepare silent --tokenizer tokenizer.json --out silent.bin");
    let train = "train --weights w --tune full --validate-every 0 --epochs 0.1 --out no --data";
    for (words, code, expected) in [
        ("shop.bin --families raiting", 2, "nearest is rating"),
        ("shop.bin --families rating=0", 2, "expected FAMILY=WEIGHT"),
        ("shop.bin --families rating,rating", 2, "expected each family once"),
        ("shop.bin --families rating --template 2-3", 2, "a template of family rating"),
        ("shop.bin --families rating --template 1-6,2-3", 2, "expected sequential among them"),
        ("shop.bin --template 1-6,1-10", 2, "held out"),
        ("shop.bin --families rating --template 1-10", 2, "held out"),
        ("silent.bin --families rating", 3, "expected records with stars"),
        ("silent.bin --families explanation", 3, "expected records with explanations"),
        ("silent.bin --families sequential,review", 3, "leave family review out"),
    ] {
        refused(folder, &format!("{train} {words}"), code, expected);
        assert!(!folder.join("no").exists(), "{words}");
    }
    let decode = "decode --weights w --data";
    for (words, code, expected) in [
        ("shop.bin --task rating --template 2-3", 2, "expected one of family rating"),
        ("shop.bin --task review --template 4-5", 2, "4-5"),
        ("silent.bin --task review", 3, "expected records of split test that family review"),
        ("shop.bin --template all --prompts -", 2, "expected one template for prompts"),
        ("shop.bin --task direct --groups 3", 2, "--groups"),
        ("shop.bin --task direct --filter-history", 2, "got direct; leave one of them out"),
        ("shop.bin --task rating --mode free", 2, "got rating; leave one of them out"),
        ("shop.bin --min-new-tokens 65", 2, "min"),
    ] {
        refused(folder, &format!("{decode} {words}"), code, expected);
    }
}

/// What was given and changes nothing is told; what is for something of this training is not.
#[test]
fn settings_that_change_nothing_are_told() {
    let shop = shop(12);
    let train = "train --weights w --data shop.bin --epochs 0.1 --force --out run";
    let told = |words: &str| {
        let (code, _, said) = heard(shop.path(), &format!("{train} {words}"));
        assert_eq!(code, 0, "{words}: {said}");
        let lines = said.lines().filter_map(|line| {
            line.strip_prefix("--")?.split_once(" changes nothing here: it is for ")
        });
        lines.map(|(name, what)| format!("{name}: {what}")).collect::<Vec<_>>()
    };
    // All of it changes something, or is as it is by itself.
    let masks = "--levels 1,0,0 --document-min 0.6 --document-suffix 0.1 --mask-ratio 0.2 \
                 --mask-units token --span-order shuffle";
    let of_users = "--windows 0.5 --pairs 0.1 --crops 0.1 --shuffle-days --behaviours 3 \
                    --sampling recent";
    let adapter = "--rank 4 --alpha 8 --lora-dropout 0.1 --targets dense --train-positions";
    let validation = "--validate-users 3 --validate-beams 2 --patience 1";
    let none: [String; 0] = [];
    assert_eq!(told(&format!("{masks} {of_users} {adapter} {validation} --split-policy p5")), none);
    let legal = "--objective legal --decision-weights 2,1 --temperature 0.5";
    let teacher = "--teacher markov --teacher-weight 0.5 --teacher-temperature 1";
    assert_eq!(told(&format!("{legal} {teacher} {adapter}")), none);
    let records = "--families rating,sequential --rating-targets int --split-policy strict";
    assert_eq!(told(&format!("{records} --mix 0 {of_users}")), none);
    // And each of it nothing where what it is for is not there.
    let few = "--families rating --mix 0 --tune full --validate-every 0";
    let idle = told(&format!("{few} {masks} {of_users} {validation} {adapter}"));
    let names: Vec<&str> = idle.iter().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(
        names.join(" "),
        "rank alpha lora-dropout targets train-positions levels document-min document-suffix \
         mask-ratio mask-units span-order windows pairs crops shuffle-days sampling behaviours \
         validate-users validate-beams patience"
    );
    assert_eq!(idle[11], "windows: blanks, and for family sequential");
    let few = "--rating-targets int --split-policy strict --decision-weights 2,1";
    let idle = told(&format!("{few} --temperature 0.5 --teacher-weight 0.5"));
    assert_eq!(
        idle,
        [
            "rating-targets: templates that stars answer",
            "split-policy: families of records",
            "decision-weights: --objective legal",
            "temperature: --objective legal or --score legal",
            "teacher-weight: --teacher",
        ]
    );
}

fn without_rating(line: &str) -> String {
    let cells: Vec<&str> = line.split('\t').collect();
    let rating = if cells[0] == "user_id" { "rating" } else { "" };
    format!("{}\t{}\t{rating}\t{}\n", cells[0], cells[1], cells[3])
}

/// What was learnt by heart is what is answered: training and asking are one.
#[test]
fn every_family_learns_twenty_records_by_heart() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    // The same people; what one file calls training, the other asks for.
    let events = |user: usize| (0..5).map(move |k| (user * 5 + k * 11) % ITEMS).collect::<Vec<_>>();
    write(folder, "learnt", source(20, events, |_, place| place == 0, Some("train")));
    write(folder, "asked", source(20, events, |_, place| place == 0, Some("test")));
    // One training event, which another file has as its last; three, the last of which is asked.
    let once = |user: usize| events(user)[2..5].to_vec();
    write(folder, "once", source(20, once, |_, _| false, None));
    let last = |user: usize| once(user).into_iter().rev().collect();
    write(folder, "last", source(20, last, |_, _| false, None));
    let thrice = |user: usize| events(user)[..3].to_vec();
    write(folder, "thrice", source(20, thrice, |_, _| false, None));
    done(folder, "prepare learnt --train-tokenizer 400 --out learnt.bin");
    for name in ["asked", "once", "last", "thrice"] {
        done(folder, &format!("prepare {name} --tokenizer tokenizer.json --out {name}.bin"));
    }
    base(folder);
    let train = "train --weights w --tune full --batch 20 --validate-every 0 --checkpoint-every 0 \
                 --mix 0 --learning-rate 6e-3 --dropout 0 --rating-targets int";
    let written = "1-6,3-1,4-1";
    done(folder, &format!("{train} --data learnt.bin --template {written} --epochs 200 --out one"));
    done(folder, &format!("{train} --data learnt.bin --template 2-3 --epochs 120 --out next"));
    done(folder, &format!("{train} --data once.bin --template 5-5 --epochs 300 --out direct"));
    let asks = |run: &str, data: &str, task: &str| {
        lines(&done(folder, &format!("decode --weights {run} --data {data}.bin --task {task}")))
    };
    let features = ["colour", "price", "size"];
    let item = |line: &Value| line["target"].as_u64().unwrap() as usize - 1;
    let user = |line: &Value| line["id"].as_u64().unwrap() as usize;
    let stars = |line: &Value| (1 + (user(line) * 7 + item(line) * 3) % 5) as u32;
    let feature = |line: &Value| features[(user(line) + item(line)) % 3];
    let right = |task: &str, expected: &dyn Fn(&Value) -> String| {
        let all = asks("one", "asked", task);
        // The events of the others are rated, too; what was written about was learnt.
        let own = |line: &&Value| events(user(line))[0] == item(line);
        let own: Vec<&Value> = all.iter().filter(own).collect();
        assert_eq!(own.len(), 20, "{task}");
        let good = own.iter().filter(|line| line["text"] == expected(line).as_str()).count();
        assert!(good >= 18, "{task}: {good} of 20");
    };
    right("rating", &|line| stars(line).to_string());
    right("explanation", &|line| explanation(stars(line), feature(line)));
    right("review", &|line| headline(stars(line), feature(line)));
    for (run, data, task) in [("next", "thrice", "sequential"), ("direct", "last", "direct")] {
        let all = asks(run, data, task);
        assert_eq!(all.len(), 20);
        let good = all.iter().filter(|line| line["items"][0]["item"] == line["target"]).count();
        assert!(good >= 18, "{task}: {good} of 20");
    }
}
