//! A server's audit of itself, and the command that asks for it, against a real server process.
//!
//! In scope: damage that is planted is found and its place named, progress and results, what is kept across
//! a restart. Out of scope: rows of the index, which a running server holds (`ledger::tests`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail, and damages files"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use common::{Client, DataDir, MAIN, Server, access, binary, wait_until};
use serde_json::Value;

fn fill(client: &Client, events: u64) {
    let events: Vec<Value> = (0..events)
        .map(|number| access(&format!("e-{number}"), &format!("s-{}", number % 7), "a-1"))
        .collect();
    for batch in events.chunks(200) {
        client.append_batch(batch).expect_status(201);
    }
}

/// Waits until the checkpoint covers everything.
fn wait_for_publication(client: &Client) {
    let size = client.size();
    wait_until("a checkpoint", || {
        let note = client.get(&format!("{MAIN}/checkpoint")).text();
        note.lines().nth(1).is_some_and(|line| line.parse() == Ok(size))
    });
}

/// Runs an audit and returns its result.
fn audit(client: &Client) -> Value {
    let started = client.post(&format!("{MAIN}/audit"), "", b"").expect_status(202);
    assert_eq!(started.header("location"), Some("/v1/ledgers/main/audit"));
    let id = started.json()["id"].clone();
    let mut state = Value::Null;
    wait_until("the audit to end", || {
        state = client.get(&format!("{MAIN}/audit")).expect_status(200).json();
        state["running"].is_null() && state["last"]["id"] == id
    });
    state["last"].clone()
}

fn check_of<'a>(result: &'a Value, name: &str) -> &'a Value {
    let checks = result["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {result}"))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn command(server: &Server, data: &DataDir, more: &[&str]) -> Output {
    let mut command = binary();
    command.args(["audit", "--url", &format!("http://{}", server.address), "--key-file"]);
    command.arg(data.path().join("keys/admin.key")).args(more).output().unwrap()
}

#[test]
fn a_good_ledger_is_verified_while_it_grows_and_the_result_is_kept() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let nothing = client.get(&format!("{MAIN}/audit")).expect_status(200).json();
    assert!(nothing["running"].is_null() && nothing["last"].is_null());
    assert_eq!(command(&server, &data, &[]).status.code(), Some(4), "no result is no success");
    fill(&client, 600);
    let writer = {
        let client = client.clone();
        std::thread::spawn(move || {
            for number in 0..200 {
                client.append(&access(&format!("more-{number}"), "s-new", "a-2")).expect_status(201);
            }
        })
    };
    let result = audit(&client);
    writer.join().unwrap();
    assert_eq!(result["verdict"], "verified", "{result}");
    for name in
        ["checkpoint", "tiles", "root", "chain", "parts", "content", "journal", "index", "mapping"]
    {
        assert_eq!(check_of(&result, name)["verdict"], "verified", "{name}: {result}");
    }
    assert!(result["remedy"].is_null());
    let producer = server.client_as("producer");
    producer.get(&format!("{MAIN}/audit")).expect_problem(403, "forbidden", "a producer");
    server.kill();
    let server = data.serve();
    let kept = server.client().get(&format!("{MAIN}/audit")).json();
    assert_eq!(kept["last"], result);
    let shown = command(&server, &data, &[]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("VERIFIED"));
    data.verify();
}

#[test]
fn damage_in_a_tile_or_a_sealed_part_is_found_and_named() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    fill(&client, 600);
    wait_for_publication(&client);
    for (file, check) in
        [("tile/0/001", "leaves"), ("tile/entries/000", "root"), ("sealed/001", "parts")]
    {
        let path = data.ledger().join(file);
        let whole = fs::read(&path).unwrap();
        flip(&path, whole.len() / 2);
        let run = command(&server, &data, &["--start", "--wait", "--json"]);
        assert_eq!(run.status.code(), Some(3), "{file}: {}", String::from_utf8_lossy(&run.stderr));
        let result: Value = serde_json::from_slice(&run.stdout).unwrap();
        let result = &result["last"];
        assert_eq!(result["verdict"], "failed");
        assert_eq!(check_of(result, check)["verdict"], "failed", "{result}");
        let first = &result["findings"][0];
        let named = ["place", "detail"].map(|member| first[member].as_str().unwrap().contains(file));
        assert!(named.contains(&true), "{first} does not name {file}");
        assert!(result["remedy"].as_str().unwrap().contains("Keep a copy"));
        fs::write(&path, whole).unwrap();
        assert!(server.stderr().contains("the self-audit of ledger main failed"), "{}", server.stderr());
    }
    assert_eq!(audit(&client)["verdict"], "verified", "with everything put back");
}

#[test]
fn tail_follows_counts_and_goes_on_after_the_server_was_killed() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    fill(&client, 30);
    let tail = |server: &Server, more: &[&str]| {
        let mut command = binary();
        command.args(["tail", "--url", &format!("http://{}", server.address), "--key-file"]);
        command.arg(data.path().join("keys/admin.key")).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let all = tail(&server, &["--since", "0", "--count", "30", "--json"]).wait_with_output().unwrap();
    assert_eq!(all.status.code(), Some(0), "{}", String::from_utf8_lossy(&all.stderr));
    let lines: Vec<Value> = String::from_utf8(all.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 30);
    assert_eq!(lines[29]["event"]["id"], "e-29");
    let one = tail(&server, &["--since", "0", "--count", "2", "--subject", "s-3", "--reason", "test"]);
    let one = String::from_utf8(one.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(one.lines().count(), 2);
    assert!(one.lines().all(|line| line.contains("subject=s-3")), "{one}");
    let wrong = tail(&server, &["--since", "99999"]).wait_with_output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("bad-cursor"));
    let usage = tail(&server, &["--since", "yesterday"]).wait_with_output().unwrap();
    assert_eq!(usage.status.code(), Some(2));

    let mut follower = tail(&server, &["--since", "0", "--count", "32", "--json"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let first: Vec<String> = lines.by_ref().take(30).map(Result::unwrap).collect();
    assert_eq!(first.len(), 30);
    let address = server.address.clone();
    server.kill();
    let mut again = binary();
    again.args(["serve", "--listen", &address, "--data"]).arg(data.path());
    let again = Ends(again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the server on its old address", || TcpStream::connect(&address).is_ok());
    for number in 0..2 {
        client.append(&access(&format!("after-{number}"), "s-1", "a-1")).expect_status(201);
    }
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let ids: Vec<&str> = rest.iter().map(|event| event["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["after-0", "after-1"], "each once, and none from before");
    assert!(follower.wait().unwrap().success());
    drop(again);
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
