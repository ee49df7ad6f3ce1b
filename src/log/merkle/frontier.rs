//! The compact range `0..size` that a writer keeps instead of the whole tree.

use crate::log::hash::{Hash, TreeSize, empty_root, node_hash};

/// The hashes of the largest complete subtrees of a log, at most 64, largest first: all that is
/// needed to append to it and to compute its root (RFC 6962 section 2.1).
///
/// Invariant: one hash for each bit set in the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a log of `size` entries with these hashes, largest subtree first; `None`
    /// unless there is one hash for each bit set in `size`.
    #[must_use]
    pub fn from_parts(size: TreeSize, hashes: Vec<Hash>) -> Option<Self> {
        let peaks = usize::try_from(size.0.count_ones()).ok()?;
        (hashes.len() == peaks).then_some(Self { size: size.0, hashes })
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Hashes of the complete subtrees, largest first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Root of the log as it stands.
    #[must_use]
    pub fn root(&self) -> Hash {
        let Some((smallest, larger)) = self.hashes.split_last() else {
            return empty_root();
        };
        larger.iter().rev().fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// Appends an entry by its leaf hash and reports every node that this completes, as level,
    /// index on that level and hash: first the leaf itself on level 0, then its ancestors upwards.
    /// Amortised over a log, one hash computation and two reports an entry.
    ///
    /// A log of 2^64 - 1 entries is full and stays as it is.
    pub fn push(&mut self, leaf: Hash, sink: &mut impl FnMut(u8, u64, Hash)) {
        let Some(size) = self.size.checked_add(1) else { return };
        let (mut level, mut index, mut hash) = (0, self.size, leaf);
        sink(level, index, hash);
        while index % 2 == 1 {
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            index /= 2;
            sink(level, index, hash);
        }
        self.hashes.push(hash);
        self.size = size;
    }
}
