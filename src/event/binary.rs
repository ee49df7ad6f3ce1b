//! Binary mode: attributes in `ce-` headers, content in the body.
//!
//! In scope: the `CloudEvents` 1.0 HTTP protocol binding, section 3.1. Out of scope: HTTP; header names come
//! in lower case and values as text.
//!
//! Invariant: what comes out is what the structured form of the same event gives.

use super::attributes::{check_name, invalid, is_json, media_type_essence, told_as};
use super::envelope::{Event, check_size, from_cloud_event, json_error, raw_too_large};
use super::error::{EventError, EventErrorKind};
use super::json::{JsonLimits, Object, Value};
use super::limits::{DEPTH_MAX, EVENT_BYTES_MAX, EVENT_VALUES_MAX, RAW_BYTES_MAX};
use super::parser::parse_bounded;

const PREFIX: &str = "ce-";

/// Reads an event in binary mode. A body whose `content-type` is JSON is `data`, any other body the raw
/// attachment, an empty one nothing. Headers without `ce-` but `content-type` are not looked at.
///
/// # Errors
/// The first offence. Headers and JSON body may have 64 KiB together, another body 1 MiB.
pub fn parse_binary(headers: &[(&str, &str)], body: &[u8]) -> Result<Event, EventError> {
    let mut members = Object::new();
    let mut header_bytes = 0;
    let mut content_type = None;
    for (name, value) in headers {
        if *name == "content-type" {
            if content_type.replace(*value).is_some() {
                return Err(invalid("datacontenttype", "must be sent once"));
            }
        } else if let Some(name) = name.strip_prefix(PREFIX) {
            header_bytes += name.len() + value.len();
            check_size(header_bytes)?;
            check_name(name)?;
            if matches!(name, "data" | "datacontenttype") {
                return Err(invalid("extension", "the body and content-type carry the content"));
            }
            let decoded = decode(value).map_err(|reason| invalid(told_as(name), reason))?;
            if members.insert(name, decoded).is_some() {
                return Err(invalid(told_as(name), "must be sent once"));
            }
        }
    }
    if let Some(content_type) = content_type {
        members.insert("datacontenttype", content_type);
    }
    if body.is_empty() {
        // Nothing for the content type to describe, JSON or not.
        members.remove("datacontenttype");
        return from_cloud_event(members, None);
    }
    let json = content_type.and_then(media_type_essence).is_some_and(|essence| is_json(&essence));
    if !json {
        if body.len() > RAW_BYTES_MAX {
            return Err(raw_too_large());
        }
        return from_cloud_event(members, Some(body.to_vec()));
    }
    check_size(header_bytes + body.len())?;
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: EVENT_BYTES_MAX };
    match parse_bounded(body, &limits, EVENT_VALUES_MAX).map_err(json_error)? {
        data @ Value::Object(_) => members.insert("data", data),
        Value::Null => None,
        _ => return Err(EventError::at(EventErrorKind::NotAnObject, "/data")),
    };
    from_cloud_event(members, None)
}

/// Decodes a header's value (section 3.1.3.2): a quoted string is unquoted, then percent-encodings are
/// decoded once, and the result must be UTF-8.
fn decode(header: &str) -> Result<String, &'static str> {
    let header = header.trim_matches([' ', '\t']);
    let unquoted = match header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => unquote(quoted)?,
        None => header.to_owned(),
    };
    let mut decoded = Vec::with_capacity(unquoted.len());
    let mut bytes = unquoted.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let code = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(code.ok_or("has a bad percent-encoding")?);
    }
    String::from_utf8(decoded).map_err(|_| "is not UTF-8 once decoded")
}

/// The content of a quoted string (RFC 9110 section 5.6.4).
fn unquote(quoted: &str) -> Result<String, &'static str> {
    let mut unquoted = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err("has a quote inside a quoted string"),
            '\\' => {
                let escaped = chars.next();
                unquoted.push(escaped.ok_or("ends inside an escape")?);
            }
            _ => unquoted.push(c),
        }
    }
    Ok(unquoted)
}
