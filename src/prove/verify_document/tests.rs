//! Documents of every kind, told apart and verified; and what is no document.

use super::*;
use crate::log::hash::{Hash, LogIndex, TreeSize};
use crate::log::merkle::{MemoryTree, consistency_proof, inclusion_proof};
use crate::log::note::VerifierKey;
use crate::prove::receipt::write_batch;
use crate::prove::testing::{TestLog, signing_key};

fn key() -> VerifierKey {
    signing_key().verifier()
}

fn verify(document: &[u8]) -> Result<Report, DocumentError> {
    verify_document(document, &Context::new(&key()))
}

#[track_caller]
fn expect(document: &[u8], target: Target, verdict: Verdict) -> Report {
    let report = verify(document).unwrap();
    assert_eq!((report.target, report.verdict()), (target, verdict), "{report:#?}");
    report
}

fn batch_of(log: &TestLog, indexes: impl Iterator<Item = u64>) -> Vec<u8> {
    let receipts: Vec<Vec<u8>> = indexes.map(|index| log.receipt(index).to_json()).collect();
    let mut document = Vec::new();
    write_batch(receipts.iter().map(Vec::as_slice), &mut document);
    document
}

#[test]
fn receipts_and_batches() {
    let log = TestLog::new(9);
    expect(&log.receipt(3).to_json(), Target::Receipt, Verdict::Verified);
    let report = expect(&batch_of(&log, 2..9), Target::Receipts, Verdict::Verified);
    assert_eq!(report.count, 7);
    assert_eq!(report.range, Some(IndexRange { first: 2, last: 8 }));
    assert_eq!(report.parts.open, 14);
    assert_eq!(report.keys.len(), 1);
    expect(b"{\"receipts\":[]}", Target::Receipts, Verdict::NotProvable);
}

#[test]
fn one_bad_receipt_spoils_the_batch_and_is_named() {
    let log = TestLog::new(9);
    let mut bad = log.receipt(5);
    bad.leaf_hash.0[0] ^= 1;
    let receipts = [log.receipt(4).to_json(), bad.to_json(), log.receipt(6).to_json()];
    let mut document = Vec::new();
    write_batch(receipts.iter().map(Vec::as_slice), &mut document);
    let report = expect(&document, Target::Receipts, Verdict::Failed);
    let check = report.checks.iter().find(|check| check.name == "leaf").unwrap();
    assert!(check.detail.starts_with("receipt 1: "), "{check:?}");
    assert_eq!(report.check("inclusion"), Some(Verdict::Verified));

    let mut brief = log.receipt(5);
    brief.full = None;
    let receipts = [log.receipt(4).to_json(), brief.to_json()];
    let mut document = Vec::new();
    write_batch(receipts.iter().map(Vec::as_slice), &mut document);
    expect(&document, Target::Receipts, Verdict::NotProvable);
}

#[test]
fn a_withheld_part_in_one_receipt_leaves_the_batch_verified() {
    let log = TestLog::new(9);
    let mut withheld = log.receipt(5);
    let openings = &mut withheld.full.as_mut().unwrap().openings;
    openings.parts[0].content = crate::prove::receipt::PartContent::Withheld;
    for receipts in
        [[log.receipt(4).to_json(), withheld.to_json()], [withheld.to_json(), log.receipt(4).to_json()]]
    {
        let mut document = Vec::new();
        write_batch(receipts.iter().map(Vec::as_slice), &mut document);
        let report = expect(&document, Target::Receipts, Verdict::Verified);
        assert_eq!(report.check("identity"), Some(Verdict::NotProvable));
        assert_eq!(report.parts.withheld, 1);
    }
}

#[test]
fn refusals_inside_a_batch_are_told_apart() {
    let receipt = TestLog::new(9).receipt(4).to_json();
    let mut document = Vec::new();
    let refusal = br#"{"type":"unknown-type","status":422,"title":"x"}"#.as_slice();
    let wrapped = br#"{"error":{"type":"unknown-type","status":422,"item":1}}"#.as_slice();
    write_batch([refusal, wrapped, &receipt].into_iter(), &mut document);
    let report = expect(&document, Target::Receipts, Verdict::Verified);
    assert_eq!((report.count, report.check("refusals")), (1, Some(Verdict::NotProvable)));
}

#[test]
fn tlog_proofs_with_and_without_their_entry() {
    let log = TestLog::new(9);
    let receipt = log.receipt(4);
    let full = receipt.full.clone().unwrap();
    let proof = TlogProof {
        index: receipt.index,
        extra: None,
        hashes: full.inclusion,
        checkpoint: full.checkpoint,
    };
    let text = proof.encode();
    expect(text.as_bytes(), Target::TlogProof, Verdict::NotProvable);
    let key = key();
    let context = Context { entry: Some(&full.entry), ..Context::new(&key) };
    assert_eq!(verify_document(text.as_bytes(), &context).unwrap().verdict(), Verdict::Verified);
    let json = |entry: &[u8]| {
        serde_json::json!({ "tlog_proof": text, "entry": hex::encode(entry) }).to_string().into_bytes()
    };
    expect(&json(&full.entry), Target::TlogProof, Verdict::Verified);
    expect(&json(b"other"), Target::TlogProof, Verdict::Failed);
    let broken = text.replacen("index 4", "index x", 1);
    assert!(matches!(verify(broken.as_bytes()), Err(DocumentError::TlogProof(_))));
}

fn tree(size: u64) -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.extend((0..size).map(|index| crate::log::hash::leaf_hash(&index.to_be_bytes())));
    tree
}

#[test]
fn consistency_proofs() {
    let (log, older) = (TestLog::new(9), TestLog::new(5));
    let mut document = ConsistencyDocument {
        from: TreeSize(5),
        to: TreeSize(9),
        root_from: older.tree.root(),
        root_to: log.tree.root(),
        proof: consistency_proof(TreeSize(5), TreeSize(9), &log.tree).unwrap(),
        checkpoint: None,
    };
    let json = |document: &ConsistencyDocument| {
        let mut out = Vec::new();
        document.write_json(&mut out);
        out
    };
    let report = expect(&json(&document), Target::Consistency, Verdict::NotProvable);
    assert_eq!(report.check("consistency"), Some(Verdict::Verified));
    document.checkpoint = Some(log.note.clone());
    let report = expect(&json(&document), Target::Consistency, Verdict::Verified);
    assert_eq!(report.check("signed"), Some(Verdict::Verified));
    document.checkpoint = Some(older.note.clone());
    expect(&json(&document), Target::Consistency, Verdict::Failed);
    document.checkpoint = Some(log.note.replace("\n9\n", "\n8\n"));
    expect(&json(&document), Target::Consistency, Verdict::Failed);
    document.checkpoint = None;
    let changes: [fn(&mut ConsistencyDocument); 5] = [
        |d| d.from.0 -= 1,
        |d| d.to.0 += 100,
        |d| d.root_from.0[0] ^= 1,
        |d| d.root_to.0[0] ^= 1,
        |d| d.proof.truncate(1),
    ];
    for change in changes {
        let mut bad = document.clone();
        change(&mut bad);
        expect(&json(&bad), Target::Consistency, Verdict::Failed);
    }
}

#[test]
fn inclusion_proofs() {
    let tree = tree(9);
    let json = |index: u64, leaf: u64, root: Hash| {
        let document = InclusionDocument {
            index: LogIndex(index),
            size: TreeSize(9),
            leaf_hash: crate::log::hash::leaf_hash(&leaf.to_be_bytes()),
            root,
            proof: inclusion_proof(LogIndex(index), TreeSize(9), &tree).unwrap(),
            checkpoint: None,
        };
        let mut out = Vec::new();
        document.write_json(&mut out);
        out
    };
    let report = expect(&json(4, 4, tree.root()), Target::Inclusion, Verdict::NotProvable);
    assert_eq!(report.check("inclusion"), Some(Verdict::Verified));
    expect(&json(4, 5, tree.root()), Target::Inclusion, Verdict::Failed);
    expect(&json(4, 4, Hash::ZERO), Target::Inclusion, Verdict::Failed);
}

#[test]
fn checkpoints() {
    let note = TestLog::new(9).note;
    expect(note.as_bytes(), Target::Checkpoint, Verdict::Verified);
    expect(note.replace("\n9\n", "\n8\n").as_bytes(), Target::Checkpoint, Verdict::Failed);
}

#[test]
fn other_documents_are_errors_that_echo_nothing() {
    let receipt = String::from_utf8(TestLog::new(9).receipt(4).to_json()).unwrap();
    for document in [
        "",
        "hello",
        "{}",
        "{",
        "[]",
        "null",
        "{\"verysecret\":1}",
        "{\"receipts\":{}}",
        "{\"receipts\":[1]}",
        "{\"receipts\":[],\"verysecret\":1}",
        "{\"tlog_proof\":\"verysecret\",\"entry\":\"00\"}",
        "{\"tlog_proof\":\"verysecret\"}",
        "{\"root_from\":\"verysecret\",\"root_to\":1}",
        &receipt.replace("\"replayed\"", "\"verysecret\""),
        &receipt[..receipt.len() - 1],
    ] {
        let error = verify(document.as_bytes()).expect_err(document).to_string();
        assert!(!error.contains("verysecret"), "{error}");
    }
    assert_eq!(verify(b"\xff\xfe"), Err(DocumentError::UnknownKind));
}
