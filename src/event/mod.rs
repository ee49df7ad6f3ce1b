//! Events: what a producer sends, read strictly, and the bytes the ledger makes of it.
//!
//! In scope: strict JSON, canonical JSON, the `CloudEvents` envelope in all its forms.
//! Out of scope: I/O, clocks, randomness, and whether the producer may send the event.
//!
//! Invariants: everything here is a pure function of its input; no error carries a value, a person's
//! identifier or an unknown field's name.

mod attributes;
mod batch;
mod binary;
pub mod canonical;
pub mod catalogue;
pub mod custom;
pub mod entry;
pub mod envelope;
pub mod error;
pub mod facet;
pub mod json;
pub mod keys;
pub mod limits;
pub mod mapping;
mod number;
mod parser;
pub mod parts;
pub mod retention;
pub mod time;
pub mod value;

pub use envelope::{Event, Raw};
pub use error::{EventError, EventErrorKind};
