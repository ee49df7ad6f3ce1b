//! The job that prunes what is due.
//!
//! In scope: when it runs, how far it has come, and giving what is due to whoever takes parts away. Out of
//! scope: taking them away. A pass begins at the first entry of which something is left that a rule speaks
//! of, and ends where nothing can be due; after each slice of it the job rests as long as it worked, so that
//! it takes half a core at most.
//!
//! Invariants: a hold that was answered before a prune begins is kept by it; nothing is pruned by a clock
//! that has run ahead; the job ends with the ledger, at the latest after one slice or one prune.

use std::sync::Arc;
use std::time::Duration;

use crate::event::entry::EntryBody;
use crate::event::facet::Role;

use super::{Evaluation, Remains, Standing};
use crate::ledger::duties::InForce;
use crate::ledger::error::LedgerError;
use crate::ledger::holds::{HoldMatcher, Holds};
use crate::ledger::{Shared, Snapshot};

/// Entries between two rests: at 3 µs each some 12 ms.
const SLICE_ENTRIES: u64 = 4_096;

/// Parts of one prune at most: 16 bytes each here, and one prune rewrites the bundles they lie in.
const PRUNE_PARTS_MAX: usize = 10_000;

/// Takes parts away, given as index and role, whose retention was over at a moment (Unix microseconds)
/// under the table of a settings entry; returns the index of the prune entry.
pub(crate) type Prune =
    dyn Fn(&Shared, &[(u64, Role)], u64, u64) -> Result<u64, LedgerError> + Send + Sync;

/// What the last pass did.
#[derive(Debug, Clone, Default)]
pub struct PassReport {
    /// When it ended, Unix microseconds.
    pub at_us: u64,
    /// Parts that it pruned.
    pub pruned: u64,
    /// Parts that were due and held.
    pub held: u64,
    /// Why it ended early, where it did.
    pub failure: Option<String>,
}

/// The job of one ledger.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    prune: Box<Prune>,
    /// Index of the table's entry, and the first index of which something is left under it.
    settled: (u64, u64),
    clock_base_us: (u64, u64),
}

impl Keeper {
    /// A job that gives what is due to `prune`.
    pub(crate) fn new(shared: Arc<Shared>, prune: Box<Prune>) -> Self {
        let clock_base_us = (shared.clock.now_us(), shared.clock.monotonic_us());
        Self { shared, prune, settled: (0, 0), clock_base_us }
    }

    /// Runs until the ledger ends.
    pub(crate) fn run(mut self) {
        let interval = Duration::from_millis(self.shared.options.retention_interval_ms);
        while !self.shared.duties.wait(interval) && !self.shared.is_stopped() {
            let report = match self.pass() {
                Ok(report) => report,
                Err(error) => PassReport {
                    at_us: self.shared.clock.now_us(),
                    failure: Some(error.to_string()),
                    ..PassReport::default()
                },
            };
            self.shared.duties.passed(report);
        }
    }

    /// One pass over what may be due.
    pub(crate) fn pass(&mut self) -> Result<PassReport, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let mut report = PassReport::default();
        if let Some(table) = shared.duties.table() {
            if self.clock_is_ahead() {
                let failure = "the clock has run ahead, so nothing is pruned until it is set right";
                report.failure = Some(failure.to_owned());
            } else {
                self.walk(&shared, &table, &mut report)?;
            }
        }
        report.at_us = shared.clock.now_us();
        Ok(report)
    }

    fn walk(
        &mut self,
        shared: &Arc<Shared>,
        table: &InForce,
        report: &mut PassReport,
    ) -> Result<(), LedgerError> {
        let now_us = shared.clock.now_us();
        let holds = shared.duties.holds.load_full();
        let snapshot = Snapshot::new(Arc::clone(shared));
        let mut evaluation = Evaluation::new(&snapshot, &table.table, &holds, now_us)?;
        let end = evaluation.end()?;
        let (of, from) = self.settled;
        let mut at = if of == table.index { from } else { 0 };
        let mut settled = None;
        let mut due = Vec::new();
        while at < end {
            let began_us = shared.clock.monotonic_us();
            let stop = end.min(at.saturating_add(SLICE_ENTRIES));
            while at < stop && due.len() < PRUNE_PARTS_MAX {
                let remains = evaluation.look(at, &mut |found| match found.standing {
                    Standing::Due => due.push((found.index, found.role)),
                    Standing::Held(_) => report.held += 1,
                    Standing::Waiting => {}
                })?;
                if remains == Remains::Something {
                    settled.get_or_insert(at);
                }
                at = at.saturating_add(1);
            }
            if due.len() >= PRUNE_PARTS_MAX {
                report.pruned += self.give(&snapshot, table, &holds, &mut due, now_us)?;
            }
            let worked_us = shared.clock.monotonic_us().saturating_sub(began_us);
            if shared.duties.wait(Duration::from_micros(worked_us)) {
                return Ok(());
            }
        }
        report.pruned += self.give(&snapshot, table, &holds, &mut due, now_us)?;
        self.settled = (table.index, settled.unwrap_or(at));
        Ok(())
    }

    /// Has parts taken away, except for those that a hold placed meanwhile keeps; nothing where the table
    /// was replaced. Returns how many.
    fn give(
        &self,
        snapshot: &Snapshot,
        table: &InForce,
        seen: &Arc<Holds>,
        due: &mut Vec<(u64, Role)>,
        cutoff_us: u64,
    ) -> Result<u64, LedgerError> {
        let duties = &self.shared.duties;
        let _chain = duties.grow();
        let is_current = duties.table().is_some_and(|newest| newest.index == table.index);
        let mut parts = std::mem::take(due);
        let holds = duties.holds.load_full();
        if !Arc::ptr_eq(seen, &holds) {
            let mut matcher = HoldMatcher::new(&self.shared, &holds)?;
            let mut free = Vec::with_capacity(parts.len());
            for (index, role) in parts {
                let Some((_, entry)) = snapshot.decoded(index)? else { continue };
                let EntryBody::Event(event) = &entry.body else { continue };
                if matcher.holding(entry.time_us, event).is_none() {
                    free.push((index, role));
                }
            }
            parts = free;
        }
        if parts.is_empty() || !is_current {
            return Ok(0);
        }
        (self.prune)(&self.shared, &parts, table.index, cutoff_us)?;
        Ok(u64::try_from(parts.len()).unwrap_or(u64::MAX))
    }

    /// Whether the wall clock has run further ahead of the monotonic one than the ledger allows.
    fn clock_is_ahead(&self) -> bool {
        let (wall_us, monotonic_us) = self.clock_base_us;
        let passed_us = self.shared.clock.monotonic_us().saturating_sub(monotonic_us);
        let ahead_us = self.shared.clock.now_us().saturating_sub(wall_us.saturating_add(passed_us));
        ahead_us / 1000 > self.shared.options.skew_max_ms
    }
}
