//! The `OpenAPI` 3.1 document: put together from the handlers' annotations, and served.
//!
//! In scope: the document as a whole and `GET /openapi.json`. Out of scope: the words that annotations
//! share ([`super::openapi`]) and the page for people ([`super::docs_page`]). Invariant: the document is
//! made from the table of routes that the server answers from; `docs/openapi.json` is a copy of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::openapi::{OF_EVERY_OPERATION, PATH_PARAMETERS, TAGS};
use super::problem::{self, ProblemType};

/// The document as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&*TREE).unwrap_or_default();
    text.push('\n');
    text
});

static TREE: LazyLock<Value> = LazyLock::new(|| finish(super::api().into_openapi()));

/// The `OpenAPI` document of the server's API: pretty JSON, one newline at its end.
#[must_use]
pub fn document() -> &'static str {
    &DOCUMENT
}

/// The document as a tree, for the page.
pub(crate) fn tree() -> &'static Value {
    &TREE
}

/// Method and path of every operation, in upper case and as the document writes them.
pub(crate) fn operations() -> Vec<(String, String)> {
    let paths = TREE.get("paths").and_then(Value::as_object).into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flat_map(Map::keys);
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// This description as `OpenAPI` 3.1
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

/// Operations that take a request without a body: all defaults, or no bytes at all. An annotation could say
/// so only together with a `null` that the server refuses.
const BODY_OPTIONAL: [&str; 3] = ["add_bytes", "change_key", "rotate_key"];

fn finish_operation(path: &str, operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let optional = operation.get("operationId").and_then(Value::as_str);
    if optional.is_some_and(|id| BODY_OPTIONAL.contains(&id))
        && let Some(body) = operation.get_mut("requestBody").and_then(Value::as_object_mut)
    {
        body.insert("required".to_owned(), json!(false));
    }
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    let told = |parameters: &[Value], name: &str| {
        parameters.iter().any(|each| {
            each.get("name").is_some_and(|told| told == name)
                && each.get("in").is_some_and(|place| place == "path")
        })
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
        let mut response = problems_of(status, &kinds);
        if let Some(mut other) = finished.remove(&status.to_string()) {
            join(&mut response, &mut other);
        }
        finished.insert(status.to_string(), response);
    }
    finished
}

/// Adds what an annotation says of a status that is a problem's too.
fn join(response: &mut Value, other: &mut Value) {
    let text = |value: &Value| value.get("description").and_then(Value::as_str).map(str::to_owned);
    let description = [text(other), text(response)].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let more = other.get_mut("content").map(Value::take);
    let content = response.get_mut("content").and_then(Value::as_object_mut);
    if let (Some(content), Some(Value::Object(more))) = (content, more) {
        content.extend(more);
    }
    if let Some(members) = response.as_object_mut() {
        members.insert("description".to_owned(), json!(description));
    }
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
    use super::super::openapi::WRITTEN;
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
