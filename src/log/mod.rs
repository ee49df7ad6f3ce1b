//! The transparency log: hashing, trees, tiles, notes, checkpoints and proofs, as pure functions.
//!
//! In scope: RFC 6962 / RFC 9162 tree hashing and proofs, the C2SP formats signed-note,
//! tlog-checkpoint, tlog-cosignature, tlog-tiles and tlog-proof. Out of scope: what an entry
//! means (`event::entry`), where tiles are stored (`store`), who may sign what (`ledger`).
//! Invariant: no I/O, clock or randomness anywhere below this module; every parser is strict, so
//! that one value has one spelling.

pub mod checkpoint;
pub mod cosignature;
pub mod hash;
pub mod merkle;
pub mod note;
pub mod proof;
mod text;
pub mod tile;
