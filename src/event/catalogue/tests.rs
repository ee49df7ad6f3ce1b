//! The catalogue against the taxonomy it comes from, every field against every wrong type, the
//! schemas against the check, registrations good and bad.

use super::*;
use crate::event::error::EventErrorKind;
use crate::event::json::{JsonLimits, Object, parse};

/// The taxonomy's table: name, required fields, optional fields.
const TAXONOMY: &str = "\
data.collected | subject, categories, source, purpose | fields, legal_basis, encryption, store, \
  store_country, subject_region, identifiable, role, channel
data.accessed | subject, actor, actor_role, operation, purpose, categories | legal_basis, \
  authorised, controller, role, account, store, identifiable, instruction, subject_region
data.changed | subject, categories, change | request, identifiable
data.transferred | subject, to, to_kind, direction, categories, purpose | dest_country, \
  origin_country, from, request, demand, deal, safeguard, legal_basis, sale, identifiable, \
  onward_from, format, encryption, subject_region, controller
data.deleted | holder, complete, method | subject, controller, request, categories, scope, secure, store
request.received | request, subject, right, regime, channel, complete | target, ground, ref, subject_region
identity.checked | request, subject, result, method |
request.closed | request, subject, outcome | reason, period_from, period_to, content
fee.charged | request, subject, amount, reason |
notice.sent | notice, channel | ref, subject, reason, legal_basis, purpose
consent.changed | subject, scope, state | explicit, channel
marketing.sent | channel, class | subject, number, optout_link, basis, audience, consent_required
suppression.checked | number, lists, blocked_on |
policy.published | version, material, page_notice | revised_on, changes, document
register.changed | register, name, state |
account.changed | subject, state | account
agreement.changed | party, role, state, terms |
controller.instructed | controller, instruction | subject, last_interaction, purpose, ref
grant.changed | grantee, scope, state | account, subject
corporate.event | ref, what, counterparty |
legal.demand | ref, what, issuer, notice_permitted | subject
hold.changed | subject, ref, basis, state |
age.flagged | subject, age, parental_consent |
decision.made | subject, automated, effect, profiling, human_review |
assessment.recorded | about, ref, outcome, reason |
service.changed | subject, change, reason | ref
correction | corrects, reason | subject, set, void
checkpoint | from, to, counts |
attestation | promise, holds, from, to, by | evidence";

fn builtin() -> Catalogue {
    Catalogue::builtin().unwrap()
}

fn json(text: &str) -> Value {
    let limits = JsonLimits { bytes_max: 1 << 20, ..JsonLimits::default() };
    parse(text.as_bytes(), &limits).unwrap()
}

fn data(text: &str) -> Object {
    json(text).as_object().unwrap().clone()
}

fn check(type_name: &str, text: &str) -> Result<(), EventErrorKind> {
    let catalogue = builtin();
    let event_type = catalogue.event_type(type_name).unwrap();
    catalogue.check(event_type, &data(text)).map_err(|error| error.kind)
}

/// A value that fits the field, whatever else the event holds.
fn fitting(field: &Field) -> Value {
    let text = match (&field.values, field.country) {
        (Some(values), _) => values[0].replace('*', "x"),
        (None, true) => "DE".to_owned(),
        (None, false) => "some text".to_owned(),
    };
    match field.kinds[0] {
        FieldKind::String => Value::String(text),
        FieldKind::Bool => Value::Bool(true),
        FieldKind::Integer | FieldKind::Number => Value::Int(3),
        FieldKind::Timestamp => Value::from("2025-01-31T10:00:00+01:00"),
        FieldKind::Date => Value::from("2024-02-29"),
        FieldKind::Strings => Value::Array(vec![Value::String(text)]),
        FieldKind::Array => Value::Array(Vec::new()),
        FieldKind::Object | FieldKind::Labels => Value::Object(Object::new()),
        FieldKind::Counts => json(r#"{"data.accessed":0}"#),
        FieldKind::Any => Value::Null,
    }
}

/// Data with every field of the type, and with the required ones only.
fn samples(event_type: &EventType) -> (Object, Object) {
    let (mut full, mut least) = (Object::new(), Object::new());
    for field in &event_type.fields {
        full.insert(field.name.as_str(), fitting(field));
        if field.required || event_type.one_of.first() == Some(&field.name) {
            least.insert(field.name.as_str(), fitting(field));
        }
    }
    (full, least)
}

fn validator(schema: &Value) -> jsonschema::Validator {
    let schema = serde_json::to_value(schema).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "{schema}");
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

#[test]
fn types_are_those_of_the_taxonomy() {
    let catalogue = builtin();
    let names = |list: &str| -> Vec<String> {
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    for (position, line) in TAXONOMY.lines().enumerate() {
        let [name, required, optional]: [&str; 3] =
            line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let event_type = catalogue.event_type(name).unwrap();
        assert_eq!(usize::from(event_type.class.0), position + 1, "{name}");
        let of = |required| {
            let fields = event_type.fields.iter().filter(move |field| field.required == required);
            fields.map(|field| field.name.clone()).filter(|name| name != "labels").collect::<Vec<_>>()
        };
        assert_eq!(of(true), names(required), "{name}");
        assert_eq!(of(false), names(optional), "{name}");
        assert!(event_type.field("labels").is_some());
        assert_eq!(event_type.undeclared, Undeclared::Refused);
    }
    assert_eq!(catalogue.types().count(), 30);
    assert_eq!(catalogue.class("x-raw"), Some(ClassCode::RAW));
    assert_eq!(catalogue.by_class(ClassCode(29)).unwrap().name, "attestation");
}

/// Events stay in a ledger for ever, and so does the hash of the catalogue they were taken under. This
/// fails when the data changes; raise `version` in `types.toml` with a change that is meant.
#[test]
fn version_1_is_what_it_was() {
    let catalogue = builtin();
    assert_eq!(catalogue.version(), 1);
    let expected = "4ae9f71308982b0eee7ea213cb89e60e79d51b543249fe5a6e032d5930e2e9e3";
    assert_eq!(catalogue.sha256().to_string(), expected);
}

#[test]
fn every_type_takes_its_full_and_its_least_data_and_misses_what_is_required() {
    let catalogue = builtin();
    for event_type in catalogue.types() {
        let (full, least) = samples(event_type);
        let schema = validator(&catalogue.json_schema(&event_type.name).unwrap());
        for sample in [&full, &least] {
            assert_eq!(catalogue.check(event_type, sample), Ok(()), "{}", event_type.name);
            assert!(schema.is_valid(&serde_json::to_value(sample).unwrap()), "{}", event_type.name);
        }
        for (name, _) in least.iter() {
            let mut without = least.clone();
            without.remove(name);
            let error = catalogue.check(event_type, &without).unwrap_err();
            let expected = EventErrorKind::MissingField(name.to_owned().into());
            assert_eq!((error.kind, error.pointer), (expected, format!("/data/{name}")));
            assert!(!schema.is_valid(&serde_json::to_value(&without).unwrap()));
        }
        if event_type.undeclared == Undeclared::Refused {
            let mut more = least.clone();
            more.insert("nickname", "x");
            let error = catalogue.check(event_type, &more).unwrap_err();
            assert_eq!((error.kind, &*error.pointer), (EventErrorKind::UnknownField, "/data"));
            assert!(!schema.is_valid(&serde_json::to_value(&more).unwrap()));
        }
    }
}

/// Every field of every type against a value of every shape: accepted exactly if its kinds say so.
#[test]
fn every_field_refuses_every_wrong_type() {
    use FieldKind as K;
    let shapes: [(&str, &[K]); 15] = [
        ("null", &[]),
        ("true", &[K::Bool]),
        ("7", &[K::Integer, K::Number]),
        ("-1", &[K::Number]),
        ("1.5", &[K::Number]),
        (r#""some text""#, &[K::String]),
        (r#""2025-02-28""#, &[K::String, K::Date]),
        (r#""2025-02-29""#, &[K::String]),
        (r#""2025-02-28T00:00:00Z""#, &[K::String, K::Timestamp]),
        (r#"["a","b"]"#, &[K::Strings, K::Array]),
        (r#"["a",1]"#, &[K::Array]),
        ("[]", &[K::Strings, K::Array]),
        (r#"{"env":"x"}"#, &[K::Object, K::Labels]),
        (r#"{"env":1}"#, &[K::Object, K::Counts]),
        (r#"{"env":-1}"#, &[K::Object]),
    ];
    let catalogue = builtin();
    for event_type in catalogue.types() {
        let (full, _) = samples(event_type);
        let schema = validator(&catalogue.json_schema(&event_type.name).unwrap());
        for field in &event_type.fields {
            for (text, kinds) in shapes {
                let mut changed = full.clone();
                changed.insert(field.name.as_str(), json(text));
                let result = catalogue.check(event_type, &changed).map_err(|error| error.kind);
                let fits = field.kinds.iter().any(|kind| kinds.contains(kind));
                let case = format!("{} {} {text}", event_type.name, field.name);
                if !fits {
                    let wrong = matches!(&result, Err(EventErrorKind::WrongFieldType { field: name, .. })
                        if *name == field.name);
                    assert!(wrong, "{case}: {result:?}");
                } else if field.values.is_none()
                    && !field.country
                    && field.members.is_empty()
                    && !field.amends
                {
                    assert_eq!(result, Ok(()), "{case}");
                }
                let valid = schema.is_valid(&serde_json::to_value(&changed).unwrap());
                assert!(valid || result.is_err(), "{case}: the schema refuses what the check takes");
                assert!(!valid || result.is_ok() || field.amends, "{case}: {result:?}");
            }
        }
    }
}

#[test]
fn closed_sets_are_closed() {
    let catalogue = builtin();
    for event_type in catalogue.types() {
        let (full, _) = samples(event_type);
        for field in event_type.fields.iter().filter(|field| field.values.is_some() || field.country) {
            for stranger in ["", "no such value", "D", "DEU", "D1", "XX-YY", "US-", "customer:"] {
                let mut changed = full.clone();
                let text = Value::from(stranger);
                let list = field.kinds.contains(&FieldKind::Strings);
                let value = if list { Value::Array(vec![text]) } else { text };
                changed.insert(field.name.as_str(), value);
                let error = catalogue.check(event_type, &changed).unwrap_err();
                let named = match &error.kind {
                    EventErrorKind::NotInVocabulary { field } => field,
                    EventErrorKind::WrongFieldType { field, .. } if stranger.is_empty() => field,
                    other => panic!("{} {stranger}: {other:?}", field.name),
                };
                assert_eq!(*named, field.name);
                assert_eq!(error.pointer, format!("/data/{}", field.name));
                assert!(stranger.is_empty() || !error.to_string().contains(stranger));
            }
        }
    }
    let collected = |source: &str| {
        let text = format!(r#"{{"subject":"s","categories":[],"source":"{source}","purpose":"p"}}"#);
        check("data.collected", &text)
    };
    for source in ["subject", "third-party:LeadCo", "sso:microsoft", "customer:x:y"] {
        assert_eq!(collected(source), Ok(()), "{source}");
    }
    for source in ["third-party:", "third-party", "sso", "subject:x", "Subject"] {
        assert!(collected(source).is_err(), "{source}");
    }
    for country in ["DE", "de", "US-CA", "us-tx"] {
        let full = samples(catalogue.event_type("data.transferred").unwrap()).0;
        let mut changed = full.clone();
        changed.insert("dest_country", country);
        let event_type = catalogue.event_type("data.transferred").unwrap();
        assert_eq!(catalogue.check(event_type, &changed), Ok(()), "{country}");
    }
}

#[test]
fn labels_counts_terms_and_one_of() {
    let closed = |more: &str| {
        let text = format!(r#"{{"request":"r","subject":"s","outcome":"partial"{more}}}"#);
        check("request.closed", &text)
    };
    assert_eq!(closed(r#","labels":{"env":"prod"}"#), Ok(()));
    let long = format!(r#","labels":{{"{}":"x"}}"#, "k".repeat(65));
    assert!(closed(&long).is_err());
    let many: Vec<String> = (0..33).map(|n| format!(r#""k{n}":"x""#)).collect();
    assert!(closed(&format!(r#","labels":{{{}}}"#, many.join(","))).is_err());
    assert!(closed(r#","labels":{"":"x"}"#).is_err());
    let agreement = |terms: &str| {
        let text = format!(r#"{{"party":"A","role":"vendor","state":"in-force","terms":{terms}}}"#);
        check("agreement.changed", &text)
    };
    let all =
        r#"{"confidentiality":true,"purposes":["a"],"retention_until":"2024-12-31","clauses":"scc"}"#;
    assert_eq!(agreement(all), Ok(()));
    assert_eq!(agreement(r#"{"price":1}"#), Err(EventErrorKind::UnknownField));
    let field = "purposes".into();
    let expected = "a list of strings";
    let wrong = EventErrorKind::WrongFieldType { field, expected };
    assert_eq!(agreement(r#"{"purposes":"a"}"#), Err(wrong));
    let deleted = |who: &str| {
        check("data.deleted", &format!(r#"{{"holder":"self","complete":true,"method":"m"{who}}}"#))
    };
    assert_eq!(deleted(r#","controller":"BankCo""#), Ok(()));
    assert_eq!(deleted(""), Err(EventErrorKind::MissingField("subject".into())));
}

#[test]
fn corrections_take_fields_that_some_type_has() {
    let set = |set: &str| {
        check("correction", &format!(r#"{{"corrects":"e1","reason":"r","subject":"s1","set":{set}}}"#))
    };
    assert_eq!(set(r#"{"dest_country":"DE","state":"listed","age":12}"#), Ok(()));
    assert_eq!(set(r#"{"state":"anything an agreement takes"}"#), Ok(()));
    assert_eq!(
        set(r#"{"regime":"mars"}"#),
        Err(EventErrorKind::NotInVocabulary { field: "regime".into() })
    );
    assert_eq!(set(r#"{"dest_contry":"DE"}"#), Err(EventErrorKind::UnknownField));
    assert_eq!(set(r#"{"set":{"subject":"s2"}}"#), Err(EventErrorKind::UnknownField));
    let catalogue = builtin();
    let data = data(r#"{"corrects":"e1","reason":"r","set":{"regime":"mars"}}"#);
    let error = catalogue.check(catalogue.event_type("correction").unwrap(), &data).unwrap_err();
    assert_eq!(error.pointer, "/data/set/regime");
}

#[test]
fn data_that_does_not_hang_together_is_refused() {
    let types = |more: &str| {
        format!("version = 1\ncommon = []\n[[type]]\nname = 'a'\ncode = 1\nabout = ''\n{more}")
    };
    let load =
        |types: &str, fields: &str| Catalogue::from_toml(types, fields, "").map(|_| ()).unwrap_err();
    let problem = |error| match error {
        CatalogueError::Invalid { problem, .. } => problem,
        CatalogueError::Toml { .. } => "toml",
    };
    let some = "[f]\nabout = 'x'\n";
    assert!(Catalogue::from_toml(&types("required = ['f']"), some, "").is_ok());
    let cases = [
        (types("required = ['g']"), some, "no such field"),
        (types("required = ['f']\noptional = ['f']"), some, "it has a field twice"),
        (types("one_of = ['f']"), some, "it speaks of a field that it does not have"),
        (types("narrow.f.owner = 'open'"), some, "it speaks of a field that it does not have"),
        (types("colour = 'red'"), some, "toml"),
        (types(""), "[f]\nkind = 'text'", "no such kind"),
        (types(""), "[f]\nfacet = 'subject'", "no such open facet"),
        (types(""), "[f]\nidentifies = 'person'", "no such namespace"),
        (types(""), "[f]\nvocabulary = 'v'", "no such vocabulary"),
        (types(""), "[f]\nfacet = 'purpose'\nowner = 'subject'", "a personal field has an open facet"),
        (types(""), "[f]\nfacet = 'purpose'\nidentifies = 'actor'", "an identifier has an open facet"),
        (types(""), "[f]\nkind = 'strings'\nidentifies = 'actor'", "an identifier is not a string"),
        (types("[[type]]\nname = 'b'\ncode = 1\nabout = ''"), some, "its name or code is taken"),
    ];
    for (types, fields, expected) in cases {
        assert_eq!(problem(load(&types, fields)), expected, "{types}\n{fields}");
    }
}

fn custom(schema: &str, fields: &str) -> Result<CustomType, CustomError> {
    let text = format!(r#"{{"name":"x-door.opened","schema":{schema},"fields":{fields}}}"#);
    CustomType::from_value(&json(&text))
}

fn register(schema: &str, fields: &str) -> Result<Catalogue, CustomError> {
    builtin().with_custom(custom(schema, fields)?)
}

#[test]
fn a_registered_type_is_checked_by_its_schema() {
    let schema = r##"{"type":"object","required":["door"],"properties":{
        "door":{"$ref":"#/$defs/name"},"number":{"type":"integer"},
        "since":{"type":"string","format":"date-time"}},
        "$defs":{"name":{"type":"string","pattern":"^[a-z]+$"}}}"##;
    let fields =
        r#"{"door":{"facet":"purpose"},"number":{"owner":"open"},"guest":{"identifies":"actor"}}"#;
    let catalogue = register(schema, fields).unwrap();
    let event_type = catalogue.event_type("x-door.opened").unwrap();
    assert_eq!(event_type.class, ClassCode(256));
    let check = |text: &str| catalogue.check(event_type, &data(text)).map_err(|error| error.kind);
    assert_eq!(check(r#"{"door":"north","number":3,"guest":"g1","more":[1]}"#), Ok(()));
    assert_eq!(check(r#"{"door":"North"}"#), Err(EventErrorKind::SchemaViolation));
    assert_eq!(check(r#"{"door":"n","since":"soon"}"#), Err(EventErrorKind::SchemaViolation));
    assert_eq!(check("{}"), Err(EventErrorKind::SchemaViolation));
    let wrong = check(r#"{"door":"n","guest":5}"#);
    assert!(matches!(wrong, Err(EventErrorKind::WrongFieldType { .. })), "{wrong:?}");
    assert!(check(r#"{"door":"n","subject":5}"#).is_err());
    assert_eq!(catalogue.json_schema("x-door.opened"), Some(json(schema)));
    let second = CustomType { name: "x-b".to_owned(), schema: json("true"), fields: Vec::new() };
    let both = catalogue.with_custom(second.clone()).unwrap();
    assert_eq!(both.class("x-b"), Some(ClassCode(257)));
    assert_eq!(both.with_custom(second).unwrap_err(), CustomError::NameTaken);
    assert_ne!(both.sha256(), catalogue.sha256());
    assert_ne!(catalogue.sha256(), builtin().sha256());
    assert_eq!(register(schema, fields).unwrap().sha256(), catalogue.sha256());
    let custom = custom(schema, fields).unwrap();
    assert_eq!(CustomType::from_value(&custom.to_value()), Ok(custom));
}

#[test]
fn bad_schemas_are_refused() {
    let schema = |schema: &str| register(schema, "{}").map(|_| ()).unwrap_err();
    for remote in ["https://example.com/s.json", "other.json", "urn:x", "//h/x"] {
        let text = format!(r#"{{"properties":{{"a":{{"$ref":"{remote}"}}}}}}"#);
        assert_eq!(schema(&text), CustomError::SchemaReference, "{remote}");
    }
    assert_eq!(schema(r##"{"$ref":"#/$defs/a"}"##), CustomError::SchemaReference);
    let recursive = CustomError::SchemaTooLarge { max: SUBSCHEMAS };
    assert_eq!(schema(r##"{"$ref":"#"}"##), recursive);
    assert_eq!(schema(r##"{"properties":{"a":{"$ref":"#"}}}"##), recursive);
    assert_eq!(
        schema(r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#/$defs/a"}}}"##),
        recursive
    );
    let doubling: Vec<String> = (0..30)
        .map(|n| {
            format!(
                r##""d{n}":{{"allOf":[{{"$ref":"#/$defs/d{m}"}},{{"$ref":"#/$defs/d{m}"}}]}}"##,
                m = n + 1
            )
        })
        .collect();
    let doubling = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d30":true}}}}"##, doubling.join(","));
    assert_eq!(schema(&doubling), recursive);
    for keyword in ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"] {
        let text = format!(r##"{{"properties":{{"a":{{"{keyword}":"#x"}}}}}}"##);
        assert!(matches!(schema(&text), CustomError::SchemaKeyword { .. }), "{keyword}");
    }
    let draft = r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#;
    assert_eq!(schema(draft), CustomError::SchemaDialect);
    for invalid in [
        r#"{"type":"thing"}"#,
        r#"{"required":"a"}"#,
        "7",
        r#"{"pattern":"("}"#,
        r#"{"pattern":"(a)\\1"}"#,
    ] {
        assert_eq!(schema(invalid), CustomError::SchemaInvalid, "{invalid}");
    }
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(70_000));
    assert!(matches!(schema(&long), CustomError::SchemaTooLong { .. }));
}

#[test]
fn bad_fields_and_names_are_refused() {
    let fields = |fields: &str| register("true", fields).map(|_| ()).unwrap_err();
    assert_eq!(
        fields(r#"{"a":{"owner":"subject","facet":"purpose"}}"#),
        CustomError::FieldFacet { position: 0 }
    );
    assert_eq!(
        fields(r#"{"a":{"identifies":"actor","facet":"purpose"}}"#),
        CustomError::FieldFacet { position: 0 }
    );
    assert_eq!(fields(r#"{"b":{},"a":{"facet":"subject"}}"#), CustomError::FieldFacet { position: 1 });
    assert_eq!(fields(r#"{"a":{"facet":"colour"}}"#), CustomError::FieldFacet { position: 0 });
    assert_eq!(fields(r#"{"a":{"identifies":"person"}}"#), CustomError::FieldIdentity { position: 0 });
    assert_eq!(fields(r#"{"a b":{}}"#), CustomError::FieldName { position: 0 });
    assert_eq!(fields(r#"{"labels":{}}"#), CustomError::FieldName { position: 0 });
    assert_eq!(fields(r#"{"a":{"owner":"nobody"}}"#), CustomError::Malformed);
    assert_eq!(fields(r#"{"a":{"colour":"red"}}"#), CustomError::Malformed);
    assert_eq!(fields(r#"{"a":1}"#), CustomError::Malformed);
    let many: Vec<String> = (0..130).map(|n| format!(r#""f{n}":{{}}"#)).collect();
    let many = fields(&format!("{{{}}}", many.join(",")));
    assert!(matches!(many, CustomError::TooManyFields { max: 128, .. }));
    for name in ["y-a", "x-", "x-A", "x-a b", "x-a/b", "data.accessed", &format!("x-{}", "a".repeat(63))]
    {
        let custom = CustomType { name: name.to_owned(), schema: json("true"), fields: Vec::new() };
        let error = builtin().with_custom(custom).unwrap_err();
        let taken = name == "data.accessed";
        assert_eq!(error, if taken { CustomError::NameTaken } else { CustomError::Name }, "{name}");
    }
    let raw = CustomType { name: "x-raw".to_owned(), schema: json("true"), fields: Vec::new() };
    assert_eq!(builtin().with_custom(raw).unwrap_err(), CustomError::NameTaken);
}

const SUBSCHEMAS: usize = crate::event::custom::SUBSCHEMAS_MAX;
