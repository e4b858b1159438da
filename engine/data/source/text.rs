//! Texts as people wrote them, whatever the file made of them.

use super::entities;
use std::borrow::Cow;

/// A text with its HTML entities decoded.
pub fn plain(text: &str) -> Cow<'_, str> {
    entities::decode(text)
}

/// A text that says something, decoded.
pub fn filled(text: &str) -> Option<String> {
    let text = plain(text);
    (!text.trim().is_empty()).then(|| text.into_owned())
}

/// At most `most` characters of a text, cut between words where one ends in its last third.
pub fn cut(text: &str, most: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(most) else { return text };
    let head = &text[..end];
    let whole = text[end..].starts_with(char::is_whitespace);
    match head.rfind(char::is_whitespace) {
        Some(at) if !whole && at >= end * 2 / 3 => head[..at].trim_end(),
        _ => head.trim_end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_with_a_word() {
        assert_eq!(cut("one two three", 20), "one two three");
        assert_eq!(cut("one two three", 10), "one two");
        assert_eq!(cut("one two three", 7), "one two");
        assert_eq!(cut("abcdefghij", 4), "abcd");
        assert_eq!(cut("éééé", 2), "éé");
        assert_eq!(filled(" &nbsp; "), None);
        assert_eq!(filled("A &amp; B").as_deref(), Some("A & B"));
    }
}
