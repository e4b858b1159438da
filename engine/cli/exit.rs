//! How a run ends: one line on standard error, and an exit code.
//!
//! | code | meaning | what leads to it |
//! |---|---|---|
//! | 0 | done | also: the reader of standard output went away, and nothing else was to be done |
//! | 1 | our fault | an error without a mark, a panic |
//! | 2 | wrong usage or settings | `Fault::Usage`, the parser of flags, a path that is not there or not ours |
//! | 3 | data invalid | `Fault::Data` |
//! | 4 | model, tokenizer or adapter does not fit | `Fault::Model` |
//! | 5 | device or memory | `Fault::Device`, an older processor, a full or failing disk, results that standard output did not take |
//! | 6 | a check failed | `Fault::Check` |
//! | 129, 130, 143 | interrupted by SIGHUP, SIGINT, SIGTERM | state saved, where there is any |

use super::interrupt::{self, Interrupted};
use super::say;
use crate::base::text::shortened;
use crate::base::{is_contained, map, Fault};
use anyhow::Result;
use std::io::{self, ErrorKind};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs `body` and ends as it ends: the error as one line, a panic as one line, the signal as 128 +
/// its number.
pub fn guard(verbose: bool, body: impl FnOnce() -> Result<()>) -> ExitCode {
    panic::set_hook(Box::new(explain));
    interrupt::outlive_limits();
    // Nothing is used after a panic but the exit code.
    let ended = panic::catch_unwind(AssertUnwindSafe(body));
    let panicked = ended.is_err();
    let failed = match ended {
        // Zeros were read, and what they became went out unasked.
        Ok(Ok(())) => map::changed(),
        Ok(Err(error)) => Some(error),
        Err(_) => panicked_over().take(),
    };
    let code = match failed {
        Some(error) => {
            say(&error, verbose);
            code(&error)
        }
        None if panicked => 1,
        None => interrupt::signal().map_or(0, |signal| 128 + signal as u8),
    };
    ExitCode::from(match say::unsaid().filter(|_| code == 0) {
        Some(lost) => {
            line(&lost);
            5
        }
        None => code,
    })
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    if let Some(Interrupted(signal)) = error.downcast_ref() {
        return 128 + *signal as u8;
    }
    if let Some(refused) = error.downcast_ref::<clap::Error>() {
        return refused.exit_code() as u8;
    }
    let unmarked = Fault::of(error).is_none();
    let cause = cause_in_files(error).map(io::Error::kind);
    if unmarked && cause == Some(ErrorKind::BrokenPipe) {
        return 0;
    }
    let system = || cause_in_files(error).and_then(Fault::of_system);
    match Fault::of(error).or_else(system) {
        Some(Fault::Usage) => 2,
        Some(Fault::Data) => 3,
        Some(Fault::Model) => 4,
        Some(Fault::Device) => 5,
        Some(Fault::Check) => 6,
        None => 1,
    }
}

fn cause_in_files(error: &anyhow::Error) -> Option<&io::Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<io::Error>())
}

/// Says an error on standard error: one line; with `verbose` each cause on a line of its own as
/// well. Help and version, which the parser returns as errors, go where they belong. A reader who
/// went away is not told.
fn say(error: &anyhow::Error, verbose: bool) {
    if let Some(refused) = error.downcast_ref::<clap::Error>() {
        if !refused.use_stderr() || refused.kind() == HELP_FOR_NOTHING {
            return say::help(refused);
        }
        return line(&sentence(refused));
    }
    if code(error) == 0 {
        return;
    }
    line(&format!("{error:#}"));
    if verbose {
        for (depth, cause) in error.chain().enumerate() {
            line(&format!("{:>4}: {cause}", depth + 1));
        }
        let trace = error.backtrace();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            say::remark(&trace.to_string());
        }
    }
}

/// `engine` without a verb.
const HELP_FOR_NOTHING: clap::error::ErrorKind =
    clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Bytes of an error's line at most: what it quotes may be of any length.
const LONGEST: usize = 4000;

/// One line on standard error, whatever the words hold.
fn line(words: &str) {
    let flat: Vec<&str> =
        words.lines().map(str::trim_end).filter(|part| !part.is_empty()).collect();
    say::remark(&format!("engine: {}", shortened(&say::flags(&flat.join(" ")), LONGEST)));
}

/// The parser's several lines as one: what is wrong, its tips, where to read on.
pub fn sentence(refused: &clap::Error) -> String {
    let text = refused.render().to_string();
    let mut parts = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut lines = paragraph.lines().map(str::trim).filter(|line| !line.is_empty());
        let Some(first) = lines.next() else { continue };
        let rest: Vec<&str> = lines.collect();
        if let Some(what) = first.strip_prefix("error: ") {
            let gap = if rest.is_empty() { "" } else { " " };
            parts.push(format!("{what}{gap}{}", rest.join(", ")));
        } else if first.starts_with("tip: ") {
            let tips =
                std::iter::once(first).chain(rest).map(|tip| tip.trim_start_matches("tip: "));
            parts.extend(tips.map(str::to_owned));
        }
    }
    parts.push("try --help".to_owned());
    parts.join("; ")
}

/// Why there was a panic that is not our fault: the values that it fell over were changed in their
/// file.
fn panicked_over() -> MutexGuard<'static, Option<anyhow::Error>> {
    static WHY: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    WHY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The panic hook: a panic is our fault, but for one of code that is known to panic and is asked
/// to, and for one over a file that was changed under us.
fn explain(panic: &PanicHookInfo<'_>) {
    if is_contained() {
        return;
    }
    if let Some(why) = map::changed() {
        *panicked_over() = Some(why);
        return;
    }
    let payload = panic.payload();
    let payload = payload
        .downcast_ref::<&str>()
        .copied()
        .or(payload.downcast_ref::<String>().map(String::as_str));
    let words = payload.unwrap_or("no words");
    let place = panic.location().map_or("somewhere".to_owned(), ToString::to_string);
    line(&format!(
        "our fault: {place}: {words}; please report this line with the command (RUST_BACKTRACE=1 \
        says more)"
    ));
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        say::remark(&trace.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{anyhow, Context};

    #[test]
    fn every_fault_has_its_code() {
        let codes = [
            (Fault::Usage, 2),
            (Fault::Data, 3),
            (Fault::Model, 4),
            (Fault::Device, 5),
            (Fault::Check, 6),
        ];
        for (fault, expected) in codes {
            let error =
                Err::<(), _>(fault.error("x")).context("reading").context("again").unwrap_err();
            assert_eq!(code(&error), expected);
        }
        assert_eq!(code(&anyhow!("no mark")), 1);
        assert_eq!(code(&Interrupted(2).into()), 130);
        assert_eq!(code(&Interrupted(15).into()), 143);
    }

    #[test]
    fn the_file_systems_words_are_understood() {
        let kinds = [
            (ErrorKind::BrokenPipe, 0),
            (ErrorKind::NotFound, 2),
            (ErrorKind::PermissionDenied, 2),
            (ErrorKind::StorageFull, 5),
            (ErrorKind::UnexpectedEof, 1),
        ];
        for (kind, expected) in kinds {
            let error = Err::<(), _>(io::Error::from(kind)).context("toys.bin").unwrap_err();
            assert_eq!(code(&error), expected, "{kind:?}");
        }
        const EIO: i32 = 5;
        assert_eq!(code(&io::Error::from_raw_os_error(EIO).into()), 5);
        // A mark outranks what the file system says.
        assert_eq!(code(&Fault::Data.wrap(io::Error::from(ErrorKind::NotFound), "toys.bin")), 3);
    }
}
