//! kill -9 at any moment loses nothing that was acknowledged.
//!
//! In scope: a real server, several clients that append and repeat, and a kill at a random moment,
//! fifty times over one data directory: while serving, while starting and while ending. After each
//! start every receipt still stands; at the end the log has each event once and verifies. Out of
//! scope: power loss, which the fault-injecting storage simulates.

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

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Client, DataDir, MAIN, access, binary, fsck_files, policy, text_of};
use serde_json::{Value, json};

/// Kills in all; each round takes about half a second.
const ROUNDS: u64 = 50;

/// Clients that append at the same time.
const WRITERS: u64 = 3;

/// A small generator, so that a run can be repeated from its seed.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn seed() -> u64 {
    let given = std::env::var("COUNTERFOIL_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    given.unwrap_or_else(|| u64::try_from(now).unwrap()) | 1
}

/// What the clients know: what was acknowledged, and what was sent and not answered.
#[derive(Debug, Default)]
struct Book {
    acknowledged: BTreeMap<String, (u64, String)>,
    open: Vec<Vec<Value>>,
}

impl Book {
    fn note(&mut self, receipt: &Value) {
        let found = (receipt["index"].as_u64().unwrap(), text_of(&receipt["leaf_hash"]));
        let id = text_of(&receipt["id"]);
        let first = self.acknowledged.entry(id.clone()).or_insert_with(|| found.clone());
        assert_eq!(*first, found, "{id} has two receipts");
    }
}

/// The event of an id; the id alone decides its content, so that a repeat is the same event.
fn event(id: &str) -> Value {
    let number: u64 = id.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    match number % 4 {
        0 => policy(id),
        1 => access(id, &format!("s{}", number % 50), "a1"),
        // A person of its own, so that registrations are under way when the kill comes.
        _ => access(id, &format!("new-{id}"), &format!("a{}", number % 7)),
    }
}

/// Sends one group and notes the answer; false where the server is gone.
fn send(client: &Client, group: &[Value], book: &Mutex<Book>) -> bool {
    let path = format!("{MAIN}/events");
    let (content_type, body) = match group {
        [one] => ("application/json", one.to_string()),
        many => ("application/cloudevents-batch+json", Value::from(many).to_string()),
    };
    let headers = [("content-type", content_type), ("prefer", "receipt=brief")];
    let Ok(answer) = client.try_send("POST", &path, &headers, body.as_bytes()) else {
        book.lock().unwrap().open.push(group.to_vec());
        return false;
    };
    match answer.status {
        200 | 201 => {
            let answer = answer.json();
            let mut book = book.lock().unwrap();
            match answer["receipts"].as_array() {
                Some(receipts) => {
                    assert_eq!(receipts.len(), group.len());
                    for receipt in receipts {
                        book.note(receipt);
                    }
                }
                None => book.note(&answer),
            }
        }
        // The ledger may be going down in good order.
        503 => book.lock().unwrap().open.push(group.to_vec()),
        status => panic!("{status}: {}", answer.text()),
    }
    true
}

fn write(
    client: &Client,
    writer: u64,
    round: u64,
    mut random: Random,
    book: &Mutex<Book>,
    end: &AtomicBool,
) {
    // First what an earlier kill left unanswered, then new events.
    let mut number = 0;
    while !end.load(Ordering::SeqCst) {
        let earlier = book.lock().unwrap().open.pop();
        let group = earlier.unwrap_or_else(|| {
            let count = if random.below(3) == 0 { 1 + random.below(20) } else { 1 };
            let ids = (number..number + count).map(|n| format!("r{round}-w{writer}-{n}"));
            number += count;
            ids.map(|id| event(&id)).collect()
        });
        if !send(client, &group, book) {
            return;
        }
    }
}

/// Repeats events with receipts and expects the same receipts.
fn check_receipts(client: &Client, ids: &[&String], book: &Book) {
    for chunk in ids.chunks(1_000) {
        let events: Vec<Value> = chunk.iter().map(|id| event(id)).collect();
        let answer = client.append_batch(&events);
        assert_eq!(
            answer.status,
            200,
            "every acknowledged event is still there: {:.300}",
            answer.text()
        );
        for receipt in answer.json()["receipts"].as_array().unwrap() {
            let (index, leaf) = &book.acknowledged[&text_of(&receipt["id"])];
            assert_eq!(receipt["index"], json!(index), "{receipt}");
            assert_eq!(receipt["leaf_hash"], json!(leaf), "{receipt}");
            assert_eq!(receipt["replayed"], json!(true), "{receipt}");
        }
    }
}

/// Reads the whole log and expects each event once, where its receipt says.
fn check_history(client: &Client, book: &Book) {
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{MAIN}/events?limit=1000&order=asc{cursor}");
        let page = client.get(&path).expect_status(200).json();
        for found in page["events"].as_array().unwrap() {
            let id = text_of(&found["event"]["id"]);
            assert_eq!(found["event"]["data"], opened(&event(&id)), "{id} reads as it was sent");
            if let Some((index, leaf)) = book.acknowledged.get(&id) {
                assert_eq!(found["index"], json!(index), "{id}");
                assert_eq!(found["leaf_hash"], json!(leaf), "{id}");
            }
            assert!(seen.insert(id.clone()), "{id} is in the log twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    for id in book.acknowledged.keys() {
        assert!(seen.contains(id), "{id} is lost");
    }
}

/// The `data` of an event as history shows it.
fn opened(event: &Value) -> Value {
    match event.get("data") {
        Some(data) => data.clone(),
        None => json!({"version": "2", "material": false, "page_notice": true}),
    }
}

/// Verifies the data directory of a server that has ended.
fn verify_directory(data: &DataDir) {
    fsck_files(data).unwrap_or_else(|said| panic!("fsck: {said}"));
    data.verify();
}

/// Starts a server and kills it before it can be expected to serve.
fn kill_while_starting(data: &DataDir, after: Duration) {
    let mut child = binary()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    let _ = child.wait();
}

fn publish_often(data: &DataDir) {
    data.set("publish_interval_ms = 20");
}

#[test]
fn nothing_acknowledged_is_lost_by_fifty_kills() {
    let seed = seed();
    eprintln!("seed {seed}: COUNTERFOIL_CRASH_SEED={seed} repeats the choices, not the scheduling");
    let mut random = Random(seed);
    let data = DataDir::new();
    data.init("crash.example/log");
    publish_often(&data);
    let book = Arc::new(Mutex::new(Book::default()));
    let mut last: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        if round % 5 == 4 {
            kill_while_starting(&data, Duration::from_millis(random.below(200)));
        }
        let server = data.serve();
        let client = server.client();
        let before = {
            let book = book.lock().unwrap();
            check_receipts(&client, &last.iter().collect::<Vec<_>>(), &book);
            book.acknowledged.len()
        };
        let end = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, book, end) = (client.clone(), Arc::clone(&book), Arc::clone(&end));
                let random = Random(random.next() | 1);
                std::thread::spawn(move || write(&client, writer, round, random, &book, &end))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(30 + random.below(400)));
        if round % 3 == 2 {
            // An orderly end, cut off on its way: that is when the fold is made durable.
            server.ask_to_end();
            std::thread::sleep(Duration::from_millis(random.below(120)));
        }
        server.kill();
        end.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.join().expect("a writer without complaint");
        }
        let known = book.lock().unwrap();
        let recent = [format!("r{round}-"), format!("r{}-", round.max(1) - 1)];
        let is_recent = |id: &&String| recent.iter().any(|prefix| id.starts_with(prefix));
        last = known.acknowledged.keys().filter(is_recent).cloned().collect();
        assert!(known.acknowledged.len() >= before);
        drop(known);
        if round % 10 == 9 {
            let server = data.serve();
            let known = book.lock().unwrap();
            check_receipts(&server.client(), &known.acknowledged.keys().collect::<Vec<_>>(), &known);
            drop(known);
            assert!(server.terminate().success());
            verify_directory(&data);
        }
    }
    let server = data.serve();
    let client = server.client();
    let open = std::mem::take(&mut book.lock().unwrap().open);
    for group in &open {
        assert!(send(&client, group, &book), "the server lives");
    }
    let known = book.lock().unwrap();
    eprintln!("{} events acknowledged, {} groups unanswered", known.acknowledged.len(), open.len());
    assert!(known.acknowledged.len() > 500, "only {} events in all", known.acknowledged.len());
    check_receipts(&client, &known.acknowledged.keys().collect::<Vec<_>>(), &known);
    check_history(&client, &known);
    assert!(server.terminate().success());
    verify_directory(&data);
}
