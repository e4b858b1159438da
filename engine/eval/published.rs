//! Figures that others have published, to stand beside ours: one data file, and what of it is
//! arithmetically possible (E27).

use super::law::{self, Broken};
use super::predictions::Asked;
use crate::base::named::named;
use crate::base::Fault;
use crate::data::Family;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

named! {
    /// Whose figures stand beside ours.
    pub enum Rivals: "rivals" {
        /// Nobody's.
        None = "none",
        /// Those of the paper and of the rivals that it prints.
        Published = "published",
    }
}

named! {
    /// A data set with published figures.
    pub enum Set: "rivals-of" {
        /// Amazon's toys and games of 2014, 5-core.
        Toys = "toys",
        /// Amazon's beauty of 2014, 5-core.
        Beauty = "beauty",
        /// Amazon's sports and outdoors of 2014, 5-core.
        Sports = "sports",
        /// The paper's own, not public: the form of its tables.
        Alipay = "alipay",
    }
}

/// Half a unit of the last digit, summed over the figures that a law speaks of.
const TOLERANCE: f64 = 1e-4;

/// What is published, by table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where the figures are from.
    pub source: String,
    #[serde(rename = "set")]
    sets: Vec<Known>,
    /// The tables, in the order of the source.
    #[serde(rename = "table")]
    pub tables: Vec<Layout>,
}

#[derive(Clone, Debug, Deserialize)]
struct Known {
    name: Set,
    title: String,
    #[serde(flatten)]
    counts: Option<Counts>,
}

/// How large a data set is: by this it is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Users with a history.
    pub users: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// Events of all users.
    pub interactions: usize,
}

/// A table of the source: which answers it is about, its columns and its rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// As the source numbers it.
    pub number: String,
    /// What it is about.
    pub title: String,
    task: Family,
    asked: Vec<Asked>,
    #[serde(default)]
    templates: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    /// Metrics in the order of the columns.
    pub metrics: Vec<String>,
    /// What a reader should know before comparing.
    pub note: String,
    #[serde(rename = "row")]
    rows: Vec<Line>,
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    method: String,
    template: Option<String>,
    /// By data set; nan where a figure is not at hand.
    #[serde(flatten)]
    figures: BTreeMap<String, Vec<f64>>,
}

/// A published row of one data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who, and by which template.
    pub name: String,
    /// As long as the metrics of the table; none where a figure is not at hand.
    pub figures: Vec<Option<f64>>,
    /// The laws that the figures break.
    pub broken: Vec<Broken>,
}

impl Row {
    /// Whether the figure of a metric takes part in breaking a law.
    pub fn is_impossible(&self, metric: &str) -> bool {
        self.broken.iter().any(|broken| broken.metrics.contains(&metric))
    }
}

/// Which figures a report has beside its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// Of which data set.
    pub set: Set,
    /// What people call it.
    pub title: String,
    /// Where they are from.
    pub source: String,
    /// How large the data set is on which they were measured, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { users, items, interactions } = self;
        write!(f, "{users} users, {items} items and {interactions} interactions")
    }
}

impl Published {
    /// What comes with the engine.
    pub fn builtin() -> Published {
        toml::from_str(include_str!("published.toml")).expect("the built-in figures are valid")
    }

    /// The figures of the set that `named` names, or else of that which has these counts. Refuses
    /// data that are none of the known ones.
    pub fn beside(&self, named: Option<Set>, data: &str, counts: Counts) -> Result<Beside> {
        let is = |known: &&Known| match named {
            Some(set) => known.name == set,
            None => known.counts == Some(counts),
        };
        let Some(known) = self.sets.iter().find(is) else {
            let all = self.sets.iter().filter_map(|known| Some((known.name, known.counts?)));
            let all: Vec<String> = all.map(|(set, counts)| format!("{counts} ({set})")).collect();
            return Err(Fault::Usage.error(format!(
                "setting `rivals`: {data}: expected {}, got {counts}; name the set by setting \
                `rivals-of`",
                all.join(" or ")
            )));
        };
        let Known { name: set, title, counts } = known.clone();
        Ok(Beside { set, title, source: self.source.clone(), counts })
    }

    /// The table in which answers of a task and template stand: one with figures of `set`, where a
    /// set is asked about.
    pub fn layout(
        &self,
        task: Family,
        asked: Asked,
        template: &str,
        set: Option<Set>,
    ) -> Option<&Layout> {
        let names = |list: &[String]| list.iter().any(|name| name == template);
        let fits = |table: &&Layout| {
            table.task == task
                && table.asked.contains(&asked)
                && (table.templates.is_empty() || names(&table.templates))
                && !names(&table.except)
                && set.is_none_or(|set| table.has(set))
        };
        self.tables.iter().find(fits)
    }
}

impl Layout {
    fn has(&self, set: Set) -> bool {
        self.rows.iter().any(|row| row.figures.contains_key(set.name()))
    }

    /// The published rows of a data set, each held against the laws.
    pub fn rows(&self, set: Set) -> Vec<Row> {
        let row = |line: &Line| {
            let figures = line.figures.get(set.name())?;
            let figures: Vec<Option<f64>> =
                figures.iter().map(|figure| Some(*figure).filter(|f| !f.is_nan())).collect();
            let value = |name: &str| {
                let place = self.metrics.iter().position(|metric| metric == name)?;
                figures.get(place).copied().flatten()
            };
            let broken = law::of_known(value, TOLERANCE);
            let template = line.template.as_ref().map(|template| format!(" {template}"));
            let name = format!("{}{}", line.method, template.unwrap_or_default());
            Some(Row { name, figures, broken })
        };
        self.rows.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row that the laws refuse, as "table set row": those that are known to be misprints
    /// and no others.
    #[test]
    fn what_is_impossible_is_what_is_known_to_be() {
        let published = Published::builtin();
        let mut found = Vec::new();
        for table in &published.tables {
            for &set in Set::ALL {
                let broken = table.rows(set).into_iter().filter(|row| !row.broken.is_empty());
                found.extend(broken.map(|row| format!("{} {set} {}", table.number, row.name)));
            }
        }
        found.sort_unstable();
        let known = [
            "Table 4 beauty RecSysLLM 2-3",
            "Table 4 sports RecSysLLM 2-13",
            "Table 4 sports RecSysLLM 2-3",
            "Table 4 toys P5 2-13",
            "Table 6 beauty RecSysLLM 4-1",
            "Table 7 beauty RecSysLLM 5-8",
            "Table 7 sports RecSysLLM 5-5",
            "Table 7 sports RecSysLLM 5-8",
            "Table 7 toys RecSysLLM 5-8",
            "Table 8 alipay ChatGLM+SFT",
            "Table 8 alipay RecSysLLM",
            "Table 9 alipay ChatGLM+SFT",
            "Table 9 alipay RecSysLLM",
        ];
        assert_eq!(found, known);
    }

    #[test]
    fn cells_that_take_part_in_a_broken_law_are_known() {
        let published = Published::builtin();
        let table = |number: &str| published.tables.iter().find(|t| t.number == number).unwrap();
        let row = |number: &str, set: Set, name: &str| {
            table(number).rows(set).into_iter().find(|row| row.name == name).unwrap()
        };
        let slip = row("Table 7", Set::Beauty, "RecSysLLM 5-8");
        assert!(slip.broken.iter().any(|b| b.words == "HR@1 <= HR@5: 0.607200 > 0.150200"));
        let summary = row("Table 6", Set::Beauty, "RecSysLLM 4-1");
        let marked: Vec<bool> =
            ["bleu-2", "rouge-1", "rouge-2", "rouge-l"].map(|m| summary.is_impossible(m)).into();
        assert_eq!(marked, [false, true, false, true]);
        // HR@1 is no column of this table, and is not held against it.
        let rise = row("Table 4", Set::Toys, "P5 2-13");
        assert_eq!(rise.broken.len(), 1);
        assert_eq!(rise.broken[0].metrics, ["hr@5", "ndcg@5", "hr@10", "ndcg@10"]);
    }

    #[test]
    fn every_row_is_as_wide_as_its_table_and_of_known_sets() {
        let published = Published::builtin();
        let known = |set: &Set| published.sets.iter().filter(|known| known.name == *set).count();
        assert!(Set::ALL.iter().all(|set| known(set) == 1));
        for table in &published.tables {
            for line in &table.rows {
                for (set, figures) in &line.figures {
                    assert!(set.parse::<Set>().is_ok(), "{}: {set}", table.number);
                    assert_eq!(figures.len(), table.metrics.len(), "{} {line:?}", table.number);
                    assert!(figures.iter().any(|figure| !figure.is_nan()), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn a_set_is_recognised_by_its_counts_or_named() {
        let published = Published::builtin();
        let toys = Counts { users: 19_412, items: 11_924, interactions: 167_597 };
        assert_eq!(published.beside(None, "x.bin", toys).unwrap().set, Set::Toys);
        let other = Counts { items: 11_923, ..toys };
        assert_eq!(published.beside(Some(Set::Beauty), "x", other).unwrap().title, "Beauty");
        let refused = published.beside(None, "x.bin", other).unwrap_err();
        assert_eq!(Fault::of(&refused), Some(Fault::Usage));
        let words = refused.to_string();
        assert!(words.starts_with("setting `rivals`: x.bin: expected 35598 users"), "{words}");
        assert!(words.contains("got 19412 users, 11923 items and 167597 interactions"), "{words}");
    }
}
