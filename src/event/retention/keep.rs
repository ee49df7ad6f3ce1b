//! Calendar periods, and when one that began at a moment is over.
//!
//! In scope: the text of a period (`P7Y`, `P1Y6M`, `P2W`, `P90D`) and its end. Out of scope: what begins it.
//!
//! The calendar is the Gregorian one in UTC, and a period is counted in whole days, as Regulation (EEC,
//! Euratom) No 1182/71 article 3 counts: the day on which it begins is not counted, and it is over when its
//! last day is. Years and months are added to the date first, together; where the month that is reached has
//! no such day, its last day is taken. Then weeks and days are added. So one month from any moment of
//! 31 January is over at the end of 28 February, 29 in a leap year; one year from 29 February at the end of
//! 28 February, and four years at that of 29 February again, but for 2100.
//!
//! Invariants: a period has one spelling and is at least one day; a later beginning never ends earlier.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Digits of a number in a period at most: up to 9,999 years, months, weeks or days.
const DIGITS_MAX: usize = 4;

/// How long something is kept: an ISO 8601 duration of years, months, weeks and days.
///
/// ```
/// use counterfoil::event::{retention::Keep, time};
/// let month = Keep::parse("P1M").unwrap();
/// let end = |text| month.end_us(u64::try_from(time::unix_us(text).unwrap()).unwrap()).unwrap();
/// let is = |text| u64::try_from(time::unix_us(text).unwrap()).unwrap();
/// assert_eq!(end("2023-01-31T10:30:00Z"), is("2023-03-01T00:00:00Z"));
/// assert_eq!(end("2023-02-28T10:30:00Z"), is("2023-03-29T00:00:00Z"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keep {
    years: u16,
    months: u16,
    weeks: u16,
    days: u16,
}

impl Keep {
    /// Reads a period: `P`, then years, months, weeks and days, each at most once and in this order, whole
    /// numbers from 1 to 9,999 without leading zeros. Periods that count hours are none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
        let mut keep = Self { years: 0, months: 0, weeks: 0, days: 0 };
        let fields = [
            ('Y', &mut keep.years),
            ('M', &mut keep.months),
            ('W', &mut keep.weeks),
            ('D', &mut keep.days),
        ];
        for (unit, field) in fields {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits)?;
            if let Some(after) = after.strip_prefix(unit) {
                let is_plain = (1..=DIGITS_MAX).contains(&digits) && !number.starts_with('0');
                *field = number.parse().ok().filter(|_| is_plain)?;
                rest = after;
            }
        }
        rest.is_empty().then_some(keep)
    }

    /// The moment at which a period that began at `from_us` is over, both Unix microseconds: the midnight
    /// after its last day, from which on what was kept is due. None after the year 9999: it is never over.
    #[must_use]
    pub fn end_us(self, from_us: u64) -> Option<u64> {
        let from = Timestamp::from_microsecond(i64::try_from(from_us).ok()?).ok()?;
        let first = from.to_zoned(TimeZone::UTC).date();
        let months = Span::new().try_years(self.years).ok()?.try_months(self.months).ok()?;
        let days = Span::new().try_weeks(self.weeks).ok()?.try_days(self.days).ok()?;
        let last = first.checked_add(months).ok()?.checked_add(days).ok()?;
        let end = TimeZone::UTC.to_timestamp(last.tomorrow().ok()?.at(0, 0, 0, 0)).ok()?;
        u64::try_from(end.as_microsecond()).ok()
    }

    /// The days that it has at least, whenever it begins.
    #[must_use]
    pub fn days_min(self) -> u64 {
        // The shortest run of n months is never shorter than 28 days each, and of years than 365.
        let (years, months) = (u64::from(self.years), u64::from(self.months));
        years * 365 + months * 28 + u64::from(self.weeks) * 7 + u64::from(self.days)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        for (number, unit) in
            [(self.years, 'Y'), (self.months, 'M'), (self.weeks, 'W'), (self.days, 'D')]
        {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}
