//! A tree grown leaf by leaf, with the bytes of the hash tiles above level 0 that it implies.

use crate::log::hash::{Hash, TreeSize};
use crate::log::merkle::Frontier;
use crate::log::tile::{TILE_WIDTH, TileId};

/// Tree levels per tile level: a tile is 8 levels of the tree high (C2SP tlog-tiles).
const TILE_HEIGHT: u8 = 8;
/// Length of a full hash tile in bytes: 256 hashes.
pub(super) const TILE_BYTES: usize = 256 * Hash::LEN;

/// A tile being filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Number of the tile in its level.
    index: u64,
    /// Its hashes so far.
    bytes: Vec<u8>,
}

/// The tree over the leaves pushed so far.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    frontier: Frontier,
    /// Tiles being filled at tile levels 1, 2, …; at most seven for 2^64 leaves.
    rows: Vec<Row>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { frontier: Frontier::new(), rows: Vec::new() }
    }

    pub(super) fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Adds a leaf. Tiles of level 1 and up that it fills wait to be taken by [`Tree::filled`].
    pub(super) fn push(&mut self, leaf: Hash) {
        let rows = &mut self.rows;
        self.frontier.push(leaf, &mut |level, _, hash| {
            if level == 0 || level % TILE_HEIGHT != 0 {
                return;
            }
            let above = usize::from(level / TILE_HEIGHT - 1);
            if rows.len() <= above {
                rows.resize_with(above + 1, Row::default);
            }
            if let Some(row) = rows.get_mut(above) {
                row.bytes.extend_from_slice(hash.as_bytes());
            }
        });
    }

    /// Takes the full tiles, lowest level first. To be called at least once per 256 leaves, so that
    /// no row holds more than one.
    pub(super) fn filled(&mut self) -> Vec<(TileId, Vec<u8>)> {
        let mut full = Vec::new();
        for (level, row) in (1..).zip(&mut self.rows) {
            if row.bytes.len() >= TILE_BYTES {
                let id = TileId { level, index: row.index, width: 256 };
                full.push((id, std::mem::take(&mut row.bytes)));
                row.index += 1;
            }
        }
        full
    }

    /// Takes the tiles that are partly filled, lowest level first.
    pub(super) fn partial(&mut self) -> Vec<(TileId, Vec<u8>)> {
        let rows = (1..).zip(&mut self.rows).filter(|(_, row)| !row.bytes.is_empty());
        rows.map(|(level, row)| {
            let width = u16::try_from(row.bytes.len() / Hash::LEN).unwrap_or(u16::MAX);
            (TileId { level, index: row.index, width }, std::mem::take(&mut row.bytes))
        })
        .collect()
    }
}

/// How many of 256 leaves bundle number `bundle` has in a tree of `size`; 0 beyond its end.
pub(super) fn bundle_width(bundle: u64, size: u64) -> u16 {
    let before = bundle.saturating_mul(TILE_WIDTH);
    u16::try_from(size.saturating_sub(before).min(TILE_WIDTH)).unwrap_or(0)
}

/// Where two byte strings first differ; a string that ends early differs at its end.
pub(super) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let common = one.iter().zip(other).position(|(a, b)| a != b);
    Some(common.unwrap_or_else(|| one.len().min(other.len())))
}
