//! Sealing the parts of an event under the data keys of their owners (design section 3.3).
//!
//! In scope: the derived salt of a part's commitment, the cipher that hides its body, and the key
//! of a part that several persons own together. Out of scope: who owns what (`event::parts`), the
//! commitment itself (`event::keys`), where sealed bytes lie (`store::sealed`).
//!
//! Sealed bytes are `suite u8 = 1 ‖ ciphertext ‖ tag 16`, the suite being AES-256-GCM-SIV with
//! * nonce = the first 12 bytes of the part's commitment,
//! * associated data = `"counterfoil/v1/seal\0" ‖ suite u8 ‖ ledger 16 ‖ event_key 32 ‖ role u8 ‖
//!   commitment 32`.
//!
//! Nothing random goes in: the same part under the same key always seals to the same bytes. Two
//! parts share a nonce only if 96 bits of their commitments agree, and then a misuse-resistant
//! cipher gives away no more than whether the bodies are equal. The cipher binds no key to a
//! ciphertext; the commitment does, since whatever is opened must hash to what the log says.
//!
//! ## What the derived salt means for hiding
//! `salt = HMAC(K_salt, label ‖ 0 ‖ event_key ‖ role) ‖ HMAC(K_salt, label ‖ 1 ‖ event_key ‖ role)`
//! with `K_salt` derived from the data key. A commitment under 64 random bytes hides its body
//! statistically; one under a derived salt hides it as long as HMAC-SHA-256 under an unknown
//! 256-bit key cannot be told from random, that is computationally. In return a salt needs no
//! storage of its own and dies with the data key wherever copies of sealed bytes may lie.
//!
//! Invariants: no key is ever printed; two HMACs, one key expansion per nonce and one pass of the
//! cipher are all a part costs, because the keyed states are made once per [`DataKey`].

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;
use zeroize::{Zeroize, Zeroizing};

use super::aead::{self, NONCE_BYTES, TAG_BYTES};
use super::mac::{self, MacKey, SECRET_BYTES, Secret};
use crate::event::facet::Role;
use crate::event::keys::{LedgerId, PART_SALT_BYTES};
use crate::log::hash::Hash;

/// The first byte of sealed bytes: AES-256-GCM-SIV as the module describes it.
const SUITE_AES_256_GCM_SIV: u8 = 1;
/// What sealing adds to a body: the suite byte and the tag.
pub const SEAL_OVERHEAD_BYTES: usize = 1 + TAG_BYTES;

const SEAL_LABEL: &[u8] = b"counterfoil/v1/seal\0";
const SEAL_KEY_LABEL: &[u8] = b"counterfoil/v1/seal-key\0";
const SALT_LABEL: &[u8] = b"counterfoil/v1/salt\0";
const SALT_KEY_LABEL: &[u8] = b"counterfoil/v1/salt-key\0";
const COMBINE_LABEL: &[u8] = b"counterfoil/v1/combine\0";
const COMBINE_OUT_LABEL: &[u8] = b"counterfoil/v1/combined\0";
/// Label, suite, ledger, event key, role, commitment.
const AAD_BYTES: usize = SEAL_LABEL.len() + 1 + 16 + 32 + 1 + 32;

/// Why sealed bytes could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Fewer bytes than the suite byte and the tag take.
    #[error("sealed part of {bytes} bytes is shorter than the {SEAL_OVERHEAD_BYTES} every one has")]
    Truncated {
        /// Length of what was given.
        bytes: usize,
    },
    /// The first byte names a suite this version does not know.
    #[error("sealed part is of unknown suite {suite}")]
    UnknownSuite {
        /// The first byte.
        suite: u8,
    },
    /// A wrong key, a wrong place or changed bytes; an authenticated cipher cannot say which.
    #[error("sealed part does not open: other bytes, another place or another key than when sealed")]
    NotOpened,
    /// The body is longer than the cipher takes (2^36 bytes, RFC 8452 section 6).
    #[error("part of {bytes} bytes is too long to seal")]
    TooLong {
        /// Length of the body.
        bytes: usize,
    },
    /// A key was to be combined from no owner at all.
    #[error("a part has no owner to seal it under")]
    NoOwner,
}

/// The key that seals the parts of one owner: a person, several persons together, or the ledger.
///
/// Made from a [`PersonSecret`](super::person::PersonSecret), never stored itself.
#[derive(Clone)]
pub struct DataKey {
    key: Secret,
    salt_mac: MacKey,
    cipher: Aes256GcmSiv,
}

impl DataKey {
    /// The data key with these bytes, its keyed states made ready.
    #[must_use]
    pub fn from_bytes(key: [u8; SECRET_BYTES]) -> Self {
        let key = Zeroizing::new(key);
        let root = MacKey::new(&key);
        let salt_mac = MacKey::new(&root.value(&[SALT_KEY_LABEL]));
        let cipher = aead::cipher(&root.value(&[SEAL_KEY_LABEL]));
        Self { key, salt_mac, cipher }
    }

    /// The salt of the commitment to the part `role` of the event `event_key`.
    #[must_use]
    pub fn salt(&self, event_key: &Hash, role: Role) -> Zeroizing<[u8; PART_SALT_BYTES]> {
        let mut salt = Zeroizing::new([0; PART_SALT_BYTES]);
        for (half, out) in (0_u8..).zip(salt.chunks_exact_mut(SECRET_BYTES)) {
            let value = self.salt_mac.value(&[SALT_LABEL, &[half], event_key.as_bytes(), &[role.0]]);
            out.copy_from_slice(value.as_slice());
        }
        salt
    }

    /// Seals `body`, whose commitment is `commitment`, for its one place in the log.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above 2^36 bytes.
    pub fn seal(
        &self,
        ledger: LedgerId,
        event_key: &Hash,
        role: Role,
        commitment: &Hash,
        body: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::with_capacity(body.len().saturating_add(SEAL_OVERHEAD_BYTES));
        sealed.push(SUITE_AES_256_GCM_SIV);
        sealed.extend_from_slice(body);
        let text = sealed.get_mut(1..).unwrap_or_default();
        let aad = associated_data(ledger, event_key, role, commitment);
        let Ok(tag) = aead::encrypt(&self.cipher, nonce_of(commitment), &aad, text) else {
            sealed.zeroize();
            return Err(SealError::TooLong { bytes: body.len() });
        };
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) made, given the same key and the same place.
    ///
    /// # Errors
    /// [`SealError::NotOpened`] where anything differs from what was sealed; `Truncated` and
    /// `UnknownSuite` where that can be said without a key.
    pub fn open(
        &self,
        ledger: LedgerId,
        event_key: &Hash,
        role: Role,
        commitment: &Hash,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let truncated = SealError::Truncated { bytes: sealed.len() };
        let (suite, rest) = sealed.split_first().ok_or(truncated)?;
        if *suite != SUITE_AES_256_GCM_SIV {
            return Err(SealError::UnknownSuite { suite: *suite });
        }
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(truncated)?;
        let mut body = Zeroizing::new(text.to_vec());
        let aad = associated_data(ledger, event_key, role, commitment);
        aead::decrypt(&self.cipher, nonce_of(commitment), &aad, &mut body, *tag)
            .map_err(|aead::Refused| SealError::NotOpened)?;
        Ok(body)
    }

    /// The key of a part that all of `owners` own together: it can be made only while every one of
    /// their keys lives, so erasing any of them erases the part.
    ///
    /// The order of the owners does not matter and a repeated one counts once. A single owner's
    /// key is that owner's own. Otherwise, in the manner of HKDF (RFC 5869): `PRK = HMAC(zeros 32,
    /// label ‖ count u64 ‖ keys ascending)`, `key = HMAC(PRK, label)`.
    ///
    /// # Errors
    /// [`SealError::NoOwner`] for an empty list.
    pub fn combine(owners: &[&DataKey]) -> Result<DataKey, SealError> {
        let mut keys: Vec<&Secret> = owners.iter().map(|owner| &owner.key).collect();
        keys.sort_unstable_by_key(|key| key.as_slice());
        keys.dedup_by(|a, b| a.as_slice() == b.as_slice());
        if keys.len() < 2 {
            return owners.first().map(|owner| (*owner).clone()).ok_or(SealError::NoOwner);
        }
        let count = u64::try_from(keys.len()).unwrap_or(u64::MAX).to_be_bytes();
        let mut inputs: Vec<&[u8]> = vec![COMBINE_LABEL, &count];
        inputs.extend(keys.iter().map(|key| key.as_slice()));
        let extracted = mac::derive(&[0; SECRET_BYTES], &inputs);
        Ok(Self::from_bytes(*mac::derive(&extracted, &[COMBINE_OUT_LABEL])))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

fn nonce_of(commitment: &Hash) -> [u8; NONCE_BYTES] {
    commitment.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn associated_data(
    ledger: LedgerId,
    event_key: &Hash,
    role: Role,
    commitment: &Hash,
) -> [u8; AAD_BYTES] {
    let mut aad = [0; AAD_BYTES];
    let fields: [&[u8]; 6] = [
        SEAL_LABEL,
        &[SUITE_AES_256_GCM_SIV],
        &ledger.0,
        event_key.as_bytes(),
        &[role.0],
        commitment.as_bytes(),
    ];
    for (to, from) in aad.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    aad
}

#[cfg(test)]
mod tests;
