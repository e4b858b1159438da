//! A small shop on disk: every kind of record once or twice, with titles that collide, nest and
//! lack.
#![allow(dead_code)] // each binary of tests uses a part of it

use engine::base::Outputs;
use engine::cli::prepare::{self, Prepare};
use engine::cli::reading::ReadingFlags;
use engine::data::Dataset;
use engine::recommender::prepare::Format;
use std::path::{Path, PathBuf};

pub const ITEMS: &str = concat!(
    r#"{"id":10,"asin":"B0001","title":"Lego City","brand":"Lego","#,
    r#""categories":[["Toys","Building"],["Toys","Gifts"]],"price":12.5}"#,
    "\n",
    r#"{"id":11,"asin":"B0002","title":"Lego City Police Boat","brand":"Lego","#,
    r#""categories":[["Toys","Building"]]}
{"id":9,"title":"Gloom","brand":"Atlas","categories":[["Toys","Card Games"]],"players":4}
{"id":12,"title":"  Gloom\u00a0","brand":"Atlas","categories":[["Toys","Card Games"]]}
{"id":13,"title":"Gloom","brand":"Other"}
{"id":"x1","title":null,"text_id":"red fire truck","s3rec_id":5}
{"id":"x2","title":" ","brand":"Ravensburger","categories":["Toys","Puzzles"]}
{"id":"x3"}
{"id":"x4","title":"A [MASK] and a <|endoftext|> in a title"}
{"id":"x5","title":"Ｗｉｄｅ Café 🙂"}
"#
);

pub const INTERACTIONS: &str = "user_id\titem_id\trating\tunix_time
alice\t10\t5\t300
alice\t9\t4\t100
alice\t11\t\t300
alice\t12\t3.5\t200
bob\t13\t1\t50
bob\tx1\t2\t50
bob\tx2\t3\t50
carol\tx5\t5\t7
";

pub const USERS: &str = r#"{"id":"alice","age":33,"city":"Kyiv"}
{"id":"nobody","age":1}
"#;

pub const REVIEWS: &str = concat!(
    r#"{"user":"alice","item":10,"rating":5,"summary":"Fun","text":"We like it.","#,
    r#""explanation":"the bricks hold","feature":"bricks","split":"train"}
{"user":"bob","item":"x1"}
"#
);

/// A model of two small layers.
pub const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 2, "hidden_size": 32,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 128}"#;

/// Another shop, of numbered items and users: `source/` for `prepare`, and config.json, in
/// `folder`. `item` gives the JSON of item i, whose id is i + 1; users buy `events` items each,
/// three apart.
pub fn numbered(
    folder: &Path,
    items: usize,
    users: usize,
    events: usize,
    item: impl Fn(usize) -> String,
) {
    let source = folder.join("source");
    std::fs::create_dir(&source).unwrap();
    let lines: String = (0..items).map(|i| item(i) + "\n").collect();
    std::fs::write(source.join("items.jsonl"), lines).unwrap();
    let bought = |user: usize| (0..events).map(move |k| (user * 7 + k * 3) % items + 1);
    let line = |user: usize| {
        let words: Vec<String> =
            std::iter::once(user + 1).chain(bought(user)).map(|n| n.to_string()).collect();
        words.join(" ") + "\n"
    };
    std::fs::write(source.join("sequences.txt"), (0..users).map(line).collect::<String>()).unwrap();
    std::fs::write(folder.join("config.json"), CONFIG).unwrap();
}

/// A folder with the shop's files.
pub struct Shop {
    pub folder: tempfile::TempDir,
}

impl Shop {
    /// All four files.
    pub fn new() -> Shop {
        let shop = Shop { folder: tempfile::tempdir().unwrap() };
        shop.put("items.jsonl", ITEMS);
        shop.put("interactions.tsv", INTERACTIONS);
        shop.put("users.jsonl", USERS);
        shop.put("reviews.jsonl", REVIEWS);
        shop
    }

    /// No file at all.
    pub fn empty() -> Shop {
        Shop { folder: tempfile::tempdir().unwrap() }
    }

    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arguments(&self) -> Prepare {
        Prepare {
            source: self.folder.path().to_owned(),
            train_tokenizer: Some(300),
            out: self.path("shop.bin"),
            ..Prepare::default()
        }
    }

    pub fn prepare(&self) -> anyhow::Result<Dataset> {
        self.prepare_as(Format::Folder)
    }

    pub fn prepare_as(&self, format: Format) -> anyhow::Result<Dataset> {
        let reading = ReadingFlags { format: Some(format), ..ReadingFlags::default() };
        let arguments = Prepare { reading, ..self.arguments() };
        prepare::run(&arguments, Outputs::new(true))?;
        Dataset::open(&arguments.out)
    }
}

/// Where the project's shared data lie.
pub fn shared() -> PathBuf {
    std::env::var_os("ENGINE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
}

/// Touches everything that can be read from a data set.
pub fn read_all(data: &Dataset) -> usize {
    let mut sum = data.hash() as usize % 2 + data.name().len();
    for i in 0..data.items() as u32 {
        let item = data.item(i);
        sum +=
            item.id.len() + item.surface.len() + item.title.map_or(0, str::len) + item.tokens.len();
        sum += data.item_attributes(i).len() + data.find_item(item.id).map_or(0, |i| i as usize);
        sum += data.tie(i) as usize % 2;
        sum += data.vocab().encode(item.surface).map_or(0, |tokens| tokens.len());
        sum += data.vocab().decode(item.tokens).map_or(0, |text| text.len());
    }
    for u in 0..data.users() as u32 {
        let user = data.user(u);
        sum += user.id.len() + user.items.len() + user.times.len() + user.ratings.len();
        sum += user.items.iter().map(|&i| data.item(i).surface.len()).sum::<usize>();
        sum += data.user_attributes(u).len() + data.find_user(user.id).map_or(0, |u| u as usize);
        sum += data.negatives(u).iter().map(|&i| data.item(i).surface.len()).sum::<usize>();
    }
    for review in data.reviews() {
        sum += data.user(review.user).id.len()
            + data.item(review.item).id.len()
            + review.text.map_or(0, str::len);
        sum += [review.summary, review.explanation, review.feature, review.split]
            .iter()
            .flatten()
            .count();
    }
    for trie in [data.catalogue(), data.pool()] {
        for node in 0..trie.nodes() as u32 {
            sum += trie.children(node).len() + trie.edges(node).len() + trie.members(node).len();
        }
        sum += trie.depths().len();
    }
    sum + data.sections().map(|(_, length)| length).sum::<usize>()
}
