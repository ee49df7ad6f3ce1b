//! The keys that hide the owners of stored parts, one of two for each bundle.
//!
//! In scope: which of its two mask keys a bundle is written under, finding and making them. Out of scope:
//! masking itself ([`crate::vault::mask`]), destroying keys ([`super::removal`]). Invariant: a file says
//! itself which of the two hides its owners, so that a bundle can be written anew under the other one
//! while it is read.

use std::sync::PoisonError;

use zeroize::Zeroizing;

use crate::clock::random_fill;
use crate::store::sealed::BundleMask;
use crate::vault::{OwnerMask, Slot, SlotNumber};

use super::Shared;
use super::error::LedgerError;

/// Mask keys made together: the slots of one key tree node.
const MASK_KEYS_MADE_AT_ONCE: u64 = 64;

fn slot_of(bundle: u64, mask: BundleMask) -> Result<SlotNumber, LedgerError> {
    SlotNumber::of_bundle(bundle, mask)
        .ok_or_else(|| LedgerError::Setup(format!("the vault has no room for bundle {bundle}")))
}

impl Shared {
    /// The masks of a bundle's files that say `mask`; none where their key was never made or is destroyed.
    pub(crate) fn mask_of(
        &self,
        bundle: u64,
        mask: BundleMask,
    ) -> Result<Option<OwnerMask>, LedgerError> {
        let Some(slot) = SlotNumber::of_bundle(bundle, mask) else { return Ok(None) };
        Ok(self.tree.get(slot)?.map(|found| OwnerMask::new(&found.secret)))
    }

    /// What a bundle that is not full is written under from now on.
    pub(crate) fn write_under(&self, bundle: u64, mask: BundleMask) {
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those before it are full.
        masks.retain(|other, _| *other >= bundle);
        masks.insert(bundle, mask);
    }

    /// What the fold writes a bundle under. Keys are made and stored durably for 64 bundles at once,
    /// which is one node of the key tree, so that the fold waits for the disk once in 16,384 entries.
    pub(crate) fn bundle_mask(&self, bundle: u64) -> Result<(BundleMask, OwnerMask), LedgerError> {
        let masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let mask = masks.get(&bundle).copied().unwrap_or_default();
        drop(masks);
        if let Some(found) = self.mask_of(bundle, mask)? {
            return Ok((mask, found));
        }
        let first = bundle - bundle % MASK_KEYS_MADE_AT_ONCE;
        let wanted = (first..first + MASK_KEYS_MADE_AT_ONCE).map(|each| (each, mask));
        self.make_masks(wanted)?;
        let missing = || LedgerError::Setup(format!("bundle {bundle} has no mask key"));
        Ok((mask, self.mask_of(bundle, mask)?.ok_or_else(missing)?))
    }

    /// Makes the mask keys that are not there, durably.
    pub(crate) fn make_masks(
        &self,
        wanted: impl Iterator<Item = (u64, BundleMask)>,
    ) -> Result<(), LedgerError> {
        let mut made = Vec::new();
        for (bundle, mask) in wanted {
            let slot = slot_of(bundle, mask)?;
            if self.tree.get(slot)?.is_some() {
                continue;
            }
            let mut secret = Zeroizing::new([0_u8; 32]);
            random_fill(&mut *secret)?;
            made.push((slot, Slot::key(secret)));
        }
        Ok(self.tree.put(&made)?)
    }
}
