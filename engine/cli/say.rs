//! The one place where lines go out: remarks and errors to standard error, results to standard
//! output. What is quoted from outside reaches no terminal with its control characters, and
//! settings are named as the flags that they are here.
//!
//! A line to standard error that cannot be written ends nothing: nobody is left to tell. A result
//! that cannot be written ends nothing either, since a verb may have more to do than to say it;
//! [`unsaid`] is what [`super::exit`] asks when the verb is done.

use crate::base::name_settings;
use crate::base::text::{visible, visible_json};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

/// Why standard output took no further result.
static UNSAID: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line on standard error.
pub fn remark(words: &str) {
    // In one piece, so that lines of several threads stay whole. It may fail: see above.
    let _ = io::stderr().write_all(format!("{}\n", visible(&flags(words))).as_bytes());
}

/// A message from below with its settings named as flags.
pub fn flags(message: &str) -> String {
    name_settings(message, |name, value| match value {
        Some(value) => format!("--{name} {value}"),
        None => format!("--{name}"),
    })
}

/// What is no fault and still ought to be known, `--quiet` or not.
pub fn warning(words: impl Display) {
    remark(&format!("warning: {words}"));
}

/// A result for people, lines with their ends.
pub fn result(text: &str) {
    out(&visible(text));
}

/// A result as a table of names and values.
pub fn table(rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {}\n", flags(value));
    result(&rows.iter().map(line).collect::<String>());
}

/// A result for programs.
pub fn json(text: &str) {
    out(&visible_json(text));
}

fn out(text: &str) {
    let mut unsaid = UNSAID.lock().unwrap_or_else(PoisonError::into_inner);
    // After a failure nothing more is written: a result with a hole in it would pass for a whole
    // one.
    if unsaid.is_none() {
        let mut out = io::stdout().lock();
        *unsaid = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
    }
}

/// Help or version, in colours where a terminal has them.
pub fn help(help: &clap::Error) {
    let mut unsaid = UNSAID.lock().unwrap_or_else(PoisonError::into_inner);
    *unsaid = help.print().err();
}

/// The words for results that were lost, where there are any. A reader who went away misses none.
pub fn unsaid() -> Option<String> {
    let unsaid = UNSAID.lock().unwrap_or_else(PoisonError::into_inner);
    unsaid.as_ref().filter(|why| why.kind() != ErrorKind::BrokenPipe).map(|why| {
        format!("standard output: cannot be written: {why}; free some space or write elsewhere")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_said_as_flags() {
        let words = "setting `tune = full`: expected setting `dtype = f32`";
        assert_eq!(flags(words), "--tune full: expected --dtype f32");
    }
}
