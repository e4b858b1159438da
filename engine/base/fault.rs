use std::fmt;

/// Whose fault an error is; the command line turns it into an exit code.
///
/// Attach it where the error is made: `bail!(Fault::Data.error(format!("…")))`, or to an error in
/// passing: `result.map_err(|e| Fault::Device.wrap(e))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Wrong usage or settings: exit 2.
    Usage,
    /// Data invalid: exit 3.
    Data,
    /// Model, tokenizer or adapter does not fit: exit 4.
    Model,
    /// Device or memory: exit 5.
    Device,
    /// A check failed: exit 6.
    Check,
}

impl Fault {
    /// A new error of this kind; `message` reads `what: where: expected …, got …; what to do`.
    pub fn error(self, message: impl fmt::Display) -> anyhow::Error {
        anyhow::Error::new(Marked(self, message.to_string()))
    }

    /// Marks an error that was made elsewhere, keeping its words. The innermost mark wins.
    pub fn wrap(self, error: anyhow::Error) -> anyhow::Error {
        if Fault::of(&error).is_some() {
            return error;
        }
        self.error(format!("{error:#}"))
    }

    /// The mark of an error, if it bears one.
    pub fn of(error: &anyhow::Error) -> Option<Fault> {
        error.downcast_ref::<Marked>().map(|m| m.0)
    }
}

#[derive(Debug)]
struct Marked(Fault, String);

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Marked {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_mark_survives_context_and_is_not_overwritten() {
        let error = Fault::Data.error("bad line");
        let error = Err::<(), _>(error).context("toys.jsonl").unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        assert_eq!(Fault::of(&Fault::Model.wrap(error)), Some(Fault::Data));
        assert_eq!(Fault::of(&anyhow::anyhow!("plain")), None);
    }
}
