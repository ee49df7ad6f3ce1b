//! Why bytes are not an entry, or a value has no bytes.
//!
//! In scope: the error type of entries. Out of scope: what checks them (the parent module).
//! Invariant: errors hold offsets, counts and codes, never contents.

/// Why an entry was not encoded or not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end inside a field.
    #[error("entry ends at byte {len}, inside a field that starts at byte {offset}")]
    Truncated {
        /// Where the field starts.
        offset: usize,
        /// Length of what was given.
        len: usize,
    },
    /// Bytes follow the body.
    #[error("{surplus} bytes follow the entry's body at byte {offset}")]
    Trailing {
        /// Where the body ends.
        offset: usize,
        /// How many bytes follow.
        surplus: usize,
    },
    /// The entry does not start with "CFL1".
    #[error("entry does not start with CFL1")]
    Magic,
    /// The kind has no meaning.
    #[error("entry kind {kind} is not known")]
    Kind {
        /// The byte found.
        kind: u8,
    },
    /// Flags that the kind does not have.
    #[error("entry kind {kind} does not have flags {flags:#04x}")]
    Flags {
        /// The entry's kind.
        kind: u8,
        /// The byte found.
        flags: u8,
    },
    /// `prev` is zeros and the index is not 0, or the reverse.
    #[error("the hash of the predecessor does not fit index {index}")]
    Prev {
        /// The entry's index.
        index: u64,
    },
    /// More items than the format allows.
    #[error("{found} {what} where at most {max} are allowed")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// A list is not strictly ascending.
    #[error("{what} {position} is not greater than the one before")]
    Order {
        /// Which list.
        what: &'static str,
        /// Number of the item, from 0.
        position: usize,
    },
    /// A code that no entry may carry.
    #[error("{what} code {code} has no meaning")]
    Code {
        /// What it is a code of.
        what: &'static str,
        /// The code.
        code: u8,
    },
    /// A body that may not be empty is.
    #[error("entry kind {kind} has an empty body")]
    Empty {
        /// The entry's kind.
        kind: u8,
    },
    /// A body given as bytes under a kind that has a type of its own.
    #[error("entry kind {kind} has a body of its own type")]
    Untyped {
        /// The kind.
        kind: u8,
    },
    /// Longer than a bundle can hold.
    #[error("entry of {len} bytes where at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}
