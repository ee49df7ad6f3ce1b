//! Hiding which person owns a stored part from those who hold the part but not the keys.
//!
//! In scope: masking the slot numbers that stand beside sealed parts, in bundles and in journal
//! frames. Out of scope: storing them (`store`), the keys ([`keytree`](super::keytree),
//! [`inbox`](super::inbox)).
//!
//! `mask = HMAC(key, "counterfoil/v1/owner\0" ‖ index u64 ‖ role u8 ‖ ordinal u8)[..8]`, exclusive-or with
//! the slot number, big-endian. `ordinal` counts the owners of one part from 0.
//!
//! Invariants: each (index, role, ordinal) is masked once per key, and with one slot: a second slot
//! under the same mask would show the difference of the two (as a frame that was cut as torn and its
//! successor do to whoever kept both; without the tree a slot number names nobody). A mask
//! authenticates nothing: what comes out of changed bytes is some other number, and the sealed part
//! then fails to open.

use std::fmt;

use super::mac::MacKey;
use super::slot::SlotNumber;
use crate::event::facet::Role;
use crate::log::hash::LogIndex;

const OWNER_LABEL: &[u8] = b"counterfoil/v1/owner\0";

/// The masks of one bundle or of the journal, under one key.
#[derive(Clone)]
pub struct OwnerMask(MacKey);

impl OwnerMask {
    /// The masks under `key`, absorbed once for many owners.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(MacKey::new(key))
    }

    /// The masked form of `slot`, owner number `ordinal` of the part `role` of entry `index`.
    #[must_use]
    pub fn mask(&self, index: LogIndex, role: Role, ordinal: u8, slot: SlotNumber) -> [u8; 8] {
        (self.stream(index, role, ordinal) ^ slot.0).to_be_bytes()
    }

    /// The slot that was masked, given the same key and place.
    #[must_use]
    pub fn unmask(&self, index: LogIndex, role: Role, ordinal: u8, masked: [u8; 8]) -> SlotNumber {
        SlotNumber(self.stream(index, role, ordinal) ^ u64::from_be_bytes(masked))
    }

    fn stream(&self, index: LogIndex, role: Role, ordinal: u8) -> u64 {
        let value = self.0.value(&[OWNER_LABEL, &index.0.to_be_bytes(), &[role.0, ordinal]]);
        u64::from_be_bytes(value.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for OwnerMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerMask(…)")
    }
}

/// [`OwnerMask::mask`] for a single owner.
///
/// ```
/// use counterfoil::event::facet::Role;
/// use counterfoil::log::hash::LogIndex;
/// use counterfoil::vault::{SlotNumber, mask_owner, unmask_owner};
///
/// let key = [7; 32];
/// let masked = mask_owner(&key, LogIndex(300), Role::RAW, 0, SlotNumber(12));
/// assert_ne!(masked, 12_u64.to_be_bytes());
/// assert_eq!(unmask_owner(&key, LogIndex(300), Role::RAW, 0, masked), SlotNumber(12));
/// ```
#[must_use]
pub fn mask_owner(
    key: &[u8; 32],
    index: LogIndex,
    role: Role,
    ordinal: u8,
    slot: SlotNumber,
) -> [u8; 8] {
    OwnerMask::new(key).mask(index, role, ordinal, slot)
}

/// [`OwnerMask::unmask`] for a single owner.
#[must_use]
pub fn unmask_owner(
    key: &[u8; 32],
    index: LogIndex,
    role: Role,
    ordinal: u8,
    masked: [u8; 8],
) -> SlotNumber {
    OwnerMask::new(key).unmask(index, role, ordinal, masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn round_trip(key: [u8; 32], index: u64, role: u8, ordinal: u8, slot: u64) {
            let (index, role, slot) = (LogIndex(index), Role(role), SlotNumber(slot));
            let masked = mask_owner(&key, index, role, ordinal, slot);
            proptest::prop_assert_eq!(unmask_owner(&key, index, role, ordinal, masked), slot);
        }
    }

    #[test]
    fn key_index_role_and_ordinal_all_change_the_mask() {
        let slot = SlotNumber(5);
        let mask = |key: u8, index, role, ordinal| {
            mask_owner(&[key; 32], LogIndex(index), Role(role), ordinal, slot)
        };
        let base = mask(1, 2, 3, 4);
        assert_eq!(base, mask(1, 2, 3, 4));
        for other in [mask(0, 2, 3, 4), mask(1, 0, 3, 4), mask(1, 2, 0, 4), mask(1, 2, 3, 0)] {
            assert_ne!(base, other);
        }
        assert_eq!(format!("{:?}", OwnerMask::new(&[1; 32])), "OwnerMask(…)");
    }
}
