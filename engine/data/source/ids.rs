//! Ids of a source, numbered in the order in which they come.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Numbers for texts: all of them end to end, and a table of open addresses over them.
#[derive(Clone, Debug)]
pub struct Ids {
    what: &'static str,
    text: String,
    end: Vec<usize>,
    /// Where each was first given.
    line: Vec<u32>,
    /// Numbers by the hash of their text, [`FREE`] where there is none.
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

impl Ids {
    /// No ids yet; `what` they are the ids of, for messages.
    pub fn new(what: &'static str) -> Ids {
        let (text, end, line) = (String::new(), Vec::new(), Vec::new());
        Ids { what, text, end, line, table: vec![FREE; 16] }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.end.is_empty()
    }

    /// The text of number `i`.
    pub fn get(&self, i: u32) -> &str {
        let i = i as usize;
        let begin = if i == 0 { 0 } else { self.end[i - 1] };
        &self.text[begin..self.end[i]]
    }

    /// All texts, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone + '_ {
        (0..self.len() as u32).map(|i| self.get(i))
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
        let slot = match self.slot(id) {
            Ok(number) => return number,
            Err(slot) => slot,
        };
        let number = u32::try_from(self.len()).ok().filter(|&n| n != FREE);
        let number = number.expect("fewer than 2^32 ids");
        self.text.push_str(id);
        self.end.push(self.text.len());
        self.line.push(u32::try_from(line).unwrap_or(u32::MAX));
        self.table[slot] = number;
        if self.len() * 2 > self.table.len() {
            self.grow();
        }
        number
    }

    /// The number of an id, if it came before.
    pub fn index(&self, id: &str) -> Option<u32> {
        self.slot(id).ok()
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

    /// The number of `id`, or the free place where it would stand.
    fn slot(&self, id: &str) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let mut slot = hash(id) & mask;
        loop {
            match self.table[slot] {
                FREE => return Err(slot),
                number if self.get(number) == id => return Ok(number),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        self.table = vec![FREE; size];
        for number in 0..self.len() as u32 {
            let mut slot = hash(self.get(number)) & (size - 1);
            while self.table[slot] != FREE {
                slot = (slot + 1) & (size - 1);
            }
            self.table[slot] = number;
        }
    }
}

fn hash(id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_the_table_grows() {
        let mut ids = Ids::new("item");
        for round in 0..2 {
            for i in 0..1000u32 {
                assert_eq!(ids.number(&format!("x{i}"), 7 + i as usize), i, "round {round}");
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
