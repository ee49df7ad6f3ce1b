//! Merging runs in tiers, a little at a time.
//!
//! In scope: which runs to merge, the streaming merge itself. Out of scope: when, and making the
//! result live. Invariants: only adjacent runs of one level are merged, so that the order of the list
//! stays the order of the log; memory is one block per input and the filter of the output.

use std::sync::Arc;

use super::block::Posting;
use super::database::Database;
use super::error::IndexError;
use super::run::{Run, RunWriter};

/// Runs of one level that are merged into one of the next. With eight, n flushes leave at most
/// 7 × log8(n) runs to ask, and a posting is rewritten log8(n) times.
pub(super) const TIER_FACTOR: usize = 8;

/// The oldest adjacent runs of the lowest level that has enough of them.
pub(super) fn choose(runs: &[Arc<Run>]) -> Option<Vec<Arc<Run>>> {
    runs.chunk_by(|a, b| a.info.level == b.info.level)
        .rev()
        .find_map(|level| level.get(..TIER_FACTOR))
        .map(<[_]>::to_vec)
}

/// One input: its postings, a block in memory.
#[derive(Debug)]
pub(super) struct Stream {
    run: Arc<Run>,
    next_block: Option<Posting>,
    /// Of the current block, in reverse, so that the next one is popped.
    postings: Vec<Posting>,
}

impl Stream {
    pub(super) fn new(run: Arc<Run>) -> Self {
        let next_block = Some(run.info.first);
        Self { run, next_block, postings: Vec::new() }
    }

    /// The next posting, which stays.
    pub(super) fn head(&mut self, db: &Database) -> Result<Option<Posting>, IndexError> {
        while self.postings.is_empty() {
            let Some(first) = self.next_block else { return Ok(None) };
            let stored = self.run.block_at(db, first)?;
            let block = stored.block(self.run.info.id)?;
            let corrupt = IndexError::Corrupt { run: self.run.info.id, what: "block layout" };
            block.postings(&mut self.postings).ok_or(corrupt)?;
            self.postings.reverse();
            if self.postings.last() != Some(&first) || block.next.is_some_and(|next| next <= first) {
                return Err(IndexError::Corrupt { run: self.run.info.id, what: "block order" });
            }
            self.next_block = block.next;
        }
        Ok(self.postings.last().copied())
    }
}

impl Stream {
    /// Goes past the posting that [`Stream::head`] gave.
    pub(super) fn pop(&mut self) {
        self.postings.pop();
    }
}

/// A merge under way.
#[derive(Debug)]
pub(super) struct MergeJob {
    id: u64,
    inputs: Vec<Arc<Run>>,
    streams: Vec<Stream>,
    writer: RunWriter,
}

impl MergeJob {
    /// `inputs` are adjacent and not empty; `id` is the new run's.
    pub(super) fn new(inputs: Vec<Arc<Run>>, id: u64) -> Self {
        let level = inputs.iter().map(|run| run.info.level).max().unwrap_or(0).saturating_add(1);
        let from = inputs.first().map_or(0, |run| run.info.span_from);
        let to = inputs.last().map_or(0, |run| run.info.span_to);
        let unique = inputs.iter().map(|run| run.info.unique_keys).fold(0, u64::saturating_add);
        let streams = inputs.iter().map(|run| Stream::new(Arc::clone(run))).collect();
        Self { id, inputs, streams, writer: RunWriter::new(id, level, (from, to), unique) }
    }

    /// Number of the run being written.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Moves up to `postings_max` postings; true when all inputs are used up.
    pub(super) fn step(&mut self, db: &Database, postings_max: u64) -> Result<bool, IndexError> {
        for _ in 0..postings_max {
            let mut least: Option<(Posting, &mut Stream)> = None;
            for stream in &mut self.streams {
                if let Some(head) = stream.head(db)?
                    && least.as_ref().is_none_or(|(posting, _)| head < *posting)
                {
                    least = Some((head, stream));
                }
            }
            let Some((posting, stream)) = least else { return Ok(true) };
            stream.postings.pop();
            self.writer.push(db, posting)?;
        }
        Ok(false)
    }

    /// The inputs and the run that replaces them; `None` only where the inputs held nothing.
    pub(super) fn finish(self, db: &Database) -> Result<(Vec<Arc<Run>>, Option<Run>), IndexError> {
        Ok((self.inputs, self.writer.finish(db)?))
    }
}
