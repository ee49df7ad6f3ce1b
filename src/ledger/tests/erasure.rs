//! Erasing persons, on storage that comes back after crashes.

use super::*;
use crate::event::facet::Role;
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
fn complete(bench: &Bench, ledger: &Ledger, id: ErasureId) {
    ledger.shred_now();
    for _ in 0..2_000 {
        let certificate = ledger.certificate(id).unwrap().unwrap();
        if certificate.state == CertificateState::Complete {
            return;
        }
        let warnings = bench.warnings.lock().unwrap().clone();
        let has_failed = warnings.iter().any(|warning| warning.contains("cannot be carried out"));
        assert!(ledger.is_running() && !has_failed, "{warnings:?}");
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
    complete(&bench, &ledger, erasure.id);
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
    complete(&bench, &ledger, second.id);
    assert_eq!(states(&ledger, later.index), is("erased"));
    check(&ledger);
    ledger.close().unwrap();
    check_published_log(&bench);
    assert!(bench.warnings.lock().unwrap().is_empty(), "{:?}", bench.warnings.lock().unwrap());
}

/// What may have become of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Nobody asked for it to go.
    Stays,
    /// Somebody asked, and got no answer.
    MayBeGone,
    /// It is gone, or on its way.
    Goes,
}

/// What was asked of a ledger, and what was acknowledged.
#[derive(Debug, Default)]
struct Model {
    /// Index and subject of each acknowledged event.
    events: BTreeMap<u64, String>,
    /// Subject, first index that its erasure does not reach, and its id where it was acknowledged.
    erasures: Vec<(String, u64, Option<ErasureId>)>,
    /// Parts that were pruned, and whether that was acknowledged.
    prunes: BTreeMap<(u64, Role), bool>,
}

impl Model {
    fn erasure(&self, index: u64, subject: &str) -> Fate {
        let reaching = self.erasures.iter().filter(|(who, end, _)| who == subject && index < *end);
        let fates = reaching.map(|(_, _, id)| if id.is_some() { Fate::Goes } else { Fate::MayBeGone });
        fates.max().unwrap_or(Fate::Stays)
    }

    fn prune(&self, index: u64, role: Role) -> Fate {
        match self.prunes.get(&(index, role)) {
            None => Fate::Stays,
            Some(false) => Fate::MayBeGone,
            Some(true) => Fate::Goes,
        }
    }

    /// Holds every part of every acknowledged event against what was asked.
    fn check(&self, ledger: &Ledger, is_settled: bool, about: &str) {
        let snapshot = ledger.snapshot();
        for (index, subject) in &self.events {
            let stored = match snapshot.event(*index, Access::Personal) {
                Ok(stored) => stored.unwrap(),
                // The power may go while it is looked at.
                Err(LedgerError::Store(_) | LedgerError::Vault(_)) if !is_settled => return,
                Err(error) => panic!("{about}: entry {index}: {error}"),
            };
            for part in &stored.parts {
                let is_open_part = part.role == Role::OPEN;
                let erased = if is_open_part { Fate::Stays } else { self.erasure(*index, subject) };
                let pruned = self.prune(*index, part.role);
                let state = part.content.state();
                let allowed = match state {
                    "open" => erased < Fate::Goes && pruned < Fate::Goes,
                    "withheld" => erased > Fate::Stays && !(is_settled && erased == Fate::Goes),
                    "erased" => erased > Fate::Stays,
                    "pruned" => pruned > Fate::Stays,
                    _ => false,
                };
                assert!(
                    allowed,
                    "{about}: entry {index} {} of {subject} is {state}; {erased:?} {pruned:?}",
                    part.role.name()
                );
            }
        }
    }
}

/// One step of a run: appends, erasures, prunes. False where the ledger has stopped.
fn step(ledger: &Ledger, random: &mut Random, model: &mut Model, next_id: &mut u64) -> bool {
    match random.below(10) {
        0..=6 => {
            let widest = if random.below(5) == 0 { 150 } else { 4 };
            let count = 1 + random.below(widest);
            let subjects: Vec<String> = (0..count).map(|_| format!("s{}", random.below(9))).collect();
            let events = subjects.iter().map(|subject| {
                *next_id += 1;
                event(&format!("e{next_id}"), subject, *next_id)
            });
            let answers = append(ledger, events.collect());
            for (answer, subject) in answers.into_iter().zip(subjects) {
                let Ok(appended) = answer else { return false };
                model.events.insert(appended.index, subject);
            }
            true
        }
        7 | 8 => {
            let subject = format!("s{}", random.below(9));
            let erasure = request(&[&subject]);
            match ledger.erase(&erasure) {
                Ok(erased) => {
                    model.erasures.push((subject, erased.entry, Some(erasure.id)));
                    if random.below(2) == 0 {
                        ledger.shred_now();
                    }
                    true
                }
                Err(EraseError::NobodyKnown) => true,
                Err(_) => {
                    model.erasures.push((subject, u64::MAX, None));
                    false
                }
            }
        }
        _ => {
            let indexes: Vec<u64> = model.events.keys().copied().collect();
            if indexes.is_empty() {
                return true;
            }
            let parts: Vec<(u64, Role)> = (0..=random.below(6))
                .map(|_| {
                    let at = usize::try_from(random.below(indexes.len() as u64)).unwrap();
                    let subject = Role::from_name("subject").unwrap();
                    (indexes[at], if random.below(2) == 0 { Role::OPEN } else { subject })
                })
                .collect();
            let rules = br#"[{"id":"r","types":["*"],"parts":["*"],"keep":"P1D","from":"recorded"}]"#;
            let Ok(table) = ledger.set_retention(&parse(rules, &JsonLimits::default()).unwrap()) else {
                return false;
            };
            let pruned = match ledger.shared.prune(&parts, table.index, 1) {
                Ok(_) => true,
                Err(LedgerError::Shredding) => return true,
                Err(_) => false,
            };
            for part in parts {
                let acknowledged = model.prunes.entry(part).or_default();
                *acknowledged |= pruned;
            }
            pruned
        }
    }
}

/// Random appends, erasures and prunes on storage that loses power, held against [`Model`].
fn survive_erasures(seed: u64) {
    let faulty = Arc::new(FaultyStorage::new(seed));
    let mut bench = Bench::new(Arc::clone(&faulty) as Arc<dyn Storage>);
    bench.options.shred_interval_ms = 0;
    let mut random = Random(seed * 2 + 1);
    let (mut model, mut next_id) = (Model::default(), 0);
    for round in 0..5 {
        let about = format!("seed {seed} round {round}");
        let ledger = bench.open().unwrap_or_else(|error| panic!("{about}: {error}"));
        model.check(&ledger, false, &about);
        if random.below(4) > 0 {
            faulty.cut_power_after(20 + random.below(400));
        }
        for _ in 0..25 {
            if !step(&ledger, &mut random, &mut model, &mut next_id) {
                break;
            }
            if random.below(4) == 0 && ledger.is_running() {
                model.check(&ledger, false, &about);
            }
        }
        let _ = ledger.close();
        drop(ledger);
        // What was asked and not answered reaches no event that comes later.
        for (_, end, _) in model.erasures.iter_mut().filter(|(_, end, _)| *end == u64::MAX) {
            *end = model.events.keys().next_back().map_or(0, |last| last + 1);
        }
        faulty.crash();
    }
    let ledger = bench.open().unwrap();
    for (_, _, id) in &model.erasures {
        if let Some(id) = id {
            complete(&bench, &ledger, *id);
        }
    }
    model.check(&ledger, true, &format!("seed {seed} at the end"));
    ledger.close().unwrap();
    check_published_log(&bench);
}

#[test]
fn erasures_and_prunes_hold_through_power_cuts() {
    for seed in 1..=24 {
        survive_erasures(seed);
    }
}
