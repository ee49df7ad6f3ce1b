//! `…/reports/…`: reports that auditors and data protection officers file.
//!
//! In scope: their parameters and forms. Out of scope: what is in them ([`crate::history`]). Invariant: the
//! same `as_of`, `at` and `from` give the same bytes, as long as no part was taken away in between.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::history::{self, REPORT_STYLE, ReportForm};
use crate::log::hash::sha256;

use super::asked::Asked;
use super::auth::Action;
use super::openapi::{InLedger, Keyed, RetentionDue};
use super::params::{Params, Path, bad};
use super::problem::Problem;
use super::{off_thread, read};

/// What an HTML report may load: nothing but its own style sheet.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = sha256(REPORT_STYLE.as_bytes()).to_base64();
    format!("default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'")
});

fn form(params: &Params) -> Result<ReportForm, Problem> {
    match params.get("format") {
        None => Ok(ReportForm::default()),
        Some(name) => {
            ReportForm::from_name(name).ok_or_else(|| bad("format", "must be json, csv or html"))
        }
    }
}

/// List what is due by the retention table
///
/// Parts that have outlived their retention, those that a hold keeps beyond it, and those whose rule waits
/// for an event, counted by rule, type, kind of part, categories and day; nobody is named. `at` is the
/// moment of the question: where it is absent, the time of the newest entry in view with `as_of`, and now
/// without. One answer looks at a million entries at most; `next` is the `from` to go on with. A part that
/// was erased or pruned since is not listed, whatever `as_of` is. Needs the role dpo or auditor.
#[utoipa::path(get, path = "/reports/retention-due", operation_id = "report_retention_due",
    tag = "retention",
    params(("as_of" = Option<u64>, Query, description = "Size of the log that the report is about; the \
        newest where absent."),
        ("at" = Option<String>, Query, format = DateTime, description = "Moment, RFC 3339."),
        ("from" = Option<u64>, Query, description = "Index of the first entry to be looked at; 0 where \
        absent."),
        ("format" = Option<String>, Query, description = "`json`, `csv` or `html`; `json` where absent.")),
    responses((status = 200, description = "The report", content((RetentionDue = "application/json"),
        (String = "text/csv"), (String = "text/html"))), Keyed, InLedger),
    security(("key" = [])))]
pub(crate) async fn retention_due(asked: Asked, Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, ledger) = asked.enter(&name, Action::Report, &["as_of", "at", "from", "format"])?;
    let form = form(&asked.params)?;
    let as_of = asked.params.number("as_of")?;
    let asked_at_us = read::moment(&asked.params, "at")?;
    let from = asked.params.number("from")?.unwrap_or(0);
    let now_us = asked.server.clock.now_us();
    let bytes = off_thread(move || {
        let of_ledger = |error: &_| super::append::of_ledger(error);
        let whole = ledger.snapshot();
        let size = as_of.unwrap_or(whole.size().0);
        let view = whole.at(size).map_err(|error| of_ledger(&error))?;
        let view = view.filter(|view| view.size().0 > 0);
        let view =
            view.ok_or_else(|| bad("as_of", "must be a size that the log has reached, from 1 on"))?;
        if from > size {
            return Err(bad("from", "must be an index of the log, at most as_of"));
        }
        let newest = view.time_us(size.saturating_sub(1)).map_err(|error| of_ledger(&error))?;
        let default_us = if as_of.is_some() { newest.unwrap_or(now_us) } else { now_us };
        let report = history::retention_due(&view, asked_at_us.unwrap_or(default_us), from);
        Ok(report.map_err(|error| read::of_history(&error))?.print(form))
    })
    .await?;
    let headers = [
        (header::CONTENT_TYPE, form.media_type()),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, &POLICY),
    ];
    Ok((headers, bytes).into_response())
}
