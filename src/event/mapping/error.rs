//! What can be wrong with a mapping file, and with a record.
//!
//! In scope: the errors and where they are. Invariants: what a mapping error names comes from the file,
//! which the operator wrote; no refusal holds any part of a record.

use super::lax::{DEPTH_MAX, LaxError};
use crate::event::custom::CustomError;
use crate::event::error::EventErrorKind;

/// A mapping file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// Something in the file, and on which line.
    #[error("line {line}: {error}")]
    At {
        /// The line, from 1.
        line: usize,
        /// What.
        error: Box<MappingError>,
    },
    /// Not TOML, or not a mapping: a key that is unknown, missing or of the wrong type. The text shows
    /// the place.
    #[error("not a mapping file: {0}")]
    Syntax(String),
    /// No mapping of this name is built in.
    #[error("no built-in mapping is called `{0}`")]
    UnknownBuiltin(String),
    /// A path is not one.
    #[error("`{0}` is not a path; paths read a.b, a[0], a[], a[key=value] or 'a.b'")]
    Path(String),
    /// A path that cannot be used for taking records out of an envelope.
    #[error("`{0}` cannot be unwrapped; only keys, [0] and [] lead to records")]
    Unwrap(String),
    /// A table or value is mentioned and not defined.
    #[error("`{0}` is not defined in this file")]
    Undefined(String),
    /// A value, condition or rule says nothing, or two things at once.
    #[error("{0} must say exactly one thing")]
    Ambiguous(&'static str),
    /// The custom type has data for a field it does not declare.
    #[error("`{0}` is filled in [custom.data] and not declared in [custom.fields]")]
    Undeclared(String),
    /// The envelope's source is empty or too long.
    #[error("the source must have 1 to {max} characters")]
    Source {
        /// The limit.
        max: usize,
    },
    /// The custom type's schema is not JSON.
    #[error("the custom type's schema is not JSON")]
    Schema,
    /// The custom type's fields are refused.
    #[error("the custom type: {0}")]
    Custom(CustomError),
}

impl MappingError {
    /// The same error with the line it is on, from 1.
    pub(super) fn at(self, line: usize) -> Self {
        match self {
            located @ Self::At { .. } => located,
            error => Self::At { line, error: Box::new(error) },
        }
    }
}

/// A record was refused. Holds no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Neither JSON nor text.
    #[error("not text: byte {offset} is zero")]
    NotText {
        /// Where, in bytes from the record's start.
        offset: usize,
    },
    /// Too long.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// It claims to be an event of ours and is not a valid one.
    #[error("{0}")]
    Event(EventErrorKind),
}

/// Why a text was kept without being looked into.
pub(super) fn unread(error: LaxError) -> String {
    match error {
        LaxError::Syntax { offset } => format!("not JSON from byte {offset} on"),
        LaxError::TooDeep => format!("nested deeper than {DEPTH_MAX}"),
    }
}
