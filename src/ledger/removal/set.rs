//! The removed set of a running ledger, and the entry that commits to it.
//!
//! In scope: reading it at the start, writing it before an entry names it, forgetting older files. Out of
//! scope: what is in it ([`crate::prove::removed`]). Invariants: the file of a set is durable before its
//! entry is submitted, and the register that names set and entry before the first part is removed.
//!
//! ```text
//! removed/<items>     the set of that many items
//! removed.state       register: items u64 ‖ root 32 ‖ index of the entry u64
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::entry::EntryBody;
use crate::log::hash::Hash;
use crate::prove::removed::RemovedSet;
use crate::store::Storage;
use crate::store::state;

use super::super::Shared;
use super::super::error::LedgerError;

const REGISTER: &str = "removed.state";
const DIR: &str = "removed";
const REGISTER_BYTES: usize = 8 + 32 + 8;

/// Times an entry is written again because a group that was open before still had the old inbox key. One is
/// enough wherever groups are taken in order; the bound ends what cannot be.
const ANNOUNCED_MAX: usize = 8;

/// The removed set, and the newest entry that commits to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removed {
    /// The parts that are gone, or on their way.
    pub(crate) set: Arc<RemovedSet>,
    /// Index of the newest shred or prune entry; none where nothing was ever removed.
    pub(crate) entry: Option<u64>,
}

impl Removed {
    /// Reads what the register names.
    ///
    /// # Errors
    /// [`LedgerError::Damage`] where the file is not the set that was named.
    pub(crate) fn read(storage: &dyn Storage, prefix: &str) -> Result<Self, LedgerError> {
        let Some(register) = state::read(storage, &format!("{prefix}/{REGISTER}"))? else {
            return Ok(Self::default());
        };
        let damage = |file: String, what: String| LedgerError::Damage { file, what };
        let whole = register.split_first_chunk::<8>().and_then(|(items, rest)| {
            let (root, entry) = rest.split_first_chunk::<32>()?;
            let entry: [u8; 8] = entry.try_into().ok()?;
            Some((u64::from_be_bytes(*items), Hash(*root), u64::from_be_bytes(entry)))
        });
        let (items, root, entry) = whole.ok_or_else(|| {
            let what = format!("{} bytes where {REGISTER_BYTES} are expected", register.len());
            damage(format!("{prefix}/{REGISTER}"), what)
        })?;
        let file = format!("{prefix}/{DIR}/{items}");
        let bytes = storage.read(&file)?.ok_or_else(|| damage(file.clone(), "missing".to_owned()))?;
        let set = RemovedSet::decode(&bytes).map_err(|error| damage(file.clone(), error.to_string()))?;
        if (set.items(), set.root()) != (items, root) {
            return Err(damage(file, "another set than the log commits to".to_owned()));
        }
        Ok(Self { set: Arc::new(set), entry: Some(entry) })
    }
}

impl Shared {
    /// Writes the file of a set, durably, so that an entry may name it.
    pub(crate) fn write_removed(&self, set: &RemovedSet) -> Result<(), LedgerError> {
        let path = self.path(&format!("{DIR}/{}", set.items()));
        Ok(self.storage.write_durable(&path, &set.encode())?)
    }

    /// Makes a set, whose file and entry are durable, the one in force.
    pub(crate) fn commit_removed(&self, set: Arc<RemovedSet>, entry: u64) -> Result<(), LedgerError> {
        let mut register = Vec::with_capacity(REGISTER_BYTES);
        register.extend_from_slice(&set.items().to_be_bytes());
        register.extend_from_slice(set.root().as_bytes());
        register.extend_from_slice(&entry.to_be_bytes());
        state::write_durable(&*self.storage, &self.path(REGISTER), &register)?;
        self.removed.store(Arc::new(Removed { set, entry: Some(entry) }));
        Ok(())
    }

    /// Says `body`, which commits to `set`, in the log, and waits until it is published and the journal
    /// holds no entry below what `end` gives; so what is taken out of sealed bundles then does not come
    /// back from the journal. Gives the index of the entry.
    pub(super) fn announce(
        &self,
        set: &Arc<RemovedSet>,
        body: &EntryBody,
        end: impl Fn() -> u64,
    ) -> Result<u64, LedgerError> {
        for _ in 0..ANNOUNCED_MAX {
            self.roll_wanted.store(true, Ordering::SeqCst);
            let entry = self.append_system(body.clone())?;
            self.commit_removed(Arc::clone(set), entry)?;
            self.durable_round()?;
            if self.journal_first() >= end() {
                return Ok(entry);
            }
        }
        Err(LedgerError::Setup("the journal keeps entries that are durable elsewhere".to_owned()))
    }

    /// Removes the files of sets that no published entry needs any more.
    pub(crate) fn forget_older_sets(&self) -> Result<(), LedgerError> {
        let newest = self.removed.load().set.items().to_string();
        for name in self.storage.list(&self.path(DIR))? {
            if name != newest {
                self.storage.remove(&self.path(&format!("{DIR}/{name}")))?;
            }
        }
        Ok(())
    }
}
