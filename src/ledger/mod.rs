//! The ledger: one append-only log with its sealed parts, index and checkpoint.
//!
//! In scope: admission, the single writer, the fold, recovery and consistent views. Out of scope:
//! searching ([`crate::history`]) and the faces ([`crate::http`], [`crate::cli`]).
//!
//! ```text
//! append ─▶ admit ─▶ sequencer (caller's thread: split, seal; position, chain)
//!                      └▶ committer (one thread: journal, fdatasync) ─▶ receipt
//!                           └▶ tail (memory) ─▶ fold (one thread: tiles, sealed, index runs, checkpoint)
//! ```
//!
//! Invariants: an event is acknowledged only when its frame is durable; a reader's [`Snapshot`]
//! includes everything acknowledged before it was taken; after a failed write nothing more is
//! acknowledged and the process is asked to end.

mod admit;
mod append;
mod cache;
mod check;
mod commit;
mod duties;
mod edge;
mod error;
mod fold;
mod holds;
mod host;
mod intake;
mod keys;
mod masks;
mod nodes;
mod open;
mod orders;
mod persons;
mod reads;
mod removal;
pub mod retention;
mod sequencer;
mod settings;
mod shared;
mod snapshot;
mod start;
mod state;
pub mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod times;
mod witnessed;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use append::Appended;
pub use check::IndexCheck;
pub use duties::{DutyError, InForce};
pub use error::{AppendError, LedgerError};
pub use holds::{
    By, HOLD_PERSONS_MAX, HOLD_TEXT_CHARS_MAX, HOLDS_ACTIVE_MAX, Hold, HoldId, Holds, NewHold, Words,
};
pub use host::{
    AddLedgerError, HostOptions, LEDGERS_MAX, Ledgers, TellFatal, TellWarning, random_origin,
};
pub(crate) use keys::KeyFiles;
pub use keys::{LedgerKeys, Secrets};
pub use reads::{
    NO_REASON, Opened, PRODUCER_SERVER, Question, READS_LEDGER, Reader, read_event, reads_origin,
};
pub use removal::{Asker, EraseError, EraseRequest, Erased, ErasureId, REASON_BYTES_MAX};
pub use shared::OnFatal;
pub use snapshot::{Access, DecodedEntry, Snapshot, StoredEvent};
pub(crate) use start::anchor_file;
pub use start::{OnWarning, Surroundings};
pub(crate) use times::Passing;
pub use times::Span;
pub use witnessed::{NotExtended, Witnessed};

use crate::event::catalogue::Catalogue;
use crate::event::custom::{CustomError, CustomType};
use crate::event::entry::EntryBody;
use crate::log::note::VerifierKey;

use shared::Shared;
use stats::Stats;

/// The journal's directory within the ledger's.
const JOURNAL_DIR: &str = "journal";

/// Settings of a running ledger.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Milliseconds between published checkpoints.
    pub publish_interval_ms: u64,
    /// How far ahead of the ledger's clock an event's time may be, and how far the wall clock may
    /// run ahead of the monotonic one, in milliseconds.
    pub skew_max_ms: u64,
    /// Milliseconds after an erasure at which its persons' data is destroyed at the latest.
    pub shred_interval_ms: u64,
    /// Days for which backups of the data directory are kept, for certificates to say; 0 where it is not
    /// known.
    pub backup_keep_days: u64,
    /// Milliseconds between two passes of the retention job; 0 for none.
    pub retention_interval_ms: u64,
    /// Entries between two rounds that make tiles and sealed parts durable and trim the journal.
    pub round_entries: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            publish_interval_ms: 1_000,
            skew_max_ms: 300_000,
            shred_interval_ms: 60_000,
            backup_keep_days: 0,
            retention_interval_ms: 3_600_000,
            round_entries: fold::ROUND_ENTRIES,
        }
    }
}

/// A running ledger. Cheap to share; [`Ledger::close`] ends it in good order, dropping it without
/// leaves what a crash leaves, which the next start recovers.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The thread of the retention job, which ends before the others.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// The ledger's name within its server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The origin line of its checkpoints, which is the name of its key.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The key that verifies its checkpoints.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.shared.verifier
    }

    /// The secrets a reader needs to recompute index keys.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.shared.secrets
    }

    /// A view of everything acknowledged so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.shared))
    }

    /// The newest published checkpoint, a signed note.
    #[must_use]
    pub fn published(&self) -> Arc<String> {
        self.shared.published.load_full()
    }

    /// A file of the public tile layout (`tile/…` or `sealed/…`), as stored.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn file(&self, relative: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.shared.storage.read(&self.shared.path(relative))?)
    }

    /// Wakes when there may be something new to read: entries, a published checkpoint, the end. One
    /// task should hold it for many readers, since every commit wakes each holder.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// False once a write has failed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.shared.is_stopped()
    }

    /// Tells the ledger whether the disk has less room than is kept in reserve; while it has, appends
    /// are refused and reads go on.
    pub fn set_disk_low(&self, low: bool) {
        self.shared.disk_low.store(low, Ordering::SeqCst);
    }

    /// Whether appends are refused for want of disk space.
    #[must_use]
    pub fn is_disk_low(&self) -> bool {
        self.shared.disk_low.load(Ordering::SeqCst)
    }

    /// What it has counted since it was opened.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Number of committed entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Bytes of the journal's files. Asks the disk, so it is called from threads that may block.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn journal_bytes(&self) -> Result<u64, LedgerError> {
        let dir = self.shared.path(JOURNAL_DIR);
        let mut bytes = 0;
        for name in self.shared.storage.list(&dir)? {
            bytes += self.shared.storage.len(&format!("{dir}/{name}"))?.unwrap_or(0);
        }
        Ok(bytes)
    }

    /// Committed entries whose index rows are not yet in durable runs.
    #[must_use]
    pub fn index_lag(&self) -> u64 {
        self.shared.size().saturating_sub(self.shared.index.watermark())
    }

    /// The catalogue in force, custom types included.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.shared.catalogue.load_full()
    }

    /// The `id` of an event that is nothing but `bytes`: the same bytes always get the same one.
    #[must_use]
    pub fn raw_id(&self, bytes: &[u8]) -> String {
        format!("raw:{}", self.shared.macs.event.raw_id(self.shared.id, bytes))
    }

    /// Registers a custom type in the log. Registering the same type again changes nothing; true
    /// where it is new.
    ///
    /// # Errors
    /// [`LedgerError::Type`] where the type does not fit the catalogue.
    pub fn register_type(&self, custom: CustomType) -> Result<bool, LedgerError> {
        let mut customs = self.shared.customs.lock().unwrap_or_else(PoisonError::into_inner);
        if customs.contains(&custom) {
            return Ok(false);
        }
        let catalogue = self.shared.catalogue.load_full();
        let grown = catalogue.with_custom(custom.clone())?;
        let _chain = self.shared.duties.grow();
        let body = settings::type_registered(&custom, self.shared.newest_settings());
        if body.len() > settings::SETTINGS_BYTES_MAX {
            let (len, max) = (body.len(), settings::SETTINGS_BYTES_MAX);
            return Err(CustomError::SchemaTooLong { len, max }.into());
        }
        self.append_system(EntryBody::Settings(body))?;
        self.shared.catalogue.store(Arc::new(grown));
        customs.push(custom);
        Ok(true)
    }

    fn append_system(&self, body: EntryBody) -> Result<u64, LedgerError> {
        self.shared.append_system(body)
    }

    /// Ends the ledger in good order: what is queued is committed, the fold is made durable, the
    /// index is closed. Blocks until done.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`] where a write had failed before or fails now.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.shared.duties.end();
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = keeper.join();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = threads.into_iter();
        self.shared.keeper.end();
        if let Some(keeper) = threads.next() {
            let _ = keeper.join();
        }
        self.shared.close_intake();
        if let Some(committer) = threads.next() {
            let _ = committer.join();
        }
        {
            let _guard = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.closing.store(true, Ordering::SeqCst);
        }
        self.shared.grown.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
        if self.shared.is_stopped() { Err(LedgerError::Stopped) } else { Ok(()) }
    }
}
