//! `engine inspect` on every kind of path, and its plans against what runs took.

use crate::shop;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Runs and returns (exit code, standard output, standard error).
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    let output = command.current_dir(folder).args(["--threads", "2"]).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn done(folder: &Path, args: &[&str]) -> String {
    let (code, out, error) = run(folder, args);
    assert_eq!(code, 0, "{args:?}: {error}");
    out
}

#[track_caller]
fn inspected(folder: &Path, args: &[&str]) -> Value {
    let out = done(folder, &[&["--device", "cpu", "inspect", "--json"], args].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// Expects the exit code, one line on standard error, nothing on standard output, and each of
/// `words` in the line.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let (got, out, error) = run(folder, &[&["inspect"], args].concat());
    assert_eq!((got, out.as_str()), (code, ""), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{args:?}: expected {word:?} in {error}");
    }
}

/// A small shop with a `.bin`, a model and a short LoRA run, made once.
fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| {
        let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        shop::numbered(folder, 20, 30, 6, |i| {
            let i = i + 1;
            format!(
                "{{\"id\": {i}, \"title\": \"Toy number {i} of wood\", \"brand\": \"B{}\"}}",
                i % 3
            )
        });
        done(folder, &["prepare", "source", "--train-tokenizer", "340", "--out", "shop.bin"]);
        done(
            folder,
            &["init", "--model", "config.json", "--tokenizer", "tokenizer.json", "--out", "w"],
        );
        let train =
            "train --weights w --data shop.bin --out run --epochs 2 --batch 30 --validate-every 1";
        let (code, _, error) = run(folder, &train.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{error}");
        fs::write(folder.join("said.txt"), error).unwrap();
        folder.to_path_buf()
    })
}

#[test]
fn a_checkpoint_and_a_config() {
    let folder = shop();
    let seen = inspected(folder, &["w"]);
    let parameters = 384 * 32 + 2 * 129 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32;
    for (name, value) in [
        ("kind", Value::from("weights")),
        ("family", "GLM".into()),
        ("layers", 2.into()),
        ("parameters", parameters.into()),
        ("shards", 1.into()),
        ("output_matrix", "tied".into()),
        ("stored", serde_json::json!({"f32": 3 + 12 * 2 + 2})),
        ("bytes", fs::metadata(folder.join("w/model.safetensors")).unwrap().len().into()),
    ] {
        assert_eq!(seen[name], value, "{name}: {seen}");
    }
    assert!(seen["tokenizer"]["ids"].as_u64().unwrap() <= 384);
    let text = done(folder, &["inspect", "w"]);
    assert!(
        text.contains("\nkind           weights\n") && text.contains("tied to the embedding"),
        "{text}"
    );

    let seen = inspected(folder, &["config.json"]);
    assert_eq!((&seen["kind"], &seen["parameters"]), (&"config".into(), &parameters.into()));
    // A name is looked up among the weights.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seen = inspected(root, &["tiny-chatglm"]);
    assert_eq!((&seen["kind"], &seen["family"]), (&"config".into(), &"ChatGLM".into()));
    let seen = inspected(root, &["tests/golden/chatglm-tiny/a"]);
    assert_eq!(
        (&seen["kind"], &seen["output_matrix"]),
        (&"weights".into(), &"tied".into()),
        "{seen}"
    );
}

#[test]
fn an_adapter_and_a_run() {
    let folder = shop();
    let seen = inspected(folder, &["run"]);
    assert_eq!((&seen["kind"], &seen["tune"]), (&"run".into(), &"lora".into()));
    assert_eq!((&seen["newest_step"], &seen["checkpoints"]), (&2.into(), &serde_json::json!([2])));
    let log = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.iter().rev().find(|line| !line["loss"].is_null()).unwrap();
    assert_eq!(seen["last_loss"], last["loss"]);
    let best =
        lines.iter().filter_map(|line| line["validation"]["ndcg@10"].as_f64()).fold(0.0, f64::max);
    assert_eq!(seen["best_validation"]["ndcg@10"], best);
    let adapter = &seen["adapter"];
    let values = 2 * 8 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32));
    assert_eq!(
        (&adapter["rank"], &adapter["alpha"], &adapter["base"]),
        (&8.into(), &16.0.into(), &"w".into())
    );
    assert_eq!(
        (&adapter["adapted_linears"], &adapter["trained_values"]),
        (&8.into(), &values.into())
    );

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glm-tiny/a/lora_r2");
    let seen = inspected(&golden, &["."]);
    assert_eq!((&seen["kind"], &seen["rank"]), (&"adapter".into(), &2.into()));
    assert_eq!(inspected(&golden, &["adapter_config.json"])["rank"], 2);
    // The base of this one is not there, so no run on it can be planned.
    refused(&golden, &[".", "--plan", "decode"], 2, &["--plan", "base"]);
}

#[test]
fn a_bin_and_its_checksums() {
    let folder = shop();
    let seen = inspected(folder, &["shop.bin", "--verify"]);
    for (name, value) in [("kind", Value::from("bin")), ("users", 30.into()), ("items", 20.into())]
    {
        assert_eq!(seen[name], value, "{seen}");
    }
    assert_eq!(seen["verify"]["checksums"], true);
    assert_eq!(seen["tokenizer"], inspected(folder, &["w"])["tokenizer"]);
    let sections = seen["sections"].as_array().unwrap();
    let bytes: u64 = sections.iter().map(|section| section["bytes"].as_u64().unwrap()).sum();
    assert!(sections.len() > 30 && bytes < seen["bytes"].as_u64().unwrap());

    let own = tempfile::tempdir().unwrap();
    let mut spoilt = fs::read(folder.join("shop.bin")).unwrap();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    fs::write(own.path().join("x.bin"), &spoilt).unwrap();
    refused(own.path(), &["x.bin"], 3, &["x.bin", "expected"]);
    refused(own.path(), &["x.bin", "--verify"], 6, &["x.bin", "expected"]);
    refused(folder, &["w", "--verify"], 2, &["--verify", "w"]);
    refused(folder, &["shop.bin", "--plan", "train"], 2, &["--plan", "shop.bin", "weights"]);
}

#[test]
fn what_is_nothing_of_ours() {
    let own = tempfile::tempdir().unwrap();
    let folder = own.path();
    refused(folder, &["nowhere"], 2, &["nowhere", "expected"]);
    refused(folder, &["."], 2, &["config.json"]);
    fs::write(folder.join("notes.txt"), "notes").unwrap();
    refused(folder, &["notes.txt"], 3, &["notes.txt", "expected"]);
    fs::write(folder.join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    refused(folder, &["config.json"], 4, &["model_type", "bert"]);
    fs::write(folder.join("model.safetensors"), "no tensors").unwrap();
    fs::write(folder.join("config.json"), shop::CONFIG).unwrap();
    refused(folder, &["."], 4, &["model.safetensors"]);
    refused(folder, &["model.safetensors"], 4, &["folder"]);
    fs::remove_file(folder.join("config.json")).unwrap();
    refused(folder, &["."], 4, &["config.json"]);
    let spoilt = folder.join("run");
    fs::create_dir_all(spoilt.join("checkpoints")).unwrap();
    fs::write(spoilt.join("config.toml"), "no toml").unwrap();
    refused(folder, &["run"], 3, &["config.toml", "TOML"]);
    fs::create_dir(folder.join("adapter")).unwrap();
    fs::write(folder.join("adapter/adapter_config.json"), "{\"peft_type\": \"IA3\"}").unwrap();
    refused(folder, &["adapter"], 4, &["LORA", "IA3"]);
}

#[test]
fn the_plan_of_glm_10b_is_what_its_arithmetic_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args =
        "weights/glm-10b/config.json --plan train --dtype bf16 --limit 80G --validate-every 0";
    let seen = inspected(root, &args.split(' ').collect::<Vec<_>>());
    let plan = &seen["memory"];
    let keeps = plan["keeps"].as_array().unwrap();
    // Activations of a row and layer in bf16, in units of h = 4096: the rest is statistics and
    // factors of the adapter.
    for (keep, hidden) in [("lean", 10u64), ("no-inner", 6), ("no-qkv", 3), ("input", 1)] {
        let row = keeps.iter().find(|row| row["keep"] == keep).unwrap();
        let each = row["bytes_a_row_and_layer"].as_u64().unwrap();
        let activations = hidden * 4096 * 2;
        assert!((activations..activations + 400).contains(&each), "{row}");
    }
    let lean = &keeps[1];
    assert_eq!(
        (&lean["fits"], &plan["keep"], &plan["step"]),
        (&true.into(), &"all".into(), &keeps[0]["step"])
    );
    // What is kept is the most that fits: 8,192 rows of everything in 80 GB, but not in 60.
    for (limit, keep) in [("60G", "lean"), ("40G", "no-qkv"), ("30G", "input")] {
        let narrower = inspected(root, &args.replace("80G", limit).split(' ').collect::<Vec<_>>());
        assert_eq!(narrower["memory"]["keep"], keep, "{limit}: {}", narrower["memory"]);
    }
    // As many rows as are said to fit do fit, and not one more.
    let most = lean["rows_that_fit"].as_u64().unwrap();
    for (rows, fits) in [(most, true), (most + 1, false)] {
        let rows = rows.to_string();
        let more = [&args.split(' ').collect::<Vec<_>>()[..], &["--batch-rows", &rows]].concat();
        assert_eq!(inspected(root, &more)["memory"]["keeps"][1]["fits"], fits, "{rows}");
    }
    let part = |plan: &Value, name: &str| -> u64 {
        let parts = plan["parts"].as_array().unwrap();
        parts
            .iter()
            .find(|part| part["part"] == name)
            .map_or(0, |part| part["bytes"].as_u64().unwrap())
    };
    let frozen = part(plan, "frozen weights");
    assert!((19_760_000_000..19_800_000_000).contains(&frozen), "{frozen}");
    let parts = plan["parts"].as_array().unwrap();
    let sum: u64 =
        parts[..parts.len() - 1].iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(parts.last().unwrap()["bytes"], sum);

    // Keys and values of a row are 768 KiB (2 × 48 × 4096 × 2 B).
    let args =
        "--device cuda:0 inspect glm-10b --json --plan decode --batch 1 --beams 20 --max-row 1000";
    let out = done(root, &args.split(' ').collect::<Vec<_>>());
    let plan = &serde_json::from_str::<Value>(&out).unwrap()["memory"];
    assert_eq!(part(plan, "cache of prompts"), 1000 * 768 * 1024);
    assert_eq!(plan["dtype"], "bf16");
}

#[test]
fn plans_are_bounds_of_what_runs_took() {
    let folder = shop();
    let log = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let taken = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["memory_bytes"].as_u64())
        .max()
        .unwrap();
    let args = ["w", "--plan", "train", "--batch", "30", "--validate-users", "30"];
    let plan = &inspected(folder, &args)["memory"];
    let planned = plan["step"].as_u64().unwrap().max(plan["validation"].as_u64().unwrap());
    assert!(taken <= planned, "taken {taken}, planned {planned}");
    let said = fs::read_to_string(folder.join("said.txt")).unwrap();
    let line = said.lines().find(|line| line.starts_with("memory: planned peak ")).expect(&said);
    assert!(line.contains("a step of 3,840 rows") && line.contains("a validation"), "{line}");
    // Decoding with the adapter that the run is: its factors are counted.
    let with = &inspected(folder, &["run", "--plan", "decode"])["memory"];
    let without = &inspected(folder, &["w", "--plan", "decode"])["memory"];
    assert_eq!(with["trained_values"], 8192);
    assert!(with["total"].as_u64() > without["total"].as_u64());
    refused(
        folder,
        &["w", "--plan", "train", "--tune", "full", "--dtype", "bf16"],
        2,
        &["--tune full"],
    );
    refused(folder, &["w", "--plan", "train", "--batch-rows", "0"], 2, &["--batch-rows"]);
    refused(folder, &["w", "--plan", "train", "--limit", "much"], 2, &["--limit", "80G"]);
    refused(folder, &["w", "--plan", "train", "--device", "tpu"], 2, &["tpu"]);
}

/// What is planned, and the advice, which names flags that make it fit: each is tried.
fn advised(folder: &Path, args: &str) -> usize {
    let plan = format!("--device cpu inspect --json {args}");
    let (code, out, error) = run(folder, &plan.split(' ').collect::<Vec<_>>());
    assert_eq!((code, error.lines().count()), (5, 1), "{args}: {error}");
    let seen: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(seen["memory"]["fits"], false, "{seen}");
    let (_, ways) = error.trim().split_once("; what fits: ").expect(&error);
    let (ways, even) = ways.split_once("; even ").unwrap_or((ways, ""));
    let ways: Vec<&str> = ways.split(", or ").collect();
    let (more, ways) = ways.split_last().unwrap();
    assert!(more.starts_with("memory of ") && more.ends_with(" and more"), "{error}");
    for way in ways {
        let (flags, takes) = way.split_once(" (").expect(&error);
        let changed = format!("{plan} {flags}");
        // What is typed twice is refused: the change takes the place of what was there.
        let mut words: Vec<&str> = changed.split(' ').collect();
        for flag in flags.split(' ').filter(|word| word.starts_with("--")) {
            let both = words.iter().filter(|word| *word == &flag).count() == 2;
            if let Some(at) = words.iter().position(|word| *word == flag).filter(|_| both) {
                words.drain(at..at + 2);
            }
        }
        let (code, _, error) = run(folder, &words);
        assert_eq!(code, 0, "{words:?}: {error}");
        assert!(takes.ends_with("B)"), "{way}");
    }
    // Where nothing helps, the leanest is named with what it takes.
    assert_eq!(ways.is_empty(), even.starts_with("--max-row"), "{error}");
    ways.len()
}

#[test]
fn a_plan_that_does_not_fit_ends_with_5_and_says_what_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let base = "weights/glm-10b/config.json --limit";
    assert!(advised(root, &format!("{base} 60G --plan train --dtype bf16 --keep all")) >= 2);
    assert!(advised(root, &format!("{base} 100G --plan train --tune full")) >= 1);
    assert!(advised(root, &format!("{base} 30G --plan decode --dtype bf16")) >= 1);
    // Nothing helps.
    assert_eq!(advised(root, &format!("{base} 1M --plan train")), 0);
    assert_eq!(advised(root, &format!("{base} 1M --plan decode")), 0);
    let text = run(shop(), &["inspect", "w", "--plan", "train", "--limit", "1M"]).1;
    assert!(text.contains("does not fit") && text.contains("rows that fit"), "{text}");
}
