//! Retention tables and holds, over a ledger whose clock stands where a test puts it.

use super::*;
use crate::clock::FixedClock;
use crate::event::facet::Role;
use crate::event::json::Value;
use crate::event::time;
use crate::ledger::duties::DutyError;
use crate::ledger::retention::Evaluation;
use crate::ledger::retention::Standing;
use crate::ledger::retention::job::Keeper;

fn us(text: &str) -> u64 {
    u64::try_from(time::unix_us(text).unwrap()).unwrap()
}

/// A ledger and the clock it goes by.
struct Dated {
    bench: Bench,
    clock: Arc<FixedClock>,
}

impl Dated {
    fn at(text: &str) -> Self {
        let clock = Arc::new(FixedClock::at(us(text)));
        let mut bench = Bench::new(Arc::new(MemoryStorage::default()));
        bench.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        Self { bench, clock }
    }

    fn set(&self, text: &str) {
        self.clock.set(us(text));
    }
}

fn sent(text: &str) -> Event {
    from_value(parse(text.as_bytes(), &JsonLimits::default()).unwrap()).unwrap()
}

fn collected(id: &str, subject: &str) -> Event {
    sent(&format!(
        r#"{{"id":"{id}","org":"acme","producer":"crm","type":"data.collected","subject":"{subject}",
        "categories":["audioprint"],"source":"subject","purpose":"security"}}"#
    ))
}

fn accessed(id: &str, subject: &str, actor: &str) -> Event {
    sent(&format!(
        r#"{{"id":"{id}","org":"acme","producer":"crm","type":"data.accessed","subject":"{subject}",
        "actor":"{actor}","actor_role":"agent","operation":"read","purpose":"support",
        "categories":["contact"]}}"#
    ))
}

fn account(id: &str, subject: &str, state: &str, at: &str) -> Event {
    sent(&format!(
        r#"{{"id":"{id}","org":"acme","producer":"crm","type":"account.changed","subject":"{subject}",
        "state":"{state}","at":"{at}"}}"#
    ))
}

fn add(ledger: &Ledger, events: Vec<Event>) -> Vec<u64> {
    append(ledger, events).into_iter().map(|each| each.unwrap().index).collect()
}

fn rules(text: &str) -> Value {
    parse(text.as_bytes(), &JsonLimits::default()).unwrap()
}

type Parts = Vec<(u64, Role)>;

/// What a pass gives away to be pruned, with the table and the moment; nothing is taken away.
fn pass(ledger: &Ledger) -> (Parts, u64) {
    let given: Arc<Mutex<Parts>> = Arc::default();
    let into = Arc::clone(&given);
    let newest = ledger.retention().map_or(0, |set| set.index);
    let now_us = ledger.shared.clock.now_us();
    let prune = move |_: &Shared, parts: &[(u64, Role)], settings: u64, cutoff_us: u64| {
        assert_eq!((settings, cutoff_us), (newest, now_us));
        into.lock().unwrap().extend_from_slice(parts);
        Ok(0)
    };
    let report = Keeper::new(Arc::clone(&ledger.shared), Box::new(prune)).pass().unwrap();
    let given = given.lock().unwrap().clone();
    assert_eq!((report.pruned, report.failure), (given.len() as u64, None));
    (given, report.held)
}

fn parts(at: &[(u64, &str)]) -> Parts {
    at.iter().map(|(index, role)| (*index, Role::from_name(role).unwrap())).collect()
}

fn person(namespace: Namespace, id: &str) -> PersonRef {
    PersonRef { namespace, id: id.to_owned() }
}

fn hold_for(persons: Vec<PersonRef>) -> NewHold {
    NewHold { persons, reason: "PLANTED-REASON".to_owned(), ..NewHold::default() }
}

const DPO: By<'_> = By { number: 7, label: "PLANTED-LABEL" };

const BIOMETRIC: &str = r#"[
    {"id":"RET-BIO-3Y","types":["data.collected"],"parts":["subject"],"keep":"P3Y","from":"last-event"},
    {"id":"RET-ACCESS","types":["data.accessed"],"parts":["actor","open"],"keep":"P1Y","from":"recorded"}]"#;

#[test]
fn three_years_without_an_event_and_not_a_day_sooner() {
    let dated = Dated::at("2020-02-29T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let first = add(&ledger, vec![collected("a", "s1"), collected("b", "s2")]);
    dated.set("2020-03-01T10:00:00Z");
    let access = add(&ledger, vec![accessed("c", "s1", "u1")])[0];
    ledger.set_retention(&rules(BIOMETRIC)).unwrap();
    dated.set("2021-03-01T23:59:59Z");
    assert_eq!(pass(&ledger), (Vec::new(), 0));
    dated.set("2021-03-02T00:00:00Z");
    assert_eq!(pass(&ledger), (parts(&[(access, "open"), (access, "actor")]), 0));
    dated.set("2023-02-28T23:59:59Z");
    assert_eq!(pass(&ledger).0.len(), 2);
    // s2 was last heard of on a leap day; s1 a day later.
    dated.set("2023-03-01T00:00:00Z");
    let due = parts(&[(first[1], "subject"), (access, "open"), (access, "actor")]);
    assert_eq!(pass(&ledger), (due, 0));
    dated.set("2023-03-02T00:00:00Z");
    assert_eq!(pass(&ledger).0.len(), 4, "both");
    add(&ledger, vec![accessed("d", "s2", "u1")]);
    let due = parts(&[(first[0], "subject"), (access, "open"), (access, "actor")]);
    assert_eq!(pass(&ledger).0, due, "s2 was heard of again");
    ledger.set_retention(&rules("[]")).unwrap();
    assert_eq!(pass(&ledger), (Vec::new(), 0), "no rule keeps everything");
    ledger.close().unwrap();
}

#[test]
fn seven_years_from_the_end_of_the_contract_unless_it_goes_on() {
    let dated = Dated::at("2018-01-10T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let table = r#"[{"id":"ALU-7Y","types":["data.collected"],"parts":["subject","open"],"keep":"P7Y",
        "not_before":"2025-05-25","from":{"type":"account.changed","state":"terminated"}}]"#;
    ledger.set_retention(&rules(table)).unwrap();
    let [ended, came_back, never] =
        add(&ledger, vec![collected("a", "s1"), collected("b", "s2"), collected("c", "s3")])[..]
    else {
        panic!("three events")
    };
    dated.set("2018-02-01T10:00:00Z");
    add(
        &ledger,
        vec![
            account("d", "s1", "terminated", "2018-01-31T10:00:00Z"),
            account("e", "s2", "terminated", "2018-01-31T10:00:00Z"),
            account("f", "s2", "reactivated", "2018-02-01T09:00:00Z"),
        ],
    );
    dated.set("2025-05-24T23:59:59Z");
    assert_eq!(pass(&ledger), (Vec::new(), 0), "not before 25 May 2025");
    dated.set("2025-05-25T00:00:00Z");
    assert_eq!(pass(&ledger).0, parts(&[(ended, "open"), (ended, "subject")]));
    let set = ledger.retention().unwrap();
    let snapshot = ledger.snapshot();
    let mut waiting = Vec::new();
    let holds = ledger.shared.duties.holds.load_full();
    let now_us = ledger.shared.clock.now_us();
    let mut evaluation = Evaluation::new(&snapshot, &set.table, &holds, now_us).unwrap();
    for index in 0..evaluation.end().unwrap() {
        let mut note = |found: &crate::ledger::retention::Found<'_>| {
            if found.standing == Standing::Waiting {
                waiting.push(found.index);
            }
        };
        evaluation.look(index, &mut note).unwrap();
    }
    assert_eq!(waiting, [came_back, came_back, never, never]);
    ledger.close().unwrap();
}

#[test]
fn the_stated_time_counts_where_the_rule_says_so() {
    let dated = Dated::at("2024-06-01T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let table = r#"[{"id":"STATED","types":["*"],"parts":["subject"],"keep":"P1M","from":"occurred"}]"#;
    ledger.set_retention(&rules(table)).unwrap();
    let events = (0..600).map(|n| {
        let day = if n == 300 || n == 599 { 1 } else { 31 };
        account(
            &format!("e{n}"),
            &format!("s{}", n % 5),
            "created",
            &format!("2024-05-{day:02}T08:00:00Z"),
        )
    });
    let indexes = add(&ledger, events.collect());
    dated.set("2024-06-02T00:00:00Z");
    let due = parts(&[(indexes[300], "subject"), (indexes[599], "subject")]);
    assert_eq!(pass(&ledger).0, due);
    dated.set("2024-06-30T23:59:59Z");
    assert_eq!(pass(&ledger).0, due);
    ledger.close().unwrap();
    drop(ledger);
    let ledger = dated.bench.open().unwrap();
    let bundle = indexes[300] / 256;
    assert!(ledger.shared.index.aside(bundle).unwrap().is_some(), "its times are kept aside");
    ledger.shared.forget_times(bundle).unwrap();
    assert!(ledger.shared.index.aside(bundle).unwrap().is_none());
    assert_eq!(pass(&ledger).0, due, "opened where nothing is kept aside");
    ledger.close().unwrap();
}

#[test]
fn a_hold_keeps_every_part_of_what_it_meets_until_it_is_released() {
    let dated = Dated::at("2020-01-01T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let all = r#"[{"id":"A","types":["*"],"parts":["*"],"keep":"P1Y","from":"recorded"}]"#;
    ledger.set_retention(&rules(all)).unwrap();
    // Nobody has heard of s9 yet.
    let unknown = hold_for(vec![person(Namespace::SUBJECT, "s9"), person(Namespace::SUBJECT, "s8")]);
    let unknown = ledger.place_hold(&unknown, DPO).unwrap();
    let request = NewHold { request: Some("r2".to_owned()), ..hold_for(Vec::new()) };
    let request = ledger.place_hold(&request, DPO).unwrap();
    let deleted = |id: &str, subject: &str, request: &str| {
        sent(&format!(
            r#"{{"id":"{id}","org":"acme","producer":"crm","type":"data.deleted","subject":"{subject}",
            "holder":"self","complete":true,"method":"automatic","request":"{request}"}}"#
        ))
    };
    let one = add(
        &ledger,
        vec![accessed("a", "s9", "u1"), deleted("b", "s2", "r2"), deleted("c", "s3", "r3")],
    );
    dated.set("2020-03-01T10:00:00Z");
    let late = add(&ledger, vec![deleted("d", "s4", "r4")])[0];
    let span = NewHold {
        from_us: Some(us("2020-02-01T00:00:00Z")),
        to_us: Some(us("2020-04-01T00:00:00Z")),
        ..hold_for(vec![person(Namespace::SUBJECT, "s4"), person(Namespace::SUBJECT, "s3")])
    };
    let span = ledger.place_hold(&span, DPO).unwrap();
    dated.set("2022-01-01T00:00:00Z");
    let only = parts(&[(one[2], "open"), (one[2], "subject")]);
    // Held: three parts of a, two of b, two of d; s3 is held in another time than c's.
    assert_eq!(pass(&ledger), (only.clone(), 7));
    ledger.close().unwrap();
    drop(ledger);

    let ledger = dated.bench.open().unwrap();
    assert_eq!(pass(&ledger), (only.clone(), 7), "a restart keeps them");
    assert_eq!(ledger.retention().unwrap().table.rules()[0].id, "A");
    let snapshot = ledger.snapshot();
    let key = |namespace, id: &str| ledger.shared.directory.key_of(&person(namespace, id));
    let stops = |namespace, id: &str, entries: &[u64]| {
        ledger.shared.holds_on_person(&snapshot, &key(namespace, id), entries).unwrap()
    };
    assert_eq!(stops(Namespace::SUBJECT, "s9", &[]), [unknown.id]);
    assert_eq!(stops(Namespace::ACTOR, "s9", &[]), [], "another namespace is another person");
    assert_eq!(stops(Namespace::SUBJECT, "s2", &[one[1]]), [request.id]);
    assert_eq!(stops(Namespace::SUBJECT, "s2", &[one[2]]), []);
    assert_eq!(stops(Namespace::SUBJECT, "s4", &[late]), [span.id]);
    assert_eq!(stops(Namespace::SUBJECT, "s3", &[one[2]]), [], "not in its time");
    let refused = ledger.shared.record_refusal([5; 16], &[unknown.id], DPO, "art. 17 request").unwrap();
    let EntryBody::Settings(body) = ledger.snapshot().decoded(refused).unwrap().unwrap().1.body else {
        panic!("a settings entry")
    };
    let body = rules(std::str::from_utf8(&body).unwrap());
    assert_eq!(body.as_object().unwrap().get("what").unwrap().as_str(), Some("refusal"));
    for hold in [&unknown, &request] {
        ledger.release_hold(hold.id, "over", DPO).unwrap();
    }
    let again = ledger.release_hold(unknown.id, "over", DPO);
    assert!(matches!(again, Err(DutyError::Released { .. })), "{again:?}");
    assert_eq!(pass(&ledger).1, 2, "d alone is held");
    ledger.close().unwrap();
    drop(ledger);
    let ledger = dated.bench.open().unwrap();
    assert_eq!((pass(&ledger).1, ledger.holds_active(), ledger.holds().len()), (2, 1, 3));
    ledger.close().unwrap();
    check_published_log(&dated.bench);
}

#[test]
fn words_are_sealed_and_a_hold_stands_without_them() {
    let dated = Dated::at("2020-01-01T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let new = NewHold {
        request: Some("PLANTED-REQUEST".to_owned()),
        reference: Some("PLANTED-REFERENCE".to_owned()),
        ..hold_for(vec![person(Namespace::SUBJECT, "PLANTED-PERSON")])
    };
    let hold = ledger.place_hold(&new, DPO).unwrap();
    let released = ledger.release_hold(hold.id, "PLANTED-RELEASE", DPO).unwrap();
    let other = ledger.place_hold(&hold_for(vec![person(Namespace::ACTOR, "u1")]), DPO).unwrap();
    ledger.shared.record_refusal([5; 16], &[hold.id], DPO, "PLANTED-REFUSAL").unwrap();
    let (words, end) = ledger.words_of(&released).unwrap();
    let (words, end) = (words.unwrap(), end.unwrap());
    assert_eq!((words.reason.as_str(), words.label.as_str()), ("PLANTED-REASON", "PLANTED-LABEL"));
    assert_eq!(
        (words.reference.as_deref(), end.reason.as_str()),
        (Some("PLANTED-REFERENCE"), "PLANTED-RELEASE")
    );
    ledger.close().unwrap();
    drop(ledger);
    let mut bytes = Vec::new();
    collect_files(&*dated.bench.storage, "", &mut bytes);
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(!holds(b"PLANTED") && holds(hold.id.to_string().as_bytes()));
    // Its file is gone, another's is changed: both stand.
    let storage = &dated.bench.storage;
    storage.remove(&format!("ledgers/main/holds/{}.placed", hold.id)).unwrap();
    let path = format!("ledgers/main/holds/{}.placed", other.id);
    flip(&**storage, &path, 20);
    let ledger = dated.bench.open().unwrap();
    assert_eq!((ledger.holds_active(), ledger.holds().len()), (1, 2));
    for hold in ledger.holds() {
        assert_eq!(ledger.words_of(&hold).unwrap().0, None);
    }
    let key = ledger.shared.directory.key_of(&person(Namespace::ACTOR, "u1"));
    assert_eq!(ledger.shared.holds_on_person(&ledger.snapshot(), &key, &[]).unwrap(), [other.id]);
    ledger.close().unwrap();
}

#[test]
fn a_hold_placed_while_a_pass_runs_is_kept() {
    let dated = Dated::at("2020-01-01T10:00:00Z");
    let ledger = Arc::new(dated.bench.open().unwrap());
    let all = r#"[{"id":"A","types":["*"],"parts":["subject"],"keep":"P1Y","from":"recorded"}]"#;
    ledger.set_retention(&rules(all)).unwrap();
    let events = (0..10_500).map(|n| collected(&format!("e{n}"), &format!("s{n}")));
    let mut indexes = Vec::new();
    for chunk in events.collect::<Vec<_>>().chunks(1_000) {
        indexes.extend(add(&ledger, chunk.to_vec()));
    }
    dated.set("2022-01-01T00:00:00Z");
    let given: Arc<Mutex<Parts>> = Arc::default();
    let (into, placing, clock) = (Arc::clone(&given), Arc::clone(&ledger), Arc::clone(&dated.clock));
    let placed: Mutex<Option<std::thread::JoinHandle<()>>> = Mutex::new(None);
    let prune = move |_: &Shared, parts: &[(u64, Role)], _: u64, _: u64| {
        into.lock().unwrap().extend_from_slice(parts);
        placed.lock().unwrap().get_or_insert_with(|| {
            // The job has the lock, so the hold waits for the end of this prune. Then the job rests as
            // long as it seems to have worked, and the hold is placed meanwhile.
            clock.set(clock.now_us() + 5_000_000);
            let placing = Arc::clone(&placing);
            let new = hold_for(vec![person(Namespace::SUBJECT, "s10400")]);
            std::thread::spawn(move || drop(placing.place_hold(&new, DPO).unwrap()))
        });
        Ok(0)
    };
    let mut keeper = Keeper::new(Arc::clone(&ledger.shared), Box::new(prune));
    assert_eq!(keeper.pass().unwrap().pruned, 10_499);
    let given = given.lock().unwrap().clone();
    assert!(!given.contains(&(indexes[10_400], Role::from_name("subject").unwrap())));
    drop(keeper);
    ledger.close().unwrap();
}

#[test]
fn what_holds_nothing_is_refused() {
    let dated = Dated::at("2020-01-01T10:00:00Z");
    let ledger = dated.bench.open().unwrap();
    let size = ledger.size();
    let bad = [
        hold_for(Vec::new()),
        NewHold { reason: " ".to_owned(), ..hold_for(vec![person(Namespace::SUBJECT, "s")]) },
        NewHold { request: Some(String::new()), ..hold_for(Vec::new()) },
        NewHold { from_us: Some(5), to_us: Some(5), ..hold_for(Vec::new()) },
        NewHold { to_us: Some(1 << 60), ..hold_for(Vec::new()) },
        hold_for((0..501).map(|n| person(Namespace::SUBJECT, &n.to_string())).collect()),
    ];
    for new in &bad {
        assert!(matches!(ledger.place_hold(new, DPO), Err(DutyError::Hold { .. })), "{new:?}");
    }
    let missing = ledger.release_hold(HoldId([1; 16]), "over", DPO);
    assert!(matches!(missing, Err(DutyError::NoSuchHold)));
    let many = hold_for((0..500).map(|n| person(Namespace::SUBJECT, &n.to_string())).collect());
    assert_eq!(ledger.size(), size, "nothing was recorded");
    assert_eq!(ledger.place_hold(&many, DPO).unwrap().persons.len(), 500, "the most one entry takes");
    ledger.close().unwrap();
}
