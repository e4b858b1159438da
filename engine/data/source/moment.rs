//! A number with all of its digits.

/// A number that keeps all of its digits: `whole` and, above it, `fraction` / 10¹⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The number rounded down.
    pub whole: i64,
    /// The rest, in 10⁻¹⁸.
    pub fraction: u64,
}

/// A whole one, in the unit of fractions.
pub const ONE: u64 = 1_000_000_000_000_000_000;

impl Moment {
    /// A whole number.
    pub fn of(whole: i64) -> Moment {
        Moment { whole, fraction: 0 }
    }

    /// Of a finite number.
    pub fn real(x: f64) -> Option<Moment> {
        let whole = x.floor();
        (x.is_finite() && whole.abs() < 9e18).then(|| Moment {
            whole: whole as i64,
            fraction: (((x - whole) * ONE as f64) as u64).min(ONE - 1),
        })
    }

    /// Of decimal text.
    pub fn decimal(text: &str) -> Option<Moment> {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Moment::of(whole));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        match digits.split_once('.') {
            Some((whole, rest))
                if !whole.is_empty()
                    && whole.bytes().chain(rest.bytes()).all(|b| b.is_ascii_digit()) =>
            {
                let whole = whole.parse::<i64>().ok()?;
                let rest = &rest[..rest.len().min(18)];
                let fraction = match rest.is_empty() {
                    true => 0,
                    false => rest.parse::<u64>().ok()? * 10u64.pow(18 - rest.len() as u32),
                };
                Some(match (text.starts_with('-'), fraction) {
                    (false, _) => Moment { whole, fraction },
                    (true, 0) => Moment::of(-whole),
                    (true, _) => Moment { whole: -whole - 1, fraction: ONE - fraction },
                })
            }
            _ => text.parse().ok().and_then(Moment::real),
        }
    }
}
