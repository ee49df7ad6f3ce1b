//! One ledger's files, copied so that they belong together while its server goes on.
//!
//! In scope: the order of reading, and when a pass must be done again. Out of scope: the vault's nodes
//! ([`super::vault`]), verifying the copy. Invariants: the published checkpoint's tiles, bundles and sealed
//! parts are in the copy at its very size and none beyond it; the journal begins at or below that size and
//! goes at least so far; a pass counts only if no shred, prune or erasure changed anything during it.
//!
//! 1. The journal's segments are opened, so that trimming takes nothing away.
//! 2. The checkpoint is read: it is published at or beyond the segments' begin, and durable in the journal.
//! 3. The partial files of its size are copied, before wider ones replace them.
//! 4. The segments are copied as far as they go now, and cut after the last whole frame.
//! 5. Everything else beside the log, small files of whatever the ledger keeps.
//! 6. Full tiles and bundles, which never change, and full sealed bundles, which a shred may replace.
//! 7. The vault, last: it has the keys of everything copied before, since keys are put there first.

use std::path::Path;
use std::sync::Arc;

use crate::audit::ahead::{Reach, root_at};
use crate::audit::files::DirectoryLog;
use crate::event::keys::ledger_id;
use crate::ledger::KeyFiles;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::hash::TreeSize;
use crate::log::note::VerifierKey;
use crate::log::tile::{BundleId, TILE_WIDTH, TileId, bundles_of, partial_width, sealed_path, tiles_of};
use crate::store::journal::{Scanned, scan};
use crate::store::{DiskStorage, SealedBundle, Stamp, Storage};
use crate::vault::{StoredRoot, VaultError};

use super::files::Files;
use super::{BackupError, vault};

/// Width of a full tile or bundle.
const FULL: u16 = 256;

/// What lies in a ledger's directory and is copied in a way of its own, or not at all: secrets, what
/// follows from the rest. The index is told by how its directories' names begin.
const APART: [&str; 8] = [
    "checkpoint",
    "tile",
    "sealed",
    "journal",
    "verifier.key",
    "reader.key",
    "fold.state",
    "audit.json",
];
const INDEX_NAMES_BEGIN: &str = "index";

/// How the names of the journal's segments end.
const SEGMENT_NAMES_END: &str = ".cfj";

/// Deepest directory of small files.
const DEPTH_MAX: usize = 4;

/// A ledger of the directory that is backed up.
pub(super) struct Source<'a> {
    pub(super) data: &'a Path,
    pub(super) to: &'a Path,
    pub(super) name: &'a str,
    pub(super) key: VerifierKey,
}

/// What a pass has copied.
pub(super) struct Taken {
    pub(super) published: Checkpoint,
    pub(super) reach: Reach,
    pub(super) root: StoredRoot,
}

/// How a pass ended.
pub(super) enum Pass {
    /// With files that belong together.
    Whole(Box<Taken>),
    /// With files that moved meanwhile; another pass is needed.
    Moved(String),
}

/// What shreds, prunes and erasures change.
#[derive(PartialEq, Eq)]
struct Mark {
    root_number: u64,
    small: Vec<(String, Option<Stamp>)>,
}

impl Source<'_> {
    fn path(&self, relative: &str) -> String {
        format!("ledgers/{}/{relative}", self.name)
    }

    /// The vault's root key as it is now.
    pub(super) fn root(&self) -> Result<StoredRoot, BackupError> {
        let found = StoredRoot::newest_in(&KeyFiles::of(self.data, self.name).root)?;
        found.ok_or_else(|| VaultError::NoRootKey.into())
    }

    fn mark(&self, storage: &dyn Storage, files: &Files<'_>) -> Result<Mark, BackupError> {
        let mut small = Vec::new();
        for path in self.small(storage)? {
            let stamp = files.copier.stamp(&path)?;
            small.push((path, stamp));
        }
        Ok(Mark { root_number: self.root()?.number, small })
    }

    /// The files beside the log.
    fn small(&self, storage: &dyn Storage) -> Result<Vec<String>, BackupError> {
        let mut found = Vec::new();
        for name in storage.list(self.path("").trim_end_matches('/'))? {
            if !APART.contains(&name.as_str()) && !name.starts_with(INDEX_NAMES_BEGIN) {
                walk(storage, &self.path(&name), 0, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Copies everything once.
    pub(super) fn pass(&self, files: &mut Files<'_>) -> Result<Pass, BackupError> {
        let source: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(self.data)?);
        files.begin_pass();
        let root = self.root()?;
        let before = self.mark(&*source, files)?;
        let published = match self.newest(&*source, files)? {
            Ok(published) => published,
            Err(moved) => return Ok(Pass::Moved(moved)),
        };
        for path in self.small(&*source)? {
            files.take(&path)?;
        }
        if let Some(missing) = self.full(published.size, files)? {
            return Ok(Pass::Moved(format!("{missing} is missing")));
        }
        let copy = DiskStorage::open_read_only(self.to)?;
        match vault::copy(files, &source, &copy, self.name, &root) {
            Err(BackupError::Vault(error)) => return Ok(Pass::Moved(error.to_string())),
            other => other?,
        }
        if self.mark(&*source, files)? != before {
            return Ok(Pass::Moved("a shred, prune or erasure went on".to_owned()));
        }
        for dir in ["ledgers", "vault"] {
            files.sweep(&format!("{dir}/{}", self.name))?;
        }
        let copied = DiskStorage::open_read_only(&self.to.join("ledgers").join(self.name))?;
        let ledger = ledger_id(self.key.name());
        let size = published.size;
        Ok(match root_at(&DirectoryLog::new(&copied), ledger, size, None) {
            Ok(reach) if reach.from > size.0 || reach.to < size.0 => {
                let (from, to) = (reach.from, reach.to);
                Pass::Moved(format!(
                    "the journal has entries {from} to {to}, the checkpoint is of {size}"
                ))
            }
            Ok(reach) => Pass::Whole(Box::new(Taken { published, reach, root })),
            Err(what) => Pass::Moved(what),
        })
    }

    /// Steps 1 to 4; what moved, where something did.
    fn newest(
        &self,
        source: &dyn Storage,
        files: &mut Files<'_>,
    ) -> Result<Result<Checkpoint, String>, BackupError> {
        let dir = self.path("journal");
        let mut segments = Vec::new();
        for name in source.list(&dir)?.iter().filter(|name| name.ends_with(SEGMENT_NAMES_END)) {
            let path = format!("{dir}/{name}");
            match files.copier.source(&path)? {
                Some(open) => segments.push((path, open)),
                None => return Ok(Err(format!("{path} was trimmed"))),
            }
        }
        let path = self.path("checkpoint");
        let note = source.read(&path)?.ok_or_else(|| BackupError::missing(&path))?;
        let opened = checkpoint::open(&note, &self.key);
        let published = opened.map_err(|error| BackupError::NotVerified {
            ledger: self.name.to_owned(),
            what: format!("{path}: {error}"),
        })?;
        if let Some(missing) = self.edge(source, published.size, files)? {
            return Ok(Err(format!("{missing} was replaced")));
        }
        files.put(&path, &note)?;
        for (path, open) in segments {
            files.take_open(&path, open)?;
        }
        files.take(&self.path("verifier.key"))?;
        Ok(self.cut_torn_end(files)?.map_or(Ok(published), Err))
    }

    /// Cuts what was being appended while it was copied; what is wrong, where it is more than that.
    fn cut_torn_end(&self, files: &mut Files<'_>) -> Result<Option<String>, BackupError> {
        let copied = DiskStorage::open_read_only(self.to)?;
        let mut torn = None;
        let dir = self.path("journal");
        let frames = match scan(&copied, &dir, ledger_id(self.key.name()).0) {
            Ok(frames) => frames,
            Err(error) => return Ok(Some(error.to_string())),
        };
        for item in frames {
            match item {
                Ok(Scanned::TornTail(cut)) => torn = Some(cut),
                Ok(Scanned::Frame { .. }) => {}
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
        if let Some(cut) = torn {
            files.cut(&cut.file, cut.offset)?;
        }
        Ok(None)
    }

    /// Copies the partial files of a log of `size` entries; the first that is not there.
    fn edge(
        &self,
        source: &dyn Storage,
        size: TreeSize,
        files: &mut Files<'_>,
    ) -> Result<Option<String>, BackupError> {
        let mut level = 0_u8;
        while let Some(nodes) = size.0.checked_shr(8 * u32::from(level)).filter(|nodes| *nodes > 0) {
            let id = TileId { level, index: nodes / TILE_WIDTH, width: partial_width(level, size) };
            if id.width > 0 && !files.take(&self.path(&id.path()))? {
                return Ok(Some(id.path()));
            }
            level += 1;
        }
        let id = BundleId { index: size.0 / TILE_WIDTH, width: partial_width(0, size) };
        if id.width == 0 {
            return Ok(None);
        }
        if !files.take(&self.path(&id.path()))? {
            return Ok(Some(id.path()));
        }
        let exact = format!("{}.p/{}", sealed_path(id.index), id.width);
        if files.take(&self.path(&exact))? || self.cut_sealed(source, id, &exact, files)? {
            return Ok(None);
        }
        Ok(Some(exact))
    }

    /// Makes the sealed bundle `id` from a wider one: a crash may have left only that, and what it has beyond
    /// the checkpoint must not be in the copy.
    fn cut_sealed(
        &self,
        source: &dyn Storage,
        id: BundleId,
        exact: &str,
        files: &mut Files<'_>,
    ) -> Result<bool, BackupError> {
        let full = self.path(&sealed_path(id.index));
        let dir = format!("{full}.p");
        let widths = source.list(&dir)?;
        let widths = widths.iter().filter_map(|name| name.parse::<u16>().ok());
        let wider = widths.filter(|width| *width > id.width).min();
        let path = wider.map_or(full, |width| format!("{dir}/{width}"));
        let Some(bytes) = source.read(&path)? else { return Ok(false) };
        let Ok(mut bundle) = SealedBundle::decode(&bytes, id.index) else { return Ok(false) };
        bundle.entries.truncate(usize::from(id.width));
        let Ok(cut) = bundle.encode() else { return Ok(false) };
        files.put(&self.path(exact), &cut)?;
        Ok(true)
    }

    /// Copies the full files of a log of `size` entries; the first that is not there.
    fn full(&self, size: TreeSize, files: &mut Files<'_>) -> Result<Option<String>, BackupError> {
        for id in tiles_of(size).filter(|id| id.width == FULL) {
            if !files.take_final(&self.path(&id.path()))? {
                return Ok(Some(id.path()));
            }
        }
        for id in bundles_of(size).filter(|id| id.width == FULL) {
            if !files.take_final(&self.path(&id.path()))? {
                return Ok(Some(id.path()));
            }
            let sealed = sealed_path(id.index);
            if !files.take(&self.path(&sealed))? {
                return Ok(Some(sealed));
            }
        }
        Ok(None)
    }
}

fn walk(
    storage: &dyn Storage,
    path: &str,
    depth: usize,
    found: &mut Vec<String>,
) -> Result<(), BackupError> {
    if storage.exists(path)? {
        found.push(path.to_owned());
    } else if depth < DEPTH_MAX {
        for name in storage.list(path)? {
            walk(storage, &format!("{path}/{name}"), depth + 1, found)?;
        }
    }
    Ok(())
}
