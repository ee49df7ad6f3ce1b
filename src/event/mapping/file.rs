//! A mapping file as it is written: TOML, read strictly and compiled into [`super::rules`].
//!
//! In scope: the file's grammar and what is wrong with one. Out of scope: applying it; the grammar's
//! description ([`super::grammar`], printed in `docs/mappings.md`).
//!
//! Invariants: a name that a file mentions (table, value, path) resolves when it is read, never later;
//! what is wrong is told with its line.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::error::MappingError;
use super::path::{Path, Step};
use super::rules::{Condition, Field, Pass, Rule, Source, Spelling, Table, Test};
use super::times::{TimeFormat, TimeSource};
use super::unwrap::Unwrap;
use crate::event::custom::CustomType;
use crate::event::json::{self, JsonLimits, Object, Value};
use crate::event::limits::{DEPTH_MAX, EVENT_BYTES_MAX, SOURCE_CHARS_MAX};

/// Characters of a custom type's field in a schema that is not written out: a value and its prefix.
const FIELD_CHARS_MAX: u32 = 1024;

/// A mapping file, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: Arc<str>,
    pub(super) title: String,
    pub(super) rank: u32,
    pub(super) carrier: bool,
    pub(super) source: String,
    pub(super) spelling: Spelling,
    pub(super) unwrap: Vec<Unwrap>,
    pub(super) within: Vec<Path>,
    pub(super) accept: Vec<Condition>,
    pub(super) pass: Option<Pass>,
    pub(super) time: Vec<TimeSource>,
    pub(super) resource: Option<Source>,
    pub(super) correlation: Option<Source>,
    pub(super) trace: Option<Trace>,
    pub(super) rules: Vec<Rule>,
    pub(super) custom: CustomType,
    pub(super) custom_fields: Vec<Field>,
}

/// Where a W3C trace context is made from.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) trace_id: Path,
    pub(super) span_id: Path,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    name: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    rank: u32,
    #[serde(default)]
    carrier: bool,
    source: Spanned<String>,
    #[serde(default)]
    any_spelling: bool,
    #[serde(default)]
    unwrap: Vec<Spanned<UnwrapForm>>,
    #[serde(default)]
    within: Vec<Spanned<String>>,
    #[serde(default)]
    accept: Vec<Spanned<ConditionForm>>,
    pass: Option<PassForm>,
    #[serde(default)]
    time: Vec<Spanned<TimeForm>>,
    resource: Option<Spanned<ValueForm>>,
    correlation: Option<Spanned<ValueForm>>,
    trace: Option<Spanned<TraceForm>>,
    #[serde(default)]
    tables: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    values: BTreeMap<String, Spanned<ValueForm>>,
    #[serde(default)]
    rule: Vec<Spanned<RuleForm>>,
    custom: Spanned<CustomForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PassForm {
    types: Vec<String>,
    prefix: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UnwrapForm {
    Slice(String),
    Other(UnwrapTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnwrapTable {
    path: String,
    keep: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TimeForm {
    Rfc3339(String),
    Other(TimeTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeTable {
    path: String,
    format: TimeFormat,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceForm {
    trace_id: String,
    span_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionForm {
    path: Option<String>,
    value: Option<String>,
    exists: Option<bool>,
    equals: Option<Scalar>,
    one_of: Option<Vec<String>>,
    prefix: Option<Vec<String>>,
    suffix: Option<Vec<String>>,
    all: Option<Vec<ConditionForm>>,
    any: Option<Vec<ConditionForm>>,
    none: Option<Vec<ConditionForm>>,
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
pub(super) struct ValueTable {
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
pub(super) struct RuleForm {
    r#type: Option<String>,
    #[serde(default)]
    when: Vec<Spanned<ConditionForm>>,
    #[serde(default)]
    any: Vec<Spanned<ConditionForm>>,
    #[serde(default)]
    data: BTreeMap<String, Spanned<ValueForm>>,
    #[serde(default)]
    optional: BTreeMap<String, Spanned<ValueForm>>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomForm {
    r#type: String,
    schema: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    data: BTreeMap<String, Spanned<ValueForm>>,
}

/// Reads and compiles a mapping file.
pub(super) fn compile(toml: &str) -> Result<Compiled, MappingError> {
    let form: FileForm =
        toml::from_str(toml).map_err(|error| MappingError::Syntax(error.to_string()))?;
    let spelling = Spelling { any: form.any_spelling };
    let fold = |table: BTreeMap<String, String>| {
        table.into_iter().map(|(from, to)| (spelling.fold(&from).into_owned(), to)).collect::<Table>()
    };
    let tables = form.tables.into_iter().map(|(name, table)| (name, Arc::new(fold(table)))).collect();
    let mut scope = Scope { toml, spelling, tables, values: BTreeMap::new() };
    let source = scope.spanned(form.source, |_, source| {
        let length = source.chars().count();
        let fits = (1..=SOURCE_CHARS_MAX).contains(&length);
        if fits { Ok(source) } else { Err(MappingError::Source { max: SOURCE_CHARS_MAX }) }
    })?;
    for (name, value) in form.values {
        let value = scope.spanned(value, Scope::source)?;
        scope.values.insert(name, value);
    }
    let custom_line = scope.line(form.custom.span().start);
    let custom = form.custom.into_inner();
    let undeclared = custom.data.keys().find(|name| !custom.fields.contains_key(*name));
    if let (Some(name), None) = (undeclared, &custom.schema) {
        return Err(MappingError::Undeclared(name.clone()).at(custom_line));
    }
    Ok(Compiled {
        name: form.name.into(),
        title: form.title,
        rank: form.rank,
        carrier: form.carrier,
        source,
        spelling,
        unwrap: scope.each(form.unwrap, Scope::unwrap)?,
        within: scope.each(form.within, |scope, path| scope.path(&path))?,
        accept: scope.each(form.accept, Scope::condition)?,
        pass: form
            .pass
            .map(|pass| Pass { types: pass.types.into_iter().collect(), prefix: pass.prefix }),
        time: scope.each(form.time, Scope::time)?,
        resource: form.resource.map(|value| scope.spanned(value, Scope::source)).transpose()?,
        correlation: form.correlation.map(|value| scope.spanned(value, Scope::source)).transpose()?,
        trace: form.trace.map(|trace| scope.spanned(trace, Scope::trace)).transpose()?,
        rules: form.rule.into_iter().map(|rule| scope.rule(rule)).collect::<Result<_, _>>()?,
        custom_fields: scope.fields(custom.data)?,
        custom: custom_type(&custom.r#type, custom.schema.as_deref(), custom.fields)
            .map_err(|error| error.at(custom_line))?,
    })
}

/// What makes one condition of several.
type Group = fn(Vec<Condition>) -> Condition;

/// What a file defines for use by name, and how it compares texts.
struct Scope<'t> {
    toml: &'t str,
    spelling: Spelling,
    tables: BTreeMap<String, Arc<Table>>,
    values: BTreeMap<String, Source>,
}

impl Scope<'_> {
    /// The line of a byte, from 1.
    fn line(&self, byte: usize) -> usize {
        let before = self.toml.as_bytes().iter().take(byte);
        before.filter(|b| **b == b'\n').count() + 1
    }

    /// Compiles something, and tells where it stands if it is wrong.
    fn spanned<F, R>(
        &self,
        form: Spanned<F>,
        compile: impl FnOnce(&Self, F) -> Result<R, MappingError>,
    ) -> Result<R, MappingError> {
        let start = form.span().start;
        compile(self, form.into_inner()).map_err(|error| error.at(self.line(start)))
    }

    fn each<F, R>(
        &self,
        forms: Vec<Spanned<F>>,
        compile: impl Fn(&Self, F) -> Result<R, MappingError>,
    ) -> Result<Vec<R>, MappingError> {
        forms.into_iter().map(|form| self.spanned(form, &compile)).collect()
    }

    fn path(&self, text: &str) -> Result<Path, MappingError> {
        Path::parse(text, self.spelling.any).ok_or_else(|| MappingError::Path(text.to_owned()))
    }

    fn unwrap(&self, form: UnwrapForm) -> Result<Unwrap, MappingError> {
        let (text, keep) = match form {
            UnwrapForm::Slice(path) => (path, false),
            UnwrapForm::Other(UnwrapTable { path, keep }) => (path, keep),
        };
        let path = self.path(&text)?;
        if path.steps.iter().any(|step| matches!(step, Step::Where(..))) {
            return Err(MappingError::Unwrap(text));
        }
        Ok(Unwrap { path, any_spelling: self.spelling.any, keep })
    }

    fn time(&self, form: TimeForm) -> Result<TimeSource, MappingError> {
        let (path, format) = match form {
            TimeForm::Rfc3339(path) => (path, TimeFormat::Rfc3339),
            TimeForm::Other(TimeTable { path, format }) => (path, format),
        };
        Ok(TimeSource { path: self.path(&path)?, format })
    }

    fn trace(&self, form: TraceForm) -> Result<Trace, MappingError> {
        let TraceForm { trace_id, span_id } = form;
        Ok(Trace { trace_id: self.path(&trace_id)?, span_id: self.path(&span_id)? })
    }

    fn condition(&self, form: ConditionForm) -> Result<Condition, MappingError> {
        let ambiguous = MappingError::Ambiguous("a condition");
        let fold = |text: String| self.spelling.fold(&text).into_owned();
        let list = |texts: Vec<String>| texts.into_iter().map(fold).collect::<Vec<_>>();
        let equals = form.equals.map(|scalar| match scalar {
            Scalar::Text(text) => Test::OneOf([fold(text)].into()),
            Scalar::Bool(flag) => Test::OneOf([flag.to_string()].into()),
            Scalar::Integer(number) => Test::OneOf([number.to_string()].into()),
        });
        let tests = [
            form.exists.map(Test::Exists),
            equals,
            form.one_of.map(|texts| Test::OneOf(texts.into_iter().map(fold).collect())),
            form.prefix.map(|texts| Test::Prefix(list(texts))),
            form.suffix.map(|texts| Test::Suffix(list(texts))),
        ];
        let groups: [(_, Group); 3] =
            [(form.all, Condition::All), (form.any, Condition::Any), (form.none, Condition::None)];
        let mut tests = tests.into_iter().flatten();
        let mut groups = groups.into_iter().filter_map(|(forms, group)| Some((forms?, group)));
        let (test, None) = (tests.next(), tests.next()) else { return Err(ambiguous) };
        match (form.path, form.value, test, groups.next(), groups.next()) {
            (Some(path), None, Some(test), None, None) => Ok(Condition::Is(self.path(&path)?, test)),
            (None, Some(name), Some(test), None, None) => {
                let source = self.values.get(&name).cloned();
                Ok(Condition::Of(name.clone(), source.ok_or(MappingError::Undefined(name))?, test))
            }
            (None, None, None, Some((forms, group)), None) if !forms.is_empty() => {
                let conditions = forms.into_iter().map(|form| self.condition(form));
                Ok(group(conditions.collect::<Result<_, _>>()?))
            }
            _ => Err(ambiguous),
        }
    }

    fn rule(&self, form: Spanned<RuleForm>) -> Result<Rule, MappingError> {
        let line = self.line(form.span().start);
        let form = form.into_inner();
        if form.r#type.is_none() && !(form.data.is_empty() && form.optional.is_empty()) {
            return Err(MappingError::Ambiguous("a rule without type has no fields and").at(line));
        }
        Ok(Rule {
            type_name: form.r#type,
            all: self.each(form.when, Self::condition)?,
            any: self.each(form.any, Self::condition)?,
            required: self.fields(form.data)?,
            optional: self.fields(form.optional)?,
            note: form.note,
            line,
        })
    }

    fn fields(&self, forms: BTreeMap<String, Spanned<ValueForm>>) -> Result<Vec<Field>, MappingError> {
        let field = |(name, form)| Ok(Field { name, source: self.spanned(form, Self::source)? });
        forms.into_iter().map(field).collect()
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
                path: self.path(&path)?,
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

fn custom_type(
    name: &str,
    schema: Option<&str>,
    fields: BTreeMap<String, BTreeMap<String, String>>,
) -> Result<CustomType, MappingError> {
    let limits = JsonLimits { depth_max: DEPTH_MAX, bytes_max: EVENT_BYTES_MAX };
    let written = |schema: &str| json::parse(schema.as_bytes(), &limits);
    let schema = match schema {
        Some(schema) => written(schema),
        None => written(&schema_of(fields.keys())),
    };
    let text = |(key, text): (String, String)| (key, Value::String(text));
    let field = |(name, field): (String, BTreeMap<_, _>)| {
        (name, Value::Object(field.into_iter().map(text).collect()))
    };
    let mut registration = Object::new();
    registration.insert("name", name);
    registration.insert("schema", schema.map_err(|_| MappingError::Schema)?);
    registration.insert("fields", fields.into_iter().map(field).collect::<Object>());
    CustomType::from_value(&Value::Object(registration)).map_err(MappingError::Custom)
}

/// The schema of a type whose fields are texts, none of them required.
fn schema_of<'f>(fields: impl Iterator<Item = &'f String>) -> String {
    let text = serde_json::json!({ "type": "string", "minLength": 1, "maxLength": FIELD_CHARS_MAX });
    let properties: BTreeMap<&String, _> = fields.map(|name| (name, text.clone())).collect();
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
    .to_string()
}
