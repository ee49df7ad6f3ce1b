//! Hashes of a tree, read from its tiles.

use std::cell::RefCell;
use std::sync::Arc;

use super::{FULL_WIDTH, TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH, TileId, nodes_on, partial_width};
use crate::log::hash::{Hash, TreeSize, node_hash};
use crate::log::merkle::HashReader;

/// Where tiles come from.
pub trait TileSource {
    /// Why a tile could not be had.
    type Error;

    /// The bytes of a tile: its `width` hashes one after the other. A source that has only the full
    /// tile, because the partial one was collected, may give that.
    ///
    /// # Errors
    /// The source's own, for instance where there is no such tile.
    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, Self::Error>;
}

impl<S: TileSource + ?Sized> TileSource for &S {
    type Error = S::Error;

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, Self::Error> {
        (**self).tile(id)
    }
}

/// A hash could not be read from a tree's tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileReadError<E> {
    /// The tree has no such complete node.
    #[error("a tree of {size} leaves has no complete node {index} on level {level}")]
    OutsideTree {
        /// Level asked for.
        level: u8,
        /// Index asked for.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// A tile is neither as long as its width says nor full.
    #[error("{id} has {bytes} bytes")]
    Length {
        /// The tile.
        id: TileId,
        /// Its length.
        bytes: usize,
    },
    /// The source failed.
    #[error("a tile could not be read")]
    Source(#[source] E),
}

/// The last tile read on a level.
type Kept = Option<(TileId, Arc<[u8]>)>;

/// Reads the hashes of a tree of a given size from its tiles; computes those that lie inside a tile.
///
/// It keeps the last tile of each level, so building one proof asks the source for each tile once.
/// It believes the tiles: what is built from them is worth no more than its agreement with a signed
/// root.
#[derive(Debug)]
pub struct TileHashReader<S> {
    size: TreeSize,
    source: S,
    recent: RefCell<[Kept; TILE_LEVELS as usize]>,
}

impl<S: TileSource> TileHashReader<S> {
    /// A reader of the tree of `size` leaves whose tiles `source` has.
    pub fn new(size: TreeSize, source: S) -> Self {
        Self { size, source, recent: RefCell::default() }
    }

    /// Size of the tree.
    pub fn size(&self) -> TreeSize {
        self.size
    }

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, TileReadError<S::Error>> {
        let level = usize::from(id.level);
        let kept = self.recent.borrow().get(level).cloned().flatten();
        if let Some((_, bytes)) = kept.filter(|(kept_id, _)| *kept_id == id) {
            return Ok(bytes);
        }
        let bytes = self.source.tile(id).map_err(TileReadError::Source)?;
        if bytes.len() != id.len_bytes() && bytes.len() != id.full().len_bytes() {
            return Err(TileReadError::Length { id, bytes: bytes.len() });
        }
        if let Some(slot) = self.recent.borrow_mut().get_mut(level) {
            *slot = Some((id, Arc::clone(&bytes)));
        }
        Ok(bytes)
    }
}

/// Hash of the complete subtree over these hashes, whose number is a power of two up to 128. Halves
/// them, so it is at most seven calls deep.
fn complete(hashes: &[u8]) -> Option<Hash> {
    if hashes.len() <= Hash::LEN {
        return Hash::from_slice(hashes);
    }
    let (left, right) = hashes.split_at_checked(hashes.len() / 2)?;
    Some(node_hash(&complete(left)?, &complete(right)?))
}

impl<S: TileSource> HashReader for TileHashReader<S> {
    type Error = TileReadError<S::Error>;

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let outside = TileReadError::OutsideTree { level, index, size: self.size.0 };
        let complete_nodes = self.size.0.checked_shr(u32::from(level)).unwrap_or(0);
        if index >= complete_nodes {
            return Err(outside);
        }
        let tile_level = level / TILE_HEIGHT;
        let inside = level % TILE_HEIGHT;
        // No overflow: this is the number of a node of the tree, on the tile's own level.
        let first = index << inside;
        let tile = first / TILE_WIDTH;
        let full = tile < nodes_on(tile_level, self.size) / TILE_WIDTH;
        let width = if full { FULL_WIDTH } else { partial_width(tile_level, self.size) };
        let id = TileId { level: tile_level, index: tile, width };
        let bytes = self.tile(id)?;
        let skip = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
        let hashes = bytes.get(skip.saturating_mul(Hash::LEN)..);
        let hashes = hashes.and_then(|hashes| hashes.get(..Hash::LEN << inside));
        let hash = hashes.and_then(complete);
        hash.ok_or(TileReadError::Length { id, bytes: bytes.len() })
    }
}
