//! Page cursors: where to go on, and in which view.
//!
//! In scope: the opaque text a client hands back. Out of scope: its authenticity; a cursor holds
//! no right and no value of an event, so a forged one only starts a search elsewhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of a cursor: version, size, next index, fingerprint of the query.
const CURSOR_BYTES: usize = 1 + 8 + 8 + 8;

/// Version of the layout.
const CURSOR_VERSION: u8 = 1;

/// Where the next page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Size of the view that all pages of the chain share.
    pub size: u64,
    /// The first index not yet considered, in the query's direction.
    pub next: u64,
    /// Fingerprint of the query, so that a cursor is not used with another one.
    pub fingerprint: u64,
}

/// A cursor that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// Not text that a page gave out.
    #[error("`cursor` is not one that this server gave out; start again without it")]
    Malformed,
    /// Given out for other conditions.
    #[error(
        "`cursor` belongs to a query with other conditions; repeat those, or start again without it"
    )]
    OtherQuery,
    /// Names a size this ledger has not reached.
    #[error("`cursor` is for {size} entries, but the ledger has {found}")]
    Ahead {
        /// Size in the cursor.
        size: u64,
        /// Size of the ledger.
        found: u64,
    },
}

impl Cursor {
    /// The text form.
    ///
    /// ```
    /// use counterfoil::history::Cursor;
    /// let cursor = Cursor { size: 10, next: 3, fingerprint: 7 };
    /// assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
    /// ```
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.push(CURSOR_VERSION);
        for number in [self.size, self.next, self.fingerprint] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text form back.
    ///
    /// # Errors
    /// [`CursorError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Malformed)?;
        let (version, rest) = bytes.split_first().ok_or(CursorError::Malformed)?;
        if *version != CURSOR_VERSION || bytes.len() != CURSOR_BYTES {
            return Err(CursorError::Malformed);
        }
        let mut numbers =
            rest.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_be_bytes);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(size), Some(next), Some(fingerprint)) => Ok(Self { size, next, fingerprint }),
            _ => Err(CursorError::Malformed),
        }
    }
}
