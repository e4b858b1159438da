//! Python literals: what `repr` of a dict of strings, numbers, lists and dicts writes (Amazon's
//! files of 2014). JSON is understood as well.

use super::cell::Cell;
use serde_json::{Map, Number, Value};

/// Lists and dicts nest no deeper than this in any sane file; more would use up the stack.
const DEEPEST: usize = 64;

/// One line as an object: JSON if it is, otherwise a Python dict.
pub fn parse(line: &str) -> Result<Map<String, Value>, String> {
    match value(line)? {
        Value::Object(object) => Ok(object),
        other => Err(format!(
            "expected a JSON object or a Python dict, got {}; mend the line",
            Cell::of(other).shown()
        )),
    }
}

/// A text as a value: JSON if it is, otherwise a Python literal.
pub fn value(text: &str) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    match reader.at < text.len() {
        true => Err(reader.wrong("the end of the line")),
        false => Ok(value),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn wrong(&self, expected: &str) -> String {
        let found = self.rest().chars().take(20).collect::<String>();
        let found =
            if found.is_empty() { "the end of the line".to_owned() } else { format!("{found:?}") };
        format!("expected {expected} at column {}, got {found}; mend the line", self.at + 1)
    }

    /// Steps over `c` if it comes next, blanks before it included.
    fn take(&mut self, c: char) -> bool {
        self.blanks();
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(self.wrong(&format!("at most {DEEPEST} nested values")));
        }
        self.blanks();
        match self.peek() {
            Some('{') => self.dict(depth),
            Some('[') => self.list(']', depth),
            Some('(') => self.list(')', depth),
            Some('\'' | '"') => self.string().map(Value::String),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.word(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, String> {
        self.take('{');
        let mut object = Map::new();
        while !self.take('}') {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                Value::Number(key) => key.to_string(),
                _ => return Err(self.wrong("a text as key before this place")),
            };
            if !self.take(':') {
                return Err(self.wrong("':'"));
            }
            let value = self.value(depth + 1)?;
            object.insert(key, value);
            if !self.take(',') {
                if self.take('}') {
                    break;
                }
                return Err(self.wrong("',' or '}'"));
            }
        }
        Ok(Value::Object(object))
    }

    fn list(&mut self, end: char, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut values = Vec::new();
        while !self.take(end) {
            values.push(self.value(depth + 1)?);
            if !self.take(',') {
                if self.take(end) {
                    break;
                }
                return Err(self.wrong(&format!("',' or '{end}'")));
            }
        }
        Ok(Value::Array(values))
    }

    fn number(&mut self) -> Result<Value, String> {
        let length = self
            .rest()
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
            .unwrap_or(self.rest().len());
        // Python 2 writes long integers with an L.
        let word = &self.rest()[..length];
        let digits = word.strip_suffix(['L', 'l']).unwrap_or(word);
        let number = match digits.parse::<i64>() {
            Ok(n) => Some(Number::from(n)),
            Err(_) => digits.parse::<f64>().ok().and_then(Number::from_f64),
        };
        let number = number.ok_or_else(|| self.wrong("a number"))?;
        self.at += length;
        Ok(Value::Number(number))
    }

    /// True, False, None, or the prefix of a string.
    fn word(&mut self) -> Result<Value, String> {
        let length = self
            .rest()
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest().len());
        let value = match &self.rest()[..length] {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            "None" | "null" | "nan" | "NaN" => Value::Null,
            "u" | "U" if self.rest()[length..].starts_with(['\'', '"']) => {
                self.at += length;
                return self.string().map(Value::String);
            }
            _ => return Err(self.wrong("a value")),
        };
        self.at += length;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.peek().expect("called at a quote");
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(length) = self.rest().find([quote, '\\']) else {
                self.at = start;
                return Err(self.wrong("a text that ends"));
            };
            out.push_str(&self.rest()[..length]);
            self.at += length + 1;
            if self.text.as_bytes()[self.at - 1] == quote as u8 {
                return Ok(out);
            }
            self.escape(&mut out)?;
        }
    }

    /// What follows a backslash. An escape that Python does not know keeps its backslash, as in
    /// Python, save JSON's `\/`.
    fn escape(&mut self, out: &mut String) -> Result<(), String> {
        let Some(c) = self.peek() else {
            return Err(self.wrong("a character behind the backslash"));
        };
        self.at += c.len_utf8();
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'a' => out.push('\u{7}'),
            'v' => out.push('\u{b}'),
            '\\' | '\'' | '"' | '/' => out.push(c),
            '0'..='7' => {
                self.at -= 1;
                let length =
                    self.rest().bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let code = u32::from_str_radix(&self.rest()[..length], 8).expect("octal digits");
                self.at += length;
                out.push(char::from_u32(code).expect("below 512"));
            }
            'x' => self.code(2, out)?,
            'u' => self.code(4, out)?,
            'U' => self.code(8, out)?,
            other => {
                out.push('\\');
                out.push(other);
            }
        }
        Ok(())
    }

    /// `digits` hexadecimal digits; a surrogate pair in two escapes is one character, half a pair
    /// U+FFFD.
    fn code(&mut self, digits: usize, out: &mut String) -> Result<(), String> {
        let mut code = self.hexadecimal(digits)?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            match self.hexadecimal(4) {
                Ok(low) if (0xdc00..0xe000).contains(&low) => {
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                }
                _ => self.at = back,
            }
        }
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        Ok(())
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32, String> {
        let word =
            self.rest().get(..digits).filter(|word| word.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = word.and_then(|word| u32::from_str_radix(word, 16).ok());
        let code = code.ok_or_else(|| self.wrong(&format!("{digits} hexadecimal digits")))?;
        self.at += digits;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_python_dict_is_read() {
        let line = [
            r#"{'asin': '0001', u'title': "Rory's \"Story\" Cubes \u00e9\xe9\t", 'price': 4.5, "#,
            r#"'n': 12L, 'related': {'also': ['a', "b"], 'x': ()}, 'yes': True, 'no': None, "#,
            r#"'face': '\ud83d\ude00', 'odd': '\q', 'one': ('x',),}"#,
        ]
        .concat();
        let expected = json!({
            "asin": "0001", "title": "Rory's \"Story\" Cubes éé\t", "price": 4.5, "n": 12,
            "related": {"also": ["a", "b"], "x": []}, "yes": true, "no": null, "face": "😀",
            "odd": "\\q", "one": ["x"]
        });
        assert_eq!(Value::Object(parse(&line).unwrap()), expected);
        assert_eq!(parse(r#"{"a": [1, {"b": null}]}"#).unwrap()["a"][1]["b"], Value::Null);
    }

    #[test]
    fn what_is_broken_is_named_with_its_column() {
        for (line, expected) in [
            ("{'a': 'x", "expected a text that ends at column 7"),
            ("{'a' 'x'}", "expected ':' at column 6"),
            ("{'a': 1} x", "expected the end of the line at column 10"),
            ("['a']", "expected a JSON object or a Python dict, got a list"),
            ("{'a': '\\xg1'}", "expected 2 hexadecimal digits at column 10"),
            ("", "expected a value at column 1, got the end of the line"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.starts_with(expected), "{line}: {message}");
        }
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("nested"));
    }
}
