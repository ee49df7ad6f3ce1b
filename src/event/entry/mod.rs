//! The permanent leaf of the log: encoding and strict decoding of entries.
//!
//! In scope: the bytes of an entry, big-endian, one encoding for each value. Out of scope: whether
//! entries chain, what their keys and commitments are made of (`keys`), the settings' meaning.
//!
//! ```text
//! magic "CFL1" · kind u8 · flags u8 · ledger 16 · index u64 · time_us u64 · prev 32      (70 bytes)
//! kind  1  event               event_key 32 · class u16 · n u8 × {facet u8, key 32}
//!                              · m u8 × {role u8, commitment 32} · producer u32
//!                              · [sequence u64 if flag 0] · [signature 64 if flag 1]
//! kind  2  settings            canonical JSON (RFC 8785), not empty
//! kind  4  persons registered  through_slot u64 · n u16 × {D 32, C 32}
//! kind  5  persons erased      erasure 16 · n u16 × D 32
//! kind  6  shred               phase u8 · items u64 · root 32 · root key before 16 · after 16
//! kind  7  prune               items u64 · root 32 · settings u64 · cutoff_us u64
//! kind 10  conflict            event_key 32 · index of the first u64 · its leaf hash 32
//! kind  3 index head, 8 producer key, 9 freeze: body as it is
//! ```
//!
//! Invariants: `decode(encode(e)) == e` and `encode(decode(b)) == b`; lists are strictly ascending;
//! a flag is set exactly when its field is there, and never in another kind; nothing follows the
//! body; the entry with index 0, and only it, may have a `prev` of zeros; decoding any bytes ends
//! without a panic and allocates no more than the bytes hold.

use super::facet::{ClassCode, Facet, Role};
pub use super::keys::LedgerId;
use crate::log::hash::{Hash, LogIndex};

mod error;
mod removal;
#[cfg(test)]
mod tests;

pub use error::EntryError;
pub use removal::{ERASED_PERSONS_MAX, PersonsErasedBody, PruneBody, ShredBody, ShredPhase};

/// First bytes of every entry.
pub const MAGIC: [u8; 4] = *b"CFL1";
/// Length of what precedes an entry's body: 4 + 1 + 1 + 16 + 8 + 8 + 32.
pub const HEADER_BYTES: usize = 70;
/// Longest entry: entry bundles (C2SP tlog-tiles) give each a length of 16 bits.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Most index keys of an event.
pub const KEYS_MAX: usize = 32;
/// Most parts of an event: the open one, the raw one and 14 persons.
pub const PARTS_MAX: usize = 16;
/// Most registrations in one entry: (65,535 - 70 - 8 - 2) / 64, rounded down.
pub const REGISTRATIONS_MAX: usize = 1_022;

const FLAG_SEQUENCE: u8 = 1;
const FLAG_SIGNATURE: u8 = 2;

/// What an entry is. Codes are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 1: an event of a producer.
    Event,
    /// 2: settings in force from here on.
    Settings,
    /// 3: root of the index over a prefix of the log.
    IndexHead,
    /// 4: persons that became known.
    PersonsRegistered,
    /// 5: persons whose secrets are to be destroyed.
    PersonsErased,
    /// 6: parts that were destroyed.
    Shred,
    /// 7: parts that outlived their retention.
    Prune,
    /// 8: a producer's signing key.
    ProducerKey,
    /// 9: the ledger takes no more events.
    Freeze,
    /// 10: an event that repeated the source and id of another with other content.
    Conflict,
}

const KINDS: [(Kind, u8); 10] = [
    (Kind::Event, 1),
    (Kind::Settings, 2),
    (Kind::IndexHead, 3),
    (Kind::PersonsRegistered, 4),
    (Kind::PersonsErased, 5),
    (Kind::Shred, 6),
    (Kind::Prune, 7),
    (Kind::ProducerKey, 8),
    (Kind::Freeze, 9),
    (Kind::Conflict, 10),
];

impl Kind {
    /// The byte of this kind.
    #[must_use]
    pub fn code(self) -> u8 {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, code)| *code)
    }

    /// The kind of this byte; `None` if it has no meaning.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind)
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// Its position.
    pub index: LogIndex,
    /// When the ledger took it: Unix microseconds, never less than the predecessor's.
    pub time_us: u64,
    /// RFC 6962 leaf hash of the entry before; zeros for index 0.
    pub prev: Hash,
    /// What it says.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryBody {
    /// An event.
    Event(EventBody),
    /// Settings as canonical JSON.
    Settings(Vec<u8>),
    /// Persons that became known, strictly ascending by directory key.
    PersonsRegistered {
        /// Every person slot of the vault below this one is registered once this entry stands.
        through_slot: u64,
        /// Directory key `D` and commitment `C` of each.
        persons: Vec<(Hash, Hash)>,
    },
    /// A repeated `(source, id)` with other content.
    Conflict(ConflictBody),
    /// Persons whose secrets are to be destroyed.
    PersonsErased(PersonsErasedBody),
    /// Parts that are destroyed with their owners' secrets.
    Shred(ShredBody),
    /// Parts whose retention was over.
    Prune(PruneBody),
    /// A kind whose body is read elsewhere: 3, 8 and 9.
    Other {
        /// Which.
        kind: Kind,
        /// Its bytes.
        body: Vec<u8>,
    },
}

impl EntryBody {
    /// The kind of entry that carries this body.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Event(_) => Kind::Event,
            Self::Settings(_) => Kind::Settings,
            Self::PersonsRegistered { .. } => Kind::PersonsRegistered,
            Self::Conflict(_) => Kind::Conflict,
            Self::PersonsErased(_) => Kind::PersonsErased,
            Self::Shred(_) => Kind::Shred,
            Self::Prune(_) => Kind::Prune,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// The body of an event's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBody {
    /// Key of `(source, id)`.
    pub event_key: Hash,
    /// The event's type.
    pub class: ClassCode,
    /// Index keys, strictly ascending by facet, then key; at most [`KEYS_MAX`].
    pub keys: Vec<(Facet, Hash)>,
    /// Commitments to the parts, strictly ascending by role; at most [`PARTS_MAX`].
    pub parts: Vec<(Role, Hash)>,
    /// Number of the producer in the ledger's settings.
    pub producer: u32,
    /// The producer's own count.
    pub sequence: Option<u64>,
    /// The producer's Ed25519 signature.
    pub signature: Option<[u8; 64]>,
}

/// The body of a conflict entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictBody {
    /// Key of the `(source, id)` that came twice.
    pub event_key: Hash,
    /// Where the event that stands is.
    pub first: LogIndex,
    /// Leaf hash of the entry that stands. Of the content that was refused nothing is kept.
    pub first_leaf: Hash,
}

impl Entry {
    /// Appends the entry's bytes to `out`.
    ///
    /// # Errors
    /// If the value breaks an invariant of the format, so that decoding would refuse its bytes.
    /// `out` is then as long as before.
    ///
    /// ```
    /// use counterfoil::event::entry::{Entry, EntryBody};
    /// use counterfoil::event::keys::ledger_id;
    /// use counterfoil::log::hash::{Hash, LogIndex};
    /// let entry = Entry {
    ///     ledger: ledger_id("ledger.example/main"),
    ///     index: LogIndex(0),
    ///     time_us: 1_700_000_000_000_000,
    ///     prev: Hash::ZERO,
    ///     body: EntryBody::Settings(b"{}".to_vec()),
    /// };
    /// let mut bytes = Vec::new();
    /// entry.encode(&mut bytes)?;
    /// assert_eq!(bytes.len(), 72);
    /// assert_eq!(Entry::decode(&bytes)?, entry);
    /// # Ok::<(), counterfoil::event::entry::EntryError>(())
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        let start = out.len();
        let result = self.encode_at(out, start);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn encode_at(&self, out: &mut Vec<u8>, start: usize) -> Result<(), EntryError> {
        check_prev(self.index, &self.prev)?;
        out.extend_from_slice(&MAGIC);
        out.push(self.body.kind().code());
        out.push(match &self.body {
            EntryBody::Event(event) => event.flags(),
            _ => 0,
        });
        out.extend_from_slice(&self.ledger.0);
        out.extend_from_slice(&self.index.0.to_be_bytes());
        out.extend_from_slice(&self.time_us.to_be_bytes());
        out.extend_from_slice(&self.prev.0);
        match &self.body {
            EntryBody::Event(event) => event.encode(out)?,
            EntryBody::Settings(body) => {
                out.extend_from_slice(not_empty(Kind::Settings, body)?);
            }
            EntryBody::PersonsRegistered { through_slot, persons } => {
                out.extend_from_slice(&through_slot.to_be_bytes());
                let found = check_count("registrations", persons.len(), REGISTRATIONS_MAX)?;
                out.extend_from_slice(&found.to_be_bytes());
                check_order("registration", persons, |(directory_key, _)| directory_key)?;
                for (directory_key, commitment) in persons {
                    out.extend_from_slice(&directory_key.0);
                    out.extend_from_slice(&commitment.0);
                }
            }
            EntryBody::Conflict(conflict) => {
                out.extend_from_slice(&conflict.event_key.0);
                out.extend_from_slice(&conflict.first.0.to_be_bytes());
                out.extend_from_slice(&conflict.first_leaf.0);
            }
            EntryBody::PersonsErased(erased) => erased.encode(out)?,
            EntryBody::Shred(shred) => shred.encode(out)?,
            EntryBody::Prune(prune) => prune.encode(out),
            EntryBody::Other { kind, body } => {
                if is_typed(*kind) {
                    return Err(EntryError::Untyped { kind: kind.code() });
                }
                out.extend_from_slice(body);
            }
        }
        check_len(out.len().saturating_sub(start))
    }

    /// Reads an entry. Accepts exactly what [`Entry::encode`] writes.
    ///
    /// # Errors
    /// Says which rule the bytes break, with the numbers.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        check_len(bytes.len())?;
        let mut input = Input { bytes, offset: 0 };
        if input.array::<4>()? != MAGIC {
            return Err(EntryError::Magic);
        }
        let [code, flags] = input.array::<2>()?;
        let kind = Kind::from_code(code).ok_or(EntryError::Kind { kind: code })?;
        let flags_allowed = if kind == Kind::Event { FLAG_SEQUENCE | FLAG_SIGNATURE } else { 0 };
        if flags & !flags_allowed != 0 {
            return Err(EntryError::Flags { kind: code, flags });
        }
        let ledger = LedgerId(input.array()?);
        let index = LogIndex(input.u64()?);
        let time_us = input.u64()?;
        let prev = input.hash()?;
        check_prev(index, &prev)?;
        let body = match kind {
            Kind::Event => EntryBody::Event(EventBody::decode(&mut input, flags)?),
            Kind::Settings => EntryBody::Settings(not_empty(kind, input.rest())?.to_vec()),
            Kind::PersonsRegistered => decode_registrations(&mut input)?,
            Kind::Conflict => EntryBody::Conflict(ConflictBody {
                event_key: input.hash()?,
                first: LogIndex(input.u64()?),
                first_leaf: input.hash()?,
            }),
            Kind::PersonsErased => EntryBody::PersonsErased(PersonsErasedBody::decode(&mut input)?),
            Kind::Shred => EntryBody::Shred(ShredBody::decode(&mut input)?),
            Kind::Prune => EntryBody::Prune(PruneBody::decode(&mut input)?),
            Kind::IndexHead | Kind::ProducerKey | Kind::Freeze => {
                EntryBody::Other { kind, body: input.rest().to_vec() }
            }
        };
        input.end()?;
        Ok(Self { ledger, index, time_us, prev, body })
    }
}

impl EventBody {
    fn flags(&self) -> u8 {
        let sequence = if self.sequence.is_some() { FLAG_SEQUENCE } else { 0 };
        let signature = if self.signature.is_some() { FLAG_SIGNATURE } else { 0 };
        sequence | signature
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        self.check()?;
        out.extend_from_slice(&self.event_key.0);
        out.extend_from_slice(&self.class.0.to_be_bytes());
        out.push(low_byte(check_count("keys", self.keys.len(), KEYS_MAX)?));
        for (facet, key) in &self.keys {
            out.push(facet.0);
            out.extend_from_slice(&key.0);
        }
        out.push(low_byte(check_count("parts", self.parts.len(), PARTS_MAX)?));
        for (role, commitment) in &self.parts {
            out.push(role.0);
            out.extend_from_slice(&commitment.0);
        }
        out.extend_from_slice(&self.producer.to_be_bytes());
        if let Some(sequence) = self.sequence {
            out.extend_from_slice(&sequence.to_be_bytes());
        }
        if let Some(signature) = &self.signature {
            out.extend_from_slice(signature);
        }
        Ok(())
    }

    fn decode(input: &mut Input<'_>, flags: u8) -> Result<Self, EntryError> {
        let event_key = input.hash()?;
        let class = ClassCode(input.u16()?);
        let keys_found = usize::from(input.u8()?);
        check_count("keys", keys_found, KEYS_MAX)?;
        let keys = (0..keys_found)
            .map(|_| Ok((Facet(input.u8()?), input.hash()?)))
            .collect::<Result<Vec<_>, EntryError>>()?;
        let parts_found = usize::from(input.u8()?);
        check_count("parts", parts_found, PARTS_MAX)?;
        let parts = (0..parts_found)
            .map(|_| Ok((Role(input.u8()?), input.hash()?)))
            .collect::<Result<Vec<_>, EntryError>>()?;
        let producer = input.u32()?;
        let sequence = if flags & FLAG_SEQUENCE == 0 { None } else { Some(input.u64()?) };
        let signature = if flags & FLAG_SIGNATURE == 0 { None } else { Some(input.array()?) };
        let body = Self { event_key, class, keys, parts, producer, sequence, signature };
        body.check()?;
        Ok(body)
    }

    fn check(&self) -> Result<(), EntryError> {
        if let Some((facet, _)) = self.keys.iter().find(|(facet, _)| !facet.is_valid()) {
            return Err(EntryError::Code { what: "facet", code: facet.0 });
        }
        if let Some((role, _)) = self.parts.iter().find(|(role, _)| !role.is_valid()) {
            return Err(EntryError::Code { what: "role", code: role.0 });
        }
        check_order("key", &self.keys, |key| key)?;
        check_order("part", &self.parts, |(role, _)| role)
    }
}

fn decode_registrations(input: &mut Input<'_>) -> Result<EntryBody, EntryError> {
    let through_slot = input.u64()?;
    let found = usize::from(input.u16()?);
    check_count("registrations", found, REGISTRATIONS_MAX)?;
    let persons = (0..found)
        .map(|_| Ok((input.hash()?, input.hash()?)))
        .collect::<Result<Vec<_>, EntryError>>()?;
    check_order("registration", &persons, |(directory_key, _)| directory_key)?;
    Ok(EntryBody::PersonsRegistered { through_slot, persons })
}

fn is_typed(kind: Kind) -> bool {
    !matches!(kind, Kind::IndexHead | Kind::ProducerKey | Kind::Freeze)
}

fn not_empty(kind: Kind, body: &[u8]) -> Result<&[u8], EntryError> {
    if body.is_empty() { Err(EntryError::Empty { kind: kind.code() }) } else { Ok(body) }
}

fn check_len(len: usize) -> Result<(), EntryError> {
    let max = ENTRY_BYTES_MAX;
    if len > max { Err(EntryError::TooLong { len, max }) } else { Ok(()) }
}

fn check_prev(index: LogIndex, prev: &Hash) -> Result<(), EntryError> {
    let first = index.0 == 0;
    if first == (*prev == Hash::ZERO) { Ok(()) } else { Err(EntryError::Prev { index: index.0 }) }
}

/// The number as it is written, if it is within `max`; every `max` here is below 65,536.
fn check_count(what: &'static str, found: usize, max: usize) -> Result<u16, EntryError> {
    let too_many = EntryError::TooMany { what, found, max };
    if found > max { Err(too_many) } else { u16::try_from(found).map_err(|_| too_many) }
}

/// The number in one byte. Counts of keys and parts are at most 32.
fn low_byte(count: u16) -> u8 {
    let [_, low] = count.to_be_bytes();
    low
}

fn check_order<T, K: Ord>(
    what: &'static str,
    items: &[T],
    key: impl Fn(&T) -> &K,
) -> Result<(), EntryError> {
    let pairs = items.iter().zip(items.iter().skip(1));
    match pairs.enumerate().find(|(_, (left, right))| key(left) >= key(right)) {
        Some((before, _)) => Err(EntryError::Order { what, position: before + 1 }),
        None => Ok(()),
    }
}

/// Bytes with a place to read from.
struct Input<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Input<'a> {
    fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        self.offset = self.bytes.len();
        rest
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some((array, _)) = rest.split_first_chunk::<N>() else {
            return Err(EntryError::Truncated { offset: self.offset, len: self.bytes.len() });
        };
        self.offset += N;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, EntryError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, EntryError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EntryError> {
        self.array().map(u64::from_be_bytes)
    }

    fn hash(&mut self) -> Result<Hash, EntryError> {
        self.array().map(Hash)
    }

    fn end(&self) -> Result<(), EntryError> {
        let (offset, surplus) = (self.offset, self.bytes.len().saturating_sub(self.offset));
        if surplus == 0 { Ok(()) } else { Err(EntryError::Trailing { offset, surplus }) }
    }
}
