//! Dates: days and seconds of the calendar, and the words in which files write them.

use super::moment::Moment;

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last (Howard Hinnant's algorithm).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A day for people.
pub fn calendar(seconds: i64) -> String {
    // Beyond some hundred thousand years a date says nothing.
    if seconds.unsigned_abs() > 1 << 42 {
        return seconds.to_string();
    }
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Seconds of a day if there is such a day.
fn checked_day(year: i64, month: i64, day: i64) -> Option<i64> {
    let there = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let days = there.then(|| days(year, month, day))?;
    (civil(days) == (year, month, day)).then_some(days * 86_400)
}

/// Seconds of 20130530.
pub fn day_of(number: i64) -> Option<i64> {
    let plausible = (19_000_101..=21_001_231).contains(&number);
    plausible.then(|| checked_day(number / 10_000, number / 100 % 100, number % 100))?
}

/// Seconds of 20130530140302.
pub fn second_of(number: i64) -> Option<i64> {
    let clock = [number / 10_000 % 100, number / 100 % 100, number % 100];
    let [hour, minute, second] = clock;
    let there = number > 0 && hour < 24 && minute < 60 && second < 61;
    let day = there.then(|| day_of(number / 1_000_000))??;
    Some(day + hour * 3600 + minute * 60 + second)
}

/// A date in words or figures: ISO 8601 with or without a time and a zone, `05 30, 2013`, `May 30,
/// 2013`, `5/30/2013 2:03:02 PM`, `Thu May 30 14:03:02 -0700 2013`.
pub fn date(text: &str) -> Option<(Moment, Order)> {
    let text = text.strip_prefix("Posted").unwrap_or(text);
    let text = text.trim().trim_end_matches('.');
    iso(text).map(|moment| (moment, Order::Said)).or_else(|| words(text))
}

/// What a date says about the order of its day and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By a name, or by the year before them.
    Said,
    /// Only the second of two figures is a day.
    MonthFirst,
    /// Only the first is.
    DayFirst,
    /// Both may be: taken for the month first, as in the United States.
    Either,
}

/// The day that is meant where a date of [`Order::Either`] has its day first.
pub fn swapped(seconds: i64) -> i64 {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    days(year, day, month) * 86_400 + seconds.rem_euclid(86_400)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// `2013-05-30`, then perhaps a time and a zone.
fn iso(text: &str) -> Option<Moment> {
    let mut parts = text.get(..10)?.split(['-', '/']);
    let mut part = || parts.next().and_then(number);
    let (year, month, day) = (part()?, part()?, part()?);
    if text.as_bytes()[4].is_ascii_digit() {
        return None;
    }
    let day = checked_day(year, month, day)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(Moment::of(day));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
    let (clock, zone) = zoned(rest)?;
    let (seconds, fraction) = time_of_day(clock)?;
    Some(Moment { whole: day + seconds - zone, fraction })
}

/// A time of day without its zone, and the zone's seconds east of Greenwich.
fn zoned(text: &str) -> Option<(&str, i64)> {
    let text = text.trim_end();
    for name in ["Z", "z", "UTC", "GMT"] {
        if let Some(clock) = text.strip_suffix(name) {
            return Some((clock.trim_end(), 0));
        }
    }
    match text.rfind(['+', '-']) {
        Some(at) => Some((text[..at].trim_end(), offset(&text[at..])?)),
        None => Some((text, 0)),
    }
}

/// Seconds of `+02:00`, `-0700`, `+02`.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(&digits[..2])?, number(&digits[2..])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Seconds and fraction of `14:03:02.5`, `14:03`, `2:03:02 PM`.
fn time_of_day(text: &str) -> Option<(i64, u64)> {
    let upper = text.to_ascii_uppercase();
    let (clock, half) = match (upper.strip_suffix("AM"), upper.strip_suffix("PM")) {
        (Some(clock), _) => (clock.trim_end(), Some(0)),
        (_, Some(clock)) => (clock.trim_end(), Some(12)),
        _ => (upper.as_str(), None),
    };
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, rest)) => (clock, Moment::decimal(&format!("0.{rest}"))?.fraction),
        None => (clock, 0),
    };
    let mut parts = clock.split(':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let second = parts.next().map_or(Some(0), number)?;
    let hour = match half {
        Some(half) if (1..=12).contains(&hour) => hour % 12 + half,
        Some(_) => return None,
        None => hour,
    };
    let there = parts.next().is_none() && hour < 24 && minute < 60 && second < 61;
    there.then_some((hour * 3600 + minute * 60 + second, fraction))
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Dates with the parts in another order, or with names of months.
fn words(text: &str) -> Option<(Moment, Order)> {
    let mut named = None;
    let mut figures: Vec<i64> = Vec::new();
    let (mut clock, mut zone, mut half) = (None, 0, "");
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        if word.contains(':') {
            clock = Some(word);
        } else if matches!(lower.as_str(), "am" | "pm") {
            half = if lower == "am" { "AM" } else { "PM" };
        } else if clock.is_some() && word.starts_with(['+', '-']) {
            zone = offset(word)?;
        } else if matches!(lower.as_str(), "utc" | "gmt") {
            zone = 0;
        } else if let Some(month) =
            MONTHS.iter().position(|month| word.is_ascii() && lower.starts_with(month))
        {
            named = Some(month as i64 + 1);
        } else if ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
            .iter()
            .any(|day| lower.starts_with(day))
        {
            continue;
        } else {
            for part in word.split(['/', '-']) {
                match MONTHS.iter().position(|month| part.eq_ignore_ascii_case(month)) {
                    Some(month) => named = Some(month as i64 + 1),
                    None => figures.push(number(part)?),
                }
            }
        }
    }
    let (year, month, day, order) = match (named, figures.as_slice()) {
        (Some(month), &[day, year]) if year > 31 => (year, month, day, Order::Said),
        (Some(month), &[year, day]) if year > 31 => (year, month, day, Order::Said),
        (None, &[year, month, day]) if year > 31 => (year, month, day, Order::Said),
        (None, &[first, second, year]) if year > 31 => match (first <= 12, second <= 12) {
            (true, true) => (year, first, second, Order::Either),
            (true, false) => (year, first, second, Order::MonthFirst),
            (false, _) => (year, second, first, Order::DayFirst),
        },
        _ => return None,
    };
    // The other reading of it may be of another day here.
    if zone != 0 && order == Order::Either {
        return None;
    }
    let day = checked_day(year, month, day)?;
    let (seconds, fraction) = match clock {
        Some(clock) => time_of_day(&format!("{clock}{half}"))?,
        None => (0, 0),
    };
    Some((Moment { whole: day + seconds - zone, fraction }, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Option<Moment> {
        super::date(text).map(|(moment, _)| moment)
    }

    #[test]
    fn figures_say_which_is_the_day_or_do_not() {
        for (text, order) in [
            ("5/30/2013", Order::MonthFirst),
            ("30/5/2013", Order::DayFirst),
            ("5/6/2013 10:00", Order::Either),
            ("2013/05/06", Order::Said),
            ("May 6, 2013", Order::Said),
        ] {
            assert_eq!(super::date(text).unwrap().1, order, "{text}");
        }
        assert_eq!(
            Some(Moment::of(swapped(date("5/6/2013 10:00").unwrap().whole))),
            date("2013-06-05 10:00")
        );
    }

    #[test]
    fn dates_in_many_words() {
        let seconds = 1_369_922_582;
        for text in [
            "2013-05-30T14:03:02Z",
            "2013-05-30 14:03:02",
            "2013-05-30T16:03:02+02:00",
            "2013-05-30T07:03:02.000-0700",
            "Thu May 30 07:03:02 -0700 2013",
            "5/30/2013 2:03:02 PM",
            "30/5/2013 14:03:02",
            "2013/05/30 14:03:02",
            "30 May 2013 14:03:02 GMT",
        ] {
            assert_eq!(date(text), Some(Moment::of(seconds)), "{text}");
        }
        let day = Some(Moment::of(1_369_872_000));
        for text in
            ["2013-05-30", "05 30, 2013", "May 30, 2013", "Posted May 30, 2013.", "30-May-2013"]
        {
            assert_eq!(date(text), day, "{text}");
        }
        for text in ["2013-02-30", "yesterday", "2013", "30", "2013-05-30T25:00", "é013-05-30"] {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(calendar(1_369_922_582), "2013-05-30");
        assert_eq!(calendar(-1), "1969-12-31");
    }
}
