//! A file as rows of named cells, whatever it is written in. Readers only turn bytes into rows;
//! what a column means, and what becomes of a row, is decided behind them.

use super::columns::{Column, Columns, Row};
use super::delimited::{Delimited, Dialect};
use super::lines::{line_error, Lines, Script, Skips};
use super::{json, parquet};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// How a file is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Writing {
    /// A JSON object or a Python dict a line.
    Json,
    /// Fields with something between them.
    Delimited(Dialect),
    /// Columns in blocks.
    Parquet,
}

/// Reads rows one at a time.
pub struct Table {
    path: PathBuf,
    columns: Columns,
    body: Body,
}

enum Body {
    Json(Lines),
    Delimited(Box<Delimited>),
    Parquet(parquet::Rows),
}

impl Table {
    /// Opens a file. `known` says how many of the names are such as are asked for, which tells one
    /// separator from another.
    pub fn open(
        path: &Path,
        writing: &Writing,
        script: Script,
        skips: &mut Skips,
        known: &dyn Fn(&[Column]) -> usize,
    ) -> Result<Table> {
        let (columns, body) = match writing {
            Writing::Json => (Columns::default(), Body::Json(Lines::open(path, script)?)),
            Writing::Delimited(dialect) => {
                let lines = Lines::open(path, script)?;
                let (columns, body) = Delimited::open(lines, dialect, skips, known)?;
                (Columns::of(columns), Body::Delimited(Box::new(body)))
            }
            Writing::Parquet => {
                let (columns, rows) = parquet::Rows::open(path)?;
                (Columns::of(columns), Body::Parquet(rows))
            }
        };
        Ok(Table { path: path.to_owned(), columns, body })
    }

    /// The columns that are known so far.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was found out about how the file is written, for the summary.
    pub fn remark(&self) -> Option<String> {
        let lines = match &self.body {
            Body::Json(lines) => lines,
            Body::Delimited(delimited) => delimited.lines(),
            Body::Parquet(_) => return None,
        };
        lines.turned().map(|encoding| {
            format!("{}: not UTF-8, read as {}", self.path.display(), encoding.name())
        })
    }

    /// How columns are parted, for messages; nothing where they are not.
    pub fn separator(&self) -> Option<&str> {
        match &self.body {
            Body::Delimited(delimited) => Some(delimited.separator()),
            _ => None,
        }
    }

    /// Hands rows to `take` with the line that each begins in, until it says that it has enough or
    /// the file ends; a row it refuses is `skips`' affair.
    pub fn each(
        &mut self,
        skips: &mut Skips,
        mut take: impl FnMut(&Columns, Row<'_>, usize) -> Result<Go, String>,
    ) -> Result<()> {
        loop {
            let (number, took) = match &mut self.body {
                Body::Json(lines) => {
                    let Some((number, line)) = lines.next(skips)? else { return Ok(()) };
                    if line.trim().is_empty() {
                        continue;
                    }
                    let row = json::row(&line, &mut self.columns);
                    (number, row.and_then(|row| take(&self.columns, row, number)))
                }
                Body::Delimited(delimited) => {
                    let mut took = None;
                    let columns = &self.columns;
                    let count = columns.list().len();
                    let Some((number, done)) = delimited.next(count, skips, |number, row| {
                        take(columns, row, number).map(|go| took = Some(go))
                    })?
                    else {
                        return Ok(());
                    };
                    (number, done.map(|()| took.unwrap_or(Go::On)))
                }
                Body::Parquet(rows) => match rows.next()? {
                    None => return Ok(()),
                    Some((number, row)) => (number, take(&self.columns, row, number)),
                },
            };
            match took {
                Ok(Go::On) => {}
                Ok(Go::Enough) => return Ok(()),
                Err(message) => skips.bad(line_error(&self.path, number, message))?,
            }
        }
    }
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// The next one, please.
    On,
    /// No more.
    Enough,
}
