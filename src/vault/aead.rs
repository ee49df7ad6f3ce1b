//! AES-256-GCM-SIV (RFC 8452) over a buffer that stays where it is.
//!
//! In scope: encrypting and decrypting in place with a detached tag. Out of scope: which key, which
//! nonce, which associated data. Invariant: a buffer that fails to open is left without plaintext.

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};

/// Bytes of a nonce (RFC 8452 section 4).
pub(super) const NONCE_BYTES: usize = 12;
/// Bytes of an authentication tag (RFC 8452 section 4).
pub(super) const TAG_BYTES: usize = 16;

/// The cipher would not take or give the bytes: on opening, a wrong key, wrong associated data or
/// changed bytes, which cannot be told apart; on sealing, more than 2^36 bytes.
#[derive(Debug)]
pub(super) struct Refused;

/// The cipher under `key`, its round keys expanded.
pub(super) fn cipher(key: &[u8; 32]) -> Aes256GcmSiv {
    Aes256GcmSiv::new(key.into())
}

/// Encrypts `text` in place and gives its tag.
pub(super) fn encrypt(
    cipher: &Aes256GcmSiv,
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    text: &mut [u8],
) -> Result<[u8; TAG_BYTES], Refused> {
    cipher
        .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(text))
        .map(Into::into)
        .map_err(|_| Refused)
}

/// Decrypts `text` in place, or leaves it encrypted where the tag does not fit.
pub(super) fn decrypt(
    cipher: &Aes256GcmSiv,
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    text: &mut [u8],
    tag: [u8; TAG_BYTES],
) -> Result<(), Refused> {
    cipher
        .decrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(text), &tag.into())
        .map_err(|_| Refused)
}
