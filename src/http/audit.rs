//! `…/audit`: the server's audit of itself.
//!
//! In scope: starting one, telling how far it is and what the last one found. Out of scope: the checks
//! ([`crate::audit::own`]). Invariant: an answer never waits for an audit.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::asked::Asked;
use super::auth::Action;
use super::off_thread;
use super::openapi::{AuditState, AuditUnderWay, InLedger, Keyed};
use super::params::Path;
use super::problem::{self, Problem};

/// See the self-audit
///
/// The audit that is under way, with its progress, and the result of the last one that ended. Needs the
/// role auditor, responder, dpo or admin.
#[utoipa::path(get, path = "/audit", operation_id = "get_audit", tag = "proofs",
    responses((status = 200, description = "Both, where there are such", body = AuditState), Keyed,
        InLedger),
    security(("key" = [])))]
pub(crate) async fn get_audit(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Oversee, &[])?;
    let running = asked.server.auditor.running(ledger.name()).map(|running| running.to_json());
    let last = off_thread(move || {
        asked.server.auditor.last(ledger.name()).map_err(|error| {
            eprintln!("counterfoil: {error}");
            Problem::new(problem::INTERNAL, "the last audit's result could not be read")
        })
    })
    .await?;
    let last = last.map(|mut last| {
        if let Some(members) = last.as_object_mut() {
            members.remove("finished_us");
        }
        last
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "running": running, "last": last })))
        .into_response())
}

/// Start a self-audit
///
/// Verifies the ledger's files with the verifier that auditors use, the index against the log in both
/// directions, and persons against their vault slots, in the background at half the speed of one core.
/// Where one is under way, that one is the answer. Needs the role auditor, responder, dpo or admin.
#[utoipa::path(post, path = "/audit", operation_id = "start_audit", tag = "proofs",
    responses((status = 202, description = "It is under way; `GET` shows its progress and its result",
        body = AuditUnderWay, headers(("Location" = String, description = "Where it is shown."))),
        Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn start_audit(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Oversee, &[])?;
    let (running, new) = asked.server.auditor.start(&ledger).map_err(|error| {
        eprintln!("counterfoil: {error}");
        Problem::new(problem::INTERNAL, "the audit could not be started")
    })?;
    let mut answer = running.to_json();
    if let Some(members) = answer.as_object_mut() {
        members.insert("new".to_owned(), Value::Bool(new));
    }
    let location = format!("/v1/ledgers/{}/audit", ledger.name());
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::ACCEPTED, headers, Json(answer)).into_response())
}
