//! SHA-256 hashes of the log, and the numbers that address it.
//!
//! In scope: the [`struct@Hash`] type and its spellings, the domain-separated leaf and node hashes of
//! RFC 6962 section 2.1, [`LogIndex`] and [`TreeSize`]. Out of scope: trees ([`super::merkle`]) and
//! keyed hashes (`event::keys`). Invariants: a leaf is never mistaken for a node (prefix bytes
//! 0x00 and 0x01); each hash has exactly one hexadecimal and one base64 spelling; nothing here
//! allocates except the functions that return a `String`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Prefix of a leaf's input to SHA-256 (RFC 6962 section 2.1).
const LEAF_PREFIX: [u8; 1] = [0x00];
/// Prefix of an inner node's input to SHA-256 (RFC 6962 section 2.1).
const NODE_PREFIX: [u8; 1] = [0x01];
/// Length of a hash in base64 with padding: 4 characters for each started group of 3 bytes.
const BASE64_LEN: usize = Hash::LEN.div_ceil(3) * 4;
/// Room the base64 decoder asks for: every group of 4 characters taken as 3 bytes, 44 / 4 * 3.
const BASE64_DECODED_MAX: usize = BASE64_LEN / 4 * 3;

/// A SHA-256 hash. Displayed and serialised as 64 lower-case hexadecimal digits.
///
/// ```
/// use counterfoil::log::hash::{Hash, leaf_hash};
/// let leaf = leaf_hash(b"entry-0");
/// let text = "40766b2033429026f53d54502679a839706b4741f8dcaf3a8bba5f41b5ffe075";
/// assert_eq!(leaf.to_string(), text);
/// assert_eq!(text.parse(), Ok(leaf));
/// assert!(text.to_uppercase().parse::<Hash>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl std::hash::Hash for Hash {
    /// By its first eight bytes, which are as good as all of them where it is an output of a hash function.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(self.0.first_chunk().copied().unwrap_or_default()));
    }
}

impl Hash {
    /// Thirty-two zero bytes: the `prev` of the first entry, and never the hash of anything known.
    pub const ZERO: Self = Self([0; 32]);
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash in base64 with padding (RFC 4648 section 4), 44 characters.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] writes and nothing else: padding is required, unused bits
    /// must be zero.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        if text.len() != BASE64_LEN {
            return None;
        }
        let mut room = [0; BASE64_DECODED_MAX];
        let len = STANDARD.decode_slice(text, &mut room).ok()?;
        Self::from_slice(room.get(..len)?)
    }

    /// The hash made of exactly these bytes; `None` unless there are 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits; got {len} bytes of text that are not")]
pub struct ParseHashError {
    /// Length of the refused text in bytes.
    pub len: usize,
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = ParseHashError { len: text.len() };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refused);
        }
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl de::Visitor<'_> for Digits {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

/// Position of an entry in the log, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogIndex(pub u64);

/// Number of entries in a log, or in the prefix of it that a proof speaks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeSize(pub u64);

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Hash of a leaf: SHA-256(0x00 ‖ entry) (RFC 6962 section 2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(LEAF_PREFIX).chain_update(entry).finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 section 2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let hasher = Sha256::new().chain_update(NODE_PREFIX);
    Hash(hasher.chain_update(left.0).chain_update(right.0).finalize().into())
}

/// Root of the tree without entries: SHA-256 of nothing (RFC 6962 section 2.1).
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// Plain SHA-256, without a prefix. For digests that are not part of a tree.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_BASE64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn leaf_node_and_empty_hashes_match_the_worked_example() {
        let left = leaf_hash(b"entry-0");
        let right = leaf_hash(b"entry-1");
        assert_eq!(
            node_hash(&left, &right).to_string(),
            "2f27a5082c1d42afa488ac350a9fc4390c084f54f71ecdff859e98db8429b479"
        );
        assert_eq!(empty_root().to_base64(), EMPTY_BASE64);
    }

    #[test]
    fn each_hash_has_one_base64_spelling() {
        assert_eq!(Hash::from_base64(EMPTY_BASE64), Some(empty_root()));
        let long = format!("{EMPTY_BASE64}AAAA");
        let spaced = format!(" {EMPTY_BASE64}");
        for bad in [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==",
            &long,
            &spaced,
        ] {
            assert_eq!(Hash::from_base64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_hash_has_one_hexadecimal_spelling() {
        let text = empty_root().to_string();
        assert_eq!(text.parse(), Ok(empty_root()));
        assert_eq!(format!("{:?}", empty_root()), text);
        for bad in [text.to_uppercase(), text.replace('e', "g"), format!("{text}00"), String::new()] {
            assert_eq!(bad.parse::<Hash>(), Err(ParseHashError { len: bad.len() }));
        }
    }

    #[test]
    fn serde_uses_the_same_spellings() {
        let json = serde_json::to_string(&(empty_root(), LogIndex(7), TreeSize(8))).unwrap();
        assert_eq!(json, format!("[\"{}\",7,8]", empty_root()));
        let back: (Hash, LogIndex, TreeSize) = serde_json::from_str(&json).unwrap();
        assert_eq!(back, (empty_root(), LogIndex(7), TreeSize(8)));
        assert!(serde_json::from_str::<Hash>("\"00\"").is_err());
    }
}
