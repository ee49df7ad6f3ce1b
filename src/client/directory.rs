//! A directory of the client's: one process, owner-only files.
//!
//! In scope: making it, its lock, its storage. Out of scope: what is in it. Invariant: the lock is
//! held for as long as the storage is.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::{DirLock, DiskStorage};

use super::error::ClientError;

/// A directory that is ours until this is dropped.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) storage: Arc<DiskStorage>,
    path: PathBuf,
    _lock: Arc<DirLock>,
}

impl Directory {
    /// Makes the directory where it is missing, mode 0700, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, ClientError> {
        let failure = |error: std::io::Error| {
            ClientError::Setting(format!("{}: cannot be made: {error}", path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failure)?;
        let lock = DirLock::acquire(path).map_err(|error| ClientError::Locked(error.to_string()))?;
        let storage = DiskStorage::open_private(path)?;
        let path = path.canonicalize().map_err(failure)?;
        Ok(Self { storage: Arc::new(storage), path, _lock: Arc::new(lock) })
    }

    /// Whether `path` leads here.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| path == self.path)
    }
}
