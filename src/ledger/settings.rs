//! Settings entries: what the ledger says about itself, in its own log.
//!
//! In scope: the body of entry 0 (origin, catalogue, facets, commitments to keys) and of each
//! registered custom type, as RFC 8785 JSON, and walking their chain back at start. Out of scope:
//! the entry around the body. Invariant: every settings entry names the one before it, so the
//! newest index leads to all of them.

use std::sync::Arc;

use crate::event::catalogue::Catalogue;
use crate::event::custom::CustomType;
use crate::event::entry::{Entry, EntryBody};
use crate::event::facet::Facet;
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::keys::{self, KeyUse};

use super::Secrets;
use super::error::LedgerError;

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
    let body = object([
        ("v", Value::Int(SETTINGS_VERSION)),
        ("what", Value::from("type")),
        ("previous", Value::Int(i64::try_from(previous).unwrap_or(i64::MAX))),
        ("type", custom.to_value()),
    ]);
    body.to_canonical()
}

/// The body that registers the key which signs documents of one use.
pub(crate) fn signer_registered(usage: &str, vkey: &str, previous: u64) -> Vec<u8> {
    let body = object([
        ("v", Value::Int(SETTINGS_VERSION)),
        ("what", Value::from("signer")),
        ("previous", Value::Int(i64::try_from(previous).unwrap_or(i64::MAX))),
        ("use", Value::from(usage)),
        ("key", Value::from(vkey)),
    ]);
    body.to_canonical()
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
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
    let mut found = None;
    walk(newest, entry, |index, settings| {
        if wanted(settings) {
            found = Some(index);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Walks the settings chain back from `newest` and returns the catalogue that it describes.
pub(crate) fn catalogue_at(
    newest: u64,
    entry: impl Fn(u64) -> Result<Arc<[u8]>, LedgerError>,
) -> Result<(Catalogue, Vec<CustomType>), LedgerError> {
    let mut customs = Vec::new();
    walk(newest, entry, |index, settings| {
        if let Some(custom) = settings.get("type") {
            let custom =
                CustomType::from_value(custom).map_err(|_| broken(index, "an unreadable type"))?;
            customs.push(custom);
        }
        Ok(true)
    })?;
    let mut catalogue = Catalogue::builtin().map_err(|error| LedgerError::Setup(error.to_string()))?;
    customs.reverse();
    for custom in &customs {
        catalogue =
            catalogue.with_custom(custom.clone()).map_err(|_| broken(newest, "a type does not fit"))?;
    }
    Ok((catalogue, customs))
}

/// Walks the settings chain back from `newest`, for as long as `take` wants more.
fn walk(
    newest: u64,
    entry: impl Fn(u64) -> Result<Arc<[u8]>, LedgerError>,
    mut take: impl FnMut(u64, &Object) -> Result<bool, LedgerError>,
) -> Result<(), LedgerError> {
    let mut next = Some(newest);
    while let Some(index) = next {
        let bytes = entry(index)?;
        let decoded = Entry::decode(&bytes).map_err(|source| LedgerError::Entry { index, source })?;
        let EntryBody::Settings(body) = decoded.body else {
            return Err(broken(index, "not a settings entry"));
        };
        let limits = JsonLimits { bytes_max: SETTINGS_BYTES_MAX, ..JsonLimits::default() };
        let value = json::parse(&body, &limits).map_err(|_| broken(index, "its body is not JSON"))?;
        let Some(settings) = value.as_object() else {
            return Err(broken(index, "its body is not an object"));
        };
        if !take(index, settings)? {
            return Ok(());
        }
        next = settings.get("previous").and_then(Value::as_i64).and_then(|at| u64::try_from(at).ok());
        if next.is_some_and(|previous| previous >= index) {
            return Err(broken(index, "it names a later entry as the one before it"));
        }
    }
    Ok(())
}

fn broken(index: u64, what: &str) -> LedgerError {
    LedgerError::Damage { file: format!("settings entry {index}"), what: what.to_owned() }
}
