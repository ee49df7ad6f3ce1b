//! Certificates, whole and with everything in them changed.

use super::*;
use crate::log::hash::Hash;
use crate::prove::testing::{
    TestLog, certificate, certificate_key, certificate_log, proven, sign, signing_key,
};
use crate::prove::verify_document::verify_document;

fn verify(certificate: &Certificate) -> Report {
    verify_certificate(certificate, &Context::new(&signing_key().verifier()))
}

/// The report on a certificate that its signer changed before signing.
fn resigned(change: impl Fn(&mut Certificate)) -> Report {
    let mut one = certificate();
    change(&mut one);
    sign(&mut one);
    verify(&one)
}

#[track_caller]
fn expect(report: &Report, check: &str, verdict: Verdict) {
    assert_eq!(report.check(check), Some(verdict), "{check}: {report:#?}");
}

#[test]
fn a_complete_certificate_verifies_from_the_logs_key_alone() {
    let report = verify(&certificate());
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    for name in ["checkpoint", "inclusion", "entries", "state", "signer", "signature"] {
        expect(&report, name, Verdict::Verified);
    }
    expect(&report, "statements", Verdict::NotProvable);
    expect(&report, "published", Verdict::NotProvable);
    assert_eq!((report.target, report.keys.len()), (Target::Certificate, 2));
    let key = signing_key().verifier();
    let document = verify_document(&certificate().to_json(), &Context::new(&key)).unwrap();
    assert_eq!(document, report);
    let other = certificate_key().verifier();
    let report = verify_certificate(&certificate(), &Context::new(&other));
    expect(&report, "checkpoint", Verdict::Failed);
    // The same moment, written otherwise.
    let report = resigned(|one| one.asked.at = one.asked.at.replace('Z', "+00:00"));
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
}

#[test]
fn every_changed_byte_of_the_text_takes_the_verdict_away() {
    let (good, key) = (certificate().to_json(), signing_key().verifier());
    let context = Context::new(&key);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        if let Ok(report) = verify_document(&bad, &context) {
            assert_ne!(report.verdict(), Verdict::Verified, "byte {at}");
        }
    }
}

#[test]
fn a_pending_certificate_is_not_provable() {
    let report = resigned(|one| {
        one.state = CertificateState::Pending;
        (one.entries.done, one.destroyed.at, one.root_key.after) = (None, None, None);
    });
    expect(&report, "state", Verdict::NotProvable);
    expect(&report, "entries", Verdict::Verified);
    assert_eq!(report.verdict(), Verdict::NotProvable, "{report:#?}");
    let report = resigned(|one| {
        one.state = CertificateState::Pending;
        (one.entries.begun, one.entries.done) = (None, None);
        (one.destroyed.at, one.root_key.after) = (None, None);
    });
    assert_eq!(report.verdict(), Verdict::NotProvable, "{report:#?}");
}

type Lie = (&'static str, &'static str, fn(&mut Certificate));

/// What whoever signs certificates could claim against the log: the check that must notice, and how.
const LIES: [Lie; 27] = [
    ("origin", "checkpoint", |c| c.origin.push('x')),
    ("checkpoint", "checkpoint", |c| c.checkpoint = c.checkpoint.replacen("\n7\n", "\n8\n", 1)),
    ("id", "entries", |c| c.id[0] ^= 1),
    ("person", "entries", |c| c.persons[0].directory_key.0[0] ^= 1),
    ("fewer persons", "entries", |c| c.persons.truncate(1)),
    ("order of persons", "entries", |c| c.persons.swap(0, 1)),
    ("asked at", "entries", |c| c.asked.at = "2026-11-22T01:48:10Z".to_owned()),
    ("asked at no time", "entries", |c| c.asked.at = "yesterday".to_owned()),
    ("destroyed at", "entries", |c| c.destroyed.at = Some(c.asked.at.clone())),
    ("destroyed never", "state", |c| c.destroyed.at = None),
    ("key before", "entries", |c| c.root_key.before[0] ^= 1),
    ("key after", "entries", |c| c.root_key.after = Some([1; 16])),
    ("no key after", "state", |c| c.root_key.after = None),
    ("pending", "state", |c| c.state = CertificateState::Pending),
    ("erased index", "inclusion", |c| c.entries.erased.index.0 += 1),
    ("erased entry", "inclusion", |c| c.entries.erased.entry[90] ^= 1),
    ("erased inclusion", "inclusion", |c| c.entries.erased.inclusion[0] = Hash([1; 32])),
    ("begun inclusion", "inclusion", |c| c.entries.begun.as_mut().unwrap().inclusion.clear()),
    ("done entry", "inclusion", |c| c.entries.done.as_mut().unwrap().entry[100] ^= 1),
    ("signer inclusion", "inclusion", |c| c.entries.signer.as_mut().unwrap().inclusion.truncate(1)),
    ("no begun", "entries", |c| c.entries.begun = None),
    ("no done", "state", |c| c.entries.done = None),
    ("done as begun", "entries", |c| c.entries.begun = c.entries.done.clone()),
    ("begun as done", "entries", |c| c.entries.done = c.entries.begun.clone()),
    ("begun as erased", "entries", |c| c.entries.erased = c.entries.begun.clone().unwrap()),
    ("erased as signer", "signer", |c| c.entries.signer = Some(c.entries.erased.clone())),
    ("genesis as signer", "signer", |c| c.entries.signer = Some(proven(&certificate_log(), 0))),
];

#[test]
fn every_lie_against_the_log_is_found_though_it_is_signed() {
    for (name, check, lie) in LIES {
        let report = resigned(lie);
        assert_eq!(report.check(check), Some(Verdict::Failed), "{name}: {report:#?}");
        assert_eq!(report.verdict(), Verdict::Failed, "{name}");
    }
}

#[test]
fn every_statement_is_covered_by_the_signature() {
    let changes: [fn(&mut Certificate); 16] = [
        |c| c.ledger.push('x'),
        |c| c.asked.key += 1,
        |c| c.asked.label.clear(),
        |c| c.asked.reason.clear(),
        |c| c.asked.request = None,
        |c| c.persons[0].namespace.0 += 1,
        |c| c.destroyed.persons += 1,
        |c| c.destroyed.parts += 1,
        |c| c.destroyed.events += 1,
        |c| c.destroyed.by_role.clear(),
        |c| c.destroyed.by_type.clear(),
        |c| c.root_key.custody.clear(),
        |c| c.residual.clear(),
        |c| c.told.clear(),
        |c| c.alive.clear(),
        |c| c.also.clear(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut one = certificate();
        change(&mut one);
        let report = verify(&one);
        assert_eq!(report.check("signature"), Some(Verdict::Failed), "{at}: {report:#?}");
    }
}

#[test]
fn only_a_key_that_the_log_registers_makes_a_certificate_good() {
    let mut one = certificate();
    (one.signed_by, one.signature) = (None, None);
    let report = verify(&one);
    expect(&report, "signature", Verdict::NotProvable);
    assert_eq!(report.verdict(), Verdict::NotProvable);
    one.signature = Some([0; 64]);
    expect(&verify(&one), "signature", Verdict::Failed);
    one = certificate();
    one.signature = None;
    expect(&verify(&one), "signature", Verdict::Failed);

    let report = resigned(|one| one.entries.signer = None);
    expect(&report, "signature", Verdict::Verified);
    expect(&report, "signer", Verdict::NotProvable);
    assert_eq!(report.verdict(), Verdict::NotProvable);

    // The log's own key is not one for certificates.
    let mut one = certificate();
    one.signed_by = Some(signing_key().verifier().to_string());
    one.signature = Some(signing_key().sign_bytes(&one.signing_input()));
    let report = verify(&one);
    expect(&report, "signature", Verdict::Verified);
    expect(&report, "signer", Verdict::Failed);
}

/// A certificate of a log in which the shred's entries are others.
fn of_log(change: impl Fn(&mut Vec<EntryBody>)) -> Report {
    let good = certificate_log();
    let mut bodies: Vec<EntryBody> =
        good.entries.iter().map(|entry| Entry::decode(entry).unwrap().body).collect();
    change(&mut bodies);
    let mut log = TestLog::empty();
    for body in bodies {
        log.append_body(body);
    }
    log.publish();
    resigned(|one| {
        one.checkpoint.clone_from(&log.note);
        one.entries.erased = proven(&log, 3);
        one.entries.begun = Some(proven(&log, 4));
        one.entries.done = Some(proven(&log, 6));
        one.entries.signer = Some(proven(&log, 1));
    })
}

#[test]
fn a_shred_must_end_as_it_began_and_after_the_erasure() {
    type Change = (usize, fn(&mut ShredBody));
    let shred = |bodies: &mut Vec<EntryBody>, at: usize, change: fn(&mut ShredBody)| {
        let EntryBody::Shred(body) = &mut bodies[at] else { panic!("{at}") };
        change(body);
    };
    assert_eq!(of_log(|_| ()).verdict(), Verdict::Verified);
    let changes: [Change; 6] = [
        (4, |body| body.items += 1),
        (6, |body| body.root.0[0] ^= 1),
        (6, |body| body.root_key_before[0] ^= 1),
        (6, |body| body.root_key_after[0] ^= 1),
        (4, |body| body.root_key_before[0] ^= 1),
        (6, |body| (body.phase, body.root_key_after) = (ShredPhase::Begun, [0; 16])),
    ];
    for (at, change) in changes {
        expect(&of_log(|bodies| shred(bodies, at, change)), "entries", Verdict::Failed);
    }
    let early = of_log(|bodies| bodies.swap(3, 4));
    expect(&early, "entries", Verdict::Failed);
}
