//! The parser's view of settings that are enums below: which names it takes, and what `--help` says
//! of each.

use crate::recommender::prepare::Format;
use crate::recommender::report::{ItemRepr, Policy, Split, Users};
use clap::builder::PossibleValue;
use clap::ValueEnum;

impl ValueEnum for Policy {
    fn value_variants<'a>() -> &'a [Policy] {
        &Policy::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Policy::Strict => {
                "The first occurrence counts, and an invalid output keeps its place as a miss"
            }
            Policy::P5 => {
                "As in P5's script: invalid outputs vanish, and the last occurrence of an item \
                counts"
            }
            Policy::DropInvalid => "The first occurrence counts, and invalid outputs vanish",
        }))
    }
}

impl ValueEnum for Split {
    fn value_variants<'a>() -> &'a [Split] {
        Split::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Split::Test => "The last event; all before it are history",
            Split::Validation => "The last but one; all before it are history",
        }))
    }
}

impl ValueEnum for Users {
    fn value_variants<'a>() -> &'a [Users] {
        &Users::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Users::All => "All users of the split; those without a line are misses (E8)",
            Users::Listed => {
                "Only those with a line: for files that were made for a sample on \
                purpose"
            }
            Users::Asked => {
                "Those that the predictions' settings say were asked; those without a line are \
                misses"
            }
        }))
    }
}

impl ValueEnum for ItemRepr {
    fn value_variants<'a>() -> &'a [ItemRepr] {
        ItemRepr::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Format] {
        Format::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Format::Folder => "items.jsonl with interactions.tsv[.gz] or sequences.txt",
            Format::Amazon => "Reviews or ratings and meta_X, of 2014, 2018 or 2023",
            Format::Recbole => "X.inter, X.item and X.user",
            Format::Parquet => {
                "A file of events, or a folder with interactions.parquet and items.parquet"
            }
            Format::Movielens => "ratings.dat, u.data or ratings.csv with the files beside it",
            Format::Jsonl => {
                "A file of events as JSON lines, or a folder with interactions.jsonl and \
                 items.jsonl"
            }
            Format::Csv => {
                "A file of events with a separator between columns, or a folder with \
                 interactions.csv and items.csv"
            }
        }))
    }
}
