//! Numbers and dates as they stand in a text (R6).

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// The day of a time in seconds since 1970-01-01, counted from there.
pub fn day(seconds: i64) -> i64 {
    seconds.div_euclid(DAY)
}

/// A number in shortest decimal form: no exponent, at most four significant decimals (R6). `None`
/// unless finite.
///
/// Zeros that lead a fraction of 0 are not significant: 0.00012345 is 0.0001235 (ties as the binary
/// value falls).
pub fn decimal(x: f64) -> Option<String> {
    if !x.is_finite() {
        return None;
    }
    // The exponent as printing sees it; logarithms are off by one at some powers of ten.
    let exponent: i32 = format!("{x:e}").rsplit('e').next()?.parse().ok()?;
    let decimals = 4 + (-1 - exponent).max(0) as usize;
    let text = format!("{x:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    Some(if text == "-0" { "0" } else { text }.to_owned())
}

/// The ISO date of a time in seconds since 1970-01-01 (R6).
pub fn date(seconds: i64) -> String {
    // Days in eras of 400 years that begin on the 1st of March, so that the leap day is a year's
    // last.
    let days = i128::from(day(seconds)) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}
