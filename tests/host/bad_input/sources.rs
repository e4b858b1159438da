//! Readers of raw data: JSON lines, CSV, TSV, sequences, RecBole's files, Amazon's dicts.

use super::{cases, changed, changes, sound, Change};
use crate::shop;
use engine::base::{Fault, Outputs};
use engine::cli::prepare::{self, Prepare};
use engine::cli::reading::ReadingFlags;
use engine::data::source::{read, Format, Reading, Skips};
use engine::data::Dataset;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// A source that is read: its format, and its files.
struct Source {
    format: Format,
    files: Vec<(&'static str, String)>,
}

fn sources() -> Vec<Source> {
    let jsonl: String = shop::INTERACTIONS
        .lines()
        .skip(1)
        .map(|line| {
            let part: Vec<&str> = line.split('\t').collect();
            format!(
                "{{\"user_id\":\"{}\",\"item_id\":\"{}\",\"rating\":{},\"unix_time\":{},\
                \"title\":\"Thing {}\"}}\n",
                part[0],
                part[1],
                if part[2].is_empty() { "null" } else { part[2] },
                part[3],
                part[1]
            )
        })
        .collect();
    let csv = "user_id,item_id,rating,timestamp\na,1,5,10\na,2,,11\n\"b \
        \"\"x\"\"\",1,3.5,12\nb,\"2\",1,13\na,3,4,14\n";
    let items_csv = "id,title,brand,price\n1,\"A, B\",C,1.5\n2,\"line\nbreak\",,\n3,Zebra,,7\n";
    let inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n\
        u1\t1\t5\t100\nu1\t2\t\t90\nu2\t1\t3\t1e3\nu2\t3\t2\t5\n";
    let item = "item_id:token\ttitle:token_seq\tcategories:token_seq\tprice:float\n1\tBlue \
        Kite\tToys, Kites\t3\n2\tRed Kite\t\t\n3\tDrum\t['Toys', 'Music']\t9\n";
    let mut reviews = String::new();
    let mut meta = String::new();
    for user in 0..6 {
        for item in 0..6 {
            reviews += &format!(
                "{{'reviewerID': 'U{user}', 'asin': 'I{item}', 'reviewerName': 'N \"{user}\"', \
                'overall': {}.0, 'summary': \"It's\", 'reviewText': 'text \\' \\u00e9', \
                'unixReviewTime': {}, 'helpful': [0, 1]}}\n",
                1 + (user + item) % 5,
                1000 + item * 7 + user
            );
        }
        meta += &format!(
            "{{'asin': 'I{user}', 'title': \"Thing {user} &amp; more\", 'categories': [['Toys', \
            'Sub']], 'price': 3.5, 'salesRank': {{'Toys': 7}}, 'related': None}}\n"
        );
    }
    vec![
        Source {
            format: Format::Folder,
            files: vec![
                ("items.jsonl", shop::ITEMS.into()),
                ("interactions.tsv", shop::INTERACTIONS.into()),
                ("users.jsonl", shop::USERS.into()),
                ("reviews.jsonl", shop::REVIEWS.into()),
            ],
        },
        Source {
            format: Format::Folder,
            files: vec![
                ("items.jsonl", "{\"id\":1,\"title\":\"A\"}\n{\"id\":2,\"title\":\"B\"}\n".into()),
                ("sequences.txt", "7 1 2 1\n8 2 2\n".into()),
            ],
        },
        Source { format: Format::Jsonl, files: vec![("events.jsonl", jsonl)] },
        Source {
            format: Format::Csv,
            files: vec![("interactions.csv", csv.into()), ("items.csv", items_csv.into())],
        },
        Source {
            format: Format::Recbole,
            files: vec![("x.inter", inter.into()), ("x.item", item.into())],
        },
        Source {
            format: Format::Amazon,
            files: vec![("reviews_X_5.json", reviews), ("meta_X.json", meta)],
        },
    ]
}

impl Source {
    fn reading(&self) -> Reading {
        Reading::of(self.format)
    }

    fn flags(&self) -> ReadingFlags {
        ReadingFlags { format: Some(self.format), ..ReadingFlags::default() }
    }

    fn put(&self, folder: &Path, spoilt: usize, changes: &[Change]) {
        for (i, (name, text)) in self.files.iter().enumerate() {
            let bytes = if i == spoilt {
                changed(text.as_bytes(), changes)
            } else {
                text.clone().into_bytes()
            };
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    /// What is given to the reader: a folder, or the only file of events.
    fn path(&self, folder: &Path) -> std::path::PathBuf {
        if self.format == Format::Jsonl {
            folder.join(self.files[0].0)
        } else {
            folder.to_owned()
        }
    }
}

#[test]
fn the_sources_are_read_before_they_are_spoilt() {
    for source in sources() {
        let folder = tempfile::tempdir().unwrap();
        source.put(folder.path(), usize::MAX, &[]);
        let raw =
            read(&source.path(folder.path()), &source.reading(), &mut Skips::default()).unwrap();
        assert!(raw.items.len() >= 2 && raw.users.len() >= 2, "{:?}", source.format);
    }
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn no_damage_makes_a_reader_panic(
        which in 0usize..6,
        spoilt in any::<prop::sample::Index>(),
        changes in changes(),
        skip in prop_oneof![Just(0usize), Just(3), Just(10_000)],
    ) {
        let source = &sources()[which];
        let folder = tempfile::tempdir().unwrap();
        source.put(folder.path(), spoilt.index(source.files.len()), &changes);
        let mut skips = Skips::new(skip);
        if let Err(error) = read(&source.path(folder.path()), &source.reading(), &mut skips) {
            sound(&error, Fault::Data)?;
            let folder = folder.path().to_string_lossy();
            prop_assert!(format!("{error:#}").contains(&*folder), "{:#}", error);
        }
        for sentence in skips.skipped() {
            prop_assert!(!sentence.contains('\n'), "{:?}", sentence);
        }
    }
}

proptest! {
    #![proptest_config(cases(50))]

    /// What a reader lets through becomes a `.bin` that is sound.
    #[test]
    fn what_is_read_can_be_written(
        which in 0usize..6,
        spoilt in any::<prop::sample::Index>(),
        changes in changes(),
    ) {
        thread_local! {
            static TOKENIZER: tempfile::TempDir = {
                let shop = shop::Shop::new();
                drop(shop.prepare().unwrap());
                shop.folder
            };
        }
        let source = &sources()[which];
        let folder = tempfile::tempdir().unwrap();
        source.put(folder.path(), spoilt.index(source.files.len()), &changes);
        let arguments = TOKENIZER.with(|tokenizer| Prepare {
            source: source.path(folder.path()),
            reading: source.flags(),
            tokenizer: Some(tokenizer.path().join("tokenizer.json")),
            out: folder.path().join("x.bin"),
            skip_bad: 10_000,
            ..Prepare::default()
        });
        match prepare::run(&arguments, Outputs::new(true)) {
            Ok(()) => {
                let data = Dataset::open(&arguments.out).unwrap();
                data.verify().unwrap();
                shop::read_all(&data);
            }
            Err(error) => {
                sound(&error, Fault::Data)?;
                prop_assert!(!arguments.out.exists());
            }
        }
    }
}

/// Every malformed line is named by its number; `--skip-bad` leaves out as many as it says and no
/// more.
#[test]
fn malformed_lines_are_counted_and_named() {
    let shop = shop::Shop::new();
    let good: Vec<&str> = shop::ITEMS.lines().collect();
    let mut bad = good.clone();
    bad.insert(1, "{\"id\": ");
    bad.insert(4, "[1, 2]");
    bad.insert(9, "{\"title\": \"no id\"}");
    shop.put("items.jsonl", bad.join("\n") + "\n");
    let events = shop::INTERACTIONS
        .replace("bob\tx1\t2\t50", "bob\tx1\t2\t50\nbob\tnowhere\t2\t51\nbob\tx1");
    shop.put("interactions.tsv", events);
    let run = |skip_bad: usize| {
        let mut skips = Skips::new(skip_bad);
        let result = read(shop.folder.path(), &Reading::of(Format::Folder), &mut skips);
        (result, skips)
    };
    for (skip_bad, place) in [
        (0, "items.jsonl:2:"),
        (1, "items.jsonl:5:"),
        (2, "items.jsonl:10:"),
        (3, "interactions.tsv:8:"),
        (4, "interactions.tsv:9:"),
    ] {
        let error = run(skip_bad).0.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        assert!(format!("{error:#}").contains(place), "{skip_bad}: {error:#}");
    }
    let (raw, skips) = run(5);
    let raw = raw.unwrap();
    assert_eq!((raw.items.len(), skips.skipped().len()), (good.len(), 5));
    assert_eq!(
        raw.events.len(),
        shop::INTERACTIONS.lines().count() - 1,
        "nothing but the bad lines is left out"
    );
    // The whole verb says so, too.
    let arguments = Prepare { skip_bad: 5, ..shop.arguments() };
    prepare::run(&arguments, Outputs::new(true)).unwrap();
    assert_eq!(Dataset::open(&arguments.out).unwrap().items(), good.len());
}
