//! The catalogue: which types of event there are, which fields each has, and whose each field is.
//!
//! In scope: the built-in types (`src/catalogue/*.toml`), a ledger's own types beside them, the
//! check of an event's `data`, the hash that a settings entry commits to. Out of scope: what a type
//! means for a promise, cutting an event into parts (`parts`).
//!
//! Invariants: class codes are never reused; a catalogue does not change, a registration gives a new
//! one; two catalogues with one hash accept and split every event alike.

mod check;
mod field;
mod load;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::custom::RegisteredSchema;
pub use super::custom::{CustomError, CustomField, CustomType};
pub use super::facet::{ClassCode, Facet, Namespace, Role};
use super::json::Value;
use crate::log::hash::{Hash, sha256};
pub use field::{
    Field, FieldKind, Identity, LABEL_NAME_CHARS_MAX, LABEL_TEXT_CHARS_MAX, LABELS_MAX, Owner,
};
pub(crate) use field::{Place, texts};

const TYPES: &str = include_str!("../../catalogue/types.toml");
const FIELDS: &str = include_str!("../../catalogue/fields.toml");
const VOCABULARIES: &str = include_str!("../../catalogue/vocabularies.toml");

/// Most types that a ledger can register: enough for every service of a large organisation, and a
/// catalogue that still fits into memory many times over.
pub const CUSTOM_TYPES_MAX: usize = 1_000;

/// The catalogue's data does not hang together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// A file is not TOML of the expected shape.
    #[error("{file}: {problem}")]
    Toml {
        /// The file.
        file: &'static str,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A type or field contradicts itself or another.
    #[error("`{name}`: {problem}")]
    Invalid {
        /// The type or field.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What becomes of a field that a type does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    /// The event is refused.
    Refused,
    /// It lies in this owner's part.
    Owned(Owner),
}

/// One type of event.
#[derive(Clone, Debug)]
pub struct EventType {
    /// Its name, the `type` of an event.
    pub name: String,
    /// Its permanent code.
    pub class: ClassCode,
    /// What it means, for people.
    pub about: String,
    /// Its fields: required ones first, then optional ones. Persons are numbered in this order.
    pub fields: Vec<Field>,
    /// At least one of these fields must be there; empty = no such rule.
    pub one_of: Vec<String>,
    /// What becomes of other fields.
    pub undeclared: Undeclared,
    /// The registered schema of a ledger's own type.
    pub(super) schema: Option<Arc<RegisteredSchema>>,
}

impl EventType {
    /// The declaration of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// All types of event that a ledger takes.
///
/// ```
/// use counterfoil::event::catalogue::{Catalogue, ClassCode};
/// let catalogue = Catalogue::builtin()?;
/// assert_eq!(catalogue.class("data.transferred"), Some(ClassCode(4)));
/// assert_eq!(catalogue.class("data.teleported"), None);
/// # Ok::<(), counterfoil::event::catalogue::CatalogueError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Catalogue {
    version: u32,
    types: Vec<Arc<EventType>>,
    by_name: BTreeMap<String, usize>,
    /// Fields that every type has.
    common: Vec<Field>,
    /// Every declaration of a field of this name, for corrections.
    declarations: BTreeMap<String, Vec<Field>>,
    sha256: Hash,
}

impl Catalogue {
    /// The types every ledger has: the 29 of the taxonomy and `x-raw`.
    ///
    /// # Errors
    /// Only if the files compiled into this program contradict themselves.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::from_toml(TYPES, FIELDS, VOCABULARIES)
    }

    fn from_toml(types: &str, fields: &str, vocabularies: &str) -> Result<Self, CatalogueError> {
        let (version, types, common) = load::load(types, fields, vocabularies)?;
        Ok(Self::of(version, types.into_iter().map(Arc::new).collect(), common))
    }

    fn of(version: u32, types: Vec<Arc<EventType>>, common: Vec<Field>) -> Self {
        let by_name = types.iter().enumerate().map(|(at, kind)| (kind.name.clone(), at)).collect();
        let mut declarations: BTreeMap<String, Vec<Field>> = BTreeMap::new();
        for field in types.iter().flat_map(|kind| &kind.fields) {
            let same_name = declarations.entry(field.name.clone()).or_default();
            let field = Field { required: false, about: String::new(), ..field.clone() };
            if !same_name.contains(&field) {
                same_name.push(field);
            }
        }
        let mut catalogue = Self { version, types, by_name, common, declarations, sha256: Hash::ZERO };
        catalogue.sha256 = sha256(&catalogue.document().to_canonical());
        catalogue
    }

    /// This catalogue with one more type. Types of a ledger get the codes from 256 up in the order
    /// of their registration, so a catalogue is rebuilt by registering them again in that order.
    ///
    /// # Errors
    /// If the type's name is taken or malformed, or its schema or its fields are refused.
    pub fn with_custom(&self, custom: CustomType) -> Result<Self, CustomError> {
        if self.by_name.contains_key(&custom.name) {
            return Err(CustomError::NameTaken);
        }
        let count = self.custom_types().count();
        let class = u16::try_from(count).ok().filter(|_| count < CUSTOM_TYPES_MAX);
        let class = class.and_then(|count| ClassCode::CUSTOM_FIRST.0.checked_add(count));
        let class = class.ok_or(CustomError::TooManyTypes { max: CUSTOM_TYPES_MAX })?;
        let event_type = custom.into_event_type(ClassCode(class), &self.common)?;
        let mut types = self.types.clone();
        types.push(Arc::new(event_type));
        Ok(Self::of(self.version, types, self.common.clone()))
    }

    /// Version of the built-in part.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Hash of [`Catalogue::document`] in its RFC 8785 form: what a settings entry commits to.
    #[must_use]
    pub fn sha256(&self) -> Hash {
        self.sha256
    }

    /// The code of a type.
    #[must_use]
    pub fn class(&self, type_name: &str) -> Option<ClassCode> {
        self.event_type(type_name).map(|kind| kind.class)
    }

    /// The type of this name.
    #[must_use]
    pub fn event_type(&self, type_name: &str) -> Option<&EventType> {
        self.by_name.get(type_name).and_then(|at| self.types.get(*at)).map(Arc::as_ref)
    }

    /// The type of this code.
    #[must_use]
    pub fn by_class(&self, class: ClassCode) -> Option<&EventType> {
        self.types().find(|kind| kind.class == class)
    }

    /// All types, in order of their codes.
    pub fn types(&self) -> impl Iterator<Item = &EventType> {
        self.types.iter().map(Arc::as_ref)
    }

    /// The ledger's own types, in order of registration.
    pub fn custom_types(&self) -> impl Iterator<Item = &EventType> {
        self.types().filter(|kind| kind.class >= ClassCode::CUSTOM_FIRST)
    }

    /// The JSON Schema (2020-12) of `data` in events of this type; of a ledger's own type, the
    /// schema that was registered.
    #[must_use]
    pub fn json_schema(&self, type_name: &str) -> Option<Value> {
        self.event_type(type_name).map(schema::json_schema)
    }

    /// Everything that decides what is accepted and where it lies, as one JSON value. An auditor who
    /// has it can recompute from an opened event which keys its entry must have.
    #[must_use]
    pub fn document(&self) -> Value {
        schema::document(self.version, self.types())
    }
}
