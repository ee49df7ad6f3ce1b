//! A machine whose power can fail at any step, with a storage and a custodian.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::log::hash::sha256;
use crate::store::{AppendFile, Operation, Storage, StoreError};
use crate::vault::custody::{CustodyError, RootCustody, RootKey, RootKeys};
use crate::vault::error::VaultError;
use crate::vault::keytree::KeyTree;
use crate::vault::slot::Slot;

pub(super) const PREFIX: &str = "vault";

/// Content that no other slot and no other `byte` has, so that it can be searched for.
pub(super) fn slot(number: u64, byte: u8) -> Slot {
    let bytes = |what: &str| sha256(format!("{what} {number} {byte}").as_bytes()).0;
    Slot { secret: Zeroizing::new(bytes("secret")), meta: bytes("meta") }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    durable: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    root_keys: Vec<RootKey>,
    written: Vec<(String, Vec<u8>)>,
    /// Changes that still succeed; the one after them fails, and so does all that follows.
    left: Option<u64>,
    changes: u64,
    /// Whether the change during which the power fails is done all the same.
    is_last_done: bool,
    /// Whether the failure passes, like that of a full disk, instead of being the last.
    is_passing: bool,
    is_dead: bool,
}

/// What is left after power has failed.
#[derive(Clone, Debug)]
pub(super) struct Machine(Arc<Mutex<Disk>>);

impl Machine {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub(super) fn custody(&self) -> Box<dyn RootCustody> {
        Box::new(self.clone())
    }

    pub(super) fn create(&self) -> Result<KeyTree, VaultError> {
        KeyTree::create(self.storage(), PREFIX, self.custody())
    }

    pub(super) fn open(&self) -> Result<KeyTree, VaultError> {
        KeyTree::open(self.storage(), PREFIX, self.custody())
    }

    pub(super) fn open_or_create(&self) -> Result<KeyTree, VaultError> {
        KeyTree::open_or_create(self.storage(), PREFIX, self.custody())
    }

    /// Everything that was ever written, with names relative to the tree's prefix.
    pub(super) fn written(&self) -> Vec<(String, Vec<u8>)> {
        self.0.lock().unwrap().written.clone()
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    pub(super) fn root_keys(&self) -> Vec<RootKey> {
        self.0.lock().unwrap().root_keys.clone()
    }

    pub(super) fn lose_root_key(&self) {
        self.0.lock().unwrap().root_keys.clear();
    }

    /// The power fails after `changes` more; `is_last_done` says what becomes of the next one.
    pub(super) fn cut_power_after(&self, changes: u64, is_last_done: bool) {
        let mut disk = self.0.lock().unwrap();
        disk.left = Some(changes);
        disk.is_last_done = is_last_done;
    }

    /// One change fails after `changes` more, and those after it succeed again.
    pub(super) fn fail_once_after(&self, changes: u64) {
        let mut disk = self.0.lock().unwrap();
        disk.left = Some(changes);
        disk.is_passing = true;
    }

    pub(super) fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }

    /// The machine as it starts again: of each file written since the last sync round the old or the
    /// new bytes are there, or none, or a part, or zeros, by `seed`.
    pub(super) fn restart(&self, seed: u64) -> Self {
        let disk = self.0.lock().unwrap();
        let mut files = disk.durable.clone();
        for (path, bytes) in &disk.files {
            if disk.durable.get(path) == Some(bytes) {
                continue;
            }
            match sha256(format!("{seed} {path}").as_bytes()).0[0] % 5 {
                0 => {}
                1 => drop(files.insert(path.clone(), bytes.clone())),
                2 => drop(files.remove(path)),
                3 => drop(files.insert(path.clone(), bytes[..bytes.len() / 2].to_vec())),
                _ => drop(files.insert(path.clone(), vec![0; bytes.len()])),
            }
        }
        let durable = files.clone();
        let root_keys = disk.root_keys.clone();
        Self(Arc::new(Mutex::new(Disk { durable, files, root_keys, ..Disk::default() })))
    }

    /// The machine with the power still on, after the process died: memory is kept.
    pub(super) fn revive(&self) -> Self {
        let disk = self.0.lock().unwrap().clone();
        Self(Arc::new(Mutex::new(Disk { left: None, is_dead: false, ..disk })))
    }

    fn change(&self, path: &str, apply: impl FnOnce(&mut Disk)) -> Result<(), StoreError> {
        let mut disk = self.0.lock().unwrap();
        let dead = Err(StoreError::new(Operation::Write, path, io::ErrorKind::Other, "no power"));
        if disk.is_dead {
            return dead;
        }
        disk.changes += 1;
        match disk.left {
            Some(0) => {
                disk.left = None;
                disk.is_dead = !disk.is_passing;
                if disk.is_last_done {
                    apply(&mut disk);
                }
                return dead;
            }
            Some(left) => disk.left = Some(left - 1),
            None => {}
        }
        apply(&mut disk);
        Ok(())
    }
}

fn relative(path: &str) -> String {
    path.strip_prefix(&format!("{PREFIX}/")).unwrap().to_owned()
}

impl Storage for Machine {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().files.get(path).cloned())
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.read(path)?.map(|bytes| bytes.len() as u64))
    }

    fn read_range(&self, _: &str, _: u64, _: usize) -> Result<Vec<u8>, StoreError> {
        panic!("the key tree reads whole files")
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(path, |disk| {
            disk.files.insert(path.to_owned(), bytes.to_vec());
            disk.written.push((relative(path), bytes.to_vec()));
        })
    }

    fn write_durable(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(path, |disk| {
            disk.files.insert(path.to_owned(), bytes.to_vec());
            disk.durable.insert(path.to_owned(), bytes.to_vec());
            disk.written.push((relative(path), bytes.to_vec()));
        })
    }

    fn sync_round(&self) -> Result<(), StoreError> {
        self.change("", |disk| disk.durable = disk.files.clone())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let start = format!("{dir}/");
        let disk = self.0.lock().unwrap();
        let mut names: Vec<String> = disk
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&start)?.split('/').next().map(str::to_owned))
            .collect();
        names.dedup();
        Ok(names)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.change(path, |disk| drop(disk.files.remove(path)))
    }

    fn remove_tree(&self, _: &str) -> Result<(), StoreError> {
        panic!("the key tree removes no directory")
    }

    fn open_append(&self, _: &str, _: u64) -> Result<Box<dyn AppendFile>, StoreError> {
        panic!("the key tree appends to nothing")
    }

    fn truncate(&self, _: &str, _: u64) -> Result<(), StoreError> {
        panic!("the key tree cuts nothing")
    }
}

impl RootCustody for Machine {
    fn load(&self) -> Result<Option<RootKeys>, CustodyError> {
        let keys = &self.0.lock().unwrap().root_keys;
        let has_older = keys.len() > 1;
        Ok(keys.last().map(|current| RootKeys { current: current.clone(), has_older }))
    }

    fn store_new(&mut self, key: &RootKey) -> Result<(), CustodyError> {
        let key = key.clone();
        self.change("root key", |disk| disk.root_keys.push(key))
            .map_err(|error| CustodyError::Other(error.to_string()))
    }

    fn destroy_old(&mut self) -> Result<(), CustodyError> {
        self.change("root key", |disk| drop(disk.root_keys.drain(..disk.root_keys.len() - 1)))
            .map_err(|error| CustodyError::Other(error.to_string()))
    }
}
