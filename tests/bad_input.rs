//! The bad-input table: what is refused, as what, and that nothing comes of it.
//!
//! In scope: every refusal that a request can earn. Each case is held against the same four
//! promises: the right status and problem code, the problem media type, nothing stored, and no
//! value of the request in the answer. Out of scope: good paths (`http_api`).

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

use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{Answer, Client, DataDir, MAIN, PAST, access, policy, text_of};
use counterfoil::event::catalogue::{Catalogue, EventType, Field, FieldKind};
use counterfoil::history::Cursor;
use serde_json::{Value, json};

/// Planted in whatever a request says; no answer may hold it.
const MARK: &str = "qzmark7";

const BATCH: &str = "application/cloudevents-batch+json";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Holds the answer to one case against what every refusal promises.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, case: &str) {
    answer.expect_problem(status, code, case);
    let said = String::from_utf8_lossy(&answer.raw).to_lowercase();
    assert!(!said.contains(MARK), "{case}: the answer repeats the request: {said}");
}

fn post(client: &Client, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
    client.post(&format!("{MAIN}/events"), content_type, body.as_ref())
}

/// Number of events, at most 1,000; unlike the log's size it does not count registrations of persons,
/// which come on a clock of their own.
fn event_count(client: &Client) -> usize {
    let page = client.get(&format!("{MAIN}/events?limit=1000")).expect_status(200).json();
    page["events"].as_array().unwrap().len()
}

/// A good event whose `id` is planted too.
fn marked() -> Value {
    let mut event = policy(&format!("{MARK}-id"));
    event["version"] = json!(MARK);
    event
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

fn without(mut event: Value, name: &str) -> Value {
    event.as_object_mut().unwrap().remove(name);
    event
}

#[test]
fn broken_json_is_refused_wherever_it_stands() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let dir =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/json-parsing-suite/test_parsing");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("n_") {
            continue;
        }
        count += 1;
        let text = std::fs::read(entry.path()).unwrap();
        let event = json!({"specversion": "1.0", "id": MARK, "source": "a", "type": "policy.published"});
        let event = event.to_string();
        let mut inside = event.strip_suffix('}').unwrap().as_bytes().to_vec();
        inside.extend_from_slice(b",\"data\":");
        inside.extend_from_slice(&text);
        inside.push(b'}');
        let batch = [b"[".as_slice(), &text, b"]"].concat();
        for (form, content_type, body) in
            [("alone", JSON, &text), ("as data", JSON, &inside), ("in a batch", BATCH, &batch)]
        {
            if form == "in a batch" && text.trim_ascii().is_empty() {
                // An empty batch is good.
                continue;
            }
            let answer = post(&client, content_type, body);
            let case = format!("{name} {form}");
            // Two texts of the suite are nested a hundred thousand deep before they are broken.
            let code = if answer.code() == "too-deep" { "too-deep" } else { "malformed-json" };
            refused(&answer, 400, code, &case);
        }
    }
    assert!(count > 150, "the suite has {count} such files");
    assert_eq!(client.size(), size, "nothing was stored");
}

/// Offences of one event's JSON, each as the text that takes the place of `"2"` in `"version":"2"`.
const VALUES: &[(&str, &str, &str)] = &[
    ("9007199254740993", "number-out-of-range", "an integer past 2^53"),
    ("-9007199254740993", "number-out-of-range", "an integer below -2^53"),
    ("123456789012345678901234567890", "number-out-of-range", "a huge integer"),
    ("1e400", "number-out-of-range", "an infinite number"),
    ("-1e999999999", "number-out-of-range", "a vastly negative exponent"),
    (r#"{"qzmark7":1,"qzmark7":2}"#, "duplicate-key", "a key twice"),
    (r#"{"a":{"b":[{"qzmark7":1,"qzmark7":1}]}}"#, "duplicate-key", "a key twice, deep down"),
    (r#"{"a":1,"\u0061":2}"#, "duplicate-key", "a key twice, once escaped"),
    (r#""\ud800""#, "malformed-json", "an unpaired surrogate"),
    (r#""qzmark7"#, "malformed-json", "an open string"),
    ("\"qzmark7\u{1}\"", "malformed-json", "a control character"),
    ("NaN", "malformed-json", "not a number"),
    ("'qzmark7'", "malformed-json", "single quotes"),
];

#[test]
fn offences_of_json_are_told_apart() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let template = marked().to_string();
    let spot = format!("\"version\":\"{MARK}\"");
    assert!(template.contains(&spot));
    for (value, code, case) in VALUES {
        let event = template.replace(&spot, &format!("\"version\":{value}"));
        refused(&post(&client, JSON, &event), 400, code, case);
        if *code != "malformed-json" {
            let lines = format!("{}\n{event}\n", policy("fine"));
            refused(&post(&client, LINES, &lines), 400, code, &format!("{case}, as a line"));
            let batch = format!("[{},{event}]", policy("fine"));
            refused(&post(&client, BATCH, &batch), 400, code, &format!("{case}, in a batch"));
        }
        assert_eq!(client.size(), size, "{case}: nothing is stored");
    }
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let event = template.replace(&spot, &format!("\"version\":{}", deep(32)));
    refused(&post(&client, JSON, &event), 400, "too-deep", "33 levels");
    let event = template.replace(&spot, &format!("\"version\":{}", deep(31)));
    refused(&post(&client, JSON, &event), 422, "wrong-type", "32 levels are read");
    let event = template.replace(&spot, &format!("\"version\":{}", deep(30_000)));
    refused(&post(&client, JSON, &event), 400, "too-deep", "a tower");
    let mut bytes = template.clone().into_bytes();
    let at = template.find(MARK).unwrap();
    bytes[at] = 0xff;
    refused(&post(&client, JSON, &bytes), 400, "malformed-json", "not UTF-8");
    refused(&post(&client, JSON, ""), 400, "malformed-json", "nothing");
    refused(&post(&client, JSON, format!("\"{MARK}\"")), 400, "malformed-json", "a string");
    refused(&post(&client, BATCH, template), 400, "malformed-json", "an object as a batch");
    refused(
        &post(&client, BATCH, format!("[[\"{MARK}\"]]")),
        400,
        "malformed-json",
        "a list as an event",
    );
    assert_eq!(client.size(), size, "nothing is stored");
}

#[test]
fn attributes_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let cloud = || access(MARK, MARK, MARK);
    let long = |chars: usize| json!(MARK.repeat(chars).get(..chars).unwrap());
    let cases = [
        (without(cloud(), "specversion"), "missing-attribute", "no specversion"),
        (with(cloud(), "specversion", json!("0.3")), "invalid-attribute", "an old specversion"),
        (without(cloud(), "id"), "missing-attribute", "no id"),
        (with(cloud(), "id", json!("")), "invalid-attribute", "an empty id"),
        (with(cloud(), "id", long(129)), "invalid-attribute", "a long id"),
        (with(cloud(), "id", json!(17)), "invalid-attribute", "a number as id"),
        (with(cloud(), "id", json!("qzmark7\u{7}")), "invalid-attribute", "a bell in an id"),
        (without(cloud(), "source"), "missing-attribute", "no source"),
        (with(cloud(), "source", json!("qzmark7 b")), "invalid-attribute", "a space in a source"),
        (with(cloud(), "source", long(257)), "invalid-attribute", "a long source"),
        (without(cloud(), "type"), "missing-attribute", "no type"),
        (with(cloud(), "type", json!("qzmark7.happened")), "unknown-type", "an unknown type"),
        (with(cloud(), "type", json!("x-qzmark7")), "unknown-type", "an unregistered type"),
        (with(cloud(), "time", json!("qzmark7")), "invalid-attribute", "no time"),
        (with(cloud(), "time", json!("2025-02-30T00:00:00Z")), "invalid-attribute", "30 February"),
        (with(cloud(), "time", json!("2025-01-01T00:00:00")), "invalid-attribute", "no offset"),
        (with(cloud(), "time", json!("1969-12-31T23:59:59Z")), "time-too-old", "before 1970"),
        (with(cloud(), "time", json!("9998-12-31T23:59:59Z")), "time-in-future", "the year 9998"),
        (with(cloud(), "sequence", json!("-1")), "invalid-attribute", "a negative sequence"),
        (with(cloud(), "sequence", json!(7)), "invalid-attribute", "a number as sequence"),
        (with(cloud(), "sequence", json!("99999999999999999999")), "invalid-attribute", "65 bits"),
        (with(cloud(), "subject", json!("")), "invalid-attribute", "an empty resource"),
        (with(cloud(), "traceparent", json!(MARK)), "invalid-attribute", "a broken trace"),
        (with(cloud(), "correlationid", long(129)), "invalid-attribute", "a long correlation"),
        (with(cloud(), "QZMARK7", json!("a")), "invalid-attribute", "an upper-case attribute"),
        (with(cloud(), "qzmark7qzmark7qzmark7", json!("a")), "invalid-attribute", "a long name"),
        (with(cloud(), "ledgerqzmark7", json!("a")), "invalid-attribute", "a name of ours"),
        (with(cloud(), "dataclassification", json!(MARK)), "invalid-attribute", "a classification"),
        (with(cloud(), "ext", json!({"qzmark7": 1})), "invalid-attribute", "an object as attribute"),
        (with(cloud(), "data_base64", json!("qzmark7!")), "invalid-attribute", "no base64"),
        (with(cloud(), "datacontenttype", json!("qzmark7")), "invalid-attribute", "no media type"),
        (with(marked(), "org", json!("qzmark7/b")), "invalid-attribute", "a slash in org"),
        (without(marked(), "org"), "missing-attribute", "no org"),
        (without(marked(), "producer"), "missing-attribute", "no producer"),
        (with(marked(), "seq", json!(-1)), "invalid-attribute", "a negative seq"),
        (with(marked(), "at", json!("qzmark7")), "invalid-attribute", "no time, flat"),
    ];
    for (event, code, case) in cases {
        refused(&client.append(&event), 422, code, case);
        let lines = format!("{}\n{event}\n", policy("fine"));
        refused(&post(&client, LINES, &lines), 422, code, &format!("{case}, as a line"));
        assert_eq!(client.size(), size, "{case}: nothing is stored");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = |seconds: u64| {
        let days = seconds / 86_400;
        let (year, month, day) = civil(days);
        let clock = (seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock.0, clock.1, clock.2)
    };
    let event = with(cloud(), "time", json!(at(now + 3600)));
    refused(&client.append(&event), 422, "time-in-future", "an hour ahead");
    assert_eq!(client.size(), size);
    client.append(&with(cloud(), "time", json!(at(now + 60)))).expect_status(201);
}

/// Year, month and day of a number of days since 1970 (Gregorian, from 1970 on).
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    let leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[test]
fn headers_of_binary_mode_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let good = [
        ("content-type", JSON),
        ("ce-specversion", "1.0"),
        ("ce-id", MARK),
        ("ce-source", "acme/web"),
        ("ce-type", "policy.published"),
    ];
    let body = json!({"version": MARK, "material": true, "page_notice": true}).to_string();
    let send = |changes: &[(&'static str, &'static str)], drop: &str, body: &str| {
        let kept = good.iter().filter(|(name, _)| *name != drop);
        let headers: Vec<(&str, &str)> = kept.chain(changes).copied().collect();
        client.send("POST", &format!("{MAIN}/events"), &headers, body.as_bytes())
    };
    let cases: &[(&[(&str, &str)], &str, &str, u16, &str)] = &[
        (&[("ce-specversion", "2.0")], "ce-specversion", "invalid-attribute", 422, "a new version"),
        (&[], "ce-id", "missing-attribute", 422, "no id"),
        (&[("ce-id", "b")], "", "invalid-attribute", 422, "two ids"),
        (&[("ce-id", "%zz")], "ce-id", "invalid-attribute", 422, "a broken percent-encoding"),
        (&[("ce-id", "%ff")], "ce-id", "invalid-attribute", 422, "not UTF-8"),
        (&[("ce-data", "qzmark7")], "", "invalid-attribute", 422, "data in a header"),
        (&[("ce-type", "qzmark7")], "ce-type", "unknown-type", 422, "an unknown type"),
        (&[("ce-qz_mark7", "qzmark7")], "", "invalid-attribute", 422, "an underscore"),
    ];
    for (changes, drop, code, status, case) in cases {
        refused(&send(changes, drop, &body), *status, code, case);
    }
    refused(&send(&[], "", "{\"qzmark7\""), 400, "malformed-json", "a broken body");
    refused(&send(&[], "", "[\"qzmark7\"]"), 400, "malformed-json", "a list as data");
    refused(&send(&[], "", "{\"qzmark7\":1}"), 422, "unknown-field", "an unknown field");
    refused(&send(&[], "", ""), 422, "missing-field", "no data");
    assert_eq!(client.size(), size, "nothing is stored");
    assert_eq!(send(&[], "", &body).status, 201, "the untouched request is good");
}

/// A value that `field` accepts.
fn good_value(field: &Field) -> Value {
    let text = match &field.values {
        Some(values) => values[0].replace('*', "some"),
        None if field.country => "DE".to_owned(),
        None => "some".to_owned(),
    };
    match field.kinds[0] {
        FieldKind::String => json!(text),
        FieldKind::Bool => json!(true),
        FieldKind::Integer | FieldKind::Number => json!(3),
        FieldKind::Timestamp => json!(PAST),
        FieldKind::Date => json!("2025-06-01"),
        FieldKind::Strings => json!([text]),
        FieldKind::Array => json!([]),
        FieldKind::Labels => json!({"a": "b"}),
        FieldKind::Counts => json!({"policy.published": 1}),
        _ => json!({}),
    }
}

/// Whether one of the field's kinds takes `value`, by the words of the catalogue.
fn takes(field: &Field, value: &Value) -> bool {
    let text = value.as_str();
    let empty = value.as_array().is_some_and(Vec::is_empty);
    field.kinds.iter().any(|kind| match kind {
        FieldKind::String => text.is_some(),
        FieldKind::Bool => value.is_boolean(),
        FieldKind::Integer => value.as_u64().is_some(),
        FieldKind::Number => value.is_number(),
        FieldKind::Timestamp => text == Some(PAST),
        FieldKind::Date => text == Some("2025-06-01"),
        FieldKind::Strings => empty || value.as_array().is_some_and(|items| items[0].is_string()),
        FieldKind::Array => value.is_array(),
        FieldKind::Object => value.is_object(),
        FieldKind::Labels => value.as_object().is_some_and(|o| o.values().all(Value::is_string)),
        FieldKind::Counts => value.as_object().is_some_and(|o| o.values().all(Value::is_u64)),
        _ => true,
    })
}

fn typed(event_type: &EventType, data: &Value, id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "acme/gen", "type": event_type.name, "time": PAST,
        "data": data,
    })
}

fn check_type(client: &Client, event_type: &EventType) {
    let mut good = json!({});
    for field in &event_type.fields {
        if field.required || event_type.one_of.first() == Some(&field.name) {
            good[&field.name] = good_value(field);
        }
    }
    let before = event_count(client);
    let name = &event_type.name;
    let send = |data: &Value| client.append(&typed(event_type, data, MARK));
    let wrong = [
        json!(null),
        json!(true),
        json!(-17),
        json!(1.5),
        json!(MARK),
        json!([17, MARK]),
        json!({MARK: {MARK: MARK}}),
    ];
    for field in &event_type.fields {
        let changed = |value: &Value| with(good.clone(), &field.name, value.clone());
        for value in wrong.iter().filter(|value| !takes(field, value)) {
            let case = format!("{name}: {} as {value}", field.name);
            let answer = send(&changed(value));
            refused(&answer, 422, "wrong-type", &case);
            let pointer = answer.json()["errors"][0]["pointer"].clone();
            assert_eq!(pointer, json!(format!("/data/{}", field.name)), "{case}");
        }
        let text_kind = field.kinds.contains(&FieldKind::String);
        if field.values.is_some() || field.country {
            let value = if text_kind { json!(MARK) } else { json!(["identity", MARK]) };
            let case = format!("{name}: {} out of vocabulary", field.name);
            refused(&send(&changed(&value)), 422, "not-in-vocabulary", &case);
        }
        if field.required {
            let case = format!("{name}: without {}", field.name);
            refused(&send(&without(good.clone(), &field.name)), 422, "missing-field", &case);
        }
    }
    if let Some(first) = event_type.one_of.first() {
        let case = format!("{name}: none of several");
        refused(&send(&without(good.clone(), first)), 422, "missing-field", &case);
    }
    if name != "x-raw" {
        let case = format!("{name}: an unknown field");
        refused(&send(&with(good.clone(), MARK, json!(MARK))), 422, "unknown-field", &case);
    }
    assert_eq!(event_count(client), before, "{name}: nothing is stored");
    let answer = client.append(&typed(event_type, &good, &format!("good-{name}")));
    assert_eq!(answer.status, 201, "{name}: the untouched event is good: {}", answer.text());
}

#[test]
fn every_field_of_every_type_is_checked() {
    let data = DataDir::new();
    let catalogue = Catalogue::builtin().unwrap();
    let mut checked = 0;
    let server = data.serve();
    let client = server.client();
    for event_type in catalogue.types() {
        check_type(&client, event_type);
        checked += 1;
    }
    assert_eq!(checked, 30);
}

#[test]
fn nested_members_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let event = |type_name: &str, data: Value| {
        json!({
            "specversion": "1.0", "id": MARK, "source": "acme/gen", "type": type_name, "time": PAST,
            "data": data,
        })
    };
    let agreement = |terms: Value| {
        let data = json!({"party": "P", "role": "vendor", "state": "in-force", "terms": terms});
        event("agreement.changed", data)
    };
    let correction =
        |set: Value| event("correction", json!({"corrects": "e", "reason": "r", "set": set}));
    let labels = |labels: Value| with(marked(), "labels", labels);
    let long = MARK.repeat(40);
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("l{n}"), json!("v"))).collect();
    let cases = [
        (agreement(json!({MARK: true})), "unknown-field", "an unknown member"),
        (agreement(json!({"confidentiality": MARK})), "wrong-type", "a wrong member"),
        (correction(json!({MARK: MARK})), "unknown-field", "a correction of nothing known"),
        (correction(json!({"age": MARK})), "wrong-type", "a correction with a wrong type"),
        (correction(json!({"to": MARK})), "missing-field", "a correction that needs a second field"),
        (labels(json!({"a": 1})), "wrong-type", "a number as label"),
        (labels(json!({"": MARK})), "wrong-type", "a label without a name"),
        (labels(json!({"a": long})), "wrong-type", "a long label"),
        (labels(json!({long: "a"})), "wrong-type", "a long label name"),
        (labels(Value::Object(many)), "wrong-type", "33 labels"),
    ];
    let size = client.size();
    for (event, code, case) in cases {
        refused(&client.append(&event), 422, code, case);
    }
    assert_eq!(client.size(), size, "nothing is stored");
    let tags = json!({
        "name": "x-tags",
        "schema": {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
        "fields": {"tags": {"owner": "open", "facet": "purpose"}},
    });
    client.post_json(&format!("{MAIN}/types"), &tags).expect_status(201);
    let size = client.size();
    let many: Vec<String> = (0..40).map(|n| format!("{MARK}-{n}")).collect();
    let answer = client.append(&event("x-tags", json!({"tags": many})));
    refused(&answer, 422, "too-many-persons", "more index keys than an entry holds");
    refused(
        &client.append(&event("x-tags", json!({"tags": MARK}))),
        422,
        "schema-violation",
        "a schema",
    );
    assert_eq!(client.size(), size, "nothing is stored");
}

#[test]
fn what_is_too_large_is_refused() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let padded = |bytes: usize| {
        let mut event = marked();
        event["document"] = json!(MARK);
        let length = event.to_string().len();
        event["document"] = json!(format!("{MARK}{}", "p".repeat(bytes - length)));
        event
    };
    let largest = 64 * 1024;
    refused(&client.append(&padded(largest + 1)), 413, "event-too-large", "64 KiB and a byte");
    let lines = format!("{}\n{}", policy("fine"), padded(largest + 1));
    refused(&post(&client, LINES, &lines), 413, "event-too-large", "a long line");
    let blank = format!("{}{}", " ".repeat(2 << 20), marked());
    refused(&post(&client, JSON, &blank), 413, "event-too-large", "2 MiB of blanks");
    let attached = |bytes: usize| {
        let mut event = access(MARK, "s", "a");
        event["data_base64"] = json!(STANDARD.encode(vec![b'q'; bytes]));
        event
    };
    refused(&client.append(&attached((1 << 20) + 1)), 413, "raw-too-large", "a long attachment");
    let headers = [
        ("content-type", "text/plain"),
        ("ce-specversion", "1.0"),
        ("ce-id", MARK),
        ("ce-source", "a"),
        ("ce-type", "x-raw"),
    ];
    let body = vec![b'q'; (1 << 20) + 1];
    let answer = client.send("POST", &format!("{MAIN}/events"), &headers, &body);
    refused(&answer, 413, "raw-too-large", "a long attachment in binary mode");
    let body = vec![b' '; (8 << 20) + 1];
    refused(&post(&client, BATCH, &body), 413, "body-too-large", "8 MiB and a byte");
    let tiny = vec!["{}"; 10_001].join(",");
    refused(&post(&client, BATCH, format!("[{tiny}]")), 413, "too-many-events", "10,001 items");
    let tiny = "{}\n".repeat(10_001);
    refused(&post(&client, LINES, &tiny), 413, "too-many-events", "10,001 lines");
    let document = vec![b' '; (4 << 20) + 1];
    let answer = client.post(&format!("{MAIN}/verify"), JSON, &document);
    refused(&answer, 413, "body-too-large", "a long document");
    let key = json!({"role": "producer", "label": MARK.repeat(20_000)});
    refused(&client.post_json("/v1/keys", &key), 413, "body-too-large", "a long label");
    assert_eq!(client.size(), size, "nothing is stored");
    client.append(&padded(largest)).expect_status(201);
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut zipped = Vec::new();
    flate2::read::GzEncoder::new(plain, flate2::Compression::best()).read_to_end(&mut zipped).unwrap();
    zipped
}

#[test]
fn content_types_and_encodings_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let event = marked().to_string();
    for content_type in
        ["text/plain", "application/qzmark7", "", "application/xml", "multipart/form-data"]
    {
        refused(&post(&client, content_type, &event), 415, "unsupported-media-type", content_type);
    }
    let path = format!("{MAIN}/events");
    let answer = client.send("POST", &path, &[], event.as_bytes());
    refused(&answer, 415, "unsupported-media-type", "no content type");
    let encoded = |encoding: &str, body: &[u8]| {
        client.send("POST", &path, &[("content-type", JSON), ("content-encoding", encoding)], body)
    };
    for encoding in ["br", "deflate", "qzmark7", "gzip, gzip"] {
        let answer = encoded(encoding, event.as_bytes());
        refused(&answer, 415, "unsupported-media-type", encoding);
    }
    let zipped = gzip(event.as_bytes());
    let mut flipped = zipped.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    refused(&encoded("gzip", event.as_bytes()), 400, "bad-compression", "not gzip");
    refused(&encoded("gzip", &zipped[..zipped.len() - 9]), 400, "bad-compression", "cut off");
    refused(&encoded("gzip", &flipped), 400, "bad-compression", "a wrong checksum");
    refused(&encoded("gzip", b""), 400, "bad-compression", "nothing");
    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 1 << 20);
    refused(&encoded("gzip", &bomb), 413, "body-too-large", "a bomb");
    refused(&encoded("gzip", &gzip(&zipped)), 400, "malformed-json", "zipped twice");
    assert_eq!(client.size(), size, "nothing is stored");
    assert_eq!(encoded("gzip", &zipped).status, 201, "one whole stream is good");
}

#[test]
fn keys_are_checked() {
    let data = DataDir::new();
    let server = data.serve_with(&["key_failures_per_minute=0"]);
    let admin = server.client();
    let size = admin.size();
    let event = marked();
    let events = format!("{MAIN}/events");
    let refuse = |client: &Client, status: u16, code: &str, case: &str| {
        let answer = client.append(&event);
        refused(&answer, status, code, case);
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{case}");
            refused(&client.get(&events), 401, code, &format!("{case}, reading"));
        }
    };
    refuse(&admin.without_key(), 401, "unauthenticated", "no key");
    let secret = server.key.rsplit_once('_').unwrap().1;
    let mut wrong = server.key.clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == '0' { '1' } else { '0' });
    for key in [
        "",
        MARK,
        "cf_",
        "cf__",
        "cf_qzmark7_00",
        &format!("cf_0000000000000000_{secret}"),
        &wrong,
        &format!("{}00", server.key),
        &server.key[..server.key.len() - 2],
        &server.key.to_uppercase(),
        &"f".repeat(8000),
    ] {
        refuse(&admin.with_key(key), 401, "unauthenticated", &format!("the key {key:.20}"));
    }
    for scheme in ["Basic cXo6bWFyaw==", "Bearer", server.key.as_str(), "Token qzmark7"] {
        let headers = [("authorization", scheme), ("content-type", JSON)];
        let answer = admin.without_key().send("POST", &events, &headers, event.to_string().as_bytes());
        refused(&answer, 401, "unauthenticated", &format!("the scheme {scheme:.10}"));
    }
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 2;
    let expired = server.client_with(&json!({"role": "producer", "expires_at_s": soon}));
    common::wait_until("the key expires", || expired.get("/v1/ledgers").status == 401);
    refuse(&expired, 401, "unauthenticated", "an expired key");
    let made = admin.post_json("/v1/keys", &json!({"role": "producer"})).expect_status(201).json();
    let revoked = admin.with_key(&text_of(&made["key"]));
    let path = format!("/v1/keys/{}", text_of(&made["id"]));
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 204);
    refuse(&revoked, 401, "unauthenticated", "a revoked key");
    admin.post_json("/v1/ledgers", &json!({"name": "qzmark7"})).expect_status(201);
    let other = server.client_with(&json!({"role": "producer", "ledgers": ["qzmark7"]}));
    refuse(&other, 403, "wrong-ledger", "a key of another ledger");
    let bound = server.client_with(&json!({"role": "producer", "sources": ["acme/qzmark7"]}));
    refuse(&bound, 403, "wrong-source", "another source");
    let mixed = [with(policy("m"), "producer", json!(MARK)), policy("n")];
    refused(&bound.append_batch(&mixed), 403, "wrong-source", "another source in a batch");
    assert_eq!(admin.size(), size, "nothing is stored");
    let body = serde_json::to_vec(&mixed).unwrap();
    let answer = bound.post(&format!("{events}?atomic=false"), BATCH, &body).expect_status(201).json();
    assert_eq!(answer["receipts"][0]["id"], json!("m"));
    assert_eq!(answer["receipts"][1]["error"]["code"], json!("wrong-source"));
    assert_eq!(admin.size(), size + 1, "the bound source alone is stored");
}

#[test]
fn each_role_is_kept_to_its_routes() {
    let data = DataDir::new();
    let server = data.serve();
    let admin = server.client();
    let index = admin.append(&policy("r")).expect_status(201).json()["index"].clone();
    let append: &[&str] = &["producer"];
    let search: &[&str] = &["responder", "auditor", "dpo"];
    let verify: &[&str] = &["producer", "responder", "auditor", "dpo"];
    let administer: &[&str] = &["admin"];
    let at = |rest: &str| format!("{MAIN}/events/{index}{rest}");
    let routes: Vec<(&str, String, &[&str])> = vec![
        ("POST", format!("{MAIN}/events"), append),
        ("GET", format!("{MAIN}/events"), search),
        ("GET", at(""), search),
        ("GET", at("/receipt"), search),
        ("GET", at("/entry"), verify),
        ("GET", format!("{MAIN}/tile/entries/000.p/1"), verify),
        ("GET", format!("{MAIN}/proofs/inclusion?index=0"), verify),
        ("GET", format!("{MAIN}/proofs/consistency?from=1"), verify),
        ("POST", format!("{MAIN}/verify"), verify),
        ("GET", format!("{MAIN}/types"), verify),
        ("POST", format!("{MAIN}/types"), administer),
        ("GET", format!("{MAIN}/retention"), &["auditor", "dpo", "admin"]),
        ("PUT", format!("{MAIN}/retention"), administer),
        ("GET", format!("{MAIN}/holds"), &["auditor", "dpo"]),
        ("POST", format!("{MAIN}/holds"), &["dpo"]),
        ("POST", format!("{MAIN}/holds/00/release"), &["dpo"]),
        ("GET", format!("{MAIN}/reports/retention-due"), &["auditor", "dpo"]),
        ("GET", "/v1/keys".to_owned(), administer),
        ("POST", "/v1/keys".to_owned(), administer),
        ("DELETE", "/v1/keys/0000000000000000".to_owned(), administer),
    ];
    for role in ["producer", "responder", "auditor", "dpo", "admin"] {
        let client = server.client_as(role);
        for (method, path, roles) in &routes {
            let body: &[u8] = if *method == "POST" { b"{\"qzmark7\":1}" } else { b"" };
            let answer = client.send(method, path, &[("content-type", JSON)], body);
            let case = format!("{role}: {method} {path}");
            if roles.contains(&role) {
                assert!(![401, 403].contains(&answer.status), "{case}: {}", answer.text());
            } else {
                refused(&answer, 403, "forbidden", &case);
            }
        }
    }
    let outsider = admin.without_key();
    for (method, path, _) in &routes {
        let answer = outsider.send(method, path, &[("content-type", JSON)], b"");
        refused(&answer, 401, "unauthenticated", &format!("nobody: {method} {path}"));
    }
}

/// Paths below the ledger with a parameter or an element that cannot be read.
const BAD_PARAMETERS: &[&str] = &[
    "events?qzmark7=1",
    "events?Subject=qzmark7",
    "events?type=a&type=qzmark7",
    "events?limit=0",
    "events?limit=1001",
    "events?limit=qzmark7",
    "events?limit=-1",
    "events?limit=1e3",
    "events?limit=007",
    "events?limit=99999999999999999999999",
    "events?order=qzmark7",
    "events?clock=qzmark7",
    "events?from=qzmark7",
    "events?to=2025-13-01T00:00:00Z",
    "events?from=1969-01-01T00:00:00Z",
    "events/qzmark7",
    "events/-1",
    "events/007",
    "events/18446744073709551616",
    "events/qzmark7/entry",
    "events/qzmark7/receipt",
    "events/1?qzmark7=1",
    "events/1/entry?qzmark7=1",
    "events/1/receipt?qzmark7=1",
    "types?qzmark7=1",
    "proofs/inclusion",
    "proofs/inclusion?index=qzmark7",
    "proofs/inclusion?index=0&size=0",
    "proofs/inclusion?index=0&size=999999",
    "proofs/inclusion?index=2&size=1",
    "proofs/inclusion?index=0&qzmark7=1",
    "proofs/consistency",
    "proofs/consistency?from=qzmark7",
    "proofs/consistency?from=3&to=2",
    "proofs/consistency?from=1&to=999999",
    "proofs/consistency?from=1&to=2&qzmark7=3",
];

#[test]
fn paths_and_parameters_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    client.append_batch(&[policy("q1"), policy("q2"), policy("q3")]).expect_status(201);
    let size = client.size();
    let get = |path: &str| client.get(&format!("{MAIN}/{path}"));
    for path in BAD_PARAMETERS {
        refused(&get(path), 400, "bad-parameter", path);
    }
    for path in [
        "proofs/inclusion?index=999999",
        "events/999999",
        "events/18446744073709551615",
        "events/999999/entry",
        "events/999999/receipt",
        "qzmark7",
        "tile/qzmark7",
    ] {
        refused(&get(path), 404, "not-found", path);
    }
    for path in
        ["/v1/ledgers/qzmark7/events", "/v1/ledgers/qzmark7/types", "/qzmark7", "/v1/ledgers//events"]
    {
        refused(&client.get(path), 404, "not-found", path);
    }
    for path in ["/v1/ledgers/%FF/events", "/v1/ledgers/main/events/%FF", "/v1/ledgers/main/tile/%FF"] {
        let answer = client.get(path);
        let (status, code) =
            if answer.status == 404 { (404, "not-found") } else { (400, "bad-parameter") };
        refused(&answer, status, code, path);
    }
    let answer = client.post(&format!("{MAIN}/events?atomic=qzmark7"), BATCH, b"[]");
    refused(&answer, 400, "bad-parameter", "atomic is true or false");
    let answer = client.post(&format!("{MAIN}/events?qzmark7=1"), BATCH, b"[]");
    refused(&answer, 400, "bad-parameter", "an unknown parameter of an append");
    refused(&client.get("/v1/keys?qzmark7=1"), 400, "bad-parameter", "an unknown parameter of keys");
    let put = client.send("PUT", &format!("{MAIN}/events"), &[], b"");
    refused(&put, 405, "method-not-allowed", "PUT");
    assert_eq!(client.size(), size, "nothing is stored");
}

#[test]
fn cursors_are_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    client.append_batch(&[policy("q1"), policy("q2"), policy("q3")]).expect_status(201);
    let get = |query: &str| client.get(&format!("{MAIN}/events?{query}"));
    let page = get("type=policy.published&limit=1").expect_status(200).json();
    let cursor = text_of(&page["next_cursor"]);
    get(&format!("type=policy.published&limit=2&cursor={cursor}")).expect_status(200);
    let truncated = &cursor[..cursor.len() - 4];
    let ahead = Cursor { size: 999_999, ..Cursor::parse(&cursor).unwrap() }.encode();
    let mut version = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    version[0] = 9;
    let version = URL_SAFE_NO_PAD.encode(version);
    for (query, case) in [
        (format!("cursor={cursor}"), "other conditions"),
        (format!("type=policy.published&order=asc&cursor={cursor}"), "another order"),
        (format!("type=qzmark7&cursor={cursor}"), "another value"),
        (format!("type=policy.published&cursor={truncated}"), "cut off"),
        (format!("type=policy.published&cursor={cursor}AAAA"), "too long"),
        (format!("type=policy.published&cursor={ahead}"), "beyond the log"),
        (format!("type=policy.published&cursor={version}"), "another version"),
        ("cursor=qzmark7".to_owned(), "garbage"),
        ("cursor=%00%01".to_owned(), "control characters"),
    ] {
        refused(&get(&query), 400, "bad-cursor", case);
    }
    let forged = Cursor { next: u64::MAX, ..Cursor::parse(&cursor).unwrap() }.encode();
    let answer = get(&format!("type=policy.published&cursor={forged}"));
    assert!([200, 400].contains(&answer.status), "a forged place: {}", answer.text());
}

#[test]
fn an_id_with_other_content_is_a_conflict() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let first = client.append(&marked()).expect_status(201).json();
    let other = with(marked(), "version", json!("qzmark7-changed"));
    let size = client.size();
    let answer = client.append(&other);
    refused(&answer, 409, "conflict", "other content");
    assert_eq!(answer.json()["first_index"], first["index"]);
    common::wait_until("the conflict's own entry", || client.size() == size + 1);
    assert_eq!(event_count(&client), 1, "no event is stored");
    let answer = client.append_batch(&[policy("beside"), other.clone(), policy("after")]);
    refused(&answer, 409, "conflict", "other content in a batch");
    assert_eq!(answer.json()["errors"][0]["item"], json!(1));
    assert_eq!(event_count(&client), 1, "no event is stored");
    let body = serde_json::to_vec(&[policy("beside"), other.clone(), policy("after")]).unwrap();
    let answer = client.post(&format!("{MAIN}/events?atomic=false"), BATCH, &body).expect_status(201);
    let receipts = answer.json()["receipts"].clone();
    assert_eq!(receipts[0]["id"], json!("beside"));
    assert_eq!(receipts[1]["error"]["code"], json!("conflict"));
    assert_eq!(receipts[1]["error"]["item"], json!(1));
    assert_eq!(receipts[2]["id"], json!("after"));
    assert_eq!(event_count(&client), 3, "the rest is stored");
    assert_eq!(client.size(), size + 3, "a client that repeats itself leaves one conflict entry");
    let entry = client.get(&format!("{MAIN}/events/{size}/entry")).expect_status(200).body;
    assert_eq!(entry[..5], *b"CFL1\x0a", "which is of kind 10");
    let twins = [with(marked(), "id", json!("t")), with(other.clone(), "id", json!("t"))];
    refused(&client.append_batch(&twins), 409, "conflict", "a conflict inside a batch");
    assert_eq!(event_count(&client), 3, "neither is stored");
    server.kill();
    let server = data.serve();
    refused(&server.client().append(&other), 409, "conflict", "other content after a restart");
    let again = server.client().append(&marked()).expect_status(200).json();
    assert_eq!(again["leaf_hash"], first["leaf_hash"]);
}

#[test]
fn an_atomic_batch_is_stored_whole_or_not_at_all() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    let bad = without(access(MARK, MARK, MARK), "type");
    let worse = with(policy("w"), MARK, json!(MARK));
    let items = [policy("a1"), bad, access("a2", "person-1", "person-2"), worse, policy("a3")];
    for content_type in [BATCH, LINES] {
        let body = if content_type == BATCH {
            serde_json::to_vec(&items).unwrap()
        } else {
            items.iter().map(Value::to_string).collect::<Vec<_>>().join("\n").into_bytes()
        };
        for query in ["", "?atomic=true"] {
            let answer = client.post(&format!("{MAIN}/events{query}"), content_type, &body);
            refused(&answer, 422, "missing-attribute", content_type);
            let errors = answer.json()["errors"].clone();
            let places: Vec<u64> =
                errors.as_array().unwrap().iter().map(|each| each["item"].as_u64().unwrap()).collect();
            assert_eq!(places, [1, 3], "every refused item is named");
            assert_eq!(errors[1]["code"], json!("unknown-field"));
            assert_eq!(client.size(), size, "nothing is stored");
        }
    }
    let body = serde_json::to_vec(&items).unwrap();
    let answer = client.post(&format!("{MAIN}/events?atomic=false"), BATCH, &body).expect_status(201);
    assert!(!answer.text().contains(MARK), "{}", answer.text());
    let receipts = answer.json()["receipts"].clone();
    for (at, id) in [(0, "a1"), (2, "a2"), (4, "a3")] {
        assert_eq!(receipts[at]["id"], json!(id));
        assert_eq!(receipts[at]["replayed"], json!(false));
    }
    assert_eq!(receipts[1]["error"]["code"], json!("missing-attribute"));
    assert_eq!(receipts[3]["error"]["code"], json!("unknown-field"));
    assert_eq!(receipts[3]["error"]["item"], json!(3));
    let page = client.get(&format!("{MAIN}/events?order=asc")).expect_status(200).json();
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let answer = client.post(&format!("{MAIN}/events"), BATCH, b"[]").expect_status(200);
    assert_eq!(answer.json(), json!({"receipts": []}), "an empty batch is stored at once");
}

#[test]
fn administration_is_checked() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    let size = client.size();
    for (body, case) in [
        (json!({"role": MARK}), "an unknown role"),
        (json!({"label": MARK}), "no role"),
        (json!({"role": "producer", MARK: 1}), "an unknown member"),
        (json!({"role": "producer", "ledgers": MARK}), "a text as ledgers"),
        (json!({"role": "producer", "expires_at_s": -1}), "a negative time"),
        (json!([MARK]), "a list"),
    ] {
        refused(&client.post_json("/v1/keys", &body), 400, "bad-parameter", case);
    }
    assert_eq!(client.get("/v1/keys").json()["keys"].as_array().unwrap().len(), 1, "no key was made");
    let types = format!("{MAIN}/types");
    let schema = json!({"type": "object"});
    for (body, case) in [
        (json!({"name": MARK, "schema": schema}), "a name without x-"),
        (json!({"name": "x-QZMARK7", "schema": schema}), "an upper-case name"),
        (json!({"name": "x-qzmark7", "schema": {"type": MARK}}), "no schema"),
        (json!({"name": "x-qzmark7", "schema": {"$ref": "http://qzmark7/"}}), "a foreign reference"),
        (json!({"name": "x-qzmark7", "schema": schema, "fields": {"labels": {}}}), "a reserved field"),
        (json!({"name": "x-qzmark7"}), "no schema at all"),
        (json!(MARK), "a text"),
    ] {
        refused(&client.post_json(&types, &body), 422, "schema-violation", case);
    }
    refused(&client.post(&types, JSON, b"{\"qzmark7\""), 400, "malformed-json", "a broken type");
    let twice = b"{\"name\":\"x-a\",\"name\":\"x-qzmark7\"}";
    let answer = client.post(&types, JSON, twice);
    assert_eq!(answer.status, 400, "a key twice: {}", answer.text());
    let verify = format!("{MAIN}/verify");
    for document in [
        &b"{\"qzmark7\":1}"[..],
        b"qzmark7",
        b"",
        b"[]",
        b"{\"receipts\":17}",
        b"{\"leaf_hash\":\"qzmark7\",\"recorded_at\":\"qzmark7\"}",
        b"c2sp.org/tlog-proof@v1\nqzmark7",
    ] {
        let case = String::from_utf8_lossy(document).into_owned();
        refused(&client.post(&verify, JSON, document), 400, "bad-document", &case);
    }
    assert_eq!(client.size(), size, "nothing is stored");
}
