//! Custody of the key tree's root key, the one thing whose destruction destroys everything below.
//!
//! In scope: the trait a custodian fulfils, and the custodian that is a directory of owner-only
//! files. Out of scope: the tree ([`keytree`](super::keytree)); custodians on other machines, which
//! implement the same trait.
//!
//! The protocol between tree and custodian is: [`store_new`](RootCustody::store_new) keeps the new
//! key beside the old one, durably; [`load`](RootCustody::load) reads both back;
//! [`destroy_old`](RootCustody::destroy_old) leaves only the newest. A crash between any two of
//! them leaves one or two whole keys, never none.
//!
//! Invariants: a root key is never replaced in place, never printed, never written anywhere else.

use std::fmt::{self, Debug};
use std::fs;
use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::mac::{SECRET_BYTES, Secret};
use super::secret_file::{self, SecretFileError};
use crate::clock::{RandomError, random_fill};

/// The key under which the root node of a key tree is encrypted.
#[derive(Clone)]
pub struct RootKey(Secret);

impl RootKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`RandomError`] where there is none.
    pub fn generate() -> Result<Self, RandomError> {
        let mut key = Zeroizing::new([0; SECRET_BYTES]);
        random_fill(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// The key with these bytes, for custodians.
    #[must_use]
    pub fn from_bytes(key: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The bytes themselves, for custodians.
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl PartialEq for RootKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for RootKey {}

impl Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

/// What a custodian holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeys {
    /// The newest key.
    pub current: RootKey,
    /// Whether older keys are still there, because destroying them was not finished.
    pub has_older: bool,
}

/// Who keeps the root key.
pub trait RootCustody: Send + Sync + Debug {
    /// The newest key stored, or `None` where none ever was.
    ///
    /// # Errors
    /// Where the key is there and cannot be had, for whatever reason: never `None` then.
    fn load(&self) -> Result<Option<RootKeys>, CustodyError>;

    /// Keeps `key` as the newest, beside what is kept already; durable when it returns.
    ///
    /// # Errors
    /// Where that is not certain. The key may or may not be the newest then.
    fn store_new(&mut self, key: &RootKey) -> Result<(), CustodyError>;

    /// Destroys every key but the newest, as well as this custodian can. None there is no error.
    ///
    /// # Errors
    /// Where a key may have survived.
    fn destroy_old(&mut self) -> Result<(), CustodyError>;
}

/// Why a custodian could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// A file of the custodian's.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The directory of the keys cannot be read.
    #[error("cannot list {}: {error}", dir.display())]
    List {
        /// The directory.
        dir: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// A key file does not hold what its name says.
    #[error(
        "{} is damaged: it is not a root key file of this version, or its check value is wrong; \
         put the intact file back, since without it nothing in the vault can be opened",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A custodian of another kind, in its own words (which hold no secret).
    #[error("root key custodian: {0}")]
    Other(String),
}

const ID_LABEL: &[u8] = b"counterfoil/v1/root-key-id\0";
/// Bytes of a root key's id.
pub const ROOT_KEY_ID_BYTES: usize = 16;

impl RootKey {
    /// The key's id (`docs/format.md` section 3.6): it names the key and says nothing of it.
    #[must_use]
    pub fn id(&self) -> [u8; ROOT_KEY_ID_BYTES] {
        let mut hasher = Sha256::new();
        hasher.update(ID_LABEL);
        hasher.update(self.expose());
        let digest = hasher.finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

const FILE_NAME_START: &str = "root-";
const FILE_NAME_END: &str = ".key";
const FILE_MAGIC: &str = "counterfoil-root-key-1";
const CHECK_LABEL: &[u8] = b"counterfoil/v1/root-key-file\0";
/// Hexadecimal digits of the check value in a file: enough to tell damage, useless to guess a key.
const CHECK_DIGITS: usize = 8;

/// Root keys in a directory of their own, one file of mode 0600 each, `root-<number>.key`, the
/// highest number the newest.
///
/// Destroying is overwriting and unlinking. That is **weaker** than a hardware module or a key
/// service that destroys on command: copy-on-write file systems, flash disks, snapshots and backups
/// may keep the old bytes. Keep the directory out of backups and off such file systems.
///
/// A file reads `counterfoil-root-key-1 <number> <key, 64 hex digits> <check, 8 hex digits>\n`.
pub struct FileCustody {
    dir: PathBuf,
}

impl FileCustody {
    /// The custodian whose files are in `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Numbers of the key files, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, CustodyError> {
        let failed = |error| CustodyError::List { dir: self.dir.clone(), error };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(number_in));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{FILE_NAME_START}{number}{FILE_NAME_END}"))
    }
}

impl Debug for FileCustody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCustody").field("dir", &self.dir).finish()
    }
}

impl RootCustody for FileCustody {
    fn load(&self) -> Result<Option<RootKeys>, CustodyError> {
        let numbers = self.numbers()?;
        let Some(newest) = numbers.last() else { return Ok(None) };
        let path = self.path(*newest);
        let damaged = || CustodyError::Damaged { path: path.clone() };
        let bytes = secret_file::read(&path)?.ok_or_else(damaged)?;
        let current = parse(&bytes, *newest).ok_or_else(damaged)?;
        Ok(Some(RootKeys { current, has_older: numbers.len() > 1 }))
    }

    fn store_new(&mut self, key: &RootKey) -> Result<(), CustodyError> {
        let number = self.numbers()?.last().map_or(1, |newest| newest.saturating_add(1));
        Ok(secret_file::create(&self.path(number), line(number, key).as_bytes())?)
    }

    fn destroy_old(&mut self) -> Result<(), CustodyError> {
        let numbers = self.numbers()?;
        let Some((_, older)) = numbers.split_last() else { return Ok(()) };
        for number in older {
            secret_file::destroy(&self.path(*number))?;
        }
        Ok(())
    }
}

pub(super) fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(FILE_NAME_START)?.strip_suffix(FILE_NAME_END)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

pub(super) fn line(number: u64, key: &RootKey) -> Zeroizing<String> {
    let hex_key = Zeroizing::new(hex::encode(key.expose()));
    Zeroizing::new(format!("{FILE_MAGIC} {number} {} {}\n", *hex_key, check(number, key)))
}

fn check(number: u64, key: &RootKey) -> String {
    let mut hasher = Sha256::new();
    hasher.update(CHECK_LABEL);
    hasher.update(number.to_be_bytes());
    hasher.update(key.expose());
    let mut digits = hex::encode(hasher.finalize());
    digits.truncate(CHECK_DIGITS);
    digits
}

pub(super) fn parse(bytes: &[u8], number: u64) -> Option<RootKey> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.split(' ').nth(2)?;
    let mut key = Zeroizing::new([0; SECRET_BYTES]);
    hex::decode_to_slice(digits, key.as_mut_slice()).ok()?;
    let key = RootKey(key);
    (line(number, &key).as_str() == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key(byte: u8) -> RootKey {
        RootKey::from_bytes([byte; 32])
    }

    #[test]
    fn the_newest_key_counts_until_the_old_ones_are_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let mut custody = FileCustody::new(dir.path().join("root"));
        assert_eq!(custody.load().unwrap(), None);
        custody.destroy_old().unwrap();
        custody.store_new(&key(1)).unwrap();
        assert_eq!(custody.load().unwrap(), Some(RootKeys { current: key(1), has_older: false }));
        custody.store_new(&key(2)).unwrap();
        assert_eq!(custody.load().unwrap(), Some(RootKeys { current: key(2), has_older: true }));
        custody.destroy_old().unwrap();
        assert_eq!(custody.load().unwrap(), Some(RootKeys { current: key(2), has_older: false }));
        let left: Vec<_> = fs::read_dir(dir.path().join("root")).unwrap().collect();
        assert_eq!(left.len(), 1);
        let left = left[0].as_ref().unwrap().path();
        assert!(!fs::read_to_string(left).unwrap().contains(&"01".repeat(32)));
    }

    #[test]
    fn a_key_file_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut custody = FileCustody::new(dir.path());
        custody.store_new(&key(1)).unwrap();
        fs::set_permissions(dir.path().join("root-1.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let text = custody.load().unwrap_err().to_string();
        assert!(text.contains("0644") && text.contains("chmod 600"), "{text}");
        assert!(!text.contains(&"01".repeat(32)));
    }

    #[test]
    fn every_changed_byte_of_a_key_file_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut custody = FileCustody::new(dir.path());
        custody.store_new(&key(0xab)).unwrap();
        let path = dir.path().join("root-1.key");
        let intact = fs::read(&path).unwrap();
        for position in 0..intact.len() {
            let mut bytes = intact.clone();
            bytes[position] ^= 1;
            assert!(parse(&bytes, 1).is_none(), "byte {position}");
        }
        assert!(parse(&intact, 2).is_none());
        assert_eq!(parse(&intact, 1), Some(key(0xab)));
        secret_file::destroy(&path).unwrap();
        secret_file::create(&path, b"").unwrap();
        assert!(matches!(custody.load(), Err(CustodyError::Damaged { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = RootKeys { current: key(7), has_older: false };
        assert_eq!(format!("{keys:?}"), "RootKeys { current: RootKey(…), has_older: false }");
    }
}
