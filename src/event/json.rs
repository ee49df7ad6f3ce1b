//! Strict JSON.
//!
//! In scope: reading RFC 8259 text into a [`Value`], refusing whatever two readers could take differently.
//! Out of scope: canonical writing (RFC 8785).
//!
//! Invariants: one pass; nesting is bounded by the limits, so the stack is; an error tells a kind and an
//! offset and never a value.

pub use super::value::{Object, Value};

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// Not JSON by RFC 8259's grammar, or a byte order mark.
    #[error("not valid JSON")]
    Syntax,
    /// The text ends inside a value.
    #[error("the JSON text ends too early")]
    UnexpectedEnd,
    /// Something follows the value.
    #[error("bytes follow the JSON value")]
    TrailingBytes,
    /// Bytes in a string are not UTF-8.
    #[error("not valid UTF-8")]
    InvalidUtf8,
    /// A `\u` escape names half of a surrogate pair.
    #[error("an unpaired surrogate escape")]
    UnpairedSurrogate,
    /// An object has the same key twice, escapes decoded.
    #[error("an object has a key twice")]
    DuplicateKey,
    /// An integer beyond ±2^53.
    #[error("an integer is beyond ±2^53")]
    IntegerTooLarge,
    /// A number that no finite double stands for.
    #[error("a number is out of range")]
    NumberOutOfRange,
    /// Nested deeper than the limit.
    #[error("nested too deep")]
    TooDeep,
    /// Longer than the limit.
    #[error("too long")]
    TooLong,
}

/// A JSON text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
#[non_exhaustive]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, in bytes from the start of the text.
    pub offset: usize,
}
