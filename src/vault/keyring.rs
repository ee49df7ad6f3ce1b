//! The HMAC keys of a ledger, by use and epoch (design section 3.4).
//!
//! In scope: making them, the file they are in, their commitments. Out of scope: what is made with
//! them (`event::keys`), who is given the file.
//!
//! The file `reader.key` has mode 0600 and one line a key, `<use> <epoch> <key, 64 hex digits>`, in
//! ascending order of use and epoch; empty lines and lines that start with `#` are passed over. Uses
//! are `event`, `read` and `directory`. With it a reader recomputes index keys and repeats.
//!
//! Invariants: a use and an epoch name one key for ever; epochs count from 1; no key is printed but
//! into the file; every use has a key, so that [`KeyRing::current`] always has an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::mac::{SECRET_BYTES, Secret};
use super::secret_file::{self, SecretFileError};
use crate::clock::{RandomError, random_fill};
use crate::event::keys::{KeyUse, key_commitment};
use crate::log::hash::Hash;

/// First epoch of every use.
pub const FIRST_EPOCH: u32 = 1;

const USES: [KeyUse; 3] = [KeyUse::Event, KeyUse::Read, KeyUse::Directory];

/// The keys of a ledger could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// There is no file of keys.
    #[error("the ledger's keys {} are missing; put the file back, it is never made anew", path.display())]
    Missing {
        /// Where the file must be.
        path: PathBuf,
    },
    /// A line is not a key.
    #[error("line {line} of the ledger's keys is not `<use> <epoch> <64 hex digits>`")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A use and an epoch are there twice.
    #[error("line {line} of the ledger's keys repeats the {use_name} key of epoch {epoch}")]
    Repeated {
        /// Number of the line, from 1.
        line: usize,
        /// Name of the use.
        use_name: &'static str,
        /// The epoch.
        epoch: u32,
    },
    /// A use has no key.
    #[error("the ledger's keys have none for the use `{use_name}`")]
    NoKey {
        /// Name of the use.
        use_name: &'static str,
    },
    /// No further epoch can be counted.
    #[error("the use `{use_name}` has no epoch left")]
    NoEpoch {
        /// Name of the use.
        use_name: &'static str,
    },
    /// The file itself.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// No key can be made without randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// All keys of one ledger. Every use has at least one.
#[derive(Clone)]
pub struct KeyRing {
    keys: BTreeMap<(u8, u32), (KeyUse, Secret)>,
}

impl KeyRing {
    /// A fresh key of the first epoch for every use.
    ///
    /// # Errors
    /// [`KeyRingError::Random`].
    pub fn generate() -> Result<Self, KeyRingError> {
        let mut ring = Self { keys: BTreeMap::new() };
        for key_use in USES {
            ring.add(key_use, FIRST_EPOCH)?;
        }
        Ok(ring)
    }

    /// Adds a fresh key of the next epoch for `key_use`, and gives the epoch. The caller commits to
    /// it in the log, and writes the file, before it is used.
    ///
    /// # Errors
    /// [`KeyRingError::Random`], [`KeyRingError::NoEpoch`] after 2^32 - 1 of them.
    pub fn rotate(&mut self, key_use: KeyUse) -> Result<u32, KeyRingError> {
        let newest = self.of_use(key_use).last().map_or(0, |(epoch, _)| epoch);
        let epoch = newest.checked_add(1).ok_or(KeyRingError::NoEpoch { use_name: key_use.name() })?;
        self.add(key_use, epoch)?;
        Ok(epoch)
    }

    /// Removes a key, as a directory key is at the end of its epoch. The newest of a use stays:
    /// `false` where nothing was removed.
    pub fn remove(&mut self, key_use: KeyUse, epoch: u32) -> bool {
        let is_newest = self.of_use(key_use).last().is_some_and(|(newest, _)| newest == epoch);
        !is_newest && self.keys.remove(&(key_use.code(), epoch)).is_some()
    }

    /// Epoch and key of the newest key for `key_use`.
    ///
    /// # Errors
    /// [`KeyRingError::NoKey`], which no ring made by this module gives.
    pub fn current(&self, key_use: KeyUse) -> Result<(u32, &[u8; SECRET_BYTES]), KeyRingError> {
        self.of_use(key_use).last().ok_or(KeyRingError::NoKey { use_name: key_use.name() })
    }

    /// The key of one epoch.
    #[must_use]
    pub fn get(&self, key_use: KeyUse, epoch: u32) -> Option<&[u8; SECRET_BYTES]> {
        self.keys.get(&(key_use.code(), epoch)).map(|(_, key)| &**key)
    }

    /// Use, epoch and commitment of every key, in ascending order of use and epoch: what the
    /// settings entries of the log commit to.
    pub fn commitments(&self) -> impl Iterator<Item = (KeyUse, u32, Hash)> {
        self.keys.iter().map(|((_, epoch), (key_use, key))| {
            (*key_use, *epoch, key_commitment(*key_use, *epoch, key))
        })
    }

    /// Reads the text of a file of keys.
    ///
    /// ```
    /// use counterfoil::event::keys::KeyUse;
    /// use counterfoil::vault::keyring::KeyRing;
    ///
    /// let hex = "11".repeat(32);
    /// let text = format!("event 1 {hex}\nread 1 {hex}\ndirectory 1 {hex}\ndirectory 2 {hex}\n");
    /// let ring = KeyRing::parse(&text).unwrap();
    /// assert_eq!(ring.current(KeyUse::Directory).unwrap(), (2, &[0x11; 32]));
    /// assert!(KeyRing::parse("read 1 11").is_err());
    /// ```
    ///
    /// # Errors
    /// [`KeyRingError`] with the number of the line; never with its content.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut ring = Self { keys: BTreeMap::new() };
        for (line, text) in (1..).zip(text.lines()) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (key_use, epoch, key) = parse_line(text).ok_or(KeyRingError::Syntax { line })?;
            if ring.keys.insert((key_use.code(), epoch), (key_use, key)).is_some() {
                return Err(KeyRingError::Repeated { line, use_name: key_use.name(), epoch });
            }
        }
        for key_use in USES {
            ring.current(key_use)?;
        }
        Ok(ring)
    }

    /// The text that [`parse`](Self::parse) reads. These are the secrets themselves.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Use and epoch take at most 21 bytes, the key 64: room from the start, so that no copy of
        // a shorter text is left behind.
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len() * 96));
        for ((_, epoch), (key_use, key)) in &self.keys {
            let digits = Zeroizing::new(hex::encode(key.as_slice()));
            for field in [key_use.name(), " ", &epoch.to_string(), " ", &digits, "\n"] {
                text.push_str(field);
            }
        }
        text
    }

    /// Makes the keys of a new ledger and keeps them in the file `path`.
    ///
    /// # Errors
    /// [`SecretFileError::Exists`] where a file is there already; else what the system reports.
    pub fn create(path: &Path) -> Result<Self, KeyRingError> {
        let ring = Self::generate()?;
        secret_file::create(path, ring.to_text().as_bytes())?;
        Ok(ring)
    }

    /// Reads the keys of a ledger from the file `path`.
    ///
    /// # Errors
    /// [`KeyRingError::Missing`] says what to do; a file that others can read or that is not a list
    /// of keys is refused.
    pub fn open(path: &Path) -> Result<Self, KeyRingError> {
        let missing = || KeyRingError::Missing { path: path.to_owned() };
        let bytes = secret_file::read(path)?.ok_or_else(missing)?;
        let end = |error: std::str::Utf8Error| error.valid_up_to();
        let text = std::str::from_utf8(&bytes).map_err(|error| KeyRingError::Syntax {
            line: 1 + bytes.iter().take(end(error)).filter(|byte| **byte == b'\n').count(),
        })?;
        Self::parse(text)
    }

    fn add(&mut self, key_use: KeyUse, epoch: u32) -> Result<(), RandomError> {
        let mut key = Secret::new([0; SECRET_BYTES]);
        random_fill(key.as_mut_slice())?;
        self.keys.insert((key_use.code(), epoch), (key_use, key));
        Ok(())
    }

    fn of_use(&self, key_use: KeyUse) -> impl DoubleEndedIterator<Item = (u32, &[u8; SECRET_BYTES])> {
        let code = key_use.code();
        self.keys.range((code, 0)..=(code, u32::MAX)).map(|((_, epoch), (_, key))| (*epoch, &**key))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.keys.iter().map(|((_, epoch), (key_use, _))| (key_use.name(), epoch));
        f.write_str("KeyRing ")?;
        f.debug_list().entries(names).finish()
    }
}

fn parse_line(text: &str) -> Option<(KeyUse, u32, Secret)> {
    let mut fields = text.split(' ');
    let name = fields.next()?;
    let key_use = USES.into_iter().find(|key_use| key_use.name() == name)?;
    let digits = fields.next()?;
    let epoch: u32 = digits.parse().ok()?;
    let mut key = Secret::new([0; SECRET_BYTES]);
    hex::decode_to_slice(fields.next()?, key.as_mut_slice()).ok()?;
    let is_exact = epoch >= FIRST_EPOCH && epoch.to_string() == digits && fields.next().is_none();
    is_exact.then_some((key_use, epoch, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_ring_is_read_back_and_never_made_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reader.key");
        assert!(matches!(KeyRing::open(&path), Err(KeyRingError::Missing { .. })));
        let created = KeyRing::create(&path).unwrap();
        let opened = KeyRing::open(&path).unwrap();
        assert_eq!(*created.to_text(), *opened.to_text());
        assert!(KeyRing::create(&path).is_err());
        let (_, event) = opened.current(KeyUse::Event).unwrap();
        assert_ne!(event, opened.current(KeyUse::Read).unwrap().1);
    }

    #[test]
    fn rotation_keeps_older_epochs_until_they_are_removed() {
        let mut ring = KeyRing::generate().unwrap();
        let first = *ring.current(KeyUse::Directory).unwrap().1;
        assert_eq!(ring.rotate(KeyUse::Directory).unwrap(), 2);
        assert_eq!(ring.current(KeyUse::Directory).unwrap().0, 2);
        assert_eq!(ring.get(KeyUse::Directory, 1), Some(&first));
        assert_eq!(ring.current(KeyUse::Read).unwrap().0, 1);
        assert!(!ring.remove(KeyUse::Directory, 2));
        assert!(ring.remove(KeyUse::Directory, 1) && !ring.remove(KeyUse::Directory, 1));
        assert_eq!(ring.get(KeyUse::Directory, 1), None);
    }

    #[test]
    fn commitments_are_those_of_the_keys_in_order() {
        let mut ring = KeyRing::generate().unwrap();
        ring.rotate(KeyUse::Event).unwrap();
        let found: Vec<_> = ring.commitments().collect();
        let expected =
            [(KeyUse::Event, 1), (KeyUse::Event, 2), (KeyUse::Read, 1), (KeyUse::Directory, 1)].map(
                |(key_use, epoch)| {
                    (key_use, epoch, key_commitment(key_use, epoch, ring.get(key_use, epoch).unwrap()))
                },
            );
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_a_ring_is_refused_without_showing_it() {
        let secret = "5e".repeat(32);
        let all = format!("event 1 {secret}\nread 1 {secret}\ndirectory 1 {secret}\n");
        assert!(KeyRing::parse(&format!("# for readers\n\n{all}")).is_ok());
        let bad = [
            all.replace("read 1", "read 0"),
            all.replace("read 1", "read 01"),
            all.replace("read 1", "read +1"),
            all.replace("read 1", "write 1"),
            all.replace("read 1 ", "read 1  "),
            all.replace("read 1 5e", "read 1 "),
            all.replace("read 1 5e", "read 1 5g"),
            all.replace("read 1", "event 1"),
            format!("{all}read 1 {secret} \n"),
            format!("{all}read 1 {secret}\n"),
            format!("event 1 {secret}\nread 1 {secret}\n"),
            String::new(),
        ];
        for text in bad {
            let error = KeyRing::parse(&text).unwrap_err();
            assert!(!error.to_string().contains("5e5e"), "{error}");
        }
        let ring = KeyRing::parse(&all).unwrap();
        let shown = format!("{ring:?}");
        assert_eq!(shown, r#"KeyRing [("event", 1), ("read", 1), ("directory", 1)]"#);
    }
}
