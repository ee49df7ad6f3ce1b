//! Pruning: taking parts away whose retention is over.
//!
//! In scope: removing a list of parts so that every proof stays whole. Out of scope: which parts are due.
//! Invariant: an entry that commits to the parts is published before the first of them is removed, so that
//! none ever looks lost; pruning them again after a crash removes what is left.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use crate::event::entry::{Entry, EntryBody, PruneBody};
use crate::event::facet::Role;
use crate::log::tile::TILE_WIDTH;
use crate::prove::removed::{Removal, RemovedItem};

use super::super::Shared;
use super::super::error::LedgerError;
use super::super::intake::Item;
use super::Pace;
use super::rewrite::Doomed;

impl Shared {
    /// Removes `parts`, each an index and a role, that were due at `cutoff_us` (Unix microseconds) under the
    /// settings entry at `settings`; gives the index of the prune entry. Parts that are gone already are
    /// passed over.
    ///
    /// # Errors
    /// What reading and writing report; calling it again goes on.
    pub(crate) fn prune(
        &self,
        parts: &[(u64, Role)],
        settings: u64,
        cutoff_us: u64,
    ) -> Result<u64, LedgerError> {
        let _alone = self.removing.lock().unwrap_or_else(PoisonError::into_inner);
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
        let entry = self.append_own(Item::System(EntryBody::Prune(body)))?;
        self.commit_removed(set, entry)?;
        self.durable_round()?;
        self.remove_listed(parts)?;
        self.forget_older_sets()?;
        self.storage.sync_round()?;
        Ok(entry)
    }

    fn remove_listed(&self, parts: &[(u64, Role)]) -> Result<(), LedgerError> {
        let listed: HashSet<(u64, Role)> = parts.iter().copied().collect();
        let bundles: BTreeSet<u64> = parts.iter().map(|(index, _)| index / TILE_WIDTH).collect();
        let doomed = Doomed::Listed(&listed);
        let mut pace = Pace::new(self);
        for bundle in bundles {
            if (bundle + 1) * TILE_WIDTH > self.in_memory_from() {
                let _turn = self.orders.turn();
                self.rewrite_bundle(bundle, doomed)?;
                self.remove_from_tail(bundle, doomed);
            } else {
                self.rewrite_bundle(bundle, doomed)?;
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
        self.storage.sync_round()?;
        Ok(())
    }
}
