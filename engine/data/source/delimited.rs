//! Fields with something between them: commas, tabs, semicolons, `::`, bars; quoted as RFC 4180
//! says, or not at all.

use super::cell::Cell;
use super::columns::{Column, Kind, Row};
use super::lines::{line_error, Lines, Skips};
use super::names::squashed;
use crate::base::Fault;
use anyhow::Result;
use std::borrow::Cow;
use std::collections::VecDeque;

/// How fields are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dialect {
    /// What stands between fields; `None` = what parts the header best.
    pub separator: Option<String>,
    /// The names of the columns, where no header says them; a name that ends in `?` is a category
    /// of the items that bear a 1.
    pub columns: Option<&'static [&'static str]>,
    /// There is no header, and nobody says the names: they are 1, 2, 3 …
    pub numbered: bool,
    /// Quotation marks are characters like any others.
    pub bare: bool,
    /// A backslash takes the meaning from the character behind it.
    pub escapes: bool,
    /// Names bear a type, as in `user_id:token`.
    pub typed: bool,
}

/// What `word` calls a separator: itself, or its name.
pub fn separator(word: &str) -> Result<String> {
    let separator = match squashed(word).as_str() {
        "tab" | "t" if word.len() != 1 => "\t",
        "comma" => ",",
        "semicolon" => ";",
        "space" | "blank" => " ",
        "bar" | "pipe" => "|",
        "colons" => "::",
        _ => word,
    };
    let wrong = separator.is_empty() || separator.contains(['"', '\n', '\r']);
    match wrong {
        false => Ok(separator.to_owned()),
        true => Err(Fault::Usage.error(format!(
            "setting `separator`: expected the characters between columns, or tab, comma, \
            semicolon, space or bar, got {word:?}; give one"
        ))),
    }
}

/// What may stand between the columns of a header, the most usual first.
const SEPARATORS: [&str; 6] = [",", "\t", ";", "|", "::", " "];

/// A field in quotation marks goes on over so many lines at most; a mark that is never closed would
/// otherwise swallow the file.
const LONGEST_FIELD: usize = 10_000;

/// Rows of a delimited file.
pub struct Delimited {
    lines: Lines,
    dialect: Dialect,
    separator: String,
    /// Lines that were looked at and are to be read again.
    again: VecDeque<(usize, String)>,
    /// The line that names the columns, where one does.
    header: Option<String>,
}

impl Delimited {
    /// Reads the header, or takes the names from the dialect; see [`super::table::Table::open`].
    pub fn open(
        mut lines: Lines,
        dialect: &Dialect,
        skips: &mut Skips,
        known: &dyn Fn(&[Column]) -> usize,
    ) -> Result<(Vec<Column>, Delimited)> {
        let mut again = VecDeque::new();
        let header = lines.next(skips)?.map(|(number, line)| (number, line.into_owned()));
        let (number, header) = header.unwrap_or_default();
        let parted = |separator: &str| -> Result<Vec<Column>, String> {
            let parts = Parts { separator, bare: dialect.bare, escapes: dialect.escapes };
            let mut record = Record::default();
            record.feed(&parts, &header);
            let names = record.done()?;
            Ok(match (dialect.columns, dialect.numbered) {
                (Some(given), _) => given.iter().map(|name| given_column(name)).collect(),
                (None, true) => (1..=names.len()).map(|i| Column::named(&i.to_string())).collect(),
                (None, false) => names.iter().map(|name| column(name, dialect.typed)).collect(),
            })
        };
        let separator = match (&dialect.separator, dialect.columns.is_some() || dialect.numbered) {
            (Some(separator), _) => separator.clone(),
            (None, true) => {
                let most = |separator: &&&str| header.matches(**separator).count();
                SEPARATORS.iter().rev().max_by_key(most).unwrap_or(&",").to_string()
            }
            (None, false) => {
                let good = |separator: &&&str| {
                    let columns = parted(separator).unwrap_or_default();
                    (known(&columns), columns.len().min(2))
                };
                SEPARATORS.iter().rev().max_by_key(good).unwrap_or(&",").to_string()
            }
        };
        let columns = parted(&separator).map_err(|message| lines.error(message))?;
        if dialect.columns.is_some() || dialect.numbered {
            again.push_back((number, header.clone()));
        }
        let twice = columns
            .iter()
            .enumerate()
            .find(|(i, c)| columns[..*i].iter().any(|b| b.name == c.name));
        if let Some((_, column)) = twice {
            return Err(lines.error(format_args!(
                "expected different column names, got {:?} twice; rename one",
                column.name
            )));
        }
        if dialect.typed {
            if let Some(column) = columns.iter().find(|column| column.kind == Kind::Any) {
                return Err(line_error(
                    lines.path(),
                    1,
                    format_args!(
                        "expected a header of name:type with types token, token_seq, float or \
                        float_seq and tabs as separators, got {:?}; mend the header",
                        column.name
                    ),
                ));
            }
        }
        let header = again.is_empty().then_some(header);
        Ok((columns, Delimited { lines, dialect: dialect.clone(), separator, again, header }))
    }

    /// The file's lines.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// What stands between fields.
    pub fn separator(&self) -> &str {
        &self.separator
    }

    /// Hands the next row of `count` fields to `take`; the line it began in and what became of it,
    /// `None` at the end. Of a record of several lines that is malformed only the first line is
    /// bad: the others are read again, each for itself.
    #[allow(clippy::type_complexity)] // the row's number, and what became of it
    pub fn next(
        &mut self,
        count: usize,
        skips: &mut Skips,
        take: impl FnOnce(usize, Row<'_>) -> Result<(), String>,
    ) -> Result<Option<(usize, Result<(), String>)>> {
        let parts = Parts {
            separator: &self.separator,
            bare: self.dialect.bare,
            escapes: self.dialect.escapes,
        };
        let mut held: VecDeque<(usize, String)> = VecDeque::new();
        let mut record = Record::default();
        let mut first = 0;
        loop {
            let line = match self.again.pop_front() {
                Some((number, line)) => Some((number, Cow::Owned(line))),
                None => self.lines.next(skips)?,
            };
            let Some((number, line)) = line else { break };
            if first == 0 {
                if line.trim().is_empty() {
                    continue;
                }
                first = number;
                if self.header.as_deref() == Some(&*line) {
                    let words = "expected a row, got the header again; take the line away";
                    return Ok(Some((number, Err(words.to_owned()))));
                }
                if !parts.is_marked(&line) {
                    // The usual line: nothing is copied.
                    let row: Row = line.split(parts.separator).map(Cell::field).collect();
                    return Ok(Some((
                        number,
                        counted(row, count).and_then(|row| take(number, row)),
                    )));
                }
            } else {
                held.push_back((number, line.clone().into_owned()));
            }
            record.feed(&parts, &line);
            if !record.open || held.len() == LONGEST_FIELD {
                break;
            }
        }
        if first == 0 {
            return Ok(None);
        }
        let row = record.done().and_then(|fields| {
            let cell = |field: String| match field.as_str() {
                "" => Cell::Null,
                _ => Cell::Text(Cow::Owned(field)),
            };
            counted(fields.into_iter().map(cell).collect(), count)
        });
        let done = match row {
            Ok(row) => take(first, row),
            Err(message) => {
                held.append(&mut self.again);
                self.again = held;
                Err(message)
            }
        };
        Ok(Some((first, done)))
    }
}

fn counted(row: Row, count: usize) -> Result<Row, String> {
    match row.len() == count {
        true => Ok(row),
        false => Err(format!(
            "expected {count} fields as in the header, got {}; mend the line",
            row.len()
        )),
    }
}

/// A column by the name that a layout gives it.
fn given_column(name: &str) -> Column {
    match name.strip_suffix('?') {
        Some(name) => Column { kind: Kind::Category, ..Column::named(name) },
        None => Column::named(name),
    }
}

/// A column by its field of the header.
fn column(name: &str, typed: bool) -> Column {
    let name = name.trim().trim_matches('"');
    let typed = if typed { name.rsplit_once(':') } else { None };
    let kind = |word: &str| match word.trim() {
        "token" => Some(Kind::Token),
        "token_seq" => Some(Kind::Tokens),
        "float" => Some(Kind::Float),
        "float_seq" => Some(Kind::Floats),
        _ => None,
    };
    match typed.and_then(|(name, word)| Some((name.trim(), kind(word)?))) {
        Some((name, kind)) => Column { kind, ..Column::named(name) },
        None => Column::named(name),
    }
}

/// What parts a line.
struct Parts<'d> {
    separator: &'d str,
    bare: bool,
    escapes: bool,
}

impl Parts<'_> {
    /// Whether splitting `line` is not enough.
    fn is_marked(&self, line: &str) -> bool {
        !self.bare && line.contains('"') || self.escapes && line.contains('\\')
    }
}

/// The fields of one row, which goes on in the next line while a quotation mark is open.
#[derive(Default)]
struct Record {
    done: Vec<String>,
    field: String,
    /// Inside quotation marks.
    open: bool,
    /// The field began with a quotation mark that is closed again.
    closed: bool,
    wrong: Option<String>,
    lines: usize,
}

impl Record {
    fn feed(&mut self, parts: &Parts, line: &str) {
        if self.lines > 0 {
            self.field.push('\n');
        }
        self.lines += 1;
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            if parts.escapes && c == '\\' {
                let escaped = behind.chars().next();
                self.field.extend(escaped);
                rest = &behind[escaped.map_or(0, char::len_utf8)..];
            } else if self.open {
                match (c, behind.strip_prefix('"')) {
                    ('"', Some(behind)) => {
                        self.field.push('"');
                        rest = behind;
                        continue;
                    }
                    ('"', None) => (self.open, self.closed) = (false, true),
                    _ => self.field.push(c),
                }
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix(parts.separator) {
                self.done.push(std::mem::take(&mut self.field));
                self.closed = false;
                rest = behind;
            } else {
                if self.closed && !c.is_whitespace() {
                    self.wrong.get_or_insert(format!(
                        "expected the separator {:?} behind a closing quotation mark, got {c:?}; \
                        double the mark, mend the line or give setting `separator`",
                        parts.separator
                    ));
                } else if c == '"' && !parts.bare && self.field.trim().is_empty() {
                    self.field.clear();
                    self.open = true;
                } else if !self.closed {
                    self.field.push(c);
                }
                rest = behind;
            }
        }
    }

    fn done(mut self) -> Result<Vec<String>, String> {
        if self.open {
            return Err(format!(
                "expected a closing quotation mark, got none in {} lines; close it",
                self.lines
            ));
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
    use crate::data::source::lines::Script;

    /// The columns, the rows as text with their lines, and the sentences about bad lines.
    /// Lines with their numbers.
    type Numbered = Vec<(usize, Vec<String>)>;

    fn read(text: &str, dialect: Dialect) -> (Vec<String>, Numbered, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut skips = Skips::new(9);
        let lines = Lines::open(file.path(), Script::default()).unwrap();
        let known = |columns: &[Column]| {
            columns.iter().filter(|c| ["userid", "itemid"].contains(&&*c.squashed)).count()
        };
        let (columns, mut table) = Delimited::open(lines, &dialect, &mut skips, &known).unwrap();
        let mut rows = Vec::new();
        while let Some((number, done)) = table
            .next(columns.len(), &mut skips, |number, row| {
                let cells = row.iter().map(|cell| cell.text().unwrap().into_owned());
                rows.push((number, cells.collect()));
                Ok(())
            })
            .unwrap()
        {
            if let Err(message) = done {
                skips.bad(line_error(file.path(), number, message)).unwrap();
            }
        }
        let names = columns.into_iter().map(|column| column.name).collect();
        (names, rows, skips.skipped().to_vec())
    }

    #[test]
    fn quoted_fields_hold_separators_quotes_and_line_ends() {
        let text = "id,title\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\n3,x,y\n4,\"q\"r\n5,\"open\n6,z\n";
        let (_, rows, bad) = read(text, Dialect::default());
        let row = |line: usize, fields: [&str; 2]| (line, fields.map(str::to_owned).to_vec());
        assert_eq!(rows, [row(2, ["1", "a, \"b\"\nc"]), row(5, ["2", ""]), row(9, ["6", "z"])]);
        assert!(bad[0].contains(":6: expected 2 fields"), "{bad:?}");
        assert!(bad[1].contains(":7: expected the separator"), "{bad:?}");
        assert!(bad[2].contains(":8: expected a closing quotation mark"), "{bad:?}");
    }

    #[test]
    fn separators_are_known_by_the_header() {
        for separator in SEPARATORS {
            let line = |fields: [&str; 3]| fields.join(separator) + "\n";
            let text = line(["user_id", "item_id", "a"]) + &line(["u", "i", "1"]);
            let (names, rows, _) = read(&text, Dialect::default());
            assert_eq!(names, ["user_id", "item_id", "a"], "{separator:?}");
            assert_eq!(rows[0].1, ["u", "i", "1"], "{separator:?}");
        }
        assert_eq!(separator("tab").unwrap(), "\t");
        assert_eq!(separator("\\t").unwrap(), "\t");
        assert_eq!(separator("::").unwrap(), "::");
        assert!(separator("").is_err());
    }

    #[test]
    fn a_header_is_no_row() {
        let (_, rows, bad) =
            read("user_id,item_id\nu,a\nuser_id,item_id\nu,b\n", Dialect::default());
        assert_eq!((rows.len(), bad.len()), (2, 1));
        assert!(bad[0].contains(":3: expected a row, got the header again"), "{bad:?}");
    }

    #[test]
    fn escapes_and_files_without_a_header() {
        let escapes = Dialect { escapes: true, ..Dialect::default() };
        let (_, rows, _) = read("\"user_id\";\"t\"\n\"1\";\"a \\\"b\\\"; c\"\n", escapes);
        assert_eq!(rows[0].1, ["1", "a \"b\"; c"]);
        let given = Dialect {
            separator: Some("::".to_owned()),
            columns: Some(&["userid", "itemid", "Drama?"]),
            bare: true,
            ..Dialect::default()
        };
        let (names, rows, bad) = read("1::\"2::1\n1::2\n", given);
        assert_eq!((names[2].as_str(), rows[0].1[1].as_str(), bad.len()), ("Drama", "\"2", 1));
        let numbered = Dialect { numbered: true, ..Dialect::default() };
        let (names, rows, _) = read("a\tb\nc\td\n", numbered);
        assert_eq!((names, rows.len()), (vec!["1".to_owned(), "2".to_owned()], 2));
    }
}
