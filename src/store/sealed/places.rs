//! Where each entry's parts lie in a bundle, so that one event is read without its 255 neighbours.
//!
//! In scope: finding the places in one pass over the parts' headers, and decoding what was read from a
//! place. Out of scope: keeping places, which is the reader's business. Invariants: blobs are passed
//! over unread, however large; a place that was wrong, or that no longer fits its file, shows when what
//! is there is decoded: parts must fill it exactly and match their checksums.

use super::super::codec::Reader;
use super::{
    BUNDLE_ENTRIES_MAX, BundleMask, SealedBundle, SealedError, StoredPart, begin, decode_parts,
};

/// Bytes read at once while looking for places: a bundle of small events in one go.
const WINDOW_BYTES: usize = 256 << 10;

/// Bytes before the first entry.
const HEAD_BYTES: usize = 14;

/// Bytes of a part's header before its owners, and of its length and checksum after them.
const BEFORE_OWNERS_BYTES: usize = 3;
const AFTER_OWNERS_BYTES: usize = 20;

/// Bytes of a masked owner.
const OWNER_BYTES: usize = 8;

/// Where each entry's parts begin in a bundle's file, and where the last ones end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    mask: BundleMask,
    offsets: Vec<u64>,
}

impl Places {
    /// Finds the places in the file of bundle `index`, which is `file_bytes` long. `read` gives that
    /// many bytes from an offset.
    ///
    /// # Errors
    /// What `read` reports, and [`SealedError`] where the file's structure is broken.
    pub fn find<E: From<SealedError>>(
        file_bytes: u64,
        index: u64,
        read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut window = Window { file_bytes, read, begin: 0, bytes: Vec::new() };
        let (_, mask, count) = begin(window.at(0, HEAD_BYTES, 0)?, index)?;
        let mut at = to_u64(HEAD_BYTES);
        let mut offsets = Vec::with_capacity(BUNDLE_ENTRIES_MAX + 1);
        for entry in 0..count {
            offsets.push(at);
            let parts = window.at(at, 1, entry)?.first().copied().unwrap_or(0);
            at = at.saturating_add(1);
            for _ in 0..parts {
                let owners = window.at(at, BEFORE_OWNERS_BYTES, entry)?.last().copied().unwrap_or(0);
                at = at.saturating_add(to_u64(BEFORE_OWNERS_BYTES + usize::from(owners) * OWNER_BYTES));
                let head = window.at(at, AFTER_OWNERS_BYTES, entry)?;
                let blob_bytes = head.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
                at = at.saturating_add(to_u64(AFTER_OWNERS_BYTES)).saturating_add(u64::from(blob_bytes));
            }
            if at > file_bytes {
                return Err(cut(at, entry).into());
            }
        }
        offsets.push(at);
        Ok(Self { mask, offsets })
    }

    /// Which mask key hides the owners in the file.
    #[must_use]
    pub fn mask(&self) -> BundleMask {
        self.mask
    }

    /// Where the parts of an entry begin and how many bytes they take; none beyond the bundle's end.
    #[must_use]
    pub fn of(&self, entry: usize) -> Option<(u64, usize)> {
        let (from, to) = (self.offsets.get(entry)?, self.offsets.get(entry.checked_add(1)?)?);
        Some((*from, usize::try_from(to.checked_sub(*from)?).ok()?))
    }
}

impl SealedBundle {
    /// Decodes the parts of one entry from `bytes`, which lie at `offset` of the bundle's file as
    /// [`Places::of`] told.
    ///
    /// Verifies the checksums of the blobs, not the file's: for reading one event, where opening a
    /// blob authenticates it anyway. What cannot be opened is to be held against
    /// [`SealedBundle::decode`], which also sees changed owners and states.
    ///
    /// # Errors
    /// [`SealedError`] at the first thing that is wrong.
    pub fn decode_entry(bytes: &[u8], offset: u64, entry: u16) -> Result<Vec<StoredPart>, SealedError> {
        let mut reader = Reader::new(bytes, offset);
        let parts = decode_parts(&mut reader, entry)?;
        if reader.remaining() > 0 {
            let what = "the entry's parts end before the next entry begins";
            return Err(SealedError { offset: reader.offset(), entry: Some(entry), role: None, what });
        }
        Ok(parts)
    }
}

/// The piece of a file that was read last.
struct Window<R> {
    file_bytes: u64,
    read: R,
    begin: u64,
    bytes: Vec<u8>,
}

impl<R> Window<R> {
    /// `len` bytes from `at`.
    fn at<E: From<SealedError>>(&mut self, at: u64, len: usize, entry: u16) -> Result<&[u8], E>
    where
        R: FnMut(u64, usize) -> Result<Vec<u8>, E>,
    {
        let held = |begin: u64, bytes: usize| {
            let from = usize::try_from(at.checked_sub(begin)?).ok()?;
            let to = from.checked_add(len)?;
            (to <= bytes).then_some(from..to)
        };
        if held(self.begin, self.bytes.len()).is_none() {
            let left = self.file_bytes.saturating_sub(at);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            if left < len {
                return Err(cut(self.file_bytes, entry).into());
            }
            self.bytes = (self.read)(at, left.min(WINDOW_BYTES))?;
            self.begin = at;
        }
        let found = held(self.begin, self.bytes.len()).and_then(|range| self.bytes.get(range));
        found.ok_or_else(|| cut(at, entry).into())
    }
}

fn cut(offset: u64, entry: u16) -> SealedError {
    let what = "the file ends inside the entry's parts";
    SealedError { offset, entry: Some(entry), role: None, what }
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
