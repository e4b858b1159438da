//! How a source is to be read, as people set it.

use super::delimited::separator;
use super::encoding::Encoding;
use super::names::Field;
use crate::base::named::named;
use crate::base::Fault;
use anyhow::Result;
use serde::{Deserialize, Serialize};

named! {
    /// Which reader a source needs.
    pub enum Format: "format" {
        /// A folder with items, users and events in files of their own.
        Folder = "folder",
        /// Reviews and metadata as the Amazon collections of 2014, 2018 and 2023 have them.
        Amazon = "amazon",
        /// Atomic files of RecBole: `.inter`, `.item`, `.user`.
        Recbole = "recbole",
        /// JSON objects or Python dicts, one a line.
        Jsonl = "jsonl",
        /// Fields between commas, tabs, semicolons or whatever parts the header.
        Csv = "csv",
        /// Columns in Parquet files.
        Parquet = "parquet",
        /// The files of a MovieLens set, as GroupLens publishes them.
        Movielens = "movielens",
    }
}

named! {
    /// What makes a data set useless, and may be meant so.
    pub enum Allowance: "allow" {
        /// No item has a title.
        NoTitles = "no-titles",
        /// All items have the same title.
        EqualTitles = "equal-titles",
        /// Nothing says in which order the events of a user were.
        NoTimes = "no-times",
    }
}

/// How a source is read: what it is, what its columns are called where their names do not say it,
/// and which rows count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Reading {
    /// How the source is laid out; `None` = what its files speak for.
    pub format: Option<Format>,
    /// The column of users.
    pub user_column: Option<String>,
    /// The column of items.
    pub item_column: Option<String>,
    /// The column of times.
    pub time_column: Option<String>,
    /// The column of titles.
    pub title_column: Option<String>,
    /// The column of ratings.
    pub rating_column: Option<String>,
    /// What stands between columns; `None` = what parts the header best.
    pub separator: Option<String>,
    /// How the files write their characters; `None` = UTF-8, or what a mark says.
    pub encoding: Option<String>,
    /// Characters of a title at most.
    pub max_title: usize,
    /// The least rating of an event that counts.
    pub min_rating: Option<f64>,
    /// Keep only rows of which a column has a value: COLUMN=VALUE.
    pub event: Vec<String>,
    /// Users and items have at least so many events; `None` = as the format has it.
    pub k_core: Option<usize>,
    /// What is meant so.
    pub allow: Vec<Allowance>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            format: None,
            user_column: None,
            item_column: None,
            time_column: None,
            title_column: None,
            rating_column: None,
            separator: None,
            encoding: None,
            max_title: 1000,
            min_rating: None,
            event: Vec::new(),
            k_core: None,
            allow: Vec::new(),
        }
    }
}

impl Reading {
    /// As usual, in one format.
    pub fn of(format: Format) -> Reading {
        Reading { format: Some(format), ..Reading::default() }
    }

    /// The same with its words understood. Refuses words that mean nothing.
    pub fn checked(&self) -> Result<Reading> {
        if let Some(event) = self.event.iter().find(|event| !event.contains('=')) {
            return Err(Fault::Usage.error(format!(
                "setting `event`: expected COLUMN=VALUE, got {event:?}; say which column has \
                which value"
            )));
        }
        if self.max_title == 0 {
            return Err(Fault::Usage.error(
                "setting `max-title`: expected at least 1 character, got 0; give a larger number",
            ));
        }
        self.encoding.as_deref().map(Encoding::named).transpose()?;
        Ok(Reading {
            separator: self.separator.as_deref().map(separator).transpose()?,
            ..self.clone()
        })
    }

    /// The encoding that was asked for; [`Reading::checked`] knows that it is one.
    pub(super) fn script(&self) -> Option<Encoding> {
        self.encoding.as_deref().and_then(|word| Encoding::named(word).ok())
    }

    /// Whether rows are left out by what is in them.
    pub(super) fn leaves_out(&self) -> bool {
        !self.event.is_empty() || self.min_rating.is_some()
    }

    /// The column that people named for `field`.
    pub(super) fn column(&self, field: Field) -> Option<&str> {
        match field {
            Field::User => self.user_column.as_deref(),
            Field::Item => self.item_column.as_deref(),
            Field::Time => self.time_column.as_deref(),
            Field::Title => self.title_column.as_deref(),
            Field::Rating => self.rating_column.as_deref(),
            _ => None,
        }
    }

    /// Whether columns are named by their numbers, since no header names them.
    pub(super) fn is_numbered(&self) -> bool {
        let number = |name: &Option<String>| {
            name.as_ref().is_some_and(|name| name.parse::<usize>().is_ok_and(|n| n > 0))
        };
        number(&self.user_column) && number(&self.item_column)
    }

    /// Whether something is meant so.
    pub(super) fn allows(&self, allowance: Allowance) -> bool {
        self.allow.contains(&allowance)
    }
}
