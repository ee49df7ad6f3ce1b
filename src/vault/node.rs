//! One node of the key tree: 64 slots, encrypted as a whole under the node's own key.
//!
//! In scope: the bytes of a node file and what its slots hold. Out of scope: the tree and its files
//! ([`keytree`](super::keytree)).
//!
//! ```text
//! header   "CFK1" · level u8 · index u64 · version u64 · nonce 12                    33 bytes
//! body     AES-256-GCM-SIV(K_node, nonce, aad = header) of
//!            present u64 · spent u64 · 64 slots                                 bit d is slot d
//!          leaf (level 0) slot = secret 32 ‖ meta 32; inner slot = K_child 32; absent = zeros
//! tag      16
//! ```
//! A leaf is 4,161 bytes and an inner node 2,113, however many slots are taken, so that file sizes
//! tell nothing. `spent` marks slots of a leaf whose content was destroyed; inner nodes have none.
//! `version` counts rewrites, for people who compare copies.
//!
//! Invariants: a slot is never both present and spent; absent slots are zeros; plain bytes live in
//! memory that is wiped.

use aes_gcm_siv::Aes256GcmSiv;
use zeroize::{Zeroize, Zeroizing};

use super::aead::{self, NONCE_BYTES, TAG_BYTES};
use super::error::VaultError;
use super::mac::Secret;
use super::slot::{Slot, SlotNumber};
use crate::clock::random_fill;

/// Slots of a node, as a power of two: 2^6 = 64.
pub(super) const FANOUT_BITS: u32 = 6;
const FANOUT: usize = 1 << FANOUT_BITS;
/// Level of the root: leaves are level 0, and five levels of 64 make 2^30 slots.
pub(super) const ROOT_LEVEL: u8 = 4;

const MAGIC: &[u8; 4] = b"CFK1";
const HEADER_BYTES: usize = 4 + 1 + 8 + 8 + NONCE_BYTES;
const BITMAPS_BYTES: usize = 8 + 8;
const LEAF_SLOT_BYTES: usize = 64;
const INNER_SLOT_BYTES: usize = 32;

/// Which node. Ordered by level first, so that children come before their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId {
    pub(super) level: u8,
    pub(super) index: u64,
}

impl NodeId {
    pub(super) const ROOT: Self = Self { level: ROOT_LEVEL, index: 0 };

    /// The leaf that holds `slot`.
    pub(super) fn leaf_of(slot: SlotNumber) -> Self {
        Self { level: 0, index: slot.0 >> FANOUT_BITS }
    }

    /// The node above; `None` for the root.
    pub(super) fn parent(self) -> Option<Self> {
        (self.level < ROOT_LEVEL)
            .then(|| Self { level: self.level + 1, index: self.index >> FANOUT_BITS })
    }

    /// The child in slot `digit`; `None` below a leaf.
    pub(super) fn child(self, digit: u8) -> Option<Self> {
        let level = self.level.checked_sub(1)?;
        Some(Self { level, index: (self.index << FANOUT_BITS) | u64::from(digit) })
    }

    /// Slot of this node in its parent.
    pub(super) fn digit(self) -> u8 {
        digit(self.index)
    }

    /// First leaf below this node (itself for a leaf).
    pub(super) fn first_leaf(self) -> u64 {
        self.index << (FANOUT_BITS * u32::from(self.level))
    }

    /// Last leaf below this node (itself for a leaf).
    pub(super) fn last_leaf(self) -> u64 {
        let below = (1 << (FANOUT_BITS * u32::from(self.level))) - 1;
        self.first_leaf() | below
    }

    pub(super) fn is_valid(self) -> bool {
        self.level <= ROOT_LEVEL && self.index >> (FANOUT_BITS * u32::from(ROOT_LEVEL - self.level)) == 0
    }

    fn slot_bytes(self) -> usize {
        if self.level == 0 { LEAF_SLOT_BYTES } else { INNER_SLOT_BYTES }
    }

    pub(super) fn file_bytes(self) -> usize {
        HEADER_BYTES + BITMAPS_BYTES + FANOUT * self.slot_bytes() + TAG_BYTES
    }

    pub(super) fn damaged(self) -> VaultError {
        VaultError::NodeDamaged { level: self.level, index: self.index }
    }
}

/// How often the node in these bytes was written: files of one node are told apart by it without a key.
/// `None` for bytes that are no node's.
#[must_use]
pub fn version_of(file: &[u8]) -> Option<u64> {
    let (magic, rest) = file.split_first_chunk::<4>()?;
    let version = rest.get(1 + 8..)?.first_chunk::<8>()?;
    (magic == MAGIC).then_some(u64::from_be_bytes(*version))
}

/// Slot in its node: the low six bits.
pub(super) fn digit(number: u64) -> u8 {
    u8::try_from(number & 63).unwrap_or_default()
}

/// A node in the clear.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    version: u64,
    present: u64,
    spent: u64,
    slots: Zeroizing<Vec<u8>>,
}

impl Node {
    /// A node without anything in it.
    pub(super) fn empty(id: NodeId) -> Self {
        let slots = Zeroizing::new(vec![0; FANOUT * id.slot_bytes()]);
        Self { id, version: 0, present: 0, spent: 0, slots }
    }

    pub(super) fn is_present(&self, digit: u8) -> bool {
        self.present & bit(digit) != 0
    }

    pub(super) fn is_spent(&self, digit: u8) -> bool {
        self.spent & bit(digit) != 0
    }

    /// Slots that hold something.
    pub(super) fn present(&self) -> impl DoubleEndedIterator<Item = u8> {
        let present = self.present;
        (0..64).filter(move |digit| present & bit(*digit) != 0)
    }

    /// The highest slot that holds or held something.
    pub(super) fn last_used(&self) -> Option<u8> {
        (0..64).rev().find(|digit| (self.present | self.spent) & bit(*digit) != 0)
    }

    /// What a leaf's slot holds.
    pub(super) fn slot(&self, digit: u8) -> Option<Slot> {
        let (secret, rest) = self.bytes(digit)?.split_first_chunk()?;
        let meta = rest.first_chunk()?;
        Some(Slot { secret: Zeroizing::new(*secret), meta: *meta })
    }

    /// Puts `slot` into a leaf.
    pub(super) fn set_slot(&mut self, digit: u8, slot: &Slot) {
        self.set(digit, [slot.secret.as_slice(), slot.meta.as_slice()]);
    }

    /// The key of an inner node's child.
    pub(super) fn child_key(&self, digit: u8) -> Option<Secret> {
        self.bytes(digit)?.first_chunk().map(|key| Zeroizing::new(*key))
    }

    /// Puts the key of a child into an inner node.
    pub(super) fn set_child_key(&mut self, digit: u8, key: &Secret) {
        self.set(digit, [key.as_slice(), &[]]);
    }

    /// Wipes a leaf's slot and marks it spent.
    pub(super) fn destroy(&mut self, digit: u8) {
        if let Some(bytes) = self.bytes_mut(digit) {
            bytes.zeroize();
        }
        self.present &= !bit(digit);
        self.spent |= bit(digit);
    }

    fn set(&mut self, digit: u8, fields: [&[u8]; 2]) {
        if let Some(bytes) = self.bytes_mut(digit) {
            for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
                *to = *from;
            }
        }
        self.present |= bit(digit);
        self.spent &= !bit(digit);
    }

    fn bytes(&self, digit: u8) -> Option<&[u8]> {
        let present = self.is_present(digit);
        self.slots.chunks_exact(self.id.slot_bytes()).nth(usize::from(digit)).filter(|_| present)
    }

    fn bytes_mut(&mut self, digit: u8) -> Option<&mut [u8]> {
        self.slots.chunks_exact_mut(self.id.slot_bytes()).nth(usize::from(digit))
    }

    /// The node's file under `key`, as the next version, with a fresh nonce.
    pub(super) fn encode(&mut self, key: &Secret) -> Result<Vec<u8>, VaultError> {
        self.version = self.version.saturating_add(1);
        let mut nonce = [0; NONCE_BYTES];
        random_fill(&mut nonce)?;
        let mut file = Vec::with_capacity(self.id.file_bytes());
        file.extend_from_slice(MAGIC);
        file.push(self.id.level);
        file.extend_from_slice(&self.id.index.to_be_bytes());
        file.extend_from_slice(&self.version.to_be_bytes());
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&self.present.to_be_bytes());
        file.extend_from_slice(&self.spent.to_be_bytes());
        file.extend_from_slice(&self.slots);
        let (header, body) = file.split_at_mut_checked(HEADER_BYTES).unwrap_or_default();
        let Ok(tag) = aead::encrypt(&cipher(key), nonce, header, body) else {
            file.zeroize();
            return Err(self.id.damaged());
        };
        file.extend_from_slice(&tag);
        Ok(file)
    }

    /// The node `id` from its file.
    pub(super) fn decode(id: NodeId, key: &Secret, file: &[u8]) -> Result<Self, VaultError> {
        Self::decode_inner(id, key, file).ok_or_else(|| id.damaged())
    }

    fn decode_inner(id: NodeId, key: &Secret, file: &[u8]) -> Option<Self> {
        if file.len() != id.file_bytes() {
            return None;
        }
        let (header, rest) = file.split_at_checked(HEADER_BYTES)?;
        let (magic, fields) = header.split_first_chunk::<4>()?;
        let (level, fields) = fields.split_first()?;
        let (index, fields) = fields.split_first_chunk::<8>()?;
        let (version, nonce) = fields.split_first_chunk::<8>()?;
        let found = NodeId { level: *level, index: u64::from_be_bytes(*index) };
        if magic != MAGIC || found != id {
            return None;
        }
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut body = Zeroizing::new(body.to_vec());
        aead::decrypt(&cipher(key), nonce.try_into().ok()?, header, &mut body, *tag).ok()?;
        let (present, rest) = body.split_first_chunk::<8>()?;
        let (spent, slots) = rest.split_first_chunk::<8>()?;
        let (present, spent) = (u64::from_be_bytes(*present), u64::from_be_bytes(*spent));
        let slots = Zeroizing::new(slots.to_vec());
        let node = Self { id, version: u64::from_be_bytes(*version), present, spent, slots };
        (present & spent == 0 && (id.level == 0 || spent == 0)).then_some(node)
    }
}

fn bit(digit: u8) -> u64 {
    1_u64.checked_shl(u32::from(digit)).unwrap_or_default()
}

fn cipher(key: &Secret) -> Aes256GcmSiv {
    aead::cipher(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: NodeId = NodeId { level: 0, index: 0x0012_3456 };

    fn key(byte: u8) -> Secret {
        Zeroizing::new([byte; 32])
    }

    fn slot(byte: u8) -> Slot {
        Slot { secret: key(byte), meta: [byte ^ 0xff; 32] }
    }

    #[test]
    fn a_leaf_comes_back_from_its_file() {
        let mut leaf = Node::empty(LEAF);
        leaf.set_slot(0, &slot(1));
        leaf.set_slot(63, &slot(2));
        leaf.set_slot(5, &slot(3));
        leaf.destroy(5);
        let file = leaf.encode(&key(9)).unwrap();
        assert_eq!(file.len(), 4_161);
        let read = Node::decode(LEAF, &key(9), &file).unwrap();
        assert_eq!(read.present().collect::<Vec<_>>(), [0, 63]);
        assert_eq!((read.slot(0), read.slot(63), read.slot(5)), (Some(slot(1)), Some(slot(2)), None));
        assert!(read.is_spent(5) && !read.is_spent(0));
        assert_eq!(read.version, 1);
        for hidden in [[1; 8], [2; 8], [3; 8], [0xfe; 8], [0; 8]] {
            assert!(!file[HEADER_BYTES..].windows(8).any(|run| run == hidden));
        }
    }

    #[test]
    fn an_inner_node_comes_back_from_its_file() {
        let mut inner = Node::empty(NodeId::ROOT);
        inner.set_child_key(7, &key(4));
        let file = inner.encode(&key(9)).unwrap();
        assert_eq!(file.len(), 2_113);
        let read = Node::decode(NodeId::ROOT, &key(9), &file).unwrap();
        assert_eq!((read.child_key(7), read.child_key(8)), (Some(key(4)), None));
    }

    #[test]
    fn wrong_key_place_length_or_bit_is_damage() {
        let mut leaf = Node::empty(LEAF);
        leaf.set_slot(1, &slot(1));
        let file = leaf.encode(&key(9)).unwrap();
        assert!(Node::decode(LEAF, &key(8), &file).is_err());
        assert!(Node::decode(NodeId { level: 0, index: LEAF.index + 1 }, &key(9), &file).is_err());
        assert!(Node::decode(LEAF, &key(9), &file[..file.len() - 1]).is_err());
        for position in (0..file.len()).step_by(7).chain(0..HEADER_BYTES + 20) {
            let mut changed = file.clone();
            changed[position] ^= 0x10;
            assert!(Node::decode(LEAF, &key(9), &changed).is_err(), "byte {position}");
        }
    }

    #[test]
    fn two_versions_never_share_a_nonce() {
        let mut leaf = Node::empty(LEAF);
        let first = leaf.encode(&key(9)).unwrap();
        let second = leaf.encode(&key(9)).unwrap();
        assert_ne!(first[HEADER_BYTES - NONCE_BYTES..], second[HEADER_BYTES - NONCE_BYTES..]);
    }

    #[test]
    fn numbers_lead_up_and_down_the_tree() {
        let slot = SlotNumber(0x3fff_ffff);
        let mut id = NodeId::leaf_of(slot);
        assert_eq!((id.index, digit(slot.0)), (0x00ff_ffff, 63));
        while let Some(parent) = id.parent() {
            assert!(id.is_valid());
            assert_eq!(parent.child(id.digit()), Some(id));
            assert!(parent.first_leaf() <= id.first_leaf() && id.last_leaf() <= parent.last_leaf());
            id = parent;
        }
        assert_eq!(id, NodeId::ROOT);
        assert_eq!((id.first_leaf(), id.last_leaf()), (0, (1 << 24) - 1));
        assert!(!NodeId { level: 4, index: 1 }.is_valid() && !NodeId { level: 5, index: 0 }.is_valid());
        assert!(!NodeId { level: 0, index: 1 << 24 }.is_valid());
    }
}
