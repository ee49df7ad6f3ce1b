//! What the ledger's threads and its readers share.
//!
//! In scope: the tail, the vault, the index and the ways to wait for one another. Out of scope:
//! what each thread does. Invariants: `tail` is locked only for copying; nothing is awaited or
//! written to disk under it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::catalogue::Catalogue;
use crate::event::custom::CustomType;
use crate::event::entry::{Entry, EntryBody};
use crate::event::keys::{LedgerId, MacKey};
use crate::index::{FACET_EVENT_KEY, Index, IndexError, Term};
use crate::log::checkpoint::Checkpoint;
use crate::log::hash::{Hash, TreeSize};
use crate::log::note::{SigningKey, VerifierKey};
use crate::log::tile::TileId;
use crate::store::Storage;
use crate::store::journal::JournalTrim;
use crate::store::sealed::BundleMask;
use crate::vault::{AsideKey, DataKey, Inboxes, KeyTree};

use super::cache::FileCache;
use super::commit::{OpenGroup, Outcome};
use super::duties::Duties;
use super::error::LedgerError;
use super::fold::TAIL_BYTES_MAX;
use super::intake::{Intake, Item, Submission};
use super::orders::Orders;
use super::persons::Directory;
use super::removal::{Keeper, Removed};
use super::start::{OnWarning, anchor_file};
use super::stats::Stats;
use super::tail::Tail;
use super::times::TimesCache;
use super::{LedgerOptions, Secrets};

/// Conflicts remembered, 8 bytes each, so that one client's repeats leave one entry.
const CONFLICTS_REMEMBERED: usize = 65_536;

/// Called once, from the failing thread, when a write or flush has failed.
pub type OnFatal = Box<dyn Fn(&LedgerError) + Send + Sync>;

/// The ledger's HMAC keys with their padding already hashed.
#[derive(Debug)]
pub(crate) struct Macs {
    pub(crate) event: MacKey,
    pub(crate) read: MacKey,
}

/// The common ground of one ledger.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) id: LedgerId,
    pub(crate) options: LedgerOptions,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) prefix: String,
    pub(crate) anchor: Option<Arc<dyn Storage>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signer: SigningKey,
    pub(crate) verifier: VerifierKey,
    pub(crate) secrets: Secrets,
    pub(crate) macs: Macs,
    pub(crate) open_key: DataKey,
    /// Keys of what rides in the journal; two while a shred is under way.
    pub(crate) inboxes: ArcSwap<Inboxes>,
    /// The index that follows the last journalled entry under an inbox key that is not the newest.
    pub(crate) old_inbox_end: AtomicU64,
    /// Set where the next frame must begin a new segment of the journal.
    pub(crate) roll_wanted: AtomicBool,
    /// Which mask key hides the owners of bundles that are not full yet, where it is not the first.
    pub(crate) masks: Mutex<BTreeMap<u64, BundleMask>>,
    /// Parts that are gone.
    pub(crate) removed: ArcSwap<Removed>,
    /// What the fold is asked to do besides its own.
    pub(crate) orders: Orders,
    /// Wakes the thread that shreds.
    pub(crate) keeper: Keeper,
    /// Held by whoever takes an erasure.
    pub(crate) erasing: Mutex<()>,
    /// Held by whoever removes parts.
    pub(crate) removing: Mutex<()>,
    /// The end of the journal where segments are removed.
    pub(crate) journal: JournalTrim,
    /// Signs certificates of erasures.
    pub(crate) certifier: SigningKey,
    /// Index of the settings entry that registers [`Shared::certifier`], once it is known.
    pub(crate) certifier_entry: OnceLock<u64>,
    pub(crate) tree: Arc<KeyTree>,
    pub(crate) directory: Directory,
    pub(crate) index: Arc<Index>,
    pub(crate) catalogue: ArcSwap<Catalogue>,
    /// Registered types in order; locked while one is registered, so that two get different codes.
    pub(crate) customs: Mutex<Vec<CustomType>>,
    /// Index of the newest settings entry, stored before its entry can be seen.
    pub(crate) settings: AtomicU64,
    pub(crate) duties: Duties,
    pub(crate) tail: RwLock<Tail>,
    pub(crate) files: FileCache,
    pub(crate) times: TimesCache,
    /// Seals what is kept aside in the index.
    pub(crate) aside_key: AsideKey,
    pub(crate) intake: Intake,
    pub(crate) open: OpenGroup,
    /// Signed note of the newest published checkpoint.
    pub(crate) published: ArcSwap<String>,
    /// The newest checkpoint signed for a reader, so that one size is signed once.
    pub(crate) signed: Mutex<(u64, Arc<str>)>,
    /// Bytes that the journal has been given since the start, about.
    pub(crate) journaled_bytes: AtomicU64,
    pub(crate) stats: Stats,
    /// Indexes whose repeats have left a conflict entry lately.
    pub(crate) conflicts: Mutex<HashSet<u64>>,
    /// Set while the disk has less room than is kept in reserve.
    pub(crate) disk_low: AtomicBool,
    pub(crate) closing: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) on_fatal: OnFatal,
    pub(crate) on_warning: OnWarning,
    pub(crate) waiting: Mutex<()>,
    /// Signalled when the tail has grown or the ledger closes.
    pub(crate) grown: Condvar,
    /// Signalled when the fold has made room in the tail.
    pub(crate) room: Condvar,
    /// Counts up when the tail has grown, a checkpoint is published or the ledger stops.
    pub(crate) changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// `relative` under the ledger's directory.
    pub(crate) fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.prefix)
    }

    /// Number of committed entries.
    pub(crate) fn size(&self) -> u64 {
        self.tail.read().unwrap_or_else(PoisonError::into_inner).size()
    }

    /// Number of committed entries and the root over them.
    pub(crate) fn size_and_root(&self) -> (u64, Hash) {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        (tail.size(), tail.root)
    }

    /// Index of the newest settings entry.
    pub(crate) fn newest_settings(&self) -> u64 {
        self.settings.load(Ordering::SeqCst)
    }

    /// Appends an entry of the ledger's own and returns its index once it is durable. Blocks, so it
    /// is called from threads that may.
    pub(crate) fn append_system(&self, body: EntryBody) -> Result<u64, LedgerError> {
        self.append_own(Item::System(body))
    }

    /// The bytes of the entry at `index`, from memory or from its bundle file.
    pub(crate) fn entry(&self, index: u64) -> Result<Arc<[u8]>, LedgerError> {
        let record = self.tail.read().unwrap_or_else(PoisonError::into_inner).get(index);
        if let Some(record) = record {
            return Ok(Arc::from(record.entry.as_slice()));
        }
        self.files.entry(self, index)
    }

    /// A full hash tile from its file.
    pub(crate) fn full_tile(&self, id: TileId) -> Result<Arc<[u8]>, LedgerError> {
        self.files.tile(self, id)
    }

    /// The index at which an event key was recorded. The query index stores 8 bytes of a key; the
    /// whole 32 bytes are compared with the entry, so a crafted collision finds nothing.
    pub(crate) fn find_event(&self, event_key: &Hash) -> Result<Option<u64>, LedgerError> {
        let term = Term { facet: FACET_EVENT_KEY, key: *event_key.as_bytes() };
        for index in self.indexed(self.index.find(&term))? {
            // Index rows come a moment before the entry; the sequencer then asks to look up again.
            if index >= self.size() {
                continue;
            }
            let bytes = self.entry(index)?;
            let entry = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
            if let EntryBody::Event(event) = entry.body
                && event.event_key == *event_key
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The index's answer; where it can no longer be trusted, the next start rebuilds it.
    pub(crate) fn indexed<T>(&self, answer: Result<T, IndexError>) -> Result<T, LedgerError> {
        answer.map_err(|error| {
            if error.needs_rebuild() {
                let _ = self.index.condemn();
            }
            LedgerError::Index(error)
        })
    }

    /// Whether a repeat of the event at `first` has not left a conflict entry lately.
    pub(crate) fn conflict_is_new(&self, first: u64) -> bool {
        let mut conflicts = self.conflicts.lock().unwrap_or_else(PoisonError::into_inner);
        if conflicts.len() >= CONFLICTS_REMEMBERED {
            conflicts.clear();
        }
        conflicts.insert(first)
    }

    /// Stops the ledger for good: nothing more is acknowledged.
    pub(crate) fn stop(&self, error: &LedgerError) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            (self.on_fatal)(error);
        }
        self.grown.notify_all();
        self.room.notify_all();
        self.announce_change();
    }

    /// Tells those who follow the ledger that there may be something new.
    pub(crate) fn announce_change(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells the operator something.
    pub(crate) fn warn(&self, warning: &str) {
        (self.on_warning)(warning);
    }

    /// The log index the journal begins with.
    pub(crate) fn journal_first(&self) -> u64 {
        self.journal.first_index().unwrap_or(0)
    }

    /// Appends an entry of the ledger's own and gives its index once it is durable. Blocks, so it is called
    /// from threads that may.
    pub(crate) fn append_own(&self, item: Item) -> Result<u64, LedgerError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let submission = Submission { items: vec![item], with_proof: false, reply };
        // Few and asked for by the ledger or an administrator, so none is refused because events wait.
        if !self.submit(submission, usize::MAX) {
            return Err(LedgerError::Stopped);
        }
        match answer.blocking_recv() {
            Ok(Ok(Outcome::Committed(committed))) => {
                committed.first().map(|entry| entry.index).ok_or(LedgerError::Stopped)
            }
            _ => Err(LedgerError::Stopped),
        }
    }

    /// True once a write has failed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Whether the fold is not so far behind that nothing more may be positioned; so memory stays bounded.
    /// A bundle that still fills never holds anything up, since nobody could make room: with an attachment
    /// of 1 MiB in each of its 256 entries it takes some 270 MiB.
    pub(crate) fn tail_has_room(&self) -> bool {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        tail.weight_bytes() < TAIL_BYTES_MAX || tail.is_filling_only()
    }

    /// Waits a moment for the fold to make room in the tail.
    pub(crate) fn wait_for_room(&self) {
        let guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.room.wait_timeout(guard, Duration::from_millis(50)));
    }

    /// Blocks the fold until `size` entries are committed, `timeout` has passed or the ledger
    /// closes; true where it closes.
    pub(crate) fn wait_for_growth(&self, size: u64, timeout: Duration) -> bool {
        let guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closing.load(Ordering::SeqCst) {
            return true;
        }
        if self.size() < size && !self.is_stopped() {
            drop(self.grown.wait_timeout(guard, timeout));
        }
        self.closing.load(Ordering::SeqCst)
    }

    /// Signs a durable size for a reader; Ed25519 is deterministic, so every signer agrees.
    pub(crate) fn sign(&self, size: u64, root: Hash) -> Result<Arc<str>, LedgerError> {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if signed.0 != size || signed.1.is_empty() {
            let checkpoint = Checkpoint { origin: self.origin.clone(), size: TreeSize(size), root };
            *signed = (size, Arc::from(checkpoint.sign(&self.signer)?));
        }
        Ok(Arc::clone(&signed.1))
    }

    /// Signs `checkpoint` and puts it where readers find it.
    pub(crate) fn publish(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        let note = checkpoint.sign(&self.signer)?;
        self.storage.write_durable(&self.path("checkpoint"), note.as_bytes())?;
        if let Some(anchor) = &self.anchor {
            anchor.write_durable(&anchor_file(&self.name), note.as_bytes())?;
        }
        self.published.store(Arc::new(note));
        self.stats.published(checkpoint.size.0, self.clock.now_us());
        self.announce_change();
        Ok(())
    }

    /// Removes the partial files of a tile or bundle whose full file is durable.
    pub(crate) fn remove_partials(&self, full_path: &str) -> Result<(), LedgerError> {
        Ok(self.storage.remove_tree(&self.path(&format!("{full_path}.p")))?)
    }
}
