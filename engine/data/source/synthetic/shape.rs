//! How large a shop is made, and the word that asks for it.

use crate::base::{choose, Fault, Range};
use anyhow::Result;
use std::path::Path;

/// How large a shop is, and how much of it is chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Customers.
    pub users: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// Decides all that is drawn.
    pub seed: u64,
    /// Purchases of a usual customer, about; one in five has more, up to twice as many.
    pub events: usize,
    /// Persons that a customer buys for in turn.
    pub people: usize,
    /// Share of purchases and of stars that follow no rule.
    pub noise: f64,
    /// Share of purchases by which a person leaves a maker for any.
    pub drift: f64,
}

/// Options of a shape, and what their numbers may be.
const OPTIONS: [(&str, Range); 4] = [
    ("events", Range::whole(1, 10_000)),
    ("people", Range::whole(1, 1000)),
    ("noise", Range::real(0.0, 1.0)),
    ("drift", Range::real(0.0, 1.0)),
];

impl Shape {
    /// So many customers and items, as usual otherwise.
    pub fn new(users: usize, items: usize, seed: u64) -> Shape {
        Shape { users, items, seed, events: 8, people: 2, noise: 0.1, drift: 0.05 }
    }

    /// The shape that `synthetic:USERS,ITEMS[,SEED][,OPTION=NUMBER …]` asks for; `None` where a
    /// source is no such word.
    pub fn asked(source: &Path) -> Option<Result<Shape>> {
        let words = source.to_str()?.strip_prefix("synthetic:")?;
        Some(Shape::of_words(words))
    }

    fn of_words(words: &str) -> Result<Shape> {
        let all: Vec<&str> = words.split(',').map(str::trim).collect();
        let options = all.iter().position(|word| word.contains('=')).unwrap_or(all.len());
        let numbers: Option<Vec<u64>> = all[..options].iter().map(|w| w.parse().ok()).collect();
        // A number of either is held as 32 bits.
        let fits = |n: u64| (1..u64::from(u32::MAX)).contains(&n);
        let mut shape = match numbers.as_deref() {
            Some(&[users, items, ref seed @ ..])
                if fits(users) && fits(items) && seed.len() < 2 =>
            {
                Shape::new(users as usize, items as usize, seed.first().copied().unwrap_or(0))
            }
            _ => {
                return Err(Fault::Usage.error(format!(
                    "source: expected synthetic:USERS,ITEMS[,SEED] with numbers from 1 on, got \
                    \"synthetic:{words}\"; for instance synthetic:1000,200"
                )))
            }
        };
        all[options..].iter().try_for_each(|word| shape.set(word))?;
        Ok(shape)
    }

    /// Takes one `OPTION=NUMBER`.
    fn set(&mut self, word: &str) -> Result<()> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let known = OPTIONS.map(|(name, _)| name);
        let Some(&(_, range)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            return Err(Fault::Usage.error(format!(
                "source: expected an option of synthetic: ({}) with =NUMBER, got {word:?}; {}",
                known.join(", "),
                choose(name, known)
            )));
        };
        let number = value.parse::<f64>().ok().filter(|&number| range.holds(number));
        let number = number.ok_or_else(|| {
            Fault::Usage.error(format!(
                "source: option {name} of synthetic: expected {range}, got {value:?}; choose \
                another"
            ))
        })?;
        match name {
            "events" => self.events = number as usize,
            "people" => self.people = number as usize,
            "noise" => self.noise = number,
            _ => self.drift = number,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        let asked = |word: &str| Shape::asked(Path::new(word));
        assert_eq!(asked("synthetic:10,20,7").unwrap().unwrap(), Shape::new(10, 20, 7));
        let long = asked("synthetic:10,20,7,events=300, people=20,noise=0,drift=0.5");
        let wanted =
            Shape { events: 300, people: 20, noise: 0.0, drift: 0.5, ..Shape::new(10, 20, 7) };
        assert_eq!(long.unwrap().unwrap(), wanted);
        assert!(asked("shop").is_none());
        for word in [
            "",
            "10",
            "0,5",
            "1,2,3,4",
            "1,2,3,evnts=3",
            "1,2,events=0",
            "1,2,noise=1.5",
            "1,2,events=2.5",
            "1,2,drift=nan",
            "events=3",
            "1,2,events=3,4",
            "1,2,",
        ] {
            let error = asked(&format!("synthetic:{word}")).unwrap().unwrap_err();
            assert!(error.to_string().starts_with("source: "), "{word}: {error}");
        }
    }
}
