//! Taking parts out of sealed bundles.
//!
//! In scope: finding which parts of a bundle some persons own, writing every file of a bundle anew without
//! them, and the entries that are still in memory. Out of scope: which bundles, and when. Invariants: a file
//! is replaced in one step, by one that differs in the parts that go and in the masks alone; writing it again
//! changes nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use crate::event::facet::Role;
use crate::log::hash::LogIndex;
use crate::log::tile::{BundleId, TILE_WIDTH};
use crate::store::sealed::{BundleMask, Gone, PartState, SealedBundle, StoredPart};
use crate::vault::{OwnerMask, SlotNumber};

use super::super::Shared;
use super::super::error::LedgerError;
use super::super::fold::sealed_path;
use super::super::tail::Record;

/// Bytes of files that are written together: some 50 bundles at 1.2 kB an event.
const BATCH_BYTES: usize = 16 << 20;

/// Which parts go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doomed<'a> {
    /// Those that one of these slots owns; the bundle is written under its other mask key.
    OwnedBy(&'a HashSet<u64>, BundleMask),
    /// These, by index and role; the masks stay.
    Listed(&'a HashSet<(u64, Role)>),
}

impl Doomed<'_> {
    fn how(self) -> Gone {
        match self {
            Self::OwnedBy(..) => Gone::Erased,
            Self::Listed(_) => Gone::Pruned,
        }
    }

    fn has(self, index: u64, role: Role, owners: &[SlotNumber]) -> bool {
        match self {
            Self::OwnedBy(slots, _) => owners.iter().any(|slot| slots.contains(&slot.0)),
            Self::Listed(parts) => parts.contains(&(index, role)),
        }
    }
}

/// Files that were made anew and are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Vec<(String, Vec<u8>)>,
    bytes: usize,
    bundles: BTreeSet<u64>,
}

/// A part that somebody owns: where it is, and how many of the slots asked for own it.
pub(super) type OwnedPart = (u64, Role, Vec<SlotNumber>);

impl Shared {
    /// The parts in the first `width` entries of a bundle that one of `slots` owns, with the owners of
    /// each, and which mask key hides owners in the file that was read.
    pub(super) fn owned_parts(
        &self,
        bundle: u64,
        slots: &HashSet<u64>,
    ) -> Result<(Vec<OwnedPart>, BundleMask), LedgerError> {
        let (path, decoded) = self.newest_sealed(bundle)?;
        let mask = self.mask_in(&path, bundle, decoded.mask)?;
        let mut found = Vec::new();
        for (index, parts) in (bundle * TILE_WIDTH..).zip(&decoded.entries) {
            for part in parts.iter().filter(|part| part.state() == PartState::Sealed) {
                let owners = owners_of(part, index, &mask);
                if owners.iter().any(|slot| slots.contains(&slot.0)) {
                    found.push((index, Role(part.role()), owners));
                }
            }
        }
        Ok((found, decoded.mask))
    }

    /// Makes every file of a bundle anew, without the parts that go, and writes the batch where it is full.
    pub(super) fn rewrite_bundle(
        &self,
        bundle: u64,
        doomed: Doomed<'_>,
        batch: &mut Batch,
    ) -> Result<(), LedgerError> {
        for relative in self.sealed_files(bundle)? {
            let path = self.path(&relative);
            // A partial file may be removed meanwhile, since the full one is there.
            let Some(bytes) = self.storage.read(&path)? else { continue };
            let Some(mut decoded) = self.decoded(&relative, &bytes, bundle)? else {
                self.storage.remove(&path)?;
                continue;
            };
            drop(bytes);
            if self.without(&path, &mut decoded, doomed)? {
                let bytes = decoded.encode()?;
                batch.bytes += bytes.len();
                batch.files.push((path, bytes));
                batch.bundles.insert(bundle);
            }
        }
        if batch.bytes >= BATCH_BYTES { self.write_batch(batch) } else { Ok(()) }
    }

    /// Writes what a batch has. Not durable before the next round, but never torn: nothing else holds what
    /// stays in these files.
    pub(super) fn write_batch(&self, batch: &mut Batch) -> Result<(), LedgerError> {
        let Batch { files, bundles, .. } = std::mem::take(batch);
        if !files.is_empty() {
            self.storage.replace_all(&files)?;
            for bundle in bundles {
                self.files.forget_parts(bundle);
            }
        }
        Ok(())
    }

    /// Takes the parts out of a decoded bundle; false where that leaves it as it is.
    fn without(
        &self,
        path: &str,
        decoded: &mut SealedBundle,
        doomed: Doomed<'_>,
    ) -> Result<bool, LedgerError> {
        let bundle = decoded.index;
        let under = match doomed {
            Doomed::OwnedBy(_, target) if target == decoded.mask => return Ok(false),
            Doomed::OwnedBy(_, target) => target,
            Doomed::Listed(_) => decoded.mask,
        };
        let (old, new) = match doomed {
            Doomed::OwnedBy(..) => {
                (self.mask_in(path, bundle, decoded.mask)?, Some(self.mask_in(path, bundle, under)?))
            }
            // Who owns a part does not matter here, and the masks stay.
            Doomed::Listed(_) => (OwnerMask::new(&[0; 32]), None),
        };
        let mut is_changed = new.is_some();
        for (index, parts) in (bundle * TILE_WIDTH..).zip(&mut decoded.entries) {
            for part in parts.iter_mut().filter(|part| part.state() == PartState::Sealed) {
                let role = Role(part.role());
                let owners = if new.is_some() { owners_of(part, index, &old) } else { Vec::new() };
                if doomed.has(index, role, &owners) {
                    part.destroy(doomed.how());
                    is_changed = true;
                } else if let Some(new) = &new {
                    let mut owners = owners.into_iter();
                    part.mask_again(|ordinal, masked| {
                        let slot = owners
                            .next()
                            .unwrap_or_else(|| old.unmask(LogIndex(index), role, ordinal, masked));
                        new.mask(LogIndex(index), role, ordinal, slot)
                    });
                }
            }
        }
        decoded.mask = under;
        Ok(is_changed)
    }

    /// Takes parts out of the entries of a bundle that are in memory. The fold must be kept still.
    pub(super) fn remove_from_tail(&self, bundle: u64, doomed: Doomed<'_>) {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        for index in bundle * TILE_WIDTH..(bundle + 1) * TILE_WIDTH {
            let Some(record) = tail.get(index) else { continue };
            let goes = |part: &&super::super::tail::SealedBlob| {
                part.gone.is_none() && doomed.has(index, part.role, &part.owners)
            };
            if record.parts.iter().filter(goes).count() == 0 {
                continue;
            }
            let mut parts = record.parts.clone();
            for part in &mut parts {
                if part.gone.is_none() && doomed.has(index, part.role, &part.owners) {
                    (part.gone, part.owners, part.blob) = (Some(doomed.how()), Vec::new(), Vec::new());
                }
            }
            let Record { entry, leaf, time_us, occurred_us, .. } = &*record;
            let (entry, leaf) = (entry.clone(), *leaf);
            // When it happened is what the open part says, and goes with it.
            let is_stated = parts.iter().all(|part| part.role != Role::OPEN || part.gone.is_none());
            let (time_us, occurred_us) = (*time_us, occurred_us.filter(|_| is_stated));
            tail.replace(index, Arc::new(Record { entry, leaf, time_us, occurred_us, parts }));
        }
    }

    /// The mask key that a file of a bundle needs.
    fn mask_in(&self, path: &str, bundle: u64, mask: BundleMask) -> Result<OwnerMask, LedgerError> {
        self.mask_of(bundle, mask)?.ok_or_else(|| LedgerError::Damage {
            file: path.to_owned(),
            what: "the vault holds no mask key for it".to_owned(),
        })
    }

    /// The file of a bundle that has most of its entries.
    fn newest_sealed(&self, bundle: u64) -> Result<(String, SealedBundle), LedgerError> {
        for relative in self.sealed_files(bundle)? {
            let path = self.path(&relative);
            let Some(bytes) = self.storage.read(&path)? else { continue };
            if let Some(decoded) = self.decoded(&relative, &bytes, bundle)? {
                return Ok((path, decoded));
            }
        }
        let file = self.path(&sealed_path(BundleId { index: bundle, width: 256 }));
        Err(LedgerError::Damage { file, what: "missing".to_owned() })
    }

    /// A sealed bundle from its file; none where that is a partial one which a loss of power left torn. The
    /// durable round before has written another, and what is in it beyond that is in the journal.
    fn decoded(
        &self,
        relative: &str,
        bytes: &[u8],
        bundle: u64,
    ) -> Result<Option<SealedBundle>, LedgerError> {
        match SealedBundle::decode(bytes, bundle) {
            Ok(decoded) => Ok(Some(decoded)),
            Err(_) if relative.contains(".p/") => Ok(None),
            Err(error) => {
                Err(LedgerError::Damage { file: self.path(relative), what: error.to_string() })
            }
        }
    }

    /// Every file that holds sealed parts of a bundle: the full one, then partial ones, widest first.
    fn sealed_files(&self, bundle: u64) -> Result<Vec<String>, LedgerError> {
        let full = sealed_path(BundleId { index: bundle, width: 256 });
        let dir = format!("{full}.p");
        let names = self.storage.list(&self.path(&dir))?;
        let mut widths: Vec<u16> = names.iter().filter_map(|name| name.parse().ok()).collect();
        widths.sort_unstable_by(|a, b| b.cmp(a));
        let partials = widths.into_iter().map(|width| format!("{dir}/{width}"));
        Ok(std::iter::once(full.clone()).chain(partials).collect())
    }
}

fn owners_of(part: &StoredPart, index: u64, mask: &OwnerMask) -> Vec<SlotNumber> {
    let role = Role(part.role());
    let owners = (0_u8..).zip(part.owners());
    owners.map(|(ordinal, masked)| mask.unmask(LogIndex(index), role, ordinal, *masked)).collect()
}
