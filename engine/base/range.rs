use std::fmt;

/// The numbers that something may be: all between two ends. Nothing infinite and no NaN is ever
/// among them.
///
/// ```
/// use engine::base::Range;
/// let share = Range::below(0.0, 1.0);
/// assert!(share.holds(0.0) && !share.holds(1.0) && !share.holds(f64::NAN));
/// assert_eq!(share.to_string(), "a number from 0 to below 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Whole numbers, both ends among them.
    Whole {
        /// The smallest.
        from: u64,
        /// The largest.
        to: u64,
    },
    /// Real numbers.
    Real {
        /// The lower end, and whether it is among them.
        low: (f64, bool),
        /// The upper end, and whether it is among them.
        high: (f64, bool),
    },
}

/// A number whose range can be asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// A real one.
    Real(f64),
}

impl Range {
    /// Whole numbers `from ..= to`.
    pub const fn whole(from: u64, to: u64) -> Range {
        Range::Whole { from, to }
    }

    /// low ≤ x ≤ high.
    pub const fn real(low: f64, high: f64) -> Range {
        Range::Real { low: (low, true), high: (high, true) }
    }

    /// low < x ≤ high.
    pub const fn above(low: f64, high: f64) -> Range {
        Range::Real { low: (low, false), high: (high, true) }
    }

    /// low ≤ x < high.
    pub const fn below(low: f64, high: f64) -> Range {
        Range::Real { low: (low, true), high: (high, false) }
    }

    /// Whether `number` is among them.
    pub fn holds(self, number: impl Into<Number>) -> bool {
        match (self, number.into()) {
            (Range::Whole { from, to }, Number::Whole(n)) => (from..=to).contains(&n),
            // A fraction is no whole number, and beyond 2⁵³ nobody can tell.
            (Range::Whole { .. }, Number::Real(x)) => {
                x >= 0.0 && x.fract() == 0.0 && x <= 2f64.powi(53) && self.holds(x as u64)
            }
            (Range::Real { .. }, Number::Whole(n)) => self.holds(n as f64),
            (Range::Real { low, high }, Number::Real(x)) => {
                let over = x > low.0 || (low.1 && x == low.0);
                let under = x < high.0 || (high.1 && x == high.0);
                x.is_finite() && over && under
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Range::Whole { from, to } => write!(f, "a whole number from {from} to {to}"),
            Range::Real { low: (low, true), high: (high, true) } => {
                write!(f, "a number from {low} to {high}")
            }
            Range::Real { low: (low, true), high: (high, false) } => {
                write!(f, "a number from {low} to below {high}")
            }
            Range::Real { low: (low, false), high: (high, true) } => {
                write!(f, "a number above {low} and at most {high}")
            }
            Range::Real { low: (low, false), high: (high, false) } => {
                write!(f, "a number above {low} and below {high}")
            }
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(n) => write!(f, "{n}"),
            Number::Real(x) => write!(f, "{x}"),
        }
    }
}

macro_rules! numbers {
    ($($type:ty => $kind:ident as $wide:ty,)+) => {
        $(impl From<$type> for Number {
            fn from(number: $type) -> Number {
                Number::$kind(number as $wide)
            }
        })+
    };
}

numbers! {
    u32 => Whole as u64,
    u64 => Whole as u64,
    usize => Whole as u64,
    f32 => Real as f64,
    f64 => Real as f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_in_or_out_as_the_words_say() {
        let beams = Range::whole(1, 9);
        assert_eq!(
            [0u64, 1, 9, 10, u64::MAX].map(|n| beams.holds(n)),
            [false, true, true, false, false]
        );
        assert_eq!([0.5, 3.0, -1.0, f64::NAN].map(|x| beams.holds(x)), [false, true, false, false]);
        for (range, low, high, words) in [
            (Range::real(0.0, 1.0), true, true, "a number from 0 to 1"),
            (Range::above(0.0, 1.0), false, true, "a number above 0 and at most 1"),
            (Range::below(0.0, 1.0), true, false, "a number from 0 to below 1"),
        ] {
            assert_eq!((range.holds(0.0), range.holds(1.0), range.holds(0.5)), (low, high, true));
            assert_eq!(range.to_string(), words);
            for beyond in [-1e-9, 1.1, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert!(!range.holds(beyond), "{range}: {beyond}");
            }
        }
        assert!(!Range::real(0.0, f64::INFINITY).holds(f64::INFINITY));
        assert!(!Range::below(0.0, 1.0).holds(0.999_999_999f32));
    }
}
