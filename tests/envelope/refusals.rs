//! What is refused, as what, and where.

use super::*;

/// A `CloudEvents` event with `members` besides, or instead of, the required ones.
fn with(members: &str) -> String {
    let required = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];
    let absent = required.iter().filter(|(name, _)| !members.contains(&format!("\"{name}\":")));
    let mut all: Vec<_> = absent.map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    all.extend((!members.is_empty()).then(|| members.to_owned()));
    format!("{{{}}}", all.join(","))
}

fn refusal(text: &str) -> EventError {
    match parse_structured(text.as_bytes()) {
        Ok(_) => panic!("accepted: {}", text.chars().take(200).collect::<String>()),
        Err(error) => error,
    }
}

#[test]
fn refuses_attributes_by_name() {
    assert!(parse_structured(with("").as_bytes()).is_ok());
    for (members, name) in [
        (r#""specversion":"1.1""#, "specversion"),
        (r#""specversion":1.0"#, "specversion"),
        (r#""specversion":null"#, "specversion"),
        (r#""id":"""#, "id"),
        (r#""id":7"#, "id"),
        (r#""id":"a\u0000""#, "id"),
        (r#""id":"\uffff""#, "id"),
        (r#""source":"""#, "source"),
        (r#""source":"a b""#, "source"),
        (r#""source":"a%2""#, "source"),
        (r#""source":["s"]"#, "source"),
        (r#""type":"""#, "type"),
        (r#""time":"yesterday""#, "time"),
        (r#""time":1573038480"#, "time"),
        (r#""sequence":7"#, "sequence"),
        (r#""sequence":"""#, "sequence"),
        (r#""sequence":"+7""#, "sequence"),
        (r#""sequence":"18446744073709551616""#, "sequence"),
        (r#""subject":"""#, "subject"),
        (r#""data":"text""#, "data"),
        (r#""data":[]"#, "data"),
        (r#""data_base64":"A""#, "data_base64"),
        (r#""data_base64":"AA""#, "data_base64"),
        (r#""data_base64":"AB==""#, "data_base64"),
        (r#""data_base64":"_w==""#, "data_base64"),
        (r#""data_base64":{}"#, "data_base64"),
        (r#""datacontenttype":"json""#, "datacontenttype"),
        (r#""datacontenttype":"text/plain","data":{}"#, "datacontenttype"),
        (r#""traceparent":"00-1-2-3""#, "traceparent"),
        (r#""traceparent":7"#, "traceparent"),
        (r#""dataschema":"relative""#, "dataschema"),
        (r#""recordedtime":"now""#, "recordedtime"),
        (r#""correlationid":"""#, "correlationid"),
    ] {
        let error = refusal(&with(members));
        let Kind::InvalidAttribute { name: named, .. } = &error.kind else {
            panic!("{members}: {error}")
        };
        assert_eq!((*named, error.pointer), (name, format!("/{name}")), "{members}");
    }
}

#[test]
fn refuses_long_attributes_by_characters() {
    for (name, chars_max) in [("id", 128), ("type", 128), ("subject", 256), ("correlationid", 128)] {
        let of = |count: usize| with(&format!("\"{name}\":\"{}\"", "é".repeat(count)));
        assert!(parse_structured(of(chars_max).as_bytes()).is_ok(), "{name}");
        let expected = Kind::InvalidAttribute { name, reason: "is too long" };
        assert_eq!(refusal(&of(chars_max + 1)).kind, expected);
    }
    let source = |count: usize| with(&format!("\"source\":\"{}\"", "s".repeat(count)));
    assert!(parse_structured(source(256).as_bytes()).is_ok());
    assert!(matches!(refusal(&source(257)).kind, Kind::InvalidAttribute { name: "source", .. }));
}

#[test]
fn refuses_extensions_without_telling_their_name() {
    for members in [
        r#""secretName":"x""#,
        r#""secret_name":"x""#,
        r#""":"x""#,
        r#""secretnamethatistoolong":"x""#,
        r#""secretname":1.5"#,
        r#""secretname":2147483648"#,
        r#""secretname":{}"#,
        r#""secretname":[]"#,
        r#""secretname":"\u0007""#,
    ] {
        let error = refusal(&with(members));
        assert!(matches!(error.kind, Kind::InvalidAttribute { name: "extension", .. }), "{members}");
        assert_eq!(error.pointer, "");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let many: Vec<_> = (0..33).map(|i| format!("\"x{i}\":0")).collect();
    assert!(parse_structured(with(&many[..32].join(",")).as_bytes()).is_ok());
    let error = refusal(&with(&many.join(",")));
    assert_eq!(error.kind, Kind::InvalidAttribute { name: "extension", reason: "there are too many" });
}

#[test]
fn refuses_what_it_cannot_honour() {
    for name in ["ledgerindex", "ledger"] {
        let error = refusal(&with(&format!("\"{name}\":\"1\"")));
        assert!(matches!(error.kind, Kind::InvalidAttribute { name: "ledger", .. }));
    }
    for name in ["dataclassification", "dataregulation", "datacategory"] {
        let error = refusal(&with(&format!("\"{name}\":\"confidential\"")));
        assert_eq!(error.kind, Kind::UnsupportedAttribute(name));
        assert_eq!((error.problem(), error.pointer), ("invalid-attribute", format!("/{name}")));
    }
}

#[test]
fn names_what_is_missing() {
    for (text, name) in [
        (r"{}", "specversion"),
        (r#"{"id":"1","source":"s","type":"t"}"#, "specversion"),
        (r#"{"specversion":"1.0"}"#, "id"),
        (r#"{"specversion":"1.0","id":null,"source":"s","type":"t"}"#, "id"),
        (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "source"),
        (r#"{"specversion":"1.0","id":"1","source":"s"}"#, "type"),
        (r#"{"at":"2026-01-01T00:00:00Z","id":"1","type":"t","producer":"p"}"#, "org"),
        (r#"{"at":"2026-01-01T00:00:00Z","id":"1","type":"t","org":"o"}"#, "producer"),
        (r#"{"org":"o","producer":"p","type":"t"}"#, "id"),
        (r#"{"org":"o","producer":"p","id":"1","type":null}"#, "type"),
    ] {
        assert_eq!(refusal(text).kind, Kind::MissingAttribute(name), "{text}");
    }
}

#[test]
fn refuses_flat_events_by_their_own_names() {
    let flat = |members: &str| format!(r#"{{"type":"t","id":"1",{members}}}"#);
    for (members, name) in [
        (r#""org":"a/b","producer":"p""#, "org"),
        (r#""org":"","producer":"p""#, "org"),
        (r#""org":"o","producer":"p q""#, "producer"),
        (r#""org":"o","producer":"p","at":"soon""#, "at"),
        (r#""org":"o","producer":"p","at":5"#, "at"),
        (r#""org":"o","producer":"p","seq":-1"#, "seq"),
        (r#""org":"o","producer":"p","seq":"1""#, "seq"),
        (r#""org":"o","producer":"p","seq":1.5"#, "seq"),
    ] {
        let error = refusal(&flat(members));
        let Kind::InvalidAttribute { name: named, .. } = &error.kind else {
            panic!("{members}: {error}")
        };
        assert_eq!((*named, error.pointer), (name, format!("/{name}")), "{members}");
    }
    let long = "p".repeat(256);
    let error = refusal(&flat(&format!(r#""org":"o","producer":"{long}""#)));
    assert_eq!(error.kind, Kind::InvalidAttribute { name: "producer", reason: "is too long" });
}

#[test]
fn limits_the_event_and_the_attachment_apart() {
    const EVENT: usize = 64 * 1024;
    const RAW: usize = 1024 * 1024;
    let of_size = |size: usize| {
        let empty = with(r#""data":{"a":""}"#).len();
        with(&format!(r#""data":{{"a":"{}"}}"#, "x".repeat(size - empty)))
    };
    assert!(parse_structured(of_size(EVENT).as_bytes()).is_ok());
    assert_eq!(refusal(&of_size(EVENT + 1)).kind, Kind::TooLarge { limit_bytes: EVENT });
    assert_eq!(
        from_value(large(of_size(EVENT + 1).as_bytes())).unwrap_err().kind,
        Kind::TooLarge { limit_bytes: EVENT }
    );

    let raw = |bytes: usize| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(vec![7; bytes]);
        with(&format!(r#""data_base64":"{encoded}""#))
    };
    assert_eq!(parse_structured(raw(RAW).as_bytes()).unwrap().raw.unwrap().bytes.len(), RAW);
    for bytes in [RAW + 1, RAW + 3, RAW + 300] {
        assert_eq!(refusal(&raw(bytes)).kind, Kind::RawTooLarge { limit_bytes: RAW });
    }
    assert_eq!(refusal(&raw(2 * RAW)).kind, Kind::TooLarge { limit_bytes: 2 * 1024 * 1024 });
    let many_values = with(&format!(r#""data":{{"a":[{}0]}}"#, "0,".repeat(EVENT)));
    assert_eq!(refusal(&many_values).kind, Kind::TooLarge { limit_bytes: EVENT });
}

#[test]
fn tells_problem_and_place_of_bad_json() {
    for (text, problem, offset) in [
        (with(r#""data":{"a":{"k":1,"k":2}}"#), "duplicate-key", Some("\"k\":2")),
        (with(r#""data":{"a":12345678901234567890}"#), "number-out-of-range", Some("1234567890")),
        (with(r#""data":{"a":"\ud800"}"#), "malformed-json", Some("\\ud800")),
        (with(&format!(r#""data":{}"#, "[".repeat(40))), "too-deep", None),
        (with("").replace('}', ""), "malformed-json", None),
        (format!("{} x", with("")), "malformed-json", Some("x")),
        ("[]".to_owned(), "malformed-json", None),
    ] {
        let error = refusal(&text);
        assert_eq!(error.problem(), problem, "{text}");
        if let Some(offence) = offset {
            assert!(text[error.offset.unwrap()..].starts_with(offence), "{text}: {error}");
        }
    }
}

#[test]
fn refuses_bad_headers() {
    let good = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let outcome = |more: &[(&str, &str)], body: &[u8]| {
        let headers: Vec<_> = good.iter().chain(more).copied().collect();
        parse_binary(&headers, body).map_err(|e| e.kind)
    };
    assert!(outcome(&[], b"").is_ok());
    for (header, name) in [
        (("ce-id", "2"), "id"),
        (("ce-subject", "a%2"), "subject"),
        (("ce-subject", "%FF"), "subject"),
        (("ce-subject", "\"a\"b\""), "subject"),
        (("ce-subject", "\"a\\\""), "subject"),
        (("ce-time", "soon"), "time"),
        (("ce-data", "{}"), "extension"),
        (("ce-datacontenttype", "application/json"), "extension"),
        (("ce-data_base64", "AA=="), "extension"),
        (("ce-my-extension", "x"), "extension"),
        (("ce-ledgerindex", "1"), "ledger"),
    ] {
        let error = outcome(&[header], b"").unwrap_err();
        assert!(
            matches!(&error, Kind::InvalidAttribute { name: n, .. } if *n == name),
            "{header:?}: {error}"
        );
    }
    let json = ("content-type", "application/json");
    assert!(matches!(
        outcome(&[json, json], b"{}"),
        Err(Kind::InvalidAttribute { name: "datacontenttype", .. })
    ));
    assert_eq!(outcome(&[json], b"[]"), Err(Kind::NotAnObject));
    assert_eq!(outcome(&[json], b"{"), Err(Kind::Json(JsonErrorKind::UnexpectedEnd)));
    assert_eq!(outcome(&[json], &vec![b' '; 65536]), Err(Kind::TooLarge { limit_bytes: 65536 }));
    let limit_bytes = 1024 * 1024;
    assert_eq!(outcome(&[], &vec![0; limit_bytes + 1]), Err(Kind::RawTooLarge { limit_bytes }));
    assert!(outcome(&[], &vec![0; limit_bytes]).is_ok());
    assert_eq!(parse_binary(&good[1..], b"").unwrap_err().kind, Kind::MissingAttribute("specversion"));
}
