//! Strict JSON.
//!
//! In scope: reading RFC 8259 text into a [`Value`], refusing whatever two readers could take differently:
//! duplicate keys, unpaired surrogates, integers beyond ±2^53, byte order marks, bytes that are not UTF-8.
//! Out of scope: canonical writing ([`super::canonical`]).
//!
//! Invariants: one pass; nesting is bounded by the limits, so the stack is; an error tells a kind and an
//! offset and never a value.

use super::limits::{DEPTH_MAX, EVENT_BYTES_MAX};

pub use super::canonical::{write_canonical, write_canonical_object};
pub use super::value::{Object, Value};

use super::parser::parse_bounded;

/// What a JSON text may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Nesting of arrays and objects, the outermost counting 1; at most 128 whatever is asked for.
    pub depth_max: usize,
    /// Length of the text in bytes.
    pub bytes_max: usize,
}

impl Default for JsonLimits {
    /// The limits of an event without attachment: depth 32, 64 KiB.
    fn default() -> Self {
        Self { depth_max: DEPTH_MAX, bytes_max: EVENT_BYTES_MAX }
    }
}

/// Reads one JSON value that is the whole of `bytes`, white space aside.
///
/// A literal with a fraction or an exponent that comes to an integer within ±2^53 is [`Value::Int`]; one that
/// RFC 8785 would write as an integer beyond ±2^53 is refused like that integer, so that what was read can
/// always be written canonically and read again.
///
/// # Errors
/// The first offence in the text, with its kind and byte offset.
///
/// ```
/// use counterfoil::event::json::{JsonErrorKind, JsonLimits, parse};
/// let error = parse(br#"{"a":1,"\u0061":2}"#, &JsonLimits::default()).unwrap_err();
/// assert_eq!((error.kind, error.offset), (JsonErrorKind::DuplicateKey, 7));
/// ```
pub fn parse(bytes: &[u8], limits: &JsonLimits) -> Result<Value, JsonError> {
    parse_bounded(bytes, limits, usize::MAX)
}

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
    /// Some bytes are not UTF-8.
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
    /// Longer than the limit, or more values than a text of that length needs.
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

impl JsonError {
    pub(super) const fn new(kind: JsonErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}
