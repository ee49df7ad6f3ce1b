//! From the TOML files of `src/catalogue` to event types.
//!
//! In scope: the files' grammar, how a type narrows a field, the checks that the data hangs
//! together. Out of scope: events.
//! Invariant: an unknown key, name or code is an error; nothing is left out silently.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::field::{FIELD_KINDS, Field, FieldKind, Identity, Owner};
use super::{CatalogueError, EventType, Undeclared};
use crate::event::facet::{ClassCode, Facet, Namespace};

/// Takes away what a narrowed field would otherwise have.
const NONE: &str = "none";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypesFile {
    version: u32,
    common: Vec<String>,
    #[serde(rename = "type")]
    types: Vec<TypeSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeSpec {
    name: String,
    code: u16,
    about: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    optional: Vec<String>,
    #[serde(default)]
    one_of: Vec<String>,
    undeclared: Option<Owner>,
    #[serde(default)]
    narrow: BTreeMap<String, FieldSpec>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldSpec {
    kind: Option<OneOrMany>,
    owner: Option<Owner>,
    identifies: Option<String>,
    identifies_when: Option<WhenSpec>,
    facet: Option<String>,
    vocabulary: Option<String>,
    values: Option<Vec<String>>,
    country: Option<bool>,
    amends: Option<bool>,
    about: Option<String>,
    #[serde(default)]
    members: BTreeMap<String, FieldSpec>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenSpec {
    field: String,
    namespaces: BTreeMap<String, String>,
}

type Vocabularies = BTreeMap<String, Vec<String>>;

/// The version and the types of the three files.
pub(super) fn load(
    types: &str,
    fields: &str,
    vocabularies: &str,
) -> Result<(u32, Vec<EventType>, Vec<Field>), CatalogueError> {
    let types: TypesFile = read("types.toml", types)?;
    let specs: BTreeMap<String, FieldSpec> = read("fields.toml", fields)?;
    let vocabularies: Vocabularies = read("vocabularies.toml", vocabularies)?;
    let mut known = BTreeMap::new();
    for (name, spec) in &specs {
        let mut field = Field { kinds: vec![FieldKind::String], ..Field::open(name.clone()) };
        apply(&mut field, spec, &vocabularies)?;
        known.insert(name.clone(), field);
    }
    let mut loaded: Vec<EventType> = Vec::with_capacity(types.types.len());
    for spec in types.types {
        let event_type = event_type(spec, &types.common, &known, &vocabularies)?;
        let clash = |other: &EventType| other.name == event_type.name || other.class == event_type.class;
        if loaded.iter().any(clash) {
            return Err(invalid(&event_type.name, "its name or code is taken"));
        }
        loaded.push(event_type);
    }
    let common = fields_of(&types.common, false, &known, &BTreeMap::new(), &vocabularies)?;
    Ok((types.version, loaded, common))
}

fn read<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, CatalogueError> {
    toml::from_str(text).map_err(|error| CatalogueError::Toml { file, problem: error.to_string() })
}

fn invalid(name: &str, problem: &'static str) -> CatalogueError {
    CatalogueError::Invalid { name: name.to_owned(), problem }
}

fn event_type(
    spec: TypeSpec,
    common: &[String],
    known: &BTreeMap<String, Field>,
    vocabularies: &Vocabularies,
) -> Result<EventType, CatalogueError> {
    let mut fields = fields_of(&spec.required, true, known, &spec.narrow, vocabularies)?;
    fields.extend(fields_of(&spec.optional, false, known, &spec.narrow, vocabularies)?);
    fields.extend(fields_of(common, false, known, &spec.narrow, vocabularies)?);
    let has = |name: &String| fields.iter().any(|field| field.name == *name);
    if !spec.narrow.keys().chain(&spec.one_of).all(has) {
        return Err(invalid(&spec.name, "it speaks of a field that it does not have"));
    }
    let mut names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != fields.len() {
        return Err(invalid(&spec.name, "it has a field twice"));
    }
    Ok(EventType {
        name: spec.name,
        class: ClassCode(spec.code),
        about: spec.about,
        fields,
        one_of: spec.one_of,
        undeclared: spec.undeclared.map_or(Undeclared::Refused, Undeclared::Owned),
        schema: None,
    })
}

fn fields_of(
    names: &[String],
    required: bool,
    known: &BTreeMap<String, Field>,
    narrow: &BTreeMap<String, FieldSpec>,
    vocabularies: &Vocabularies,
) -> Result<Vec<Field>, CatalogueError> {
    names
        .iter()
        .map(|name| {
            let field = known.get(name).ok_or_else(|| invalid(name, "no such field"))?;
            let mut field = Field { required, ..field.clone() };
            if let Some(spec) = narrow.get(name) {
                apply(&mut field, spec, vocabularies)?;
            }
            Ok(field)
        })
        .collect()
}

/// Changes what `spec` speaks of and leaves the rest.
fn apply(
    field: &mut Field,
    spec: &FieldSpec,
    vocabularies: &Vocabularies,
) -> Result<(), CatalogueError> {
    let problem = |problem| invalid(&field.name, problem);
    match &spec.kind {
        Some(OneOrMany::One(kind)) => field.kinds = vec![kind_of(kind).ok_or(problem("no such kind"))?],
        Some(OneOrMany::Many(kinds)) => {
            let kinds: Option<Vec<FieldKind>> = kinds.iter().map(|kind| kind_of(kind)).collect();
            field.kinds = kinds.ok_or(problem("no such kind"))?;
        }
        None => {}
    }
    if let Some(vocabulary) = &spec.vocabulary {
        let values = vocabularies.get(vocabulary).ok_or(problem("no such vocabulary"))?;
        field.values = Some(values.clone());
    }
    if let Some(values) = &spec.values {
        field.values = Some(values.clone());
    }
    match spec.identifies.as_deref() {
        Some(NONE) => field.identity = Identity::Never,
        Some(name) => {
            let namespace = Namespace::from_name(name).ok_or(problem("no such namespace"))?;
            field.identity = Identity::Always(namespace);
        }
        None => {}
    }
    if let Some(when) = &spec.identifies_when {
        let namespaces: Option<Vec<(String, Namespace)>> = when
            .namespaces
            .iter()
            .map(|(value, name)| Some((value.clone(), Namespace::from_name(name)?)))
            .collect();
        let namespaces = namespaces.ok_or(problem("no such namespace"))?;
        field.identity = Identity::When { field: when.field.clone(), namespaces };
    }
    match spec.facet.as_deref() {
        Some(NONE) => field.facet = None,
        Some(name) => {
            let facet = Facet::from_name(name).filter(|facet| !facet.is_person());
            field.facet = Some(facet.ok_or(problem("no such open facet"))?);
        }
        None => {}
    }
    field.owner = spec.owner.unwrap_or(field.owner);
    field.country = spec.country.unwrap_or(field.country);
    field.amends = spec.amends.unwrap_or(field.amends);
    if let Some(about) = &spec.about {
        field.about.clone_from(about);
    }
    for (name, member) in &spec.members {
        let mut inner = Field { kinds: vec![FieldKind::String], ..Field::open(name.clone()) };
        apply(&mut inner, member, vocabularies)?;
        field.members.push(inner);
    }
    consistent(field).map_err(|problem| invalid(&field.name, problem))
}

/// Personal values must not reach an open index key or a part that is not the person's.
fn consistent(field: &Field) -> Result<(), &'static str> {
    if field.facet.is_some() && field.owner != Owner::Open {
        return Err("a personal field has an open facet");
    }
    if field.facet.is_some() && matches!(field.identity, Identity::Always(_)) {
        return Err("an identifier has an open facet");
    }
    if field.identity != Identity::Never && field.kinds != [FieldKind::String] {
        return Err("an identifier is not a string");
    }
    let personal = |member: &Field| member.identity != Identity::Never || member.owner != Owner::Open;
    if field.members.iter().any(personal) {
        return Err("a member has an owner of its own");
    }
    Ok(())
}

fn kind_of(name: &str) -> Option<FieldKind> {
    FIELD_KINDS.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
}
