//! Files of the fold as readers use them: one entry or one event's parts at a time.
//!
//! In scope: where each entry and its parts lie in their bundles, kept so that only they are read; full
//! hash tiles; the few bundles that were read last, kept whole for whoever walks along the log.
//! Out of scope: what they mean. Invariants: entries are given out only after they were held against
//! their tile, parts only when their checksums fit; only files that no longer change are kept; what does
//! not fit what was kept is read anew before it is called damage.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash as HashKey;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::hash::{Hash, leaf_hash};
use crate::log::tile::{self, BundleId, TILE_WIDTH, TileId};
use crate::store::sealed::{BundleMask, Places, SealedBundle, SealedError, StoredPart};

use super::Shared;
use super::error::LedgerError;
use super::fold::sealed_path;

/// Tiles kept in each of two generations, 8 KiB each: 4 MiB.
const CACHED_TILES_MAX: usize = 256;

/// Bundles in each of two generations whose places are kept: 1 KiB for entries and 2 KiB for parts
/// each, 24 MiB for the newest-used two million events.
const CACHED_PLACES_MAX: usize = 4_096;

/// Bundles of either kind kept whole: about 100 kB of entries, 170 kB of parts.
const WHOLE_BUNDLES_MAX: usize = 8;

/// A larger bundle is not kept whole; one with attachments can have hundreds of megabytes.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// Two generations of one kind of thing: what is used moves to the young one, and when that is full
/// the old one goes.
#[derive(Debug)]
pub(super) struct Generations<K, T: ?Sized> {
    young: HashMap<K, Arc<T>>,
    old: HashMap<K, Arc<T>>,
    each_max: usize,
}

impl<K: HashKey + Eq + Copy, T: ?Sized> Generations<K, T> {
    pub(super) fn new(each_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), each_max }
    }

    pub(super) fn get(&mut self, key: K) -> Option<Arc<T>> {
        if let Some(found) = self.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(&key)?;
        self.insert(key, Arc::clone(&found));
        Some(found)
    }

    pub(super) fn forget(&mut self, key: K) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    pub(super) fn insert(&mut self, key: K, value: Arc<T>) {
        if self.young.len() >= self.each_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// What is kept of one kind of bundle.
#[derive(Debug)]
struct Bundles<P> {
    places: Generations<u64, P>,
    /// The bundles read last, whole, newest at the back.
    whole: VecDeque<(u64, Arc<Vec<u8>>)>,
    /// The bundle that a piece was read from last. A second piece of it means that somebody walks.
    last: Option<u64>,
}

/// The parts of an entry, and which mask key hides their owners.
pub(crate) type MaskedParts = (BundleMask, Vec<StoredPart>);

/// How to read from a bundle.
enum Found<P> {
    /// It is in memory.
    Whole(Arc<P>, Arc<Vec<u8>>),
    /// Its places are known.
    Places(Arc<P>),
    /// It is to be read whole.
    Unknown,
}

impl<P> Bundles<P> {
    fn new() -> Self {
        Self { places: Generations::new(CACHED_PLACES_MAX), whole: VecDeque::new(), last: None }
    }

    fn find(&mut self, bundle: u64) -> Found<P> {
        let is_walk = self.last.replace(bundle) == Some(bundle);
        let Some(places) = self.places.get(bundle) else { return Found::Unknown };
        match self.whole.iter().find(|(kept, _)| *kept == bundle) {
            Some((_, bytes)) => Found::Whole(places, Arc::clone(bytes)),
            None if is_walk => Found::Unknown,
            None => Found::Places(places),
        }
    }

    fn keep(&mut self, bundle: u64, places: Arc<P>, bytes: Option<Arc<Vec<u8>>>) {
        self.places.insert(bundle, places);
        let Some(bytes) = bytes else { return };
        self.whole.retain(|(kept, _)| *kept != bundle);
        if self.whole.len() >= WHOLE_BUNDLES_MAX {
            self.whole.pop_front();
        }
        self.whole.push_back((bundle, bytes));
    }

    fn forget(&mut self, bundle: u64) {
        self.places.forget(bundle);
        self.whole.retain(|(kept, _)| *kept != bundle);
    }
}

/// Where each entry begins in an entry bundle, after its length, and how long it is.
type EntryPlaces = Vec<(u32, u16)>;

/// The cache of one ledger.
#[derive(Debug)]
pub(crate) struct FileCache {
    /// Counts rewritten bundles: what was read before one is not kept after it.
    rewritten: AtomicU64,
    tiles: Mutex<Generations<TileId, [u8]>>,
    entries: Mutex<Bundles<EntryPlaces>>,
    parts: Mutex<Bundles<Places>>,
}

impl Default for FileCache {
    fn default() -> Self {
        Self {
            rewritten: AtomicU64::new(0),
            tiles: Mutex::new(Generations::new(CACHED_TILES_MAX)),
            entries: Mutex::new(Bundles::new()),
            parts: Mutex::new(Bundles::new()),
        }
    }
}

/// A thread that panicked while it held one of these left a cache whole: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bundle of an entry and its place in it.
fn place_of(index: u64) -> (u64, usize) {
    (index / TILE_WIDTH, usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX))
}

fn slice(bytes: &[u8], from: usize, len: usize) -> Option<&[u8]> {
    bytes.get(from..from.checked_add(len)?)
}

impl FileCache {
    /// Forgets files, so that the next reads go to the disk; the places in bundles only where told.
    #[cfg(test)]
    pub(crate) fn forget(&self, keep_places: bool) {
        *lock(&self.tiles) = Generations::new(CACHED_TILES_MAX);
        lock(&self.entries).whole.clear();
        lock(&self.parts).whole.clear();
        if !keep_places {
            *lock(&self.entries) = Bundles::new();
            *lock(&self.parts) = Bundles::new();
        }
        // Nobody is on a walk.
        lock(&self.entries).last = None;
        lock(&self.parts).last = None;
    }

    /// A full hash tile.
    pub(crate) fn tile(&self, shared: &Shared, id: TileId) -> Result<Arc<[u8]>, LedgerError> {
        if let Some(tile) = lock(&self.tiles).get(id) {
            return Ok(tile);
        }
        let bytes: Arc<[u8]> = Arc::from(must_read(shared, &id.path())?);
        lock(&self.tiles).insert(id, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// One entry of a full bundle, held against its leaf hash, so that a byte that was flipped on disk is
    /// an error and never an answer.
    pub(crate) fn entry(&self, shared: &Shared, index: u64) -> Result<Arc<[u8]>, LedgerError> {
        let (bundle, at) = place_of(index);
        let path = BundleId { index: bundle, width: 256 }.path();
        let found = lock(&self.entries).find(bundle);
        let kept = match found {
            Found::Whole(places, bytes) => places
                .get(at)
                .and_then(|(from, len)| slice(&bytes, usize::try_from(*from).ok()?, usize::from(*len)))
                .map(Arc::from),
            Found::Places(places) => places.get(at).and_then(|(from, len)| {
                let read =
                    shared.storage.read_range(&shared.path(&path), u64::from(*from), usize::from(*len));
                read.ok().map(Arc::from)
            }),
            Found::Unknown => None,
        };
        if let Some(entry) = kept
            && self.leaf(shared, index)? == leaf_hash(&entry)
        {
            return Ok(entry);
        }
        self.read_entry(shared, index, &path)
    }

    /// Reads a bundle whole for one of its entries, and keeps the places of the others.
    fn read_entry(&self, shared: &Shared, index: u64, path: &str) -> Result<Arc<[u8]>, LedgerError> {
        let (bundle, at) = place_of(index);
        let damage = |what: String| LedgerError::Damage { file: shared.path(path), what };
        let id = TileId { level: 0, index: bundle, width: 256 };
        // Whichever of the two was wrong may have been put right on disk meanwhile.
        lock(&self.entries).forget(bundle);
        lock(&self.tiles).forget(id);
        let leaves = self.tile(shared, id)?;
        let bytes = must_read(shared, path)?;
        let mut places = EntryPlaces::with_capacity(256);
        let mut from = 0_usize;
        for entry in tile::bundle_entries(&bytes) {
            let entry = entry.map_err(|error| damage(error.to_string()))?;
            from = from.saturating_add(2);
            let place = (u32::try_from(from), u16::try_from(entry.len()));
            let (Ok(begin), Ok(len)) = place else { return Err(damage("too long".to_owned())) };
            places.push((begin, len));
            from = from.saturating_add(entry.len());
        }
        let found = places.get(at).copied();
        let found =
            found.and_then(|(from, len)| slice(&bytes, usize::try_from(from).ok()?, usize::from(len)));
        let Some(entry) = found.map(Arc::<[u8]>::from) else {
            return Err(damage(format!("{} entries, so entry {index} is missing", places.len())));
        };
        let leaf = slice(&leaves, at.saturating_mul(Hash::LEN), Hash::LEN);
        if leaf != Some(leaf_hash(&entry).as_bytes().as_slice()) {
            lock(&self.tiles).forget(id);
            return Err(damage(format!("entry {index} does not have the leaf hash of its tile")));
        }
        let is_small = u64::try_from(bytes.len()).is_ok_and(|len| len <= WHOLE_BYTES_MAX);
        lock(&self.entries).keep(bundle, Arc::new(places), is_small.then(|| Arc::new(bytes)));
        Ok(entry)
    }

    /// The leaf hash of an entry, from a tile in memory or by itself from the tile's file.
    fn leaf(&self, shared: &Shared, index: u64) -> Result<Hash, LedgerError> {
        let (bundle, at) = place_of(index);
        let id = TileId { level: 0, index: bundle, width: 256 };
        let from = at.saturating_mul(Hash::LEN);
        let kept = lock(&self.tiles).get(id);
        let found = if let Some(tile) = kept {
            slice(&tile, from, Hash::LEN).and_then(Hash::from_slice)
        } else {
            let offset = u64::try_from(from).unwrap_or(u64::MAX);
            let read = shared.storage.read_range(&shared.path(&id.path()), offset, Hash::LEN);
            read.ok().as_deref().and_then(Hash::from_slice)
        };
        let damage = || LedgerError::Damage { file: id.path(), what: "missing or cut short".to_owned() };
        found.ok_or_else(damage)
    }

    /// Forgets a bundle whose sealed parts were written anew.
    pub(crate) fn forget_parts(&self, bundle: u64) {
        let mut parts = lock(&self.parts);
        self.rewritten.fetch_add(1, Ordering::SeqCst);
        parts.forget(bundle);
    }

    /// The stored parts of an entry whose bundle is full; each blob's checksum fits. Owners and states
    /// stand under the file's checksum only: see [`checked_parts`].
    pub(crate) fn parts(&self, shared: &Shared, index: u64) -> Result<MaskedParts, LedgerError> {
        let (bundle, at) = place_of(index);
        let entry = u16::try_from(at).unwrap_or(u16::MAX);
        let path = shared.path(&sealed_path(BundleId { index: bundle, width: 256 }));
        let found = lock(&self.parts).find(bundle);
        let kept = match found {
            Found::Whole(places, bytes) => places.of(at).and_then(|(from, len)| {
                let piece = slice(&bytes, usize::try_from(from).ok()?, len)?;
                Some((places.mask(), SealedBundle::decode_entry(piece, from, entry).ok()?))
            }),
            Found::Places(places) => places.of(at).and_then(|(from, len)| {
                let piece = shared.storage.read_range(&path, from, len).ok()?;
                Some((places.mask(), SealedBundle::decode_entry(&piece, from, entry).ok()?))
            }),
            Found::Unknown => None,
        };
        if let Some(parts) = kept {
            return Ok(parts);
        }
        match self.read_parts(shared, index, &path)? {
            Some(parts) => Ok(parts),
            // The whole file says best what is wrong with it.
            None => checked_parts(shared, index),
        }
    }

    /// Finds the places of a bundle and reads one entry's parts; none where they cannot be decoded.
    fn read_parts(
        &self,
        shared: &Shared,
        index: u64,
        path: &str,
    ) -> Result<Option<MaskedParts>, LedgerError> {
        let (bundle, at) = place_of(index);
        lock(&self.parts).forget(bundle);
        let rewritten = self.rewritten.load(Ordering::SeqCst);
        let missing = || LedgerError::Damage { file: path.to_owned(), what: "missing".to_owned() };
        let file_bytes = shared.storage.len(path)?.ok_or_else(missing)?;
        let whole = if file_bytes <= WHOLE_BYTES_MAX {
            Some(Arc::new(shared.storage.read(path)?.ok_or_else(missing)?))
        } else {
            None
        };
        let read = |offset: u64, len: usize| match &whole {
            Some(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(slice(bytes, from, len).unwrap_or_default().to_vec())
            }
            None => shared.storage.read_range(path, offset, len).map_err(LookError::Store),
        };
        let places = match Places::find(file_bytes, bundle, read) {
            Ok(places) => Arc::new(places),
            Err(LookError::Structure) => return Ok(None),
            Err(LookError::Store(error)) => return Err(error.into()),
        };
        let Some((from, len)) = places.of(at) else { return Ok(None) };
        let piece = match &whole {
            Some(bytes) => {
                usize::try_from(from).ok().and_then(|from| slice(bytes, from, len)).map(<[u8]>::to_vec)
            }
            None => Some(shared.storage.read_range(path, from, len)?),
        };
        let mask = places.mask();
        let mut kept = lock(&self.parts);
        if self.rewritten.load(Ordering::SeqCst) == rewritten {
            kept.keep(bundle, places, whole);
        }
        drop(kept);
        let entry = u16::try_from(at).unwrap_or(u16::MAX);
        let decoded = piece.and_then(|piece| SealedBundle::decode_entry(&piece, from, entry).ok());
        Ok(decoded.map(|parts| (mask, parts)))
    }
}

/// As [`FileCache::parts`], with every byte of the file under its checksum: for parts that could not
/// be opened, so that damage is told from what was erased.
pub(crate) fn checked_parts(shared: &Shared, index: u64) -> Result<MaskedParts, LedgerError> {
    let (bundle, at) = place_of(index);
    let path = sealed_path(BundleId { index: bundle, width: 256 });
    let bytes = must_read(shared, &path)?;
    let damage = |what: String| LedgerError::Damage { file: shared.path(&path), what };
    let mut decoded = SealedBundle::decode(&bytes, bundle).map_err(|error| damage(error.to_string()))?;
    let found = decoded.entries.len();
    let missing = || damage(format!("{found} entries, so the parts of {index} are missing"));
    let parts = decoded.entries.get_mut(at).map(std::mem::take).ok_or_else(missing)?;
    Ok((decoded.mask, parts))
}

/// Why places were not found.
enum LookError {
    /// The file's structure is broken.
    Structure,
    /// It could not be read.
    Store(crate::store::StoreError),
}

impl From<SealedError> for LookError {
    fn from(_: SealedError) -> Self {
        Self::Structure
    }
}

fn must_read(shared: &Shared, path: &str) -> Result<Vec<u8>, LedgerError> {
    shared
        .storage
        .read(&shared.path(path))?
        .ok_or_else(|| LedgerError::Damage { file: shared.path(path), what: "missing".to_owned() })
}
