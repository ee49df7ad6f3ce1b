//! One process at a time on a data directory.
//!
//! In scope: the advisory lock on the file `LOCK`, released by the kernel when the process ends, however
//! it ends. Out of scope: machines that share a directory over a network; the journal's
//! create-if-absent stops those.
//! Invariant: the file stays when the lock is released, because removing it would let two processes
//! hold locks on two files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Name of the lock file in the data directory.
pub const LOCK_FILE: &str = "LOCK";

/// Longest content read from a lock file: a process number is at most 10 digits.
const LOCK_BYTES_MAX: u64 = 32;

/// The right to write to a data directory, held until dropped.
#[derive(Debug)]
pub struct DirLock {
    path: PathBuf,
    _file: File,
}

/// The lock of a data directory was not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use{}: stop the other process or give another directory", .path.display(), by(*.pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the file says about the holder; `None` where it says nothing.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked or written.
    #[error("could not lock {}: {error}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        error: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl DirLock {
    /// Takes the lock of `dir`, making the directory where it is missing, and writes this process's
    /// number into the lock file for people to read.
    ///
    /// # Errors
    /// [`LockError::Held`] at once, without waiting, where another holder lives; [`LockError::Io`]
    /// where the file cannot be used.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_FILE);
        let failure = |error| LockError::Io { path: path.clone(), error };
        std::fs::create_dir_all(dir).map_err(failure)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failure)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { pid: written(&mut file), path });
            }
            Err(TryLockError::Error(error)) => return Err(failure(error)),
        }
        file.set_len(0).map_err(failure)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failure)?;
        Ok(Self { path, _file: file })
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Who holds the lock of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, and its number where the lock file says it.
    Process(Option<u32>),
}

/// Looks who holds the lock of `dir`, without keeping it and without writing.
///
/// # Errors
/// [`LockError::Io`] where the file cannot be opened or its lock not be asked for.
pub fn holder(dir: &Path) -> Result<Holder, LockError> {
    let path = dir.join(LOCK_FILE);
    let failure = |error| LockError::Io { path: path.clone(), error };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(failure(error)),
    };
    // Shared, and let go of at once: two who look do not see each other.
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(written(&mut file))),
        Err(TryLockError::Error(error)) => Err(failure(error)),
    }
}

fn written(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let lock = DirLock::acquire(&data).unwrap();
        let error = DirLock::acquire(&data).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{text}"
        );
        assert!(text.contains(&*lock.path().to_string_lossy()), "{text}");
        drop(lock);
        DirLock::acquire(&data).unwrap();
    }

    #[test]
    fn looking_at_a_lock_tells_who_has_it_and_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), Holder::Nobody);
        assert!(!dir.path().join(LOCK_FILE).exists());
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(holder(dir.path()).unwrap(), Holder::Process(Some(std::process::id())));
        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), Holder::Nobody);
    }

    #[test]
    fn a_lock_left_by_a_process_that_ended_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        {
            let _lock = DirLock::acquire(dir.path()).unwrap();
        }
        assert!(dir.path().join(LOCK_FILE).exists());
        let lock = DirLock::acquire(dir.path()).unwrap();
        let written = std::fs::read_to_string(lock.path()).unwrap();
        assert_eq!(written, format!("{}\n", std::process::id()));
    }
}
