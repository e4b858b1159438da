//! Every number that can be typed has its range: the parser's own list of flags is walked, so that
//! a new one without a range fails by itself.

use crate::cli::own_shop;
use assert_cmd::Command;
use clap::{Arg, ArgAction};
use std::any::TypeId;
use std::fs;
use std::path::Path;

/// Flags that may be negative: ratings have whatever scale a shop gave them.
const NEGATIVE_SPEAKS: &[&str] = &["min-rating"];

/// Flags of which 0 means something, as their help says.
const ZERO_SPEAKS: &[&str] = &[
    "attention-dropout",
    "behaviours",
    "beta1",
    "beta2",
    "category-weight",
    "checkpoint-every",
    "clip",
    "contexts",
    "crops",
    "diversity",
    "document-min",
    "document-suffix",
    "dropout",
    "gamma",
    "k-core",
    "length-penalty",
    "levels",
    "lora-dropout",
    "mask-ratio",
    "max-minutes",
    "max-wait",
    "min-rating",
    "mix",
    "min-new-tokens",
    "pairs",
    "patience",
    "seed",
    "skip-bad",
    "teacher-samples",
    "teacher-weight",
    "threads",
    "together",
    "users",
    "validate-every",
    "validate-length-penalty",
    "validate-users",
    "warmup",
    "weight-decay",
    "windows",
];

fn is_numeric(arg: &Arg) -> bool {
    macro_rules! ids { ($($t:ty)*) => { [$(TypeId::of::<$t>()),*] } }
    let kinds = ids!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64);
    arg.get_action().takes_values()
        && kinds.iter().any(|kind| arg.get_value_parser().type_id() == *kind)
}

/// What no number of a flag may be.
fn absurd(verb: &str, flag: &str) -> Vec<&'static str> {
    let mut all = vec!["nan", "inf", "-inf", "1e300", "18446744073709551615", ""];
    if !NEGATIVE_SPEAKS.contains(&flag) {
        all.extend(["-1", "-0.5"]);
    }
    if !ZERO_SPEAKS.contains(&flag) || (verb, flag) == ("demo", "users") {
        all.push("0");
    }
    all
}

/// Runs in `folder`; expects exit code 2, one line that names the flag, and nothing made.
#[track_caller]
fn refused(folder: &Path, words: &[String], flag: &str) {
    let before = fs::read_dir(folder).unwrap().count();
    let mut engine = Command::new(env!("CARGO_BIN_EXE_engine"));
    let output = engine.current_dir(folder).args(words).write_stdin("").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{words:?}: {said}");
    assert!(said.contains(flag) && output.stdout.is_empty(), "{words:?}: {said}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), before, "{words:?} made something");
}

#[test]
fn no_verb_takes_a_number_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = engine::cli::command();
    command.build();
    let mut seen = 0;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let mut usual = vec![verb.get_name().to_owned()];
        for arg in verb.get_arguments().filter(|arg| arg.is_required_set()) {
            usual.extend(arg.get_long().map(|long| format!("--{long}")));
            usual.push("nothing".to_owned());
        }
        for arg in verb.get_arguments().filter(|arg| is_numeric(arg)) {
            let flag = arg.get_long().expect("no number is without a name");
            for value in absurd(verb.get_name(), flag) {
                // A list is refused for the last of its values too.
                let list = matches!(arg.get_action(), ArgAction::Append);
                let value = if list { format!("0.5,{value}") } else { value.to_owned() };
                let typed = [usual.clone(), vec![format!("--{flag}={value}")]].concat();
                refused(folder.path(), &typed, flag);
                seen += 1;
            }
        }
    }
    assert!(seen > 400, "{seen}");
}

#[test]
fn nor_does_a_file_of_settings_give_one() {
    let folder = tempfile::tempdir().unwrap();
    let train = "train --weights nothing --data nothing --config x.toml";
    let words: Vec<String> = train.split(' ').map(str::to_owned).collect();
    for (key, value) in [
        ("epochs", "nan"),
        ("epochs", "inf"),
        ("rank", "0"),
        ("batch", "18446744073709551615"),
        ("batch_rows", "0"),
        ("levels", "[0.5, -1.0, 0.5]"),
        ("clip", "1e300"),
        ("seed", "9223372036854775808"),
    ] {
        fs::write(folder.path().join("x.toml"), format!("{key} = {value}\n")).unwrap();
        refused(folder.path(), &words, key);
    }
}

/// Exit code, standard output and standard error of the program in `folder`.
fn run(folder: &Path, words: &str, input: &str) -> (i32, String, String) {
    let mut engine = Command::new(env!("CARGO_BIN_EXE_engine"));
    let words = format!("--quiet --threads 1 {words}");
    let output = engine.current_dir(folder).args(words.split(' ')).write_stdin(input).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Weights `to` as `w`, each number changed.
fn changed(folder: &Path, to: &str, change: impl Fn(usize, f32) -> f32) {
    fs::create_dir(folder.join(to)).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(folder.join("w").join(name), folder.join(to).join(name)).unwrap();
    }
    let mut bytes = fs::read(folder.join("w/model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for (i, number) in bytes[header..].chunks_exact_mut(4).enumerate() {
        let value = change(i, f32::from_le_bytes(number.try_into().unwrap()));
        number.copy_from_slice(&value.to_le_bytes());
    }
    fs::write(folder.join(to).join("model.safetensors"), bytes).unwrap();
}

#[test]
fn what_is_no_number_never_goes_out() {
    let own = own_shop();
    let folder = own.path();
    changed(folder, "nan", |i, x| if i == 1000 { f32::NAN } else { x });
    changed(folder, "big", |_, x| x * 1e5);
    changed(folder, "huge", |_, x| x * 1e15);
    fs::write(folder.join("p.jsonl"), "{\"id\":1,\"history\":[1]}\n").unwrap();
    for words in [
        "decode --weights nan --data shop.bin --users 2",
        "decode --weights nan --data shop.bin --users 2 --mode score-all",
        "decode --weights nan --data shop.bin --prompts p.jsonl",
        "decode --weights big --data shop.bin --users 1 --dtype f16",
    ] {
        let (code, out, error) = run(folder, words, "");
        assert_eq!((code, out.as_str()), (4, ""), "{words}: {error}");
        assert!(error.contains("finite") && error.lines().count() == 1, "{words}: {error}");
    }
    // A filter does not begin with such weights either; where numbers are none only once they are
    // multiplied, its host lives on.
    let lines = "{\"id\":1,\"history\":[1]}\n{\"id\":2,\"text\":\"a [MASK]\"}\n";
    let (code, out, error) = run(folder, "decode --weights nan --data shop.bin --prompts -", lines);
    assert_eq!((code, out.as_str()), (4, ""), "{error}");
    let huge = "decode --weights huge --data shop.bin --prompts -";
    let (code, out, error) = run(folder, huge, lines);
    assert_eq!(code, 0, "{error}");
    assert_eq!(out.matches("\"error\":\"model: expected finite").count(), 2, "{out}");
    let train = "train --weights w --data shop.bin --out r --epochs 1 --validate-every 0";
    assert_eq!(run(folder, train, "").0, 0);
    let merge = "merge --weights big --adapter r --dtype f16 --out m";
    let (code, _, error) = run(folder, merge, "");
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("f16") && !folder.join("m").exists(), "{error}");
}

#[test]
fn memory_that_is_not_there_is_a_sentence() {
    let own = own_shop();
    let folder = own.path();
    let huge = "{\"model_type\": \"glm\", \"num_layers\": 1, \"hidden_size\": 65536, \
                \"num_attention_heads\": 2, \"vocab_size\": 16777216}";
    fs::write(folder.join("huge.json"), huge).unwrap();
    let limited = |kilobytes: usize, words: &str| {
        let program = env!("CARGO_BIN_EXE_engine");
        let words = format!("ulimit -v {kilobytes}; exec {program} --quiet --threads 2 {words}");
        let output = Command::new("sh").current_dir(folder).args(["-c", &words]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = limited(8 << 20, "init --model huge.json --out huge");
    assert_eq!(code, Some(5), "{error}");
    assert!(error.contains("memory") && !folder.join("huge").exists(), "{error}");
    // Wherever in a run memory ends: an answer, or a sentence.
    let (mut ended, mut answered) = (0, 0);
    for kilobytes in (24..64).map(|megabytes| megabytes << 10) {
        let (code, error) = limited(kilobytes, "decode --weights w --data shop.bin --users 2");
        match code {
            Some(0) => answered += 1,
            // The program itself was not loaded.
            Some(127) => {}
            _ => {
                assert_eq!(code, Some(5), "{kilobytes}: {error}");
                assert_eq!(error.trim_end().lines().count(), 1, "{kilobytes}: {error}");
                ended += 1;
            }
        }
    }
    assert!(ended > 0 && answered > 0, "{ended} ended, {answered} answered");
}
