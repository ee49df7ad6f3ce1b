//! The key under which new persons' secrets travel in journal frames (design section 3.4).
//!
//! In scope: wrapping a person's slot, directory key and secret for the journal, and the masks of
//! owners there. Out of scope: the frame (`store::journal`), when the key is drained and destroyed
//! (`ledger`).
//!
//! A person's secret must be durable before the event that names the person is acknowledged, and
//! the journal is what is durable then. So the secret rides in the frame, and the key it is wrapped
//! under lives in the key tree at [`SlotNumber::of_inbox`]: a shred begins with the next number, folds
//! and trims the frames of the one before and destroys it, and old copies of frames open nothing.
//!
//! Wrapped bytes are `suite u8 = 1 ‖ nonce 12 ‖ ciphertext 72 ‖ tag 16` = 101 bytes, AES-256-GCM-SIV
//! over `slot u64 ‖ D_X 32 ‖ secret 32` with associated data `"counterfoil/v1/inbox\0" ‖ suite u8 ‖
//! ledger 16`. The nonce is `HMAC(key, "counterfoil/v1/inbox-nonce\0" ‖ plaintext)[..12]`, so that
//! wrapping needs no randomness and differs for every person. The slot is inside the ciphertext: in
//! the clear it would tie a frame, and so its events, to a slot in old copies of both.
//!
//! Invariant: no secret is ever printed; what was wrapped for one ledger opens in no other.

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;
use zeroize::{Zeroize, Zeroizing};

use super::aead::{self, NONCE_BYTES, TAG_BYTES};
use super::mac::MacKey;
use super::mask::OwnerMask;
use super::person::PersonSecret;
use super::slot::{Slot, SlotNumber};
use crate::event::keys::LedgerId;
use crate::log::hash::Hash;

const SUITE_AES_256_GCM_SIV: u8 = 1;
/// Slot, directory key, secret.
const PLAIN_BYTES: usize = 8 + 32 + 32;
/// Length of a wrapped person: suite, nonce, slot and directory key and secret, tag.
pub const WRAPPED_PERSON_BYTES: usize = 1 + NONCE_BYTES + PLAIN_BYTES + TAG_BYTES;

const WRAP_LABEL: &[u8] = b"counterfoil/v1/inbox\0";
const WRAP_KEY_LABEL: &[u8] = b"counterfoil/v1/inbox-wrap\0";
const NONCE_KEY_LABEL: &[u8] = b"counterfoil/v1/inbox-nonce-key\0";
const NONCE_LABEL: &[u8] = b"counterfoil/v1/inbox-nonce\0";
const OWNER_KEY_LABEL: &[u8] = b"counterfoil/v1/inbox-owner\0";

/// Why a wrapped person could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// Not as long as every wrapped person is.
    #[error("wrapped secret has {bytes} bytes where {WRAPPED_PERSON_BYTES} are expected")]
    WrongLength {
        /// Length of what was given.
        bytes: usize,
    },
    /// The first byte names a suite this version does not know.
    #[error("wrapped secret is of unknown suite {suite}")]
    UnknownSuite {
        /// The first byte.
        suite: u8,
    },
    /// A wrong key, another ledger or changed bytes.
    #[error("wrapped secret does not open: other bytes, another ledger or another inbox key")]
    NotOpened,
    /// The cipher took no bytes.
    #[error("the cipher refused to wrap a secret")]
    NotWrapped,
}

/// The inbox key of one ledger, ready for use.
#[derive(Clone)]
pub struct InboxKey {
    cipher: Aes256GcmSiv,
    nonce_mac: MacKey,
    owners: OwnerMask,
}

impl InboxKey {
    /// The inbox key from the bytes in its slot.
    #[must_use]
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        let root = MacKey::new(key);
        Self {
            cipher: aead::cipher(&root.value(&[WRAP_KEY_LABEL])),
            nonce_mac: MacKey::new(&root.value(&[NONCE_KEY_LABEL])),
            owners: OwnerMask::new(&root.value(&[OWNER_KEY_LABEL])),
        }
    }

    /// The masks of owners in journal frames.
    #[must_use]
    pub fn owners(&self) -> &OwnerMask {
        &self.owners
    }
}

impl fmt::Debug for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InboxKey(…)")
    }
}

/// The inbox keys that the key tree holds: one, or two while a shred is under way.
#[derive(Clone, Debug)]
pub struct Inboxes {
    newest: (u32, InboxKey),
    before: Option<(u32, InboxKey)>,
}

impl Inboxes {
    /// The keys in the two slots; none where both are empty.
    ///
    /// # Errors
    /// What `get` reports.
    pub fn read<E>(get: impl Fn(SlotNumber) -> Result<Option<Slot>, E>) -> Result<Option<Self>, E> {
        let mut found = Vec::with_capacity(2);
        for slot in [SlotNumber::INBOX, SlotNumber::INBOX_ODD] {
            let Some(slot) = get(slot)? else { continue };
            let Some(number) = slot.inbox_number() else { continue };
            found.push((number, InboxKey::from_bytes(&slot.secret)));
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        let newest = found.pop();
        Ok(newest.map(|newest| Self { newest, before: found.pop() }))
    }

    /// The key that new frames are written under, with its number.
    #[must_use]
    pub fn newest(&self) -> &(u32, InboxKey) {
        &self.newest
    }

    /// Number of the key that is on its way out.
    #[must_use]
    pub fn before(&self) -> Option<u32> {
        self.before.as_ref().map(|(number, _)| *number)
    }

    /// The key of this number, where it is still there.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&InboxKey> {
        let (newest, key) = &self.newest;
        if *newest == number {
            return Some(key);
        }
        self.before.as_ref().filter(|(before, _)| *before == number).map(|(_, key)| key)
    }
}

/// A new person as it rides in the journal until the fold has put it into the key tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedPerson {
    /// Where the secret will live.
    pub slot: SlotNumber,
    /// The person's name in the directory, `D_X`.
    pub directory_key: Hash,
    /// The secret itself.
    pub secret: PersonSecret,
}

impl WrappedPerson {
    /// The bytes for a journal frame of `ledger`.
    ///
    /// # Errors
    /// [`WrapError::NotWrapped`], which no input of this length causes.
    pub fn wrap(&self, key: &InboxKey, ledger: LedgerId) -> Result<Vec<u8>, WrapError> {
        let slot = self.slot.0.to_be_bytes();
        let plain: [&[u8]; 3] = [&slot, self.directory_key.as_bytes(), self.secret.expose()];
        let [slot, directory_key, secret] = plain;
        let value = key.nonce_mac.value(&[NONCE_LABEL, slot, directory_key, secret]);
        let nonce = value.first_chunk::<NONCE_BYTES>().copied().unwrap_or_default();
        let mut wrapped = Vec::with_capacity(WRAPPED_PERSON_BYTES);
        wrapped.push(SUITE_AES_256_GCM_SIV);
        wrapped.extend_from_slice(&nonce);
        for field in plain {
            wrapped.extend_from_slice(field);
        }
        let text = wrapped.get_mut(1 + NONCE_BYTES..).unwrap_or_default();
        let Ok(tag) = aead::encrypt(&key.cipher, nonce, &associated_data(ledger), text) else {
            wrapped.zeroize();
            return Err(WrapError::NotWrapped);
        };
        wrapped.extend_from_slice(&tag);
        Ok(wrapped)
    }

    /// The person in bytes that [`wrap`](Self::wrap) made for the same ledger and key.
    ///
    /// # Errors
    /// [`WrapError`] for bytes of another length, another suite, or that do not open.
    pub fn unwrap(wrapped: &[u8], key: &InboxKey, ledger: LedgerId) -> Result<Self, WrapError> {
        let wrong_length = WrapError::WrongLength { bytes: wrapped.len() };
        let wrapped: &[u8; WRAPPED_PERSON_BYTES] = wrapped.try_into().map_err(|_| wrong_length)?;
        let (suite, rest) = wrapped.split_first().ok_or(wrong_length)?;
        if *suite != SUITE_AES_256_GCM_SIV {
            return Err(WrapError::UnknownSuite { suite: *suite });
        }
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(wrong_length)?;
        let (text, tag) = rest.split_first_chunk::<PLAIN_BYTES>().ok_or(wrong_length)?;
        let tag = tag.try_into().map_err(|_| wrong_length)?;
        let mut plain = Zeroizing::new(*text);
        aead::decrypt(&key.cipher, *nonce, &associated_data(ledger), &mut *plain, tag)
            .map_err(|aead::Refused| WrapError::NotOpened)?;
        let (slot, rest) = plain.split_first_chunk::<8>().ok_or(wrong_length)?;
        let (directory_key, secret) = rest.split_first_chunk::<32>().ok_or(wrong_length)?;
        let secret = secret.first_chunk::<32>().ok_or(wrong_length)?;
        Ok(Self {
            slot: SlotNumber(u64::from_be_bytes(*slot)),
            directory_key: Hash(*directory_key),
            secret: PersonSecret::from_bytes(*secret),
        })
    }
}

fn associated_data(ledger: LedgerId) -> [u8; WRAP_LABEL.len() + 1 + 16] {
    let mut aad = [0; WRAP_LABEL.len() + 1 + 16];
    let fields: [&[u8]; 3] = [WRAP_LABEL, &[SUITE_AES_256_GCM_SIV], &ledger.0];
    for (to, from) in aad.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: LedgerId = LedgerId([1; 16]);

    fn person() -> WrappedPerson {
        WrappedPerson {
            slot: SlotNumber(0x0102_0304),
            directory_key: Hash([0xd1; 32]),
            secret: PersonSecret::from_bytes([0x5e; 32]),
        }
    }

    #[test]
    fn a_wrapped_person_opens_and_shows_nothing() {
        let key = InboxKey::from_bytes(&[9; 32]);
        let wrapped = person().wrap(&key, LEDGER).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_PERSON_BYTES);
        assert_eq!(WrappedPerson::unwrap(&wrapped, &key, LEDGER), Ok(person()));
        assert_eq!(wrapped, person().wrap(&key, LEDGER).unwrap());
        for hidden in [[0xd1; 4], [0x5e; 4], [1, 2, 3, 4]] {
            assert!(!wrapped.windows(4).any(|run| run == hidden));
        }
        assert!(format!("{:?} {key:?}", person()).contains("PersonSecret(…)"));
    }

    #[test]
    fn wrong_key_ledger_length_or_bit_is_refused() {
        let key = InboxKey::from_bytes(&[9; 32]);
        let wrapped = person().wrap(&key, LEDGER).unwrap();
        let other_key = InboxKey::from_bytes(&[8; 32]);
        let not_opened = Err(WrapError::NotOpened);
        assert_eq!(WrappedPerson::unwrap(&wrapped, &other_key, LEDGER), not_opened);
        assert_eq!(WrappedPerson::unwrap(&wrapped, &key, LedgerId([2; 16])), not_opened);
        for bytes in 0..wrapped.len() {
            let result = WrappedPerson::unwrap(&wrapped[..bytes], &key, LEDGER);
            assert_eq!(result, Err(WrapError::WrongLength { bytes }));
        }
        for bit in 8..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(WrappedPerson::unwrap(&changed, &key, LEDGER), not_opened, "bit {bit}");
        }
    }

    #[test]
    fn frames_mask_owners_under_a_key_of_their_own() {
        let key = InboxKey::from_bytes(&[9; 32]);
        let place = (crate::log::hash::LogIndex(3), crate::event::facet::Role::RAW);
        let masked = key.owners().mask(place.0, place.1, 0, SlotNumber(4));
        assert_eq!(key.owners().unmask(place.0, place.1, 0, masked), SlotNumber(4));
        assert_ne!(masked, OwnerMask::new(&[9; 32]).mask(place.0, place.1, 0, SlotNumber(4)));
    }
}
