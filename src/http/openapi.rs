//! The contract: the OpenAPI 3.1 document, made from the annotations of the handlers.
//!
//! In scope: the document, what annotations have in common (schemas, parameters, problems), and
//! `GET /openapi.json`. Out of scope: the page for people ([`super::docs_page`]). Invariants: the router
//! is built from the same `routes!` as the document, so neither knows a path that the other lacks; every
//! problem an operation documents is a row of [`problem::TYPES`]; `docs/openapi.json` is this document
//! (`tests/openapi.rs` holds the server to it, operation by operation).
//!
//! # Adding a handler
//! 1. Write above it, instead of a doc comment that repeats the path: one line, which becomes the summary,
//!    an empty line, and a paragraph that says what it does, who may, and what is special. Then
//!    ```text
//!    #[utoipa::path(get, path = "/thing/{index}", operation_id = "get_thing", tag = "events",
//!        params(Reason, ("size" = Option<u64>, Query, description = "…")),
//!        request_body(content((NewThing = "application/json"))),
//!        responses((status = 200, description = "The thing", body = Thing), Keyed, InLedger, Reading),
//!        security(("key" = [])))]
//!    ```
//!    `path` is below its nest. `{name}` in a path is documented by [`PATH_PARAMETERS`]: add a row for a
//!    new name. `tag` is one of [`TAGS`]. `security` is absent where no key is needed.
//! 2. Name the sets of problems it can answer ([`problem_sets`]); add a set where none fits. A problem that
//!    any request can get (the accept loop's, a limit's) goes into [`OF_EVERY_OPERATION`].
//! 3. The body's schema: `#[derive(utoipa::ToSchema)]` where serde writes it; where we write it by hand, a
//!    name in [`written_schemas`] and its JSON Schema in `schemas.json`.
//! 4. Add `routes!(module::handler)` in `super::api`; handlers of one path go into one `routes!`.
//! 5. The names given to `params.allow_only` are those documented. Run `counterfoil openapi >
//!    docs/openapi.json`, then `cargo test --test openapi`. A `GET` with a JSON answer gets a row in that
//!    test's table of answers that are held against their schemas.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{OpenApi, RefOr, Required, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use crate::event::facet::Facet;
use crate::history::{PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX};

use super::problem::{self, ProblemType};

/// Problems that any operation can answer, whatever it does.
const OF_EVERY_OPERATION: &[ProblemType] = &[problem::INTERNAL];

/// The groups of operations, with what they are for.
const TAGS: &[(&str, &str)] = &[
    ("events", "Append events, search them, read them with their receipts."),
    ("proofs", "RFC 6962 proofs, and the verifier as a service."),
    ("log", "The public layout of C2SP tlog-tiles: any static file server could serve it."),
    ("types", "The event types of a ledger."),
    ("keys", "API keys."),
    ("server", "Health, and this description."),
];

/// The variable elements of paths: name, JSON Schema, description.
const PATH_PARAMETERS: &[(&str, &str, &str)] = &[
    ("ledger", r#"{"type":"string"}"#, "Name of the ledger; `main` exists from the start."),
    ("index", r#"{"type":"integer","minimum":0}"#, "Position of the entry in the log, from 0."),
    ("id", r#"{"type":"string"}"#, "Identifier, as the list shows it."),
    (
        "path",
        r#"{"type":"string"}"#,
        "Level and number of a tile as C2SP tlog-tiles writes them, such as `0/x001/234` or \
         `entries/000.p/17`. It holds slashes, sent as they are.",
    ),
];

macro_rules! written_schemas {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new().into()
                }
            }

            impl ToSchema for $name {}
        )*
        /// Names of the schemas that are taken from `schemas.json`.
        #[cfg(test)]
        const WRITTEN: &[&str] = &[$(stringify!($name)),*];
    };
}

written_schemas! {
    /// What a producer may send: `CloudEvents` or the flat form.
    Event;
    /// Several of them.
    Events;
    /// A receipt, brief or full.
    Receipt;
    /// The receipt of one event, or of a batch the receipts or, per item, the problem.
    ReceiptOrReceipts;
    /// An event as a reader gets it.
    OpenedEvent;
    /// A page of history.
    HistoryPage;
    /// An inclusion proof between its roots.
    InclusionProof;
    /// A consistency proof between its roots.
    ConsistencyProof;
    /// What `verify` takes.
    VerifiableDocument;
    /// What a verifier says.
    VerdictReport;
    /// A type to be registered.
    TypeDefinition;
    /// What became of it.
    TypeRegistered;
    /// The types of a ledger.
    TypeList;
    /// A key as administrators see it.
    KeyView;
    /// All keys.
    KeyList;
    /// A new key with its text.
    KeyMade;
}

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident)*;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                    [$(problem::$kind),*].into_iter().map(problem_response).collect()
                }
            }
        )*
    };
}

problem_sets! {
    /// Of every call that needs a key.
    Keyed: UNAUTHENTICATED FORBIDDEN BAD_PARAMETER;
    /// Of every call with a key that names a ledger.
    InLedger: WRONG_LEDGER NOT_FOUND;
    /// Of a path element that leads nowhere.
    Missing: BAD_PARAMETER NOT_FOUND;
    /// Of a body that is read with a limit.
    Body: MALFORMED_JSON BAD_COMPRESSION BODY_TOO_LARGE UNSUPPORTED_MEDIA_TYPE;
    /// Of a ledger that writes.
    Writing: STOPPED DISK_FULL OVERLOADED CLOCK_AHEAD;
    /// Of events.
    Appending: DUPLICATE_KEY NUMBER_OUT_OF_RANGE TOO_DEEP WRONG_SOURCE CONFLICT EVENT_TOO_LARGE
        RAW_TOO_LARGE TOO_MANY_EVENTS MISSING_ATTRIBUTE INVALID_ATTRIBUTE UNKNOWN_TYPE MISSING_FIELD
        WRONG_TYPE UNKNOWN_FIELD NOT_IN_VOCABULARY SCHEMA_VIOLATION TOO_MANY_PERSONS TIME_IN_FUTURE
        TIME_TOO_OLD BATCH_REFUSED;
    /// Of a search.
    Searching: BAD_CURSOR;
    /// Of a document that shall be verified.
    Verifying: BAD_DOCUMENT;
    /// Of a type's definition.
    Defining: ALREADY_REGISTERED SCHEMA_VIOLATION;
    /// Of a ledger that has stopped.
    Halted: STOPPED;
}

/// The response of one problem under a key of its own, `400 malformed-json`; [`finish`] puts those of one
/// status together.
fn problem_response(kind: ProblemType) -> (String, RefOr<utoipa::openapi::Response>) {
    let response = ResponseBuilder::new().description(kind.title).build();
    (format!("{} {}", kind.status, kind.slug), response.into())
}

fn query(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))
}

fn one_of(values: &'static [&'static str]) -> ObjectBuilder {
    text().enum_values(Some(values.iter().copied()))
}

/// `reason`: why personal parts are read.
pub(crate) struct Reason;

impl IntoParams for Reason {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Why personal parts are read. Without it responders and data protection officers get them \
             withheld; auditors always do.";
        vec![query("reason", description, text())]
    }
}

/// The conditions of a search: one parameter per facet, times, and a text.
pub(crate) struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let facets = Facet::all().filter_map(|facet| Some((facet.name()?, facet.is_person())));
        let mut all: Vec<Parameter> = facets
            .map(|(name, person)| {
                let of = if person { "identifier of a person or thing" } else { "value" };
                query(name, &format!("Only events whose `{name}` is this {of}, exactly."), text())
            })
            .collect();
        let moment = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        all.push(query("from", "Only events from this time on, RFC 3339.", moment()));
        all.push(query("to", "Only events before this time, RFC 3339.", moment()));
        let clock =
            "Which time `from`, `to` and the order mean: when it happened (default) or was recorded.";
        all.push(query("clock", clock, one_of(&["occurred", "recorded"])));
        all.push(query("q", "Only events that contain this text, after all other conditions.", text()));
        all
    }
}

/// How a list is cut into pages.
pub(crate) struct Paging;

impl IntoParams for Paging {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = format!("Events a page at most; {PAGE_EVENTS_DEFAULT} where absent.");
        let integer = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let cursor = "`next_cursor` of the page before, with the same conditions.";
        vec![
            query("order", "Newest first (default) or oldest first.", one_of(&["asc", "desc"])),
            query("limit", &limit, integer.maximum(Some(PAGE_EVENTS_MAX))),
            query("cursor", cursor, text()),
        ]
    }
}

/// The document as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&*TREE).unwrap_or_default();
    text.push('\n');
    text
});

static TREE: LazyLock<Value> = LazyLock::new(|| finish(super::api().into_openapi()));

/// The OpenAPI document of the server's API: pretty JSON, one newline at its end.
#[must_use]
pub fn document() -> &'static str {
    &DOCUMENT
}

/// The document as a tree, for the page.
pub(crate) fn tree() -> &'static Value {
    &TREE
}

/// This description as OpenAPI 3.1
///
/// The document is made from the same table of routes that the server answers from.
#[utoipa::path(get, path = "/openapi.json", operation_id = "get_openapi", tag = "server",
    responses((status = 200, description = "The document", body = Value)))]
pub(crate) async fn openapi_json() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], document())
        .into_response()
}

/// What annotations cannot say: the head, the written schemas, problems by status, path elements.
fn finish(openapi: OpenApi) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    if let Some(root) = document.as_object_mut() {
        let paths = root.remove("paths").and_then(|paths| match paths {
            Value::Object(paths) => Some(paths),
            _ => None,
        });
        let paths = paths.unwrap_or_default().into_iter().map(|(path, mut item)| {
            let path = path.replace("{*", "{");
            for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
                finish_operation(&path, operation);
            }
            (path, item)
        });
        let paths: Map<String, Value> = paths.collect();
        root.insert("paths".to_owned(), Value::Object(paths));
        root.insert("openapi".to_owned(), json!("3.1.0"));
        root.insert("info".to_owned(), info());
        root.insert("servers".to_owned(), json!([{ "url": "/", "description": "This server" }]));
        let tags = TAGS.iter().map(|(name, text)| json!({ "name": name, "description": text }));
        root.insert("tags".to_owned(), tags.collect());
        let schemas = root.get_mut("components").and_then(|components| components.get_mut("schemas"));
        let mut schemas = schemas.map(Value::take).unwrap_or_default();
        if let (Some(schemas), Value::Object(written)) = (schemas.as_object_mut(), written()) {
            schemas.extend(written);
            schemas.insert("Problem".to_owned(), problem_schema());
        }
        let scheme = json!({
            "type": "http", "scheme": "bearer", "bearerFormat": "cf_<id>_<secret>",
            "description": "An API key. Its role, ledgers and sources decide what it may do.",
        });
        let components = json!({ "schemas": schemas, "securitySchemes": { "key": scheme } });
        root.insert("components".to_owned(), components);
        let problems = problem::TYPES.iter().map(|kind| {
            json!({
                "code": kind.slug, "status": kind.status, "title": kind.title, "remedy": kind.remedy,
            })
        });
        root.insert("x-problems".to_owned(), problems.collect());
    }
    document
}

fn info() -> Value {
    json!({
        "title": "Counterfoil",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "An append-only audit ledger whose receipts anyone can check",
        "description": "Every `GET` also answers `HEAD`. An unknown, repeated or empty query parameter is \
            refused where a key is needed. Errors are problem details (RFC 9457) whose `code` is one of a \
            closed list, `x-problems`; no problem repeats a value from the request.",
        "license": { "name": "Apache-2.0 OR MIT" },
    })
}

/// The schemas of what is written by hand.
fn written() -> Value {
    serde_json::from_str(include_str!("schemas.json")).unwrap_or_default()
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = problem::TYPES.iter().map(|kind| kind.slug).collect();
    let types: Vec<String> =
        codes.iter().map(|code| format!("{}{code}", problem::TYPE_PREFIX)).collect();
    json!({
        "type": "object",
        "description": "RFC 9457 problem details. Members besides these carry numbers and places.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "enum": types },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "code": { "type": "string", "enum": codes },
            "detail": { "type": "string" },
            "errors": { "type": "array", "items": { "type": "object" } },
        },
    })
}

fn finish_operation(path: &str, operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    let told = |parameters: &[Value], name: &str| {
        parameters.iter().any(|each| each["name"] == name && each["in"] == "path")
    };
    for (name, schema, description) in PATH_PARAMETERS {
        if path.contains(&format!("{{{name}}}")) && !told(&parameters, name) {
            let schema: Value = serde_json::from_str(schema).unwrap_or_default();
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": description,
                "schema": schema,
            }));
        }
    }
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if let Some(Value::Object(responses)) = operation.remove("responses") {
        operation.insert("responses".to_owned(), Value::Object(finish_responses(responses)));
    }
}

/// Puts the problems of one status together.
fn finish_responses(responses: Map<String, Value>) -> Map<String, Value> {
    let mut finished = Map::new();
    let mut problems: BTreeMap<u16, Vec<ProblemType>> = BTreeMap::new();
    let mut add = |kind: ProblemType| {
        let same = problems.entry(kind.status).or_default();
        if !same.contains(&kind) {
            same.push(kind);
        }
    };
    for (status, response) in responses {
        match status.split_once(' ') {
            Some((_, slug)) => add(problem::by_slug(slug)),
            None => drop(finished.insert(status, response)),
        }
    }
    for kind in OF_EVERY_OPERATION {
        add(*kind);
    }
    for (status, kinds) in problems {
        finished.insert(status.to_string(), problems_of(status, &kinds));
    }
    finished
}

fn problems_of(status: u16, kinds: &[ProblemType]) -> Value {
    let lines = kinds.iter().map(|kind| format!("`{}`: {}.", kind.slug, kind.title));
    let description = lines.collect::<Vec<_>>().join(" ");
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.slug).collect();
    let schema = json!({
        "$ref": "#/components/schemas/Problem",
        "properties": { "code": { "enum": codes } },
    });
    let mut response = json!({
        "description": description,
        "content": { "application/problem+json": { "schema": schema } },
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", "The scheme, `Bearer`.", "string")),
        429 | 503 => Some(("Retry-After", "Seconds to wait before the same request again.", "integer")),
        _ => None,
    };
    if let (Some((name, text, of)), Some(members)) = (header, response.as_object_mut()) {
        let described = json!({ name: { "description": text, "schema": { "type": of } } });
        members.insert("headers".to_owned(), described);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_schema_is_in_the_file_and_every_reference_leads_somewhere() {
        let written = written();
        for name in WRITTEN {
            assert!(written[name].is_object(), "src/http/schemas.json lacks {name}");
        }
        let schemas = &tree()["components"]["schemas"];
        for rest in document().split("\"$ref\": \"").skip(1) {
            let target = rest.split('"').next().unwrap();
            let name =
                target.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{target}"));
            assert!(schemas[name].is_object(), "{target} leads nowhere");
        }
    }

    #[test]
    fn operations_are_described_whole() {
        let tags: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        let mut ids = Vec::new();
        for (path, item) in tree()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let of = format!("{method} {path}");
                for member in ["operationId", "summary", "description"] {
                    let text = operation[member].as_str().unwrap_or_default();
                    assert!(!text.is_empty(), "{of} has no {member}");
                }
                ids.push(operation["operationId"].as_str().unwrap());
                assert!(tags.contains(&operation["tags"][0].as_str().unwrap()), "{of}: its tag");
                assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{of}: one tag");
                let wanted = path.matches('{').count();
                let parameters = operation["parameters"].as_array();
                let elements = parameters.into_iter().flatten().filter(|each| each["in"] == "path");
                assert_eq!(elements.count(), wanted, "{of}: a name is not in PATH_PARAMETERS");
            }
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are unique");
    }
}
