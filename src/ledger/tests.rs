//! The whole machine on a storage that loses power, fails and comes back.

mod attachments;
mod duties;
mod erasure;
mod repeats;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::event::envelope::{Event, from_value};
use crate::event::facet::{Facet, Namespace};
use crate::event::json::{JsonLimits, parse};
use crate::event::parts::PersonRef;
use crate::index::{FACET_DIRECTORY, Index, IndexOptions, Row, Term};
use crate::log::hash::Hash;
use crate::log::note::SigningKey;
use crate::log::tile::{BundleId, TileId};
use crate::prove::receipt::PartContent;
use crate::prove::verdict::Verdict;
use crate::prove::verify_log::{LogOptions, LogSource, NoParts, verify_log};
use crate::store::{FaultyStorage, InjectedFault, MemoryStorage, Operation, Storage, StoreError};
use crate::vault::{CustodyError, RootCustody, RootKey, RootKeys};

/// A custodian that survives the crashes of a test.
#[derive(Debug, Clone, Default)]
struct TestCustody(Arc<Mutex<Option<RootKey>>>);

impl RootCustody for TestCustody {
    fn load(&self) -> Result<Option<RootKeys>, CustodyError> {
        let kept = self.0.lock().unwrap().clone();
        Ok(kept.map(|current| RootKeys { current, has_older: false }))
    }
    fn store_new(&mut self, key: &RootKey) -> Result<(), CustodyError> {
        *self.0.lock().unwrap() = Some(key.clone());
        Ok(())
    }
    fn destroy_old(&mut self) -> Result<(), CustodyError> {
        Ok(())
    }
}

/// A ledger that can be opened again and again on one storage.
struct Bench {
    storage: Arc<dyn Storage>,
    custody: TestCustody,
    secrets: Secrets,
    anchor: Option<Arc<dyn Storage>>,
    index: tempfile::TempDir,
    options: LedgerOptions,
    warnings: Arc<Mutex<Vec<String>>>,
    clock: Arc<dyn Clock>,
}

impl Bench {
    fn new(storage: Arc<dyn Storage>) -> Self {
        let key = |byte: u8| zeroize::Zeroizing::new([byte; 32]);
        let bench = Self {
            storage,
            custody: TestCustody::default(),
            secrets: Secrets { event: key(1), read: key(2), directory: key(3) },
            anchor: None,
            index: tempfile::tempdir().unwrap(),
            options: LedgerOptions {
                publish_interval_ms: 5,
                round_entries: 64,
                ..LedgerOptions::default()
            },
            warnings: Arc::default(),
            clock: Arc::new(SystemClock::default()),
        };
        Ledger::create(&bench.storage, "main", bench.keys()).unwrap();
        bench
    }

    fn keys(&self) -> LedgerKeys {
        LedgerKeys {
            signer: SigningKey::generate_from_seed("ledger.example/main", &[7; 32]).unwrap(),
            certifier: SigningKey::generate_from_seed("ledger.example/main/certificates", &[8; 32])
                .unwrap(),
            secrets: self.secrets.clone(),
            custody: Box::new(self.custody.clone()),
        }
    }

    fn open(&self) -> Result<Ledger, LedgerError> {
        let warnings = Arc::clone(&self.warnings);
        let around = Surroundings {
            storage: Arc::clone(&self.storage),
            anchor: self.anchor.clone(),
            witnessed: Vec::new(),
            index_dir: self.index.path().join("index"),
            clock: Arc::clone(&self.clock),
            on_fatal: Box::new(|_| {}),
            on_warning: Box::new(move |warning| warnings.lock().unwrap().push(warning.to_owned())),
        };
        Ledger::open("main", self.keys(), self.options.clone(), around)
    }
}

impl LogSource for Bench {
    type Error = StoreError;
    fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, StoreError> {
        self.storage.read(&format!("ledgers/main/{}", id.path()))
    }
    fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, StoreError> {
        self.storage.read(&format!("ledgers/main/{}", id.path()))
    }
}

fn event(id: &str, subject: &str, note: u64) -> Event {
    let text = format!(
        r#"{{"id":"{id}","org":"acme","producer":"crm","type":"data.deleted","at":"2026-01-31T09:00:00Z",
        "subject":"{subject}","holder":"self","complete":true,"method":"automatic","request":"r{note}"}}"#
    );
    from_value(parse(text.as_bytes(), &JsonLimits::default()).unwrap()).unwrap()
}

fn append(ledger: &Ledger, events: Vec<Event>) -> Vec<Result<Appended, AppendError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(ledger.append(events.into_iter().map(Ok).collect(), 1, true, true))
}

/// The published log verifies from its files alone.
fn check_published_log(bench: &Bench) {
    let note = bench.storage.read("ledgers/main/checkpoint").unwrap().unwrap();
    let key = bench.keys().signer.verifier();
    let report = verify_log::<_, NoParts>(&note, &key, bench, None, &LogOptions::default(), &mut |_| {});
    assert_eq!(report.verdict(), Verdict::Verified, "{}", String::from_utf8_lossy(&report.to_json()));
}

/// What was acknowledged: id to index and leaf hash.
type Acknowledged = BTreeMap<String, (u64, Hash)>;

fn check_acknowledged(ledger: &Ledger, acknowledged: &Acknowledged) {
    let snapshot = ledger.snapshot();
    for (id, (index, leaf)) in acknowledged {
        let stored = snapshot.event(*index, Access::Personal).unwrap().unwrap();
        assert_eq!(stored.leaf_hash(), *leaf, "{id} at {index}");
        assert!(
            stored.parts.iter().all(|part| matches!(part.content, PartContent::Open { .. })),
            "{id} at {index}: {:?}",
            stored.parts.iter().map(|part| part.content.state()).collect::<Vec<_>>()
        );
        assert_eq!(stored.merged().get("id").unwrap().as_str(), Some(id.as_str()));
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Appends until the power goes, crashes, opens again, and holds everything that had been
/// acknowledged against what is there; ids whose answer was lost are sent again.
fn survive(seed: u64) {
    let faulty = Arc::new(FaultyStorage::new(seed));
    let bench = Bench::new(Arc::clone(&faulty) as Arc<dyn Storage>);
    let mut random = Random(seed * 2 + 1);
    let mut acknowledged = Acknowledged::new();
    let mut next_id = 0_u64;
    for round in 0..4 {
        let ledger = bench.open().unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
        check_acknowledged(&ledger, &acknowledged);
        faulty.cut_power_after(random.below(120));
        for _ in 0..60 {
            let widest = if random.below(4) == 0 { 90 } else { 3 };
            let count = 1 + random.below(widest);
            let events: Vec<Event> = (0..count)
                .map(|_| {
                    if random.below(8) > 0 {
                        next_id += 1;
                    }
                    event(&format!("e{next_id}"), &format!("s{}", next_id % 17), next_id)
                })
                .collect();
            let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
            let mut lost = false;
            for (id, answer) in ids.into_iter().zip(append(&ledger, events)) {
                match answer {
                    Ok(appended) => {
                        let place = (appended.index, appended.leaf_hash);
                        assert_eq!(*acknowledged.entry(id).or_insert(place), place, "seed {seed}");
                    }
                    Err(_) => lost = true,
                }
            }
            if lost {
                break;
            }
        }
        let _ = ledger.close();
        drop(ledger);
        faulty.crash();
    }
    let ledger = bench.open().unwrap();
    check_acknowledged(&ledger, &acknowledged);
    let indexes: std::collections::BTreeSet<u64> =
        acknowledged.values().map(|(index, _)| *index).collect();
    assert_eq!(indexes.len(), acknowledged.len(), "two ids share an index");
    ledger.close().unwrap();
    check_published_log(&bench);
}

#[test]
fn acknowledged_events_survive_power_cuts() {
    for seed in 1..=40 {
        survive(seed);
    }
}

#[test]
fn a_failed_flush_stops_the_ledger_and_nothing_is_acknowledged() {
    let faulty = Arc::new(FaultyStorage::new(3));
    let bench = Bench::new(Arc::clone(&faulty) as Arc<dyn Storage>);
    let ledger = bench.open().unwrap();
    assert!(append(&ledger, vec![event("a", "s", 1)]).pop().unwrap().is_ok());
    faulty.fail_nth(Operation::Sync, 1, InjectedFault::InputOutput);
    assert!(append(&ledger, vec![event("b", "s", 1)]).pop().unwrap().is_err());
    assert!(!ledger.is_running());
    assert!(append(&ledger, vec![event("c", "s", 1)]).pop().unwrap().is_err());
    assert!(ledger.close().is_err());
}

#[test]
fn repeats_conflicts_and_restarts() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let ledger = bench.open().unwrap();
    let first = append(&ledger, vec![event("a", "s1", 1)]).pop().unwrap().unwrap();
    let again = append(&ledger, vec![event("a", "s1", 1)]).pop().unwrap().unwrap();
    assert_eq!((again.index, again.leaf_hash), (first.index, first.leaf_hash));
    assert!(again.replayed.is_some());
    let size = ledger.snapshot().size();
    let other = append(&ledger, vec![event("a", "s1", 2)]).pop().unwrap();
    assert!(matches!(other, Err(AppendError::Conflict { first: 1 })), "{other:?}");
    let twice = append(&ledger, vec![event("x", "s1", 1), event("x", "s1", 1)]);
    assert_eq!(twice[0].as_ref().unwrap().index, twice[1].as_ref().unwrap().index);
    let clash = append(&ledger, vec![event("y", "s1", 1), event("y", "s1", 2)]);
    assert!(clash.iter().all(Result::is_err));
    ledger.close().unwrap();
    drop(ledger);
    let ledger = bench.open().unwrap();
    let replayed = append(&ledger, vec![event("a", "s1", 1)]).pop().unwrap().unwrap();
    assert_eq!(replayed.index, first.index);
    assert!(ledger.snapshot().size() > size, "the conflict left an entry");
    ledger.close().unwrap();
    check_published_log(&bench);
}

#[test]
fn a_lost_index_is_rebuilt_and_answers_the_same() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let person = PersonRef { namespace: Namespace::SUBJECT, id: "s3".to_owned() };
    let found = |ledger: &Ledger| {
        let snapshot = ledger.snapshot();
        let period = crate::event::keys::period_of(snapshot.time_us(0).unwrap().unwrap());
        let keys =
            snapshot.person_keys(&person, Facet::from_name("subject").unwrap(), period, period).unwrap();
        let mut cursor = snapshot.postings(Facet::from_name("subject").unwrap(), &keys[0]).unwrap();
        cursor.collect(1000).unwrap()
    };
    let ledger = bench.open().unwrap();
    for batch in 0..20_u64 {
        let events = (0..50).map(|n| event(&format!("e{}", batch * 50 + n), &format!("s{}", n % 7), n));
        assert!(append(&ledger, events.collect()).iter().all(Result::is_ok));
    }
    let before = found(&ledger);
    assert_eq!(before.len(), 140);
    ledger.close().unwrap();
    drop(ledger);
    std::fs::remove_dir_all(bench.index.path().join("index")).unwrap();
    let ledger = bench.open().unwrap();
    assert_eq!(found(&ledger), before);
    let again = append(&ledger, vec![event("e7", "s0", 7)]).pop().unwrap().unwrap();
    assert!(again.replayed.is_some(), "idempotency outlives the index");
    ledger.close().unwrap();
}

#[test]
fn nothing_personal_is_stored_in_the_clear() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let ledger = bench.open().unwrap();
    let events = (0..600).map(|n| event(&format!("e{n}"), "PLANTED-PERSON", n));
    assert!(append(&ledger, events.collect()).iter().all(Result::is_ok));
    ledger.close().unwrap();
    drop(ledger);
    let mut bytes = Vec::new();
    collect_files(&*bench.storage, "", &mut bytes);
    let index = bench.index.path().join("index");
    for file in std::fs::read_dir(index).unwrap().flatten().filter(|file| file.path().is_file()) {
        bytes.extend(std::fs::read(file.path()).unwrap());
    }
    let holds = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(!holds(&bytes, b"PLANTED-PERSON"));
    bytes.extend_from_slice(b"PLANTED-PERSON");
    assert!(holds(&bytes, b"PLANTED-PERSON"), "the scan finds what is there");
}

fn collect_files(storage: &dyn Storage, dir: &str, into: &mut Vec<u8>) {
    for name in storage.list(dir).unwrap() {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        match storage.read(&path) {
            Ok(Some(bytes)) => into.extend(bytes),
            _ => collect_files(storage, &path, into),
        }
    }
}

#[test]
fn a_missing_directory_is_no_ledger() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let around = Surroundings {
        storage: Arc::new(MemoryStorage::default()),
        anchor: None,
        witnessed: Vec::new(),
        index_dir: Path::new("nowhere").to_path_buf(),
        clock: Arc::new(SystemClock::default()),
        on_fatal: Box::new(|_| {}),
        on_warning: Box::new(|_| {}),
    };
    let opened = Ledger::open("main", bench.keys(), LedgerOptions::default(), around);
    assert!(matches!(opened, Err(LedgerError::NoSuchLedger { .. })));
}

/// Copies every file of one storage into another, as restoring a backup does.
fn copy_files(from: &dyn Storage, dir: &str, to: &dyn Storage) {
    for name in from.list(dir).unwrap() {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        match from.read(&path) {
            Ok(Some(bytes)) => to.write_durable(&path, &bytes).unwrap(),
            _ => copy_files(from, &path, to),
        }
    }
}

#[test]
fn a_restored_old_copy_is_caught_by_the_anchor() {
    let mut bench = Bench::new(Arc::new(MemoryStorage::default()));
    bench.anchor = Some(Arc::new(MemoryStorage::default()));
    let ledger = bench.open().unwrap();
    assert!(append(&ledger, vec![event("a", "s", 1)]).pop().unwrap().is_ok());
    ledger.close().unwrap();
    drop(ledger);
    let backup: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    copy_files(&*bench.storage, "", &*backup);
    let ledger = bench.open().unwrap();
    assert!(append(&ledger, vec![event("b", "s", 1)]).pop().unwrap().is_ok());
    ledger.close().unwrap();
    drop(ledger);
    bench.open().unwrap().close().unwrap();
    bench.storage = backup;
    let opened = bench.open();
    assert!(
        matches!(&opened, Err(LedgerError::Damage { file, .. }) if file.contains("anchor")),
        "{:?}",
        opened.err()
    );
    bench.anchor = None;
    bench.open().expect("without an anchor nothing tells an old copy from the newest").close().unwrap();
}

/// Every row of an index, ascending.
fn rows_of(index: &Index) -> Vec<Row> {
    let mut rows = Vec::new();
    index.each_row(|row| rows.push(row)).unwrap();
    rows
}

/// Puts an index of `rows` in the place of the ledger's, which is closed.
fn replace_index(bench: &Bench, rows: &[Row], size: u64) {
    let dir = bench.index.path().join("index");
    std::fs::remove_dir_all(&dir).unwrap();
    let (index, _) = Index::open(&dir, IndexOptions::new(crate::store::rename_aside)).unwrap();
    let postings = rows.iter().map(|row| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&row.print.to_be_bytes());
        (row.value, Term { facet: row.facet, key })
    });
    index.add(0, &postings.collect::<Vec<_>>()).unwrap();
    index.advance(size);
    index.flush().unwrap();
    index.close().unwrap();
}

#[test]
fn an_index_that_differs_from_the_log_is_found_whichever_way_it_differs() {
    let bench = Bench::new(Arc::new(MemoryStorage::default()));
    let ledger = bench.open().unwrap();
    for number in 0..700_u64 {
        let events = vec![event(&format!("e{number}"), &format!("s{}", number % 3), number)];
        assert!(append(&ledger, events)[0].is_ok());
    }
    ledger.append_system(persons_registered(&ledger)).unwrap();
    let check = ledger.snapshot().check_index(&mut |_| ()).unwrap();
    assert_eq!((check.different, check.persons), (0, 3), "{:?}", check.differences);
    assert!(check.rows > 700 * 3);
    let size = ledger.snapshot().size().0;
    let whole = rows_of(&ledger.shared.index);
    ledger.close().unwrap();
    drop(ledger);
    let at = whole.iter().position(|row| row.value == 400 && row.facet == Facet::REQUEST.0).unwrap();
    let person = whole.iter().position(|row| row.facet == FACET_DIRECTORY).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<Row>)| {
        let mut rows = whole.clone();
        change(&mut rows);
        replace_index(&bench, &rows, size);
        let ledger = bench.open().unwrap();
        let check = ledger.snapshot().check_index(&mut |_| ()).unwrap();
        ledger.close().unwrap();
        check.differences
    };
    assert!(damaged(&|_| ()).is_empty(), "an index made again is the same");
    let missing = damaged(&|rows| {
        rows.remove(at);
    });
    assert_eq!(
        missing,
        [("entry 400".to_owned(), "its key of facet request is not in the index".to_owned())]
    );
    let invented = damaged(&|rows| rows.push(Row { value: 7, ..rows[at] }));
    assert_eq!(invented.len(), 1);
    assert_eq!(invented[0].0, "entry 7");
    assert!(invented[0].1.contains("a key of facet request that it does not have"), "{invented:?}");
    let moved = damaged(&|rows| rows[at].print ^= 1);
    assert_eq!(moved.len(), 2, "the key is missing, and another is there: {moved:?}");
    let slot = damaged(&|rows| rows[person].print ^= 1);
    let place = format!("vault slot {}", whole[person].value);
    // The start may have put a missing row back; the one too many stays.
    assert!(!slot.is_empty() && slot.iter().all(|(found, _)| *found == place), "{slot:?}");
    // What was found damaged is not used by the next start.
    let ledger = bench.open().unwrap();
    assert_eq!(ledger.snapshot().check_index(&mut |_| ()).unwrap().different, 0);
    ledger.close().unwrap();
}

/// The entry that registers every person so far.
fn persons_registered(ledger: &Ledger) -> EntryBody {
    let persons = ledger.shared.directory.unregistered(fold::REGISTRATION_PERSONS_MAX);
    let through_slot = persons.last().unwrap().slot.0 + 1;
    let mut pairs: Vec<_> = persons.iter().map(|each| (each.directory_key, each.commitment())).collect();
    pairs.sort_unstable();
    EntryBody::PersonsRegistered { through_slot, persons: pairs }
}

/// The file at `path` with one bit of the byte at `at` turned.
fn flip(storage: &dyn Storage, path: &str, at: usize) {
    let mut bytes = storage.read(path).unwrap().unwrap();
    bytes[at] ^= 0x40;
    storage.write(path, &bytes).unwrap();
}

#[test]
fn an_event_read_alone_is_whole_or_its_file_is_named_as_damaged() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let bench = Bench::new(Arc::clone(&storage));
    let ledger = bench.open().unwrap();
    for first in (0..600).step_by(100) {
        let events = (first..first + 100).map(|n| event(&format!("e{n}"), &format!("s{n}"), n));
        assert!(append(&ledger, events.collect()).iter().all(Result::is_ok));
    }
    ledger.close().unwrap();
    drop(ledger);
    let ledger = bench.open().unwrap();
    let snapshot = ledger.snapshot();
    let read = |index| snapshot.event(index, Access::Personal).map(|found| found.unwrap().merged());
    let (bundle, sealed, tile) =
        ("ledgers/main/tile/entries/000", "ledgers/main/sealed/000", "ledgers/main/tile/0/000");
    // Entry 0 is the ledger's own; entry 7 is an event with an open and a subject's part.
    let good = read(7).unwrap();
    assert!(good.get("data").is_some());
    let other = read(300).unwrap();
    let bytes = storage.read(sealed).unwrap().unwrap();
    let decoded = crate::store::SealedBundle::decode(&bytes, 0).unwrap();
    let parts = &decoded.entries[7];
    assert_eq!(parts.len(), 2);
    let blob = |part: usize| {
        let blob = parts[part].blob();
        bytes.windows(blob.len()).position(|window| window == blob).unwrap()
    };
    // Before the person's blob stand its checksum, its length, one owner, their count, state and role.
    let person = blob(1);
    let places = [("blob", person + 3), ("checksum", person - 1), ("length", person - 17)];
    let places = [&places[..], &[("owner", person - 21), ("state", person - 30), ("role", person - 31)]];
    for (what, at) in places.concat().into_iter().chain([("count", blob(0) - 24)]) {
        for keep_places in [true, false] {
            flip(&*storage, sealed, at);
            ledger.shared.files.forget(keep_places);
            let found = read(7);
            assert!(matches!(found, Err(LedgerError::Damage { .. })), "{what} at {at}: {found:?}");
            flip(&*storage, sealed, at);
            assert_eq!(read(7).unwrap(), good, "{what} put right");
        }
    }
    let entries = storage.read(bundle).unwrap().unwrap();
    let entry = snapshot.entry(7).unwrap().unwrap();
    let begin = entries.windows(entry.len()).position(|window| *window == *entry).unwrap();
    for (path, at) in [(bundle, begin + 60), (bundle, begin - 1), (tile, 7 * 32)] {
        for keep_places in [true, false] {
            flip(&*storage, path, at);
            ledger.shared.files.forget(keep_places);
            // A changed length does not move what was read from a known place.
            let found = read(7);
            let is_damage = matches!(found, Err(LedgerError::Damage { .. }));
            assert!(is_damage || keep_places && at + 1 == begin, "{path} byte {at}: {found:?}");
            flip(&*storage, path, at);
            assert_eq!(read(7).unwrap(), good, "{path} put right");
        }
    }
    assert_eq!(read(300).unwrap(), other);
    ledger.close().unwrap();
}

/// An event that says it happened at second `second` of a day, or says nothing.
fn event_at(id: u64, second: Option<u64>) -> Event {
    let at = second.map_or(String::new(), |second| {
        let (hours, rest) = (second / 3600, second % 3600);
        format!(r#""at":"2025-06-01T{hours:02}:{:02}:{:02}Z","#, rest / 60, rest % 60)
    });
    let text = format!(
        r#"{{"id":"t{id}","org":"acme","producer":"crm","type":"data.deleted",{at}
        "subject":"s","holder":"self","complete":true,"method":"automatic"}}"#
    );
    from_value(parse(text.as_bytes(), &JsonLimits::default()).unwrap()).unwrap()
}

/// Holds what a search passes over against every event opened, upwards and downwards.
fn check_passing(ledger: &Ledger, span: Span) -> usize {
    let snapshot = ledger.snapshot();
    let is_inside = |index: u64| {
        let found = snapshot.event(index, Access::Personal).unwrap().unwrap();
        let at_us = found.occurred_us(&found.merged());
        span.from_us <= at_us && at_us < span.to_us
    };
    let inside: Vec<bool> = (0..snapshot.size().0).map(is_inside).collect();
    let within = |from: u64, to: u64| {
        let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        inside[from.min(inside.len())..to.min(inside.len())].iter().any(|found| *found)
    };
    let mut passed = 0;
    for index in 0..snapshot.size().0 {
        match snapshot.passing(index, span, true).unwrap() {
            Passing::Stay => {}
            Passing::Next(next) => {
                assert!(next > index && !within(index, next), "{index} up to {next}");
                passed += 1;
            }
            Passing::Start => panic!("no start upwards"),
        }
        match snapshot.passing(index, span, false).unwrap() {
            Passing::Stay => {}
            Passing::Next(next) => assert!(next < index && !within(next + 1, index + 1), "{index}"),
            Passing::Start => assert!(!within(0, index + 1), "{index} down to the start"),
        }
    }
    passed
}

#[test]
fn a_search_passes_over_other_times_and_never_over_its_own() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let bench = Bench::new(storage);
    let mut random = Random(11);
    let ledger = bench.open().unwrap();
    for first in (0..1_100).step_by(100) {
        // In order at first, then at random, now and then without a time.
        let events = (first..first + 100).map(|n| {
            let second = if n < 600 { n * 60 } else { random.below(86_400) };
            event_at(n, (n % 50 != 7).then_some(second))
        });
        assert!(append(&ledger, events.collect()).iter().all(Result::is_ok));
    }
    let day = 1_748_736_000_000_000_u64; // 2025-06-01T00:00:00Z
    let spans = [(0, 86_400), (3_600, 7_200), (20_000, 20_001), (90_000, 99_000)];
    let spans =
        spans.map(|(from, to)| Span { from_us: day + from * 1_000_000, to_us: day + to * 1_000_000 });
    let check = |ledger: &Ledger, full: bool| {
        for span in spans {
            let passed = check_passing(ledger, span);
            assert!(!full || passed > 0, "nothing was passed over in {span:?}");
        }
        check_passing(ledger, spans[3])
    };
    ledger.close().unwrap();
    drop(ledger);
    let ledger = bench.open().unwrap();
    assert!(check(&ledger, true) >= 900, "all of four bundles that state a time");
    ledger.close().unwrap();
    drop(ledger);
    // Without the index nothing is known until the fold has opened the events again.
    std::fs::remove_dir_all(bench.index.path().join("index")).unwrap();
    let ledger = bench.open().unwrap();
    // The fold does so after it published, which each append makes it do.
    let restored = (0..10_000).any(|n| {
        append(&ledger, vec![event_at(1_000_000 + n, None)]);
        check_passing(&ledger, spans[3]) >= 900
    });
    assert!(restored, "times were not kept aside again");
    check(&ledger, true);
    ledger.close().unwrap();
}
