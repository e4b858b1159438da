//! Running the program with `interpose.c` between it and libc.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// No space left on device, input/output error.
pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It fails, and the next ones do not.
    Once(i32),
    /// It and all that follow fail.
    On(i32),
    /// The process is killed before it.
    Kill,
    /// It writes its first half, then the process is killed.
    Torn,
}

/// Which operations are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What changes something, and syncs.
    Write,
    /// Opening to read, reading, mapping.
    Read,
}

/// One operation, attacked.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    pub class: Class,
    pub at: u64,
    pub how: How,
}

/// An operation of the log.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number; of those between, nothing came: they failed by themselves.
    pub number: u64,
    pub what: String,
    pub path: String,
    /// The new name of a rename, the offset of a write, the length of a truncation.
    pub second: String,
    pub bytes: Vec<u8>,
}

/// All that a run did below the root.
pub struct Log {
    /// What changed something, in order.
    pub writes: Vec<Op>,
    /// How many there were, with those that failed by themselves.
    pub count: u64,
    /// How many reads there were.
    pub reads: u64,
}

/// How a process ended.
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub error: String,
}

/// The library, built once; `None` where there is no C compiler, which is said.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attack/interpose.c");
            let library = folder.join("interpose.so");
            for compiler in ["cc", "gcc", "clang"] {
                let mut command = Command::new(compiler);
                command.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]);
                match command.arg(&library).arg(&source).arg("-ldl").arg("-lpthread").output() {
                    Ok(output) => {
                        let words = String::from_utf8_lossy(&output.stderr);
                        assert!(output.status.success(), "{compiler}: {words}");
                        return Some(library);
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => panic!("{compiler}: {e}"),
                }
            }
            let required = std::env::var("ENGINE_REQUIRE_CC").is_ok_and(|v| v == "1");
            assert!(!required, "ENGINE_REQUIRE_CC=1, but there is no C compiler");
            println!("skipped: no C compiler (cc, gcc, clang) builds the interposer");
            None
        })
        .as_deref()
}

/// The program in `folder`.
pub fn engine(folder: &Path, words: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--threads", "1", "--quiet", "--device", "cpu"]).args(words);
    command.env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end; `input` is what its standard input holds.
pub fn end(mut command: Command, input: Option<&Path>) -> Ended {
    if let Some(input) = input {
        command.stdin(fs::File::open(input).unwrap());
    }
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        signal: output.status.signal(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Puts the library under a command: operations below `root` count.
pub fn under(command: &mut Command, root: &Path, attack: Option<Attack>, log: Option<&Path>) {
    command.env("LD_PRELOAD", library().expect("checked before")).env("ATTACK_ROOT", root);
    if let Some(log) = log {
        command.env("ATTACK_LOG", log);
    }
    if let Some(Attack { class, at, how }) = attack {
        let how = match how {
            How::Once(error) => format!("once {error}"),
            How::On(error) => format!("on {error}"),
            How::Kill => "kill".to_owned(),
            How::Torn => "torn".to_owned(),
        };
        let class = if class == Class::Read { "read" } else { "write" };
        command.env("ATTACK_AT", at.to_string()).env("ATTACK_HOW", how).env("ATTACK_CLASS", class);
    }
}

/// Reads what the library wrote.
pub fn read_log(path: &Path) -> Log {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut writes) = (bytes.as_slice(), Vec::new());
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).expect("a header");
        let fields: Vec<&str> = line.split('\t').collect();
        let [number, what, path, second, length] = fields[..] else { panic!("{line:?}") };
        let number = number.parse().unwrap();
        rest = &rest[end + 1..];
        if what == "end" {
            return Log { writes, count: number, reads: second.parse().unwrap() };
        }
        let length = if what == "write" { length.parse().unwrap() } else { 0 };
        let (bytes, behind) = rest.split_at(length);
        rest = behind;
        writes.push(Op {
            number,
            what: what.to_owned(),
            path: path.to_owned(),
            second: second.to_owned(),
            bytes: bytes.to_vec(),
        });
    }
    panic!("{}: the log has no end", path.display());
}
