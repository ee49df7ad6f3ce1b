//! Timestamped cosignatures of checkpoints (C2SP tlog-cosignature).
//!
//! In scope: the form of a cosignature, the message that type 0x04 (Ed25519) signs, verifying and
//! making these. Out of scope: deciding what to cosign (`ledger`'s witness), signatures of type
//! 0x06 (ML-DSA-44), which parse and never verify. Invariant: the time inside the blob is the time
//! inside the signed message, both taken from the blob.

use std::fmt;

use ed25519_dalek::Signer;
use zeroize::Zeroizing;

use super::note::{
    KeyError, KeyType, SignatureError, VerifierKey, format_private, parse_private, signature_line,
};

/// First line of the message that a cosigner of type 0x04 signs.
const HEADER: &str = "cosignature/v1\n";
/// Length of the time at the beginning of a cosignature.
const TIME_LEN: usize = 8;
/// Length of a cosignature of type 0x04: the time and an Ed25519 signature.
const ED25519_LEN: usize = TIME_LEN + ed25519_dalek::SIGNATURE_LENGTH;

/// A cosignature as it stands after the key ID on a signature line: a time and a signature of
/// whatever type the key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// When it was made, in seconds since 1970.
    pub time_s: u64,
    /// The signature: 64 bytes for type 0x04, 2,420 for type 0x06.
    pub signature: Vec<u8>,
}

impl Cosignature {
    /// Reads eight bytes of time, big-endian, and a signature of at least one byte. This says
    /// nothing about whether the signature holds.
    #[must_use]
    pub fn parse(blob: &[u8]) -> Option<Self> {
        let (time, signature) = blob.split_first_chunk::<TIME_LEN>()?;
        let signature = signature.to_vec();
        let time_s = u64::from_be_bytes(*time);
        (!signature.is_empty()).then_some(Self { time_s, signature })
    }

    /// Writes what [`Cosignature::parse`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.time_s.to_be_bytes().as_slice(), &self.signature].concat()
    }
}

/// The message that a cosigner of type 0x04 signs at `time_s` seconds since 1970: two lines of its
/// own and the whole text of the checkpoint.
#[must_use]
pub fn message(time_s: u64, checkpoint_text: &[u8]) -> Vec<u8> {
    let mut message = format!("{HEADER}time {time_s}\n").into_bytes();
    message.extend_from_slice(checkpoint_text);
    message
}

/// Verifies a cosignature of a checkpoint's text by a key of type 0x04 and gives its time in seconds
/// since 1970.
///
/// # Errors
/// [`SignatureError`] if the key is of another type or the cosignature is not one of this text by
/// this key.
pub fn verify(key: &VerifierKey, checkpoint_text: &[u8], blob: &[u8]) -> Result<u64, SignatureError> {
    if key.key_type() != KeyType::CosignatureV1 {
        return Err(SignatureError::Type(key.key_type().byte()));
    }
    let length = SignatureError::Length { bytes: blob.len(), expected: ED25519_LEN };
    let parsed = Cosignature::parse(blob).filter(|_| blob.len() == ED25519_LEN).ok_or(length)?;
    key.verify_ed25519(&message(parsed.time_s, checkpoint_text), &parsed.signature)?;
    Ok(parsed.time_s)
}

/// A key that cosigns checkpoints: Ed25519, type 0x04. Its seed is wiped when it is dropped and
/// never shown. It signs nothing else, since the message does not name the cosigner.
#[derive(Clone)]
pub struct CosigningKey {
    verifier: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl CosigningKey {
    /// The key with this name and this seed of 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`] for a name that C2SP does not allow.
    pub fn generate_from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, ed25519_dalek::SigningKey::from_bytes(seed))
    }

    fn new(name: &str, secret: ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        let verifier = VerifierKey::of(name, KeyType::CosignatureV1, &secret)?;
        Ok(Self { verifier, secret })
    }

    /// Reads `PRIVATE+KEY+<name>+<ID>+<base64>` of type 0x04, or of type 0x01, which is how Go
    /// witnesses keep their cosigning keys.
    ///
    /// # Errors
    /// [`KeyError`] if the text is anything else, its ID is wrong, or its type is another one.
    pub fn from_go_string(text: &str) -> Result<Self, KeyError> {
        let fields = parse_private(text)?;
        match fields.key_type {
            KeyType::CosignatureV1 | KeyType::Ed25519 => Self::new(&fields.name, fields.secret),
            KeyType::Unknown(byte) => Err(KeyError::Type(byte)),
        }
    }

    /// The key's string form with type 0x04. This is the secret itself.
    #[must_use]
    pub fn to_go_string(&self) -> Zeroizing<String> {
        format_private(&self.verifier, &self.secret)
    }

    /// The key that verifies this one's cosignatures.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// Cosigns a checkpoint's text at `time_s` seconds since 1970 and gives the signature line with
    /// its newline.
    #[must_use]
    pub fn cosign(&self, checkpoint_text: &str, time_s: u64) -> String {
        let signature = self.secret.sign(&message(time_s, checkpoint_text.as_bytes()));
        let cosignature = Cosignature { time_s, signature: signature.to_bytes().to_vec() };
        signature_line(&self.verifier, &cosignature.encode())
    }
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CosigningKey").field(&self.verifier).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::note::{Note, NoteError};

    const TEXT: &str = "ledger.example/audit\n7\nkTlgHMHKirKnoMLBNMBIRfKxulSag9bIRc/NpDnMWF0=\n";

    fn key() -> CosigningKey {
        CosigningKey::generate_from_seed("witness.example/w1", &[9; 32]).unwrap()
    }

    #[test]
    fn a_cosigned_note_gives_the_time_and_binds_it() {
        let line = key().cosign(TEXT, 1_700_000_000);
        let keys = [key().verifier()];
        let note = Note::parse(format!("{TEXT}\n{line}")).unwrap();
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified.first().and_then(|signature| signature.time_s), Some(1_700_000_000));

        let mut blob = note.signatures()[0].signature.clone();
        assert_eq!(verify(&keys[0], TEXT.as_bytes(), &blob), Ok(1_700_000_000));
        assert_eq!(keys[0].verify(TEXT.as_bytes(), &blob), Ok(()));
        blob[7] ^= 1;
        let invalid = Err(SignatureError::Invalid);
        assert_eq!(verify(&keys[0], TEXT.as_bytes(), &blob), invalid);
        blob[7] ^= 1;
        assert_eq!(verify(&keys[0], &TEXT.as_bytes()[1..], &blob), invalid);
        for bytes in [0, 8, 9, 64, 71] {
            let length = Err(SignatureError::Length { bytes, expected: 72 });
            assert_eq!(verify(&keys[0], TEXT.as_bytes(), &blob[..bytes]), length);
        }
    }

    #[test]
    fn a_plain_signature_is_no_cosignature_and_the_other_way_round() {
        let seed = [9; 32];
        let plain =
            crate::log::note::SigningKey::generate_from_seed("witness.example/w1", &seed).unwrap();
        let message = message(5, TEXT.as_bytes());
        let signed = plain.sign(std::str::from_utf8(&message).unwrap());
        let note = Note::parse(format!("{TEXT}\n{signed}")).unwrap();
        let refused = SignatureError::Type(1);
        let blob = &note.signatures()[0].signature;
        assert_eq!(verify(&plain.verifier(), TEXT.as_bytes(), blob), Err(refused));
        assert_ne!(plain.verifier().key_id(), key().verifier().key_id());
        let keys = [key().verifier()];
        assert_eq!(note.verify(&keys), Err(NoteError::Unverified { signatures: 1 }));
    }

    #[test]
    fn a_cosignature_of_an_unknown_type_parses_and_never_verifies() {
        let blob = [5_u64.to_be_bytes().as_slice(), &[7; 2420]].concat();
        let parsed = Cosignature::parse(&blob).unwrap();
        assert_eq!((parsed.time_s, parsed.signature.len()), (5, 2420));
        assert_eq!(parsed.encode(), blob);
        assert_eq!(Cosignature::parse(&blob[..8]), None);
        let public = super::super::text::to_base64(&[&[0x06], [1; 1312].as_slice()].concat());
        let unknown: VerifierKey = format!("w.example+00000001+{public}").parse().unwrap();
        assert!(!unknown.can_verify());
        assert_eq!(verify(&unknown, TEXT.as_bytes(), &blob), Err(SignatureError::Type(6)));
        assert_eq!(unknown.verify(TEXT.as_bytes(), &blob), Err(SignatureError::Type(6)));
    }

    #[test]
    fn the_string_form_keeps_the_type_and_takes_the_form_of_go_witnesses() {
        let text = key().to_go_string();
        let again = CosigningKey::from_go_string(&text).unwrap();
        assert_eq!(again.verifier(), key().verifier());
        let plain = super::super::note::SigningKey::generate_from_seed("witness.example/w1", &[9; 32]);
        let go = plain.unwrap().to_go_string();
        assert_eq!(CosigningKey::from_go_string(&go).unwrap().verifier(), key().verifier());
        assert!(super::super::note::SigningKey::from_go_string(&text).is_err());
        let shown = format!("{:?}", key());
        assert_eq!(shown, format!("CosigningKey(VerifierKey({}))", key().verifier()));
    }
}
