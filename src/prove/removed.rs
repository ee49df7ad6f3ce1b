//! The removed set: which parts an erasure or a prune took away (docs/format.md section 14).
//!
//! In scope: its items, its root, the bytes of its file, proofs that a part is in it. Out of scope:
//! the entries that commit to it (`event::entry`), removing parts (`ledger`). Invariants: items ascend
//! by key, each key once; a set only grows, so that a number of items names one set of a ledger; what
//! decodes is exactly what was encoded.

use std::convert::Infallible;

use crate::event::facet::Role;
use crate::log::hash::{Hash, LogIndex, TreeSize, leaf_hash, node_hash, sha256};
use crate::log::merkle::{self, BuildError, Frontier, HashReader, ProofError, verify_inclusion};

const KEY_LABEL: &[u8] = b"counterfoil/v1/removed-part\0";
const LEAF_LABEL: &[u8] = b"counterfoil/v1/removed\0";
const MAGIC: [u8; 4] = *b"CFX1";
const HEADER_BYTES: usize = 4 + 8;
const ITEM_BYTES: usize = 32 + 1;
const TRAILER_BYTES: usize = 32;

/// Levels of the tree that are computed again from the items, at most 256 of them, where a proof
/// needs a node; those above are kept.
const LOW_LEVELS: u8 = 8;

/// Why a part is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Removal {
    /// Erased with a person it belonged to.
    Erased,
    /// Its retention was over.
    Pruned,
}

impl Removal {
    /// The byte of this state in an item.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Erased => 1,
            Self::Pruned => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Erased),
            2 => Some(Self::Pruned),
            _ => None,
        }
    }
}

/// One removed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovedItem {
    /// The part's key, see [`removed_key`].
    pub key: Hash,
    /// Why it is gone.
    pub how: Removal,
}

/// The key of an event's part in the set.
#[must_use]
pub fn removed_key(event_key: &Hash, role: Role) -> Hash {
    sha256(&[KEY_LABEL, event_key.as_bytes(), &[role.0]].concat())
}

impl RemovedItem {
    /// The item of an event's part.
    #[must_use]
    pub fn of(event_key: &Hash, role: Role, how: Removal) -> Self {
        Self { key: removed_key(event_key, role), how }
    }

    /// Its leaf in the set's tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        leaf_hash(&[LEAF_LABEL, self.key.as_bytes(), &[self.how.code()]].concat())
    }
}

/// Whether `item` is at `position` of the set of `items` items with this root.
///
/// # Errors
/// Says what does not fit.
pub fn verify_member(
    item: &RemovedItem,
    position: u64,
    items: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    verify_inclusion(LogIndex(position), TreeSize(items), &item.leaf(), path, root)
}

/// Why bytes are not a removed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("removed set, byte {offset}: {what}")]
pub struct RemovedSetError {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// The whole set, 33 bytes an item.
///
/// ```
/// use counterfoil::event::facet::Role;
/// use counterfoil::log::hash::Hash;
/// use counterfoil::prove::removed::{Removal, RemovedItem, RemovedSet, verify_member};
///
/// let part = RemovedItem::of(&Hash([7; 32]), Role::RAW, Removal::Erased);
/// let set = RemovedSet::default().with([part]);
/// let (position, path) = set.prove(&part.key).expect("it is there");
/// assert!(verify_member(&part, position, set.items(), &path, &set.root()).is_ok());
/// assert_eq!(RemovedSet::decode(&set.encode()), Ok(set));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedSet {
    items: Vec<RemovedItem>,
    /// Nodes of level [`LOW_LEVELS`] and above, each level's from the left.
    upper: Vec<Vec<Hash>>,
    root: Option<Hash>,
}

impl RemovedSet {
    fn of(items: Vec<RemovedItem>) -> Self {
        let mut frontier = Frontier::new();
        let mut upper: Vec<Vec<Hash>> = Vec::new();
        for item in &items {
            frontier.push(item.leaf(), &mut |level, _, hash| {
                let Some(level) = level.checked_sub(LOW_LEVELS).map(usize::from) else { return };
                match upper.get_mut(level) {
                    Some(nodes) => nodes.push(hash),
                    None => upper.push(vec![hash]),
                }
            });
        }
        let root = (!items.is_empty()).then(|| frontier.root());
        Self { items, upper, root }
    }

    /// The set with more parts in it. A part that is there already keeps its first state.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = RemovedItem>) -> Self {
        let mut more: Vec<RemovedItem> = more.into_iter().collect();
        more.sort_unstable();
        more.dedup_by_key(|item| item.key);
        let mut merged = Vec::with_capacity(self.items.len() + more.len());
        let mut known = self.items.iter().copied().peekable();
        for item in more {
            while let Some(before) = known.next_if(|known| known.key < item.key) {
                merged.push(before);
            }
            if known.peek().is_none_or(|known| known.key != item.key) {
                merged.push(item);
            }
        }
        merged.extend(known);
        Self::of(merged)
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> u64 {
        u64::try_from(self.items.len()).unwrap_or(u64::MAX)
    }

    /// Root over the items' leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root.unwrap_or_else(crate::log::hash::empty_root)
    }

    /// Why a part is gone; none where the set does not have it.
    #[must_use]
    pub fn find(&self, key: &Hash) -> Option<Removal> {
        let at = self.items.binary_search_by_key(key, |item| item.key).ok()?;
        self.items.get(at).map(|item| item.how)
    }

    /// Position of a part's item, and its audit path, the leaf's sibling first.
    #[must_use]
    pub fn prove(&self, key: &Hash) -> Option<(u64, Vec<Hash>)> {
        let at = self.items.binary_search_by_key(key, |item| item.key).ok()?;
        let at = u64::try_from(at).ok()?;
        let path: Result<_, BuildError<Infallible>> =
            merkle::inclusion_proof(LogIndex(at), TreeSize(self.items()), &Nodes(self));
        Some((at, path.ok()?))
    }

    /// The bytes of its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.items.len() * ITEM_BYTES + TRAILER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.items().to_be_bytes());
        for item in &self.items {
            out.extend_from_slice(item.key.as_bytes());
            out.push(item.how.code());
        }
        let trailer = sha256(&out);
        out.extend_from_slice(trailer.as_bytes());
        out
    }

    /// Reads its file.
    ///
    /// # Errors
    /// [`RemovedSetError`] at the first thing that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, RemovedSetError> {
        let error = |at: usize, what| RemovedSetError { offset: u64::try_from(at).unwrap_or(0), what };
        let (body, trailer) = bytes
            .split_last_chunk::<TRAILER_BYTES>()
            .ok_or_else(|| error(bytes.len(), "the file ends before its checksum does"))?;
        if sha256(body).as_bytes() != trailer {
            return Err(error(body.len(), "the file's checksum does not fit"));
        }
        let (header, rest) = body
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| error(0, "the file ends before its items"))?;
        let (magic, count) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(error(0, "the file does not begin with its magic bytes"));
        }
        let (chunks, surplus) = rest.as_chunks::<ITEM_BYTES>();
        let count = <[u8; 8]>::try_from(count).map_or(0, u64::from_be_bytes);
        if !surplus.is_empty() || u64::try_from(chunks.len()) != Ok(count) {
            return Err(error(MAGIC.len(), "the number of items is another"));
        }
        let mut items: Vec<RemovedItem> = Vec::with_capacity(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            let offset = HEADER_BYTES + at * ITEM_BYTES;
            let [key @ .., code] = chunk;
            let how = Removal::from_code(*code).ok_or_else(|| error(offset + 32, "no such state"))?;
            let item = RemovedItem { key: Hash(*key), how };
            if items.last().is_some_and(|before| before.key >= item.key) {
                return Err(error(offset, "items do not ascend"));
            }
            items.push(item);
        }
        Ok(Self::of(items))
    }
}

/// The complete nodes of a set's tree.
struct Nodes<'a>(&'a RemovedSet);

impl Nodes<'_> {
    fn low(&self, level: u8, index: u64) -> Hash {
        let Some(below) = level.checked_sub(1) else {
            let item = usize::try_from(index).ok().and_then(|at| self.0.items.get(at));
            return item.map_or(Hash::ZERO, RemovedItem::leaf);
        };
        node_hash(&self.low(below, 2 * index), &self.low(below, 2 * index + 1))
    }
}

impl HashReader for Nodes<'_> {
    type Error = Infallible;

    fn read(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        let Some(upper) = level.checked_sub(LOW_LEVELS) else { return Ok(self.low(level, index)) };
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let kept = self.0.upper.get(usize::from(upper)).and_then(|nodes| nodes.get(at));
        Ok(kept.copied().unwrap_or(Hash::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: u64) -> RemovedItem {
        let how = if n.is_multiple_of(3) { Removal::Pruned } else { Removal::Erased };
        RemovedItem::of(&sha256(&n.to_be_bytes()), Role::RAW, how)
    }

    #[test]
    fn grows_in_any_steps_to_the_same_set_and_proves_every_item() {
        for count in [0_u64, 1, 2, 3, 255, 256, 257, 700] {
            let whole = RemovedSet::default().with((0..count).map(item));
            let mut grown = RemovedSet::default();
            for from in (0..count).step_by(97) {
                grown = grown.with((from..count.min(from + 97)).map(item));
            }
            assert_eq!(grown, whole);
            assert_eq!(RemovedSet::decode(&whole.encode()), Ok(whole.clone()));
            for n in 0..count {
                let item = item(n);
                assert_eq!(whole.find(&item.key), Some(item.how));
                let (position, path) = whole.prove(&item.key).unwrap();
                let check = |item: &RemovedItem, position, path: &[Hash]| {
                    verify_member(item, position, whole.items(), path, &whole.root())
                };
                assert!(check(&item, position, &path).is_ok());
                let how = if item.how == Removal::Erased { Removal::Pruned } else { Removal::Erased };
                assert!(check(&RemovedItem { how, ..item }, position, &path).is_err());
                assert!(check(&item, position + 1, &path).is_err());
            }
            assert_eq!(whole.prove(&item(count).key), None);
        }
        assert_eq!(RemovedSet::default().root(), crate::log::hash::empty_root());
    }

    #[test]
    fn a_part_keeps_its_first_state() {
        let (first, second) = (item(1), RemovedItem { how: Removal::Pruned, ..item(1) });
        let set = RemovedSet::default().with([first]);
        assert_eq!(set.with([second]), set);
    }

    #[test]
    fn every_changed_byte_is_an_error() {
        let bytes = RemovedSet::default().with((0..5).map(item)).encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(RemovedSet::decode(&changed).is_err(), "byte {at}");
            assert!(RemovedSet::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
