//! RFC 3339 times.
//!
//! In scope: between a timestamp's text and microseconds since 1970. Out of scope: what time it is.
//!
//! Invariant: the text is checked against RFC 3339 section 5.6 before jiff, which takes more, sees it.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

const NANOSECONDS_PER_MICROSECOND: i128 = 1000;

/// Microseconds since 1970-01-01T00:00:00Z of an RFC 3339 timestamp with at most nine fraction digits.
///
/// What is finer than a microsecond is cut off, towards the past. A leap second (`:60`) counts as the second
/// before it, as POSIX time has no other place for it.
///
/// ```
/// use counterfoil::event::time::unix_us;
/// assert_eq!(unix_us("1970-01-01T01:00:00.25+01:00"), Some(250_000));
/// assert_eq!(unix_us("1970-01-01 00:00:00Z"), None);
/// ```
#[must_use]
pub fn unix_us(text: &str) -> Option<i64> {
    if !is_rfc3339(text.as_bytes()) {
        return None;
    }
    let timestamp: Timestamp = text.parse().ok()?;
    i64::try_from(timestamp.as_nanosecond().div_euclid(NANOSECONDS_PER_MICROSECOND)).ok()
}

/// The RFC 3339 form of `us` microseconds since 1970-01-01T00:00:00Z: UTC, six fraction digits, so that the
/// texts order as the times do. `None` outside of the years 0 to 9999, for which RFC 3339 has no form.
///
/// ```
/// assert_eq!(counterfoil::event::time::rfc3339(1).as_deref(), Some("1970-01-01T00:00:00.000001Z"));
/// ```
#[must_use]
pub fn rfc3339(us: i64) -> Option<String> {
    let timestamp = Timestamp::from_microsecond(us).ok()?;
    let text = DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&timestamp);
    is_rfc3339(text.as_bytes()).then_some(text)
}

/// `date-time` of RFC 3339 section 5.6, ranges of the fields aside but for the offset's.
fn is_rfc3339(text: &[u8]) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let Some((fixed, rest)) = text.split_at_checked(SHAPE.len()) else { return false };
    let fits = |(have, want): (&u8, &u8)| match want {
        b'0' => have.is_ascii_digit(),
        _ => have.eq_ignore_ascii_case(want),
    };
    if !fixed.iter().zip(SHAPE).all(fits) {
        return false;
    }
    let offset = match rest.split_first() {
        Some((b'.', rest)) => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            rest.get(digits..).unwrap_or_default()
        }
        _ => rest,
    };
    match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let minutes_fit = (b'0'..=b'5').contains(m1) && m2.is_ascii_digit();
            let hours_fit = matches!((h1, h2), (b'0' | b'1', b'0'..=b'9') | (b'2', b'0'..=b'3'));
            minutes_fit && hours_fit
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc3339() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00z", 0),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("1969-12-31T23:59:59.9999991Z", -1),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000_000),
            ("1990-12-31T23:59:60Z", 662_687_999_000_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000),
            ("2024-02-29T00:00:00-00:00", 1_709_164_800_000_000),
            ("2026-11-21T09:14:03.221123456Z", 1_795_252_443_221_123),
        ] {
            assert_eq!(unix_us(text), Some(us), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_rfc3339() {
        for text in [
            "",
            "2024-02-29",
            "2024-02-29T00:00:00",
            "2024-02-29 00:00:00Z",
            "2024-02-29T00:00Z",
            "20240229T000000Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01T00:00:00.0000000000Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+01",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00+01:60",
            "2024-01-01T00:00:00Z[UTC]",
            "2024-01-01T00:00:00Z ",
            "+002024-01-01T00:00:00Z",
            "2024-01-01T00:00:0\u{0660}Z",
        ] {
            assert_eq!(unix_us(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for us in [0, -1, 1_795_252_443_221_123] {
            assert_eq!(unix_us(&rfc3339(us).unwrap()), Some(us));
        }
        assert_eq!(rfc3339(i64::MAX), None);
        assert_eq!(rfc3339(-62_167_219_200_000_000).as_deref(), Some("0000-01-01T00:00:00.000000Z"));
        assert_eq!(rfc3339(-62_167_219_200_000_001), None);
    }
}
