//! From generated titles to items (E12, E16).

use std::collections::{HashMap, HashSet};
use unicode_normalization::UnicodeNormalization;

/// NFKC with runs of white space made one blank and none at the ends: two titles are one if this is
/// equal.
pub fn normal(text: &str) -> String {
    // Most texts are that already.
    let plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if plain && !text.contains("  ") && !text.starts_with(' ') && !text.ends_with(' ') {
        return text.to_owned();
    }
    let text: String = text.nfkc().collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Which items bear a title.
#[derive(Debug, Default)]
pub struct Titles {
    items: HashMap<String, Vec<u32>>,
}

/// One generated text and the items it names, none if it names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What was generated.
    pub text: String,
    /// Numbers of the items.
    pub items: Vec<u32>,
}

impl Titles {
    /// Indexes (item, title) pairs; items of one title expand in the order in which they come here.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (u32, &'a str)>) -> Titles {
        let mut titles = Titles::default();
        for (item, title) in pairs {
            titles.add(item, title);
        }
        titles
    }

    /// Adds one more name of an item.
    pub fn add(&mut self, item: u32, title: &str) {
        let items = self.items.entry(normal(title)).or_default();
        if !items.contains(&item) {
            items.push(item);
        }
    }

    /// The items of a title.
    pub fn find(&self, title: &str) -> &[u32] {
        self.items.get(&normal(title)).map_or(&[], Vec::as_slice)
    }

    /// Generated texts as slots, best first; a text that came before, up to [`normal`], is left
    /// out.
    pub fn slots(&self, texts: &[&str]) -> Vec<Slot> {
        let mut seen = HashSet::new();
        let texts = texts.iter().map(|text| normal(text)).filter(|text| seen.insert(text.clone()));
        texts
            .map(|text| Slot { items: self.items.get(&text).cloned().unwrap_or_default(), text })
            .collect()
    }
}

/// Place of the first slot that names the target: a hit if the *title* is right.
pub fn title_rank(slots: &[Slot], target: u32) -> Option<u32> {
    slots.iter().position(|slot| slot.items.contains(&target)).map(|place| place as u32 + 1)
}

/// The slots as one list of items; an invalid slot stays as `None`.
pub fn item_list(slots: &[Slot]) -> Vec<Option<u32>> {
    let expand = |slot: &Slot| match slot.items.as_slice() {
        [] => vec![None],
        items => items.iter().copied().map(Some).collect(),
    };
    slots.iter().flat_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_any_kind_is_one_blank() {
        for text in ["a b", " a b", "a b ", "a  b", "a\tb", "a\u{b}b", "a\nb", "a\u{a0}b", "ａ b"]
        {
            assert_eq!(normal(text), "a b", "{text:?}");
        }
    }

    #[test]
    fn titles_meet_up_to_width_and_blanks() {
        let titles = Titles::new([(0, "Ｇｌｏｏｍ  Deluxe"), (1, "Gloom")]);
        assert_eq!(titles.find(" Gloom\u{a0}Deluxe "), [0]);
        assert_eq!(titles.find("gloom"), [] as [u32; 0]);
    }
}
