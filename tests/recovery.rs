//! What a server does with a data directory that something happened to.
//!
//! In scope: lost and damaged indexes, torn and damaged journals, checkpoints that disagree, missing
//! keys, second processes, orderly ends and large logs. Out of scope: kills under load (`crash`).
//! Every refusal is held against the same promises: exit code 1, a sentence that says what and
//! where, and nothing changed on disk that was not named.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may damage files and read the clock"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Client, DataDir, MAIN, Refusal, access, files_below, policy, text_of, wait_until};
use counterfoil::log::checkpoint::{self, Checkpoint};
use counterfoil::log::hash::{Hash, TreeSize, leaf_hash};
use counterfoil::log::note::{SigningKey, VerifierKey};
use serde_json::{Value, json};

/// Questions whose answers must survive whatever happens to the index.
const QUESTIONS: &[&str] = &[
    "subject=s7&limit=1000",
    "actor=a3&limit=1000&order=asc",
    "type=policy.published&limit=1000",
    "source=acme/crm&category=contact&limit=1000",
    "purpose=support&subject=s1&order=asc",
    "limit=1000&order=asc",
];

fn answers(client: &Client) -> Vec<Value> {
    let ask = |question: &&str| {
        let answer = client.get(&format!("{MAIN}/events?{question}")).expect_status(200).json();
        assert_eq!(answer["complete"], json!(true), "{question}");
        answer["events"].clone()
    };
    QUESTIONS.iter().map(ask).collect()
}

/// 600 events of twenty persons, and who wrote which of them.
fn load(client: &Client) -> BTreeMap<String, Value> {
    let event = |n: usize| match n % 3 {
        0 => policy(&format!("e{n}")),
        _ => access(&format!("e{n}"), &format!("s{}", n % 13), &format!("a{}", n % 7)),
    };
    let mut receipts = BTreeMap::new();
    for from in (0..600).step_by(200) {
        let events: Vec<Value> = (from..from + 200).map(event).collect();
        let answer = client.append_batch(&events).expect_status(201).json();
        for receipt in answer["receipts"].as_array().unwrap() {
            receipts.insert(text_of(&receipt["id"]), receipt.clone());
        }
    }
    receipts
}

#[track_caller]
fn must_refuse(data: &DataDir, says: &[&str]) -> Refusal {
    let Err(refusal) = data.try_serve() else { panic!("the server started") };
    assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
    assert_eq!(refusal.stdout, "", "nothing is announced");
    for words in says {
        assert!(refusal.stderr.contains(words), "says nothing of `{words}`: {}", refusal.stderr);
    }
    refusal
}

fn segments(data: &DataDir) -> Vec<PathBuf> {
    files_below(&data.ledger().join("journal"), &|path| path.extension().is_some_and(|e| e == "cfj"))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A data directory whose published checkpoint stays where it was when the server started.
fn without_publishing() -> DataDir {
    let data = DataDir::new();
    data.init("recovery.example/log");
    data.set("publish_interval_ms = 3600000");
    data
}

#[test]
fn a_lost_index_is_rebuilt() {
    let data = DataDir::new();
    let server = data.serve();
    let receipts = load(&server.client());
    let before = answers(&server.client());
    assert!(before.iter().all(|events| !events.as_array().unwrap().is_empty()));
    assert!(server.terminate().success());
    fs::remove_dir_all(data.ledger().join("index")).unwrap();
    let server = data.serve();
    assert!(server.stderr().contains("the index is rebuilt"), "a warning: {}", server.stderr());
    assert_eq!(answers(&server.client()), before);
    let repeat = server.client().append(&access("e7", "s7", "a0")).expect_status(200).json();
    assert_eq!(repeat["index"], receipts["e7"]["index"], "repeats are still known");
    assert_eq!(repeat["leaf_hash"], receipts["e7"]["leaf_hash"]);
    server.kill();
    fs::remove_dir_all(data.ledger().join("index")).unwrap();
    assert_eq!(answers(&data.serve().client()), before, "after a kill, too");
}

#[test]
fn a_damaged_index_is_rebuilt() {
    for (damage, step) in [("here and there", 4096), ("everywhere", 64), ("in one place", usize::MAX)] {
        let data = DataDir::new();
        let server = data.serve();
        load(&server.client());
        let before = answers(&server.client());
        assert!(server.terminate().success());
        let mut flipped = 0;
        for path in files_below(&data.ledger().join("index"), &|_| true) {
            let mut bytes = fs::read(&path).unwrap();
            let mut at = step.min(bytes.len() / 2);
            while at < bytes.len() {
                bytes[at] ^= 0x55;
                flipped += 1;
                at = at.saturating_add(step);
            }
            fs::write(&path, bytes).unwrap();
        }
        assert!(flipped > 0);
        let server = data.serve();
        assert_eq!(answers(&server.client()), before, "damaged {damage}: {}", server.stderr());
        if step == 64 {
            let warned = server.stderr().contains("the index is rebuilt");
            assert!(warned, "a warning: {}", server.stderr());
        }
        server.client().append(&policy("after")).expect_status(201);
        server.client().append(&policy("e0")).expect_status(200);
    }
}

#[test]
fn a_truncated_index_is_rebuilt() {
    let data = DataDir::new();
    let server = data.serve();
    load(&server.client());
    let before = answers(&server.client());
    assert!(server.terminate().success());
    for path in files_below(&data.ledger().join("index"), &|_| true) {
        let length = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    }
    let server = data.serve();
    assert_eq!(answers(&server.client()), before, "{}", server.stderr());
}

#[test]
fn a_torn_end_of_the_journal_is_cut_and_said() {
    let data = without_publishing();
    let server = data.serve();
    let client = server.client();
    let first = client.append(&access("kept", "s1", "a1")).expect_status(201).json();
    let journal = segments(&data).pop().unwrap();
    let whole = fs::metadata(&journal).unwrap().len();
    let second = client.append(&access("torn", "s2", "a2")).expect_status(201).json();
    let end = fs::metadata(&journal).unwrap().len();
    assert!(end > whole);
    server.kill();
    for cut in [end - 1, whole + (end - whole) / 2, whole + 7] {
        let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        let server = data.serve();
        assert!(server.stderr().contains("cut"), "a warning: {}", server.stderr());
        let name = journal.file_name().unwrap().to_str().unwrap();
        assert!(server.stderr().contains(name), "names the file: {}", server.stderr());
        assert!(server.stderr().contains(&whole.to_string()), "and the place: {}", server.stderr());
        let client = server.client();
        let repeat = client.append(&access("kept", "s1", "a1")).expect_status(200).json();
        assert_eq!(repeat["leaf_hash"], first["leaf_hash"]);
        client.get(&format!("{MAIN}/events/{}", second["index"])).expect_problem(
            404,
            "not-found",
            "torn",
        );
        let again = client.append(&access("torn", "s2", "a2")).expect_status(201).json();
        assert_eq!(again["index"], second["index"]);
        // The start published a checkpoint of what it found, so the next cut is of the newest frame.
        let grown = fs::metadata(&journal).unwrap().len();
        assert!(grown > whole);
        server.kill();
        if grown != end {
            break;
        }
    }
}

#[test]
fn a_journal_that_ends_below_the_checkpoint_is_damage() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    client.append(&policy("one")).expect_status(201);
    client.append(&policy("two")).expect_status(201);
    let size = client.size();
    wait_until("the checkpoint", || {
        let note = client.get(&format!("{MAIN}/checkpoint")).expect_status(200);
        checkpoint::open(note.body, &key).unwrap().size.0 == size
    });
    server.kill();
    let journal = segments(&data).pop().unwrap();
    let intact = fs::read(&journal).unwrap();
    fs::write(&journal, &intact[..intact.len() - 10]).unwrap();
    must_refuse(&data, &["journal"]);
    assert_eq!(fs::read(&journal).unwrap().len(), intact.len() - 10, "left as it was");
    fs::write(&journal, &intact).unwrap();
    let server = data.serve();
    assert_eq!(server.client().append(&policy("two")).status, 200);
}

#[test]
fn a_flipped_byte_in_the_journal_is_damage() {
    let data = without_publishing();
    let server = data.serve();
    let client = server.client();
    let journal = segments(&data).pop().unwrap();
    let mut ends = vec![fs::metadata(&journal).unwrap().len()];
    for n in 0..4 {
        client.append(&access(&format!("e{n}"), "s1", "a1")).expect_status(201);
        ends.push(fs::metadata(&journal).unwrap().len());
    }
    server.kill();
    let name = journal.file_name().unwrap().to_str().unwrap().to_owned();
    for window in ends.windows(2) {
        let (from, to) = (usize::try_from(window[0]).unwrap(), usize::try_from(window[1]).unwrap());
        for at in [from + 2, from + 9, from + 40, usize::midpoint(from, to), to - 2] {
            flip(&journal, at);
            let refusal = must_refuse(&data, &[&name, "at byte", "damaged"]);
            let digits = refusal.stderr.split("at byte ").nth(1).unwrap();
            let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
            let place: usize = digits.parse().unwrap();
            assert!((from..to).contains(&place), "{at} is in {from}..{to}, not {place}");
            flip(&journal, at);
        }
    }
    let header = 9;
    flip(&journal, header);
    must_refuse(&data, &[&name, "at byte"]);
    flip(&journal, header);
    let server = data.serve();
    for n in 0..4 {
        server.client().append(&access(&format!("e{n}"), "s1", "a1")).expect_status(200);
    }
}

#[test]
fn a_checkpoint_that_disagrees_with_the_log_is_damage() {
    let data = DataDir::new();
    let server = data.serve();
    load(&server.client());
    assert!(server.terminate().success());
    let file = data.ledger().join("checkpoint");
    let intact = fs::read_to_string(&file).unwrap();
    let secret = fs::read_to_string(data.path().join("keys/main.signing-key")).unwrap();
    let signer = SigningKey::from_go_string(secret.trim()).unwrap();
    let published = checkpoint::open(&intact, &signer.verifier()).unwrap();
    let note = |size: u64, root: Hash| {
        let forged = Checkpoint { origin: published.origin.clone(), size: TreeSize(size), root };
        forged.sign(&signer).unwrap()
    };
    let stranger = SigningKey::generate_from_seed(signer.name(), &[7; 32]).unwrap();
    let foreign = Checkpoint { origin: published.origin.clone(), ..published.clone() };
    let cases = [
        (note(published.size.0 + 1, published.root), "entries were durable", "ahead of the log"),
        (note(u64::MAX >> 1, published.root), "entries were durable", "far ahead of the log"),
        (note(published.size.0, leaf_hash(b"other")), "another root", "another history"),
        (note(300, leaf_hash(b"other")), "another root", "another history, earlier"),
        (foreign.sign(&stranger).unwrap(), "checkpoint", "another key"),
        (String::new(), "checkpoint", "empty"),
        (intact.replace('1', "2"), "checkpoint", "altered"),
    ];
    for (forged, says, case) in cases {
        assert_ne!(forged, intact, "{case}");
        fs::write(&file, &forged).unwrap();
        must_refuse(&data, &[says]);
        assert_eq!(fs::read_to_string(&file).unwrap(), forged, "{case}: left as it was");
    }
    fs::write(&file, &intact).unwrap();
    data.serve();
}

#[test]
fn an_old_copy_under_a_newer_checkpoint_is_damage() {
    let data = DataDir::new();
    let server = data.serve();
    server.client().append(&policy("one")).expect_status(201);
    assert!(server.terminate().success());
    let old = DataDir::new();
    copy(&data.path(), &old.path());
    let server = data.serve();
    server.client().append(&policy("two")).expect_status(201);
    assert!(server.terminate().success());
    copy(&data.ledger().join("checkpoint"), &old.ledger().join("checkpoint"));
    must_refuse(&old, &["entries were durable"]);
}

#[test]
fn a_second_process_is_refused() {
    let data = DataDir::new();
    let server = data.serve();
    let refusal = must_refuse(&data, &["in use"]);
    assert!(refusal.stderr.contains(&server.pid().to_string()), "{}", refusal.stderr);
    server.client().append(&policy("still")).expect_status(201);
    server.kill();
    data.serve().client().append(&policy("still")).expect_status(200);
}

#[test]
fn missing_keys_are_never_made_again() {
    let data = DataDir::new();
    let server = data.serve();
    let receipt = server.client().append(&access("e", "s1", "a1")).expect_status(201).json();
    assert!(server.terminate().success());
    let aside = data.beside("aside");
    for (file, says) in [
        ("keys/main.signing-key", "signing key"),
        ("keys/main.vault-root", "root key"),
        ("ledgers/main/reader.key", "reader.key"),
        ("vault/main", "vault"),
    ] {
        let path = data.path().join(file);
        fs::rename(&path, &aside).unwrap();
        must_refuse(&data, &[says]);
        must_refuse(&data, &[says]);
        assert!(!path.exists(), "{file} is not made anew");
        fs::rename(&aside, &path).unwrap();
    }
    let secret = data.path().join("keys/main.signing-key");
    let intact = fs::read(&secret).unwrap();
    let other = SigningKey::generate_from_seed("somebody.example/else", &[3; 32]).unwrap();
    fs::write(&secret, other.to_go_string().as_bytes()).unwrap();
    must_refuse(&data, &["signing key"]);
    fs::write(&secret, b"PRIVATE+KEY+garbage").unwrap();
    must_refuse(&data, &["signing key"]);
    fs::write(&secret, intact).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    must_refuse(&data, &["signing-key"]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let server = data.serve();
    let again = server.client().append(&access("e", "s1", "a1")).expect_status(200).json();
    assert_eq!(again["leaf_hash"], receipt["leaf_hash"]);
    assert_eq!(again["openings"], receipt["openings"], "persons still open");
}

#[test]
fn an_orderly_end_keeps_everything_also_under_load() {
    let data = DataDir::new();
    let server = data.serve();
    let receipts = load(&server.client());
    let before = answers(&server.client());
    let client = server.client();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let client = client.clone();
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for n in 0.. {
                    let event = access(&format!("w{writer}-{n}"), &format!("p{n}"), "a1");
                    let path = format!("{MAIN}/events");
                    let headers = [("content-type", "application/json")];
                    let sent = client.try_send("POST", &path, &headers, event.to_string().as_bytes());
                    match sent {
                        Ok(answer) if answer.status == 201 => kept.push((event, answer.json())),
                        Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                        Err(_) => break,
                    }
                }
                kept
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(server.terminate().code(), Some(0));
    let kept: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(!kept.is_empty());
    let server = data.serve();
    let client = server.client();
    for chunk in kept.chunks(500) {
        let events: Vec<Value> = chunk.iter().map(|(event, _)| event.clone()).collect();
        let answer = client.append_batch(&events).expect_status(200).json();
        for (receipt, (_, first)) in answer["receipts"].as_array().unwrap().iter().zip(chunk) {
            assert_eq!(
                (&receipt["index"], &receipt["leaf_hash"]),
                (&first["index"], &first["leaf_hash"])
            );
        }
    }
    for (id, receipt) in receipts.iter().step_by(50) {
        let found = client.get(&format!("{MAIN}/events/{}", receipt["index"])).expect_status(200).json();
        assert_eq!(found["event"]["id"], json!(id));
        assert_eq!(found["leaf_hash"], receipt["leaf_hash"]);
    }
    for (after, before) in answers_of_old(&client).iter().zip(&before) {
        assert_eq!(after, before);
    }
}

/// The answers about the loaded events alone, whatever was appended after them.
fn answers_of_old(client: &Client) -> Vec<Value> {
    let ask = |question: &&str| {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("{MAIN}/events?{question}{cursor}");
            let page = client.get(&path).expect_status(200).json();
            events.extend(page["events"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        events.retain(|event| event["event"]["id"].as_str().is_some_and(|id| id.starts_with('e')));
        Value::Array(events)
    };
    QUESTIONS.iter().map(ask).collect()
}

/// Partial directories whose full tile or bundle is there.
fn stale_partials(data: &DataDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in ["tile", "sealed"] {
        let full = files_below(&data.ledger().join(root), &|path| {
            path.parent().is_some_and(|dir| dir.extension().is_none_or(|extension| extension != "p"))
        });
        found.extend(full.iter().map(|path| path.with_extension("p")).filter(|path| path.exists()));
    }
    found
}

#[test]
fn a_large_log_starts_from_its_fold() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let mut event = policy("x");
    event["document"] = json!("d".repeat(500));
    let mut receipts = Vec::new();
    for from in (0..60_000).step_by(5_000) {
        let events: Vec<Value> = (from..from + 5_000)
            .map(|n| {
                let mut event = event.clone();
                event["id"] = json!(format!("l{n}"));
                event
            })
            .collect();
        let answer = client.append_batch(&events).expect_status(201).json();
        receipts.push(answer["receipts"][17].clone());
    }
    let size = client.size();
    assert!(server.terminate().success());
    let journal = segments(&data);
    let names: Vec<String> =
        journal.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(journal.len() <= 3, "the journal was trimmed: {names:?}");
    assert!(!names.contains(&format!("{:020}.cfj", 0)), "its first segment is gone: {names:?}");
    assert_eq!(stale_partials(&data), Vec::<PathBuf>::new());
    data.verify();
    let server = data.serve();
    let client = server.client();
    assert_eq!(client.size(), size);
    for receipt in receipts {
        let found = client.get(&format!("{MAIN}/events/{}", receipt["index"])).expect_status(200).json();
        assert_eq!(found["leaf_hash"], receipt["leaf_hash"]);
        let mut event = event.clone();
        event["id"] = receipt["id"].clone();
        let repeat = client.append(&event).expect_status(200).json();
        assert_eq!(repeat["index"], receipt["index"]);
    }
    assert!(server.terminate().success());
    damaged_bundles_show(&data);
}

/// With its part of the journal gone, a bundle cannot be put back; what is damaged must not be
/// passed on as an entry.
fn damaged_bundles_show(data: &DataDir) {
    let bundle = data.ledger().join("tile/entries/003");
    let tile = fs::read(data.ledger().join("tile/0/003")).unwrap();
    let length = usize::try_from(fs::metadata(&bundle).unwrap().len()).unwrap();
    for at in [0, 10, length / 2, length - 3] {
        flip(&bundle, at);
        let server = match data.try_serve() {
            Ok(server) => server,
            Err(refusal) => {
                // A start that needs the entry, because the index had been cut off, stops at it.
                assert_eq!(refusal.status.code(), Some(1));
                assert!(refusal.stderr.contains("tile/entries/003"), "{}", refusal.stderr);
                flip(&bundle, at);
                continue;
            }
        };
        let client = server.client();
        let mut refused = 0;
        for place in (0..256_usize).step_by(5).chain([1, 254, 255]) {
            let answer = client.get(&format!("{MAIN}/events/{}/entry", 3 * 256 + place));
            if answer.status == 200 {
                let expected = Hash::from_slice(&tile[place * 32..place * 32 + 32]).unwrap();
                assert_eq!(leaf_hash(&answer.body), expected, "entry {place} with byte {at} flipped");
            } else {
                answer.expect_problem(500, "internal", "a damaged bundle");
                refused += 1;
            }
        }
        assert!(refused > 0, "the damage shows");
        assert!(server.stderr().contains("tile/entries/003"), "{}", server.stderr());
        server.kill();
        flip(&bundle, at);
    }
}
