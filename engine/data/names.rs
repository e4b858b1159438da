//! Items as people and programs name them: by id or by title.

use super::catalogue::clean;
use super::dataset::Dataset;
use crate::base::Fault;
use serde::{de, Deserialize, Deserializer};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

/// What a caller writes for an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A number: an id, as its digits.
    Number(String),
    /// A text: an id or a title.
    Text(String),
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::Text(text.to_owned())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        Name::Text(text)
    }
}

impl From<u64> for Name {
    fn from(id: u64) -> Name {
        Name::Number(id.to_string())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Number(digits) => f.write_str(digits),
            Name::Text(text) => write!(f, "{}", Value::from(text.as_str())),
        }
    }
}

/// From a number or a text alone, without a value of every kind between: a line may hold millions.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id or the title of an item, a number or a text")
            }

            fn visit_u64<E>(self, id: u64) -> Result<Name, E> {
                Ok(Name::Number(id.to_string()))
            }

            fn visit_i64<E>(self, id: i64) -> Result<Name, E> {
                Ok(Name::Number(id.to_string()))
            }

            fn visit_f64<E>(self, id: f64) -> Result<Name, E> {
                Ok(Name::Number(Value::from(id).to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Name, E> {
                Ok(Name::Text(text))
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// Finds the items of a data set by what a caller writes.
pub struct Names<'a> {
    dataset: &'a Dataset,
    /// Built when the first title is asked for: a host that sends ids never pays for it.
    by_surface: OnceLock<HashMap<&'a str, u32>>,
}

impl<'a> Names<'a> {
    /// Looks items of `dataset` up; nothing is built before the first question.
    pub fn new(dataset: &'a Dataset) -> Names<'a> {
        Names { dataset, by_surface: OnceLock::new() }
    }

    /// The item that `name` means. A number is an id. A text is an id or a title; one that looks
    /// like a number is a title first, since ids that are numbers are written as numbers. Titles
    /// are surfaces, compared after NFKC and with white space collapsed; where items share one, the
    /// first in the order of ties (E16b).
    ///
    /// Refuses, naming it, what is neither.
    pub fn find(&self, name: &Name) -> anyhow::Result<u32> {
        let found = match name {
            Name::Number(digits) => self.dataset.find_item(digits),
            Name::Text(text) => {
                let id = || self.dataset.find_item(text.trim());
                let title = || self.surfaces().get(clean(text).as_str()).copied();
                match text.trim().parse::<i64>() {
                    Ok(_) => title().or_else(id),
                    Err(_) => id().or_else(title),
                }
            }
        };
        found.ok_or_else(|| {
            Fault::Data.error(format!(
                "item: {name}: expected the id or the title of an item of {}, got neither; leave \
                it out or prepare the \
                 data with it",
                self.dataset.name()
            ))
        })
    }

    /// The item whose surface a text is, compared as [`Names::find`] compares titles.
    pub fn find_title(&self, text: &str) -> Option<u32> {
        self.surfaces().get(clean(text).as_str()).copied()
    }

    fn surfaces(&self) -> &HashMap<&'a str, u32> {
        self.by_surface.get_or_init(|| {
            let mut surfaces = HashMap::with_capacity(self.dataset.items());
            for item in 0..self.dataset.items() as u32 {
                let first = surfaces.entry(self.dataset.item(item).surface).or_insert(item);
                if (self.dataset.tie(item), item) < (self.dataset.tie(*first), *first) {
                    *first = item;
                }
            }
            surfaces
        })
    }
}
