//! Entry bundles: each entry after its length in two bytes, big-endian.

use super::{FULL_WIDTH, TileError};

/// Length of an entry's length.
const PREFIX_LEN: usize = 2;

/// Writes a bundle.
///
/// # Errors
/// [`TileError::EntryTooLong`] for an entry of more than 65,535 bytes, [`TileError::TooManyEntries`]
/// for more than 256 entries.
pub fn encode_bundle<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileError> {
    let mut bundle = Vec::new();
    for (entry, bytes) in entries.enumerate() {
        if entry >= usize::from(FULL_WIDTH) {
            return Err(TileError::TooManyEntries { offset: bundle.len() });
        }
        let too_long = TileError::EntryTooLong { entry, bytes: bytes.len() };
        let len = u16::try_from(bytes.len()).map_err(|_| too_long)?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(bytes);
    }
    Ok(bundle)
}

/// The entries of a bundle. After an error, which names the byte it is about, there are no more.
///
/// ```
/// use counterfoil::log::tile::{TileError, bundle_entries};
/// let mut entries = bundle_entries(b"\0\x01a\0\x05bc");
/// assert_eq!(entries.next(), Some(Ok(b"a".as_slice())));
/// assert_eq!(entries.next(), Some(Err(TileError::Truncated { offset: 3 })));
/// assert_eq!(entries.next(), None);
/// ```
pub fn bundle_entries(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], TileError>> {
    let mut rest = bundle;
    let mut entries = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let offset = bundle.len() - rest.len();
        if entries == FULL_WIDTH {
            rest = &[];
            return Some(Err(TileError::TooManyEntries { offset }));
        }
        entries += 1;
        let Some((entry, after)) = split_entry(rest) else {
            rest = &[];
            return Some(Err(TileError::Truncated { offset }));
        };
        rest = after;
        Some(Ok(entry))
    })
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<PREFIX_LEN>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
