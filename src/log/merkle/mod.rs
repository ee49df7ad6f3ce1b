//! RFC 6962 / RFC 9162 Merkle trees: roots, proofs, and their verification.
//!
//! In scope: the tree's shape, proofs built from a [`HashReader`] (submodule `build`), their
//! verification against nothing but hashes (submodule `verify`), the compact range a writer keeps
//! ([`Frontier`]) and a small tree held in memory ([`MemoryTree`]). Out of scope: where hashes are
//! stored ([`super::tile`]) and who signs roots ([`super::checkpoint`]). Invariants: nothing
//! recurses; a proof has at most [`PROOF_HASHES_MAX`] hashes for one leaf or one older tree, twice
//! that for a range; verification consumes every hash it is given or refuses.

mod build;
mod frontier;
mod memory;
mod verify;

#[cfg(test)]
mod tests;

pub use build::{BuildError, consistency_proof, inclusion_proof, range_proof, root};
pub use frontier::Frontier;
pub use memory::{MemoryTree, NoSuchNode};
pub use verify::{ProofError, verify_consistency, verify_inclusion, verify_range};

use super::hash::Hash;

/// Most hashes in an inclusion or consistency proof that a C2SP format carries: a tree of at most
/// 2^63 leaves has 63 levels above its leaves (tlog-witness, tlog-proof: "up to 63").
pub const PROOF_HASHES_MAX: usize = 63;

/// Where the hashes of complete subtrees come from.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error;

    /// Hash of the complete subtree of `2^level` leaves number `index`, which covers the leaves
    /// `index << level ..= (index << level) + 2^level - 1`.
    ///
    /// # Errors
    /// The reader's own, for instance where the subtree is not complete in its tree.
    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

impl<R: HashReader + ?Sized> HashReader for &R {
    type Error = R::Error;

    fn read(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        (**self).read(level, index)
    }
}

/// Size of the left child of a tree with `leaves` leaves, two or more: the largest power of two
/// strictly below that number (RFC 6962 section 2.1).
fn split(leaves: u64) -> u64 {
    1 << leaves.saturating_sub(1).checked_ilog2().unwrap_or(0)
}

/// Number of siblings on the way from leaf `index` to the root of a tree of `size` leaves, where
/// `index < size`: one for each level below the point where the path leaves the right edge, then
/// one for each left turn's complete left sibling above it.
fn path_len(index: u64, size: u64) -> u32 {
    let below = u64::BITS - (index ^ (size - 1)).leading_zeros();
    below + index.checked_shr(below).unwrap_or(0).count_ones()
}
