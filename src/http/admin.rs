//! Administration and health.
//!
//! In scope: API keys, custom types, `/livez` and `/readyz`. Out of scope: making ledgers. Invariant:
//! health answers say nothing that needs a key to know.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::event::custom::{CustomError, CustomType};
use crate::event::json::{self, JsonLimits};
use crate::ledger::LedgerError;

use super::append::of_ledger;
use super::auth::{self, Action};
use super::keys::{KeyError, KeyRecord, NewKey};
use super::openapi::{
    Body as OfBody, Defining, Halted, InLedger, KeyList, KeyMade, Keyed, Missing, TypeDefinition,
    TypeList, TypeRegistered,
};
use super::params::{Params, Path};
use super::problem::{self, Problem};
use super::{Server, body, enter, off_thread};

/// Bytes of a key request or a type's definition at most.
const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

fn key_json(key: &KeyRecord) -> serde_json::Value {
    json!({
        "id": key.id, "number": key.number, "label": key.label, "role": key.role,
        "ledgers": key.ledgers, "sources": key.sources, "expires_at_s": key.expires_at_s,
        "revoked": key.revoked, "first": key.first,
    })
}

fn of_key(error: &KeyError) -> Problem {
    if matches!(error, KeyError::TooMany) {
        return Problem::new(problem::BAD_PARAMETER, error.to_string());
    }
    eprintln!("counterfoil: {error}");
    Problem::new(problem::INTERNAL, "the key records could not be read or written")
}

/// List the API keys
///
/// Every key, revoked and expired ones included, without secrets. Needs the role admin.
#[utoipa::path(get, path = "/v1/keys", operation_id = "list_keys", tag = "keys",
    responses((status = 200, description = "All keys", body = KeyList), Keyed),
    security(("key" = [])))]
pub(crate) async fn list_keys(
    State(server): State<Arc<Server>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::authorize(&server, &headers, None, Action::Administer)?;
    params.allow_only(&[])?;
    let keys: Vec<_> = server.keys.list().iter().map(|key| key_json(key)).collect();
    Ok(Json(json!({ "keys": keys })).into_response())
}

/// Make an API key
///
/// The answer carries the key's text, which is shown this once. Needs the role admin.
#[utoipa::path(post, path = "/v1/keys", operation_id = "create_key", tag = "keys",
    request_body(content((NewKey = "application/json"))),
    responses((status = 201, description = "The key", body = KeyMade), Keyed, OfBody),
    security(("key" = [])))]
pub(crate) async fn create_key(
    State(server): State<Arc<Server>>,
    params: Params,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    auth::authorize(&server, &headers, None, Action::Administer)?;
    params.allow_only(&[])?;
    let bytes = body::read(&headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let new: NewKey = serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("not a key request, at line {} column {}", error.line(), error.column());
        Problem::new(problem::BAD_PARAMETER, detail)
    })?;
    let (key, text) =
        off_thread(move || server.keys.create(new, false).map_err(|error| of_key(&error))).await?;
    let mut answer = key_json(&key);
    if let Some(members) = answer.as_object_mut() {
        members.insert("key".to_owned(), json!(*text));
    }
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// Revoke an API key
///
/// The key is refused from now on. Its record stays, because log entries name its number. Needs the role
/// admin.
#[utoipa::path(delete, path = "/v1/keys/{id}", operation_id = "revoke_key", tag = "keys",
    responses((status = 204, description = "It is revoked"), Keyed, Missing),
    security(("key" = [])))]
pub(crate) async fn revoke_key(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::authorize(&server, &headers, None, Action::Administer)?;
    params.allow_only(&[])?;
    let known = off_thread(move || server.keys.revoke(&id).map_err(|error| of_key(&error))).await?;
    if known {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(problem::NOT_FOUND, "there is no key of this id"))
    }
}

/// List the event types
///
/// The catalogue's types and those registered on this ledger, each with the JSON Schema of its `data`.
/// Needs the role producer, responder, auditor or dpo.
#[utoipa::path(get, path = "/types", operation_id = "list_types", tag = "types",
    responses((status = 200, description = "The types", body = TypeList), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn list_types(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::authorize(&server, &headers, Some(&name), Action::Verify)?;
    params.allow_only(&[])?;
    let catalogue = server.ledger(&name)?.catalogue();
    let types: Vec<_> = catalogue
        .types()
        .map(|each| json!({ "type": each.name, "schema": catalogue.json_schema(&each.name) }))
        .collect();
    Ok(Json(json!({ "catalogue": catalogue.sha256().to_string(), "types": types })).into_response())
}

/// Register an event type
///
/// A type's name starts with `x-`. Types never change: the same definition again is 200, another one of
/// the same name is 409. Needs the role admin.
#[utoipa::path(post, path = "/types", operation_id = "register_type", tag = "types",
    request_body(content((TypeDefinition = "application/json"))),
    responses((status = 201, description = "It is registered", body = TypeRegistered),
        (status = 200, description = "It was registered before", body = TypeRegistered),
        Keyed, InLedger, OfBody, Defining, Halted),
    security(("key" = [])))]
pub(crate) async fn register_type(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    params: Params,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let (_, ledger) = enter(&server, &headers, &name, Action::Administer, &params, &[])?;
    let bytes = body::read(&headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let limits = JsonLimits { bytes_max: ADMIN_BODY_BYTES_MAX, ..JsonLimits::default() };
    let value = json::parse(&bytes, &limits).map_err(|error| {
        Problem::new(problem::MALFORMED_JSON, error.to_string()).with("offset", error.offset)
    })?;
    let custom = CustomType::from_value(&value)
        .map_err(|error| Problem::new(problem::SCHEMA_VIOLATION, error.to_string()))?;
    let created = off_thread(move || {
        ledger.register_type(custom).map_err(|error| match error {
            LedgerError::Type(CustomError::NameTaken) => {
                Problem::new(problem::ALREADY_REGISTERED, error.to_string())
            }
            LedgerError::Type(_) => Problem::new(problem::SCHEMA_VIOLATION, error.to_string()),
            other => of_ledger(&other),
        })
    })
    .await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "registered": true, "new": created }))).into_response())
}

/// Whether the process answers
///
/// For a supervisor that restarts what does not answer. Needs no key and looks at nothing.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "server",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether every ledger takes events
///
/// For a load balancer. 503 where a write has failed and the process must be restarted. Needs no key.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "server",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain"), Halted))]
pub(crate) async fn readyz(State(server): State<Arc<Server>>) -> Response {
    if server.ledgers.all().values().all(|ledger| ledger.is_running()) {
        return "ok\n".into_response();
    }
    Problem::new(problem::STOPPED, "a ledger has stopped after a failed write").into_response()
}
