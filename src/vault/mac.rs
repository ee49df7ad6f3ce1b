//! HMAC-SHA-256 as this module uses it: 32-byte keys, several inputs, wiped outputs.
//!
//! In scope: keyed states that can be reused, derivation of one secret from another. Out of scope:
//! the labels, which belong to those who derive. Invariant: every input starts with a label of the
//! form `"counterfoil/v1/<name>\0"`, and what follows it is of fixed length or length-prefixed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a secret and of an HMAC-SHA-256 value.
pub(super) const SECRET_BYTES: usize = 32;

/// A 32-byte secret that is wiped when it is dropped.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// HMAC-SHA-256 with the key already absorbed: the two blocks of key material are hashed once,
/// then every value costs two compressions less.
#[derive(Clone)]
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// The keyed state for `key`.
    pub(super) fn new(key: &[u8; SECRET_BYTES]) -> Self {
        // RFC 2104 section 2: a key shorter than the block is padded with zeros.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        let state = Hmac::new(&block);
        block.as_mut_slice().zeroize();
        Self(state)
    }

    /// HMAC-SHA-256 of the concatenation of `inputs`.
    pub(super) fn value(&self, inputs: &[&[u8]]) -> Secret {
        let mut state = self.0.clone();
        for input in inputs {
            state.update(input);
        }
        Zeroizing::new(state.finalize().into_bytes().into())
    }
}

/// One secret derived from another: HMAC-SHA-256 of `inputs` under `key`.
pub(super) fn derive(key: &[u8; SECRET_BYTES], inputs: &[&[u8]]) -> Secret {
    MacKey::new(key).value(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.4 has a 131-byte key; its case 1 pads to our length: 20 bytes of 0x0b.
    #[test]
    fn value_is_hmac_sha256_of_the_concatenation() {
        let mut key = [0; SECRET_BYTES];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex::encode(*derive(&key, &[b"Hi ", b"There"])), expected);
    }
}
