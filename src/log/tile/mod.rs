//! Tiles and entry bundles of a log (C2SP tlog-tiles): names, paths, contents.
//!
//! In scope: which tiles a tree has, how they are named, bundles of entries (submodule `bundle`),
//! a [`HashReader`](super::merkle::HashReader) over tiles (submodule `reader`). Out of scope: storing
//! and serving them, collecting partial ones (`store`, `http`). Invariants: one path per tile,
//! anything else is refused; a tile's hashes are complete nodes, so a tile once full never changes.

mod bundle;
mod reader;

#[cfg(test)]
mod tests;

pub use bundle::{bundle_entries, encode_bundle};
pub use reader::{TileHashReader, TileReadError, TileSource};

use std::fmt::{self, Write};

use super::hash::TreeSize;
use super::text::parse_decimal;

/// Hashes in a full tile, entries in a full bundle: tile height 8, 2^8.
pub const TILE_WIDTH: u64 = 256;
/// [`TILE_WIDTH`] as the width of a full tile or bundle.
const FULL_WIDTH: u16 = 256;
/// Tree levels between one tile level and the next.
const TILE_HEIGHT: u8 = 8;
/// Tile levels that a tree of fewer than 2^64 entries can have: 64 / 8.
const TILE_LEVELS: u8 = 64 / TILE_HEIGHT;
/// Highest tile level that a path may name (tlog-tiles: "0 to 63").
const PATH_LEVEL_MAX: u64 = 63;
/// Longest entry in bytes that a bundle can hold: its length is written in two bytes.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// A tile path or a bundle is not well formed, or a bundle cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The text is not the path of a tile or bundle.
    #[error("{bytes} bytes of text are not the path of a tile")]
    Path {
        /// Length of the text.
        bytes: usize,
    },
    /// An entry is too long for a bundle.
    #[error("entry {entry} of the bundle has {bytes} bytes, more than {ENTRY_BYTES_MAX}")]
    EntryTooLong {
        /// Position of the entry in the bundle.
        entry: usize,
        /// Its length.
        bytes: usize,
    },
    /// A bundle holds at most [`TILE_WIDTH`] entries.
    #[error("the bundle has more than {TILE_WIDTH} entries; the first one too many is at byte {offset}")]
    TooManyEntries {
        /// Where the entry after the last possible one begins.
        offset: usize,
    },
    /// The bundle ends inside an entry.
    #[error("the bundle ends inside the entry that begins at byte {offset}")]
    Truncated {
        /// Where that entry begins, with its length.
        offset: usize,
    },
}

/// A tile of hashes: on level `level`, tile number `index`, its first `width` hashes (1 to 256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Tile level: the hashes are those of complete subtrees of 256^level leaves.
    pub level: u8,
    /// Number of the tile on its level.
    pub index: u64,
    /// Number of hashes, 256 for a full tile.
    pub width: u16,
}

impl TileId {
    /// The path below the log's prefix, such as `tile/0/x001/x234/067` or `tile/1/000.p/12`.
    ///
    /// ```
    /// use counterfoil::log::tile::TileId;
    /// let id = TileId { level: 0, index: 1_234_067, width: 12 };
    /// assert_eq!(id.path(), "tile/0/x001/x234/067.p/12");
    /// assert_eq!(TileId::parse("tile/0/x001/x234/067.p/12"), Ok(id));
    /// ```
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads what [`TileId::path`] writes and nothing else. The level is at most 63.
    ///
    /// # Errors
    /// [`TileError::Path`] for any other text.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let refused = TileError::Path { bytes: path.len() };
        let rest = path.strip_prefix("tile/").ok_or(refused)?;
        let (level, rest) = rest.split_once('/').ok_or(refused)?;
        let level = parse_decimal(level).filter(|level| *level <= PATH_LEVEL_MAX).ok_or(refused)?;
        let (index, width) = parse_index_and_width(rest).ok_or(refused)?;
        Ok(Self { level: level.try_into().map_err(|_| refused)?, index, width })
    }

    /// Length of the tile in bytes, 32 for each hash.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        usize::from(self.width) * super::hash::Hash::LEN
    }

    /// The full tile that this one is the beginning of.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: FULL_WIDTH, ..*self }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_index(f, self.index)?;
        write_width(f, self.width)
    }
}

/// A bundle of entries: bundle number `index`, its first `width` entries (1 to 256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// Number of the bundle; its first entry is number `index * 256` of the log.
    pub index: u64,
    /// Number of entries, 256 for a full bundle.
    pub width: u16,
}

impl BundleId {
    /// The path below the log's prefix, such as `tile/entries/000.p/3`.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads what [`BundleId::path`] writes and nothing else.
    ///
    /// # Errors
    /// [`TileError::Path`] for any other text.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let rest = path.strip_prefix("tile/entries/").and_then(parse_index_and_width);
        let (index, width) = rest.ok_or(TileError::Path { bytes: path.len() })?;
        Ok(Self { index, width })
    }

    /// The full bundle that this one is the beginning of.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: FULL_WIDTH, ..*self }
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_index(f, self.index)?;
        write_width(f, self.width)
    }
}

/// Path of the sealed parts of a bundle's entries, such as `sealed/x001/234`: it mirrors the
/// bundle's path, without a width, because the file is rewritten as it grows and as parts go.
#[must_use]
pub fn sealed_path(bundle: u64) -> String {
    struct Sealed(u64);
    impl fmt::Display for Sealed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("sealed/")?;
            write_index(f, self.0)
        }
    }
    Sealed(bundle).to_string()
}

/// Width of the partial tile that ends level `level` of a tree of `size` entries:
/// ⌊size / 256^level⌋ mod 256. Zero means that there is none.
#[must_use]
pub fn partial_width(level: u8, size: TreeSize) -> u16 {
    u16::try_from(nodes_on(level, size) % TILE_WIDTH).unwrap_or(0)
}

/// Number of hashes on tile level `level` of a tree of `size` entries.
fn nodes_on(level: u8, size: TreeSize) -> u64 {
    let shift = u32::from(level) * u32::from(TILE_HEIGHT);
    size.0.checked_shr(shift).unwrap_or(0)
}

/// Numbers and widths of the tiles that `nodes` hashes or entries fill: the full ones, then the
/// partial one if there is any.
fn filled(nodes: u64) -> impl Iterator<Item = (u64, u16)> {
    let full = nodes / TILE_WIDTH;
    let partial = u16::try_from(nodes % TILE_WIDTH).ok().filter(|width| *width > 0);
    (0..full).map(|index| (index, FULL_WIDTH)).chain(partial.map(|width| (full, width)))
}

/// The tiles of a tree of `size` entries: lowest level first, on each level from left to right.
pub fn tiles_of(size: TreeSize) -> impl Iterator<Item = TileId> {
    (0..TILE_LEVELS).flat_map(move |level| {
        filled(nodes_on(level, size)).map(move |(index, width)| TileId { level, index, width })
    })
}

/// The bundles of a log of `size` entries, from left to right.
pub fn bundles_of(size: TreeSize) -> impl Iterator<Item = BundleId> {
    filled(size.0).map(|(index, width)| BundleId { index, width })
}

/// Writes a tile's number in groups of three digits, all but the last prefixed with `x`.
fn write_index(f: &mut impl Write, index: u64) -> fmt::Result {
    // 2^64 has 20 decimal digits, that is 7 groups; the highest group is the sixth power of 1000.
    let mut divisor = 1_000_u64.pow(6);
    while divisor > 1 {
        if index >= divisor {
            write!(f, "x{:03}/", index / divisor % 1_000)?;
        }
        divisor /= 1_000;
    }
    write!(f, "{:03}", index % 1_000)
}

fn write_width(f: &mut impl Write, width: u16) -> fmt::Result {
    if width == FULL_WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
}

/// Reads what [`write_index`] and [`write_width`] write.
fn parse_index_and_width(text: &str) -> Option<(u64, u16)> {
    let (number, width) = match text.split_once(".p/") {
        Some((number, width)) => (number, parse_decimal(width).filter(|w| (1..TILE_WIDTH).contains(w))?),
        None => (text, TILE_WIDTH),
    };
    let mut index = 0_u64;
    let mut groups = number.split('/').peekable();
    let mut first = true;
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
        let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let needless = first && groups.peek().is_some() && digits == "000";
        if !three || needless {
            return None;
        }
        index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        first = false;
    }
    Some((index, width.try_into().ok()?))
}
