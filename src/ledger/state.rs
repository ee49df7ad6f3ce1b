//! The fold's register: what a start would otherwise have to read the whole log for.
//!
//! In scope: one small checksummed file, written before every durable round. Out of scope: truth;
//! everything in it follows from the log and is recomputed where the file is missing.

use crate::store::Storage;
use crate::store::state::{self, StateError};

/// How far the fold is durable, and the two facts that lie in older entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FoldState {
    /// Size up to which tiles and sealed bundles are in place.
    pub(crate) folded: u64,
    /// Vault slots below this are in registration entries.
    pub(crate) registered_through: u64,
    /// Index of the newest settings entry.
    pub(crate) settings: u64,
}

impl FoldState {
    /// File name in the ledger's directory.
    pub(crate) const FILE: &'static str = "fold.state";

    /// Reads the register; none where it is missing or damaged.
    pub(crate) fn read(storage: &dyn Storage, path: &str) -> Result<Option<Self>, StateError> {
        let bytes = match state::read(storage, path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(StateError::Damage { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut numbers =
            bytes.chunks_exact(8).map(|chunk| <[u8; 8]>::try_from(chunk).map_or(0, u64::from_be_bytes));
        Ok(match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(folded), Some(registered_through), Some(settings)) if bytes.len() == 24 => {
                Some(Self { folded, registered_through, settings })
            }
            _ => None,
        })
    }

    /// Writes the register, durably.
    pub(crate) fn write(&self, storage: &dyn Storage, path: &str) -> Result<(), StateError> {
        let mut bytes = Vec::with_capacity(24);
        for number in [self.folded, self.registered_through, self.settings] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        state::write_durable(storage, path, &bytes)
    }
}
