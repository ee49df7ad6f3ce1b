//! Importing real events: every line of `tests/data/events` becomes an event, its bytes kept.
//!
//! In scope: the built-in mappings over 5,184 published records of 13 sources. Out of scope: the
//! mapper's grammar and readers, which have tests beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its files has to fail"
)]

use std::fs;
use std::path::Path;

use counterfoil::event::catalogue::{Catalogue, Role};
use counterfoil::event::custom::CustomType;
use counterfoil::event::envelope::parse_structured;
use counterfoil::event::json::Value;
use counterfoil::event::mapping::{
    Class, DOCUMENT_BYTES_MAX, Mapped, Mapping, MappingError, Piece, RECORD_BYTES_MAX, Refusal, id,
    pieces,
};
use counterfoil::event::parts::{SplitEvent, merge, split};

#[path = "mapping/docs.rs"]
mod docs;
#[path = "mapping/hostile.rs"]
mod hostile;
#[path = "mapping/products.rs"]
mod products;
#[path = "mapping/published.rs"]
mod published;

const ALL: &str = "all";
const GENERIC: &str = "generic";
const CLOUDTRAIL: &str = "cloudtrail";

fn builtin(name: &str) -> Mapping {
    Mapping::builtin(name).unwrap()
}

/// Every file of the data directory with its bytes.
fn files() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert_eq!(files.len(), 13, "the published events are all here");
    files
}

fn one(mapping: &Mapping, line: &str) -> Mapped {
    let mut mapped = mapping.map_line(line.as_bytes());
    assert_eq!(mapped.len(), 1, "{line}");
    mapped.remove(0).unwrap()
}

/// The built-in catalogue with the types the mapping declares.
fn catalogue(mapping: &Mapping) -> Catalogue {
    mapping.custom_types().fold(Catalogue::builtin().unwrap(), |catalogue, custom| {
        assert_eq!(CustomType::from_value(&custom.to_value()).as_ref(), Ok(custom));
        catalogue.with_custom(custom.clone()).unwrap()
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn data<'a>(mapped: &'a Mapped, field: &str) -> Option<&'a str> {
    mapped.event.data.get(field).and_then(Value::as_str)
}

#[test]
fn what_passes_as_an_event_is_what_the_catalogue_knows() {
    let catalogue = Catalogue::builtin().unwrap();
    let mapping = builtin(GENERIC);
    for name in catalogue.types().map(|kind| kind.name.clone()).chain(["data.accesses".to_owned()]) {
        let line =
            format!("{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"{name}\"}}");
        let passed = one(&mapping, &line).class == Class::Passed;
        assert_eq!(passed, catalogue.class(&name).is_some(), "{name}");
    }
    for mapping in [builtin(ALL), builtin(CLOUDTRAIL)] {
        assert!(mapping.mapped_types().all(|name| catalogue.class(name).is_some()));
    }
}

#[test]
fn cloudtrail_files_and_envelopes_are_unwrapped_verbatim() {
    let mapping = builtin(CLOUDTRAIL);
    let record = |name: &str, extra: &str| {
        format!(
            "{{ \"eventSource\":\"s3.amazonaws.com\",\"eventName\" : \"{name}\", \"eventTime\":\"2026-11-21T09:00:00Z\",\
             \"recipientAccountId\":\"111122223333\",\"userIdentity\":{{\"arn\":\"arn:x\",\"type\":\"IAMUser\"}}{extra}}}"
        )
    };
    let (first, second) =
        (record("GetObject", ",\"n\":9007199254740993,\"n\":1"), record("DeleteObject", ""));
    let file = format!("{{\"Records\": [{first} ,\n {second}]}}");
    let found: Vec<_> = mapping.map_line(file.as_bytes()).into_iter().map(Result::unwrap).collect();
    let raws: Vec<_> = found.iter().map(|mapped| mapped.event.raw.clone().unwrap().bytes).collect();
    assert_eq!(raws, [first.as_bytes(), second.as_bytes()]);
    assert_eq!(found[0].event.type_name, "data.accessed");
    assert_eq!(found[1].event.type_name, "data.deleted");
    let detail = one(&mapping, &format!("{{\"source\":\"aws.s3\",\"detail\":{first}}}"));
    assert_eq!(detail, found[0], "the envelope adds nothing to the record, its id included");
    let guard_duty = "{\"source\":\"aws.guardduty\",\"detail\":{\"severity\":5}}";
    assert_eq!(one(&mapping, guard_duty).event.raw.unwrap().bytes, guard_duty.as_bytes());
}

#[test]
fn a_file_may_be_larger_than_a_record_and_a_record_may_not() {
    let mapping = builtin(CLOUDTRAIL);
    let record = |pad: usize| {
        let pad = "x".repeat(pad);
        format!(
            "{{\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"GetObject\",\"eventTime\":\"{pad}\",\
             \"recipientAccountId\":\"1\",\"userIdentity\":{{\"arn\":\"a\"}}}}"
        )
    };
    let half = record(RECORD_BYTES_MAX / 2);
    let file = format!("{{\"Records\":[{half},{half},{half},{}]}}", record(RECORD_BYTES_MAX));
    let found = mapping.map_line(file.as_bytes());
    let kinds: Vec<_> = found.iter().map(Result::is_ok).collect();
    assert_eq!(kinds, [true, true, true, false]);
    let limit_bytes = RECORD_BYTES_MAX;
    assert_eq!(found[3], Err(Refusal::TooLarge { limit_bytes }));
    for mapping in [builtin(GENERIC), builtin(CLOUDTRAIL)] {
        let exact = format!("{{\"a\":\"{}\"}}", "x".repeat(RECORD_BYTES_MAX - 8));
        assert!(mapping.map_line(exact.as_bytes())[0].is_ok());
        assert_eq!(
            mapping.map_line(format!("{exact} ").as_bytes()),
            [Err(Refusal::TooLarge { limit_bytes })]
        );
        let limit_bytes = DOCUMENT_BYTES_MAX;
        let huge = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        assert_eq!(mapping.map_line(&huge), [Err(Refusal::TooLarge { limit_bytes })]);
    }
}

#[test]
fn cloudtrail_fields_are_filled_honestly() {
    let mapping = builtin(CLOUDTRAIL);
    let line = |name: &str, rest: &str| {
        format!(
            "{{\"eventSource\":\"rds.amazonaws.com\",\"eventName\":\"{name}\",\"eventTime\":\"2026-11-21T09:00:00Z\",\
             \"awsRegion\":\"eu-central-1\",\"userIdentity\":{{\"type\":\"AssumedRole\",\"principalId\":\"P:alice\",\
             \"accountId\":\"444455556666\"}}{rest}}}"
        )
    };
    let read = one(&mapping, &line("DescribeDBInstances", ",\"recipientAccountId\":\"111122223333\""));
    assert_eq!((read.class, read.event.type_name.as_str()), (Class::Mapped, "data.accessed"));
    assert_eq!(data(&read, "subject"), Some("account:111122223333"));
    assert_eq!(data(&read, "actor"), Some("P:alice"));
    assert_eq!(data(&read, "actor_role"), Some("service"));
    assert_eq!(data(&read, "purpose"), Some("unstated"));
    assert_eq!(read.event.time_us, Some(1_795_251_600_000_000));

    let old = one(&mapping, &line("GetObject", ""));
    assert_eq!(
        data(&old, "subject"),
        Some("account:444455556666"),
        "old records name the caller's account"
    );

    let copy = line("CopyDBSnapshot", ",\"requestParameters\":{\"targetDBSnapshotIdentifier\":\"t\"}");
    let copy = one(&mapping, &copy);
    assert_eq!(copy.event.type_name, "data.transferred");
    assert_eq!((data(&copy, "to"), data(&copy, "to_kind")), (Some("backup:t"), Some("backup")));
    assert_eq!(data(&copy, "origin_country"), Some("DE"));

    let bucket = |more: &str| {
        line("CopyObject", &format!(",\"requestParameters\":{{\"bucketName\":\"b\"{more}}}"))
    };
    let object = one(&mapping, &bucket(",\"x-amz-copy-source\":\"from/alice.csv\""));
    assert_eq!(object.event.subject.as_deref(), Some("arn:aws:s3:::from/alice.csv"));
    assert_eq!(data(&object, "to"), Some("arn:aws:s3:::b"));
    assert_eq!(
        one(&mapping, &bucket("")).event.subject,
        None,
        "the recipient is no person of the event"
    );

    let gone = one(&mapping, &line("DeleteDBSnapshot", ""));
    assert_eq!(
        gone.event.data.get("complete"),
        Some(&Value::Bool(false)),
        "one resource is not everything"
    );

    for (name, rest) in [
        ("DeleteDBSnapshot", ",\"errorCode\":\"AccessDenied\""),
        ("GetObject", ",\"errorMessage\":\"no\""),
        ("CreateUser", ""),
        (
            "ModifyDBSnapshotAttribute",
            ",\"requestParameters\":{\"attributeName\":\"restore\",\"valuesToRemove\":[\"all\"]}",
        ),
        ("CopyDBSnapshot", ",\"requestParameters\":{}"),
    ] {
        let kept = one(&mapping, &line(name, rest));
        assert_eq!(
            (kept.class, kept.event.type_name.as_str()),
            (Class::Custom, "x-aws.cloudtrail"),
            "{name}"
        );
        assert_eq!(data(&kept, "operation"), Some(name));
    }
    let note = one(&mapping, &line("CopyDBSnapshot", ",\"requestParameters\":{}")).note;
    assert_eq!(note.as_deref(), Some("not data.transferred: the record has no value for `to`"));
}

#[test]
fn an_event_of_ours_passes_unchanged() {
    for mapping in [builtin(GENERIC), builtin(CLOUDTRAIL)] {
        let flat = r#"{"id":"e1","org":"o","producer":"p","type":"data.deleted","at":"2026-11-21T09:00:00Z","holder":"self"}"#;
        let cloud = r#"{"specversion":"1.0","id":"e1","source":"o/p","type":"data.deleted","time":"2026-11-21T09:00:00Z","data":{"holder":"self"}}"#;
        let passed = one(&mapping, flat);
        assert_eq!((passed.class, passed.event.id.as_str()), (Class::Passed, "e1"));
        assert_eq!((&passed.event.raw, passed.event.source.as_str()), (&None, "o/p"));
        assert_eq!(one(&mapping, cloud), passed);
        let twice = flat.replace("\"holder\"", "\"type\":\"data.deleted\",\"holder\"");
        let refused = mapping.map_line(twice.as_bytes()).remove(0).unwrap_err();
        assert!(matches!(refused, Refusal::Event(_)), "an event is read strictly");
        let foreign = cloud.replace("data.deleted", "google.storage.object.v1.deleted");
        assert_eq!(
            one(&mapping, &foreign).class,
            Class::Custom,
            "another vendor's CloudEvent is kept as it is"
        );
        let vendor = r#"{"id":"1","type":"checkpoint","at":"2026-11-21T09:00:00Z"}"#;
        assert_eq!(one(&mapping, vendor).event.type_name, "x-import");
    }
}

#[test]
fn generic_lines_tell_time_actor_and_subject_where_they_name_them() {
    let mapping = builtin(GENERIC);
    let line = r#"{"published":"2026-11-21 09:00:00+01:00","actor":{"id":"00u1","name":"n"},"data_subject":"s7","eventType":"user.login"}"#;
    let mapped = one(&mapping, line);
    assert_eq!(mapped.event.time.as_deref(), Some("2026-11-21T09:00:00+01:00"));
    assert_eq!(data(&mapped, "actor"), Some("00u1"));
    assert_eq!(data(&mapped, "subject"), Some("s7"));
    assert_eq!(data(&mapped, "action"), Some("user.login"));
    let bare = one(&mapping, "{\"a\":[18446744073709551616,1,1e400,\"\\ud800\"],\"a\":0}");
    assert!(bare.event.data.is_empty() && bare.event.time.is_none());
}

#[test]
fn what_is_no_record_is_kept_and_told() {
    let mapping = builtin(ALL);
    let input = b"{\"ok\":1}\nsecret-value\n\n[1]\n{\"a\":\"\xff\"}\n7\nzero\0byte\n";
    let found: Vec<_> = pieces(input)
        .flat_map(|piece| {
            mapping.map_line(piece.bytes).into_iter().map(move |result| (piece.line, result))
        })
        .collect();
    assert_eq!(found.last().unwrap(), &(7, Err(Refusal::NotText { offset: 4 })));
    let kept: Vec<_> = found
        .iter()
        .filter_map(|(line, result)| Some((*line, result.as_ref().ok()?)))
        .map(|(line, mapped)| {
            let raw = mapped.event.raw.as_ref().unwrap();
            assert!(mapped.unmapped && mapped.event.data.is_empty(), "{line}");
            assert_eq!((mapped.event.type_name.as_str(), &*mapped.mapping), ("x-import", GENERIC));
            (line, mapped.note.clone().unwrap(), raw.content_type.clone(), raw.bytes.len())
        })
        .collect();
    let json = "application/json";
    let expected = [
        (1, "no mapping knows this record", json, 8),
        (2, "not JSON from byte 0 on", "text/plain; charset=utf-8", 12),
        (4, "not a JSON object", json, 3),
        (5, "not JSON from byte 6 on", "application/octet-stream", 9),
        (6, "not a JSON object", json, 1),
    ]
    .map(|(line, note, content_type, length)| (line, note.to_owned(), content_type.to_owned(), length));
    assert_eq!(kept, expected);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
    let mapped = mapping.map(deep.as_bytes()).unwrap();
    assert_eq!(mapped.note.as_deref(), Some("nested deeper than 128"));
}

#[test]
fn ids_come_from_the_bytes_and_nothing_else() {
    let mapping = builtin(GENERIC);
    assert_eq!(
        one(&mapping, "{}").event.id,
        "import:44136fa355b3678a1146ad16f7e8649e",
        "from the SHA-256 of two braces"
    );
    let a = one(&mapping, "{\"eventID\":\"1\",\"v\":1}");
    assert_eq!(a, one(&mapping, "{\"eventID\":\"1\",\"v\":1}"));
    assert_ne!(a.event.id, one(&mapping, "{\"eventID\":\"1\",\"v\":2}").event.id, "vendor ids repeat");
    assert_ne!(a.event.id, one(&mapping, "{\"eventID\":\"1\", \"v\":1}").event.id);
    assert!(a.event.data.iter().all(|(_, value)| value.as_str() != Some("1")));
}

#[test]
fn mapping_files_are_read_strictly() {
    let good = "name='n'\nsource='import/n'\n[custom]\ntype='x-n'\nschema='{}'\n";
    assert_eq!(Mapping::parse(good).unwrap().custom_types().count(), 2, "its own and the generic one");
    for (bad, expected) in [
        ("oops", "not a mapping file"),
        (
            &format!("{good}\n[[rule]]\ntype='t'\nwhen=[{{path='a'}}]"),
            "a condition must say exactly one thing",
        ),
        (
            &format!("{good}\n[[rule]]\ntype='t'\nwhen=[{{path='a..b',exists=true}}]"),
            "`a..b` is not a path",
        ),
        (&format!("{good}\n[[rule]]\ntype='t'\ndata={{a={{value='b'}}}}"), "`b` is not defined"),
        (
            &format!("{good}\n[[rule]]\ntype='t'\ndata={{a={{path='a',table='b'}}}}"),
            "`b` is not defined",
        ),
        (&format!("{good}\n[[rule]]\ndata={{a='b'}}"), "a rule without type"),
        (&format!("{good}\n[[rules]]\n"), "not a mapping file"),
        (&format!("{good}[custom.data]\na='b'\n").replace("schema='{}'\n", ""), "`a` is filled"),
        (
            &good.replace("[custom]", "unwrap=['a[b=c]']\n[custom]"),
            "line 3: `a[b=c]` cannot be unwrapped",
        ),
        (
            &good.replace("[custom]", "accept=[{any=[{path='a'}]}]\n[custom]"),
            "line 3: a condition must say exactly one thing",
        ),
        (&good.replace("import/n", ""), "1 to 256 characters"),
        (&good.replace("{}", "{"), "schema is not JSON"),
        (&format!("{good}\n[custom.fields]\na={{facet='b'}}"), "the custom type: "),
    ] {
        let error = Mapping::parse(bad).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = Mapping::builtin("other").unwrap_err();
    assert_eq!(error, MappingError::UnknownBuiltin("other".to_owned()));
    let located =
        Mapping::parse(&format!("{good}\n[[rule]]\ntype='t'\nwhen=[{{path='a..b',exists=true}}]"));
    assert!(located.unwrap_err().to_string().starts_with("line 9: `a..b` is not a path"));
}
