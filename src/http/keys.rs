//! API keys: who may call what.
//!
//! In scope: making, storing and checking keys. Out of scope: what a role may do at each path
//! ([`super::auth`]). Invariants: only a SHA-256 of a secret is stored (the secret has 256 random
//! bits, so a fast hash is right) and it is compared in constant time; a key is shown once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::{RandomError, random_fill};
use crate::log::hash::{Hash, sha256};
use crate::store::{Storage, StoreError};

/// File of the key records, relative to the data directory.
pub const KEYS_FILE: &str = "keys/api-keys.json";

/// File of the first admin key.
pub const ADMIN_KEY_FILE: &str = "keys/admin.key";

/// Keys at most; each is a few hundred bytes in memory and in one file.
pub const KEYS_MAX: usize = 10_000;

/// What a key's holder may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Append only.
    Producer,
    /// Search; personal parts are masked unless a reason is given.
    Responder,
    /// Verify, read entries and bundles; personal parts stay masked.
    Auditor,
    /// Read personal parts with a reason.
    Dpo,
    /// Keys and settings; the first such key may do everything.
    Admin,
}

/// A stored key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Public part of the key: 16 hex digits.
    pub id: String,
    /// Number of the key in log entries (`producer`).
    pub number: u32,
    /// What it is for, in the operator's words.
    pub label: String,
    /// Role.
    pub role: Role,
    /// Ledgers it is good for; empty for all.
    pub ledgers: Vec<String>,
    /// Envelope sources it may append for; empty for all.
    pub sources: Vec<String>,
    /// First moment at which it is no longer good, Unix seconds.
    pub expires_at_s: Option<u64>,
    /// Whether it has been revoked.
    pub revoked: bool,
    /// The key made at first start, which may do everything.
    pub first: bool,
    secret_sha256: Hash,
}

/// What a new key shall be.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    #[serde(default)]
    pub label: String,
    /// Role.
    pub role: Role,
    /// Ledgers it is good for; empty for all.
    #[serde(default)]
    pub ledgers: Vec<String>,
    /// Sources it may append for; empty for all.
    #[serde(default)]
    pub sources: Vec<String>,
    /// First moment at which it is no longer good, Unix seconds.
    #[serde(default)]
    pub expires_at_s: Option<u64>,
}

/// Why a key was not accepted or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a key of this server, or its secret is wrong.
    #[error("the key is not known here")]
    Unknown,
    /// The key's time is over.
    #[error("the key has expired")]
    Expired,
    /// The key was taken back.
    #[error("the key has been revoked")]
    Revoked,
    /// No room for another key.
    #[error("there are {KEYS_MAX} keys already; revoked ones count too")]
    TooMany,
    /// The file of key records cannot be read.
    #[error("{KEYS_FILE}: {0}")]
    Unreadable(String),
    /// The file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

type Records = BTreeMap<String, Arc<KeyRecord>>;

/// The keys of a server. Look-ups take no lock.
#[derive(Debug)]
pub struct KeyStore {
    storage: Arc<dyn Storage>,
    records: ArcSwap<Records>,
    writing: Mutex<()>,
}

impl KeyStore {
    /// Reads the key records of a data directory; none is an empty store.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] where the file is not what this module wrote.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, KeyError> {
        let records: Vec<KeyRecord> = match storage.read(KEYS_FILE)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| KeyError::Unreadable(error.to_string()))?,
        };
        let records = records.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect();
        Ok(Self { storage, records: ArcSwap::from_pointee(records), writing: Mutex::new(()) })
    }

    /// Every key, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KeyRecord>> {
        self.records.load().values().cloned().collect()
    }

    /// Makes a key and returns its text, which is shown this once.
    ///
    /// # Errors
    /// [`KeyError::TooMany`], or what the storage reports.
    pub fn create(
        &self,
        new: NewKey,
        first: bool,
    ) -> Result<(Arc<KeyRecord>, Zeroizing<String>), KeyError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.records.load());
        if records.len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let mut id = [0_u8; 8];
        random_fill(&mut id)?;
        let mut secret = Zeroizing::new([0_u8; 32]);
        random_fill(&mut *secret)?;
        let id = hex::encode(id);
        let number = records.values().map(|record| record.number).max().unwrap_or(0) + 1;
        let record = Arc::new(KeyRecord {
            id: id.clone(),
            number,
            label: new.label,
            role: new.role,
            ledgers: new.ledgers,
            sources: new.sources,
            expires_at_s: new.expires_at_s,
            revoked: false,
            first,
            secret_sha256: sha256(&*secret),
        });
        records.insert(id.clone(), Arc::clone(&record));
        self.save(records)?;
        let text = Zeroizing::new(format!("cf_{id}_{}", *Zeroizing::new(hex::encode(*secret))));
        Ok((record, text))
    }

    /// Takes a key back; false where there is none of this id.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn revoke(&self, id: &str) -> Result<bool, KeyError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.records.load());
        let Some(record) = records.get_mut(id) else { return Ok(false) };
        Arc::make_mut(record).revoked = true;
        self.save(records)?;
        Ok(true)
    }

    fn save(&self, records: Records) -> Result<(), KeyError> {
        let list: Vec<&KeyRecord> = records.values().map(Arc::as_ref).collect();
        let bytes =
            serde_json::to_vec_pretty(&list).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        self.storage.write_durable(KEYS_FILE, &bytes)?;
        self.records.store(Arc::new(records));
        Ok(())
    }

    /// The key behind a `cf_<id>_<secret>` text, where it is good at `now_s` (Unix seconds).
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Expired`] or [`KeyError::Revoked`].
    pub fn check(&self, text: &str, now_s: u64) -> Result<Arc<KeyRecord>, KeyError> {
        let (id, secret) =
            text.strip_prefix("cf_").and_then(|rest| rest.split_once('_')).ok_or(KeyError::Unknown)?;
        let record = self.records.load().get(id).cloned().ok_or(KeyError::Unknown)?;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(secret, &mut *bytes).map_err(|_| KeyError::Unknown)?;
        let found = sha256(&*bytes);
        if !bool::from(found.as_bytes().ct_eq(record.secret_sha256.as_bytes())) {
            return Err(KeyError::Unknown);
        }
        if record.revoked {
            return Err(KeyError::Revoked);
        }
        if record.expires_at_s.is_some_and(|expires| now_s >= expires) {
            return Err(KeyError::Expired);
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStorage;

    fn new(role: Role) -> NewKey {
        NewKey {
            label: String::new(),
            role,
            ledgers: Vec::new(),
            sources: Vec::new(),
            expires_at_s: Some(100),
        }
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let store = KeyStore::open(Arc::clone(&storage)).unwrap();
        let (record, text) = store.create(new(Role::Producer), false).unwrap();
        assert_eq!(store.check(&text, 99).unwrap().id, record.id);
        assert!(matches!(store.check(&text, 100), Err(KeyError::Expired)));
        let mut wrong = text.to_string();
        let last = wrong.pop().unwrap();
        wrong.push(if last == '0' { '1' } else { '0' });
        assert!(matches!(store.check(&wrong, 1), Err(KeyError::Unknown)));
        let again = KeyStore::open(Arc::clone(&storage)).unwrap();
        assert_eq!(again.check(&text, 1).unwrap().number, 1);
        assert!(again.revoke(&record.id).unwrap());
        assert!(matches!(again.check(&text, 1), Err(KeyError::Revoked)));
        let stored = String::from_utf8(storage.read(KEYS_FILE).unwrap().unwrap()).unwrap();
        assert!(!stored.contains(text.rsplit('_').next().unwrap()), "the secret itself is not stored");
    }
}
