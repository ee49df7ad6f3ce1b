//! Files of the fold, kept in memory for readers.
//!
//! In scope: full tiles, entry bundles and decoded sealed bundles, in two bounded generations.
//! Out of scope: what they mean. Invariants: entries are given out only after they were held against
//! their tile; only files that no longer change are cached by path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::log::hash::{Hash, leaf_hash};
use crate::log::tile::{self, BundleId, TILE_WIDTH, TileId};
use crate::store::sealed::{SealedBundle, StoredPart};

use super::Shared;
use super::error::LedgerError;
use super::fold::sealed_path;

/// Files kept in each generation: a bundle is about 100 kB and a sealed bundle 150 kB, so two
/// generations hold at most about 64 MB.
const CACHED_FILES_MAX: usize = 256;

/// Two generations of one kind of file.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<String, Arc<T>>,
    old: HashMap<String, Arc<T>>,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T> Generations<T> {
    fn get(&mut self, path: &str) -> Option<Arc<T>> {
        if let Some(found) = self.young.get(path) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(path)?;
        self.insert(path.to_owned(), Arc::clone(&found));
        Some(found)
    }

    fn forget(&mut self, path: &str) {
        self.young.remove(path);
        self.old.remove(path);
    }

    fn insert(&mut self, path: String, value: Arc<T>) {
        if self.young.len() >= CACHED_FILES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(path, value);
    }
}

/// An entry bundle with the place of each entry.
#[derive(Debug)]
struct EntryBundle {
    entries: Vec<Arc<[u8]>>,
}

/// The cache of one ledger.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    tiles: Mutex<Generations<Arc<[u8]>>>,
    bundles: Mutex<Generations<EntryBundle>>,
    sealed: Mutex<Generations<SealedBundle>>,
}

impl FileCache {
    /// A full hash tile.
    pub(crate) fn tile(&self, shared: &Shared, id: TileId) -> Result<Arc<[u8]>, LedgerError> {
        let path = id.path();
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tile) = tiles.get(&path) {
            return Ok(Arc::clone(&tile));
        }
        let bytes: Arc<[u8]> = Arc::from(must_read(shared, &path)?);
        tiles.insert(path, Arc::new(Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// One entry of a full bundle.
    pub(crate) fn entry(&self, shared: &Shared, index: u64) -> Result<Arc<[u8]>, LedgerError> {
        let path = BundleId { index: index / TILE_WIDTH, width: 256 }.path();
        let found = self.bundles.lock().unwrap_or_else(PoisonError::into_inner).get(&path);
        let bundle = if let Some(bundle) = found {
            bundle
        } else {
            let bundle = Arc::new(self.read_bundle(shared, index / TILE_WIDTH, &path)?);
            let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
            bundles.insert(path.clone(), Arc::clone(&bundle));
            bundle
        };
        let at = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        bundle.entries.get(at).cloned().ok_or_else(|| LedgerError::Damage {
            file: path,
            what: format!("{} entries, so entry {index} is missing", bundle.entries.len()),
        })
    }

    /// Reads a full bundle and holds each entry against its leaf hash, so that a byte that was
    /// flipped on disk is an error and never an answer. Hashing takes about as long as the read.
    fn read_bundle(&self, shared: &Shared, bundle: u64, path: &str) -> Result<EntryBundle, LedgerError> {
        let damage = |what: String| LedgerError::Damage { file: shared.path(path), what };
        let id = TileId { level: 0, index: bundle, width: 256 };
        let leaves = self.tile(shared, id)?;
        let bytes = must_read(shared, path)?;
        let mut entries = Vec::with_capacity(256);
        let mut leaves = leaves.chunks_exact(Hash::LEN);
        for (index, entry) in (bundle * TILE_WIDTH..).zip(tile::bundle_entries(&bytes)) {
            let entry = entry.map_err(|error| damage(error.to_string()))?;
            if leaves.next() != Some(leaf_hash(entry).as_bytes().as_slice()) {
                // Whichever of the two is wrong may be put right on disk meanwhile.
                self.tiles.lock().unwrap_or_else(PoisonError::into_inner).forget(&id.path());
                return Err(damage(format!("entry {index} does not have the leaf hash of its tile")));
            }
            entries.push(Arc::from(entry));
        }
        Ok(EntryBundle { entries })
    }

    /// The stored parts of an entry whose bundle is full.
    pub(crate) fn parts(&self, shared: &Shared, index: u64) -> Result<Vec<StoredPart>, LedgerError> {
        let path = sealed_path(BundleId { index: index / TILE_WIDTH, width: 256 });
        let found = self.sealed.lock().unwrap_or_else(PoisonError::into_inner).get(&path);
        let bundle = if let Some(bundle) = found {
            bundle
        } else {
            let bytes = must_read(shared, &path)?;
            let bundle = SealedBundle::decode(&bytes, index / TILE_WIDTH)
                .map_err(|error| LedgerError::Damage { file: path.clone(), what: error.to_string() })?;
            let bundle = Arc::new(bundle);
            let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
            sealed.insert(path.clone(), Arc::clone(&bundle));
            bundle
        };
        let at = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        bundle.entries.get(at).cloned().ok_or_else(|| LedgerError::Damage {
            file: path,
            what: format!("{} entries, so the parts of {index} are missing", bundle.entries.len()),
        })
    }
}

fn must_read(shared: &Shared, path: &str) -> Result<Vec<u8>, LedgerError> {
    shared
        .storage
        .read(&shared.path(path))?
        .ok_or_else(|| LedgerError::Damage { file: shared.path(path), what: "missing".to_owned() })
}
