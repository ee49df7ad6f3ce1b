//! The key files that are kept apart from a backup.
//!
//! In scope: signing keys, readers' keys and the records of API keys, copied to a directory of their own and
//! placed again. Out of scope: the vault's root keys, which no copy of key files holds. Invariants: every
//! file is made for its owner alone; nothing that exists is replaced; `admin.key` stays where it is, since
//! it is good for everything and another can be made.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::store::{DiskStorage, Operation, Storage, StoreError, make_empty_private};
use crate::vault::secret_file;

use super::BackupError;

/// Files below `keys/` that are not copied: a key that is good for everything, and what nothing needs.
const LEFT_OUT: [&str; 2] = ["admin.key", "last-used.json"];

/// What a secret file is called while it is made.
const UNFINISHED: &str = ".unfinished";

/// Longest key file, in bytes: records of 10,000 API keys with a hundred sources each, many times.
const KEY_FILE_BYTES_MAX: u64 = 64 << 20;

/// Copies the key files of `ledgers` from `from` to `to`, which must be empty or missing, but for those
/// of `others`. Gives their paths in it.
pub(super) fn keep(
    from: &Path,
    to: &Path,
    ledgers: &[String],
    others: &[String],
) -> Result<Vec<String>, BackupError> {
    make_empty_private(to)?;
    let paths = paths_in(from, ledgers, others)?;
    for path in &paths {
        place(&from.join(path), &to.join(path), path)?;
    }
    Ok(paths)
}

/// Places the key files of `ledgers` that were kept in `from` into the data directory `to`.
pub(super) fn restore(from: &Path, to: &Path, ledgers: &[String]) -> Result<Vec<String>, BackupError> {
    let storage = DiskStorage::open_read_only(from)?;
    if storage.list("keys")?.is_empty() {
        return Err(BackupError::missing(&from.join("keys").display().to_string()));
    }
    let paths = paths_in(from, ledgers, &[])?;
    for path in &paths {
        place(&from.join(path), &to.join(path), path)?;
    }
    Ok(paths)
}

fn paths_in(dir: &Path, ledgers: &[String], others: &[String]) -> Result<Vec<String>, BackupError> {
    let storage = DiskStorage::open_read_only(dir)?;
    let mut paths = Vec::new();
    for name in storage.list("keys")? {
        let path = format!("keys/{name}");
        let of_other = name.split('.').next().is_some_and(|of| others.iter().any(|other| other == of));
        let wanted = !LEFT_OUT.contains(&name.as_str()) && !name.ends_with(UNFINISHED) && !of_other;
        if wanted && storage.exists(&path)? {
            paths.push(path);
        }
    }
    for ledger in ledgers {
        let path = format!("ledgers/{ledger}/reader.key");
        if !storage.exists(&path)? {
            return Err(BackupError::missing(&dir.join(path).display().to_string()));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Copies one key file, durably.
fn place(from: &Path, to: &Path, path: &str) -> Result<(), BackupError> {
    let failure = |error: io::Error| StoreError::from_io(Operation::Read, path, &error);
    let file = fs::File::open(from).map_err(failure)?;
    let len = file.metadata().map_err(failure)?.len().min(KEY_FILE_BYTES_MAX);
    // Room for all from the start: growing would leave copies behind that nobody wipes.
    let capacity = usize::try_from(len).unwrap_or_default().saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failure)?;
    Ok(secret_file::create(to, &bytes)?)
}
