//! What the server counts besides its ledgers' own counts.
//!
//! In scope: requests by operation, problems by code, connections, room on the disk. Out of scope: names and
//! text ([`super::metrics`]). Invariant: what is counted apart is from a closed list (operations of the
//! contract, status classes, problems), whatever a client sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::Method;
use axum::response::Response;

use crate::clock::Clock;
use crate::ledger::stats::{DURATION_BOUNDS_US, Histogram};

use super::document;
use super::problem::{self, ProblemType};

/// What requests that are no operation of the contract are counted as.
const OTHER: &str = "other";

/// The classes of status codes that are counted.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The counts of one operation.
#[derive(Debug)]
pub(crate) struct OperationStats {
    by_class: [AtomicU64; CLASSES.len()],
    pub(crate) duration_us: Histogram,
}

impl OperationStats {
    fn new() -> Self {
        Self { by_class: Default::default(), duration_us: Histogram::new(DURATION_BOUNDS_US) }
    }

    /// How many answers there were of each class.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.by_class.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The counts of a route's methods.
type Methods = Vec<(String, OperationStats)>;

/// The counts of a server.
#[derive(Debug)]
pub struct ServerStats {
    started_us: (u64, u64),
    /// By route template, as the contract writes it.
    routes: BTreeMap<String, Methods>,
    other: OperationStats,
    /// In the order of [`problem::TYPES`].
    problems: Vec<AtomicU64>,
    connections_refused: AtomicU64,
    connections_open: Arc<AtomicU64>,
    connections_max: AtomicU64,
    /// 0 where the operating system does not say.
    disk_free_bytes: AtomicU64,
}

impl ServerStats {
    /// Counts from now on.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        let mut routes: BTreeMap<String, Methods> = BTreeMap::new();
        for (method, route) in document::operations() {
            routes.entry(route).or_default().push((method, OperationStats::new()));
        }
        Self {
            started_us: (clock.now_us(), clock.monotonic_us()),
            routes,
            other: OperationStats::new(),
            problems: problem::TYPES.iter().map(|_| AtomicU64::new(0)).collect(),
            connections_refused: AtomicU64::default(),
            connections_open: Arc::default(),
            connections_max: AtomicU64::default(),
            disk_free_bytes: AtomicU64::default(),
        }
    }

    /// Counts a connection that was turned away before it could send a request.
    pub fn refuse_connection(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were turned away.
    pub(crate) fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    /// How many answers were which problem, by code.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.problems.iter().map(|count| count.load(Ordering::Relaxed));
        problem::TYPES.iter().map(|kind| kind.slug).zip(counts)
    }

    /// Counts an open connection until what is returned is dropped.
    #[must_use]
    pub fn connection(&self) -> Open {
        Open::count(&self.connections_open)
    }

    /// Notes how many connections may be open at once.
    pub fn set_connections_max(&self, max: usize) {
        self.connections_max.store(u64::try_from(max).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Notes the room on the disk of the data directory.
    pub fn set_disk_free_bytes(&self, bytes: u64) {
        self.disk_free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Connections open now, and at most.
    pub(crate) fn connections(&self) -> (u64, u64) {
        (self.connections_open.load(Ordering::Relaxed), self.connections_max.load(Ordering::Relaxed))
    }

    /// Room on the disk, where the operating system says.
    pub(crate) fn disk_free_bytes(&self) -> Option<u64> {
        Some(self.disk_free_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// When the process started, Unix microseconds.
    pub(crate) fn started_at_us(&self) -> u64 {
        self.started_us.0
    }

    /// How far the wall clock has run ahead of the monotonic one since the start; negative behind it.
    pub(crate) fn clock_ahead_us(&self, clock: &dyn Clock) -> i64 {
        let (wall_us, monotonic_us) = self.started_us;
        let expected_us = wall_us.saturating_add(clock.monotonic_us().saturating_sub(monotonic_us));
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        signed(clock.now_us()).saturating_sub(signed(expected_us))
    }

    /// Method, route and counts of every operation, and of everything else.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, &OperationStats)> {
        let known = self.routes.iter().flat_map(|(route, methods)| {
            methods.iter().map(|(method, counts)| (method.as_str(), route.as_str(), counts))
        });
        known.chain([(OTHER, OTHER, &self.other)])
    }

    /// Counts a request, with the time to the head of its answer.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&str>,
        response: &Response,
        duration_us: u64,
    ) {
        if let Some(kind) = response.extensions().get::<ProblemType>() {
            let counts = problem::TYPES.iter().zip(&self.problems);
            for (_, count) in counts.filter(|(each, _)| *each == kind) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        let route = route.unwrap_or_default();
        // What the router writes as a wildcard is an ordinary parameter in the contract.
        let methods = if route.contains("{*") {
            self.routes.get(&route.replace("{*", "{"))
        } else {
            self.routes.get(route)
        };
        let found = methods.and_then(|methods| methods.iter().find(|(each, _)| each == method));
        let counts = found.map_or(&self.other, |(_, counts)| counts);
        let class = usize::from(response.status().as_u16() / 100).saturating_sub(2);
        if let Some(count) = counts.by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        counts.duration_us.record(duration_us);
    }
}

/// Something that is counted as long as it is held.
#[derive(Debug)]
pub struct Open(Arc<AtomicU64>);

impl Open {
    fn count(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
