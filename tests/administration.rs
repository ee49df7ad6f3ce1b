//! Keys, ledgers and producers, over HTTP and on the command line, against a real server process.
//!
//! In scope: who may administer what, keys through their life, a second ledger with keys of its own. Out of
//! scope: what roles may do with events (`http_api`, `bad_input`).

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and writes its own files"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use common::{Client, DataDir, MAIN, access, binary, policy, text_of};
use serde_json::{Value, json};

fn make(client: &Client, request: &Value) -> Value {
    client.post_json("/v1/keys", request).expect_status(201).json()
}

fn patch(client: &Client, path: &str, body: &Value) -> common::Answer {
    client.send("PATCH", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[test]
fn a_key_from_its_making_to_its_end() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    let made = make(&admin, &json!({ "role": "producer", "label": "crm", "sources": ["acme/crm"] }));
    let id = text_of(&made["id"]);
    assert_eq!((&made["state"], &made["last_used_at_s"]), (&json!("live"), &Value::Null));
    let producer = admin.with_key(&text_of(&made["key"]));
    producer.append(&policy("k-1")).expect_problem(403, "wrong-source", "another source");
    let seen = admin.get(&format!("/v1/keys/{id}")).expect_status(200).json();
    assert!(seen["last_used_at_s"].as_u64().unwrap() > 1_700_000_000, "{seen}");
    assert!(seen.get("key").is_none() && !seen.to_string().contains(&text_of(&made["key"])[20..]));

    let rotated = admin.post_json(&format!("/v1/keys/{id}/rotate"), &json!({ "overlap_s": 3600 }));
    let rotated = rotated.expect_status(201).json();
    assert_eq!((&rotated["number"], &rotated["sources"]), (&made["number"], &made["sources"]));
    for key in [&made, &rotated] {
        let client = admin.with_key(&text_of(&key["key"]));
        client.get("/v1/ledgers").expect_status(200);
    }
    let again = admin.post_json(&format!("/v1/keys/{id}/rotate"), &json!({}));
    again.expect_problem(400, "bad-parameter", "rotated before");

    let new_id = text_of(&rotated["id"]);
    let path = format!("/v1/keys/{new_id}");
    let changed = patch(&admin, &path, &json!({ "label": "crm two" })).expect_status(200).json();
    assert_eq!((&changed["label"], &changed["expires_at_s"]), (&json!("crm two"), &Value::Null));
    patch(&admin, &path, &json!({ "expires_at_s": 5 })).expect_problem(
        400,
        "bad-parameter",
        "in the past",
    );
    patch(&admin, &path, &json!({ "role": "admin" })).expect_problem(
        400,
        "bad-parameter",
        "a key's role",
    );
    let fields = json!(["label", "dpo", [], [], null]);
    admin.post_json("/v1/keys", &fields).expect_problem(400, "bad-parameter", "fields without names");
    admin.send("DELETE", &path, &[], b"").expect_status(204);
    let revoked = admin.with_key(&text_of(&rotated["key"]));
    revoked.get("/v1/ledgers").expect_problem(401, "unauthenticated", "a revoked key");
    admin.post_json(&format!("{path}/rotate"), &json!({})).expect_problem(
        409,
        "key-not-live",
        "rotating a revoked key",
    );
    for (method, path) in [("GET", "/v1/keys/0123"), ("DELETE", "/v1/keys/0123")] {
        admin.send(method, path, &[], b"").expect_problem(404, "not-found", "no such key");
    }
}

#[test]
fn nobody_locks_everybody_out() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    let keys = admin.get("/v1/keys").expect_status(200).json();
    let first = text_of(&keys["keys"][0]["id"]);
    let path = format!("/v1/keys/{first}");
    admin.send("DELETE", &path, &[], b"").expect_problem(409, "last-admin-key", "the last admin key");
    let second = server.client_as("admin");
    let rotated = second.post_json(&format!("{path}/rotate"), &json!({}));
    rotated.expect_problem(403, "forbidden", "a key that may do more than the caller's");
    second.send("DELETE", &path, &[], b"").expect_status(204);
    second.get("/v1/keys").expect_status(200);
    server.terminate();

    // The first key's file is of no more use; a stopped server's directory makes another.
    let key_file = data.beside("new-admin.key");
    let run = |data_dir: &str| {
        binary()
            .args(["keys", "create", "--role", "admin", "--data", data_dir, "-o"])
            .arg(&key_file)
            .output()
            .unwrap()
    };
    let made = run(data.path().to_str().unwrap());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(made.stdout.is_empty(), "the key is in its file only");
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&key_file).unwrap();
    let server = data.serve();
    server.client().with_key(key.trim()).get("/v1/keys").expect_status(200);
    let running = run(data.path().to_str().unwrap());
    assert_ne!(running.status.code(), Some(0), "a running server's directory is not written to");
}

#[test]
fn an_admin_of_some_ledgers_rules_over_those() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    admin.post_json("/v1/ledgers", &json!({ "name": "clinic" })).expect_status(201);
    let bound = json!({ "role": "admin", "ledgers": ["clinic"] });
    let clinic = admin.with_key(&text_of(&make(&admin, &bound)["key"]));
    for (case, request) in [
        ("an unbound key", json!({ "role": "admin" })),
        ("a key for another ledger", json!({ "role": "producer", "ledgers": ["main"] })),
        ("a key for one ledger too many", json!({ "role": "producer", "ledgers": ["clinic", "main"] })),
    ] {
        clinic.post_json("/v1/keys", &request).expect_problem(403, "wrong-ledger", case);
    }
    make(&clinic, &json!({ "role": "producer", "ledgers": ["clinic"] }));
    let listed = clinic.get("/v1/keys").expect_status(200).json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed}");
    let ledgers = clinic.get("/v1/ledgers").expect_status(200).json();
    assert_eq!(ledgers["ledgers"].as_array().unwrap().len(), 1, "{ledgers}");
    let other = json!({ "name": "other" });
    clinic.post_json("/v1/ledgers", &other).expect_problem(403, "wrong-ledger", "adding a ledger");
    let others = make(&admin, &json!({ "role": "producer" }));
    let path = format!("/v1/keys/{}", text_of(&others["id"]));
    clinic.send("DELETE", &path, &[], b"").expect_problem(404, "not-found", "a key that is not theirs");
    for role in ["producer", "responder", "auditor", "dpo"] {
        let caller = server.client_as(role);
        caller.get("/v1/keys").expect_problem(403, "forbidden", role);
        caller.post_json("/v1/ledgers", &other).expect_problem(403, "forbidden", role);
        caller.get("/v1/ledgers").expect_status(200);
    }
}

#[test]
fn keys_that_cannot_be_are_refused_with_the_field() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    for (field, request) in [
        ("ledgers", json!({ "role": "producer", "ledgers": ["nosuch"] })),
        ("ledgers", json!({ "role": "producer", "ledgers": ["../x"] })),
        ("label", json!({ "role": "producer", "label": "x".repeat(201) })),
        ("sources", json!({ "role": "producer", "sources": [""] })),
        ("sources", json!({ "role": "producer", "sources": vec!["s"; 101] })),
        ("expires_at_s", json!({ "role": "producer", "expires_at_s": 1 })),
    ] {
        let answer = admin.post_json("/v1/keys", &request).expect_status(400).json();
        assert_eq!(answer["parameter"], json!(field), "{answer}");
    }
    let odd = admin.post_json("/v1/keys", &json!({ "role": "root" }));
    odd.expect_problem(400, "bad-parameter", "an unknown role");
    let torn = admin.post("/v1/keys", "application/json", b"{\"role\":");
    torn.expect_problem(400, "malformed-json", "a torn request");
}

#[test]
fn a_second_ledger_has_keys_a_log_and_a_name_of_its_own() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    admin.append(&policy("p-1")).expect_status(201);
    let new = json!({ "name": "clinic", "origin": "ledger.example/clinic" });
    let made = admin.post_json("/v1/ledgers", &new).expect_status(201);
    assert_eq!(made.header("location"), Some("/v1/ledgers/clinic"));
    let verifier = text_of(&made.json()["verifier_key"]);
    assert!(verifier.starts_with("ledger.example/clinic+"), "{verifier}");
    for taken in
        [json!({ "name": "clinic" }), json!({ "name": "c2", "origin": "ledger.example/clinic" })]
    {
        admin.post_json("/v1/ledgers", &taken).expect_problem(409, "ledger-taken", "taken");
    }
    for name in ["", "A", "../x", "a b"] {
        let answer = admin.post_json("/v1/ledgers", &json!({ "name": name }));
        answer.expect_problem(400, "bad-parameter", name);
    }
    let bad_origin = json!({ "name": "c3", "origin": "with space" });
    admin.post_json("/v1/ledgers", &bad_origin).expect_problem(400, "bad-parameter", "a bad origin");

    // The same event is new to the other ledger, and its receipt verifies under the other key alone.
    let path = "/v1/ledgers/clinic/events";
    let receipt = admin.post_json(path, &policy("p-1")).expect_status(201).text();
    let file = data.beside("receipt.json");
    std::fs::write(&file, &receipt).unwrap();
    let verify = |key: &str| -> Output {
        binary().arg("verify").arg(&file).args(["--key", key]).output().unwrap()
    };
    assert_eq!(verify(&verifier).status.code(), Some(0));
    assert_eq!(verify(&data.verifier_key()).status.code(), Some(3));
    server.terminate();

    let server = data.serve();
    let admin = server.client();
    let shown = admin.get("/v1/ledgers/clinic").expect_status(200).json();
    assert_eq!(shown["verifier_key"], json!(verifier));
    let replayed = admin.post_json(path, &policy("p-1")).expect_status(200).json();
    assert_eq!(replayed["replayed"], json!(true));
    server.terminate();
    let whole = binary().arg("verify").arg(data.path()).args(["--key", &verifier]).output().unwrap();
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
}

#[test]
fn producers_are_listed_by_number_with_their_newest_event() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    let event = access("p-1", "s", "a");
    let bound = json!({ "role": "producer", "label": "crm", "sources": ["acme/crm", "acme/silent"] });
    let producer = make(&admin, &bound);
    let appended = admin.with_key(&text_of(&producer["key"])).append(&event).expect_status(201).json();
    let listed = server.client_as("auditor").get("/v1/producers?ledger=main").expect_status(200).json();
    let listed = listed["producers"].as_array().unwrap().clone();
    let found = listed.iter().find(|each| each["number"] == producer["number"]).unwrap();
    assert_eq!(found["sources"][0]["newest_index"], appended["index"], "{found}");
    assert_eq!(found["sources"][1]["newest_index"], Value::Null, "{found}");
    assert_eq!(listed.len(), 2, "the first admin key may append too");
    server.client_as("producer").get("/v1/producers").expect_problem(403, "forbidden", "a producer");
    admin.get("/v1/producers?ledger=none").expect_problem(404, "not-found", "no such ledger");
    admin.get(&format!("{MAIN}/")).expect_problem(404, "not-found", "a trailing slash");
}
