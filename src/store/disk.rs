//! A storage on a local directory.
//!
//! In scope: reads, listings, appends, and handing writes to `durable`. Out of scope: who may
//! open the directory (see [`super::lock`]) and what is in the files.
//!
//! Invariants: the directory is one file system (a rename across a mount fails rather than losing its
//! atomicity); opening it for writing is for the holder of its lock alone, because that removes what
//! another writer has on its way; opening it for reading changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable::{Durable, Readers, When, parent};
use super::memory::len_u64;
use super::{AppendFile, Operation, Storage, StoreError, TEMPORARY_DIR, check_dir, check_path};

/// A buffer of more bytes is made only when the file is known to hold as many.
const UNCHECKED_BYTES_MAX: usize = 1 << 20;

/// A [`Storage`] whose files are files under one directory.
///
/// ```
/// use counterfoil::store::{DiskStorage, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let storage = DiskStorage::open(dir.path())?;
/// storage.write("tile/0/000", b"hashes")?;
/// storage.sync_round()?;
/// assert_eq!(storage.list("tile/0")?, ["000"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DiskStorage {
    root: PathBuf,
    /// `None` where the directory was opened for reading only.
    durable: Option<Arc<Durable>>,
}

impl DiskStorage {
    /// Opens `root` for reading and writing, makes it where it is missing, and removes what an
    /// interrupted process left on its way. The caller holds the directory's lock.
    ///
    /// # Errors
    /// What the operating system reports, with `root` as the path.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, true)
    }

    /// Like [`DiskStorage::open`], for a directory whose files their owner alone may read (mode 0600,
    /// directories 0700). It is for few small files: each is synced by itself, and never the whole
    /// file system.
    ///
    /// # Errors
    /// What the operating system reports, with `root` as the path.
    pub fn open_private(root: &Path) -> Result<Self, StoreError> {
        Self::open_for(root, false, Readers::Owner)
    }

    fn open_with(root: &Path, use_syncfs: bool) -> Result<Self, StoreError> {
        Self::open_for(root, use_syncfs, Readers::Umask)
    }

    fn open_for(root: &Path, use_syncfs: bool, readers: Readers) -> Result<Self, StoreError> {
        let durable = Durable::open(root, use_syncfs, readers)
            .map_err(|error| StoreError::from_io(Operation::Open, &root.to_string_lossy(), &error))?;
        Ok(Self { root: root.to_owned(), durable: Some(Arc::new(durable)) })
    }

    /// Opens `root` for reading; every other call fails with `PermissionDenied`. Safe while another
    /// process writes.
    ///
    /// # Errors
    /// `NotADirectory` or what the operating system reports, with `root` as the path.
    pub fn open_read_only(root: &Path) -> Result<Self, StoreError> {
        let shown = root.to_string_lossy();
        let metadata =
            fs::metadata(root).map_err(|e| StoreError::from_io(Operation::Open, &shown, &e))?;
        if !metadata.is_dir() {
            let kind = io::ErrorKind::NotADirectory;
            return Err(StoreError::new(Operation::Open, &shown, kind, "it is not a directory"));
        }
        Ok(Self { root: root.to_owned(), durable: None })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn durable(&self, operation: Operation, path: &str) -> Result<&Arc<Durable>, StoreError> {
        self.durable.as_ref().ok_or_else(|| {
            let kind = io::ErrorKind::PermissionDenied;
            StoreError::new(operation, path, kind, "the directory was opened for reading only")
        })
    }

    fn replace(&self, path: &str, bytes: &[u8], when: When) -> Result<(), StoreError> {
        check_path(Operation::Write, path)?;
        self.durable(Operation::Write, path)?.replace(path, bytes, when)
    }
}

/// Whether the error says that there is no file under the name: nothing, a directory, or a file
/// where a directory would have to be.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

impl Storage for DiskStorage {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_path(Operation::Read, path)?;
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(StoreError::from_io(Operation::Read, path, &error)),
        }
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StoreError> {
        check_path(Operation::Read, path)?;
        match fs::metadata(self.root.join(path)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(StoreError::from_io(Operation::Read, path, &error)),
        }
    }

    fn read_range(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        check_path(Operation::Read, path)?;
        let failure = |error: io::Error| StoreError::from_io(Operation::Read, path, &error);
        let file = File::open(self.root.join(path)).map_err(failure)?;
        let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let too_short = |found| StoreError::too_short(Operation::Read, path, end, found);
        // Checked before the buffer is made, so that a wrong length cannot take all memory. Reading no bytes
        // would not find the end.
        if len == 0 || len > UNCHECKED_BYTES_MAX {
            let found = file.metadata().map_err(failure)?.len();
            if end > found {
                return Err(too_short(found));
            }
        }
        let mut bytes = vec![0; len];
        match file.read_exact_at(&mut bytes, offset) {
            // An offset beyond 2^63 is refused as no offset at all.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
                ) =>
            {
                return Err(too_short(file.metadata().map_err(failure)?.len()));
            }
            other => other.map_err(failure)?,
        }
        Ok(bytes)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(path, bytes, When::NextRound)
    }

    fn write_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(path, bytes, When::Now)
    }

    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        files.iter().try_for_each(|(path, _)| check_path(Operation::Write, path))?;
        self.durable(Operation::Write, "")?.replace_all(files)
    }

    fn sync_round(&self) -> Result<(), StoreError> {
        self.durable(Operation::Sync, "")?.sync_round()
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        check_dir(Operation::List, dir)?;
        let failure = |error: io::Error| StoreError::from_io(Operation::List, dir, &error);
        let entries = match fs::read_dir(self.root.join(dir)) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failure(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours, and no path could reach it.
            if let Ok(name) = entry.map_err(failure)?.file_name().into_string()
                && !(dir.is_empty() && name == TEMPORARY_DIR)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, path)?;
        let durable = self.durable(Operation::Remove, path)?;
        match fs::remove_file(self.root.join(path)) {
            Ok(()) => durable.names_changed_in(parent(path)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError::from_io(Operation::Remove, path, &error)),
        }
    }

    fn remove_tree(&self, dir: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, dir)?;
        let durable = self.durable(Operation::Remove, dir)?;
        let target = self.root.join(dir);
        if !target.is_dir() {
            return Ok(());
        }
        fs::remove_dir_all(target)
            .map_err(|error| StoreError::from_io(Operation::Remove, dir, &error))?;
        durable.forget(dir);
        durable.names_changed_in(parent(dir))
    }

    fn open_append(&self, path: &str, expected_len: u64) -> Result<Box<dyn AppendFile>, StoreError> {
        check_path(Operation::Open, path)?;
        let durable = self.durable(Operation::Open, path)?;
        let failure = |error: io::Error| StoreError::from_io(Operation::Open, path, &error);
        let found = self.len(path)?;
        if found.unwrap_or(0) != expected_len {
            return Err(StoreError::unexpected_len(path, expected_len, found.unwrap_or(0)));
        }
        let mut options = OpenOptions::new();
        options.append(true);
        if found.is_none() {
            durable.create_parent(path).map_err(failure)?;
            options.create_new(true).mode(durable.readers().file_mode());
        }
        let file = options.open(self.root.join(path)).map_err(failure)?;
        // Also where the file was there: who made it may have been stopped before this point.
        durable.sync_name(path)?;
        let durable = Arc::clone(durable);
        Ok(Box::new(DiskAppend {
            path: path.to_owned(),
            file,
            len: expected_len,
            failed: false,
            durable,
        }))
    }

    fn truncate(&self, path: &str, len: u64) -> Result<(), StoreError> {
        check_path(Operation::Truncate, path)?;
        let durable = self.durable(Operation::Truncate, path)?;
        let failure = |error: io::Error| StoreError::from_io(Operation::Truncate, path, &error);
        let file = OpenOptions::new().write(true).open(self.root.join(path)).map_err(failure)?;
        let found = file.metadata().map_err(failure)?.len();
        if len > found {
            return Err(StoreError::too_short(Operation::Truncate, path, len, found));
        }
        durable.check(Operation::Truncate, path)?;
        file.set_len(len).map_err(failure)?;
        durable.sync(path, || file.sync_all())
    }
}

#[derive(Debug)]
struct DiskAppend {
    path: String,
    file: File,
    len: u64,
    failed: bool,
    durable: Arc<Durable>,
}

impl DiskAppend {
    fn check(&self, operation: Operation) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::after_failure(operation, &self.path));
        }
        self.durable.check(operation, &self.path)
    }
}

impl AppendFile for DiskAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check(Operation::Append)?;
        if let Err(error) = self.file.write_all(bytes) {
            self.failed = true;
            return Err(StoreError::from_io(Operation::Append, &self.path, &error));
        }
        self.len = self.len.saturating_add(len_u64(bytes));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.check(Operation::Sync)?;
        let synced = self.durable.sync(&self.path, || self.file.sync_data());
        self.failed = synced.is_err();
        synced
    }

    fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests;
