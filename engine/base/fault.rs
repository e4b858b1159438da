use super::text::one_line;
use anyhow::Error;
use std::error::Error as Cause;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind};

/// Whose fault an error is. A face decides what it does with that: the command line ends with an
/// exit code, a server with a status.
///
/// Mark an error where it is made, `bail!(Fault::Data.error(format!("…")))`, or in passing, with
/// the words of the one who knows more: `result.map_err(|e| Fault::Device.wrap(e, "checkpoint"))`.
/// An error without a mark is a fault of ours, or of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of the one who asks: wrong usage, or settings that do not go together.
    Usage,
    /// Of the one who made the data: it is invalid.
    Data,
    /// Of whoever chose the model: model, tokenizer or adapter do not fit.
    Model,
    /// Of the machine: device, memory or disk.
    Device,
    /// Nobody's: what was to be checked was checked, and does not hold.
    Check,
}

impl Fault {
    /// A new error of this kind; `message` reads `what: where: expected …, got …; what to do`. What
    /// it quotes may hold anything: it stays one line, and what a terminal would obey is written
    /// out.
    pub fn error(self, message: impl Display) -> Error {
        Error::new(Marked { fault: self, words: line(message), cause: None })
    }

    /// Marks an error that was made elsewhere and puts `words` before it, as `context` does: all
    /// its causes stay in the chain. The innermost mark wins.
    pub fn wrap(self, error: impl Into<Error>, words: impl Display) -> Error {
        let (error, words) = (error.into(), line(words));
        match Fault::of(&error) {
            Some(_) => error.context(words),
            None => Error::new(Marked { fault: self, words, cause: Some(error) }),
        }
    }

    /// The mark of an error, if it bears one.
    pub fn of(error: &Error) -> Option<Fault> {
        let mark = |cause: &(dyn Cause + 'static)| cause.downcast_ref::<Marked>().map(|m| m.fault);
        error.chain().filter_map(mark).last()
    }

    /// Whose fault it is that the system refuses a path, where its words tell.
    pub fn of_system(error: &io::Error) -> Option<Fault> {
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::ReadOnlyFilesystem => Some(Fault::Usage),
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::OutOfMemory => Some(Fault::Device),
            // The kernel reports a failing disk (EIO) under no kind of its own.
            _ => error.raw_os_error().map(|_| Fault::Device),
        }
    }
}

fn line(words: impl Display) -> String {
    one_line(&words.to_string()).into_owned()
}

/// A link of the chain that says whose fault it is.
#[derive(Debug)]
struct Marked {
    fault: Fault,
    words: String,
    cause: Option<Error>,
}

impl Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Cause for Marked {
    fn source(&self) -> Option<&(dyn Cause + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Cause + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{anyhow, Context};

    #[test]
    fn the_mark_survives_context_and_is_not_overwritten() {
        let error = Fault::Data.error("bad line");
        let error = Err::<(), _>(error).context("toys.jsonl").unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        let error = Fault::Model.wrap(error, "adapter");
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        assert_eq!(format!("{error:#}"), "adapter: toys.jsonl: bad line");
        assert_eq!(Fault::of(&anyhow!("plain")), None);
    }

    #[test]
    fn what_is_quoted_ends_no_line() {
        let error = Fault::Data.wrap(Fault::Model.error("field a\nb"), "x\u{1b}[2J.json");
        assert_eq!(format!("{error:#}"), "x\\u{1b}[2J.json: field a\\nb");
    }

    #[test]
    fn every_cause_stays_in_the_chain_and_is_said_once() {
        let found = |error: &Error| {
            error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
        };
        let full = || io::Error::new(ErrorKind::StorageFull, "no room");
        let error = Fault::Device.wrap(Error::new(full()).context("x.bin"), "checkpoint");
        let error = error.context("step 3");
        assert_eq!(format!("{error:#}"), "step 3: checkpoint: x.bin: no room");
        assert_eq!(error.chain().count(), 4);
        assert_eq!(found(&error), Some(ErrorKind::StorageFull));
        assert_eq!(Fault::of(&error), Some(Fault::Device));

        let bare = Fault::Data.wrap(full(), "toys.bin");
        assert_eq!(format!("{bare:#}"), "toys.bin: no room");
        assert_eq!(found(&bare), Some(ErrorKind::StorageFull));
    }
}
