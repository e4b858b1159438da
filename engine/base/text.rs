//! Numbers and quotations as people read them.

use std::borrow::Cow;
use std::fmt::Write;

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

/// `text` as a terminal may have it: every control character but the ends of lines and tabs is
/// written out, so that what a file or a path holds is shown and never obeyed.
pub fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut words = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match hidden(c) {
            true => write!(words, "\\u{{{:x}}}", u32::from(c)).expect("a String takes all"),
            false => words.push(c),
        }
    }
    Cow::Owned(words)
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
