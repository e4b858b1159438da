//! The text of an item, unique in the catalogue (E11).

use crate::data::source::RawItem;
use std::collections::{HashMap, HashSet};
use unicode_normalization::UnicodeNormalization;

/// NFKC, then every run of white space one blank, none at the ends.
pub fn clean(text: &str) -> String {
    let normal: String;
    let text = if text.is_ascii() {
        text
    } else {
        normal = text.nfkc().collect();
        &normal
    };
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Surfaces of a catalogue, with what had to be done to make them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surfaces {
    /// [items]
    pub texts: Vec<String>,
    /// Items without a title.
    pub untitled: usize,
    /// Items whose first choice of text was also another item's.
    pub collisions: usize,
    /// Items of which nothing but the id is known, so that it is their text.
    pub named_by_id: usize,
}

/// Whether items that share a title are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// Every surface is unique (E11).
    #[default]
    Apart,
    /// Titles stay as they are; items of one title share a leaf of the catalogue trie (E16).
    Shared,
}

/// One surface an item: the cleaned title, or a fallback; where several items share it, with the
/// brand behind it, then the last category, then " #2", " #3" in the order of ids.
pub fn surfaces(items: &[RawItem], duplicates: Duplicates) -> Surfaces {
    let mut texts: Vec<String> = Vec::with_capacity(items.len());
    let (mut untitled, mut named_by_id) = (0, 0);
    for item in items {
        match filled(item.title.as_deref()) {
            Some(title) => texts.push(title),
            None => {
                untitled += 1;
                texts.push(fallback(item).unwrap_or_else(|| {
                    named_by_id += 1;
                    clean(&format!("item {}", item.id))
                }));
            }
        }
    }
    let collisions = shared(&texts).iter().map(Vec::len).sum();
    if duplicates == Duplicates::Apart {
        append_where_it_tells_apart(&mut texts, |i| filled(items[i].brand.as_deref()));
        append_where_it_tells_apart(&mut texts, |i| last_category(&items[i]));
        let groups = shared(&texts);
        number(&mut texts, groups, items);
    }
    Surfaces { texts, untitled, collisions, named_by_id }
}

/// The text of an item without a title: brand and last category, the text id, or one of brand and
/// category; `None` where it has none of these. A category alone says less than a text id, and
/// would need numbers to be unique.
fn fallback(item: &RawItem) -> Option<String> {
    let (brand, category) = (filled(item.brand.as_deref()), last_category(item));
    match (brand, filled(item.text_id.as_deref()), category) {
        (Some(brand), _, Some(category)) => Some(format!("{brand} {category}")),
        (_, Some(text_id), _) => Some(text_id),
        (one, None, other) => one.or(other),
    }
}

fn last_category(item: &RawItem) -> Option<String> {
    item.categories.iter().rev().find_map(|path| filled(path.last().map(String::as_str)))
}

fn filled(text: Option<&str>) -> Option<String> {
    text.map(clean).filter(|text| !text.is_empty())
}

/// Groups of two and more items with the same text, in catalogue order.
fn shared(texts: &[String]) -> Vec<Vec<usize>> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let group = *first.entry(text).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(i);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Appends " (value)" to the members of each group whose values are not all the same.
fn append_where_it_tells_apart(texts: &mut [String], value: impl Fn(usize) -> Option<String>) {
    for group in shared(texts) {
        let values: Vec<Option<String>> = group.iter().map(|&i| value(i)).collect();
        if values.iter().all(|v| *v == values[0]) {
            continue;
        }
        for (&i, value) in group.iter().zip(&values) {
            if let Some(value) = value {
                texts[i] = format!("{} ({value})", texts[i]);
            }
        }
    }
}

/// Appends " #2", " #3" … to all but the first of each group, in the order of ids; a text that is
/// taken is passed over.
pub(super) fn number(texts: &mut [String], groups: Vec<Vec<usize>>, items: &[RawItem]) {
    if groups.is_empty() {
        return;
    }
    let mut taken: HashSet<String> = texts.iter().cloned().collect();
    for mut group in groups {
        group.sort_by_cached_key(|&i| id_order(&items[i].id));
        let mut next = 2;
        for &i in &group[1..] {
            let text = loop {
                let text = format!("{} #{next}", texts[i]);
                next += 1;
                if taken.insert(text.clone()) {
                    break text;
                }
            };
            texts[i] = text;
        }
    }
}

/// Whole numbers by value, before all other ids by their text.
fn id_order(id: &str) -> (bool, u64, String) {
    match id.parse::<u64>() {
        Ok(n) => (false, n, id.to_owned()),
        Err(_) => (true, 0, id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, title: Option<&str>, brand: Option<&str>, category: Option<&str>) -> RawItem {
        RawItem {
            id: id.into(),
            title: title.map(Into::into),
            brand: brand.map(Into::into),
            categories: category.map(|c| vec![vec!["All".into(), c.into()]]).unwrap_or_default(),
            ..RawItem::default()
        }
    }

    #[test]
    fn white_space_and_width_do_not_matter() {
        assert_eq!(clean("  Ｌｅｇｏ\u{a0} \t City\n"), "Lego City");
        assert_eq!(clean("\u{3000} \n"), "");
    }

    #[test]
    fn collisions_take_brand_then_category_then_number() {
        let items = [
            item("10", Some("Gloom"), Some("Atlas"), Some("Games")),
            item("9", Some("Gloom "), Some("Atlas"), Some("Cards")),
            item("8", Some("Gloom"), Some("Other"), None),
            item("7", Some("Puzzle"), None, None),
            item("6", Some("Puzzle"), None, None),
            item("5", Some("Puzzle #2"), None, None),
            item("4", Some("Alone"), Some("Brand"), None),
        ];
        let made = surfaces(&items, Duplicates::Apart);
        assert_eq!(
            made.texts,
            [
                "Gloom (Atlas) (Games)",
                "Gloom (Atlas) (Cards)",
                "Gloom (Other)",
                "Puzzle #3",
                "Puzzle",
                "Puzzle #2",
                "Alone"
            ]
        );
        assert_eq!((made.collisions, made.untitled), (5, 0));
        assert_eq!(surfaces(&items, Duplicates::Shared).texts[1], "Gloom");
    }

    #[test]
    fn untitled_items_fall_back_in_order() {
        let mut with_text = item("1", Some(" "), None, Some("Games"));
        with_text.text_id = Some("red  car".into());
        let mut both = item("2", None, Some("Lego"), Some("Games"));
        both.text_id = Some("unused".into());
        let items =
            [with_text, both, item("3", None, None, Some("Games")), item("x", None, None, None)];
        let made = surfaces(&items, Duplicates::Apart);
        assert_eq!(made.texts, ["red car", "Lego Games", "Games", "item x"]);
        assert_eq!((made.untitled, made.named_by_id), (4, 1));
    }
}
