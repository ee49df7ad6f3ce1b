//! Sealed parts at rest: one file for each bundle of 256 entries, apart from the log.
//!
//! In scope: the bundle's bytes, and telling a part that is there, erased, pruned or damaged. Out of
//! scope: encryption, masking of owners (the vault's), when to erase (the ledger's), and the path
//! (`log::tile::sealed_path`).
//!
//! Layout, big-endian:
//!
//! ```text
//! magic "CFS1" or "CFS2" · bundle u64 · entries u16
//!   per entry   parts u8
//!     per part  role u8 · state u8 (0 sealed, 1 erased, 2 pruned) · owners u8 × 8 bytes
//!               · blob_len u32 · checksum 16 · blob
//! SHA-256 of all before
//! ```
//!
//! The magic says under which of the bundle's two mask keys the owners are masked. `checksum` is the first
//! half of the blob's SHA-256, so that a flipped byte is found and placed without keys.
//!
//! Invariants: one bundle has one encoding (roles ascend strictly, nothing trails); a part that is
//! gone keeps neither blob nor owners, since masked owners that stay equal would link what erasure
//! must unlink.

mod places;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

use sha2::{Digest, Sha256};

use super::codec::Reader;

pub use places::Places;
pub use writer::{PartRef, SealedWriter};

/// Most entries in a bundle, the width of a tile.
pub const BUNDLE_ENTRIES_MAX: usize = 256;

/// Bytes of a part's checksum.
pub const PART_CHECKSUM_BYTES: usize = 16;

const MAGIC_BYTES: usize = 4;

const TRAILER_BYTES: usize = 32;

/// Which of a bundle's two mask keys hides the owners in a file of it. They take turns: an erasure that
/// touches the bundle writes it anew under the other one, and destroys the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum BundleMask {
    /// The one a bundle is first written under.
    #[default]
    First,
    /// The other one.
    Second,
}

impl BundleMask {
    /// The one whose turn is next.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    const fn magic(self) -> [u8; MAGIC_BYTES] {
        match self {
            Self::First => *b"CFS1",
            Self::Second => *b"CFS2",
        }
    }

    fn from_magic(magic: Option<[u8; MAGIC_BYTES]>) -> Option<Self> {
        [Self::First, Self::Second].into_iter().find(|mask| Some(mask.magic()) == magic)
    }
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartState {
    /// Its ciphertext is here.
    Sealed,
    /// Destroyed with a person it belonged to.
    Erased,
    /// Destroyed by retention.
    Pruned,
}

impl PartState {
    /// The byte it is stored as.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Sealed => 0,
            Self::Erased => 1,
            Self::Pruned => 2,
        }
    }

    /// Why it is gone, where it is.
    #[must_use]
    pub const fn gone(self) -> Option<Gone> {
        match self {
            Self::Sealed => None,
            Self::Erased => Some(Gone::Erased),
            Self::Pruned => Some(Gone::Pruned),
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Sealed),
            1 => Some(Self::Erased),
            2 => Some(Self::Pruned),
            _ => None,
        }
    }
}

/// One part of an entry as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPart {
    role: u8,
    state: PartState,
    owners: Vec<[u8; 8]>,
    checksum: [u8; PART_CHECKSUM_BYTES],
    blob: Vec<u8>,
}

impl fmt::Debug for StoredPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredPart")
            .field("role", &self.role)
            .field("state", &self.state)
            .field("owners", &self.owners.len())
            .field("blob_bytes", &self.blob.len())
            .finish_non_exhaustive()
    }
}

impl StoredPart {
    /// A part that is here, with its masked owners.
    #[must_use]
    pub fn sealed(role: u8, owners: Vec<[u8; 8]>, blob: Vec<u8>) -> Self {
        Self { role, state: PartState::Sealed, owners, checksum: checksum_of(&blob), blob }
    }

    /// Hides the owners anew: `mask` is given each one's number in the part and how it is hidden now.
    pub fn mask_again(&mut self, mut mask: impl FnMut(u8, [u8; 8]) -> [u8; 8]) {
        for (ordinal, owner) in (0_u8..).zip(&mut self.owners) {
            *owner = mask(ordinal, *owner);
        }
    }

    /// Destroys the blob and forgets the owners. A part that is gone already keeps its first state.
    pub fn destroy(&mut self, how: Gone) {
        if self.state == PartState::Sealed {
            self.state = how.into();
            self.owners = Vec::new();
            self.blob = Vec::new();
            self.checksum = checksum_of(b"");
        }
    }

    /// Role code.
    #[must_use]
    pub fn role(&self) -> u8 {
        self.role
    }

    /// What became of it.
    #[must_use]
    pub fn state(&self) -> PartState {
        self.state
    }

    /// Its owners' slots, masked; none once it is gone.
    #[must_use]
    pub fn owners(&self) -> &[[u8; 8]] {
        &self.owners
    }

    /// First half of the SHA-256 of [`StoredPart::blob`].
    #[must_use]
    pub fn checksum(&self) -> &[u8; PART_CHECKSUM_BYTES] {
        &self.checksum
    }

    /// The ciphertext; empty once it is gone.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The ciphertext, taken out.
    #[must_use]
    pub fn into_blob(self) -> Vec<u8> {
        self.blob
    }
}

/// Why a part is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// With a person it belonged to.
    Erased,
    /// By retention.
    Pruned,
}

impl From<Gone> for PartState {
    fn from(how: Gone) -> Self {
        match how {
            Gone::Erased => Self::Erased,
            Gone::Pruned => Self::Pruned,
        }
    }
}

/// The sealed parts of up to 256 consecutive entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedBundle {
    /// Bundle number: the first entry's log index divided by 256.
    pub index: u64,
    /// Which mask key hides its owners.
    pub mask: BundleMask,
    /// The parts of each entry, in log order, ascending by role.
    pub entries: Vec<Vec<StoredPart>>,
}

/// Bytes are not the bundle that belongs there, or a bundle has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sealed bundle, byte {offset}{}: {what}", place(*.entry, *.role))]
#[non_exhaustive]
pub struct SealedError {
    /// Where in the file.
    pub offset: u64,
    /// Which entry of the bundle, from 0, where that is known.
    pub entry: Option<u16>,
    /// Role of the part, where that is known.
    pub role: Option<u8>,
    /// What is wrong.
    pub what: &'static str,
}

fn place(entry: Option<u16>, role: Option<u8>) -> String {
    let entry = entry.map_or_else(String::new, |entry| format!(", entry {entry}"));
    role.map_or(entry.clone(), |role| format!("{entry}, part of role {role}"))
}

impl SealedBundle {
    /// The file's bytes.
    ///
    /// ```
    /// use counterfoil::store::sealed::{BundleMask, SealedBundle, StoredPart};
    ///
    /// # fn main() -> Result<(), counterfoil::store::sealed::SealedError> {
    /// let open = StoredPart::sealed(1, vec![], b"ciphertext".to_vec());
    /// let mask = BundleMask::First;
    /// let bundle = SealedBundle { index: 7, mask, entries: vec![vec![open], vec![]] };
    /// let bytes = bundle.encode()?;
    /// assert_eq!(SealedBundle::decode(&bytes, 7)?, bundle);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SealedError`] where there are too many entries, parts or owners, a blob is longer than
    /// 2^32 - 1 bytes, or roles do not ascend.
    pub fn encode(&self) -> Result<Vec<u8>, SealedError> {
        let mut writer = SealedWriter::new(self.index, self.mask, self.encoded_len());
        for parts in &self.entries {
            writer.push(parts.iter().map(StoredPart::as_ref))?;
        }
        Ok(writer.finish())
    }

    fn encoded_len(&self) -> usize {
        let part = |part: &StoredPart| 23 + part.owners.len() * 8 + part.blob.len();
        let entry = |parts: &Vec<StoredPart>| 1 + parts.iter().map(part).sum::<usize>();
        14 + self.entries.iter().map(entry).sum::<usize>() + TRAILER_BYTES
    }

    /// Decodes all of the bundle numbered `index` and verifies every checksum in it.
    ///
    /// # Errors
    /// [`SealedError`] at the first thing that is wrong; a damaged blob is named with its entry and
    /// role.
    pub fn decode(bytes: &[u8], index: u64) -> Result<Self, SealedError> {
        let (mut reader, mask, count) = begin(bytes, index)?;
        let mut entries = Vec::with_capacity(usize::from(count));
        for entry in 0..count {
            entries.push(decode_parts(&mut reader, entry)?);
        }
        let error = |reader: &Reader<'_>, what| {
            Err(SealedError { offset: reader.offset(), entry: None, role: None, what })
        };
        let checked = bytes.len().saturating_sub(reader.remaining());
        let at_trailer = reader.clone();
        let Some(trailer) = reader.array::<TRAILER_BYTES>() else {
            return error(&reader, "the file ends before its checksum does");
        };
        if reader.remaining() > 0 {
            return error(&reader, "bytes follow the file's checksum");
        }
        if Sha256::digest(bytes.get(..checked).unwrap_or_default()).as_slice() != trailer {
            return error(&at_trailer, "the file's checksum does not fit");
        }
        Ok(Self { index, mask, entries })
    }
}

/// Reads what stands before the entries: the mask, and the number of them.
fn begin(bytes: &[u8], index: u64) -> Result<(Reader<'_>, BundleMask, u16), SealedError> {
    let mut reader = Reader::new(bytes, 0);
    let error = |reader: &Reader<'_>, what| SealedError {
        offset: reader.offset(),
        entry: None,
        role: None,
        what,
    };
    let Some(mask) = BundleMask::from_magic(reader.array()) else {
        return Err(error(&Reader::new(bytes, 0), "the file does not begin with its magic bytes"));
    };
    let at = reader.clone();
    if reader.u64() != Some(index) {
        return Err(error(&at, "the file is not the bundle of this number"));
    }
    let at = reader.clone();
    match reader.u16() {
        Some(count) if usize::from(count) <= BUNDLE_ENTRIES_MAX => Ok((reader, mask, count)),
        Some(_) => Err(error(&at, "more than 256 entries")),
        None => Err(error(&at, "the file ends before its entries")),
    }
}

/// A part's fields, borrowed; its checksum is not verified yet.
struct PartFields<'a> {
    role: u8,
    state: u8,
    owners: &'a [u8],
    checksum: [u8; PART_CHECKSUM_BYTES],
    blob: &'a [u8],
    blob_offset: u64,
}

impl<'a> PartFields<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (role, state, owner_count) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let owners = reader.take(usize::from(owner_count).checked_mul(8)?)?;
        let blob_len = usize::try_from(reader.u32()?).ok()?;
        let checksum = reader.array()?;
        let blob_offset = reader.offset();
        let blob = reader.take(blob_len)?;
        Some(Self { role, state, owners, checksum, blob, blob_offset })
    }
}

fn cut_short(reader: &Reader<'_>, entry: u16) -> SealedError {
    let what = "the file ends inside the entry's parts";
    SealedError { offset: reader.offset(), entry: Some(entry), role: None, what }
}

fn decode_parts(reader: &mut Reader<'_>, entry: u16) -> Result<Vec<StoredPart>, SealedError> {
    let count = reader.u8().ok_or_else(|| cut_short(reader, entry))?;
    let mut parts: Vec<StoredPart> = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let begin = reader.offset();
        let fields = PartFields::read(reader).ok_or_else(|| cut_short(reader, entry))?;
        let role = fields.role;
        let error = |offset, what| SealedError { offset, entry: Some(entry), role: Some(role), what };
        if parts.last().is_some_and(|before| before.role >= role) {
            return Err(error(begin, "parts do not ascend by role"));
        }
        let state = PartState::from_code(fields.state);
        let state = state.ok_or_else(|| error(begin.saturating_add(1), "no part has this state"))?;
        if state != PartState::Sealed && !(fields.blob.is_empty() && fields.owners.is_empty()) {
            return Err(error(begin.saturating_add(1), "a part that is gone has a blob or owners"));
        }
        if checksum_of(fields.blob) != fields.checksum {
            return Err(error(fields.blob_offset, "the blob's checksum does not fit"));
        }
        let (owners, _) = fields.owners.as_chunks::<8>();
        let (owners, blob, checksum) = (owners.to_vec(), fields.blob.to_vec(), fields.checksum);
        parts.push(StoredPart { role, state, owners, checksum, blob });
    }
    Ok(parts)
}

fn checksum_of(blob: &[u8]) -> [u8; PART_CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(blob).into();
    digest.first_chunk().copied().unwrap_or_default()
}
