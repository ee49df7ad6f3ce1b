//! Reading tree nodes: from the right edge in memory, and below it from tile files.
//!
//! In scope: the two `HashReader`s of a live ledger. Out of scope: building proofs, which is
//! `log::merkle`'s. Invariant: a node is complete, so it never changes and needs no locking
//! beyond the look at the edge.

use std::sync::{Arc, PoisonError};

use crate::log::hash::{Hash, node_hash};
use crate::log::merkle::HashReader;
use crate::log::tile::TileId;

use super::Shared;
use super::edge::Edge;
use super::error::LedgerError;

/// A node that is not where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {index} of level {level} is not in memory")]
pub struct MissingNode {
    level: u8,
    index: u64,
}

/// The nodes of the right edge alone: enough for proofs of entries just committed.
#[derive(Debug)]
pub(crate) struct EdgeNodes<'a>(pub(crate) &'a Edge);

impl HashReader for EdgeNodes<'_> {
    type Error = MissingNode;

    fn read(&self, level: u8, index: u64) -> Result<Hash, MissingNode> {
        self.0.get(level, index).ok_or(MissingNode { level, index })
    }
}

/// Every node of the ledger.
#[derive(Debug)]
pub(crate) struct LedgerNodes<'a>(pub(crate) &'a Shared);

impl HashReader for LedgerNodes<'_> {
    type Error = LedgerError;

    fn read(&self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let newest = self.0.tail.read().unwrap_or_else(PoisonError::into_inner).edge.get(level, index);
        match newest {
            Some(hash) => Ok(hash),
            None => self.read_tile(level, index),
        }
    }
}

impl LedgerNodes<'_> {
    /// A node below the edge: its tile is full. Inner levels of a tile are hashed from its leaves.
    fn read_tile(&self, level: u8, index: u64) -> Result<Hash, LedgerError> {
        let (tile_level, inner) = (level / 8, level % 8);
        let first = index << inner;
        let id = TileId { level: tile_level, index: first / 256, width: 256 };
        let tile: Arc<[u8]> = self.0.full_tile(id)?;
        let from = usize::try_from(first % 256).unwrap_or(0) * Hash::LEN;
        let length = Hash::LEN << inner;
        let hashes: Option<Vec<Hash>> = tile
            .get(from..from + length)
            .map(|bytes| bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect());
        hashes.map(|hashes| fold_complete(&hashes)).ok_or_else(|| LedgerError::Damage {
            file: id.path(),
            what: format!("{} bytes instead of 8192", tile.len()),
        })
    }
}

/// The root of a complete subtree from its `2^k` nodes of one level.
pub(crate) fn fold_complete(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                _ => None,
            })
            .collect();
    }
    level.first().copied().unwrap_or(Hash::ZERO)
}
