//! The text of an item, unique in the catalogue (E11).

use crate::base::named::named;
use crate::base::{Philox, Stream};
use crate::data::source::RawItem;
use crate::data::texts::Texts;
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

named! {
    /// What the model is shown in place of an item (E1).
    pub enum ItemRepr: "item-repr" {
        /// Its title, or what stands for it.
        Title = "title",
        /// A number.
        Id = "id",
    }
}

/// How a surface that is a number begins.
pub const NUMBERED: &str = "item ";

/// One surface an item of `count`: "item 4711", the numbers from 1 on in an order of their own, so
/// that they say nothing of what comes next (E24).
pub fn numbers(count: usize, seed: u64) -> impl Iterator<Item = String> {
    let mut numbers: Vec<usize> = (1..=count).collect();
    Philox::new(seed, Stream::Numbers, 0).shuffle(&mut numbers);
    numbers.into_iter().map(|number| format!("{NUMBERED}{number}"))
}

/// One surface an item: the cleaned title, or a fallback; where several items share it, with the
/// brand behind it, then the last category, then " #2", " #3" in the order of ids.
pub fn surfaces(items: &[RawItem], duplicates: Duplicates) -> Surfaces {
    let mut texts: Vec<String> = Vec::with_capacity(items.len());
    let (mut untitled, mut named_by_id) = (0, 0);
    for item in items {
        let title = title(item);
        untitled += usize::from(!matches!(title, Title::Given(_)));
        named_by_id += usize::from(matches!(title, Title::Id(_)));
        texts.push(title.text());
    }
    let collisions = shared(&texts).iter().map(Vec::len).sum();
    if duplicates == Duplicates::Apart && collisions > 0 {
        append_where_it_tells_apart(&mut texts, |i| filled(items[i].brand()));
        append_where_it_tells_apart(&mut texts, |i| last_category(&items[i]));
        let groups = shared(&texts);
        number(&mut texts, groups, items);
    }
    Surfaces { texts, untitled, collisions, named_by_id }
}

/// The text of an item before it is told apart from others.
pub(super) enum Title {
    /// What its source gives.
    Given(String),
    /// What stands for it.
    Fallback(String),
    /// Its id, for want of anything else.
    Id(String),
}

impl Title {
    /// Whatever it is made of.
    pub(super) fn text(self) -> String {
        match self {
            Title::Given(text) | Title::Fallback(text) | Title::Id(text) => text,
        }
    }
}

/// The cleaned title of an item, or a fallback.
pub(super) fn title(item: &RawItem) -> Title {
    let given = filled(item.title()).map(Title::Given);
    given
        .or_else(|| fallback(item).map(Title::Fallback))
        .unwrap_or_else(|| Title::Id(clean(&format!("{NUMBERED}{}", item.id()))))
}

/// The text of an item without a title: brand and last category, the text id, or one of brand and
/// category; `None` where it has none of these. A category alone says less than a text id, and
/// would need numbers to be unique.
fn fallback(item: &RawItem) -> Option<String> {
    let (brand, category) = (filled(item.brand()), last_category(item));
    match (brand, filled(item.text_id()), category) {
        (Some(brand), _, Some(category)) => Some(format!("{brand} {category}")),
        (_, Some(text_id), _) => Some(text_id),
        (one, None, other) => one.or(other),
    }
}

fn last_category(item: &RawItem) -> Option<String> {
    let narrowest = |path: &Vec<&str>| filled(path.last().copied());
    item.categories().iter().rev().find_map(narrowest)
}

fn filled(text: Option<&str>) -> Option<String> {
    text.map(clean).filter(|text| !text.is_empty())
}

/// Groups of two and more items with the same text, in catalogue order.
fn shared(texts: &[String]) -> Vec<Vec<usize>> {
    let (mut seen, mut groups) = (Texts::default(), Vec::<Vec<usize>>::new());
    // By distinct text: where it first was, and which group has it.
    let mut first: Vec<(u32, Option<u32>)> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let number = seen.number(text) as usize;
        match first.get_mut(number) {
            None => first.push((i as u32, None)),
            Some((_, Some(group))) => groups[*group as usize].push(i),
            Some((first, group)) => {
                *group = Some(groups.len() as u32);
                groups.push(vec![*first as usize, i]);
            }
        }
    }
    groups.sort_unstable_by_key(|group| group[0]);
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
    let mut taken = Texts::default();
    for text in texts.iter() {
        taken.number(text);
    }
    for mut group in groups {
        group.sort_by_cached_key(|&i| id_order(items[i].id()));
        let mut next = 2;
        for &i in &group[1..] {
            let text = loop {
                let text = format!("{} #{next}", texts[i]);
                next += 1;
                if taken.index(&text).is_none() {
                    taken.number(&text);
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
    use crate::data::source::Fields;

    fn item(id: &str, title: Option<&str>, brand: Option<&str>, category: Option<&str>) -> RawItem {
        RawItem::of(&Fields {
            id: id.into(),
            title: title.map(Into::into),
            brand: brand.map(Into::into),
            categories: category.map(|c| vec![vec!["All".into(), c.into()]]).unwrap_or_default(),
            ..Fields::default()
        })
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
    fn numbers_are_in_an_order_of_their_own() {
        let of = |seed| numbers(50, seed).collect::<Vec<_>>();
        let mut sorted = of(1);
        sorted.sort_by_key(|text| text[NUMBERED.len()..].parse::<usize>().unwrap());
        assert_eq!(sorted, (1..=50).map(|n| format!("item {n}")).collect::<Vec<_>>());
        assert!(sorted != of(1) && of(1) == of(1) && of(1) != of(2));
    }

    #[test]
    fn untitled_items_fall_back_in_order() {
        let text = |item: RawItem, text: &str| {
            RawItem::of(&Fields { text_id: Some(text.into()), ..item.fields() })
        };
        let with_text = text(item("1", Some(" "), None, Some("Games")), "red  car");
        let both = text(item("2", None, Some("Lego"), Some("Games")), "unused");
        let items =
            [with_text, both, item("3", None, None, Some("Games")), item("x", None, None, None)];
        let made = surfaces(&items, Duplicates::Apart);
        assert_eq!(made.texts, ["red car", "Lego Games", "Games", "item x"]);
        assert_eq!((made.untitled, made.named_by_id), (4, 1));
    }
}
