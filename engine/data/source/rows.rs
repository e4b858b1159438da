//! JSON lines and comma-separated values as one thing: rows of named fields.

use super::lines::line_error;
use super::{Lines, Skips};
use anyhow::Result;
use serde_json::{Map, Value};
use std::path::Path;

/// A row: names and values in the file's order.
pub type Object = Map<String, Value>;

/// Reads rows one at a time.
pub struct Rows {
    lines: Lines,
    /// Column names and delimiter of comma-separated values; `None` for JSON lines.
    table: Option<(Vec<String>, char)>,
    /// Line at which the last row began.
    number: usize,
}

impl Rows {
    /// One JSON object a line.
    pub fn json(path: &Path) -> Result<Rows> {
        Ok(Rows { lines: Lines::open(path)?, table: None, number: 0 })
    }

    /// Comma-separated values with a header (RFC 4180; tabs where the header has tabs and no
    /// commas).
    pub fn csv(path: &Path, skips: &mut Skips) -> Result<Rows> {
        let mut lines = Lines::open(path)?;
        let mut delimiter = ',';
        let mut columns = Vec::new();
        if let Some((_, header)) = lines.next(skips)? {
            delimiter = if header.contains('\t') && !header.contains(',') { '\t' } else { ',' };
            let mut row = Fields::new(delimiter);
            row.feed(header);
            columns = row.done().map_err(|message| lines.error(message))?;
        }
        columns.iter_mut().for_each(|name| *name = name.trim().to_owned());
        if let Some(twice) =
            columns.iter().enumerate().find(|(i, name)| columns[..*i].contains(name))
        {
            return Err(lines.error(format_args!(
                "expected different column names, got {:?} twice; rename one",
                twice.1
            )));
        }
        Ok(Rows { lines, table: Some((columns, delimiter)), number: 1 })
    }

    /// The next row that `make` accepts, or `None` at the end; a row it refuses is `skips`' affair.
    pub fn next<T>(
        &mut self,
        skips: &mut Skips,
        mut make: impl FnMut(Object, usize) -> Result<T, String>,
    ) -> Result<Option<T>> {
        loop {
            let object = match &self.table {
                None => self.next_json(skips)?,
                Some(_) => self.next_csv(skips)?,
            };
            let Some(object) = object else { return Ok(None) };
            match object.and_then(|object| make(object, self.number)) {
                Ok(made) => return Ok(Some(made)),
                Err(message) => skips.bad(line_error(self.lines.path(), self.number, message))?,
            }
        }
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        self.lines.path()
    }

    /// Column names; empty for JSON lines, whose rows name their own.
    pub fn columns(&self) -> &[String] {
        self.table.as_ref().map_or(&[], |(columns, _)| columns)
    }

    fn next_json(&mut self, skips: &mut Skips) -> Result<Option<Result<Object, String>>> {
        while let Some((number, line)) = self.lines.next(skips)? {
            if !line.trim().is_empty() {
                self.number = number;
                return Ok(Some(super::object::parse(line)));
            }
        }
        Ok(None)
    }

    fn next_csv(&mut self, skips: &mut Skips) -> Result<Option<Result<Object, String>>> {
        let Some((columns, delimiter)) = &self.table else { return Ok(None) };
        let mut row = Fields::new(*delimiter);
        let mut begun = false;
        while let Some((number, line)) = self.lines.next(skips)? {
            if !begun && line.is_empty() {
                continue;
            }
            if !begun {
                self.number = number;
                begun = true;
            }
            row.feed(line);
            if !row.open {
                break;
            }
        }
        if !begun {
            return Ok(None);
        }
        let fields = match row.done() {
            Ok(fields) => fields,
            Err(message) => return Ok(Some(Err(message))),
        };
        if fields.len() != columns.len() {
            let (expected, got) = (columns.len(), fields.len());
            return Ok(Some(Err(format!(
                "expected {expected} fields as in the header, got {got}; mend the line"
            ))));
        }
        let values = fields.into_iter().map(|field| {
            if field.is_empty() {
                Value::Null
            } else {
                Value::String(field)
            }
        });
        Ok(Some(Ok(columns.iter().cloned().zip(values).collect())))
    }
}

/// The fields of one row, which goes on in the next line while a quotation mark is open.
struct Fields {
    delimiter: char,
    done: Vec<String>,
    field: String,
    /// Inside quotation marks.
    open: bool,
    /// The field began with a quotation mark that is closed again.
    closed: bool,
    wrong: Option<String>,
    lines: usize,
}

impl Fields {
    fn new(delimiter: char) -> Fields {
        let (done, field) = (Vec::new(), String::new());
        Fields { delimiter, done, field, open: false, closed: false, wrong: None, lines: 0 }
    }

    fn feed(&mut self, line: &str) {
        if self.lines > 0 {
            self.field.push('\n');
        }
        self.lines += 1;
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            if self.open {
                match c {
                    '"' if characters.peek() == Some(&'"') => {
                        characters.next();
                        self.field.push('"');
                    }
                    '"' => (self.open, self.closed) = (false, true),
                    _ => self.field.push(c),
                }
            } else if c == self.delimiter {
                self.done.push(std::mem::take(&mut self.field));
                self.closed = false;
            } else if self.closed {
                self.wrong = Some(format!(
                    "expected a delimiter behind a closing quotation mark, \
                    got {c:?}; double the mark or mend the line"
                ));
            } else if c == '"' && self.field.is_empty() {
                self.open = true;
            } else {
                self.field.push(c);
            }
        }
    }

    fn done(mut self) -> Result<Vec<String>, String> {
        if self.open {
            return Err(
                "expected a closing quotation mark, got the end of the file; close it".to_owned()
            );
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.done.push(self.field);
        Ok(self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn quoted_fields_hold_commas_quotes_and_line_ends() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "id,title\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\n3,x,y\n4,\"q\"r\n5,\"open\n")
            .unwrap();
        let mut skips = Skips::new(3);
        let mut rows = Rows::csv(file.path(), &mut skips).unwrap();
        let mut read = Vec::new();
        while let Some(row) = rows.next(&mut skips, |object, line| Ok((line, object))).unwrap() {
            read.push(row);
        }
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].1["title"], "a, \"b\"\nc");
        assert_eq!((read[1].0, &read[1].1["title"]), (5, &Value::Null));
        let bad = skips.skipped();
        assert!(bad[0].contains(":6: expected 2 fields"), "{bad:?}");
        assert!(bad[1].contains(":7: expected a delimiter"), "{bad:?}");
        assert!(bad[2].contains(":8: expected a closing quotation mark"), "{bad:?}");
    }
}
