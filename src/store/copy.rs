//! Copying files out of a directory that a server may be changing, hashing them on the way.
//!
//! In scope: streaming one file, its hash, telling whether it was replaced since, making the copy durable.
//! Out of scope: which files belong together (`backup`). Invariants: nothing is written to the source; the
//! memory taken does not depend on a file's length; what is copied is readable by its owner alone; nothing
//! counts as durable before [`Copier::sync`] has returned.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::durable::{is_unsupported, parent, sync_file_system};
use super::{Operation, StoreError, check_path};
use crate::log::hash::Hash;

/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Which version of a file was copied: files are replaced by renaming, so another one has another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    bytes: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            bytes: metadata.len(),
        }
    }
}

/// A file that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedFile {
    /// Its length in the copy.
    pub bytes: u64,
    /// SHA-256 of its content in the copy.
    pub sha256: Hash,
    /// The version that was copied; `None` for bytes that were made.
    pub stamp: Option<Stamp>,
}

/// Copies files from one directory to another under the same relative paths.
#[derive(Debug)]
pub struct Copier {
    from: PathBuf,
    to: PathBuf,
    to_dir: File,
    has_syncfs: bool,
    /// Directories with new names, where the file system has no `syncfs`.
    unsynced: BTreeSet<PathBuf>,
    piece: Vec<u8>,
}

/// A file of the source, held open: it stays readable when its name is gone.
#[derive(Debug)]
pub struct OpenSource {
    path: String,
    file: File,
    stamp: Stamp,
}

/// Makes a directory that only its owner may enter, unless it is there and empty.
///
/// # Errors
/// `AlreadyExists` where there is anything in it, else what the operating system reports.
pub(crate) fn make_empty_private(dir: &Path) -> Result<(), StoreError> {
    let shown = dir.to_string_lossy();
    let failure = |error: io::Error| StoreError::from_io(Operation::Open, &shown, &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failure)?;
    if fs::read_dir(dir).map_err(failure)?.next().is_some() {
        let kind = io::ErrorKind::AlreadyExists;
        let reason = "it is not empty; give a directory that is empty or does not exist yet";
        return Err(StoreError::new(Operation::Open, &shown, kind, reason));
    }
    Ok(())
}

impl Copier {
    /// Copies from `from` to `to`, which must be empty or missing and is made for its owner alone.
    ///
    /// # Errors
    /// `AlreadyExists` where there is anything in `to`, else what the operating system reports.
    pub fn open(from: &Path, to: &Path) -> Result<Self, StoreError> {
        make_empty_private(to)?;
        let shown = to.to_string_lossy();
        let failure = |error: io::Error| StoreError::from_io(Operation::Open, &shown, &error);
        let to_dir = File::open(to).map_err(failure)?;
        let has_syncfs = match sync_file_system(&to_dir) {
            Ok(()) => true,
            Err(error) if is_unsupported(&error) => false,
            Err(error) => return Err(failure(error)),
        };
        let (from, to) = (from.to_owned(), to.to_owned());
        let piece = vec![0; PIECE_BYTES];
        Ok(Self { from, to, to_dir, has_syncfs, unsynced: BTreeSet::new(), piece })
    }

    /// Opens a file of the source; `None` where there is none.
    ///
    /// # Errors
    /// What the operating system reports otherwise.
    pub fn source(&self, path: &str) -> Result<Option<OpenSource>, StoreError> {
        check_path(Operation::Read, path)?;
        let failure = |error: io::Error| StoreError::from_io(Operation::Read, path, &error);
        let whole = self.from.join(path);
        // A pipe in a file's place must hold nothing up, so it is looked at before it is opened.
        match fs::metadata(&whole) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failure(error)),
        }
        let file = match File::open(&whole) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        let stamp = Stamp::of(&file.metadata().map_err(failure)?);
        Ok(Some(OpenSource { path: path.to_owned(), file, stamp }))
    }

    /// Copies a file; `None` where there is none.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn copy(&mut self, path: &str) -> Result<Option<CopiedFile>, StoreError> {
        match self.source(path)? {
            Some(source) => self.copy_open(source).map(Some),
            None => Ok(None),
        }
    }

    /// Copies a file that was opened before, as far as it goes now.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn copy_open(&mut self, mut source: OpenSource) -> Result<CopiedFile, StoreError> {
        let path = source.path.clone();
        let mut target = self.create(&path)?;
        let mut hasher = Sha256::new();
        let mut bytes = 0_u64;
        loop {
            let read = source.file.read(&mut self.piece);
            let read = read.map_err(|error| StoreError::from_io(Operation::Read, &path, &error))?;
            let piece = self.piece.get(..read).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            let written = target.write_all(piece);
            written.map_err(|error| StoreError::from_io(Operation::Write, &path, &error))?;
            bytes = bytes.saturating_add(super::memory::len_u64(piece));
        }
        self.finish(&path, &target)?;
        let sha256 = Hash(hasher.finalize().into());
        Ok(CopiedFile { bytes, sha256, stamp: Some(source.stamp) })
    }

    /// Writes bytes that were made into the copy.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<CopiedFile, StoreError> {
        check_path(Operation::Write, path)?;
        let mut target = self.create(path)?;
        let written = target.write_all(bytes);
        written.map_err(|error| StoreError::from_io(Operation::Write, path, &error))?;
        self.finish(path, &target)?;
        let sha256 = Hash(Sha256::digest(bytes).into());
        Ok(CopiedFile { bytes: super::memory::len_u64(bytes), sha256, stamp: None })
    }

    fn create(&self, path: &str) -> Result<File, StoreError> {
        let failure = |error: io::Error| StoreError::from_io(Operation::Write, path, &error);
        let whole = self.to.join(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        match options.open(&whole) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = self.to.join(parent(path));
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failure)?;
                options.open(&whole).map_err(failure)
            }
            opened => opened.map_err(failure),
        }
    }

    fn finish(&mut self, path: &str, target: &File) -> Result<(), StoreError> {
        if self.has_syncfs {
            return Ok(());
        }
        let synced = target.sync_all();
        synced.map_err(|error| StoreError::from_io(Operation::Sync, path, &error))?;
        let mut dir = parent(path);
        while !dir.is_empty() && self.unsynced.insert(self.to.join(dir)) {
            dir = parent(dir);
        }
        Ok(())
    }

    /// The version of a file of the source as it is now; `None` where there is none.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn stamp(&self, path: &str) -> Result<Option<Stamp>, StoreError> {
        match fs::metadata(self.from.join(path)) {
            Ok(metadata) => Ok(metadata.is_file().then(|| Stamp::of(&metadata))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(StoreError::from_io(Operation::Read, path, &error)),
        }
    }

    /// Cuts a file of the copy to its first `bytes` and hashes what is left.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn cut(&mut self, path: &str, bytes: u64) -> Result<CopiedFile, StoreError> {
        let failure = |error: io::Error| StoreError::from_io(Operation::Truncate, path, &error);
        let whole = self.to.join(path);
        let mut file = OpenOptions::new().read(true).write(true).open(whole).map_err(failure)?;
        file.set_len(bytes).map_err(failure)?;
        let mut hasher = Sha256::new();
        loop {
            let read = file.read(&mut self.piece).map_err(failure)?;
            if read == 0 {
                break;
            }
            hasher.update(self.piece.get(..read).unwrap_or_default());
        }
        self.finish(path, &file)?;
        Ok(CopiedFile { bytes, sha256: Hash(hasher.finalize().into()), stamp: None })
    }

    /// Removes a file from the copy.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn remove(&self, path: &str) -> Result<(), StoreError> {
        let removed = fs::remove_file(self.to.join(path));
        removed.map_err(|error| StoreError::from_io(Operation::Remove, path, &error))
    }

    /// Empties the copy again, after a failure: it was empty when this began.
    ///
    /// # Errors
    /// What the operating system reports; some files may be left.
    pub fn clear(&self) -> Result<(), StoreError> {
        let shown = self.to.to_string_lossy();
        let failure = |error: io::Error| StoreError::from_io(Operation::Remove, &shown, &error);
        for entry in fs::read_dir(&self.to).map_err(failure)? {
            let path = entry.map_err(failure)?.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failure)?;
        }
        Ok(())
    }

    /// Makes the copy durable.
    ///
    /// # Errors
    /// What the operating system reports: the copy is worth nothing then.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let failure = |error: io::Error| StoreError::from_io(Operation::Sync, "", &error);
        if self.has_syncfs {
            sync_file_system(&self.to_dir).map_err(failure)?;
        }
        for dir in std::mem::take(&mut self.unsynced) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failure)?;
        }
        self.to_dir.sync_all().map_err(failure)
    }
}

/// Whether a name leads to no file, now or any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DiskStorage, Storage};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_has_the_bytes_their_hash_and_no_other_readers() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = DiskStorage::open(&from).unwrap();
        let long: Vec<u8> = (0..700_000_u32).map(|each| each.to_be_bytes()[3]).collect();
        source.write("a/b/long", &long).unwrap();
        let mut copier = Copier::open(&from, &to).unwrap();
        let taken = copier.copy("a/b/long").unwrap().unwrap();
        assert_eq!(taken.sha256, crate::log::hash::sha256(&long));
        assert_eq!(taken.bytes, 700_000);
        assert_eq!(fs::read(to.join("a/b/long")).unwrap(), long);
        assert_eq!(fs::metadata(to.join("a/b/long")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(copier.stamp("a/b/long").unwrap(), taken.stamp);
        source.write("a/b/long", &long).unwrap();
        assert_ne!(copier.stamp("a/b/long").unwrap(), taken.stamp, "the same bytes, another file");
        assert_eq!(copier.copy("a/b").unwrap(), None);
        assert_eq!(copier.copy("a/none").unwrap(), None);
        assert!(copier.copy("../from/a/b/long").is_err());
        copier.sync().unwrap();
        copier.clear().unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_was_opened_is_copied_though_its_name_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = DiskStorage::open(&from).unwrap();
        source.write("segment", b"frames").unwrap();
        let mut copier = Copier::open(&from, &to).unwrap();
        let open = copier.source("segment").unwrap().unwrap();
        source.remove("segment").unwrap();
        copier.copy_open(open).unwrap();
        assert_eq!(fs::read(to.join("segment")).unwrap(), b"frames");
        let cut = copier.cut("segment", 2).unwrap();
        assert_eq!((cut.bytes, cut.sha256), (2, crate::log::hash::sha256(b"fr")));
        assert_eq!(fs::read(to.join("segment")).unwrap(), b"fr");
    }

    #[test]
    fn nothing_is_copied_into_a_directory_with_something_in_it() {
        let dir = tempfile::tempdir().unwrap();
        DiskStorage::open(&dir.path().join("to")).unwrap();
        let error = Copier::open(dir.path(), &dir.path().join("to")).unwrap_err();
        assert_eq!(error.kind, io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("not empty"), "{error}");
    }
}
