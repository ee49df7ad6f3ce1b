//! The producer's side of a ledger.
//!
//! In scope: talking to a server ([`transport`]). Out of scope: verdicts, which [`crate::prove`]
//! gives; searching and administering.

pub mod transport;
