//! Families as a setting: which, with which weights, and what the weights count.

use crate::base::named::named;
use crate::base::Fault;
use crate::data::Family;
use anyhow::Result;
use serde::{de, Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

named! {
    /// What the weights of families count (an epoch is what they add up to).
    pub enum EpochsBy: "epochs-by" {
        /// Examples of each user or record.
        Records = "records",
        /// Examples as P5 counts them: of a user 20 sequential and 15 direct ones, of a record 1;
        /// times the weight.
        P5 = "p5",
        /// Shares of the tokens of an epoch, which has as many as every user and record once.
        Tokens = "tokens",
    }
}

/// A family of a mix and its weight: `rating=1`, or `rating` for the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The family.
    pub family: Family,
    /// Above 0.
    pub weight: f64,
}

/// The weight of a family at most.
const HEAVIEST: f64 = 1000.0;

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Share> {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let family = name.trim().parse()?;
        let weight = weight.trim().parse().ok().filter(|&w| w > 0.0 && w <= HEAVIEST);
        let weight = weight.ok_or_else(|| {
            Fault::Usage.error(format!(
                "setting `families`: {text}: expected FAMILY=WEIGHT with a weight above 0 and at \
                most {HEAVIEST}, got another; such as rating=1,sequential=2"
            ))
        })?;
        Ok(Share { family, weight })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.family, self.weight)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Share, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
