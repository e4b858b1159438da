//! Attributes of many, as numbers of their texts.

use super::Attribute;
use crate::data::texts::Texts;
use rayon::prelude::*;

/// Attributes of items or users, end to end.
#[derive(Debug)]
pub struct Pairs {
    /// [owners + 1] where each owner's begin.
    pub start: Vec<u64>,
    /// Name and value of each.
    pub of: Vec<[u32; 2]>,
}

impl Pairs {
    /// Those of `owners`, each of which `read` takes from its source.
    pub fn of<O: Sync>(
        owners: &[O],
        texts: &mut Texts,
        read: impl Fn(&O) -> Vec<Attribute> + Sync,
    ) -> Pairs {
        /// Owners whose texts are held apart at a time.
        const BLOCK: usize = 1 << 14;
        let mut pairs = Pairs { start: vec![0], of: Vec::new() };
        for owners in owners.chunks(BLOCK) {
            let block: Vec<Vec<Attribute>> = owners.par_iter().map(&read).collect();
            for attributes in block {
                let numbers = |(name, value): &Attribute| [texts.number(name), texts.number(value)];
                pairs.of.extend(attributes.iter().map(numbers));
                pairs.start.push(pairs.of.len() as u64);
            }
        }
        pairs
    }

    /// More owners, without any, up to so many.
    pub fn fill(&mut self, owners: usize) {
        self.start.resize(owners + 1, self.of.len() as u64);
    }

    /// Takes away those whose value `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        let (mut from, mut kept) = (0, Vec::with_capacity(self.of.len()));
        for end in &mut self.start {
            kept.extend(self.of[from..*end as usize].iter().filter(|pair| keep(pair[1])));
            from = *end as usize;
            *end = kept.len() as u64;
        }
        self.of = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_texts() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let owners = [vec![pair("a", "x"), pair("b", "y")], vec![], vec![pair("a", "y")]];
        let mut texts = Texts::default();
        let mut pairs = Pairs::of(&owners, &mut texts, |owner| owner.clone());
        pairs.fill(4);
        assert_eq!(pairs.start, [0, 2, 2, 3, 3]);
        assert_eq!(pairs.of, [[0, 1], [2, 3], [0, 3]]);
        pairs.retain(|value| texts.get(value) != "x");
        assert_eq!((pairs.start, pairs.of), (vec![0, 1, 1, 2, 2], vec![[2, 3], [0, 3]]));
    }
}
