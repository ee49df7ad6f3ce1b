//! What the settings chain obliges the ledger to: the retention table in force, and the holds.
//!
//! In scope: keeping both in memory as the chain says, growing the chain by a table, a hold, a release or a
//! refusal. Out of scope: what is due ([`super::retention`]), what a hold stops ([`super::holds`]).
//!
//! Invariants: what is in memory was durable in the log before; the chain grows under one lock, which is
//! also held while parts are being taken away, so that a hold that was answered stops every removal that
//! begins after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::event::entry::EntryBody;
use crate::event::json::Value;
use crate::event::retention::{RetentionError, RetentionTable};

use super::error::LedgerError;
use super::holds::Holds;
use super::retention::job::PassReport;
use super::settings::{self, SETTINGS_BYTES_MAX};
use super::{Ledger, Shared, Snapshot};

/// The table in force.
#[derive(Debug)]
pub struct InForce {
    /// Index of the settings entry that set it.
    pub index: u64,
    /// When that was recorded, Unix microseconds.
    pub at_us: u64,
    /// Its rules.
    pub table: RetentionTable,
}

/// Why a table, a hold or a release was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DutyError {
    /// The table means nothing.
    #[error(transparent)]
    Table(#[from] RetentionError),
    /// What was given does not fit one settings entry.
    #[error("takes {bytes} bytes as one settings entry, which holds {bytes_max}; give less")]
    TooLong {
        /// What it takes, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// A hold that holds nothing, or is not as it must be.
    #[error("`{field}` {what}")]
    Hold {
        /// The member of the request.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// There is no hold of this id.
    #[error("there is no hold of this id")]
    NoSuchHold,
    /// It was released before.
    #[error("the hold was released before, by entry {index}")]
    Released {
        /// Index of the entry that released it.
        index: u64,
    },
    /// There are too many.
    #[error("there are {max} active holds already; release some")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A part of the ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The duties of one ledger.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    chain: Mutex<()>,
    table: ArcSwapOption<InForce>,
    pub(super) holds: ArcSwap<Holds>,
    ended: Mutex<bool>,
    end: Condvar,
    last_pass: ArcSwapOption<PassReport>,
    pruned: AtomicU64,
}

impl Duties {
    /// Takes over what the chain said at start.
    pub(crate) fn restore(&self, table: Option<InForce>, holds: Holds) {
        self.table.store(table.map(Arc::new));
        self.holds.store(Arc::new(holds));
    }

    /// The lock under which the settings chain grows and parts are taken away. Whoever has it finds tables
    /// and holds as they stay until it is given back.
    pub(crate) fn grow(&self) -> MutexGuard<'_, ()> {
        // A thread that panicked with it changed nothing in between: each step is one store.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table in force.
    pub(crate) fn table(&self) -> Option<Arc<InForce>> {
        self.table.load_full()
    }

    /// Keeps what a pass of the job did.
    pub(crate) fn passed(&self, report: PassReport) {
        self.pruned.fetch_add(report.pruned, Ordering::Relaxed);
        self.last_pass.store(Some(Arc::new(report)));
    }

    /// Ends whoever waits with [`Duties::wait`].
    pub(crate) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.notify_all();
    }

    /// Waits for `time`; true as soon as the ledger ends.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.end.wait_timeout_while(ended, time, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Shared {
    /// Appends a settings entry whose body is made from the index of the one before it. The caller holds
    /// [`Duties::grow`].
    pub(super) fn append_settings<const N: usize>(
        &self,
        what: &str,
        members: [(&str, Value); N],
    ) -> Result<u64, DutyError> {
        let body = settings::body(self.newest_settings(), what, members);
        if body.len() > SETTINGS_BYTES_MAX {
            return Err(DutyError::TooLong { bytes: body.len(), bytes_max: SETTINGS_BYTES_MAX });
        }
        Ok(self.append_system(EntryBody::Settings(body))?)
    }
}

impl Ledger {
    /// The retention table in force; none where none was ever set.
    #[must_use]
    pub fn retention(&self) -> Option<Arc<InForce>> {
        self.shared.duties.table()
    }

    /// What the last pass of the retention job did; none before the first one since the start.
    #[must_use]
    pub fn retention_pass(&self) -> Option<Arc<PassReport>> {
        self.shared.duties.last_pass.load_full()
    }

    /// How many parts the retention job has pruned since the start.
    #[must_use]
    pub fn parts_pruned(&self) -> u64 {
        self.shared.duties.pruned.load(Ordering::Relaxed)
    }

    /// Puts a table in force in place of the one before. `rules` is the array of rules; an empty one keeps
    /// everything. Setting the same table again changes nothing. Blocks until it is durable.
    ///
    /// # Errors
    /// [`DutyError::Table`] where it means nothing, [`DutyError::TooLong`], and what the ledger reports.
    pub fn set_retention(&self, rules: &Value) -> Result<Arc<InForce>, DutyError> {
        let table = RetentionTable::from_value(rules, &self.catalogue())?;
        let duties = &self.shared.duties;
        let _chain = duties.grow();
        if let Some(known) = duties.table().filter(|known| known.table == table) {
            return Ok(known);
        }
        let index = self.shared.append_settings("retention", [("rules", table.to_value().clone())])?;
        let at_us = self.snapshot().time_us(index)?.ok_or(LedgerError::Stopped)?;
        let set = Arc::new(InForce { index, at_us, table });
        duties.table.store(Some(Arc::clone(&set)));
        Ok(set)
    }
}

impl Snapshot {
    /// The table and the holds as they were at this view's size.
    pub(crate) fn duties(&self) -> Result<(Option<Arc<InForce>>, Arc<Holds>), LedgerError> {
        let shared = &self.shared;
        let _chain = shared.duties.grow();
        let newest = shared.newest_settings();
        if newest < self.size().0 {
            let duties = &shared.duties;
            return Ok((duties.table(), duties.holds.load_full()));
        }
        let chain = settings::chain_at(newest, self.size().0, |index| shared.entry(index))?;
        Ok((chain.retention.map(Arc::new), Arc::new(chain.holds)))
    }
}
