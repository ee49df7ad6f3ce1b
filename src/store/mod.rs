//! Bytes at rest: the journal, sealed parts, registers, and the backends that hold them.
//!
//! In scope: what is stored under which name, when it is durable, and how damage is told from an
//! interrupted write. Out of scope: what the bytes mean, when to commit, fold or trim (the ledger's
//! business), and sled (the index's).
//!
//! Invariants:
//! * a reader sees a file as it was before a [`Storage::write`] or as it is after, never between;
//! * nothing is durable because it was written, only because a sync that covers it returned;
//! * after a failed sync nothing on that file is ever reported durable again, since the kernel may
//!   have dropped the pages it could not write;
//! * every error names the operation and the relative path, and none holds a byte of content.

mod codec;
mod copy;
pub mod disk;
mod durable;
pub mod faulty;
pub mod frame;
pub mod journal;
pub mod lock;
pub mod memory;
pub mod sealed;
pub mod state;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::io;

pub(crate) use copy::make_empty_private;
pub use copy::{CopiedFile, Copier, OpenSource, Stamp};
pub use disk::DiskStorage;
pub use durable::rename_aside;
pub use faulty::{FaultyStorage, InjectedFault};
pub use frame::{Frame, Record, SealedPart};
pub use journal::{Journal, JournalError, Recovered};
pub use lock::DirLock;
pub use memory::MemoryStorage;
pub use sealed::{PartState, SealedBundle, StoredPart};

/// Longest path a storage takes, in bytes: deep enough for every layout in the design (the deepest
/// is about 80 bytes), short enough for any file system or object store (S3 allows 1,024).
pub const PATH_BYTES_MAX: usize = 1_024;

/// Longest single name in a path, in bytes, the limit of common file systems.
pub const NAME_BYTES_MAX: usize = 255;

/// Directory at a storage's root where files are written before they are renamed into place.
///
/// No path may begin with it and no listing shows it. One directory for all, so that what a crash
/// leaves behind is found without walking the tree.
pub const TEMPORARY_DIR: &str = ".tmp";

/// A tree of named byte strings with stated durability.
///
/// Paths are relative, `/`-separated, made of ASCII letters, digits and `. _ -`, without `.` or `..`
/// as a name. Directories come into being with the first file in them.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The whole file, or `None` where there is none.
    ///
    /// # Errors
    /// What the backend reports, other than that the file is missing.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether there is a file at `path`; a directory is not one.
    ///
    /// # Errors
    /// What the backend reports, other than that the file is missing.
    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.len(path)?.is_some())
    }

    /// Length of the file in bytes, or `None` where there is none.
    ///
    /// # Errors
    /// What the backend reports, other than that the file is missing.
    fn len(&self, path: &str) -> Result<Option<u64>, StoreError>;

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// `NotFound` without the file, `UnexpectedEof` where it is shorter, else the backend's report.
    fn read_range(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreError>;

    /// Replaces or creates the file in one step. Readers see the old bytes or the new, whole; after
    /// a crash before the next [`Storage::sync_round`] the file may be old, new, missing, cut short
    /// or zero-filled.
    ///
    /// # Errors
    /// What the backend reports; the old file then still stands.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Like [`Storage::write`], and durable, name included, when it returns. After a crash at any
    /// point the file is the old one or the new one, whole.
    ///
    /// # Errors
    /// What the backend reports; after an error either file may be there.
    fn write_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Replaces files that may hold the only copy of something, each in one step: after a crash at any
    /// point each is the old one or the new one, whole; the new ones stay after the next
    /// [`Storage::sync_round`]. Many at once cost one flush together where the backend can do that.
    ///
    /// # Errors
    /// What the backend reports; after an error some may be new.
    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        files.iter().try_for_each(|(path, bytes)| self.write_durable(path, bytes))
    }

    /// Makes everything written, renamed and removed before this call durable.
    ///
    /// # Errors
    /// What the backend reports. After an error every later call fails too: what was lost is not
    /// known, so the caller must stop.
    fn sync_round(&self) -> Result<(), StoreError>;

    /// Names of the files and directories directly in `dir` (`""` is the root), sorted by bytes;
    /// empty where there is no such directory.
    ///
    /// # Errors
    /// What the backend reports.
    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError>;

    /// Removes the file; a missing one is no error. Durable after the next [`Storage::sync_round`].
    ///
    /// # Errors
    /// What the backend reports.
    fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// Removes the directory and everything in it; a missing one is no error. Durable after the
    /// next [`Storage::sync_round`].
    ///
    /// # Errors
    /// What the backend reports; a part of the tree may be gone.
    fn remove_tree(&self, dir: &str) -> Result<(), StoreError>;

    /// Opens the file for appending, creating it (its name durable on return) where it is missing.
    ///
    /// # Errors
    /// `InvalidData` where its length is not `expected_len` bytes (a missing file counts as 0): two
    /// writers, or a caller that has not read what it is about to append to.
    fn open_append(&self, path: &str, expected_len: u64) -> Result<Box<dyn AppendFile>, StoreError>;

    /// Cuts the file to `len` bytes, durably. Never lengthens it.
    ///
    /// # Errors
    /// `NotFound` without the file, `UnexpectedEof` where it is shorter, else the backend's report.
    fn truncate(&self, path: &str, len: u64) -> Result<(), StoreError>;
}

/// A file that only grows.
#[allow(
    clippy::len_without_is_empty,
    reason = "the length is a position to resume from, not a container's size"
)]
pub trait AppendFile: Send + fmt::Debug {
    /// Appends all of `bytes` in one write where the backend can.
    ///
    /// # Errors
    /// What the backend reports; a part of `bytes` may be in the file. Every later call fails.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes the bytes appended so far durable (`fdatasync`), and those that were in the file when
    /// it was opened.
    ///
    /// # Errors
    /// What the backend reports. Every later call fails: the kernel may have forgotten the pages.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Length of the file in bytes, unsynced bytes included.
    fn len(&self) -> u64;
}

/// What a storage was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the storage itself, or a file to append to.
    Open,
    /// Reading a file or its length.
    Read,
    /// Replacing or creating a file.
    Write,
    /// Appending to a file.
    Append,
    /// Making bytes or names durable.
    Sync,
    /// Listing a directory.
    List,
    /// Removing a file or a directory.
    Remove,
    /// Cutting a file.
    Truncate,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Append => "append to",
            Self::Sync => "make durable",
            Self::List => "list",
            Self::Remove => "remove",
            Self::Truncate => "cut",
        })
    }
}

/// A storage could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {operation} {path:?}: {reason}")]
#[non_exhaustive]
pub struct StoreError {
    /// What was being done.
    pub operation: Operation,
    /// The file or directory, relative to the storage's root; `""` is the root.
    pub path: String,
    /// The kind of failure, for callers that decide.
    pub kind: io::ErrorKind,
    /// The failure in words, for people.
    pub reason: String,
}

impl StoreError {
    /// An error of `kind` with words of our own.
    pub fn new(
        operation: Operation,
        path: &str,
        kind: io::ErrorKind,
        reason: impl Into<String>,
    ) -> Self {
        Self { operation, path: path.to_owned(), kind, reason: reason.into() }
    }

    /// The operating system's error, with the place it happened.
    #[must_use]
    pub fn from_io(operation: Operation, path: &str, error: &io::Error) -> Self {
        Self::new(operation, path, error.kind(), error.to_string())
    }

    /// Whether the disk (or the quota on it) is full: the one failure that room mends.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The error of a call refused because an earlier one on the same file or storage failed.
    pub(crate) fn after_failure(operation: Operation, path: &str) -> Self {
        let reason =
            "an earlier write or sync failed, so nothing more can be promised; restart to recover";
        Self::new(operation, path, io::ErrorKind::Other, reason)
    }

    /// The error of an append to a file whose length is not the one the caller knows.
    pub(crate) fn unexpected_len(path: &str, expected: u64, found: u64) -> Self {
        let reason = format!("it holds {found} bytes where {expected} were expected");
        Self::new(Operation::Open, path, io::ErrorKind::InvalidData, reason)
    }

    /// The error of a read or a cut beyond the end of a file.
    pub(crate) fn too_short(operation: Operation, path: &str, wanted: u64, found: u64) -> Self {
        let reason = format!("it holds {found} bytes where at least {wanted} are needed");
        Self::new(operation, path, io::ErrorKind::UnexpectedEof, reason)
    }

    /// The error of a file that must be there and is not.
    pub(crate) fn missing(operation: Operation, path: &str) -> Self {
        Self::new(operation, path, io::ErrorKind::NotFound, "there is no such file")
    }
}

/// Refuses a file path that could leave the root or that a backend would take differently.
///
/// # Errors
/// `InvalidInput` with the rule that `path` breaks.
pub fn check_path(operation: Operation, path: &str) -> Result<(), StoreError> {
    let reason = if path.is_empty() { Some("a path has at least one name") } else { broken_rule(path) };
    reason.map_or(Ok(()), |reason| {
        let shown: String = path.chars().take(PATH_BYTES_MAX).collect();
        Err(StoreError::new(operation, &shown, io::ErrorKind::InvalidInput, reason))
    })
}

/// Like [`check_path`] for a directory, where `""` is the root.
///
/// # Errors
/// `InvalidInput` with the rule that `dir` breaks.
pub fn check_dir(operation: Operation, dir: &str) -> Result<(), StoreError> {
    if dir.is_empty() { Ok(()) } else { check_path(operation, dir) }
}

fn broken_rule(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Some("the path is longer than 1024 bytes");
    }
    if path.split('/').next() == Some(TEMPORARY_DIR) {
        return Some("this directory is for files on their way");
    }
    path.split('/').find_map(|name| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match name {
            "" => Some("a name in it is empty"),
            "." | ".." => Some("a name in it is `.` or `..`"),
            _ if name.len() > NAME_BYTES_MAX => Some("a name in it is longer than 255 bytes"),
            _ if !name.bytes().all(allowed) => Some("names are ASCII letters, digits, `.`, `_` and `-`"),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let long_name = "n".repeat(NAME_BYTES_MAX + 1);
        let long_path = "d/".repeat(PATH_BYTES_MAX) + "f";
        let bad = [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "a b", "a\0", "ä", "C:x",
        ];
        for path in bad.into_iter().chain([&*long_name, &*long_path, ".tmp", ".tmp/x"]) {
            let error = check_path(Operation::Write, path).expect_err(path);
            assert_eq!(error.kind, io::ErrorKind::InvalidInput, "{path:?}");
        }
        for path in
            ["a", "checkpoint", "tile/0/x001/000.p/12", "ledgers/a-b_c/journal/00000000000000000000.cfj"]
        {
            check_path(Operation::Write, path).expect(path);
        }
        assert!(check_dir(Operation::List, "").is_ok());
        assert!(check_dir(Operation::List, "a/..").is_err());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = io::Error::from_raw_os_error(28);
        let broken = io::Error::from_raw_os_error(5);
        let error = StoreError::from_io(Operation::Append, "journal/x", &full);
        assert!(error.is_full());
        assert!(error.to_string().starts_with("could not append to \"journal/x\": "), "{error}");
        assert!(!StoreError::from_io(Operation::Append, "journal/x", &broken).is_full());
    }
}
