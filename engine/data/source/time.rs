//! Times as sources write them: seconds, milliseconds, microseconds or nanoseconds since 1970,
//! whole or with fractions, or dates in words. Events are ordered by the full value; what is stored
//! is rounded to seconds.

use super::cell::{is_unknown, Cell};
use super::date::{calendar, date, day_of, second_of, swapped, Order};
use super::moment::{Moment, ONE};
use crate::data::record::NO_TIME;
use std::cmp::Ordering;

/// How a column writes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Number,
    Date,
}

/// Lines of the first dates that have the day first, the month first, or either.
#[derive(Debug, Default)]
struct Figures {
    day: Option<usize>,
    month: Option<usize>,
    either: Option<usize>,
    /// Dates that have neither.
    said: Option<usize>,
}

/// A cell as a time, `None` where it says nothing.
fn read(cell: &Cell) -> Result<Option<(Moment, Writing, Order)>, String> {
    let wrong = || {
        format!(
            "expected a time as a number since 1970 or a date as 2013-05-30T14:03:02Z, got {}; \
            mend the line",
            cell.shown()
        )
    };
    let mut order = Order::Said;
    let (moment, writing) = match cell {
        Cell::Null => return Ok(None),
        Cell::Whole(n) => (Some(Moment::of(*n)), Writing::Number),
        Cell::Real(x) if x.is_nan() => return Ok(None),
        Cell::Real(x) => (Moment::real(*x), Writing::Number),
        Cell::At(moment) => (Some(*moment), Writing::Date),
        Cell::Text(text) => match text.trim() {
            word if is_unknown(word) => return Ok(None),
            word => match Moment::decimal(word) {
                Some(moment) => (Some(moment), Writing::Number),
                None => {
                    let read = date(word);
                    order = read.map_or(order, |(_, order)| order);
                    (read.map(|(moment, _)| moment), Writing::Date)
                }
            },
        },
        Cell::Flag(_) | Cell::Nested(_) => (None, Writing::Number),
    };
    moment.filter(|m| m.whole != NO_TIME).map(|m| Some((m, writing, order))).ok_or_else(wrong)
}

/// A column of times, in the file's order.
#[derive(Debug, Default)]
pub struct Times {
    whole: Vec<i64>,
    /// Empty until one has a fraction.
    fraction: Vec<u64>,
    writing: Option<(Writing, usize)>,
    figures: Figures,
    /// Smallest and largest, each with its line.
    range: Option<[(i64, usize); 2]>,
    fractions: bool,
    known: usize,
    /// Line of the first row without a time.
    missing: Option<usize>,
    /// Numbers that are no calendar day as yyyymmdd, none of yyyymmddhhmmss.
    not_days: usize,
    not_digits: usize,
}

/// What a column counts, once all of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 1970's seconds, or any other count that is too small to tell.
    Seconds,
    /// Thousandths.
    Milliseconds,
    /// Millionths.
    Microseconds,
    /// Billionths.
    Nanoseconds,
    /// 20130530.
    Day,
    /// 20130530140302.
    Digits,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Microseconds => "microseconds",
            Unit::Nanoseconds => "nanoseconds",
            Unit::Day => "days written as yyyymmdd",
            Unit::Digits => "times written as yyyymmddhhmmss",
        }
    }
}

/// The earliest second that a number may mean before it is taken for a mere order: in 1973.
const DATES: i64 = 100_000_000;
/// Beyond this, some five thousand years, no unit has seconds.
const SECONDS: i64 = 100_000_000_000;

impl Times {
    /// Takes the time of the next row.
    pub fn push(&mut self, cell: &Cell, line: usize) -> Result<(), String> {
        let Some((moment, writing, order)) = read(cell)? else {
            self.none(line);
            return Ok(());
        };
        match self.writing {
            Some((known, first)) if known != writing => {
                return Err(format!(
                    "expected every time to be a {} as in line {first}, got {}; write all alike",
                    if known == Writing::Date { "date" } else { "number" },
                    cell.shown()
                ))
            }
            Some(_) => {}
            None => self.writing = Some((writing, line)),
        }
        if writing == Writing::Date {
            let first = match order {
                Order::DayFirst => &mut self.figures.day,
                Order::MonthFirst => &mut self.figures.month,
                Order::Either => &mut self.figures.either,
                Order::Said => &mut self.figures.said,
            };
            first.get_or_insert(line);
        }
        if moment.fraction > 0 && self.fraction.is_empty() {
            self.fraction = vec![0; self.whole.len()];
            self.fraction.reserve(self.whole.capacity() - self.whole.len());
            self.fractions = true;
        }
        let [low, high] = self.range.get_or_insert([(moment.whole, line); 2]);
        if moment.whole < low.0 {
            *low = (moment.whole, line);
        }
        if moment.whole > high.0 {
            *high = (moment.whole, line);
        }
        if self.not_days == 0 && day_of(moment.whole).is_none() {
            self.not_days += 1;
        }
        if self.not_digits == 0 && second_of(moment.whole).is_none() {
            self.not_digits += 1;
        }
        self.known += 1;
        self.whole.push(moment.whole);
        if self.fractions {
            self.fraction.push(moment.fraction);
        }
        Ok(())
    }

    /// The next row has no time.
    pub fn none(&mut self, line: usize) {
        self.missing.get_or_insert(line);
        self.whole.push(NO_TIME);
        if self.fractions {
            self.fraction.push(0);
        }
    }

    /// Rows with a time.
    pub fn known(&self) -> usize {
        self.known
    }

    /// Rows without a time, and the line of the first.
    pub fn missing(&self) -> Option<(usize, usize)> {
        self.missing.map(|line| (self.whole.len() - self.known, line))
    }

    /// Whether row `i` has a time.
    pub fn is_known(&self, i: usize) -> bool {
        self.whole[i] != NO_TIME
    }

    /// Which of two rows came first, by the full value.
    pub fn order(&self, a: usize, b: usize) -> Ordering {
        let fraction = |i: usize| self.fraction.get(i);
        self.whole[a].cmp(&self.whole[b]).then_with(|| fraction(a).cmp(&fraction(b)))
    }

    /// The value of a row as it stands in the file, for messages.
    pub fn shown(&self, i: usize) -> String {
        match self.fraction.get(i) {
            Some(&fraction) if fraction > 0 => {
                let (whole, fraction) = match self.whole[i] < 0 {
                    true => (format!("-{}", -1 - self.whole[i]), ONE - fraction),
                    false => (self.whole[i].to_string(), fraction),
                };
                let rest = format!("{fraction:018}");
                format!("{whole}.{}", rest.trim_end_matches('0'))
            }
            _ => self.whole[i].to_string(),
        }
    }

    /// Decides whether day or month is first in dates of figures, for the whole column. Refuses
    /// one in which some dates have the one and some the other, with a line and both of them.
    pub fn settle(&mut self) -> Result<(), (usize, String)> {
        let Figures { day: Some(day), month, either, said } = self.figures else { return Ok(()) };
        let wrong = |other: usize, what: &str| {
            let words = format!(
                "expected all dates written alike, got one with the day first in line {day} and \
                one {what} in line {other}; write all as 2013-05-30"
            );
            Err((other, words))
        };
        match (month, either, said) {
            (Some(month), _, _) => wrong(month, "with the month first"),
            (None, Some(_), Some(said)) => wrong(said, "of another form"),
            (None, None, _) => Ok(()),
            (None, Some(_), None) => {
                // A day beyond the twelfth is none that was taken for a month.
                for whole in self.whole.iter_mut().filter(|whole| **whole != NO_TIME) {
                    let other = swapped(*whole);
                    if swapped(other) == *whole {
                        *whole = other;
                    }
                }
                let known = || self.whole.iter().copied().filter(|&whole| whole != NO_TIME);
                let bounds = known().min().zip(known().max());
                self.range = bounds.map(|(low, high)| [(low, day), (high, day)]);
                Ok(())
            }
        }
    }

    /// The unit of the whole column. Refuses times of which some are plausible in one unit and
    /// some in another, with the two lines.
    pub fn unit(&self) -> Result<Unit, (usize, String)> {
        let (Some((Writing::Number, _)), Some([(low, low_line), (high, _)])) =
            (self.writing, self.range)
        else {
            return Ok(Unit::Seconds);
        };
        if !self.fractions && self.not_days == 0 {
            return Ok(Unit::Day);
        }
        if !self.fractions && self.not_digits == 0 {
            return Ok(Unit::Digits);
        }
        let size = high.unsigned_abs().max(low.unsigned_abs());
        let (mut unit, mut limit) = (Unit::Seconds, SECONDS as u64);
        for next in [Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds] {
            if size >= limit {
                (unit, limit) = (next, limit.saturating_mul(1000));
            }
        }
        // Seconds of our time beside milliseconds of our time: no unit is right for both.
        if unit != Unit::Seconds && (DATES..SECONDS).contains(&low) {
            return Err((
                low_line,
                format!(
                    "expected times of one unit, got {low} beside {high}, which is in {}; write \
                    all in one unit",
                    unit.name()
                ),
            ));
        }
        Ok(unit)
    }

    /// What is stored of a row: seconds, rounded; [`NO_TIME`] where it has none.
    pub fn seconds(&self, i: usize, unit: Unit) -> i64 {
        let whole = self.whole[i];
        let half = self.fraction.get(i).is_some_and(|&fraction| fraction >= ONE / 2);
        let scaled = |by: i64| (whole + by / 2).div_euclid(by);
        match unit {
            _ if whole == NO_TIME => NO_TIME,
            Unit::Seconds => whole + i64::from(half),
            Unit::Milliseconds => scaled(1_000),
            Unit::Microseconds => scaled(1_000_000),
            Unit::Nanoseconds => scaled(1_000_000_000),
            Unit::Day => day_of(whole).unwrap_or(NO_TIME),
            Unit::Digits => second_of(whole).unwrap_or(NO_TIME),
        }
    }

    /// How the times were read, and from when to when they go.
    pub fn words(&self, unit: Unit) -> Option<String> {
        let [(low, _), (high, _)] = self.range?;
        let (writing, _) = self.writing?;
        let bounds = [low, high]
            .map(|whole| Times { whole: vec![whole], ..Times::default() }.seconds(0, unit));
        let from_to = format!("from {} to {}", calendar(bounds[0]), calendar(bounds[1]));
        Some(match (writing, unit) {
            (Writing::Date, _) => {
                let first = match self.figures {
                    Figures { day: Some(_), .. } => "dates with the day first",
                    Figures { month: Some(_), .. } => "dates with the month first",
                    Figures { either: Some(_), .. } => {
                        "dates of which none says whether day or month is first, read with the \
                        month first"
                    }
                    _ => "dates",
                };
                format!("{first}, UTC where they name no zone, {from_to}")
            }
            (_, Unit::Day | Unit::Digits) => format!("{}, {from_to}", unit.name()),
            (_, unit) if high < DATES => {
                format!("{}, {low} to {high}: too small for dates, an order alone", unit.name())
            }
            (_, unit) => {
                let fractions = if self.fractions { " with fractions" } else { "" };
                format!("{} since 1970{fractions}, {from_to}", unit.name())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(values: &[serde_json::Value]) -> Times {
        let mut times = Times::default();
        for (i, value) in values.iter().enumerate() {
            times.push(&Cell::of(value.clone()), i + 2).unwrap();
        }
        times
    }

    #[test]
    fn units_are_known_by_their_size() {
        for (value, unit, seconds) in [
            (json!(978_300_760), Unit::Seconds, 978_300_760),
            (json!("964982703.0"), Unit::Seconds, 964_982_703),
            (json!(1_588_687_728_923i64), Unit::Milliseconds, 1_588_687_729),
            (json!("1588687728923000"), Unit::Microseconds, 1_588_687_729),
            (json!("1588687728000000000"), Unit::Nanoseconds, 1_588_687_728),
            (json!(20_130_530), Unit::Day, 1_369_872_000),
            (json!(20_130_530_140_302i64), Unit::Digits, 1_369_922_582),
            (json!(3), Unit::Seconds, 3),
            (json!(0.6), Unit::Seconds, 1),
            (json!("2013-05-30T14:03:02Z"), Unit::Seconds, 1_369_922_582),
        ] {
            let times = column(std::slice::from_ref(&value));
            assert_eq!(times.unit(), Ok(unit), "{value}");
            assert_eq!(times.seconds(0, unit), seconds, "{value}");
        }
        let (line, words) =
            column(&[json!(1_588_687_728), json!(1_588_687_728_000i64)]).unit().unwrap_err();
        assert!(line == 2 && words.contains("milliseconds"), "{line}: {words}");
    }

    #[test]
    fn a_column_has_its_days_where_one_date_has_them() {
        let dates = |texts: &[&str]| {
            let mut times = column(&texts.iter().map(|text| json!(text)).collect::<Vec<_>>());
            times.settle().map(|()| {
                let seconds = (0..texts.len()).map(|i| times.seconds(i, Unit::Seconds));
                (seconds.map(calendar).collect::<Vec<_>>(), times.words(Unit::Seconds).unwrap())
            })
        };
        let (days, words) = dates(&["05/06/2014", "13/06/2014", "01/02/2014"]).unwrap();
        assert_eq!(days, ["2014-06-05", "2014-06-13", "2014-02-01"]);
        assert!(words.starts_with("dates with the day first") && words.contains("2014-02-01"));
        let (days, words) = dates(&["05/06/2014", "06/13/2014"]).unwrap();
        assert_eq!(days, ["2014-05-06", "2014-06-13"]);
        assert!(words.starts_with("dates with the month first"), "{words}");
        let (days, words) = dates(&["05/06/2014"]).unwrap();
        assert!(days == ["2014-05-06"] && words.contains("none says whether"), "{words}");
        let (line, words) = dates(&["05/13/2014", "13/06/2014"]).unwrap_err();
        assert!(line == 2 && words.contains("in line 3"), "{line}: {words}");
        assert!(dates(&["2014-05-06", "13/06/2014", "05/06/2014"]).is_err());
    }

    #[test]
    fn the_full_value_orders() {
        for pair in [
            ["0.6", "0.7"],
            ["1593878903.6", "1593878903.9"],
            ["1593878903.000000001", "1593878903.000000002"],
            ["-0.5", "-0.25"],
            ["2013-05-30T14:03:02.1Z", "2013-05-30T14:03:02.2Z"],
            ["1588687728923000001", "1588687728923000002"],
        ] {
            let times = column(&pair.map(|text| json!(text)));
            assert_eq!(times.order(0, 1), Ordering::Less, "{pair:?}");
            assert_eq!(
                times.shown(0).parse::<f64>().ok(),
                pair[0].parse().ok().or(times.shown(0).parse().ok())
            );
        }
    }

    #[test]
    fn numbers_and_dates_do_not_mix() {
        let mut times = column(&[json!("2013-05-30"), json!(null), json!("NaN")]);
        assert_eq!(times.missing(), Some((2, 3)));
        assert!(times.push(&Cell::Whole(5), 9).unwrap_err().contains("line 2"));
        assert!(times.push(&Cell::field("tomorrow"), 9).unwrap_err().contains("\"tomorrow\""));
    }
}
