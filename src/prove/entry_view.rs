//! Reading an entry where it lies, without allocating.
//!
//! In scope: the header of any entry and the body of an event, as borrowed slices; the walk over a
//! whole log reads millions of them. Out of scope: the meaning of other bodies, which the owning
//! decoder `event::entry::Entry::decode` checks. Invariant: bytes are accepted here exactly when
//! they are accepted there, and mean the same.

use crate::event::entry::{Entry, EntryError, HEADER_BYTES, KEYS_MAX, Kind, MAGIC, PARTS_MAX};
use crate::event::facet::{ClassCode, Facet, Role};
use crate::event::keys::LedgerId;
use crate::log::hash::{Hash, LogIndex};

/// A key or a part inside an entry: one code byte, then a hash.
const ITEM_BYTES: usize = 33;
const FLAG_SEQUENCE: u8 = 1;
const FLAG_SIGNATURE: u8 = 2;

/// An entry's header, and its body if it is an event.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    /// What the entry is.
    pub kind: Kind,
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// Its position.
    pub index: LogIndex,
    /// When the ledger took it, Unix microseconds.
    pub time_us: u64,
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// The body, for entries of kind event.
    pub event: Option<EventView<'a>>,
}

/// The body of an event entry.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// Key of `(source, id)`.
    pub event_key: Hash,
    /// The event's type.
    pub class: ClassCode,
    /// Number of the producer.
    pub producer: u32,
    /// The producer's own count.
    pub sequence: Option<u64>,
    /// The producer's signature.
    pub signature: Option<[u8; 64]>,
    keys: &'a [[u8; ITEM_BYTES]],
    parts: &'a [[u8; ITEM_BYTES]],
}

impl<'a> EventView<'a> {
    /// The index keys, ascending.
    #[must_use]
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (Facet, Hash)> + use<'a> {
        self.keys.iter().map(|item| {
            let (code, hash) = split_item(item);
            (Facet(code), hash)
        })
    }

    /// The parts' commitments, ascending by role.
    #[must_use]
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (Role, Hash)> + use<'a> {
        self.parts.iter().map(|item| {
            let (code, hash) = split_item(item);
            (Role(code), hash)
        })
    }

    fn read(body: &'a [u8], flags: u8) -> Option<Self> {
        let (event_key, rest) = body.split_first_chunk::<32>()?;
        let (class, rest) = rest.split_first_chunk::<2>()?;
        let (keys, rest) = items(rest, KEYS_MAX)?;
        let (parts, rest) = items(rest, PARTS_MAX)?;
        let (producer, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = optional::<8>(rest, flags & FLAG_SEQUENCE != 0)?;
        let (signature, rest) = optional::<64>(rest, flags & FLAG_SIGNATURE != 0)?;
        let keys_fit = ascending(keys) && keys.iter().all(|item| Facet(split_item(item).0).is_valid());
        let parts_fit = parts.is_sorted_by(|a, b| split_item(a).0 < split_item(b).0)
            && parts.iter().all(|item| Role(split_item(item).0).is_valid());
        (rest.is_empty() && keys_fit && parts_fit).then(|| Self {
            event_key: Hash(*event_key),
            class: ClassCode(u16::from_be_bytes(*class)),
            producer: u32::from_be_bytes(*producer),
            sequence: sequence.copied().map(u64::from_be_bytes),
            signature: signature.copied(),
            keys,
            parts,
        })
    }
}

impl<'a> EntryView<'a> {
    /// Whether bytes start as an entry of this format does. A log whose first entry does not is
    /// somebody else's.
    #[must_use]
    pub fn is_ours(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// The owning decoder's, when it refuses the bytes.
    pub fn read(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let refused = || Entry::decode(bytes).err().unwrap_or(EntryError::Magic);
        let (view, flags) = header(bytes).ok_or_else(refused)?;
        if view.kind == Kind::Event {
            let body = bytes.get(HEADER_BYTES..).ok_or_else(refused)?;
            let event = EventView::read(body, flags).ok_or_else(refused)?;
            return Ok(Self { event: Some(event), ..view });
        }
        Entry::decode(bytes)?;
        Ok(view)
    }
}

fn header(bytes: &[u8]) -> Option<(EntryView<'_>, u8)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let ([kind, flags], rest) = rest.split_first_chunk::<2>()?;
    let kind = Kind::from_code(*kind)?;
    let (ledger, rest) = rest.split_first_chunk::<16>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let (time_us, rest) = rest.split_first_chunk::<8>()?;
    let (prev, _) = rest.split_first_chunk::<32>()?;
    let allowed = if kind == Kind::Event { FLAG_SEQUENCE | FLAG_SIGNATURE } else { 0 };
    let (index, prev) = (LogIndex(u64::from_be_bytes(*index)), Hash(*prev));
    let prev_fits = (index.0 == 0) == (prev == Hash::ZERO);
    (flags & !allowed == 0 && prev_fits).then(|| {
        let time_us = u64::from_be_bytes(*time_us);
        (EntryView { kind, ledger: LedgerId(*ledger), index, time_us, prev, event: None }, *flags)
    })
}

/// A counted list of items, and what follows it.
fn items(bytes: &[u8], max: usize) -> Option<(&[[u8; ITEM_BYTES]], &[u8])> {
    let (&count, rest) = bytes.split_first()?;
    let count = usize::from(count);
    let (list, rest) = rest.split_at_checked(count * ITEM_BYTES)?;
    (count <= max).then_some((list.as_chunks().0, rest))
}

fn optional<const N: usize>(bytes: &[u8], there: bool) -> Option<(Option<&[u8; N]>, &[u8])> {
    if !there {
        return Some((None, bytes));
    }
    bytes.split_first_chunk::<N>().map(|(field, rest)| (Some(field), rest))
}

fn ascending(list: &[[u8; ITEM_BYTES]]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

fn split_item(item: &[u8; ITEM_BYTES]) -> (u8, Hash) {
    let [code, hash @ ..] = item;
    (*code, Hash(*hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::entry::{EntryBody, EventBody};
    use crate::event::keys::ledger_id;
    use proptest::prelude::*;

    fn event_entry(keys: Vec<(Facet, Hash)>, parts: Vec<(Role, Hash)>, flags: u8) -> Vec<u8> {
        let body = EntryBody::Event(EventBody {
            event_key: Hash([9; 32]),
            class: ClassCode(300),
            keys,
            parts,
            producer: 77,
            sequence: (flags & 1 != 0).then_some(5),
            signature: (flags & 2 != 0).then_some([3; 64]),
        });
        let entry = Entry {
            ledger: ledger_id("l.example/main"),
            index: LogIndex(4),
            time_us: 12,
            prev: Hash([1; 32]),
            body,
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes).unwrap();
        bytes
    }

    fn agree(bytes: &[u8]) {
        match (EntryView::read(bytes), Entry::decode(bytes)) {
            (Err(ours), Err(theirs)) => assert_eq!(ours, theirs),
            (Ok(view), Ok(entry)) => {
                assert_eq!((view.ledger, view.index), (entry.ledger, entry.index));
                assert_eq!((view.time_us, view.prev), (entry.time_us, entry.prev));
                assert_eq!(view.kind, entry.body.kind());
                let EntryBody::Event(event) = &entry.body else {
                    assert!(view.event.is_none());
                    return;
                };
                let seen = view.event.unwrap();
                assert_eq!((seen.event_key, seen.class), (event.event_key, event.class));
                assert_eq!(seen.keys().collect::<Vec<_>>(), event.keys);
                assert_eq!(seen.parts().collect::<Vec<_>>(), event.parts);
                assert_eq!((seen.producer, seen.sequence), (event.producer, event.sequence));
                assert_eq!(seen.signature, event.signature);
            }
            (ours, theirs) => panic!("{ours:?} / {theirs:?}"),
        }
    }

    fn sample(flags: u8) -> Vec<u8> {
        let keys =
            vec![(Facet(1), Hash([1; 32])), (Facet(1), Hash([2; 32])), (Facet(130), Hash([0; 32]))];
        event_entry(keys, vec![(Role(1), Hash([4; 32])), (Role(16), Hash([4; 32]))], flags)
    }

    #[test]
    fn every_value_of_every_byte_is_read_as_the_owning_decoder_reads_it() {
        for flags in 0..4 {
            let good = sample(flags);
            agree(&good);
            for at in 0..good.len() {
                agree(&good[..at]);
                let mut bad = good.clone();
                for value in 0..=255 {
                    bad[at] = value;
                    agree(&bad);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn other_kinds_agree_too(kind in 0_u8..12, body in prop::collection::vec(any::<u8>(), 0..90)) {
            let mut bytes = sample(0);
            bytes.truncate(HEADER_BYTES);
            bytes[4] = kind;
            bytes.extend_from_slice(&body);
            agree(&bytes);
        }
    }
}
