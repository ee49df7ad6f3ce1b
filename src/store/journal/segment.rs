//! Names and headers of journal segments.
//!
//! Layout of the header, 36 bytes, big-endian: magic "CFJS" · version u32 = 1 · ledger 16 ·
//! `first_index` u64 · crc32c u32 of the 32 bytes before.

use super::super::codec::Reader;
use super::super::frame::{Fault, append_checksum};
use super::super::memory::{len_u64, len_u64_of};

/// Bytes before a segment's first frame.
pub(super) const SEGMENT_HEADER_BYTES: usize = 36;

pub(super) const SEGMENT_MAGIC: [u8; 4] = *b"CFJS";

const VERSION: u32 = 1;

/// Digits in a segment's name: as many as the largest log index has, so that names sort as numbers.
const NAME_DIGITS: usize = 20;

const NAME_END: &str = ".cfj";

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) ledger: [u8; 16],
    pub(super) first_index: u64,
}

impl SegmentHeader {
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.ledger);
        out.extend_from_slice(&self.first_index.to_be_bytes());
        append_checksum(out, start);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let short =
            || Fault::EndsInside { needed: len_u64_of(SEGMENT_HEADER_BYTES), found: len_u64(bytes) };
        let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or_else(short)?;
        let mut reader = Reader::new(header, 0);
        let magic: [u8; 4] = reader.array().ok_or_else(short)?;
        let version = reader.u32().ok_or_else(short)?;
        let ledger = reader.array().ok_or_else(short)?;
        let first_index = reader.u64().ok_or_else(short)?;
        let stored = reader.u32().ok_or_else(short)?;
        let computed = crc32c::crc32c(header.get(..SEGMENT_HEADER_BYTES - 4).unwrap_or_default());
        if magic != SEGMENT_MAGIC {
            return Err(Fault::Magic);
        }
        if stored != computed {
            return Err(Fault::HeaderChecksum { stored, computed });
        }
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        Ok(Self { ledger, first_index })
    }
}

/// Path of the segment that begins at `first_index`.
pub(super) fn segment_path(dir: &str, first_index: u64) -> String {
    format!("{dir}/{first_index:020}{NAME_END}")
}

/// The log index that a file name says, or `None` where it is no segment's.
pub(super) fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END)?;
    let all_digits = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}
