//! Ids of a source, numbered in the order in which they come.

use crate::data::texts::Texts;

/// Numbers for ids, and the lines in which they came.
#[derive(Clone, Debug)]
pub struct Ids {
    what: &'static str,
    texts: Texts,
    /// Where each was first given.
    line: Vec<u32>,
}

impl Ids {
    /// No ids yet; `what` they are the ids of, for messages.
    pub fn new(what: &'static str) -> Ids {
        Ids { what, texts: Texts::default(), line: Vec::new() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text of number `i`.
    pub fn get(&self, i: u32) -> &str {
        self.texts.get(i)
    }

    /// All texts, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone + '_ {
        self.texts.iter()
    }

    /// The line in which number `i` was first given.
    pub fn line(&self, i: u32) -> usize {
        self.line[i as usize] as usize
    }

    /// Refuses an id that is there already.
    pub fn new_one(&self, id: &str) -> Result<(), String> {
        match self.index(id) {
            None => Ok(()),
            Some(first) => Err(format!(
                "expected every {} once, got {id:?} again (first in line {}); take one away",
                self.what,
                self.line(first)
            )),
        }
    }

    /// Numbers a new id, given in line `line`; an id that is there already is an error.
    pub fn add(&mut self, id: &str, line: usize) -> Result<u32, String> {
        self.new_one(id)?;
        Ok(self.number(id, line))
    }

    /// The number of an id, a new one if it was not there.
    pub fn number(&mut self, id: &str, line: usize) -> u32 {
        let number = self.texts.number(id);
        if number as usize == self.line.len() {
            self.line.push(u32::try_from(line).unwrap_or(u32::MAX));
        }
        number
    }

    /// The number of an id, if it came before.
    pub fn index(&self, id: &str) -> Option<u32> {
        self.texts.index(id)
    }

    /// The number of an id that must be known.
    pub fn find(&self, id: &str) -> Result<u32, String> {
        self.index(id).ok_or_else(|| {
            format!(
                "expected a known {}, got {id:?}; add it to the {}s or take the line away",
                self.what, self.what
            )
        })
    }

    /// The same without those that `keep` refuses; the new number of each, [`None`] where it went.
    pub fn kept(&self, keep: impl Fn(u32) -> bool) -> (Ids, Vec<Option<u32>>) {
        let mut kept = Ids::new(self.what);
        let place = (0..self.len() as u32)
            .map(|i| keep(i).then(|| kept.number(self.get(i), self.line(i))))
            .collect();
        (kept, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_numbers_and_lines() {
        let mut ids = Ids::new("item");
        for round in 0..2 {
            for i in 0..1000u32 {
                let line = 7 + i as usize + round;
                assert_eq!(ids.number(&format!("x{i}"), line), i, "round {round}");
            }
        }
        assert_eq!((ids.len(), ids.get(999), ids.index("x1000")), (1000, "x999", None));
        assert_eq!(
            ids.find("y").unwrap_err().split(';').next(),
            Some("expected a known item, got \"y\"")
        );
        assert!(ids.add("x3", 0).unwrap_err().contains("first in line 10"));
        let (kept, place) = ids.kept(|i| i % 2 == 1);
        assert_eq!((kept.len(), kept.get(1), place[3], place[4]), (500, "x3", Some(1), None));
    }
}
