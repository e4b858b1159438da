//! The setting that says which ranker is asked beside the model.

use crate::base::{choose, unreadable, Fault};
use crate::data::rank::Fitted;
use anyhow::Result;
use serde::{de, Deserialize, Deserializer, Serialize, Serializer};
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// N where nobody says: how many of the ranker's best are candidates.
pub const PRIOR_TOP: usize = 100;

/// Which ranker is asked beside the model (E29).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prior {
    /// None: the model answers alone.
    #[default]
    None,
    /// One that is fitted on the data.
    Fitted(Fitted),
    /// A table of JSON lines that somebody else fitted.
    File(PathBuf),
}

/// The word for no ranker.
const NONE: &str = "none";

impl Prior {
    /// The file that is read, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Prior::File(path) => Some(path),
            Prior::None | Prior::Fitted(_) => None,
        }
    }

    /// What it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Prior::None => NONE,
            Prior::Fitted(fitted) => fitted.name(),
            Prior::File(_) => "file",
        }
    }

    /// Refuses a word that is no ranker and no file either, which `setting` has.
    pub fn check(&self, setting: &str) -> Result<()> {
        let Some(path) = self.file() else { return Ok(()) };
        let Err(why) = path.metadata() else { return Ok(()) };
        let names = || Fitted::NAMES.iter().copied().chain([NONE]);
        // A path is one; a bare word may be a slip.
        if path.components().count() > 1 || path.extension().is_some() {
            return Err(unreadable(
                Fault::Usage,
                &format!("setting `{setting}`"),
                path,
                "a table",
                &why,
            ));
        }
        let (word, all) = (path.display().to_string(), names().collect::<Vec<_>>().join(", "));
        Err(Fault::Usage.error(format!(
            "setting `{setting}`: expected {all} or a file, got {word:?}, which does not exist; {}",
            choose(&word, names())
        )))
    }
}

impl fmt::Display for Prior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prior::File(path) => path.display().fmt(f),
            word => f.pad(word.kind()),
        }
    }
}

/// Whatever is no ranker's word names a file; whether it is there is asked when it is opened.
impl FromStr for Prior {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Prior, Infallible> {
        let fitted = Fitted::ALL.iter().copied().find(|fitted| fitted.name() == word);
        Ok(match (word, fitted) {
            (NONE, _) => Prior::None,
            (_, Some(fitted)) => Prior::Fitted(fitted),
            (path, None) => Prior::File(path.into()),
        })
    }
}

impl Serialize for Prior {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prior {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Prior, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_ranker_and_anything_else_a_file() {
        for (word, kind) in [("none", "none"), ("blend", "blend"), ("a/b.jsonl", "file")] {
            let prior: Prior = word.parse().unwrap();
            assert_eq!((prior.kind(), &*prior.to_string()), (kind, word));
            let json = serde_json::to_string(&prior).unwrap();
            assert_eq!(serde_json::from_str::<Prior>(&json).unwrap(), prior);
        }
        let refused = Prior::File("blnd".into()).check("prior").unwrap_err();
        assert_eq!(Fault::of(&refused), Some(Fault::Usage));
        assert!(refused.to_string().ends_with("nearest is blend"), "{refused}");
        let refused = Prior::File("no/where.jsonl".into()).check("prior").unwrap_err().to_string();
        assert!(refused.contains("no/where.jsonl") && refused.contains("not exist"), "{refused}");
    }
}
