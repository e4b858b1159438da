//! The real binary: pieces that do not belong together.

use crate::shop::Shop;
use std::fs;
use std::path::Path;
use std::process::Command;

fn run(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_engine"))
        .current_dir(folder)
        .args(["--quiet", "--threads", "1"])
        .args(args)
        .output()
        .unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 1, "hidden_size": 16,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 256}"#;

#[test]
fn a_bin_of_another_tokenizer_is_refused() {
    let shop = Shop::new();
    drop(shop.prepare().unwrap());
    let folder = shop.folder.path();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    let done = |args: &[&str]| {
        let (code, error) = run(folder, args);
        assert_eq!(code, 0, "{args:?}: {error}");
    };
    done(&["init", "--model", "config.json", "--tokenizer", "tokenizer.json", "--out", "w"]);
    done(&["decode", "--weights", "w", "--data", "shop.bin", "--beams", "2", "--out", "p.jsonl"]);
    // Other titles give another tokenizer, small enough for the model.
    fs::write(folder.join("items.jsonl"), crate::shop::ITEMS.replace("Lego", "Duplo")).unwrap();
    fs::create_dir(folder.join("other")).unwrap();
    done(&["prepare", ".", "--train-tokenizer", "310", "--out", "other/shop.bin"]);
    let train = ["train", "--weights", "w", "--data", "other/shop.bin", "--out", "r"];
    let decode = ["decode", "--weights", "w", "--data", "other/shop.bin"];
    for args in [&train[..], &decode] {
        let (code, error) = run(folder, args);
        assert_eq!(code, 4, "{args:?}: {error}");
        assert!(error.contains("tokenizer") && error.trim_end().lines().count() == 1, "{error}");
    }
    // Weights without a tokenizer beside them are taken at their word.
    fs::remove_file(folder.join("w/tokenizer.json")).unwrap();
    done(&[
        "decode",
        "--weights",
        "w",
        "--data",
        "other/shop.bin",
        "--beams",
        "2",
        "--out",
        "q.jsonl",
    ]);
}

#[test]
fn bad_lines_are_left_out_when_asked() {
    let shop = Shop::new();
    shop.put("items.jsonl", format!("{}{{\"id\": broken}}\n", crate::shop::ITEMS));
    let folder = shop.folder.path();
    let lines = crate::shop::ITEMS.lines().count();
    let prepare = ["prepare", ".", "--train-tokenizer", "300", "--out", "x.bin"];
    let (code, error) = run(folder, &prepare);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains(&format!("items.jsonl:{}", lines + 1)), "{error}");
    assert!(!folder.join("x.bin").exists());
    let (code, error) = run(folder, &[&prepare[..], &["--skip-bad", "1"]].concat());
    assert_eq!(code, 0, "{error}");
    assert!(error.contains(&format!("left out: ./items.jsonl:{}", lines + 1)), "{error}");
}
