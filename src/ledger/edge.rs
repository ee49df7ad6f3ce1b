//! The right edge of the tree, in memory.
//!
//! In scope: every complete node above the leaves that are not yet in tile files, plus the
//! last tile's worth of nodes per level, so that a receipt's inclusion proof and a new tile
//! are built without reading a file. Out of scope: older nodes ([`super::nodes`] reads those
//! from tiles). Invariant: nodes of one level are contiguous and end at the newest complete one.

use std::collections::VecDeque;

use crate::log::hash::{Hash, TreeSize};
use crate::log::merkle::Frontier;
use crate::log::tile::TILE_WIDTH;

/// Nodes kept per level whatever has been folded: two tiles, so that the tile being written
/// and the one before it are always whole in memory.
const KEPT_NODES: u64 = 2 * TILE_WIDTH;

/// The complete nodes of one level, from `first` on.
#[derive(Debug, Default, Clone)]
struct Level {
    first: u64,
    nodes: VecDeque<Hash>,
}

impl Level {
    fn end(&self) -> u64 {
        self.first + u64::try_from(self.nodes.len()).unwrap_or(u64::MAX)
    }

    fn drop_before(&mut self, first: u64) {
        while self.first < first && self.nodes.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// The growing tree: its frontier and its newest nodes.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    frontier: Frontier,
    levels: Vec<Level>,
}

impl Edge {
    /// The edge of a tree whose first `frontier.size()` leaves are in tile files.
    pub(crate) fn new(frontier: Frontier) -> Self {
        Self { frontier, levels: Vec::new() }
    }

    /// Appends a leaf and records every node that it completes.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push(leaf, &mut |level, index, hash| record(levels, level, index, hash));
    }

    /// Records a complete node that was read back from a tile file at start.
    pub(crate) fn seed(&mut self, level: u8, index: u64, hash: Hash) {
        record(&mut self.levels, level, index, hash);
    }

    /// Number of leaves.
    pub(crate) fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Root hash over all leaves.
    pub(crate) fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The node `index` of `level`, where it is still in memory.
    pub(crate) fn get(&self, level: u8, index: u64) -> Option<Hash> {
        let kept = self.levels.get(usize::from(level))?;
        let at = usize::try_from(index.checked_sub(kept.first)?).ok()?;
        kept.nodes.get(at).copied()
    }

    /// Forgets nodes that only cover leaves below `leaf`, which are in tile files.
    pub(crate) fn forget_below(&mut self, leaf: u64) {
        for (level, kept) in (0_u32..).zip(self.levels.iter_mut()) {
            let folded = leaf.checked_shr(level).unwrap_or(0);
            let newest = kept.end().saturating_sub(KEPT_NODES);
            kept.drop_before(folded.min(newest));
        }
    }
}

fn record(levels: &mut Vec<Level>, level: u8, index: u64, hash: Hash) {
    let at = usize::from(level);
    while levels.len() <= at {
        levels.push(Level::default());
    }
    if let Some(kept) = levels.get_mut(at) {
        if kept.nodes.is_empty() {
            kept.first = index;
        }
        if kept.end() == index {
            kept.nodes.push_back(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::hash::{leaf_hash, node_hash};

    #[test]
    fn keeps_the_newest_nodes_and_drops_folded_ones() {
        let mut edge = Edge::new(Frontier::new());
        for n in 0..2000_u32 {
            edge.push(leaf_hash(&n.to_be_bytes()));
        }
        let pair = node_hash(&leaf_hash(&4_u32.to_be_bytes()), &leaf_hash(&5_u32.to_be_bytes()));
        assert_eq!(edge.get(1, 2), Some(pair));
        edge.forget_below(1024);
        assert_eq!(edge.get(0, 1023), None);
        assert_eq!(edge.get(0, 1024), Some(leaf_hash(&1024_u32.to_be_bytes())));
        assert_eq!(edge.get(1, 2), None, "older than two tiles of its level");
        assert!(edge.get(3, 0).is_some(), "fewer than two tiles of that level exist");
        assert_eq!(edge.get(0, 2000), None);
        assert_eq!(edge.size(), TreeSize(2000));
    }
}
