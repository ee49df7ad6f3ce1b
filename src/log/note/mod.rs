//! Signed notes (C2SP signed-note): a text and the signatures under it.
//!
//! In scope: the note's syntax, verifying it with known keys, the keys (submodule `keys`). Out of
//! scope: what a text means ([`super::checkpoint`]) and what a cosignature's time means
//! ([`super::cosignature`]). Invariants: a note is split at its last empty line; a signature by a
//! known key that does not verify spoils the whole note; signatures by unknown keys, or of a type
//! that is not implemented, are carried and never believed. Ed25519 is verified strictly: no key or
//! signature point of small order, no second encoding of either.

mod keys;

#[cfg(test)]
mod tests;

pub use keys::{KeyError, KeyType, NAME_BYTES_MAX, SignatureError, SigningKey, VerifierKey};

pub(super) use keys::{format_private, parse_private, signature_line};

use super::text::parse_base64;

/// Begins a signature line: an em dash (U+2014) and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";
/// Length of the key ID at the beginning of a signature.
const KEY_ID_LEN: usize = 4;
/// Most signature lines in a note. C2SP asks for at least 16; a log and every witness of a large
/// policy, each with two kinds of key, stay below 100.
pub const SIGNATURES_MAX: usize = 100;
/// Longest note in bytes: 100 signature lines of an ML-DSA-44 cosigner with the longest name, each
/// 4 + 255 + 1 + ⌈(4 + 8 + 2420) / 3⌉ · 4 + 1 = 3,505, and as much again for the text, rounded up
/// to a power of two.
pub const NOTE_BYTES_MAX: usize = 1 << 20;

/// A note is not well formed, or its signatures do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The note is too long.
    #[error("the note has {bytes} bytes, more than {NOTE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The note is not UTF-8.
    #[error("the note is not UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// The note has a control character other than the newline.
    #[error("the note has a control character at byte {offset}")]
    ControlCharacter {
        /// Where it is.
        offset: usize,
    },
    /// There is no empty line between a text and signatures, or no text before it.
    #[error("the note is not a text, an empty line and signatures")]
    NoSignatures,
    /// A line below the text is not a signature line.
    #[error("signature line {line} of the note is not well formed")]
    SignatureLine {
        /// Number of the line among the signature lines, from 1.
        line: usize,
    },
    /// There are too many signature lines.
    #[error("the note has more than {SIGNATURES_MAX} signature lines")]
    TooManySignatures,
    /// The signature of a known key does not verify.
    #[error("signature line {line} of the note names a known key and does not verify")]
    InvalidSignature {
        /// Number of the line among the signature lines, from 1.
        line: usize,
        /// Why.
        source: SignatureError,
    },
    /// No line carries a signature of a known key.
    #[error("none of the note's {signatures} signatures is of a known key")]
    Unverified {
        /// Number of signature lines.
        signatures: usize,
    },
}

/// A signature line, believed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// Name of the key.
    pub name: String,
    /// ID of the key.
    pub key_id: u32,
    /// The signature proper, in the form that the key's type gives it.
    pub signature: Vec<u8>,
}

impl SignatureLine {
    /// Reads a line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let blob = parse_base64(base64)?;
        let (key_id, signature) = blob.split_first_chunk::<KEY_ID_LEN>()?;
        if !keys::is_name(name) || signature.is_empty() {
            return None;
        }
        let (name, key_id) = (name.to_owned(), u32::from_be_bytes(*key_id));
        Some(Self { name, key_id, signature: signature.to_vec() })
    }
}

/// A well-formed note whose signatures have not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// A signature that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The key it was verified with.
    pub key: &'a VerifierKey,
    /// When the cosigner says it signed, in seconds since 1970; `None` for a plain signature.
    pub time_s: Option<u64>,
}

impl Note {
    /// Reads a note: text, an empty line, at least one signature line. The last empty line is the
    /// one that separates them.
    ///
    /// # Errors
    /// [`NoteError`], with the place, for anything else.
    pub fn parse(note: impl AsRef<[u8]>) -> Result<Self, NoteError> {
        Self::parse_bytes(note.as_ref())
    }

    fn parse_bytes(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: note.len() });
        }
        let note = std::str::from_utf8(note)
            .map_err(|error| NoteError::InvalidUtf8 { offset: error.valid_up_to() })?;
        if let Some(offset) = note.bytes().position(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::ControlCharacter { offset });
        }
        let at = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, rest) = note.split_at_checked(at + 1).ok_or(NoteError::NoSignatures)?;
        let lines = rest.strip_prefix('\n').filter(|lines| !lines.is_empty());
        let lines = lines.ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (line, number) in lines.split_inclusive('\n').zip(1..) {
            if number > SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            let signature = line.strip_suffix('\n').and_then(SignatureLine::parse);
            signatures.push(signature.ok_or(NoteError::SignatureLine { line: number })?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, with its last newline: the bytes that plain signatures sign.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Verifies the note with `keys` and says which of them signed it, each at most once and in the
    /// order of the lines. Lines of other keys are passed over, and so are those of keys whose type
    /// is not implemented.
    ///
    /// # Errors
    /// [`NoteError::InvalidSignature`] if a line names a known key and does not verify,
    /// [`NoteError::Unverified`] if no line names one.
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, NoteError> {
        let mut verified: Vec<Verified<'a>> = Vec::new();
        for (signature, line) in self.signatures.iter().zip(1..) {
            let known = keys.iter().find(|key| {
                key.can_verify() && key.key_id() == signature.key_id && key.name() == signature.name
            });
            let Some(key) = known else { continue };
            let time_s = key
                .check(self.text.as_bytes(), &signature.signature)
                .map_err(|source| NoteError::InvalidSignature { line, source })?;
            if !verified.iter().any(|earlier| earlier.key == key) {
                verified.push(Verified { key, time_s });
            }
        }
        if verified.is_empty() {
            return Err(NoteError::Unverified { signatures: self.signatures.len() });
        }
        Ok(verified)
    }
}
