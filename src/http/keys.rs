//! API keys: who may call what.
//!
//! In scope: making, storing and checking keys. Out of scope: what a role may do at each path
//! ([`super::auth`]). Invariants: only a SHA-256 of a secret is stored (the secret has 256 random
//! bits, so a fast hash is right) and it is compared in constant time; a key is shown once.

mod record;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::{RandomError, random_fill};
use crate::log::hash::{Hash, sha256};
use crate::store::{Storage, StoreError};

pub use record::{BOUND_MAX, KeyChange, KeyRecord, LABEL_BYTES_MAX, NewKey, Role};
use record::{check_expiry, check_label, check_new, invalid};

/// File of the key records, relative to the data directory.
pub const KEYS_FILE: &str = "keys/api-keys.json";

/// File of the first admin key.
pub const ADMIN_KEY_FILE: &str = "keys/admin.key";

/// File of when each key was last used, written now and then: losing it loses no right.
const LAST_USED_FILE: &str = "keys/last-used.json";

/// Keys at most; each is a few hundred bytes in memory and in one file.
pub const KEYS_MAX: usize = 10_000;

/// Seconds for which a rotated key goes on being good where the request does not say: one day.
pub const OVERLAP_S_DEFAULT: u64 = 86_400;

/// Seconds for which a rotated key goes on being good at most: 90 days.
pub const OVERLAP_S_MAX: u64 = 90 * 86_400;

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
    /// There is no key of this id.
    #[error("there is no key of this id")]
    NoSuchKey,
    /// The request asks for what no key can be.
    #[error("`{field}` {what}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What it must be.
        what: String,
    },
    /// Without this key nobody could make keys any more.
    #[error("this is the last key that can make keys; make another admin key first")]
    LastAdmin,
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
        let records: Records =
            records.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect();
        let used = storage.read(LAST_USED_FILE)?.unwrap_or_default();
        let used: BTreeMap<String, u64> = serde_json::from_slice(&used).unwrap_or_default();
        for (id, seconds) in used {
            if let Some(record) = records.get(&id) {
                record.last_used_s.store(seconds, Ordering::Relaxed);
            }
        }
        Ok(Self { storage, records: ArcSwap::from_pointee(records), writing: Mutex::new(()) })
    }

    /// Every key, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KeyRecord>> {
        self.records.load().values().cloned().collect()
    }

    /// How many keys are active, expired and revoked at `now_s`, Unix seconds.
    #[must_use]
    pub fn count_by_state(&self, now_s: u64) -> [(&'static str, u64); 3] {
        let (mut active, mut expired, mut revoked) = (0, 0, 0);
        for record in self.records.load().values() {
            match (record.revoked, record.is_live(now_s)) {
                (true, _) => revoked += 1,
                (false, true) => active += 1,
                (false, false) => expired += 1,
            }
        }
        [("active", active), ("expired", expired), ("revoked", revoked)]
    }

    /// Makes a key at `now_s` (Unix seconds) and returns its text, which is shown this once.
    ///
    /// # Errors
    /// [`KeyError::Invalid`], [`KeyError::TooMany`], or what the storage reports.
    pub fn create(
        &self,
        new: NewKey,
        first: bool,
        now_s: u64,
    ) -> Result<(Arc<KeyRecord>, Zeroizing<String>), KeyError> {
        check_new(&new)?;
        check_expiry(new.expires_at_s, now_s)?;
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.records.load());
        let number = records.values().map(|record| record.number).max().unwrap_or(0) + 1;
        let made = add(&mut records, |id, secret_sha256| KeyRecord {
            id,
            number,
            label: new.label,
            role: new.role,
            ledgers: new.ledgers,
            sources: new.sources,
            expires_at_s: new.expires_at_s,
            revoked: false,
            first,
            created_at_s: Some(now_s),
            replaced_by: None,
            secret_sha256,
            last_used_s: Arc::default(),
        })?;
        self.save(records)?;
        Ok(made)
    }

    /// Makes a key that takes another's place: same number, role and bounds, a secret of its own. The old
    /// key stays good for `overlap_s` seconds more, and no longer than it would have been.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::Revoked`] or [`KeyError::Expired`] for a key that is not good
    /// any more, [`KeyError::Invalid`] for one that was rotated before or an overlap that is too long.
    pub fn rotate(
        &self,
        id: &str,
        overlap_s: u64,
        now_s: u64,
    ) -> Result<(Arc<KeyRecord>, Zeroizing<String>), KeyError> {
        if overlap_s > OVERLAP_S_MAX {
            return Err(invalid("overlap_s", format!("must be at most {OVERLAP_S_MAX}")));
        }
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.records.load());
        let old = records.get(id).cloned().ok_or(KeyError::NoSuchKey)?;
        check_live(&old, now_s)?;
        if old.replaced_by.is_some() {
            return Err(invalid("id", "names a key that was rotated before; rotate its successor"));
        }
        let made = add(&mut records, |id, secret_sha256| KeyRecord {
            id,
            created_at_s: Some(now_s),
            secret_sha256,
            last_used_s: Arc::default(),
            ..KeyRecord::clone(&old)
        })?;
        if let Some(record) = records.get_mut(id) {
            let record = Arc::make_mut(record);
            let ends = now_s.saturating_add(overlap_s);
            record.expires_at_s = Some(record.expires_at_s.map_or(ends, |expires| expires.min(ends)));
            record.replaced_by = Some(made.0.id.clone());
        }
        self.save(records)?;
        Ok(made)
    }

    /// Changes a key's label or expiry.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::Invalid`], [`KeyError::LastAdmin`], or what the storage reports.
    pub fn change(&self, id: &str, change: KeyChange, now_s: u64) -> Result<Arc<KeyRecord>, KeyError> {
        if let Some(label) = &change.label {
            check_label(label)?;
        }
        check_expiry(change.expires_at_s, now_s)?;
        self.update(id, now_s, |record| {
            if let Some(label) = change.label {
                record.label = label;
            }
            if change.expires_at_s.is_some() {
                record.expires_at_s = change.expires_at_s;
            }
        })
    }

    /// Takes a key back, for good.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::LastAdmin`], or what the storage reports.
    pub fn revoke(&self, id: &str, now_s: u64) -> Result<Arc<KeyRecord>, KeyError> {
        self.update(id, now_s, |record| record.revoked = true)
    }

    fn update(
        &self,
        id: &str,
        now_s: u64,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<Arc<KeyRecord>, KeyError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Records::clone(&self.records.load());
        let record = records.get_mut(id).ok_or(KeyError::NoSuchKey)?;
        change(Arc::make_mut(record));
        let changed = Arc::clone(record);
        let door = |records: &Records| records.values().any(|record| record.keeps_the_door(now_s));
        if changed.revoked && door(&self.records.load()) && !door(&records) {
            return Err(KeyError::LastAdmin);
        }
        self.save(records)?;
        Ok(changed)
    }

    /// The key of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<KeyRecord>> {
        self.records.load().get(id).cloned()
    }

    /// Keeps when each key was last used.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn save_last_use(&self) -> Result<(), KeyError> {
        let records = self.records.load();
        let used: BTreeMap<&str, u64> = records
            .values()
            .filter_map(|record| Some((record.id.as_str(), record.last_used_s()?)))
            .collect();
        let bytes =
            serde_json::to_vec(&used).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        if self.storage.read(LAST_USED_FILE)?.is_none_or(|written| written != bytes) {
            self.storage.write(LAST_USED_FILE, &bytes)?;
        }
        Ok(())
    }

    fn save(&self, records: Records) -> Result<(), KeyError> {
        let list: Vec<&KeyRecord> = records.values().map(Arc::as_ref).collect();
        let bytes =
            serde_json::to_vec_pretty(&list).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        self.storage.write_durable(KEYS_FILE, &bytes)?;
        self.records.store(Arc::new(records));
        Ok(())
    }

    /// Number of the key that a `cf_<id>_<secret>` text claims to be, whose secret is not looked at.
    #[must_use]
    pub fn claimed(&self, text: &str) -> Option<u32> {
        let (id, _) = text.strip_prefix("cf_")?.split_once('_')?;
        self.records.load().get(id).map(|record| record.number)
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
        check_live(&record, now_s)?;
        record.last_used_s.store(now_s, Ordering::Relaxed);
        Ok(record)
    }
}

/// Adds a record with a fresh id and secret; gives it and its text.
fn add(
    records: &mut Records,
    record: impl FnOnce(String, Hash) -> KeyRecord,
) -> Result<(Arc<KeyRecord>, Zeroizing<String>), KeyError> {
    if records.len() >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    let mut id = [0_u8; 8];
    random_fill(&mut id)?;
    let mut secret = Zeroizing::new([0_u8; 32]);
    random_fill(&mut *secret)?;
    let id = hex::encode(id);
    let record = Arc::new(record(id.clone(), sha256(&*secret)));
    let text = Zeroizing::new(format!("cf_{id}_{}", *Zeroizing::new(hex::encode(*secret))));
    records.insert(id, Arc::clone(&record));
    Ok((record, text))
}

fn check_live(record: &KeyRecord, now_s: u64) -> Result<(), KeyError> {
    match () {
        () if record.revoked => Err(KeyError::Revoked),
        () if !record.is_live(now_s) => Err(KeyError::Expired),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests;
