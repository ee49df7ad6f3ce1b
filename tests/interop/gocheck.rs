//! `tools/gocheck`: the promise of a log and of a receipt, checked in Go from `docs/format.md` alone.
//!
//! In scope: what it accepts of a live server, and that it refuses what was changed. Out of scope:
//! logs that lie with a good signature, which its own Go tests make.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::common::{Client, DataDir, MAIN, PATIENCE, Ran, access, run_tool, tool};
use super::{append_accesses, flip};

const GOOD: i32 = 0;
const ERROR: i32 = 1;
const FAILED: i32 = 3;

fn run(data: &DataDir, command: &[&str]) -> Ran {
    let mut gocheck = Command::new(tool("gocheck"));
    gocheck.args(command).arg("--key").arg(data.ledger().join("verifier.key"));
    run_tool(&mut gocheck, 2 * PATIENCE, |_| false)
}

/// Checks a directory with the log's files.
pub(crate) fn dir(data: &DataDir, dir: &Path) {
    run(data, &["log", "--dir", dir.to_str().unwrap()]).expect(GOOD, "verified");
}

/// Checks the log that a server serves, and its proofs and receipts, with a key that may verify.
pub(crate) fn server(data: &DataDir, client: &Client) -> Ran {
    let token = data.beside("gocheck.token");
    fs::write(&token, client.key.as_ref().unwrap()).unwrap();
    let url = format!("http://{}{MAIN}", client.address);
    let reader = data.ledger().join("reader.key");
    let (token, reader) = (token.to_str().unwrap(), reader.to_str().unwrap());
    let ran = run(data, &["log", "--url", &url, "--token-file", token, "--reader-key", reader]);
    ran.expect(GOOD, "ok      api proofs").expect(GOOD, "ok      api receipts").expect(GOOD, "verified")
}

/// A full receipt for each of two events, as the answer to a batch.
fn receipts(client: &Client) -> Vec<u8> {
    let events = [access("g1", "subject 1", "actor 1"), access("g2", "subject 2", "actor 1")];
    let headers = [("content-type", "application/cloudevents-batch+json"), ("prefer", "receipt=full")];
    let body = serde_json::to_vec(&events).unwrap();
    client.send("POST", &format!("{MAIN}/events"), &headers, &body).expect_status(201).body
}

fn write(data: &DataDir, name: &str, bytes: &[u8]) -> String {
    let path = data.beside(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn it_verifies_a_live_ledger_for_every_role_that_may() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let file = write(&data, "receipts.json", &receipts(&client));
    append_accesses(&data, &client, 0..600);
    // The same event with other content: a conflict entry, which names the one that stands.
    client.append(&access("p7", "another subject", "a1")).expect_status(409);
    append_accesses(&data, &client, 600..700);
    let ran = self::server(&data, &client).expect(GOOD, "1 conflicts");
    assert!(ran.said.contains("702 events"), "{}", ran.said);
    for role in ["auditor", "dpo", "responder"] {
        self::server(&data, &server.client_as(role));
    }
    let url = format!("http://{}{MAIN}/", client.address);
    // Bundles are not public; what is public verifies without a key.
    run(&data, &["log", "--url", &url]).expect(ERROR, "401");
    run(&data, &["log", "--url", &url, "--static", "--hashes-only"]).expect(GOOD, "verified");
    let directory = data.ledger();
    let directory = directory.to_str().unwrap();
    let found = run(&data, &["log", "--dir", directory, "--receipts", &file]);
    found.expect(GOOD, "2 receipts are for what the log holds");
}

#[test]
fn it_verifies_receipts_and_proof_files_offline_and_no_changed_one() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let batch = receipts(&client);
    append_accesses(&data, &client, 0..300);
    let at = |path: &str, accept: &str| {
        client
            .send("GET", &format!("{MAIN}/events/{path}"), &[("accept", accept)], b"")
            .expect_status(200)
    };
    let newest = at("2/receipt", "application/json").body;
    let proof = at("2/receipt", "text/x.tlog-proof").body;
    let entry = at("2/entry", "*/*").body;
    assert!(server.terminate().success());

    let reader = data.ledger().join("reader.key");
    let reader = reader.to_str().unwrap();
    let receipt = |name: &str, bytes: &[u8]| {
        run(&data, &["receipt", &write(&data, name, bytes), "--reader-key", reader])
    };
    receipt("batch.json", &batch).expect(GOOD, "2 receipts; 6 parts as committed, 0 not shown");
    receipt("newest.json", &newest).expect(GOOD, "1 receipts; 3 parts as committed, 0 not shown");
    let whole: Value = serde_json::from_slice(&newest).unwrap();
    for pointer in [
        "/checkpoint",
        "/inclusion/0",
        "/leaf_hash",
        "/entry",
        "/id",
        "/recorded_at",
        "/origin",
        "/openings/parts/0/salt",
        "/openings/parts/0/body",
        "/openings/parts/1/body",
        "/openings/parts/2/salt",
        "/openings/keys/0/value",
    ] {
        let mut changed = whole.clone();
        let member = changed.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let text = member.as_str().unwrap();
        let last = text.len() - 2;
        let other = if &text[last..=last] == "1" { "2" } else { "1" };
        *member = Value::from(format!("{}{other}{}", &text[..last], &text[last + 1..]));
        let ran = receipt("changed.json", &serde_json::to_vec(&changed).unwrap());
        assert_eq!(ran.code, Some(FAILED), "{pointer}: {}", ran.said);
    }

    let offline = |proof: &[u8], entry: &[u8]| {
        let (proof, entry) = (write(&data, "e.tlog-proof", proof), write(&data, "e.entry", entry));
        run(&data, &["proof", &proof, "--entry", &entry])
    };
    offline(&proof, &entry).expect(GOOD, "entry 2 of 30");
    let text = String::from_utf8(proof).unwrap();
    let other = text.replacen("index 2", "index 3", 1);
    offline(other.as_bytes(), &entry).expect(FAILED, "inclusion");
    let mut changed = entry;
    changed[100] ^= 1;
    offline(text.as_bytes(), &changed).expect(FAILED, "inclusion");
}

#[test]
fn it_finds_one_flipped_bit_wherever_it_is() {
    let data = DataDir::new();
    let server = data.serve();
    append_accesses(&data, &server.client(), 0..300);
    assert!(server.terminate().success());
    dir(&data, &data.ledger());
    for (file, at) in [
        ("checkpoint", 40),
        ("tile/0/000", 5_000),
        ("tile/entries/000", 9),
        ("tile/entries/000", 40_000),
    ] {
        let path = data.ledger().join(file);
        flip(&path, at);
        let directory = data.ledger();
        let ran = run(&data, &["log", "--dir", directory.to_str().unwrap()]);
        assert_eq!(ran.code, Some(FAILED), "{file}: {}", ran.said);
        flip(&path, at);
    }
    dir(&data, &data.ledger());
}
