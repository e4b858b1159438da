//! The five families of tasks.

use std::fmt;
use std::str::FromStr;

/// What is asked about a user (source: P5, the five families of its templates).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The next item, after the history.
    Sequential,
    /// An item of a list, or whether one is liked, without the history.
    Direct,
    /// The stars that the user gives an item.
    Rating,
    /// Why an item is liked.
    Explanation,
    /// What a review says in short: its stars or its headline.
    Review,
}

impl Family {
    /// All five, in the order in which a list of choices shows them.
    pub const ALL: [Family; 5] =
        [Family::Sequential, Family::Direct, Family::Rating, Family::Explanation, Family::Review];

    /// Their names, in the order of [`Family::ALL`].
    pub const NAMES: [&str; 5] = ["sequential", "direct", "rating", "explanation", "review"];

    /// The word for it in settings, predictions and reports.
    pub const fn name(self) -> &'static str {
        Family::NAMES[self as usize]
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    /// What was expected and what came, in words.
    type Err = String;

    /// Refuses all but the five names.
    fn from_str(text: &str) -> Result<Family, String> {
        Family::ALL.into_iter().find(|family| family.name() == text).ok_or_else(|| {
            format!(
                "expected task sequential, direct, rating, explanation or review, got {text:?}; \
                name one of these"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
            assert_eq!(serde_json::to_value(family).unwrap(), family.name());
        }
        assert!("Sequential".parse::<Family>().unwrap_err().contains("got \"Sequential\""));
    }
}
