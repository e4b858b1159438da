//! One mistake has one answer, whichever verb is asked: the same exit code, and the name of what
//! was mistaken. Every verb and flag that the parser knows is walked, so that a new one is held to
//! it by itself.

use super::cli::{copy, own_shop, refused, run, TRAIN};
use std::any::TypeId;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a path stands for, and so whose fault wrong contents are.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Data,
    Model,
    Settings,
    /// Lines of which each is answered by itself.
    Lines,
    /// Whatever there is.
    Anything,
}

/// Every flag that reads a path: what it stands for, and something right of it.
const READ: &[(&str, Of, &str)] = &[
    ("source", Of::Anything, "source"),
    ("path", Of::Anything, "w"),
    ("tokenizer", Of::Model, "tokenizer.json"),
    ("model", Of::Model, "config.json"),
    ("weights", Of::Model, "w"),
    ("adapter", Of::Model, "run"),
    ("data", Of::Data, "shop.bin"),
    ("predictions", Of::Data, "p.jsonl"),
    ("run", Of::Data, "run"),
    ("inputs", Of::Data, "rows.safetensors"),
    ("templates", Of::Settings, "own.toml"),
    ("config", Of::Settings, "none.toml"),
    ("prompts", Of::Lines, "prompts.jsonl"),
    ("ladder", Of::Settings, "ladder.toml"),
];

/// Flags that name what is written, with a place where nothing is.
const WRITTEN: &[(&str, &str)] =
    &[("out", "x"), ("outputs", "x"), ("report", "x"), ("trace", "y"), ("tokenizer-out", "z")];

/// Other words that a verb needs.
fn needs(verb: &str) -> &'static [&'static str] {
    match verb {
        "train" => &["--epochs", "0.1", "--batch", "4", "--validate-every", "0"],
        "init" => &["--embeddings", "from-data"],
        _ => &[],
    }
}

fn is_path(argument: &clap::Arg) -> bool {
    let name = argument.get_id().as_str();
    argument.get_value_parser().type_id() == TypeId::of::<PathBuf>() || name == "prompts"
}

fn name_of(argument: &clap::Arg) -> String {
    argument.get_long().unwrap_or(argument.get_id().as_str()).to_owned()
}

/// (verb, flag) of every path that is read.
fn read() -> Vec<(String, String)> {
    let command = engine::cli::command();
    let mut found = Vec::new();
    for verb in command.get_subcommands() {
        let of_all = command.get_arguments().filter(|argument| argument.is_global_set());
        for argument in verb.get_arguments().chain(of_all).filter(|argument| is_path(argument)) {
            let name = name_of(argument);
            if WRITTEN.iter().all(|(written, _)| *written != name) {
                found.push((verb.get_name().to_owned(), name));
            }
        }
    }
    found
}

/// The command line of a verb in which all paths are right but that of `flag`, which is `path`.
fn words(verb: &str, flag: &str, path: &str) -> Vec<String> {
    let command = engine::cli::command();
    let arguments = command.find_subcommand(verb).unwrap().get_arguments();
    let mut words = vec![verb.to_owned()];
    let mut positional = None;
    for argument in arguments.filter(|argument| is_path(argument)) {
        let name = name_of(argument);
        let right = READ.iter().find(|(read, ..)| *read == name).map(|(.., right)| *right);
        let free = WRITTEN.iter().find(|(written, _)| *written == name).map(|(_, free)| *free);
        let optional = ["report", "trace", "tokenizer-out"].contains(&&*name);
        // What shows examples of data is a file of templates.
        let right = if (verb, &*name) == ("inspect", "path") { Some("own.toml") } else { right };
        let value = match (name == flag, right.or(free)) {
            (true, _) => path,
            (false, _) if optional => continue,
            (false, Some(value)) => value,
            (false, None) => {
                panic!("{verb} --{name}: is it read or written? say so in mistakes.rs")
            }
        };
        match argument.is_positional() {
            true => positional = Some(value.to_owned()),
            false => words.extend([format!("--{name}"), value.to_owned()]),
        }
    }
    if flag == "config" {
        words.extend(["--config".to_owned(), path.to_owned()]);
    }
    words.extend(needs(verb).iter().map(|word| (*word).to_owned()));
    words.extend(positional);
    words
}

/// A copy of a shop with all that the right paths name, and the wrong paths: tests run side by
/// side.
fn shop() -> tempfile::TempDir {
    static SHOP: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = SHOP.get_or_init(|| {
        let own = own_shop();
        let folder = own.path();
        let adapter =
            "train --weights w --data shop.bin --out run --epochs 0.1 --batch 4 --rank 2 \
            --validate-every 0";
        let decode = "decode --weights w --data shop.bin --users 3 --beams 3 --out p.jsonl";
        for words in [adapter, decode] {
            let (code, _, error) = run(folder, &words.split(' ').collect::<Vec<_>>());
            assert_eq!(code, 0, "{error}");
        }
        let ladder = "data = \"shop.bin\"\n[base]\nweights = \"w\"\n[train]\nepochs = 0.1\n\
            batch = 4\nvalidate-every = 0\n[[step]]\nname = \"one\"\n";
        let own_template = "[[template]]\nid = \"own\"\nfamily = \"sequential\"\nanswer = \
            \"item\"\ntext = \"{history} , [MASK]\"\n";
        for (name, text) in [
            ("own.toml", own_template),
            ("none.toml", ""),
            ("ladder.toml", ladder),
            ("prompts.jsonl", "{\"id\": 1, \"history\": [1, 2]}\n"),
            ("rows.safetensors", "not looked at"),
            ("empty", ""),
            ("rubbish", "\u{0}\u{1}rub\nbish"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        fs::create_dir(folder.join("empty-folder")).unwrap();
        own
    });
    let own = tempfile::tempdir().unwrap();
    copy(made.path(), own.path());
    own
}

#[track_caller]
fn mistaken(shop: &Path, (verb, flag): (&str, &str), path: &str, code: i32, said: &[&str]) {
    let words = words(verb, flag, path);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(shop, &words, code, &[&[path], said].concat());
    for (_, free) in WRITTEN {
        assert!(!shop.join(free).exists(), "{words:?}: {free} was left behind");
    }
}

fn of(flag: &str) -> Of {
    let known = READ.iter().find(|(read, ..)| *read == flag);
    known.unwrap_or_else(|| panic!("--{flag}: what does it stand for? say so in mistakes.rs")).1
}

#[test]
fn a_path_that_is_not_there_is_wrong_usage_everywhere_and_says_so() {
    let shop = shop();
    for (verb, flag) in read() {
        mistaken(shop.path(), (&verb, &flag), "nowhere/at-all", 2, &["not exist"]);
        mistaken(shop.path(), (&verb, &flag), "shop.bin/x", 2, &["expected"]);
    }
}

#[test]
fn a_folder_for_a_file_and_a_file_for_a_folder_are_wrong_usage_everywhere() {
    let shop = shop();
    for (verb, flag) in read() {
        let folder = ["weights", "adapter", "run"].contains(&&*flag);
        match (of(&flag), folder) {
            (Of::Anything, _) => {}
            (_, true) => mistaken(shop.path(), (&verb, &flag), "tokenizer.json", 2, &["expected"]),
            (_, false) => {
                mistaken(shop.path(), (&verb, &flag), "empty-folder", 2, &["got a folder"])
            }
        }
    }
}

#[test]
fn wrong_contents_are_the_fault_of_what_they_should_be() {
    let shop = shop();
    for (verb, flag) in read() {
        let folder = ["weights", "adapter", "run"].contains(&&*flag);
        let code = match of(&flag) {
            Of::Data => 3,
            Of::Model => 4,
            Of::Settings => 2,
            Of::Lines | Of::Anything => continue,
        };
        if folder {
            mistaken(shop.path(), (&verb, &flag), "empty-folder", code, &["expected"]);
            continue;
        }
        mistaken(shop.path(), (&verb, &flag), "rubbish", code, &["expected"]);
        // Settings that say nothing change nothing.
        if code != 2 {
            mistaken(shop.path(), (&verb, &flag), "empty", code, &["expected"]);
        }
    }
}

#[test]
fn an_adapter_for_weights_names_its_base_everywhere_and_weights_for_an_adapter_too() {
    let shop = shop();
    let with = |flag: &'static str| read().into_iter().filter(move |(_, name)| name == flag);
    for (verb, flag) in with("weights") {
        let said = ["an adapter, whose base is w", "--weights w and --adapter run"];
        mistaken(shop.path(), (&verb, &flag), "run", 4, &said);
    }
    for (verb, flag) in with("adapter") {
        mistaken(shop.path(), (&verb, &flag), "w", 4, &["got whole weights", "--weights w"]);
    }
    // What a run that was stopped early left is said to be that.
    fs::copy(shop.path().join("run/rules.json"), shop.path().join("empty-folder/rules.json"))
        .unwrap();
    let words = ["inspect", "empty-folder"];
    refused(shop.path(), &words, 2, &["stopped before it had a model", "--resume"]);
    for (verb, flag) in with("weights").chain(with("adapter")) {
        let said = ["stopped before it had a model", "--resume"];
        mistaken(shop.path(), (&verb, &flag), "empty-folder", 4, &said);
    }
}

#[test]
fn a_word_that_names_no_device_is_wrong_usage_everywhere() {
    let shop = shop();
    let command = engine::cli::command();
    for verb in command.get_subcommands().map(|verb| verb.get_name().to_owned()) {
        if verb == "help" {
            continue;
        }
        let mut words = match read().iter().any(|(known, _)| *known == verb) {
            true => words(&verb, "", ""),
            false => vec![verb],
        };
        words.extend(["--device".to_owned(), "cdua".to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(shop.path(), &words, 2, &["--device", "cdua", "nearest is cuda"]);
    }
}

#[test]
fn names_are_answered_with_near_ones_and_never_with_far_ones() {
    let shop = shop();
    let decode = ["decode", "--weights", "w", "--data", "shop.bin"];
    let asked = |words: &[&'static str]| [&decode[..], words].concat();
    let train = [&TRAIN[..], &["--out", "x"]].concat();
    let more = |words: &[&'static str]| [&train[..], words].concat();
    let prepare =
        ["prepare", "source/interactions.csv", "--tokenizer", "tokenizer.json", "--out", "x"];
    fs::write(shop.path().join("source/interactions.csv"), "user,item,time\na,1,2\n").unwrap();
    let eval = ["eval", "p.jsonl", "--data", "shop.bin", "--threshold"];
    let lora = ["train", "--weights", "w", "--data", "shop.bin", "--out", "x", "--targets"];
    let plan = ["inspect", "w", "--plan", "train", "--targets"];
    for (words, near) in [
        ([&prepare[..], &["--event", "tmie=2"]].concat(), "nearest is time"),
        ([&prepare[..], &["--event", "zebra=2"]].concat(), ""),
        ([&prepare[..], &["--encoding", "uft-8"]].concat(), "nearest is utf-8"),
        (asked(&["--template", "nxet"]), "nearest is next"),
        (more(&["--template", "nxet"]), "nearest is next"),
        (asked(&["--template", "zebra"]), ""),
        (more(&["--template", "2-77"]), ""),
        ([&prepare[..], &["--user-column", "usr"]].concat(), "nearest is user"),
        ([&prepare[..], &["--user-column", "zebra"]].concat(), ""),
        ([&eval[..], &["ndgc@10>=0"]].concat(), "nearest is ndcg@10"),
        ([&eval[..], &["zebra>=0"]].concat(), ""),
        ([&lora[..], &["dnese"]].concat(), "nearest is dense"),
        ([&plan[..], &["dnese"]].concat(), "nearest is dense"),
        ([&plan[..], &["zebra"]].concat(), ""),
    ] {
        refused(shop.path(), &words, 2, &[near]);
        let (_, _, error) = run(shop.path(), &words);
        assert!(!near.is_empty() || !error.contains("nearest"), "{words:?}: {error}");
    }
    let named = tempfile::tempdir().unwrap();
    fs::create_dir_all(named.path().join("weights/small-glm")).unwrap();
    for (name, said) in [("smal-glm", "nearest is small-glm"), ("zebra", "there is small-glm")] {
        let words = ["forward", "--weights", name, "--inputs", "x", "--outputs", "y"];
        refused(named.path(), &words, 2, &[name, said]);
    }
}

#[test]
fn a_key_of_a_prompt_that_means_nothing_is_answered_with_the_near_one() {
    let shop = shop();
    let lines = "{\"id\": 7, \"histroy\": []}\n{\"id\": 8, \"history\": [], \"zebra\": 1}\n";
    fs::write(shop.path().join("wrong.jsonl"), lines).unwrap();
    let words = ["decode", "--weights", "w", "--data", "shop.bin", "--prompts", "wrong.jsonl"];
    let (code, out, error) = run(shop.path(), &words);
    assert_eq!(code, 0, "{error}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("histroy") && lines[0].contains("nearest is history"), "{out}");
    assert!(lines[1].contains("zebra") && !lines[1].contains("nearest"), "{out}");
}

#[test]
fn what_is_typed_and_cannot_count_is_refused_or_said() {
    let shop = shop();
    let rows = "user,item,title,time,rating\na,1,Red Kite,2,5\na,2,Blue Drum,3,4\n";
    fs::write(shop.path().join("e.csv"), rows).unwrap();
    for rule in [["--event", "rating=9"], ["--min-rating", "100"]] {
        refused(shop.path(), &[&["check", "e.csv"][..], &rule].concat(), 3, &rule[..1]);
    }
    let small = [&TRAIN[..], &["--out", "x", "--batch-rows", "4"]].concat();
    refused(shop.path(), &small, 2, &["--batch-rows", "--max-row"]);
    refused(shop.path(), &["inspect", "w", "--limit", "80G"], 2, &["--plan"]);
}
