//! Receipts with erased and pruned parts, and every lie about them.

use super::*;
use crate::event::entry::ShredPhase;
use crate::log::hash::{LogIndex, TreeSize};
use crate::log::merkle::inclusion_proof;
use crate::prove::receipt::Receipt;
use crate::prove::removed::RemovedSet;
use crate::prove::testing::{TestLog, signing_key};
use crate::prove::verify_receipt::{Context, verify_receipt};

const SUBJECT: Role = Role(16);
const INDEX: u64 = 4;

fn content_of(how: Removal) -> PartContent {
    match how {
        Removal::Erased => PartContent::Erased,
        Removal::Pruned => PartContent::Pruned,
    }
}

/// The receipt of an event of which these parts are gone, with its proof.
fn receipt_of(gone: &[(Role, Removal)]) -> Receipt {
    let mut log = TestLog::new(9);
    let mine = gone.iter().map(|(role, how)| log.item(INDEX, *role, *how));
    let others = [1, 2, 3, 5, 6].map(|index| log.item(index, SUBJECT, Removal::Erased));
    let set = RemovedSet::default().with(mine.chain(others));
    let index = log.shred(ShredPhase::Begun, &set);
    log.publish();
    let mut receipt = log.receipt(INDEX);
    let full = receipt.full.as_mut().unwrap();
    for part in &mut full.openings.parts {
        if let Some((_, how)) = gone.iter().find(|(role, _)| *role == part.role) {
            part.content = content_of(*how);
        }
    }
    let entry = log.entries[usize::try_from(INDEX).unwrap()].clone();
    let event_key = crate::prove::entry_view::EntryView::read(&entry).unwrap().event.unwrap().event_key;
    full.removed = Some(RemovedProof {
        index: LogIndex(index),
        entry: log.entries[usize::try_from(index).unwrap()].clone(),
        inclusion: inclusion_proof(LogIndex(index), TreeSize(log.size()), &log.tree).unwrap(),
        members: RemovedMember::of(&set, &event_key, gone.iter().map(|(role, _)| *role)),
    });
    receipt
}

fn verify(receipt: &Receipt) -> Report {
    let read = Receipt::parse(&receipt.to_json()).unwrap();
    assert_eq!(read, *receipt);
    verify_receipt(&read, &Context::new(&signing_key().verifier()))
}

#[test]
fn removed_parts_are_proven_by_their_members() {
    let report = verify(&receipt_of(&[(SUBJECT, Removal::Erased)]));
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    assert_eq!(report.check(CHECK), Some(Verdict::Verified));
    assert_eq!((report.parts.open, report.parts.erased, report.parts.lost), (1, 1, 0));

    let report = verify(&receipt_of(&[(Role::OPEN, Removal::Pruned), (SUBJECT, Removal::Erased)]));
    assert_eq!(report.verdict(), Verdict::Verified, "nothing is left to open: {report:#?}");
    assert_eq!(report.check("content"), Some(Verdict::NotProvable));
    assert_eq!((report.parts.pruned, report.parts.erased, report.parts.lost), (1, 1, 0));

    let whole = verify(&TestLog::new(9).receipt(INDEX));
    assert_eq!(whole.check(CHECK), None);
}

type Lie = (&'static str, fn(&mut RemovedProof));

/// Every field of the proof, changed one at a time.
const LIES: [Lie; 13] = [
    ("index", |proof| proof.index.0 -= 1),
    ("magic", |proof| proof.entry[0] ^= 1),
    ("items", |proof| proof.entry[78] ^= 1),
    ("root", |proof| proof.entry[79] ^= 1),
    ("a byte less", |proof| proof.entry.truncate(142)),
    ("inclusion", |proof| proof.inclusion[0].0[0] ^= 1),
    ("less inclusion", |proof| proof.inclusion.truncate(1)),
    ("role", |proof| proof.members[0].role.0 += 1),
    ("position", |proof| proof.members[0].position ^= 1),
    ("path", |proof| proof.members[0].path[0].0[0] ^= 1),
    ("less path", |proof| proof.members[0].path.truncate(1)),
    ("no member", |proof| proof.members.clear()),
    ("member twice", |proof| proof.members.push(proof.members[0].clone())),
];

#[test]
fn every_lie_about_a_removed_part_makes_it_lost() {
    for (name, change) in LIES {
        let mut receipt = receipt_of(&[(SUBJECT, Removal::Erased)]);
        change(receipt.full.as_mut().unwrap().removed.as_mut().unwrap());
        let report = verify(&receipt);
        assert_eq!(report.check(CHECK), Some(Verdict::Failed), "{name}: {report:#?}");
        assert_eq!((report.verdict(), report.parts.lost), (Verdict::Failed, 1), "{name}");
    }
    // Another state than the set has.
    let mut receipt = receipt_of(&[(SUBJECT, Removal::Erased)]);
    receipt.full.as_mut().unwrap().openings.parts[1].content = PartContent::Pruned;
    assert_eq!(verify(&receipt).check(CHECK), Some(Verdict::Failed));
    // Another part than the set has.
    let mut receipt = receipt_of(&[(SUBJECT, Removal::Erased)]);
    receipt.full.as_mut().unwrap().openings.parts[0].content = PartContent::Erased;
    assert_eq!(verify(&receipt).parts.lost, 2);
    // A proof about a part that is shown.
    let mut shown = TestLog::new(9).receipt(INDEX);
    let proof = receipt_of(&[(SUBJECT, Removal::Erased)]).full.unwrap().removed;
    shown.full.as_mut().unwrap().removed = proof;
    assert_eq!(verify(&shown).check(CHECK), Some(Verdict::Failed));
}

#[test]
fn an_entry_of_another_kind_proves_nothing() {
    let mut receipt = receipt_of(&[(SUBJECT, Removal::Erased)]);
    let full = receipt.full.as_mut().unwrap();
    let proof = full.removed.as_mut().unwrap();
    // The event itself, whose inclusion is right.
    (proof.index, proof.entry, proof.inclusion) =
        (LogIndex(INDEX), full.entry.clone(), full.inclusion.clone());
    let report = verify(&receipt);
    let check = report.checks.iter().find(|check| check.name == CHECK).unwrap();
    assert!(check.detail.contains("neither a shred nor a prune"), "{check:?}");
}
