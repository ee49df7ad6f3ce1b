//! Health: whether the process answers, and whether it can do its work.
//!
//! In scope: `/livez`, `/startupz`, `/readyz`. Out of scope: numbers over time ([`super::metrics`]).
//! Invariant: what is said without a key is `ok`, or that a ledger has stopped, and no more.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ledger::Ledger;

use super::Server;
use super::asked::Asked;
use super::auth::{self, Action};
use super::openapi::{Halted, Keyed};
use super::problem::{self, Problem};

/// Entries that may wait to be published or indexed before it is worth a warning: what the fold takes in
/// a few seconds at full speed.
const LAG_ENTRIES_WARN: u64 = 100_000;

/// Seconds that a checkpoint may be behind new entries before it is worth a warning.
const CHECKPOINT_AGE_S_WARN: u64 = 60;

/// Seconds that the wall clock may differ from the monotonic one before it is worth a warning.
const CLOCK_S_WARN: u64 = 60;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckStatus {
    /// Nothing to do.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// It does not work.
    Fail,
}

/// One question about the server's health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthCheck {
    /// What was looked at: `running`, `disk`, `index`, `checkpoint`, `clock`.
    name: &'static str,
    /// The ledger it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<String>,
    /// How it came out.
    status: CheckStatus,
    /// The numbers behind it.
    detail: String,
}

/// What `/readyz?verbose=true` says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// The gravest status of all checks. Only `fail` makes the answer 503.
    status: CheckStatus,
    /// Every check.
    checks: Vec<HealthCheck>,
}

/// Whether the process answers
///
/// For a supervisor that restarts what does not answer. Needs no key and looks at nothing.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "server",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the process has started
///
/// The server listens only when every ledger has been recovered, so whatever answers has started. Needs
/// no key.
#[utoipa::path(get, path = "/startupz", operation_id = "startupz", tag = "server",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(crate) async fn startupz() -> &'static str {
    "ok\n"
}

/// Whether every ledger takes events
///
/// For a load balancer. 503 where a write has failed and the process must be restarted. With
/// `verbose=true` and a key of the role admin or auditor: every check with its numbers.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "server",
    params(("verbose" = Option<bool>, Query, description = "`true`: every check with its numbers, for \
        whoever sends a key; without a key it changes nothing.")),
    responses((status = 200, description = "`ok`, or the checks",
            content((String = "text/plain"), (Readiness = "application/json"))),
        (status = 503, description = "The checks, of which one failed.",
            content((Readiness = "application/json"))), Keyed, Halted),
    security((), ("key" = [])))]
pub(crate) async fn readyz(asked: Asked) -> Result<Response, Problem> {
    asked.params.allow_only(&["verbose"])?;
    let verbose = asked.params.boolean("verbose")?.unwrap_or(false);
    if verbose && asked.headers.contains_key(header::AUTHORIZATION) {
        let key = asked.caller(None, Action::Monitor)?;
        let ledgers = asked.server.ledgers.all();
        let visible = ledgers.values().filter(|each| auth::is_good_for(&key, each.name()));
        let checks = checks(&asked.server, visible);
        let gravest = |status| checks.iter().any(|check| check.status == status);
        let status = match (gravest(CheckStatus::Fail), gravest(CheckStatus::Warn)) {
            (true, _) => CheckStatus::Fail,
            (_, true) => CheckStatus::Warn,
            _ => CheckStatus::Ok,
        };
        let code = match status {
            CheckStatus::Fail => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        let headers = [(header::CACHE_CONTROL, "no-store")];
        return Ok((code, headers, Json(Readiness { status, checks })).into_response());
    }
    if asked.server.ledgers.all().values().all(|ledger| ledger.is_running()) {
        return Ok("ok\n".into_response());
    }
    Err(Problem::new(problem::STOPPED, "a ledger has stopped after a failed write"))
}

fn checks<'a>(server: &Server, ledgers: impl Iterator<Item = &'a Arc<Ledger>>) -> Vec<HealthCheck> {
    let mut checks = Vec::new();
    let warn_if = |warn| if warn { CheckStatus::Warn } else { CheckStatus::Ok };
    for ledger in ledgers {
        let mut add = |name, status, detail| {
            checks.push(HealthCheck { name, ledger: Some(ledger.name().to_owned()), status, detail });
        };
        let running = ledger.is_running();
        let detail = if running { "takes events" } else { "stopped after a failed write; restart" };
        let status = if running { CheckStatus::Ok } else { CheckStatus::Fail };
        add("running", status, detail.to_owned());
        let low = ledger.is_disk_low();
        let free = server.stats.disk_free_bytes();
        let free = free.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes} bytes"));
        let detail = format!("free: {free}{}", if low { "; appends are refused" } else { "" });
        add("disk", warn_if(low), detail);
        let lag = ledger.index_lag();
        let detail = format!("{lag} entries are not yet in durable runs");
        add("index", warn_if(lag > LAG_ENTRIES_WARN), detail);
        let behind = ledger.size().saturating_sub(ledger.stats().published_size());
        let age_s = server.clock.now_us().saturating_sub(ledger.stats().published_at_us()) / 1_000_000;
        let detail = format!("{behind} entries are newer than the one of {age_s} s ago");
        let late = behind > LAG_ENTRIES_WARN || behind > 0 && age_s > CHECKPOINT_AGE_S_WARN;
        add("checkpoint", warn_if(late), detail);
    }
    let ahead_us = server.stats.clock_ahead_us(&*server.clock);
    checks.push(HealthCheck {
        name: "clock",
        ledger: None,
        status: warn_if(ahead_us.unsigned_abs() > CLOCK_S_WARN * 1_000_000),
        detail: format!("{} ms ahead of the monotonic clock since the start", ahead_us / 1_000),
    });
    checks
}
