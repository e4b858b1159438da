//! A `.bin` whose checksums hold and whose contents cannot be.

use crate::shop::Shop;
use crate::signed::signed;
use engine::base::Fault;
use engine::data::Dataset;
use std::fs;
use std::ops::Range;

/// Where the section of that name lies.
fn section(data: &Dataset, bytes: &[u8], name: &str) -> Range<usize> {
    let number = data.sections().position(|(other, _)| other == name).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let row = 64 + 32 * number;
    word(row + 8)..word(row + 8) + word(row + 16)
}

/// What becomes of a section.
type Change = Box<dyn Fn(&mut [u8], &Dataset)>;

fn number(at: usize, to: u32) -> Change {
    Box::new(move |bytes, _| bytes[4 * at..4 * at + 4].copy_from_slice(&to.to_le_bytes()))
}

fn long(at: usize, to: u64) -> Change {
    Box::new(move |bytes, _| bytes[8 * at..8 * at + 8].copy_from_slice(&to.to_le_bytes()))
}

fn swapped(a: usize, b: usize) -> Change {
    Box::new(move |bytes, _| (0..4).for_each(|i| bytes.swap(4 * a + i, 4 * b + i)))
}

/// The number behind `name` in the header becomes another one of as many digits.
fn count(name: &'static str) -> Change {
    Box::new(move |bytes, _| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let at = text.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
        bytes[at] = if bytes[at] == b'9' { b'8' } else { b'9' };
    })
}

#[test]
fn contents_that_cannot_be_are_refused_whatever_their_checksums() {
    let shop = Shop::new();
    let data = shop.prepare().unwrap();
    let good = fs::read(shop.path("shop.bin")).unwrap();
    let end = data.vocab().special().end;
    let cases: Vec<(&str, Change, &str)> = vec![
        ("ItemTokenStart", long(1, 0), "tokens of a text for item 0"),
        ("ItemToken", number(0, end), "special"),
        ("ItemToken", number(0, u32::MAX), "numbers below"),
        ("ItemById", swapped(0, 1), "ascending order"),
        ("ItemById", number(0, 1), "ascending order"),
        ("UserById", swapped(0, 1), "ascending order"),
        ("EventStart", long(1, 0), "events of user 0"),
        ("EventStart", long(1, u64::MAX), "ascend"),
        ("EventRating", number(0, f32::INFINITY.to_bits()), "stars"),
        ("ReviewRating", number(0, f32::NEG_INFINITY.to_bits()), "stars"),
        (
            "Negative",
            Box::new(|bytes, _| bytes.copy_within(0..4, 4)),
            "distinct negatives of user 0",
        ),
        ("CatalogueMember", swapped(0, 1), "where its tokens end"),
        ("CatalogueMember", Box::new(|bytes, _| bytes.copy_within(0..4, 4)), "once"),
        ("PoolNodeToken", number(1, end), "trie"),
        ("StringStart", long(1, 1 << 40), "ascend"),
        ("StringBytes", Box::new(|bytes, _| bytes[0] = 0xff), "UTF-8"),
        ("Header", count("tokens_mean"), "tokens_mean"),
        ("Header", count("tokens_max"), "tokens_max"),
        ("Header", count("pool_nodes"), "pool_nodes"),
        ("Header", count("negatives_max"), "negatives_max"),
        ("Header", count("entities"), "entities"),
        ("Header", count("rated"), "rated"),
        ("Header", count("tokenizer_size"), "ids"),
    ];
    for (name, change, words) in cases {
        let mut bytes = good.clone();
        let range = section(&data, &good, name);
        change(&mut bytes[range], &data);
        let path = shop.put("bad.bin", signed(&bytes));
        let Err(error) = Dataset::open(&path) else { panic!("{name}: {words}") };
        assert_eq!(Fault::of(&error), Some(Fault::Data), "{name}: {error:#}");
        let said = format!("{error:#}");
        assert!(said.contains(words) && said.lines().count() == 1, "{name}: {said}");
    }
    // It is what was changed that is refused.
    Dataset::open(&shop.put("good.bin", signed(&good))).unwrap();
}
