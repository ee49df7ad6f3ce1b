//! Reads are events: who opened personal parts is in the ledger `reads`, and nobody else's business.
//!
//! In scope: a real server; what each kind of read leaves, what masked reads leave, who may read and write
//! the ledger of reads, that nothing is opened that cannot be recorded, that a record outlives a kill, that
//! a question lies nowhere in the clear. Out of scope: how such an event is cut into parts (unit tests).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and damages files"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use common::{Client, DataDir, MAIN, PATIENCE, Server, access, binary, files_below, policy, text_of};
use serde_json::{Value, json};

const READS: &str = "/v1/ledgers/reads";

/// A server with two events that name Frieda, one that names Gerda and one that names nobody.
fn scene(data: &DataDir) -> Server {
    let server = data.serve();
    let frieda = |id, actor| access(id, "Frieda", actor);
    let events =
        [frieda("r1", "Otto"), frieda("r2", "Emil"), access("r3", "Gerda", "Otto"), policy("r4")];
    server.client().append_batch(&events).expect_status(201);
    server
}

/// A key with a label; its client, and the key's id.
fn holder(server: &Server, role: &str, label: &str) -> (Client, String) {
    let client = server.client_with(&json!({ "role": role, "label": label }));
    let id = client.key.as_ref().unwrap().split('_').nth(1).unwrap().to_owned();
    (client, id)
}

/// How many reads are recorded; counting them is no read.
fn recorded(server: &Server) -> u64 {
    let counted = server.client().get(&format!("{READS}/summary")).expect_status(200).json();
    counted["total"].as_u64().unwrap()
}

/// The recorded reads that meet `query`, oldest first, as an auditor sees them.
fn reads(auditor: &Client, query: &str) -> Vec<Value> {
    let path = format!("{READS}/events?order=asc&reason=review{query}");
    let page = auditor.get(&path).expect_status(200).json();
    assert_eq!(page["complete"], json!(true));
    page["events"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect()
}

/// Asserts that the newest read says `expected` about itself, and gives all it says.
#[track_caller]
fn newest(auditor: &Client, expected: &Value) -> Value {
    let event = reads(auditor, "&source=counterfoil%2Fmain").pop().expect("a read");
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(event["data"].get(name).unwrap_or(&Value::Null), value, "{name} in {event}");
    }
    event
}

#[test]
fn each_kind_of_read_says_who_asked_what_how_much_and_why() {
    let data = DataDir::new();
    let server = scene(&data);
    let (responder, id) = holder(&server, "responder", "Rita at the desk");
    let (auditor, _) = holder(&server, "auditor", "");
    responder.get(&format!("{MAIN}/events?subject=Frieda&limit=1&reason=ticket+4")).expect_status(200);
    let who = json!({ "actor": id, "reader_label": "Rita at the desk", "role": "responder" });
    newest(&auditor, &who);
    let read = newest(
        &auditor,
        &json!({
            "operation": "search", "ledger": "main", "subject": "Frieda", "reason": "ticket 4",
            "reasoned": true, "rows": 1, "unmasked": 1, "first_index": 2, "last_index": 2, "index": null,
        }),
    );
    assert!(read["data"]["size"].as_u64() >= Some(5), "{read}");
    let page = format!("{MAIN}/events?actor=Otto&purpose=support&from=2025-01-01T00:00:00Z&reason=t5");
    responder.get(&page).expect_status(200);
    let asked = json!({
        "sought_actor": "Otto", "purpose": "support", "from": "2025-01-01T00:00:00Z", "actor": id,
        "rows": 2, "unmasked": 2, "first_index": 1, "last_index": 3,
    });
    newest(&auditor, &asked);
    responder.get(&format!("{MAIN}/events?source=acme%2Fcrm&q=gerda&reason=t6")).expect_status(200);
    newest(&auditor, &json!({ "text": "gerda", "sought_source": "acme/crm", "unmasked": 1 }));
    // All of it, of which one event names nobody.
    responder.get(&format!("{MAIN}/events?reason=t7")).expect_status(200);
    newest(&auditor, &json!({ "rows": 4, "unmasked": 3, "subject": null, "first_index": 1 }));
    responder.get(&format!("{MAIN}/events/3?reason=t8")).expect_status(200);
    newest(&auditor, &json!({ "operation": "event", "index": 3, "rows": 1, "unmasked": 1 }));
    responder.get(&format!("{MAIN}/events/1/receipt?reason=t9")).expect_status(200);
    newest(&auditor, &json!({ "operation": "receipt", "index": 1, "unmasked": 1, "reason": "t9" }));
    responder.get(&format!("{MAIN}/summary?q=frieda&reason=t10")).expect_status(200);
    newest(&auditor, &json!({ "operation": "summary", "text": "frieda", "rows": 2, "unmasked": 2 }));
    let (head, body) = stream(&responder, MAIN, "?after=-1&subject=Frieda&reason=t11", "\"r2\"");
    assert!(head.contains("200 OK") && body.contains("Frieda"), "{head}{body}");
    let streamed = json!({
        "operation": "stream", "subject": "Frieda", "unmasked": 2, "first_index": 1, "last_index": 2,
    });
    newest(&auditor, &streamed);
    // The first admin key needs no reason, and its reads are recorded all the same.
    server.client().get(&format!("{MAIN}/events/1")).expect_status(200);
    let unreasoned = json!({ "reason": "no reason given", "reasoned": false, "role": "admin" });
    newest(&auditor, &unreasoned);
    assert_eq!(reads(&auditor, "&source=counterfoil%2Fmain").len(), 9);
    // By reader, by person, by what was asked.
    assert_eq!(reads(&auditor, &format!("&actor={id}")).len(), 8);
    assert_eq!(reads(&auditor, "&subject=Frieda").len(), 2);
    assert_eq!(reads(&auditor, "&actor=Otto").len(), 1);
    assert_eq!(reads(&auditor, "&purpose=support&source=counterfoil%2Fmain").len(), 1);
    assert_eq!(reads(&auditor, "&subject=Gerda").len(), 0, "her name was a text, not a condition");
    assert!(server.terminate().success());
    verify(&data);
}

#[test]
fn what_opens_nothing_personal_leaves_nothing() {
    let data = DataDir::new();
    let server = scene(&data);
    let (responder, _) = holder(&server, "responder", "");
    let (auditor, _) = holder(&server, "auditor", "");
    for (client, paths) in [
        (&responder, &["events", "events?subject=Frieda", "events/1", "events/1/receipt"][..]),
        (&responder, &["summary?by=type&reason=x", "summary?q=frieda", "events?reason=%20"]),
        (&responder, &["events?subject=Nobody&reason=x", "events/4?reason=x", "events/1/entry"]),
        (&auditor, &["events?reason=x", "events/1?reason=x", "events/1/receipt?reason=x"]),
        (&auditor, &["proofs/inclusion?index=1", "summary?q=frieda&reason=x"]),
    ] {
        for path in paths {
            let answer = client.get(&format!("{MAIN}/{path}")).expect_status(200);
            assert!(!answer.text().contains("Frieda"), "{path}");
            assert_eq!(recorded(&server), 0, "{path}");
        }
    }
    let proof = [("accept", "text/x.tlog-proof")];
    let path = format!("{MAIN}/events/1/receipt?reason=x");
    responder.send("GET", &path, &proof, b"").expect_status(200);
    let (_, body) = stream(&responder, MAIN, "?after=-1&subject=Frieda", "\"r2\"");
    assert!(body.contains("withheld") && !body.contains("Frieda"), "{body}");
    // Whoever repeats an event gets back what it sent.
    let (producer, _) = holder(&server, "producer", "");
    let again = producer.append(&access("r1", "Frieda", "Otto")).expect_status(200);
    assert!(again.text().contains("Frieda"), "{}", again.text());
    assert_eq!(recorded(&server), 0);
    // Nor does whoever reads of reads without a reason.
    responder.get(&format!("{MAIN}/events/1?reason=x")).expect_status(200);
    let masked = auditor.get(&format!("{READS}/events")).expect_status(200);
    assert_eq!(masked.json()["events"][0]["event"]["data"]["unmasked"], json!(1), "{}", masked.text());
    assert!(!masked.text().contains("\"reason\""), "{}", masked.text());
    assert_eq!(recorded(&server), 1);
    assert!(server.terminate().success());
}

#[test]
fn the_ledger_of_reads_is_written_by_the_server_and_read_by_auditors() {
    let data = DataDir::new();
    data.init("ledger.example/audit");
    let server = scene(&data);
    let shown = server.client().get(READS).expect_status(200).json();
    assert_eq!(shown["origin"], json!("ledger.example/audit/reads"));
    let again = json!({ "name": "reads" });
    server.client().post_json("/v1/ledgers", &again).expect_problem(409, "ledger-taken", "its name");
    let (responder, _) = holder(&server, "responder", "");
    responder.get(&format!("{MAIN}/events/1?reason=ticket")).expect_status(200);

    let type_of_ours = json!({ "name": "x-own", "schema": { "type": "object" } });
    for role in ["producer", "responder", "dpo", "auditor", "admin", "first"] {
        let client = if role == "first" { server.client() } else { holder(&server, role, "").0 };
        let forged = json!({
            "specversion": "1.0", "id": "f1", "source": "counterfoil/main", "type": "x-read", "data": {},
        });
        for (case, answer) in [
            ("an event", client.post_json(&format!("{READS}/events"), &forged)),
            ("bytes", client.post(&format!("{READS}/add"), "application/octet-stream", b"x")),
            ("a type", client.post_json(&format!("{READS}/types"), &type_of_ours)),
        ] {
            answer.expect_problem(403, "forbidden", &format!("{role}: {case}"));
        }
    }
    wait_for_bundle(&server);
    let readable = ["events", "events/2?reason=x", "events/2/receipt", "events/2/entry", "summary"];
    let bundle = format!("tile/entries/000.p/{}", published(&server));
    for path in readable.into_iter().chain(["proofs/inclusion?index=2", "types", &bundle]) {
        for role in ["producer", "responder", "dpo", "admin"] {
            let answer = holder(&server, role, "").0.get(&format!("{READS}/{path}"));
            answer.expect_problem(403, "forbidden", &format!("{role}: {path}"));
        }
        holder(&server, "auditor", "").0.get(&format!("{READS}/{path}")).expect_status(200);
    }
    let elsewhere = server.client_with(&json!({ "role": "auditor", "ledgers": ["main"] }));
    elsewhere.get(&format!("{READS}/events")).expect_problem(403, "wrong-ledger", "an auditor of main");
    let here = server.client_with(&json!({ "role": "auditor", "ledgers": ["reads"] }));
    let found = here.get(&format!("{READS}/events?source=counterfoil%2Fmain&reason=x"));
    assert!(found.expect_status(200).text().contains("ticket"));
    // That was a read too, and so is the next.
    let of_reads = reads(&here, "&source=counterfoil%2Freads");
    assert_eq!(of_reads.last().unwrap()["data"]["ledger"], json!("reads"));
    assert_eq!(of_reads.last().unwrap()["data"]["reason"], json!("x"));
    // A stream that opened them would record itself without end.
    let (_, body) = stream(&here, READS, "?after=-1&reason=x", "entry");
    assert!(body.contains("withheld") && !body.contains("ticket"), "{body}");
    // It counts nobody among its producers.
    let listed = server.client().get("/v1/producers?ledger=reads").expect_status(200).json();
    assert_eq!(listed["producers"], json!([]));
    assert!(server.terminate().success());

    let server = data.serve_with(&["public_bundles=true"]);
    let bundle = format!("tile/entries/000.p/{}", published(&server));
    server.client().without_key().get(&format!("{READS}/{bundle}")).expect_problem(
        401,
        "unauthenticated",
        "bundles of reads are not public",
    );
    assert!(server.terminate().success());
}

#[test]
fn what_cannot_be_recorded_is_not_opened() {
    let data = DataDir::new();
    assert!(scene(&data).terminate().success());
    // More is asked to stay free than any disk has, so that nothing can be recorded.
    let server = data.serve_with(&["disk_reserve_bytes=9223372036854775807"]);
    let (responder, _) = holder(&server, "responder", "");
    let paths = ["events?", "events/1?", "events/1/receipt?", "summary?q=frieda&"];
    for path in paths {
        let answer = responder.get(&format!("{MAIN}/{path}reason=x"));
        answer.expect_problem(507, "disk-full", path);
        let raw = String::from_utf8_lossy(&answer.raw).into_owned();
        assert!(!raw.contains("Frieda") && !raw.contains("Otto"), "{path}: {raw}");
        responder.get(&format!("{MAIN}/{}", path.trim_end_matches('?'))).expect_status(200);
    }
    let (_, body) = stream(&responder, MAIN, "?after=-1&reason=x", "event: end");
    assert!(body.contains("unrecorded") && !body.contains("Frieda"), "{body}");
    assert_eq!(recorded(&server), 0);
    assert!(server.terminate().success());
    let server = data.serve_with(&["disk_reserve_bytes=0"]);
    let (responder, _) = holder(&server, "responder", "");
    let opened = responder.get(&format!("{MAIN}/events/1?reason=x")).expect_status(200);
    assert!(opened.text().contains("Frieda"));
    assert_eq!(recorded(&server), 1);
    assert!(server.terminate().success());
}

#[test]
fn a_record_outlives_a_kill_right_after_the_answer() {
    let data = DataDir::new();
    assert!(scene(&data).terminate().success());
    for round in 0..5_u64 {
        let server = data.serve();
        let before = recorded(&server);
        assert_eq!(before, round * 3);
        for path in ["events?subject=Gerda&", "events/1?", "events/2/receipt?"] {
            let path = format!("{MAIN}/{path}reason=round+{round}");
            server.client_as("dpo").get(&path).expect_status(200);
        }
        server.kill();
    }
    let server = data.serve();
    let (auditor, _) = holder(&server, "auditor", "");
    let found = reads(&auditor, "&source=counterfoil%2Fmain");
    let reasons: Vec<String> = found.iter().map(|read| text_of(&read["data"]["reason"])).collect();
    let expected: Vec<String> =
        (0..5).flat_map(|round| std::iter::repeat_n(format!("round {round}"), 3)).collect();
    assert_eq!(reasons, expected);
    assert!(server.terminate().success());
    verify(&data);
}

#[test]
fn a_question_lies_nowhere_in_the_clear() {
    let data = DataDir::new();
    let server = data.serve();
    let (subject, actor, account) = ("subject-q7vkz", "actor-q7vkz", "account-q7vkz");
    let event = json!({
        "id": "c1", "org": "acme", "producer": "web", "type": "data.accessed", "at": common::PAST,
        "subject": subject, "actor": actor, "account": account, "actor_role": "agent",
        "operation": "read", "purpose": "support", "categories": ["contact"],
    });
    server.client().append(&event).expect_status(201);
    let (responder, _) = holder(&server, "responder", "desk-label");
    for query in [
        format!("subject={subject}&reason=words-q7vkz"),
        format!("actor={actor}&account={account}&reason=words-q7vkz"),
        format!("q={subject}&reason=words-q7vkz"),
        "type=data.accessed&reason=words-q7vkz".to_owned(),
    ] {
        let page = responder.get(&format!("{MAIN}/events?{query}")).expect_status(200).json();
        assert_eq!(page["events"].as_array().unwrap().len(), 1, "{query}");
    }
    assert_eq!(recorded(&server), 4);
    assert_eq!(files_with(&data.path(), "q7vkz"), Vec::<String>::new(), "while it runs");
    assert!(server.terminate().success());
    assert_eq!(files_with(&data.path(), "q7vkz"), Vec::<String>::new(), "once it has ended");
    // The scan finds what is there: the log names its own types.
    assert!(!files_with(&data.path(), "sought_actor").is_empty());
    fs::write(data.path().join("ledgers/reads/planted"), b"\x00\x01subject-q7vkz\xff").unwrap();
    assert_eq!(files_with(&data.path(), "q7vkz"), ["planted"]);
}

#[test]
fn a_directory_from_before_gets_its_ledger_of_reads() {
    let data = DataDir::new();
    data.init("ledger.example/old");
    for (dir, of_reads) in [("ledgers", "reads"), ("vault", "reads"), ("keys", "reads.vault-root")] {
        fs::remove_dir_all(data.path().join(dir).join(of_reads)).unwrap();
    }
    for key in ["reads.signing-key", "reads.certificate-key"] {
        fs::remove_file(data.path().join("keys").join(key)).unwrap();
    }
    let settings = data.path().join("counterfoil.toml");
    let old = "# ours\n[ledgers.main]\norigin = \"ledger.example/old\"\n";
    fs::write(&settings, old).unwrap();
    let server = scene(&data);
    let shown = server.client().get(READS).expect_status(200).json();
    assert_eq!(shown["origin"], json!("ledger.example/old/reads"));
    let listed = fs::read_to_string(&settings).unwrap();
    assert!(listed.starts_with(old) && listed.contains("[ledgers.reads]"), "{listed}");
    server.client().get(&format!("{MAIN}/events/1")).expect_status(200);
    assert_eq!(recorded(&server), 1);
    server.kill();
    let server = data.serve();
    let again = server.client().get(READS).expect_status(200).json();
    assert_eq!(again["verifier_key"], shown["verifier_key"]);
    assert_eq!(recorded(&server), 1);
    assert!(server.terminate().success());
    verify(&data);
}

/// What a stream sent until `needle` came or it ended: headers and the rest.
fn stream(client: &Client, ledger: &str, query: &str, needle: &str) -> (String, String) {
    let mut socket = TcpStream::connect(&client.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = client.key.as_ref().unwrap();
    let request = format!(
        "GET {ledger}/events/stream{query} HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.contains(needle)
        {
            return (head.to_owned(), body.to_owned());
        }
        let read = socket.read(&mut chunk).unwrap();
        assert!(read > 0, "the stream ended before {needle}: {text}");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// Size of the published checkpoint of the ledger of reads.
fn published(server: &Server) -> u64 {
    let shown = server.client().get(READS).expect_status(200).json();
    shown["published_size"].as_u64().unwrap()
}

/// Waits until the read that was recorded is in a published bundle.
fn wait_for_bundle(server: &Server) {
    common::wait_until("a bundle of reads", || published(server) >= 3);
}

/// Names of the files below `dir` that hold `needle`.
fn files_with(dir: &Path, needle: &str) -> Vec<String> {
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    let found = files_below(dir, &holds);
    found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Verifies both ledgers of a directory, parts and index keys included.
fn verify(data: &DataDir) {
    for name in ["main", "reads"] {
        let dir = data.path().join("ledgers").join(name);
        let output = binary()
            .args(["verify".as_ref(), data.path().as_os_str(), "--key".as_ref()])
            .arg(dir.join("verifier.key"))
            .arg("--reader-key")
            .arg(dir.join("reader.key"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr];
        let said = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(output.status.code(), Some(0), "{name}: {}\n{}", said[0], said[1]);
    }
}
