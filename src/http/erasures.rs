//! `…/erasures`: forgetting a person, and the certificate that it was done.
//!
//! In scope: reading the request, the ledgers it reaches, showing certificates. Out of scope: destroying
//! ([`crate::ledger`]). Invariants: no answer repeats an identifier; an erasure that is refused in one ledger
//! is begun in none.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::facet::Namespace;
use crate::event::parts::PersonRef;
use crate::ledger::{Asker, EraseError, EraseRequest, ErasureId, Ledger, REASON_BYTES_MAX};

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::{self, Action};
use super::openapi::{
    Body as OfBody, Erasing, ErasureCertificate, ErasureList, ErasureTaken, InLedger, Keyed, Missing,
    NewErasure, Writing,
};
use super::params::{Path, bad};
use super::problem::{self, Problem};
use super::{ADMIN_BODY_BYTES_MAX, Server, body, off_thread, read_object};

/// Longest identifier in a request, in characters: that of an event's.
const ID_CHARACTERS_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIsAsked {
    persons: Vec<RequestedPerson>,
    reason: String,
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    now: bool,
    #[serde(default)]
    ledgers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedPerson {
    namespace: String,
    id: String,
}

impl WhatIsAsked {
    fn persons(&self) -> Result<Vec<PersonRef>, Problem> {
        if self.persons.is_empty() {
            return Err(bad("persons", "must name somebody"));
        }
        let persons = self.persons.iter().map(|person| {
            let namespace = Namespace::from_name(&person.namespace).ok_or_else(|| {
                bad("persons", "have a `namespace` of subject, actor, account, number or resource")
            })?;
            let is_good = (1..=ID_CHARACTERS_MAX).contains(&person.id.chars().count());
            let id = is_good.then(|| person.id.clone());
            let id = id.ok_or_else(|| bad("persons", "have an `id` of 1 to 256 characters"))?;
            Ok(PersonRef { namespace, id })
        });
        persons.collect()
    }

    fn check(&self) -> Result<(), Problem> {
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            return Err(bad("reason", "must be 1 to 1,024 bytes, and name nobody"));
        }
        if self.request.as_ref().is_some_and(|id| id.is_empty() || id.len() > REASON_BYTES_MAX) {
            return Err(bad("request", "must be 1 to 1,024 bytes"));
        }
        Ok(())
    }
}

/// Erase persons
///
/// From the answer on nothing of them is opened; at the next shred, within a minute unless set otherwise,
/// their data is destroyed, in this ledger and in every other that this key is good for (or in those that
/// `ledgers` names, this one besides). Identifiers that occur with them and are persons of their own are to
/// be named too where they shall be erased. `now` asks for the shred at once. Needs the role dpo.
#[utoipa::path(post, path = "/erasures", operation_id = "erase_persons", tag = "erasures",
    request_body(content((NewErasure = "application/json"))),
    responses((status = 202, description = "It stands in the log; the certificate shows how far it is",
        body = ErasureTaken, headers(("Location" = String, description = "The certificate."))),
        Keyed, InLedger, OfBody, Erasing, Writing),
    security(("key" = [])))]
pub(crate) async fn erase(
    asked: Asked,
    Path(name): Path<String>,
    request: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Erase, &[])?;
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let request: WhatIsAsked = read_object(&bytes, "an erasure")?;
    request.check()?;
    let persons = request.persons()?;
    let ledgers = reached(&asked.server, &key, &ledger, request.ledgers.as_deref())?;
    let by = Asker { key: key.number, label: key.label.clone() };
    let now = request.now;
    let new = EraseRequest {
        id: ErasureId::random()
            .map_err(|_| Problem::new(problem::INTERNAL, "there is no randomness"))?,
        persons,
        reason: request.reason,
        request: request.request,
        by,
        also: Vec::new(),
    };
    let id = new.id;
    let taken = off_thread(move || take(&ledgers, &new, now)).await?;
    let location = format!("/v1/ledgers/{name}/erasures/{id}/certificate");
    let answer = json!({ "id": id.to_string(), "state": "pending", "ledgers": taken });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// The ledgers that an erasure reaches: the one it was asked of, then the others.
fn reached(
    server: &Server,
    key: &super::keys::KeyRecord,
    first: &Arc<Ledger>,
    named: Option<&[String]>,
) -> Result<Vec<Arc<Ledger>>, Problem> {
    let mut ledgers = vec![Arc::clone(first)];
    match named {
        None => {
            let others = server.ledgers.all();
            let others = others
                .values()
                .filter(|ledger| ledger.name() != first.name() && auth::is_good_for(key, ledger.name()));
            ledgers.extend(others.cloned());
        }
        Some(listed) => {
            for name in listed.iter().filter(|name| *name != first.name()) {
                if !auth::is_good_for(key, name) {
                    return Err(Problem::new(
                        problem::WRONG_LEDGER,
                        "this key was made for other ledgers",
                    ));
                }
                ledgers.push(server.ledger(name)?);
            }
        }
    }
    Ok(ledgers)
}

/// Begins an erasure in every ledger that knows one of the persons.
fn take(ledgers: &[Arc<Ledger>], new: &EraseRequest, now: bool) -> Result<Vec<Value>, Problem> {
    let mut knowing = Vec::new();
    for ledger in ledgers {
        if ledger.knows_any(&new.persons).map_err(|error| of_ledger(&error))? {
            knowing.push(ledger);
        }
    }
    if knowing.is_empty() {
        return Err(Problem::new(
            problem::PERSON_UNKNOWN,
            "none of the persons is known to a ledger that this request reaches",
        ));
    }
    for ledger in &knowing {
        ledger.refuse_if_held(new).map_err(|error| of_erasure(&error))?;
    }
    let mut taken = Vec::new();
    for ledger in &knowing {
        let also = knowing.iter().filter(|other| other.name() != ledger.name());
        let also = also.map(|other| other.name().to_owned()).collect();
        let erased = match ledger.erase(&EraseRequest { also, ..new.clone() }) {
            Ok(erased) => erased,
            // Erased by somebody else in between.
            Err(EraseError::NobodyKnown) => continue,
            Err(error) => return Err(of_erasure(&error)),
        };
        if now {
            ledger.shred_now();
        }
        taken.push(json!({
            "ledger": ledger.name(),
            "entry": erased.entry,
            "persons": erased.persons,
            "unknown": erased.unknown,
        }));
    }
    Ok(taken)
}

fn of_erasure(error: &EraseError) -> Problem {
    match error {
        EraseError::NobodyKnown => Problem::new(problem::PERSON_UNKNOWN, error.to_string()),
        EraseError::Held { holds, refusal } => {
            let ids: Vec<String> = holds.iter().map(ToString::to_string).collect();
            Problem::new(problem::HELD, error.to_string()).with("holds", ids).with("refusal", *refusal)
        }
        EraseError::TooMany { .. } => bad("persons", "are at most 1,000 in one request"),
        EraseError::Ledger(error) => of_ledger(error),
    }
}

/// List the erasures
///
/// Ids, how far each is, and how many of its identifiers the ledger has met again since. Needs the role dpo
/// or auditor.
#[utoipa::path(get, path = "/erasures", operation_id = "list_erasures", tag = "erasures",
    responses((status = 200, description = "All of them", body = ErasureList), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn list_erasures(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Attest, &[])?;
    let list = off_thread(move || {
        let ids = ledger.erasures().map_err(|error| of_ledger(&error))?;
        let mut list = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(certificate) = ledger.certificate(id).map_err(|error| of_ledger(&error))? else {
                continue;
            };
            let returned = ledger.returned(id).map_err(|error| of_ledger(&error))?;
            list.push(json!({
                "id": id.to_string(),
                "state": certificate.state.as_str(),
                "asked_at": certificate.asked.at,
                "request": certificate.asked.request,
                "persons": certificate.destroyed.persons,
                "returned": returned,
            }));
        }
        Ok(list)
    })
    .await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "erasures": list }))).into_response())
}

/// Get the certificate of an erasure
///
/// `state` is `pending` until the data is destroyed, then `complete`, and it is signed. `verify` accepts it
/// offline. `Accept: text/html` asks for a page to print. Needs the role dpo or auditor.
#[utoipa::path(get, path = "/erasures/{id}/certificate", operation_id = "get_erasure_certificate",
    tag = "erasures",
    responses((status = 200, description = "The certificate",
        content((ErasureCertificate = "application/json"), (String = "text/html"))), Keyed, InLedger,
        Missing),
    security(("key" = [])))]
pub(crate) async fn certificate(
    asked: Asked,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Attest, &[])?;
    let missing = || Problem::new(problem::NOT_FOUND, "there is no erasure of this id here");
    let id: ErasureId = id.parse().map_err(|_| missing())?;
    let found = off_thread(move || ledger.certificate(id).map_err(|error| of_ledger(&error))).await?;
    let certificate = found.ok_or_else(missing)?;
    let (kind, text) = if wants_page(&asked.headers) {
        ("text/html; charset=utf-8", certificate.to_html().into_bytes())
    } else {
        ("application/json", certificate.to_json())
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], text).into_response())
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.trim_start().starts_with("text/html"))
}
