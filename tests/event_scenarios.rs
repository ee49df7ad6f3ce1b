//! Every event of the acceptance scenarios fits the catalogue, is cut into parts and put together
//! again, and leaves nothing of a person in the open.
//!
//! In scope: the scenarios' events in the flat form. Out of scope: what they mean for a promise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read its scenarios has to fail"
)]

use counterfoil::event::catalogue::Catalogue;
use counterfoil::event::envelope::{Event, from_value};
use counterfoil::event::facet::Role;
use counterfoil::event::json::{JsonLimits, Value, parse};
use counterfoil::event::parts::{FacetSource, SplitEvent, merge, split};
use std::collections::BTreeMap;

const SCENARIOS: [&str; 2] =
    [include_str!("scenarios/aluma.json"), include_str!("scenarios/illuma.json")];

fn events() -> Vec<(String, Event)> {
    let limits = JsonLimits { bytes_max: 1 << 20, ..JsonLimits::default() };
    let mut found = Vec::new();
    for text in SCENARIOS {
        let file = parse(text.as_bytes(), &limits).unwrap();
        let scenarios = file.as_object().unwrap().get("scenarios").unwrap().as_array().unwrap().to_vec();
        for scenario in scenarios {
            let scenario = scenario.as_object().unwrap();
            let name = scenario.get("id").unwrap().as_str().unwrap();
            for event in scenario.get("events").unwrap().as_array().unwrap() {
                found.push((name.to_owned(), from_value(event.clone()).unwrap()));
            }
        }
    }
    found
}

fn split_of(name: &str, event: &Event, catalogue: &Catalogue) -> SplitEvent {
    split(event, catalogue).unwrap_or_else(|error| panic!("{name} {}: {error}", event.id))
}

#[test]
fn every_event_makes_parts_that_make_the_event() {
    let catalogue = Catalogue::builtin().unwrap();
    let events = events();
    let mut types = BTreeMap::new();
    for (name, event) in &events {
        let split = split_of(name, event, &catalogue);
        let parts = split.parts.iter().map(|part| (part.role, part.body.as_slice()));
        assert_eq!(merge(parts).unwrap().to_canonical(), event.canonical_content(), "{name}");
        assert_eq!(Some(split.class), catalogue.class(&event.type_name));
        *types.entry(event.type_name.clone()).or_insert(0) += 1;
    }
    assert!(events.len() > 200, "{}", events.len());
    assert!(types.len() >= 28, "{types:?}");
}

#[test]
fn no_person_is_in_the_open() {
    let catalogue = Catalogue::builtin().unwrap();
    for (name, event) in events() {
        let split = split_of(&name, &event, &catalogue);
        let open = split.parts.iter().find(|part| part.role == Role::OPEN).unwrap();
        let open = String::from_utf8(open.body.clone()).unwrap();
        for person in ["u1", "u2", "s1", "k1", "staff-3", "bob", "agent-7", "acc9", "+441110000", "ciso"]
        {
            assert!(!open.contains(&format!("\"{person}\"")), "{name} {}: {person}", event.id);
            let value = FacetSource::Open(person.to_owned());
            assert!(!split.terms.iter().any(|term| term.source == value), "{name} {}", event.id);
        }
        let subject = event.data.get("subject").and_then(Value::as_str);
        assert!(subject.is_none_or(|id| split.persons.iter().any(|person| person.id == id)), "{name}");
    }
}
