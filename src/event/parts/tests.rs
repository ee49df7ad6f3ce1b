//! Where things lie, that nothing personal lies in the open, and that parts make the event again.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;
use crate::event::catalogue::CustomType;
use crate::event::envelope::{Raw, from_value};
use crate::event::json::{JsonLimits, Object, parse};

fn json(text: &str) -> Value {
    parse(text.as_bytes(), &JsonLimits::default()).unwrap()
}

fn event(type_name: &str, data: &str) -> Event {
    let text = format!(
        r#"{{"specversion":"1.0","id":"e1","source":"o/p","type":"{type_name}","data":{data}}}"#
    );
    from_value(json(&text)).unwrap()
}

fn split_builtin(event: &Event) -> Result<SplitEvent, EventError> {
    split(event, &Catalogue::builtin().unwrap())
}

fn body(split: &SplitEvent, role: &str) -> String {
    let part = split.parts.iter().find(|part| part.role.name() == role).unwrap();
    String::from_utf8(part.body.clone()).unwrap()
}

fn roles(split: &SplitEvent) -> Vec<String> {
    split.parts.iter().map(|part| part.role.name().into_owned()).collect()
}

/// Terms as text, `facet=value` or `facet=#person`.
fn terms_of(split: &SplitEvent) -> Vec<String> {
    let term = |term: &FacetTerm| match &term.source {
        FacetSource::Open(value) => format!("{}={value}", term.facet.name().unwrap()),
        FacetSource::Person(number) => format!("{}=#{number}", term.facet.name().unwrap()),
    };
    split.terms.iter().map(term).collect()
}

fn merged(split: &SplitEvent) -> Vec<u8> {
    merge(split.parts.iter().map(|part| (part.role, part.body.as_slice()))).unwrap().to_canonical()
}

const TRANSFER: &str = r#"{"subject":"s1","to":"AWS","to_kind":"processor","direction":"out",
    "categories":["contact","contact","identity"],"purpose":"hosting","dest_country":"de",
    "origin_country":"DE","request":"r1","demand":"d1","subject_region":"US-CA","labels":{"env":"prod"}}"#;

#[test]
fn a_transfer_in_full() {
    let mut event = event("data.transferred", TRANSFER);
    event.subject = Some("audioprint/7".to_owned());
    event.sequence = Some(42);
    event.attributes.insert("correlationid", "call-1");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    event.attributes.insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    event.raw = Some(Raw { content_type: "text/plain".to_owned(), bytes: b"line".to_vec() });
    let split = split_builtin(&event).unwrap();
    assert_eq!(split.class, ClassCode(4));
    assert_eq!(roles(&split), ["open", "raw", "subject", "resource"]);
    assert_eq!(body(&split, "subject"), r#"{"data":{"subject":"s1","subject_region":"US-CA"}}"#);
    assert_eq!(body(&split, "resource"), r#"{"subject":"audioprint/7"}"#);
    assert_eq!(body(&split, "raw"), r#"{"data_base64":"bGluZQ==","datacontenttype":"text/plain"}"#);
    let open = body(&split, "open");
    assert!(open.starts_with(r#"{"correlationid":"call-1","data":{"categories":["contact","#), "{open}");
    let trace_part = format!(r#""traceparent":"00-{trace}-00f067aa0ba902b7-01""#);
    let end = r#""sequence":"42","source":"o/p","specversion":"1.0","#;
    assert!(open.ends_with(&format!(r#"{end}{trace_part},"type":"data.transferred"}}"#)), "{open}");
    let owners: Vec<&[u16]> = split.parts.iter().map(|part| part.owners.as_slice()).collect();
    assert_eq!(owners, [&[][..], &[0, 1], &[0], &[1]]);
    assert_eq!(
        terms_of(&split),
        [
            "type=data.transferred",
            "source=o/p",
            "recipient=AWS",
            "category=contact",
            "category=identity",
            "purpose=hosting",
            "country=DE",
            "request=d1",
            "request=r1",
            "correlation=call-1",
            &format!("trace={trace}"),
            "subject=#0",
            "resource=#1",
        ]
    );
    assert_eq!(merged(&split), event.canonical_content());
}

#[test]
fn a_recipient_who_is_a_person_is_nowhere_in_the_open() {
    let to = |to: &str, kind: &str| {
        let data = TRANSFER.replace("AWS", to).replace("processor", kind);
        split_builtin(&event("data.transferred", &data)).unwrap()
    };
    let same = to("s1", "subject");
    assert_eq!(roles(&same), ["open", "subject"]);
    assert_eq!(
        body(&same, "subject"),
        r#"{"data":{"subject":"s1","subject_region":"US-CA","to":"s1"}}"#
    );
    let other = to("mallory", "subject");
    assert_eq!(roles(&other), ["open", "subject", "subject.1"]);
    assert_eq!(body(&other, "subject.1"), r#"{"data":{"to":"mallory"}}"#);
    assert!(body(&other, "subject").contains("US-CA"), "the first subject is that of the event");
    let user = to("bob", "user");
    assert_eq!(roles(&user), ["open", "subject", "actor"]);
    let mistaken = to("s1", "marketer");
    assert_eq!(mistaken.parts.get(1), same.parts.get(1));
    for split in [same, other, user, mistaken] {
        assert!(!terms_of(&split).iter().any(|term| term.starts_with("recipient")));
        assert!(!body(&split, "open").contains(r#""to":"#));
    }
}

#[test]
fn fields_lie_with_their_owners() {
    let screening =
        event("suppression.checked", r#"{"number":"+44","lists":["TPS"],"blocked_on":["TPS"]}"#);
    let screening = split_builtin(&screening).unwrap();
    assert_eq!(body(&screening, "number"), r#"{"data":{"blocked_on":["TPS"],"number":"+44"}}"#);
    let grant =
        event("grant.changed", r#"{"grantee":"bob","scope":"view","state":"granted","account":"a1"}"#);
    assert_eq!(roles(&split_builtin(&grant).unwrap()), ["open", "actor", "account"]);
    let with =
        event("notice.sent", r#"{"notice":"fee","channel":"email","reason":"copy","subject":"s"}"#);
    assert!(body(&split_builtin(&with).unwrap(), "subject").contains("copy"));
    let without = event("notice.sent", r#"{"notice":"fee","channel":"email","reason":"copy"}"#);
    let without = split_builtin(&without).unwrap();
    assert_eq!(roles(&without), ["open"]);
    assert!(body(&without, "open").contains("copy"));
    let attested = r#"{"promise":"p","holds":true,"from":"2025-01-01","to":"2025-12-31","by":"ciso"}"#;
    let attested = split_builtin(&event("attestation", attested)).unwrap();
    assert_eq!(body(&attested, "actor"), r#"{"data":{"by":"ciso"}}"#);
    assert!(!terms_of(&attested).iter().any(|term| term.starts_with("recipient")));
}

#[test]
fn corrections_keep_persons_out_of_the_open() {
    let correct = |more: &str, set: &str| {
        let data = format!(r#"{{"corrects":"e1","reason":"typo"{more},"set":{set}}}"#);
        let event = event("correction", &data);
        let split = split_builtin(&event)?;
        assert_eq!(merged(&split), event.canonical_content());
        Ok::<_, EventError>(split)
    };
    let open = correct("", r#"{"dest_country":"DE","void":true}"#).unwrap();
    assert_eq!(roles(&open), ["open"]);
    let named = correct("", r#"{"subject":"s2","actor":"bob","age":12,"purpose":"x"}"#).unwrap();
    assert_eq!(roles(&named), ["open", "subject", "actor"]);
    assert_eq!(body(&named, "subject"), r#"{"data":{"reason":"typo","set":{"age":12,"subject":"s2"}}}"#);
    assert_eq!(body(&named, "actor"), r#"{"data":{"set":{"actor":"bob"}}}"#);
    assert!(body(&named, "open").contains(r#""data":{"corrects":"e1","set":{"purpose":"x"}}"#));
    let whose = correct(r#","subject":"s1""#, r#"{"age":12,"subject":"s2"}"#).unwrap();
    assert_eq!(roles(&whose), ["open", "subject", "subject.1"]);
    let own = r#"{"data":{"reason":"typo","set":{"age":12},"subject":"s1"}}"#;
    assert_eq!(body(&whose, "subject"), own);
    let missing = |field: &'static str| EventErrorKind::MissingField(Cow::Borrowed(field));
    assert_eq!(correct("", r#"{"age":12}"#).unwrap_err().kind, missing("subject"));
    assert_eq!(correct("", r#"{"reason":"his address"}"#).unwrap_err().kind, missing("subject"));
    assert_eq!(correct("", r#"{"to":"AWS"}"#).unwrap_err().kind, missing("to_kind"));
    let recipient = correct("", r#"{"to":"AWS","to_kind":"vendor"}"#).unwrap();
    assert_eq!(roles(&recipient), ["open"]);
    let person = correct("", r#"{"to":"mallory","to_kind":"subject"}"#).unwrap();
    assert_eq!(body(&person, "subject"), r#"{"data":{"reason":"typo","set":{"to":"mallory"}}}"#);
    assert_eq!(roles(&correct("", r#"{"to":"2025-06-01T00:00:00Z"}"#).unwrap()), ["open"]);
    assert_eq!(roles(&correct("", "{}").unwrap()), ["open"]);
}

#[test]
fn attachments_and_registered_types() {
    let mut raw =
        event("x-raw", r#"{"actor":"bob","eventName":"GetObject","nested":{"ip":"10.0.0.1"}}"#);
    raw.raw = Some(Raw { content_type: "application/json".to_owned(), bytes: vec![0xFF, 0, 1] });
    let split_raw = split_builtin(&raw).unwrap();
    assert_eq!(roles(&split_raw), ["open", "raw", "actor"]);
    assert!(body(&split_raw, "actor").contains("10.0.0.1"), "free fields are somebody's");
    assert_eq!(merged(&split_raw), raw.canonical_content());
    let bare = event("x-raw", "{}");
    assert_eq!(roles(&split_builtin(&bare).unwrap()), ["open"]);
    assert_eq!(merged(&split_builtin(&bare).unwrap()), bare.canonical_content());

    let custom = r#"{"name":"x-door","schema":{"type":"object","properties":{"mood":{}}},
        "fields":{"door":{"facet":"purpose"},"guest":{"identifies":"actor"},"badge":{"owner":"actor"}}}"#;
    let custom = CustomType::from_value(&json(custom)).unwrap();
    let catalogue = Catalogue::builtin().unwrap().with_custom(custom).unwrap();
    let opened =
        event("x-door", r#"{"door":"n","guest":"g","badge":7,"subject":"s","mood":"bad","more":1}"#);
    let parts = split(&opened, &catalogue).unwrap();
    assert_eq!(parts.class, ClassCode(256));
    assert_eq!(body(&parts, "actor"), r#"{"data":{"badge":7,"guest":"g"}}"#);
    assert_eq!(body(&parts, "subject"), r#"{"data":{"mood":"bad","more":1,"subject":"s"}}"#);
    assert!(terms_of(&parts).contains(&"purpose=n".to_owned()));
    let corrected =
        event("correction", r#"{"corrects":"e","reason":"r","set":{"guest":"g","door":"s"}}"#);
    assert_eq!(
        body(&split(&corrected, &catalogue).unwrap(), "actor"),
        r#"{"data":{"set":{"guest":"g"}}}"#
    );
}

#[test]
fn limits_are_limits() {
    let fields: Vec<String> = (0..9).map(|n| format!(r#""p{n}":{{"identifies":"subject"}}"#)).collect();
    let topics: Vec<String> = (0..2).map(|n| format!(r#""t{n}":{{"facet":"purpose"}}"#)).collect();
    let text = format!(
        r#"{{"name":"x-crowd","schema":true,"fields":{{{},{}}}}}"#,
        fields.join(","),
        topics.join(",")
    );
    let custom = CustomType::from_value(&json(&text)).unwrap();
    let catalogue = Catalogue::builtin().unwrap().with_custom(custom).unwrap();
    let crowd = |count: usize| {
        let data: Vec<String> = (0..count).map(|n| format!(r#""p{n}":"person {n}""#)).collect();
        split(&event("x-crowd", &format!("{{{}}}", data.join(","))), &catalogue)
    };
    assert_eq!(crowd(8).unwrap().persons.len(), 8);
    assert_eq!(crowd(9).unwrap_err().kind, EventErrorKind::TooManyPersons { limit: 14 });
    let topics = |count: usize| {
        let texts: Vec<String> = (0..count).map(|n| format!(r#""topic {n}""#)).collect();
        split(
            &event("x-crowd", &format!(r#"{{"t0":[{}],"t1":"topic 0"}}"#, texts.join(","))),
            &catalogue,
        )
    };
    assert_eq!(topics(30).unwrap().terms.len(), 32);
    assert_eq!(topics(31).unwrap_err().kind, EventErrorKind::TooManyFacets { limit: 32 });
    let unknown = split(&event("x-nothing", "{}"), &catalogue).unwrap_err();
    assert_eq!((unknown.kind, &*unknown.pointer), (EventErrorKind::UnknownType, "/type"));
}

#[test]
fn merge_refuses_what_does_not_belong() {
    let two = |left: (u8, &str), right: (u8, &str)| {
        let parts = [left, right].map(|(role, body)| (Role(role), body.as_bytes().to_vec()));
        merge(parts.iter().map(|(role, body)| (*role, body.as_slice())))
    };
    let open = (1, r#"{"id":"e1","data":{"purpose":"x"}}"#);
    for (role, body) in [
        (16, r#"{"type":"forged"}"#),
        (16, r#"{"subject":"resource"}"#),
        (16, r#"{"data":7}"#),
        (2, r#"{"data":{"a":1}}"#),
        (2, r#"{"id":"e2"}"#),
        (16, "[]"),
    ] {
        assert_eq!(two(open, (role, body)), Err(MergeError::Misplaced { role: Role(role) }), "{body}");
    }
    assert_eq!(
        two(open, (16, r#"{"data":{"purpose":"y"}}"#)),
        Err(MergeError::Conflict { role: Role(16) })
    );
    let malformed = two(open, (16, r#"{"data":{"a":1,"a":2}}"#));
    assert!(matches!(malformed, Err(MergeError::Json { role: Role(16), .. })));
    let resource = two(open, (48, r#"{"subject":"doc/1"}"#)).unwrap();
    assert_eq!(resource.get("subject").and_then(Value::as_str), Some("doc/1"));
}

/// Data of a random type: some of its fields, in random order, with texts that are easy to find.
fn any_event() -> impl Strategy<Value = Event> {
    let catalogue = Catalogue::builtin().unwrap();
    let count = catalogue.types().count();
    let choices = (0..count, any::<u64>(), proptest::collection::vec("[a-z\u{e9}\u{1f600}]{1,6}", 40));
    choices.prop_map(move |(at, mut bits, texts)| {
        let event_type = catalogue.types().nth(at).unwrap();
        let mut next = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(bits >> 33).unwrap()
        };
        let mut members: Vec<(String, Value)> = Vec::new();
        for (field, text) in event_type.fields.iter().zip(&texts) {
            let demanded = field.required || event_type.one_of.contains(&field.name);
            if demanded || next().is_multiple_of(2) {
                members.push((field.name.clone(), value(field, text, next())));
            }
        }
        if event_type.undeclared != Undeclared::Refused {
            members.push(("free".to_owned(), Value::from(texts[0].as_str())));
        }
        let turn = next() % members.len().max(1);
        members.rotate_left(turn);
        let mut data = Object::new();
        for (name, value) in members {
            data.insert(name, value);
        }
        let mut event = event(&event_type.name, "{}");
        event.subject = (next().is_multiple_of(2)).then(|| format!("resource of {}", texts[1]));
        let bytes = texts[2].as_bytes().to_vec();
        event.raw =
            (next().is_multiple_of(3)).then(|| Raw { content_type: "text/plain".to_owned(), bytes });
        event.data = data;
        event
    })
}

fn value(field: &super::super::catalogue::Field, text: &str, choice: usize) -> Value {
    use super::super::catalogue::FieldKind as K;
    let text = match &field.values {
        Some(values) => values[choice % values.len()].replace('*', text),
        None if field.country => "FR".to_owned(),
        None => format!("{} {text}", field.name),
    };
    match field.kinds[choice % field.kinds.len()] {
        K::String => Value::String(text),
        K::Bool => Value::Bool(choice.is_multiple_of(2)),
        K::Integer | K::Number => Value::Int(i64::try_from(choice % 100).unwrap()),
        K::Timestamp => Value::from("2025-01-31T10:00:00Z"),
        K::Date => Value::from("2025-01-31"),
        K::Strings => Value::Array(vec![Value::String(text.clone()), Value::String(text)]),
        K::Object if field.amends => {
            let mut set = Object::new();
            for name in ["actor", "number", "purpose"] {
                set.insert(name, format!("{name} in {text}"));
            }
            Value::Object(set)
        }
        _ if field.kinds.contains(&K::Array) => Value::Array(vec![Value::String(text)]),
        _ => Value::Object(Object::new()),
    }
}

proptest! {
    #[test]
    fn parts_make_the_event_again_and_order_does_not_matter(event in any_event()) {
        let split = split_builtin(&event).unwrap();
        prop_assert_eq!(merged(&split), event.canonical_content());
        let mut turned = event.clone();
        turned.data = Object::new();
        for (name, value) in event.data.iter().rev() {
            turned.data.insert(name, value.clone());
        }
        prop_assert_eq!(&split_builtin(&turned).unwrap(), &split);
        let roles: Vec<Role> = split.parts.iter().map(|part| part.role).collect();
        prop_assert!(roles.is_sorted_by(|left, right| left < right));
        prop_assert!(split.terms.is_sorted_by(|left, right| left < right));
        prop_assert!(split.terms.len() <= KEYS_MAX && roles.len() <= PARTS_MAX);
        for part in &split.parts {
            let parsed = parse(&part.body, &JsonLimits::default()).unwrap();
            prop_assert_eq!(&parsed.to_canonical(), &part.body);
        }
    }

    /// No identifier of a person, whatever field named it, is in the open part or in an open term.
    #[test]
    fn nothing_open_holds_an_identifier(event in any_event()) {
        let split = split_builtin(&event).unwrap();
        let ids: BTreeSet<&str> = split.persons.iter().map(|person| person.id.as_str()).collect();
        let open = parse(&split.parts[0].body, &JsonLimits::default()).unwrap();
        let mut texts = Vec::new();
        strings(&open, &mut texts);
        for text in texts {
            prop_assert!(!ids.contains(text), "an identifier lies in the open part");
        }
        for term in &split.terms {
            if let FacetSource::Open(value) = &term.source {
                prop_assert!(!ids.contains(value.as_str()), "an identifier is an open term");
            }
        }
        for (number, person) in split.persons.iter().enumerate() {
            let number = u16::try_from(number).unwrap();
            let mut own = split.parts.iter().filter(|part| part.owners == [number] && part.role != Role::RAW);
            let id = Value::from(person.id.as_str()).to_canonical();
            let part = own.next().unwrap();
            prop_assert_eq!(part.role.as_person().map(|(namespace, _)| namespace), Some(person.namespace));
            prop_assert!(part.body.windows(id.len()).any(|window| window == id));
        }
    }
}

fn strings<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    into.extend(value.as_str());
    for item in value.as_array().unwrap_or_default() {
        strings(item, into);
    }
    for (_, item) in value.as_object().into_iter().flat_map(Object::iter) {
        strings(item, into);
    }
}
