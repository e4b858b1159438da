//! Lines of a text file, plain or gzip, in any encoding, one at a time, with their numbers.

use super::encoding::Encoding;
use crate::base::{unreadable, Fault};
use anyhow::Result;
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A byte-order mark, in whatever encoding.
const MARK: char = '\u{feff}';

/// A line longer than this is no line of text.
const LONGEST_LINE: usize = 64 << 20;

/// Which characters a file is expected to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What was asked for; `None` = what a mark at the beginning says, otherwise UTF-8.
    pub asked: Option<Encoding>,
    /// What the file is taken for from the first byte on that is no UTF-8: known of files that
    /// were published so.
    pub otherwise: Option<Encoding>,
}

/// Reads lines of text; gzip is known by its first two bytes, whatever the file's name.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    number: usize,
    encoding: Encoding,
    otherwise: Option<Encoding>,
    /// A line held UTF-8 beyond ASCII.
    foreign: bool,
}

impl Lines {
    /// Opens a file; refuses one that cannot be read.
    pub fn open(path: &Path, script: Script) -> Result<Lines> {
        let refuse = |e| unreadable(Fault::Data, "source", path, "a file of rows", &e);
        let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(refuse)?);
        let zipped = file.fill_buf().map_err(refuse)?.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn BufRead + Send> = if zipped {
            Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        // What is wrong with gzip shows at the first line, with its number.
        let mark = reader.fill_buf().ok().and_then(Encoding::mark);
        let encoding = script.asked.or(mark.map(|(encoding, _)| encoding));
        let encoding = encoding.unwrap_or(Encoding::Utf8);
        if let Some((marked, length)) = mark {
            if marked == encoding || marked.is_wide() == encoding.is_wide() {
                reader.consume(length);
            }
        }
        if encoding.is_wide() {
            reader =
                Box::new(BufReader::new(Narrow { reader, encoding, ready: Vec::new(), at: 0 }));
        }
        let encoding = if encoding.is_wide() { Encoding::Utf8 } else { encoding };
        let otherwise = script.otherwise.filter(|_| script.asked.is_none() && mark.is_none());
        let (path, buffer) = (path.to_owned(), Vec::new());
        Ok(Lines { path, reader, buffer, number: 0, encoding, otherwise, foreign: false })
    }

    /// The next line without its end (`\n` or `\r\n`) and its number from 1, or `None` at the end
    /// of the file.
    ///
    /// A line that is not in the file's encoding is `skips`' affair; a file that breaks off
    /// (truncated gzip, read error) ends in an error.
    pub fn next(&mut self, skips: &mut Skips) -> Result<Option<(usize, Cow<'_, str>)>> {
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
            for end in [b'\n', b'\r'] {
                if self.buffer.last() == Some(&end) {
                    self.buffer.pop();
                }
            }
            if self.encoding != Encoding::Utf8 {
                break;
            }
            match std::str::from_utf8(&self.buffer) {
                Ok(text) => {
                    self.foreign |= self.otherwise.is_some() && !text.is_ascii();
                    break;
                }
                Err(e) => match self.otherwise {
                    Some(other) if !self.foreign => {
                        self.encoding = other;
                        break;
                    }
                    _ => skips.bad(self.error(format_args!(
                        "expected UTF-8, got byte {:#04x} at column {}; convert the file to UTF-8 \
                        or give setting `encoding`, such as latin-1",
                        self.buffer[e.valid_up_to()],
                        e.valid_up_to() + 1
                    )))?,
                },
            }
        }
        if self.number == 1 && self.buffer.contains(&0) {
            return Err(self.error(
                "expected text, got a line with zero bytes; if it is UTF-16 without a mark, give \
                setting `encoding`, utf-16 or utf-16be",
            ));
        }
        let text = self.encoding.decode(&self.buffer);
        let text = text.expect("checked, or in an encoding that takes all bytes");
        // Files that were put behind one another bring their marks along.
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_start_matches(MARK)),
            Cow::Owned(text) if text.starts_with(MARK) => {
                Cow::Owned(text.trim_start_matches(MARK).to_owned())
            }
            owned => owned,
        };
        Ok(Some((self.number, text)))
    }

    /// The encoding that the file turned out to have instead of UTF-8.
    pub fn turned(&self) -> Option<Encoding> {
        self.otherwise.filter(|&other| other == self.encoding)
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

/// UTF-16 as UTF-8.
struct Narrow {
    reader: Box<dyn BufRead + Send>,
    encoding: Encoding,
    ready: Vec<u8>,
    at: usize,
}

impl Read for Narrow {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.ready.clear();
            self.at = 0;
            let mut bytes = Vec::with_capacity(1 << 16);
            (&mut self.reader).take(1 << 16).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(0);
            }
            // The first half of a pair waits for the other.
            let high = match self.encoding {
                Encoding::Utf16 => bytes.len() - 1,
                _ => bytes.len().saturating_sub(2),
            };
            if bytes.len() == 1 << 16 && (0xd8..0xdc).contains(&bytes[high]) {
                (&mut self.reader).take(2).read_to_end(&mut bytes)?;
            }
            let text = self.encoding.decode(&bytes).map_err(|at| {
                let words = format!("bytes that are no {} (some {at} on)", self.encoding.name());
                io::Error::new(io::ErrorKind::InvalidData, words)
            })?;
            self.ready.extend_from_slice(text.as_bytes());
        }
        let length = to.len().min(self.ready.len() - self.at);
        to[..length].copy_from_slice(&self.ready[self.at..self.at + length]);
        self.at += length;
        Ok(length)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], script: Script) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = Lines::open(file.path(), script).unwrap();
        let mut read = Vec::new();
        while let Some((_, line)) = lines.next(&mut Skips::default()).unwrap() {
            read.push(line.into_owned());
        }
        read
    }

    #[test]
    fn marks_and_encodings() {
        let wide = |text: &str| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect()
        };
        let plain = Script::default();
        let otherwise = Script { otherwise: Some(Encoding::Latin1), asked: None };
        let expected = ["Léon", "🙂"];
        assert_eq!(lines("\u{feff}Léon\r\n🙂\n".as_bytes(), plain), expected);
        assert_eq!(lines("Léon\n\u{feff}🙂\n".as_bytes(), plain), expected);
        assert_eq!(lines(&wide("\u{feff}Léon\r\n🙂\n"), plain), expected);
        assert_eq!(lines(b"plain\nL\xe9on\nM\xe9lies", otherwise), ["plain", "Léon", "Mélies"]);
        assert_eq!(lines("Léon".as_bytes(), otherwise), ["Léon"]);
        // A pair that the block's end would part.
        let long = "x".repeat((1 << 15) - 1) + "🙂";
        assert_eq!(lines(&[&[0xff, 0xfe], &wide(&long)[..]].concat(), plain), [long]);
    }
}
