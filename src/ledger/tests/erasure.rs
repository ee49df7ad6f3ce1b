//! Erasing persons, on storage that comes back after crashes.

use super::*;
use crate::clock::FixedClock;
use crate::event::facet::Role;
use crate::ledger::retention::job::Keeper;
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

/// Whether a hold is on a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    By(HoldId),
    /// One was placed or released, and nobody got an answer.
    Perhaps,
}

/// An acknowledged event: whose it is, and the day on which it was recorded.
#[derive(Debug)]
struct Sent {
    subject: String,
    day: u64,
}

/// What was asked of a ledger, and what was acknowledged.
#[derive(Debug, Default)]
struct Model {
    /// Days since 1970.
    day: u64,
    /// By log index.
    events: BTreeMap<u64, Sent>,
    /// Subject, first index that its erasure does not reach, and its id where it was acknowledged.
    erasures: Vec<(String, u64, Option<ErasureId>)>,
    /// By subject.
    holds: BTreeMap<String, Held>,
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

    /// What [`TABLE`] says is due today and nothing holds, and whether that is sure: one day is kept until
    /// the second one is over. A hold reaches no event that an erasure has parted from its person.
    fn due(&self) -> Vec<(u64, Role, bool)> {
        let kept_days = [(Role::from_name("subject").unwrap(), 1), (Role::OPEN, 3)];
        let mut due = Vec::new();
        for (index, sent) in &self.events {
            let fate = self.erasure(*index, &sent.subject);
            let is_held = self.holds.contains_key(&sent.subject);
            if !is_held || fate > Fate::Stays {
                let roles = kept_days.iter().filter(|(_, days)| sent.day + days < self.day);
                let is_sure = !is_held || fate == Fate::Goes;
                due.extend(roles.map(|(role, _)| (*index, *role, is_sure)));
            }
        }
        due
    }

    /// Holds that were answered are there after a restart; of the others it is seen whether they are.
    fn settle_holds(&mut self, ledger: &Ledger, about: &str) {
        let snapshot = ledger.snapshot();
        for subject in (0..SUBJECTS).map(|n| format!("s{n}")) {
            let key = ledger.shared.directory.key_of(&person(&subject));
            let found = ledger.shared.holds_on_person(&snapshot, &key, &[]);
            // The power may go while it is looked at.
            let Ok(found) = found else { return };
            match self.holds.get(&subject) {
                Some(Held::Perhaps) => {
                    let held = found.first().map(|id| (subject.clone(), Held::By(*id)));
                    self.holds.remove(&subject);
                    self.holds.extend(held);
                }
                Some(Held::By(id)) => assert_eq!(found, [*id], "{about}: {subject}"),
                None => assert_eq!(found, [], "{about}: {subject}"),
            }
        }
    }

    /// Holds every part of every acknowledged event against what was asked.
    fn check(&self, ledger: &Ledger, is_settled: bool, about: &str) {
        let snapshot = ledger.snapshot();
        for (index, Sent { subject, .. }) in &self.events {
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

/// What is kept a day, and three.
const TABLE: &str = r#"[{"id":"P","types":["*"],"parts":["subject"],"keep":"P1D","from":"recorded"},
    {"id":"O","types":["*"],"parts":["open"],"keep":"P3D","from":"recorded"}]"#;

const SUBJECTS: u64 = 9;

const DAY_US: u64 = 86_400_000_000;

/// A run: a ledger, and what it was asked.
struct Run<'a> {
    ledger: &'a Ledger,
    clock: &'a FixedClock,
    random: &'a mut Random,
    model: &'a mut Model,
    next_id: &'a mut u64,
}

impl Run<'_> {
    /// One step; false where the ledger has stopped.
    fn step(&mut self) -> bool {
        // So that the fold publishes in between.
        self.clock.set(self.clock.now_us() + 2_000_000);
        match self.random.below(12) {
            0..=6 => self.append(),
            7 | 8 => self.erase(),
            9 | 10 => self.hold_or_release(),
            _ => self.prune(),
        }
    }

    fn subject(&mut self) -> String {
        format!("s{}", self.random.below(SUBJECTS))
    }

    fn append(&mut self) -> bool {
        let widest = if self.random.below(5) == 0 { 150 } else { 4 };
        let count = 1 + self.random.below(widest);
        let subjects: Vec<String> = (0..count).map(|_| self.subject()).collect();
        let events = subjects.iter().map(|subject| {
            *self.next_id += 1;
            event(&format!("e{}", self.next_id), subject, *self.next_id)
        });
        let answers = append(self.ledger, events.collect());
        for (answer, subject) in answers.into_iter().zip(subjects) {
            let Ok(appended) = answer else { return false };
            self.model.events.insert(appended.index, Sent { subject, day: self.model.day });
        }
        true
    }

    fn erase(&mut self) -> bool {
        let subject = self.subject();
        let erasure = request(&[&subject]);
        let is_held = self.model.holds.contains_key(&subject);
        match self.ledger.erase(&erasure) {
            Ok(erased) => {
                assert!(!is_held, "{subject} is held");
                self.model.erasures.push((subject, erased.entry, Some(erasure.id)));
                if self.random.below(2) == 0 {
                    self.ledger.shred_now();
                }
                true
            }
            Err(EraseError::NobodyKnown) => true,
            Err(EraseError::Held { .. }) => {
                assert!(is_held, "{subject} is not held");
                true
            }
            Err(_) if is_held => false,
            Err(_) => {
                self.model.erasures.push((subject, u64::MAX, None));
                false
            }
        }
    }

    fn hold_or_release(&mut self) -> bool {
        let subject = self.subject();
        let by = By { number: 1, label: "dpo" };
        if let Some(Held::By(id)) = self.model.holds.get(&subject).copied() {
            let is_released = self.ledger.release_hold(id, "over", by).is_ok();
            self.model.holds.remove(&subject);
            if !is_released {
                self.model.holds.insert(subject, Held::Perhaps);
            }
            return is_released;
        }
        let new = NewHold { persons: vec![person(&subject)], ..NewHold::default() };
        let placed = self.ledger.place_hold(&NewHold { reason: "a case".to_owned(), ..new }, by);
        let held = placed.as_ref().map_or(Held::Perhaps, |hold| Held::By(hold.id));
        self.model.holds.insert(subject, held);
        placed.is_ok()
    }

    /// Some days later, a pass of the retention job.
    fn prune(&mut self) -> bool {
        let days = self.random.below(3);
        self.model.day += days;
        self.clock.set(self.clock.now_us() + days * DAY_US);
        if self.ledger.retention().is_none() {
            let table = parse(TABLE.as_bytes(), &JsonLimits::default()).unwrap();
            if self.ledger.set_retention(&table).is_err() {
                return false;
            }
        }
        let pass = Keeper::new(Arc::clone(&self.ledger.shared), Box::new(Shared::prune)).pass();
        let is_pruned = match pass {
            Ok(_) => true,
            Err(LedgerError::Shredding) => return true,
            Err(_) => false,
        };
        for (index, role, is_sure) in self.model.due() {
            *self.model.prunes.entry((index, role)).or_default() |= is_pruned && is_sure;
        }
        is_pruned
    }
}

/// Random appends, erasures, holds and prunes on storage that loses power, held against [`Model`].
fn survive_erasures(seed: u64) -> Model {
    let faulty = Arc::new(FaultyStorage::new(seed));
    let mut bench = Bench::new(Arc::clone(&faulty) as Arc<dyn Storage>);
    bench.options.shred_interval_ms = 0;
    bench.options.retention_interval_ms = u64::MAX;
    let mut model = Model { day: 20_600, ..Model::default() };
    let clock = Arc::new(FixedClock::at(model.day * DAY_US));
    bench.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let (mut random, mut next_id) = (Random(seed * 2 + 1), 0);
    for round in 0..5 {
        let about = format!("seed {seed} round {round}");
        let ledger = bench.open().unwrap_or_else(|error| panic!("{about}: {error}"));
        model.settle_holds(&ledger, &about);
        model.check(&ledger, false, &about);
        if random.below(4) > 0 {
            faulty.cut_power_after(20 + random.below(400));
        }
        for _ in 0..25 {
            let (clock, random) = (&*clock, &mut random);
            let mut run =
                Run { ledger: &ledger, clock, random, model: &mut model, next_id: &mut next_id };
            if !run.step() {
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
    model.settle_holds(&ledger, &format!("seed {seed} at the end"));
    model.check(&ledger, true, &format!("seed {seed} at the end"));
    ledger.close().unwrap();
    check_published_log(&bench);
    model
}

#[test]
fn erasures_holds_and_prunes_stand_through_power_cuts() {
    let (mut erased, mut pruned, mut held) = (0, 0, 0);
    for model in (1..=12).map(survive_erasures) {
        erased += model.erasures.iter().filter(|(_, _, id)| id.is_some()).count();
        pruned += model.prunes.values().filter(|is_acknowledged| **is_acknowledged).count();
        held += model.holds.len();
    }
    assert!(erased > 30 && pruned > 300 && held > 10, "{erased} {pruned} {held}");
}
