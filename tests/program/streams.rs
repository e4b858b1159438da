//! Streams that fail and signals that come: what was to be done is done, and the code says how it
//! ended.

use crate::shop::Shop;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 2, "hidden_size": 32,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 256}"#;

/// The shop with a random model in `w`, made once.
fn shop() -> &'static Shop {
    static SHOP: OnceLock<Shop> = OnceLock::new();
    SHOP.get_or_init(|| {
        let shop = Shop::new();
        shop.prepare().unwrap();
        shop.put("config.json", CONFIG);
        let words = "init --model config.json --tokenizer tokenizer.json --out w";
        assert!(engine(&shop, words).output().unwrap().status.success());
        shop
    })
}

fn engine(shop: &Shop, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(shop.folder.path()).args(["--device", "cpu", "--threads", "1"]);
    command.args(words.split(' '));
    command
}

fn train(out: &str, more: &str) -> String {
    format!(
        "train --weights w --data shop.bin --rank 2 --batch 4 --validate-every 0 --out {out} {more}"
    )
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let end = child.stdin.take().unwrap();
    child.wait().unwrap();
    end.into()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_run(folder: &Path) -> bool {
    folder.join("adapter_model.safetensors").is_file()
}

#[test]
fn remarks_that_nobody_takes_end_nothing() {
    let shop = shop();
    for (name, stderr) in [("remarks-full", full()), ("remarks-gone", gone())] {
        let status = engine(shop, &train(name, "--epochs 2")).stderr(stderr).output().unwrap();
        assert_eq!(status.status.code(), Some(0));
        assert!(is_run(&shop.path(name)));
    }
}

/// A run is trained and published whatever becomes of the lines that tell of it.
#[test]
fn results_that_nobody_takes_end_no_training() {
    let shop = shop();
    for (name, stdout, code) in [("told-full", full(), 5), ("told-gone", gone(), 0)] {
        let output =
            engine(shop, &train(name, "--epochs 2 --quiet")).stdout(stdout).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", error(&output));
        assert!(is_run(&shop.path(name)));
        assert_eq!(error(&output).contains("standard output: cannot be written"), code == 5);
    }
    for words in ["doctor", "inspect shop.bin", "train --help", "--version"] {
        let output = engine(shop, words).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{words}: {}", error(&output));
    }
}

fn wait_for(what: &str, child: &mut Child, ready: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "{what}: ended too early");
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}: nothing came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(child: &Child, signal: i32) {
    // SAFETY: the child was not waited for, so that its number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// A closed terminal: the shell and the kernel both say so, and the state is saved all the same.
#[test]
fn a_hang_up_ends_a_run_with_its_state_saved() {
    let shop = shop();
    let log = shop.path("hung-up/metrics.jsonl");
    let mut child =
        engine(shop, &train("hung-up", "--epochs 100000 --checkpoint-every 100000 --quiet"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    wait_for("steps", &mut child, || lines() > 2);
    send(&child, libc::SIGHUP);
    send(&child, libc::SIGHUP);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(129), "{}", error(&output));
    assert_eq!(std::fs::read_dir(shop.path("hung-up/checkpoints")).unwrap().count(), 1);
}

/// A file at the limit of the process is refused as a full disk is.
#[test]
fn a_file_beyond_the_limit_is_an_error() {
    let shop = shop();
    let mut command = engine(shop, "--quiet init --model config.json --out limited");
    // SAFETY: setrlimit may be called between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", error(&output));
    assert!(error(&output).contains("File too large"), "{}", error(&output));
}

#[test]
fn control_characters_reach_no_terminal() {
    let shop = shop();
    let path = "\u{1b}[31mred\u{7}\u{9b}";
    let output = engine(shop, &format!("--quiet decode --weights w --data {path}")).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = error(&output);
    assert!(words.contains("\\u{1b}[31mred\\u{7}\\u{9b}"), "{words}");
    assert!(!words.trim_end().contains(char::is_control), "{words:?}");
}

/// What a terminal or a browser would do rather than show, in every spelling that a report has to
/// carry: an escape, both sets of control characters, a turned direction, a tag, a cell's end.
const HOSTILE: &str = "\u{1b}[31m\u{7}\u{7f}\u{9b}1m\u{202e}|`<script>x</script>\n# *top*";

fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}')
}

#[test]
fn reports_show_what_they_quote() {
    let shop = shop();
    let line = serde_json::json!({
        "id": "alice", "task": "sequential", "template": HOSTILE,
        "items": [{"item": HOSTILE, "title": HOSTILE, "score": -1.0, "valid": false}],
    });
    let name = "\u{1b}[31m<b>|`.jsonl";
    shop.put(name, format!("{line}\n"));
    let side = serde_json::json!({ "limit": HOSTILE, HOSTILE: [HOSTILE] });
    shop.put(&format!("{name}.settings.json"), side.to_string());
    let words = format!("eval {name} --data shop.bin --resamples 2 --report report");
    let output = engine(shop, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    let read = |name: &str| std::fs::read_to_string(shop.path("report").join(name)).unwrap();
    let (plain, page, json) = (read("report.md"), read("report.html"), read("report.json"));
    for text in [&told, &error(&output), &plain, &page, &json] {
        assert!(!text.contains(is_obeyed), "{text:?}");
    }
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["groups"][0]["template"], HOSTILE);
    assert_eq!(report["settings"], side);
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    let own = "<!-- engine eval -->\n";
    for text in [told, plain] {
        assert!(!text.replace(own, "").replace("\\<", "").contains('<'), "{text}");
        // A row of a table has as many cells as its head, and no quotation begins a line.
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let head = cells(table.lines().next().unwrap());
            assert!(table.lines().all(|line| cells(line) == head), "{table}");
        }
        assert!(!text.lines().any(|line| line.starts_with("# *")), "{text}");
    }
}

/// JSON that a terminal may have is the same JSON.
#[test]
fn control_characters_in_json_are_written_out() {
    let shop = shop();
    let prompt = serde_json::json!({"id": HOSTILE, "history": [HOSTILE]});
    shop.put("hostile.jsonl", format!("{prompt}\n"));
    let words = "--quiet decode --weights w --data shop.bin --strict --prompts hostile.jsonl";
    let output = engine(shop, words).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(!told.contains(is_obeyed), "{told:?}");
    let answer: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(answer["id"], HOSTILE);
    assert!(answer["error"].as_str().unwrap().contains("item"), "{answer}");
}

/// Answers of a filter to `lines`, and the most memory that it had by then, in MB.
fn filter(lines: impl ExactSizeIterator<Item = Vec<u8>> + Send + 'static) -> (Vec<Value>, u64) {
    let words = "--quiet decode --weights w --data shop.bin --beams 2 --strict --prompts -";
    let mut child =
        engine(shop(), words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, count) = (child.stdin.take().unwrap(), lines.len());
    let feeder = std::thread::spawn(move || {
        for line in lines {
            input.write_all(&line).unwrap();
            input.write_all(b"\n").unwrap();
        }
        input
    });
    let answers = BufReader::new(child.stdout.take().unwrap()).lines().take(count);
    let answers = answers.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    drop(feeder.join().unwrap());
    assert!(child.wait().unwrap().success());
    (answers, peak / 1000)
}

/// What a host sends, however much and of whatever kind, stays within what `--help` says.
#[test]
fn a_filters_memory_is_bounded_whatever_comes() {
    let (_, base) = filter(std::iter::once(br#"{"id":1,"history":[10]}"#.to_vec()));
    let filled = |begin: &'static str, part: &'static str, bytes: usize, end: &'static str| {
        let line = format!("{begin}{}{end}", part.repeat(bytes / part.len())).into_bytes();
        move |count: usize| std::iter::repeat_n(line, count)
    };
    let mib = 1 << 20;
    let near = mib - 100;
    for (name, lines, words) in [
        (
            "too long",
            filled("{\"id\":1,\"history\":[\"", "x", 15 * mib, "\"]}")(40),
            "at most 1048576",
        ),
        ("a name", filled("{\"id\":1,\"history\":[\"", "x", near, "\"]}")(100), "item: "),
        ("names", filled("{\"id\":1,\"history\":[", "1,", near, "1]}")(20), "item: 1"),
        ("known names", filled("{\"id\":1,\"history\":[", "10,", near, "10]}")(20), ""),
        (
            "candidates",
            filled("{\"id\":1,\"history\":[10],\"candidates\":[", "10,", near, "9]}")(20),
            "",
        ),
        (
            "a profile",
            filled("{\"id\":1,\"history\":[10],\"profile\":{\"a\":[", "[],", near, "1]}}")(20),
            "profile: a",
        ),
        (
            "values",
            filled("{\"id\":1,\"history\":[10],\"profile\":{\"a\":[", "1,", near, "1]}}")(20),
            "profile: a",
        ),
        (
            "a value",
            filled("{\"id\":1,\"history\":[10],\"profile\":{\"a\":\"", "x ", near, "\"}}")(20),
            "profile: expected at most",
        ),
        ("a key", filled("{\"id\":1,\"", "k", near, "\":1}")(100), "unknown field"),
        ("an id", filled("{\"history\":[10],\"id\":\"", "i", near, "\"}")(100), ""),
        ("a text", filled("{\"id\":1,\"text\":\"[MASK]", "some words ", near, "\"}")(20), "text: "),
        ("brackets", filled("", "[", near, "")(100), "JSON"),
    ] {
        let sent = lines.len();
        let (answers, peak) = filter(lines);
        println!("{name}: {peak} MB, {base} MB idle");
        assert_eq!(answers.len(), sent, "{name}");
        for answer in &answers {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(words) && error.len() < 1100, "{name}: {error}");
            assert_eq!(error.is_empty(), words.is_empty(), "{name}: {error}");
        }
        assert!(peak < base + 100, "{name}: {peak} MB, {base} MB idle");
    }
}

/// A stop within a validation comes between its groups; the validation is done again by whoever
/// goes on, and the run is the same, bit for bit.
#[test]
fn a_validation_is_stopped_and_done_again() {
    let shop = Shop::empty();
    crate::shop::numbered(shop.folder.path(), 40, 1500, 8, |i| {
        format!(r#"{{"id":{},"title":"Item number {i}"}}"#, i + 1)
    });
    for words in [
        "prepare source --train-tokenizer 300 --out shop.bin",
        "init --model config.json --tokenizer tokenizer.json --out w",
    ] {
        assert!(engine(&shop, words).output().unwrap().status.success(), "{words}");
    }
    let train = |out: &str, more: &str| {
        let words = "--quiet train --weights w --data shop.bin --rank 2 --batch 1500 --epochs 2";
        let validate = "--validate-every 1 --validate-users 0 --validate-beams 20";
        engine(&shop, &format!("{words} {validate} --checkpoint-every 100 --out {out}{more}"))
    };
    let lines = |out: &str| std::fs::read_to_string(shop.path(out).join("metrics.jsonl"));
    assert!(train("whole", "").output().unwrap().status.success());
    let mut child = train("cut", "").stdout(Stdio::null()).spawn().unwrap();
    wait_for("a step", &mut child, || lines("cut").is_ok_and(|text| text.lines().count() == 1));
    send(&child, libc::SIGTERM);
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(lines("cut").unwrap().lines().count(), 1, "the validation was over before");
    let checkpoint = shop.path("cut/checkpoints/step-1/state.json");
    assert!(std::fs::read_to_string(checkpoint).unwrap().contains("\"unvalidated\": true"));
    assert!(train("cut", " --resume").output().unwrap().status.success());
    let adapter = |run: &str| std::fs::read(shop.path(run).join("adapter_model.safetensors"));
    assert!(adapter("whole").unwrap() == adapter("cut").unwrap(), "the run is another one");
    let timeless = |out: &str| -> Vec<Value> {
        let lines = lines(out).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|mut line| {
                let line = line.as_object_mut().unwrap();
                line.retain(|key, _| {
                    !["seconds", "tokens_per_second", "memory_bytes"].contains(&key.as_str())
                });
                Value::Object(std::mem::take(line))
            })
            .collect()
    };
    assert_eq!(timeless("whole"), timeless("cut"));
}
