//! Prompts as JSON lines: `{"id", "task"?, "history": […], "profile"?, "candidates"?}` or
//! `{"id", "task"?, "text", "candidates"?}`.

use crate::base::Fault;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes of a line at most: what a broken host sends must not fill the memory.
const LONGEST_LINE: usize = 16 << 20;

/// A prompt as a line gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub id: Value,
    pub task: Option<String>,
    /// Names of items, oldest first.
    pub history: Option<Vec<Value>>,
    pub profile: Option<Map<String, Value>>,
    /// Names of items.
    pub candidates: Option<Vec<Value>>,
    pub text: Option<String>,
}

/// A line that is no prompt.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// The line's own id, null where none can be read.
    pub id: Value,
    pub error: String,
}

/// A line as it was read, without its end.
pub enum RawLine {
    Bytes(Vec<u8>),
    TooLong,
}

impl RawLine {
    /// Reads the prompt. Refuses what is no JSON object, an id that is neither a number nor a text,
    /// and a key that means nothing.
    pub fn parse(&self) -> Result<Line, Refused> {
        let refuse = |id: &Value, error: String| Refused {
            id: id.clone(),
            error: format!("prompt: {error}"),
        };
        let RawLine::Bytes(bytes) = self else {
            return Err(refuse(
                &Value::Null,
                format!(
                    "expected a line of at most {LONGEST_LINE} bytes, got a longer one; shorten it"
                ),
            ));
        };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            refuse(&Value::Null, format!("expected a JSON object, got: {error}; mend the line"))
        })?;
        let id = match &value {
            Value::Object(object) => object.get("id").unwrap_or(&Value::Null).clone(),
            _ => {
                return Err(refuse(
                    &Value::Null,
                    "expected a JSON object, got another value; mend the line".to_owned(),
                ))
            }
        };
        if !id.is_number() && !id.is_string() {
            return Err(refuse(
                &Value::Null,
                format!("id: expected a number or a text, got {id}; give every line one"),
            ));
        }
        serde_json::from_value(value).map_err(|error| {
            refuse(
                &id,
                format!(
                    "expected id, task, history, profile, candidates, text, got: {error}; mend \
                    the line"
                ),
            )
        })
    }
}

/// Lines one after another; the last one may lack its end.
pub struct RawLines {
    reader: BufReader<File>,
    shown: String,
}

impl RawLines {
    pub fn open(path: &Path) -> Result<RawLines> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|error| refuse_file(&shown, &error.to_string()))?;
        Ok(RawLines { reader: BufReader::new(file), shown })
    }

    /// Standard input. Nobody else may read it: what is read ahead stays here.
    pub fn standard_input() -> Result<RawLines> {
        let input = io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
        Ok(RawLines {
            reader: BufReader::new(File::from(input)),
            shown: "standard input".to_owned(),
        })
    }

    /// The next line; may wait for it.
    pub fn next(&mut self) -> Result<Option<RawLine>> {
        read(&mut self.reader, LONGEST_LINE).with_context(|| format!("--prompts: {}", self.shown))
    }

    /// Whether the next line is here already, so that reading it does not wait.
    pub fn is_ready(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

fn read(reader: &mut impl BufRead, longest: usize) -> io::Result<Option<RawLine>> {
    let mut line = Vec::new();
    if reader.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > longest {
        reader.skip_until(b'\n')?;
        return Ok(Some(RawLine::TooLong));
    }
    Ok(Some(RawLine::Bytes(line)))
}

/// The error of a file of prompts that cannot be read.
pub fn refuse_file(path: &str, got: &str) -> anyhow::Error {
    Fault::Usage.error(format!(
        "--prompts: {path}: expected a readable file of JSON lines, got {got}; check the path"
    ))
}

/// The ids of a file's prompts, null where a line has none.
pub fn ids(path: &Path) -> Result<impl Iterator<Item = Result<Value>>> {
    let mut lines = RawLines::open(path)?;
    Ok(std::iter::from_fn(move || {
        let line = lines.next().transpose()?;
        Some(line.map(|line| line.parse().map_or_else(|refused| refused.id, |line| line.id)))
    }))
}

/// crc32 of a file of prompts.
pub fn hash(path: &Path) -> Result<String> {
    let mut lines = RawLines::open(path)?;
    let mut crc = crc32fast::Hasher::new();
    loop {
        let bytes =
            lines.reader.fill_buf().with_context(|| format!("--prompts: {}", lines.shown))?;
        if bytes.is_empty() {
            return Ok(format!("{:08x}", crc.finalize()));
        }
        crc.update(bytes);
        let length = bytes.len();
        lines.reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Line, Refused> {
        RawLine::Bytes(line.as_bytes().to_vec()).parse()
    }

    #[test]
    fn what_is_no_prompt_is_refused_with_its_id_where_there_is_one() {
        for (line, id, words) in [
            ("", Value::Null, "EOF"),
            ("{\"id\": 1", Value::Null, "EOF"),
            ("[1]", Value::Null, "another value"),
            ("{\"text\": \"x\"}", Value::Null, "id: expected"),
            ("{\"id\": [1]}", Value::Null, "got [1]"),
            ("{\"id\": \"a\", \"histroy\": []}", "a".into(), "histroy"),
            ("{\"id\": 7, \"history\": 3}", 7.into(), "sequence"),
            ("\u{0}", Value::Null, "JSON object"),
        ] {
            let refused = parse(line).unwrap_err();
            assert_eq!(refused.id, id, "{line}");
            assert!(refused.error.contains(words), "{line}: {}", refused.error);
        }
        assert!(RawLine::Bytes(vec![0xff, 0xfe]).parse().is_err());
        assert_eq!(
            parse("{\"id\": \"a\", \"history\": [1, \"x\"]}").unwrap().history.unwrap().len(),
            2
        );
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_the_next_one_read() {
        let mut input = b"12345\n123456\n1\nlast".as_slice();
        let mut lines = Vec::new();
        while let Some(line) = read(&mut input, 5).unwrap() {
            lines.push(match line {
                RawLine::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                RawLine::TooLong => "too long".to_owned(),
            });
        }
        assert_eq!(lines, ["12345", "too long", "1", "last"]);
    }
}
