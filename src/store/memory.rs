//! A storage in memory, for tests and for work that need not outlive the process.
//!
//! In scope: the semantics of [`Storage`] as readers see them. Out of scope: durability, which memory
//! does not have (`sync` always succeeds), and faults (see `faulty`).
//! Invariant: an append handle keeps writing to the file it opened, also after that name was replaced
//! or removed, as on a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AppendFile, Operation, Storage, StoreError, check_dir, check_path};

type File = Arc<Mutex<Vec<u8>>>;

/// A [`Storage`] whose files are byte vectors.
#[derive(Default)]
pub struct MemoryStorage {
    files: Mutex<BTreeMap<String, File>>,
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("files", &locked(&self.files).len()).finish()
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The length of `bytes` as a file length.
pub(super) fn len_u64(bytes: &[u8]) -> u64 {
    len_u64_of(bytes.len())
}

/// A length in memory as a file length; no machine has addresses of more than 64 bits.
pub(super) fn len_u64_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Exactly `len` bytes of `bytes` from `offset`, as [`Storage::read_range`] promises.
pub(super) fn range_of(
    path: &str,
    bytes: &[u8],
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, StoreError> {
    let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    let too_short = || StoreError::too_short(Operation::Read, path, end, len_u64(bytes));
    let begin = usize::try_from(offset).map_err(|_| too_short())?;
    let until = begin.checked_add(len).ok_or_else(too_short)?;
    Ok(bytes.get(begin..until).ok_or_else(too_short)?.to_vec())
}

/// The names directly in `dir` among sorted `paths`, as [`Storage::list`] promises.
pub(super) fn names_in<'a>(dir: &str, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = paths
        .filter_map(|path| match dir {
            "" => Some(path),
            _ => path.strip_prefix(dir)?.strip_prefix('/'),
        })
        .filter_map(|rest| rest.split('/').next())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether `path` lies in `dir`.
pub(super) fn is_in(dir: &str, path: &str) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn file(&self, path: &str) -> Option<File> {
        locked(&self.files).get(path).cloned()
    }
}

impl Storage for MemoryStorage {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_path(Operation::Read, path)?;
        Ok(self.file(path).map(|file| locked(&file).clone()))
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StoreError> {
        check_path(Operation::Read, path)?;
        Ok(self.file(path).map(|file| len_u64(&locked(&file))))
    }

    fn read_range(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        check_path(Operation::Read, path)?;
        let file = self.file(path).ok_or_else(|| StoreError::missing(Operation::Read, path))?;
        let bytes = locked(&file);
        range_of(path, &bytes, offset, len)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_path(Operation::Write, path)?;
        locked(&self.files).insert(path.to_owned(), Arc::new(Mutex::new(bytes.to_vec())));
        Ok(())
    }

    fn write_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(path, bytes)
    }

    fn sync_round(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        check_dir(Operation::List, dir)?;
        Ok(names_in(dir, locked(&self.files).keys().map(String::as_str)))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, path)?;
        locked(&self.files).remove(path);
        Ok(())
    }

    fn remove_tree(&self, dir: &str) -> Result<(), StoreError> {
        check_path(Operation::Remove, dir)?;
        locked(&self.files).retain(|path, _| !is_in(dir, path));
        Ok(())
    }

    fn open_append(&self, path: &str, expected_len: u64) -> Result<Box<dyn AppendFile>, StoreError> {
        check_path(Operation::Open, path)?;
        let mut files = locked(&self.files);
        let found = files.get(path).map_or(0, |file| len_u64(&locked(file)));
        if found != expected_len {
            return Err(StoreError::unexpected_len(path, expected_len, found));
        }
        let file = Arc::clone(files.entry(path.to_owned()).or_default());
        Ok(Box::new(MemoryAppend { file }))
    }

    fn truncate(&self, path: &str, len: u64) -> Result<(), StoreError> {
        check_path(Operation::Truncate, path)?;
        let file = self.file(path).ok_or_else(|| StoreError::missing(Operation::Truncate, path))?;
        let mut bytes = locked(&file);
        let found = len_u64(&bytes);
        match usize::try_from(len) {
            Ok(len) if len <= bytes.len() => bytes.truncate(len),
            _ => return Err(StoreError::too_short(Operation::Truncate, path, len, found)),
        }
        Ok(())
    }
}

struct MemoryAppend {
    file: File,
}

impl fmt::Debug for MemoryAppend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAppend").field("len", &self.len()).finish()
    }
}

impl AppendFile for MemoryAppend {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        locked(&self.file).extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn len(&self) -> u64 {
        len_u64(&locked(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_storage_contract() {
        crate::store::conformance::check(&MemoryStorage::new());
    }

    #[test]
    fn debug_shows_no_content() {
        let storage = MemoryStorage::new();
        storage.write("f", &[42; 3]).unwrap();
        let append = storage.open_append("f", 3).unwrap();
        let text = format!("{storage:?} {append:?}");
        assert!(!text.contains("42"), "{text}");
    }
}
