//! Erasing persons, on storage that comes back after crashes.

use super::*;
use crate::prove::certificate::CertificateState;

fn person(id: &str) -> PersonRef {
    PersonRef { namespace: Namespace::SUBJECT, id: id.to_owned() }
}

fn request(ids: &[&str]) -> EraseRequest {
    EraseRequest {
        id: ErasureId::random().unwrap(),
        persons: ids.iter().map(|id| person(id)).collect(),
        reason: "withdrew".to_owned(),
        request: Some("dsr-1".to_owned()),
        by: Asker { key: 1, label: "dpo".to_owned() },
        also: Vec::new(),
    }
}

/// Waits for an erasure to be complete.
fn complete(ledger: &Ledger, id: ErasureId) {
    ledger.shred_now();
    for _ in 0..2_000 {
        let certificate = ledger.certificate(id).unwrap().unwrap();
        if certificate.state == CertificateState::Complete {
            return;
        }
        assert!(ledger.is_running());
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("the erasure is not complete");
}

fn states(ledger: &Ledger, index: u64) -> Vec<(String, &'static str)> {
    let stored = ledger.snapshot().event(index, Access::Personal).unwrap().unwrap();
    stored.parts.iter().map(|part| (part.role.name().into_owned(), part.content.state())).collect()
}

fn is(state: &'static str) -> Vec<(String, &'static str)> {
    vec![("open".to_owned(), "open"), ("subject".to_owned(), state)]
}

#[test]
fn an_erased_person_is_withheld_at_once_and_gone_after_the_shred() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let ledger = bench.open().unwrap();
    let events = (0..700).map(|n| event(&format!("e{n}"), &format!("s{}", n % 7), n)).collect();
    let appended: Vec<Appended> = append(&ledger, events).into_iter().map(Result::unwrap).collect();
    let erasure = request(&["s3"]);
    let erased = ledger.erase(&erasure).unwrap();
    assert_eq!((erased.persons, erased.unknown), (1, 0));
    for each in &appended {
        let at = if each.id.trim_start_matches('e').parse::<u64>().unwrap() % 7 == 3 {
            "withheld"
        } else {
            "open"
        };
        assert_eq!(states(&ledger, each.index), is(at), "{}", each.id);
    }
    let certificate = ledger.certificate(erasure.id).unwrap().unwrap();
    assert_eq!(certificate.state, CertificateState::Pending);
    complete(&ledger, erasure.id);
    let check = |ledger: &Ledger| {
        for each in &appended {
            let at = if each.id.trim_start_matches('e').parse::<u64>().unwrap() % 7 == 3 {
                "erased"
            } else {
                "open"
            };
            assert_eq!(states(ledger, each.index), is(at), "{}", each.id);
        }
    };
    check(&ledger);
    let certificate = ledger.certificate(erasure.id).unwrap().unwrap();
    assert_eq!((certificate.destroyed.parts, certificate.destroyed.events), (100, 100));
    // A later event for the identifier starts somebody new.
    let later = append(&ledger, vec![event("later", "s3", 1)]).remove(0).unwrap();
    assert_eq!(states(&ledger, later.index), is("open"));
    assert_eq!(ledger.returned(erasure.id).unwrap(), 1);
    // Sent again, an erased event is compared as far as it can be.
    let again = append(&ledger, vec![event("e3", "s3", 3)]).remove(0).unwrap();
    let compared = again.replayed.unwrap();
    assert_eq!((compared.equal.len(), compared.not_compared.len()), (1, 1));
    ledger.close().unwrap();
    let ledger = bench.open().unwrap();
    check(&ledger);
    assert_eq!(states(&ledger, later.index), is("open"));
    // And the new one can be erased in turn.
    let second = request(&["s3"]);
    ledger.erase(&second).unwrap();
    complete(&ledger, second.id);
    assert_eq!(states(&ledger, later.index), is("erased"));
    check(&ledger);
    ledger.close().unwrap();
    check_published_log(&bench);
    assert!(bench.warnings.lock().unwrap().is_empty(), "{:?}", bench.warnings.lock().unwrap());
}
