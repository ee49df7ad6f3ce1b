//! Times of records, in the forms that products write them.
//!
//! In scope: finding and reading one. Out of scope: what is done with a record that has none.
//!
//! Invariant: an offset is never guessed; a moment before 1970 is a field that was never set.

use serde::Deserialize;

use super::lax::Node;
use super::path::Path;
use crate::event::time;

/// Where a record's time may be.
#[derive(Debug)]
pub(super) struct TimeSource {
    pub(super) path: Path,
    pub(super) format: TimeFormat,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TimeFormat {
    /// RFC 3339; also with a space for the `T` and an offset without colon, but never without offset.
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// The same without an offset, where the key is known to hold UTC.
    Utc,
    /// Seconds since 1970, with or without a fraction.
    UnixS,
    UnixMs,
    UnixUs,
    UnixNs,
    /// `/Date(1763000000000)/`, as the JSON writers of .NET and `PowerShell` give a moment.
    Dotnet,
}

impl TimeSource {
    /// The time as RFC 3339 text (verbatim where it is that) and in microseconds since 1970. The ledger
    /// takes no earlier moment, and in audit records one is a field that was never set (year 1, 1601).
    pub(super) fn find<'n>(&self, record: &'n Node<'n>) -> Option<(String, i64, &'n Node<'n>)> {
        self.path.find(record, &mut |node| {
            let (text, us) = self.read(node.text()?).filter(|(_, us)| *us >= 0)?;
            Some((text, us, node))
        })
    }

    fn read(&self, text: &str) -> Option<(String, i64)> {
        let exponent = match self.format {
            TimeFormat::Rfc3339 => return rfc3339(text),
            TimeFormat::Utc => return rfc3339(&format!("{text}Z")).or_else(|| rfc3339(text)),
            TimeFormat::UnixS => 6,
            TimeFormat::UnixMs => 3,
            TimeFormat::UnixUs => 0,
            TimeFormat::UnixNs => -3,
            TimeFormat::Dotnet => {
                let ms = text.strip_prefix("/Date(").and_then(|text| text.strip_suffix(")/"))?;
                return of_unix(ms, 3);
            }
        };
        of_unix(text, exponent)
    }
}

fn of_unix(text: &str, exponent: i32) -> Option<(String, i64)> {
    let us = scaled(text, exponent)?;
    Some((time::rfc3339(us)?, us))
}

/// The text itself if it is RFC 3339, else with `2026-11-21 09:00:00 +0100` put in its form.
fn rfc3339(text: &str) -> Option<(String, i64)> {
    if let Some(us) = time::unix_us(text) {
        return Some((text.to_owned(), us));
    }
    let (date, clock) = text.split_once([' ', 'T'])?;
    let clock = clock.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':');
    let offset = text.get(date.len() + 1 + clock.len()..)?;
    let joined = match (clock.chars().next_back(), offset.len()) {
        (Some('+' | '-'), 4) => {
            let (hours, minutes) = offset.split_at_checked(2)?;
            let (clock, sign) = clock.split_at_checked(clock.len() - 1)?;
            format!("{date}T{}{sign}{hours}:{minutes}", clock.trim_end())
        }
        _ => format!("{date}T{clock}{offset}"),
    };
    time::unix_us(&joined).map(|us| (joined, us))
}

/// A decimal number times ten to the `exponent`, what is finer than one cut off.
fn scaled(text: &str, exponent: i32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let Ok(places) = usize::try_from(exponent) else {
        return whole.checked_div(10_i64.checked_pow(exponent.unsigned_abs())?);
    };
    let padded: String = fraction.chars().chain("0".repeat(places).chars()).take(places).collect();
    let fine: i64 = if padded.is_empty() { 0 } else { padded.parse().ok()? };
    whole.checked_mul(10_i64.checked_pow(exponent.unsigned_abs())?)?.checked_add(fine)
}

#[cfg(test)]
mod tests {
    use super::super::lax;
    use super::*;

    #[test]
    fn times_are_read_to_the_microsecond() {
        for (text, exponent, us) in [
            ("1405546326.853474", 6, Some(1_405_546_326_853_474)),
            ("1405546326.8534749", 6, Some(1_405_546_326_853_474)),
            ("1405546326", 6, Some(1_405_546_326_000_000)),
            ("1599863938941", 3, Some(1_599_863_938_941_000)),
            ("1544712660300000999", -3, Some(1_544_712_660_300_000)),
            ("7.9", 0, Some(7)),
            ("-1", 0, None),
            ("1e9", 6, None),
            ("", 6, None),
            (".5", 6, None),
            ("99999999999999999999", 0, None),
            ("9999999999999999", 6, None),
        ] {
            assert_eq!(scaled(text, exponent), us, "{text}");
        }
    }

    #[test]
    fn times_are_put_in_form_and_offsets_never_guessed() {
        for (text, form) in [
            ("2022-02-08T09:23:37.5Z", "2022-02-08T09:23:37.5Z"),
            ("2022-02-08 09:23:37+11:00", "2022-02-08T09:23:37+11:00"),
            ("2018-01-26T15:58:33.475+0000", "2018-01-26T15:58:33.475+00:00"),
            ("2024-01-15 09:00:00 -0730", "2024-01-15T09:00:00-07:30"),
        ] {
            let (got, us) = rfc3339(text).unwrap();
            assert_eq!((got.as_str(), Some(us)), (form, time::unix_us(form)), "{text}");
        }
        for text in ["2022-02-08T09:23:37", "2022-02-08", "", " ", "2022-02-08 +0100", "T", "x +0100"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        let plain = TimeSource { path: Path::parse("t[]", false).unwrap(), format: TimeFormat::Rfc3339 };
        let record = br#"{"t":["0001-01-01T00:00:00Z","1601-01-01T00:00:00Z","1970-01-01T00:00:00Z"]}"#;
        let record = lax::parse(record).unwrap();
        let (text, us, _) = plain.find(&record).unwrap();
        assert_eq!((text.as_str(), us), ("1970-01-01T00:00:00Z", 0), "an unset field is no time");
        let utc = TimeSource { path: Path::parse("t", false).unwrap(), format: TimeFormat::Utc };
        let record = lax::parse(br#"{"t":"2025-07-25 13:09:25.306109000"}"#).unwrap();
        assert_eq!(utc.find(&record).unwrap().0, "2025-07-25T13:09:25.306109000Z");
        let dotnet = TimeSource { path: Path::parse("t", false).unwrap(), format: TimeFormat::Dotnet };
        let record = lax::parse(br#"{"t":"\/Date(1763000000000)\/"}"#).unwrap();
        assert_eq!(dotnet.find(&record).unwrap().1, 1_763_000_000_000_000);
    }
}
