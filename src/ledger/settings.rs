//! Settings entries: what the ledger says about itself, in its own log.
//!
//! In scope: the body of entry 0 (origin, catalogue, facets, commitments to keys), of each registered
//! custom type and of each retention table, as RFC 8785 JSON, and walking their chain back. Out of scope:
//! the entry around the body, and the bodies of holds ([`super::holds`]). Invariant: every settings entry
//! names the one before it, so the newest index leads to all of them.

use std::sync::Arc;

use crate::event::catalogue::Catalogue;
use crate::event::custom::CustomType;
use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Facet;
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::keys::{self, KeyUse};
use crate::event::retention::RetentionTable;

use super::Secrets;
use super::duties::InForce;
use super::error::LedgerError;
use super::holds::Holds;

/// Version of the settings bodies.
const SETTINGS_VERSION: i64 = 1;

/// Bytes of one settings body at most: it must fit a log entry.
pub(crate) const SETTINGS_BYTES_MAX: usize = 60_000;

/// The body of entry 0.
pub(crate) fn genesis(
    origin: &str,
    log_key: &str,
    secrets: &Secrets,
    catalogue: &Catalogue,
    skew_max_ms: u64,
) -> Vec<u8> {
    let key = |usage: KeyUse, key: &[u8; 32]| {
        object([
            ("use", Value::from(usage.name())),
            ("epoch", Value::Int(1)),
            ("commitment", Value::from(keys::key_commitment(usage, 1, key).to_string())),
        ])
    };
    let facets = Facet::all().map(|facet| {
        object([
            ("facet", Value::Int(i64::from(facet.0))),
            ("name", Value::from(facet.name().unwrap_or_default())),
            ("from", Value::Int(0)),
        ])
    });
    let body = object([
        ("v", Value::Int(SETTINGS_VERSION)),
        ("what", Value::from("genesis")),
        ("previous", Value::Null),
        ("origin", Value::from(origin)),
        ("log_key", Value::from(log_key)),
        ("catalogue", Value::from(catalogue.sha256().to_string())),
        ("facets", Value::Array(facets.collect())),
        (
            "keys",
            Value::Array(vec![
                key(KeyUse::Event, &secrets.event),
                key(KeyUse::Read, &secrets.read),
                key(KeyUse::Directory, &secrets.directory),
            ]),
        ),
        ("period", Value::from("month")),
        ("max_skew_ms", Value::Int(i64::try_from(skew_max_ms).unwrap_or(i64::MAX))),
    ]);
    body.to_canonical()
}

/// The body that registers a custom type.
pub(crate) fn type_registered(custom: &CustomType, previous: u64) -> Vec<u8> {
    body(previous, "type", [("type", custom.to_value())])
}

/// The body of a later settings entry.
pub(crate) fn body<const N: usize>(previous: u64, what: &str, members: [(&str, Value); N]) -> Vec<u8> {
    let mut body = Object::default();
    body.insert("v", Value::Int(SETTINGS_VERSION));
    body.insert("what", what);
    body.insert("previous", Value::Int(i64::try_from(previous).unwrap_or(i64::MAX)));
    for (name, value) in members {
        body.insert(name, value);
    }
    body.to_canonical()
}

pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Object::default();
    for (name, value) in members {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object)
}

/// The newest settings entry at `newest` or before it in the chain that `wanted` takes.
pub(crate) fn find(
    newest: u64,
    entry: impl Fn(u64) -> Result<Arc<[u8]>, LedgerError>,
    wanted: impl Fn(&Object) -> bool,
) -> Result<Option<u64>, LedgerError> {
    let mut next = Some(newest);
    while let Some(index) = next {
        let link = link(index, &entry(index)?)?;
        if wanted(&link.body) {
            return Ok(Some(index));
        }
        next = before(&link)?;
    }
    Ok(None)
}

/// What the settings chain says.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) catalogue: Catalogue,
    pub(crate) customs: Vec<CustomType>,
    /// The newest retention table, with the index of its entry.
    pub(crate) retention: Option<InForce>,
    pub(crate) holds: Holds,
}

/// A body of the chain, with its entry's index and time.
struct Link {
    index: u64,
    time_us: u64,
    body: Object,
}

/// Walks the settings chain back from `newest` to the last entry below `size`, and on from there to the
/// first, and returns what those say.
pub(crate) fn chain_at(
    newest: u64,
    size: u64,
    entry: impl Fn(u64) -> Result<Arc<[u8]>, LedgerError>,
) -> Result<Chain, LedgerError> {
    let mut links = Vec::new();
    let mut next = Some(newest);
    while let Some(index) = next {
        let link = link(index, &entry(index)?)?;
        next = before(&link)?;
        if index < size {
            links.push(link);
        }
    }
    let mut catalogue = Catalogue::builtin().map_err(|error| LedgerError::Setup(error.to_string()))?;
    let mut customs = Vec::new();
    let mut retention = None;
    let mut holds = Holds::default();
    for Link { index, time_us, body } in links.into_iter().rev() {
        match body.get("what").and_then(Value::as_str) {
            Some("type") => {
                let custom = CustomType::from_value(body.get("type").unwrap_or(&Value::Null));
                let custom = custom.map_err(|_| broken(index, "an unreadable type"))?;
                let grown = catalogue.with_custom(custom.clone());
                catalogue = grown.map_err(|_| broken(index, "a type does not fit"))?;
                customs.push(custom);
            }
            Some("retention") => {
                let rules = body.get("rules").unwrap_or(&Value::Null);
                let table = RetentionTable::from_value(rules, &catalogue);
                let table = table.map_err(|_| broken(index, "an unreadable retention table"))?;
                retention = Some(InForce { index, at_us: time_us, table });
            }
            Some("hold") => {
                let known = holds.apply(index, time_us, &body);
                known.ok_or_else(|| broken(index, "an unreadable hold"))?;
            }
            _ => {}
        }
    }
    Ok(Chain { catalogue, customs, retention, holds })
}

/// Index of the entry before one in the chain.
fn before(link: &Link) -> Result<Option<u64>, LedgerError> {
    let previous = link.body.get("previous").and_then(Value::as_i64);
    let previous = previous.and_then(|at| u64::try_from(at).ok());
    if previous.is_some_and(|previous| previous >= link.index) {
        return Err(broken(link.index, "it names a later entry as the one before it"));
    }
    Ok(previous)
}

fn link(index: u64, bytes: &[u8]) -> Result<Link, LedgerError> {
    let decoded = Entry::decode(bytes).map_err(|source| LedgerError::Entry { index, source })?;
    let EntryBody::Settings(body) = decoded.body else {
        return Err(broken(index, "not a settings entry"));
    };
    let limits = JsonLimits { bytes_max: SETTINGS_BYTES_MAX, ..JsonLimits::default() };
    match json::parse(&body, &limits).map_err(|_| broken(index, "its body is not JSON"))? {
        Value::Object(body) => Ok(Link { index, time_us: decoded.time_us, body }),
        _ => Err(broken(index, "its body is not an object")),
    }
}

fn broken(index: u64, what: &str) -> LedgerError {
    LedgerError::Damage { file: format!("settings entry {index}"), what: what.to_owned() }
}
