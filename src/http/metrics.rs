//! `GET /metrics`: what the server counts, as Prometheus reads it.
//!
//! In scope: one table of metrics, from which the exposition is written and which `docs/metrics.md`
//! repeats. Out of scope: counting ([`super::stats`], `ledger::stats`). Invariants: what is not in
//! [`METRICS`] is not exposed; labels take values from closed lists and the ledgers' names, never from a
//! request.

use std::fmt;
use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::ledger::Ledger;
use crate::ledger::stats::Histogram;
use crate::prove::verdict::Verdict;

use super::asked::Asked;
use super::auth::{self, Action};
use super::openapi::Keyed;
use super::problem::{self, Problem};
use super::process::Process;
use super::{Server, off_thread};

/// Media type of the exposition, `OpenMetrics` 1.0.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One family of series.
pub struct Metric {
    /// Name without the unit and without `_total` or `_info`, which the exposition adds.
    pub name: &'static str,
    /// Counter, gauge, histogram or info.
    pub kind: MetricType,
    /// `seconds`, `bytes`, or nothing for a count.
    pub unit: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// When somebody should look.
    pub alert: &'static str,
    read: fn(&Scrape, &mut Samples<'_, '_>),
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! metrics {
    ($($name:literal, $kind:ident, $unit:literal, [$($label:literal),*],
        $help:literal, $alert:literal, $read:expr;)*) => {
        /// Every metric, in the order of the documentation.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name, kind: $kind, unit: $unit, labels: &[$($label),*], help: $help, alert: $alert,
            read: $read,
        }),*];
    };
}

use MetricType::{Counter, Gauge, Histogram as Buckets, Info};

metrics! {
    "counterfoil_build", Info, "", ["version"],
        "The version that runs",
        "more than one version among servers that should be alike",
        |_, out| out.add(&[env!("CARGO_PKG_VERSION")], Value::Info);
    "counterfoil_events", Counter, "", ["ledger", "result"],
        "Events that were sent, by what became of them: `created`, `replayed` (the same event again), \
         or the code of the problem they were refused with",
        "`internal` or `stopped` at all; a rising share of refusals",
        |scrape, out| scrape.each(|ledger| for (result, count) in ledger.stats().events() {
            out.add(&[ledger.name(), result], Value::Count(count));
        });
    "counterfoil_ledger_running", Gauge, "", ["ledger"],
        "1 while the ledger takes events, 0 after a failed write",
        "0",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, u64::from(ledger.is_running())));
    "counterfoil_ledger_entries", Gauge, "", ["ledger"],
        "Committed log entries",
        "it falls: an older copy of the data is being served",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, ledger.size()));
    "counterfoil_commit_flush", Buckets, "seconds", ["ledger"],
        "Time to write and flush one group of events to the journal",
        "the 99th percentile over 1 s: the disk is too slow or failing",
        |scrape, out| scrape.each(|ledger| out.seconds(&[ledger.name()], &ledger.stats().flush_us));
    "counterfoil_commit_entries", Buckets, "", ["ledger"],
        "Entries made durable with one flush",
        "none: large groups are how load is carried",
        |scrape, out| scrape.each(|ledger| {
            out.histogram(&[ledger.name()], &ledger.stats().group_entries, 1.0);
        });
    "counterfoil_journal_size", Gauge, "bytes", ["ledger"],
        "Bytes of the journal, which is trimmed once tiles and sealed parts are durable",
        "over 200 MB: the fold is behind",
        |scrape, out| scrape.each(|ledger| if let Ok(bytes) = ledger.journal_bytes() {
            out.gauge(ledger, bytes);
        });
    "counterfoil_fold_lag_entries", Gauge, "", ["ledger"],
        "Committed entries that are not in the tiles of a published checkpoint yet",
        "over 0 for a minute without `counterfoil_checkpoint_time_seconds` moving",
        |scrape, out| scrape.each(|ledger| {
            out.gauge(ledger, ledger.size().saturating_sub(ledger.stats().published_size()));
        });
    "counterfoil_index_lag_entries", Gauge, "", ["ledger"],
        "Committed entries whose index rows are in memory only; a start reads them again",
        "over 100,000: starts get slow",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, ledger.index_lag()));
    "counterfoil_checkpoint_entries", Gauge, "", ["ledger"],
        "Size of the newest published checkpoint",
        "it falls",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, ledger.stats().published_size()));
    "counterfoil_checkpoint_time", Gauge, "seconds", ["ledger"],
        "Unix time at which it was published; an idle ledger publishes nothing new",
        "a minute old while `counterfoil_fold_lag_entries` is over 0",
        |scrape, out| scrape.each(|ledger| {
            out.time(&[ledger.name()], ledger.stats().published_at_us());
        });
    "counterfoil_erasures_pending", Gauge, "", ["ledger"],
        "Erasures whose persons' data is not destroyed yet",
        "over 0 for longer than `shred_interval_ms` and a few minutes",
        |scrape, out| scrape.each(|ledger| if let Ok(pending) = ledger.erasures_pending() {
            out.gauge(ledger, pending);
        });
    "counterfoil_removed_parts", Gauge, "", ["ledger"],
        "Parts that were erased or pruned, those under way included",
        "none: it says how far erasures and retention have come",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, ledger.removed_parts()));
    "counterfoil_persons_returned", Counter, "", ["ledger"],
        "Persons made anew since the start whose identifier had been erased before",
        "rising after an erasure: a producer still sends events about somebody who asked to be forgotten",
        |scrape, out| scrape.each(|ledger| {
            out.add(&[ledger.name()], Value::Count(ledger.persons_returned()));
        });
    "counterfoil_audit_verdict", Gauge, "", ["ledger", "verdict"],
        "1 for the verdict of the newest self-audit since the start, 0 for the others",
        "`failed` is 1: something was changed or lost",
        |scrape, out| scrape.each(|ledger| if let Some(audited) = ledger.stats().audited() {
            for each in [Verdict::Verified, Verdict::NotProvable, Verdict::Failed] {
                let is = u64::from(each == audited.verdict);
                out.add(&[ledger.name(), each.as_str()], Value::Count(is));
            }
        });
    "counterfoil_audit_time", Gauge, "seconds", ["ledger"],
        "Unix time at which that audit ended",
        "older than your interval of audits",
        |scrape, out| scrape.each(|ledger| if let Some(audited) = ledger.stats().audited() {
            out.time(&[ledger.name()], audited.at_us);
        });
    "counterfoil_retention_pruned", Counter, "", ["ledger"],
        "Parts that the retention job has pruned",
        "it jumps after nobody changed the table",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, ledger.parts_pruned()));
    "counterfoil_retention_pass_time", Gauge, "seconds", ["ledger"],
        "Unix time at which the last pass of that job ended",
        "older than two times `retention_interval_ms` and a pass",
        |scrape, out| scrape.each(|ledger| if let Some(pass) = ledger.retention_pass() {
            out.time(&[ledger.name()], pass.at_us);
        });
    "counterfoil_retention_pass_failed", Gauge, "", ["ledger"],
        "1 while the last pass ended early; `GET …/retention` says why",
        "1",
        |scrape, out| scrape.each(|ledger| {
            let pass = ledger.retention_pass();
            out.gauge(ledger, u64::from(pass.is_some_and(|pass| pass.failure.is_some())));
        });
    "counterfoil_retention_held_parts", Gauge, "", ["ledger"],
        "Parts that were due in the last pass and are held",
        "none",
        |scrape, out| scrape.each(|ledger| {
            out.gauge(ledger, ledger.retention_pass().map_or(0, |pass| pass.held));
        });
    "counterfoil_holds_active", Gauge, "", ["ledger"],
        "Legal holds that are not released",
        "none",
        |scrape, out| scrape.each(|ledger| {
            out.gauge(ledger, u64::try_from(ledger.holds_active()).unwrap_or(u64::MAX));
        });
    "counterfoil_disk_free", Gauge, "bytes", [],
        "Free space on the disk of the data directory, for unprivileged processes",
        "it will reach `disk_reserve_bytes` within a day",
        |scrape, out| if let Some(bytes) = scrape.server.stats.disk_free_bytes() {
            out.add(&[], Value::Count(bytes));
        };
    "counterfoil_disk_low", Gauge, "", ["ledger"],
        "1 while appends are refused because less than `disk_reserve_bytes` is free",
        "1",
        |scrape, out| scrape.each(|ledger| out.gauge(ledger, u64::from(ledger.is_disk_low())));
    "counterfoil_http_requests", Counter, "", ["method", "route", "class"],
        "Requests by operation and class of the answer's status. `other` is every request that is no \
         operation of the contract",
        "`5xx` at all",
        |scrape, out| for (method, route, counts) in scrape.server.stats.operations() {
            for (class, count) in counts.classes() {
                out.add(&[method, route, class], Value::Count(count));
            }
        };
    "counterfoil_http_request_duration", Buckets, "seconds", ["method", "route"],
        "Time from the head of a request to the head of its answer",
        "the 99th percentile of an operation over what its callers wait",
        |scrape, out| for (method, route, counts) in scrape.server.stats.operations() {
            out.seconds(&[method, route], &counts.duration_us);
        };
    "counterfoil_problems", Counter, "", ["code"],
        "Requests that were answered with a problem, by its code; see problems.md",
        "`internal`, `stopped`, `disk-full` or `clock-ahead` at all; `overloaded` rising; many \
         `unauthenticated`: somebody guesses keys",
        |scrape, out| for (code, count) in scrape.server.stats.problems() {
            out.add(&[code], Value::Count(count));
        };
    "counterfoil_connections_open", Gauge, "", [],
        "Open connections",
        "over 80 % of `counterfoil_connections_max`",
        |scrape, out| out.add(&[], Value::Count(scrape.server.stats.connections().0));
    "counterfoil_connections_max", Gauge, "", [],
        "Connections that may be open at once; further ones wait",
        "none",
        |scrape, out| out.add(&[], Value::Count(scrape.server.stats.connections().1));
    "counterfoil_connections_refused", Counter, "", [],
        "Connections that were closed before they could send a request",
        "it rises: one address opens too many",
        |scrape, out| out.add(&[], Value::Count(scrape.server.stats.connections_refused()));
    "counterfoil_streams_open", Gauge, "", [],
        "Open streams of events",
        "none",
        |scrape, out| out.maybe(u64::try_from(scrape.server.live.streams()).ok());
    "counterfoil_api_keys", Gauge, "", ["state"],
        "API keys: `active`, `expired` or `revoked`",
        "more active keys than you gave out",
        |scrape, out| for (state, count) in scrape.server.keys.count_by_state(scrape.server.now_s()) {
            out.add(&[state], Value::Count(count));
        };
    "counterfoil_clock_ahead", Gauge, "seconds", [],
        "How far the wall clock has run ahead of the monotonic clock since the start",
        "more than a minute either way; beyond `skew_max_ms` nothing is recorded",
        |scrape, out| {
            let ahead_us = scrape.server.stats.clock_ahead_us(&*scrape.server.clock);
            let whole = u64_of(ahead_us.unsigned_abs());
            out.add(&[], Value::Real(if ahead_us < 0 { -whole } else { whole } / 1e6));
        };
    "process_start_time", Gauge, "seconds", [],
        "Unix time at which the process started",
        "it changes: a restart",
        |scrape, out| out.time(&[], scrape.server.stats.started_at_us());
    "process_resident_memory", Gauge, "bytes", [],
        "Memory the process holds",
        "near the machine's",
        |scrape, out| out.maybe(scrape.process.resident_bytes);
    "process_open_fds", Gauge, "", [],
        "Open file descriptors",
        "over 80 % of `process_max_fds`",
        |scrape, out| out.maybe(scrape.process.open_fds);
    "process_max_fds", Gauge, "", [],
        "Descriptors the process may open",
        "less than `counterfoil_connections_max` and 512 more",
        |scrape, out| out.maybe(scrape.process.max_fds);
}

/// A number as the exposition writes it; whole up to 2^53, which nothing here reaches.
#[allow(clippy::cast_precision_loss, reason = "counts, bytes and microseconds below 2^53")]
fn u64_of(number: u64) -> f64 {
    number as f64
}

/// What is read for one exposition.
#[derive(Debug)]
pub(crate) struct Scrape {
    server: Arc<Server>,
    ledgers: Vec<Arc<Ledger>>,
    process: Process,
}

impl Scrape {
    fn each(&self, mut of: impl FnMut(&Ledger)) {
        for ledger in &self.ledgers {
            of(ledger);
        }
    }
}

enum Value {
    Count(u64),
    Real(f64),
    Info,
}

/// Takes the samples of one metric.
pub(crate) struct Samples<'a, 'b> {
    metric: &'static Metric,
    encoder: &'a mut MetricEncoder<'b>,
    result: fmt::Result,
}

impl Samples<'_, '_> {
    fn add(&mut self, values: &[&str], value: Value) {
        let kind = self.metric.kind;
        self.labelled(values, |encoder, labels| match (kind, value) {
            (_, Value::Info) => encoder.encode_info(&labels.to_vec()),
            (Counter, Value::Count(count)) => encoder.encode_counter::<NoLabelSet, _, u64>(&count, None),
            (_, Value::Count(count)) => encoder.encode_gauge(&count),
            (_, Value::Real(number)) => encoder.encode_gauge(&number),
        });
    }

    fn gauge(&mut self, ledger: &Ledger, count: u64) {
        self.add(&[ledger.name()], Value::Count(count));
    }

    fn maybe(&mut self, count: Option<u64>) {
        if let Some(count) = count {
            self.add(&[], Value::Count(count));
        }
    }

    /// A moment in microseconds; none where it is 0.
    fn time(&mut self, values: &[&str], at_us: u64) {
        if at_us > 0 {
            self.add(values, Value::Real(u64_of(at_us) / 1e6));
        }
    }

    /// A histogram of microseconds, in seconds.
    fn seconds(&mut self, values: &[&str], histogram: &Histogram) {
        self.histogram(values, histogram, 1e6);
    }

    fn histogram(&mut self, values: &[&str], histogram: &Histogram, divisor: f64) {
        let (sum, counts) = histogram.read();
        let total = counts.iter().map(|(_, count)| count).sum();
        let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| u64_of(bound) / divisor);
        let buckets: Vec<(f64, u64)> = counts.into_iter().map(|(b, count)| (bound(b), count)).collect();
        let sum = u64_of(sum) / divisor;
        self.labelled(values, |encoder, _| {
            encoder.encode_histogram::<NoLabelSet>(sum, total, &buckets, None)
        });
    }

    fn labelled(
        &mut self,
        values: &[&str],
        encode: impl FnOnce(&mut MetricEncoder<'_>, &[(&str, &str)]) -> fmt::Result,
    ) {
        let names = self.metric.labels.iter().copied();
        let labels: Vec<(&str, &str)> = names.zip(values.iter().copied()).collect();
        // Labels of an info metric are its value.
        let result = if labels.is_empty() || matches!(self.metric.kind, Info) {
            encode(self.encoder, &labels)
        } else {
            self.encoder.encode_family(&labels).and_then(|mut one| encode(&mut one, &labels))
        };
        self.result = self.result.and(result);
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in METRICS {
            let unit = match metric.unit {
                "" => None,
                "seconds" => Some(Unit::Seconds),
                "bytes" => Some(Unit::Bytes),
                other => Some(Unit::Other(other.to_owned())),
            };
            let help = format!("{}.", metric.help);
            let mut family =
                encoder.encode_descriptor(metric.name, &help, unit.as_ref(), metric.kind)?;
            let mut samples = Samples { metric, encoder: &mut family, result: Ok(()) };
            (metric.read)(self, &mut samples);
            samples.result?;
        }
        Ok(())
    }
}

/// What the server counts
///
/// `OpenMetrics` text, which Prometheus reads; docs/metrics.md lists every metric. Needs the role admin or
/// auditor, unless the setting `metrics_public` is on. A key bound to ledgers sees those.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "server",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text"), Keyed),
    security(("key" = [])))]
pub(crate) async fn metrics(asked: Asked) -> Result<Response, Problem> {
    let key =
        if asked.server.metrics_public { None } else { Some(asked.caller(None, Action::Monitor)?) };
    asked.params.allow_only(&[])?;
    let text = off_thread(move || {
        let all = asked.server.ledgers.all().values().cloned().collect::<Vec<_>>();
        let visible =
            |ledger: &Arc<Ledger>| key.as_ref().is_none_or(|key| auth::is_good_for(key, ledger.name()));
        let ledgers = all.into_iter().filter(visible).collect();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape {
            server: asked.server,
            ledgers,
            process: Process::read(),
        }));
        let mut text = String::with_capacity(64 * 1024);
        text::encode(&mut text, &registry)
            .map_err(|_| Problem::new(problem::INTERNAL, "the metrics could not be written"))?;
        Ok(text)
    })
    .await?;
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The name as the exposition writes it.
    fn exposed(metric: &Metric) -> String {
        let unit = if metric.unit.is_empty() { String::new() } else { format!("_{}", metric.unit) };
        let suffix = match metric.kind {
            Counter => "_total",
            Info => "_info",
            _ => "",
        };
        format!("{}{unit}{suffix}", metric.name)
    }

    #[test]
    fn the_page_of_metrics_is_this_table() {
        let page = include_str!("../../docs/metrics.md");
        let listed = page.find("| metric |").map_or("", |at| page.split_at(at).1);
        let mut written =
            "| metric | kind | labels | means | look when |\n|---|---|---|---|---|\n".to_owned();
        for metric in METRICS {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                written,
                "| `{}` | {} | {} | {}. | {}. |",
                exposed(metric),
                metric.kind.as_str(),
                labels.join(", "),
                metric.help,
                metric.alert
            );
        }
        assert_eq!(listed.trim_end(), written.trim_end(), "docs/metrics.md should read:\n{written}");
    }
}
