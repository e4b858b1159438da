//! Every number that can be typed has its range: the parser's own list of flags is walked, so that
//! a new one without a range fails by itself.

use assert_cmd::Command;
use clap::{Arg, ArgAction};
use std::any::TypeId;
use std::fs;
use std::path::Path;

/// Flags of which 0 means something, as their help says.
const ZERO_SPEAKS: &[&str] = &[
    "attention-dropout",
    "behaviours",
    "beta1",
    "beta2",
    "category-weight",
    "checkpoint-every",
    "clip",
    "document-min",
    "document-suffix",
    "dropout",
    "gamma",
    "length-penalty",
    "levels",
    "lora-dropout",
    "mask-ratio",
    "max-minutes",
    "max-wait",
    "mix",
    "patience",
    "seed",
    "skip-bad",
    "threads",
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
    let mut all = vec!["nan", "inf", "-inf", "-1", "-0.5", "1e300", "18446744073709551615", ""];
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
