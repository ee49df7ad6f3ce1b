//! The event as a producer sends it.
//!
//! In scope: the typed event, from `CloudEvents` 1.0 JSON and from the flat form, and back to JSON.
//! Out of scope: whether its type is known and its data fit; many events in one body ([`super::batch`]).
//!
//! Invariants: an [`Event`] holds nothing that was not sent. `null` in place of an attribute is its absence.
//!
//! # The ledger's profile of `CloudEvents`
//! * `data` is a JSON object, or absent, which is the same as empty.
//! * `data_base64` is the vendor's own event, kept verbatim as [`Raw`]. Unlike in the specification it may
//!   stand beside `data`; `datacontenttype` is then its media type, `application/octet-stream` by default.
//! * `datacontenttype` without `data_base64` must be JSON; `application/json`, the default, is not kept.
//! * `sequence` is a decimal number as a string; leading zeros are not kept.
//! * Attributes named `ledger…`, and those of the data classification extension, are refused.
//!
//! # The flat form
//! Told by the absence of `specversion`. `id`, `type` and `at` (the time) are the event's; `org` and
//! `producer` make its source, `org/producer`; `seq` is its sequence; `recorded_at` is dropped; every other
//! member is a field of `data`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::attributes::{
    check_extension, check_name, invalid, is_json, is_uri_reference, media_type_essence, text,
};
use super::error::{EventError, EventErrorKind};
use super::json::{JsonErrorKind, JsonLimits, Object, Value};
use super::limits::{
    ATTRIBUTES_MAX, DEPTH_MAX, EVENT_BYTES_MAX, EVENT_VALUES_MAX, ID_CHARS_MAX, MEDIA_TYPE_CHARS_MAX,
    RAW_BYTES_MAX, SOURCE_CHARS_MAX, STRUCTURED_BYTES_MAX, SUBJECT_CHARS_MAX, TIME_CHARS_MAX,
    TYPE_CHARS_MAX,
};
use super::parser::parse_bounded;
use super::time::unix_us;

pub use super::batch::{parse_batch, parse_ndjson};
pub use super::binary::parse_binary;

/// Media type of an attachment that came without one (RFC 2046 section 4.5.1).
pub(super) const RAW_CONTENT_TYPE: &str = "application/octet-stream";

/// An event, read from any of its forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `id`: unique within its source for ever, 1 to 128 characters.
    pub id: String,
    /// `source`: who sent it, a URI-reference of 1 to 256 characters.
    pub source: String,
    /// `type`.
    pub type_name: String,
    /// `time` as sent, RFC 3339.
    pub time: Option<String>,
    /// `time` in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: Option<i64>,
    /// `sequence`: the producer's own count.
    pub sequence: Option<u64>,
    /// `subject`: the resource the event is about, never a person.
    pub subject: Option<String>,
    /// Every other attribute (`traceparent`, `correlationid`, `causationid`, `dataschema`, extensions):
    /// strings, booleans and integers.
    pub attributes: Object,
    /// `data`; empty if none was sent.
    pub data: Object,
    /// The vendor's own bytes, kept verbatim.
    pub raw: Option<Raw>,
}

/// An attachment: bytes the ledger keeps and does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Media type of `bytes`.
    pub content_type: String,
    /// The bytes, at most 1 MiB.
    pub bytes: Vec<u8>,
}

/// Reads one event: `CloudEvents` JSON (structured mode), or the flat form.
///
/// # Errors
/// The first offence. The text may have 64 KiB besides `data_base64`'s value, and 2 MiB in all.
///
/// ```
/// use counterfoil::event::envelope::parse_structured;
/// let flat = parse_structured(br#"{"id":"e1","org":"o","producer":"p","type":"t","seq":7,"to":"AWS"}"#)?;
/// assert_eq!((flat.source.as_str(), flat.sequence), ("o/p", Some(7)));
/// let same = parse_structured(
///     br#"{"specversion":"1.0","id":"e1","source":"o/p","type":"t","sequence":"7","data":{"to":"AWS"}}"#,
/// )?;
/// assert_eq!(flat, same);
/// # Ok::<(), counterfoil::event::EventError>(())
/// ```
pub fn parse_structured(body: &[u8]) -> Result<Event, EventError> {
    if body.len() > STRUCTURED_BYTES_MAX {
        return Err(EventError::new(EventErrorKind::TooLarge { limit_bytes: STRUCTURED_BYTES_MAX }));
    }
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: STRUCTURED_BYTES_MAX };
    let value = parse_bounded(body, &limits, EVENT_VALUES_MAX).map_err(json_error)?;
    event_of_text(value, body.len())
}

/// Reads an event from a JSON value, either form.
///
/// # Errors
/// The first offence; the size that counts is that of the value's canonical text.
pub fn from_value(value: Value) -> Result<Event, EventError> {
    let text_bytes = value.to_canonical().len();
    event_of_text(value, text_bytes)
}

/// An offence of JSON as one of the event: too many values are too large an event.
pub(super) fn json_error(error: super::json::JsonError) -> EventError {
    let mut error = EventError::from(error);
    if error.kind == EventErrorKind::Json(JsonErrorKind::TooLong) {
        error.kind = EventErrorKind::TooLarge { limit_bytes: EVENT_BYTES_MAX };
    }
    error
}

/// Reads an event from a JSON value whose text had `text_bytes`.
pub(super) fn event_of_text(value: Value, text_bytes: usize) -> Result<Event, EventError> {
    let Value::Object(object) = value else { return Err(EventError::new(EventErrorKind::NotAnObject)) };
    if object.contains_key("specversion") {
        let raw_chars = object.get("data_base64").and_then(Value::as_str).map_or(0, str::len);
        check_size(text_bytes.saturating_sub(raw_chars))?;
        from_cloud_event(object, None)
    } else if ["org", "producer", "at"].iter().any(|name| object.contains_key(name)) {
        check_size(text_bytes)?;
        from_flat(object)
    } else {
        Err(missing("specversion"))
    }
}

/// Checks the size of an event without its attachment.
pub(super) fn check_size(bytes: usize) -> Result<(), EventError> {
    if bytes > EVENT_BYTES_MAX {
        return Err(EventError::new(EventErrorKind::TooLarge { limit_bytes: EVENT_BYTES_MAX }));
    }
    Ok(())
}

fn missing(name: &'static str) -> EventError {
    EventError::new(EventErrorKind::MissingAttribute(name))
}

/// Reads the members of a `CloudEvents` JSON object; `raw` is the attachment if it came beside them.
pub(super) fn from_cloud_event(object: Object, raw: Option<Vec<u8>>) -> Result<Event, EventError> {
    match object.get("specversion") {
        None => return Err(missing("specversion")),
        Some(Value::String(version)) if version == "1.0" => {}
        Some(_) => return Err(invalid("specversion", "must be \"1.0\"")),
    }
    let mut draft = Draft { raw, ..Draft::default() };
    for (name, value) in object {
        draft.take(name, value)?;
    }
    draft.finish()
}

fn from_flat(object: Object) -> Result<Event, EventError> {
    let mut draft = Draft::default();
    let mut data = Vec::with_capacity(object.len());
    let (mut org, mut producer) = (None, None);
    for (name, value) in object {
        match name.as_str() {
            "recorded_at" => {}
            "id" | "type" | "at" | "org" | "producer" | "seq" if value.is_null() => {}
            "id" | "type" => draft.take(name, value)?,
            "at" => draft.time = Some(time("at", value)?),
            "org" => org = Some(text("org", value, 1, SOURCE_CHARS_MAX)?),
            "producer" => producer = Some(text("producer", value, 1, SOURCE_CHARS_MAX)?),
            "seq" => draft.sequence = Some(flat_sequence(&value)?),
            _ => data.push((name, value)),
        }
    }
    let org = org.ok_or_else(|| missing("org"))?;
    let producer = producer.ok_or_else(|| missing("producer"))?;
    if org.contains('/') {
        // Else `a/b` with `c` and `a` with `b/c` would be one source.
        return Err(invalid("org", "must have no slash"));
    }
    draft.source = Some(source("producer", format!("{org}/{producer}"))?);
    draft.data = Some(Object::from_unique(data));
    draft.finish()
}

fn flat_sequence(value: &Value) -> Result<u64, EventError> {
    let number = value.as_i64().and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| invalid("seq", "must be an integer from 0"))
}

/// What has been read of an event so far.
#[derive(Default)]
struct Draft {
    id: Option<String>,
    source: Option<String>,
    type_name: Option<String>,
    time: Option<(String, i64)>,
    sequence: Option<u64>,
    subject: Option<String>,
    content_type: Option<String>,
    attributes: Vec<(String, Value)>,
    data: Option<Object>,
    raw: Option<Vec<u8>>,
}

impl Draft {
    /// Takes one member of a `CloudEvents` JSON object; names do not repeat.
    fn take(&mut self, name: String, value: Value) -> Result<(), EventError> {
        if name != "data_base64" {
            check_name(&name)?;
        }
        if value.is_null() {
            return Ok(());
        }
        match name.as_str() {
            "specversion" => {}
            "id" => self.id = Some(text("id", value, 1, ID_CHARS_MAX)?),
            "source" => {
                self.source = Some(source("source", text("source", value, 1, SOURCE_CHARS_MAX)?)?);
            }
            "type" => self.type_name = Some(text("type", value, 1, TYPE_CHARS_MAX)?),
            "time" => self.time = Some(time("time", value)?),
            "sequence" => self.sequence = Some(sequence(&value)?),
            "subject" => self.subject = Some(text("subject", value, 1, SUBJECT_CHARS_MAX)?),
            "datacontenttype" => {
                let content_type = text("datacontenttype", value, 1, MEDIA_TYPE_CHARS_MAX)?;
                self.content_type = Some(content_type);
            }
            "data" => match value {
                Value::Object(data) => self.data = Some(data),
                _ => return Err(invalid("data", "must be an object")),
            },
            "data_base64" => self.raw = Some(decode_raw(&value)?),
            _ => {
                check_extension(&name, &value)?;
                self.attributes.push((name, value));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Event, EventError> {
        let raw = self.settle_content()?;
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(invalid("extension", "there are too many"));
        }
        let (time, time_us) = self.time.unzip();
        Ok(Event {
            id: self.id.ok_or_else(|| missing("id"))?,
            source: self.source.ok_or_else(|| missing("source"))?,
            type_name: self.type_name.ok_or_else(|| missing("type"))?,
            time,
            time_us,
            sequence: self.sequence,
            subject: self.subject,
            attributes: Object::from_unique(self.attributes),
            data: self.data.unwrap_or_default(),
            raw,
        })
    }

    /// Gives `datacontenttype` to what it describes: the attachment if there is one, else `data`.
    fn settle_content(&mut self) -> Result<Option<Raw>, EventError> {
        let content_type = self.content_type.take();
        let essence = match content_type.as_deref().map(media_type_essence) {
            Some(None) => return Err(invalid("datacontenttype", "must be a media type")),
            Some(essence) => essence,
            None => None,
        };
        if let Some(bytes) = self.raw.take() {
            if bytes.len() > RAW_BYTES_MAX {
                return Err(raw_too_large());
            }
            let content_type = content_type.unwrap_or_else(|| RAW_CONTENT_TYPE.to_owned());
            return Ok(Some(Raw { content_type, bytes }));
        }
        if let (Some(essence), Some(content_type)) = (essence, content_type) {
            if !is_json(&essence) {
                return Err(invalid("datacontenttype", "must be JSON unless data_base64 is sent"));
            }
            if essence != "application/json" {
                self.attributes.push(("datacontenttype".to_owned(), Value::String(content_type)));
            }
        }
        Ok(None)
    }
}

/// A source: the text is checked already.
fn source(told_as: &'static str, text: String) -> Result<String, EventError> {
    if text.chars().count() > SOURCE_CHARS_MAX {
        return Err(invalid(told_as, "is too long"));
    }
    if !is_uri_reference(&text) {
        return Err(invalid(told_as, "must make the source a URI-reference"));
    }
    Ok(text)
}

fn time(told_as: &'static str, value: Value) -> Result<(String, i64), EventError> {
    let time = text(told_as, value, 1, TIME_CHARS_MAX)?;
    match unix_us(&time) {
        Some(us) => Ok((time, us)),
        None => Err(invalid(told_as, "must be an RFC 3339 time")),
    }
}

fn sequence(value: &Value) -> Result<u64, EventError> {
    let digits = value.as_str().filter(|s| s.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| invalid("sequence", "must be a string of decimal digits within 64 bits"))
}

pub(super) fn raw_too_large() -> EventError {
    EventError::new(EventErrorKind::RawTooLarge { limit_bytes: RAW_BYTES_MAX })
}

/// Decodes `data_base64`: RFC 4648 section 4, padded.
fn decode_raw(value: &Value) -> Result<Vec<u8>, EventError> {
    /// Base64 characters of the largest attachment: 4 for each 3 bytes or part thereof.
    const CHARS_MAX: usize = RAW_BYTES_MAX.div_ceil(3) * 4;
    let Some(text) = value.as_str() else { return Err(invalid("data_base64", "must be a string")) };
    if text.len() > CHARS_MAX {
        return Err(raw_too_large());
    }
    STANDARD.decode(text).map_err(|_| invalid("data_base64", "must be base64"))
}

impl Event {
    /// The event as a `CloudEvents` JSON object; reading it gives the same event again.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut members = vec![
            ("specversion".to_owned(), Value::from("1.0")),
            ("id".to_owned(), Value::from(self.id.as_str())),
            ("source".to_owned(), Value::from(self.source.as_str())),
            ("type".to_owned(), Value::from(self.type_name.as_str())),
        ];
        let mut add = |name: &str, value: Option<Value>| {
            members.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("time", self.time.as_deref().map(Value::from));
        add("sequence", self.sequence.map(|n| Value::from(n.to_string())));
        add("subject", self.subject.as_deref().map(Value::from));
        for (name, value) in self.attributes.iter() {
            add(name, Some(value.clone()));
        }
        add("datacontenttype", self.raw.as_ref().map(|raw| Value::from(raw.content_type.as_str())));
        add("data", (!self.data.is_empty()).then(|| Value::from(self.data.clone())));
        add("data_base64", self.raw.as_ref().map(|raw| Value::from(STANDARD.encode(&raw.bytes))));
        Value::Object(Object::from_unique(members))
    }

    /// The RFC 8785 form of [`Event::to_value`]: equal for two events exactly if they say the same, in
    /// whatever form they were sent.
    #[must_use]
    pub fn canonical_content(&self) -> Vec<u8> {
        self.to_value().to_canonical()
    }
}
