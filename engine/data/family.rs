//! The five families of tasks.

use crate::base::named::named;

named! {
    /// What is asked about a user (source: P5, the five families of its templates).
    pub enum Family: "task" {
        /// The next item, after the history.
        Sequential = "sequential",
        /// An item of a list, or whether one is liked, without the history.
        Direct = "direct",
        /// The stars that the user gives an item.
        Rating = "rating",
        /// Why an item is liked.
        Explanation = "explanation",
        /// What a review says in short: its stars or its headline.
        Review = "review",
    }
}

impl Family {
    /// Whether it asks about users and their events, rather than about records of what was said.
    pub fn is_of_users(self) -> bool {
        match self {
            Family::Sequential | Family::Direct => true,
            Family::Rating | Family::Explanation | Family::Review => false,
        }
    }
}
