//! Rules: what a record must look like, and what its event is then made of.
//!
//! In scope: conditions, where a field's value comes from, times. Out of scope: reading rules from a
//! file ([`super::file`]) and choosing among them ([`super`]).
//!
//! Invariant: a value is a scalar of the record, a table's entry or a constant of the mapping; nothing
//! is made up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::lax::Node;
use super::path::Path;
use crate::event::json::{Object, Value};
use crate::event::time;

/// Characters of a value taken from a record. Longer ones are not identifiers but content, which the
/// raw attachment holds; 512 is twice the longest Amazon resource name of IAM.
pub(super) const VALUE_CHARS_MAX: usize = 512;

/// From a vendor's code to ours.
pub(super) type Table = BTreeMap<String, String>;

/// A test of what is at a path; below `[]` one item that passes is enough.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) path: Path,
    pub(super) test: Test,
}

#[derive(Debug)]
pub(super) enum Test {
    /// Something but `null` is there, or nothing but `null`.
    Exists(bool),
    OneOf(BTreeSet<String>),
    Prefix(Vec<String>),
    Suffix(Vec<String>),
}

impl Condition {
    pub(super) fn holds(&self, record: &Node<'_>) -> bool {
        let text_passes = |passes: &dyn Fn(&str) -> bool| {
            let hit = |node: &Node<'_>| node.text().is_some_and(passes).then_some(());
            self.path.find(record, &mut { hit }).is_some()
        };
        match &self.test {
            Test::Exists(wanted) => {
                let there = self.path.find(record, &mut |node| (*node != Node::Null).then_some(()));
                there.is_some() == *wanted
            }
            Test::OneOf(texts) => text_passes(&|text| texts.contains(text)),
            Test::Prefix(starts) => {
                text_passes(&|text| starts.iter().any(|start| text.starts_with(start)))
            }
            Test::Suffix(ends) => text_passes(&|text| ends.iter().any(|end| text.ends_with(end))),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Constant(Value),
    Path { path: Path, table: Option<Arc<Table>>, prefix: Option<String>, boolean: bool },
    First(Vec<Source>),
}

impl Source {
    pub(super) fn value(&self, record: &Node<'_>) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::First(sources) => sources.iter().find_map(|source| source.value(record)),
            Self::Path { path, table, prefix, boolean } => path.find(record, &mut |node| {
                let text = node.text().filter(|text| is_value(text))?;
                let text = match table {
                    Some(table) => table.get(text)?,
                    None => text,
                };
                match (boolean, text) {
                    (true, "true") => Some(Value::Bool(true)),
                    (true, "false") => Some(Value::Bool(false)),
                    (true, _) => None,
                    (false, _) => {
                        Some(Value::String(format!("{}{text}", prefix.as_deref().unwrap_or(""))))
                    }
                }
            }),
        }
    }
}

/// Whether a vendor's text can stand in a field: not empty, not content, no control characters.
fn is_value(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= VALUE_CHARS_MAX
        && !text.chars().any(char::is_control)
}

/// A field of `data` and where its value comes from.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) source: Source,
}

/// One rule. Without a type its records are custom events.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) type_name: Option<String>,
    pub(super) all: Vec<Condition>,
    pub(super) any: Vec<Condition>,
    pub(super) required: Vec<Field>,
    pub(super) optional: Vec<Field>,
    pub(super) note: Option<String>,
}

impl Rule {
    pub(super) fn matches(&self, record: &Node<'_>) -> bool {
        let any = self.any.is_empty() || self.any.iter().any(|condition| condition.holds(record));
        any && self.all.iter().all(|condition| condition.holds(record))
    }

    /// The event's `data`, or the name of the required field for which the record has no value.
    pub(super) fn data(&self, record: &Node<'_>) -> Result<Object, &str> {
        let mut data = Object::new();
        for field in &self.required {
            let value = field.source.value(record).ok_or(field.name.as_str())?;
            data.insert(field.name.as_str(), value);
        }
        fill(&mut data, &self.optional, record);
        Ok(data)
    }
}

/// Adds the fields for which the record has a value.
pub(super) fn fill(data: &mut Object, fields: &[Field], record: &Node<'_>) {
    for field in fields {
        if let Some(value) = field.source.value(record) {
            data.insert(field.name.as_str(), value);
        }
    }
}

/// Records that are events of ours already.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) types: BTreeSet<String>,
    pub(super) prefix: String,
}

impl Pass {
    /// Whether the record claims to be an event: `CloudEvents` or the flat form, of a type we know.
    pub(super) fn claims(&self, record: &Node<'_>) -> bool {
        let text = |key: &str| match record.get(key) {
            Some(Node::String(text)) => Some(text.as_ref()),
            _ => None,
        };
        let cloud_event = text("specversion").is_some();
        let flat = text("org").is_some() && text("producer").is_some();
        let known = |name: &str| self.types.contains(name) || name.starts_with(&self.prefix);
        (cloud_event || flat) && text("id").is_some() && text("type").is_some_and(known)
    }
}

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
}

impl TimeSource {
    /// The time as RFC 3339 text (verbatim where it is that) and in microseconds since 1970. The ledger
    /// takes no earlier moment, and in audit records one is a field that was never set (year 1, 1601).
    pub(super) fn time(&self, record: &Node<'_>) -> Option<(String, i64)> {
        self.path.find(record, &mut |node| self.read(node.text()?).filter(|(_, us)| *us >= 0))
    }

    fn read(&self, text: &str) -> Option<(String, i64)> {
        let exponent = match self.format {
            TimeFormat::Rfc3339 => return rfc3339(text),
            TimeFormat::Utc => return rfc3339(&format!("{text}Z")).or_else(|| rfc3339(text)),
            TimeFormat::UnixS => 6,
            TimeFormat::UnixMs => 3,
            TimeFormat::UnixUs => 0,
            TimeFormat::UnixNs => -3,
        };
        let us = scaled(text, exponent)?;
        Some((time::rfc3339(us)?, us))
    }
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

    fn holds(json: &str, path: &str, test: Test) -> bool {
        Condition { path: Path::parse(path).unwrap(), test }.holds(&lax::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn conditions_compare_texts() {
        let json = r#"{"ro":true,"n":9007199254740993,"name":"GetObject","null":null,
            "list":[{"v":"a"},{"v":"b"}]}"#;
        let one_of = |text: &str| Test::OneOf([text.to_owned()].into());
        assert!(holds(json, "ro", one_of("true")));
        assert!(holds(json, "n", one_of("9007199254740993")));
        assert!(!holds(json, "n", one_of("9007199254740992")));
        assert!(holds(json, "name", Test::Prefix(vec!["Put".into(), "Get".into()])));
        assert!(holds(json, "name", Test::Suffix(vec!["Object".into()])));
        assert!(!holds(json, "name", Test::Suffix(vec!["Get".into()])));
        assert!(holds(json, "list[].v", one_of("b")) && !holds(json, "list[].v", one_of("c")));
        assert!(holds(json, "null", Test::Exists(false)) && holds(json, "list", Test::Exists(true)));
        assert!(holds(json, "gone", Test::Exists(false)) && !holds(json, "gone", Test::Exists(true)));
    }

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
        let plain = TimeSource { path: Path::parse("t[]").unwrap(), format: TimeFormat::Rfc3339 };
        let record = br#"{"t":["0001-01-01T00:00:00Z","1601-01-01T00:00:00Z","1970-01-01T00:00:00Z"]}"#;
        let found = plain.time(&lax::parse(record).unwrap()).unwrap();
        assert_eq!(found, ("1970-01-01T00:00:00Z".to_owned(), 0), "an unset field is no time");
        let utc = TimeSource { path: Path::parse("t").unwrap(), format: TimeFormat::Utc };
        let record = lax::parse(br#"{"t":"2025-07-25 13:09:25.306109000"}"#).unwrap();
        assert_eq!(utc.time(&record).unwrap().0, "2025-07-25T13:09:25.306109000Z");
    }

    #[test]
    fn a_value_is_never_content() {
        let source = |path: &str| Source::Path {
            path: Path::parse(path).unwrap(),
            table: None,
            prefix: Some("p:".to_owned()),
            boolean: false,
        };
        let long = "x".repeat(VALUE_CHARS_MAX + 1);
        let limit = "x".repeat(VALUE_CHARS_MAX);
        let json = format!(
            r#"{{"ok":"a b","limit":"{limit}","long":"{long}","line":"a\nb","blank":" ","obj":{{}}}}"#
        );
        let record = lax::parse(json.as_bytes()).unwrap();
        assert_eq!(source("ok").value(&record), Some(Value::from("p:a b")));
        assert!(source("limit").value(&record).is_some());
        for path in ["long", "line", "blank", "obj", "gone"] {
            assert_eq!(source(path).value(&record), None, "{path}");
        }
    }
}
