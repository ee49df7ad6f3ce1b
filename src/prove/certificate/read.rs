//! Reading certificates from strict JSON.

use super::{
    Alive, Asked, CERTIFICATE_FORMAT, Certificate, CertificateEntries, CertificateState, Destroyed,
    ErasedPerson, ProvenEntry, Residual, RootKey, Told,
};
use crate::event::facet::{Namespace, Role};
use crate::event::json::{self, JsonLimits, Value};
use crate::log::hash::LogIndex;
use crate::prove::members::{Members, ShapeError, as_bytes, as_string};

/// Longest certificate that is read: a thousand persons in the document and in the entry take 200 KiB;
/// the rest is for recipients and their events.
pub const CERTIFICATE_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of a certificate: entries, one of them, its list, an item.
const CERTIFICATE_DEPTH_MAX: usize = 8;

/// Why a certificate was not read.
pub type CertificateError = ShapeError;

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// If the text is not strict JSON or not exactly a certificate: a member missing, unknown or of the
    /// wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let limits = JsonLimits { depth_max: CERTIFICATE_DEPTH_MAX, bytes_max: CERTIFICATE_BYTES_MAX };
        Self::from_value(json::parse(bytes, &limits)?)
    }

    /// Reads a certificate from JSON that is already parsed.
    ///
    /// # Errors
    /// As [`Certificate::parse`].
    pub fn from_value(value: Value) -> Result<Self, CertificateError> {
        let mut members = Members::of("certificate", value)?;
        if members.string("format")? != CERTIFICATE_FORMAT {
            return Err(ShapeError::Wrong {
                name: "format",
                expected: "that of an erasure certificate",
            });
        }
        let certificate = Self {
            id: fixed("id", members.bytes("id")?)?,
            state: state(&members.string("state")?)?,
            ledger: members.string("ledger")?,
            origin: members.string("origin")?,
            asked: asked(members.required("asked")?)?,
            persons: list(members.array("persons")?, person)?,
            destroyed: destroyed(members.required("destroyed")?)?,
            root_key: root_key(members.required("root_key")?)?,
            entries: entries(members.required("entries")?)?,
            checkpoint: members.string("checkpoint")?,
            residual: list(members.array("residual")?, residual)?,
            told: list(members.array("told")?, told)?,
            alive: list(members.array("alive")?, alive)?,
            also: list(members.array("also")?, |value| as_string("also", value))?,
            signed_by: members.nullable("signed_by", |value| as_string("signed_by", value))?,
            signature: members.nullable("signature", |value| bytes("signature", value))?,
        };
        members.end()?;
        Ok(certificate)
    }
}

fn state(word: &str) -> Result<CertificateState, ShapeError> {
    match word {
        "pending" => Ok(CertificateState::Pending),
        "complete" => Ok(CertificateState::Complete),
        _ => Err(ShapeError::Wrong { name: "state", expected: "pending or complete" }),
    }
}

fn asked(value: Value) -> Result<Asked, ShapeError> {
    let mut members = Members::of("asked", value)?;
    let mut by = Members::of("by", members.required("by")?)?;
    let asked = Asked {
        at: members.string("at")?,
        key: by.u64("key")?,
        label: by.string("label")?,
        reason: members.string("reason")?,
        request: members.nullable("request", |value| as_string("request", value))?,
    };
    by.end()?;
    members.end()?;
    Ok(asked)
}

fn person(value: Value) -> Result<ErasedPerson, ShapeError> {
    let mut members = Members::of("persons", value)?;
    let wrong = ShapeError::Wrong { name: "namespace", expected: "the name of a namespace" };
    let namespace = Namespace::from_name(&members.string("namespace")?).ok_or(wrong)?;
    let person = ErasedPerson { namespace, directory_key: members.hash("directory_key")? };
    members.end()?;
    Ok(person)
}

fn destroyed(value: Value) -> Result<Destroyed, ShapeError> {
    let mut members = Members::of("destroyed", value)?;
    let destroyed = Destroyed {
        at: members.nullable("at", |value| as_string("at", value))?,
        persons: members.u64("persons")?,
        parts: members.u64("parts")?,
        events: members.u64("events")?,
        by_role: list(members.array("by_role")?, of_role)?,
        by_type: list(members.array("by_type")?, of_type)?,
    };
    members.end()?;
    Ok(destroyed)
}

fn of_role(value: Value) -> Result<(Role, u64), ShapeError> {
    let mut members = Members::of("by_role", value)?;
    let wrong = ShapeError::Wrong { name: "role", expected: "the name of a part" };
    let role = Role::from_name(&members.string("role")?).ok_or(wrong)?;
    let parts = members.u64("parts")?;
    members.end()?;
    Ok((role, parts))
}

fn of_type(value: Value) -> Result<(String, u64), ShapeError> {
    let mut members = Members::of("by_type", value)?;
    let of_type = (members.string("type")?, members.u64("events")?);
    members.end()?;
    Ok(of_type)
}

fn root_key(value: Value) -> Result<RootKey, ShapeError> {
    let mut members = Members::of("root_key", value)?;
    let root_key = RootKey {
        before: fixed("before", members.bytes("before")?)?,
        after: members.nullable("after", |value| bytes("after", value))?,
        custody: members.string("custody")?,
        statement: members.string("statement")?,
    };
    members.end()?;
    Ok(root_key)
}

fn entries(value: Value) -> Result<CertificateEntries, ShapeError> {
    let mut members = Members::of("entries", value)?;
    let entries = CertificateEntries {
        erased: entry(members.required("erased")?)?,
        begun: members.nullable("begun", entry)?,
        done: members.nullable("done", entry)?,
        signer: members.nullable("signer", entry)?,
    };
    members.end()?;
    Ok(entries)
}

fn entry(value: Value) -> Result<ProvenEntry, ShapeError> {
    let mut members = Members::of("an entry", value)?;
    let entry = ProvenEntry {
        index: LogIndex(members.u64("index")?),
        entry: members.bytes("entry")?,
        inclusion: members.hashes("inclusion")?,
    };
    members.end()?;
    Ok(entry)
}

fn residual(value: Value) -> Result<Residual, ShapeError> {
    let mut members = Members::of("residual", value)?;
    let residual = Residual {
        what: members.string("what")?,
        until: members.nullable("until", |value| as_string("until", value))?,
        basis: members.string("basis")?,
    };
    members.end()?;
    Ok(residual)
}

fn told(value: Value) -> Result<Told, ShapeError> {
    let mut members = Members::of("told", value)?;
    let index = |value: Value| {
        let wrong = ShapeError::Wrong { name: "events", expected: "a list of positions" };
        value.as_i64().and_then(|index| u64::try_from(index).ok()).ok_or(wrong)
    };
    let told = Told {
        recipient: members.string("recipient")?,
        told_at: members.nullable("told_at", |value| as_string("told_at", value))?,
        confirmed_at: members.nullable("confirmed_at", |value| as_string("confirmed_at", value))?,
        events: list(members.array("events")?, index)?,
    };
    members.end()?;
    Ok(told)
}

fn alive(value: Value) -> Result<Alive, ShapeError> {
    let mut members = Members::of("alive", value)?;
    let alive = Alive { facet: members.string("facet")?, count: members.u64("count")? };
    members.end()?;
    Ok(alive)
}

fn list<T>(
    items: Vec<Value>,
    read: impl Fn(Value) -> Result<T, ShapeError>,
) -> Result<Vec<T>, ShapeError> {
    items.into_iter().map(read).collect()
}

fn bytes<const N: usize>(name: &'static str, value: Value) -> Result<[u8; N], ShapeError> {
    fixed(name, as_bytes(name, &as_string(name, value)?)?)
}

fn fixed<const N: usize>(name: &'static str, bytes: Vec<u8>) -> Result<[u8; N], ShapeError> {
    let wrong = ShapeError::Wrong { name, expected: "lower-case hexadecimal digits of its length" };
    bytes.try_into().map_err(|_| wrong)
}
