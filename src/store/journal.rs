//! The journal: the file that makes an event exist.
//!
//! In scope: appending frames, making them durable, recovering them after a crash, reading them back
//! without changing anything, and removing segments nobody needs. Out of scope: grouping requests,
//! when to sync and when to trim (the ledger's), and what entries mean.
//!
//! A journal is a directory of segments named by the log index they begin with (`%020d.cfj`). A
//! segment is a header (36 bytes: magic "CFJS" · version u32 = 1 · ledger 16 · `first_index` u64
//! · crc32c u32, big-endian) and frames (see [`super::frame`]); indexes run through all
//! segments without a gap.
//!
//! Invariants:
//! * at most one frame is unsynced at any time, and no segment is begun before the one before it is
//!   durable; so a crash can tear the last frame of the last segment and nothing else;
//! * a torn last frame was never acknowledged and is cut; whatever else does not decode is damage, is
//!   named, and is left as it is;
//! * after an error of an append or a sync the journal takes nothing more.

mod scan;
mod segment;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{FRAME_BYTES_MAX, Fault, Frame, FrameError, FrameWriter};
use super::memory::{len_u64, len_u64_of};
use super::{AppendFile, Storage, StoreError};

pub use scan::{Scan, Scanned, scan};
use segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_path};

/// Size past which a segment takes no further frame, in bytes: 32 MiB, so that recovery holds one in
/// memory, and trimming frees room in steps that matter (about 50,000 events of 600 bytes).
pub const SEGMENT_BYTES_MAX: u64 = 32 << 20;

/// The encoding buffer is given back past this size, in bytes, so that one large request does not
/// hold its memory for ever.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

const _: () = assert!(FRAME_BYTES_MAX <= 32 << 20, "a frame fits a segment of its own, header apart");

/// An incomplete last frame that a crash left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment, relative to the storage's root.
    pub file: String,
    /// Where the frame begins in it; 0 where the segment's own header was torn.
    pub offset: u64,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// What a journal held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// All complete frames, in log order.
    pub frames: Vec<Frame>,
    /// What was cut from the end, if anything was.
    pub cut: Option<Cut>,
}

/// A journal could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Bytes that were once durable are not what was written.
    #[error("the journal is damaged: {file} at byte {offset}: {what}; restore the file from a backup")]
    Damage {
        /// The segment, relative to the storage's root.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: Fault,
    },
    /// The frame has no encoding; nothing was written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame does not follow the last one; nothing was written.
    #[error("the frame begins at log index {found}, where {expected} follows")]
    OutOfOrder {
        /// The index that follows.
        expected: u64,
        /// The index given.
        found: u64,
    },
    /// An earlier append or sync failed.
    #[error("the journal failed earlier and takes nothing more; restart to recover")]
    Poisoned,
}

impl JournalError {
    /// Whether the disk (or the quota on it) is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

/// The end of a journal at which segments are removed. It is apart from the writing end, so that whoever
/// commits never waits for a removal.
#[derive(Debug, Clone)]
pub struct JournalTrim {
    storage: Arc<dyn Storage>,
    dir: String,
    /// First indexes of the segments, ascending.
    segments: Arc<Mutex<Vec<u64>>>,
}

impl JournalTrim {
    fn segments(&self) -> MutexGuard<'_, Vec<u64>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes, oldest first and durably, the segments whose entries are all below `index`; never
    /// the last one, which says where the log goes on. Gives how many were removed.
    ///
    /// # Errors
    /// The storage's; the segments not yet removed stay.
    pub fn trim_below(&self, index: u64) -> Result<usize, StoreError> {
        let mut removed = 0;
        while let Some(oldest) = self.oldest_below(index) {
            self.storage.remove(&segment_path(&self.dir, oldest))?;
            // One at a time: were two removals lost and kept in the wrong order by a crash, the gap
            // between the segments left would look like damage.
            self.storage.sync_round()?;
            self.segments().retain(|first_index| *first_index != oldest);
            removed += 1;
        }
        Ok(removed)
    }

    /// The log index the oldest segment begins with; `None` where nothing was ever written.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        self.segments().first().copied()
    }

    fn oldest_below(&self, index: u64) -> Option<u64> {
        match **self.segments() {
            [oldest, next, ..] if next <= index => Some(oldest),
            _ => None,
        }
    }
}

/// The writing end of a journal. One per ledger.
#[derive(Debug)]
pub struct Journal {
    storage: Arc<dyn Storage>,
    dir: String,
    ledger: [u8; 16],
    /// The last segment is the one appended to.
    trim: JournalTrim,
    active: Option<Box<dyn AppendFile>>,
    next_index: Option<u64>,
    has_unsynced: bool,
    is_poisoned: bool,
    buffer: Vec<u8>,
    /// [`SEGMENT_BYTES_MAX`], other than in tests of rolling.
    segment_bytes_max: u64,
}

impl Journal {
    /// Opens the journal of `ledger` in `dir`, cuts a torn last frame, makes what it found durable,
    /// and gives all frames. An empty or missing directory is an empty journal.
    ///
    /// `known_size` is the number of entries the caller knows to have been durable, because it signed
    /// or folded them; 0 where it knows nothing. A journal that ends below it is damaged, however
    /// torn its end looks, and is left as it is.
    ///
    /// # Errors
    /// [`JournalError::Damage`] with the first byte that is wrong, or the storage's error.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &str,
        ledger: [u8; 16],
        known_size: u64,
    ) -> Result<(Self, Recovered), JournalError> {
        let mut frames = Vec::new();
        let (journal, cut) =
            Self::open_with(storage, dir, ledger, known_size, |frame| frames.push(frame))?;
        Ok((journal, Recovered { frames, cut }))
    }

    /// Like [`Journal::open`], handing each frame to `on_frame` as it is read, so that no more than
    /// one segment is in memory. Frames may be handed over before damage further on is found.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_with(
        storage: Arc<dyn Storage>,
        dir: &str,
        ledger: [u8; 16],
        known_size: u64,
        mut on_frame: impl FnMut(Frame),
    ) -> Result<(Self, Option<Cut>), JournalError> {
        let mut cut = None;
        let mut scan = scan(&*storage, dir, ledger)?;
        let mut segments = scan.segments();
        for item in scan.by_ref() {
            match item? {
                Scanned::Frame { frame, .. } => on_frame(frame),
                Scanned::TornTail(torn) => cut = Some(torn),
            }
        }
        let next_index = scan.next_index();
        let found = next_index.unwrap_or(0);
        if found < known_size {
            let what = Fault::EndsEarly { known: known_size, found };
            let (file, offset) = end_of(&*storage, dir, segments.last(), cut)?;
            return Err(JournalError::Damage { file, offset, what });
        }
        match &cut {
            Some(cut) if cut.offset == 0 => {
                storage.remove(&cut.file)?;
                storage.sync_round()?;
                segments.pop();
            }
            Some(cut) => storage.truncate(&cut.file, cut.offset)?,
            None => {}
        }
        let active = match segments.last() {
            Some(first_index) => {
                let path = segment_path(dir, *first_index);
                let len = storage.len(&path)?.unwrap_or(0);
                let mut active = storage.open_append(&path, len)?;
                // The frames may have been read from memory; callers will build on them.
                active.sync()?;
                Some(active)
            }
            None => None,
        };
        let trim = JournalTrim {
            storage: Arc::clone(&storage),
            dir: dir.to_owned(),
            segments: Arc::new(Mutex::new(segments)),
        };
        let journal = Self {
            dir: dir.to_owned(),
            storage,
            ledger,
            trim,
            active,
            next_index,
            has_unsynced: false,
            is_poisoned: false,
            buffer: Vec::new(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
        };
        Ok((journal, cut))
    }

    /// The log index the next frame must begin with; `None` where nothing was ever written.
    #[must_use]
    pub fn next_index(&self) -> Option<u64> {
        self.next_index
    }

    /// The log index the oldest segment begins with; `None` where nothing was ever written.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        self.trim.segments().first().copied()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.trim.segments().len()
    }

    /// Appends `frame` in one write. It is durable after the next [`Journal::sync`]; a frame that was
    /// appended before and not synced is synced first.
    ///
    /// # Errors
    /// [`JournalError::Frame`] and [`JournalError::OutOfOrder`] leave the journal as it was; any
    /// other error poisons it.
    pub fn append(&mut self, frame: &Frame) -> Result<(), JournalError> {
        self.check()?;
        self.append_written(&frame.writer()?)
    }

    /// Like [`Journal::append`], for a frame that was encoded while it grew.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_written(&mut self, frame: &FrameWriter) -> Result<(), JournalError> {
        self.check()?;
        let first_index = frame.first_index();
        if let Some(expected) = self.next_index
            && expected != first_index
        {
            return Err(JournalError::OutOfOrder { expected, found: first_index });
        }
        self.buffer.clear();
        SegmentHeader { ledger: self.ledger, first_index }.encode_into(&mut self.buffer);
        frame.encode_into(&mut self.buffer)?;
        let appended = self.append_buffer(first_index);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        self.poison_on_error(appended)?;
        self.next_index = Some(frame.next_index());
        Ok(())
    }

    /// Writes the buffer, a segment header and a frame, to a new segment; or the frame alone to the
    /// one in use.
    fn append_buffer(&mut self, first_index: u64) -> Result<(), JournalError> {
        self.sync_unsynced()?;
        let frame_bytes = self.buffer.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
        let has_room = |active: &dyn AppendFile| {
            active.len() <= len_u64_of(SEGMENT_HEADER_BYTES)
                || active.len().saturating_add(len_u64(frame_bytes)) <= self.segment_bytes_max
        };
        match &mut self.active {
            Some(active) if has_room(&**active) => active.append(frame_bytes)?,
            _ => {
                // Its name is durable before its bytes are, so a crash may leave it empty.
                let mut active = self.storage.open_append(&segment_path(&self.dir, first_index), 0)?;
                active.append(&self.buffer)?;
                self.active = Some(active);
                self.trim.segments().push(first_index);
            }
        }
        self.has_unsynced = true;
        Ok(())
    }

    /// Makes all appended frames durable.
    ///
    /// # Errors
    /// The storage's; the journal is then poisoned.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        let synced = self.sync_unsynced();
        self.poison_on_error(synced)
    }

    fn sync_unsynced(&mut self) -> Result<(), JournalError> {
        if let (true, Some(active)) = (self.has_unsynced, &mut self.active) {
            active.sync()?;
            self.has_unsynced = false;
        }
        Ok(())
    }

    /// Begins a new segment now, durably, so that [`JournalTrim::trim_below`] can remove every frame
    /// written so far. Does nothing where the segment in use holds none.
    ///
    /// # Errors
    /// The storage's; the journal is then poisoned.
    pub fn roll(&mut self) -> Result<(), JournalError> {
        self.check()?;
        let rolled = self.begin_segment();
        self.poison_on_error(rolled)
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        self.sync_unsynced()?;
        let (Some(first_index), Some(active)) = (self.next_index, &self.active) else { return Ok(()) };
        if active.len() <= len_u64_of(SEGMENT_HEADER_BYTES) {
            return Ok(());
        }
        self.buffer.clear();
        SegmentHeader { ledger: self.ledger, first_index }.encode_into(&mut self.buffer);
        let mut active = self.storage.open_append(&segment_path(&self.dir, first_index), 0)?;
        active.append(&self.buffer)?;
        active.sync()?;
        self.active = Some(active);
        self.trim.segments().push(first_index);
        Ok(())
    }

    /// What removes this journal's segments.
    #[must_use]
    pub fn trim(&self) -> JournalTrim {
        self.trim.clone()
    }

    fn check(&self) -> Result<(), JournalError> {
        if self.is_poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    fn poison_on_error(&mut self, result: Result<(), JournalError>) -> Result<(), JournalError> {
        self.is_poisoned |= result.is_err();
        result
    }
}

/// Where the whole frames end: at a torn frame, or at the end of the last segment.
fn end_of(
    storage: &dyn Storage,
    dir: &str,
    last: Option<&u64>,
    cut: Option<Cut>,
) -> Result<(String, u64), StoreError> {
    if let Some(cut) = cut {
        return Ok((cut.file, cut.offset));
    }
    let Some(last) = last else { return Ok((dir.to_owned(), 0)) };
    let file = segment_path(dir, *last);
    let len = storage.len(&file)?.unwrap_or(0);
    Ok((file, len))
}

#[cfg(test)]
mod tests;
