//! The rename and fsync discipline of the disk backend, in one place.
//!
//! In scope: getting bytes into a file under its final name in one step, and making file, name and
//! the names of the directories above it survive power loss. Out of scope: reading, listing, and the
//! journal's format. Nothing else in the crate renames a file or syncs a directory.
//!
//! What the happy paths should look like to `strace`, relative to the root (file descriptor 3):
//!
//! ```text
//! write("a/b/f")             openat(".tmp/71-9", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC) = 4
//!                            write(4, ...) ; close(4)
//!                            rename(".tmp/71-9", "a/b/f")
//! write_durable("a/b/f")     openat(".tmp/71-9", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC) = 4
//!                            write(4, ...) ; fsync(4) ; close(4)
//!                            rename(".tmp/71-9", "a/b/f")
//!                            openat("a/b") = 4 ; fsync(4) ; close(4)
//!                            and, once for each directory in the life of the process:
//!                            fsync("a") (which names b) ; fsync(".") (which names a)
//! replace_all(a/f, b/g)      the files on their way are written as by write
//!                            syncfs(3)
//!                            rename(".tmp/71-9", "a/f") ; rename(".tmp/71-10", "b/g")
//! sync_round()               syncfs(3)
//! AppendFile::append         write(5, ...)
//! AppendFile::sync           fdatasync(5)
//! ```
//!
//! Invariants:
//! * the file is synced before the rename wherever the result must be whole after a crash;
//! * after one failed sync every later sync through the same storage fails. Linux marks the pages it
//!   could not write as clean, so a second fsync would succeed without the bytes being on the disk
//!   (Rebello and others, "Can Applications Recover from fsync Failures?", USENIX ATC 2020);
//! * the root stays open, because `syncfs` reports the write errors since *that* descriptor was
//!   opened (Linux 5.8 and later; before, it reports none).
//!
//! Known limit: a process that starts after another one's failed sync reads pages from memory that
//! may never reach the disk, and nothing tells it so. Restart the machine, not only the process,
//! after an input/output error.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::memory::locked;
use super::{Operation, StoreError, TEMPORARY_DIR};

/// Directories remembered as durably named. Past this many the memory is emptied and the price is
/// one more fsync each; at about 40 bytes a name this is 160 KiB.
const LINKED_DIRS_MAX: usize = 4_096;

/// Directories with unsynced names, where the file system has no `syncfs`, before a round is made
/// early; at one fsync each, a few seconds of a slow disk.
const UNSYNCED_DIRS_MAX: usize = 256;

/// Numbers the files on their way, across every storage of the process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Whether a file must be durable when its write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// When the next round ends.
    NextRound,
    /// Before the call returns.
    Now,
}

/// Who may read the files and directories that are made, as far as the process's umask lets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Whoever the umask allows.
    Umask,
    /// The owner alone.
    Owner,
}

impl Readers {
    /// Permission bits of new files.
    pub(super) const fn file_mode(self) -> u32 {
        match self {
            Self::Umask => 0o666,
            Self::Owner => 0o600,
        }
    }

    fn create_dir_all(self, dir: &Path) -> io::Result<()> {
        let mode = match self {
            Self::Umask => 0o777,
            Self::Owner => 0o700,
        };
        fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
    }
}

/// The writing half of a disk storage.
#[derive(Debug)]
pub(super) struct Durable {
    root: PathBuf,
    readers: Readers,
    root_dir: File,
    has_syncfs: bool,
    failed: AtomicBool,
    /// Directories whose own name, and those above them, were synced by this process.
    linked: Mutex<HashSet<String>>,
    /// Without `syncfs`: directories in which names changed since the last round.
    unsynced: Mutex<BTreeSet<String>>,
    /// Held for a whole round, so that no call returns while another still syncs on its behalf.
    round: Mutex<()>,
}

impl Durable {
    /// Takes over `root` for writing: makes it, empties the directory of files on their way, and
    /// makes what an earlier process left in memory durable, since callers will build on it.
    pub(super) fn open(root: &Path, use_syncfs: bool, readers: Readers) -> io::Result<Self> {
        readers.create_dir_all(root)?;
        if let Some(parent) = root.canonicalize()?.parent() {
            match File::open(parent).and_then(|parent| parent.sync_all()) {
                // A directory above that we may pass but not read was not made by us.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        let temporary = root.join(TEMPORARY_DIR);
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&temporary)?,
        }
        let root_dir = File::open(root)?;
        let has_syncfs = use_syncfs
            && match sync_file_system(&root_dir) {
                Ok(()) => true,
                Err(error) if is_unsupported(&error) => false,
                Err(error) => return Err(error),
            };
        Ok(Self {
            root: root.to_owned(),
            readers,
            root_dir,
            has_syncfs,
            failed: AtomicBool::new(false),
            linked: Mutex::default(),
            unsynced: Mutex::default(),
            round: Mutex::default(),
        })
    }

    /// Puts `bytes` under the name `path` in one step.
    pub(super) fn replace(&self, path: &str, bytes: &[u8], when: When) -> Result<(), StoreError> {
        let temporary = self.temporary();
        let is_synced = when == When::Now || !self.has_syncfs;
        let result = self
            .write_temporary(path, &temporary, bytes, is_synced)
            .and_then(|()| self.rename_to(path, &temporary));
        if result.is_err() {
            // The rename did not happen, so only the file on its way is removed; where even that
            // fails, the next open of the storage does it.
            let _ = fs::remove_file(&temporary);
        }
        result?;
        match when {
            When::Now => self.sync_name(path),
            When::NextRound => self.names_changed_in(parent(path)),
        }
    }

    /// Puts files under their names, each in one step and none before its bytes are durable.
    pub(super) fn replace_all(&self, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let one_sync = self.has_syncfs && files.len() > 1;
        let mut temporaries = Vec::with_capacity(files.len());
        let mut result = files.iter().try_for_each(|(path, bytes)| {
            let temporary = self.temporary();
            temporaries.push(temporary.clone());
            self.write_temporary(path, &temporary, bytes, !one_sync)
        });
        if one_sync {
            result = result.and_then(|()| self.sync_round());
        }
        for ((path, _), temporary) in files.iter().zip(&temporaries) {
            result = result.and_then(|()| self.rename_to(path, temporary));
            if result.is_err() {
                let _ = fs::remove_file(temporary);
            }
        }
        result?;
        files.iter().try_for_each(|(path, _)| self.names_changed_in(parent(path)))
    }

    fn temporary(&self) -> PathBuf {
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        self.root.join(TEMPORARY_DIR).join(format!("{}-{number}", std::process::id()))
    }

    fn write_temporary(
        &self,
        path: &str,
        temporary: &Path,
        bytes: &[u8],
        is_synced: bool,
    ) -> Result<(), StoreError> {
        let failure = |error: io::Error| StoreError::from_io(Operation::Write, path, &error);
        let mode = self.readers.file_mode();
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(mode).open(temporary).map_err(failure)?;
        file.write_all(bytes).map_err(failure)?;
        if is_synced { self.sync(path, || file.sync_all()) } else { Ok(()) }
    }

    #[allow(clippy::disallowed_methods, reason = "this module is where files are renamed")]
    fn rename_to(&self, path: &str, temporary: &Path) -> Result<(), StoreError> {
        let failure = |error: io::Error| StoreError::from_io(Operation::Write, path, &error);
        let target = self.root.join(path);
        match fs::rename(temporary, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_parent(path).map_err(failure)?;
                fs::rename(temporary, &target).map_err(failure)
            }
            renamed => renamed.map_err(failure),
        }
    }

    /// Who may read what is made here.
    pub(super) fn readers(&self) -> Readers {
        self.readers
    }

    /// Creates the directories above `path`; their names are durable with the file's.
    pub(super) fn create_parent(&self, path: &str) -> io::Result<()> {
        self.readers.create_dir_all(&self.root.join(parent(path)))
    }

    /// Makes the name `path`, and the names of all directories above it, durable.
    pub(super) fn sync_name(&self, path: &str) -> Result<(), StoreError> {
        let dir = parent(path);
        self.sync_dir(dir)?;
        self.link(dir)
    }

    /// Makes the names of `dir` and of the directories above it durable, unless they are known to be.
    fn link(&self, dir: &str) -> Result<(), StoreError> {
        let mut dir = dir;
        while !dir.is_empty() && !locked(&self.linked).contains(dir) {
            self.sync_dir(parent(dir))?;
            let mut linked = locked(&self.linked);
            if linked.len() >= LINKED_DIRS_MAX {
                linked.clear();
            }
            linked.insert(dir.to_owned());
            drop(linked);
            dir = parent(dir);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StoreError> {
        self.sync(dir, || File::open(self.root.join(dir))?.sync_all())
    }

    /// Notes that names in `dir` were added, replaced or removed and must be durable after a round.
    pub(super) fn names_changed_in(&self, dir: &str) -> Result<(), StoreError> {
        if self.has_syncfs {
            return Ok(());
        }
        let many = {
            let mut unsynced = locked(&self.unsynced);
            unsynced.insert(dir.to_owned());
            unsynced.len() > UNSYNCED_DIRS_MAX
        };
        if many { self.sync_round() } else { Ok(()) }
    }

    /// Forgets that `dir` and what is below it were durably named, after it was removed.
    pub(super) fn forget(&self, dir: &str) {
        locked(&self.linked).retain(|linked| linked != dir && !super::memory::is_in(dir, linked));
    }

    /// Makes every write, rename and removal before this call durable.
    pub(super) fn sync_round(&self) -> Result<(), StoreError> {
        let _round = locked(&self.round);
        if self.has_syncfs {
            return self.sync("", || sync_file_system(&self.root_dir));
        }
        self.check(Operation::Sync, "")?;
        let dirs = std::mem::take(&mut *locked(&self.unsynced));
        for dir in &dirs {
            // A directory removed since is named by its parent, which is in the list as well.
            if dir.is_empty() || self.root.join(dir).is_dir() {
                self.sync_dir(dir)?;
                self.link(dir)?;
            }
        }
        Ok(())
    }

    /// Runs one sync; the first that fails is the last that is tried.
    pub(super) fn sync(
        &self,
        path: &str,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        self.check(Operation::Sync, path)?;
        sync().map_err(|error| {
            self.failed.store(true, Ordering::SeqCst);
            StoreError::from_io(Operation::Sync, path, &error)
        })
    }

    /// Refuses what would promise durability after a failed sync.
    pub(super) fn check(&self, operation: Operation, path: &str) -> Result<(), StoreError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(StoreError::after_failure(operation, path));
        }
        Ok(())
    }
}

/// The directory that names `path`; `""` is the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[cfg(target_os = "linux")]
pub(super) fn sync_file_system(root: &File) -> io::Result<()> {
    rustix::fs::syncfs(root).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync_file_system(_root: &File) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Whether the kernel, the file system or a sandbox does not offer the call, as opposed to failing it.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), Unsupported | InvalidInput | PermissionDenied)
}

/// Renames a directory of derived data out of the way, for the index's rebuild. Nothing durable
/// rests on it, so no flush follows.
///
/// # Errors
/// What the operating system reports.
#[allow(clippy::disallowed_methods, reason = "this module is where files are renamed")]
pub fn rename_aside(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}
