//! Ledgers and producers over HTTP.
//!
//! In scope: listing the ledgers of a server, adding one, and who appends to them. Out of scope: what
//! adding takes ([`crate::ledger::Ledgers`]). Invariant: a caller sees only ledgers its key is good for.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::facet::Facet;
use crate::history::{self, Clock, Condition, Order, Query};
use crate::ledger::{Access, AddLedgerError, Ledger, READS_LEDGER};
use crate::log::checkpoint;
use crate::prove::receipt::recorded_at;

use super::append::of_ledger;
use super::asked::Asked;
use super::auth::{self, Action};
use super::keys::{KeyRecord, Role};
use super::manage_keys::KeyState;
use super::openapi::{Adding, Body as OfBody, Halted, InLedger, Keyed};
use super::params::{Path, bad};
use super::problem::{self, Problem};
use super::read::of_history;
use super::{ADMIN_BODY_BYTES_MAX, body, off_thread, read_object};

/// Sources whose newest event one answer looks up at most; each is one index look-up and one opened event.
const SOURCES_LOOKED_UP_MAX: usize = 1_000;

/// A ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerView {
    /// Its name in paths.
    name: String,
    /// Origin line of its checkpoints, which is the name of its key.
    origin: String,
    /// Key that verifies its checkpoints, a C2SP vkey.
    verifier_key: String,
    /// Entries, the ledger's own included.
    size: u64,
    /// Entries that the newest published checkpoint covers.
    published_size: u64,
    /// Entries that the query index has not yet in durable runs.
    index_lag: u64,
    /// False once a write has failed; then the server must be restarted.
    running: bool,
}

/// The ledgers that the caller's key is good for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LedgerList {
    ledgers: Vec<LedgerView>,
}

/// A ledger to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLedger {
    /// Its name in paths: 1 to 63 characters of a-z, 0-9 and -, the first a letter or digit.
    name: String,
    /// Origin line of its checkpoints, for ever: a name of yours without scheme, such as
    /// `ledger.example/clinic`. Random where absent.
    #[serde(default)]
    origin: Option<String>,
}

fn view(ledger: &Ledger) -> LedgerView {
    let published = ledger.published();
    let published_size = checkpoint::open(published.as_bytes(), ledger.verifier());
    LedgerView {
        name: ledger.name().to_owned(),
        origin: ledger.origin().to_owned(),
        verifier_key: ledger.verifier().to_string(),
        size: ledger.snapshot().size().0,
        published_size: published_size.map_or(0, |checkpoint| checkpoint.size.0),
        index_lag: ledger.index_lag(),
        running: ledger.is_running(),
    }
}

fn of_adding(error: &AddLedgerError) -> Problem {
    let detail = error.to_string();
    match error {
        AddLedgerError::Name => bad("name", &format!("must be {}", crate::config::LEDGER_NAME_FORM)),
        AddLedgerError::Taken | AddLedgerError::LeftOver { .. } => {
            Problem::new(problem::LEDGER_TAKEN, detail)
        }
        AddLedgerError::TooMany => Problem::new(problem::TOO_MANY_LEDGERS, detail),
        AddLedgerError::Ledger(crate::ledger::LedgerError::Signer(_)) => {
            bad("origin", "must be a key name: 1 to 255 bytes without spaces and plus signs")
        }
        AddLedgerError::Ledger(error) => of_ledger(error),
        _ => {
            eprintln!("counterfoil: {error}");
            Problem::new(problem::INTERNAL, "the ledger was not added; the server's log has the cause")
        }
    }
}

/// List the ledgers
///
/// The ledgers that the caller's key is good for, each with the key that verifies it. Any role.
#[utoipa::path(get, path = "/v1/ledgers", operation_id = "list_ledgers", tag = "ledgers",
    responses((status = 200, description = "The ledgers", body = LedgerList), Keyed),
    security(("key" = [])))]
pub(crate) async fn list_ledgers(asked: Asked) -> Result<Response, Problem> {
    let key = asked.enter_server(Action::Look)?;
    let ledgers = asked.server.ledgers.all();
    let ledgers = ledgers.values().filter(|ledger| auth::is_good_for(&key, ledger.name()));
    let list = LedgerList { ledgers: ledgers.map(|ledger| view(ledger)).collect() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(list)).into_response())
}

/// Add a ledger
///
/// Makes its keys and an empty log, lists it in `counterfoil.toml` and starts it; no restart is needed. A
/// ledger is never removed. Needs the role admin and a key that is not bound to ledgers.
#[utoipa::path(post, path = "/v1/ledgers", operation_id = "add_ledger", tag = "ledgers",
    request_body(content((NewLedger = "application/json"))),
    responses((status = 201, description = "The ledger", body = LedgerView), Keyed, Adding, OfBody, Halted),
    security(("key" = [])))]
pub(crate) async fn add_ledger(asked: Asked, request: Body) -> Result<Response, Problem> {
    let caller = asked.enter_server(Action::Administer)?;
    if !caller.governs(&[]) {
        return Err(Problem::new(problem::WRONG_LEDGER, "a key bound to ledgers adds none"));
    }
    let bytes = body::read(&asked.headers, request, ADMIN_BODY_BYTES_MAX).await?;
    let new: NewLedger = read_object(&bytes, "a new ledger")?;
    let view = off_thread(move || {
        let added = asked.server.ledgers.add(&new.name, new.origin.as_deref());
        added.map(|ledger| view(&ledger)).map_err(|error| of_adding(&error))
    })
    .await?;
    let location = format!("/v1/ledgers/{}", view.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Show a ledger
///
/// Its key, sizes and state. Any role.
#[utoipa::path(get, path = "/v1/ledgers/{ledger}", operation_id = "get_ledger", tag = "ledgers",
    responses((status = 200, description = "The ledger", body = LedgerView), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn get_ledger(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Look, &[])?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view(&ledger))).into_response())
}

/// Who appends, and what came last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProducerList {
    ledger: String,
    /// Moment of the answer, Unix seconds; silence is measured to it.
    now_s: u64,
    producers: Vec<ProducerView>,
    /// False where there were more sources than one answer looks up.
    complete: bool,
}

/// A key that may append, under the number by which log entries name it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProducerView {
    /// Number in log entries. A key and its successors by rotation share it.
    number: u32,
    label: String,
    state: KeyState,
    /// Last use of the key, Unix seconds; null for never.
    last_used_at_s: Option<u64>,
    /// The sources it is bound to; empty where it may append for any, which then are not listed.
    sources: Vec<SourceView>,
}

/// A source and its newest event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceView {
    source: String,
    /// Index of its newest event; null where it has none.
    newest_index: Option<u64>,
    /// When that was recorded.
    recorded_at: Option<String>,
    /// Seconds since then.
    silent_s: Option<u64>,
}

/// List the producers
///
/// The keys that may append to a ledger, by the number that log entries carry, each with the sources it is
/// bound to and how long each has been silent. Whether a source has holes in its numbering is in `gaps` of
/// its history. Needs the role auditor, responder, dpo or admin.
#[utoipa::path(get, path = "/v1/producers", operation_id = "list_producers", tag = "ledgers",
    params(("ledger" = Option<String>, Query, description = "Name of the ledger; `main` where absent")),
    responses((status = 200, description = "The producers", body = ProducerList), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn list_producers(asked: Asked) -> Result<Response, Problem> {
    let name = asked.params.get("ledger").unwrap_or("main").to_owned();
    let (_, ledger) = asked.enter(&name, Action::Oversee, &["ledger"])?;
    let now_s = asked.server.now_s();
    let keys = asked.server.keys.list();
    let list = off_thread(move || producers(&ledger, &keys, now_s)).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(list)).into_response())
}

fn producers(ledger: &Ledger, keys: &[Arc<KeyRecord>], now_s: u64) -> Result<ProducerList, Problem> {
    let appends = |key: &&Arc<KeyRecord>| {
        ledger.name() != READS_LEDGER
            && (key.first || key.role == Role::Producer)
            && auth::is_good_for(key, ledger.name())
    };
    let mut left = SOURCES_LOOKED_UP_MAX;
    let mut complete = true;
    let mut producers = Vec::new();
    for key in keys.iter().filter(appends) {
        let mut sources = Vec::new();
        for source in &key.sources {
            if left == 0 {
                complete = false;
                break;
            }
            left -= 1;
            sources.push(newest(ledger, source, now_s)?);
        }
        producers.push(ProducerView {
            number: key.number,
            label: key.label.clone(),
            state: KeyState::of(key, now_s),
            last_used_at_s: key.last_used_s(),
            sources,
        });
    }
    producers.sort_by_key(|producer| producer.number);
    Ok(ProducerList { ledger: ledger.name().to_owned(), now_s, producers, complete })
}

fn newest(ledger: &Ledger, source: &str, now_s: u64) -> Result<SourceView, Problem> {
    let query = Query {
        conditions: vec![Condition { facet: Facet::SOURCE, value: source.to_owned() }],
        from_us: None,
        to_us: None,
        clock: Clock::Recorded,
        order: Order::Descending,
        limit: 1,
        text: None,
        cursor: None,
        access: Access::Masked,
    };
    let page = history::run(&ledger.snapshot(), &query).map_err(|error| of_history(&error))?;
    let found = page.events.first().map(|(stored, _)| (stored.index, stored.time_us));
    Ok(SourceView {
        source: source.to_owned(),
        newest_index: found.map(|(index, _)| index),
        recorded_at: found.map(|(_, time_us)| recorded_at(time_us)),
        silent_s: found.map(|(_, time_us)| now_s.saturating_sub(time_us / 1_000_000)),
    })
}
