//! The flags that say how a source is read; the same for every verb that reads one.

use super::word::word;
use crate::recommender::prepare::{Allowance, Format, Reading};
use serde::{Deserialize, Serialize};

/// How a source is read.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReadingFlags {
    /// How the source is laid out [default: what its files speak for]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The column of users, where its name does not say it
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and rows")]
    pub user_column: Option<String>,
    /// The column of items
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and rows")]
    pub item_column: Option<String>,
    /// The column of times
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and rows")]
    pub time_column: Option<String>,
    /// The column of titles
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and rows")]
    pub title_column: Option<String>,
    /// The column of ratings
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and rows")]
    pub rating_column: Option<String>,
    /// What stands between columns, itself or tab, comma, semicolon, space, bar [default: what
    /// parts the header best]
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        help_heading = "Columns and rows"
    )]
    pub separator: Option<String>,
    /// How files write characters: utf-8, latin-1, windows-1252, utf-16 [default: utf-8, or what
    /// a mark says]
    #[arg(long, value_name = "NAME", help_heading = "Columns and rows")]
    pub encoding: Option<String>,
    /// Characters of a title at most; the rest is cut and counted
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Columns and rows")]
    pub max_title: usize,
    /// Leave out events with a lower rating
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        help_heading = "Columns and rows"
    )]
    pub min_rating: Option<f64>,
    /// Keep only rows of which a column has this value
    #[arg(long, value_name = "COLUMN=VALUE", help_heading = "Columns and rows")]
    pub event: Vec<String>,
    /// Leave out users and items of fewer events, until all have as many [default: 5 with amazon,
    /// otherwise 0]
    #[arg(long, value_name = "N", help_heading = "Columns and rows")]
    pub k_core: Option<usize>,
    /// Go on although no item has a title, all have the same, or nothing says the order of events
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WHAT",
        value_parser = word::<Allowance>(),
        help_heading = "Columns and rows"
    )]
    pub allow: Vec<Allowance>,
}

impl Default for ReadingFlags {
    fn default() -> ReadingFlags {
        super::settings::of_flags(&Reading::default())
    }
}
