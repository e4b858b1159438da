//! Ids of questions: what was sent comes back, digit for digit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{json, Map, Value};
use std::fmt;

/// The id of a question, any JSON, in the very letters in which it was sent: a number of any length
/// stays that number, though no machine word holds it. What a terminal obeys goes out as JSON's own
/// escape, in an id as in all that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// The id of a line that has none, or whose id cannot be read.
    pub fn null() -> Id {
        Id("null".to_owned())
    }

    /// The id in a line of JSON. Refuses a line without one, and one with two.
    pub fn of_line(line: &[u8]) -> Result<Id, String> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        Ok(Id(line.id.get().to_owned()))
    }

    /// An id of a data set: a number where it is one.
    pub fn of_source(text: &str) -> Id {
        Id(of_source(text).to_string())
    }

    /// `fields` as one line of JSON behind this id.
    pub(super) fn line(&self, fields: Map<String, Value>) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            id: &'a Id,
            #[serde(flatten)]
            fields: Map<String, Value>,
        }
        serde_json::to_string(&Line { id: self, fields }).expect("JSON values are JSON")
    }
}

/// An id of a data set as JSON: a number where it is one.
pub(super) fn of_source(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(n) if n.to_string() == text => json!(n),
        _ => json!(text),
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

/// Of JSON text alone: a value in memory has lost the letters.
impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        Ok(Id(Box::<RawValue>::deserialize(from)?.get().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_back() {
        for id in [
            "7",
            "-0",
            "1.0",
            "1e2",
            "0.1000",
            "18446744073709551616",
            "123456789012345678901234567890",
            "-99999999999999999999999999999.5e-7",
            "1e999999",
            "\"a\"",
            "\"\"",
            r#""\u0041\"\\ \ud83d\ude00""#,
            "null",
            "true",
            "[ 1,2.50 ]",
            r#"{"id": {"id": [1e400]}}"#,
        ] {
            let line = format!("{{\"text\": \"x\", \"id\" : {id} , \"top\": 3}}");
            let read = Id::of_line(line.as_bytes()).unwrap();
            assert_eq!(read.to_string(), id);
            let fields = json!({"error": "none"}).as_object().unwrap().clone();
            assert_eq!(read.line(fields), format!("{{\"id\":{id},\"error\":\"none\"}}"));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for (line, words) in [
            ("{}", "missing"),
            ("{\"Id\": 1}", "missing"),
            ("{\"id\": 1, \"id\": 2}", "duplicate"),
            ("{\"id\": 01}", "invalid number"),
            ("{\"id\": nan}", "expected"),
        ] {
            let refused = Id::of_line(line.as_bytes()).unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
        assert_eq!(Id::of_source("7").to_string(), "7");
        assert_eq!(Id::of_source("007").to_string(), "\"007\"");
    }
}
