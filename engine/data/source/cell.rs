//! What stands in one place of a table, whatever the table is written in.

use super::moment::Moment;
use super::names::is_identifier;
use crate::data::numeral;
use serde_json::Value;
use std::borrow::Cow;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// Text, from tables that know nothing else, or a string.
    Text(Cow<'a, str>),
    /// A whole number.
    Whole(i64),
    /// A number with a fraction, or one too large for the other.
    Real(f64),
    /// True or false.
    Flag(bool),
    /// A point in time, from files that have a type for it.
    At(Moment),
    /// A list or an object.
    Nested(Box<Value>),
}

impl<'a> Cell<'a> {
    /// A field of a text file: nothing where it is empty.
    pub fn field(text: &'a str) -> Cell<'a> {
        match text {
            "" => Cell::Null,
            _ => Cell::Text(Cow::Borrowed(text)),
        }
    }

    /// A JSON value.
    pub fn of(value: Value) -> Cell<'static> {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(b) => Cell::Flag(b),
            Value::String(s) => Cell::Text(Cow::Owned(s)),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Cell::Whole(n),
                (_, Some(n)) => Cell::Text(Cow::Owned(n.to_string())),
                _ => Cell::Real(n.as_f64().unwrap_or(f64::NAN)),
            },
            nested => Cell::Nested(Box::new(nested)),
        }
    }

    /// Nothing, blanks, or a word for nothing.
    pub fn is_null(&self) -> bool {
        match self {
            Cell::Null => true,
            Cell::Text(text) => text.trim().is_empty() || &**text == r"\N",
            _ => false,
        }
    }

    /// An id: a whole number or a text that is not empty. `None` is what an id is not.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Whole(n) => Some(Cow::Owned(n.to_string())),
            Cell::Text(text) if !text.trim().is_empty() => Some(Cow::Borrowed(text.trim())),
            // A column with a hole in it is written with fractions by some: 17.0.
            Cell::Real(x) if x.fract() == 0.0 && x.abs() < 9e15 => {
                Some(Cow::Owned(format!("{x:.0}")))
            }
            _ => None,
        }
    }

    /// A text; numbers as they are written. `None` for lists and objects.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Null => Some(Cow::Borrowed("")),
            Cell::Text(text) => Some(Cow::Borrowed(text)),
            Cell::Whole(n) => Some(Cow::Owned(n.to_string())),
            Cell::Real(x) => Some(Cow::Owned(decimal(*x))),
            _ => None,
        }
    }

    /// A rating: a finite number, NaN where there is none.
    pub fn rating(&self) -> Result<f32, String> {
        let number = match self {
            Cell::Null => return Ok(f32::NAN),
            Cell::Whole(n) => Some(*n as f64),
            Cell::Real(x) => Some(*x),
            Cell::Flag(b) => Some(f64::from(u8::from(*b))),
            Cell::Text(text) => match text.trim() {
                word if is_unknown(word) => return Ok(f32::NAN),
                word => word.parse().ok(),
            },
            _ => None,
        };
        number.map(|x| x as f32).filter(|x| x.is_finite()).ok_or_else(|| {
            format!("expected a rating, a finite number, got {}; mend the line", self.shown())
        })
    }

    /// The text of a scalar attribute: numbers in shortest decimal form without exponent and with
    /// at most four significant decimals (R6); `None` for what says nothing, lists and objects.
    pub fn scalar(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Text(text) if is_unknown(text.trim()) || self.is_null() => None,
            Cell::Text(text) => Some(Cow::Borrowed(text)),
            Cell::Flag(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
            Cell::Whole(n) => Some(Cow::Owned(n.to_string())),
            Cell::Real(x) if !x.is_finite() => None,
            Cell::Real(x) => Some(Cow::Owned(decimal(*x))),
            Cell::At(moment) => Some(Cow::Owned(moment.whole.to_string())),
            Cell::Null | Cell::Nested(_) => None,
        }
    }

    /// Whether the cell says the same as `word`.
    pub fn says(&self, word: &str) -> bool {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        match self {
            Cell::Null => word.is_empty(),
            Cell::Text(text) => {
                text.trim() == word || number(text).is_some_and(|x| number(word) == Some(x))
            }
            Cell::Whole(n) => number(word) == Some(*n as f64),
            Cell::Real(x) => number(word) == Some(*x),
            Cell::Flag(b) => word.eq_ignore_ascii_case(if *b { "true" } else { "false" }),
            Cell::At(_) | Cell::Nested(_) => false,
        }
    }

    /// For sentences.
    pub fn shown(&self) -> String {
        match self {
            Cell::Null => "nothing".to_owned(),
            Cell::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Cell::Whole(n) => n.to_string(),
            Cell::Real(x) => x.to_string(),
            Cell::Flag(b) => b.to_string(),
            Cell::At(moment) => moment.whole.to_string(),
            Cell::Nested(value) if value.is_array() => "a list".to_owned(),
            Cell::Nested(_) => "an object".to_owned(),
        }
    }
}

/// A value of somebody's as an attribute: a scalar that is no identifier.
pub fn attribute(name: &str, value: Value) -> Option<(String, String)> {
    let value = Cell::of(value).scalar().map(Cow::into_owned).filter(|_| !is_identifier(name))?;
    Some((name.to_owned(), value))
}

/// Words for a number that is not known.
pub fn is_unknown(word: &str) -> bool {
    word.is_empty() || UNKNOWN.contains(&word)
}

/// Words for what is not known.
pub const UNKNOWN: [&str; 7] = ["NULL", "null", "NaN", "nan", "NA", "None", r"\N"];

/// [`numeral::decimal`] of what a source holds; "0" where it is no number.
pub fn decimal(x: f64) -> String {
    numeral::decimal(x).unwrap_or_else(|| "0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_ratings_and_attributes_of_every_type() {
        let cells = |value: Value| Cell::of(value);
        for (value, id) in [
            (json!(7), Some("7")),
            (json!(7.0), Some("7")),
            (json!(" a b "), Some("a b")),
            (json!(18_446_744_073_709_551_615u64), Some("18446744073709551615")),
            (json!(7.5), None),
            (json!(""), None),
            (json!(true), None),
            (json!([1]), None),
        ] {
            assert_eq!(cells(value.clone()).id().as_deref(), id, "{value}");
        }
        assert_eq!(cells(json!("3.5")).rating(), Ok(3.5));
        assert!(cells(json!("NaN")).rating().unwrap().is_nan());
        assert!(cells(json!("good")).rating().unwrap_err().contains("\"good\""));
        assert_eq!(cells(json!(12.5)).scalar().as_deref(), Some("12.5"));
        assert_eq!(cells(json!("NULL")).scalar(), None);
        assert!(cells(json!(5)).says("5.0") && cells(json!(" buy")).says("buy"));
        assert!(!cells(json!("buy")).says("view"));
    }
}
