//! The committed entries that are still in memory.
//!
//! In scope: what the sequencer has made durable in the journal and the fold has not yet put
//! into tiles, plus the bundle that is still filling. Readers take it under a short read lock,
//! so an answer includes an event from the moment it is acknowledged. Out of scope: writing
//! anything. Invariant: `records` covers exactly `[base, edge.size())` and `base` is a multiple
//! of the bundle width.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::facet::Role;
use crate::log::hash::Hash;
use crate::log::tile::TILE_WIDTH;
use crate::store::sealed::Gone;
use crate::vault::SlotNumber;

use super::edge::Edge;

/// One sealed part as it travels from admission to the bundle file.
#[derive(Debug, Clone)]
pub(crate) struct SealedBlob {
    /// Which part of the event this is.
    pub(crate) role: Role,
    /// Vault slots of the owners whose keys seal it.
    pub(crate) owners: Vec<SlotNumber>,
    /// Ciphertext with its tag; empty once it is gone.
    pub(crate) blob: Vec<u8>,
    /// Why it is gone, where it is; it then has no owners either.
    pub(crate) gone: Option<Gone>,
}

/// A committed entry with its sealed parts.
#[derive(Debug)]
pub(crate) struct Record {
    /// The leaf bytes.
    pub(crate) entry: Vec<u8>,
    /// RFC 6962 leaf hash of `entry`.
    pub(crate) leaf: Hash,
    /// Ledger time in Unix microseconds.
    pub(crate) time_us: u64,
    /// When the event happened, in Unix microseconds; none where it was not admitted just now.
    pub(crate) occurred_us: Option<u64>,
    /// Sealed parts in ascending role; empty for system entries.
    pub(crate) parts: Vec<SealedBlob>,
}

impl Record {
    /// Bytes this record holds in memory, about.
    pub(crate) fn weight_bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.blob.len() + 48).sum();
        self.entry.len() + parts + 128
    }
}

/// Entries in memory and the tree above them.
#[derive(Debug)]
pub(crate) struct Tail {
    base: u64,
    records: VecDeque<Arc<Record>>,
    weight_bytes: usize,
    /// The growing tree.
    pub(crate) edge: Edge,
    /// Root over all committed entries.
    pub(crate) root: Hash,
    /// Leaf hash of the newest entry; zeros while there is none.
    pub(crate) last_leaf: Hash,
    /// Time of the newest entry in Unix microseconds.
    pub(crate) time_us: u64,
}

impl Tail {
    /// A tail whose first record will have the index `base`.
    pub(crate) fn new(base: u64, edge: Edge) -> Self {
        let root = edge.root();
        Self {
            base,
            records: VecDeque::new(),
            weight_bytes: 0,
            edge,
            root,
            last_leaf: Hash::ZERO,
            time_us: 0,
        }
    }

    /// Puts back a record whose leaf the edge already counts (read from files at start).
    pub(crate) fn restore(&mut self, record: Arc<Record>) {
        self.last_leaf = record.leaf;
        self.time_us = record.time_us;
        self.weight_bytes += record.weight_bytes();
        self.records.push_back(record);
    }

    /// Appends committed records and recomputes the root once.
    pub(crate) fn extend(&mut self, records: impl IntoIterator<Item = Arc<Record>>) {
        for record in records {
            self.edge.push(record.leaf);
            self.restore(record);
        }
        self.root = self.edge.root();
    }

    /// Number of committed entries.
    pub(crate) fn size(&self) -> u64 {
        self.edge.size().0
    }

    /// Bytes held in memory, about.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Whether the fold can do nothing about what is held: it is the bundle that still fills.
    pub(crate) fn is_filling_only(&self) -> bool {
        self.records.len() < usize::try_from(TILE_WIDTH).unwrap_or(usize::MAX)
    }

    /// The record at `index`, where it is in memory.
    pub(crate) fn get(&self, index: u64) -> Option<Arc<Record>> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.records.get(at).cloned()
    }

    /// The records of `[from, to)`, which must be in memory.
    pub(crate) fn range(&self, from: u64, to: u64) -> Vec<Arc<Record>> {
        let skip = usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let take = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        self.records.iter().skip(skip).take(take).cloned().collect()
    }

    /// Puts a record in another's place: the same entry with parts that are gone.
    pub(crate) fn replace(&mut self, index: u64, record: Arc<Record>) {
        let at = index.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let Some(held) = at.and_then(|at| self.records.get_mut(at)) else { return };
        self.weight_bytes =
            self.weight_bytes.saturating_sub(held.weight_bytes()).saturating_add(record.weight_bytes());
        *held = record;
    }

    /// Drops records below `index`, which the fold has written to tile files.
    pub(crate) fn forget_below(&mut self, index: u64) {
        while self.base < index {
            let Some(record) = self.records.pop_front() else { break };
            self.weight_bytes = self.weight_bytes.saturating_sub(record.weight_bytes());
            self.base += 1;
        }
        self.edge.forget_below(self.base);
    }
}
