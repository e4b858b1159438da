//! Preparing: raw data become one `.bin`.

use super::ranges::within_ranges;
use super::shop::Best;
use crate::base::{write_whole, Fault, Outputs, Standing};
use crate::data::catalogue::{training_texts, Duplicates};

use crate::data::dataset::{write, Recipe};
use crate::data::source::{read, Skips};
use crate::data::vocab::{train_tokenizer, Vocab};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

pub use crate::data::catalogue::ItemRepr;
pub use crate::data::dataset::Statistics;
pub use crate::data::source::{Allowance, Format, Reading};

/// What is read, with which tokenizer, and what is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Preparing {
    /// The folder or file to read.
    pub source: PathBuf,
    /// How it is read.
    #[serde(flatten)]
    pub reading: Reading,
    /// The tokenizer.json of the model that will read the data.
    pub tokenizer: Option<PathBuf>,
    /// Train a byte-level BPE of so many ids on the catalogue instead.
    pub train_tokenizer: Option<usize>,
    /// Where the trained tokenizer goes; `None` = tokenizer.json beside the `.bin`.
    pub tokenizer_out: Option<PathBuf>,
    /// The `.bin` to write.
    pub out: PathBuf,
    /// Malformed lines that may be left out.
    pub skip_bad: usize,
    /// Decides the stored negatives, the order of equal scores and the numbers of items.
    pub seed: u64,
    /// What items are shown as.
    pub item_repr: ItemRepr,
    /// Leave equal titles as they are: their items then share a leaf of the trie.
    pub keep_duplicate_titles: bool,
}

impl Preparing {
    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, train_tokenizer skip_bad seed);
        within_ranges!(&self.reading, max_title min_rating k_core);
        Ok(())
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Counts of everything.
    pub counts: Statistics,
    /// The format that was read.
    pub format: &'static str,
    /// What the times count from.
    pub clock: &'static str,
    /// What the reader has to say.
    pub notes: Vec<String>,
    /// Malformed lines that were left out, a sentence each.
    pub skipped: Vec<String>,
    /// Where the tokenizer that was trained went.
    pub trained: Option<PathBuf>,
    /// Ids of the tokenizer.
    pub tokenizer_size: usize,
    /// Its hash.
    pub tokenizer_hash: u32,
}

/// Reads the source, makes or opens the tokenizer and writes the `.bin`. Refuses settings that
/// contradict one another, and malformed lines beyond those that may be left out.
pub fn prepare(args: &Preparing, mut outputs: Outputs) -> Result<Prepared> {
    args.check()?;
    if args.out.as_os_str().is_empty() {
        return Err(Fault::Usage.error(
            "setting `out`: expected a path for the .bin, got none; give setting `out` FILE.bin",
        ));
    }
    if args.tokenizer.is_none() && args.train_tokenizer.is_none() {
        return Err(Fault::Usage.error(
            "tokenizer: expected setting `tokenizer` FILE or setting `train-tokenizer` N, got \
            neither; \
            give one of them",
        ));
    }
    // Of what lies in a source's folder, these are never read.
    let is_read = |name: &str| !name.ends_with(".bin") && name != "tokenizer.json";
    outputs.reads_in("the source", &args.source, is_read);
    outputs.file("setting `out`", &args.out, Standing::New);
    if let Some(tokenizer) = &args.tokenizer {
        outputs.reads("setting `tokenizer`", tokenizer);
    }
    let beside = || args.out.with_file_name("tokenizer.json");
    let trained = args.train_tokenizer.filter(|_| args.tokenizer.is_none());
    let trained = trained.map(|_| args.tokenizer_out.clone().unwrap_or_else(beside));
    if let Some(path) = &trained {
        outputs.file("setting `tokenizer-out`", path, Standing::New);
    }
    let _held = outputs.claim()?;
    // A tokenizer that is not there should not cost the time of reading the source.
    let given = args.tokenizer.as_deref().map(Vocab::open).transpose()?;
    let mut skips = Skips::new(args.skip_bad);
    let raw = read(&args.source, &args.reading, &mut skips)?;
    let vocab = match (given, &trained) {
        (Some(vocab), _) => vocab,
        (None, path) => {
            let size = args.train_tokenizer.unwrap_or_default();
            let texts = training_texts(&raw.items, args.item_repr, args.seed);
            let json = train_tokenizer(texts, size)?;
            if let Some(path) = path {
                write_whole(path, &json)?;
            }
            Vocab::from_json(&json).context("the tokenizer trained just now")?
        }
    };
    let duplicates =
        if args.keep_duplicate_titles { Duplicates::Shared } else { Duplicates::Apart };
    let (seed, repr) = (args.seed, args.item_repr);
    let recipe = Recipe { seed, format: raw.format.to_owned(), repr, duplicates };
    let (counts, notes) = write(&args.out, &raw, &vocab, &recipe)?;
    let best = Best::notes(&args.source)?;

    Ok(Prepared {
        counts,
        format: raw.format,
        clock: raw.clock.name(),
        notes: raw.notes.into_iter().chain(notes).chain(best).collect(),
        skipped: skips.skipped().iter().map(ToString::to_string).collect(),
        trained,
        tokenizer_size: vocab.size(),
        tokenizer_hash: vocab.hash(),
    })
}
