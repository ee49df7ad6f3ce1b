//! Small files that hold a secret and that their owner alone may read.
//!
//! In scope: creating such a file in one durable step without ever replacing another, reading it,
//! refusing one that others can read, overwriting and unlinking it. Out of scope: what is in it.
//! These files do not go through `store`, which may keep several copies of what it is given and
//! need not live on this machine.
//!
//! Invariants: a file is there whole, with mode 0600 from its first byte on, or not at all; no
//! error shows content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest secret file in bytes: a key ring with 200 lines of 80 bytes.
pub const SECRET_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Why a secret file could not be made, read or destroyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Somebody else than the owner may read or write it.
    #[error(
        "{} holds a secret but its mode is {mode:04o}, so others than its owner can reach it; \
         run `chmod 600` on it, and replace the secret if someone may have read it",
        path.display()
    )]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of this name is there; secrets are never replaced in place.
    #[error("{} already exists and is not replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Larger than any secret file of ours.
    #[error("{} has over {SECRET_FILE_BYTES_MAX} bytes, so it is no file of secrets", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's error.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    move |error| SecretFileError::Io { action, path: path.to_owned(), error }
}

/// The bytes of the file, or `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SecretFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    // Asked of the open file, so that it is this file whose mode is judged.
    let mode = file.metadata().map_err(failed("read the mode of", path))?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(SecretFileError::ReadableByOthers { path: path.to_owned(), mode });
    }
    let capacity = usize::try_from(SECRET_FILE_BYTES_MAX).unwrap_or_default();
    // Room for all from the start: growing would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity.saturating_add(1)));
    let mut limited = file.take(SECRET_FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() > capacity {
        return Err(SecretFileError::TooLong { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

/// Creates the file with `bytes`, durably, and its directory (mode 0700) where that is missing.
///
/// The bytes are written under another name and linked to `path`, which fails where `path` exists:
/// a crash leaves the whole file or none.
///
/// # Errors
/// [`SecretFileError::Exists`] where `path` exists; else what the operating system reports.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
    let dir = dir_of(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("create the directory", dir))?;
    let unfinished = unfinished_name(path);
    remove_if_there(&unfinished)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed("create", &unfinished))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let linked = written.map_err(failed("write", &unfinished)).and_then(|()| {
        fs::hard_link(&unfinished, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SecretFileError::Exists { path: path.to_owned() },
            _ => failed("create", path)(error),
        })
    });
    let removed = remove_if_there(&unfinished);
    linked.and(removed)?;
    sync_dir(dir)
}

/// Overwrites the file with zeros, durably, and unlinks it. A missing file is no error.
///
/// Weaker than it looks, and said to be so: a copy-on-write or log-structured file system, a flash
/// disk's spare blocks, a snapshot or a backup may keep the old bytes.
pub(super) fn destroy(path: &Path) -> Result<(), SecretFileError> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open for overwriting", path)(error)),
    };
    let length = file.metadata().map_err(failed("read the length of", path))?.len();
    let zeros = vec![0; usize::try_from(length.min(SECRET_FILE_BYTES_MAX)).unwrap_or_default()];
    file.write_all(&zeros).and_then(|()| file.sync_all()).map_err(failed("overwrite", path))?;
    drop(file);
    remove_if_there(path)?;
    sync_dir(dir_of(path))
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<(), SecretFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), SecretFileError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("make durable", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn created_owner_only_whole_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/secret");
        assert!(read(&path).unwrap().is_none());
        create(&path, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("keys")).unwrap().mode() & 0o7777, 0o700);
        assert!(matches!(create(&path, b"second"), Err(SecretFileError::Exists { .. })));
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"first");
        assert_eq!(fs::read_dir(dir.path().join("keys")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_unfinished_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&unfinished_name(&path), b"hal").unwrap();
        create(&path, b"half").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"half");
    }

    #[test]
    fn a_file_others_can_reach_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"s3cr3t").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("chmod 600") && text.contains(&format!("{mode:04o}")), "{text}");
            assert!(!text.contains("s3cr3t"));
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(read(&path).unwrap().is_some());
        }
    }

    #[test]
    fn destroying_overwrites_before_it_unlinks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"s3cr3t").unwrap();
        let other_name = dir.path().join("other-name");
        fs::hard_link(&path, &other_name).unwrap();
        destroy(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(&other_name).unwrap(), [0; 6]);
        destroy(&path).unwrap();
    }

    #[test]
    fn an_overlong_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, &vec![b'x'; usize::try_from(SECRET_FILE_BYTES_MAX).unwrap()]).unwrap();
        assert!(read(&path).unwrap().is_some());
        let longer = dir.path().join("longer");
        create(&longer, &vec![b'x'; usize::try_from(SECRET_FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(matches!(read(&longer), Err(SecretFileError::TooLong { .. })));
    }
}
