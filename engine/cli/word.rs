//! Values of flags: words that an enum below declares, numbers and sizes in the ranges of their
//! settings.

use crate::base::{Number, Range};
use crate::recommender::families::Share;
use crate::recommender::ranges;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};
use std::any::TypeId;
use std::str::FromStr;

/// An enum of the floors below whose values have words.
pub trait Words: FromStr<Err = anyhow::Error> + Clone + Send + Sync + 'static {
    /// All of them.
    const NAMES: &'static [&'static str];
}

/// Takes the words of `T` and no others; a wrong one is answered with all.
pub fn word<T: Words>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::NAMES).try_map(|name| name.parse::<T>())
}

macro_rules! words {
    ($($name:path)*) => {
        $(impl Words for $name {
            const NAMES: &'static [&'static str] = <$name>::NAMES;
        })*
    };
}

mod listed {
    use super::Words;
    use crate::recommender::budget::Keeps;
    use crate::recommender::create::Embeddings;
    use crate::recommender::families::EpochsBy;
    use crate::recommender::learning::{MaskUnits, Objective, Order, Parts, TrainIds, Tuned};
    use crate::recommender::prepare::Allowance;
    use crate::recommender::prior::Fusion;
    use crate::recommender::report::{Rivals, Set};
    use crate::recommender::rules::{Frame, Match, PartA, PartB, PlainRun, Sampling, Score};
    use crate::recommender::settings::{Constrain, Mode, Segment, Way};
    use crate::recommender::source::{Curve, Storage};
    use crate::recommender::{Family, Listing, RatingTargets, Split, SplitPolicy};

    words!(Family Constrain Mode Segment Keeps Order Tuned Curve Storage);
    words!(Match PartA PartB PlainRun Sampling MaskUnits TrainIds Split Allowance);
    words!(Fusion Rivals Set EpochsBy Frame Listing RatingTargets SplitPolicy);
    words!(Objective Score Parts Embeddings Way);
}

/// A family and its weight.
pub fn share(text: &str) -> Result<Share, String> {
    text.parse().map_err(|error: anyhow::Error| error.to_string())
}

/// The same command line, in which every number of every verb is what the setting of its name may
/// be.
pub fn ranged(command: Command) -> Command {
    let verb = command.get_name().to_owned();
    command.mut_args(|argument| ranged_argument(&verb, argument)).mut_subcommands(ranged)
}

fn ranged_argument(verb: &str, argument: Arg) -> Arg {
    // A demo makes a shop: its users are not those of a data set.
    let prefix = if verb == "demo" { "shop " } else { "" };
    let name = argument.get_long().unwrap_or_default();
    let range = ranges::of(&format!("{prefix}{name}")).or_else(|| ranges::of(name));
    let Some(range) = range else { return argument };
    if range == ranges::BYTES {
        return argument.value_parser(move |text: &str| match size(text)? {
            bytes if range.holds(bytes) => Ok(bytes),
            _ => Err(format!("expected {range}, in bytes, got {text}")),
        });
    }
    let kind = argument.get_value_parser().type_id();
    macro_rules! of_kind {
        ($($number:ty)*) => {
            $(if kind == TypeId::of::<$number>() {
                return argument.value_parser(move |text: &str| number::<$number>(text, range));
            })*
        };
    }
    of_kind!(u32 u64 usize f32 f64);
    argument
}

fn number<T: FromStr + Copy + Into<Number>>(text: &str, range: Range) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if range.holds(number) => Ok(number),
        _ => Err(format!("expected {range}, got {text}")),
    }
}

/// The bytes that "80G", "512Mi" or "1000" name.
pub fn size(text: &str) -> Result<u64, String> {
    let refused = || format!("expected a size such as 80G or 80Gi, got {text}");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor = match text[digits..].trim_end_matches(['b', 'B']) {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1048576.0,
        "Gi" => 1073741824.0,
        "Ti" => 1099511627776.0,
        _ => return Err(refused()),
    };
    // A float beyond 64 bits becomes the largest of them, which no range holds.
    let number: f64 = text[..digits].parse().map_err(|_| refused())?;
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("80G", Some(80_000_000_000)),
            ("80GB", Some(80_000_000_000)),
            ("80Gi", Some(85_899_345_920)),
            ("1.5k", Some(1500)),
            ("7", Some(7)),
            ("G", None),
            ("80X", None),
            ("0", Some(0)),
            ("-1G", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
