//! Walking the key tree in order of slots.
//!
//! In scope: all persons from a slot on, the next slot for a new person. Out of scope: single slots.
//! Invariant: one leaf's secrets are in memory at a time, and the tree is locked only while one leaf
//! is read, so that walking a large tree holds nobody up.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Inner, KeyTree};
use crate::vault::cache::OpenNode;
use crate::vault::error::VaultError;
use crate::vault::node::{FANOUT_BITS, NodeId};
use crate::vault::slot::{BUNDLE_SLOTS_FROM, Slot, SlotNumber};

/// First leaf that is no longer persons'.
const BUNDLE_LEAVES_FROM: u64 = BUNDLE_SLOTS_FROM >> FANOUT_BITS;

impl KeyTree {
    /// All persons at `slot` and above, ascending. Persons put or destroyed meanwhile may be seen or
    /// not. After an error the iterator ends.
    pub fn persons_from(&self, slot: SlotNumber) -> Persons<'_> {
        Persons { tree: self, next: slot.max(SlotNumber::FIRST_PERSON), leaf: VecDeque::new() }
    }

    /// The slot after the highest that ever was a person's, as far as persons were put. Persons that
    /// are still in the journal alone come on top of it.
    ///
    /// # Errors
    /// [`VaultError::Full`] where there is none left; else what reading the tree reports.
    pub fn next_person_slot(&self) -> Result<SlotNumber, VaultError> {
        let last = self.lock()?.last_person()?;
        let next = last.map_or(SlotNumber::FIRST_PERSON, |last| SlotNumber(last.0.saturating_add(1)));
        let next = next.max(SlotNumber::FIRST_PERSON);
        if next.is_person() { Ok(next) } else { Err(VaultError::Full) }
    }
}

/// Iterator over persons' slots, made by [`KeyTree::persons_from`].
#[derive(Debug)]
pub struct Persons<'a> {
    tree: &'a KeyTree,
    next: SlotNumber,
    leaf: VecDeque<(SlotNumber, Slot)>,
}

impl Persons<'_> {
    /// Reads the next leaf with a person in it; `false` where there is none.
    fn refill(&mut self) -> Result<bool, VaultError> {
        while self.next.is_person() {
            let from_leaf = NodeId::leaf_of(self.next).index;
            let Some(leaf) = self.tree.lock()?.first_leaf(NodeId::ROOT, from_leaf)? else { break };
            let first = SlotNumber(leaf.node.id.index << FANOUT_BITS);
            let found = leaf.node.present().filter_map(|digit| {
                let number = SlotNumber(first.0 | u64::from(digit));
                leaf.node.slot(digit).map(|slot| (number, slot))
            });
            let from = self.next;
            self.leaf.extend(found.filter(|(number, _)| *number >= from && number.is_person()));
            self.next = SlotNumber(first.0 + (1 << FANOUT_BITS));
            if !self.leaf.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Iterator for Persons<'_> {
    type Item = Result<(SlotNumber, Slot), VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.leaf.is_empty() {
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.next = SlotNumber(BUNDLE_SLOTS_FROM);
                    return Some(Err(error));
                }
            }
        }
        self.leaf.pop_front().map(Ok)
    }
}

impl Inner {
    /// The first leaf below `id` whose number is `from_leaf` or more. Five levels deep at most.
    fn first_leaf(&mut self, id: NodeId, from_leaf: u64) -> Result<Option<Arc<OpenNode>>, VaultError> {
        if id.last_leaf() < from_leaf {
            return Ok(None);
        }
        let Some(open) = self.find(id)? else { return Ok(None) };
        if id.level == 0 {
            return Ok(Some(open));
        }
        for child in open.node.present().filter_map(|digit| id.child(digit)) {
            if let Some(leaf) = self.first_leaf(child, from_leaf)? {
                return Ok(Some(leaf));
            }
        }
        Ok(None)
    }

    /// The highest slot of a person that was ever filled, or the ledger's where there is none.
    fn last_person(&mut self) -> Result<Option<SlotNumber>, VaultError> {
        self.last_used(NodeId::ROOT)
    }

    /// The highest slot below `id` and below the bundles that was ever filled. Five levels deep.
    fn last_used(&mut self, id: NodeId) -> Result<Option<SlotNumber>, VaultError> {
        if id.first_leaf() >= BUNDLE_LEAVES_FROM {
            return Ok(None);
        }
        let Some(open) = self.find(id)? else { return Ok(None) };
        if id.level == 0 {
            let used = open.node.last_used();
            return Ok(used.map(|digit| SlotNumber((id.index << FANOUT_BITS) | u64::from(digit))));
        }
        for child in open.node.present().rev().filter_map(|digit| id.child(digit)) {
            if let Some(slot) = self.last_used(child)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}
