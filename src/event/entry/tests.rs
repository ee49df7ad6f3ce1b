//! Round trips, every prefix, every flipped byte, every broken rule.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::event::keys::ledger_id;

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn event() -> impl Strategy<Value = EventBody> {
    let facet = any::<u8>().prop_map(Facet).prop_filter("codes", |facet| facet.is_valid());
    let role = any::<u8>().prop_map(Role).prop_filter("codes", |role| role.is_valid());
    let signature = proptest::option::of(vec(any::<u8>(), 64))
        .prop_map(|bytes| bytes.map(|bytes| <[u8; 64]>::try_from(bytes).unwrap()));
    (
        hash(),
        any::<u16>().prop_map(ClassCode),
        btree_set((facet, hash()), 0..=KEYS_MAX),
        btree_map(role, hash(), 0..=PARTS_MAX),
        any::<u32>(),
        any::<Option<u64>>(),
        signature,
    )
        .prop_map(|(event_key, class, keys, parts, producer, sequence, signature)| EventBody {
            event_key,
            class,
            keys: keys.into_iter().collect(),
            parts: parts.into_iter().collect(),
            producer,
            sequence,
            signature,
        })
}

fn body() -> impl Strategy<Value = EntryBody> {
    let other = prop::sample::select(vec![Kind::IndexHead, Kind::ProducerKey, Kind::Freeze]);
    let key_id = || any::<[u8; 16]>();
    prop_oneof![
        4 => event().prop_map(EntryBody::Event),
        1 => vec(any::<u8>(), 1..300).prop_map(EntryBody::Settings),
        1 => (any::<u64>(), btree_map(hash(), hash(), 0..9)).prop_map(|(through_slot, persons)| {
            EntryBody::PersonsRegistered { through_slot, persons: persons.into_iter().collect() }
        }),
        1 => (hash(), any::<u64>(), hash()).prop_map(|(event_key, first, refused)| {
            EntryBody::Conflict(ConflictBody { event_key, first: LogIndex(first), first_leaf: refused })
        }),
        1 => (key_id(), btree_set(hash(), 1..9)).prop_map(|(erasure, persons)| {
            let persons = persons.into_iter().collect();
            EntryBody::PersonsErased(PersonsErasedBody { erasure, persons })
        }),
        1 => (any::<bool>(), any::<u64>(), hash(), key_id(), key_id()).prop_map(
            |(begun, items, root, root_key_before, after)| {
                let is_done = !begun && after != [0; 16];
                let phase = if is_done { ShredPhase::Done } else { ShredPhase::Begun };
                let root_key_after = if is_done { after } else { [0; 16] };
                EntryBody::Shred(ShredBody { phase, items, root, root_key_before, root_key_after })
            },
        ),
        1 => (any::<u64>(), hash(), any::<u64>(), any::<u64>()).prop_map(
            |(items, root, settings, cutoff_us)| {
                EntryBody::Prune(PruneBody { items, root, settings, cutoff_us })
            },
        ),
        1 => (other, vec(any::<u8>(), 0..300)).prop_map(|(kind, body)| EntryBody::Other { kind, body }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), hash(), body()).prop_map(
        |(ledger, index, time_us, prev, body)| Entry {
            ledger: LedgerId(ledger),
            index: LogIndex(index),
            time_us,
            prev: if index == 0 { Hash::ZERO } else { prev },
            body,
        },
    )
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes).unwrap();
    bytes
}

fn sample(body: EntryBody) -> Entry {
    let ledger = ledger_id("ledger.example/main");
    Entry { ledger, index: LogIndex(7), time_us: 1_700_000_000_000_000, prev: Hash([9; 32]), body }
}

fn sample_event() -> EventBody {
    EventBody {
        event_key: Hash([1; 32]),
        class: ClassCode(4),
        keys: vec![(Facet::TYPE, Hash([2; 32])), (Facet(130), Hash([1; 32]))],
        parts: vec![(Role::OPEN, Hash([3; 32])), (Role(16), Hash([4; 32]))],
        producer: 5,
        sequence: Some(6),
        signature: Some([7; 64]),
    }
}

proptest! {
    #[test]
    fn every_entry_round_trips(entry in entry()) {
        let bytes = bytes_of(&entry);
        prop_assert!(bytes.len() >= HEADER_BYTES);
        prop_assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn no_prefix_of_an_event_is_an_entry(event in event()) {
        let bytes = bytes_of(&sample(EntryBody::Event(event)));
        for len in 0..bytes.len() {
            prop_assert!(Entry::decode(&bytes[..len]).is_err(), "{} of {}", len, bytes.len());
        }
    }

    /// A flipped byte is refused or reads as another entry whose bytes are the flipped ones.
    #[test]
    fn a_flipped_byte_is_refused_or_is_another_entry(entry in entry(), with in 1..=255_u8) {
        let mut bytes = bytes_of(&entry);
        for at in 0..bytes.len() {
            bytes[at] ^= with;
            if let Ok(other) = Entry::decode(&bytes) {
                prop_assert_ne!(&other, &entry);
                prop_assert_eq!(&bytes_of(&other), &bytes);
            }
            bytes[at] ^= with;
        }
    }

    #[test]
    fn any_bytes_end_without_a_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Entry::decode(&bytes);
        let framed: Vec<u8> = MAGIC.into_iter().chain(bytes).collect();
        if let Ok(entry) = Entry::decode(&framed) {
            prop_assert_eq!(bytes_of(&entry), framed);
        }
    }
}

#[test]
fn layout_of_an_event() {
    let bytes = bytes_of(&sample(EntryBody::Event(sample_event())));
    let (header, body) = bytes.split_at(HEADER_BYTES);
    assert_eq!(&header[..6], b"CFL1\x01\x03");
    assert_eq!(header[6..22], ledger_id("ledger.example/main").0);
    assert_eq!(header[22..30], 7_u64.to_be_bytes());
    assert_eq!(header[30..38], 1_700_000_000_000_000_u64.to_be_bytes());
    assert_eq!(header[38..], [9; 32]);
    assert_eq!(body.len(), 32 + 2 + 1 + 2 * 33 + 1 + 2 * 33 + 4 + 8 + 64);
    assert_eq!(body[32..36], [0, 4, 2, 1]);
    assert_eq!(body[body.len() - 76..body.len() - 64], [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
}

#[test]
fn longest_event_fits() {
    let keys = (0..32).map(|n| (Facet(1 + n), Hash([n; 32]))).collect();
    let parts = (0..16).map(|n| (Role(16 + n), Hash([n; 32]))).collect();
    let event = EventBody { keys, parts, ..sample_event() };
    assert_eq!(bytes_of(&sample(EntryBody::Event(event))).len(), 70 + 36 + 32 * 33 + 16 * 33 + 76);
}

#[test]
fn longest_registration_fits_and_one_more_does_not() {
    let person = |n: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        (Hash(key), Hash([1; 32]))
    };
    let of = |count: u32| {
        let persons = (0..count).map(person).collect();
        sample(EntryBody::PersonsRegistered { through_slot: 1, persons })
    };
    let bytes = bytes_of(&of(1022));
    assert_eq!(bytes.len(), 70 + 10 + 1022 * 64);
    assert_eq!(Entry::decode(&bytes), Ok(of(1022)));
    let refused = EntryError::TooMany { what: "registrations", found: 1023, max: 1022 };
    assert_eq!(of(1023).encode(&mut Vec::new()), Err(refused));
}

#[test]
fn encode_refuses_what_decode_would() {
    let refuse = |body: EntryBody| {
        let mut out = b"before".to_vec();
        let error = sample(body).encode(&mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    let event = |change: fn(&mut EventBody)| {
        let mut event = sample_event();
        change(&mut event);
        EntryBody::Event(event)
    };
    let order = |what| EntryError::Order { what, position: 1 };
    assert_eq!(refuse(event(|event| event.keys.reverse())), order("key"));
    assert_eq!(refuse(event(|event| event.keys[1] = event.keys[0])), order("key"));
    assert_eq!(refuse(event(|event| event.parts.reverse())), order("part"));
    assert_eq!(refuse(event(|event| event.parts[1].0 = Role::OPEN)), order("part"));
    let code = |what, code| EntryError::Code { what, code };
    assert_eq!(refuse(event(|event| event.keys[0].0 = Facet(0))), code("facet", 0));
    assert_eq!(refuse(event(|event| event.keys[1].0 = Facet(255))), code("facet", 255));
    assert_eq!(refuse(event(|event| event.parts[0].0 = Role(3))), code("role", 3));
    let keys = |event: &mut EventBody| event.keys = (1..34).map(|n| (Facet(n), Hash::ZERO)).collect();
    let too_many = EntryError::TooMany { what: "keys", found: 33, max: 32 };
    assert_eq!(refuse(event(keys)), too_many);
    let parts = |event: &mut EventBody| event.parts = (16..33).map(|n| (Role(n), Hash::ZERO)).collect();
    let too_many = EntryError::TooMany { what: "parts", found: 17, max: 16 };
    assert_eq!(refuse(event(parts)), too_many);
    let twice = vec![(Hash([1; 32]), Hash::ZERO); 2];
    let twice = EntryBody::PersonsRegistered { through_slot: 0, persons: twice };
    assert_eq!(refuse(twice), order("registration"));
    assert_eq!(refuse(EntryBody::Settings(Vec::new())), EntryError::Empty { kind: 2 });
    let untyped = EntryBody::Other { kind: Kind::Conflict, body: vec![0; 72] };
    assert_eq!(refuse(untyped), EntryError::Untyped { kind: 10 });
    let long = EntryBody::Other { kind: Kind::Freeze, body: vec![0; 65_466] };
    assert_eq!(refuse(long), EntryError::TooLong { len: 65_536, max: 65_535 });
}

#[test]
fn decode_names_the_broken_rule() {
    let good = bytes_of(&sample(EntryBody::Event(sample_event())));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Entry::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, b'X'), EntryError::Magic);
    assert_eq!(with(4, 0), EntryError::Kind { kind: 0 });
    assert_eq!(with(4, 11), EntryError::Kind { kind: 11 });
    assert_eq!(with(5, 7), EntryError::Flags { kind: 1, flags: 7 });
    assert_eq!(with(4, 2), EntryError::Flags { kind: 2, flags: 3 });
    assert_eq!(with(5, 1), EntryError::Trailing { offset: good.len() - 64, surplus: 64 });
    assert_eq!(with(104, 33), EntryError::TooMany { what: "keys", found: 33, max: 32 });
    assert_eq!(with(105, 200), EntryError::Code { what: "facet", code: 200 });
    assert_eq!(with(171, 17), EntryError::TooMany { what: "parts", found: 17, max: 16 });
    assert_eq!(with(172, 16), EntryError::Order { what: "part", position: 1 });
    let len = good.len();
    assert_eq!(
        Entry::decode(&good[..len - 1]),
        Err(EntryError::Truncated { offset: len - 64, len: len - 1 })
    );
    assert_eq!(Entry::decode(&vec![0; 65_536]), Err(EntryError::TooLong { len: 65_536, max: 65_535 }));
    let mut first = good.clone();
    first[22..30].fill(0);
    assert_eq!(Entry::decode(&first), Err(EntryError::Prev { index: 0 }));
    let mut orphan = good;
    orphan[38..70].fill(0);
    assert_eq!(Entry::decode(&orphan), Err(EntryError::Prev { index: 7 }));
}
