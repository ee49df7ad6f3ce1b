//! Why an event was refused.
//!
//! In scope: one error type for reading, validating and splitting an event. Out of scope: its HTTP form;
//! [`EventErrorKind::problem`] names the problem type it becomes.
//!
//! Invariants: no error holds a value from an event or the name of an unknown field. Names it does hold come
//! from the `CloudEvents` specification, the catalogue or a registered schema.

use std::borrow::Cow;

use super::json::{JsonError, JsonErrorKind};

/// An event was refused: why, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}", At(pointer, *offset))]
pub struct EventError {
    /// Why.
    pub kind: EventErrorKind,
    /// Where: an RFC 6901 pointer of known names and positions; empty = the whole event. In a batch the
    /// first token is the item's position from 0, in NDJSON the line's number from 1.
    pub pointer: String,
    /// Where, in bytes from the start of the body, if the text itself is at fault.
    pub offset: Option<usize>,
}

/// Writes ` at /data/subject (byte 12)`.
struct At<'a>(&'a str, Option<usize>);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.is_empty() {
            write!(f, " at {}", self.0)?;
        }
        if let Some(offset) = self.1 {
            write!(f, " (byte {offset})")?;
        }
        Ok(())
    }
}

impl EventError {
    /// An error about the event as a whole.
    #[must_use]
    pub const fn new(kind: EventErrorKind) -> Self {
        Self { kind, pointer: String::new(), offset: None }
    }

    /// An error at `pointer`, which holds only known names and positions.
    pub fn at(kind: EventErrorKind, pointer: impl Into<String>) -> Self {
        Self { kind, pointer: pointer.into(), offset: None }
    }

    /// The same error, one item or line further out: `/3` before the pointer.
    #[must_use]
    pub fn within(mut self, position: usize) -> Self {
        self.pointer.insert_str(0, &format!("/{position}"));
        self
    }

    /// The problem type it becomes over HTTP.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        self.kind.problem()
    }
}

impl From<JsonError> for EventError {
    fn from(error: JsonError) -> Self {
        Self {
            kind: EventErrorKind::Json(error.kind),
            pointer: String::new(),
            offset: Some(error.offset),
        }
    }
}

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// The body is not JSON as the ledger reads it.
    #[error("{0}")]
    Json(JsonErrorKind),
    /// An event is not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A batch is not a JSON array.
    #[error("not a JSON array")]
    NotAnArray,
    /// The event, without its raw attachment, or the body is too long.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// A required attribute is absent.
    #[error("attribute `{0}` is missing")]
    MissingAttribute(&'static str),
    /// An attribute's value is refused.
    #[error("attribute `{name}`: {reason}")]
    InvalidAttribute {
        /// The attribute, `extension` for one the ledger does not know.
        name: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// An attribute obliges whoever takes it to do what the ledger does not do.
    #[error("attribute `{0}` is not supported")]
    UnsupportedAttribute(&'static str),
    /// The event's type is neither in the catalogue nor registered.
    #[error("the event type is not known to this ledger")]
    UnknownType,
    /// A field that the type requires is absent.
    #[error("field `{0}` is missing")]
    MissingField(Cow<'static, str>),
    /// A field has the wrong JSON type.
    #[error("field `{field}` must be {expected}")]
    WrongFieldType {
        /// The field, by its catalogue name.
        field: Cow<'static, str>,
        /// What it must be.
        expected: &'static str,
    },
    /// `data` has a field that the type does not.
    #[error("a field is not known for this event type")]
    UnknownField,
    /// A field's value is not one of those allowed.
    #[error("field `{field}` is not in its vocabulary")]
    NotInVocabulary {
        /// The field, by its catalogue name.
        field: Cow<'static, str>,
    },
    /// The event names more persons than an entry can hold.
    #[error("names more than {limit} persons")]
    TooManyPersons {
        /// The limit that was passed.
        limit: usize,
    },
    /// The event has more index keys than an entry can hold.
    #[error("has more than {limit} index keys")]
    TooManyFacets {
        /// The limit that was passed.
        limit: usize,
    },
    /// `data` does not satisfy the custom type's schema.
    #[error("does not satisfy the type's schema")]
    SchemaViolation,
    /// The raw attachment is too long.
    #[error("the raw attachment is larger than {limit_bytes} bytes")]
    RawTooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// The request holds more events than one request may.
    #[error("more than {limit} events")]
    TooManyEvents {
        /// The limit that was passed.
        limit: usize,
    },
}

impl EventErrorKind {
    /// The problem type it becomes over HTTP, one of a closed list.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        match self {
            Self::Json(JsonErrorKind::DuplicateKey) => "duplicate-key",
            Self::Json(JsonErrorKind::IntegerTooLarge | JsonErrorKind::NumberOutOfRange) => {
                "number-out-of-range"
            }
            Self::Json(JsonErrorKind::TooDeep) => "too-deep",
            Self::Json(JsonErrorKind::TooLong) | Self::TooLarge { .. } => "event-too-large",
            Self::Json(_) | Self::NotAnObject | Self::NotAnArray => "malformed-json",
            Self::MissingAttribute(_) => "missing-attribute",
            Self::InvalidAttribute { .. } | Self::UnsupportedAttribute(_) => "invalid-attribute",
            Self::UnknownType => "unknown-type",
            Self::MissingField(_) => "missing-field",
            Self::WrongFieldType { .. } => "wrong-type",
            Self::UnknownField => "unknown-field",
            Self::NotInVocabulary { .. } => "not-in-vocabulary",
            Self::TooManyPersons { .. } | Self::TooManyFacets { .. } => "too-many-persons",
            Self::SchemaViolation => "schema-violation",
            Self::RawTooLarge { .. } => "raw-too-large",
            Self::TooManyEvents { .. } => "too-many-events",
        }
    }
}
