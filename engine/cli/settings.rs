//! `--config FILE.toml`: every flag of a verb from a file.
//!
//! The keys of the file become flags behind those that were typed, except where the same flag was
//! typed; then the whole is parsed as if all of it had been typed. So one parser rules, typed flags
//! win over the file, and the file over defaults. A key is a long flag, with `-` or `_`, or the
//! name of a positional argument. What [`resolved_toml`] writes is such a file.

use super::exit;
use super::keys::{File, Setting};
use crate::base::Fault;
use anyhow::Result;
use clap::{ArgMatches, Command};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// Parses the command line, with the settings of `--config` where it is given. Refuses, with the
/// file's line, a key that is no flag of the verb and a value of another type. Errors of the parser
/// itself stay [`clap::Error`]s.
pub fn parse(command: Command, arguments: Vec<OsString>) -> Result<ArgMatches> {
    if !arguments.iter().any(|a| a.as_encoded_bytes().starts_with(b"--config")) {
        return Ok(command.try_get_matches_from(arguments)?);
    }
    // What is required may stand in the file, so the first look at the command line forgives.
    let typed = command.clone().ignore_errors(true).try_get_matches_from(&arguments)?;
    let chosen = typed.subcommand().and_then(|(verb, matches)| {
        let path = matches.try_get_one::<PathBuf>("config").ok().flatten()?;
        Some((verb, matches, path))
    });
    let Some((verb, matches, path)) = chosen else {
        return Ok(command.try_get_matches_from(arguments)?);
    };
    let mut built = command.clone();
    built.build();
    let flags = built.find_subcommand(verb).expect("clap just found this verb");
    let file = File::read("--config", path)?;
    let table = file.table(flags.get_name())?;
    let settings = file.settings(flags, table.get_ref(), "")?;
    let missing: Vec<&Setting> = settings.iter().filter(|s| !s.is_typed(matches)).collect();
    let all = with_settings(arguments, &missing);
    command.try_get_matches_from(all).map_err(|error| {
        let culprit = missing.iter().find(|setting| setting.is_named_by(&error));
        match culprit {
            Some(setting) => file.refuse(setting.line, &setting.key, &exit::sentence(&error)),
            None => error.into(),
        }
    })
}

/// The settings of a verb as a file that `--config` accepts. Refuses what TOML cannot hold (whole
/// numbers from 2⁶³ on).
pub fn resolved_toml(settings: &impl Serialize) -> Result<String> {
    toml::to_string(settings).map_err(|e| {
        Fault::Usage
            .error(format!("settings: expected values that TOML can hold, got one it cannot: {e}"))
    })
}

/// The flags of a verb as the settings of the floor below: the two share their names.
///
/// Panics where they do not, which is our fault and shows at the first call of the verb.
pub fn of_flags<T: Serialize + DeserializeOwned>(flags: &impl Serialize) -> T {
    let given = serde_json::to_value(flags).expect("flags are plain values");
    let settings: T =
        serde_json::from_value(given.clone()).expect("flags have the settings' types");
    let taken = serde_json::to_value(&settings).expect("settings are plain values");
    for (name, value) in given.as_object().expect("flags are a struct") {
        assert!(
            taken.get(name).is_some_and(|taken| taken == value),
            "flag {name}: expected a setting that takes {value}, got {:?}",
            taken.get(name)
        );
    }
    settings
}

/// The command line with what the file adds, in front of a typed `--`.
fn with_settings(typed: Vec<OsString>, settings: &[&Setting]) -> Vec<OsString> {
    let (mut flags, mut positionals) = (Vec::new(), Vec::new());
    for setting in settings {
        let words = setting.words.iter().map(OsString::from);
        if setting.positional { &mut positionals } else { &mut flags }.extend(words);
    }
    let end = typed.iter().position(|a| a == "--").unwrap_or(typed.len());
    let mut all = typed;
    let behind = all.split_off(end);
    all.extend(flags);
    if !positionals.is_empty() && behind.is_empty() {
        all.push("--".into());
    }
    all.extend(behind);
    all.extend(positionals);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Args, FromArgMatches};
    use serde::Deserialize;

    #[derive(Args, Serialize, Deserialize, Clone, Debug, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    struct Bake {
        source: PathBuf,
        #[arg(long)]
        oven_name: String,
        #[arg(long, default_value_t = 20)]
        minutes: u32,
        #[arg(long, default_value_t = 1.5)]
        heat: f64,
        #[arg(long, value_delimiter = ',', default_value = "0.5,0.5")]
        mix: Vec<f64>,
        #[arg(long)]
        topping: Vec<String>,
        #[arg(long, value_parser = ["round", "flat"])]
        form: Option<String>,
        #[arg(long, requires = "form")]
        fan: bool,
    }

    fn bake(file: &str, typed: &[&str]) -> Result<Bake> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bake.toml");
        std::fs::write(&path, file).unwrap();
        let config = Arg::new("config")
            .long("config")
            .global(true)
            .value_parser(clap::value_parser!(PathBuf));
        let command = Command::new("kitchen")
            .arg(config)
            .subcommand(Bake::augment_args(Command::new("bake")));
        let mut words: Vec<OsString> = ["kitchen", "bake"].map(OsString::from).into();
        words.extend(typed.iter().map(OsString::from));
        // In front of a typed `--`, as people would have it.
        words.splice(2..2, ["--config".into(), path.into_os_string()]);
        let matches = parse(command, words)?;
        Ok(Bake::from_arg_matches(matches.subcommand_matches("bake").unwrap())?)
    }

    const FULL: &str = r#"
        source = "dough"
        oven_name = "-big one"
        minutes = 0x2_0
        heat = 2
        mix = [0.25, 1e-1, 3]
        topping = ["a", "b,c"]
        form = "flat"
        fan = true
    "#;

    fn full() -> Bake {
        Bake {
            source: "dough".into(),
            oven_name: "-big one".into(),
            minutes: 32,
            heat: 2.0,
            mix: vec![0.25, 0.1, 3.0],
            topping: vec!["a".into(), "b,c".into()],
            form: Some("flat".into()),
            fan: true,
        }
    }

    #[test]
    fn a_file_gives_every_kind_of_flag() {
        assert_eq!(bake(FULL, &[]).unwrap(), full());
    }

    #[test]
    fn typed_flags_win_over_the_file_and_the_file_over_defaults() {
        let typed = ["--minutes", "5", "--mix=1", "--topping", "x", "--", "bread"];
        let expected = Bake {
            source: "bread".into(),
            minutes: 5,
            mix: vec![1.0],
            topping: vec!["x".into()],
            ..full()
        };
        assert_eq!(bake(FULL, &typed).unwrap(), expected);
        // What was typed is kept even where it equals the default.
        assert_eq!(bake(FULL, &["--minutes", "20"]).unwrap().minutes, 20);
        let small = bake("source = 's'\noven-name = 'o'", &[]).unwrap();
        assert_eq!(
            (small.minutes, small.heat, small.mix, small.fan),
            (20, 1.5, vec![0.5, 0.5], false)
        );
    }

    #[test]
    fn resolved_settings_are_a_file_that_gives_the_same() {
        let small = bake("", &["dough", "--oven-name", "o"]).unwrap();
        for settings in [full(), small] {
            let text = resolved_toml(&settings).unwrap();
            assert_eq!(bake(&text, &[]).unwrap(), settings, "{text}");
        }
    }

    #[test]
    fn wrong_files_are_refused_with_line_and_key() {
        let cases = [
            (
                "# a\nminuets = 3",
                &["bake.toml:2: minuets: expected a flag of `engine bake`", "minutes"][..],
            ),
            ("config = 'x'", &["config: expected a flag"]),
            (
                "minutes = '3'",
                &["bake.toml:1: minutes: expected a whole number, got the string \"3\""],
            ),
            ("minutes = 3.5", &["expected a whole number, got 3.5"]),
            ("minutes = -3", &["bake.toml:1: minutes: invalid value '-3'"]),
            ("heat = true", &["expected a number, got true"]),
            ("oven-name = 3", &["expected a string, got 3"]),
            ("form = ['flat']", &["expected a string, got a list"]),
            ("\n\nform = 'square'", &["bake.toml:3: form: invalid value 'square'", "round, flat"]),
            ("fan = 'yes'", &["expected true or false, got the string"]),
            ("mix = []", &["expected at least one value"]),
            ("mix = [[1]]", &["expected a number or a list of them, got a list"]),
            ("oven_name = 'a'\noven-name = 'b'", &["bake.toml:2: oven-name: expected it once"]),
            (
                "[bake]\nminutes = 3",
                &["bake.toml:1: bake: expected flags", "got a section", "out of bake"],
            ),
            ("minutes = 3\n[other.one]\nx = 1", &["bake.toml:2: other: ", "got a section"]),
            ("oven.name = 3", &["bake.toml:1: oven: ", "got a section"]),
            ("[[template]]\nid = 'a'", &["bake.toml:1: template: ", "got a list of sections"]),
            ("[[heat]]\nx = 1", &["bake.toml:1: heat: expected a number, got a list"]),
            ("[heat]\nx = 1", &["bake.toml:1: heat: expected a number, got a section"]),
            ("minuets = 3", &["nearest is minutes"]),
            ("Minutes = 3", &["nearest is minutes"]),
            ("zebra = 3", &["got none; there is source, oven-name, minutes"]),
            ("fan = true\nfan = true", &["bake.toml:2: expected TOML", "duplicate key"]),
            ("minutes 3", &["bake.toml:1: expected TOML (key = value)"]),
        ];
        for (file, words) in cases {
            let error = bake(file, &["dough", "--oven-name", "o"]).unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Usage), "{file}: {error}");
            let said = error.to_string();
            assert!(words.iter().all(|part| said.contains(part)), "{file}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn what_is_missing_in_both_is_the_parsers_to_say() {
        let error = bake("minutes = 3", &["dough"]).unwrap_err();
        let refused = error.downcast::<clap::Error>().unwrap();
        assert_eq!(refused.kind(), clap::error::ErrorKind::MissingRequiredArgument);
    }
}
