//! The `.bin`: what comes out is what went in, and no damage to the file is ever taken for data.

use crate::shop::{read_all, shared, Shop};
use engine::base::{Fault, Outputs};
use engine::cli::prepare::{self, Prepare};
use engine::data::record::NO_TIME;
use engine::data::{Dataset, Vocab};
use proptest::prelude::*;
use std::path::Path;

#[test]
fn what_comes_out_is_what_went_in() {
    let shop = Shop::new();
    let data = shop.prepare().unwrap();
    data.verify().unwrap();
    assert_eq!((data.name(), data.items(), data.users()), ("shop", 10, 3));

    let surfaces: Vec<&str> = (0..10).map(|i| data.item(i).surface).collect();
    assert_eq!(
        surfaces,
        [
            "Lego City",
            "Lego City Police Boat",
            "Gloom (Atlas)",
            "Gloom (Atlas) #2",
            "Gloom (Other)",
            "red fire truck",
            "Ravensburger Puzzles",
            "item x3",
            "A [MASK] and a <|endoftext|> in a title",
            "Wide Café 🙂"
        ]
    );
    assert_eq!(data.item(3).title, Some("  Gloom\u{a0}"));
    assert_eq!(data.item(5).title, None);
    assert_eq!(
        data.item_attributes(0),
        [
            ("brand", "Lego"),
            ("category", "Toys"),
            ("category", "Building"),
            ("category", "Gifts"),
            ("price", "12.5")
        ]
    );
    // Identifiers are no attributes.
    assert_eq!(data.item_attributes(5), []);
    assert_eq!(
        (data.find_item("9"), data.find_item("x5"), data.find_item("14")),
        (Some(2), Some(9), None)
    );
    assert_eq!((data.find_user("bob"), data.find_user("nobody")), (Some(1), None));

    // Time order; equal times as in the file.
    let alice = data.user(0);
    assert_eq!(
        (alice.id, alice.items, alice.times),
        ("alice", &[2, 3, 0, 1][..], &[100, 200, 300, 300][..])
    );
    assert_eq!(alice.ratings[..3], [4.0, 3.5, 5.0]);
    assert!(alice.ratings[3].is_nan());
    assert_eq!(data.user(1).items, [4, 5, 6]);
    assert_eq!(data.user_attributes(0), [("age", "33"), ("city", "Kyiv")]);
    assert_eq!(data.user_attributes(2), []);

    let reviews: Vec<_> = data.reviews().collect();
    assert_eq!(reviews.len(), 2);
    assert_eq!((reviews[0].user, reviews[0].item, reviews[0].rating), (0, 0, 5.0));
    assert_eq!((reviews[0].text, reviews[0].feature), (Some("We like it."), Some("bricks")));
    assert_eq!((reviews[0].summary, reviews[0].split), (Some("Fun"), Some("train")));
    assert!(reviews[1].text.is_none() && reviews[1].rating.is_nan());

    let counts = data.statistics();
    assert_eq!((counts.interactions, counts.short_users, counts.rated), (8, 1, 7));
    assert_eq!((counts.untitled, counts.named_by_id, counts.collisions), (3, 1, 3));
    assert_eq!(data.settings().clock, "unix_time");
    assert_eq!(data.vocab().json(), std::fs::read(shop.path("tokenizer.json")).unwrap());
    read_all(&data);
}

#[test]
fn every_item_and_value_is_in_the_tries_and_no_special_token_is() {
    let data = Shop::new().prepare().unwrap();
    let (catalogue, pool, vocab) = (data.catalogue(), data.pool(), data.vocab());
    let mut values: Vec<String> = Vec::new();
    for i in 0..data.items() as u32 {
        let item = data.item(i);
        assert_eq!(vocab.decode(item.tokens).unwrap(), format!(" {}", item.surface));
        assert_eq!(catalogue.members(catalogue.find(item.tokens).unwrap()), [i]);
        values.push(item.surface.to_owned());
        values.extend(data.item_attributes(i).iter().map(|(_, value)| value.to_string()));
    }
    values.extend(
        (0..data.users() as u32)
            .flat_map(|u| data.user_attributes(u))
            .map(|(_, value)| value.to_owned()),
    );
    for value in &values {
        for form in [value.clone(), format!(" {value}")] {
            let tokens = vocab.encode(&form).unwrap();
            assert!(pool.is_terminal(pool.find(&tokens).unwrap()), "{form:?}");
        }
    }
    for trie in [&catalogue, &pool] {
        assert!(trie.token[1..].iter().all(|&token| !vocab.is_special(token)));
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_another_seed_other_negatives() {
    let shop = Shop::new();
    // 200 items, so that negatives are a choice.
    let items: String =
        (0..200).map(|i| format!("{{\"id\":{i},\"title\":\"Thing number {i}\"}}\n")).collect();
    let events: String = (0..50).map(|u| format!("{u} {} {} {}\n", u, u + 1, u + 2)).collect();
    std::fs::remove_file(shop.path("interactions.tsv")).unwrap();
    std::fs::remove_file(shop.path("users.jsonl")).unwrap();
    std::fs::remove_file(shop.path("reviews.jsonl")).unwrap();
    shop.put("items.jsonl", items);
    shop.put("sequences.txt", events);
    let bytes = |seed: u64| {
        prepare::run(&Prepare { seed, ..shop.arguments() }, Outputs::new(true)).unwrap();
        std::fs::read(shop.path("shop.bin")).unwrap()
    };
    let first = bytes(1);
    assert!(first == bytes(1), "two runs differ");
    assert!(first != bytes(2), "the seed has no effect");
    let data = Dataset::open(&shop.path("shop.bin")).unwrap();
    assert_eq!(data.user(3).times, [NO_TIME; 3]);
    for u in 0..50 {
        let mut negatives = data.negatives(u).to_vec();
        assert_eq!(negatives.len(), 99);
        assert!(negatives.iter().all(|i| !data.user(u).items.contains(i)));
        negatives.sort_unstable();
        negatives.dedup();
        assert_eq!(negatives.len(), 99);
    }
    assert!(!shop.path("shop.bin.tmp").exists());
}

#[test]
fn duplicate_titles_may_share_a_leaf_in_the_order_of_the_seeded_hash() {
    let shop = Shop::new();
    let arguments = Prepare { keep_duplicate_titles: true, ..shop.arguments() };
    prepare::run(&arguments, Outputs::new(true)).unwrap();
    let data = Dataset::open(&arguments.out).unwrap();
    assert_eq!(data.item(4).surface, "Gloom");
    let trie = data.catalogue();
    let members = trie.members(trie.find(data.item(4).tokens).unwrap());
    let mut expected = [2, 3, 4];
    expected.sort_by_key(|&i| data.tie(i));
    assert_eq!(members, expected);
}

#[test]
fn another_tokenizer_is_refused() {
    let (shop, other) = (Shop::new(), Shop::new());
    let data = shop.prepare().unwrap();
    let same = Vocab::open(&shop.path("tokenizer.json")).unwrap();
    data.expect_vocab(&same).unwrap();
    prepare::run(&Prepare { train_tokenizer: Some(290), ..other.arguments() }, Outputs::new(true))
        .unwrap();
    let error =
        data.expect_vocab(&Vocab::open(&other.path("tokenizer.json")).unwrap()).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Model));
    assert!(error.to_string().contains("expected the tokenizer it was made with"), "{error}");
}

/// The sentence with which opening ends, and that it is the data's fault.
fn refusal(path: &Path) -> String {
    let error = Dataset::open(path).map(|_| ()).unwrap_err();
    let chain = format!("{error:#}");
    assert_eq!(Fault::of(&error), Some(Fault::Data), "{chain}");
    assert!(chain.contains(&*path.to_string_lossy()) && !chain.contains('\n'), "{chain}");
    chain
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let shop = Shop::new();
    drop(shop.prepare().unwrap());
    let good = std::fs::read(shop.path("shop.bin")).unwrap();
    let say = |bytes: &[u8]| refusal(&shop.put("bad.bin", bytes));
    let missing = Dataset::open(&shop.path("none.bin")).map(|_| ()).unwrap_err();
    assert_eq!(Fault::of(&missing), Some(Fault::Usage));
    assert!(missing.to_string().contains("none.bin: expected a .bin"), "{missing}");
    assert!(say(b"").contains("truncated"));
    assert!(say(&[b'x'; 100]).contains("another kind of file"));
    assert!(say(&good[..good.len() - 1]).contains("truncated"));
    assert!(say(&good[..64]).contains("truncated"));
    assert!(say(&[&good[..], b"x"].concat()).contains("longer"));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= byte;
        bytes
    };
    assert!(say(&with(8, 6)).contains("expected version 1 of the format, got 7"));
    assert!(say(&with(40, 1)).contains("first 64 bytes"));
    assert!(say(&with(70, 1)).contains("section table"));
    assert!(say(&with(good.len() - 1, 1)).contains("got a wrong checksum"));
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let shop = Shop::new();
    drop(shop.prepare().unwrap());
    let good = std::fs::read(shop.path("shop.bin")).unwrap();
    let path = shop.path("bad.bin");
    // Steps that are no multiples of anything in the format meet every kind of byte.
    for at in (0..good.len()).step_by(7).chain(0..4096.min(good.len())) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        refusal(&path);
    }
    for length in (0..good.len()).step_by(131) {
        std::fs::write(&path, &good[..length]).unwrap();
        refusal(&path);
    }
}

/// Makes all checksums right again, as docs/bin-format.md describes them.
fn seal(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    let sections = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    for entry in (0..sections).map(|s| 64 + 32 * s) {
        let (offset, length) = (number(bytes, entry + 8), number(bytes, entry + 16));
        let end = offset.saturating_add(length).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        if let Some(section) = bytes.get(offset..end) {
            let crc = crc32fast::hash(section);
            bytes[entry + 4..entry + 8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let table = 64..64 + (32 * sections).next_multiple_of(64);
    if let Some(table) = bytes.get(table) {
        let crc = crc32fast::hash(table);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Damage behind right checksums, as a faulty writer would make it: an error, or values that
    /// can be read.
    #[test]
    fn no_sealed_damage_makes_a_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local! {
            static GOOD: (Shop, Vec<u8>) = {
                let shop = Shop::new();
                drop(shop.prepare().unwrap());
                let bytes = std::fs::read(shop.path("shop.bin")).unwrap();
                (shop, bytes)
            };
        }
        GOOD.with(|(shop, good)| {
            let mut bad = good.clone();
            // The tokenizer is most of the file and other people's code; it gets its share of the
            // changes only.
            let tokenizer = 64 + 32;
            let word = |at: usize| u64::from_le_bytes(bad[at..at + 8].try_into().unwrap()) as usize;
            let (start, length) = (word(tokenizer + 8), word(tokenizer + 16));
            for (i, (place, value)) in changes.iter().enumerate() {
                let at = match i {
                    2 => place.index(bad.len()),
                    _ => {
                        let at = place.index(bad.len() - length);
                        if at < start { at } else { at + length }
                    }
                };
                if !(0..12).contains(&at) {
                    bad[at] = *value;
                }
            }
            bad[12..16].copy_from_slice(&good[12..16]);
            seal(&mut bad);
            let path = shop.put("bad.bin", &bad);
            if let Ok(data) = Dataset::open(&path) {
                read_all(&data);
            }
        });
    }
}

#[test]
fn toys_and_beauty_have_the_counts_of_table_1() {
    for (name, users, items, interactions) in
        [("toys", 19_412, 11_924, 167_597), ("beauty", 22_363, 12_101, 198_502)]
    {
        let source = shared().join("data").join(name);
        if !source.exists() {
            eprintln!("skipped: no {}", source.display());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join(format!("{name}.bin"));
        let train_tokenizer = Some(8000);
        let arguments = Prepare {
            source: source.clone(),
            train_tokenizer,
            out: out.clone(),
            ..Prepare::default()
        };
        let begin = std::time::Instant::now();
        prepare::run(&arguments, Outputs::new(true)).unwrap();
        assert!(begin.elapsed().as_secs() < 10, "prepare took {:?}", begin.elapsed());
        let data = Dataset::open(&out).unwrap();
        data.verify().unwrap();
        let found = data.statistics();
        assert_eq!((found.users, found.items, found.interactions), (users, items, interactions));
        assert_eq!(data.name(), name);
        // Half of all neighbours bear the same date: only the file's order is right (E25).
        let sequences = std::fs::read_to_string(source.join("sequences.txt")).unwrap();
        for (u, line) in sequences.lines().enumerate() {
            let user = data.user(u as u32);
            let ids: Vec<&str> = std::iter::once(user.id)
                .chain(user.items.iter().map(|&i| data.item(i).id))
                .collect();
            assert_eq!(ids.join(" "), line);
        }
        let trie = data.catalogue();
        for i in 0..data.items() as u32 {
            assert_eq!(trie.members(trie.find(data.item(i).tokens).unwrap()), [i]);
        }
    }
}
