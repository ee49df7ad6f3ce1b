//! Numbered places for secrets in the key tree.
//!
//! In scope: the numbers, which ranges of them are for what, and what a place holds. Out of scope:
//! how they are stored ([`keytree`](super::keytree)).
//!
//! Invariants: a person's slot is never given to another person, not even after it is erased; a
//! slot's number says nothing about its person and never enters the log.

use std::fmt;

use zeroize::Zeroizing;

use crate::log::hash::Hash;

/// Slots of the key tree: fan-out 64 at five levels, 64^5 = 2^30.
pub const SLOTS: u64 = 1 << 30;

/// First slot of the bundles' owner-mask keys, bundle N at this plus N. What lies below is the
/// ledger's own slot and 2^29 - 1 persons; what lies above are 2^29 - 1 bundles of 256 entries,
/// that is 1.4 * 10^11 entries, and the inbox.
pub const BUNDLE_SLOTS_FROM: u64 = 1 << 29;

/// Number of a slot: the ledger's own is 0, persons follow from 1, bundles from
/// [`BUNDLE_SLOTS_FROM`], the inbox key is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNumber(pub u64);

impl SlotNumber {
    /// The secret of the ledger itself, which seals open parts.
    pub const LEDGER: Self = Self(0);
    /// The first person's.
    pub const FIRST_PERSON: Self = Self(1);
    /// The key under which persons' secrets travel in journal frames.
    pub const INBOX: Self = Self(SLOTS - 1);

    /// The slot of the key that masks owners in bundle number `bundle`; `None` for a bundle beyond
    /// 2^29 - 2, for which there is no room.
    #[must_use]
    pub fn of_bundle(bundle: u64) -> Option<Self> {
        bundle.checked_add(BUNDLE_SLOTS_FROM).map(Self).filter(|slot| *slot < Self::INBOX)
    }

    /// Whether this is a person's slot.
    #[must_use]
    pub fn is_person(self) -> bool {
        (Self::FIRST_PERSON.0..BUNDLE_SLOTS_FROM).contains(&self.0)
    }
}

impl fmt::Display for SlotNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a slot holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    /// The secret: a person's, the ledger's, a bundle's mask key, the inbox key.
    pub secret: Zeroizing<[u8; 32]>,
    /// For a person the directory key `D_X`, so that the directory can be rebuilt; else zeros.
    pub meta: [u8; 32],
}

impl Slot {
    /// A person's slot.
    #[must_use]
    pub fn person(secret: &super::PersonSecret, directory_key: Hash) -> Self {
        Self { secret: Zeroizing::new(*secret.expose()), meta: directory_key.0 }
    }

    /// A slot that is nobody's: the ledger's, a bundle's or the inbox's.
    #[must_use]
    pub fn key(secret: Zeroizing<[u8; 32]>) -> Self {
        Self { secret, meta: [0; 32] }
    }

    /// The secret as a person's.
    #[must_use]
    pub fn person_secret(&self) -> super::PersonSecret {
        super::PersonSecret::from_bytes(*self.secret)
    }

    /// The directory key of a person's slot.
    #[must_use]
    pub fn directory_key(&self) -> Hash {
        Hash(self.meta)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_meet() {
        assert!(!SlotNumber::LEDGER.is_person());
        assert!(SlotNumber::FIRST_PERSON.is_person());
        assert!(SlotNumber(BUNDLE_SLOTS_FROM - 1).is_person());
        assert_eq!(SlotNumber::of_bundle(0), Some(SlotNumber(BUNDLE_SLOTS_FROM)));
        assert!(!SlotNumber(BUNDLE_SLOTS_FROM).is_person());
        assert_eq!(SlotNumber::of_bundle((1 << 29) - 2), Some(SlotNumber(SLOTS - 2)));
        assert_eq!(SlotNumber::of_bundle((1 << 29) - 1), None);
        assert_eq!(SlotNumber::of_bundle(u64::MAX), None);
        let slot = Slot::person(&super::super::PersonSecret::from_bytes([7; 32]), Hash([8; 32]));
        assert_eq!(format!("{slot:?}"), "Slot(…)");
    }
}
