//! The journal's frame: one commit group as bytes.
//!
//! In scope: encoding a group of records and decoding it strictly. Out of scope: files, segments, and
//! what a frame that does not decode means (see [`super::journal`]).
//!
//! Layout, big-endian:
//!
//! ```text
//! header 32   magic "CFJ1" · body_len u32 · first_index u64 · entry_count u32 · person_count u32
//!             · inbox u32 · crc32c u32 of the 28 bytes before
//! body        entry_count × record, then person_count × person
//!   record    entry_len u16 · entry · parts u8 × { role u8 · owners u8 × 8 · blob_len u32 · blob }
//!   person    len u32 · wrapped person
//! trailer 4   crc32c u32 of the body
//! ```
//!
//! Invariants: one frame has one encoding (roles ascend strictly, nothing trails); a frame holds at
//! least one entry; the header's own checksum lets a reader trust a length before it follows it.

mod writer;

use super::codec::Reader;
use super::memory::{len_u64, len_u64_of};

pub use writer::FrameWriter;

/// Bytes before a frame's body.
pub const FRAME_HEADER_BYTES: usize = 32;

/// Bytes after a frame's body.
pub const FRAME_TRAILER_BYTES: usize = 4;

/// Largest frame, all of it: 32 MiB, four requests of the largest size (8 MiB) in one group.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

pub(super) const FRAME_MAGIC: [u8; 4] = *b"CFJ1";

/// Bytes of the header that its checksum covers.
const HEADER_CHECKED_BYTES: usize = FRAME_HEADER_BYTES - 4;

/// One group of events, committed together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Log index of the first record; the others follow without a gap.
    pub first_index: u64,
    /// The entries in log order, each with its sealed parts.
    pub records: Vec<Record>,
    /// Secrets of persons first named in this group, wrapped by the vault.
    pub persons: Vec<Vec<u8>>,
    /// Number of the inbox key that persons are wrapped and owners masked under.
    pub inbox: u32,
}

/// A log entry and the sealed parts it commits to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The entry's bytes, at most 65,535 of them.
    pub entry: Vec<u8>,
    /// Its parts, ascending by role.
    pub sealed: Vec<SealedPart>,
}

/// An encrypted part of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedPart {
    /// Role code, unique within the record.
    pub role: u8,
    /// The owners' slots, masked by the vault.
    pub owners: Vec<[u8; 8]>,
    /// The ciphertext.
    pub blob: Vec<u8>,
}

/// A frame that has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There is nothing to commit.
    #[error("a frame holds at least one entry")]
    Empty,
    /// An entry is longer than the log takes.
    #[error("entry {index} is {bytes} bytes long, more than {limit}")]
    EntryTooLong {
        /// Log index of the entry.
        index: u64,
        /// Its length.
        bytes: usize,
        /// The longest.
        limit: usize,
    },
    /// A record has more parts, or a part more owners, than their one-byte count can say.
    #[error("entry {index} has {count} parts or owners of one part, more than 255")]
    TooMany {
        /// Log index of the entry.
        index: u64,
        /// How many.
        count: usize,
    },
    /// Parts do not ascend strictly by role.
    #[error(
        "the parts of entry {index} do not ascend: role {role} does not belong after the one before it"
    )]
    PartOrder {
        /// Log index of the entry.
        index: u64,
        /// The role out of place.
        role: u8,
    },
    /// The frame is too large to be written at once.
    #[error("the frame is {bytes} bytes long, more than {limit}: commit fewer events at once")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The largest.
        limit: usize,
    },
    /// The log indexes run past 2^64 - 1.
    #[error("the log indexes of the frame starting at {first_index} overflow")]
    IndexOverflow {
        /// Log index of the first record.
        first_index: u64,
    },
}

/// Why bytes are not a frame, or not the one that belongs here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes end before the header or the body does.
    #[error("the file ends inside: {needed} bytes are needed, {found} are there")]
    EndsInside {
        /// Bytes from the start of the header that must be there.
        needed: u64,
        /// Bytes from there to the end of the file.
        found: u64,
    },
    /// The four bytes that begin it are others.
    #[error("it does not begin with its magic bytes")]
    Magic,
    /// The format's version is not one this program knows.
    #[error("format version {0} is not known")]
    Version(u32),
    /// The header's checksum differs.
    #[error("the header's checksum is {stored:08x}, its bytes give {computed:08x}")]
    HeaderChecksum {
        /// What is written.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The body's checksum differs.
    #[error("the body's checksum is {stored:08x}, its bytes give {computed:08x}")]
    BodyChecksum {
        /// What is written.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A header field has a value no writer gives it.
    #[error("the header's {0} has a value that is never written")]
    HeaderField(&'static str),
    /// A body whose checksum is right is not a sequence of records and persons.
    #[error("the body does not hold what its header says: {0}")]
    Body(&'static str),
    /// Entries are missing or repeated before it.
    #[error("it begins at log index {found}, where {expected} follows")]
    IndexGap {
        /// The index that follows what was read before.
        expected: u64,
        /// The index it begins with.
        found: u64,
    },
    /// Entries known to have been durable are not there.
    #[error("the log ends at index {found}, though {known} entries were durable")]
    EndsEarly {
        /// How many entries the caller knows to have been durable.
        known: u64,
        /// The index that follows the last whole frame.
        found: u64,
    },
    /// The segment belongs to another ledger.
    #[error("it belongs to another ledger")]
    OtherLedger,
}

/// A frame's header, its checksum verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) body_len: u32,
    pub(super) first_index: u64,
    pub(super) entry_count: u32,
    pub(super) person_count: u32,
    pub(super) inbox: u32,
}

impl FrameHeader {
    /// Decodes the header that `bytes` begin with.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let needed = u64::try_from(FRAME_HEADER_BYTES).unwrap_or(u64::MAX);
        let short = || Fault::EndsInside { needed, found: len_u64(bytes) };
        let checked = bytes.get(..HEADER_CHECKED_BYTES).ok_or_else(short)?;
        let mut reader = Reader::new(bytes, 0);
        let magic: [u8; 4] = reader.array().ok_or_else(short)?;
        let body_len = reader.u32().ok_or_else(short)?;
        let first_index = reader.u64().ok_or_else(short)?;
        let entry_count = reader.u32().ok_or_else(short)?;
        let person_count = reader.u32().ok_or_else(short)?;
        let inbox = reader.u32().ok_or_else(short)?;
        let stored = reader.u32().ok_or_else(short)?;
        if magic != FRAME_MAGIC {
            return Err(Fault::Magic);
        }
        let computed = crc32c::crc32c(checked);
        if stored != computed {
            return Err(Fault::HeaderChecksum { stored, computed });
        }
        let header = Self { body_len, first_index, entry_count, person_count, inbox };
        if header.frame_len() > len_u64_of(FRAME_BYTES_MAX) {
            return Err(Fault::HeaderField("body length"));
        }
        if entry_count == 0 {
            return Err(Fault::HeaderField("entry count"));
        }
        if first_index.checked_add(u64::from(entry_count)).is_none() {
            return Err(Fault::HeaderField("first index"));
        }
        Ok(header)
    }

    /// Bytes of the whole frame, header and trailer included.
    pub(super) fn frame_len(&self) -> u64 {
        u64::from(self.body_len).saturating_add(len_u64_of(FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES))
    }
}

impl Frame {
    /// The log index that follows the last record.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.first_index.saturating_add(u64::try_from(self.records.len()).unwrap_or(u64::MAX))
    }

    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// [`FrameError`] where the frame breaks one of the format's rules; `out` is then as it was.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.writer()?.encode_into(out)
    }

    /// The frame as a writer holds it.
    pub(super) fn writer(&self) -> Result<FrameWriter, FrameError> {
        let mut writer = FrameWriter::new(self.first_index, self.inbox);
        for record in &self.records {
            let parts = record.sealed.iter();
            let parts = parts.map(|part| (part.role, part.owners.iter().copied(), part.blob.as_slice()));
            writer.push(&record.entry, parts)?;
        }
        for person in &self.persons {
            writer.push_person(person)?;
        }
        Ok(writer)
    }

    /// Decodes the frame that `bytes`, found at `offset` of a file, begin with; also gives its length.
    ///
    /// # Errors
    /// The offset in the file of what is wrong, and what it is.
    pub fn decode(bytes: &[u8], offset: u64) -> Result<(Self, u64), (u64, Fault)> {
        let header = FrameHeader::decode(bytes).map_err(|fault| (offset, fault))?;
        let found = len_u64(bytes);
        let needed = header.frame_len();
        let mut reader = Reader::new(bytes, offset);
        let parts = (|| {
            reader.take(FRAME_HEADER_BYTES)?;
            let body_offset = reader.offset();
            Some((body_offset, reader.take(usize::try_from(header.body_len).ok()?)?, reader.u32()?))
        })();
        let (body_offset, body, stored) = parts.ok_or((offset, Fault::EndsInside { needed, found }))?;
        let computed = crc32c::crc32c(body);
        if stored != computed {
            return Err((offset, Fault::BodyChecksum { stored, computed }));
        }
        let mut reader = Reader::new(body, body_offset);
        let frame = Self::decode_body(&header, &mut reader)
            .map_err(|what| (reader.offset(), Fault::Body(what)))?;
        Ok((frame, needed))
    }

    fn decode_body(header: &FrameHeader, reader: &mut Reader<'_>) -> Result<Self, &'static str> {
        let (first_index, inbox) = (header.first_index, header.inbox);
        let mut frame = Self { first_index, inbox, ..Self::default() };
        for _ in 0..header.entry_count {
            frame.records.push(Record::decode(reader)?);
        }
        for _ in 0..header.person_count {
            frame.persons.push(reader.sized().ok_or("a person is cut short")?.to_vec());
        }
        if reader.remaining() > 0 {
            return Err("bytes follow the last person");
        }
        Ok(frame)
    }
}

impl Record {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, &'static str> {
        let entry_len = reader.u16().ok_or("an entry's length is cut short")?;
        let entry = reader.take(usize::from(entry_len)).ok_or("an entry is cut short")?.to_vec();
        let mut record = Self { entry, sealed: Vec::new() };
        for _ in 0..reader.u8().ok_or("a count of parts is cut short")? {
            let role = reader.u8().ok_or("a part's role is cut short")?;
            if record.sealed.last().is_some_and(|before| before.role >= role) {
                return Err("parts do not ascend by role");
            }
            let mut part = SealedPart { role, ..SealedPart::default() };
            for _ in 0..reader.u8().ok_or("a count of owners is cut short")? {
                part.owners.push(reader.array().ok_or("an owner is cut short")?);
            }
            part.blob = reader.sized().ok_or("a blob is cut short")?.to_vec();
            record.sealed.push(part);
        }
        Ok(record)
    }
}

/// Appends the CRC-32C of `out` from `start` on.
pub(super) fn append_checksum(out: &mut Vec<u8>, start: usize) {
    let checksum = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests;
