//! The keyed hashes by which an entry names things without telling what they are.
//!
//! In scope: the byte layout of every key and commitment that enters a log entry or a settings
//! body, and the calendar month that person keys change with. Out of scope: where secrets come
//! from and where they are kept (`vault`), what is a facet of what (`catalogue`).
//!
//! Invariants: every input starts with a label that no other construction uses and that ends in a
//! zero byte; what varies in length is preceded by its length as a big-endian `u32`, unless it is
//! last and everything before it has a fixed length; numbers are big-endian. Two different inputs
//! therefore never give the same bytes to hash. `‖` below is concatenation, `H` is SHA-256,
//! `HMAC` is HMAC-SHA-256 (RFC 2104).
//!
//! ```text
//! ledger_id            first 16 bytes of H(origin)
//! event_key            HMAC(K_event, "counterfoil/v1/event-key\0" ‖ ledger 16
//!                                    ‖ u32 len ‖ source ‖ u32 len ‖ id)
//! open_facet_key       HMAC(K_read, "counterfoil/v1/open-facet\0" ‖ ledger 16 ‖ facet u8
//!                                    ‖ u32 len ‖ value)
//! person_facet_secret  HMAC(s_X, "counterfoil/v1/person-facet-secret\0" ‖ facet u8)
//! person_facet_key     HMAC(s_X,f, "counterfoil/v1/person-facet\0" ‖ ledger 16 ‖ period u16)
//! directory_key        HMAC(K_dir, "counterfoil/v1/directory\0" ‖ namespace u8 ‖ u32 len ‖ id)
//! person_leaf          H(0x00 ‖ "counterfoil/v1/person\0" ‖ facet u8 ‖ salt 32 ‖ s_X,f 32)
//! person_commitment    RFC 6962 root over the person leaves in ascending order of facet
//! part_commitment      H("counterfoil/v1/part\0" ‖ ledger 16 ‖ event_key 32 ‖ role u8
//!                                    ‖ salt 64 ‖ body)
//! key_commitment       H("counterfoil/v1/key\0" ‖ use u8 ‖ epoch u32 ‖ key 32)
//! ```

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

use super::facet::{Facet, Namespace, Role};
use crate::log::hash::{Hash, leaf_hash, node_hash, sha256};

/// Length in bytes of the salt of a part: as many random bits as the commitment's input block, so
/// that once it is gone every body is an equally good opening.
pub const PART_SALT_BYTES: usize = 64;
/// Length in bytes of the salt of a person's commitment.
pub const PERSON_SALT_BYTES: usize = 32;
/// Block of SHA-256 in bytes; HMAC pads its key to it (RFC 2104 section 2).
const HMAC_BLOCK_BYTES: usize = 64;

const EVENT_KEY_LABEL: &[u8] = b"counterfoil/v1/event-key\0";
const RAW_ID_LABEL: &[u8] = b"counterfoil/v1/raw-id\0";
const OPEN_FACET_LABEL: &[u8] = b"counterfoil/v1/open-facet\0";
const PERSON_FACET_SECRET_LABEL: &[u8] = b"counterfoil/v1/person-facet-secret\0";
const PERSON_FACET_LABEL: &[u8] = b"counterfoil/v1/person-facet\0";
const DIRECTORY_LABEL: &[u8] = b"counterfoil/v1/directory\0";
const PERSON_LABEL: &[u8] = b"counterfoil/v1/person\0";
const PART_LABEL: &[u8] = b"counterfoil/v1/part\0";
const KEY_LABEL: &[u8] = b"counterfoil/v1/key\0";

/// Identifier of a ledger inside entries: the first 16 bytes of its origin's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerId(pub [u8; 16]);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A UTC month: `year * 12 + month`, with January as 0. January 1970 is 23,640.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub u16);

/// What a ledger key is for. Codes are part of [`key_commitment`] and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyUse {
    /// `K_event`, which makes event keys.
    Event = 1,
    /// `K_read`, which makes the keys of open facets.
    Read = 2,
    /// `K_dir`, which makes directory keys.
    Directory = 3,
}

impl KeyUse {
    /// The byte that stands for this use.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Read => 2,
            Self::Directory => 3,
        }
    }

    /// The name used in settings: `event`, `read`, `directory`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Read => "read",
            Self::Directory => "directory",
        }
    }
}

/// An HMAC-SHA-256 key whose padding is already hashed, for those who make many keys with it: each
/// then costs two compressions fewer.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

impl MacKey {
    /// Prepares a key of 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = Zeroizing::new([0; HMAC_BLOCK_BYTES]);
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self(Hmac::new((&*block).into()))
    }

    /// HMAC of the concatenation of `pieces`.
    fn hash(&self, pieces: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for piece in pieces {
            mac.update(piece);
        }
        mac.finalize().into_bytes().into()
    }

    /// [`event_key`] with this key as `K_event`.
    #[must_use]
    pub fn event_key(&self, ledger: LedgerId, source: &str, id: &str) -> Hash {
        let (source_len, id_len) = (length(source), length(id));
        Hash(self.hash(&[
            EVENT_KEY_LABEL,
            &ledger.0,
            &source_len,
            source.as_bytes(),
            &id_len,
            id.as_bytes(),
        ]))
    }

    /// Identifier of bytes that came without one, with this key as `K_event`: the same bytes get the same
    /// one, and who lacks the key cannot test a guess at them.
    #[must_use]
    pub fn raw_id(&self, ledger: LedgerId, bytes: &[u8]) -> Hash {
        Hash(self.hash(&[RAW_ID_LABEL, &ledger.0, sha256(bytes).as_bytes()]))
    }

    /// [`open_facet_key`] with this key as `K_read`.
    #[must_use]
    pub fn open_facet_key(&self, ledger: LedgerId, facet: Facet, value: &str) -> Hash {
        let value_len = length(value);
        Hash(self.hash(&[OPEN_FACET_LABEL, &ledger.0, &[facet.0], &value_len, value.as_bytes()]))
    }

    /// [`directory_key`] with this key as `K_dir`.
    #[must_use]
    pub fn directory_key(&self, namespace: Namespace, id: &str) -> Hash {
        Hash(self.hash(&[DIRECTORY_LABEL, &[namespace.0], &length(id), id.as_bytes()]))
    }
}

/// Length of a text as a big-endian `u32`. Texts come from events of at most 64 KiB, so the
/// saturation is never reached; were it, the hash would still cover the text itself.
fn length(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// The identifier of the ledger with this origin (the first line of its checkpoints): the first 16
/// bytes of `H(origin)`.
///
/// It has no label: it is a public name, not a key, and anyone with `sha256sum` can compute it.
#[must_use]
pub fn ledger_id(origin: &str) -> LedgerId {
    let Hash(hash) = sha256(origin.as_bytes());
    let (id, _) = hash.split_first_chunk::<16>().map_or(([0; 16], &[][..]), |(id, rest)| (*id, rest));
    LedgerId(id)
}

/// The key of an event: what makes `(source, id)` unique for ever in a ledger.
///
/// `HMAC(K_event, "counterfoil/v1/event-key\0" ‖ ledger 16 ‖ u32 len ‖ source ‖ u32 len ‖ id)`,
/// lengths in bytes of UTF-8.
#[must_use]
pub fn event_key(k_event: &[u8; 32], ledger: LedgerId, source: &str, id: &str) -> Hash {
    MacKey::new(k_event).event_key(ledger, source, id)
}

/// The index key of an open facet's value; whoever holds `K_read` can recompute it.
///
/// `HMAC(K_read, "counterfoil/v1/open-facet\0" ‖ ledger 16 ‖ facet u8 ‖ u32 len ‖ value)`.
#[must_use]
pub fn open_facet_key(k_read: &[u8; 32], ledger: LedgerId, facet: Facet, value: &str) -> Hash {
    MacKey::new(k_read).open_facet_key(ledger, facet, value)
}

/// The secret of one facet of a person, which can be shown without showing the person's secret.
///
/// `HMAC(s_X, "counterfoil/v1/person-facet-secret\0" ‖ facet u8)`.
#[must_use]
pub fn person_facet_secret(s_x: &[u8; 32], facet: Facet) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(MacKey::new(s_x).hash(&[PERSON_FACET_SECRET_LABEL, &[facet.0]]))
}

/// The index key of a person in one period.
///
/// `HMAC(s_X,f, "counterfoil/v1/person-facet\0" ‖ ledger 16 ‖ period u16)`.
#[must_use]
pub fn person_facet_key(s_xf: &[u8; 32], ledger: LedgerId, period: Period) -> Hash {
    Hash(MacKey::new(s_xf).hash(&[PERSON_FACET_LABEL, &ledger.0, &period.0.to_be_bytes()]))
}

/// `D_X`: the name of a person in the directory. The same in every ledger that shares `K_dir`.
///
/// `HMAC(K_dir, "counterfoil/v1/directory\0" ‖ namespace u8 ‖ u32 len ‖ id)`.
#[must_use]
pub fn directory_key(k_dir: &[u8; 32], namespace: Namespace, id: &str) -> Hash {
    MacKey::new(k_dir).directory_key(namespace, id)
}

/// One facet of a person with what hides it in `C_X`.
#[derive(Clone)]
pub struct PersonFacet {
    /// The facet.
    pub facet: Facet,
    /// Random bytes of this leaf alone.
    pub salt: [u8; PERSON_SALT_BYTES],
    /// `s_X,f`, from [`person_facet_secret`].
    pub secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for PersonFacet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonFacet").field("facet", &self.facet).finish_non_exhaustive()
    }
}

/// The leaf of one facet in a person's commitment.
///
/// `H(0x00 ‖ "counterfoil/v1/person\0" ‖ facet u8 ‖ salt 32 ‖ s_X,f 32)`, that is the RFC 6962 leaf
/// hash of what follows the zero byte.
#[must_use]
pub fn person_leaf(opened: &PersonFacet) -> Hash {
    let mut leaf =
        Zeroizing::new(Vec::with_capacity(PERSON_LABEL.len() + 1 + PERSON_SALT_BYTES + Hash::LEN));
    leaf.extend_from_slice(PERSON_LABEL);
    leaf.push(opened.facet.0);
    leaf.extend_from_slice(&opened.salt);
    leaf.extend_from_slice(&*opened.secret);
    leaf_hash(&leaf)
}

/// `C_X`: what the log registers for a person, the RFC 6962 root over its [`person_leaf`]s in
/// ascending order of facet (the order given does not matter). One facet opens with an inclusion
/// proof and shows nothing of the others. Facets must differ; `None` if two are equal or there is
/// none.
#[must_use]
pub fn person_commitment(facets: &[PersonFacet]) -> Option<Hash> {
    let mut ordered: Vec<&PersonFacet> = facets.iter().collect();
    ordered.sort_by_key(|opened| opened.facet);
    let distinct = ordered.windows(2).all(|pair| match pair {
        [left, right] => left.facet != right.facet,
        _ => true,
    });
    let leaves: Vec<Hash> = ordered.into_iter().map(person_leaf).collect();
    if distinct { root(&leaves) } else { None }
}

/// Merkle tree hash of RFC 6962 section 2.1 over leaf hashes; `None` for no leaves. Recursion is as
/// deep as the tree, and a person has at most 31 facets.
fn root(leaves: &[Hash]) -> Option<Hash> {
    match leaves {
        [] => None,
        [leaf] => Some(*leaf),
        _ => {
            let (left, right) = leaves.split_at_checked(leaves.len().div_ceil(2).next_power_of_two())?;
            Some(node_hash(&root(left)?, &root(right)?))
        }
    }
}

/// What an entry says of a part: binds its bytes, hides them as long as the salt is secret.
///
/// `H("counterfoil/v1/part\0" ‖ ledger 16 ‖ event_key 32 ‖ role u8 ‖ salt 64 ‖ body)`. Everything
/// before the body has a fixed length.
#[must_use]
pub fn part_commitment(
    ledger: LedgerId,
    event_key: &Hash,
    role: Role,
    salt: &[u8; PART_SALT_BYTES],
    body: &[u8],
) -> Hash {
    let mut hasher = Sha256::new();
    for piece in [PART_LABEL, &ledger.0, &event_key.0, &[role.0], salt, body] {
        hasher.update(piece);
    }
    Hash(hasher.finalize().into())
}

/// What a settings entry says of a ledger key. The key is 32 random bytes, so its hash tells
/// nothing about it.
///
/// `H("counterfoil/v1/key\0" ‖ use u8 ‖ epoch u32 ‖ key 32)`.
#[must_use]
pub fn key_commitment(key_use: KeyUse, epoch: u32, key: &[u8; 32]) -> Hash {
    let mut hasher = Sha256::new();
    for piece in [KEY_LABEL, &[key_use.code()], &epoch.to_be_bytes(), key] {
        hasher.update(piece);
    }
    Hash(hasher.finalize().into())
}

const US_PER_DAY: u64 = 86_400_000_000;
/// Days from 1 March of the year 0 to 1 January 1970 in the Gregorian calendar.
const DAYS_TO_UNIX_EPOCH: u64 = 719_468;
/// Days of 400 Gregorian years: 400 * 365 + 97 leap days.
const DAYS_PER_ERA: u64 = 146_097;

/// The UTC month of a time in microseconds since 1970. Times after April of the year 5461, the last
/// month that 16 bits hold, share that month.
///
/// ```
/// use counterfoil::event::keys::{Period, period_of};
/// assert_eq!(period_of(0), Period(1970 * 12));
/// assert_eq!(period_of(1_709_251_199_999_999), Period(2024 * 12 + 1)); // 2024-02-29T23:59:59.999999Z
/// assert_eq!(period_of(1_709_251_200_000_000), Period(2024 * 12 + 2));
/// ```
#[must_use]
pub fn period_of(time_us: u64) -> Period {
    // Years are counted from 1 March, so that the leap day is the last of its year.
    let days = time_us / US_PER_DAY + DAYS_TO_UNIX_EPOCH;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let months = (era * 400 + year_of_era) * 12 + months_from_march + 2;
    Period(u16::try_from(months).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: [u8; 32] = [7; 32];

    #[test]
    fn prepared_key_is_hmac_of_rfc_4231() {
        let hex_of = |key: &[u8; 32], data: &[u8]| hex::encode(MacKey::new(key).hash(&[data]));
        // RFC 4231 has no 32-byte key; test case 2's "Jefe" padded with zeros is the same HMAC key.
        let mut jefe = [0; 32];
        jefe[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex_of(&jefe, b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn every_argument_changes_the_key() {
        let (a, b) = (ledger_id("a.example/x"), ledger_id("b.example/x"));
        let all = [
            event_key(&K, a, "s", "i"),
            event_key(&[8; 32], a, "s", "i"),
            event_key(&K, b, "s", "i"),
            event_key(&K, a, "si", ""),
            event_key(&K, a, "", "si"),
            open_facet_key(&K, a, Facet::TYPE, "v"),
            open_facet_key(&K, a, Facet::SOURCE, "v"),
            open_facet_key(&K, b, Facet::TYPE, "v"),
            directory_key(&K, Namespace::SUBJECT, "v"),
            directory_key(&K, Namespace::ACTOR, "v"),
            person_facet_key(&K, a, Period(1)),
            person_facet_key(&K, a, Period(2)),
            person_facet_key(&K, b, Period(1)),
            Hash(*person_facet_secret(&K, Facet(130))),
            Hash(*person_facet_secret(&K, Facet(131))),
            key_commitment(KeyUse::Read, 1, &K),
            key_commitment(KeyUse::Read, 2, &K),
            key_commitment(KeyUse::Event, 1, &K),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn person_commitment_ignores_order_and_refuses_repeats() {
        let facet = |code: u8| PersonFacet {
            facet: Facet(code),
            salt: [code; 32],
            secret: person_facet_secret(&K, Facet(code)),
        };
        let (a, b, c) = (facet(130), facet(131), facet(132));
        let root = person_commitment(&[a.clone(), b.clone(), c.clone()]).unwrap();
        assert_eq!(person_commitment(&[c.clone(), a.clone(), b.clone()]), Some(root));
        let expected = node_hash(&node_hash(&person_leaf(&a), &person_leaf(&b)), &person_leaf(&c));
        assert_eq!(root, expected);
        assert_eq!(person_commitment(&[a.clone(), a.clone()]), None);
        assert_eq!(person_commitment(&[]), None);
        assert_eq!(person_commitment(std::slice::from_ref(&a)), Some(person_leaf(&a)));
    }

    proptest! {
        #[test]
        fn period_agrees_with_the_calendar(seconds in 0_i64..180_000_000_000) {
            let civil = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let expected = i32::from(civil.year()) * 12 + i32::from(civil.month()) - 1;
            let expected = u16::try_from(expected).unwrap_or(u16::MAX);
            prop_assert_eq!(period_of(u64::try_from(seconds).unwrap() * 1_000_000), Period(expected));
        }
    }

    #[test]
    fn period_of_the_last_instant_saturates() {
        assert_eq!(period_of(u64::MAX), Period(u16::MAX));
    }
}
