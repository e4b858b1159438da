//! How a free text is written, and what comes of it.

use crate::base::Fault;
use crate::data::Intra;
use anyhow::Result;

/// What is fixed for a generation.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Numbers the produced tokens.
    pub intra: &'a Intra<'a>,
    /// `[START]` and `[END]`.
    pub start: u32,
    /// Ends an answer.
    pub end: u32,
    /// Special tokens: each ends an answer as `[END]` does, and none is ever fed back (R33).
    pub specials: &'a [u32],
    /// Tokens of one answer at most, `[END]` not counted.
    pub tokens: usize,
}

impl Limits<'_> {
    /// Whether a token ends an answer.
    pub fn is_end(&self, token: u32) -> bool {
        token == self.end || self.specials.contains(&token)
    }

    /// All tokens that end an answer.
    pub fn ends(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.end).chain(self.specials.iter().copied())
    }
}

/// How the answer for a mask is searched: with one beam it is written greedily.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Writing {
    /// W: beams of all groups together.
    pub beams: usize,
    /// Groups of equally many beams, which take turns at every step.
    pub groups: usize,
    /// lambda: what an extension loses for each beam of an earlier group that was extended by the
    /// same token in this step (Hamming diversity). It orders a group's extensions and is no part
    /// of a score.
    pub diversity: f64,
    /// Answers that are returned at most.
    pub returned: usize,
    /// Tokens of an answer at least, the one that ends it not counted.
    pub min_tokens: usize,
    /// alpha of sum/length^alpha.
    pub length_penalty: f64,
    /// What the logit of a token that the answer holds already is divided by where it is above 0,
    /// and multiplied by elsewhere, before the softmax. Below 1 repetition is rewarded.
    pub repetition_penalty: f32,
    /// Whether a group is done once as many answers as it has beams have ended; otherwise when none
    /// that could still end would be returned.
    pub early_stopping: bool,
}

impl Writing {
    /// The likeliest token, one after another.
    pub const GREEDY: Writing = Writing {
        beams: 1,
        groups: 1,
        diversity: 0.0,
        returned: 1,
        min_tokens: 0,
        length_penalty: 1.0,
        repetition_penalty: 1.0,
        early_stopping: false,
    };

    /// Beams of a group.
    pub fn width(&self) -> usize {
        self.beams / self.groups
    }

    /// Refuses what cannot be searched; `tokens` is what an answer has at most.
    pub fn check(&self, tokens: usize) -> Result<()> {
        let refuse = |name: &str, expected: String, got: String| {
            Err(Fault::Usage
                .error(format!("setting `{name}`: expected {expected}, got {got}; change it")))
        };
        let Writing { beams, groups, returned, min_tokens, .. } = *self;
        if beams == 0 {
            return refuse("beams", "1 or more".into(), "0".into());
        }
        if groups == 0 || beams % groups != 0 {
            return refuse("groups", format!("a divisor of the {beams} beams"), groups.to_string());
        }
        if returned == 0 || returned > beams {
            let expected = format!("from 1 to the {beams} beams");
            return refuse("returned", expected, returned.to_string());
        }
        if min_tokens > tokens {
            let expected = format!("at most the {tokens} tokens of an answer");
            return refuse("min-tokens", expected, min_tokens.to_string());
        }
        let numbers = [("diversity", self.diversity), ("length-penalty", self.length_penalty)];
        for (name, value) in numbers {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(name, "a number from 0 on".into(), value.to_string());
            }
        }
        let penalty = self.repetition_penalty;
        if !(penalty > 0.0 && penalty.is_finite()) {
            return refuse("repetition-penalty", "a number above 0".into(), penalty.to_string());
        }
        Ok(())
    }
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The produced tokens, without `[END]`.
    pub tokens: Vec<u32>,
    /// Intra ids with which they were fed back.
    pub ids: Vec<u32>,
    /// One a token, in nats, after penalties; one more, of what ended it, where something did.
    pub log_probs: Vec<f32>,
    /// Sum of log-probabilities / length^alpha, the length being their number.
    pub score: f64,
    /// Whether `[END]` (or another special token) was produced, rather than the limit reached.
    pub ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_searched_is_refused_by_name() {
        let usual = Writing { beams: 12, groups: 3, min_tokens: 10, ..Writing::GREEDY };
        usual.check(10).unwrap();
        let wrong = [
            ("beams", Writing { beams: 0, ..usual }),
            ("groups", Writing { groups: 0, ..usual }),
            ("groups", Writing { groups: 5, ..usual }),
            ("returned", Writing { returned: 0, ..usual }),
            ("returned", Writing { returned: 13, ..usual }),
            ("min-tokens", Writing { min_tokens: 11, ..usual }),
            ("diversity", Writing { diversity: -1.0, ..usual }),
            ("length-penalty", Writing { length_penalty: f64::NAN, ..usual }),
            ("repetition-penalty", Writing { repetition_penalty: 0.0, ..usual }),
        ];
        for (name, writing) in wrong {
            let error = writing.check(10).unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Usage));
            assert!(error.to_string().starts_with(&format!("setting `{name}`: expected ")));
        }
    }
}
