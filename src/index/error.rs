//! What can go wrong with the index, and what the ledger does about each.
//!
//! In scope: the error type of this module. Out of scope: recovery, which is `open` here and the
//! replay in the ledger. Invariant: an error's text holds numbers and fixed words only.

use std::io;

/// An index operation failed. Nothing acknowledged is lost by any of these: the index is derived
/// from the log, and [`IndexError::needs_rebuild`] says when it must be derived again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A stored run is not what was written. Answers from this index cannot be trusted.
    #[error("index run {run} is damaged ({what}); rebuild the index from the log")]
    Corrupt {
        /// Number of the damaged run; 0 where the damage is not in one run.
        run: u64,
        /// What did not hold.
        what: &'static str,
    },
    /// sled reported damage or a fault of its own.
    #[error("the index store failed ({what}); rebuild the index from the log")]
    Store {
        /// sled's kind of error.
        what: &'static str,
    },
    /// sled panicked; the panic was caught.
    #[error("the index store panicked while it was asked to {what}; rebuild the index from the log")]
    Panicked {
        /// The operation during which it panicked.
        what: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("the index could not {what}: {source}")]
    Io {
        /// The operation that was refused.
        what: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// Another process, or an earlier handle in this one, holds the index directory.
    #[error("the index directory is in use by another handle; close that one first")]
    Locked,
    /// Postings were offered for log entries past the next one expected.
    #[error("postings from log index {from_index} were added while {expected} comes next")]
    Gap {
        /// The log index that must be added next.
        expected: u64,
        /// The log index offered.
        from_index: u64,
    },
    /// The index was closed.
    #[error("the index is closed")]
    Closed,
    /// The store did not shut down within the time it is given.
    #[error("the index store did not shut down within {waited_ms} ms; the next open checks everything")]
    CloseTimeout {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
}

impl IndexError {
    /// True where answers can no longer be trusted: call [`super::Index::condemn`], close, open again
    /// (which starts empty) and add everything from the log.
    #[must_use]
    pub fn needs_rebuild(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Store { .. } | Self::Panicked { .. })
    }
}

/// Turns sled's error into ours, without its text.
pub(super) fn from_sled(what: &'static str, error: &sled::Error) -> IndexError {
    match error {
        sled::Error::Io(source) => match source.kind() {
            io::ErrorKind::NotFound => IndexError::Store { what: "a file is missing" },
            io::ErrorKind::UnexpectedEof => IndexError::Store { what: "a file is too short" },
            io::ErrorKind::InvalidData => IndexError::Store { what: "a file does not decode" },
            kind => IndexError::Io {
                what,
                source: source.raw_os_error().map_or_else(|| kind.into(), io::Error::from_raw_os_error),
            },
        },
        sled::Error::Corruption { .. } => IndexError::Store { what: "corruption" },
        sled::Error::ReportableBug(_) => IndexError::Store { what: "internal fault" },
        sled::Error::Unsupported(_) => IndexError::Store { what: "unsupported format" },
        sled::Error::CollectionNotFound(_) => IndexError::Store { what: "a tree is missing" },
    }
}
