//! Changing the key tree: building the new nodes, making them count, finishing after a crash.
//!
//! In scope: puts, destruction, recovery. Out of scope: reading. The order of writes is the whole
//! point; the header of [`keytree`](super) says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Inner, check_range, secret_of};
use crate::clock::random_fill;
use crate::vault::cache::OpenNode;
use crate::vault::change::{Change, Kind};
use crate::vault::custody::RootKey;
use crate::vault::error::VaultError;
use crate::vault::mac::{SECRET_BYTES, Secret};
use crate::vault::node::{Node, NodeId, digit};
use crate::vault::slot::{Slot, SlotNumber};

/// Nodes as they will be, children before parents.
type Work = BTreeMap<NodeId, OpenNode>;

impl Inner {
    pub(super) fn put(&mut self, batch: &[(SlotNumber, Slot)]) -> Result<(), VaultError> {
        let mut work = Work::new();
        for (number, slot) in batch {
            self.fill(&mut work, *number, slot)?;
        }
        if work.is_empty() {
            return Ok(());
        }
        let change = encode(Kind::Put, &mut work)?;
        self.record(&change)?;
        self.is_unsynced = true;
        for (id, file) in &change.files {
            if let Err(error) = self.files.storage.write(&self.files.path(*id), file) {
                // What is on the disk is whole, but which version of a node is there is not known.
                self.cache.clear();
                return Err(error.into());
            }
        }
        for node in work.into_values() {
            self.cache.insert(Arc::new(node));
        }
        Ok(())
    }

    pub(super) fn replace(
        &mut self,
        destroyed: &[SlotNumber],
        fresh: &[(SlotNumber, Slot)],
    ) -> Result<(), VaultError> {
        let destroyed: BTreeSet<&SlotNumber> = destroyed.iter().collect();
        let mut work = Work::new();
        for number in &destroyed {
            check_range(**number)?;
            let leaf = NodeId::leaf_of(**number);
            let is_present = |leaf: &Node| leaf.is_present(digit(number.0));
            let holds = match work.get(&leaf) {
                Some(open) => is_present(&open.node),
                None => self.find(leaf)?.is_some_and(|open| is_present(&open.node)),
            };
            if holds {
                self.open_for_change(&mut work, leaf)?.node.destroy(digit(number.0));
            }
        }
        if work.is_empty() {
            return self.put(fresh);
        }
        for (number, slot) in fresh {
            // What was destroyed in this very step may be filled again.
            if destroyed.contains(number) {
                self.open_for_change(&mut work, NodeId::leaf_of(*number))?
                    .node
                    .set_slot(digit(number.0), slot);
            } else {
                self.fill(&mut work, *number, slot)?;
            }
        }
        let root_key = self.give_fresh_keys(&mut work)?;
        let change = encode(Kind::Rotation, &mut work)?;
        drop(work);
        self.record(&change)?;
        // From here on a failure leaves the tree between two root keys: only opening it anew tells
        // which of them counts.
        self.must_reopen = true;
        self.cache.clear();
        self.custody.store_new(&root_key)?;
        let kept = self.custody.load()?.ok_or(VaultError::NotReadBack)?;
        if kept.current != root_key {
            return Err(VaultError::NotReadBack);
        }
        self.root_key = root_key;
        self.apply(&change)?;
        self.custody.destroy_old()?;
        self.must_reopen = false;
        Ok(())
    }

    /// Finishes or undoes what a crash left; `has_older` says that the custodian has old keys.
    pub(super) fn recover(&mut self, has_older: bool) -> Result<(), VaultError> {
        if let Some(bytes) = self.files.storage.read(&self.files.change_path())? {
            let change = Change::decode(&bytes)?;
            if counts(&change, &self.root_key) {
                self.apply(&change)?;
            }
        }
        // Old keys go only once the newest is seen to open the tree.
        self.find(NodeId::ROOT)?;
        if has_older {
            self.custody.destroy_old()?;
        }
        Ok(())
    }

    /// Puts `slot` into its leaf in `work`, making the nodes that lead to it.
    fn fill(&mut self, work: &mut Work, number: SlotNumber, slot: &Slot) -> Result<(), VaultError> {
        check_range(number)?;
        let (leaf, digit) = (NodeId::leaf_of(number), digit(number.0));
        let check = |node: &Node| match node.slot(digit) {
            Some(held) if held == *slot => Ok(true),
            Some(_) => Err(VaultError::SlotTaken { slot: number }),
            None if node.is_spent(digit) && number.is_person() => {
                Err(VaultError::SlotSpent { slot: number })
            }
            None => Ok(false),
        };
        let is_there = match work.get(&leaf) {
            Some(open) => check(&open.node)?,
            None => match self.find(leaf)? {
                Some(open) => check(&open.node)?,
                None => false,
            },
        };
        if !is_there {
            self.open_for_change(work, leaf)?.node.set_slot(digit, slot);
        }
        Ok(())
    }

    /// The node in `work`, taken there from the tree, or made there, and then named by its parent.
    fn open_for_change<'w>(
        &mut self,
        work: &'w mut Work,
        id: NodeId,
    ) -> Result<&'w mut OpenNode, VaultError> {
        if !work.contains_key(&id) {
            let open = match self.find(id)? {
                Some(open) => OpenNode::clone(&open),
                None => self.new_child(work, id)?,
            };
            work.insert(id, open);
        }
        work.get_mut(&id).ok_or_else(|| id.damaged())
    }

    /// A new node under a fresh key, which its parent in `work` now holds.
    fn new_child(&mut self, work: &mut Work, id: NodeId) -> Result<OpenNode, VaultError> {
        let parent = id.parent().ok_or_else(|| id.damaged())?;
        // As deep as the tree: five levels, the root being always there.
        let parent = self.open_for_change(work, parent)?;
        let key = fresh_key()?;
        parent.node.set_child_key(id.digit(), &key);
        Ok(OpenNode { key, node: Node::empty(id) })
    }

    /// Fresh keys for every node of `work` and all nodes above them; the root's is returned.
    fn give_fresh_keys(&mut self, work: &mut Work) -> Result<RootKey, VaultError> {
        let mut touched: Vec<NodeId> = work.keys().copied().collect();
        while let Some(id) = touched.pop() {
            let Some(parent) = id.parent() else { continue };
            if !work.contains_key(&parent) {
                self.open_for_change(work, parent)?;
                touched.push(parent);
            }
        }
        let ids: Vec<NodeId> = work.keys().copied().collect();
        for id in ids {
            let key = fresh_key()?;
            if let Some(parent) = id.parent().and_then(|parent| work.get_mut(&parent)) {
                parent.node.set_child_key(id.digit(), &key);
            }
            if let Some(open) = work.get_mut(&id) {
                open.key = key;
            }
        }
        let root = work.get(&NodeId::ROOT).ok_or_else(|| NodeId::ROOT.damaged())?;
        Ok(RootKey::from_bytes(*root.key))
    }

    /// Makes `change` what a crash is recovered from, once nothing depends on the one before it.
    fn record(&mut self, change: &Change) -> Result<(), VaultError> {
        let bytes = change.encode()?;
        let storage = &self.files.storage;
        if self.is_unsynced {
            storage.sync_round()?;
            self.is_unsynced = false;
        }
        Ok(storage.write_durable(&self.files.change_path(), &bytes)?)
    }

    /// Writes the nodes of `change` to their names where they are not there yet, durably.
    fn apply(&mut self, change: &Change) -> Result<(), VaultError> {
        for (id, file) in &change.files {
            if self.files.read(*id)?.as_ref() != Some(file) {
                self.files.storage.write(&self.files.path(*id), file)?;
            }
        }
        // Also where nothing was written: bytes that read back may still be in memory alone, put
        // there by a process that died.
        self.files.storage.sync_round()?;
        self.is_unsynced = false;
        Ok(())
    }
}

/// Whether `change` happened, given the root key in custody.
pub(super) fn counts(change: &Change, root_key: &RootKey) -> bool {
    let opens = |root: &[u8]| Node::decode(NodeId::ROOT, &secret_of(root_key), root).is_ok();
    match change.kind {
        Kind::Put => true,
        // Without the custodian's having its root key, a rotation did not happen, and the nodes it
        // would have replaced are all as they were.
        Kind::Rotation => change.root_file().is_some_and(opens),
    }
}

fn encode(kind: Kind, work: &mut Work) -> Result<Change, VaultError> {
    let file = |(id, open): (&NodeId, &mut OpenNode)| Ok((*id, open.node.encode(&open.key)?));
    let files = work.iter_mut().map(file).collect::<Result<_, VaultError>>()?;
    Ok(Change { kind, files })
}

fn fresh_key() -> Result<Secret, VaultError> {
    let mut key = Secret::new([0; SECRET_BYTES]);
    random_fill(key.as_mut_slice())?;
    Ok(key)
}
