//! A ranker's table as JSON lines: `{"item": id, "next": [{"item": id, "score": x}, …]}` for each
//! item that something follows, and at most one `{"popularity": [{"item": id, "count": n}, …]}`.

use crate::base::text::MARK;
use crate::base::{hashes, read_file, unreadable, Fault};
use crate::data::names::Name;
use crate::data::rank::Table;
use crate::data::Dataset;
use anyhow::Result;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    item: Option<Name>,
    next: Option<Vec<Next>>,
    popularity: Option<Vec<Count>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    item: Name,
    score: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    item: Name,
    count: f64,
}

/// What a file of a table holds.
pub(in crate::recommender) struct Read {
    /// The hash of its bytes.
    pub hash: String,
    /// (item, (what may follow it, its score)), in the order of the file.
    rows: Vec<(u32, (u32, f64))>,
    /// How often every item was taken, where the file says.
    counts: Option<Vec<f64>>,
}

impl Read {
    /// Reads a table about the items of `dataset`. Refuses, with the line, what is none, an item
    /// that the data lack, one that stands twice, and numbers below 0.
    pub fn of(setting: &str, path: &Path, dataset: &Dataset) -> Result<Read> {
        let setting = format!("setting `{setting}`");
        let bytes =
            read_file(path).map_err(|e| unreadable(Fault::Data, &setting, path, "a table", &e))?;
        let hash = format!("{:016x}", hashes(&[&bytes], 0)[0]);
        let mut read = Read { hash, rows: Vec::new(), counts: None };
        let mut seen = vec![false; dataset.items()];
        let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
        for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            read.line(line, dataset, &mut seen).map_err(|why: String| {
                let place = path.display();
                Fault::Data.error(format!("{setting}: {place}:{number}: {why}"))
            })?;
        }
        match read.rows.is_empty() && read.counts.is_none() {
            false => Ok(read),
            true => Err(Fault::Data.error(format!(
                "{setting}: {}: expected lines such as {{\"item\": 1, \"next\": [{{\"item\": \
                2, \"score\": 0.5}}]}}, got none; give a ranker's table",
                path.display()
            ))),
        }
    }

    fn line(&mut self, line: &[u8], dataset: &Dataset, seen: &mut [bool]) -> Result<(), String> {
        let item_of = |name: &Name| {
            let (Name::Number(id) | Name::Text(id)) = name;
            dataset.find_item(id).ok_or_else(|| {
                let data = dataset.name();
                format!("expected an item of {data}, got {name}; make the table of these data")
            })
        };
        let number = |what: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(value),
            false => Err(format!("expected a {what} of 0 or more, got {value}; mend the line")),
        };
        let parsed: Line = serde_json::from_slice(line)
            .map_err(|e| format!("expected item and next, or popularity, got: {e}; mend it"))?;
        match parsed {
            Line { item: Some(item), next: Some(next), popularity: None } => {
                let own = item_of(&item)?;
                if std::mem::replace(&mut seen[own as usize], true) {
                    return Err(format!("expected each item once, got {item} again; join the two"));
                }
                for Next { item, score } in next {
                    self.rows.push((own, (item_of(&item)?, number("score", score)?)));
                }
                Ok(())
            }
            Line { item: None, next: None, popularity: Some(all) } if self.counts.is_none() => {
                let mut counts = vec![0.0; dataset.items()];
                for Count { item, count } in all {
                    counts[item_of(&item)? as usize] = number("count", count)?;
                }
                self.counts = Some(counts);
                Ok(())
            }
            _ => Err("expected item and next, or popularity once, got other keys; mend it".into()),
        }
    }

    /// The ranker, and how often every item was taken: as the file says, otherwise `counted`.
    pub fn ranker(&self, counted: Vec<f64>) -> (Table, Vec<f64>) {
        let counts = self.counts.clone().unwrap_or(counted);
        (Table::new(&self.rows, &counts), counts)
    }
}
