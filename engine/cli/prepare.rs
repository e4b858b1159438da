//! `engine prepare`: raw data become one `.bin`.

use crate::base::Fault;
use crate::data::catalogue::{training_texts, Duplicates};
use crate::data::dataset::{write, Recipe, Statistics};
use crate::data::source::{read, Format, Raw, Skips};
use crate::data::vocab::{train_tokenizer, Vocab};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Raw data → one `.bin`.
///
/// Example: engine prepare data/toys --train-tokenizer 8000 --out toys.bin
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Prepare {
    /// The folder or file to read
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// How the source is laid out
    #[arg(long, value_enum, default_value_t = Layout::Folder)]
    pub format: Layout,
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
    /// Leave out up to N malformed lines, each counted and listed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: usize,
    /// Decides the stored negatives and the order of equal scores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Leave equal titles as they are: their items then share a leaf of the trie
    #[arg(long)]
    pub keep_duplicate_titles: bool,
}

/// How a source is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// items.jsonl with interactions.tsv[.gz] or sequences.txt
    #[default]
    Folder,
    /// reviews_X_5.json.gz and meta_X.json.gz of 2014
    Amazon,
    /// X.inter, X.item and X.user
    Recbole,
    /// A file of events as JSON lines, or a folder with interactions.jsonl and items.jsonl
    Jsonl,
    /// A file of events as comma-separated values, or a folder with interactions.csv and items.csv
    Csv,
}

impl Layout {
    fn reader(self) -> (Format, &'static str) {
        match self {
            Layout::Folder => (Format::Folder, "folder"),
            Layout::Amazon => (Format::Amazon, "amazon"),
            Layout::Recbole => (Format::Recbole, "recbole"),
            Layout::Jsonl => (Format::Jsonl, "jsonl"),
            Layout::Csv => (Format::Csv, "csv"),
        }
    }
}

/// Reads the source, makes or opens the tokenizer, writes the `.bin` and prints its counts.
pub fn run(args: &Prepare) -> Result<()> {
    let begin = Instant::now();
    if args.out.as_os_str().is_empty() {
        return Err(Fault::Usage
            .error("--out: expected a path for the .bin, got none; give --out FILE.bin"));
    }
    if args.tokenizer.is_none() && args.train_tokenizer.is_none() {
        return Err(Fault::Usage.error(
            "tokenizer: expected --tokenizer FILE or --train-tokenizer N, got neither; give one of \
            them",
        ));
    }
    // A tokenizer that is not there should not cost the time of reading the source.
    let given = args.tokenizer.as_deref().map(Vocab::open).transpose()?;
    let mut skips = Skips::new(args.skip_bad);
    let (format, name) = args.format.reader();
    let raw = read(&args.source, format, &mut skips)?;
    for sentence in skips.skipped() {
        eprintln!("left out: {sentence}");
    }
    let mut trained = None;
    let vocab = match (given, args.train_tokenizer) {
        (Some(vocab), _) => vocab,
        (None, size) => {
            let texts = training_texts(&raw.items);
            let json = train_tokenizer(texts.iter().map(String::as_str), size.unwrap_or_default())?;
            let path = args
                .tokenizer_out
                .clone()
                .unwrap_or_else(|| args.out.with_file_name("tokenizer.json"));
            write_whole(&path, &json)?;
            trained = Some(path);
            Vocab::from_json(&json).context("the tokenizer trained just now")?
        }
    };
    let duplicates =
        if args.keep_duplicate_titles { Duplicates::Shared } else { Duplicates::Apart };
    let recipe = Recipe { seed: args.seed, format: name.to_owned(), duplicates };
    let counts = write(&args.out, &raw, &vocab, &recipe)?;

    if counts.long_titles > 0 {
        eprintln!(
            "warning: {} titles have more than 64 tokens; they are kept whole",
            counts.long_titles
        );
    }
    if counts.named_by_id > 0 {
        eprintln!(
            "warning: {} items have no title, category, brand or text_id; their text is their id, \
            and ids may tell \
             what comes next",
            counts.named_by_id
        );
    }
    print!(
        "{}",
        table(args, &raw, &vocab, &counts, skips.skipped().len(), trained.as_deref(), begin)
    );
    Ok(())
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path)).map_err(
        |e| {
            let _ = std::fs::remove_file(&temporary);
            let shown = path.display();
            Fault::Device.error(format!(
                "{shown}: expected room to write, got: {e}; check the folder and the disk"
            ))
        },
    )
}

fn table(
    args: &Prepare,
    raw: &Raw,
    vocab: &Vocab,
    counts: &Statistics,
    skipped: usize,
    trained: Option<&Path>,
    begin: Instant,
) -> String {
    let mut rows: Vec<(&str, String)> = vec![
        ("users", counts.users.to_string()),
        ("items", counts.items.to_string()),
        ("interactions", counts.interactions.to_string()),
        ("with a rating", counts.rated.to_string()),
        ("times", raw.clock.name().to_owned()),
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
        ("tokenizer", format!("{} ids, hash {:08x}", vocab.size(), vocab.hash())),
    ];
    if let Some(path) = trained {
        rows.push(("tokenizer written to", path.display().to_string()));
    }
    if skipped > 0 {
        rows.push(("malformed lines left out", skipped.to_string()));
    }
    rows.extend(raw.notes.iter().map(|note| ("note", note.clone())));
    rows.push(("written to", args.out.display().to_string()));
    rows.push(("seconds", format!("{:.2}", begin.elapsed().as_secs_f64())));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}
