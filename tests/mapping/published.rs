//! The published events: every line becomes an event that the ledger takes and that tells nobody's name.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn every_published_line_maps_and_keeps_its_bytes() {
    for mapping in [builtin(GENERIC), builtin(CLOUDTRAIL), builtin(ALL)] {
        let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (file, bytes) in files() {
            for Piece { line, bytes: original } in pieces(&bytes) {
                for result in mapping.map_line(original) {
                    let mapped = result.unwrap_or_else(|refusal| panic!("{file}:{line}: {refusal}"));
                    check_bytes(&mapped, original, &format!("{file}:{line}"));
                    *counts.entry((mapped.class.name(), mapped.event.type_name)).or_default() += 1;
                }
            }
        }
        let total: usize = counts.values().sum();
        println!("{}: {total} events {counts:#?}", mapping.name());
        let of = |class: &str, name: &str| counts.get(&(class, name.to_owned())).copied().unwrap_or(0);
        if mapping.name() == CLOUDTRAIL {
            assert!(of("mapped", "data.accessed") > 300, "{counts:#?}");
            assert!(of("mapped", "data.transferred") > 20, "{counts:#?}");
            assert!(of("mapped", "data.deleted") > 10, "{counts:#?}");
            assert!(of("custom", "x-aws.cloudtrail") > 200, "{counts:#?}");
        } else if mapping.name() == GENERIC {
            assert_eq!((total, of("custom", "x-import")), (5184, 5184), "{counts:#?}");
        }
    }
}

fn check_bytes(mapped: &Mapped, original: &[u8], place: &str) {
    let raw = mapped.event.raw.as_ref().unwrap_or_else(|| panic!("{place} has no attachment"));
    assert_eq!(raw.content_type, "application/json", "{place}");
    assert_eq!(mapped.event.id, id(&raw.bytes), "{place}");
    assert!(mapped.event.source.starts_with("import/"), "{place}");
    assert!(
        raw.bytes == original || contains(original, &raw.bytes),
        "{place}: the attachment is no slice"
    );
}

#[test]
fn every_mapped_event_is_one_the_ledger_takes() {
    for mapping in [builtin(GENERIC), builtin(CLOUDTRAIL), builtin(ALL)] {
        let catalogue = catalogue(&mapping);
        let mut persons: BTreeMap<&str, usize> = BTreeMap::new();
        for (file, bytes) in files() {
            for Piece { line, bytes } in pieces(&bytes) {
                for mapped in mapping.map_line(bytes).into_iter().map(Result::unwrap) {
                    let split = split(&mapped.event, &catalogue);
                    let split = split.unwrap_or_else(|error| panic!("{file}:{line}: {error}"));
                    check_parts(&split, &catalogue, &format!("{file}:{line}"));
                    for person in &split.persons {
                        *persons.entry(person.namespace.name().unwrap()).or_default() += 1;
                    }
                }
            }
        }
        assert!(persons["actor"] > 1000, "{}: {persons:?}", mapping.name());
        assert_eq!(persons.contains_key("account"), mapping.name() != GENERIC, "{persons:?}");
    }
}

/// Nobody's part holds nothing of the record but what was declared open, and the attachment is whole
/// and belongs to everyone the event names.
fn check_parts(found: &SplitEvent, catalogue: &Catalogue, place: &str) {
    let part = |role: Role| found.parts.iter().find(|part| part.role == role);
    let raw = part(Role::RAW).unwrap_or_else(|| panic!("{place}: the attachment is a part"));
    assert_eq!(raw.owners.len(), found.persons.len(), "{place}");
    let bodies = found.parts.iter().map(|part| (part.role, part.body.as_slice()));
    let whole = Value::Object(merge(bodies).unwrap()).to_canonical();
    let again = parse_structured(&whole).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(split(&again, catalogue).as_ref() == Ok(found), "{place}: its parts make another event");
    let open = part(Role::OPEN).unwrap_or_else(|| panic!("{place}: there is an open part"));
    // The publishers of some records put these in place of actor and region alike.
    for person in found.persons.iter().filter(|person| !PUBLIC.contains(&person.id.as_str())) {
        let quoted = Value::from(person.id.as_str()).to_canonical();
        assert!(!contains(&open.body, &quoted), "{place}: the open part names a person");
    }
}

/// Records that two mappings would read, by those two; the one of the higher rank does. That they are few
/// and known is what keeps the ranks honest.
#[test]
fn mappings_seldom_want_the_same_record_and_never_at_the_same_rank() {
    let mapping = builtin(ALL);
    let members: Vec<_> = mapping.members().collect();
    let ranks: BTreeSet<u32> = members.iter().map(|member| member.rank).collect();
    assert_eq!(ranks.len(), members.len(), "each rank is given once");
    assert!(members.is_sorted_by(|one, other| one.rank > other.rank), "{members:?}");
    let mut contested: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (_, bytes) in files() {
        for Piece { bytes, .. } in pieces(&bytes) {
            for mapped in mapping.map_line(bytes).into_iter().flatten() {
                let raw = mapped.event.raw.unwrap().bytes;
                let claimants = mapping.claimants(&raw);
                if claimants.len() > 1 {
                    assert_eq!(claimants[0], &*mapped.mapping);
                    let names = claimants.into_iter().map(str::to_owned).collect();
                    *contested.entry(names).or_default() += 1;
                }
            }
        }
    }
    println!("{contested:#?}");
    let known = [
        // A record of the one that an AWS service wrapped as an event of the other.
        ["cloudtrail", "aws-events"],
    ];
    for names in contested.keys() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(known.iter().any(|pair| pair.as_slice() == names), "{names:?}: {contested:?}");
    }
}

/// Every e-mail address, IP address and name of an actor that a record holds.
fn personal(record: &serde_json::Value, key: &str, out: &mut BTreeSet<String>) {
    const NAMES: [&str; 12] = [
        "username",
        "user_name",
        "userprincipalname",
        "principalemail",
        "login",
        "actor",
        "useremail",
        "email",
        "subjectusername",
        "targetusername",
        "alternateid",
        "displayname",
    ];
    match record {
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(key, value)| personal(value, key, out));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| personal(item, key, out)),
        serde_json::Value::String(text) => {
            let named = NAMES.contains(&key.to_lowercase().as_str());
            let address = text.parse::<std::net::IpAddr>().is_ok();
            let mail = text.len() < 100
                && !text.contains(' ')
                && text.split_once('@').is_some_and(|(a, b)| !a.is_empty() && b.contains('.'));
            if (named && text.len() > 3) || address || mail {
                out.insert(text.clone());
            }
        }
        _ => {}
    }
}

#[test]
fn no_open_part_holds_who_a_record_is_about() {
    let mapping = builtin(ALL);
    let catalogue = catalogue(&mapping);
    let mut leaks: BTreeMap<String, usize> = BTreeMap::new();
    let mut looked_for = 0;
    for (file, bytes) in files() {
        for Piece { line, bytes } in pieces(&bytes) {
            for mapped in mapping.map_line(bytes).into_iter().map(Result::unwrap) {
                let raw = &mapped.event.raw.as_ref().unwrap().bytes;
                let Ok(record) = serde_json::from_slice(raw) else { continue };
                let mut names = BTreeSet::new();
                personal(&record, "", &mut names);
                let split = split(&mapped.event, &catalogue).unwrap();
                let open = split.parts.iter().find(|part| part.role == Role::OPEN).unwrap();
                let open: serde_json::Value = serde_json::from_slice(&open.body).unwrap();
                let mut values = BTreeSet::new();
                texts(&open, &mut values);
                looked_for += names.len();
                for name in names.iter().filter(|name| !PUBLIC.contains(&name.as_str())) {
                    if values.iter().any(|value| value.contains(name.as_str())) {
                        *leaks.entry(format!("{file}:{line} {} {name}", mapped.mapping)).or_default() +=
                            1;
                    }
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(looked_for > 8_000, "{looked_for}");
}

/// Texts that stand where names do and name nobody: what publishers put in their place, in several places of a
/// record alike; a product, a role, a policy.
const PUBLIC: [&str; 7] = [
    "redacted",
    "Redacted",
    "unknown",
    "...",
    "github",
    "Application Administrator",
    "Authentication Methods Policy",
];

fn texts(value: &serde_json::Value, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => members.values().for_each(|value| texts(value, out)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        serde_json::Value::String(text) => drop(out.insert(text.clone())),
        _ => {}
    }
}
