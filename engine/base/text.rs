//! Numbers and quotations as people read them.

use std::borrow::Cow;
use std::fmt::Write;

/// The byte-order mark that some editors and shells put before a text; it is none of it.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// A number with its thousands apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut words = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// Bytes in the unit that suits them, by thousands: 80G of a limit and 80 GB here are the same.
pub fn amount(bytes: u64) -> String {
    let size = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size / 1e6),
        _ => format!("{:.2} GB", size / 1e9),
    }
}

/// What a terminal or a page obeys instead of showing it: control characters of both sets, and what
/// turns the direction of the text around it (embeddings, overrides and isolates of Unicode), so
/// that a line reads otherwise than it is. Ends of lines and tabs are the writer's own layout.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// `text` with every character that `chosen` names in the words of `write`.
fn replaced(
    text: &str,
    chosen: fn(char) -> bool,
    write: fn(&mut String, char) -> std::fmt::Result,
) -> Cow<'_, str> {
    if !text.contains(chosen) {
        return Cow::Borrowed(text);
    }
    let mut words = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match chosen(c) {
            true => write(&mut words, c).expect("a String takes all"),
            false => words.push(c),
        }
    }
    Cow::Owned(words)
}

/// `text` as a terminal or a page may have it: what it would obey is written out, so that what a
/// file or a path holds is shown and never done. Ends of lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, is_obeyed, |words, c| write!(words, "\\u{{{:x}}}", u32::from(c)))
}

/// A quotation inside a line: as [`visible`], and it ends no line and leaves no column.
pub fn one_line(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| is_obeyed(c) || c == '\n' || c == '\t',
        |words, c| match c {
            '\n' => words.write_str("\\n"),
            '\t' => words.write_str("\\t"),
            _ => write!(words, "\\u{{{:x}}}", u32::from(c)),
        },
    )
}

/// JSON as a terminal may have it: the same values, and in their strings what it would obey as
/// JSON's own escapes. `serde_json` writes out the first control characters alone.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    replaced(json, is_obeyed, |words, c| write!(words, "\\u{:04x}", u32::from(c)))
}

/// `text` with at most some `most` bytes of it: what is longer loses its middle, since a sentence
/// says first where and last what to do.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let (head, tail) = (most * 2 / 3, text.len() - most / 3);
    let head = (0..=head).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let tail = (tail..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    let left_out = tail - head;
    Cow::Owned(format!("{} … {left_out} bytes … {}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("a\tb\n"), "a\tb\n");
        assert_eq!(visible("\u{1b}[31mred\u{7}\r"), "\\u{1b}[31mred\\u{7}\\u{d}");
        assert_eq!(visible("\u{7f}\u{9b}é"), "\\u{7f}\\u{9b}é");
        assert_eq!(visible("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
        assert_eq!(one_line("a\tb\nc\u{1b}"), "a\\tb\\nc\\u{1b}");
    }

    #[test]
    fn json_keeps_its_values() {
        let values = ["\u{7f}\u{9b}[31m", "\u{1b}\n\t\\u001b", "é \u{202e}\u{2028}", "\u{10ffff}"];
        let json = serde_json::to_string_pretty(&values).unwrap();
        let shown = visible_json(&json);
        assert!(!shown.contains(is_obeyed), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), values);
    }

    #[test]
    fn the_middle_of_what_is_long_is_left_out() {
        assert_eq!(shortened("short", 5), "short");
        let text = format!("where: {}; what to do", "é".repeat(1000));
        let short = shortened(&text, 90);
        assert!(short.starts_with("where: éé") && short.ends_with("; what to do"), "{short}");
        assert!(short.len() < 130 && short.contains(" bytes … "), "{short}");
        for most in 0..8 {
            shortened("ééééé", most);
        }
    }
}
