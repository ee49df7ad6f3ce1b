//! The bytes of a spool segment.
//!
//! In scope: one file's header and records, written and read. Out of scope: files. Invariant: a record
//! that was written whole and changed since is damage; only an unfinished tail is taken for a write
//! that never ended.
//!
//! ```text
//! segment   "CFSPOOL1" record*
//! record    length u32 · CRC-32C of those 4 bytes u32 · CRC-32C of the event u32 · event
//! ```
//! Integers are big-endian; `event` is one event's canonical JSON. The length has a checksum of its own
//! because a changed length would otherwise pass for an unfinished tail, with everything behind it.

/// First bytes of a segment.
pub(super) const MAGIC: &[u8; 8] = b"CFSPOOL1";

/// Bytes before an event.
pub(super) const HEADER_BYTES: usize = 12;

/// Longest event that is spooled: 2 MiB as a ledger takes it, twice for escapes that a canonical form
/// needs and its source did not.
pub(super) const EVENT_BYTES_MAX: usize = 4 << 20;

/// Appends a record.
pub(super) fn write(event: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&crc32c::crc32c(&length).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(event).to_be_bytes());
    out.extend_from_slice(event);
}

/// What is at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A record, and the bytes after it.
    Record { event: &'a [u8], rest: &'a [u8] },
    /// Nothing at all.
    End,
    /// A record whose writing did not end.
    Torn,
    /// Bytes that were changed since they were written.
    Damaged,
}

/// Reads the next record.
pub(super) fn next(bytes: &[u8]) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    // A file system may have grown the file before it wrote the bytes.
    if bytes.iter().all(|byte| *byte == 0) {
        return Next::Torn;
    }
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Next::Torn };
    let Some((length_crc, rest)) = rest.split_first_chunk::<4>() else { return Next::Torn };
    let count = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let is_length = crc32c::crc32c(length) == u32::from_be_bytes(*length_crc);
    if !is_length || count == 0 || count > EVENT_BYTES_MAX {
        return Next::Damaged;
    }
    let Some((event_crc, rest)) = rest.split_first_chunk::<4>() else { return Next::Torn };
    let Some((event, rest)) = rest.split_at_checked(count) else { return Next::Torn };
    if crc32c::crc32c(event) == u32::from_be_bytes(*event_crc) {
        Next::Record { event, rest }
    } else {
        Next::Damaged
    }
}

/// How far a segment can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes of header and whole records.
    pub(super) end: usize,
    /// Whole records.
    pub(super) records: u64,
}

/// Walks a whole segment; an error is the place of damage.
pub(super) fn walk(segment: &[u8]) -> Result<Extent, usize> {
    let Some(mut rest) = segment.strip_prefix(MAGIC.as_slice()) else {
        let unfinished = MAGIC.starts_with(segment) || segment.iter().all(|byte| *byte == 0);
        return if unfinished { Ok(Extent { end: 0, records: 0 }) } else { Err(0) };
    };
    let mut records = 0;
    loop {
        let at = segment.len() - rest.len();
        match next(rest) {
            Next::Record { rest: after, .. } => rest = after,
            Next::End | Next::Torn => return Ok(Extent { end: at, records }),
            Next::Damaged => return Err(at),
        }
        records += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(events: &[Vec<u8>]) -> (Vec<u8>, usize) {
        let mut bytes = MAGIC.to_vec();
        let mut last = 0;
        for event in events {
            last = bytes.len();
            write(event, &mut bytes);
        }
        (bytes, last)
    }

    proptest! {
        #[test]
        fn a_tail_torn_anywhere_is_cut_and_a_changed_byte_is_found(
            events in proptest::collection::vec(proptest::collection::vec(1_u8.., 1..40), 1..6),
            flip in 1_u8..,
            at in any::<proptest::sample::Index>(),
        ) {
            let (bytes, last) = segment(&events);
            let count = u64::try_from(events.len()).unwrap();
            prop_assert_eq!(walk(&bytes), Ok(Extent { end: bytes.len(), records: count }));
            for cut in last..bytes.len() {
                let whole = Extent { end: last, records: count - 1 };
                prop_assert_eq!(walk(&bytes[..cut]), Ok(whole), "cut at {}", cut);
                let mut zeroed = bytes[..cut].to_vec();
                zeroed.resize(bytes.len(), 0);
                if cut == last {
                    prop_assert_eq!(walk(&zeroed), Ok(whole));
                }
            }
            let mut changed = bytes.clone();
            let at = at.index(bytes.len());
            changed[at] ^= flip;
            prop_assert!(walk(&changed).is_err(), "byte {} changed", at);
        }
    }

    #[test]
    fn a_header_torn_anywhere_is_an_empty_segment() {
        for cut in 0..MAGIC.len() {
            assert_eq!(walk(&MAGIC[..cut]), Ok(Extent { end: 0, records: 0 }));
        }
        assert_eq!(walk(b"another file"), Err(0));
    }
}
