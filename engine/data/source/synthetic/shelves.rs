//! What a shop made up sells: everything that can be composed of its makers, kinds and sizes.

use super::super::{Fields, RawItem};

const MAKERS: [&str; 24] = [
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper",
    "Kauri", "Larch", "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Rowan", "Spruce", "Teak",
    "Ulmo", "Vine", "Willow", "Yew",
];
/// Behind a maker's name once the names are used up; of one length, so that no two rows of them
/// spell the same.
const ENDINGS: [&str; 8] = ["by", "co", "do", "fa", "ki", "lo", "mi", "ra"];
/// A series: what comes next is the next in the list, and behind the last the first.
const KINDS: [&str; 16] = [
    "Kite", "Drum", "Puzzle", "Robot", "Castle", "Rocket", "Train", "Boat", "Doll", "Tent",
    "Globe", "Scooter", "Ball", "Piano", "Crane", "Dragon",
];
/// The first is not said: the title of a thing of usual size is the beginning of two others.
const SIZES: [&str; 3] = ["", "Mini", "Large"];
const MATERIALS: [&str; 6] = ["wood", "tin", "felt", "paper", "cork", "wool"];

/// What an item is: numbers of its maker, kind and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goods {
    /// Who made it.
    pub maker: usize,
    /// What it is, by its place in the series.
    pub kind: usize,
    /// How large it is.
    pub size: usize,
}

/// How a catalogue is laid out: one item of every maker, kind and size, then reissues, which have
/// the titles of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelves {
    /// Number of items.
    pub items: usize,
    /// Number of makers.
    pub makers: usize,
    /// Number of kinds: length of the series.
    pub kinds: usize,
    /// Number of sizes.
    pub sizes: usize,
}

impl Shelves {
    /// Those of a shop of `items` items, at least 1: one in forty or more are reissues, from 40 on.
    pub fn of(items: usize) -> Shelves {
        let sizes = items.min(SIZES.len());
        let kinds = (items / sizes).isqrt().clamp(1, KINDS.len());
        let makers = ((items - items / 40) / (sizes * kinds)).max(1);
        Shelves { items, makers, kinds, sizes }
    }

    /// Items with a title of their own; those behind them are reissues.
    pub fn originals(&self) -> usize {
        self.makers * self.kinds * self.sizes
    }

    /// Number of the original that is so.
    pub fn number(&self, goods: Goods) -> usize {
        (goods.maker * self.kinds + goods.kind) * self.sizes + goods.size
    }

    /// What item number `item` is; a reissue is what the first was.
    pub fn goods(&self, item: usize) -> Goods {
        let (originals, reissues) = (self.originals(), self.items - self.originals());
        let item = match item.checked_sub(originals) {
            None => item,
            // All over the shelves.
            Some(reissue) => ((reissue as u128 * originals as u128) / reissues as u128) as usize,
        };
        let (maker, rest) = (item / (self.kinds * self.sizes), item % (self.kinds * self.sizes));
        Goods { maker, kind: rest / self.sizes, size: rest % self.sizes }
    }

    /// `Alder Kite`, `Alder Kite Large`.
    pub fn title(&self, goods: Goods) -> String {
        let title = format!("{} {}", maker(goods.maker), KINDS[goods.kind]);
        match SIZES[goods.size] {
            "" => title,
            size => format!("{title} {size}"),
        }
    }

    /// Item number `item` as a source describes it; its id is the number from 1.
    pub fn described(&self, item: usize) -> RawItem {
        let goods = self.goods(item);
        let of = materials(goods).map(|material| MATERIALS[material]);
        let mut attributes: Vec<(&str, &str)> = of.iter().map(|&of| ("material", of)).collect();
        attributes.dedup();
        let size = SIZES[goods.size];
        attributes.extend((!size.is_empty()).then_some(("size", size)));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        RawItem::of(&Fields {
            id: (item + 1).to_string(),
            title: Some(self.title(goods)),
            brand: Some(maker(goods.maker)),
            categories: vec![vec!["Toys".to_owned(), KINDS[goods.kind].to_owned()]],
            attributes: attributes.into_iter().map(owned).collect(),
            ..Fields::default()
        })
    }
}

/// The two materials of a thing, which may be the same: its maker's and its kind's.
pub fn materials(goods: Goods) -> [usize; 2] {
    [goods.maker % MATERIALS.len(), (goods.kind * 5 + 1) % MATERIALS.len()]
}

/// How many materials there are.
pub const MATERIAL_COUNT: usize = MATERIALS.len();

/// The word for a material.
pub fn material(number: usize) -> &'static str {
    MATERIALS[number]
}

/// The word for a kind.
pub fn kind(number: usize) -> &'static str {
    KINDS[number]
}

/// The name of a maker: of its own, whatever the number.
pub fn maker(number: usize) -> String {
    let mut name = MAKERS[number % MAKERS.len()].to_owned();
    let mut round = number / MAKERS.len();
    while round > 0 {
        round -= 1;
        name += ENDINGS[round % ENDINGS.len()];
        round /= ENDINGS.len();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn a_number_and_its_goods_name_each_other() {
        for items in (1..300).chain([1000, 4321]) {
            let shelves = Shelves::of(items);
            let originals = shelves.originals();
            assert!((1..=items).contains(&originals), "{items}: {shelves:?}");
            for item in 0..items {
                let number = shelves.number(shelves.goods(item));
                assert!(number < originals && (item >= originals || number == item), "{items}");
            }
        }
    }

    #[test]
    fn titles_are_twice_there_or_begin_others() {
        let shelves = Shelves::of(240);
        let mut counts = HashMap::new();
        (0..240).for_each(|i| *counts.entry(shelves.title(shelves.goods(i))).or_insert(0) += 1);
        let twice = counts.values().filter(|&&count| count == 2).count();
        assert_eq!((counts.len(), twice), (shelves.originals(), 240 - shelves.originals()));
        assert!(twice >= 240 / 40, "{twice}");
        let begins = |title: &&String| counts.contains_key(&format!("{title} Mini"));
        assert_eq!(counts.keys().filter(begins).count() * SIZES.len(), counts.len());
    }

    #[test]
    fn no_two_makers_share_a_name() {
        let names: HashSet<String> = (0..30_000).map(maker).collect();
        assert_eq!(names.len(), 30_000);
        assert_eq!([maker(0), maker(24), maker(24 * 9 + 1)], ["Alder", "Alderby", "Birchbyby"]);
    }
}
