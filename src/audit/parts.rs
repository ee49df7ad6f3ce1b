//! The sealed parts of a ledger's directory.
//!
//! In scope: finding a bundle's file, full or partial, and opening parts where the vault can be
//! read. Out of scope: what an opened part must be (the verifier's). Invariant: without the vault a
//! part counts as withheld, never as good.

use std::cell::{Cell, RefCell};

use crate::event::facet::Role;
use crate::log::hash::LogIndex;
use crate::log::tile::{TILE_WIDTH, sealed_path};
use crate::prove::entry_view::EventView;
use crate::prove::verify_log::{Opened, PartSource, PartView, StoredParts, StoredState};
use crate::store::sealed::{BundleMask, PartState, SealedBundle};
use crate::store::{DiskStorage, Storage, StoreError, StoredPart};
use crate::vault::OwnerMask;

use super::files::{FULL, read_bounded, width_at};
use super::vault::Vault;

/// Longest sealed bundle that is read, in bytes: 256 events of 1 MiB raw in base64 and 64 KiB
/// besides take 375 MiB.
pub(super) const SEALED_BYTES_MAX: u64 = 512 << 20;

/// A bundle's file may be replaced by a wider one between finding and reading it.
const READ_ATTEMPTS: usize = 3;

/// The sealed bundles of a directory.
pub(super) struct SealedParts<'a> {
    storage: &'a DiskStorage,
    size: u64,
    vault: Option<&'a Vault>,
    /// Which mask key the file says that was read last.
    said: Cell<BundleMask>,
    mask: RefCell<Option<(u64, BundleMask, Option<OwnerMask>)>>,
}

/// Where the sealed parts of a bundle are: the full file, or the widest partial one that holds
/// `width` entries.
pub(super) fn sealed_file(
    storage: &DiskStorage,
    bundle: u64,
    width: u16,
) -> Result<Option<(String, u16)>, StoreError> {
    let full = sealed_path(bundle);
    if storage.exists(&full)? {
        return Ok(Some((full, FULL)));
    }
    let dir = format!("{full}.p");
    let widths = storage.list(&dir)?;
    let widest = widths.iter().filter_map(|name| name.parse::<u16>().ok()).max();
    Ok(widest.filter(|found| *found >= width).map(|found| (format!("{dir}/{found}"), found)))
}

/// Reads a sealed bundle of `width` entries; errors are sentences that name the file.
pub(super) fn read_sealed(
    storage: &DiskStorage,
    path: &str,
    bundle: u64,
    width: u16,
) -> Result<Option<SealedBundle>, String> {
    let Some(bytes) =
        read_bounded(storage, path, SEALED_BYTES_MAX).map_err(|error| error.to_string())?
    else {
        return Ok(None);
    };
    let decoded = SealedBundle::decode(&bytes, bundle).map_err(|error| format!("{path}: {error}"))?;
    let found = decoded.entries.len();
    if found != usize::from(width) {
        return Err(format!("{path}: holds {found} entries instead of {width}"));
    }
    Ok(Some(decoded))
}

impl<'a> SealedParts<'a> {
    pub(super) fn new(storage: &'a DiskStorage, size: u64, vault: Option<&'a Vault>) -> Self {
        Self { storage, size, vault, said: Cell::default(), mask: RefCell::new(None) }
    }

    fn masked(&self, bundle: u64, vault: &Vault) -> Result<Option<OwnerMask>, String> {
        let mut mask = self.mask.borrow_mut();
        let said = self.said.get();
        if let Some((of, which, mask)) = &*mask
            && (*of, *which) == (bundle, said)
        {
            return Ok(mask.clone());
        }
        let found = vault.bundle_mask(bundle, said)?;
        *mask = Some((bundle, said, found.clone()));
        Ok(found)
    }
}

impl PartSource for SealedParts<'_> {
    type Part = StoredPart;
    type Error = String;

    fn parts(&self, bundle: u64) -> Result<Option<StoredParts<StoredPart>>, String> {
        let width = width_at(bundle, self.size);
        for _ in 0..READ_ATTEMPTS {
            let file = sealed_file(self.storage, bundle, width).map_err(|error| error.to_string())?;
            let Some((path, width)) = file else { break };
            if let Some(read) = read_sealed(self.storage, &path, bundle, width)? {
                self.said.set(read.mask);
                return Ok(Some(read.entries));
            }
        }
        Err(format!("is missing, and there is no partial file of at least {width} entries"))
    }

    fn describe(&self, part: &StoredPart) -> PartView {
        let state = match part.state() {
            PartState::Sealed => StoredState::Sealed,
            PartState::Erased => StoredState::Erased,
            PartState::Pruned => StoredState::Pruned,
        };
        // Reading the bundle has compared every checksum.
        PartView { role: Role(part.role()), state, intact: true }
    }

    fn open(&self, index: LogIndex, event: &EventView<'_>, part: &StoredPart) -> Result<Opened, String> {
        let Some(vault) = self.vault else { return Ok(Opened::Withheld) };
        let Some(mask) = self.masked(index.0 / TILE_WIDTH, vault)? else { return Ok(Opened::Damaged) };
        vault.open_part(event, index, Role(part.role()), (&mask, part.owners()), part.blob())
    }
}
