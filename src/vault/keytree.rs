//! The tree of keys that makes destruction final (design section 3.5; Reardon and others, "Secure
//! data deletion from persistent media", CCS 2013).
//!
//! In scope: keeping up to 2^30 secrets encrypted under keys that hang below one root key, changing
//! them so that a crash leaves the tree whole, destroying some of them for good. Out of scope: which
//! slot is whose, what is destroyed and when (`ledger`), where the root key is
//! ([`custody`](super::custody)).
//!
//! A radix tree of five levels with 64 slots a node. Slot numbers address leaves; a leaf's slot holds
//! a secret, an inner node's slot the key of a child. The root node's key is with the custodian. Below
//! `prefix`:
//!
//! ```text
//! nodes/<level>/<index>   one file a node (the `node` module has the bytes), leaves at level 0
//! change                  the nodes of the last change (the `change` module has the bytes)
//! ```
//!
//! ## How a change survives a crash
//! The new nodes are first written to `change`, durably; that is the moment a put counts. Then they
//! are written to their own names, which the next sync round makes durable, and `change` stays as it
//! is until that round is known to be over. Opening the tree writes whatever `change` holds and a
//! node's file does not.
//!
//! ## How destruction works
//! Every node from the touched leaves up to the root gets a fresh key, so that the new root key leads
//! to nothing that was destroyed, neither in the new files nor in any old copy of them: the old copies
//! hang under keys that hang under the old root key. The nodes go to `change`; the custodian stores
//! the new root key and gives it back, which is the moment the destruction counts; the nodes go to
//! their names and a sync round ends; only then the old root key is destroyed. A crash before the
//! custodian has the new key undoes the change, one after it is finished when the tree is opened.
//!
//! Invariants: no secret reaches the storage in the clear; a slot's content is never replaced but by
//! destroying it; a person's slot, once destroyed, is not used again; memory for open nodes is
//! bounded by a constant. The tree protects what it holds from being read, not from being replaced
//! by older files: what the log commits to shows that.

mod change;
mod read_only;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

pub use read_only::{KeyReader, PendingNode};
pub use walk::Persons;

use super::cache::{NodeCache, OpenNode};
use super::custody::{RootCustody, RootKey};
use super::error::VaultError;
use super::mac::Secret;
use super::node::{Node, NodeId, digit};
use super::slot::{SLOTS, Slot, SlotNumber};
use crate::store::Storage;

/// The key tree of one vault. One per directory; shared between threads as it is.
pub struct KeyTree {
    inner: Mutex<Inner>,
}

/// What the lock guards: everything, because a reader must not see half of a rotation.
struct Inner {
    files: Files,
    custody: Box<dyn RootCustody>,
    root_key: RootKey,
    cache: NodeCache,
    /// Whether nodes were written that no known sync round covers.
    is_unsynced: bool,
    /// Whether a change failed between its parts.
    must_reopen: bool,
}

/// Names and bytes of the tree's files.
struct Files {
    storage: Arc<dyn Storage>,
    prefix: String,
    /// Nodes that are read instead of their files; only where the tree is opened for reading.
    overlay: BTreeMap<NodeId, Vec<u8>>,
}

impl KeyTree {
    /// Creates an empty tree below `prefix` and its root key.
    ///
    /// # Errors
    /// [`VaultError::Exists`] where the custodian has a root key or the storage more than an empty
    /// root: nothing is overwritten, since a root key that is merely missing may be found again.
    pub fn create(
        storage: Arc<dyn Storage>,
        prefix: &str,
        mut custody: Box<dyn RootCustody>,
    ) -> Result<Self, VaultError> {
        let files = Files::new(storage, prefix);
        if custody.load()?.is_some() || files.hold_secrets()? {
            return Err(VaultError::Exists);
        }
        let root_key = RootKey::generate()?;
        let root = Node::empty(NodeId::ROOT).encode(&secret_of(&root_key))?;
        files.storage.write_durable(&files.path(NodeId::ROOT), &root)?;
        custody.store_new(&root_key)?;
        match custody.load()? {
            Some(kept) if kept.current == root_key => Ok(Self::of(files, custody, root_key)),
            _ => Err(VaultError::NotReadBack),
        }
    }

    /// Opens the tree below `prefix`, finishing or undoing what a crash interrupted.
    ///
    /// # Errors
    /// [`VaultError::NoRootKey`] where the custodian has none; [`VaultError::NodeDamaged`] for the
    /// root where the key is another tree's or another time's; else the storage's and custodian's.
    pub fn open(
        storage: Arc<dyn Storage>,
        prefix: &str,
        custody: Box<dyn RootCustody>,
    ) -> Result<Self, VaultError> {
        let files = Files::new(storage, prefix);
        let keys = custody.load()?.ok_or(VaultError::NoRootKey)?;
        let tree = Self::of(files, custody, keys.current);
        tree.lock()?.recover(keys.has_older)?;
        Ok(tree)
    }

    /// Opens the tree, or creates it where there is neither a root key nor a node.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(
        storage: Arc<dyn Storage>,
        prefix: &str,
        custody: Box<dyn RootCustody>,
    ) -> Result<Self, VaultError> {
        let files = Files::new(Arc::clone(&storage), prefix);
        if custody.load()?.is_none() && !files.hold_secrets()? {
            return Self::create(storage, prefix, custody);
        }
        Self::open(storage, prefix, custody)
    }

    fn of(files: Files, custody: Box<dyn RootCustody>, root_key: RootKey) -> Self {
        let cache = NodeCache::default();
        let inner = Inner { files, custody, root_key, cache, is_unsynced: false, must_reopen: false };
        Self { inner: Mutex::new(inner) }
    }

    /// What `slot` holds; `None` where it was never filled or was destroyed.
    ///
    /// # Errors
    /// [`VaultError`] for a slot beyond the tree and for files that cannot be read.
    pub fn get(&self, slot: SlotNumber) -> Result<Option<Slot>, VaultError> {
        check_range(slot)?;
        let leaf = self.lock()?.find(NodeId::leaf_of(slot))?;
        Ok(leaf.and_then(|leaf| leaf.node.slot(digit(slot.0))))
    }

    /// Whether `slot` held something that was destroyed.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn is_destroyed(&self, slot: SlotNumber) -> Result<bool, VaultError> {
        check_range(slot)?;
        let leaf = self.lock()?.find(NodeId::leaf_of(slot))?;
        Ok(leaf.is_some_and(|leaf| leaf.node.is_spent(digit(slot.0))))
    }

    /// Fills slots, all of them or, after a crash, none. Each touched leaf is written once.
    ///
    /// What is put is durable when this returns: it then stands whole in the tree's `change` file.
    /// The nodes' own files become durable with the next sync round of the storage. Where the tree
    /// has not been told of one by [`synced`](Self::synced), the next put makes its own first.
    ///
    /// Filling a slot with what it holds is no change, so that a fold can be done again.
    ///
    /// # Errors
    /// [`VaultError::SlotTaken`] for a slot that holds something else, [`VaultError::SlotSpent`] for
    /// an erased person's; nothing is changed then. After an error of the storage the change may
    /// count or not; putting it again is safe.
    pub fn put(&self, batch: &[(SlotNumber, Slot)]) -> Result<(), VaultError> {
        self.lock()?.put(batch)
    }

    /// Destroys what `slots` hold. When it returns, the slots' content cannot be had any more from
    /// the tree's files or from any older copy of them, as far as the custodian destroyed the old
    /// root key. Slots that hold nothing are passed over.
    ///
    /// Rewrites each touched leaf and the nodes above it: group what is to be destroyed. Memory and
    /// the size of the step are about 4.2 KB for each leaf touched.
    ///
    /// # Errors
    /// After any error the tree answers [`VaultError::Reopen`] until it is opened anew, which
    /// finishes or undoes the change; then call this again.
    pub fn destroy(&self, slots: &[SlotNumber]) -> Result<(), VaultError> {
        self.replace(slots, &[])
    }

    /// [`destroy`](Self::destroy) and [`put`](Self::put) in one step: either both count or neither.
    /// A slot in both gets new content, a person's too.
    ///
    /// # Errors
    /// Those of both.
    pub fn replace(
        &self,
        destroyed: &[SlotNumber],
        fresh: &[(SlotNumber, Slot)],
    ) -> Result<(), VaultError> {
        self.lock()?.replace(destroyed, fresh)
    }

    /// What the log calls the root key in force by; see [`RootKey::id`].
    ///
    /// # Errors
    /// [`VaultError::Reopen`].
    pub fn root_key_id(&self) -> Result<[u8; 16], VaultError> {
        Ok(self.lock()?.root_key.id())
    }

    /// Tells the tree that a sync round of its storage, begun after the last put returned, is over.
    /// Saves the next put a round of its own; only ever call it after such a round.
    ///
    /// # Errors
    /// [`VaultError::Reopen`].
    pub fn synced(&self) -> Result<(), VaultError> {
        self.lock()?.is_unsynced = false;
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, VaultError> {
        // A poisoned lock means that a thread died inside a change.
        let inner = self.inner.lock().map_err(|_| VaultError::Reopen)?;
        if inner.must_reopen { Err(VaultError::Reopen) } else { Ok(inner) }
    }
}

impl fmt::Debug for KeyTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyTree(…)")
    }
}

impl Inner {
    /// The node `id`, or `None` where no parent names it.
    fn find(&mut self, id: NodeId) -> Result<Option<Arc<OpenNode>>, VaultError> {
        if let Some(found) = self.cache.get(id) {
            return Ok(Some(found));
        }
        let Some(parent) = id.parent() else {
            return self.load(id, secret_of(&self.root_key)).map(Some);
        };
        // As deep as the tree: five levels.
        let Some(parent) = self.find(parent)? else { return Ok(None) };
        parent.node.child_key(id.digit()).map(|key| self.load(id, key)).transpose()
    }

    /// Reads a node that must be there.
    fn load(&mut self, id: NodeId, key: Secret) -> Result<Arc<OpenNode>, VaultError> {
        let missing = VaultError::NodeMissing { level: id.level, index: id.index };
        let file = self.files.read(id)?.ok_or(missing)?;
        let node = Arc::new(OpenNode { node: Node::decode(id, &key, &file)?, key });
        self.cache.insert(Arc::clone(&node));
        Ok(node)
    }
}

impl Files {
    fn new(storage: Arc<dyn Storage>, prefix: &str) -> Self {
        Self { storage, prefix: prefix.to_owned(), overlay: BTreeMap::new() }
    }

    fn path(&self, id: NodeId) -> String {
        format!("{}/nodes/{}/{}", self.prefix, id.level, id.index)
    }

    fn change_path(&self) -> String {
        format!("{}/change", self.prefix)
    }

    fn read(&self, id: NodeId) -> Result<Option<Vec<u8>>, VaultError> {
        match self.overlay.get(&id) {
            Some(file) => Ok(Some(file.clone())),
            None => Ok(self.storage.read(&self.path(id))?),
        }
    }

    /// Whether there is more than the root node that an interrupted creation leaves.
    fn hold_secrets(&self) -> Result<bool, VaultError> {
        let levels = self.storage.list(&format!("{}/nodes", self.prefix))?;
        let root_level = super::node::ROOT_LEVEL.to_string();
        let has_others = levels.iter().any(|level| *level != root_level);
        Ok(has_others || self.storage.exists(&self.change_path())?)
    }
}

fn check_range(slot: SlotNumber) -> Result<(), VaultError> {
    if slot.0 < SLOTS { Ok(()) } else { Err(VaultError::SlotOutOfRange { slot }) }
}

fn secret_of(key: &RootKey) -> Secret {
    Secret::new(*key.expose())
}
