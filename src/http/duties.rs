//! `…/retention` and `…/holds`: how long parts are kept, and what must not go.
//!
//! In scope: their requests and their JSON. Out of scope: what the ledger decides ([`crate::ledger`]).
//! Invariants: the identifiers of a hold's persons are taken and never given back; an answer shows what the
//! log says even where the words beside it are lost.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::event::facet::Namespace;
use crate::event::json::Value;
use crate::event::parts::PersonRef;
use crate::event::time;
use crate::ledger::{By, DutyError, Hold, HoldId, InForce, Ledger, NewHold, Words};
use crate::prove::receipt::recorded_at;

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::Action;
use super::keys::KeyRecord;
use super::openapi::{
    Body as OfBody, Halted, Holding, InLedger, Keyed, RetentionRules, RetentionState, Ruling,
};
use super::params::{Path, bad};
use super::problem::{self, Problem};
use super::{ADMIN_BODY_BYTES_MAX, body, off_thread, read_object, read_value};

fn by(key: &KeyRecord) -> By<'_> {
    By { number: key.number, label: &key.label }
}

fn of_duty(error: &DutyError) -> Problem {
    let detail = error.to_string();
    match error {
        DutyError::Table(table) => {
            let place = json!([{ "pointer": table.pointer, "message": table.what }]);
            Problem::new(problem::BAD_RETENTION, detail).with("errors", place)
        }
        DutyError::Hold { field, what } => bad(field, what),
        DutyError::TooLong { .. } => Problem::new(problem::BODY_TOO_LARGE, detail),
        DutyError::NoSuchHold => Problem::new(problem::NOT_FOUND, detail),
        DutyError::Released { .. } => Problem::new(problem::HOLD_RELEASED, detail),
        DutyError::TooMany { .. } => Problem::new(problem::TOO_MANY_HOLDS, detail),
        DutyError::Ledger(error) => of_ledger(error),
    }
}

fn no_store(status: StatusCode, answer: impl Serialize) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

fn retention_json(ledger: &Ledger, set: Option<&InForce>) -> serde_json::Value {
    let pass = ledger.retention_pass().map(|pass| {
        json!({ "at": recorded_at(pass.at_us), "pruned": pass.pruned, "held": pass.held,
            "failure": pass.failure })
    });
    json!({
        "index": set.map(|set| set.index),
        "set_at": set.map(|set| recorded_at(set.at_us)),
        "rules": set.map_or(&Value::Array(Vec::new()), |set| set.table.to_value()),
        "last_pass": pass,
    })
}

/// See the retention table
///
/// The rules in force, the settings entry that set them, and what the last pass of the retention job did.
/// Needs the role dpo, auditor or admin.
#[utoipa::path(get, path = "/retention", operation_id = "get_retention", tag = "retention",
    responses((status = 200, description = "The table", body = RetentionState), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn get_retention(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::SeeRules, &[])?;
    Ok(no_store(StatusCode::OK, retention_json(&ledger, ledger.retention().as_deref())))
}

/// Set the retention table
///
/// Puts the rules in force in place of all before; an empty array keeps everything. The same rules again
/// change nothing. What is due then is pruned by the next pass of the retention job: look at
/// `…/reports/retention-due` right after. Needs the role admin.
#[utoipa::path(put, path = "/retention", operation_id = "set_retention", tag = "retention",
    request_body(content((RetentionRules = "application/json"))),
    responses((status = 200, description = "The table in force", body = RetentionState), Keyed, InLedger,
        OfBody, Ruling, Halted),
    security(("key" = [])))]
pub(crate) async fn set_retention(
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Administer, &[])?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let value = read_value(&bytes)?;
    let members = value.as_object().filter(|members| members.iter().all(|(name, _)| name == "rules"));
    let rules = members.and_then(|members| members.get("rules")).cloned().ok_or_else(|| {
        Problem::new(problem::BAD_RETENTION, "a table is an object with the member `rules` alone")
    })?;
    let answer = off_thread(move || {
        let set = ledger.set_retention(&rules).map_err(|error| of_duty(&error))?;
        Ok(retention_json(&ledger, Some(&set)))
    })
    .await?;
    Ok(no_store(StatusCode::OK, answer))
}

/// A person to be held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldPerson {
    /// `subject`, `actor`, `account`, `number` or `resource`.
    namespace: String,
    /// The identifier. It is not kept.
    id: String,
}

/// A hold to be placed. What is given must hold together, and at least one of `persons`, `request`, `from`
/// and `to` must be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    /// Any of these persons; the ledger need not know them yet. At most 500.
    #[serde(default)]
    persons: Option<Vec<HeldPerson>>,
    /// Events that belong to this request.
    #[serde(default)]
    request: Option<String>,
    /// Events recorded from this time on, RFC 3339.
    #[serde(default)]
    from: Option<String>,
    /// Events recorded before this time, RFC 3339.
    #[serde(default)]
    to: Option<String>,
    /// Why.
    reason: String,
    /// Where the case is kept.
    #[serde(default)]
    reference: Option<String>,
}

/// How a hold is released.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRelease {
    /// Why.
    reason: String,
}

/// A hold. `label`, `reason` and `reference` are null where the file that has them is lost; the hold stands
/// without it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldView {
    id: String,
    /// `active` or `released`.
    state: &'static str,
    /// Index of its settings entry.
    index: u64,
    /// When that was recorded.
    placed_at: String,
    /// Number of the API key that placed it.
    by: u32,
    /// What that key was called.
    label: Option<String>,
    reason: Option<String>,
    reference: Option<String>,
    /// How many persons it names. Who they are is not kept.
    persons: usize,
    /// Whether it names a request. Which one is not kept.
    request: bool,
    /// First moment on the recorded clock.
    from: Option<String>,
    /// First moment after it.
    to: Option<String>,
    /// Its end.
    released: Option<ReleaseView>,
}

/// The end of a hold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReleaseView {
    /// Index of its settings entry.
    index: u64,
    /// When that was recorded.
    at: String,
    /// Number of the API key that released it.
    by: u32,
    /// What that key was called.
    label: Option<String>,
    reason: Option<String>,
}

/// Every hold of a ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldList {
    holds: Vec<HoldView>,
}

fn view(ledger: &Ledger, hold: &Hold) -> Result<HoldView, Problem> {
    let (placed, ended) = ledger.words_of(hold).map_err(|error| of_ledger(&error))?;
    let of = |words: &Option<Words>, text: fn(&Words) -> Option<String>| words.as_ref().and_then(text);
    let label = |words: &Words| Some(words.label.clone());
    let reason = |words: &Words| Some(words.reason.clone());
    let released = hold.released.map(|released| ReleaseView {
        index: released.index,
        at: recorded_at(released.at_us),
        by: released.by,
        label: of(&ended, label),
        reason: of(&ended, reason),
    });
    Ok(HoldView {
        id: hold.id.to_string(),
        state: if hold.released.is_some() { "released" } else { "active" },
        index: hold.index,
        placed_at: recorded_at(hold.at_us),
        by: hold.by,
        label: of(&placed, label),
        reason: of(&placed, reason),
        reference: of(&placed, |words| words.reference.clone()),
        persons: hold.persons.len(),
        request: hold.request.is_some(),
        from: hold.from_us.map(recorded_at),
        to: hold.to_us.map(recorded_at),
        released,
    })
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = time::unix_us(text).and_then(|at| u64::try_from(at).ok());
    parsed
        .map(Some)
        .ok_or_else(|| bad(name, "must be an RFC 3339 time from 1970 on, such as 2026-01-31T00:00:00Z"))
}

fn new_hold(request: HoldRequest) -> Result<NewHold, Problem> {
    let person = |person: HeldPerson| match Namespace::from_name(&person.namespace) {
        Some(namespace) if !person.id.is_empty() => Ok(PersonRef { namespace, id: person.id }),
        Some(_) => Err(bad("persons", "must each have an id")),
        None => {
            Err(bad("persons", "must have the namespace subject, actor, account, number or resource"))
        }
    };
    let persons = request.persons.unwrap_or_default().into_iter().map(person);
    Ok(NewHold {
        persons: persons.collect::<Result<_, _>>()?,
        request: request.request,
        from_us: moment("from", request.from.as_deref())?,
        to_us: moment("to", request.to.as_deref())?,
        reason: request.reason,
        reference: request.reference,
    })
}

/// List the holds
///
/// All of them, in the order in which they were placed, the released ones included. Needs the role dpo
/// or auditor.
#[utoipa::path(get, path = "/holds", operation_id = "list_holds", tag = "retention",
    responses((status = 200, description = "The holds", body = HoldList), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn list_holds(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Report, &[])?;
    let holds = off_thread(move || {
        let holds = ledger.holds();
        let views: Result<Vec<_>, _> = holds.iter().map(|hold| view(&ledger, hold)).collect();
        Ok(HoldList { holds: views? })
    })
    .await?;
    Ok(no_store(StatusCode::OK, holds))
}

/// Place a legal hold
///
/// From the answer on nothing that it holds is pruned or erased, until it is released. An event meets it
/// when it names one of the persons, belongs to the request and was recorded in the time, as far as these
/// are given; all parts of such an event stay. The log keeps no words and no names: a commitment to the
/// reason stands in it, and persons as blinded keys. Needs the role dpo.
#[utoipa::path(post, path = "/holds", operation_id = "place_hold", tag = "retention",
    request_body(content((HoldRequest = "application/json"))),
    responses((status = 201, description = "The hold", body = HoldView), Keyed, InLedger, OfBody, Holding,
        Halted),
    security(("key" = [])))]
pub(crate) async fn place_hold(
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Protect, &[])?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let new = new_hold(read_object(&bytes, "a hold")?)?;
    let placed = off_thread(move || {
        let hold = ledger.place_hold(&new, by(&key)).map_err(|error| of_duty(&error))?;
        view(&ledger, &hold)
    })
    .await?;
    Ok(no_store(StatusCode::CREATED, placed))
}

/// Release a legal hold
///
/// From the answer on it stops nothing any more; it stays in the list. Needs the role dpo.
#[utoipa::path(post, path = "/holds/{id}/release", operation_id = "release_hold", tag = "retention",
    request_body(content((HoldRelease = "application/json"))),
    responses((status = 200, description = "The hold", body = HoldView), Keyed, InLedger, OfBody, Holding,
        Halted),
    security(("key" = [])))]
pub(crate) async fn release_hold(
    asked: Asked,
    Path((name, id)): Path<(String, String)>,
    request: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Protect, &[])?;
    let id = HoldId::parse(&id).ok_or_else(|| of_duty(&DutyError::NoSuchHold))?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let HoldRelease { reason } = read_object(&bytes, "a release")?;
    let released = off_thread(move || {
        let released = ledger.release_hold(id, &reason, by(&key));
        let hold: Arc<Hold> = released.map_err(|error| of_duty(&error))?;
        view(&ledger, &hold)
    })
    .await?;
    Ok(no_store(StatusCode::OK, released))
}
