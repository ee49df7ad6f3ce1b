//! The keys of one ledger and where they lie.
//!
//! In scope: making them once and reading them back. Out of scope: the vault's tree, which keeps the
//! rest. Invariant: making refuses to replace anything that exists, reading refuses to make
//! anything that is missing.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::event::keys::KeyUse;
use crate::log::note::SigningKey;
use crate::store::Storage;
use crate::vault::{FileCustody, KeyRing, RootCustody, signer};

use super::error::LedgerError;

/// The ledger's HMAC keys of the current epoch.
#[derive(Clone)]
pub struct Secrets {
    /// `K_event`: event keys.
    pub event: Zeroizing<[u8; 32]>,
    /// `K_read`: keys of open facets.
    pub read: Zeroizing<[u8; 32]>,
    /// `K_dir`: directory keys of persons.
    pub directory: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Everything secret that opening a ledger takes.
#[derive(Debug)]
pub struct LedgerKeys {
    /// Signs checkpoints; its name is the origin.
    pub signer: SigningKey,
    /// Signs certificates of erasures; its name is the origin and `/certificates`.
    pub certifier: SigningKey,
    /// HMAC keys.
    pub secrets: Secrets,
    /// Keeps the vault's root key.
    pub custody: Box<dyn RootCustody>,
}

/// Where a ledger's key files lie in a data directory.
#[derive(Debug, Clone)]
pub(crate) struct KeyFiles {
    pub(crate) signer: PathBuf,
    pub(crate) reader: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) certifier: PathBuf,
}

impl KeyFiles {
    /// The files of ledger `name` under `data`.
    pub(crate) fn of(data: &Path, name: &str) -> Self {
        let ledger = data.join("ledgers").join(name);
        Self {
            signer: data.join("keys").join(format!("{name}.signing-key")),
            reader: ledger.join("reader.key"),
            root: data.join("keys").join(format!("{name}.vault-root")),
            certifier: data.join("keys").join(format!("{name}.certificate-key")),
        }
    }
}

impl LedgerKeys {
    /// Makes the keys of a new ledger with `origin` as its key's name and keeps them in files; `storage` is
    /// that of `data`, since opening another beside it would take files away that are on their way.
    ///
    /// # Errors
    /// Where a file exists already, and for an origin that is no key name.
    pub fn create(
        data: &Path,
        storage: &dyn Storage,
        name: &str,
        origin: &str,
    ) -> Result<Self, LedgerError> {
        let files = KeyFiles::of(data, name);
        let signer = signer::create(&files.signer, origin)?;
        let certifier = signer::create(&files.certifier, &certifier_name(origin))?;
        let ring = KeyRing::create(&files.reader)?;
        let vkey = format!("{}\n", signer.verifier());
        storage.write_durable(&format!("ledgers/{name}/verifier.key"), vkey.as_bytes())?;
        Ok(Self {
            signer,
            certifier,
            secrets: Secrets::current(&ring)?,
            custody: Box::new(FileCustody::new(files.root)),
        })
    }

    /// Reads the keys of a ledger whose origin is `origin`.
    ///
    /// # Errors
    /// Where a file is missing, readable by others or damaged. None is ever made anew but the key for
    /// certificates, which an earlier release did not have and the log registers before it is used.
    pub fn open(data: &Path, name: &str, origin: &str) -> Result<Self, LedgerError> {
        let files = KeyFiles::of(data, name);
        let signer = signer::open(&files.signer, origin)?;
        let certifier = if files.certifier.exists() {
            signer::open(&files.certifier, &certifier_name(origin))?
        } else {
            signer::create(&files.certifier, &certifier_name(origin))?
        };
        let ring = KeyRing::open(&files.reader)?;
        Ok(Self {
            signer,
            certifier,
            secrets: Secrets::current(&ring)?,
            custody: Box::new(FileCustody::new(files.root)),
        })
    }
}

/// Name of the key that signs a ledger's certificates.
fn certifier_name(origin: &str) -> String {
    format!("{origin}/certificates")
}

impl Secrets {
    /// The newest key of each use.
    ///
    /// # Errors
    /// [`LedgerError::KeyRing`] where a use has none.
    pub fn current(ring: &KeyRing) -> Result<Self, LedgerError> {
        let newest = |key_use| -> Result<Zeroizing<[u8; 32]>, LedgerError> {
            let (_, key) = ring.current(key_use)?;
            Ok(Zeroizing::new(*key))
        };
        Ok(Self {
            event: newest(KeyUse::Event)?,
            read: newest(KeyUse::Read)?,
            directory: newest(KeyUse::Directory)?,
        })
    }
}
