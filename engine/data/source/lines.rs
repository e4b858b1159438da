//! Lines of a text file, plain or gzip, one at a time, with their numbers.

use crate::base::Fault;
use anyhow::Result;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A line longer than this is no line of text.
const LONGEST_LINE: usize = 64 << 20;

/// Reads lines of UTF-8 text; gzip is known by its first two bytes, whatever the file's name.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    number: usize,
}

impl Lines {
    /// Opens a file; refuses one that cannot be read.
    pub fn open(path: &Path) -> Result<Lines> {
        let unreadable = |e: std::io::Error| {
            Fault::Data.error(format!(
                "{}: expected a readable file, got: {e}; check the path",
                path.display()
            ))
        };
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
        let zipped = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = if zipped {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Lines { path: path.to_owned(), reader, buffer: Vec::new(), number: 0 })
    }

    /// Reads text that is already in memory; `path` is what errors say.
    pub fn of(path: &Path, text: impl Read + Send + 'static) -> Lines {
        Lines {
            path: path.to_owned(),
            reader: Box::new(BufReader::new(text)),
            buffer: Vec::new(),
            number: 0,
        }
    }

    /// The next line without its end (`\n` or `\r\n`) and its number from 1, or `None` at the end
    /// of the file.
    ///
    /// A line that is not UTF-8 is `skips`' affair; a file that breaks off (truncated gzip, read
    /// error) ends in an error.
    pub fn next(&mut self, skips: &mut Skips) -> Result<Option<(usize, &str)>> {
        loop {
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(LONGEST_LINE as u64);
            let read = limited.read_until(b'\n', &mut self.buffer).map_err(|e| {
                let at = self.number + 1;
                Fault::Data.error(format!(
                    "{}:{at}: expected text to the end of the file, got: {e}; fetch the file again",
                    self.path.display()
                ))
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read == LONGEST_LINE && self.buffer.last() != Some(&b'\n') {
                return Err(self.error(format_args!(
                    "expected lines of at most {LONGEST_LINE} bytes, got a longer one; is this a \
                    text file?"
                )));
            }
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            }
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
            if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if let Err(e) = std::str::from_utf8(&self.buffer) {
                skips.bad(self.error(format_args!(
                    "expected UTF-8, got byte {:#04x} at column {}; convert the file to UTF-8",
                    self.buffer[e.valid_up_to()],
                    e.valid_up_to() + 1
                )))?;
                continue;
            }
            break;
        }
        // Checked just above; the borrow checker does not let the loop return it.
        let text = std::str::from_utf8(&self.buffer).expect("checked");
        Ok(Some((self.number, text)))
    }

    /// An error about the line that was read last: `path:line: message`.
    pub fn error(&self, message: impl std::fmt::Display) -> anyhow::Error {
        line_error(&self.path, self.number, message)
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// `path:line: message`, the data's fault.
pub fn line_error(path: &Path, line: usize, message: impl std::fmt::Display) -> anyhow::Error {
    Fault::Data.error(format!("{}:{line}: {message}", path.display()))
}

/// How many malformed lines may be left out, and which were.
#[derive(Debug, Default)]
pub struct Skips {
    allowed: usize,
    skipped: Vec<String>,
}

impl Skips {
    /// None yet; at most `allowed` lines may be left out.
    pub fn new(allowed: usize) -> Skips {
        Skips { allowed, skipped: Vec::new() }
    }

    /// Takes note of a bad line, or gives the error back when no more may be left out.
    pub fn bad(&mut self, error: anyhow::Error) -> Result<()> {
        if self.skipped.len() < self.allowed {
            self.skipped.push(format!("{error:#}"));
            return Ok(());
        }
        if self.allowed == 0 {
            return Err(error);
        }
        Err(Fault::Data.error(format!(
            "{error:#} (and {} bad lines before it were left out: setting `skip-bad`)",
            self.allowed
        )))
    }

    /// The sentences about the lines left out, in the order of reading.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }
}
