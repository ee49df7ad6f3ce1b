//! What can go wrong for a producer.
//!
//! In scope: one error type, refusals by the server, signs of tampering. Out of scope: deciding which
//! of them applies. Invariant: no error holds a value of an event, an id or a key.

use crate::clock::RandomError;
use crate::event::error::EventError;
use crate::store::StoreError;

use super::transport::TransportError;

/// Why an event is not in the ledger, or why the client cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The event is none; nothing was queued.
    #[error("the event was not sent: {0}")]
    Event(#[from] EventError),
    /// The server refused this event. It is not sent again.
    #[error("the server refused the event: {0}")]
    Refused(Refusal),
    /// The queue in memory has no room; nothing was queued.
    #[error(
        "the queue is full: {held_events} events of {held_bytes} bytes wait, and it takes \
         {limit_events} events and {limit_bytes} bytes"
    )]
    QueueFull {
        /// Events that wait.
        held_events: usize,
        /// Their bytes.
        held_bytes: usize,
        /// Events it takes.
        limit_events: usize,
        /// Bytes it takes.
        limit_bytes: usize,
    },
    /// The spool has no room; nothing was queued.
    #[error(
        "the spool is full: it holds {held_bytes} of {limit_bytes} bytes and {more_bytes} more do not \
         fit; they are freed as the server acknowledges events"
    )]
    SpoolFull {
        /// Bytes on disk.
        held_bytes: u64,
        /// Bytes that were to be added.
        more_bytes: u64,
        /// Bytes it takes.
        limit_bytes: u64,
    },
    /// A file of the spool is not as it was written.
    #[error(
        "the spool's file {path} is damaged at byte {offset}; move it elsewhere to go on without the \
         events in it"
    )]
    SpoolDamaged {
        /// The file, relative to the spool's directory.
        path: String,
        /// Where the first record that cannot be read begins.
        offset: u64,
    },
    /// The spool's or the receipts' directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another client uses the directory, or its lock cannot be had.
    #[error("{0}")]
    Locked(String),
    /// No answer, or a file with a key or certificates that cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer cannot be what a ledger answers.
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(String),
    /// The server refuses requests whatever they hold: a key, a path or a role is wrong. Events that
    /// were spooled stay in the spool.
    #[error("{sentence}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What the server says.
        sentence: String,
    },
    /// The client was told not to wait for ever.
    #[error("{last} (given up after {attempts} attempts)")]
    GaveUp {
        /// Attempts in a row of which nothing came.
        attempts: u32,
        /// What the last one came to.
        last: String,
    },
    /// The server contradicts what it signed or acknowledged. Nothing is sent any more.
    #[error("THE LEDGER WAS TAMPERED WITH, or an answer on its way: {0}")]
    Tampered(Tampered),
    /// Time ran out before every event was acknowledged.
    #[error("{events} events are not acknowledged yet")]
    Unacknowledged {
        /// How many.
        events: u64,
    },
    /// The client was closed before the event was acknowledged.
    #[error("the client was closed before the event was acknowledged")]
    Closed,
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// There is no randomness for an id.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The server's reason for refusing one event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({status} {code})")]
pub struct Refusal {
    /// HTTP status of the problem.
    pub status: u16,
    /// The problem's code, one of `docs/problems.md`.
    pub code: String,
    /// The problem's sentence, with the place in the event where there is one.
    pub detail: String,
    /// The problem (RFC 9457) as JSON, as the server sent it.
    pub problem: String,
}

/// How a server contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Tampered {
    /// A receipt names another event than the one it answers.
    #[error("the receipt with index {index} is of another event than the one that was sent")]
    OtherEvent {
        /// The receipt's index.
        index: u64,
    },
    /// A receipt opens other content than was sent.
    #[error("the receipt with index {index} opens other content than was sent")]
    OtherContent {
        /// The receipt's index.
        index: u64,
    },
    /// A receipt is of another ledger than the verifier key's, or than receipts before.
    #[error("the receipt with index {index} is of another ledger")]
    OtherLedger {
        /// The receipt's index.
        index: u64,
    },
    /// A new event got a place that was taken.
    #[error("a new event got index {index}, though the log had {known} entries before: rolled back")]
    IndexTaken {
        /// The index it got.
        index: u64,
        /// Entries the log had.
        known: u64,
    },
    /// A full receipt does not verify.
    #[error("the receipt with index {index} does not verify: {check}: {detail}")]
    Receipt {
        /// The receipt's index.
        index: u64,
        /// The check that failed.
        check: &'static str,
        /// What it says.
        detail: String,
    },
    /// A checkpoint is not signed by the log's key, or not what is said of it.
    #[error("a checkpoint is not the log's: {0}")]
    Checkpoint(String),
    /// The log has no longer as many entries as it signed.
    #[error("the log has no longer the {known} entries it signed: rolled back")]
    Shrunk {
        /// The size it signed.
        known: u64,
    },
    /// Two signed checkpoints belong to two histories.
    #[error("the signed checkpoints of sizes {from} and {to} belong to two histories: a fork")]
    Forked {
        /// The smaller size.
        from: u64,
        /// The larger size.
        to: u64,
    },
}
