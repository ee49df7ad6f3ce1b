//! Roots and proofs, built by reading complete subtrees.

use super::{HashReader, split};
use crate::log::hash::{Hash, LogIndex, TreeSize, empty_root, node_hash};

/// A proof could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// The proof was asked for leaves that the tree does not have, or for none.
    #[error("leaves {begin}..{end} are no part of a tree of {size} leaves")]
    OutOfRange {
        /// First leaf asked for.
        begin: u64,
        /// Leaf after the last one asked for.
        end: u64,
        /// Size of the tree asked about.
        size: u64,
    },
    /// A hash could not be read.
    #[error("a hash of the tree could not be read")]
    Reader(#[source] E),
}

/// Hash over leaves `begin..end`, a subtree of an RFC 6962 tree: not empty, and `begin` a multiple
/// of the smallest power of two that is no smaller than `end - begin`. Reads one hash for each bit
/// set in its size, smallest subtree first, which is the order they are combined in.
fn subtree<R: HashReader>(begin: u64, end: u64, reader: &R) -> Result<Hash, R::Error> {
    let mut left = end - begin;
    let mut at = end;
    let mut hash = None;
    while left != 0 {
        let level = left.trailing_zeros();
        left &= left - 1;
        at -= 1 << level;
        let peak = reader.read(level.try_into().unwrap_or(u8::MAX), at >> level)?;
        hash = Some(hash.map_or(peak, |right| node_hash(&peak, &right)));
    }
    Ok(hash.unwrap_or_else(empty_root))
}

/// Root of the tree of `size` leaves (RFC 6962 section 2.1).
///
/// # Errors
/// The reader's.
pub fn root<R: HashReader>(size: TreeSize, r: &R) -> Result<Hash, R::Error> {
    subtree(0, size.0, r)
}

/// Proof that leaf `index` is in the tree of `size` leaves: PATH of RFC 6962 section 2.1.1, sibling
/// of the leaf first.
///
/// ```
/// use counterfoil::log::hash::{LogIndex, TreeSize, leaf_hash};
/// use counterfoil::log::merkle::{self, MemoryTree};
/// let mut tree = MemoryTree::new();
/// for n in 0..7 {
///     tree.push(leaf_hash(format!("entry-{n}").as_bytes()));
/// }
/// let (index, size) = (LogIndex(2), TreeSize(7));
/// let proof = merkle::inclusion_proof(index, size, &tree).unwrap();
/// let leaf = leaf_hash(b"entry-2");
/// assert!(merkle::verify_inclusion(index, size, &leaf, &proof, &tree.root()).is_ok());
/// ```
///
/// # Errors
/// [`BuildError::OutOfRange`] unless `index < size`; [`BuildError::Reader`] if a hash is missing.
pub fn inclusion_proof<R: HashReader>(
    index: LogIndex,
    size: TreeSize,
    r: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    let (index, size) = (index.0, size.0);
    if index >= size {
        let end = index.saturating_add(1);
        return Err(BuildError::OutOfRange { begin: index, end, size });
    }
    let mut proof = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        let sibling = if index < middle { (middle, end) } else { (begin, middle) };
        proof.push(subtree(sibling.0, sibling.1, r).map_err(BuildError::Reader)?);
        if index < middle { end = middle } else { begin = middle }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `from` leaves is a prefix of the tree of `to` leaves: PROOF of RFC 6962
/// section 2.1.2. Empty where `from` is 0 (C2SP tlog-witness) or equals `to`.
///
/// # Errors
/// [`BuildError::OutOfRange`] where `from > to`; [`BuildError::Reader`] if a hash is missing.
pub fn consistency_proof<R: HashReader>(
    from: TreeSize,
    to: TreeSize,
    r: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    let (from, to) = (from.0, to.0);
    if from > to {
        return Err(BuildError::OutOfRange { begin: 0, end: from, size: to });
    }
    let mut proof = Vec::new();
    if from == 0 {
        return Ok(proof);
    }
    // The verifier knows the old root, so a subtree that is the whole old tree is left out.
    let (mut begin, mut end) = (0, to);
    while from != end {
        let middle = begin + split(end - begin);
        let sibling = if from <= middle { (middle, end) } else { (begin, middle) };
        proof.push(subtree(sibling.0, sibling.1, r).map_err(BuildError::Reader)?);
        if from <= middle { end = middle } else { begin = middle }
    }
    if begin != 0 {
        proof.push(subtree(begin, end, r).map_err(BuildError::Reader)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that certain leaves are exactly `begin..end` of the tree of `size` leaves: the hashes of
/// the largest subtrees that hold none of them, from left to right. At most `2 log2 size` hashes.
///
/// Left of the range these are the complete subtrees that `begin` is the sum of, right of it the
/// right siblings on the way from the last leaf of the range to the root.
///
/// # Errors
/// [`BuildError::OutOfRange`] unless `begin < end <= size`; [`BuildError::Reader`] if a hash is
/// missing.
pub fn range_proof<R: HashReader>(
    begin: u64,
    end: u64,
    size: TreeSize,
    r: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    let size = size.0;
    if begin >= end || end > size {
        return Err(BuildError::OutOfRange { begin, end, size });
    }
    let mut proof = Vec::new();
    let mut at = 0;
    while at != begin {
        let leaves = 1 << (begin - at).ilog2();
        proof.push(subtree(at, at + leaves, r).map_err(BuildError::Reader)?);
        at += leaves;
    }
    let left = proof.len();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if end <= middle {
            proof.push(subtree(middle, high, r).map_err(BuildError::Reader)?);
            high = middle;
        } else {
            low = middle;
        }
    }
    if let Some(right) = proof.get_mut(left..) {
        right.reverse();
    }
    Ok(proof)
}
