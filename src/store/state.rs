//! Registers: small files that are replaced whole and must be right or refused.
//!
//! In scope: a checksummed envelope for a payload another module defines (last signed size, fold
//! position, work lists). Out of scope: what is in the payload; compare-and-swap between writers.
//!
//! Layout, big-endian: magic "CFR1" · len u32 · payload · SHA-256 of all before.
//!
//! Invariant: [`read`] gives what [`write_durable`] was last given, or an error, never another payload.

use sha2::{Digest, Sha256};

use super::codec::Reader;
use super::{Storage, StoreError};

/// Largest payload, in bytes: 1 MiB. A register is read and written whole.
pub const STATE_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"CFR1";

const CHECKSUM_BYTES: usize = 32;

/// A register could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is there and is not what was written.
    #[error("{file} is damaged: {what}; restore the file from a backup")]
    Damage {
        /// The file, relative to the storage's root.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The payload is too large for a register; nothing was written.
    #[error("a register holds at most {limit} bytes, not {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The largest.
        limit: usize,
    },
}

/// The payload of the register at `path`, or `None` where it was never written.
///
/// # Errors
/// [`StateError::Damage`] where the file is not whole, or the storage's error.
pub fn read(storage: &dyn Storage, path: &str) -> Result<Option<Vec<u8>>, StateError> {
    let Some(bytes) = storage.read(path)? else { return Ok(None) };
    match decode(&bytes) {
        Ok(payload) => Ok(Some(payload.to_vec())),
        Err(what) => Err(StateError::Damage { file: path.to_owned(), what }),
    }
}

/// Replaces the register at `path`. After a crash at any point it holds the old payload or the new.
///
/// ```
/// use counterfoil::store::{MemoryStorage, state};
///
/// # fn main() -> Result<(), state::StateError> {
/// let storage = MemoryStorage::new();
/// state::write_durable(&storage, "last-signed", b"42")?;
/// assert_eq!(state::read(&storage, "last-signed")?.as_deref(), Some(&b"42"[..]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`StateError::TooLarge`], or the storage's error.
pub fn write_durable(storage: &dyn Storage, path: &str, payload: &[u8]) -> Result<(), StateError> {
    let too_large = || StateError::TooLarge { bytes: payload.len(), limit: STATE_BYTES_MAX };
    if payload.len() > STATE_BYTES_MAX {
        return Err(too_large());
    }
    let len = u32::try_from(payload.len()).map_err(|_| too_large())?;
    let mut bytes = Vec::with_capacity(payload.len() + 40);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(payload);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    Ok(storage.write_durable(path, &bytes)?)
}

fn decode(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let mut reader = Reader::new(bytes, 0);
    if reader.array() != Some(MAGIC) {
        return Err("it does not begin with its magic bytes");
    }
    let payload = reader.sized().ok_or("it ends before its payload does")?;
    let checked = bytes.len().saturating_sub(reader.remaining());
    let checksum: [u8; CHECKSUM_BYTES] = reader.array().ok_or("it ends before its checksum does")?;
    if reader.remaining() > 0 {
        return Err("bytes follow its checksum");
    }
    if Sha256::digest(bytes.get(..checked).unwrap_or_default()).as_slice() != checksum {
        return Err("its checksum does not fit");
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FaultyStorage, MemoryStorage};

    #[test]
    fn what_was_written_comes_back() {
        let storage = MemoryStorage::new();
        assert_eq!(read(&storage, "r").unwrap(), None);
        for payload in [b"first".as_slice(), b"", &vec![7; STATE_BYTES_MAX]] {
            write_durable(&storage, "r", payload).unwrap();
            assert_eq!(read(&storage, "r").unwrap().unwrap(), payload);
        }
        let error = write_durable(&storage, "r", &vec![7; STATE_BYTES_MAX + 1]).unwrap_err();
        assert!(matches!(error, StateError::TooLarge { .. }));
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_addition_is_damage() {
        let storage = MemoryStorage::new();
        write_durable(&storage, "r", b"payload").unwrap();
        let bytes = storage.read("r").unwrap().unwrap();
        let assert_damage = |bad: &[u8]| {
            storage.write("r", bad).unwrap();
            let error = read(&storage, "r").unwrap_err();
            assert!(matches!(&error, StateError::Damage { file, .. } if file == "r"), "{error}");
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert_damage(&bad);
            }
            assert_damage(&bytes[..at]);
        }
        assert_damage(&[bytes.as_slice(), b"x"].concat());
    }

    #[test]
    fn a_crash_leaves_the_old_payload_or_the_new() {
        let mut seen = [0, 0];
        for seed in 0..100 {
            let storage = FaultyStorage::new(seed);
            write_durable(&storage, "r", b"old").unwrap();
            storage.cut_power_after(seed % 3);
            let written = write_durable(&storage, "r", b"new");
            storage.crash();
            let payload = read(&storage, "r").unwrap().unwrap();
            assert!(payload == b"new" || (payload == b"old" && written.is_err()), "seed {seed}");
            seen[usize::from(payload == b"new")] += 1;
        }
        assert!(seen[0] > 0 && seen[1] > 0);
    }
}
