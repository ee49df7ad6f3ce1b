//! Events on disk until they are acknowledged.
//!
//! In scope: segments of at most a few megabytes, appended to, read in order, deleted once everything in
//! them is settled; refused events kept aside. Out of scope: sending. Invariants: an event that
//! [`Spool::append`] has returned for survives the end of the process and of the machine; nothing is
//! deleted before it is settled; order is that of the calls.
//!
//! ```text
//! segments/00000000000000000000.cfs …   events, see `record`; the highest number is written to
//! refused/<segment>-<offset>.json       {"reason":{problem},"event":{…}}, one file an event
//! ```
//! There is no list of what is settled within a segment: after a crash a segment is sent again from
//! its beginning, and the ledger answers what it has with the first receipts.

mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{AppendFile, Storage, StoreError};

use super::directory::Directory;
use super::error::{ClientError, Refusal};

use record::{HEADER_BYTES, MAGIC, Next};

/// Bytes of a segment before the next one is begun: a tenth of a second's writing, and at most what is
/// sent again after a crash.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Bytes of the segment that is written to, from which on it is given up as soon as all in it is
/// settled. Below that, deleting it would cost more than sending it again after a crash.
const RETIRE_BYTES: u64 = 64 << 10;

const SEGMENTS: &str = "segments";
const SUFFIX: &str = ".cfs";

/// Where an event lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    segment: u64,
    offset: u64,
}

/// One read event.
#[derive(Debug)]
pub(super) struct Spooled {
    pub(super) place: Place,
    pub(super) event: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    /// Bytes that are durable.
    end: u64,
    /// Events not settled yet.
    open: u64,
    /// Whether nothing is added any more.
    sealed: bool,
}

/// What is where; locked for moments only.
#[derive(Debug, Default)]
struct Book {
    segments: BTreeMap<u64, Segment>,
    /// What is read next.
    cursor: Option<Place>,
    held_bytes: u64,
}

/// The writing end; locked while bytes become durable. Taken before the book.
#[derive(Debug)]
struct Writer {
    number: u64,
    file: Option<Box<dyn AppendFile>>,
}

/// Events on disk.
#[derive(Debug)]
pub(super) struct Spool {
    directory: Directory,
    writer: Mutex<Writer>,
    book: Mutex<Book>,
    bytes_max: u64,
    sync: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path_of(segment: u64) -> String {
    format!("{SEGMENTS}/{segment:020}{SUFFIX}")
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn offset_u64(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

impl Spool {
    /// Opens a spool of at most `bytes_max` and finds what an earlier process left; a tail that was not
    /// finished is cut. Without `sync`, events survive the end of the process but not the machine's.
    pub(super) fn open(directory: Directory, bytes_max: u64, sync: bool) -> Result<Self, ClientError> {
        let storage = &directory.storage;
        let mut book = Book::default();
        let mut number = 0;
        for name in storage.list(SEGMENTS)? {
            let Some(segment) = name.strip_suffix(SUFFIX).and_then(|digits| digits.parse().ok()) else {
                continue;
            };
            let path = path_of(segment);
            let bytes = storage.read(&path)?.unwrap_or_default();
            let extent = record::walk(&bytes).map_err(|offset| ClientError::SpoolDamaged {
                path: path.clone(),
                offset: offset_u64(offset),
            })?;
            number = number.max(segment.saturating_add(1));
            if extent.records == 0 {
                storage.remove(&path)?;
                continue;
            }
            let end = offset_u64(extent.end);
            if end < len_u64(&bytes) {
                storage.truncate(&path, end)?;
            }
            book.held_bytes += end;
            book.segments.insert(segment, Segment { end, open: extent.records, sealed: true });
        }
        let first = book.segments.keys().next().copied();
        book.cursor = first.map(|segment| Place { segment, offset: len_u64(MAGIC) });
        let writer = Mutex::new(Writer { number, file: None });
        Ok(Self { directory, writer, book: Mutex::new(book), bytes_max, sync })
    }

    /// Events that are not settled.
    pub(super) fn open_events(&self) -> u64 {
        locked(&self.book).segments.values().map(|segment| segment.open).sum()
    }

    /// Makes events durable, and says where they lie before anybody can read them there. An error may
    /// come after some were accepted; those are sent.
    pub(super) fn append(
        &self,
        events: &[Vec<u8>],
        accepted: &mut dyn FnMut(&[Place]),
    ) -> Result<(), ClientError> {
        let mut writer = locked(&self.writer);
        let more_bytes = events.iter().map(|event| len_u64(event) + offset_u64(HEADER_BYTES)).sum();
        self.check_room(more_bytes)?;
        let mut rest = events;
        while !rest.is_empty() {
            if writer.file.as_ref().is_some_and(|file| file.len() >= SEGMENT_BYTES) {
                self.seal(&mut writer);
            }
            rest = self.append_some(&mut writer, rest, accepted)?;
        }
        Ok(())
    }

    fn check_room(&self, more_bytes: u64) -> Result<(), ClientError> {
        let held_bytes = locked(&self.book).held_bytes;
        if held_bytes.saturating_add(more_bytes) > self.bytes_max {
            let limit_bytes = self.bytes_max;
            return Err(ClientError::SpoolFull { held_bytes, more_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Appends to the current segment until it is full, and syncs it.
    fn append_some<'e>(
        &self,
        writer: &mut Writer,
        events: &'e [Vec<u8>],
        accepted: &mut dyn FnMut(&[Place]),
    ) -> Result<&'e [Vec<u8>], ClientError> {
        let path = path_of(writer.number);
        let storage = &self.directory.storage;
        let mut bytes = Vec::new();
        let file = if let Some(file) = &mut writer.file {
            file
        } else {
            bytes.extend_from_slice(MAGIC);
            writer.file.insert(storage.open_append(&path, 0)?)
        };
        let from = file.len();
        let mut rest = events;
        let mut places = Vec::new();
        while let Some((event, after)) = rest.split_first() {
            if !places.is_empty() && from + len_u64(&bytes) >= SEGMENT_BYTES {
                break;
            }
            places.push(Place { segment: writer.number, offset: from + len_u64(&bytes) });
            record::write(event, &mut bytes);
            rest = after;
        }
        let written = file.append(&bytes);
        let written = if self.sync { written.and_then(|()| file.sync()) } else { written };
        if let Err(error) = written {
            // What is in the file of it must not be taken for events that were accepted.
            writer.file = None;
            writer.number = writer.number.saturating_add(1);
            let mut book = locked(&self.book);
            if let Some(segment) = book.segments.get_mut(&(writer.number - 1)) {
                segment.sealed = true;
            }
            drop(book);
            storage.truncate(&path, from)?;
            return Err(error.into());
        }
        let end = file.len();
        accepted(&places);
        let mut book = locked(&self.book);
        book.held_bytes += end - from;
        let new = Segment { end, open: 0, sealed: false };
        let segment = book.segments.entry(writer.number).or_insert(new);
        segment.end = end;
        segment.open += u64::try_from(places.len()).unwrap_or(u64::MAX);
        if book.cursor.is_none() {
            let offset = if from == 0 { len_u64(MAGIC) } else { from };
            book.cursor = Some(Place { segment: writer.number, offset });
        }
        Ok(rest)
    }

    /// Ends the segment that is written to. The next event begins a new one.
    fn seal(&self, writer: &mut Writer) {
        if writer.file.take().is_none() {
            return;
        }
        if let Some(segment) = locked(&self.book).segments.get_mut(&writer.number) {
            segment.sealed = true;
        }
        writer.number = writer.number.saturating_add(1);
    }

    /// Whether there is something to read.
    pub(super) fn has_unread(&self) -> bool {
        let book = locked(&self.book);
        let unread = |cursor: &Place| {
            let here = book.segments.get(&cursor.segment).is_some_and(|s| cursor.offset < s.end);
            here || book.segments.range(cursor.segment.saturating_add(1)..).next().is_some()
        };
        book.cursor.as_ref().is_some_and(unread)
    }

    /// Reads the next events, in order: at most `events_max` of together `bytes_max` bytes, but one in
    /// any case.
    pub(super) fn read(&self, events_max: usize, bytes_max: usize) -> Result<Vec<Spooled>, ClientError> {
        let mut book = locked(&self.book);
        let mut read = Vec::new();
        let mut total = 0;
        while let Some(cursor) = book.cursor {
            let Some(end) = book.segments.get(&cursor.segment).map(|segment| segment.end) else { break };
            if cursor.offset >= end {
                // What follows is in the next segment, if there is one yet.
                let next = book.segments.range(cursor.segment.saturating_add(1)..).next();
                let Some((segment, _)) = next else { break };
                book.cursor = Some(Place { segment: *segment, offset: len_u64(MAGIC) });
                continue;
            }
            let bytes = self.bytes_at(cursor, end)?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let at = offset_u64(bytes.len() - rest.len());
                let place = Place { offset: cursor.offset + at, ..cursor };
                let Next::Record { event, rest: after } = record::next(rest) else {
                    let path = path_of(place.segment);
                    return Err(ClientError::SpoolDamaged { path, offset: place.offset });
                };
                let is_full = read.len() >= events_max || total + event.len() + 1 > bytes_max;
                if is_full && !read.is_empty() {
                    book.cursor = Some(place);
                    return Ok(read);
                }
                total += event.len() + 1;
                read.push(Spooled { place, event: event.to_vec() });
                rest = after;
            }
            book.cursor = Some(Place { offset: end, ..cursor });
        }
        Ok(read)
    }

    fn bytes_at(&self, from: Place, end: u64) -> Result<Vec<u8>, StoreError> {
        let length = usize::try_from(end - from.offset).unwrap_or(usize::MAX);
        self.directory.storage.read_range(&path_of(from.segment), from.offset, length)
    }

    /// Notes that events need not be kept any more, and deletes the segments that hold none that do.
    pub(super) fn settle(&self, places: &[Place]) -> Result<(), StoreError> {
        let mut book = locked(&self.book);
        for place in places {
            if let Some(segment) = book.segments.get_mut(&place.segment) {
                segment.open = segment.open.saturating_sub(1);
            }
        }
        let large = book.segments.values().any(|s| !s.sealed && s.open == 0 && s.end >= RETIRE_BYTES);
        drop(book);
        if large { self.retire() } else { self.sweep() }
    }

    /// Gives up the segment that is written to where all in it is settled.
    pub(super) fn retire(&self) -> Result<(), StoreError> {
        let mut writer = locked(&self.writer);
        let settled = locked(&self.book).segments.get(&writer.number).is_some_and(|s| s.open == 0);
        if settled {
            self.seal(&mut writer);
        }
        drop(writer);
        self.sweep()
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let mut book = locked(&self.book);
        let done = book.segments.iter().filter(|(_, segment)| segment.sealed && segment.open == 0);
        let done: Vec<(u64, u64)> = done.map(|(number, segment)| (*number, segment.end)).collect();
        for (number, end) in done {
            self.directory.storage.remove(&path_of(number))?;
            book.segments.remove(&number);
            book.held_bytes = book.held_bytes.saturating_sub(end);
            if book.cursor.is_some_and(|cursor| cursor.segment == number) {
                let next = book.segments.range(number..).next().map(|(number, _)| *number);
                book.cursor = next.map(|segment| Place { segment, offset: len_u64(MAGIC) });
            }
        }
        Ok(())
    }

    /// Keeps a refused event with the reason.
    pub(super) fn keep_refused(
        &self,
        place: Place,
        event: &[u8],
        refusal: &Refusal,
    ) -> Result<(), StoreError> {
        let mut bytes = b"{\"reason\":".to_vec();
        bytes.extend_from_slice(refusal.problem.as_bytes());
        bytes.extend_from_slice(b",\"event\":");
        bytes.extend_from_slice(event);
        bytes.extend_from_slice(b"}\n");
        let path = format!("refused/{:020}-{:010}.json", place.segment, place.offset);
        self.directory.storage.write_durable(&path, &bytes)
    }
}
