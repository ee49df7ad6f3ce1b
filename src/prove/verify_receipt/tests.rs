//! Receipts, whole and with every field changed.

use super::*;
use crate::event::facet::{Facet, Role};
use crate::event::keys::Period;
use crate::log::merkle::consistency_proof;
use crate::log::note::SigningKey;
use crate::prove::receipt::{FullReceipt, KeyOpening, PartContent, PartOpening};
use crate::prove::testing::{
    K_EVENT, K_READ, ORIGIN, SUBJECT, TestLog, encode, event_entry, person, signing_key,
};

fn reader() -> ReaderKeys {
    let key = |bytes: [u8; 32]| vec![Zeroizing::new([0; 32]), Zeroizing::new(bytes)];
    ReaderKeys { read: key(K_READ), event: key(K_EVENT), directory: Vec::new() }
}

fn verify(receipt: &Receipt) -> Report {
    let (reader, persons, key) = (reader(), [person()], signing_key().verifier());
    let context = Context { reader: Some(&reader), persons: &persons, ..Context::new(&key) };
    verify_receipt(receipt, &context)
}

fn verify_with_key_only(receipt: &Receipt) -> Report {
    verify_receipt(receipt, &Context::new(&signing_key().verifier()))
}

fn full(receipt: &mut Receipt) -> &mut FullReceipt {
    receipt.full.as_mut().unwrap()
}

#[track_caller]
fn expect(report: &Report, check: &str, verdict: Verdict) {
    assert_eq!(report.check(check), Some(verdict), "{check}: {report:#?}");
}

#[test]
fn good_receipts_verify_at_every_position() {
    for size in [2, 3, 255, 256, 257, 300] {
        let log = TestLog::new(size);
        for index in [1, size / 2, size - 1] {
            if index == 0 {
                continue;
            }
            let report = verify(&log.receipt(index));
            assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
            for name in ["checkpoint", "leaf", "inclusion", "entry", "content", "identity"] {
                expect(&report, name, Verdict::Verified);
            }
            for name in ["event-key", "keys", "person-keys"] {
                expect(&report, name, Verdict::Verified);
            }
            expect(&report, "published", Verdict::NotProvable);
            assert_eq!(report.parts.open, 2);
        }
    }
}

#[test]
fn the_key_alone_shows_the_content() {
    let report = verify_with_key_only(&TestLog::new(9).receipt(4));
    assert_eq!(report.verdict(), Verdict::Verified);
    for name in ["event-key", "keys", "person-keys", "published"] {
        expect(&report, name, Verdict::NotProvable);
    }
}

#[test]
fn a_brief_receipt_and_one_without_openings_are_not_provable() {
    let log = TestLog::new(9);
    let mut receipt = log.receipt(4);
    full(&mut receipt).openings = crate::prove::receipt::Openings::default();
    let report = verify_with_key_only(&receipt);
    assert_eq!(report.exit_code(), 4);
    expect(&report, "inclusion", Verdict::Verified);
    expect(&report, "content", Verdict::NotProvable);
    receipt.full = None;
    let report = verify_with_key_only(&receipt);
    assert_eq!(report.exit_code(), 4);
    expect(&report, "inclusion", Verdict::NotProvable);
}

#[test]
fn withheld_parts_are_counted_and_a_lost_one_is_an_alarm() {
    let log = TestLog::new(9);
    let with = |role: usize, content: PartContent| {
        let mut receipt = log.receipt(4);
        full(&mut receipt).openings.parts[role].content = content;
        verify_with_key_only(&receipt)
    };
    let report = with(1, PartContent::Withheld);
    assert_eq!((report.verdict(), report.parts.withheld), (Verdict::Verified, 1));
    for unproven in [PartContent::Erased, PartContent::Pruned] {
        let report = with(1, unproven);
        expect(&report, "removed", Verdict::Failed);
        assert_eq!((report.parts.lost, report.parts.erased, report.parts.pruned), (1, 0, 0));
    }
    expect(&with(1, PartContent::Lost), "content", Verdict::Failed);
    let report = with(0, PartContent::Withheld);
    assert_eq!(report.verdict(), Verdict::Verified, "the subject's part is shown");
    expect(&report, "identity", Verdict::NotProvable);

    let mut receipt = log.receipt(4);
    full(&mut receipt).openings.parts.pop();
    expect(&verify_with_key_only(&receipt), "content", Verdict::NotProvable);
    full(&mut receipt).openings.parts[0].content = PartContent::Withheld;
    expect(&verify_with_key_only(&receipt), "content", Verdict::NotProvable);
}

/// What is changed, the check that must notice, and how.
type Tampering = (&'static str, &'static str, fn(&mut Receipt));

/// Every field that a signature reaches, changed one at a time.
fn tampered() -> Vec<Tampering> {
    fn open(receipt: &mut Receipt, part: usize) -> (&mut [u8; 64], &mut String) {
        match &mut full(receipt).openings.parts[part].content {
            PartContent::Open { salt, body } => (salt, body),
            other => panic!("{other:?}"),
        }
    }
    vec![
        ("origin", "checkpoint", |r| r.origin.push('x')),
        ("index", "inclusion", |r| r.index.0 += 1),
        ("id", "identity", |r| r.id.push('x')),
        ("leaf hash", "leaf", |r| r.leaf_hash.0[31] ^= 1),
        ("recorded at", "entry", |r| r.recorded_at.replace_range(25..26, "9")),
        ("recorded at, other spelling", "entry", |r| {
            r.recorded_at = r.recorded_at.replace('Z', "+00:00");
        }),
        ("checkpoint", "checkpoint", |r| {
            full(r).checkpoint = full(r).checkpoint.replace("\n9\n", "\n8\n");
        }),
        ("proof hash", "inclusion", |r| full(r).inclusion[0].0[0] ^= 1),
        ("shorter proof", "inclusion", |r| full(r).inclusion.truncate(1)),
        ("longer proof", "inclusion", |r| full(r).inclusion.push(Hash::ZERO)),
        ("entry", "leaf", |r| *full(r).entry.last_mut().unwrap() ^= 1),
        ("entry and leaf hash", "inclusion", |r| {
            *full(r).entry.last_mut().unwrap() ^= 1;
            r.leaf_hash = leaf_hash(&full(r).entry);
        }),
        ("empty entry", "entry", |r| full(r).entry.clear()),
        ("salt", "content", |r| open(r, 0).0[0] ^= 1),
        ("open body", "content", |r| open(r, 0).1.push(' ')),
        ("subject body", "content", |r| *open(r, 1).1 = open(r, 1).1.replace("s4", "s5")),
        ("role", "content", |r| full(r).openings.parts[1].role = Role(17)),
        ("swapped parts", "content", |r| full(r).openings.parts.swap(0, 1)),
        ("repeated part", "content", |r| {
            let part = full(r).openings.parts[1].clone();
            full(r).openings.parts.push(part);
        }),
        ("surplus part", "content", |r| {
            full(r).openings.parts.push(PartOpening { role: Role(99), content: PartContent::Withheld });
        }),
        ("key value", "keys", |r| full(r).openings.keys[0].value = Some("deletion".into())),
        ("key without value", "keys", |r| full(r).openings.keys[0].value = None),
        ("key facet", "keys", |r| full(r).openings.keys[0].facet = Facet::OUTCOME),
        ("surplus key", "keys", |r| {
            let key = full(r).openings.keys[0].clone();
            full(r).openings.keys.push(key);
        }),
        ("period", "person-keys", |r| full(r).openings.keys[2].period = Some(Period(1))),
        ("no period", "person-keys", |r| full(r).openings.keys[2].period = None),
        ("person's value", "person-keys", |r| full(r).openings.keys[2].value = Some("s4".into())),
        ("surplus person key", "person-keys", |r| {
            let key = full(r).openings.keys[2].clone();
            full(r).openings.keys.push(key);
        }),
        ("another person facet", "person-keys", |r| full(r).openings.keys[2].facet = Facet(131)),
    ]
}

#[test]
fn every_changed_field_fails() {
    let log = TestLog::new(9);
    for (what, check, change) in tampered() {
        let mut receipt = log.receipt(4);
        change(&mut receipt);
        let report = verify(&receipt);
        assert_eq!(report.verdict(), Verdict::Failed, "{what}: {report:#?}");
        expect(&report, check, Verdict::Failed);
        let text = String::from_utf8(report.to_json()).unwrap();
        for secret in ["e-4", "s4", "s5", "shop", "deletion"] {
            assert!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
    }
}

#[test]
fn a_receipt_does_not_pass_for_another_entry() {
    let log = TestLog::new(9);
    let (receipt, other) = (log.receipt(4), log.receipt(5));
    let mut mixed = receipt.clone();
    full(&mut mixed).openings = other.full.clone().unwrap().openings;
    expect(&verify(&mixed), "content", Verdict::Failed);
    let mut mixed = receipt.clone();
    full(&mut mixed).inclusion = other.full.clone().unwrap().inclusion;
    expect(&verify(&mixed), "inclusion", Verdict::Failed);
    let mut mixed = other.clone();
    mixed.index = receipt.index;
    expect(&verify(&mixed), "entry", Verdict::Failed);
}

#[test]
fn signed_entries_of_another_place_or_kind_fail() {
    let mut log = TestLog::new(4);
    let (mut entry, stored) = event_entry(4, log.prev());
    entry.index.0 = 7;
    log.append(encode(&entry), stored);
    let (mut entry, stored) = event_entry(5, log.prev());
    entry.ledger.0[0] ^= 1;
    log.append(encode(&entry), stored);
    log.publish();
    for index in [0, 4, 5] {
        let report = verify(&log.receipt(index));
        expect(&report, "inclusion", Verdict::Verified);
        expect(&report, "entry", Verdict::Failed);
    }
}

#[test]
fn another_key_fails_and_another_reader_key_too() {
    let receipt = TestLog::new(9).receipt(4);
    let other = SigningKey::generate_from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
    let report = verify_receipt(&receipt, &Context::new(&other));
    expect(&report, "checkpoint", Verdict::Failed);
    assert_eq!(report.exit_code(), 3);
    let key = signing_key().verifier();
    let swapped = ReaderKeys {
        read: vec![Zeroizing::new(K_EVENT)],
        event: vec![Zeroizing::new(K_READ)],
        ..ReaderKeys::default()
    };
    let report = verify_receipt(&receipt, &Context { reader: Some(&swapped), ..Context::new(&key) });
    expect(&report, "keys", Verdict::Failed);
    expect(&report, "event-key", Verdict::Failed);
}

#[test]
fn keys_that_are_not_opened_are_not_provable_to_a_reader() {
    let mut receipt = TestLog::new(9).receipt(4);
    full(&mut receipt).openings.keys.remove(0);
    let report = verify(&receipt);
    expect(&report, "keys", Verdict::NotProvable);
    assert_eq!(report.exit_code(), 4);
    full(&mut receipt).openings.keys =
        vec![KeyOpening { facet: SUBJECT, value: None, period: Some(Period(2026 * 12 + 10)) }];
    expect(&verify(&receipt), "person-keys", Verdict::Verified);
}

#[test]
fn publication_is_shown_by_a_consistent_checkpoint() {
    let receipt = TestLog::new(9).receipt(4);
    let key = signing_key().verifier();
    let verify = |log: &TestLog, with_proof: bool| {
        let checkpoint = checkpoint::open(&log.note, &key).unwrap();
        let proof = |from, to| consistency_proof(from, to, &log.tree).ok().filter(|_| with_proof);
        let published = Published { checkpoint: &checkpoint, proof: &proof };
        verify_receipt(&receipt, &Context { published: Some(published), ..Context::new(&key) })
    };
    let later = TestLog::new(300);
    expect(&verify(&later, true), "published", Verdict::Verified);
    let without = verify(&later, false);
    expect(&without, "published", Verdict::NotProvable);
    assert_eq!(without.exit_code(), 4);
    expect(&verify(&TestLog::new(9), false), "published", Verdict::Verified);
    expect(&verify(&TestLog::new(5), false), "published", Verdict::NotProvable);

    let mut fork = TestLog::new(6);
    let (mut entry, stored) = event_entry(6, fork.prev());
    entry.time_us += 1;
    fork.append(encode(&entry), stored);
    for size in [9, 20] {
        fork.grow(size);
        fork.publish();
        let report = verify(&fork, true);
        expect(&report, "published", Verdict::Failed);
        assert_eq!(report.exit_code(), 3);
    }
}

#[test]
fn tlog_proofs_are_about_their_entry() {
    let log = TestLog::new(9);
    let receipt = log.receipt(4);
    let full = receipt.full.unwrap();
    let proof = TlogProof {
        index: receipt.index,
        extra: None,
        hashes: full.inclusion.clone(),
        checkpoint: full.checkpoint.clone(),
    };
    let key = signing_key().verifier();
    let verify = |proof: &TlogProof, entry: Option<&[u8]>| {
        verify_tlog_proof(proof, &Context { entry, ..Context::new(&key) })
    };
    assert_eq!(verify(&proof, Some(&full.entry)).verdict(), Verdict::Verified);
    assert_eq!(verify(&proof, None).verdict(), Verdict::NotProvable);
    expect(&verify(&proof, Some(b"other")), "inclusion", Verdict::Failed);
    let moved = TlogProof { index: LogIndex(5), ..proof.clone() };
    let report = verify(&moved, Some(&full.entry));
    expect(&report, "inclusion", Verdict::Failed);
    expect(&report, "entry", Verdict::Failed);
}
