//! Checking: a source is read as `prepare` would, and nothing is written.

use super::ranges::within_ranges;
use super::shop::Best;
use crate::base::Fault;
use crate::data::catalogue::{surfaces, Duplicates};
use crate::data::source::{calendar, read, suspicions, Reading, Skips};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Checking {
    /// The folder or file to read.
    pub source: PathBuf,
    /// How it is read.
    #[serde(flatten)]
    pub reading: Reading,
    /// Malformed lines that may be left out.
    pub skip_bad: usize,
}

impl Checking {
    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<()> {
        within_ranges!(self, skip_bad);
        within_ranges!(&self.reading, max_title min_rating k_core);
        Ok(())
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Names and numbers.
    pub counts: Vec<(&'static str, String)>,
    /// What was left out or changed, with counts and first examples.
    pub notes: Vec<String>,
    /// Malformed lines that were left out, a sentence each.
    pub skipped: Vec<String>,
    /// What seldom is meant so.
    pub suspicions: Vec<String>,
}

/// Reads a source and judges it. Refuses what preparing would refuse of a source.
pub fn check(args: &Checking) -> Result<Checked> {
    args.check()?;
    if args.source.as_os_str().is_empty() {
        return Err(Fault::Usage.error("source: expected a path, got none; give one"));
    }
    let mut skips = Skips::new(args.skip_bad);
    let raw = read(&args.source, &args.reading, &mut skips)?;
    let texts = surfaces(&raw.items, Duplicates::Shared);
    let known = raw.events.time.iter().copied().filter(|&time| time != i64::MIN);
    let range = match (known.clone().min(), known.max()) {
        (Some(low), Some(high)) if raw.clock.name() == "unix_time" => {
            format!("{}, {} to {}", raw.clock.name(), calendar(low), calendar(high))
        }
        _ => raw.clock.name().to_owned(),
    };
    let short = raw.events.start.windows(2).filter(|pair| pair[1] - pair[0] < 3).count();
    let rated = raw.events.rating.iter().filter(|rating| !rating.is_nan()).count();
    let counts = vec![
        ("format", raw.format.to_owned()),
        ("users", raw.users.len().to_string()),
        ("items", raw.items.len().to_string()),
        ("interactions", raw.events.len().to_string()),
        ("with a rating", rated.to_string()),
        ("times", range),
        ("users with fewer than 3 events (train only)", short.to_string()),
        ("reviews", raw.reviews.len().to_string()),
        ("items without title", texts.untitled.to_string()),
        ("items named by their id", texts.named_by_id.to_string()),
        ("items that shared a text", texts.collisions.to_string()),
    ];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let suspicions = suspicions(&raw, now as i64);
    let notes = raw.notes.into_iter().chain(Best::notes(&args.source)?).collect();
    Ok(Checked { counts, notes, skipped: skips.skipped().to_vec(), suspicions })
}
