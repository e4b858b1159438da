//! Keys of a TOML file as flags of a verb: what `--config` gives, and the sections of a ladder.

use super::exit;
use super::word::ranged;
use crate::base::{meant, unreadable, Fault};
use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use std::any::TypeId;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::Spanned;

/// A key of the file as words of a command line.
#[derive(Clone)]
pub struct Setting {
    /// The key as the file has it, with the sections around it.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// What the parser calls it.
    pub id: String,
    /// As the parser names it in its complaints.
    shown: String,
    /// Whether it is no flag.
    pub positional: bool,
    /// What would have been typed.
    pub words: Vec<String>,
}

impl Setting {
    /// Whether the same flag was typed.
    pub fn is_typed(&self, matches: &ArgMatches) -> bool {
        matches.value_source(&self.id) == Some(ValueSource::CommandLine)
    }

    /// Whether the parser's complaint is about this setting.
    pub fn is_named_by(&self, error: &clap::Error) -> bool {
        match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(name)) => *name == self.shown,
            Some(ContextValue::Strings(names)) => names.contains(&self.shown),
            _ => false,
        }
    }
}

/// A file of settings.
pub struct File<'a> {
    /// What messages about it begin with.
    name: &'static str,
    path: &'a Path,
    text: String,
}

impl File<'_> {
    /// Reads the file that `name` gave.
    pub fn read<'a>(name: &'static str, path: &'a Path) -> Result<File<'a>> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| unreadable(Fault::Usage, name, path, "a TOML file", &e))?;
        Ok(File { name, path, text })
    }

    /// The whole file; `verb` knows more about its keys.
    pub fn table(&self, verb: &str) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text).map_err(|e| {
            let line = self.line(e.span().map_or(0, |span| span.start));
            let what = e.message().replace('\n', ", ");
            Fault::Usage.error(format!(
                "{}: {}:{line}: expected TOML (key = value), got {what}; see `engine {verb} \
                --help`",
                self.name,
                self.path.display(),
            ))
        })
    }

    /// The keys of a section as flags; `within` is what messages name before a key.
    pub fn settings(
        &self,
        flags: &Command,
        section: &DeTable<'_>,
        within: &str,
    ) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        for (key, value) in section {
            settings.push(self.setting(flags, key, value, within)?);
        }
        // The table is sorted by key; the order of the file is what a reader expects errors in.
        settings.sort_by_key(|setting| setting.line);
        for (i, setting) in settings.iter().enumerate() {
            if settings[..i].iter().any(|before| before.id == setting.id) {
                return Err(self.refuse(
                    setting.line,
                    &setting.key,
                    "expected it once, got it with - and with _",
                ));
            }
        }
        Ok(settings)
    }

    fn setting(
        &self,
        flags: &Command,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        within: &str,
    ) -> Result<Setting> {
        let line = self.line(key.span().start);
        let name = key.get_ref().replace('_', "-");
        let key = &*format!("{within}{}", key.get_ref());
        let Some(arg) = flags.get_arguments().find(|arg| key_of(arg).as_deref() == Some(&name))
        else {
            return Err(self.refuse(line, key, &unknown(flags, &name, value.get_ref())));
        };
        let positional = arg.is_positional();
        let mut words = Vec::new();
        match (value.get_ref(), takes_list(arg)) {
            (DeValue::Array(list), true) => {
                if list.is_empty() && !arg.get_default_values().is_empty() {
                    return Err(self.refuse(
                        line,
                        key,
                        "expected at least one value, got an empty list",
                    ));
                }
                for value in list.iter() {
                    words.extend(self.word(line, key, arg, value.get_ref())?);
                }
            }
            (value, _) => words.extend(self.word(line, key, arg, value)?),
        }
        if !positional && arg.get_action().takes_values() {
            words.iter_mut().for_each(|word| *word = format!("--{name}={word}"));
        }
        let (id, shown) = (arg.get_id().to_string(), arg.to_string());
        Ok(Setting { key: key.to_owned(), line, id, shown, positional, words })
    }

    /// One value as what would have been typed; nothing for a switch that is off.
    fn word(
        &self,
        line: usize,
        key: &str,
        arg: &Arg,
        value: &DeValue<'_>,
    ) -> Result<Option<String>> {
        let expected = Kind::of(arg);
        let word = match (expected, value) {
            (Kind::Switch, DeValue::Boolean(true)) => {
                arg.get_long().map(|long| format!("--{long}"))
            }
            (Kind::Switch, DeValue::Boolean(false)) => None,
            (Kind::Whole | Kind::Number, DeValue::Integer(n)) => Some(decimal(n)),
            (Kind::Number, DeValue::Float(x)) => Some(x.as_str().to_owned()),
            (Kind::Text, DeValue::String(text)) => Some(text.to_string()),
            (Kind::Bool, DeValue::Boolean(b)) => Some(b.to_string()),
            (_, DeValue::Table(_)) if arg.get_long() == Some("template") => {
                let what = "expected ids of templates, got a template; a file of templates is \
                    given by --templates";
                return Err(self.refuse(line, key, what));
            }
            (expected, got) => {
                let what = format!(
                    "expected {}, got {}; see --help",
                    expected.name(takes_list(arg)),
                    name_of(got)
                );
                return Err(self.refuse(line, key, &what));
            }
        };
        Ok(word)
    }

    /// An error about a key.
    pub fn refuse(&self, line: usize, key: &str, what: &str) -> anyhow::Error {
        let (name, place) = (self.name, self.path.display());
        Fault::Usage.error(format!("{name}: {place}:{line}: {key}: {what}"))
    }

    /// The flags of a verb from what is `given` and from settings, by the parser of the command
    /// line. What it refuses of a setting is said with the setting's line.
    pub fn flags<T: Args>(
        &self,
        verb: &'static str,
        given: &[String],
        settings: &[Setting],
    ) -> Result<T> {
        let words = |positional: bool| {
            let own = settings.iter().filter(move |setting| setting.positional == positional);
            own.flat_map(|setting| setting.words.iter().cloned())
        };
        let all = [verb.to_owned()].into_iter().chain(words(false)).chain(given.iter().cloned());
        let matches = flags_of::<T>(verb).try_get_matches_from(all.chain(words(true)));
        let culprit = |error: clap::Error| {
            let setting = settings.iter().find(|setting| setting.is_named_by(&error));
            let (line, key) = setting.map_or((1, verb), |setting| (setting.line, &setting.key));
            self.refuse(line, key, &exit::sentence(&error))
        };
        let matches = matches.map_err(culprit)?;
        T::from_arg_matches(&matches).map_err(culprit)
    }

    /// The line of a place of the file, from 1.
    pub fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at.min(self.text.len())]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
    }
}

/// The flags of a verb alone, every number in the range of its setting.
pub fn flags_of<T: Args>(verb: &'static str) -> Command {
    let mut flags = ranged(T::augment_args(Command::new(verb)));
    flags.build();
    flags
}

/// What a file calls an argument; none for those that make no sense in one.
fn key_of(arg: &Arg) -> Option<String> {
    if matches!(arg.get_id().as_str(), "help" | "version" | "config") {
        return None;
    }
    match arg.get_long() {
        Some(long) => Some(long.to_owned()),
        None => arg.is_positional().then(|| arg.get_id().as_str().replace('_', "-")),
    }
}

fn takes_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// What type of value an argument wants.
#[derive(Clone, Copy)]
enum Kind {
    Switch,
    Bool,
    Whole,
    Number,
    /// Names, paths and what else is parsed from words.
    Text,
}

impl Kind {
    fn of(arg: &Arg) -> Kind {
        if !arg.get_action().takes_values() {
            return Kind::Switch;
        }
        let is = |types: &[TypeId]| types.iter().any(|t| arg.get_value_parser().type_id() == *t);
        macro_rules! ids { ($($t:ty)*) => { &[$(TypeId::of::<$t>()),*] } }
        if is(ids!(bool)) {
            Kind::Bool
        } else if is(ids!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize)) {
            Kind::Whole
        } else if is(ids!(f32 f64)) {
            Kind::Number
        } else {
            Kind::Text
        }
    }

    fn name(self, list: bool) -> &'static str {
        match (self, list) {
            (Kind::Switch | Kind::Bool, _) => "true or false",
            (Kind::Whole, false) => "a whole number",
            (Kind::Whole, true) => "a whole number or a list of them",
            (Kind::Number, false) => "a number",
            (Kind::Number, true) => "a number or a list of them",
            (Kind::Text, false) => "a string",
            (Kind::Text, true) => "a string or a list of them",
        }
    }
}

/// What a value is, in words.
pub fn name_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", text.as_ref()),
        DeValue::Integer(n) => decimal(n),
        DeValue::Float(x) => x.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// The digits of a whole number, which TOML also has in base 2, 8 and 16.
fn decimal(n: &toml::de::DeInteger<'_>) -> String {
    i128::from_str_radix(n.as_str(), n.radix())
        .map_or_else(|_| n.as_str().to_owned(), |n| n.to_string())
}

/// What is wrong with a key that is no flag of the verb, and what to do about it.
fn unknown(flags: &Command, key: &str, value: &DeValue<'_>) -> String {
    let verb = flags.get_name();
    let known: Vec<String> = flags.get_arguments().filter_map(key_of).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let what = match value {
        DeValue::Table(_) => {
            return format!(
                "expected flags of `engine {verb}` as key = value, got a section; a file is for \
                one verb and has none: take the keys out of {key}, and what is for other verbs away"
            )
        }
        DeValue::Array(list) if list.iter().any(|one| one.get_ref().is_table()) => {
            "a list of sections"
        }
        _ => "none",
    };
    let advice = format!("see `engine {verb} --help`");
    format!("expected a flag of `engine {verb}`, got {what}; {}", meant(key, &known, &advice))
}
