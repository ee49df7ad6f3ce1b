//! Counterfoil: an append-only, hash-chained audit ledger whose receipts anyone can check.

pub mod audit;
pub mod backup;
pub mod client;
pub mod clock;
pub mod config;
pub mod event;
pub mod history;
pub mod http;
pub mod index;
pub mod ledger;
pub mod log;
pub mod prove;
pub mod store;
pub mod vault;

pub mod cli;
