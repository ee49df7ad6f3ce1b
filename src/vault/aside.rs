//! Sealing what a ledger keeps aside of its events' open content, so that a derived file tells a thief
//! no more than the log does.
//!
//! In scope: sealing one value for one numbered place. Out of scope: what the value is and where it
//! lies. Invariants: the key is derived from the ledger's own secret and stored nowhere; what was
//! sealed for one ledger, kind or place opens for no other.
//!
//! ```text
//! key    HMAC(ledger's own secret, "counterfoil/v1/aside-key\0")
//! nonce  place u64 ‖ 0 u32       AES-256-GCM-SIV: the same place is sealed again with the same content,
//!                                and if ever with another, only equality would show (RFC 8452 section 9)
//! aad    "counterfoil/v1/aside\0" ‖ ledger id 16 ‖ kind u8
//! sealed ciphertext ‖ tag 16
//! ```

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;

use super::aead::{self, NONCE_BYTES, TAG_BYTES};
use super::mac::{self, SECRET_BYTES};
use crate::event::keys::LedgerId;

const KEY_LABEL: &[u8] = b"counterfoil/v1/aside-key\0";
const SEAL_LABEL: &[u8] = b"counterfoil/v1/aside\0";

/// The key under which one ledger keeps things aside.
pub struct AsideKey {
    cipher: Aes256GcmSiv,
    ledger: LedgerId,
}

impl AsideKey {
    /// The key of the ledger whose own secret this is.
    #[must_use]
    pub fn new(ledger_secret: &[u8; SECRET_BYTES], ledger: LedgerId) -> Self {
        Self { cipher: aead::cipher(&mac::derive(ledger_secret, &[KEY_LABEL])), ledger }
    }

    /// Seals `value` for place number `place` of things of `kind`; none above 2^36 bytes.
    #[must_use]
    pub fn seal(&self, kind: u8, place: u64, value: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = value.to_vec();
        let tag = aead::encrypt(&self.cipher, nonce(place), &self.aad(kind), &mut sealed).ok()?;
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }

    /// Opens what [`AsideKey::seal`] made; none where anything differs.
    #[must_use]
    pub fn open(&self, kind: u8, place: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut value = text.to_vec();
        aead::decrypt(&self.cipher, nonce(place), &self.aad(kind), &mut value, *tag).ok()?;
        Some(value)
    }

    fn aad(&self, kind: u8) -> Vec<u8> {
        [SEAL_LABEL, &self.ledger.0, &[kind]].concat()
    }
}

impl fmt::Debug for AsideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsideKey(…)")
    }
}

fn nonce(place: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    for (to, from) in nonce.iter_mut().zip(place.to_be_bytes()) {
        *to = from;
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::keys::ledger_id;

    #[test]
    fn opens_in_its_own_place_alone() {
        let key = AsideKey::new(&[7; 32], ledger_id("ledger.example/main"));
        let sealed = key.seal(1, 5, b"times").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"times"));
        assert_eq!(key.open(1, 5, &sealed).as_deref(), Some(&b"times"[..]));
        assert_eq!((key.open(1, 6, &sealed), key.open(2, 5, &sealed)), (None, None));
        let other = AsideKey::new(&[7; 32], ledger_id("ledger.example/other"));
        assert_eq!(other.open(1, 5, &sealed), None);
        assert_eq!(AsideKey::new(&[8; 32], key.ledger).open(1, 5, &sealed), None);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(key.open(1, 5, &bad), None);
        }
        assert_eq!(key.open(1, 5, b"short"), None);
        assert_eq!(format!("{key:?}"), "AsideKey(…)");
    }
}
