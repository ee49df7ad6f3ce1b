//! `counterfoil import` against a real server: every published event arrives, once, bit for bit.
//!
//! In scope: 5,184 records of 13 sources, and files written here for what those do not hold. Out of
//! scope: what a mapping makes of a record (`tests/mapping.rs`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot read or write its files has to fail"
)]

#[path = "import/failing.rs"]
mod failing;
#[path = "import/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use server::{Import, Server, counts};

/// Each published file: records, and those of them that no earlier record of it repeats.
const FILES: [(&str, u64, u64); 13] = [
    ("aws-lambda-events", 105, 105),
    ("cloud-custodian-events", 89, 89),
    ("cloudtrail-fixtures-misc", 5, 3),
    ("google-cloudevents", 32, 30),
    ("k8s-audit2rbac", 37, 37),
    ("mozdef-sample-events", 44, 44),
    ("octokit-webhooks", 650, 647),
    ("otlp-examples", 4, 4),
    ("panther-analysis-tests", 3442, 3104),
    ("plaso-cloud", 25, 25),
    ("stratus-red-team-cloudtrail", 310, 310),
    ("streamalert-tests", 127, 125),
    ("traildiscover-cloudtrail", 314, 314),
];

/// Those that hold nothing but `CloudTrail` records.
const CLOUDTRAIL: [&str; 3] =
    ["cloudtrail-fixtures-misc", "stratus-red-team-cloudtrail", "traildiscover-cloudtrail"];

fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events").join(format!("{name}.ndjson"))
}

fn lines(name: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(published(name)).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Everything is in the ledger.
fn assert_whole(import: &Import, expected: [u64; 4]) {
    assert_eq!((import.code, import.counts()), (0, expected), "{}", import.stderr);
    assert_eq!(import.summary["complete"], true, "{}", import.stderr);
}

fn one(server: &Server, args: &[&str], bytes: &[u8]) -> Import {
    server.import(args, &[&server.file("one", bytes)])
}

#[test]
fn every_published_record_arrives_once_and_bit_for_bit() {
    let server = Server::start();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _, _)| published(name)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut originals = BTreeSet::new();
    let expected: Vec<[u64; 4]> = FILES
        .iter()
        .map(|(name, records, unique)| {
            let lines = lines(name);
            assert_eq!(u64::try_from(lines.len()).unwrap(), *records, "{name}");
            assert_eq!(lines.iter().collect::<BTreeSet<_>>().len() as u64, *unique, "{name}");
            let new = lines.into_iter().filter(|line| originals.insert(line.clone())).count() as u64;
            [*records, new, records - new, 0]
        })
        .collect();
    assert_eq!(originals.len(), 4836);

    let first = server.import(&["--map", "generic"], &paths);
    assert_whole(&first, [5184, 4836, 348, 0]);
    let by_file: Vec<_> = first.summary["files"].as_array().unwrap().iter().map(counts).collect();
    assert_eq!(by_file, expected);
    assert_eq!(first.of_type("custom", "x-import"), 5184);
    let count = server.count();
    assert_eq!(server.attachments(), originals, "each record's own bytes come back");

    let again = server.import(&["--map", "generic", "--batch", "3000"], &paths);
    assert_whole(&again, [5184, 0, 5184, 0]);
    let zipped =
        server.file("all.gz", &gzip(&originals.iter().cloned().collect::<Vec<_>>().join(&b'\n')));
    assert_whole(&server.import(&["--map", "generic"], &[&zipped]), [4836, 0, 4836, 0]);
    assert_eq!(server.count(), count, "importing again adds nothing");
}

#[test]
fn cloudtrail_files_are_mapped_and_envelopes_taken_apart() {
    let server = Server::start();
    let paths: Vec<PathBuf> = CLOUDTRAIL.iter().map(|name| published(name)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let originals: BTreeSet<Vec<u8>> = CLOUDTRAIL.iter().flat_map(|name| lines(name)).collect();
    let unique = originals.len() as u64;

    // Without `--map`: the records themselves say what they are.
    let first = server.import(&[], &paths);
    assert_whole(&first, [629, unique, 629 - unique, 0]);
    assert_eq!(first.summary["mappings"], serde_json::json!({ "cloudtrail": 629 }), "{}", first.stderr);
    assert!(first.stderr.contains("read by cloudtrail: 629"), "{}", first.stderr);
    let of_types = [
        first.of_type("mapped", "data.accessed"),
        first.of_type("mapped", "data.transferred"),
        first.of_type("custom", "x-aws.cloudtrail"),
    ];
    assert_eq!(of_types, [264, 3, 362]);
    assert_eq!(server.attachments(), originals);

    let count = server.count();
    assert_whole(&server.import(&["--map", "cloudtrail"], &paths), [629, 0, 629, 0]);
    let records = lines(CLOUDTRAIL[1]).join(b" ,\n ".as_slice());
    let document = [b"{\n\"Records\" : [\n", records.as_slice(), b"\n]\n}\n"].concat();
    assert_whole(&one(&server, &[], &document), [310, 0, 310, 0]);
    assert_whole(&one(&server, &[], &gzip(&document)), [310, 0, 310, 0]);
    let array = [b"[", records.as_slice(), b"]"].concat();
    assert_whole(&one(&server, &["--map", "cloudtrail"], &array), [310, 0, 310, 0]);
    assert_eq!(server.count(), count, "the same records in an envelope are the same events");
}

#[test]
fn a_mapping_takes_files_that_are_not_its_own() {
    let server = Server::start();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _, _)| published(name)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let import = server.import(&["--map", "cloudtrail", "--batch", "10000"], &paths);
    // 13 files, 1,161 records of `CloudTrail` among them, some in envelopes or as texts.
    assert_whole(&import, [5184, 4836, 348, 0]);
    assert_eq!(import.of_type("custom", "x-import"), 5184 - 1161);
    assert!(import.of_type("mapped", "data.deleted") > 10, "{}", import.stderr);
    // What envelopes hold comes without them, and again only if its bytes differ.
    assert_eq!(server.attachments().len(), 4836);
    let array = one(&server, &["--map", "cloudtrail"], b"[ {\"z\":1},\n{\"z\":2} ]");
    assert_whole(&array, [2, 2, 0, 0]);
}

#[test]
fn what_no_other_reader_keeps_is_kept() {
    let server = Server::start();
    let deep = format!("{{\"deep\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let records = [
        r#"{ "eventID" : 9007199254740993, "n":-18446744073709551616 ,"n":1e400}"#,
        r#"{"half":"\ud800","same":1,"same":2}"#,
        "{\"tab\":\"\\t\", \"\u{fffd}\":\"\u{1f512}\"}",
        "\u{feff}{\"bom\":true}",
        &deep,
        "{\"at\":\"0001-01-01T00:00:00Z\",\"timestamp\":\"1601-01-01T00:00:00Z\"}",
    ];
    let file = format!("{}\r\n\r\n{}\n{}", records[0], records[0], records[1..].join("\n"));
    let import = one(&server, &["--map", "generic"], file.as_bytes());
    assert_whole(&import, [7, 6, 1, 0]);
    let expected: BTreeSet<_> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
    assert_eq!(server.attachments(), expected);
}

#[test]
fn bad_lines_are_named_and_the_rest_is_imported() {
    let server = Server::start();
    let limit = |more: usize| format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) - 8 + more));
    let file = [
        "{\"ok\":1}",
        "hunter2 is no JSON",
        "",
        "{\"ok\":2}",
        "[1, 2]",
        "{\"a\":\"hunter2\"",
        &limit(0),
        &limit(1),
        &format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128)),
        r#"{"specversion":"1.0","id":"e1","source":"s","type":"data.deleted","data":{"holder":"hunter2"}}"#,
        r#"{"specversion":"1.0","id":"e1","id":"hunter2","source":"s","type":"data.deleted"}"#,
        "[{\"ok\":3},\"hunter2\",{\"ok\":4}]",
        "{\"ok\":5}",
        "zero\0",
    ];
    let import = one(&server, &["--map", "generic"], file.join("\n").as_bytes());
    assert_eq!((import.code, import.counts()), (1, [15, 11, 0, 4]), "{}", import.stderr);
    let expected = [
        (8, None, "raw-too-large"),
        (10, None, "missing-field"),
        (11, None, "duplicate-key"),
        (14, None, "malformed-json"),
    ];
    let mut refusals = import.refusals();
    refusals.sort_unstable();
    assert_eq!(refusals, expected, "{}", import.stderr);
    let listed = import.summary["unmapped_records"].as_array().unwrap().iter();
    let listed: Vec<_> = listed
        .map(|each| {
            (each["line"].as_u64().unwrap(), each["record"].as_u64(), each["reason"].as_str().unwrap())
        })
        .collect();
    let (unknown, syntax) = ("no mapping knows this record", "not JSON from byte");
    let expected = [
        (1, None, unknown),
        (2, None, syntax),
        (4, None, unknown),
        (5, None, "not a JSON object"),
        (6, None, syntax),
        (7, None, unknown),
        (9, None, "nested deeper than 128"),
        (12, Some(1), unknown),
        (12, Some(2), "not a JSON object"),
        (12, Some(3), unknown),
        (13, None, unknown),
    ];
    assert_eq!(listed.len(), expected.len(), "{listed:?}");
    for ((line, record, reason), expected) in listed.into_iter().zip(expected) {
        assert_eq!((line, record), (expected.0, expected.1));
        assert!(reason.starts_with(expected.2), "{line}: {reason}");
    }
    assert!(import.stderr.contains("one:10: missing-field: "), "{}", import.stderr);
    assert!(import.stderr.contains("one:2: not JSON from byte 0 on"), "{}", import.stderr);
    let told = format!("{}{}", import.stderr, import.summary);
    assert!(!told.contains("hunter2"), "nothing of a record is repeated: {told}");
    assert_eq!(import.summary["complete"], false);

    let missing_end = gzip(file[0].as_bytes());
    let cut = one(&server, &["--map", "generic"], &missing_end[..missing_end.len() - 9]);
    assert_eq!((cut.code, &cut.summary["complete"]), (1, &false.into()), "{}", cut.stderr);
    assert_eq!(cut.summary["errors"].as_array().unwrap().len(), 1, "{}", cut.stderr);
}

#[test]
fn events_of_ours_pass_and_a_conflict_is_told() {
    let server = Server::start();
    let event = |holder: &str| {
        format!(
            r#"{{"id":"e1","org":"o","producer":"p","type":"data.deleted","at":"2026-01-31T09:00:00Z","subject":"s","holder":"{holder}","complete":true,"method":"automatic"}}"#
        )
    };
    let first = one(&server, &[], event("self").as_bytes());
    assert_whole(&first, [1, 1, 0, 0]);
    assert_eq!(first.of_type("passed", "data.deleted"), 1);
    assert!(server.events()[0]["data_base64"].is_null());
    let other = format!("{}\n{}\n", event("processor:mailhost"), event("self"));
    let second = one(&server, &[], other.as_bytes());
    assert_eq!((second.code, second.counts()), (1, [2, 0, 1, 1]), "{}", second.stderr);
    assert_eq!(second.refusals(), [(1, None, "conflict")]);
}

/// Without `--map`: every product's records are read by its mapping, and a second import adds nothing.
#[test]
fn every_published_record_is_read_by_the_mapping_of_its_product() {
    let server = Server::start();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _, _)| published(name)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    // Two documents hold two records each, so that there are two more than lines.
    assert_whole(&server.import(&[], &paths), [5186, 4838, 348, 0]);
    let count = server.count();
    let again = server.import(&["--batch", "3000"], &paths);
    assert_whole(&again, [5186, 0, 5186, 0]);
    assert_eq!(server.count(), count, "importing again adds nothing");
    let read = serde_json::json!({
        "aws-events": 98, "azure": 270, "cloudevents": 2, "cloudtrail": 1161, "generic": 2337,
        "github-audit": 104, "github-webhook": 424, "google-cloud": 264, "google-workspace": 157,
        "kubernetes": 256, "microsoft365": 23, "ocsf": 2, "okta": 84, "otlp": 2, "windows": 2,
    });
    assert_eq!(again.summary["mappings"], read, "{}", again.stderr);
    assert_eq!(again.of_type("mapped", "grant.changed"), 29);
}

/// Each record goes to the mapping that fits it, whatever stands beside it in the file.
#[test]
fn mixed_files_are_read_record_by_record() {
    let server = Server::start();
    let okta =
        r#"{"actor":{"id":"00u1"},"eventType":"user.session.start","published":"2026-01-02T03:04:05Z"}"#;
    let kubernetes = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"ResponseComplete","verb":"get","user":{"username":"bob"}}"#;
    let file = format!("{okta}\n{{\"x\":1}}\n[{kubernetes},{okta}]\nplain text\n");
    for appended in [4, 0] {
        let import = one(&server, &[], file.as_bytes());
        assert_whole(&import, [5, appended, 5 - appended, 0]);
        let read = serde_json::json!({ "generic": 2, "kubernetes": 1, "okta": 2 });
        assert_eq!(import.summary["mappings"], read, "{}", import.stderr);
        assert_eq!(import.summary["unmapped"], 2);
    }
    let text = server
        .events()
        .into_iter()
        .find(|event| event["datacontenttype"] == "text/plain; charset=utf-8");
    assert_eq!(text.unwrap()["type"], "x-import");
}

/// A record that an earlier import read by another version of its mapping stands as it is.
#[test]
fn a_record_that_reads_differently_is_there_already() {
    let server = Server::start();
    let mapping = |field: &str| {
        format!(
            "name='m'\nsource='import/m'\n[custom]\ntype='x-m'\n[custom.fields]\nactor={{identifies='actor'}}\n\
             [custom.data]\nactor={{path='{field}'}}\n"
        )
    };
    let record = br#"{"who":"bob","by":"eve"}"#;
    for (field, differently) in [("who", 0), ("who", 0), ("by", 1)] {
        let map = server.file("m.toml", mapping(field).as_bytes());
        let import = one(&server, &["--map", map.to_str().unwrap()], record);
        assert_eq!((import.code, &import.summary["complete"]), (0, &true.into()), "{}", import.stderr);
        assert_eq!(import.summary["read_differently"], differently, "{}", import.stderr);
    }
    let events = server.events();
    assert_eq!((events.len(), &events[0]["data"]["actor"]), (1, &"bob".into()));
}

#[test]
fn an_explanation_needs_no_server_and_tells_no_value() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records");
    let okta = r#"{"actor":{"id":"00u1"},"eventType":"user.lifecycle.create","published":"2026-01-02T03:04:05Z","outcome":{"result":"SUCCESS"},"target":[{"id":"hunter2","type":"User"}],"hunter2-key":"hunter2"}"#;
    fs::write(&file, format!("{okta}\n{{\"hunter2\":1}}\nhunter2\n[{okta},{okta}]\n")).unwrap();
    let (code, text) = server::explain(&[], &[&file]);
    assert_eq!(code, 0, "{text}");
    for told in [
        "records:1: account.changed (mapped)",
        "mapping okta, since `eventType` exists and ",
        "from `target[type=User].id` (personal, subject)",
        "more values only in the attachment",
        "records:2: x-import (custom)",
        "note: no mapping knows this record",
        "records:3: x-import (custom)",
        "note: not JSON from byte 0 on",
        "records:4: record 2: account.changed",
        "taken out of `[]`",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let (_, shown) = server::explain(&["--show-values"], &[&file]);
    assert!(shown.contains("= \"hunter2\"") && shown.contains("    hunter2-key"), "{shown}");
    let (_, json) = server::explain(&["--json"], &[&file]);
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{json}");
    assert!(!json.contains("hunter2"), "{json}");
    assert_eq!((&lines[0]["mapping"], &lines[1]["unmapped"]), (&"okta".into(), &true.into()));
}

#[test]
fn a_time_in_the_future_stays_in_the_record() {
    let server = Server::start();
    let record = br#"{"timestamp":"2999-01-01T00:00:00Z","user":"alice"}"#;
    for appended in [1, 0] {
        let import = one(&server, &["--map", "generic"], record);
        assert_whole(&import, [1, appended, 1 - appended, 0]);
        assert_eq!(import.summary["without_time"], 1, "{}", import.stderr);
    }
    let event = server.events().remove(0);
    assert!(event["time"].is_null() && event["data"]["actor"] == "alice", "{event}");
    assert_eq!(server.attachments(), BTreeSet::from([record.to_vec()]));
}

#[test]
fn a_mapping_of_ones_own_works() {
    let server = Server::start();
    let mapping = r#"
        name = "badges"
        source = "import/acme.badges"
        unwrap = ["swipes[]"]
        accept = [{ path = "door", exists = true }]
        time = [{ path = "when", format = "unix-s" }]
        resource = { path = "door", prefix = "door:" }
        [values]
        holder = { path = "badge.holder" }
        [tables.kinds]
        r = "staff"
        [[rule]]
        type = "data.accessed"
        when = [{ path = "kind", equals = "archive" }]
        data.subject = { path = "file" }
        data.actor = { value = "holder" }
        data.actor_role = { first = [{ path = "badge.role", table = "kinds" }, "unknown"] }
        data.operation = "read"
        data.purpose = "unstated"
        data.categories = ["identity"]
        [custom]
        type = "x-acme.badge"
        schema = '{"type":"object","properties":{"actor":{"type":"string"}},"additionalProperties":false}'
        [custom.fields]
        actor = { identifies = "actor" }
        [custom.data]
        actor = { value = "holder" }
    "#;
    let map = server.file("badges.toml", mapping.as_bytes());
    let records = concat!(
        r#"{"swipes":[{"door":"D1","when":1763000000,"kind":"archive","file":"s-77","badge":{"holder":"bob","role":"r"}},"#,
        r#"{"door":"D2","when":1763000001,"badge":{"holder":"eve"}}]}"#,
        "\n{\"weather\":\"fine\"}\n"
    );
    let args = ["--map", map.to_str().unwrap()];
    let key = server.admin_key();
    let import = server.import_as(&key, &args, &[Path::new("-")], records.as_bytes());
    assert_whole(&import, [3, 3, 0, 0]);
    assert_eq!(import.of_type("mapped", "data.accessed"), 1);
    assert_eq!(import.of_type("custom", "x-acme.badge"), 1);
    assert_eq!(import.of_type("custom", "x-import"), 1);
    let events = server.events();
    assert_eq!(
        (&events[0]["data"]["actor"], &events[0]["data"]["actor_role"]),
        (&"bob".into(), &"staff".into())
    );
    assert_eq!(
        (&events[0]["source"], &events[0]["subject"]),
        (&"import/acme.badges".into(), &"door:D1".into())
    );
    assert_eq!(events[1]["data"], serde_json::json!({ "actor": "eve" }));

    for (bad, says) in [("name = 'n'", "not a mapping file"), ("", "not a mapping file")] {
        let map = server.file("bad.toml", bad.as_bytes());
        let refused = server.import(&["--map", map.to_str().unwrap()], &[Path::new("-")]);
        assert!(refused.code == 2 && refused.stderr.contains(says), "{}", refused.stderr);
    }
}

#[test]
fn types_are_registered_by_an_admin_and_used_by_a_producer() {
    let server = Server::start();
    let producer = server.key("producer");
    let file = server.file("a.ndjson", b"{\"a\":1}\n{\"a\":2}\n");
    let early = server.import_as(&producer, &["--map", "generic"], &[&file], b"");
    assert_eq!((early.code, early.counts()), (1, [2, 0, 0, 2]), "{}", early.stderr);
    assert_eq!(early.refusals(), [(1, None, "unknown-type"), (2, None, "unknown-type")]);
    assert!(early.stderr.contains("An admin key registers"), "{}", early.stderr);
    let admin = server.key("admin");
    let nothing = server.import_as(&admin, &["--map", "generic"], &[Path::new("/dev/null")], b"");
    assert_whole(&nothing, [0, 0, 0, 0]);
    let late = server.import_as(&producer, &["--map", "generic"], &[&file], b"");
    assert_whole(&late, [2, 2, 0, 0]);
    let refused = server.import_as(&admin, &["--map", "generic"], &[&file], b"");
    assert!(refused.code == 1 && refused.stderr.contains("forbidden"), "{}", refused.stderr);
}

#[test]
fn a_command_line_that_cannot_be_carried_out_says_so() {
    let server = Server::start();
    let file = server.file("a.ndjson", b"{}\n");
    let usage: [(&[&str], &[&Path]); 5] = [
        (&[], &[]),
        (&["--map", "cloudtrial"], &[&file]),
        (&["--batch", "0"], &[&file]),
        (&["--batch", "10001"], &[&file]),
        (&[], &[file.parent().unwrap()]),
    ];
    for (args, files) in usage {
        let import = server.import(args, files);
        assert!(import.code == 2 && !import.stderr.is_empty(), "{args:?}: {}", import.stderr);
    }
    let missing = server.import(&[], &[&file, Path::new("no-such-file.ndjson")]);
    assert!(missing.code == 1 && missing.stderr.contains("no-such-file.ndjson"), "{}", missing.stderr);
    assert!(server.events().is_empty(), "nothing is sent before the files are known to be there");
    let away = server::import("http://127.0.0.1:9", &server.admin_key(), &[], &[&file], b"");
    assert!(away.code == 1 && away.stderr.contains("is the server running"), "{}", away.stderr);
}
