//! The nodes of a key tree that a server may be filling meanwhile.
//!
//! In scope: a set of node files that opens whole under one root key. Out of scope: rotations, which the
//! caller tells by the root key's number and answers with another pass. Invariants: the copy has no `change`
//! file; every node that a copied node names is in the copy.
//!
//! A put writes children before parents under their own keys, and never removes a node. So nodes are
//! copied parents first: a child that a copied parent names is there by then. What a put has recorded in
//! `change` but a crash kept from the nodes' own files is taken from there, where it is newer.

use std::sync::Arc;

use crate::store::{DiskStorage, Storage};
use crate::vault::{KeyReader, LentRoot, StoredRoot, version_of};

use super::BackupError;
use super::files::Files;

/// Levels of the tree, the root's first.
const LEVELS: [u8; 5] = [4, 3, 2, 1, 0];

/// Longest beginning of a node that holds its version.
const VERSION_BYTES: usize = 4 + 1 + 8 + 8;

/// Copies the vault of ledger `name`, whose root key is `root`. `copy` reads the copy.
pub(super) fn copy(
    files: &mut Files<'_>,
    source: &Arc<dyn Storage>,
    copy: &DiskStorage,
    name: &str,
    root: &StoredRoot,
) -> Result<(), BackupError> {
    let prefix = format!("vault/{name}");
    let lent = Box::new(LentRoot::new(root.key.clone()));
    let pending = KeyReader::open(Arc::clone(source), &prefix, lent)?.pending()?;
    for level in LEVELS {
        let dir = format!("{prefix}/nodes/{level}");
        for node in source.list(&dir)? {
            files.take(&format!("{dir}/{node}"))?;
        }
    }
    for node in pending {
        let copied = match copy.len(&node.path)? {
            Some(_) => version_of(&copy.read_range(&node.path, 0, VERSION_BYTES)?),
            None => None,
        };
        if copied < version_of(&node.file) {
            files.put(&node.path, &node.file)?;
        }
    }
    Ok(())
}

/// Opens the copied vault of ledger `name`: its root node and what hangs below it as far as it is read.
pub(super) fn open(dir: &std::path::Path, name: &str, root: &StoredRoot) -> Result<(), BackupError> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(dir)?);
    let lent = Box::new(LentRoot::new(root.key.clone()));
    KeyReader::open(storage, &format!("vault/{name}"), lent)?;
    Ok(())
}
