//! A server's audit of itself: the files of its ledgers by the verifier that auditors use, and the index
//! against the log.
//!
//! In scope: starting one, its progress, keeping its result. Out of scope: the checks ([`super::verify`],
//! [`Snapshot::check_index`]); asking for one over HTTP. Invariants: at most one audit reads at a time,
//! however many ledgers there are; it rests as long as it works, so that it takes half of one core; it
//! writes nothing but its result, `audit.json`, durably and whole; one that is cut off by the end of the
//! process leaves the result of the one before.
//!
//! [`Snapshot::check_index`]: crate::ledger::Snapshot::check_index

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, RandomError, random_fill};
use crate::event::time::rfc3339;
use crate::ledger::stats::Audited;
use crate::ledger::{KeyFiles, Ledger};
use crate::log::checkpoint;
use crate::prove::verdict::{Finding, Report, Target, Verdict};
use crate::store::{Storage, StoreError};

use super::{AuditError, Given, Place, Reader, verify};

/// The file that keeps a ledger's last audit, in its directory.
pub const AUDIT_FILE: &str = "audit.json";

/// Longest rest at a time, in microseconds.
const REST_US_MAX: u64 = 200_000;

/// Microseconds that the next published checkpoint is waited for.
const PUBLICATION_US_MAX: u64 = 30_000_000;

/// What to do about an audit that failed.
const REMEDY: &str = "Keep a copy of the data directory as it is. Where only `index` failed, restart the \
    server: the index is rebuilt from the log. Otherwise the files named were changed after they were \
    written: verify a mirror or a backup (`counterfoil verify`) and restore what it has.";

/// Phases of an audit, in order.
const PHASES: [&str; 4] = ["waiting", "log", "index", "finishing"];

/// An audit under way.
#[derive(Debug)]
pub struct Running {
    /// Its identifier.
    pub id: String,
    started_us: u64,
    phase: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Running {
    fn enter(&self, phase: u64) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let phase = usize::try_from(self.phase.load(Ordering::Relaxed)).unwrap_or(0);
        json!({
            "id": self.id,
            "started_at": moment(self.started_us),
            "phase": PHASES.get(phase).copied().unwrap_or("finishing"),
            "entries_done": self.done.load(Ordering::Relaxed),
            "entries_total": self.total.load(Ordering::Relaxed),
        })
    }
}

/// Why an audit was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// No thread.
    #[error("no thread could be started: {0}")]
    Thread(std::io::Error),
}

/// Audits of the ledgers of one data directory.
#[derive(Debug)]
pub struct Auditor {
    data: PathBuf,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    started_us: u64,
    running: Mutex<BTreeMap<String, Arc<Running>>>,
    /// Held by the audit that reads.
    turn: Mutex<()>,
    ending: Mutex<bool>,
    /// Signalled when the process is about to end.
    ends: Condvar,
}

impl Auditor {
    /// Audits of the ledgers in `data`, whose files `storage` reads and writes.
    #[must_use]
    pub fn new(data: PathBuf, storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        let started_us = clock.now_us();
        Self {
            data,
            storage,
            clock,
            started_us,
            running: Mutex::default(),
            turn: Mutex::new(()),
            ending: Mutex::new(false),
            ends: Condvar::new(),
        }
    }

    /// The audit of a ledger that is under way.
    #[must_use]
    pub fn running(&self, ledger: &str) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(ledger).cloned()
    }

    /// The result of the last audit that ended.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn last(&self, ledger: &str) -> Result<Option<Value>, StoreError> {
        let bytes = self.storage.read(&file_of(ledger))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Starts an audit of `ledger` on a thread of its own; the one under way where there is one. The flag
    /// says whether it is new.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self: &Arc<Self>, ledger: &Arc<Ledger>) -> Result<(Arc<Running>, bool), StartError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = running.get(ledger.name()) {
            return Ok((Arc::clone(found), false));
        }
        let mut id = [0_u8; 8];
        random_fill(&mut id)?;
        let new = Arc::new(Running {
            id: hex::encode(id),
            started_us: self.clock.now_us(),
            phase: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(ledger.snapshot().size().0),
        });
        let (auditor, audited, progress) = (Arc::clone(self), Arc::clone(ledger), Arc::clone(&new));
        let work = move || auditor.run(&audited, &progress);
        let thread = std::thread::Builder::new().name(format!("{}-audit", ledger.name())).spawn(work);
        thread.map_err(StartError::Thread)?;
        running.insert(ledger.name().to_owned(), Arc::clone(&new));
        Ok((new, true))
    }

    /// Whether a ledger's next audit is due, with `interval_s` between two: for a ledger that was never
    /// audited an hour after the start, so that a server which is started often comes to it too.
    #[must_use]
    pub fn is_due(&self, ledger: &str, interval_s: u64) -> bool {
        if interval_s == 0 || self.running(ledger).is_some() {
            return false;
        }
        let last = self.last(ledger).ok().flatten();
        let last_us = last.and_then(|last| last.get("finished_us").and_then(Value::as_u64));
        let (since_us, wait_s) = match last_us {
            Some(last_us) => (last_us, interval_s),
            None => (self.started_us, interval_s.min(3_600)),
        };
        self.clock.now_us() >= since_us.saturating_add(wait_s.saturating_mul(1_000_000))
    }

    /// Lets audits read no further: the process is about to end, and they end with it.
    pub fn end(&self) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ends.notify_all();
    }

    /// Waits for `time`, and for ever where the process is about to end.
    fn wait(&self, time: Duration) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ending {
            let waited = self.ends.wait_timeout(ending, time);
            (ending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        while *ending {
            ending = self.ends.wait(ending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, ledger: &Ledger, running: &Running) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let report = self.audit(ledger, running).unwrap_or_else(|error| {
            let mut report = Report::new(Target::Log);
            report.push("audit", Verdict::NotProvable, format!("could not be finished: {error}"));
            report
        });
        running.enter(3);
        if report.verdict() == Verdict::Failed {
            let failed = report.checks.iter().find(|check| check.verdict == Verdict::Failed);
            let detail = failed.map(|check| format!("{}: {}", check.name, check.detail));
            eprintln!(
                "counterfoil: warning: the self-audit of ledger {} failed: {}",
                ledger.name(),
                detail.unwrap_or_default()
            );
        }
        let at_us = self.clock.now_us();
        ledger.stats().set_audited(Audited { verdict: report.verdict(), at_us });
        let result = self.result(running, &report);
        if let Err(error) = self.storage.write_durable(&file_of(ledger.name()), result.as_bytes()) {
            eprintln!("counterfoil: warning: the result of a self-audit was not kept: {error}");
        }
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(ledger.name());
    }

    fn audit(&self, ledger: &Ledger, running: &Running) -> Result<Report, AuditError> {
        self.wait_for_publication(ledger);
        running.enter(1);
        let reader = Reader::open(&KeyFiles::of(&self.data, ledger.name()).reader)?;
        let given =
            Given { key: ledger.verifier(), since: None, reader: Some(&reader), log_only: false };
        let place = Place::of_ledger(&self.data, ledger.name());
        let mut pacing = Pace::new(self);
        let mut report = verify(&place, &given, &mut |progress| {
            running.done.store(progress.entries_done, Ordering::Relaxed);
            running.total.store(progress.entries_total, Ordering::Relaxed);
            pacing.rest();
        })?;
        running.enter(2);
        let snapshot = ledger.snapshot();
        running.total.store(snapshot.size().0, Ordering::Relaxed);
        let checked = snapshot.check_index(&mut |done| {
            running.done.store(done, Ordering::Relaxed);
            pacing.rest();
        });
        match checked {
            Ok(found) => conclude_index(found, &mut report),
            // Where the log itself is damaged, the log's checks have said so.
            Err(error) => report.push("index", Verdict::NotProvable, error.to_string()),
        }
        Ok(report)
    }

    /// Waits until what was recorded before is under the published checkpoint, from which the verifier
    /// starts. Where that takes too long, less is audited, and the result says how much.
    fn wait_for_publication(&self, ledger: &Ledger) {
        let size = ledger.snapshot().size();
        let published = || {
            let note = ledger.published();
            checkpoint::open(note.as_bytes(), ledger.verifier()).map_or(0, |found| found.size.0)
        };
        let until_us = self.clock.monotonic_us().saturating_add(PUBLICATION_US_MAX);
        while published() < size.0 && self.clock.monotonic_us() < until_us && ledger.is_running() {
            self.wait(Duration::from_millis(50));
        }
    }

    fn result(&self, running: &Running, report: &Report) -> String {
        let mut value: Value = serde_json::from_slice(&report.to_json()).unwrap_or_default();
        let finished_us = self.clock.now_us();
        if let Some(members) = value.as_object_mut() {
            members.insert("id".to_owned(), json!(running.id));
            members.insert("started_at".to_owned(), json!(moment(running.started_us)));
            members.insert("finished_at".to_owned(), json!(moment(finished_us)));
            members.insert("finished_us".to_owned(), json!(finished_us));
            let failed = report.verdict() == Verdict::Failed;
            members.insert("remedy".to_owned(), json!(failed.then_some(REMEDY)));
        }
        format!("{value}\n")
    }
}

fn conclude_index(found: crate::ledger::IndexCheck, report: &mut Report) {
    let crate::ledger::IndexCheck { entries, rows, persons, differences, different } = found;
    if let Some((place, what)) = differences.first() {
        let detail = format!("first of {different}: {place}: {what}; a restart rebuilds the index");
        report.push("index", Verdict::Failed, detail);
        let findings = differences.into_iter();
        report.findings.extend(findings.map(|(place, detail)| Finding {
            check: "index",
            place,
            detail,
        }));
        return;
    }
    let detail =
        format!("{rows} rows are those of {entries} entries and {persons} persons, in both directions");
    report.push("index", Verdict::Verified, detail);
}

fn file_of(ledger: &str) -> String {
    format!("ledgers/{ledger}/{AUDIT_FILE}")
}

fn moment(at_us: u64) -> Option<String> {
    rfc3339(i64::try_from(at_us).ok()?)
}

/// Rests as long as it has worked.
struct Pace<'a> {
    auditor: &'a Auditor,
    since_us: u64,
}

impl<'a> Pace<'a> {
    fn new(auditor: &'a Auditor) -> Self {
        Self { auditor, since_us: auditor.clock.monotonic_us() }
    }

    fn rest(&mut self) {
        let worked_us = self.auditor.clock.monotonic_us().saturating_sub(self.since_us);
        self.auditor.wait(Duration::from_micros(worked_us.min(REST_US_MAX)));
        self.since_us = self.auditor.clock.monotonic_us();
    }
}
