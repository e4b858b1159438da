//! A line that holds a JSON object, or a Python dict, as a row.

use super::cell::Cell;
use super::columns::{Columns, Row};
use super::literal;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// The cells of a line; names that are new become columns.
pub fn row<'r>(line: &'r str, columns: &mut Columns) -> Result<Row<'r>, String> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let read = Names { columns, wrong: None }.deserialize(&mut reader);
    let read = read.and_then(|row| reader.end().map(|()| row));
    let error = match read {
        Ok(row) => return row,
        Err(error) => error,
    };
    match literal::parse(line) {
        Ok(object) => {
            let mut row = Row::new();
            for (name, value) in object {
                let place = columns.number(&name, row.len())?;
                set(&mut row, place, Cell::of(value));
            }
            Ok(row)
        }
        Err(words) if is_python(line) => Err(words),
        Err(_) => Err(format!("expected a JSON object, got: {error}; mend the line")),
    }
}

/// Whether a line begins as a Python dict and not as JSON.
fn is_python(line: &str) -> bool {
    let inner = line.trim_start().strip_prefix('{').map(str::trim_start);
    inner.is_some_and(|inner| inner.starts_with(['\'', 'u', 'b']))
}

fn set<'r>(row: &mut Row<'r>, place: usize, cell: Cell<'r>) {
    if row.len() <= place {
        row.resize(place + 1, Cell::Null);
    }
    row[place] = cell;
}

/// Reads an object into cells; the names become numbers on the way.
struct Names<'c> {
    columns: &'c mut Columns,
    wrong: Option<String>,
}

impl<'r> DeserializeSeed<'r> for Names<'_> {
    type Value = Result<Row<'r>, String>;

    fn deserialize<D: Deserializer<'r>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'r> Visitor<'r> for Names<'_> {
    type Value = Result<Row<'r>, String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'r>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = Row::with_capacity(self.columns.list().len());
        let mut next = 0;
        while let Some(place) = map.next_key_seed(Name { names: &mut self, next })? {
            let Any(cell) = map.next_value()?;
            if row.get(place).is_some_and(|cell| *cell != Cell::Null) && self.wrong.is_none() {
                let name = &self.columns.list()[place].name;
                self.wrong =
                    Some(format!("expected every field once, got {name:?} again; mend the line"));
            }
            set(&mut row, place, cell);
            next = place + 1;
        }
        Ok(match self.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(row),
        })
    }
}

/// Reads a name as the number of its column.
struct Name<'n, 'c> {
    names: &'n mut Names<'c>,
    next: usize,
}

impl<'r> DeserializeSeed<'r> for Name<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'r>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<usize, E> {
        Ok(self.names.columns.number(name, self.next).unwrap_or_else(|wrong| {
            self.names.wrong.get_or_insert(wrong);
            0
        }))
    }
}

/// Any value as a cell, texts borrowed where the line holds them as they are.
struct Any<'r>(Cell<'r>);

impl<'de> Deserialize<'de> for Any<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Any<'de>, D::Error> {
        from.deserialize_any(AnyVisitor).map(Any)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell<'de>, E> {
        Ok(Cell::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell<'de>, E> {
        Ok(Cell::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell<'de>, E> {
        Ok(Cell::of(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell<'de>, E> {
        Ok(Cell::Real(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Cell<'de>, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(values)).map(Cell::of)
    }

    fn visit_map<A: MapAccess<'de>>(self, values: A) -> Result<Cell<'de>, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(values)).map(Cell::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_python_give_the_same_cells() {
        let mut columns = Columns::default();
        let lines = [
            r#"{"user_id": "u", "n": 3, "x": 2.5, "ok": true, "no": null, "t": "It's \"ok\""}"#,
            r#"{'no': None, u'user_id': u'u', 'n': 3, 'x': 2.5, 'ok': True, 't': "It's \"ok\""}"#,
        ];
        let rows: Vec<Row> = lines.iter().map(|line| row(line, &mut columns).unwrap()).collect();
        assert_eq!(columns.list().len(), 6);
        assert_eq!(rows[0], rows[1]);
        assert_eq!(rows[0][5].text().as_deref(), Some("It's \"ok\""));
    }

    #[test]
    fn what_is_broken_is_said_in_the_words_of_its_language() {
        let mut columns = Columns::default();
        for (line, words) in [
            ("{\"a\": ", "expected a JSON object"),
            ("[1, 2]", "expected a JSON object"),
            ("3", "expected a JSON object"),
            ("{\"a\": 1} x", "expected a JSON object"),
            ("{'a': }", "expected a value at column 7"),
            ("{u'a': u'", "expected a text that ends at column 9"),
        ] {
            let error = row(line, &mut columns).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
        let twice = row("{\"a\": 1, \"b\": 2, \"a\": 3}", &mut columns).unwrap_err();
        assert!(twice.contains("every field once, got \"a\" again"), "{twice}");
        let many: String = (0..5000).map(|i| format!("\"k{i}\": 1,")).collect();
        let error = row(&format!("{{{many}\"k\": 1}}"), &mut columns).unwrap_err();
        assert!(error.contains("4096 different fields"), "{error}");
    }
}
