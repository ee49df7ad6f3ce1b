//! Reading a journal without changing it, and telling a torn end from damage.
//!
//! In scope: the one reading of the format that recovery and the verifier share. Out of scope: cutting.
//! Invariant: a torn end is reported only where a crash could have left it: in the last segment, and
//! either the file ends inside the frame, or 512-byte sectors of it were never written and read as
//! zeros, and no later frame follows. Anything else is damage.

use std::collections::VecDeque;

use super::super::Storage;
use super::super::frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_TRAILER_BYTES, Fault, Frame, FrameHeader,
};
use super::super::memory::{len_u64, len_u64_of};
use super::segment::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader, segment_index, segment_path};
use super::{Cut, JournalError};

/// The unit a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a scan finds, in log order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scanned {
    /// A complete frame.
    Frame {
        /// The segment, relative to the storage's root.
        file: String,
        /// Where the frame begins in it.
        offset: u64,
        /// What it holds.
        frame: Frame,
    },
    /// The end of the journal is a frame that a crash left incomplete. Nothing follows.
    TornTail(Cut),
}

/// An iterator over a journal's frames. It ends after the first error and after a torn tail.
#[derive(Debug)]
pub struct Scan<'a> {
    storage: &'a dyn Storage,
    dir: String,
    ledger: [u8; 16],
    waiting: VecDeque<u64>,
    segment: Option<Segment>,
    next_index: Option<u64>,
    is_done: bool,
}

#[derive(Debug)]
struct Segment {
    file: String,
    bytes: Vec<u8>,
    at: usize,
    is_last: bool,
}

/// Begins to read the journal of `ledger` in `dir`. Files that are not named as segments are passed
/// over. While another process appends, the end may look torn.
///
/// # Errors
/// The storage's, from listing the directory.
pub fn scan<'a>(
    storage: &'a dyn Storage,
    dir: &str,
    ledger: [u8; 16],
) -> Result<Scan<'a>, JournalError> {
    let waiting = storage.list(dir)?.iter().filter_map(|name| segment_index(name)).collect();
    let dir = dir.to_owned();
    Ok(Scan { storage, dir, ledger, waiting, segment: None, next_index: None, is_done: false })
}

impl Scan<'_> {
    /// The log index that follows what was read so far; `None` before the first segment.
    #[must_use]
    pub fn next_index(&self) -> Option<u64> {
        self.next_index
    }

    /// First indexes of the segments not yet begun, ascending.
    pub(super) fn segments(&self) -> Vec<u64> {
        self.waiting.iter().copied().collect()
    }

    fn step(&mut self) -> Result<Option<Scanned>, JournalError> {
        loop {
            if let Some(segment) = &mut self.segment
                && segment.at < segment.bytes.len()
            {
                return segment.next_frame(&mut self.next_index).map(Some);
            }
            let Some(first_index) = self.waiting.pop_front() else { return Ok(None) };
            if let Some(torn) = self.begin(first_index)? {
                return Ok(Some(torn));
            }
        }
    }

    /// Reads the next segment and checks its name and header. Gives the torn tail where the header
    /// itself is one.
    fn begin(&mut self, first_index: u64) -> Result<Option<Scanned>, JournalError> {
        let file = segment_path(&self.dir, first_index);
        let bytes = self.storage.read(&file)?;
        let bytes =
            bytes.ok_or_else(|| super::StoreError::missing(super::super::Operation::Read, &file))?;
        let mut segment = Segment { file, bytes, at: 0, is_last: self.waiting.is_empty() };
        let expected = self.next_index.unwrap_or(first_index);
        if expected != first_index {
            return Err(segment.damage(0, Fault::IndexGap { expected, found: first_index }));
        }
        let header = match SegmentHeader::decode(&segment.bytes) {
            Ok(header) => header,
            Err(_) if segment.is_last && is_torn_header(&segment.bytes, first_index) => {
                return Ok(Some(segment.torn_tail(0)));
            }
            Err(fault) => return Err(segment.damage(0, fault)),
        };
        if header.ledger != self.ledger {
            return Err(segment.damage(0, Fault::OtherLedger));
        }
        if header.first_index != first_index {
            let gap = Fault::IndexGap { expected: first_index, found: header.first_index };
            return Err(segment.damage(0, gap));
        }
        segment.at = SEGMENT_HEADER_BYTES;
        self.next_index = Some(first_index);
        self.segment = Some(segment);
        Ok(None)
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Scanned, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let item = self.step().transpose();
        self.is_done = !matches!(item, Some(Ok(Scanned::Frame { .. })));
        item
    }
}

impl Segment {
    fn next_frame(&mut self, next_index: &mut Option<u64>) -> Result<Scanned, JournalError> {
        let offset = len_u64_of(self.at);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let expected = next_index.unwrap_or(0);
        match Frame::decode(rest, offset) {
            Ok((frame, _)) if frame.first_index != expected => {
                let found = frame.first_index;
                Err(self.damage(offset, Fault::IndexGap { expected, found }))
            }
            Ok((frame, len)) => {
                *next_index = Some(frame.next_index());
                self.at = self.at.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
                Ok(Scanned::Frame { file: self.file.clone(), offset, frame })
            }
            Err(_) if self.is_last && is_torn_frame(rest, self.at, expected) => {
                Ok(self.torn_tail(offset))
            }
            Err((offset, fault)) => Err(self.damage(offset, fault)),
        }
    }

    fn damage(&self, offset: u64, what: Fault) -> JournalError {
        JournalError::Damage { file: self.file.clone(), offset, what }
    }

    fn torn_tail(&self, offset: u64) -> Scanned {
        let bytes = len_u64(&self.bytes).saturating_sub(offset);
        Scanned::TornTail(Cut { file: self.file.clone(), offset, bytes })
    }
}

/// Whether a crash can have left a segment that begins with `bytes`, which are no valid header. The
/// header and the first frame's were one write into one sector.
fn is_torn_header(bytes: &[u8], first_index: u64) -> bool {
    let is_unwritten = sectors(bytes, 0).next().is_none_or(is_zero);
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return is_unwritten || begins(bytes, SEGMENT_MAGIC);
    }
    is_unwritten && !holds_frame_after(bytes, first_index)
}

/// Whether a crash can have left `rest`, which is no valid frame and begins at `at` of its segment.
fn is_torn_frame(rest: &[u8], at: usize, expected: u64) -> bool {
    let header = match FrameHeader::decode(rest) {
        Ok(header) => header,
        Err(Fault::EndsInside { .. }) => {
            return begins(rest, FRAME_MAGIC) || sectors(rest, at).next().is_none_or(is_zero);
        }
        Err(Fault::Magic | Fault::HeaderChecksum { .. }) => {
            return header_sectors(rest, at).any(is_zero) && !holds_frame_after(rest, expected);
        }
        // The checksum is right, so these bytes were written, and not by a crash.
        Err(_) => return false,
    };
    let found = len_u64(rest);
    header.first_index == expected
        && (header.frame_len() > found
            || header.frame_len() == found && has_lost_sector(rest, at, header))
}

/// Whether a sector of the complete-looking frame `rest` reads as if it had never been written.
///
/// A last sector that holds only one to three bytes of the frame, all of its checksum, is zero by
/// chance often enough to matter: there the rest of the checksum must agree with the body.
fn has_lost_sector(rest: &[u8], at: usize, header: FrameHeader) -> bool {
    let tail_len = at.saturating_add(rest.len()) % SECTOR_BYTES;
    let has_short_tail = (1..FRAME_TRAILER_BYTES).contains(&tail_len) && rest.len() > tail_len;
    if !has_short_tail {
        return sectors(rest, at).any(is_zero);
    }
    let (before, tail) = rest.split_at(rest.len() - tail_len);
    if sectors(before, at).any(is_zero) {
        return true;
    }
    let body_end =
        FRAME_HEADER_BYTES.saturating_add(usize::try_from(header.body_len).unwrap_or(usize::MAX));
    let body = rest.get(FRAME_HEADER_BYTES..body_end).unwrap_or_default();
    let checksum = crc32c::crc32c(body).to_be_bytes();
    let kept = checksum.get(..FRAME_TRAILER_BYTES - tail_len).unwrap_or_default();
    is_zero(tail) && before.ends_with(kept)
}

/// Whether a valid header of a frame beyond `expected` stands anywhere in `bytes`: frames are synced
/// one by one, so a frame with a successor was durable, and its loss is damage.
fn holds_frame_after(bytes: &[u8], expected: u64) -> bool {
    bytes.windows(FRAME_HEADER_BYTES).any(|window| {
        window.starts_with(&FRAME_MAGIC)
            && FrameHeader::decode(window).is_ok_and(|header| header.first_index > expected)
    })
}

/// The pieces of `bytes`, which begin at `at` of a file, that share a sector.
fn sectors(bytes: &[u8], at: usize) -> impl Iterator<Item = &[u8]> {
    let first_len = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len());
    let (first, rest) = bytes.split_at(first_len);
    std::iter::once(first).filter(|first| !first.is_empty()).chain(rest.chunks(SECTOR_BYTES))
}

/// The sectors that hold a part of the frame header at the start of `rest`.
fn header_sectors(rest: &[u8], at: usize) -> impl Iterator<Item = &[u8]> {
    let is_whole_in_first = at % SECTOR_BYTES + FRAME_HEADER_BYTES <= SECTOR_BYTES;
    sectors(rest, at).take(if is_whole_in_first { 1 } else { 2 })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether `bytes` begin with `magic`, or with as much of it as they have room for.
fn begins(bytes: &[u8], magic: [u8; 4]) -> bool {
    let len = bytes.len().min(magic.len());
    bytes.get(..len) == magic.get(..len)
}
