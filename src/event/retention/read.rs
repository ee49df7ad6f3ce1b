//! A table's JSON, read strictly.
//!
//! In scope: the form of rules and what their names must lead to. Out of scope: what rules mean. Invariant:
//! an error names a place and what must stand there, never what does.

use std::collections::BTreeSet;

use crate::event::catalogue::{Catalogue, Field, Identity, Owner};
use crate::event::json::{Object, Value};
use crate::event::time;

use super::{Anchor, Clock, EventAnchor, Keep, PartKind, Rule, Statute};

/// Rules of a table at most: each is looked at for every class and kind of part.
pub const RULES_MAX: usize = 200;

/// Types or parts in one rule, and conditions of one anchor, at most.
const NAMES_MAX: usize = 100;
const CONDITIONS_MAX: usize = 8;

/// Characters of a rule's id, of the text of a statute, and of a condition's value at most.
const ID_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 200;

/// A table was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {what}")]
#[non_exhaustive]
pub struct RetentionError {
    /// Where, as a JSON pointer (RFC 6901) from the table's object on.
    pub pointer: String,
    /// What must stand there.
    pub what: String,
}

type Read<T> = Result<T, RetentionError>;

fn refused<T>(pointer: &str, what: impl Into<String>) -> Read<T> {
    Err(RetentionError { pointer: pointer.to_owned(), what: what.into() })
}

/// Reads the array of rules.
pub(super) fn rules(value: &Value, catalogue: &Catalogue) -> Read<Vec<Rule>> {
    let at = "/rules";
    let Some(items) = value.as_array().filter(|items| items.len() <= RULES_MAX) else {
        return refused(at, format!("must be an array of at most {RULES_MAX} rules"));
    };
    let mut ids = BTreeSet::new();
    let mut rules = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let at = format!("{at}/{number}");
        let rule = rule(item, &at, catalogue)?;
        if !ids.insert(rule.id.clone()) {
            return refused(&format!("{at}/id"), "an earlier rule has this id; give each its own");
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn object<'a>(value: &'a Value, at: &str, known: &[&str]) -> Read<&'a Object> {
    let Some(object) = value.as_object() else { return refused(at, "must be an object") };
    if object.iter().any(|(name, _)| !known.contains(&name)) {
        return refused(at, format!("has an unknown member; known here: {}", known.join(", ")));
    }
    Ok(object)
}

fn text<'a>(object: &'a Object, name: &str, at: &str, chars_max: usize) -> Read<&'a str> {
    let found = object.get(name).and_then(Value::as_str);
    let fits = |text: &&str| (1..=chars_max).contains(&text.chars().count());
    match found.filter(fits).filter(|text| !text.chars().any(char::is_control)) {
        Some(text) => Ok(text),
        None => {
            refused(&format!("{at}/{name}"), format!("must be a text of 1 to {chars_max} characters"))
        }
    }
}

fn rule(value: &Value, at: &str, catalogue: &Catalogue) -> Read<Rule> {
    let known = ["id", "types", "parts", "keep", "from", "not_before", "statute"];
    let members = object(value, at, &known)?;
    let id = text(members, "id", at, ID_CHARS_MAX)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !id.chars().all(is_plain) || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refused(&format!("{at}/id"), "must be letters, digits, and . _ - after the first");
    }
    let types = names(members, "types", at, |name| {
        let class = catalogue.class(name);
        class
            .map(|class| (class, name.to_owned()))
            .ok_or("is no type of this ledger; `GET …/types` lists them")
    })?;
    let parts = names(members, "parts", at, |name| {
        PartKind::from_name(name).ok_or("must be open, raw, subject, actor, account, number or resource")
    })?;
    let statute = members.get("statute").map(|value| {
        let at = format!("{at}/statute");
        let members = object(value, &at, &["basis", "keep", "from", "not_before"])?;
        let basis = text(members, "basis", &at, TEXT_CHARS_MAX)?.to_owned();
        Ok(Statute { basis, clock: clock(members, &at, catalogue)? })
    });
    let clock = clock(members, at, catalogue)?;
    Ok(Rule { id: id.to_owned(), types, parts, clock, statute: statute.transpose()? })
}

/// A list of different names, or `["*"]` for all, which comes back empty.
fn names<T: PartialEq>(
    members: &Object,
    name: &str,
    at: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Read<Vec<T>> {
    let at = format!("{at}/{name}");
    let items = members.get(name).and_then(Value::as_array);
    let Some(items) = items.filter(|items| (1..=NAMES_MAX).contains(&items.len())) else {
        return refused(&at, format!("must be an array of 1 to {NAMES_MAX} names, or [\"*\"] for all"));
    };
    if let [only] = items
        && only.as_str() == Some("*")
    {
        return Ok(Vec::new());
    }
    let mut found = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let at = format!("{at}/{number}");
        let Some(text) = item.as_str() else { return refused(&at, "must be a text") };
        let one = match read(text) {
            Ok(one) => one,
            Err(what) => return refused(&at, what),
        };
        if found.contains(&one) {
            return refused(&at, "is named twice");
        }
        found.push(one);
    }
    Ok(found)
}

fn clock(members: &Object, at: &str, catalogue: &Catalogue) -> Read<Clock> {
    let Some(keep) = members.get("keep").and_then(Value::as_str).and_then(Keep::parse) else {
        let what = "must be a period of years, months, weeks and days such as P7Y, P1Y6M, P2W or P90D";
        return refused(&format!("{at}/keep"), what);
    };
    let not_before_us = members.get("not_before").map(|value| {
        let moment = value.as_str().filter(|text| text.len() == 10);
        let moment = moment.and_then(|day| time::unix_us(&format!("{day}T00:00:00Z")));
        match moment.and_then(|us| u64::try_from(us).ok()) {
            Some(us) => Ok(us),
            None => refused(&format!("{at}/not_before"), "must be a day, YYYY-MM-DD, from 1970 on"),
        }
    });
    let from = anchor(members.get("from"), &format!("{at}/from"), catalogue)?;
    Ok(Clock { keep, from, not_before_us: not_before_us.transpose()? })
}

fn anchor(value: Option<&Value>, at: &str, catalogue: &Catalogue) -> Read<Anchor> {
    let form = "must be \"recorded\", \"occurred\", \"last-event\" or an object with the `type` of an event \
                and values of its open fields";
    match value {
        Some(Value::String(name)) => match name.as_str() {
            "recorded" => Ok(Anchor::Recorded),
            "occurred" => Ok(Anchor::Occurred),
            "last-event" => Ok(Anchor::LastEvent),
            _ => refused(at, form),
        },
        Some(Value::Object(members)) => event_anchor(members, at, catalogue).map(Anchor::Event),
        _ => refused(at, form),
    }
}

fn event_anchor(members: &Object, at: &str, catalogue: &Catalogue) -> Read<EventAnchor> {
    let kind = members.get("type").and_then(Value::as_str).and_then(|name| catalogue.event_type(name));
    let Some(kind) = kind else {
        return refused(
            &format!("{at}/type"),
            "must be a type of this ledger; `GET …/types` lists them",
        );
    };
    if members.len() > CONDITIONS_MAX + 1 {
        return refused(at, format!("must have at most {CONDITIONS_MAX} conditions"));
    }
    let mut conditions = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        // An unknown name is not repeated, since it may be anything.
        let open = |field: &&Field| field.identity == Identity::Never && field.owner == Owner::Open;
        let Some(field) = kind.field(name).filter(open) else {
            return refused(at, "has a condition on something that is no open field of the type");
        };
        let fits = match value {
            Value::String(text) => (1..=TEXT_CHARS_MAX).contains(&text.chars().count()),
            Value::Bool(_) | Value::Int(_) => true,
            _ => false,
        };
        if !fits {
            let what = format!(
                "must be a text of 1 to {TEXT_CHARS_MAX} characters, a whole number, or true or false"
            );
            return refused(&format!("{at}/{name}"), what);
        }
        if let (Some(values), Some(text)) = (&field.values, value.as_str()) {
            let is_listed = |listed: &String| match listed.strip_suffix('*') {
                Some(start) => text.starts_with(start),
                None => text == listed,
            };
            if !values.iter().any(is_listed) {
                return refused(
                    &format!("{at}/{name}"),
                    format!("must be one of {}", values.join(", ")),
                );
            }
        }
        conditions.push((name.to_owned(), value.clone()));
    }
    Ok(EventAnchor { type_name: kind.name.clone(), class: kind.class, conditions })
}
