//! A ledger's own event types: names that start with `x-`, a JSON Schema, and owners for fields.
//!
//! In scope: what may be registered, the compiled schema. Out of scope: who may register, and how a
//! registration is written into the log (settings entries).
//!
//! Invariants: a schema refers to nothing outside itself, its patterns run in linear time, and the
//! work it asks for is bounded when it is registered; a field that names a person is never in the
//! open part unless its owner was declared to be open; no error holds a part of the schema.

use std::fmt;
use std::sync::Arc;

use super::catalogue::{EventType, Field, FieldKind, Identity, Owner, Undeclared};
use super::error::{EventError, EventErrorKind};
use super::facet::{ClassCode, Facet, Namespace};
use super::json::{Object, Value};

/// What a custom type's name starts with.
pub const NAME_PREFIX: &str = "x-";
/// Longest name of a custom type in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest name of a field in bytes.
pub const FIELD_NAME_BYTES_MAX: usize = 64;
/// Most fields that a type declares, its schema's top-level properties included.
pub const FIELDS_MAX: usize = 128;
/// Longest schema in bytes of canonical JSON: that of an event.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Most subschemas with every reference followed. A schema of 64 KiB has fewer than 10,000
/// without references; the bound stops those that multiply or come back to themselves.
pub const SUBSCHEMAS_MAX: usize = 10_000;
/// Deepest nesting of subschemas with every reference followed.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Largest compiled pattern in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Identifiers that name a person in every custom type unless it declares them otherwise.
const DEFAULT_IDENTIFIERS: [Namespace; 4] =
    [Namespace::SUBJECT, Namespace::ACTOR, Namespace::ACCOUNT, Namespace::NUMBER];

/// Keywords by which one schema reaches another, or changes where references point.
const REFUSED_KEYWORDS: [&str; 7] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
];
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

const ONE_SCHEMA: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LISTS_OF_SCHEMAS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const MAPS_OF_SCHEMAS: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];

/// A type to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomType {
    /// `x-` and 1 to 62 lower-case letters, digits, dots and hyphens.
    pub name: String,
    /// JSON Schema 2020-12 of `data`.
    pub schema: Value,
    /// What is declared about top-level fields of `data`. A field that is not declared is the
    /// subject's (or that of another person whom the event names, if it names no subject).
    pub fields: Vec<CustomField>,
}

/// What is declared about one field of a custom type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomField {
    /// Its name: 1 to 64 letters, digits, dots, hyphens and underscores.
    pub name: String,
    /// In whose part it lies if it identifies nobody.
    pub owner: Owner,
    /// The namespace in which it identifies a person; it must then be a text.
    pub identifies: Option<Namespace>,
    /// The open facet events are found by; it must then be open, and a text or a list of texts.
    pub facet: Option<Facet>,
}

/// Why a type was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomError {
    /// The registration is not an object of `name`, `schema` and `fields`.
    #[error("a type is registered as an object of name, schema and fields")]
    Malformed,
    /// The name is not `x-` and 1 to 62 lower-case letters, digits, dots and hyphens.
    #[error("a type's name is x- and 1 to 62 lower-case letters, digits, dots and hyphens")]
    Name,
    /// There is a type of this name.
    #[error("a type of this name exists")]
    NameTaken,
    /// No more types fit.
    #[error("a ledger has at most {max} types of its own")]
    TooManyTypes {
        /// The limit.
        max: usize,
    },
    /// A field's name is malformed, reserved (`labels`) or declared twice.
    #[error("field {position}: its name is malformed, reserved or declared twice")]
    FieldName {
        /// Number of the field, from 0.
        position: usize,
    },
    /// Too many fields.
    #[error("{found} fields where at most {max} are allowed")]
    TooManyFields {
        /// How many there are.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A personal field was given an open facet, or a facet that is not an open one.
    #[error("field {position}: only an open field can have a facet, and only an open facet")]
    FieldFacet {
        /// Number of the field, from 0.
        position: usize,
    },
    /// A field identifies persons in a namespace without a meaning, or is said to be open too.
    #[error("field {position}: it cannot identify a person in this namespace")]
    FieldIdentity {
        /// Number of the field, from 0.
        position: usize,
    },
    /// The schema is too long.
    #[error("a schema of {len} bytes where at most {max} are allowed")]
    SchemaTooLong {
        /// Its length in canonical form.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The schema uses a keyword that is not allowed here.
    #[error("the schema uses {keyword}")]
    SchemaKeyword {
        /// The keyword.
        keyword: &'static str,
    },
    /// The schema names another dialect than 2020-12.
    #[error("the schema's dialect is not JSON Schema 2020-12")]
    SchemaDialect,
    /// A `$ref` does not point into the schema itself.
    #[error("a $ref does not point into the schema itself")]
    SchemaReference,
    /// Too many subschemas, or nested too deep, with every reference followed; a schema that refers
    /// to itself always is.
    #[error("the schema has more than {max} subschemas or levels, or refers to itself")]
    SchemaTooLarge {
        /// The limit that was passed.
        max: usize,
    },
    /// Not a JSON Schema.
    #[error("not a valid JSON Schema")]
    SchemaInvalid,
}

/// A schema ready for use.
pub(super) struct RegisteredSchema {
    document: Value,
    validator: jsonschema::Validator,
}

impl fmt::Debug for RegisteredSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredSchema").finish_non_exhaustive()
    }
}

impl RegisteredSchema {
    fn compile(document: Value) -> Result<Self, CustomError> {
        let len = document.to_canonical().len();
        if len > SCHEMA_BYTES_MAX {
            return Err(CustomError::SchemaTooLong { len, max: SCHEMA_BYTES_MAX });
        }
        refuse_keywords(&document, 0)?;
        let mut budget = SUBSCHEMAS_MAX;
        bound(&document, &document, &mut budget, 0)?;
        let json = serde_json::to_value(&document).map_err(|_| CustomError::SchemaInvalid)?;
        let patterns = jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(&json)
            .map_err(|_| CustomError::SchemaInvalid)?;
        Ok(Self { document, validator })
    }

    /// The schema as it was registered.
    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    pub(super) fn check(&self, data: &Object) -> Result<(), EventError> {
        let refused = || EventError::at(EventErrorKind::SchemaViolation, "/data");
        let json = serde_json::to_value(data).map_err(|_| refused())?;
        if self.validator.is_valid(&json) { Ok(()) } else { Err(refused()) }
    }

    /// Names of the properties declared at the top.
    fn properties(&self) -> impl Iterator<Item = &str> {
        let schema = self.document.as_object();
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        properties.into_iter().flat_map(Object::iter).map(|(name, _)| name)
    }
}

/// Looks at every object, whatever it is part of: a keyword cannot hide where only `$ref` looks.
fn refuse_keywords(value: &Value, depth: usize) -> Result<(), CustomError> {
    if depth > SCHEMA_DEPTH_MAX {
        return Err(CustomError::SchemaTooLarge { max: SCHEMA_DEPTH_MAX });
    }
    for item in value.as_array().unwrap_or_default() {
        refuse_keywords(item, depth + 1)?;
    }
    for (name, value) in value.as_object().into_iter().flat_map(Object::iter) {
        let refused = REFUSED_KEYWORDS.iter().find(|keyword| **keyword == name);
        // A property of that name is described by an object; all of these keywords but one are texts.
        if let (Some(keyword), true) = (refused, name == "$vocabulary" || value.as_object().is_none()) {
            return Err(CustomError::SchemaKeyword { keyword });
        }
        match (name, value.as_str()) {
            ("$schema", Some(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                return Err(CustomError::SchemaDialect);
            }
            ("$ref", Some(reference)) if !reference.starts_with('#') => {
                return Err(CustomError::SchemaReference);
            }
            _ => refuse_keywords(value, depth + 1)?,
        }
    }
    Ok(())
}

/// Spends one of `budget` on each subschema below `schema`, following every reference.
fn bound(root: &Value, schema: &Value, budget: &mut usize, depth: usize) -> Result<(), CustomError> {
    let spent = budget.checked_sub(1).filter(|_| depth <= SCHEMA_DEPTH_MAX);
    *budget = spent.ok_or(CustomError::SchemaTooLarge { max: SUBSCHEMAS_MAX })?;
    for (name, value) in schema.as_object().into_iter().flat_map(Object::iter) {
        if name == "$ref" {
            let target = value.as_str().and_then(|reference| resolve(root, reference));
            bound(root, target.ok_or(CustomError::SchemaReference)?, budget, depth + 1)?;
        } else if ONE_SCHEMA.contains(&name) {
            bound(root, value, budget, depth + 1)?;
        } else if LISTS_OF_SCHEMAS.contains(&name) {
            for item in value.as_array().unwrap_or_default() {
                bound(root, item, budget, depth + 1)?;
            }
        } else if MAPS_OF_SCHEMAS.contains(&name) {
            for (_, item) in value.as_object().into_iter().flat_map(Object::iter) {
                bound(root, item, budget, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// What a `$ref` of the form `#/a/b` points at (RFC 6901). Percent-encoding is not undone: such a
/// pointer finds nothing and is refused.
fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.is_empty() {
        return Some(root);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(root, |value, token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        match value {
            Value::Object(object) => object.get(&token),
            Value::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

impl CustomType {
    /// Reads `{"name": …, "schema": {…}, "fields": {"f": {"owner"?, "identifies"?, "facet"?}}}`;
    /// `fields` may be left out, `owner` is then `person`, or `open` beside a facet.
    ///
    /// # Errors
    /// [`CustomError::Malformed`], or `FieldFacet` and `FieldIdentity` for names without a meaning.
    pub fn from_value(value: &Value) -> Result<Self, CustomError> {
        let object = value.as_object().ok_or(CustomError::Malformed)?;
        let known = |name: &str| matches!(name, "name" | "schema" | "fields");
        if !object.iter().all(|(name, _)| known(name)) {
            return Err(CustomError::Malformed);
        }
        let name = object.get("name").and_then(Value::as_str).ok_or(CustomError::Malformed)?;
        let schema = object.get("schema").ok_or(CustomError::Malformed)?.clone();
        let declared = match object.get("fields") {
            None => Vec::new(),
            Some(fields) => fields.as_object().ok_or(CustomError::Malformed)?.iter().collect(),
        };
        let fields = declared
            .into_iter()
            .enumerate()
            .map(|(position, (name, value))| CustomField::from_value(position, name, value))
            .collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), schema, fields })
    }

    /// The registration as [`CustomType::from_value`] reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut fields = Object::new();
        for field in &self.fields {
            let mut declared = Object::new();
            declared.insert("owner", field.owner.name());
            if let Some(name) = field.identifies.and_then(Namespace::name) {
                declared.insert("identifies", name);
            }
            if let Some(name) = field.facet.and_then(Facet::name) {
                declared.insert("facet", name);
            }
            fields.insert(field.name.as_str(), declared);
        }
        let mut object = Object::new();
        object.insert("name", self.name.as_str());
        object.insert("schema", self.schema.clone());
        object.insert("fields", fields);
        Value::Object(object)
    }

    pub(super) fn into_event_type(
        self,
        class: ClassCode,
        common: &[Field],
    ) -> Result<EventType, CustomError> {
        check_name(&self.name)?;
        let schema = RegisteredSchema::compile(self.schema)?;
        let mut fields: Vec<Field> = Vec::new();
        for (position, declared) in self.fields.into_iter().enumerate() {
            let taken = |field: &Field| field.name == declared.name;
            if fields.iter().chain(common).any(taken) || !is_field_name(&declared.name) {
                return Err(CustomError::FieldName { position });
            }
            fields.push(declared.into_field(position)?);
        }
        for namespace in DEFAULT_IDENTIFIERS {
            let name = namespace.name().unwrap_or_default();
            if !fields.iter().any(|field| field.name == name) {
                let kinds = vec![FieldKind::String];
                let identity = Identity::Always(namespace);
                fields.push(Field { kinds, identity, ..Field::open(name) });
            }
        }
        for name in schema.properties() {
            let declared = fields.iter().chain(common).any(|field| field.name == name);
            if !declared && is_field_name(name) {
                fields.push(Field { owner: Owner::Person, ..Field::open(name) });
            }
        }
        fields.extend_from_slice(common);
        if fields.len() > FIELDS_MAX {
            return Err(CustomError::TooManyFields { found: fields.len(), max: FIELDS_MAX });
        }
        Ok(EventType {
            name: self.name,
            class,
            about: String::new(),
            fields,
            one_of: Vec::new(),
            undeclared: Undeclared::Owned(Owner::Person),
            schema: Some(Arc::new(schema)),
        })
    }
}

impl CustomField {
    fn from_value(position: usize, name: &str, value: &Value) -> Result<Self, CustomError> {
        let object = value.as_object().ok_or(CustomError::Malformed)?;
        let mut owner = None;
        let mut identifies = None;
        let mut facet = None;
        for (key, value) in object.iter() {
            let text = value.as_str().ok_or(CustomError::Malformed)?;
            match key {
                "owner" => owner = Some(Owner::from_name(text).ok_or(CustomError::Malformed)?),
                "identifies" => {
                    let namespace = Namespace::from_name(text);
                    identifies = Some(namespace.ok_or(CustomError::FieldIdentity { position })?);
                }
                "facet" => {
                    let known = Facet::from_name(text);
                    facet = Some(known.ok_or(CustomError::FieldFacet { position })?);
                }
                _ => return Err(CustomError::Malformed),
            }
        }
        let default = if facet.is_some() { Owner::Open } else { Owner::Person };
        Ok(Self { name: name.to_owned(), owner: owner.unwrap_or(default), identifies, facet })
    }

    fn into_field(self, position: usize) -> Result<Field, CustomError> {
        let mut field = Field { owner: self.owner, ..Field::open(self.name) };
        if let Some(facet) = self.facet {
            let open = self.owner == Owner::Open && self.identifies.is_none();
            if !open || facet.is_person() || facet.name().is_none() {
                return Err(CustomError::FieldFacet { position });
            }
            field.facet = Some(facet);
            field.kinds = vec![FieldKind::String, FieldKind::Strings];
            field.country = facet == Facet::COUNTRY;
        }
        if let Some(namespace) = self.identifies {
            if namespace.name().is_none() {
                return Err(CustomError::FieldIdentity { position });
            }
            field.identity = Identity::Always(namespace);
            field.kinds = vec![FieldKind::String];
            field.owner = Owner::Open;
        }
        Ok(field)
    }
}

fn check_name(name: &str) -> Result<(), CustomError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let rest = name.strip_prefix(NAME_PREFIX).unwrap_or_default();
    let good = !rest.is_empty() && name.len() <= NAME_BYTES_MAX && rest.bytes().all(allowed);
    if good { Ok(()) } else { Err(CustomError::Name) }
}

fn is_field_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=FIELD_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}
