//! `engine check`: what is in a source, before anything is made of it.

use super::reading::ReadingFlags;
use super::say;
use super::settings::of_flags;
use crate::recommender::check::{check, Checking};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Reads a source as prepare would and writes nothing: counts, what is left out, what looks wrong.
///
/// Example: engine check data/toys
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// The folder or file to read, or a shop made up: synthetic:USERS,ITEMS[,SEED], and behind that
    /// options: events=8, people=2, noise=0.1, drift=0.05
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    pub reading: ReadingFlags,
    /// Leave out up to N malformed lines, each counted and listed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: usize,
}

/// Prints what was found.
pub fn run(args: &Check) -> Result<()> {
    let found = check(&of_flags::<Checking>(args))?;
    for sentence in &found.skipped {
        say::remark(&format!("left out: {sentence}"));
    }
    let mut rows = found.counts;
    if !found.skipped.is_empty() {
        rows.push(("malformed lines left out", found.skipped.len().to_string()));
    }
    rows.extend(found.notes.into_iter().map(|note| ("note", note)));
    rows.extend(found.suspicions.into_iter().map(|words| ("look at", words)));
    say::table(&rows);
    Ok(())
}
