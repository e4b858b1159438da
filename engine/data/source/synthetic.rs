//! A shop made up: customers mostly stay with a maker and move on to the next thing.

use super::{Clock, Events, Fields, Ids, Raw, RawItem};
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use std::path::Path;

const MAKERS: [&str; 12] = [
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper",
    "Kauri", "Larch",
];
const THINGS: [&str; 10] = [
    "Puzzle",
    "Train Set",
    "Doll House",
    "Card Game",
    "Robot Kit",
    "Kite",
    "Drum",
    "Castle",
    "Rocket",
    "Tea Set",
];
const SIZES: [&str; 2] = ["Small", "Large"];

/// How large a shop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    users: usize,
    items: usize,
    seed: u64,
}

/// The shape that `synthetic:USERS,ITEMS[,SEED]` asks for; `None` where a source is no such word.
pub fn asked(source: &Path) -> Option<Result<Shape>> {
    let words = source.to_str()?.strip_prefix("synthetic:")?;
    let numbers: Option<Vec<u64>> = words.split(',').map(|word| word.trim().parse().ok()).collect();
    let shape = match numbers.as_deref() {
        Some(&[users, items]) => Some((users, items, 0)),
        Some(&[users, items, seed]) => Some((users, items, seed)),
        _ => None,
    };
    // A number of either is held as 32 bits.
    let fits = |n: u64| (1..u64::from(u32::MAX)).contains(&n);
    Some(match shape {
        Some((users, items, seed)) if fits(users) && fits(items) => {
            Ok(Shape { users: users as usize, items: items as usize, seed })
        }
        _ => Err(Fault::Usage.error(format!(
            "source: expected synthetic:USERS,ITEMS[,SEED] with numbers from 1 on, got \
            \"synthetic:{words}\"; for instance synthetic:1000,200"
        ))),
    })
}

/// A shop of so many items: how its shelves are laid out.
struct Shelves {
    items: usize,
    things: usize,
    makers: usize,
}

impl Shelves {
    fn of(items: usize) -> Shelves {
        let things = THINGS.len().min(items.div_ceil(SIZES.len()));
        Shelves { items, things, makers: items.div_ceil(things * SIZES.len()) }
    }

    /// The title of an item and the name of its thing.
    fn title(&self, item: usize) -> (String, &'static str) {
        let (maker, rest) =
            (item / (self.things * SIZES.len()), item % (self.things * SIZES.len()));
        let (thing, size) = (THINGS[rest / SIZES.len()], SIZES[rest % SIZES.len()]);
        let name = MAKERS[maker % MAKERS.len()];
        match maker / MAKERS.len() {
            0 => (format!("{name} {size} {thing}"), thing),
            n => (format!("{name} {} {size} {thing}", n + 1), thing),
        }
    }

    /// What customer `user` buys, oldest first.
    fn bought(&self, user: u64, seed: u64) -> Vec<usize> {
        let mut rng = Philox::new(seed, Stream::Synthetic, user);
        let (mut maker, mut thing) = (rng.below(self.makers), rng.below(self.things));
        let length = (5 + rng.below(6)).min(self.items);
        let mut bought: Vec<usize> = Vec::with_capacity(length);
        while bought.len() < length {
            let item = (maker * self.things + thing) * SIZES.len() + rng.below(SIZES.len());
            if item < self.items && !bought.contains(&item) {
                bought.push(item);
            }
            thing = (thing + 1) % self.things;
            if rng.uniform() < 0.15 {
                maker = rng.below(self.makers);
            }
        }
        bought
    }
}

/// The shop of `items` items: titles with the names of their things, and what each of `users`
/// customers buys, as numbers of items from 0.
pub fn shop(
    users: usize,
    items: usize,
    seed: u64,
) -> (Vec<(String, &'static str)>, Vec<Vec<usize>>) {
    let shelves = Shelves::of(items);
    let titles = (0..items).map(|item| shelves.title(item)).collect();
    let bought = (1..=users as u64).map(|user| shelves.bought(user, seed)).collect();
    (titles, bought)
}

/// Makes a shop as a source: one purchase a day from the first day of 2020 on.
pub fn make(shape: Shape) -> Result<Raw> {
    const DAY: i64 = 86_400;
    const BEGIN: i64 = 18_262 * DAY;
    let (titles, bought) = shop(shape.users, shape.items, shape.seed);
    let items = titles.into_iter().enumerate().map(|(i, (title, thing))| {
        RawItem::of(&Fields {
            id: (i + 1).to_string(),
            title: Some(title),
            categories: vec![vec!["Toys".to_owned(), thing.to_owned()]],
            ..Fields::default()
        })
    });
    let mut users = Ids::new("user");
    let count = bought.iter().map(Vec::len).sum();
    let mut events = Events::with_capacity(count, shape.users);
    for (user, bought) in bought.into_iter().enumerate() {
        users.number(&(user + 1).to_string(), user + 1);
        for (day, item) in (user as i64 % 365..).zip(bought) {
            events.push(item as u32, BEGIN + day * DAY, f32::NAN);
        }
        events.end_user();
    }
    Ok(Raw {
        items: items.collect(),
        users,
        attributes: Vec::new(),
        events,
        reviews: Vec::new(),
        clock: Clock::Unix,
        format: "synthetic",
        notes: vec![format!("made up with seed {}", shape.seed)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_shop() {
        for (users, items) in [(1, 1), (3, 2), (5, 7), (20, 240), (9, 1000)] {
            let raw = make(Shape { users, items, seed: 3 }).unwrap();
            assert_eq!((raw.users.len(), raw.items.len()), (users, items));
            let mut titles: Vec<_> = raw.items.iter().map(RawItem::title).collect();
            titles.sort();
            titles.dedup();
            assert_eq!(titles.len(), items);
            assert!(raw.events.item.iter().all(|&item| (item as usize) < items));
        }
    }

    #[test]
    fn words_are_understood_or_refused() {
        let asked = |word: &str| asked(Path::new(word));
        assert_eq!(
            asked("synthetic:10,20,7").unwrap().unwrap(),
            Shape { users: 10, items: 20, seed: 7 }
        );
        assert!(asked("shop").is_none());
        for word in ["synthetic:", "synthetic:10", "synthetic:0,5", "synthetic:1,2,3,4"] {
            assert!(asked(word).unwrap().is_err(), "{word}");
        }
    }
}
