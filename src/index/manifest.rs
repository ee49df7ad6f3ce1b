//! The one row that says which runs are live and how far they reach.
//!
//! In scope: what is known of a run without reading it, the manifest's bytes. Out of scope: sled.
//! Invariants: the manifest is one row, so it changes whole or not at all; runs are listed oldest
//! first, spans follow one another, levels never rise from one run to the next.

use super::block::{Input, Posting, TermPrint};

/// The facet of event keys, which find an event's log index.
pub const FACET_EVENT_KEY: u8 = 0;
/// The facet of the person directory, whose values are slots and not log indexes.
pub const FACET_DIRECTORY: u8 = 255;

/// True for the facets whose keys are looked up one at a time and mostly absent.
pub(super) fn is_unique_key(facet: u8) -> bool {
    facet == FACET_EVENT_KEY || facet == FACET_DIRECTORY
}

/// Smallest and largest value, both inclusive; empty while `min > max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Bounds {
    pub(super) const EMPTY: Self = Self { min: u64::MAX, max: 0 };

    pub(super) fn include(&mut self, value: u64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// What is known of a run without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunInfo {
    /// Never used twice, so that left-over rows cannot be taken for live ones.
    pub(super) id: u64,
    /// 0 from a flush, one more than its inputs from a merge.
    pub(super) level: u8,
    /// Log indexes whose postings are here, from `span_from` to before `span_to`.
    pub(super) span_from: u64,
    pub(super) span_to: u64,
    pub(super) blocks: u64,
    pub(super) postings: u64,
    /// Bytes of the blocks' values.
    pub(super) bytes: u64,
    /// Terms of the unique-key facets, an upper bound after a merge.
    pub(super) unique_keys: u64,
    pub(super) bloom_chunks: u32,
    /// Wrapping sum of the blocks' checksums.
    pub(super) sum: u32,
    pub(super) first: Posting,
    pub(super) last: Posting,
    /// Of all facets but the directory.
    pub(super) log_bounds: Bounds,
    pub(super) directory_bounds: Bounds,
}

impl RunInfo {
    pub(super) fn bounds_of(&self, term: TermPrint) -> Bounds {
        if term.facet == FACET_DIRECTORY { self.directory_bounds } else { self.log_bounds }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.level);
        for number in [self.id, self.span_from, self.span_to, self.blocks, self.postings, self.bytes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.unique_keys.to_be_bytes());
        out.extend_from_slice(&self.bloom_chunks.to_be_bytes());
        out.extend_from_slice(&self.sum.to_be_bytes());
        out.extend_from_slice(&self.first.to_bytes());
        out.extend_from_slice(&self.last.to_bytes());
        for bounds in [self.log_bounds, self.directory_bounds] {
            out.extend_from_slice(&bounds.min.to_be_bytes());
            out.extend_from_slice(&bounds.max.to_be_bytes());
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let level = input.u8()?;
        let (id, span_from, span_to) = (input.u64()?, input.u64()?, input.u64()?);
        let (blocks, postings, bytes) = (input.u64()?, input.u64()?, input.u64()?);
        let (unique_keys, bloom_chunks, sum) = (input.u64()?, input.u32()?, input.u32()?);
        let (first, last) = (Posting::read(input)?, Posting::read(input)?);
        let log_bounds = Bounds { min: input.u64()?, max: input.u64()? };
        let directory_bounds = Bounds { min: input.u64()?, max: input.u64()? };
        (blocks > 0 && span_from <= span_to && first <= last).then_some(Self {
            id,
            level,
            span_from,
            span_to,
            blocks,
            postings,
            bytes,
            unique_keys,
            bloom_chunks,
            sum,
            first,
            last,
            log_bounds,
            directory_bounds,
        })
    }
}

/// The live runs and the watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Counts manifests written; also what the sample taken at open is drawn from.
    pub(super) generation: u64,
    /// True from an orderly close until the next open.
    pub(super) clean: bool,
    /// First log index not in the runs.
    pub(super) watermark: u64,
    pub(super) next_run: u64,
    pub(super) runs: Vec<RunInfo>,
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(u8::from(self.clean));
        for number in [self.generation, self.watermark, self.next_run] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for run in &self.runs {
            run.encode(&mut out);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input::new(bytes);
        let clean = match input.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (generation, watermark, next_run) = (input.u64()?, input.u64()?, input.u64()?);
        let mut runs: Vec<RunInfo> = Vec::new();
        while !input.is_empty() {
            let run = RunInfo::decode(&mut input)?;
            let follows = runs.last().is_none_or(|b| b.span_to <= run.span_from && b.level >= run.level);
            if !follows || run.id >= next_run || run.span_to > watermark {
                return None;
            }
            runs.push(run);
        }
        Some(Self { generation, clean, watermark, next_run, runs })
    }
}
