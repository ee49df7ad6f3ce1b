//! The event envelope in all its forms: public examples, the acceptance scenarios, and refusals.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test's helpers may fail it

use std::path::{Path, PathBuf};

use counterfoil::event::envelope::{
    from_value, parse_batch, parse_binary, parse_ndjson, parse_structured,
};
use counterfoil::event::json::{JsonErrorKind, JsonLimits, Value, parse};
use counterfoil::event::{Event, EventError, EventErrorKind as Kind};
use proptest::prelude::*;

#[path = "envelope/refusals.rs"]
mod refusals;

fn tests_dir(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// Every JSON file below a directory, by path.
fn json_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(json_files(&path));
        } else if path.extension().is_some_and(|e| e == "json") {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn large(bytes: &[u8]) -> Value {
    parse(bytes, &JsonLimits { depth_max: 32, bytes_max: 1 << 24 }).unwrap()
}

/// An event survives being written and read again, in structured and canonical form.
fn assert_stable(event: &Event) {
    let text = event.canonical_content();
    let again = parse_structured(&text).unwrap();
    assert_eq!(again.canonical_content(), text);
    let once_more = from_value(event.to_value()).unwrap();
    assert_eq!(&once_more, event);
}

#[test]
fn reads_structured_examples() {
    // `methodName` and others are no attribute names: CloudEvents 1.0, "Naming conventions".
    const CAMEL_CASE: &str = "LogEntryData-bigqueryjobcompleted.json";
    let google = json_files(&tests_dir("vectors/cloudevents/google/examples/structured"));
    let javascript = json_files(&tests_dir("vectors/cloudevents/sdk-javascript/examples/payload/v1"));
    assert_eq!((google.len(), javascript.len()), (3, 3));
    for (path, body) in google.into_iter().chain(javascript) {
        let outcome = parse_structured(&body);
        if path.ends_with(CAMEL_CASE) {
            assert!(matches!(
                outcome.unwrap_err().kind,
                Kind::InvalidAttribute { name: "extension", .. }
            ));
            continue;
        }
        let event = outcome.unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(event.time_us.is_some(), "{path}");
        assert_eq!(event.data.is_empty(), event.raw.is_some(), "{path}");
        assert_stable(&event);
    }
}

#[test]
fn keeps_what_a_structured_example_says() {
    let root = tests_dir("vectors/cloudevents/sdk-javascript/examples/payload/v1");
    let event = parse_structured(&std::fs::read(root.join("structured-event-2.json")).unwrap()).unwrap();
    let raw = event.raw.as_ref().unwrap();
    assert_eq!(raw.content_type, "application/json");
    assert_eq!(raw.bytes, br#"{"much":"wow"}"#);
    assert_eq!(event.id, "70d3c768-63f8-40e7-aa9d-d197d530586b");
    assert_eq!(event.source, "https://github.com/cloudevents/spec/pull/123");
    assert_eq!(event.type_name, "com.github.pull.create");
    assert_eq!(event.time.as_deref(), Some("2019-11-06T11:08:00Z"));
    assert_eq!(event.time_us, Some(1_573_038_480_000_000));
    assert_eq!(event.attributes.get("myextension"), Some(&Value::from("something")));
}

#[test]
fn refuses_version_0_3() {
    let files = json_files(&tests_dir("vectors/cloudevents/sdk-javascript/examples/payload/v03"));
    assert_eq!(files.len(), 3);
    for (path, body) in files {
        let error = parse_structured(&body).unwrap_err();
        assert!(matches!(error.kind, Kind::InvalidAttribute { name: "specversion", .. }), "{path}");
        assert_eq!(error.pointer, "/specversion");
    }
}

#[test]
fn reads_binary_examples() {
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "//example.googleapis.com/a"),
        ("ce-type", "google.cloud.example"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("host", "example.org"),
    ];
    let files = json_files(&tests_dir("vectors/cloudevents/google/examples/binary"));
    assert_eq!(files.len(), 11);
    for (path, body) in files {
        let event = parse_binary(&headers, &body).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(Value::from(event.data.clone()), large(&body), "{path}");
        assert_stable(&event);
    }
}

/// The scenarios of the conformance suite's HTTP binding: binary and structured mode say the same.
#[test]
fn binary_and_structured_mode_agree() {
    let body = br#"{"message": "Hello World!"}"#;
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let binary = parse_binary(
            &[
                ("ce-specversion", "1.0"),
                ("ce-type", "com.example.someevent"),
                ("ce-time", "2018-04-05T03:56:24Z"),
                ("ce-id", "1234-1234-1234"),
                ("ce-source", "/mycontext/subcontext"),
                ("content-type", content_type),
                ("content-length", "33"),
            ],
            body,
        );
        let structured = parse_structured(
            br#"{"specversion": "1.0", "type": "com.example.someevent", "time": "2018-04-05T03:56:24Z",
                 "id": "1234-1234-1234", "source": "/mycontext/subcontext",
                 "datacontenttype": "application/json", "data": {"message": "Hello World!"}}"#,
        );
        assert_eq!(binary.unwrap(), structured.unwrap());
    }
}

#[test]
fn binary_mode_decodes_headers_and_keeps_other_bodies() {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "t"),
        ("ce-id", "\"a \\\"b\\\"\""),
        ("ce-source", "/a%2520b"),
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-sequence", "00000000000000004182"),
        ("content-type", "text/xml"),
    ];
    let event = parse_binary(&headers, b"<a/>").unwrap();
    assert_eq!(event.id, "a \"b\"");
    assert_eq!(event.source, "/a%20b");
    assert_eq!(event.subject.as_deref(), Some("Euro € 😀"));
    assert_eq!(event.sequence, Some(4182));
    let raw = event.raw.as_ref().unwrap();
    assert_eq!((raw.content_type.as_str(), raw.bytes.as_slice()), ("text/xml", b"<a/>".as_slice()));
    assert_stable(&event);
    let without_type = parse_binary(&headers[..6], b"\x00\xFF").unwrap();
    assert_eq!(without_type.raw.unwrap().content_type, "application/octet-stream");
    let empty = parse_binary(&headers, b"").unwrap();
    assert!(empty.raw.is_none() && empty.data.is_empty());
}

#[test]
fn reads_every_event_of_the_scenarios_in_flat_form() {
    let mut count = 0;
    for (path, body) in json_files(&tests_dir("scenarios")) {
        let file = large(&body);
        for scenario in file.as_object().unwrap().get("scenarios").unwrap().as_array().unwrap() {
            for flat in scenario.as_object().unwrap().get("events").unwrap().as_array().unwrap() {
                let event = from_value(flat.clone()).unwrap_or_else(|e| panic!("{path}: {e}"));
                let sent = flat.as_object().unwrap();
                let text = |name: &str| sent.get(name).unwrap().as_str().unwrap().to_owned();
                assert_eq!(event.id, text("id"));
                assert_eq!(event.type_name, text("type"));
                assert_eq!(event.source, format!("{}/{}", text("org"), text("producer")));
                assert_eq!(event.time, Some(text("at")));
                assert_eq!(event.sequence.map(i64::try_from), sent.get("seq").unwrap().as_i64().map(Ok));
                assert_eq!(event.data.get("subject"), sent.get("subject"));
                assert_eq!(event.data.get("source"), sent.get("source"));
                assert_eq!(event.data.len(), sent.len() - 7, "id seq org producer type at recorded_at");
                assert_stable(&event);
                let line = serde_json::to_vec(flat).unwrap();
                assert_eq!(parse_structured(&line).unwrap(), event);
                count += 1;
            }
        }
    }
    assert_eq!(count, 224);
}

#[test]
fn data_and_attachment_may_stand_side_by_side() {
    let event = parse_structured(
        br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":null},"data_base64":"AP8=",
             "comexampleflag":true,"comexamplecount":-7,"subject":null,"time":null,"nothing":null,
             "traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
    )
    .unwrap();
    assert_eq!(event.data.get("a"), Some(&Value::Null));
    let raw = event.raw.as_ref().unwrap();
    assert_eq!(
        (raw.content_type.as_str(), raw.bytes.as_slice()),
        ("application/octet-stream", &[0, 255][..])
    );
    let attributes: Vec<_> = event.attributes.iter().map(|(name, _)| name).collect();
    assert_eq!(attributes, ["comexampleflag", "comexamplecount", "traceparent"]);
    assert_eq!((event.subject.as_ref(), event.time.as_ref()), (None, None));
    assert_stable(&event);
}

#[test]
fn a_json_media_type_of_its_own_is_kept() {
    let with = |content_type: &str| {
        let text = format!(
            r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","datacontenttype":"{content_type}"}}"#
        );
        parse_structured(text.as_bytes()).unwrap()
    };
    assert!(with("Application/JSON;charset=utf-8").attributes.is_empty());
    let event = with("application/vnd.example+json");
    assert_eq!(
        event.attributes.get("datacontenttype").unwrap().as_str(),
        Some("application/vnd.example+json")
    );
    assert_stable(&event);
}

fn flat(id: &str) -> String {
    format!(r#"{{"id":"{id}","org":"o","producer":"p","type":"t"}}"#)
}

fn places(outcomes: &[Result<Event, EventError>]) -> Vec<(&str, &str)> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(event) => ("ok", event.id.as_str()),
            Err(error) => (error.problem(), error.pointer.as_str()),
        })
        .collect()
}

#[test]
fn a_batch_has_an_outcome_for_each_item() {
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let body = format!(
        r#" [ {}, {{"id":"a","id":"b"}} , {{"n":[1,9007199254740993,{{"x":"\ud800"}}]}},{deep}, 7,
             {{"specversion":"1.0","id":3}},{} ]
        "#,
        flat("first"),
        flat("last")
    );
    let outcomes = parse_batch(body.as_bytes()).unwrap();
    assert_eq!(
        places(&outcomes),
        [
            ("ok", "first"),
            ("duplicate-key", "/1"),
            ("number-out-of-range", "/2"),
            ("too-deep", "/3"),
            ("malformed-json", "/4"),
            ("invalid-attribute", "/5/id"),
            ("ok", "last"),
        ]
    );
    let offset = outcomes[1].as_ref().unwrap_err().offset.unwrap();
    assert!(body[offset..].starts_with(r#""id":"b""#));
    assert_eq!(parse_batch(b"[]").unwrap(), []);
}

/// After half a pair, an escaped quote is still inside the string.
#[test]
fn a_batch_goes_on_where_a_refused_string_ends() {
    let body = r#"[{"x":"\ud800\"},{"},{"x":"\ud800\u0022\ud800\uzzzz"}]"#;
    assert_eq!(parse_batch(body.as_bytes()).unwrap_err().kind, Kind::Json(JsonErrorKind::Syntax));
    let body = format!(r#"[{{"x":"\ud800\"}},{{"}},{}]"#, flat("last"));
    assert_eq!(
        places(&parse_batch(body.as_bytes()).unwrap()),
        [("malformed-json", "/0"), ("ok", "last")]
    );
}

#[test]
fn a_batch_that_is_not_json_is_refused_whole() {
    let event = flat("a");
    for (body, kind, pointer) in [
        (format!("[{event},]"), Kind::Json(JsonErrorKind::Syntax), "/1"),
        (format!("[{event} {event}]"), Kind::Json(JsonErrorKind::Syntax), "/1"),
        (format!("[{event},{{\"a\":1,\"a\":}}]"), Kind::Json(JsonErrorKind::Syntax), "/1"),
        (format!("[{event}"), Kind::Json(JsonErrorKind::UnexpectedEnd), "/1"),
        (format!("[{event}]]"), Kind::Json(JsonErrorKind::TrailingBytes), "/1"),
        (String::new(), Kind::Json(JsonErrorKind::UnexpectedEnd), ""),
        (event.clone(), Kind::NotAnArray, ""),
    ] {
        let error = parse_batch(body.as_bytes()).unwrap_err();
        assert_eq!((&error.kind, error.pointer.as_str()), (&kind, pointer), "{body}");
    }
}

#[test]
fn ndjson_has_an_outcome_for_each_line() {
    let body = format!("{}\r\n\n  \t\n{{\"id\":1}}\n{{\"a\":x}}\n[1]\n{}", flat("first"), flat("last"));
    let outcomes = parse_ndjson(body.as_bytes()).unwrap();
    assert_eq!(
        places(&outcomes),
        [
            ("ok", "first"),
            ("missing-attribute", "/4"),
            ("malformed-json", "/5"),
            ("malformed-json", "/6"),
            ("ok", "last"),
        ]
    );
    let offset = outcomes[2].as_ref().unwrap_err().offset.unwrap();
    assert_eq!(&body[offset..=offset], "x");
    assert_eq!(parse_ndjson(b"").unwrap(), []);
}

#[test]
fn a_request_holds_ten_thousand_events() {
    let event = flat("a");
    let full = vec![event.as_str(); 10_000];
    let over = vec![event.as_str(); 10_001];
    assert_eq!(parse_batch(format!("[{}]", full.join(",")).as_bytes()).unwrap().len(), 10_000);
    assert_eq!(parse_ndjson(full.join("\n").as_bytes()).unwrap().len(), 10_000);
    let kind = Kind::TooManyEvents { limit: 10_000 };
    assert_eq!(parse_batch(format!("[{}]", over.join(",")).as_bytes()).unwrap_err().kind, kind);
    assert_eq!(parse_ndjson(over.join("\n").as_bytes()).unwrap_err().kind, kind);
    let kind = Kind::TooLarge { limit_bytes: 8 * 1024 * 1024 };
    let long = vec![b' '; 8 * 1024 * 1024 + 1];
    assert_eq!(parse_batch(&long).unwrap_err().kind, kind);
    assert_eq!(parse_ndjson(&long).unwrap_err().kind, kind);
}

proptest! {
    /// Whatever is accepted is written and read back the same, whatever entrance it came by.
    #[test]
    fn accepted_events_are_stable(id in ".{1,20}", source in "[a-z/:%0-9.]{1,12}", subject in ".{0,8}",
                                  sequence in any::<u64>(), field in any::<String>(),
                                  raw in prop::option::of(prop::collection::vec(any::<u8>(), 0..64))) {
        let encoded = raw.map(|bytes| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes)
        });
        let body = serde_json::json!({
            "specversion": "1.0", "id": id, "source": source, "type": "t", "subject": subject,
            "sequence": sequence.to_string(), "data": {"field": field}, "data_base64": encoded,
        });
        let text = serde_json::to_vec(&body).unwrap();
        if let Ok(event) = parse_structured(&text) {
            assert_stable(&event);
            let batch = parse_batch(format!("[{body}]").as_bytes()).unwrap();
            prop_assert_eq!(batch[0].as_ref().unwrap(), &event);
        }
    }
}
