//! What texts say of the command line is so: every flag that a document, a help text or a message
//! names is one of the verb that it is named of, or of some verb.

use clap::Command;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Flags of other programs that documents name.
const OF_OTHERS: &str = "release test bench nocapture example profile features all-targets open \
    test-threads no-run disassembler resource-usage help version exact lib doc no-default-features \
    serve name";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The flags of a verb, those of all verbs included.
fn flags(command: &Command, verb: &Command) -> BTreeSet<String> {
    let all = verb.get_arguments().chain(command.get_arguments());
    let named = all.filter_map(|flag| flag.get_long()).map(str::to_owned);
    named.chain(["help".to_owned(), "version".to_owned()]).collect()
}

fn any(command: &Command) -> BTreeSet<String> {
    command.get_subcommands().flat_map(|verb| flags(command, verb)).collect()
}

/// The flags that a text names, without their dashes.
fn named(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let rest = &text[at + 2..];
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let name = name.trim_end_matches('-');
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && c != '-');
        if begins && name.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.push(name);
        }
    }
    found
}

/// The documents of the project.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "engine", "weights", "kernels", "benches"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    found
}

/// Commands of the code blocks of a document, a line each, and its words in code otherwise.
fn code(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut commands, mut spans) = (Vec::new(), Vec::new());
    let (mut inside, mut open, mut prose) = (false, String::new(), String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            open += line.trim_end_matches('\\');
            if !line.ends_with('\\') {
                commands.push(std::mem::take(&mut open));
            }
        } else {
            prose += line;
            prose.push(' ');
        }
    }
    spans.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    (commands, spans)
}

#[test]
fn every_flag_that_a_document_names_is_one_of_the_verb_that_it_is_named_of() {
    let command = engine::cli::command();
    let (all, mut wrong, mut seen) = (any(&command), Vec::new(), 0);
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let (commands, spans) = code(&text);
        for words in commands.iter().chain(&spans) {
            // Behind another program's own words stand ours, as in `cargo run --release -- demo`.
            let ours = words.rsplit(" -- ").next().unwrap_or(words);
            let ours = ours.split(" | ").find(|part| part.contains("--")).unwrap_or(ours);
            let mut parts = ours.split_whitespace().map(|word| word.trim_matches(['#', '$']));
            let verb = parts.by_ref().take(6).find_map(|part| command.find_subcommand(part));
            let other =
                ["cargo", "tools/", "python", "nvcc", "git ", "perf", "/usr/bin/time", "nsys"];
            let is_other = other.iter().any(|name| ours.trim_start().starts_with(name));
            for flag in named(ours) {
                seen += 1;
                let known = match verb {
                    Some(verb) => flags(&command, verb).contains(flag),
                    None => all.contains(flag) || OF_OTHERS.split(' ').any(|name| name == flag),
                };
                if !known && !is_other {
                    wrong.push(format!("{}: --{flag} in `{words}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "{seen} flags in all documents: are they still found?");
}

#[test]
fn flags_are_found_in_texts() {
    let found = named("`--a-b N`, --c=3 (--d), x--e, ---, --F, --g-, a -- b");
    assert_eq!(found, ["a-b", "c", "d", "g"]);
    let (commands, spans) = code("a `--b` c\n```sh\nengine x \\\n  --y\n# z\n```\n`d\ne`");
    assert_eq!(commands, ["engine x   --y", "# z"]);
    assert_eq!(spans, ["--b", "d e"]);
}

#[test]
fn every_flag_that_a_help_text_names_is_one_of_its_verb() {
    let mut command = engine::cli::command();
    command.build();
    let mut wrong = Vec::new();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let known = flags(&command, verb);
        let help = verb.clone().render_long_help().to_string();
        let unknown = named(&help).into_iter().filter(|flag| !known.contains(*flag));
        wrong.extend(unknown.map(|flag| format!("{}: --{flag}", verb.get_name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sources below a folder, up to their tests.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("#[cfg(test)]").unwrap_or(text.len());
            found.push((path, text[..end].to_owned()));
        }
    }
}

#[test]
fn every_setting_that_a_message_names_is_a_flag_of_some_verb() {
    let all = any(&engine::cli::command());
    let mut found = Vec::new();
    sources(&root().join("engine"), &mut found);
    let mut wrong = Vec::new();
    for (path, text) in found {
        // Where settings are named so, and what is shown of it.
        if path.ends_with("base/setting.rs") {
            continue;
        }
        let messages = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let messages = messages.collect::<Vec<_>>().join("\n");
        for rest in messages.split("setting `").skip(1) {
            let name = rest.split(['`', ' ']).next().unwrap_or_default();
            // A name that is put in when the message is made.
            if !name.starts_with('{') && !all.contains(name) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
        if path.components().any(|part| part.as_os_str() == "cli") {
            let unknown = named(&messages).into_iter().filter(|flag| !all.contains(*flag));
            wrong.extend(unknown.map(|flag| format!("{}: --{flag}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
