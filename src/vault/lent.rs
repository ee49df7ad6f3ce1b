//! Root keys apart from the custodian that keeps them: for whoever reads a copy of a vault.
//!
//! In scope: a root key held in memory, and finding the key files that somebody kept. Out of scope: keeping
//! a ledger's own root key ([`custody`](super::custody)). Invariants: a lent key changes nothing and
//! destroys nothing; a key file is believed only where name, number and check value agree.

use std::fmt::{self, Debug};
use std::fs;
use std::path::{Path, PathBuf};

use super::custody::{
    CustodyError, FileCustody, ROOT_KEY_ID_BYTES, RootCustody, RootKey, RootKeys, line, number_in, parse,
};
use super::secret_file;

/// A custodian that lends one key for reading.
#[derive(Debug, Clone)]
pub struct LentRoot(RootKey);

impl LentRoot {
    /// Lends `key`.
    #[must_use]
    pub fn new(key: RootKey) -> Self {
        Self(key)
    }
}

impl RootCustody for LentRoot {
    fn load(&self) -> Result<Option<RootKeys>, CustodyError> {
        Ok(Some(RootKeys { current: self.0.clone(), has_older: false }))
    }

    fn store_new(&mut self, _key: &RootKey) -> Result<(), CustodyError> {
        Err(CustodyError::Other("a key that is lent for reading is not replaced".to_owned()))
    }

    fn destroy_old(&mut self) -> Result<(), CustodyError> {
        Ok(())
    }
}

/// A root key and the number of its file.
#[derive(Clone)]
pub struct StoredRoot {
    /// The number in its file's name: higher is newer.
    pub number: u64,
    /// The key.
    pub key: RootKey,
    /// Where it was read.
    pub path: PathBuf,
}

impl Debug for StoredRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRoot").field("number", &self.number).finish_non_exhaustive()
    }
}

impl StoredRoot {
    /// The newest key that a ledger's custodian of files keeps in `dir`; `None` where there is none.
    ///
    /// # Errors
    /// Where the key is there and cannot be read.
    pub fn newest_in(dir: &Path) -> Result<Option<Self>, CustodyError> {
        let custody = FileCustody::new(dir);
        let newest = || Ok::<_, CustodyError>(custody.numbers()?.last().copied());
        let Some(mut number) = newest()? else { return Ok(None) };
        loop {
            match (Self::read(&custody.path(number)), newest()?) {
                // Rotations by a running server have replaced it between the two.
                (Err(_), Some(newer)) if newer > number => number = newer,
                (read, _) => return read.map(Some),
            }
        }
    }

    /// The key in the file `path`, which must be named as a custodian names it.
    ///
    /// # Errors
    /// Where others can read the file, or it is no root key's.
    pub fn read(path: &Path) -> Result<Self, CustodyError> {
        let damaged = || CustodyError::Damaged { path: path.to_owned() };
        let number = path.file_name().and_then(|name| number_in(name.to_str()?)).ok_or_else(damaged)?;
        let bytes = secret_file::read(path)?.ok_or_else(damaged)?;
        let key = parse(&bytes, number).ok_or_else(damaged)?;
        Ok(Self { number, key, path: path.to_owned() })
    }

    /// Every root key at `path`: that of the file, or those in the directory and in the directories in
    /// it, such as `main.vault-root`.
    ///
    /// # Errors
    /// Where a directory cannot be listed, or a key file not be read.
    pub fn all_at(path: &Path) -> Result<Vec<Self>, CustodyError> {
        if !path.is_dir() {
            return Ok(vec![Self::read(path)?]);
        }
        let mut found = keys_in(path)?;
        for dir in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
            found.extend(keys_in(&dir)?);
        }
        Ok(found)
    }

    /// Puts the key into `dir` as its custodian keeps it.
    ///
    /// # Errors
    /// Where a file of its name is there, or it cannot be written durably.
    pub fn put_into(&self, dir: &Path) -> Result<(), CustodyError> {
        let path = FileCustody::new(dir).path(self.number);
        Ok(secret_file::create(&path, line(self.number, &self.key).as_bytes())?)
    }

    /// The key's id, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        let id: [u8; ROOT_KEY_ID_BYTES] = self.key.id();
        hex::encode(id)
    }

    /// Name of the key's file.
    #[must_use]
    pub fn file_name(&self) -> String {
        FileCustody::new("").path(self.number).display().to_string()
    }
}

fn keys_in(dir: &Path) -> Result<Vec<StoredRoot>, CustodyError> {
    let is_key = |path: &PathBuf| path.file_name().and_then(|n| number_in(n.to_str()?)).is_some();
    entries(dir)?.iter().filter(|path| is_key(path)).map(|path| StoredRoot::read(path)).collect()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, CustodyError> {
    let failed = |error| CustodyError::List { dir: dir.to_owned(), error };
    let listed = fs::read_dir(dir).map_err(failed)?;
    let mut found = listed
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect::<Result<Vec<PathBuf>, CustodyError>>()?;
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStorage, Storage};
    use crate::vault::{KeyReader, KeyTree, Slot, SlotNumber};
    use std::sync::Arc;
    use zeroize::Zeroizing;

    fn slot(byte: u8) -> Slot {
        Slot { secret: Zeroizing::new([byte; 32]), meta: [byte; 32] }
    }

    /// The files of a storage, for a copy.
    fn copy_of(storage: &dyn Storage, dir: &str, into: &dyn Storage) {
        for name in storage.list(dir).unwrap() {
            let path = format!("{dir}/{name}");
            match storage.read(&path).unwrap() {
                Some(bytes) => into.write_durable(&path, &bytes).unwrap(),
                None => copy_of(storage, &path, into),
            }
        }
    }

    #[test]
    fn a_copy_of_the_vault_from_before_a_destruction_opens_with_no_key_of_after() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("main.vault-root");
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let custody = Box::new(FileCustody::new(&root));
        let tree = KeyTree::create(Arc::clone(&storage), "vault/main", custody).unwrap();
        tree.put(&[(SlotNumber(1), slot(1)), (SlotNumber(2), slot(2))]).unwrap();
        let before = StoredRoot::newest_in(&root).unwrap().unwrap();
        let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        copy_of(&*storage, "vault", &*copy);
        let open = |copy: &Arc<dyn Storage>, key: &StoredRoot| {
            let lent = Box::new(LentRoot::new(key.key.clone()));
            KeyReader::open(Arc::clone(copy), "vault/main", lent)
        };
        assert_eq!(open(&copy, &before).unwrap().get(SlotNumber(1)).unwrap(), Some(slot(1)));

        tree.destroy(&[SlotNumber(1)]).unwrap();
        let after = StoredRoot::newest_in(&root).unwrap().unwrap();
        assert_eq!((before.number, after.number), (1, 2));
        assert_ne!(before.id(), after.id());
        let kept: Vec<_> =
            StoredRoot::all_at(dir.path()).unwrap().iter().map(|key| key.number).collect();
        assert_eq!(kept, [2], "the old root key is gone");
        assert!(open(&copy, &after).is_err(), "a copy from before opens nothing, of nobody");
        let current = open(&storage, &after).unwrap();
        assert_eq!(current.get(SlotNumber(2)).unwrap(), Some(slot(2)));
        assert_eq!(current.get(SlotNumber(1)).unwrap(), None);
    }

    #[test]
    fn keys_are_found_by_file_and_by_directory_and_refused_where_others_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let stored = StoredRoot { number: 7, key: RootKey::from_bytes([7; 32]), path: PathBuf::new() };
        let keys = dir.path().join("main.vault-root");
        stored.put_into(&keys).unwrap();
        let file = keys.join(stored.file_name());
        for place in [dir.path(), &keys, &file] {
            let found = StoredRoot::all_at(place).unwrap();
            assert_eq!(found.len(), 1, "{}", place.display());
            assert_eq!((found[0].number, found[0].id()), (7, stored.id()));
        }
        assert!(!format!("{stored:?}").contains("07"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(StoredRoot::read(&file), Err(CustodyError::File(_))));
        assert!(StoredRoot::newest_in(&dir.path().join("none")).unwrap().is_none());
        assert!(StoredRoot::read(&keys).is_err());
    }
}
