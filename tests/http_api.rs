//! Every route's good path, against a real server process.
//!
//! In scope: what a well-behaved client sees: input forms, receipts, history, proofs, tiles, keys.
//! Out of scope: refusals (`bad_input`) and crashes (`crash`, `recovery`).

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::type_complexity,
    reason = "a test fails by panicking, reads the clock, and has its cases in tables"
)]

mod common;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Answer, Client, DataDir, MAIN, PAST, access, policy, text_of, wait_until};
use counterfoil::event::json as strict;
use counterfoil::log::checkpoint;
use counterfoil::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use counterfoil::log::merkle::{verify_consistency, verify_inclusion};
use counterfoil::log::note::VerifierKey;
use counterfoil::log::proof::TlogProof;
use counterfoil::prove::proofs::{ConsistencyDocument, InclusionDocument};
use counterfoil::prove::receipt::Receipt;
use serde_json::{Value, json};

fn events(client: &Client, query: &str) -> Value {
    client.get(&format!("{MAIN}/events?{query}")).expect_status(200).json()
}

fn ids(page: &Value) -> Vec<String> {
    page["events"].as_array().unwrap().iter().map(|event| text_of(&event["event"]["id"])).collect()
}

fn strict_value(bytes: &[u8]) -> strict::Value {
    let limits = strict::JsonLimits { depth_max: 32, bytes_max: 64 << 20 };
    strict::parse(bytes, &limits).expect("JSON as the ledger reads it")
}

fn post_events(client: &Client, content_type: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", content_type)];
    all.extend_from_slice(headers);
    client.send("POST", &format!("{MAIN}/events"), &all, body)
}

/// The same event in every form that the API takes, as (form, content type, headers, body).
fn forms(id: &str) -> Vec<(&'static str, &'static str, Vec<(String, String)>, Vec<u8>)> {
    let cloud = access(id, "s-forms", "a-forms");
    let mut flat = cloud["data"].clone();
    for (name, value) in
        [("id", id), ("org", "acme"), ("producer", "crm"), ("type", "data.accessed"), ("at", PAST)]
    {
        flat[name] = json!(value);
    }
    let headers = ["id", "source", "type", "time", "specversion"];
    let headers = headers.map(|name| (format!("ce-{name}"), text_of(&cloud[name]))).to_vec();
    let none = Vec::new;
    vec![
        ("structured", "application/cloudevents+json; charset=utf-8", none(), cloud.to_string().into()),
        ("structured as JSON", "application/json", none(), cloud.to_string().into()),
        ("flat", "application/json", none(), flat.to_string().into()),
        ("binary", "application/json", headers, cloud["data"].to_string().into()),
        ("batch", "application/cloudevents-batch+json", none(), format!("[{cloud}]").into()),
        ("batch of flat", "application/cloudevents-batch+json", none(), format!("[{flat}]").into()),
        ("lines", "application/x-ndjson", none(), format!("\n{cloud}\n\n").into()),
        ("lines of flat", "application/x-ndjson", none(), format!("{flat}\r\n").into()),
    ]
}

#[test]
fn every_input_form_is_the_same_event() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let mut first = None;
    for (form, content_type, headers, body) in forms("e-same") {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = post_events(&client, content_type, &body, &headers);
        let receipt = match answer.json() {
            Value::Object(whole) if whole.contains_key("receipts") => whole["receipts"][0].clone(),
            whole => whole,
        };
        assert_eq!(answer.status, if first.is_none() { 201 } else { 200 }, "{form}: {receipt}");
        assert_eq!(receipt["replayed"], json!(first.is_some()), "{form}");
        let index = receipt["index"].as_u64().unwrap();
        assert_eq!(*first.get_or_insert(index), index, "{form}");
    }
    for (form, content_type, headers, body) in forms("e-other") {
        let id = format!("e-{}", form.replace(' ', "-"));
        let body = String::from_utf8(body).unwrap().replace("e-other", &id);
        let headers: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.replace("e-other", &id))).collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = post_events(&client, content_type, body.as_bytes(), &headers).expect_status(201);
        let receipt = match answer.json() {
            Value::Object(whole) if whole.contains_key("receipts") => whole["receipts"][0].clone(),
            whole => whole,
        };
        let opened =
            client.get(&format!("{MAIN}/events/{}", receipt["index"])).expect_status(200).json();
        assert_eq!(opened["event"], access(&id, "s-forms", "a-forms"), "{form}");
        assert_eq!(opened["leaf_hash"], receipt["leaf_hash"], "{form}");
        assert_eq!(opened["recorded_at"], receipt["recorded_at"], "{form}");
        let parts = json!([
            {"role": "open", "state": "open"},
            {"role": "subject", "state": "open"},
            {"role": "actor", "state": "open"},
        ]);
        assert_eq!(opened["parts"], parts, "{form}");
    }
}

#[test]
fn raw_attachments_and_compressed_bodies_come_back_whole() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let original = b"{\"n\": 123456789012345678901234567890, \"n\": 1}";
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "raw%201"),
        ("ce-source", "acme/import"),
        ("ce-type", "x-raw"),
        ("ce-subject", "bucket/%C3%BC"),
    ];
    let answer = post_events(&client, "application/octet-stream", original, &headers).expect_status(201);
    let index = answer.json()["index"].clone();
    let opened = client.get(&format!("{MAIN}/events/{index}")).expect_status(200).json();
    assert!(opened["as_of"]["size"].as_u64() > opened["index"].as_u64(), "{}", opened["as_of"]);
    assert_eq!(opened["as_of"]["root"].as_str().map(str::len), Some(64));
    assert_eq!(opened["event"]["id"], json!("raw 1"));
    assert_eq!(opened["event"]["subject"], json!("bucket/ü"));
    assert_eq!(opened["event"]["data_base64"], json!(STANDARD.encode(original)));

    let mut zipped = Vec::new();
    let plain = serde_json::to_vec(&[policy("z1"), policy("z2")]).unwrap();
    let mut gzip = flate2::read::GzEncoder::new(plain.as_slice(), flate2::Compression::best());
    std::io::Read::read_to_end(&mut gzip, &mut zipped).unwrap();
    let batch = "application/cloudevents-batch+json";
    let answer =
        post_events(&client, batch, &zipped, &[("content-encoding", "gzip")]).expect_status(201);
    assert_eq!(answer.json()["receipts"].as_array().unwrap().len(), 2);
    let largest = STANDARD.encode(vec![7_u8; 1 << 20]);
    let mut event = access("raw-max", "s1", "a1");
    event["data_base64"] = json!(largest);
    let answer = client.append(&event).expect_status(201);
    let opened =
        client.get(&format!("{MAIN}/events/{}", answer.json()["index"])).expect_status(200).json();
    assert_eq!(opened["event"]["data_base64"], event["data_base64"]);
    assert_eq!(opened["event"]["data"], event["data"]);
}

#[test]
fn a_receipt_says_as_much_as_is_preferred() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    let is_full = |receipt: &Value| {
        let has = ["checkpoint", "inclusion", "entry", "openings"].map(|name| !receipt[name].is_null());
        assert!(has.iter().all(|each| *each == has[0]), "all or none: {receipt}");
        has[0]
    };
    let one = |id: &str, headers: &[(&str, &str)]| {
        let body = access(id, "s1", "a1").to_string();
        post_events(&client, "application/json", body.as_bytes(), headers).expect_status(201)
    };
    let answer = one("r1", &[]);
    let receipt = answer.json();
    assert!(is_full(&receipt));
    assert_eq!(receipt["ledger"], json!("main"));
    assert_eq!(receipt["origin"], json!(key.name()));
    assert_eq!(receipt["id"], json!("r1"));
    assert_eq!(answer.header("location"), Some(format!("{MAIN}/events/{}", receipt["index"]).as_str()));
    assert_eq!(client.get(answer.header("location").unwrap()).status, 200);
    let parsed = Receipt::from_value(strict_value(&answer.body)).expect("a receipt");
    assert_eq!(parsed.full.expect("a full one").openings.parts.len(), 3);
    assert!(!is_full(&one("r2", &[("prefer", "receipt=brief")]).json()));
    assert!(is_full(&one("r3", &[("prefer", "respond-async, receipt=full")]).json()));
    let batch = |ids: [&str; 2], headers: &[(&str, &str)]| {
        let body = serde_json::to_vec(&ids.map(policy)).unwrap();
        let answer = post_events(&client, "application/cloudevents-batch+json", &body, headers);
        answer.expect_status(201).json()
    };
    let brief = batch(["b1", "b2"], &[]);
    let full = batch(["b3", "b4"], &[("prefer", "receipt=full")]);
    for (answer, expected) in [(&brief, false), (&full, true)] {
        for receipt in answer["receipts"].as_array().unwrap() {
            assert_eq!(is_full(receipt), expected);
        }
    }
    assert_eq!(brief["receipts"][0]["id"], json!("b1"));
    assert_eq!(brief["receipts"][1]["id"], json!("b2"));
    let answer = one("r5", &[("accept", "application/json;q=0.5, text/x.tlog-proof")]);
    assert_eq!(answer.header("content-type"), Some("text/x.tlog-proof"));
    let index = answer.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
    let entry = client.get(&format!("{MAIN}/events/{index}/entry")).expect_status(200);
    let proof = TlogProof::parse(&answer.body).expect("a proof file");
    proof.verify(&leaf_hash(&entry.body), &key).expect("the proof holds");
    let path = format!("{MAIN}/events/{index}/receipt");
    let again = client.send("GET", &path, &[("accept", "text/x.tlog-proof")], b"").expect_status(200);
    assert_eq!(again.header("content-type"), Some("text/x.tlog-proof"));
    TlogProof::parse(&again.body).unwrap().verify(&leaf_hash(&entry.body), &key).unwrap();
    let later = client.get(&path).expect_status(200);
    assert!(Receipt::from_value(strict_value(&later.body)).unwrap().full.is_some());
    assert_eq!(later.json()["entry"], json!(hex::encode(&entry.body)));
}

#[test]
fn a_repeat_gets_the_first_receipt_also_after_a_restart() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let event = access("again", "s1", "a1");
    let first = client.append(&event).expect_status(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(first.json()["replayed"], json!(false));
    let filler: Vec<Value> = (0..300).map(|n| policy(&format!("filler-{n}"))).collect();
    client.append_batch(&filler).expect_status(201);
    let size = client.size();
    let check = |client: &Client| {
        let second = client.append(&event).expect_status(200);
        assert_eq!(second.header("idempotency-replayed"), Some("true"));
        let (first, second) = (first.json(), second.json());
        assert_eq!(second["replayed"], json!(true));
        for member in ["index", "leaf_hash", "recorded_at", "id", "entry", "openings"] {
            assert_eq!(second[member], first[member], "{member}");
        }
        let batch = client.append_batch(&[policy("filler-7"), event.clone(), policy("filler-7")]);
        let receipts = batch.expect_status(200).json()["receipts"].clone();
        assert_eq!(receipts[1]["index"], first["index"]);
        assert_eq!(receipts[0]["index"], receipts[2]["index"]);
    };
    check(&client);
    assert_eq!(client.size(), size, "a repeat stores nothing");
    assert!(server.terminate().success());
    let server = data.serve();
    check(&server.client());
    server.kill();
    let server = data.serve();
    check(&server.client());
    let mixed = server.client().append_batch(&[event.clone(), policy("new")]).expect_status(201).json();
    assert_eq!(mixed["receipts"][0]["replayed"], json!(true));
    assert_eq!(mixed["receipts"][1]["replayed"], json!(false));
}

#[test]
fn the_same_id_twice_in_one_request_is_one_event() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let answer = client.append_batch(&[policy("twin"), policy("twin")]).expect_status(201).json();
    assert_eq!(answer["receipts"][0]["index"], answer["receipts"][1]["index"]);
    assert_eq!(answer["receipts"][0]["leaf_hash"], answer["receipts"][1]["leaf_hash"]);
    assert_eq!(client.size(), size + 1);
}

/// Events that differ in everything history can be asked for.
fn searchable() -> Vec<Value> {
    let event = |id: &str, source: &str, type_name: &str, data: Value| {
        json!({
            "specversion": "1.0", "id": id, "source": source, "type": type_name, "time": PAST,
            "data": data,
        })
    };
    let mut transfer = event(
        "h1",
        "acme/billing",
        "data.transferred",
        json!({
            "subject": "s1", "to": "Paymentix", "to_kind": "payment", "direction": "out",
            "categories": ["financial", "identity"], "purpose": "charge", "dest_country": "de",
        }),
    );
    transfer["correlationid"] = json!("corr-1");
    transfer["traceparent"] = json!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    transfer["subject"] = json!("invoice/77");
    vec![
        transfer,
        access("h2", "s1", "agent-9"),
        event(
            "h3",
            "acme/desk",
            "request.closed",
            json!({"request": "rq-5", "subject": "s2", "outcome": "refused", "reason": "Hohe Kosten"}),
        ),
        event(
            "h4",
            "acme/desk",
            "suppression.checked",
            json!({"number": "+4930123", "lists": ["dnc"], "blocked_on": []}),
        ),
        event(
            "h5",
            "acme/sso",
            "account.changed",
            json!({"subject": "s2", "account": "acc-1", "state": "created"}),
        ),
        policy("h6"),
    ]
}

/// Query and the ids it finds, oldest first.
const FILTERS: &[(&str, &[&str])] = &[
    ("subject=s1", &["h1", "h2"]),
    ("subject=s2", &["h3", "h5"]),
    ("subject=nobody", &[]),
    ("actor=agent-9", &["h2"]),
    ("actor=s1", &[]),
    ("account=acc-1", &["h5"]),
    ("number=%2B4930123", &["h4"]),
    ("resource=invoice/77", &["h1"]),
    ("type=data.accessed", &["h2"]),
    ("type=request.closed", &["h3"]),
    ("source=acme/desk", &["h3", "h4"]),
    ("source=acme%2Fweb", &["h6"]),
    ("recipient=Paymentix", &["h1"]),
    ("category=identity", &["h1"]),
    ("category=contact", &["h2"]),
    ("purpose=charge", &["h1"]),
    ("country=DE", &["h1"]),
    ("request=rq-5", &["h3"]),
    ("outcome=refused", &["h3"]),
    ("correlation=corr-1", &["h1"]),
    ("trace=4bf92f3577b34da6a3ce929d0e0e4736", &["h1"]),
    ("subject=s1&category=financial", &["h1"]),
    ("subject=s1&actor=agent-9&purpose=support", &["h2"]),
    ("subject=s1&source=acme/desk", &[]),
    ("q=hohe+kosten", &["h3"]),
    ("q=agent-9&subject=s1", &["h2"]),
    ("q=no-such-text", &[]),
    ("", &["h1", "h2", "h3", "h4", "h5", "h6"]),
];

fn check_filters(client: &Client, when: &str) {
    for (query, expected) in FILTERS {
        let query = format!("{query}&limit=1000");
        let only_ours = |page: &Value| -> Vec<String> {
            ids(page).into_iter().filter(|id| id.starts_with('h')).collect()
        };
        let ascending = events(client, &format!("{query}&order=asc"));
        assert_eq!(only_ours(&ascending), *expected, "{when}: {query}");
        let mut descending = only_ours(&events(client, &query));
        descending.reverse();
        assert_eq!(descending, *expected, "{when}: {query}, newest first");
        assert_eq!(ascending["complete"], json!(true), "{when}: {query}");
        assert_eq!(ascending["next_cursor"], Value::Null, "{when}: {query}");
    }
}

#[test]
fn history_finds_by_every_filter_at_once_and_after_a_restart() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    for event in searchable() {
        let id = text_of(&event["id"]);
        client.append(&event).expect_status(201);
        let newest = events(&client, "limit=1");
        assert_eq!(ids(&newest), [id.as_str()], "history includes what was just acknowledged");
    }
    check_filters(&client, "at once");
    let filler: Vec<Value> = (0..600).map(|n| policy(&format!("filler-{n}"))).collect();
    client.append_batch(&filler).expect_status(201);
    check_filters(&client, "in the fold");
    assert!(server.terminate().success());
    let server = data.serve();
    check_filters(&server.client(), "after a restart");
    server.kill();
    check_filters(&data.serve().client(), "after a kill");
}

#[test]
fn pages_of_one_cursor_describe_one_size_while_events_arrive() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let batch = |from: usize, to: usize| {
        let events: Vec<Value> = (from..to).map(|n| policy(&format!("p{n:05}"))).collect();
        client.append_batch(&events).expect_status(201);
    };
    batch(0, 700);
    for order in ["asc", "desc"] {
        let mut query = format!("type=policy.published&limit=64&order={order}");
        let mut found = Vec::new();
        let mut as_of = None;
        let mut next = if order == "asc" { 10_000 } else { 50_000 };
        let expected = events(&client, "limit=1")["as_of"]["size"].as_u64().unwrap();
        loop {
            let page = events(&client, &query);
            let first = as_of.get_or_insert_with(|| page["as_of"].clone());
            assert_eq!(page["as_of"], *first, "all pages are of one size");
            assert_eq!(page["as_of"]["size"].as_u64().unwrap(), expected);
            found.extend(ids(&page));
            assert!(page["events"].as_array().unwrap().len() <= 64);
            batch(next, next + 40);
            next += 40;
            match page["next_cursor"].as_str() {
                Some(cursor) => {
                    assert_eq!(page["complete"], json!(false));
                    query = format!("type=policy.published&limit=64&order={order}&cursor={cursor}");
                }
                None => break,
            }
        }
        let distinct: BTreeSet<&String> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "no event twice");
        let whole = events(&client, &format!("type=policy.published&limit=1000&order={order}"));
        let below = whole["events"].as_array().unwrap().iter();
        let below = below.filter(|event| event["index"].as_u64().unwrap() < expected);
        let below: Vec<String> = below.map(|event| text_of(&event["event"]["id"])).collect();
        if order == "asc" {
            assert_eq!(found, below, "every event of that size, in order");
        } else {
            assert!(found.starts_with(&below), "newest first");
        }
    }
}

#[test]
fn times_bound_an_answer_on_both_clocks() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    for (id, at) in [
        ("t1", "2025-03-01T10:00:00Z"),
        ("t2", "2025-03-01T11:00:00+01:00"),
        ("t3", "2025-03-02T00:00:00.5Z"),
        ("t4", "1999-12-31T23:59:59Z"),
    ] {
        let mut event = policy(id);
        event["at"] = json!(at);
        client.append(&event).expect_status(201);
    }
    let check = |query: &str, expected: &[&str]| {
        assert_eq!(ids(&events(&client, &format!("{query}&order=asc"))), expected, "{query}");
    };
    check("from=2025-03-01T10:00:00Z&to=2025-03-01T10:00:00.000001Z", &["t1", "t2"]);
    check("from=2025-03-01T10:00:00.000001Z", &["t3"]);
    check("to=2025-03-01T00:00:00Z", &["t4"]);
    check("from=2025-03-01T12:00:00%2B02:00&clock=occurred", &["t1", "t2", "t3"]);
    check("to=2025-12-31T00:00:00Z&clock=recorded", &[]);
    check("from=2025-12-31T00:00:00Z&clock=recorded", &["t1", "t2", "t3", "t4"]);
    let all = events(&client, "order=asc");
    let second = text_of(&all["events"][1]["recorded_at"]);
    check(&format!("to={second}&clock=recorded"), &["t1"]);
    check(&format!("from={second}&clock=recorded"), &["t2", "t3", "t4"]);
}

#[test]
fn gaps_of_a_source_are_told() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    for sequence in [1_u64, 2, 5, 6] {
        let mut event = policy(&format!("g{sequence}"));
        event["seq"] = json!(sequence);
        client.append(&event).expect_status(201);
    }
    let page = events(&client, "source=acme/web&order=asc");
    let index = |at: usize| page["events"][at]["index"].clone();
    let gap = json!([{
        "after_index": index(1), "before_index": index(2), "missing_from": 3, "missing_to": 4,
    }]);
    assert_eq!(page["gaps"], gap);
    assert_eq!(events(&client, "source=acme/web&q=g1")["gaps"], Value::Null);
}

#[test]
fn personal_parts_open_to_the_right_role_with_a_reason() {
    let data = DataDir::new();
    let server = data.serve();
    let index = server.client().append(&access("m1", "Frieda", "Otto")).expect_status(201).json();
    let index = index["index"].as_u64().unwrap();
    let states = |event: &Value| -> Vec<String> {
        event["parts"].as_array().unwrap().iter().map(|part| text_of(&part["state"])).collect()
    };
    for (role, opens) in [("responder", true), ("dpo", true), ("auditor", false)] {
        let client = server.client_as(role);
        let empty = format!("{MAIN}/events/{index}?reason=");
        client.get(&empty).expect_problem(400, "bad-parameter", "a reason without a value");
        client.get(&format!("{MAIN}/events?subject=")).expect_problem(
            400,
            "bad-parameter",
            "no subject",
        );
        for (reason, opened) in
            [("", false), ("?reason=%20", false)].into_iter().chain([("?reason=ticket-4", opens)])
        {
            let case = format!("{role} {reason}");
            let answer = client.get(&format!("{MAIN}/events/{index}{reason}")).expect_status(200);
            let personal = if opened { "open" } else { "withheld" };
            assert_eq!(states(&answer.json()), ["open", personal, personal], "{case}");
            let names = answer.text().contains("Frieda") || answer.text().contains("Otto");
            assert_eq!(names, opened, "{case}");
            let answer = client.get(&format!("{MAIN}/events/{index}/receipt{reason}"));
            let receipt = answer.expect_status(200);
            assert_eq!(receipt.text().contains("Frieda"), opened, "{case}: the receipt");
            let query = reason.replace('?', "&");
            let page = client.get(&format!("{MAIN}/events?subject=Frieda{query}")).expect_status(200);
            assert_eq!(states(&page.json()["events"][0]), ["open", personal, personal], "{case}");
            let found = client.get(&format!("{MAIN}/events?q=frieda{query}")).expect_status(200).json();
            let count = found["events"].as_array().unwrap().len();
            assert_eq!(count, usize::from(opened), "{case}: text search sees what the reader sees");
        }
    }
}

#[test]
fn proofs_verify_at_every_kind_of_size() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    let filler: Vec<Value> = (0..700).map(|n| policy(&format!("f{n}"))).collect();
    client.append_batch(&filler).expect_status(201);
    let size = client.size();
    wait_until("a checkpoint of everything", || {
        let note = client.get(&format!("{MAIN}/checkpoint"));
        note.status == 200 && checkpoint::open(&note.body, &key).unwrap().size.0 >= size
    });
    let note = client.get(&format!("{MAIN}/checkpoint"));
    let signed = checkpoint::open(&note.body, &key).unwrap();
    for index in [0, 1, 2, 255, 256, 257, 511, 512, size - 1] {
        let entry = client.get(&format!("{MAIN}/events/{index}/entry")).expect_status(200);
        assert_eq!(entry.header("content-type"), Some("application/octet-stream"));
        let leaf = leaf_hash(&entry.body);
        for at in [index + 1, index + 2, 300, signed.size.0] {
            if at <= index || at > size {
                continue;
            }
            let path = format!("{MAIN}/proofs/inclusion?index={index}&size={at}");
            let document = InclusionDocument::parse(strict_value(&client.get(&path).body)).unwrap();
            assert_eq!((document.index, document.size), (LogIndex(index), TreeSize(at)));
            assert_eq!(document.leaf_hash, leaf);
            verify_inclusion(LogIndex(index), TreeSize(at), &leaf, &document.proof, &document.root)
                .unwrap_or_else(|error| panic!("{index} of {at}: {error}"));
            if at == signed.size.0 {
                assert_eq!(document.root, signed.root);
            }
        }
    }
    for (from, to) in [(1, 2), (1, 256), (255, 257), (256, 512), (300, 701), (512, size), (7, 7)] {
        let path = format!("{MAIN}/proofs/consistency?from={from}&to={to}");
        let document = ConsistencyDocument::parse(strict_value(&client.get(&path).body)).unwrap();
        verify_consistency(
            TreeSize(from),
            TreeSize(to),
            &document.proof,
            &document.root_from,
            &document.root_to,
        )
        .unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    }
    let newest = client.get(&format!("{MAIN}/proofs/inclusion?index=5")).expect_status(200).json();
    assert_eq!(newest["size"], json!(client.size()));
}

fn verdict(client: &Client, document: &Value) -> (String, Vec<String>) {
    let report = client.post_json(&format!("{MAIN}/verify"), document).expect_status(200).json();
    let failed = report["checks"].as_array().unwrap().iter();
    let failed = failed.filter(|check| check["verdict"] == json!("failed"));
    (text_of(&report["verdict"]), failed.map(|check| text_of(&check["name"])).collect())
}

/// The same text with its last hex digit changed.
fn flipped(value: &Value) -> Value {
    let mut text = text_of(value);
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    json!(text)
}

#[test]
fn the_verification_api_tells_good_from_tampered() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    client.append_batch(&[policy("v1"), policy("v2"), policy("v3")]).expect_status(201);
    let receipt = client.append(&access("v4", "s1", "a1")).expect_status(201).json();
    for role in ["auditor", "producer", "responder"] {
        let (found, _) = verdict(&server.client_as(role), &receipt);
        assert_eq!(found, "verified", "{role}");
    }
    let tamper: &[(&str, fn(&mut Value))] = &[
        ("leaf hash", |r| r["leaf_hash"] = flipped(&r["leaf_hash"])),
        ("entry", |r| r["entry"] = flipped(&r["entry"])),
        ("proof", |r| r["inclusion"][0] = flipped(&r["inclusion"][0])),
        ("index", |r| r["index"] = json!(r["index"].as_u64().unwrap() - 1)),
        ("id", |r| r["id"] = json!("other")),
        ("time", |r| r["recorded_at"] = json!("2026-01-01T00:00:00.000000Z")),
        ("salt", |r| {
            r["openings"]["parts"][0]["salt"] = flipped(&r["openings"]["parts"][0]["salt"]);
        }),
        ("body", |r| {
            let body = text_of(&r["openings"]["parts"][0]["body"]).replace("support", "selling");
            r["openings"]["parts"][0]["body"] = json!(body);
        }),
        ("origin", |r| r["origin"] = json!("somebody.example/else")),
        ("checkpoint", |r| {
            let note = text_of(&r["checkpoint"]);
            let (origin, rest) = note.split_once('\n').unwrap();
            let (size, rest) = rest.split_once('\n').unwrap();
            let size: u64 = size.parse().unwrap();
            r["checkpoint"] = json!(format!("{origin}\n{}\n{rest}", size + 1));
        }),
    ];
    for (what, change) in tamper {
        let mut forged = receipt.clone();
        change(&mut forged);
        assert_ne!(forged, receipt, "{what} was changed");
        let (found, failed) = verdict(&client, &forged);
        assert_eq!(found, "failed", "{what}");
        assert!(!failed.is_empty(), "{what}");
    }
    let batch = client
        .send(
            "POST",
            &format!("{MAIN}/events"),
            &[("content-type", "application/x-ndjson"), ("prefer", "receipt=full")],
            format!("{}\n{}", policy("v5"), policy("v6")).as_bytes(),
        )
        .expect_status(201)
        .json();
    assert_eq!(verdict(&client, &batch).0, "verified");
    let brief = client.append_batch(&[policy("v7")]).expect_status(201).json();
    assert_eq!(
        verdict(&client, &brief["receipts"][0]).0,
        "not-provable",
        "a brief receipt proves nothing"
    );
    let path = format!("{MAIN}/events/{}", receipt["index"]);
    let entry = client.get(&format!("{path}/entry")).body;
    let proof = client.send("GET", &format!("{path}/receipt"), &[("accept", "text/x.tlog-proof")], b"");
    let document = json!({"tlog_proof": proof.text(), "entry": hex::encode(&entry)});
    assert_ne!(verdict(&client, &document).0, "failed");
    let mut other = entry;
    *other.last_mut().unwrap() ^= 1;
    let document = json!({"tlog_proof": proof.text(), "entry": hex::encode(&other)});
    assert_eq!(verdict(&client, &document).0, "failed");
    let masked = server.client_as("auditor").get(&format!("{path}/receipt")).expect_status(200).json();
    assert_ne!(verdict(&client, &masked).0, "failed", "withheld parts are not failures");
}

#[test]
fn checkpoint_and_tiles_are_public_and_cacheable() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let outsider = client.without_key();
    let filler: Vec<Value> = (0..300).map(|n| policy(&format!("f{n}"))).collect();
    client.append_batch(&filler).expect_status(201);
    let key: VerifierKey = data.verifier_key().parse().unwrap();
    let size = client.size();
    let note = || outsider.get(&format!("{MAIN}/checkpoint")).expect_status(200);
    wait_until("the checkpoint", || checkpoint::open(note().body, &key).unwrap().size.0 >= size);
    let answer = note();
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let partial = checkpoint::open(&answer.body, &key).unwrap().size.0 - 256;
    for (path, hashes) in [("tile/0/000".to_owned(), 256), (format!("tile/0/001.p/{partial}"), partial)]
    {
        let tile = outsider.get(&format!("{MAIN}/{path}")).expect_status(200);
        assert_eq!(tile.body.len() as u64, hashes * 32, "{path}");
        assert_eq!(tile.header("content-type"), Some("application/octet-stream"), "{path}");
        let days = if path.contains(".p/") { 1 } else { 365 };
        let cache = format!("public, max-age={}, immutable", days * 86_400);
        assert_eq!(tile.header("cache-control"), Some(cache.as_str()), "{path}");
        assert_eq!(tile.header("access-control-allow-origin"), Some("*"), "{path}");
    }
    let level = outsider.get(&format!("{MAIN}/tile/1/000.p/1")).expect_status(200);
    assert_eq!(level.body.len(), 32);
    let tile = outsider.get(&format!("{MAIN}/tile/0/000")).body;
    let bundle = client.get(&format!("{MAIN}/tile/entries/000")).expect_status(200);
    assert!(bundle.header("cache-control").unwrap().starts_with("private"));
    let mut rest = bundle.body.as_slice();
    for leaf in tile.chunks_exact(32) {
        let (length, after) = rest.split_at(2);
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        assert_eq!(leaf_hash(entry), Hash::from_slice(leaf).unwrap());
        rest = after;
    }
    assert!(rest.is_empty());
    outsider.get(&format!("{MAIN}/tile/entries/000")).expect_problem(401, "unauthenticated", "bundle");
    for path in [
        "tile/0/002",
        "tile/0/001",
        "tile/3/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/0",
        "tile/0/00001",
        "tile/-1/000",
        "tile/0/../../../../keys/admin.key",
        "tile/0/%2e%2e/%2e%2e/%2e%2e/checkpoint",
        "tile/entries/x999/999",
        "tile/",
        "tile/0/x000/000",
        "sealed/000",
        "reader.key",
        "events/999999",
        "events/999999/entry",
        "events/999999/receipt",
        "events/0",
        "nothing",
    ] {
        client.get(&format!("{MAIN}/{path}")).expect_problem(404, "not-found", path);
    }
    client.get("/v1/ledgers/other/checkpoint").expect_problem(404, "not-found", "another ledger");
    client.get("/elsewhere").expect_problem(404, "not-found", "another path");
    let answer = client.send("DELETE", &format!("{MAIN}/events"), &[], b"");
    answer.expect_problem(405, "method-not-allowed", "no events are deleted");
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{:?}", answer.headers);
}

#[test]
fn health_needs_no_key() {
    let data = DataDir::new();
    let server = data.serve();
    let outsider = server.client().without_key();
    for path in ["/livez", "/readyz"] {
        assert_eq!(outsider.get(path).expect_status(200).text(), "ok\n", "{path}");
    }
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    let request =
        json!({"role": "producer", "label": "shop", "ledgers": ["main"], "sources": ["acme/web"]});
    let answer = admin.post_json("/v1/keys", &request).expect_status(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let made = answer.json();
    let shop = admin.with_key(&text_of(&made["key"]));
    shop.append(&policy("k1")).expect_status(201);
    let listed = admin.get("/v1/keys").expect_status(200);
    assert!(!listed.text().contains(text_of(&made["key"]).rsplit('_').next().unwrap()), "no secrets");
    let keys = listed.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    let found = keys.iter().find(|key| key["id"] == made["id"]).expect("the new key");
    assert_eq!(found["label"], json!("shop"));
    assert_eq!(found["sources"], json!(["acme/web"]));
    assert!(server.terminate().success());
    let server = data.serve();
    let admin = server.client();
    let shop = admin.with_key(&text_of(&made["key"]));
    shop.append(&policy("k2")).expect_status(201);
    let path = format!("/v1/keys/{}", text_of(&made["id"]));
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 204);
    shop.append(&policy("k3")).expect_problem(401, "unauthenticated", "a revoked key");
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 204, "again is the same");
    let other = admin.send("DELETE", "/v1/keys/0000000000000000", &[], b"");
    other.expect_problem(404, "not-found", "an unknown key");
    let admin_only = admin.post_json("/v1/keys", &json!({"role": "admin"})).expect_status(201).json();
    let second = admin.with_key(&text_of(&admin_only["key"]));
    second.get("/v1/keys").expect_status(200);
    second.append(&policy("k4")).expect_problem(403, "forbidden", "a later admin key is no producer");
}

#[test]
fn types_are_published_and_registered() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let types = client.get(&format!("{MAIN}/types")).expect_status(200).json();
    let names: Vec<String> =
        types["types"].as_array().unwrap().iter().map(|each| text_of(&each["type"])).collect();
    assert_eq!(names.len(), 30, "29 and x-raw: {names:?}");
    assert!(types["types"][0]["schema"]["properties"].is_object());
    let badge = json!({
        "name": "x-badge",
        "schema": {
            "type": "object",
            "properties": {"subject": {"type": "string"}, "door": {"type": "integer"}},
            "required": ["subject", "door"],
        },
        "fields": {"door": {"owner": "open"}},
    });
    let event = |id: &str, door: Value| {
        json!({
            "specversion": "1.0", "id": id, "source": "acme/doors", "type": "x-badge", "time": PAST,
            "data": {"subject": "s1", "door": door},
        })
    };
    client.append(&event("x1", json!(4))).expect_problem(422, "unknown-type", "not yet");
    let path = format!("{MAIN}/types");
    client.post_json(&path, &badge).expect_status(201);
    client.post_json(&path, &badge).expect_status(200);
    let receipt = client.append(&event("x1", json!(4))).expect_status(201).json();
    client.append(&event("x2", json!("four"))).expect_problem(422, "schema-violation", "a wrong door");
    let mut changed = badge.clone();
    changed["schema"]["required"] = json!([]);
    client.post_json(&path, &changed).expect_problem(409, "already-registered", "types never change");
    server.kill();
    let server = data.serve();
    let client = server.client();
    let opened = client.get(&format!("{MAIN}/events/{}", receipt["index"])).expect_status(200).json();
    assert_eq!(opened["event"], event("x1", json!(4)));
    client.append(&event("x3", json!(5))).expect_status(201);
    client.append(&event("x4", json!("five"))).expect_problem(422, "schema-violation", "still checked");
    let found = events(&client, "subject=s1&type=x-badge&order=asc");
    assert_eq!(ids(&found), ["x1", "x3"]);
}
