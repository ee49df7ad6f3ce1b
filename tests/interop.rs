//! Independent programs read what the ledger writes.
//!
//! In scope: Tessera's `fsck`, `mirror` and `migrate`, the Go checker of `tools/gocheck`, the Python
//! packages `aics-tlog` and `metamorphic-log`, `OpenSSL`; over HTTP, over the data directory and over
//! mirrors, at the sizes where tiles roll over. Out of scope: our own verifier, which is tested
//! against the same formats elsewhere. A tool that is missing fails its test: `tools/test` installs
//! all of them, and says at its end which could not be had.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and keeps its own files and deadlines"
)]

mod common;

#[path = "interop/gocheck.rs"]
mod gocheck;
#[path = "interop/hammer.rs"]
mod hammer;
#[path = "interop/mirrors.rs"]
mod mirrors;
#[path = "interop/python.rs"]
mod python;
#[path = "interop/schemathesis.rs"]
mod schemathesis;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Client, DataDir, MAIN, access, fsck_files, fsck_http, policy, wait_until};
use counterfoil::log::checkpoint;
use counterfoil::log::note::VerifierKey;
use serde_json::Value;

/// Appends events that name nobody until the published log has `size` entries.
fn grow(client: &Client, key: &VerifierKey, size: u64) {
    let mut from = client.size();
    while from < size {
        let to = size.min(from + 8_000);
        let events: Vec<Value> = (from..to).map(|n| policy(&format!("g{n}"))).collect();
        client.append_batch(&events).expect_status(201);
        from = client.size();
        assert_eq!(from, to, "one entry for each event and none beside them");
    }
    wait_until("the published checkpoint", || published(client, key) == size);
}

fn published(client: &Client, key: &VerifierKey) -> u64 {
    let note = client.get(&format!("{MAIN}/checkpoint")).expect_status(200);
    checkpoint::open(note.body, key).unwrap().size.0
}

/// Appends events that name persons and waits until they are published.
fn append_accesses(data: &DataDir, client: &Client, ids: Range<u64>) {
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    let person = |n: u64| access(&format!("p{n}"), &format!("s{n}"), &format!("a{}", n % 9));
    client.append_batch(&ids.map(person).collect::<Vec<Value>>()).expect_status(201);
    let size = client.size();
    wait_until("the published checkpoint", || published(client, &key) >= size);
}

/// Changes one bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn fsck_and_gocheck_accept_the_log_at_every_size_where_tiles_roll_over() {
    let data = DataDir::new();
    data.init("interop.example/log");
    fsck_files(&data).unwrap_or_else(|said| panic!("size 0 as files: {said}"));
    gocheck::dir(&data, &data.ledger());
    let server = data.serve();
    let client = server.client();
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    for size in [1, 255, 256, 257, 65_535, 65_536, 65_537] {
        grow(&client, &key, size);
        fsck_files(&data).unwrap_or_else(|said| panic!("size {size} as files: {said}"));
        fsck_http(&data, &client).unwrap_or_else(|said| panic!("size {size} over HTTP: {said}"));
        gocheck::server(&data, &client);
        assert_eq!(published(&client, &key), size, "nothing was appended meanwhile");
    }
    assert!(server.terminate().success());
    fsck_files(&data).unwrap_or_else(|said| panic!("after the end: {said}"));
    let server = data.serve();
    fsck_http(&data, &server.client()).unwrap_or_else(|said| panic!("after a restart: {said}"));
}

#[test]
fn fsck_accepts_a_log_with_persons_and_sees_damage() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    append_accesses(&data, &client, 0..700);
    fsck_http(&data, &client).unwrap_or_else(|said| panic!("over HTTP: {said}"));
    assert!(server.terminate().success());
    fsck_files(&data).unwrap_or_else(|said| panic!("as files: {said}"));
    flip(&data.ledger().join("tile/0/001"), 77);
    let said = fsck_files(&data).expect_err("one bit of a tile is another log");
    assert!(said.contains("fsck failed"), "{said}");
}

#[test]
fn openssl_verifies_the_checkpoint() {
    let data = DataDir::new();
    let server = data.serve();
    server.client().append(&access("o1", "s1", "a1")).expect_status(201);
    let vkey = data.verifier_key();
    let note = server.client().get(&format!("{MAIN}/checkpoint")).expect_status(200).text();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let line = signatures.lines().next().unwrap().strip_prefix("\u{2014} ").unwrap();
    let (name, signature) = line.split_once(' ').unwrap();
    assert_eq!(Some(name), vkey.split('+').next());
    let signature = STANDARD.decode(signature).unwrap();
    let public = STANDARD.decode(vkey.splitn(3, '+').nth(2).unwrap()).unwrap();
    assert_eq!((signature.len(), public.len(), public[0]), (4 + 64, 1 + 32, 1), "plain Ed25519");
    // RFC 8410: a SubjectPublicKeyInfo is this prefix and the 32 bytes of the key.
    let mut der = hex::decode("302a300506032b6570032100").unwrap();
    der.extend_from_slice(&public[1..]);
    let write = |name: &str, bytes: &[u8]| {
        let path = data.beside(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let key = write("key.der", &der);
    let signature = write("signature", &signature[4..]);
    let verify = |text: &str| {
        let text = write("text", text.as_bytes());
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"]).arg(&key);
        openssl.arg("-sigfile").arg(&signature).arg("-in").arg(&text);
        let output = openssl.output().expect("openssl runs; `tools/test` installs it");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (good, said) = verify(&format!("{text}\n"));
    assert!(good, "{said}");
    let (good, said) = verify(&format!("{text} \n"));
    assert!(!good, "another text: {said}");
}
