//! The crate's own formats against vectors that a second implementation wrote
//! (`tools/vectors/counterfoil_ref.py`, which shares no code with it).
//!
//! In scope: identifiers, keys, commitments, entries and their chain, the removed set, what a
//! certificate's signature covers, and what of the index rests on the log's Merkle trees. Out of
//! scope: the trie, which the script checks by itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its vectors has to fail"
)]

use counterfoil::event::entry::{Entry, EntryBody, PersonsErasedBody, PruneBody, ShredBody, ShredPhase};
use counterfoil::event::facet::{Facet, Namespace, Role};
use counterfoil::event::keys::{
    KeyUse, LedgerId, Period, PersonFacet, directory_key, event_key, key_commitment, ledger_id,
    open_facet_key, part_commitment, period_of, person_commitment, person_facet_key,
    person_facet_secret, person_leaf,
};
use counterfoil::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use counterfoil::log::merkle::{Frontier, verify_range};
use counterfoil::prove::certificate::Certificate;
use counterfoil::prove::removed::{Removal, RemovedItem, RemovedSet, removed_key, verify_member};
use serde_json::Value;

const VECTORS: &str = include_str!("vectors/counterfoil/vectors.json");

fn vectors(section: &str) -> Value {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all[section].clone()
}

fn items(value: &Value) -> &[Value] {
    let items = value.as_array().unwrap();
    assert!(!items.is_empty());
    items
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash(fixed(value))
}

fn code(value: &Value) -> u8 {
    u8::try_from(value.as_u64().unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn keys() {
    let v = vectors("keys");
    let ledger = ledger_id(text(&v["origin"]));
    assert_eq!(ledger, LedgerId(fixed(&v["ledger_id"])));
    let (k_event, k_read, k_dir) = (fixed(&v["k_event"]), fixed(&v["k_read"]), fixed(&v["k_dir"]));
    for case in items(&v["event_keys"]) {
        let key = event_key(&k_event, ledger, text(&case["source"]), text(&case["id"]));
        assert_eq!(key, hash(&case["key"]), "{case}");
    }
    for case in items(&v["open_facet_keys"]) {
        let key = open_facet_key(&k_read, ledger, Facet(code(&case["facet"])), text(&case["value"]));
        assert_eq!(key, hash(&case["key"]), "{case}");
    }
    for case in items(&v["directory_keys"]) {
        let namespace = Namespace(code(&case["namespace"]));
        assert_eq!(directory_key(&k_dir, namespace, text(&case["id"])), hash(&case["key"]), "{case}");
    }
    for case in items(&v["periods"]) {
        let period = u16::try_from(case["period"].as_u64().unwrap()).unwrap_or(u16::MAX);
        assert_eq!(period_of(case["time_us"].as_u64().unwrap()), Period(period), "{case}");
    }
    let uses = [KeyUse::Event, KeyUse::Read, KeyUse::Directory];
    for (case, key_use) in items(&v["key_commitments"]).iter().zip(uses) {
        assert_eq!(key_use.code(), code(&case["use"]));
        let epoch = u32::try_from(case["epoch"].as_u64().unwrap()).unwrap();
        let commitment = key_commitment(key_use, epoch, &fixed(&case["key"]));
        assert_eq!(commitment, hash(&case["commitment"]), "{case}");
    }
    let event = event_key(&k_event, ledger, "illuma/illuma.core", "e1");
    for case in items(&v["part_commitments"]) {
        let role = Role(code(&case["role"]));
        let (salt, body) = (fixed(&case["salt"]), bytes(&case["body"]));
        let commitment = part_commitment(ledger, &event, role, &salt, &body);
        assert_eq!(commitment, hash(&case["commitment"]), "{case}");
    }
}

#[test]
fn persons() {
    let v = vectors("keys");
    let ledger = ledger_id(text(&v["origin"]));
    let period = Period(u16::try_from(v["person_facets_period"].as_u64().unwrap()).unwrap());
    let mut facets = Vec::new();
    for case in items(&v["person_facets"]) {
        let facet = Facet(code(&case["facet"]));
        let secret = person_facet_secret(&fixed(&v["s_x"]), facet);
        assert_eq!(*secret, fixed(&case["secret"]), "{case}");
        assert_eq!(person_facet_key(&secret, ledger, period), hash(&case["key"]), "{case}");
        let opened = PersonFacet { facet, salt: fixed(&case["salt"]), secret };
        assert_eq!(person_leaf(&opened), hash(&case["leaf"]), "{case}");
        facets.push(opened);
    }
    for (case, count) in items(&v["person_commitments"]).iter().zip(1..) {
        assert_eq!(person_commitment(&facets[..count]), Some(hash(case)), "{count}");
    }
}

#[test]
fn the_chain_of_entries() {
    let v = vectors("chain");
    let mut frontier = Frontier::new();
    let mut prev = Hash::ZERO;
    let mut kinds = Vec::new();
    for (case, index) in items(&v["entries"]).iter().zip(0..) {
        let encoded = bytes(&case["entry"]);
        let entry = Entry::decode(&encoded).unwrap();
        assert_eq!((entry.index, entry.prev), (LogIndex(index), prev));
        assert_eq!(entry.ledger, ledger_id("ledger.example/main"));
        assert_eq!(entry.time_us, 1_709_251_199_000_000 + 400_000 * index);
        let mut again = Vec::new();
        entry.encode(&mut again).unwrap();
        assert_eq!(again, encoded);
        prev = leaf_hash(&encoded);
        assert_eq!(prev, hash(&case["leaf_hash"]));
        frontier.push(prev, &mut |_, _, _| {});
        assert_eq!(frontier.root(), hash(&case["root"]));
        kinds.push(entry.body.kind().code());
        if let EntryBody::Event(event) = &entry.body {
            let first = event_key(&[0x11; 32], entry.ledger, "illuma/illuma.core", &format!("e{index}"));
            assert_eq!(event.event_key, first);
            assert_eq!(event.sequence, (index < 3).then_some(index));
            assert_eq!(event.signature.is_some(), index == 2);
        }
    }
    assert_eq!(kinds, [2, 1, 1, 1, 4, 10, 3, 9]);
}

#[test]
fn entries_that_break_a_rule() {
    for section in ["chain", "removal"] {
        for case in items(&vectors(section)["refused"]) {
            assert!(Entry::decode(&bytes(&case["entry"])).is_err(), "{}", case["why"]);
        }
    }
}

fn removal(state: &Value) -> Removal {
    match state.as_u64() {
        Some(1) => Removal::Erased,
        Some(2) => Removal::Pruned,
        _ => panic!("{state}"),
    }
}

#[test]
fn the_removed_set() {
    let v = vectors("removal");
    let part = |case: &Value| {
        let (event_key, role) = (hash(&case["event_key"]), Role(code(&case["role"])));
        assert_eq!(removed_key(&event_key, role), hash(&case["key"]), "{case}");
        RemovedItem::of(&event_key, role, removal(&case["state"]))
    };
    let set = RemovedSet::default().with(items(&v["parts"]).iter().map(part));
    assert_eq!(set.encode(), bytes(&v["file"]));
    assert_eq!(RemovedSet::decode(&bytes(&v["file"])).unwrap(), set);
    let item = |case: &Value| RemovedItem { key: hash(&case["key"]), how: removal(&case["state"]) };
    let all = items(&v["items"]);
    for case in all {
        assert_eq!(item(case).leaf(), hash(&case["leaf"]), "{case}");
    }
    for (count, root) in items(&v["roots"]).iter().enumerate() {
        let some = RemovedSet::default().with(all[..count].iter().map(item));
        assert_eq!(some.root(), hash(root), "{count}");
    }
    for case in items(&v["proofs"]) {
        let (key, position) = (hash(&case["key"]), case["position"].as_u64().unwrap());
        let path: Vec<Hash> = case["path"].as_array().unwrap().iter().map(hash).collect();
        assert_eq!(set.prove(&key), Some((position, path.clone())), "{case}");
        assert!(verify_member(&item(case), position, set.items(), &path, &set.root()).is_ok(), "{case}");
    }
}

#[test]
fn what_an_erasure_a_shred_and_a_prune_write() {
    let v = vectors("removal");
    let (number, root) =
        (items(&v["items"]).len() as u64, hash(v["roots"].as_array().unwrap().last().unwrap()));
    let shred = |phase, root_key_after| {
        let root_key_before = fixed(&v["root_key_before"]);
        EntryBody::Shred(ShredBody { phase, items: number, root, root_key_before, root_key_after })
    };
    let persons = items(&v["persons"]).iter().map(hash).collect();
    let expected = [
        EntryBody::PersonsErased(PersonsErasedBody { erasure: fixed(&v["erasure"]), persons }),
        shred(ShredPhase::Begun, [0; 16]),
        shred(ShredPhase::Done, fixed(&v["root_key_after"])),
        EntryBody::Prune(PruneBody {
            items: number,
            root,
            settings: v["settings"].as_u64().unwrap(),
            cutoff_us: v["cutoff_us"].as_u64().unwrap(),
        }),
    ];
    assert_eq!(items(&v["entries"]).len(), expected.len());
    for (case, body) in items(&v["entries"]).iter().zip(expected) {
        let entry = Entry::decode(&bytes(case)).unwrap();
        assert_eq!(entry.body, body);
        let mut again = Vec::new();
        entry.encode(&mut again).unwrap();
        assert_eq!(again, bytes(case));
    }
}

#[test]
fn what_the_signature_of_a_certificate_covers() {
    let v = vectors("removal");
    let certificate = Certificate::parse(v["certificate"].to_string().as_bytes()).unwrap();
    assert_eq!(certificate.signing_input(), bytes(&v["certificate_signing_input"]));
    assert_eq!(Certificate::parse(&certificate.to_json()).unwrap(), certificate);
}

#[test]
fn lists_of_postings() {
    let v = vectors("index");
    let leaves: Vec<Hash> =
        items(&v["postings"]).iter().map(|posting| leaf_hash(&bytes(posting))).collect();
    assert!(items(&v["postings"]).iter().all(|posting| bytes(posting).len() == 18));
    let roots: Vec<Hash> = items(&v["mini_roots"]).iter().map(hash).collect();
    let mut frontier = Frontier::new();
    for (leaf, root) in leaves.iter().zip(&roots) {
        assert_eq!(frontier.root(), *root);
        frontier.push(*leaf, &mut |_, _, _| {});
    }
    assert_eq!(frontier.root(), roots[13]);
    for case in items(&v["range_proofs"]) {
        let at = |name: &str| usize::try_from(case[name].as_u64().unwrap()).unwrap();
        let (begin, end, size) = (at("begin"), at("end"), at("size"));
        let proof: Vec<Hash> = case["proof"].as_array().unwrap().iter().map(hash).collect();
        let size = TreeSize(u64::try_from(size).unwrap());
        let first = u64::try_from(begin).unwrap();
        let root = &roots[at("size")];
        verify_range(first, &leaves[begin..end], size, &proof, root).unwrap();
        assert!(verify_range(first, &leaves[begin..end - 1], size, &proof, root).is_err());
    }
}
