//! Streams that fail and signals that come: what was to be done is done, and the code says how it
//! ended.

use crate::shop::Shop;
use std::fs::OpenOptions;
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
    assert_eq!(output.status.code(), Some(3));
    let words = error(&output);
    assert!(words.contains("\\u{1b}[31mred\\u{7}\\u{9b}"), "{words}");
    assert!(!words.trim_end().contains(char::is_control), "{words:?}");
}
