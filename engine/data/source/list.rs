//! Lists of names, however a source writes them: JSON or Python lists, flat, nested or of objects;
//! names between bars, between commas, in quotation marks, or between blanks where the format says
//! so.

use super::cell::Cell;
use super::literal;
use serde_json::Value;

/// What a plain text of a list may hold between its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Bars alone: a comma is part of a name.
    Bars,
    /// Bars, or a comma and a blank.
    Commas,
    /// Bars, commas, or else blanks: RecBole's sequences.
    Blanks,
}

/// Paths of names, each from the widest to the narrowest. Refuses what holds neither names nor
/// lists of them.
pub fn paths(cell: Cell, between: Between) -> Result<Vec<Vec<String>>, String> {
    let paths = match cell {
        Cell::Null => Vec::new(),
        Cell::Text(text) => written(text.trim(), between),
        Cell::Nested(value) => nested(*value)?,
        other => vec![vec![other.text().unwrap_or_default().into_owned()]],
    };
    let named = |path: Vec<String>| -> Vec<String> {
        path.into_iter().filter(|name| !name.trim().is_empty() && !is_none(name)).collect()
    };
    Ok(paths.into_iter().map(named).filter(|path| !path.is_empty()).collect())
}

/// MovieLens' word for no genre.
fn is_none(name: &str) -> bool {
    name == "(no genres listed)"
}

fn written(text: &str, between: Between) -> Vec<Vec<String>> {
    if text.starts_with(['[', '(', '{']) {
        if let Ok(Some(value)) = literal::value(text).map(|v| v.is_array().then_some(v)) {
            if let Ok(paths) = nested(value) {
                return paths;
            }
        }
    }
    // As some published conversions write them, without brackets.
    if text.starts_with(['\'', '"']) && text.ends_with(['\'', '"']) {
        if let Ok(paths) = literal::value(&format!("[{text}]")).and_then(nested) {
            return paths;
        }
    }
    let split = |by: &str| vec![text.split(by).map(|name| name.trim().to_owned()).collect()];
    match between {
        _ if text.contains('|') => split("|"),
        Between::Commas | Between::Blanks if text.contains(", ") => split(", "),
        Between::Blanks => vec![text.split_whitespace().map(str::to_owned).collect()],
        _ => vec![vec![text.to_owned()]],
    }
}

/// A list of names (one path), a list of lists (several paths), an object whose keys are names.
fn nested(value: Value) -> Result<Vec<Vec<String>>, String> {
    let wrong = |got: &Value| {
        format!(
            "expected a list of names or of lists of names, got {} in it; mend the line",
            Cell::of(got.clone()).shown()
        )
    };
    let name = |value: Value| -> Result<Option<String>, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(name) => Ok(Some(name)),
            Value::Number(number) => Ok(Some(number.to_string())),
            Value::Object(mut object) => {
                let name = ["name", "title", "description", "label"].iter().find_map(|key| {
                    match object.remove(*key) {
                        Some(Value::String(name)) => Some(name),
                        _ => None,
                    }
                });
                name.map(Some).ok_or_else(|| wrong(&Value::Object(object)))
            }
            other => Err(wrong(&other)),
        }
    };
    let path = |values: Vec<Value>| -> Result<Vec<String>, String> {
        values.into_iter().filter_map(|value| name(value).transpose()).collect()
    };
    match value {
        Value::Object(object) => Ok(vec![object.into_iter().map(|(key, _)| key).collect()]),
        Value::Array(values) if values.iter().all(Value::is_array) => values
            .into_iter()
            .map(|value| match value {
                Value::Array(values) => path(values),
                other => Err(wrong(&other)),
            })
            .collect(),
        Value::Array(values) => Ok(vec![path(values)?]),
        other => Err(wrong(&other)),
    }
}

/// Ids in a history, oldest first.
pub fn ids(cell: &Cell) -> Result<Vec<String>, String> {
    let wrong = || format!("expected a list of item ids, got {}; mend the line", cell.shown());
    let of_value = |value: &Value| -> Result<Vec<String>, String> {
        let values = value.as_array().ok_or_else(wrong)?;
        let id = |value: &Value| Cell::of(value.clone()).id().map(|id| id.into_owned());
        values.iter().map(|value| id(value).ok_or_else(wrong)).collect()
    };
    match cell {
        Cell::Null => Ok(Vec::new()),
        Cell::Nested(value) => of_value(value),
        Cell::Text(text) => {
            let text = text.trim();
            if text.starts_with(['[', '(']) {
                // numpy prints its arrays without commas.
                if let Ok(list) = literal::value(text).and_then(|value| of_value(&value)) {
                    return Ok(list);
                }
            }
            let text = text.trim_matches(['[', ']', '(', ')']);
            let ids = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '|' | ';'));
            let bare = ids.map(|id| id.trim_matches(['\'', '"']));
            Ok(bare.filter(|id| !id.is_empty()).map(str::to_owned).collect())
        }
        other => other.id().map(|id| vec![id.into_owned()]).ok_or_else(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_of_writing_a_list() {
        let expected = [["Toys & Games", "Puzzles"]];
        for value in [
            json!(["Toys & Games", "Puzzles"]),
            json!([["Toys & Games", "Puzzles"]]),
            json!([{"id": 1, "name": "Toys & Games"}, {"name": "Puzzles"}]),
            json!({"Toys & Games": 3, "Puzzles": 1}),
            json!("Toys & Games|Puzzles"),
            json!("Toys & Games, Puzzles"),
            json!("['Toys & Games', 'Puzzles']"),
            json!("[[\"Toys & Games\", \"Puzzles\"]]"),
            json!("'Toys & Games', 'Puzzles'"),
            json!("[{'id': 16, 'name': 'Toys & Games'}, {'id': 3, 'name': 'Puzzles'}]"),
        ] {
            let read = paths(Cell::of(value.clone()), Between::Commas).unwrap();
            assert_eq!(read, expected, "{value}");
        }
        let text = |text: &'static str, between| paths(Cell::field(text), between).unwrap();
        assert_eq!(text("Clothing, Shoes & Jewelry", Between::Bars)[0].len(), 1);
        assert_eq!(text("Animation Children's Comedy", Between::Blanks)[0].len(), 3);
        assert_eq!(text("(no genres listed)", Between::Commas), Vec::<Vec<String>>::new());
        assert_eq!(text("['Toys", Between::Commas), [["['Toys"]]);
        assert_eq!(
            paths(Cell::of(json!([["A", "B"], ["A", "C"], []])), Between::Bars).unwrap(),
            [["A", "B"], ["A", "C"]]
        );
        assert!(paths(Cell::of(json!(["A", ["B"]])), Between::Bars).is_err());
    }

    #[test]
    fn every_way_of_writing_a_history() {
        for value in [
            json!(["B1", "B2"]),
            json!("B1 B2"),
            json!("['B1', 'B2']"),
            json!("['B1' 'B2']"),
            json!("B1,B2"),
        ] {
            assert_eq!(ids(&Cell::of(value.clone())).unwrap(), ["B1", "B2"], "{value}");
        }
        assert_eq!(ids(&Cell::of(json!([1, 2]))).unwrap(), ["1", "2"]);
        assert!(ids(&Cell::of(json!([[1]]))).is_err());
    }
}
