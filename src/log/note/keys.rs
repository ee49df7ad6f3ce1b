//! Keys of signed notes, in the strings that C2SP and Go use for them.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer};
use zeroize::{Zeroize, Zeroizing};

use super::{KEY_ID_LEN, SIGNATURE_PREFIX};
use crate::log::cosignature;
use crate::log::hash::sha256;
use crate::log::text::{parse_base64, to_base64};

/// Longest key name in bytes: a cosigner writes the length of a log's origin, which is the name of
/// the log's key, in one byte (C2SP tlog-cosignature).
pub const NAME_BYTES_MAX: usize = 255;
/// Begins the string form of a private key (Go `golang.org/x/mod/sumdb/note`).
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// Length of an Ed25519 seed and of an Ed25519 public key (RFC 8032).
const KEY_LEN: usize = 32;
/// Digits of a key ID in the string forms.
const KEY_ID_DIGITS: usize = KEY_ID_LEN * 2;

/// What a key signs and how (C2SP signed-note, "Signature types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// 0x01: Ed25519 over the text.
    Ed25519,
    /// 0x04: Ed25519 over a time and a checkpoint (C2SP tlog-cosignature).
    CosignatureV1,
    /// Any other type: carried, never verified.
    Unknown(u8),
}

impl KeyType {
    /// The type's byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
            Self::Unknown(byte) => byte,
        }
    }
}

impl From<u8> for KeyType {
    fn from(byte: u8) -> Self {
        match byte {
            0x01 => Self::Ed25519,
            0x04 => Self::CosignatureV1,
            _ => Self::Unknown(byte),
        }
    }
}

/// A key is refused. The text of the error never holds any of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a key.
    #[error("{bytes} bytes of text are not the string form of a key")]
    Syntax {
        /// Length of the text.
        bytes: usize,
    },
    /// The name is empty, too long, or has a space, a plus sign or a control character.
    #[error(
        "a key's name has 1 to {NAME_BYTES_MAX} bytes and no space, plus sign or control character; \
         this one has {bytes} bytes"
    )]
    Name {
        /// Length of the name.
        bytes: usize,
    },
    /// The key is not of a type that is asked for here.
    #[error("keys of type {0:#04x} are not possible here")]
    Type(u8),
    /// The key has not the length of its type.
    #[error("the key has {bytes} bytes, its type has {KEY_LEN}")]
    Length {
        /// Length of the key.
        bytes: usize,
    },
    /// The key's ID is not that of the name, type and key beside it.
    #[error("the key's ID is not that of its name, type and bytes")]
    Id,
    /// The bytes are not an Ed25519 public key, or one of small order that verifies anything.
    #[error("the bytes are not a sound Ed25519 public key")]
    Point,
}

/// A signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Signatures of the key's type cannot be verified here.
    #[error("signatures of type {0:#04x} cannot be verified here")]
    Type(u8),
    /// The signature has not the length of its type.
    #[error("the signature has {bytes} bytes, those of its type have {expected}")]
    Length {
        /// Length of the signature.
        bytes: usize,
        /// Length of signatures of the key's type.
        expected: usize,
    },
    /// The signature is not one of this text by this key.
    #[error("the signature is not one of this text by this key")]
    Invalid,
}

/// Whether a text can be the name of a key (C2SP signed-note: not empty, no Unicode spaces, no plus
/// sign; and since it stands in a note, no control characters).
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed)
}

fn check_name(name: &str) -> Result<(), KeyError> {
    if is_name(name) { Ok(()) } else { Err(KeyError::Name { bytes: name.len() }) }
}

/// SHA-256(name ‖ 0x0A ‖ type ‖ public key), first four bytes (C2SP signed-note, "Signatures").
fn key_id(name: &str, key_type: KeyType, public: &[u8]) -> u32 {
    let input = [name.as_bytes(), b"\n", &[key_type.byte()], public].concat();
    let hash = sha256(&input);
    hash.0.first_chunk::<KEY_ID_LEN>().map_or(0, |id| u32::from_be_bytes(*id))
}

/// What the string form of either kind of key holds, its ID not yet checked.
struct Fields<'a> {
    name: &'a str,
    id: u32,
    key_type: KeyType,
    key: Zeroizing<Vec<u8>>,
}

/// Splits `<name>+<8 hex>+<base64(type ‖ key)>`.
fn parse_fields(text: &str) -> Result<Fields<'_>, KeyError> {
    let syntax = KeyError::Syntax { bytes: text.len() };
    let mut fields = text.splitn(3, '+');
    let mut field = || fields.next().ok_or(syntax);
    let (name, id, base64) = (field()?, field()?, field()?);
    check_name(name)?;
    let digits = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if id.len() != KEY_ID_DIGITS || !id.bytes().all(digits) {
        return Err(syntax);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| syntax)?;
    let mut bytes = parse_base64(base64).ok_or(syntax)?;
    let parts = bytes.split_first().map(|(first, key)| (*first, Zeroizing::new(key.to_vec())));
    bytes.zeroize();
    let (type_byte, key) = parts.filter(|(_, key)| !key.is_empty()).ok_or(syntax)?;
    Ok(Fields { name, id, key_type: KeyType::from(type_byte), key })
}

/// Reads `PRIVATE+KEY+<name>+<8 hex>+<base64(type ‖ seed)>`. The ID is that of the public key with
/// the same type, which the caller compares.
pub(in crate::log) fn parse_private(text: &str) -> Result<PrivateFields, KeyError> {
    let fields = text.strip_prefix(PRIVATE_PREFIX).ok_or(KeyError::Syntax { bytes: text.len() })?;
    let Fields { name, id, key_type, key } = parse_fields(fields)?;
    let seed: &[u8; KEY_LEN] =
        key.as_slice().try_into().map_err(|_| KeyError::Length { bytes: key.len() })?;
    let secret = ed25519_dalek::SigningKey::from_bytes(seed);
    if id != key_id(name, key_type, secret.verifying_key().as_bytes()) {
        return Err(KeyError::Id);
    }
    Ok(PrivateFields { name: name.to_owned(), key_type, secret })
}

/// What a private key's string form holds, its ID checked.
pub(in crate::log) struct PrivateFields {
    pub(in crate::log) name: String,
    pub(in crate::log) key_type: KeyType,
    pub(in crate::log) secret: ed25519_dalek::SigningKey,
}

/// Writes what [`parse_private`] reads.
pub(in crate::log) fn format_private(
    verifier: &VerifierKey,
    secret: &ed25519_dalek::SigningKey,
) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + KEY_LEN));
    bytes.push(verifier.key_type.byte());
    bytes.extend_from_slice(secret.as_bytes());
    let base64 = Zeroizing::new(to_base64(&bytes));
    let (name, id) = (&verifier.name, verifier.id);
    Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id:08x}+{}", *base64))
}

/// `— <name> <base64(key ID ‖ signature)>` and a newline.
pub(in crate::log) fn signature_line(verifier: &VerifierKey, signature: &[u8]) -> String {
    let blob = [verifier.id.to_be_bytes().as_slice(), signature].concat();
    format!("{SIGNATURE_PREFIX}{} {}\n", verifier.name, to_base64(&blob))
}

/// The key that signs a log's checkpoints: Ed25519, type 0x01. Its seed is wiped when it is dropped
/// and never shown.
#[derive(Clone)]
pub struct SigningKey {
    verifier: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key with this name and this seed of 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Name`] for a name that C2SP does not allow.
    pub fn generate_from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, ed25519_dalek::SigningKey::from_bytes(seed))
    }

    fn new(name: &str, secret: ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        let verifier = VerifierKey::of(name, KeyType::Ed25519, &secret)?;
        Ok(Self { verifier, secret })
    }

    /// Reads `PRIVATE+KEY+<name>+<ID>+<base64>`, as Go's `note.GenerateKey` writes it.
    ///
    /// # Errors
    /// [`KeyError`] if the text is anything else, its ID is wrong, or its type is not 0x01.
    pub fn from_go_string(text: &str) -> Result<Self, KeyError> {
        let fields = parse_private(text)?;
        match fields.key_type {
            KeyType::Ed25519 => Self::new(&fields.name, fields.secret),
            other => Err(KeyError::Type(other.byte())),
        }
    }

    /// Writes what [`SigningKey::from_go_string`] reads. This is the secret itself.
    #[must_use]
    pub fn to_go_string(&self) -> Zeroizing<String> {
        format_private(&self.verifier, &self.secret)
    }

    /// The key that verifies this one's signatures.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// The key's name, for a log its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// Signs a text, which must end in a newline, and gives the signature line with its newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        signature_line(&self.verifier, &self.secret.sign(text.as_bytes()).to_bytes())
    }

    /// Signs exactly these bytes, which must begin with a label of their own so that no note does. The
    /// signature is one for [`VerifierKey::verify`].
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifier).finish()
    }
}

/// A public key. [`FromStr`] and [`Display`](fmt::Display) use the C2SP verifier key string
/// `<name>+<8 hex digits>+<base64(type ‖ key)>`.
///
/// ```
/// use counterfoil::log::note::{KeyType, VerifierKey};
/// let vkey = "ledger.example/audit+2a52108c+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
/// let key: VerifierKey = vkey.parse().unwrap();
/// assert_eq!((key.name(), key.key_id()), ("ledger.example/audit", 0x2a52_108c));
/// assert_eq!(key.key_type(), KeyType::Ed25519);
/// assert_eq!(key.to_string(), vkey);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key_type: KeyType,
    public: Vec<u8>,
    /// The key as a point; `None` for types that are not implemented.
    point: Option<ed25519_dalek::VerifyingKey>,
}

impl VerifierKey {
    /// The public side of a secret key under a name and type.
    pub(in crate::log) fn of(
        name: &str,
        key_type: KeyType,
        secret: &ed25519_dalek::SigningKey,
    ) -> Result<Self, KeyError> {
        Self::from_public(name, key_type, secret.verifying_key().as_bytes())
    }

    /// The key with this name, type (0x01 or 0x04) and Ed25519 public key.
    ///
    /// # Errors
    /// [`KeyError`] if the name is not allowed, the type is another one, or the bytes are no public
    /// key that strict verification accepts.
    pub fn from_public(name: &str, key_type: KeyType, public: &[u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        if let KeyType::Unknown(byte) = key_type {
            return Err(KeyError::Type(byte));
        }
        let point = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| KeyError::Point)?;
        if point.is_weak() {
            return Err(KeyError::Point);
        }
        let id = key_id(name, key_type, public);
        let (name, public) = (name.to_owned(), public.to_vec());
        Ok(Self { name, id, key_type, public, point: Some(point) })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's ID.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.id
    }

    /// The key's type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key proper, without its type: 32 bytes for Ed25519.
    #[must_use]
    pub fn public_bytes(&self) -> &[u8] {
        &self.public
    }

    /// Whether signatures of this key's type can be verified here.
    #[must_use]
    pub fn can_verify(&self) -> bool {
        self.point.is_some()
    }

    /// Verifies `signature`, in the form it has after the key ID on a signature line: 64 bytes for
    /// type 0x01, time and 64 bytes for type 0x04.
    ///
    /// # Errors
    /// [`SignatureError`] if it is not a signature of `text` by this key, or the key's type is not
    /// implemented.
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.check(text, signature).map(drop)
    }

    /// As [`VerifierKey::verify`], and gives a cosignature's time.
    pub(super) fn check(&self, text: &[u8], signature: &[u8]) -> Result<Option<u64>, SignatureError> {
        match self.key_type {
            KeyType::Ed25519 => self.verify_ed25519(text, signature).map(|()| None),
            KeyType::CosignatureV1 => cosignature::verify(self, text, signature).map(Some),
            KeyType::Unknown(byte) => Err(SignatureError::Type(byte)),
        }
    }

    /// Strict Ed25519 verification of exactly these bytes, whatever the key's type adds to a text.
    pub(in crate::log) fn verify_ed25519(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let length = SignatureError::Length { bytes: signature.len(), expected: Signature::BYTE_SIZE };
        let signature = Signature::from_slice(signature).map_err(|_| length)?;
        let point = self.point.as_ref().ok_or(SignatureError::Type(self.key_type.byte()))?;
        point.verify_strict(message, &signature).map_err(|_| SignatureError::Invalid)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    /// A key of a type that is not implemented parses, its ID unchecked because some types compute
    /// it otherwise, and never verifies anything.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let Fields { name, id, key_type, key: public } = parse_fields(text)?;
        if let KeyType::Unknown(_) = key_type {
            let (name, public) = (name.to_owned(), public.to_vec());
            return Ok(Self { name, id, key_type, public, point: None });
        }
        let bytes: &[u8; KEY_LEN] =
            public.as_slice().try_into().map_err(|_| KeyError::Length { bytes: public.len() })?;
        let key = Self::from_public(name, key_type, bytes)?;
        if key.id == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.key_type.byte()], self.public.as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}
