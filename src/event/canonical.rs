//! Canonical JSON, RFC 8785.
//!
//! In scope: the one byte string of a [`Value`]. Out of scope: reading it, which [`super::json`] does.
//!
//! Invariants: keys in UTF-16 order (section 3.2.3), ECMAScript numbers (3.2.2.3), minimal escapes (3.2.2.2),
//! no white space. The tree is not copied; an object whose keys are in order costs no allocation.

use std::cmp::Ordering;

use super::json::{Object, Value};
use super::number;

/// Appends the RFC 8785 form of `value` to `out`.
///
/// Recursion is as deep as the value, which [`super::json::JsonLimits`] bounds for parsed ones.
pub fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(n) => number::write_integer(*n, out),
        Value::Float(x) => number::write_float(*x, out),
        Value::String(s) => write_string(s, out),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => write_canonical_object(object, out),
    }
}

/// Appends the RFC 8785 form of `object` to `out`.
pub fn write_canonical_object(object: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    if object.iter().is_sorted_by(|a, b| utf16_cmp(a.0, b.0).is_lt()) {
        write_members(object.iter(), out);
    } else {
        let mut members: Vec<(&str, &Value)> = object.iter().collect();
        members.sort_unstable_by(|a, b| utf16_cmp(a.0, b.0));
        write_members(members.into_iter(), out);
    }
    out.push(b'}');
}

fn write_members<'a>(members: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut Vec<u8>) {
    for (position, (key, value)) in members.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write_canonical(value, out);
    }
}

/// Compares as UTF-16 code units, without encoding.
///
/// UTF-8 bytes order as code points do, and so does UTF-16 but for one case: a character beyond U+FFFF
/// (lead byte from F0) is a surrogate pair and comes before U+E000 to U+FFFF (lead bytes EE and EF). Two
/// strings first differ in lead bytes or, the lead bytes being equal, in continuation bytes below EE.
pub(super) fn utf16_cmp(a: &str, b: &str) -> Ordering {
    match a.bytes().zip(b.bytes()).find(|(x, y)| x != y) {
        None => a.len().cmp(&b.len()),
        Some((x, y)) if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) => y.cmp(&x),
        Some((x, y)) => x.cmp(&y),
    }
}

/// Appends `s` quoted: the seven short escapes, `\u00xx` for other control characters, all else as it is.
pub(super) fn write_string(s: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = s.as_bytes();
    while let Some(at) = first_to_escape(rest) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&special, after)) = from.split_first() else { break };
        write_escape(special, out);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first byte is that no JSON string holds as it is: a quote, a backslash or a control character.
///
/// Eight bytes at a time: in `v - 0x01…01 & !v`, the top bit of the lowest byte that was zero is set and none
/// below it, and likewise for bytes less than 0x20.
pub(crate) fn first_to_escape(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOP_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |v: u64, limit: u64| v.wrapping_sub(ONES.wrapping_mul(limit)) & !v & TOP_BITS;
    let equal = |v: u64, byte: u8| below(v ^ u64::from_ne_bytes([byte; 8]), 1);
    let (blocks, rest) = text.as_chunks::<8>();
    for (block, at) in blocks.iter().zip((0..).step_by(8)) {
        let v = u64::from_le_bytes(*block);
        let found = below(v, 0x20) | equal(v, b'"') | equal(v, b'\\');
        if found != 0 {
            return Some(at + usize::try_from(found.trailing_zeros() / 8).unwrap_or(0));
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    rest.iter().position(is_special).map(|at| text.len() - rest.len() + at)
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        b'"' | b'\\' => byte,
        _ => {
            let low = byte & 0x0F;
            let digit = if low < 10 { b'0' + low } else { b'a' + (low - 10) };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

impl Value {
    /// The RFC 8785 form.
    ///
    /// ```
    /// use counterfoil::event::json::{JsonLimits, parse};
    /// let value = parse(br#"{"b": 1.50, "a": "\u00e9"}"#, &JsonLimits::default())?;
    /// assert_eq!(value.to_canonical(), r#"{"a":"é","b":1.5}"#.as_bytes());
    /// # Ok::<(), counterfoil::event::json::JsonError>(())
    /// ```
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write_canonical(self, &mut out);
        out
    }
}

impl Object {
    /// The RFC 8785 form.
    #[must_use]
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write_canonical_object(self, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn surrogate_pairs_come_before_the_private_use_area() {
        assert_eq!(utf16_cmp("\u{1F602}", "\u{FB33}"), Ordering::Less);
        assert_eq!(utf16_cmp("\u{1F602}", "\u{D7FF}"), Ordering::Greater);
        assert_eq!(utf16_cmp("a", "aa"), Ordering::Less);
    }

    #[test]
    fn control_characters_use_the_shortest_escape() {
        let all: String = (0_u8..0x20).map(char::from).chain(['"', '\\', '/', '\u{7F}']).collect();
        let mut out = Vec::new();
        write_string(&all, &mut out);
        let expected = concat!(
            r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#,
            r"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017",
            r"\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f",
            "\\\"\\\\/\u{7F}\""
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn the_first_to_escape_is_found_wherever_it_stands(text: Vec<u8>, plain in 0_usize..40) {
            let mut text = text;
            text.splice(0..0, std::iter::repeat_n(b' ', plain));
            let expected = text.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
            prop_assert_eq!(first_to_escape(&text), expected);
        }

        #[test]
        fn order_is_that_of_utf16(a in "[a\u{e9}\u{d7ff}\u{e000}-\u{ffff}\u{10000}\u{10ffff}]{0,4}",
                                  b in "[a\u{e9}\u{d7ff}\u{e000}-\u{ffff}\u{10000}\u{10ffff}]{0,4}") {
            prop_assert_eq!(utf16_cmp(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
        }
    }
}
