//! What the number of each setting may be: one list, read by whoever takes a setting from outside.
//! The structs of settings check themselves by it, and a face refuses by it what is typed, so that
//! the two cannot disagree.

use crate::base::{Fault, Number, Range};
use crate::data::vocab::SMALLEST_VOCABULARY;
use crate::device::MOST_THREADS;
use anyhow::Result;

/// The most that a count may be for which no memory is asked.
const COUNTED: u64 = 1_000_000_000;
/// The most that is computed at once: users, prompts, beams. A setting beyond it is a slip of the
/// hand, and sizes derived from two of them stay far below 64 bits.
const TOGETHER: u64 = 1 << 16;
/// Rows of a pass: ops number rows by 32 bits, and no device has room for so many.
const ROWS: u64 = 1 << 24;
/// Sizes of memory, which a face may let be said in units.
pub const BYTES: Range = Range::whole(1, 1 << 50);
/// Whole numbers of a settings file are TOML's: below 2⁶³.
const SEEDS: Range = Range::whole(0, i64::MAX as u64);
const SHARE: Range = Range::real(0.0, 1.0);
const DROPOUT: Range = Range::below(0.0, 1.0);
const WEIGHT: Range = Range::real(0.0, 1e6);

/// A setting and what it may be. `shop users` is the setting `users` of the synthetic shop alone.
const RANGES: &[(&str, Range)] = &[
    ("alpha", Range::above(0.0, 1e6)),
    ("attention-dropout", DROPOUT),
    ("batch", Range::whole(1, TOGETHER)),
    ("batch-rows", Range::whole(1, ROWS)),
    ("beams", Range::whole(1, TOGETHER)),
    ("behaviours", Range::whole(0, ROWS)),
    ("beta1", Range::below(0.0, 1.0)),
    ("beta2", Range::below(0.0, 1.0)),
    ("category-weight", WEIGHT),
    ("checkpoint-every", Range::whole(0, COUNTED)),
    ("clip", WEIGHT),
    ("contexts", SHARE),
    ("crops", SHARE),
    ("decision-weights", Range::above(0.0, 1e6)),
    ("diversity", WEIGHT),
    ("document-min", SHARE),
    ("document-suffix", SHARE),
    ("dropout", DROPOUT),
    ("epochs", Range::above(0.0, 1e6)),
    ("gamma", SHARE),
    ("groups", Range::whole(1, TOGETHER)),
    ("item-tokens", Range::whole(1, 1 << 10)),
    ("k-core", Range::whole(0, COUNTED)),
    ("keep-checkpoints", Range::whole(1, COUNTED)),
    ("learning-rate", Range::above(0.0, 1e3)),
    ("length-penalty", Range::real(0.0, 10.0)),
    ("levels", WEIGHT),
    ("limit", BYTES),
    ("lora-dropout", DROPOUT),
    ("mask-ratio", SHARE),
    ("max-line", BYTES),
    ("max-memory", BYTES),
    ("max-minutes", Range::real(0.0, 1e7)),
    ("max-new-tokens", Range::whole(1, TOGETHER)),
    ("max-row", Range::whole(1, ROWS)),
    ("max-title", Range::whole(1, 1 << 20)),
    ("max-wait", Range::whole(0, 3_600_000)),
    ("min-new-tokens", Range::whole(0, TOGETHER)),
    ("min-rating", Range::real(-1e9, 1e9)),
    ("mix", SHARE),
    ("pairs", SHARE),
    ("patience", Range::whole(0, COUNTED)),
    ("prior-top", Range::whole(1, TOGETHER)),
    ("rank", Range::whole(1, 1 << 12)),
    ("repetition-penalty", Range::above(0.0, 1e3)),
    ("resamples", Range::whole(1, 1_000_000)),
    ("restart", Range::whole(1, 2)),
    ("seed", SEEDS),
    ("shop users", Range::whole(1, 1_000_000)),
    ("skip-bad", Range::whole(0, COUNTED)),
    ("teacher-samples", SHARE),
    ("teacher-temperature", Range::above(0.0, 1e3)),
    ("teacher-weight", SHARE),
    ("temperature", Range::above(0.0, 1e3)),
    ("text-beams", Range::whole(1, TOGETHER)),
    ("threads", Range::whole(0, MOST_THREADS as u64)),
    ("together", Range::whole(0, MOST_THREADS as u64)),
    ("top", Range::whole(1, TOGETHER)),
    ("train-tokenizer", Range::whole(SMALLEST_VOCABULARY as u64, 1 << 20)),
    ("users", Range::whole(0, COUNTED)),
    ("validate-beams", Range::whole(1, TOGETHER)),
    ("validate-every", Range::whole(0, COUNTED)),
    ("validate-length-penalty", Range::real(0.0, 10.0)),
    ("validate-users", Range::whole(0, COUNTED)),
    ("vocab-multiple", Range::whole(1, TOGETHER)),
    ("warmup", SHARE),
    ("weight-decay", Range::real(0.0, 1e3)),
    ("windows", SHARE),
];

/// What the number of the setting `name` may be, where it is a number.
pub fn of(name: &str) -> Option<Range> {
    let at = RANGES.binary_search_by_key(&name, |(name, _)| name).ok()?;
    Some(RANGES[at].1)
}

/// Refuses a number that the setting `name` may not be.
pub(super) fn check(name: &str, number: Number) -> Result<()> {
    let range = of(name).expect("every number of a setting has its range");
    match range.holds(number) {
        true => Ok(()),
        false => {
            // What is told apart by a word before its name is one setting to those who ask.
            let name = name.rsplit(' ').next().unwrap_or(name);
            let words = format!("setting `{name}`: expected {range}, got {number}; choose another");
            Err(Fault::Usage.error(words))
        }
    }
}

/// The numbers of a setting: one, none, or several.
pub(super) trait Numbers {
    fn numbers(&self) -> Vec<Number>;
}

impl<T: Copy + Into<Number>> Numbers for T {
    fn numbers(&self) -> Vec<Number> {
        vec![(*self).into()]
    }
}

impl<T: Copy + Into<Number>> Numbers for Option<T> {
    fn numbers(&self) -> Vec<Number> {
        self.iter().map(|&number| number.into()).collect()
    }
}

impl<T: Copy + Into<Number>> Numbers for Vec<T> {
    fn numbers(&self) -> Vec<Number> {
        self.iter().map(|&number| number.into()).collect()
    }
}

/// Refuses, with the setting's name, the first of the named fields that is out of its range.
macro_rules! within_ranges {
    ($settings:expr, $($field:ident)+) => {{
        let settings = $settings;
        $(
            let name = stringify!($field).replace('_', "-");
            for number in $crate::recommender::ranges::Numbers::numbers(&settings.$field) {
                $crate::recommender::ranges::check(&name, number)?;
            }
        )+
    }};
}
pub(super) use within_ranges;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommender::create::Creation;
    use crate::recommender::job::Job;
    use crate::recommender::prepare::Preparing;
    use crate::recommender::report::Judging;
    use crate::recommender::Learning;
    use serde::{de::DeserializeOwned, Serialize};
    use serde_json::json;

    #[test]
    fn the_list_is_in_order_and_names_nothing_twice() {
        assert!(RANGES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    /// Whatever in the settings' own form takes a number is checked: beyond all ranges it is
    /// refused.
    fn every_number_is_checked<T: Serialize + DeserializeOwned + Default>(
        check: impl Fn(&T) -> Result<()>,
    ) {
        check(&T::default()).unwrap();
        let usual = serde_json::to_value(T::default()).unwrap();
        let mut numbers = 0;
        for name in usual.as_object().unwrap().keys() {
            let beyond = [json!(u32::MAX), json!(u64::MAX), json!(1e30), json!([0, 1, 1e30])];
            let taken = beyond.into_iter().filter_map(|beyond| {
                let mut settings = usual.clone();
                settings[name] = beyond;
                serde_json::from_value::<T>(settings).ok()
            });
            // A number within its range may be refused beside another.
            let refused: Vec<Result<()>> = taken.map(|settings| check(&settings)).collect();
            if !refused.is_empty() {
                let words = |error: anyhow::Error| error.to_string();
                let said: Vec<String> =
                    refused.into_iter().filter_map(Result::err).map(words).collect();
                let named = format!("setting `{name}`");
                assert!(said.iter().any(|words| words.starts_with(&named)), "{name}: {said:?}");
                numbers += 1;
            }
        }
        assert!(numbers > 0);
    }

    #[test]
    fn no_number_of_any_settings_goes_unchecked() {
        every_number_is_checked::<Learning>(Learning::check);
        every_number_is_checked::<Job>(|job| job.check(false));
        every_number_is_checked::<Judging>(Judging::check);
        every_number_is_checked::<Creation>(Creation::check);
        every_number_is_checked::<Preparing>(Preparing::check);
    }
}
