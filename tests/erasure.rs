//! Forgetting a person, end to end: nothing of the person is left, and everything else still verifies.
//!
//! In scope: a real server and its files: what they hold before and after, copies from before beside the
//! vault of after, kills at any moment of a shred, the certificate, the command. Out of scope: power loss
//! (the ledger's own tests), legal holds and retention (`tests/retention.rs`).

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and needs a clock and a seed of its own"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Client, DataDir, MAIN, access, binary, files_below, text_of, wait_until};
use counterfoil::event::entry::{Entry, EntryBody};
use counterfoil::event::facet::Role;
use counterfoil::event::keys::ledger_id;
use counterfoil::log::tile::bundle_entries;
use counterfoil::store::sealed::{PartState, SealedBundle};
use counterfoil::store::{DiskStorage, Storage};
use counterfoil::vault::{DataKey, FileCustody, KeyReader, SlotNumber};
use serde_json::{Value, json};

/// Kills during shreds; each round takes about a second.
const KILLS: u64 = 50;

/// An identifier that occurs nowhere by chance.
const PERSON: &str = "person-zq81-forgetme";

fn erasure(ids: &[&str]) -> Value {
    let persons: Vec<Value> = ids.iter().map(|id| json!({ "namespace": "subject", "id": id })).collect();
    json!({ "persons": persons, "reason": "consent withdrawn", "request": "dsr-17", "now": true })
}

/// An event about a subject with a personal field besides the identifier, and an actor.
fn about(id: &str, subject: &str, actor: &str) -> Value {
    let mut event = access(id, subject, actor);
    event["data"]["subject_region"] = json!("US-TX");
    event
}

fn certificate(client: &Client, id: &str) -> Value {
    client.get(&format!("{MAIN}/erasures/{id}/certificate")).expect_status(200).json()
}

fn is_complete(client: &Client, id: &str) -> bool {
    certificate(client, id)["state"] == "complete"
}

/// Files below `dir` that hold `bytes`.
fn holding(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let holds = |path: &Path| {
        fs::read(path).is_ok_and(|found| found.windows(bytes.len()).any(|window| window == bytes))
    };
    let found = files_below(dir, &|_| true);
    found.into_iter().filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

fn copy_tree(from: &Path, to: &Path) {
    for path in files_below(from, &|_| true) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, &target).unwrap();
    }
}

/// Runs `counterfoil verify TARGET --json` with the key of `main`; exit code and report.
fn verify(data: &DataDir, target: &Path, more: &[&str]) -> (i32, Value) {
    let key = data.ledger().join("verifier.key");
    let output = binary()
        .arg("verify")
        .arg(target)
        .arg("--key")
        .arg(key)
        .arg("--json")
        .args(more)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// Every secret that the vault holds now, as data keys.
fn data_keys(data: &Path) -> Vec<DataKey> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(data).unwrap());
    let custody = FileCustody::new(data.join("keys/main.vault-root"));
    let tree = KeyReader::open(storage, "vault/main", Box::new(custody)).unwrap();
    let slots = (0..200).filter_map(|slot| tree.get(SlotNumber(slot)).unwrap());
    slots.map(|slot| slot.person_secret().data_key()).collect()
}

/// How many sealed parts of `ledger`'s bundles, of these entries and this role, open under one of `keys`.
fn opened(ledger: &Path, indexes: &BTreeSet<u64>, role: Role, keys: &[DataKey], origin: &str) -> usize {
    let mut count = 0;
    for path in files_below(&ledger.join("sealed"), &|_| true) {
        let name = path.strip_prefix(ledger.join("sealed")).unwrap().to_str().unwrap();
        let bundle: u64 = name.split(".p/").next().unwrap().parse().unwrap();
        let entries = fs::read(ledger.join("tile/entries").join(name)).unwrap_or_default();
        let sealed = SealedBundle::decode(&fs::read(&path).unwrap(), bundle).unwrap();
        for ((index, parts), entry) in
            (bundle * 256..).zip(&sealed.entries).zip(bundle_entries(&entries))
        {
            let Ok(Entry { body: EntryBody::Event(event), .. }) = Entry::decode(entry.unwrap()) else {
                continue;
            };
            for part in parts.iter().filter(|part| {
                indexes.contains(&index) && part.role() == role.0 && part.state() == PartState::Sealed
            }) {
                let commitment = event.parts.iter().find(|(known, _)| *known == role).unwrap().1;
                let opens = |key: &&DataKey| {
                    let id = ledger_id(origin);
                    key.open(id, &event.event_key, role, &commitment, part.blob()).is_ok()
                };
                count += keys.iter().filter(opens).count();
            }
        }
    }
    count
}

/// Appends 600 events, a fifth of them hers; gives their indexes, and some receipts of everybody's.
fn fill(client: &Client) -> (BTreeSet<u64>, Vec<String>) {
    let mut hers = BTreeSet::new();
    let mut receipts = Vec::new();
    for n in 0..600 {
        let subject = if n % 5 == 0 { PERSON.to_owned() } else { format!("other-{}", n % 40) };
        let mut event = about(&format!("e-{n}"), &subject, &format!("staff-{}", n % 3));
        if subject == PERSON {
            event["data"]["subject_region"] = json!("US-CA");
        }
        let answer = client.append(&event).expect_status(201);
        let receipt = answer.json();
        if subject == PERSON {
            hers.insert(receipt["index"].as_u64().unwrap());
        }
        if n % 50 < 2 {
            receipts.push(answer.text());
        }
    }
    (hers, receipts)
}

/// Of each of her events her part is gone and the others are there, and its receipt verifies.
fn check_her_events(data: &DataDir, client: &Client, hers: &BTreeSet<u64>) {
    for index in hers {
        let event = client.get(&format!("{MAIN}/events/{index}?reason=test")).expect_status(200).json();
        let states: Vec<(String, String)> = event["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| (text_of(&part["role"]), text_of(&part["state"])))
            .collect();
        let expected = [("open", "open"), ("subject", "erased"), ("actor", "open")];
        let expected = expected.map(|(role, state)| (role.to_owned(), state.to_owned()));
        assert_eq!(states, expected, "event {index}");
        let receipt = client.get(&format!("{MAIN}/events/{index}/receipt?reason=test"));
        let file = data.beside("after.json");
        fs::write(&file, receipt.text()).unwrap();
        let (code, report) = verify(data, &file, &[]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["parts"]["erased"], 1);
    }
}

fn check_certificate(data: &DataDir, client: &Client, id: &str, events: usize) {
    let file = data.beside("certificate.json");
    fs::write(&file, client.get(&format!("{MAIN}/erasures/{id}/certificate")).text()).unwrap();
    let (code, report) = verify(data, &file, &[]);
    assert_eq!((code, report["verdict"].as_str()), (0, Some("verified")), "{report}");
    let certificate = certificate(client, id);
    assert_eq!(certificate["destroyed"]["parts"], events);
    assert_eq!(certificate["destroyed"]["events"], events);
    assert!(!certificate.to_string().contains(PERSON));
    let page = client.send(
        "GET",
        &format!("{MAIN}/erasures/{id}/certificate"),
        &[("accept", "text/html")],
        b"",
    );
    assert!(page.text().starts_with("<!"), "{}", page.text());
}

/// The server finds nothing to complain of: neither a part nor a key of hers counts as missing.
fn check_audit(client: &Client) {
    client.post(&format!("{MAIN}/audit"), "", b"").expect_status(202);
    wait_until("the audit to end", || {
        let audit = client.get(&format!("{MAIN}/audit")).expect_status(200).json();
        assert!(audit["last"].is_null() || audit["last"]["verdict"] == "verified", "{audit}");
        !audit["last"].is_null()
    });
}

#[test]
fn nothing_of_an_erased_person_is_left_and_everything_else_verifies() {
    let data = DataDir::new();
    let origin = "ledger.example/erasure";
    data.init(origin);
    let server = data.serve_with(&["publish_interval_ms=50"]);
    let client = server.client();
    let (hers, receipts) = fill(&client);
    // What is searched for can be found, and is not there in the clear before either.
    fs::write(data.path().join("ledgers/main/planted"), format!("xx{PERSON}xx")).unwrap();
    assert_eq!(holding(&data.path(), PERSON.as_bytes()).len(), 1);
    fs::remove_file(data.path().join("ledgers/main/planted")).unwrap();
    assert_eq!(holding(&data.path(), PERSON.as_bytes()), Vec::<String>::new());
    wait_until("everything is published", || {
        client.get(&format!("{MAIN}/checkpoint")).text().lines().nth(1).unwrap().parse::<u64>().unwrap()
            >= client.size()
    });
    let before = data.beside("before");
    server.terminate();
    copy_tree(&data.path(), &before);
    let keys_before = data_keys(&data.path());
    let role = Role::from_name("subject").unwrap();
    assert!(opened(&data.ledger(), &hers, role, &keys_before, origin) >= hers.len());
    let server = data.serve_with(&["publish_interval_ms=50"]);
    let client = server.client();

    let taken = client.post_json(&format!("{MAIN}/erasures"), &erasure(&[PERSON])).expect_status(202);
    assert!(!taken.text().contains(PERSON));
    let id = text_of(&taken.json()["id"]);
    // At once: nothing of hers is opened, and a search for her finds nothing.
    let found = client.get(&format!("{MAIN}/events?subject={PERSON}&reason=test")).json();
    assert_eq!(found["events"].as_array().unwrap().len(), 0, "{found}");
    wait_until("the erasure is complete", || is_complete(&client, &id));
    check_her_events(&data, &client, &hers);
    // Receipts from before still verify, hers too: whoever has one keeps what it opened.
    for (number, receipt) in receipts.iter().enumerate() {
        let file = data.beside("receipt.json");
        fs::write(&file, receipt).unwrap();
        let (code, report) = verify(&data, &file, &[]);
        assert_eq!(code, 0, "receipt {number}: {report}");
    }
    check_certificate(&data, &client, &id, hers.len());
    check_audit(&client);
    server.terminate();

    assert_eq!(holding(&data.path(), PERSON.as_bytes()), Vec::<String>::new());
    let (code, report) = verify(&data, &data.path(), &[]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["parts"]["erased"], hers.len());
    // Her secret is gone from the vault, and its bytes from every file.
    let keys_after = data_keys(&data.path());
    assert_eq!(opened(&data.ledger(), &hers, role, &keys_before, origin), 0);
    // The files of before beside the vault of after: nothing of hers opens, whichever key is tried.
    assert!(opened(&before.join("ledgers/main"), &hers, role, &keys_before, origin) >= hers.len());
    assert_eq!(opened(&before.join("ledgers/main"), &hers, role, &keys_after, origin), 0);
    // Nor does the vault of before under the root key of after.
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open_read_only(&before).unwrap());
    let custody = Box::new(FileCustody::new(data.path().join("keys/main.vault-root")));
    assert!(KeyReader::open(storage, "vault/main", custody).is_err());
}

#[test]
fn an_erasure_is_asked_for_by_the_right_people_in_the_right_words() {
    let data = DataDir::new();
    data.init("ledger.example/asking");
    let server = data.serve();
    let client = server.client();
    client.append(&about("e-1", PERSON, "staff-1")).expect_status(201);
    let path = format!("{MAIN}/erasures");
    for role in ["producer", "responder", "auditor", "admin"] {
        let asking = server.client_as(role);
        asking.post_json(&path, &erasure(&[PERSON])).expect_problem(403, "forbidden", role);
    }
    let dpo = server.client_as("dpo");
    dpo.post_json(&path, &erasure(&["nobody-here"])).expect_problem(404, "person-unknown", "unknown");
    let cases = [
        (json!({}), "no members"),
        (json!({ "persons": [], "reason": "r" }), "nobody"),
        (json!({ "persons": [{ "namespace": "planet", "id": PERSON }], "reason": "r" }), "namespace"),
        (json!({ "persons": [{ "namespace": "subject", "id": "" }], "reason": "r" }), "empty id"),
        (json!({ "persons": [{ "namespace": "subject", "id": PERSON }], "reason": " " }), "reason"),
        (
            json!({ "persons": [{ "namespace": "subject", "id": PERSON }], "reason": "r", "x": 1 }),
            "more",
        ),
    ];
    for (body, case) in cases {
        let answer = dpo.post_json(&path, &body);
        assert_eq!(answer.status, 400, "{case}: {}", answer.text());
        assert!(!answer.text().contains(PERSON), "{case}: {}", answer.text());
    }
    dpo.get(&format!("{path}/00/certificate")).expect_problem(404, "not-found", "no such id");
    let id = text_of(&dpo.post_json(&path, &erasure(&[PERSON])).expect_status(202).json()["id"]);
    // Erased already: not known any more.
    dpo.post_json(&path, &erasure(&[PERSON])).expect_problem(404, "person-unknown", "again");
    wait_until("the erasure is complete", || is_complete(&dpo, &id));
    let auditor = server.client_as("auditor");
    assert_eq!(certificate(&auditor, &id)["state"], "complete");
    server.client_as("producer").get(&path).expect_problem(403, "forbidden", "producer");
    // An event that comes later starts somebody new, and that is told.
    client.append(&about("e-2", PERSON, "staff-1")).expect_status(201);
    let list = auditor.get(&path).expect_status(200).json();
    assert_eq!(list["erasures"][0]["returned"], 1, "{list}");
}

#[test]
fn the_subject_can_go_while_the_actor_stays_and_the_other_way_round() {
    let data = DataDir::new();
    data.init("ledger.example/two");
    let server = data.serve();
    let client = server.client();
    let index = |n: u64, subject: &str, actor: &str| {
        let answer = client.append(&about(&format!("e-{n}"), subject, actor)).expect_status(201);
        answer.json()["index"].as_u64().unwrap()
    };
    let (first, second) = (index(1, "sub-a", "act-a"), index(2, "sub-b", "act-b"));
    // The vendor's own bytes are everybody's whom the event names.
    let mut with_bytes = about("raw-1", "sub-a", "act-c");
    with_bytes["data_base64"] = json!("aGVsbG8=");
    let both = client.append(&with_bytes).expect_status(201).json()["index"].as_u64().unwrap();
    let persons = json!([
        { "namespace": "subject", "id": "sub-a" }, { "namespace": "actor", "id": "act-b" },
    ]);
    let asked = json!({ "persons": persons, "reason": "two at once", "now": true });
    let taken = client.post_json(&format!("{MAIN}/erasures"), &asked).expect_status(202).json();
    wait_until("the erasure is complete", || is_complete(&client, &text_of(&taken["id"])));
    let states = |index: u64| {
        let event = client.get(&format!("{MAIN}/events/{index}?reason=t")).expect_status(200).json();
        let parts = event["parts"].as_array().unwrap().clone();
        parts
            .iter()
            .map(|part| format!("{}={}", text_of(&part["role"]), text_of(&part["state"])))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(first), ["open=open", "subject=erased", "actor=open"]);
    assert_eq!(states(second), ["open=open", "subject=open", "actor=erased"]);
    // What belongs to both dies with either.
    assert_eq!(states(both), ["open=open", "raw=erased", "subject=erased", "actor=open"]);
    server.terminate();
    data.verify();
}

#[test]
fn the_command_erases_and_saves_a_certificate_that_verifies() {
    let data = DataDir::new();
    data.init("ledger.example/command");
    let server = data.serve();
    server.client().append(&about("e-1", PERSON, "staff-1")).expect_status(201);
    let run = |args: &[&str]| {
        let output = binary()
            .arg("erase")
            .args(["--url", &format!("http://{}", server.address), "--key-file"])
            .arg(data.path().join("keys/admin.key"))
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(PERSON), "{said}");
        (output.status.code().unwrap(), said)
    };
    assert_eq!(run(&["--subject", PERSON]).0, 2, "a reason is needed");
    assert_eq!(run(&["--reason", "r"]).0, 2, "somebody is needed");
    let (code, said) = run(&["--subject", "nobody", "--reason", "r"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("known"), "{said}");
    let file = data.beside("certificate.json");
    let path = file.to_str().unwrap();
    let (code, said) = run(&["--subject", PERSON, "--reason", "withdrew", "--now", "-o", path]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(verify(&data, &file, &[]).0, 0);
    let id = text_of(&serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap()["id"]);
    let page = data.beside("certificate.html");
    assert_eq!(run(&["--show", &id, "--page", "-o", page.to_str().unwrap()]).0, 0);
    assert!(fs::read_to_string(page).unwrap().contains(&id));
    // A certificate with a changed number is not the one that was signed.
    let forged = fs::read_to_string(&file).unwrap().replace("\"parts\":1", "\"parts\":2");
    fs::write(&file, forged).unwrap();
    assert_eq!(verify(&data, &file, &[]).0, 3);
}

#[test]
fn a_part_that_is_gone_without_an_entry_is_lost() {
    let data = DataDir::new();
    data.init("ledger.example/lost");
    let server = data.serve();
    let client = server.client();
    for n in 0..300 {
        client.append(&about(&format!("e-{n}"), &format!("sub-{}", n % 9), "staff")).expect_status(201);
    }
    let id = &text_of(
        &client.post_json(&format!("{MAIN}/erasures"), &erasure(&["sub-4"])).expect_status(202).json()["id"],
    );
    wait_until("the erasure is complete", || is_complete(&client, id));
    server.terminate();
    data.verify();
    // Somebody takes a part out of a bundle and calls it erased.
    let path = data.ledger().join("sealed/000");
    let mut bundle = SealedBundle::decode(&fs::read(&path).unwrap(), 0).unwrap();
    let part = bundle.entries[20].iter_mut().find(|part| part.role() == 16).unwrap();
    assert_eq!(part.state(), PartState::Sealed);
    part.destroy(counterfoil::store::sealed::Gone::Erased);
    let intact = fs::read(&path).unwrap();
    fs::write(&path, bundle.encode().unwrap()).unwrap();
    let (code, report) = verify(&data, &data.path(), &[]);
    assert_eq!(code, 3, "{report}");
    assert_eq!(report["parts"]["lost"], 1, "{report}");
    fs::write(&path, intact).unwrap();
    data.verify();
    // And somebody changes the set that says what was erased.
    let set = files_below(&data.ledger().join("removed"), &|_| true).remove(0);
    let mut bytes = fs::read(&set).unwrap();
    bytes[20] ^= 1;
    fs::write(&set, bytes).unwrap();
    assert_eq!(verify(&data, &data.path(), &[]).0, 3);
}

/// A small generator, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn killed_at_any_moment_of_a_shred_nobody_comes_back_and_nobody_is_harmed() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let given = std::env::var("COUNTERFOIL_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::try_from(now).unwrap()) | 1;
    let mut random = Random(seed);
    let data = DataDir::new();
    data.init("ledger.example/killed");
    let (mut next, mut erased): (u64, BTreeSet<u64>) = (0, BTreeSet::new());
    let mut asked: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let server = data.serve_with(&["publish_interval_ms=20", "shred_interval_ms=0"]);
        let client = server.client();
        // Persons 0, 1, 2 …, each with three events, far apart.
        let batch: Vec<Value> = (0..60 + random.below(60))
            .map(|n| about(&format!("e-{next}-{n}"), &format!("sub-{}", (next + n) / 3), "staff"))
            .collect();
        next += 120;
        client.append_batch(&batch).expect_status(201);
        let victim = (next - 120) / 3 + random.below(20);
        let path = format!("{MAIN}/erasures");
        let body = erasure(&[&format!("sub-{victim}")]).to_string();
        let headers = [("content-type", "application/json")];
        let killer = server.pid();
        let wait = Duration::from_micros(random.below(120_000));
        let answer = std::thread::scope(|scope| {
            let sent = scope.spawn(|| client.try_send("POST", &path, &headers, body.as_bytes()));
            std::thread::sleep(wait);
            let _ = std::process::Command::new("kill").args(["-9", &killer.to_string()]).status();
            sent.join().unwrap()
        });
        server.kill();
        if let Ok(answer) = answer
            && answer.status == 202
        {
            erased.insert(victim);
            asked.push(text_of(&answer.json()["id"]));
        }
        let (code, report) = verify(&data, &data.path(), &[]);
        assert_eq!(code, 0, "seed {seed} round {round}: {report}");
        assert_eq!(report["parts"]["lost"], 0, "seed {seed} round {round}: {report}");
    }
    let server = data.serve();
    let client = server.client();
    for id in &asked {
        wait_until("the erasure is complete", || is_complete(&client, id));
    }
    let mut open = 0;
    for person in 0..next / 3 {
        let found = client
            .get(&format!("{MAIN}/events?subject=sub-{person}&limit=10&reason=t"))
            .expect_status(200)
            .json();
        let events = found["events"].as_array().unwrap();
        assert!(events.is_empty() || !erased.contains(&person), "seed {seed}: sub-{person} is back");
        for event in events {
            for part in event["parts"].as_array().unwrap() {
                assert_eq!(part["state"], "open", "seed {seed}: sub-{person} was harmed: {event}");
            }
            open += 1;
        }
    }
    assert!(open > 500, "{open}");
    server.terminate();
    data.verify();
}
