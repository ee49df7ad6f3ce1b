//! Event types.
//!
//! In scope: the catalogue and custom types. Out of scope: keys and ledgers
//! ([`super::manage_keys`], [`super::manage_ledgers`]). Invariant: a registered type never changes.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::event::custom::{CustomError, CustomType};
use crate::ledger::LedgerError;

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::Action;
use super::openapi::{
    Body as OfBody, Defining, Halted, InLedger, Keyed, TypeDefinition, TypeList, TypeRegistered,
};
use super::params::Path;
use super::problem::{self, Problem};
use super::{ADMIN_BODY_BYTES_MAX, body, off_thread, read_value};

/// List the event types
///
/// The catalogue's types and those registered on this ledger, each with the JSON Schema of its `data`.
/// Needs the role producer, responder, auditor or dpo.
#[utoipa::path(get, path = "/types", operation_id = "list_types", tag = "types",
    responses((status = 200, description = "The types", body = TypeList), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn list_types(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Verify, &[])?;
    let catalogue = ledger.catalogue();
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
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Administer, &[])?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let value = read_value(&bytes)?;
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
