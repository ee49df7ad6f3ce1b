//! Retention tables, legal holds and the list of what is due, over HTTP and on the command line, against a
//! real server process.
//!
//! In scope: who may what, what is refused, forms of the report, what a restart keeps, what is nowhere in
//! the clear. Out of scope: what is due and what a hold stops, part by part (`ledger::tests::duties`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail, and writes its own files"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{Answer, Client, DataDir, MAIN, Server, access, binary, policy, text_of};
use serde_json::{Value, json};

fn put(client: &Client, table: &Value) -> Answer {
    let path = format!("{MAIN}/retention");
    client.send("PUT", &path, &[("content-type", "application/json")], table.to_string().as_bytes())
}

fn table() -> Value {
    json!({ "rules": [
        { "id": "RET-ACCESS-1M", "types": ["data.accessed"], "parts": ["subject", "actor"],
          "keep": "P1M", "from": "recorded" },
        { "id": "RET-7Y", "types": ["*"], "parts": ["*"], "keep": "P7Y", "not_before": "2025-05-25",
          "from": { "type": "account.changed", "state": "terminated" },
          "statute": { "basis": "740 ILCS 14/15(a)", "keep": "P3Y", "from": "last-event" } },
    ]})
}

fn due(client: &Client, query: &str) -> Value {
    client.get(&format!("{MAIN}/reports/retention-due{query}")).expect_status(200).json()
}

#[test]
fn a_table_is_set_shown_and_kept() {
    let data = DataDir::new();
    let server = data.serve();
    let (admin, dpo) = (server.client(), server.client_as("dpo"));
    let path = format!("{MAIN}/retention");
    let none = dpo.get(&path).expect_status(200).json();
    assert_eq!((&none["index"], &none["rules"]), (&Value::Null, &json!([])));
    let set = put(&server.client_as("admin"), &table()).expect_status(200).json();
    assert_eq!(set["rules"], table()["rules"]);
    let size = admin.size();
    assert_eq!(put(&admin, &table()).expect_status(200).json()["index"], set["index"]);
    assert_eq!(admin.size(), size, "the same table again is no entry");
    put(&dpo, &table()).expect_problem(403, "forbidden", "a dpo does not set rules");
    for role in ["producer", "responder"] {
        server.client_as(role).get(&path).expect_problem(403, "forbidden", role);
    }
    let refused = |table: &Value, pointer: &str| {
        let answer = put(&admin, table);
        answer.expect_problem(422, "bad-retention", pointer);
        let problem = answer.json();
        assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or(""), pointer, "{problem}");
    };
    let with = |name: &str, value: Value| {
        let mut changed = table();
        changed["rules"][0][name] = value;
        changed
    };
    refused(&json!([]), "");
    refused(&json!({ "rules": [], "note": 1 }), "");
    refused(&with("types", json!(["data.qzmark7"])), "/rules/0/types/0");
    refused(&with("parts", json!(["qzmark7"])), "/rules/0/parts/0");
    refused(&with("keep", json!("one year")), "/rules/0/keep");
    refused(&with("from", json!("birth")), "/rules/0/from");
    refused(&with("id", json!("RET-7Y")), "/rules/1/id");
    admin.send("PUT", &path, &[], b"{\"rules\":[],\"rules\":[]}").expect_problem(
        400,
        "malformed-json",
        "a member given twice",
    );
    assert_eq!(admin.size(), size, "nothing of it is recorded");

    let file = data.beside("table.json");
    fs::write(&file, json!({ "rules": [table()["rules"][0]] }).to_string()).unwrap();
    let key = data.path().join("keys/admin.key");
    let run = |arguments: &[&str]| {
        let url = format!("http://{}", server.address);
        let output = binary().args(arguments).args(["--url", &url, "--key-file"]).arg(&key).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&["retention", "set", file.to_str().unwrap()]);
    assert!(said.contains("RET-ACCESS-1M  data.accessed  subject,actor  P1M from recorded"), "{said}");
    let shown: Value = serde_json::from_str(&run(&["retention", "show", "--json"])).unwrap();
    assert_eq!(shown["rules"].as_array().unwrap().len(), 1);
    server.terminate();
    let server = data.serve();
    let kept = server.client().get(&path).expect_status(200).json();
    assert_eq!((&kept["rules"], &kept["index"]), (&shown["rules"], &shown["index"]));
    server.terminate();
    data.verify();
}

#[test]
fn the_due_list_counts_and_names_nobody() {
    let data = DataDir::new();
    let server = data.serve();
    let (admin, dpo) = (server.client(), server.client_as("dpo"));
    put(&admin, &table()).expect_status(200);
    for number in 0..12 {
        let event = access(&format!("a-{number}"), &format!("qzmark7-{number}"), "qzmark7-actor");
        admin.append(&event).expect_status(201);
    }
    admin.append(&policy("p")).expect_status(201);
    let hold = json!({ "persons": [{ "namespace": "subject", "id": "qzmark7-3" }], "reason": "claim" });
    let hold = dpo.post_json(&format!("{MAIN}/holds"), &hold).expect_status(201).json();
    let now = due(&dpo, "");
    let due_now = now["rows"].as_array().unwrap().iter();
    let due_now = due_now.filter(|row| row["next_action"] != "wait for the anchor event").count();
    assert_eq!((due_now, &now["complete"]), (0, &json!(true)));
    let late = due(&dpo, "?at=2100-01-01T00:00:00Z");
    let rows = late["rows"].as_array().unwrap();
    let row = |part: &str, action: &str| {
        let found = rows.iter().find(|row| {
            row["rule_id"] == "RET-ACCESS-1M"
                && row["next_action"] == action
                && text_of(&row["subject_or_set"]).contains(part)
        });
        found.unwrap_or_else(|| panic!("no row of {part} to {action}: {late}"))
    };
    let free = row("subject", "prune");
    assert_eq!(free["subject_or_set"], "11 subject parts of data.accessed");
    assert!(free["days_over"].as_i64().unwrap() > 26_000 && free["hold_id"].is_null(), "{free}");
    assert!(!free["categories"].as_array().unwrap().is_empty(), "{free}");
    let kept = row("subject", "wait for the release of the hold");
    assert_eq!(kept["subject_or_set"], "1 subject part of data.accessed");
    assert_eq!((&kept["hold_id"], &kept["extension_basis"]), (&hold["id"], &json!("legal hold")));
    let statute = rows.iter().find(|row| row["rule_id"] == "RET-7Y").unwrap();
    assert!(statute["expires_at"].is_null() && statute["statutory_expires_at"].is_string(), "{statute}");
    assert!(!late.to_string().contains("qzmark7"), "{late}");

    // The same question has the same bytes, whatever was recorded since.
    let size = late["as_of"]["size"].as_u64().unwrap();
    let fixed = format!("{MAIN}/reports/retention-due?as_of={size}&at=2100-01-01T00:00:00Z");
    let first = ["json", "csv", "html"].map(|form| dpo.get(&format!("{fixed}&format={form}")));
    admin.append(&access("later", "qzmark7-3", "other")).expect_status(201);
    let release = format!("{MAIN}/holds/{}/release", text_of(&hold["id"]));
    dpo.post_json(&release, &json!({ "reason": "settled" })).expect_status(200);
    put(&admin, &json!({ "rules": [] })).expect_status(200);
    for (answer, form) in first.iter().zip(["json", "csv", "html"]) {
        assert_eq!(answer.status, 200, "{form}");
        let again = dpo.get(&format!("{fixed}&format={form}"));
        assert_eq!(again.text(), answer.text(), "{form}");
    }
    assert_eq!(first[0].json()["rows"], late["rows"]);
    assert_eq!(first[1].header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(first[1].text().contains("\r\nrule_id,subject_or_set,categories,"));
    let policy = first[2].header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(due(&dpo, "")["rows"], json!([]), "the newest table has no rules");
    assert_eq!(printed(&data, &server, size), first[1].text());
}

/// The list of 2100 as the command prints it.
fn printed(data: &DataDir, server: &Server, size: u64) -> String {
    let output = binary()
        .args(["report", "retention-due", "--format", "csv", "--as-of", &size.to_string()])
        .args(["--at", "2100-01-01T00:00:00Z", "--url", &format!("http://{}", server.address)])
        .arg("--key-file")
        .arg(data.path().join("keys/admin.key"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_report_that_cannot_be_given_is_refused() {
    let data = DataDir::new();
    let server = data.serve();
    let dpo = server.client_as("dpo");
    for (query, case) in
        [("?as_of=0", "nothing yet"), ("?as_of=99999", "not reached"), ("?format=xml", "no form")]
    {
        let answer = dpo.get(&format!("{MAIN}/reports/retention-due{query}"));
        answer.expect_problem(400, "bad-parameter", case);
    }
    for role in ["producer", "responder", "admin"] {
        let answer = server.client_as(role).get(&format!("{MAIN}/reports/retention-due"));
        answer.expect_problem(403, "forbidden", role);
    }
}

fn files_hold(dir: &Path, wanted: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return files_hold(&path, wanted);
        }
        fs::read(&path).unwrap().windows(wanted.len()).any(|window| window == wanted)
    })
}

fn place(server: &Server, hold: &Value) -> Answer {
    server.client_as("dpo").post_json(&format!("{MAIN}/holds"), hold)
}

#[test]
fn a_hold_is_placed_listed_kept_and_released() {
    let data = DataDir::new();
    let server = data.serve();
    let whole = json!({
        "persons": [{ "namespace": "subject", "id": "qzmark7-person" }],
        "request": "qzmark7-request", "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z",
        "reason": "qzmark7-reason", "reference": "qzmark7-reference",
    });
    let placed = place(&server, &whole).expect_status(201).json();
    assert_eq!(
        (&placed["state"], &placed["persons"], &placed["request"]),
        (&json!("active"), &json!(1), &json!(true))
    );
    let bad = |change: &dyn Fn(&mut Value)| {
        let mut hold = whole.clone();
        change(&mut hold);
        place(&server, &hold).expect_problem(400, "bad-parameter", &hold.to_string());
    };
    bad(&|hold| *hold = json!({ "reason": "nothing is held" }));
    bad(&|hold| hold["reason"] = json!(""));
    bad(&|hold| hold["to"] = json!("2026-01-01T00:00:00Z"));
    bad(&|hold| hold["from"] = json!("yesterday"));
    bad(&|hold| hold["persons"][0]["namespace"] = json!("child"));
    bad(&|hold| hold["persons"][0]["id"] = json!(""));
    bad(&|hold| hold["note"] = json!("unknown"));
    for role in ["producer", "responder", "auditor", "admin"] {
        let answer = server.client_as(role).post_json(&format!("{MAIN}/holds"), &whole);
        answer.expect_problem(403, "forbidden", role);
    }
    assert!(!files_hold(&data.ledger(), b"qzmark7"), "in the clear");
    let id = text_of(&placed["id"]);
    let name = format!("{id}.placed");
    assert!(data.ledger().join("holds").join(&name).is_file());
    server.terminate();

    let server = data.serve();
    let auditor = server.client_as("auditor");
    let list = auditor.get(&format!("{MAIN}/holds")).expect_status(200).json();
    assert_eq!(list["holds"], json!([placed]), "a restart keeps it");
    let key = data.path().join("keys/admin.key");
    let run = |arguments: &[&str]| {
        let url = format!("http://{}", server.address);
        let output = binary().args(arguments).args(["--url", &url, "--key-file"]).arg(&key).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let said = run(&["hold", "release", &id, "--reason", "settled"]);
    assert!(said.starts_with(&format!("{id}  released")), "{said}");
    let second = run(&["hold", "place", "--person", "actor:qzmark7-2", "--reason", "claim"]);
    let listed = run(&["hold", "list"]);
    assert!(
        listed.lines().count() == 2 && listed.contains(&second) && listed.contains("1 person  claim"),
        "{listed}"
    );
    let dpo = server.client_as("dpo");
    let release =
        |id: &str| dpo.post_json(&format!("{MAIN}/holds/{id}/release"), &json!({ "reason": "settled" }));
    release(&id).expect_problem(409, "hold-released", "it is over");
    release(&"0".repeat(32)).expect_problem(404, "not-found", "no such hold");
    release("qzmark7").expect_problem(404, "not-found", "no id");
    server.terminate();
    fs::remove_dir_all(data.ledger().join("holds")).unwrap();
    let server = data.serve();
    let list = server.client().get(&format!("{MAIN}/holds")).expect_status(200).json();
    let states: Vec<_> = list["holds"].as_array().unwrap().iter().map(|hold| &hold["state"]).collect();
    assert_eq!(states, [&json!("released"), &json!("active")]);
    assert_eq!((&list["holds"][1]["reason"], &list["holds"][1]["persons"]), (&Value::Null, &json!(1)));
    server.terminate();
    data.verify();
}
