//! Verification of proofs, against hashes alone.

use super::{Frontier, path_len};
use crate::log::hash::{Hash, LogIndex, TreeSize, empty_root, node_hash};

/// A proof does not prove what it is said to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaves are not leaves of a tree of that size, or there are none.
    #[error("leaves {begin}..{end} are no part of a tree of {size} leaves")]
    OutOfRange {
        /// First leaf.
        begin: u64,
        /// Leaf after the last one.
        end: u64,
        /// Size of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {from} leaves is no prefix of a tree of {to} leaves")]
    Shrunk {
        /// Size of the older tree.
        from: u64,
        /// Size of the newer tree.
        to: u64,
    },
    /// The proof is truncated, or has hashes left over.
    #[error("a proof about these sizes has {expected} hashes, this one has {actual}")]
    Length {
        /// Number of hashes that such a proof has.
        expected: usize,
        /// Number of hashes given.
        actual: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root than the tree of {size} leaves has")]
    RootMismatch {
        /// Size of the tree whose root is another one.
        size: u64,
    },
}

fn check_length(expected: u32, actual: usize) -> Result<(), ProofError> {
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    if expected == actual { Ok(()) } else { Err(ProofError::Length { expected, actual }) }
}

fn check_root(computed: &Hash, root: &Hash, size: u64) -> Result<(), ProofError> {
    if computed == root { Ok(()) } else { Err(ProofError::RootMismatch { size }) }
}

/// A sibling on the way from a leaf to the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The sides of the siblings on the way from node `node` to the root of a tree whose last node on
/// the same level is `last`: the loop of RFC 9162 section 2.1.3.2.
fn climb(mut node: u64, mut last: u64) -> impl Iterator<Item = Side> {
    std::iter::from_fn(move || {
        while last != 0 {
            let (here, rightmost) = (node, last);
            node >>= 1;
            last >>= 1;
            if here % 2 == 1 {
                return Some(Side::Left);
            }
            if here < rightmost {
                return Some(Side::Right);
            }
        }
        None
    })
}

/// Verifies that the entry whose leaf hash is `leaf` is number `index` of the tree of `size`
/// entries that has this `root` (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// [`ProofError`]: the entry cannot be there, the proof is not of the one possible length, or it
/// leads to another root.
pub fn verify_inclusion(
    index: LogIndex,
    size: TreeSize,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let (index, size) = (index.0, size.0);
    if index >= size {
        let end = index.saturating_add(1);
        return Err(ProofError::OutOfRange { begin: index, end, size });
    }
    check_length(path_len(index, size), proof.len())?;
    let siblings = climb(index, size - 1).zip(proof);
    let computed = siblings.fold(*leaf, |hash, (side, sibling)| match side {
        Side::Left => node_hash(sibling, &hash),
        Side::Right => node_hash(&hash, sibling),
    });
    check_root(&computed, root, size)
}

/// Verifies that the tree of `from` entries with root `root_from` is a prefix of the tree of `to`
/// entries with root `root_to` (RFC 9162 section 2.1.4.2). The empty tree is a prefix of every
/// tree and takes the empty proof (C2SP tlog-witness); its root must be that of the empty tree.
///
/// # Errors
/// [`ProofError`]: the older tree is the larger one, the proof is not of the one possible length,
/// or it leads to another root for either size.
pub fn verify_consistency(
    from: TreeSize,
    to: TreeSize,
    proof: &[Hash],
    root_from: &Hash,
    root_to: &Hash,
) -> Result<(), ProofError> {
    let (from, to) = (from.0, to.0);
    if from > to {
        return Err(ProofError::Shrunk { from, to });
    }
    if from == 0 {
        check_root(root_from, &empty_root(), from)?;
    }
    if from == to {
        check_root(root_from, root_to, to)?;
    }
    if from == 0 || from == to {
        return check_length(0, proof.len());
    }
    // The proof starts at the last complete subtree of the older tree. Where that is the whole
    // older tree, the verifier knows its hash and the proof leaves it out.
    let shift = from.trailing_zeros();
    let whole = from.is_power_of_two();
    let (node, last) = ((from - 1) >> shift, (to - 1) >> shift);
    check_length(path_len(node, last + 1) + u32::from(!whole), proof.len())?;
    let (first, rest) = match proof.split_first() {
        Some((first, rest)) if !whole => (first, rest),
        _ => (root_from, proof),
    };
    let siblings = climb(node, last).zip(rest);
    let (old, new) = siblings.fold((*first, *first), |(old, new), (side, sibling)| match side {
        Side::Left => (node_hash(sibling, &old), node_hash(sibling, &new)),
        Side::Right => (old, node_hash(&new, sibling)),
    });
    check_root(&old, root_from, from)?;
    check_root(&new, root_to, to)
}

/// Verifies that the entries with the leaf hashes `leaves` are numbers `begin`, `begin + 1`, … of
/// the tree of `size` entries that has this `root`: all of them, in this order, none between them.
///
/// # Errors
/// [`ProofError`]: there are no leaves, they cannot be there, the proof is not of the one possible
/// length, or it leads to another root.
pub fn verify_range(
    begin: u64,
    leaves: &[Hash],
    size: TreeSize,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let size = size.0;
    let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
    let end = begin.saturating_add(count);
    let out_of_range = ProofError::OutOfRange { begin, end, size };
    let (last_leaf, but_last) = leaves.split_last().ok_or(out_of_range)?;
    if size.checked_sub(begin).is_none_or(|room| count > room) {
        return Err(out_of_range);
    }
    let last = end - 1;
    let on_right = path_len(last, size) - last.count_ones();
    check_length(begin.count_ones() + on_right, proof.len())?;

    // The subtrees left of the range are the frontier of a log of `begin` entries. With all leaves
    // but the last pushed onto it, its peaks are the left siblings on the last leaf's path.
    let left = usize::try_from(begin.count_ones()).unwrap_or(usize::MAX);
    let (peaks, mut right) = proof.split_at_checked(left).ok_or(out_of_range)?;
    let mut frontier = Frontier::from_parts(TreeSize(begin), peaks.to_vec()).ok_or(out_of_range)?;
    for leaf in but_last {
        frontier.push(*leaf, &mut |_, _, _| {});
    }
    let mut left = frontier.hashes();
    let mut computed = *last_leaf;
    for side in climb(last, size - 1) {
        match side {
            Side::Left => {
                if let Some((sibling, others)) = left.split_last() {
                    computed = node_hash(sibling, &computed);
                    left = others;
                }
            }
            Side::Right => {
                if let Some((sibling, others)) = right.split_first() {
                    computed = node_hash(&computed, sibling);
                    right = others;
                }
            }
        }
    }
    check_root(&computed, root, size)
}
