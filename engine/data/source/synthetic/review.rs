//! What a customer says of a purchase: functions of the purchase, of what was bought before, and of
//! what the customer likes.

use super::rule::Rule;
use super::shelves::{kind, maker, material, materials, Goods, Shelves};

/// The most stars; the fewest are one.
pub const STARS: i64 = 5;

/// For one star, for two …
const WORDS: [&str; STARS as usize] = ["Dreadful", "Poor", "Passable", "Good", "Splendid"];
const CLOSING: [&str; STARS as usize] = [
    "Never again.",
    "Not a second time.",
    "It will do.",
    "We are glad to have it.",
    "It could not be better.",
];

/// The stars for a purchase where `rule` said what was to come: five, less two where no material is
/// liked and one each where kind, maker or size are others than expected; one at least.
pub fn stars(rule: Rule, goods: Goods, likes: [usize; 2]) -> i64 {
    let other = |expected: Option<usize>, got: usize| i64::from(expected.is_some_and(|e| e != got));
    let liked = materials(goods).iter().any(|material| likes.contains(material));
    let wrong = other(rule.kind, goods.kind)
        + other(rule.maker, goods.maker)
        + other(rule.size, goods.size);
    (STARS - wrong - if liked { 0 } else { 2 }).max(1)
}

/// Why: a sentence that names things of the catalogue, and what it is about.
pub struct Reason {
    /// The sentence.
    pub explanation: String,
    /// One word for it.
    pub feature: String,
}

/// Why `goods` got what they got: the first that is to be said against them, or what is for them.
pub fn reason(
    rule: Rule,
    history: &[Goods],
    goods: Goods,
    likes: [usize; 2],
    shelves: &Shelves,
) -> Reason {
    let said = |feature: &str, explanation: String| Reason { explanation, feature: feature.into() };
    let title = shelves.title(goods);
    let Some(of) = materials(goods).into_iter().find(|material| likes.contains(material)) else {
        let of = material(materials(goods)[0]);
        return said(of, format!("The {title} is of {of}, which is not to our liking."));
    };
    if let Some(wanted) = rule.size.filter(|&size| size != goods.size) {
        let wanted = shelves.title(Goods { size: wanted, ..goods });
        return said("size", format!("The {wanted} would have fitted, and this is another size."));
    }
    if let Some(wanted) = rule.maker.filter(|&maker| maker != goods.maker) {
        let wanted = shelves.title(Goods { maker: wanted, ..goods });
        return said("maker", format!("We had rather stayed with the {wanted}."));
    }
    let (of, last) = (material(of), history.last().map(|&last| shelves.title(last)));
    let Some(last) = last else {
        return said(of, format!("The {title} is of {of}, which we like."));
    };
    if rule.kind != Some(goods.kind) {
        return said("series", format!("It does not go on from the {last}."));
    }
    said(of, format!("The {title} goes on from the {last} and is of {of}, which we like."))
}

/// `Splendid kite`
pub fn headline(goods: Goods, stars: i64) -> String {
    format!("{} {}", WORDS[stars as usize - 1], kind(goods.kind).to_lowercase())
}

/// The whole text: the headline's word, the explanation and what follows from the stars.
pub fn text(goods: Goods, stars: i64, explanation: &str) -> String {
    let headline = headline(goods, stars);
    let closing = CLOSING[stars as usize - 1];
    format!("{headline} of {}. {explanation} {closing}", maker(goods.maker))
}
