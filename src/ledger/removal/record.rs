//! What the ledger remembers of an erasure, and what a shred has set out to do.
//!
//! In scope: the two kinds of files and their sealing. Out of scope: what is done with them. Invariants: no
//! identifier is in them; the vault slots of persons are in them only while an erasure is pending, the list
//! of touched bundles only while a shred is under way; of what was destroyed only numbers stay.
//!
//! ```text
//! erasing/<id>     a pending erasure        sealed under the ledger's own key: kind 5, place id[..8]
//! erasures/<id>    one that is complete     the same
//! shred.plan       a shred under way        kind 6, place 0
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::sealed::BundleMask;

use super::super::Shared;
use super::super::error::LedgerError;

const KIND_ERASURE: u8 = 5;
const KIND_PLAN: u8 = 6;
const PENDING_DIR: &str = "erasing";
const COMPLETE_DIR: &str = "erasures";
const PLAN: &str = "shred.plan";

/// Random id of an erasure, the same in every ledger it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErasureId(pub [u8; 16]);

impl std::fmt::Display for ErasureId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for ErasureId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl ErasureId {
    /// A new one from the operating system's randomness.
    ///
    /// # Errors
    /// Where there is none.
    pub fn random() -> Result<Self, crate::clock::RandomError> {
        let mut id = [0; 16];
        crate::clock::random_fill(&mut id)?;
        Ok(Self(id))
    }

    fn place(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Number of the API key.
    pub key: u32,
    /// Its label at the time.
    pub label: String,
}

/// One person of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErasedPerson {
    pub(crate) namespace: String,
    pub(crate) directory_key: [u8; 32],
    /// Vault slot; forgotten with the secret in it.
    pub(crate) slot: Option<u64>,
}

/// What a shred found of an erasure: numbers, and who else holds the data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) parts: u64,
    pub(crate) events: u64,
    pub(crate) by_role: BTreeMap<String, u64>,
    pub(crate) by_type: BTreeMap<String, u64>,
    /// Distinct values of open facets in the same events, by facet.
    pub(crate) alive: BTreeMap<String, u64>,
    /// Recipients that events show to hold the data.
    pub(crate) holders: BTreeMap<String, Holder>,
}

/// Somebody else who holds a person's data, as events tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) told_us: Option<u64>,
    pub(crate) confirmed_us: Option<u64>,
    pub(crate) events: Vec<u64>,
}

/// An erasure as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: [u8; 16],
    pub(crate) asked_us: u64,
    pub(crate) by: Asker,
    pub(crate) reason: String,
    pub(crate) request: Option<String>,
    pub(crate) persons: Vec<ErasedPerson>,
    /// Log size before its entry, from where it is looked for after a crash.
    pub(crate) size_before: u64,
    /// Index of its entry.
    pub(crate) entry: Option<u64>,
    /// Other ledgers it reaches.
    pub(crate) also: Vec<String>,
    /// What was found; set when the shred is done.
    pub(crate) done: Option<Done>,
}

/// How an erasure ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) share: Share,
    /// Indexes of the shred's entries.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// Ids of the root keys.
    pub(crate) key_before: [u8; 16],
    pub(crate) key_after: [u8; 16],
}

impl Record {
    pub(crate) fn id(&self) -> ErasureId {
        ErasureId(self.id)
    }
}

/// What a shred has set out to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Bundles, and whether they end up under their second mask key.
    bundles: BTreeMap<u64, bool>,
    /// By erasure, as first found.
    pub(super) shares: BTreeMap<String, Share>,
    /// Index of the entry that says it has begun.
    pub(super) begun: Option<u64>,
    /// Id of the root key before.
    pub(super) key_before: [u8; 16],
}

impl Plan {
    /// Adds a bundle whose files are under `now`; where it is in the plan already it stays as it is.
    pub(super) fn add(&mut self, bundle: u64, now: BundleMask) {
        self.bundles.entry(bundle).or_insert(now.other() == BundleMask::Second);
    }

    /// Bundles with the mask they end up under.
    pub(super) fn bundles(&self) -> impl Iterator<Item = (u64, BundleMask)> {
        self.bundles.iter().map(|(bundle, second)| {
            (*bundle, if *second { BundleMask::Second } else { BundleMask::First })
        })
    }
}

impl Shared {
    fn seal_json(&self, kind: u8, place: u64, value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
        let failed = |what: &str| LedgerError::Setup(format!("a record of an erasure was not {what}"));
        let json = serde_json::to_vec(value).map_err(|_| failed("written"))?;
        self.aside_key.seal(kind, place, &json).ok_or_else(|| failed("sealed"))
    }

    fn open_json<T: serde::de::DeserializeOwned>(
        &self,
        kind: u8,
        place: u64,
        relative: &str,
    ) -> Result<Option<T>, LedgerError> {
        let path = self.path(relative);
        let Some(sealed) = self.storage.read(&path)? else { return Ok(None) };
        let opened = self.aside_key.open(kind, place, &sealed);
        let value = opened.and_then(|json| serde_json::from_slice(&json).ok());
        let damage = || LedgerError::Damage { file: path.clone(), what: "does not open".to_owned() };
        value.map(Some).ok_or_else(damage)
    }

    /// Keeps a pending erasure, durably.
    pub(super) fn keep_pending(&self, record: &Record) -> Result<(), LedgerError> {
        self.keep_record(PENDING_DIR, record)
    }

    /// Keeps a complete erasure, durably, and then forgets that it was pending.
    pub(super) fn keep_complete(&self, record: &Record) -> Result<(), LedgerError> {
        self.keep_record(COMPLETE_DIR, record)?;
        self.forget_pending(record.id())
    }

    fn keep_record(&self, dir: &str, record: &Record) -> Result<(), LedgerError> {
        let sealed = self.seal_json(KIND_ERASURE, record.id().place(), record)?;
        let path = self.path(&format!("{dir}/{}", record.id()));
        Ok(self.storage.write_durable(&path, &sealed)?)
    }

    pub(super) fn forget_pending(&self, id: ErasureId) -> Result<(), LedgerError> {
        Ok(self.storage.remove(&self.path(&format!("{PENDING_DIR}/{id}")))?)
    }

    /// Every pending erasure.
    pub(super) fn pending_records(&self) -> Result<Vec<Record>, LedgerError> {
        let names = self.storage.list(&self.path(PENDING_DIR))?;
        let ids = names.iter().filter_map(|name| name.parse::<ErasureId>().ok());
        let read = |id: ErasureId| {
            self.open_json(KIND_ERASURE, id.place(), &format!("{PENDING_DIR}/{id}")).transpose()
        };
        ids.filter_map(read).collect()
    }

    /// Number of pending erasures.
    pub(super) fn pending_count(&self) -> Result<usize, LedgerError> {
        Ok(self.storage.list(&self.path(PENDING_DIR))?.len())
    }

    /// An erasure by its id.
    pub(crate) fn erasure_record(&self, id: ErasureId) -> Result<Option<Record>, LedgerError> {
        // Again at the end: it may be completed, and not be pending any more, between the first two looks.
        for dir in [COMPLETE_DIR, PENDING_DIR, COMPLETE_DIR] {
            let found = self.open_json(KIND_ERASURE, id.place(), &format!("{dir}/{id}"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Ids of all erasures, pending ones included, in no order that means anything.
    pub(crate) fn erasure_ids(&self) -> Result<Vec<ErasureId>, LedgerError> {
        let mut ids = Vec::new();
        for dir in [COMPLETE_DIR, PENDING_DIR] {
            let names = self.storage.list(&self.path(dir))?;
            ids.extend(names.iter().filter_map(|name| name.parse::<ErasureId>().ok()));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    pub(super) fn keep_plan(&self, plan: &Plan) -> Result<(), LedgerError> {
        let sealed = self.seal_json(KIND_PLAN, 0, plan)?;
        Ok(self.storage.write_durable(&self.path(PLAN), &sealed)?)
    }

    pub(super) fn read_plan(&self) -> Result<Option<Plan>, LedgerError> {
        self.open_json(KIND_PLAN, 0, PLAN)
    }

    pub(super) fn forget_plan(&self) -> Result<(), LedgerError> {
        Ok(self.storage.remove(&self.path(PLAN))?)
    }
}
