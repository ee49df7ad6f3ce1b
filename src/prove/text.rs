//! Writing JSON text straight into a byte buffer, and the one time format of receipts.
//!
//! In scope: string escapes, lower-case hex, RFC 3339 with microseconds. Out of scope: reading
//! (that is `event::json`) and canonical form (receipts and reports are not hashed).
//! Invariant: whatever is written between quotes here is a complete, valid JSON string.

use crate::event::canonical::first_to_escape;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// Appends `text` as a JSON string with its quotes, escaped as RFC 8259 asks and no further.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_to_escape(rest) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = tail.split_first() else { break };
        escape(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&hex_pair(other));
        }
    }
}

/// The two digits of a byte. Computed, not looked up, so that many are made at once.
fn hex_pair(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Appends `bytes` as a quoted lower-case hex string.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    let (pairs, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = hex_pair(*byte);
    }
    out.push(b'"');
}

/// Appends `"name":`; `name` must need no escapes (all callers pass literals).
pub(crate) fn key(out: &mut Vec<u8>, name: &'static str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a comma unless `out` ends where a first item belongs.
pub(crate) fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'[' | b'{' | b':' | b',')) {
        out.push(b',');
    }
}

/// Appends `number` in decimal, without allocating.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    digits(out, number, 1);
}

/// Appends `number` in decimal with at least `width` (1..=20) digits.
fn digits(out: &mut Vec<u8>, number: u64, width: usize) {
    let start = out.len();
    let mut rest = number;
    let mut count = 0;
    while rest > 0 || count < width {
        out.push(u8::try_from(rest % 10).unwrap_or(0) + b'0');
        rest /= 10;
        count += 1;
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

/// Appends a time (Unix microseconds) as RFC 3339 in UTC with six fractional digits,
/// `2026-11-22T01:48:10.000123Z`. Years after 9999 take more digits; such text is not RFC 3339.
pub(crate) fn timestamp(out: &mut Vec<u8>, time_us: u64) {
    let seconds = time_us / MICROS_PER_SECOND;
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    digits(out, year, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, of_day / 3600, 2);
    out.push(b':');
    digits(out, of_day / 60 % 60, 2);
    out.push(b':');
    digits(out, of_day % 60, 2);
    out.push(b'.');
    digits(out, time_us % MICROS_PER_SECOND, 6);
    out.push(b'Z');
}

/// The proleptic Gregorian date of a day counted from 1970-01-01: year, month 1..=12, day 1..=31.
/// Days are counted from 0000-03-01 instead, so that the leap day ends its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let shifted = days + DAYS_FROM_0000_03_01_TO_1970;
    let era = shifted / DAYS_PER_ERA;
    let of_era = shifted % DAYS_PER_ERA;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// An error and what caused it, in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(time_us: u64) -> String {
        let mut out = Vec::new();
        timestamp(&mut out, time_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_agree_with_a_calendar_library() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(stamp(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        let mut time_us = 0_u64;
        while time_us < 253_402_300_800_000_000 {
            let i = i64::try_from(time_us).unwrap();
            let theirs = jiff::Timestamp::from_microsecond(i).unwrap();
            assert_eq!(stamp(time_us), format!("{theirs:.6}"));
            time_us += 6_543_210_987_654_321 / 7;
        }
        assert_eq!(stamp(253_402_300_799_999_999), "9999-12-31T23:59:59.999999Z");
        assert!(stamp(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn strings_survive_a_json_reader() {
        for text in ["", "plain", "q\"b\\n\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}😀", "\\", "\""] {
            let mut out = Vec::new();
            string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_and_hex() {
        let mut out = Vec::new();
        number(&mut out, 0);
        comma(&mut out);
        number(&mut out, u64::MAX);
        comma(&mut out);
        hex(&mut out, &[0x00, 0xab, 0xff]);
        assert_eq!(out, b"0,18446744073709551615,\"00abff\"");
    }
}
