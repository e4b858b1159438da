//! Values of flags: words that an enum below declares, numbers that are numbers, sizes in bytes.

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
    use crate::recommender::learning::{Order, Tuned};
    use crate::recommender::rules::{Match, PartA, PartB, PlainRun};
    use crate::recommender::settings::{Constrain, Mode, Segment};
    use crate::recommender::source::{Curve, Storage};
    use crate::recommender::{Family, Split};

    words!(Family Constrain Mode Segment Keeps Order Tuned Curve Storage);
    words!(Match PartA PartB PlainRun Split);
}

/// The same command line, in which no number of any verb is infinite or none at all.
pub fn finite(command: Command) -> Command {
    command.mut_args(finite_argument).mut_subcommands(finite)
}

fn finite_argument(argument: Arg) -> Arg {
    let kind = argument.get_value_parser().type_id();
    if kind == TypeId::of::<f64>() {
        argument.value_parser(number::<f64>)
    } else if kind == TypeId::of::<f32>() {
        argument.value_parser(number::<f32>)
    } else {
        argument
    }
}

fn number<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let number: T = text.parse().map_err(|_| "expected a number".to_owned())?;
    match number.into().is_finite() {
        true => Ok(number),
        false => Err("expected a finite number".to_owned()),
    }
}

/// The bytes that "80G", "512Mi" or "1000" name.
pub fn size(text: &str) -> Result<u64, String> {
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
        _ => return Err(format!("expected a size such as 80G or 80Gi, got {text}")),
    };
    match text[..digits].parse::<f64>() {
        Ok(number) if number > 0.0 && number * factor < 1e18 => Ok((number * factor) as u64),
        _ => Err(format!("expected a size such as 80G or 80Gi, got {text}")),
    }
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
            ("0", None),
            ("-1G", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
