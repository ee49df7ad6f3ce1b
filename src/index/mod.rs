//! The posting index: from a blinded key to the log indexes whose entries carry it. A disposable cache.
//!
//! In scope: collecting postings in memory, writing them to sled as immutable sorted runs, merging
//! runs, reading them in both directions, noticing damage. Out of scope: what the keys mean, the
//! entries themselves (a caller compares the full key, since only its first eight bytes are kept here),
//! rebuilding, which the ledger does by adding everything from the watermark on.
//!
//! Invariants:
//! * Nothing acknowledged rests on this module. Any failure is answered by starting empty.
//! * A run becomes live, and inputs of a merge stop being live, in one row, the manifest, which also
//!   holds the watermark: the first log index whose postings are not in live runs.
//! * A reader gets the exact union of memory and runs as of its look-up, or an error; rows of a run go
//!   away only when no reader holds it.
//! * Memory: the memtable (the caller flushes by [`IndexStats::memory_postings`]), sled's cache, 10 bits a
//!   key of the facets [`FACET_EVENT_KEY`] and [`FACET_DIRECTORY`], and a block per run and cursor.
//!
//! One thread calls [`Index::add`] and [`Index::advance`] (the commit), one calls [`Index::flush`] and
//! [`Index::maintain`] (the fold); any number read.

mod aside;
mod block;
mod bloom;
mod cursor;
mod database;
mod error;
mod maintain;
mod manifest;
mod memtable;
mod merge;
mod open;
mod run;
mod scan;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use cursor::{Cursor, Intersection, Position, Union, Values};
pub use error::IndexError;
pub use maintain::Maintained;
pub use manifest::{FACET_DIRECTORY, FACET_EVENT_KEY};
pub use scan::Row;

use block::TermPrint;
use database::Database;
use maintain::Upkeep;
use memtable::Memtable;
use run::Run;

/// sled's page cache. What sled uses beyond it follows the number of rows, of which there are few.
pub const CACHE_CAPACITY_BYTES_DEFAULT: u64 = 32 << 20;
/// How often sled's flusher writes and fsyncs; it is the only caller of fsync in sled.
pub const FLUSH_EVERY_MS_DEFAULT: u64 = 500;
/// How far back a start after an unclean stop goes, in log indexes: everything sled may have
/// acknowledged to us but not fsynced within its 500 ms, 64 Ki events at over 100,000 a second.
pub const ROLLBACK_SPAN_DEFAULT: u64 = 1 << 16;

/// A key under a facet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// Facet code; see the catalogue.
    pub facet: u8,
    /// The blinded key. The index keeps its first eight bytes.
    pub key: [u8; 32],
}

impl Term {
    fn print(&self) -> TermPrint {
        let fp = self.key.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
        TermPrint { facet: self.facet, fp }
    }
}

/// How to move a directory: given so that this module renames nothing itself.
pub type RenameHook = fn(&Path, &Path) -> io::Result<()>;

/// Settings of an index.
#[derive(Clone, Copy, Debug)]
pub struct IndexOptions {
    /// sled's page cache in bytes.
    pub cache_capacity_bytes: u64,
    /// Period of sled's flusher in milliseconds.
    pub flush_every_ms: u64,
    /// How many log indexes a start after an unclean stop gives up at least, where that is cheap.
    pub rollback_span: u64,
    /// Moves a broken index aside.
    pub rename: RenameHook,
}

impl IndexOptions {
    /// The defaults, with the given way of renaming.
    #[must_use]
    pub fn new(rename: RenameHook) -> Self {
        Self {
            cache_capacity_bytes: CACHE_CAPACITY_BYTES_DEFAULT,
            flush_every_ms: FLUSH_EVERY_MS_DEFAULT,
            rollback_span: ROLLBACK_SPAN_DEFAULT,
            rename,
        }
    }
}

/// Why an index was started empty.
#[derive(Debug)]
pub struct Rebuilt {
    /// What was wrong with the old one.
    pub reason: IndexError,
    /// Where the old directory was moved.
    pub moved_to: std::path::PathBuf,
}

/// What opening found.
#[derive(Debug)]
pub struct OpenReport {
    /// Set where the old index was unusable; the watermark is then 0.
    pub rebuilt: Option<Rebuilt>,
    /// First log index to add again.
    pub watermark: u64,
    /// True where the last stop was not an orderly close.
    pub unclean: bool,
    /// Runs given up because of that; their postings are to be added again from the watermark.
    pub dropped_runs: usize,
}

/// Sizes, for metrics and for deciding when to flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Live runs.
    pub runs: usize,
    /// Blocks (sled rows) in live runs, filters not counted.
    pub blocks: u64,
    /// Postings in live runs.
    pub postings: u64,
    /// Bytes of those blocks.
    pub bytes: u64,
    /// Bytes of the runs' filters in memory.
    pub filter_bytes: u64,
    /// Terms in memory.
    pub memory_terms: usize,
    /// Postings in memory.
    pub memory_postings: u64,
    /// Replaced runs whose rows are not removed yet.
    pub dead_runs: usize,
    /// Bytes of sled's files.
    pub size_on_disk_bytes: u64,
}

/// What readers and the writer share. Held for a few lookups or map insertions at a time.
#[derive(Debug)]
struct State {
    active: Memtable,
    /// Being written as a run, with the log index the run reaches to.
    frozen: Option<(Arc<Memtable>, u64)>,
    /// Oldest first.
    runs: Arc<[Arc<Run>]>,
    /// First log index not yet added.
    next: u64,
    watermark: u64,
    /// `None` once closed.
    db: Option<Arc<Database>>,
}

/// The index of one ledger.
#[derive(Debug)]
pub struct Index {
    state: RwLock<State>,
    upkeep: Mutex<Upkeep>,
}

impl Index {
    // A thread that panicked while it held a lock left the data whole: each change below is a single
    // assignment or an idempotent insertion. So poisoning is not an error of its own.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First log index whose postings are not in written runs: where to add from after a restart.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.state().watermark
    }

    /// First log index whose postings have not been added at all.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.state().next
    }

    /// Adds postings of log entries from `from_index` on; readers see them at once. Adding the same
    /// posting again changes nothing.
    ///
    /// # Errors
    /// [`IndexError::Gap`] where entries before `from_index` have not been added: see [`Index::advance`].
    pub fn add(&self, from_index: u64, postings: &[(u64, Term)]) -> Result<(), IndexError> {
        let mut state = self.state_mut();
        if from_index > state.next {
            return Err(IndexError::Gap { expected: state.next, from_index });
        }
        for (value, term) in postings {
            state.active.add(term.print(), *value);
        }
        Ok(())
    }

    /// Says that the postings of every log entry before `next_index` have been added.
    pub fn advance(&self, next_index: u64) {
        let mut state = self.state_mut();
        state.next = state.next.max(next_index);
    }

    /// A cursor over the values of `term` as of now. Reads nothing yet.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub fn lookup(&self, term: &Term) -> Result<Cursor, IndexError> {
        let print = term.print();
        let state = self.state();
        let db = state.db.as_ref().ok_or(IndexError::Closed)?;
        let frozen = state.frozen.as_ref().map_or(&[][..], |(table, _)| table.values_of(print));
        let memory = union_of(frozen, state.active.values_of(print));
        let (db, runs) = (Arc::clone(db), Arc::clone(&state.runs));
        drop(state);
        Ok(Cursor::new(print, db, memory, &runs))
    }

    /// The values that `term` may have, ascending; empty means surely none. Meant for the unique keys of
    /// [`FACET_EVENT_KEY`] and [`FACET_DIRECTORY`], whose filters answer for absent keys without reading.
    /// Compare the full key with what each value points to.
    ///
    /// # Errors
    /// [`IndexError`] where a run cannot be read.
    pub fn find(&self, term: &Term) -> Result<Vec<u64>, IndexError> {
        let print = term.print();
        let state = self.state();
        let db = state.db.as_ref().ok_or(IndexError::Closed)?;
        let frozen = state.frozen.as_ref().map_or(&[][..], |(table, _)| table.values_of(print));
        let active = state.active.values_of(print);
        if state.runs.iter().all(|run| !run.may_contain(print)) {
            return Ok(union_of(frozen, active));
        }
        let memory = union_of(frozen, active);
        let (db, runs) = (Arc::clone(db), Arc::clone(&state.runs));
        drop(state);
        Cursor::new(print, db, memory, &runs).collect(usize::MAX)
    }

    /// Sizes as of now.
    ///
    /// # Errors
    /// [`IndexError`] where sled cannot tell the size of its files.
    pub fn stats(&self) -> Result<IndexStats, IndexError> {
        let state = self.state();
        let db = Arc::clone(state.db.as_ref().ok_or(IndexError::Closed)?);
        let frozen = state.frozen.as_ref().map(|(table, _)| table);
        let mut sizes = IndexStats {
            runs: state.runs.len(),
            memory_terms: state.active.terms() + frozen.map_or(0, |table| table.terms()),
            memory_postings: state.active.postings() + frozen.map_or(0, |table| table.postings()),
            ..IndexStats::default()
        };
        for run in state.runs.iter() {
            sizes.blocks = sizes.blocks.saturating_add(run.info.blocks);
            sizes.postings = sizes.postings.saturating_add(run.info.postings);
            sizes.bytes = sizes.bytes.saturating_add(run.info.bytes);
            let filter = u64::try_from(run.bloom.as_bytes().len()).unwrap_or(u64::MAX);
            sizes.filter_bytes = sizes.filter_bytes.saturating_add(filter);
        }
        drop(state);
        sizes.dead_runs = self.upkeep().dead_runs();
        sizes.size_on_disk_bytes = db.size_on_disk_bytes()?;
        Ok(sizes)
    }

    /// Postings in memory, both the active and the one being written; cheap enough to ask per batch.
    #[must_use]
    pub fn memory_postings(&self) -> u64 {
        let state = self.state();
        let frozen = state.frozen.as_ref().map_or(0, |(table, _)| table.postings());
        state.active.postings().saturating_add(frozen)
    }
}

/// Merges two ascending lists.
fn union_of(a: &[u64], b: &[u64]) -> Vec<u64> {
    if a.last().is_none_or(|last| b.first().is_none_or(|first| last < first)) {
        return [a, b].concat();
    }
    let mut out = [a, b].concat();
    out.sort_unstable();
    out.dedup();
    out
}
