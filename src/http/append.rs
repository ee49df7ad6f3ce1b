//! `POST …/events`: the way in.
//!
//! In scope: input forms, the atomic switch, how much a receipt says, and the answer's shape. Out of
//! scope: everything the ledger decides. Invariant: 201 or a receipt is sent only for what is
//! durable.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;

use crate::event::limits::REQUEST_BYTES_MAX;
use crate::ledger::{AppendError, Appended, Ledger, LedgerError};
use crate::log::hash::LogIndex;
use crate::log::proof::TlogProof;
use crate::prove::receipt::{FullReceipt, ReceiptHead};

use super::asked::Asked;
use super::auth::{self, Action};
use super::body::{self, Events};
use super::keys::KeyRecord;
use super::openapi::{
    Appending, Body as OfBody, Event, Events as EventList, InLedger, Keyed, ReceiptOrReceipts, Writing,
};
use super::params::Path;
use super::problem::{self, Problem};
use super::{Server, off_thread};

/// Media type of a C2SP proof file.
pub(crate) const TLOG_PROOF: &str = "text/x.tlog-proof";

/// Append events
///
/// One event or many, answered once they are durable. The same event again is answered with its first
/// receipt; other content under the same `source` and `id` is 409. The binary mode of `CloudEvents` is
/// accepted too: attributes in `ce-` headers, any content type. Needs the role producer.
#[utoipa::path(post, path = "/events", operation_id = "append_events", tag = "events",
    params(("atomic" = Option<bool>, Query, description = "`false`: store what can be stored of a batch, \
        and answer per event. `true` (default): all or nothing."),
        ("Prefer" = Option<String>, Header, description = "`receipt=full` (default for one event) or \
        `receipt=brief` (default for many).")),
    request_body(content((Event = "application/json"), (Event = "application/cloudevents+json"),
        (EventList = "application/cloudevents-batch+json"), (String = "application/x-ndjson"))),
    responses((status = 201, description = "Something was appended. Many events are answered with \
            `Receipts`.", headers(("Location" = String, description = "One event: where it is.")),
            content((ReceiptOrReceipts = "application/json"), (String = "text/x.tlog-proof"))),
        (status = 200, description = "Everything was here before", content(
            (ReceiptOrReceipts = "application/json"), (String = "text/x.tlog-proof"))),
        Keyed, InLedger, OfBody, Appending, Writing),
    security(("key" = [])))]
pub(crate) async fn post_events(
    asked: Asked,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Append, &["atomic"])?;
    let atomic = asked.params.boolean("atomic")?.unwrap_or(true);
    let bytes = body::read(&asked.headers, body, REQUEST_BYTES_MAX).await?;
    if bytes.len() <= INLINE_BYTES_MAX {
        return append(&asked.server, &ledger, &key, atomic, &asked.headers, &bytes).await;
    }
    let runtime = Handle::current();
    off_thread(move || {
        runtime.block_on(append(&asked.server, &ledger, &key, atomic, &asked.headers, &bytes))
    })
    .await
}

/// Bodies up to this many bytes are parsed and sealed on the async thread, where one event costs
/// about 30 µs; larger ones go to a thread that may be kept busy.
pub(crate) const INLINE_BYTES_MAX: usize = 64 * 1024;

async fn append(
    server: &Server,
    ledger: &Ledger,
    key: &KeyRecord,
    atomic: bool,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Response, Problem> {
    let (events, single) = match body::events(headers, bytes)? {
        Events::One(event) => (vec![*event], true),
        Events::Many(events) => (events, false),
    };
    server.front.limits.events(key.number, events.len())?;
    let as_proof = single && accepts(headers, TLOG_PROOF);
    let full = receipt_is_full(headers, single) || as_proof;
    let events = events
        .into_iter()
        .map(|event| match event {
            Ok(event) if !auth::may_append_for(key, &event.source) => Err(Refusal::Source),
            Ok(event) => Ok(event),
            Err(error) => Err(Refusal::Event(error)),
        })
        .collect::<Vec<_>>();
    if let Some(problem) = refused_source(&events, single || atomic) {
        return Err(problem);
    }
    let sources: Vec<bool> = events.iter().map(|event| matches!(event, Err(Refusal::Source))).collect();
    let events = events
        .into_iter()
        .map(|event| match event {
            Ok(event) => Ok(event),
            Err(Refusal::Event(error)) => Err(AppendError::Event(error)),
            Err(Refusal::Source) => Err(AppendError::BatchRefused),
        })
        .collect();
    let answers = ledger.append(events, key.number, atomic, full).await;
    if single {
        return one(ledger, answers, full, as_proof);
    }
    Ok(many(ledger, answers, &sources, atomic, full))
}

/// Why an item goes no further than this module.
enum Refusal {
    Event(crate::event::error::EventError),
    Source,
}

fn refused_source(
    events: &[Result<crate::event::envelope::Event, Refusal>],
    whole: bool,
) -> Option<Problem> {
    let at = events.iter().position(|event| matches!(event, Err(Refusal::Source)))?;
    whole.then(|| wrong_source().with("item", at))
}

fn wrong_source() -> Problem {
    Problem::new(problem::WRONG_SOURCE, "this key may not append events of this source")
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|each| each.split(';').next().is_some_and(|t| t.trim() == media_type))
    })
}

/// `Prefer: receipt=full|brief`; one event gets a full receipt and many get brief ones by default.
fn receipt_is_full(headers: &HeaderMap, single: bool) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut full = single;
    for preference in preferences.flat_map(|value| value.split([',', ';'])) {
        match preference.trim() {
            "receipt=full" => full = true,
            "receipt=brief" => full = false,
            _ => {}
        }
    }
    full
}

fn one(
    ledger: &Ledger,
    mut answers: Vec<Result<Appended, AppendError>>,
    full: bool,
    as_proof: bool,
) -> Result<Response, Problem> {
    let appended = match answers.pop() {
        Some(Ok(appended)) => appended,
        Some(Err(error)) => return Err(of_append(&error)),
        None => return Err(Problem::new(problem::INTERNAL, "the ledger gave no answer")),
    };
    let status = if appended.replayed.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/v1/ledgers/{}/events/{}", ledger.name(), appended.index);
    let replayed = appended.replayed.is_some();
    let (body, content_type) = if as_proof {
        (tlog_proof(&appended)?.into_bytes(), TLOG_PROOF)
    } else {
        let mut bytes = Vec::with_capacity(4096);
        write_receipt(ledger, appended, full, &mut bytes);
        (bytes, "application/json")
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn many(
    ledger: &Ledger,
    answers: Vec<Result<Appended, AppendError>>,
    sources: &[bool],
    atomic: bool,
    full: bool,
) -> Response {
    if atomic && answers.iter().any(Result::is_err) {
        return refused_batch(&answers).into_response();
    }
    if let Some(problem) = failed_whole(&answers) {
        return problem.into_response();
    }
    let mut created = false;
    let mut bytes = b"{\"receipts\":[".to_vec();
    for (at, (answer, wrong_source_here)) in answers.into_iter().zip(sources).enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        match answer {
            Ok(appended) => {
                created |= appended.replayed.is_none();
                write_receipt(ledger, appended, full, &mut bytes);
            }
            Err(_) if *wrong_source_here => push_problem(&wrong_source(), at, &mut bytes),
            Err(error) => push_problem(&of_append(&error), at, &mut bytes),
        }
    }
    bytes.extend_from_slice(b"]}");
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// The server's own failure, where it is what became of every item: then the request as a whole is to
/// be sent again.
fn failed_whole(answers: &[Result<Appended, AppendError>]) -> Option<Problem> {
    let problems = answers.iter().map(|answer| answer.as_ref().err().map(of_append));
    let mut first = None;
    for problem in problems {
        let problem = problem.filter(|problem| problem.kind().status >= 500)?;
        first.get_or_insert(problem);
    }
    first
}

fn push_problem(problem: &Problem, item: usize, out: &mut Vec<u8>) {
    let object = problem.clone().with("item", item).to_json();
    out.extend_from_slice(serde_json::json!({ "error": object }).to_string().as_bytes());
}

/// The problem of an atomic batch: the first refusal's kind, and each refused item's place.
fn refused_batch(answers: &[Result<Appended, AppendError>]) -> Problem {
    let mut first = None;
    let mut errors = Vec::new();
    for (item, answer) in answers.iter().enumerate() {
        let Err(error) = answer else { continue };
        if matches!(error, AppendError::BatchRefused) {
            continue;
        }
        let problem = of_append(error);
        let object = problem.clone().with("item", item).to_json();
        if errors.len() < 100 {
            errors.push(object);
        }
        first.get_or_insert(problem);
    }
    match first {
        Some(problem) => {
            Problem::new(problem.kind(), format!("nothing was stored: {}", problem.detail()))
                .with("errors", errors)
        }
        None => Problem::new(problem::BATCH_REFUSED, "nothing was stored"),
    }
}

/// Writes a receipt as JSON.
pub(crate) fn write_receipt(ledger: &Ledger, appended: Appended, full: bool, out: &mut Vec<u8>) {
    let Appended { index, id, entry, leaf_hash, time_us, replayed, proof, openings, removed } = appended;
    let head = ReceiptHead {
        ledger: ledger.name(),
        origin: ledger.origin(),
        index: LogIndex(index),
        id: &id,
        leaf_hash: &leaf_hash,
        time_us,
        replayed: replayed.is_some(),
    };
    let full = proof.filter(|_| full).map(|(checkpoint, inclusion)| FullReceipt {
        checkpoint: checkpoint.to_string(),
        inclusion,
        entry: entry.to_vec(),
        openings,
        removed,
    });
    let compared = replayed.filter(|compared| !compared.not_compared.is_empty());
    head.write_json(compared.as_ref(), full.as_ref(), out);
}

/// The C2SP proof file of an appended event.
pub(crate) fn tlog_proof(appended: &Appended) -> Result<String, Problem> {
    let (checkpoint, hashes) = appended
        .proof
        .as_ref()
        .ok_or_else(|| Problem::new(problem::INTERNAL, "the receipt has no proof"))?;
    let proof = TlogProof {
        index: LogIndex(appended.index),
        extra: None,
        hashes: hashes.clone(),
        checkpoint: checkpoint.to_string(),
    };
    Ok(proof.encode())
}

/// The problem of an event that was not appended.
pub(crate) fn of_append(error: &AppendError) -> Problem {
    let problem = Problem::new(problem::by_slug(error.code()), error.to_string());
    match error {
        AppendError::Event(error) => body::of_event(error),
        AppendError::Ledger(error) => of_ledger(error),
        AppendError::Conflict { first } => problem.with("first_index", *first),
        AppendError::TooLargeTogether { bytes_max, .. } => problem.with("limit_bytes", *bytes_max),
        _ => problem,
    }
}

/// The problem of a ledger that failed. Paths and reasons stay in the server's log.
pub(crate) fn of_ledger(error: &LedgerError) -> Problem {
    let kind = problem::by_slug(error.code());
    match kind {
        problem::STOPPED => Problem::new(kind, error.to_string()),
        problem::DISK_FULL => Problem::new(kind, "the disk has no room for it"),
        _ => {
            eprintln!("counterfoil: {error}");
            Problem::new(kind, "reading or writing the ledger failed")
        }
    }
}
