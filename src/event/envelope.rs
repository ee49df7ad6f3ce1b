//! The event as a producer sends it.
//!
//! In scope: the typed event. Out of scope: whether its type is known and its data fit ([`super::error`]
//! names those failures too).
//!
//! Invariants: an [`Event`] holds nothing that was not sent.

use super::json::Object;

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
