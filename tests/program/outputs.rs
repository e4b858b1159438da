//! What a verb writes: never an input, never another output, never over what is there without
//! being asked, never beside another process that writes it; and what it is not asked for stays as
//! it was. Every verb and flag that the parser knows is walked, so that a new one is held to it by
//! itself.

use crate::shop;
use clap::parser::ValueSource;
use safetensors::tensor::{Dtype, TensorView};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{symlink, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A verb that writes.
struct Verb {
    name: &'static str,
    /// What it takes beside the flags below.
    words: &'static str,
    /// Flags of what is read, with the files that this stands for; the first of a folder's.
    inputs: &'static [(&'static str, &'static str, &'static [&'static str])],
    /// Flags of files that are written.
    files: &'static [&'static str],
    /// The flag of a folder that is written, and a file in it.
    folder: Option<(&'static str, &'static str)>,
}

const MODEL: &[&str] = &["w/config.json", "w/tokenizer.json", "w/model.safetensors"];
const ADAPTER: &[&str] = &["run/adapter_config.json", "run/adapter_model.safetensors"];
const SMALL: &str = "--epochs 0.1 --batch 4 --rank 2 --validate-every 0";

const VERBS: &[Verb] = &[
    Verb {
        name: "prepare",
        words: "",
        inputs: &[
            ("source", "source", &["source/items.jsonl", "source/sequences.txt"]),
            ("--tokenizer", "tokenizer.json", &["tokenizer.json"]),
        ],
        files: &["--out"],
        folder: None,
    },
    Verb {
        name: "prepare",
        words: "--train-tokenizer 300",
        inputs: &[("source", "source", &["source/items.jsonl", "source/sequences.txt"])],
        files: &["--out", "--tokenizer-out"],
        folder: None,
    },
    Verb {
        name: "init",
        words: "--embeddings from-data",
        inputs: &[
            ("--data", "shop.bin", &["shop.bin"]),
            ("--model", "c/config.json", &["c/config.json"]),
            ("--tokenizer", "c/tokenizer.json", &["c/tokenizer.json"]),
        ],
        files: &[],
        folder: Some(("--out", "model.safetensors")),
    },
    Verb {
        name: "train",
        words: "--epochs 0.1 --batch 4 --rank 2 --validate-every 0 --objective legal",
        inputs: &[
            ("--teacher", "n.jsonl", &["n.jsonl"]),
            ("--weights", "w", MODEL),
            ("--data", "shop.bin", &["shop.bin"]),
            ("--templates", "t.toml", &["t.toml"]),
        ],
        files: &[],
        folder: Some(("--out", "adapter_model.safetensors")),
    },
    Verb {
        name: "decode",
        words: "--beams 2 --top 2",
        inputs: &[
            ("--weights", "w", MODEL),
            ("--adapter", "run", ADAPTER),
            ("--data", "shop.bin", &["shop.bin"]),
            ("--prompts", "prompts.jsonl", &["prompts.jsonl"]),
            ("--prior", "n.jsonl", &["n.jsonl"]),
            ("--templates", "t.toml", &["t.toml"]),
        ],
        files: &["--out", "--trace"],
        folder: None,
    },
    Verb {
        name: "eval",
        words: "--resamples 5 --no-baselines",
        inputs: &[
            ("predictions", "p.jsonl", &["p.jsonl", "p.jsonl.settings.json"]),
            ("--data", "shop.bin", &["shop.bin"]),
            ("--run", "run", &["run/metrics.jsonl"]),
        ],
        files: &[],
        folder: Some(("--report", "report.json")),
    },
    Verb {
        name: "forward",
        words: "",
        inputs: &[
            ("--weights", "w", MODEL),
            ("--adapter", "run", ADAPTER),
            ("--inputs", "rows.safetensors", &["rows.safetensors"]),
        ],
        files: &["--outputs"],
        folder: None,
    },
    Verb {
        name: "merge",
        words: "",
        inputs: &[("--weights", "w", MODEL), ("--adapter", "run", ADAPTER)],
        files: &[],
        folder: Some(("--out", "model.safetensors")),
    },
    Verb {
        name: "sweep",
        words: "",
        inputs: &[("ladder", "ladder.toml", &["ladder.toml"])],
        files: &[],
        folder: Some(("--out", "ladder.json")),
    },
    Verb {
        name: "demo",
        words: "--users 10 --epochs 0.1",
        inputs: &[],
        files: &[],
        folder: Some(("--out", "predictions.jsonl")),
    },
];

/// Those that write nothing.
const READERS: [&str; 4] = ["check", "inspect", "doctor", "help"];

impl Verb {
    /// Its command line, with these outputs.
    fn words(&self, outputs: &[(&str, &Path)]) -> Vec<String> {
        let mut words = vec![self.name.to_owned()];
        words.extend(self.words.split_whitespace().map(str::to_owned));
        let inputs = self.inputs.iter().map(|(flag, path, _)| (*flag, Path::new(path)));
        for (flag, path) in inputs.chain(outputs.iter().copied()) {
            if flag.starts_with('-') {
                words.push(flag.to_owned());
            }
            words.push(path.display().to_string());
        }
        words
    }

    /// Outputs in an empty folder.
    fn fresh(&self, folder: &Path) -> Vec<(&'static str, PathBuf)> {
        let flags = self.files.iter().copied().chain(self.folder.map(|(flag, _)| flag));
        flags.map(|flag| (flag, folder.join(&flag[2..]))).collect()
    }
}

fn engine(folder: &Path, words: &[String]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(folder).args(["--device", "cpu", "--threads", "1", "--quiet"]).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), error)
}

#[track_caller]
fn done(folder: &Path, words: &[String]) {
    let (code, error) = engine(folder, words);
    assert_eq!(code, 0, "{words:?}: {error}");
}

/// Refused in one line that names each of `names`.
#[track_caller]
fn refused(folder: &Path, words: &[String], names: &[&str]) {
    let (code, error) = engine(folder, words);
    assert_eq!(code, 2, "{words:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
    for name in names {
        assert!(error.contains(name), "{words:?}: expected {name} in {error}");
    }
}

/// Everything below a folder but links, by path.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// A folder with all that the verbs of the table read, made once; tests write elsewhere.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
        shop::numbered(folder, 20, 12, 6, |i| {
            let thing = ["Kite", "Robot", "Drum", "Doll"][i % 4];
            format!("{{\"id\": {}, \"title\": \"{thing} {i}\"}}", i + 1)
        });
        let run = |text: &str| done(folder, &split(text));
        run("prepare source --train-tokenizer 300 --out shop.bin");
        run("init --model config.json --tokenizer tokenizer.json --out w");
        run(&format!("train --weights w --data shop.bin --out run {SMALL}"));
        run("decode --weights w --data shop.bin --users 3 --beams 2 --out p.jsonl");
        fs::create_dir(folder.join("c")).unwrap();
        for name in ["config.json", "tokenizer.json"] {
            fs::copy(folder.join(name), folder.join("c").join(name)).unwrap();
        }
        fs::write(folder.join("t.toml"), "").unwrap();
        let table = "{\"item\": 1, \"next\": [{\"item\": 2, \"score\": 1}]}\n";
        fs::write(folder.join("n.jsonl"), table).unwrap();
        let ladder = "data = \"shop.bin\"\n[base]\nweights = \"w\"\n[train]\nepochs = 0.1\n\
            batch = 4\nvalidate-every = 0\n[eval]\nresamples = 5\n[[step]]\nname = \"one\"\n";
        fs::write(folder.join("ladder.toml"), ladder).unwrap();
        fs::write(folder.join("prompts.jsonl"), "{\"id\": 1, \"history\": [1, 2]}\n").unwrap();
        fs::write(folder.join("rows.safetensors"), rows()).unwrap();
        folder.to_path_buf()
    })
}

fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn rows() -> Vec<u8> {
    let ids = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let parts = [
        ("input_ids", vec![4], ids(&[1, 2, 3, 4])),
        ("positions", vec![2, 4], ids(&[0, 1, 2, 3, 0, 0, 0, 0])),
        ("starts", vec![2], ids(&[0, 4])),
        ("context", vec![1], ids(&[2])),
    ];
    let views = parts.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::I32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A flag that names a file or a folder is an input or an output of the table.
#[test]
fn every_flag_that_names_a_file_is_walked() {
    let mut command = engine::cli::command();
    command.build();
    for verb in command.get_subcommands() {
        let name = verb.get_name();
        let table: Vec<&Verb> = VERBS.iter().filter(|known| known.name == name).collect();
        assert!(table.is_empty() == READERS.contains(&name), "{name}: not in the table");
        for arg in verb.get_arguments().filter(|_| !table.is_empty()) {
            let shown = arg.get_long().map_or(arg.get_id().to_string(), |long| format!("--{long}"));
            let values = arg.get_value_names().unwrap_or_default();
            let path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
                || values.iter().any(|value| value.contains("FILE"));
            let known = table.iter().any(|verb| {
                verb.inputs.iter().any(|(flag, ..)| *flag == shown)
                    || verb.files.contains(&shown.as_str())
                    || verb.folder.is_some_and(|(flag, _)| flag == shown)
            });
            // Of settings there is a test of its own below.
            assert!(!path || known || shown == "--config", "{name}: {shown}: not in the table");
        }
        let forced = verb.get_arguments().any(|arg| arg.get_long() == Some("force"));
        assert_eq!(forced, !table.is_empty(), "{name}: a verb that writes has --force");
    }
    let matches = command.try_get_matches_from(["engine", "demo", "--force"]).unwrap();
    let source = matches.subcommand().unwrap().1.value_source("force");
    assert_eq!(source, Some(ValueSource::CommandLine));
}

/// The names under which a file may be given: its own, a way round, a link, another name of it.
fn names_of(path: &Path, folder: &Path) -> Vec<PathBuf> {
    let [link, hard] = ["link", "hard"].map(|name| folder.join(name));
    for name in [&link, &hard] {
        let _ = fs::remove_file(name);
    }
    symlink(path, &link).unwrap();
    fs::hard_link(path, &hard).unwrap();
    let around =
        path.parent().unwrap().join("../").join(path.parent().unwrap().file_name().unwrap());
    vec![path.to_owned(), around.join(path.file_name().unwrap()), link, hard]
}

#[test]
fn no_output_is_an_input() {
    let base = base();
    let before = tree(base);
    let own = tempfile::tempdir_in(base.parent().unwrap()).unwrap();
    for verb in VERBS {
        let fresh = verb.fresh(own.path());
        for (flag, _, files) in verb.inputs {
            for file in *files {
                for &output in verb.files {
                    for name in names_of(&base.join(file), own.path()) {
                        let outputs: Vec<(&str, &Path)> = fresh
                            .iter()
                            .map(|(flag, path)| {
                                (*flag, if *flag == output { &*name } else { path })
                            })
                            .collect();
                        let mut words = verb.words(&outputs);
                        words.push("--force".to_owned());
                        let input = match *flag {
                            "source" => "the source",
                            flag => flag,
                        };
                        refused(base, &words, &[output, input]);
                    }
                }
                if let (Some((output, _)), true) = (verb.folder, file.contains('/')) {
                    let folder = base.join(file).parent().unwrap().to_owned();
                    let mut words = verb.words(&[(output, &folder)]);
                    words.push("--force".to_owned());
                    refused(base, &words, &[output]);
                }
            }
        }
        assert_eq!(tree(base), before, "{}", verb.name);
    }
    assert_eq!(fs::read_dir(own.path()).unwrap().count(), 2, "but the two names, nothing is there");
}

#[test]
fn no_output_is_the_file_of_settings_or_a_stream_that_is_read() {
    let base = base();
    let own = tempfile::tempdir().unwrap();
    let config = own.path().join("config.toml");
    fs::write(&config, "").unwrap();
    for verb in VERBS.iter().filter(|verb| !verb.files.is_empty()) {
        for &output in verb.files {
            let fresh = verb.fresh(own.path());
            let outputs: Vec<(&str, &Path)> = fresh
                .iter()
                .map(|(flag, path)| (*flag, if *flag == output { &*config } else { path }))
                .collect();
            let mut words = verb.words(&outputs);
            words.extend(["--config".to_owned(), config.display().to_string(), "--force".into()]);
            refused(base, &words, &[output, "--config"]);
        }
    }
    // Standard input and output are files as well.
    let prompts = own.path().join("prompts");
    fs::write(&prompts, "{\"id\": 1, \"history\": [1]}\n").unwrap();
    let decode = "--quiet decode --weights w --data shop.bin --beams 2 --prompts - --force --out";
    let run = |out: &Path, stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
        command.current_dir(base).args(decode.split(' ')).arg(out).stdout(stdout);
        command.stdin(File::open(&prompts).unwrap()).output().unwrap()
    };
    let append = || Stdio::from(File::options().append(true).open(&prompts).unwrap());
    for ended in [run(&prompts, Stdio::null()), run(Path::new("-"), append())] {
        assert_eq!(ended.status.code(), Some(2), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    assert_eq!(fs::read_to_string(&prompts).unwrap().lines().count(), 1);
    // A file that standard output is may be named.
    let there = File::create(own.path().join("there")).unwrap();
    assert_eq!(run(Path::new("/dev/stdout"), there.into()).status.code(), Some(0));
    let there = fs::read_to_string(own.path().join("there")).unwrap();
    assert_eq!(there.lines().count(), 1, "{there}");
}

#[test]
fn no_two_outputs_are_one() {
    let base = base();
    let own = tempfile::tempdir().unwrap();
    let [new, link] = ["new", "link"].map(|name| own.path().join(name));
    symlink("new", &link).unwrap();
    for verb in VERBS.iter().filter(|verb| verb.files.len() > 1) {
        for (a, b) in [(&new, &new), (&new, &link), (&link, &new)] {
            let words = verb.words(&[(verb.files[0], a), (verb.files[1], b)]);
            refused(base, &words, verb.files);
        }
    }
    // Our own files beside an output count too, and so do those that an input could be.
    let decode = VERBS.iter().find(|verb| verb.name == "decode").unwrap();
    for name in ["new.settings.json", ".new.engine.lock"] {
        let beside = own.path().join(name);
        refused(base, &decode.words(&[("--out", &new), ("--trace", &beside)]), &["--out"]);
        fs::write(&beside, "mine").unwrap();
        let mut words = decode.words(&[("--out", &new)]);
        words.extend(["--prompts".to_owned(), beside.display().to_string()]);
        words.retain(|word| word != "prompts.jsonl");
        let first = words.iter().position(|word| word == "--prompts").unwrap();
        words.remove(first);
        refused(base, &words, &["--out", "--prompts"]);
        assert_eq!(fs::read_to_string(&beside).unwrap(), "mine");
        fs::remove_file(beside).unwrap();
    }
    assert_eq!(fs::read_dir(own.path()).unwrap().count(), 1);
}

/// For each output: refused where something is, overwritten when asked to, by way of a link as
/// well, which stays.
#[test]
fn what_is_there_stays_unless_it_is_asked_for() {
    let base = base();
    for verb in VERBS {
        for &output in verb.files {
            let own = tempfile::tempdir().unwrap();
            let fresh = verb.fresh(own.path());
            let outputs: Vec<(&str, &Path)> =
                fresh.iter().map(|(flag, path)| (*flag, path.as_path())).collect();
            let path = own.path().join(&output[2..]);
            fs::write(own.path().join("there"), "mine").unwrap();
            symlink("there", &path).unwrap();
            let mut words = verb.words(&outputs);
            refused(base, &words, &[output, "--force"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
            assert_eq!(fs::read_dir(own.path()).unwrap().count(), 2, "{words:?}");
            words.push("--force".to_owned());
            done(base, &words);
            assert!(fs::symlink_metadata(&path).unwrap().is_symlink(), "{words:?}");
            assert_ne!(fs::read_to_string(own.path().join("there")).ok(), Some("mine".to_owned()));
            let hidden = |name: &str| name.starts_with('.');
            let mut names = fs::read_dir(own.path()).unwrap().map(|e| e.unwrap().file_name());
            assert!(!names.any(|name| hidden(name.to_str().unwrap())), "{words:?}");
        }
        if let Some((output, whole)) = verb.folder {
            let own = tempfile::tempdir().unwrap();
            let folder = own.path().join("out");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("mine"), "mine").unwrap();
            let mut words = verb.words(&[(output, &folder)]);
            refused(base, &words, &[output, "--force"]);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{words:?}");
            words.push("--force".to_owned());
            done(base, &words);
            assert_eq!(fs::read_to_string(folder.join("mine")).unwrap(), "mine", "{words:?}");
            assert!(folder.join(whole).is_file(), "{words:?}");
            // An empty folder is as good as none.
            let empty = own.path().join("empty");
            fs::create_dir(&empty).unwrap();
            done(base, &verb.words(&[(output, &empty)]));
            // A file is no folder, whatever is asked.
            fs::write(own.path().join("file"), "mine").unwrap();
            let file = own.path().join("file");
            let words = verb.words(&[(output, &file)]);
            refused(base, &[&words[..], &["--force".to_owned()]].concat(), &[output, "a file"]);
            assert_eq!(fs::read_to_string(file).unwrap(), "mine");
        }
    }
}

/// A device or a FIFO is written into, and is afterwards what it was; as the first output alone,
/// since a tokenizer goes into a file that is read again.
#[test]
fn what_is_no_file_is_never_replaced() {
    let base = base();
    for verb in VERBS.iter().filter(|verb| !verb.files.is_empty()) {
        let own = tempfile::tempdir().unwrap();
        let fifo = own.path().join("fifo");
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let mut outputs = verb.fresh(own.path());
        outputs[0].1.clone_from(&fifo);
        let outputs: Vec<(&str, &Path)> = outputs.iter().map(|(f, p)| (*f, p.as_path())).collect();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        done(base, &verb.words(&outputs));
        assert!(!reader.join().unwrap().is_empty(), "{}", verb.name);
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "{}", verb.name);

        let null = own.path().join("null");
        symlink("/dev/null", &null).unwrap();
        for path in [&null, Path::new("/dev/null")] {
            let mut words = verb.words(&[(verb.files[0], path)]);
            let other = own.path().join("other");
            if let Some(flag) = verb.files.get(1) {
                words.extend([(*flag).to_owned(), other.display().to_string(), "--force".into()]);
            }
            done(base, &words);
        }
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        // A folder that should hold a file.
        refused(base, &verb.words(&[(verb.files[0], own.path())]), &[verb.files[0], "folder"]);
    }
}

/// A FIFO where a file is mapped is refused at once: nobody will ever write into it.
#[test]
fn what_is_mapped_is_a_file() {
    let base = base();
    let own = tempfile::tempdir().unwrap();
    let fifo = own.path().join("model.safetensors");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::copy(base.join("w/config.json"), own.path().join("config.json")).unwrap();
    let fifo = fifo.display();
    let (code, error) = engine(base, &split(&format!("decode --weights w --data {fifo}")));
    assert_eq!((code, error.lines().count()), (3, 1), "{error}");
    let weights = own.path().display();
    for words in [
        format!("decode --weights {weights} --data shop.bin"),
        format!("decode --weights w --adapter {weights} --data shop.bin"),
        format!("eval p.jsonl --data {fifo}"),
        format!("inspect {fifo}"),
        format!("forward --weights w --inputs {fifo} --outputs {weights}/y"),
    ] {
        let (code, error) = engine(base, &split(&words));
        assert!((2..=4).contains(&code) && error.lines().count() == 1, "{words}: {code} {error}");
    }
}

/// While another process holds the lock, it is told who that is; what a killed one left is swept.
#[test]
fn who_writes_it_already_is_named_and_what_the_dead_left_goes() {
    let base = base();
    for verb in VERBS {
        let own = tempfile::tempdir().unwrap();
        let fresh = verb.fresh(own.path());
        let outputs: Vec<(&str, &Path)> =
            fresh.iter().map(|(flag, path)| (*flag, path.as_path())).collect();
        let words = verb.words(&outputs);
        let beside = |name: &str| own.path().join(name);
        for (flag, path) in &fresh {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_file = verb.files.contains(flag);
            let (lock, left) = if is_file {
                let left = format!(".{name}.4194305.partial");
                (beside(&format!(".{name}.engine.lock")), beside(&left))
            } else {
                fs::create_dir_all(path).unwrap();
                let left = format!(".{}.4194305.partial", verb.folder.unwrap().1);
                (path.join(".engine.lock"), path.join(left))
            };
            let mut held = File::create(&lock).unwrap();
            held.write_all(b"4194305\n").unwrap();
            held.lock().unwrap();
            fs::write(&left, "half").unwrap();
            refused(base, &words, &[flag, "process 4194305"]);
            assert!(left.exists(), "its writer may live");
            // A child of another test that is just being started may have it open as well.
            held.unlock().unwrap();
        }
        done(base, &words);
        let hidden = tree(own.path())
            .into_keys()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with('.'));
        assert_eq!(hidden, None, "{}", verb.name);
    }
}

/// Two at once, each verb: one is done, the other is refused or finds it done.
#[test]
fn of_two_at_once_one_writes() {
    let base = base();
    for verb in VERBS {
        let own = tempfile::tempdir().unwrap();
        let fresh = verb.fresh(own.path());
        let outputs: Vec<(&str, &Path)> =
            fresh.iter().map(|(flag, path)| (*flag, path.as_path())).collect();
        let words = verb.words(&outputs);
        let both = std::thread::scope(|scope| {
            let one = scope.spawn(|| engine(base, &words));
            let other = engine(base, &words);
            [one.join().unwrap(), other]
        });
        let codes = both.each_ref().map(|(code, _)| *code);
        // A report of ours is made again.
        let again = verb.name == "eval" && codes == [0, 0];
        assert!(codes == [0, 2] || codes == [2, 0] || again, "{}: {both:?}", verb.name);
    }
}

/// Names that nobody chose are numbered, and two at once get two.
#[test]
fn folders_that_nobody_named_are_numbered() {
    let (base, own) = (base(), tempfile::tempdir().unwrap());
    let at = |name: &str| base.join(name).display().to_string();
    let train = format!("train --weights {} --data {} {SMALL}", at("w"), at("shop.bin"));
    for (words, names) in [
        (train.as_str(), ["runs/shop-lora-1", "runs/shop-lora-2", "runs/shop-lora-3"]),
        ("demo --users 10 --epochs 0.1", ["runs/demo", "runs/demo-2", "runs/demo-3"]),
    ] {
        let words = split(words);
        std::thread::scope(|scope| {
            let two = [0, 1].map(|_| scope.spawn(|| done(own.path(), &words)));
            for one in two {
                one.join().unwrap();
            }
        });
        done(own.path(), &words);
        for name in names {
            assert!(own.path().join(name).is_dir(), "{name}");
        }
    }
    // What is refused leaves no folder.
    let wrong = format!("train --weights {} --data {} {SMALL}", at("w"), at("p.jsonl"));
    assert_eq!(engine(own.path(), &split(&wrong)).0, 3);
    assert_eq!(fs::read_dir(own.path().join("runs")).unwrap().count(), 6);
}

/// A run is not mixed with the one that it overwrites.
#[test]
fn a_run_that_is_overwritten_leaves_nothing_of_its_own() {
    let (base, own) = (base(), tempfile::tempdir().unwrap());
    let run = own.path().join("run");
    let train = |more: &str| {
        let text = format!("train --weights w --data shop.bin --out {} {more}", run.display());
        split(&text)
    };
    let longer = SMALL.replace("--epochs 0.1", "--epochs 1");
    done(base, &train(&format!("{longer} --tune full --checkpoint-every 1")));
    assert!(run.join("model.safetensors").exists());
    // Settings that are refused, by the parser or later, cost nothing of what is there.
    let before = tree(&run);
    assert_ne!(engine(base, &train(&format!("{SMALL} --force --targets nothing"))).0, 0);
    assert_eq!(tree(&run), before);
    done(base, &train(&format!("{SMALL} --force")));
    let names: Vec<String> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("model") || name == "config.json" || name == "tokenizer.json")
        .collect();
    assert_eq!(names, ["adapter_model.safetensors"]);
    let checkpoints = fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert_eq!(checkpoints, 1);
}

/// A report that is ours is made again; one that is not stays.
#[test]
fn a_report_is_made_again_where_it_is_ours() {
    let (base, own) = (base(), tempfile::tempdir().unwrap());
    let report = own.path().join("report");
    let eval = VERBS.iter().find(|verb| verb.name == "eval").unwrap();
    let words = eval.words(&[("--report", &report)]);
    done(base, &words);
    fs::write(report.join("notes"), "mine").unwrap();
    fs::remove_file(report.join("report.md")).unwrap();
    done(base, &words);
    assert!(report.join("report.md").is_file());
    assert_eq!(fs::read_to_string(report.join("notes")).unwrap(), "mine");
    for name in ["report.json", "report.md", "report.tex", "report.html"] {
        let ours = fs::read(report.join(name)).unwrap();
        fs::write(report.join(name), "mine").unwrap();
        refused(base, &words, &["--report"]);
        assert_eq!(fs::read_to_string(report.join(name)).unwrap(), "mine");
        fs::write(report.join(name), ours).unwrap();
    }
    done(base, &words);
}
