//! Files that change while a model is read in place from them: a sentence and an exit code, or the
//! answers of the file that was opened; never the end of the process, never other numbers.

use crate::shop::Shop;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// Large enough that its files have pages beyond those that opening them reads.
const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 2, "hidden_size": 64,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 256}"#;

/// The shop with `shop.bin`, the weights `w` and the adapter `a`.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.prepare().unwrap();
    shop.put("config.json", CONFIG);
    for words in [
        "init --model config.json --tokenizer tokenizer.json --out w",
        "train --weights w --data shop.bin --rank 2 --batch 4 --epochs 1 --validate-every 0 \
         --out a",
    ] {
        let output = engine(&shop, words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    shop
}

fn engine(shop: &Shop, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(shop.folder.path()).args(["--device", "cpu", "--threads", "2"]);
    command.arg("--quiet").args(words.split_whitespace());
    command
}

/// What becomes of a file while it is open.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    CutShort,
    Emptied,
    Overwritten,
    /// With other bytes of the same length, as `cp NEW OLD` does it.
    Copied,
    /// By another under its name, the way to do it.
    Renamed,
    Removed,
}

impl Change {
    const ALL: [Change; 6] = [
        Change::CutShort,
        Change::Emptied,
        Change::Overwritten,
        Change::Copied,
        Change::Renamed,
        Change::Removed,
    ];

    fn make(self, path: &Path) {
        let bytes = fs::read(path).unwrap();
        // The clock of files has ticks of some milliseconds.
        std::thread::sleep(Duration::from_millis(30));
        let other: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_mul(31) ^ 0x55).collect();
        // Behind the header of weights, which is read as they are opened.
        let kept = bytes.len().min(8192) / 2;
        let open = || File::options().write(true).open(path).unwrap();
        match self {
            Change::CutShort => open().set_len(kept as u64).unwrap(),
            Change::Emptied => open().set_len(0).unwrap(),
            Change::Overwritten => {
                open().write_all_at(&other[kept..], kept as u64).unwrap();
            }
            Change::Copied => fs::write(path, other).unwrap(),
            Change::Renamed => {
                let new = path.with_extension("new");
                fs::write(&new, other).unwrap();
                fs::rename(new, path).unwrap();
            }
            Change::Removed => fs::remove_file(path).unwrap(),
        }
    }
}

/// A filter with one answer given.
struct Filter {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Filter {
    fn start(shop: &Shop) -> (Filter, Value) {
        let mut child =
            engine(shop, "decode --weights w --adapter a --data shop.bin --beams 3 --prompts -")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let input = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut filter = Filter { child, input, answers };
        let first = filter.ask().unwrap();
        (filter, first)
    }

    /// The answer to one question, where one comes.
    fn ask(&mut self) -> Option<Value> {
        let _ = self.input.write_all(b"{\"id\":1,\"history\":[10,9]}\n");
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).ok()?;
        answer.as_object_mut().unwrap().remove("seconds");
        Some(answer)
    }

    fn end(self) -> Output {
        drop(self.input);
        self.child.wait_with_output().unwrap()
    }
}

#[test]
fn a_filter_whose_files_change_gives_no_other_answers() {
    let shop = shop();
    let read = |name: &str| fs::read(shop.path(name)).unwrap();
    let names = ["w/model.safetensors", "w/config.json", "a/adapter_model.safetensors", "shop.bin"];
    let whole = names.map(read);
    for (name, bytes) in names.iter().zip(&whole) {
        for change in Change::ALL {
            let (mut filter, first) = Filter::start(&shop);
            change.make(&shop.path(name));
            let second = filter.ask();
            let output = filter.end();
            let said = String::from_utf8(output.stderr).unwrap();
            let mapped = *name == "w/model.safetensors";
            if mapped && ![Change::Renamed, Change::Removed].contains(&change) {
                assert_eq!(second, None, "{name} {change:?}");
                assert_eq!(output.status.code(), Some(5), "{name} {change:?}: {said}");
                assert_eq!(said.lines().count(), 1, "{said}");
                assert!(said.contains("model.safetensors: expected a file that stays"), "{said}");
            } else {
                // It was copied, or the old file lives on without its name.
                assert_eq!(second, Some(first), "{name} {change:?}");
                assert_eq!(output.status.code(), Some(0), "{name} {change:?}: {said}");
            }
            let _ = fs::remove_file(shop.path(name));
            shop.put(name, bytes);
        }
    }
}

/// No step is taken over other weights: the state of the last one is saved, and the run goes on
/// from it, once they are back, as if nothing had happened.
#[test]
fn a_training_whose_weights_change_keeps_its_steps() {
    let shop = shop();
    let train = |out: &str, more: &str| {
        engine(
            &shop,
            &format!(
                "train --weights w --data shop.bin --rank 2 --batch 4 --epochs 1000 \
                 --validate-every 7 --validate-users 2 --checkpoint-every 100000 --out {out} {more}"
            ),
        )
    };
    assert!(train("whole", "").output().unwrap().status.success());
    let weights = shop.path("w/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let log = shop.path("cut/metrics.jsonl");
    let mut child = train("cut", "").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it was to be changed first");
        std::thread::sleep(Duration::from_millis(1));
    }
    Change::CutShort.make(&weights);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("expected a file that stays") && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_dir(shop.path("cut/checkpoints")).unwrap().count(), 1);
    fs::write(&weights, bytes).unwrap();
    let output = train("cut", "--resume").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let adapter = |run: &str| fs::read(shop.path(run).join("adapter_model.safetensors")).unwrap();
    assert!(adapter("whole") == adapter("cut"), "the run is another one");
}
