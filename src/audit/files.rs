//! The files of a log in a directory, each read no further than such a file can be long.
//!
//! In scope: bounded reads and the source of tiles and bundles. Out of scope: what is in them.
//! Invariant: only regular files are read, so that a pipe in a file's place holds nothing up.

use std::cell::RefCell;

use crate::log::tile::{BundleId, ENTRY_BYTES_MAX, TILE_WIDTH, TileId, bundle_entries};
use crate::prove::verify_log::LogSource;
use crate::store::{DiskStorage, Storage, StoreError};

/// Longest bundle in bytes: 256 entries of 65,535 bytes, each after its length in two.
pub(crate) const BUNDLE_BYTES_MAX: u64 = 256 * (2 + ENTRY_BYTES_MAX as u64);

/// Width of a full tile or bundle.
pub(crate) const FULL: u16 = 256;

/// The file, cut one byte after `bytes_max` so that an overlong one is seen to be.
pub(crate) fn read_bounded(
    storage: &DiskStorage,
    path: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    match storage.len(path)? {
        None => Ok(None),
        Some(len) if len <= bytes_max => storage.read(path),
        Some(_) => {
            let len = usize::try_from(bytes_max.saturating_add(1)).unwrap_or(usize::MAX);
            storage.read_range(path, 0, len).map(Some)
        }
    }
}

/// The bundle that was asked for last.
#[derive(Debug)]
struct LastBundle {
    bundle: u64,
    /// Size of the log it was asked for.
    size: u64,
    bytes: Vec<u8>,
}

/// The tiles and bundles of a directory.
#[derive(Debug)]
pub(crate) struct DirectoryLog<'a> {
    pub(crate) storage: &'a DiskStorage,
    last: RefCell<Option<LastBundle>>,
}

impl<'a> DirectoryLog<'a> {
    pub(crate) fn new(storage: &'a DiskStorage) -> Self {
        Self { storage, last: RefCell::new(None) }
    }

    /// The file that holds bundle number `bundle` of a log of `size` entries, and its bytes.
    pub(crate) fn bundle_of(
        &self,
        bundle: u64,
        size: u64,
    ) -> Result<Option<(BundleId, Vec<u8>)>, StoreError> {
        let id = BundleId { index: bundle, width: width_at(bundle, size) };
        if let Some(bytes) = self.bundle(id)? {
            return Ok(Some((id, bytes)));
        }
        Ok(self.bundle(id.full())?.map(|bytes| (id.full(), bytes)))
    }

    /// The entry at `index` of a log of `size` entries, where its bundle can be read.
    pub(crate) fn entry(&self, index: u64, size: u64) -> Option<Vec<u8>> {
        let bundle = index / TILE_WIDTH;
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|last| (last.bundle, last.size) != (bundle, size)) {
            let bytes = self.bundle_of(bundle, size).ok().flatten().map(|(_, bytes)| bytes);
            *last = Some(LastBundle { bundle, size, bytes: bytes.unwrap_or_default() });
        }
        let bytes = &last.as_ref()?.bytes;
        let within = usize::try_from(index % TILE_WIDTH).ok()?;
        bundle_entries(bytes).nth(within)?.ok().map(<[u8]>::to_vec)
    }
}

impl LogSource for DirectoryLog<'_> {
    type Error = StoreError;

    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes_max = u64::try_from(id.len_bytes()).unwrap_or(u64::MAX);
        read_bounded(self.storage, &id.path(), bytes_max)
    }

    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, StoreError> {
        read_bounded(self.storage, &id.path(), BUNDLE_BYTES_MAX)
    }
}

/// How many of a tile's or bundle's 256 places `count` hashes or entries fill.
pub(crate) fn width_at(index: u64, count: u64) -> u16 {
    let before = index.saturating_mul(TILE_WIDTH);
    u16::try_from(count.saturating_sub(before).min(TILE_WIDTH)).unwrap_or(FULL)
}
