//! What a single `CloudEvents` attribute may be.
//!
//! In scope: names, the syntax of values, and which attributes the ledger refuses. Out of scope: which of
//! them an event needs, and JSON.
//!
//! Invariant: an error names an attribute that the ledger knows, or says `extension`.

use super::error::{EventError, EventErrorKind};
use super::json::Value;
use super::limits::{ATTRIBUTE_CHARS_MAX, ATTRIBUTE_NAME_CHARS_MAX};
use super::time::unix_us;

/// What an unknown attribute is called in errors, so that its name is not echoed.
const EXTENSION: &str = "extension";

/// Characters in `correlationid` and `causationid`.
const CORRELATION_CHARS_MAX: usize = 128;

/// Characters in `tracestate` (W3C Trace Context section 3.3.1.5: at least 512 must be passed on).
const TRACESTATE_CHARS_MAX: usize = 512;

/// The `CloudEvents` data classification extension: whoever does not honour it must refuse the event.
const CLASSIFICATION: [&str; 3] = ["dataclassification", "dataregulation", "datacategory"];

/// Attributes that errors may name.
const KNOWN: [&str; 17] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "sequence",
    "subject",
    "traceparent",
    "tracestate",
    "correlationid",
    "causationid",
    "dataschema",
    "recordedtime",
    "sequencetype",
    "dssematerial",
    "partitionkey",
    "dataref",
];

/// An [`EventErrorKind::InvalidAttribute`], pointing at the attribute unless its name is not to be told.
pub(super) fn invalid(name: &'static str, reason: &'static str) -> EventError {
    let pointer = if name == EXTENSION { String::new() } else { format!("/{name}") };
    EventError::at(EventErrorKind::InvalidAttribute { name, reason }, pointer)
}

/// The name an attribute goes by in errors.
pub(super) fn told_as(name: &str) -> &'static str {
    KNOWN.into_iter().find(|known| *known == name).unwrap_or(EXTENSION)
}

/// Checks a name: `CloudEvents` 1.0 section "Naming conventions", and at most 20 characters.
pub(super) fn check_name(name: &str) -> Result<(), EventError> {
    let fits = (1..=ATTRIBUTE_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if fits { Ok(()) } else { Err(invalid(EXTENSION, "names are 1 to 20 of a-z and 0-9")) }
}

/// A string of `chars_min` to `chars_max` characters, none of them a control or a noncharacter.
pub(super) fn text(
    name: &'static str,
    value: Value,
    chars_min: usize,
    chars_max: usize,
) -> Result<String, EventError> {
    let Value::String(text) = value else { return Err(invalid(name, "must be a string")) };
    check_text(name, &text, chars_min, chars_max)?;
    Ok(text)
}

fn check_text(
    name: &'static str,
    text: &str,
    chars_min: usize,
    chars_max: usize,
) -> Result<(), EventError> {
    let mut chars = 0;
    for c in text.chars() {
        let code = u32::from(c);
        let noncharacter = (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE;
        if c.is_control() || noncharacter {
            return Err(invalid(name, "must have no control characters or noncharacters"));
        }
        chars += 1;
    }
    if chars < chars_min {
        return Err(invalid(name, "must not be empty"));
    }
    if chars > chars_max {
        return Err(invalid(name, "is too long"));
    }
    Ok(())
}

/// Checks an attribute that has no field of its own in an event.
pub(super) fn check_extension(name: &str, value: &Value) -> Result<(), EventError> {
    if name.starts_with("ledger") {
        let kind =
            EventErrorKind::InvalidAttribute { name: "ledger", reason: "is set by the ledger only" };
        return Err(EventError::new(kind));
    }
    if let Some(refused) = CLASSIFICATION.into_iter().find(|refused| *refused == name) {
        let pointer = format!("/{refused}");
        return Err(EventError::at(EventErrorKind::UnsupportedAttribute(refused), pointer));
    }
    let name = told_as(name);
    let text = match value {
        Value::String(text) => text,
        _ if name != EXTENSION => return Err(invalid(name, "must be a string")),
        Value::Bool(_) => return Ok(()),
        Value::Int(n) if i32::try_from(*n).is_ok() => return Ok(()),
        Value::Int(_) => return Err(invalid(name, "must be an integer of 32 bits")),
        _ => return Err(invalid(name, "must be a string, a boolean or an integer")),
    };
    let (chars_min, chars_max) = match name {
        "correlationid" | "causationid" => (1, CORRELATION_CHARS_MAX),
        "tracestate" => (1, TRACESTATE_CHARS_MAX),
        EXTENSION => (0, ATTRIBUTE_CHARS_MAX),
        _ => (1, ATTRIBUTE_CHARS_MAX),
    };
    check_text(name, text, chars_min, chars_max)?;
    match name {
        "traceparent" if !is_traceparent(text) => Err(invalid(name, "must be a W3C traceparent")),
        "dataschema" if !is_uri(text) => Err(invalid(name, "must be a URI")),
        "recordedtime" if unix_us(text).is_none() => Err(invalid(name, "must be an RFC 3339 time")),
        _ => Ok(()),
    }
}

/// `traceparent` of W3C Trace Context section 3.2.2; a later version may go on after another `-`.
fn is_traceparent(text: &str) -> bool {
    let mut fields = text.split('-');
    let mut field = |length: usize| {
        let field = fields.next().unwrap_or_default();
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (field.len() == length && field.bytes().all(hex)).then_some(field)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) =
        (field(2), field(32), field(16), field(2))
    else {
        return false;
    };
    let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
    let may_end_here = version != "00" || fields.next().is_none();
    version != "ff" && !is_zero(trace) && !is_zero(parent) && may_end_here
}

/// A URI-reference, RFC 3986 section 4.1: characters, percent-encodings, scheme, one fragment, and brackets
/// in the authority only.
pub(super) fn is_uri_reference(text: &str) -> bool {
    let first_segment = text.split(['/', '?', '#']).next().unwrap_or_default();
    let after_scheme = match first_segment.split_once(':') {
        Some((scheme, _)) if !is_scheme(scheme) => return false,
        Some((scheme, _)) => text.get(scheme.len() + 1..).unwrap_or_default(),
        None => text,
    };
    let (authority, rest) = match after_scheme.strip_prefix("//") {
        Some(hier) => hier.split_at(hier.find(['/', '?', '#']).unwrap_or(hier.len())),
        None => ("", after_scheme),
    };
    are_uri_characters(authority, true)
        && are_uri_characters(rest, false)
        && rest.bytes().filter(|b| *b == b'#').count() <= 1
}

/// A URI, RFC 3986 section 3: a URI-reference with a scheme.
fn is_uri(text: &str) -> bool {
    let first_segment = text.split(['/', '?', '#']).next().unwrap_or_default();
    first_segment.contains(':') && is_uri_reference(text)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn are_uri_characters(text: &str, brackets: bool) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            b'[' | b']' => brackets,
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// `type/subtype` in lower case, without parameters, of a media type (RFC 9110 section 8.3.1); `None` if it
/// is none.
pub(super) fn media_type_essence(text: &str) -> Option<String> {
    let token = |part: &str| {
        let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(tchar)
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim_end_matches([' ', '\t']);
    let (major, minor) = essence.split_once('/')?;
    let printable = parameters.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    (token(major) && token(minor) && printable).then(|| essence.to_ascii_lowercase())
}

/// Whether a media type's essence is JSON: `application/json`, `text/json` or a `+json` suffix
/// (`CloudEvents` JSON format section 3.1).
pub(super) fn is_json(essence: &str) -> bool {
    essence.ends_with("/json") || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_references() {
        for yes in [
            "/a/b",
            "a",
            "a/b.c",
            "aluma/aluma.core",
            "//h/p",
            "//[::1]:80/p",
            "urn:x:y",
            "https://h/a?b#c",
            "a%20b",
            "?q",
            "#f",
            "./a:b",
            "mailto:cncf@example.org",
            "",
        ] {
            assert!(is_uri_reference(yes), "{yes}");
        }
        for no in [
            "a b", "a:b c", "1a:b", ":a", "%2", "%zz", "a#b#c", "a[0]", "/a[0]", "//h/[", "é", "a\\b",
            "<a>", "a\"b", "a^b", "a{b}", "a|b",
        ] {
            assert!(!is_uri_reference(no), "{no}");
        }
        assert!(is_uri("urn:x") && !is_uri("/x") && !is_uri("x/y:z"));
    }

    #[test]
    fn traceparents() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        assert!(is_traceparent(&format!("01{}-more", &good[2..])));
        for no in [
            "",
            "00",
            &good[..54],
            &format!("{good}-more"),
            &good.to_uppercase(),
            &format!("ff{}", &good[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert!(!is_traceparent(no), "{no}");
        }
    }

    #[test]
    fn media_types() {
        let essence = |text| media_type_essence(text);
        assert_eq!(essence("Application/JSON ; charset=utf-8").as_deref(), Some("application/json"));
        for no in ["", "json", "a/", "/b", "a/b c", "a b/c", "a/b;\u{7F}", "a/b/c"] {
            assert_eq!(essence(no), None, "{no}");
        }
        assert!(is_json("application/json") && is_json("application/x+json") && !is_json("text/plain"));
    }
}
