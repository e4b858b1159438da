//! `--config FILE.toml`: its keys become flags in front of those that were typed, so that one parser rules and typed flags win.

use crate::base::Fault;
use anyhow::Result;
use clap::Command;
use toml::Value;

/// The arguments with the keys of `--config` put in, except those that were typed. Refuses unknown keys.
pub fn with_config(command: Command, arguments: Vec<String>) -> Result<Vec<String>> {
    let Some(path) = value_of(&arguments, "--config") else { return Ok(arguments) };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Fault::Usage.error(format!("config: {path}: cannot be read: {e}")))?;
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| Fault::Usage.error(format!("config: {path}: {}", e.message())))?;
    let verb = arguments.iter().skip(1).position(|a| command.find_subcommand(a).is_some()).map(|i| i + 1);
    let Some(verb) = verb else { return Ok(arguments) };
    let sub = command.find_subcommand(&arguments[verb]).expect("just found");
    let known: Vec<&str> =
        sub.get_arguments().chain(command.get_arguments()).filter_map(|a| a.get_long()).collect();
    let mut added = Vec::new();
    for (key, value) in &table {
        let name = key.replace('_', "-");
        if !known.contains(&name.as_str()) {
            let near =
                known.iter().max_by_key(|k| k.chars().zip(name.chars()).take_while(|(a, b)| a == b).count());
            return Err(Fault::Usage.error(format!(
                "config: {path}: key {key}: expected a flag of `engine {}`, got none; did you mean {}?",
                arguments[verb],
                near.unwrap_or(&"--help")
            )));
        }
        let flag = format!("--{name}");
        let typed = arguments.iter().any(|a| *a == flag || a.starts_with(&format!("{flag}=")));
        if typed {
            continue;
        }
        match value {
            Value::Boolean(true) => added.push(flag),
            Value::Boolean(false) => {}
            Value::Array(list) => added.extend(list.iter().map(|v| format!("{flag}={}", plain(v)))),
            other => added.push(format!("{flag}={}", plain(other))),
        }
    }
    let mut all = arguments;
    all.splice(verb + 1..verb + 1, added);
    Ok(all)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn value_of(arguments: &[String], flag: &str) -> Option<String> {
    let prefix = format!("{flag}=");
    arguments.iter().enumerate().find_map(|(i, a)| {
        a.strip_prefix(&prefix)
            .map(str::to_owned)
            .or_else(|| (a == flag).then(|| arguments.get(i + 1).cloned())?)
    })
}
