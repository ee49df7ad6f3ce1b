//! Opening: take what is there if it holds, else move it aside and start empty.
//!
//! In scope: format stamp, manifest, checks before anything is believed, rollback after an unclean stop,
//! rows without a live run. Out of scope: adding again what is missing, which the ledger does from the
//! watermark. Invariant: an index that opens has passed the checks below; any failure that is the
//! index's own ends in an empty one, with the old directory kept for whoever wants to look.
//!
//! What is checked: every filter; the newest run in full; eight blocks of each other run, drawn from the
//! manifest's generation so that another open draws others. After an unclean stop the newest runs are
//! dropped until [`IndexOptions::rollback_span`] log indexes are given up; a run wider than that is too
//! dear to drop, so it ends the rollback and, now the newest, is checked in full. That rests on the
//! order in which sled writes: what its flusher had fsynced is not lost, and it runs every 500 ms. It is
//! no proof against a disk that loses older writes; such a loss shows as [`IndexError::Corrupt`] when
//! a block next to it is read, since blocks name their successors.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use super::block::{self, Posting, TermPrint};
use super::database::Database;
use super::error::IndexError;
use super::maintain::{MANIFEST_KEY, STAMP, STAMP_KEY, Upkeep};
use super::manifest::Manifest;
use super::memtable::Memtable;
use super::run::{self, Run};
use super::{Index, IndexOptions, OpenReport, Rebuilt, State};

/// Blocks looked at in each run that is not checked in full.
const SAMPLE_BLOCKS: u64 = 8;
/// Rows of dead runs removed in one go; bounds the keys in memory.
const REMOVED_AT_ONCE: usize = 4096;
/// Broken directories kept beside the index before opening refuses to add another.
const BROKEN_KEPT_MAX: u32 = 10_000;

impl Index {
    /// Opens the index in `dir`, or starts an empty one where there is none or it is unusable.
    ///
    /// # Errors
    /// [`IndexError::Locked`] where another handle holds `dir`; [`IndexError::Io`] where the operating
    /// system refuses (no space, no permission): neither says anything against the index, so nothing is
    /// moved. Other errors only where a new, empty index cannot be made either.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<(Self, OpenReport), IndexError> {
        match Self::open_existing(dir, &options) {
            Ok(opened) => Ok(opened),
            Err(reason) if reason.needs_rebuild() => {
                let moved_to = move_aside(dir, &options)?;
                let (index, mut report) = Self::open_existing(dir, &options)?;
                report.rebuilt = Some(Rebuilt { reason, moved_to });
                Ok((index, report))
            }
            Err(other) => Err(other),
        }
    }

    fn open_existing(dir: &Path, options: &IndexOptions) -> Result<(Self, OpenReport), IndexError> {
        let db = Database::open(dir, options.cache_capacity_bytes, options.flush_every_ms)?;
        let mut manifest = read_manifest(&db)?;
        let unclean = !manifest.clean && manifest.generation > 0;
        let dropped_runs = if unclean { roll_back(&mut manifest, options.rollback_span) } else { 0 };
        let runs = load_checked(&db, &manifest)?;
        let mut live: Vec<u64> = manifest.runs.iter().map(|run| run.id).collect();
        live.sort_unstable();
        let garbage = run::dead_runs(&db, &live)?;
        let after_garbage = garbage.iter().max().map_or(0, |id| id.saturating_add(1));
        let mut upkeep = Upkeep {
            generation: manifest.generation,
            next_run: manifest.next_run.max(after_garbage),
            garbage,
            ..Upkeep::default()
        };
        // First the list, then the rows: a crash in between leaves rows without a list, never the reverse.
        upkeep.publish(&db, &runs, manifest.watermark, false)?;
        db.flush()?;
        for id in std::mem::take(&mut upkeep.garbage) {
            while !run::remove_rows(&db, id, REMOVED_AT_ONCE)? {}
        }
        let watermark = manifest.watermark;
        let state = State {
            active: Memtable::default(),
            frozen: None,
            runs: runs.into(),
            next: watermark,
            watermark,
            db: Some(Arc::new(db)),
        };
        let index = Self { state: RwLock::new(state), upkeep: Mutex::new(upkeep) };
        Ok((index, OpenReport { rebuilt: None, watermark, unclean, dropped_runs }))
    }
}

/// The manifest of an index of this format, or a fresh one where the database is empty.
fn read_manifest(db: &Database) -> Result<Manifest, IndexError> {
    let stamp = db.get(STAMP_KEY)?;
    let row = db.get(MANIFEST_KEY)?;
    match (stamp, row) {
        (Some(stamp), Some(row)) if stamp == STAMP => block::checked_body(MANIFEST_KEY, &row)
            .and_then(|(_, body)| Manifest::decode(body))
            .ok_or(IndexError::Corrupt { run: 0, what: "manifest" }),
        (None, None) if db.first_between(&[], &[u8::MAX])?.is_none() => {
            db.insert(STAMP_KEY, STAMP)?;
            Ok(Manifest::default())
        }
        (Some(stamp), None) if stamp == STAMP && only_stamp(db)? => Ok(Manifest::default()),
        _ => Err(IndexError::Corrupt { run: 0, what: "format stamp" }),
    }
}

/// True right after a first start that was cut short.
fn only_stamp(db: &Database) -> Result<bool, IndexError> {
    Ok(db.keys_between(&[], &[u8::MAX], 2)?.len() == 1)
}

/// Gives up the newest runs of an index that was not closed; returns how many. Where a wide run ends the
/// rollback it is now the newest, and checked in full as such.
fn roll_back(manifest: &mut Manifest, span: u64) -> usize {
    let (before, newest) = (manifest.runs.len(), manifest.watermark);
    while let Some(last) = manifest.runs.last() {
        let given_up = newest.saturating_sub(last.span_to);
        if given_up >= span || last.span_to.saturating_sub(last.span_from) > span {
            break;
        }
        manifest.runs.pop();
    }
    manifest.watermark = manifest.runs.last().map_or(0, |run| run.span_to);
    before.saturating_sub(manifest.runs.len())
}

/// Loads the live runs: the newest checked in full, the others by sample.
fn load_checked(db: &Database, manifest: &Manifest) -> Result<Vec<Arc<Run>>, IndexError> {
    let mut runs = Vec::with_capacity(manifest.runs.len());
    let newest = manifest.runs.last().map(|info| info.id);
    for info in &manifest.runs {
        let run = Run::load(db, info.clone())?;
        if Some(info.id) == newest {
            run.verify(db)?;
        } else {
            sample(db, &run, manifest.generation)?;
        }
        runs.push(Arc::new(run));
    }
    Ok(runs)
}

/// Reads a few blocks of `run` and what each of them promises to follow.
fn sample(db: &Database, run: &Run, seed: u64) -> Result<(), IndexError> {
    let (first, last) = (run.info.first, run.info.last);
    let mut draw = seed ^ run.info.id.rotate_left(32);
    for nth in 0..SAMPLE_BLOCKS {
        // One multiplicative step a draw: spread matters here, unpredictability does not.
        draw = draw.wrapping_add(nth).wrapping_mul(0xd129_0d3b_3f2a_4f4d).rotate_left(31);
        let facets = u64::from(last.term.facet.saturating_sub(first.term.facet)).saturating_add(1);
        let step = u8::try_from(draw.rotate_left(17) % facets).unwrap_or(0);
        let facet = first.term.facet.saturating_add(step);
        let at = Posting { term: TermPrint { facet, fp: draw }, value: 0 };
        let stored = run.block_before(db, at.clamp(first, last))?;
        let stored = stored.ok_or(IndexError::Corrupt { run: run.info.id, what: "first block" })?;
        let mut postings = Vec::new();
        let block = stored.block(run.info.id)?;
        if block.postings(&mut postings).is_none() || postings.first() != Some(&stored.first) {
            return Err(IndexError::Corrupt { run: run.info.id, what: "block layout" });
        }
        if let Some(next) = block.next {
            run.block_at(db, next)?;
        }
    }
    Ok(())
}

/// Renames `dir` to the first free `<dir>.broken-<n>` beside it.
fn move_aside(dir: &Path, options: &IndexOptions) -> Result<PathBuf, IndexError> {
    let name = dir.file_name().unwrap_or_default();
    for n in 0..BROKEN_KEPT_MAX {
        let mut broken = name.to_os_string();
        broken.push(format!(".broken-{n}"));
        let target = dir.with_file_name(broken);
        if target.symlink_metadata().is_err() {
            (options.rename)(dir, &target)
                .map_err(|source| IndexError::Io { what: "move a broken index aside", source })?;
            return Ok(target);
        }
    }
    let source = std::io::ErrorKind::AlreadyExists.into();
    Err(IndexError::Io { what: "find a free name for a broken index", source })
}
