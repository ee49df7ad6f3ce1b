//! The operations whose instructions are counted.
//!
//! In scope: what each does, and on what; that its answer is right. Out of scope: counting. Invariants: an
//! operation takes its input from a black box and gives its answer to one, so that the compiler can leave
//! nothing out; a wrong answer is an error, so that no failure counts as a fast success.

use std::hint::black_box;

use counterfoil::event::entry::Entry;
use counterfoil::event::envelope::{parse_batch, parse_structured};
use counterfoil::event::facet::Role;
use counterfoil::event::keys::{MacKey, ledger_id, part_commitment};
use counterfoil::event::mapping::{Class, Mapping};
use counterfoil::event::parts::{merge, split};
use counterfoil::log::checkpoint;
use counterfoil::log::hash::{Hash, leaf_hash};
use counterfoil::log::merkle::{
    Frontier, consistency_proof, inclusion_proof, root, verify_consistency, verify_inclusion,
};
use counterfoil::log::tile::{bundle_entries, encode_bundle};
use counterfoil::prove::entry_view::EntryView;
use counterfoil::prove::receipt::Receipt;
use counterfoil::prove::verdict::{Report, Verdict};
use counterfoil::prove::verify_log::{LogOptions, NoParts, verify_log};
use counterfoil::prove::verify_receipt::{Context, ReaderKeys, SecretKey, verify_receipt};

use crate::Fallible;
use crate::fixture::{
    EVENT, INDEX, K_EVENT, K_READ, LONG, LongLog, OLDER, ORIGIN, Recorded, SALT, ShortLog, encode,
    signing_key,
};

/// What is run again and again.
pub(crate) type Operation = Box<dyn FnMut() -> Fallible<()>>;

/// An operation that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it does, for the table.
    pub(crate) what: &'static str,
    /// How often it is run. The count is what a second run, twice as long, takes more: enough runs to have
    /// the allocator's first steps in both, few enough to be over within a second under valgrind.
    pub(crate) repetitions: u32,
    pub(crate) prepare: fn() -> Fallible<Operation>,
}

const fn case(
    name: &'static str,
    what: &'static str,
    repetitions: u32,
    prepare: fn() -> Fallible<Operation>,
) -> Case {
    Case { name, what, repetitions, prepare }
}

const LOG_256: u32 = 5;
const SIGNATURE: u32 = 10;
const PROOF: u32 = 50;
const EVENT_SIZED: u32 = 100;

/// All of them, in the order of the table.
pub(crate) static CASES: [Case; 25] = [
    case("event-parse", "Read an event of 485 bytes", EVENT_SIZED, event_parse),
    case("batch-parse", "Read a batch of 100 such events", LOG_256, batch_parse),
    case("event-canonical", "Write it as canonical JSON", EVENT_SIZED, event_canonical),
    case(
        "event-split",
        "Check it against the catalogue and cut it into parts",
        EVENT_SIZED,
        event_split,
    ),
    case("event-merge", "Put its three parts together again", EVENT_SIZED, event_merge),
    case("event-key", "Its key, from source and id", EVENT_SIZED, event_key),
    case("part-commitment", "Commit to its open part", EVENT_SIZED, commitment),
    case("import-record", "Make an event of a CloudTrail record", EVENT_SIZED, import_record),
    case("entry-encode", "Write its entry", EVENT_SIZED, entry_encode),
    case("entry-decode", "Read its entry", EVENT_SIZED, entry_decode),
    case("entry-view", "Look at its entry without copying", EVENT_SIZED, entry_view),
    case("leaf-hash", "Hash its entry as a leaf", EVENT_SIZED, hash_leaf),
    case("tree-push-256", "Append 256 leaves to a tree and take the root", LOG_256, tree_push),
    case("bundle-encode-256", "Write a bundle of 256 entries", LOG_256, bundle_encode),
    case("bundle-parse-256", "Read a bundle of 256 entries", LOG_256, bundle_parse),
    case("inclusion-prove-1m", "Prove inclusion in a million, from tiles", PROOF, inclusion_prove),
    case("inclusion-verify-1m", "Verify that proof", PROOF, inclusion_verify),
    case("consistency-prove-1m", "Prove 700 001 a prefix of a million", PROOF, consistency_prove),
    case("consistency-verify-1m", "Verify that proof", PROOF, consistency_verify),
    case("checkpoint-sign", "Sign a checkpoint", SIGNATURE, checkpoint_sign),
    case("checkpoint-open", "Read a checkpoint and verify its signature", SIGNATURE, checkpoint_open),
    case("receipt-write", "Write a full receipt", EVENT_SIZED, receipt_write),
    case("receipt-parse", "Read a full receipt", EVENT_SIZED, receipt_parse),
    case("receipt-verify", "Verify a full receipt", SIGNATURE, receipt_verify),
    case("log-verify-256", "Verify a log of 256 entries", LOG_256, log_verify),
];

/// The case of this name.
pub(crate) fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// A record of the form that AWS's user guide shows, with invented values.
const RECORD: &[u8] = br#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","principalId":
"AIDAEXAMPLE","arn":"arn:aws:iam::111122223333:user/mary","accountId":"111122223333","userName":"mary"},
"eventTime":"2026-11-22T01:48:09Z","eventSource":"s3.amazonaws.com","eventName":"GetObject",
"awsRegion":"eu-central-1","sourceIPAddress":"192.0.2.7","userAgent":"aws-cli/2.0",
"requestParameters":{"bucketName":"orders","key":"2026/11/22/4242.json"},"responseElements":null,
"resources":[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::orders/2026/11/22/4242.json"}],
"eventID":"3fcfb182-98f8-4744-bd45-10a395ab61cb","readOnly":true,"eventType":"AwsApiCall",
"managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data"}"#;

fn expect(right: bool, what: &str) -> Fallible<()> {
    if right { Ok(()) } else { Err(what.into()) }
}

fn expect_verified(report: &Report) -> Fallible<()> {
    if report.verdict() == Verdict::Verified {
        return Ok(());
    }
    Err(String::from_utf8(report.to_json())?.into())
}

fn event_parse() -> Fallible<Operation> {
    let parsed = parse_structured(EVENT)?;
    Ok(Box::new(move || {
        let event = black_box(parse_structured(black_box(EVENT))?);
        expect(event.id == parsed.id, "the event has another id")
    }))
}

fn batch_parse() -> Fallible<Operation> {
    parse_structured(EVENT)?;
    let body = [b"[".to_vec(), [EVENT; 100].join(&b','), b"]".to_vec()].concat();
    Ok(Box::new(move || {
        let outcomes = black_box(parse_batch(black_box(&body))?);
        expect(outcomes.iter().filter(|outcome| outcome.is_ok()).count() == 100, "an event was refused")
    }))
}

fn event_canonical() -> Fallible<Operation> {
    let event = parse_structured(EVENT)?;
    Ok(Box::new(move || {
        let text = black_box(black_box(&event).canonical_content());
        expect(text.len() == EVENT.len(), "the canonical form has another length")
    }))
}

fn event_split() -> Fallible<Operation> {
    let Recorded { event, catalogue, .. } = Recorded::new()?;
    Ok(Box::new(move || {
        let parts = black_box(split(black_box(&event), black_box(&catalogue))?);
        expect(parts.parts.len() == 3, "there are not three parts")
    }))
}

fn event_merge() -> Fallible<Operation> {
    let recorded = Recorded::new()?;
    Ok(Box::new(move || {
        let parts = black_box(&recorded.split.parts).iter();
        black_box(merge(parts.map(|part| (part.role, part.body.as_slice())))?);
        Ok(())
    }))
}

fn event_key() -> Fallible<Operation> {
    let (key, ledger, event) = (MacKey::new(&K_EVENT), ledger_id(ORIGIN), parse_structured(EVENT)?);
    Ok(Box::new(move || {
        let event = black_box(&event);
        black_box(black_box(&key).event_key(ledger, &event.source, &event.id));
        Ok(())
    }))
}

fn commitment() -> Fallible<Operation> {
    let (recorded, ledger) = (Recorded::new()?, ledger_id(ORIGIN));
    let open = recorded.split.parts.into_iter().find(|part| part.role == Role::OPEN);
    let body = open.ok_or("there is no open part")?.body;
    Ok(Box::new(move || {
        black_box(part_commitment(ledger, &Hash::ZERO, Role::OPEN, &SALT, black_box(&body)));
        Ok(())
    }))
}

fn import_record() -> Fallible<Operation> {
    let mapping = Mapping::builtin("cloudtrail")?;
    Ok(Box::new(move || {
        let mapped = black_box(black_box(&mapping).map_line(black_box(RECORD)));
        let is_mapped = |class| class == Class::Mapped;
        let right = mapped.iter().all(|each| each.as_ref().is_ok_and(|each| is_mapped(each.class)));
        expect(right && mapped.len() == 1, "the record was not mapped")
    }))
}

fn entry_encode() -> Fallible<Operation> {
    let entry = Recorded::new()?.entry(INDEX, Hash([7; 32]));
    Ok(Box::new(move || {
        black_box(encode(black_box(&entry))?);
        Ok(())
    }))
}

fn entry_bytes() -> Fallible<Vec<u8>> {
    encode(&Recorded::new()?.entry(INDEX, Hash([7; 32])))
}

fn entry_decode() -> Fallible<Operation> {
    let bytes = entry_bytes()?;
    Ok(Box::new(move || {
        black_box(Entry::decode(black_box(&bytes))?);
        Ok(())
    }))
}

fn entry_view() -> Fallible<Operation> {
    let bytes = entry_bytes()?;
    Ok(Box::new(move || {
        let view = EntryView::read(black_box(&bytes))?;
        let event = view.event.as_ref().ok_or("the entry is no event")?;
        expect(black_box(event.keys()).count() > 3, "the entry lacks keys")
    }))
}

fn hash_leaf() -> Fallible<Operation> {
    let bytes = entry_bytes()?;
    Ok(Box::new(move || {
        black_box(leaf_hash(black_box(&bytes)));
        Ok(())
    }))
}

fn short_log() -> Fallible<ShortLog> {
    ShortLog::new(&Recorded::new()?)
}

fn tree_push() -> Fallible<Operation> {
    let leaves = short_log()?.leaves;
    let (long, _) = long_log()?;
    let before = long.frontier().ok_or("the long log has no frontier")?;
    Ok(Box::new(move || {
        let mut tree: Frontier = black_box(&before).clone();
        let mut nodes = 0;
        for leaf in black_box(&leaves) {
            tree.push(*leaf, &mut |_, _, hash| {
                black_box(hash);
                nodes += 1;
            });
        }
        black_box(tree.root());
        expect(nodes > 500, "nodes are missing")
    }))
}

fn bundle_encode() -> Fallible<Operation> {
    let log = short_log()?;
    Ok(Box::new(move || {
        black_box(encode_bundle(black_box(&log.entries).iter().map(Vec::as_slice))?);
        Ok(())
    }))
}

fn bundle_parse() -> Fallible<Operation> {
    let log = short_log()?;
    let bundle = encode_bundle(log.entries.iter().map(Vec::as_slice))?;
    Ok(Box::new(move || {
        let mut count = 0;
        for entry in bundle_entries(black_box(&bundle)) {
            black_box(entry?);
            count += 1;
        }
        expect(count == 256, "there are not 256 entries")
    }))
}

fn long_log() -> Fallible<(LongLog, Hash)> {
    let leaf = leaf_hash(&entry_bytes()?);
    Ok((LongLog::new(leaf), leaf))
}

fn inclusion_prove() -> Fallible<Operation> {
    let (log, _) = long_log()?;
    Ok(Box::new(move || {
        let proof = inclusion_proof(black_box(INDEX), LONG, &black_box(&log).reader());
        expect(black_box(proof)?.len() == 20, "the proof has another length")
    }))
}

fn inclusion_verify() -> Fallible<Operation> {
    let (log, leaf) = long_log()?;
    let (proof, root) = (inclusion_proof(INDEX, LONG, &log)?, root(LONG, &log)?);
    Ok(Box::new(move || Ok(verify_inclusion(black_box(INDEX), LONG, &leaf, black_box(&proof), &root)?)))
}

fn consistency_prove() -> Fallible<Operation> {
    let (log, _) = long_log()?;
    Ok(Box::new(move || {
        let proof = consistency_proof(black_box(OLDER), LONG, &black_box(&log).reader());
        expect(!black_box(proof)?.is_empty(), "the proof is empty")
    }))
}

fn consistency_verify() -> Fallible<Operation> {
    let (log, _) = long_log()?;
    let proof = consistency_proof(OLDER, LONG, &log)?;
    let (older, newer) = (root(OLDER, &log)?, root(LONG, &log)?);
    Ok(Box::new(move || {
        Ok(verify_consistency(black_box(OLDER), LONG, black_box(&proof), &older, &newer)?)
    }))
}

fn checkpoint_sign() -> Fallible<Operation> {
    let (checkpoint, key) = (long_log()?.0.checkpoint()?, signing_key()?);
    Ok(Box::new(move || {
        black_box(black_box(&checkpoint).sign(black_box(&key))?);
        Ok(())
    }))
}

fn checkpoint_open() -> Fallible<Operation> {
    let key = signing_key()?;
    let note = long_log()?.0.checkpoint()?.sign(&key)?;
    let verifier = key.verifier();
    Ok(Box::new(move || {
        black_box(checkpoint::open(black_box(&note), black_box(&verifier))?);
        Ok(())
    }))
}

fn receipt_write() -> Fallible<Operation> {
    let receipt = Recorded::new()?.receipt()?;
    Ok(Box::new(move || {
        let text = black_box(black_box(&receipt).to_json());
        expect(text.len() > 3_000, "the receipt is too short")
    }))
}

fn receipt_parse() -> Fallible<Operation> {
    let text = Recorded::new()?.receipt()?.to_json();
    Ok(Box::new(move || {
        black_box(Receipt::parse(black_box(&text))?);
        Ok(())
    }))
}

fn receipt_verify() -> Fallible<Operation> {
    let recorded = Recorded::new()?;
    let (receipt, key) = (recorded.receipt()?, signing_key()?.verifier());
    let reader = ReaderKeys {
        read: vec![SecretKey::new(K_READ)],
        event: vec![SecretKey::new(K_EVENT)],
        directory: Vec::new(),
    };
    Ok(Box::new(move || {
        let catalogue = Some(&recorded.catalogue);
        let context = Context { reader: Some(&reader), catalogue, ..Context::new(&key) };
        let report = black_box(verify_receipt(black_box(&receipt), black_box(&context)));
        expect(report.check("mapping") == Some(Verdict::Verified), "the mapping was not checked")?;
        expect_verified(&report)
    }))
}

fn log_verify() -> Fallible<Operation> {
    let (log, key) = (short_log()?, signing_key()?.verifier());
    Ok(Box::new(move || {
        let (note, options) = (black_box(log.note.as_bytes()), LogOptions::default());
        let report = verify_log(note, &key, &log, None::<&NoParts>, &options, &mut |_| {});
        expect_verified(&black_box(report))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_gives_the_right_answer_again_and_again() {
        for case in &CASES {
            let mut operation =
                (case.prepare)().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            for _ in 0..3 {
                operation().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
        }
    }

    #[test]
    fn names_are_distinct_and_found() {
        for case in &CASES {
            assert!(std::ptr::eq(find(case.name).unwrap(), case), "{}", case.name);
        }
        assert!(find("no-such-case").is_none());
        assert_eq!(EVENT.len(), 485);
    }
}
