//! The real binary in a fresh folder: the whole way, and what it says to bad input.

use crate::shop;
use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn engine(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "2", "--quiet"]);
    command
}

/// Runs and returns (exit code, standard output, standard error).
pub fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = engine(folder).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn done(folder: &Path, args: &[&str]) -> String {
    let (code, out, error) = run(folder, args);
    assert_eq!(code, 0, "{args:?}: {error}");
    out
}

/// Expects the exit code, one line on standard error, and each of `words` in it.
#[track_caller]
pub fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let (got, _, error) = run(folder, args);
    assert_eq!(got, code, "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    assert!(error.starts_with("engine: "), "{error}");
    for word in words {
        assert!(error.contains(word), "{args:?}: expected {word:?} in {error}");
    }
}

pub const TRAIN: [&str; 16] = [
    "train",
    "--weights",
    "w",
    "--data",
    "shop.bin",
    "--tune",
    "full",
    "--epochs",
    "2",
    "--batch",
    "16",
    "--learning-rate",
    "3e-3",
    "--validate-users",
    "20",
    "--validate-every=8",
];

/// A shop of 40 items and 60 users: sources, `.bin`, tokenizer and a random model, made once.
pub fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| {
        let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        let words = ["Red", "Blue", "Wooden", "Tiny", "Grand"];
        let things = ["Kite", "Robot", "Castle", "Drum", "Puzzle", "Train", "Rocket", "Doll"];
        shop::numbered(folder, 40, 60, 6, |i| {
            let title = format!("{} {}", words[i % 5], things[i / 5]);
            format!("{{\"id\": {}, \"title\": \"{title}\", \"categories\": [[\"Toys\"]]}}", i + 1)
        });
        done(folder, &["prepare", "source", "--train-tokenizer", "340", "--out", "shop.bin"]);
        done(
            folder,
            &["init", "--model", "config.json", "--tokenizer", "tokenizer.json", "--out", "w"],
        );
        folder.to_path_buf()
    })
}

/// A copy of the shop to spoil.
pub fn own_shop() -> tempfile::TempDir {
    let own = tempfile::tempdir().unwrap();
    copy(shop(), own.path());
    own
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in [
        "demo", "check", "prepare", "init", "train", "decode", "eval", "forward", "inspect",
        "merge", "doctor",
    ] {
        let help = done(shop(), &[verb, "--help"]);
        assert!(help.contains(&format!("Example: engine {verb}")), "{verb}: {help}");
    }
    assert!(done(shop(), &["doctor"]).contains("device cpu    ready"));
}

#[test]
fn the_whole_way() {
    let own = own_shop();
    let folder = own.path();
    let out = done(folder, &[&TRAIN[..], &["--out", "run"]].concat());
    assert!(out.contains("run: run") && out.contains("done: 8 steps"), "{out}");
    for file in [
        "config.toml",
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "metrics.jsonl",
        "checkpoints/step-8",
    ] {
        assert!(folder.join("run").join(file).exists(), "{file}");
    }
    done(
        folder,
        &[
            "decode",
            "--weights",
            "run",
            "--data",
            "shop.bin",
            "--beams",
            "12",
            "--out",
            "p.jsonl",
            "--trace",
            "t.jsonl",
        ],
    );
    let lines: Vec<serde_json::Value> = fs::read_to_string(folder.join("p.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 60);
    for (user, line) in lines.iter().enumerate() {
        assert_eq!(line["id"], user + 1, "in the order of the input");
        assert_eq!(line["items"].as_array().unwrap().len(), 10);
    }
    // The trace recomputes the scores.
    for (line, trace) in
        lines.iter().zip(fs::read_to_string(folder.join("t.jsonl")).unwrap().lines())
    {
        let trace: serde_json::Value = serde_json::from_str(trace).unwrap();
        for (item, traced) in
            line["items"].as_array().unwrap().iter().zip(trace["items"].as_array().unwrap())
        {
            let log_probs: Vec<f64> = serde_json::from_value(traced["log_probs"].clone()).unwrap();
            let tokens = traced["tokens"].as_array().unwrap().len();
            assert_eq!(
                (log_probs.len(), traced["positions"][0].as_array().unwrap().len()),
                (tokens, tokens - 1)
            );
            let score = log_probs.iter().sum::<f64>() / tokens as f64;
            assert!((score - item["score"].as_f64().unwrap()).abs() < 1e-5);
        }
    }
    let table = done(
        folder,
        &["eval", "p.jsonl", "--data", "shop.bin", "--run", "run", "--report", "report"],
    );
    assert!(table.contains("popularity") && table.contains("Markov"), "{table}");
    for file in ["report.json", "report.md", "report.tex", "report.html"] {
        assert!(folder.join("report").join(file).exists(), "{file}");
    }
    // Predictions for a sample of the users are judged by these users alone, and say so themselves.
    let sample = folder.join("sample");
    fs::create_dir(&sample).unwrap();
    let words = "decode --weights run --data shop.bin --users 7 --out sample/p.jsonl";
    done(folder, &words.split(' ').collect::<Vec<_>>());
    let words = "eval sample/p.jsonl --data shop.bin --no-baselines --report sample/report";
    done(folder, &words.split(' ').collect::<Vec<_>>());
    let report = fs::read_to_string(sample.join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["users"], &report["groups"][0]["rows"][0]["n"]),
        (&"asked".into(), &7.into())
    );
    // Both in one report, and published figures beside them.
    let both = "eval p.jsonl sample/p.jsonl --data shop.bin --no-baselines --report both";
    let both: Vec<&str> = both.split(' ').collect();
    let table =
        done(folder, &[&both[..], &["--rivals", "published", "--rivals-of", "toys"]].concat());
    for part in ["2-3, difference to p with", "| sample/p ", "| RecSysLLM 2-3 (published) "] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(folder.join("both/report.tex").exists());
    refused(folder, &[&both[..], &["--rivals", "published"]].concat(), 2, &["--rivals-of"]);
    refused(folder, &[&both[..], &["--rivals-of", "toys"]].concat(), 2, &["--rivals published"]);
    refused(folder, &[&both[..], &["--rivals", "publshed"]].concat(), 2, &["published"]);
    refused(
        folder,
        &["eval", "p.jsonl", "--data", "shop.bin", "--threshold", "hr@10>=1.1"],
        6,
        &["hr@10"],
    );
}

#[test]
fn an_adapter_trains_decodes_and_merges() {
    let own = own_shop();
    let folder = own.path();
    let lora: Vec<&str> = TRAIN.iter().map(|&w| if w == "full" { "lora" } else { w }).collect();
    done(folder, &[&lora[..], &["--out", "run", "--lora-dropout", "0.1"]].concat());
    assert!(folder.join("run/adapter_config.json").exists());
    done(folder, &["merge", "--weights", "w", "--adapter", "run", "--out", "merged"]);
    let decode = |extra: &[&str], out: &str| {
        done(
            folder,
            &[&["decode", "--data", "shop.bin", "--beams", "4", "--out", out], extra].concat(),
        );
        fs::read_to_string(folder.join(out)).unwrap()
    };
    // In memory it is the same merging: the same answers, digit for digit, in either storage.
    let untimed = |text: &str| -> Vec<serde_json::Value> {
        let line = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("seconds").expect("a line says how long it took");
            line
        };
        text.lines().map(line).collect()
    };
    let adapted = ["--weights", "w", "--adapter", "run"];
    for dtype in ["f32", "bf16"] {
        let out = format!("merged-{dtype}");
        done(folder, &[&["merge"], &adapted[..], &["--dtype", dtype, "--out", &out]].concat());
        let files = decode(&["--weights", &out, "--dtype", dtype], &format!("{dtype}.jsonl"));
        let memory = decode(
            &[&adapted[..], &["--merge", "--dtype", dtype]].concat(),
            &format!("{dtype}-memory.jsonl"),
        );
        assert_eq!(untimed(&memory), untimed(&files), "{dtype}");
        let beside =
            decode(&[&adapted[..], &["--dtype", dtype]].concat(), &format!("{dtype}-b.jsonl"));
        assert_ne!(untimed(&memory), untimed(&beside), "{dtype}: sums round otherwise beside it");
    }
    let said = fs::read_to_string(folder.join("f32-memory.jsonl.settings.json")).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["decode"]["merge"], true, "{said}");
    let with = decode(&adapted, "a.jsonl");
    let merged = decode(&["--weights", "merged"], "b.jsonl");
    let without = decode(&["--weights", "w"], "c.jsonl");
    let items = |text: &str| -> Vec<Vec<serde_json::Value>> {
        let line = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap();
        text.lines()
            .map(|l| {
                line(l)["items"].as_array().unwrap().iter().map(|i| i["item"].clone()).collect()
            })
            .collect()
    };
    let same = items(&with).iter().zip(items(&merged)).filter(|(a, b)| *a == b).count();
    assert!(same >= 58, "base + adapter and merged agree on {same} of 60 lists");
    assert_ne!(with, without, "the adapter does something");
}

/// Losses of a short adapter training on `device`, and the items that decoding with it lists.
fn learnt_on(device: &str, dtype: &str) -> (Vec<f64>, Vec<String>) {
    let own = own_shop();
    let folder = own.path();
    let on = ["--device", device, "--dtype", dtype];
    let train = "train --weights w --data shop.bin --out run --epochs 0.5 --batch 10 \
        --learning-rate 1e-2 --validate-users 3";
    done(folder, &[&train.split(' ').collect::<Vec<_>>()[..], &on].concat());
    let decode =
        "decode --weights w --adapter run --data shop.bin --users 6 --beams 4 --out answers.jsonl";
    done(folder, &[&decode.split(' ').collect::<Vec<_>>()[..], &on].concat());
    let lines = |file: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let losses =
        lines("run/metrics.jsonl").iter().filter_map(|line| line["loss"].as_f64()).collect();
    let items = |line: &serde_json::Value| -> Vec<String> {
        line["items"].as_array().unwrap().iter().map(|item| item["item"].to_string()).collect()
    };
    (losses, lines("answers.jsonl").iter().map(|line| items(line).join(" ")).collect())
}

/// The kernels of a GPU behind the verbs, on the emulator: in f32 what the CPU says, in 16 bits
/// near it.
#[test]
fn the_emulated_device_does_what_the_cpu_does() {
    if !kernels::EMULATED {
        println!("skipped: no emulator in this build");
        return;
    }
    let (expected, lists) = learnt_on("cpu", "f32");
    for (device, dtype, bound) in
        [("emu:7", "f32", 1e-5), ("emu", "bf16", 2e-2), ("emu", "f16", 2e-3)]
    {
        let (losses, emulated) = learnt_on(device, dtype);
        assert_eq!((losses.len(), emulated.len()), (expected.len(), lists.len()));
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!(
                (loss - expected).abs() <= bound * expected,
                "{device} {dtype}: {loss}, on the CPU {expected}"
            );
        }
        assert!(dtype != "f32" || emulated == lists, "{emulated:?}, on the CPU {lists:?}");
    }
}

#[test]
fn a_demo_runs_on_the_emulated_device() {
    if !kernels::EMULATED {
        println!("skipped: no emulator in this build");
        return;
    }
    let own = tempfile::tempdir().unwrap();
    let out = done(
        own.path(),
        &["demo", "--device", "emu", "--users", "6", "--epochs", "1", "--out", "d"],
    );
    assert!(out.contains("| engine |") && own.path().join("d/predictions.jsonl").exists(), "{out}");
}

#[test]
fn settings_come_from_a_file_and_flags_win() {
    let own = own_shop();
    let folder = own.path();
    fs::write(
        folder.join("t.toml"),
        "epochs = 1.0\nlearning-rate = 1e-3\nlevels = [0.0, 0.0, 1.0]\n",
    )
    .unwrap();
    let args = [
        "train",
        "--weights",
        "w",
        "--data",
        "shop.bin",
        "--tune",
        "full",
        "--batch",
        "30",
        "--validate-every",
        "0",
    ];
    let out =
        done(folder, &[&args[..], &["--config", "t.toml", "--epochs", "2", "--out", "r"]].concat());
    assert!(out.contains("done: 4 steps"), "{out}");
    let resolved = fs::read_to_string(folder.join("r/config.toml")).unwrap();
    assert!(
        resolved.contains("epochs = 2.0") && resolved.contains("learning-rate = 0.001"),
        "{resolved}"
    );
    fs::write(folder.join("t.toml"), "epoch = 1\n").unwrap();
    refused(
        folder,
        &[&args[..], &["--config", "t.toml"]].concat(),
        2,
        &["t.toml:1", "epoch", "epochs"],
    );
    refused(folder, &["train", "--nonsense"], 2, &["--nonsense"]);
    refused(folder, &["decode", "--weights", "nowhere", "--data", "shop.bin"], 2, &["nowhere"]);
    refused(
        folder,
        &["--device", "cuda:99", "decode", "--weights", "w", "--data", "shop.bin"],
        5,
        &["cuda:99", "doctor"],
    );
}

#[test]
fn weights_that_do_not_fit() {
    let own = own_shop();
    let folder = own.path();
    let weights = folder.join("w/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let decode = ["decode", "--weights", "w", "--data", "shop.bin"];
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    refused(folder, &decode, 4, &["model.safetensors", "expected"]);
    fs::write(&weights, b"no safetensors").unwrap();
    refused(folder, &decode, 4, &["model.safetensors"]);
    fs::remove_file(&weights).unwrap();
    refused(folder, &decode, 4, &["model.safetensors", "convert_checkpoint"]);
    fs::write(&weights, &whole).unwrap();
    let config = folder.join("w/config.json");
    fs::write(&config, shop::CONFIG.replace("\"num_layers\": 2", "\"num_layers\": 1")).unwrap();
    refused(folder, &decode, 4, &["expected no further tensor", "layers.1"]);
    fs::write(&config, shop::CONFIG.replace("\"num_layers\": 2", "\"num_layers\": 3")).unwrap();
    refused(folder, &decode, 4, &["layers.2", "expected it"]);
    fs::write(&config, shop::CONFIG.replace("32", "64")).unwrap();
    refused(folder, &decode, 4, &["expected shape"]);
    fs::write(&config, "{").unwrap();
    refused(folder, &decode, 4, &["config.json", "JSON"]);
    // A tokenizer with more ids than the model has rows.
    fs::write(folder.join("small.json"), shop::CONFIG.replace("384", "200")).unwrap();
    done(folder, &["init", "--model", "small.json", "--out", "small"]);
    refused(
        folder,
        &["decode", "--weights", "small", "--data", "shop.bin"],
        4,
        &["tokenizer", "200"],
    );
    refused(
        folder,
        &["init", "--model", "small.json", "--tokenizer", "tokenizer.json", "--out", "x"],
        4,
        &["vocab_size"],
    );
}

#[test]
fn adapters_that_do_not_fit() {
    let own = own_shop();
    let folder = own.path();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glm-tiny/a/lora_r2");
    copy(&golden, &folder.join("other"));
    let decode = ["decode", "--weights", "w", "--data", "shop.bin", "--adapter", "other"];
    refused(folder, &decode, 4, &["lora", "expected"]);
    // Nothing in the file is a factor.
    fs::copy(folder.join("w/model.safetensors"), folder.join("other/adapter_model.safetensors"))
        .unwrap();
    refused(folder, &decode, 4, &["adapter"]);
    fs::write(folder.join("other/adapter_config.json"), "{\"peft_type\": \"IA3\"}").unwrap();
    refused(folder, &decode, 4, &["LORA", "IA3"]);
}

#[test]
fn data_that_is_damaged() {
    let own = own_shop();
    let folder = own.path();
    let bin = folder.join("shop.bin");
    let whole = fs::read(&bin).unwrap();
    let decode = ["decode", "--weights", "w", "--data", "shop.bin"];
    for length in [0, 10, 64, whole.len() / 2, whole.len() - 1] {
        fs::write(&bin, &whole[..length]).unwrap();
        refused(folder, &decode, 3, &["shop.bin"]);
    }
    for at in [3, 9, 40, 100] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&bin, &flipped).unwrap();
        refused(folder, &decode, 3, &["shop.bin"]);
    }
    let items = folder.join("source/items.jsonl");
    let good = fs::read_to_string(&items).unwrap();
    let prepare = ["prepare", "source", "--tokenizer", "tokenizer.json", "--out", "x.bin"];
    fs::write(&items, good.replacen("\"title\"", "title", 1)).unwrap();
    refused(folder, &prepare, 3, &["items.jsonl:1"]);
    fs::write(&items, "").unwrap();
    refused(folder, &prepare, 3, &["items.jsonl"]);
    fs::write(&items, &good).unwrap();
    fs::write(folder.join("source/sequences.txt"), "1 2 3 4 999\n").unwrap();
    refused(folder, &prepare, 3, &["sequences.txt:1", "999"]);
    assert!(!folder.join("x.bin").exists(), "nothing half-made is left");
}

#[test]
fn a_history_longer_than_the_row_limit_loses_its_oldest_items() {
    let own = own_shop();
    let folder = own.path();
    let mut sequences = fs::read_to_string(folder.join("source/sequences.txt")).unwrap();
    let long: Vec<String> = (0..40).map(|i| (i + 1).to_string()).collect();
    sequences += &format!("61 {}\n", long.join(" "));
    fs::write(folder.join("source/sequences.txt"), sequences).unwrap();
    done(folder, &["prepare", "source", "--tokenizer", "tokenizer.json", "--out", "long.bin"]);
    done(
        folder,
        &[
            "decode",
            "--weights",
            "w",
            "--data",
            "long.bin",
            "--template",
            "next",
            "--max-row",
            "64",
            "--beams",
            "3",
            "--out",
            "p.jsonl",
            "--trace",
            "t.jsonl",
        ],
    );
    let trace = fs::read_to_string(folder.join("t.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(trace.lines().last().unwrap()).unwrap();
    assert_eq!(last["id"], 61);
    let rows = last["prompt"]["input_ids"].as_array().unwrap().len();
    assert!((30..=64).contains(&rows), "{rows} rows");
}

#[test]
fn forward_gives_the_goldens_logits() {
    use safetensors::tensor::TensorView;
    use safetensors::{Dtype, SafeTensors};
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glm-tiny/a");
    let bytes = fs::read(golden.join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // The right-padded batch: row 0 of it, all real rows.
    let integers = |name: &str| -> Vec<i64> {
        file.tensor(name)
            .unwrap()
            .data()
            .chunks(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let columns = file.tensor("sep.input_ids").unwrap().shape()[1];
    let (ids, places, labels) =
        (integers("sep.input_ids"), integers("sep.position_ids"), integers("sep.labels"));
    let context = integers("sep.attention_mask")[0];
    let rows = (0..columns).rev().find(|&c| ids[c] != 0 || places[c] != 0).unwrap() + 1;
    let le = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let positions = [&places[..rows], &places[columns..columns + rows]].concat();
    let data = [
        ("input_ids", vec![rows], le(&ids[..rows])),
        ("positions", vec![2, rows], le(&positions)),
        ("starts", vec![2], le(&[0, rows as i64])),
        ("context", vec![1], le(&[context])),
        ("labels", vec![rows], le(&labels[..rows])),
    ];
    let views = data
        .iter()
        .map(|(n, s, d)| (n.to_string(), TensorView::new(Dtype::I64, s.clone(), d).unwrap()));
    fs::write(folder.path().join("x.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
    let weights = golden.display().to_string();
    let args = [
        "forward",
        "--weights",
        &weights,
        "--inputs",
        "x.safetensors",
        "--outputs",
        "y.safetensors",
        "--gelu",
        "erf",
    ];
    done(folder.path(), &[&args[..], &["--gradients"]].concat());
    let bytes = fs::read(folder.path().join("y.safetensors")).unwrap();
    let out = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |file: &SafeTensors, name: &str| -> Vec<f32> {
        file.tensor(name)
            .unwrap()
            .data()
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let logits = floats(&out, "logits");
    let expected = &floats(&file, "sep.logits")[..logits.len()];
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = logits.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-4 * scale, "{worst} of {scale}");
    assert_eq!(out.tensor("loss").unwrap().shape(), &[] as &[usize]);
    assert!(out.tensor("grad.transformer.layers.2.mlp.dense_4h_to_h.weight").is_ok());
    let wrong = [
        "forward",
        "--weights",
        &weights,
        "--inputs",
        "y.safetensors",
        "--outputs",
        "z.safetensors",
    ];
    refused(folder.path(), &wrong, 3, &["input_ids"]);
}

#[test]
fn a_full_disk_costs_nothing_that_was_finished() {
    let own = own_shop();
    let folder = own.path();
    let full = folder.join("full");
    fs::create_dir(&full).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&full)
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        eprintln!(
            "skipped: a_full_disk_costs_nothing_that_was_finished: no tmpfs may be mounted here"
        );
        return;
    }
    let (code, _, error) = run(folder, &[&TRAIN[..], &["--out", "full/run"]].concat());
    let left: Vec<_> =
        fs::read_dir(full.join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    fs::remove_dir_all(full.join("run")).unwrap();
    let (decode_code, _, decode_error) = run(
        folder,
        &[
            "decode",
            "--weights",
            "w",
            "--data",
            "shop.bin",
            "--top",
            "40",
            "--beams",
            "40",
            "--out",
            "full/p.jsonl",
            "--trace",
            "full/t.jsonl",
        ],
    );
    let whole = fs::read_to_string(full.join("p.jsonl")).unwrap_or_default();
    let _ = std::process::Command::new("umount").arg(&full).status();
    assert_eq!(code, 5, "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    assert!(!left.iter().any(|n| n.to_string_lossy().contains("partial")), "{left:?}");
    assert_eq!(decode_code, 5, "{decode_error}");
    assert_eq!(decode_error.trim_end().lines().count(), 1, "{decode_error}");
    // All but the last line, which the disk may have cut, are whole answers.
    let lines: Vec<&str> = whole.lines().collect();
    assert!(lines
        .iter()
        .rev()
        .skip(1)
        .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn what_readers_remark_names_flags() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "user_id,item_id,title,rating,event,text,timestamp\n".to_owned();
    for (time, (user, item)) in (0..9).flat_map(|n| [(n % 3, n / 3), (n % 3, n / 3)]).enumerate() {
        let kind = ["view", "buy"][time % 2];
        text += &format!("u{user},i{item},T{time},5,{kind},words,{time}\n");
    }
    text += "u0,i0,T0,,buy,words,99\nlonely,rare,R,5,view,words,98\n";
    fs::write(folder.path().join("e.csv"), text).unwrap();
    let asked = ["--min-rating=1", "--k-core=2", "--allow=no-titles"];
    let prepare = ["prepare", "e.csv", "--train-tokenizer", "300", "--out", "e.bin"];
    for verb in [&["check", "e.csv"][..], &prepare] {
        let said = done(folder.path(), &[verb, &asked].concat());
        assert!(!said.contains("setting"), "{said}");
        for flag in ["--event keeps", "--min-rating: 1", "--k-core, left", "--title-column says"] {
            assert!(said.contains(flag), "{flag}: {said}");
        }
    }
    // Whatever setting a reader may name is a flag of both verbs.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/data/source");
    let helps = ["check", "prepare"].map(|verb| done(folder.path(), &[verb, "--help"]));
    let (mut names, mut paths) = (0, vec![sources]);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        for name in source.split("setting `").skip(1) {
            let name = name.split(['`', ' ']).next().unwrap();
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                names += 1;
                assert!(helps.iter().all(|help| help.contains(&format!("--{name} "))), "{name}");
            }
        }
    }
    assert!(names > 10, "{names}");
}
