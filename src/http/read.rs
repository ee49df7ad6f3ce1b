//! Reading: history, single events, receipts and entries.
//!
//! In scope: the query parameters of history and the JSON of what is found. Out of scope: the
//! search itself ([`crate::history`]). Invariant: every answer carries the size and root it holds
//! for, and says of each part whether it was open to this reader.

use std::fmt::Write as _;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::event::facet::Facet;
use crate::event::json::{Object, Value, write_canonical};
use crate::event::time;
use crate::history::{self, Clock, Condition, Cursor, HistoryError, Order, Page, Query};
use crate::ledger::{Access, LedgerError, Opened, Snapshot, StoredEvent};
use crate::log::hash::Hash;
use crate::prove::receipt::recorded_at;

use super::append::{TLOG_PROOF, of_ledger, tlog_proof, write_receipt};
use super::asked::Asked;
use super::auth::{self, Action};
use super::front;
use super::off_thread;
use super::openapi::{
    Conditions, HistoryPage, InLedger, Keyed, OpenedEvent, Paging, RawBytes, Reason, Receipt, Searching,
    Writing,
};
use super::params::{Params, Path, bad, decimal};
use super::problem::{self, Problem};
use super::reads::Reading;

/// Parameters of history besides one per facet.
const HISTORY_PARAMETERS: [&str; 8] = ["from", "to", "clock", "order", "limit", "cursor", "q", "reason"];

/// Search events
///
/// Includes everything acknowledged before the request. All conditions must hold. Personal parts are
/// withheld without a `reason`; an answer that opens some is recorded in the ledger `reads` before it is
/// sent. Needs the role responder, auditor or dpo.
#[utoipa::path(get, path = "/events", operation_id = "search_events", tag = "events",
    params(Conditions, Paging, Reason),
    responses((status = 200, description = "A page of events", body = HistoryPage,
        headers(("ETag" = String, description = "A hash of this body."))),
        (status = 304, description = "It is still what `If-None-Match` names"), Keyed, InLedger,
        Searching, Writing),
    security(("key" = [])))]
pub(crate) async fn history(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (key, ledger) = asked.in_ledger(&name, Action::Search)?;
    let query = query(&asked.params, auth::access(&key, &name, asked.params.get("reason")))?;
    let reading = Reading::new(&key, &ledger, "search", &asked.params);
    let (body, opened) = off_thread(move || {
        let snapshot = ledger.snapshot();
        let page = history::run(&snapshot, &query).map_err(|error| of_history(&error))?;
        let mut opened = Opened::over(page.size);
        page.events.iter().for_each(|(stored, _)| opened.add(stored.index, &stored.parts));
        Ok((page_json(&page), opened))
    })
    .await?;
    reading.record(&asked.server, &opened).await?;
    let tag = front::etag(&body);
    let response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    Ok(front::with_etag(response, tag))
}

/// Reads a history query from its parameters.
pub(crate) fn query(params: &Params, access: Access) -> Result<Query, Problem> {
    let facets: Vec<&'static str> = Facet::all().filter_map(Facet::name).collect();
    let known: Vec<&str> = facets.iter().copied().chain(HISTORY_PARAMETERS).collect();
    params.allow_only(&known)?;
    let order = match params.get("order") {
        None | Some("desc") => Order::Descending,
        Some("asc") => Order::Ascending,
        Some(_) => return Err(bad("order", "must be asc or desc")),
    };
    let limit = params.number("limit")?.map_or(Ok(history::PAGE_EVENTS_DEFAULT), |limit| {
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=history::PAGE_EVENTS_MAX).contains(limit))
            .ok_or_else(|| bad("limit", "must be 1 to 1000"))
    })?;
    Ok(Query { order, limit, ..conditions(params, access)? })
}

/// Reads the conditions of a search, whatever else the parameters hold.
pub(crate) fn conditions(params: &Params, access: Access) -> Result<Query, Problem> {
    let conditions =
        Facet::all().filter_map(|facet| Some((facet, params.get(facet.name()?)?.to_owned())));
    let conditions = conditions.map(|(facet, value)| Condition { facet, value });
    let conditions = conditions.collect();
    let clock = match params.get("clock") {
        None | Some("occurred") => Clock::Occurred,
        Some("recorded") => Clock::Recorded,
        Some(_) => return Err(bad("clock", "must be occurred or recorded")),
    };
    let cursor = params.get("cursor").map(Cursor::parse).transpose();
    let cursor = cursor.map_err(|error| Problem::new(problem::BAD_CURSOR, error.to_string()))?;
    Ok(Query {
        conditions,
        from_us: moment(params, "from")?,
        to_us: moment(params, "to")?,
        clock,
        order: Order::default(),
        limit: history::PAGE_EVENTS_DEFAULT,
        text: params.get("q").map(str::to_owned),
        cursor,
        access,
    })
}

/// A moment in Unix microseconds.
pub(crate) fn moment(params: &Params, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let parsed = time::unix_us(text).and_then(|at| u64::try_from(at).ok());
    parsed
        .map(Some)
        .ok_or_else(|| bad(name, "must be an RFC 3339 time from 1970 on, such as 2026-01-31T00:00:00Z"))
}

/// The problem of a query without an answer.
pub(crate) fn of_history(error: &HistoryError) -> Problem {
    match error {
        HistoryError::Cursor(cursor) => Problem::new(problem::BAD_CURSOR, cursor.to_string()),
        HistoryError::Ledger(error) => of_ledger(error),
    }
}

fn page_json(page: &Page) -> Vec<u8> {
    let mut out = b"{\"events\":[".to_vec();
    for (at, (stored, event)) in page.events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        event_json(stored, event, &mut out);
    }
    let mut rest = String::from("],\"next_cursor\":");
    let _ = match &page.next {
        Some(cursor) => write!(rest, "\"{}\"", cursor.encode()),
        None => write!(rest, "null"),
    };
    let _ = write!(rest, ",{}", as_of_json(page.size, page.root));
    let _ = write!(rest, ",\"complete\":{}", page.next.is_none());
    if let Some(gaps) = &page.gaps {
        let _ = write!(rest, ",\"gaps\":{}", serde_json::json!(gaps));
    }
    rest.push('}');
    out.extend_from_slice(rest.as_bytes());
    out
}

/// What an answer holds for: the log at one size.
fn as_of_json(size: u64, root: Hash) -> String {
    format!("\"as_of\":{{\"size\":{size},\"root\":\"{root}\"}}")
}

/// One opened event.
pub(crate) fn event_json(stored: &StoredEvent, event: &Object, out: &mut Vec<u8>) {
    let head = format!(
        "{{\"index\":{},\"recorded_at\":\"{}\",\"leaf_hash\":\"{}\",\"event\":",
        stored.index,
        recorded_at(stored.time_us),
        stored.leaf_hash()
    );
    out.extend_from_slice(head.as_bytes());
    write_canonical(&Value::Object(event.clone()), out);
    out.extend_from_slice(b",\"parts\":[");
    for (at, part) in stored.parts.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let state = part.content.state();
        let part = format!("{comma}{{\"role\":\"{}\",\"state\":\"{state}\"}}", part.role.name());
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"]}");
}

/// An index in a path.
pub(crate) fn index(text: &str) -> Result<u64, Problem> {
    decimal(text).ok_or_else(|| bad("index", "must be a decimal number"))
}

pub(crate) fn nothing_at(index: u64, size: u64) -> Problem {
    Problem::new(problem::NOT_FOUND, format!("there is no event {index} among {size} entries"))
        .with("size", size)
}

/// Read one event
///
/// Opened as far as this reader may see it; each part's state is told. Opening personal parts needs a
/// `reason` and is recorded in the ledger `reads`. Needs the role responder, auditor or dpo.
#[utoipa::path(get, path = "/events/{index}", operation_id = "get_event", tag = "events",
    params(Reason),
    responses((status = 200, description = "The event", body = OpenedEvent,
        headers(("ETag" = String,
            description = "A hash of the event as this reader sees it, whatever was appended since."))),
        (status = 304, description = "It is still what `If-None-Match` names"), Keyed, InLedger, Writing),
    security(("key" = [])))]
pub(crate) async fn event(
    asked: Asked,
    Path((name, at)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Search, &["reason"])?;
    let at = index(&at)?;
    let access = auth::access(&key, &name, asked.params.get("reason"));
    let reading = Reading::new(&key, &ledger, "event", &asked.params);
    let (body, tag, opened) = off_thread(move || {
        let snapshot = ledger.snapshot();
        let stored = stored_event(&snapshot, at, access)?;
        let mut opened = Opened::over(snapshot.size().0);
        opened.add(at, &stored.parts);
        let mut body = Vec::new();
        event_json(&stored, &stored.merged(), &mut body);
        // What is appended later makes it no other event: the validator leaves the view out.
        let tag = front::weak_etag(&body);
        body.pop();
        let as_of = format!(",{}}}", as_of_json(snapshot.size().0, snapshot.root()));
        body.extend_from_slice(as_of.as_bytes());
        Ok((body, tag, opened))
    })
    .await?;
    reading.record(&asked.server, &opened).await?;
    let response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    Ok(front::with_etag(response, tag))
}

fn stored_event(snapshot: &Snapshot, at: u64, access: Access) -> Result<StoredEvent, Problem> {
    let found = snapshot.event(at, access).map_err(|error| of_ledger(&error))?;
    found.filter(|stored| stored.body.is_some()).ok_or_else(|| nothing_at(at, snapshot.size().0))
}

/// Get an event's receipt at the newest checkpoint
///
/// Always full; `Accept: text/x.tlog-proof` asks for the C2SP proof file instead, which opens nothing.
/// Opening personal parts needs a `reason` and is recorded in the ledger `reads`. Needs the role responder,
/// auditor or dpo.
#[utoipa::path(get, path = "/events/{index}/receipt", operation_id = "get_receipt", tag = "events",
    params(Reason),
    responses((status = 200, description = "The receipt",
        content((Receipt = "application/json"), (String = "text/x.tlog-proof"))), Keyed, InLedger, Writing),
    security(("key" = [])))]
pub(crate) async fn receipt(
    asked: Asked,
    Path((name, at)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (key, ledger) = asked.enter(&name, Action::Search, &["reason"])?;
    let at = index(&at)?;
    let access = auth::access(&key, &name, asked.params.get("reason"));
    let reading = Reading::new(&key, &ledger, "receipt", &asked.params);
    let accept = asked.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let as_proof = accept.contains(TLOG_PROOF);
    let (body, opened) = off_thread(move || {
        let snapshot = ledger.snapshot();
        let mut opened = Opened::over(snapshot.size().0);
        let found =
            snapshot.receipt(at, access, true).map_err(|error: LedgerError| of_ledger(&error))?;
        let appended = found.ok_or_else(|| nothing_at(at, snapshot.size().0))?;
        if as_proof {
            return Ok((tlog_proof(&appended)?.into_bytes(), opened));
        }
        opened.add(at, &appended.openings.parts);
        let mut body = Vec::with_capacity(4096);
        write_receipt(&ledger, appended, true, &mut body);
        Ok((body, opened))
    })
    .await?;
    reading.record(&asked.server, &opened).await?;
    let content_type = if as_proof { TLOG_PROOF } else { "application/json" };
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "private, no-cache")], body)
        .into_response())
}

/// Get the bytes of a log entry
///
/// What the leaf hash is made of. It holds no personal data. Needs the role producer, responder, auditor
/// or dpo.
#[utoipa::path(get, path = "/events/{index}/entry", operation_id = "get_entry", tag = "events",
    responses((status = 200, description = "The entry", body = RawBytes,
        content_type = "application/octet-stream"), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn entry(
    asked: Asked,
    Path((name, at)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Verify, &[])?;
    let at = index(&at)?;
    let bytes = off_thread(move || {
        let snapshot = ledger.snapshot();
        let found = snapshot.entry(at).map_err(|error| of_ledger(&error))?;
        found.ok_or_else(|| nothing_at(at, snapshot.size().0))
    })
    .await?;
    Ok((
        [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        ],
        bytes.to_vec(),
    )
        .into_response())
}
