//! Erasure certificates: what a person's representative, a data protection officer or an authority is
//! given to show that an erasure was done (docs/format.md section 15).
//!
//! In scope: the types, the JSON text written and read, what is signed, the printable page. Out of
//! scope: checking (`prove::verify_certificate`) and gathering what is in it (the ledger). Invariants:
//! [`Certificate::parse`] gives back what [`Certificate::to_json`] wrote; unknown and repeated members
//! are refused; the text is its own RFC 8785 form, so that it without the member `signature` is what was
//! signed; it names nobody: persons are there by directory key only.

mod page;
mod read;

pub use read::{CERTIFICATE_BYTES_MAX, CertificateError};

use crate::event::facet::{Namespace, Role};
use crate::event::json::{Object, Value};
use crate::log::hash::{Hash, LogIndex};

/// What the member `format` says.
pub const CERTIFICATE_FORMAT: &str = "counterfoil erasure certificate 1";

/// First bytes of what a certificate's signature covers.
const SIGNING_LABEL: &[u8] = b"counterfoil/v1/certificate\0";

/// An erasure certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The erasure's random id.
    pub id: [u8; 16],
    /// Whether what it destroys is destroyed.
    pub state: CertificateState,
    /// The ledger's name on its server.
    pub ledger: String,
    /// The log's origin.
    pub origin: String,
    /// Who asked for it, and why.
    pub asked: Asked,
    /// Whom it is about, strictly ascending by directory key.
    pub persons: Vec<ErasedPerson>,
    /// What was destroyed; the operator's word.
    pub destroyed: Destroyed,
    /// The vault's root key, with which old copies of persons' secrets died.
    pub root_key: RootKey,
    /// The log's entries about it, each with its proof.
    pub entries: CertificateEntries,
    /// The signed note that the proofs lead to.
    pub checkpoint: String,
    /// What remains, where, until when and why; the operator's word.
    pub residual: Vec<Residual>,
    /// Recipients of the persons' data, and whether they were told; from events.
    pub told: Vec<Told>,
    /// Identifiers that occurred with the persons and stay alive.
    pub alive: Vec<Alive>,
    /// What else is to be said.
    pub also: Vec<String>,
    /// The key that signed it, as C2SP verifier key text; none where nobody did.
    pub signed_by: Option<String>,
    /// Ed25519 signature of [`Certificate::signing_input`] by that key.
    pub signature: Option<[u8; 64]>,
}

/// How far the erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// Recorded, and not yet done.
    Pending,
    /// Parts and secrets are destroyed, and the old root key with them.
    Complete,
}

impl CertificateState {
    /// The word used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Complete => "complete",
        }
    }
}

/// The request for an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it was recorded: the time of the entry `erased`, RFC 3339.
    pub at: String,
    /// Number of the API key that asked.
    pub key: u64,
    /// That key's label.
    pub label: String,
    /// Why.
    pub reason: String,
    /// The request's own id, where it had one.
    pub request: Option<String>,
}

/// A person of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedPerson {
    /// What kind of identifier it was.
    pub namespace: Namespace,
    /// The person's directory key `D`.
    pub directory_key: Hash,
}

/// What an erasure destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// When: the time of the entry `done`, RFC 3339; none while pending.
    pub at: Option<String>,
    /// Number of persons.
    pub persons: u64,
    /// Number of parts.
    pub parts: u64,
    /// Number of events that lost a part.
    pub events: u64,
    /// Parts by role.
    pub by_role: Vec<(Role, u64)>,
    /// Events by type.
    pub by_type: Vec<(String, u64)>,
}

/// The root key of the vault around an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKey {
    /// Id of the one that was destroyed.
    pub before: [u8; 16],
    /// Id of the one that followed; none while pending.
    pub after: Option<[u8; 16]>,
    /// How root keys are kept.
    pub custody: String,
    /// What that means for the destroyed one.
    pub statement: String,
}

/// The log's entries about an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEntries {
    /// Kind 5, with the erasure's id and its persons.
    pub erased: ProvenEntry,
    /// Kind 6, phase 1.
    pub begun: Option<ProvenEntry>,
    /// Kind 6, phase 2.
    pub done: Option<ProvenEntry>,
    /// Kind 2, which registers the key that signed the certificate.
    pub signer: Option<ProvenEntry>,
}

impl CertificateEntries {
    /// Those that are there, with their member names, in this order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &ProvenEntry)> {
        let more = [("begun", &self.begun), ("done", &self.done), ("signer", &self.signer)];
        let more = more.into_iter().filter_map(|(name, entry)| Some((name, entry.as_ref()?)));
        std::iter::once(("erased", &self.erased)).chain(more)
    }
}

/// An entry of the log and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenEntry {
    /// Its position.
    pub index: LogIndex,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// RFC 6962 inclusion proof under the certificate's checkpoint, leaf's sibling first.
    pub inclusion: Vec<Hash>,
}

/// Something of the persons that outlives the erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residual {
    /// What.
    pub what: String,
    /// Until when, where that is known: a date or an RFC 3339 time.
    pub until: Option<String>,
    /// Why.
    pub basis: String,
}

/// A recipient of the persons' data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who.
    pub recipient: String,
    /// When it was told of the erasure, RFC 3339.
    pub told_at: Option<String>,
    /// When it confirmed, RFC 3339.
    pub confirmed_at: Option<String>,
    /// Positions of the events that say so.
    pub events: Vec<u64>,
}

/// Identifiers of one facet that stay alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The facet's name.
    pub facet: String,
    /// How many.
    pub count: u64,
}

impl Certificate {
    /// What the signature covers: the label, then the RFC 8785 form of all but the signature.
    #[must_use]
    pub fn signing_input(&self) -> Vec<u8> {
        let mut object = self.to_object();
        object.remove("signature");
        [SIGNING_LABEL, &object.to_canonical()].concat()
    }

    /// The certificate as JSON bytes, in RFC 8785 form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        self.to_object().to_canonical()
    }

    fn to_object(&self) -> Object {
        let person = |person: &ErasedPerson| {
            object([
                ("namespace", optional(person.namespace.name())),
                ("directory_key", hex(person.directory_key.as_bytes())),
            ])
        };
        members([
            ("format", CERTIFICATE_FORMAT.into()),
            ("id", hex(&self.id)),
            ("state", self.state.as_str().into()),
            ("ledger", self.ledger.as_str().into()),
            ("origin", self.origin.as_str().into()),
            ("asked", self.asked.to_value()),
            ("persons", list(&self.persons, person)),
            ("destroyed", self.destroyed.to_value()),
            ("root_key", self.root_key.to_value()),
            ("entries", self.entries.to_value()),
            ("checkpoint", self.checkpoint.as_str().into()),
            ("residual", list(&self.residual, Residual::to_value)),
            ("told", list(&self.told, Told::to_value)),
            ("alive", list(&self.alive, Alive::to_value)),
            ("also", list(&self.also, |text| text.as_str().into())),
            ("signed_by", optional(self.signed_by.as_deref())),
            ("signature", self.signature.map_or(Value::Null, |signature| hex(&signature))),
        ])
    }
}

impl Asked {
    fn to_value(&self) -> Value {
        let by = object([("key", number(self.key)), ("label", self.label.as_str().into())]);
        object([
            ("at", self.at.as_str().into()),
            ("by", by),
            ("reason", self.reason.as_str().into()),
            ("request", optional(self.request.as_deref())),
        ])
    }
}

impl Destroyed {
    fn to_value(&self) -> Value {
        let of_role = |(role, parts): &(Role, u64)| {
            object([("role", role.name().into_owned().into()), ("parts", number(*parts))])
        };
        let of_type = |(name, events): &(String, u64)| {
            object([("type", name.as_str().into()), ("events", number(*events))])
        };
        object([
            ("at", optional(self.at.as_deref())),
            ("persons", number(self.persons)),
            ("parts", number(self.parts)),
            ("events", number(self.events)),
            ("by_role", list(&self.by_role, of_role)),
            ("by_type", list(&self.by_type, of_type)),
        ])
    }
}

impl RootKey {
    fn to_value(&self) -> Value {
        object([
            ("before", hex(&self.before)),
            ("after", self.after.map_or(Value::Null, |after| hex(&after))),
            ("custody", self.custody.as_str().into()),
            ("statement", self.statement.as_str().into()),
        ])
    }
}

impl CertificateEntries {
    fn to_value(&self) -> Value {
        let maybe =
            |entry: &Option<ProvenEntry>| entry.as_ref().map_or(Value::Null, ProvenEntry::to_value);
        object([
            ("erased", self.erased.to_value()),
            ("begun", maybe(&self.begun)),
            ("done", maybe(&self.done)),
            ("signer", maybe(&self.signer)),
        ])
    }
}

impl ProvenEntry {
    fn to_value(&self) -> Value {
        object([
            ("index", number(self.index.0)),
            ("entry", hex(&self.entry)),
            ("inclusion", list(&self.inclusion, |hash| hex(hash.as_bytes()))),
        ])
    }
}

impl Residual {
    fn to_value(&self) -> Value {
        object([
            ("what", self.what.as_str().into()),
            ("until", optional(self.until.as_deref())),
            ("basis", self.basis.as_str().into()),
        ])
    }
}

impl Told {
    fn to_value(&self) -> Value {
        object([
            ("recipient", self.recipient.as_str().into()),
            ("told_at", optional(self.told_at.as_deref())),
            ("confirmed_at", optional(self.confirmed_at.as_deref())),
            ("events", list(&self.events, |index| number(*index))),
        ])
    }
}

impl Alive {
    fn to_value(&self) -> Value {
        object([("facet", self.facet.as_str().into()), ("count", number(self.count))])
    }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Object {
    let mut object = Object::new();
    for (name, value) in members {
        object.insert(name, value);
    }
    object
}

fn object<const N: usize>(of: [(&str, Value); N]) -> Value {
    Value::Object(members(of))
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(value).collect())
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn hex(bytes: &[u8]) -> Value {
    Value::String(hex::encode(bytes))
}

/// A number, which no ledger brings beyond 2^53.
fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
