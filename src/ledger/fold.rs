//! The fold: from committed entries to tiles, sealed bundles, index runs and the checkpoint.
//!
//! In scope: everything right of the journal in the picture of `docs/architecture.md`. The fold is
//! deterministic and can be redone from the journal, so its files need no flush of their own: one
//! sync round now and then makes all of them durable, and only then is the journal trimmed.
//! Out of scope: assigning positions. Invariants: a checkpoint is published only when every tile
//! it needs is in place; the journal is trimmed only behind a durable round; partial tiles go only
//! when their full tile is durable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::event::entry::EntryBody;
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, LogIndex, TreeSize};
use crate::log::tile::{self, BundleId, TILE_WIDTH, TileId};
use crate::store::journal::JournalTrim;
use crate::store::sealed::{PartRef, SealedWriter};
use crate::vault::{Slot, SlotNumber};

use super::Shared;
use super::commit::Outcome;
use super::error::{AppendError, LedgerError};
use super::intake::{Item, Submission, WAITING_SUBMISSIONS_MAX};
use super::snapshot::Snapshot;
use super::state::FoldState;
use super::tail::Record;

/// Bytes of committed entries in memory before submissions wait for the fold: at 1.2 kB an event
/// about 55,000 events. Allocations around them and their index rows, which wait too, take as much again.
pub(crate) const TAIL_BYTES_MAX: usize = 64 << 20;

/// Entries between two durable rounds, unless set otherwise: about 16 MiB of journal at 1 kB an event.
pub(crate) const ROUND_ENTRIES: u64 = 16_384;

/// Bytes given to the journal between two durable rounds: half a segment, so that the journal stays
/// at three segments or so whatever the events' size.
const ROUND_BYTES: u64 = 16 << 20;

/// Milliseconds between two durable rounds while anything changes.
const ROUND_INTERVAL_MS: u64 = 30_000;

/// Index rows in memory before they are written as a run: 64 Ki rows, 8 to 10 thousand events.
const INDEX_ROWS_MAX: u64 = 65_536;

/// Index rows merged in one step, about 25 ms, so that publishing is not held up.
const MERGE_POSTINGS_MAX: u64 = 100_000;

/// Persons in one registration entry at most: 64 bytes each, so that with its 80 bytes of header
/// the entry stays below the 65,535 bytes a bundle can hold.
pub(crate) const REGISTRATION_PERSONS_MAX: usize = 1_000;

/// Milliseconds between registration entries while persons wait.
const REGISTRATION_INTERVAL_MS: u64 = 10_000;

/// Bundles whose times are looked for in one go, and of those the ones whose events may be opened for
/// them: 64 bundles are about 130 ms.
const TIMES_LOOKED_FOR: u64 = 1_024;
const TIMES_RESTORED: usize = 64;

/// State of the fold's own thread.
#[derive(Debug)]
pub(crate) struct Fold {
    shared: Arc<Shared>,
    journal: JournalTrim,
    /// Entries in full bundles that are written; a multiple of the bundle width.
    folded: u64,
    /// Hashes of the filling tile of each level above 0; `upper[0]` is level 1.
    upper: Vec<Vec<Hash>>,
    /// Size of the newest published checkpoint.
    published: u64,
    /// Size that the last durable round covered.
    durable: u64,
    /// Full tiles and bundles whose partial directories go after the next durable round.
    finished: Vec<String>,
    registration: Option<PendingRegistration>,
    registered_through: u64,
    /// Sealed partial bundle of the newest publication that no durable round covers.
    sealed_partial: Option<String>,
    /// The first bundle whose times may not be kept aside yet.
    times_from: u64,
    given_at_round: u64,
    last_publish_us: u64,
    last_round_us: u64,
    last_registration_us: u64,
}

#[derive(Debug)]
struct PendingRegistration {
    through_slot: u64,
    reply: oneshot::Receiver<Result<Outcome, AppendError>>,
}

/// Where the fold continues after a start.
#[derive(Debug)]
pub(crate) struct FoldStart {
    /// Entries in full bundles below the journal's first entry.
    pub(crate) folded: u64,
    /// Hashes of the filling tile of each level from 1 up, for a tree of `folded` leaves.
    pub(crate) upper: Vec<Vec<Hash>>,
    /// Slots below this are in registration entries.
    pub(crate) registered_through: u64,
}

impl Fold {
    /// A fold that continues at `start`.
    pub(crate) fn new(shared: Arc<Shared>, journal: JournalTrim, start: FoldStart) -> Self {
        let now_us = shared.clock.monotonic_us();
        shared.orders.registered(start.registered_through);
        Self {
            shared,
            journal,
            folded: start.folded,
            upper: start.upper,
            published: 0,
            durable: 0,
            finished: Vec::new(),
            registration: None,
            registered_through: start.registered_through,
            sealed_partial: None,
            times_from: 0,
            given_at_round: 0,
            last_publish_us: 0,
            last_round_us: now_us,
            last_registration_us: now_us,
        }
    }

    /// Runs until the ledger closes or a write fails.
    pub(crate) fn run(mut self) {
        loop {
            let closing = self.shared.wait_for_growth(
                self.folded + TILE_WIDTH,
                Duration::from_millis(self.shared.options.publish_interval_ms),
            );
            if self.shared.is_stopped() {
                return;
            }
            let shared = Arc::clone(&self.shared);
            let _turn = shared.orders.turn();
            let result = if closing { self.finish() } else { self.step() };
            if let Err(error) = result {
                self.shared.stop(&error);
                return;
            }
            if closing {
                return;
            }
        }
    }

    fn step(&mut self) -> Result<(), LedgerError> {
        // What was asked for meanwhile waits for the next step.
        let ordered = self.shared.orders.round();
        self.fold_full_bundles(self.shared.size())?;
        self.index_run(INDEX_ROWS_MAX)?;
        self.poll_registration();
        let now_us = self.shared.clock.monotonic_us();
        let elapsed_ms = |since_us: u64| now_us.saturating_sub(since_us) / 1000;
        if elapsed_ms(self.last_registration_us) >= REGISTRATION_INTERVAL_MS
            || self.shared.directory.unregistered_count() >= REGISTRATION_PERSONS_MAX
            || self.shared.orders.wants_registration()
        {
            self.register(now_us);
        }
        if elapsed_ms(self.last_publish_us) >= self.shared.options.publish_interval_ms {
            self.publish()?;
            self.last_publish_us = now_us;
            self.restore_times()?;
        }
        let grown = self.shared.size().saturating_sub(self.durable);
        let given = self.shared.journaled_bytes.load(Ordering::SeqCst);
        if grown >= self.shared.options.round_entries
            || given.saturating_sub(self.given_at_round) >= ROUND_BYTES
            || grown > 0 && elapsed_ms(self.last_round_us) >= ROUND_INTERVAL_MS
            || ordered.is_some()
        {
            self.durable_round()?;
            if let Some(number) = ordered {
                self.shared.orders.round_done(number);
            }
            self.given_at_round = given;
            self.last_round_us = now_us;
        }
        Ok(())
    }

    /// Publishes, makes everything durable and closes the index.
    fn finish(&mut self) -> Result<(), LedgerError> {
        self.poll_registration();
        self.durable_round()?;
        self.index_run(1)?;
        self.shared.index.close()?;
        Ok(())
    }

    fn fold_full_bundles(&mut self, size: u64) -> Result<(), LedgerError> {
        let before = self.folded;
        while self.folded + TILE_WIDTH <= size {
            let records = self.shared.tail_range(self.folded, self.folded + TILE_WIDTH);
            let bundle = self.folded / TILE_WIDTH;
            self.write_bundle(bundle, &records)?;
            self.shared.keep_times(bundle, &records)?;
            let id = BundleId { index: bundle, width: 256 };
            self.finished.extend([id.path(), sealed_path(id)]);
            self.fold_tile(0, bundle, records.iter().map(|record| record.leaf))?;
            self.folded += TILE_WIDTH;
        }
        if self.folded > before {
            self.shared.forget_below(self.folded);
        }
        Ok(())
    }

    /// Writes a full tile and carries its root into the level above, which may fill in turn.
    fn fold_tile(
        &mut self,
        level: u8,
        index: u64,
        hashes: impl Iterator<Item = Hash>,
    ) -> Result<(), LedgerError> {
        self.write_tile(TileId { level, index, width: 256 }, hashes)?;
        self.finished.push(TileId { level, index, width: 256 }.path());
        let root = self.shared.tile_root(level, index)?;
        let at = usize::from(level);
        while self.upper.len() <= at {
            self.upper.push(Vec::new());
        }
        let Some(above) = self.upper.get_mut(at) else { return Ok(()) };
        above.push(root);
        if above.len() < 256 {
            return Ok(());
        }
        let full = std::mem::take(above);
        self.fold_tile(level + 1, index / TILE_WIDTH, full.into_iter())
    }

    fn write_tile(&self, id: TileId, hashes: impl Iterator<Item = Hash>) -> Result<(), LedgerError> {
        let mut bytes = Vec::with_capacity(usize::from(id.width) * Hash::LEN);
        for hash in hashes {
            bytes.extend_from_slice(hash.as_bytes());
        }
        self.write(&id.path(), &bytes)
    }

    /// Writes a file, unless it is there: what was durable, and may be the only copy of what the journal
    /// was trimmed of, must not be torn by writing the same again.
    fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.shared.path(relative);
        if self.shared.storage.len(&path)? == u64::try_from(bytes.len()).ok()
            && self.shared.storage.read(&path)?.is_some_and(|found| found == bytes)
        {
            return Ok(());
        }
        Ok(self.shared.storage.write(&path, bytes)?)
    }

    /// Writes the entry bundle and the sealed bundle of `records`, full or partial.
    fn write_bundle(&self, bundle: u64, records: &[Arc<Record>]) -> Result<(), LedgerError> {
        let width = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let id = BundleId { index: bundle, width };
        let entries = tile::encode_bundle(records.iter().map(|record| record.entry.as_slice()))
            .map_err(|error| LedgerError::Setup(format!("{}: {error}", id.path())))?;
        self.write(&id.path(), &entries)?;
        let sealed = self.seal_bundle(bundle, records)?;
        self.write(&sealed_path(id), &sealed)
    }

    fn seal_bundle(&self, bundle: u64, records: &[Arc<Record>]) -> Result<Vec<u8>, LedgerError> {
        let (which, mask) = self.shared.bundle_mask(bundle)?;
        let bytes = records.iter().map(|record| record.weight_bytes()).sum();
        let mut writer = SealedWriter::new(bundle, which, bytes);
        for (index, record) in (bundle * TILE_WIDTH..).zip(records) {
            let index = LogIndex(index);
            writer.push(record.parts.iter().map(|part| {
                let owners = part.owners.iter().enumerate().map(|(ordinal, slot)| {
                    mask.mask(index, part.role, u8::try_from(ordinal).unwrap_or(u8::MAX), *slot)
                });
                match part.gone {
                    None => PartRef::sealed(part.role.0, owners, &part.blob),
                    Some(how) => PartRef::gone(part.role.0, how, owners),
                }
            }))?;
        }
        Ok(writer.finish())
    }

    /// Puts the partial tiles of the current size in place, then the checkpoint that needs them.
    pub(crate) fn publish(&mut self) -> Result<(), LedgerError> {
        let (size, root) = self.shared.size_and_root();
        if size == self.published && size > 0 {
            return Ok(());
        }
        let full = size - size % TILE_WIDTH;
        self.fold_full_bundles(size)?;
        let records = self.shared.tail_range(full, size);
        if !records.is_empty() {
            let bundle = full / TILE_WIDTH;
            self.write_bundle(bundle, &records)?;
            let width = u16::try_from(records.len()).unwrap_or(u16::MAX);
            // Unlike entry bundles, sealed ones are not kept for every published size.
            let sealed = self.shared.path(&sealed_path(BundleId { index: bundle, width }));
            if let Some(older) = self.sealed_partial.replace(sealed) {
                self.shared.storage.remove(&older)?;
            }
            let id = TileId { level: 0, index: bundle, width };
            self.write_tile(id, records.iter().map(|record| record.leaf))?;
        }
        for (level, hashes) in (1_u8..).zip(&self.upper) {
            let width = u16::try_from(hashes.len()).unwrap_or(u16::MAX);
            if width > 0 {
                let index = size >> (8 * (u32::from(level) + 1));
                self.write_tile(TileId { level, index, width }, hashes.iter().copied())?;
            }
        }
        let checkpoint = Checkpoint { origin: self.shared.origin.clone(), size: TreeSize(size), root };
        self.shared.publish(&checkpoint)?;
        self.published = size;
        Ok(())
    }

    /// Makes the fold durable up to the current size and trims the journal behind it.
    fn durable_round(&mut self) -> Result<(), LedgerError> {
        self.publish()?;
        // Taken after the size is settled: every person of an entry below it must be in the tree
        // before the journal, which holds the only other copy of the secret, is trimmed.
        let persons = self.shared.directory.undrained();
        let slots: Vec<(SlotNumber, Slot)> = persons
            .iter()
            .filter_map(|person| {
                Some((person.slot()?, Slot::person(person.secret(), person.directory_key)))
            })
            .collect();
        if !slots.is_empty() {
            self.shared.tree.put(&slots)?;
        }
        let state = FoldState {
            folded: self.published,
            registered_through: self.registered_through,
            settings: self.shared.newest_settings(),
        };
        state.write(&*self.shared.storage, &self.shared.path(FoldState::FILE))?;
        self.shared.storage.sync_round()?;
        self.shared.tree.synced()?;
        self.shared.directory.drained(&persons);
        self.durable = self.published;
        self.sealed_partial = None;
        // Before the journal is trimmed: a crash in between folds these tiles again and finds them.
        for path in std::mem::take(&mut self.finished) {
            self.shared.remove_partials(&path)?;
        }
        self.journal.trim_below(self.durable)?;
        Ok(())
    }

    /// Keeps times aside that were lost with the index or in a crash, a bounded piece at a time.
    fn restore_times(&mut self) -> Result<(), LedgerError> {
        let full = self.folded / TILE_WIDTH;
        let end = full.min(self.times_from.saturating_add(TIMES_LOOKED_FOR));
        if self.times_from >= end {
            return Ok(());
        }
        let snapshot = Snapshot::new(Arc::clone(&self.shared));
        let mut restored = 0;
        while self.times_from < end && restored < TIMES_RESTORED {
            restored += usize::from(snapshot.restore_times(self.times_from)?);
            self.times_from += 1;
        }
        Ok(())
    }

    fn index_run(&self, rows_min: u64) -> Result<(), LedgerError> {
        if self.shared.index.memory_postings() >= rows_min {
            self.shared.indexed(self.shared.index.flush())?;
            self.shared.indexed(self.shared.index.maintain(MERGE_POSTINGS_MAX))?;
        }
        Ok(())
    }

    fn register(&mut self, now_us: u64) {
        self.last_registration_us = now_us;
        if self.registration.is_some() {
            return;
        }
        let persons = self.shared.directory.unregistered(REGISTRATION_PERSONS_MAX);
        let Some(through_slot) = persons.last().map(|person| person.slot.0 + 1) else { return };
        let mut pairs: Vec<(Hash, Hash)> =
            persons.iter().map(|person| (person.directory_key, person.commitment())).collect();
        pairs.sort_unstable();
        let body = EntryBody::PersonsRegistered { through_slot, persons: pairs };
        let (reply, answer) = oneshot::channel();
        let submission = Submission { items: vec![Item::System(body)], with_proof: false, reply };
        if self.shared.submit(submission, WAITING_SUBMISSIONS_MAX) {
            self.registration = Some(PendingRegistration { through_slot, reply: answer });
        }
    }

    fn poll_registration(&mut self) {
        let Some(pending) = &mut self.registration else { return };
        match pending.reply.try_recv() {
            Ok(Ok(Outcome::Committed(_))) => {
                self.registered_through = pending.through_slot;
                self.shared.directory.registered(pending.through_slot);
                self.shared.orders.registered(pending.through_slot);
                self.registration = None;
            }
            Err(oneshot::error::TryRecvError::Empty) => {}
            Ok(_) | Err(oneshot::error::TryRecvError::Closed) => self.registration = None,
        }
    }
}

/// Where the sealed parts of a bundle lie: beside its entries, in a tree of their own. A partial one
/// has its width in its name, so that a durable file is never replaced by one that is not.
pub(crate) fn sealed_path(id: BundleId) -> String {
    id.path().replacen("tile/entries/", "sealed/", 1)
}

impl Shared {
    /// The committed records of `[from, to)`, which must still be in memory.
    fn tail_range(&self, from: u64, to: u64) -> Vec<Arc<Record>> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner).range(from, to)
    }

    /// The root of a full tile, from the nodes in memory.
    fn tile_root(&self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        tail.edge.get(8 * (level + 1), index).ok_or_else(|| LedgerError::Damage {
            file: TileId { level, index, width: 256 }.path(),
            what: "its root is not among the newest nodes".to_owned(),
        })
    }

    fn forget_below(&self, index: u64) {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        tail.forget_below(index);
        drop(tail);
        self.room.notify_all();
        self.position_waiting();
    }
}
