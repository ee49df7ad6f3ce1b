//! A mapping file as it is written: TOML, read strictly and compiled into [`super::rules`].
//!
//! In scope: the file's grammar and what is wrong with one. Out of scope: applying it. The grammar is
//! explained in `docs/mappings.md`, and by `src/catalogue/mappings/cloudtrail.toml`, which uses all of it.
//!
//! Invariant: a name that a file mentions (table, value, path) resolves when it is read, never later.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::path::Path;
use super::rules::{Condition, Field, Pass, Rule, Source, Table, Test, TimeFormat, TimeSource};
use crate::event::custom::{CustomError, CustomType};
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::limits::{DEPTH_MAX, EVENT_BYTES_MAX, SOURCE_CHARS_MAX};

/// A mapping file was refused. What it names comes from the file, which the operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// Not TOML, or not a mapping: a key that is unknown, missing or of the wrong type.
    #[error("not a mapping file: {0}")]
    Syntax(String),
    /// No mapping of this name is built in.
    #[error("no built-in mapping is called `{0}`")]
    UnknownBuiltin(String),
    /// A path is not one.
    #[error("`{0}` is not a path")]
    Path(String),
    /// A table or value is mentioned and not defined.
    #[error("`{0}` is not defined in this file")]
    Undefined(String),
    /// A value, condition or rule says nothing, or two things at once.
    #[error("{0} must say exactly one thing")]
    Ambiguous(&'static str),
    /// The envelope's source is empty or too long.
    #[error("the source must have 1 to {max} characters")]
    Source {
        /// The limit.
        max: usize,
    },
    /// The custom type's schema is not JSON.
    #[error("the custom type's schema is not JSON")]
    Schema,
    /// The custom type's fields are refused.
    #[error("the custom type: {0}")]
    Custom(CustomError),
}

/// A mapping file, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) unwrap: Vec<Path>,
    pub(super) accept: Vec<Condition>,
    pub(super) pass: Option<Pass>,
    pub(super) time: Vec<TimeSource>,
    pub(super) resource: Option<Source>,
    pub(super) rules: Vec<Rule>,
    pub(super) custom: CustomType,
    pub(super) custom_fields: Vec<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: String,
    source: String,
    #[serde(default)]
    unwrap: Vec<String>,
    #[serde(default)]
    accept: Vec<ConditionForm>,
    pass: Option<PassForm>,
    #[serde(default)]
    time: Vec<TimeForm>,
    resource: Option<ValueForm>,
    #[serde(default)]
    tables: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    values: BTreeMap<String, ValueForm>,
    #[serde(default)]
    rule: Vec<RuleForm>,
    custom: CustomForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassForm {
    types: Vec<String>,
    prefix: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TimeForm {
    Rfc3339(String),
    Other(TimeTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeTable {
    path: String,
    format: TimeFormat,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionForm {
    path: String,
    exists: Option<bool>,
    equals: Option<Scalar>,
    one_of: Option<Vec<String>>,
    prefix: Option<Vec<String>>,
    suffix: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Bool(bool),
    Integer(i64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ValueForm {
    Text(String),
    Bool(bool),
    List(Vec<String>),
    Table(ValueTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueTable {
    path: Option<String>,
    value: Option<String>,
    first: Option<Vec<ValueForm>>,
    prefix: Option<String>,
    table: Option<String>,
    #[serde(default)]
    bool: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    r#type: Option<String>,
    #[serde(default)]
    when: Vec<ConditionForm>,
    #[serde(default)]
    any: Vec<ConditionForm>,
    #[serde(default)]
    data: BTreeMap<String, ValueForm>,
    #[serde(default)]
    optional: BTreeMap<String, ValueForm>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomForm {
    r#type: String,
    schema: String,
    #[serde(default)]
    fields: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    data: BTreeMap<String, ValueForm>,
}

/// Reads and compiles a mapping file.
pub(super) fn compile(toml: &str) -> Result<Compiled, MappingError> {
    let form: FileForm =
        toml::from_str(toml).map_err(|error| MappingError::Syntax(error.to_string()))?;
    let source_length = form.source.chars().count();
    if source_length == 0 || source_length > SOURCE_CHARS_MAX {
        return Err(MappingError::Source { max: SOURCE_CHARS_MAX });
    }
    let tables = form.tables.into_iter().map(|(name, table)| (name, Arc::new(table))).collect();
    let mut names = Names { tables, values: BTreeMap::new() };
    for (name, value) in form.values {
        let value = names.source(value)?;
        names.values.insert(name, value);
    }
    Ok(Compiled {
        name: form.name,
        source: form.source,
        unwrap: form.unwrap.iter().map(|path| parse_path(path)).collect::<Result<_, _>>()?,
        accept: conditions(form.accept)?,
        pass: form
            .pass
            .map(|pass| Pass { types: pass.types.into_iter().collect(), prefix: pass.prefix }),
        time: form.time.into_iter().map(time_source).collect::<Result<_, _>>()?,
        resource: form.resource.map(|value| names.source(value)).transpose()?,
        rules: form.rule.into_iter().map(|rule| names.rule(rule)).collect::<Result<_, _>>()?,
        custom_fields: names.fields(form.custom.data)?,
        custom: custom_type(&form.custom.r#type, &form.custom.schema, form.custom.fields)?,
    })
}

fn parse_path(text: &str) -> Result<Path, MappingError> {
    Path::parse(text).ok_or_else(|| MappingError::Path(text.to_owned()))
}

fn time_source(form: TimeForm) -> Result<TimeSource, MappingError> {
    let (path, format) = match form {
        TimeForm::Rfc3339(path) => (path, TimeFormat::Rfc3339),
        TimeForm::Other(TimeTable { path, format }) => (path, format),
    };
    Ok(TimeSource { path: parse_path(&path)?, format })
}

fn conditions(forms: Vec<ConditionForm>) -> Result<Vec<Condition>, MappingError> {
    forms.into_iter().map(condition).collect()
}

fn condition(form: ConditionForm) -> Result<Condition, MappingError> {
    let equals = form.equals.map(|scalar| match scalar {
        Scalar::Text(text) => Test::OneOf([text].into()),
        Scalar::Bool(flag) => Test::OneOf([flag.to_string()].into()),
        Scalar::Integer(number) => Test::OneOf([number.to_string()].into()),
    });
    let tests = [
        form.exists.map(Test::Exists),
        equals,
        form.one_of.map(|texts| Test::OneOf(texts.into_iter().collect())),
        form.prefix.map(Test::Prefix),
        form.suffix.map(Test::Suffix),
    ];
    let mut tests = tests.into_iter().flatten();
    match (tests.next(), tests.next()) {
        (Some(test), None) => Ok(Condition { path: parse_path(&form.path)?, test }),
        _ => Err(MappingError::Ambiguous("a condition")),
    }
}

fn custom_type(
    name: &str,
    schema: &str,
    fields: BTreeMap<String, BTreeMap<String, String>>,
) -> Result<CustomType, MappingError> {
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: EVENT_BYTES_MAX };
    let schema = json::parse(schema.as_bytes(), &limits).map_err(|_| MappingError::Schema)?;
    let text = |(key, text): (String, String)| (key, Value::String(text));
    let field = |(name, field): (String, BTreeMap<_, _>)| {
        (name, Value::Object(field.into_iter().map(text).collect()))
    };
    let mut registration = Object::new();
    registration.insert("name", name);
    registration.insert("schema", schema);
    registration.insert("fields", fields.into_iter().map(field).collect::<Object>());
    CustomType::from_value(&Value::Object(registration)).map_err(MappingError::Custom)
}

/// What a file defines for use by name.
struct Names {
    tables: BTreeMap<String, Arc<Table>>,
    values: BTreeMap<String, Source>,
}

impl Names {
    fn rule(&self, form: RuleForm) -> Result<Rule, MappingError> {
        if form.r#type.is_none() && !(form.data.is_empty() && form.optional.is_empty()) {
            return Err(MappingError::Ambiguous("a rule without type has no fields and"));
        }
        Ok(Rule {
            type_name: form.r#type,
            all: conditions(form.when)?,
            any: conditions(form.any)?,
            required: self.fields(form.data)?,
            optional: self.fields(form.optional)?,
            note: form.note,
        })
    }

    fn fields(&self, forms: BTreeMap<String, ValueForm>) -> Result<Vec<Field>, MappingError> {
        forms.into_iter().map(|(name, form)| Ok(Field { name, source: self.source(form)? })).collect()
    }

    fn source(&self, form: ValueForm) -> Result<Source, MappingError> {
        let table = match form {
            ValueForm::Text(text) => return Ok(Source::Constant(Value::String(text))),
            ValueForm::Bool(flag) => return Ok(Source::Constant(Value::Bool(flag))),
            ValueForm::List(texts) => {
                return Ok(Source::Constant(Value::Array(
                    texts.into_iter().map(Value::String).collect(),
                )));
            }
            ValueForm::Table(table) => table,
        };
        let decorated = table.prefix.is_some() || table.table.is_some() || table.bool;
        match (table.path, table.value, table.first) {
            (Some(path), None, None) => Ok(Source::Path {
                path: parse_path(&path)?,
                table: table.table.map(|name| self.table(name)).transpose()?,
                prefix: table.prefix,
                boolean: table.bool,
            }),
            (None, Some(name), None) if !decorated => {
                self.values.get(&name).cloned().ok_or(MappingError::Undefined(name))
            }
            (None, None, Some(forms)) if !decorated => {
                let sources = forms.into_iter().map(|form| self.source(form));
                Ok(Source::First(sources.collect::<Result<_, _>>()?))
            }
            _ => Err(MappingError::Ambiguous("a value")),
        }
    }

    fn table(&self, name: String) -> Result<Arc<Table>, MappingError> {
        self.tables.get(&name).cloned().ok_or(MappingError::Undefined(name))
    }
}
