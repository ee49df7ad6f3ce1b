//! Backups: a copy of a data directory that opens, made while a server writes, and its way back.
//!
//! In scope: which files belong together and in which order they are read, the manifest, the checks that
//! make a copy a backup, restoring. Out of scope: copying one file ([`crate::store::Copier`]), verifying a
//! directory ([`crate::audit`]), when backups are made and where they are kept (the operator's).
//!
//! | what | in a backup | with `--keys-to`, in a directory of its own |
//! |---|---|---|
//! | log, sealed parts, journal, vault nodes, settings | yes | |
//! | signing keys, `reader.key`, API key records | never | yes |
//! | the vault's root keys, `admin.key` | never | never |
//! | index, `fold.state`, `audit.json` | no: derived | |
//!
//! Invariants: the source is never written to; no secret that opens or signs anything is in a backup; the
//! manifest is written last, and only once the copy was verified with the vault's root key in use, so a
//! directory without one is no backup; no file speaks of entries that the copied journal does not have,
//! since a restored server would take it for its own.

mod files;
mod keys;
mod ledger;
mod make;
mod manifest;
mod restore;
#[cfg(test)]
mod tests;
mod vault;

use std::path::PathBuf;

use crate::audit::AuditError;
use crate::ledger::LedgerError;
use crate::store::{Operation, StoreError};
use crate::vault::{CustodyError, KeyRingError, SecretFileError, SignerError, VaultError};

pub use make::{Made, Request, Step, make};
pub use manifest::{LedgerBackup, MANIFEST_FILE, Manifest, RootKeyName};
pub use restore::{RestoreRequest, Restored, restore};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A root key could not be read or placed.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The vault does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A key file could not be read or placed.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    /// A signing key does not fit its ledger.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A reader's keys are no such keys.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The copy could not be verified.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What is restored does not extend what was signed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The directory's settings cannot be read.
    #[error("{0}")]
    Config(String),
    /// A ledger was named that the directory does not have.
    #[error("no ledger named {0} here")]
    NoSuchLedger(String),
    /// The directories given lie in one another.
    #[error("{} lies in {}: keep them apart", inner.display(), outer.display())]
    Within {
        /// The directory that must be elsewhere.
        inner: PathBuf,
        /// The directory it is in.
        outer: PathBuf,
    },
    /// A ledger's files did not come to rest.
    #[error(
        "ledger {ledger}: no whole copy after {passes} passes: {what}. If no server runs on the directory, \
         a crash may have left it so: start the server once, which mends it, and back up again"
    )]
    Moved {
        /// The ledger's name.
        ledger: String,
        /// How often it was tried.
        passes: u32,
        /// What stood in the way of the last one.
        what: String,
    },
    /// The copy was made and is not good.
    #[error(
        "ledger {ledger}: the copy does not verify: {what}. Verify the directory itself (`counterfoil \
         verify`); this copy is no backup"
    )]
    NotVerified {
        /// The ledger's name.
        ledger: String,
        /// The first check that failed.
        what: String,
    },
    /// There is no manifest.
    #[error(
        "{} holds no {MANIFEST_FILE}, so it is no backup: one that was cut off has none. Take an earlier one",
        dir.display()
    )]
    NoManifest {
        /// The directory.
        dir: PathBuf,
    },
    /// The manifest is not one of ours.
    #[error("{} is damaged: {what}; take another backup", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file of the backup is not what was backed up.
    #[error("the backup is damaged: {file} {what}; nothing was restored. Take another backup")]
    Damaged {
        /// Path in the backup.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The root key that the backup needs is not among those given.
    #[error(
        "ledger {ledger} needs the root key {needed}, which is not among those given{newer}. Nothing was \
         restored. Without --root-key the log can be restored and verified"
    )]
    NoRootKey {
        /// The ledger's name.
        ledger: String,
        /// File and id of the key.
        needed: String,
        /// What the keys given say about it.
        newer: String,
    },
    /// The keys that were kept are another ledger's.
    #[error("{}: not the signing key of the ledger in the backup", file.display())]
    OtherKey {
        /// The key file.
        file: PathBuf,
    },
}

impl BackupError {
    /// The error of a file that had to be there.
    fn missing(path: &str) -> Self {
        let reason = "it is missing";
        Self::Store(StoreError::new(Operation::Read, path, std::io::ErrorKind::NotFound, reason))
    }
}
