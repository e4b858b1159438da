//! From the bytes of a line to text.

use super::names::squashed;
use crate::base::{choose, Fault};
use anyhow::Result;
use std::borrow::Cow;

/// How a file writes its characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// ISO 8859-1: the first 256 characters of Unicode, a byte each.
    Latin1,
    /// Windows' code page 1252: the same but for 32 of them.
    Windows1252,
    /// UTF-16, the smaller byte first unless a mark says otherwise.
    Utf16,
    /// UTF-16, the larger byte first.
    Utf16Big,
}

/// 0x80 to 0x9f of code page 1252; what it leaves open stays a control character.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

impl Encoding {
    /// The encoding that `word` names, under any of its usual names.
    pub fn named(word: &str) -> Result<Encoding> {
        match &*squashed(word) {
            "utf8" | "ascii" | "utf8sig" => Ok(Encoding::Utf8),
            "latin1" | "iso88591" | "l1" => Ok(Encoding::Latin1),
            "windows1252" | "cp1252" | "ansi" => Ok(Encoding::Windows1252),
            "utf16" | "utf16le" => Ok(Encoding::Utf16),
            "utf16be" => Ok(Encoding::Utf16Big),
            _ => {
                let names = ["utf-8", "latin-1", "windows-1252", "utf-16", "utf-16be"];
                Err(Fault::Usage.error(format!(
                    "setting `encoding`: expected {}, got {word:?}; {}, or convert the file to \
                    utf-8",
                    names.join(", "),
                    choose(word, names)
                )))
            }
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Latin1 => "latin-1",
            Encoding::Windows1252 => "windows-1252",
            Encoding::Utf16 => "utf-16",
            Encoding::Utf16Big => "utf-16be",
        }
    }

    /// What the first bytes of a file say, and how many of them say it.
    pub fn mark(bytes: &[u8]) -> Option<(Encoding, usize)> {
        match bytes {
            [0xef, 0xbb, 0xbf, ..] => Some((Encoding::Utf8, 3)),
            [0xff, 0xfe, ..] => Some((Encoding::Utf16, 2)),
            [0xfe, 0xff, ..] => Some((Encoding::Utf16Big, 2)),
            _ => None,
        }
    }

    /// Whether a character has two bytes or four.
    pub fn is_wide(self) -> bool {
        matches!(self, Encoding::Utf16 | Encoding::Utf16Big)
    }

    /// The text of `bytes`; an error is the place of the first byte that fits no character.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, usize> {
        match self {
            Encoding::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(error) => Err(error.valid_up_to()),
            },
            _ if !self.is_wide() && bytes.is_ascii() => {
                Ok(Cow::Borrowed(std::str::from_utf8(bytes).expect("ASCII is UTF-8")))
            }
            Encoding::Latin1 => Ok(bytes.iter().map(|&b| char::from(b)).collect()),
            Encoding::Windows1252 => Ok(bytes
                .iter()
                .map(|&b| match b {
                    0x80..=0x9f => WINDOWS[usize::from(b - 0x80)],
                    _ => char::from(b),
                })
                .collect()),
            Encoding::Utf16 | Encoding::Utf16Big => {
                let unit = |pair: &[u8]| {
                    let pair = [pair[0], pair[1]];
                    match self {
                        Encoding::Utf16 => u16::from_le_bytes(pair),
                        _ => u16::from_be_bytes(pair),
                    }
                };
                if bytes.len() % 2 == 1 {
                    return Err(bytes.len() - 1);
                }
                let mut text = String::with_capacity(bytes.len() / 2);
                for unit in char::decode_utf16(bytes.chunks_exact(2).map(unit)) {
                    match unit {
                        Ok(c) => text.push(c),
                        Err(_) => return Err(2 * text.encode_utf16().count()),
                    }
                }
                Ok(Cow::Owned(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_reads_the_same_word() {
        for (encoding, bytes) in [
            ("UTF-8", &b"L\xc3\xa9on"[..]),
            ("ISO-8859-1", b"L\xe9on"),
            ("cp1252", b"L\xe9on"),
            ("utf-16", b"L\0\xe9\0o\0n\0"),
            ("UTF-16BE", b"\0L\0\xe9\0o\0n"),
        ] {
            let encoding = Encoding::named(encoding).unwrap();
            assert_eq!(encoding.decode(bytes).unwrap(), "Léon", "{encoding:?}");
        }
        assert_eq!(Encoding::Windows1252.decode(b"\x80").unwrap(), "€");
        assert_eq!(Encoding::Utf8.decode(b"L\xe9on"), Err(1));
        assert_eq!(Encoding::Utf16.decode(b"L\0\0\xd8"), Err(2));
        assert!(Encoding::named("klingon").unwrap_err().to_string().contains("utf-8, latin-1"));
    }
}
