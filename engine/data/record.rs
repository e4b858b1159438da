//! One thing that happened, and views of what a `.bin` stores.

/// Time not known.
pub const NO_TIME: i64 = i64::MIN;

/// An item of the catalogue as the `.bin` holds it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The id in the source files, as text. Never shown to the model, never a tie rule (E16b).
    pub id: &'a str,
    /// The unique text of the item (E11).
    pub surface: &'a str,
    /// The title as given, `None` where the surface is a fallback.
    pub title: Option<&'a str>,
    /// Tokens of " " + surface: the one form that follows a mask or a separator.
    pub tokens: &'a [u32],
}

/// A user and the events in time order (ties keep the input's order), all of the same length.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The id in the source files, as text.
    pub id: &'a str,
    /// Numbers of the items, oldest first.
    pub items: &'a [u32],
    /// Seconds (absolute, or since the user's first event), [`NO_TIME`] where unknown.
    pub times: &'a [i64],
    /// Stars, NaN where unknown.
    pub ratings: &'a [f32],
}

/// A text that a user wrote about an item, as the `.bin` holds it.
#[derive(Clone, Copy, Debug)]
pub struct Review<'a> {
    /// Number of the user.
    pub user: u32,
    /// Number of the item.
    pub item: u32,
    /// Stars, NaN where unknown.
    pub rating: f32,
    /// The headline.
    pub summary: Option<&'a str>,
    /// The whole text.
    pub text: Option<&'a str>,
    /// A sentence of the text that explains the rating, and the feature it is about.
    pub explanation: Option<&'a str>,
    /// What the explanation is about, one word or a few.
    pub feature: Option<&'a str>,
    /// `train`, `validation`, `test` where the source says so.
    pub split: Option<&'a str>,
}
