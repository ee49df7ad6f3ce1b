//! Reading a key tree without changing a byte of it.
//!
//! In scope: what a verifier needs of a vault that a server may be changing meanwhile. Out of scope:
//! finishing or undoing an interrupted change, which is the writer's. Invariant: nothing is written;
//! a change that counts is read from its own file, where it stands whole, instead of from the nodes'
//! files, which may not all be there yet.
//!
//! What is read is the tree as it was when it was opened, in part as it is now: where a slot is not
//! found or a node does not open, the caller opens the tree anew before it believes so.

use std::fmt;
use std::sync::Arc;

use super::change::counts;
use super::{Files, KeyTree, NodeId, RootCustody, Slot, SlotNumber, Storage, VaultError};
use crate::vault::change::Change;

/// A node that a change put and whose own file may still be an older one.
pub struct PendingNode {
    /// Path of the node's file, relative to the storage's root.
    pub path: String,
    /// The file's bytes, encrypted as they are on the disk.
    pub file: Vec<u8>,
}

impl fmt::Debug for PendingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingNode").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A key tree opened for reading.
pub struct KeyReader {
    tree: KeyTree,
}

impl KeyReader {
    /// Opens the tree below `prefix` for reading. The storage may be read-only.
    ///
    /// # Errors
    /// Those of [`KeyTree::open`].
    pub fn open(
        storage: Arc<dyn Storage>,
        prefix: &str,
        custody: Box<dyn RootCustody>,
    ) -> Result<Self, VaultError> {
        let keys = custody.load()?.ok_or(VaultError::NoRootKey)?;
        let mut files = Files::new(storage, prefix);
        if let Some(bytes) = files.storage.read(&files.change_path())? {
            let change = Change::decode(&bytes)?;
            if counts(&change, &keys.current) {
                files.overlay = change.files.into_iter().collect();
            }
        }
        let tree = KeyTree::of(files, custody, keys.current);
        tree.lock()?.find(NodeId::ROOT)?;
        Ok(Self { tree })
    }

    /// The nodes of the change that counted when the tree was opened. Whoever copies the nodes' files
    /// takes these instead where they are newer ([`version_of`](crate::vault::version_of)).
    ///
    /// # Errors
    /// Those of [`KeyTree::get`].
    pub fn pending(&self) -> Result<Vec<PendingNode>, VaultError> {
        let inner = self.tree.lock()?;
        let of = |(id, file): (&NodeId, &Vec<u8>)| PendingNode {
            path: inner.files.path(*id),
            file: file.clone(),
        };
        Ok(inner.files.overlay.iter().map(of).collect())
    }

    /// What `slot` holds; `None` where it was never filled or was destroyed.
    ///
    /// # Errors
    /// Those of [`KeyTree::get`].
    pub fn get(&self, slot: SlotNumber) -> Result<Option<Slot>, VaultError> {
        self.tree.get(slot)
    }

    /// Whether `slot` held something that was destroyed.
    ///
    /// # Errors
    /// Those of [`KeyTree::get`].
    pub fn is_destroyed(&self, slot: SlotNumber) -> Result<bool, VaultError> {
        self.tree.is_destroyed(slot)
    }
}

impl fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyReader(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskStorage;
    use crate::vault::FileCustody;
    use std::path::{Path, PathBuf};
    use zeroize::Zeroizing;

    fn slot(byte: u8) -> Slot {
        Slot { secret: Zeroizing::new([byte; 32]), meta: [byte; 32] }
    }

    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn an_interrupted_change_is_read_whole_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let custody = || Box::new(FileCustody::new(dir.path().join("root")));
        let data = dir.path().join("data");
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(&data).unwrap());
        let tree = KeyTree::create(Arc::clone(&storage), "vault", custody()).unwrap();
        tree.put(&[(SlotNumber(1), slot(1))]).unwrap();
        let leaf = format!("vault/nodes/0/{}", NodeId::leaf_of(SlotNumber(1)).index);
        let before = storage.read(&leaf).unwrap().unwrap();
        tree.put(&[(SlotNumber(2), slot(2))]).unwrap();
        drop(tree);
        // As a crash before the sync round leaves it: the leaf is the old one.
        storage.write_durable(&leaf, &before).unwrap();
        drop(storage);
        let written = files(dir.path());
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(&data).unwrap());
        let reader = KeyReader::open(storage, "vault", custody()).unwrap();
        assert_eq!(reader.get(SlotNumber(1)).unwrap(), Some(slot(1)));
        assert_eq!(reader.get(SlotNumber(2)).unwrap(), Some(slot(2)));
        assert_eq!(reader.get(SlotNumber(3)).unwrap(), None);
        assert_eq!(files(dir.path()), written);
    }

    #[test]
    fn a_rotation_that_did_not_happen_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let custody = |name: &str| Box::new(FileCustody::new(dir.path().join(name)));
        let data = dir.path().join("data");
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(&data).unwrap());
        let tree = KeyTree::create(Arc::clone(&storage), "vault", custody("root")).unwrap();
        tree.put(&[(SlotNumber(1), slot(1)), (SlotNumber(2), slot(2))]).unwrap();
        let nodes = files(&data.join("vault/nodes"));
        let old_root = files(&dir.path().join("root"));
        tree.destroy(&[SlotNumber(1)]).unwrap();
        let reader = KeyReader::open(Arc::clone(&storage), "vault", custody("root")).unwrap();
        assert!(reader.is_destroyed(SlotNumber(1)).unwrap());
        assert_eq!(reader.get(SlotNumber(2)).unwrap(), Some(slot(2)));
        drop(tree);
        // The custodian never got the new key, so nothing but the change's file was written.
        std::fs::remove_dir_all(dir.path().join("root")).unwrap();
        for (path, bytes) in old_root {
            crate::vault::secret_file::create(&path, &bytes).unwrap();
        }
        for (path, bytes) in nodes {
            let relative = path.strip_prefix(&data).unwrap().to_str().unwrap().to_owned();
            storage.write_durable(&relative, &bytes).unwrap();
        }
        let reader = KeyReader::open(storage, "vault", custody("root")).unwrap();
        assert_eq!(reader.get(SlotNumber(1)).unwrap(), Some(slot(1)));
    }
}
