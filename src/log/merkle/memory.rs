//! A whole tree in memory, for small trees.

use super::{Frontier, HashReader};
use crate::log::hash::{Hash, TreeSize};

/// Every complete node of a small tree, 64 bytes an entry: posting lists, commitments over a
/// handful of leaves, tests.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    frontier: Frontier,
    levels: Vec<Vec<Hash>>,
}

/// The tree has no such complete node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has no complete node {index} on level {level}")]
pub struct NoSuchNode {
    /// Level asked for.
    pub level: u8,
    /// Index asked for.
    pub index: u64,
    /// Number of leaves.
    pub size: u64,
}

impl MemoryTree {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push(leaf, &mut |level, _, hash| match levels.get_mut(usize::from(level)) {
            Some(nodes) => nodes.push(hash),
            None => levels.push(vec![hash]),
        });
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Root of the tree as it stands.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

impl Extend<Hash> for MemoryTree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        tree.extend(leaves);
        tree
    }
}

impl HashReader for MemoryTree {
    type Error = NoSuchNode;

    fn read(&self, level: u8, index: u64) -> Result<Hash, NoSuchNode> {
        let nodes = self.levels.get(usize::from(level));
        let node = usize::try_from(index).ok().and_then(|index| nodes?.get(index));
        node.copied().ok_or(NoSuchNode { level, index, size: self.frontier.size().0 })
    }
}
