//! Writing: flush, merge, removal of replaced runs, close.
//!
//! In scope: everything that changes sled after open. Out of scope: reading. Invariants: one thread at
//! a time does any of it (the `upkeep` lock); readers are shut out only while a list is swapped; rows
//! first, then the manifest, then memory.

use std::sync::Arc;

use super::block;
use super::database::Database;
use super::error::IndexError;
use super::manifest::{Manifest, is_unique_key};
use super::memtable::Memtable;
use super::merge::{self, MergeJob};
use super::run::{self, Run, RunWriter};
use super::{Index, State};

/// Key of the manifest row.
pub(super) const MANIFEST_KEY: &[u8] = b"\0manifest";
/// Key of the row that names the format.
pub(super) const STAMP_KEY: &[u8] = b"\0format";
/// What that row holds. Raise the number with every change to the bytes of this module.
pub(super) const STAMP: &[u8] = b"counterfoil index 1";
/// What [`Index::condemn`] leaves there.
const STAMP_CONDEMNED: &[u8] = b"condemned";

/// What the thread that writes keeps to itself.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    pub(super) generation: u64,
    pub(super) next_run: u64,
    /// Replaced by a merge; readers may still hold them.
    pub(super) replaced: Vec<Arc<Run>>,
    /// Rows that belong to no live run and to no reader.
    pub(super) garbage: Vec<u64>,
    pub(super) merge: Option<MergeJob>,
}

impl Upkeep {
    pub(super) fn dead_runs(&self) -> usize {
        self.replaced.len().saturating_add(self.garbage.len())
    }

    fn take_run_id(&mut self) -> u64 {
        let id = self.next_run;
        self.next_run = self.next_run.saturating_add(1);
        id
    }

    /// Makes `runs` and `watermark` the state that the next open finds.
    pub(super) fn publish(
        &mut self,
        db: &Database,
        runs: &[Arc<Run>],
        watermark: u64,
        clean: bool,
    ) -> Result<(), IndexError> {
        self.generation = self.generation.saturating_add(1);
        let manifest = Manifest {
            generation: self.generation,
            clean,
            watermark,
            next_run: self.next_run,
            runs: runs.iter().map(|run| run.info.clone()).collect(),
        };
        db.insert(MANIFEST_KEY, &block::with_checksum(MANIFEST_KEY, &manifest.encode()))
    }
}

/// What a call of [`Index::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// True where a merge was completed by this call.
    pub merged: bool,
    /// True where there is more to do: call again when convenient.
    pub more: bool,
}

impl Index {
    pub(super) fn db(&self) -> Result<Arc<Database>, IndexError> {
        self.state().db.clone().ok_or(IndexError::Closed)
    }

    /// Writes what is in memory as a run and moves the watermark with it, in one row. Readers and
    /// [`Index::add`] go on meanwhile. Where writing fails, memory keeps what it held and the next call
    /// tries again.
    ///
    /// # Errors
    /// [`IndexError`] of sled's.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut upkeep = self.upkeep();
        let db = self.db()?;
        // Twice where an earlier call failed and left its memtable frozen.
        let left_over = self.state().frozen.is_some();
        if left_over {
            self.write_frozen(&mut upkeep, &db)?;
        }
        {
            let mut state = self.state_mut();
            if state.active.postings() == 0 && state.next == state.watermark {
                return Ok(());
            }
            let table = std::mem::take(&mut state.active);
            state.frozen = Some((Arc::new(table), state.next));
        }
        self.write_frozen(&mut upkeep, &db)
    }

    fn write_frozen(&self, upkeep: &mut Upkeep, db: &Database) -> Result<(), IndexError> {
        let (table, to, from, mut runs) = {
            let state = self.state();
            let Some((table, to)) = &state.frozen else { return Ok(()) };
            (Arc::clone(table), *to, state.watermark, state.runs.to_vec())
        };
        let id = upkeep.take_run_id();
        match write_run(db, id, (from, to), &table) {
            Ok(Some(run)) => runs.push(Arc::new(run)),
            Ok(None) => {}
            Err(error) => {
                upkeep.garbage.push(id);
                return Err(error);
            }
        }
        upkeep.publish(db, &runs, to, false)?;
        let mut state = self.state_mut();
        state.runs = runs.into();
        state.watermark = to;
        state.frozen = None;
        drop(state);
        db.flush()
    }

    /// Does up to `postings_max` postings' worth of merging, then removes up to as many rows, of
    /// runs no longer read, as it takes to write that many postings; a million is about a second. Call
    /// after each flush and whenever idle.
    ///
    /// # Errors
    /// [`IndexError`] of sled's, or [`IndexError::Corrupt`] where an input is damaged; the inputs stay live.
    pub fn maintain(&self, postings_max: u64) -> Result<Maintained, IndexError> {
        let mut upkeep = self.upkeep();
        let db = self.db()?;
        let mut done = Maintained::default();
        if upkeep.merge.is_none() {
            let runs = Arc::clone(&self.state().runs);
            if let Some(inputs) = merge::choose(&runs) {
                let id = upkeep.take_run_id();
                upkeep.merge = Some(MergeJob::new(inputs, id));
            }
        }
        if let Some(mut job) = upkeep.merge.take() {
            let id = job.id();
            let outcome = match job.step(&db, postings_max) {
                Ok(false) => {
                    upkeep.merge = Some(job);
                    Ok(false)
                }
                Ok(true) => self.finish_merge(&mut upkeep, &db, job).map(|()| true),
                Err(error) => Err(error),
            };
            done.merged = outcome.inspect_err(|_| upkeep.garbage.push(id))?;
        }
        done.more = !collect_garbage(&mut upkeep, &db, postings_max)?
            || upkeep.merge.is_some()
            || merge::choose(&self.state().runs).is_some();
        Ok(done)
    }

    fn finish_merge(&self, upkeep: &mut Upkeep, db: &Database, job: MergeJob) -> Result<(), IndexError> {
        let (inputs, merged) = job.finish(db)?;
        let (runs, watermark) = {
            let state = self.state();
            (replace(&state.runs, &inputs, merged), state.watermark)
        };
        upkeep.publish(db, &runs, watermark, false)?;
        // Only this thread changes the list, so what was read above is still it.
        self.state_mut().runs = runs.into();
        upkeep.replaced.extend(inputs);
        db.flush()
    }

    /// Makes the next open start empty, whatever it would find. For the ledger, when an answer did not
    /// agree with the log or a read gave an error of [`IndexError::needs_rebuild`].
    ///
    /// # Errors
    /// [`IndexError`] of sled's; the directory can then still be removed by hand.
    pub fn condemn(&self) -> Result<(), IndexError> {
        let _upkeep = self.upkeep();
        let db = self.db()?;
        db.insert(STAMP_KEY, STAMP_CONDEMNED)?;
        db.flush()
    }

    /// Writes what is in memory, marks the stop as orderly and releases the directory. Cursors still
    /// held keep it open until they are dropped. A second call does nothing.
    ///
    /// # Errors
    /// [`IndexError`] of sled's. The directory is released all the same, without the mark.
    pub fn close(&self) -> Result<(), IndexError> {
        let written = self.flush().and_then(|()| {
            let mut upkeep = self.upkeep();
            let db = self.db()?;
            let (runs, watermark) = {
                let state = self.state();
                (Arc::clone(&state.runs), state.watermark)
            };
            upkeep.publish(&db, &runs, watermark, true)
        });
        let Some(db) = self.release() else { return Ok(()) };
        match Arc::try_unwrap(db) {
            Ok(db) => written.and(db.shut_down()),
            Err(shared) => written.and(shared.flush()),
        }
    }

    fn release(&self) -> Option<Arc<Database>> {
        let mut upkeep = self.upkeep();
        upkeep.merge = None;
        upkeep.replaced.clear();
        let mut state: std::sync::RwLockWriteGuard<'_, State> = self.state_mut();
        state.db.take()
    }
}

/// A removed row stands for about as much work as this many merged postings.
const POSTINGS_PER_ROW: u64 = 256;

/// Removes rows of runs that nobody reads; true when none is left that could be removed.
fn collect_garbage(upkeep: &mut Upkeep, db: &Database, postings_max: u64) -> Result<bool, IndexError> {
    // A replaced run is in no list that a new reader could get it from, so once this is the only
    // handle it stays the only one.
    let (free, held): (Vec<_>, Vec<_>) =
        upkeep.replaced.drain(..).partition(|run| Arc::strong_count(run) == 1);
    upkeep.replaced = held;
    upkeep.garbage.extend(free.iter().map(|run| run.info.id));
    let rows_max = usize::try_from(postings_max / POSTINGS_PER_ROW).unwrap_or(usize::MAX).max(1);
    while let Some(id) = upkeep.garbage.last().copied() {
        if !run::remove_rows(db, id, rows_max)? {
            return Ok(false);
        }
        upkeep.garbage.pop();
    }
    Ok(true)
}

fn write_run(
    db: &Database,
    id: u64,
    span: (u64, u64),
    table: &Memtable,
) -> Result<Option<Run>, IndexError> {
    let mut writer = RunWriter::new(id, 0, span, table.terms_where(is_unique_key));
    for posting in table.sorted() {
        writer.push(db, posting)?;
    }
    writer.finish(db)
}

/// `runs` with the adjacent `inputs` replaced by what they were merged into.
fn replace(runs: &[Arc<Run>], inputs: &[Arc<Run>], merged: Option<Run>) -> Vec<Arc<Run>> {
    let mut merged = merged.map(Arc::new);
    let is_input = |run: &Arc<Run>| inputs.iter().any(|input| input.info.id == run.info.id);
    let mut out = Vec::with_capacity(runs.len());
    for run in runs {
        if is_input(run) {
            out.extend(merged.take());
        } else {
            out.push(Arc::clone(run));
        }
    }
    out
}
