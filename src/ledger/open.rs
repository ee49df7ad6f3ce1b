//! Opening a ledger: from files to a running machine, in time bounded by the journal's tail.
//!
//! In scope: the order in which the vault, tiles, journal, checkpoint and index are read back and
//! held against each other. Out of scope: what happens after. Invariants: nothing is written before
//! every check has passed; a disagreement with something signed is damage, never repaired by
//! guessing; only the index, which is derived, is rebuilt.

use std::sync::Arc;

use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Role;
use crate::event::keys::LedgerId;
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use crate::log::merkle::Frontier;
use crate::log::tile::{self, BundleId, TILE_WIDTH, TileId};
use crate::store::Storage;
use crate::store::frame::Frame;
use crate::store::sealed::{BundleMask, SealedBundle};
use crate::vault::{Inboxes, KeyTree, OwnerMask, SlotNumber, WrappedPerson};

use super::edge::Edge;
use super::error::LedgerError;
use super::fold::sealed_path;
use super::nodes::fold_complete;
use super::state::FoldState;
use super::tail::{Record, SealedBlob, Tail};

/// What the files of a ledger say, before any thread runs.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) tail: Tail,
    /// Hashes of the filling tile of each level from 1 up.
    pub(crate) upper: Vec<Vec<Hash>>,
    pub(crate) folded: u64,
    pub(crate) persons: Vec<WrappedPerson>,
    pub(crate) registered_through: u64,
    /// Newest settings entry; none in an empty ledger.
    pub(crate) settings: Option<u64>,
    /// Which mask key hides the owners in the filling bundle's files.
    pub(crate) mask: BundleMask,
    /// The index that follows the last entry under an inbox key that is not the newest; 0 for none.
    pub(crate) old_inbox_end: u64,
}

/// Reads files relative to one ledger.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) prefix: &'a str,
    pub(crate) ledger: LedgerId,
}

impl Files<'_> {
    fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.prefix)
    }

    fn damage(&self, relative: &str, what: impl Into<String>) -> LedgerError {
        LedgerError::Damage { file: self.path(relative), what: what.into() }
    }

    /// The partial file under `<path>.p/` with the fewest items that are at least `width`, else the
    /// full file. The narrowest one that is wide enough was written before the durable round that let
    /// the journal be trimmed; a wider or full one may have been written after it and be torn.
    fn at_least(&self, full_path: &str, width: u64) -> Result<(String, Vec<u8>), LedgerError> {
        let directory = format!("{full_path}.p");
        let widths = self.storage.list(&self.path(&directory))?;
        let widths = widths.iter().filter_map(|name| name.parse::<u64>().ok());
        let path = match widths.filter(|found| *found >= width).min() {
            Some(found) => format!("{directory}/{found}"),
            None => full_path.to_owned(),
        };
        let bytes = self.storage.read(&self.path(&path))?;
        let missing =
            || self.damage(full_path, format!("missing, and no partial of width {width} either"));
        bytes.map(|bytes| (path, bytes)).ok_or_else(missing)
    }

    /// The first `width` hashes of a tile.
    fn hashes(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, LedgerError> {
        if width == 0 {
            return Ok(Vec::new());
        }
        let id = TileId { level, index, width: 256 };
        let (path, bytes) = self.at_least(&id.path(), width)?;
        let wanted = usize::try_from(width).unwrap_or(usize::MAX);
        let hashes: Vec<Hash> =
            bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).take(wanted).collect();
        if hashes.len() < wanted {
            return Err(self.damage(&path, format!("{} hashes instead of {width}", hashes.len())));
        }
        Ok(hashes)
    }

    /// The tree of the first `folded` leaves, a multiple of the bundle width.
    fn edge(&self, folded: u64) -> Result<(Edge, Vec<Vec<Hash>>), LedgerError> {
        let mut upper = Vec::new();
        let mut level = 1_u8;
        while folded >> (8 * u32::from(level)) > 0 {
            let nodes = folded >> (8 * u32::from(level));
            upper.push(self.hashes(level, nodes / TILE_WIDTH, nodes % TILE_WIDTH)?);
            level += 1;
        }
        let mut frontier = Vec::new();
        for bit in (0..64_u32).rev().filter(|bit| folded >> bit & 1 == 1) {
            let first = ((folded >> bit) - 1) << bit;
            let (tile_level, inner) = (bit / 8, bit % 8);
            let node = first >> (8 * tile_level);
            let hashes = usize::try_from(tile_level).ok().and_then(|at| upper.get(at.checked_sub(1)?));
            let from = usize::try_from(node % TILE_WIDTH).unwrap_or(usize::MAX);
            let covered = hashes.and_then(|hashes| hashes.get(from..from + (1 << inner)));
            frontier.push(covered.map(fold_complete).ok_or_else(|| {
                self.damage("tile", format!("no node of level {bit} for a tree of {folded} leaves"))
            })?);
        }
        let frontier = Frontier::from_parts(TreeSize(folded), frontier)
            .ok_or_else(|| self.damage("tile", format!("no frontier for {folded} leaves")))?;
        let mut edge = Edge::new(frontier);
        for (level, hashes) in (1_u8..).zip(&upper) {
            let nodes = folded >> (8 * u32::from(level));
            seed_tile(&mut edge, level, nodes - nodes % TILE_WIDTH, hashes);
        }
        Ok((edge, upper))
    }

    /// The records `[folded, to)` of the filling bundle, from its partial files.
    fn filling_bundle(
        &self,
        folded: u64,
        to: u64,
        tree: &KeyTree,
    ) -> Result<(Vec<Record>, BundleMask), LedgerError> {
        if to == folded {
            return Ok((Vec::new(), BundleMask::First));
        }
        let bundle = folded / TILE_WIDTH;
        let id = BundleId { index: bundle, width: 256 };
        let (path, bytes) = self.at_least(&id.path(), to - folded)?;
        let entries = tile::bundle_entries(&bytes)
            .map(|entry| entry.map(<[u8]>::to_vec))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.damage(&path, error.to_string()))?;
        let (path, bytes) = self.at_least(&sealed_path(id), to - folded)?;
        let sealed = SealedBundle::decode(&bytes, bundle)
            .map_err(|error| self.damage(&path, error.to_string()))?;
        let said = sealed.mask;
        let mask = SlotNumber::of_bundle(bundle, said).map_or(Ok(None), |slot| tree.get(slot))?;
        let mask = mask.ok_or_else(|| self.damage(&path, "the vault holds no mask key for it"))?;
        let mask = OwnerMask::new(&mask.secret);
        let mut records = Vec::new();
        for ((index, entry), stored) in (folded..to).zip(entries).zip(sealed.entries) {
            let parts = stored.into_iter().map(|part| {
                let role = Role(part.role());
                let owners = (0_u8..)
                    .zip(part.owners())
                    .map(|(ordinal, masked)| mask.unmask(LogIndex(index), role, ordinal, *masked));
                let (owners, gone) = (owners.collect(), part.state().gone());
                SealedBlob { role, owners, blob: part.into_blob(), gone }
            });
            records.push(self.record(index, entry, parts.collect(), None)?.0);
        }
        Ok((records, said))
    }

    /// A record and its decoded body, held against its position and its predecessor.
    fn record(
        &self,
        index: u64,
        entry: Vec<u8>,
        parts: Vec<SealedBlob>,
        prev: Option<Hash>,
    ) -> Result<(Record, EntryBody), LedgerError> {
        let decoded = Entry::decode(&entry).map_err(|source| LedgerError::Entry { index, source })?;
        if decoded.index.0 != index || decoded.ledger != self.ledger {
            let what = format!("entry {index} belongs to another place or ledger");
            return Err(self.damage("journal", what));
        }
        if prev.is_some_and(|prev| prev != decoded.prev) {
            return Err(
                self.damage("journal", format!("entry {index} does not follow entry {}", index - 1))
            );
        }
        let leaf = leaf_hash(&entry);
        let record = Record { entry, leaf, time_us: decoded.time_us, occurred_us: None, parts };
        Ok((record, decoded.body))
    }

    /// Reads the ledger back from its fold and its journal.
    pub(crate) fn recover(
        &self,
        frames: Vec<Frame>,
        journal_from: Option<u64>,
        tree: &KeyTree,
        inboxes: &Inboxes,
    ) -> Result<Recovered, LedgerError> {
        let state = FoldState::read(self.storage, &self.path(FoldState::FILE))?;
        let base = journal_from.unwrap_or_else(|| state.as_ref().map_or(0, |state| state.folded));
        if let Some(state) = state.as_ref().filter(|state| state.folded < base) {
            let what =
                format!("it begins at entry {base}, but only {} entries are folded", state.folded);
            return Err(self.damage("journal", what));
        }
        let folded = base - base % TILE_WIDTH;
        let (edge, upper) = self.edge(folded)?;
        let mut tail = Tail::new(folded, edge);
        let (filling, mask) = self.filling_bundle(folded, base, tree)?;
        tail.extend(filling.into_iter().map(Arc::new));
        let mut recovered = Recovered {
            tail,
            upper,
            folded,
            persons: Vec::new(),
            registered_through: 1,
            settings: None,
            mask,
            old_inbox_end: 0,
        };
        match state {
            Some(state) if base > 0 => {
                recovered.registered_through = state.registered_through;
                recovered.settings = Some(state.settings);
            }
            None if base > 0 => self.scan_for_state(base, &mut recovered)?,
            _ => {}
        }
        for frame in frames {
            self.replay(frame, inboxes, &mut recovered)?;
        }
        Ok(recovered)
    }

    fn replay(&self, frame: Frame, inboxes: &Inboxes, into: &mut Recovered) -> Result<(), LedgerError> {
        let inbox = inboxes.get(frame.inbox).ok_or_else(|| {
            let number = frame.inbox;
            self.damage("journal", format!("a frame is under inbox key {number}, which is not there"))
        })?;
        if frame.inbox != inboxes.newest().0 {
            into.old_inbox_end = into.old_inbox_end.max(frame.next_index());
        }
        for wrapped in &frame.persons {
            into.persons.push(WrappedPerson::unwrap(wrapped, inbox, self.ledger)?);
        }
        for (index, journaled) in (frame.first_index..).zip(frame.records) {
            let size = into.tail.size();
            if index != size {
                return Err(self.damage("journal", format!("entry {index} where {size} should follow")));
            }
            let parts = journaled.sealed.into_iter().map(|part| {
                let role = Role(part.role);
                let owners = (0_u8..).zip(&part.owners).map(|(ordinal, masked)| {
                    inbox.owners().unmask(LogIndex(index), role, ordinal, *masked)
                });
                SealedBlob { role, owners: owners.collect(), blob: part.blob, gone: None }
            });
            let prev = (index > into.folded || index == 0).then_some(into.tail.last_leaf);
            let (record, body) = self.record(index, journaled.entry, parts.collect(), prev)?;
            match body {
                EntryBody::Settings(_) => into.settings = Some(index),
                EntryBody::PersonsRegistered { through_slot, .. } => {
                    into.registered_through = through_slot;
                }
                _ => {}
            }
            into.tail.extend([Arc::new(record)]);
        }
        Ok(())
    }

    /// Without the fold's register its two facts are read from the log itself.
    fn scan_for_state(&self, base: u64, into: &mut Recovered) -> Result<(), LedgerError> {
        for bundle in 0..base.div_ceil(TILE_WIDTH) {
            let first = bundle * TILE_WIDTH;
            let width = (base - first).min(TILE_WIDTH);
            let (path, bytes) = self.at_least(&BundleId { index: bundle, width: 256 }.path(), width)?;
            for (index, entry) in (first..base).zip(tile::bundle_entries(&bytes)) {
                let entry = entry.map_err(|error| self.damage(&path, error.to_string()))?;
                match Entry::decode(entry).map_err(|source| LedgerError::Entry { index, source })?.body {
                    EntryBody::Settings(_) => into.settings = Some(index),
                    EntryBody::PersonsRegistered { through_slot, .. } => {
                        into.registered_through = through_slot;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Seeds the nodes of a filling tile and of the complete levels inside it.
fn seed_tile(edge: &mut Edge, level: u8, first: u64, hashes: &[Hash]) {
    for inner in 0..8_u8 {
        let complete = hashes.chunks_exact(1 << inner);
        for (index, covered) in (first >> inner..).zip(complete) {
            edge.seed(8 * level + inner, index, fold_complete(covered));
        }
    }
}
