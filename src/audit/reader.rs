//! The reader's keys, with what the log must commit to for them to be the right ones.
//!
//! In scope: reading `reader.key`. Out of scope: what is recomputed with them. Invariant: a key that the
//! log did not commit to is told apart from one that it did.

use std::path::Path;

use zeroize::Zeroizing;

use crate::event::keys::KeyUse;
use crate::log::hash::Hash;
use crate::prove::verify_receipt::ReaderKeys;
use crate::vault::{KeyRing, KeyRingError};

/// The reader's keys and their commitments.
#[derive(Debug, Default)]
pub struct Reader {
    /// The keys.
    pub keys: ReaderKeys,
    /// Use, epoch and commitment of each.
    pub(super) commitments: Vec<(&'static str, u32, Hash)>,
}

impl Reader {
    /// Reads a ledger's `reader.key`.
    ///
    /// # Errors
    /// What [`KeyRing::open`] reports.
    pub fn open(path: &Path) -> Result<Self, KeyRingError> {
        let ring = KeyRing::open(path)?;
        let mut reader = Self::default();
        for (key_use, epoch, commitment) in ring.commitments() {
            reader.commitments.push((key_use.name(), epoch, commitment));
            let Some(key) = ring.get(key_use, epoch) else { continue };
            let keys = match key_use {
                KeyUse::Event => &mut reader.keys.event,
                KeyUse::Read => &mut reader.keys.read,
                KeyUse::Directory => &mut reader.keys.directory,
            };
            keys.push(Zeroizing::new(*key));
        }
        Ok(reader)
    }
}
