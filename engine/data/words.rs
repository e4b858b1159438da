//! Texts cut at their blanks, for tokenizers none of whose pieces goes over one: a word that comes
//! a thousand times is looked at once.

use super::texts::Texts;
use anyhow::Result;

/// The words of a text, each with the blank before it: cut before every blank that stands between
/// two characters that are none. No match of GPT-2's pattern goes over such a place.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (word, behind) = rest.split_at(cut(rest));
        rest = behind;
        (!word.is_empty()).then_some(word)
    })
}

fn cut(text: &str) -> usize {
    let is_word = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let mut blanks = text.match_indices(' ').map(|(at, _)| at);
    let between = |&at: &usize| {
        is_word(text[..at].chars().next_back()) && is_word(text[at + 1..].chars().next())
    };
    blanks.find(between).unwrap_or(text.len())
}

/// Words with their tokens.
#[derive(Default)]
pub struct Words {
    words: Texts,
    /// Where the tokens of each end.
    end: Vec<usize>,
    tokens: Vec<u32>,
}

impl Words {
    /// The tokens of a text, those of its words end to end; `encode` is asked for those of a word
    /// that did not come before.
    pub fn encode(
        &mut self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>>,
    ) -> Result<Vec<u32>> {
        let mut numbers = Vec::with_capacity(16);
        for word in words(text) {
            let number = match self.words.index(word) {
                Some(number) => number,
                None => {
                    self.tokens.extend(encode(word)?);
                    self.end.push(self.tokens.len());
                    self.words.number(word)
                }
            };
            numbers.push(number as usize);
        }
        let of = |number: usize| {
            let begin = if number == 0 { 0 } else { self.end[number - 1] };
            &self.tokens[begin..self.end[number]]
        };
        let mut tokens = Vec::with_capacity(numbers.iter().map(|&number| of(number).len()).sum());
        numbers.into_iter().for_each(|number| tokens.extend_from_slice(of(number)));
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_no_piece_goes_over() {
        for (text, parts) in [
            ("", &[][..]),
            (" one two", &[" one", " two"]),
            ("one  two three ", &["one  two", " three "]),
            ("a\u{3000} b c\td", &["a\u{3000} b", " c\td"]),
            ("é ü", &["é", " ü"]),
            ("  ", &["  "]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), parts, "{text:?}");
        }
        let mut known = Words::default();
        let length = |word: &str| Ok(vec![word.len() as u32]);
        assert_eq!(known.encode("a bcd a", length).unwrap(), [1, 4, 2]);
        assert_eq!(known.encode(" a bcd", |_| unreachable!()).unwrap(), [2, 4]);
    }
}
