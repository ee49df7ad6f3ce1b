//! Rows beside the postings: one opaque value for each bundle of the log.
//!
//! In scope: keeping and giving back bytes. Out of scope: what they say and how they are sealed, which is
//! the ledger's. Invariants: a row may be missing at any time, and then nothing is known; a row whose
//! checksum does not fit its key counts as missing, since it can be made again.
//!
//! ```text
//! key = 4 ‖ bundle u64        value = crc32c(key ‖ bytes) u32 ‖ bytes
//! ```

use super::block;
use super::{Index, IndexError};

const TAG_ASIDE: u8 = 4;

fn key_of(bundle: u64) -> Vec<u8> {
    let mut key = vec![TAG_ASIDE];
    key.extend_from_slice(&bundle.to_be_bytes());
    key
}

impl Index {
    /// Keeps `bytes` beside bundle number `bundle`.
    ///
    /// # Errors
    /// [`IndexError`] of sled's.
    pub fn keep_aside(&self, bundle: u64, bytes: &[u8]) -> Result<(), IndexError> {
        let key = key_of(bundle);
        self.db()?.insert(&key, &block::with_checksum(&key, bytes))
    }

    /// Forgets what was kept beside bundle number `bundle`.
    ///
    /// # Errors
    /// [`IndexError`] of sled's.
    pub fn forget_aside(&self, bundle: u64) -> Result<(), IndexError> {
        self.db()?.remove(&key_of(bundle))
    }

    /// What was kept beside bundle number `bundle`, where it is still there and whole.
    ///
    /// # Errors
    /// [`IndexError`] of sled's.
    pub fn aside(&self, bundle: u64) -> Result<Option<Vec<u8>>, IndexError> {
        let key = key_of(bundle);
        let row = self.db()?.get(&key)?;
        Ok(row.and_then(|row| block::checked_body(&key, &row).map(|(_, bytes)| bytes.to_vec())))
    }
}
