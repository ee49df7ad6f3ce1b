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

/// `GET /v1/keys`
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

/// `POST /v1/keys`
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

/// `DELETE /v1/keys/{id}`
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

/// `GET /v1/ledgers/{ledger}/types`
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

/// `POST /v1/ledgers/{ledger}/types`
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

/// `GET /livez`: the process answers.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: every ledger takes events.
pub(crate) async fn readyz(State(server): State<Arc<Server>>) -> Response {
    if server.ledgers.all().values().all(|ledger| ledger.is_running()) {
        return "ok\n".into_response();
    }
    Problem::new(problem::STOPPED, "a ledger has stopped after a failed write").into_response()
}
