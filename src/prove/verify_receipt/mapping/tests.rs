//! Entries whose keys, class or parts are not those of the event they commit to.

use super::*;
use crate::event::entry::{Entry, EntryBody, EventBody};
use crate::event::envelope::parse_structured;
use crate::event::facet::{ClassCode, Role};
use crate::event::keys::{
    event_key, ledger_id, open_facet_key, part_commitment, period_of, person_facet_key,
};
use crate::log::hash::{Hash, LogIndex};
use crate::prove::receipt::{KeyOpening, Receipt};
use crate::prove::testing::{
    K_EVENT, K_READ, ORIGIN, S_XF, StoredPart, TestLog, encode, signing_key, time_us,
};
use crate::prove::verify_log::{PartView, StoredState};
use crate::prove::verify_receipt::{ReaderKeys, verify_receipt};
use zeroize::Zeroizing;

const EVENT: &str = r#"{"specversion":"1.0","id":"e-3","source":"o/p","type":"data.transferred",
    "sequence":"42","data":{"subject":"s1","to":"AWS","to_kind":"processor","direction":"out",
    "categories":["contact"],"purpose":"hosting","dest_country":"de"}}"#;

/// The body and parts a ledger makes of the event, the receipt's key openings beside them.
fn made() -> (EventBody, Vec<StoredPart>, Vec<KeyOpening>) {
    let event = parse_structured(EVENT.as_bytes()).unwrap();
    let split = parts::split(&event, &Catalogue::builtin().unwrap()).unwrap();
    let ledger = ledger_id(ORIGIN);
    let event_key = event_key(&K_EVENT, ledger, &split.source, &split.id);
    let period = period_of(time_us(3));
    let mut openings = Vec::new();
    let mut keys = Vec::new();
    for term in &split.terms {
        let (key, value) = match &term.source {
            FacetSource::Open(value) => {
                (open_facet_key(&K_READ, ledger, term.facet, value), Some(value.clone()))
            }
            FacetSource::Person(_) => (person_facet_key(&S_XF, ledger, period), None),
        };
        keys.push((term.facet, key));
        let period = value.is_none().then_some(period);
        openings.push(KeyOpening { facet: term.facet, value, period });
    }
    keys.sort_unstable();
    let stored: Vec<StoredPart> =
        split.parts.into_iter().map(|part| stored(part.role, part.body)).collect();
    let parts = stored.iter().map(|part| (part.view.role, Hash::ZERO)).collect();
    let (class, sequence) = (split.class, split.sequence);
    (
        EventBody { event_key, class, keys, parts, producer: 1, sequence, signature: None },
        stored,
        openings,
    )
}

fn stored(role: Role, body: Vec<u8>) -> StoredPart {
    let view = PartView { role, state: StoredState::Sealed, intact: true };
    StoredPart { view, salt: [1; 64], body, withheld: false, shut: false }
}

/// Signs what `change` makes of the entry and gives the report on its receipt.
fn report_on(
    change: impl FnOnce(&mut EventBody, &mut Vec<StoredPart>, &mut Vec<KeyOpening>),
    after: impl FnOnce(&mut Receipt),
) -> Report {
    let (mut body, mut stored, mut openings) = made();
    change(&mut body, &mut stored, &mut openings);
    let ledger = ledger_id(ORIGIN);
    let commit = |part: &StoredPart| {
        let role = part.view.role;
        (role, part_commitment(ledger, &body.event_key, role, &part.salt, &part.body))
    };
    body.parts = stored.iter().map(commit).collect();
    let mut log = TestLog::new(3);
    let (index, prev) = (LogIndex(3), log.prev());
    let entry = Entry { ledger, index, time_us: time_us(3), prev, body: EntryBody::Event(body) };
    log.append(encode(&entry), stored);
    log.publish();
    let mut receipt = log.receipt(3);
    receipt.full.as_mut().unwrap().openings.keys = openings;
    after(&mut receipt);
    let (key, catalogue) = (signing_key().verifier(), Catalogue::builtin().unwrap());
    let read = vec![Zeroizing::new(K_READ)];
    let reader = ReaderKeys { read, event: vec![Zeroizing::new(K_EVENT)], ..ReaderKeys::default() };
    let context = Context { reader: Some(&reader), catalogue: Some(&catalogue), ..Context::new(&key) };
    verify_receipt(&receipt, &context)
}

fn changed(change: impl FnOnce(&mut EventBody, &mut Vec<StoredPart>, &mut Vec<KeyOpening>)) -> Report {
    report_on(change, |_| ())
}

#[track_caller]
fn expect(report: &Report, verdict: Verdict) {
    assert_eq!(report.check("mapping"), Some(verdict), "{report:#?}");
    assert_eq!(report.check("content"), Some(Verdict::Verified), "{report:#?}");
    assert_eq!(report.check("identity"), Some(Verdict::Verified), "{report:#?}");
    assert_eq!(report.check("event-key"), Some(Verdict::Verified), "{report:#?}");
}

#[test]
fn the_keys_of_a_sound_entry_are_the_events() {
    let report = changed(|_, _, _| ());
    expect(&report, Verdict::Verified);
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
}

#[test]
fn an_entry_that_hides_or_invents_keys_fails_although_its_receipt_agrees() {
    let hidden = changed(|body, _, openings| {
        body.keys.retain(|(facet, _)| *facet != Facet::RECIPIENT);
        openings.retain(|opening| opening.facet != Facet::RECIPIENT);
    });
    assert_eq!(hidden.check("keys"), Some(Verdict::Verified));
    expect(&hidden, Verdict::Failed);
    let other = changed(|body, _, openings| {
        let opening = openings.iter_mut().find(|opening| opening.facet == Facet::RECIPIENT).unwrap();
        opening.value = Some("GCP".into());
        let key = open_facet_key(&K_READ, ledger_id(ORIGIN), Facet::RECIPIENT, "GCP");
        body.keys.iter_mut().find(|(facet, _)| *facet == Facet::RECIPIENT).unwrap().1 = key;
    });
    assert_eq!(other.check("keys"), Some(Verdict::Verified));
    expect(&other, Verdict::Failed);
    expect(&changed(|body, _, _| body.keys.retain(|(facet, _)| !facet.is_person())), Verdict::Failed);
    expect(&changed(|body, _, _| body.keys.push((Facet(134), Hash([9; 32])))), Verdict::Failed);
}

#[test]
fn another_class_sequence_or_division_fails() {
    expect(&changed(|body, _, _| body.class = ClassCode(body.class.0 + 1)), Verdict::Failed);
    expect(&changed(|body, _, _| body.sequence = None), Verdict::Failed);
    let in_the_open = changed(|_, stored, _| {
        let subject = stored.pop().unwrap();
        let mut open = String::from_utf8(stored[0].body.clone()).unwrap();
        assert_eq!(subject.body, br#"{"data":{"subject":"s1"}}"#);
        open = open.replacen("\"to\":", "\"subject\":\"s1\",\"to\":", 1);
        stored[0].body = open.into_bytes();
    });
    expect(&in_the_open, Verdict::Failed);
}

#[test]
fn what_the_catalogue_does_not_know_or_is_withheld_is_not_provable() {
    let unknown = changed(|_, stored, _| {
        let open = String::from_utf8(stored[0].body.clone()).unwrap();
        stored[0].body = open.replace("data.transferred", "x-other").into_bytes();
    });
    expect(&unknown, Verdict::NotProvable);
    let withheld = report_on(
        |_, _, _| (),
        |receipt| {
            let openings = &mut receipt.full.as_mut().unwrap().openings;
            openings.parts[1].content = crate::prove::receipt::PartContent::Withheld;
        },
    );
    expect(&withheld, Verdict::NotProvable);
    assert_eq!(withheld.verdict(), Verdict::Verified);
}
