//! Encoding a frame while its group is still forming.
//!
//! In scope: the one encoder of the frame's layout (see [`super`]). Out of scope: decoding. Invariant: what
//! a writer holds is always the beginning of a valid frame: a record that breaks a rule leaves no byte.

use super::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_TRAILER_BYTES, FrameError, append_checksum,
};

/// A frame that grows record by record, so that the flush before it hides the work of encoding.
#[derive(Debug, Clone, Default)]
pub struct FrameWriter {
    first_index: u64,
    inbox: u32,
    entries: u32,
    persons: u32,
    records: Vec<u8>,
    wrapped: Vec<u8>,
}

impl FrameWriter {
    /// An empty frame whose first record will have the log index `first_index`, under the inbox key of
    /// this number.
    #[must_use]
    pub fn new(first_index: u64, inbox: u32) -> Self {
        Self { first_index, inbox, ..Self::default() }
    }

    /// Log index of the first record.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// The log index that follows the last record.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.first_index.saturating_add(u64::from(self.entries))
    }

    /// Adds an entry with its sealed parts, each a role, its masked owners and the ciphertext.
    ///
    /// # Errors
    /// [`FrameError`] where the record breaks one of the format's rules; nothing is then added.
    pub fn push<'a, O>(
        &mut self,
        entry: &[u8],
        parts: impl ExactSizeIterator<Item = (u8, O, &'a [u8])>,
    ) -> Result<(), FrameError>
    where
        O: ExactSizeIterator<Item = [u8; 8]>,
    {
        let index = self.next_index();
        let overflow = FrameError::IndexOverflow { first_index: self.first_index };
        index.checked_add(1).ok_or(overflow)?;
        let entries = self.entries.checked_add(1).ok_or_else(|| self.too_large(entry.len()))?;
        let start = self.records.len();
        if let Err(error) = push_record(index, entry, parts, &mut self.records) {
            self.records.truncate(start);
            return Err(error);
        }
        self.entries = entries;
        Ok(())
    }

    /// Adds a person's wrapped secret.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] where no frame could hold it.
    pub fn push_person(&mut self, wrapped: &[u8]) -> Result<(), FrameError> {
        let too_large = || self.too_large(wrapped.len());
        let len = u32::try_from(wrapped.len()).map_err(|_| too_large())?;
        self.persons = self.persons.checked_add(1).ok_or_else(too_large)?;
        self.wrapped.extend_from_slice(&len.to_be_bytes());
        self.wrapped.extend_from_slice(wrapped);
        Ok(())
    }

    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// [`FrameError::Empty`] without a record, [`FrameError::TooLarge`] beyond [`FRAME_BYTES_MAX`]; `out`
    /// is then as it was.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        if self.entries == 0 {
            return Err(FrameError::Empty);
        }
        let body_len = self.records.len().saturating_add(self.wrapped.len());
        let bytes = body_len.saturating_add(FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES);
        if bytes > FRAME_BYTES_MAX {
            return Err(self.too_large(0));
        }
        let body_len = u32::try_from(body_len).map_err(|_| self.too_large(0))?;
        out.reserve(bytes);
        let header_start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&body_len.to_be_bytes());
        out.extend_from_slice(&self.first_index.to_be_bytes());
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.persons.to_be_bytes());
        out.extend_from_slice(&self.inbox.to_be_bytes());
        append_checksum(out, header_start);
        let body_start = out.len();
        out.extend_from_slice(&self.records);
        out.extend_from_slice(&self.wrapped);
        append_checksum(out, body_start);
        Ok(())
    }

    fn too_large(&self, more: usize) -> FrameError {
        let framing = FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES;
        let bytes = self.records.len().saturating_add(self.wrapped.len()).saturating_add(more);
        FrameError::TooLarge { bytes: bytes.saturating_add(framing), limit: FRAME_BYTES_MAX }
    }
}

fn push_record<'a, O>(
    index: u64,
    entry: &[u8],
    parts: impl ExactSizeIterator<Item = (u8, O, &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), FrameError>
where
    O: ExactSizeIterator<Item = [u8; 8]>,
{
    let limit = usize::from(u16::MAX);
    let too_long = |_| FrameError::EntryTooLong { index, bytes: entry.len(), limit };
    out.extend_from_slice(&u16::try_from(entry.len()).map_err(too_long)?.to_be_bytes());
    out.extend_from_slice(entry);
    let byte = |count: usize| u8::try_from(count).map_err(|_| FrameError::TooMany { index, count });
    out.push(byte(parts.len())?);
    let mut before = None;
    for (role, owners, blob) in parts {
        if before.is_some_and(|before| before >= role) {
            return Err(FrameError::PartOrder { index, role });
        }
        before = Some(role);
        out.push(role);
        out.push(byte(owners.len())?);
        for owner in owners {
            out.extend_from_slice(&owner);
        }
        let blob_len = u32::try_from(blob.len())
            .map_err(|_| FrameError::TooLarge { bytes: blob.len(), limit: FRAME_BYTES_MAX })?;
        out.extend_from_slice(&blob_len.to_be_bytes());
        out.extend_from_slice(blob);
    }
    Ok(())
}
