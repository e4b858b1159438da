//! Fields of JSON objects: what is an id, a text, a list of categories, an attribute.

use crate::data::numeral;
use serde_json::{Map, Value};

/// One line as a JSON object.
pub fn parse(line: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("expected a JSON object, got {}; mend the line", kind(&other))),
        Err(e) => Err(format!("expected a JSON object, got: {e}; mend the line")),
    }
}

/// The id under the first of `names` that is there: a whole number or a text that is not empty.
pub fn id(object: &Map<String, Value>, names: &[&str]) -> Result<String, String> {
    let name = names.iter().find(|name| object.contains_key(**name)).unwrap_or(&names[0]);
    match object.get(*name) {
        Some(Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(n.to_string()),
        Some(Value::String(s)) if !s.trim().is_empty() => Ok(s.trim().to_owned()),
        Some(other) => Err(format!(
            "expected `{name}` to be a whole number or a text that is not empty, got {}; mend the \
            line",
            kind(other)
        )),
        None => Err(format!("expected a field `{}`, got none; add it", names.join("` or `"))),
    }
}

/// A text or null; blank texts are null.
pub fn text(name: &str, value: Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) if s.trim().is_empty() => Ok(None),
        Value::String(s) => Ok(Some(s)),
        other => Err(format!(
            "expected `{name}` to be a text or null, got {}; mend the line",
            kind(&other)
        )),
    }
}

/// A list of names (one path), a list of lists (several paths), one name, or null.
pub fn categories(name: &str, value: Value) -> Result<Vec<Vec<String>>, String> {
    let wrong = |other: &Value| {
        format!(
            "expected `{name}` to be a list of names or of lists of names, got {}; mend the line",
            kind(other)
        )
    };
    let path = |values: Vec<Value>| -> Result<Vec<String>, String> {
        let mut path = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Value::String(s) if s.trim().is_empty() => {}
                Value::String(s) => path.push(s),
                other => return Err(wrong(&other)),
            }
        }
        Ok(path)
    };
    let mut paths = match value {
        Value::Null => Vec::new(),
        Value::String(s) => vec![path(vec![Value::String(s)])?],
        Value::Array(values) if values.iter().all(Value::is_array) => {
            let mut paths = Vec::with_capacity(values.len());
            for value in values {
                if let Value::Array(values) = value {
                    paths.push(path(values)?);
                }
            }
            paths
        }
        Value::Array(values) => vec![path(values)?],
        other => return Err(wrong(&other)),
    };
    paths.retain(|path| !path.is_empty());
    Ok(paths)
}

/// Names that tell rows apart and say nothing about what an item or user is like: never attributes,
/// so that they reach no prompt (E4b).
pub fn is_identifier(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit('_').next().unwrap_or(&name);
    matches!(last, "id" | "asin" | "raw" | "url" | "uid" | "uuid")
        || name.ends_with("asin")
        || matches!(name.as_str(), "imurl" | "reviewerid")
}

/// The attributes of a user's row: scalars that are no identifiers.
pub fn attributes(object: Map<String, Value>) -> Vec<(String, String)> {
    let told = object.into_iter().filter(|(name, _)| !is_identifier(name));
    told.filter_map(|(name, value)| scalar(&value).map(|value| (name, value))).collect()
}

/// The text of a scalar attribute: numbers in shortest decimal form without exponent and with at
/// most four significant decimals (R6); `None` for null, blank texts, lists and objects.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.trim().is_empty() => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Some(n.to_string()),
        Value::Number(n) => n.as_f64().map(decimal),
        _ => None,
    }
}

/// [`numeral::decimal`] of what a source holds; "0" where it is no number.
pub fn decimal(x: f64) -> String {
    numeral::decimal(x).unwrap_or_else(|| "0".to_owned())
}

/// A rating in a text field: a finite number, NaN for an empty field.
pub fn rating(field: &str) -> Result<f32, String> {
    match field {
        "" => Ok(f32::NAN),
        _ => field.parse::<f32>().ok().filter(|r| r.is_finite()).ok_or_else(|| {
            format!("expected a rating, a finite number, got {field:?}; mend the line")
        }),
    }
}

/// A rating in a JSON field: a finite number, NaN for null or none.
pub fn rating_value(value: Option<&Value>) -> Result<f32, String> {
    match value {
        None | Some(Value::Null) => Ok(f32::NAN),
        Some(Value::Number(n)) => n
            .as_f64()
            .map(|r| r as f32)
            .filter(|r| r.is_finite())
            .ok_or_else(|| format!("expected a finite rating, got {n}; mend the line")),
        Some(Value::String(s)) => rating(s.trim()),
        Some(other) => {
            Err(format!("expected `rating` to be a number, got {}; mend the line", kind(other)))
        }
    }
}

/// What a value is, for sentences.
pub fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("{:?}", s.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
