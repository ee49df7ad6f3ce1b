//! The file of the log's signing key (design section 3.5a).
//!
//! In scope: creating the key once, and reading it ever after. Out of scope: signing
//! (`log::note`), deciding whether to sign (`ledger`).
//!
//! The file is one line, `PRIVATE+KEY+<name>+<ID>+<base64>`, as Go's `note.GenerateKey` writes it,
//! mode 0600.
//!
//! Invariant: a key comes into being by [`create`] alone, and [`create`] replaces nothing. A ledger
//! that quietly signed with a new key would look to everyone like a forgery of itself.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::mac::SECRET_BYTES;
use super::secret_file::{self, SecretFileError};
use crate::clock::{RandomError, random_fill};
use crate::log::note::{KeyError, SigningKey};

/// The signing key could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// There is no key where the ledger's key must be.
    #[error(
        "the log's signing key {} is missing; put it back from where it is kept. It is never made \
         anew, because whoever holds the log's verifier key would take a new key for a forger's. If \
         it is lost for good, begin a new ledger under a new origin",
        path.display()
    )]
    Missing {
        /// Where the key must be.
        path: PathBuf,
    },
    /// The file does not hold a signing key.
    #[error("the log's signing key {} cannot be read: {error}; put the intact file back", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        error: KeyError,
    },
    /// The key is another log's.
    #[error("the signing key in {} is named {found:?}, the log is {expected:?}", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name in the file.
        found: String,
        /// The log's origin.
        expected: String,
    },
    /// The name cannot be a key's.
    #[error("no signing key can have this name: {0}")]
    Name(KeyError),
    /// The file itself.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// No key can be made without randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Makes a new signing key for the log `name` (its origin) and keeps it in the file `path`.
///
/// # Errors
/// [`SecretFileError::Exists`] where a file is there already; a name that C2SP does not allow; else
/// what the operating system reports.
pub fn create(path: &Path, name: &str) -> Result<SigningKey, SignerError> {
    let mut seed = Zeroizing::new([0; SECRET_BYTES]);
    random_fill(seed.as_mut_slice())?;
    let key = SigningKey::generate_from_seed(name, &seed).map_err(SignerError::Name)?;
    let mut line = key.to_go_string();
    line.push('\n');
    secret_file::create(path, line.as_bytes())?;
    Ok(key)
}

/// Reads the signing key of the log `name` (its origin) from the file `path`.
///
/// # Errors
/// [`SignerError::Missing`] says what to do; a file that others can read, that is damaged or that
/// holds another log's key is refused.
pub fn open(path: &Path, name: &str) -> Result<SigningKey, SignerError> {
    let missing = || SignerError::Missing { path: path.to_owned() };
    let damaged = |error| SignerError::Damaged { path: path.to_owned(), error };
    let bytes = secret_file::read(path)?.ok_or_else(missing)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| damaged(KeyError::Syntax { bytes: bytes.len() }))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let key = SigningKey::from_go_string(line).map_err(damaged)?;
    if key.name() == name {
        return Ok(key);
    }
    let found = key.name().to_owned();
    Err(SignerError::OtherName { path: path.to_owned(), found, expected: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const NAME: &str = "ledger.example/main";

    #[test]
    fn a_created_key_is_read_back_and_never_made_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/log.key");
        let created = create(&path, NAME).unwrap();
        let opened = open(&path, NAME).unwrap();
        assert_eq!(created.verifier().to_string(), opened.verifier().to_string());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("PRIVATE+KEY+ledger.example/main+") && text.lines().count() == 1);
        let exists = create(&path, NAME).unwrap_err();
        assert!(matches!(exists, SignerError::File(SecretFileError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_missing_key_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let text = open(&path, NAME).unwrap_err().to_string();
        assert!(text.contains("log.key") && text.contains("put it back"), "{text}");
        assert!(!path.exists());
    }

    #[test]
    fn a_key_that_is_damaged_readable_by_others_or_of_another_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        create(&path, NAME).unwrap();
        assert!(matches!(open(&path, "ledger.example/other"), Err(SignerError::OtherName { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(&path, NAME), Err(SignerError::File(_))));
        fs::remove_file(&path).unwrap();
        secret_file::create(&path, b"PRIVATE+KEY+ledger.example/main+00000000+AAAA\n").unwrap();
        let text = open(&path, NAME).unwrap_err().to_string();
        assert!(text.contains("put the intact file back") && !text.contains("AAAA"), "{text}");
        assert!(matches!(create(&dir.path().join("other"), "a b"), Err(SignerError::Name(_))));
    }
}
