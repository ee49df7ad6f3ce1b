//! What can go wrong in the ledger, by boundary.
//!
//! In scope: [`LedgerError`] (the machine itself), [`AppendError`] (one submitted event).
//! Out of scope: how a face words them. Invariant: no variant carries a value from an event,
//! an identifier or a secret.

use crate::clock::RandomError;
use crate::event::custom::CustomError;
use crate::event::entry::EntryError;
use crate::event::error::EventError;
use crate::index::IndexError;
use crate::log::checkpoint::CheckpointError;
use crate::log::merkle::BuildError;

use crate::store::StoreError;
use crate::store::journal::JournalError;
use crate::store::sealed::SealedError;
use crate::store::state::StateError;
use crate::vault::{KeyRingError, SealError, SignerError, VaultError, WrapError};

use super::nodes::MissingNode;
use super::witnessed::NotExtended;

/// A failure of the ledger's own parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal is damaged or refused a write.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A key could not be read, opened or stored.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The query index failed; it can be rebuilt from the log.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A log entry could not be encoded or decoded.
    #[error("entry {index}: {source}")]
    Entry {
        /// Log index of the entry.
        index: u64,
        /// What was wrong.
        source: EntryError,
    },
    /// A part could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A person's secret could not be wrapped for the journal or unwrapped from it.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The ledger's HMAC keys could not be read or made.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The signing key could not be read or made.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A sealed bundle could not be written.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The fold's register could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A checkpoint could not be signed.
    #[error(transparent)]
    Sign(#[from] CheckpointError),
    /// A proof of an entry just committed could not be built: a defect of the ledger itself.
    #[error("the proof of a committed entry could not be built: {0}")]
    Proof(#[from] BuildError<MissingNode>),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Parts are being destroyed, and a prune waits until that is done.
    #[error("parts are being destroyed; what is due is pruned after")]
    Shredding,
    /// A file that must agree with the log does not.
    #[error("{file}: {what}; restore the file from a mirror or a backup, the server will not guess")]
    Damage {
        /// Path relative to the data directory.
        file: String,
        /// What disagrees, with numbers.
        what: String,
    },
    /// The log does not extend a checkpoint that somebody kept of it.
    #[error(
        "{file} holds a checkpoint that ledger {ledger} signed for {witnessed} entries; the log here has \
         {size}: {what}. Nothing was signed. Find the newer copy; a log that does not extend what was \
         signed must never go on under its origin (docs/operating.md, \"Restoring\")"
    )]
    NotExtended {
        /// The ledger's name.
        ledger: String,
        /// The file that was given.
        file: String,
        /// Size that the file's checkpoint was signed for.
        witnessed: u64,
        /// Size of the log as it was recovered.
        size: u64,
        /// Whether it is shorter or another.
        what: NotExtended,
    },
    /// The data directory holds no ledger of this name.
    #[error("no ledger named {name} here; `counterfoil init` makes one")]
    NoSuchLedger {
        /// Name asked for.
        name: String,
    },
    /// A type of the ledger's own cannot be registered.
    #[error("the type cannot be registered: {0}")]
    Type(#[from] CustomError),
    /// A setting or a key file does not fit the ledger.
    #[error("{0}")]
    Setup(String),
    /// The ledger has stopped after a failure and takes nothing more.
    #[error("the ledger stopped after a failed write; see the server's log, then restart it")]
    Stopped,
}

/// Why one submitted event was not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The event is malformed or does not fit the catalogue.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The id was used before with other content.
    #[error("an event with this source and id is already recorded at index {first} with other content")]
    Conflict {
        /// Log index of the event that was recorded first.
        first: u64,
    },
    /// Two events of one request share source and id but not content.
    #[error("two events of this request have the same source and id but different content")]
    ConflictInBatch,
    /// The event says it happened in the future.
    #[error("`time` is {ahead_ms} ms ahead of the ledger's clock; at most {skew_max_ms} ms is accepted")]
    FutureTime {
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
        /// The ledger's limit, in milliseconds.
        skew_max_ms: u64,
    },
    /// The event says it happened before 1970.
    #[error("`time` is before 1970-01-01T00:00:00Z")]
    AncientTime,
    /// Another item of an atomic request was refused.
    #[error("not stored, because another event of this request was refused")]
    BatchRefused,
    /// The events of one request do not fit one commit once they are sealed.
    #[error("sealed, the events of this request take {bytes} bytes; one commit holds {bytes_max}")]
    TooLargeTogether {
        /// What they take, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// The disk is nearly full.
    #[error("the disk has less room than the server keeps in reserve")]
    DiskLow,
    /// More work is waiting than the ledger accepts.
    #[error("the ledger has {waiting_max} requests waiting; try again in a moment")]
    Overloaded {
        /// Bound of the queue.
        waiting_max: usize,
    },
    /// The server's clock runs ahead of its own monotonic clock.
    #[error(
        "the server's clock jumped ahead by {ahead_ms} ms; nothing is recorded until it is set right"
    )]
    ClockAhead {
        /// The jump in milliseconds.
        ahead_ms: u64,
    },
    /// A part of the ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl LedgerError {
    /// The code of the problem that this is to a caller.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Store(store) if store.is_full() => "disk-full",
            _ => "internal",
        }
    }
}

impl AppendError {
    /// The code of the problem that this is to a caller; the same list as `http::problem::TYPES`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Event(error) => error.problem(),
            Self::Conflict { .. } | Self::ConflictInBatch => "conflict",
            Self::FutureTime { .. } => "time-in-future",
            Self::AncientTime => "time-too-old",
            Self::BatchRefused => "batch-refused",
            Self::TooLargeTogether { .. } => "body-too-large",
            Self::DiskLow => "disk-full",
            Self::Overloaded { .. } => "overloaded",
            Self::ClockAhead { .. } => "clock-ahead",
            Self::Ledger(error) => error.code(),
        }
    }
}
