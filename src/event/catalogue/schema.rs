//! The catalogue as JSON: a schema for each type, one document for all.
//!
//! In scope: JSON Schema 2020-12 for producers' tools, the document that the catalogue's hash covers.
//! Out of scope: checking events, which does not go through these schemas.
//! Invariant: what a schema refuses the check refuses. The check refuses a little more: dates that do
//! not exist where a tool does not look at formats, corrections of fields that no type has.

use super::field::{Field, FieldKind, Identity, LABEL_NAME_CHARS_MAX, LABEL_TEXT_CHARS_MAX, LABELS_MAX};
use super::{EventType, Undeclared};
use crate::event::json::{Object, Value};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const COUNTRY: &str = "^([A-Za-z]{2}|[Uu][Ss]-[A-Za-z]{2})$";

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Object::new();
    for (name, value) in members {
        object.insert(name, value);
    }
    Value::Object(object)
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

fn number(number: usize) -> Value {
    i64::try_from(number).map_or(Value::Null, Value::Int)
}

pub(super) fn json_schema(event_type: &EventType) -> Value {
    if let Some(schema) = &event_type.schema {
        return schema.document().clone();
    }
    let mut schema = Object::new();
    schema.insert("$schema", DIALECT);
    schema.insert("title", event_type.name.as_str());
    schema.insert("description", event_type.about.as_str());
    for (name, value) in members_schema(&event_type.fields, event_type.undeclared) {
        schema.insert(name, value);
    }
    if !event_type.one_of.is_empty() {
        let required = |name: &String| object([("required", list([name.as_str()]))]);
        schema.insert("anyOf", Value::Array(event_type.one_of.iter().map(required).collect()));
    }
    Value::Object(schema)
}

fn members_schema(fields: &[Field], undeclared: Undeclared) -> [(&'static str, Value); 4] {
    let required = fields.iter().filter(|field| field.required).map(|field| field.name.as_str());
    let mut properties = Object::new();
    for field in fields {
        properties.insert(field.name.as_str(), field_schema(field));
    }
    [
        ("type", Value::from("object")),
        ("required", list(required)),
        ("properties", Value::Object(properties)),
        ("additionalProperties", Value::Bool(undeclared != Undeclared::Refused)),
    ]
}

fn field_schema(field: &Field) -> Value {
    let mut alternatives: Vec<Object> =
        field.kinds.iter().map(|kind| kind_schema(*kind, field)).collect();
    let mut schema = if alternatives.len() == 1 {
        alternatives.pop().unwrap_or_default()
    } else {
        let mut any = Object::new();
        any.insert("anyOf", Value::Array(alternatives.into_iter().map(Value::Object).collect()));
        any
    };
    if !field.about.is_empty() {
        schema.insert("description", field.about.as_str());
    }
    Value::Object(schema)
}

fn kind_schema(kind: FieldKind, field: &Field) -> Object {
    let text = || text_schema(field);
    let typed = |name: &'static str| {
        let mut schema = Object::new();
        schema.insert("type", name);
        schema
    };
    let mut schema = match kind {
        FieldKind::String => return text(),
        FieldKind::Bool => typed("boolean"),
        FieldKind::Integer => typed("integer"),
        FieldKind::Number => typed("number"),
        FieldKind::Timestamp | FieldKind::Date => typed("string"),
        FieldKind::Strings | FieldKind::Array => typed("array"),
        FieldKind::Object | FieldKind::Labels | FieldKind::Counts => typed("object"),
        FieldKind::Any => Object::new(),
    };
    match kind {
        FieldKind::Integer => drop(schema.insert("minimum", 0)),
        FieldKind::Timestamp => drop(schema.insert("format", "date-time")),
        FieldKind::Date => drop(schema.insert("format", "date")),
        FieldKind::Strings => drop(schema.insert("items", text())),
        FieldKind::Object if !field.members.is_empty() => {
            for (name, value) in members_schema(&field.members, Undeclared::Refused) {
                schema.insert(name, value);
            }
        }
        FieldKind::Labels => {
            let name = object([("minLength", number(1)), ("maxLength", number(LABEL_NAME_CHARS_MAX))]);
            let longest = ("maxLength", number(LABEL_TEXT_CHARS_MAX));
            let text = object([("type", Value::from("string")), longest]);
            schema.insert("maxProperties", number(LABELS_MAX));
            schema.insert("propertyNames", name);
            schema.insert("additionalProperties", text);
        }
        FieldKind::Counts => {
            let count = object([("type", Value::from("integer")), ("minimum", Value::Int(0))]);
            schema.insert("additionalProperties", count);
        }
        _ => {}
    }
    schema
}

fn text_schema(field: &Field) -> Object {
    let mut schema = Object::new();
    schema.insert("type", "string");
    if field.identity != Identity::Never || field.facet.is_some() {
        schema.insert("minLength", 1);
    }
    if field.country {
        schema.insert("pattern", COUNTRY);
    }
    let Some(values) = &field.values else { return schema };
    let exact = list(values.iter().map(String::as_str).filter(|value| !value.ends_with('*')));
    let prefixes: Vec<&str> = values.iter().filter_map(|value| value.strip_suffix('*')).collect();
    if prefixes.is_empty() {
        schema.insert("enum", exact);
    } else {
        // Prefixes are made of letters, hyphens and a colon, none of which means anything here.
        let pattern = format!("^({}).", prefixes.join("|"));
        let alternatives = vec![object([("enum", exact)]), object([("pattern", Value::from(pattern))])];
        schema.insert("anyOf", Value::Array(alternatives));
    }
    schema
}

pub(super) fn document<'a>(version: u32, types: impl Iterator<Item = &'a EventType>) -> Value {
    let types = types.map(type_document).collect();
    object([("types", Value::Array(types)), ("version", Value::Int(i64::from(version)))])
}

fn type_document(event_type: &EventType) -> Value {
    let undeclared = match event_type.undeclared {
        Undeclared::Refused => "refused",
        Undeclared::Owned(owner) => owner.name(),
    };
    let mut document = Object::new();
    document.insert("name", event_type.name.as_str());
    document.insert("class", Value::Int(i64::from(event_type.class.0)));
    document.insert("fields", Value::Array(event_type.fields.iter().map(field_document).collect()));
    document.insert("one_of", list(event_type.one_of.iter().map(String::as_str)));
    document.insert("undeclared", undeclared);
    if let Some(schema) = &event_type.schema {
        document.insert("schema", schema.document().clone());
    }
    Value::Object(document)
}

/// What is not there has its default, so that the document stays readable.
fn field_document(field: &Field) -> Value {
    let mut document = Object::new();
    document.insert("name", field.name.as_str());
    document.insert("kinds", list(field.kinds.iter().map(|kind| kind.name())));
    document.insert("required", field.required);
    document.insert("owner", field.owner.name());
    match &field.identity {
        Identity::Never => {}
        Identity::Always(namespace) => {
            document.insert("identifies", namespace.name().unwrap_or_default());
        }
        Identity::When { field, namespaces } => {
            let mut names = Object::new();
            for (value, namespace) in namespaces {
                names.insert(value.as_str(), namespace.name().unwrap_or_default());
            }
            let when =
                object([("field", Value::from(field.as_str())), ("namespaces", Value::Object(names))]);
            document.insert("identifies_when", when);
        }
    }
    if let Some(name) = field.facet.and_then(crate::event::facet::Facet::name) {
        document.insert("facet", name);
    }
    if let Some(values) = &field.values {
        document.insert("values", list(values.iter().map(String::as_str)));
    }
    if field.country {
        document.insert("country", true);
    }
    if field.amends {
        document.insert("amends", true);
    }
    if !field.members.is_empty() {
        document.insert("members", Value::Array(field.members.iter().map(field_document).collect()));
    }
    Value::Object(document)
}
