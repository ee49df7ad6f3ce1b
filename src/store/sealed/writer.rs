//! Encoding a sealed bundle entry by entry, from parts that lie elsewhere.
//!
//! In scope: the one encoder of the layout (see [`super`]). Out of scope: decoding. Invariant: what a writer
//! holds is always the beginning of a valid bundle.

use sha2::{Digest, Sha256};

use super::super::memory::len_u64;
use super::{
    BUNDLE_ENTRIES_MAX, BundleMask, Gone, MAGIC_BYTES, PART_CHECKSUM_BYTES, PartState, SealedError,
    StoredPart, checksum_of,
};

/// Where the number of entries stands.
const COUNT_AT: usize = MAGIC_BYTES + 8;

/// A part as it is written: its masked owners and ciphertext are borrowed.
#[derive(Debug, Clone)]
pub struct PartRef<'a, O> {
    role: u8,
    state: PartState,
    owners: O,
    checksum: [u8; PART_CHECKSUM_BYTES],
    blob: &'a [u8],
}

impl<'a, O: ExactSizeIterator<Item = [u8; 8]>> PartRef<'a, O> {
    /// A part that is here, with its masked owners.
    pub fn sealed(role: u8, owners: O, blob: &'a [u8]) -> Self {
        Self { role, state: PartState::Sealed, owners, checksum: checksum_of(blob), blob }
    }

    /// A part that is gone. `none` is the owners of nobody.
    pub fn gone(role: u8, how: Gone, none: O) -> Self {
        Self { role, state: how.into(), owners: none, checksum: checksum_of(b""), blob: &[] }
    }
}

impl StoredPart {
    pub(super) fn as_ref(&self) -> PartRef<'_, impl ExactSizeIterator<Item = [u8; 8]>> {
        let owners = self.owners.iter().copied();
        let (role, state, checksum) = (self.role, self.state, self.checksum);
        PartRef { role, state, owners, checksum, blob: &self.blob }
    }
}

/// A bundle that grows entry by entry.
#[derive(Debug)]
pub struct SealedWriter {
    entries: u16,
    out: Vec<u8>,
}

impl SealedWriter {
    /// The bundle numbered `index`, without entries, whose owners are hidden by `mask`; about `bytes`
    /// will be written.
    #[must_use]
    pub fn new(index: u64, mask: BundleMask, bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&mask.magic());
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        Self { entries: 0, out }
    }

    /// Adds the parts of the next entry.
    ///
    /// # Errors
    /// [`SealedError`] where there are too many entries, parts or owners, a blob is longer than
    /// 2^32 - 1 bytes, or roles do not ascend.
    pub fn push<'a, O>(
        &mut self,
        parts: impl ExactSizeIterator<Item = PartRef<'a, O>>,
    ) -> Result<(), SealedError>
    where
        O: ExactSizeIterator<Item = [u8; 8]>,
    {
        let entry = self.entries;
        if usize::from(entry) >= BUNDLE_ENTRIES_MAX {
            return Err(SealedError {
                offset: len_u64(&self.out),
                entry: None,
                role: None,
                what: "more than 256 entries",
            });
        }
        push_parts(parts, &mut self.out).map_err(|(role, what)| SealedError {
            offset: len_u64(&self.out),
            entry: Some(entry),
            role,
            what,
        })?;
        self.entries += 1;
        Ok(())
    }

    /// The file's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(count) = self.out.get_mut(COUNT_AT..COUNT_AT + 2) {
            count.copy_from_slice(&self.entries.to_be_bytes());
        }
        let trailer = Sha256::digest(&self.out);
        self.out.extend_from_slice(&trailer);
        self.out
    }
}

fn push_parts<'a, O>(
    parts: impl ExactSizeIterator<Item = PartRef<'a, O>>,
    out: &mut Vec<u8>,
) -> Result<(), (Option<u8>, &'static str)>
where
    O: ExactSizeIterator<Item = [u8; 8]>,
{
    out.push(u8::try_from(parts.len()).map_err(|_| (None, "more than 255 parts"))?);
    let mut before = None;
    for part in parts {
        let error = |what| (Some(part.role), what);
        if before.is_some_and(|before| before >= part.role) {
            return Err(error("parts do not ascend by role"));
        }
        before = Some(part.role);
        let owners = u8::try_from(part.owners.len()).map_err(|_| error("more than 255 owners"))?;
        let blob_len = u32::try_from(part.blob.len()).map_err(|_| error("the blob is too long"))?;
        out.extend_from_slice(&[part.role, part.state.code(), owners]);
        for owner in part.owners {
            out.extend_from_slice(&owner);
        }
        out.extend_from_slice(&blob_len.to_be_bytes());
        out.extend_from_slice(&part.checksum);
        out.extend_from_slice(part.blob);
    }
    Ok(())
}
