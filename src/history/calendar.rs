//! Buckets of time by the UTC calendar.
//!
//! In scope: the hour, day, ISO week, month or year that a moment lies in. Out of scope: other time
//! zones: a log has one calendar. Invariant: buckets of one kind do not overlap and leave nothing out.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A kind of bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week from Monday on (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Bucket {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
        ("year", Self::Year),
    ];

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, bucket)| *bucket)
    }

    /// The first moment of the bucket that `at_us` (Unix microseconds) lies in; none for a moment after
    /// the year 9999.
    ///
    /// ```
    /// use counterfoil::history::Bucket;
    /// // 2026-01-01 was a Thursday: its week began in the old year.
    /// let new_year = 1_767_225_600_000_000;
    /// assert_eq!(Bucket::Week.start(new_year).as_deref(), Some("2025-12-29T00:00:00Z"));
    /// assert_eq!(Bucket::Year.start(new_year).as_deref(), Some("2026-01-01T00:00:00Z"));
    /// ```
    #[must_use]
    pub fn start(self, at_us: u64) -> Option<String> {
        let at = Timestamp::from_microsecond(i64::try_from(at_us).ok()?).ok()?;
        let at = at.to_zoned(TimeZone::UTC).datetime();
        let day = match self {
            Self::Hour | Self::Day => at.date(),
            Self::Week => {
                let back = i64::from(at.weekday().to_monday_zero_offset());
                at.date().checked_sub(jiff::Span::new().days(back)).ok()?
            }
            Self::Month => at.date().first_of_month(),
            Self::Year => Date::new(at.year(), 1, 1).ok()?,
        };
        let hour = if self == Self::Hour { at.hour() } else { 0 };
        let start: DateTime = day.at(hour, 0, 0, 0);
        Some(start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_starts_where_the_calendar_says() {
        // 2024-02-29T23:59:59.999999Z, a Thursday
        let at_us = 1_709_251_199_999_999;
        let starts = Bucket::ALL.map(|(_, bucket)| bucket.start(at_us).unwrap());
        assert_eq!(
            starts,
            [
                "2024-02-29T23:00:00Z",
                "2024-02-29T00:00:00Z",
                "2024-02-26T00:00:00Z",
                "2024-02-01T00:00:00Z",
                "2024-01-01T00:00:00Z"
            ]
        );
        assert_eq!(Bucket::Day.start(at_us + 1).unwrap(), "2024-03-01T00:00:00Z");
        assert_eq!(Bucket::Week.start(0).unwrap(), "1969-12-29T00:00:00Z");
        assert_eq!(Bucket::Hour.start(u64::MAX), None);
        assert!(Bucket::from_name("fortnight").is_none());
    }
}
