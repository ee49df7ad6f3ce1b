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
use crate::store::sealed::BundleMask;

/// Slots of the key tree: fan-out 64 at five levels, 64^5 = 2^30.
pub const SLOTS: u64 = 1 << 30;

/// First slot of the bundles' owner-mask keys, bundle N's first at this plus N. What lies below is the
/// ledger's own slot and 2^29 - 1 persons; what lies above are two keys for each of 2^28 - 2 bundles
/// of 256 entries, that is 6.9 * 10^10 entries, and the two inbox keys.
pub const BUNDLE_SLOTS_FROM: u64 = 1 << 29;

/// First slot of the bundles' second owner-mask keys.
const SECOND_MASKS_FROM: u64 = BUNDLE_SLOTS_FROM + (1 << 28);

/// Number of a slot: the ledger's own is 0, persons follow from 1, bundles from
/// [`BUNDLE_SLOTS_FROM`], the inbox keys are the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNumber(pub u64);

impl SlotNumber {
    /// The secret of the ledger itself, which seals open parts.
    pub const LEDGER: Self = Self(0);
    /// The first person's.
    pub const FIRST_PERSON: Self = Self(1);
    /// The key under which persons' secrets travel in journal frames, where its number is even.
    pub const INBOX: Self = Self(SLOTS - 1);
    /// The same, where its number is odd.
    pub const INBOX_ODD: Self = Self(SLOTS - 2);

    /// The slot of the key that masks owners in the files of bundle number `bundle` that say `mask`;
    /// `None` for a bundle beyond 2^28 - 3, for which there is no room.
    #[must_use]
    pub fn of_bundle(bundle: u64, mask: BundleMask) -> Option<Self> {
        let from = match mask {
            BundleMask::First => BUNDLE_SLOTS_FROM,
            BundleMask::Second => SECOND_MASKS_FROM,
        };
        let has_room = bundle < Self::INBOX_ODD.0 - SECOND_MASKS_FROM;
        has_room.then(|| Self(from + bundle))
    }

    /// The slot of inbox key number `number`.
    #[must_use]
    pub fn of_inbox(number: u32) -> Self {
        if number.is_multiple_of(2) { Self::INBOX } else { Self::INBOX_ODD }
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
    /// For a person the directory key `D_X`, so that the directory can be rebuilt; for an inbox key its
    /// number, in the first eight bytes; else zeros.
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

    /// The slot of inbox key number `number`.
    #[must_use]
    pub fn inbox(secret: Zeroizing<[u8; 32]>, number: u32) -> Self {
        let mut meta = [0; 32];
        for (to, from) in meta.iter_mut().zip(u64::from(number).to_be_bytes()) {
            *to = from;
        }
        Self { secret, meta }
    }

    /// The number of an inbox key; none where there is no such number.
    #[must_use]
    pub fn inbox_number(&self) -> Option<u32> {
        let number = self.meta.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))?;
        u32::try_from(number).ok()
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
        let (first, second) = (BundleMask::First, BundleMask::Second);
        assert_eq!(SlotNumber::of_bundle(0, first), Some(SlotNumber(BUNDLE_SLOTS_FROM)));
        assert!(!SlotNumber(BUNDLE_SLOTS_FROM).is_person());
        let last = (1 << 28) - 3;
        let second_of_first = SlotNumber::of_bundle(0, second);
        assert!(SlotNumber::of_bundle(last, first) < second_of_first);
        assert_eq!(SlotNumber::of_bundle(last, second), Some(SlotNumber(SLOTS - 3)));
        assert_eq!(SlotNumber::of_bundle(last + 1, first), None);
        assert_eq!(SlotNumber::of_bundle(last + 1, second), None);
        assert_eq!(SlotNumber::of_bundle(u64::MAX, first), None);
        assert_eq!(
            (SlotNumber::of_inbox(0), SlotNumber::of_inbox(4)),
            (SlotNumber::INBOX, SlotNumber::INBOX)
        );
        assert_eq!(SlotNumber::of_inbox(7), SlotNumber(SLOTS - 2));
        assert_eq!(Slot::inbox(Zeroizing::new([1; 32]), 7).inbox_number(), Some(7));
        let slot = Slot::person(&super::super::PersonSecret::from_bytes([7; 32]), Hash([8; 32]));
        assert_eq!(format!("{slot:?}"), "Slot(…)");
    }
}
