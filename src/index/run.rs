//! Runs: immutable sorted sequences of blocks in sled.
//!
//! In scope: row keys, writing a run, finding a block, checking a whole run, removing one. Out of
//! scope: which runs are live. Invariants: a run is written once and never changed; a reader that
//! meets a block that is missing, altered or out of place gets [`IndexError::Corrupt`], never a
//! shorter answer.
//!
//! ```text
//! block row  key = 1 ‖ run u64 ‖ facet u8 ‖ fingerprint u64 ‖ first value u64
//! filter row key = 2 ‖ run u64 ‖ chunk u32        value = crc32c ‖ up to 4 KiB of the filter
//! ```

use sled::IVec;

use super::block::{self, Block, BlockBuilder, Posting, TermPrint};
use super::bloom::Bloom;
use super::database::Database;
use super::error::IndexError;
use super::manifest::{Bounds, FACET_DIRECTORY, RunInfo, is_unique_key};

const TAG_BLOCK: u8 = 1;
const TAG_FILTER: u8 = 2;
/// First byte after every row of this module.
const TAG_END: u8 = 3;
/// The filter is cut to the size of a block for sled's sake, see [`block::BLOCK_TARGET_BYTES`].
const FILTER_CHUNK_BYTES: usize = 4096;

fn run_prefix(tag: u8, run: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    key.push(tag);
    key.extend_from_slice(&run.to_be_bytes());
    key
}

fn block_key(run: u64, first: Posting) -> Vec<u8> {
    let mut key = run_prefix(TAG_BLOCK, run);
    key.extend_from_slice(&first.to_bytes());
    key
}

fn filter_key(run: u64, chunk: u32) -> Vec<u8> {
    let mut key = run_prefix(TAG_FILTER, run);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// A live run with its filter.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) info: RunInfo,
    pub(super) bloom: Bloom,
}

/// A block's bytes, its checksum and first posting.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) first: Posting,
    sum: u32,
    value: IVec,
}

impl Stored {
    /// The decoded block.
    pub(super) fn block(&self, run: u64) -> Result<Block<'_>, IndexError> {
        let corrupt = IndexError::Corrupt { run, what: "block layout" };
        self.value.get(4..).and_then(Block::parse).ok_or(corrupt)
    }
}

impl Run {
    fn corrupt(&self, what: &'static str) -> IndexError {
        IndexError::Corrupt { run: self.info.id, what }
    }

    /// True where the run may hold `term`; no disk access.
    pub(super) fn may_contain(&self, term: TermPrint) -> bool {
        self.info.first.term <= term
            && term <= self.info.last.term
            && (!is_unique_key(term.facet) || self.bloom.may_contain(term.facet, term.fp))
    }

    fn checked(&self, first: Posting, key: &[u8], value: IVec) -> Result<Stored, IndexError> {
        let Some((sum, _)) = block::checked_body(key, &value) else {
            return Err(self.corrupt("block checksum"));
        };
        Ok(Stored { first, sum, value })
    }

    /// The block that begins with `first`, which a neighbour or the manifest promised.
    pub(super) fn block_at(&self, db: &Database, first: Posting) -> Result<Stored, IndexError> {
        let key = block_key(self.info.id, first);
        let value = db.get(&key)?.ok_or_else(|| self.corrupt("missing block"))?;
        self.checked(first, &key, value)
    }

    /// The last block that begins at or before `at`; `None` where `at` precedes the whole run.
    pub(super) fn block_before(&self, db: &Database, at: Posting) -> Result<Option<Stored>, IndexError> {
        if at < self.info.first {
            return Ok(None);
        }
        let (from, to) = (run_prefix(TAG_BLOCK, self.info.id), block_key(self.info.id, at));
        let (key, value) =
            db.last_between(&from, &to)?.ok_or_else(|| self.corrupt("missing first block"))?;
        let first = key
            .get(from.len()..)
            .and_then(|tail| Posting::read(&mut block::Input::new(tail)))
            .ok_or_else(|| self.corrupt("block key"))?;
        let stored = self.checked(first, &key, value)?;
        let next = stored.block(self.info.id)?.next;
        if next.is_some_and(|next| next <= at) {
            return Err(self.corrupt("missing block"));
        }
        Ok(Some(stored))
    }

    /// Reads everything and compares it with what the manifest says of this run.
    pub(super) fn verify(&self, db: &Database) -> Result<(), IndexError> {
        let (mut blocks, mut count, mut bytes, mut sum) = (0_u64, 0_u64, 0_u64, 0_u32);
        let mut at = Some(self.info.first);
        let mut last: Option<Posting> = None;
        let mut postings = Vec::new();
        while let Some(first) = at {
            let stored = self.block_at(db, first)?;
            let block = stored.block(self.info.id)?;
            postings.clear();
            block.postings(&mut postings).ok_or_else(|| self.corrupt("block layout"))?;
            if postings.first() != Some(&first) || last.is_some_and(|last| last >= first) {
                return Err(self.corrupt("block order"));
            }
            last = postings.last().copied();
            blocks = blocks.saturating_add(1);
            count = count.saturating_add(u64::try_from(postings.len()).unwrap_or(u64::MAX));
            bytes = bytes.saturating_add(u64::try_from(stored.value.len()).unwrap_or(u64::MAX));
            sum = sum.wrapping_add(stored.sum);
            at = block.next;
        }
        let found = (blocks, count, bytes, sum, last);
        let info = &self.info;
        let expected = (info.blocks, info.postings, info.bytes, info.sum, Some(info.last));
        if found == expected { Ok(()) } else { Err(self.corrupt("run totals")) }
    }

    /// Loads a run's filter; the run is what the manifest lists.
    pub(super) fn load(db: &Database, info: RunInfo) -> Result<Self, IndexError> {
        let mut bits = Vec::new();
        for chunk in 0..info.bloom_chunks {
            let key = filter_key(info.id, chunk);
            let row = db.get(&key)?;
            let body = row.as_deref().and_then(|value| block::checked_body(&key, value));
            let (_, body) = body.ok_or(IndexError::Corrupt { run: info.id, what: "filter" })?;
            bits.extend_from_slice(body);
        }
        let bloom = Bloom::from_bytes(bits)
            .ok_or(IndexError::Corrupt { run: info.id, what: "filter length" })?;
        Ok(Self { info, bloom })
    }
}

/// A run being written.
#[derive(Debug)]
pub(super) struct RunWriter {
    info: RunInfo,
    bloom: Bloom,
    builder: BlockBuilder,
    pending: Option<(Posting, Vec<u8>)>,
    last: Option<Posting>,
}

impl RunWriter {
    /// `unique_keys` is an upper bound of the terms of the unique-key facets.
    pub(super) fn new(id: u64, level: u8, span: (u64, u64), unique_keys: u64) -> Self {
        let nothing = Posting { term: TermPrint { facet: 0, fp: 0 }, value: 0 };
        Self {
            info: RunInfo {
                id,
                level,
                span_from: span.0,
                span_to: span.1,
                blocks: 0,
                postings: 0,
                bytes: 0,
                unique_keys,
                bloom_chunks: 0,
                sum: 0,
                first: nothing,
                last: nothing,
                log_bounds: Bounds::EMPTY,
                directory_bounds: Bounds::EMPTY,
            },
            bloom: Bloom::with_room(unique_keys),
            builder: BlockBuilder::default(),
            pending: None,
            last: None,
        }
    }

    /// Adds a posting; postings ascend, and a repeated one is taken once.
    pub(super) fn push(&mut self, db: &Database, posting: Posting) -> Result<(), IndexError> {
        match self.last {
            None => self.info.first = posting,
            Some(last) if last == posting => return Ok(()),
            Some(last) if last > posting => {
                return Err(IndexError::Corrupt { run: self.info.id, what: "order of merged postings" });
            }
            Some(_) => {}
        }
        let TermPrint { facet, fp } = posting.term;
        if is_unique_key(facet) && self.last.is_none_or(|last| last.term != posting.term) {
            self.bloom.insert(facet, fp);
        }
        if facet == FACET_DIRECTORY {
            self.info.directory_bounds.include(posting.value);
        } else {
            self.info.log_bounds.include(posting.value);
        }
        if self.builder.is_full() {
            self.pending = self.builder.take();
        }
        if self.builder.is_empty() {
            self.write_pending(db, Some(posting))?;
        }
        self.builder.push(posting);
        self.info.postings = self.info.postings.saturating_add(1);
        self.last = Some(posting);
        Ok(())
    }

    fn write_pending(&mut self, db: &Database, next: Option<Posting>) -> Result<(), IndexError> {
        let Some((first, groups)) = self.pending.take() else { return Ok(()) };
        let key = block_key(self.info.id, first);
        let body = block::body(&groups, next);
        let value = block::with_checksum(&key, &body);
        self.info.blocks = self.info.blocks.saturating_add(1);
        self.info.sum = self.info.sum.wrapping_add(block::checksum(&key, &body));
        self.info.bytes = self.info.bytes.saturating_add(u64::try_from(value.len()).unwrap_or(u64::MAX));
        db.insert(&key, &value)
    }

    /// Writes what is left; `None` where nothing was pushed. The run is not live until the manifest says so.
    pub(super) fn finish(mut self, db: &Database) -> Result<Option<Run>, IndexError> {
        let Some(last) = self.last else { return Ok(None) };
        self.pending = self.builder.take();
        self.write_pending(db, None)?;
        self.info.last = last;
        for chunk in self.bloom.as_bytes().chunks(FILTER_CHUNK_BYTES) {
            let key = filter_key(self.info.id, self.info.bloom_chunks);
            db.insert(&key, &block::with_checksum(&key, chunk))?;
            self.info.bloom_chunks = self.info.bloom_chunks.saturating_add(1);
        }
        Ok(Some(Run { info: self.info, bloom: self.bloom }))
    }
}

/// Removes up to `rows_max` rows of run `id`; true when none is left.
pub(super) fn remove_rows(db: &Database, id: u64, rows_max: usize) -> Result<bool, IndexError> {
    let mut room = rows_max;
    for tag in [TAG_BLOCK, TAG_FILTER] {
        let (from, before) = (run_prefix(tag, id), run_prefix(tag, id.saturating_add(1)));
        let keys = db.keys_between(&from, &before, room)?;
        for key in &keys {
            db.remove(key)?;
        }
        room = room.saturating_sub(keys.len());
        if room == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Numbers of the runs that have rows but are not in `live` (ascending).
pub(super) fn dead_runs(db: &Database, live: &[u64]) -> Result<Vec<u64>, IndexError> {
    let mut dead = Vec::new();
    for tag in [TAG_BLOCK, TAG_FILTER] {
        let mut from = vec![tag];
        let before = [tag.saturating_add(1).min(TAG_END)];
        while let Some((key, _)) = db.first_between(&from, &before)? {
            let mut input = block::Input::new(&key);
            let id = input.u8().and_then(|_| input.u64());
            let id = id.ok_or(IndexError::Corrupt { run: 0, what: "row key" })?;
            if live.binary_search(&id).is_err() && !dead.contains(&id) {
                dead.push(id);
            }
            let Some(next) = id.checked_add(1) else { break };
            from = run_prefix(tag, next);
        }
    }
    Ok(dead)
}
