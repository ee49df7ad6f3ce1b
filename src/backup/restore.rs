//! Restoring a backup into an empty directory.
//!
//! In scope: checking every file against the manifest, placing keys, holding the log against what others
//! kept of it. Out of scope: starting a server on it. Invariants: nothing that exists is touched; on an error
//! the directory is left empty; `counterfoil.toml`, by which a server tells a data directory, comes last.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::audit::ahead::root_at;
use crate::audit::files::DirectoryLog;
use crate::config::CONFIG_FILE;
use crate::event::keys::ledger_id;
use crate::ledger::{KeyFiles, LedgerError, NotExtended, Witnessed};
use crate::log::checkpoint;
use crate::log::hash::{Hash, TreeSize};
use crate::store::{Copier, DiskStorage, Operation, Storage, StoreError, check_path};
use crate::vault::{KeyRing, StoredRoot, signer};

use super::files::list_line;
use super::make::refuse_within;
use super::manifest::{LIST_FILE, LedgerBackup, Manifest};
use super::{BackupError, keys, vault};

/// What is to be restored, and where to.
#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// The backup.
    pub from: &'a Path,
    /// A directory that is empty or missing.
    pub data: &'a Path,
    /// The directory of key files that was written beside the backup.
    pub keys: Option<&'a Path>,
    /// Files of root keys, or directories with them.
    pub root_keys: &'a [PathBuf],
    /// Checkpoints that others kept, which the log must extend.
    pub witnessed: &'a [Witnessed],
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// Paths of the key files that were placed.
    pub keys: Vec<String>,
    /// Paths of the root keys that were placed.
    pub root_keys: Vec<String>,
}

/// Restores a backup. `progress` is told how many files of how many are done.
///
/// # Errors
/// [`BackupError`]; the directory is empty then.
pub fn restore(
    request: &RestoreRequest<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(request.from)?;
    refuse_within(request.data, request.from)?;
    let roots = match request.root_keys {
        [] => Vec::new(),
        given => roots_for(&manifest, given)?,
    };
    let mut copier = Copier::open(request.from, request.data)?;
    let restored = fill(request, &manifest, &roots, &mut copier, progress);
    match restored {
        Ok((keys, root_keys)) => Ok(Restored { manifest, keys, root_keys }),
        Err(error) => {
            copier.clear()?;
            Err(error)
        }
    }
}

type Placed = (Vec<String>, Vec<String>);

fn fill(
    request: &RestoreRequest<'_>,
    manifest: &Manifest,
    roots: &[(String, StoredRoot)],
    copier: &mut Copier,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Placed, BackupError> {
    let config = copy_listed(request.from, manifest, copier, progress)?;
    extends(request, manifest)?;
    let names: Vec<String> = manifest.ledgers.iter().map(|ledger| ledger.name.clone()).collect();
    let keys = match request.keys {
        Some(from) => keys::restore(from, request.data, &names)?,
        None => Vec::new(),
    };
    if request.keys.is_some() {
        manifest.ledgers.iter().try_for_each(|ledger| keys_fit(request.data, ledger))?;
    }
    let mut placed = Vec::new();
    for (name, root) in roots {
        vault::open(request.data, name, root)?;
        let dir = KeyFiles::of(request.data, name).root;
        root.put_into(&dir)?;
        placed.push(format!("keys/{name}.vault-root/{}", root.file_name()));
    }
    copier.sync()?;
    if copier.copy(CONFIG_FILE)?.map(|file| file.sha256) != Some(config) {
        return Err(damaged(CONFIG_FILE));
    }
    copier.sync()?;
    Ok((keys, placed))
}

fn damaged(file: &str) -> BackupError {
    BackupError::Damaged { file: file.to_owned(), what: "is not what was backed up" }
}

/// Copies every file of the list but the settings, whose hash is given back.
fn copy_listed(
    from: &Path,
    manifest: &Manifest,
    copier: &mut Copier,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Hash, BackupError> {
    // Copied as well, since it must be whole before it is believed; it goes again.
    let list = copier.copy(LIST_FILE)?.ok_or_else(|| BackupError::missing(LIST_FILE))?;
    copier.remove(LIST_FILE)?;
    if list.sha256 != manifest.list_sha256 {
        return Err(damaged(LIST_FILE));
    }
    let failure = |error: std::io::Error| StoreError::from_io(Operation::Read, LIST_FILE, &error);
    let lines = BufReader::new(File::open(from.join(LIST_FILE)).map_err(failure)?).lines();
    let (mut files, mut config) = (0, None);
    for line in lines {
        let line = line.map_err(failure)?;
        let (sha256, path) = list_line(&line).ok_or_else(|| damaged(LIST_FILE))?;
        check_path(Operation::Read, path)?;
        files += 1;
        if path == CONFIG_FILE {
            config = Some(sha256);
            continue;
        }
        let what = "is missing";
        let missing = || BackupError::Damaged { file: path.to_owned(), what };
        if copier.copy(path)?.ok_or_else(missing)?.sha256 != sha256 {
            return Err(damaged(path));
        }
        progress(files, manifest.files);
    }
    match config {
        Some(sha256) if files == manifest.files => Ok(sha256),
        _ => Err(damaged(LIST_FILE)),
    }
}

/// Holds each restored log against its manifest and against what others kept of it.
fn extends(request: &RestoreRequest<'_>, manifest: &Manifest) -> Result<(), BackupError> {
    for ledger in &manifest.ledgers {
        let storage = DiskStorage::open_read_only(&request.data.join("ledgers").join(&ledger.name))?;
        let log = DirectoryLog::new(&storage);
        let path = format!("ledgers/{}/checkpoint", ledger.name);
        let note = storage.read("checkpoint")?.ok_or_else(|| BackupError::missing(&path))?;
        let published = checkpoint::open(&note, &ledger.verifier_key).map_err(|_| damaged(&path))?;
        let root = |size: u64| {
            let id = ledger_id(&ledger.origin);
            let reach = root_at(&log, id, published.size, Some(TreeSize(size)));
            reach.ok().and_then(|reach| reach.root)
        };
        if published.root != ledger.published_root || root(ledger.entries) != Some(ledger.root) {
            return Err(damaged(&format!("ledgers/{}", ledger.name)));
        }
        for each in request.witnessed.iter().filter(|each| each.origin == ledger.origin) {
            let opened = checkpoint::open(&each.note, &ledger.verifier_key);
            let kept = opened.map_err(|error| {
                let (file, name) = (&each.file, &ledger.name);
                BackupError::Config(format!("{file}: not signed by the key of ledger {name}: {error}"))
            })?;
            let what = match kept.size.0 > ledger.entries {
                true => NotExtended::RolledBack,
                false if root(kept.size.0) == Some(kept.root) => continue,
                false => NotExtended::Forked,
            };
            return Err(LedgerError::NotExtended {
                ledger: ledger.name.clone(),
                file: each.file.clone(),
                witnessed: kept.size.0,
                size: ledger.entries,
                what,
            }
            .into());
        }
    }
    let is_here = |each: &&Witnessed| manifest.ledgers.iter().any(|l| l.origin == each.origin);
    match request.witnessed.iter().find(|each| !is_here(each)) {
        Some(foreign) => {
            let (file, origin) = (&foreign.file, &foreign.origin);
            Err(BackupError::Config(format!(
                "{file}: a checkpoint of {origin}, which is not in the backup"
            )))
        }
        None => Ok(()),
    }
}

/// Whether the placed keys are those of the ledger.
fn keys_fit(data: &Path, ledger: &LedgerBackup) -> Result<(), BackupError> {
    let files = KeyFiles::of(data, &ledger.name);
    let key = signer::open(&files.signer, &ledger.origin)?;
    KeyRing::open(&files.reader)?;
    if key.verifier() == ledger.verifier_key {
        Ok(())
    } else {
        Err(BackupError::OtherKey { file: files.signer })
    }
}

/// The root key that each ledger needs, among those given.
fn roots_for(manifest: &Manifest, given: &[PathBuf]) -> Result<Vec<(String, StoredRoot)>, BackupError> {
    let mut found = Vec::new();
    for path in given {
        found.extend(StoredRoot::all_at(path)?);
    }
    let mut chosen = Vec::new();
    for ledger in &manifest.ledgers {
        let needed = &ledger.root_key;
        if let Some(root) = found.iter().find(|root| root.id() == needed.id) {
            chosen.push((ledger.name.clone(), root.clone()));
            continue;
        }
        let number = number_of(&needed.file);
        let of_ledger = found.iter().filter(|root| may_be_of(root, &ledger.name));
        let newest = of_ledger.map(|root| root.number).max();
        let newer = match newest.filter(|newest| Some(*newest) > number) {
            Some(newest) => format!(
                "; the newest of them is number {newest}, so a shred after this backup destroyed the one it \
                 needs: nothing of anybody in this backup opens any more, which is what a shred is for. The \
                 log still verifies; for content take a backup that was made after the shred"
            ),
            None => String::new(),
        };
        return Err(BackupError::NoRootKey {
            ledger: ledger.name.clone(),
            needed: format!("{} (id {})", needed.file, needed.id),
            newer,
        });
    }
    Ok(chosen)
}

/// Whether a key lies where a key of this ledger would: in its own directory, or in none of a ledger's.
fn may_be_of(root: &StoredRoot, ledger: &str) -> bool {
    let dir = root.path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let owner = dir.and_then(|dir| dir.strip_suffix(".vault-root"));
    owner.is_none_or(|owner| owner == ledger)
}

fn number_of(file: &str) -> Option<u64> {
    file.rsplit_once("root-")?.1.strip_suffix(".key")?.parse().ok()
}
