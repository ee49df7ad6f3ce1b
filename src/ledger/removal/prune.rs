//! Pruning: taking parts away whose retention is over.
//!
//! In scope: removing a list of parts so that every proof stays whole. Out of scope: which parts are due.
//! Invariants: an entry that commits to the parts is published before the first of them is removed, so that
//! none ever looks lost; pruning them again after a crash removes what is left; nothing of what was pruned
//! is in the journal.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, TryLockError};

use crate::event::entry::{Entry, EntryBody, PruneBody};
use crate::event::facet::Role;
use crate::log::tile::TILE_WIDTH;
use crate::prove::removed::{Removal, RemovedItem};

use super::super::Shared;
use super::super::error::LedgerError;
use super::Pace;
use super::rewrite::{Batch, Doomed};

impl Shared {
    /// Removes `parts`, each an index and a role, that were due at `cutoff_us` (Unix microseconds) under the
    /// settings entry at `settings`; gives the index of the prune entry. Parts that are gone already are
    /// passed over.
    ///
    /// # Errors
    /// [`LedgerError::Shredding`] while an erasure is carried out; what reading and writing report. Calling
    /// it again goes on.
    pub(crate) fn prune(
        &self,
        parts: &[(u64, Role)],
        settings: u64,
        cutoff_us: u64,
    ) -> Result<u64, LedgerError> {
        let _alone = match self.removing.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Shredding),
        };
        // A shred that a crash cut off ends with the set that it began with.
        if self.read_plan()?.is_some() {
            return Err(LedgerError::Shredding);
        }
        let mut items = Vec::with_capacity(parts.len());
        for (index, role) in parts {
            let bytes = self.entry(*index)?;
            let entry =
                Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index: *index, source })?;
            if let EntryBody::Event(event) = entry.body {
                items.push(RemovedItem::of(&event.event_key, *role, Removal::Pruned));
            }
        }
        let set = Arc::new(self.removed.load().set.with(items));
        self.write_removed(&set)?;
        let body = PruneBody { items: set.items(), root: set.root(), settings, cutoff_us };
        let end = parts.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
        let entry = self.announce(&set, &EntryBody::Prune(body), || end)?;
        self.remove_listed(parts, entry + 1)?;
        self.forget_older_sets()?;
        self.storage.sync_round()?;
        Ok(entry)
    }

    /// Removes the parts; `end` entries were durable after the announcement.
    fn remove_listed(&self, parts: &[(u64, Role)], end: u64) -> Result<(), LedgerError> {
        // Every bundle before this one was full then, without partial files.
        let filling = end / TILE_WIDTH;
        let listed: HashSet<(u64, Role)> = parts.iter().copied().collect();
        let bundles: BTreeSet<u64> = parts.iter().map(|(index, _)| index / TILE_WIDTH).collect();
        let doomed = Doomed::Listed(&listed);
        let mut pace = Pace::new(self);
        let mut batch = Batch::default();
        for bundle in bundles {
            if bundle >= filling {
                let _turn = self.orders.turn();
                self.rewrite_bundle(bundle, doomed, &mut batch)?;
                self.write_batch(&mut batch)?;
                self.remove_from_tail(bundle, doomed);
            } else {
                self.rewrite_bundle(bundle, doomed, &mut batch)?;
            }
            if parts.iter().any(|(index, role)| index / TILE_WIDTH == bundle && *role == Role::OPEN) {
                let _turn = self.orders.turn();
                self.forget_times(bundle)?;
            }
            // The next start goes on with what is left where the ledger closes.
            if pace.rest().is_err() {
                return Err(LedgerError::Stopped);
            }
        }
        self.write_batch(&mut batch)?;
        self.storage.sync_round()?;
        Ok(())
    }
}
