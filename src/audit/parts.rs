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

/// Where the removed sets are.
const REMOVED: &str = "removed";

/// Length of an item of a removed set in bytes, and of what stands around the items
/// (docs/format.md section 14).
const REMOVED_ITEM_BYTES: u64 = 33;
const REMOVED_FRAME_BYTES: u64 = 4 + 8 + 32;

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
    /// The bundle that was read again last, because a part of it did not open.
    again: RefCell<Option<(u64, StoredParts<StoredPart>)>>,
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
        let (mask, again) = (RefCell::new(None), RefCell::new(None));
        Self { storage, size, vault, said: Cell::default(), mask, again }
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

    /// What a part is that did not open: a shred may have written its bundle anew since it was read.
    fn damaged(&self, index: LogIndex, part: &StoredPart) -> Result<Opened, String> {
        let bundle = index.0 / TILE_WIDTH;
        let mut again = self.again.borrow_mut();
        if again.as_ref().is_none_or(|(of, _)| *of != bundle) {
            // The rest of the bundle is still looked at as it was read first.
            let said = self.said.get();
            let read = self.parts(bundle);
            self.said.set(said);
            *again = Some((bundle, read?.unwrap_or_default()));
        }
        let within = usize::try_from(index.0 % TILE_WIDTH).unwrap_or(usize::MAX);
        let now = again.as_ref().and_then(|(_, lists)| lists.get(within));
        if now.is_some_and(|list| list.contains(part)) {
            return Ok(Opened::Damaged);
        }
        Err("was changed while it was read; verify again".to_owned())
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

    fn removed_sizes(&self) -> Result<Vec<u64>, String> {
        let names = self.storage.list(REMOVED).map_err(|error| error.to_string())?;
        let items = |name: &String| name.parse().ok().filter(|items: &u64| items.to_string() == *name);
        Ok(names.iter().filter_map(items).collect())
    }

    fn removed(&self, items: u64) -> Result<Option<Vec<u8>>, String> {
        let path = format!("{REMOVED}/{items}");
        let bytes_max = items.saturating_mul(REMOVED_ITEM_BYTES).saturating_add(REMOVED_FRAME_BYTES);
        read_bounded(self.storage, &path, bytes_max).map_err(|error| error.to_string())
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
        let Some(vault) = self.vault.filter(|_| part.state() == PartState::Sealed) else {
            return Ok(Opened::Withheld);
        };
        let Some(mask) = self.masked(index.0 / TILE_WIDTH, vault)? else {
            return self.damaged(index, part);
        };
        match vault.open_part(event, index, Role(part.role()), (&mask, part.owners()), part.blob())? {
            Opened::Damaged => self.damaged(index, part),
            opened => Ok(opened),
        }
    }
}
