//! Facts for people and for programs: an aligned table, or the same as one JSON object.

use crate::base::text::{amount, grouped, one_line};
use serde_json::{Map, Value};
use std::fmt::{Display, Write as _};

/// Named facts in order, with tables and sheets below them.
#[derive(Default)]
pub struct Sheet(Vec<Entry>);

enum Entry {
    Fact { name: String, words: String, value: Value },
    Table { name: String, columns: Vec<&'static str>, rows: Vec<Vec<Cell>> },
    Part { name: String, sheet: Sheet },
}

/// What a person and what a program reads.
pub struct Cell(pub String, pub Value);

impl Sheet {
    /// A fact that a person and a program read alike.
    pub fn plain(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let words = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.fact(name, words, value);
    }

    /// A fact with words for people.
    pub fn fact(&mut self, name: &str, words: impl Display, value: impl Into<Value>) {
        self.0.push(Entry::Fact {
            name: name.to_owned(),
            words: words.to_string(),
            value: value.into(),
        });
    }

    /// A count, with its thousands apart.
    pub fn count(&mut self, name: &str, count: usize) {
        self.fact(name, grouped(count as u64), count);
    }

    /// An amount of memory or of a file.
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.fact(name, amount(bytes), bytes);
    }

    /// Rows under columns, of which the first names the row. A program reads a list of objects.
    pub fn table(&mut self, name: &str, columns: &[&'static str], rows: Vec<Vec<Cell>>) {
        self.0.push(Entry::Table { name: name.to_owned(), columns: columns.to_vec(), rows });
    }

    /// Another sheet below this one.
    pub fn part(&mut self, name: &str, sheet: Sheet) {
        self.0.push(Entry::Part { name: name.to_owned(), sheet });
    }

    pub fn json(&self) -> Value {
        let mut object = Map::new();
        for entry in &self.0 {
            let (name, value) = match entry {
                Entry::Fact { name, value, .. } => (name, value.clone()),
                Entry::Part { name, sheet } => (name, sheet.json()),
                Entry::Table { name, columns, rows } => {
                    let row = |row: &Vec<Cell>| {
                        let cells =
                            columns.iter().zip(row).map(|(name, cell)| (key(name), cell.1.clone()));
                        Value::Object(cells.collect())
                    };
                    (name, rows.iter().map(row).collect())
                }
            };
            object.insert(key(name), value);
        }
        Value::Object(object)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = |entry: &Entry| match entry {
            Entry::Fact { name, .. } => name.chars().count(),
            _ => 0,
        };
        let width = self.0.iter().map(width).max().unwrap_or(0);
        for entry in &self.0 {
            match entry {
                Entry::Fact { name, words, .. } => {
                    let words = one_line(words);
                    writeln!(text, "{name:<width$}  {words}").expect("a String takes all");
                }
                Entry::Table { columns, rows, .. } => text += &table(columns, rows),
                Entry::Part { name, sheet } => {
                    write!(text, "\n{name}\n{}", sheet.text()).expect("a String takes all");
                }
            }
        }
        text
    }
}

/// The first column to the left, numbers to the right.
fn table(columns: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].0.chars().count());
        cells.chain([columns[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::from("\n");
    let mut line = |cells: Vec<&str>| {
        let mut words = format!("{:<1$}", cells[0], widths[0]);
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            write!(words, "  {cell:>width$}").expect("a String takes all");
        }
        text += words.trim_end();
        text.push('\n');
    };
    line(columns.to_vec());
    for row in rows {
        line(row.iter().map(|cell| cell.0.as_str()).collect());
    }
    text
}

/// The key under which a program finds a name.
fn key(name: &str) -> String {
    name.replace([' ', '-'], "_")
}

/// The cell of an amount.
pub fn bytes(bytes: u64) -> Cell {
    Cell(amount(bytes), bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_and_programs_read_the_same() {
        let mut sheet = Sheet::default();
        sheet.plain("kind", "weights");
        sheet.count("parameters", 9_880_682_496);
        let row = |name: &str, n: u64| vec![Cell(name.into(), name.into()), bytes(n)];
        sheet.table("parts", &["part", "total bytes"], vec![row("a", 5), row("saved", 1_234_567)]);
        let mut part = Sheet::default();
        part.bytes("size", 80_000_000_000);
        sheet.part("plan", part);
        let text = "kind        weights\nparameters  9,880,682,496\n\npart   total \
            bytes\na              5 B\n\
                    saved       1.2 MB\n\nplan\nsize  80.00 GB\n";
        assert_eq!(sheet.text(), text);
        let expected = json!({
            "kind": "weights", "parameters": 9_880_682_496u64,
            "parts": [{"part": "a", "total_bytes": 5}, {"part": "saved", "total_bytes": 1_234_567}],
            "plan": {"size": 80_000_000_000u64},
        });
        assert_eq!(sheet.json(), expected);
    }
}
