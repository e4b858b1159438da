//! An item as its source describes it: as fields while it is read, in one piece of memory once it
//! stands in a catalogue, which may hold millions.

use super::Attributes;
use std::fmt;

/// What is known of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// The source's id, as text.
    pub id: String,
    /// The title as given, entities decoded.
    pub title: Option<String>,
    /// The brand, or who made it.
    pub brand: Option<String>,
    /// Category paths, none empty, each from the widest name to the narrowest.
    pub categories: Vec<Vec<String>>,
    /// A short text that is no title (`text_id` of the source folder).
    pub text_id: Option<String>,
    /// Further (name, value) pairs in the source's order.
    pub attributes: Attributes,
}

/// [`Fields`], packed: parts one behind another, each a letter that says what it is, its length and
/// its text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawItem(Box<str>);

const ID: u8 = b'i';
const TITLE: u8 = b't';
const BRAND: u8 = b'b';
const TEXT_ID: u8 = b'x';
/// The first name of a path.
const PATH: u8 = b'p';
/// A further name of it.
const BELOW: u8 = b'c';
const NAME: u8 = b'n';
/// What the attribute named before is.
const VALUE: u8 = b'v';

impl RawItem {
    /// These, packed.
    pub fn of(fields: &Fields) -> RawItem {
        let mut packed = String::new();
        let mut put = |part: u8, text: &str| {
            packed.push(part.into());
            // Six bits of the length a character, those that others follow marked by the seventh.
            let mut length = text.len();
            while length > 63 {
                packed.push((length as u8 & 63 | 64).into());
                length >>= 6;
            }
            packed.push((length as u8).into());
            packed.push_str(text);
        };
        put(ID, &fields.id);
        for (part, text) in
            [(TITLE, &fields.title), (BRAND, &fields.brand), (TEXT_ID, &fields.text_id)]
        {
            text.iter().for_each(|text| put(part, text));
        }
        for path in &fields.categories {
            for (i, name) in path.iter().enumerate() {
                put(if i == 0 { PATH } else { BELOW }, name);
            }
        }
        for (name, value) in &fields.attributes {
            put(NAME, name);
            put(VALUE, value);
        }
        RawItem(packed.into())
    }

    /// The same as fields of their own.
    pub fn fields(&self) -> Fields {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let paths = self.categories();
        let attributes = self.attributes().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Fields {
            id: self.id().to_owned(),
            title: owned(self.title()),
            brand: owned(self.brand()),
            categories: paths.iter().map(|p| p.iter().map(|&n| n.to_owned()).collect()).collect(),
            text_id: owned(self.text_id()),
            attributes: attributes.collect(),
        }
    }

    fn parts(&self) -> impl Iterator<Item = (u8, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (&part, lengths) = rest.as_bytes().split_first()?;
            let digits = 1 + lengths.iter().take_while(|&&digit| digit > 63).count();
            let digit = |sum: usize, &digit: &u8| sum << 6 | usize::from(digit & 63);
            let length = lengths[..digits].iter().rev().fold(0, digit);
            let (text, behind) = rest[1 + digits..].split_at(length);
            rest = behind;
            Some((part, text))
        })
    }

    fn part(&self, wanted: u8) -> Option<&str> {
        self.parts().find(|(part, _)| *part == wanted).map(|(_, text)| text)
    }

    /// The source's id, as text.
    pub fn id(&self) -> &str {
        self.part(ID).unwrap_or_default()
    }

    /// The title as given, entities decoded.
    pub fn title(&self) -> Option<&str> {
        self.part(TITLE)
    }

    /// The brand, or who made it.
    pub fn brand(&self) -> Option<&str> {
        self.part(BRAND)
    }

    /// A short text that is no title.
    pub fn text_id(&self) -> Option<&str> {
        self.part(TEXT_ID)
    }

    /// Names of all category paths, one path behind another.
    pub fn category_names(&self) -> impl Iterator<Item = &str> {
        self.parts().filter(|(part, _)| matches!(*part, PATH | BELOW)).map(|(_, name)| name)
    }

    /// Category paths, each from the widest name to the narrowest.
    pub fn categories(&self) -> Vec<Vec<&str>> {
        let mut paths: Vec<Vec<&str>> = Vec::new();
        for (part, name) in self.parts() {
            match (part, paths.last_mut()) {
                (PATH, _) => paths.push(vec![name]),
                (BELOW, Some(path)) => path.push(name),
                _ => {}
            }
        }
        paths
    }

    /// Further (name, value) pairs in the source's order.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let of = |wanted: u8| {
            self.parts().filter(move |(part, _)| *part == wanted).map(|(_, text)| text)
        };
        of(NAME).zip(of(VALUE))
    }
}

impl fmt::Debug for RawItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let text = |text: &str| Some(text.to_owned());
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        for length in [0, 1, 63, 64, 65, 4095, 4096, 300_000] {
            let fields = Fields {
                id: "7".to_owned(),
                title: text(&"é".repeat(length)),
                brand: text(""),
                categories: vec![names(&["Toys", "Kites"]), names(&["pi"])],
                text_id: text(&"t".repeat(length)),
                attributes: vec![("price".to_owned(), "3.5".to_owned()), Default::default()],
            };
            assert_eq!(RawItem::of(&fields).fields(), fields, "{length}");
        }
        assert_eq!(RawItem::default().fields(), Fields::default());
        let item = RawItem::of(&Fields { id: "a".to_owned(), ..Fields::default() });
        assert_eq!((item.id(), item.title(), item.categories().len()), ("a", None, 0));
    }
}
