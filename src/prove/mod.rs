//! Receipts and every verifier.
//!
//! In scope: receipts, the report of a verification, the verifiers of receipts, proofs, documents
//! and whole logs. Out of scope: reading files or servers (callers give bytes, or sources to read
//! them from) and making signatures. Invariants: pure (no I/O, clock, randomness or threads);
//! whatever the input, a verifier ends and reports; skipped is never success.

pub mod certificate;
pub mod entry_view;
pub mod kept;
mod members;
pub mod proofs;
pub mod receipt;
pub mod removed;
#[cfg(test)]
mod testing;
mod text;
pub mod verdict;
pub mod verify_certificate;
pub mod verify_document;
pub mod verify_log;
pub mod verify_receipt;

pub use members::ShapeError;
