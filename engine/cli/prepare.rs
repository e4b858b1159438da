//! `engine prepare`: flags become settings, what was prepared becomes a table.

use super::flags::Overwriting;
use super::reading::ReadingFlags;
use super::say;
use super::settings::of_flags;
use crate::base::Outputs;
use crate::recommender::prepare::{prepare, ItemRepr, Prepared, Preparing};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Raw data → one `.bin`.
///
/// Example: engine prepare data/toys --train-tokenizer 8000 --out toys.bin
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prepare {
    /// The folder or file to read, or a shop made up: synthetic:USERS,ITEMS[,SEED], and behind that
    /// options: events=8, people=2, noise=0.1, drift=0.05
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    pub reading: ReadingFlags,
    /// The tokenizer.json of the model that will read the data
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Train a byte-level BPE of N ids on the catalogue instead
    #[arg(long, value_name = "N", conflicts_with = "tokenizer")]
    pub train_tokenizer: Option<usize>,
    /// Where the trained tokenizer goes [default: tokenizer.json beside the .bin]
    #[arg(long, value_name = "FILE", requires = "train_tokenizer")]
    pub tokenizer_out: Option<PathBuf>,
    /// The .bin to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// Leave out up to N malformed lines, each counted and listed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: usize,
    /// Decides the stored negatives, the order of equal scores and the numbers of --item-repr id
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What items are shown as: titles, or numbers that say nothing ("item 4711")
    #[arg(long, value_enum, default_value_t)]
    pub item_repr: ItemRepr,
    /// Leave equal titles as they are: their items then share a leaf of the trie
    #[arg(long)]
    pub keep_duplicate_titles: bool,
}

/// Writes the `.bin` and prints its counts.
pub fn run(args: &Prepare, outputs: Outputs) -> Result<()> {
    let begin = Instant::now();
    let prepared = prepare(&of_flags::<Preparing>(args), outputs)?;
    for sentence in &prepared.skipped {
        say::remark(&format!("left out: {sentence}"));
    }
    let counts = &prepared.counts;
    if counts.long_titles > 0 {
        let titles = counts.long_titles;
        say::warning(format!("{titles} titles have more than 64 tokens; they are kept whole"));
    }
    if counts.named_by_id > 0 {
        let items = counts.named_by_id;
        say::warning(format!(
            "{items} items have no title, category, brand or text_id; their text is their id, and \
             ids may tell what comes next"
        ));
    }
    say::table(&rows(&args.out, &prepared, begin));
    Ok(())
}

fn rows(out: &Path, prepared: &Prepared, begin: Instant) -> Vec<(&'static str, String)> {
    let counts = &prepared.counts;
    let mut rows: Vec<(&'static str, String)> = vec![
        ("format", prepared.format.to_owned()),
        ("users", counts.users.to_string()),
        ("items", counts.items.to_string()),
        ("interactions", counts.interactions.to_string()),
        ("with a rating", counts.rated.to_string()),
        ("times", prepared.clock.to_owned()),
        ("users with fewer than 3 events (train only)", counts.short_users.to_string()),
        ("reviews", counts.reviews.to_string()),
        ("items without title", counts.untitled.to_string()),
        ("items named by their id", counts.named_by_id.to_string()),
        ("items that shared a text", counts.collisions.to_string()),
        ("titles of more than 64 tokens", counts.long_titles.to_string()),
        (
            "tokens per title: mean / median / 95 % / max",
            format!(
                "{:.2} / {} / {} / {}",
                counts.tokens_mean, counts.tokens_median, counts.tokens_p95, counts.tokens_max
            ),
        ),
        ("catalogue trie nodes", counts.catalogue_nodes.to_string()),
        ("entities in the pool", counts.entities.to_string()),
        ("pool trie nodes", counts.pool_nodes.to_string()),
        (
            "negatives per user: fewest / most",
            format!("{} / {}", counts.negatives_min, counts.negatives_max),
        ),
        (
            "tokenizer",
            format!("{} ids, hash {:08x}", prepared.tokenizer_size, prepared.tokenizer_hash),
        ),
    ];
    if let Some(path) = &prepared.trained {
        rows.push(("tokenizer written to", path.display().to_string()));
    }
    if !prepared.skipped.is_empty() {
        rows.push(("malformed lines left out", prepared.skipped.len().to_string()));
    }
    rows.extend(prepared.notes.iter().map(|note| ("note", note.clone())));
    rows.push(("written to", out.display().to_string()));
    rows.push(("seconds", format!("{:.2}", begin.elapsed().as_secs_f64())));
    rows
}
